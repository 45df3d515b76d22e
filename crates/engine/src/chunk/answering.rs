//! The side that answers: a server, or a client towards its peers. Every question gets its answer,
//! or the document's `ERROR`; nothing is asked here.

use std::{net::SocketAddr, time::Duration};

use sow_content::{Bitfield, hash::hexadecimal};
use sow_wire::chunk::{
    ErrorId, MAX_CHUNK_LIST, Message, ORIGINAL_MESSAGE_LIMIT, Spelling, fitting_ids, fitting_peers,
};

use super::ChunkTalk;
use crate::{
    disconnect::{DisconnectReason, Misbehavior},
    engine::{Engine, Phase},
    io::{ConnId, Dialect, Event, PeerSource, Time},
    meeting::made_up,
    talk::Talk,
};

/// A list without news is kept back for this long at most: who asked learns of the next chunk as
/// soon as it is here, instead of asking again after a second.
const HOLD: Duration = Duration::from_secs(1);

/// So many chunks are news, at a list of this many times as many: a long list is not sent for every
/// chunk.
const NEWS_PART: u32 = 32;

/// Longer lists are sent in part, as the originals do: what we read ourselves is bounded too.
const LISTED: u32 = 200_000;

/// Errors that one caller is answered; then it is hung up on.
const ERRORS: u32 = 16;

/// Addresses in one `SHEL`.
const PEERS: usize = 1000;

/// A connection on which we were called.
#[derive(Debug, Default)]
pub(crate) struct Answering {
    /// Where the caller can be called, as it said; `None` before its `CHEL`.
    pub(super) port: Option<u16>,
    /// The chunks that it was told of.
    told: Option<Bitfield>,
    /// Since when it waits for a list.
    waits: Option<Time>,
    /// Checks wait for our own sum.
    check: Option<[u8; 16]>,
    errors: u32,
    /// Refusals that people could read of.
    told_of: u32,
}

impl Engine {
    /// What a caller asks.
    pub(super) fn chunk_question(
        &mut self,
        now: Time,
        conn: ConnId,
        message: Message,
    ) -> Result<(), DisconnectReason> {
        let Some(answering) = self.answering(conn) else { return Ok(()) };
        let greeted = answering.port.is_some();
        let asked = message.head();
        match message {
            Message::Hello { port } => self.said_hello(now, conn, port),
            Message::ListRequest if greeted => {
                answering.waits = Some(now);
                self.answer_list(now, conn);
                Ok(())
            }
            Message::Request(id) if greeted => self.chunk_requested(now, conn, id),
            Message::Check(md5) if greeted => {
                answering.check = Some(md5);
                self.answer_check(now, conn);
                Ok(())
            }
            // Whoever tells us of an error does not wait for an answer.
            Message::Error { .. } => self.count_error(conn),
            Message::Unknown { .. } => {
                self.answer_error(now, conn, &asked, ErrorId::UnknownCommand, String::new())?;
                // What follows such a head cannot be told from the next one.
                Err(DisconnectReason::Misbehaved(Misbehavior::UnexpectedMessage(asked.into())))
            }
            _ => self.answer_error(now, conn, &asked, ErrorId::UnknownCommand, String::new()),
        }
    }

    /// What a caller sent cannot be understood: that is an unknown command too.
    pub(crate) fn answer_unreadable(&mut self, now: Time, conn: ConnId) {
        if self.answering(conn).is_some() {
            let error = Message::Error { id: ErrorId::UnknownCommand, text: String::new() };
            self.say_chunk(now, conn, error);
        }
    }

    /// Answers a `CLREQ` that waits, when there is news or it has waited long enough.
    pub(super) fn answer_list(&mut self, now: Time, conn: ConnId) {
        let Phase::Ready(ready) = &self.phase else { return };
        let have = ready.picker.have();
        let spelling = self.config.chunk.spelling;
        let Some(Talk::Chunk(ChunkTalk::Answering(answering))) =
            self.peers.get_mut(&conn).map(|peer| &mut peer.talk)
        else {
            return;
        };
        let Some(since) = answering.waits else { return };
        let told = answering.told.as_ref().map_or(0, Bitfield::count);
        let news = have.count() - told;
        let enough = answering.told.is_none() || news > told / NEWS_PART || have.is_full();
        if !enough && now.since(since) < HOLD {
            return;
        }
        answering.waits = None;
        let told = answering.told.get_or_insert_with(|| Bitfield::new(have.len()));
        let ids: Vec<u32> = match spelling {
            Spelling::Documented if have.count() <= LISTED => have.iter().collect(),
            spelling => {
                let most = if spelling == Spelling::Original {
                    ORIGINAL_MESSAGE_LIMIT
                } else {
                    MAX_CHUNK_LIST / 2
                };
                let (mut new, mut old): (Vec<u32>, Vec<u32>) =
                    have.iter().partition(|&piece| !told.get(piece));
                self.rng.shuffle(&mut new);
                self.rng.shuffle(&mut old);
                fitting_ids(new.into_iter().chain(old), most)
            }
        };
        ids.iter().for_each(|&piece| _ = told.set(piece));
        self.say_chunk(now, conn, Message::List(ids));
    }

    /// The sum of what is here is known, or was asked for: answers a `CHECK` that waits.
    pub(super) fn answer_check(&mut self, now: Time, conn: ConnId) {
        let Some(check) = self.answering(conn).and_then(|answering| answering.check) else {
            return;
        };
        if !self.is_complete() {
            let Some(answering) = self.answering(conn) else { return };
            answering.check = None;
            // Only who has the right file can tell.
            let asked = Message::Check(check).head();
            let refused =
                self.answer_error(now, conn, &asked, ErrorId::UnknownCommand, String::new());
            return self.drop_on(now, conn, refused);
        }
        let Some(md5) = self.own_sum() else { return };
        let Some(answering) = self.answering(conn) else { return };
        answering.check = None;
        if check == md5 {
            self.say_chunk(now, conn, Message::Check(md5));
            self.caller_is_complete(now, conn);
        } else {
            let asked = Message::Check(check).head();
            let refused =
                self.answer_error(now, conn, &asked, ErrorId::ChecksumNotFit, hexadecimal(&md5));
            self.drop_on(now, conn, refused);
        }
    }

    fn said_hello(&mut self, now: Time, conn: ConnId, port: u16) -> Result<(), DisconnectReason> {
        let Some(answering) = self.answering(conn) else { return Ok(()) };
        // Later ones ask for the list of peers again. Whoever named a port once is known by it.
        let is_first = answering.port.is_none();
        let port = *answering.port.get_or_insert(port);
        let Some(peer) = self.peers.get_mut(&conn) else { return Ok(()) };
        let addr = peer.addr;
        if is_first && port != 0 {
            // All connections of one caller have one name.
            peer.handshake = made_up(b"chunk", SocketAddr::new(addr.ip(), port));
        }
        let peer_id = peer.handshake.peer_id;
        if is_first {
            self.event(Event::PeerConnected { conn, addr, peer_id });
        }
        if self.config.chunk.server {
            let Phase::Ready(ready) = &self.phase else {
                return Err(DisconnectReason::ShuttingDown);
            };
            let (file_size, chunk_size) =
                (ready.geometry.total(), u64::from(ready.geometry.piece_length()));
            let peers = self.others_for(conn, (file_size, chunk_size));
            let hello = Message::ServerHello { file_size, chunk_size, peers };
            self.say_chunk(now, conn, hello);
            return Ok(());
        }
        self.say_chunk(now, conn, Message::PeerHello);
        // Peers are met from both sides, unless we need nobody.
        if port != 0 && !self.is_complete() {
            self.book.add(
                now,
                SocketAddr::new(addr.ip(), port),
                PeerSource::Incoming,
                Dialect::Chunk,
            );
            self.dial(now);
        }
        Ok(())
    }

    /// Where the other clients of this server can be called, in random order: as many as there is
    /// room for beside the file size and the chunk size.
    fn others_for(&mut self, conn: ConnId, said: (u64, u64)) -> Vec<SocketAddr> {
        let own = self.peers.get(&conn).and_then(|peer| peer.listen_addr());
        let chunk = self.peers.values().filter(|peer| peer.dialect() == Dialect::Chunk);
        let mut others: Vec<SocketAddr> = chunk.filter_map(|peer| peer.listen_addr()).collect();
        others.sort_unstable();
        others.dedup();
        others.retain(|addr| Some(*addr) != own);
        self.rng.shuffle(&mut others);
        others.truncate(PEERS);
        match self.config.chunk.spelling {
            Spelling::Documented => others,
            Spelling::Original => fitting_peers(said.0, said.1, others, ORIGINAL_MESSAGE_LIMIT),
        }
    }

    fn chunk_requested(
        &mut self,
        now: Time,
        conn: ConnId,
        id: i64,
    ) -> Result<(), DisconnectReason> {
        let asked = Message::Request(id).head();
        let Phase::Ready(ready) = &self.phase else {
            return self.answer_error(now, conn, &asked, ErrorId::ChunkUndownloaded, String::new());
        };
        let piece = u32::try_from(id).unwrap_or(u32::MAX);
        let length = ready.geometry.length_of(piece);
        if length == 0 {
            return self.answer_error(now, conn, &asked, ErrorId::OffsetOverflow, String::new());
        }
        if !ready.picker.have().get(piece) {
            // An original would count the chunk as downloaded.
            if self.config.chunk.spelling == Spelling::Original {
                return Err(DisconnectReason::PieceNotAvailable);
            }
            return self.answer_error(now, conn, &asked, ErrorId::ChunkUndownloaded, String::new());
        }
        self.queue_whole(now, conn, piece, length)
    }

    /// Answers `asked`, the head of a message, with an error.
    fn answer_error(
        &mut self,
        now: Time,
        conn: ConnId,
        asked: &str,
        id: ErrorId,
        text: String,
    ) -> Result<(), DisconnectReason> {
        self.tell_of_refusal(conn, asked, id);
        self.say_chunk(now, conn, Message::Error { id, text });
        // A client whose file is not right may ask for its sum as often as it repairs something.
        if id == ErrorId::ChecksumNotFit { Ok(()) } else { self.count_error(conn) }
    }

    /// Says what was refused; as often as a caller may make mistakes.
    fn tell_of_refusal(&mut self, conn: ConnId, asked: &str, answer: ErrorId) {
        let Some(addr) = self.peers.get(&conn).map(|peer| peer.addr) else { return };
        let Some(answering) = self.answering(conn) else { return };
        answering.told_of += 1;
        if answering.told_of <= ERRORS {
            self.event(Event::RequestRefused {
                addr,
                asked: asked.to_owned(),
                answer: answer.name(),
            });
        }
    }

    fn count_error(&mut self, conn: ConnId) -> Result<(), DisconnectReason> {
        let Some(answering) = self.answering(conn) else { return Ok(()) };
        answering.errors += 1;
        if answering.errors > ERRORS {
            Err(DisconnectReason::Misbehaved(Misbehavior::TooManyErrors))
        } else {
            Ok(())
        }
    }

    /// Every connection of a caller whose sum fits belongs to somebody who has everything.
    fn caller_is_complete(&mut self, now: Time, conn: ConnId) {
        let Some(listen) = self.peers.get(&conn).map(|peer| peer.listen_addr()) else { return };
        let Phase::Ready(ready) = &self.phase else { return };
        let all: Vec<u32> = (0..ready.geometry.pieces()).collect();
        let same: Vec<ConnId> = self
            .peers
            .values()
            .filter(|peer| peer.conn == conn || (listen.is_some() && peer.listen_addr() == listen))
            .map(|peer| peer.conn)
            .collect();
        for conn in same {
            let Some(have) = self.peers.get(&conn).and_then(|peer| peer.have()) else { continue };
            let new: Vec<u32> = all.iter().copied().filter(|&piece| !have.get(piece)).collect();
            self.gained(now, conn, &new);
        }
    }

    fn drop_on(&mut self, now: Time, conn: ConnId, result: Result<(), DisconnectReason>) {
        if let Err(reason) = result {
            self.drop_peer(now, conn, reason);
        }
    }
}
