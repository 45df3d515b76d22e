//! What all hosts of a world may read while they run: the content, where all hosts are, and the
//! conditions of the network. It changes only between two windows of time.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use sow_content::{Geometry, InfoHash};
use sow_engine::{Config, Dialect};

use crate::{conditions::Conditions, item::HostId};

/// The SHA-1 of these bytes is the info-hash of the swarm.
pub(crate) const INFO_DICTIONARY: &[u8] = b"the info dictionary of the simulated swarm";

/// What a path adds to the delays of its links: the switch, and the wake-ups of two programs.
const FORWARD_TIME: Duration = Duration::from_micros(50);

/// The beginning of the addresses at which nothing answers (RFC 2544).
const BLACK_HOLE: [u8; 2] = [198, 18];

/// See the header of this file.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) dialect: Dialect,
    pub(crate) geometry: Geometry,
    pub(crate) info_hash: InfoHash,
    pub(crate) metadata_known: bool,
    pub(crate) adjust: fn(HostId, &mut Config),
    /// The host at each address that is in use.
    pub(crate) addresses: BTreeMap<SocketAddr, HostId>,
    /// The one-way delay of each host's link.
    pub(crate) delays: Vec<Duration>,
    pub(crate) conditions: Conditions,
    /// Chooses what the conditions leave to chance.
    pub(crate) salt: u64,
}

impl Shared {
    /// The delay of the path between two hosts.
    pub(crate) fn delay(&self, a: HostId, b: HostId) -> Duration {
        self.delays[a] + self.delays[b] + FORWARD_TIME
    }

    /// No parcel arrives sooner than this after it was sent.
    pub(crate) fn lookahead(&self) -> Duration {
        let least = self.delays.iter().min().copied().unwrap_or_default();
        least * 2 + FORWARD_TIME
    }

    /// Whether packets to an address vanish without an answer.
    pub(crate) fn is_black_hole(addr: SocketAddr) -> bool {
        matches!(addr.ip(), IpAddr::V4(ip) if ip.octets()[..2] == BLACK_HOLE)
    }

    pub(crate) fn metadata() -> Bytes {
        Bytes::from_static(INFO_DICTIONARY)
    }
}
