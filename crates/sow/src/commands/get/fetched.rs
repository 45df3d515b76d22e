//! Who sent how much of a download: of what was verified, or where nothing can be verified by
//! pieces, of what was kept.

use std::{collections::BTreeMap, net::SocketAddr};

use sow_engine::{ConnId, PeerStatus};

/// Bytes and names by connection. Those that are over are kept.
#[derive(Debug, Default)]
pub(super) struct Fetched {
    bytes: BTreeMap<ConnId, u64>,
    names: BTreeMap<ConnId, SocketAddr>,
}

impl Fetched {
    /// Takes in whose connections there are now: where somebody is reached may be known later than
    /// that he is there.
    pub(super) fn observe(&mut self, peers: &[PeerStatus]) {
        for peer in peers.iter().filter(|peer| peer.downloaded > 0) {
            self.name(peer.conn, peer.listen_addr.unwrap_or(peer.addr));
        }
    }

    /// Whose a connection is.
    pub(super) fn name(&mut self, conn: ConnId, addr: SocketAddr) {
        self.names.insert(conn, addr);
    }

    /// So much came on a connection, and is right.
    pub(super) fn came(&mut self, conn: ConnId, bytes: u64) {
        *self.bytes.entry(conn).or_insert(0) += bytes;
    }

    /// Bytes by address.
    pub(super) fn by_address(&self) -> BTreeMap<String, u64> {
        let mut by_address = BTreeMap::new();
        for (conn, addr) in &self.names {
            if let Some(bytes) = self.bytes.get(conn) {
                *by_address.entry(addr.to_string()).or_insert(0) += bytes;
            }
        }
        by_address
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_right_counts_for_whoever_sent_it_even_when_he_has_left() {
        let addr = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let mut fetched = Fetched::default();
        fetched.came(ConnId(1), 10);
        fetched.name(ConnId(1), addr(40_000));
        fetched.came(ConnId(1), 20);
        // Where it is reached is known now; its second connection is over before its piece is
        // verified.
        fetched.name(ConnId(1), addr(1));
        fetched.name(ConnId(2), addr(1));
        fetched.came(ConnId(2), 5);
        // All that this one sent was wrong.
        fetched.name(ConnId(3), addr(2));
        assert_eq!(fetched.by_address(), BTreeMap::from([(addr(1).to_string(), 35)]));
    }
}
