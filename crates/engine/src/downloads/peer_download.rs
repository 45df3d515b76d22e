//! What is downloaded on one connection: the requests that are outstanding, and how fast they are
//! answered. No choice of pieces.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use sow_content::{Bitfield, Block};

use crate::{connections::Connection, io::Time, pipeline::Pipeline, rate::Rate};

/// Pieces that a choking peer may allow at most (BEP 6 suggests ten).
const MAX_ALLOWED_FAST: usize = 64;

/// Blocks without a request that a peer may send; each cancel and choke, which can cross a block on
/// its way, allows one more.
const UNSOLICITED_ALLOWANCE: u32 = 16;

/// A request stalls after this long plus four times its connection's latency.
const STALL_TIMEOUT: Duration = Duration::from_secs(2);

/// A request stalls after this long on the slowest connection.
const MAX_STALL_TIMEOUT: Duration = Duration::from_secs(15);

/// A request stalls after this long on a connection that has never delivered a block.
pub(super) const FIRST_STALL_TIMEOUT: Duration = Duration::from_secs(10);

/// A whole piece may take a second longer for each of these many bytes.
const MIN_RATE: u32 = 16 * 1024;

/// The download side of one connection.
#[derive(Debug)]
pub(super) struct PeerDownload {
    /// The peer accepts no requests, but for pieces in `allowed_fast`.
    pub(super) is_choked: bool,
    /// We said that we are interested.
    pub(super) is_interested: bool,
    /// Pieces that the peer has and we lack.
    pub(super) wanted: u32,
    pub(super) allowed_fast: BTreeSet<u32>,
    pub(super) pipeline: Pipeline,
    outstanding: VecDeque<OutstandingRequest>,
    outstanding_bytes: u32,
    pub(super) last_block: Time,
    pub(super) unsolicited_allowance: u32,
    /// Since when all that only this peer has is left to other machines.
    pub(super) helping_since: Option<Time>,
    /// The generation of the downloads at which the peer had nothing to request.
    pub(super) exhausted_at: Option<u64>,
    pub(super) rate: Rate,
    requests_whole_pieces: bool,
}

/// A request that is not answered yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct OutstandingRequest {
    pub(super) block: Block,
    pub(super) requested_at: Time,
}

impl PeerDownload {
    pub(super) fn new(connection: &Connection) -> Self {
        let requests_whole_pieces = connection.session().requests_whole_pieces();
        let now = connection.connected_at();
        Self {
            is_choked: true,
            is_interested: false,
            wanted: 0,
            allowed_fast: BTreeSet::new(),
            pipeline: Pipeline::new(now),
            outstanding: VecDeque::new(),
            outstanding_bytes: 0,
            last_block: now,
            // Where pieces are requested and answered one by one, every block has its request.
            unsolicited_allowance: if requests_whole_pieces { 0 } else { UNSOLICITED_ALLOWANCE },
            helping_since: None,
            exhausted_at: None,
            rate: Rate::default(),
            requests_whole_pieces,
        }
    }

    pub(super) fn outstanding(&self) -> impl Iterator<Item = &OutstandingRequest> {
        self.outstanding.iter()
    }

    pub(super) fn outstanding_count(&self) -> usize {
        self.outstanding.len()
    }

    /// Notes a request that is sent.
    pub(super) fn on_requested(&mut self, now: Time, block: Block) {
        self.outstanding.push_back(OutstandingRequest { block, requested_at: now });
        self.outstanding_bytes += block.length;
    }

    /// Takes the request for a block off the list.
    pub(super) fn take_request(&mut self, block: Block) -> Option<OutstandingRequest> {
        let at = self.outstanding.iter().position(|request| request.block == block)?;
        let request = self.outstanding.remove(at)?;
        self.outstanding_bytes -= block.length;
        Some(request)
    }

    /// Takes all requests off the list; their blocks may still be on their way.
    pub(super) fn void_requests(&mut self) -> Vec<OutstandingRequest> {
        let void: Vec<OutstandingRequest> = self.outstanding.drain(..).collect();
        self.outstanding_bytes = 0;
        self.unsolicited_allowance += void.len() as u32;
        void
    }

    /// Whether a request of `length` bytes fits into the window. One always does.
    pub(super) fn fits(&self, length: u32) -> bool {
        self.outstanding_bytes == 0 || self.outstanding_bytes + length <= self.pipeline.window()
    }

    /// Whether the window may be what keeps the rate down.
    pub(super) fn is_window_full(&self) -> bool {
        self.outstanding_bytes + self.pipeline.request_length(u32::MAX) >= self.pipeline.window()
    }

    /// The peer allows a piece to be requested while it chokes. Whether that is new.
    pub(super) fn allow_fast(&mut self, piece: u32) -> bool {
        self.allowed_fast.len() < MAX_ALLOWED_FAST && self.allowed_fast.insert(piece)
    }

    /// The pieces of `have` that may be requested while the peer chokes.
    pub(super) fn allowed_while_choked(&self, have: &Bitfield) -> Bitfield {
        let mut allowed = Bitfield::new(have.len());
        let pieces = self.allowed_fast.iter().filter(|&&piece| have.get(piece));
        pieces.for_each(|&piece| _ = allowed.set(piece));
        allowed
    }

    /// `base`, and what a whole piece takes at the lowest rate.
    pub(super) fn timeout(&self, base: Duration) -> Duration {
        let due = if self.requests_whole_pieces { self.outstanding_bytes / MIN_RATE } else { 0 };
        base + Duration::from_secs(u64::from(due))
    }

    /// When a request without an answer has stalled.
    pub(super) fn stall_timeout(&self) -> Duration {
        self.timeout(match self.pipeline.latency() {
            Duration::ZERO => FIRST_STALL_TIMEOUT,
            latency => (STALL_TIMEOUT + 4 * latency).min(MAX_STALL_TIMEOUT),
        })
    }
}
