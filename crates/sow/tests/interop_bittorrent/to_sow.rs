//! `sow get` downloads from other programs.

use crate::{
    aria2,
    content::{Content, Torrent},
    libtorrent, sow,
    tracker::Tracker,
    transmission,
    world::World,
};

/// The hosts of these tests.
const TRACKER: u8 = 1;
const SEED: u8 = 2;
const SOW: u8 = 3;

fn get(world: &World, content: &Content, what: &str) {
    let folder = content.room("copy");
    let mut get = sow::get(world, SOW, what, &folder, &["--no-seed"]);
    get.wait_success();
    content.assert_copied_to(&folder);
    let complete = get.wait_event("complete");
    assert_eq!(complete["resumed_bytes"], 0, "{complete}");
}

/// By a .torrent whose tracker names the peers.
fn get_by_torrent<S>(start: impl FnOnce(&World, &Content, &Torrent) -> S) {
    let (world, content) = (World::new(3), Content::folder());
    let mut tracker = Tracker::start(&world, TRACKER);
    let torrent = content.torrent(Some(&tracker.url));
    let _seed = start(&world, &content, &torrent);
    tracker.wait_announce(&world, SEED);
    get(&world, &content, &torrent.path.display().to_string());
}

/// By a magnet link that names a peer, without a tracker.
fn get_by_magnet<S>(port: u16, start: impl FnOnce(&World, &Content, &Torrent) -> S) {
    let (world, content) = (World::new(3), Content::file());
    let torrent = content.torrent(None);
    let _seed = start(&world, &content, &torrent);
    get(&world, &content, &torrent.magnet(&[format!("{}:{port}", world.address(SEED))], &[]));
}

#[test]
fn from_aria2_by_torrent() {
    get_by_torrent(|world, content, torrent| aria2::seed(world, SEED, content, torrent));
}

#[test]
fn from_aria2_by_magnet() {
    get_by_magnet(aria2::PORT, |world, content, torrent| {
        aria2::seed(world, SEED, content, torrent)
    });
}

#[test]
fn from_transmission_by_torrent() {
    get_by_torrent(|world, content, torrent| {
        transmission::seed(world, SEED, content, torrent).process
    });
}

#[test]
fn from_transmission_by_magnet() {
    get_by_magnet(transmission::PORT, |world, content, torrent| {
        transmission::seed(world, SEED, content, torrent).process
    });
}

#[test]
fn from_libtorrent_by_torrent() {
    get_by_torrent(|world, content, torrent| libtorrent::seed(world, SEED, content, torrent, &[]));
}

#[test]
fn from_libtorrent_by_magnet() {
    get_by_magnet(libtorrent::PORT, |world, content, torrent| {
        libtorrent::seed(world, SEED, content, torrent, &[])
    });
}

#[test]
fn from_libtorrent_super_seeding() {
    get_by_torrent(|world, content, torrent| {
        libtorrent::seed(world, SEED, content, torrent, &["--super-seed"])
    });
}

#[test]
fn by_a_magnet_link_with_nothing_but_a_tracker() {
    let (world, content) = (World::new(3), Content::file());
    let mut tracker = Tracker::start(&world, TRACKER);
    let torrent = content.torrent(Some(&tracker.url));
    let _seed = libtorrent::seed(&world, SEED, &content, &torrent, &[]);
    tracker.wait_announce(&world, SEED);
    get(&world, &content, &torrent.magnet(&[], &[&tracker.url]));
}
