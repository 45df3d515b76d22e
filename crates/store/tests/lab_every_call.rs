//! A receiving process is killed at each of its system calls in turn, so that every moment between
//! two steps is tested.
//!
//! `strace` sends SIGKILL when call number n of a kind is entered: for every kind that changes
//! something, and for every n until the process completes. The process is this test program itself,
//! with the target in its environment.

#[path = "store/sample.rs"]
mod sample;

use std::{
    env, fs,
    io::Write,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Command, Output},
};

use sample::{Sample, copy, names_in, read_tree};
use sow_content::{Bitfield, hash::sha1};
use sow_store::{DiskStore, ReceiveOptions, Store, clear_leftovers};

/// The system calls that change something on the disk or write to standard output.
const SYSTEM_CALLS: [&str; 12] = [
    "openat",
    "openat2",
    "mkdirat",
    "flock",
    "ftruncate",
    "pwritev",
    "pwrite64",
    "fdatasync",
    "fsync",
    "renameat2",
    "unlinkat",
    "write",
];
const TARGET_VARIABLE: &str = "SOW_STORE_TEST_TARGET";
const KIND_VARIABLE: &str = "SOW_STORE_TEST_KIND";

/// Pieces that an interrupted run left. The first three are synced.
const LEFTOVER_PIECES: [u32; 5] = [0, 3, 7, 1, 9];

fn sample(kind: &str) -> Sample {
    let files = [
        ("a", 3500, false),
        ("empty", 0, false),
        ("b/c", 5500, false),
        (".pad", 500, true),
        ("d/e/f", 500, false),
    ];
    match kind {
        "file" => Sample::file(10_000, 1000, 1),
        "folder" => Sample::folder(&files, 1000, 2),
        kind => panic!("no sample is called {kind}"),
    }
}

/// The old target.
fn old_target(kind: &str) -> Sample {
    let files = [("x/1", 10, false), ("x/2", 10, false), ("a", 10, false)];
    if kind == "file" { Sample::file(30, 30, 3) } else { Sample::folder(&files, 30, 3) }
}

fn open(sample: &Sample, target: &Path) -> (Store, Bitfield) {
    let options = ReceiveOptions { overwrite: true, threads: 1, ..Default::default() };
    let (store, have) =
        DiskStore::receive(&sample.info, sample.info_hash, target, &options).unwrap();
    (store.into(), have)
}

fn write_and_journal(store: &Store, sample: &Sample, piece: u32) {
    store.write_piece(piece, &sample.blocks(piece, 300)).unwrap();
    store.journal(piece).unwrap();
}

/// The receiving process; without a target in the environment, a test of an uninterrupted run. It
/// has one thread, so that the order of its system calls is always the same.
#[test]
fn a_process_receives_all_pieces() {
    let Some(target) = env::var_os(TARGET_VARIABLE) else { return receive_uninterrupted() };
    let sample = sample(&env::var(KIND_VARIABLE).unwrap());
    let (store, have) = open(&sample, Path::new(&target));
    for piece in (0..have.len()).rev().filter(|piece| !have.get(*piece)) {
        write_and_journal(&store, &sample, piece);
        std::io::stdout().write_all(format!("\njournaled {piece}\n").as_bytes()).unwrap();
        if piece % 4 == 0 {
            store.sync().unwrap();
        }
    }
    store.finish().unwrap();
}

fn receive_uninterrupted() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("content");
    let sample = sample("folder");
    let (store, have) = open(&sample, &target);
    (0..have.len()).for_each(|piece| write_and_journal(&store, &sample, piece));
    store.finish().unwrap();
    assert!(read_tree(&target) == sample.tree());
}

/// Runs the receiving process and kills it at its n-th call of a kind.
fn receive_and_kill(kind: &str, target: &Path, call: &str, n: u32) -> Output {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
    command.args(["-e", &format!("inject={call}:signal=KILL:when={n}")]);
    command.arg(env::current_exe().unwrap()).args([
        "--exact",
        "a_process_receives_all_pieces",
        "--nocapture",
        "--test-threads=1",
    ]);
    command
        .env(TARGET_VARIABLE, target)
        .env(KIND_VARIABLE, kind)
        .output()
        .expect("strace can be run")
}

/// Kills the receiving process at every call, each time in a copy of the folder `prepared`, which
/// already has the pieces `existing`.
fn kill_at_every_call(kind: &str, prepared: &Path, existing: &[u32]) {
    let (mut kills, mut committed) = (0, 0);
    for call in SYSTEM_CALLS {
        for n in 1.. {
            assert!(n < 300, "the process never completes under {call}");
            let folder = tempfile::tempdir_in(if Path::new("/dev/shm").is_dir() {
                "/dev/shm"
            } else {
                "/tmp"
            })
            .unwrap();
            copy(prepared, folder.path());
            let target = folder.path().join("content");
            let output = receive_and_kill(kind, &target, call, n);
            if output.status.success() {
                break;
            }
            assert_eq!(
                output.status.signal(),
                Some(9),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            let stdout = String::from_utf8(output.stdout).unwrap();
            let journaled =
                stdout.lines().filter_map(|line| line.strip_prefix("journaled ")?.parse().ok());
            let required: Vec<u32> = existing.iter().copied().chain(journaled).collect();
            kills += 1;
            let moment = format!("{call} {n}");
            let is_committed = check(kind, folder.path(), prepared, &required, &moment);
            committed += u32::from(is_committed);
        }
    }
    assert!(
        kills > 40 && committed > 0 && committed < kills,
        "{kills} kills, {committed} of them after the commit"
    );
}

/// Checks the files after a kill. The target is the old or the new one; every `required` piece
/// counts; every piece that counts has the right bytes; and the next run leaves the content and
/// nothing else. Returns whether the target was committed before the kill.
fn check(kind: &str, folder: &Path, prepared: &Path, required: &[u32], moment: &str) -> bool {
    let sample = sample(kind);
    let target = folder.join("content");
    let found = target.exists().then(|| read_tree(&target));
    let is_committed = found.as_ref() == Some(&sample.tree());
    if is_committed && fastrand::bool() {
        clear_leftovers(&sample.info, sample.info_hash, &target).unwrap();
    } else if is_committed {
        // The next run replaces the target. It must not use what is left next to it.
        let (store, have) = open(&sample, &target);
        assert!(have.is_empty(), "{moment}");
        (0..have.len()).for_each(|piece| write_and_journal(&store, &sample, piece));
        store.finish().unwrap();
    } else {
        let before = prepared.join("content");
        assert!(
            found == before.exists().then(|| read_tree(&before)),
            "{moment}: the target is neither the old nor the new one"
        );
        let (store, have) = open(&sample, &target);
        for piece in required {
            assert!(have.get(*piece), "{moment}: piece {piece} is lost");
        }
        for piece in have.iter() {
            let mut bytes = vec![0; sample.info.geometry.length_of(piece) as usize];
            store.read(sample.info.geometry.range_of(piece), &mut bytes).unwrap();
            assert!(
                bytes == sample.piece(piece),
                "{moment}: piece {piece} counts but has wrong bytes"
            );
        }
        let missing = (0..have.len()).filter(|piece| !have.get(*piece));
        missing.for_each(|piece| write_and_journal(&store, &sample, piece));
        store.finish().unwrap();
    }
    assert!(read_tree(&target) == sample.tree(), "{moment}");
    assert_eq!(names_in(folder), ["content"], "{moment}");
    is_committed
}

/// A folder with an old target and the leftovers of an interrupted run.
fn interrupted_folder(kind: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("content");
    old_target(kind).write_to(&target);
    let (store, _) = open(&sample(kind), &target);
    for piece in LEFTOVER_PIECES {
        write_and_journal(&store, &sample(kind), piece);
        if piece == LEFTOVER_PIECES[2] {
            store.sync().unwrap();
        }
    }
    folder
}

/// Changes the boot id of a journal, as if it had been written in an earlier boot. The format of
/// the journal is a contract with earlier versions: the boot id is at byte 40, followed by the
/// check.
fn change_boot_id(journal: &Path) {
    let mut bytes = fs::read(journal).unwrap();
    bytes[40..56].iter_mut().for_each(|byte| *byte ^= 0x55);
    let check = sha1(&bytes[..56]);
    bytes[56..64].copy_from_slice(&check[..8]);
    fs::write(journal, bytes).unwrap();
}

fn kill_new_download(kind: &str) {
    kill_at_every_call(kind, tempfile::tempdir().unwrap().path(), &[]);
}

fn kill_resumed_download(kind: &str) {
    kill_at_every_call(kind, interrupted_folder(kind).path(), &LEFTOVER_PIECES);
}

fn kill_after_power_failure(kind: &str) {
    let folder = interrupted_folder(kind);
    change_boot_id(&folder.path().join("content.sow-part.journal"));
    kill_at_every_call(kind, folder.path(), &LEFTOVER_PIECES);
}

#[test]
fn a_kill_at_any_call_loses_nothing_of_a_new_file() {
    kill_new_download("file");
}

#[test]
fn a_kill_at_any_call_loses_nothing_of_a_new_folder() {
    kill_new_download("folder");
}

#[test]
fn a_kill_at_any_call_loses_nothing_of_a_resumed_file() {
    kill_resumed_download("file");
}

#[test]
fn a_kill_at_any_call_loses_nothing_of_a_resumed_folder() {
    kill_resumed_download("folder");
}

#[test]
fn a_kill_at_any_call_loses_nothing_of_a_file_after_a_power_failure() {
    kill_after_power_failure("file");
}

#[test]
fn a_kill_at_any_call_loses_nothing_of_a_folder_after_a_power_failure() {
    kill_after_power_failure("folder");
}

#[test]
fn a_kill_at_any_call_loses_nothing_of_a_folder_with_a_missing_file() {
    let folder = interrupted_folder("folder");
    fs::remove_file(folder.path().join("content.sow-part/b/c")).unwrap();
    // `b/c` has bytes 3,500 to 9,000.
    kill_at_every_call("folder", folder.path(), &[0, 1, 9]);
}
