//! Who sent how much of a download: by its looks at the swarm, and by what is said of everybody who leaves between two of them.

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
            self.sent(peer.conn, peer.listen_addr.unwrap_or(peer.addr), peer.useful);
        }
    }

    /// So much came on a connection, which is over perhaps. A look that is older than what is known already changes nothing.
    pub(super) fn sent(&mut self, conn: ConnId, addr: SocketAddr, useful: u64) {
        let known = self.by_connection.get(&conn).map_or(0, |(_, bytes)| *bytes);
        if useful > known {
            self.by_connection.insert(conn, (addr, useful));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_left_counts_and_an_older_look_takes_nothing_away() {
        let addr = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let mut fetched = Fetched::default();
        fetched.sent(ConnId(1), addr(1), 10);
        fetched.sent(ConnId(1), addr(1), 30);
        fetched.sent(ConnId(1), addr(1), 20);
        // Its second connection, and one that brought nothing.
        fetched.sent(ConnId(2), addr(1), 5);
        fetched.sent(ConnId(3), addr(2), 0);
        assert_eq!(fetched.by_address(), BTreeMap::from([(addr(1).to_string(), 35)]));
    }
}
