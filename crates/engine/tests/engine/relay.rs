//! Relaying: what an origin tells the members of its crowd, and what a receiver requests of its
//! parents.

use std::net::SocketAddr;

use sow_content::{Bitfield, InfoHash};
use sow_engine::{
    Choking, Config, ConnId, Direction, Input, Message as AnyMessage, Output, PeerHandshake,
    StoreOutcome,
};
use sow_wire::bittorrent::{
    BlockRequest, ExtensionHandshake, Handshake, Message, Parent, PeerId, RelayMessage,
};

use crate::{
    bittorrent::{PIECE, PIECES, UNIT, extended, range},
    scene::{Scene, sent},
};

/// The number of `sow_relay` that the peers of these tests assign.
const RELAY_ID: u8 = 9;

/// The number that the engine assigns.
const OUR_RELAY_ID: u8 = 5;

fn handshake(id: u8) -> PeerHandshake {
    let (info_hash, peer_id) = (InfoHash([1; 20]), PeerId([id; 20]));
    PeerHandshake::BitTorrent(Handshake { info_hash, peer_id, fast: true, extended: true })
}

/// The handshake of a peer that runs our program.
fn same_client(id: u8) -> PeerHandshake {
    let mut peer_id = PeerId([id; 20]);
    peer_id.0[..3].fill(0);
    let info_hash = InfoHash([1; 20]);
    PeerHandshake::BitTorrent(Handshake { info_hash, peer_id, fast: true, extended: true })
}

/// Where the peer on a host accepts connections.
fn listen_addr(host: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, host], 52000))
}

fn relaying(joins_relay: bool) -> Message {
    let handshake = ExtensionHandshake {
        sow_relay: Some(RELAY_ID),
        joins_relay,
        listen_port: Some(52000),
        ..ExtensionHandshake::default()
    };
    extended(0, handshake.encode())
}

fn messages(conn: ConnId, outputs: &[Output]) -> Vec<Message> {
    let messages = sent(conn, outputs).into_iter();
    let bittorrent = messages.filter_map(|message| match message {
        AnyMessage::BitTorrent(message) => Some(message),
        _ => None,
    });
    bittorrent.collect()
}

fn relay_messages(conn: ConnId, outputs: &[Output]) -> Vec<RelayMessage> {
    let relayed = messages(conn, outputs).into_iter().filter_map(|message| match message {
        Message::Extended { id: RELAY_ID, payload } => RelayMessage::decode(&payload).ok(),
        _ => None,
    });
    relayed.collect()
}

fn requests(conn: ConnId, outputs: &[Output]) -> Vec<BlockRequest> {
    let requests = messages(conn, outputs).into_iter().filter_map(|message| match message {
        Message::Request(request) => Some(request),
        _ => None,
    });
    requests.collect()
}

fn blocks(outputs: &[Output]) -> Vec<(ConnId, u32)> {
    let blocks = outputs.iter().filter_map(|output| match output {
        Output::SendBlock { conn, block } => Some((*conn, block.piece)),
        _ => None,
    });
    blocks.collect()
}

fn origin() -> Scene {
    Scene::with_pieces(Bitfield::full(PIECES), |config| {
        config.spread = true;
        config.relays = true;
    })
}

/// A receiver, and its origin, which has unchoked it.
fn receiver(adjust: impl FnOnce(&mut Config)) -> (Scene, ConnId) {
    let mut scene = Scene::with_pieces(Bitfield::new(PIECES), |config| {
        config.relays = true;
        adjust(config);
    });
    let (origin, _) = scene.connect_host(1, Direction::Dialed, handshake(1));
    scene.message(origin, Message::HaveNone);
    scene.message(origin, relaying(false));
    scene.message(origin, Message::Unchoke);
    (scene, origin)
}

fn told(parents: &[Parent]) -> Message {
    extended(OUR_RELAY_ID, RelayMessage::Parents(parents.to_vec()).encode())
}

/// A peer that is connected and relays.
fn relay_peer(scene: &mut Scene, host: u8) -> ConnId {
    let (conn, _) = scene.connect_host(host, Direction::Accepted, handshake(host));
    scene.message(conn, Message::HaveNone);
    scene.message(conn, relaying(false));
    scene.message(conn, Message::Unchoke);
    conn
}

#[test]
fn an_origin_tells_members_their_parents_and_offers_them_nothing() {
    let mut scene = origin();
    let (first, opened) = scene.connect_host(2, Direction::Accepted, same_client(2));
    let is_have = |message: &Message| matches!(message, Message::Have(_));
    assert!(!messages(first, &opened).iter().any(is_have), "it may join");
    let outputs = scene.message(first, relaying(true));
    let from_us = RelayMessage::Parents(vec![Parent::Sender; 3]);
    assert_eq!(relay_messages(first, &outputs), std::slice::from_ref(&from_us));
    assert!(!messages(first, &outputs).iter().any(is_have));
    let (second, _) = scene.connect_host(3, Direction::Accepted, handshake(3));
    let outputs = scene.message(second, relaying(true));
    let parents_of = |conn, outputs: &[Output]| match &relay_messages(conn, outputs)[..] {
        [RelayMessage::Parents(parents)] => parents.clone(),
        other => panic!("{other:?}"),
    };
    let (of_first, of_second) = (parents_of(first, &outputs), parents_of(second, &outputs));
    for stripe in 0..3 {
        let parents = (of_first[stripe], of_second[stripe]);
        let (from_first, from_second) =
            (Parent::Peer(listen_addr(2)), Parent::Peer(listen_addr(3)));
        assert!(
            parents == (Parent::Sender, from_first) || parents == (from_second, Parent::Sender),
            "one of them passes stripe {stripe} on: {parents:?}"
        );
    }
    let outputs = scene.input(Input::Closed { conn: second });
    assert_eq!(relay_messages(first, &outputs), [from_us]);
}

#[test]
fn who_does_not_join_is_offered_pieces_as_ever() {
    let is_have = |message: &Message| matches!(message, Message::Have(_));
    let mut scene = origin();
    let (stranger, opened) = scene.connect_host(2, Direction::Accepted, handshake(7));
    assert!(messages(stranger, &opened).iter().any(is_have));
    let (ours, _) = scene.connect_host(3, Direction::Accepted, same_client(3));
    let outputs = scene.message(ours, relaying(false));
    assert!(messages(ours, &outputs).iter().any(is_have));
    assert_eq!(relay_messages(ours, &outputs), []);
}

#[test]
fn a_member_without_a_way_to_get_a_stripe_gets_another_parent() {
    let mut scene = origin();
    let members = [2, 3, 4, 5].map(|host| {
        let (conn, _) = scene.connect_host(host, Direction::Accepted, handshake(host));
        scene.message(conn, relaying(true));
        conn
    });
    let complaint = |stripe| {
        let orphaned = RelayMessage::Orphaned { stripe, is_at_fault: true };
        extended(OUR_RELAY_ID, orphaned.encode())
    };
    let outputs = scene.message(members[3], complaint(0));
    assert_eq!(relay_messages(members[3], &outputs).len(), 1);
    assert_eq!(scene.message(members[3], complaint(7)), [], "there is no such stripe");
    let answers = (0..100).filter(|_| !scene.message(members[3], complaint(1)).is_empty()).count();
    assert!(answers <= 12, "{answers} complaints at once were heard");
}

#[test]
fn a_request_for_a_piece_that_is_to_come_is_answered_when_it_is_here() {
    let (mut scene, origin) = receiver(|_| {});
    scene.message(origin, told(&[Parent::Sender]));
    let child = relay_peer(&mut scene, 3);
    let (stranger, _) = scene.connect_host(9, Direction::Accepted, handshake(9));
    let first = range(0, 0, PIECE);
    assert_eq!(scene.message(child, Message::Request(first)), []);
    assert_eq!(scene.message(stranger, Message::Request(first)).len(), 1, "it is rejected");
    scene.message(child, Message::Request(range(1, 0, UNIT)));
    let outputs = scene.message(child, Message::Cancel(range(1, 0, UNIT)));
    assert_eq!(messages(child, &outputs), [Message::Reject(range(1, 0, UNIT))]);
    for offset in [0, UNIT] {
        scene.deliver(origin, range(0, offset, UNIT));
    }
    let stored = StoreOutcome::Verified { digests: Vec::new() };
    let outputs = scene.input(Input::Stored { piece: 0, outcome: stored });
    assert_eq!(blocks(&outputs), [(child, 0)]);
    assert!(!messages(child, &outputs).contains(&Message::Have(0)), "the block says so");
}

#[test]
fn a_receiver_requests_each_stripe_of_its_parent_alone_and_in_order() {
    let (mut scene, origin) = receiver(|_| {});
    let parent = relay_peer(&mut scene, 3);
    let (other, _) = scene.connect_host(9, Direction::Accepted, handshake(9));
    scene.message(other, Message::HaveAll);
    let mut outputs = scene.message(origin, told(&[Parent::Sender, Parent::Peer(listen_addr(3))]));
    outputs.extend(scene.message(other, Message::Unchoke));
    let pieces = |conn, outputs: &[Output]| {
        let mut pieces: Vec<u32> =
            requests(conn, outputs).iter().map(|block| block.piece).collect();
        pieces.dedup();
        pieces
    };
    assert_eq!(pieces(origin, &outputs), [0, 2], "two pieces ahead, in order");
    assert_eq!(pieces(parent, &outputs), [1, 3], "although it has none of them yet");
    assert_eq!(requests(other, &outputs), []);
    scene.deliver(parent, range(1, 0, UNIT));
    let outputs = scene.deliver(parent, range(1, UNIT, UNIT)).1;
    assert_eq!(pieces(parent, &outputs), [5]);
    // No other peer is asked in its place while all is well, whatever the other one has.
    assert_eq!(requests(other, &scene.wait(900)), []);
}

#[test]
fn a_parent_that_is_gone_is_reported_and_others_are_asked() {
    let (mut scene, origin) = receiver(|_| {});
    let parent = relay_peer(&mut scene, 3);
    let (other, _) = scene.connect_host(9, Direction::Accepted, handshake(9));
    scene.message(other, Message::HaveAll);
    scene.message(origin, told(&[Parent::Sender, Parent::Peer(listen_addr(3))]));
    scene.message(other, Message::Unchoke);
    let outputs = scene.input(Input::Closed { conn: parent });
    let orphaned = RelayMessage::Orphaned { stripe: 1, is_at_fault: true };
    assert_eq!(relay_messages(origin, &outputs), [orphaned]);
    let asked = requests(other, &outputs);
    assert!(!asked.is_empty() && asked.iter().all(|block| block.piece % 2 == 1), "{asked:?}");
}

#[test]
fn a_parent_that_keeps_what_it_has_is_left() {
    let (mut scene, origin) = receiver(|_| {});
    let parent = relay_peer(&mut scene, 3);
    let (other, _) = scene.connect_host(9, Direction::Accepted, handshake(9));
    scene.message(other, Message::HaveAll);
    scene.message(origin, told(&[Parent::Sender, Parent::Peer(listen_addr(3))]));
    scene.message(other, Message::Unchoke);
    for piece in [1, 3, 5] {
        scene.message(parent, Message::Have(piece));
    }
    let outputs = scene.wait(4000);
    let orphaned = RelayMessage::Orphaned { stripe: 1, is_at_fault: true };
    assert!(relay_messages(origin, &outputs).contains(&orphaned));
    assert!(!requests(other, &outputs).is_empty());
}

#[test]
fn only_a_peer_that_the_user_named_is_told_parents_by() {
    let (mut scene, _) = receiver(|_| {});
    let stranger = relay_peer(&mut scene, 3);
    let outputs = scene.message(stranger, told(&[Parent::Sender]));
    assert_eq!(requests(stranger, &outputs), []);
    let (mut scene, origin) = receiver(|config| config.choking = Choking::TitForTat);
    let outputs = scene.message(origin, told(&[Parent::Sender]));
    assert_eq!(requests(origin, &outputs), [], "strangers trade, and do not relay");
}

#[test]
fn requests_ahead_are_bounded() {
    let (mut scene, origin) = receiver(|_| {});
    scene.message(origin, told(&[Parent::Sender]));
    let child = relay_peer(&mut scene, 3);
    let is_closed = |outputs: &[Output]| {
        outputs
            .iter()
            .any(|output| matches!(output, Output::Disconnect { conn, .. } if *conn == child))
    };
    let mut kept = 0;
    while !is_closed(&scene.message(child, Message::Request(range(kept % PIECES, 0, UNIT)))) {
        kept += 1;
        assert!(kept <= sow_engine::MAX_QUEUED_REQUESTS as u32);
    }
    assert_eq!(kept, sow_engine::MAX_QUEUED_REQUESTS as u32);
}
