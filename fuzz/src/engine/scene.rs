//! One engine and what it believes to be there: connections, dials, a store, a tracker. It carries
//! out the outputs and checks each of them.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use bytes::Bytes;
use sow_content::{Bitfield, Block, Geometry, InfoHash};
use sow_engine::{
    Choking, Config, ConnId, Content, Dialect, Direction, Engine, Event, Input, Integrity,
    JSON_TRACKER, Message, Output, PeerHandshake, PickOrder, StoreMode, Time,
};
use sow_wire::{
    bittorrent::{BlockRequest, Handshake, Message as BitTorrent, PeerId},
    chunk, json_torrent,
};

use super::operations::Operations;

/// The info dictionary of the swarm.
pub(super) const METADATA: &[u8] = b"an info dictionary";

/// The size and the piece length of the content: a few pieces of one and a half blocks, and a
/// shorter one.
const TOTAL: u64 = 150_001;
const PIECE_LENGTH: u64 = 24 << 10;

/// Pieces of a content that a peer described, beyond which no store is made.
const MAX_PIECES: u32 = 4096;

/// What passes with each input, in microseconds.
const INPUT_MICROS: u64 = 500;

/// After this time without any input, a silent peer is disconnected and nothing is owed.
const SILENCE_SECONDS: u64 = 400;

pub(super) struct Scene {
    pub(super) engine: Engine,
    pub(super) dialect: Dialect,
    pub(super) geometry: Geometry,
    pub(super) open: Vec<ConnId>,
    pub(super) dials: VecDeque<SocketAddr>,
    pub(super) stores: VecDeque<(u32, StoreMode)>,
    pub(super) sending: VecDeque<(ConnId, Block)>,
    pub(super) requested: VecDeque<(ConnId, BlockRequest)>,
    pub(super) announces: VecDeque<String>,
    pub(super) digests_due: u32,
    pub(super) awaits_store: bool,
    now: Time,
    connections: u64,
    max_peers: usize,
    /// Bytes of open pieces that the engine kept, by piece.
    buffered: BTreeMap<u32, u64>,
    stored: BTreeSet<u32>,
    is_stopped: bool,
}

impl Scene {
    pub(super) fn new(operations: &mut Operations<'_>) -> Self {
        let settings = operations.byte();
        let dialect = match settings & 3 {
            0 => Dialect::Chunk,
            1 => Dialect::JsonTorrent,
            _ => Dialect::BitTorrent,
        };
        let geometry = Geometry::new(TOTAL, PIECE_LENGTH).expect("it is valid");
        let have = match settings >> 2 & 3 {
            0 => Some(Bitfield::full(geometry.pieces())),
            1 if dialect != Dialect::JsonTorrent => None,
            _ => Some(Bitfield::new(geometry.pieces())),
        };
        let mut config = Config::new(PeerId([5; 20]), 51_000, u64::from(settings));
        config.relays = settings & 32 == 0;
        let trackers = if dialect == Dialect::JsonTorrent { JSON_TRACKER } else { "http://" };
        config.trackers = vec![vec![format!("{trackers}10.9.9.9:1/a")]];
        config.spread = settings & 16 != 0;
        config.chunk.server = have.as_ref().is_some_and(Bitfield::is_full);
        if settings & 32 != 0 {
            config.choking = Choking::TitForTat;
        }
        if settings & 64 != 0 {
            (config.order, config.open_bytes) = (PickOrder::InOrder, 0);
        }
        if settings & 128 != 0 {
            (config.max_peers, config.max_dialed) = (4, 2);
        }
        let max_peers = config.max_peers;
        let stored = (0..geometry.pieces())
            .filter(|&at| have.as_ref().is_some_and(|have| have.get(at)))
            .collect();
        let content = have.map(|have| content(geometry, have, dialect));
        let info_hash = InfoHash(sow_content::hash::sha1(METADATA));
        let mut scene = Self {
            engine: Engine::new(config, info_hash, content, Time(0)),
            dialect,
            geometry,
            open: Vec::new(),
            dials: VecDeque::new(),
            stores: VecDeque::new(),
            sending: VecDeque::new(),
            requested: VecDeque::new(),
            announces: VecDeque::new(),
            digests_due: 0,
            awaits_store: false,
            now: Time(0),
            connections: 0,
            max_peers,
            buffered: BTreeMap::new(),
            stored,
            is_stopped: false,
        };
        scene.drain();
        scene
    }

    pub(super) fn input(&mut self, input: Input) {
        self.is_stopped |= matches!(input, Input::Stop);
        self.now = Time(self.now.0 + INPUT_MICROS);
        self.engine.handle(self.now, input);
        self.drain();
    }

    pub(super) fn pass(&mut self, milliseconds: u64) {
        self.now = Time(self.now.0 + 1000 * milliseconds);
        self.input(Input::Tick);
    }

    pub(super) fn connect(&mut self, addr: SocketAddr, direction: Direction, bits: u8) {
        if self.is_stopped {
            return;
        }
        self.connections += 1;
        let conn = ConnId(self.connections);
        let local = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 200));
        let handshake = match self.dialect {
            Dialect::BitTorrent => PeerHandshake::BitTorrent(Handshake {
                info_hash: InfoHash(sow_content::hash::sha1(METADATA)),
                peer_id: PeerId([bits >> 2; 20]),
                fast: bits & 1 == 0,
                extended: bits & 2 == 0,
            }),
            Dialect::Chunk => PeerHandshake::Chunk { local },
            Dialect::JsonTorrent => PeerHandshake::JsonTorrent { local },
        };
        self.open.push(conn);
        self.input(Input::Connected { conn, addr, direction, handshake });
    }

    /// A connection breaks.
    pub(super) fn close(&mut self, conn: ConnId) {
        self.forget(conn);
        self.input(Input::Closed { conn });
    }

    /// A block arrives.
    pub(super) fn deliver(&mut self, conn: ConnId, request: BlockRequest) {
        self.now = Time(self.now.0 + INPUT_MICROS);
        let kept = self.engine.block_arrived(self.now, conn, request);
        if let Some(kept) = kept {
            assert!(kept.piece == request.piece && kept.offset >= request.offset);
            assert!(kept.offset + kept.length <= request.offset + request.length);
            *self.buffered.entry(kept.piece).or_default() += u64::from(kept.length);
        }
        self.drain();
    }

    /// A store exists for what a peer described.
    pub(super) fn begin_content(&mut self) {
        if std::mem::take(&mut self.awaits_store) && self.geometry.pieces() <= MAX_PIECES {
            let have = Bitfield::new(self.geometry.pieces());
            let content = content(self.geometry, have, self.dialect);
            self.input(Input::ContentReady(Box::new(content)));
        }
    }

    /// The store wrote a piece.
    pub(super) fn on_written(&mut self, piece: u32) {
        self.stored.insert(piece);
    }

    /// The bytes that are stored without a gap.
    pub(super) fn contiguous(&self) -> u64 {
        let missing = (0..self.geometry.pieces()).find(|piece| !self.stored.contains(piece));
        missing.map_or(self.geometry.total(), |piece| self.geometry.range_of(piece).start)
    }

    fn forget(&mut self, conn: ConnId) {
        self.open.retain(|open| *open != conn);
        self.requested.retain(|(of, _)| *of != conn);
        self.sending.retain(|(of, _)| *of != conn);
    }

    fn drain(&mut self) {
        while let Some(output) = self.engine.poll() {
            self.carry_out(output);
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Dial { addr, .. } => {
                assert_ne!(addr.port(), 0);
                self.dials.push_back(addr);
                assert!(self.dials.len() <= 16, "too many dials at once");
            }
            Output::Send { conn, message } => {
                assert!(self.open.contains(&conn), "a message to a connection that is over");
                assert_eq!(message.dialect(), self.dialect);
                self.check_sent(conn, message);
            }
            Output::SendBlock { conn, block } => {
                assert!(self.open.contains(&conn), "a block to a connection that is over");
                assert!(self.stored.contains(&block.piece), "a piece that is not stored is served");
                assert!(block.offset + block.length <= self.geometry.length_of(block.piece));
                self.sending.push_back((conn, block));
            }
            Output::Disconnect { conn, .. } => {
                assert!(self.open.contains(&conn), "it is disconnected already");
                self.forget(conn);
            }
            Output::Store { piece, mode, length } => {
                let buffered = self.buffered.remove(&piece).unwrap_or_default();
                assert_eq!(u64::from(length), buffered, "a piece is stored that is not whole");
                assert_eq!(length, self.geometry.length_of(piece));
                self.stores.push_back((piece, mode));
            }
            Output::DigestFile => self.digests_due += 1,
            Output::DiscardBlocks { piece } => _ = self.buffered.remove(&piece),
            Output::Announce { url, .. } => self.announces.push_back(url),
            Output::Event(Event::Metadata(bytes)) => {
                assert_eq!(bytes, METADATA);
                self.awaits_store = true;
            }
            Output::Event(Event::GeometryLearned { geometry, .. }) => {
                self.geometry = geometry;
                self.awaits_store = true;
            }
            Output::Event(_) => {}
        }
    }

    /// Requests name what exists.
    fn check_sent(&mut self, conn: ConnId, message: Message) {
        let request = match message {
            Message::BitTorrent(BitTorrent::Request(request)) => request,
            Message::Chunk(chunk::Message::Request(id)) => {
                let piece = u32::try_from(id).expect("the number of a chunk");
                self.whole(piece)
            }
            Message::JsonTorrent(json_torrent::Message::Request(piece)) => self.whole(piece),
            Message::BitTorrent(BitTorrent::Have(piece)) => {
                return assert!(self.stored.contains(&piece), "a piece is announced too early");
            }
            _ => return,
        };
        assert!(request.piece < self.geometry.pieces() && request.length > 0);
        assert!(request.offset + request.length <= self.geometry.length_of(request.piece));
        self.requested.push_back((conn, request));
        // Requests that were cancelled or voided stay in this list, so that it is bounded here.
        if self.requested.len() > 4096 {
            self.requested.pop_front();
        }
    }

    fn whole(&self, piece: u32) -> BlockRequest {
        assert!(piece < self.geometry.pieces(), "a request for a piece that does not exist");
        BlockRequest { piece, offset: 0, length: self.geometry.length_of(piece) }
    }

    /// The engine holds no more than it may.
    pub(super) fn check_bounds(&self) {
        let size = self.engine.state_size();
        assert_eq!(size.connections, self.open.len(), "the engine counts other connections");
        // Peers that the user named come on top of the limit.
        assert!(size.connections <= self.max_peers + 16, "{size:?}");
        assert!(size.addresses <= 16_000, "{size:?}");
        assert!(size.open_pieces <= self.geometry.pieces() as usize, "{size:?}");
        assert!(size.requests <= 2048 * size.connections, "{size:?}");
        assert!(size.uploads <= 4096 * size.connections, "{size:?}");
        if let Some(wake) = self.engine.next_wake().filter(|_| !self.is_stopped) {
            assert!(wake.0 < self.now.0 + 100_000_000_000, "the next wake is years away");
        }
    }

    /// Nothing is said for long: no connection is left, and no request is outstanding.
    pub(super) fn check_silence(&mut self) {
        // The store, the sockets and the dials answer as they always do.
        for _ in 0..SILENCE_SECONDS {
            while let Some((piece, _)) = self.stores.pop_front() {
                let outcome = sow_engine::StoreOutcome::Failed;
                self.input(Input::Stored { piece, outcome });
            }
            while let Some(addr) = self.dials.pop_front() {
                self.input(Input::DialFailed { addr });
            }
            while let Some((conn, block)) = self.sending.pop_front() {
                self.input(Input::BlockSent { conn, block });
            }
            self.pass(1000);
        }
        let size = self.engine.state_size();
        assert!(size.connections == 0 && size.requests == 0, "after a long silence: {size:?}");
    }
}

fn content(geometry: Geometry, have: Bitfield, dialect: Dialect) -> Content {
    let integrity = match dialect {
        Dialect::Chunk => Integrity::FileDigest,
        Dialect::BitTorrent | Dialect::JsonTorrent => Integrity::PieceHashes,
    };
    let metadata = Bytes::from_static(METADATA);
    Content { geometry, have, metadata, private: false, integrity, md5: None }
}
