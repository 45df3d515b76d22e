//! Events about connections: what is said first, what follows when one is over, bans, silence.

use std::{net::SocketAddr, time::Duration};

use sow_wire::dialect::Message;

use super::super::Engine;
use crate::{
    connections::{Connection, Use},
    disconnect::DisconnectReason,
    io::{ConnId, Dialect, Direction, Event, Output, PeerHandshake, Time},
    rate::Rate,
    session::{Decision, json_torrent::JsonTorrentSession},
};

/// A peer that sends nothing for this long is disconnected.
const PEER_TIMEOUT: Duration = Duration::from_secs(150);

/// A peer that owes blocks and sends nothing for this long is disconnected.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);

/// Where there are no handshakes, the first message has to arrive within this time.
const INTRODUCTION_TIMEOUT: Duration = Duration::from_secs(10);

/// Peers that need nothing of each other are disconnected after this long, in which the last
/// messages can arrive.
const PARTING_DELAY: Duration = Duration::from_secs(1);

impl Engine {
    /// A connection is open, and handshakes were exchanged where the dialect has them.
    pub(in crate::engine) fn on_connected(
        &mut self,
        now: Time,
        conn: ConnId,
        addr: SocketAddr,
        direction: Direction,
        handshake: PeerHandshake,
    ) {
        let is_complete = self.is_complete();
        let (downloads, uploads) = (&self.downloads, &self.uploads);
        let rate = |rate: Option<&Rate>| rate.map_or(0, |rate| rate.per_second(now));
        let use_of = |conn| Use {
            is_wanted: downloads.is_interested(conn) || uploads.is_peer_interested(conn),
            rate: rate(downloads.peer_rate(conn)) + rate(uploads.peer_rate(conn)),
        };
        match self.connections.admit(now, addr, direction, handshake, is_complete, use_of) {
            Err(reason) => {
                self.out.push_back(Output::Disconnect { conn, reason });
                self.dial(now);
                return;
            }
            Ok(Some((replaced, reason))) => self.disconnect(now, replaced, reason),
            Ok(None) => {}
        }
        let pieces = self.is_content_ready().then(|| self.downloads.geometry().pieces());
        let connection = self.connections.insert(now, conn, addr, direction, handshake, pieces);
        self.downloads.add_peer(connection);
        self.uploads.add_peer(connection);
        if connection.is_identified() {
            // A chunk client is reported once it has identified itself.
            let peer_id = connection.peer_id();
            self.event(Event::PeerConnected { conn, addr, peer_id });
        }
        self.open_session(now, conn);
        self.dial(now);
    }

    /// Sends the first messages on a connection.
    fn open_session(&mut self, now: Time, conn: ConnId) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        if self.withdrawn.is_some() {
            // The reason follows once the peer has said how it takes it.
            match connection.session().bittorrent().is_some_and(|session| session.is_extended()) {
                true => self.send_extension_handshake(now, conn),
                // A chunk client is told when it has asked.
                false if connection.session().chunk().is_some() => {}
                false => self.disconnect(now, conn, DisconnectReason::ContentWithdrawn),
            }
            return;
        }
        match (connection.dialect(), connection.direction()) {
            (Dialect::BitTorrent, _) => self.open_bittorrent_session(now, conn),
            (Dialect::JsonTorrent, _) if self.is_content_ready() => {
                let opening = JsonTorrentSession::opening(self.downloads.have());
                self.send_message(now, conn, Message::JsonTorrent(opening));
            }
            (Dialect::Chunk, Direction::Dialed) => self.ask_hello(now, conn),
            (Dialect::JsonTorrent | Dialect::Chunk, _) => {}
        }
    }

    /// Says what is here, and sends the extension handshake.
    fn open_bittorrent_session(&mut self, now: Time, conn: ConnId) {
        let shows_pieces = self.is_content_ready() && !self.uploads.is_super_seeding();
        let have = shows_pieces.then(|| self.downloads.have());
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let Some(session) = connection.session().bittorrent() else { return };
        let is_fast = session.is_fast();
        if let Some(opening) = session.opening(have) {
            connection.send_message(now, opening, &mut self.out);
        }
        self.send_extension_handshake(now, conn);
        if !self.may_be_member(conn) {
            self.begin_offers(now, conn);
        }
        if is_fast && let Some(connection) = self.connections.get_mut(conn) {
            self.uploads.allow_fast(now, connection, self.downloads.have(), &mut self.out);
        }
        self.rechoke_cooperative(now);
    }

    /// Makes a peer its first offers, with super-seeding.
    pub(super) fn begin_offers(&mut self, now: Time, conn: ConnId) {
        self.uploads.begin_offers(now, conn);
        self.offer(now, conn);
    }

    /// The content is known now: checks what a peer said before, and tells it what is here.
    pub(in crate::engine) fn begin_content_on(&mut self, now: Time, conn: ConnId) {
        let pieces = self.downloads.geometry().pieces();
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let dialect = connection.dialect();
        match connection.session_mut().pieces_mut().on_content_known(pieces) {
            Ok(Some(have)) => self.on_pieces(now, conn, &have),
            Ok(None) => {}
            Err(misbehavior) => return self.disconnect(now, conn, misbehavior.into()),
        }
        if dialect == Dialect::Chunk {
            let begun = self.begin_chunk_session(now, conn);
            return self.disconnect_on_error(now, conn, begun);
        }
        if let Some(connection) = self.connections.get_mut(conn)
            && !self.uploads.is_super_seeding()
        {
            for piece in self.downloads.have().iter() {
                connection.send(now, Decision::Have(piece), &mut self.out);
            }
        }
        // The peer may have no other peer to ask for the metadata.
        self.send_extension_handshake(now, conn);
        self.begin_offers(now, conn);
        self.request_blocks(now, conn);
    }

    /// Dials a second connection to a peer that turned out to be worth one.
    pub(super) fn dial_second_connection(&mut self, conn: ConnId) {
        if !self.is_complete()
            && let Some((addr, dialect)) = self.connections.second_dial(conn)
        {
            self.out.push_back(Output::Dial { addr, dialect });
        }
    }

    /// A connection is over: closed by us for `reason`, or by the peer.
    pub(in crate::engine) fn on_peer_gone(
        &mut self,
        now: Time,
        conn: ConnId,
        reason: Option<DisconnectReason>,
    ) {
        let Some(gone) = self.connections.remove(conn) else { return };
        let released = self.release_peer(now, &gone);
        let downloaded = gone.distrusted().map_or(released, |distrusted| distrusted.downloaded);
        let given_up = self.connections.release_address(now, &gone, reason.as_ref());
        let is_stopping = reason == Some(DisconnectReason::ShuttingDown);
        let is_duplicate = reason == Some(DisconnectReason::DuplicateConnection)
            || self.connections.iter().any(|other| other.peer_id() == gone.peer_id());
        self.on_relay_gone(now, &gone, is_duplicate);
        self.event(Event::PeerDisconnected {
            conn,
            addr: gone.addr(),
            listen_addr: gone.listen_addr(),
            peer_id: gone.peer_id(),
            downloaded,
            reason,
        });
        if let Some(misbehavior) = given_up {
            self.event(Event::PeerGivenUp { addr: gone.addr(), misbehavior });
        }
        if !is_stopping {
            self.on_peer_released(now);
        }
    }

    /// Nothing is expected of a peer any more, and nothing is sent to it. Its connection is not
    /// among the others. The bytes of payload that it brought.
    pub(super) fn release_peer(&mut self, now: Time, gone: &Connection) -> u64 {
        let conn = gone.conn();
        let downloaded = self.downloads.on_peer_gone(conn, &mut self.rng, &mut self.out);
        self.on_verifier_gone(now, gone);
        self.on_metadata_source_gone(now, conn);
        if let Some(have) = gone.have() {
            self.downloads.remove_availability(have, &mut self.rng);
        }
        self.uploads.on_peer_gone(conn, gone.have(), &mut self.rng);
        downloaded
    }

    /// Others get what a peer was asked for, and its places.
    pub(super) fn on_peer_released(&mut self, now: Time) {
        self.rechoke_cooperative(now);
        self.request_from_all(now);
        self.run_chunk_sessions(now);
        self.send_blocks(now);
        self.seek_peers(now);
        self.dial(now);
    }

    /// Bans the peer of a connection, which may be over.
    pub(super) fn ban(&mut self, now: Time, conn: ConnId, piece: u32) {
        let may_explain = self.may_explain(conn);
        if let Some(addr) = self.connections.ban(conn) {
            self.event(Event::Banned { addr, piece });
        }
        if may_explain {
            self.hear_out(now, conn);
        } else {
            self.disconnect(now, conn, DisconnectReason::Banned);
        }
    }

    /// Bans an address, and disconnects the peers that are reached at it.
    pub(super) fn ban_address(&mut self, now: Time, addr: SocketAddr, piece: u32) {
        let conns = self.connections.ids_reached_at(addr);
        if self.connections.ban_address(addr) {
            self.event(Event::Banned { addr, piece });
            for conn in conns {
                self.disconnect(now, conn, DisconnectReason::Banned);
            }
        }
    }

    /// Timeouts, keep-alives, peer exchange, HAVEs and offers that are due on each connection.
    pub(in crate::engine) fn check_connections(&mut self, now: Time) {
        let is_done = self.downloads.complete_for(now).is_some_and(|time| time >= PARTING_DELAY);
        for conn in self.connections.ids() {
            let Some(connection) = self.connections.get(conn) else { continue };
            if let Err(reason) = self.check_timeouts(now, connection) {
                self.disconnect(now, conn, reason);
                continue;
            }
            let age = now.since(connection.connected_at());
            if is_done && age >= PARTING_DELAY && self.is_useless_when_complete(connection) {
                self.disconnect(now, conn, DisconnectReason::NothingToTrade);
                continue;
            }
            if let Err(reason) = self.check_json_session(now, conn) {
                self.disconnect(now, conn, reason);
                continue;
            }
            if let Some(connection) = self.connections.get_mut(conn) {
                connection.keep_alive(now, &mut self.out);
            }
            self.exchange_peers(now, conn);
            self.send_deferred_haves(now, conn);
            self.offer(now, conn);
        }
    }

    fn check_timeouts(&self, now: Time, connection: &Connection) -> Result<(), DisconnectReason> {
        if Self::has_explained(now, connection) {
            return Err(DisconnectReason::Banned);
        }
        let conn = connection.conn();
        let silence = now.since(connection.last_received());
        let timeout = self.downloads.response_timeout(conn, RESPONSE_TIMEOUT);
        let is_mute = !connection.session().is_introduced()
            && now.since(connection.connected_at()) > INTRODUCTION_TIMEOUT;
        let is_overdue =
            silence > timeout && self.downloads.is_overdue(now, conn, RESPONSE_TIMEOUT);
        if is_mute || is_overdue || silence > PEER_TIMEOUT.max(timeout) {
            return Err(DisconnectReason::PeerTimeout);
        }
        Ok(())
    }

    /// Whether a connection has no use any more once everything is here.
    fn is_useless_when_complete(&self, connection: &Connection) -> bool {
        match connection.dialect() {
            Dialect::BitTorrent => {
                let session = connection.session().bittorrent();
                let collects = self.config.collects_receivers;
                let is_awaited = session.is_some_and(|session| session.awaits_report(collects));
                connection.is_complete() && !is_awaited && !self.is_relay_in_use(connection.conn())
            }
            Dialect::JsonTorrent => connection.is_complete(),
            Dialect::Chunk => self.is_chunk_session_over(connection),
        }
    }
}
