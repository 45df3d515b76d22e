//! `sow lab run --simulate`: an experiment without a network, with the records of a measured one.

use std::fs;

use assert_cmd::Command;
use serde_json::Value;

fn sow() -> Command {
    let mut command = Command::cargo_bin("sow").unwrap();
    command.env_clear();
    command
}

/// The records of kind `run` in a folder.
fn runs(dir: &std::path::Path) -> Vec<Value> {
    let text = fs::read_to_string(dir.join("records.jsonl")).unwrap();
    let records = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    records.filter(|record| record["record"] == "run").collect()
}

#[test]
fn a_simulated_experiment_has_the_records_of_a_measured_one_and_repeats_exactly() {
    let dir = tempfile::tempdir().unwrap();
    let simulate = |name: &str| {
        let out = dir.path().join(name);
        sow()
            .args(["lab", "run", "smoke", "--simulate", "--users", "2,4", "--repeat", "1"])
            .args(["--modes", "sow,chunk,raw", "--seed", "7", "--out"])
            .arg(&out)
            .assert()
            .success();
        assert!(out.join("report.html").exists());
        runs(&out)
    };
    let first = simulate("first");
    let modes: Vec<&Value> = first.iter().map(|run| &run["mode"]).collect();
    assert_eq!(modes, ["swarm", "chunk", "swarm", "chunk"], "raw has no simulation");
    for run in &first {
        assert_eq!(run["simulated"], true);
        let receivers = run["receivers"].as_array().unwrap();
        assert_eq!(receivers.len() as u64, run["users"].as_u64().unwrap());
        assert!(receivers.iter().all(|one| one["verified"] == true), "{run}");
        assert!(run["origins"][0]["payload_up_bytes"].as_u64() >= run["file"]["bytes"].as_u64());
    }
    assert_eq!(first, simulate("second"));
}

#[test]
fn more_receivers_than_a_lab_can_have_are_refused_without_simulate() {
    sow().args(["lab", "run", "smoke", "--users", "501"]).assert().code(2);
    let dir = tempfile::tempdir().unwrap();
    let scenario = dir.path().join("crowd.toml");
    let text = "title = \"A crowd\"\nusers = [501]\nmodes = [\"sow\"]\nrepeat = 1\n[network]\n\
                rate = \"100Mbit\"\n[[file]]\nname = \"f\"\nsize = \"1KB\"\nkind = \"random\"\n";
    fs::write(&scenario, text).unwrap();
    let line = |simulate: &[&str]| {
        let mut command = sow();
        command.args(["lab", "run"]).arg(&scenario).args(simulate);
        command.args(["--users", "2", "--out"]).arg(dir.path().join("out"));
        command.assert()
    };
    line(&[]).code(2);
    line(&["--simulate"]).success();
}

#[test]
fn an_experiment_without_any_simulated_mode_is_refused() {
    let line = ["lab", "run", "smoke", "--simulate", "--modes", "raw,aria2"];
    let assert = sow().args(line).assert().code(2);
    let error = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(error.contains("simulation: raw, aria2"), "{error}");
}
