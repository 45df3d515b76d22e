//! The bytes of a download by peer: verified bytes, or stored bytes if pieces have no hashes.

use std::{collections::BTreeMap, net::SocketAddr};

use sow_engine::{ConnId, PeerStatus};

/// Bytes and addresses by connection, including closed connections.
#[derive(Debug, Default)]
pub(super) struct BytesByPeer {
    bytes: BTreeMap<ConnId, u64>,
    addrs: BTreeMap<ConnId, SocketAddr>,
}

impl BytesByPeer {
    /// Updates the addresses of connected peers: the address on which a peer listens may become
    /// known after it is connected.
    pub(super) fn update_addresses(&mut self, peers: &[PeerStatus]) {
        for peer in peers.iter().filter(|peer| peer.downloaded > 0) {
            self.set_address(peer.conn, peer.listen_addr.unwrap_or(peer.addr));
        }
    }

    /// Sets the address of the peer of a connection.
    pub(super) fn set_address(&mut self, conn: ConnId, addr: SocketAddr) {
        self.addrs.insert(conn, addr);
    }

    /// Adds verified bytes that were received on a connection.
    pub(super) fn add(&mut self, conn: ConnId, bytes: u64) {
        *self.bytes.entry(conn).or_insert(0) += bytes;
    }

    /// Bytes by address.
    pub(super) fn by_address(&self) -> BTreeMap<String, u64> {
        let mut by_address = BTreeMap::new();
        for (conn, addr) in &self.addrs {
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
    fn verified_bytes_count_for_their_sender_after_it_has_disconnected() {
        let addr = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let mut totals = BytesByPeer::default();
        totals.add(ConnId(1), 10);
        totals.set_address(ConnId(1), addr(40_000));
        totals.add(ConnId(1), 20);
        // The listening address becomes known. The second connection is closed before its piece is
        // verified.
        totals.set_address(ConnId(1), addr(1));
        totals.set_address(ConnId(2), addr(1));
        totals.add(ConnId(2), 5);
        // All data of the third connection was corrupt.
        totals.set_address(ConnId(3), addr(2));
        assert_eq!(totals.by_address(), BTreeMap::from([(addr(1).to_string(), 35)]));
    }
}
