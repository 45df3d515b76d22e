//! A receiver is a copy: it counts once, however often its command is run, and the origin learns
//! what became of it.

mod support;

use std::{fs, time::Duration};

use support::{Origin, Running, complete_of, noise_file, run, sow, text};

/// The time in which an origin learns of copies that are in place.
const TOLD_WITHIN: Duration = Duration::from_secs(20);

fn results(path: &std::path::Path) -> Vec<serde_json::Value> {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn a_repeated_get_is_one_receiver_and_five_targets_are_five() {
    let folder = tempfile::tempdir().unwrap();
    let file = noise_file(folder.path(), "big", 300_000);
    let rows = folder.path().join("rows.json");
    let copies = folder.path().join("copies");
    fs::create_dir(&copies).unwrap();
    let get = |ticket: &str, name: &str| {
        let target = copies.join(name);
        run(["get", ticket, "--no-seed", "--name", "web01", "--json", "-o", text(&target)])
            .expect(0)
    };
    // The second origin finds that all have their copies.
    for is_repeated in [false, true] {
        let mut origin = Origin::start(&file, &["--expect", "5", "--results", text(&rows)]);
        get(&origin.ticket, "0");
        let again = complete_of(&get(&origin.ticket, "0").stdout);
        assert_eq!(again["resumed_bytes"], 300_000, "the copy was found");
        assert!(origin.running.is_running(), "a repeated run counts once");
        (1..5).for_each(|index| _ = get(&origin.ticket, &index.to_string()));
        origin.running.wait_within(TOLD_WITHIN).expect(0);
        let rows = results(&rows);
        assert_eq!(rows.len(), 5, "repeated: {is_repeated}: {rows:?}");
        assert!(rows.iter().all(|row| row["state"] == "complete" && row["name"] == "web01"));
    }
}

#[test]
fn a_failure_is_told_to_the_origin() {
    let folder = tempfile::tempdir().unwrap();
    let file = noise_file(folder.path(), "big", 300_000);
    let (rows, missing) = (folder.path().join("rows.json"), folder.path().join("missing"));
    let hosts = noise_file(folder.path(), "hosts", 0);
    fs::write(&hosts, "web01\nweb02 # never comes\n").unwrap();
    let line = ["send", "--bind", "127.0.0.1", "--port", "0", text(&file), "--json"];
    let options = ["--hosts", text(&hosts), "--results", text(&rows), "--missing", text(&missing)];
    let mut origin = Running::start(sow(line).args(options));
    let ready = origin.event(|event| event["event"] == "ready");
    let target = folder.path().join("copy");
    fs::write(&target, "something else").unwrap();
    let ticket = ready["ticket"].as_str().unwrap();
    run(["get", ticket, "--name", "web01", "-o", text(&target)]).expect(8);
    let failed = origin.event(|event| event["event"] == "receiver" && event["state"] == "failed");
    assert!(failed["name"] == "web01" && failed["error"].as_str().unwrap().contains("exists"));
    origin.interrupt();
    origin.wait().expect(7).says(&["0 of 2", "web01", "exists", "web02 (not connected)"]);
    let rows = results(&rows);
    assert_eq!(
        (rows.len(), &rows[0]["state"], &rows[1]["state"]),
        (2, &serde_json::json!("failed"), &serde_json::json!("missing"))
    );
    assert_eq!(fs::read_to_string(missing).unwrap(), "web01\nweb02\n");
}

#[test]
fn a_receiver_waits_for_its_origin_and_stays_as_long_as_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let file = noise_file(folder.path(), "big", 100_000);
    let first = Origin::start(&file, &[]);
    let (ticket, port) = (first.ticket.clone(), first.port());
    first.running.interrupt();
    first.running.wait();
    let target = folder.path().join("copy");
    let mut get = Running::start(&mut sow([
        "get",
        &ticket,
        "--seed-for",
        "2s",
        "--json",
        "-o",
        text(&target),
    ]));
    // Longer than an origin was waited for once.
    std::thread::sleep(Duration::from_secs(6));
    assert!(get.is_running());
    let _origin = Origin::start_on("127.0.0.1", port, &file, &[]);
    get.event(|event| event["event"] == "complete");
    let complete = std::time::Instant::now();
    get.wait().expect(0);
    assert!(complete.elapsed() >= Duration::from_millis(1800), "{:?}", complete.elapsed());
}
