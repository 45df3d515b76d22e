//! The harness without `sow`: when these fail, look there first.

use crate::{
    aria2, content::Content, liar, libtorrent, process::wait_until, tracker::Tracker, transmission,
    world::World,
};

#[test]
fn aria2_and_transmission_fetch_a_folder_from_libtorrent_by_torrent() {
    let (world, content) = (World::new(4), Content::folder());
    let tracker = Tracker::start(&world, 1);
    let torrent = content.torrent(Some(&tracker.url));
    let _seed = libtorrent::seed(&world, 2, &content, &torrent, &[]);
    let path = torrent.path.display().to_string();
    let (to_aria2, to_transmission) = (content.room("aria2"), content.room("transmission"));
    let mut aria2 = aria2::download(&world, 3, &path, &to_aria2);
    let mut transmission = transmission::download(&world, 4, &content, &path, &to_transmission);
    aria2.wait_success();
    transmission.wait_complete();
    content.assert_copied_to(&to_aria2);
    wait_until("Transmission's copy", || {
        content.is_copied_but_for_empty_files_to(&to_transmission)
    });
}

#[test]
fn libtorrent_fetches_a_file_from_transmission_and_aria2_by_magnet() {
    let (world, content) = (World::new(4), Content::file());
    let mut tracker = Tracker::start(&world, 1);
    let torrent = content.torrent(Some(&tracker.url));
    let _transmission = transmission::seed(&world, 2, &content, &torrent);
    let _aria2 = aria2::seed(&world, 3, &content, &torrent);
    tracker.wait_announce(&world, 2);
    tracker.wait_announce(&world, 3);
    let folder = content.room("libtorrent");
    let mut libtorrent =
        libtorrent::download(&world, 4, &torrent.magnet(&[], &[&tracker.url]), &folder);
    libtorrent.wait_event("complete");
    libtorrent.finish();
    content.assert_copied_to(&folder);
}

#[test]
fn libtorrent_catches_the_liar() {
    let (world, content) = (World::new(3), Content::file());
    let torrent = content.torrent(None);
    let mut liar = liar::start(&world, &content, &torrent, 3);
    let name = |host| format!("{}:{}", world.address(host), libtorrent::PORT);
    let folder = content.room("copy");
    // Nobody else is there before the lie is told.
    let mut victim = libtorrent::download_from(&world, 3, &name(liar::LIAR), &torrent, &folder);
    liar.wait_event("lied");
    victim.wait_event("hash_failed");
    let _honest = libtorrent::seed(&world, 2, &content, &torrent, &["--connect", &name(3)]);
    victim.wait_event("complete");
    victim.finish();
    content.assert_copied_to(&folder);
}
