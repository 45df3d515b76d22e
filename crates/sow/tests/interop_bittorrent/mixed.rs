//! Everybody in one swarm.

use crate::{
    aria2, content::Content, libtorrent, process::wait_until, sow, transmission, world::World,
};

#[test]
fn a_swarm_of_all_programs_finishes() {
    let (world, content) = (World::new(6), Content::folder());
    let mut origin = sow::send(&world, 1, &content, &["--up-limit", "4MB/s"]);
    let rooms =
        ["sow1", "sow2", "aria2", "transmission", "libtorrent"].map(|name| content.room(name));
    let [to_sow1, to_sow2, to_aria2, to_transmission, to_libtorrent] = &rooms;

    let mut sow1 = sow::get(&world, 2, &origin.ticket, to_sow1, &["--seed-for", "60s"]);
    let mut sow2 = sow::get(&world, 3, &origin.magnet, to_sow2, &["--seed-for", "60s"]);
    let mut aria2 = aria2::join(&world, 4, &origin.torrent, to_aria2);
    let mut transmission =
        transmission::download(&world, 5, &content, &origin.magnet, to_transmission);
    let mut libtorrent = libtorrent::download(&world, 6, &origin.torrent, to_libtorrent);

    sow1.wait_event("complete");
    sow2.wait_event("complete");
    content.assert_copied_to(to_sow1);
    content.assert_copied_to(to_sow2);
    libtorrent.wait_event("complete");
    libtorrent.finish();
    transmission.wait_complete();
    content.assert_copied_to(to_libtorrent);
    wait_until("aria2's copy", || content.is_copied_to(to_aria2));
    wait_until("Transmission's copy", || content.is_copied_but_for_empty_files_to(to_transmission));
    assert!(aria2.runs() && origin.process.runs(), "a program ended");
}
