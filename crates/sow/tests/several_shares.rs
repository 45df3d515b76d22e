//! `sow send` with several paths: one port, a line for each, and one end for all.

mod support;

use std::{fs, path::Path};

use support::{
    Running, events_of, http::get, in_parallel, noise_file, run, schema::Schema, sow, text,
    wait_until,
};

/// `sow send` on a free port of loopback.
fn send(paths: &[&Path], more: &[&str]) -> Running {
    let mut command = sow(["send", "--bind", "127.0.0.1", "--port", "0"]);
    Running::start(command.args(paths).args(more))
}

fn ticket(line: &str) -> String {
    line.strip_prefix("sow get ").expect("the command of a receiver").to_owned()
}

fn get_into(ticket: &str, folder: &Path, more: &[&str]) -> support::Ended {
    run([&["get", ticket, "--no-seed", "-o", text(folder)], more].concat())
}

#[test]
fn each_path_has_its_line_and_all_end_together() {
    let folder = tempfile::tempdir().unwrap();
    let photos = folder.path().join("photos");
    fs::create_dir(&photos).unwrap();
    noise_file(&photos, "1", 70_000);
    let (a, b) =
        (noise_file(folder.path(), "a.iso", 300_000), noise_file(folder.path(), "b.iso", 200_000));
    let results = folder.path().join("results.json");
    let options = ["--expect", "2", "--results", text(&results)];
    let mut origin = send(&[&a, &b, &photos], &options);
    let tickets: Vec<String> = (0..3).map(|_| ticket(&origin.line())).collect();
    let ports: Vec<&str> = tickets.iter().map(|it| it.split_once('/').unwrap().0).collect();
    assert!(ports[0] == ports[1] && ports[1] == ports[2], "{ports:?}");
    let copies: Vec<_> = (0..2).map(|at| folder.path().join(format!("copies{at}"))).collect();
    copies.iter().for_each(|folder| fs::create_dir(folder).unwrap());
    for ticket in &tickets[..2] {
        copies.iter().for_each(|folder| _ = get_into(ticket, folder, &[]).expect(0));
    }
    get_into(&tickets[2], &copies[0], &[]).expect(0);
    assert!(origin.is_running(), "the folder lacks a receiver");
    get_into(&tickets[2], &copies[1], &[]).expect(0);
    origin.wait().expect(0).says(&["a.iso: 2 receivers hold", "photos: 2 receivers hold"]);
    for copy in &copies {
        assert_eq!(fs::read(copy.join("b.iso")).unwrap(), fs::read(&b).unwrap());
        assert_eq!(fs::read(copy.join("photos/1")).unwrap(), fs::read(photos.join("1")).unwrap());
    }
    let rows: Vec<serde_json::Value> =
        serde_json::from_str(&fs::read_to_string(results).unwrap()).unwrap();
    let shares: Vec<&str> = rows.iter().map(|row| row["share"].as_str().unwrap()).collect();
    assert_eq!(shares, ["a.iso", "a.iso", "b.iso", "b.iso", "photos", "photos"]);
    assert!(rows.iter().all(|row| row["state"] == "complete"), "{rows:?}");
}

#[test]
fn what_lacks_receivers_is_named_with_its_share() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) =
        (noise_file(folder.path(), "a.iso", 30_000), noise_file(folder.path(), "b.iso", 20_000));
    let mut origin = send(&[&a, &b], &["--expect", "1", "--json"]);
    let schema = Schema::documented();
    let ready = |origin: &mut Running| {
        let ready = origin.event(|event| event["event"] == "ready");
        schema.check("event_ready", &ready);
        (ready["what"].clone(), ready["ticket"].as_str().unwrap().to_owned())
    };
    let (first, second) = (ready(&mut origin), ready(&mut origin));
    assert_eq!((&first.0, &second.0), (&text(&a).into(), &text(&b).into()));
    get_into(&second.1, folder.path(), &["--name", "web01", "--overwrite"]).expect(0);
    let receiver = origin.event(|event| event["event"] == "receiver");
    assert_eq!((&receiver["what"], &receiver["name"]), (&text(&b).into(), &"web01".into()));
    wait_until("the copy is counted", || {
        let status = get(second.1.split_once('/').unwrap().0, "/status", &[]).json();
        status["shares"][1]["complete"] == 1
    });
    origin.interrupt();
    let ended = origin.wait().expect(7);
    assert!(ended.stderr.contains("a.iso: stopped when 0 of 1"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("b.iso: stopped when"), "{}", ended.stderr);
    let complete: Vec<_> =
        events_of(&ended.stdout).into_iter().filter(|it| it["event"] == "complete").collect();
    assert_eq!(complete.len(), 1, "{complete:?}");
    assert_eq!(complete[0]["what"], text(&b));
}

#[test]
fn equal_names_are_told_apart_and_equal_content_is_shared_once() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str, length| {
        let sub = folder.path().join(name);
        fs::create_dir(&sub).unwrap();
        noise_file(&sub, "a.iso", length)
    };
    let (first, second, third) = (place("1", 1000), place("2", 2000), place("3", 1000));
    let mut origin = send(&[&first, &second, &third], &[]);
    let tickets = [ticket(&origin.line()), ticket(&origin.line())];
    let address = tickets[0].split_once('/').unwrap().0;
    let list = get(address, "/", &[]).json();
    let shared = list["shared"].as_array().unwrap();
    assert_eq!(shared.len(), 2, "{list}");
    for (entry, path) in shared.iter().zip([&first, &second]) {
        let content = get(address, entry["content"].as_str().unwrap(), &[]);
        assert!(content.body == fs::read(path).unwrap(), "{entry}");
        let torrent = get(address, entry["torrent"].as_str().unwrap(), &[]);
        assert_eq!(torrent.status, 200, "{entry}");
    }
    let brief = get(address, "/-/shares", &[]).json();
    assert_eq!(brief["shares"].as_array().unwrap().len(), 2, "{brief}");
    run(["get", address]).expect(2).says(&["2 things", &tickets[0], &tickets[1]]);
    origin.interrupt();
    origin.wait().expect(130).says(&["3/a.iso is the same as", "1/a.iso"]);
}

#[test]
fn a_lost_file_does_not_stop_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) =
        (noise_file(folder.path(), "a.iso", 100_000), noise_file(folder.path(), "b.iso", 100_000));
    let mut origin = send(&[&a, &b], &["--expect", "1"]);
    let tickets = [ticket(&origin.line()), ticket(&origin.line())];
    fs::write(&a, "another content").unwrap();
    let address = tickets[0].split_once('/').unwrap().0.to_owned();
    wait_until("the change is noticed", || {
        get(&address, "/status", &[]).json()["shares"][0]["state"] == "lost"
    });
    let copies = folder.path().join("copies");
    fs::create_dir(&copies).unwrap();
    get_into(&tickets[1], &copies, &[]).expect(0);
    origin.wait().expect(7).says(&["a.iso was changed", "b.iso: 1 receiver holds"]);
}

#[test]
fn options_for_one_file_are_refused_for_several() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (noise_file(folder.path(), "a", 10), noise_file(folder.path(), "b", 10));
    run(["send", text(&a), text(&b), "--also", "chunk"]).expect(2).says(&["--also"]);
    run(["send", text(&a), text(&b), "--torrent=x"]).expect(2).says(&["--torrent"]);
}

#[test]
fn many_receivers_of_several_files_at_the_same_time() {
    let folder = tempfile::tempdir().unwrap();
    let files: Vec<_> =
        (0..4).map(|at| noise_file(folder.path(), &format!("{at}.iso"), 400_000 + at)).collect();
    let paths: Vec<&Path> = files.iter().map(|path| path.as_path()).collect();
    let mut origin = send(&paths, &["--expect", "3"]);
    let tickets: Vec<String> = paths.iter().map(|_| ticket(&origin.line())).collect();
    let place = folder.path().to_owned();
    in_parallel(12, move |at| {
        let copies = place.join(format!("host{at}"));
        fs::create_dir(&copies).unwrap();
        get_into(&tickets[at % 4], &copies, &[]).expect(0);
    });
    origin.wait().expect(0);
}
