//! Other programs download from `sow send`, which is their tracker too.

use crate::{
    aria2,
    content::Content,
    libtorrent,
    process::wait_until,
    sow::{self, Origin},
    transmission,
    world::World,
};

/// How the other program learns what there is.
#[derive(Clone, Copy)]
enum By {
    Torrent,
    Magnet,
}

impl By {
    fn link(self, origin: &Origin) -> &str {
        match self {
            Self::Torrent => &origin.torrent,
            Self::Magnet => &origin.magnet,
        }
    }
}

fn aria2_downloads(content: &Content, by: By) {
    let world = World::new(2);
    let mut origin = sow::send(&world, 1, content, &[]);
    let folder = content.room("copy");
    aria2::download(&world, 2, by.link(&origin), &folder).wait_success();
    content.assert_copied_to(&folder);
    assert!(origin.process.runs(), "sow send ended");
}

fn transmission_downloads(content: &Content, by: By) {
    let world = World::new(2);
    let mut origin = sow::send(&world, 1, content, &[]);
    let folder = content.room("copy");
    transmission::download(&world, 2, content, by.link(&origin), &folder).wait_complete();
    wait_until("the copy", || content.is_copied_but_for_empty_files_to(&folder));
    assert!(origin.process.runs(), "sow send ended");
}

fn libtorrent_downloads(content: &Content, by: By) {
    let world = World::new(2);
    let mut origin = sow::send(&world, 1, content, &[]);
    let folder = content.room("copy");
    let mut libtorrent = libtorrent::download(&world, 2, by.link(&origin), &folder);
    libtorrent.wait_event("complete");
    libtorrent.finish();
    content.assert_copied_to(&folder);
    assert!(origin.process.runs(), "sow send ended");
}

#[test]
fn aria2_by_torrent() {
    aria2_downloads(&Content::folder(), By::Torrent);
}

#[test]
fn aria2_by_magnet() {
    aria2_downloads(&Content::file(), By::Magnet);
}

#[test]
fn transmission_by_torrent() {
    transmission_downloads(&Content::folder(), By::Torrent);
}

#[test]
fn transmission_by_magnet() {
    transmission_downloads(&Content::file(), By::Magnet);
}

#[test]
fn libtorrent_by_torrent() {
    libtorrent_downloads(&Content::folder(), By::Torrent);
}

#[test]
fn libtorrent_by_magnet() {
    libtorrent_downloads(&Content::file(), By::Magnet);
}

#[test]
fn send_ends_when_the_expected_strangers_have_it() {
    let (world, content) = (World::new(3), Content::file());
    let mut origin = sow::send(&world, 1, &content, &["--expect", "2"]);
    let (to_libtorrent, to_transmission) =
        (content.room("libtorrent"), content.room("transmission"));
    let mut libtorrent = libtorrent::download(&world, 2, &origin.magnet, &to_libtorrent);
    let mut transmission =
        transmission::download(&world, 3, &content, &origin.torrent, &to_transmission);
    origin.process.wait_success();
    libtorrent.wait_event("complete");
    libtorrent.finish();
    transmission.wait_complete();
    content.assert_copied_to(&to_libtorrent);
    wait_until("Transmission's copy", || {
        content.is_copied_but_for_empty_files_to(&to_transmission)
    });
}
