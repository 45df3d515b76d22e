//! The extension protocol's messages: who we are (BEP 10), metadata (BEP 9), peer exchange (BEP
//! 11). No payload.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use sow_wire::bittorrent::{ExtensionHandshake, Message, MetadataMessage, PexMessage};

use crate::{
    disconnect::{DisconnectReason, Misbehavior},
    engine::{Engine, Phase},
    io::{ConnId, Dialect, Event, Time},
    metadata::{self, Progress},
    peer::REQUEST_QUEUE,
};

/// Our own numbers for extension messages.
const UT_METADATA: u8 = 1;
const UT_PEX: u8 = 2;

/// Peer exchange messages to one peer are this far apart (BEP 11: a minute), but for the first one.
const PEX_INTERVAL: Duration = Duration::from_secs(60);

/// Addresses in one peer exchange message (BEP 11).
const PEX_MOST: usize = 50;

impl Engine {
    /// Our extension handshake, as things stand. A stranger that believes us to have nothing would
    /// hang up on hearing that we only upload (libtorrent does), so an origin that spreads tells
    /// only its kin, which know what it means.
    pub(crate) fn extension_handshake(&self, to_kin: bool) -> Message {
        let (private, metadata_size, complete) = match &self.phase {
            Phase::Ready(ready) => {
                let tells = to_kin || ready.spread.is_none();
                (
                    ready.private,
                    Some(ready.metadata.len() as u32),
                    tells && ready.picker.have().is_full(),
                )
            }
            Phase::Fetching(_) | Phase::Settling => (false, None, false),
        };
        let handshake = ExtensionHandshake {
            ut_metadata: Some(UT_METADATA),
            ut_pex: (!private).then_some(UT_PEX),
            listen_port: (self.config.listen_port != 0).then_some(self.config.listen_port),
            client: Some(concat!("sow ", env!("CARGO_PKG_VERSION")).to_owned()),
            request_queue: Some(REQUEST_QUEUE as u32),
            metadata_size,
            max_block: Some(self.config.max_block),
            upload_only: complete,
        };
        Message::Extended { id: 0, payload: handshake.encode().into() }
    }

    pub(crate) fn extended(
        &mut self,
        now: Time,
        conn: ConnId,
        id: u8,
        payload: Bytes,
    ) -> Result<(), DisconnectReason> {
        let Some(peer) = self.peers.get(&conn) else { return Ok(()) };
        if !peer.handshake.extended {
            return Err(DisconnectReason::Misbehaved(Misbehavior::ExtensionNotNegotiated));
        }
        match id {
            0 => {
                let handshake = ExtensionHandshake::decode(&payload)
                    .map_err(|_| DisconnectReason::Misbehaved(Misbehavior::MalformedExtension))?;
                self.introduced(now, conn, handshake)
            }
            UT_METADATA => {
                let message = MetadataMessage::decode(&payload)
                    .map_err(|_| DisconnectReason::Misbehaved(Misbehavior::MalformedExtension))?;
                self.metadata_message(now, conn, message)
            }
            UT_PEX => {
                let message = PexMessage::decode(&payload)
                    .map_err(|_| DisconnectReason::Misbehaved(Misbehavior::MalformedExtension))?;
                self.gossip(now, conn, message);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Peers that a peer names. More often than a minute apart (BEP 11), with some leeway, it is
    /// not listened to.
    fn gossip(&mut self, now: Time, conn: ConnId, message: PexMessage) {
        let private = self.is_private();
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        let listens = peer.pex_heard.is_none_or(|heard| now.since(heard) >= PEX_INTERVAL / 2);
        if listens && !private {
            peer.pex_heard = Some(now);
            self.heard_of(now, message.added);
        }
    }

    fn introduced(
        &mut self,
        now: Time,
        conn: ConnId,
        handshake: ExtensionHandshake,
    ) -> Result<(), DisconnectReason> {
        let Some(peer) = self.peers.get_mut(&conn) else { return Ok(()) };
        // One connection has one address: what a second handshake says of it is passed over.
        let before = peer.extension.as_ref().and_then(|extension| extension.listen_port);
        let listen_port = before.or(handshake.listen_port);
        peer.extension = Some(ExtensionHandshake { listen_port, ..handshake });
        if let Some(addr) = peer.listen_addr() {
            let peer_id = peer.handshake.peer_id;
            if self.book.is_banned(addr, peer_id) {
                return Err(DisconnectReason::Banned);
            }
            self.book.add(now, addr, crate::io::PeerSource::Incoming, Dialect::BitTorrent);
            self.book.connected(addr);
        }
        self.fetch_metadata(now);
        if let Some(peer) = self.peers.get_mut(&conn)
            && peer.pex_sent.is_empty()
        {
            peer.pex_at = now;
        }
        self.exchange_peers(now, conn);
        // Its blocks may be longer from now on.
        self.fill(now, conn);
        Ok(())
    }

    /// Asks whoever has the metadata for it, while we have not.
    pub(crate) fn fetch_metadata(&mut self, now: Time) {
        let Phase::Fetching(fetch) = &mut self.phase else { return };
        let mut asks = Vec::new();
        for (&conn, peer) in &self.peers {
            let Some(extension) = &peer.extension else { continue };
            if let (Some(id), Some(size)) = (extension.ut_metadata, extension.metadata_size) {
                asks.push((conn, id, fetch.offered(now, conn, size)));
            }
        }
        for (conn, id, pieces) in asks {
            self.ask_metadata(now, conn, id, &pieces);
        }
    }

    fn ask_metadata(&mut self, now: Time, conn: ConnId, id: u8, pieces: &[u32]) {
        for &piece in pieces {
            let payload = MetadataMessage::Request { piece }.encode().into();
            self.send(now, conn, Message::Extended { id, payload });
        }
    }

    fn metadata_message(
        &mut self,
        now: Time,
        conn: ConnId,
        message: MetadataMessage,
    ) -> Result<(), DisconnectReason> {
        let Some(peer) = self.peers.get_mut(&conn) else { return Ok(()) };
        let Some(id) = peer.extension.as_ref().and_then(|extension| extension.ut_metadata) else {
            return Err(DisconnectReason::Misbehaved(Misbehavior::ExtensionNotNegotiated));
        };
        match message {
            MetadataMessage::Request { piece } => {
                peer.metadata_served += 1;
                let served = peer.metadata_served;
                let answer = self.metadata_answer(piece, served);
                self.send(now, conn, Message::Extended { id, payload: answer.encode().into() });
                Ok(())
            }
            MetadataMessage::Data { piece, data, .. } => {
                let Phase::Fetching(fetch) = &mut self.phase else { return Ok(()) };
                match fetch.arrived(now, conn, piece, data) {
                    Progress::Ask(pieces) => self.ask_metadata(now, conn, id, &pieces),
                    Progress::Done(bytes) => {
                        self.phase = Phase::Settling;
                        self.event(Event::Metadata(bytes));
                    }
                    Progress::Wrong => {
                        self.ban(now, conn, 0);
                        self.fetch_metadata(now);
                    }
                    Progress::Bad => {
                        return Err(DisconnectReason::Misbehaved(Misbehavior::MalformedExtension));
                    }
                }
                Ok(())
            }
            MetadataMessage::Reject { .. } => {
                if let Phase::Fetching(fetch) = &mut self.phase {
                    fetch.lost(conn);
                    // It does not have it after all; whoever does will be asked when housekeeping
                    // comes round.
                    if let Some(extension) = peer.extension.as_mut() {
                        extension.metadata_size = None;
                    }
                    self.fetch_metadata(now);
                }
                Ok(())
            }
        }
    }

    /// Each peer gets every piece of the metadata twice at most: more would be a flood.
    fn metadata_answer(&self, piece: u32, served: u32) -> MetadataMessage {
        let Phase::Ready(ready) = &self.phase else { return MetadataMessage::Reject { piece } };
        let size = ready.metadata.len() as u32;
        let start = u64::from(piece) * u64::from(metadata::PIECE);
        if start >= u64::from(size) || served > 2 * size.div_ceil(metadata::PIECE) + 2 {
            return MetadataMessage::Reject { piece };
        }
        let end = (start + u64::from(metadata::PIECE)).min(u64::from(size));
        let data = ready.metadata.slice(start as usize..end as usize);
        MetadataMessage::Data { piece, total_size: size, data }
    }

    fn is_private(&self) -> bool {
        matches!(&self.phase, Phase::Ready(ready) if ready.private)
    }

    /// Tells a peer whom we met and lost since we told it last.
    pub(crate) fn exchange_peers(&mut self, now: Time, conn: ConnId) {
        // Before the metadata is known nobody can say whether the swarm is private.
        if !matches!(&self.phase, Phase::Ready(ready) if !ready.private) {
            return;
        }
        let Some(peer) = self.peers.get(&conn) else { return };
        let Some(id) = peer.extension.as_ref().and_then(|extension| extension.ut_pex) else {
            return;
        };
        if now < peer.pex_at {
            return;
        }
        let current = self
            .peers
            .values()
            .filter(|other| other.conn != conn && other.dialect() == Dialect::BitTorrent)
            .filter_map(|other| other.listen_addr())
            .collect::<std::collections::BTreeSet<SocketAddr>>();
        let added: Vec<SocketAddr> =
            current.difference(&peer.pex_sent).copied().take(PEX_MOST).collect();
        let dropped: Vec<SocketAddr> =
            peer.pex_sent.difference(&current).copied().take(PEX_MOST).collect();
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        peer.pex_at = now + PEX_INTERVAL;
        if added.is_empty() && dropped.is_empty() {
            return;
        }
        added.iter().for_each(|&addr| _ = peer.pex_sent.insert(addr));
        dropped.iter().for_each(|addr| _ = peer.pex_sent.remove(addr));
        let payload = PexMessage { added, dropped }.encode().into();
        self.send(now, conn, Message::Extended { id, payload });
    }
}
