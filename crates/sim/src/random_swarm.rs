//! Small swarms with random links, settings, faults and misbehaving hosts, each the function of a
//! seed, and what must hold in all of them. What a world does is not decided here.

use std::time::Duration;

use sow_engine::{Choking, Dialect, PickOrder};

use crate::{
    checkers::Violation,
    conditions::Conditions,
    faults::Faults,
    host_link::LinkConfig,
    hostile::HostileKind,
    item::HostId,
    world::{Scenario, World},
};

/// Simulated time after which a swarm counts as stuck.
const TIME_LIMIT: Duration = Duration::from_secs(240);

/// Within this time hosts are killed and connections break.
const FAULT_SPAN: Duration = Duration::from_secs(2);

/// The most that misbehaving hosts may add to the time of a swarm: half of it, and this much for
/// the timeouts that show what they are.
const TIME_ALLOWANCE: Duration = Duration::from_secs(10);

/// What went wrong in a random swarm.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Failure {
    /// Not all receivers completed in time.
    #[error("not complete after {} s", TIME_LIMIT.as_secs())]
    Stuck,
    /// A checker found something.
    #[error("{0}")]
    Violated(#[from] Violation),
    /// It took too long, in milliseconds, beside the same swarm without misbehaving hosts.
    #[error("{with} ms with misbehaving hosts, {without} ms without")]
    Slow {
        /// The time of the last receiver.
        with: u64,
        /// The same without misbehaving hosts.
        without: u64,
    },
}

/// A swarm of one to three receivers with faults in half of all seeds, and up to four misbehaving
/// hosts in three quarters.
pub fn random_swarm(seed: u64) -> Scenario {
    let mut rng = fastrand::Rng::with_seed(seed);
    let link = |rng: &mut fastrand::Rng| LinkConfig {
        upload_rate: rng.u64(200_000..20_000_000),
        download_rate: rng.u64(200_000..20_000_000),
        delay: Duration::from_micros(rng.u64(10..20_000)),
    };
    let dialect = match rng.u8(..5) {
        0 => Dialect::Chunk,
        1 => Dialect::JsonTorrent,
        _ => Dialect::BitTorrent,
    };
    let receivers = 1 + rng.usize(..3);
    let hostile = if rng.u8(..4) == 0 { 0 } else { rng.usize(1..5) };
    let faults = match rng.bool() {
        true => Faults::random(&mut rng, receivers, FAULT_SPAN),
        false => Faults::default(),
    };
    Scenario {
        dialect,
        total: rng.u64(0..800_000),
        piece_length: 1 << rng.u32(13..18),
        origin: link(&mut rng),
        receivers: (0..receivers).map(|_| link(&mut rng)).collect(),
        metadata_known: rng.bool(),
        seed,
        faults,
        conditions: Conditions::default(),
        hostile: (0..hostile)
            .map(|_| {
                let kind = HostileKind::ALL[rng.usize(..HostileKind::ALL.len())];
                (kind, link(&mut rng))
            })
            .collect(),
        flood_rate: [8, 40, 400][rng.usize(..3)],
        adjust: match rng.u8(..4) {
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

/// Runs a random swarm and checks everything that must hold in it.
///
/// # Errors
/// The error says what does not hold.
///
/// # Panics
/// When an engine does, or it serves what it does not have.
pub fn check_random_swarm(seed: u64) -> Result<(), Failure> {
    let scenario = random_swarm(seed);
    let receivers = scenario.receivers.len();
    let corrupting: Vec<HostId> =
        (receivers + 1..).zip(&scenario.hostile).map(|(id, _)| id).collect();
    let has_hashes = scenario.dialect != Dialect::Chunk;
    let control = (!scenario.hostile.is_empty() && scenario.faults.is_empty())
        .then(|| Scenario { hostile: Vec::new(), ..scenario.clone() });
    let mut world = World::new(scenario);
    let is_done = world.run(TIME_LIMIT);
    world.check_sizes()?;
    if has_hashes {
        // Without hashes a peer passes on what it has not proved yet.
        world.check_bans(&corrupting)?;
        world.check_blames()?;
        world.check_no_piece_stored_twice()?;
    }
    if !is_done {
        return Err(Failure::Stuck);
    }
    world.check_complete()?;
    if let Some(control) = control {
        check_time(&world, control)?;
    }
    Ok(())
}

fn check_time(world: &World, control: Scenario) -> Result<(), Failure> {
    let mut without = World::new(control);
    without.run(TIME_LIMIT);
    let (with, without) = (world.now().0 / 1000, without.now().0 / 1000);
    if with > without * 3 / 2 + TIME_ALLOWANCE.as_millis() as u64 {
        return Err(Failure::Slow { with, without });
    }
    Ok(())
}
