//! The content is no longer right at an origin: it tells every peer once, and a receiver believes
//! the reason only of the origin that the user named.

use sow_content::{Bitfield, InfoHash};
use sow_engine::{
    ChunkConfig, ConnId, Direction, DisconnectReason, Event, Input, Integrity, Message, Output,
    PeerHandshake, StoreOutcome, Time,
};
use sow_wire::{
    bittorrent::{self, BlockRequest, ExtensionHandshake, Handshake, PeerId, Withdrawal},
    chunk::{ErrorId, Message as Chunk, Spelling},
};

use crate::{
    bittorrent::extended,
    chunk::{self, content},
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

/// A receiver whose origin sends a corrupt piece. What follows from it.
fn corrupt_origin(scene: &mut Scene, extended_with: Option<u8>) -> (ConnId, Vec<Output>) {
    let (conn, _) = scene.connect_host(1, Direction::Dialed, bittorrent(1, true));
    scene.message(conn, extended(0, handshake_with(extended_with)));
    scene.message(conn, bittorrent::Message::HaveAll);
    let outputs = scene.message(conn, bittorrent::Message::Unchoke);
    let requests: Vec<BlockRequest> =
        sent(conn, &outputs).into_iter().filter_map(request).collect();
    let piece = requests.first().expect("a request").piece;
    for request in requests.into_iter().filter(|request| request.piece == piece) {
        scene.deliver(conn, request);
    }
    let digests = vec![[1; 20]; 2];
    let outputs = scene.input(Input::Stored { piece, outcome: StoreOutcome::Corrupt { digests } });
    let is_ban = |output: &Output| matches!(output, Output::Event(Event::Banned { .. }));
    assert!(outputs.iter().any(is_ban), "{outputs:?}");
    (conn, outputs)
}

fn request(message: Message) -> Option<BlockRequest> {
    match message {
        Message::BitTorrent(bittorrent::Message::Request(request)) => Some(request),
        _ => None,
    }
}

#[test]
fn an_origin_that_sent_a_corrupt_piece_is_heard_out() {
    let mut scene = Scene::with_pieces(Bitfield::new(PIECES), |_| {});
    let (conn, outputs) = corrupt_origin(&mut scene, Some(7));
    assert_eq!(disconnect_reason(conn, &outputs), None);
    assert_eq!(scene.engine.status(scene.now).unavailable, PIECES, "its pieces do not count");
    // Nothing but a withdrawal has any effect.
    let mut outputs = scene.deliver(conn, BlockRequest { piece: 0, offset: 0, length: 1 << 14 }).1;
    for message in [
        bittorrent::Message::Choke,
        bittorrent::Message::Unchoke,
        bittorrent::Message::Have(3),
        bittorrent::Message::Interested,
        bittorrent::Message::Request(BlockRequest { piece: 0, offset: 0, length: 1 << 14 }),
        bittorrent::Message::HaveAll,
        extended(2, b"garbage".to_vec()),
    ] {
        outputs.extend(scene.message(conn, message));
    }
    outputs.extend(scene.wait(5000));
    assert_eq!(sent(conn, &outputs), []);
    assert_eq!(disconnect_reason(conn, &outputs), None);
    let outputs = scene.message(conn, extended(3, Withdrawal::new("it was cut").encode()));
    let is_told = |output: &Output| {
        matches!(output, Output::Event(Event::OriginWithdrew { reason, .. })
            if reason == "it was cut")
    };
    assert!(outputs.iter().any(is_told), "{outputs:?}");
    assert_eq!(disconnect_reason(conn, &outputs), Some(DisconnectReason::PeerWithdrew));
}

#[test]
fn an_origin_without_an_explanation_is_disconnected() {
    let mut scene = Scene::with_pieces(Bitfield::new(PIECES), |_| {});
    let (conn, _) = corrupt_origin(&mut scene, Some(7));
    let outputs = scene.wait(14_000);
    assert_eq!(disconnect_reason(conn, &outputs), None);
    let outputs = scene.wait(2000);
    assert_eq!(disconnect_reason(conn, &outputs), Some(DisconnectReason::Banned));
    let (again, outputs) = scene.connect_host(1, Direction::Dialed, bittorrent(1, true));
    assert_eq!(disconnect_reason(again, &outputs), Some(DisconnectReason::Banned));
    let mut scene = Scene::with_pieces(Bitfield::new(PIECES), |_| {});
    let (conn, outputs) = corrupt_origin(&mut scene, None);
    let reason = disconnect_reason(conn, &outputs);
    assert_eq!(reason, Some(DisconnectReason::Banned), "it has no message for an explanation");
}

fn chunk_server(spelling: Spelling) -> Scene {
    let content = content(Bitfield::full(chunk::PIECES), Integrity::FileDigest);
    Scene::new(Some(content), |config| {
        config.chunk = ChunkConfig { server: true, spelling };
    })
}

#[test]
fn chunk_clients_are_told_and_later_ones_too() {
    let lost = Chunk::Error { id: ErrorId::ChunkUndownloaded, text: "it was cut".to_owned() };
    for (spelling, answers) in [(Spelling::Documented, vec![lost]), (Spelling::Original, vec![])] {
        let mut scene = chunk_server(spelling);
        let (early, _) = scene.connect_chunk(Direction::Accepted, 2);
        scene.chunk(early, Chunk::Hello { port: 7 });
        let outputs = scene.input(Input::Withdraw { reason: "it was cut".into() });
        assert_eq!(chunk::sent(early, &outputs), answers);
        let withdrawn = Some(DisconnectReason::ContentWithdrawn);
        assert_eq!(disconnect_reason(early, &outputs), withdrawn);
        let (late, outputs) = scene.connect_chunk(Direction::Accepted, 3);
        assert_eq!(disconnect_reason(late, &outputs), None, "it has asked nothing yet");
        let outputs = scene.chunk(late, Chunk::Hello { port: 8 });
        assert_eq!(chunk::sent(late, &outputs), answers);
        assert_eq!(disconnect_reason(late, &outputs), withdrawn);
    }
}

#[test]
fn a_chunk_client_believes_the_server_that_the_user_named() {
    for (host, is_believed) in [(1, true), (2, false)] {
        let mut scene = Scene::client();
        let (conn, _) = scene.connect_chunk(Direction::Dialed, host);
        let text = "it was cut".to_owned();
        let error = Chunk::Error { id: ErrorId::ChunkUndownloaded, text };
        let outputs = scene.chunk(conn, error);
        let told = |output: &Output| matches!(output, Output::Event(Event::OriginWithdrew { .. }));
        assert_eq!(outputs.iter().any(told), is_believed, "{outputs:?}");
        assert_eq!(disconnect_reason(conn, &outputs), Some(DisconnectReason::PeerWithdrew));
    }
}
