//! `sow lab run`: small experiments from the network to the report, also interrupted and continued.
//! Root only.

mod support;

use std::{fs, ops::Not as _, path::Path, process::Command};

use rustix::fs::{FlockOperation, flock};
use serde_json::Value;
use sow_lab::record::{self, Records};
use support::{Running, run, sow};

/// Each run takes at least two and a half seconds, long enough to interrupt one.
const CHURN: &str = r#"
title = "A small crowd that changes"
users = 4
modes = ["chunk", "swarm"]
repeat = 1
seed = 5
limit = "60s"
[network]
rate = "10mbit"
delay = "2ms"
[[file]]
name = "text-3MiB"
size = "3MiB"
kind = "text"
[[event]]
at = "300ms"
receiver = 2
do = "start"
[[event]]
at = "500ms"
receiver = 3
do = "leave"
[[event]]
at = "400ms"
receiver = 4
do = "kill"
[[event]]
at = "800ms"
receiver = 4
do = "start"
"#;

/// Nothing of an experiment's labs and folders may be left when none is running. Those of another
/// experiment on this machine have a lock that is held, and do not count.
#[track_caller]
fn assert_nothing_left() {
    let output = Command::new("ip").args(["netns", "list"]).output().expect("ip runs");
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    let labs =
        listed.lines().filter_map(|line| line.strip_prefix("sow-experiment-")?.split('-').next());
    let folder = Path::new("/dev/shm/sow-lab-run-0");
    let locks = Path::new("/run/sow-lab");
    let files = [folder, locks].into_iter().flat_map(|folder| {
        let entries =
            fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned())
    });
    // The other files in that folder belong to labs.
    let files = files.filter(|name| name.starts_with(|letter: char| letter.is_ascii_digit()));
    let left = labs.map(str::to_owned).chain(files).filter(|name| {
        let number = name.trim_end_matches(".slot");
        let lock = fs::File::open(locks.join(format!("{number}.slot")));
        lock.is_ok_and(|lock| flock(&lock, FlockOperation::NonBlockingLockShared).is_err()).not()
    });
    let left: Vec<_> = left.collect();
    assert!(left.is_empty(), "{left:?}");
}

fn records(dir: &Path) -> Records {
    record::read(dir).expect("there are records")
}

#[track_caller]
fn assert_right(records: &Records) {
    assert!(records.failures.is_empty() && records.warnings.is_empty(), "{records:?}");
    for run in &records.runs {
        assert!(run.staying().all(|receiver| receiver.seconds().is_some()), "{run:?}");
        assert!(
            run.origins.iter().all(|origin| origin.wire_up_bytes > Some(run.file.bytes)),
            "{run:?}"
        );
        let sent = run.origins[0].payload_up_bytes;
        assert!(sent >= Some(run.file.bytes), "{run:?}");
        assert!(
            records.series[&run.run].len() == run.receivers.len() + 1,
            "a host without samples"
        );
    }
}

#[test]
fn the_smoke_experiment_is_run_reported_and_not_run_twice() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().join("results");
    let words = ["lab", "run", "smoke", "--out", &out.to_string_lossy()];
    let made = run(words).expect(0).says(&["5 runs, about", "[5/5] sow", "× bound", "report.html"]);
    assert!(
        made.stdout.contains("last ÷ bound") && made.stdout.contains("json-torrent"),
        "{}",
        made.stdout
    );
    let first = records(&out);
    assert_right(&first);
    let modes: Vec<_> = first.runs.iter().map(|run| &*run.mode).collect();
    assert_eq!(modes, ["raw", "framed", "chunk", "json-torrent", "swarm"]);
    assert_eq!(first.header.calibration.len(), 2);
    for run in &first.runs {
        let sources =
            run.receivers.iter().map(|receiver| receiver.from_bytes.values().sum::<u64>());
        assert!(sources.into_iter().all(|bytes| bytes == run.file.bytes), "{run:?}");
    }
    let page = fs::read_to_string(out.join("report.html")).expect("the page");
    assert!(page.contains(">sow<") && page.contains("<svg"), "the page is empty");
    assert_nothing_left();

    run(words).expect(0).says(&["0 runs (5 are done already)"]);
    assert_eq!(records(&out).runs.len(), 5);
    let again =
        run(words.into_iter().chain(["--repeat", "2", "--modes", "swarm", "--json"])).expect(0);
    let events: Vec<Value> = again
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("every line is JSON"))
        .collect();
    let kinds: Vec<_> = events.iter().filter_map(|event| event["event"].as_str()).collect();
    assert_eq!(kinds, ["plan", "calibration", "run", "outcome"]);
    assert_eq!((&events[2]["mode"], &events[2]["repetition"]), (&"swarm".into(), &1.into()));
    assert_right(&records(&out));
    run(words.into_iter().chain(["--seed", "2"])).expect(8).says(&[
        "another experiment",
        "seed: 1 then, 2 now",
        "--out",
    ]);
    assert_nothing_left();
}

#[test]
fn receivers_join_leave_and_are_killed() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("small-churn.toml");
    fs::write(&file, CHURN).expect("it can be written");
    let out = dir.path().join("out");
    let words = ["lab", "run", &file.to_string_lossy(), "--out", &out.to_string_lossy()];
    run(words).expect(0);
    let records = records(&out);
    assert_right(&records);
    assert_eq!(records.runs.len(), 2);
    for run in &records.runs {
        let [first, late, gone, back] = &run.receivers[..] else {
            panic!("four receivers: {run:?}")
        };
        // Events happen in order and not early. How late they are depends on the machine.
        assert!(first.started_seconds <= back.started_seconds, "{run:?}");
        assert!(
            back.started_seconds < late.started_seconds && late.started_seconds >= 0.3,
            "{run:?}"
        );
        assert!(
            gone.left_seconds >= Some(0.5) && gone.left_seconds >= Some(late.started_seconds),
            "{run:?}"
        );
        assert_eq!((gone.finished_seconds, gone.verified), (None, false));
        assert!(back.finished_seconds > Some(0.8), "{run:?}");
        let note = run.note.as_deref().unwrap_or_default();
        let said = ["h3 was started at ", "h5 was killed at ", "h4 left at ", "h5 was started at "];
        let places = said.map(|said| note.find(said));
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{note}");
    }
    assert_nothing_left();
}

#[test]
fn an_interrupted_or_killed_experiment_is_continued() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("changing.toml");
    fs::write(&file, CHURN).expect("it can be written");
    let out = dir.path().join("out");
    let words =
        ["lab", "run", &file.to_string_lossy(), "--repeat", "3", "--out", &out.to_string_lossy()];
    let start = || Running::start(&mut sow(words.into_iter().chain(["--json"])));

    let mut first = start();
    first.event(|event| event["event"] == "run");
    run(words).expect(1).says(&["another sow lab run is writing records in", "--out"]);
    first.interrupt();
    let ended = first.wait().expect(130).says(&["run the same command again"]);
    assert!(ended.stdout.contains("\"left\":"), "{}", ended.stdout);
    assert!(out.join("report.html").exists(), "no report of what is there");
    assert_nothing_left();
    let before = records(&out).runs.len();
    assert!((1..6).contains(&before), "{before}");

    let mut second = start();
    second.event(|event| event["event"] == "run");
    second.kill();
    assert!(records(&out).runs.len() > before);

    let last = run(words).expect(0);
    assert!(last.stderr.contains("are done already"), "{}", last.stderr);
    let all = records(&out);
    assert_right(&all);
    assert_eq!(all.runs.len(), 6);
    assert_nothing_left();
}
