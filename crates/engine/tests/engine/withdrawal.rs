//! The content is no longer right at an origin: it tells every peer once, and a receiver believes
//! the reason only of the origin that the user named.

use sow_content::{Bitfield, InfoHash};
use sow_engine::{Direction, DisconnectReason, Event, Input, Message, Output, PeerHandshake, Time};
use sow_wire::bittorrent::{self, BlockRequest, ExtensionHandshake, Handshake, PeerId, Withdrawal};

use crate::{
    bittorrent::extended,
    scene::{Scene, disconnect_reason, sent},
};

const PIECES: u32 = 10;

fn bittorrent(id: u8, extended: bool) -> PeerHandshake {
    let (info_hash, peer_id) = (InfoHash([1; 20]), PeerId([id; 20]));
    PeerHandshake::BitTorrent(Handshake { info_hash, peer_id, fast: true, extended })
}

fn handshake_with(sow_withdraw: Option<u8>) -> Vec<u8> {
    ExtensionHandshake { sow_withdraw, ..ExtensionHandshake::default() }.encode()
}

fn withdrawal_in(messages: &[Message]) -> Option<Withdrawal> {
    messages.iter().find_map(|message| match message {
        Message::BitTorrent(bittorrent::Message::Extended { id: 7, payload }) => {
            Withdrawal::decode(payload).ok()
        }
        _ => None,
    })
}

#[test]
fn every_peer_is_told_once_and_disconnected() {
    let mut scene = Scene::with_pieces(Bitfield::full(PIECES), |_| {});
    let ours = scene.connect_host(2, Direction::Accepted, bittorrent(2, true)).0;
    let foreign = scene.connect_host(3, Direction::Accepted, bittorrent(3, true)).0;
    scene.message(ours, extended(0, handshake_with(Some(7))));
    scene.message(foreign, extended(0, handshake_with(None)));
    let outputs = scene.input(Input::Withdraw { reason: "it was cut".into() });
    let reason = Some(Withdrawal::new("it was cut"));
    assert_eq!(withdrawal_in(&sent(ours, &outputs)), reason);
    assert_eq!(withdrawal_in(&sent(foreign, &outputs)), None);
    for conn in [ours, foreign] {
        let ended = disconnect_reason(conn, &outputs);
        assert_eq!(ended, Some(DisconnectReason::ContentWithdrawn));
    }
    assert!(scene.input(Input::Withdraw { reason: "again".into() }).is_empty());
    let (late, outputs) = scene.connect_host(4, Direction::Accepted, bittorrent(4, true));
    let is_extended = |message: &Message| {
        matches!(message, Message::BitTorrent(bittorrent::Message::Extended { id: 0, .. }))
    };
    assert!(sent(late, &outputs).iter().all(is_extended), "it seems to have pieces: {outputs:?}");
    let outputs = scene.message(late, extended(0, handshake_with(Some(7))));
    assert_eq!(withdrawal_in(&sent(late, &outputs)), reason);
    assert_eq!(disconnect_reason(late, &outputs), Some(DisconnectReason::ContentWithdrawn));
    let (old, outputs) = scene.connect_host(5, Direction::Accepted, bittorrent(5, false));
    assert_eq!(disconnect_reason(old, &outputs), Some(DisconnectReason::ContentWithdrawn));
}

#[test]
fn only_the_named_origin_is_believed() {
    let believed = |host, direction| {
        let mut scene = Scene::with_pieces(Bitfield::new(PIECES), |_| {});
        let (conn, _) = scene.connect_host(host, direction, bittorrent(host, true));
        scene.message(conn, extended(0, handshake_with(Some(7))));
        let outputs = scene.message(conn, extended(3, Withdrawal::new("it was cut").encode()));
        assert_eq!(disconnect_reason(conn, &outputs), Some(DisconnectReason::PeerWithdrew));
        outputs.iter().any(|output| {
            matches!(output, Output::Event(Event::OriginWithdrew { reason, .. })
                if reason == "it was cut")
        })
    };
    assert!(believed(1, Direction::Dialed), "host 1 is named");
    assert!(!believed(2, Direction::Dialed), "a tracker named host 2");
    assert!(!believed(1, Direction::Accepted), "anything on that host can connect");
}

#[test]
fn the_status_counts_the_missing_pieces_that_no_peer_has() {
    let mut scene = Scene::with_pieces(Bitfield::new(PIECES), |_| {});
    let unavailable = |scene: &Scene| scene.engine.status(Time(0)).unavailable;
    assert_eq!(unavailable(&scene), PIECES);
    let (conn, _) = scene.connect_host(2, Direction::Accepted, bittorrent(2, true));
    scene.message(conn, bittorrent::Message::Have(3));
    assert_eq!(unavailable(&scene), PIECES - 1);
    scene.input(Input::Closed { conn });
    assert_eq!(unavailable(&scene), PIECES);
}

#[test]
fn a_request_after_the_withdrawal_is_not_served() {
    let mut scene = Scene::with_pieces(Bitfield::full(PIECES), |_| {});
    scene.input(Input::Withdraw { reason: "it was cut".into() });
    let (conn, _) = scene.connect_host(2, Direction::Accepted, bittorrent(2, true));
    scene.message(conn, bittorrent::Message::Interested);
    let request = BlockRequest { piece: 1, offset: 0, length: 1 << 14 };
    let mut outputs = scene.message(conn, bittorrent::Message::Request(request));
    outputs.extend(scene.wait(1000));
    let is_block = |output: &Output| matches!(output, Output::SendBlock { .. });
    assert!(!outputs.iter().any(is_block), "{outputs:?}");
}
