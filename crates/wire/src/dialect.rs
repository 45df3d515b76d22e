//! The dialects that the peers of a swarm can speak: one closed enum, matched where they differ.
//!
//! The client/server protocols `raw` and `framed` are not dialects of a swarm: one server sends one
//! file, and no messages are exchanged.

use std::fmt;

use crate::{bittorrent, chunk, json_torrent};

/// The protocol of a connection between peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dialect {
    /// BitTorrent, the native protocol of this program.
    BitTorrent,
    /// The `chunk` protocol: text heads, chunks without hashes, one server as the authority.
    Chunk,
    /// The `json-torrent` protocol: framed binary messages, whole pieces.
    JsonTorrent,
}

/// A message of one of the dialects, without payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A message of [`Dialect::BitTorrent`].
    BitTorrent(bittorrent::Message),
    /// A message of [`Dialect::Chunk`].
    Chunk(chunk::Message),
    /// A message of [`Dialect::JsonTorrent`].
    JsonTorrent(json_torrent::Message),
}

impl Message {
    /// The dialect of the message.
    pub fn dialect(&self) -> Dialect {
        match self {
            Self::BitTorrent(_) => Dialect::BitTorrent,
            Self::Chunk(_) => Dialect::Chunk,
            Self::JsonTorrent(_) => Dialect::JsonTorrent,
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BitTorrent => "bittorrent",
            Self::Chunk => "chunk",
            Self::JsonTorrent => "json-torrent",
        })
    }
}

impl From<bittorrent::Message> for Message {
    fn from(message: bittorrent::Message) -> Self {
        Self::BitTorrent(message)
    }
}
