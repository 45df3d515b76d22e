//! The harness without `sow`. When these tests fail, look for the fault there first.

use crate::{
    aria2,
    content::Content,
    corrupt_peer::{self, CORRUPT_PEER, SENT_CORRUPT},
    libtorrent,
    support::{test_network::TestNetwork, wait_until},
    tracker::Tracker,
    transmission,
};

#[test]
fn aria2_and_transmission_fetch_a_folder_from_libtorrent_by_torrent() {
    let (network, content) = (TestNetwork::new(4), Content::folder());
    let tracker = Tracker::start(&network, 1);
    let torrent = content.torrent(Some(&tracker.url));
    let _seed = libtorrent::seed(&network, 2, &content, &torrent, &[]);
    let path = torrent.path.display().to_string();
    let (to_aria2, to_transmission) =
        (content.subfolder("aria2"), content.subfolder("transmission"));
    let mut aria2 = aria2::download(&network, 3, &path, &to_aria2);
    let mut transmission = transmission::download(&network, 4, &content, &path, &to_transmission);
    aria2.wait_success();
    transmission.wait_complete();
    content.assert_copied_to(&to_aria2);
    wait_until("Transmission's copy", || {
        content.is_copied_without_empty_files_to(&to_transmission)
    });
}

#[test]
fn libtorrent_fetches_a_file_from_transmission_and_aria2_by_magnet() {
    let (network, content) = (TestNetwork::new(4), Content::file());
    let mut tracker = Tracker::start(&network, 1);
    let torrent = content.torrent(Some(&tracker.url));
    let _transmission = transmission::seed(&network, 2, &content, &torrent);
    let _aria2 = aria2::seed(&network, 3, &content, &torrent);
    tracker.wait_announce(&network, 2);
    tracker.wait_announce(&network, 3);
    let folder = content.subfolder("libtorrent");
    let mut libtorrent =
        libtorrent::download(&network, 4, &torrent.magnet(&[], &[&tracker.url]), &folder);
    libtorrent.wait_event("complete");
    libtorrent.finish();
    content.assert_copied_to(&folder);
}

#[test]
fn libtorrent_detects_the_corrupt_peer() {
    let (network, content) = (TestNetwork::new(3), Content::file());
    let torrent = content.torrent(None);
    let mut corrupt_peer = corrupt_peer::start(&network, &content, &torrent, 3);
    let name = |host| format!("{}:{}", network.address(host), libtorrent::PORT);
    let folder = content.subfolder("copy");
    // No other peer is there until the corrupt block has been sent.
    let mut receiver =
        libtorrent::download_from(&network, 3, &name(CORRUPT_PEER), &torrent, &folder);
    corrupt_peer.wait_event(SENT_CORRUPT);
    receiver.wait_event("hash_failed");
    let _honest = libtorrent::seed(&network, 2, &content, &torrent, &["--connect", &name(3)]);
    receiver.wait_event("complete");
    receiver.finish();
    content.assert_copied_to(&folder);
}
