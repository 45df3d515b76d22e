//! What is remembered: a restart hashes nothing, damage is hashed again, and many idle shares cost
//! little.

use std::{fs, path::PathBuf};

use crate::{
    service::Service,
    support::{in_parallel, noise_file, run, text},
};

const FILES: usize = 1000;
const LENGTH: usize = 64 << 10;

/// The bytes that a process has read by any system call (proc(5)).
fn bytes_read(pid: u32) -> u64 {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    let line = io.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap();
    line.parse().unwrap()
}

fn count(pid: u32, what: &str) -> usize {
    fs::read_dir(format!("/proc/{pid}/{what}")).unwrap().count()
}

#[test]
fn a_thousand_files_are_served_again_without_hashing_and_fifty_receivers_get_twenty() {
    let folder = tempfile::tempdir().unwrap();
    let watched = folder.path().join("watched");
    fs::create_dir(&watched).unwrap();
    let files: Vec<PathBuf> =
        (0..FILES).map(|at| noise_file(&watched, &format!("{at:04}"), LENGTH + at)).collect();
    let state = folder.path().join("state");
    let more = ["--watch", text(&watched)];
    let mut first = Service::start(&state, &more);
    first.wait_for_shares(FILES);
    let hashed: u64 = first.shares.values().map(|it| it["hashed"].as_u64().unwrap()).sum();
    assert!(hashed >= (FILES * LENGTH) as u64 && bytes_read(first.running.pid()) >= hashed);
    let (old, threads) = (first.shares.clone(), count(first.running.pid(), "task"));
    first.running.interrupt();
    first.running.wait().expect(0);

    let mut again = Service::start(&state, &more);
    assert_eq!(again.shares.len(), FILES, "all are shared when it is ready");
    for (path, share) in &again.shares {
        assert_eq!((&share["hashed"], &share["bytes"]), (&0.into(), &old[path]["bytes"]), "{path}");
        assert_eq!(share["info_hash"], old[path]["info_hash"], "{path}");
    }
    let pid = again.running.pid();
    let read = bytes_read(pid);
    assert!(read < hashed / 8, "it read {read} bytes, of {hashed} in the files");
    assert!(count(pid, "fd") < 40, "{} files are open", count(pid, "fd"));
    assert!(count(pid, "task") <= threads, "no thread for a share");

    let copies = folder.path().to_owned();
    let wanted: Vec<String> = files[..20].iter().map(|path| again.ticket(path)).collect();
    let originals = files.clone();
    in_parallel(50, move |at| {
        let copy = copies.join(format!("copy{at}"));
        run(["get", &wanted[at % 20], "--no-seed", "-q", "-o", text(&copy)]).expect(0);
        assert!(fs::read(copy).unwrap() == fs::read(&originals[at % 20]).unwrap());
    });
}

#[test]
fn a_damaged_record_is_hashed_again_with_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) =
        (noise_file(folder.path(), "one", 1000), noise_file(folder.path(), "two", 2000));
    let state = folder.path().join("state");
    let paths = [text(&one), text(&two)];
    let mut first = Service::start(&state, &paths);
    first.wait_for_shares(2);
    first.running.interrupt();
    first.running.wait().expect(0);
    let records = fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().path());
    let mut damaged = 0;
    for record in records.filter(|path| path.extension().is_some_and(|it| it == "hashed")) {
        let mut bytes = fs::read(&record).unwrap();
        if bytes.windows(4).any(|part| part == b"/one") {
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            damaged += 1;
        }
        fs::write(record, bytes).unwrap();
    }
    assert_eq!(damaged, 1);
    let mut again = Service::start(&state, &paths);
    assert_eq!(again.share(&one, "shared")["hashed"], 1000);
    assert_eq!(again.share(&two, "shared")["hashed"], 0);
    again.running.interrupt();
    again.running.wait().expect(0).says(&["one is damaged; it is hashed again"]);
    let mut third = Service::start(&state, &paths);
    assert_eq!(third.share(&one, "shared")["hashed"], 0, "the damage was mended");
}

#[test]
fn a_file_that_was_replaced_while_nothing_ran_is_hashed() {
    let folder = tempfile::tempdir().unwrap();
    let path = noise_file(folder.path(), "a", 1000);
    let state = folder.path().join("state");
    let mut first = Service::start(&state, &[text(&path)]);
    let old = first.ticket(&path);
    first.running.interrupt();
    first.running.wait().expect(0);
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    let other = folder.path().join("other");
    fs::write(&other, vec![9; 1000]).unwrap();
    fs::File::options().write(true).open(&other).unwrap().set_modified(modified).unwrap();
    fs::rename(&other, &path).unwrap();
    let mut again = Service::start(&state, &[text(&path)]);
    let share = again.share(&path, "shared");
    assert_eq!(share["hashed"], 1000, "the same length and time, but another inode");
    assert_ne!(share["ticket"], *old);
}
