//! Callers that want no good: each is dropped, in time, and costs nobody else anything. All the
//! while an honest receiver fetches from the same origin, and finishes.

mod stage;

use std::{net::SocketAddr, time::Duration};

use bytes::{BufMut, BytesMut};
use sow_content::InfoHash;
use sow_engine::Event;
use sow_node::{NodeOptions, SwarmEvent, Timeouts};
use sow_wire::bittorrent::{
    BlockRequest, Handshake, Message, PeerId,
    message::{block_head, encode},
};
use stage::{Member, Original, PATIENCE, config, file, loopback};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

/// Short, so that the tests are.
const DEADLINE: Duration = Duration::from_millis(1500);

fn impatient() -> NodeOptions {
    let deadlines = Timeouts { handshake: DEADLINE, message: DEADLINE, stall: DEADLINE };
    NodeOptions { deadlines, ..loopback() }
}

fn handshake(info_hash: InfoHash) -> [u8; 68] {
    let peer_id = PeerId(*b"-XX0000-evilevilevil");
    Handshake { info_hash, peer_id, fast: true, extended: false }.encode()
}

/// A caller whose handshake is through.
async fn enter(addr: SocketAddr, info_hash: InfoHash) -> TcpStream {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(&handshake(info_hash)).await.unwrap();
    let mut theirs = [0; 68];
    timeout(PATIENCE, stream.read_exact(&mut theirs)).await.unwrap().unwrap();
    stream
}

fn said(messages: &[Message]) -> BytesMut {
    let mut bytes = BytesMut::new();
    messages.iter().for_each(|message| encode(message, &mut bytes));
    bytes
}

/// Waits until the other side hangs up, reading what it says.
async fn hung_up(stream: &mut TcpStream) {
    let mut sink = vec![0; 65536];
    let reading = async { while matches!(stream.read(&mut sink).await, Ok(1..)) {} };
    timeout(PATIENCE, reading).await.expect("to be hung up on");
}

/// Writes again and again until the other side has hung up; how often.
async fn write_until_refused(stream: &mut TcpStream, bytes: &[u8], pause: Duration) -> usize {
    let writing = async {
        let mut times = 0;
        while stream.write_all(bytes).await.is_ok() {
            times += 1;
            sleep(pause).await;
        }
        times
    };
    timeout(PATIENCE, writing).await.expect("to be hung up on")
}

/// An origin, and a receiver that will need some seconds.
struct Scene {
    original: Original,
    origin: Member,
    receiver: Member,
}

impl Scene {
    fn set() -> Self {
        let original = file(6_000_000, 65536);
        let limited = NodeOptions { up_limit: Some(2_000_000), ..impatient() };
        let origin = original.origin(limited, config(1));
        let receiver = original.receiver(impatient(), config(2), vec![origin.addr()]);
        Self { original, origin, receiver }
    }

    fn name(&self) -> InfoHash {
        self.original.metainfo.info_hash
    }

    /// The honest transfer ends well, as soon as it should.
    async fn end(mut self) {
        let start = Instant::now();
        self.receiver.complete().await;
        assert!(start.elapsed() < Duration::from_secs(30), "the honest transfer was held up");
        self.original.assert_same(&self.receiver.target);
        self.receiver.stop().await;
        self.origin.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_without_a_handshake() {
    let scene = Scene::set();
    let addr = scene.origin.addr();
    let first_words: [&[u8]; 5] =
        [b"", b"\x13BitTorrent", b"\x16\x03\x01", b"SSH-2.0-x\r\n", b"GET / HT"];
    for words in first_words {
        let start = Instant::now();
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(words).await.unwrap();
        hung_up(&mut stream).await;
        assert!(start.elapsed() < DEADLINE + Duration::from_secs(5), "{words:?}");
    }
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(&handshake(InfoHash([9; 20]))).await.unwrap();
    hung_up(&mut stream).await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_a_byte_at_a_time() {
    let scene = Scene::set();
    let mut stream = TcpStream::connect(scene.origin.addr()).await.unwrap();
    let start = Instant::now();
    for byte in handshake(scene.name()) {
        if stream.write_all(&[byte]).await.is_err() {
            break;
        }
        sleep(Duration::from_millis(200)).await;
    }
    hung_up(&mut stream).await;
    assert!(start.elapsed() < Duration::from_secs(12), "its whole handshake was waited for");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_that_says_nothing() {
    let scene = Scene::set();
    let mut crowd = Vec::new();
    for _ in 0..400 {
        crowd.push(TcpStream::connect(scene.origin.addr()).await.unwrap());
    }
    // Somebody honest still gets in, at once.
    let start = Instant::now();
    drop(enter(scene.origin.addr(), scene.name()).await);
    assert!(start.elapsed() < Duration::from_secs(5));
    for stream in &mut crowd {
        hung_up(stream).await;
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_and_huge_lengths() {
    let scene = Scene::set();
    for bytes in [
        &[0xff; 1000][..],
        &[0x7f, 0xff, 0xff, 0xff, 7, 0, 0, 0, 0],
        &[0x00, 0x20, 0x00, 0x00, 20, 0],
        &[0, 0, 0, 2, 4, 0],
        &[0, 0, 0, 1, 7],
    ] {
        let mut stream = enter(scene.origin.addr(), scene.name()).await;
        stream.write_all(bytes).await.unwrap();
        hung_up(&mut stream).await;
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_a_byte_at_a_time() {
    let scene = Scene::set();
    let mut stream = enter(scene.origin.addr(), scene.name()).await;
    stream.write_all(&[0, 0, 0x10, 0, 20]).await.unwrap();
    let start = Instant::now();
    write_until_refused(&mut stream, &[1], Duration::from_millis(100)).await;
    assert!(start.elapsed() < Duration::from_secs(15));
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lies_about_pieces() {
    let scene = Scene::set();
    let pieces = scene.original.info().geometry.pieces();
    for lie in [
        Message::Bitfield(vec![0xff; 3].into()),
        Message::Bitfield(vec![0xff; pieces as usize].into()),
        Message::Have(pieces),
        Message::Request(BlockRequest { piece: pieces, offset: 0, length: 16384 }),
        Message::Request(BlockRequest { piece: 0, offset: 65536, length: 1 }),
        Message::Request(BlockRequest { piece: 0, offset: 0, length: 1 << 30 }),
        Message::Extended { id: 0, payload: b"d"[..].into() },
    ] {
        let mut stream = enter(scene.origin.addr(), scene.name()).await;
        stream.write_all(&said(&[Message::HaveNone, lie])).await.unwrap();
        hung_up(&mut stream).await;
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_that_nobody_asked_for() {
    let scene = Scene::set();
    for addr in [scene.origin.addr(), scene.receiver.addr()] {
        let mut stream = enter(addr, scene.name()).await;
        stream.write_all(&said(&[Message::HaveNone])).await.unwrap();
        let mut block = BytesMut::new();
        block.put_slice(&block_head(BlockRequest { piece: 1, offset: 0, length: 16384 }));
        block.put_bytes(7, 16384);
        // A block or two is on its way by the time it is dropped.
        assert!(write_until_refused(&mut stream, &block, Duration::from_millis(20)).await < 200);
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_and_never_reads() {
    let scene = Scene::set();
    let mut stream = enter(scene.origin.addr(), scene.name()).await;
    // So that the kernel takes little on its behalf.
    socket2::SockRef::from(&stream).set_recv_buffer_size(4096).unwrap();
    stream.write_all(&said(&[Message::HaveNone, Message::Interested])).await.unwrap();
    let start = Instant::now();
    for offset in [0, 16384, 32768, 49152] {
        for piece in 0..60 {
            let request = said(&[Message::Request(BlockRequest { piece, offset, length: 16384 })]);
            if stream.write_all(&request).await.is_err() {
                break;
            }
        }
    }
    // Keep-alives are no progress.
    write_until_refused(&mut stream, &[0; 4], Duration::from_millis(100)).await;
    assert!(start.elapsed() < Duration::from_secs(30));
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_requests() {
    let mut scene = Scene::set();
    let mut stream = enter(scene.origin.addr(), scene.name()).await;
    stream.write_all(&said(&[Message::HaveNone, Message::Interested])).await.unwrap();
    let request = Message::Request(BlockRequest { piece: 0, offset: 0, length: 16384 });
    let many = said(&vec![request; 1000]);
    write_until_refused(&mut stream, &many, Duration::ZERO).await;
    let gone = |event: &SwarmEvent| match event {
        SwarmEvent::Engine(Event::PeerDisconnected { peer_id, .. }) => {
            peer_id.0.starts_with(b"-XX").then_some(())
        }
        _ => None,
    };
    scene.origin.wait_for(gone).await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_small_messages() {
    let scene = Scene::set();
    let mut floods = Vec::new();
    for addr in [scene.origin.addr(), scene.receiver.addr()] {
        let mut stream = enter(addr, scene.name()).await;
        let change = said(&[
            Message::Interested,
            Message::NotInterested,
            Message::KeepAlive,
            Message::Have(1),
        ]);
        floods.push(tokio::spawn(async move {
            stream.write_all(&said(&[Message::HaveNone])).await.unwrap();
            let many = change.repeat(1000);
            while stream.write_all(&many).await.is_ok() {}
        }));
    }
    // Whether it is dropped for that or not, the honest transfer is as quick as ever.
    scene.end().await;
    for flood in floods {
        timeout(PATIENCE, flood).await.expect("an end with the swarm's").unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_connections_than_there_are_places() {
    let original = file(1_000_000, 32768);
    let few = NodeOptions { max_connections: 3, ..impatient() };
    let origin = original.origin(few, config(1));
    let name = original.metainfo.info_hash;
    let mut inside = Vec::new();
    for n in 0..3 {
        let mut stream = TcpStream::connect(origin.addr()).await.unwrap();
        let mut ours = handshake(name);
        ours[67] = n;
        stream.write_all(&ours).await.unwrap();
        let mut theirs = [0; 68];
        timeout(PATIENCE, stream.read_exact(&mut theirs)).await.unwrap().unwrap();
        stream.write_all(&said(&[Message::HaveNone])).await.unwrap();
        inside.push(stream);
    }
    let mut outside = TcpStream::connect(origin.addr()).await.unwrap();
    outside.write_all(&handshake(name)).await.unwrap();
    hung_up(&mut outside).await;
    // A place that is left is free again.
    drop(inside);
    let mut receiver = original.receiver(impatient(), config(2), vec![origin.addr()]);
    receiver.complete().await;
    receiver.stop().await;
    origin.stop().await;
}
