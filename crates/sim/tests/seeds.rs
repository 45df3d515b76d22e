//! Small swarms under a virtual clock, over thousands of seeds, with and without faults. A failure
//! names its seed.

use std::time::Duration;

use sow_engine::Dialect;
use sow_sim::{
    Fault, Faults, LinkConfig, Scenario, World, check_random_swarm,
    churn::{Swarm, judge_churn, run_churn},
    random_swarm,
};

/// The random swarm of a seed in a dialect, without faults and misbehaving hosts.
fn scenario(dialect: Dialect, seed: u64) -> Scenario {
    let (faults, hostile) = (Faults::default(), Vec::new());
    Scenario { dialect, faults, hostile, ..random_swarm(seed) }
}

fn run(seed: u64, scenario: Scenario) -> World {
    let receivers = scenario.receivers.len();
    let mut world = World::new(scenario);
    let done = world.run(Duration::from_secs(600));
    if let Err(violation) =
        world.check_complete().and_then(|()| world.check_no_piece_stored_twice())
    {
        panic!("seed {seed}, {receivers} receivers: {violation}");
    }
    assert!(done, "seed {seed}, {receivers} receivers: not complete");
    world
}

#[test]
fn every_receiver_completes() {
    for seed in 0..3000 {
        let world = run(seed, scenario(Dialect::BitTorrent, seed));
        world.check_bans(&[]).unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
    }
}

#[test]
fn every_receiver_completes_in_spite_of_faults() {
    for seed in 10_000..12_000 {
        let mut scenario = scenario(Dialect::BitTorrent, seed);
        let mut rng = fastrand::Rng::with_seed(!seed);
        scenario.faults =
            Faults::random(&mut rng, scenario.receivers.len(), Duration::from_secs(2));
        let world = run(seed, scenario);
        world.check_bans(&[]).unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
    }
}

#[test]
fn a_peer_that_sends_corrupt_blocks_is_banned_and_no_other() {
    let mut worlds_with_bans = 0;
    for seed in 20_000..20_500 {
        let mut scenario = scenario(Dialect::BitTorrent, seed);
        let link = scenario.origin;
        scenario.total = scenario.total.max(100_000);
        scenario.receivers = vec![link; 3];
        // Host 1 completes first, and then sends corrupt blocks to the hosts that start later.
        scenario.faults = Faults::default()
            .at(Duration::ZERO, Fault::Kill(2))
            .at(Duration::ZERO, Fault::Kill(3))
            .at(Duration::from_secs(20), Fault::CorruptUploads(1))
            .at(Duration::from_secs(20), Fault::Restart(2))
            .at(Duration::from_secs(20), Fault::Restart(3));
        let world = run(seed, scenario);
        world.check_bans(&[1]).unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
        let was_corrupt = world.corrupt_blocks_accepted_from(1) > 0;
        assert_eq!(
            was_corrupt,
            world.hosts_that_banned(1) > 0,
            "seed {seed}: host 1 is banned if and only if it sent a corrupt block"
        );
        worlds_with_bans += usize::from(was_corrupt);
    }
    assert!(worlds_with_bans > 250, "only {worlds_with_bans} of 500 worlds had a corrupt block");
}

#[test]
fn every_receiver_completes_with_chunk_and_json_torrent() {
    for dialect in [Dialect::Chunk, Dialect::JsonTorrent] {
        for seed in 30_000..31_000 {
            let world = run(seed, scenario(dialect, seed));
            world
                .check_bans(&[])
                .unwrap_or_else(|violation| panic!("{dialect}, seed {seed}: {violation}"));
        }
    }
}

#[test]
fn every_receiver_completes_with_chunk_and_json_torrent_in_spite_of_faults() {
    for dialect in [Dialect::Chunk, Dialect::JsonTorrent] {
        for seed in 40_000..41_000 {
            let mut scenario = scenario(dialect, seed);
            let mut rng = fastrand::Rng::with_seed(!seed);
            scenario.faults =
                Faults::random(&mut rng, scenario.receivers.len(), Duration::from_secs(2));
            let world = run(seed, scenario);
            world
                .check_bans(&[])
                .unwrap_or_else(|violation| panic!("{dialect}, seed {seed}: {violation}"));
        }
    }
}

#[test]
fn every_receiver_of_empty_content_completes() {
    for dialect in [Dialect::BitTorrent, Dialect::Chunk, Dialect::JsonTorrent] {
        for seed in 60_000..60_100 {
            // One in four has no misbehaving hosts, and half have no faults.
            let scenario = Scenario { dialect, total: 0, ..random_swarm(seed) };
            run(seed, scenario);
        }
    }
}

#[test]
fn without_piece_hashes_every_receiver_gets_the_right_file_in_spite_of_corrupt_blocks() {
    let mut corrupt_blocks = 0;
    for seed in 50_000..50_500 {
        let mut scenario = scenario(Dialect::Chunk, seed);
        let link = scenario.origin;
        scenario.total = scenario.total.max(100_000);
        scenario.receivers = vec![link; 4];
        scenario.faults = Faults::default().at(Duration::ZERO, Fault::CorruptUploads(1));
        corrupt_blocks += run(seed, scenario).corrupt_blocks_accepted_from(1);
    }
    assert!(corrupt_blocks > 500, "only {corrupt_blocks} corrupt blocks");
}

#[test]
fn a_single_client_continues_after_its_connection_broke_during_any_request() {
    let delay = Duration::from_micros(500);
    let link = LinkConfig { upload_rate: 40_000_000, download_rate: 40_000_000, delay };
    for seed in 50_000..50_020 {
        let mut scenario = scenario(Dialect::Chunk, seed);
        // So long that the chunks after a gap are soon farther ahead of the digest than is allowed.
        (scenario.total, scenario.piece_length) = (160 << 20, 16 << 20);
        (scenario.origin, scenario.receivers) = (link, vec![link]);
        scenario.adjust = |_, _| {};
        let mut rng = fastrand::Rng::with_seed(!seed);
        for _ in 0..3 {
            let when = Duration::from_millis(rng.u64(100..4_000));
            scenario.faults = scenario.faults.at(when, Fault::BreakConnection(rng.usize(..2)));
        }
        run(seed, scenario);
    }
}

#[test]
fn whatever_hosts_do_honest_receivers_complete_in_time_and_none_is_blamed() {
    // The first four of the last ones took 10 to 24 s when a late copy of a request kept others
    // from being asked; the content of 375471 is empty; in the next two a flood of requests slowed
    // uploads down; in 878620 a chunk was asked for again while it was stored; in the last two what
    // floods were sent, and sent without a request, filled a downlink.
    let found = [2333, 3483, 4212, 30319, 375_471, 151_188, 328_544, 878_620, 869_652, 944_085];
    for seed in (0..600).chain(found) {
        if let Err(failure) = check_random_swarm(seed) {
            panic!(
                "{failure}; again: \
                 cargo run --release -p sow-sim --example swarms -- {seed} {}",
                seed + 1
            );
        }
    }
}

#[test]
fn in_a_churn_every_receiver_completes_in_time_beside_misbehaving_hosts() {
    let span = Duration::from_secs(240);
    let run = |swarm| run_churn(1, span, swarm, |_| {}).unwrap();
    let (with, without) = (run(Swarm::Hostile), run(Swarm::Control));
    assert!(with.downloads.len() > 30 && with.samples.len() == 4);
    assert_eq!(judge_churn(&with, &without, span), []);
}
