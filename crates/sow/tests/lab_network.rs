//! The network of the lab, through the command line and the library: it is built, measured, entered
//! and taken down, also after a kill. Root only.
//!
//! The tests are in this crate because the helpers of a lab are `sow` itself. Every test has labs
//! with names of its own.

mod support;

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
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
use support::{Running, TEST_TIMEOUT, run, sow, sow_for_all_users, sow_path, wait_until};

const LINK: Link = Link { up: 10_000_000, down: 10_000_000, delay_us: 0 };

/// A server that sends each client its address, over IPv4 and over IPv6; prints a line when it is
/// ready.
const ADDRESS_SERVER: &str = "
import socket
server = socket.create_server(('::', 7000), family=socket.AF_INET6, dualstack_ipv6=True, backlog=64)
print('ready', flush=True)
while True:
    connection, address = server.accept()
    connection.sendall(address[0].removeprefix('::ffff:').encode())
    connection.close()
";
const ADDRESS_CLIENT: &str = "
import socket, sys
connection = socket.create_connection((sys.argv[1], 7000), timeout=float(sys.argv[2]))
print(connection.recv(100).decode())
";

/// An experiment of one short run, without its delay. Every kernel lets ordinary users choose reno.
const SMALL: &str = r#"
title = "One receiver"
users = 1
modes = ["raw"]
repeat = 1
limit = "60s"
[network]
rate = "100mbit"
congestion-control = "reno"
[[file]]
name = "random-1MiB"
size = "1MiB"
kind = "random"
"#;

fn name(text: &str) -> LabName {
    text.parse().expect("a good name")
}

/// Takes a lab down by name when the test ends for any reason.
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

/// Everything with the lab's name: namespaces, interfaces, processes, state files.
fn left_of(lab: &str) -> Vec<String> {
    let output =
        Command::new("sh").args(["-c", "ip netns list; ip -o link"]).output().expect("ip runs");
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut left: Vec<_> = listed
        .lines()
        .filter(|line| line.contains(&format!("sow-{lab}-")))
        .map(str::to_owned)
        .collect();
    // The folder exists after the first lab of root.
    let state_files = fs::read_dir("/run/sow-lab").into_iter().flatten().flatten();
    left.extend(
        state_files
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

/// Starts the address server on a host.
fn start_address_server(lab: &Lab, host: &str) -> std::process::Child {
    let mut command = lab.command(host, "/usr/bin/python3").expect("the host is there");
    let mut server = command
        .args(["-c", ADDRESS_SERVER])
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 starts");
    let mut line = String::new();
    let stdout = server.stdout.take().expect("stdout is piped");
    BufReader::new(stdout).read_line(&mut line).expect("the server prints a line");
    assert_eq!(line.trim(), "ready");
    server
}

/// The answer of the address server at an address to a host; `None` when it is not reachable.
fn ask_address(lab: &Lab, host: &str, address: &str, seconds: &str) -> Option<String> {
    let mut command = lab.command(host, "/usr/bin/python3").expect("the host is there");
    let output = command
        .args(["-c", ADDRESS_CLIENT, address, seconds])
        .stderr(Stdio::null())
        .output()
        .expect("python3 runs");
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[test]
fn a_lab_is_built_entered_listed_and_taken_down() {
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

    let inside = "read congestion </proc/sys/net/ipv4/tcp_congestion_control; \
                  echo $congestion; ip -br address; exit 7";
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
    assert!(!said.contains("echo"), "the error shows a shell command: {said}");
    assert_nothing_left("t-refused");

    // A process without environment and without a waiting parent still belongs to the lab.
    let hidden = "env -i setsid sleep 1000 >/dev/null 2>&1 &";
    run(["lab", "exec", "--name", lab, "h2", "--", "sh", "-c", hidden]).expect(0);
    let mut status = Value::Null;
    // It may not have executed its program yet.
    wait_until("the hidden process", || {
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
        "{sleeper} is still running"
    );
    assert_nothing_left(lab);
    run(["lab", "exec", "--name", lab, "h1", "--", "true"]).expect(1).says(&["there is no lab"]);
    run(["lab", "down", "--name", lab]).expect(0).says(&["there is no lab"]);
}

#[test]
fn links_have_the_requested_rates() {
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
    // The calibration sent for at least a second at 2 Mbit/s.
    assert!(counted.sent_bytes > 250_000, "{counted:?}");
    assert!(counted.sent_frames > 165 && counted.received_frames > 80, "{counted:?}");
    assert!(matches!(lab.counters("h5"), Err(NetworkError::NoSuchHost { .. })));
    lab.down().expect("it can be taken down");
    assert_nothing_left("t-rates");
}

#[test]
fn the_relay_keeps_delay_and_rate() {
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

/// A calibration that finds the lab good. Other load on the machine may distort one measurement,
/// but hardly five; a wrong lab fails all of them.
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
fn two_labs_are_isolated_from_each_other() {
    let topologies = ["t-one", "t-one-h1"]
        .map(|text| Topology::star(name(text), 2, Link { delay_us: 1000, ..LINK }));
    let [one, other] = topologies.each_ref().map(up);
    let mut server = start_address_server(&one, "h1");
    assert_eq!(one.address("h1").expect("the host is there").to_string(), "10.0.0.1");
    assert_eq!(ask_address(&one, "h2", "10.0.0.1", "20").as_deref(), Some("10.0.0.2"));
    assert_eq!(ask_address(&other, "h2", "10.0.0.1", "2"), None, "one lab reaches the other");

    // Both are measured at the same time, and each link has its rate.
    thread::scope(|scope| {
        for lab in [&one, &other] {
            scope.spawn(move || calibrate(lab));
        }
    });
    other.down().expect("it can be taken down");
    assert_nothing_left("t-one-h1");
    assert!(one.status().whole, "the first lab is damaged");
    assert_eq!(ask_address(&one, "h2", "fd00:10::1", "20").as_deref(), Some("fd00:10::2"));
    one.down().expect("it can be taken down");
    assert!(server.wait().is_ok_and(|status| !status.success()), "the server was killed");
    assert_nothing_left("t-one");
}

#[test]
fn nothing_is_left_of_a_lab_whose_setup_was_killed() {
    let lab = "t-killed";
    let _cleanup = Cleanup(lab);
    let words = ["lab", "up", "--name", lab, "--hosts", "20", "--delay", "5ms"];
    let began = Instant::now();
    run(words).expect(0);
    let whole = began.elapsed();
    run(["lab", "down", "--name", lab]).expect(0);
    let moments = 16;
    let mut partial = 0;
    for moment in 0..moments {
        let mut setup = Running::start(&mut sow(words));
        if moment % 2 == 0 {
            wait_for_host(lab, moment + 1, &mut setup);
        } else {
            // Moments of every phase are the subject here: no condition is awaited.
            thread::sleep(whole * moment / moments);
        }
        setup.kill();
        partial += u32::from(!left_of(lab).is_empty());
        if moment % 4 == 3 {
            // The next setup removes what is left, unless the lab is complete.
            let again = run(words);
            assert!(again.code() == 0 || again.stderr.contains("is up already"), "{again:?}");
            let reached = run(["lab", "exec", "--name", lab, "h20", "--", "true"]);
            assert_eq!(reached.code(), 0, "{reached:?}");
        }
        run(["lab", "down", "--name", lab]).expect(0);
        assert_nothing_left(lab);
    }
    assert!(partial >= moments / 2, "the setup was killed only {partial} times");
}

/// Waits until the namespace of a host exists, with a short interval: the setup must be stopped
/// soon after.
fn wait_for_host(lab: &str, host: u32, setup: &mut Running) {
    let namespace = PathBuf::from(format!("/run/netns/sow-{lab}-h{host}"));
    let deadline = Instant::now() + TEST_TIMEOUT;
    while !namespace.exists() {
        assert!(Instant::now() < deadline && setup.is_running(), "the setup makes no h{host}");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn an_interrupted_setup_removes_everything() {
    let lab = "t-interrupted";
    let _cleanup = Cleanup(lab);
    run(["lab", "down", "--name", lab]).expect(0);
    let mut setup =
        Running::start(&mut sow(["lab", "up", "--name", lab, "--hosts", "200", "--delay", "5ms"]));
    wait_for_host(lab, 100, &mut setup);
    // The setup is stopped, so that it is still incomplete when its status is read.
    setup.pause();
    let status = run(["lab", "status", "--name", lab]).expect(0).stdout;
    assert!(
        status.contains("delay not set up") && status.contains("a command is building it"),
        "{status}"
    );
    assert!(!status.contains("INCOMPLETE"), "{status}");
    run(["lab", "exec", "--name", lab, "h1", "--", "true"])
        .expect(1)
        .says(&["another command is working"]);
    setup.interrupt();
    setup.resume();
    setup.wait().expect(130);
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
    wait_until("the loss of the relay is noticed", || {
        run(["lab", "exec", "--name", lab, "h1", "--", "true"]).code() != 0
    });
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
fn a_lab_of_a_hundred_hosts_is_built_and_taken_down() {
    let began = Instant::now();
    let lab = up(&Topology::star(name("t-hundred"), 100, Link { delay_us: 2000, ..LINK }));
    let built = began.elapsed();
    let mut server = start_address_server(&lab, "h100");
    for (host, address, answer) in [
        ("h1", "10.0.0.100", "10.0.0.1"),
        ("h57", "fd00:10::64", "fd00:10::39"),
        ("h99", "10.0.0.100", "10.0.0.99"),
    ] {
        assert_eq!(ask_address(&lab, host, address, "20").as_deref(), Some(answer), "{host}");
    }
    // The server leads a process group of its own.
    let group = format!("-{}", server.id());
    assert!(
        Command::new("kill")
            .args(["-9", "--", &group])
            .status()
            .is_ok_and(|status| status.success())
    );
    assert!(server.wait().is_ok_and(|status| !status.success()), "the server was killed");
    let began = Instant::now();
    lab.down().expect("it can be taken down");
    println!("100 hosts: up in {built:?}, down in {:?}", began.elapsed());
    assert_nothing_left("t-hundred");
    // The time itself is the subject: a lab of this size must stay usable in an experiment. It
    // takes about three seconds on two free cores; this group of tests runs one test at a time.
    assert!(built < Duration::from_secs(30), "{built:?}");
}

#[test]
fn a_lab_may_have_more_than_255_hosts() {
    let lab = up(&Topology::star(name("t-crowd"), 300, LINK));
    let mut server = start_address_server(&lab, "h300");
    assert_eq!(ask_address(&lab, "h1", "10.0.1.46", "20").as_deref(), Some("10.0.0.1"));
    assert_eq!(ask_address(&lab, "h255", "fd00:10::12c", "20").as_deref(), Some("fd00:10::ff"));
    lab.down().expect("it can be taken down");
    let _ = server.wait();
    assert_nothing_left("t-crowd");
}

/// A user without privileges, and a copy of the program that this user may run.
struct OrdinaryUser {
    folder: tempfile::TempDir,
    program: PathBuf,
}

impl OrdinaryUser {
    /// A user and group that own no file of this machine.
    const ID: &str = "64198";
    const LAB: &str = "t-user";
    /// Without a delay. Every kernel lets ordinary users choose this congestion control.
    const UP: [&str; 5] = ["up", "--hosts", "3", "--congestion-control", "reno"];

    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let program = sow_for_all_users(folder.path());
        Self { folder, program }
    }

    /// Runs a program as this user; returns its exit code and its two outputs.
    fn run(&self, program: &Path, words: &[&str]) -> (Option<i32>, String, String) {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", Self::ID, "--regid", Self::ID, "--clear-groups"])
            .arg(program)
            .args(words)
            .current_dir(self.folder.path());
        command.env_remove("XDG_RUNTIME_DIR").env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
        let output = command.output().expect("setpriv (package util-linux) runs");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }

    /// Runs `sow lab` for the lab of this user.
    fn lab(&self, words: &[&str]) -> (Option<i32>, String, String) {
        let named = [&["lab", words[0], "--name", Self::LAB], &words[1..]].concat();
        self.run(&self.program, &named)
    }

    fn may_make_namespaces(&self) -> bool {
        let words = ["--user", "--map-root-user", "--net", "--mount", "true"];
        self.run(Path::new("unshare"), &words).0 == Some(0)
    }

    fn may_open_tun(&self) -> bool {
        self.run(Path::new("sh"), &["-c", ": <>/dev/net/tun"]).0 == Some(0)
    }
}

/// Which of the three cases applies depends on the kernel and on the mode of /dev/net/tun. The test
/// changes neither.
#[test]
fn an_ordinary_user_has_labs_of_their_own_or_is_told_why_not() {
    let user = OrdinaryUser::new();
    user.lab(&["down"]);
    let delayed = [&OrdinaryUser::UP[..], &["--delay", "5ms"]].concat();
    let (code, _, stderr) = user.lab(&delayed);
    if !user.may_make_namespaces() {
        assert_eq!(code, Some(1), "{stderr}");
        assert!(stderr.contains("needs root"), "{stderr}");
        return;
    }
    let has_delay = code == Some(0);
    if !has_delay {
        assert!(!user.may_open_tun(), "the user may open /dev/net/tun, but: {stderr}");
        assert_eq!(code, Some(1), "{stderr}");
        assert!(stderr.contains("/dev/net/tun"), "the device is not named: {stderr}");
        assert_nothing_left(OrdinaryUser::LAB);
        let (code, _, stderr) = user.lab(&OrdinaryUser::UP);
        assert_eq!(code, Some(0), "without a delay the device is not needed: {stderr}");
    }
    use_lab_of(&user, has_delay);
    run_experiment_of(&user, has_delay);
    assert_eq!(fs::read_dir("/tmp/sow-lab-64198").expect("the folder of state files").count(), 0);
    fs::remove_dir("/tmp/sow-lab-64198").expect("it is empty");
}

/// Enters, measures and takes down the lab of an ordinary user.
fn use_lab_of(user: &OrdinaryUser, has_delay: bool) {
    let command = ["exec", "h2", "--", "sh", "-c", "pwd; ip -br address; exit 9"];
    let (code, stdout, stderr) = user.lab(&command);
    assert_eq!(code, Some(9), "{stderr}");
    assert!(stdout.contains("10.0.0.2/16"), "{stdout}");
    let folder = user.folder.path().to_string_lossy();
    assert!(stdout.starts_with(&*folder), "the current folder changed: {stdout}");
    // Without root the relay has no priority, so on a busy machine a path may be off: the exit code
    // is not checked.
    let (_, stdout, stderr) = user.lab(&["calibrate"]);
    assert!(stdout.contains("\nh2 to h1: "), "{stdout}{stderr}");
    assert_eq!(stdout.contains("delayed by"), has_delay, "{stdout}{stderr}");
    let listed = Command::new("ip").args(["netns", "list"]).output().expect("ip runs").stdout;
    let listed = String::from_utf8_lossy(&listed).into_owned();
    assert!(!listed.contains(OrdinaryUser::LAB), "a namespace of the machine was made: {listed}");
    assert_eq!(user.lab(&["down"]).0, Some(0));
    assert_nothing_left(OrdinaryUser::LAB);
}

/// Runs a short experiment. The process that builds its lab is the parent of the lab's processes,
/// and takes the lab down before it has waited for them.
fn run_experiment_of(user: &OrdinaryUser, has_delay: bool) {
    let scenario = user.folder.path().join("small.toml");
    let delay = if has_delay { "delay = \"1ms\"\n[[file]]" } else { "[[file]]" };
    fs::write(&scenario, SMALL.replace("[[file]]", delay)).expect("it can be written");
    let results = user.folder.path().join("results");
    fs::create_dir(&results).expect("a folder");
    fs::set_permissions(&results, fs::Permissions::from_mode(0o777)).expect("the test owns it");
    let out = results.join("small");
    let words = ["lab", "run", &scenario.to_string_lossy(), "--out", &out.to_string_lossy()];
    let (code, _, stderr) = user.run(&user.program, &words);
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(user.run(&user.program, &["lab", "status"]).1, "", "a lab is left");
    let left = fs::read_dir("/dev/shm/sow-lab-run-64198").into_iter().flatten().flatten();
    let left: Vec<PathBuf> = left.map(|entry| entry.path()).collect();
    assert_eq!(left, Vec::<PathBuf>::new());
    let _ = fs::remove_dir("/dev/shm/sow-lab-run-64198");
}
