//! `sow json-torrent tracker` and clients that send malformed requests.

use serde_json::{Value, json};

use super::connection::TestConnection;
use crate::{shared_file::MIB, sow, support::process::Process};

/// A tracker and its port.
pub(super) fn tracker() -> (Process, u16) {
    let mut tracker = sow::here("json-torrent tracker -p 0 --bind 127.0.0.1 --json -v");
    let port = tracker.wait_event("ready")["port"].as_u64().expect("ready has a port");
    (tracker, u16::try_from(port).expect("a port"))
}

/// A frame of the protocol.
pub(super) fn frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u64).to_be_bytes().to_vec();
    frame.extend(payload);
    frame
}

/// The reply to one request; `None` when the connection ended without one.
fn ask_bytes(port: u16, request: &[u8]) -> Option<Value> {
    let mut connection = TestConnection::open(port);
    connection.send(&frame(request));
    let length = u64::from_be_bytes(connection.take(8)?.try_into().expect("eight bytes"));
    assert!(length < MIB as u64, "a reply of {length} bytes");
    let reply = connection.take(length as usize).expect("the whole reply");
    Some(serde_json::from_slice(&reply).expect("a reply is JSON"))
}

/// The reply to a valid request.
#[track_caller]
pub(super) fn ask(port: u16, listening: u16, event: &str) -> Value {
    let peer_id = format!("127.0.0.1:{listening}");
    let request = json!({"port": listening, "ip": "127.0.0.1", "peer_id": peer_id, "event": event});
    ask_bytes(port, request.to_string().as_bytes()).expect("a reply")
}

fn ports(reply: &Value) -> Vec<u64> {
    let peers = reply["peers"].as_array().unwrap_or_else(|| panic!("no peers: {reply}"));
    assert_eq!(reply["num-of-peer"], peers.len(), "{reply}");
    for peer in peers {
        assert_eq!(peer["peer-ip"], "127.0.0.1", "{reply}");
        assert_eq!(peer["peer-id"], format!("127.0.0.1:{}", peer["peer-port"]), "{reply}");
    }
    let mut ports: Vec<u64> = peers.iter().filter_map(|peer| peer["peer-port"].as_u64()).collect();
    ports.sort_unstable();
    ports
}

#[test]
fn the_reply_lists_the_peers_of_the_swarm() {
    let (_tracker, port) = tracker();
    let first = ask(port, 5551, "started");
    assert_eq!((&first["error_code"], &first["message"]), (&json!(0), &json!("started ACK")));
    assert_eq!(ports(&first), [0_u64; 0]);
    assert_eq!(ports(&ask(port, 5552, "started")), [5551]);
    assert_eq!(ports(&ask(port, 5553, "started")), [5551, 5552]);
    let left = ask(port, 5552, "completed");
    assert_eq!((&left["error_code"], &left["message"]), (&json!(0), &json!("disconnect ACK")));
    assert_eq!(ask(port, 5551, "stopped")["error_code"], 0);
    assert_eq!(ports(&ask(port, 5554, "started")), [5553]);
    // A peer that is not in the swarm cannot leave it.
    let absent = ask(port, 5552, "completed");
    assert_eq!(absent["error_code"], 1, "{absent}");
    assert!(absent["message"].is_string(), "{absent}");
}

#[test]
fn the_listed_address_is_that_of_the_connection() {
    let (_tracker, port) = tracker();
    let forged =
        json!({"port": 5551, "ip": "10.9.8.7", "peer_id": "10.9.8.7:5551", "event": "started"});
    let reply = ask_bytes(port, forged.to_string().as_bytes()).expect("a reply");
    if reply["error_code"] == 0 {
        assert_eq!(ports(&ask(port, 5552, "started")), [5551]);
    }
}

#[test]
fn an_invalid_request_is_answered_with_an_error() {
    let (mut tracker, port) = tracker();
    let requests = [
        r#"{}"#,
        r#"[]"#,
        r#"5"#,
        r#"{"event":"started"}"#,
        r#"{"port":5551,"peer_id":"127.0.0.1:5551"}"#,
        r#"{"port":0,"peer_id":"127.0.0.1:0","event":"started"}"#,
        r#"{"port":65536,"peer_id":"127.0.0.1:65536","event":"started"}"#,
        r#"{"port":-1,"peer_id":"127.0.0.1:-1","event":"started"}"#,
        r#"{"port":1e300,"peer_id":"127.0.0.1:1","event":"started"}"#,
        r#"{"port":"5551","peer_id":5,"event":["started"]}"#,
        r#"{"port":5551,"peer_id":"127.0.0.1:5551","event":"paused"}"#,
        r#"{"port":5551,"ip":"999.0.0.1","peer_id":"999.0.0.1:5551","event":"paused"}"#,
        r#"{"port":5551,"peer_id":"127.0.0.1:5551","event":"started""#,
        "started",
        "",
    ];
    for request in requests {
        let reply =
            ask_bytes(port, request.as_bytes()).unwrap_or_else(|| panic!("no reply to {request}"));
        assert_eq!(reply["error_code"], 1, "to {request}: {reply}");
        assert!(reply["message"].is_string(), "to {request}: {reply}");
    }
    for request in ["[".repeat(MIB / 2).into_bytes(), vec![0xff; 1000]] {
        if let Some(reply) = ask_bytes(port, &request) {
            assert_eq!(reply["error_code"], 1, "{reply}");
        }
    }
    assert_eq!(ports(&ask(port, 5560, "started")), [0_u64; 0], "an invalid request added a peer");
    assert!(tracker.is_running(), "the tracker ended");
}

#[test]
fn an_ipv4_address_is_logged_as_ipv4() {
    // It listens on both families, so that the socket reports the address as IPv6.
    let mut tracker = sow::here("json-torrent tracker -p 0 --json -v");
    let port = tracker.wait_event("ready")["port"].as_u64().and_then(|port| port.try_into().ok());
    ask_bytes(port.expect("a port"), b"{}").expect("a reply");
    tracker.wait_line(&["addr=127.0.0.1:", "reason="]);
}

#[test]
fn the_tracker_survives_malformed_frames() {
    let (mut tracker, port) = tracker();
    let _silent: Vec<_> = (0..50).map(|_| TestConnection::open(port)).collect();
    for claim in [1 << 63, u64::MAX, 1 << 40] {
        let mut connection = TestConnection::open(port);
        connection.send(&u64::to_be_bytes(claim));
        connection.send(&[b' '; 4096]);
        connection.wait_end("a frame that is too long");
    }
    let mut half = TestConnection::open(port);
    half.send(&frame(br#"{"port":5551,"peer_id":"127.0.0.1:5551","event":"started"}"#)[..20]);
    drop(half);
    assert_eq!(ports(&ask(port, 5560, "started")), [0_u64; 0]);
    assert!(tracker.is_running(), "the tracker ended");
}
