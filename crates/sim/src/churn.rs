//! A swarm in which hosts join and leave all the time and a part of them misbehaves, for hours of
//! simulated time: its records, and what must hold in them. The control is the same schedule
//! without misbehaving hosts.

use std::time::Duration;

use sow_engine::{Dialect, Engine, StateSize, Time};

use crate::{
    checkers::Violation,
    conditions::Conditions,
    faults::Faults,
    host_link::LinkConfig,
    hostile::HostileKind,
    item::HostId,
    world::{Scenario, World},
};

/// The content: 4 MB, which one host receives in four seconds.
const TOTAL: u64 = 4_000_000;
const PIECE_LENGTH: u32 = 64 * 1024;

/// Bytes per second of a host's link, in each direction.
const LINK_RATE: u64 = 1_000_000;

/// Honest receivers that are there at a time, in the mean, and how long each stays after it
/// completed.
const RECEIVERS: u64 = 18;
const MEAN_STAY: Duration = Duration::from_secs(60);

/// How long a misbehaving host stays.
const HOSTILE_STAY: Duration = Duration::from_secs(120);

/// Messages a second of a flood.
const FLOOD_RATE: u32 = 40;

/// The most that a receiver may take, beside half as much again as without misbehaving hosts: the
/// timeouts that show what a peer is.
const TIME_ALLOWANCE: Duration = Duration::from_secs(15);

/// The interval of samples.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(60);

/// What the engines of a swarm hold at a time.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// When.
    pub at: Time,
    /// Honest receivers that are there.
    pub receivers: usize,
    /// Misbehaving hosts that are there.
    pub hostile: usize,
    /// What the origin holds.
    pub origin: StateSize,
    /// The most that a receiver holds, each number by itself.
    pub largest: StateSize,
}

/// One honest receiver that completed, or did not.
#[derive(Debug, Clone, Copy)]
pub struct Download {
    /// When it joined.
    pub joined: Time,
    /// How long it took; `None` when it left, or the run ended, before it completed.
    pub took: Option<Duration>,
    /// It was killed before it completed, and started again.
    pub was_killed: bool,
}

/// The records of one swarm.
#[derive(Debug, Clone, Default)]
pub struct Records {
    /// In order of time.
    pub samples: Vec<Sample>,
    /// In the order in which they joined.
    pub downloads: Vec<Download>,
}

/// What is wrong in the records of a churn.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ChurnFailure {
    /// A checker found something.
    #[error("{0}")]
    Violated(#[from] Violation),
    /// A receiver took too long.
    #[error("the receiver that joined at {joined} s took {with} ms, beside {without} ms")]
    Slow {
        /// When it joined, in seconds.
        joined: u64,
        /// How long it took, in milliseconds.
        with: u64,
        /// The same without misbehaving hosts.
        without: u64,
    },
    /// A receiver has not completed after [`MAX_DOWNLOAD_TIME`].
    #[error("the receiver that joined at {joined} s is not complete after five minutes")]
    Stuck {
        /// When it joined, in seconds.
        joined: u64,
    },
    /// What engines hold grew.
    #[error("the {what} grew from {early} to {late}")]
    Growing {
        /// What grew.
        what: &'static str,
        /// The most in the second quarter of the time.
        early: usize,
        /// The most in the last quarter.
        late: usize,
    },
}

/// After this time a receiver counts as stuck, and its place is given to another.
pub const MAX_DOWNLOAD_TIME: Duration = Duration::from_secs(300);

/// An honest receiver that is there.
struct Receiver {
    id: HostId,
    number: usize,
    stays: Duration,
    leaves_at: Option<Time>,
}

/// Something that the schedule of a churn does.
enum Step {
    Join { stays: Duration, kill_after: Option<Duration> },
    Hostile(HostileKind),
    Sample,
}

/// Which of the swarms that have the same schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swarm {
    /// A tenth of the hosts misbehaves.
    Hostile,
    /// The same without misbehaving hosts.
    Control,
    /// The control with other random choices of the engines: what chance alone does.
    SecondControl,
}

/// Runs a churn for `span` of simulated time, and checks the bytes, the bans and the sizes at each
/// sample. `on_sample` is called with each.
///
/// # Errors
/// When a checker finds something.
pub fn run_churn(
    seed: u64,
    span: Duration,
    swarm: Swarm,
    mut on_sample: impl FnMut(&Sample),
) -> Result<Records, ChurnFailure> {
    let with_hostile = swarm == Swarm::Hostile;
    let mut churn = Churn::new(if swarm == Swarm::SecondControl { !seed } else { seed });
    for (at, step) in schedule(seed, span) {
        churn.run_until(at);
        match step {
            Step::Join { stays, kill_after } => churn.join(stays, kill_after),
            Step::Hostile(kind) if with_hostile => churn.add_hostile(kind),
            Step::Hostile(_) => {}
            Step::Sample => {
                churn.world.check_sizes()?;
                churn.world.check_blames()?;
                churn.world.check_honest_bans()?;
                let sample = churn.sample();
                on_sample(&sample);
                churn.records.samples.push(sample);
            }
        }
    }
    Ok(churn.records)
}

/// The same for both runs: who joins when, and how long it stays.
fn schedule(seed: u64, span: Duration) -> Vec<(Time, Step)> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut steps = Vec::new();
    let end = Time(0) + span;
    let join_interval = MEAN_STAY.as_micros() as u64 / RECEIVERS;
    let mut at = Time(0);
    while at < end {
        let kill_after = (rng.u8(..4) == 0).then(|| Duration::from_millis(rng.u64(100..6000)));
        let stays = Duration::from_secs(rng.u64(..=2 * MEAN_STAY.as_secs()));
        steps.push((at, Step::Join { stays, kill_after }));
        at = Time(at.0 + rng.u64(1..2 * join_interval));
    }
    let hostile_interval = HOSTILE_STAY / ((RECEIVERS as u32 + 1) / 9);
    let mut at = Time(0) + hostile_interval / 2;
    while at < end {
        let kind = HostileKind::ALL[rng.usize(..HostileKind::ALL.len())];
        steps.push((at, Step::Hostile(kind)));
        at = at + hostile_interval;
    }
    let mut at = Time(0) + SAMPLE_INTERVAL;
    while at <= end {
        steps.push((at, Step::Sample));
        at = at + SAMPLE_INTERVAL;
    }
    steps.sort_by_key(|(at, _)| *at);
    steps
}

struct Churn {
    world: World,
    receivers: Vec<Receiver>,
    /// Receivers to kill and to start again, and when.
    kills: Vec<(Time, usize)>,
    restarts: Vec<(Time, usize)>,
    hostile: Vec<(Time, HostId)>,
    records: Records,
}

/// The steps of the world between two looks at who is complete.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// How long a killed receiver is down.
const DOWNTIME: Duration = Duration::from_secs(2);

impl Churn {
    fn new(seed: u64) -> Self {
        let world = World::new(Scenario {
            dialect: Dialect::BitTorrent,
            total: TOTAL,
            piece_length: PIECE_LENGTH,
            origin: link(),
            receivers: Vec::new(),
            metadata_known: false,
            seed,
            faults: Faults::default(),
            conditions: Conditions::default(),
            hostile: Vec::new(),
            flood_rate: FLOOD_RATE,
            adjust: |_, _| {},
        });
        let (receivers, kills, restarts, hostile) = Default::default();
        Self { world, receivers, kills, restarts, hostile, records: Records::default() }
    }

    fn join(&mut self, stays: Duration, kill_after: Option<Duration>) {
        let joined = self.world.now();
        let number = self.records.downloads.len();
        self.records.downloads.push(Download { joined, took: None, was_killed: false });
        let id = self.world.add_receiver(link());
        self.receivers.push(Receiver { id, number, stays, leaves_at: None });
        self.kills.extend(kill_after.map(|after| (joined + after, number)));
    }

    fn add_hostile(&mut self, kind: HostileKind) {
        let id = self.world.add_hostile(kind, link());
        self.hostile.push((self.world.now() + HOSTILE_STAY, id));
    }

    fn run_until(&mut self, end: Time) {
        while self.world.now() < end {
            let next = (self.world.now() + LOOK_INTERVAL).min(end);
            self.world.run_until(next);
            self.look(next);
        }
    }

    fn look(&mut self, now: Time) {
        for (id, left) in take_due(&mut self.hostile, now) {
            debug_assert!(left <= now);
            self.world.remove(id);
        }
        for (number, _) in take_due(&mut self.kills, now) {
            let incomplete = self
                .receivers
                .iter()
                .find(|receiver| receiver.number == number && receiver.leaves_at.is_none());
            if let Some(receiver) = incomplete {
                self.world.kill(receiver.id);
                self.records.downloads[number].was_killed = true;
                self.restarts.push((now + DOWNTIME, number));
            }
        }
        for (number, _) in take_due(&mut self.restarts, now) {
            if let Some(receiver) = self.receivers.iter().find(|it| it.number == number) {
                self.world.restart(receiver.id);
            }
        }
        let (world, downloads) = (&mut self.world, &mut self.records.downloads);
        self.receivers.retain_mut(|receiver| {
            let (joined, completed) = world.times_of(receiver.id);
            if let (Some(completed), None) = (completed, receiver.leaves_at) {
                downloads[receiver.number].took = Some(completed.since(joined));
                receiver.leaves_at = Some(completed + receiver.stays);
            }
            let is_stuck = completed.is_none() && now.since(joined) > MAX_DOWNLOAD_TIME;
            let leaves = is_stuck || receiver.leaves_at.is_some_and(|at| at <= now);
            // Every other one leaves as after `kill -9`.
            match leaves {
                true if receiver.number % 2 == 0 => world.stop(receiver.id),
                true => world.remove(receiver.id),
                false => {}
            }
            !leaves
        });
    }

    fn sample(&self) -> Sample {
        let size = |id: HostId| self.world.hosts[id].engine.as_ref().map(Engine::state_size);
        let sizes = self.receivers.iter().filter_map(|receiver| size(receiver.id));
        Sample {
            at: self.world.now(),
            receivers: self.receivers.len(),
            hostile: self.hostile.len(),
            origin: size(0).unwrap_or_default(),
            largest: sizes.fold(StateSize::default(), StateSize::max_of),
        }
    }
}

fn take_due<T: Copy>(waiting: &mut Vec<(Time, T)>, now: Time) -> Vec<(T, Time)> {
    let due = waiting.iter().filter(|(at, _)| *at <= now).map(|&(at, what)| (what, at)).collect();
    waiting.retain(|(at, _)| *at > now);
    due
}

fn link() -> LinkConfig {
    LinkConfig { upload_rate: LINK_RATE, download_rate: LINK_RATE, delay: Duration::from_millis(2) }
}

/// What must hold in the records of a churn beside its control.
pub fn judge_churn(with: &Records, without: &Records, span: Duration) -> Vec<ChurnFailure> {
    let mut failures = Vec::new();
    for (mine, control) in with.downloads.iter().zip(&without.downloads) {
        let joined = mine.joined.0 / 1_000_000;
        let millis = |time: Duration| time.as_millis() as u64;
        match (mine.took, control.took) {
            (Some(took), Some(control)) if took > control * 3 / 2 + TIME_ALLOWANCE => {
                let (with, without) = (millis(took), millis(control));
                failures.push(ChurnFailure::Slow { joined, with, without });
            }
            (None, _) if mine.joined + MAX_DOWNLOAD_TIME < Time(0) + span => {
                failures.push(ChurnFailure::Stuck { joined });
            }
            _ => {}
        }
    }
    failures.extend(growth(&with.samples));
    failures
}

/// A figure of a sample: its name, the figure, and by how much it may vary.
type Figure = (&'static str, fn(&Sample) -> usize, usize);

/// What grew from the second quarter of the samples to the last.
fn growth(samples: &[Sample]) -> Vec<ChurnFailure> {
    let quarter = samples.len() / 4;
    if quarter < 4 {
        return Vec::new();
    }
    let (early, late) = (&samples[quarter..2 * quarter], &samples[samples.len() - quarter..]);
    let figures: [Figure; 6] = [
        ("connections of the origin", |it| it.origin.connections, 40),
        ("addresses of the origin", |it| it.origin.addresses, 5000),
        ("uploads of the origin", |it| it.origin.uploads, 4096),
        ("connections of receivers", |it| it.largest.connections, 40),
        ("addresses of receivers", |it| it.largest.addresses, 2500),
        ("requests of receivers", |it| it.largest.requests, 512),
    ];
    let grown = figures.into_iter().filter_map(|(what, figure, slack)| {
        let most = |samples: &[Sample]| samples.iter().map(figure).max().unwrap_or(0);
        let (early, late) = (most(early), most(late));
        (late > early * 3 / 2 + slack).then_some(ChurnFailure::Growing { what, early, late })
    });
    grown.collect()
}
