//! A fleet of forty hosts, each with an address and a network namespace of its own: what `send`
//! says of it is true, whatever happens to the hosts. Root only.

mod support;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::{
    noise_file, process::Process, sow_path, test_network::TestNetwork, text, wait_until,
};

const HOSTS: u8 = 40;
const SIZE: usize = 8 << 20;

/// The rate of the origin, and of the receivers that are killed: there is time to kill them.
const UP_LIMIT: &str = "4MB/s";
const KILLED_LIMIT: &str = "1500kB/s";

/// Runs `get` on a host whose target is on a file system of a size, if one is given.
const GET: &str = r#"
[ -z "$1" ] || mount -t tmpfs -o "size=$1" tmpfs "$2"
shift 2
exec "$@"
"#;

/// A fleet; receiver 1 is `web01` on host 2 of the network, and so on.
struct Fleet {
    network: TestNetwork,
    folder: tempfile::TempDir,
    file: PathBuf,
}

/// How one receiver runs.
#[derive(Default)]
struct Options<'a> {
    disk: &'a str,
    more: &'a [&'a str],
}

impl Fleet {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = noise_file(folder.path(), "image.iso", SIZE);
        for number in 1..=HOSTS {
            fs::create_dir(folder.path().join(format!("web{number:02}"))).expect("a folder");
        }
        Self { network: TestNetwork::new(HOSTS + 1), folder, file }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn target(&self, number: u8) -> PathBuf {
        self.path(&format!("web{number:02}/image.iso"))
    }

    /// Starts the origin. `ready` is what its event says.
    fn send(&self, options: &[&str]) -> (Process, String) {
        let line = [text(sow_path()), "send", text(&self.file), "--json", "--port", "52000"];
        let mut origin = self.network.start(1, "send", &[&line, options].concat());
        let ready = origin.wait_event("ready");
        let ticket = ready["ticket"].as_str().expect("a ticket").to_owned();
        (origin, ticket)
    }

    fn get(&self, number: u8, what: &str, options: &Options<'_>) -> Process {
        let (name, target) = (format!("web{number:02}"), self.target(number));
        let folder = target.parent().expect("a folder");
        let shell = ["sh", "-ec", GET, "sh", options.disk, text(folder)];
        let get = [text(sow_path()), "get", what, "--no-seed", "--json", "--name", &name];
        let line = [&shell[..], &get, &["-o", text(&target)], options.more].concat();
        self.network.start(number + 1, &name, &line)
    }

    fn is_copied(&self, number: u8) -> bool {
        fs::read(self.target(number)).ok() == fs::read(&self.file).ok()
    }
}

/// The rows of a results file by their hosts.
fn rows(path: &Path) -> BTreeMap<String, Value> {
    let text = fs::read_to_string(path).expect("the results are written");
    let rows: Vec<Value> = serde_json::from_str(&text).expect("they are JSON");
    let count = rows.len();
    let by_host: BTreeMap<String, Value> = rows
        .into_iter()
        .map(|row| (row["host"].as_str().expect("a listed host").to_owned(), row))
        .collect();
    assert_eq!(by_host.len(), count, "one row for each host");
    by_host
}

fn signal(process: &Process, signal: Signal) {
    let id = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
    kill_process(id.expect("a process"), signal).expect("it runs");
}

/// Waits until a receiver has half of the content, and kills it.
fn kill_at_half(mut get: Process) {
    wait_until("half of the content", || {
        let progress = get.events("progress");
        let bytes = progress.last().and_then(|event| event["bytes"].as_u64()).unwrap_or(0);
        assert!(bytes < SIZE as u64, "it is complete too early");
        bytes >= SIZE as u64 / 2
    });
    get.kill();
}

/// The hosts of which something is said: by name or by address.
fn listed(number: u8) -> String {
    match number {
        ..=20 => format!("web{number:02}"),
        _ => format!("10.66.0.{}", number + 1),
    }
}

#[test]
fn what_is_said_of_forty_hosts_is_true() {
    let fleet = Fleet::new();
    let (killed, whole, full, absent) = ([4, 14, 34], [5, 6, 7, 25, 26], 8, [9, 29]);
    whole.iter().for_each(|number| _ = fs::copy(&fleet.file, fleet.target(*number)).unwrap());
    let hosts: Vec<String> = (1..=HOSTS).map(listed).collect();
    let list = fleet.path("hosts.txt");
    fs::write(&list, hosts.join("\n")).unwrap();
    let (results, missing) = (fleet.path("results.json"), fleet.path("missing.txt"));
    let files = ["--results", text(&results), "--missing", text(&missing)];

    // One is there before its origin.
    let mut early = fleet.get(1, "10.66.0.1:52000", &Options::default());
    std::thread::sleep(Duration::from_secs(2));
    assert!(early.is_running(), "{:?}", early.lines());
    let options = ["--hosts", text(&list), "--up-limit", UP_LIMIT];
    let (mut origin, ticket) = fleet.send(&[&options[..], &files].concat());
    let mut gets: BTreeMap<u8, Process> = (2..=HOSTS)
        .filter(|number| !absent.contains(number))
        .map(|number| {
            let more: &[&str] =
                if killed.contains(&number) { &["--down-limit", KILLED_LIMIT] } else { &[] };
            let disk = if number == full { "4m" } else { "" };
            (number, fleet.get(number, &ticket, &Options { disk, more }))
        })
        .collect();
    for number in killed {
        kill_at_half(gets.remove(&number).expect("it runs"));
        gets.insert(number, fleet.get(number, &ticket, &Options::default()));
    }
    early.wait_success();
    for (number, get) in &mut gets {
        let code = get.wait_exit().code();
        assert_eq!(code, Some(if *number == full { 5 } else { 0 }), "{number}: {:?}", get.lines());
    }
    let is_complete = |event: &Value| event["state"] == "complete";
    wait_until("37 complete receivers", || {
        origin.events("receiver").iter().filter(|event| is_complete(event)).count() >= 37
    });
    signal(&origin, Signal::INT);
    assert_eq!(origin.wait_exit().code(), Some(7));
    let said = origin.lines().join("\n");
    assert!(said.contains("37 of 40 receivers were complete"), "{said}");

    let rows = rows(&results);
    assert_eq!(rows.len(), 40);
    for number in 1..=HOSTS {
        let row = &rows[&listed(number)];
        let (state, is_copied) = (row["state"].as_str().unwrap(), fleet.is_copied(number));
        let error = row["error"].as_str().unwrap_or_default();
        let (expected, reason) = match number {
            _ if absent.contains(&number) => ("missing", "not connected"),
            _ if number == full => ("failed", "space"),
            _ => ("complete", ""),
        };
        assert_eq!((state, is_copied), (expected, expected == "complete"), "{number}: {row}");
        assert!(error.contains(reason) && error.is_empty() == reason.is_empty(), "{row}");
        if expected == "complete" {
            assert_eq!(row["bytes"], SIZE, "{row}");
        }
        if expected != "missing" {
            assert_eq!(row["name"], format!("web{number:02}"), "{row}");
        }
    }
    let left = fs::read_to_string(&missing).unwrap();
    let expected = [full, absent[0], absent[1]].map(listed);
    assert_eq!(left.lines().collect::<Vec<_>>(), expected);
    retry_and_repeat(&fleet, &missing, &[full, absent[0], absent[1]]);
}

/// The hosts of the list get their copies; then all that have one run again.
fn retry_and_repeat(fleet: &Fleet, missing: &Path, left: &[u8]) {
    let (mut origin, ticket) = fleet.send(&["--hosts", text(missing)]);
    let mut gets: Vec<Process> =
        left.iter().map(|number| fleet.get(*number, &ticket, &Options::default())).collect();
    gets.iter_mut().for_each(Process::wait_success);
    origin.wait_success();

    let (mut origin, ticket) = fleet.send(&["--expect", "40"]);
    let mut gets: Vec<Process> =
        (1..=HOSTS).map(|number| fleet.get(number, &ticket, &Options::default())).collect();
    let started = Instant::now();
    origin.wait_success();
    let took = started.elapsed();
    println!("40 receivers that had their copies were counted after {took:?}");
    // Each one hashes its copy first, on the processors of one machine.
    assert!(took < Duration::from_secs(10), "{took:?}");
    gets.iter_mut().for_each(Process::wait_success);
}
