//! A list of peers that finds a peer by its address, draws random peers and expires old ones. It
//! knows neither swarms nor limits.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use sow_wire::bittorrent::PeerId;

/// A peer as it last announced itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer {
    /// The address that it listens on. It identifies the peer in the list.
    pub(crate) addr: SocketAddr,
    pub(crate) peer_id: PeerId,
    /// When it last announced.
    pub(crate) last_announce: Duration,
    /// When it is removed unless it announces before.
    pub(crate) expires: Duration,
    /// It has announced at the requested interval.
    pub(crate) keeps_interval: bool,
}

/// A set of peers, at most one for each address, in arbitrary order.
#[derive(Debug, Default)]
pub(crate) struct PeerList {
    peers: Vec<Peer>,
    /// The position of each address in `peers`.
    positions: BTreeMap<SocketAddr, usize>,
}

impl PeerList {
    pub(crate) fn len(&self) -> usize {
        self.peers.len()
    }

    /// Adds a peer. It replaces a peer at the same address.
    pub(crate) fn insert(&mut self, peer: Peer) {
        if let Some(&position) = self.positions.get(&peer.addr) {
            self.peers[position] = peer;
        } else {
            self.positions.insert(peer.addr, self.peers.len());
            self.peers.push(peer);
        }
    }

    pub(crate) fn get(&self, addr: SocketAddr) -> Option<&Peer> {
        self.positions.get(&addr).map(|&position| &self.peers[position])
    }

    pub(crate) fn remove(&mut self, addr: SocketAddr) -> Option<Peer> {
        let position = self.positions.remove(&addr)?;
        let peer = self.peers.swap_remove(position);
        if let Some(moved) = self.peers.get(position) {
            self.positions.insert(moved.addr, position);
        }
        Some(peer)
    }

    /// Removes every peer that expires by `now`, and calls `on_expired` with each.
    pub(crate) fn expire(&mut self, now: Duration, mut on_expired: impl FnMut(&Peer)) {
        for position in (0..self.peers.len()).rev() {
            if self.peers[position].expires <= now {
                let peer = self.peers[position];
                on_expired(&peer);
                self.remove(peer.addr);
            }
        }
    }

    /// At most `number` peers in random order; each set of that size has the same probability. The
    /// time depends on `number`, not on the length of the list (Floyd's algorithm).
    pub(crate) fn sample(&self, number: usize, rng: &mut fastrand::Rng) -> Vec<&Peer> {
        let length = self.peers.len();
        let mut chosen = BTreeSet::new();
        for last in length - number.min(length)..length {
            let position = rng.usize(..=last);
            if !chosen.insert(position) {
                chosen.insert(last);
            }
        }
        let mut sample: Vec<_> = chosen.into_iter().map(|position| &self.peers[position]).collect();
        rng.shuffle(&mut sample);
        sample
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(port: u16) -> Peer {
        Peer {
            addr: SocketAddr::from(([10, 0, 0, 1], port)),
            peer_id: PeerId([port as u8; 20]),
            last_announce: Duration::ZERO,
            expires: Duration::from_secs(port.into()),
            keeps_interval: true,
        }
    }

    fn list(ports: impl IntoIterator<Item = u16>) -> PeerList {
        let mut list = PeerList::default();
        ports.into_iter().for_each(|port| list.insert(peer(port)));
        list
    }

    #[test]
    fn an_address_is_in_the_list_once() {
        let mut list = list([1, 2, 3]);
        let newer = Peer { peer_id: PeerId([9; 20]), ..peer(1) };
        list.insert(newer);
        assert_eq!(list.len(), 3);
        assert_eq!(list.get(newer.addr), Some(&newer));
        assert_eq!(list.remove(newer.addr), Some(newer));
        assert_eq!(list.remove(newer.addr), None);
        assert_eq!(list.get(peer(3).addr), Some(&peer(3)), "the peer that was moved");
        assert_eq!(list.remove(peer(3).addr), Some(peer(3)));
        assert_eq!(list.len(), 1);
    }

    #[test]
    fn expired_peers_are_removed() {
        let mut list = list(1..=10);
        let mut expired = Vec::new();
        list.expire(Duration::from_secs(4), |peer| expired.push(peer.addr.port()));
        expired.sort_unstable();
        assert_eq!(expired, [1, 2, 3, 4]);
        assert!((5..=10).all(|port| list.get(peer(port).addr) == Some(&peer(port))));
        assert_eq!(list.len(), 6);
    }

    #[test]
    fn each_peer_is_drawn_equally_often() {
        let list = list(1..=20);
        let mut rng = fastrand::Rng::with_seed(1);
        let mut times = [[0u32; 2]; 21];
        for _ in 0..10_000 {
            let sample = list.sample(5, &mut rng);
            assert_eq!(sample.len(), 5);
            for (at, peer) in sample.iter().enumerate() {
                times[usize::from(peer.addr.port())][0] += 1;
                times[usize::from(peer.addr.port())][1] += u32::from(at == 0);
            }
        }
        // 2,500 and 500 are expected; six standard deviations are 260 and 131.
        for [drawn, drawn_first] in &times[1..] {
            assert!(drawn.abs_diff(2500) < 260 && drawn_first.abs_diff(500) < 131, "{times:?}");
        }
    }

    #[test]
    fn a_sample_larger_than_the_list_is_the_whole_list() {
        let mut rng = fastrand::Rng::with_seed(2);
        let list = list(1..=7);
        let mut ports: Vec<_> =
            list.sample(50, &mut rng).iter().map(|peer| peer.addr.port()).collect();
        ports.sort_unstable();
        assert_eq!(ports, [1, 2, 3, 4, 5, 6, 7]);
        assert!(PeerList::default().sample(5, &mut rng).is_empty());
        assert!(list.sample(0, &mut rng).is_empty());
    }
}
