//! The reference programs without `sow`. When these tests fail, look for the fault there first.

use crate::{
    chunk::{self, Implementation},
    json_torrent::{self, JsonSwarm},
    reference::{self, SENT_CORRUPT, SPELLINGS},
    shared_file::{MIB, SharedFile},
    support::{process::Process, test_network::TestNetwork},
};

#[test]
fn reference_clients_download_from_reference_servers() {
    let network = TestNetwork::new(2);
    for program in ["raw", "framed"] {
        for size in [1, 1024, 1025, 10 * MIB] {
            let shared = SharedFile::file(size);
            let _server = reference::serve(
                &network,
                1,
                &format!("{program} server -f {}", shared.path.display()),
            );
            let out = shared.out("copy");
            let line = format!("{program} client -s {} -o {}", network.address(1), out.display());
            reference::run(&network, 2, &line).wait_success();
            shared.assert_copied_to(&out);
        }
    }
}

#[test]
fn reference_chunk_swarms_complete_in_both_spellings() {
    let network = TestNetwork::new(4);
    for spelling in SPELLINGS {
        for size in chunk::SIZES {
            let shared = SharedFile::file(size);
            let _server = chunk::serve(Implementation::Reference, &network, 1, &shared, spelling);
            let outs: Vec<_> = (2..=4).map(|host| shared.out(&format!("copy{host}"))).collect();
            let mut clients: Vec<Process> = (2..=4)
                .zip(&outs)
                .map(|(host, out)| {
                    chunk::fetch(Implementation::Reference, &network, host, 1, out, spelling)
                })
                .collect();
            for (client, out) in clients.iter_mut().zip(&outs) {
                client.wait_success();
                shared.assert_copied_to(out);
            }
        }
    }
}

#[test]
fn a_reference_json_torrent_swarm_completes() {
    let network = TestNetwork::new(5);
    for size in json_torrent::SIZES {
        let shared = SharedFile::file(size);
        let swarm = JsonSwarm::of_reference(&network, &shared, json_torrent::PIECE);
        let _seeds = [2, 3].map(|host| swarm.reference_seed(host));
        for host in [4, 5] {
            swarm.reference_peer(host, "").wait_success();
            shared.assert_copied_to(&swarm.reference_copy(host));
        }
    }
}

#[test]
fn a_reference_chunk_client_keeps_the_corrupt_chunk() {
    let (network, shared) = (TestNetwork::new(3), SharedFile::file(2 * MIB));
    let _server =
        chunk::serve(Implementation::Reference, &network, 1, &shared, "documented --rate 5e5");
    let (corrupt, receiver) = (shared.out("corrupt"), shared.out("receiver"));
    let mut corrupt_peer = chunk::fetch(
        Implementation::Reference,
        &network,
        2,
        1,
        &corrupt,
        "documented --corrupt --linger 600",
    );
    corrupt_peer.wait_event("complete");
    let mut receiver =
        chunk::fetch(Implementation::Reference, &network, 3, 1, &receiver, "documented");
    assert_eq!(receiver.wait_event("complete")["check"], "ERROR CHECKSUM_NOT_FIT");
    receiver.wait_success();
    assert!(!corrupt_peer.events(SENT_CORRUPT).is_empty(), "no peer asked the corrupt peer");
}

#[test]
fn a_reference_json_peer_disconnects_the_corrupt_peer() {
    let (network, shared) = (TestNetwork::new(4), SharedFile::file(2 * MIB));
    let swarm = JsonSwarm::of_reference(&network, &shared, 32 << 10);
    shared.copy("host2");
    shared.copy("host3");
    let corrupt_peer = swarm.reference_peer(2, "--corrupt");
    // Slow enough that the corrupt peer is asked too, even when it accepts connections late.
    let _seed = swarm.reference_peer(3, "--rate 3e5");
    swarm.reference_peer(4, "").wait_success();
    shared.assert_copied_to(&swarm.reference_copy(4));
    assert!(!corrupt_peer.events(SENT_CORRUPT).is_empty(), "no peer asked the corrupt peer");
}
