//! `docs/json.md` and its schema against what `sow` really prints and answers.

mod support;

use std::fs;

use serde_json::Value;
use support::{
    Origin, Running, events_of, http::get, noise_file, run, schema::Schema, sow, text, wait_until,
};

/// Checks the events of a run, and returns their names.
#[track_caller]
fn check_events(schema: &Schema, stdout: &str) -> Vec<String> {
    let name = |event: &Value| event["event"].as_str().expect("a name").to_owned();
    let events = events_of(stdout);
    events.iter().for_each(|event| schema.check(&format!("event_{}", name(event)), event));
    events.iter().map(name).collect()
}

#[test]
fn events_are_as_documented() {
    let schema = Schema::documented();
    let folder = tempfile::tempdir().unwrap();
    let path = noise_file(folder.path(), "a.iso", 3_000_000);
    let arguments = ["send", "--bind", "127.0.0.1", "--port", "0", "--expect", "1", "--json"];
    let mut origin = Running::start(sow(arguments).arg(&path));
    let ready = origin.event(|event| event["event"] == "ready");
    let ticket = ready["ticket"].as_str().unwrap();
    let out = folder.path().join("out");
    let got = run(["get", ticket, "-o", text(&out), "--json"]).expect(0);
    let names = check_events(&schema, &got.stdout);
    assert!(names.contains(&"complete".to_owned()), "{names:?}");
    let names = check_events(&schema, &origin.wait().expect(0).stdout);
    for event in ["ready", "progress", "receiver", "complete"] {
        assert!(names.iter().any(|name| name == event), "{event}: {names:?}");
    }
    fs::write(&out, "another file").unwrap();
    let torrent = folder.path().join("a.torrent");
    run(["torrent", "create", text(&path), "-o", text(&torrent)]).expect(0);
    let differs = run(["get", text(&torrent), "-o", text(&out), "--json"]).expect(8);
    assert_eq!(check_events(&schema, &differs.stdout).last().unwrap(), "error");
}

#[test]
fn events_of_transfers_without_a_swarm_are_as_documented() {
    let schema = Schema::documented();
    let folder = tempfile::tempdir().unwrap();
    let path = noise_file(folder.path(), "a.iso", 300_000);
    let arguments = ["raw", "server", "-p", "0", "-f", text(&path), "--json"];
    let mut server = Running::start(&mut sow(arguments));
    let port = server.event(|event| event["event"] == "ready")["port"].to_string();
    let client = run(["raw", "client", "-s", "127.0.0.1", "-p", &port, "--json"]).expect(0);
    let names = check_events(&schema, &client.stdout);
    assert_eq!(names.last().unwrap(), "complete", "{names:?}");
}

#[test]
fn answers_of_the_port_are_as_documented() {
    let schema = Schema::documented();
    let folder = tempfile::tempdir().unwrap();
    let shared = folder.path().join("photos");
    fs::create_dir_all(shared.join("sub")).unwrap();
    noise_file(&shared, "a", 1000);
    noise_file(&shared.join("sub"), "b", 2000);
    let origin = Origin::start(&shared, &[]);
    let out = folder.path().join("out");
    run(["get", &origin.ticket, "-o", text(&out), "--no-seed"]).expect(0);
    wait_until("the receiver is listed", || {
        let status = get(origin.address(), "/status", &[]).json();
        schema.check("status", &status);
        status["shares"][0]["receivers"].as_array().is_some_and(|all| !all.is_empty())
    });
    schema.check("index", &get(origin.address(), "/", &[]).json());
    schema.check("folder", &get(origin.address(), "/photos/", &[]).json());
    schema.check("folder", &get(origin.address(), "/photos/sub/", &[]).json());
}

#[test]
fn every_event_of_the_schema_is_in_the_document() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/json.md");
    let document = fs::read_to_string(path).unwrap();
    for name in Schema::documented().names() {
        if let Some(event) = name.strip_prefix("event_") {
            assert!(document.contains(&format!("`{event}`")), "{event}");
        }
    }
}
