//! A peer that flips one bit in one block: `sow` bans it and keeps the honest peers.

use serde_json::Value;

use crate::{
    content::{Content, INTEROP, PYTHON, Torrent},
    libtorrent, sow,
    support::{process::Process, test_network::TestNetwork},
};

const SCRIPT: &str = "corrupt_peer.py";
/// The event of the script when it has sent a corrupt block.
pub(crate) const SENT_CORRUPT: &str = "sent_corrupt";
/// Its host.
pub(crate) const CORRUPT_PEER: u8 = 1;
const HONEST: [u8; 2] = [2, 3];
const SOW: u8 = 4;

/// Starts the corrupt peer on host 1. When host `target` disconnects it, it connects to that host
/// again.
pub(crate) fn start(
    network: &TestNetwork,
    content: &Content,
    torrent: &Torrent,
    target: u8,
) -> Process {
    let script = format!("{INTEROP}/{SCRIPT}");
    let address = network.address(CORRUPT_PEER).to_string();
    let target = network.address(target).to_string();
    let (path, torrent) = (content.path.display().to_string(), torrent.path.display().to_string());
    let (port, target_port) = (libtorrent::PORT.to_string(), sow::GET_PORT.to_string());
    let command = [
        PYTHON,
        &script,
        &path,
        &torrent,
        "--listen",
        &address,
        "--port",
        &port,
        "--target",
        &target,
        "--target-port",
        &target_port,
    ];
    let mut peer = network.start(CORRUPT_PEER, "corrupt peer", &command);
    peer.wait_event("listening");
    peer
}

#[test]
fn a_corrupt_peer_is_banned_and_honest_peers_are_not() {
    let (network, content) = (TestNetwork::new(4), Content::file());
    let torrent = content.torrent(None);
    let mut corrupt_peer = start(&network, &content, &torrent, SOW);
    let seeds = HONEST.map(|host| libtorrent::seed(&network, host, &content, &torrent, &[]));
    let peers: Vec<String> = [CORRUPT_PEER, HONEST[0], HONEST[1]]
        .iter()
        .map(|host| format!("{}:{}", network.address(*host), libtorrent::PORT))
        .collect();
    let folder = content.subfolder("copy");
    // Slow enough that the corrupt peer connects again, and is rejected, before the end.
    let arguments = ["--down-limit", "500kB/s", "--no-seed"];
    let mut get = sow::get(&network, SOW, &torrent.magnet(&peers, &[]), &folder, &arguments);

    corrupt_peer.wait_event(SENT_CORRUPT);
    corrupt_peer.wait_event("disconnected");
    let attempt = corrupt_peer.wait_event("reconnected");
    assert!(get.is_running(), "the download ended before the corrupt peer connected again");
    assert_eq!(attempt["accepted"], Value::Bool(false), "the corrupt peer was accepted again");

    for seed in &seeds {
        let errors = seed.events("peer_error");
        assert!(errors.is_empty(), "an honest peer was disconnected: {errors:?}");
    }
    get.wait_success();
    content.assert_copied_to(&folder);
    let from = get.wait_event("complete")["from"].clone();
    for host in HONEST {
        let peer = format!("{}:{}", network.address(host), libtorrent::PORT);
        assert!(from[&peer].as_u64() > Some(0), "nothing came from the honest peer {peer}: {from}");
    }
}
