//! The lab's network, by its command line and by its library: built, measured, entered, taken down
//! whatever happened. Root only.
//!
//! It is tested here because its helpers are `sow` itself. Every test has labs of its own names.

mod support;

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
    sync::atomic::AtomicBool,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use sow_lab::network::{
    Calibration, DelayChoice, DelayMethod, Lab, LabName, Link, NetworkError, Switches, Topology,
    down,
};
use support::{PATIENCE, Running, eventually, run, sow};

const LINK: Link = Link { up: 10_000_000, down: 10_000_000, delay_us: 0 };

/// A listener that tells each caller its address, by IPv4 and by IPv6; says when it is ready.
const GREETER: &str = "
import socket
server = socket.create_server(('::', 7000), family=socket.AF_INET6, dualstack_ipv6=True, backlog=64)
print('ready', flush=True)
while True:
    connection, address = server.accept()
    connection.sendall(address[0].removeprefix('::ffff:').encode())
    connection.close()
";
const CALLER: &str = "
import socket, sys
connection = socket.create_connection((sys.argv[1], 7000), timeout=float(sys.argv[2]))
print(connection.recv(100).decode())
";

/// One run of a moment.
const SMALL: &str = r#"
title = "One receiver"
users = 1
modes = ["raw"]
repeat = 1
limit = "60s"
[network]
rate = "100mbit"
delay = "1ms"
[[file]]
name = "random-1MiB"
size = "1MiB"
kind = "random"
"#;

fn name(text: &str) -> LabName {
    text.parse().expect("a good name")
}

fn sow_path() -> &'static Path {
    assert_cmd::cargo::cargo_bin!("sow")
}

/// A lab that is taken down by name when the test ends, however it ends.
struct Cleanup(&'static str);

impl Drop for Cleanup {
    fn drop(&mut self) {
        let _ = down(&name(self.0));
    }
}

fn up(topology: &Topology) -> Lab {
    let _ = down(&topology.name);
    Lab::up(topology, sow_path(), &AtomicBool::new(false)).expect("the lab can be built")
}

/// Whatever carries the lab's name: namespaces, interfaces, processes, notes.
fn left_of(lab: &str) -> Vec<String> {
    let output =
        Command::new("sh").args(["-c", "ip netns list; ip -o link"]).output().expect("ip runs");
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut left: Vec<_> = listed
        .lines()
        .filter(|line| line.contains(&format!("sow-{lab}-")))
        .map(str::to_owned)
        .collect();
    let notes = fs::read_dir("/run/sow-lab").expect("the folder of notes").flatten();
    left.extend(
        notes
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|file| file.starts_with(&format!("{lab}."))),
    );
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        let environment = String::from_utf8_lossy(&environment).into_owned();
        if environment.contains(&format!("SOW_LAB_MEMBER={lab}/")) {
            left.push(format!("process {}", entry.file_name().to_string_lossy()));
        }
    }
    left
}

#[track_caller]
fn assert_nothing_left(lab: &str) {
    let left = left_of(lab);
    assert!(left.is_empty(), "left of {lab}: {left:?}");
}

/// Starts the greeter on a host.
fn greet(lab: &Lab, host: &str) -> std::process::Child {
    let mut command = lab.command(host, "/usr/bin/python3").expect("the host is there");
    let mut greeter =
        command.args(["-c", GREETER]).stdout(Stdio::piped()).spawn().expect("python3 starts");
    let mut line = String::new();
    let stdout = greeter.stdout.take().expect("it is piped");
    BufReader::new(stdout).read_line(&mut line).expect("it says something");
    assert_eq!(line.trim(), "ready");
    greeter
}

/// What the greeter at an address tells a host; `None` when it is not reached.
fn call(lab: &Lab, host: &str, address: &str, seconds: &str) -> Option<String> {
    let mut command = lab.command(host, "/usr/bin/python3").expect("the host is there");
    let output = command
        .args(["-c", CALLER, address, seconds])
        .stderr(Stdio::null())
        .output()
        .expect("python3 runs");
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[test]
fn a_lab_is_built_entered_shown_and_taken_down() {
    let lab = "t-commands";
    let _cleanup = Cleanup(lab);
    run(["lab", "down", "--name", lab]).expect(0);
    let built = run([
        "lab", "up", "--name", lab, "--hosts", "3", "--rate", "10mbit", "--delay", "5ms", "--up",
        "h3=2mbit",
    ])
    .expect(0);
    for said in [
        "3 hosts",
        "10mbit",
        "h3",
        "2mbit up",
        "5 ms",
        "delay by",
        "cubic",
        "sow lab exec --name t-commands",
    ] {
        assert!(built.stdout.contains(said), "no `{said}` in:\n{}", built.stdout);
    }
    run(["lab", "up", "--name", lab])
        .expect(1)
        .says(&["is up already", "sow lab down --name t-commands"]);

    let inside = "read congestion </proc/sys/net/ipv4/tcp_congestion_control; echo $congestion; ip -br address; exit 7";
    let ended = run(["lab", "exec", "--name", lab, "h2", "--", "sh", "-c", inside]).expect(7);
    for said in ["cubic\n", "10.0.0.2/16", "fd00:10::2/64", "127.0.0.1/8"] {
        assert!(ended.stdout.contains(said), "no `{said}` in:\n{}", ended.stdout);
    }
    let lost = run(["lab", "exec", "--name", lab, "h1", "--", "/no/such/program"]);
    assert!([126, 127].contains(&lost.code()), "{lost:?}");
    run(["lab", "exec", "--name", lab, "h4", "--", "true"]).expect(2).says(&["h1 to h3", "h4"]);

    let refused =
        ["lab", "up", "--name", "t-refused", "--hosts", "2", "--congestion-control", "nosuch"];
    let said = run(refused).expect(1).says(&["congestion control nosuch"]).stderr.clone();
    assert!(!said.contains("echo"), "what the shell said is no answer: {said}");
    assert_nothing_left("t-refused");

    // Emptied of its environment, and with a parent that does not wait for it: it is the lab's all
    // the same.
    let hidden = "env -i setsid sleep 1000 >/dev/null 2>&1 &";
    run(["lab", "exec", "--name", lab, "h2", "--", "sh", "-c", hidden]).expect(0);
    let mut status = Value::Null;
    // It may be on its way from the shell's child to the program that it is to be.
    eventually("the hidden process", || {
        let said = run(["lab", "status", "--name", lab, "--json"]).expect(0).stdout;
        status = serde_json::from_str(&said).expect("one line of JSON");
        let command = status["hosts"][1]["processes"][0]["command"].as_str();
        command.is_some_and(|command| command.ends_with("sleep 1000"))
    });
    assert_eq!((&status["event"], &status["whole"]), (&Value::from("lab"), &Value::from(true)));
    let h2 = &status["hosts"][1];
    assert_eq!((h2["name"].as_str(), h2["ipv4"].as_str()), (Some("h2"), Some("10.0.0.2")));
    let sleeper = h2["processes"][0].clone();
    let sleeper = sleeper["pid"].as_u64().expect("a process id");

    run(["lab", "down", "--name", lab]).expect(0).says(&["t-commands is down"]);
    assert!(
        fs::read(format!("/proc/{sleeper}/cmdline")).unwrap_or_default().is_empty(),
        "{sleeper} still runs"
    );
    assert_nothing_left(lab);
    run(["lab", "exec", "--name", lab, "h1", "--", "true"]).expect(1).says(&["there is no lab"]);
    run(["lab", "down", "--name", lab]).expect(0).says(&["there is no lab"]);
}

#[test]
fn links_do_what_was_asked_for() {
    let mut topology = Topology::star(name("t-rates"), 4, LINK);
    topology.links[3] = Link { up: 2_000_000, down: 50_000_000, delay_us: 0 };
    topology.switches = Switches::Two { trunk: 5_000_000 };
    let lab = up(&topology);
    let calibration = calibrate(&lab);
    let wanted: Vec<_> =
        calibration.paths.iter().map(|path| (&*path.from, &*path.to, path.wanted_rate)).collect();
    assert_eq!(
        wanted,
        [
            ("h1", "h2", 10_000_000),
            ("h2", "h1", 10_000_000),
            ("h1", "h3", 5_000_000),
            ("h3", "h1", 5_000_000),
            ("h1", "h4", 5_000_000),
            ("h4", "h1", 2_000_000)
        ]
    );
    assert_eq!(
        (calibration.delay_method, &*calibration.congestion_control),
        (DelayMethod::None, "cubic")
    );

    let counted = lab.counters("h4").expect("the host has counters");
    // A second of 2 Mbit/s at least went up.
    assert!(counted.sent_bytes > 250_000, "{counted:?}");
    assert!(counted.sent_frames > 165 && counted.received_frames > 80, "{counted:?}");
    assert!(matches!(lab.counters("h5"), Err(NetworkError::NoSuchHost { .. })));
    lab.down().expect("it can be taken down");
    assert_nothing_left("t-rates");
}

#[test]
fn the_relay_is_on_time_and_keeps_the_rate() {
    let mut topology = Topology::star(name("t-relay"), 3, Link { delay_us: 5000, ..LINK });
    topology.links[2] = Link { up: 100_000_000, down: 100_000_000, delay_us: 20_000 };
    topology.links[0] = topology.links[2];
    topology.delay_by = DelayChoice::Relay;
    let lab = up(&topology);
    assert_eq!(lab.delay_method(), DelayMethod::Relay);
    let calibration = calibrate(&lab);
    assert_eq!(calibration.paths[0].wanted_round_trip_us, 50_000);
    drop(lab);
    assert_nothing_left("t-relay");
}

/// A calibration that says that the lab is good. Other work on the machine may spoil one, but not
/// five; a wrong lab spoils all.
fn calibrate(lab: &Lab) -> Calibration {
    let mut last = None;
    for _ in 0..5 {
        let calibration = lab.calibrate().expect("it can be measured");
        println!("{calibration}");
        if calibration.is_good() {
            return calibration;
        }
        last = Some(calibration);
    }
    panic!("it is not good:\n{}", last.expect("there were five"));
}

#[test]
fn two_labs_do_not_know_of_each_other() {
    let topologies = ["t-one", "t-one-h1"]
        .map(|text| Topology::star(name(text), 2, Link { delay_us: 1000, ..LINK }));
    let [one, other] = topologies.each_ref().map(up);
    let mut greeter = greet(&one, "h1");
    assert_eq!(one.address("h1").expect("the host is there").to_string(), "10.0.0.1");
    assert_eq!(call(&one, "h2", "10.0.0.1", "20").as_deref(), Some("10.0.0.2"));
    assert_eq!(call(&other, "h2", "10.0.0.1", "2"), None, "a lab reaches into the other");

    // Both are busy at once, and each link has its rate.
    thread::scope(|scope| {
        for lab in [&one, &other] {
            scope.spawn(move || calibrate(lab));
        }
    });
    other.down().expect("it can be taken down");
    assert_nothing_left("t-one-h1");
    assert!(one.status().whole, "the first lab suffered");
    assert_eq!(call(&one, "h2", "fd00:10::1", "20").as_deref(), Some("fd00:10::2"));
    one.down().expect("it can be taken down");
    assert!(greeter.wait().is_ok_and(|status| !status.success()), "the greeter was ended");
    assert_nothing_left("t-one");
}

#[test]
fn nothing_is_left_of_a_lab_whose_building_was_killed() {
    let lab = "t-killed";
    let _cleanup = Cleanup(lab);
    let words = ["lab", "up", "--name", lab, "--hosts", "20", "--delay", "5ms"];
    let began = Instant::now();
    run(words).expect(0);
    let whole = began.elapsed();
    run(["lab", "down", "--name", lab]).expect(0);
    let moments = 16;
    let mut parts = 0;
    for moment in 0..moments {
        let mut building = Running::start(&mut sow(words));
        thread::sleep(whole * moment / moments);
        building.kill();
        parts += usize::from(!left_of(lab).is_empty());
        if moment % 4 == 3 {
            // The next one sweeps up, too; it may have been complete.
            let again = run(words);
            assert!(again.code() == 0 || again.stderr.contains("is up already"), "{again:?}");
            let reached = run(["lab", "exec", "--name", lab, "h20", "--", "true"]);
            assert_eq!(reached.code(), 0, "{reached:?}");
        }
        run(["lab", "down", "--name", lab]).expect(0);
        assert_nothing_left(lab);
    }
    assert!(parts >= 4, "it was killed while it was being built {parts} times only");
}

#[test]
fn an_interrupted_building_cleans_up_after_itself() {
    let lab = "t-interrupted";
    let _cleanup = Cleanup(lab);
    run(["lab", "down", "--name", lab]).expect(0);
    let mut building =
        Running::start(&mut sow(["lab", "up", "--name", lab, "--hosts", "200", "--delay", "5ms"]));
    let deadline = Instant::now() + PATIENCE;
    while !Path::new("/run/netns/sow-t-interrupted-h100").exists() {
        assert!(
            Instant::now() < deadline && building.is_running(),
            "it does not get as far as h100"
        );
        thread::sleep(Duration::from_millis(1));
    }
    let signal = |name: &str| {
        let signalled = Command::new("kill").args([name, &building.pid().to_string()]).status();
        assert!(signalled.is_ok_and(|status| status.success()), "{name}");
    };
    // Held where it is, so that it is still at work when it is looked at.
    signal("-STOP");
    let status = run(["lab", "status", "--name", lab]).expect(0).stdout;
    assert!(
        status.contains("delay not set up") && status.contains("a command is building it"),
        "{status}"
    );
    assert!(!status.contains("INCOMPLETE"), "{status}");
    run(["lab", "exec", "--name", lab, "h1", "--", "true"])
        .expect(1)
        .says(&["another command is working"]);
    signal("-INT");
    signal("-CONT");
    building.wait().expect(130);
    assert_nothing_left(lab);
}

#[test]
fn a_lab_without_its_relay_is_not_whole() {
    let lab = "t-broken";
    let _cleanup = Cleanup(lab);
    run(["lab", "down", "--name", lab]).expect(0);
    let words = ["lab", "up", "--name", lab, "--hosts", "2", "--delay", "5ms"];
    run(words.into_iter().chain(["--delay-by", "relay"])).expect(0);
    let relay = format!("sow lab helper relay {lab}");
    let pids: Vec<_> = fs::read_dir("/proc")
        .expect("/proc")
        .flatten()
        .filter(|entry| {
            let line = fs::read_to_string(entry.path().join("cmdline"))
                .unwrap_or_default()
                .replace('\0', " ");
            line.trim_end().ends_with(&relay)
        })
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    let [pid] = &pids[..] else { panic!("one relay, not {pids:?}") };
    assert!(Command::new("kill").args(["-9", pid]).status().is_ok_and(|status| status.success()));
    let deadline = Instant::now() + PATIENCE;
    while run(["lab", "exec", "--name", lab, "h1", "--", "true"]).code() == 0 {
        assert!(Instant::now() < deadline, "nobody notices that the relay is gone");
    }
    run(["lab", "exec", "--name", lab, "h1", "--", "true"])
        .expect(1)
        .says(&["not whole", "sow lab down"]);
    let status = run(["lab", "status", "--name", lab]).expect(0).stdout;
    assert!(status.contains("INCOMPLETE"), "{status}");
    run(words).expect(0);
    run(["lab", "down", "--name", lab]).expect(0);
    assert_nothing_left(lab);
}

#[test]
fn a_hundred_hosts_come_and_go() {
    let began = Instant::now();
    let lab = up(&Topology::star(name("t-hundred"), 100, Link { delay_us: 2000, ..LINK }));
    let built = began.elapsed();
    let mut greeter = greet(&lab, "h100");
    for (host, address, answer) in [
        ("h1", "10.0.0.100", "10.0.0.1"),
        ("h57", "fd00:10::64", "fd00:10::39"),
        ("h99", "10.0.0.100", "10.0.0.99"),
    ] {
        assert_eq!(call(&lab, host, address, "20").as_deref(), Some(answer), "{host}");
    }
    // The greeter leads a group of its own.
    let group = format!("-{}", greeter.id());
    assert!(
        Command::new("kill")
            .args(["-9", "--", &group])
            .status()
            .is_ok_and(|status| status.success())
    );
    assert!(greeter.wait().is_ok_and(|status| !status.success()), "the greeter was ended");
    let began = Instant::now();
    lab.down().expect("it can be taken down");
    println!("100 hosts: up in {built:?}, down in {:?}", began.elapsed());
    assert_nothing_left("t-hundred");
    assert!(built < Duration::from_secs(30), "{built:?}");
}

#[test]
fn more_hosts_than_fit_into_one_byte() {
    let lab = up(&Topology::star(name("t-crowd"), 300, LINK));
    let mut greeter = greet(&lab, "h300");
    assert_eq!(call(&lab, "h1", "10.0.1.46", "20").as_deref(), Some("10.0.0.1"));
    assert_eq!(call(&lab, "h255", "fd00:10::12c", "20").as_deref(), Some("fd00:10::ff"));
    lab.down().expect("it can be taken down");
    let _ = greeter.wait();
    assert_nothing_left("t-crowd");
}

#[test]
fn an_ordinary_user_has_labs_of_their_own_or_is_told_why_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("sow");
    fs::copy(sow_path(), &program).expect("the program can be copied");
    for path in [folder.path(), &program] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("it is ours");
    }
    let user = |program: &Path, words: &[&str]| {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", "64198", "--regid", "64198", "--clear-groups"])
            .arg(program)
            .args(words);
        command.env_remove("XDG_RUNTIME_DIR").env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
        let output = command.output().expect("setpriv (package util-linux) runs");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let allowed =
        user(Path::new("unshare"), &["--user", "--map-root-user", "--net", "--mount", "true"]).0
            == Some(0);
    let named = ["--name", "t-user"];
    let sow =
        |words: &[&str]| user(&program, &[&["lab", words[0]], &named[..], &words[1..]].concat());
    sow(&["down"]);
    let (code, _, said) = sow(&["up", "--hosts", "3", "--delay", "5ms"]);
    if !allowed {
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("needs root"), "{said}");
        return;
    }
    assert_eq!(code, Some(0), "{said}");
    let (code, stdout, said) =
        sow(&["exec", "h2", "--", "sh", "-c", "pwd; ip -br address; exit 9"]);
    assert_eq!(code, Some(9), "{said}");
    assert!(stdout.contains("10.0.0.2/16"), "{stdout}");
    let here = std::env::current_dir().expect("a current folder");
    assert!(
        stdout.starts_with(&*here.to_string_lossy()),
        "the current folder is another: {stdout}"
    );
    // Without root the relay has to wait for the processor like everybody else, so on a busy
    // machine a path may be off.
    let (_, stdout, said) = sow(&["calibrate"]);
    assert!(stdout.contains("\nh2 to h1: ") && stdout.contains("delayed by"), "{stdout}{said}");
    let listed = Command::new("ip").args(["netns", "list"]).output().expect("ip runs").stdout;
    assert!(
        !String::from_utf8_lossy(&listed).contains("t-user"),
        "the machine's own namespaces are touched"
    );
    assert_eq!(sow(&["down"]).0, Some(0));
    assert_nothing_left("t-user");

    // Who built a lab is the parent of its processes, and takes it down before it has waited for
    // them.
    let scenario = folder.path().join("small.toml");
    fs::write(&scenario, SMALL).expect("it can be written");
    let out = Path::new("/tmp/sow-test-64198");
    let words = ["lab", "run", &scenario.to_string_lossy(), "--out", &out.to_string_lossy()];
    let _ = fs::remove_dir_all(out);
    let (code, _, said) = user(&program, &words);
    let _ = fs::remove_dir_all(out);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(user(&program, &["lab", "status"]).1, "", "a lab is left");
    let left = fs::read_dir("/dev/shm/sow-lab-run-64198").into_iter().flatten().flatten();
    assert_eq!(
        left.map(|entry| entry.path()).collect::<Vec<_>>(),
        Vec::<std::path::PathBuf>::new()
    );
    let _ = fs::remove_dir("/dev/shm/sow-lab-run-64198");
    assert_eq!(fs::read_dir("/tmp/sow-lab-64198").expect("the folder of notes").count(), 0);
    fs::remove_dir("/tmp/sow-lab-64198").expect("it is empty");
}
