//! One origin and receivers that start together over equal links: how close the last receiver comes
//! to the lower bound, and how much the origin uploads.

use std::time::Duration;

use sow_engine::Dialect;
use sow_sim::{Conditions, Faults, LinkConfig, Scenario, World};

/// Bytes per second of a 10 Mbit/s link, headers included.
const LINK_RATE: u64 = 1_250_000;
const CONTENT_BYTES: u64 = 10_000_000;

fn crowd(dialect: Dialect, receivers: usize, seed: u64) -> World {
    let piece_length = if dialect == Dialect::BitTorrent { 32 * 1024 } else { 128 * 1024 };
    crowd_with_piece_length(dialect, piece_length, receivers, seed)
}

fn crowd_with_piece_length(
    dialect: Dialect,
    piece_length: u32,
    receivers: usize,
    seed: u64,
) -> World {
    let delay = Duration::from_micros(500);
    let link = LinkConfig { upload_rate: LINK_RATE, download_rate: LINK_RATE, delay };
    World::new(Scenario {
        dialect,
        total: CONTENT_BYTES,
        piece_length,
        origin: link,
        receivers: vec![link; receivers],
        metadata_known: false,
        seed,
        faults: Faults::default(),
        conditions: Conditions::default(),
        hostile: Vec::new(),
        flood_rate: 0,
        adjust: |_, _| {},
    })
}

/// The time of the last receiver as a multiple of the lower bound of Kumar and Ross,
/// `max(F/us, F/d, N F/(us + sum of u))`.
fn ratio_to_bound(world: &World, receivers: usize) -> f64 {
    let one_copy = CONTENT_BYTES as f64 / LinkConfig::payload_rate(LINK_RATE);
    let bound = one_copy.max(receivers as f64 * one_copy / (1.0 + receivers as f64));
    world.last_completion_seconds().expect("every receiver completed") / bound
}

#[test]
fn the_last_receiver_is_near_the_bound_and_the_origin_uploads_little_twice() {
    for (receivers, limit) in [(1, 1.02), (2, 1.06), (5, 1.08), (20, 1.24)] {
        for seed in 0..3 {
            let mut world = crowd(Dialect::BitTorrent, receivers, seed);
            assert!(
                world.run(Duration::from_secs(120)),
                "{receivers} receivers, seed {seed}: not complete"
            );
            world.check_complete().unwrap();
            world.check_no_piece_stored_twice().unwrap();
            world.check_requests().unwrap();
            world.check_fairness(130).unwrap();
            world.check_traffic(5.0, 1.5).unwrap();
            let ratio = ratio_to_bound(&world, receivers);
            let copies = world.copies_sent_by_origin();
            let wasted = world.wasted_bytes();
            println!(
                "N={receivers} seed {seed}: {ratio:.3} of the bound, \
                 origin sent {copies:.3}, wasted {wasted}",
            );
            assert!(ratio < limit, "{receivers} receivers, seed {seed}: {ratio:.3}");
            let received = receivers as u64 * CONTENT_BYTES;
            assert!(wasted * 1000 < 15 * received, "{receivers} receivers, seed {seed}: {wasted}");
        }
    }
}

#[test]
fn chunk_and_json_torrent_are_near_the_bound_too() {
    for dialect in [Dialect::Chunk, Dialect::JsonTorrent] {
        for (receivers, limit) in [(1, 1.05), (2, 1.17), (5, 1.27), (20, 1.8)] {
            for seed in 0..3 {
                let mut world = crowd(dialect, receivers, seed);
                assert!(
                    world.run(Duration::from_secs(120)),
                    "{receivers} receivers, seed {seed}: not complete"
                );
                world.check_complete().unwrap();
                let ratio = ratio_to_bound(&world, receivers);
                let copies = world.copies_sent_by_origin();
                println!(
                    "{dialect}, N={receivers} seed {seed}: {ratio:.3} of the bound, \
                     origin sent {copies:.3}"
                );
                assert!(ratio < limit, "{dialect}, {receivers} receivers, seed {seed}: {ratio:.3}");
            }
        }
    }
}

#[test]
fn many_small_pieces_are_shared_as_well_as_large_ones() {
    for (dialect, limit) in [(Dialect::Chunk, 1.15), (Dialect::JsonTorrent, 1.15)] {
        for seed in 0..2 {
            let mut world = crowd_with_piece_length(dialect, 8 * 1024, 5, seed);
            assert!(world.run(Duration::from_secs(120)), "{dialect}, seed {seed}: not complete");
            world.check_complete().unwrap();
            let ratio = ratio_to_bound(&world, 5);
            let copies = world.copies_sent_by_origin();
            println!(
                "{dialect}, small pieces, seed {seed}: {ratio:.3} of the bound, \
                 origin sent {copies:.3}"
            );
            assert!(ratio < limit, "{dialect}, seed {seed}: {ratio:.3}");
        }
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let run = |threads| {
        let delay = Duration::from_millis(5);
        let link = LinkConfig { upload_rate: LINK_RATE, download_rate: LINK_RATE, delay };
        let mut world = World::new(Scenario {
            dialect: Dialect::BitTorrent,
            total: 100_000,
            piece_length: 16 * 1024,
            origin: link,
            receivers: vec![link; 50],
            metadata_known: false,
            seed: 1,
            faults: Faults::default(),
            conditions: Conditions { lost_dials_per_mille: 100, ..Conditions::default() },
            hostile: Vec::new(),
            flood_rate: 0,
            adjust: |_, _| {},
        });
        world.set_threads(threads);
        assert!(world.run(Duration::from_secs(60)));
        (world.completion_seconds(), world.traffic())
    };
    assert_eq!(run(1), run(3));
}
