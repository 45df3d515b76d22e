//! What is shared: files and folders that are named, configured or appear; what is changed or
//! removed is withdrawn.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    thread,
    time::Duration,
};

use crate::{
    service::Service,
    support::{Running, http::get, noise_file, run, schema::Schema, sow, text, wait_until},
};

#[test]
fn files_that_are_named_configured_or_watched_are_shared_behind_one_port() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| {
        let path = folder.path().join(name);
        fs::create_dir(&path).unwrap();
        path
    };
    let (watched, photos, copies) = (place("watched"), place("photos"), place("copies"));
    let named = noise_file(folder.path(), "named.iso", 300_000);
    let configured = noise_file(folder.path(), "configured.iso", 200_000);
    let seen = noise_file(&watched, "seen.iso", 100_000);
    noise_file(&watched, ".hidden", 10);
    noise_file(&photos, "1", 5000);
    let config = folder.path().join("serve.toml");
    fs::write(&config, "paths = [\"configured.iso\", \"photos\"]\n").unwrap();
    let more = [text(&named), "--watch", text(&watched), "--config", text(&config)];
    let mut service = Service::start(&folder.path().join("state"), &more);
    let later = noise_file(&watched, "later.iso", 50_000);
    let schema = Schema::documented();
    for path in [&named, &configured, &seen, &photos, &later] {
        schema.check("event_share", &service.share(path, "shared"));
        let ticket = service.ticket(path);
        run(["get", &ticket, "--no-seed", "-o", text(&copies)]).expect(0);
    }
    assert_eq!(fs::read(copies.join("later.iso")).unwrap(), fs::read(&later).unwrap());
    assert_eq!(fs::read(copies.join("photos/1")).unwrap(), fs::read(photos.join("1")).unwrap());
    let address = service.address.clone();
    let index = get(&address, "/", &[]).json();
    schema.check("index", &index);
    assert_eq!(index["shared"].as_array().unwrap().len(), 5, "{index}");
    schema.check("shares", &get(&address, "/-/shares", &[]).json());
    schema.check("status", &get(&address, "/status", &[]).json());
    let torrent = get(&address, "/named.iso.torrent", &[]);
    let torrent_path = folder.path().join("named.torrent");
    fs::write(&torrent_path, torrent.body).unwrap();
    // By the tracker alone, which knows the origin without an announce.
    let out = folder.path().join("by-tracker");
    run(["get", text(&torrent_path), "--no-seed", "-o", text(&out)]).expect(0);
    assert!(get(&address, "/named.iso", &[]).body == fs::read(&named).unwrap());
    wait_until("receivers are counted", || {
        let status = get(&address, "/-/shares", &[]).json();
        status["shares"].as_array().unwrap().iter().all(|share| share["complete"] != 0)
    });
    service.running.signal(rustix::process::Signal::TERM);
    service.running.wait().expect(0).says(&["5 shares"]);
}

#[test]
fn what_is_changed_is_shared_anew_and_what_is_removed_is_withdrawn() {
    let folder = tempfile::tempdir().unwrap();
    let watched = folder.path().join("watched");
    fs::create_dir(&watched).unwrap();
    let (changed, removed) =
        (noise_file(&watched, "changed", 4000), noise_file(&watched, "removed", 5000));
    let touched = noise_file(&watched, "touched", 6000);
    let mut service = Service::start(&folder.path().join("state"), &["--watch", text(&watched)]);
    service.wait_for_shares(3);
    let (old, kept) = (service.ticket(&changed), service.ticket(&touched));
    noise_file(&watched, "changed", 4001);
    OpenOptions::new()
        .write(true)
        .open(&touched)
        .unwrap()
        .set_modified(std::time::SystemTime::now() - Duration::from_secs(100))
        .unwrap();
    fs::remove_file(&removed).unwrap();
    let gone = service.share(&removed, "withdrawn");
    assert!(gone["reason"].as_str().unwrap().contains("removed was removed"), "{gone}");
    service.share(&changed, "withdrawn");
    let new = service.share(&changed, "shared");
    assert_ne!(new["ticket"], *old);
    assert_eq!(new["hashed"], 4001);
    let copies = folder.path().join("copies");
    fs::create_dir(&copies).unwrap();
    for ticket in [new["ticket"].as_str().unwrap(), &kept] {
        run(["get", ticket, "--no-seed", "-o", text(&copies)]).expect(0);
    }
    assert_eq!(fs::read(copies.join("changed")).unwrap().len(), 4001);
    assert_eq!(service.shares[text(&touched)]["ticket"], *kept, "a touch changes nothing");
    let address = service.address.clone();
    assert!(get(&address, "/touched", &[]).body == fs::read(&touched).unwrap());
    assert_eq!(get(&address, "/removed", &[]).status, 404);
    run(["get", &old, "--timeout", "2s", "-o", text(&folder.path().join("old"))]).expect(3);
}

#[test]
fn a_file_that_is_being_written_is_not_hashed() {
    let folder = tempfile::tempdir().unwrap();
    let watched = folder.path().join("watched");
    fs::create_dir(&watched).unwrap();
    let state = folder.path().join("state");
    let more = ["--watch", text(&watched)];
    let mut service = Service::start_as(&mut Service::command_settling("2s", &state, &more));
    let path = watched.join("growing");
    let mut file = fs::File::create(&path).unwrap();
    for _ in 0..12 {
        file.write_all(&[7; 1000]).unwrap();
        thread::sleep(Duration::from_millis(300));
    }
    let shared = service.share(&path, "shared");
    assert_eq!((&shared["bytes"], &shared["hashed"]), (&12_000.into(), &12_000.into()));
    assert_eq!(service.shares.len(), 1, "it was shared once: {:?}", service.shares);
}

#[test]
fn receivers_of_content_that_is_changed_are_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = noise_file(folder.path(), "big", 4 << 20);
    let more = [text(&path), "--up-limit", "400kB/s"];
    let mut service = Service::start(&folder.path().join("state"), &more);
    let ticket = service.ticket(&path);
    let out = folder.path().join("copy");
    let mut receiver = Running::start(&mut sow(["get", &ticket, "--json", "-o", text(&out)]));
    receiver.progress_beyond(100_000);
    fs::write(&path, "other content").unwrap();
    receiver.wait().expect(4).says(&["big was changed"]);
    let reason = &service.share(&path, "withdrawn")["reason"];
    assert_eq!(reason, "big was changed while it was shared");
    service.share(&path, "shared");
}

#[test]
fn what_cannot_be_shared_is_a_warning_and_does_not_stop_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let good = noise_file(folder.path(), "good", 1000);
    let (missing, empty) = (folder.path().join("missing"), folder.path().join("empty"));
    fs::create_dir(&empty).unwrap();
    let more = [text(&good), text(&missing), text(&empty), "--watch", "/no/such/folder"];
    let mut service = Service::start(&folder.path().join("state"), &more);
    service.ticket(&good);
    noise_file(&empty, "first", 10);
    noise_file(folder.path(), "missing", 20);
    service.ticket(&missing);
    service.ticket(&empty);
    service.running.interrupt();
    let words = ["missing", "empty", "/no/such/folder", "it is not shared", "tried again"];
    service.running.wait().expect(0).says(&words);
}

#[test]
fn wrong_usage_says_what_and_where() {
    let folder = tempfile::tempdir().unwrap();
    run(["serve"]).expect(2).says(&["nothing to share", "--watch"]);
    let config = folder.path().join("serve.toml");
    fs::write(&config, "paths = []\nprot = 7\n").unwrap();
    run(["serve", "--config", text(&config)]).expect(2).says(&["serve.toml, line 2", "prot"]);
    run(["serve", "--config", "/no/such.toml"]).expect(1).says(&["/no/such.toml"]);
    let (state, path) = (folder.path().join("state"), noise_file(folder.path(), "a", 10));
    let mut service = Service::start(&state, &[text(&path)]);
    service.ticket(&path);
    run(["serve", text(&path), "--port", "0", "--state", text(&state)])
        .expect(2)
        .says(&["in use by another", "--state"]);
}
