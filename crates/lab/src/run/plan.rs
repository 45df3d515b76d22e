//! Which runs a scenario consists of, in which order, and how long they should take. Nothing is run
//! here.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    bound::{Crowd, Rates, Trunk, payload_rate},
    network::{Switches, Topology},
    record::Model,
    scenario::{Mode, Scenario, Shape},
};

/// What a run takes beside its transfer: starting, checking and removing.
const AROUND_A_RUN: Duration = Duration::from_millis(100);
/// A run is given up after so many times what client/server would need at least …
const PATIENCE: f64 = 4.0;
/// … and this, for programs with a slow start.
const MORE_PATIENCE: Duration = Duration::from_secs(60);
/// No run is ever waited for longer.
const LONGEST: f64 = 7.0 * 86_400.0;

/// One run to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// Which programs.
    pub mode: Mode,
    /// What it is called in records: the mode, and the number of origins where that varies.
    pub label: String,
    /// How many receivers there are.
    pub users: u16,
    /// How many hosts have the file at the start.
    pub origins: u16,
    /// Which of the scenario's files.
    pub file: usize,
    /// Which repetition, from 0.
    pub repetition: u16,
    /// From which the file is drawn. The same for all runs of a repetition, so that all send the
    /// same.
    pub seed: u64,
    /// The least time possible in the mode's model, in seconds, as if nobody left or joined late.
    pub bound: f64,
    /// When it is given up.
    pub limit: Duration,
}

/// Runs to be made, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// What is left to do.
    pub tasks: Vec<Task>,
    /// How many were done before.
    pub done: usize,
    /// About how long it takes.
    pub expected: Duration,
}

/// What tells a run from others of the same experiment: label, users, file name, repetition.
pub(super) type Key = (String, u32, String, u32);

impl Task {
    /// What tells it from the others.
    pub(super) fn key(&self, scenario: &Scenario) -> Key {
        let file = scenario.files[self.file].name.clone();
        (self.label.clone(), u32::from(self.users), file, u32::from(self.repetition))
    }

    /// About how long it takes from start to start.
    pub(super) fn expected(&self, scenario: &Scenario) -> Duration {
        // Measured: ours are within a tenth or two of the bound, others take up to five times as
        // long.
        let slack = match (self.mode, self.mode.model()) {
            (_, Model::ClientServer) => 1.02,
            (Mode::Swarm | Mode::Chunk | Mode::JsonTorrent, _) => 1.15,
            _ => 2.0,
        };
        let last_event =
            scenario.events_for(self.users).map(|event| event.at).max().unwrap_or_default();
        Duration::from_secs_f64((self.bound * slack).min(LONGEST)) + last_event + AROUND_A_RUN
    }
}

/// The hosts that all runs of a scenario take place on: as many as the largest needs. Smaller runs
/// leave some of them idle, so that every run has the same links and a host the same name
/// everywhere.
pub(super) fn whole_shape(scenario: &Scenario) -> Shape {
    let most = |numbers: &[u16]| numbers.iter().copied().max().unwrap_or(1);
    Shape { origins: most(&scenario.origins), users: most(&scenario.users) }
}

/// All runs of a scenario whose `bytes` are the lengths of its files. In each repetition another
/// mode comes first, so that neither a drift of the machine nor what the one before left behind
/// always hits the same.
pub(super) fn tasks(scenario: &Scenario, bytes: &[u64], topology: &Topology) -> Vec<Task> {
    let mut tasks = Vec::new();
    for repetition in 0..scenario.repeat {
        let mut modes = scenario.modes.clone();
        modes.rotate_left(usize::from(repetition) % scenario.modes.len().max(1));
        for &origins in &scenario.origins {
            for &users in &scenario.users {
                for (file, &bytes) in bytes.iter().enumerate() {
                    let crowd = crowd(scenario, topology, Shape { origins, users }, bytes);
                    let able =
                        modes.iter().filter(|mode| origins == 1 || mode.takes_many_origins());
                    tasks.extend(able.map(|&mode| Task {
                        mode,
                        label: label(scenario, mode, origins),
                        users,
                        origins,
                        file,
                        repetition,
                        seed: mixed(scenario.seed, repetition),
                        bound: match mode.model() {
                            Model::ClientServer => crowd.client_server(),
                            Model::PeerToPeer => crowd.peer_to_peer(),
                        },
                        limit: limit(scenario, users, crowd.client_server()),
                    }));
                }
            }
        }
    }
    tasks
}

/// What is left of `tasks` when those in `done` are there, and how long that takes with so many
/// labs.
pub(super) fn left(
    scenario: &Scenario,
    tasks: Vec<Task>,
    done: &BTreeMap<Key, usize>,
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
        (0 | 1, _) => mode.name().to_owned(),
        (_, 1) => format!("{mode}, 1 origin"),
        (_, many) => format!("{mode}, {many} origins"),
    }
}

/// Who wants how much from whom. Origins are the first hosts, receivers come after as many as the
/// largest run has.
fn crowd(scenario: &Scenario, topology: &Topology, shape: Shape, bytes: u64) -> Crowd {
    let rate = |bits: u64| payload_rate(bits as f64);
    let first_receiver = usize::from(whole_shape(scenario).origins);
    let receivers = first_receiver..first_receiver + usize::from(shape.users);
    let far = |place: &usize| topology.switch_of(place + 1) == 2;
    let trunk = match topology.switches {
        Switches::Two { trunk } if !(0..usize::from(shape.origins)).any(|place| far(&place)) => {
            Some(Trunk { rate: rate(trunk), far_receivers: receivers.clone().filter(far).count() })
        }
        _ => None,
    };
    let links = &topology.links;
    Crowd {
        file_bytes: bytes as f64,
        origins: links.iter().take(usize::from(shape.origins)).map(|link| rate(link.up)).collect(),
        receivers: receivers
            .filter_map(|place| links.get(place))
            .map(|link| Rates { up: rate(link.up), down: rate(link.down) })
            .collect(),
        helpers: Vec::new(),
        trunk,
    }
}

fn limit(scenario: &Scenario, users: u16, client_server: f64) -> Duration {
    let last_event = scenario.events_for(users).map(|event| event.at).max().unwrap_or_default();
    let patience =
        || Duration::from_secs_f64((PATIENCE * client_server).min(LONGEST)) + MORE_PATIENCE;
    scenario.limit.unwrap_or_else(patience) + last_event
}

/// A seed for each repetition, by SplitMix64 (Steele, Lea, Flood 2014): neighbours have nothing in
/// common. It has 53 bits, as many as every reader of JSON keeps.
fn mixed(seed: u64, repetition: u16) -> u64 {
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
        let topology = scenario.network.topology("plan".parse().unwrap(), whole_shape(scenario));
        tasks(scenario, bytes, &topology)
    }

    #[test]
    fn another_mode_comes_first_in_each_repetition() {
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
        assert_eq!(keys.len(), tasks.len(), "two runs cannot be told apart");
    }

    #[test]
    fn bounds_and_limits_are_those_of_the_hosts_that_take_part() {
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
        // Three times five and once one of 8.8 s client/server, and so on, in two repetitions:
        // about 2 × 95 s.
        let expected = left(&scenario, tasks.clone(), &BTreeMap::new(), 1).expected.as_secs();
        assert!((180..220).contains(&expected), "{expected}");
        assert!(tasks.iter().all(|task| task.limit.as_secs_f64() > 4.0 * task.bound));
        scenario.limit = Some(Duration::from_secs(7));
        assert!(all(&scenario, &[MIB_10]).iter().all(|task| task.limit == Duration::from_secs(7)));
    }

    #[test]
    fn smaller_runs_leave_hosts_of_the_largest_idle() {
        let mut scenario = scenario();
        scenario.modes = vec![Mode::Swarm];
        scenario.origins = vec![1, 2];
        scenario.network.exceptions = Vec::new();
        assert_eq!(whole_shape(&scenario), Shape { origins: 2, users: 5 });
        let tasks = all(&scenario, &[MIB_10]);
        assert_eq!(tasks[0].label, "swarm, 1 origin");
        let two = tasks.iter().find(|task| task.origins == 2 && task.users == 1).unwrap();
        assert_eq!(two.label, "swarm, 2 origins");
        // Two origins do not make one receiver's link faster.
        assert!((two.bound - 8.771).abs() < 0.01);
    }

    #[test]
    fn what_was_done_is_not_done_again() {
        let scenario = scenario();
        let tasks = all(&scenario, &[MIB_10, MIB_10]);
        let done = BTreeMap::from([(tasks[0].key(&scenario), 1), (tasks[7].key(&scenario), 1)]);
        let plan = left(&scenario, tasks.clone(), &done, 2);
        assert_eq!((plan.done, plan.tasks.len()), (2, tasks.len() - 2));
        assert_eq!(plan.tasks[0], tasks[1]);
        assert!(plan.expected < left(&scenario, tasks, &done, 1).expected);
    }
}
