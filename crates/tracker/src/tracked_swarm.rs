//! The peers of one swarm and the choice of peers for an announcing peer. It knows no limits and no
//! other swarms.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use sow_wire::{bittorrent::PeerId, tracker::TrackedPeer};

use crate::peer_list::{Peer, PeerList};

/// The peers of one swarm and its counters.
#[derive(Debug, Default)]
pub(crate) struct TrackedSwarm {
    /// The tracker's own machine, where it has the content: a seed that needs no announce.
    own: Option<Peer>,
    seeds: PeerList,
    leechers: PeerList,
    /// Peers that completed while they were in the swarm.
    pub(crate) completed: u32,
    /// Peers that joined so far: each new peer id at an address counts once.
    pub(crate) joined: u64,
}

/// The peer that asks for other peers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AnnouncingPeer {
    pub(crate) addr: SocketAddr,
    pub(crate) peer_id: PeerId,
    pub(crate) is_seed: bool,
    /// The address of the tracker that the peer connected to.
    pub(crate) reached: IpAddr,
}

/// The most seeds in a response to a seed.
const MAX_SEEDS_FOR_A_SEED: usize = 3;

impl TrackedSwarm {
    /// A swarm without peers but for the tracker's own machine.
    pub(crate) fn with_own_seed(own: Option<Peer>) -> Self {
        Self { own, ..Self::default() }
    }

    /// The number of peers that have announced.
    pub(crate) fn len(&self) -> usize {
        self.seeds.len() + self.leechers.len()
    }

    pub(crate) fn seeds(&self) -> usize {
        self.seeds.len() + usize::from(self.own.is_some())
    }

    pub(crate) fn leechers(&self) -> usize {
        self.leechers.len()
    }

    pub(crate) fn get(&self, addr: SocketAddr) -> Option<&Peer> {
        self.seeds.get(addr).or_else(|| self.leechers.get(addr))
    }

    /// Adds a peer. It replaces a peer at the same address. `completed`: the announce has the event
    /// `completed`.
    pub(crate) fn insert(&mut self, peer: Peer, is_seed: bool, completed: bool) {
        let was_leecher = self.leechers.remove(peer.addr);
        let before = was_leecher.as_ref().or_else(|| self.seeds.get(peer.addr));
        let same = before.is_some_and(|before| before.peer_id == peer.peer_id);
        self.joined += u64::from(!same);
        // A peer may send the event twice, or the event may be lost. What counts is that a leecher
        // becomes a seed.
        let stepped = if same { was_leecher.is_some() } else { completed };
        self.completed = self.completed.saturating_add(u32::from(is_seed && stepped));
        if is_seed {
            self.seeds.insert(peer);
        } else {
            self.seeds.remove(peer.addr);
            self.leechers.insert(peer);
        }
    }

    pub(crate) fn remove(&mut self, addr: SocketAddr) -> Option<Peer> {
        self.seeds.remove(addr).or_else(|| self.leechers.remove(addr))
    }

    /// Removes every peer that expires by `now`, and calls `on_expired` with each.
    pub(crate) fn expire(&mut self, now: Duration, mut on_expired: impl FnMut(&Peer)) {
        self.seeds.expire(now, &mut on_expired);
        self.leechers.expire(now, &mut on_expired);
    }

    /// At most `number` random peers that are useful to the announcing peer.
    ///
    /// For a leecher, half of the peers are seeds, so that the only seed is always included; if one
    /// kind is too few, the other fills up. For a seed they are leechers, and a few seeds if there
    /// are too few leechers: aria2 announces `left=0` while it has only a magnet link.
    pub(crate) fn choose_peers(
        &self,
        announcing: &AnnouncingPeer,
        number: usize,
        rng: &mut fastrand::Rng,
    ) -> Vec<TrackedPeer> {
        // The announcing peer itself may be drawn, once for each address family, and is then left
        // out.
        let drawn = if number == 0 { 0 } else { number + 2 };
        let leechers = announcing.reachable_peers(self.leechers.sample(drawn, rng));
        let own = self.own.iter().take(drawn);
        let seeds = own.chain(self.seeds.sample(drawn, rng)).collect();
        let seeds = announcing.reachable_peers(seeds);
        let left = number.saturating_sub(leechers.len());
        let max_seeds = if announcing.is_seed {
            left.min(MAX_SEEDS_FOR_A_SEED)
        } else {
            number.div_ceil(2).max(left)
        };
        let seeds = seeds.into_iter().take(max_seeds);
        let max_leechers = number - seeds.len();
        let mut addrs = BTreeSet::new();
        let all = seeds.chain(leechers.into_iter().take(max_leechers));
        let mut chosen: Vec<_> = all.filter(|peer| addrs.insert(peer.addr)).collect();
        rng.shuffle(&mut chosen);
        chosen
    }
}

impl AnnouncingPeer {
    /// The peers with addresses that this peer can reach, without itself.
    fn reachable_peers(&self, peers: Vec<&Peer>) -> Vec<TrackedPeer> {
        let reachable = peers.into_iter().filter_map(|peer| {
            let addr = reachable_address(peer.addr, self.addr.ip(), self.reached)?;
            Some(TrackedPeer { addr, peer_id: Some(peer.peer_id) })
        });
        reachable
            .filter(|peer| peer.addr != self.addr && peer.peer_id != Some(self.peer_id))
            .collect()
    }
}

/// The address at which the host `from`, which reached the tracker at `reached`, can reach a peer.
///
/// A peer that announced over the loopback interface is on the tracker's machine, so other machines
/// reach it at the tracker's address.
pub(crate) fn reachable_address(
    addr: SocketAddr,
    from: IpAddr,
    reached: IpAddr,
) -> Option<SocketAddr> {
    if !addr.ip().is_loopback() || from.is_loopback() {
        return Some(addr);
    }
    let usable = !reached.is_loopback() && !reached.is_unspecified();
    usable.then(|| SocketAddr::new(reached, addr.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(at: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, (at >> 8) as u8, at as u8], 6881))
    }

    fn peer(addr: SocketAddr, id: u16) -> Peer {
        let mut peer_id = PeerId([0; 20]);
        peer_id.0[..2].copy_from_slice(&id.to_be_bytes());
        Peer {
            addr,
            peer_id,
            last_announce: Duration::ZERO,
            expires: Duration::MAX,
            keeps_interval: false,
        }
    }

    /// Seeds from 1 up, leechers from 1001 up.
    fn swarm(seeds: u16, leechers: u16) -> TrackedSwarm {
        let mut swarm = TrackedSwarm::default();
        (1..=seeds).for_each(|at| swarm.insert(peer(addr(at), at), true, false));
        (1001..=1000 + leechers).for_each(|at| swarm.insert(peer(addr(at), at), false, false));
        swarm
    }

    fn announcing(at: u16, is_seed: bool) -> AnnouncingPeer {
        AnnouncingPeer {
            addr: addr(at),
            peer_id: peer(addr(at), at).peer_id,
            is_seed,
            reached: "10.9.9.9".parse().unwrap(),
        }
    }

    /// The number of seeds and of leechers in a choice.
    fn chosen(swarm: &TrackedSwarm, announcing: AnnouncingPeer, number: usize) -> (usize, usize) {
        let mut rng = fastrand::Rng::with_seed(3);
        let peers = swarm.choose_peers(&announcing, number, &mut rng);
        let seeds = peers.iter().filter(|peer| swarm.seeds.get(peer.addr).is_some()).count();
        assert!(peers.iter().all(|peer| peer.addr != announcing.addr));
        (seeds, peers.len() - seeds)
    }

    #[test]
    fn the_only_seed_is_always_included() {
        assert_eq!(chosen(&swarm(1, 500), announcing(1001, false), 50), (1, 49));
        assert_eq!(chosen(&swarm(500, 1), announcing(1001, false), 50), (50, 0));
        assert_eq!(chosen(&swarm(500, 500), announcing(1001, false), 50), (25, 25));
        assert_eq!(chosen(&swarm(10, 10), announcing(1001, false), 50), (10, 9));
    }

    #[test]
    fn the_own_seed_is_in_every_answer() {
        let own = peer("127.0.0.1:52000".parse().unwrap(), 9999);
        let mut swarm = TrackedSwarm::with_own_seed(Some(own));
        (1..=500).for_each(|at| swarm.insert(peer(addr(at), at), true, false));
        assert_eq!((swarm.seeds(), swarm.len()), (501, 500));
        let mut rng = fastrand::Rng::with_seed(6);
        let reached: SocketAddr = "10.9.9.9:52000".parse().unwrap();
        for _ in 0..20 {
            let chosen = swarm.choose_peers(&announcing(1001, false), 5, &mut rng);
            assert_eq!(chosen.len(), 5);
            assert!(chosen.iter().any(|peer| peer.addr == reached), "{chosen:?}");
        }
        assert!(swarm.choose_peers(&announcing(1001, false), 0, &mut rng).is_empty());
    }

    #[test]
    fn the_order_of_the_peers_is_random() {
        let (swarm, mut rng) = (swarm(1, 10), fastrand::Rng::with_seed(5));
        let mut first = 0;
        for _ in 0..1000 {
            let peers = swarm.choose_peers(&announcing(1001, false), 50, &mut rng);
            first += u32::from(peers[0].addr == addr(1));
        }
        // 100 are expected; six standard deviations are 57.
        assert!((43..=157).contains(&first), "the seed is first {first} times in 1000");
    }

    #[test]
    fn a_seed_gets_few_seeds_and_only_if_there_are_too_few_leechers() {
        assert_eq!(chosen(&swarm(20, 5), announcing(1, true), 50), (MAX_SEEDS_FOR_A_SEED, 5));
        assert_eq!(chosen(&swarm(20, 50), announcing(1, true), 50), (0, 50));
        assert_eq!(chosen(&swarm(20, 5), announcing(1, true), 0), (0, 0));
    }

    #[test]
    fn a_loopback_peer_is_given_to_other_machines_at_the_address_of_the_tracker() {
        let mut swarm = swarm(0, 1);
        let local: SocketAddr = "127.0.0.1:7000".parse().unwrap();
        swarm.insert(peer(local, 7), true, false);
        let mut rng = fastrand::Rng::with_seed(4);
        let mut seen_by = |from: AnnouncingPeer| -> Vec<_> {
            swarm
                .choose_peers(&from, 50, &mut rng)
                .iter()
                .map(|peer| peer.addr.to_string())
                .collect()
        };
        assert_eq!(seen_by(announcing(1001, false)), ["10.9.9.9:7000"]);
        assert!(
            seen_by(AnnouncingPeer {
                reached: "0.0.0.0".parse().unwrap(),
                ..announcing(1001, false)
            })
            .is_empty()
        );
        let mut near = seen_by(AnnouncingPeer {
            addr: "127.0.0.1:8000".parse().unwrap(),
            ..announcing(2, false)
        });
        near.sort();
        assert_eq!(near, [addr(1001).to_string(), local.to_string()]);
        // The announcing peer is the listed one: it was started again and uses its other address.
        assert_eq!(
            seen_by(AnnouncingPeer {
                addr: "10.9.9.9:7000".parse().unwrap(),
                ..announcing(2, false)
            }),
            [addr(1001).to_string()]
        );
    }

    #[test]
    fn a_peer_does_not_get_its_own_peer_id() {
        let mut swarm = swarm(0, 0);
        swarm.insert(peer("[2001:db8::1]:6881".parse().unwrap(), 1001), false, false);
        swarm.insert(peer(addr(1001), 1001), false, false);
        assert_eq!(chosen(&swarm, announcing(1001, false), 50), (0, 0));
        assert_eq!(chosen(&swarm, announcing(1002, false), 50), (0, 2));
    }

    #[test]
    fn a_completion_is_counted_once_when_a_leecher_becomes_a_seed() {
        let mut swarm = TrackedSwarm::default();
        swarm.insert(peer(addr(1), 1), false, false);
        swarm.insert(peer(addr(1), 1), true, true);
        swarm.insert(peer(addr(1), 1), true, true);
        assert_eq!((swarm.completed, swarm.joined, swarm.seeds(), swarm.leechers()), (1, 1, 1, 0));
        swarm.insert(peer(addr(2), 2), false, false);
        swarm.insert(peer(addr(2), 2), true, false);
        assert_eq!(swarm.completed, 2, "the event was lost");
        swarm.insert(peer(addr(3), 3), true, false);
        assert_eq!(swarm.completed, 2, "it joined as a seed");
        swarm.insert(peer(addr(4), 4), true, true);
        assert_eq!(swarm.completed, 3, "the tracker was started after the peer");
        swarm.insert(peer(addr(4), 5), false, false);
        assert_eq!(
            (swarm.joined, swarm.seeds(), swarm.leechers()),
            (5, 3, 1),
            "a new peer at a known address"
        );
    }
}
