//! The `json-torrent` tracker over the loopback: with its client, with clients that send malformed
//! requests, and with peers that are gone.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use sow_node::{JsonTracker, JsonTrackerService, announce_json};
use sow_tracker::JsonLimits;
use sow_wire::{
    framing::{frame, head},
    json_torrent::tracker::{Event, MAX_REQUEST, Reply, Request},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

const TEST_TIMEOUT: Duration = Duration::from_secs(20);

fn tracker(limits: JsonLimits) -> JsonTracker {
    JsonTracker::bind(Some(Ipv4Addr::LOCALHOST.into()), 0, JsonTrackerService::new(limits)).unwrap()
}

async fn ask(tracker: &JsonTracker, port: u16, event: Event) -> Reply {
    let request = Request::new(SocketAddr::from(([10, 9, 8, 7], port)), event);
    let asking = announce_json("localhost", tracker.port(), None, &request);
    timeout(TEST_TIMEOUT, asking).await.expect("in time").expect("a reply")
}

/// Sends bytes and the end of the stream, and returns what comes back.
async fn send(tracker: &JsonTracker, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", tracker.port())).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    timeout(TEST_TIMEOUT, stream.read_to_end(&mut answer)).await.expect("in time").unwrap();
    answer
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

#[tokio::test]
async fn peers_join_and_leave() {
    let tracker = tracker(JsonLimits::default());
    assert_eq!(ask(&tracker, 5555, Event::Started).await, Reply::Joined(vec![]));
    assert_eq!(ask(&tracker, 5556, Event::Started).await, Reply::Joined(vec![loopback(5555)]));
    assert_eq!(ask(&tracker, 5555, Event::Started).await, Reply::Joined(vec![loopback(5556)]));
    assert_eq!(ask(&tracker, 5555, Event::Completed).await, Reply::Left);
    assert_eq!(ask(&tracker, 5556, Event::Stopped).await, Reply::Left);
    let gone = ask(&tracker, 5556, Event::Stopped).await;
    assert_eq!(gone, Reply::Error("127.0.0.1:5556 is not known here".into()));
    assert_eq!(tracker.service().peers(), []);
}

#[tokio::test]
async fn a_crowd_is_answered() {
    let tracker = std::sync::Arc::new(tracker(JsonLimits::default()));
    let mut asking = tokio::task::JoinSet::new();
    for port in 1..=200 {
        let tracker = std::sync::Arc::clone(&tracker);
        asking.spawn(async move { ask(&tracker, port, Event::Started).await });
    }
    let mut listed = 0;
    while let Some(reply) = asking.join_next().await {
        let Reply::Joined(peers) = reply.unwrap() else { panic!("it joins") };
        listed += peers.len();
    }
    // Of each pair, the later one got the address of the earlier one.
    assert_eq!((listed, tracker.service().peers().len()), (200 * 199 / 2, 200));
}

#[tokio::test]
async fn bad_requests_are_answered_with_what_is_wrong() {
    let tracker = tracker(JsonLimits::default());
    let long = [&head(u64::MAX >> 1)[..], &[b'{'; 30_000]].concat();
    for (bytes, expected) in [
        (frame(b"nonsense"), "not a JSON object"),
        (frame(b""), "not a JSON object"),
        (frame(br#"{"port": 65536, "peer_id": "x", "event": "started"}"#), "`port` is 65536"),
        (frame(br#"{"port": 1, "peer_id": "x", "event": "begun"}"#), "`event` is"),
        (frame(&[b'['; MAX_REQUEST]), "not a JSON object"),
        (long, "a frame of 9223372036854775807 bytes; the limit is 4096"),
    ] {
        let answer = send(&tracker, &bytes).await;
        let Ok(Reply::Error(reason)) = Reply::decode(&answer[8..]) else { panic!("{answer:?}") };
        assert!(reason.contains(expected), "{reason}");
    }
    for cut in [&b""[..], b"\0\0\0", &head(50), b"\0\0\0\0\0\0\0\x05{}"] {
        assert_eq!(send(&tracker, cut).await, b"");
    }
    // Of two requests on one connection, the second is ignored.
    let one = frame(&Request::new(loopback(7), Event::Started).encode());
    let two = frame(&Request::new(loopback(8), Event::Started).encode());
    let answer = send(&tracker, &[one, two].concat()).await;
    assert_eq!(answer, frame(&Reply::Joined(vec![]).encode()));
    assert_eq!(tracker.service().peers(), [loopback(7)]);
}

#[tokio::test]
async fn dead_peers_are_removed_and_living_ones_are_probed_with_a_reset() {
    let soon = Duration::from_millis(10);
    let tracker = tracker(JsonLimits {
        probe_interval: soon,
        probe_retry_delay: soon,
        ..JsonLimits::default()
    });
    let living = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dying = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ports = [&living, &dying].map(|listener| listener.local_addr().unwrap().port());
    for port in ports {
        ask(&tracker, port, Event::Started).await;
    }
    drop(dying);
    let removing = async {
        while tracker.service().peers() != [loopback(ports[0])] {
            sleep(soon).await;
        }
    };
    timeout(TEST_TIMEOUT, removing).await.expect("the dead peer is removed");
    // A probe ends with a reset: a peer that sees an orderly end may wait for more.
    let (mut probe, _) = timeout(TEST_TIMEOUT, living.accept()).await.unwrap().unwrap();
    let end = timeout(TEST_TIMEOUT, probe.read_u8()).await.unwrap().unwrap_err();
    assert_eq!(end.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_client_reports_what_went_wrong() {
    let request = Request::new(loopback(5555), Event::Started);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for (answer, expected) in [
        (frame(b"<html>"), "its answer is not valid: not a JSON object"),
        (head(u64::MAX).to_vec(), "the limit is 1048576"),
        (b"\0\0".to_vec(), "closed the connection without an answer"),
        (vec![], "closed the connection without an answer"),
    ] {
        let serving = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = vec![0; frame(&request.encode()).len()];
            stream.read_exact(&mut asked).await.unwrap();
            stream.write_all(&answer).await.unwrap();
            assert_eq!(asked, frame(&request.encode()));
        };
        let (reply, ()) = timeout(TEST_TIMEOUT, async {
            tokio::join!(
                announce_json("127.0.0.1", port, Some(Ipv4Addr::LOCALHOST.into()), &request),
                serving
            )
        })
        .await
        .unwrap();
        let error = reply.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    drop(listener);
    let error = announce_json("127.0.0.1", port, None, &request).await.unwrap_err();
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_disconnected() {
    let tracker = tracker(JsonLimits::default());
    let mut stream = TcpStream::connect(("127.0.0.1", tracker.port())).await.unwrap();
    stream.write_all(&head(100)).await.unwrap();
    let mut answer = Vec::new();
    // The clock advances whenever nothing else happens: the end comes with the tracker's timeout.
    let ended = timeout(Duration::from_secs(3600), stream.read_to_end(&mut answer)).await;
    assert!(ended.is_ok() && answer.is_empty());
}
