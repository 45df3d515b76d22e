//! `sow chunk server` and clients that violate the protocol.

use std::time::Duration;

use super::connection::TestConnection;
use crate::{
    shared_file::{MIB, SharedFile},
    sow,
    support::{process::Process, wait_until},
};

const CHUNK: usize = 128 << 10;

/// A server of a file, and its port.
fn server(shared: &SharedFile) -> (Process, u16) {
    let line = format!("chunk server -p 0 -f {} --bind 127.0.0.1 --json -v", shared.path.display());
    let mut server = sow::here(&line);
    let port = server.wait_event("ready")["port"].as_u64().expect("ready has a port");
    (server, u16::try_from(port).expect("a port"))
}

/// An honest client receives a chunk.
#[track_caller]
fn assert_serves(port: u16, shared: &SharedFile) {
    let mut client = TestConnection::open(port);
    client.send(b"CHEL 51000\r\n");
    let welcome = client.text();
    assert!(welcome.starts_with(&format!("SHEL {} {CHUNK}\r\n[", shared.size())), "{welcome}");
    assert_sends_chunk(&mut client, 1, shared);
}

#[track_caller]
fn assert_sends_chunk(client: &mut TestConnection, chunk: usize, shared: &SharedFile) {
    let offset = chunk * CHUNK;
    let length = CHUNK.min(shared.size() as usize - offset);
    client.send(format!("DREQ {chunk}\r\n").as_bytes());
    let head = format!("DATA {offset} {length}\r\n");
    let data = client.take(head.len() + length).expect("the server sends the chunk");
    let (received_head, data) = data.split_at(head.len());
    assert_eq!(String::from_utf8_lossy(received_head), head);
    assert!(data == shared.part(offset, length), "the bytes of chunk {chunk} differ");
}

#[test]
fn invalid_requests_are_answered_with_the_errors_of_the_protocol() {
    let shared = SharedFile::file(2 * CHUNK + 1);
    let (_server, port) = server(&shared);
    let mut client = TestConnection::open(port);
    client.send(b"CHEL 51000\r\n");
    assert_eq!(client.text(), format!("SHEL {} {CHUNK}\r\n[]", shared.size()));
    for beyond in ["99999", "3", "-1", "-99999"] {
        client.send(format!("DREQ {beyond}\r\n").as_bytes());
        let answer = client.text();
        assert!(answer.starts_with("ERROR OFFSET_OVERFLOW\r\n"), "to DREQ {beyond}: {answer:?}");
    }
    // The connection still works.
    assert_sends_chunk(&mut client, 2, &shared);
    assert_sends_chunk(&mut client, 0, &shared);
    client.send(b"CHECK 00000000000000000000000000000000\r\n");
    let answer = client.text();
    assert_eq!(answer, format!("ERROR CHECKSUM_NOT_FIT\r\n{}", shared.md5()));
    client.send(format!("CHECK {}\r\n", shared.md5()).as_bytes());
    assert_eq!(client.text(), format!("CHECK {}\r\n", shared.md5()));
    client.send(b"HELLO\r\n");
    let answer = client.text();
    assert!(answer.starts_with("ERROR UNKNOWN_COMMAND\r\n"), "{answer:?}");
    client.wait_end("after an unknown command");
}

#[test]
fn the_list_has_the_connected_clients() {
    let shared = SharedFile::file(CHUNK);
    let (_server, port) = server(&shared);
    let mut clients = [51_001, 51_002].map(|listening| {
        let mut client = TestConnection::open(port);
        client.send(format!("CHEL {listening}\r\n").as_bytes());
        (client.text(), client)
    });
    let list = |welcome: &str| -> serde_json::Value {
        let (_, body) = welcome.split_once("\r\n").expect("a head and a body");
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {welcome}"))
    };
    assert_eq!(list(&clients[0].0), serde_json::json!([]));
    assert_eq!(list(&clients[1].0), serde_json::json!([["127.0.0.1", 51_001]]));
    // A second CHEL refreshes the list.
    clients[0].1.send(b"CHEL 51001\r\n");
    let again = list(&clients[0].1.text());
    let peers = again.as_array().expect("a list");
    assert!(peers.contains(&serde_json::json!(["127.0.0.1", 51_002])), "{again}");
    // A client with port 0 is not reachable.
    let mut unreachable = TestConnection::open(port);
    unreachable.send(b"CHEL 0\r\n");
    unreachable.message();
    clients[0].1.send(b"CHEL 51001\r\n");
    let text = clients[0].1.text();
    assert!(!text.contains(",0]") && !text.contains(", 0]"), "{text}");
    // A client that disconnects is removed from the list.
    drop(clients);
    wait_until("an empty list", || {
        let mut client = TestConnection::open(port);
        client.send(b"CHEL 51003\r\n");
        list(&client.text()) == serde_json::json!([])
    });
}

/// Each is answered with an error, or the connection ends.
#[test]
fn the_server_survives_malformed_messages() {
    let shared = SharedFile::file(2 * CHUNK + 1);
    let (mut server, port) = server(&shared);
    let deep = format!("CLRSP\r\n{}", "[".repeat(MIB));
    let long = "A".repeat(2 * MIB);
    let whole_lines = [
        "CHEL",
        "CHEL x",
        "CHEL -1",
        "CHEL 65536",
        "CHEL 99999999999999999999",
        "CHEL 1 2 3",
        "CHEL 1.5",
        "DREQ",
        "DREQ x",
        "DREQ 1 2",
        "DREQ 9223372036854775807",
        "DREQ 99999999999999999999999999",
        "CHECK",
        "CHECK xyz",
        "CHECK 1 2",
        "PHEL",
        "SHEL 1 1\r\n[]",
        "DATA 0 5\r\nhello",
        "DATA 0 9223372036854775807\r\nhello",
        "CLRES -1\r\n[]",
        "chel 51000",
        "CHEL\t51000",
        "",
        " ",
        "\0\u{7f}é",
    ];
    for line in whole_lines {
        let mut connection = TestConnection::open(port);
        connection.send(format!("{line}\r\n").as_bytes());
        let answer = connection.answer(line);
        assert!(answer.is_empty() || answer.starts_with("ERROR "), "to {line:?}: {answer:?}");
    }
    for endless in [deep.as_str(), long.as_str()] {
        let mut connection = TestConnection::open(port);
        connection.send(endless.as_bytes());
        connection.wait_end("an endless message");
    }
    assert_serves(port, &shared);
    assert!(server.is_running(), "the server ended");
}

/// Silent clients, and a client that sends requests without end and reads no answer.
#[test]
fn misbehaving_clients_do_not_delay_others() {
    let shared = SharedFile::file(2 * CHUNK + 1);
    let (_server, port) = server(&shared);
    let _silent: Vec<_> = (0..50).map(|_| TestConnection::open(port)).collect();
    let mut flood = TestConnection::open(port);
    flood.send(b"CHEL 51000\r\n");
    flood.text();
    flood.send("DREQ 0\r\n".repeat(2000).as_bytes());
    assert_serves(port, &shared);
}

#[test]
fn a_message_may_arrive_byte_by_byte() {
    let shared = SharedFile::file(CHUNK);
    let (_server, port) = server(&shared);
    let mut client = TestConnection::open(port);
    assert!(client.trickle(b"CHEL 51000\r\n", Duration::from_millis(100)));
    assert_eq!(client.text(), format!("SHEL {CHUNK} {CHUNK}\r\n[]"));
}

/// A valid message before it in the same segment is answered too. The log names the cause, and one
/// warning covers all connections from one address.
#[test]
fn a_malformed_message_is_answered_and_logged() {
    let shared = SharedFile::file(2 * CHUNK + 1);
    let (mut server, port) = server(&shared);
    let (long, deep) = ("A".repeat(1000), format!("CLRSP\r\n{}", "[".repeat(300_000)));
    for (bad, cause) in [
        (&long[..], "a head of more than 256 bytes"),
        ("DATA 0 5\r\nhello", "5 bytes of unsolicited data"),
        (&deep, "the body of CLRSP is not a valid list"),
        ("SHEL 1 0\r\n[]", "invalid file size"),
    ] {
        let mut connection = TestConnection::open(port);
        connection.send(format!("CHEL 51000\r\n{bad}").as_bytes());
        let answer = connection.read_to_end(cause);
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("SHEL "), "{cause}: {answer:?}");
        assert!(answer.ends_with("ERROR UNKNOWN_COMMAND\r\n"), "{cause}: {answer:?}");
        server.wait_line(&["peer disconnected", "127.0.0.1:", cause]);
    }
    assert_serves(port, &shared);
    let warnings: Vec<_> =
        server.lines().into_iter().filter(|line| line.starts_with("warning: ")).collect();
    assert_eq!(warnings.len(), 1, "one line for one address: {warnings:?}");
    assert!(
        warnings[0].contains("127.0.0.1:") && warnings[0].contains("256 bytes"),
        "{warnings:?}"
    );
}

#[test]
fn the_log_names_the_rejected_request() {
    let shared = SharedFile::file(2 * CHUNK + 1);
    let (mut server, port) = server(&shared);
    let mut client = TestConnection::open(port);
    client.send(b"CHEL 51000\r\n");
    client.text();
    let wrong = "CHECK 00000000000000000000000000000000";
    for (asked, answer) in
        [("DREQ 99", "OFFSET_OVERFLOW"), (wrong, "CHECKSUM_NOT_FIT"), ("PHEL", "UNKNOWN_COMMAND")]
    {
        client.send(format!("{asked}\r\n").as_bytes());
        assert!(client.text().contains(answer));
        server.wait_line(&["127.0.0.1:", asked, answer]);
    }
    let mut browser = TestConnection::open(port);
    browser.send(b"GET / HTTP/1.1\r\n\r\n");
    browser.wait_end("an HTTP request");
    server.wait_line(&["a connection was rejected", "127.0.0.1:", "HTTP"]);
}

#[test]
fn only_clients_are_reported_as_receivers() {
    let shared = SharedFile::file(2 * CHUNK + 1);
    let (mut server, port) = server(&shared);
    let mut other = TestConnection::open(port);
    other.send(b"DREQ 0\r\n");
    assert!(other.text().starts_with("ERROR "));
    let mut client = TestConnection::open(port);
    client.send(b"CHEL 51000\r\n");
    client.text();
    // The other connection is still open and would be in the same report.
    server.wait_line(&["\"receiver\"", "\"127.0.0.1:51000\"", "\"connected\""]);
    let other = format!("127.0.0.1:{}", other.port());
    let is_reported = server.events("receiver").iter().any(|event| event["peer"] == *other);
    assert!(!is_reported, "{other} is not a client: {:?}", server.lines());
}
