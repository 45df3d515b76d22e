//! Peers that can be found by address, drawn at random and expired. Neither swarms nor limits here.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use sow_wire::bittorrent::PeerId;

/// A peer as it last announced itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Where it listens: its identity here.
    pub(crate) addr: SocketAddr,
    /// Its name.
    pub(crate) peer_id: PeerId,
    /// When it last announced.
    pub(crate) heard: Duration,
    /// When it is taken for gone.
    pub(crate) expires: Duration,
    /// It has shown that it keeps to the interval.
    pub(crate) prompt: bool,
}

/// A set of peers, one for each address, in an order that means nothing.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    peers: Vec<Peer>,
    places: BTreeMap<SocketAddr, usize>,
}

impl Roster {
    pub(crate) fn len(&self) -> usize {
        self.peers.len()
    }

    /// Adds a peer, in the place of one at the same address.
    pub(crate) fn put(&mut self, peer: Peer) {
        if let Some(&place) = self.places.get(&peer.addr) {
            self.peers[place] = peer;
        } else {
            self.places.insert(peer.addr, self.peers.len());
            self.peers.push(peer);
        }
    }

    pub(crate) fn get(&self, addr: SocketAddr) -> Option<&Peer> {
        self.places.get(&addr).map(|&place| &self.peers[place])
    }

    pub(crate) fn remove(&mut self, addr: SocketAddr) -> Option<Peer> {
        let place = self.places.remove(&addr)?;
        let peer = self.peers.swap_remove(place);
        if let Some(moved) = self.peers.get(place) {
            self.places.insert(moved.addr, place);
        }
        Some(peer)
    }

    /// Takes out every peer that is gone by `now`, and calls `gone` with each.
    pub(crate) fn expire(&mut self, now: Duration, mut gone: impl FnMut(&Peer)) {
        for place in (0..self.peers.len()).rev() {
            if self.peers[place].expires <= now {
                let peer = self.peers[place];
                gone(&peer);
                self.remove(peer.addr);
            }
        }
    }

    /// At most `number` peers, each set of that size as likely as any other, in random order. Takes
    /// time by `number`, not by the size of the roster (Floyd's sampling).
    pub(crate) fn sample(&self, number: usize, rng: &mut fastrand::Rng) -> Vec<&Peer> {
        let length = self.peers.len();
        let mut chosen = BTreeSet::new();
        for last in length - number.min(length)..length {
            let place = rng.usize(..=last);
            if !chosen.insert(place) {
                chosen.insert(last);
            }
        }
        let mut sample: Vec<_> = chosen.into_iter().map(|place| &self.peers[place]).collect();
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
            heard: Duration::ZERO,
            expires: Duration::from_secs(port.into()),
            prompt: true,
        }
    }

    fn roster(ports: impl IntoIterator<Item = u16>) -> Roster {
        let mut roster = Roster::default();
        ports.into_iter().for_each(|port| roster.put(peer(port)));
        roster
    }

    #[test]
    fn an_address_has_one_place() {
        let mut roster = roster([1, 2, 3]);
        let newer = Peer { peer_id: PeerId([9; 20]), ..peer(1) };
        roster.put(newer);
        assert_eq!(roster.len(), 3);
        assert_eq!(roster.get(newer.addr), Some(&newer));
        assert_eq!(roster.remove(newer.addr), Some(newer));
        assert_eq!(roster.remove(newer.addr), None);
        assert_eq!(roster.get(peer(3).addr), Some(&peer(3)), "the one that was moved");
        assert_eq!(roster.remove(peer(3).addr), Some(peer(3)));
        assert_eq!(roster.len(), 1);
    }

    #[test]
    fn who_is_overdue_goes() {
        let mut roster = roster(1..=10);
        let mut gone = Vec::new();
        roster.expire(Duration::from_secs(4), |peer| gone.push(peer.addr.port()));
        gone.sort_unstable();
        assert_eq!(gone, [1, 2, 3, 4]);
        assert!((5..=10).all(|port| roster.get(peer(port).addr) == Some(&peer(port))));
        assert_eq!(roster.len(), 6);
    }

    #[test]
    fn samples_are_even() {
        let roster = roster(1..=20);
        let mut rng = fastrand::Rng::with_seed(1);
        let mut times = [[0u32; 2]; 21];
        for _ in 0..10_000 {
            let sample = roster.sample(5, &mut rng);
            assert_eq!(sample.len(), 5);
            for (at, peer) in sample.iter().enumerate() {
                times[usize::from(peer.addr.port())][0] += 1;
                times[usize::from(peer.addr.port())][1] += u32::from(at == 0);
            }
        }
        // 2,500 and 500 are due; six standard deviations are 260 and 131.
        for [drawn, drawn_first] in &times[1..] {
            assert!(drawn.abs_diff(2500) < 260 && drawn_first.abs_diff(500) < 131, "{times:?}");
        }
    }

    #[test]
    fn a_sample_of_more_than_all_is_all() {
        let mut rng = fastrand::Rng::with_seed(2);
        let roster = roster(1..=7);
        let mut ports: Vec<_> =
            roster.sample(50, &mut rng).iter().map(|peer| peer.addr.port()).collect();
        ports.sort_unstable();
        assert_eq!(ports, [1, 2, 3, 4, 5, 6, 7]);
        assert!(Roster::default().sample(5, &mut rng).is_empty());
        assert!(roster.sample(0, &mut rng).is_empty());
    }
}
