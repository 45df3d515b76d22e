//! `sow send` and `sow get` without faults: every form of source, every kind of target, several
//! receivers. Faults are in `interruptions.rs` and `cli_errors.rs`.

mod support;

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::Stdio,
};

use support::{
    Origin, Running, complete_of, events_of, in_parallel, names, noise, noise_file, run, sow, text,
    tree, wait_until,
};

/// `sow get SOURCE -o OUT --no-seed`, which must succeed.
#[track_caller]
fn get(source: &str, out: &Path) -> support::Ended {
    run(["get", source, "-o", text(out), "--no-seed"]).expect(0)
}

#[test]
fn files_of_sizes_around_every_limit_arrive() {
    let place = tempfile::tempdir().unwrap();
    for size in [0, 1, 16_383, 16_384, 16_385, 32_768, 100_001, 5_000_000] {
        let name = format!("{size}.bin");
        let file = noise_file(place.path(), &name, size);
        let origin = Origin::start(&file, &["--expect", "1"]);
        let out = tempfile::tempdir().unwrap();
        get(&origin.ticket, out.path());
        assert!(
            fs::read(out.path().join(&name)).unwrap() == noise(size, size as u64),
            "{size} bytes differ"
        );
        assert_eq!(names(out.path()), [name]);
        origin.running.wait().expect(0).says(&["1 receiver holds a verified copy"]);
    }
}

#[test]
fn a_tree_of_two_thousand_files_arrives() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("photos of 2026");
    for number in 0..2000 {
        let folder = root.join(format!("{}/naïve café/{}", number % 7, number % 31));
        fs::create_dir_all(&folder).unwrap();
        fs::write(
            folder.join(format!("img {number} – ✓.jpg")),
            noise(number * 7 % 5000, number as u64),
        )
        .unwrap();
    }
    fs::write(root.join("empty"), "").unwrap();
    let origin = Origin::start(&root, &["--expect", "2"]);
    let out = tempfile::tempdir().unwrap();
    get(&origin.ticket, out.path());
    assert!(tree(&root) == tree(&out.path().join("photos of 2026")), "the trees differ");
    // Under another name.
    let renamed = out.path().join("renamed");
    get(&origin.ticket, &renamed);
    assert!(tree(&root) == tree(&renamed), "the trees differ");
    origin.running.wait().expect(0);
    assert_eq!(names(out.path()), ["photos of 2026", "renamed"]);
}

#[test]
fn every_form_of_source_is_accepted() {
    let place = tempfile::tempdir().unwrap();
    let file = noise_file(place.path(), "a b.iso", 300_000);
    let torrent = place.path().join("x.torrent");
    let flag = format!("--torrent={}", text(&torrent));
    let mut command = sow(["send", "--json", "--bind", "127.0.0.1", "--port", "0", &flag]);
    let mut origin = Running::start(command.arg(&file));
    let ready = origin.event(|event| event["event"] == "ready");
    let field = |key: &str| ready[key].as_str().unwrap().to_owned();
    let address = format!("127.0.0.1:{}", ready["port"]);
    let hex = field("magnet").split("btih:").nth(1).unwrap()[..40].to_owned();
    assert_eq!(field("torrent"), format!("http://{address}/a%20b.iso.torrent"));
    for source in [
        field("ticket"),
        format!("{address}/{hex}"),
        address.clone(),
        field("magnet"),
        format!("magnet:?xt=urn:btih:{hex}&x.pe={address}"),
        format!("magnet:?xt=urn:btih:{hex}&tr=http://{address}/announce"),
        text(&torrent).to_owned(),
        field("torrent"),
        format!("http://{address}/{hex}.torrent"),
    ] {
        let out = tempfile::tempdir().unwrap();
        let ended = get(&source, out.path());
        assert!(
            fs::read(out.path().join("a b.iso")).unwrap() == fs::read(&file).unwrap(),
            "{source}"
        );
        if source == address {
            ended.says(&["trusting", "a b.iso"]);
        }
    }
}

#[test]
fn a_file_arrives_over_ipv6() {
    let place = tempfile::tempdir().unwrap();
    let file = noise_file(place.path(), "six", 200_000);
    let origin = Origin::start_on("::1", 0, &file, &["--expect", "3"]);
    assert!(origin.ticket.starts_with("[::1]:"), "{}", origin.ticket);
    for source in [
        origin.ticket.clone(),
        origin.address().to_owned(),
        format!("http://{}/x.torrent", origin.address()),
    ] {
        let out = tempfile::tempdir().unwrap();
        get(&source, out.path());
        assert!(fs::read(out.path().join("six")).unwrap() == fs::read(&file).unwrap(), "{source}");
    }
    origin.running.wait().expect(0);
}

#[test]
fn standard_output_gets_the_bytes_in_order() {
    let place = tempfile::tempdir().unwrap();
    let file = noise_file(place.path(), "stream", 3_000_001);
    let origin = Origin::start(&file, &[]);
    let out = place.path().join("out");
    let here = tempfile::tempdir().unwrap();
    let status = sow(["get", &origin.ticket, "-o", "-", "--no-seed", "-q"])
        .current_dir(here.path())
        .stdout(fs::File::create(&out).unwrap())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(fs::read(&out).unwrap() == fs::read(&file).unwrap(), "the stream differs");
    assert!(names(here.path()).is_empty());
}

#[test]
fn a_folder_cannot_go_to_standard_output() {
    let place = tempfile::tempdir().unwrap();
    noise_file(place.path(), "a", 10);
    let origin = Origin::start(place.path(), &[]);
    run(["get", &origin.ticket, "-o", "-"]).expect(2).says(&["folder", "-o"]);
}

#[test]
fn names_cannot_control_the_terminal() {
    let place = tempfile::tempdir().unwrap();
    let name = "a\u{1b}[2J\u{202e}b";
    let file = noise_file(place.path(), name, 1000);
    let origin = Origin::start(&file, &["--expect", "1"]);
    let out = tempfile::tempdir().unwrap();
    let got = get(&origin.ticket, out.path());
    let sent = origin.running.wait().expect(0);
    for text in [&got.stderr, &sent.stderr] {
        assert!(!text.contains(['\u{1b}', '\u{202e}']) && text.contains("\\u{1b}[2J"), "{text}");
    }
    assert_eq!(names(out.path()), [name]);
}

/// A port that is not served yet: the first connection is accepted and closed, as by a program that
/// is about to exit. From then on the port is free.
fn wait_for_connection(port: u16) {
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    listener.set_nonblocking(true).unwrap();
    wait_until("the receiver's first connection", || listener.accept().is_ok());
}

#[test]
fn a_receiver_may_start_before_the_origin() {
    let place = tempfile::tempdir().unwrap();
    let file = noise_file(place.path(), "late", 100_000);
    let origin = Origin::start(&file, &[]);
    let (port, ticket) = (origin.port(), origin.ticket.clone());
    drop(origin);
    for source in [ticket.clone(), format!("127.0.0.1:{port}")] {
        let out = tempfile::tempdir().unwrap();
        let command = ["get", &source, "--no-seed", "-o", text(out.path())];
        let early = Running::start(&mut sow(command));
        wait_for_connection(port);
        let _late = Origin::start_on("127.0.0.1", port, &file, &[]);
        early.wait().expect(0);
        assert!(fs::read(out.path().join("late")).unwrap() == fs::read(&file).unwrap(), "{source}");
    }
}

#[test]
fn one_get_receives_from_several_origins() {
    let place = tempfile::tempdir().unwrap();
    let files: Vec<_> = [70_000, 80_000, 90_000]
        .map(|size| noise_file(place.path(), &size.to_string(), size))
        .into_iter()
        .collect();
    let origins: Vec<_> = files.iter().map(|file| Origin::start(file, &[])).collect();
    let out = tempfile::tempdir().unwrap();
    let mut args = vec!["get", "--no-seed", "-o", text(out.path())];
    args.extend(origins.iter().map(|origin| origin.ticket.as_str()));
    run(&args).expect(0);
    for file in &files {
        let copy = out.path().join(file.file_name().unwrap());
        assert!(fs::read(copy).unwrap() == fs::read(file).unwrap(), "{} differs", file.display());
    }
    // One target differs: the others are fetched, and the exit code says that one failed.
    fs::write(out.path().join("70000"), "mine").unwrap();
    fs::remove_file(out.path().join("80000")).unwrap();
    args.push("--json");
    let ended = run(&args).expect(8).says(&["70000"]);
    let events = events_of(&ended.stdout);
    let has_event = |kind: &str, source: &str| {
        events.iter().any(|event| event["event"] == kind && event["what"] == source)
    };
    assert!(
        has_event("error", &origins[0].ticket) && has_event("complete", &origins[1].ticket),
        "{}",
        ended.stdout
    );
    assert!(fs::read(out.path().join("80000")).unwrap() == noise(80_000, 80_000));
}

#[test]
fn receivers_serve_each_other() {
    let place = tempfile::tempdir().unwrap();
    let file = noise_file(place.path(), "crowd", 4_000_000);
    // The origin is far slower than the receivers, so that one that starts late finds the content
    // at the others too.
    let origin = Origin::start(&file, &["--expect", "4", "--up-limit", "1MB/s"]);
    let (ticket, out) = (origin.ticket.clone(), tempfile::tempdir().unwrap());
    let folder = out.path().to_owned();
    let from_origin: Vec<u64> = in_parallel(4, move |index| {
        let target = folder.join(index.to_string());
        let ended = run(["get", &ticket, "--json", "-o", text(&target)]).expect(0);
        let complete = complete_of(&ended.stdout);
        assert_eq!(complete["bytes"], 4_000_000);
        complete["from"][ticket.split('/').next().unwrap()].as_u64().unwrap_or(0)
    });
    origin.running.wait().expect(0).says(&["4 receivers hold verified copies"]);
    for index in 0..4 {
        assert!(fs::read(out.path().join(index.to_string())).unwrap() == fs::read(&file).unwrap());
    }
    let sent: u64 = from_origin.iter().sum();
    assert!(
        sent < 8_000_000,
        "the origin sent {sent} bytes of 4,000,000 to four receivers: {from_origin:?}"
    );
}

#[test]
fn receivers_with_only_origin_take_from_the_origin_alone() {
    let place = tempfile::tempdir().unwrap();
    let file = noise_file(place.path(), "served", 1_000_000);
    let origin = Origin::start(&file, &["--expect", "2", "--up-limit", "2MB/s"]);
    let (ticket, out) = (origin.ticket.clone(), tempfile::tempdir().unwrap());
    let folder = out.path().to_owned();
    in_parallel(2, move |index| {
        let target = folder.join(index.to_string());
        let ended = run(["get", &ticket, "--json", "--only-origin", "-o", text(&target)]).expect(0);
        let complete = complete_of(&ended.stdout);
        let from = complete["from"].as_object().unwrap();
        assert_eq!(
            from.keys().collect::<Vec<_>>(),
            [ticket.split('/').next().unwrap()],
            "{complete}"
        );
    });
    origin.running.wait().expect(0);
}

#[test]
fn the_second_get_of_one_target_is_rejected() {
    let place = tempfile::tempdir().unwrap();
    let file = noise_file(place.path(), "slow", 2_000_000);
    // Slow enough that the first receiver is stopped long before it is complete.
    let origin = Origin::start(&file, &["--up-limit", "250kB/s"]);
    let out = tempfile::tempdir().unwrap();
    let args = ["get", &origin.ticket, "--no-seed", "-o", text(out.path())];
    let first = Running::start(&mut sow(args));
    wait_until("the part file", || out.path().join("slow.sow-part").exists());
    first.pause();
    run(args).expect(1).says(&["another process", "slow", "tip:"]);
    first.resume();
    first.wait().expect(0);
    run(args).expect(0).says(&["exists already"]);
    assert_eq!(names(out.path()), ["slow"]);
}

#[test]
fn a_separate_tracker_connects_origin_and_receiver() {
    let place = tempfile::tempdir().unwrap();
    let file = noise_file(place.path(), "tracked", 100_000);
    let mut tracker = Running::start(&mut sow(["tracker", "--bind", "127.0.0.1", "--port", "0"]));
    let announce = tracker.line();
    let torrent = place.path().join("tracked.torrent");
    let _origin = Origin::start(&file, &["--tracker", &announce]);
    run(["torrent", "create", text(&file), "--tracker", &announce, "-o", text(&torrent)]).expect(0);
    let out = tempfile::tempdir().unwrap();
    get(text(&torrent), out.path());
    assert!(fs::read(out.path().join("tracked")).unwrap() == fs::read(&file).unwrap());
    tracker.interrupt();
    tracker.wait().expect(130).says(&["seeds "]);
}

#[test]
fn standard_output_is_one_line() {
    let place = tempfile::tempdir().unwrap();
    let file = noise_file(place.path(), "one", 1000);
    for flags in [&["--expect", "1"][..], &["--expect", "1", "-q"], &["--expect", "1", "-v"]] {
        let origin = Origin::start(&file, flags);
        let out = tempfile::tempdir().unwrap();
        assert_eq!(get(&origin.ticket, out.path()).stdout, "");
        let ended = origin.running.wait().expect(0);
        assert_eq!(ended.stdout.lines().count(), 1, "{}", ended.stdout);
        if flags.contains(&"-q") {
            assert_eq!(ended.stderr, "");
        }
    }
}

#[test]
fn events_describe_the_whole_transfer() {
    let place = tempfile::tempdir().unwrap();
    let file = noise_file(place.path(), "described", 500_000);
    let mut command =
        sow(["send", "--json", "--expect", "1", "--bind", "127.0.0.1", "--port", "0"]);
    let mut origin = Running::start(command.arg(&file));
    let ready = origin.event(|event| event["event"] == "ready");
    let out = tempfile::tempdir().unwrap();
    let ended =
        run(["get", "--json", ready["ticket"].as_str().unwrap(), "-o", text(out.path())]).expect(0);
    let got = events_of(&ended.stdout);
    let kinds: Vec<_> = got.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert!(kinds.contains(&"ready") && kinds.contains(&"progress"), "{kinds:?}");
    let complete = got.iter().find(|event| event["event"] == "complete").unwrap();
    assert_eq!(complete["path"], text(&out.path().join("described")));
    assert_eq!((&complete["bytes"], &complete["resumed_bytes"]), (&500_000.into(), &0.into()));
    let from: u64 =
        complete["from"].as_object().unwrap().values().map(|bytes| bytes.as_u64().unwrap()).sum();
    assert!(from >= 500_000, "{complete}");
    assert!(got.windows(2).all(|pair| pair[0]["t"].as_f64() <= pair[1]["t"].as_f64()));
    let receiver =
        origin.event(|event| event["event"] == "receiver" && event["state"] == "complete");
    assert_eq!(receiver["bytes"], 500_000);
    origin.event(|event| event["event"] == "complete");
    origin.wait().expect(0);
}

#[test]
fn announces_alone_do_not_count_as_verified_copies() {
    let place = tempfile::tempdir().unwrap();
    let file = noise_file(place.path(), "a.bin", 100_000);
    let mut origin = Origin::start(&file, &["--expect", "1"]);
    let ask = |path: &str| {
        let mut stream = TcpStream::connect(origin.address()).unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n", origin.address());
        stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    };
    let index = ask("/");
    let body = &index[index.find('{').unwrap()..];
    let index: serde_json::Value = serde_json::from_str(body).unwrap();
    let hash = index["shared"][0]["info_hash"].as_str().unwrap();
    let escaped: String = (0..20).map(|at| format!("%{}", &hash[2 * at..2 * at + 2])).collect();
    for number in 0..5 {
        let answer = ask(&format!(
            "/announce?info_hash={escaped}&peer_id=-XX0001-10000000000{number}\
             &port={}&uploaded=0&downloaded=0&left=0&event=completed",
            1000 + number
        ));
        assert!(answer.contains("8:interval"), "{answer}");
    }
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert!(origin.running.is_running(), "announces counted");
    let ticket = origin.ticket.clone();
    get(&ticket, &place.path().join("out"));
    origin.running.wait().expect(0).says(&["1 receiver holds a verified copy"]);
}
