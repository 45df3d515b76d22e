//! Withdrawal: the content is no longer right here, or at a peer. Every peer is told once, with a
//! reason, and disconnected. An origin whose file was changed may send corrupt pieces before it
//! notices, and is heard out although it is banned.

use std::time::Duration;

use sow_wire::{
    chunk::{self, ErrorId, Spelling},
    dialect::Message,
};

use super::super::Engine;
use crate::{
    connections::{Connection, Distrusted},
    disconnect::DisconnectReason,
    io::{ConnId, Direction, Event, Time},
    session::Decision,
};

/// The maximum time for which a connection to a banned origin is kept to hear a withdrawal. An
/// origin looks at its files once a second, and hashes one that looks different.
const EXPLANATION_TIMEOUT: Duration = Duration::from_secs(15);

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
        let session = connection.session();
        let message: Option<Message> = match session.bittorrent() {
            Some(session) => session.withdrawal(reason).map(Message::from),
            None => session.chunk().is_some_and(|session| session.is_answering()).then(|| {
                let text = reason.clone();
                Message::Chunk(chunk::Message::Error { id: ErrorId::ChunkUndownloaded, text })
            }),
        };
        // An original client would take the error for the chunk.
        let is_understood =
            session.chunk().is_none() || self.config.chunk.spelling != Spelling::Original;
        if let Some(message) = message.filter(|_| is_understood) {
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
            && (connection.distrusted().is_some() || self.is_named_origin(connection))
        {
            self.event(Event::OriginWithdrew { addr: connection.addr(), reason });
        }
        Err(DisconnectReason::PeerWithdrew)
    }

    /// Whether the peer of a connection can say that its content was withdrawn, and would be
    /// believed. That is to be asked before it is banned.
    pub(super) fn may_explain(&self, conn: ConnId) -> bool {
        let Some(connection) = self.connections.get(conn) else { return false };
        let session = connection.session().bittorrent();
        session.is_some_and(|session| session.can_withdraw())
            && self.is_content_ready()
            && connection.distrusted().is_none()
            && self.is_named_origin(connection)
    }

    fn is_named_origin(&self, connection: &Connection) -> bool {
        connection.direction() == Direction::Dialed && self.connections.is_named(connection.addr())
    }

    /// Stops the exchange with a peer that was banned. The connection stays open for what it may
    /// have to say.
    pub(super) fn hear_out(&mut self, now: Time, conn: ConnId) {
        self.send(now, conn, Decision::NotInterested);
        let Some(mut connection) = self.connections.remove(conn) else { return };
        let downloaded = self.release_peer(now, &connection);
        connection.distrust(Distrusted { since: now, downloaded });
        self.connections.put_back(connection);
        self.on_peer_released(now);
    }

    /// Whether a connection was kept long enough to hear why its content was wrong.
    pub(super) fn has_explained(now: Time, connection: &Connection) -> bool {
        let distrusted = connection.distrusted();
        distrusted.is_some_and(|distrusted| now.since(distrusted.since) >= EXPLANATION_TIMEOUT)
    }
}
