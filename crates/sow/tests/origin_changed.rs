//! The files of an origin are changed while they are shared: the origin says so and ends, and its
//! receivers end with exit code 4 and the reason, or complete each other.

mod support;

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::Duration,
};

use support::{Ended, Origin, Running, noise, noise_file, sow, text};

const SIZE: usize = 4_000_000;

/// At this rate a download of [`SIZE`] bytes lasts longer than its test.
const SLOW: &str = "1MB/s";

/// The origin notices within a second or two, and its receivers end within two more, or 15 s after
/// a corrupt piece.
const END: Duration = Duration::from_secs(30);

/// Runs a download from an origin of `path`, and `change` in its midst. How both ended.
fn change_while_shared(path: &Path, more: &[&str], change: impl Fn()) -> (Ended, Ended, PathBuf) {
    let folder = path.parent().unwrap();
    let copy = folder.join("copy");
    let more = [&["--up-limit", SLOW], more].concat();
    let origin = Origin::start(path, &more);
    let line = ["get", &origin.ticket, "-o", text(&copy), "--no-seed", "--json"];
    let mut get = Running::start(&mut sow(line));
    get.progress_beyond(0);
    change();
    (origin.running.wait_within(END), get.wait_within(END), copy)
}

#[test]
fn a_file_that_is_cut_ends_the_origin_and_its_receivers_with_the_reason() {
    for length in [500_000, 0] {
        let folder = tempfile::tempdir().unwrap();
        let file = noise_file(folder.path(), "big.iso", SIZE);
        let cut = || OpenOptions::new().write(true).open(&file).unwrap().set_len(length).unwrap();
        let (send, get, copy) = change_while_shared(&file, &[], cut);
        send.expect(1).says(&["big.iso", "no longer shared"]);
        // A piece that the cut made corrupt may arrive before the origin says why.
        let get = get.expect(4).says(&["big.iso was changed while it was shared"]);
        assert!(get.stdout.contains(r#""event":"error","code":4"#), "{}", get.stdout);
        assert!(!copy.exists());
    }
}

#[test]
fn a_file_that_is_overwritten_in_place_ends_both() {
    let folder = tempfile::tempdir().unwrap();
    let file = noise_file(folder.path(), "big.iso", SIZE);
    let write = || {
        let open = OpenOptions::new().write(true).open(&file).unwrap();
        open.write_all_at(&noise(SIZE, 7), 0).unwrap();
    };
    let (send, get, _) = change_while_shared(&file, &["--expect", "2"], write);
    send.expect(7).says(&["big.iso was changed", "0 of 2 receivers"]);
    get.expect(4).says(&["no longer shares this: big.iso was changed while it was shared"]);
}

#[test]
fn a_changed_file_of_a_folder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let shared = folder.path().join("shared");
    fs::create_dir(&shared).unwrap();
    noise_file(&shared, "a", SIZE);
    let b = noise_file(&shared, "b", 1_000_000);
    let grow = || {
        let open = OpenOptions::new().write(true).open(&b).unwrap();
        open.write_all_at(&noise(1_100_000, 3), 0).unwrap();
    };
    let (send, get, _) = change_while_shared(&shared, &[], grow);
    send.expect(1).says(&["shared/b was changed"]);
    // It may receive a corrupt piece before the origin notices, and names that then.
    get.expect(4);
}

#[test]
fn a_file_that_is_replaced_removed_or_touched_is_served_from_the_open_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = noise_file(folder.path(), "big.iso", SIZE);
    let bytes = fs::read(&file).unwrap();
    let (copy, other) = (folder.path().join("copy"), folder.path().join("other"));
    let origin = Origin::start(&file, &["--up-limit", SLOW, "--expect", "1"]);
    let line = ["get", &origin.ticket, "-o", text(&copy), "--no-seed", "--json"];
    let mut get = Running::start(&mut sow(line));
    get.progress_beyond(0);
    File::open(&file).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    fs::write(&other, b"other").unwrap();
    fs::rename(&other, &file).unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    fs::remove_file(&file).unwrap();
    get.wait_within(END).expect(0);
    origin.running.wait_within(END).expect(0).says(&["was replaced", "sharing continues"]);
    assert_eq!(fs::read(copy).unwrap(), bytes);
}

#[test]
fn receivers_that_have_everything_together_complete_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let file = noise_file(folder.path(), "big.iso", SIZE);
    let bytes = fs::read(&file).unwrap();
    let origin = Origin::start(&file, &[]);
    let first = folder.path().join("first");
    let line = ["get", &origin.ticket, "-o", text(&first), "--seed-for", "20s", "--json"];
    let mut seeder = Running::start(&mut sow(line));
    seeder.event(|event| event["event"] == "complete");
    let second = folder.path().join("second");
    let line = ["get", &origin.ticket, "-o", text(&second), "--no-seed", "--json"];
    let mut get = Running::start(sow(line).args(["--down-limit", "500kB/s"]));
    get.progress_beyond(0);
    OpenOptions::new().write(true).open(&file).unwrap().set_len(1000).unwrap();
    get.wait_within(Duration::from_secs(20)).expect(0);
    assert_eq!(fs::read(second).unwrap(), bytes);
    origin.running.wait_within(END).expect(1);
    seeder.interrupt();
}

#[test]
fn a_chunk_client_ends_with_the_reason() {
    for length in [Some(500_000), None] {
        let folder = tempfile::tempdir().unwrap();
        let file = noise_file(folder.path(), "big.iso", SIZE);
        let line = ["chunk", "server", "-p", "0", "-f", text(&file), "--up-limit", SLOW];
        let mut server = Running::start(&mut sow(line));
        let command = server.line();
        let port = command.split(' ').skip_while(|&word| word != "-sp").nth(1).unwrap();
        let copy = folder.path().join("copy");
        let line = ["chunk", "client", "-s", "127.0.0.1", "-sp", port, "-p", "0"];
        let mut client = Running::start(sow(line).args(["-o", text(&copy), "--json"]));
        client.progress_beyond(0);
        let open = OpenOptions::new().write(true).open(&file).unwrap();
        match length {
            Some(length) => open.set_len(length).unwrap(),
            None => open.write_all_at(&noise(SIZE, 7), 0).unwrap(),
        }
        server.wait_within(END).expect(1).says(&["big.iso", "no longer shared"]);
        client.wait_within(END).expect(4).says(&["no longer shares this: big.iso"]);
        assert!(!copy.exists());
    }
}

#[test]
fn a_client_without_hashes_never_gets_a_mixture_of_two_versions() {
    let folder = tempfile::tempdir().unwrap();
    let file = noise_file(folder.path(), "big.iso", SIZE);
    let new = noise(SIZE, 9);
    let line = ["raw", "server", "-p", "0", "-f", text(&file), "--up-limit", "2MB/s"];
    let mut server = Running::start(&mut sow(line));
    let command = server.line();
    let port = command.rsplit(' ').next().unwrap();
    let copy = folder.path().join("copy");
    let line = ["raw", "client", "-s", "127.0.0.1", "-p", port, "-o", text(&copy), "--json"];
    let mut client = Running::start(&mut sow(line));
    client.progress_beyond(500_000);
    OpenOptions::new().write(true).open(&file).unwrap().write_all_at(&new, 0).unwrap();
    client.wait_within(Duration::from_secs(30)).expect(0);
    assert!(fs::read(copy).unwrap() == new, "it is not one version");
}
