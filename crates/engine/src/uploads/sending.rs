//! Which of the requested blocks is sent next, and how many are with the sockets at once.

use std::{collections::VecDeque, time::Duration};

use sow_content::Block;

use super::{
    Uploads,
    peer_upload::{PeerUpload, UploadRequest},
};
use crate::{
    connections::Connections,
    io::{ConnId, Output, Time},
};

/// Bytes of all connections that may be with the sockets at once, at least; more at high rates. Few
/// uploads at a time finish early, and what is finished early can be passed on early.
pub(super) const MIN_SENDING_BYTES: u64 = 64 * 1024;

/// What is sent within this time may be with the sockets.
const SENDING_TIME: Duration = Duration::from_millis(50);

/// Whole pieces that may be with the sockets at once: a single one can wait for its receiver's link
/// while ours is idle.
const MAX_SENDING_PIECES: u64 = 3;

/// A block that has been with the socket for longer keeps no other peer waiting: its receiver is
/// slow.
const SLOW_RECEIVER_TIME: Duration = Duration::from_millis(200);

/// A request for a whole piece waits for this long behind pieces with fewer copies.
const OVERDUE_TIME: Duration = Duration::from_millis(500);

/// A peer that was sent all that there is this many times, and [`MIN_OVERFED_BYTES`], gets one
/// block in each [`OVERFED_INTERVAL`]: it requests without end. Even an idle uplink is not free, as
/// what the peer acknowledges takes a part of the downlink.
const MAX_COPIES: u64 = 2;

/// See [`MAX_COPIES`].
const MIN_OVERFED_BYTES: u64 = 1024 * 1024;

/// See [`MAX_COPIES`].
const OVERFED_INTERVAL: Duration = Duration::from_millis(250);

/// Of this many blocks, one is for peers that are no children, if they want one.
const BLOCKS_PER_TURN: u32 = 4;

/// Requests of one peer among which the next one is chosen.
const MAX_REQUESTS_CONSIDERED: usize = 8;

impl Uploads {
    /// Hands requested blocks to the sockets, those with the fewest copies first. `availability`:
    /// how many peers have a piece.
    pub(crate) fn send_blocks(
        &mut self,
        now: Time,
        availability: impl Fn(u32) -> u16,
        connections: &mut Connections,
        out: &mut VecDeque<Output>,
    ) {
        let rate = self.rate.per_second(now) as f64;
        let room = self
            .room_for_whole_pieces()
            .max(MIN_SENDING_BYTES)
            .max((rate * SENDING_TIME.as_secs_f64()) as u64);
        let is_fast = |sending: &&UploadRequest| now.since(sending.since) < SLOW_RECEIVER_TIME;
        let mut held: u64 = self
            .peers
            .values()
            .flat_map(|peer| peer.sending.iter().filter(is_fast))
            .map(|sending| u64::from(sending.block.length))
            .sum();
        while held < room {
            let Some((conn, block)) = self.next_block(now, &availability) else { return };
            held += u64::from(block.length);
            if let Some(connection) = connections.get_mut(conn) {
                connection.on_sent(now);
            }
            out.push_back(Output::SendBlock { conn, block });
        }
    }

    /// What may be with the sockets where whole pieces are requested, in bytes.
    fn room_for_whole_pieces(&self) -> u64 {
        match self.peers.values().any(|peer| peer.requests_whole_pieces) {
            true => MAX_SENDING_PIECES * u64::from(self.piece_length),
            false => 0,
        }
    }

    /// What is sent next: the rest of a piece that was begun, then the piece with the fewest
    /// copies, then the peer that waited longest. A peer that was sent as much as there is waits
    /// for all others: it requests without end.
    fn next_block(
        &mut self,
        now: Time,
        availability: impl Fn(u32) -> u16,
    ) -> Option<(ConnId, Block)> {
        let mut best = None;
        let content = u64::from(self.pieces) * u64::from(self.piece_length);
        for (&conn, peer) in &self.peers {
            if peer.is_socket_full() || is_overfed(now, peer, content) {
                continue;
            }
            // Of whole pieces one is requested at a time: who requests more has no choice for that.
            let considered = if peer.requests_whole_pieces { 1 } else { MAX_REQUESTS_CONSIDERED };
            for (at, request) in peer.queue.iter().take(considered).enumerate() {
                let piece = request.block.piece;
                let is_begun = peer.has_begun(request.block);
                let copies = self.times_sent[piece as usize].max(availability(piece));
                // A peer that requests one piece at a time has nothing else to do.
                let waits_since = request.since.max(peer.served_at);
                let is_overdue =
                    peer.requests_whole_pieces && now.since(waits_since) > OVERDUE_TIME;
                let is_sated = peer.rate.total() >= content;
                // Children get equal shares for each of their stripes, in the order of requests.
                let order = match peer.is_child {
                    true => (!is_begun, peer.stripe_served_at(piece), 0, peer.served_at),
                    false => (!is_begun, Time::default(), copies, peer.served_at),
                };
                let has_turn = peer.is_child == (self.child_blocks + 1 < BLOCKS_PER_TURN);
                let rank = (is_sated, !is_overdue, !has_turn, order, at, conn);
                if best.is_none_or(|best| rank < best) {
                    best = Some(rank);
                }
            }
        }
        let (.., at, conn) = best?;
        let peer = self.peers.get_mut(&conn)?;
        let UploadRequest { block, .. } = peer.queue.remove(at)?;
        if !peer.has_begun(block) {
            peer.current_piece_left = self.piece_length;
            peer.on_piece_begun(now, block.piece);
            let times_sent = &mut self.times_sent[block.piece as usize];
            *times_sent = times_sent.saturating_add(1);
        }
        peer.current_piece_left = peer.current_piece_left.saturating_sub(block.length);
        self.child_blocks = if peer.is_child { self.child_blocks.saturating_add(1) } else { 0 };
        peer.sent_at = now;
        peer.sending.push_back(UploadRequest { block, since: now });
        Some((conn, block))
    }
}

/// Whether a peer has to wait because it was sent `content` bytes, all that there is, too often.
fn is_overfed(now: Time, peer: &PeerUpload, content: u64) -> bool {
    let is_fed = peer.rate.total() >= content.saturating_mul(MAX_COPIES).max(MIN_OVERFED_BYTES);
    is_fed && (!peer.sending.is_empty() || now.since(peer.sent_at) < OVERFED_INTERVAL)
}
