//! Events that only the chunk protocol has: hellos, lists, requests for chunks. The MD5 of the file
//! is in `verification`.

use std::net::SocketAddr;

use sow_content::Geometry;
use sow_wire::chunk::{ErrorId, Message, ORIGINAL_MESSAGE_LIMIT, Spelling, fitting_peers};

use super::super::{ContentPhase, Engine};
use crate::{
    address_book::Source,
    connections::Connection,
    disconnect::{DisconnectReason, Misbehavior},
    io::{ConnId, Dialect, Event, PeerSource, Time},
    session::chunk::{ChunkSession, Requester, Responder, Role},
};

/// Addresses in one `SHEL`.
const MAX_HELLO_PEERS: usize = 1000;

impl Engine {
    /// Asks or answers what can be asked or answered now that something has changed or time has
    /// passed.
    pub(super) fn run_chunk_session(&mut self, now: Time, conn: ConnId) {
        match self.connections.get(conn).and_then(|peer| peer.session().chunk()) {
            Some(ChunkSession::Requester(requester)) if requester.may_ask() => {
                match requester.role() {
                    Role::Unknown => {}
                    Role::Server { .. } => self.ask_server(now, conn),
                    Role::Peer => self.ask_peer(now, conn),
                }
            }
            Some(ChunkSession::Responder(_)) => self.answer_list(now, conn),
            Some(ChunkSession::Requester(_)) | None => {}
        }
    }

    /// The same on every chunk connection.
    pub(in crate::engine) fn run_chunk_sessions(&mut self, now: Time) {
        for conn in self.connections.ids_in(Dialect::Chunk) {
            self.run_chunk_session(now, conn);
        }
    }

    /// Whether a connection that we dialed has no use any more once everything is here. One to a
    /// server is kept, so that it names us to others; a client closes its connections itself.
    pub(super) fn is_chunk_session_over(&self, connection: &Connection) -> bool {
        let session = connection.session().chunk();
        let Some(requester) = session.and_then(ChunkSession::requester) else { return false };
        let mut same = self.connections.dialed_to(connection.addr(), Dialect::Chunk);
        let is_first = same.next().is_some_and(|first| first.conn() == connection.conn());
        !(requester.is_server() && is_first)
    }

    fn requester(&mut self, conn: ConnId) -> Option<&mut Requester> {
        self.connections.get_mut(conn)?.session_mut().chunk_mut()?.requester_mut()
    }

    pub(super) fn responder(&mut self, conn: ConnId) -> Option<&mut Responder> {
        self.connections.get_mut(conn)?.session_mut().chunk_mut()?.responder_mut()
    }

    pub(super) fn send_chunk_message(&mut self, now: Time, conn: ConnId, message: Message) {
        self.send_message(now, conn, sow_wire::dialect::Message::Chunk(message));
    }

    /// Asks a question on a connection that we dialed.
    pub(super) fn ask(
        &mut self,
        now: Time,
        conn: ConnId,
        question: impl FnOnce(&mut Requester) -> Message,
    ) {
        if let Some(message) = self.requester(conn).map(question) {
            self.send_chunk_message(now, conn, message);
        }
    }

    /// The first question on a connection: what the other side is.
    pub(super) fn ask_hello(&mut self, now: Time, conn: ConnId) {
        let port = self.config.listen_port;
        self.ask(now, conn, |requester| requester.ask_hello(port));
    }

    fn ask_server(&mut self, now: Time, conn: ConnId) {
        if self.take_verification_step(now, conn) || self.request_piece(now, conn) {
            return;
        }
        let is_complete = self.is_complete();
        if self.requester(conn).is_some_and(|server| server.is_refresh_due(now, is_complete)) {
            self.ask_hello(now, conn);
        }
    }

    fn ask_peer(&mut self, now: Time, conn: ConnId) {
        if !self.is_content_ready() || self.downloads.have().is_full() {
            return;
        }
        let Some(connection) = self.connections.get(conn) else { return };
        let requester = |other: &Connection| {
            other.session().chunk().and_then(ChunkSession::requester).map(Requester::is_listing)
        };
        // The list of one connection holds for all connections to the same peer.
        let is_listing = self
            .connections
            .dialed_to(connection.addr(), Dialect::Chunk)
            .any(|other| requester(other) == Some(true));
        let may_list = !connection.is_complete() && !is_listing;
        let Some(peer) = self.requester(conn) else { return };
        let (is_stale, is_due) = (peer.is_list_stale(now), peer.is_list_due(now));
        let requests_first = !(may_list && is_stale);
        if requests_first && self.request_piece(now, conn) {
            return;
        }
        if may_list && is_due {
            self.ask(now, conn, Requester::ask_list);
        }
    }

    /// The content is known: a server has to have the same, and has all of it.
    pub(super) fn begin_chunk_session(
        &mut self,
        now: Time,
        conn: ConnId,
    ) -> Result<(), DisconnectReason> {
        let ours = self.downloads.geometry();
        let Some(requester) = self.requester(conn) else { return Ok(()) };
        if let Role::Server { geometry } = requester.role() {
            if geometry != ours {
                return Err(Misbehavior::DifferentFile.into());
            }
            self.add_pieces(now, conn, 0..ours.pieces());
        }
        self.on_unchoke(now, conn);
        self.dial_second_connection(conn);
        self.run_chunk_session(now, conn);
        Ok(())
    }

    /// Takes note of pieces that a peer has.
    pub(super) fn add_pieces(
        &mut self,
        now: Time,
        conn: ConnId,
        pieces: impl Iterator<Item = u32>,
    ) -> bool {
        let Some(connection) = self.connections.get_mut(conn) else { return false };
        let new = connection.session_mut().pieces_mut().insert(pieces);
        self.on_pieces(now, conn, &new);
        !new.is_empty()
    }

    pub(super) fn on_server_hello(
        &mut self,
        now: Time,
        conn: ConnId,
        geometry: Geometry,
        peers: Vec<SocketAddr>,
    ) -> Result<(), DisconnectReason> {
        let Some(addr) = self.connections.get(conn).map(Connection::addr) else { return Ok(()) };
        // Any peer can say that it is a server; one that the user named is believed.
        if !self.connections.is_named(addr) {
            let text = "SHEL from one that is no server".to_owned();
            return Err(Misbehavior::unexpected(text).into());
        }
        let Some(requester) = self.requester(conn) else { return Ok(()) };
        if requester.on_server(geometry)? {
            match &self.content {
                ContentPhase::FetchingMetadata(_) => {
                    self.content = ContentPhase::AwaitingStore;
                    self.event(Event::GeometryLearned { addr, geometry });
                }
                ContentPhase::AwaitingStore => {}
                ContentPhase::Ready { .. } => self.begin_chunk_session(now, conn)?,
            }
        }
        let source = Source::peer(PeerSource::Tracker, addr);
        self.on_peers_found(now, &source, Dialect::Chunk, peers);
        self.run_chunk_session(now, conn);
        Ok(())
    }

    pub(super) fn on_peer_hello(&mut self, now: Time, conn: ConnId) {
        self.on_unchoke(now, conn);
        self.dial_second_connection(conn);
        self.run_chunk_session(now, conn);
    }

    /// A list on one connection holds for every connection to the same peer.
    pub(super) fn on_list(
        &mut self,
        now: Time,
        conn: ConnId,
        ids: &[u32],
    ) -> Result<(), DisconnectReason> {
        let Some(addr) = self.connections.get(conn).map(Connection::addr) else { return Ok(()) };
        let to_peer = self.connections.dialed_to(addr, Dialect::Chunk);
        let conns: Vec<ConnId> = to_peer.map(Connection::conn).collect();
        for other in conns {
            let Some(have) = self.connections.get(other).and_then(Connection::have) else {
                continue;
            };
            if ids.iter().any(|&id| id >= have.len()) {
                return Err(Misbehavior::PieceIndexOutOfRange.into());
            }
            let mut new: Vec<u32> = ids.iter().copied().filter(|&id| !have.get(id)).collect();
            new.sort_unstable();
            new.dedup();
            if let Some(requester) = self.requester(other) {
                requester.on_list(now, !new.is_empty());
            }
            self.add_pieces(now, other, new.into_iter());
            if other != conn {
                self.run_chunk_session(now, other);
            }
        }
        self.run_chunk_session(now, conn);
        Ok(())
    }

    pub(super) fn on_chunk_refused(&mut self, now: Time, conn: ConnId, piece: u32) {
        if let Some(block) = self.downloads.whole_piece(piece) {
            let (rng, out) = (&mut self.rng, &mut self.out);
            if self.downloads.on_block_refused(now, conn, block, rng, out) {
                self.request_from_all(now);
            }
        }
        self.run_chunk_session(now, conn);
    }

    pub(super) fn on_client_hello(
        &mut self,
        now: Time,
        conn: ConnId,
        port: u16,
        is_first: bool,
    ) -> Result<(), DisconnectReason> {
        let Some(connection) = self.connections.get_mut(conn) else { return Ok(()) };
        if is_first && port != 0 {
            connection.identify_by_port(port);
        }
        let (addr, peer_id) = (connection.addr(), connection.peer_id());
        if is_first {
            self.event(Event::PeerConnected { conn, addr, peer_id });
        }
        if self.withdrawn.is_some() {
            self.send_withdrawal(now, conn);
            return Err(DisconnectReason::ContentWithdrawn);
        }
        if self.config.chunk.server {
            if !self.is_content_ready() {
                return Err(DisconnectReason::ShuttingDown);
            }
            let hello = self.server_hello(conn);
            self.send_chunk_message(now, conn, hello);
            return Ok(());
        }
        self.send_chunk_message(now, conn, Message::PeerHello);
        // Each of two clients dials the other one, unless it has everything.
        if port != 0 && !self.is_complete() {
            let listen_addr = SocketAddr::new(addr.ip(), port);
            self.on_peers_found(now, &Source::incoming(addr), Dialect::Chunk, vec![listen_addr]);
        }
        Ok(())
    }

    /// What is served, and where the other clients accept connections: in random order, as many as
    /// fit.
    fn server_hello(&mut self, conn: ConnId) -> Message {
        let geometry = self.downloads.geometry();
        let (file_size, chunk_size) = (geometry.total(), u64::from(geometry.piece_length()));
        let own = self.connections.get(conn).and_then(Connection::listen_addr);
        let others = self.connections.listen_addrs_but(conn, Dialect::Chunk);
        let mut peers: Vec<SocketAddr> = others.filter(|addr| Some(*addr) != own).collect();
        peers.sort_unstable();
        peers.dedup();
        self.rng.shuffle(&mut peers);
        peers.truncate(MAX_HELLO_PEERS);
        if self.config.chunk.spelling == Spelling::Original {
            peers = fitting_peers(file_size, chunk_size, peers, ORIGINAL_MESSAGE_LIMIT);
        }
        Message::ServerHello { file_size, chunk_size, peers }
    }

    /// Answers a question for the list, when there is news or it has waited long enough.
    pub(super) fn answer_list(&mut self, now: Time, conn: ConnId) {
        if !self.is_content_ready() {
            return;
        }
        let (have, rng) = (self.downloads.have(), &mut self.rng);
        let spelling = self.config.chunk.spelling;
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let session = connection.session_mut().chunk_mut();
        let list = session
            .and_then(ChunkSession::responder_mut)
            .and_then(|responder| responder.take_due_list(now, have, spelling, rng));
        if let Some(list) = list {
            self.send_chunk_message(now, conn, list);
        }
    }

    pub(super) fn on_chunk_requested(
        &mut self,
        now: Time,
        conn: ConnId,
        id: i64,
    ) -> Result<(), DisconnectReason> {
        let error = match u32::try_from(id).ok().and_then(|piece| self.downloads.whole_piece(piece))
        {
            _ if !self.is_content_ready() => ErrorId::ChunkUndownloaded,
            None => ErrorId::OffsetOverflow,
            Some(block) if self.downloads.have().get(block.piece) => {
                return self.queue_piece(now, conn, block);
            }
            // An original program would count the chunk as downloaded.
            Some(_) if self.config.chunk.spelling == Spelling::Original => {
                return Err(DisconnectReason::PieceNotAvailable);
            }
            Some(_) => ErrorId::ChunkUndownloaded,
        };
        let command = Message::Request(id).head();
        self.refuse_command(now, conn, &command, error, String::new())
    }

    /// A client sent a command that has no answer but an error.
    pub(super) fn on_command_refused(
        &mut self,
        now: Time,
        conn: ConnId,
        command: &str,
        then: Option<Misbehavior>,
    ) -> Result<(), DisconnectReason> {
        self.refuse_command(now, conn, command, ErrorId::UnknownCommand, String::new())?;
        then.map_or(Ok(()), |misbehavior| Err(misbehavior.into()))
    }

    /// Answers a command of a client with an error.
    pub(super) fn refuse_command(
        &mut self,
        now: Time,
        conn: ConnId,
        command: &str,
        id: ErrorId,
        text: String,
    ) -> Result<(), DisconnectReason> {
        let Some(addr) = self.connections.get(conn).map(Connection::addr) else { return Ok(()) };
        let Some(responder) = self.responder(conn) else { return Ok(()) };
        let report = responder.refuse(id, text);
        if report.is_reported {
            let (asked, answer) = (command.to_owned(), id.name());
            self.event(Event::RequestRefused { addr, asked, answer });
        }
        self.send_chunk_message(now, conn, report.message);
        report.misbehavior.map_or(Ok(()), |misbehavior| Err(misbehavior.into()))
    }

    /// What a client sent cannot be decoded: that is an unknown command too.
    pub(super) fn answer_unreadable(&mut self, now: Time, conn: ConnId) {
        if self.responder(conn).is_some() {
            let error = Message::Error { id: ErrorId::UnknownCommand, text: String::new() };
            self.send_chunk_message(now, conn, error);
        }
    }
}
