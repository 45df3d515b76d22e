//! Targets that are no ordinary file, a file size limit, and a disk that returns other bytes than
//! were written: what `get` says, how it ends, and what it leaves alone.

mod support;

use std::{
    fs::{self, OpenOptions},
    os::unix::{
        fs::{FileExt, FileTypeExt, symlink},
        net::UnixListener,
    },
    path::Path,
    process::Command,
};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use support::{Origin, Running, noise_file, run, sow, sow_path, text};

const SIZE: usize = 3_000_000;

fn get<'a>(ticket: &'a str, target: &'a Path) -> Vec<&'a str> {
    vec!["get", ticket, "-o", text(target), "--no-seed", "--timeout", "20s"]
}

#[test]
fn pipes_devices_and_sockets_are_no_targets_and_stay() {
    let folder = tempfile::tempdir().unwrap();
    let file = noise_file(folder.path(), "file", SIZE);
    let origin = Origin::start(&file, &[]);
    let path = |name: &str| folder.path().join(name);
    mknodat(CWD, path("pipe"), FileType::Fifo, Mode::from_raw_mode(0o666), 0).unwrap();
    let _socket = UnixListener::bind(path("socket")).unwrap();
    symlink("pipe", path("link to a pipe")).unwrap();
    symlink("nowhere", path("dangling")).unwrap();
    let null = Path::new("/dev/null").to_owned();
    for (target, word) in [
        (path("pipe"), "is a pipe"),
        (path("socket"), "is a socket"),
        (path("link to a pipe"), "is a link to a pipe"),
        (path("dangling"), "is a link to nowhere, which does not exist"),
        (null, "is a device"),
    ] {
        for overwrite in [&[][..], &["--overwrite"]] {
            let line = [&get(&origin.ticket, &target)[..], overwrite].concat();
            let ended = run(line);
            assert!([1, 2, 5].contains(&ended.code()), "{}: {}", target.display(), ended.stderr);
            let ended = ended.says(&[word, text(&target)]);
            assert!(!ended.stderr.contains("--overwrite"), "no such tip helps: {}", ended.stderr);
        }
    }
    let kind = |name: &str| fs::symlink_metadata(path(name)).unwrap().file_type();
    assert!(kind("pipe").is_fifo() && kind("socket").is_socket() && kind("dangling").is_symlink());
    let left = support::names(folder.path());
    assert_eq!(left.len(), 5, "nothing is left beside them: {left:?}");
}

#[test]
fn a_file_size_limit_is_an_error_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let file = noise_file(folder.path(), "file", SIZE);
    let origin = Origin::start(&file, &[]);
    let target = folder.path().join("copy");
    let mut limited = Command::new("sh");
    // In units of 512 bytes.
    limited.args(["-c", "ulimit -f 1000; exec \"$@\"", "sh", text(sow_path())]);
    limited.args(get(&origin.ticket, &target));
    let ended = Running::start(&mut limited).wait().expect(5);
    ended.says(&["limit", text(&target)]);
    assert_eq!(support::names(folder.path()), ["file"]);
    run(get(&origin.ticket, &target)).expect(0);
}

#[test]
fn what_differs_when_it_is_read_back_is_fetched_by_the_next_run() {
    let folder = tempfile::tempdir().unwrap();
    let file = noise_file(folder.path(), "file", SIZE);
    let (bytes, target) = (fs::read(&file).unwrap(), folder.path().join("copy"));
    let origin = Origin::start(&file, &["--up-limit", "1MB/s"]);
    let line = [&get(&origin.ticket, &target)[..], &["--verify", "--json"]].concat();
    let mut running = Running::start(&mut sow(line.as_slice()));
    running.progress_beyond(1_000_000);
    // A page that was verified and written is another one now.
    let part = folder.path().join("copy.sow-part");
    let written = fs::read(&part).unwrap();
    let is_right = |at: &usize| written[*at..*at + 4096] == bytes[*at..*at + 4096];
    let at = (0..SIZE - 4096).step_by(4096).find(is_right).expect("a page that is written");
    let open = OpenOptions::new().write(true).open(&part).unwrap();
    open.write_all_at(b"other bytes", at as u64).unwrap();
    running.wait().expect(4);
    assert!(!target.exists());
    run(line).expect(0);
    assert!(fs::read(&target).unwrap() == bytes);
}
