//! Events about downloads: what a peer has and accepts, blocks that arrive, pieces that are stored.

use sow_content::Block;
use sow_wire::bittorrent::BlockRequest;

use super::super::Engine;
use crate::{
    connections::Connection,
    disconnect::DisconnectReason,
    downloads::{BlockArrival, PieceStored},
    io::{ConnId, Dialect, Event, Output, StoreMode, StoreOutcome, Time},
    session::Decision,
};

impl Engine {
    /// A peer has another piece.
    pub(super) fn on_have(&mut self, now: Time, conn: ConnId, piece: u32) {
        self.on_pieces(now, conn, &[piece]);
        self.offer(now, conn);
        self.request_blocks(now, conn);
        self.announce_pieces(now, conn);
    }

    /// A peer said which pieces it has; these are new.
    pub(super) fn on_bitfield(&mut self, now: Time, conn: ConnId, pieces: &[u32]) {
        self.on_pieces(now, conn, pieces);
        self.request_blocks(now, conn);
        if self.connections.get(conn).map(Connection::dialect) == Some(Dialect::JsonTorrent) {
            self.on_json_introduced(now, conn);
        }
    }

    /// A peer has pieces that it did not have before; its session has taken note of them.
    pub(super) fn on_pieces(&mut self, now: Time, conn: ConnId, pieces: &[u32]) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        self.downloads.on_have(now, connection, pieces, &mut self.rng, &mut self.out);
        self.uploads.on_have(conn, pieces, &mut self.rng);
        if connection.is_complete() && !pieces.is_empty() {
            let addr = connection.listen_addr().unwrap_or(connection.addr());
            let peer_id = connection.peer_id();
            self.event(Event::PeerComplete { addr, peer_id });
        }
    }

    pub(super) fn on_choke(&mut self, now: Time, conn: ConnId) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        if self.downloads.on_choke(now, connection, &mut self.rng, &mut self.out) {
            self.request_from_all(now);
        }
    }

    pub(super) fn on_unchoke(&mut self, now: Time, conn: ConnId) {
        if self.downloads.on_unchoke(conn) {
            self.request_blocks(now, conn);
        }
    }

    pub(super) fn on_reject(
        &mut self,
        now: Time,
        conn: ConnId,
        request: BlockRequest,
    ) -> Result<(), DisconnectReason> {
        if self.downloads.on_reject(now, conn, request, &mut self.rng, &mut self.out)? {
            self.request_from_all(now);
        }
        Ok(())
    }

    pub(super) fn on_allowed_fast(&mut self, now: Time, conn: ConnId, piece: u32) {
        if self.downloads.on_allowed_fast(conn, piece) {
            self.request_blocks(now, conn);
        }
    }

    /// The payload of a block arrived. `Some`: the part of it to keep in the buffer of its piece,
    /// which may be all of it. `None`: nothing of it is of use.
    pub fn block_arrived(
        &mut self,
        now: Time,
        conn: ConnId,
        request: BlockRequest,
    ) -> Option<Block> {
        let connection = self.connections.on_received(now, conn)?;
        let arrival = self.downloads.on_block(now, connection, request);
        match arrival {
            Err(misbehavior) => {
                self.disconnect(now, conn, misbehavior.into());
                None
            }
            Ok(BlockArrival::Unknown) => None,
            Ok(BlockArrival::Useless) => {
                self.request_blocks(now, conn);
                None
            }
            Ok(BlockArrival::Accepted { accepted, duplicate_requesters, store }) => {
                connection.on_exchanged(now);
                for other in duplicate_requesters {
                    self.cancel_duplicates(now, other, accepted.piece);
                }
                if let Some(mode) = store {
                    self.store_piece(conn, accepted.piece, mode);
                }
                self.on_parent_sent(now, conn, accepted.piece);
                self.request_blocks(now, conn);
                Some(accepted)
            }
        }
    }

    /// A parent sent a block: it has the piece, although it did not say so.
    fn on_parent_sent(&mut self, now: Time, conn: ConnId, piece: u32) {
        if !self.downloads.is_parent(conn) || self.downloads.planner() == Some(conn) {
            return;
        }
        let session =
            self.connections.get_mut(conn).and_then(|peer| peer.session_mut().bittorrent_mut());
        if session.is_some_and(|session| session.on_sent_piece(piece)) {
            self.on_pieces(now, conn, &[piece]);
        }
    }

    fn cancel_duplicates(&mut self, now: Time, conn: ConnId, piece: u32) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        self.downloads.cancel_duplicates(now, connection, piece, &mut self.out);
        self.request_blocks(now, conn);
    }

    fn store_piece(&mut self, conn: ConnId, piece: u32, mode: StoreMode) {
        if let (StoreMode::WriteUnverified, Some(connection)) = (mode, self.connections.get(conn)) {
            self.downloads.note_source(piece, connection);
        }
        let length = self.downloads.geometry().length_of(piece);
        self.out.push_back(Output::Store { piece, mode, length });
    }

    /// Requests as much of a peer as its dialect and its window allow.
    pub(super) fn request_blocks(&mut self, now: Time, conn: ConnId) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        match connection.dialect() {
            Dialect::BitTorrent => {
                self.downloads.request_blocks(now, connection, &mut self.rng, &mut self.out);
            }
            Dialect::JsonTorrent => _ = self.request_piece(now, conn),
            Dialect::Chunk => self.run_chunk_session(now, conn),
        }
    }

    /// Requests a whole piece of a peer. Whether there was one.
    pub(super) fn request_piece(&mut self, now: Time, conn: ConnId) -> bool {
        let (rng, out) = (&mut self.rng, &mut self.out);
        self.downloads.request_piece(now, &mut self.connections, conn, rng, out)
    }

    /// Requests what can be requested of every peer.
    pub(super) fn request_from_all(&mut self, now: Time) {
        if self.is_downloading(now) {
            for conn in self.downloads.request_order(self.connections.ids()) {
                self.request_blocks(now, conn);
            }
        }
    }

    /// Fetches the metadata, or looks for stalled requests and for something to request.
    pub(in crate::engine) fn check_downloads(&mut self, now: Time) {
        self.fetch_metadata(now);
        if self.is_downloading(now) {
            let (rng, out) = (&mut self.rng, &mut self.out);
            self.downloads.on_tick(now, rng, out);
            self.downloads.release_stalled(now, &mut self.connections, rng, out);
            let downloads = &self.downloads;
            self.connections.mark_unproductive(|peer| downloads.is_unproductive(now, peer));
            self.check_parents(now);
            self.request_from_all(now);
        }
    }

    /// A piece was stored, or was not.
    pub(in crate::engine) fn on_stored(&mut self, now: Time, piece: u32, outcome: StoreOutcome) {
        if !self.is_content_ready() {
            return;
        }
        match outcome {
            StoreOutcome::Verified { digests } => self.on_verified(now, piece, &digests),
            StoreOutcome::WrittenUnverified { differed } => {
                self.on_unverified_stored(now, piece, differed);
            }
            StoreOutcome::Corrupt { digests } => self.on_corrupt(now, piece, &digests),
            StoreOutcome::IncompleteBuffer => {
                self.downloads.on_incomplete_buffer(piece, &mut self.rng);
                self.event(Event::IncompleteBuffer { piece });
                self.request_from_all(now);
            }
            StoreOutcome::Failed => self.downloads.on_store_failed(piece, &mut self.rng),
        }
    }

    fn on_verified(&mut self, now: Time, piece: u32, digests: &[[u8; 20]]) {
        let PieceStored { from, is_complete, made_room, corrupters, .. } =
            self.downloads.on_verified(now, piece, digests);
        self.event(Event::PieceVerified { piece, from });
        for corrupter in corrupters {
            self.ban(now, corrupter, piece);
        }
        self.announce_piece(now, piece, is_complete);
        if is_complete {
            self.on_complete(now);
        }
        if made_room {
            self.on_room(now);
        }
    }

    /// A piece gave up its place among the open pieces, for which other peers may have waited.
    pub(super) fn on_room(&mut self, now: Time) {
        self.downloads.on_room();
        self.request_from_all(now);
    }

    fn on_corrupt(&mut self, now: Time, piece: u32, digests: &[[u8; 20]]) {
        let corrupter = self.downloads.on_corrupt(piece, digests, &mut self.rng);
        self.event(Event::PieceCorrupt { piece });
        if let Some(corrupter) = corrupter {
            self.ban(now, corrupter, piece);
        }
        self.request_from_all(now);
    }

    /// Announces a piece of ours: at once to peers to which it is news, to others when there is
    /// time. It is no news to peers that have it, nor when several others have it; a packet for
    /// each HAVE would cost a crowd several percent.
    pub(super) fn announce_piece(&mut self, now: Time, piece: u32, is_complete: bool) {
        let is_rare = self.downloads.is_rare(piece) && !self.downloads.is_relayed();
        let sent = self.uploads.on_piece_here(now, piece);
        if !sent.is_empty() {
            self.send_blocks(now);
        }
        for conn in self.connections.ids() {
            let Some(connection) = self.connections.get_mut(conn) else { continue };
            let has = connection.have().is_some_and(|have| have.get(piece));
            if has {
                self.downloads.on_piece_no_longer_wanted(conn);
            }
            if let Some(session) = connection.session_mut().bittorrent_mut() {
                if sent.contains(&conn) {
                    // Its blocks say so.
                } else if is_rare && !has {
                    connection.send(now, Decision::Have(piece), &mut self.out);
                } else {
                    session.defer_have(piece);
                }
            } else if let Some(session) = connection.session_mut().json_torrent_mut()
                && !has
            {
                session.defer_have(piece);
                self.announce_pieces(now, conn);
            }
            if is_complete {
                self.send_deferred_haves(now, conn);
            }
            if let Some(connection) = self.connections.get_mut(conn) {
                self.downloads.on_piece_here(now, connection, &mut self.out);
            }
        }
    }

    /// Announces the pieces for which a HAVE has waited.
    pub(super) fn send_deferred_haves(&mut self, now: Time, conn: ConnId) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let Some(session) = connection.session_mut().bittorrent_mut() else { return };
        for piece in session.take_deferred_haves() {
            connection.send(now, Decision::Have(piece), &mut self.out);
        }
    }
}
