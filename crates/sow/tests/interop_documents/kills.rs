//! Anybody is killed at any moment of a transfer to five clients, and some come back: all others
//! finish with the right bytes, and who comes back goes on. Fifty seeds for each protocol;
//! `KILL_SEED=N` runs one alone, `KILL_SEED=N..M` others.

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
    chunk::{self, Kind},
    json_torrent::{self, Network},
    naive::SPELLINGS,
    process::{Process, wait_until},
    shared::{MIB, Shared},
    world::World,
};

const SEEDS: u64 = 50;
/// So many seeds at once, each in a network of its own.
const WORLDS: usize = 3;
const HOSTS: u8 = 7;
const CLIENTS: usize = 5;
/// When somebody is killed, and how long it stays away, in milliseconds.
const KILL_AT: Range<u64> = 50..1400;
const AWAY_FOR: Range<u64> = 0..600;
/// One in so many stays away longer than most transfers take.
const ONE_IN: u8 = 5;
const AWAY_LONG: u64 = 2500;

/// Somebody who can be killed and started again.
struct Member<'a> {
    start: Box<dyn Fn() -> Process + 'a>,
    process: Process,
    /// Where it saves; none for servers, seeds and trackers, who are always needed and so always
    /// come back.
    out: Option<PathBuf>,
    kind: Kind,
    was_killed: bool,
    is_gone: bool,
    /// It had finished when it was started again, so it has nothing to complete.
    had_finished: bool,
}

impl<'a> Member<'a> {
    fn start(kind: Kind, out: Option<PathBuf>, start: impl Fn() -> Process + 'a) -> Self {
        let process = start();
        Self {
            start: Box::new(start),
            process,
            out,
            kind,
            was_killed: false,
            is_gone: false,
            had_finished: false,
        }
    }

    fn kill(&mut self) {
        self.process.kill();
        (self.was_killed, self.is_gone) = (true, true);
    }

    fn start_again(&mut self) {
        self.had_finished = self.out.as_ref().is_some_and(|out| out.exists());
        self.process = (self.start)();
        self.is_gone = false;
    }
}

enum Act {
    Kill,
    Start,
}

/// One to three members are killed, and those that must, or happen to, come back do.
fn kill_some(members: &mut [Member<'_>], random: &mut Rng) {
    let began = Instant::now();
    let mut victims: Vec<usize> = (0..members.len()).collect();
    random.shuffle(&mut victims);
    victims.truncate(random.usize(1..=3));
    let mut acts = Vec::new();
    for victim in victims {
        let kill_at = random.u64(KILL_AT);
        acts.push((kill_at, victim, Act::Kill));
        let member = &members[victim];
        // A naive program does not go on where it was, so it stays away.
        if member.out.is_none() || (member.kind == Kind::Sow && random.bool()) {
            let away = if random.u8(0..ONE_IN) == 0 { AWAY_LONG } else { random.u64(AWAY_FOR) };
            acts.push((kill_at + away, victim, Act::Start));
        }
    }
    acts.sort_by_key(|(at, ..)| *at);
    for (at, victim, act) in acts {
        thread::sleep(
            (began + Duration::from_millis(at)).saturating_duration_since(Instant::now()),
        );
        match act {
            Act::Kill => members[victim].kill(),
            Act::Start => members[victim].start_again(),
        }
    }
}

/// Waits for everybody who can finish; returns the bytes that those who came back did not fetch
/// again. Naive programs may fail when somebody was lost that they cannot do without.
fn all_others_finish(shared: &Shared, members: &mut [Member<'_>]) -> u64 {
    let is_whole = !members.iter().any(|member| member.out.is_none() && member.was_killed);
    let mut resumed = 0;
    for member in members.iter_mut().filter(|member| !member.is_gone) {
        let Some(out) = member.out.clone() else { continue };
        match member.kind {
            Kind::Sow if member.had_finished => {}
            Kind::Sow => {
                let complete = member.process.wait_event("complete");
                resumed += complete["resumed_bytes"].as_u64().unwrap_or(0);
            }
            Kind::Naive if is_whole => drop(member.process.wait_event("complete")),
            Kind::Naive => continue,
        }
        shared.assert_copied_to(&out);
    }
    resumed
}

/// Says which seed it was when a test fails in its scope, and lets no other begin.
struct Note<'a> {
    seed: u64,
    failed: &'a AtomicBool,
}

impl Drop for Note<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.failed.store(true, Ordering::Relaxed);
            eprintln!("--- this was seed {0}; KILL_SEED={0} runs it alone", self.seed);
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

/// Runs every seed, several at once. What was kept by those who came back must not be nothing, all
/// seeds together.
fn for_all_seeds(run: impl Fn(&World, u64) -> u64 + Sync) {
    let Range { start, end } = seeds();
    let is_one = end - start == 1;
    let (next, resumed, failed) =
        (AtomicU64::new(start), AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..WORLDS {
            scope.spawn(|| {
                let world = World::new(HOSTS);
                while !failed.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let _note = Note { seed, failed: &failed };
                    resumed.fetch_add(run(&world, seed), Ordering::Relaxed);
                }
            });
        }
    });
    assert!(is_one || resumed.into_inner() > 0, "nobody who came back had kept anything");
}

/// Odd seeds have a naive client, the others five of `sow`.
fn kind_of_last(seed: u64) -> Kind {
    if seed.is_multiple_of(2) { Kind::Sow } else { Kind::Naive }
}

#[test]
fn anybody_in_chunk() {
    for_all_seeds(|world, seed| {
        let mut random = Rng::with_seed(seed);
        let shared = Shared::file(3 * MIB + random.usize(0..200_000));
        let spelling = *random.choice(&SPELLINGS).expect("there are two");
        let mut members = vec![Member::start(Kind::Sow, None, || {
            chunk::serve(Kind::Sow, world, 1, &shared, &format!("{spelling} --up-limit 3MB/s"))
        })];
        for (host, index) in (2..).zip(0..CLIENTS) {
            let kind = if index + 1 == CLIENTS { kind_of_last(seed) } else { Kind::Sow };
            let option = match kind {
                Kind::Naive => "--linger 60",
                Kind::Sow if random.bool() => "--no-seed",
                Kind::Sow => "--seed-for 60s",
            };
            let (out, options) =
                (shared.out(&format!("host{host}")), format!("{spelling} {option}"));
            let to = out.clone();
            members.push(Member::start(kind, Some(out), move || {
                chunk::fetch(kind, world, host, 1, &to, &options)
            }));
        }
        kill_some(&mut members, &mut random);
        all_others_finish(&shared, &mut members)
    });
}

#[test]
fn anybody_in_json_torrent() {
    for_all_seeds(|world, seed| {
        let mut random = Rng::with_seed(seed);
        let shared = Shared::file(3 * MIB + random.usize(0..200_000));
        let mut network = Network::of_sow(world, &shared, 16 << 10);
        network.tracker.kill();
        let network = &network;
        let mut members = vec![
            Member::start(Kind::Sow, None, || json_torrent::sow_tracker(world)),
            Member::start(Kind::Sow, None, || network.sow_seed(2, "--up-limit 3MB/s")),
        ];
        for (host, index) in (3..).zip(0..CLIENTS) {
            let stay = if random.bool() { "--no-seed" } else { "--seed-for 60s" };
            members.push(if index + 1 == CLIENTS && kind_of_last(seed) == Kind::Naive {
                Member::start(Kind::Naive, Some(network.naive_copy(host)), move || {
                    network.naive_peer(host, "--linger 60")
                })
            } else {
                Member::start(Kind::Sow, Some(network.sow_copy(host)), move || {
                    network.sow_peer(host, stay)
                })
            });
        }
        kill_some(&mut members, &mut random);
        all_others_finish(&shared, &mut members)
    });
}

/// Without a tracker nobody new comes, but who has met goes on.
#[test]
fn a_tracker_that_is_gone_for_good_ends_nothing() {
    let (world, shared) = (World::new(HOSTS), Shared::file(6 * MIB));
    let mut network = Network::of_sow(&world, &shared, 16 << 10);
    let _seed = network.sow_seed(2, "--up-limit 2MB/s");
    let mut peers =
        [3, 4, 5, 6, 7].map(|host| (network.sow_peer(host, "--no-seed"), network.sow_copy(host)));
    for (peer, _) in &peers {
        let has_some =
            || peer.events("progress").iter().any(|event| event["bytes"].as_u64() > Some(0));
        wait_until("everybody's first bytes", has_some);
    }
    network.tracker.kill();
    for (peer, copy) in &mut peers {
        peer.wait_event("complete");
        peer.wait_success();
        shared.assert_copied_to(copy);
    }
}
