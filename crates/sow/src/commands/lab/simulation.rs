//! `sow lab run --simulate`: a run of an experiment as a simulated world.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use sow_content::geometry::piece_length_for;
use sow_engine::{Dialect, Time};
use sow_lab::{
    network::Link,
    run::{LinkBytes, SimulatedResult, SimulatedRun, Simulator},
    scenario::{Action, Mode},
};
use sow_sim::{Conditions, Faults, HostId, LinkConfig, Scenario, World};

/// The chunk length of the `chunk` dialect where an experiment names none.
const CHUNK_LENGTH: u32 = 128 * 1024;

/// How often a world looks whether it is to stop.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// The simulator of this program: its own engine in worlds of `sow_sim`.
pub(super) struct Worlds;

impl Simulator for Worlds {
    fn simulate(&self, run: &SimulatedRun, stop: &AtomicBool) -> Result<SimulatedResult, String> {
        let dialect = match run.mode {
            Mode::Swarm => Dialect::BitTorrent,
            Mode::Chunk => Dialect::Chunk,
            Mode::JsonTorrent => Dialect::JsonTorrent,
            mode => return Err(format!("{mode} has no simulation")),
        };
        if run.bytes == 0 {
            return Err("an empty file has no simulation".to_owned());
        }
        let mut crowd = Crowd::new(run, dialect);
        crowd.run(stop);
        Ok(crowd.result())
    }
}

/// One run while it is simulated.
struct Crowd<'a> {
    run: &'a SimulatedRun,
    world: World,
    /// The hosts of receivers that have joined, by their index.
    hosts: BTreeMap<usize, HostId>,
    samples: Vec<(Duration, Vec<LinkBytes>)>,
}

/// What happens to a receiver at a time.
enum Step {
    Join(usize),
    Kill(usize),
    Start(usize),
    Sample,
    Look,
}

impl<'a> Crowd<'a> {
    fn new(run: &'a SimulatedRun, dialect: Dialect) -> Self {
        let default_length = match dialect {
            Dialect::BitTorrent => piece_length_for(run.bytes),
            Dialect::Chunk | Dialect::JsonTorrent => CHUNK_LENGTH,
        };
        let at_start: Vec<usize> =
            (0..run.receivers.len()).filter(|index| run.starts[*index].is_zero()).collect();
        let world = World::new(Scenario {
            dialect,
            total: run.bytes,
            piece_length: run.piece_length.unwrap_or(default_length),
            origin: link(run.origin),
            receivers: at_start.iter().map(|index| link(run.receivers[*index])).collect(),
            metadata_known: false,
            seed: run.seed,
            faults: Faults::default(),
            conditions: Conditions { queue: run.queue, ..Conditions::default() },
            hostile: Vec::new(),
            flood_rate: 0,
            adjust: |_, _| {},
        });
        let hosts = at_start.into_iter().enumerate().map(|(place, index)| (index, place + 1));
        Self { run, world, hosts: hosts.collect(), samples: Vec::new() }
    }

    fn run(&mut self, stop: &AtomicBool) {
        let mut steps = self.steps();
        while !stop.load(Ordering::Relaxed) {
            let next_look = Duration::from_micros(self.world.now().0) + LOOK_INTERVAL;
            let (at, step) = match steps.pop() {
                Some((at, step)) if at <= next_look => (at, step),
                Some(later) => {
                    steps.push(later);
                    (next_look, Step::Look)
                }
                None => (next_look, Step::Look),
            };
            let only_samples = steps.iter().all(|(_, step)| matches!(step, Step::Sample));
            let may_end = only_samples && !matches!(step, Step::Join(_) | Step::Start(_));
            if may_end && self.world.run(at) {
                break;
            }
            self.world.run_until(Time(at.as_micros() as u64));
            if at > self.run.limit {
                break;
            }
            self.take(at, &step);
        }
        if self.run.sample_interval.is_some() {
            self.take(Duration::from_micros(self.world.now().0), &Step::Sample);
        }
    }

    /// All steps, the last one first.
    fn steps(&self) -> Vec<(Duration, Step)> {
        let mut steps = Vec::new();
        for (index, &at) in self.run.starts.iter().enumerate().filter(|(_, at)| !at.is_zero()) {
            steps.push((at, Step::Join(index)));
        }
        for event in &self.run.events {
            let index = usize::from(event.receiver) - 1;
            steps.push(match event.action {
                Action::Leave | Action::Kill => (event.at, Step::Kill(index)),
                Action::Start => (event.at, Step::Start(index)),
            });
        }
        if let Some(interval) = self.run.sample_interval {
            let mut at = Duration::ZERO;
            while at < self.run.limit {
                steps.push((at, Step::Sample));
                at += interval;
            }
        }
        steps.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        steps
    }

    fn take(&mut self, at: Duration, step: &Step) {
        match step {
            Step::Join(index) => {
                let host = self.world.add_receiver(link(self.run.receivers[*index]));
                self.hosts.insert(*index, host);
            }
            Step::Kill(index) => self.hosts.get(index).iter().for_each(|it| self.world.kill(**it)),
            Step::Start(index) => {
                self.hosts.get(index).iter().for_each(|it| self.world.restart(**it));
            }
            Step::Sample => self.samples.push((at, self.links())),
            Step::Look => {}
        }
    }

    fn links(&self) -> Vec<LinkBytes> {
        let bytes = |host: Option<HostId>| {
            host.map_or(LinkBytes::default(), |host| {
                let traffic = self.world.traffic_of(host);
                LinkBytes { up: traffic.wire, down: traffic.received }
            })
        };
        let receivers = (0..self.run.receivers.len()).map(|it| bytes(self.hosts.get(&it).copied()));
        [bytes(Some(0))].into_iter().chain(receivers).collect()
    }

    fn result(self) -> SimulatedResult {
        let indexes: BTreeMap<HostId, usize> =
            self.hosts.iter().map(|(index, host)| (*host, index + 1)).chain([(0, 0)]).collect();
        let finished = |index: usize| {
            let completed = self.hosts.get(&index).and_then(|host| self.world.times_of(*host).1);
            completed.map(|at| Duration::from_micros(at.0))
        };
        let from = |index: usize| {
            let host = self.hosts.get(&index);
            let shares = host.into_iter().flat_map(|host| self.world.received_from(*host));
            shares.filter_map(|(from, bytes)| Some((*indexes.get(from)?, *bytes))).collect()
        };
        let receivers = 0..self.run.receivers.len();
        SimulatedResult {
            origin_sent: (self.world.copies_sent_by_origin() * self.run.bytes as f64) as u64,
            links: self.links(),
            finished: receivers.clone().map(finished).collect(),
            from: receivers.map(from).collect(),
            samples: self.samples,
        }
    }
}

fn link(link: Link) -> LinkConfig {
    LinkConfig {
        upload_rate: link.up / 8,
        download_rate: link.down / 8,
        delay: Duration::from_micros(link.delay_us),
    }
}
