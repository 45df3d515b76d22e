//! SIGHUP, which a terminal that goes away sends, ends a run as SIGTERM does; under `nohup` it is
//! ignored.

mod support;

use std::{fs, process::Command, thread::sleep, time::Duration};

use rustix::process::Signal;
use support::{Origin, Running, noise_file, sow, sow_path, text};

/// A limit at which a download of [`SIZE`] bytes lasts longer than its test.
const SLOW: &str = "200kB/s";
const SIZE: usize = 3_000_000;

/// How long a signal that is ignored gets to end the program nevertheless.
const IGNORE_TIME: Duration = Duration::from_millis(300);

#[test]
fn an_origin_with_expected_receivers_names_who_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let file = noise_file(folder.path(), "file", 100_000);
    for signal in [Signal::HUP, Signal::TERM] {
        let origin = Origin::start(&file, &["--expect", "3"]);
        // A shell and the kernel may both send it.
        origin.running.signal(signal);
        if signal == Signal::HUP {
            origin.running.signal(signal);
        }
        origin.running.wait().expect(7).says(&["0 of 3 receivers", "3 not connected"]);
    }
}

#[test]
fn a_download_is_interrupted_and_continues_in_the_next_run() {
    let folder = tempfile::tempdir().unwrap();
    let (file, target) = (noise_file(folder.path(), "file", SIZE), folder.path().join("copy"));
    let origin = Origin::start(&file, &["--up-limit", SLOW]);
    let copy = text(&target);
    let mut get = Running::start(&mut sow(["get", &origin.ticket, "-o", copy, "--json"]));
    get.progress_beyond(0);
    get.signal(Signal::HUP);
    get.wait().expect(130);
    assert!(!target.exists());
    drop(origin);
    let origin = Origin::start(&file, &[]);
    support::run(["get", &origin.ticket, "-o", copy, "--no-seed"]).expect(0).says(&["resuming"]);
    assert_eq!(fs::read(target).unwrap(), fs::read(file).unwrap());
}

#[test]
fn a_tracker_and_a_raw_server_end_as_by_sigterm() {
    let folder = tempfile::tempdir().unwrap();
    let file = noise_file(folder.path(), "file", 1000);
    let file = text(&file);
    for line in [&["tracker", "--port", "0"][..], &["raw", "server", "-p", "0", "-f", file]] {
        let codes = [Signal::HUP, Signal::TERM].map(|signal| {
            let mut running = Running::start(sow(line).arg("--json"));
            running.line();
            running.signal(signal);
            running.wait().code()
        });
        assert_eq!(codes[0], codes[1], "{line:?}");
        assert_ne!(codes[0], -1, "{line:?} was killed");
    }
}

#[test]
fn nohup_is_respected() {
    let folder = tempfile::tempdir().unwrap();
    let file = noise_file(folder.path(), "file", 1000);
    let mut command = Command::new("nohup");
    command.arg(sow_path()).args(["send", "--bind", "127.0.0.1", "--port", "0"]).arg(&file);
    let mut send = Running::start(&mut command);
    send.line();
    send.signal(Signal::HUP);
    sleep(IGNORE_TIME);
    assert!(send.is_running());
    send.signal(Signal::TERM);
    send.wait().expect(130);
}
