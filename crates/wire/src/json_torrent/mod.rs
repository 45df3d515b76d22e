//! Document 2's P2P protocol (section 2.3): messages between peers, each inside a frame. The data
//! of a `Piece` message never passes through here.

mod decoder;
mod encoder;
pub mod tracker;

use bytes::Bytes;

pub use decoder::{Decoder, PeerError};
pub use encoder::{encode, piece_head};

use crate::framing::{HEAD_LENGTH, length_of};

/// The message numbers (section 2.3).
mod id {
    pub(super) const CHOKE: i8 = 0;
    pub(super) const UNCHOKE: i8 = 1;
    pub(super) const INTERESTED: i8 = 2;
    pub(super) const NOT_INTERESTED: i8 = 3;
    pub(super) const HAVE: i8 = 4;
    pub(super) const BITFIELD: i8 = 5;
    pub(super) const REQUEST: i8 = 6;
    pub(super) const PIECE: i8 = 7;
    pub(super) const SERVER_CLOSE: i8 = 10;
}

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
    /// All that the sender has: one byte for each piece, 0 or 1. Its length is not checked against
    /// any geometry.
    Bitfield(Bytes),
    /// Asks for a whole piece.
    Request(u32),
    /// The sender is about to end.
    ServerClose,
}

impl Message {
    /// Its name in document 2.
    pub fn name(&self) -> &'static str {
        match self {
            Self::KeepAlive => "KeepAlive",
            Self::Choke => "Choke",
            Self::Unchoke => "UnChoke",
            Self::Interested => "Interested",
            Self::NotInterested => "NotInterested",
            Self::Have(_) => "Have",
            Self::Bitfield(_) => "Bitfield",
            Self::Request(_) => "Request",
            Self::ServerClose => "ServerClose",
        }
    }
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

/// Who is at the other end of a new connection, as far as its first bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// A peer: a frame that can hold a message.
    Peer,
    /// A client of the tracker: a frame that can hold JSON.
    TrackerRequest,
    /// Nobody who speaks document 2's protocols.
    Stranger,
}

/// Tells who begins a stream with `first`. `None`: that takes more bytes, nine at the most.
///
/// A frame is known by the zeros that its length begins with, since nothing below 2^40 bytes has
/// fewer than three; no text and no BitTorrent handshake begins with one. JSON is known by its
/// brace, or by white space before it: as the beginning of a message that would be a length of more
/// than 2^27.
pub fn opening(first: &[u8]) -> Option<Opening> {
    if first.iter().take(3).any(|byte| *byte != 0) {
        return Some(Opening::Stranger);
    }
    let (head, body) = first.split_first_chunk::<HEAD_LENGTH>()?;
    match body.first() {
        _ if length_of(*head) == 0 => Some(Opening::Peer),
        None => None,
        Some(b'{' | b' ' | b'\t' | b'\r' | b'\n') => Some(Opening::TrackerRequest),
        Some(_) => Some(Opening::Peer),
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::framing::frame;

    #[test]
    fn who_begins_is_told_by_nine_bytes() {
        let mut bitfield = BytesMut::new();
        encode(&Message::Bitfield(Bytes::from_static(&[0; 70_000])), &mut bitfield);
        for (stream, want) in [
            (&bitfield[..], Opening::Peer),
            (&frame(b"{\"port\": 5555}"), Opening::TrackerRequest),
            (&frame(b"\r\n {}"), Opening::TrackerRequest),
        ] {
            assert_eq!(opening(stream), Some(want));
            assert_eq!(opening(&stream[..9]), Some(want));
            assert!((0..9).all(|length| opening(&stream[..length]).is_none()));
        }
        assert_eq!(opening(&[0; 8]), Some(Opening::Peer));
        for stream in ["CHEL 1\r\n", "\x13BitTorrent protocol", "GET / HTTP/1.1", "\0\0\x01"] {
            assert_eq!(opening(stream.as_bytes()), Some(Opening::Stranger));
        }
        assert_eq!(opening(b"\x01"), Some(Opening::Stranger));
    }
}
