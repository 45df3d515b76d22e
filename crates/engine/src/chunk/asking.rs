//! The side that asks: a client towards a server or a peer. One question at a time on each
//! connection, as document 1 demands; two connections to everybody keep a round trip from being
//! idle time.

use std::time::Duration;

use sow_content::Geometry;
use sow_wire::chunk::{ErrorId, Message};

use super::lanes;
use crate::{
    disconnect::{DisconnectReason, Misbehavior},
    engine::{Engine, Phase},
    io::{ConnId, Dialect, Event, PeerSource, Time},
    peer::Theirs,
};

/// A list of chunks older than this is asked for anew although there is still something to fetch by
/// it.
const FRESH: Duration = Duration::from_secs(1);

/// A peer that had no news is asked again after this long. (The original waits a second.)
const POLL: Duration = Duration::from_millis(200);

/// The server is asked who else is there this often while something is missing.
const REFRESH: Duration = Duration::from_secs(2);

/// The same once nothing is missing.
const REFRESH_COMPLETE: Duration = Duration::from_secs(30);

/// Refusals of one peer after which it is not asked any more.
const REFUSALS: u32 = 3;

/// A connection that we opened.
#[derive(Debug)]
pub(crate) struct Asking {
    role: Role,
    pending: Pending,
    /// When the question that is pending, or was last, was asked.
    asked_at: Time,
    /// When its list came last, or it told us the peers.
    news_at: Time,
    /// There was something new in it.
    had_news: bool,
    refusals: u32,
}

/// What the other side turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It has not said.
    Unknown,
    /// It has everything, and knows what is right.
    Server {
        /// What it serves.
        geometry: Geometry,
    },
    /// It has what it lists.
    Peer,
}

/// The question that is not answered yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pending {
    Nothing,
    Hello,
    List,
    Chunk(u32),
    Check,
}

impl Asking {
    pub(crate) fn new(now: Time) -> Self {
        Self {
            role: Role::Unknown,
            pending: Pending::Nothing,
            asked_at: now,
            news_at: now,
            had_news: true,
            refusals: 0,
        }
    }

    pub(crate) fn is_free(&self) -> bool {
        self.pending == Pending::Nothing && self.role != Role::Unknown
    }

    pub(crate) fn is_introduced(&self) -> bool {
        self.role != Role::Unknown
    }

    pub(crate) fn is_server(&self) -> bool {
        matches!(self.role, Role::Server { .. })
    }

    pub(crate) fn is_checking(&self) -> bool {
        self.pending == Pending::Check
    }

    pub(crate) fn asked_for(&mut self, piece: u32) {
        self.pending = Pending::Chunk(piece);
    }

    pub(crate) fn take_awaited(&mut self) -> Option<u32> {
        let Pending::Chunk(piece) = self.pending else { return None };
        self.pending = Pending::Nothing;
        Some(piece)
    }
}

impl Engine {
    /// The first thing said on a connection that we opened.
    pub(crate) fn greet_chunk(&mut self, now: Time, conn: ConnId) {
        self.ask(now, conn, Pending::Hello, Message::Hello { port: self.config.listen_port });
    }

    /// What a server or peer answers.
    pub(super) fn chunk_answer(
        &mut self,
        now: Time,
        conn: ConnId,
        message: Message,
    ) -> Result<(), DisconnectReason> {
        let head = message.head();
        let out_of_place = || {
            Err(DisconnectReason::Misbehaved(Misbehavior::UnexpectedMessage(head.as_str().into())))
        };
        let Some(asking) = self.asking(conn) else { return Ok(()) };
        let pending = asking.pending;
        match (message, pending) {
            (Message::Error { id, text }, _) => return self.chunk_refused(now, conn, id, &text),
            (Message::ServerHello { file_size, chunk_size, peers }, Pending::Hello) => {
                asking.pending = Pending::Nothing;
                asking.news_at = now;
                self.server_said_hello(now, conn, (file_size, chunk_size))?;
                for addr in peers {
                    self.book.add(now, addr, PeerSource::Tracker, Dialect::Chunk);
                }
                self.dial(now);
            }
            (Message::PeerHello, Pending::Hello) => {
                asking.pending = Pending::Nothing;
                if matches!(asking.role, Role::Server { .. }) {
                    return out_of_place();
                }
                asking.role = Role::Peer;
                // Its list is asked for at once.
                asking.had_news = true;
                self.unchoked(now, conn)?;
                self.widen(conn);
            }
            (Message::List(ids), Pending::List) => {
                asking.pending = Pending::Nothing;
                asking.news_at = now;
                self.peer_listed(now, conn, &ids)?;
            }
            (Message::Check(md5), Pending::Check) => {
                asking.pending = Pending::Nothing;
                self.check_fits(now, md5)?;
            }
            _ => return out_of_place(),
        }
        self.chunk_turn(now, conn);
        Ok(())
    }

    /// Asks the next question, if it is our turn and there is one.
    pub(super) fn ask_chunk_peer(&mut self, now: Time, conn: ConnId) {
        let Some(asking) = self.asking(conn) else { return };
        if !asking.is_free() {
            return;
        }
        match asking.role {
            Role::Unknown => {}
            Role::Server { .. } => self.ask_server(now, conn),
            Role::Peer => self.ask_peer(now, conn),
        }
    }

    /// The content is known now: whether this server has the same, and that it has all of it.
    pub(crate) fn settle_chunk(&mut self, now: Time, conn: ConnId) -> Result<(), DisconnectReason> {
        let Phase::Ready(ready) = &self.phase else { return Ok(()) };
        let ours = ready.geometry;
        let Some(asking) = self.asking(conn) else { return Ok(()) };
        if let Role::Server { geometry } = asking.role {
            if geometry != ours {
                return Err(DisconnectReason::Misbehaved(Misbehavior::DifferentFile));
            }
            let all: Vec<u32> = (0..ours.pieces()).collect();
            self.gained(now, conn, &all);
        }
        self.unchoked(now, conn)?;
        self.widen(conn);
        self.chunk_turn(now, conn);
        Ok(())
    }

    fn ask_server(&mut self, now: Time, conn: ConnId) {
        if self.prove_with(now, conn) || self.ask_whole(now, conn) {
            return;
        }
        let complete = self.is_complete();
        let Some(asking) = self.asking(conn) else { return };
        let due = if complete { REFRESH_COMPLETE } else { REFRESH };
        if now.since(asking.news_at) >= due {
            let port = self.config.listen_port;
            self.ask(now, conn, Pending::Hello, Message::Hello { port });
        }
    }

    fn ask_peer(&mut self, now: Time, conn: ConnId) {
        if !matches!(&self.phase, Phase::Ready(ready) if !ready.picker.have().is_full()) {
            return;
        }
        let Some(peer) = self.peers.get(&conn) else { return };
        let (addr, has_all) = (peer.addr, peer.is_complete());
        let being_listed = lanes(&self.peers, addr).any(|lane| {
            matches!(&lane.talk, crate::talk::Talk::Chunk(super::ChunkTalk::Asking(lane)) if lane.pending == Pending::List)
        });
        let Some(asking) = self.asking(conn) else { return };
        let age = now.since(asking.news_at);
        let may_list = !has_all && !being_listed;
        let (stale, due) = (age >= FRESH, asking.had_news || age >= POLL);
        let asks_first = !(may_list && stale);
        if asks_first && self.ask_whole(now, conn) {
            return;
        }
        if may_list && due {
            self.ask(now, conn, Pending::List, Message::ListRequest);
        }
    }

    fn server_said_hello(
        &mut self,
        now: Time,
        conn: ConnId,
        said: (u64, u64),
    ) -> Result<(), DisconnectReason> {
        let bad = DisconnectReason::Misbehaved(Misbehavior::InvalidGeometry);
        let geometry = Geometry::new(said.0, said.1).map_err(|_| bad)?;
        // Only those whom the user named are believed; any peer can say that it is a server.
        let is_named = self.peers.get(&conn).is_some_and(|peer| self.book.is_named(peer.addr));
        let Some(asking) = self.asking(conn) else { return Ok(()) };
        match asking.role {
            _ if !is_named => {
                return Err(DisconnectReason::Misbehaved(Misbehavior::UnexpectedMessage(
                    "SHEL from one that is no server".into(),
                )));
            }
            Role::Peer => {
                return Err(DisconnectReason::Misbehaved(Misbehavior::UnexpectedMessage(
                    "SHEL after PHEL".into(),
                )));
            }
            // It told us the peers once more.
            Role::Server { geometry: before } if before == geometry => return Ok(()),
            Role::Server { .. } => {
                return Err(DisconnectReason::Misbehaved(Misbehavior::DifferentFile));
            }
            Role::Unknown => asking.role = Role::Server { geometry },
        }
        let addr = self.peers.get(&conn).map(|peer| peer.addr);
        match (&self.phase, addr) {
            (Phase::Fetching(_), Some(addr)) => {
                self.phase = Phase::Settling;
                self.event(Event::GeometryLearned { addr, geometry });
                Ok(())
            }
            (Phase::Fetching(_) | Phase::Settling, _) => Ok(()),
            (Phase::Ready(_), _) => self.settle_chunk(now, conn),
        }
    }

    /// News from one connection holds for every connection to the same peer.
    fn peer_listed(
        &mut self,
        now: Time,
        conn: ConnId,
        ids: &[u32],
    ) -> Result<(), DisconnectReason> {
        let Some(addr) = self.peers.get(&conn).map(|peer| peer.addr) else { return Ok(()) };
        let all: Vec<ConnId> = lanes(&self.peers, addr).map(|lane| lane.conn).collect();
        for lane in all {
            let Some(Theirs::Known { have, .. }) = self.peers.get(&lane).map(|peer| &peer.theirs)
            else {
                continue;
            };
            if ids.iter().any(|&id| id >= have.len()) {
                return Err(DisconnectReason::Misbehaved(Misbehavior::PieceIndexOutOfRange));
            }
            let mut new: Vec<u32> = ids.iter().copied().filter(|&id| !have.get(id)).collect();
            new.sort_unstable();
            new.dedup();
            if let Some(asking) = self.asking(lane) {
                asking.had_news = !new.is_empty();
                asking.news_at = now;
            }
            self.gained(now, lane, &new);
            if lane != conn {
                self.chunk_turn(now, lane);
            }
        }
        Ok(())
    }

    /// An error instead of an answer.
    fn chunk_refused(
        &mut self,
        now: Time,
        conn: ConnId,
        id: ErrorId,
        text: &str,
    ) -> Result<(), DisconnectReason> {
        let Some(asking) = self.asking(conn) else { return Ok(()) };
        let pending = std::mem::replace(&mut asking.pending, Pending::Nothing);
        asking.refusals += 1;
        let (refusals, is_server) = (asking.refusals, asking.is_server());
        match (pending, id) {
            (Pending::Check, ErrorId::ChecksumNotFit) => self.check_does_not_fit(now, text),
            // What is missing at a server is missing for good; a peer may have it later.
            (Pending::Chunk(_), _) if is_server => {
                return Err(DisconnectReason::Misbehaved(Misbehavior::RefusedAdvertisedPiece));
            }
            (Pending::Chunk(piece), ErrorId::ChunkUndownloaded) if refusals <= REFUSALS => {
                self.refused_piece(now, conn, piece);
            }
            (Pending::Check, _) => {
                self.lost_in_trial(now, conn, true);
                return Err(DisconnectReason::Misbehaved(Misbehavior::RefusedAdvertisedPiece));
            }
            _ => return Err(DisconnectReason::Misbehaved(Misbehavior::RefusedAdvertisedPiece)),
        }
        self.chunk_turn(now, conn);
        Ok(())
    }

    fn refused_piece(&mut self, now: Time, conn: ConnId, piece: u32) {
        let Phase::Ready(ready) = &self.phase else { return };
        let length = ready.geometry.length_of(piece);
        let request = sow_wire::bittorrent::BlockRequest { piece, offset: 0, length };
        // Nothing is wrong with a range that we made ourselves.
        let _ = self.rejected(now, conn, request);
    }

    fn ask(&mut self, now: Time, conn: ConnId, pending: Pending, message: Message) {
        if let Some(asking) = self.asking(conn) {
            asking.pending = pending;
            asking.asked_at = now;
            self.say_chunk(now, conn, message);
        }
    }

    /// Asks a server whether a sum is that of the file.
    pub(super) fn ask_check(&mut self, now: Time, conn: ConnId, md5: [u8; 16]) {
        self.ask(now, conn, Pending::Check, Message::Check(md5));
    }

    /// What a piece that came on a connection is worth: a server's is right, a peer's has to be
    /// proved.
    pub(crate) fn note_origin(&mut self, conn: ConnId, piece: u32) {
        let Some(peer) = self.peers.get(&conn) else { return };
        let addr = peer.addr;
        let is_server = self.asking(conn).is_some_and(|asking| asking.is_server());
        let Phase::Ready(ready) = &mut self.phase else { return };
        if let Some(trial) = &mut ready.trial {
            trial.came(piece, (!is_server).then_some(addr));
        }
    }
}
