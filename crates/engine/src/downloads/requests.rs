//! Blocks in parts of pieces, as BitTorrent requests them: what to request of a peer, what became
//! of a block that arrived. Which requests have stalled is in `stalls`.

use std::{borrow::Cow, collections::VecDeque};

use sow_content::{BLOCK_LENGTH, Bitfield, Block};
use sow_wire::bittorrent::BlockRequest;

use super::{
    Downloads, PeerDownload,
    duplicates::{holders, is_any_late, is_dead, is_worth, is_worth_all},
};
use crate::{
    config::Integrity,
    connections::{Connection, network_of},
    disconnect::Misbehavior,
    io::{ConnId, Output, StoreMode, Time},
    session::{Decision, bittorrent},
};

/// What became of a block that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BlockArrival {
    /// There is no such block in the content.
    Unknown,
    /// Nothing of it is missing.
    Useless,
    /// A part of it, or all, is kept for its piece.
    Accepted {
        /// What is kept.
        accepted: Block,
        /// Other peers that were asked for some of it.
        duplicate_requesters: Vec<ConnId>,
        /// The piece is whole: how it is to be stored.
        store: Option<StoreMode>,
    },
}

impl Downloads {
    /// A block arrived. Its request counts as answered.
    ///
    /// # Errors
    /// When it was not requested.
    pub(crate) fn on_block(
        &mut self,
        now: Time,
        connection: &mut Connection,
        request: BlockRequest,
    ) -> Result<BlockArrival, Misbehavior> {
        let (conn, network) = (connection.conn(), network_of(connection.addr().ip()));
        let Some(peer) = self.peers.get_mut(&conn) else { return Ok(BlockArrival::Unknown) };
        peer.rate.add(now, u64::from(request.length));
        self.rate.add(now, u64::from(request.length));
        let block = self.geometry.block(request.piece, request.offset, request.length);
        let is_window_full = peer.is_window_full();
        let awaited = connection.session_mut().take_awaited_piece();
        let answered = block.and_then(|block| peer.take_request(block));
        let is_whole_piece = |block: Block| {
            awaited == Some(block.piece) && block.length == self.geometry.length_of(block.piece)
        };
        // Where a whole piece was requested, no other block is an answer, but what was requested
        // before a choke may still come.
        let is_other = awaited.is_some() && !block.is_some_and(is_whole_piece);
        let may_be_late = is_other && answered.is_none() && peer.late_allowance > 0;
        let is_late = may_be_late
            && awaited.is_some_and(|piece| connection.session_mut().await_piece_still(piece));
        let mut was_snubbed = false;
        match answered {
            _ if is_other && !is_late => return Err(self.waste_unsolicited(request)),
            Some(answered) if answered.is_ahead => was_snubbed = peer.on_delivered(now),
            Some(answered) => {
                was_snubbed = peer.on_delivered(now);
                let latency = now.since(answered.requested_at);
                let rate = peer.rate.per_second(now);
                peer.pipeline.arrived(now, latency, request.length, rate, is_window_full);
            }
            None if peer.late_allowance > 0 => peer.late_allowance -= 1,
            // Where pieces are requested and answered one by one, every block has its request.
            None if !connection.session().requests_whole_pieces()
                && self.unsolicited.may_send(now, network, request.length) => {}
            None => return Err(self.waste_unsolicited(request)),
        }
        let Some(block) = block else { return Ok(BlockArrival::Unknown) };
        let arrival = self.accept_block(conn, block);
        self.relayed.on_arrived(now, conn, block.piece);
        if was_snubbed {
            self.on_unsnubbed(now, conn);
        }
        let accepted = match &arrival {
            BlockArrival::Accepted { accepted, .. } => accepted.length,
            BlockArrival::Unknown | BlockArrival::Useless => 0,
        };
        // A block of no use does not show that what is missing arrives.
        if answered.is_some() || accepted > 0 {
            self.last_arrival = now;
        }
        self.wasted += u64::from(request.length.saturating_sub(accepted));
        Ok(arrival)
    }

    fn waste_unsolicited(&mut self, request: BlockRequest) -> Misbehavior {
        self.wasted += u64::from(request.length);
        Misbehavior::UnsolicitedData
    }

    /// Marks a block as here.
    fn accept_block(&mut self, conn: ConnId, block: Block) -> BlockArrival {
        let Some(accepted) = self.picker.on_block(conn, block) else {
            return BlockArrival::Useless;
        };
        let piece = block.piece;
        let mode = match self.integrity {
            Integrity::PieceHashes => StoreMode::Verify { digests: self.picker.is_suspect(piece) },
            Integrity::FileDigest if self.have().get(piece) => StoreMode::WriteIfDifferent,
            Integrity::FileDigest => StoreMode::WriteUnverified,
        };
        let mut duplicate_requesters = accepted.duplicate_requesters;
        self.add_stale_requesters(conn, accepted.accepted, &mut duplicate_requesters);
        BlockArrival::Accepted {
            accepted: accepted.accepted,
            duplicate_requesters,
            store: accepted.is_whole.then_some(mode),
        }
    }

    /// Cancels what the peer was asked for and has arrived from another one.
    pub(crate) fn cancel_duplicates(
        &mut self,
        now: Time,
        connection: &mut Connection,
        piece: u32,
        out: &mut VecDeque<Output>,
    ) {
        let Some(peer) = self.peers.get_mut(&connection.conn()) else { return };
        peer.on_overtaken(now, |block| block.piece == piece && self.picker.has_block(block));
        let void: Vec<Block> = peer
            .outstanding()
            .map(|request| request.block)
            .filter(|block| block.piece == piece && self.picker.has_block(*block))
            .collect();
        for block in void {
            peer.take_request(block);
            peer.late_allowance += 1;
            connection.send(now, Decision::Cancel(block), out);
        }
        peer.exhausted_at = None;
    }

    /// Requests as many blocks of a peer as its window holds; of a snubbed peer one now and then.
    pub(crate) fn request_blocks(
        &mut self,
        now: Time,
        connection: &mut Connection,
        rng: &mut fastrand::Rng,
        out: &mut VecDeque<Output>,
    ) {
        let conn = connection.conn();
        if self.is_halted || self.is_resting(now, conn) {
            return;
        }
        let Some(session) = connection.session().bittorrent() else { return };
        let (max_block, request_queue) =
            (session.max_block(self.max_block), session.extension().request_queue());
        let Some(peer) = self.peers.get(&conn) else { return };
        if !peer.is_choked && self.is_parent(conn) {
            let limits = (max_block, request_queue);
            if self.request_stripes(now, connection, limits, rng, out) {
                connection.on_sent(now);
            }
        }
        let Some(theirs) = connection.have().and_then(|have| self.requestable(conn, have)) else {
            return;
        };
        let theirs = theirs.as_ref();
        let in_end_game = self.picker.in_end_game();
        let is_snubbed = self.peers.get(&conn).is_some_and(PeerDownload::is_snubbed);
        let (request_queue, max_block) =
            if is_snubbed { (1, BLOCK_LENGTH) } else { (request_queue, max_block) };
        let mut is_any = false;
        while let Some(peer) = self.peers.get(&conn)
            && peer.outstanding_count() < request_queue
            && (in_end_game || peer.exhausted_at.is_none_or(|at| at < self.generation))
        {
            let length = peer.pipeline.request_length(max_block);
            if !peer.fits(length) {
                break;
            }
            let block = match self.picker.next_block(now, conn, theirs, length, rng) {
                Some(pick) => {
                    if let Some(piece) = pick.evicted {
                        out.push_back(Output::DiscardBlocks { piece });
                        self.generation += 1;
                    }
                    Some(pick.block)
                }
                None if is_snubbed => None,
                None => match self.duplicate_block(now, conn, theirs) {
                    None if self.take_over_piece(now, conn, theirs, rng, out) => continue,
                    duplicate => duplicate,
                },
            };
            let Some(peer) = self.peers.get_mut(&conn) else { break };
            let Some(block) = block else {
                if !self.picker.in_end_game() {
                    peer.exhausted_at = Some(self.generation);
                }
                break;
            };
            peer.on_requested(now, block, false);
            is_any = true;
            out.push_back(request_output(conn, block));
        }
        if is_any {
            connection.on_sent(now);
            // What a snubbed peer is asked for is of use to any other peer.
            self.generation += u64::from(is_snubbed);
        }
    }

    /// The pieces of a peer's that may be requested of it, but for those that are expected of it as
    /// a parent; `None`: none.
    fn requestable<'a>(&self, conn: ConnId, have: &'a Bitfield) -> Option<Cow<'a, Bitfield>> {
        if self.relayed.is_all_expected() && !self.picker.has_exclusive() {
            return None;
        }
        let peer = self.peers.get(&conn)?;
        let theirs = match peer.is_choked {
            false => Cow::Borrowed(have),
            true if peer.allowed_fast.is_empty() => return None,
            true => Cow::Owned(peer.allowed_while_choked(have)),
        };
        let is_suspect = |piece| self.picker.is_suspect(piece);
        let open = self.relayed.open_pieces_of(&theirs, is_suspect);
        Some(open.map_or(theirs, Cow::Owned))
    }

    /// A block that another peer was asked for and that is worth another request.
    fn duplicate_block(&mut self, now: Time, conn: ConnId, theirs: &Bitfield) -> Option<Block> {
        let peer = self.peers.get(&conn)?;
        // Only an idle connection may request what another one may only deliver a little later.
        let is_idle = peer.outstanding_count() == 0 && self.picker.in_end_game();
        if !is_idle && !is_any_late(&self.peers, now) {
            return None;
        }
        let (holders, asker) = (holders(&self.peers), self.asker(now, peer, is_idle));
        let (block, displaced) = self.picker.duplicate_block(
            now,
            conn,
            theirs,
            is_worth(asker, holders, now),
            is_dead(asker, holders, now),
        )?;
        if let Some(displaced) = displaced {
            self.on_displaced(now, displaced, block);
        }
        Some(block)
    }

    /// Frees a piece that has to come from one peer alone, and that a peer was asked for that does
    /// not deliver, so that all of it can be requested of `conn`. Whether there is one.
    pub(super) fn take_over_piece(
        &mut self,
        now: Time,
        conn: ConnId,
        theirs: &Bitfield,
        rng: &mut fastrand::Rng,
        out: &mut VecDeque<Output>,
    ) -> bool {
        let Some(peer) = self.peers.get(&conn) else { return false };
        if !self.picker.has_exclusive() {
            return false;
        }
        let holders = holders(&self.peers);
        let asker =
            self.asker(now, peer, peer.outstanding_count() == 0 && self.picker.in_end_game());
        let worth = is_worth_all(asker, holders, now);
        let Some((piece, holder)) = self.picker.take_over(conn, theirs, worth, rng) else {
            return false;
        };
        out.push_back(Output::DiscardBlocks { piece });
        self.generation += 1;
        let late = self.peers.get(&holder).map(|peer| {
            let requests = peer.outstanding().map(|request| request.block);
            requests.filter(|block| block.piece == piece).collect::<Vec<Block>>()
        });
        late.into_iter().flatten().for_each(|block| self.on_displaced(now, holder, block));
        true
    }
}

pub(super) fn request_output(conn: ConnId, block: Block) -> Output {
    Output::Send { conn, message: bittorrent::encode(Decision::Request(block)).into() }
}
