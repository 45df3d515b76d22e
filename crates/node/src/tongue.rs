//! The decoders and encoders of the dialects behind one face: what the bytes of a connection say,
//! and the bytes that say it. No sockets.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use bytes::BytesMut;
use sow_content::{Block, Geometry, geometry::MAX_PIECE_LENGTH};
use sow_engine::{Dialect, Direction, Message};
use sow_wire::{
    bittorrent::{self, BlockRequest, WireError},
    chunk::{self, ChunkError, Spelling},
    json_torrent::{self, PeerError},
};

/// What the swarm knows that decoders need.
#[derive(Debug, Clone)]
pub(crate) struct Bounds {
    /// The longest block in BitTorrent, in bytes.
    pub(crate) max_block: u32,
    /// The length of a piece in bytes; 0 while it is not known.
    pub(crate) piece_length: Arc<AtomicU32>,
    /// How many pieces there are; 0 while that is not known.
    pub(crate) pieces: Arc<AtomicU32>,
}

impl Bounds {
    pub(crate) fn new(max_block: u32, geometry: Option<Geometry>) -> Self {
        let bounds = Self { max_block, piece_length: Arc::default(), pieces: Arc::default() };
        geometry.into_iter().for_each(|geometry| bounds.learn(geometry));
        bounds
    }

    /// The content is known now.
    pub(crate) fn learn(&self, geometry: Geometry) {
        self.piece_length.store(geometry.piece_length(), Ordering::Relaxed);
        self.pieces.store(geometry.pieces(), Ordering::Relaxed);
    }
}

/// What comes next on a connection.
#[derive(Debug)]
pub(crate) enum Next {
    Message(Message),
    /// A block of that many bytes.
    Block(BlockRequest),
}

/// What arrives is not what it should be. Nothing after it can be understood.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IntakeError {
    #[error(transparent)]
    BitTorrent(#[from] WireError),
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    #[error(transparent)]
    JsonTorrent(#[from] PeerError),
    #[error("DATA {offset} {size} is no chunk of this file")]
    NoChunk { offset: u64, size: u32 },
}

/// The receiving end of a dialect.
#[derive(Debug)]
pub(crate) enum Ear {
    BitTorrent(bittorrent::Decoder),
    Chunk(chunk::Decoder, Bounds),
    JsonTorrent(json_torrent::Decoder),
}

impl Ear {
    /// For what comes in `dialect` on a connection of that direction.
    pub(crate) fn new(dialect: Dialect, direction: Direction, bounds: &Bounds) -> Self {
        match dialect {
            Dialect::BitTorrent => Self::BitTorrent(bittorrent::Decoder::new(bounds.max_block)),
            Dialect::Chunk => {
                // Who calls asks, and sends no data.
                let most = if direction == Direction::Dialed { MAX_PIECE_LENGTH } else { 0 };
                Self::Chunk(chunk::Decoder::new(most), bounds.clone())
            }
            Dialect::JsonTorrent => Self::JsonTorrent(json_torrent::Decoder::new(
                bounds.piece_length.load(Ordering::Relaxed),
                bounds.pieces.load(Ordering::Relaxed),
            )),
        }
    }

    /// Takes what comes next off the front of `stream`. `None`: more bytes are needed.
    pub(crate) fn decode(&mut self, stream: &mut BytesMut) -> Result<Option<Next>, IntakeError> {
        Ok(match self {
            Self::BitTorrent(decoder) => decoder.decode(stream)?.map(|decoded| match decoded {
                bittorrent::Decoded::Message(message) => {
                    Next::Message(Message::BitTorrent(message))
                }
                bittorrent::Decoded::Block(request) => Next::Block(request),
            }),
            Self::Chunk(decoder, bounds) => match decoder.decode(stream)? {
                Some(chunk::Decoded::Message(message)) => {
                    Some(Next::Message(Message::Chunk(message)))
                }
                Some(chunk::Decoded::Data { offset, size }) => {
                    Some(Next::Block(chunk_of(offset, size, bounds)?))
                }
                None => None,
            },
            Self::JsonTorrent(decoder) => decoder.decode(stream)?.map(|decoded| match decoded {
                json_torrent::Decoded::Message(message) => {
                    Next::Message(Message::JsonTorrent(message))
                }
                json_torrent::Decoded::Piece { index, size } => {
                    Next::Block(BlockRequest { piece: index, offset: 0, length: size })
                }
            }),
        })
    }
}

/// Appends a message as it travels.
pub(crate) fn encode(message: &Message, spelling: Spelling, out: &mut BytesMut) {
    match message {
        Message::BitTorrent(message) => bittorrent::message::encode(message, out),
        Message::Chunk(message) => chunk::encode(message, spelling, out),
        Message::JsonTorrent(message) => json_torrent::encode(message, out),
    }
}

/// Appends what goes before the bytes of a block.
pub(crate) fn encode_head(dialect: Dialect, block: Block, geometry: &Geometry, out: &mut BytesMut) {
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

/// What a message takes of memory while it waits, in bytes.
pub(crate) fn body_of(message: &Message) -> usize {
    match message {
        Message::BitTorrent(bittorrent::Message::Bitfield(bytes)) => bytes.len(),
        Message::BitTorrent(bittorrent::Message::Extended { payload, .. }) => payload.len(),
        Message::JsonTorrent(json_torrent::Message::Bitfield(bytes)) => bytes.len(),
        Message::Chunk(chunk::Message::List(ids)) => 4 * ids.len(),
        Message::Chunk(chunk::Message::ServerHello { peers, .. }) => 32 * peers.len(),
        Message::BitTorrent(_) | Message::JsonTorrent(_) | Message::Chunk(_) => 0,
    }
}

/// The chunk that a range is, as far as it is one.
fn chunk_of(offset: u64, size: u32, bounds: &Bounds) -> Result<BlockRequest, IntakeError> {
    let no_chunk = IntakeError::NoChunk { offset, size };
    let length = bounds.piece_length.load(Ordering::Relaxed);
    if length == 0 || size > length || !offset.is_multiple_of(u64::from(length)) {
        return Err(no_chunk);
    }
    let piece = u32::try_from(offset / u64::from(length)).map_err(|_| no_chunk)?;
    Ok(BlockRequest { piece, offset: 0, length: size })
}
