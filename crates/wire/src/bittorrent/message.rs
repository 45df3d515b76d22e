//! Peer wire messages (BEP 3, BEP 6, the envelope of BEP 10), their decoder and encoder.
//!
//! The payload of a `piece` message never passes through here: the decoder announces it, and
//! whoever owns the socket takes exactly that many bytes from the stream before it decodes on.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The longest control message that is accepted, in bytes: the bitfield of the largest geometry,
/// and room to spare. Only a bitfield may be that long, and a message that is not known and passed
/// over.
pub const MAX_CONTROL_LENGTH: u32 = 1024 * 1024;

/// The longest message of the extension protocol that is accepted, in bytes: several times what any
/// program sends.
pub const MAX_EXTENDED_LENGTH: u32 = 128 * 1024;

/// The message numbers (BEP 3, BEP 5, BEP 6, BEP 10).
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

/// A byte range of a piece as somebody outside named it: not checked against any geometry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BlockRequest {
    /// Piece index.
    pub piece: u32,
    /// Offset in the piece, in bytes.
    pub offset: u32,
    /// Length in bytes.
    pub length: u32,
}

/// Every message but `piece`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Nothing, so that the connection stays open.
    KeepAlive,
    /// Requests are no longer answered.
    Choke,
    /// Requests are answered.
    Unchoke,
    /// The sender wants pieces of the receiver.
    Interested,
    /// The sender wants nothing.
    NotInterested,
    /// The sender has a piece.
    Have(u32),
    /// All that the sender has; raw, as its length depends on the geometry.
    Bitfield(Bytes),
    /// Asks for a block.
    Request(BlockRequest),
    /// Takes a request back.
    Cancel(BlockRequest),
    /// A DHT port (BEP 5).
    Port(u16),
    /// The receiver might take this piece (BEP 6).
    Suggest(u32),
    /// The sender has everything (BEP 6).
    HaveAll,
    /// The sender has nothing (BEP 6).
    HaveNone,
    /// A request will not be answered (BEP 6).
    Reject(BlockRequest),
    /// A piece that may be requested while choked (BEP 6).
    AllowedFast(u32),
    /// A message of the extension protocol (BEP 10): the receiver's own number for it, and its
    /// body.
    Extended {
        /// 0 for the extension handshake, else the number that the receiver gave to the extension.
        id: u8,
        /// The bencoded head, and whatever follows it.
        payload: Bytes,
    },
}

/// What the decoder found next in the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded {
    /// A whole message.
    Message(Message),
    /// The head of a `piece` message: exactly `length` bytes of payload follow in the stream.
    Block(BlockRequest),
}

/// How a stream of messages can be wrong. Nothing after such an error can be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A length over the bound.
    #[error("a message of {length} bytes; at most {limit} are accepted")]
    TooLong {
        /// The length in the prefix.
        length: u32,
        /// The bound for that kind of message.
        limit: u32,
    },
    /// A length that does not fit the kind of message.
    #[error("message {id} with a length of {length}")]
    BadLength {
        /// The message's number.
        id: u8,
        /// The length in the prefix.
        length: u32,
    },
}

/// Turns a stream into messages, one at a time, whatever its segmentation.
#[derive(Debug, Clone)]
pub struct Decoder {
    max_block: u32,
    /// What is still to come of a message that is passed over, in bytes.
    skip: u32,
}

impl Decoder {
    /// A decoder that accepts blocks of at most `max_block` bytes.
    pub fn new(max_block: u32) -> Self {
        Self { max_block, skip: 0 }
    }

    /// Takes the next message, or the next block's head, off the front of `stream`. `None`: more
    /// bytes are needed; what is left in `stream` then is the beginning of one message,
    /// [`MAX_CONTROL_LENGTH`] bytes and a prefix at the most. Unknown messages are passed over and
    /// never gather in `stream`. A bitfield and an extension message are split off and not copied,
    /// so that they hold on to the memory of `stream`.
    ///
    /// # Errors
    /// When the stream is not BitTorrent, or a bound is exceeded. The connection is of no more use
    /// then.
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
            let longest = MAX_CONTROL_LENGTH.max(self.max_piece_message());
            if length > longest {
                return Err(WireError::TooLong { length, limit: longest });
            }
            let Some(&id) = stream.get(4) else { return Ok(None) };
            match self.shape(id, length)? {
                Shape::Unknown => self.skip = 4 + length,
                Shape::Block if stream.len() < 13 => return Ok(None),
                Shape::Block => return Ok(Some(Decoded::Block(block_request(stream, length)))),
                Shape::Whole if stream.len() < 4 + length as usize => return Ok(None),
                Shape::Whole => {
                    stream.advance(5);
                    let body = stream.split_to(length as usize - 1);
                    return Ok(Some(Decoded::Message(message(id, body))));
                }
            }
        }
    }

    /// How a message travels, once its length is known to fit its number.
    fn shape(&self, id: u8, length: u32) -> Result<Shape, WireError> {
        let (shape, shortest, longest) = match id {
            id::CHOKE | id::UNCHOKE | id::INTERESTED | id::NOT_INTERESTED => (Shape::Whole, 1, 1),
            id::HAVE_ALL | id::HAVE_NONE => (Shape::Whole, 1, 1),
            id::HAVE | id::SUGGEST | id::ALLOWED_FAST => (Shape::Whole, 5, 5),
            id::PORT => (Shape::Whole, 3, 3),
            id::REQUEST | id::CANCEL | id::REJECT => (Shape::Whole, 13, 13),
            id::BITFIELD => (Shape::Whole, 1, MAX_CONTROL_LENGTH),
            id::EXTENDED => (Shape::Whole, 2, MAX_EXTENDED_LENGTH),
            id::PIECE => (Shape::Block, 10, self.max_piece_message()),
            _ => (Shape::Unknown, 1, MAX_CONTROL_LENGTH),
        };
        if length < shortest || (shortest == longest && length != longest) {
            return Err(WireError::BadLength { id, length });
        }
        if length > longest {
            return Err(WireError::TooLong { length, limit: longest });
        }
        Ok(shape)
    }

    fn max_piece_message(&self) -> u32 {
        self.max_block.saturating_add(9)
    }
}

/// How a message is taken off the stream.
enum Shape {
    /// When all of it is there.
    Whole,
    /// Its head alone.
    Block,
    /// As it comes, and let go.
    Unknown,
}

/// Appends a message as it travels.
pub fn encode(message: &Message, out: &mut BytesMut) {
    match message {
        Message::KeepAlive => out.put_u32(0),
        Message::Choke => bare(out, id::CHOKE),
        Message::Unchoke => bare(out, id::UNCHOKE),
        Message::Interested => bare(out, id::INTERESTED),
        Message::NotInterested => bare(out, id::NOT_INTERESTED),
        Message::Have(piece) => index(out, id::HAVE, *piece),
        Message::Bitfield(bits) => {
            head(out, id::BITFIELD, bits.len());
            out.put_slice(bits);
        }
        Message::Request(block) => triple(out, id::REQUEST, *block),
        Message::Cancel(block) => triple(out, id::CANCEL, *block),
        Message::Port(port) => {
            head(out, id::PORT, 2);
            out.put_u16(*port);
        }
        Message::Suggest(piece) => index(out, id::SUGGEST, *piece),
        Message::HaveAll => bare(out, id::HAVE_ALL),
        Message::HaveNone => bare(out, id::HAVE_NONE),
        Message::Reject(block) => triple(out, id::REJECT, *block),
        Message::AllowedFast(piece) => index(out, id::ALLOWED_FAST, *piece),
        Message::Extended { id, payload } => {
            head(out, id::EXTENDED, 1 + payload.len());
            out.put_u8(*id);
            out.put_slice(payload);
        }
    }
}

/// The 13 bytes that go before the payload of a `piece` message.
pub fn block_head(block: BlockRequest) -> [u8; 13] {
    let mut head = [0; 13];
    head[..4].copy_from_slice(&(block.length + 9).to_be_bytes());
    head[4] = 7;
    head[5..9].copy_from_slice(&block.piece.to_be_bytes());
    head[9..].copy_from_slice(&block.offset.to_be_bytes());
    head
}

/// A whole message but `piece` and keep-alive, whose length is known to fit its number.
fn message(id: u8, mut body: BytesMut) -> Message {
    match id {
        id::CHOKE => Message::Choke,
        id::UNCHOKE => Message::Unchoke,
        id::INTERESTED => Message::Interested,
        id::NOT_INTERESTED => Message::NotInterested,
        id::HAVE => Message::Have(body.get_u32()),
        id::BITFIELD => Message::Bitfield(body.freeze()),
        id::REQUEST => Message::Request(take_triple(&mut body)),
        id::CANCEL => Message::Cancel(take_triple(&mut body)),
        id::PORT => Message::Port(body.get_u16()),
        id::SUGGEST => Message::Suggest(body.get_u32()),
        id::HAVE_ALL => Message::HaveAll,
        id::HAVE_NONE => Message::HaveNone,
        id::REJECT => Message::Reject(take_triple(&mut body)),
        id::ALLOWED_FAST => Message::AllowedFast(body.get_u32()),
        _ => Message::Extended { id: body.get_u8(), payload: body.freeze() },
    }
}

fn block_request(stream: &mut BytesMut, length: u32) -> BlockRequest {
    stream.advance(5);
    BlockRequest { piece: stream.get_u32(), offset: stream.get_u32(), length: length - 9 }
}

fn take_triple(body: &mut BytesMut) -> BlockRequest {
    BlockRequest { piece: body.get_u32(), offset: body.get_u32(), length: body.get_u32() }
}

/// The length prefix and the number, for a body of `length` bytes.
fn head(out: &mut BytesMut, id: u8, length: usize) {
    out.reserve(5 + length);
    out.put_u32(1 + length as u32);
    out.put_u8(id);
}

fn bare(out: &mut BytesMut, id: u8) {
    head(out, id, 0);
}

fn index(out: &mut BytesMut, id: u8, piece: u32) {
    head(out, id, 4);
    out.put_u32(piece);
}

fn triple(out: &mut BytesMut, id: u8, block: BlockRequest) {
    head(out, id, 12);
    out.put_u32(block.piece);
    out.put_u32(block.offset);
    out.put_u32(block.length);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that a decoder finds in `stream`, and what it leaves.
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
    fn the_bytes_of_bep_3() {
        let mut out = BytesMut::new();
        encode(&Message::Request(BlockRequest { piece: 1, offset: 2, length: 3 }), &mut out);
        encode(&Message::Have(258), &mut out);
        encode(&Message::KeepAlive, &mut out);
        encode(&Message::Extended { id: 0, payload: Bytes::from_static(b"de") }, &mut out);
        let want = b"\0\0\0\x0d\x06\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\x05\x04\0\0\x01\x02\0\0\0\0\0\0\0\x04\x14\0de";
        assert_eq!(&out[..], want);
    }

    #[test]
    fn a_block_is_announced_and_its_payload_left() {
        let block = BlockRequest { piece: 7, offset: 16384, length: 16384 };
        let mut stream = BytesMut::from(&block_head(block)[..]);
        stream.extend_from_slice(b"payload");
        let mut decoder = Decoder::new(16384);
        assert_eq!(decoder.decode(&mut stream), Ok(Some(Decoded::Block(block))));
        assert_eq!(&stream[..], b"payload");
    }

    #[test]
    fn lengths_are_bounded_before_anything_gathers() {
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
    fn lengths_must_fit_the_number() {
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
    fn unknown_messages_are_passed_over_as_they_come() {
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
