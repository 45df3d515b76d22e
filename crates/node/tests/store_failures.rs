//! Disks that fail: the owner gets an event, peers are disconnected, and nothing hangs.

mod swarm_members;

use std::{fs::OpenOptions, sync::Arc, time::Duration};

use sow_content::Bitfield;
use sow_engine::Event;
use sow_node::{NodeOptions, SwarmContent, SwarmEvent};
use sow_store::{DiskStore, StoreErrorKind};
use swarm_members::{TEST_TIMEOUT, config, file, loopback};
use tokio::time::timeout;

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_fails_is_reported_and_no_more_is_fetched() {
    let original = file(8_000_000, 32768);
    let limited = NodeOptions { up_limit: Some(2_000_000), ..loopback() };
    let origin = original.origin(limited, config(1));
    let mut receiver = original.receiver_without_metadata(loopback(), config(2), vec![]);
    // A store that cannot be written to. As far as the swarm knows, nothing is in it.
    let store = DiskStore::serve(original.info(), &original.path).unwrap();
    let content = SwarmContent {
        info: Arc::new(original.info().clone()),
        metadata: original.metainfo.info_bytes.clone(),
        store: Arc::new(store.into()),
        have: Bitfield::new(original.info().geometry.pieces()),
        md5: None,
    };
    receiver.swarm.content_ready(content);
    receiver.swarm.add_peers(
        sow_engine::PeerSource::Named,
        sow_engine::Dialect::BitTorrent,
        vec![origin.addr()],
    );
    let kind = |event: &SwarmEvent| match event {
        SwarmEvent::StoreFailed(error) => Some(error.kind()),
        _ => None,
    };
    assert_eq!(receiver.wait_for(kind).await, StoreErrorKind::Misuse);
    // The blocks that were requested before the disk failed arrive. Then the rates fall to zero at
    // both ends, although the receiver has less than the content.
    let mut status = receiver.swarm.watch_status();
    let stopped = status
        .wait_for(|status| status.pieces > 0 && status.downloaded > 0 && status.rate_down == 0);
    let seen = timeout(TEST_TIMEOUT, stopped).await.unwrap().unwrap().clone();
    assert_eq!(seen.bytes_verified, 0);
    assert!(seen.downloaded < 4_000_000, "{seen:?}");
    let mut status = origin.swarm.watch_status();
    let stopped = status.wait_for(|status| status.uploaded > 0 && status.rate_up == 0);
    timeout(TEST_TIMEOUT, stopped).await.unwrap().unwrap();
    receiver.stop().await;
    origin.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_cannot_read_disconnects_its_peers_and_others_help() {
    let original = file(3_000_000, 32768);
    let whole = original.origin(loopback(), config(1));
    let mut broken = original.origin(loopback(), config(3));
    let mut first = original.receiver(loopback(), config(2), vec![whole.addr()]);
    first.complete().await;
    whole.stop().await;
    // The file is truncated while an origin serves it. The first receiver has a copy of its own.
    OpenOptions::new().write(true).open(&original.path).unwrap().set_len(10_000).unwrap();
    let mut second = original.receiver(loopback(), config(4), vec![broken.addr()]);
    let gone = |event: &SwarmEvent| {
        matches!(event, SwarmEvent::Engine(Event::PeerDisconnected { .. })).then_some(())
    };
    broken.wait_for(gone).await;
    second.swarm.add_peers(
        sow_engine::PeerSource::Named,
        sow_engine::Dialect::BitTorrent,
        vec![first.addr()],
    );
    second.complete().await;
    assert!(std::fs::read(&second.target).unwrap() == std::fs::read(&first.target).unwrap());
    for member in [first, second, broken] {
        member.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_during_a_transfer_loses_nothing_that_was_verified() {
    let original = file(8_000_000, 65536);
    let origin = original.origin(loopback(), config(1));
    let mut verified = 0;
    for _ in 0..200 {
        let mut receiver = original.receiver(loopback(), config(2), vec![origin.addr()]);
        let mut done = false;
        let mut before = 0;
        receiver
            .wait_for(|event| {
                before +=
                    u32::from(matches!(event, SwarmEvent::Engine(Event::PieceVerified { .. })));
                done = matches!(event, SwarmEvent::Engine(Event::Complete));
                (before == 10 || done).then_some(())
            })
            .await;
        receiver.stop().await;
        let have = original.receiving(&original.folder.path().join("copy 2")).have;
        assert!(have.count() >= verified + before, "{} of {}", have.count(), verified + before);
        verified = have.count();
        if have.is_full() {
            break;
        }
    }
    assert_eq!(verified, original.info().geometry.pieces());
    // A node that is dropped accepts no more connections.
    let addr = origin.addr();
    origin.stop().await;
    let closing = async {
        while tokio::net::TcpStream::connect(addr).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(TEST_TIMEOUT, closing).await.expect("a closed port");
}
