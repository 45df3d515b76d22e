//! What callers of a tracker get to hear, from a flash crowd to somebody who means harm.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use sow_content::InfoHash;
use sow_tracker::{Announcer, Limits, Mode, Registry, SwarmReport, UnknownSwarm};
use sow_wire::{
    bittorrent::PeerId,
    tracker::{
        AnnounceEvent::{self, Completed, Periodic, Started, Stopped},
        AnnounceRequest, AnnounceResponse,
    },
};

const HASH: InfoHash = InfoHash([7; 20]);

/// A registry, its clock and its callers.
struct World {
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

impl World {
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
    ) -> Result<AnnounceResponse, UnknownSwarm> {
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
        let caller = Announcer { address: peer.ip.into(), reached: IpAddr::from([10, 0, 0, 1]) };
        self.registry.announce(self.now, caller, &request, &mut self.rng)
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

    /// Seeds and leechers of the swarm.
    fn count(&mut self) -> (usize, usize) {
        self.report().map_or((0, 0), |swarm| (swarm.seeds, swarm.leechers))
    }
}

/// The `n`-th peer at an address of its own.
fn peer(n: u32) -> Peer {
    let [_, a, b, c] = n.to_be_bytes();
    Peer { ip: [10, a, b, c], port: 6881, id: n }
}

fn addrs(response: &AnnounceResponse) -> BTreeSet<String> {
    response.peers.iter().map(|peer| peer.addr.to_string()).collect()
}

#[test]
fn a_flash_crowd_hears_of_the_origin_and_of_each_other() {
    let mut world = World::open();
    world.announce(peer(1), Started, 0);
    for n in 2..=1000 {
        let response = world.announce(peer(n), Started, 100);
        assert_eq!(response.peers.len(), (n as usize - 1).min(50));
        assert!(addrs(&response).contains("10.0.0.1:6881"), "the origin is the only seed");
        assert!(!addrs(&response).contains(&format!("10.0.{}.{}:6881", n >> 8, n & 255)));
        assert_eq!(response.interval, Duration::from_secs(30));
        assert_eq!((response.complete, response.incomplete), (Some(1), Some(n - 1)));
    }
    let first = world.announce(peer(2), Periodic, 100);
    let second = world.announce(peer(2), Periodic, 100);
    assert_ne!(addrs(&first), addrs(&second), "another sample each time");
}

#[test]
fn as_many_peers_as_wanted_and_never_more_than_200() {
    let mut world = World::open();
    (1..=300).for_each(|n| drop(world.announce(peer(n), Started, 100)));
    for (numwant, want) in
        [(Some(0), 0), (Some(1), 1), (Some(60), 60), (Some(u32::MAX), 200), (None, 50)]
    {
        let response = world.try_announce(HASH, peer(1), Periodic, 100, numwant).unwrap();
        assert_eq!(response.peers.len(), want);
    }
    assert!(world.announce(peer(1), Stopped, 100).peers.is_empty());
}

#[test]
fn a_peer_comes_completes_and_goes() {
    let mut world = World::open();
    world.announce(peer(1), Started, 100);
    assert_eq!(world.count(), (0, 1));
    world.announce(peer(1), Completed, 0);
    assert_eq!(world.count(), (1, 0));
    let report = world.report().unwrap();
    assert_eq!((report.completed, report.seen), (1, 1));
    let scraped = world.registry.scrape(world.now, &[HASH, InfoHash([8; 20])]);
    assert_eq!(scraped.len(), 1, "one that nobody knows is left out");
    assert_eq!(
        (scraped[0].count.complete, scraped[0].count.downloaded, scraped[0].count.incomplete),
        (1, 1, 0)
    );
    world.announce(peer(1), Stopped, 0);
    assert_eq!(world.report(), None, "the last one takes the swarm along");
}

#[test]
fn who_is_silent_is_forgotten() {
    let mut world = World::open();
    // One keeps to the interval, one announces every five minutes as libtorrent does.
    world.announce(peer(1), Started, 100);
    world.announce(peer(2), Started, 100);
    for second in (30..=900).step_by(30) {
        world.wait(30);
        world.announce(peer(1), Periodic, 100);
        if second % 300 == 0 {
            world.announce(peer(2), Periodic, 100);
        }
        assert_eq!(world.count(), (0, 2), "after {second} s");
    }
    world.wait(74);
    assert_eq!(world.count(), (0, 2));
    world.wait(6);
    assert_eq!(world.count(), (0, 1), "two and a half intervals of 30 s");
    world.wait(600);
    assert_eq!(world.count(), (0, 0));
}

#[test]
fn who_has_not_shown_its_habits_is_given_time() {
    let mut world = World::open();
    // Completing says nothing of them.
    world.announce(peer(1), Started, 100);
    world.wait(5);
    world.announce(peer(1), Completed, 0);
    // Neither do those of a predecessor at the same address.
    world.announce(peer(2), Started, 100);
    world.wait(30);
    world.announce(peer(2), Periodic, 100);
    world.announce(Peer { id: 22, ..peer(2) }, Started, 100);
    world.wait(300);
    assert_eq!(world.count(), (1, 1));
}

#[test]
fn a_receiver_that_was_started_again_takes_its_old_place() {
    let mut world = World::open();
    world.announce(peer(1), Started, 100);
    let again = Peer { id: 77, ..peer(1) };
    world.announce(again, Started, 50);
    assert_eq!(world.count(), (0, 1));
    // The last word of the old process comes late.
    world.announce(peer(1), Stopped, 100);
    assert_eq!(world.count(), (0, 1));
    let told = world.announce(peer(2), Started, 100);
    assert_eq!(told.peers[0].peer_id.unwrap().0[16..], 77u32.to_be_bytes());
    world.announce(again, Stopped, 50);
    assert_eq!(world.count(), (0, 1));
}

#[test]
fn many_receivers_may_stand_behind_one_address() {
    let mut world = World::open();
    for n in 0..500u16 {
        let response = world.announce(
            Peer { ip: [10, 0, 0, 2], port: 20_000 + n, id: n.into() },
            Started,
            100,
        );
        assert_eq!(response.warning, None);
    }
    assert_eq!(world.count(), (0, 500));
}

#[test]
fn one_source_cannot_fill_it() {
    let mut world = World::new(Mode::Open, Limits { peers_per_source: 100, ..Limits::default() });
    let mut refused = 0;
    for n in 0..1000u16 {
        let (hash, peer) =
            (InfoHash([n as u8; 20]), Peer { ip: [10, 0, 0, 2], port: 1 + n, id: n.into() });
        refused += usize::from(
            world.try_announce(hash, peer, Started, 100, None).unwrap().warning.is_some(),
        );
    }
    assert_eq!(refused, 900);
    assert_eq!(world.registry.swarms(world.now).count(), 100);
    // Others are as welcome as before, and who has no place is told of them all the same.
    assert_eq!(world.announce(peer(9), Started, 100).warning, None);
    let unlisted = world.announce(Peer { ip: [10, 0, 0, 2], port: 5000, id: 5000 }, Started, 100);
    assert!(unlisted.warning.is_some() && addrs(&unlisted).contains("10.0.0.9:6881"));
    // What is listed can still be heard of again, and gives its place back.
    let listed = Peer { ip: [10, 0, 0, 2], port: 2, id: 1 };
    assert_eq!(
        world.try_announce(InfoHash([1; 20]), listed, Periodic, 5, None).unwrap().warning,
        None
    );
    world
        .try_announce(
            InfoHash([0; 20]),
            Peer { ip: [10, 0, 0, 2], port: 1, id: 0 },
            Stopped,
            0,
            None,
        )
        .unwrap();
    assert_eq!(
        world.announce(Peer { ip: [10, 0, 0, 2], port: 5000, id: 5000 }, Started, 100).warning,
        None
    );
}

#[test]
fn a_swarm_and_a_registry_have_an_end() {
    let listed = |world: &mut World, hash| {
        let hash = InfoHash([hash; 20]);
        (1..=40)
            .filter(|&n| {
                world.try_announce(hash, peer(n), Started, 1, None).unwrap().warning.is_none()
            })
            .count()
    };
    let limits = Limits { swarms: 2, peers: 30, peers_per_swarm: 20, peers_per_source: 100 };
    let mut world = World::new(Mode::Open, limits);
    assert_eq!((listed(&mut world, 1), listed(&mut world, 2)), (20, 10));
    world.wait(700);
    assert_eq!(listed(&mut world, 2), 20, "the silent ones made room");

    let mut world = World::new(Mode::Open, Limits { peers: 1000, ..limits });
    assert_eq!([1, 2, 3].map(|hash| listed(&mut world, hash)), [20, 20, 0]);
}

#[test]
fn an_embedded_tracker_keeps_its_own_swarms_alone() {
    let mut world = World::new(Mode::Only([HASH].into()), Limits::default());
    assert_eq!(world.try_announce(InfoHash([8; 20]), peer(1), Started, 1, None), Err(UnknownSwarm));
    world.announce(peer(1), Started, 100);
    world.announce(peer(1), Stopped, 100);
    let report = world.report().unwrap();
    assert_eq!((report.seeds, report.leechers, report.seen), (0, 0, 1), "an empty swarm stays");
}

#[test]
fn who_cannot_be_called_is_not_listed() {
    let mut world = World::open();
    world.announce(peer(1), Started, 100);
    let response = world.announce(Peer { port: 0, ..peer(2) }, Started, 100);
    assert_eq!((response.peers.len(), response.warning), (1, None));
    assert_eq!(world.count(), (0, 1));
}

#[test]
fn both_address_families_are_told() {
    let mut world = World::open();
    world.announce(peer(1), Started, 100);
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
    let caller = Announcer {
        address: "2001:db8::9".parse().unwrap(),
        reached: "2001:db8::1".parse().unwrap(),
    };
    let response = world.registry.announce(world.now, caller, &request, &mut world.rng).unwrap();
    assert_eq!(addrs(&response), ["10.0.0.1:6881".to_owned()].into());
    let caller = Announcer { address: "::ffff:10.0.0.3".parse().unwrap(), ..caller };
    let mapped = AnnounceRequest { peer_id: PeerId([8; 20]), ..request };
    world.registry.announce(world.now, caller, &mapped, &mut world.rng).unwrap();
    let told = addrs(&world.announce(peer(4), Started, 100));
    assert_eq!(
        told,
        ["10.0.0.1:6881", "10.0.0.3:6881", "[2001:db8::9]:6881"].map(String::from).into()
    );
}
