//! BitTorrent peers against one engine: every way to misbehave has its consequence.

use std::net::SocketAddr;

use bytes::Bytes;
use sow_content::{Bitfield, Block, Geometry, InfoHash};
use sow_engine::{
    Choking, Config, ConnId, Content, Dialect, Direction, DisconnectReason, Event, Input,
    Integrity, Message as AnyMessage, Misbehavior, Output, PeerHandshake, StoreMode, StoreOutcome,
};
use sow_wire::bittorrent::{
    BlockRequest, ExtensionHandshake, Handshake, Message, MetadataMessage, PeerId, PexMessage,
};

use crate::scene::{METADATA, Scene, disconnect_reason};

pub(crate) const PIECES: u32 = 10;
pub(crate) const PIECE: u32 = 32 * 1024;
pub(crate) const UNIT: u32 = 16 * 1024;

/// Content of which `have` is here.
pub(crate) fn content(have: Bitfield, is_private: bool) -> Content {
    Content {
        geometry: Geometry::new(u64::from(PIECES * PIECE), u64::from(PIECE)).unwrap(),
        have,
        metadata: Bytes::from_static(METADATA),
        private: is_private,
        integrity: Integrity::PieceHashes,
        md5: None,
    }
}

impl Scene {
    pub(crate) fn with_pieces(have: Bitfield, adjust: impl FnOnce(&mut Config)) -> Self {
        Self::new(Some(content(have, false)), adjust)
    }

    fn leecher() -> Self {
        Self::with_pieces(Bitfield::new(PIECES), |_| {})
    }

    fn seed() -> Self {
        Self::with_pieces(Bitfield::full(PIECES), |_| {})
    }

    /// A peer that connects from the host of its peer id's number.
    fn connect_as(&mut self, id: u8, fast: bool, extended: bool) -> (ConnId, Vec<Output>) {
        let addr = SocketAddr::from(([10, 0, 0, id], 2000 + self.next_connection() as u16));
        let (info_hash, peer_id) = (InfoHash([1; 20]), PeerId([id; 20]));
        let handshake = Handshake { info_hash, peer_id, fast, extended };
        self.connect(addr, Direction::Accepted, PeerHandshake::BitTorrent(handshake))
    }

    /// A peer that connects and speaks all extensions.
    pub(crate) fn connect_peer(&mut self) -> ConnId {
        let id = self.next_connection() as u8;
        self.connect_as(id, true, true).0
    }

    /// A peer that the user named.
    pub(crate) fn connect_named(&mut self) -> ConnId {
        let (info_hash, peer_id) = (InfoHash([1; 20]), PeerId([1; 20]));
        let handshake = Handshake { info_hash, peer_id, fast: true, extended: true };
        self.connect_host(1, Direction::Dialed, PeerHandshake::BitTorrent(handshake)).0
    }

    /// A peer that has everything and has unchoked us; what is requested of it.
    fn provider(&mut self) -> (ConnId, Vec<BlockRequest>) {
        let conn = self.connect_peer();
        self.message(conn, Message::HaveAll);
        let outputs = self.message(conn, Message::Unchoke);
        (conn, requests(conn, &outputs))
    }
}

fn sent(conn: ConnId, outputs: &[Output]) -> Vec<Message> {
    let messages = crate::scene::sent(conn, outputs).into_iter();
    let bittorrent = messages.map(|message| match message {
        AnyMessage::BitTorrent(message) => message,
        other => panic!("{other:?}"),
    });
    bittorrent.collect()
}

fn requests(conn: ConnId, outputs: &[Output]) -> Vec<BlockRequest> {
    let requests = sent(conn, outputs).into_iter().filter_map(|message| match message {
        Message::Request(request) => Some(request),
        _ => None,
    });
    requests.collect()
}

pub(crate) fn range(piece: u32, offset: u32, length: u32) -> BlockRequest {
    BlockRequest { piece, offset, length }
}

pub(crate) fn extended(id: u8, payload: Vec<u8>) -> Message {
    Message::Extended { id, payload: payload.into() }
}

#[test]
fn a_message_that_violates_the_protocol_ends_the_connection() {
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
        let conn = scene.connect_peer();
        let outputs: Vec<Output> =
            messages.iter().flat_map(|message| scene.message(conn, message.clone())).collect();
        assert_eq!(disconnect_reason(conn, &outputs), Some(reason), "{messages:?}");
        assert!(scene.engine.status(scene.now).peers.is_empty());
        assert!(scene.message(conn, Message::HaveAll).is_empty(), "later messages are ignored");
    }
}

#[test]
fn messages_of_extensions_that_were_not_negotiated_end_the_connection() {
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
        let outputs = scene.message(conn, message);
        assert_eq!(
            disconnect_reason(conn, &outputs),
            Some(DisconnectReason::Misbehaved(Misbehavior::ExtensionNotNegotiated))
        );
    }
}

#[test]
fn too_many_requests_end_the_connection() {
    let mut scene = Scene::seed();
    let conn = scene.connect_peer();
    let mut outputs = Vec::new();
    let mut count = 0;
    while disconnect_reason(conn, &outputs).is_none() {
        outputs = scene.message(conn, Message::Request(range(count % PIECES, 0, UNIT)));
        count += 1;
        assert!(count < 4000, "no limit");
    }
    assert_eq!(
        disconnect_reason(conn, &outputs),
        Some(DisconnectReason::Misbehaved(Misbehavior::TooManyRequests))
    );
    assert!(count > 2048);
}

#[test]
fn blocks_without_a_request_end_the_connection() {
    let mut scene = Scene::leecher();
    let conn = scene.connect_peer();
    for n in 0.. {
        let (kept, outputs) = scene.deliver(conn, range(0, 0, UNIT));
        assert_eq!(kept, None, "memory is for what was requested");
        if let Some(reason) = disconnect_reason(conn, &outputs) {
            assert_eq!(reason, DisconnectReason::Misbehaved(Misbehavior::UnsolicitedData));
            break;
        }
        assert!(n < 100);
    }
}

#[test]
fn a_part_of_a_unit_is_not_taken_for_the_unit() {
    let mut scene = Scene::leecher();
    let (_, asked) = scene.provider();
    let piece = asked[0].piece;
    let other = scene.connect_peer();
    for sliver in [range(piece, 0, 1), range(piece, 1, UNIT - 1), range(piece, 1, UNIT)] {
        let (kept, outputs) = scene.deliver(other, sliver);
        assert_eq!(kept, None, "{sliver:?}");
        assert!(outputs.is_empty(), "no request is cancelled: {outputs:?}");
    }
}

#[test]
fn a_claimed_peer_id_takes_no_place_of_another_peer() {
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
        handshake: PeerHandshake::BitTorrent(handshake),
    });
    let (claimant, outputs) = scene.connect_as(7, true, true);
    assert_eq!(disconnect_reason(claimant, &outputs), Some(DisconnectReason::DuplicateConnection));
    assert_eq!(disconnect_reason(origin, &outputs), None);
    // Nor does it keep us from a peer that we dial.
    scene.input(Input::Closed { conn: origin });
    scene.connect_as(7, true, true);
    let again = ConnId(1001);
    let outputs = scene.input(Input::Connected {
        conn: again,
        addr,
        direction: Direction::Dialed,
        handshake: PeerHandshake::BitTorrent(handshake),
    });
    assert_eq!(disconnect_reason(again, &outputs), None);
}

#[test]
fn a_peer_that_learned_the_metadata_offers_it() {
    let mut scene = Scene::new(None, |_| {});
    let conn = scene.connect_peer();
    let content = content(Bitfield::new(PIECES), false);
    let outputs = scene.input(Input::ContentReady(Box::new(content)));
    let said = sent(conn, &outputs).into_iter().find_map(|message| match message {
        Message::Extended { id: 0, payload } => ExtensionHandshake::decode(&payload).ok(),
        _ => None,
    });
    assert_eq!(said.and_then(|handshake| handshake.metadata_size), Some(METADATA.len() as u32));
}

#[test]
fn a_silent_peer_is_disconnected_and_its_blocks_are_requested_of_others() {
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
    assert_eq!(bytes, PIECES * PIECE, "everything came from the other peer");
    let mut gone = None;
    for _ in 0..2000 {
        scene.message(other, Message::KeepAlive);
        gone = gone.or(disconnect_reason(stalled, &scene.tick(100)));
    }
    assert_eq!(gone, Some(DisconnectReason::PeerTimeout));
}

#[test]
fn ourselves_and_duplicates_are_refused_and_an_idle_peer_makes_room() {
    let mut scene = Scene::with_pieces(Bitfield::new(PIECES), |config| config.max_peers = 3);
    let (me, outputs) = scene.connect_as(0, true, true);
    assert_eq!(disconnect_reason(me, &outputs), Some(DisconnectReason::Ourselves));
    let (first, _) = scene.connect_as(1, true, true);
    let (again, outputs) = scene.connect_as(1, true, true);
    assert_eq!(disconnect_reason(again, &outputs), Some(DisconnectReason::DuplicateConnection));
    scene.connect_as(2, true, true);
    scene.connect_as(3, true, true);
    let (late, outputs) = scene.connect_as(4, true, true);
    assert_eq!(disconnect_reason(first, &outputs), Some(DisconnectReason::Replaced));
    assert_eq!(disconnect_reason(late, &outputs), None);
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
        length: PIECE
    }));
    let digests = vec![[1; 20]; 2];
    let outputs = scene.input(Input::Stored { piece, outcome: StoreOutcome::Corrupt { digests } });
    assert_eq!(disconnect_reason(conn, &outputs), Some(DisconnectReason::Banned));
    assert!(outputs.iter().any(|output| matches!(output, Output::Event(Event::Banned { .. }))));
    let (again, outputs) = scene.connect_as(1, true, true);
    assert_eq!(
        disconnect_reason(again, &outputs),
        Some(DisconnectReason::Banned),
        "from another port too"
    );
}

#[test]
fn an_incomplete_buffer_is_no_fault_of_a_peer_and_the_piece_is_requested_again() {
    let mut scene = Scene::leecher();
    let (conn, asked) = scene.provider();
    let piece = asked[0].piece;
    let of_piece: Vec<BlockRequest> =
        asked.into_iter().filter(|request| request.piece == piece).collect();
    let mut later = Vec::new();
    for &request in &of_piece {
        later.extend(scene.deliver(conn, request).1);
    }
    let mut outputs = scene.input(Input::Stored { piece, outcome: StoreOutcome::IncompleteBuffer });
    assert_eq!(disconnect_reason(conn, &outputs), None);
    assert!(outputs.contains(&Output::Event(Event::IncompleteBuffer { piece })));
    outputs.extend(later);
    let mut again = Vec::new();
    for _ in 0..100 {
        let asked = requests(conn, &outputs);
        again.extend(asked.iter().copied().filter(|request| request.piece == piece));
        outputs = asked.into_iter().flat_map(|request| scene.deliver(conn, request).1).collect();
        outputs.extend(scene.tick(300));
    }
    let bytes: u32 = again.iter().map(|request| request.length).sum();
    assert_eq!(bytes, PIECE, "the piece is requested once more, from the same peer");
    let (_, outputs) = scene.connect_as(1, true, true);
    assert!(
        !outputs.iter().any(|output| matches!(output, Output::Disconnect { reason, .. }
            if *reason == DisconnectReason::Banned)),
        "no peer is banned"
    );
}

#[test]
fn after_a_storage_failure_nothing_more_is_requested() {
    let mut scene = Scene::leecher();
    let (conn, asked) = scene.provider();
    let piece = asked[0].piece;
    asked.iter().for_each(|&request| _ = scene.deliver(conn, request));
    scene.input(Input::Stored { piece, outcome: StoreOutcome::Failed });
    let (late, asked) = scene.provider();
    assert!(asked.is_empty());
    assert!(requests(late, &scene.tick(1000)).is_empty());
}

#[test]
fn a_choked_peer_is_rejected_but_for_a_few_pieces() {
    let adjust = |config: &mut Config| config.choking = Choking::TitForTat;
    let mut scene = Scene::with_pieces(Bitfield::full(PIECES), adjust);
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
        let outputs = scene.message(conn, Message::Request(range(piece, 0, UNIT)));
        let block = Block { piece, offset: 0, length: UNIT };
        scene.input(Input::BlockSent { conn, block });
        let answer = Output::SendBlock { conn, block };
        let rejected = sent(conn, &outputs).contains(&Message::Reject(range(piece, 0, UNIT)));
        assert_eq!(rejected, !allowed.contains(&piece), "piece {piece}");
        assert_eq!(outputs.contains(&answer), !rejected, "piece {piece}");
    }
}

#[test]
fn a_missing_piece_is_rejected_and_a_cancelled_block_is_not_sent() {
    let mut scene = Scene::leecher();
    let conn = scene.connect_peer();
    let outputs = scene.message(conn, Message::Request(range(3, 0, UNIT)));
    assert_eq!(sent(conn, &outputs), [Message::Reject(range(3, 0, UNIT))]);
    let mut scene = Scene::seed();
    let conn = scene.connect_peer();
    let mut blocks = 0;
    for piece in 0..PIECES {
        for offset in [0, UNIT] {
            let outputs = scene.message(conn, Message::Request(range(piece, offset, UNIT)));
            blocks +=
                outputs.iter().filter(|output| matches!(output, Output::SendBlock { .. })).count();
        }
    }
    assert!(blocks < 2 * PIECES as usize, "not everything is handed to the sockets at once");
    let outputs = scene.message(conn, Message::Cancel(range(PIECES - 1, UNIT, UNIT)));
    assert_eq!(sent(conn, &outputs), [Message::Reject(range(PIECES - 1, UNIT, UNIT))]);
}

#[test]
fn metadata_is_sent_twice_and_not_more() {
    let mut scene = Scene::seed();
    let conn = scene.connect_peer();
    let handshake = ExtensionHandshake { ut_metadata: Some(9), ..ExtensionHandshake::default() };
    scene.message(conn, extended(0, handshake.encode()));
    let mut answers = Vec::new();
    for _ in 0..20 {
        let outputs =
            scene.message(conn, extended(1, MetadataMessage::Request { piece: 0 }.encode()));
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
fn a_private_swarm_ignores_exchanged_peers() {
    for private in [false, true] {
        let mut scene = Scene::new(None, |_| {});
        let content = content(Bitfield::new(PIECES), private);
        scene.input(Input::ContentReady(Box::new(content)));
        let conn = scene.connect_peer();
        let addr = SocketAddr::from(([10, 9, 9, 9], 9999));
        let told = PexMessage { added: vec![addr], dropped: vec![] };
        let outputs = scene.message(conn, extended(2, told.encode()));
        assert_eq!(
            outputs.contains(&Output::Dial { addr, dialect: Dialect::BitTorrent }),
            !private
        );
    }
}

#[test]
fn peers_that_were_exchanged_before_a_swarm_turned_out_to_be_private_are_not_used() {
    for private in [false, true] {
        let mut scene = Scene::new(None, |_| {});
        let conn = scene.connect_peer();
        let exchanged: Vec<SocketAddr> =
            (1..=5).map(|host| SocketAddr::from(([10, 9, 9, host], 9999))).collect();
        let told = PexMessage { added: exchanged.clone(), dropped: vec![] };
        scene.message(conn, extended(2, told.encode()));
        let met = exchanged[0];
        let connected = |addr, conn| Input::Connected {
            conn,
            addr,
            direction: Direction::Dialed,
            handshake: PeerHandshake::BitTorrent(Handshake {
                info_hash: InfoHash([0; 20]),
                peer_id: PeerId([conn.0 as u8; 20]),
                fast: true,
                extended: true,
            }),
        };
        let outputs = scene.input(connected(met, ConnId(70)));
        assert!(!outputs.iter().any(|output| matches!(output, Output::Disconnect { .. })));
        let content = content(Bitfield::new(PIECES), private);
        let left = |outputs: &[Output]| -> Vec<ConnId> {
            let ids = outputs.iter().filter_map(|output| match output {
                Output::Disconnect { conn, reason: DisconnectReason::PrivateSwarm } => Some(*conn),
                _ => None,
            });
            ids.collect()
        };
        let outputs = scene.input(Input::ContentReady(Box::new(content)));
        let expected = |conn| if private { vec![ConnId(conn)] } else { vec![] };
        assert_eq!(left(&outputs), expected(70));
        // A dial that was under way.
        let outputs = scene.input(connected(exchanged[1], ConnId(71)));
        assert_eq!(left(&outputs), expected(71));
    }
}
