//! The settings of an engine, and the content that it starts with. No state.

use std::time::Duration;

use bytes::Bytes;
use sow_content::{Bitfield, Geometry};
use sow_wire::{bittorrent::PeerId, chunk::Spelling};

/// How uploads are shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choking {
    /// Peers that co-operate: an interested peer is unchoked at once, up to
    /// [`Config::upload_slots`].
    Cooperative,
    /// BEP 3's tit-for-tat: four slots for the peers with the highest rates, one at random.
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
    /// Our peer id.
    pub peer_id: PeerId,
    /// The port that accepts connections; 0 when none does.
    pub listen_port: u16,
    /// How uploads are shared out.
    pub choking: Choking,
    /// Which missing piece is asked for first.
    pub order: PickOrder,
    /// Super-seeding: reveal pieces one by one instead of all at once while seeding, each piece
    /// once before any twice (after BEP 16, without its idle times). For the origin of a flash
    /// crowd.
    pub spread: bool,
    /// Receivers are asked to say who they are and what became of their copies: for the origin of a
    /// fleet.
    pub collects_receivers: bool,
    /// Receivers fetch the content from each other in the order of its pieces, as an origin that
    /// the user named tells them (`sow_relay`); as the origin, we tell them. Off unless set: on
    /// equal links it is nearer to the bound, behind a slow origin it is not.
    pub relays: bool,
    /// The limit of connections, in both directions; more are refused.
    pub max_peers: usize,
    /// The limit of connections that we dial.
    pub max_dialed: usize,
    /// Peers that are unchoked at the same time.
    pub upload_slots: usize,
    /// Bytes of pieces that may be in memory at once, incomplete or not written yet; two pieces at
    /// least.
    pub open_bytes: u64,
    /// The longest block that is requested or sent, in bytes: above 16 KiB only with peers that say
    /// that they can.
    pub max_block: u32,
    /// Tiers of tracker URLs (BEP 12).
    pub trackers: Vec<Vec<String>>,
    /// The longest interval between announces while peers are needed, whatever a tracker asks for.
    pub announce_at_least: Duration,
    /// How the chunk protocol is spoken.
    pub chunk: ChunkConfig,
    /// The seed of all randomness.
    pub seed: u64,
}

/// How the chunk protocol is spoken, which has two roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkConfig {
    /// We are the server: the authority on the file, which knows all clients.
    pub server: bool,
    /// The spelling that is sent; both are understood.
    pub spelling: Spelling,
}

/// The content, once its metadata is known.
#[derive(Debug, Clone)]
pub struct Content {
    /// Size and pieces.
    pub geometry: Geometry,
    /// The pieces that are written and verified already.
    pub have: Bitfield,
    /// The bencoded info dictionary, for peers that ask for it (BEP 9).
    pub metadata: Bytes,
    /// Peers come from trackers alone (BEP 27).
    pub private: bool,
    /// How the content is verified.
    pub integrity: Integrity,
    /// The MD5 of the content, if it is known already.
    pub md5: Option<[u8; 16]>,
}

/// How content is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Integrity {
    /// Each piece has a hash.
    PieceHashes,
    /// Only the whole has a digest, an MD5 that a server knows (chunk).
    FileDigest,
}

/// One part in this many of the places is kept for connections that we dial, while something is
/// missing here.
const DIALED_SHARE: usize = 8;

impl Config {
    /// How many of [`Config::max_peers`] are kept for connections that we dial while something is
    /// missing here: peers that connect to us must not keep us from dialing.
    pub fn places_kept_for_dialing(&self) -> usize {
        self.max_dialed.min(self.max_peers / DIALED_SHARE)
    }

    /// Settings for peers that co-operate.
    pub fn new(peer_id: PeerId, listen_port: u16, seed: u64) -> Self {
        Self {
            peer_id,
            listen_port,
            choking: Choking::Cooperative,
            order: PickOrder::RarestFirst,
            spread: false,
            collects_receivers: false,
            relays: false,
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
