//! json-torrent peers against one engine.

use bytes::Bytes;
use sow_content::Bitfield;
use sow_engine::{
    ConnId, Direction, DisconnectReason, Event, Input, Integrity, Message as AnyMessage,
    Misbehavior, Output, PeerHandshake, StoreOutcome,
};
use sow_wire::json_torrent::Message as Json;

use crate::{
    chunk::{LOCAL, PIECES, content, reports_end},
    scene::{Scene, disconnect_reason, sent_blocks},
};

impl Scene {
    fn json(&mut self, conn: ConnId, message: Json) -> Vec<Output> {
        self.message(conn, AnyMessage::JsonTorrent(message))
    }
}

fn with_pieces(have: Bitfield) -> Scene {
    Scene::new(Some(content(have, Integrity::PieceHashes)), |_| {})
}

fn connect(scene: &mut Scene, direction: Direction, host: u8) -> (ConnId, Vec<Output>) {
    scene.connect_host(host, direction, PeerHandshake::JsonTorrent { local: LOCAL })
}

fn sent(conn: ConnId, outputs: &[Output]) -> Vec<Json> {
    let messages = crate::scene::sent(conn, outputs).into_iter();
    let json = messages.map(|message| match message {
        AnyMessage::JsonTorrent(message) => message,
        other => panic!("{other:?}"),
    });
    json.collect()
}

#[test]
fn both_state_machines_answer_each_other() {
    let mut scene = with_pieces(Bitfield::new(PIECES));
    let (conn, outputs) = connect(&mut scene, Direction::Dialed, 1);
    assert_eq!(sent(conn, &outputs), [Json::Bitfield(Bytes::from_static(&[0; 4]))]);
    let outputs = scene.json(conn, Json::Bitfield(Bytes::from_static(&[1, 0, 1, 0])));
    assert_eq!(sent(conn, &outputs), [Json::Interested]);
    let outputs = scene.json(conn, Json::Unchoke);
    let [Json::Request(first)] = sent(conn, &outputs)[..] else { panic!("{outputs:?}") };
    let outputs = scene.piece(conn, first, StoreOutcome::Verified { digests: vec![] });
    let [Json::Request(second)] = sent(conn, &outputs)[..] else { panic!("{outputs:?}") };
    assert_eq!(first + second, 2, "one at a time, and only what it has");
    let outputs = scene.piece(conn, second, StoreOutcome::Verified { digests: vec![] });
    let said = sent(conn, &outputs);
    assert_eq!(said.last(), Some(&Json::NotInterested), "{said:?}");
    // In the other direction every Interested is answered, and nothing is sent before it.
    let outputs = scene.json(conn, Json::Interested);
    assert_eq!(sent(conn, &outputs), [Json::Unchoke]);
    assert_eq!(sent_blocks(&scene.json(conn, Json::Request(first))), 1);
    scene.json(conn, Json::NotInterested);
    let outputs = scene.json(conn, Json::Request(first));
    assert_eq!(
        disconnect_reason(conn, &outputs),
        Some(DisconnectReason::Misbehaved(Misbehavior::UnexpectedMessage(
            "Request while it is choked".into()
        )))
    );
}

#[test]
fn a_message_that_violates_the_protocol_ends_the_connection() {
    let whole = || Json::Bitfield(Bytes::from_static(&[1; 4]));
    let out_of_place =
        |what: &str| DisconnectReason::Misbehaved(Misbehavior::UnexpectedMessage(what.into()));
    for (messages, reason) in [
        (
            vec![Json::Bitfield(Bytes::from_static(&[1; 3]))],
            DisconnectReason::Misbehaved(Misbehavior::BitfieldMismatch),
        ),
        (
            vec![Json::Bitfield(Bytes::from_static(&[1; 5]))],
            DisconnectReason::Misbehaved(Misbehavior::BitfieldMismatch),
        ),
        (vec![whole(), whole()], DisconnectReason::Misbehaved(Misbehavior::SecondBitfield)),
        (vec![Json::Interested], out_of_place("Interested before its Bitfield")),
        (vec![Json::Have(0)], out_of_place("Have before its Bitfield")),
        (vec![whole(), Json::Request(0)], out_of_place("Request while it is choked")),
        (
            vec![whole(), Json::Interested, Json::Request(4)],
            DisconnectReason::Misbehaved(Misbehavior::PieceIndexOutOfRange),
        ),
        (
            vec![whole(), Json::Interested, Json::Request(0)],
            DisconnectReason::Misbehaved(Misbehavior::RequestOutOfRange),
        ),
        (
            vec![whole(), Json::Have(4)],
            DisconnectReason::Misbehaved(Misbehavior::PieceIndexOutOfRange),
        ),
        (vec![whole(), Json::ServerClose], DisconnectReason::PeerStopped),
    ] {
        let mut scene = with_pieces(Bitfield::new(PIECES));
        let (conn, _) = connect(&mut scene, Direction::Accepted, 2);
        let last = messages.iter().fold(Vec::new(), |_, message| scene.json(conn, message.clone()));
        assert_eq!(disconnect_reason(conn, &last), Some(reason), "{messages:?}");
        assert!(scene.json(conn, Json::Interested).is_empty(), "what still comes is passed over");
    }
}

#[test]
fn a_corrupt_piece_bans_its_source_and_is_requested_of_another() {
    let mut scene = with_pieces(Bitfield::new(PIECES));
    let (corrupter, _) = connect(&mut scene, Direction::Dialed, 1);
    scene.json(corrupter, Json::Bitfield(Bytes::from_static(&[1; 4])));
    let outputs = scene.json(corrupter, Json::Unchoke);
    let [Json::Request(piece)] = sent(corrupter, &outputs)[..] else { panic!("{outputs:?}") };
    let outputs = scene.piece(corrupter, piece, StoreOutcome::Corrupt { digests: vec![[0; 20]] });
    assert!(
        outputs.contains(&Output::Disconnect { conn: corrupter, reason: DisconnectReason::Banned })
    );
    let (honest, _) = connect(&mut scene, Direction::Dialed, 2);
    scene.json(honest, Json::Bitfield(Bytes::from_static(&[1; 4])));
    let mut outputs = scene.json(honest, Json::Unchoke);
    let mut asked = Vec::new();
    while let [Json::Request(piece), ..] = sent(honest, &outputs)[..] {
        asked.push(piece);
        outputs = scene.piece(honest, piece, StoreOutcome::Verified { digests: vec![] });
    }
    asked.sort_unstable();
    assert_eq!(asked, [0, 1, 2, 3]);
    assert!(outputs.contains(&Output::Event(Event::Complete)));
}

#[test]
fn a_peer_that_is_banned_on_two_connections_is_reported_once() {
    let mut scene = with_pieces(Bitfield::new(PIECES));
    let lanes = [1, 2].map(|_| {
        let (conn, _) = connect(&mut scene, Direction::Dialed, 1);
        scene.json(conn, Json::Bitfield(Bytes::from_static(&[1; 4])));
        let outputs = scene.json(conn, Json::Unchoke);
        let [Json::Request(piece)] = sent(conn, &outputs)[..] else { panic!("{outputs:?}") };
        (conn, piece)
    });
    let mut outputs = Vec::new();
    for (conn, piece) in lanes {
        outputs.extend(scene.piece(conn, piece, StoreOutcome::Corrupt { digests: vec![[0; 20]] }));
        assert!(outputs.contains(&Output::Disconnect { conn, reason: DisconnectReason::Banned }));
    }
    let is_told = |output: &&Output| matches!(output, Output::Event(Event::Banned { .. }));
    assert_eq!(outputs.iter().filter(is_told).count(), 1);
}

#[test]
fn an_idle_peer_is_disconnected() {
    let mut scene = with_pieces(Bitfield::full(PIECES));
    let (conn, _) = connect(&mut scene, Direction::Accepted, 2);
    scene.json(conn, Json::Bitfield(Bytes::from_static(&[0; 4])));
    let outputs = scene.wait(5_000);
    assert_eq!(disconnect_reason(conn, &outputs), None);
    let outputs = scene.wait(10_000);
    assert_eq!(disconnect_reason(conn, &outputs), Some(DisconnectReason::Idle));
}

#[test]
fn a_peer_that_cannot_be_decoded_is_disconnected_without_an_answer() {
    let malformed = DisconnectReason::Misbehaved(Misbehavior::MalformedMessage("x".into()));
    let mut scene = with_pieces(Bitfield::full(PIECES));
    let (conn, _) = connect(&mut scene, Direction::Accepted, 2);
    let outputs = scene.input(Input::ReadFailed { conn, reason: malformed.clone() });
    assert_eq!(disconnect_reason(conn, &outputs), Some(malformed.clone()));
    assert!(sent(conn, &outputs).is_empty() && reports_end(&outputs, &malformed), "{outputs:?}");
}

#[test]
fn a_piece_that_was_requested_before_a_choke_may_come_after_the_next_request() {
    let mut scene = with_pieces(Bitfield::new(PIECES));
    let [first, second] = [1, 2].map(|host| connect(&mut scene, Direction::Dialed, host).0);
    for conn in [first, second] {
        scene.json(conn, Json::Bitfield(Bytes::from_static(&[1, 1, 1, 0])));
    }
    let outputs = scene.json(first, Json::Unchoke);
    let [Json::Request(piece)] = sent(first, &outputs)[..] else { panic!("{outputs:?}") };
    let outputs = scene.piece(first, piece, StoreOutcome::Verified { digests: Vec::new() });
    let [Json::Request(piece)] = sent(first, &outputs)[..] else { panic!("{outputs:?}") };
    // The peer receives the request after it has choked and unchoked.
    scene.json(first, Json::Choke);
    let outputs = scene.json(second, Json::Unchoke);
    assert_eq!(sent(second, &outputs), [Json::Request(piece)]);
    let outputs = scene.json(first, Json::Unchoke);
    let [Json::Request(other)] = sent(first, &outputs)[..] else { panic!("{outputs:?}") };
    assert_ne!(piece, other);
    for answered in [piece, other] {
        let outputs = scene.piece(first, answered, StoreOutcome::Verified { digests: Vec::new() });
        assert_eq!(disconnect_reason(first, &outputs), None);
    }
    let outputs = scene.piece(first, piece, StoreOutcome::Verified { digests: Vec::new() });
    let reason = disconnect_reason(first, &outputs);
    assert_eq!(reason, Some(Misbehavior::UnsolicitedData.into()), "one answer for each");
}
