//! Bytes as operations: what happens next to an engine.

use std::{net::SocketAddr, time::Duration};

use sow_engine::{
    AnnounceError, AnnounceReply, ConnId, Direction, DisconnectReason, Input, PeerSource,
    StoreMode, StoreOutcome,
};
use sow_wire::bittorrent::BlockRequest;

use super::scene::Scene;

/// The rest of the input. After its end everything reads as 0.
pub(super) struct Operations<'a> {
    data: &'a [u8],
}

impl<'a> Operations<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { data }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.data.split_first() else { return 0 };
        self.data = rest;
        byte
    }

    pub(super) fn short(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// A number that is mostly small, and sometimes at the end of its range.
    pub(super) fn number(&mut self) -> u32 {
        match self.byte() {
            255 => u32::MAX,
            254 => u32::from(self.short()) << 14,
            253 => u32::from(self.short()),
            small => u32::from(small) % 16,
        }
    }

    pub(super) fn block(&mut self) -> BlockRequest {
        let piece = self.number();
        let offset = [0, 1 << 14, 1, 1 << 13][usize::from(self.byte() & 3)];
        let lengths = [1 << 14, 1 << 13, 24 << 10, 9841, 1, 0, u32::MAX, 1 << 17];
        BlockRequest { piece, offset, length: lengths[usize::from(self.byte() & 7)] }
    }

    /// An address: of a few hosts and ports, so that some are the same.
    pub(super) fn address(&mut self) -> SocketAddr {
        let (host, port) = (self.byte(), self.byte());
        let port = if port < 128 { 40_000 + u16::from(port % 4) } else { u16::from(port) - 128 };
        match host {
            0..200 => SocketAddr::from(([10, 0, 0, host % 8], port)),
            _ => SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(host)], port)),
        }
    }

    fn conn(&mut self, scene: &Scene) -> Option<ConnId> {
        let at = usize::from(self.byte());
        (!scene.open.is_empty()).then(|| scene.open[at % scene.open.len()])
    }

    /// Carries out the next operation.
    pub(super) fn next(&mut self, scene: &mut Scene) {
        match self.byte() % 20 {
            0 => {
                let addr = self.address();
                scene.connect(addr, Direction::Accepted, self.byte());
            }
            1 => _ = self.conn(scene).map(|conn| scene.close(conn)),
            2 => scene.pass(u64::from(self.byte())),
            3 => scene.pass(u64::from(self.short())),
            4 | 5 => {
                if let Some((conn, request)) = scene.requested.pop_front() {
                    scene.deliver(conn, request);
                }
            }
            6 => {
                let block = self.block();
                self.conn(scene).into_iter().for_each(|conn| scene.deliver(conn, block));
            }
            7 => self.store(scene),
            8 => self.peers_found(scene),
            9 => {
                if let Some(addr) = scene.dials.pop_front() {
                    match self.byte() % 4 {
                        0 => scene.input(Input::DialFailed { addr }),
                        1 => scene.input(Input::DialedOurselves { addr }),
                        bits => scene.connect(addr, Direction::Dialed, bits << 2 | self.byte()),
                    }
                }
            }
            10 => self.announced(scene),
            11 => {
                if let Some((conn, block)) = scene.sending.pop_front() {
                    scene.input(Input::BlockSent { conn, block });
                }
            }
            12 => scene.begin_content(),
            13 => {
                let reason = DisconnectReason::MessageTimeout;
                if let Some(conn) = self.conn(scene) {
                    scene.input(Input::ReadFailed { conn, reason });
                }
            }
            14 => self.digest(scene),
            15 if self.byte() == 77 => scene.input(Input::Stop),
            _ => {
                if let Some(conn) = self.conn(scene) {
                    let message = self.message(scene.dialect, scene.geometry.pieces());
                    scene.input(Input::Message { conn, message });
                }
            }
        }
    }

    fn store(&mut self, scene: &mut Scene) {
        let Some((piece, mode)) = scene.stores.pop_front() else { return };
        let units = scene.geometry.blocks_in(piece) as usize;
        let digests = vec![[self.byte() & 1; 20]; units];
        let outcome = match (self.byte() % 8, mode) {
            (0, _) => StoreOutcome::Failed,
            (1, _) => StoreOutcome::IncompleteBuffer,
            (2 | 3, StoreMode::Verify { .. }) => StoreOutcome::Corrupt { digests },
            (_, StoreMode::Verify { digests: true }) => StoreOutcome::Verified { digests },
            (_, StoreMode::Verify { .. }) => StoreOutcome::Verified { digests: Vec::new() },
            (bits, _) => StoreOutcome::WrittenUnverified { differed: bits & 1 == 1 },
        };
        let is_written = !matches!(
            outcome,
            StoreOutcome::Failed | StoreOutcome::IncompleteBuffer | StoreOutcome::Corrupt { .. }
        );
        if is_written {
            scene.on_written(piece);
        }
        scene.input(Input::Stored { piece, outcome });
    }

    fn peers_found(&mut self, scene: &mut Scene) {
        let sources =
            [PeerSource::Named, PeerSource::Tracker, PeerSource::Pex, PeerSource::Incoming];
        let source = sources[usize::from(self.byte() & 3)];
        let addrs = (0..self.byte() % 8).map(|_| self.address()).collect();
        scene.input(Input::PeersFound { source, dialect: scene.dialect, addrs });
    }

    fn announced(&mut self, scene: &mut Scene) {
        let Some(url) = scene.announces.pop_front() else { return };
        let reply = match self.byte() % 4 {
            0 => Err(AnnounceError::Timeout),
            _ => Ok(AnnounceReply {
                from: None,
                min_interval: None,
                warning: None,
                interval: Duration::from_secs(u64::from(self.short())),
                peers: (0..self.byte() % 8).map(|_| self.address()).collect(),
                complete: None,
                incomplete: Some(u32::from(self.byte())),
            }),
        };
        scene.input(Input::Announced { url, reply });
    }

    fn digest(&mut self, scene: &mut Scene) {
        if scene.digests_due > 0 {
            scene.digests_due -= 1;
            scene.input(Input::FileDigest { md5: [self.byte() & 1; 16] });
        } else {
            scene.input(Input::DigestProgress { bytes: scene.contiguous() });
        }
    }
}
