//! The naive programs without `sow`: when these fail, look there first.

use crate::{
    chunk::{self, Kind},
    json_torrent::{self, Network},
    naive::{self, SPELLINGS},
    process::Process,
    shared::{MIB, Shared},
    world::World,
};

#[test]
fn client_and_server() {
    let world = World::new(2);
    for program in ["raw", "framed"] {
        for size in [1, 1024, 1025, 10 * MIB] {
            let shared = Shared::file(size);
            let _server =
                naive::serve(&world, 1, &format!("{program} server -f {}", shared.path.display()));
            let out = shared.out("copy");
            let line = format!("{program} client -s {} -o {}", world.address(1), out.display());
            naive::run(&world, 2, &line).wait_success();
            shared.assert_copied_to(&out);
        }
    }
}

#[test]
fn chunk_swarms_in_both_spellings() {
    let world = World::new(4);
    for spelling in SPELLINGS {
        for size in chunk::SIZES {
            let shared = Shared::file(size);
            let _server = chunk::serve(Kind::Naive, &world, 1, &shared, spelling);
            let outs: Vec<_> = (2..=4).map(|host| shared.out(&format!("copy{host}"))).collect();
            let mut clients: Vec<Process> = (2..=4)
                .zip(&outs)
                .map(|(host, out)| chunk::fetch(Kind::Naive, &world, host, 1, out, spelling))
                .collect();
            for (client, out) in clients.iter_mut().zip(&outs) {
                client.wait_success();
                shared.assert_copied_to(out);
            }
        }
    }
}

#[test]
fn json_torrent_network() {
    let world = World::new(5);
    for size in json_torrent::SIZES {
        let shared = Shared::file(size);
        let network = Network::of_naive(&world, &shared, json_torrent::PIECE);
        let _seeds = [2, 3].map(|host| network.naive_seed(host));
        for host in [4, 5] {
            network.naive_peer(host, "").wait_success();
            shared.assert_copied_to(&network.naive_copy(host));
        }
    }
}

#[test]
fn a_naive_chunk_client_ends_with_what_the_liar_passed_on() {
    let (world, shared) = (World::new(3), Shared::file(2 * MIB));
    let _server = chunk::serve(Kind::Naive, &world, 1, &shared, "documented --rate 5e5");
    let (liar, victim) = (shared.out("liar"), shared.out("victim"));
    let mut liar =
        chunk::fetch(Kind::Naive, &world, 2, 1, &liar, "documented --corrupt --linger 600");
    liar.wait_event("complete");
    let mut victim = chunk::fetch(Kind::Naive, &world, 3, 1, &victim, "documented");
    assert_eq!(victim.wait_event("complete")["check"], "ERROR CHECKSUM_NOT_FIT");
    victim.wait_success();
    assert!(!liar.events("lied").is_empty(), "nobody asked the liar");
}

#[test]
fn a_naive_json_peer_leaves_the_liar() {
    let (world, shared) = (World::new(4), Shared::file(2 * MIB));
    let network = Network::of_naive(&world, &shared, 32 << 10);
    shared.copy("host2");
    shared.copy("host3");
    let liar = network.naive_peer(2, "--corrupt");
    // So slow that the liar is asked too, however late it takes the call.
    let _seed = network.naive_peer(3, "--rate 3e5");
    network.naive_peer(4, "").wait_success();
    shared.assert_copied_to(&network.naive_copy(4));
    assert!(!liar.events("lied").is_empty(), "nobody asked the liar");
}
