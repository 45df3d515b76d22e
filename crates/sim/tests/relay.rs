//! Crowds whose origin names parents for its receivers: how close the last receiver comes to the
//! bound, and that every receiver completes whatever fails.

use std::time::Duration;

use sow_engine::Dialect;
use sow_sim::{Conditions, Faults, LinkConfig, Scenario, World, random_swarm};

/// Bytes per second of a 10 Mbit/s link, headers included.
const LINK_RATE: u64 = 1_250_000;
const CONTENT_BYTES: u64 = 10_000_000;

fn crowd(receivers: usize, relays: bool) -> World {
    let delay = Duration::from_micros(500);
    let link = LinkConfig { upload_rate: LINK_RATE, download_rate: LINK_RATE, delay };
    let mut world = World::new(Scenario {
        dialect: Dialect::BitTorrent,
        total: CONTENT_BYTES,
        piece_length: 32 * 1024,
        origin: link,
        receivers: vec![link; receivers],
        metadata_known: false,
        seed: 1,
        faults: Faults::default(),
        conditions: Conditions::default(),
        hostile: Vec::new(),
        flood_rate: 0,
        adjust: if relays { |_, config| config.relays = true } else { |_, _| {} },
    });
    assert!(world.run(Duration::from_secs(120)), "{receivers} receivers: not complete");
    world.check_complete().unwrap();
    world.check_no_piece_stored_twice().unwrap();
    world.check_requests().unwrap();
    world
}

#[test]
fn trees_are_nearer_to_the_bound_than_the_free_for_all_the_more_so_in_large_crowds() {
    let bound = CONTENT_BYTES as f64 / LinkConfig::payload_rate(LINK_RATE);
    let distance = |world: &World| world.last_completion_seconds().unwrap() / bound;
    for (receivers, limit) in [(1, 1.03), (5, 1.2), (20, 1.22)] {
        let world = crowd(receivers, true);
        let ratio = distance(&world);
        println!("N={receivers}: {ratio:.3}");
        assert!(ratio < limit, "{receivers} receivers: {ratio:.3}");
        assert!(world.copies_sent_by_origin() < 1.03, "{}", world.copies_sent_by_origin());
        world.check_fairness(120).unwrap();
        world.check_traffic(3.0, 0.5).unwrap();
    }
    let (trees, free) = (distance(&crowd(40, true)), distance(&crowd(40, false)));
    println!("N=40: trees {trees:.3}, free-for-all {free:.3}");
    assert!(trees + 0.05 < free, "trees {trees:.3}, free-for-all {free:.3}");
}

#[test]
fn every_receiver_completes_in_spite_of_faults() {
    for seed in 0..600 {
        let mut scenario = Scenario {
            dialect: Dialect::BitTorrent,
            hostile: Vec::new(),
            adjust: |_, config| config.relays = true,
            ..random_swarm(seed)
        };
        let mut rng = fastrand::Rng::with_seed(!seed);
        let receivers = scenario.receivers.len();
        scenario.faults = Faults::random(&mut rng, receivers, Duration::from_secs(2));
        let mut world = World::new(scenario);
        let is_done = world.run(Duration::from_secs(600));
        let checked = world.check_complete().and_then(|()| world.check_no_piece_stored_twice());
        if let Err(violation) = checked.and_then(|()| world.check_bans(&[])) {
            panic!("seed {seed}, {receivers} receivers: {violation}");
        }
        assert!(is_done, "seed {seed}, {receivers} receivers: not complete");
    }
}
