//! What is uploaded on one connection: the requests of the peer, and the blocks that are with the
//! socket. No choice among peers.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use sow_content::Block;
use sow_wire::bittorrent::extension::MAX_STRIPES;

use super::super_seeding::Offers;
use crate::{connections::Connection, io::Time, rate::Rate, token_bucket::TokenBucket};

/// Bytes of one connection that may be with the socket at once: they cannot be cancelled any more.
const MAX_SENDING_BYTES: u64 = 512 * 1024;

/// Blocks of one connection that may be with the socket at once, however short they are.
const MAX_SENDING_BLOCKS: usize = 64;

/// A request may arrive for this long after the choke that it crossed.
const CHOKE_CROSSING_TIME: Duration = Duration::from_secs(10);
/// An unchoked peer that has requested nothing for this long makes no use of its slot.
const IDLE_SLOT_TIME: Duration = Duration::from_secs(1);

/// Changes of interest that the choker reacts to at once, and the interval at which it may be one
/// more. The others wait for the next housekeeping. A block that is sent makes it all of them
/// again: some programs show interest anew for every piece.
const MAX_INTEREST_CHANGES: u32 = 8;

/// See [`MAX_INTEREST_CHANGES`].
const INTEREST_CHANGE_INTERVAL: Duration = Duration::from_millis(500);

/// The upload side of one connection.
#[derive(Debug)]
pub(super) struct PeerUpload {
    /// We accept no requests.
    pub(super) is_choked: bool,
    /// Since when `is_choked` is as it is.
    pub(super) choke_since: Time,
    /// The peer said that it is interested.
    pub(super) is_interested: bool,
    /// How often the choker may react at once to a change of that.
    interest_changes: TokenBucket,
    /// When the peer requested a block last.
    requested_at: Option<Time>,
    /// The peer made no use of its last slot.
    wasted_slot: bool,
    /// Its last choke was a message of ours, which a request may cross.
    was_told_choke: bool,
    /// Requests that are not answered yet.
    pub(super) queue: VecDeque<UploadRequest>,
    /// Requests for pieces that are not here yet: they are answered when they are.
    ahead: BTreeMap<u32, Vec<Block>>,
    ahead_count: usize,
    /// The peer fetches stripes from us, and each of them has a share of our uplink.
    pub(super) is_child: bool,
    /// When a piece of each stripe was begun for the peer last.
    stripes_served_at: [Time; MAX_STRIPES],
    /// The number of stripes.
    stripes: u32,
    /// Blocks that are with the socket.
    pub(super) sending: VecDeque<UploadRequest>,
    /// The piece of the last block that was handed to the socket.
    pub(super) current_piece: Option<u32>,
    /// Its bytes that were not handed to the socket. What is requested beyond them is another copy.
    pub(super) current_piece_left: u32,
    /// When a piece was begun for the peer last.
    pub(super) served_at: Time,
    /// When a block was handed to the socket last.
    pub(super) sent_at: Time,
    pub(super) rate: Rate,
    /// With super-seeding.
    pub(super) offers: Option<Offers>,
    pub(super) requests_whole_pieces: bool,
    /// The dialect has an unchoke only as an answer to interest.
    pub(super) unchokes_only_interested: bool,
}

/// A block that the peer requested, and since when it is where it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct UploadRequest {
    pub(super) block: Block,
    pub(super) since: Time,
}

impl super::Uploads {
    /// How many requests of peers wait or are with the sockets.
    pub(crate) fn queued_requests(&self) -> usize {
        self.peers.values().map(|peer| peer.requests() + peer.sending.len()).sum()
    }

    /// Whether a peer was unchoked so lately that a request may have crossed its end: a choke of
    /// ours, or an interest that the peer has shown anew since the exchange ended.
    pub(crate) fn was_choked_lately(&self, now: Time, connection: &Connection) -> bool {
        self.peers.get(&connection.conn()).is_some_and(|peer| {
            peer.is_choked
                && (peer.was_told_choke || peer.is_interested)
                && peer.choke_since > connection.connected_at()
                && now.since(peer.choke_since) < CHOKE_CROSSING_TIME
        })
    }
}

impl PeerUpload {
    pub(super) fn new(connection: &Connection) -> Self {
        let session = connection.session();
        Self {
            is_choked: true,
            choke_since: connection.connected_at(),
            is_interested: false,
            interest_changes: TokenBucket::new(
                connection.connected_at(),
                MAX_INTEREST_CHANGES,
                INTEREST_CHANGE_INTERVAL,
            ),
            requested_at: None,
            wasted_slot: false,
            was_told_choke: false,
            queue: VecDeque::new(),
            ahead: BTreeMap::new(),
            ahead_count: 0,
            is_child: false,
            stripes_served_at: [Time::default(); MAX_STRIPES],
            stripes: 1,
            sending: VecDeque::new(),
            current_piece: None,
            current_piece_left: 0,
            served_at: Time::default(),
            sent_at: Time::default(),
            rate: Rate::default(),
            offers: None,
            requests_whole_pieces: session.requests_whole_pieces(),
            unchokes_only_interested: session.unchokes_only_interested(),
        }
    }

    /// Whether the socket holds as much for this peer as it may.
    pub(super) fn is_socket_full(&self) -> bool {
        let bytes: u64 = self.sending.iter().map(|sending| u64::from(sending.block.length)).sum();
        bytes >= MAX_SENDING_BYTES || self.sending.len() >= MAX_SENDING_BLOCKS
    }

    /// Whether a block is of the rest of the piece that was begun for the peer.
    pub(super) fn has_begun(&self, block: Block) -> bool {
        self.current_piece == Some(block.piece) && block.length <= self.current_piece_left
    }

    /// The peer is interested, or no longer. Whether that is new, and may be reacted to at once.
    pub(super) fn on_interest(&mut self, now: Time, is_interested: bool) -> bool {
        let is_new = std::mem::replace(&mut self.is_interested, is_interested) != is_interested;
        is_new && self.interest_changes.take(now)
    }

    /// The peer is choked from now on, or unchoked.
    pub(super) fn set_choked(&mut self, now: Time, is_choked: bool) {
        self.wasted_slot = self.is_idle(now);
        self.is_choked = is_choked;
        self.was_told_choke = is_choked;
        self.choke_since = now;
    }

    /// Both sides know that the peer is choked again, without a message.
    pub(super) fn end_exchange(&mut self) {
        self.is_choked = true;
        self.was_told_choke = false;
        self.take_requests();
    }

    /// Whether the peer makes no use of its slot, or made none of its last one.
    pub(super) fn is_idle(&self, now: Time) -> bool {
        if self.is_choked || self.wasted_slot {
            return self.wasted_slot;
        }
        let is_waiting = !self.queue.is_empty() || !self.sending.is_empty();
        let since = self.requested_at.unwrap_or(self.choke_since).max(self.choke_since);
        !is_waiting && now.since(since) >= IDLE_SLOT_TIME
    }

    /// The peer requested a block that will be sent.
    pub(super) fn push_request(&mut self, now: Time, block: Block) {
        self.requested_at = Some(now);
        self.wasted_slot = false;
        self.queue.push_back(UploadRequest { block, since: now });
    }

    /// The peer fetches stripes from us, of so many.
    pub(super) fn set_child(&mut self, stripes: usize) {
        self.is_child = true;
        self.stripes = stripes.clamp(1, MAX_STRIPES) as u32;
    }

    /// When a piece was begun for the peer last, of the stripe of a piece.
    pub(super) fn stripe_served_at(&self, piece: u32) -> Time {
        self.stripes_served_at[(piece % self.stripes) as usize]
    }

    /// A piece is begun to be sent.
    pub(super) fn on_piece_begun(&mut self, now: Time, piece: u32) {
        self.current_piece = Some(piece);
        self.served_at = now;
        self.stripes_served_at[(piece % self.stripes) as usize] = now;
    }

    /// How many requests are not answered and not with the socket.
    pub(super) fn requests(&self) -> usize {
        self.queue.len() + self.ahead_count
    }

    /// The peer requested a block of a piece that is not here yet.
    pub(super) fn keep_request(&mut self, block: Block, stripes: usize) {
        self.set_child(stripes);
        self.ahead_count += 1;
        self.ahead.entry(block.piece).or_default().push(block);
    }

    /// A piece is here: what was requested of it can be sent. Whether there is something.
    pub(super) fn on_piece_here(&mut self, now: Time, piece: u32) -> bool {
        let Some(blocks) = self.ahead.remove(&piece) else { return false };
        self.ahead_count -= blocks.len();
        blocks.into_iter().for_each(|block| self.push_request(now, block));
        true
    }

    /// Takes all requests that are not with the socket.
    pub(super) fn take_requests(&mut self) -> Vec<Block> {
        let queued = std::mem::take(&mut self.queue).into_iter().map(|request| request.block);
        let ahead = std::mem::take(&mut self.ahead).into_values().flatten();
        self.ahead_count = 0;
        queued.chain(ahead).collect()
    }

    /// A block has left.
    pub(super) fn on_sent(&mut self, now: Time, block: Block) {
        if let Some(at) = self.sending.iter().position(|sending| sending.block == block) {
            self.sending.remove(at);
        }
        self.interest_changes.fill();
        self.rate.add(now, u64::from(block.length));
    }

    /// Takes a request that is not answered yet off the queue. Whether it was there.
    pub(super) fn cancel(&mut self, block: Block) -> bool {
        if let Some(at) = self.queue.iter().position(|request| request.block == block) {
            return self.queue.remove(at).is_some();
        }
        let Some(ahead) = self.ahead.get_mut(&block.piece) else { return false };
        let Some(at) = ahead.iter().position(|&kept| kept == block) else { return false };
        ahead.swap_remove(at);
        self.ahead_count -= 1;
        if ahead.is_empty() {
            self.ahead.remove(&block.piece);
        }
        true
    }
}
