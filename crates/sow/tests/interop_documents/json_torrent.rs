//! `json-torrent`: document 2's P2P protocol, `sow` and naive programs as torrent maker, tracker,
//! seed and peer.

use std::{fs, path::PathBuf};

use serde_json::Value;

use crate::{
    naive,
    process::{Process, wait_until},
    shared::{MIB, Shared},
    sow,
    world::World,
};

/// The original's default piece length.
pub(crate) const PIECE: usize = 3000;
/// A byte, one piece, a byte more, and a file.
pub(crate) const SIZES: [usize; 4] = [1, PIECE, PIECE + 1, 10 * MIB];
const TRACKER: u8 = 1;
/// Where peers listen.
pub(crate) const PEER_PORT: u16 = 5555;

/// A torrent with a tracker that runs on host 1.
pub(crate) struct Network<'a> {
    world: &'a World,
    shared: &'a Shared,
    torrent: PathBuf,
    /// The tracker, to be ended and started again.
    pub(crate) tracker: Process,
}

impl<'a> Network<'a> {
    /// Torrent and tracker by naive programs.
    pub(crate) fn of_naive(world: &'a World, shared: &'a Shared, piece: usize) -> Self {
        let torrent = make_torrent("naive", world, shared, piece);
        let tracker = naive::serve(world, TRACKER, "json_torrent tracker");
        Self { world, shared, torrent, tracker }
    }

    /// Torrent and tracker by `sow`.
    pub(crate) fn of_sow(world: &'a World, shared: &'a Shared, piece: usize) -> Self {
        let torrent = make_torrent("sow", world, shared, piece);
        let tracker = sow_tracker(world);
        Self { world, shared, torrent, tracker }
    }

    /// A seed of `sow`; `more` are options. It returns when the seed accepts connections.
    pub(crate) fn sow_seed(&self, host: u8, more: &str) -> Process {
        let copy = self.shared.out(&room(host));
        if !copy.exists() {
            self.shared.copy(&room(host));
        }
        let line =
            format!("json-torrent peer {} -o {} {more}", self.torrent.display(), copy.display());
        sow::serve(self.world, host, &format!("{line} --seed-for 1h"))
    }

    /// A peer of `sow` that downloads to [`Network::sow_copy`].
    pub(crate) fn sow_peer(&self, host: u8, more: &str) -> Process {
        let line = format!("json-torrent peer {} {more}", self.torrent.display());
        sow::fetch(self.world, host, &line, &self.sow_copy(host))
    }

    /// A naive seed.
    pub(crate) fn naive_seed(&self, host: u8) -> Process {
        self.shared.copy(&room(host));
        self.naive_peer(host, "")
    }

    /// A naive peer that downloads to [`Network::naive_copy`]; `more` are options.
    pub(crate) fn naive_peer(&self, host: u8, more: &str) -> Process {
        let folder = self.shared.room(&room(host));
        let line = format!(
            "json_torrent peer {} --folder {} {more}",
            self.torrent.display(),
            folder.display()
        );
        naive::serve(self.world, host, &line)
    }

    /// Where a peer of `sow` saves.
    pub(crate) fn sow_copy(&self, host: u8) -> PathBuf {
        self.shared.out(&room(host))
    }

    /// Where a naive peer saves.
    pub(crate) fn naive_copy(&self, host: u8) -> PathBuf {
        self.shared.room(&room(host)).join("download_A")
    }

    /// `IP:PORT` of the peer on a host.
    pub(crate) fn name(&self, host: u8) -> String {
        format!("{}:{PEER_PORT}", self.world.address(host))
    }
}

/// A tracker of `sow` on host 1.
pub(crate) fn sow_tracker(world: &World) -> Process {
    sow::serve(world, TRACKER, "json-torrent tracker")
}

fn room(host: u8) -> String {
    format!("host{host}")
}

/// Makes the torrent with `sow` or the naive program, announcing host 1.
fn make_torrent(by: &str, world: &World, shared: &Shared, piece: usize) -> PathBuf {
    let path = shared.room(by).join("A.torrent");
    let line = format!(
        "create {} --announce {} --port 6666 --piece-length {piece} -o {}",
        shared.path.display(),
        world.address(TRACKER),
        path.display()
    );
    match by {
        "sow" => sow::start(world, TRACKER, &format!("json-torrent {line}")).wait_success(),
        _ => naive::run(world, TRACKER, &format!("json_torrent {line}")).wait_success(),
    }
    path
}

fn json(path: &PathBuf) -> Value {
    serde_json::from_slice(&fs::read(path).expect("the torrent was made"))
        .expect("a torrent is JSON")
}

/// 3,496 digests: every way in which Python prints one is among them.
#[test]
fn a_torrent_of_sow_is_the_torrent_of_the_original() {
    let (world, shared) = (World::new(1), Shared::file(10 * MIB));
    let [mine, theirs] = ["sow", "naive"].map(|by| json(&make_torrent(by, &world, &shared, PIECE)));
    for field in ["announce", "port"] {
        assert_eq!(mine[field], theirs[field], "{field}");
    }
    assert!(mine["comment"].is_string(), "the comment is {}", mine["comment"]);
    for field in ["piece_length", "file_name", "file_length"] {
        assert_eq!(mine["info"][field], theirs["info"][field], "{field}");
    }
    let hashes =
        |torrent: &Value| torrent["info"]["piece_hash"].as_array().expect("hashes").clone();
    for (index, (mine, theirs)) in hashes(&mine).iter().zip(&hashes(&theirs)).enumerate() {
        assert_eq!(mine, theirs, "hash {index}");
    }
    assert_eq!(hashes(&mine).len(), hashes(&theirs).len());
}

#[test]
fn from_sow_with_naive_torrent_and_tracker() {
    let world = World::new(3);
    for size in SIZES {
        let shared = Shared::file(size);
        let network = Network::of_naive(&world, &shared, PIECE);
        let _seed = network.sow_seed(2, "");
        network.naive_peer(3, "").wait_success();
        shared.assert_copied_to(&network.naive_copy(3));
    }
}

#[test]
fn to_sow_with_naive_torrent_and_tracker() {
    let world = World::new(3);
    for size in SIZES {
        let shared = Shared::file(size);
        let network = Network::of_naive(&world, &shared, PIECE);
        let _seed = network.naive_seed(2);
        network.sow_peer(3, "--no-seed").wait_success();
        shared.assert_copied_to(&network.sow_copy(3));
    }
}

#[test]
fn naive_peers_with_torrent_and_tracker_of_sow() {
    let world = World::new(3);
    for size in SIZES {
        let shared = Shared::file(size);
        let network = Network::of_sow(&world, &shared, PIECE);
        let _seed = network.naive_seed(2);
        network.naive_peer(3, "").wait_success();
        shared.assert_copied_to(&network.naive_copy(3));
    }
}

#[test]
fn sow_to_sow() {
    let world = World::new(3);
    for size in SIZES {
        let shared = Shared::file(size);
        let network = Network::of_sow(&world, &shared, PIECE);
        let _seed = network.sow_seed(2, "");
        network.sow_peer(3, "--no-seed").wait_success();
        shared.assert_copied_to(&network.sow_copy(3));
    }
}

#[test]
fn a_hundred_mebibytes_both_ways() {
    let (world, shared) = (World::new(4), Shared::file(100 * MIB));
    let network = Network::of_naive(&world, &shared, 256 << 10);
    let seed = network.naive_seed(2);
    network.sow_peer(3, "--no-seed").wait_success();
    shared.assert_copied_to(&network.sow_copy(3));
    drop(seed);
    let _seed = network.sow_seed(3, "");
    network.naive_peer(4, "").wait_success();
    shared.assert_copied_to(&network.naive_copy(4));
}

/// A slow seed of each kind, three peers of `sow` and two naive ones at once.
fn mixed_swarm(network: &Network<'_>) {
    let _sow = network.sow_seed(2, "--up-limit 6MB/s");
    network.shared.copy(&room(3));
    let _naive = network.naive_peer(3, "--rate 6e6");
    let mut peers =
        [4, 5, 6].map(|host| (network.sow_peer(host, "--seed-for 60s"), network.sow_copy(host)));
    let mut naive =
        [7, 8].map(|host| (network.naive_peer(host, "--linger 60"), network.naive_copy(host)));
    for (peer, copy) in peers.iter_mut().chain(&mut naive) {
        peer.wait_event("complete");
        network.shared.assert_copied_to(copy);
    }
}

#[test]
fn a_mixed_swarm_around_a_naive_tracker() {
    let (world, shared) = (World::new(8), Shared::file(10 * MIB));
    mixed_swarm(&Network::of_naive(&world, &shared, 32 << 10));
}

#[test]
fn a_mixed_swarm_around_a_sow_tracker() {
    let (world, shared) = (World::new(8), Shared::file(10 * MIB));
    mixed_swarm(&Network::of_sow(&world, &shared, 32 << 10));
}

/// Every seed gives between `least` and `most` percent.
#[track_caller]
fn assert_shares(network: &Network<'_>, complete: &Value, seeds: &[u8], least: u64, most: u64) {
    let size = network.shared.size();
    let mut total = 0;
    for host in seeds {
        let bytes = sow::bytes_from(complete, &network.name(*host));
        let percent = bytes * 100 / size;
        assert!((least..=most).contains(&percent), "{percent} % from host {host}: {complete}");
        total += bytes;
    }
    // A piece that is late may be asked of two at the end; nobody else had any.
    assert!((size..=size + size / 20).contains(&total), "{total} of {size} bytes: {complete}");
}

/// Document 2's example: peers 1 and 2 have file A, and peer 3 downloads it from both at the same
/// time.
#[test]
fn half_from_each_of_two() {
    let (world, shared) = (World::new(4), Shared::file(8 * MIB));
    let network = Network::of_sow(&world, &shared, PIECE);
    let _seeds = [2, 3].map(|host| network.sow_seed(host, "--up-limit 2MB/s"));
    let mut peer = network.sow_peer(4, "--no-seed");
    let complete = peer.wait_event("complete");
    peer.wait_success();
    shared.assert_copied_to(&network.sow_copy(4));
    assert_shares(&network, &complete, &[2, 3], 35, 65);
}

#[test]
fn half_from_each_of_two_originals() {
    let (world, shared) = (World::new(4), Shared::file(8 * MIB));
    let network = Network::of_naive(&world, &shared, PIECE);
    let _seeds = [2, 3].map(|host| {
        shared.copy(&room(host));
        network.naive_peer(host, "--rate 2e6")
    });
    let mut peer = network.sow_peer(4, "--no-seed");
    let complete = peer.wait_event("complete");
    peer.wait_success();
    shared.assert_copied_to(&network.sow_copy(4));
    assert_shares(&network, &complete, &[2, 3], 35, 65);
}

#[test]
fn six_shares_from_six() {
    let (world, shared) = (World::new(8), Shared::file(12 * MIB));
    let network = Network::of_sow(&world, &shared, PIECE);
    let seeds = [2, 3, 4, 5, 6, 7];
    let _seeds = seeds.map(|host| network.sow_seed(host, "--up-limit 1MB/s"));
    let mut peer = network.sow_peer(8, "--no-seed");
    let complete = peer.wait_event("complete");
    peer.wait_success();
    shared.assert_copied_to(&network.sow_copy(8));
    assert_shares(&network, &complete, &seeds, 8, 26);
}

/// A naive peer that is killed leaves `A_data/<index>`; `sow` goes on from there.
#[test]
fn an_original_download_is_taken_over() {
    let (world, shared) = (World::new(3), Shared::file(8 * MIB));
    let network = Network::of_naive(&world, &shared, 64 << 10);
    shared.copy(&room(2));
    let _seed = network.naive_peer(2, "--rate 4e6");
    let mut naive = network.naive_peer(3, "");
    let data = shared.room(&room(3)).join("A_data");
    let pieces = || fs::read_dir(&data).map_or(0, Iterator::count);
    wait_until("some pieces", || pieces() > 20);
    naive.kill();
    let line = format!("json-torrent peer {} --no-seed", network.torrent.display());
    let mut peer = sow::fetch_in(&world, 3, &line, &shared.room(&room(3)));
    let complete = peer.wait_event("complete");
    peer.wait_success();
    shared.assert_copied_to(&network.sow_copy(3));
    // The last one may have been written in part.
    assert!(complete["resumed_bytes"].as_u64() >= Some(20 * (64 << 10)), "{complete}");
}
