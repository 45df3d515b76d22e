//! All programs in one swarm.

use crate::{
    aria2,
    content::Content,
    libtorrent, sow,
    support::{test_network::TestNetwork, wait_until},
    transmission,
};

#[test]
fn all_programs_in_one_swarm_finish() {
    let (network, content) = (TestNetwork::new(6), Content::folder());
    let mut origin = sow::send(&network, 1, &content, &["--up-limit", "4MB/s"]);
    let folders =
        ["sow1", "sow2", "aria2", "transmission", "libtorrent"].map(|name| content.subfolder(name));
    let [to_sow1, to_sow2, to_aria2, to_transmission, to_libtorrent] = &folders;

    let mut sow1 = sow::get(&network, 2, &origin.ticket, to_sow1, &[]);
    let mut sow2 = sow::get(&network, 3, &origin.magnet, to_sow2, &[]);
    let mut aria2 = aria2::join(&network, 4, &origin.torrent, to_aria2);
    let mut transmission =
        transmission::download(&network, 5, &content, &origin.magnet, to_transmission);
    let mut libtorrent = libtorrent::download(&network, 6, &origin.torrent, to_libtorrent);

    sow1.wait_event("complete");
    sow2.wait_event("complete");
    content.assert_copied_to(to_sow1);
    content.assert_copied_to(to_sow2);
    libtorrent.wait_event("complete");
    libtorrent.finish();
    transmission.wait_complete();
    content.assert_copied_to(to_libtorrent);
    wait_until("aria2's copy", || content.is_copied_to(to_aria2));
    wait_until("Transmission's copy", || content.is_copied_without_empty_files_to(to_transmission));
    assert!(aria2.is_running() && origin.process.is_running(), "a program ended");
}
