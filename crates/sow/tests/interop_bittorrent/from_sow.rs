//! Other programs download from `sow send`, which is also their tracker.

use crate::{
    aria2,
    content::Content,
    libtorrent,
    sow::{self, Origin},
    support::{test_network::TestNetwork, wait_until},
    transmission,
};

/// How the other program names the content.
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
    let network = TestNetwork::new(2);
    let mut origin = sow::send(&network, 1, content, &[]);
    let folder = content.subfolder("copy");
    aria2::download(&network, 2, by.link(&origin), &folder).wait_success();
    content.assert_copied_to(&folder);
    assert!(origin.process.is_running(), "sow send ended");
}

fn transmission_downloads(content: &Content, by: By) {
    let network = TestNetwork::new(2);
    let mut origin = sow::send(&network, 1, content, &[]);
    let folder = content.subfolder("copy");
    transmission::download(&network, 2, content, by.link(&origin), &folder).wait_complete();
    wait_until("the copy", || content.is_copied_without_empty_files_to(&folder));
    assert!(origin.process.is_running(), "sow send ended");
}

fn libtorrent_downloads(content: &Content, by: By) {
    let network = TestNetwork::new(2);
    let mut origin = sow::send(&network, 1, content, &[]);
    let folder = content.subfolder("copy");
    let mut libtorrent = libtorrent::download(&network, 2, by.link(&origin), &folder);
    libtorrent.wait_event("complete");
    libtorrent.finish();
    content.assert_copied_to(&folder);
    assert!(origin.process.is_running(), "sow send ended");
}

#[test]
fn aria2_downloads_by_torrent() {
    aria2_downloads(&Content::folder(), By::Torrent);
}

#[test]
fn aria2_downloads_by_magnet() {
    aria2_downloads(&Content::file(), By::Magnet);
}

#[test]
fn transmission_downloads_by_torrent() {
    transmission_downloads(&Content::folder(), By::Torrent);
}

#[test]
fn transmission_downloads_by_magnet() {
    transmission_downloads(&Content::file(), By::Magnet);
}

#[test]
fn libtorrent_downloads_by_torrent() {
    libtorrent_downloads(&Content::folder(), By::Torrent);
}

#[test]
fn libtorrent_downloads_by_magnet() {
    libtorrent_downloads(&Content::file(), By::Magnet);
}

#[test]
fn send_exits_when_the_expected_receivers_are_complete() {
    let (network, content) = (TestNetwork::new(3), Content::file());
    let mut origin = sow::send(&network, 1, &content, &["--expect", "2"]);
    let (to_libtorrent, to_transmission) =
        (content.subfolder("libtorrent"), content.subfolder("transmission"));
    let mut libtorrent = libtorrent::download(&network, 2, &origin.magnet, &to_libtorrent);
    let mut transmission =
        transmission::download(&network, 3, &content, &origin.torrent, &to_transmission);
    origin.process.wait_success();
    libtorrent.wait_event("complete");
    libtorrent.finish();
    transmission.wait_complete();
    content.assert_copied_to(&to_libtorrent);
    wait_until("Transmission's copy", || {
        content.is_copied_without_empty_files_to(&to_transmission)
    });
}
