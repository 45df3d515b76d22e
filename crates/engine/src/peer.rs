//! One connection's state: what was said on it, what is in flight on it. No decisions that involve
//! other peers.

use std::{
    collections::{BTreeSet, VecDeque},
    net::SocketAddr,
};

use bytes::Bytes;
use sow_content::{BLOCK_LENGTH, Bitfield, Block};
use sow_wire::bittorrent::{ExtensionHandshake, Handshake, PeerId};

use crate::{
    disconnect::{DisconnectReason, Misbehavior},
    io::{ConnId, Direction, Time},
    pipeline::Pipeline,
    rate::Rate,
    spread::Offers,
    talk::Talk,
};

/// Requests that a peer may have waiting with us; what we say as `reqq` (BEP 10).
pub(crate) const REQUEST_QUEUE: usize = 2048;

/// Requests that a peer which says nothing of its queue gets at most.
const CAUTIOUS_QUEUE: u32 = 250;

/// Pieces that a peer may name before we know how many there are.
const EARLY_HAVES: usize = 1 << 16;

/// Blocks nobody asked for that a peer may send at most; each cancel and choke, which race with
/// blocks, allows more.
const STRAYS: u32 = 16;

/// One connection.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) conn: ConnId,
    /// As the socket knows it.
    pub(crate) addr: SocketAddr,
    pub(crate) direction: Direction,
    /// The peer's; made up where the dialect has none.
    pub(crate) handshake: Handshake,
    /// What is particular to its dialect.
    pub(crate) talk: Talk,
    pub(crate) connected: Time,
    pub(crate) heard: Time,
    pub(crate) sent: Time,

    pub(crate) theirs: Theirs,
    /// Pieces that the peer has and we have not.
    pub(crate) wanted: u32,
    pub(crate) am_choking: bool,
    pub(crate) am_interested: bool,
    pub(crate) peer_choking: bool,
    pub(crate) peer_interested: bool,
    /// When `am_choking` changed last.
    pub(crate) choke_since: Time,
    /// Pieces that we may ask for although choked (BEP 6).
    pub(crate) allowed_fast: BTreeSet<u32>,

    pub(crate) extension: Option<ExtensionHandshake>,
    pub(crate) metadata_served: u32,
    pub(crate) pex_sent: BTreeSet<SocketAddr>,
    pub(crate) pex_at: Time,
    pub(crate) pex_heard: Option<Time>,

    pub(crate) pipeline: Pipeline,
    pub(crate) outstanding: VecDeque<Outstanding>,
    pub(crate) outstanding_bytes: u32,
    pub(crate) last_block: Time,
    /// Blocks that may still come although nobody waits for them.
    pub(crate) strays: u32,
    /// Since when all that it alone has is left to others.
    pub(crate) helps_since: Option<Time>,
    /// Nothing could be picked for it at this generation of the picker.
    pub(crate) dry: Option<u64>,
    pub(crate) down: Rate,

    /// What it asked for and did not get yet.
    pub(crate) asked: VecDeque<Asked>,
    /// What is on its way through the world.
    pub(crate) sending: VecDeque<Asked>,
    /// The piece of the last block that went out.
    pub(crate) sending_piece: Option<u32>,
    /// When a piece was begun for it last.
    pub(crate) served: Time,
    pub(crate) up: Rate,
    pub(crate) offers: Option<Offers>,
    /// Pieces that we got, which the peer has itself: told it when there is time.
    pub(crate) late_haves: Vec<u32>,
}

/// A request of ours that is under way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outstanding {
    pub(crate) block: Block,
    pub(crate) at: Time,
}

/// A block that a peer asked for, and since when it is where it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) block: Block,
    pub(crate) at: Time,
}

/// What a peer has.
#[derive(Debug)]
pub(crate) enum Theirs {
    /// Before the metadata is known: as it was said.
    Early(Early),
    /// Checked against the content.
    Known {
        /// Which pieces.
        have: Bitfield,
        /// A bitfield, have-all or have-none was seen.
        said: bool,
    },
}

/// What a peer said that it has before we could check it.
#[derive(Debug, Default)]
pub(crate) struct Early {
    bitfield: Option<Bytes>,
    all: bool,
    said: bool,
    haves: BTreeSet<u32>,
}

impl Peer {
    pub(crate) fn new(
        now: Time,
        conn: ConnId,
        addr: SocketAddr,
        direction: Direction,
        handshake: Handshake,
        talk: Talk,
        pieces: Option<u32>,
    ) -> Self {
        // Where every piece is asked for and answered one by one, nothing comes that was not asked
        // for.
        let strays = if matches!(talk, Talk::BitTorrent) { STRAYS } else { 0 };
        Self {
            conn,
            addr,
            direction,
            handshake,
            talk,
            connected: now,
            heard: now,
            sent: now,
            theirs: match pieces {
                Some(pieces) => Theirs::Known { have: Bitfield::new(pieces), said: false },
                None => Theirs::Early(Early::default()),
            },
            wanted: 0,
            am_choking: true,
            am_interested: false,
            peer_choking: true,
            peer_interested: false,
            choke_since: now,
            allowed_fast: BTreeSet::new(),
            extension: None,
            metadata_served: 0,
            pex_sent: BTreeSet::new(),
            pex_at: now,
            pex_heard: None,
            pipeline: Pipeline::new(now),
            outstanding: VecDeque::new(),
            outstanding_bytes: 0,
            last_block: now,
            strays,
            helps_since: None,
            dry: None,
            down: Rate::default(),
            asked: VecDeque::new(),
            sending: VecDeque::new(),
            sending_piece: None,
            served: Time::default(),
            up: Rate::default(),
            offers: None,
            late_haves: Vec::new(),
        }
    }

    /// Where others reach it: the address that we dialed, or its host with the port that it said.
    pub(crate) fn listen_addr(&self) -> Option<SocketAddr> {
        match self.direction {
            Direction::Dialed => Some(self.addr),
            Direction::Accepted => {
                let port = match &self.talk {
                    Talk::BitTorrent => self.extension.as_ref()?.listen_port?,
                    Talk::Chunk(talk) => talk.listen_port()?,
                    Talk::JsonTorrent(_) => return None,
                };
                Some(SocketAddr::new(self.addr.ip(), port))
            }
        }
    }

    /// What it has; `None` before the metadata is known.
    pub(crate) fn have(&self) -> Option<&Bitfield> {
        match &self.theirs {
            Theirs::Known { have, .. } => Some(have),
            Theirs::Early(_) => None,
        }
    }

    /// Whether it has everything.
    pub(crate) fn is_complete(&self) -> bool {
        self.have().is_some_and(Bitfield::is_full)
    }

    /// Whether it is the same program as the one called `ours`, of whatever version (BEP 20).
    pub(crate) fn is_kin(&self, ours: PeerId) -> bool {
        !self.asks_whole() && self.handshake.peer_id.0[..3] == ours.0[..3]
    }

    /// Whether it only gives: it has everything although it does not say so (an origin that
    /// spreads).
    pub(crate) fn upload_only(&self) -> bool {
        self.extension.as_ref().is_some_and(|extension| extension.upload_only)
    }

    /// The longest block that it answers a request for, at most `ours`.
    pub(crate) fn longest_block(&self, ours: u32) -> u32 {
        let theirs = self.extension.as_ref().and_then(|extension| extension.max_block).unwrap_or(0);
        theirs.max(BLOCK_LENGTH).min(ours.max(BLOCK_LENGTH)) / BLOCK_LENGTH * BLOCK_LENGTH
    }

    /// How many requests it queues for us.
    pub(crate) fn request_queue(&self) -> usize {
        let said = self.extension.as_ref().and_then(|extension| extension.request_queue);
        said.unwrap_or(CAUTIOUS_QUEUE).clamp(1, 4096) as usize
    }

    /// Bytes on their way through the world.
    pub(crate) fn sending_bytes(&self) -> u64 {
        self.sending.iter().map(|sending| u64::from(sending.block.length)).sum()
    }

    /// Takes the request that a block answers off the list.
    pub(crate) fn take_outstanding(&mut self, block: Block) -> Option<Outstanding> {
        let at = self.outstanding.iter().position(|waiting| waiting.block == block)?;
        let taken = self.outstanding.remove(at)?;
        self.outstanding_bytes -= block.length;
        Some(taken)
    }
}

impl Early {
    /// Notes one piece.
    ///
    /// # Errors
    /// When there are more than anybody needs to say before we know the metadata.
    pub(crate) fn have(&mut self, piece: u32) -> Result<(), DisconnectReason> {
        if self.haves.len() >= EARLY_HAVES || piece >= sow_content::geometry::MAX_PIECES {
            return Err(DisconnectReason::Misbehaved(Misbehavior::PieceIndexOutOfRange));
        }
        self.haves.insert(piece);
        Ok(())
    }

    /// Notes a bitfield (`Some`), have-all (`None`, true) or have-none (`None`, false).
    ///
    /// # Errors
    /// When have-all or have-none is not the first.
    pub(crate) fn say(
        &mut self,
        bitfield: Option<Bytes>,
        all: bool,
    ) -> Result<(), DisconnectReason> {
        if std::mem::replace(&mut self.said, true) && bitfield.is_none() {
            return Err(DisconnectReason::Misbehaved(Misbehavior::LateBitfield));
        }
        self.bitfield = bitfield;
        self.all = all;
        Ok(())
    }

    /// Checks it all against the number of pieces.
    ///
    /// # Errors
    /// When the bitfield or an index does not fit.
    pub(crate) fn settle(&self, pieces: u32) -> Result<(Bitfield, bool), DisconnectReason> {
        let mut have = match &self.bitfield {
            Some(bytes) => Bitfield::from_bytes(bytes, pieces)
                .map_err(|_| DisconnectReason::Misbehaved(Misbehavior::BitfieldMismatch))?,
            None if self.all => Bitfield::full(pieces),
            None => Bitfield::new(pieces),
        };
        for &piece in &self.haves {
            if piece >= pieces {
                return Err(DisconnectReason::Misbehaved(Misbehavior::PieceIndexOutOfRange));
            }
            have.set(piece);
        }
        Ok((have, self.said))
    }
}
