//! The protocol `json-torrent` through the command line: torrent files as the original program
//! reads them, and the tracker. Configuration files are in `configuration_files.rs`.

mod support;

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    process::Command,
};

use support::{
    Running, TEST_TIMEOUT, closed_address, complete_of, names, noise_file, run, run_in, sow, text,
};

/// Checks a torrent with Python alone: every hash is the `repr` of the piece's digest.
const CHECK: &str = "
import ast, hashlib, json, sys
torrent = json.load(open(sys.argv[1]))
data, info = open(sys.argv[2], 'rb').read(), torrent['info']
length = info['piece_length']
digests = [hashlib.sha1(data[at:at + length]).digest() for at in range(0, len(data), length)]
assert info['file_length'] == len(data) and info['file_name'] == sys.argv[3], info
assert info['piece_hash'] == [repr(digest) for digest in digests]
assert [ast.literal_eval(text) for text in info['piece_hash']] == digests
print(torrent['announce'], torrent['port'], len(digests), torrent['comment'])
";

#[test]
fn a_torrent_has_the_hashes_that_python_computes() {
    let place = tempfile::tempdir().unwrap();
    // Enough pieces for every escaped byte and both quotes to occur in some digest.
    let file = noise_file(place.path(), "naïve file", 1_000_001);
    run_in(
        place.path(),
        &["json-torrent", "create", text(&file), "--announce", "10.0.0.1", "--comment", "für alle"],
    )
    .expect(0)
    .says(&["naïve file.torrent", "334 pieces", "10.0.0.1:6666"]);
    assert_eq!(names(place.path()), ["naïve file", "naïve file.torrent"]);
    let checked = Command::new("python3")
        .args(["-c", CHECK, "naïve file.torrent", "naïve file", "naïve file"])
        .env("PYTHONIOENCODING", "utf-8")
        .current_dir(place.path())
        .output()
        .unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    assert_eq!(String::from_utf8_lossy(&checked.stdout).trim(), "10.0.0.1 6666 334 für alle");
}

#[test]
fn a_torrent_is_written_to_the_given_path_or_standard_output() {
    let place = tempfile::tempdir().unwrap();
    let file = noise_file(place.path(), "a.iso", 5000);
    let empty = noise_file(place.path(), "empty", 0);
    let create = |more: &[&str]| {
        run_in(
            place.path(),
            &[&["json-torrent", "create", "--announce", "tracker.example"], more].concat(),
        )
    };
    let torrent: serde_json::Value = serde_json::from_str(
        &create(&[text(&file), "-o", "-", "--hashes", "hex", "--port", "7"]).expect(0).stdout,
    )
    .unwrap();
    assert_eq!((&torrent["announce"], &torrent["port"]), (&"tracker.example".into(), &7.into()));
    let hashes = torrent["info"]["piece_hash"].as_array().unwrap();
    assert!(hashes.len() == 2 && hashes.iter().all(|hash| hash.as_str().unwrap().len() == 40));
    let made =
        create(&[text(&empty), "--piece-length", "64KiB", "--json", "-o", "e.torrent"]).expect(0);
    let event = complete_of(&made.stdout);
    assert_eq!((&event["path"], &event["bytes"]), (&"e.torrent".into(), &0.into()));
    let torrent: serde_json::Value =
        serde_json::from_slice(&fs::read(place.path().join("e.torrent")).unwrap()).unwrap();
    assert_eq!(torrent["info"]["piece_hash"], serde_json::json!([]));
    create(&[text(&file), "-o", "-", "--json"]).expect(2).says(&["standard output"]);
    create(&["nothing"]).expect(1).says(&["nothing", "tip:"]);
    create(&[text(place.path())]).expect(1).says(&["is a folder", "one file", "tip:"]);
    create(&[text(&file), "--piece-length", "0"]).expect(2).says(&["piece length"]);
    run_in(place.path(), &["json-torrent", "create", "a.iso"]).expect(2).says(&["--announce"]);
    let huge = place.path().join("huge");
    fs::File::create(&huge).unwrap().set_len(1 << 40).unwrap();
    create(&[text(&huge)]).expect(2).says(&["more than 4194304 pieces", "--piece-length"]);
}

#[test]
fn a_torrent_that_exists_is_replaced_only_with_overwrite() {
    let place = tempfile::tempdir().unwrap();
    noise_file(place.path(), "a.iso", 5000);
    noise_file(place.path(), "b.iso", 5001);
    let create = |more: &[&str]| {
        run_in(
            place.path(),
            &[&["json-torrent", "create", "--announce", "t", "-o", "x.torrent"], more].concat(),
        )
    };
    create(&["a.iso"]).expect(0);
    create(&["a.iso", "--hashes", "hex", "--comment", "again"]).expect(0);
    let before = fs::read(place.path().join("x.torrent")).unwrap();
    create(&["b.iso"]).expect(8).says(&["x.torrent", "--overwrite"]);
    assert_eq!(fs::read(place.path().join("x.torrent")).unwrap(), before);
    create(&["b.iso", "--overwrite"]).expect(0);
    assert_ne!(fs::read(place.path().join("x.torrent")).unwrap(), before);
    assert_eq!(names(place.path()), ["a.iso", "b.iso", "x.torrent"]);
}

#[test]
fn a_tracker_answers_with_framed_json() {
    let args = ["json-torrent", "tracker", "-p", "0", "--bind", "127.0.0.1"];
    let mut tracker = Running::start(&mut sow(args));
    let address = tracker.line();
    let ask = |body: &str| {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        stream.write_all(&[&(body.len() as u64).to_be_bytes(), body.as_bytes()].concat()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert_eq!(answer[..8], (answer.len() as u64 - 8).to_be_bytes());
        serde_json::from_slice::<serde_json::Value>(&answer[8..]).unwrap()
    };
    let request = |port: u16, event: &str| {
        let peer_id = format!("10.1.1.1:{port}");
        let request = serde_json::json!(
            {"ip": "10.1.1.1", "port": port, "peer_id": peer_id, "event": event}
        );
        ask(&request.to_string())
    };
    let started = |count: usize, peers: &[serde_json::Value]| {
        serde_json::json!({
            "error_code": 0, "message": "started ACK", "num-of-peer": count, "peers": peers,
        })
    };
    assert_eq!(request(5555, "started"), started(0, &[]));
    let peer =
        serde_json::json!({"peer-id": "127.0.0.1:5555", "peer-port": 5555, "peer-ip": "127.0.0.1"});
    assert_eq!(request(5556, "started"), started(1, &[peer]));
    let left = serde_json::json!({"error_code": 0, "message": "disconnect ACK"});
    assert_eq!(request(5555, "completed"), left);
    for wrong in [request(5555, "completed"), request(5557, "resting"), ask("[]")] {
        assert!(wrong["error_code"] == 1 && wrong["message"].is_string(), "{wrong}");
    }
    tracker.interrupt();
    tracker.wait().expect(130).says(&["127.0.0.1:5556 joined; "]);
}

#[test]
fn a_tracker_reports_that_it_is_ready() {
    let args = ["json-torrent", "tracker", "--json", "-p", "0", "--bind", "127.0.0.1"];
    let mut tracker = Running::start(&mut sow(args));
    let ready = tracker.event(|event| event["event"] == "ready");
    let port = ready["port"].as_u64().unwrap().to_string();
    run(["json-torrent", "tracker", "--bind", "127.0.0.1", "-p", &port])
        .expect(1)
        .says(&["is taken"]);
}

#[test]
fn a_seed_without_a_reachable_tracker_says_so() {
    let place = tempfile::tempdir().unwrap();
    noise_file(place.path(), "film", 100_000);
    let closed = closed_address();
    let port = closed.rsplit_once(':').unwrap().1;
    run_in(
        place.path(),
        &["json-torrent", "create", "film", "--announce", "127.0.0.1", "--port", port],
    )
    .expect(0);
    let seed = [
        "json-torrent",
        "peer",
        "film.torrent",
        "-p",
        "0",
        "--bind",
        "127.0.0.1",
        "--seed-for",
        "5s",
    ];
    run_in(place.path(), &seed).expect(0).says(&["no tracker answers", &closed, "refused"]);
}
