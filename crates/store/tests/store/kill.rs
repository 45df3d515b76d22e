//! A receiving process killed with SIGKILL at random moments, again and again, and what the next
//! one finds.
//!
//! The process is this test program itself, told by the environment to play the victim.

use std::{
    collections::BTreeSet,
    env, fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use crate::sample::{Sample, copy, names_in, read_tree};
use sow_content::Bitfield;
use sow_store::{DiskStore, ReceiveOptions, Store, clear_leftovers};

const TARGET: &str = "SOW_STORE_TEST_TARGET";
const KIND: &str = "SOW_STORE_TEST_KIND";
const PATIENCE: Duration = Duration::from_secs(60);

fn sample(kind: &str) -> Sample {
    let files = [
        ("a", 9_000_000, false),
        ("b/empty", 0, false),
        ("b/c", 5_000_000, false),
        ("d", 77, false),
    ];
    match kind {
        "file" => Sample::file(14_000_077, 32_768, 1),
        "folder" => Sample::folder(&files, 32_768, 2),
        kind => panic!("no sample is called {kind}"),
    }
}

fn open(sample: &Sample, target: &Path) -> (Store, Bitfield) {
    let options = ReceiveOptions { overwrite: true, ..Default::default() };
    let (store, have) =
        DiskStore::receive(&sample.info, sample.info_hash, target, &options).unwrap();
    (store.into(), have)
}

/// Receives what is missing with three threads, telling of each piece that is journaled, then
/// finishes.
fn receive(sample: &Sample, target: &Path, tell: impl Fn(&str) + Sync) {
    let (store, have) = open(sample, target);
    tell("ready");
    let mut missing: Vec<u32> = (0..have.len()).filter(|piece| !have.get(*piece)).collect();
    fastrand::shuffle(&mut missing);
    thread::scope(|scope| {
        for thread in 0..3 {
            let (store, missing, tell) = (&store, &missing, &tell);
            scope.spawn(move || {
                for piece in missing.iter().skip(thread).step_by(3) {
                    store.write_piece(*piece, &sample.blocks(*piece, 16_384)).unwrap();
                    store.journal(*piece).unwrap();
                    tell(&format!("journaled {piece}"));
                    if piece % 64 == 0 {
                        store.sync().unwrap();
                    }
                    thread::sleep(Duration::from_micros(500));
                }
            });
        }
    });
    store.finish().unwrap();
    tell("finished");
}

/// The victim's part; by itself, a whole run that nobody interrupts.
#[test]
fn victim() {
    // Not `println!`, which the test harness may keep to itself.
    let tell = |text: &str| std::io::stdout().write_all(format!("\n{text}\n").as_bytes()).unwrap();
    match (env::var_os(TARGET), env::var(KIND)) {
        (Some(target), Ok(kind)) => receive(&sample(&kind), Path::new(&target), tell),
        _ => {
            let folder = tempfile::tempdir().unwrap();
            let target = folder.path().join("content");
            receive(&sample("folder"), &target, |_| {});
            assert!(read_tree(&target) == sample("folder").tree());
        }
    }
}

struct Victim {
    process: Child,
    lines: Receiver<String>,
}

impl Victim {
    fn start(kind: &str, target: &Path) -> Self {
        let mut process = Command::new(env::current_exe().unwrap())
            .args(["--exact", "kill::victim", "--nocapture", "--test-threads=1"])
            .env(TARGET, target)
            .env(KIND, kind)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = lines_of(process.stdout.take().unwrap());
        let victim = Self { process, lines };
        while victim.lines.recv_timeout(PATIENCE).expect("the victim gets ready") != "ready" {}
        victim
    }

    /// Kills it after a while; what it said until then.
    fn kill_after(mut self, while_: Duration) -> Vec<String> {
        thread::sleep(while_);
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.lines.iter().collect()
    }
}

fn lines_of(stdout: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

fn killed_while_receiving(kind: &str) {
    let sample = sample(kind);
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("content");
    let mut reported = BTreeSet::new();
    let mut midway = 0;
    for round in 0.. {
        assert!(round < 100, "it never finishes");
        let victim = Victim::start(kind, &target);
        let said = victim.kill_after(Duration::from_micros(fastrand::u64(0..15_000)));
        if said.iter().any(|line| line == "finished") || target.exists() {
            if midway >= 3 {
                break;
            }
            // The kill came late: once more from the beginning.
            reported.clear();
            if target.exists() {
                clear_leftovers(&sample.info, sample.info_hash, &target).unwrap();
                remove(&target);
            }
            continue;
        }
        reported.extend(
            said.iter().filter_map(|line| line.strip_prefix("journaled ")?.parse::<u32>().ok()),
        );

        let (store, have) = open(&sample, &target);
        for piece in &reported {
            assert!(have.get(*piece), "round {round}: piece {piece} was journaled and is lost");
        }
        for piece in have.iter() {
            let mut bytes = vec![0; sample.info.geometry.length_of(piece) as usize];
            store.read(sample.info.geometry.range_of(piece), &mut bytes).unwrap();
            assert!(
                bytes == sample.piece(piece),
                "round {round}: piece {piece} counts but is not there"
            );
        }
        midway += u32::from(!have.is_empty() && !have.is_full());
    }
    assert!(midway >= 3, "killed {midway} times midway");
    if target.exists() {
        clear_leftovers(&sample.info, sample.info_hash, &target).unwrap();
    } else {
        open(&sample, &target).0.finish().unwrap();
    }
    assert!(read_tree(&target) == sample.tree());
    assert_eq!(names_in(folder.path()), ["content"]);
}

fn remove(target: &Path) {
    if target.is_dir() { fs::remove_dir_all(target) } else { fs::remove_file(target) }.unwrap();
}

#[test]
fn a_file_killed_while_it_is_received() {
    killed_while_receiving("file");
}

#[test]
fn a_folder_killed_while_it_is_received() {
    killed_while_receiving("folder");
}

/// Whatever the moment, the target is the old content or the new, whole; and the next run ends with
/// the new alone.
fn killed_while_finishing(kind: &str) {
    let sample = sample(kind);
    let prepared = tempfile::tempdir().unwrap();
    let (store, have) = open(&sample, &prepared.path().join("content"));
    for piece in 0..have.len() {
        store.write_piece(piece, &sample.blocks(piece, 16_384)).unwrap();
        store.journal(piece).unwrap();
    }
    drop(store);
    let old = match kind {
        "file" => Sample::file(100, 100, 3),
        _ => {
            let names: Vec<_> = (0..200).map(|at| format!("old {}/{at}", at % 7)).collect();
            Sample::folder(
                &names.iter().map(|name| (name.as_str(), 10, false)).collect::<Vec<_>>(),
                100,
                3,
            )
        }
    };
    for _ in 0..25 {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("content");
        copy(prepared.path(), folder.path());
        old.lay_out(&target);
        Victim::start(kind, &target).kill_after(Duration::from_micros(fastrand::u64(0..15_000)));
        check_after_finishing(folder.path(), &sample, &old);
    }
}

fn check_after_finishing(folder: &Path, sample: &Sample, old: &Sample) {
    let target: PathBuf = folder.join("content");
    let found = read_tree(&target);
    if found == sample.tree() {
        clear_leftovers(&sample.info, sample.info_hash, &target).unwrap();
    } else {
        assert!(found == old.tree(), "the target is neither the old nor the new");
        let (store, have) = open(sample, &target);
        assert!(have.is_full(), "{have:?}");
        store.finish().unwrap();
        assert!(read_tree(&target) == sample.tree());
    }
    assert_eq!(names_in(folder), ["content"], "nothing is left beside it");
    // And once more, with nothing to clear.
    clear_leftovers(&sample.info, sample.info_hash, &target).unwrap();
    assert!(fs::symlink_metadata(&target).is_ok());
}

#[test]
fn a_file_killed_while_it_is_put_in_place() {
    killed_while_finishing("file");
}

#[test]
fn a_folder_killed_while_it_is_put_in_place() {
    killed_while_finishing("folder");
}
