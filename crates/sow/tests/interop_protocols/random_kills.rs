//! Members of a swarm are killed at random moments of a transfer to five clients, and some restart:
//! all others complete with the right bytes, and a client that restarts resumes. Each protocol runs
//! with fifty random seeds; `KILL_SEED=N` runs one of them alone, `KILL_SEED=N..M` others.

use std::{
    env,
    ops::Range,
    path::PathBuf,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use fastrand::Rng;

use crate::{
    chunk::{self, Implementation},
    json_torrent::{self, JsonSwarm},
    reference::SPELLINGS,
    shared_file::{MIB, SharedFile},
    support::{process::Process, test_network::TestNetwork, wait_until},
};

const SEEDS: u64 = 50;
/// The number of random seeds that run at once, each in a network of its own.
const NETWORKS: usize = 3;
const HOSTS: u8 = 7;
const CLIENTS: usize = 5;
/// The time of a kill after the start, in milliseconds. Random moments are the subject of these
/// tests: no condition is awaited, and every outcome of the race is valid.
const KILL_AT_MS: Range<u64> = 50..1400;
/// The time from a kill to the restart, in milliseconds.
const RESTART_AFTER_MS: Range<u64> = 0..600;
/// One restart in this number waits longer than most transfers take.
const LATE_RESTART_ONE_IN: u8 = 5;
const LATE_RESTART_AFTER_MS: u64 = 2500;

/// A program that can be killed and started again.
struct Member<'a> {
    start: Box<dyn Fn() -> Process + 'a>,
    process: Process,
    /// The path to which it saves; `None` for servers, seeds and trackers. Those are always needed
    /// and therefore always restarted.
    out: Option<PathBuf>,
    implementation: Implementation,
    was_killed: bool,
    is_stopped: bool,
    /// It was complete when it was started again, so it has nothing left to download.
    was_complete: bool,
}

impl<'a> Member<'a> {
    fn start(
        implementation: Implementation,
        out: Option<PathBuf>,
        start: impl Fn() -> Process + 'a,
    ) -> Self {
        let process = start();
        Self {
            start: Box::new(start),
            process,
            out,
            implementation,
            was_killed: false,
            is_stopped: false,
            was_complete: false,
        }
    }

    fn kill(&mut self) {
        self.process.kill();
        (self.was_killed, self.is_stopped) = (true, true);
    }

    fn restart(&mut self) {
        self.was_complete = self.out.as_ref().is_some_and(|out| out.exists());
        self.process = (self.start)();
        self.is_stopped = false;
    }
}

enum Action {
    Kill,
    Restart,
}

/// Kills one to three members, and restarts those that are needed and some of the others.
fn kill_some(members: &mut [Member<'_>], random: &mut Rng) {
    let began = Instant::now();
    let mut killed: Vec<usize> = (0..members.len()).collect();
    random.shuffle(&mut killed);
    killed.truncate(random.usize(1..=3));
    let mut actions = Vec::new();
    for index in killed {
        let kill_at = random.u64(KILL_AT_MS);
        actions.push((kill_at, index, Action::Kill));
        let member = &members[index];
        // A reference client does not resume, so it is not restarted.
        if member.out.is_none() || (member.implementation == Implementation::Sow && random.bool()) {
            let delay = match random.u8(0..LATE_RESTART_ONE_IN) {
                0 => LATE_RESTART_AFTER_MS,
                _ => random.u64(RESTART_AFTER_MS),
            };
            actions.push((kill_at + delay, index, Action::Restart));
        }
    }
    actions.sort_by_key(|(at, ..)| *at);
    for (at, index, action) in actions {
        thread::sleep(
            (began + Duration::from_millis(at)).saturating_duration_since(Instant::now()),
        );
        match action {
            Action::Kill => members[index].kill(),
            Action::Restart => members[index].restart(),
        }
    }
}

/// Waits for all members that can complete; returns the bytes that restarted members did not fetch
/// again. A reference program may fail when a server, seed or tracker that it needs was killed.
fn wait_for_all_others(shared: &SharedFile, members: &mut [Member<'_>]) -> u64 {
    let is_undisturbed = !members.iter().any(|member| member.out.is_none() && member.was_killed);
    let mut resumed = 0;
    for member in members.iter_mut().filter(|member| !member.is_stopped) {
        let Some(out) = member.out.clone() else { continue };
        match member.implementation {
            Implementation::Sow if member.was_complete => {}
            Implementation::Sow => {
                let complete = member.process.wait_event("complete");
                resumed += complete["resumed_bytes"].as_u64().unwrap_or(0);
            }
            Implementation::Reference if is_undisturbed => {
                drop(member.process.wait_event("complete"))
            }
            Implementation::Reference => continue,
        }
        shared.assert_copied_to(&out);
    }
    resumed
}

/// Names the random seed when a test fails in its scope, and prevents further runs.
struct SeedReport<'a> {
    seed: u64,
    failed: &'a AtomicBool,
}

impl Drop for SeedReport<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.failed.store(true, Ordering::Relaxed);
            eprintln!("--- the random seed was {0}; KILL_SEED={0} runs it alone", self.seed);
        }
    }
}

fn seeds() -> Range<u64> {
    let number = |text: &str| text.parse::<u64>().expect("KILL_SEED is N or N..M");
    match env::var("KILL_SEED") {
        Err(_) => 0..SEEDS,
        Ok(text) => match text.split_once("..") {
            Some((start, end)) => number(start)..number(end),
            None => number(&text)..number(&text) + 1,
        },
    }
}

/// Runs all random seeds, several at once. The restarted members of all runs together must have
/// resumed some bytes.
fn for_all_seeds(run: impl Fn(&TestNetwork, u64) -> u64 + Sync) {
    let Range { start, end } = seeds();
    let is_one = end - start == 1;
    let (next, resumed, failed) =
        (AtomicU64::new(start), AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..NETWORKS {
            scope.spawn(|| {
                let network = TestNetwork::new(HOSTS);
                while !failed.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let _report = SeedReport { seed, failed: &failed };
                    resumed.fetch_add(run(&network, seed), Ordering::Relaxed);
                }
            });
        }
    });
    assert!(is_one || resumed.into_inner() > 0, "no restarted member resumed anything");
}

/// With an odd random seed the last client is a reference program.
fn implementation_of_last(seed: u64) -> Implementation {
    if seed.is_multiple_of(2) { Implementation::Sow } else { Implementation::Reference }
}

#[test]
fn chunk_clients_complete_when_random_members_are_killed() {
    for_all_seeds(|network, seed| {
        let mut random = Rng::with_seed(seed);
        let shared = SharedFile::file(3 * MIB + random.usize(0..200_000));
        let spelling = *random.choice(&SPELLINGS).expect("there are two");
        let mut members = vec![Member::start(Implementation::Sow, None, || {
            chunk::serve(
                Implementation::Sow,
                network,
                1,
                &shared,
                &format!("{spelling} --up-limit 3MB/s"),
            )
        })];
        for (host, index) in (2..).zip(0..CLIENTS) {
            let implementation = if index + 1 == CLIENTS {
                implementation_of_last(seed)
            } else {
                Implementation::Sow
            };
            let option = match implementation {
                Implementation::Reference => "--linger 60",
                Implementation::Sow if random.bool() => "--no-seed",
                Implementation::Sow => "",
            };
            let (out, options) =
                (shared.out(&format!("host{host}")), format!("{spelling} {option}"));
            let to = out.clone();
            members.push(Member::start(implementation, Some(out), move || {
                chunk::fetch(implementation, network, host, 1, &to, &options)
            }));
        }
        kill_some(&mut members, &mut random);
        wait_for_all_others(&shared, &mut members)
    });
}

#[test]
fn json_torrent_peers_complete_when_random_members_are_killed() {
    for_all_seeds(|network, seed| {
        let mut random = Rng::with_seed(seed);
        let shared = SharedFile::file(3 * MIB + random.usize(0..200_000));
        let mut swarm = JsonSwarm::of_sow(network, &shared, 16 << 10);
        swarm.tracker.kill();
        let swarm = &swarm;
        let mut members = vec![
            Member::start(Implementation::Sow, None, || json_torrent::sow_tracker(network)),
            Member::start(Implementation::Sow, None, || swarm.sow_seed(2, "--up-limit 3MB/s")),
        ];
        for (host, index) in (3..).zip(0..CLIENTS) {
            let stay = if random.bool() { "--no-seed" } else { "" };
            members.push(
                if index + 1 == CLIENTS && implementation_of_last(seed) == Implementation::Reference
                {
                    Member::start(
                        Implementation::Reference,
                        Some(swarm.reference_copy(host)),
                        move || swarm.reference_peer(host, "--linger 60"),
                    )
                } else {
                    Member::start(Implementation::Sow, Some(swarm.sow_copy(host)), move || {
                        swarm.sow_peer(host, stay)
                    })
                },
            );
        }
        kill_some(&mut members, &mut random);
        wait_for_all_others(&shared, &mut members)
    });
}

/// Without a tracker no new peer joins, but connected peers continue.
#[test]
fn connected_peers_complete_without_their_tracker() {
    let (network, shared) = (TestNetwork::new(HOSTS), SharedFile::file(6 * MIB));
    let mut swarm = JsonSwarm::of_sow(&network, &shared, 16 << 10);
    let _seed = swarm.sow_seed(2, "--up-limit 2MB/s");
    let mut peers =
        [3, 4, 5, 6, 7].map(|host| (swarm.sow_peer(host, "--no-seed"), swarm.sow_copy(host)));
    for (peer, _) in &peers {
        let has_some =
            || peer.events("progress").iter().any(|event| event["bytes"].as_u64() > Some(0));
        wait_until("the first bytes of every peer", has_some);
    }
    swarm.tracker.kill();
    for (peer, copy) in &mut peers {
        peer.wait_event("complete");
        peer.wait_success();
        shared.assert_copied_to(copy);
    }
}
