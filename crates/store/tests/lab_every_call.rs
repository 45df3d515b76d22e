//! A receiving process killed at each of its system calls in turn: no moment between two steps is
//! left to chance.
//!
//! `strace` delivers a SIGKILL when the n-th call of a kind is entered, for every kind that changes
//! something and every n until the process gets through. The process is this test program itself,
//! told by the environment to play the victim.

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

/// The calls that change something on the disk or that others can see, and those around them.
const CALLS: [&str; 11] = [
    "openat",
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
const TARGET: &str = "SOW_STORE_TEST_TARGET";
const KIND: &str = "SOW_STORE_TEST_KIND";

/// Pieces that an earlier run left: the first three synced.
const LEFT: [u32; 5] = [0, 3, 7, 1, 9];

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

/// What is at the target before.
fn old(kind: &str) -> Sample {
    let files = [("x/1", 10, false), ("x/2", 10, false), ("a", 10, false)];
    if kind == "file" { Sample::file(30, 30, 3) } else { Sample::folder(&files, 30, 3) }
}

fn open(sample: &Sample, target: &Path) -> (Store, Bitfield) {
    let options = ReceiveOptions { overwrite: true, threads: 1, ..Default::default() };
    let (store, have) =
        DiskStore::receive(&sample.info, sample.info_hash, target, &options).unwrap();
    (store.into(), have)
}

fn put(store: &Store, sample: &Sample, piece: u32) {
    store.write_piece(piece, &sample.blocks(piece, 300)).unwrap();
    store.journal(piece).unwrap();
}

/// The victim's part: one thread, so that calls come in the same order every time.
#[test]
fn victim() {
    let Some(target) = env::var_os(TARGET) else { return a_whole_run() };
    let sample = sample(&env::var(KIND).unwrap());
    let (store, have) = open(&sample, Path::new(&target));
    for piece in (0..have.len()).rev().filter(|piece| !have.get(*piece)) {
        put(&store, &sample, piece);
        std::io::stdout().write_all(format!("\njournaled {piece}\n").as_bytes()).unwrap();
        if piece % 4 == 0 {
            store.sync().unwrap();
        }
    }
    store.finish().unwrap();
}

fn a_whole_run() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("content");
    let sample = sample("folder");
    let (store, have) = open(&sample, &target);
    (0..have.len()).for_each(|piece| put(&store, &sample, piece));
    store.finish().unwrap();
    assert!(read_tree(&target) == sample.tree());
}

/// Runs the victim until its n-th call of a kind.
fn run(kind: &str, target: &Path, call: &str, n: u32) -> Output {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
    command.args(["-e", &format!("inject={call}:signal=KILL:when={n}")]);
    command.arg(env::current_exe().unwrap()).args([
        "--exact",
        "victim",
        "--nocapture",
        "--test-threads=1",
    ]);
    command.env(TARGET, target).env(KIND, kind).output().expect("strace can be run")
}

/// Kills the victim at every call, each time beginning from a copy of what is in `prepared`. `left`
/// counts from before.
fn kill_at_every_call(kind: &str, prepared: &Path, left: &[u32]) {
    let (mut kills, mut placed) = (0, 0);
    for call in CALLS {
        for n in 1.. {
            assert!(n < 300, "the victim never gets through {call}");
            let folder = tempfile::tempdir_in(if Path::new("/dev/shm").is_dir() {
                "/dev/shm"
            } else {
                "/tmp"
            })
            .unwrap();
            copy(prepared, folder.path());
            let target = folder.path().join("content");
            let output = run(kind, &target, call, n);
            if output.status.success() {
                break;
            }
            assert_eq!(
                output.status.signal(),
                Some(9),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            let said = String::from_utf8(output.stdout).unwrap();
            let journaled =
                said.lines().filter_map(|line| line.strip_prefix("journaled ")?.parse().ok());
            let must: Vec<u32> = left.iter().copied().chain(journaled).collect();
            kills += 1;
            placed +=
                u32::from(check(kind, folder.path(), prepared, &must, &format!("{call} {n}")));
        }
    }
    assert!(
        kills > 40 && placed > 0 && placed < kills,
        "{kills} kills, {placed} of them with the target in place"
    );
}

/// After a kill: the target is what it was or what it is to be; every piece that was journaled
/// counts, and what counts is there; the next run ends with the content and nothing else. True when
/// the target was in place already.
fn check(kind: &str, folder: &Path, prepared: &Path, must: &[u32], moment: &str) -> bool {
    let sample = sample(kind);
    let target = folder.join("content");
    let found = target.exists().then(|| read_tree(&target));
    let in_place = found.as_ref() == Some(&sample.tree());
    if in_place && fastrand::bool() {
        clear_leftovers(&sample.info, sample.info_hash, &target).unwrap();
    } else if in_place {
        // Somebody wants it replaced all the same: what is left beside it is not taken for the new
        // content.
        let (store, have) = open(&sample, &target);
        assert!(have.is_empty(), "{moment}");
        (0..have.len()).for_each(|piece| put(&store, &sample, piece));
        store.finish().unwrap();
    } else {
        let before = prepared.join("content");
        assert!(
            found == before.exists().then(|| read_tree(&before)),
            "{moment}: the target is half done"
        );
        let (store, have) = open(&sample, &target);
        for piece in must {
            assert!(have.get(*piece), "{moment}: piece {piece} is lost");
        }
        for piece in have.iter() {
            let mut bytes = vec![0; sample.info.geometry.length_of(piece) as usize];
            store.read(sample.info.geometry.range_of(piece), &mut bytes).unwrap();
            assert!(
                bytes == sample.piece(piece),
                "{moment}: piece {piece} counts but is not there"
            );
        }
        let missing = (0..have.len()).filter(|piece| !have.get(*piece));
        missing.for_each(|piece| put(&store, &sample, piece));
        store.finish().unwrap();
    }
    assert!(read_tree(&target) == sample.tree(), "{moment}");
    assert_eq!(names_in(folder), ["content"], "{moment}");
    in_place
}

/// What an earlier run left when it was killed, beside an old target.
fn interrupted(kind: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("content");
    old(kind).lay_out(&target);
    let (store, _) = open(&sample(kind), &target);
    for piece in LEFT {
        put(&store, &sample(kind), piece);
        if piece == LEFT[2] {
            store.sync().unwrap();
        }
    }
    folder
}

/// Makes a journal look as if another start of the system had written it. Its layout is a contract
/// with earlier runs: the boot id is at 40, and its check after it.
fn make_old(journal: &Path) {
    let mut bytes = fs::read(journal).unwrap();
    bytes[40..56].iter_mut().for_each(|byte| *byte ^= 0x55);
    let check = sha1(&bytes[..56]);
    bytes[56..64].copy_from_slice(&check[..8]);
    fs::write(journal, bytes).unwrap();
}

fn from_nothing(kind: &str) {
    kill_at_every_call(kind, tempfile::tempdir().unwrap().path(), &[]);
}

fn after_an_interruption(kind: &str) {
    kill_at_every_call(kind, interrupted(kind).path(), &LEFT);
}

fn after_a_loss_of_power(kind: &str) {
    let folder = interrupted(kind);
    make_old(&folder.path().join("content.sow-part.journal"));
    kill_at_every_call(kind, folder.path(), &LEFT);
}

#[test]
fn a_file_from_nothing() {
    from_nothing("file");
}

#[test]
fn a_folder_from_nothing() {
    from_nothing("folder");
}

#[test]
fn a_file_after_an_interruption() {
    after_an_interruption("file");
}

#[test]
fn a_folder_after_an_interruption() {
    after_an_interruption("folder");
}

#[test]
fn a_file_after_a_loss_of_power() {
    after_a_loss_of_power("file");
}

#[test]
fn a_folder_after_a_loss_of_power() {
    after_a_loss_of_power("folder");
}

#[test]
fn a_folder_that_lost_a_file() {
    let folder = interrupted("folder");
    fs::remove_file(folder.path().join("content.sow-part/b/c")).unwrap();
    // `b/c` has bytes 3,500 to 9,000.
    kill_at_every_call("folder", folder.path(), &[0, 1, 9]);
}
