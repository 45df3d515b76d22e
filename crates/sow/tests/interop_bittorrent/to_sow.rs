//! `sow get` downloads from other programs.

use crate::{
    aria2,
    content::{Content, Torrent},
    libtorrent, sow,
    support::test_network::TestNetwork,
    tracker::Tracker,
    transmission,
};

/// The hosts of these tests.
const TRACKER: u8 = 1;
const SEED: u8 = 2;
const SOW: u8 = 3;

fn get(network: &TestNetwork, content: &Content, source: &str) {
    let folder = content.subfolder("copy");
    let mut get = sow::get(network, SOW, source, &folder, &["--no-seed"]);
    get.wait_success();
    content.assert_copied_to(&folder);
    let complete = get.wait_event("complete");
    assert_eq!(complete["resumed_bytes"], 0, "{complete}");
}

/// Downloads by a .torrent file whose tracker knows the peers.
fn get_by_torrent<S>(start: impl FnOnce(&TestNetwork, &Content, &Torrent) -> S) {
    let (network, content) = (TestNetwork::new(3), Content::folder());
    let mut tracker = Tracker::start(&network, TRACKER);
    let torrent = content.torrent(Some(&tracker.url));
    let _seed = start(&network, &content, &torrent);
    tracker.wait_announce(&network, SEED);
    get(&network, &content, &torrent.path.display().to_string());
}

/// Downloads by a magnet link that names a peer, without a tracker.
fn get_by_magnet<S>(port: u16, start: impl FnOnce(&TestNetwork, &Content, &Torrent) -> S) {
    let (network, content) = (TestNetwork::new(3), Content::file());
    let torrent = content.torrent(None);
    let _seed = start(&network, &content, &torrent);
    get(&network, &content, &torrent.magnet(&[format!("{}:{port}", network.address(SEED))], &[]));
}

#[test]
fn sow_downloads_from_aria2_by_torrent() {
    get_by_torrent(|network, content, torrent| aria2::seed(network, SEED, content, torrent));
}

#[test]
fn sow_downloads_from_aria2_by_magnet() {
    get_by_magnet(aria2::PORT, |network, content, torrent| {
        aria2::seed(network, SEED, content, torrent)
    });
}

#[test]
fn sow_downloads_from_transmission_by_torrent() {
    get_by_torrent(|network, content, torrent| {
        transmission::seed(network, SEED, content, torrent).process
    });
}

#[test]
fn sow_downloads_from_transmission_by_magnet() {
    get_by_magnet(transmission::PORT, |network, content, torrent| {
        transmission::seed(network, SEED, content, torrent).process
    });
}

#[test]
fn sow_downloads_from_libtorrent_by_torrent() {
    get_by_torrent(|network, content, torrent| {
        libtorrent::seed(network, SEED, content, torrent, &[])
    });
}

#[test]
fn sow_downloads_from_libtorrent_by_magnet() {
    get_by_magnet(libtorrent::PORT, |network, content, torrent| {
        libtorrent::seed(network, SEED, content, torrent, &[])
    });
}

#[test]
fn sow_downloads_from_libtorrent_super_seeding() {
    get_by_torrent(|network, content, torrent| {
        libtorrent::seed(network, SEED, content, torrent, &["--super-seed"])
    });
}

#[test]
fn sow_downloads_by_a_magnet_link_with_a_tracker_alone() {
    let (network, content) = (TestNetwork::new(3), Content::file());
    let mut tracker = Tracker::start(&network, TRACKER);
    let torrent = content.torrent(Some(&tracker.url));
    let _seed = libtorrent::seed(&network, SEED, &content, &torrent, &[]);
    tracker.wait_announce(&network, SEED);
    get(&network, &content, &torrent.magnet(&[], &[&tracker.url]));
}
