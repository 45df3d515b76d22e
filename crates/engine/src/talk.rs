//! What is particular to a connection's dialect. The engine decides in BitTorrent's words; here
//! they are put into the peer's, as far as it has any for them. What peers say is understood in
//! `json_torrent` and `chunk`.

use std::time::Duration;

use sow_wire::{bittorrent::Message, dialect};

use crate::{
    chunk::ChunkTalk,
    io::{Dialect, Direction, Output, PeerHandshake, Time},
    json_torrent::JsonTalk,
    peer::Peer,
};

/// Slower than this, in bytes a second, nobody is waited for.
const SLOWEST: u32 = 16 * 1024;

/// The state of a conversation, by its dialect.
#[derive(Debug)]
pub(crate) enum Talk {
    BitTorrent,
    JsonTorrent(JsonTalk),
    Chunk(ChunkTalk),
}

impl Peer {
    pub(crate) fn dialect(&self) -> Dialect {
        match self.talk {
            Talk::BitTorrent => Dialect::BitTorrent,
            Talk::JsonTorrent(_) => Dialect::JsonTorrent,
            Talk::Chunk(_) => Dialect::Chunk,
        }
    }

    /// Whether it is asked for whole pieces, one at a time.
    pub(crate) fn asks_whole(&self) -> bool {
        self.dialect() != Dialect::BitTorrent
    }

    /// Whether it waits for nothing that would have to come before it is asked for a piece.
    pub(crate) fn may_be_asked(&self) -> bool {
        match &self.talk {
            Talk::BitTorrent => true,
            Talk::JsonTorrent(talk) => talk.awaiting.is_none(),
            Talk::Chunk(talk) => talk.may_be_asked(),
        }
    }

    /// The piece that it owes us, in a dialect of whole pieces; it counts as answered from here on.
    pub(crate) fn take_awaited(&mut self) -> Option<u32> {
        match &mut self.talk {
            Talk::BitTorrent => None,
            Talk::JsonTorrent(talk) => talk.awaiting.take(),
            Talk::Chunk(talk) => talk.take_awaited(),
        }
    }

    /// Whether it has said what has to be said before anything else.
    pub(crate) fn is_introduced(&self) -> bool {
        match &self.talk {
            Talk::BitTorrent => true,
            Talk::JsonTorrent(talk) => talk.is_introduced(),
            Talk::Chunk(talk) => talk.is_introduced(),
        }
    }

    /// Whether it is known to be a peer: who calls in `chunk` may be anybody until it has said
    /// `CHEL`.
    pub(crate) fn is_somebody(&self) -> bool {
        let is_caller = self.direction == Direction::Accepted && self.dialect() == Dialect::Chunk;
        !is_caller || self.is_introduced()
    }

    /// Whether it is unchoked only when it asks for that: an unchoke out of the blue is no word of
    /// its dialect.
    pub(crate) fn waits_to_be_interested(&self) -> bool {
        matches!(self.talk, Talk::JsonTorrent(_)) && !self.peer_interested
    }

    /// How long it may be silent while it owes us something: a whole piece takes its time, `base`
    /// and a second for each [`SLOWEST`] bytes of it.
    pub(crate) fn patience(&self, base: Duration) -> Duration {
        let owed = if self.asks_whole() { self.outstanding_bytes / SLOWEST } else { 0 };
        base + Duration::from_secs(u64::from(owed))
    }

    /// The output that says something to it; `None` when its dialect has no words for that.
    pub(crate) fn say(&mut self, now: Time, message: Message) -> Option<Output> {
        let message = match &mut self.talk {
            Talk::BitTorrent => dialect::Message::BitTorrent(message),
            Talk::JsonTorrent(talk) => dialect::Message::JsonTorrent(talk.word_for(message)?),
            Talk::Chunk(talk) => dialect::Message::Chunk(talk.word_for(message)?),
        };
        self.sent = now;
        Some(Output::Send { conn: self.conn, message })
    }
}

impl PeerHandshake {
    /// The dialect that was begun.
    pub fn dialect(&self) -> Dialect {
        match self {
            PeerHandshake::BitTorrent(_) => Dialect::BitTorrent,
            PeerHandshake::Chunk { .. } => Dialect::Chunk,
            PeerHandshake::JsonTorrent { .. } => Dialect::JsonTorrent,
        }
    }
}
