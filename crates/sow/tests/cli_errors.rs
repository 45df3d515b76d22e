//! Errors of the command line: each names the thing and the remedy, has the documented exit code,
//! and leaves no partial result.

mod support;

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Command,
};

use support::{
    Origin, Running, closed_address, names, noise_file, run, sow, text, unprivileged_sow,
    unshare_mounts,
};

const HASH: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// `sow` with a small tmpfs over `folder`, in a mount namespace of its own. The shell runs
/// `preparation` first; `$2` is the folder there.
fn sow_on_small_disk(folder: &Path, options: &str, preparation: &str, args: &[&str]) -> Command {
    let script = format!(
        "mount -t tmpfs -o \"$1\" tmpfs \"$2\" || exit 99\n{preparation}\nshift 2 && exec \"$@\""
    );
    let inner = sow(args);
    let mut command = unshare_mounts();
    command.args(["sh", "-c", &script, "sh", options]).arg(folder);
    command.arg(inner.get_program()).args(inner.get_args());
    command
}

#[test]
fn a_path_that_does_not_exist_is_an_error() {
    run(["send", "/no/such/file"]).expect(1).says(&["/no/such/file", "tip:"]);
    run(["torrent", "create", "/no/such/file"]).expect(1).says(&["/no/such/file"]);
    run(["get", "/no/such.torrent"]).expect(1).says(&["/no/such.torrent", "tip:"]);
    run(["send", "/dev/null"]).expect(1).says(&["/dev/null is a device"]);
}

#[test]
fn a_file_that_may_not_be_read_is_an_error() {
    let place = tempfile::tempdir().unwrap();
    let secret = noise_file(place.path(), "secret", 10);
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).unwrap();
    let args = ["send", "--port", "0", text(&secret)];
    Running::start(&mut unprivileged_sow(place.path(), args)).wait().expect(5).says(&[
        "secret",
        "ermission denied",
        "tip:",
    ]);
}

#[test]
fn an_empty_folder_is_an_error() {
    let place = tempfile::tempdir().unwrap();
    run(["send", "--port", "0", text(place.path())]).expect(1).says(&[
        text(place.path()),
        "no files in it",
        "tip:",
    ]);
}

#[test]
fn a_link_that_leaves_the_folder_is_an_error() {
    let place = tempfile::tempdir().unwrap();
    noise_file(place.path(), "a", 10);
    symlink("/etc/passwd", place.path().join("out")).unwrap();
    run(["send", "--port", "0", text(place.path())]).expect(1).says(&[
        "out",
        "leaves the folder",
        "tip:",
    ]);
}

#[test]
fn a_port_that_is_taken_is_an_error_that_names_its_owner() {
    let place = tempfile::tempdir().unwrap();
    let file = noise_file(place.path(), "a", 10);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let pid = std::process::id().to_string();
    for command in
        [&["send", text(&file)][..], &["tracker"], &["get", &format!("127.0.0.1:1/{HASH}")]]
    {
        let args = command.iter().copied().chain(["--bind", "127.0.0.1", "--port", &port]);
        run(args).expect(1).says(&[&format!("port {port} is taken"), &pid, "--port 0"]);
    }
}

#[test]
fn an_address_of_another_machine_cannot_be_bound() {
    run(["tracker", "--port", "0", "--bind", "203.0.113.77"]).expect(2).says(&["203.0.113.77"]);
}

#[test]
fn an_unreachable_host_is_an_error() {
    let closed = closed_address();
    let place = tempfile::tempdir().unwrap();
    for source in [
        format!("{closed}/{HASH}"),
        closed.clone(),
        format!("magnet:?xt=urn:btih:{HASH}&x.pe={closed}"),
        format!("magnet:?xt=urn:btih:{HASH}&tr=http://{closed}/announce"),
        format!("http://{closed}/a.torrent"),
    ] {
        // Without the limit it waits a minute for an origin that is not there yet.
        let mut command = sow(["get", &source, "--timeout", "7s"]);
        let ended = Running::start(command.current_dir(place.path())).wait();
        ended.expect(6).says(&[&closed, "refused", "tip:"]);
    }
    run(["get", &format!("no-such-host.invalid/{HASH}")])
        .expect(6)
        .says(&["no-such-host.invalid", "tip:"]);
    assert!(names(place.path()).is_empty());
}

#[test]
fn a_host_that_sends_nothing_is_an_error() {
    // The kernel accepts the connection; no program answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    for source in [format!("{address}/{HASH}"), address.to_string()] {
        let ended = run(["get", &source, "--timeout", "3s"]).expect(6);
        ended.says(&[&address.to_string(), "no answer", "tip:"]);
    }
}

#[test]
fn a_url_without_a_torrent_is_an_error() {
    let place = tempfile::tempdir().unwrap();
    let origin = Origin::start(&noise_file(place.path(), "a.iso", 1000), &[]);
    run(["get", &format!("http://{}/nothing/here", origin.address())])
        .expect(1)
        .says(&["404", "tip:"]);
}

#[test]
fn a_magnet_link_without_tracker_and_peer_is_an_error() {
    run(["get", &format!("magnet:?xt=urn:btih:{HASH}")])
        .expect(3)
        .says(&["no tracker and no peer", "tip:"]);
}

#[test]
fn a_hash_that_the_origin_does_not_share_is_an_error() {
    let place = tempfile::tempdir().unwrap();
    let origin = Origin::start(&noise_file(place.path(), "real.iso", 1000), &[]);
    let out = tempfile::tempdir().unwrap();
    let source = format!("{}/{HASH}", origin.address());
    run(["get", &source, "-o", text(out.path())]).expect(3).says(&[
        "does not share",
        "real.iso",
        &origin.ticket,
    ]);
    assert!(names(out.path()).is_empty());
}

#[test]
fn wrong_arguments_are_errors() {
    let place = tempfile::tempdir().unwrap();
    let folder = text(place.path());
    let ticket = format!("127.0.0.1:1/{HASH}");
    for (args, words) in [
        (&["get"][..], &["<WHAT>"][..]),
        (&["get", "ftp://10.0.0.1"], &["ftp://", "ticket"]),
        (&["get", "raw://10.0.0.1:52000"], &["raw://"]),
        (&["get", "10.0.0.1:99999"], &["99999", "65535"]),
        (&["get", "10.0.0.1/abc"], &["abc", "base-32"]),
        (&["get", "magnet:?xt=urn:btih:abc"], &["abc"]),
        (&["get", "http://"], &["http://"]),
        (&["get", &ticket, "--up-limit", "10mb/s"], &["bits or bytes"]),
        (&["get", &ticket, "--up-limit", "10"], &["10mbit"]),
        (&["get", &ticket, "--timeout", "soon"], &["soon"]),
        (&["get", &ticket, "--seed-for", "1x"], &["90s"]),
        (&["get", &ticket, "--json", "-o", "-"], &["standard output"]),
        (&["get", &ticket, "-o", "/no/such/folder/x"], &["/no/such/folder"]),
        (&["get", &ticket, &ticket, "-o", "-"], &["one download"]),
        (&["send"], &["<PATH>"]),
        (&["send", folder, "--expect", "0"], &["--expect"]),
        (&["send", folder, "--tracker", "10.0.0.1"], &["http://HOST:PORT/announce"]),
        (&["torrent", "create", folder, "--piece-length", "100kB"], &["power of two"]),
        (&["nonsense"], &["nonsense"]),
    ] {
        run(args.iter()).expect(2).says(words);
    }
}

#[test]
fn a_malformed_torrent_is_an_error() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("bad.torrent");
    let info = |inner: &str| format!("d4:infod{inner}ee").into_bytes();
    let piece = "6:pieces20:aaaaaaaaaaaaaaaaaaaa";
    let cases = [
        (Vec::new(), "an empty file"),
        (b"<html>not found</html>".to_vec(), "not a torrent"),
        (
            info(&format!("6:lengthi5e4:name1:a12:piece lengthi16384e{piece}"))[..40].to_vec(),
            "truncated",
        ),
        ([b"d4:info".to_vec(), vec![b'l'; 100_000]].concat(), "info"),
        (info(&format!("6:lengthi-5e4:name1:a12:piece lengthi16384e{piece}")), "negative"),
        (
            info(&format!("6:lengthi9223372036854775807e4:name1:a12:piece lengthi1e{piece}")),
            "pieces",
        ),
        (info(&format!("6:lengthi5e4:name1:a12:piece lengthi0e{piece}")), "piece length"),
        (info("6:lengthi5e4:name1:a12:piece lengthi16384e6:pieces99999999999:aa"), "pieces"),
        (info(&format!("5:filesle4:name1:a12:piece lengthi16384e{piece}")), "info.files"),
    ];
    for (bytes, word) in cases {
        fs::write(&path, &bytes).unwrap();
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
        for command in [&["torrent", "show"][..], &["get"]] {
            let ended = run(command.iter().copied().chain([text(&path)]));
            assert_eq!(ended.code(), 1, "{shown}: {}", ended.stderr);
            assert!(
                ended.stderr.contains("bad.torrent") && ended.stderr.contains(word),
                "{shown}: {}",
                ended.stderr
            );
        }
    }
    assert_eq!(names(place.path()), ["bad.torrent"]);
}

#[test]
fn a_target_that_differs_is_kept_unless_it_may_be_overwritten() {
    let place = tempfile::tempdir().unwrap();
    let file = noise_file(place.path(), "a.iso", 100_000);
    let origin = Origin::start(&file, &[]);
    let out = tempfile::tempdir().unwrap();
    let target = out.path().join("a.iso");
    fs::copy(&file, &target).unwrap();
    let get = |more: &[&str]| {
        run(["get", &origin.ticket, "--no-seed", "-o", text(out.path())].iter().chain(more))
    };
    get(&[]).expect(0).says(&["exists already and is verified"]);
    fs::write(&target, "mine").unwrap();
    get(&[]).expect(8).says(&["a.iso", "--overwrite"]);
    assert_eq!(fs::read(&target).unwrap(), b"mine");
    get(&["--overwrite"]).expect(0);
    assert_eq!(fs::read(&target).unwrap(), fs::read(&file).unwrap());
    let mut wrong = fs::read(&file).unwrap();
    wrong[50_000] ^= 1;
    fs::write(&target, &wrong).unwrap();
    get(&[]).expect(8);
    assert_eq!(fs::read(&target).unwrap(), wrong);
    fs::remove_file(&target).unwrap();
    fs::create_dir(&target).unwrap();
    get(&[]).expect(8);
    assert_eq!(names(out.path()), ["a.iso"]);
}

#[test]
fn a_full_disk_is_an_error() {
    let place = tempfile::tempdir().unwrap();
    let origin = Origin::start(&noise_file(place.path(), "a.iso", 8 << 20), &[]);
    let small = tempfile::tempdir().unwrap();
    let args = ["get", &origin.ticket, "--no-seed", "-o", text(small.path())];
    let ended = Running::start(&mut sow_on_small_disk(small.path(), "size=2m", "", &args)).wait();
    ended.expect(5).says(&["no space", "a.iso", "tip:"]);
}

#[test]
fn a_disk_that_fills_up_during_the_download_is_an_error() {
    let place = tempfile::tempdir().unwrap();
    // Slow enough that the disk is full long before the download is complete.
    let origin =
        Origin::start(&noise_file(place.path(), "a.iso", 8 << 20), &["--up-limit", "1MB/s"]);
    let small = tempfile::tempdir().unwrap();
    let args = ["get", &origin.ticket, "--no-seed", "-o", text(small.path())];
    let wait_then_fill = "(until [ -e \"$2\"/a.iso.sow-part ]; do sleep 0.05; done; \
                          head -c 9M /dev/zero > \"$2\"/filler) &";
    let mut command = sow_on_small_disk(small.path(), "size=10m", wait_then_fill, &args);
    Running::start(&mut command).wait().expect(5).says(&["a.iso", "o space", "make room"]);
}

#[test]
fn a_target_that_cannot_be_written_is_an_error() {
    let place = tempfile::tempdir().unwrap();
    let origin = Origin::start(&noise_file(place.path(), "a.iso", 1000), &[]);
    let out = tempfile::tempdir().unwrap();
    fs::set_permissions(out.path(), fs::Permissions::from_mode(0o555)).unwrap();
    let program = tempfile::tempdir().unwrap();
    let args = ["get", &origin.ticket, "--no-seed", "-o", text(out.path())];
    Running::start(&mut unprivileged_sow(program.path(), args)).wait().expect(5).says(&[
        text(out.path()),
        "ermission denied",
        "tip:",
    ]);
    let ended = Running::start(&mut sow_on_small_disk(out.path(), "ro,size=2m", "", &args)).wait();
    ended.expect(5).says(&[text(out.path()), "ead-only", "tip:"]);
    assert!(names(out.path()).is_empty());
}

#[test]
fn an_error_is_a_json_event() {
    let ended = run(["get", "--json", "ftp://10.0.0.1"]).expect(2);
    let event: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((&event["event"], &event["code"]), (&"error".into(), &2.into()));
    assert!(event["message"].as_str().unwrap().contains("ftp://") && event["t"].is_f64());
}

#[test]
fn a_torrent_file_that_differs_is_kept_unless_it_may_be_overwritten() {
    let place = tempfile::tempdir().unwrap();
    let file = noise_file(place.path(), "a.iso", 1000);
    let other = noise_file(place.path(), "b.iso", 1001);
    let torrent = place.path().join("x.torrent");
    let create = |file: &Path, more: &[&str]| {
        run(["torrent", "create", text(file), "-o", text(&torrent)].iter().chain(more))
    };
    create(&file, &[]).expect(0);
    create(&file, &["--comment", "again"]).expect(0);
    create(&other, &[]).expect(8).says(&["x.torrent", "--overwrite"]);
    create(&other, &["--overwrite"]).expect(0);
    run(["torrent", "check", text(&torrent), text(&other)]).expect(0);
    run(["torrent", "check", text(&torrent), text(&file)]).expect(4).says(&["a.iso", "tip:"]);
}

#[test]
fn sources_that_a_protocol_does_not_support_are_errors() {
    let place = tempfile::tempdir().unwrap();
    let file = noise_file(place.path(), "film", 10_000);
    let (file, empty) = (text(&file), place.path().join("empty"));
    fs::create_dir(&empty).unwrap();
    for more in ["raw:52800,framed:52800", "raw:52801"] {
        let args = ["send", file, "-p", "52801", "--also", more];
        run(args).expect(2).says(&["raw and framed each need a port of their own"]);
    }
    run(["chunk", "server", "-p", "0", "-f", text(&empty)])
        .expect(2)
        .says(&["is a folder", "one file"]);
    let create = ["json-torrent", "create", text(&empty), "--announce", "10.0.0.1"];
    run(create).expect(1).says(&["is a folder", "one file"]);
    run(["raw", "server", "-p", "0", "-f", file, "--size", "5MiB"])
        .expect(2)
        .says(&["--size", "--file"]);

    let torrent = place.path().join("film.torrent");
    let create = ["json-torrent", "create", file, "--announce", "10.0.0.1", "-o", text(&torrent)];
    run(create).expect(0);
    run(["torrent", "show", text(&torrent)])
        .expect(1)
        .says(&["a JSON torrent", "sow json-torrent peer"]);
}
