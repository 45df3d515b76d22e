//! Crowds of peers that are of no use, and peers that flood: none of them keeps an honest receiver
//! from its place, and a flood waits on its own connection. A flood is bounded by the bytes that a
//! node takes of it, not by time.

mod swarm_members;

use std::time::Duration;

use bytes::BytesMut;
use sow_node::NodeOptions;
use sow_wire::bittorrent::{BlockRequest, ExtensionHandshake, Message, MetadataMessage};
use swarm_members::{
    Member, Original, TEST_TIMEOUT, config, file, loopback,
    scripted_peer::{encoded, enter},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

/// Places of the origin's swarm, few for the sake of the tests' run time.
const PLACES: usize = 12;

fn origin_of(original: &Original) -> Member {
    let mut few = config(1);
    few.max_peers = PLACES;
    original.origin(loopback(), few)
}

/// An honest receiver gets everything from the origin.
async fn receive(original: &Original, origin: Member) {
    original.transfer_from(&origin).await;
    origin.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_peers_make_room_for_one_that_wants_something() {
    for is_interested in [false, true] {
        let original = file(1_000_000, 32768);
        let origin = origin_of(&original);
        let mut idle = Vec::new();
        for _ in 0..3 * PLACES {
            let mut stream = enter(origin.addr(), original.metainfo.info_hash).await;
            if is_interested {
                stream.write_all(&encoded(&[Message::Interested])).await.unwrap();
            }
            idle.push(stream);
        }
        receive(&original, origin).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trickling_peers_make_room_for_one_that_wants_something() {
    let original = file(1_000_000, 32768);
    let origin = origin_of(&original);
    let mut trickles = Vec::new();
    for _ in 0..3 * PLACES {
        let mut stream = enter(origin.addr(), original.metainfo.info_hash).await;
        trickles.push(tokio::spawn(async move {
            // The head of a bitfield of 1,000 bytes, and then a byte at a time.
            let mut bytes: &[u8] = &[0, 0, 3, 0xe9, 5];
            while stream.write_all(bytes).await.is_ok() {
                bytes = &[0];
                sleep(Duration::from_millis(50)).await;
            }
        }));
    }
    receive(&original, origin).await;
    for trickle in trickles {
        timeout(TEST_TIMEOUT, trickle).await.expect("the end of the connection").unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_never_name_a_swarm_keep_no_other_out() {
    let original = file(1_000_000, 32768);
    let origin = origin_of(&original);
    let first_bytes: [&[u8]; 5] =
        [b"", b"\x13BitTorrent protocol\0\0\0\0\0\0\0\0", b"GET", b"CHE", b"\0\0\0\0\0"];
    let mut silent = Vec::new();
    for n in 0..300 {
        let mut stream = TcpStream::connect(origin.addr()).await.unwrap();
        stream.write_all(first_bytes[n % first_bytes.len()]).await.unwrap();
        silent.push(stream);
    }
    receive(&original, origin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_node_replaces_an_idle_peer() {
    let original = file(1_000_000, 32768);
    let origin = original.origin(NodeOptions { max_connections: 3, ..loopback() }, config(1));
    let mut idle = Vec::new();
    for _ in 0..3 {
        idle.push(enter(origin.addr(), original.metainfo.info_hash).await);
    }
    receive(&original, origin).await;
}

/// What peers may flood with, and how many of its bytes a node needs to take within a moment.
fn floods() -> Vec<(&'static str, BytesMut)> {
    let request = BlockRequest { piece: 0, offset: 0, length: 16384 };
    let metadata = MetadataMessage::Request { piece: 0 }.encode();
    vec![
        ("interest", encoded(&[Message::Interested, Message::NotInterested])),
        ("keep-alives", encoded(&[Message::KeepAlive])),
        ("known pieces", encoded(&[Message::Have(0)])),
        (
            "extension handshakes",
            encoded(&[Message::Extended { id: 0, payload: b"de"[..].into() }]),
        ),
        ("metadata", encoded(&[Message::Extended { id: 1, payload: metadata.into() }])),
        ("unknown extensions", encoded(&[Message::Extended { id: 9, payload: b"x"[..].into() }])),
        ("chokes", encoded(&[Message::Choke, Message::Unchoke])),
        ("cancels", encoded(&[Message::Cancel(request)])),
        ("rejects", encoded(&[Message::Reject(request)])),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_waits_on_its_own_connection() {
    /// A flood that stands still for this long is slowed. Without a limit, a node takes all bytes.
    const STANDSTILL: Duration = Duration::from_millis(300);
    /// Far more than the buffers of the sockets and what the budget allows.
    const MAX_TAKEN: usize = 64 << 20;
    let original = file(1_000_000, 32768);
    let origin = origin_of(&original);
    let mut flooding = Vec::new();
    for (what, flood) in floods() {
        let stream = enter(origin.addr(), original.metainfo.info_hash).await;
        let (mut read, mut write) = stream.into_split();
        let theirs = ExtensionHandshake { ut_metadata: Some(3), ..ExtensionHandshake::default() };
        let theirs = Message::Extended { id: 0, payload: theirs.encode().into() };
        write.write_all(&encoded(&[Message::HaveNone, theirs])).await.unwrap();
        // The answers are read: it is the flood that has to wait.
        tokio::spawn(async move {
            let mut sink = vec![0; 65536];
            while matches!(read.read(&mut sink).await, Ok(1..)) {}
        });
        flooding.push(tokio::spawn(async move {
            let many = flood.repeat(65536 / flood.len());
            let mut taken = 0;
            while taken < MAX_TAKEN {
                match timeout(STANDSTILL, write.write_all(&many)).await {
                    Ok(Ok(())) => taken += many.len(),
                    Ok(Err(error)) => panic!("{what}: {error}"),
                    Err(_) => return write,
                }
            }
            panic!("a flood of {what} is not slowed");
        }));
    }
    let mut writers = Vec::new();
    for flood in flooding {
        writers.push(timeout(TEST_TIMEOUT, flood).await.expect("a standstill").unwrap());
    }
    receive(&original, origin).await;
}
