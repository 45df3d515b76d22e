//! The protocol `json-torrent`: `sow` and reference programs as torrent maker, tracker, seed and
//! peer.

use std::{fs, path::PathBuf};

use serde_json::Value;

use crate::{
    reference,
    shared_file::{MIB, SharedFile},
    sow,
    support::{process::Process, test_network::TestNetwork, wait_until},
};

/// The default piece length of the original program.
pub(crate) const PIECE: usize = 3000;
/// One byte, one piece, one piece and a byte, and many pieces.
pub(crate) const SIZES: [usize; 4] = [1, PIECE, PIECE + 1, 10 * MIB];
const TRACKER: u8 = 1;
/// The port on which peers listen.
pub(crate) const PEER_PORT: u16 = 5555;

/// A torrent with a tracker that runs on host 1.
pub(crate) struct JsonSwarm<'a> {
    network: &'a TestNetwork,
    shared: &'a SharedFile,
    torrent: PathBuf,
    /// The tracker, which tests may kill.
    pub(crate) tracker: Process,
}

impl<'a> JsonSwarm<'a> {
    /// Torrent and tracker by reference programs.
    pub(crate) fn of_reference(
        network: &'a TestNetwork,
        shared: &'a SharedFile,
        piece: usize,
    ) -> Self {
        let torrent = make_torrent("reference", network, shared, piece);
        let tracker = reference::serve(network, TRACKER, "json_torrent tracker");
        Self { network, shared, torrent, tracker }
    }

    /// Torrent and tracker by `sow`.
    pub(crate) fn of_sow(network: &'a TestNetwork, shared: &'a SharedFile, piece: usize) -> Self {
        let torrent = make_torrent("sow", network, shared, piece);
        let tracker = sow_tracker(network);
        Self { network, shared, torrent, tracker }
    }

    /// A seed of `sow`; `more` are options. Returns when the seed accepts connections.
    pub(crate) fn sow_seed(&self, host: u8, more: &str) -> Process {
        let copy = self.shared.out(&host_folder(host));
        if !copy.exists() {
            self.shared.copy(&host_folder(host));
        }
        let line =
            format!("json-torrent peer {} -o {} {more}", self.torrent.display(), copy.display());
        sow::serve(self.network, host, &format!("{line} --seed-for 1h"))
    }

    /// A peer of `sow` that downloads to [`JsonSwarm::sow_copy`].
    pub(crate) fn sow_peer(&self, host: u8, more: &str) -> Process {
        let line = format!("json-torrent peer {} {more}", self.torrent.display());
        sow::fetch(self.network, host, &line, &self.sow_copy(host))
    }

    /// A reference seed.
    pub(crate) fn reference_seed(&self, host: u8) -> Process {
        self.shared.copy(&host_folder(host));
        self.reference_peer(host, "")
    }

    /// A reference peer that downloads to [`JsonSwarm::reference_copy`]; `more` are options.
    pub(crate) fn reference_peer(&self, host: u8, more: &str) -> Process {
        let folder = self.shared.subfolder(&host_folder(host));
        let line = format!(
            "json_torrent peer {} --folder {} {more}",
            self.torrent.display(),
            folder.display()
        );
        reference::serve(self.network, host, &line)
    }

    /// The path to which a peer of `sow` saves.
    pub(crate) fn sow_copy(&self, host: u8) -> PathBuf {
        self.shared.out(&host_folder(host))
    }

    /// The path to which a reference peer saves.
    pub(crate) fn reference_copy(&self, host: u8) -> PathBuf {
        self.shared.subfolder(&host_folder(host)).join("download_A")
    }

    /// `IP:PORT` of the peer on a host.
    pub(crate) fn name(&self, host: u8) -> String {
        format!("{}:{PEER_PORT}", self.network.address(host))
    }
}

/// A tracker of `sow` on host 1.
pub(crate) fn sow_tracker(network: &TestNetwork) -> Process {
    sow::serve(network, TRACKER, "json-torrent tracker")
}

fn host_folder(host: u8) -> String {
    format!("host{host}")
}

/// Makes the torrent with `sow` or the reference program; its tracker is on host 1.
fn make_torrent(by: &str, network: &TestNetwork, shared: &SharedFile, piece: usize) -> PathBuf {
    let path = shared.subfolder(by).join("A.torrent");
    let line = format!(
        "create {} --announce {} --port 6666 --piece-length {piece} -o {}",
        shared.path.display(),
        network.address(TRACKER),
        path.display()
    );
    match by {
        "sow" => sow::start(network, TRACKER, &format!("json-torrent {line}")).wait_success(),
        _ => reference::run(network, TRACKER, &format!("json_torrent {line}")).wait_success(),
    }
    path
}

fn json(path: &PathBuf) -> Value {
    serde_json::from_slice(&fs::read(path).expect("the torrent was made"))
        .expect("a torrent is JSON")
}

/// 3,496 digests include every way in which Python prints one.
#[test]
fn a_torrent_of_sow_equals_that_of_the_original_program() {
    let (network, shared) = (TestNetwork::new(1), SharedFile::file(10 * MIB));
    let [mine, theirs] =
        ["sow", "reference"].map(|by| json(&make_torrent(by, &network, &shared, PIECE)));
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
fn a_reference_peer_downloads_from_sow_with_reference_torrent_and_tracker() {
    let network = TestNetwork::new(3);
    for size in SIZES {
        let shared = SharedFile::file(size);
        let swarm = JsonSwarm::of_reference(&network, &shared, PIECE);
        let _seed = swarm.sow_seed(2, "");
        swarm.reference_peer(3, "").wait_success();
        shared.assert_copied_to(&swarm.reference_copy(3));
    }
}

#[test]
fn sow_downloads_from_a_reference_seed_with_reference_torrent_and_tracker() {
    let network = TestNetwork::new(3);
    for size in SIZES {
        let shared = SharedFile::file(size);
        let swarm = JsonSwarm::of_reference(&network, &shared, PIECE);
        let _seed = swarm.reference_seed(2);
        swarm.sow_peer(3, "--no-seed").wait_success();
        shared.assert_copied_to(&swarm.sow_copy(3));
    }
}

#[test]
fn reference_peers_use_torrent_and_tracker_of_sow() {
    let network = TestNetwork::new(3);
    for size in SIZES {
        let shared = SharedFile::file(size);
        let swarm = JsonSwarm::of_sow(&network, &shared, PIECE);
        let _seed = swarm.reference_seed(2);
        swarm.reference_peer(3, "").wait_success();
        shared.assert_copied_to(&swarm.reference_copy(3));
    }
}

#[test]
fn sow_downloads_from_sow() {
    let network = TestNetwork::new(3);
    for size in SIZES {
        let shared = SharedFile::file(size);
        let swarm = JsonSwarm::of_sow(&network, &shared, PIECE);
        let _seed = swarm.sow_seed(2, "");
        swarm.sow_peer(3, "--no-seed").wait_success();
        shared.assert_copied_to(&swarm.sow_copy(3));
    }
}

#[test]
fn a_hundred_mebibytes_go_both_ways() {
    let (network, shared) = (TestNetwork::new(4), SharedFile::file(100 * MIB));
    let swarm = JsonSwarm::of_reference(&network, &shared, 256 << 10);
    let seed = swarm.reference_seed(2);
    swarm.sow_peer(3, "--no-seed").wait_success();
    shared.assert_copied_to(&swarm.sow_copy(3));
    drop(seed);
    let _seed = swarm.sow_seed(3, "");
    swarm.reference_peer(4, "").wait_success();
    shared.assert_copied_to(&swarm.reference_copy(4));
}

/// A slow seed of each implementation, three peers of `sow` and two reference peers at once.
fn mixed_swarm(swarm: &JsonSwarm<'_>) {
    let _sow = swarm.sow_seed(2, "--up-limit 6MB/s");
    swarm.shared.copy(&host_folder(3));
    let _reference = swarm.reference_peer(3, "--rate 6e6");
    let mut peers = [4, 5, 6].map(|host| (swarm.sow_peer(host, ""), swarm.sow_copy(host)));
    let mut reference =
        [7, 8].map(|host| (swarm.reference_peer(host, "--linger 60"), swarm.reference_copy(host)));
    for (peer, copy) in peers.iter_mut().chain(&mut reference) {
        peer.wait_event("complete");
        swarm.shared.assert_copied_to(copy);
    }
}

#[test]
fn a_mixed_swarm_around_a_reference_tracker() {
    let (network, shared) = (TestNetwork::new(8), SharedFile::file(10 * MIB));
    mixed_swarm(&JsonSwarm::of_reference(&network, &shared, 32 << 10));
}

#[test]
fn a_mixed_swarm_around_a_sow_tracker() {
    let (network, shared) = (TestNetwork::new(8), SharedFile::file(10 * MIB));
    mixed_swarm(&JsonSwarm::of_sow(&network, &shared, 32 << 10));
}

/// Every seed sends between `min` and `max` percent.
#[track_caller]
fn assert_shares(swarm: &JsonSwarm<'_>, complete: &Value, seeds: &[u8], min: u64, max: u64) {
    let size = swarm.shared.size();
    let mut total = 0;
    for host in seeds {
        let bytes = sow::bytes_from(complete, &swarm.name(*host));
        let percent = bytes * 100 / size;
        assert!((min..=max).contains(&percent), "{percent} % from host {host}: {complete}");
        total += bytes;
    }
    // A piece that is late may be requested twice at the end; no other peer has any.
    assert!((size..=size + size / 20).contains(&total), "{total} of {size} bytes: {complete}");
}

/// The example of the original report: peers 1 and 2 have file A, and peer 3 downloads it from both
/// at the same time. The seeds are slow, so that a delay of some seconds between the connections to
/// both changes the shares little.
#[test]
fn a_peer_takes_half_from_each_of_two_seeds() {
    let (network, shared) = (TestNetwork::new(4), SharedFile::file(8 * MIB));
    let swarm = JsonSwarm::of_sow(&network, &shared, PIECE);
    let _seeds = [2, 3].map(|host| swarm.sow_seed(host, "--up-limit 500KB/s"));
    let mut peer = swarm.sow_peer(4, "--no-seed");
    let complete = peer.wait_event("complete");
    peer.wait_success();
    shared.assert_copied_to(&swarm.sow_copy(4));
    assert_shares(&swarm, &complete, &[2, 3], 35, 65);
}

#[test]
fn a_peer_takes_half_from_each_of_two_reference_seeds() {
    let (network, shared) = (TestNetwork::new(4), SharedFile::file(8 * MIB));
    let swarm = JsonSwarm::of_reference(&network, &shared, PIECE);
    let _seeds = [2, 3].map(|host| {
        shared.copy(&host_folder(host));
        swarm.reference_peer(host, "--rate 5e5")
    });
    let mut peer = swarm.sow_peer(4, "--no-seed");
    let complete = peer.wait_event("complete");
    peer.wait_success();
    shared.assert_copied_to(&swarm.sow_copy(4));
    assert_shares(&swarm, &complete, &[2, 3], 35, 65);
}

#[test]
fn a_peer_takes_equal_shares_from_six_seeds() {
    let (network, shared) = (TestNetwork::new(8), SharedFile::file(12 * MIB));
    let swarm = JsonSwarm::of_sow(&network, &shared, PIECE);
    let seeds = [2, 3, 4, 5, 6, 7];
    let _seeds = seeds.map(|host| swarm.sow_seed(host, "--up-limit 250KB/s"));
    let mut peer = swarm.sow_peer(8, "--no-seed");
    let complete = peer.wait_event("complete");
    peer.wait_success();
    shared.assert_copied_to(&swarm.sow_copy(8));
    assert_shares(&swarm, &complete, &seeds, 8, 26);
}

/// A reference peer that is killed leaves `A_data/<index>`; `sow` continues from there.
#[test]
fn a_download_of_the_original_program_is_continued() {
    let (network, shared) = (TestNetwork::new(3), SharedFile::file(8 * MIB));
    let swarm = JsonSwarm::of_reference(&network, &shared, 64 << 10);
    shared.copy(&host_folder(2));
    let _seed = swarm.reference_peer(2, "--rate 1e6");
    let mut original = swarm.reference_peer(3, "");
    let data = shared.subfolder(&host_folder(3)).join("A_data");
    let pieces = || fs::read_dir(&data).map_or(0, Iterator::count);
    wait_until("some pieces", || pieces() > 20);
    original.kill();
    let line = format!("json-torrent peer {} --no-seed", swarm.torrent.display());
    let mut peer = sow::fetch_in(&network, 3, &line, &shared.subfolder(&host_folder(3)));
    let complete = peer.wait_event("complete");
    peer.wait_success();
    shared.assert_copied_to(&swarm.sow_copy(3));
    // The last piece may be incomplete.
    assert!(complete["resumed_bytes"].as_u64() >= Some(20 * (64 << 10)), "{complete}");
}
