//! Events of BitTorrent's extension protocol (BEP 10): handshakes, metadata (BEP 9), peer exchange
//! (BEP 11).

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use bytes::Bytes;

use super::super::{ContentPhase, Engine};
use crate::{
    address_book::{Source, reaches},
    connections::Connection,
    disconnect::{DisconnectReason, Misbehavior},
    io::{ConnId, Dialect, Event, PeerSource, Time},
    metadata_fetch::Progress,
    session::bittorrent::LocalPeer,
};

/// A peer offers the metadata within this time, or has none.
const METADATA_OFFER_TIME: Duration = Duration::from_secs(2);

impl Engine {
    /// Sends our extension handshake. With super-seeding we seem to have nothing, and other
    /// programs disconnect a peer that has nothing and only uploads (libtorrent does), so that only
    /// peers that run the same program are told that we only upload.
    pub(super) fn send_extension_handshake(&mut self, now: Time, conn: ConnId) {
        let (metadata_size, is_private) = match &self.content {
            ContentPhase::Ready { metadata, is_private } => {
                (Some(metadata.len() as u32), *is_private)
            }
            ContentPhase::FetchingMetadata(_) | ContentPhase::AwaitingStore => (None, false),
        };
        let Some(connection) = self.connections.get(conn) else { return };
        let tells =
            connection.is_same_client(self.config.peer_id) || !self.uploads.is_super_seeding();
        let local = LocalPeer {
            listen_port: self.config.listen_port,
            max_block: self.config.max_block,
            metadata_size,
            is_private,
            collects_receivers: self.config.collects_receivers,
            relays: self.relays(),
            joins_relay: self.joins_relay(connection),
            upload_only: tells && metadata_size.is_some() && self.downloads.have().is_full(),
        };
        let session = connection.session().bittorrent();
        if let Some(message) = session.and_then(|session| session.extension_handshake(&local)) {
            self.send_message(now, conn, message);
        }
    }

    pub(super) fn on_extension_handshake(
        &mut self,
        now: Time,
        conn: ConnId,
    ) -> Result<(), DisconnectReason> {
        self.connections.on_listen_addr_known(now, conn)?;
        if self.withdrawn.is_some() {
            self.send_withdrawal(now, conn);
            return Err(DisconnectReason::ContentWithdrawn);
        }
        self.send_copy_report(now, conn);
        self.on_relay_known(now, conn);
        self.fetch_metadata(now);
        self.exchange_peers(now, conn);
        // Its blocks may be longer from now on.
        self.request_blocks(now, conn);
        Ok(())
    }

    /// Requests the metadata, while it is not here, of peers that have it.
    pub(super) fn fetch_metadata(&mut self, now: Time) {
        let ContentPhase::FetchingMetadata(fetch) = &mut self.content else { return };
        for connection in self.connections.iter() {
            let session = connection.session().bittorrent();
            if let Some(size) = session.and_then(|session| session.extension().metadata_size()) {
                fetch.on_offer(now, connection.conn(), size);
            }
        }
        for (conn, pieces) in fetch.requests(now) {
            self.request_metadata(now, conn, &pieces);
        }
        self.mark_peers_without_metadata(now);
    }

    /// A peer that does not answer for the metadata, or has none, does not keep us from dialing
    /// others.
    fn mark_peers_without_metadata(&mut self, now: Time) {
        let ContentPhase::FetchingMetadata(fetch) = &self.content else { return };
        self.connections.mark_unproductive(|connection| {
            let session = connection.session().bittorrent();
            let size = session.and_then(|session| session.extension().metadata_size());
            let is_mute = size.is_none()
                && now.since(connection.connected_at()) >= METADATA_OFFER_TIME
                && connection.dialect() == Dialect::BitTorrent;
            is_mute || fetch.is_stalled(connection.conn())
        });
    }

    fn request_metadata(&mut self, now: Time, conn: ConnId, pieces: &[u32]) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        for &piece in pieces {
            let session = connection.session().bittorrent();
            if let Some(message) = session.and_then(|session| session.metadata_request(piece)) {
                connection.send_message(now, message, &mut self.out);
            }
        }
    }

    pub(super) fn on_metadata_request(&mut self, now: Time, conn: ConnId, piece: u32) {
        let metadata = match &self.content {
            ContentPhase::Ready { metadata, .. } => Some(metadata),
            ContentPhase::FetchingMetadata(_) | ContentPhase::AwaitingStore => None,
        };
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let session = connection.session_mut().bittorrent_mut();
        if let Some(answer) = session.and_then(|session| session.metadata_answer(piece, metadata)) {
            connection.send_message(now, answer, &mut self.out);
        }
    }

    pub(super) fn on_metadata(
        &mut self,
        now: Time,
        conn: ConnId,
        piece: u32,
        data: Bytes,
    ) -> Result<(), DisconnectReason> {
        let ContentPhase::FetchingMetadata(fetch) = &mut self.content else { return Ok(()) };
        match fetch.on_piece(now, conn, piece, data) {
            Progress::Partial => self.fetch_metadata(now),
            Progress::Done(metadata) => {
                self.content = ContentPhase::AwaitingStore;
                self.event(Event::Metadata(metadata));
            }
            Progress::Wrong => {
                self.ban(now, conn, 0);
                self.fetch_metadata(now);
            }
            Progress::Bad => return Err(Misbehavior::MalformedExtension.into()),
        }
        Ok(())
    }

    /// A peer gives no metadata any more; others are asked while it is missing.
    pub(super) fn on_metadata_source_gone(&mut self, now: Time, conn: ConnId) {
        if let ContentPhase::FetchingMetadata(fetch) = &mut self.content {
            fetch.on_peer_gone(conn);
            self.fetch_metadata(now);
        }
    }

    /// A peer named other peers. In a private swarm they are ignored (BEP 27).
    pub(super) fn on_peer_exchange(&mut self, now: Time, conn: ConnId, addrs: Vec<SocketAddr>) {
        let Some(at) = self.connections.get(conn).map(Connection::addr) else { return };
        if !matches!(self.content, ContentPhase::Ready { is_private: true, .. }) {
            let source = Source::peer(PeerSource::Pex, at);
            self.on_peers_found(now, &source, Dialect::BitTorrent, addrs);
        }
    }

    /// The swarm turned out to be private: peers that only other peers named are not used any more
    /// (BEP 27).
    pub(in crate::engine) fn leave_exchanged_peers(&mut self, now: Time) {
        for conn in self.connections.forget_exchanged() {
            self.disconnect(now, conn, DisconnectReason::PrivateSwarm);
        }
    }

    /// Tells a peer which other peers were met and lost since it was told last.
    pub(super) fn exchange_peers(&mut self, now: Time, conn: ConnId) {
        // Before the metadata is known, the swarm may turn out to be private.
        if !matches!(self.content, ContentPhase::Ready { is_private: false, .. }) {
            return;
        }
        let Some(session) = self.connections.get(conn).and_then(|peer| peer.session().bittorrent())
        else {
            return;
        };
        if !session.is_pex_due(now) {
            return;
        }
        let others = self.connections.listen_addrs_but(conn, Dialect::BitTorrent);
        let at = self.connections.get(conn).map(Connection::addr);
        let current: BTreeSet<SocketAddr> = others.filter(|addr| reaches(at, addr.ip())).collect();
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let session = connection.session_mut().bittorrent_mut();
        if let Some(message) = session.and_then(|session| session.pex_update(now, &current)) {
            connection.send_message(now, message, &mut self.out);
        }
    }
}
