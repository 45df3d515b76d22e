//! Document 1's P2P among programs of this project, as people run it: what is interrupted, what is
//! alone, what is empty, and who is no server.

mod support;

use std::{fs, io::Write, net::TcpListener, path::Path};

use support::{Running, complete_of, names, noise_file, run, sow};

const LOCAL: &str = "127.0.0.1";

/// Far more than what may wait for its sum.
const BIG: usize = 96 << 20;

fn text(path: &Path) -> &str {
    path.to_str().expect("the test's paths are UTF-8")
}

/// A server of `file`, and what it calls itself.
fn server(file: &Path, more: &[&str]) -> (Running, String) {
    let line = ["chunk", "server", "--json", "--bind", LOCAL, "-p", "0", "-f", text(file)];
    let mut running = Running::start(&mut sow(line.iter().chain(more)));
    let ready = running.event(|event| event["event"] == "ready");
    let name = ready["ticket"].as_str().expect("a name").trim_start_matches("chunk://").to_owned();
    (running, name)
}

fn client<'a>(server: &'a str, out: &'a Path) -> [&'a str; 11] {
    [
        "chunk",
        "client",
        "--json",
        "--no-seed",
        "--bind",
        LOCAL,
        "-s",
        server,
        "-o",
        text(out),
        "--timeout=100s",
    ]
}

fn after(running: &mut Running, bytes: u64) {
    running.event(|event| event["event"] == "progress" && event["bytes"].as_u64() > Some(bytes));
}

#[test]
fn an_interrupted_client_goes_on_and_claims_nothing_that_nobody_checked() {
    let place = tempfile::tempdir().unwrap();
    let file = noise_file(place.path(), "big", BIG);
    let (_server, name) = server(&file, &["--up-limit", "12MB/s"]);
    let out = tempfile::tempdir().unwrap();
    let target = out.path().join("copy");
    let mut first = Running::start(&mut sow(client(&name, &target)));
    after(&mut first, 48 << 20);
    first.interrupt();
    let ended = first.wait().expect(130);
    assert!(!ended.stderr.contains("and verified"), "{}", ended.stderr);
    assert!(!target.exists(), "a target that is not complete");
    let ended = run(client(&name, &target)).expect(0);
    let resumed = complete_of(&ended.stdout)["resumed_bytes"].as_u64().unwrap();
    assert!((48 << 20..BIG as u64).contains(&resumed), "{resumed}");
    assert!(fs::read(&target).unwrap() == fs::read(&file).unwrap(), "the file differs");
    assert_eq!(names(out.path()), ["copy"]);
    let again = run(client(&name, &target)).expect(0);
    assert_eq!(complete_of(&again.stdout)["resumed_bytes"], BIG);
}

#[test]
fn the_last_one_fetches_what_the_other_had_taken_upon_itself() {
    let place = tempfile::tempdir().unwrap();
    let file = noise_file(place.path(), "big", BIG);
    let (_server, name) = server(&file, &["--up-limit", "24MB/s"]);
    let out = tempfile::tempdir().unwrap();
    let targets = ["a", "b"].map(|name| out.path().join(name));
    let [mut dies, mut stays] =
        [0, 1].map(|at| Running::start(&mut sow(client(&name, &targets[at]))));
    // By then both have holes at the beginning.
    after(&mut stays, 40 << 20);
    dies.kill();
    stays.wait().expect(0);
    assert!(fs::read(&targets[1]).unwrap() == fs::read(&file).unwrap(), "the file differs");
}

#[test]
fn nothing_at_all_is_a_file_too() {
    let place = tempfile::tempdir().unwrap();
    let file = noise_file(place.path(), "empty", 0);
    let (_server, name) = server(&file, &[]);
    let target = place.path().join("copy");
    run(client(&name, &target)).expect(0);
    assert_eq!(fs::read(&target).unwrap(), b"");
}

#[test]
fn whoever_answers_without_being_a_server_is_named() {
    let listener = TcpListener::bind((LOCAL, 0)).unwrap();
    let name = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let calls: Vec<_> = listener
            .incoming()
            .flatten()
            .map(|mut call| call.write_all(b"220 mail.example ESMTP\r\n").map(|()| call))
            .collect();
        drop(calls);
    });
    let place = tempfile::tempdir().unwrap();
    let ended = run(client(&name, &place.path().join("copy"))).expect(6);
    assert!(ended.stderr.contains("serves no file in chunk"), "{}", ended.stderr);
    assert!(names(place.path()).is_empty());
}
