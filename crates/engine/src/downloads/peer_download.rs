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

/// A request stalls after this long plus four times its connection's latency.
const STALL_TIMEOUT: Duration = Duration::from_secs(2);

/// A request stalls after this long on the slowest connection.
const MAX_STALL_TIMEOUT: Duration = Duration::from_secs(15);

/// A request stalls after this long on a connection that has never delivered a block, while no
/// other connection delivers any.
const FIRST_STALL_TIMEOUT: Duration = Duration::from_secs(2);

/// While others deliver, such a request stalls after this long, four times their latency, and what
/// the requests take at [`MIN_RATE_BESIDE_OTHERS`].
const FIRST_STALL_TIMEOUT_BESIDE_OTHERS: Duration = Duration::from_secs(1);

/// A request counts as stalled after this long, and four times its connection's latency, when
/// another peer has delivered what it was for.
const OVERTAKEN_TIME: Duration = Duration::from_secs(1);

/// A whole piece may take a second longer for each of these many bytes.
const MIN_RATE: u32 = 16 * 1024;

/// The same while others deliver: half of an uplink of 1 Mbit/s.
const MIN_RATE_BESIDE_OTHERS: u32 = 64 * 1024;

/// A snubbed peer is asked again after this long, and twice as long each further time.
const FIRST_SNUB_DELAY: Duration = Duration::from_secs(1);

/// The doublings of [`FIRST_SNUB_DELAY`].
const MAX_SNUB_DOUBLINGS: u32 = 5;

/// Refusals in a row, without a block between them, after which a peer is snubbed.
const MAX_REFUSALS: u32 = 4;

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
    /// Those of them that the peer does not have yet.
    ahead_bytes: u32,
    pub(super) last_block: Time,
    /// Blocks that may still come: they were requested, and their requests were given up.
    pub(super) late_allowance: u32,
    /// Since when all that only this peer has is left to other machines.
    pub(super) helping_since: Option<Time>,
    /// The generation of the downloads at which the peer had nothing to request.
    pub(super) exhausted_at: Option<u64>,
    /// How often what was requested did not come in time, or was not sent before a choke, since the
    /// last block.
    stalls: u32,
    /// How often what was requested did not come in time, since the last block.
    late: u32,
    /// Refusals since the last block.
    refusals: u32,
    /// A snubbed peer is asked for nothing until then.
    pub(super) rests_until: Time,
    /// When the peer was asked for something last.
    pub(super) asked_at: Time,
    /// A block has come since the peer unchoked us.
    has_delivered_since_unchoke: bool,
    pub(super) rate: Rate,
    requests_whole_pieces: bool,
}

/// A request that is not answered yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct OutstandingRequest {
    pub(super) block: Block,
    pub(super) requested_at: Time,
    /// It did not come in time: its block is free for other peers, but may still arrive.
    pub(super) is_stale: bool,
    /// The peer does not have it yet, as far as it said: it is no fault that it does not come.
    pub(super) is_ahead: bool,
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
            ahead_bytes: 0,
            last_block: now,
            late_allowance: 0,
            helping_since: None,
            exhausted_at: None,
            stalls: 0,
            late: 0,
            refusals: 0,
            rests_until: now,
            asked_at: now,
            has_delivered_since_unchoke: false,
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

    /// The requests for what the peer has.
    pub(super) fn owed(&self) -> impl Iterator<Item = &OutstandingRequest> {
        self.outstanding.iter().filter(|request| !request.is_ahead)
    }

    /// The peer has a piece now that it may have been asked for.
    pub(super) fn on_has(&mut self, now: Time, piece: u32) {
        let ahead =
            |request: &&mut OutstandingRequest| request.is_ahead && request.block.piece == piece;
        for request in self.outstanding.iter_mut().filter(ahead) {
            request.is_ahead = false;
            request.requested_at = now;
            self.ahead_bytes -= request.block.length;
        }
    }

    /// Notes a request that is sent. `is_ahead`: the peer does not have it yet.
    pub(super) fn on_requested(&mut self, now: Time, block: Block, is_ahead: bool) {
        let request = OutstandingRequest { block, requested_at: now, is_stale: false, is_ahead };
        if is_ahead {
            self.ahead_bytes += block.length;
        }
        self.outstanding.push_back(request);
        self.outstanding_bytes += block.length;
        self.asked_at = now;
    }

    /// When the oldest request was made for what the peer has.
    pub(super) fn oldest_request(&self) -> Option<Time> {
        self.owed().next().map(|request| request.requested_at)
    }

    /// Whether what was requested of the peer did not come in time, and nothing has come since. As
    /// in BitTorrent's "anti-snubbing" (BEP 3), such a peer is not relied on: it is asked for one
    /// block now and then, and that block is free for any other peer that has nothing else to do.
    pub(super) fn is_snubbed(&self) -> bool {
        self.stalls > 0
    }

    /// Whether the peer owes nothing.
    pub(super) fn owes_nothing(&self) -> bool {
        self.owed().next().is_none()
    }

    /// Whether the peer delivers, and owes nothing.
    pub(super) fn is_idle(&self) -> bool {
        self.owes_nothing() && !self.is_snubbed() && !self.pipeline.latency().is_zero()
    }

    /// Whether the peer is snubbed and was asked for a block, which is not late yet.
    pub(super) fn is_probed(&self) -> bool {
        self.is_snubbed() && self.outstanding.iter().any(|request| !request.is_stale)
    }

    /// Whether a snubbed peer may be asked for one block.
    pub(super) fn may_be_probed(&self, now: Time) -> bool {
        self.outstanding.is_empty() && now >= self.rests_until
    }

    /// Requests did not come in time: the peer is snubbed, and gets more time for the next ones.
    pub(super) fn on_late(&mut self, now: Time) {
        self.late = self.late.saturating_add(1);
        self.on_stalled(now);
    }

    /// The peer does not do what it was asked for: it is snubbed, and rests.
    pub(super) fn on_stalled(&mut self, now: Time) {
        let doublings = self.stalls.min(MAX_SNUB_DOUBLINGS);
        self.stalls = self.stalls.saturating_add(1);
        self.rests_until = now + FIRST_SNUB_DELAY * (1 << doublings);
    }

    /// The peer refused a request although it does not choke us.
    pub(super) fn on_refused(&mut self, now: Time) {
        self.refusals += 1;
        if self.refusals >= MAX_REFUSALS {
            self.refusals = 0;
            self.on_stalled(now);
        }
    }

    /// The peer chokes us. It is snubbed when it sent nothing of what was requested since it
    /// unchoked us: a peer that chokes and unchokes in turn must not hold requests for ever.
    pub(super) fn on_choke(&mut self, now: Time) {
        if self.owed().next().is_some() && !self.has_delivered_since_unchoke {
            self.on_stalled(now);
        }
    }

    pub(super) fn on_unchoke(&mut self) {
        self.has_delivered_since_unchoke = false;
    }

    /// Others delivered blocks that were requested of the peer. It is snubbed when it owed one of
    /// them for long and has delivered nothing since: as each such block is replaced by another
    /// one, none might ever stall.
    pub(super) fn on_overtaken(&mut self, now: Time, is_here: impl Fn(Block) -> bool) {
        let limit = OVERTAKEN_TIME + 4 * self.pipeline.latency();
        let is_late = self.owed().any(|request| {
            request.requested_at >= self.last_block
                && now.since(request.requested_at) >= limit
                && is_here(request.block)
        });
        if is_late && !self.is_snubbed() {
            self.on_stalled(now);
        }
    }

    /// A block that was requested is here. Whether the peer was snubbed until now.
    pub(super) fn on_delivered(&mut self, now: Time) -> bool {
        self.last_block = now;
        self.has_delivered_since_unchoke = true;
        self.refusals = 0;
        self.late = 0;
        std::mem::take(&mut self.stalls) > 0
    }

    /// Marks the request for a block as late, or as not late any more.
    pub(super) fn set_stale(&mut self, block: Block, is_stale: bool) {
        let request = self.outstanding.iter_mut().find(|request| request.block == block);
        request.into_iter().for_each(|request| request.is_stale = is_stale);
    }

    /// Takes the request for a block off the list.
    pub(super) fn take_request(&mut self, block: Block) -> Option<OutstandingRequest> {
        let at = self.outstanding.iter().position(|request| request.block == block)?;
        let request = self.outstanding.remove(at)?;
        self.outstanding_bytes -= block.length;
        if request.is_ahead {
            self.ahead_bytes -= block.length;
        }
        Some(request)
    }

    /// Takes all requests off the list; their blocks may still be on their way.
    pub(super) fn void_requests(&mut self) -> Vec<OutstandingRequest> {
        let void: Vec<OutstandingRequest> = self.outstanding.drain(..).collect();
        (self.outstanding_bytes, self.ahead_bytes) = (0, 0);
        self.late_allowance += void.len() as u32;
        void
    }

    /// Whether a request of `length` bytes, for what the peer has, fits into the window. One always
    /// does.
    pub(super) fn fits(&self, length: u32) -> bool {
        let bytes = self.outstanding_bytes - self.ahead_bytes;
        bytes == 0 || bytes + length <= self.pipeline.window()
    }

    /// Whether the window may be what keeps the rate down.
    pub(super) fn is_window_full(&self) -> bool {
        let bytes = self.outstanding_bytes - self.ahead_bytes;
        bytes + self.pipeline.request_length(u32::MAX) >= self.pipeline.window()
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

    /// When a request without an answer has stalled. `others`: how long a block takes from the
    /// peers that deliver now, if there are any.
    pub(super) fn stall_timeout(&self, others: Option<Duration>) -> Duration {
        let base = match (self.pipeline.latency(), others) {
            (Duration::ZERO, None) => FIRST_STALL_TIMEOUT,
            (Duration::ZERO, Some(others)) => FIRST_STALL_TIMEOUT_BESIDE_OTHERS + 4 * others,
            (latency, _) => STALL_TIMEOUT + 4 * latency,
        };
        // A peer that is slow, and no worse, gets more time with each attempt.
        let patient = base * (1 << self.late.min(MAX_SNUB_DOUBLINGS));
        let is_unproven = self.pipeline.latency().is_zero();
        let timeout = patient.min(MAX_STALL_TIMEOUT);
        if others.is_none() {
            return self.timeout(timeout);
        }
        let counts = is_unproven || self.requests_whole_pieces;
        let due = if counts { self.outstanding_bytes } else { 0 };
        timeout + Duration::from_secs_f64(f64::from(due) / f64::from(MIN_RATE_BESIDE_OTHERS))
    }
}
