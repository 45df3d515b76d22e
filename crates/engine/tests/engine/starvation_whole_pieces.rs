//! Peers that have everything and answer no request, beside an honest one, in the dialects that
//! request whole pieces, one at a time.

use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use sow_content::{Bitfield, Geometry};
use sow_engine::{
    ConnId, Content, Dialect, Direction, Input, Integrity, Message, Output, PeerHandshake,
    StoreMode, StoreOutcome, Time,
};
use sow_wire::{bittorrent::BlockRequest, chunk::Message as Chunk, json_torrent::Message as Json};

use crate::scene::Scene;

const PIECE: u32 = 32 * 1024;
const PIECES: u32 = 200;
const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9));

/// The time that the honest peer needs for a piece.
const STEP_MICROS: u64 = 10_000;

/// An engine that downloads from one honest peer, which is the last to connect.
struct Swarm {
    scene: Scene,
    honest: ConnId,
    requests: Vec<u32>,
}

impl Swarm {
    fn new(dialect: Dialect, starvers: u8) -> Self {
        let (integrity, handshake) = match dialect {
            Dialect::Chunk => (Integrity::FileDigest, PeerHandshake::Chunk { local: LOCAL }),
            _ => (Integrity::PieceHashes, PeerHandshake::JsonTorrent { local: LOCAL }),
        };
        let content = Content {
            geometry: Geometry::new(u64::from(PIECES * PIECE), u64::from(PIECE)).unwrap(),
            have: Bitfield::new(PIECES),
            metadata: Bytes::new(),
            private: false,
            integrity,
            md5: None,
        };
        let scene = Scene::new(Some(content), |_| {});
        let mut swarm = Self { scene, honest: ConnId(0), requests: Vec::new() };
        for host in 0..=starvers {
            let (conn, mut outputs) =
                swarm.scene.connect_host(host + 2, Direction::Dialed, handshake);
            swarm.honest = conn;
            let messages: Vec<Message> = match dialect {
                Dialect::Chunk => vec![
                    Message::Chunk(Chunk::PeerHello),
                    Message::Chunk(Chunk::List((0..PIECES).collect())),
                ],
                _ => vec![
                    Message::JsonTorrent(Json::Bitfield(vec![1; PIECES as usize].into())),
                    Message::JsonTorrent(Json::Unchoke),
                ],
            };
            for message in messages {
                outputs.extend(swarm.scene.message(conn, message));
            }
            swarm.requests.clear();
            swarm.take_in(outputs);
        }
        swarm
    }

    fn take_in(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            let stored = match output {
                Output::Send { conn, message } if conn == self.honest => {
                    match message {
                        Message::Chunk(Chunk::Request(piece)) => self.requests.push(piece as u32),
                        Message::JsonTorrent(Json::Request(piece)) => self.requests.push(piece),
                        _ => {}
                    }
                    continue;
                }
                Output::Store { piece, mode, .. } => (piece, mode),
                _ => continue,
            };
            let (piece, mode) = stored;
            let outcome = match mode {
                StoreMode::Verify { .. } => StoreOutcome::Verified { digests: Vec::new() },
                _ => StoreOutcome::WrittenUnverified { differed: false },
            };
            let mut outputs = self.scene.input(Input::Stored { piece, outcome });
            let have = self.scene.engine.have().unwrap();
            let first = (0..PIECES).find(|&piece| !have.get(piece)).unwrap_or(PIECES);
            let bytes = u64::from(first) * u64::from(PIECE);
            outputs.extend(self.scene.input(Input::DigestProgress { bytes }));
            self.take_in(outputs);
        }
    }

    /// The seconds until every piece is here.
    fn run(&mut self) -> f64 {
        while !self.scene.engine.have().unwrap().is_full() {
            let until = Time(self.scene.now.0 + STEP_MICROS);
            for piece in std::mem::take(&mut self.requests) {
                let request = BlockRequest { piece, offset: 0, length: PIECE };
                let (_, outputs) = self.scene.deliver(self.honest, request);
                self.take_in(outputs);
            }
            self.scene.now = self.scene.now.max(until);
            let now = self.scene.now;
            assert!(now < Time(120_000_000), "not complete after 120 s");
            if self.scene.engine.next_wake().is_some_and(|wake| wake <= now) {
                self.scene.engine.handle(now, Input::Tick);
            }
            let outputs = self.scene.outputs();
            self.take_in(outputs);
        }
        self.scene.now.0 as f64 / 1e6
    }
}

#[test]
fn peers_that_answer_no_request_for_a_piece_cost_little_time() {
    for dialect in [Dialect::Chunk, Dialect::JsonTorrent] {
        let alone = Swarm::new(dialect, 0).run();
        for starvers in [1, 2, 4, 20, 50] {
            let beside = Swarm::new(dialect, starvers).run();
            println!("{dialect}, {starvers}: {beside:.2} s, {alone:.2} s alone");
            assert!(
                beside <= 1.3 * alone + 3.0,
                "{dialect}, {starvers} peers: {beside:.2} s, {alone:.2} s alone"
            );
        }
    }
}
