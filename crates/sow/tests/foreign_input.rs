//! Input that other programs and other people make: names that steer a terminal, torrents that are
//! not as the specifications say, and what is pasted after `sow get`.

mod support;

use std::{fs, net::TcpListener, path::Path};

use sow_content::{bencode::Encoder, hash::sha1, untrusted::is_unprintable};
use support::{Ended, Origin, names, noise, noise_file, run, run_in, text};

/// Names with escape sequences, bidirectional controls, invisible characters and line ends.
const BAD_NAMES: [&str; 5] = [
    "a\u{1b}[31mRED\u{7}\u{9b}0m",
    "x\u{202e}gnp.exe",
    "y\u{61c}z\u{200b}\u{2028}w\u{feff}",
    "new\nerror: line\rcr",
    "\u{85}\u{2066}\u{7f}\u{200f}",
];

/// Nothing but newlines steers the terminal, and no line is the name's own.
#[track_caller]
fn assert_clean(ended: &Ended) {
    for output in [&ended.stdout, &ended.stderr] {
        let bad = output.chars().find(|&c| c != '\n' && is_unprintable(c));
        assert_eq!(bad, None, "{output:?}");
        assert!(!output.lines().any(|line| line.starts_with("error: line")), "{output:?}");
    }
}

#[test]
fn names_cannot_steer_a_terminal_in_any_command() {
    for name in BAD_NAMES {
        let place = tempfile::tempdir().unwrap();
        let file = noise_file(place.path(), name, 5000);
        let torrent = place.path().join("t.torrent");
        let in_place = |args: &[&str]| run_in(place.path(), args);
        assert_clean(&in_place(&["torrent", "create", text(&file), "-o", "t.torrent"]).expect(0));
        for args in [
            &["torrent", "show", "t.torrent"][..],
            &["torrent", "show", "t.torrent", "--json"],
            &["torrent", "check", "t.torrent"],
            &["get", "t.torrent", "-vv", "--no-seed"],
            &["get", "t.torrent", "--json", "--no-seed"],
            &["json-torrent", "create", name, "--announce", "h", "-o", "j.torrent"],
            &["get", "j.torrent", "--no-seed"],
        ] {
            assert_clean(&in_place(args).expect(0));
        }
        fs::write(&file, noise(5000, 77)).unwrap();
        assert_clean(&in_place(&["torrent", "check", "t.torrent"]).expect(4));
        assert_clean(&in_place(&["get", "t.torrent", "--no-seed"]).expect(8));
        assert_clean(&in_place(&["get", name]).expect(1));
        assert_clean(&run(["get", text(&torrent), &format!("--{name}")]).expect(2));
    }
}

#[test]
fn names_cannot_steer_a_terminal_on_their_way_to_another_machine() {
    let place = tempfile::tempdir().unwrap();
    let file = noise_file(place.path(), BAD_NAMES[0], 5000);
    let origin = Origin::start(&file, &["--expect", "1", "-v"]);
    let out = tempfile::tempdir().unwrap();
    let url = format!("http://{}/", origin.address());
    let ended = run(["get", &url, "-o", text(out.path()), "--no-seed", "-v"]).expect(0);
    assert_clean(&ended);
    assert_eq!(names(out.path()), [BAD_NAMES[0]], "names on the disk are not changed");
    assert_clean(&origin.running.wait().expect(0));
}

#[test]
fn an_info_hash_alone_is_answered_without_a_lookup() {
    let hash = "cc8cd75203af35dfa0a7961537daa3cd66e3264f";
    for text in [hash, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"] {
        let ended = run(["get", text]).expect(2).says(&["info-hash", "is missing", "HOST[:PORT]/"]);
        assert!(!ended.stderr.contains("lookup"), "{}", ended.stderr);
    }
}

#[test]
fn what_send_prints_may_be_pasted_in_any_way() {
    let place = tempfile::tempdir().unwrap();
    let file = noise_file(place.path(), "a.bin", 5000);
    let origin = Origin::start(&file, &[]);
    let ticket = &origin.ticket;
    for what in [
        &["sow", "get", ticket][..],
        &[&format!("$ sow get {ticket}\n")],
        &[&format!(" \u{201c}{ticket}\u{201d} ")],
        &[&format!("http://{}", origin.address())],
    ] {
        let out = tempfile::tempdir().unwrap();
        let args = ["get", "-o", text(out.path()), "--no-seed"];
        run(args.iter().chain(what)).expect(0);
        assert_eq!(names(out.path()), ["a.bin"], "{what:?}");
    }
}

#[test]
fn a_url_of_something_else_is_answered_with_what_it_is() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", server.local_addr().unwrap());
    let serving = std::thread::spawn(move || {
        for _ in 0..2 {
            let (mut stream, _) = server.accept().unwrap();
            let mut request = [0; 4096];
            let _ = std::io::Read::read(&mut stream, &mut request);
            let page =
                "HTTP/1.1 200 OK\r\nContent-Length: 15\r\nConnection: close\r\n\r\n<html>hi</html>";
            std::io::Write::write_all(&mut stream, page.as_bytes()).unwrap();
        }
    });
    run(["get", &format!("{url}/x.torrent")]).expect(1).says(&["a web page", "tip:"]);
    run(["get", &format!("{url}/")]).expect(1).says(&["not as an origin", "tip:"]);
    serving.join().unwrap();
}

/// A torrent of files with the given paths; the content of each is its index.
fn folder_torrent(name: &[u8], paths: &[&str]) -> Vec<u8> {
    let content: Vec<u8> = (0..paths.len()).map(|index| index as u8).collect();
    let mut encoder = Encoder::new();
    encoder.dict(|dict| {
        dict.entry(b"info", |encoder| {
            encoder.dict(|dict| {
                dict.entry(b"files", |encoder| {
                    encoder.list(|encoder| {
                        for path in paths {
                            encoder.dict(|dict| {
                                dict.int(b"length", 1);
                                dict.entry(b"path", |encoder| {
                                    encoder.list(|encoder| {
                                        path.split('/')
                                            .for_each(|name| encoder.bytes(name.as_bytes()))
                                    })
                                });
                            });
                        }
                    });
                });
                dict.bytes(b"name", name);
                dict.int(b"piece length", 16_384);
                dict.bytes(b"pieces", &sha1(&content));
            });
        });
    });
    encoder.finish()
}

/// Writes the files of [`folder_torrent`] under these names.
fn write_files(folder: &Path, paths: &[&str]) {
    for (index, path) in paths.iter().enumerate() {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, [index as u8]).unwrap();
    }
}

#[test]
fn paths_that_are_taken_get_another_name_and_it_is_told() {
    let place = tempfile::tempdir().unwrap();
    let torrent = folder_torrent(b"m", &["a", "b/c", "a", "b", "../x"]);
    fs::write(place.path().join("t.torrent"), torrent).unwrap();
    write_files(&place.path().join("m"), &["a", "b/c", "a.1", "b.1", "_/x"]);
    for args in [&["torrent", "check", "t.torrent"][..], &["get", "t.torrent", "--no-seed"]] {
        run_in(place.path(), args).expect(0).says(&["a.1", "b.1", "_/x", "warning:"]);
    }
}

#[test]
fn a_name_that_no_file_can_have_matters_only_without_o() {
    let place = tempfile::tempdir().unwrap();
    let long = "n".repeat(300);
    for name in [long.as_bytes(), b"\xff\xfe", b"../up", b""] {
        fs::write(place.path().join("t.torrent"), folder_torrent(name, &["a"])).unwrap();
        write_files(&place.path().join("short"), &["a"]);
        run_in(place.path(), &["get", "t.torrent", "-o", "short", "--no-seed"]).expect(0);
        let ended = run_in(place.path(), &["torrent", "check", "t.torrent", "short"]).expect(0);
        assert!(!ended.stderr.contains("warning"), "{}", ended.stderr);
        let ended = run_in(place.path(), &["torrent", "show", "t.torrent"]).expect(0);
        assert!(ended.stderr.contains("it is called"), "{}", ended.stderr);
    }
}

#[test]
fn a_torrent_that_cannot_be_used_has_a_tip_about_its_fault() {
    let place = tempfile::tempdir().unwrap();
    let whole = folder_torrent(b"m", &["a"]);
    let cut = whole.len() - 10;
    for (bytes, words) in [
        (&whole[..cut], ["truncated", "download the .torrent again"]),
        (b"<!DOCTYPE html><html>", ["a web page", "in a browser"]),
        (b" \n", ["an empty file", "download"]),
        (b"magnet:?xt=urn:btih:x", ["a magnet link", "in quotes"]),
        (b"\x1f\x8b\x08\0", ["gzip", "unpack"]),
        (b"d4:infod12:meta versioni2eee", ["BitTorrent v2", "v1 or hybrid"]),
    ] {
        fs::write(place.path().join("t.torrent"), bytes).unwrap();
        run_in(place.path(), &["get", "t.torrent"]).expect(1).says(&words);
    }
    let trailing = [&whole[..], b"\r\n"].concat();
    fs::write(place.path().join("t.torrent"), trailing).unwrap();
    run_in(place.path(), &["torrent", "show", "t.torrent"]).expect(0).says(&["2 bytes after"]);
}
