//! One connection: the peer at the other end, since when, and the session on it. No requests, no
//! uploads.

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use sow_content::Bitfield;
use sow_wire::{
    bittorrent::{Handshake, PeerId},
    dialect::Message,
};

use crate::{
    io::{ConnId, Dialect, Direction, Output, PeerHandshake, Time},
    session::{Decision, Session},
};

/// A message is sent at least this often (BEP 3 says two minutes).
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(100);

/// One open connection.
#[derive(Debug)]
pub(crate) struct Connection {
    conn: ConnId,
    /// As the socket knows it.
    addr: SocketAddr,
    direction: Direction,
    /// The peer's; derived from its address where the dialect has none.
    peer_id: PeerId,
    connected_at: Time,
    last_received: Time,
    /// A message was received after the handshake.
    has_received: bool,
    last_sent: Time,
    /// When a block was moved last, in either direction.
    exchanged_at: Option<Time>,
    is_unproductive: bool,
    distrusted: Option<Distrusted>,
    session: Session,
}

/// A connection that is kept only to hear why its content is wrong.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Distrusted {
    pub(crate) since: Time,
    /// Bytes of payload that it had brought until then.
    pub(crate) downloaded: u64,
}

impl Connection {
    pub(super) fn new(
        now: Time,
        conn: ConnId,
        addr: SocketAddr,
        direction: Direction,
        handshake: PeerHandshake,
        pieces: Option<u32>,
    ) -> Self {
        Self {
            conn,
            addr,
            direction,
            peer_id: peer_id_of(handshake, addr),
            connected_at: now,
            last_received: now,
            has_received: false,
            last_sent: now,
            exchanged_at: None,
            is_unproductive: false,
            distrusted: None,
            session: Session::new(now, handshake, direction, pieces),
        }
    }

    pub(crate) fn conn(&self) -> ConnId {
        self.conn
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn direction(&self) -> Direction {
        self.direction
    }

    pub(crate) fn peer_id(&self) -> PeerId {
        self.peer_id
    }

    pub(crate) fn connected_at(&self) -> Time {
        self.connected_at
    }

    pub(crate) fn last_received(&self) -> Time {
        self.last_received
    }

    pub(crate) fn exchanged_at(&self) -> Option<Time> {
        self.exchanged_at
    }

    /// Whether the peer was of no use for what is missing here, although it had the time.
    pub(super) fn is_unproductive(&self) -> bool {
        self.is_unproductive
    }

    pub(super) fn set_unproductive(&mut self, is_unproductive: bool) {
        self.is_unproductive = is_unproductive;
    }

    /// Since when the peer is banned, if the connection is kept for its explanation.
    pub(crate) fn distrusted(&self) -> Option<Distrusted> {
        self.distrusted
    }

    /// The peer is banned, and has no pieces from here on.
    pub(crate) fn distrust(&mut self, distrusted: Distrusted) {
        self.distrusted = Some(distrusted);
        self.session.pieces_mut().clear();
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    pub(crate) fn session_mut(&mut self) -> &mut Session {
        &mut self.session
    }

    pub(crate) fn dialect(&self) -> Dialect {
        self.session.dialect()
    }

    /// Where others reach the peer: the address that we dialed, or its host with the port that it
    /// named.
    pub(crate) fn listen_addr(&self) -> Option<SocketAddr> {
        match self.direction {
            Direction::Dialed => Some(self.addr),
            Direction::Accepted => {
                Some(SocketAddr::new(self.addr.ip(), self.session.listen_port()?))
            }
        }
    }

    /// What the peer has; `None` before the metadata is known.
    pub(crate) fn have(&self) -> Option<&Bitfield> {
        self.session.have()
    }

    /// Whether the peer has everything.
    pub(crate) fn is_complete(&self) -> bool {
        self.have().is_some_and(Bitfield::is_full)
    }

    /// Whether the peer runs the same program as the one with the peer id `ours`, of whatever
    /// version (BEP 20).
    pub(crate) fn is_same_client(&self, ours: PeerId) -> bool {
        self.dialect() == Dialect::BitTorrent && self.peer_id.0[..3] == ours.0[..3]
    }

    /// Whether the other end has shown that it is a peer: what connects to us in the chunk protocol
    /// may be anything until its `CHEL`.
    pub(crate) fn is_identified(&self) -> bool {
        let is_client = self.direction == Direction::Accepted && self.dialect() == Dialect::Chunk;
        !is_client || self.session.is_introduced()
    }

    /// All connections of one chunk client have the identity of the port that it named.
    pub(crate) fn identify_by_port(&mut self, port: u16) {
        self.peer_id = derived_peer_id(b"chunk", SocketAddr::new(self.addr.ip(), port));
    }

    /// Whether a message was received after the handshake.
    pub(super) fn has_received(&self) -> bool {
        self.has_received
    }

    /// Something was received on it. Whether that is the first time.
    pub(super) fn on_received(&mut self, now: Time) -> bool {
        self.last_received = now;
        !std::mem::replace(&mut self.has_received, true)
    }

    /// A block was moved on it, in either direction.
    pub(crate) fn on_exchanged(&mut self, now: Time) {
        self.exchanged_at = Some(now);
    }

    /// Something was sent on it, or a block was handed to the socket.
    pub(crate) fn on_sent(&mut self, now: Time) {
        self.last_sent = now;
    }

    /// Sends a decision, if the dialect has a message for it.
    pub(crate) fn send(&mut self, now: Time, decision: Decision, out: &mut VecDeque<Output>) {
        if let Some(message) = self.session.encode(decision) {
            self.send_message(now, message, out);
        }
    }

    /// Sends a message of the session's own dialect.
    pub(crate) fn send_message(
        &mut self,
        now: Time,
        message: impl Into<Message>,
        out: &mut VecDeque<Output>,
    ) {
        self.last_sent = now;
        out.push_back(Output::Send { conn: self.conn, message: message.into() });
    }

    /// Sends a keep-alive if nothing was sent for long.
    pub(crate) fn keep_alive(&mut self, now: Time, out: &mut VecDeque<Output>) {
        if now.since(self.last_sent) > KEEP_ALIVE_INTERVAL {
            self.send(now, Decision::KeepAlive, out);
        }
    }
}

/// The identity of a peer. Where the dialect has none, it is derived from the address.
pub(super) fn peer_id_of(handshake: PeerHandshake, addr: SocketAddr) -> PeerId {
    match handshake {
        PeerHandshake::BitTorrent(Handshake { peer_id, .. }) => peer_id,
        PeerHandshake::Chunk { .. } => derived_peer_id(b"chunk", addr),
        PeerHandshake::JsonTorrent { .. } => derived_peer_id(b"json ", addr),
    }
}

fn derived_peer_id(dialect: &[u8; 5], addr: SocketAddr) -> PeerId {
    let mut peer_id = sow_content::hash::sha1(addr.to_string().as_bytes());
    peer_id[..5].copy_from_slice(dialect);
    PeerId(peer_id)
}
