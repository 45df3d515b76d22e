//! The decoders and encoders of all dialects behind one interface: bytes to messages and blocks,
//! and messages to bytes. No sockets, and no decision about a message.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use bytes::BytesMut;
use sow_content::{Block, Geometry, geometry::MAX_WHOLE_PIECE};
use sow_engine::{Dialect, Direction, Message};
use sow_wire::{
    bittorrent::{self, BlockRequest, WireError},
    chunk::{self, ChunkError, Spelling},
    json_torrent::{self, PeerError},
};

/// The limits that decoders need to know of a swarm. The geometry may become known later.
#[derive(Debug, Clone)]
pub(crate) struct CodecLimits {
    /// The maximum length of a BitTorrent block, in bytes.
    max_block: u32,
    /// The length of a piece in bytes; 0 while it is not known.
    piece_length: Arc<AtomicU32>,
    /// The number of pieces; 0 while it is not known.
    pieces: Arc<AtomicU32>,
}

impl CodecLimits {
    pub(crate) fn new(max_block: u32, geometry: Option<Geometry>) -> Self {
        let limits = Self { max_block, piece_length: Arc::default(), pieces: Arc::default() };
        geometry.into_iter().for_each(|geometry| limits.set_geometry(geometry));
        limits
    }

    pub(crate) fn set_geometry(&self, geometry: Geometry) {
        self.piece_length.store(geometry.piece_length(), Ordering::Relaxed);
        self.pieces.store(geometry.pieces(), Ordering::Relaxed);
    }

    /// The number of pieces; 0 while it is not known.
    pub(crate) fn pieces(&self) -> u32 {
        self.pieces.load(Ordering::Relaxed)
    }
}

/// What comes next on a connection.
#[derive(Debug)]
pub(crate) enum Decoded {
    Message(Message),
    /// The header of a block. Its bytes follow.
    Block(BlockRequest),
}

/// The peer sent something malformed. Nothing after it can be decoded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error(transparent)]
    BitTorrent(#[from] WireError),
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    #[error(transparent)]
    JsonTorrent(#[from] PeerError),
    #[error("DATA {offset} {size} is no chunk of this file")]
    NoChunk { offset: u64, size: u32 },
}

/// The decoder of one connection.
#[derive(Debug)]
pub(crate) enum Decoder {
    BitTorrent(bittorrent::Decoder),
    Chunk(chunk::Decoder, CodecLimits),
    JsonTorrent(json_torrent::Decoder),
}

impl Decoder {
    /// A decoder for what the peer sends in `dialect` on a connection of that direction.
    pub(crate) fn new(dialect: Dialect, direction: Direction, limits: &CodecLimits) -> Self {
        match dialect {
            Dialect::BitTorrent => Self::BitTorrent(bittorrent::Decoder::new(limits.max_block)),
            Dialect::Chunk => {
                // The peer that opened the connection requests data and sends none.
                let max_data = if direction == Direction::Dialed { MAX_WHOLE_PIECE } else { 0 };
                Self::Chunk(chunk::Decoder::new(max_data), limits.clone())
            }
            Dialect::JsonTorrent => Self::JsonTorrent(json_torrent::Decoder::new(
                limits.piece_length.load(Ordering::Relaxed),
                limits.pieces.load(Ordering::Relaxed),
            )),
        }
    }

    /// Removes the next message or block header from the front of `stream`. `None`: more bytes are
    /// needed.
    pub(crate) fn decode(&mut self, stream: &mut BytesMut) -> Result<Option<Decoded>, DecodeError> {
        Ok(match self {
            Self::BitTorrent(decoder) => decoder.decode(stream)?.map(|decoded| match decoded {
                bittorrent::Decoded::Message(message) => {
                    Decoded::Message(Message::BitTorrent(message))
                }
                bittorrent::Decoded::Block(request) => Decoded::Block(request),
            }),
            Self::Chunk(decoder, limits) => match decoder.decode(stream)? {
                Some(chunk::Decoded::Message(message)) => {
                    Some(Decoded::Message(Message::Chunk(message)))
                }
                Some(chunk::Decoded::Data { offset, size }) => {
                    Some(Decoded::Block(chunk_block(offset, size, limits)?))
                }
                None => None,
            },
            Self::JsonTorrent(decoder) => decoder.decode(stream)?.map(|decoded| match decoded {
                json_torrent::Decoded::Message(message) => {
                    Decoded::Message(Message::JsonTorrent(message))
                }
                json_torrent::Decoded::Piece { index, size } => {
                    Decoded::Block(BlockRequest { piece: index, offset: 0, length: size })
                }
            }),
        })
    }
}

/// Appends the bytes of a message.
pub(crate) fn encode(message: &Message, spelling: Spelling, out: &mut BytesMut) {
    match message {
        Message::BitTorrent(message) => bittorrent::message::encode(message, out),
        Message::Chunk(message) => chunk::encode(message, spelling, out),
        Message::JsonTorrent(message) => json_torrent::encode(message, out),
    }
}

/// Appends the header that precedes the bytes of a block.
pub(crate) fn encode_block_header(
    dialect: Dialect,
    block: Block,
    geometry: &Geometry,
    out: &mut BytesMut,
) {
    let Block { piece, offset, length } = block;
    match dialect {
        Dialect::BitTorrent => {
            out.extend_from_slice(&bittorrent::message::block_head(BlockRequest {
                piece,
                offset,
                length,
            }));
        }
        Dialect::Chunk => {
            out.extend_from_slice(&chunk::data_head(geometry.range_of_block(block).start, length));
        }
        Dialect::JsonTorrent => out.extend_from_slice(&json_torrent::piece_head(piece, length)),
    }
}

/// The variable part of a message's memory while it waits to be sent, in bytes.
pub(crate) fn body_size(message: &Message) -> usize {
    match message {
        Message::BitTorrent(bittorrent::Message::Bitfield(bytes)) => bytes.len(),
        Message::BitTorrent(bittorrent::Message::Extended { payload, .. }) => payload.len(),
        Message::JsonTorrent(json_torrent::Message::Bitfield(bytes)) => bytes.len(),
        Message::Chunk(chunk::Message::List(ids)) => 4 * ids.len(),
        Message::Chunk(chunk::Message::ServerHello { peers, .. }) => 32 * peers.len(),
        Message::BitTorrent(_) | Message::JsonTorrent(_) | Message::Chunk(_) => 0,
    }
}

/// The chunk that begins at `offset` and has `size` bytes, if there is one.
fn chunk_block(offset: u64, size: u32, limits: &CodecLimits) -> Result<BlockRequest, DecodeError> {
    let no_chunk = DecodeError::NoChunk { offset, size };
    let length = limits.piece_length.load(Ordering::Relaxed);
    if length == 0 || size > length || !offset.is_multiple_of(u64::from(length)) {
        return Err(no_chunk);
    }
    let piece = u32::try_from(offset / u64::from(length)).map_err(|_| no_chunk)?;
    Ok(BlockRequest { piece, offset: 0, length: size })
}
