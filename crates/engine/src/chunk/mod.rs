//! Document 1's P2P protocol (section 2): who says what when, put onto what `downloading` and
//! `uploading` decide.
//!
//! Every connection has two roles that never change: who called asks, who was called answers. A
//! pair of peers that want something of each other has a connection each way. There are no hashes
//! of chunks: `proving` finds out at the end whether all is right.

mod answering;
mod asking;
mod proving;
mod trial;

use std::net::SocketAddr;

use sow_wire::{bittorrent::Message as Word, chunk::Message, dialect};

pub(crate) use self::{answering::Answering, asking::Asking, trial::Trial};
use crate::{
    disconnect::DisconnectReason,
    engine::Engine,
    io::{ConnId, Dialect, Direction, Time},
    peer::Peer,
    talk::Talk,
};

/// The state of one conversation.
#[derive(Debug)]
pub(crate) enum ChunkTalk {
    /// We called.
    Asking(Asking),
    /// It called.
    Answering(Answering),
}

impl ChunkTalk {
    pub(crate) fn new(direction: Direction, now: Time) -> Self {
        match direction {
            Direction::Dialed => Self::Asking(Asking::new(now)),
            Direction::Accepted => Self::Answering(Answering::default()),
        }
    }

    pub(crate) fn may_be_asked(&self) -> bool {
        matches!(self, Self::Asking(asking) if asking.is_free())
    }

    pub(crate) fn take_awaited(&mut self) -> Option<u32> {
        match self {
            Self::Asking(asking) => asking.take_awaited(),
            Self::Answering(_) => None,
        }
    }

    /// Where others can call whoever is at the other end, when it called us.
    pub(crate) fn listen_port(&self) -> Option<u16> {
        match self {
            Self::Asking(_) => None,
            Self::Answering(answering) => answering.port.filter(|&port| port != 0),
        }
    }

    /// Whether we called a peer, and it answered.
    pub(crate) fn is_introduced_peer(&self) -> bool {
        matches!(self, Self::Asking(asking) if asking.is_introduced() && !asking.is_server())
    }

    /// Whether we called a server.
    pub(crate) fn is_server(&self) -> bool {
        matches!(self, Self::Asking(asking) if asking.is_server())
    }

    pub(crate) fn is_introduced(&self) -> bool {
        match self {
            Self::Asking(asking) => asking.is_introduced(),
            Self::Answering(answering) => answering.port.is_some(),
        }
    }

    /// Whether a server is being asked whether our sum is right.
    pub(crate) fn is_checking(&self) -> bool {
        matches!(self, Self::Asking(asking) if asking.is_checking())
    }

    /// The same in the words of this dialect.
    pub(crate) fn word_for(&mut self, word: Word) -> Option<Message> {
        match (self, word) {
            (Self::Asking(asking), Word::Request(request)) => {
                asking.asked_for(request.piece);
                Some(Message::Request(i64::from(request.piece)))
            }
            // Who is interested asks, and what is new is told to who asks; there is nothing to
            // choke or to cancel.
            _ => None,
        }
    }
}

impl Engine {
    /// Everything but payload that is said in this dialect.
    pub(crate) fn chunk_message(
        &mut self,
        now: Time,
        conn: ConnId,
        message: Message,
    ) -> Result<(), DisconnectReason> {
        match self.chunk_talk(conn) {
            Some(ChunkTalk::Asking(_)) => self.chunk_answer(now, conn, message),
            Some(ChunkTalk::Answering(_)) => self.chunk_question(now, conn, message),
            None => Ok(()),
        }
    }

    /// What can be done now that something has changed or time has passed.
    pub(crate) fn chunk_turn(&mut self, now: Time, conn: ConnId) {
        match self.chunk_talk(conn) {
            Some(ChunkTalk::Asking(_)) => self.ask_chunk_peer(now, conn),
            Some(ChunkTalk::Answering(_)) => self.answer_list(now, conn),
            None => {}
        }
    }

    /// The same for everybody who speaks this dialect.
    pub(crate) fn chunk_turns(&mut self, now: Time) {
        let chunk = self.peers.values().filter(|peer| peer.dialect() == Dialect::Chunk);
        let conns: Vec<ConnId> = chunk.map(|peer| peer.conn).collect();
        conns.into_iter().for_each(|conn| self.chunk_turn(now, conn));
    }

    /// Whether a connection that we opened is of no use any more once we have everything. One to a
    /// server is kept, so that it goes on naming us to others.
    pub(crate) fn is_chunk_over(&self, conn: ConnId) -> bool {
        let Some(peer) = self.peers.get(&conn) else { return true };
        // Who called us hangs up when it is done; a server goes on naming it to others until then.
        let Talk::Chunk(ChunkTalk::Asking(asking)) = &peer.talk else { return false };
        let first = lanes(&self.peers, peer.addr).next().is_some_and(|lane| lane.conn == conn);
        !(asking.is_server() && first)
    }

    fn chunk_talk(&mut self, conn: ConnId) -> Option<&mut ChunkTalk> {
        match &mut self.peers.get_mut(&conn)?.talk {
            Talk::Chunk(talk) => Some(talk),
            Talk::BitTorrent | Talk::JsonTorrent(_) => None,
        }
    }

    fn asking(&mut self, conn: ConnId) -> Option<&mut Asking> {
        match self.chunk_talk(conn)? {
            ChunkTalk::Asking(asking) => Some(asking),
            ChunkTalk::Answering(_) => None,
        }
    }

    fn answering(&mut self, conn: ConnId) -> Option<&mut Answering> {
        match self.chunk_talk(conn)? {
            ChunkTalk::Answering(answering) => Some(answering),
            ChunkTalk::Asking(_) => None,
        }
    }

    fn say_chunk(&mut self, now: Time, conn: ConnId, message: Message) {
        self.send_as(now, conn, dialect::Message::Chunk(message));
    }
}

/// The connections to the same address that we called, this one included.
fn lanes(
    peers: &std::collections::BTreeMap<ConnId, Peer>,
    addr: SocketAddr,
) -> impl Iterator<Item = &Peer> {
    peers.values().filter(move |peer| {
        peer.addr == addr && peer.direction == Direction::Dialed && peer.dialect() == Dialect::Chunk
    })
}
