//! One connection's protocol: a state machine for each dialect. Messages of the peer become
//! [`SessionEvent`]s or a reason to disconnect it; [`Decision`]s become messages to it.
//!
//! A session knows what was said on its own connection. It knows no other connection, calls
//! nothing outside this folder, and decides nothing about pieces, slots or addresses.

pub(crate) mod bittorrent;
pub(crate) mod chunk;
mod decision;
mod event;
pub(crate) mod json_torrent;
pub(crate) mod message_budget;
mod peer_pieces;

use sow_content::Bitfield;
use sow_wire::dialect::Message;

use self::{bittorrent::BitTorrentSession, chunk::ChunkSession, json_torrent::JsonTorrentSession};
pub(crate) use self::{decision::Decision, event::SessionEvent, peer_pieces::PeerPieces};
use crate::{
    disconnect::{DisconnectReason, Misbehavior},
    io::{Dialect, Direction, PeerHandshake, Time},
};

/// The state of one connection's protocol, by its dialect.
#[derive(Debug)]
pub(crate) enum Session {
    BitTorrent(Box<BitTorrentSession>),
    JsonTorrent(JsonTorrentSession),
    Chunk(ChunkSession),
}

impl Session {
    /// The session of a connection that is open. `pieces`: the number of pieces of the content, if
    /// it is known.
    pub(crate) fn new(
        now: Time,
        handshake: PeerHandshake,
        direction: Direction,
        pieces: Option<u32>,
    ) -> Self {
        let pieces = PeerPieces::new(pieces);
        match handshake {
            PeerHandshake::BitTorrent(handshake) => {
                Self::BitTorrent(Box::new(BitTorrentSession::new(now, &handshake, pieces)))
            }
            PeerHandshake::JsonTorrent { .. } => Self::JsonTorrent(JsonTorrentSession::new(pieces)),
            PeerHandshake::Chunk { .. } => Self::Chunk(ChunkSession::new(now, direction, pieces)),
        }
    }

    /// Takes in a message of the peer. `None`: nothing follows from it outside the session.
    ///
    /// # Errors
    /// When the message is a reason to disconnect the peer.
    pub(crate) fn handle_message(
        &mut self,
        now: Time,
        message: Message,
    ) -> Result<Option<SessionEvent>, DisconnectReason> {
        match (self, message) {
            (Self::BitTorrent(session), Message::BitTorrent(message)) => {
                session.handle_message(now, message)
            }
            (Self::JsonTorrent(session), Message::JsonTorrent(message)) => {
                session.handle_message(message)
            }
            (Self::Chunk(session), Message::Chunk(message)) => session.handle_message(now, message),
            (_, other) => {
                Err(Misbehavior::unexpected(format!("one of {}", other.dialect())).into())
            }
        }
    }

    /// The message that says a decision; `None` when the dialect has none.
    pub(crate) fn encode(&mut self, decision: Decision) -> Option<Message> {
        match self {
            Self::BitTorrent(_) => Some(Message::BitTorrent(bittorrent::encode(decision))),
            Self::JsonTorrent(session) => session.encode(decision).map(Message::JsonTorrent),
            Self::Chunk(session) => session.encode(decision).map(Message::Chunk),
        }
    }

    pub(crate) fn dialect(&self) -> Dialect {
        match self {
            Self::BitTorrent(_) => Dialect::BitTorrent,
            Self::JsonTorrent(_) => Dialect::JsonTorrent,
            Self::Chunk(_) => Dialect::Chunk,
        }
    }

    /// What the peer has, as far as it said.
    pub(crate) fn pieces(&self) -> &PeerPieces {
        match self {
            Self::BitTorrent(session) => session.pieces(),
            Self::JsonTorrent(session) => session.pieces(),
            Self::Chunk(session) => session.pieces(),
        }
    }

    pub(crate) fn pieces_mut(&mut self) -> &mut PeerPieces {
        match self {
            Self::BitTorrent(session) => session.pieces_mut(),
            Self::JsonTorrent(session) => session.pieces_mut(),
            Self::Chunk(session) => session.pieces_mut(),
        }
    }

    /// What the peer has; `None` before the metadata is known.
    pub(crate) fn have(&self) -> Option<&Bitfield> {
        self.pieces().have()
    }

    /// Whether the dialect requests whole pieces, one at a time on each connection.
    pub(crate) fn requests_whole_pieces(&self) -> bool {
        !matches!(self, Self::BitTorrent(_))
    }

    /// Whether every request is answered by its block or a reject (BEP 6).
    pub(crate) fn is_fast(&self) -> bool {
        matches!(self, Self::BitTorrent(session) if session.is_fast())
    }

    /// Whether a request may be sent: nothing has to be received before it.
    pub(crate) fn may_request(&self) -> bool {
        match self {
            Self::BitTorrent(_) => true,
            Self::JsonTorrent(session) => session.may_request(),
            Self::Chunk(session) => session.may_request(),
        }
    }

    /// The piece that the peer was asked for, in a dialect of whole pieces. It counts as answered
    /// from here on.
    pub(crate) fn take_awaited_piece(&mut self) -> Option<u32> {
        match self {
            Self::BitTorrent(_) => None,
            Self::JsonTorrent(session) => session.take_awaited_piece(),
            Self::Chunk(session) => session.take_awaited_piece(),
        }
    }

    /// What arrived may answer an earlier request, which a choke made void for us and not for the
    /// peer: the piece is awaited as before. False where that cannot be.
    pub(crate) fn await_piece_still(&mut self, piece: u32) -> bool {
        match self {
            Self::JsonTorrent(session) => session.await_piece_still(piece),
            Self::BitTorrent(_) | Self::Chunk(_) => return false,
        }
        true
    }

    /// Whether the message that has to be the first was received.
    pub(crate) fn is_introduced(&self) -> bool {
        match self {
            Self::BitTorrent(_) => true,
            Self::JsonTorrent(session) => session.is_introduced(),
            Self::Chunk(session) => session.is_introduced(),
        }
    }

    /// The port on which a peer that connected to us accepts connections, as it said.
    pub(crate) fn listen_port(&self) -> Option<u16> {
        match self {
            Self::BitTorrent(session) => session.extension().listen_port(),
            Self::JsonTorrent(_) => None,
            Self::Chunk(session) => session.listen_port(),
        }
    }

    /// Whether an unchoke is only an answer to interest: json-torrent allows no other.
    pub(crate) fn unchokes_only_interested(&self) -> bool {
        matches!(self, Self::JsonTorrent(_))
    }

    pub(crate) fn bittorrent(&self) -> Option<&BitTorrentSession> {
        match self {
            Self::BitTorrent(session) => Some(session),
            Self::JsonTorrent(_) | Self::Chunk(_) => None,
        }
    }

    pub(crate) fn bittorrent_mut(&mut self) -> Option<&mut BitTorrentSession> {
        match self {
            Self::BitTorrent(session) => Some(session),
            Self::JsonTorrent(_) | Self::Chunk(_) => None,
        }
    }

    pub(crate) fn json_torrent_mut(&mut self) -> Option<&mut JsonTorrentSession> {
        match self {
            Self::JsonTorrent(session) => Some(session),
            Self::BitTorrent(_) | Self::Chunk(_) => None,
        }
    }

    pub(crate) fn chunk(&self) -> Option<&ChunkSession> {
        match self {
            Self::Chunk(session) => Some(session),
            Self::BitTorrent(_) | Self::JsonTorrent(_) => None,
        }
    }

    pub(crate) fn chunk_mut(&mut self) -> Option<&mut ChunkSession> {
        match self {
            Self::Chunk(session) => Some(session),
            Self::BitTorrent(_) | Self::JsonTorrent(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use sow_content::Block;
    use sow_wire::{chunk, json_torrent};

    use super::*;

    const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn chunk_session() -> Session {
        let handshake = PeerHandshake::Chunk { local: LOCAL };
        Session::new(Time(0), handshake, Direction::Dialed, Some(4))
    }

    fn json_session() -> Session {
        let handshake = PeerHandshake::JsonTorrent { local: LOCAL };
        Session::new(Time(0), handshake, Direction::Dialed, Some(4))
    }

    #[test]
    fn a_message_of_another_dialect_is_unexpected() {
        let message = Message::Chunk(chunk::Message::PeerHello);
        let result = json_session().handle_message(Time(0), message);
        assert_eq!(result, Err(Misbehavior::unexpected("one of chunk".to_owned()).into()));
    }

    #[test]
    fn a_decision_is_said_in_the_dialect_or_not_at_all() {
        let request = Decision::Request(Block { piece: 3, offset: 0, length: 10 });
        let json = json_torrent::Message::Request(3);
        assert_eq!(json_session().encode(request), Some(Message::JsonTorrent(json)));
        let chunk = chunk::Message::Request(3);
        assert_eq!(chunk_session().encode(request), Some(Message::Chunk(chunk)));
        assert_eq!(chunk_session().encode(Decision::Unchoke), None);
        assert_eq!(json_session().encode(Decision::KeepAlive), None);
    }

    #[test]
    fn a_whole_piece_is_requested_one_at_a_time() {
        let mut session = json_session();
        assert!(session.may_request());
        session.encode(Decision::Request(Block { piece: 3, offset: 0, length: 10 }));
        assert!(!session.may_request());
        assert_eq!(session.take_awaited_piece(), Some(3));
        assert!(session.may_request());
    }
}
