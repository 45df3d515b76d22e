//! Whatever is killed, interrupted or out of time: what is verified stays, and the rest comes
//! later.

mod support;

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use support::{Origin, Running, complete_of, eventually, names, noise_file, run, sow};

fn text(path: &Path) -> &str {
    path.to_str().expect("the test's paths are UTF-8")
}

fn sum_of(from: &Value) -> u64 {
    from.as_object().expect("bytes by peer").values().filter_map(Value::as_u64).sum()
}

#[test]
fn killed_at_ten_moments_and_started_again() {
    const SIZE: u64 = 48 << 20;
    let place = tempfile::tempdir().unwrap();
    let file = noise_file(place.path(), "big", SIZE as usize);
    let origin = Origin::start(&file, &["--up-limit", "12MB/s"]);
    let out = tempfile::tempdir().unwrap();
    let args = ["get", &origin.ticket, "--json", "--no-seed", "-o", text(out.path())];
    let mut random = fastrand::Rng::with_seed(7);
    let mut kept = 0;
    for _ in 0..10 {
        let mut receiver = Running::start(&mut sow(args));
        thread::sleep(Duration::from_millis(random.u64(100..450)));
        receiver.kill();
        assert!(!out.path().join("big").exists(), "a target that is not complete");
    }
    let ended = run(args).expect(0);
    let complete = complete_of(&ended.stdout);
    kept += complete["resumed_bytes"].as_u64().unwrap();
    assert!(kept > 0, "nothing was kept: {complete}");
    assert!(ended.stderr.contains("resuming: "), "{}", ended.stderr);
    // What was verified before is not fetched again.
    assert_eq!(sum_of(&complete["from"]), SIZE - kept, "{complete}");
    assert!(
        fs::read(out.path().join("big")).unwrap() == fs::read(&file).unwrap(),
        "the file differs"
    );
    assert_eq!(names(out.path()), ["big"]);
}

#[test]
fn the_origin_is_killed_and_started_again() {
    let place = tempfile::tempdir().unwrap();
    let file = noise_file(place.path(), "big", 8 << 20);
    let mut origin = Origin::start(&file, &["--up-limit", "2MB/s"]);
    let (port, ticket) = (origin.port(), origin.ticket.clone());
    let out = tempfile::tempdir().unwrap();
    let mut receiver =
        Running::start(&mut sow(["get", &ticket, "--json", "--no-seed", "-o", text(out.path())]));
    receiver.event(|event| event["event"] == "progress" && event["bytes"].as_u64() > Some(1 << 20));
    origin.running.kill();
    receiver.event(|event| event["event"] == "progress" && event["peers"] == 0);
    assert!(receiver.is_running());
    let again = Origin::start_on("127.0.0.1", port, &file, &[]);
    assert_eq!(again.ticket, ticket, "the same content is found in the same place");
    receiver.wait().expect(0);
    assert!(
        fs::read(out.path().join("big")).unwrap() == fs::read(&file).unwrap(),
        "the file differs"
    );
}

#[test]
fn receivers_finish_among_themselves_when_the_origin_is_gone() {
    let place = tempfile::tempdir().unwrap();
    let file = noise_file(place.path(), "big", 4 << 20);
    let mut origin = Origin::start(&file, &["--expect", "9"]);
    let out = tempfile::tempdir().unwrap();
    let (first, second) = (out.path().join("1"), out.path().join("2"));
    let ticket = origin.ticket.clone();
    // The second fetches slowly, the first is whole soon; when they know each other, the origin
    // goes.
    let slow =
        ["get", &ticket, "--json", "--down-limit", "500kB/s", "--no-seed", "-o", text(&second)];
    let mut slow = Running::start(&mut sow(slow));
    slow.event(|event| event["event"] == "progress" && event["peers"].as_u64() > Some(0));
    let fast = Running::start(&mut sow(["get", &ticket, "--seed-for", "60s", "-o", text(&first)]));
    eventually("the first copy", || first.exists());
    slow.event(|event| event["event"] == "progress" && event["peers"].as_u64() > Some(1));
    origin.running.kill();
    slow.wait().expect(0);
    fast.wait().expect(0);
    assert!(fs::read(&second).unwrap() == fs::read(&file).unwrap(), "the file differs");
}

#[test]
fn ctrl_c_and_then_again() {
    let place = tempfile::tempdir().unwrap();
    let file = noise_file(place.path(), "big", 4 << 20);
    let origin = Origin::start(&file, &["--up-limit", "1MB/s"]);
    let out = tempfile::tempdir().unwrap();
    let args = ["get", &origin.ticket, "--json", "--no-seed", "-o", text(out.path())];
    let mut receiver = Running::start(&mut sow(args));
    receiver.event(|event| event["event"] == "progress" && event["bytes"].as_u64() > Some(0));
    receiver.interrupt();
    receiver.wait().expect(130).says(&["interrupted", "run the same command again"]);
    assert!(!out.path().join("big").exists());
    let complete = complete_of(&run(args).expect(0).stdout);
    assert!(complete["resumed_bytes"].as_u64() > Some(0), "{complete}");
}

#[test]
fn out_of_time() {
    let place = tempfile::tempdir().unwrap();
    let file = noise_file(place.path(), "big", 4 << 20);
    let origin = Origin::start(&file, &["--up-limit", "500kB/s"]);
    let out = tempfile::tempdir().unwrap();
    let since = Instant::now();
    let ended = run(["get", &origin.ticket, "--timeout", "2s", "-o", text(out.path())]);
    ended.expect(3).says(&["timeout: ", "% of big (4.0 MiB)", "--timeout"]);
    assert!(since.elapsed() < Duration::from_secs(15), "it took {:?}", since.elapsed());
    assert!(!out.path().join("big").exists());
}

#[test]
fn expected_receivers_that_do_not_come() {
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
    slow.event(|event| event["event"] == "progress" && event["bytes"].as_u64() > Some(0));
    origin.running.interrupt();
    let ended = origin.running.wait().expect(7);
    ended.says(&["1 of 3", "127.0.0.1:", " %)", "1 not connected"]);
}

#[test]
fn stopping_an_origin_that_expects_nobody() {
    let place = tempfile::tempdir().unwrap();
    let origin = Origin::start(&noise_file(place.path(), "a", 10), &[]);
    origin.running.interrupt();
    origin.running.wait().expect(130).says(&["stopped"]);
}

#[test]
fn serving_on_ends_when_nobody_needs_it() {
    let place = tempfile::tempdir().unwrap();
    let origin = Origin::start(&noise_file(place.path(), "a", 100_000), &[]);
    let out = tempfile::tempdir().unwrap();
    let since = Instant::now();
    run(["get", &origin.ticket, "--seed-for", "10m", "-o", text(out.path())]).expect(0);
    assert!(since.elapsed() < Duration::from_secs(20), "it took {:?}", since.elapsed());
}

#[test]
fn serving_on_is_bounded() {
    let place = tempfile::tempdir().unwrap();
    let origin = Origin::start(&noise_file(place.path(), "a", 4 << 20), &[]);
    let out = tempfile::tempdir().unwrap();
    let (slow, fast) = (out.path().join("slow"), out.path().join("fast"));
    let slow_args = ["get", &origin.ticket, "--down-limit", "100kB/s", "-o", text(&slow)];
    let mut slow = Running::start(&mut sow(slow_args));
    let fast_args = ["get", &origin.ticket, "--seed-for", "2s", "-o", text(&fast)];
    let running = Running::start(&mut sow(fast_args));
    eventually("the fast copy", || fast.exists());
    let since = Instant::now();
    running.wait().expect(0);
    assert!(since.elapsed() < Duration::from_secs(10), "it took {:?}", since.elapsed());
    assert!(slow.is_running());
}

#[test]
fn a_file_that_changes_while_it_is_shared() {
    let place = tempfile::tempdir().unwrap();
    let file = noise_file(place.path(), "log", 200_000);
    let mut command = sow(["send", "--json", "--bind", "127.0.0.1", "--port", "0"]);
    let mut origin = Running::start(command.arg(&file));
    let ready = origin.event(|event| event["event"] == "ready");
    let mut bytes = fs::read(&file).unwrap();
    bytes[150_000] ^= 0xff;
    fs::write(&file, bytes).unwrap();
    let error = origin.event(|event| event["event"] == "error");
    assert!(error["message"].as_str().unwrap().contains("log"), "{error}");
    let out = tempfile::tempdir().unwrap();
    let ended = run(["get", ready["ticket"].as_str().unwrap(), "-o", text(out.path())]);
    ended.expect(4).says(&["does not verify", "tip:"]);
    assert!(!out.path().join("log").exists());
}

#[test]
fn a_reader_that_closes_the_pipe() {
    let place = tempfile::tempdir().unwrap();
    let origin = Origin::start(&noise_file(place.path(), "a", 8 << 20), &[]);
    let mut command = sow(["get", &origin.ticket, "-o", "-", "--no-seed"]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    eventually("its end", || matches!(child.try_wait(), Ok(Some(_))));
    assert_eq!(child.wait().unwrap().code(), Some(1));
}
