//! One simulated machine: an engine, its link, and a store that keeps no bytes but knows which
//! pieces are corrupt. It has no clock and does not know other hosts.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use sow_content::{BLOCK_LENGTH, Bitfield, Block, Geometry};
use sow_engine::{Engine, Message, StateSize, StoreMode, StoreOutcome, Time};
use sow_wire::bittorrent::PeerId;

use crate::{
    host_link::{HostLink, LinkConfig, Load},
    hostile::HostilePeer,
};

/// The number of a host. The origin is number 0.
pub type HostId = usize;

/// One item on a connection.
#[derive(Debug, Clone)]
pub(crate) enum Item {
    /// A message.
    Message(Message),
    /// A block of the content.
    Block {
        /// The position and length of the block.
        block: Block,
        /// A bit of the block is flipped.
        corrupt: bool,
    },
}

impl Item {
    pub(crate) fn block(&self) -> Option<Block> {
        match self {
            Item::Message(_) => None,
            Item::Block { block, .. } => Some(*block),
        }
    }
}

impl Load for Item {
    fn content_bytes(&self) -> u64 {
        self.block().map_or(0, |block| u64::from(block.length))
    }
}

/// A block that was received and belongs to a piece that is not stored yet.
#[derive(Debug)]
struct BufferedBlock {
    length: u32,
    corrupt: bool,
}

/// One simulated machine.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) addr: SocketAddr,
    /// `None` while the host is down, and on a misbehaving host.
    pub(crate) engine: Option<Engine>,
    /// What runs on a misbehaving host in place of an engine.
    pub(crate) hostile: Option<HostilePeer>,
    pub(crate) link: HostLink<Item>,
    /// The pieces in the store. They survive a restart.
    pub(crate) have: Bitfield,
    pub(crate) is_origin: bool,
    /// The host flips a bit in the first block of each piece that it uploads.
    pub(crate) corrupts_uploads: bool,
    /// How often the host was started. It tells events of an earlier run from those of this one.
    pub(crate) starts: u32,
    /// When it was started first.
    pub(crate) joined_at: Time,
    pub(crate) completed_at: Option<Time>,
    /// The most that its engine held at once, over all starts, each number by itself.
    pub(crate) peak: StateSize,
    /// The earliest tick in the event queue.
    pub(crate) next_tick: Option<Time>,
    /// The addresses that the host banned.
    pub(crate) banned: BTreeSet<SocketAddr>,
    /// The pieces that are stored with a flipped bit, which a dialect without piece hashes cannot
    /// detect.
    pub(crate) corrupt_pieces: BTreeSet<u32>,
    /// Every piece that was stored, over all starts, in the order of storing.
    pub(crate) stored_pieces: Vec<u32>,
    /// The number of corrupt blocks that this host sent and another host accepted.
    pub(crate) accepted_corrupt_blocks: u32,
    /// Bytes of content that the host uploaded.
    pub(crate) uploaded: u64,
    /// By piece and offset.
    piece_buffers: BTreeMap<u32, BTreeMap<u32, BufferedBlock>>,
}

impl Host {
    pub(crate) fn new(index: u32, config: LinkConfig, have: Bitfield, is_origin: bool) -> Self {
        Self {
            addr: SocketAddr::new(IpAddr::V4(Ipv4Addr::from(0x0a00_0001 + index)), 52000),
            engine: None,
            hostile: None,
            link: HostLink::new(config),
            have,
            is_origin,
            corrupts_uploads: false,
            starts: 0,
            joined_at: Time(0),
            completed_at: None,
            peak: StateSize::default(),
            next_tick: None,
            banned: BTreeSet::new(),
            corrupt_pieces: BTreeSet::new(),
            stored_pieces: Vec::new(),
            accepted_corrupt_blocks: 0,
            uploaded: 0,
            piece_buffers: BTreeMap::new(),
        }
    }

    /// Whether an engine or a misbehaving peer runs on it.
    pub(crate) fn is_running(&self) -> bool {
        self.engine.is_some() || self.hostile.is_some()
    }

    /// Notes how much the engine holds.
    pub(crate) fn note_size(&mut self) {
        let Some(size) = self.engine.as_ref().map(Engine::state_size) else { return };
        self.peak = self.peak.max_of(size);
    }

    /// The peer id, which differs at each start.
    pub(crate) fn peer_id(&self) -> PeerId {
        let text = format!(
            "-SI0001-{:>8}{:04}",
            self.addr.ip().to_string().replace('.', ""),
            self.starts % 10_000
        );
        let mut id = [b'-'; 20];
        for (to, from) in id.iter_mut().zip(text.bytes()) {
            *to = from;
        }
        PeerId(id)
    }

    /// The number of bytes stored without a gap from the beginning of the content.
    pub(crate) fn contiguous_bytes(&self, geometry: Geometry) -> u64 {
        let missing = (0..geometry.pieces()).find(|&piece| !self.have.get(piece));
        missing.map_or(geometry.total(), |piece| geometry.range_of(piece).start)
    }

    /// Stops the host. What is not in the store is lost.
    pub(crate) fn kill(&mut self) {
        self.engine = None;
        self.hostile = None;
        self.next_tick = None;
        self.piece_buffers.clear();
        self.link.reset();
    }

    /// Adds a block to the buffer of its piece.
    pub(crate) fn buffer_block(&mut self, block: Block, corrupt: bool) {
        let buffer = self.piece_buffers.entry(block.piece).or_default();
        let before = buffer.insert(block.offset, BufferedBlock { length: block.length, corrupt });
        assert!(before.is_none(), "a block of piece {} was accepted twice", block.piece);
    }

    /// Drops the buffered blocks of a piece.
    pub(crate) fn discard_blocks(&mut self, piece: u32) {
        self.piece_buffers.remove(&piece);
    }

    /// A stand-in for the MD5 of the file: zeros when all stored pieces are right, else a value
    /// that depends on the corrupt pieces.
    pub(crate) fn file_digest(&self) -> [u8; 16] {
        let mut digest = [0; 16];
        for piece in &self.corrupt_pieces {
            digest[(piece % 16) as usize] ^= 1 + (piece / 16 % 255) as u8;
        }
        digest
    }

    /// Verifies and stores a piece as a real store does.
    pub(crate) fn store(
        &mut self,
        piece: u32,
        geometry: Geometry,
        mode: StoreMode,
    ) -> StoreOutcome {
        let buffer = self.piece_buffers.remove(&piece).unwrap_or_default();
        let mut end = 0;
        let mut block_digests = vec![[0; 20]; geometry.blocks_in(piece) as usize];
        let mut is_intact = true;
        for (offset, block) in buffer {
            assert_eq!(offset, end, "piece {piece} has a gap or overlapping blocks");
            end = offset + block.length;
            is_intact &= !block.corrupt;
            // The flipped bit is in the first 16 KiB of what was sent, so only that digest differs.
            block_digests[(offset / BLOCK_LENGTH) as usize] = [u8::from(block.corrupt); 20];
        }
        assert_eq!(end, geometry.length_of(piece), "piece {piece} is not whole");
        match mode {
            StoreMode::Verify { .. } if !is_intact => {
                return StoreOutcome::Corrupt { digests: block_digests };
            }
            StoreMode::WriteIfDifferent => {
                let differed = if is_intact {
                    self.corrupt_pieces.remove(&piece)
                } else {
                    self.corrupt_pieces.insert(piece)
                };
                return StoreOutcome::WrittenUnverified { differed };
            }
            StoreMode::Verify { .. } | StoreMode::WriteUnverified => {}
        }
        self.have.set(piece);
        self.stored_pieces.push(piece);
        if !is_intact {
            self.corrupt_pieces.insert(piece);
        }
        match mode {
            StoreMode::Verify { digests } => {
                StoreOutcome::Verified { digests: if digests { block_digests } else { Vec::new() } }
            }
            StoreMode::WriteUnverified | StoreMode::WriteIfDifferent => {
                StoreOutcome::WrittenUnverified { differed: false }
            }
        }
    }
}
