//! BitTorrent and HTTP on one port: the index, the `.torrent`, a tracker, and a transfer beside
//! them.

mod swarm_members;

use std::net::SocketAddr;

use bytes::Bytes;
use sow_content::Metainfo;
use sow_node::{
    HostNames, TrackerService,
    index::{SharedContent, index},
};
use sow_tracker::{Limits, Mode};
use swarm_members::{Member, Original, TEST_TIMEOUT, config, file, loopback};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

fn shared(original: &Original, name: &str) -> SharedContent {
    SharedContent {
        name: name.to_owned(),
        info_hash: original.metainfo.info_hash,
        length: original.info().geometry.total(),
        files: 1,
        ticket: "10.0.0.1:52000/abc".to_owned(),
        magnet: "magnet:?xt=urn:btih:abc&dn=<x>".to_owned(),
        torrent: Bytes::from(original.metainfo.encode()),
        json_torrent: None,
        download: None,
    }
}

/// Sends a request and returns the head and the body of the answer.
async fn ask(addr: SocketAddr, path: &str, accept: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {addr}\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
    );
    // In two parts, of which the first does not show the protocol.
    let (first, rest) = request.as_bytes().split_at(2);
    stream.write_all(first).await.unwrap();
    stream.write_all(rest).await.unwrap();
    let mut answer = Vec::new();
    timeout(TEST_TIMEOUT, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let body = answer.split_off(end + 4);
    (String::from_utf8(answer).unwrap(), body)
}

fn origin(original: &Original, names: &[&str]) -> Member {
    let origin = original.origin(loopback(), config(1));
    let tracker = TrackerService::new(Mode::Open, Limits::default());
    let index = index(
        names.iter().map(|name| shared(original, name)).collect(),
        HostNames::default(),
        page,
    );
    origin.node.serve_http(tracker.router().merge(index));
    origin
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shared_is_listed_for_programs_and_browsers_get_a_page() {
    let original = file(100_000, 32768);
    let origin = origin(&original, &["a <b> & c"]);
    let (head, body) = ask(origin.addr(), "/", "*/*").await;
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("application/json"), "{head}");
    let list: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(list["shared"][0]["name"], "a <b> & c");
    assert_eq!(list["shared"][0]["length"], 100_000);
    assert_eq!(list["shared"][0]["ticket"], "10.0.0.1:52000/abc");
    let (head, body) = ask(origin.addr(), "/", "text/html,*/*").await;
    assert!(head.contains("text/html"), "{head}");
    assert_eq!(body, b"<h1>page</h1>");
    origin.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_torrent_is_found_by_any_name_when_it_is_the_only_one() {
    let original = file(100_000, 32768);
    let only = origin(&original, &["x"]);
    for path in
        ["/x.torrent", "/anything.torrent", &format!("/{}.torrent", original.metainfo.info_hash)]
    {
        let (head, body) = ask(only.addr(), path, "*/*").await;
        assert!(head.contains("application/x-bittorrent"), "{head}");
        assert_eq!(Metainfo::decode(&body).unwrap().info_hash, original.metainfo.info_hash);
    }
    let (head, _) = ask(only.addr(), "/x.iso", "*/*").await;
    assert!(head.starts_with("HTTP/1.1 404"), "{head}");
    only.stop().await;
    let two = origin(&original, &["x", "y z"]);
    for (path, status) in
        [("/y%20z.torrent", "200"), ("/w.torrent", "404"), ("/..%2fx.torrent", "404")]
    {
        let (head, _) = ask(two.addr(), path, "*/*").await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {head}");
    }
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn receivers_find_each_other_by_the_tracker_on_the_same_port() {
    let original = file(3_000_000, 32768);
    let origin = original.origin(loopback(), config(1));
    let tracker = TrackerService::new(Mode::Open, Limits::default());
    origin.node.serve_http(tracker.router());
    let url = format!("http://{}/announce", origin.addr());
    let mut announcing = config(9);
    announcing.trackers = vec![vec![url.clone()]];
    // The origin itself is not in the tracker's list: one receiver is named to the other by the
    // tracker.
    let mut first = original.receiver(loopback(), announcing, vec![origin.addr()]);
    first.complete().await;
    let mut asking = config(2);
    asking.trackers = vec![vec![url]];
    let mut second = original.receiver(loopback(), asking, vec![]);
    second.complete().await;
    original.assert_same(&second.target);
    second.stop().await;
    first.stop().await;
    let swarms = tracker.swarms();
    assert!(
        swarms.iter().all(|swarm| swarm.seeds + swarm.leechers == 0),
        "a peer that left is still listed: {swarms:?}"
    );
    origin.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_router_http_is_rejected() {
    let original = file(1000, 32768);
    let origin = original.origin(loopback(), config(1));
    let mut stream = TcpStream::connect(origin.addr()).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let read = timeout(TEST_TIMEOUT, stream.read_to_end(&mut answer)).await.unwrap();
    assert!(read.is_err() || answer.is_empty());
    origin.stop().await;
}

fn page() -> axum::response::Response {
    axum::response::IntoResponse::into_response(axum::response::Html("<h1>page</h1>"))
}
