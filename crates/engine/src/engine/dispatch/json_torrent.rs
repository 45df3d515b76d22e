//! Events that only json-torrent has.

use super::super::Engine;
use crate::{
    disconnect::{DisconnectReason, Misbehavior},
    io::{ConnId, Time},
    session::Decision,
};

impl Engine {
    /// The bitfield of a peer was received, which is the first message.
    pub(super) fn on_json_introduced(&mut self, now: Time, conn: ConnId) {
        if !self.downloads.is_interested(conn) {
            self.send(now, conn, Decision::NotInterested);
        }
        self.dial_second_connection(conn);
    }

    /// A peer requests a whole piece.
    pub(super) fn on_piece_requested(
        &mut self,
        now: Time,
        conn: ConnId,
        piece: u32,
    ) -> Result<(), DisconnectReason> {
        if !self.is_content_ready() {
            return Err(Misbehavior::RequestOutOfRange.into());
        }
        let block = self.downloads.whole_piece(piece).ok_or(Misbehavior::PieceIndexOutOfRange)?;
        let connection = self.connections.get(conn);
        if connection.is_some_and(|connection| self.uploads.was_choked_lately(now, connection)) {
            // The choke and the request crossed; the peer asks again when it is unchoked.
            return Ok(());
        }
        if self.uploads.is_choked(conn) {
            return Err(Misbehavior::unexpected("Request while it is choked".to_owned()).into());
        }
        if !self.downloads.have().get(piece) {
            return Err(Misbehavior::RequestOutOfRange.into());
        }
        self.queue_piece(now, conn, block)
    }

    /// Announces our pieces to a peer, if it can be told now.
    pub(super) fn announce_pieces(&mut self, now: Time, conn: ConnId) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let Some(session) = connection.session_mut().json_torrent_mut() else { return };
        match session.take_announcements(self.uploads.is_peer_interested(conn)) {
            Ok(pieces) => {
                for piece in pieces {
                    connection.send(now, Decision::Have(piece), &mut self.out);
                }
            }
            Err(reason) => self.disconnect(now, conn, reason),
        }
    }

    /// Disconnects a peer if neither side has wanted anything for a while.
    pub(super) fn check_json_session(
        &mut self,
        now: Time,
        conn: ConnId,
    ) -> Result<(), DisconnectReason> {
        let is_complete = self.is_complete();
        let is_idle = !self.downloads.is_interested(conn) && !self.uploads.is_peer_interested(conn);
        let Some(connection) = self.connections.get_mut(conn) else { return Ok(()) };
        let direction = connection.direction();
        let Some(session) = connection.session_mut().json_torrent_mut() else { return Ok(()) };
        session.on_tick(now, direction, is_idle, is_complete)?;
        if is_idle {
            self.announce_pieces(now, conn);
        }
        Ok(())
    }
}
