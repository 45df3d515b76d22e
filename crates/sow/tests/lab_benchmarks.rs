//! The benchmarks under `bench/` as tests: the main job at real size on shaped links, and limits that must hold. Root only.
//!
//! Figures for people come from the scripts themselves, with a release build; here a test build must keep to the limits too.

use std::{fs, process::Command};

use serde_json::Value;
use tempfile::NamedTempFile;

const BENCH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../bench");

/// What libtorrent, tuned, needs for five receivers, as a multiple of the bound (see `bench/README.md`).
const LIBTORRENT_AT_FIVE: f64 = 1.43;
/// Beyond the start of a process and the last acknowledgement, one receiver must have the file at line rate.
const ONE_RECEIVER: f64 = 1.05;
const PEAK_MEMORY_BYTES: u64 = 128 << 20;

/// Runs a benchmark script on the binary under test; returns a value for each transfer.
fn bench(script: &str, arguments: &[&str]) -> Vec<Value> {
    let results = NamedTempFile::new().expect("a temporary file can be made");
    let output = Command::new("/usr/bin/python3")
        .arg(format!("{BENCH}/{script}"))
        .args(["--engines", "sow", "--sow", env!("CARGO_BIN_EXE_sow"), "--json"])
        .arg(results.path())
        .args(arguments)
        .output()
        .expect("/usr/bin/python3 (package python3) runs");
    let said =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).join("\n");
    println!("{said}");
    assert!(output.status.success(), "{script}: {}", output.status);
    let lines = fs::read_to_string(results.path()).expect("the script writes results");
    lines.lines().map(|line| serde_json::from_str(line).expect("each result is a JSON line")).collect()
}

/// The least `ratio` among the repeats for so many receivers: other work on the machine only ever makes it greater.
fn best_ratio(results: &[Value], receivers: u64) -> f64 {
    let mine = results.iter().filter(|result| result["receivers"] == receivers);
    mine.map(|result| result["ratio"].as_f64().expect("ratio is a number")).fold(f64::INFINITY, f64::min)
}

#[test]
fn a_flash_crowd_on_shaped_links_is_faster_than_libtorrent() {
    let results = bench("flash-crowd", &["--receivers", "1,5", "--repeat", "2"]);
    assert!(results.iter().all(|result| result["verified"] == true), "a copy is wrong");
    let (one, five) = (best_ratio(&results, 1), best_ratio(&results, 5));
    assert!(one < ONE_RECEIVER, "one receiver took {one} times the bound");
    assert!(five < LIBTORRENT_AT_FIVE, "the last of five receivers took {five} times the bound");
}

#[test]
fn two_gibibytes_to_four_receivers_in_bounded_memory() {
    let results = bench("throughput", &["--receivers", "4", "--repeat", "1"]);
    let [result] = &results[..] else { panic!("want one result, got {results:?}") };
    assert_eq!(result["verified"], true, "a copy is wrong");
    for process in ["memory_origin", "memory_receiver"] {
        let peak = result[process].as_u64().expect("peaks are numbers");
        assert!(peak <= PEAK_MEMORY_BYTES, "{process}: {peak} bytes resident at the peak");
    }
}
