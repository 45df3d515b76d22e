//! Places of a swarm when they are scarce, and what messages cost.

use sow_content::Bitfield;
use sow_engine::{Choking, ConnId, Direction, DisconnectReason, Output, PeerHandshake};
use sow_wire::bittorrent::{Handshake, Message, PeerId};

use crate::{
    bittorrent::{PIECES, content, range},
    scene::{Scene, disconnect_reason, sent},
};

const PLACES: usize = 8;

/// An origin with few places.
fn origin(slots: usize) -> Scene {
    Scene::new(Some(content(Bitfield::full(PIECES), false)), |config| {
        config.max_peers = PLACES;
        config.upload_slots = slots;
    })
}

fn connect(scene: &mut Scene, host: u8) -> (ConnId, Vec<Output>) {
    let mut peer_id = PeerId(*b"-XX0000-000000000000");
    peer_id.0[8..16].copy_from_slice(&scene.next_connection().to_be_bytes());
    let info_hash = sow_content::InfoHash([0; 20]);
    let handshake = Handshake { info_hash, peer_id, fast: true, extended: false };
    scene.connect_host(host, Direction::Accepted, PeerHandshake::BitTorrent(handshake))
}

fn replaced(outputs: &[Output]) -> Vec<ConnId> {
    let replaced = outputs.iter().filter_map(|output| match output {
        Output::Disconnect { conn, reason: DisconnectReason::Replaced } => Some(*conn),
        _ => None,
    });
    replaced.collect()
}

/// The peer requests a block and gets it.
fn serve(scene: &mut Scene, conn: ConnId) {
    scene.message(conn, Message::Interested);
    let outputs = scene.message(conn, Message::Request(range(0, 0, 1 << 14)));
    let block = outputs.iter().find_map(|output| match output {
        Output::SendBlock { conn: to, block } if *to == conn => Some(*block),
        _ => None,
    });
    let block = block.expect("a block");
    scene.input(sow_engine::Input::BlockSent { conn, block });
}

#[test]
fn the_longest_idle_peer_makes_room_and_one_that_gets_data_does_not() {
    let mut scene = origin(100);
    let (served, _) = connect(&mut scene, 5);
    serve(&mut scene, served);
    let idle: Vec<ConnId> = (1..PLACES).map(|_| connect(&mut scene, 5).0).collect();
    for expected in idle {
        let (new, outputs) = connect(&mut scene, 5);
        assert_eq!(replaced(&outputs), [expected]);
        assert_eq!(disconnect_reason(new, &outputs), None);
    }
}

#[test]
fn peers_in_use_make_room_once_a_second_at_most() {
    let mut scene = origin(100);
    let peers: Vec<ConnId> = (0..PLACES).map(|_| connect(&mut scene, 5).0).collect();
    scene.wait(9_000);
    peers.iter().for_each(|&conn| serve(&mut scene, conn));
    scene.wait(2_000);
    let (_, outputs) = connect(&mut scene, 6);
    assert_eq!(replaced(&outputs).len(), 1);
    // The new one has wanted nothing yet, and is the least useful one itself.
    let (conn, outputs) = connect(&mut scene, 6);
    assert_eq!(replaced(&outputs).len(), 1);
    serve(&mut scene, conn);
    let (refused, outputs) = connect(&mut scene, 6);
    let reason = disconnect_reason(refused, &outputs);
    assert_eq!(reason, Some(DisconnectReason::TooManyConnections));
}

#[test]
fn while_something_is_missing_places_are_kept_for_dialing() {
    let mut scene = Scene::new(Some(content(Bitfield::new(PIECES), false)), |config| {
        config.max_peers = PLACES;
    });
    for _ in 1..PLACES {
        assert!(replaced(&connect(&mut scene, 5).1).is_empty());
    }
    // One place is free.
    assert_eq!(replaced(&connect(&mut scene, 5).1).len(), 1);
}

#[test]
fn a_slot_that_is_not_used_goes_to_a_peer_that_waits() {
    let mut scene = origin(2);
    let idle: Vec<ConnId> = (0..4).map(|_| connect(&mut scene, 5).0).collect();
    for &conn in &idle {
        scene.message(conn, Message::Interested);
    }
    scene.wait(3_000);
    let (new, _) = connect(&mut scene, 6);
    let mut outputs = scene.message(new, Message::Interested);
    outputs.extend(scene.wait(500));
    assert!(sent(new, &outputs).contains(&Message::Unchoke.into()), "{outputs:?}");
}

#[test]
fn interest_that_flips_without_end_leads_to_few_chokes() {
    let mut scene = origin(2);
    let peers: Vec<ConnId> = (0..4).map(|_| connect(&mut scene, 5).0).collect();
    for &conn in &peers {
        scene.message(conn, Message::Interested);
    }
    let mut outputs = Vec::new();
    for _ in 0..500 {
        outputs.extend(scene.message(peers[0], Message::NotInterested));
        outputs.extend(scene.message(peers[0], Message::Interested));
    }
    let sends = outputs.iter().filter(|output| matches!(output, Output::Send { .. })).count();
    assert!(sends < 40, "{sends} messages follow from a second of flips");
}

#[test]
fn with_tit_for_tat_peers_that_request_nothing_keep_no_other_from_a_slot() {
    let mut scene = Scene::with_pieces(Bitfield::full(PIECES), |config| {
        config.choking = Choking::TitForTat;
    });
    let peers: Vec<ConnId> = (0..21).map(|_| scene.connect_peer()).collect();
    let last = peers[20];
    peers.into_iter().for_each(|conn| _ = scene.message(conn, Message::Interested));
    let outputs = scene.wait(6_000);
    let unchoke: sow_engine::Message = Message::Unchoke.into();
    assert!(sent(last, &outputs).contains(&unchoke), "each was tried within 6 s");
}
