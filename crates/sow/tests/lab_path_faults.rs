//! A path that fails in the midst of a download: an address changes, or packets vanish for a while
//! and no end learns of it. Root only: the hosts are network namespaces.

mod support;

use std::{
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

use support::{noise_file, process::Process, sow_path, test_network::TestNetwork, text};

/// How soon a download goes on after an address has changed.
const ADDRESS_CHANGE_LIMIT: Duration = Duration::from_secs(10);

/// How long packets vanish.
const LOSS: Duration = Duration::from_secs(30);

/// How soon a download goes on after a loss of [`LOSS`].
const LOSS_LIMIT: Duration = Duration::from_secs(5);

const ORIGIN: u8 = 1;
const RECEIVER: u8 = 2;

/// A download that has begun, slow enough to outlast its test.
struct Transfer {
    network: TestNetwork,
    receiver: Process,
    _origin: Process,
}

impl Transfer {
    fn start(folder: &Path) -> Self {
        let file = noise_file(folder, "file", 100_000_000);
        let network = TestNetwork::new(2);
        let program = text(sow_path());
        let line = ["send", text(&file), "--json", "--up-limit", "1MB/s"];
        let mut origin = network.start(ORIGIN, "origin", &[&[program], &line[..]].concat());
        let ready = origin.wait_event("ready");
        let ticket = ready["ticket"].as_str().unwrap().to_owned();
        let copy = folder.join("copy");
        let line = ["get", &ticket, "-o", text(&copy), "--json"];
        let receiver = network.start(RECEIVER, "receiver", &[&[program], &line[..]].concat());
        let mut transfer = Self { network, receiver, _origin: origin };
        transfer.wait_beyond(1_000_000);
        transfer
    }

    /// The verified bytes.
    fn bytes(&self) -> u64 {
        let last = self.receiver.events("progress").pop();
        last.and_then(|event| event["bytes"].as_u64()).unwrap_or(0)
    }

    fn wait_beyond(&mut self, bytes: u64) {
        let is_beyond = |lines: &[String]| {
            let last = lines.iter().rev().find(|line| line.contains("\"progress\""))?;
            let event: serde_json::Value = serde_json::from_str(last).ok()?;
            (event["bytes"].as_u64()? > bytes).then_some(())
        };
        self.receiver.wait_for("progress", is_beyond);
    }

    /// The time until more bytes arrive than what was on its way at the fault.
    #[track_caller]
    fn expect_progress_within(&mut self, limit: Duration, fault: &str) {
        let began = Instant::now();
        let before = self.bytes();
        self.wait_beyond(before + 1_000_000);
        let took = began.elapsed();
        eprintln!("{fault}: the download went on after {:.1} s", took.as_secs_f64());
        // A megabyte takes a second, and progress is told once a second.
        assert!(took <= limit + Duration::from_secs(2), "{fault}: {took:?}");
    }

    fn change_address(&self, host: u8, address: &str) {
        self.network.run_on(host, &["ip", "address", "flush", "dev", "eth0"]);
        let address = format!("{address}/24");
        self.network.run_on(host, &["ip", "address", "add", &address, "dev", "eth0"]);
    }
}

#[test]
fn a_receiver_whose_address_changes_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut transfer = Transfer::start(folder.path());
    transfer.change_address(RECEIVER, "10.66.0.77");
    transfer.expect_progress_within(ADDRESS_CHANGE_LIMIT, "the receiver's address changed");
}

#[test]
fn a_receiver_goes_on_when_the_address_of_its_origin_changes() {
    let folder = tempfile::tempdir().unwrap();
    let mut transfer = Transfer::start(folder.path());
    transfer.change_address(ORIGIN, "10.66.0.78");
    transfer.expect_progress_within(ADDRESS_CHANGE_LIMIT, "the origin's address changed");
}

#[test]
fn a_download_goes_on_soon_after_all_packets_vanished_for_a_while() {
    let folder = tempfile::tempdir().unwrap();
    let mut transfer = Transfer::start(folder.path());
    // The link stays up at both ends: no program is told anything.
    transfer.network.run(&["ip", "link", "set", "port2", "nomaster"]);
    sleep(LOSS);
    transfer.network.run(&["ip", "link", "set", "port2", "master", "bridge"]);
    transfer.expect_progress_within(LOSS_LIMIT, "packets vanished for 30 s");
}
