//! Events about uploads: interest, requests, blocks that have left.

use sow_content::{BLOCK_LENGTH, Block};
use sow_wire::bittorrent::BlockRequest;

use super::super::Engine;
use crate::{
    config::Choking,
    connections::Connection,
    disconnect::{DisconnectReason, Misbehavior},
    io::{ConnId, Dialect, Time},
    rate::Rate,
    session::Decision,
    uploads::PieceState,
};

impl Engine {
    pub(super) fn on_interested(&mut self, now: Time, conn: ConnId) {
        let was_unchoked = !self.uploads.is_choked(conn);
        self.on_interest(now, conn, true);
        // json-torrent answers every `Interested` with `UnChoke`, as long as there is a slot.
        if was_unchoked && self.is_json_torrent(conn) {
            self.send(now, conn, Decision::Unchoke);
        }
    }

    pub(super) fn on_not_interested(&mut self, now: Time, conn: ConnId) {
        self.on_interest(now, conn, false);
        // In json-torrent both sides know that the peer is choked again; nothing is sent.
        if self.is_json_torrent(conn) {
            self.uploads.on_exchange_over(conn);
            self.announce_pieces(now, conn);
        }
    }

    fn on_interest(&mut self, now: Time, conn: ConnId, is_interested: bool) {
        if self.uploads.on_interest(now, conn, is_interested) {
            match self.config.choking {
                Choking::Cooperative => self.rechoke_cooperative(now),
                // A free slot is given away at once; the slots are taken away in rounds.
                Choking::TitForTat if is_interested => self.rechoke_tit_for_tat(now, false),
                Choking::TitForTat => {}
            }
        }
    }

    fn is_json_torrent(&self, conn: ConnId) -> bool {
        self.connections.get(conn).map(Connection::dialect) == Some(Dialect::JsonTorrent)
    }

    pub(in crate::engine) fn rechoke_cooperative(&mut self, now: Time) {
        self.uploads.rechoke_cooperative(now, &mut self.connections, &mut self.out);
    }

    pub(in crate::engine) fn rechoke_tit_for_tat(&mut self, now: Time, draw: bool) {
        let is_complete = self.is_complete();
        let downloads = &self.downloads;
        // A seed prefers the peers with the highest upload rates.
        let rate = |conn, upload: &Rate| match is_complete {
            true => upload.per_second(now),
            false => downloads.peer_rate(conn).map_or(0, |rate| rate.per_second(now)),
        };
        let (rng, out) = (&mut self.rng, &mut self.out);
        self.uploads.rechoke_tit_for_tat(now, draw, rate, &mut self.connections, rng, out);
    }

    pub(super) fn on_block_requested(
        &mut self,
        now: Time,
        conn: ConnId,
        request: BlockRequest,
    ) -> Result<(), DisconnectReason> {
        let max_block = self.config.max_block.max(BLOCK_LENGTH);
        let block = self.downloads.block(request).filter(|block| block.length <= max_block);
        let block = block.ok_or(Misbehavior::RequestOutOfRange)?;
        let piece = match self.downloads.have().get(block.piece) {
            _ if self.withdrawn.is_some() => PieceState::Withheld,
            true => PieceState::Here,
            false if self.relays() => PieceState::Awaited,
            false => PieceState::Withheld,
        };
        let Some(connection) = self.connections.get_mut(conn) else { return Ok(()) };
        if self.uploads.on_request(now, connection, block, piece, &mut self.out)? {
            if self.uploads.on_offer_used(conn, block.piece) {
                self.offer(now, conn);
            }
            self.send_blocks(now);
        }
        Ok(())
    }

    /// Queues a whole piece that a peer requested and that is here.
    pub(super) fn queue_piece(
        &mut self,
        now: Time,
        conn: ConnId,
        block: Block,
    ) -> Result<(), DisconnectReason> {
        self.uploads.on_piece_request(now, conn, block)?;
        self.send_blocks(now);
        Ok(())
    }

    pub(super) fn on_cancel(
        &mut self,
        now: Time,
        conn: ConnId,
        request: BlockRequest,
    ) -> Result<(), DisconnectReason> {
        let block = self.downloads.block(request).ok_or(Misbehavior::RequestOutOfRange)?;
        if let Some(connection) = self.connections.get_mut(conn) {
            self.uploads.on_cancel(now, connection, block, &mut self.out);
        }
        Ok(())
    }

    pub(in crate::engine) fn on_block_sent(&mut self, now: Time, conn: ConnId, block: Block) {
        if !self.uploads.on_block_sent(now, conn, block) {
            return;
        }
        if let Some(connection) = self.connections.get_mut(conn) {
            connection.on_sent(now);
            connection.on_exchanged(now);
        }
        self.offer(now, conn);
        self.send_blocks(now);
    }

    /// Hands requested blocks to the sockets, as many as they should hold.
    pub(in crate::engine) fn send_blocks(&mut self, now: Time) {
        let downloads = &self.downloads;
        let availability = |piece| downloads.availability(piece);
        self.uploads.send_blocks(now, availability, &mut self.connections, &mut self.out);
    }

    /// With super-seeding: reveals pieces to a peer.
    pub(super) fn offer(&mut self, now: Time, conn: ConnId) {
        let plan = self.plan.as_ref().filter(|plan| plan.is_member(conn));
        if plan.is_some_and(|plan| !plan.is_any_adrift(conn)) {
            return;
        }
        let may_offer = |piece| plan.is_none_or(|plan| plan.is_adrift(conn, piece));
        if let Some(connection) = self.connections.get_mut(conn) {
            self.uploads.offer(now, connection, may_offer, &mut self.rng, &mut self.out);
        }
    }
}
