//! A peer that passes on nothing without one bit wrong. Every honest client of `sow` ends with the
//! right file.

use crate::{
    chunk::{self, Kind},
    json_torrent::Network,
    naive::SPELLINGS,
    process::Process,
    shared::{MIB, Shared},
    sow,
    world::World,
};

const LIAR: u8 = 2;
const HONEST: [u8; 3] = [3, 4, 5];

fn assert_lied(liar: &Process) {
    assert!(!liar.events("lied").is_empty(), "nobody asked the liar, so nothing was shown");
}

/// There is no hash of a chunk: only the check at the end tells that something is wrong, and honest
/// clients pass it on until then.
fn a_chunk_client_lies(server: Kind, spelling: &str) {
    let (world, shared) = (World::new(5), Shared::file(4 * MIB));
    let slow = if server == Kind::Sow { "--up-limit 2MB/s" } else { "--rate 2e6" };
    let _server = chunk::serve(server, &world, 1, &shared, &format!("{spelling} {slow}"));
    let out = shared.out("liar");
    let mut liar = chunk::fetch(
        Kind::Naive,
        &world,
        LIAR,
        1,
        &out,
        &format!("{spelling} --corrupt --linger 600"),
    );
    liar.wait_event("complete");
    let mut honest = HONEST.map(|host| {
        let out = shared.out(&format!("honest{host}"));
        let option = format!("{spelling} --seed-for 60s");
        (chunk::fetch(Kind::Sow, &world, host, 1, &out, &option), out)
    });
    for (client, out) in &mut honest {
        client.wait_event("complete");
        shared.assert_copied_to(out);
    }
    assert_lied(&liar);
}

#[test]
fn in_chunk_around_a_sow_server() {
    SPELLINGS.into_iter().for_each(|spelling| a_chunk_client_lies(Kind::Sow, spelling));
}

#[test]
fn in_chunk_around_a_naive_server() {
    SPELLINGS.into_iter().for_each(|spelling| a_chunk_client_lies(Kind::Naive, spelling));
}

#[test]
fn in_json_torrent() {
    const SEED: u8 = 6;
    let (world, shared) = (World::new(6), Shared::file(4 * MIB));
    let network = Network::of_naive(&world, &shared, 32 << 10);
    shared.copy(&format!("host{LIAR}"));
    let liar = network.naive_peer(LIAR, "--corrupt");
    let _seed = network.sow_seed(SEED, "--up-limit 2MB/s");
    let mut honest =
        HONEST.map(|host| (network.sow_peer(host, "--seed-for 60s"), network.sow_copy(host)));
    for (peer, copy) in &mut honest {
        let complete = peer.wait_event("complete");
        shared.assert_copied_to(copy);
        assert_eq!(
            sow::bytes_from(&complete, &network.name(LIAR)),
            0,
            "it counts what was wrong: {complete}"
        );
        let from = complete["from"].as_object().expect("bytes by peer");
        let total: u64 = from.values().filter_map(serde_json::Value::as_u64).sum();
        assert_eq!(total, shared.size(), "what is right, and nothing twice: {complete}");
    }
    assert_lied(&liar);
}
