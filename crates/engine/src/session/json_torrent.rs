//! A json-torrent connection: its two state machines, one for each direction, as events and
//! decisions. Whole pieces, one request at a time.
//!
//! The original programs never announce a piece, and a HAVE in the middle of an exchange confuses
//! them. So announcements wait until the peer wants nothing, unless it has announced a piece
//! itself.

use std::time::Duration;

use bytes::Bytes;
use sow_content::Bitfield;
use sow_wire::json_torrent::Message;

use super::{Decision, PeerPieces, SessionEvent};
use crate::{
    disconnect::{DisconnectReason, Misbehavior},
    io::{Direction, Time},
};

/// A connection on which neither side wants anything is closed after this long: the original
/// programs leave the socket open and silent.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// The same while we lack something and the peer announces no pieces: another connection brings a
/// new bitfield.
const RECONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// More pieces than this are not announced one by one to a peer that announces none; another
/// connection with a new bitfield is shorter.
const MAX_ANNOUNCEMENTS: usize = 256;

/// The state of one json-torrent connection.
#[derive(Debug)]
pub(crate) struct JsonTorrentSession {
    pieces: PeerPieces,
    /// The piece that was requested.
    awaited_piece: Option<u32>,
    /// The peer's bitfield was received.
    is_introduced: bool,
    /// The peer announces its pieces, so that it understands announcements.
    announces_pieces: bool,
    /// Since when neither side wants anything.
    idle_since: Option<Time>,
    /// Pieces of ours that are still to be announced.
    unannounced: Vec<u32>,
}

impl JsonTorrentSession {
    pub(super) fn new(pieces: PeerPieces) -> Self {
        Self {
            pieces,
            awaited_piece: None,
            is_introduced: false,
            announces_pieces: false,
            idle_since: None,
            unannounced: Vec::new(),
        }
    }

    pub(super) fn pieces(&self) -> &PeerPieces {
        &self.pieces
    }

    pub(super) fn pieces_mut(&mut self) -> &mut PeerPieces {
        &mut self.pieces
    }

    pub(super) fn is_introduced(&self) -> bool {
        self.is_introduced
    }

    pub(super) fn may_request(&self) -> bool {
        self.awaited_piece.is_none()
    }

    pub(super) fn take_awaited_piece(&mut self) -> Option<u32> {
        self.awaited_piece.take()
    }

    pub(super) fn await_piece_still(&mut self, piece: u32) {
        self.awaited_piece = Some(piece);
    }

    /// What is said before anything else: our pieces.
    pub(crate) fn opening(have: &Bitfield) -> Message {
        let bytes: Vec<u8> = (0..have.len()).map(|piece| u8::from(have.get(piece))).collect();
        Message::Bitfield(bytes.into())
    }

    pub(super) fn encode(&mut self, decision: Decision) -> Option<Message> {
        match decision {
            Decision::Choke => Some(Message::Choke),
            Decision::Unchoke => Some(Message::Unchoke),
            Decision::Interested => Some(Message::Interested),
            Decision::NotInterested => Some(Message::NotInterested),
            Decision::Have(piece) => Some(Message::Have(piece)),
            Decision::Request(block) => {
                self.awaited_piece = Some(block.piece);
                Some(Message::Request(block.piece))
            }
            Decision::KeepAlive
            | Decision::Cancel(_)
            | Decision::Reject(_)
            | Decision::AllowFast(_) => None,
        }
    }

    pub(super) fn handle_message(
        &mut self,
        message: Message,
    ) -> Result<Option<SessionEvent>, DisconnectReason> {
        if !self.is_introduced && !matches!(message, Message::Bitfield(_) | Message::KeepAlive) {
            let unexpected = format!("{} before its Bitfield", message.name());
            return Err(Misbehavior::unexpected(unexpected).into());
        }
        Ok(match message {
            Message::KeepAlive => None,
            Message::Bitfield(bytes) => self.on_bitfield(&bytes)?.map(SessionEvent::Bitfield),
            Message::Choke => Some(SessionEvent::Choked),
            Message::Unchoke => Some(SessionEvent::Unchoked),
            Message::Interested => Some(SessionEvent::Interested),
            Message::NotInterested => Some(SessionEvent::NotInterested),
            Message::Have(piece) => {
                self.announces_pieces = true;
                let is_new = self.pieces.on_have(piece)?;
                Some(match is_new {
                    true => SessionEvent::Have(piece),
                    false => SessionEvent::AnnouncementsAllowed,
                })
            }
            Message::Request(piece) => Some(SessionEvent::PieceRequested(piece)),
            Message::ServerClose => return Err(DisconnectReason::PeerStopped),
        })
    }

    fn on_bitfield(&mut self, bytes: &Bytes) -> Result<Option<Vec<u32>>, Misbehavior> {
        if std::mem::replace(&mut self.is_introduced, true) {
            return Err(Misbehavior::SecondBitfield);
        }
        let Some(have) = self.pieces.have() else { return Ok(None) };
        if bytes.len() != have.len() as usize {
            return Err(Misbehavior::BitfieldMismatch);
        }
        let stated = (0..).zip(bytes).filter(|(_, byte)| **byte != 0).map(|(piece, _)| piece);
        Ok(Some(self.pieces.insert(stated)))
    }

    /// Notes a piece of ours that is to be announced.
    pub(crate) fn defer_have(&mut self, piece: u32) {
        self.unannounced.push(piece);
    }

    /// When there are too many, and another connection is better.
    pub(crate) fn take_announcements(
        &mut self,
        is_peer_interested: bool,
    ) -> Result<Vec<u32>, DisconnectReason> {
        let may_announce = self.announces_pieces || !is_peer_interested;
        if !(self.is_introduced && may_announce) {
            return Ok(Vec::new());
        }
        if !self.announces_pieces && self.unannounced.len() > MAX_ANNOUNCEMENTS {
            return Err(DisconnectReason::Idle);
        }
        let mut pieces = std::mem::take(&mut self.unannounced);
        pieces.retain(|&piece| !self.pieces.have().is_some_and(|have| have.get(piece)));
        Ok(pieces)
    }

    /// Time has passed. `is_idle`: neither side wants anything; `is_complete`: we lack nothing.
    ///
    /// # Errors
    /// When the connection has been idle for too long.
    pub(crate) fn on_tick(
        &mut self,
        now: Time,
        direction: Direction,
        is_idle: bool,
        is_complete: bool,
    ) -> Result<(), DisconnectReason> {
        if !is_idle {
            self.idle_since = None;
            return Ok(());
        }
        let idle_for = now.since(*self.idle_since.get_or_insert(now));
        let peer_lacks = !self.pieces.have().is_some_and(Bitfield::is_full);
        let may_miss_news = direction == Direction::Dialed
            && !is_complete
            && !self.announces_pieces
            && peer_lacks
            && idle_for >= RECONNECT_TIMEOUT;
        let is_over = idle_for >= IDLE_TIMEOUT && (is_complete || !self.announces_pieces);
        if may_miss_news || is_over { Err(DisconnectReason::Idle) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> JsonTorrentSession {
        JsonTorrentSession::new(PeerPieces::new(Some(4)))
    }

    fn bitfield(bytes: &'static [u8]) -> Message {
        Message::Bitfield(Bytes::from_static(bytes))
    }

    #[test]
    fn the_bitfield_comes_first_and_once() {
        let early = session().handle_message(Message::Interested);
        let unexpected = Misbehavior::unexpected("Interested before its Bitfield".to_owned());
        assert_eq!(early, Err(unexpected.into()));
        let mut session = session();
        let first = session.handle_message(bitfield(&[0, 1, 0, 1]));
        assert_eq!(first, Ok(Some(SessionEvent::Bitfield(vec![1, 3]))));
        let second = session.handle_message(bitfield(&[0, 1, 0, 1]));
        assert_eq!(second, Err(Misbehavior::SecondBitfield.into()));
    }

    #[test]
    fn pieces_are_announced_when_the_peer_wants_nothing_or_announces_its_own() {
        let mut session = session();
        session.handle_message(bitfield(&[0, 1, 0, 0])).unwrap();
        (0..3).for_each(|piece| session.defer_have(piece));
        assert_eq!(session.take_announcements(true), Ok(vec![]));
        assert_eq!(session.take_announcements(false), Ok(vec![0, 2]), "it has 1 itself");
        session.defer_have(3);
        session.handle_message(Message::Have(0)).unwrap();
        assert_eq!(session.take_announcements(true), Ok(vec![3]));
    }

    #[test]
    fn an_idle_connection_is_closed() {
        let tick = |session: &mut JsonTorrentSession, seconds: u64, is_complete| {
            session.on_tick(Time(seconds * 1_000_000), Direction::Dialed, true, is_complete)
        };
        let mut complete = session();
        assert_eq!(tick(&mut complete, 0, true), Ok(()));
        assert_eq!(tick(&mut complete, 9, true), Ok(()));
        assert_eq!(tick(&mut complete, 10, true), Err(DisconnectReason::Idle));
        let mut lacking = session();
        assert_eq!(tick(&mut lacking, 0, false), Ok(()));
        assert_eq!(tick(&mut lacking, 2, false), Err(DisconnectReason::Idle));
    }
}
