//! Whole transfers between nodes in one process, over real sockets on the loopback.

mod swarm_members;

use std::{fs, sync::Arc, time::Duration};

use sow_content::Metainfo;
use sow_engine::{Event, PickOrder};
use sow_node::{NodeOptions, SwarmEvent};
use swarm_members::{Original, TEST_TIMEOUT, config, file, loopback, random_bytes, tree};
use tokio::time::{Instant, timeout};

async fn assert_transfer(original: &Original) {
    let origin = original.origin(loopback(), config(1));
    original.transfer_from(&origin).await;
    origin.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn contents_of_lengths_around_blocks_and_pieces_arrive() {
    for length in [1, 16383, 16384, 16385, 32767, 32768, 32769, 1_000_003] {
        assert_transfer(&file(length, 32768)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pieces_of_every_length() {
    for (length, piece_length) in
        [(300_001, 16384), (300_001, 40_000), (9_000_000, 4 << 20), (12_345_678, 1 << 17)]
    {
        assert_transfer(&file(length, piece_length)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_with_empty_and_tiny_files_arrives() {
    let files = [
        ("tree/a", random_bytes(1, 1)),
        ("tree/b/empty", vec![]),
        ("tree/b/c/ü n.bin", random_bytes(100_000, 2)),
        ("tree/z", random_bytes(7, 3)),
    ];
    assert_transfer(&tree(&files, 32768)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_file_is_complete_at_once() {
    let original = file(0, 32768);
    let mut receiver = original.receiver(loopback(), config(2), vec![]);
    let place = timeout(TEST_TIMEOUT, receiver.swarm.finish()).await.unwrap().unwrap();
    assert_eq!(fs::read(place.unwrap()).unwrap(), b"");
    receiver.events.close();
    receiver.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_shares_what_it_has() {
    let original = file(20_000_000, 65536);
    let origin = original.origin(loopback(), config(1));
    let mut receivers: Vec<_> =
        (2..8).map(|n| original.receiver(loopback(), config(n), vec![origin.addr()])).collect();
    // Each member knows all others.
    let addrs: Vec<_> = receivers.iter().map(swarm_members::Member::addr).collect();
    for receiver in &receivers {
        receiver.swarm.add_peers(
            sow_engine::PeerSource::Tracker,
            sow_engine::Dialect::BitTorrent,
            addrs.clone(),
        );
    }
    for receiver in &mut receivers {
        receiver.complete().await;
        original.assert_same(&receiver.target);
    }
    for receiver in receivers {
        receiver.stop().await;
    }
    origin.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metadata_is_fetched_from_peers() {
    let original = file(3_000_000, 32768);
    let origin = original.origin(loopback(), config(1));
    let mut receiver =
        original.receiver_without_metadata(loopback(), config(2), vec![origin.addr()]);
    let metadata = receiver
        .wait_for(|event| match event {
            SwarmEvent::Engine(Event::Metadata(bytes)) => Some(bytes.clone()),
            _ => None,
        })
        .await;
    assert_eq!(Metainfo::from_info_bytes(metadata).unwrap().info_hash, original.metainfo.info_hash);
    receiver.swarm.content_ready(original.receiving(&receiver.target));
    receiver.complete().await;
    original.assert_same(&receiver.target);
    receiver.stop().await;
    origin.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_over_ipv6_with_small_blocks_in_order() {
    let original = file(2_000_000, 65536);
    let origin = original.origin(NodeOptions::default(), config(1));
    let mut plain = config(2);
    plain.max_block = 16384;
    plain.order = PickOrder::InOrder;
    let addr = (std::net::Ipv6Addr::LOCALHOST, origin.node.port()).into();
    let mut receiver = original.receiver(NodeOptions::default(), plain, vec![addr]);
    receiver.complete().await;
    original.assert_same(&receiver.target);
    receiver.stop().await;
    origin.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_origin_learns_that_a_receiver_is_complete_even_if_it_leaves_at_once() {
    let original = file(1_000_000, 32768);
    for _ in 0..5 {
        let mut origin = original.origin(loopback(), config(1));
        let mut receiver = original.receiver(loopback(), config(2), vec![origin.addr()]);
        receiver.complete().await;
        fs::remove_file(&receiver.target).unwrap();
        receiver.stop().await;
        let complete = |event: &SwarmEvent| match event {
            SwarmEvent::Engine(Event::PeerComplete { peer_id, .. }) => Some(*peer_id),
            _ => None,
        };
        assert_eq!(origin.wait_for(complete).await, config(2).peer_id);
        origin.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_limit_is_kept() {
    let original = file(2_000_000, 32768);
    let limited = NodeOptions { up_limit: Some(1_000_000), ..loopback() };
    let origin = original.origin(limited, config(1));
    let start = Instant::now();
    let mut receiver = original.receiver(loopback(), config(2), vec![origin.addr()]);
    receiver.complete().await;
    // That no more is lost to the limit than necessary is tested in `throttle`.
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(1900), "2 MB at 1 MB/s took {took:?}");
    receiver.stop().await;
    origin.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_continues_where_it_was_stopped() {
    let original = file(4_000_000, 32768);
    let limited = NodeOptions { up_limit: Some(4_000_000), ..loopback() };
    let origin = original.origin(limited, config(1));
    let mut first = original.receiver(loopback(), config(2), vec![origin.addr()]);
    let mut verified = 0;
    first
        .wait_for(|event| {
            verified += u32::from(matches!(event, SwarmEvent::Engine(Event::PieceVerified { .. })));
            (verified == 30).then_some(())
        })
        .await;
    first.stop().await;
    let mut second = original.receiver(loopback(), config(2), vec![origin.addr()]);
    let mut again = 0;
    second
        .wait_for(|event| {
            again += u32::from(matches!(event, SwarmEvent::Engine(Event::PieceVerified { .. })));
            matches!(event, SwarmEvent::Engine(Event::Complete)).then_some(())
        })
        .await;
    let pieces = original.info().geometry.pieces();
    assert!(again <= pieces - 30, "{again} of {pieces} pieces were fetched again");
    second.swarm.finish().await.unwrap();
    original.assert_same(&second.target);
    second.stop().await;
    origin.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_is_published_while_it_has_a_receiver() {
    let original = file(3_000_000, 32768);
    let limited = NodeOptions { up_limit: Some(3_000_000), ..loopback() };
    let origin = original.origin(limited, config(1));
    let mut receiver = original.receiver(loopback(), config(2), vec![origin.addr()]);
    let mut status = receiver.swarm.watch_status();
    let halfway = timeout(
        TEST_TIMEOUT,
        status.wait_for(|status| status.have > 0 && status.have < status.pieces),
    );
    let seen = halfway.await.unwrap().unwrap().clone();
    assert_eq!(seen.bytes_total, 3_000_000);
    assert_eq!(seen.peers.len(), 1);
    receiver.complete().await;
    let whole = timeout(TEST_TIMEOUT, status.wait_for(|status| status.have == status.pieces));
    assert_eq!(whole.await.unwrap().unwrap().bytes_verified, 3_000_000);
    receiver.stop().await;
    origin.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swarm_is_joined_once_and_again_after_it_was_left() {
    let original = file(100_000, 32768);
    let origin = Arc::new(original.origin(loopback(), config(1)));
    let options = || sow_node::SwarmOptions {
        info_hash: original.metainfo.info_hash,
        content: None,
        config: config(3),
        accepts: sow_node::AcceptedDialects::BITTORRENT,
        peers: vec![],
    };
    assert!(matches!(origin.node.join(options()), Err(sow_node::NodeError::AlreadyJoined(_))));
    let origin = Arc::into_inner(origin).unwrap();
    timeout(TEST_TIMEOUT, origin.swarm.stop()).await.unwrap();
    let (again, _) = origin.node.join(options()).unwrap();
    timeout(TEST_TIMEOUT, again.stop()).await.unwrap();
}
