//! `sow send` and `sow get` when a process is killed or interrupted, or runs into a limit: verified
//! data is kept, and the next run fetches the rest.

mod support;

use std::fs;

use serde_json::Value;
use support::{Origin, Running, complete_of, names, noise_file, run, sow, text, wait_until};

/// Bytes of one record in the resume journal: one verified piece.
const JOURNAL_RECORD: u64 = 8;

fn sum_of(from: &Value) -> u64 {
    from.as_object().expect("bytes by peer").values().filter_map(Value::as_u64).sum()
}

#[test]
fn a_receiver_that_is_killed_ten_times_fetches_nothing_twice() {
    const SIZE: u64 = 48 << 20;
    let place = tempfile::tempdir().unwrap();
    let file = noise_file(place.path(), "big", SIZE as usize);
    // Slow enough that ten kills come long before the end.
    let mut origin = Origin::start(&file, &["--up-limit", "4MB/s"]);
    let (port, ticket) = (origin.port(), origin.ticket.clone());
    let out = tempfile::tempdir().unwrap();
    let args = ["get", &ticket, "--json", "--no-seed", "-o", text(out.path())];
    let journal = out.path().join("big.sow-part.journal");
    let journal_length = || fs::metadata(&journal).map_or(0, |metadata| metadata.len());
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..10 {
        let mut receiver = Running::start(&mut sow(args));
        // The moments are chosen by what is on the disk: before the journal exists, while it is
        // written for the first time, and after some pieces more.
        let length = journal_length() + JOURNAL_RECORD * random.u64(0..12);
        wait_until("some verified pieces", || journal_length() >= length);
        receiver.kill();
        assert!(!out.path().join("big").exists(), "a target that is not complete");
    }
    origin.running.kill();
    let _unlimited = Origin::start_on("127.0.0.1", port, &file, &[]);
    let ended = run(args).expect(0);
    let complete = complete_of(&ended.stdout);
    let kept = complete["resumed_bytes"].as_u64().unwrap();
    assert!(kept > 0, "nothing was kept: {complete}");
    assert!(ended.stderr.contains("resuming: "), "{}", ended.stderr);
    // Nothing that was verified before is fetched again.
    assert_eq!(sum_of(&complete["from"]), SIZE - kept, "{complete}");
    assert!(
        fs::read(out.path().join("big")).unwrap() == fs::read(&file).unwrap(),
        "the file differs"
    );
    assert_eq!(names(out.path()), ["big"]);
}

#[test]
fn a_receiver_continues_when_its_origin_restarts() {
    let place = tempfile::tempdir().unwrap();
    let file = noise_file(place.path(), "big", 8 << 20);
    let mut origin = Origin::start(&file, &["--up-limit", "2MB/s"]);
    let (port, ticket) = (origin.port(), origin.ticket.clone());
    let out = tempfile::tempdir().unwrap();
    let mut receiver =
        Running::start(&mut sow(["get", &ticket, "--json", "--no-seed", "-o", text(out.path())]));
    receiver.progress_beyond(1 << 20);
    origin.running.kill();
    receiver.event(|event| event["event"] == "progress" && event["peers"] == 0);
    assert!(receiver.is_running());
    let again = Origin::start_on("127.0.0.1", port, &file, &[]);
    assert_eq!(again.ticket, ticket, "the same content has the same ticket");
    receiver.wait().expect(0);
    assert!(
        fs::read(out.path().join("big")).unwrap() == fs::read(&file).unwrap(),
        "the file differs"
    );
}

#[test]
fn receivers_finish_without_the_origin_when_they_have_everything() {
    let place = tempfile::tempdir().unwrap();
    let file = noise_file(place.path(), "big", 4 << 20);
    let mut origin = Origin::start(&file, &["--expect", "9"]);
    let out = tempfile::tempdir().unwrap();
    let (first, second) = (out.path().join("1"), out.path().join("2"));
    let ticket = origin.ticket.clone();
    // The second fetches slowly, the first is complete soon. The origin is killed when they are
    // connected to each other.
    let slow =
        ["get", &ticket, "--json", "--down-limit", "500kB/s", "--no-seed", "-o", text(&second)];
    let mut slow = Running::start(&mut sow(slow));
    slow.event(|event| event["event"] == "progress" && event["peers"].as_u64() > Some(0));
    let fast = Running::start(&mut sow(["get", &ticket, "-o", text(&first)]));
    wait_until("the first copy", || first.exists());
    slow.event(|event| event["event"] == "progress" && event["peers"].as_u64() > Some(1));
    origin.running.kill();
    slow.wait().expect(0);
    fast.wait().expect(0);
    assert!(fs::read(&second).unwrap() == fs::read(&file).unwrap(), "the file differs");
}

#[test]
fn an_interrupted_receiver_resumes() {
    let place = tempfile::tempdir().unwrap();
    let file = noise_file(place.path(), "big", 4 << 20);
    let origin = Origin::start(&file, &["--up-limit", "1MB/s"]);
    let out = tempfile::tempdir().unwrap();
    let args = ["get", &origin.ticket, "--json", "--no-seed", "-o", text(out.path())];
    let mut receiver = Running::start(&mut sow(args));
    receiver.progress_beyond(0);
    receiver.interrupt();
    receiver.wait().expect(130).says(&["interrupted", "run the same command again"]);
    assert!(!out.path().join("big").exists());
    let complete = complete_of(&run(args).expect(0).stdout);
    assert!(complete["resumed_bytes"].as_u64() > Some(0), "{complete}");
}

#[test]
fn a_receiver_that_reaches_its_timeout_says_how_far_it_came() {
    let place = tempfile::tempdir().unwrap();
    let file = noise_file(place.path(), "big", 4 << 20);
    // At this rate the download takes longer than the test waits: only the timeout can end it.
    let origin = Origin::start(&file, &["--up-limit", "20kB/s"]);
    let out = tempfile::tempdir().unwrap();
    let ended = run(["get", &origin.ticket, "--timeout", "4s", "-o", text(out.path())]);
    ended.expect(3).says(&["timeout: ", "% of big (4.0 MiB)", "--timeout"]);
    assert!(!out.path().join("big").exists());
}

#[test]
fn an_interrupted_origin_names_the_receivers_that_are_missing() {
    let place = tempfile::tempdir().unwrap();
    let file = noise_file(place.path(), "big", 4 << 20);
    let origin = Origin::start(&file, &["--expect", "3"]);
    let out = tempfile::tempdir().unwrap();
    let get = |name: &str, limit: &str| {
        let target = out.path().join(name);
        ["get", &origin.ticket, "--json", "--no-seed", "--down-limit", limit, "-o", text(&target)]
            .map(str::to_owned)
    };
    run(get("1", "1GB/s")).expect(0);
    let mut slow = Running::start(&mut sow(get("2", "200kB/s")));
    slow.progress_beyond(0);
    origin.running.interrupt();
    let ended = origin.running.wait().expect(7);
    ended.says(&["1 of 3", "127.0.0.1:", " %)", "1 not connected"]);
}

#[test]
fn an_interrupted_origin_that_expects_no_receivers_stops() {
    let place = tempfile::tempdir().unwrap();
    let origin = Origin::start(&noise_file(place.path(), "a", 10), &[]);
    origin.running.interrupt();
    origin.running.wait().expect(130).says(&["stopped"]);
}

#[test]
fn a_complete_receiver_exits_when_no_peer_needs_it() {
    let place = tempfile::tempdir().unwrap();
    let origin = Origin::start(&noise_file(place.path(), "a", 100_000), &[]);
    let out = tempfile::tempdir().unwrap();
    // It would serve for longer than the test waits.
    run(["get", &origin.ticket, "-o", text(out.path())]).expect(0);
}

#[test]
fn a_complete_receiver_exits_after_seed_for_although_a_peer_needs_it() {
    let place = tempfile::tempdir().unwrap();
    let origin = Origin::start(&noise_file(place.path(), "a", 4 << 20), &[]);
    let out = tempfile::tempdir().unwrap();
    let (slow, fast) = (out.path().join("slow"), out.path().join("fast"));
    // At this rate the slow receiver is not complete before the test has failed.
    let slow_args = ["get", &origin.ticket, "--down-limit", "20kB/s", "-o", text(&slow)];
    let mut slow = Running::start(&mut sow(slow_args));
    let fast_args = ["get", &origin.ticket, "--seed-for", "2s", "-o", text(&fast)];
    let running = Running::start(&mut sow(fast_args));
    running.wait().expect(0);
    assert!(fast.exists() && slow.is_running());
}

#[test]
fn a_closed_pipe_ends_the_receiver() {
    let place = tempfile::tempdir().unwrap();
    let origin = Origin::start(&noise_file(place.path(), "a", 8 << 20), &[]);
    let mut command = sow(["get", &origin.ticket, "-o", "-", "--no-seed"]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    wait_until("its exit", || matches!(child.try_wait(), Ok(Some(_))));
    assert_eq!(child.wait().unwrap().code(), Some(1));
}
