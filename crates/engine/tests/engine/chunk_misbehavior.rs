//! chunk: every way in which servers and clients can misbehave has its consequence.

use std::net::SocketAddr;

use sow_content::hash::hexadecimal;
use sow_engine::{
    Dialect, Direction, DisconnectReason, Event, Input, Misbehavior, Output, PeerSource,
};
use sow_wire::{
    bittorrent::BlockRequest,
    chunk::{ErrorId, Message as Chunk},
};

use crate::{
    chunk::{MD5, PIECE, PIECES, error, reports_end, sent},
    scene::{Scene, disconnect_reason},
};

#[test]
fn a_server_with_another_or_an_impossible_file_is_disconnected() {
    let mut scene = Scene::client();
    for (file_size, chunk_size, reason) in [
        (4001, 1000, DisconnectReason::Misbehaved(Misbehavior::DifferentFile)),
        (4000, 999, DisconnectReason::Misbehaved(Misbehavior::DifferentFile)),
        (u64::MAX / 2, 1000, DisconnectReason::Misbehaved(Misbehavior::InvalidGeometry)),
        (4000, 1 << 31, DisconnectReason::Misbehaved(Misbehavior::InvalidGeometry)),
    ] {
        let (server, _) = scene.connect_chunk(Direction::Dialed, 1);
        let outputs =
            scene.chunk(server, Chunk::ServerHello { file_size, chunk_size, peers: vec![] });
        assert_eq!(disconnect_reason(server, &outputs), Some(reason), "{file_size} {chunk_size}");
    }
}

#[test]
fn a_peer_is_no_server_by_saying_so() {
    let mut scene = Scene::client();
    let (peer, _) = scene.connect_chunk(Direction::Dialed, 2);
    let hello = Chunk::ServerHello { file_size: 4000, chunk_size: 1000, peers: vec![] };
    let out_of_place = DisconnectReason::Misbehaved(Misbehavior::UnexpectedMessage(
        "SHEL from one that is no server".into(),
    ));
    let outputs = scene.chunk(peer, hello);
    assert_eq!(disconnect_reason(peer, &outputs), Some(out_of_place));
}

#[test]
fn unexpected_answers_and_data_without_a_request_end_the_connection() {
    let hello = || Chunk::ServerHello { file_size: 4000, chunk_size: 1000, peers: vec![] };
    let check = format!("CHECK {}", hexadecimal(&MD5));
    for (wrong, named) in [
        (Chunk::PeerHello, "PHEL"),
        (Chunk::List(vec![1]), "CLRSP"),
        (Chunk::Check(MD5), &*check),
        (hello(), "SHEL 4000 1000"),
    ] {
        let mut scene = Scene::client();
        let (server, _) = scene.connect_chunk(Direction::Dialed, 1);
        scene.chunk(server, hello());
        let outputs = scene.chunk(server, wrong.clone());
        assert_eq!(
            disconnect_reason(server, &outputs),
            Some(DisconnectReason::Misbehaved(Misbehavior::UnexpectedMessage(named.into()))),
            "{wrong:?}"
        );
    }
    for (off, length) in [(1, PIECE), (0, PIECE - 1)] {
        let mut scene = Scene::client();
        let (server, _) = scene.connect_chunk(Direction::Dialed, 1);
        let outputs = scene.chunk(server, hello());
        let [Chunk::Request(id)] = sent(server, &outputs)[..] else { panic!("{outputs:?}") };
        let piece = (id as u32 + off) % PIECES;
        let request = BlockRequest { piece, offset: 0, length };
        let (kept, outputs) = scene.deliver(server, request);
        let unsolicited = DisconnectReason::Misbehaved(Misbehavior::UnsolicitedData);
        assert_eq!((kept, disconnect_reason(server, &outputs)), (None, Some(unsolicited)));
    }
}

#[test]
fn a_server_that_sends_less_than_was_requested_is_given_up_after_six_times() {
    let mut scene = Scene::client();
    let addr = "10.0.0.1:52000".parse().unwrap();
    for fault in 1..=6 {
        let (server, _) = scene.connect_chunk(Direction::Dialed, 1);
        let hello = Chunk::ServerHello { file_size: 4000, chunk_size: 1000, peers: vec![] };
        let outputs = scene.chunk(server, hello);
        let [Chunk::Request(id)] = sent(server, &outputs)[..] else { panic!("{outputs:?}") };
        let request = BlockRequest { piece: id as u32, offset: 0, length: PIECE - 1 };
        assert_eq!(scene.engine.block_arrived(scene.now, server, request), None);
        let given_up =
            Output::Event(Event::PeerGivenUp { addr, misbehavior: Misbehavior::UnsolicitedData });
        assert_eq!(scene.outputs().contains(&given_up), fault == 6, "{fault}");
    }
    let dials = |output: &Output| matches!(output, Output::Dial { .. });
    assert!(!scene.wait(60_000).iter().any(dials), "it is not dialed any more");
}

#[test]
fn our_own_address_is_dialed_once() {
    let mut scene = Scene::client();
    let addr: SocketAddr = "10.0.0.9:51000".parse().unwrap();
    let named = || Input::PeersFound {
        source: PeerSource::Tracker,
        dialect: Dialect::Chunk,
        addrs: vec![addr],
    };
    assert!(scene.input(named()).contains(&Output::Dial { addr, dialect: Dialect::Chunk }));
    scene.input(Input::DialedOurselves { addr });
    assert!(!scene.input(named()).iter().any(|output| matches!(output, Output::Dial { .. })));
    assert!(!scene.wait(60_000).iter().any(|output| matches!(output, Output::Dial { .. })));
}

#[test]
fn refusals_are_reported_up_to_a_limit() {
    let mut scene = Scene::server();
    let (conn, _) = scene.connect_chunk(Direction::Accepted, 2);
    scene.chunk(conn, Chunk::Hello { port: 51000 });
    let told = |outputs: Vec<Output>| {
        outputs.into_iter().find_map(|output| match output {
            Output::Event(Event::RequestRefused { addr, asked, answer }) => {
                assert_eq!(addr.ip().to_string(), "10.0.0.2");
                Some((asked, answer))
            }
            _ => None,
        })
    };
    let overflow = told(scene.chunk(conn, Chunk::Request(-4)));
    assert_eq!(overflow, Some(("DREQ -4".to_owned(), "OFFSET_OVERFLOW")));
    let out_of_place = told(scene.chunk(conn, Chunk::PeerHello));
    assert_eq!(out_of_place, Some(("PHEL".to_owned(), "UNKNOWN_COMMAND")));
    let other = Chunk::Check([0; 16]);
    let asked = other.head();
    assert_eq!(told(scene.chunk(conn, other.clone())), Some((asked, "CHECKSUM_NOT_FIT")));
    let more = (0..100).filter_map(|_| told(scene.chunk(conn, other.clone()))).count();
    assert!((1..100).contains(&more), "{more}");
}

#[test]
fn what_connects_to_a_server_and_is_no_client_is_not_reported() {
    let mut scene = Scene::server();
    let (conn, outputs) = scene.connect_chunk(Direction::Accepted, 2);
    let outputs = [outputs, scene.chunk(conn, Chunk::Request(0))].concat();
    assert_eq!(disconnect_reason(conn, &outputs), None);
    assert!(scene.engine.status(scene.now).peers.is_empty());
    let outputs = scene.chunk(conn, Chunk::Hello { port: 51000 });
    assert!(
        outputs.iter().any(|output| matches!(output, Output::Event(Event::PeerConnected { .. })))
    );
    let peers = scene.engine.status(scene.now).peers;
    assert_eq!(peers.iter().map(|peer| peer.conn).collect::<Vec<_>>(), [conn]);
}

#[test]
fn a_silent_client_is_disconnected() {
    let mut scene = Scene::server();
    let (conn, _) = scene.connect_chunk(Direction::Accepted, 2);
    let outputs = scene.wait(200_000);
    assert_eq!(disconnect_reason(conn, &outputs), Some(DisconnectReason::PeerTimeout));
}

#[test]
fn a_client_that_cannot_be_decoded_is_answered_with_an_error() {
    let malformed = || {
        let text = "a head of more than 256 bytes";
        DisconnectReason::Misbehaved(Misbehavior::MalformedMessage(text.into()))
    };
    let mut scene = Scene::server();
    for (reason, answer) in [
        (malformed(), vec![error(ErrorId::UnknownCommand)]),
        (DisconnectReason::MessageTimeout, vec![]),
    ] {
        let (conn, _) = scene.connect_chunk(Direction::Accepted, 2);
        let outputs = scene.input(Input::ReadFailed { conn, reason: reason.clone() });
        let closed = disconnect_reason(conn, &outputs);
        assert_eq!((sent(conn, &outputs), closed), (answer, Some(reason.clone())));
        assert!(reports_end(&outputs, &reason), "{outputs:?}");
    }
    assert!(malformed().is_answered() && !DisconnectReason::MessageTimeout.is_answered());
}
