//! The protocol `chunk` through the command line, between programs of this project: interruption,
//! lost peers, an empty file, and a server of another protocol.

mod support;

use std::{fs, io::Write, net::TcpListener, path::Path};

use support::{Running, complete_of, names, noise_file, run, sow, text};

const LOCAL: &str = "127.0.0.1";

/// Far more bytes than may wait to be hashed.
const BIG: usize = 96 << 20;

/// A server of `file`, and its address.
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

#[test]
fn an_interrupted_client_resumes_and_claims_nothing_unverified() {
    let place = tempfile::tempdir().unwrap();
    let file = noise_file(place.path(), "big", BIG);
    let (_server, name) = server(&file, &["--up-limit", "12MB/s"]);
    let out = tempfile::tempdir().unwrap();
    let target = out.path().join("copy");
    let mut first = Running::start(&mut sow(client(&name, &target)));
    first.progress_beyond(48 << 20);
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
fn the_last_client_fetches_the_chunks_assigned_to_a_client_that_died() {
    let place = tempfile::tempdir().unwrap();
    let file = noise_file(place.path(), "big", BIG);
    let (_server, name) = server(&file, &["--up-limit", "24MB/s"]);
    let out = tempfile::tempdir().unwrap();
    let targets = ["a", "b"].map(|name| out.path().join(name));
    let [mut dies, mut stays] =
        [0, 1].map(|at| Running::start(&mut sow(client(&name, &targets[at]))));
    // At that point both have gaps at the beginning.
    stays.progress_beyond(40 << 20);
    dies.kill();
    stays.wait().expect(0);
    assert!(fs::read(&targets[1]).unwrap() == fs::read(&file).unwrap(), "the file differs");
}

#[test]
fn an_empty_file_is_transferred() {
    let place = tempfile::tempdir().unwrap();
    let file = noise_file(place.path(), "empty", 0);
    let (_server, name) = server(&file, &[]);
    let target = place.path().join("copy");
    run(client(&name, &target)).expect(0);
    assert_eq!(fs::read(&target).unwrap(), b"");
}

#[test]
fn a_server_of_another_protocol_is_named() {
    let listener = TcpListener::bind((LOCAL, 0)).unwrap();
    let name = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        // Every connection stays open.
        let connections: Vec<_> = listener
            .incoming()
            .flatten()
            .map(|mut stream| stream.write_all(b"220 mail.example ESMTP\r\n").map(|()| stream))
            .collect();
        drop(connections);
    });
    let place = tempfile::tempdir().unwrap();
    let ended = run(client(&name, &place.path().join("copy"))).expect(6);
    assert!(ended.stderr.contains("serves no file in chunk"), "{}", ended.stderr);
    assert!(names(place.path()).is_empty());
}
