//! Misbehaving peers: each is disconnected, in time, and harms no other. Meanwhile an honest
//! receiver fetches from the same origin, and must complete.

mod swarm_members;

use std::{net::SocketAddr, time::Duration};

use bytes::{BufMut, BytesMut};
use sow_content::InfoHash;
use sow_engine::Event;
use sow_node::{NodeOptions, SwarmEvent, Timeouts};
use sow_wire::bittorrent::{BlockRequest, Message, message::block_head};
use swarm_members::{
    Member, Original, TEST_TIMEOUT, config, file, loopback,
    scripted_peer::{PEER_ID_PREFIX, encoded, enter, handshake, wait_for_disconnect},
};
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    time::{sleep, timeout},
};

/// The timeouts of the nodes, short for the sake of the tests' run time. The bound of the tests is
/// [`TEST_TIMEOUT`], which is far from it.
const NODE_TIMEOUT: Duration = Duration::from_millis(1500);

fn short_timeouts() -> NodeOptions {
    let timeouts = Timeouts { handshake: NODE_TIMEOUT, message: NODE_TIMEOUT, stall: NODE_TIMEOUT };
    NodeOptions { timeouts, ..loopback() }
}

/// Writes the same bytes again and again, at the pace of `pause`, until the node has closed the
/// connection. Returns how often.
async fn write_until_disconnected(stream: &mut TcpStream, bytes: &[u8], pause: Duration) -> usize {
    let writing = async {
        let mut times = 0;
        while stream.write_all(bytes).await.is_ok() {
            times += 1;
            sleep(pause).await;
        }
        times
    };
    timeout(TEST_TIMEOUT, writing).await.expect("a disconnect")
}

/// An origin, and a receiver whose transfer takes some seconds.
struct Scene {
    original: Original,
    origin: Member,
    receiver: Member,
}

impl Scene {
    fn new() -> Self {
        let original = file(6_000_000, 65536);
        let limited = NodeOptions { up_limit: Some(2_000_000), ..short_timeouts() };
        let origin = original.origin(limited, config(1));
        let receiver = original.receiver(short_timeouts(), config(2), vec![origin.addr()]);
        Self { original, origin, receiver }
    }

    fn info_hash(&self) -> InfoHash {
        self.original.metainfo.info_hash
    }

    /// The honest transfer completes.
    async fn end(mut self) {
        self.receiver.complete().await;
        self.original.assert_same(&self.receiver.target);
        self.receiver.stop().await;
        self.origin.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_without_a_handshake_are_closed() {
    let scene = Scene::new();
    let addr = scene.origin.addr();
    let first_bytes: [&[u8]; 5] =
        [b"", b"\x13BitTorrent", b"\x16\x03\x01", b"SSH-2.0-x\r\n", b"GET / HT"];
    for bytes in first_bytes {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        wait_for_disconnect(&mut stream).await;
    }
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(&handshake(InfoHash([9; 20]))).await.unwrap();
    wait_for_disconnect(&mut stream).await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_comes_a_byte_at_a_time_is_not_waited_for() {
    let scene = Scene::new();
    let mut stream = TcpStream::connect(scene.origin.addr()).await.unwrap();
    let handshake = handshake(scene.info_hash());
    let mut sent = 0;
    for byte in handshake {
        if stream.write_all(&[byte]).await.is_err() {
            break;
        }
        sent += 1;
        sleep(Duration::from_millis(200)).await;
    }
    wait_for_disconnect(&mut stream).await;
    assert!(sent < handshake.len(), "the whole handshake was waited for");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_crowd_keeps_no_other_out_and_is_disconnected() {
    let crowd = async |addr: SocketAddr| {
        let mut crowd = Vec::new();
        for _ in 0..400 {
            crowd.push(TcpStream::connect(addr).await.unwrap());
        }
        crowd
    };
    // With this timeout the crowd stays for longer than the test: an honest peer must get in beside
    // it.
    let timeouts = Timeouts { handshake: 10 * TEST_TIMEOUT, ..Timeouts::default() };
    let original = file(1000, 32768);
    let origin = original.origin(NodeOptions { timeouts, ..loopback() }, config(3));
    let silent = crowd(origin.addr()).await;
    drop(enter(origin.addr(), original.metainfo.info_hash).await);
    drop(silent);
    origin.stop().await;

    let scene = Scene::new();
    let mut silent = crowd(scene.origin.addr()).await;
    for stream in &mut silent {
        wait_for_disconnect(stream).await;
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_and_huge_lengths_end_the_connection() {
    let scene = Scene::new();
    for bytes in [
        &[0xff; 1000][..],
        &[0x7f, 0xff, 0xff, 0xff, 7, 0, 0, 0, 0],
        &[0x00, 0x20, 0x00, 0x00, 20, 0],
        &[0, 0, 0, 2, 4, 0],
        &[0, 0, 0, 1, 7],
    ] {
        let mut stream = enter(scene.origin.addr(), scene.info_hash()).await;
        stream.write_all(bytes).await.unwrap();
        wait_for_disconnect(&mut stream).await;
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_comes_a_byte_at_a_time_is_not_waited_for() {
    let scene = Scene::new();
    let mut stream = enter(scene.origin.addr(), scene.info_hash()).await;
    stream.write_all(&[0, 0, 0x10, 0, 20]).await.unwrap();
    // At this pace the message would be complete after 409 s, which is more than the test's bound.
    write_until_disconnected(&mut stream, &[1], Duration::from_millis(100)).await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn false_claims_about_pieces_end_the_connection() {
    let scene = Scene::new();
    let pieces = scene.original.info().geometry.pieces();
    for claim in [
        Message::Bitfield(vec![0xff; 3].into()),
        Message::Bitfield(vec![0xff; pieces as usize].into()),
        Message::Have(pieces),
        Message::Request(BlockRequest { piece: pieces, offset: 0, length: 16384 }),
        Message::Request(BlockRequest { piece: 0, offset: 65536, length: 1 }),
        Message::Request(BlockRequest { piece: 0, offset: 0, length: 1 << 30 }),
        Message::Extended { id: 0, payload: b"d"[..].into() },
    ] {
        let mut stream = enter(scene.origin.addr(), scene.info_hash()).await;
        stream.write_all(&encoded(&[Message::HaveNone, claim])).await.unwrap();
        wait_for_disconnect(&mut stream).await;
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unsolicited_blocks_end_the_connection() {
    let scene = Scene::new();
    for addr in [scene.origin.addr(), scene.receiver.addr()] {
        let mut stream = enter(addr, scene.info_hash()).await;
        stream.write_all(&encoded(&[Message::HaveNone])).await.unwrap();
        let mut block = BytesMut::new();
        block.put_slice(&block_head(BlockRequest { piece: 1, offset: 0, length: 16384 }));
        block.put_bytes(7, 16384);
        // Some blocks are on their way when the node closes the connection.
        assert!(
            write_until_disconnected(&mut stream, &block, Duration::from_millis(20)).await < 200
        );
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_requests_and_never_reads_is_disconnected() {
    let scene = Scene::new();
    let mut stream = enter(scene.origin.addr(), scene.info_hash()).await;
    // So that the kernel takes little for it.
    socket2::SockRef::from(&stream).set_recv_buffer_size(4096).unwrap();
    stream.write_all(&encoded(&[Message::HaveNone, Message::Interested])).await.unwrap();
    for offset in [0, 16384, 32768, 49152] {
        for piece in 0..60 {
            let request =
                encoded(&[Message::Request(BlockRequest { piece, offset, length: 16384 })]);
            if stream.write_all(&request).await.is_err() {
                break;
            }
        }
    }
    // Keep-alives are no progress.
    write_until_disconnected(&mut stream, &[0; 4], Duration::from_millis(100)).await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_requests_ends_the_connection() {
    let mut scene = Scene::new();
    let mut stream = enter(scene.origin.addr(), scene.info_hash()).await;
    stream.write_all(&encoded(&[Message::HaveNone, Message::Interested])).await.unwrap();
    let request = Message::Request(BlockRequest { piece: 0, offset: 0, length: 16384 });
    let many = encoded(&vec![request; 1000]);
    write_until_disconnected(&mut stream, &many, Duration::ZERO).await;
    let gone = |event: &SwarmEvent| match event {
        SwarmEvent::Engine(Event::PeerDisconnected { peer_id, .. }) => {
            peer_id.0.starts_with(PEER_ID_PREFIX).then_some(())
        }
        _ => None,
    };
    scene.origin.wait_for(gone).await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_small_messages_does_not_stop_an_honest_transfer() {
    let scene = Scene::new();
    let mut floods = Vec::new();
    for addr in [scene.origin.addr(), scene.receiver.addr()] {
        let mut stream = enter(addr, scene.info_hash()).await;
        let change = encoded(&[
            Message::Interested,
            Message::NotInterested,
            Message::KeepAlive,
            Message::Have(1),
        ]);
        floods.push(tokio::spawn(async move {
            stream.write_all(&encoded(&[Message::HaveNone])).await.unwrap();
            let many = change.repeat(1000);
            while stream.write_all(&many).await.is_ok() {}
        }));
    }
    // Whether the sender is disconnected or not, the honest transfer completes.
    scene.end().await;
    for flood in floods {
        timeout(TEST_TIMEOUT, flood).await.expect("the end of the flood").unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_connections_than_the_limit_stay_open() {
    let original = file(1_000_000, 32768);
    let few = NodeOptions { max_connections: 3, ..short_timeouts() };
    let origin = original.origin(few, config(1));
    let name = original.metainfo.info_hash;
    let mut inside = Vec::new();
    for _ in 0..4 {
        let mut stream = enter(origin.addr(), name).await;
        stream.write_all(&encoded(&[Message::HaveNone])).await.unwrap();
        inside.push(stream);
    }
    // The last one took the place of the one that was idle for longest.
    wait_for_disconnect(&mut inside[0]).await;
    let mut receiver = original.receiver(short_timeouts(), config(2), vec![origin.addr()]);
    receiver.complete().await;
    receiver.stop().await;
    origin.stop().await;
}
