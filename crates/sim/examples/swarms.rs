//! Runs random swarms by their seeds, on all cores, and prints the seeds that fail:
//!
//! ```text
//! cargo run --release -p sow-sim --example swarms -- FIRST END [STATE-FILE]
//! ```
//!
//! The state file, if given, gets a line for each 1,000 seeds that are done and for each failure; a
//! later run with the same file continues after the last of them.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    panic::{self, AssertUnwindSafe},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

use sow_sim::{Scenario, check_random_swarm, random_swarm};

/// Seeds that a thread takes at once.
const BATCH: u64 = 1000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| arguments.get(at).and_then(|text| text.parse::<u64>().ok());
    let (Some(first), Some(end)) = (number(0), number(1)) else {
        eprintln!("usage: swarms FIRST END [STATE-FILE]");
        std::process::exit(2);
    };
    let path = arguments.get(2);
    let done: Vec<u64> =
        path.and_then(|path| fs::read_to_string(path).ok()).map_or_else(Vec::new, |text| {
            text.lines().filter_map(|line| line.strip_prefix("done ")?.parse().ok()).collect()
        });
    let state = path.map(|path| open(path)).map(Mutex::new);
    let note = |line: String| {
        println!("{line}");
        if let Some(state) = &state {
            let mut state = state.lock().expect("no thread panics while it writes");
            writeln!(state, "{line}").expect("the state file can be written");
        }
    };
    // A panic is one more failure, with its seed; its text is enough.
    panic::set_hook(Box::new(|_| {}));
    let (next, failures, began) = (AtomicU64::new(first), AtomicU64::new(0), Instant::now());
    let run = || {
        loop {
            let from = next.fetch_add(BATCH, Ordering::Relaxed);
            if from >= end {
                return;
            }
            if done.contains(&from) {
                continue;
            }
            for seed in from..(from + BATCH).min(end) {
                if let Some(failure) = failure_of(seed) {
                    failures.fetch_add(1, Ordering::Relaxed);
                    note(format!("failed {seed}: {failure} ({})", description(seed)));
                    note(format!(
                        "  cargo run --release -p sow-sim --example swarms -- {seed} {}",
                        seed + 1
                    ));
                }
            }
            note(format!("done {from}"));
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| (0..threads).for_each(|_| _ = scope.spawn(run)));
    let (failures, seconds) = (failures.into_inner(), began.elapsed().as_secs_f64());
    println!("seeds {first} to {end}: {failures} failures, {seconds:.0} s, {threads} threads");
    std::process::exit(i32::from(failures > 0));
}

fn open(path: &str) -> File {
    let opened = OpenOptions::new().create(true).append(true).open(path);
    opened.unwrap_or_else(|error| {
        eprintln!("{path}: {error}");
        std::process::exit(2);
    })
}

/// The dialect, the number of receivers and the misbehaving hosts of a seed's swarm.
fn description(seed: u64) -> String {
    let Scenario { dialect, receivers, hostile, faults, .. } = random_swarm(seed);
    let kinds: Vec<String> = hostile.iter().map(|(kind, _)| kind.name()).collect();
    let faults = if faults.is_empty() { "no faults" } else { "faults" };
    format!("{dialect}, {} receivers, {faults}, {}", receivers.len(), kinds.join(" "))
}

/// Why a seed fails; `None` when everything holds.
fn failure_of(seed: u64) -> Option<String> {
    match panic::catch_unwind(AssertUnwindSafe(|| check_random_swarm(seed))) {
        Ok(result) => result.err().map(|failure| failure.to_string()),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Some(format!("panic: {}", text.unwrap_or("of another kind")))
        }
    }
}
