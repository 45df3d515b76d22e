//! A receiving process is killed with SIGKILL at random moments, again and again. The tests check
//! what the next process finds.
//!
//! The process is this test program itself, with the target in its environment.

use std::{
    collections::BTreeSet,
    env, fs,
    io::{self, BufRead, BufReader, Read, Write},
    path::Path,
    process::{self, Child, ChildStdout, Command, Stdio},
    sync::{
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{self, Receiver},
    },
    thread,
    time::Duration,
};

use crate::sample::{Sample, copy, names_in, read_tree};
use sow_content::Bitfield;
use sow_store::{DiskStore, ReceiveOptions, Store, clear_leftovers};

const TARGET_VARIABLE: &str = "SOW_STORE_TEST_TARGET";
const KIND_VARIABLE: &str = "SOW_STORE_TEST_KIND";
/// The number of pieces after which the process stops and waits for its end.
const LIMIT_VARIABLE: &str = "SOW_STORE_TEST_LIMIT";

/// How long a line of the process may take.
const LINE_TIMEOUT: Duration = Duration::from_secs(60);

/// The most pieces that a process receives before it is killed. The content has 428 pieces, so
/// eight of these processes cannot complete it.
const MAX_PIECES_BEFORE_KILL: usize = 40;

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

/// Receives the missing pieces with three threads, reports each piece that is journaled, and
/// finishes. After `limit` pieces it waits for its end instead.
fn receive(sample: &Sample, target: &Path, limit: usize, report: impl Fn(&str) + Sync) {
    let (store, have) = open(sample, target);
    report("ready");
    let mut missing: Vec<u32> = (0..have.len()).filter(|piece| !have.get(*piece)).collect();
    fastrand::shuffle(&mut missing);
    let next = AtomicUsize::new(0);
    let receive_piece = || {
        let at = next.fetch_add(1, Ordering::Relaxed);
        let Some(&piece) = missing.get(at) else { return false };
        if at >= limit {
            wait_for_end_of_parent();
        }
        store.write_piece(piece, &sample.blocks(piece, 16_384)).unwrap();
        store.journal(piece).unwrap();
        report(&format!("journaled {piece}"));
        if piece % 64 == 0 {
            store.sync().unwrap();
        }
        true
    };
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| while receive_piece() {});
        }
    });
    store.finish().unwrap();
    report("finished");
}

/// Standard input ends when the parent process ends. Normally the parent kills this process first.
fn wait_for_end_of_parent() -> ! {
    let _ = io::stdin().read_to_end(&mut Vec::new());
    process::exit(1)
}

/// The receiving process; without a target in the environment, a test of an uninterrupted run.
#[test]
fn a_process_receives_all_pieces() {
    // Not `println!`, whose output the test harness may capture.
    let report = |text: &str| io::stdout().write_all(format!("\n{text}\n").as_bytes()).unwrap();
    match (env::var_os(TARGET_VARIABLE), env::var(KIND_VARIABLE)) {
        (Some(target), Ok(kind)) => {
            let limit = env::var(LIMIT_VARIABLE).map_or(usize::MAX, |limit| limit.parse().unwrap());
            receive(&sample(&kind), Path::new(&target), limit, report);
        }
        _ => {
            let folder = tempfile::tempdir().unwrap();
            let target = folder.path().join("content");
            receive(&sample("folder"), &target, usize::MAX, |_| {});
            assert!(read_tree(&target) == sample("folder").tree());
        }
    }
}

struct ReceivingProcess {
    process: Child,
    lines: Receiver<String>,
}

impl ReceivingProcess {
    fn start(kind: &str, target: &Path, limit: Option<usize>) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args(["--exact", "kill::a_process_receives_all_pieces"])
            .args(["--nocapture", "--test-threads=1"])
            .env(TARGET_VARIABLE, target)
            .env(KIND_VARIABLE, kind)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if let Some(limit) = limit {
            command.env(LIMIT_VARIABLE, limit.to_string());
        }
        let mut process = command.spawn().unwrap();
        let lines = lines_of(process.stdout.take().unwrap());
        let started = Self { process, lines };
        while started.next_line() != "ready" {}
        started
    }

    fn next_line(&self) -> String {
        self.lines.recv_timeout(LINE_TIMEOUT).expect("the process reports its next step")
    }

    /// Kills the process when it has reported this many pieces. Returns all pieces that it
    /// reported.
    fn kill_after_pieces(self, pieces: usize) -> Vec<u32> {
        let mut reported = Vec::new();
        while reported.len() < pieces {
            reported.extend(journaled_piece(&self.next_line()));
        }
        let rest = self.kill();
        reported.extend(rest.iter().filter_map(|line| journaled_piece(line)));
        reported
    }

    /// Kills the process and returns the lines that were not read yet.
    fn kill(mut self) -> Vec<String> {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.lines.iter().collect()
    }

    fn wait_until_finished(mut self) {
        while self.next_line() != "finished" {}
        assert!(self.process.wait().unwrap().success());
    }
}

fn journaled_piece(line: &str) -> Option<u32> {
    line.strip_prefix("journaled ")?.parse().ok()
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

fn kill_while_receiving(kind: &str) {
    let sample = sample(kind);
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("content");
    let mut reported = BTreeSet::new();
    for round in 0..8 {
        let limit = fastrand::usize(1..=MAX_PIECES_BEFORE_KILL);
        let process = ReceivingProcess::start(kind, &target, Some(limit));
        reported.extend(process.kill_after_pieces(fastrand::usize(0..=limit)));

        let (store, have) = open(&sample, &target);
        for piece in &reported {
            assert!(have.get(*piece), "round {round}: piece {piece} was journaled and is lost");
        }
        for piece in have.iter() {
            let mut bytes = vec![0; sample.info.geometry.length_of(piece) as usize];
            store.read(sample.info.geometry.range_of(piece), &mut bytes).unwrap();
            assert!(
                bytes == sample.piece(piece),
                "round {round}: piece {piece} counts but has wrong bytes"
            );
        }
        assert!(!have.is_full(), "round {round}: the download was complete before the kill");
    }
    assert!(!reported.is_empty(), "no process journaled a piece before it was killed");
    ReceivingProcess::start(kind, &target, None).wait_until_finished();
    assert!(read_tree(&target) == sample.tree());
    assert_eq!(names_in(folder.path()), ["content"]);
}

#[test]
fn a_process_that_is_killed_while_it_receives_a_file_loses_no_journaled_piece() {
    kill_while_receiving("file");
}

#[test]
fn a_process_that_is_killed_while_it_receives_a_folder_loses_no_journaled_piece() {
    kill_while_receiving("folder");
}

#[test]
fn after_a_kill_what_was_journaled_is_hashed_once_and_nothing_is_fetched_again() {
    let sample = sample("file");
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("content");
    let limit = MAX_PIECES_BEFORE_KILL;
    let process = ReceivingProcess::start("file", &target, Some(limit));
    let reported = process.kill_after_pieces(limit);
    // The state of the file is not that of a sync, whenever that was.
    let part = fs::File::open(folder.path().join("content.sow-part")).unwrap();
    part.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    let hashed = AtomicU64::new(0);
    let progress = |bytes| _ = hashed.fetch_max(bytes, Ordering::Relaxed);
    let options = ReceiveOptions { progress: &progress, ..Default::default() };
    let (_, have) = DiskStore::receive(&sample.info, sample.info_hash, &target, &options).unwrap();
    assert!(have.iter().eq(reported.iter().copied().collect::<BTreeSet<u32>>()));
    let journaled = reported.iter().map(|&piece| sample.info.geometry.length_of(piece));
    assert_eq!(hashed.into_inner(), journaled.map(u64::from).sum::<u64>());
}

/// After a kill at any moment the target is the whole old content or the whole new one, and the
/// next run leaves only the new one.
fn kill_while_finishing(kind: &str) {
    let sample = sample(kind);
    let prepared = tempfile::tempdir().unwrap();
    let (store, have) = open(&sample, &prepared.path().join("content"));
    for piece in 0..have.len() {
        store.write_piece(piece, &sample.blocks(piece, 16_384)).unwrap();
        store.journal(piece).unwrap();
    }
    drop(store);
    let old_target = match kind {
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
        old_target.write_to(&target);
        let process = ReceivingProcess::start(kind, &target, None);
        // A random moment; the checks hold for every one.
        thread::sleep(Duration::from_micros(fastrand::u64(0..15_000)));
        process.kill();
        check_after_kill(folder.path(), &sample, &old_target);
    }
}

fn check_after_kill(folder: &Path, sample: &Sample, old_target: &Sample) {
    let target = folder.join("content");
    let found = read_tree(&target);
    if found == sample.tree() {
        clear_leftovers(&sample.info, sample.info_hash, &target).unwrap();
    } else {
        assert!(found == old_target.tree(), "the target is neither the old nor the new content");
        let (store, have) = open(sample, &target);
        assert!(have.is_full(), "{have:?}");
        store.finish().unwrap();
        assert!(read_tree(&target) == sample.tree());
    }
    assert_eq!(names_in(folder), ["content"], "nothing is left next to the target");
    // A second call finds nothing to remove.
    clear_leftovers(&sample.info, sample.info_hash, &target).unwrap();
    assert!(fs::symlink_metadata(&target).is_ok());
}

#[test]
fn a_process_that_is_killed_while_it_commits_a_file_leaves_the_old_or_the_new_one() {
    kill_while_finishing("file");
}

#[test]
fn a_process_that_is_killed_while_it_commits_a_folder_leaves_the_old_or_the_new_one() {
    kill_while_finishing("folder");
}
