//! The runs of a scenario, their order, and how long they should take. Nothing is run here.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    bound::{FlashCrowd, Rates, Trunk, payload_rate},
    network::{Switches, Topology},
    record::Model,
    scenario::{Mode, Scenario, Shape},
};

/// The time of a run beside its transfer: starting programs, comparing copies, removing files.
const RUN_OVERHEAD: Duration = Duration::from_millis(100);
/// The limit of a run as a multiple of the client/server bound. [`START_MARGIN`] is added to it.
const LIMIT_FACTOR: f64 = 4.0;
/// The part of a run's limit for programs with a slow start.
const START_MARGIN: Duration = Duration::from_secs(60);
/// The limit of any run's duration.
const MAX_RUN_SECONDS: f64 = 7.0 * 86_400.0;
/// The expected duration as a multiple of the bound. Measured: `sow` stays within 20 % of the
/// bound, other programs take up to five times as long.
const CLIENT_SERVER_SLACK: f64 = 1.02;
const SOW_SLACK: f64 = 1.15;
const OTHERS_SLACK: f64 = 2.0;

/// One run to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// The programs to run.
    pub mode: Mode,
    /// The mode as it is recorded, with the number of origins where that varies.
    pub label: String,
    /// The number of receivers.
    pub users: u16,
    /// The number of hosts that have the file at the start.
    pub origins: u16,
    /// The index of the file in the scenario.
    pub file: usize,
    /// The repetition, from 0.
    pub repetition: u16,
    /// The seed of the file. All runs of a repetition have the same seed, so that all send the same
    /// bytes.
    pub seed: u64,
    /// The lower bound of the duration in the mode's model, in seconds; events are not considered.
    pub bound: f64,
    /// The time after which the run is ended.
    pub limit: Duration,
}

/// Runs to be made, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The runs that are left.
    pub tasks: Vec<Task>,
    /// The number of runs that were made before.
    pub done: usize,
    /// The expected duration of the runs that are left.
    pub expected: Duration,
}

/// Identifies a run in its experiment: label, users, file name, repetition.
pub(super) type RunKey = (String, u32, String, u32);

impl Task {
    /// Its key among the runs of the experiment.
    pub(super) fn key(&self, scenario: &Scenario) -> RunKey {
        let file = scenario.files[self.file].name.clone();
        (self.label.clone(), u32::from(self.users), file, u32::from(self.repetition))
    }

    /// The expected time from its start to the start of the next run.
    pub(super) fn expected(&self, scenario: &Scenario) -> Duration {
        let slack = match (self.mode, self.mode.model()) {
            (_, Model::ClientServer) => CLIENT_SERVER_SLACK,
            (_, Model::Multicast) => SOW_SLACK,
            (Mode::Swarm | Mode::Chunk | Mode::JsonTorrent, _) => SOW_SLACK,
            _ => OTHERS_SLACK,
        };
        let seconds = (self.bound * slack).min(MAX_RUN_SECONDS);
        Duration::from_secs_f64(seconds) + last_event(scenario, self.users) + RUN_OVERHEAD
    }
}

/// The hosts of a scenario's largest run. All runs use a network of this size. Smaller runs leave
/// hosts idle, so that every run has the same links and every host the same name.
pub(super) fn largest_shape(scenario: &Scenario) -> Shape {
    let max = |numbers: &[u16]| numbers.iter().copied().max().unwrap_or(1);
    Shape { origins: max(&scenario.origins), users: max(&scenario.users) }
}

/// All runs of a scenario; `bytes` are the lengths of its files. Each repetition begins with
/// another mode, so that neither a drift of the machine nor the effects of the previous run always
/// affect the same mode.
pub(super) fn all_tasks(scenario: &Scenario, bytes: &[u64], topology: &Topology) -> Vec<Task> {
    let mut tasks = Vec::new();
    for repetition in 0..scenario.repeat {
        let mut modes = scenario.modes.clone();
        modes.rotate_left(usize::from(repetition) % scenario.modes.len().max(1));
        for &origins in &scenario.origins {
            for &users in &scenario.users {
                for (file, &bytes) in bytes.iter().enumerate() {
                    let crowd = crowd(scenario, topology, Shape { origins, users }, bytes);
                    let possible =
                        modes.iter().filter(|mode| origins == 1 || mode.takes_many_origins());
                    tasks.extend(possible.map(|&mode| Task {
                        mode,
                        label: label(scenario, mode, origins),
                        users,
                        origins,
                        file,
                        repetition,
                        seed: repetition_seed(scenario.seed, repetition),
                        bound: match mode.model() {
                            Model::ClientServer => crowd.client_server(),
                            Model::PeerToPeer => crowd.peer_to_peer(),
                            Model::Multicast => crowd.multicast(),
                        },
                        limit: run_limit(scenario, users, crowd.client_server()),
                    }));
                }
            }
        }
    }
    tasks
}

/// The plan for the tasks that are not in `done`, on this number of labs side by side.
pub(super) fn plan_remaining(
    scenario: &Scenario,
    tasks: Vec<Task>,
    done: &BTreeMap<RunKey, usize>,
    labs: usize,
) -> Plan {
    let all = tasks.len();
    let tasks: Vec<_> =
        tasks.into_iter().filter(|task| !done.contains_key(&task.key(scenario))).collect();
    let sum: Duration = tasks.iter().map(|task| task.expected(scenario)).sum();
    let expected = sum / u32::try_from(labs.max(1)).unwrap_or(1);
    Plan { done: all - tasks.len(), tasks, expected }
}

fn label(scenario: &Scenario, mode: Mode, origins: u16) -> String {
    match (scenario.origins.len(), origins) {
        (0 | 1, _) => mode.id().to_owned(),
        (_, 1) => format!("{}, 1 origin", mode.id()),
        (_, many) => format!("{}, {many} origins", mode.id()),
    }
}

/// The flash crowd of a run. Its origins are the first hosts; its receivers come after all origins
/// of the largest run.
fn crowd(scenario: &Scenario, topology: &Topology, shape: Shape, bytes: u64) -> FlashCrowd {
    let rate = |bits: u64| payload_rate(bits as f64);
    let first_receiver = usize::from(largest_shape(scenario).origins);
    let receivers = first_receiver..first_receiver + usize::from(shape.users);
    let is_far = |index: &usize| topology.switch_of(index + 1) == 2;
    let trunk = match topology.switches {
        Switches::Two { trunk } if !(0..usize::from(shape.origins)).any(|index| is_far(&index)) => {
            let far_receivers = receivers.clone().filter(is_far).count();
            Some(Trunk { rate: rate(trunk), far_receivers })
        }
        _ => None,
    };
    let links = &topology.links;
    FlashCrowd {
        file_bytes: bytes as f64,
        origins: links.iter().take(usize::from(shape.origins)).map(|link| rate(link.up)).collect(),
        receivers: receivers
            .filter_map(|index| links.get(index))
            .map(|link| Rates { up: rate(link.up), down: rate(link.down) })
            .collect(),
        helpers: Vec::new(),
        trunk,
    }
}

fn run_limit(scenario: &Scenario, users: u16, client_server_bound: f64) -> Duration {
    let default = || {
        let seconds = (LIMIT_FACTOR * client_server_bound).min(MAX_RUN_SECONDS);
        Duration::from_secs_f64(seconds) + START_MARGIN
    };
    scenario.limit.unwrap_or_else(default) + last_event(scenario, users)
}

/// The time of the last event of a run with this number of users.
fn last_event(scenario: &Scenario, users: u16) -> Duration {
    scenario.events_for(users).map(|event| event.at).max().unwrap_or_default()
}

/// The seed of a repetition, by SplitMix64 (Steele, Lea, Flood 2014), so that the seeds of adjacent
/// repetitions are unrelated. It has 53 bits, as many as every reader of JSON preserves.
fn repetition_seed(seed: u64, repetition: u16) -> u64 {
    let mut z = seed.wrapping_add((u64::from(repetition) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) >> 11
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::built_in;

    const MIB_10: u64 = 10 << 20;

    fn scenario() -> Scenario {
        let mut scenario = built_in("cs-vs-p2p").unwrap();
        scenario.users = vec![1, 5];
        scenario.modes = vec![Mode::Raw, Mode::Chunk, Mode::Swarm];
        scenario.repeat = 2;
        scenario
    }

    fn all(scenario: &Scenario, bytes: &[u64]) -> Vec<Task> {
        let topology = scenario.network.topology("plan".parse().unwrap(), largest_shape(scenario));
        all_tasks(scenario, bytes, &topology)
    }

    #[test]
    fn each_repetition_begins_with_another_mode() {
        let tasks = all(&scenario(), &[MIB_10, 2 * MIB_10]);
        assert_eq!(tasks.len(), 2 * 2 * 2 * 3);
        let first: Vec<_> = tasks
            .iter()
            .take(4)
            .map(|task| (task.mode, task.users, task.file, task.repetition))
            .collect();
        use Mode::{Chunk, Raw, Swarm};
        assert_eq!(first, [(Raw, 1, 0, 0), (Chunk, 1, 0, 0), (Swarm, 1, 0, 0), (Raw, 1, 1, 0)]);
        assert_eq!((tasks[12].mode, tasks[12].repetition), (Chunk, 1));
        assert!(tasks.iter().all(|task| (task.seed == tasks[0].seed) == (task.repetition == 0)));
        let mut keys: Vec<_> = tasks.iter().map(|task| task.key(&scenario())).collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), tasks.len(), "two runs have the same key");
    }

    #[test]
    fn bounds_and_limits_follow_from_the_hosts_of_a_run() {
        let mut scenario = scenario();
        scenario.limit = None;
        let tasks = all(&scenario, &[MIB_10]);
        let bound = |mode, users| {
            tasks.iter().find(|task| task.mode == mode && task.users == users).unwrap().bound
        };
        for (mode, users, due) in [
            (Mode::Raw, 1, 8.771),
            (Mode::Raw, 5, 43.855),
            (Mode::Swarm, 1, 8.771),
            (Mode::Chunk, 5, 8.771),
        ] {
            assert!(
                (bound(mode, users) - due).abs() < 0.01,
                "{mode} {users}: {}",
                bound(mode, users)
            );
        }
        // raw takes 8.8 s with one user and 43.9 s with five, chunk and swarm take 8.8 s each. With
        // slack, that is about 95 s for each of the two repetitions.
        let expected =
            plan_remaining(&scenario, tasks.clone(), &BTreeMap::new(), 1).expected.as_secs();
        assert!((180..220).contains(&expected), "{expected}");
        assert!(tasks.iter().all(|task| task.limit.as_secs_f64() > 4.0 * task.bound));
        scenario.limit = Some(Duration::from_secs(7));
        assert!(all(&scenario, &[MIB_10]).iter().all(|task| task.limit == Duration::from_secs(7)));
    }

    #[test]
    fn smaller_runs_leave_hosts_of_the_largest_run_idle() {
        let mut scenario = scenario();
        scenario.modes = vec![Mode::Swarm];
        scenario.origins = vec![1, 2];
        scenario.network.exceptions = Vec::new();
        assert_eq!(largest_shape(&scenario), Shape { origins: 2, users: 5 });
        let tasks = all(&scenario, &[MIB_10]);
        assert_eq!(tasks[0].label, "swarm, 1 origin");
        let two = tasks.iter().find(|task| task.origins == 2 && task.users == 1).unwrap();
        assert_eq!(two.label, "swarm, 2 origins");
        // Two origins do not make one receiver's link faster.
        assert!((two.bound - 8.771).abs() < 0.01);
    }

    #[test]
    fn runs_that_were_made_before_are_not_planned_again() {
        let scenario = scenario();
        let tasks = all(&scenario, &[MIB_10, MIB_10]);
        let done = BTreeMap::from([(tasks[0].key(&scenario), 1), (tasks[7].key(&scenario), 1)]);
        let plan = plan_remaining(&scenario, tasks.clone(), &done, 2);
        assert_eq!((plan.done, plan.tasks.len()), (2, tasks.len() - 2));
        assert_eq!(plan.tasks[0], tasks[1]);
        assert!(plan.expected < plan_remaining(&scenario, tasks, &done, 1).expected);
    }
}
