//! The state of a swarm for people: progress, rates, peers.

use std::net::SocketAddr;

use sow_content::Bitfield;
use sow_wire::bittorrent::PeerId;

use crate::{
    connections::Connection,
    io::{ConnId, Direction, Time},
    rate::Rate,
};

/// The state of a swarm.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Pieces that are verified and stored; merely stored, while [`Status::unverified`].
    pub have: u32,
    /// Pieces in all; 0 while the metadata is not known.
    pub pieces: u32,
    /// Bytes that are verified and stored.
    pub bytes_verified: u64,
    /// Bytes that were received and are not verified yet.
    pub bytes_pending: u64,
    /// Missing pieces that no connected peer has, or offers at the moment.
    pub unavailable: u32,
    /// Bytes in all; 0 while the metadata is not known.
    pub bytes_total: u64,
    /// Payload bytes that were received, useful or not.
    pub downloaded: u64,
    /// Payload bytes that were sent.
    pub uploaded: u64,
    /// Payload bytes that were of no use: received twice, too late or corrupt.
    pub wasted: u64,
    /// Bytes a second that are received.
    pub rate_down: u64,
    /// Bytes a second that are sent.
    pub rate_up: u64,
    /// The connected peers.
    pub peers: Vec<PeerStatus>,
    /// A connected peer still lacks something.
    pub others_need: bool,
    /// There are no hashes of pieces, and the whole is not verified yet.
    pub unverified: bool,
    /// The MD5 of the content, where the dialect knows content by it, once it is confirmed.
    pub md5: Option<[u8; 16]>,
    /// How many peers lack something, as a tracker said last.
    pub tracker_incomplete: Option<u32>,
}

/// How much an engine holds at the moment, in numbers of entries: what its memory depends on beside
/// the content. Each is bounded, whatever peers and trackers send.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StateSize {
    /// Open connections.
    pub connections: usize,
    /// Addresses and peer ids that are known, in use, or banned.
    pub addresses: usize,
    /// Pieces of which blocks are requested or here, and that are not stored yet.
    pub open_pieces: usize,
    /// Our requests that are not answered yet, on all connections.
    pub requests: usize,
    /// Requests of peers that are not answered yet, on all connections.
    pub uploads: usize,
}

impl StateSize {
    /// The larger of two, each number by itself.
    pub fn max_of(self, other: Self) -> Self {
        Self {
            connections: self.connections.max(other.connections),
            addresses: self.addresses.max(other.addresses),
            open_pieces: self.open_pieces.max(other.open_pieces),
            requests: self.requests.max(other.requests),
            uploads: self.uploads.max(other.uploads),
        }
    }
}

/// The state of a connected peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStatus {
    /// Its connection.
    pub conn: ConnId,
    /// Its address.
    pub addr: SocketAddr,
    /// Where others reach it, as far as we know.
    pub listen_addr: Option<SocketAddr>,
    /// Its peer id.
    pub peer_id: PeerId,
    /// The name and version of its program, as it says.
    pub client: Option<String>,
    /// Pieces that it has.
    pub have: u32,
    /// It has everything.
    pub complete: bool,
    /// It only uploads, as it says.
    pub upload_only: bool,
    /// Payload bytes that were received from it.
    pub downloaded: u64,
    /// Payload bytes that were sent to it.
    pub uploaded: u64,
    /// Bytes a second that are received from it.
    pub rate_down: u64,
    /// Bytes a second that are sent to it.
    pub rate_up: u64,
    /// We dialed it.
    pub dialed: bool,
}

impl PeerStatus {
    /// The state of one connection; the rates are those of its two directions.
    pub(crate) fn new(
        now: Time,
        connection: &Connection,
        down: Option<&Rate>,
        up: Option<&Rate>,
    ) -> Self {
        let extension = connection.session().bittorrent().map(|session| session.extension());
        let per_second = |rate: Option<&Rate>| rate.map_or(0, |rate| rate.per_second(now));
        Self {
            conn: connection.conn(),
            addr: connection.addr(),
            listen_addr: connection.listen_addr(),
            peer_id: connection.peer_id(),
            client: extension.and_then(|extension| extension.client()).map(str::to_owned),
            have: connection.have().map_or(0, Bitfield::count),
            complete: connection.is_complete(),
            upload_only: extension.is_some_and(|extension| extension.upload_only()),
            downloaded: down.map_or(0, Rate::total),
            uploaded: up.map_or(0, Rate::total),
            rate_down: per_second(down),
            rate_up: per_second(up),
            dialed: connection.direction() == Direction::Dialed,
        }
    }
}
