//! `sow raw` and `sow framed` as clients of servers that stop, send slowly, announce too much, or
//! do not exist; and as servers of misbehaving clients.

use std::{fs, path::Path, time::Duration};

use super::connection::{TestConnection, TestServer, UNUSED_PORTS};
use crate::{
    shared_file::{MIB, SharedFile},
    sow,
    support::process::Process,
};

fn client(program: &str, port: u16, out: &Path, more: &str) -> Process {
    let line =
        format!("{program} client -s 127.0.0.1 -p {port} -o {} --json -v {more}", out.display());
    sow::here(&line)
}

/// The client fails with one of these exit codes, and no file is at its target.
#[track_caller]
fn assert_no_file(program: &str, server: TestServer, more: &str, codes: &[i32]) {
    let shared = SharedFile::file(1);
    let out = shared.out("copy");
    let status = client(program, server.port, &out, more).wait_exit();
    assert!(
        status.code().is_some_and(|code| codes.contains(&code)),
        "{status}, not one of {codes:?}"
    );
    assert!(fs::metadata(&out).is_err(), "an incomplete file is at the target");
}

fn frame_of(length: u64, bytes: usize) -> Vec<u8> {
    let mut frame = length.to_be_bytes().to_vec();
    frame.resize(frame.len() + bytes, 7);
    frame
}

/// A server that sends these bytes and closes the connection.
fn server_that_closes_after(bytes: Vec<u8>) -> TestServer {
    TestServer::start(move |mut connection| {
        connection.send(&bytes);
    })
}

/// A server that sends these bytes, then one byte a second.
fn slow_server(bytes: Vec<u8>) -> TestServer {
    TestServer::start(move |mut connection| {
        connection.send(&bytes);
        connection.trickle(&[7; 600], Duration::from_secs(1));
    })
}

#[test]
fn a_frame_of_2_to_the_63_bytes_is_rejected() {
    for claim in [1 << 63, u64::MAX, i64::MAX as u64] {
        assert_no_file("framed", slow_server(frame_of(claim, 1000)), "--timeout 20s", &[1, 4, 5]);
    }
}

#[test]
fn a_frame_above_the_size_limit_is_rejected() {
    assert_no_file(
        "framed",
        slow_server(frame_of(2 * MIB as u64, 10)),
        "--max-size 1MB --timeout 20s",
        &[1, 4, 5],
    );
}

#[test]
fn an_incomplete_frame_is_no_file() {
    for bytes in [frame_of(MIB as u64, MIB / 2), vec![0; 5], Vec::new()] {
        assert_no_file("framed", server_that_closes_after(bytes), "--timeout 3s", &[1, 3, 6]);
    }
}

#[test]
fn a_frame_at_one_byte_a_second_reaches_the_timeout() {
    assert_no_file("framed", slow_server(frame_of(MIB as u64, 10)), "--timeout 3s", &[3]);
    assert_no_file("framed", slow_server(Vec::new()), "--timeout 3s", &[3]);
}

#[test]
fn a_raw_file_at_one_byte_a_second_reaches_the_timeout() {
    assert_no_file("raw", slow_server(vec![7; 1000]), "--timeout 3s", &[3]);
}

#[test]
fn a_server_that_does_not_exist_is_an_error() {
    for program in ["raw", "framed"] {
        let shared = SharedFile::file(1);
        let status =
            client(program, UNUSED_PORTS[0], &shared.out("copy"), "--timeout 3s").wait_exit();
        assert!(matches!(status.code(), Some(3 | 6)), "{status}");
    }
}

/// Clients that read nothing, and clients that send bytes although the protocol has no requests.
#[test]
fn misbehaving_clients_do_not_delay_others() {
    let shared = SharedFile::file(10 * MIB);
    for program in ["raw", "framed"] {
        let line = format!(
            "{program} server -p 0 -f {} --bind 127.0.0.1 --json -v",
            shared.path.display()
        );
        let mut server = sow::here(&line);
        let port = server.wait_event("ready")["port"].as_u64().expect("ready has a port");
        let port = u16::try_from(port).expect("a port");
        let mut connections: Vec<_> = (0..50).map(|_| TestConnection::open(port)).collect();
        connections.iter_mut().take(25).for_each(|connection| {
            connection.send(b"GET / HTTP/1.1\r\n\r\n");
        });
        let out = shared.out(program);
        client(program, port, &out, "--timeout 100s").wait_success();
        shared.assert_copied_to(&out);
        assert!(server.is_running(), "the server ended");
    }
}
