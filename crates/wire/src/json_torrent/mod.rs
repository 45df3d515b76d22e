//! Document 2's P2P protocol (section 2.3): messages between peers, each inside a frame. The data of a `Piece` message
//! never passes through here.

use bytes::Bytes;

/// Every message but `Piece`.
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
    /// The sender wants nothing (more).
    NotInterested,
    /// The sender has a piece. The original programs never say so.
    Have(u32),
    /// All that the sender has: one byte for each piece, 0 or 1. Its length is not checked against any geometry.
    Bitfield(Bytes),
    /// Asks for a whole piece.
    Request(u32),
    /// The sender is about to end.
    ServerClose,
}

/// What the decoder found next in the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded {
    /// A whole message.
    Message(Message),
    /// The head of a `Piece` message: exactly `size` bytes of payload follow in the stream.
    Piece {
        /// Piece index.
        index: u32,
        /// In bytes; at most what the decoder was made for.
        size: u32,
    },
}
