//! Withdrawal: the content is no longer right here, or at a peer. Every peer is told once, with a
//! reason, and disconnected.

use super::super::Engine;
use crate::{
    disconnect::DisconnectReason,
    io::{ConnId, Direction, Event, Time},
};

impl Engine {
    /// Nothing is served from here on. Peers are told the reason as far as their program has the
    /// extension, those that connect later too.
    pub(in crate::engine) fn withdraw(&mut self, now: Time, reason: String) {
        if self.withdrawn.is_some() {
            return;
        }
        self.withdrawn = Some(reason);
        for conn in self.connections.ids() {
            self.send_withdrawal(now, conn);
            self.disconnect(now, conn, DisconnectReason::ContentWithdrawn);
        }
    }

    /// Tells a peer that the content was withdrawn.
    pub(super) fn send_withdrawal(&mut self, now: Time, conn: ConnId) {
        let (Some(reason), Some(connection)) = (&self.withdrawn, self.connections.get(conn)) else {
            return;
        };
        let session = connection.session().bittorrent();
        if let Some(message) = session.and_then(|session| session.withdrawal(reason)) {
            self.send_message(now, conn, message);
        }
    }

    /// A peer no longer has the content. The reason is reported only if we dialed the peer at an
    /// address that the user named: any other peer can claim anything.
    pub(super) fn on_withdrawal(
        &mut self,
        conn: ConnId,
        reason: String,
    ) -> Result<(), DisconnectReason> {
        if let Some(connection) = self.connections.get(conn)
            && connection.direction() == Direction::Dialed
            && self.connections.is_named(connection.addr())
        {
            self.event(Event::OriginWithdrew { addr: connection.addr(), reason });
        }
        Err(DisconnectReason::PeerWithdrew)
    }
}
