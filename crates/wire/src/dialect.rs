//! The dialects in which peers of one swarm can talk: a closed choice, matched wherever it matters.
//!
//! `raw` and `framed` are not here: there is one sender and one receiver, and nothing is said
//! between them.

use std::fmt;

use crate::{bittorrent, chunk, json_torrent};

/// What a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dialect {
    /// The real one: the native swarm of this program.
    BitTorrent,
    /// Document 1's P2P: text heads, chunks without hashes, one authority.
    Chunk,
    /// Document 2's P2P: framed binary messages, whole pieces.
    JsonTorrent,
}

/// A message in one of the dialects; never payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// In [`Dialect::BitTorrent`].
    BitTorrent(bittorrent::Message),
    /// In [`Dialect::Chunk`].
    Chunk(chunk::Message),
    /// In [`Dialect::JsonTorrent`].
    JsonTorrent(json_torrent::Message),
}

impl Message {
    /// The dialect that it belongs to.
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
