//! The peers that the command line names: which were connected, which are given up, and whether the
//! download can still complete. The engine decides which peers to give up.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use sow_engine::{Dialect, Event, Status};

use crate::exit::{Exit, Failure};

/// How long no bytes may arrive before a named peer that was never connected counts as lost.
const LOST_AFTER: Duration = Duration::from_secs(15);

/// The peers that the command line names.
#[derive(Debug)]
pub(crate) struct NamedPeers {
    dialect: Dialect,
    /// There is no other way to find peers.
    is_only_source: bool,
    addrs: Vec<SocketAddr>,
    connected: BTreeSet<SocketAddr>,
    given_up: BTreeMap<SocketAddr, String>,
}

impl NamedPeers {
    /// `is_only_source`: no tracker is known that could name other peers.
    pub(crate) fn new(dialect: Dialect, addrs: Vec<SocketAddr>, is_only_source: bool) -> Self {
        Self {
            dialect,
            is_only_source,
            addrs,
            connected: BTreeSet::new(),
            given_up: BTreeMap::new(),
        }
    }

    /// Their addresses.
    pub(crate) fn addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// Updates the state after an event of the swarm. Returns the warning that it gives rise to.
    pub(crate) fn on_event(&mut self, event: &Event) -> Option<String> {
        match event {
            Event::PeerConnected { addr, .. } if self.addrs.contains(addr) => {
                self.connected.insert(*addr);
                None
            }
            Event::PeerGivenUp { addr, misbehavior } if self.addrs.contains(addr) => {
                self.given_up.insert(*addr, misbehavior.to_string());
                Some(format!(
                    "{addr} was disconnected repeatedly for protocol errors (last: {misbehavior}); \
                     it will not be contacted again"
                ))
            }
            _ => None,
        }
    }

    /// The failure of the download if it can no longer complete. `idle` is the time since the last
    /// bytes arrived.
    pub(crate) fn exhausted(&self, status: &Status, idle: Duration) -> Option<Failure> {
        let is_lost = |addr| {
            self.given_up.contains_key(addr)
                || (idle >= LOST_AFTER && !self.connected.contains(addr))
        };
        // In `chunk` only a server can verify what clients have.
        let is_needed =
            self.dialect == Dialect::Chunk || (self.is_only_source && status.peers.is_empty());
        if self.given_up.is_empty() || !is_needed || !self.addrs.iter().all(is_lost) {
            return None;
        }
        let has_all = status.bytes_total > 0 && status.bytes_verified == status.bytes_total;
        let (exit, message) = if has_all {
            (Exit::Unverified, "everything was received, but no server is left to verify it")
        } else {
            (Exit::Unfinished, "no peer is left to download from")
        };
        let errors: Vec<_> =
            self.given_up.iter().map(|(addr, error)| format!("{addr}: {error}")).collect();
        let failure = Failure::new(exit, format!("{message}: {}", errors.join("; ")));
        Some(failure.tip(
            "check what runs there; the same command, with a working server, continues from what \
             is here",
        ))
    }
}

#[cfg(test)]
mod tests {
    use sow_engine::{ConnId, Misbehavior};
    use sow_wire::bittorrent::PeerId;

    use super::*;

    fn addr(port: u16) -> SocketAddr {
        ([10, 0, 0, 1], port).into()
    }

    fn connected(port: u16) -> Event {
        Event::PeerConnected { conn: ConnId(1), addr: addr(port), peer_id: PeerId([0; 20]) }
    }

    fn given_up(port: u16) -> Event {
        Event::PeerGivenUp { addr: addr(port), misbehavior: Misbehavior::UnsolicitedData }
    }

    #[test]
    fn a_chunk_download_fails_when_all_servers_are_given_up() {
        let mut peers = NamedPeers::new(Dialect::Chunk, vec![addr(1), addr(2)], true);
        let status = Status { bytes_total: 10, bytes_verified: 9, ..Status::default() };
        let exhausted =
            |peers: &NamedPeers, idle| peers.exhausted(&status, Duration::from_secs(idle));
        assert!(
            exhausted(&peers, 99).is_none(),
            "a server that was never connected may still answer"
        );
        assert_eq!(peers.on_event(&connected(1)), None);
        assert_eq!(peers.on_event(&given_up(3)), None, "a peer that is not named");
        assert!(peers.on_event(&given_up(1)).is_some_and(|warning| warning.contains("10.0.0.1:1")));
        assert!(exhausted(&peers, 0).is_none());
        let failure = exhausted(&peers, 15).unwrap();
        assert_eq!(failure.exit(), Exit::Unfinished);
        peers.on_event(&connected(2));
        assert!(exhausted(&peers, 99).is_none());
        peers.on_event(&given_up(2));
        assert!(
            exhausted(&peers, 0).is_some_and(|failure| failure.message().contains("10.0.0.1:2"))
        );
        let all = Status { bytes_total: 10, bytes_verified: 10, ..Status::default() };
        let unverified = peers.exhausted(&all, Duration::ZERO).unwrap();
        assert_eq!(unverified.exit(), Exit::Unverified);
    }

    #[test]
    fn in_other_protocols_other_peers_may_have_the_content() {
        let status = Status { bytes_total: 10, ..Status::default() };
        for (is_only_source, is_exhausted) in [(false, false), (true, true)] {
            let mut peers = NamedPeers::new(Dialect::BitTorrent, vec![addr(1)], is_only_source);
            peers.on_event(&given_up(1));
            assert_eq!(peers.exhausted(&status, Duration::ZERO).is_some(), is_exhausted);
        }
    }
}
