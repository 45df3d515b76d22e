//! Pairs and threes (and a few more) under a virtual clock, over thousands of seeds, with faults.

use std::time::Duration;

use sow_engine::{Choking, Dialect, PickOrder};
use sow_sim::{Fault, Faults, Rates, Scenario, World};

fn scenario(dialect: Dialect, seed: u64) -> Scenario {
    let mut rng = fastrand::Rng::with_seed(seed);
    let rates = |rng: &mut fastrand::Rng| Rates {
        up: rng.u64(200_000..20_000_000),
        down: rng.u64(200_000..20_000_000),
        delay: rng.u64(10..20_000),
    };
    let receivers = 1 + rng.usize(..3);
    Scenario {
        dialect,
        total: rng.u64(0..800_000),
        piece_length: 1 << rng.u32(13..18),
        origin: rates(&mut rng),
        receivers: (0..receivers).map(|_| rates(&mut rng)).collect(),
        metadata_known: rng.bool(),
        seed,
        faults: Faults::default(),
        adjust: match seed % 4 {
            0 => |_, _| {},
            1 => |_, config| config.spread = false,
            2 => |_, config| config.choking = Choking::TitForTat,
            _ => |_, config| {
                config.order = PickOrder::InOrder;
                config.open_bytes = 0;
                config.max_block = 16384;
            },
        },
    }
}

fn run(seed: u64, scenario: Scenario) -> World {
    let receivers = scenario.receivers.len();
    let mut world = World::new(scenario);
    let done = world.run(Duration::from_secs(600));
    if let Err(broken) = world.check_complete().and_then(|()| world.check_nothing_twice()) {
        panic!("seed {seed}, {receivers} receivers: {broken}");
    }
    assert!(done, "seed {seed}, {receivers} receivers: not done");
    world
}

#[test]
fn everybody_finishes() {
    for seed in 0..3000 {
        let world = run(seed, scenario(Dialect::BitTorrent, seed));
        world.check_bans(&[]).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
    }
}

#[test]
fn everybody_finishes_whatever_dies_and_breaks() {
    for seed in 10_000..12_000 {
        let mut scenario = scenario(Dialect::BitTorrent, seed);
        let mut rng = fastrand::Rng::with_seed(!seed);
        scenario.faults =
            Faults::random(&mut rng, scenario.receivers.len(), Duration::from_secs(2));
        let world = run(seed, scenario);
        world.check_bans(&[]).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
    }
}

#[test]
fn a_liar_is_found_and_nobody_else_is_blamed() {
    let mut found = 0;
    for seed in 20_000..20_500 {
        let mut scenario = scenario(Dialect::BitTorrent, seed);
        let link = scenario.origin;
        scenario.total = scenario.total.max(100_000);
        scenario.receivers = vec![link; 3];
        // Host 1 gets everything first, and lies to those who come later.
        scenario.faults = Faults::default()
            .at(Duration::ZERO, Fault::Kill(2))
            .at(Duration::ZERO, Fault::Kill(3))
            .at(Duration::from_secs(20), Fault::Lie(1))
            .at(Duration::from_secs(20), Fault::Restart(2))
            .at(Duration::from_secs(20), Fault::Restart(3));
        let world = run(seed, scenario);
        world.check_bans(&[1]).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
        let lied = world.lies_of(1) > 0;
        assert_eq!(
            lied,
            world.bans_of(1) > 0,
            "seed {seed}: a lie is found, the truth is not punished"
        );
        found += usize::from(lied);
    }
    assert!(found > 250, "only {found} of 500 worlds with lies");
}

#[test]
fn everybody_finishes_in_the_documents_protocols() {
    for dialect in [Dialect::Chunk, Dialect::JsonTorrent] {
        for seed in 30_000..31_000 {
            let world = run(seed, scenario(dialect, seed));
            world
                .check_bans(&[])
                .unwrap_or_else(|broken| panic!("{dialect}, seed {seed}: {broken}"));
        }
    }
}

#[test]
fn everybody_finishes_in_the_documents_protocols_whatever_dies_and_breaks() {
    for dialect in [Dialect::Chunk, Dialect::JsonTorrent] {
        for seed in 40_000..41_000 {
            let mut scenario = scenario(dialect, seed);
            let mut rng = fastrand::Rng::with_seed(!seed);
            scenario.faults =
                Faults::random(&mut rng, scenario.receivers.len(), Duration::from_secs(2));
            let world = run(seed, scenario);
            world
                .check_bans(&[])
                .unwrap_or_else(|broken| panic!("{dialect}, seed {seed}: {broken}"));
        }
    }
}

#[test]
fn without_hashes_everybody_ends_with_the_right_file_although_somebody_lies() {
    let mut lies = 0;
    for seed in 50_000..50_500 {
        let mut scenario = scenario(Dialect::Chunk, seed);
        let link = scenario.origin;
        scenario.total = scenario.total.max(100_000);
        scenario.receivers = vec![link; 4];
        scenario.faults = Faults::default().at(Duration::ZERO, Fault::Lie(1));
        lies += run(seed, scenario).lies_of(1);
    }
    assert!(lies > 500, "only {lies} lies");
}

#[test]
fn a_lone_client_goes_on_whatever_it_was_fetching_when_its_connection_broke() {
    let link = Rates { up: 40_000_000, down: 40_000_000, delay: 500 };
    for seed in 50_000..50_020 {
        let mut scenario = scenario(Dialect::Chunk, seed);
        // So long that what follows a hole is soon farther ahead of the sum than it may be.
        (scenario.total, scenario.piece_length) = (160 << 20, 16 << 20);
        (scenario.origin, scenario.receivers) = (link, vec![link]);
        scenario.adjust = |_, _| {};
        let mut rng = fastrand::Rng::with_seed(!seed);
        for _ in 0..3 {
            let when = Duration::from_millis(rng.u64(100..4_000));
            scenario.faults = scenario.faults.at(when, Fault::Cut(rng.usize(..2)));
        }
        run(seed, scenario);
    }
}
