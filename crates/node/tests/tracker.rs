//! A tracker and its clients in one process, over the loopback. HTTP is tested with the tracker of
//! this crate. The UDP tracker is made here, because this crate has only the client.

use std::{
    io::Read,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use axum::{Extension, extract::ConnectInfo};
use sow_content::InfoHash;
use sow_engine::{Announce, AnnounceError, AnnounceEvent, AnnounceReply};
use sow_node::{AnnounceIdentity, ConnectionAddrs, TrackerClient, TrackerService};
use sow_tracker::{Announcer, Limits, Mode, Registry};
use sow_wire::{
    bittorrent::PeerId,
    tracker_http::{decode_scrape, scrape_request},
    tracker_udp::{Family, Request, Response},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
    time::timeout,
};

const HASH: InfoHash = InfoHash(*b"\x00%&=+?# \xff..........z");
const TEST_TIMEOUT: Duration = Duration::from_secs(20);

fn identity(n: u8) -> AnnounceIdentity {
    let mut peer_id = PeerId(*b"-SW0100-aaaaaaaaaaaa");
    peer_id.0[19] = n;
    AnnounceIdentity { info_hash: HASH, peer_id, port: 7000 + u16::from(n), key: n.into() }
}

async fn ask(
    client: &TrackerClient,
    url: &str,
    n: u8,
    event: AnnounceEvent,
    left: u64,
) -> Result<AnnounceReply, AnnounceError> {
    let announce = Announce { event, uploaded: 1, downloaded: 2, left, numwant: 50 };
    timeout(TEST_TIMEOUT, client.announce(url, &identity(n), &announce))
        .await
        .expect("an answer in time")
}

async fn announce(
    url: &str,
    n: u8,
    event: AnnounceEvent,
    left: u64,
) -> Result<AnnounceReply, AnnounceError> {
    ask(&TrackerClient::new(None), url, n, event, left).await
}

/// Serves a tracker over HTTP, to clients from `remote`.
async fn serve(tracker: &TrackerService, remote: [u8; 4]) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let addrs = ConnectionAddrs { remote: SocketAddr::from((remote, 9)), local: addr };
    let router = tracker.router().layer(Extension(ConnectInfo(addrs)));
    tokio::spawn(async move { axum::serve(listener, router).await });
    addr
}

/// A tracker that gives one answer, whatever it is asked.
async fn serve_raw(answer: Vec<u8>) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}/announce", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(&answer).await;
        }
    });
    url
}

#[tokio::test]
async fn a_compressed_answer_and_peers_with_names_are_understood() {
    let peers = "5:peersld2:ip9:127.0.0.14:porti7eed2:ip9:localhost4:port4:7001ee";
    let body = format!("d8:interval2:4012:min interval2:20{peers}e and a rest");
    let mut packed = Vec::new();
    let level = flate2::Compression::fast();
    flate2::read::GzEncoder::new(body.as_bytes(), level).read_to_end(&mut packed).unwrap();
    for (encoding, body) in [("gzip", packed.clone()), ("identity", packed)] {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let url = serve_raw([head.as_bytes(), &body].concat()).await;
        let reply = announce(&url, 1, AnnounceEvent::Started, 0).await.unwrap();
        assert_eq!(reply.interval, Duration::from_secs(40));
        assert_eq!(reply.min_interval, Some(Duration::from_secs(20)));
        assert!(reply.from.unwrap().ip().is_loopback());
        let named = |port| reply.peers.iter().filter(|peer| peer.port() == port).count();
        assert!(named(7) == 1 && named(7001) >= 1, "{:?}", reply.peers);
    }
}

#[tokio::test]
async fn a_torrent_does_not_name_services_as_trackers() {
    let client = TrackerClient::new(None);
    for url in [
        "udp://127.0.0.1:53",
        "udp://127.0.0.1:123/announce",
        "http://127.0.0.1:25/announce",
        "http://localhost:9000/admin",
        "json-torrent://127.0.0.1:22",
    ] {
        let error = ask(&client, url, 1, AnnounceEvent::Started, 0).await.unwrap_err();
        assert!(error.is_permanent(), "{url}: {error}");
    }
    client.trust("http://127.0.0.1:1/admin");
    let typed = ask(&client, "http://127.0.0.1:1/admin", 1, AnnounceEvent::Started, 0).await;
    assert!(!typed.unwrap_err().is_permanent());
}

fn open() -> TrackerService {
    TrackerService::new(Mode::Open, Limits::default())
}

#[tokio::test]
async fn peers_find_each_other_over_http() {
    let tracker = open();
    let url = format!("http://{}/announce?passkey=x%20y", serve(&tracker, [127, 0, 0, 1]).await);
    let first = announce(&url, 1, AnnounceEvent::Started, 0).await.unwrap();
    assert_eq!((first.peers.len(), first.complete, first.incomplete), (0, Some(1), Some(0)));
    assert_eq!(first.interval, Duration::from_secs(30));
    let second = announce(&url, 2, AnnounceEvent::Started, u64::MAX).await.unwrap();
    assert_eq!(second.peers, ["127.0.0.1:7001".parse().unwrap()]);
    announce(&url, 2, AnnounceEvent::Completed, 0).await.unwrap();
    let swarm = tracker.swarms()[0];
    assert_eq!((swarm.info_hash, swarm.seeds, swarm.leechers, swarm.completed), (HASH, 2, 0, 1));
    announce(&url, 1, AnnounceEvent::Stopped, 0).await.unwrap();
    assert_eq!(tracker.swarms()[0].seeds, 1);
}

#[tokio::test]
async fn a_scrape_returns_the_counts() {
    let tracker = open();
    let addr = serve(&tracker, [10, 0, 0, 5]).await;
    announce(&format!("http://{addr}/announce"), 1, AnnounceEvent::Started, 5).await.unwrap();
    let url = scrape_request(&format!("http://{addr}/scrape"), &[HASH, InfoHash([0; 20])]);
    let response =
        reqwest::Client::builder().no_proxy().build().unwrap().get(url).send().await.unwrap();
    assert_eq!(response.headers()["connection"], "close", "other clients wait");
    let swarms = decode_scrape(&response.bytes().await.unwrap()).unwrap();
    assert_eq!(swarms.len(), 1);
    assert_eq!((swarms[0].info_hash, swarms[0].count.incomplete), (HASH, 1));
}

#[tokio::test]
async fn a_refusal_is_reported_in_the_trackers_words() {
    let tracker = TrackerService::new(Mode::Only([InfoHash([1; 20])].into()), Limits::default());
    let url = format!("http://{}/announce", serve(&tracker, [127, 0, 0, 1]).await);
    let refused = announce(&url, 1, AnnounceEvent::Started, 0).await;
    assert_eq!(
        refused,
        Err(AnnounceError::Refused("this tracker does not know that torrent".into()))
    );
}

/// Answers every connection with the same bytes, and reports the requests.
async fn canned(answer: Vec<u8>) -> (String, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}/announce", listener.local_addr().unwrap());
    let (asked, requests) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut head, answer) = (vec![0; 4096], answer.clone());
            let length = stream.read(&mut head).await.unwrap();
            let _ = asked.send(String::from_utf8_lossy(&head[..length]).into_owned());
            tokio::spawn(async move {
                // The client may close the connection before the end.
                let _ = stream.write_all(&answer).await;
            });
        }
    });
    (url, requests)
}

#[tokio::test]
async fn malformed_answers_of_trackers_are_errors() {
    let refusal = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 25\r\n\r\nd14:failure reason3:no!e\n";
    let endless = [&b"HTTP/1.1 200 OK\r\n\r\nd5:peers2000000:"[..], &[b'x'; 2_000_000]].concat();
    for (answer, error) in [
        (refusal.to_vec(), "no!"),
        (b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_vec(), "HTTP 404 Not Found"),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n<h".to_vec(),
            "the tracker's response is not valid",
        ),
        (endless, "longer than 1048576 bytes"),
        (Vec::new(), "connection closed"),
    ] {
        let (url, _requests) = canned(answer).await;
        let failed = announce(&url, 1, AnnounceEvent::Started, 0).await.unwrap_err();
        assert!(failed.to_string().contains(error), "{failed}");
    }
}

#[tokio::test]
async fn a_tracker_id_is_sent_with_the_next_announce() {
    let answer =
        b"HTTP/1.1 200 OK\r\ncontent-length: 42\r\n\r\nd8:intervali9e5:peers0:10:tracker id3:a=be";
    let (url, mut requests) = canned(answer.to_vec()).await;
    let client = TrackerClient::new(None);
    for event in [AnnounceEvent::Started, AnnounceEvent::Periodic] {
        let reply = ask(&client, &url, 1, event, 5).await.unwrap();
        assert_eq!(reply.interval, Duration::from_secs(9));
    }
    assert!(!requests.recv().await.unwrap().contains("trackerid"));
    assert!(requests.recv().await.unwrap().contains("&trackerid=a%3Db "));
}

/// A UDP tracker that loses the first `lost` datagrams, and accepts its connection id for ever.
async fn serve_udp(
    ip: IpAddr,
    mut lost: usize,
) -> Option<(SocketAddr, tokio::sync::mpsc::UnboundedReceiver<Request>)> {
    let socket = UdpSocket::bind((ip, 0)).await.ok()?;
    let addr = socket.local_addr().ok()?;
    let (seen, requests) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut registry = Registry::new(Mode::Open, Limits::default());
        let mut rng = fastrand::Rng::with_seed(1);
        let mut datagram = [0; 2048];
        loop {
            let (length, from) = socket.recv_from(&mut datagram).await.unwrap();
            let request = Request::decode(&datagram[..length]).unwrap();
            let _ = seen.send(request.clone());
            if lost > 0 {
                lost -= 1;
                continue;
            }
            let response = match request {
                Request::Connect { transaction } => {
                    Response::Connect { transaction, connection: 42 }
                }
                Request::Announce { connection: 42, transaction, announce, .. } => {
                    let caller = Announcer { address: from.ip(), reached: ip };
                    let response =
                        registry.announce(Duration::ZERO, caller, &announce, &mut rng).unwrap();
                    Response::Announce { transaction, response }
                }
                Request::Announce { transaction, .. } | Request::Scrape { transaction, .. } => {
                    Response::Error { transaction, message: "not connected".to_owned() }
                }
            };
            socket.send_to(&response.encode(Family::of(ip)), from).await.unwrap();
        }
    });
    Some((addr, requests))
}

#[tokio::test]
async fn peers_find_each_other_over_udp() {
    for ip in [IpAddr::from(Ipv4Addr::LOCALHOST), "::1".parse().unwrap()] {
        // A machine without IPv6 skips that half.
        let Some((addr, mut requests)) = serve_udp(ip, 0).await else { continue };
        let url = format!("udp://{addr}/announce?k=1");
        let client = TrackerClient::new(Some(ip));
        let first = ask(&client, &url, 1, AnnounceEvent::Started, 0).await.unwrap();
        assert_eq!(first.complete, Some(1));
        let second = announce(&url, 2, AnnounceEvent::Started, 9).await.unwrap();
        assert_eq!(second.peers, [SocketAddr::new(ip, 7001)]);
        assert_eq!((second.complete, second.incomplete), (Some(1), Some(1)));
        // The connection id of the first client is still valid.
        let third = ask(&client, &url, 1, AnnounceEvent::Stopped, 0).await.unwrap();
        assert_eq!(third.complete, Some(0));
        let mut kinds = Vec::new();
        for _ in 0..5 {
            kinds.push(match requests.recv().await.unwrap() {
                Request::Connect { .. } => "connect",
                Request::Announce { url_data, .. } if url_data == b"/announce?k=1" => "announce",
                other => panic!("{other:?}"),
            });
        }
        assert_eq!(kinds, ["connect", "announce", "connect", "announce", "announce"]);
    }
}

#[tokio::test]
async fn a_lost_datagram_is_sent_again_after_half_a_second() {
    let (addr, mut requests) = serve_udp(Ipv4Addr::LOCALHOST.into(), 1).await.unwrap();
    let begin = std::time::Instant::now();
    announce(&format!("udp://{addr}"), 1, AnnounceEvent::Started, 5).await.unwrap();
    let took = begin.elapsed();
    assert!(took >= Duration::from_millis(500), "{took:?}");
    for _ in 0..2 {
        let request = requests.recv().await.unwrap();
        assert!(matches!(request, Request::Connect { .. }), "{request:?}");
    }
}

#[tokio::test]
async fn an_unreachable_tracker_is_reported_at_once() {
    let unused = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
    let failed =
        announce(&format!("udp://{unused}"), 1, AnnounceEvent::Started, 5).await.unwrap_err();
    assert!(failed.to_string().contains("refused"), "{failed}");
    for (url, error) in [
        ("no url", "not a URL"),
        ("udp://127.0.0.1", "the tracker's URL has no port"),
        ("wss://127.0.0.1/announce", "trackers cannot be reached by \"wss\""),
    ] {
        assert_eq!(
            announce(url, 1, AnnounceEvent::Started, 5).await.unwrap_err().to_string(),
            error
        );
    }
}
