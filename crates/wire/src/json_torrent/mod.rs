//! The peer messages of the `json-torrent` protocol, each inside a frame. The protocol is described
//! in `docs/protocols/json-torrent.md`; its metainfo is [`sow_content::json_torrent`].
//!
//! The payload of a `Piece` message never passes through here.

mod decoder;
mod encoder;
pub mod tracker;

use bytes::Bytes;

pub use decoder::{Decoder, PeerError};
pub use encoder::{encode, piece_head};

use crate::framing::{HEAD_LENGTH, length_of};

/// The message ids.
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

/// A message other than `Piece`.
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
    /// The sender wants no more pieces from the receiver.
    NotInterested,
    /// The sender has a piece. The original programs never send it.
    Have(u32),
    /// The pieces of the sender: one byte for each piece, 0 or 1. Its length is not checked against
    /// a geometry.
    Bitfield(Bytes),
    /// Requests a whole piece.
    Request(u32),
    /// The sender is about to close the connection.
    ServerClose,
}

impl Message {
    /// The name of the message in the protocol's description.
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

/// The next item of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded {
    /// A complete message.
    Message(Message),
    /// The head of a `Piece` message: exactly `size` bytes of payload follow in the stream.
    Piece {
        /// The piece index.
        index: u32,
        /// The size of the payload in bytes, at most the decoder's `max_piece`.
        size: u32,
    },
}

/// The kind of a new connection, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// A peer: a frame that can hold a message.
    Peer,
    /// A client of the tracker: a frame that can hold JSON.
    TrackerRequest,
    /// Another protocol.
    Unknown,
}

/// The kind of a connection that begins with `first`. `None` means that more bytes are needed; nine
/// are always enough.
///
/// A frame below 2^40 bytes begins with at least three zero bytes; no text protocol and no
/// BitTorrent handshake does. A JSON request begins with a brace or white space after the head; in
/// a peer message that byte would belong to a length above 2^27.
pub fn opening(first: &[u8]) -> Option<Opening> {
    if first.iter().take(3).any(|byte| *byte != 0) {
        return Some(Opening::Unknown);
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
    fn nine_bytes_identify_the_kind_of_connection() {
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
            assert_eq!(opening(stream.as_bytes()), Some(Opening::Unknown));
        }
        assert_eq!(opening(b"\x01"), Some(Opening::Unknown));
    }
}
