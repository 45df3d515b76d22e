//! A peer that flips one bit in one block.

use serde_json::Value;

use crate::{
    content::{Content, INTEROP, PYTHON, Torrent},
    libtorrent,
    process::Process,
    sow,
    world::World,
};

pub(crate) const LIAR: u8 = 1;
const HONEST: [u8; 2] = [2, 3];
const SOW: u8 = 4;

/// Starts the liar on host 1; it calls its victim back when that drops it.
pub(crate) fn start(world: &World, content: &Content, torrent: &Torrent, victim: u8) -> Process {
    let script = format!("{INTEROP}/liar.py");
    let (address, victim) = (world.address(LIAR).to_string(), world.address(victim).to_string());
    let (path, torrent) = (content.path.display().to_string(), torrent.path.display().to_string());
    let (port, victim_port) = (libtorrent::PORT.to_string(), sow::GET_PORT.to_string());
    let command = [
        PYTHON,
        &script,
        &path,
        &torrent,
        "--listen",
        &address,
        "--port",
        &port,
        "--victim",
        &victim,
        "--victim-port",
        &victim_port,
    ];
    let mut liar = world.start(LIAR, "liar", &command);
    liar.wait_event("listening");
    liar
}

#[test]
fn a_liar_is_banned_and_honest_peers_are_not() {
    let (world, content) = (World::new(4), Content::file());
    let torrent = content.torrent(None);
    let mut liar = start(&world, &content, &torrent, SOW);
    let seeds = HONEST.map(|host| libtorrent::seed(&world, host, &content, &torrent, &[]));
    let peers: Vec<String> = [LIAR, HONEST[0], HONEST[1]]
        .iter()
        .map(|host| format!("{}:{}", world.address(*host), libtorrent::PORT))
        .collect();
    let folder = content.room("copy");
    // Slow enough that the liar can come back and be turned away before the end.
    let arguments = ["--down-limit", "1MB/s", "--no-seed"];
    let mut get = sow::get(&world, SOW, &torrent.magnet(&peers, &[]), &folder, &arguments);

    liar.wait_event("lied");
    liar.wait_event("dropped");
    let attempt = liar.wait_event("came_back");
    assert!(get.runs(), "the download was over before the liar came back, so nothing was shown");
    assert_eq!(attempt["welcome"], Value::Bool(false), "the liar was let in again");

    for seed in &seeds {
        assert!(
            seed.events("peer_error").is_empty(),
            "an honest peer was dropped: {:?}",
            seed.events("peer_error")
        );
    }
    get.wait_success();
    content.assert_copied_to(&folder);
    let from = get.wait_event("complete")["from"].clone();
    for host in HONEST {
        let peer = format!("{}:{}", world.address(host), libtorrent::PORT);
        assert!(from[&peer].as_u64() > Some(0), "nothing came from the honest peer {peer}: {from}");
    }
}
