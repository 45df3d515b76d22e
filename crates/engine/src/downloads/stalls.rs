//! Requests that are not answered in time, and the peers that do not answer: what of theirs becomes
//! free for other peers, and how often they are asked again.
//!
//! A request that stalls stays with its peer, because it may still be answered: a peer with a long
//! queue, or behind a link that was interrupted, is slow and not useless. But its block is free for
//! every other peer, and the peer is *snubbed* until it delivers something.

use std::{collections::VecDeque, time::Duration};

use sow_content::Block;

use super::{Downloads, duplicates::Asker};
use crate::{
    connections::{Connection, Connections},
    io::{ConnId, Direction, Output, Time},
    session::Decision,
};

/// Snubbed peers that are asked for a block at the same time, while others deliver; and peers that
/// were never asked and are tried beside others.
const MAX_PROBES: usize = 4;

/// While no block arrives from any peer for this long, third copies are requested, and untried
/// peers are tried.
const STARVING_TIME: Duration = Duration::from_millis(500);

/// A peer that has delivered a block within this time delivers.
const DELIVERY_PERIOD: Duration = Duration::from_secs(5);

/// A dialed peer that has delivered nothing for this long since the connection opened does not
/// count as one of the dialed peers that are enough.
const MIN_USE_TIME: Duration = Duration::from_secs(10);

/// While no peer delivers, this long without an answer to its first requests is enough for that:
/// the only one that would may be the last to be dialed.
const FIRST_ANSWER_TIME: Duration = Duration::from_millis(500);

/// What is to become of a late request.
enum Late {
    /// It stays with its peer, and its block is free for others.
    Stale,
    /// It is cancelled: the peer delivers other blocks.
    Cancelled,
}

impl Downloads {
    /// Takes back requests that have stalled, so that other peers are asked.
    pub(crate) fn release_stalled(
        &mut self,
        now: Time,
        connections: &mut Connections,
        rng: &mut fastrand::Rng,
        out: &mut VecDeque<Output>,
    ) {
        self.usual_latency = self.measure_usual_latency(now);
        for (conn, block, late) in self.late_requests(now) {
            self.generation += 1;
            let lost = self.picker.release(conn, block, rng);
            let is_lost = lost.is_some();
            super::discard(lost.into_iter().collect(), out);
            if matches!(late, Late::Stale) && !is_lost {
                self.mark_stale(conn, block);
            } else if let Some(peer) = self.peers.get_mut(&conn) {
                peer.take_request(block);
                peer.late_allowance += 1;
                // The peer is not asked for the same block again at once.
                peer.exhausted_at = Some(self.generation);
                if let Some(connection) = connections.get_mut(conn) {
                    connection.send(now, Decision::Cancel(block), out);
                }
            }
        }
        let peers = &self.peers;
        let has_stale = |conn| {
            peers.get(&conn).is_some_and(|peer| peer.outstanding().any(|request| request.is_stale))
        };
        self.stale_requesters.retain(|&conn| has_stale(conn));
    }

    /// The requests that are late. Their peers are snubbed, if nothing else has come from them.
    fn late_requests(&mut self, now: Time) -> Vec<(ConnId, Block, Late)> {
        let mut late_requests = Vec::new();
        for (&conn, peer) in &mut self.peers {
            let timeout = peer.stall_timeout(self.usual_latency);
            let is_silent = now.since(peer.last_block) >= timeout;
            let limit = if is_silent { timeout } else { 2 * timeout };
            let picker = &self.picker;
            let late = peer.owed().filter(|request| {
                let piece = request.block.piece;
                // What has to come from this peer alone is left to it, if no other peer has it;
                // what is fetched for the second time has to come from this peer in any case.
                let is_bound = picker.have().get(piece)
                    || (picker.is_exclusive(piece) && picker.count(piece) <= 1);
                let is_known = is_silent && request.is_stale;
                !is_bound && !is_known && now.since(request.requested_at) >= limit
            });
            let late: Vec<Block> = late.map(|request| request.block).collect();
            if late.is_empty() {
                continue;
            }
            if is_silent {
                peer.on_late(now);
            }
            let late = late.into_iter().map(|block| match is_silent {
                true => (conn, block, Late::Stale),
                false => (conn, block, Late::Cancelled),
            });
            late_requests.extend(late);
        }
        late_requests
    }

    /// How long a block takes from the peers that deliver: the median.
    fn measure_usual_latency(&self, now: Time) -> Option<Duration> {
        let delivering = self.peers.values().filter(|peer| {
            let latency = peer.pipeline.latency();
            !latency.is_zero() && now.since(peer.last_block) <= DELIVERY_PERIOD + latency
        });
        let mut latencies: Vec<Duration> = delivering.map(|peer| peer.pipeline.latency()).collect();
        latencies.sort_unstable();
        latencies.get(latencies.len() / 2).copied()
    }

    /// How long a block probably takes from a peer; zero while nothing is known of any peer.
    pub(super) fn expected_latency(&self, peer: &super::PeerDownload) -> Duration {
        match peer.pipeline.latency() {
            Duration::ZERO => self.usual_latency.unwrap_or_default(),
            latency => latency,
        }
    }

    /// A peer as one that may be asked for a block beside another one.
    pub(super) fn asker(
        &self,
        now: Time,
        peer: &super::PeerDownload,
        is_idle_in_end_game: bool,
    ) -> Asker {
        let is_unproven = |peer: &super::PeerDownload| peer.pipeline.latency().is_zero();
        let is_tried = |peer: &&super::PeerDownload| is_unproven(peer) && !peer.owes_nothing();
        let may_try = || self.peers.values().filter(is_tried).count() < MAX_PROBES;
        // In a crowd with busy links every peer takes long, and yet blocks arrive all the time.
        let is_starving = now.since(self.last_arrival) >= STARVING_TIME;
        Asker {
            is_starving,
            latency: self.expected_latency(peer),
            is_proven: !is_unproven(peer),
            is_to_be_tried: is_starving && is_unproven(peer) && peer.owes_nothing() && may_try(),
            is_idle_in_end_game,
        }
    }

    /// Another peer was asked for a block in place of one that does not deliver.
    pub(super) fn on_displaced(&mut self, now: Time, conn: ConnId, block: Block) {
        self.mark_stale(conn, block);
        if let Some(peer) = self.peers.get_mut(&conn).filter(|peer| !peer.is_snubbed()) {
            peer.on_stalled(now);
        }
    }

    /// A peer may still answer a request whose block is free for others.
    pub(super) fn mark_stale(&mut self, conn: ConnId, block: Block) {
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.set_stale(block, true);
            self.stale_requesters.insert(conn);
        }
    }

    /// Adds the peers that may still answer a stale request for some of a block that is here.
    pub(super) fn add_stale_requesters(
        &self,
        from: ConnId,
        accepted: Block,
        duplicate_requesters: &mut Vec<ConnId>,
    ) {
        let overlaps = |block: Block| {
            block.piece == accepted.piece
                && block.offset < accepted.end()
                && accepted.offset < block.end()
        };
        for &conn in self.stale_requesters.iter().filter(|&&conn| conn != from) {
            let Some(peer) = self.peers.get(&conn) else { continue };
            let is_asked =
                peer.outstanding().any(|request| request.is_stale && overlaps(request.block));
            if is_asked && !duplicate_requesters.contains(&conn) {
                duplicate_requesters.push(conn);
            }
        }
    }

    /// A snubbed peer delivers again: what it still owes is expected of it as before, unless other
    /// peers were asked for it.
    pub(super) fn on_unsnubbed(&mut self, now: Time, conn: ConnId) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        peer.exhausted_at = None;
        let stale = peer.outstanding().filter(|request| request.is_stale);
        let stale: Vec<Block> = stale.map(|request| request.block).collect();
        for block in stale {
            if self.picker.claim_again(now, conn, block) {
                peer.set_stale(block, false);
            }
        }
    }

    /// Whether a peer is asked for nothing now because it is snubbed. While others deliver, few
    /// snubbed peers are tried at a time.
    pub(super) fn is_resting(&self, now: Time, conn: ConnId) -> bool {
        let Some(peer) = self.peers.get(&conn).filter(|peer| peer.is_snubbed()) else {
            return false;
        };
        let probes = || self.peers.values().filter(|peer| peer.is_probed()).count();
        !peer.may_be_probed(now) || (self.usual_latency.is_some() && probes() >= MAX_PROBES)
    }

    /// The order in which peers are asked: as they connected. When some do not deliver, or there is
    /// too little to request for all: first those that have not been tried, then the fastest, then
    /// the least recently asked of those that are snubbed.
    pub(crate) fn request_order(&self, mut conns: Vec<ConnId>) -> Vec<ConnId> {
        let is_snubbed = super::PeerDownload::is_snubbed;
        if self.picker.is_crowded() || self.peers.values().any(is_snubbed) {
            conns.sort_by_key(|conn| {
                self.peers.get(conn).map(|peer| match is_snubbed(peer) {
                    true => (true, Duration::ZERO, peer.asked_at),
                    false => (false, peer.pipeline.latency(), Time::default()),
                })
            });
        }
        conns
    }

    /// Whether a connection that we dialed is of no use: the peer is snubbed, or has delivered
    /// nothing for long, or has not answered soon while no other peer delivers. Other addresses are
    /// dialed in place of such peers.
    pub(crate) fn is_unproductive(&self, now: Time, connection: &Connection) -> bool {
        connection.direction() == Direction::Dialed
            // Beside parents no other peer is asked.
            && !self.is_relayed()
            && self.peers.get(&connection.conn()).is_some_and(|peer| {
                let is_old = now.since(connection.connected_at()) >= MIN_USE_TIME;
                let is_mute = self.usual_latency.is_none()
                    && peer
                        .owed()
                        .any(|request| now.since(request.requested_at) >= FIRST_ANSWER_TIME);
                peer.is_snubbed() || ((is_old || is_mute) && peer.rate.total() == 0)
            })
    }
}
