//! Who is in the one swarm of a tracker of document 2 (section 2.2), whose protocol names no file.
//!
//! That protocol has neither an interval nor a keep-alive, so peers that die stay listed unless
//! somebody looks: when to call whom, and what follows from it, is decided here. Who calls has the
//! sockets.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use sow_wire::json_torrent::tracker::{Event, MAX_REPLY_PEERS, Reply, Request};

use crate::{limits::source, registry::Announcer, swarm::reachable};

/// How often in a row a peer may be out of reach before it is taken for dead.
const PATIENCE: u32 = 2;

/// What a registry holds at most, and how soon it notices who is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JsonLimits {
    /// Peers. No reply names more than 4,096.
    pub peers: usize,
    /// Peers from one source: an IPv4 address, or an IPv6 network such as one party gets as a
    /// whole.
    pub peers_per_source: usize,
    /// How long after its last sign of life a peer is called.
    pub probe_after: Duration,
    /// How long after a call in vain it is called again.
    pub probe_again: Duration,
    /// How long a peer stays listed without a sign of life, where nobody calls.
    pub lifetime: Duration,
}

impl Default for JsonLimits {
    /// 4,096 peers, 512 of them from one source; called after 2 minutes and again after 10 seconds;
    /// gone after half an hour.
    fn default() -> Self {
        Self {
            peers: MAX_REPLY_PEERS,
            peers_per_source: 512,
            probe_after: Duration::from_secs(120),
            probe_again: Duration::from_secs(10),
            lifetime: Duration::from_secs(30 * 60),
        }
    }
}

/// Who is there. Peers are known by the address that they call from and the port that they name.
#[derive(Debug)]
pub struct JsonRegistry {
    limits: JsonLimits,
    peers: BTreeMap<SocketAddr, Listed>,
}

/// What is known of a peer.
#[derive(Debug, Clone, Copy)]
struct Listed {
    /// Its last sign of life.
    alive: Duration,
    /// When it is to be called.
    probe_at: Duration,
    /// Calls in vain since it was last heard of.
    failures: u32,
}

impl JsonRegistry {
    /// A registry with nobody in it.
    pub fn new(limits: JsonLimits) -> Self {
        Self { limits, peers: BTreeMap::new() }
    }

    /// Takes a request and answers it. `now` is the time since the registry's world began.
    ///
    /// Who joins is told, in random order, of those who were there before. One that there is no
    /// room for is told of them all the same, and is not listed. Who joins again is not listed
    /// twice, nor told of itself.
    pub fn answer(
        &mut self,
        now: Duration,
        caller: Announcer,
        request: &Request,
        rng: &mut fastrand::Rng,
    ) -> Reply {
        self.expire(now);
        let addr = SocketAddr::new(caller.address.to_canonical(), request.port);
        match request.event {
            Event::Started => {
                let reached = caller.reached.to_canonical();
                let others = self.peers.keys().filter(|peer| **peer != addr);
                let mut peers: Vec<_> =
                    others.filter_map(|peer| reachable(*peer, addr.ip(), reached)).collect();
                rng.shuffle(&mut peers);
                self.enter(now, addr);
                Reply::Joined(peers)
            }
            Event::Stopped | Event::Completed => match self.peers.remove(&addr) {
                Some(_) => Reply::Left,
                None => Reply::Error(format!("{addr} is not known here")),
            },
        }
    }

    /// The peers to be called now; each is named again only when a call that should have been
    /// reported was not.
    pub fn due_probes(&mut self, now: Duration) -> Vec<SocketAddr> {
        self.expire(now);
        let due = self.peers.iter_mut().filter(|(_, peer)| peer.probe_at <= now);
        let taken = due.map(|(addr, peer)| {
            peer.probe_at = now + self.limits.probe_after;
            *addr
        });
        taken.collect()
    }

    /// What came of calling a peer. True: it is listed no more.
    pub fn probed(&mut self, addr: SocketAddr, alive: bool, now: Duration) -> bool {
        let Some(peer) = self.peers.get_mut(&addr) else { return false };
        if alive {
            *peer = Listed::alive(now, &self.limits);
            return false;
        }
        peer.failures += 1;
        peer.probe_at = now + self.limits.probe_again;
        let dead = peer.failures >= PATIENCE;
        if dead {
            self.peers.remove(&addr);
        }
        dead
    }

    /// Those who are there, by ascending address.
    pub fn peers(&mut self, now: Duration) -> Vec<SocketAddr> {
        self.expire(now);
        self.peers.keys().copied().collect()
    }

    /// Lists a peer where there is room, or hears of it again.
    fn enter(&mut self, now: Duration, addr: SocketAddr) {
        if self.peers.contains_key(&addr) || self.has_room(addr.ip()) {
            self.peers.insert(addr, Listed::alive(now, &self.limits));
        }
    }

    fn has_room(&self, ip: IpAddr) -> bool {
        let from = source(ip);
        // A few thousand at most, and a request brings a connection with it.
        let from_there = self.peers.keys().filter(|peer| source(peer.ip()) == from).count();
        self.peers.len() < self.limits.peers && from_there < self.limits.peers_per_source
    }

    fn expire(&mut self, now: Duration) {
        let lifetime = self.limits.lifetime;
        self.peers.retain(|_, peer| now.saturating_sub(peer.alive) < lifetime);
    }
}

impl Listed {
    fn alive(now: Duration, limits: &JsonLimits) -> Self {
        Self { alive: now, probe_at: now + limits.probe_after, failures: 0 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    struct World {
        registry: JsonRegistry,
        rng: fastrand::Rng,
        now: Duration,
    }

    impl World {
        fn new(limits: JsonLimits) -> Self {
            Self {
                registry: JsonRegistry::new(limits),
                rng: fastrand::Rng::with_seed(5),
                now: SECOND,
            }
        }

        fn ask(&mut self, from: &str, port: u16, event: Event) -> Reply {
            let caller =
                Announcer { address: from.parse().unwrap(), reached: addr("10.0.0.9:1").ip() };
            // What it says of its own address is a lie.
            let ip = Some("203.0.113.7".parse().unwrap());
            let request = Request { ip, port, peer_id: "203.0.113.7:1".into(), event };
            self.registry.answer(self.now, caller, &request, &mut self.rng)
        }

        fn join(&mut self, from: &str, port: u16) -> Vec<SocketAddr> {
            let Reply::Joined(mut peers) = self.ask(from, port, Event::Started) else {
                panic!("it joins")
            };
            peers.sort_unstable();
            peers
        }
    }

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn who_joins_is_told_of_those_before() {
        let mut world = World::new(JsonLimits::default());
        assert_eq!(world.join("10.0.0.1", 5555), []);
        assert_eq!(world.join("10.0.0.2", 5555), [addr("10.0.0.1:5555")]);
        assert_eq!(world.join("::ffff:10.0.0.1", 5555), [addr("10.0.0.2:5555")]);
        assert_eq!(world.join("10.0.0.1", 5556), [addr("10.0.0.1:5555"), addr("10.0.0.2:5555")]);
        assert_eq!(world.registry.peers(world.now).len(), 3);
    }

    #[test]
    fn leaving_is_for_those_who_are_there() {
        let mut world = World::new(JsonLimits::default());
        for event in [Event::Stopped, Event::Completed] {
            world.join("10.0.0.1", 5555);
            let refused = Reply::Error("10.0.0.2:5555 is not known here".into());
            assert_eq!(world.ask("10.0.0.2", 5555, event), refused);
            assert_eq!(world.ask("10.0.0.1", 5555, event), Reply::Left);
            assert!(matches!(world.ask("10.0.0.1", 5555, event), Reply::Error(_)));
        }
        assert_eq!(world.join("10.0.0.2", 5555), []);
    }

    #[test]
    fn a_peer_on_the_trackers_machine_is_found_from_elsewhere() {
        let mut world = World::new(JsonLimits::default());
        world.join("127.0.0.1", 5555);
        assert_eq!(world.join("127.0.0.1", 5556), [addr("127.0.0.1:5555")]);
        assert_eq!(world.join("10.0.0.2", 5555), [addr("10.0.0.9:5555"), addr("10.0.0.9:5556")]);
    }

    #[test]
    fn the_dead_are_found_by_two_calls_in_vain() {
        let mut world = World::new(JsonLimits::default());
        let (one, two) = (addr("10.0.0.1:5555"), addr("10.0.0.2:5555"));
        world.join("10.0.0.1", 5555);
        world.now += 60 * SECOND;
        world.join("10.0.0.2", 5555);
        assert_eq!(world.registry.due_probes(world.now), []);
        world.now += 60 * SECOND;
        assert_eq!(world.registry.due_probes(world.now), [one]);
        assert_eq!(world.registry.due_probes(world.now), [], "it is being called");
        assert!(!world.registry.probed(one, false, world.now));
        world.now += 10 * SECOND;
        assert_eq!(world.registry.due_probes(world.now), [one]);
        assert!(!world.registry.probed(one, true, world.now), "it was only slow");
        world.now += 120 * SECOND;
        assert_eq!(world.registry.due_probes(world.now), [one, two]);
        world.registry.probed(one, false, world.now);
        assert!(!world.registry.probed(two, true, world.now));
        world.now += 10 * SECOND;
        assert_eq!(world.registry.due_probes(world.now), [one]);
        assert!(world.registry.probed(one, false, world.now));
        assert!(!world.registry.probed(one, false, world.now), "it was gone before");
        assert_eq!(world.registry.peers(world.now), [two]);
    }

    #[test]
    fn a_peer_that_joins_again_starts_afresh() {
        let mut world = World::new(JsonLimits::default());
        let one = addr("10.0.0.1:5555");
        world.join("10.0.0.1", 5555);
        assert!(!world.registry.probed(one, false, world.now));
        world.join("10.0.0.1", 5555);
        assert!(
            !world.registry.probed(one, false, world.now),
            "its first call in vain since it joined"
        );
        assert!(world.registry.probed(one, false, world.now));
        assert_eq!(world.registry.peers(world.now), []);
        assert!(!world.registry.probed(one, false, world.now));
    }

    #[test]
    fn where_nobody_calls_time_alone_decides() {
        let mut world = World::new(JsonLimits::default());
        world.join("10.0.0.1", 5555);
        world.now += 1799 * SECOND;
        assert_eq!(world.join("10.0.0.2", 5555).len(), 1);
        world.now += SECOND;
        assert_eq!(world.join("10.0.0.3", 5555), [addr("10.0.0.2:5555")]);
    }

    #[test]
    fn who_finds_no_room_is_told_of_others_all_the_same() {
        let mut world =
            World::new(JsonLimits { peers: 3, peers_per_source: 2, ..JsonLimits::default() });
        for port in 1..=5 {
            assert_eq!(world.join("10.0.0.1", port).len(), usize::from(port - 1).min(2));
        }
        assert_eq!(world.join("10.0.0.2", 5555).len(), 2);
        assert_eq!(world.join("10.0.0.3", 5555).len(), 3);
        assert_eq!(world.join("10.0.0.4", 5555).len(), 3);
        assert_eq!(world.ask("10.0.0.1", 1, Event::Completed), Reply::Left);
        assert_eq!(world.join("10.0.0.4", 5555).len(), 2);
        assert_eq!(world.join("10.0.0.1", 2).len(), 2);
    }

    proptest! {
        #[test]
        fn the_bounds_hold_whatever_comes(
            calls in prop::collection::vec((0..90u32, 0..4u8, 1..6u16, 0..3usize, 0..3u8), 0..200),
        ) {
            let limits = JsonLimits { peers: 8, peers_per_source: 4, ..JsonLimits::default() };
            let mut world = World::new(limits);
            for (wait, from, port, event, outcome) in calls {
                world.now += SECOND * wait;
                let from = format!("10.0.0.{from}");
                let event = [Event::Started, Event::Stopped, Event::Completed][event];
                let before = world.registry.peers(world.now);
                let caller = SocketAddr::new(from.parse().unwrap(), port);
                match world.ask(&from, port, event) {
                    Reply::Joined(mut peers) => {
                        peers.sort_unstable();
                        let others: Vec<_> = before.into_iter().filter(|peer| *peer != caller).collect();
                        prop_assert_eq!(peers, others);
                    }
                    Reply::Left => prop_assert!(before.contains(&caller)),
                    Reply::Error(_) => prop_assert!(event != Event::Started && !before.contains(&caller)),
                }
                for addr in world.registry.due_probes(world.now) {
                    prop_assert_eq!(world.registry.due_probes(world.now), []);
                    if outcome < 2 {
                        world.registry.probed(addr, outcome == 0, world.now);
                    }
                }
                let peers = world.registry.peers(world.now);
                prop_assert!(peers.len() <= limits.peers);
                for ip in 0..4u8 {
                    prop_assert!(peers.iter().filter(|peer| peer.ip() == IpAddr::from([10, 0, 0, ip])).count() <= 4);
                }
            }
        }
    }
}
