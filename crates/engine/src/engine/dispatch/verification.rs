//! Events about the MD5 of the whole file, by which the chunk protocol verifies it.

use sow_content::hash::hexadecimal;
use sow_wire::chunk::{ErrorId, Message};

use super::super::Engine;
use crate::{
    connections::Connection,
    disconnect::{DisconnectReason, Misbehavior},
    downloads::{MismatchOutcome, VerificationStep},
    io::{ConnId, Event, Time},
    session::chunk::{ChunkSession, Requester},
};

impl Engine {
    /// Asks for the MD5 of what is here, if it is time.
    pub(in crate::engine) fn begin_digest(&mut self, now: Time) {
        if self.downloads.begin_digest(&mut self.out) {
            self.run_chunk_sessions(now);
        }
    }

    /// The MD5 was taken up to a byte: more may be requested ahead of it.
    pub(in crate::engine) fn on_digest_progress(&mut self, now: Time, bytes: u64) {
        if self.is_content_ready() {
            self.downloads.on_digest_progress(bytes);
            self.run_chunk_sessions(now);
        }
    }

    /// The MD5 of what is stored is known.
    pub(in crate::engine) fn on_file_digest(&mut self, now: Time, md5: [u8; 16]) {
        if !self.is_content_ready() {
            return;
        }
        if self.downloads.on_file_digest(now, md5) {
            self.on_complete(now);
        }
        for conn in self.connections.ids() {
            self.answer_digest_check(now, conn);
        }
        self.run_chunk_sessions(now);
    }

    /// Asks a server for what the verification needs next. Whether there was something.
    pub(super) fn take_verification_step(&mut self, now: Time, conn: ConnId) -> bool {
        match self.downloads.next_verification_step(conn) {
            Some(VerificationStep::Check(md5)) => {
                self.ask(now, conn, |server: &mut Requester| server.ask_check(md5));
                true
            }
            Some(VerificationStep::Fetch(piece)) => {
                if let Some(connection) = self.connections.get_mut(conn) {
                    self.downloads.request_again(now, connection, piece, &mut self.out);
                }
                true
            }
            None => false,
        }
    }

    /// A server says that an MD5 is that of its file.
    pub(super) fn on_digest_confirmed(
        &mut self,
        now: Time,
        conn: ConnId,
        md5: [u8; 16],
    ) -> Result<(), DisconnectReason> {
        if self.downloads.on_digest_confirmed(now, md5)? {
            self.on_complete(now);
        }
        self.run_chunk_session(now, conn);
        Ok(())
    }

    /// A server says that our MD5 is not that of its file.
    pub(super) fn on_digest_mismatch(
        &mut self,
        now: Time,
        conn: ConnId,
        expected: Option<[u8; 16]>,
    ) {
        match self.downloads.on_digest_mismatch(expected, &mut self.rng) {
            MismatchOutcome::Ignored => {}
            MismatchOutcome::Correcting => self.run_chunk_sessions(now),
            MismatchOutcome::Hopeless => self.event(Event::FileMismatch),
        }
        self.run_chunk_session(now, conn);
    }

    /// A server does not say whether our MD5 is right: another one is asked.
    pub(super) fn on_digest_check_refused(
        &mut self,
        now: Time,
        conn: ConnId,
    ) -> Result<(), DisconnectReason> {
        self.downloads.on_verifier_gone(conn, true);
        self.begin_digest(now);
        Err(Misbehavior::RefusedAdvertisedPiece.into())
    }

    /// A connection is over: what was asked on it for the verification is asked on another one.
    pub(super) fn on_verifier_gone(&mut self, now: Time, gone: &Connection) {
        let requester = gone.session().chunk().and_then(ChunkSession::requester);
        let was_checking = requester.is_some_and(Requester::is_checking);
        self.downloads.on_verifier_gone(gone.conn(), was_checking);
        self.begin_digest(now);
    }

    /// A piece without a hash was stored. `differed`: it was here before, and was wrong.
    pub(super) fn on_unverified_stored(&mut self, now: Time, piece: u32, differed: bool) {
        let (stored, corrupter) = self.downloads.on_unverified_stored(piece, differed);
        if stored.is_new {
            self.event(Event::PieceVerified { piece, from: stored.from });
            self.announce_piece(now, piece, false);
        } else if differed {
            self.event(Event::PieceCorrupt { piece });
        }
        if let Some(addr) = corrupter {
            self.ban_address(now, addr, piece);
        }
        self.begin_digest(now);
        if stored.made_room {
            self.on_room(now);
        }
        self.run_chunk_sessions(now);
    }

    /// Answers a client that waits to know whether its MD5 is that of the file.
    pub(super) fn answer_digest_check(&mut self, now: Time, conn: ConnId) {
        let Some(check) = self.responder(conn).and_then(|responder| responder.check()) else {
            return;
        };
        if !self.is_complete() {
            // Only a complete file has the right MD5.
            return self.refuse_digest_check(now, conn, ErrorId::UnknownCommand, String::new());
        }
        let Some(md5) = self.downloads.complete_md5(&mut self.out) else { return };
        if check != md5 {
            let text = hexadecimal(&md5);
            return self.refuse_digest_check(now, conn, ErrorId::ChecksumNotFit, text);
        }
        if let Some(responder) = self.responder(conn) {
            responder.take_check();
        }
        self.send_chunk_message(now, conn, Message::Check(md5));
        self.on_client_complete(now, conn);
    }

    fn refuse_digest_check(&mut self, now: Time, conn: ConnId, id: ErrorId, text: String) {
        let Some(check) = self.responder(conn).and_then(|responder| responder.take_check()) else {
            return;
        };
        let command = Message::Check(check).head();
        let refused = self.refuse_command(now, conn, &command, id, text);
        self.disconnect_on_error(now, conn, refused);
    }

    /// A client has everything; that holds for all its connections.
    fn on_client_complete(&mut self, now: Time, conn: ConnId) {
        let listen_addr = self.connections.get(conn).and_then(Connection::listen_addr);
        let pieces = self.downloads.geometry().pieces();
        let is_same = |other: &&Connection| {
            other.conn() == conn || (listen_addr.is_some() && other.listen_addr() == listen_addr)
        };
        let same = self.connections.iter().filter(is_same);
        let conns: Vec<ConnId> =
            same.filter(|other| other.have().is_some()).map(Connection::conn).collect();
        for conn in conns {
            self.add_pieces(now, conn, 0..pieces);
        }
    }
}
