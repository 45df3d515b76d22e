//! What an engine is told when it is made: limits, habits, the seed of its randomness. No state.

use std::time::Duration;

use bytes::Bytes;
use sow_content::{Bitfield, Geometry};
use sow_wire::{bittorrent::PeerId, chunk::Spelling};

/// How uploads are shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choking {
    /// Machines that co-operate: whoever is interested is unchoked at once, up to
    /// [`Config::upload_slots`].
    Cooperative,
    /// BEP 3's tit-for-tat among strangers: four slots by what they send, one optimistic.
    TitForTat,
}

/// Which missing piece is asked for first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PickOrder {
    /// The piece that the fewest peers have, ties broken at random.
    RarestFirst,
    /// Ascending, for output that is read as a stream.
    InOrder,
}

/// The settings of one engine.
#[derive(Debug, Clone)]
pub struct Config {
    /// Our name in the swarm.
    pub peer_id: PeerId,
    /// The port that others reach us on; 0 when they cannot.
    pub listen_port: u16,
    /// How uploads are shared out.
    pub choking: Choking,
    /// Which missing piece is asked for first.
    pub order: PickOrder,
    /// Offer pieces one by one instead of all at once while seeding, each piece once before any
    /// twice (after BEP 16, without its idle times). For the origin of a flash crowd.
    pub spread: bool,
    /// Connections at the same time, both directions; more are refused.
    pub max_peers: usize,
    /// Connections that we open ourselves; beyond it we wait to be called.
    pub max_dialed: usize,
    /// Peers that are unchoked at the same time.
    pub upload_slots: usize,
    /// Bytes of pieces that may be in memory at once, incomplete or not yet on the disk; two pieces
    /// at least.
    pub open_bytes: u64,
    /// The longest block that we ask for or send, in bytes: above 16 KiB only with peers that say
    /// they can.
    pub max_block: u32,
    /// Tiers of tracker URLs (BEP 12).
    pub trackers: Vec<Vec<String>>,
    /// Longest time between announces while peers are needed, in spite of what a tracker asks for.
    pub announce_at_least: Duration,
    /// How `chunk` is spoken.
    pub chunk: ChunkConfig,
    /// Where all randomness comes from.
    pub seed: u64,
}

/// How document 1's protocol is spoken, which has two roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkConfig {
    /// We are the server: the authority on the file, and the one who knows everybody.
    pub server: bool,
    /// What is sent; both spellings are understood.
    pub spelling: Spelling,
}

/// The content, once its metadata is known.
#[derive(Debug, Clone)]
pub struct Content {
    /// Size and pieces.
    pub geometry: Geometry,
    /// What is verified and on the disk already.
    pub have: Bitfield,
    /// The bencoded info dictionary, for peers that ask for it (BEP 9).
    pub metadata: Bytes,
    /// Peers come from trackers alone (BEP 27).
    pub private: bool,
    /// How it is told that a piece is right.
    pub proof: Integrity,
    /// The MD5 of the whole, where it is known already.
    pub md5: Option<[u8; 16]>,
}

/// How it is told that what came is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Integrity {
    /// Each piece has a hash.
    PieceHashes,
    /// Nothing but the sum of the whole, which a server knows (document 1).
    FileDigest,
}

impl Config {
    /// Settings that suit machines that co-operate.
    pub fn new(peer_id: PeerId, listen_port: u16, seed: u64) -> Self {
        Self {
            peer_id,
            listen_port,
            choking: Choking::Cooperative,
            order: PickOrder::RarestFirst,
            spread: false,
            max_peers: 200,
            max_dialed: 30,
            upload_slots: 100,
            open_bytes: 48 << 20,
            max_block: 128 << 10,
            trackers: Vec::new(),
            announce_at_least: Duration::from_secs(30),
            chunk: ChunkConfig { server: false, spelling: Spelling::Documented },
            seed,
        }
    }
}
