//! `sow chunk client` and a server that violates its own protocol: the client reports it, retries a
//! few times, and fails.

use std::{fs, sync::Arc};

use super::connection::TestServer;
use crate::{shared_file::SharedFile, sow, support::process::Process};

const CHUNK: usize = 128 << 10;

/// Runs a client of a server with these answers until it exits, without a file. `answer` gets the
/// file, the OP and its first argument; it returns `None` for the right answer.
fn run_client(answer: fn(&SharedFile, &str, &str) -> Option<Vec<u8>>) -> (Process, u16) {
    let shared = Arc::new(SharedFile::file(3 * CHUNK));
    let file = Arc::clone(&shared);
    let server = TestServer::start(move |mut client| {
        loop {
            let message = String::from_utf8_lossy(&client.message()).into_owned();
            let mut words = message.split_whitespace();
            let Some(op) = words.next() else { return };
            let argument = words.next().unwrap_or_default();
            let right = || match op {
                "CHEL" => format!("SHEL {} {CHUNK}\r\n[]", file.size()).into_bytes(),
                "DREQ" => data(&file, argument, 0),
                _ => message.clone().into_bytes(),
            };
            client.send(&answer(&file, op, argument).unwrap_or_else(right));
        }
    });
    let out = shared.out("copy");
    let line = format!(
        "chunk client -s 127.0.0.1 -sp {} -p 0 -o {} --bind 127.0.0.1 --json",
        server.port,
        out.display()
    );
    let mut client = sow::here(&line);
    client.wait_exit();
    assert!(fs::metadata(&out).is_err(), "a file is at the target");
    (client, server.port)
}

/// An answer to DREQ without its last `short` bytes.
fn data(file: &SharedFile, chunk: &str, short: usize) -> Vec<u8> {
    let offset = chunk.parse::<usize>().expect("a chunk") * CHUNK;
    let length = CHUNK - short;
    [format!("DATA {offset} {length}\r\n").as_bytes(), file.part(offset, length)].concat()
}

/// The client exited with this code, and its first warning and its error name the server and the
/// fault.
#[track_caller]
fn assert_reported(mut client: Process, port: u16, code: i32, fault: &str) {
    assert_eq!(client.wait_exit().code(), Some(code), "{:?}", client.lines());
    let server = format!("127.0.0.1:{port}");
    let error = client.wait_event("error");
    let message = error["message"].as_str().expect("an error has a message");
    assert!(message.contains(&server) && message.contains(fault), "{message}");
    let warned = |line: &&String| line.starts_with("warning: ") && line.contains(&server);
    let warnings: Vec<_> = client.lines().iter().filter(warned).cloned().collect();
    assert!(warnings.first().is_some_and(|line| line.contains(fault)), "{warnings:?}");
    assert!(
        warnings.len() <= 2,
        "one for the fault, one when the server is given up: {warnings:?}"
    );
}

#[test]
fn a_server_that_sends_less_than_requested_is_reported() {
    let (client, port) = run_client(|file, op, chunk| (op == "DREQ").then(|| data(file, chunk, 1)));
    assert_reported(client, port, 3, "not all of what was requested");
}

#[test]
fn a_server_that_confirms_another_checksum_is_reported() {
    let (client, port) = run_client(|_, op, _| {
        (op == "CHECK").then(|| format!("CHECK {}\r\n", "0".repeat(32)).into())
    });
    assert_reported(client, port, 4, "CHECK of another sum");
}

#[test]
fn a_server_with_an_impossible_file_size_is_reported() {
    let (client, port) = run_client(|_, op, _| {
        (op == "CHEL").then(|| b"SHEL 9223372036854775808 131072\r\n[]".to_vec())
    });
    assert_reported(client, port, 6, "SHEL 9223372036854775808");
}
