//! Peer messages (BEP 3, BEP 6, and the envelope of BEP 10), their decoder and their encoder.
//!
//! The payload of a `piece` message never passes through here. The decoder returns its head; the
//! owner of the socket then takes exactly `length` bytes off the stream before it decodes further.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The longest accepted control message, in bytes: twice the bitfield of the largest geometry. Only
/// a bitfield and an unknown message, which is skipped, may be that long.
pub const MAX_CONTROL_LENGTH: u32 = 1024 * 1024;

/// The longest accepted extension message, in bytes: several times what any program sends.
pub const MAX_EXTENDED_LENGTH: u32 = 128 * 1024;

/// The message ids (BEP 3, BEP 5, BEP 6, BEP 10).
mod id {
    pub(super) const CHOKE: u8 = 0;
    pub(super) const UNCHOKE: u8 = 1;
    pub(super) const INTERESTED: u8 = 2;
    pub(super) const NOT_INTERESTED: u8 = 3;
    pub(super) const HAVE: u8 = 4;
    pub(super) const BITFIELD: u8 = 5;
    pub(super) const REQUEST: u8 = 6;
    pub(super) const PIECE: u8 = 7;
    pub(super) const CANCEL: u8 = 8;
    pub(super) const PORT: u8 = 9;
    pub(super) const SUGGEST: u8 = 13;
    pub(super) const HAVE_ALL: u8 = 14;
    pub(super) const HAVE_NONE: u8 = 15;
    pub(super) const REJECT: u8 = 16;
    pub(super) const ALLOWED_FAST: u8 = 17;
    pub(super) const EXTENDED: u8 = 20;
}

/// An untrusted byte range of a piece, not checked against a geometry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BlockRequest {
    /// The piece index.
    pub piece: u32,
    /// The offset in the piece, in bytes.
    pub offset: u32,
    /// The length in bytes.
    pub length: u32,
}

/// A message other than `piece`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Keeps the connection open.
    KeepAlive,
    /// The sender stops answering requests.
    Choke,
    /// The sender answers requests.
    Unchoke,
    /// The sender wants pieces from the receiver.
    Interested,
    /// The sender wants no pieces from the receiver.
    NotInterested,
    /// The sender has a piece.
    Have(u32),
    /// The pieces of the sender; unparsed, because the length depends on the geometry.
    Bitfield(Bytes),
    /// Requests a block.
    Request(BlockRequest),
    /// Withdraws a request.
    Cancel(BlockRequest),
    /// The DHT port of the sender (BEP 5).
    Port(u16),
    /// The sender suggests to request a piece (BEP 6).
    Suggest(u32),
    /// The sender has all pieces (BEP 6).
    HaveAll,
    /// The sender has no pieces (BEP 6).
    HaveNone,
    /// The sender will not answer a request (BEP 6).
    Reject(BlockRequest),
    /// A piece that may be requested while choked (BEP 6).
    AllowedFast(u32),
    /// A message of the extension protocol (BEP 10).
    Extended {
        /// 0 for the extension handshake, else the id that the receiver assigned to the extension.
        id: u8,
        /// The bencoded head, and any data after it.
        payload: Bytes,
    },
}

/// The next item of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded {
    /// A complete message.
    Message(Message),
    /// The head of a `piece` message: exactly `length` bytes of payload follow in the stream.
    Block(BlockRequest),
}

/// Why a stream is rejected. Nothing after such an error can be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A message exceeds the limit.
    #[error("a message of {length} bytes; the limit is {limit}")]
    TooLong {
        /// The length in the prefix, in bytes.
        length: u32,
        /// The limit for that message, in bytes.
        limit: u32,
    },
    /// The length is not valid for the message.
    #[error("message {id} with a length of {length}")]
    BadLength {
        /// The message id.
        id: u8,
        /// The length in the prefix, in bytes.
        length: u32,
    },
}

/// Decodes a stream into messages, one at a time, for any segmentation.
#[derive(Debug, Clone)]
pub struct Decoder {
    max_block: u32,
    /// The number of bytes to skip: the rest of an unknown message.
    skip: u32,
}

impl Decoder {
    /// A decoder with a limit of `max_block` bytes for the payload of `piece` messages.
    pub fn new(max_block: u32) -> Self {
        Self { max_block, skip: 0 }
    }

    /// Takes the next message, or the head of the next block, off the front of `stream`.
    ///
    /// `None` means that more bytes are needed; `stream` then holds the start of one message, less
    /// than a prefix and [`MAX_CONTROL_LENGTH`] bytes. Unknown messages are skipped as they arrive
    /// and do not accumulate in `stream`. A bitfield and an extension message are split off without
    /// copying, so they keep the memory of `stream` alive.
    ///
    /// # Errors
    /// When the stream is not BitTorrent, or a limit is exceeded. The connection cannot be used
    /// further.
    pub fn decode(&mut self, stream: &mut BytesMut) -> Result<Option<Decoded>, WireError> {
        loop {
            let skipped = stream.len().min(self.skip as usize);
            stream.advance(skipped);
            self.skip -= skipped as u32;
            let Some(length) = stream.first_chunk().map(|prefix| u32::from_be_bytes(*prefix))
            else {
                return Ok(None);
            };
            if length == 0 {
                stream.advance(4);
                return Ok(Some(Decoded::Message(Message::KeepAlive)));
            }
            let limit = MAX_CONTROL_LENGTH.max(self.max_piece_message());
            if length > limit {
                return Err(WireError::TooLong { length, limit });
            }
            let Some(&id) = stream.get(4) else { return Ok(None) };
            match self.unit(id, length)? {
                Unit::Unknown => self.skip = 4 + length,
                Unit::BlockHead if stream.len() < 13 => return Ok(None),
                Unit::BlockHead => {
                    return Ok(Some(Decoded::Block(take_block_head(stream, length))));
                }
                Unit::Message if stream.len() < 4 + length as usize => return Ok(None),
                Unit::Message => {
                    stream.advance(5);
                    let body = stream.split_to(length as usize - 1);
                    return Ok(Some(Decoded::Message(message(id, body))));
                }
            }
        }
    }

    /// What to take off the stream for a message, after checking its length against its id.
    fn unit(&self, id: u8, length: u32) -> Result<Unit, WireError> {
        let (unit, shortest, longest) = match id {
            id::CHOKE | id::UNCHOKE | id::INTERESTED | id::NOT_INTERESTED => (Unit::Message, 1, 1),
            id::HAVE_ALL | id::HAVE_NONE => (Unit::Message, 1, 1),
            id::HAVE | id::SUGGEST | id::ALLOWED_FAST => (Unit::Message, 5, 5),
            id::PORT => (Unit::Message, 3, 3),
            id::REQUEST | id::CANCEL | id::REJECT => (Unit::Message, 13, 13),
            id::BITFIELD => (Unit::Message, 1, MAX_CONTROL_LENGTH),
            id::EXTENDED => (Unit::Message, 2, MAX_EXTENDED_LENGTH),
            id::PIECE => (Unit::BlockHead, 10, self.max_piece_message()),
            _ => (Unit::Unknown, 1, MAX_CONTROL_LENGTH),
        };
        if length < shortest || (shortest == longest && length != longest) {
            return Err(WireError::BadLength { id, length });
        }
        if length > longest {
            return Err(WireError::TooLong { length, limit: longest });
        }
        Ok(unit)
    }

    fn max_piece_message(&self) -> u32 {
        self.max_block.saturating_add(9)
    }
}

/// What the decoder takes off the stream at once.
enum Unit {
    /// A complete message.
    Message,
    /// The head of a `piece` message.
    BlockHead,
    /// An unknown message, which is skipped as it arrives.
    Unknown,
}

/// Appends an encoded message.
pub fn encode(message: &Message, out: &mut BytesMut) {
    match message {
        Message::KeepAlive => out.put_u32(0),
        Message::Choke => put_bare(out, id::CHOKE),
        Message::Unchoke => put_bare(out, id::UNCHOKE),
        Message::Interested => put_bare(out, id::INTERESTED),
        Message::NotInterested => put_bare(out, id::NOT_INTERESTED),
        Message::Have(piece) => put_indexed(out, id::HAVE, *piece),
        Message::Bitfield(bits) => {
            put_head(out, id::BITFIELD, bits.len());
            out.put_slice(bits);
        }
        Message::Request(block) => put_block(out, id::REQUEST, *block),
        Message::Cancel(block) => put_block(out, id::CANCEL, *block),
        Message::Port(port) => {
            put_head(out, id::PORT, 2);
            out.put_u16(*port);
        }
        Message::Suggest(piece) => put_indexed(out, id::SUGGEST, *piece),
        Message::HaveAll => put_bare(out, id::HAVE_ALL),
        Message::HaveNone => put_bare(out, id::HAVE_NONE),
        Message::Reject(block) => put_block(out, id::REJECT, *block),
        Message::AllowedFast(piece) => put_indexed(out, id::ALLOWED_FAST, *piece),
        Message::Extended { id, payload } => {
            put_head(out, id::EXTENDED, 1 + payload.len());
            out.put_u8(*id);
            out.put_slice(payload);
        }
    }
}

/// The 13 bytes before the payload of a `piece` message.
pub fn block_head(block: BlockRequest) -> [u8; 13] {
    let mut head = [0; 13];
    head[..4].copy_from_slice(&(block.length + 9).to_be_bytes());
    head[4] = id::PIECE;
    head[5..9].copy_from_slice(&block.piece.to_be_bytes());
    head[9..].copy_from_slice(&block.offset.to_be_bytes());
    head
}

/// The message of a complete body; its length is already checked against its id. Not for `piece`
/// and keep-alive.
fn message(id: u8, mut body: BytesMut) -> Message {
    match id {
        id::CHOKE => Message::Choke,
        id::UNCHOKE => Message::Unchoke,
        id::INTERESTED => Message::Interested,
        id::NOT_INTERESTED => Message::NotInterested,
        id::HAVE => Message::Have(body.get_u32()),
        id::BITFIELD => Message::Bitfield(body.freeze()),
        id::REQUEST => Message::Request(take_block(&mut body)),
        id::CANCEL => Message::Cancel(take_block(&mut body)),
        id::PORT => Message::Port(body.get_u16()),
        id::SUGGEST => Message::Suggest(body.get_u32()),
        id::HAVE_ALL => Message::HaveAll,
        id::HAVE_NONE => Message::HaveNone,
        id::REJECT => Message::Reject(take_block(&mut body)),
        id::ALLOWED_FAST => Message::AllowedFast(body.get_u32()),
        _ => Message::Extended { id: body.get_u8(), payload: body.freeze() },
    }
}

fn take_block_head(stream: &mut BytesMut, length: u32) -> BlockRequest {
    stream.advance(5);
    BlockRequest { piece: stream.get_u32(), offset: stream.get_u32(), length: length - 9 }
}

fn take_block(body: &mut BytesMut) -> BlockRequest {
    BlockRequest { piece: body.get_u32(), offset: body.get_u32(), length: body.get_u32() }
}

/// Appends the length prefix and the id, for a body of `length` bytes.
fn put_head(out: &mut BytesMut, id: u8, length: usize) {
    out.reserve(5 + length);
    out.put_u32(1 + length as u32);
    out.put_u8(id);
}

fn put_bare(out: &mut BytesMut, id: u8) {
    put_head(out, id, 0);
}

fn put_indexed(out: &mut BytesMut, id: u8, piece: u32) {
    put_head(out, id, 4);
    out.put_u32(piece);
}

fn put_block(out: &mut BytesMut, id: u8, block: BlockRequest) {
    put_head(out, id, 12);
    out.put_u32(block.piece);
    out.put_u32(block.offset);
    out.put_u32(block.length);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that a decoder returns for `stream`, and the number of bytes that remain.
    fn decode(stream: &[u8]) -> (Vec<Decoded>, Option<WireError>, usize) {
        let mut stream = BytesMut::from(stream);
        let mut decoder = Decoder::new(128 * 1024);
        let mut found = Vec::new();
        loop {
            match decoder.decode(&mut stream) {
                Ok(Some(next)) => found.push(next),
                Ok(None) => return (found, None, stream.len()),
                Err(error) => return (found, Some(error), stream.len()),
            }
        }
    }

    fn prefixed(length: u32, rest: &[u8]) -> Vec<u8> {
        [&length.to_be_bytes()[..], rest].concat()
    }

    #[test]
    fn messages_have_the_bytes_of_bep_3() {
        let mut out = BytesMut::new();
        encode(&Message::Request(BlockRequest { piece: 1, offset: 2, length: 3 }), &mut out);
        encode(&Message::Have(258), &mut out);
        encode(&Message::KeepAlive, &mut out);
        encode(&Message::Extended { id: 0, payload: Bytes::from_static(b"de") }, &mut out);
        let want = b"\0\0\0\x0d\x06\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\x05\x04\0\0\x01\x02\
                     \0\0\0\0\0\0\0\x04\x14\0de";
        assert_eq!(&out[..], want);
    }

    #[test]
    fn a_block_yields_its_head_and_leaves_its_payload() {
        let block = BlockRequest { piece: 7, offset: 16384, length: 16384 };
        let mut stream = BytesMut::from(&block_head(block)[..]);
        stream.extend_from_slice(b"payload");
        let mut decoder = Decoder::new(16384);
        assert_eq!(decoder.decode(&mut stream), Ok(Some(Decoded::Block(block))));
        assert_eq!(&stream[..], b"payload");
    }

    #[test]
    fn lengths_are_bounded_before_the_body_arrives() {
        let limit = MAX_CONTROL_LENGTH;
        assert_eq!(
            decode(&prefixed(limit + 1, b"")).1,
            Some(WireError::TooLong { length: limit + 1, limit })
        );
        assert_eq!(
            decode(&prefixed(u32::MAX, b"")).1,
            Some(WireError::TooLong { length: u32::MAX, limit })
        );
        let limit = MAX_EXTENDED_LENGTH;
        let too_long = WireError::TooLong { length: limit + 1, limit };
        assert_eq!(decode(&prefixed(limit + 1, &[20])).1, Some(too_long));
        let limit = 128 * 1024 + 9;
        assert_eq!(
            decode(&prefixed(limit + 1, &[7])).1,
            Some(WireError::TooLong { length: limit + 1, limit })
        );
        assert_eq!(decode(&prefixed(limit, &[7; 9])).0.len(), 1);
        let mut huge_blocks = Decoder::new(u32::MAX);
        let head = BytesMut::from(&prefixed(u32::MAX, &[7; 9])[..]);
        assert!(matches!(huge_blocks.decode(&mut head.clone()), Ok(Some(Decoded::Block(_)))));
    }

    #[test]
    fn lengths_must_be_valid_for_the_message_id() {
        for (id, length) in [
            (0, 2),
            (3, 5),
            (4, 4),
            (6, 12),
            (7, 9),
            (8, 14),
            (9, 2),
            (13, 6),
            (14, 2),
            (16, 1),
            (17, 1),
            (20, 1),
        ] {
            assert_eq!(
                decode(&prefixed(length, &[id])).1,
                Some(WireError::BadLength { id, length })
            );
        }
    }

    #[test]
    fn unknown_messages_are_skipped_as_they_arrive() {
        let mut decoder = Decoder::new(16384);
        let mut stream = BytesMut::from(&prefixed(1_000_000, &[99])[..]);
        for _ in 0..999 {
            assert_eq!(decoder.decode(&mut stream), Ok(None));
            assert!(stream.is_empty());
            stream.extend_from_slice(&[20; 1000]);
        }
        stream.extend_from_slice(&[20; 999]);
        stream.extend_from_slice(b"\0\0\0\x01\x02");
        assert_eq!(decoder.decode(&mut stream), Ok(Some(Decoded::Message(Message::Interested))));
        assert_eq!(decoder.decode(&mut stream), Ok(None));
    }

    #[test]
    fn long_bodies_are_not_copied() {
        let mut stream = BytesMut::from(&prefixed(1001, &[5; 1001])[..]);
        let body = stream[5..].as_ptr();
        match Decoder::new(16384).decode(&mut stream) {
            Ok(Some(Decoded::Message(Message::Bitfield(bits)))) => {
                assert_eq!((bits.as_ptr(), bits.len()), (body, 1000));
            }
            other => panic!("{other:?}"),
        }
    }
}
