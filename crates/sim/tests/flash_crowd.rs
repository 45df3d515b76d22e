//! One origin and receivers that start together, over equal links: how far from the bound, and what
//! it costs.

use std::time::Duration;

use sow_engine::Dialect;
use sow_sim::{Faults, Rates, Scenario, World};

/// Payload bytes a second of a 10 Mbit/s Ethernet link.
const RATE: u64 = 1_196_000;

fn crowd(dialect: Dialect, receivers: usize, seed: u64) -> World {
    let piece_length = if dialect == Dialect::BitTorrent { 32 * 1024 } else { 128 * 1024 };
    crowd_in_pieces(dialect, piece_length, receivers, seed)
}

fn crowd_in_pieces(dialect: Dialect, piece_length: u32, receivers: usize, seed: u64) -> World {
    let link = Rates { up: RATE, down: RATE, delay: 500 };
    World::new(Scenario {
        dialect,
        total: 10_000_000,
        piece_length,
        origin: link,
        receivers: vec![link; receivers],
        metadata_known: false,
        seed,
        faults: Faults::default(),
        adjust: |_, _| {},
    })
}

/// Last receiver over `max(F/us, F/d, N F/(us + sum of u))` (Kumar and Ross).
fn over_bound(world: &World, receivers: usize) -> f64 {
    let one = 10_000_000.0 / RATE as f64;
    let bound = one.max(receivers as f64 * one / (1.0 + receivers as f64));
    world.last().expect("everybody finished") / bound
}

#[test]
fn the_last_receiver_is_near_the_bound_and_the_origin_sends_little_twice() {
    for (receivers, limit) in [(1, 1.02), (2, 1.06), (5, 1.08), (20, 1.18)] {
        for seed in 0..3 {
            let mut world = crowd(Dialect::BitTorrent, receivers, seed);
            assert!(
                world.run(Duration::from_secs(120)),
                "{receivers} receivers, seed {seed}: never done"
            );
            world.check_complete().unwrap();
            world.check_nothing_twice().unwrap();
            let ratio = over_bound(&world, receivers);
            let sent = world.origin_sent();
            println!(
                "N={receivers} seed {seed}: {ratio:.3} of the bound, origin sent {sent:.3}, wasted {}",
                world.wasted()
            );
            assert!(ratio < limit, "{receivers} receivers, seed {seed}: {ratio:.3}");
        }
    }
}

#[test]
fn the_documents_protocols_are_near_the_bound_too() {
    for dialect in [Dialect::Chunk, Dialect::JsonTorrent] {
        for (receivers, limit) in [(1, 1.05), (2, 1.15), (5, 1.25), (20, 1.75)] {
            for seed in 0..3 {
                let mut world = crowd(dialect, receivers, seed);
                assert!(
                    world.run(Duration::from_secs(120)),
                    "{receivers} receivers, seed {seed}: never done"
                );
                world.check_complete().unwrap();
                let (ratio, sent) = (over_bound(&world, receivers), world.origin_sent());
                println!(
                    "{dialect}, N={receivers} seed {seed}: {ratio:.3} of the bound, origin sent {sent:.3}"
                );
                assert!(ratio < limit, "{dialect}, {receivers} receivers, seed {seed}: {ratio:.3}");
            }
        }
    }
}

#[test]
fn many_small_pieces_are_shared_out_as_well() {
    for (dialect, limit) in [(Dialect::Chunk, 1.15), (Dialect::JsonTorrent, 1.15)] {
        for seed in 0..2 {
            let mut world = crowd_in_pieces(dialect, 8 * 1024, 5, seed);
            assert!(world.run(Duration::from_secs(120)), "{dialect}, seed {seed}: never done");
            world.check_complete().unwrap();
            let (ratio, sent) = (over_bound(&world, 5), world.origin_sent());
            println!(
                "{dialect}, small pieces, seed {seed}: {ratio:.3} of the bound, origin sent {sent:.3}"
            );
            assert!(ratio < limit, "{dialect}, seed {seed}: {ratio:.3}");
        }
    }
}
