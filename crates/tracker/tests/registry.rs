//! The responses of a tracker, from a flash crowd to a source that tries to fill the registry.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use sow_content::InfoHash;
use sow_tracker::{AnnounceRefusal, Announcer, Full, Limits, Mode, Registry, SwarmReport};
use sow_wire::{
    bittorrent::PeerId,
    tracker::{
        AnnounceEvent::{self, Completed, Periodic, Started, Stopped},
        AnnounceRequest, AnnounceResponse,
    },
};

const HASH: InfoHash = InfoHash([7; 20]);

/// A registry with its clock and its random numbers.
struct TestTracker {
    registry: Registry,
    now: Duration,
    rng: fastrand::Rng,
}

#[derive(Clone, Copy)]
struct Peer {
    ip: [u8; 4],
    port: u16,
    id: u32,
}

impl TestTracker {
    fn new(mode: Mode, limits: Limits) -> Self {
        Self {
            registry: Registry::new(mode, limits),
            now: Duration::from_secs(1),
            rng: fastrand::Rng::with_seed(11),
        }
    }

    fn open() -> Self {
        Self::new(Mode::Open, Limits::default())
    }

    fn try_announce(
        &mut self,
        hash: InfoHash,
        peer: Peer,
        event: AnnounceEvent,
        left: u64,
        numwant: Option<u32>,
    ) -> Result<AnnounceResponse, AnnounceRefusal> {
        let mut peer_id = PeerId(*b"-SW0100-aaaaaaaaaaaa");
        peer_id.0[16..].copy_from_slice(&peer.id.to_be_bytes());
        let request = AnnounceRequest {
            info_hash: hash,
            peer_id,
            port: peer.port,
            uploaded: 0,
            downloaded: 0,
            left,
            event,
            numwant,
            key: 0,
        };
        let announcer = Announcer { address: peer.ip.into(), reached: IpAddr::from([10, 0, 0, 1]) };
        self.registry.announce(self.now, announcer, &request, &mut self.rng)
    }

    fn announce(&mut self, peer: Peer, event: AnnounceEvent, left: u64) -> AnnounceResponse {
        self.try_announce(HASH, peer, event, left, None).unwrap()
    }

    fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    fn report(&mut self) -> Option<SwarmReport> {
        self.registry.swarms(self.now).find(|swarm| swarm.info_hash == HASH)
    }

    /// The numbers of seeds and leechers in the swarm.
    fn count(&mut self) -> (usize, usize) {
        self.report().map_or((0, 0), |swarm| (swarm.seeds, swarm.leechers))
    }
}

/// Peer number `n`. Each has an address of its own.
fn peer(n: u32) -> Peer {
    let [_, a, b, c] = n.to_be_bytes();
    Peer { ip: [10, a, b, c], port: 6881, id: n }
}

fn addrs(response: &AnnounceResponse) -> BTreeSet<String> {
    response.peers.iter().map(|peer| peer.addr.to_string()).collect()
}

#[test]
fn each_peer_of_a_flash_crowd_gets_the_origin_and_other_peers() {
    let mut tracker = TestTracker::open();
    tracker.announce(peer(1), Started, 0);
    for n in 2..=1000 {
        let response = tracker.announce(peer(n), Started, 100);
        assert_eq!(response.peers.len(), (n as usize - 1).min(50));
        assert!(addrs(&response).contains("10.0.0.1:6881"), "the origin is the only seed");
        assert!(!addrs(&response).contains(&format!("10.0.{}.{}:6881", n >> 8, n & 255)));
        assert_eq!(response.interval, Duration::from_secs(30));
        assert_eq!((response.complete, response.incomplete), (Some(1), Some(n - 1)));
    }
    let first = tracker.announce(peer(2), Periodic, 100);
    let second = tracker.announce(peer(2), Periodic, 100);
    assert_ne!(addrs(&first), addrs(&second), "each response is a new sample");
}

#[test]
fn a_response_has_numwant_peers_but_at_most_200() {
    let mut tracker = TestTracker::open();
    (1..=300).for_each(|n| drop(tracker.announce(peer(n), Started, 100)));
    for (numwant, want) in
        [(Some(0), 0), (Some(1), 1), (Some(60), 60), (Some(u32::MAX), 200), (None, 50)]
    {
        let response = tracker.try_announce(HASH, peer(1), Periodic, 100, numwant).unwrap();
        assert_eq!(response.peers.len(), want);
    }
    assert!(tracker.announce(peer(1), Stopped, 100).peers.is_empty());
}

#[test]
fn a_peer_joins_completes_and_leaves() {
    let mut tracker = TestTracker::open();
    tracker.announce(peer(1), Started, 100);
    assert_eq!(tracker.count(), (0, 1));
    tracker.announce(peer(1), Completed, 0);
    assert_eq!(tracker.count(), (1, 0));
    let report = tracker.report().unwrap();
    assert_eq!((report.completed, report.joined), (1, 1));
    let scraped = tracker.registry.scrape(tracker.now, &[HASH, InfoHash([8; 20])]);
    assert_eq!(scraped.len(), 1, "an unknown swarm is left out");
    assert_eq!(
        (scraped[0].count.complete, scraped[0].count.downloaded, scraped[0].count.incomplete),
        (1, 1, 0)
    );
    tracker.announce(peer(1), Stopped, 0);
    assert_eq!(tracker.report(), None, "the swarm ends with its last peer");
}

#[test]
fn a_peer_that_stops_announcing_expires() {
    let mut tracker = TestTracker::open();
    // Peer 1 keeps the interval, peer 2 announces every five minutes as libtorrent does.
    tracker.announce(peer(1), Started, 100);
    tracker.announce(peer(2), Started, 100);
    for second in (30..=900).step_by(30) {
        tracker.wait(30);
        tracker.announce(peer(1), Periodic, 100);
        if second % 300 == 0 {
            tracker.announce(peer(2), Periodic, 100);
        }
        assert_eq!(tracker.count(), (0, 2), "after {second} s");
    }
    tracker.wait(74);
    assert_eq!(tracker.count(), (0, 2));
    tracker.wait(6);
    assert_eq!(tracker.count(), (0, 1), "two and a half intervals of 30 s");
    tracker.wait(600);
    assert_eq!(tracker.count(), (0, 0));
}

#[test]
fn a_peer_without_a_periodic_announce_expires_later() {
    let mut tracker = TestTracker::open();
    // The event `completed` does not show that the peer keeps the interval.
    tracker.announce(peer(1), Started, 100);
    tracker.wait(5);
    tracker.announce(peer(1), Completed, 0);
    // The announces of an earlier peer at the same address do not show it either.
    tracker.announce(peer(2), Started, 100);
    tracker.wait(30);
    tracker.announce(peer(2), Periodic, 100);
    tracker.announce(Peer { id: 22, ..peer(2) }, Started, 100);
    tracker.wait(300);
    assert_eq!(tracker.count(), (1, 1));
}

#[test]
fn a_receiver_that_is_started_again_replaces_its_earlier_process() {
    let mut tracker = TestTracker::open();
    tracker.announce(peer(1), Started, 100);
    let again = Peer { id: 77, ..peer(1) };
    tracker.announce(again, Started, 50);
    assert_eq!(tracker.count(), (0, 1));
    // The `stopped` of the old process arrives late.
    tracker.announce(peer(1), Stopped, 100);
    assert_eq!(tracker.count(), (0, 1));
    let response = tracker.announce(peer(2), Started, 100);
    assert_eq!(response.peers[0].peer_id.unwrap().0[16..], 77u32.to_be_bytes());
    tracker.announce(again, Stopped, 50);
    assert_eq!(tracker.count(), (0, 1));
}

#[test]
fn many_receivers_may_share_one_address() {
    let mut tracker = TestTracker::open();
    for n in 0..500u16 {
        let response = tracker.announce(
            Peer { ip: [10, 0, 0, 2], port: 20_000 + n, id: n.into() },
            Started,
            100,
        );
        assert_eq!(response.warning, None);
    }
    assert_eq!(tracker.count(), (0, 500));
}

#[test]
fn one_source_cannot_fill_the_registry() {
    let mut tracker =
        TestTracker::new(Mode::Open, Limits { peers_per_source: 100, ..Limits::default() });
    let mut refused = 0;
    for n in 0..1000u16 {
        let (hash, peer) =
            (InfoHash([n as u8; 20]), Peer { ip: [10, 0, 0, 2], port: 1 + n, id: n.into() });
        refused += usize::from(match tracker.try_announce(hash, peer, Started, 100, None) {
            Ok(answer) => answer.warning.is_some(),
            Err(refusal) => refusal == Full::Source(100).into(),
        });
    }
    assert_eq!(refused, 900);
    assert_eq!(tracker.registry.swarms(tracker.now).count(), 100);
    // Peers from other sources are still listed, and the response to an unlisted peer contains
    // them.
    assert_eq!(tracker.announce(peer(9), Started, 100).warning, None);
    let unlisted = tracker.announce(Peer { ip: [10, 0, 0, 2], port: 5000, id: 5000 }, Started, 100);
    assert!(unlisted.warning.is_some() && addrs(&unlisted).contains("10.0.0.9:6881"));
    // A listed peer can still announce, and when it leaves another one can join.
    let listed = Peer { ip: [10, 0, 0, 2], port: 2, id: 1 };
    assert_eq!(
        tracker.try_announce(InfoHash([1; 20]), listed, Periodic, 5, None).unwrap().warning,
        None
    );
    tracker
        .try_announce(
            InfoHash([0; 20]),
            Peer { ip: [10, 0, 0, 2], port: 1, id: 0 },
            Stopped,
            0,
            None,
        )
        .unwrap();
    assert_eq!(
        tracker.announce(Peer { ip: [10, 0, 0, 2], port: 5000, id: 5000 }, Started, 100).warning,
        None
    );
}

#[test]
fn the_sizes_of_a_swarm_and_of_the_registry_are_limited() {
    let listed = |tracker: &mut TestTracker, hash| {
        let hash = InfoHash([hash; 20]);
        (1..=40)
            .filter(|&n| {
                let answer = tracker.try_announce(hash, peer(n), Started, 1, None);
                answer.is_ok_and(|answer| answer.warning.is_none())
            })
            .count()
    };
    let limits = Limits { swarms: 2, peers: 30, peers_per_swarm: 20, peers_per_source: 100 };
    let mut tracker = TestTracker::new(Mode::Open, limits);
    assert_eq!((listed(&mut tracker, 1), listed(&mut tracker, 2)), (20, 10));
    tracker.wait(700);
    assert_eq!(listed(&mut tracker, 2), 20, "expired peers free capacity");

    let mut tracker = TestTracker::new(Mode::Open, Limits { peers: 1000, ..limits });
    assert_eq!([1, 2, 3].map(|hash| listed(&mut tracker, hash)), [20, 20, 0]);
}

#[test]
fn an_embedded_tracker_keeps_only_its_own_swarms() {
    let mut tracker = TestTracker::new(Mode::Only([HASH].into()), Limits::default());
    assert_eq!(
        tracker.try_announce(InfoHash([8; 20]), peer(1), Started, 1, None),
        Err(AnnounceRefusal::UnknownSwarm)
    );
    tracker.announce(peer(1), Started, 100);
    tracker.announce(peer(1), Stopped, 100);
    let report = tracker.report().unwrap();
    assert_eq!((report.seeds, report.leechers, report.joined), (0, 0, 1), "the empty swarm stays");
}

#[test]
fn a_full_tracker_says_what_it_is_full_of() {
    let limits = Limits { swarms: 2, peers: 5, peers_per_swarm: 3, peers_per_source: 2 };
    let mut tracker = TestTracker::new(Mode::Open, limits);
    let mut announce = |hash, host, port| {
        let peer = Peer { ip: [10, 0, 0, host], port, id: u32::from(host) << 16 | u32::from(port) };
        match tracker.try_announce(InfoHash([hash; 20]), peer, Started, 1, None) {
            Ok(answer) => answer.warning.unwrap_or_default(),
            Err(refusal) => format!("refused: {refusal}"),
        }
    };
    assert_eq!([announce(1, 1, 1), announce(1, 1, 2), announce(1, 2, 1)], ["", "", ""]);
    assert_eq!(
        announce(1, 1, 3),
        "this tracker has 2 peers from your address and takes no more from there"
    );
    assert_eq!(announce(1, 3, 1), "this torrent is full: it has 3 peers here and takes no more");
    assert_eq!(
        announce(2, 1, 3),
        "refused: this tracker has 2 peers from your address and takes no more from there"
    );
    assert_eq!([announce(2, 2, 2), announce(2, 3, 1)], ["", ""]);
    assert_eq!(
        announce(3, 4, 1),
        "refused: this tracker is full: it has 2 torrents and takes no more"
    );
    assert_eq!(announce(2, 4, 1), "this tracker is full: it has 5 peers and takes no more");
}

#[test]
fn completions_are_told_once_and_are_bounded() {
    let mut tracker = TestTracker::new(Mode::Only([HASH].into()), Limits::default());
    let complete = |tracker: &mut TestTracker, host, port| {
        let peer = Peer { ip: [10, 0, 0, host], port, id: u32::from(port) };
        tracker.announce(peer, Completed, 0);
        tracker.announce(peer, Stopped, 0);
    };
    complete(&mut tracker, 1, 7);
    assert!(tracker.registry.take_completions(InfoHash([9; 20])).is_empty());
    let taken = tracker.registry.take_completions(HASH);
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].0.to_string(), "10.0.0.1:7");
    assert!(tracker.registry.take_completions(HASH).is_empty());
    (0..5000).for_each(|n| complete(&mut tracker, 2, 1 + n));
    assert_eq!(tracker.registry.take_completions(HASH).len(), 4096);
    let mut open = TestTracker::open();
    complete(&mut open, 1, 7);
    assert!(open.registry.take_completions(HASH).is_empty());
}

#[test]
fn swarms_are_kept_and_forgotten_while_the_tracker_runs() {
    let other = InfoHash([8; 20]);
    let mut tracker = TestTracker::new(Mode::Only([].into()), Limits::default());
    let own = ("127.0.0.1:52000".parse().unwrap(), PeerId([5; 20]));
    let announce = |tracker: &mut TestTracker, host| {
        let request = AnnounceRequest {
            info_hash: other,
            peer_id: PeerId([host; 20]),
            port: 6881,
            uploaded: 0,
            downloaded: 0,
            left: 0,
            event: Completed,
            numwant: None,
            key: 0,
        };
        let from = Announcer { address: [10, 0, 0, host].into(), reached: [10, 0, 0, 9].into() };
        tracker.registry.announce(tracker.now, from, &request, &mut tracker.rng)
    };
    assert_eq!(announce(&mut tracker, 1).unwrap_err(), AnnounceRefusal::UnknownSwarm);
    tracker.registry.keep(other, Some(own));
    let response = announce(&mut tracker, 1).unwrap();
    assert_eq!(addrs(&response), ["10.0.0.9:52000".to_owned()].into(), "the own seed");
    assert_eq!((response.complete, response.incomplete), (Some(2), Some(0)));
    tracker.now += Duration::from_secs(7200);
    assert_eq!(announce(&mut tracker, 2).unwrap().complete, Some(2), "it does not expire");
    tracker.registry.forget(other);
    assert!(tracker.registry.take_completions(other).is_empty());
    assert_eq!(announce(&mut tracker, 1).unwrap_err(), AnnounceRefusal::UnknownSwarm);
    tracker.registry.keep(other, None);
    assert_eq!(announce(&mut tracker, 1).unwrap().complete, Some(1), "its peers were forgotten");
}

#[test]
fn a_peer_without_a_port_is_not_listed() {
    let mut tracker = TestTracker::open();
    tracker.announce(peer(1), Started, 100);
    let response = tracker.announce(Peer { port: 0, ..peer(2) }, Started, 100);
    assert_eq!((response.peers.len(), response.warning), (1, None));
    assert_eq!(tracker.count(), (0, 1));
}

#[test]
fn a_response_has_peers_of_both_address_families() {
    let mut tracker = TestTracker::open();
    tracker.announce(peer(1), Started, 100);
    let request = AnnounceRequest {
        info_hash: HASH,
        peer_id: PeerId([9; 20]),
        port: 6881,
        uploaded: 0,
        downloaded: 0,
        left: 5,
        event: Started,
        numwant: None,
        key: 0,
    };
    let announcer = Announcer {
        address: "2001:db8::9".parse().unwrap(),
        reached: "2001:db8::1".parse().unwrap(),
    };
    let response =
        tracker.registry.announce(tracker.now, announcer, &request, &mut tracker.rng).unwrap();
    assert_eq!(addrs(&response), ["10.0.0.1:6881".to_owned()].into());
    let announcer = Announcer { address: "::ffff:10.0.0.3".parse().unwrap(), ..announcer };
    let mapped = AnnounceRequest { peer_id: PeerId([8; 20]), ..request };
    tracker.registry.announce(tracker.now, announcer, &mapped, &mut tracker.rng).unwrap();
    let listed = addrs(&tracker.announce(peer(4), Started, 100));
    assert_eq!(
        listed,
        ["10.0.0.1:6881", "10.0.0.3:6881", "[2001:db8::9]:6881"].map(String::from).into()
    );
}
