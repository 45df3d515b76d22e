//! The peers of a `json-torrent` tracker, which has a single swarm: its protocol names no file.
//!
//! The protocol has neither an interval nor a keep-alive, so a peer that dies would stay listed.
//! The registry therefore decides when to probe which peer and when to remove it. The probes
//! themselves (connections) are made elsewhere.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use sow_wire::json_torrent::tracker::{Event, MAX_REPLY_PEERS, Reply, Request};

use crate::{limits::source_of, registry::Announcer, tracked_swarm::reachable_address};

/// A peer is removed after this many failed probes in a row.
const MAX_FAILED_PROBES: u32 = 2;

/// The most that a registry holds, and when it probes peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JsonLimits {
    /// Peers. No reply contains more than 4,096.
    pub peers: usize,
    /// Peers from one source: an IPv4 address, or an IPv6 network of the size that one site gets.
    pub peers_per_source: usize,
    /// How long after its last request or successful probe a peer is probed.
    pub probe_interval: Duration,
    /// How long after a failed probe a peer is probed again.
    pub probe_retry_delay: Duration,
    /// How long a peer stays listed after its last request or successful probe.
    pub lifetime: Duration,
}

impl Default for JsonLimits {
    /// 4,096 peers, at most 512 of them from one source. Probes after 2 minutes and again after
    /// 10 seconds. A lifetime of 30 minutes.
    fn default() -> Self {
        Self {
            peers: MAX_REPLY_PEERS,
            peers_per_source: 512,
            probe_interval: Duration::from_secs(120),
            probe_retry_delay: Duration::from_secs(10),
            lifetime: Duration::from_secs(30 * 60),
        }
    }
}

/// The peers of the swarm. A peer is identified by the address that it connects from and the port
/// in its request.
#[derive(Debug)]
pub struct JsonRegistry {
    limits: JsonLimits,
    peers: BTreeMap<SocketAddr, ListedPeer>,
}

#[derive(Debug, Clone, Copy)]
struct ListedPeer {
    /// Its last request or successful probe.
    last_seen: Duration,
    next_probe: Duration,
    /// Failed probes since `last_seen`.
    failed_probes: u32,
}

impl JsonRegistry {
    /// A registry without peers.
    pub fn new(limits: JsonLimits) -> Self {
        Self { limits, peers: BTreeMap::new() }
    }

    /// Handles a request. `now` is the time since any fixed moment before the first call.
    ///
    /// A peer that joins gets the other peers in random order. A peer that exceeds a limit gets
    /// them too, but is not listed. A peer that joins again is listed once and does not get itself.
    pub fn answer(
        &mut self,
        now: Duration,
        announcer: Announcer,
        request: &Request,
        rng: &mut fastrand::Rng,
    ) -> Reply {
        self.expire(now);
        let addr = SocketAddr::new(announcer.address.to_canonical(), request.port);
        match request.event {
            Event::Started => {
                let reached = announcer.reached.to_canonical();
                let others = self.peers.keys().filter(|peer| **peer != addr);
                let mut peers: Vec<_> = others
                    .filter_map(|peer| reachable_address(*peer, addr.ip(), reached))
                    .collect();
                rng.shuffle(&mut peers);
                self.list_peer(now, addr);
                Reply::Joined(peers)
            }
            Event::Stopped | Event::Completed => match self.peers.remove(&addr) {
                Some(_) => Reply::Left,
                None => Reply::Error(format!("{addr} is not known here")),
            },
        }
    }

    /// The peers to probe now. The next probe of each is due after the probe interval, or earlier
    /// when [`JsonRegistry::on_probed`] reports a failure.
    pub fn due_probes(&mut self, now: Duration) -> Vec<SocketAddr> {
        self.expire(now);
        let due = self.peers.iter_mut().filter(|(_, peer)| peer.next_probe <= now);
        let probed = due.map(|(addr, peer)| {
            peer.next_probe = now + self.limits.probe_interval;
            *addr
        });
        probed.collect()
    }

    /// Handles the result of a probe. Returns whether that removed the peer.
    pub fn on_probed(&mut self, addr: SocketAddr, is_alive: bool, now: Duration) -> bool {
        let Some(peer) = self.peers.get_mut(&addr) else { return false };
        if is_alive {
            *peer = ListedPeer::seen_at(now, &self.limits);
            return false;
        }
        peer.failed_probes += 1;
        peer.next_probe = now + self.limits.probe_retry_delay;
        let is_dead = peer.failed_probes >= MAX_FAILED_PROBES;
        if is_dead {
            self.peers.remove(&addr);
        }
        is_dead
    }

    /// The listed peers, by ascending address.
    pub fn peers(&mut self, now: Duration) -> Vec<SocketAddr> {
        self.expire(now);
        self.peers.keys().copied().collect()
    }

    /// Renews a listed peer, or adds it if the limits allow that.
    fn list_peer(&mut self, now: Duration, addr: SocketAddr) {
        if self.peers.contains_key(&addr) || self.has_capacity(addr.ip()) {
            self.peers.insert(addr, ListedPeer::seen_at(now, &self.limits));
        }
    }

    fn has_capacity(&self, ip: IpAddr) -> bool {
        let source = source_of(ip);
        // Counting a few thousand peers is cheap beside the connection of each request.
        let from_source = self.peers.keys().filter(|peer| source_of(peer.ip()) == source).count();
        self.peers.len() < self.limits.peers && from_source < self.limits.peers_per_source
    }

    fn expire(&mut self, now: Duration) {
        let lifetime = self.limits.lifetime;
        self.peers.retain(|_, peer| now.saturating_sub(peer.last_seen) < lifetime);
    }
}

impl ListedPeer {
    fn seen_at(now: Duration, limits: &JsonLimits) -> Self {
        Self { last_seen: now, next_probe: now + limits.probe_interval, failed_probes: 0 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    struct TestTracker {
        registry: JsonRegistry,
        rng: fastrand::Rng,
        now: Duration,
    }

    impl TestTracker {
        fn new(limits: JsonLimits) -> Self {
            Self {
                registry: JsonRegistry::new(limits),
                rng: fastrand::Rng::with_seed(5),
                now: SECOND,
            }
        }

        fn ask(&mut self, from: &str, port: u16, event: Event) -> Reply {
            let announcer =
                Announcer { address: from.parse().unwrap(), reached: addr("10.0.0.9:1").ip() };
            // The address in the request is wrong and must be ignored.
            let ip = Some("203.0.113.7".parse().unwrap());
            let request = Request { ip, port, peer_id: "203.0.113.7:1".into(), event };
            self.registry.answer(self.now, announcer, &request, &mut self.rng)
        }

        fn join(&mut self, from: &str, port: u16) -> Vec<SocketAddr> {
            let Reply::Joined(mut peers) = self.ask(from, port, Event::Started) else {
                panic!("the peer joins")
            };
            peers.sort_unstable();
            peers
        }
    }

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_peer_that_joins_gets_the_peers_that_joined_before() {
        let mut tracker = TestTracker::new(JsonLimits::default());
        assert_eq!(tracker.join("10.0.0.1", 5555), []);
        assert_eq!(tracker.join("10.0.0.2", 5555), [addr("10.0.0.1:5555")]);
        assert_eq!(tracker.join("::ffff:10.0.0.1", 5555), [addr("10.0.0.2:5555")]);
        assert_eq!(tracker.join("10.0.0.1", 5556), [addr("10.0.0.1:5555"), addr("10.0.0.2:5555")]);
        assert_eq!(tracker.registry.peers(tracker.now).len(), 3);
    }

    #[test]
    fn only_a_listed_peer_can_leave() {
        let mut tracker = TestTracker::new(JsonLimits::default());
        for event in [Event::Stopped, Event::Completed] {
            tracker.join("10.0.0.1", 5555);
            let refused = Reply::Error("10.0.0.2:5555 is not known here".into());
            assert_eq!(tracker.ask("10.0.0.2", 5555, event), refused);
            assert_eq!(tracker.ask("10.0.0.1", 5555, event), Reply::Left);
            assert!(matches!(tracker.ask("10.0.0.1", 5555, event), Reply::Error(_)));
        }
        assert_eq!(tracker.join("10.0.0.2", 5555), []);
    }

    #[test]
    fn a_peer_on_the_machine_of_the_tracker_is_reachable_from_other_machines() {
        let mut tracker = TestTracker::new(JsonLimits::default());
        tracker.join("127.0.0.1", 5555);
        assert_eq!(tracker.join("127.0.0.1", 5556), [addr("127.0.0.1:5555")]);
        assert_eq!(tracker.join("10.0.0.2", 5555), [addr("10.0.0.9:5555"), addr("10.0.0.9:5556")]);
    }

    #[test]
    fn a_peer_is_removed_after_two_failed_probes_in_a_row() {
        let mut tracker = TestTracker::new(JsonLimits::default());
        let (one, two) = (addr("10.0.0.1:5555"), addr("10.0.0.2:5555"));
        tracker.join("10.0.0.1", 5555);
        tracker.now += 60 * SECOND;
        tracker.join("10.0.0.2", 5555);
        assert_eq!(tracker.registry.due_probes(tracker.now), []);
        tracker.now += 60 * SECOND;
        assert_eq!(tracker.registry.due_probes(tracker.now), [one]);
        assert_eq!(tracker.registry.due_probes(tracker.now), [], "the probe is in progress");
        assert!(!tracker.registry.on_probed(one, false, tracker.now));
        tracker.now += 10 * SECOND;
        assert_eq!(tracker.registry.due_probes(tracker.now), [one]);
        assert!(!tracker.registry.on_probed(one, true, tracker.now), "the peer was only slow");
        tracker.now += 120 * SECOND;
        assert_eq!(tracker.registry.due_probes(tracker.now), [one, two]);
        tracker.registry.on_probed(one, false, tracker.now);
        assert!(!tracker.registry.on_probed(two, true, tracker.now));
        tracker.now += 10 * SECOND;
        assert_eq!(tracker.registry.due_probes(tracker.now), [one]);
        assert!(tracker.registry.on_probed(one, false, tracker.now));
        assert!(
            !tracker.registry.on_probed(one, false, tracker.now),
            "the peer is not listed any more"
        );
        assert_eq!(tracker.registry.peers(tracker.now), [two]);
    }

    #[test]
    fn joining_again_resets_the_failed_probes() {
        let mut tracker = TestTracker::new(JsonLimits::default());
        let one = addr("10.0.0.1:5555");
        tracker.join("10.0.0.1", 5555);
        assert!(!tracker.registry.on_probed(one, false, tracker.now));
        tracker.join("10.0.0.1", 5555);
        assert!(
            !tracker.registry.on_probed(one, false, tracker.now),
            "the first failed probe since it joined"
        );
        assert!(tracker.registry.on_probed(one, false, tracker.now));
        assert_eq!(tracker.registry.peers(tracker.now), []);
        assert!(!tracker.registry.on_probed(one, false, tracker.now));
    }

    #[test]
    fn without_probes_a_peer_expires_after_its_lifetime() {
        let mut tracker = TestTracker::new(JsonLimits::default());
        tracker.join("10.0.0.1", 5555);
        tracker.now += 1799 * SECOND;
        assert_eq!(tracker.join("10.0.0.2", 5555).len(), 1);
        tracker.now += SECOND;
        assert_eq!(tracker.join("10.0.0.3", 5555), [addr("10.0.0.2:5555")]);
    }

    #[test]
    fn a_peer_that_exceeds_a_limit_still_gets_other_peers() {
        let mut tracker =
            TestTracker::new(JsonLimits { peers: 3, peers_per_source: 2, ..JsonLimits::default() });
        for port in 1..=5 {
            assert_eq!(tracker.join("10.0.0.1", port).len(), usize::from(port - 1).min(2));
        }
        assert_eq!(tracker.join("10.0.0.2", 5555).len(), 2);
        assert_eq!(tracker.join("10.0.0.3", 5555).len(), 3);
        assert_eq!(tracker.join("10.0.0.4", 5555).len(), 3);
        assert_eq!(tracker.ask("10.0.0.1", 1, Event::Completed), Reply::Left);
        assert_eq!(tracker.join("10.0.0.4", 5555).len(), 2);
        assert_eq!(tracker.join("10.0.0.1", 2).len(), 2);
    }

    proptest! {
        #[test]
        fn no_sequence_of_requests_exceeds_a_limit(
            requests in prop::collection::vec(
                (0..90u32, 0..4u8, 1..6u16, 0..3usize, 0..3u8),
                0..200,
            ),
        ) {
            let limits = JsonLimits { peers: 8, peers_per_source: 4, ..JsonLimits::default() };
            let mut tracker = TestTracker::new(limits);
            for (wait, from, port, event, outcome) in requests {
                tracker.now += SECOND * wait;
                let from = format!("10.0.0.{from}");
                let event = [Event::Started, Event::Stopped, Event::Completed][event];
                let before = tracker.registry.peers(tracker.now);
                let peer_addr = SocketAddr::new(from.parse().unwrap(), port);
                match tracker.ask(&from, port, event) {
                    Reply::Joined(mut peers) => {
                        peers.sort_unstable();
                        let others = before.into_iter().filter(|peer| *peer != peer_addr);
                        prop_assert_eq!(peers, others.collect::<Vec<_>>());
                    }
                    Reply::Left => prop_assert!(before.contains(&peer_addr)),
                    Reply::Error(_) => {
                        prop_assert!(event != Event::Started && !before.contains(&peer_addr));
                    }
                }
                for addr in tracker.registry.due_probes(tracker.now) {
                    prop_assert_eq!(tracker.registry.due_probes(tracker.now), []);
                    if outcome < 2 {
                        tracker.registry.on_probed(addr, outcome == 0, tracker.now);
                    }
                }
                let peers = tracker.registry.peers(tracker.now);
                prop_assert!(peers.len() <= limits.peers);
                for ip in 0..4u8 {
                    let ip = IpAddr::from([10, 0, 0, ip]);
                    prop_assert!(peers.iter().filter(|peer| peer.ip() == ip).count() <= 4);
                }
            }
        }
    }
}
