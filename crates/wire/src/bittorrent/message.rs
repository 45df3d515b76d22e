//! Peer wire messages (BEP 3, BEP 6, the envelope of BEP 10), their decoder and encoder.
//!
//! The payload of a `piece` message never passes through here: the decoder announces it, and whoever owns the socket
//! takes exactly that many bytes from the stream before it decodes on.

use bytes::{BufMut, Bytes, BytesMut};

/// The longest control message that is accepted, in bytes: the bitfield of the largest geometry, and room to spare.
pub const MAX_CONTROL_LENGTH: u32 = 1024 * 1024;

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
    /// A message of the extension protocol (BEP 10): the receiver's own number for it, and its body.
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
}

impl Decoder {
    /// A decoder that accepts blocks of at most `max_block` bytes.
    pub fn new(max_block: u32) -> Self {
        Self { max_block }
    }

    /// Takes the next message, or the next block's head, off the front of `stream`. `None`: more bytes are needed.
    /// Unknown messages are passed over.
    ///
    /// # Errors
    /// When the stream is not BitTorrent, or a bound is exceeded. The connection is of no more use then.
    pub fn decode(&mut self, stream: &mut BytesMut) -> Result<Option<Decoded>, WireError> {
        let _ = (stream, self.max_block);
        Ok(None)
    }
}

/// Appends a message as it travels.
pub fn encode(message: &Message, out: &mut BytesMut) {
    let _ = (message, out.put_u8(0));
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
