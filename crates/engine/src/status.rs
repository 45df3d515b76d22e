//! A picture of an engine for people: progress, rates, peers. Reads only.

use std::net::SocketAddr;

use sow_wire::bittorrent::PeerId;

use crate::{
    engine::{Engine, Phase},
    io::{ConnId, Direction, Time},
    peer::Peer,
};

/// How far a swarm is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Pieces that are verified and stored; merely stored, while [`Status::unverified`].
    pub have: u32,
    /// Pieces in all; 0 while the metadata is not known.
    pub pieces: u32,
    /// Bytes that are verified and stored.
    pub bytes_verified: u64,
    /// Bytes that came and are not verified yet.
    pub bytes_pending: u64,
    /// Bytes in all; 0 while the metadata is not known.
    pub bytes_total: u64,
    /// Payload bytes that came, useful or not.
    pub downloaded: u64,
    /// Payload bytes that were sent.
    pub uploaded: u64,
    /// Payload bytes that came in vain: twice, too late or corrupt.
    pub wasted: u64,
    /// Bytes a second that come.
    pub rate_down: u64,
    /// Bytes a second that go.
    pub rate_up: u64,
    /// The connected peers.
    pub peers: Vec<PeerStatus>,
    /// Somebody who is connected still lacks something.
    pub others_need: bool,
    /// There are no hashes of pieces, and nobody has confirmed the whole yet.
    pub unverified: bool,
    /// The MD5 of the content, where the dialect knows content by it, once it is confirmed.
    pub md5: Option<[u8; 16]>,
    /// How many have not everything, as a tracker said last.
    pub tracker_incomplete: Option<u32>,
}

/// How far a connected peer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStatus {
    /// Its connection.
    pub conn: ConnId,
    /// Its address.
    pub addr: SocketAddr,
    /// Where others reach it, as far as we know.
    pub listen_addr: Option<SocketAddr>,
    /// Its name.
    pub peer_id: PeerId,
    /// Its program, as it says.
    pub client: Option<String>,
    /// Pieces that it has.
    pub have: u32,
    /// It has everything.
    pub complete: bool,
    /// It only gives, as it says.
    pub upload_only: bool,
    /// Payload bytes that came from it.
    pub downloaded: u64,
    /// Payload bytes that it was sent.
    pub uploaded: u64,
    /// Bytes a second that come from it.
    pub rate_down: u64,
    /// Bytes a second that go to it.
    pub rate_up: u64,
    /// We called it.
    pub dialed: bool,
}

impl Engine {
    /// A picture of how far the swarm is.
    pub fn status(&self, now: Time) -> Status {
        let mut status = Status {
            downloaded: self.down.total(),
            uploaded: self.up.total(),
            wasted: self.wasted,
            rate_down: self.down.per_second(now),
            rate_up: self.up.per_second(now),
            peers: self
                .peers
                .values()
                .filter(|peer| peer.is_somebody())
                .map(|peer| status_of(now, peer))
                .collect(),
            tracker_incomplete: self.tracker_incomplete,
            ..Status::default()
        };
        if let Phase::Ready(ready) = &self.phase {
            status.have = ready.picker.have().count();
            status.pieces = ready.geometry.pieces();
            status.bytes_total = ready.geometry.total();
            status.bytes_verified = status.bytes_total - ready.missing_bytes();
            status.bytes_pending = ready.picker.arrived_bytes();
            status.unverified = !ready.is_verified_whole();
            status.md5 = ready.sum.filter(|_| ready.is_verified_whole());
        }
        status.others_need = status.peers.iter().any(|peer| !peer.complete && !peer.upload_only);
        status
    }
}

fn status_of(now: Time, peer: &Peer) -> PeerStatus {
    PeerStatus {
        conn: peer.conn,
        addr: peer.addr,
        listen_addr: peer.listen_addr(),
        peer_id: peer.handshake.peer_id,
        client: peer.extension.as_ref().and_then(|extension| extension.client.clone()),
        have: peer.have().map_or(0, sow_content::Bitfield::count),
        complete: peer.is_complete(),
        upload_only: peer.upload_only(),
        downloaded: peer.down.total(),
        uploaded: peer.up.total(),
        rate_down: peer.down.per_second(now),
        rate_up: peer.up.per_second(now),
        dialed: peer.direction == Direction::Dialed,
    }
}
