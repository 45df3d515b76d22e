//! One simulated machine: an engine, its link, and a store that remembers which bytes are right. No
//! clock, no network.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use sow_content::{BLOCK_LENGTH, Bitfield, Block, Geometry};
use sow_engine::{Engine, Message, StoreMode, StoreOutcome, Time};
use sow_wire::bittorrent::PeerId;

use crate::link::{Link, Rates};

/// A host, by number; the origin is number 0.
pub type HostId = usize;

/// What travels.
#[derive(Debug, Clone)]
pub(crate) enum Item {
    /// A message.
    Message(Message),
    /// A block, and whether its bytes are what they should be.
    Block {
        /// Which.
        block: Block,
        /// A bit of it is wrong.
        tainted: bool,
    },
}

/// One machine.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) addr: SocketAddr,
    /// `None` while it is dead.
    pub(crate) engine: Option<Engine>,
    pub(crate) link: Link<Item>,
    /// Survives a restart.
    pub(crate) have: Bitfield,
    pub(crate) origin: bool,
    /// Flips a bit in the first block of every piece that it sends.
    pub(crate) liar: bool,
    pub(crate) lives: u32,
    pub(crate) complete: Option<Time>,
    /// The earliest tick that is on the agenda.
    pub(crate) tick: Option<Time>,
    /// Addresses that it banned.
    pub(crate) banned: BTreeSet<SocketAddr>,
    /// Pieces that are stored wrong: the dialect has no hashes by which that could be told.
    pub(crate) wrong: BTreeSet<u32>,
    /// Pieces stored, over all its lives: one that counts twice was fetched twice.
    pub(crate) stored: Vec<u32>,
    /// Wrong blocks that it sent and others kept.
    pub(crate) lies: u32,
    /// Bytes of payload sent.
    pub(crate) served: u64,
    assemblies: BTreeMap<u32, BTreeMap<u32, (u32, bool)>>,
}

impl Host {
    /// How many bytes from the first one on are stored.
    pub(crate) fn here_from_the_beginning(&self, geometry: Geometry) -> u64 {
        let missing = (0..geometry.pieces()).find(|&piece| !self.have.get(piece));
        missing.map_or(geometry.total(), |piece| geometry.range_of(piece).start)
    }

    pub(crate) fn new(index: u32, rates: Rates, have: Bitfield, origin: bool) -> Self {
        Self {
            addr: SocketAddr::new(IpAddr::V4(Ipv4Addr::from(0x0a00_0001 + index)), 52000),
            engine: None,
            link: Link::new(rates),
            have,
            origin,
            liar: false,
            lives: 0,
            complete: None,
            tick: None,
            banned: BTreeSet::new(),
            wrong: BTreeSet::new(),
            stored: Vec::new(),
            lies: 0,
            served: 0,
            assemblies: BTreeMap::new(),
        }
    }

    /// Its name in this life.
    pub(crate) fn peer_id(&self) -> PeerId {
        let text = format!(
            "-SI0001-{:>8}{:04}",
            self.addr.ip().to_string().replace('.', ""),
            self.lives % 10_000
        );
        let mut id = [b'-'; 20];
        for (to, from) in id.iter_mut().zip(text.bytes()) {
            *to = from;
        }
        PeerId(id)
    }

    /// It dies: what is not in the store is gone.
    pub(crate) fn die(&mut self) {
        self.engine = None;
        self.tick = None;
        self.assemblies.clear();
        let rates = self.link.rates;
        let sent = self.link.sent;
        self.link = Link::new(rates);
        self.link.sent = sent;
    }

    pub(crate) fn keep(&mut self, kept: Block, tainted: bool) {
        let blocks = self.assemblies.entry(kept.piece).or_default();
        let before = blocks.insert(kept.offset, (kept.length, tainted));
        assert!(before.is_none(), "bytes of piece {} kept twice", kept.piece);
    }

    pub(crate) fn forget(&mut self, piece: u32) {
        self.assemblies.remove(&piece);
    }

    /// A sum of what is stored: zeros when all of it is right, else something that depends on what
    /// is not.
    pub(crate) fn sum(&self) -> [u8; 16] {
        let mut sum = [0; 16];
        for piece in &self.wrong {
            sum[(piece % 16) as usize] ^= 1 + (piece / 16 % 255) as u8;
        }
        sum
    }

    /// Checks and stores a piece as a real store would.
    pub(crate) fn store(
        &mut self,
        piece: u32,
        geometry: Geometry,
        storing: StoreMode,
    ) -> StoreOutcome {
        let blocks = self.assemblies.remove(&piece).unwrap_or_default();
        let mut end = 0;
        let mut units = vec![[0; 20]; geometry.blocks_in(piece) as usize];
        let mut right = true;
        for (offset, (length, tainted)) in blocks {
            assert_eq!(offset, end, "piece {piece} has a hole, or bytes twice");
            end = offset + length;
            right &= !tainted;
            // Only its first unit differs: that is where the bit was flipped.
            units[(offset / BLOCK_LENGTH) as usize] = [u8::from(tainted); 20];
        }
        assert_eq!(end, geometry.length_of(piece), "piece {piece} is not whole");
        match storing {
            StoreMode::Verify { .. } if !right => return StoreOutcome::Corrupt { digests: units },
            StoreMode::WriteIfDifferent => {
                let differed =
                    if right { self.wrong.remove(&piece) } else { self.wrong.insert(piece) };
                return StoreOutcome::WrittenUnverified { differed };
            }
            StoreMode::Verify { .. } | StoreMode::WriteUnverified => {}
        }
        self.have.set(piece);
        self.stored.push(piece);
        if !right {
            self.wrong.insert(piece);
        }
        match storing {
            StoreMode::Verify { digests } => {
                StoreOutcome::Verified { digests: if digests { units } else { Vec::new() } }
            }
            StoreMode::WriteUnverified | StoreMode::WriteIfDifferent => {
                StoreOutcome::WrittenUnverified { differed: false }
            }
        }
    }
}
