//! The two documents' peer protocols against one engine: who says what when, what strangers can do
//! wrong, and what becomes of it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::Bytes;
use sow_content::{Bitfield, Geometry, InfoHash, hash::hexadecimal};
use sow_engine::{
    Config, ConnId, Content, Dialect, Direction, DisconnectReason, Engine, Event, Input, Integrity,
    Message, Misbehavior, Output, PeerHandshake, PeerSource, StoreMode, StoreOutcome, Time,
};
use sow_wire::{
    bittorrent::{BlockRequest, PeerId},
    chunk::{ErrorId, Message as Chunk, Spelling},
    json_torrent::Message as Json,
};

const PIECE: u32 = 1000;
const PIECES: u32 = 4;
const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9));
const MD5: [u8; 16] = [7; 16];

struct Scene {
    engine: Engine,
    now: Time,
    next: u64,
}

impl Scene {
    fn new(server: bool, spelling: Spelling, content: Option<Content>) -> Self {
        let mut config = Config::new(PeerId([1; 20]), 51000, 5);
        config.chunk.server = server;
        config.chunk.spelling = spelling;
        let mut engine = Engine::new(config, InfoHash([2; 20]), content, Time(0));
        while engine.poll().is_some() {}
        Self { engine, now: Time(0), next: 0 }
    }

    /// Somebody who has everything, or nothing.
    fn with(have: Bitfield, proof: Integrity, server: bool) -> Self {
        let geometry = Geometry::new(u64::from(PIECE * PIECES), u64::from(PIECE)).unwrap();
        let md5 = have.is_full().then_some(MD5);
        let content =
            Content { geometry, have, metadata: Bytes::new(), private: false, proof, md5 };
        Self::new(server, Spelling::Documented, Some(content))
    }

    fn input(&mut self, input: Input) -> Vec<Output> {
        self.now = Time(self.now.0 + 1000);
        self.engine.handle(self.now, input);
        self.outputs()
    }

    fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.engine.poll()).collect()
    }

    fn wait(&mut self, ms: u64) -> Vec<Output> {
        let end = self.now.0 + ms * 1000;
        let mut all = Vec::new();
        while self.now.0 < end {
            self.now = Time(self.now.0 + 50_000);
            self.engine.handle(self.now, Input::Tick);
            all.extend(self.outputs());
        }
        all
    }

    fn connect(
        &mut self,
        dialect: Dialect,
        direction: Direction,
        host: u8,
    ) -> (ConnId, Vec<Output>) {
        self.next += 1;
        let conn = ConnId(self.next);
        let port = if direction == Direction::Dialed { 52000 } else { 40000 + self.next as u16 };
        let addr = SocketAddr::from(([10, 0, 0, host], port));
        if direction == Direction::Dialed {
            // Host 1 is the one that the user named.
            let source = if host == 1 { PeerSource::Named } else { PeerSource::Tracker };
            let found = Input::PeersFound { source, dialect, addrs: vec![addr] };
            self.input(found);
        }
        let introduction = match dialect {
            Dialect::Chunk => PeerHandshake::Chunk { local: LOCAL },
            Dialect::JsonTorrent => PeerHandshake::JsonTorrent { local: LOCAL },
            Dialect::BitTorrent => unreachable!(),
        };
        let outputs = self.input(Input::Connected { conn, addr, direction, introduction });
        (conn, outputs)
    }

    fn chunk(&mut self, conn: ConnId, message: Chunk) -> Vec<Output> {
        self.input(Input::Message { conn, message: Message::Chunk(message) })
    }

    fn json(&mut self, conn: ConnId, message: Json) -> Vec<Output> {
        self.input(Input::Message { conn, message: Message::JsonTorrent(message) })
    }

    /// A whole piece comes, and is stored as `verdict` says.
    fn piece(&mut self, conn: ConnId, piece: u32, verdict: StoreOutcome) -> Vec<Output> {
        let request = BlockRequest { piece, offset: 0, length: PIECE };
        self.now = Time(self.now.0 + 1000);
        self.engine.block_arrived(self.now, conn, request);
        let mut outputs = self.outputs();
        if outputs.iter().any(|output| matches!(output, Output::Store { .. })) {
            outputs.extend(self.input(Input::Stored { piece, verdict }));
        }
        outputs
    }
}

fn said_chunk(conn: ConnId, outputs: &[Output]) -> Vec<Chunk> {
    let said = outputs.iter().filter_map(|output| match output {
        Output::Send { conn: to, message: Message::Chunk(message) } if *to == conn => {
            Some(message.clone())
        }
        _ => None,
    });
    said.collect()
}

fn said_json(conn: ConnId, outputs: &[Output]) -> Vec<Json> {
    let said = outputs.iter().filter_map(|output| match output {
        Output::Send { conn: to, message: Message::JsonTorrent(message) } if *to == conn => {
            Some(message.clone())
        }
        _ => None,
    });
    said.collect()
}

fn dropped(outputs: &[Output]) -> Option<DisconnectReason> {
    outputs.iter().find_map(|output| match output {
        Output::Disconnect { reason, .. } => Some(reason.clone()),
        _ => None,
    })
}

fn sends_blocks(outputs: &[Output]) -> usize {
    outputs.iter().filter(|output| matches!(output, Output::SendBlock { .. })).count()
}

fn error(id: ErrorId) -> Chunk {
    Chunk::Error { id, text: String::new() }
}

const KEPT: StoreOutcome = StoreOutcome::WrittenUnverified { differed: false };

#[test]
fn a_server_answers_every_question() {
    let mut scene = Scene::with(Bitfield::full(PIECES), Integrity::FileDigest, true);
    let (first, _) = scene.connect(Dialect::Chunk, Direction::Accepted, 2);
    let hello = |peers| Chunk::ServerHello { file_size: 4000, chunk_size: 1000, peers };
    let outputs = scene.chunk(first, Chunk::Hello { port: 51000 });
    assert_eq!(said_chunk(first, &outputs), [hello(vec![])]);
    let (second, _) = scene.connect(Dialect::Chunk, Direction::Accepted, 3);
    let outputs = scene.chunk(second, Chunk::Hello { port: 51001 });
    assert_eq!(said_chunk(second, &outputs), [hello(vec!["10.0.0.2:51000".parse().unwrap()])]);
    // Asked again, the list is as it is now, without the one who asks.
    let outputs = scene.chunk(first, Chunk::Hello { port: 51000 });
    assert_eq!(said_chunk(first, &outputs), [hello(vec!["10.0.0.3:51001".parse().unwrap()])]);
    assert_eq!(sends_blocks(&scene.chunk(first, Chunk::Request(3))), 1);
    let outputs = scene.chunk(first, Chunk::ListRequest);
    assert_eq!(said_chunk(first, &outputs), [Chunk::List(vec![0, 1, 2, 3])]);
    let outputs = scene.chunk(first, Chunk::Check([9; 16]));
    let text = hexadecimal(&MD5);
    assert_eq!(said_chunk(first, &outputs), [Chunk::Error { id: ErrorId::ChecksumNotFit, text }]);
    let outputs = scene.chunk(first, Chunk::Check(MD5));
    assert_eq!(said_chunk(first, &outputs), [Chunk::Check(MD5)]);
    assert!(
        outputs.iter().any(|output| matches!(output, Output::Event(Event::PeerComplete { .. })))
    );
}

#[test]
fn wrong_questions_get_the_document_s_errors_and_many_of_them_the_door() {
    let mut scene = Scene::with(Bitfield::full(PIECES), Integrity::FileDigest, true);
    let (conn, _) = scene.connect(Dialect::Chunk, Direction::Accepted, 2);
    let outputs = scene.chunk(conn, Chunk::Request(0));
    assert_eq!(said_chunk(conn, &outputs), [error(ErrorId::UnknownCommand)], "before its CHEL");
    scene.chunk(conn, Chunk::Hello { port: 51000 });
    for id in [4, -1, i64::MAX, i64::MIN, 1 << 32] {
        let outputs = scene.chunk(conn, Chunk::Request(id));
        assert_eq!(said_chunk(conn, &outputs), [error(ErrorId::OffsetOverflow)], "{id}");
        assert_eq!(dropped(&outputs), None);
    }
    let reasons: Vec<_> =
        (0..20).filter_map(|_| dropped(&scene.chunk(conn, Chunk::Request(99)))).collect();
    assert_eq!(reasons, [DisconnectReason::Misbehaved(Misbehavior::TooManyErrors)]);
    let (conn, _) = scene.connect(Dialect::Chunk, Direction::Accepted, 3);
    let outputs = scene.chunk(conn, Chunk::Unknown { head: "GIMME".into() });
    assert_eq!(said_chunk(conn, &outputs), [error(ErrorId::UnknownCommand)]);
    assert_eq!(
        dropped(&outputs),
        Some(DisconnectReason::Misbehaved(Misbehavior::UnexpectedMessage("GIMME".into())))
    );
}

#[test]
fn a_chunk_that_is_not_here_is_refused_or_an_original_is_hung_up_on() {
    for (spelling, drops) in [(Spelling::Documented, false), (Spelling::Original, true)] {
        let geometry = Geometry::new(4000, 1000).unwrap();
        let have = Bitfield::new(PIECES);
        let content = Content {
            geometry,
            have,
            metadata: Bytes::new(),
            private: false,
            proof: Integrity::FileDigest,
            md5: None,
        };
        let mut scene = Scene::new(false, spelling, Some(content));
        let (conn, _) = scene.connect(Dialect::Chunk, Direction::Accepted, 2);
        let outputs = scene.chunk(conn, Chunk::Hello { port: 51000 });
        assert_eq!(said_chunk(conn, &outputs), [Chunk::PeerHello]);
        let back =
            Output::Dial { addr: "10.0.0.2:51000".parse().unwrap(), dialect: Dialect::Chunk };
        assert!(outputs.contains(&back), "peers are met from both sides");
        let outputs = scene.chunk(conn, Chunk::Request(1));
        if drops {
            assert_eq!(dropped(&outputs), Some(DisconnectReason::PieceNotAvailable));
        } else {
            assert_eq!(said_chunk(conn, &outputs), [error(ErrorId::ChunkUndownloaded)]);
        }
    }
}

#[test]
fn a_list_without_news_is_held_back_and_one_with_news_is_not() {
    let mut scene = Scene::with(Bitfield::new(PIECES), Integrity::FileDigest, false);
    let (server, outputs) = scene.connect(Dialect::Chunk, Direction::Dialed, 1);
    assert_eq!(said_chunk(server, &outputs), [Chunk::Hello { port: 51000 }]);
    let (conn, _) = scene.connect(Dialect::Chunk, Direction::Accepted, 2);
    scene.chunk(conn, Chunk::Hello { port: 51000 });
    let outputs = scene.chunk(conn, Chunk::ListRequest);
    assert_eq!(
        said_chunk(conn, &outputs),
        [Chunk::List(vec![])],
        "the first one is answered at once"
    );
    assert_eq!(said_chunk(conn, &scene.chunk(conn, Chunk::ListRequest)), []);
    assert_eq!(said_chunk(conn, &scene.wait(500)), []);
    let outputs = scene
        .chunk(server, Chunk::ServerHello { file_size: 4000, chunk_size: 1000, peers: vec![] });
    let [Chunk::Request(id)] = said_chunk(server, &outputs)[..] else { panic!("{outputs:?}") };
    let outputs = scene.piece(server, id as u32, KEPT);
    assert_eq!(said_chunk(conn, &outputs), [Chunk::List(vec![id as u32])]);
    scene.chunk(conn, Chunk::ListRequest);
    assert_eq!(
        said_chunk(conn, &scene.wait(1500)),
        [Chunk::List(vec![id as u32])],
        "a second is enough"
    );
}

/// A client that has fetched everything, one chunk of it from a peer; and whether its sum fits.
fn gathered() -> (Scene, ConnId, ConnId, u32) {
    let mut scene = Scene::with(Bitfield::new(PIECES), Integrity::FileDigest, false);
    let (peer, _) = scene.connect(Dialect::Chunk, Direction::Dialed, 3);
    scene.chunk(peer, Chunk::PeerHello);
    let outputs = scene.chunk(peer, Chunk::List(vec![2]));
    assert_eq!(said_chunk(peer, &outputs), [Chunk::Request(2)]);
    scene.piece(peer, 2, KEPT);
    let (server, _) = scene.connect(Dialect::Chunk, Direction::Dialed, 1);
    let mut outputs = scene
        .chunk(server, Chunk::ServerHello { file_size: 4000, chunk_size: 1000, peers: vec![] });
    for left in (0..3).rev() {
        if said_chunk(server, &outputs).is_empty() {
            // What is the peer's to fetch is left to it for a while.
            outputs = scene.wait(1000);
        }
        let [Chunk::Request(id)] = said_chunk(server, &outputs)[..] else { panic!("{outputs:?}") };
        outputs = scene.piece(server, id as u32, KEPT);
        assert_eq!(outputs.contains(&Output::DigestFile), left == 0);
    }
    (scene, server, peer, 2)
}

#[test]
fn only_a_sum_that_fits_completes() {
    let (mut scene, server, _, _) = gathered();
    let outputs = scene.input(Input::FileDigest { md5: MD5 });
    assert_eq!(said_chunk(server, &outputs), [Chunk::Check(MD5)]);
    assert!(!outputs.contains(&Output::Event(Event::Complete)));
    let outputs = scene.chunk(server, Chunk::Check(MD5));
    assert!(outputs.contains(&Output::Event(Event::Complete)));
}

#[test]
fn a_wrong_chunk_is_fetched_again_from_the_server_and_its_sender_banned() {
    let (mut scene, server, peer, bad) = gathered();
    scene.input(Input::FileDigest { md5: [1; 16] });
    let text = hexadecimal(&MD5);
    let outputs = scene.chunk(server, Chunk::Error { id: ErrorId::ChecksumNotFit, text });
    assert_eq!(
        said_chunk(server, &outputs),
        [Chunk::Request(i64::from(bad))],
        "what a peer sent is suspect"
    );
    let outputs = scene.piece(server, bad, StoreOutcome::WrittenUnverified { differed: true });
    assert!(outputs.iter().any(|output| matches!(
        output,
        Output::Store { piece, mode: StoreMode::WriteIfDifferent, .. } if *piece == bad
    )));
    assert!(outputs.contains(&Output::Disconnect { conn: peer, reason: DisconnectReason::Banned }));
    assert!(outputs.contains(&Output::DigestFile));
    // The server has named its sum, so it need not be asked again.
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
        outputs = match said_chunk(server, &outputs)[..] {
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
    panic!("it goes on for ever");
}

#[test]
fn a_server_with_another_file_and_one_that_cannot_be_are_left() {
    let mut scene = Scene::with(Bitfield::new(PIECES), Integrity::FileDigest, false);
    for (file_size, chunk_size, reason) in [
        (4001, 1000, DisconnectReason::Misbehaved(Misbehavior::DifferentFile)),
        (4000, 999, DisconnectReason::Misbehaved(Misbehavior::DifferentFile)),
        (u64::MAX / 2, 1000, DisconnectReason::Misbehaved(Misbehavior::InvalidGeometry)),
        (4000, 1 << 31, DisconnectReason::Misbehaved(Misbehavior::InvalidGeometry)),
    ] {
        let (server, _) = scene.connect(Dialect::Chunk, Direction::Dialed, 1);
        let outputs =
            scene.chunk(server, Chunk::ServerHello { file_size, chunk_size, peers: vec![] });
        assert_eq!(dropped(&outputs), Some(reason), "{file_size} {chunk_size}");
    }
}

#[test]
fn nobody_is_a_server_by_saying_so() {
    let mut scene = Scene::with(Bitfield::new(PIECES), Integrity::FileDigest, false);
    let (peer, _) = scene.connect(Dialect::Chunk, Direction::Dialed, 2);
    let hello = Chunk::ServerHello { file_size: 4000, chunk_size: 1000, peers: vec![] };
    let out_of_place = DisconnectReason::Misbehaved(Misbehavior::UnexpectedMessage(
        "SHEL from one that is no server".into(),
    ));
    assert_eq!(dropped(&scene.chunk(peer, hello)), Some(out_of_place));
}

#[test]
fn a_server_that_will_not_check_is_replaced_by_another() {
    let (mut scene, server, _, _) = gathered();
    scene.input(Input::FileDigest { md5: MD5 });
    let outputs = scene.chunk(server, error(ErrorId::Other));
    assert_eq!(
        dropped(&outputs),
        Some(DisconnectReason::Misbehaved(Misbehavior::RefusedAdvertisedPiece))
    );
    let (again, _) = scene.connect(Dialect::Chunk, Direction::Dialed, 1);
    let hello = Chunk::ServerHello { file_size: 4000, chunk_size: 1000, peers: vec![] };
    let outputs = scene.chunk(again, hello);
    assert_eq!(said_chunk(again, &outputs), [Chunk::Check(MD5)]);
}

#[test]
fn what_waits_for_its_sum_does_not_keep_a_hole_from_being_filled() {
    const MANY: u32 = 64;
    let geometry = Geometry::new(u64::from(MANY) << 20, 1 << 20).unwrap();
    let mut have = Bitfield::full(MANY);
    have.unset(3);
    let content = Content {
        geometry,
        have,
        metadata: Bytes::new(),
        private: false,
        proof: Integrity::FileDigest,
        md5: None,
    };
    let mut scene = Scene::new(false, Spelling::Documented, Some(content));
    let (server, _) = scene.connect(Dialect::Chunk, Direction::Dialed, 1);
    let hello =
        Chunk::ServerHello { file_size: u64::from(MANY) << 20, chunk_size: 1 << 20, peers: vec![] };
    assert_eq!(said_chunk(server, &scene.chunk(server, hello)), [Chunk::Request(3)]);
}

#[test]
fn answers_out_of_place_and_data_that_was_not_asked_for_end_a_connection() {
    let hello = || Chunk::ServerHello { file_size: 4000, chunk_size: 1000, peers: vec![] };
    let check = format!("CHECK {}", hexadecimal(&MD5));
    for (wrong, named) in [
        (Chunk::PeerHello, "PHEL"),
        (Chunk::List(vec![1]), "CLRSP"),
        (Chunk::Check(MD5), &*check),
        (hello(), "SHEL 4000 1000"),
    ] {
        let mut scene = Scene::with(Bitfield::new(PIECES), Integrity::FileDigest, false);
        let (server, _) = scene.connect(Dialect::Chunk, Direction::Dialed, 1);
        scene.chunk(server, hello());
        let outputs = scene.chunk(server, wrong.clone());
        assert_eq!(
            dropped(&outputs),
            Some(DisconnectReason::Misbehaved(Misbehavior::UnexpectedMessage(named.into()))),
            "{wrong:?}"
        );
    }
    for (off, length) in [(1, PIECE), (0, PIECE - 1)] {
        let mut scene = Scene::with(Bitfield::new(PIECES), Integrity::FileDigest, false);
        let (server, _) = scene.connect(Dialect::Chunk, Direction::Dialed, 1);
        let outputs = scene.chunk(server, hello());
        let [Chunk::Request(id)] = said_chunk(server, &outputs)[..] else { panic!("{outputs:?}") };
        let piece = (id as u32 + off) % PIECES;
        let kept = scene.engine.block_arrived(
            scene.now,
            server,
            BlockRequest { piece, offset: 0, length },
        );
        assert_eq!(
            (kept, dropped(&scene.outputs())),
            (None, Some(DisconnectReason::Misbehaved(Misbehavior::UnsolicitedData)))
        );
    }
}

#[test]
fn document_2_s_two_machines() {
    let mut scene = Scene::with(Bitfield::new(PIECES), Integrity::PieceHashes, false);
    let (conn, outputs) = scene.connect(Dialect::JsonTorrent, Direction::Dialed, 1);
    assert_eq!(said_json(conn, &outputs), [Json::Bitfield(Bytes::from_static(&[0; 4]))]);
    let outputs = scene.json(conn, Json::Bitfield(Bytes::from_static(&[1, 0, 1, 0])));
    assert_eq!(said_json(conn, &outputs), [Json::Interested]);
    let outputs = scene.json(conn, Json::Unchoke);
    let [Json::Request(first)] = said_json(conn, &outputs)[..] else { panic!("{outputs:?}") };
    let outputs = scene.piece(conn, first, StoreOutcome::Verified { digests: vec![] });
    let [Json::Request(second)] = said_json(conn, &outputs)[..] else { panic!("{outputs:?}") };
    assert_eq!(first + second, 2, "one at a time, and only what it has");
    let outputs = scene.piece(conn, second, StoreOutcome::Verified { digests: vec![] });
    let said = said_json(conn, &outputs);
    assert_eq!(said.last(), Some(&Json::NotInterested), "{said:?}");
    // The other way round: every Interested is answered, and nothing is sent before it.
    let outputs = scene.json(conn, Json::Interested);
    assert_eq!(said_json(conn, &outputs), [Json::Unchoke]);
    assert_eq!(sends_blocks(&scene.json(conn, Json::Request(first))), 1);
    scene.json(conn, Json::NotInterested);
    let outputs = scene.json(conn, Json::Request(first));
    assert_eq!(
        dropped(&outputs),
        Some(DisconnectReason::Misbehaved(Misbehavior::UnexpectedMessage(
            "Request while it is choked".into()
        )))
    );
}

#[test]
fn what_a_peer_of_document_2_can_do_wrong() {
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
        let mut scene = Scene::with(Bitfield::new(PIECES), Integrity::PieceHashes, false);
        let (conn, _) = scene.connect(Dialect::JsonTorrent, Direction::Accepted, 2);
        let last = messages.iter().fold(Vec::new(), |_, message| scene.json(conn, message.clone()));
        assert_eq!(dropped(&last), Some(reason), "{messages:?}");
        assert!(scene.json(conn, Json::Interested).is_empty(), "what still comes is passed over");
    }
}

#[test]
fn a_wrong_piece_bans_its_sender_and_is_asked_of_another() {
    let mut scene = Scene::with(Bitfield::new(PIECES), Integrity::PieceHashes, false);
    let (liar, _) = scene.connect(Dialect::JsonTorrent, Direction::Dialed, 1);
    scene.json(liar, Json::Bitfield(Bytes::from_static(&[1; 4])));
    let outputs = scene.json(liar, Json::Unchoke);
    let [Json::Request(piece)] = said_json(liar, &outputs)[..] else { panic!("{outputs:?}") };
    let outputs = scene.piece(liar, piece, StoreOutcome::Corrupt { digests: vec![[0; 20]] });
    assert!(outputs.contains(&Output::Disconnect { conn: liar, reason: DisconnectReason::Banned }));
    let (honest, _) = scene.connect(Dialect::JsonTorrent, Direction::Dialed, 2);
    scene.json(honest, Json::Bitfield(Bytes::from_static(&[1; 4])));
    let mut outputs = scene.json(honest, Json::Unchoke);
    let mut asked = Vec::new();
    while let [Json::Request(piece), ..] = said_json(honest, &outputs)[..] {
        asked.push(piece);
        outputs = scene.piece(honest, piece, StoreOutcome::Verified { digests: vec![] });
    }
    asked.sort_unstable();
    assert_eq!(asked, [0, 1, 2, 3]);
    assert!(outputs.contains(&Output::Event(Event::Complete)));
}

#[test]
fn who_is_banned_on_two_connections_is_told_of_once() {
    let mut scene = Scene::with(Bitfield::new(PIECES), Integrity::PieceHashes, false);
    let lanes = [1, 2].map(|_| {
        let (conn, _) = scene.connect(Dialect::JsonTorrent, Direction::Dialed, 1);
        scene.json(conn, Json::Bitfield(Bytes::from_static(&[1; 4])));
        let outputs = scene.json(conn, Json::Unchoke);
        let [Json::Request(piece)] = said_json(conn, &outputs)[..] else { panic!("{outputs:?}") };
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
fn a_server_that_sends_less_than_it_was_asked_for_is_given_up_in_the_end() {
    let mut scene = Scene::with(Bitfield::new(PIECES), Integrity::FileDigest, false);
    let addr = "10.0.0.1:52000".parse().unwrap();
    for fault in 1..=6 {
        let (server, _) = scene.connect(Dialect::Chunk, Direction::Dialed, 1);
        let hello = Chunk::ServerHello { file_size: 4000, chunk_size: 1000, peers: vec![] };
        let outputs = scene.chunk(server, hello);
        let [Chunk::Request(id)] = said_chunk(server, &outputs)[..] else { panic!("{outputs:?}") };
        let request = BlockRequest { piece: id as u32, offset: 0, length: PIECE - 1 };
        assert_eq!(scene.engine.block_arrived(scene.now, server, request), None);
        let given_up =
            Output::Event(Event::PeerGivenUp { addr, misbehavior: Misbehavior::UnsolicitedData });
        assert_eq!(scene.outputs().contains(&given_up), fault == 6, "{fault}");
    }
    let called = |output: &Output| matches!(output, Output::Dial { .. });
    assert!(!scene.wait(60_000).iter().any(called), "it is not called any more");
}

#[test]
fn who_is_finished_is_parted_from_and_who_is_silent_too() {
    let mut scene = Scene::with(Bitfield::full(PIECES), Integrity::PieceHashes, false);
    let (conn, _) = scene.connect(Dialect::JsonTorrent, Direction::Accepted, 2);
    scene.json(conn, Json::Bitfield(Bytes::from_static(&[0; 4])));
    assert_eq!(dropped(&scene.wait(5_000)), None);
    assert_eq!(dropped(&scene.wait(10_000)), Some(DisconnectReason::Idle));
    let mut scene = Scene::with(Bitfield::full(PIECES), Integrity::FileDigest, true);
    scene.connect(Dialect::Chunk, Direction::Accepted, 2);
    assert_eq!(dropped(&scene.wait(200_000)), Some(DisconnectReason::PeerTimeout));
}

#[test]
fn our_own_address_is_called_once() {
    let mut scene = Scene::with(Bitfield::new(PIECES), Integrity::FileDigest, false);
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
fn whoever_cannot_be_understood_is_told_so_where_there_are_words_for_it() {
    let fault = || {
        DisconnectReason::Misbehaved(Misbehavior::MalformedMessage(
            "a head of more than 256 bytes".into(),
        ))
    };
    let gone = |outputs: &[Output], reason: &DisconnectReason| {
        outputs.iter().any(|output| {
            matches!(output, Output::Event(Event::PeerDisconnected { reason: Some(why), .. }) if why == reason)
        })
    };
    let mut scene = Scene::with(Bitfield::full(PIECES), Integrity::FileDigest, true);
    for (reason, answer) in [
        (fault(), vec![error(ErrorId::UnknownCommand)]),
        (DisconnectReason::MessageTimeout, vec![]),
    ] {
        let (conn, _) = scene.connect(Dialect::Chunk, Direction::Accepted, 2);
        let outputs = scene.input(Input::ReadFailed { conn, reason: reason.clone() });
        assert_eq!((said_chunk(conn, &outputs), dropped(&outputs)), (answer, Some(reason.clone())));
        assert!(gone(&outputs, &reason), "{outputs:?}");
    }
    assert!(fault().is_answered() && !DisconnectReason::MessageTimeout.is_answered());
    let mut scene = Scene::with(Bitfield::full(PIECES), Integrity::PieceHashes, false);
    let (conn, _) = scene.connect(Dialect::JsonTorrent, Direction::Accepted, 2);
    let outputs = scene.input(Input::ReadFailed { conn, reason: fault() });
    assert!(said_json(conn, &outputs).is_empty() && gone(&outputs, &fault()), "{outputs:?}");
}

#[test]
fn what_is_refused_is_told_and_not_without_end() {
    let mut scene = Scene::with(Bitfield::full(PIECES), Integrity::FileDigest, true);
    let (conn, _) = scene.connect(Dialect::Chunk, Direction::Accepted, 2);
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
fn who_calls_a_server_and_is_no_client_is_not_in_the_picture() {
    let mut scene = Scene::with(Bitfield::full(PIECES), Integrity::FileDigest, true);
    let (conn, outputs) = scene.connect(Dialect::Chunk, Direction::Accepted, 2);
    let outputs = [outputs, scene.chunk(conn, Chunk::Request(0))].concat();
    assert_eq!(dropped(&outputs), None);
    assert!(scene.engine.status(scene.now).peers.is_empty());
    let outputs = scene.chunk(conn, Chunk::Hello { port: 51000 });
    assert!(
        outputs.iter().any(|output| matches!(output, Output::Event(Event::PeerConnected { .. })))
    );
    let peers = scene.engine.status(scene.now).peers;
    assert_eq!(peers.iter().map(|peer| peer.conn).collect::<Vec<_>>(), [conn]);
}
