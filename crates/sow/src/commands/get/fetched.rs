//! Who sent how much of a download, as far as its looks at the swarm told.

use std::{collections::BTreeMap, net::SocketAddr};

use sow_engine::PeerStatus;
use sow_wire::bittorrent::PeerId;

/// Bytes by peer. Peers that have left are kept.
#[derive(Debug, Default)]
pub(super) struct Fetched {
    by_peer: BTreeMap<PeerId, (SocketAddr, u64)>,
}

impl Fetched {
    /// Takes in who is connected now. What a peer of the same name sent over an earlier connection is not counted again.
    pub(super) fn observe(&mut self, peers: &[PeerStatus]) {
        for peer in peers.iter().filter(|peer| peer.downloaded > 0) {
            let addr = peer.listen_addr.unwrap_or(peer.addr);
            let known = self.by_peer.entry(peer.peer_id).or_insert((addr, 0));
            *known = (addr, known.1.max(peer.downloaded));
        }
    }

    /// Bytes by address.
    pub(super) fn by_address(&self) -> BTreeMap<String, u64> {
        let mut by_address = BTreeMap::new();
        for (addr, bytes) in self.by_peer.values() {
            *by_address.entry(addr.to_string()).or_insert(0) += bytes;
        }
        by_address
    }
}
