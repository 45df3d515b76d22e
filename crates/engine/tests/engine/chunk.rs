//! chunk: servers and clients against one engine, and the verification of a file by its MD5.

use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use sow_content::{Bitfield, Geometry, hash::hexadecimal};
use sow_engine::{
    ConnId, Content, Dialect, Direction, DisconnectReason, Event, Input, Integrity,
    Message as AnyMessage, Misbehavior, Output, PeerHandshake, StoreMode, StoreOutcome,
};
use sow_wire::{
    bittorrent::BlockRequest,
    chunk::{ErrorId, Message as Chunk, Spelling},
};

use crate::scene::{Scene, disconnect_reason, sent_blocks};

pub(crate) const PIECE: u32 = 1000;
pub(crate) const PIECES: u32 = 4;
pub(crate) const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9));
pub(crate) const MD5: [u8; 16] = [7; 16];

const STORED: StoreOutcome = StoreOutcome::WrittenUnverified { differed: false };

/// Content in pieces of 1000 bytes of which `have` is here.
pub(crate) fn content(have: Bitfield, integrity: Integrity) -> Content {
    Content {
        geometry: Geometry::new(u64::from(PIECE * PIECES), u64::from(PIECE)).unwrap(),
        md5: have.is_full().then_some(MD5),
        have,
        metadata: Bytes::new(),
        private: false,
        integrity,
    }
}

impl Scene {
    /// A server.
    pub(crate) fn server() -> Self {
        let content = content(Bitfield::full(PIECES), Integrity::FileDigest);
        Self::new(Some(content), |config| config.chunk.server = true)
    }

    /// A client that has nothing.
    pub(crate) fn client() -> Self {
        let content = content(Bitfield::new(PIECES), Integrity::FileDigest);
        Self::new(Some(content), |_| {})
    }

    pub(crate) fn connect_chunk(
        &mut self,
        direction: Direction,
        host: u8,
    ) -> (ConnId, Vec<Output>) {
        self.connect_host(host, direction, PeerHandshake::Chunk { local: LOCAL })
    }

    pub(crate) fn chunk(&mut self, conn: ConnId, message: Chunk) -> Vec<Output> {
        self.message(conn, AnyMessage::Chunk(message))
    }

    /// A whole piece arrives, and is stored with an outcome.
    pub(crate) fn piece(&mut self, conn: ConnId, piece: u32, outcome: StoreOutcome) -> Vec<Output> {
        let (_, mut outputs) = self.deliver(conn, BlockRequest { piece, offset: 0, length: PIECE });
        if outputs.iter().any(|output| matches!(output, Output::Store { .. })) {
            outputs.extend(self.input(Input::Stored { piece, outcome }));
        }
        outputs
    }
}

pub(crate) fn sent(conn: ConnId, outputs: &[Output]) -> Vec<Chunk> {
    let messages = crate::scene::sent(conn, outputs).into_iter();
    let chunk = messages.map(|message| match message {
        AnyMessage::Chunk(message) => message,
        other => panic!("{other:?}"),
    });
    chunk.collect()
}

pub(crate) fn error(id: ErrorId) -> Chunk {
    Chunk::Error { id, text: String::new() }
}

/// Whether the end of a connection is reported with its reason.
pub(crate) fn reports_end(outputs: &[Output], reason: &DisconnectReason) -> bool {
    outputs.iter().any(|output| {
        matches!(output, Output::Event(Event::PeerDisconnected { reason: Some(why), .. })
            if why == reason)
    })
}

#[test]
fn a_server_answers_every_question() {
    let mut scene = Scene::server();
    let (first, _) = scene.connect_chunk(Direction::Accepted, 2);
    let hello = |peers| Chunk::ServerHello { file_size: 4000, chunk_size: 1000, peers };
    let outputs = scene.chunk(first, Chunk::Hello { port: 51000 });
    assert_eq!(sent(first, &outputs), [hello(vec![])]);
    let (second, _) = scene.connect_chunk(Direction::Accepted, 3);
    let outputs = scene.chunk(second, Chunk::Hello { port: 51001 });
    assert_eq!(sent(second, &outputs), [hello(vec!["10.0.0.2:51000".parse().unwrap()])]);
    // A second answer lists the clients of now, without the one that asks.
    let outputs = scene.chunk(first, Chunk::Hello { port: 51000 });
    assert_eq!(sent(first, &outputs), [hello(vec!["10.0.0.3:51001".parse().unwrap()])]);
    assert_eq!(sent_blocks(&scene.chunk(first, Chunk::Request(3))), 1);
    let outputs = scene.chunk(first, Chunk::ListRequest);
    assert_eq!(sent(first, &outputs), [Chunk::List(vec![0, 1, 2, 3])]);
    let outputs = scene.chunk(first, Chunk::Check([9; 16]));
    let text = hexadecimal(&MD5);
    assert_eq!(sent(first, &outputs), [Chunk::Error { id: ErrorId::ChecksumNotFit, text }]);
    let outputs = scene.chunk(first, Chunk::Check(MD5));
    assert_eq!(sent(first, &outputs), [Chunk::Check(MD5)]);
    assert!(
        outputs.iter().any(|output| matches!(output, Output::Event(Event::PeerComplete { .. })))
    );
}

#[test]
fn wrong_questions_are_answered_with_errors_and_too_many_end_the_connection() {
    let mut scene = Scene::server();
    let (conn, _) = scene.connect_chunk(Direction::Accepted, 2);
    let outputs = scene.chunk(conn, Chunk::Request(0));
    assert_eq!(sent(conn, &outputs), [error(ErrorId::UnknownCommand)], "before its CHEL");
    scene.chunk(conn, Chunk::Hello { port: 51000 });
    for id in [4, -1, i64::MAX, i64::MIN, 1 << 32] {
        let outputs = scene.chunk(conn, Chunk::Request(id));
        assert_eq!(sent(conn, &outputs), [error(ErrorId::OffsetOverflow)], "{id}");
        assert_eq!(disconnect_reason(conn, &outputs), None);
    }
    let mut repeat = || {
        let outputs = scene.chunk(conn, Chunk::Request(99));
        disconnect_reason(conn, &outputs)
    };
    let reasons: Vec<_> = (0..20).filter_map(|_| repeat()).collect();
    assert_eq!(reasons, [DisconnectReason::Misbehaved(Misbehavior::TooManyErrors)]);
    let (conn, _) = scene.connect_chunk(Direction::Accepted, 3);
    let outputs = scene.chunk(conn, Chunk::Unknown { head: "GIMME".into() });
    assert_eq!(sent(conn, &outputs), [error(ErrorId::UnknownCommand)]);
    assert_eq!(
        disconnect_reason(conn, &outputs),
        Some(DisconnectReason::Misbehaved(Misbehavior::UnexpectedMessage("GIMME".into())))
    );
}

#[test]
fn a_missing_chunk_is_refused_and_an_original_program_is_disconnected() {
    for (spelling, drops) in [(Spelling::Documented, false), (Spelling::Original, true)] {
        let geometry = Geometry::new(4000, 1000).unwrap();
        let have = Bitfield::new(PIECES);
        let content = Content {
            geometry,
            have,
            metadata: Bytes::new(),
            private: false,
            integrity: Integrity::FileDigest,
            md5: None,
        };
        let mut scene = Scene::new(Some(content), |config| config.chunk.spelling = spelling);
        let (conn, _) = scene.connect_chunk(Direction::Accepted, 2);
        let outputs = scene.chunk(conn, Chunk::Hello { port: 51000 });
        assert_eq!(sent(conn, &outputs), [Chunk::PeerHello]);
        let back =
            Output::Dial { addr: "10.0.0.2:51000".parse().unwrap(), dialect: Dialect::Chunk };
        assert!(outputs.contains(&back), "peers are met from both sides");
        let outputs = scene.chunk(conn, Chunk::Request(1));
        if drops {
            assert_eq!(
                disconnect_reason(conn, &outputs),
                Some(DisconnectReason::PieceNotAvailable)
            );
        } else {
            assert_eq!(sent(conn, &outputs), [error(ErrorId::ChunkUndownloaded)]);
        }
    }
}

#[test]
fn a_list_without_news_is_held_back_and_one_with_news_is_not() {
    let mut scene = Scene::client();
    let (server, outputs) = scene.connect_chunk(Direction::Dialed, 1);
    assert_eq!(sent(server, &outputs), [Chunk::Hello { port: 51000 }]);
    let (conn, _) = scene.connect_chunk(Direction::Accepted, 2);
    scene.chunk(conn, Chunk::Hello { port: 51000 });
    let outputs = scene.chunk(conn, Chunk::ListRequest);
    assert_eq!(sent(conn, &outputs), [Chunk::List(vec![])], "the first one is answered at once");
    assert_eq!(sent(conn, &scene.chunk(conn, Chunk::ListRequest)), []);
    assert_eq!(sent(conn, &scene.wait(500)), []);
    let outputs = scene
        .chunk(server, Chunk::ServerHello { file_size: 4000, chunk_size: 1000, peers: vec![] });
    let [Chunk::Request(id)] = sent(server, &outputs)[..] else { panic!("{outputs:?}") };
    let outputs = scene.piece(server, id as u32, STORED);
    assert_eq!(sent(conn, &outputs), [Chunk::List(vec![id as u32])]);
    scene.chunk(conn, Chunk::ListRequest);
    assert_eq!(sent(conn, &scene.wait(1500)), [Chunk::List(vec![id as u32])], "a second is enough");
}

/// A client that has fetched everything, one chunk of it from a peer: the scene, the server, the
/// peer and the chunk.
fn gathered() -> (Scene, ConnId, ConnId, u32) {
    let mut scene = Scene::client();
    let (peer, _) = scene.connect_chunk(Direction::Dialed, 3);
    scene.chunk(peer, Chunk::PeerHello);
    let outputs = scene.chunk(peer, Chunk::List(vec![2]));
    assert_eq!(sent(peer, &outputs), [Chunk::Request(2)]);
    scene.piece(peer, 2, STORED);
    let (server, _) = scene.connect_chunk(Direction::Dialed, 1);
    let mut outputs = scene
        .chunk(server, Chunk::ServerHello { file_size: 4000, chunk_size: 1000, peers: vec![] });
    for left in (0..3).rev() {
        if sent(server, &outputs).is_empty() {
            // What the peer is to fetch is left to it for a while.
            outputs = scene.wait(1000);
        }
        let [Chunk::Request(id)] = sent(server, &outputs)[..] else { panic!("{outputs:?}") };
        outputs = scene.piece(server, id as u32, STORED);
        assert_eq!(outputs.contains(&Output::DigestFile), left == 0);
    }
    (scene, server, peer, 2)
}

#[test]
fn only_the_right_md5_completes() {
    let (mut scene, server, _, _) = gathered();
    let outputs = scene.input(Input::FileDigest { md5: MD5 });
    assert_eq!(sent(server, &outputs), [Chunk::Check(MD5)]);
    assert!(!outputs.contains(&Output::Event(Event::Complete)));
    let outputs = scene.chunk(server, Chunk::Check(MD5));
    assert!(outputs.contains(&Output::Event(Event::Complete)));
}

#[test]
fn a_wrong_chunk_is_fetched_again_from_the_server_and_its_source_is_banned() {
    let (mut scene, server, peer, bad) = gathered();
    scene.input(Input::FileDigest { md5: [1; 16] });
    let text = hexadecimal(&MD5);
    let outputs = scene.chunk(server, Chunk::Error { id: ErrorId::ChecksumNotFit, text });
    assert_eq!(
        sent(server, &outputs),
        [Chunk::Request(i64::from(bad))],
        "what a peer sent is suspect"
    );
    let outputs = scene.piece(server, bad, StoreOutcome::WrittenUnverified { differed: true });
    assert!(outputs.contains(&Output::Store {
        piece: bad,
        mode: StoreMode::WriteIfDifferent,
        length: PIECE
    }));
    assert!(outputs.contains(&Output::Disconnect { conn: peer, reason: DisconnectReason::Banned }));
    assert!(outputs.contains(&Output::DigestFile));
    // The server has named its MD5, so that it need not be asked again.
    let outputs = scene.input(Input::FileDigest { md5: MD5 });
    assert!(outputs.contains(&Output::Event(Event::Complete)));
}

#[test]
fn a_file_that_is_never_right_is_given_up_after_all_of_it_was_fetched_twice() {
    let (mut scene, server, _, _) = gathered();
    let mut outputs = scene.input(Input::FileDigest { md5: [1; 16] });
    for _ in 0..20 {
        if outputs.contains(&Output::Event(Event::FileMismatch)) {
            return;
        }
        outputs = match sent(server, &outputs)[..] {
            [Chunk::Check(_)] => scene.chunk(server, error(ErrorId::ChecksumNotFit)),
            [Chunk::Request(id)] => {
                scene.piece(server, id as u32, StoreOutcome::WrittenUnverified { differed: false })
            }
            _ if outputs.contains(&Output::DigestFile) => {
                scene.input(Input::FileDigest { md5: [1; 16] })
            }
            _ => panic!("{outputs:?}"),
        };
    }
    panic!("the MD5 is taken without end");
}

#[test]
fn a_server_that_does_not_check_is_replaced_by_another() {
    let (mut scene, server, _, _) = gathered();
    scene.input(Input::FileDigest { md5: MD5 });
    let outputs = scene.chunk(server, error(ErrorId::Other));
    assert_eq!(
        disconnect_reason(server, &outputs),
        Some(DisconnectReason::Misbehaved(Misbehavior::RefusedAdvertisedPiece))
    );
    let (again, _) = scene.connect_chunk(Direction::Dialed, 1);
    let hello = Chunk::ServerHello { file_size: 4000, chunk_size: 1000, peers: vec![] };
    let outputs = scene.chunk(again, hello);
    assert_eq!(sent(again, &outputs), [Chunk::Check(MD5)]);
}

#[test]
fn chunks_that_wait_for_their_md5_do_not_keep_a_hole_from_being_filled() {
    const MANY: u32 = 64;
    let geometry = Geometry::new(u64::from(MANY) << 20, 1 << 20).unwrap();
    let mut have = Bitfield::full(MANY);
    have.unset(3);
    let content = Content {
        geometry,
        have,
        metadata: Bytes::new(),
        private: false,
        integrity: Integrity::FileDigest,
        md5: None,
    };
    let mut scene = Scene::new(Some(content), |_| {});
    let (server, _) = scene.connect_chunk(Direction::Dialed, 1);
    let hello =
        Chunk::ServerHello { file_size: u64::from(MANY) << 20, chunk_size: 1 << 20, peers: vec![] };
    assert_eq!(sent(server, &scene.chunk(server, hello)), [Chunk::Request(3)]);
}
