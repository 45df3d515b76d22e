//! The protocols `raw` and `framed` through the command line: server and client, with every kind
//! of target and with servers that fail. Malformed input is in `interop_protocols/hostile/`.

mod support;

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
    thread,
};

use support::{
    Ended, Running, complete_of, in_parallel, names, noise, noise_file, run, sow, text,
    unprivileged_sow, unshare_mounts, wait_until,
};

/// A server on a free port of 127.0.0.1 that has sent its `ready` event.
struct Server {
    running: Running,
    framing: &'static str,
    port: String,
}

impl Server {
    fn start(framing: &'static str, more: &[&str]) -> Self {
        let mut command = sow([framing, "server", "--bind", "127.0.0.1", "-p", "0", "--json"]);
        let mut running = Running::start(command.args(more));
        let ready = running.event(|event| event["event"] == "ready");
        let port = ready["port"].to_string();
        assert_eq!(ready["ticket"], format!("{framing}://127.0.0.1:{port}"));
        Self { running, framing, port }
    }

    fn client(&self, more: &[&str]) -> Command {
        let mut command = sow([self.framing, "client", "-s", "127.0.0.1", "-p", &self.port]);
        command.args(more);
        command
    }

    #[track_caller]
    fn fetch(&self, more: &[&str]) -> Ended {
        Running::start(&mut self.client(more)).wait()
    }
}

/// A server that is not `sow`: it sends these bytes on every connection, then calls `then`.
fn other_server(bytes: Vec<u8>, mut then: impl FnMut(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            if stream.write_all(&bytes).is_ok() {
                then(stream);
            }
        }
    });
    port
}

/// Four clients fetch a file: to a file, twice to memory, and to standard output.
fn fetch_to_every_target(framing: &'static str, size: usize) {
    let place = tempfile::tempdir().unwrap();
    let file = noise_file(place.path(), "source", size);
    let server = Server::start(framing, &["-f", text(&file), "--expect", "4"]);
    let out = tempfile::tempdir().unwrap();
    let copy = out.path().join("copy");
    let promise = if framing == "raw" { "this protocol sends no length" } else { "no check" };
    server.fetch(&["-o", text(&copy)]).expect(0).says(&["copy", promise]);
    let original = noise(size, size as u64);
    assert!(fs::read(&copy).unwrap() == original, "{framing}: {size} bytes differ");
    assert_eq!(names(out.path()), ["copy"]);

    let stdout = server.fetch(&[]).expect(0).stdout;
    let md5 = stdout.lines().find_map(|line| line.strip_prefix("MD5: ")).unwrap().to_owned();
    for words in [&format!("size: {size} bytes")[..], "time used: ", "rate: "] {
        assert!(stdout.contains(words), "no `{words}` in:\n{stdout}");
    }
    let sum = Command::new("md5sum").arg(&copy).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&sum.stdout).split(' ').next(), Some(md5.as_str()));

    let complete = complete_of(&server.fetch(&["--json"]).expect(0).stdout);
    assert_eq!((&complete["bytes"], &complete["path"]), (&size.into(), &serde_json::Value::Null));
    assert_eq!(
        (&complete["md5"], &complete["length_known"]),
        (&md5.into(), &(framing == "framed").into())
    );

    let piped = place.path().join("piped");
    let status = server
        .client(&["-o", "-", "-q"])
        .stdout(fs::File::create(&piped).unwrap())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success() && fs::read(&piped).unwrap() == original);
    let ended = server.running.wait().expect(0);
    assert_eq!(complete_of(&ended.stdout)["bytes"], size * 4);
}

#[test]
fn a_file_goes_to_a_file_to_memory_and_to_standard_output() {
    for framing in ["raw", "framed"] {
        for size in [0, 1, 131_073, 5_000_001] {
            fetch_to_every_target(framing, size);
        }
    }
}

#[test]
fn the_log_has_the_lines_of_the_original_program() {
    let mut command = sow(["cs", "server", "--bind", "127.0.0.1", "-p", "0", "-n", "2"]);
    let mut server = Running::start(&mut command);
    let line = server.line();
    let (line, port) = line.rsplit_once(' ').unwrap();
    assert_eq!(line, "sow raw client -s 127.0.0.1 -p");
    let ends = in_parallel(2, {
        let port = port.to_owned();
        move |_| run(["raw", "client", "-s", "127.0.0.1", "-p", &port]).expect(0)
    });
    assert!(ends.iter().all(|ended| ended.stdout.contains("size: 10485760 bytes (10.0 MiB)")));
    let log = server.wait().expect(0).stderr;
    for words in [
        &format!("[INFO] - server is bonded to port {port}")[..],
        "of random bytes, MD5 ",
        "[INFO] - accept connection from 127.0.0.1:",
        " begin downloading file",
        " finished downloading",
        "[INFO] - time used: ",
        "[INFO] - average of 2 clients: ",
    ] {
        assert!(log.contains(words), "no `{words}` in\n{log}");
    }
    // All clients fetched the bytes that the server says it has.
    let md5 = log.split("MD5 ").nth(1).unwrap()[..32].to_owned();
    assert!(ends.iter().all(|ended| ended.stdout.contains(&format!("MD5: {md5}"))), "{log}");
}

#[test]
fn a_server_that_is_stopped_names_the_clients_that_are_missing() {
    let place = tempfile::tempdir().unwrap();
    let file = noise_file(place.path(), "a", 4_000_000);
    for (more, code) in [(&["--expect", "2"][..], 7), (&[], 130)] {
        let args = [&["-f", text(&file), "--up-limit", "1MB/s"], more].concat();
        let mut server = Server::start("raw", &args);
        let copy = place.path().join("copy");
        let options = ["--size", "4000000", "--timeout", "8s", "--json", "-o", text(&copy)];
        let mut client = Running::start(&mut server.client(&options));
        server.running.event(|event| event["state"] == "connected");
        wait_until("the copy begins", || place.path().join("copy.sow-part").exists());
        server.running.interrupt();
        let ended = server.running.wait().expect(code);
        if code == 7 {
            ended.says(&["0 of 2 clients", "not complete: 127.0.0.1:"]);
        }
        // The client reconnects until its timeout, and then leaves nothing behind.
        client.event(|event| event["event"] == "progress" && event["peers"] == 0);
        client.wait().expect(3).says(&["timeout: ", "starts again"]);
        assert_eq!(names(place.path()), ["a"]);
    }
}

#[test]
fn a_server_that_is_killed_is_not_taken_for_the_end_of_the_file() {
    let place = tempfile::tempdir().unwrap();
    let file = noise_file(place.path(), "a", 4_000_000);
    let mut server = Server::start("raw", &["-f", text(&file), "--up-limit", "1MB/s"]);
    let copy = place.path().join("copy");
    let mut client = Running::start(&mut server.client(&["--json", "-o", text(&copy)]));
    server.running.event(|event| event["state"] == "connected");
    wait_until("the copy begins", || place.path().join("copy.sow-part").exists());
    server.running.kill();
    // The client reports the loss at once, not only at its end.
    client.event(|event| event["bytes"].as_u64() > Some(0) && event["peers"] == 0);
    // The server returns on the same port, and the transfer starts over.
    let port = server.port.clone();
    let again = Running::start(&mut sow([
        "raw",
        "server",
        "--bind",
        "127.0.0.1",
        "-p",
        &port,
        "-f",
        text(&file),
        "--expect",
        "1",
    ]));
    client.wait().expect(0).says(&["reconnecting", "connected again; starting from"]);
    assert!(fs::read(&copy).unwrap() == noise(4_000_000, 4_000_000));
    again.wait().expect(0);
}

#[test]
fn a_target_that_exists_is_kept_unless_it_may_be_overwritten() {
    let place = tempfile::tempdir().unwrap();
    let file = noise_file(place.path(), "a", 300_000);
    for framing in ["raw", "framed"] {
        let server = Server::start(framing, &["-f", text(&file)]);
        let out = tempfile::tempdir().unwrap();
        let copy = out.path().join("copy");
        fs::copy(&file, &copy).unwrap();
        server.fetch(&["-o", text(&copy)]).expect(0).says(&["exists already"]);
        let mut other = fs::read(&file).unwrap();
        other[299_999] ^= 1;
        fs::write(&copy, &other).unwrap();
        server.fetch(&["-o", text(&copy)]).expect(8).says(&["copy", "--overwrite"]);
        fs::write(&copy, "shorter").unwrap();
        server.fetch(&["-o", text(&copy)]).expect(8);
        assert_eq!(fs::read(&copy).unwrap(), b"shorter");
        server.fetch(&["-o", text(&copy), "--overwrite"]).expect(0);
        assert!(fs::read(&copy).unwrap() == fs::read(&file).unwrap());
        assert_eq!(names(out.path()), ["copy"]);
        server.fetch(&["-o", text(out.path())]).expect(2).says(&["is a folder", "-o"]);
        server.fetch(&["-o", "/no/such/folder/x"]).expect(2).says(&["/no/such/folder"]);
        server
            .fetch(&["-o", "/dev/null", "--overwrite"])
            .expect(1)
            .says(&["/dev/null is a device"]);
    }
}

#[test]
fn the_second_client_of_one_target_is_rejected() {
    let place = tempfile::tempdir().unwrap();
    let file = noise_file(place.path(), "a", 3_000_000);
    // Slow enough that the first client is stopped long before it is complete.
    let server = Server::start("raw", &["-f", text(&file), "--up-limit", "400kB/s"]);
    let copy = place.path().join("copy");
    let first = Running::start(&mut server.client(&["-o", text(&copy)]));
    wait_until("the copy begins", || place.path().join("copy.sow-part").exists());
    first.pause();
    server.fetch(&["-o", text(&copy)]).expect(1).says(&["another process is receiving", "-o"]);
    first.resume();
    first.wait().expect(0);
    assert!(fs::read(&copy).unwrap() == fs::read(&file).unwrap());
}

#[test]
fn a_length_that_does_not_match_is_an_error() {
    let place = tempfile::tempdir().unwrap();
    let file = noise_file(place.path(), "a", 300_000);
    let copy = place.path().join("copy");
    let out = ["-o", text(&copy)];
    let server = Server::start("raw", &["-f", text(&file)]);
    server
        .fetch(&[&out[..], &["--size", "300000"]].concat())
        .expect(0)
        .says(&["the length is correct"]);
    fs::remove_file(&copy).unwrap();
    server
        .fetch(&[&out[..], &["--size", "299999"]].concat())
        .expect(4)
        .says(&["more than 299999 bytes"]);
    server
        .fetch(&[&out[..], &["--size", "300001"]].concat())
        .expect(4)
        .says(&["300000 bytes, and not 300001"]);
    server
        .fetch(&[&out[..], &["--max-size", "100kB"]].concat())
        .expect(4)
        .says(&["more than 100000 bytes"]);
    let server = Server::start("framed", &["-f", text(&file)]);
    server
        .fetch(&[&out[..], &["--max-size", "100kB"]].concat())
        .expect(4)
        .says(&["300000 bytes", "100000"]);
    for (length, code) in [(1_u64 << 63, 4), (1 << 62, 5)] {
        let port = other_server(length.to_be_bytes().to_vec(), drop);
        let ended = run(["framed", "client", "-s", "127.0.0.1", "-p", &port, "-o", text(&copy)]);
        ended.expect(code).says(&[&length.to_string()]);
        // It does not fit into memory either.
        run(["framed", "client", "-s", "127.0.0.1", "-p", &port]).expect(4).says(&["-o"]);
    }
    assert_eq!(names(place.path()), ["a"]);
}

#[test]
fn a_full_disk_is_an_error_and_leaves_nothing() {
    let place = tempfile::tempdir().unwrap();
    let file = noise_file(place.path(), "a", 4_000_000);
    for framing in ["raw", "framed"] {
        let server = Server::start(framing, &["-f", text(&file)]);
        let small = tempfile::tempdir().unwrap();
        let script = "mount -t tmpfs -o size=1m tmpfs \"$1\" && shift && \"$@\"; code=$?; \
                      ls -A \"$OUT\"; exit $code";
        let inner = server.client(&["-o", text(&small.path().join("copy"))]);
        let mut command = unshare_mounts();
        command.args(["sh", "-c", script, "sh"]).arg(small.path());
        command.arg(inner.get_program()).args(inner.get_args()).env("OUT", small.path());
        let ended = Running::start(&mut command).wait().expect(5).says(&["copy", "tip:"]);
        assert_eq!(ended.stdout, "", "something is left on the full disk");
    }
}

#[test]
fn servers_that_are_unreachable_silent_or_gone_are_errors() {
    let place = tempfile::tempdir().unwrap();
    let out = text(place.path()).to_owned() + "/x";
    run(["raw", "client", "-s", "127.0.0.1", "-p", "1", "-o", &out])
        .expect(6)
        .says(&["127.0.0.1:1", "refused"]);
    run(["raw", "client", "-s", "no-such-host.invalid"]).expect(6).says(&["no-such-host.invalid"]);
    let mut open = Vec::new();
    let silent = other_server(Vec::new(), move |stream| open.push(stream));
    for framing in ["raw", "framed"] {
        let args =
            [framing, "client", "-s", "127.0.0.1", "-p", &silent, "-o", &out, "--timeout", "3s"];
        run(args).expect(3).says(&["timeout: ", "received from"]);
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let silent = listener.local_addr().unwrap().port().to_string();
    let args = ["framed", "client", "-s", "127.0.0.1", "-p", &silent, "-o", &out];
    let client = Running::start(&mut sow(args));
    let mut connection = None;
    wait_until("the client's connection", || {
        connection = listener.accept().ok();
        connection.is_some()
    });
    client.interrupt();
    client.wait().expect(130).says(&["interrupted"]);
    // Bytes on standard output cannot be taken back, so the transfer does not start over.
    let short = other_server([&9_u64.to_be_bytes()[..], b"short"].concat(), drop);
    let ended = run(["framed", "client", "-s", "127.0.0.1", "-p", &short, "-o", "-"]).expect(3);
    assert!(ended.stdout == "short" && ended.stderr.contains("too early"), "{ended:?}");
    assert!(names(place.path()).is_empty());
}

#[test]
fn send_and_get_support_raw_and_framed() {
    let place = tempfile::tempdir().unwrap();
    let file = noise_file(place.path(), "a", 2_000_000);
    let args = ["send", "--json", "--bind", "127.0.0.1", "--port", "0", "--also", "raw:0,framed:0"];
    let mut origin = Running::start(sow(args).arg(&file));
    let tickets: Vec<String> = (0..3)
        .map(|_| {
            origin.event(|event| event["event"] == "ready")["ticket"].as_str().unwrap().to_owned()
        })
        .collect();
    assert!(
        tickets[1].starts_with("raw://127.0.0.1:") && tickets[2].starts_with("framed://127.0.0.1:")
    );
    for ticket in &tickets {
        let copy = place.path().join("copy");
        run(["get", ticket, "-o", text(&copy), "--no-seed"]).expect(0);
        assert!(fs::read(&copy).unwrap() == fs::read(&file).unwrap(), "{ticket}");
        fs::remove_file(&copy).unwrap();
    }
    run(["get", &tickets[1]]).expect(2).says(&["does not tell the name", "-o"]);
    // A program that reads a socket and nothing else gets the file too.
    let mut plain = Vec::new();
    TcpStream::connect(tickets[1].strip_prefix("raw://").unwrap())
        .unwrap()
        .read_to_end(&mut plain)
        .unwrap();
    assert!(plain == fs::read(&file).unwrap());
    origin.interrupt();
    origin.wait().expect(130);
    run(["send", "--port", "0", "--also", "raw:0", text(place.path())])
        .expect(2)
        .says(&["is a folder", "raw"]);
    run(["send", "--port", "0", "--also", "raw:1,raw:2", text(&file)])
        .expect(2)
        .says(&["raw twice"]);
}

#[test]
fn get_waits_for_a_server_until_its_timeout() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy");
    let what = format!("framed://{}", support::closed_address());
    let started = std::time::Instant::now();
    let ended = run(["get", &what, "--timeout", "7s", "-o", text(&copy)]);
    ended.expect(6).says(&[&what, "check that the server runs", "waiting for the server"]);
    // Longer than the programs of the documents wait.
    assert!(started.elapsed().as_secs() >= 6);
}

#[test]
fn sources_and_targets_that_cannot_be_used_are_errors() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    run(["raw", "server", "--bind", "127.0.0.1", "-p", &port]).expect(1).says(&["is taken"]);
    run(["framed", "server", "-p", "0", "-f", "/no/such/file"])
        .expect(1)
        .says(&["/no/such/file", "tip:"]);
    run(["framed", "server", "-p", "0"]).expect(2);
    run(["raw", "server", "-p", "0", "--size", "1000TB"])
        .expect(2)
        .says(&["do not fit into memory"]);
    let place = tempfile::tempdir().unwrap();
    run(["raw", "server", "-p", "0", "-f", text(place.path())]).expect(1).says(&["is a folder"]);
    // Only root may write here.
    let folder = tempfile::tempdir().unwrap();
    let args = ["raw", "client", "-s", "127.0.0.1", "-p", &port, "-o", "/usr/x"];
    let mut command = unprivileged_sow(folder.path(), args);
    Running::start(&mut command).wait().expect(5).says(&["/usr/x", "tip:"]);
}
