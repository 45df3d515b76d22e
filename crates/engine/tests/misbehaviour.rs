//! One engine and scripted peers: every way to misbehave has its consequence, and nothing a peer
//! can say breaks it.

use std::net::SocketAddr;

use bytes::Bytes;
use sow_content::{Bitfield, Block, Geometry, InfoHash};
use sow_engine::{
    Choking, Config, ConnId, Content, Dialect, Direction, DisconnectReason, Engine, Event, Input,
    Integrity, Message as Said, Misbehavior, Output, PeerHandshake, PeerSource, StoreMode,
    StoreOutcome, Time,
};
use sow_wire::bittorrent::{
    BlockRequest, ExtensionHandshake, Handshake, Message, MetadataMessage, PeerId, PexMessage,
};

const PIECES: u32 = 10;
const PIECE: u32 = 32 * 1024;
const UNIT: u32 = 16 * 1024;
const METADATA: &[u8] = b"an info dictionary";

/// An engine, its time, and what it has put out since it was asked last.
struct Scene {
    engine: Engine,
    now: Time,
    next: u64,
}

impl Scene {
    fn new(have: Option<Bitfield>, adjust: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new(PeerId([0; 20]), 1000, 7);
        adjust(&mut config);
        let geometry = Geometry::new(u64::from(PIECES * PIECE), u64::from(PIECE)).unwrap();
        let metadata = Bytes::from_static(METADATA);
        let content = have.map(|have| Content {
            geometry,
            have,
            metadata,
            private: false,
            proof: Integrity::PieceHashes,
            md5: None,
        });
        let info_hash = InfoHash(sow_content::hash::sha1(METADATA));
        Self { engine: Engine::new(config, info_hash, content, Time(0)), now: Time(0), next: 0 }
    }

    fn leecher() -> Self {
        Self::new(Some(Bitfield::new(PIECES)), |_| {})
    }

    fn seed() -> Self {
        Self::new(Some(Bitfield::full(PIECES)), |_| {})
    }

    fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.engine.poll()).collect()
    }

    fn input(&mut self, input: Input) -> Vec<Output> {
        self.engine.handle(self.now, input);
        self.outputs()
    }

    fn connect_as(&mut self, name: u8, fast: bool, extended: bool) -> (ConnId, Vec<Output>) {
        self.next += 1;
        let conn = ConnId(self.next);
        let addr = SocketAddr::from(([10, 0, 0, name], 2000 + self.next as u16));
        let info_hash = InfoHash([1; 20]);
        let handshake = Handshake { info_hash, peer_id: PeerId([name; 20]), fast, extended };
        let outputs = self.input(Input::Connected {
            conn,
            addr,
            direction: Direction::Accepted,
            introduction: PeerHandshake::BitTorrent(handshake),
        });
        (conn, outputs)
    }

    fn connect(&mut self) -> ConnId {
        let name = self.next as u8 + 1;
        self.connect_as(name, true, true).0
    }

    fn say(&mut self, conn: ConnId, message: Message) -> Vec<Output> {
        self.input(Input::Message { conn, message: message.into() })
    }

    /// A peer that has everything and has unchoked us; what it is asked for.
    fn provider(&mut self) -> (ConnId, Vec<BlockRequest>) {
        let conn = self.connect();
        self.say(conn, Message::HaveAll);
        let outputs = self.say(conn, Message::Unchoke);
        (conn, requests(conn, &outputs))
    }

    fn tick(&mut self, ms: u64) -> Vec<Output> {
        self.now = Time(self.now.0 + ms * 1000);
        self.input(Input::Tick)
    }

    fn deliver(&mut self, conn: ConnId, request: BlockRequest) -> (Option<Block>, Vec<Output>) {
        let kept = self.engine.block_arrived(self.now, conn, request);
        (kept, self.outputs())
    }
}

fn dropped(outputs: &[Output], conn: ConnId) -> Option<DisconnectReason> {
    outputs.iter().find_map(|output| match output {
        Output::Disconnect { conn: which, reason } if *which == conn => Some(reason.clone()),
        _ => None,
    })
}

fn sent(conn: ConnId, outputs: &[Output]) -> Vec<Message> {
    let to_it = outputs.iter().filter_map(|output| match output {
        Output::Send { conn: which, message: Said::BitTorrent(message) } if *which == conn => {
            Some(message.clone())
        }
        _ => None,
    });
    to_it.collect()
}

fn requests(conn: ConnId, outputs: &[Output]) -> Vec<BlockRequest> {
    let requests = sent(conn, outputs).into_iter().filter_map(|message| match message {
        Message::Request(request) => Some(request),
        _ => None,
    });
    requests.collect()
}

fn range(piece: u32, offset: u32, length: u32) -> BlockRequest {
    BlockRequest { piece, offset, length }
}

fn extended(id: u8, payload: Vec<u8>) -> Message {
    Message::Extended { id, payload: payload.into() }
}

#[test]
fn what_cannot_be_said_ends_the_connection() {
    let bitfield = |bytes: &'static [u8]| Message::Bitfield(Bytes::from_static(bytes));
    let cases = [
        (vec![bitfield(&[0xff])], DisconnectReason::Misbehaved(Misbehavior::BitfieldMismatch)),
        (
            vec![bitfield(&[0xff, 0xff])],
            DisconnectReason::Misbehaved(Misbehavior::BitfieldMismatch),
        ),
        (
            vec![bitfield(&[0xff, 0xc0]), Message::HaveAll],
            DisconnectReason::Misbehaved(Misbehavior::LateBitfield),
        ),
        (
            vec![Message::HaveNone, Message::HaveNone],
            DisconnectReason::Misbehaved(Misbehavior::LateBitfield),
        ),
        (
            vec![Message::Have(PIECES)],
            DisconnectReason::Misbehaved(Misbehavior::PieceIndexOutOfRange),
        ),
        (
            vec![Message::Have(u32::MAX)],
            DisconnectReason::Misbehaved(Misbehavior::PieceIndexOutOfRange),
        ),
        (
            vec![Message::Request(range(PIECES, 0, UNIT))],
            DisconnectReason::Misbehaved(Misbehavior::RequestOutOfRange),
        ),
        (
            vec![Message::Request(range(0, PIECE - 1, 2))],
            DisconnectReason::Misbehaved(Misbehavior::RequestOutOfRange),
        ),
        (
            vec![Message::Request(range(0, u32::MAX, u32::MAX))],
            DisconnectReason::Misbehaved(Misbehavior::RequestOutOfRange),
        ),
        (
            vec![Message::Request(range(0, 0, 0))],
            DisconnectReason::Misbehaved(Misbehavior::RequestOutOfRange),
        ),
        (
            vec![Message::Cancel(range(0, 0, PIECE + 1))],
            DisconnectReason::Misbehaved(Misbehavior::RequestOutOfRange),
        ),
        (
            vec![Message::Reject(range(99, 0, 1))],
            DisconnectReason::Misbehaved(Misbehavior::RequestOutOfRange),
        ),
        (
            vec![extended(0, b"junk".to_vec())],
            DisconnectReason::Misbehaved(Misbehavior::MalformedExtension),
        ),
        (vec![extended(1, vec![])], DisconnectReason::Misbehaved(Misbehavior::MalformedExtension)),
        (
            vec![extended(2, b"i1e".to_vec())],
            DisconnectReason::Misbehaved(Misbehavior::MalformedExtension),
        ),
    ];
    for (messages, reason) in cases {
        let mut scene = Scene::leecher();
        let conn = scene.connect();
        let outputs: Vec<Output> =
            messages.iter().flat_map(|message| scene.say(conn, message.clone())).collect();
        assert_eq!(dropped(&outputs, conn), Some(reason), "{messages:?}");
        assert!(scene.engine.status(scene.now).peers.is_empty());
        assert!(scene.say(conn, Message::HaveAll).is_empty(), "what still comes is passed over");
    }
}

#[test]
fn extensions_that_were_not_agreed_on_end_the_connection() {
    let fast = [
        Message::HaveAll,
        Message::HaveNone,
        Message::Suggest(0),
        Message::AllowedFast(0),
        Message::Reject(range(0, 0, 1)),
    ];
    for message in fast.into_iter().chain([extended(0, b"de".to_vec())]) {
        let mut scene = Scene::leecher();
        let (conn, _) = scene.connect_as(1, false, false);
        let outputs = scene.say(conn, message);
        assert_eq!(
            dropped(&outputs, conn),
            Some(DisconnectReason::Misbehaved(Misbehavior::ExtensionNotNegotiated))
        );
    }
}

#[test]
fn requests_are_queued_up_to_a_bound_and_then_it_is_a_flood() {
    let mut scene = Scene::seed();
    let conn = scene.connect();
    let mut outputs = Vec::new();
    let mut count = 0;
    while dropped(&outputs, conn).is_none() {
        outputs = scene.say(conn, Message::Request(range(count % PIECES, 0, UNIT)));
        count += 1;
        assert!(count < 4000, "never a flood");
    }
    assert_eq!(
        dropped(&outputs, conn),
        Some(DisconnectReason::Misbehaved(Misbehavior::TooManyRequests))
    );
    assert!(count > 2048);
}

#[test]
fn blocks_nobody_asked_for_end_the_connection() {
    let mut scene = Scene::leecher();
    let conn = scene.connect();
    for n in 0.. {
        let (kept, outputs) = scene.deliver(conn, range(0, 0, UNIT));
        assert_eq!(kept, None, "memory is for what was asked for");
        if let Some(reason) = dropped(&outputs, conn) {
            assert_eq!(reason, DisconnectReason::Misbehaved(Misbehavior::UnsolicitedData));
            break;
        }
        assert!(n < 100);
    }
}

#[test]
fn a_sliver_of_a_unit_is_not_taken_for_the_unit() {
    let mut scene = Scene::leecher();
    let (_, asked) = scene.provider();
    let piece = asked[0].piece;
    let liar = scene.connect();
    for sliver in [range(piece, 0, 1), range(piece, 1, UNIT - 1), range(piece, 1, UNIT)] {
        let (kept, outputs) = scene.deliver(liar, sliver);
        assert_eq!(kept, None, "{sliver:?}");
        assert!(outputs.is_empty(), "nobody is called off: {outputs:?}");
    }
}

#[test]
fn a_name_that_anybody_can_say_takes_nobodys_place() {
    let mut scene = Scene::leecher();
    let addr = SocketAddr::from(([10, 0, 0, 99], 52000));
    let handshake = Handshake {
        info_hash: InfoHash([1; 20]),
        peer_id: PeerId([7; 20]),
        fast: true,
        extended: true,
    };
    let origin = ConnId(1000);
    scene.input(Input::Connected {
        conn: origin,
        addr,
        direction: Direction::Dialed,
        introduction: PeerHandshake::BitTorrent(handshake),
    });
    let (impostor, outputs) = scene.connect_as(7, true, true);
    assert_eq!(dropped(&outputs, impostor), Some(DisconnectReason::DuplicateConnection));
    assert_eq!(dropped(&outputs, origin), None);
    // Nor does it keep us from whom we call.
    scene.input(Input::Closed { conn: origin });
    scene.connect_as(7, true, true);
    let again = ConnId(1001);
    let outputs = scene.input(Input::Connected {
        conn: again,
        addr,
        direction: Direction::Dialed,
        introduction: PeerHandshake::BitTorrent(handshake),
    });
    assert_eq!(dropped(&outputs, again), None);
}

#[test]
fn who_has_learnt_the_metadata_says_so() {
    let mut scene = Scene::new(None, |_| {});
    let conn = scene.connect();
    let geometry = Geometry::new(u64::from(PIECES * PIECE), u64::from(PIECE)).unwrap();
    let metadata = Bytes::from_static(METADATA);
    let content = Content {
        geometry,
        have: Bitfield::new(PIECES),
        metadata,
        private: false,
        proof: Integrity::PieceHashes,
        md5: None,
    };
    let outputs = scene.input(Input::ContentReady(Box::new(content)));
    let said = sent(conn, &outputs).into_iter().find_map(|message| match message {
        Message::Extended { id: 0, payload } => ExtensionHandshake::decode(&payload).ok(),
        _ => None,
    });
    assert_eq!(said.and_then(|handshake| handshake.metadata_size), Some(METADATA.len() as u32));
}

#[test]
fn a_silent_peer_is_dropped_and_its_requests_go_to_others() {
    let mut scene = Scene::leecher();
    let (stalled, asked) = scene.provider();
    assert!(!asked.is_empty());
    let (other, mut queue) = scene.provider();
    let mut got = Vec::new();
    for _ in 0..400 {
        for request in std::mem::take(&mut queue) {
            let (kept, outputs) = scene.deliver(other, request);
            got.extend(kept);
            queue.extend(requests(other, &outputs));
        }
        queue.extend(requests(other, &scene.tick(100)));
    }
    let bytes: u32 = got.iter().map(|block| block.length).sum();
    assert_eq!(bytes, PIECES * PIECE, "everything came from the other");
    let mut gone = None;
    for _ in 0..2000 {
        scene.say(other, Message::KeepAlive);
        gone = gone.or(dropped(&scene.tick(100), stalled));
    }
    assert_eq!(gone, Some(DisconnectReason::PeerTimeout));
}

#[test]
fn ourselves_duplicates_and_crowds_are_refused() {
    let mut scene = Scene::new(Some(Bitfield::new(PIECES)), |config| config.max_peers = 3);
    let (me, outputs) = scene.connect_as(0, true, true);
    assert_eq!(dropped(&outputs, me), Some(DisconnectReason::Ourselves));
    scene.connect_as(1, true, true);
    let (again, outputs) = scene.connect_as(1, true, true);
    assert_eq!(dropped(&outputs, again), Some(DisconnectReason::DuplicateConnection));
    scene.connect_as(2, true, true);
    scene.connect_as(3, true, true);
    let (late, outputs) = scene.connect_as(4, true, true);
    assert_eq!(dropped(&outputs, late), Some(DisconnectReason::TooManyConnections));
}

#[test]
fn a_corrupt_piece_from_one_peer_bans_it() {
    let mut scene = Scene::leecher();
    let (conn, asked) = scene.provider();
    let piece = asked[0].piece;
    let mut outputs = Vec::new();
    for request in asked {
        outputs.extend(scene.deliver(conn, request).1);
    }
    assert!(outputs.contains(&Output::Store {
        piece,
        mode: StoreMode::Verify { digests: false },
        length: PIECE,
    }));
    let digests = vec![[1; 20]; 2];
    let outputs = scene.input(Input::Stored { piece, verdict: StoreOutcome::Corrupt { digests } });
    assert_eq!(dropped(&outputs, conn), Some(DisconnectReason::Banned));
    assert!(outputs.iter().any(|output| matches!(output, Output::Event(Event::Banned { .. }))));
    let (again, outputs) = scene.connect_as(1, true, true);
    assert_eq!(dropped(&outputs, again), Some(DisconnectReason::Banned), "also under a new port");
}

#[test]
fn after_a_storage_failure_nothing_more_is_asked_for() {
    let mut scene = Scene::leecher();
    let (conn, asked) = scene.provider();
    let piece = asked[0].piece;
    asked.iter().for_each(|&request| _ = scene.deliver(conn, request));
    scene.input(Input::Stored { piece, verdict: StoreOutcome::Failed });
    let (late, asked) = scene.provider();
    assert!(asked.is_empty());
    assert!(requests(late, &scene.tick(1000)).is_empty());
}

#[test]
fn a_choked_stranger_gets_rejections_and_a_few_pieces() {
    let adjust = |config: &mut Config| config.choking = Choking::TitForTat;
    let mut scene = Scene::new(Some(Bitfield::full(PIECES)), adjust);
    let (conn, outputs) = scene.connect_as(1, true, true);
    let messages = sent(conn, &outputs);
    assert!(!messages.contains(&Message::Unchoke));
    let allowed: Vec<u32> = messages
        .iter()
        .filter_map(|message| match message {
            Message::AllowedFast(piece) => Some(*piece),
            _ => None,
        })
        .collect();
    assert!(!allowed.is_empty() && allowed.len() < PIECES as usize, "{allowed:?}");
    for piece in 0..PIECES {
        let outputs = scene.say(conn, Message::Request(range(piece, 0, UNIT)));
        let block = Block { piece, offset: 0, length: UNIT };
        scene.input(Input::BlockSent { conn, block });
        let answer = Output::SendBlock { conn, block };
        let rejected = sent(conn, &outputs).contains(&Message::Reject(range(piece, 0, UNIT)));
        assert_eq!(rejected, !allowed.contains(&piece), "piece {piece}");
        assert_eq!(outputs.contains(&answer), !rejected, "piece {piece}");
    }
}

#[test]
fn what_is_not_there_is_rejected_and_what_is_cancelled_is_not_sent() {
    let mut scene = Scene::leecher();
    let conn = scene.connect();
    let outputs = scene.say(conn, Message::Request(range(3, 0, UNIT)));
    assert_eq!(sent(conn, &outputs), [Message::Reject(range(3, 0, UNIT))]);
    let mut scene = Scene::seed();
    let conn = scene.connect();
    let mut blocks = 0;
    for piece in 0..PIECES {
        for offset in [0, UNIT] {
            let outputs = scene.say(conn, Message::Request(range(piece, offset, UNIT)));
            blocks +=
                outputs.iter().filter(|output| matches!(output, Output::SendBlock { .. })).count();
        }
    }
    assert!(blocks < 2 * PIECES as usize, "not everything is handed to the world at once");
    let outputs = scene.say(conn, Message::Cancel(range(PIECES - 1, UNIT, UNIT)));
    assert_eq!(sent(conn, &outputs), [Message::Reject(range(PIECES - 1, UNIT, UNIT))]);
}

#[test]
fn metadata_is_served_twice_and_not_more() {
    let mut scene = Scene::seed();
    let conn = scene.connect();
    let handshake = ExtensionHandshake { ut_metadata: Some(9), ..ExtensionHandshake::default() };
    scene.say(conn, extended(0, handshake.encode()));
    let mut answers = Vec::new();
    for _ in 0..20 {
        let outputs = scene.say(conn, extended(1, MetadataMessage::Request { piece: 0 }.encode()));
        for message in sent(conn, &outputs) {
            let Message::Extended { id: 9, payload } = message else { panic!("{message:?}") };
            answers.push(MetadataMessage::decode(&payload).unwrap());
        }
    }
    let served =
        answers.iter().filter(|answer| matches!(answer, MetadataMessage::Data { .. })).count();
    assert_eq!((answers.len(), served), (20, 4));
    let MetadataMessage::Data { data, total_size, .. } = &answers[0] else {
        panic!("{:?}", answers[0])
    };
    assert_eq!((&data[..], *total_size as usize), (METADATA, METADATA.len()));
}

#[test]
fn a_private_swarm_neither_tells_nor_hears_of_peers() {
    for private in [false, true] {
        let mut scene = Scene::new(None, |_| {});
        let geometry = Geometry::new(u64::from(PIECES * PIECE), u64::from(PIECE)).unwrap();
        let metadata = Bytes::from_static(METADATA);
        let content = Content {
            geometry,
            have: Bitfield::new(PIECES),
            metadata,
            private,
            proof: Integrity::PieceHashes,
            md5: None,
        };
        scene.input(Input::ContentReady(Box::new(content)));
        let conn = scene.connect();
        let addr = SocketAddr::from(([10, 9, 9, 9], 99));
        let told = PexMessage { added: vec![addr], dropped: vec![] };
        let outputs = scene.say(conn, extended(2, told.encode()));
        assert_eq!(
            outputs.contains(&Output::Dial { addr, dialect: Dialect::BitTorrent }),
            !private
        );
    }
}

#[test]
fn nothing_a_peer_can_say_breaks_the_engine() {
    for seed in 0..400 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let have = match seed % 3 {
            0 => Some(Bitfield::new(PIECES)),
            1 => Some(Bitfield::full(PIECES)),
            _ => None,
        };
        let mut scene = Scene::new(have, |config| {
            config.spread = seed % 2 == 0;
            config.choking = if seed % 5 == 0 { Choking::TitForTat } else { Choking::Cooperative };
            config.seed = seed;
        });
        let mut conns = vec![scene.connect()];
        let mut outstanding = Vec::new();
        for _ in 0..300 {
            let conn = conns[rng.usize(..conns.len())];
            let outputs = match rng.u8(..12) {
                0 => {
                    conns.push(scene.connect());
                    Vec::new()
                }
                1 => scene.input(Input::Closed { conn }),
                2 => scene.tick(rng.u64(1..3000)),
                3 if !outstanding.is_empty() => {
                    let (conn, request) = outstanding.swap_remove(rng.usize(..outstanding.len()));
                    scene.deliver(conn, request).1
                }
                4 => {
                    let verdict = match rng.u8(..3) {
                        0 => StoreOutcome::Verified { digests: vec![[0; 20]; 2] },
                        1 => StoreOutcome::Corrupt { digests: vec![[rng.u8(..); 20]; 2] },
                        _ => StoreOutcome::Failed,
                    };
                    // Stray answers of the world must not matter either, as long as the piece
                    // exists.
                    scene.input(Input::Stored { piece: rng.u32(..PIECES), verdict })
                }
                5 => scene.input(Input::PeersFound {
                    dialect: Dialect::BitTorrent,
                    source: PeerSource::Pex,
                    addrs: vec![SocketAddr::from(([10, 1, 1, rng.u8(..)], rng.u16(..)))],
                }),
                _ => {
                    let message = any_message(&mut rng);
                    scene.say(conn, message)
                }
            };
            for output in &outputs {
                if let Output::Send { conn, message: Said::BitTorrent(Message::Request(request)) } =
                    output
                {
                    outstanding.push((*conn, *request));
                }
            }
        }
    }
}

fn any_message(rng: &mut fastrand::Rng) -> Message {
    let index =
        |rng: &mut fastrand::Rng| if rng.u8(..20) == 0 { rng.u32(..) } else { rng.u32(..PIECES) };
    let block = |rng: &mut fastrand::Rng| {
        let lengths = [UNIT, PIECE, 1, 0, u32::MAX];
        range(
            index(rng),
            [0, UNIT][rng.usize(..2)],
            lengths[rng.usize(..8).min(4).saturating_sub(rng.usize(..4))],
        )
    };
    match rng.u8(..18) {
        0 => Message::KeepAlive,
        1 => Message::Choke,
        2 | 3 => Message::Unchoke,
        4 => Message::Interested,
        5 => Message::NotInterested,
        6 => Message::Have(index(rng)),
        7 => Message::Bitfield((0..2).map(|_| rng.u8(..) & 0xc0).collect::<Vec<u8>>().into()),
        8 | 9 => Message::Request(block(rng)),
        10 => Message::Cancel(block(rng)),
        11 => Message::HaveAll,
        12 => Message::HaveNone,
        13 => Message::Reject(block(rng)),
        14 => Message::AllowedFast(index(rng)),
        15 => Message::Suggest(index(rng)),
        16 => {
            let handshake = ExtensionHandshake {
                ut_metadata: Some(rng.u8(..)),
                ut_pex: Some(rng.u8(..)),
                listen_port: Some(rng.u16(..)),
                metadata_size: Some(rng.u32(..100_000)),
                max_block: Some(rng.u32(..)),
                request_queue: Some(rng.u32(..)),
                ..ExtensionHandshake::default()
            };
            extended(0, handshake.encode())
        }
        _ => {
            let piece = rng.u32(..3);
            let data = Bytes::from_static(METADATA);
            let total_size = METADATA.len() as u32;
            extended(1, MetadataMessage::Data { piece, total_size, data }.encode())
        }
    }
}
