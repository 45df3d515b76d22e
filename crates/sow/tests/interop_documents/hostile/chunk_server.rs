//! `sow chunk server` and strangers that do not speak as they should.

use std::time::Duration;

use super::stranger::{PATIENCE, Stranger};
use crate::{
    process::Process,
    shared::{MIB, Shared},
    sow,
};

const CHUNK: usize = 128 << 10;

/// A server of two chunks and a bit, and its port.
fn server(shared: &Shared) -> (Process, u16) {
    let line = format!("chunk server -p 0 -f {} --bind 127.0.0.1 --json -v", shared.path.display());
    let mut server = sow::here(&line);
    let port = server.wait_event("ready")["port"].as_u64().expect("ready has a port");
    (server, u16::try_from(port).expect("a port"))
}

/// What an honest client gets, message by message.
#[track_caller]
fn assert_serves(port: u16, shared: &Shared) {
    let mut client = Stranger::call(port);
    client.send(b"CHEL 51000\r\n");
    let welcome = client.text();
    assert!(welcome.starts_with(&format!("SHEL {} {CHUNK}\r\n[", shared.size())), "{welcome}");
    assert_sends_chunk(&mut client, 1, shared);
}

#[track_caller]
fn assert_sends_chunk(client: &mut Stranger, chunk: usize, shared: &Shared) {
    let offset = chunk * CHUNK;
    let length = CHUNK.min(shared.size() as usize - offset);
    client.send(format!("DREQ {chunk}\r\n").as_bytes());
    let head = format!("DATA {offset} {length}\r\n");
    let data = client.take(head.len() + length).expect("the server sends the chunk");
    let (came, data) = data.split_at(head.len());
    assert_eq!(String::from_utf8_lossy(came), head);
    assert!(data == shared.part(offset, length), "the bytes of chunk {chunk} differ");
}

#[test]
fn it_answers_with_the_errors_of_the_document() {
    let shared = Shared::file(2 * CHUNK + 1);
    let (_server, port) = server(&shared);
    let mut client = Stranger::call(port);
    client.send(b"CHEL 51000\r\n");
    assert_eq!(client.text(), format!("SHEL {} {CHUNK}\r\n[]", shared.size()));
    for beyond in ["99999", "3", "-1", "-99999"] {
        client.send(format!("DREQ {beyond}\r\n").as_bytes());
        let answer = client.text();
        assert!(answer.starts_with("ERROR OFFSET_OVERFLOW\r\n"), "to DREQ {beyond}: {answer:?}");
    }
    // The connection is as good as before.
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
fn whom_it_lists() {
    let shared = Shared::file(CHUNK);
    let (_server, port) = server(&shared);
    let mut clients = [51_001, 51_002].map(|listening| {
        let mut client = Stranger::call(port);
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
    // Nobody can be called on port 0.
    let mut unreachable = Stranger::call(port);
    unreachable.send(b"CHEL 0\r\n");
    unreachable.message();
    clients[0].1.send(b"CHEL 51001\r\n");
    let text = clients[0].1.text();
    assert!(!text.contains(",0]") && !text.contains(", 0]"), "{text}");
    // Who goes is listed no more.
    drop(clients);
    crate::process::wait_until("an empty list", || {
        let mut client = Stranger::call(port);
        client.send(b"CHEL 51003\r\n");
        list(&client.text()) == serde_json::json!([])
    });
}

/// Each is answered with an error or the connection ends; some do, too, what they can.
#[test]
fn it_survives_what_is_no_message() {
    let shared = Shared::file(2 * CHUNK + 1);
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
        let mut stranger = Stranger::call(port);
        stranger.send(format!("{line}\r\n").as_bytes());
        let answer = stranger.answer(line);
        assert!(answer.is_empty() || answer.starts_with("ERROR "), "to {line:?}: {answer:?}");
    }
    for endless in [deep.as_str(), long.as_str()] {
        let mut stranger = Stranger::call(port);
        stranger.send(endless.as_bytes());
        stranger.wait_end("an endless message");
    }
    assert_serves(port, &shared);
    assert!(server.runs(), "the server ended");
}

/// Requests without end from somebody who takes no answer, and silence: they cost the others
/// nothing.
#[test]
fn it_serves_others_meanwhile() {
    let shared = Shared::file(2 * CHUNK + 1);
    let (_server, port) = server(&shared);
    let _silent: Vec<_> = (0..50).map(|_| Stranger::call(port)).collect();
    let mut flood = Stranger::call(port);
    flood.send(b"CHEL 51000\r\n");
    flood.text();
    flood.send("DREQ 0\r\n".repeat(2000).as_bytes());
    assert_serves(port, &shared);
}

#[test]
fn it_takes_a_message_byte_by_byte() {
    let shared = Shared::file(CHUNK);
    let (_server, port) = server(&shared);
    let mut client = Stranger::call(port);
    assert!(client.trickle(b"CHEL 51000\r\n", Duration::from_millis(100)));
    assert_eq!(client.text(), format!("SHEL {CHUNK} {CHUNK}\r\n[]"));
}

/// What came before it in the same segment is answered too; the log names the cause, and one line
/// does for everybody.
#[test]
fn what_cannot_be_understood_is_answered_and_told() {
    let shared = Shared::file(2 * CHUNK + 1);
    let (mut server, port) = server(&shared);
    let (long, deep) = ("A".repeat(1000), format!("CLRSP\r\n{}", "[".repeat(300_000)));
    for (bad, cause) in [
        (&long[..], "a head of more than 256 bytes"),
        ("DATA 0 5\r\nhello", "5 bytes of data that nobody asked for"),
        (&deep, "what follows CLRSP is no such list"),
        ("SHEL 1 0\r\n[]", "that is no size of a file"),
    ] {
        let mut stranger = Stranger::call(port);
        stranger.send(format!("CHEL 51000\r\n{bad}").as_bytes());
        let (answer, is_open) = stranger.within(PATIENCE);
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("SHEL "), "{cause}: {answer:?}");
        assert!(answer.ends_with("ERROR UNKNOWN_COMMAND\r\n"), "{cause}: {answer:?}");
        assert!(!is_open, "{cause}: the connection is still open");
        server.wait_line(&["a peer is gone", "127.0.0.1:", cause]);
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
fn the_log_says_what_was_refused() {
    let shared = Shared::file(2 * CHUNK + 1);
    let (mut server, port) = server(&shared);
    let mut client = Stranger::call(port);
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
    let mut browser = Stranger::call(port);
    browser.send(b"GET / HTTP/1.1\r\n\r\n");
    browser.wait_end("an HTTP request");
    server.wait_line(&["a connection was rejected", "127.0.0.1:", "HTTP"]);
}

#[test]
fn only_clients_are_receivers() {
    let shared = Shared::file(2 * CHUNK + 1);
    let (mut server, port) = server(&shared);
    let mut stranger = Stranger::call(port);
    stranger.send(b"DREQ 0\r\n");
    assert!(stranger.text().starts_with("ERROR "));
    let mut client = Stranger::call(port);
    client.send(b"CHEL 51000\r\n");
    client.text();
    // The stranger is still there, and would be in the same picture.
    server.wait_line(&["\"receiver\"", "\"127.0.0.1:51000\"", "\"connected\""]);
    let stranger = format!("127.0.0.1:{}", stranger.port());
    let told = server.events("receiver").iter().any(|event| event["peer"] == *stranger);
    assert!(!told, "{stranger} is no client: {:?}", server.lines());
}
