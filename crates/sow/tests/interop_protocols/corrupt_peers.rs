//! A peer that flips one bit of everything that it sends. Every honest client of `sow` still
//! completes with the right file.

use crate::{
    chunk::{self, Implementation},
    json_torrent::JsonSwarm,
    reference::{SENT_CORRUPT, SPELLINGS},
    shared_file::{MIB, SharedFile},
    sow,
    support::{process::Process, test_network::TestNetwork},
};

const CORRUPT_PEER: u8 = 2;
const HONEST: [u8; 3] = [3, 4, 5];

fn assert_sent_corrupt(peer: &Process) {
    assert!(!peer.events(SENT_CORRUPT).is_empty(), "no client asked the corrupt peer");
}

/// A chunk has no hash: only the check of the whole file shows that a chunk is corrupt, and honest
/// clients send it to others until then.
fn complete_despite_a_corrupt_client(server: Implementation, spelling: &str) {
    let (network, shared) = (TestNetwork::new(5), SharedFile::file(4 * MIB));
    let slow = if server == Implementation::Sow { "--up-limit 2MB/s" } else { "--rate 2e6" };
    let _server = chunk::serve(server, &network, 1, &shared, &format!("{spelling} {slow}"));
    let out = shared.out("corrupt");
    let mut corrupt_peer = chunk::fetch(
        Implementation::Reference,
        &network,
        CORRUPT_PEER,
        1,
        &out,
        &format!("{spelling} --corrupt --linger 600"),
    );
    corrupt_peer.wait_event("complete");
    let mut honest = HONEST.map(|host| {
        let out = shared.out(&format!("honest{host}"));
        let option = spelling.to_string();
        (chunk::fetch(Implementation::Sow, &network, host, 1, &out, &option), out)
    });
    for (client, out) in &mut honest {
        client.wait_event("complete");
        shared.assert_copied_to(out);
    }
    assert_sent_corrupt(&corrupt_peer);
}

#[test]
fn chunk_clients_complete_around_a_sow_server() {
    SPELLINGS
        .into_iter()
        .for_each(|spelling| complete_despite_a_corrupt_client(Implementation::Sow, spelling));
}

#[test]
fn chunk_clients_complete_around_a_reference_server() {
    SPELLINGS.into_iter().for_each(|spelling| {
        complete_despite_a_corrupt_client(Implementation::Reference, spelling)
    });
}

#[test]
fn json_torrent_peers_complete() {
    const SEED: u8 = 6;
    let (network, shared) = (TestNetwork::new(6), SharedFile::file(4 * MIB));
    let swarm = JsonSwarm::of_reference(&network, &shared, 32 << 10);
    shared.copy(&format!("host{CORRUPT_PEER}"));
    let corrupt_peer = swarm.reference_peer(CORRUPT_PEER, "--corrupt");
    let _seed = swarm.sow_seed(SEED, "--up-limit 1MB/s");
    let mut honest = HONEST.map(|host| (swarm.sow_peer(host, ""), swarm.sow_copy(host)));
    for (peer, copy) in &mut honest {
        let complete = peer.wait_event("complete");
        shared.assert_copied_to(copy);
        assert_eq!(
            sow::bytes_from(&complete, &swarm.name(CORRUPT_PEER)),
            0,
            "corrupt pieces are counted: {complete}"
        );
        let from = complete["from"].as_object().expect("bytes by peer");
        let total: u64 = from.values().filter_map(serde_json::Value::as_u64).sum();
        assert_eq!(total, shared.size(), "every right piece is counted once: {complete}");
    }
    assert_sent_corrupt(&corrupt_peer);
}
