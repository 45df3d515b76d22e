//! Tries a target with mutations of its committed inputs, on all cores, without a fuzzer:
//!
//! ```text
//! cargo run --release --bin mutate -- TARGET|all EXECUTIONS [FIRST-SEED]
//! ```
//!
//! An input that breaks the target is written to `broken-TARGET-HASH` in the current folder, and
//! the process ends with 1. Stable Rust is enough. Nothing guides the search but the corpus, which
//! a fuzzer that is guided by coverage has found; in return it is many times as fast.

use std::{
    fs,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Instant,
};

use sow_fuzz::{Mutator, TARGETS, Target};

/// Executions of a thread between two looks at the others.
const BATCH: u64 = 10_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| arguments.get(at).and_then(|text| text.parse::<u64>().ok());
    let (Some(name), Some(executions)) = (arguments.first(), number(1)) else {
        eprintln!("usage: mutate TARGET|all EXECUTIONS [FIRST-SEED]");
        std::process::exit(2);
    };
    let seed = number(2).unwrap_or(1);
    let chosen: Vec<&Target> =
        TARGETS.iter().filter(|(target, _)| name == "all" || name == target).collect();
    if chosen.is_empty() {
        eprintln!("no target {name}");
        std::process::exit(2);
    }
    // The text of a panic is printed with its input below.
    panic::set_hook(Box::new(|_| {}));
    let is_broken = chosen.into_iter().fold(false, |broken, target| {
        let began = Instant::now();
        let tried = try_target(target, executions, seed);
        let seconds = began.elapsed().as_secs_f64();
        let rate = tried.executions as f64 / seconds;
        println!(
            "{}: {} executions, {seconds:.0} s, {rate:.0} a second, {}",
            target.0,
            tried.executions,
            if tried.is_broken { "BROKEN" } else { "nothing found" }
        );
        broken || tried.is_broken
    });
    std::process::exit(i32::from(is_broken));
}

/// What became of a target.
struct Tried {
    executions: u64,
    is_broken: bool,
}

fn try_target(target: &Target, executions: u64, seed: u64) -> Tried {
    let (name, run) = *target;
    let inputs: Vec<Vec<u8>> =
        ["seeds", "corpus"].iter().flat_map(|kind| read(kind, name)).collect();
    let (done, is_broken) = (AtomicU64::new(0), AtomicBool::new(false));
    let work = |thread: u64| {
        let mut mutator = Mutator::new(&inputs, seed << 8 | thread);
        while !is_broken.load(Ordering::Relaxed)
            && done.fetch_add(BATCH, Ordering::Relaxed) < executions
        {
            for _ in 0..BATCH {
                let input = mutator.next();
                if let Err(panic) = panic::catch_unwind(AssertUnwindSafe(|| run(input))) {
                    is_broken.store(true, Ordering::Relaxed);
                    report(name, input, panic.as_ref());
                    break;
                }
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from) as u64;
    thread::scope(|scope| {
        for thread in 0..threads {
            let work = &work;
            scope.spawn(move || work(thread));
        }
    });
    let executions = done.into_inner().min(executions);
    Tried { executions, is_broken: is_broken.into_inner() }
}

fn report(name: &str, input: &[u8], panic: &(dyn std::any::Any + Send)) {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
    let hash = sow_content::hash::hexadecimal(&sow_content::hash::sha1(input)[..6]);
    let path = PathBuf::from(format!("broken-{name}-{hash}"));
    println!("{name}: {text}\n  the input is in {}", path.display());
    if let Err(error) = fs::write(&path, input) {
        eprintln!("{}: {error}", path.display());
    }
}

/// The committed inputs of one kind: those below the current folder, if it has corpora, else those
/// that were there when this was built.
fn read(kind: &str, target: &str) -> Vec<Vec<u8>> {
    let here = Path::new(".");
    let is_here = here.join("corpus").is_dir() && here.join("seeds").is_dir();
    let root = if is_here { here } else { Path::new(env!("CARGO_MANIFEST_DIR")) };
    let folder = root.join(kind).join(target);
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths.iter().filter_map(|path| fs::read(path).ok()).collect()
}
