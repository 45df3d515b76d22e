//! What a session event leads to: each event of a peer is applied to the downloads, the uploads and
//! the connections. `apply` is the list of all of them; the handlers lie in the files beside it, by
//! the part that they are about. Decisions are made in the parts.

mod bittorrent;
mod chunk;
mod connections;
mod downloads;
mod json_torrent;
mod receivers;
mod relay;
mod uploads;
mod verification;
mod withdrawal;

use sow_wire::dialect::Message;

use super::Engine;
use crate::{
    disconnect::{DisconnectReason, Misbehavior},
    io::{ConnId, Output, Time},
    session::{Decision, SessionEvent, bittorrent::is_withdrawal},
};

impl Engine {
    /// A message was received.
    pub(super) fn on_message(&mut self, now: Time, conn: ConnId, message: Message) {
        let Some(connection) = self.connections.on_received(now, conn) else { return };
        if connection.distrusted().is_some() && !is_withdrawal(&message) {
            return;
        }
        let result = match connection.session_mut().handle_message(now, message) {
            Ok(Some(event)) => self.apply(now, conn, event),
            Ok(None) => Ok(()),
            Err(reason) => Err(reason),
        };
        if let Err(reason) = result {
            self.disconnect(now, conn, reason);
        }
    }

    /// Applies an event of a session. The field's events first, then those of one dialect.
    fn apply(
        &mut self,
        now: Time,
        conn: ConnId,
        event: SessionEvent,
    ) -> Result<(), DisconnectReason> {
        match event {
            SessionEvent::Have(piece) => self.on_have(now, conn, piece),
            SessionEvent::Bitfield(pieces) => self.on_bitfield(now, conn, &pieces),
            SessionEvent::Choked => self.on_choke(now, conn),
            SessionEvent::Unchoked => self.on_unchoke(now, conn),
            SessionEvent::Interested => self.on_interested(now, conn),
            SessionEvent::NotInterested => self.on_not_interested(now, conn),
            SessionEvent::BlockRequested(request) => {
                return self.on_block_requested(now, conn, request);
            }
            SessionEvent::RequestCancelled(request) => return self.on_cancel(now, conn, request),
            SessionEvent::RequestRejected(request) => return self.on_reject(now, conn, request),
            SessionEvent::AllowedFast(piece) => self.on_allowed_fast(now, conn, piece),

            SessionEvent::ExtensionHandshake => return self.on_extension_handshake(now, conn),
            SessionEvent::MetadataRequested(piece) => self.on_metadata_request(now, conn, piece),
            SessionEvent::MetadataReceived { piece, data } => {
                return self.on_metadata(now, conn, piece, data);
            }
            SessionEvent::MetadataRefused => self.on_metadata_source_gone(now, conn),
            SessionEvent::PeersFound(addrs) => self.on_peer_exchange(now, conn, addrs),
            SessionEvent::Withdrawn { reason } => return self.on_withdrawal(conn, reason),
            SessionEvent::ReceiverReported(report) => self.on_receiver_report(conn, report),
            SessionEvent::Relay(message) => self.on_relay_message(now, conn, message),

            SessionEvent::PieceRequested(piece) => {
                return self.on_piece_requested(now, conn, piece);
            }
            SessionEvent::AnnouncementsAllowed => self.announce_pieces(now, conn),

            SessionEvent::ClientHello { port, is_first } => {
                return self.on_client_hello(now, conn, port, is_first);
            }
            SessionEvent::ListRequested => self.answer_list(now, conn),
            SessionEvent::ChunkRequested(id) => return self.on_chunk_requested(now, conn, id),
            SessionEvent::DigestCheckRequested => self.answer_digest_check(now, conn),
            SessionEvent::CommandRefused { command, then } => {
                return self.on_command_refused(now, conn, &command, then);
            }
            SessionEvent::ServerHello { geometry, peers } => {
                return self.on_server_hello(now, conn, geometry, peers);
            }
            SessionEvent::PeerHello => self.on_peer_hello(now, conn),
            SessionEvent::ListReceived(ids) => return self.on_list(now, conn, &ids),
            SessionEvent::ChunkRefused(piece) => self.on_chunk_refused(now, conn, piece),
            SessionEvent::DigestConfirmed(md5) => {
                return self.on_digest_confirmed(now, conn, md5);
            }
            SessionEvent::DigestMismatch { expected } => {
                self.on_digest_mismatch(now, conn, expected);
            }
            SessionEvent::DigestCheckRefused => return self.on_digest_check_refused(now, conn),
        }
        Ok(())
    }

    /// What is received on a connection cannot be read any more.
    pub(super) fn on_read_failed(&mut self, now: Time, conn: ConnId, reason: DisconnectReason) {
        if matches!(reason, DisconnectReason::Misbehaved(Misbehavior::MalformedMessage(_))) {
            self.answer_unreadable(now, conn);
        }
        self.disconnect(now, conn, reason);
    }

    /// Closes a connection.
    pub(super) fn disconnect(&mut self, now: Time, conn: ConnId, reason: DisconnectReason) {
        if self.connections.get(conn).is_some() {
            self.out.push_back(Output::Disconnect { conn, reason: reason.clone() });
            self.on_peer_gone(now, conn, Some(reason));
        }
    }

    fn disconnect_on_error(
        &mut self,
        now: Time,
        conn: ConnId,
        result: Result<(), DisconnectReason>,
    ) {
        if let Err(reason) = result {
            self.disconnect(now, conn, reason);
        }
    }

    fn send(&mut self, now: Time, conn: ConnId, decision: Decision) {
        if let Some(connection) = self.connections.get_mut(conn) {
            connection.send(now, decision, &mut self.out);
        }
    }

    fn send_message(&mut self, now: Time, conn: ConnId, message: impl Into<Message>) {
        if let Some(connection) = self.connections.get_mut(conn) {
            connection.send_message(now, message, &mut self.out);
        }
    }
}

#[cfg(test)]
mod tests {
    use sow_content::{Bitfield, Geometry, InfoHash};
    use sow_wire::bittorrent::{self, BlockRequest, Handshake, PeerId};

    use super::*;
    use crate::{
        config::{Config, Content, Integrity},
        io::{Direction, Event, Input, PeerHandshake},
    };

    const CONN: ConnId = ConnId(1);
    const NOW: Time = Time(0);

    /// An engine with the pieces `have` of four, and one connection.
    fn engine(have: Bitfield) -> Engine {
        let content = Content {
            geometry: Geometry::new(4 << 15, 1 << 15).unwrap(),
            have,
            metadata: bytes::Bytes::new(),
            private: false,
            integrity: Integrity::PieceHashes,
            md5: None,
        };
        let config = Config::new(PeerId([0; 20]), 1, 1);
        let info_hash = InfoHash([0; 20]);
        let mut engine = Engine::new(config, info_hash, Some(content), NOW);
        let peer_id = PeerId([1; 20]);
        let handshake = Handshake { info_hash, peer_id, fast: true, extended: false };
        engine.handle(
            NOW,
            Input::Connected {
                conn: CONN,
                addr: ([10, 0, 0, 1], 1).into(),
                direction: Direction::Accepted,
                handshake: PeerHandshake::BitTorrent(handshake),
            },
        );
        engine.out.clear();
        engine
    }

    fn apply(engine: &mut Engine, event: SessionEvent) -> Vec<Output> {
        engine.apply(NOW, CONN, event).unwrap();
        engine.out.drain(..).collect()
    }

    fn sent(message: bittorrent::Message) -> Output {
        Output::Send { conn: CONN, message: message.into() }
    }

    #[test]
    fn a_have_leads_to_interest_and_an_unchoke_to_requests() {
        let mut engine = engine(Bitfield::new(4));
        let message = bittorrent::Message::Have(2);
        engine.on_message(NOW, CONN, message.into());
        let outputs: Vec<Output> = engine.out.drain(..).collect();
        assert_eq!(outputs, [sent(bittorrent::Message::Interested)]);
        let outputs = apply(&mut engine, SessionEvent::Unchoked);
        let of_piece = |output: &Output| {
            matches!(output, Output::Send { message: Message::BitTorrent(message), .. }
                if matches!(message, bittorrent::Message::Request(request) if request.piece == 2))
        };
        assert!(!outputs.is_empty() && outputs.iter().all(of_piece), "{outputs:?}");
        assert!(apply(&mut engine, SessionEvent::Unchoked).is_empty(), "that is known");
    }

    #[test]
    fn a_request_leads_to_a_block_or_a_misbehavior() {
        let mut engine = engine(Bitfield::full(4));
        let request = |piece| BlockRequest { piece, offset: 0, length: 1 << 14 };
        let outputs = apply(&mut engine, SessionEvent::BlockRequested(request(3)));
        assert!(matches!(outputs[..], [Output::SendBlock { conn: CONN, .. }]), "{outputs:?}");
        let result = engine.apply(NOW, CONN, SessionEvent::BlockRequested(request(4)));
        assert_eq!(result, Err(Misbehavior::RequestOutOfRange.into()));
    }

    #[test]
    fn a_complete_peer_is_reported_and_a_misbehaving_one_is_disconnected() {
        let mut engine = engine(Bitfield::new(4));
        engine.on_message(NOW, CONN, bittorrent::Message::HaveAll.into());
        let outputs: Vec<Output> = engine.out.drain(..).collect();
        let is_complete =
            |output: &Output| matches!(output, Output::Event(Event::PeerComplete { .. }));
        assert!(outputs.iter().any(is_complete), "{outputs:?}");
        engine.on_message(NOW, CONN, bittorrent::Message::HaveAll.into());
        let reason: DisconnectReason = Misbehavior::LateBitfield.into();
        assert_eq!(engine.out.front(), Some(&Output::Disconnect { conn: CONN, reason }));
        assert!(engine.connections.is_empty());
    }
}
