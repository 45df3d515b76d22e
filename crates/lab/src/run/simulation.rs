//! An experiment without a network: each run is given to a simulator, and its result becomes the
//! same records as that of a measured run. What a simulator is made of is not known here.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use super::{
    Outcome, Progress, RunError, Setup, TaskResult, build_digest, file_lengths,
    ledger::{self, EarlierRecords, Ledger, header},
    plan::{self, Task},
    record_result,
    transfer::FinishedRun,
};
use crate::{
    network::{Link, Switches, Topology},
    record::{self, Missing, Run, Sample},
    scenario::{Action, Event, Mode, Scenario, Shape},
};

/// The most receivers of whose hosts samples are kept.
const MAX_SAMPLED_USERS: u16 = 100;
/// The fewest and the usual number of intervals between two samples.
const MIN_SAMPLE_INTERVAL: Duration = Duration::from_millis(100);
const SAMPLES: u32 = 120;

/// What tells simulated records from measured ones.
const SHAPED_BY: &str = "simulator";
const NO_SIMULATION: &str = "it has no simulation: the simulator runs the engine of `sow`, in the \
                             modes sow, chunk and json-torrent; measure others without --simulate";
const NOTE: &str = "Simulated: the engine, the tracker and the message lengths are the program's, \
                    the network and the disks are models. Nothing was measured.";

/// A run to be simulated.
#[derive(Debug, Clone)]
pub struct SimulatedRun {
    /// `chunk`, `json-torrent` or `swarm`.
    pub mode: Mode,
    /// The link of the origin.
    pub origin: Link,
    /// The links of the receivers.
    pub receivers: Vec<Link>,
    /// When each receiver starts first.
    pub starts: Vec<Duration>,
    /// What happens to receivers, ascending by time, without their first start.
    pub events: Vec<Event>,
    /// The length of the file.
    pub bytes: u64,
    /// The length of a piece; `None` leaves it to the program.
    pub piece_length: Option<u32>,
    /// How long packets wait for a link at most.
    pub queue: Duration,
    /// The seed of all that is random.
    pub seed: u64,
    /// When it is ended.
    pub limit: Duration,
    /// The interval of samples, if they are wanted.
    pub sample_interval: Option<Duration>,
}

/// The bytes that crossed the link of a host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkBytes {
    /// Sent, headers included.
    pub up: u64,
    /// Received, headers included.
    pub down: u64,
}

/// The result of a simulated run. Hosts count from 0, which is the origin.
#[derive(Debug, Clone, Default)]
pub struct SimulatedResult {
    /// The bytes of the file that the origin sent.
    pub origin_sent: u64,
    /// The bytes on the link of each host.
    pub links: Vec<LinkBytes>,
    /// When each receiver was complete.
    pub finished: Vec<Option<Duration>>,
    /// The bytes that each receiver has of which host.
    pub from: Vec<Vec<(usize, u64)>>,
    /// Times, and the bytes on each link until then.
    pub samples: Vec<(Duration, Vec<LinkBytes>)>,
}

/// Simulates runs.
pub trait Simulator {
    /// Simulates a run. Returns early when `stop` is set.
    ///
    /// # Errors
    /// When it cannot be simulated; the text is for users.
    fn simulate(&self, run: &SimulatedRun, stop: &AtomicBool) -> Result<SimulatedResult, String>;
}

/// Whether a mode can be simulated: those that have the program's engine.
pub fn can_simulate(mode: Mode) -> bool {
    matches!(mode, Mode::Chunk | Mode::JsonTorrent | Mode::Swarm)
}

/// Simulates an experiment, as [`run`](super::run()) carries one out.
///
/// # Errors
/// When the records cannot be written, or belong to another experiment.
pub fn simulate(
    scenario: &Scenario,
    setup: &Setup,
    simulator: &dyn Simulator,
    stop: &AtomicBool,
    report: &mut dyn FnMut(Progress<'_>),
) -> Result<Outcome, RunError> {
    scenario.check()?;
    let bytes = file_lengths(scenario)?;
    let topology = scenario.network.topology("plan".parse()?, plan::largest_shape(scenario));
    let build = build_digest(&setup.sow)
        .map_err(|source| RunError::File { name: setup.sow.display().to_string(), source })?;
    let mut head = header(scenario, setup, &build, &topology, &bytes);
    head.topology.shaped_by = SHAPED_BY.to_owned();
    head.topology.delay_by = SHAPED_BY.to_owned();
    head.notes.truncate(1);
    head.notes.push(NOTE.to_owned());
    let lock = ledger::lock_folder(&setup.out)?;
    let earlier = EarlierRecords::read(&setup.out)?;
    earlier.check(&setup.out, &head)?;
    let tasks = plan::all_tasks(scenario, &bytes, &topology);
    let tasks = tasks.into_iter().filter(|task| can_simulate(task.mode)).collect();
    let plan = plan::plan_remaining(scenario, tasks, &earlier.done, 1);
    report(Progress::Planned(&plan));
    let missing: Vec<Missing> =
        scenario.modes.iter().filter_map(|mode| not_simulated(*mode)).collect();
    missing.iter().for_each(|missing| report(Progress::Missing(missing)));
    let mut outcome = Outcome {
        missing: missing.len(),
        incomplete: earlier.incomplete,
        left: plan.tasks.len(),
        ..Outcome::default()
    };
    let mut ledger = Ledger::open(&setup.out, lock, &head, &scenario.labels, &earlier)?;
    for missing in missing.iter().filter(|missing| !earlier.missing.contains(&missing.mode)) {
        ledger.write_missing(missing)?;
    }
    for task in plan.tasks {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let (began, users) = (Instant::now(), task.users);
        let spec = spec_of(scenario, &topology, &task, bytes[task.file]);
        let simulated = match obstacle(&topology, &task) {
            Some(obstacle) => Err(obstacle.to_owned()),
            None => simulator.simulate(&spec, stop),
        };
        let result = match simulated {
            _ if stop.load(Ordering::Relaxed) => break,
            Err(message) => TaskResult::Failed(task, message),
            Ok(result) => {
                TaskResult::Finished(Box::new(finished_run(scenario, &task, &spec, &result)))
            }
        };
        outcome.left -= 1;
        record_result(result, scenario, &head.topology, &mut ledger, &mut outcome, report)?;
        report(Progress::Cost { users, wall: began.elapsed(), memory: peak_memory() });
    }
    Ok(outcome)
}

/// The most memory that this process had, in bytes.
fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

/// What a simulator has no model of.
fn obstacle(topology: &Topology, task: &Task) -> Option<&'static str> {
    match topology.switches {
        Switches::Two { .. } => Some("a network of two switches has no simulation"),
        Switches::One if task.origins > 1 => Some("a run with many origins has no simulation"),
        Switches::One => None,
    }
}

fn not_simulated(mode: Mode) -> Option<Missing> {
    (!can_simulate(mode)).then(|| Missing {
        mode: mode.id().to_owned(),
        program: mode.name().to_owned(),
        hint: Some(NO_SIMULATION.to_owned()),
    })
}

/// The names of the hosts of a run: its origin, then its receivers.
fn host_names(scenario: &Scenario, task: &Task) -> Vec<String> {
    let shape: Shape = plan::largest_shape(scenario);
    let receivers = (1..=task.users).map(|number| shape.receiver(number));
    [shape.origin(1)].into_iter().chain(receivers).collect()
}

fn spec_of(scenario: &Scenario, topology: &Topology, task: &Task, bytes: u64) -> SimulatedRun {
    let first = usize::from(plan::largest_shape(scenario).origins);
    let starts: Vec<Duration> = (1..=task.users).map(|it| scenario.first_start(it)).collect();
    let is_first_start = |event: &Event| {
        event.action == Action::Start
            && !event.at.is_zero()
            && starts[usize::from(event.receiver) - 1] == event.at
    };
    let events = scenario.events_for(task.users).filter(|event| !is_first_start(event));
    let sample_interval = (task.users <= MAX_SAMPLED_USERS)
        .then(|| MIN_SAMPLE_INTERVAL.max(task.expected(scenario) / SAMPLES));
    SimulatedRun {
        mode: task.mode,
        origin: topology.links[0],
        receivers: topology.links[first..first + usize::from(task.users)].to_vec(),
        events: events.copied().collect(),
        starts,
        bytes,
        piece_length: scenario.piece_length,
        queue: Duration::from_micros(topology.queue_us),
        seed: task.seed,
        limit: task.limit,
        sample_interval,
    }
}

fn finished_run(
    scenario: &Scenario,
    task: &Task,
    spec: &SimulatedRun,
    result: &SimulatedResult,
) -> FinishedRun {
    let names = host_names(scenario, task);
    let link = |host: usize| result.links.get(host).copied().unwrap_or_default();
    let origin = record::Origin {
        host: names[0].clone(),
        payload_up_bytes: Some(result.origin_sent),
        wire_up_bytes: Some(link(0).up),
        wire_down_bytes: Some(link(0).down),
    };
    let receiver = |index: usize| {
        let number = index as u16 + 1;
        let finished = result.finished.get(index).copied().flatten();
        let left =
            spec.events.iter().find(|it| it.receiver == number && it.action == Action::Leave);
        let from = result.from.get(index).into_iter().flatten();
        record::Receiver {
            host: names[index + 1].clone(),
            started_seconds: spec.starts[index].as_secs_f64(),
            finished_seconds: finished.map(|at| at.as_secs_f64()),
            verified: finished.is_some(),
            left_seconds: left.map(|event| event.at.as_secs_f64()),
            from_bytes: from.map(|(host, bytes)| (names[*host].clone(), *bytes)).collect(),
            wire_up_bytes: Some(link(index + 1).up),
            wire_down_bytes: Some(link(index + 1).down),
            cpu_seconds: None,
            error: (finished.is_none() && left.is_none())
                .then(|| "it was not complete in time".to_owned()),
        }
    };
    let samples = result.samples.iter().flat_map(|(at, links)| {
        links.iter().zip(&names).map(|(link, host)| Sample {
            run: 0,
            t: at.as_secs_f64(),
            host: host.clone(),
            up_bytes: link.up,
            down_bytes: link.down,
        })
    });
    let run = Run {
        run: 0,
        simulated: true,
        mode: task.label.clone(),
        model: task.mode.model(),
        program: None,
        repetition: task.repetition.into(),
        users: task.users.into(),
        file: record::File { name: scenario.files[task.file].name.clone(), bytes: spec.bytes },
        seed: task.seed,
        origins: vec![origin],
        receivers: (0..spec.receivers.len()).map(receiver).collect(),
        commands: Vec::new(),
        note: None,
    };
    FinishedRun { run, samples: samples.collect() }
}
