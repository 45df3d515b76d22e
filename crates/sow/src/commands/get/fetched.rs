//! Who sent how much of a download, as far as its looks at the swarm told.

use std::{collections::BTreeMap, net::SocketAddr};

use sow_engine::{ConnId, PeerStatus};

/// Bytes by connection. Those that have left are kept.
#[derive(Debug, Default)]
pub(super) struct Fetched {
    by_connection: BTreeMap<ConnId, (SocketAddr, u64)>,
}

impl Fetched {
    /// Takes in who is connected now.
    pub(super) fn observe(&mut self, peers: &[PeerStatus]) {
        for peer in peers.iter().filter(|peer| peer.useful > 0) {
            let addr = peer.listen_addr.unwrap_or(peer.addr);
            self.by_connection.insert(peer.conn, (addr, peer.useful));
        }
    }

    /// Bytes by address.
    pub(super) fn by_address(&self) -> BTreeMap<String, u64> {
        let mut by_address = BTreeMap::new();
        for (addr, bytes) in self.by_connection.values() {
            *by_address.entry(addr.to_string()).or_insert(0) += bytes;
        }
        by_address
    }
}
