//! HTTP clients that are slow, greedy or a web page of another site: the index and the tracker
//! answer others within a moment, and tell a page nothing.

mod swarm_members;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use sow_node::{
    CLIENT_HEADER, ContentCondition, DownloadSource, HostName, HostNames, RateLimit,
    TrackerService,
    index::{SharedContent, index},
};
use sow_store::DiskStore;
use sow_tracker::{Limits, Mode};
use swarm_members::{Member, Original, TEST_TIMEOUT, config, file, loopback};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::timeout,
};

/// More connections than there are places.
const CROWD: usize = 530;

/// How soon a client must have its answer, however many others there are. A loaded machine needs
/// some of it for itself.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

fn origin(original: &Original, torrent_size: usize) -> Member {
    let origin = original.origin(loopback(), config(1));
    let tracker = TrackerService::new(Mode::Open, Limits::default());
    let (info, info_hash) = (original.info(), original.metainfo.info_hash);
    let store = DiskStore::serve(info, &original.path).unwrap();
    let download = DownloadSource::new(
        Arc::new(info.clone()),
        info_hash,
        Arc::new(store.into()),
        ContentCondition::default(),
        RateLimit::new(None),
    );
    let shared = SharedContent {
        name: "x".to_owned(),
        info_hash,
        length: original.info().geometry.total(),
        files: 1,
        ticket: "10.0.0.1:52000/abc".to_owned(),
        magnet: "magnet:?xt=urn:btih:abc".to_owned(),
        torrent: Bytes::from(vec![7; torrent_size]),
        json_torrent: None,
        download: Some(download),
    };
    origin.node.serve_http(tracker.router().merge(index(
        [shared].into_iter().collect(),
        host_names(),
        page,
    )));
    origin
}

/// A name of this machine that it cannot know.
const ADDED_NAME: &str = "files.example.net";

fn host_names() -> HostNames {
    ADDED_NAME.parse::<HostName>().into_iter().collect()
}

/// Sends bytes and returns the answer, which ends with the connection.
async fn exchange(addr: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A connection that is closed with unread bytes is reset behind its answer.
    let _ = timeout(TEST_TIMEOUT, stream.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n")
}

/// Opens connections that send this first, from a few addresses of this machine.
async fn crowd(addr: SocketAddr, first: &str) -> Vec<TcpStream> {
    let mut connecting = JoinSet::new();
    for number in 0..CROWD {
        let first = first.to_owned();
        connecting.spawn(async move {
            let socket = TcpSocket::new_v4().unwrap();
            let from = [127, 0, (number % 3) as u8, 1];
            socket.bind(SocketAddr::from((from, 0))).unwrap();
            let mut stream = socket.connect(addr).await.unwrap();
            // It may have lost its place already.
            let _ = stream.write_all(first.as_bytes()).await;
            stream
        });
    }
    connecting.join_all().await
}

async fn assert_answers_at_once(addr: SocketAddr, beside: &str) {
    let host = format!("Host: {addr}\r\n");
    let announce = "/announce?info_hash=aaaaaaaaaaaaaaaaaaaa&peer_id=bbbbbbbbbbbbbbbbbbbb&port=1\
                    &uploaded=0&downloaded=0&left=0";
    for path in ["/", announce] {
        let start = Instant::now();
        let answer = exchange(addr, &get(path, &host)).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{path} beside {beside}: {answer}");
        assert!(start.elapsed() < ANSWER_TIMEOUT, "{path} beside {beside}: {:?}", start.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn others_are_answered_beside_a_crowd_of_slow_clients() {
    let original = file(1000, 32768);
    let origin = origin(&original, 100);
    let request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    let post = "POST /announce HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999\r\n\r\nx";
    for (what, first) in [
        ("heads that never end", &request[..20]),
        ("connections that are kept", request),
        ("bodies that never end", post),
    ] {
        let crowd = crowd(origin.addr(), first).await;
        assert_answers_at_once(origin.addr(), what).await;
        drop(crowd);
    }
    origin.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn others_are_answered_beside_a_crowd_of_greedy_clients() {
    let original = file(8 << 20, 32768);
    let origin = origin(&original, 1 << 20);
    let content = format!("GET /x HTTP/1.1\r\nHost: {}\r\n\r\n", origin.addr());
    let request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    let large = format!("GET /x.torrent HTTP/1.1\r\nHost: {}\r\n\r\n", origin.addr());
    for (what, first) in [
        ("pipelined requests", request.repeat(20)),
        ("answers that are not read", large.repeat(8)),
        ("content that is not read", content.repeat(8)),
    ] {
        let first = first.as_str();
        let crowd = crowd(origin.addr(), first).await;
        assert_answers_at_once(origin.addr(), what).await;
        drop(crowd);
    }
    origin.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_request_waits_for_no_pipelined_ones_of_its_own_network_or_of_many_others() {
    let original = file(1000, 32768);
    let origin = origin(&original, 100);
    let addr = origin.addr();
    let request = format!("GET / HTTP/1.1\r\nHost: {addr}\r\n\r\n").repeat(200);
    let mut flood = JoinSet::new();
    for number in 0..250 {
        // A hundred are in the network of the client that is measured.
        let from = [127, 0, number.max(100) - 100, 1];
        let request = request.clone();
        flood.spawn(async move {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(SocketAddr::from((from, 0))).unwrap();
            let mut stream = socket.connect(addr).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        });
    }
    // Each connection has had some of its requests answered.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_answers_at_once(addr, "pipelined requests of 151 networks").await;
    drop(flood);
    origin.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_site_learns_nothing() {
    let original = file(1000, 32768);
    let origin = origin(&original, 100);
    let (addr, port) = (origin.addr(), origin.addr().port());
    for path in ["/", "/x.torrent", "/x.json.torrent"] {
        for host in ["evil.example", "evil.example:1", "192.0.2.7", "x", ""] {
            let answer = exchange(addr, &get(path, &format!("Host: {host}\r\n"))).await;
            assert!(answer.starts_with("HTTP/1.1 421"), "{path} of {host}: {answer}");
            assert!(!answer.contains("abc") && !answer.contains("btih"), "{answer}");
        }
        let twice = format!("Host: {addr}\r\nHost: evil.example\r\n");
        assert!(!exchange(addr, &get(path, &twice)).await.starts_with("HTTP/1.1 200"));
    }
    let announce = "/announce?info_hash=aaaaaaaaaaaaaaaaaaaa&peer_id=bbbbbbbbbbbbbbbbbbbb&port=1";
    let page = format!("Host: {addr}\r\nOrigin: http://evil.example\r\n");
    assert!(exchange(addr, &get(announce, &page)).await.contains("failure reason"));
    for headers in [
        format!("Host: {addr}\r\n"),
        format!("Host: localhost:{port}\r\n"),
        format!("Host: any.example\r\n{CLIENT_HEADER}: 1\r\n"),
        format!("Host: {}:{port}\r\n", ADDED_NAME.to_ascii_uppercase()),
    ] {
        let answer = exchange(addr, &get("/", &headers)).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("abc"), "{answer}");
    }
    assert!(exchange(addr, "GET / HTTP/1.0\r\n\r\n").await.contains("abc"), "HTTP/1.0");
    origin.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_tells_browsers_what_they_may_do() {
    let original = file(1000, 32768);
    let origin = origin(&original, 100);
    let host = format!("Host: {}\r\n", origin.addr());
    for path in ["/", "/x.torrent", "/absent", "/announce", "/scrape", "/a/b/c"] {
        let answer = exchange(origin.addr(), &get(path, &host)).await.to_ascii_lowercase();
        for header in [
            "x-content-type-options: nosniff",
            "x-frame-options: deny",
            "frame-ancestors 'none'",
            "cross-origin-resource-policy: same-origin",
        ] {
            assert!(answer.contains(header), "{path} without {header}: {answer}");
        }
        assert!(!answer.contains("access-control"), "{path}: {answer}");
    }
    origin.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_with_a_body_are_refused_and_the_connection_is_closed() {
    let original = file(1000, 32768);
    let origin = origin(&original, 100);
    for framing in ["Content-Length: 99999999", "Transfer-Encoding: chunked"] {
        for method in ["GET", "POST"] {
            let request = format!(
                "{method} /announce HTTP/1.1\r\nHost: {}\r\n{framing}\r\n\r\n",
                origin.addr()
            );
            let answer = exchange(origin.addr(), &request).await;
            assert!(answer.starts_with("HTTP/1.1 413"), "{method} {framing}: {answer}");
        }
    }
    origin.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_has_a_bounded_number_of_requests_and_a_head_a_bounded_length() {
    let original = file(1000, 32768);
    let origin = origin(&original, 100);
    let request = format!("GET /absent HTTP/1.1\r\nHost: {}\r\n\r\n", origin.addr());
    let answers = exchange(origin.addr(), &request.repeat(1002)).await;
    assert_eq!(answers.matches("HTTP/1.1 404").count(), 1000, "it closes the connection");
    let padding = "x".repeat(20_000);
    let long = get("/", &format!("Host: {}\r\nX-Padding: {padding}\r\n", origin.addr()));
    let answer = exchange(origin.addr(), &long).await;
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    origin.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_beyond_a_rate_wait_in_their_sockets() {
    let original = file(1000, 32768);
    let origin = origin(&original, 100);
    let request = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", origin.addr());
    let start = Instant::now();
    let mut floods = JoinSet::new();
    for _ in 0..3 {
        let (addr, requests) = (origin.addr(), request.repeat(1000));
        floods.spawn(async move { exchange(addr, &requests).await });
    }
    let answers = floods.join_all().await;
    let answered = |answers: &String| answers.matches("HTTP/1.1 200").count();
    assert_eq!(answers.iter().map(answered).sum::<usize>(), 3000);
    // 2,000 in a second.
    assert!(start.elapsed() > Duration::from_millis(1400), "{:?}", start.elapsed());
    origin.stop().await;
}

fn page() -> axum::response::Response {
    axum::response::IntoResponse::into_response(axum::response::Html("<h1>page</h1>"))
}
