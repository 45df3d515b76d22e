//! `sow raw` and `sow framed` as clients of servers that break off, trickle, claim too much, or are
//! not there.

use std::{fs, path::Path, time::Duration};

use super::stranger::{Listener, Stranger, free_port};
use crate::{
    process::Process,
    shared::{MIB, Shared},
    sow,
};

fn client(program: &str, port: u16, out: &Path, more: &str) -> Process {
    let line =
        format!("{program} client -s 127.0.0.1 -p {port} -o {} --json -v {more}", out.display());
    sow::here(&line)
}

/// The client fails with one of these codes, and there is no file.
#[track_caller]
fn assert_no_file(program: &str, server: Listener, more: &str, codes: &[i32]) {
    let shared = Shared::file(1);
    let out = shared.out("copy");
    let status = client(program, server.port, &out, more).wait_exit();
    assert!(
        status.code().is_some_and(|code| codes.contains(&code)),
        "{status}, not one of {codes:?}"
    );
    assert!(fs::metadata(&out).is_err(), "a file that is not whole was put in place");
}

fn frame_of(length: u64, bytes: usize) -> Vec<u8> {
    let mut frame = length.to_be_bytes().to_vec();
    frame.resize(frame.len() + bytes, 7);
    frame
}

/// Sends this and closes.
fn says(bytes: Vec<u8>) -> Listener {
    Listener::start(move |mut stranger| {
        stranger.send(&bytes);
    })
}

/// Sends this, then a byte from time to time.
fn trickles(bytes: Vec<u8>) -> Listener {
    Listener::start(move |mut stranger| {
        stranger.send(&bytes);
        stranger.trickle(&[7; 600], Duration::from_secs(1));
    })
}

#[test]
fn a_frame_of_2_to_the_63_bytes() {
    for claim in [1 << 63, u64::MAX, i64::MAX as u64] {
        assert_no_file("framed", trickles(frame_of(claim, 1000)), "--timeout 20s", &[1, 4, 5]);
    }
}

#[test]
fn a_frame_larger_than_allowed() {
    assert_no_file(
        "framed",
        trickles(frame_of(2 * MIB as u64, 10)),
        "--max-size 1MB --timeout 20s",
        &[1, 4, 5],
    );
}

#[test]
fn a_frame_that_stops_in_the_middle() {
    for bytes in [frame_of(MIB as u64, MIB / 2), vec![0; 5], Vec::new()] {
        assert_no_file("framed", says(bytes), "--timeout 3s", &[1, 3, 6]);
    }
}

#[test]
fn a_frame_at_a_byte_a_second() {
    assert_no_file("framed", trickles(frame_of(MIB as u64, 10)), "--timeout 3s", &[3]);
    assert_no_file("framed", trickles(Vec::new()), "--timeout 3s", &[3]);
}

#[test]
fn a_raw_file_at_a_byte_a_second() {
    assert_no_file("raw", trickles(vec![7; 1000]), "--timeout 3s", &[3]);
}

#[test]
fn nobody_is_there() {
    for program in ["raw", "framed"] {
        let shared = Shared::file(1);
        let status = client(program, free_port(), &shared.out("copy"), "--timeout 3s").wait_exit();
        assert!(matches!(status.code(), Some(3 | 6)), "{status}");
    }
}

/// Clients that take nothing, or talk where nothing is to be said, keep nobody else waiting.
#[test]
fn servers_serve_others_meanwhile() {
    let shared = Shared::file(10 * MIB);
    for program in ["raw", "framed"] {
        let line = format!(
            "{program} server -p 0 -f {} --bind 127.0.0.1 --json -v",
            shared.path.display()
        );
        let mut server = sow::here(&line);
        let port = server.wait_event("ready")["port"].as_u64().expect("ready has a port");
        let port = u16::try_from(port).expect("a port");
        let mut strangers: Vec<_> = (0..50).map(|_| Stranger::call(port)).collect();
        strangers.iter_mut().take(25).for_each(|stranger| {
            stranger.send(b"GET / HTTP/1.1\r\n\r\n");
        });
        let out = shared.out(program);
        client(program, port, &out, "--timeout 50s").wait_success();
        shared.assert_copied_to(&out);
        assert!(server.runs(), "the server ended");
    }
}
