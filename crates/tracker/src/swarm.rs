//! One swarm: who has everything, who has not, and whom of them a caller is told of.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use sow_wire::{bittorrent::PeerId, tracker::TrackedPeer};

use crate::roster::{Peer, Roster};

/// The peers of one swarm and what is counted of them.
#[derive(Debug, Default)]
pub(crate) struct Swarm {
    seeds: Roster,
    leechers: Roster,
    /// Peers that were seen to complete.
    pub(crate) completed: u32,
    /// Peers that came, each name at each address once.
    pub(crate) seen: u64,
}

/// Who asks for peers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asker {
    pub(crate) addr: SocketAddr,
    pub(crate) peer_id: PeerId,
    pub(crate) is_seed: bool,
    /// The tracker's own address, as the asker sees it.
    pub(crate) reached: IpAddr,
}

/// What a peer that says that it is a seed is told of others.
const SEEDS_TO_A_SEED: usize = 3;

impl Swarm {
    pub(crate) fn len(&self) -> usize {
        self.seeds.len() + self.leechers.len()
    }

    pub(crate) fn seeds(&self) -> usize {
        self.seeds.len()
    }

    pub(crate) fn leechers(&self) -> usize {
        self.leechers.len()
    }

    pub(crate) fn get(&self, addr: SocketAddr) -> Option<&Peer> {
        self.seeds.get(addr).or_else(|| self.leechers.get(addr))
    }

    /// Lists a peer, in the place of whoever was at its address. `completed`: it says that it
    /// completed just now.
    pub(crate) fn put(&mut self, peer: Peer, is_seed: bool, completed: bool) {
        let was_leecher = self.leechers.remove(peer.addr);
        let before = was_leecher.as_ref().or_else(|| self.seeds.get(peer.addr));
        let same = before.is_some_and(|before| before.peer_id == peer.peer_id);
        self.seen += u64::from(!same);
        // A peer may say it again, or it may have got lost: what counts is the step from one side
        // to the other.
        let stepped = if same { was_leecher.is_some() } else { completed };
        self.completed = self.completed.saturating_add(u32::from(is_seed && stepped));
        if is_seed {
            self.seeds.put(peer);
        } else {
            self.seeds.remove(peer.addr);
            self.leechers.put(peer);
        }
    }

    pub(crate) fn remove(&mut self, addr: SocketAddr) -> Option<Peer> {
        self.seeds.remove(addr).or_else(|| self.leechers.remove(addr))
    }

    /// Takes out every peer that is gone by `now`, and calls `gone` with each.
    pub(crate) fn expire(&mut self, now: Duration, mut gone: impl FnMut(&Peer)) {
        self.seeds.expire(now, &mut gone);
        self.leechers.expire(now, &mut gone);
    }

    /// At most `number` peers that are of use to who asks, at random. To a leecher, half of the
    /// places are for seeds, so that the only one is never left out, and what one side leaves is
    /// the other's. A seed is told of leechers, and of a few seeds where there is room: aria2 says
    /// that nothing is left while it knows a magnet link alone.
    pub(crate) fn choose(
        &self,
        asker: &Asker,
        number: usize,
        rng: &mut fastrand::Rng,
    ) -> Vec<TrackedPeer> {
        // The asker itself may be drawn, once for each address family, and is then left out.
        let drawn = if number == 0 { 0 } else { number + 2 };
        let leechers = asker.select(self.leechers.sample(drawn, rng));
        let seeds = asker.select(self.seeds.sample(drawn, rng));
        let left = number.saturating_sub(leechers.len());
        let for_seeds =
            if asker.is_seed { left.min(SEEDS_TO_A_SEED) } else { number.div_ceil(2).max(left) };
        let seeds = seeds.into_iter().take(for_seeds);
        let for_leechers = number - seeds.len();
        let mut told = BTreeSet::new();
        let all = seeds.chain(leechers.into_iter().take(for_leechers));
        let mut chosen: Vec<_> = all.filter(|peer| told.insert(peer.addr)).collect();
        rng.shuffle(&mut chosen);
        chosen
    }
}

impl Asker {
    /// Peers as the asker can reach them, itself left out.
    fn select(&self, peers: Vec<&Peer>) -> Vec<TrackedPeer> {
        let reachable = peers.into_iter().filter_map(|peer| {
            let addr = reachable(peer.addr, self.addr.ip(), self.reached)?;
            Some(TrackedPeer { addr, peer_id: Some(peer.peer_id) })
        });
        reachable
            .filter(|peer| peer.addr != self.addr && peer.peer_id != Some(self.peer_id))
            .collect()
    }
}

/// Where `asker`, who reached the tracker at `reached`, finds a peer: who announces over the
/// loopback is on the tracker's machine, and from elsewhere it is where the tracker is.
pub(crate) fn reachable(addr: SocketAddr, asker: IpAddr, reached: IpAddr) -> Option<SocketAddr> {
    if !addr.ip().is_loopback() || asker.is_loopback() {
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
        Peer { addr, peer_id, heard: Duration::ZERO, expires: Duration::MAX, prompt: false }
    }

    /// Seeds from 1 up, leechers from 1001 up.
    fn swarm(seeds: u16, leechers: u16) -> Swarm {
        let mut swarm = Swarm::default();
        (1..=seeds).for_each(|at| swarm.put(peer(addr(at), at), true, false));
        (1001..=1000 + leechers).for_each(|at| swarm.put(peer(addr(at), at), false, false));
        swarm
    }

    fn asker(at: u16, is_seed: bool) -> Asker {
        Asker {
            addr: addr(at),
            peer_id: peer(addr(at), at).peer_id,
            is_seed,
            reached: "10.9.9.9".parse().unwrap(),
        }
    }

    fn told(swarm: &Swarm, asker: Asker, number: usize) -> (usize, usize) {
        let mut rng = fastrand::Rng::with_seed(3);
        let peers = swarm.choose(&asker, number, &mut rng);
        let seeds = peers.iter().filter(|peer| swarm.seeds.get(peer.addr).is_some()).count();
        assert!(peers.iter().all(|peer| peer.addr != asker.addr));
        (seeds, peers.len() - seeds)
    }

    #[test]
    fn the_only_seed_is_never_left_out() {
        assert_eq!(told(&swarm(1, 500), asker(1001, false), 50), (1, 49));
        assert_eq!(told(&swarm(500, 1), asker(1001, false), 50), (50, 0));
        assert_eq!(told(&swarm(500, 500), asker(1001, false), 50), (25, 25));
        assert_eq!(told(&swarm(10, 10), asker(1001, false), 50), (10, 9));
    }

    #[test]
    fn the_order_tells_nothing() {
        let (swarm, mut rng) = (swarm(1, 10), fastrand::Rng::with_seed(5));
        let mut first = 0;
        for _ in 0..1000 {
            let peers = swarm.choose(&asker(1001, false), 50, &mut rng);
            first += u32::from(peers[0].addr == addr(1));
        }
        // 100 are due; six standard deviations are 57.
        assert!((43..=157).contains(&first), "the seed stood first {first} times in 1000");
    }

    #[test]
    fn a_seed_is_told_of_few_seeds_and_only_where_there_is_room() {
        assert_eq!(told(&swarm(20, 5), asker(1, true), 50), (SEEDS_TO_A_SEED, 5));
        assert_eq!(told(&swarm(20, 50), asker(1, true), 50), (0, 50));
        assert_eq!(told(&swarm(20, 5), asker(1, true), 0), (0, 0));
    }

    #[test]
    fn loopback_peers_are_told_where_the_tracker_is_reached() {
        let mut swarm = swarm(0, 1);
        let local: SocketAddr = "127.0.0.1:7000".parse().unwrap();
        swarm.put(peer(local, 7), true, false);
        let mut rng = fastrand::Rng::with_seed(4);
        let mut seen_by = |asker: Asker| -> Vec<_> {
            swarm.choose(&asker, 50, &mut rng).iter().map(|peer| peer.addr.to_string()).collect()
        };
        assert_eq!(seen_by(asker(1001, false)), ["10.9.9.9:7000"]);
        assert!(
            seen_by(Asker { reached: "0.0.0.0".parse().unwrap(), ..asker(1001, false) }).is_empty()
        );
        let mut near =
            seen_by(Asker { addr: "127.0.0.1:8000".parse().unwrap(), ..asker(2, false) });
        near.sort();
        assert_eq!(near, [addr(1001).to_string(), local.to_string()]);
        // It was listed by its other address before it was started again.
        assert_eq!(
            seen_by(Asker { addr: "10.9.9.9:7000".parse().unwrap(), ..asker(2, false) }),
            [addr(1001).to_string()]
        );
    }

    #[test]
    fn a_name_is_told_to_others_alone() {
        let mut swarm = swarm(0, 0);
        swarm.put(peer("[2001:db8::1]:6881".parse().unwrap(), 1001), false, false);
        swarm.put(peer(addr(1001), 1001), false, false);
        assert_eq!(told(&swarm, asker(1001, false), 50), (0, 0));
        assert_eq!(told(&swarm, asker(1002, false), 50), (0, 2));
    }

    #[test]
    fn completion_is_the_step_and_counts_once() {
        let mut swarm = Swarm::default();
        swarm.put(peer(addr(1), 1), false, false);
        swarm.put(peer(addr(1), 1), true, true);
        swarm.put(peer(addr(1), 1), true, true);
        assert_eq!((swarm.completed, swarm.seen, swarm.seeds(), swarm.leechers()), (1, 1, 1, 0));
        swarm.put(peer(addr(2), 2), false, false);
        swarm.put(peer(addr(2), 2), true, false);
        assert_eq!(swarm.completed, 2, "the announce of it was lost");
        swarm.put(peer(addr(3), 3), true, false);
        assert_eq!(swarm.completed, 2, "it came as a seed");
        swarm.put(peer(addr(4), 4), true, true);
        assert_eq!(swarm.completed, 3, "the tracker is younger than the peer");
        swarm.put(peer(addr(4), 5), false, false);
        assert_eq!(
            (swarm.seen, swarm.seeds(), swarm.leechers()),
            (5, 3, 1),
            "a new peer at an old address"
        );
    }
}
