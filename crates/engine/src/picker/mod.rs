//! Which block to request of a peer next: plain data in, plain data out. No messages, no sessions.
//!
//! The order is: finish a piece that this peer has begun; then one that other peers have begun;
//! then open a piece again that was corrupt, so that its source is found soon; then the rarest
//! piece that the peer has, ties at random. When everything is requested, request of a second peer
//! what was requested first.

use std::collections::{BTreeMap, BTreeSet};

use sow_content::{BLOCK_LENGTH, Bitfield, Block, Geometry};

use crate::{
    availability::Availability,
    config::PickOrder,
    io::{ConnId, Time},
    open_piece::{Asked, OpenPiece},
};

/// Equally rare pieces that are considered for one to help with.
const MAX_EQUALLY_RARE: usize = 256;

/// The pieces that are missing, open or stored, and how many peers have each.
#[derive(Debug)]
pub(crate) struct Picker {
    geometry: Geometry,
    order: PickOrder,
    /// Verified and stored.
    have: Bitfield,
    /// Lists the pieces that are neither stored nor open.
    availability: Availability,
    open: BTreeMap<u32, OpenPiece>,
    /// The open pieces with free units.
    partial: BTreeSet<u32>,
    /// How many pieces may be open.
    open_limit: usize,
    /// Pieces that were corrupt: each is requested of one peer at a time.
    suspects: BTreeSet<u32>,
    /// The lowest piece that may be missing, for [`PickOrder::InOrder`].
    lowest: u32,
    /// How often an open piece became free again.
    reopened_count: u64,
}

/// What to request next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pick {
    /// The block.
    pub(crate) block: Block,
    /// An idle piece that was given up to make room; its blocks are lost.
    pub(crate) evicted: Option<u32>,
}

/// A block that is of use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AcceptedBlock {
    /// The part that was not here before.
    pub(crate) accepted: Block,
    /// Other peers that were asked for some of it.
    pub(crate) duplicate_requesters: Vec<ConnId>,
    /// The piece is whole now.
    pub(crate) is_whole: bool,
}

impl Picker {
    /// `open_bytes` bounds the pieces that are open at once; two are always allowed.
    pub(crate) fn new(
        geometry: Geometry,
        have: Bitfield,
        order: PickOrder,
        open_bytes: u64,
        rng: &mut fastrand::Rng,
    ) -> Self {
        let availability = Availability::new(geometry.pieces(), |piece| !have.get(piece), rng);
        let open_limit = (open_bytes / u64::from(geometry.piece_length())).max(2) as usize;
        Self {
            geometry,
            order,
            have,
            availability,
            open: BTreeMap::new(),
            partial: BTreeSet::new(),
            open_limit,
            suspects: BTreeSet::new(),
            lowest: 0,
            reopened_count: 0,
        }
    }

    /// What is verified and stored.
    pub(crate) fn have(&self) -> &Bitfield {
        &self.have
    }

    /// How many pieces are open.
    pub(crate) fn open_pieces(&self) -> usize {
        self.open.len()
    }

    /// How many connected peers have a piece.
    pub(crate) fn count(&self, piece: u32) -> u16 {
        self.availability.count(piece)
    }

    /// Whether no more pieces can be opened until one is stored.
    pub(crate) fn is_crowded(&self) -> bool {
        self.open.len() >= self.open_limit
    }

    /// A peer has a piece.
    pub(crate) fn add(&mut self, piece: u32, rng: &mut fastrand::Rng) {
        self.availability.add(piece, rng);
    }

    /// A peer that had a piece is gone.
    pub(crate) fn remove(&mut self, piece: u32, rng: &mut fastrand::Rng) {
        self.availability.remove(piece, rng);
    }

    /// Whether everything is requested, here or stored, but for what has to come from one peer.
    pub(crate) fn in_end_game(&self) -> bool {
        let is_bound = |piece| self.open.get(piece).is_some_and(|open| open.exclusive.is_some());
        self.availability.rarest_first().is_empty()
            && !self.open.is_empty()
            && self.partial.iter().all(is_bound)
    }

    /// Bytes that are here but not yet stored, in whole units.
    pub(crate) fn arrived_bytes(&self) -> u64 {
        self.open.values().map(OpenPiece::arrived_bytes).sum()
    }

    /// The next block to request of `conn`, at most `longest` bytes (one unit at least), among the
    /// pieces in `theirs`.
    pub(crate) fn next_block(
        &mut self,
        now: Time,
        conn: ConnId,
        theirs: &Bitfield,
        longest: u32,
        rng: &mut fastrand::Rng,
    ) -> Option<Pick> {
        let mut evicted = None;
        let piece = match self.partial_piece(conn, theirs) {
            Some(piece) => piece,
            None => {
                let piece = self.next_to_open(theirs)?;
                evicted = self.make_room(rng)?;
                self.open_piece(piece, conn);
                piece
            }
        };
        let open = self.open.get_mut(&piece)?;
        let block = open.claim(now, conn, longest)?;
        if !open.has_free() {
            self.partial.remove(&piece);
        }
        Some(Pick { block, evicted })
    }

    /// The unit that was requested first of another peer, to be requested of `conn` too. `worth`
    /// says of a peer that was asked whether another request is worth it; `is_dead`, whether the
    /// copy of that peer counts as none. The peer that gave up its place is
    /// returned with the unit.
    pub(crate) fn duplicate_block(
        &mut self,
        now: Time,
        conn: ConnId,
        theirs: &Bitfield,
        worth: impl Fn(Asked) -> bool,
        is_dead: impl Fn(Asked) -> bool,
    ) -> Option<(Block, Option<ConnId>)> {
        let (piece, unit, _) = self
            .open
            .iter()
            .filter(|(piece, open)| theirs.get(**piece) && open.exclusive.is_none())
            .filter_map(|(&piece, open)| {
                let oldest = open.oldest_single_request(conn, &worth, &is_dead);
                oldest.map(|(unit, since)| (piece, unit, since))
            })
            .min_by_key(|&(_, _, since)| since)?;
        Some(self.open.get_mut(&piece)?.duplicate(now, unit, conn, is_dead))
    }

    /// A piece that was requested as a whole and released, for `conn` to be asked for.
    pub(crate) fn released_piece(&self, conn: ConnId, theirs: &Bitfield) -> Option<u32> {
        self.partial.iter().copied().find(|piece| {
            let open = &self.open[piece];
            theirs.get(*piece)
                && open.is_untouched()
                && open.exclusive.is_none_or(|only| only == conn)
        })
    }

    /// Whether some of a piece may be requested of `conn`.
    pub(crate) fn may_request(&self, conn: ConnId, piece: u32) -> bool {
        let is_for = |open: &OpenPiece| open.exclusive.is_none_or(|only| only == conn);
        self.is_free(piece) || (self.partial.contains(&piece) && is_for(&self.open[&piece]))
    }

    /// Requests at most `longest` bytes of a piece of `conn` which [may be
    /// requested](Self::may_request).
    pub(crate) fn request_piece(
        &mut self,
        now: Time,
        conn: ConnId,
        piece: u32,
        longest: u32,
        rng: &mut fastrand::Rng,
    ) -> Option<Pick> {
        let mut evicted = None;
        if self.is_free(piece) {
            evicted = self.make_room(rng)?;
            self.open_piece(piece, conn);
        }
        let open = self.open.get_mut(&piece)?;
        let block = open.claim(now, conn, longest)?;
        if !open.has_free() {
            self.partial.remove(&piece);
        }
        Some(Pick { block, evicted })
    }

    /// Whether a piece is neither stored nor open.
    pub(crate) fn is_free(&self, piece: u32) -> bool {
        self.availability.is_listed(piece)
    }

    /// How often an open piece became free again.
    pub(crate) fn reopened_count(&self) -> u64 {
        self.reopened_count
    }

    /// Whether pieces are to come from the first one on.
    pub(crate) fn is_in_order(&self) -> bool {
        self.order == PickOrder::InOrder
    }

    /// The piece that was requested first, as a whole, of other peers, to be requested of `conn`
    /// too. `worth`, `is_dead` and what is returned as for [`Picker::duplicate_block`].
    pub(crate) fn duplicate_piece(
        &mut self,
        now: Time,
        conn: ConnId,
        theirs: &Bitfield,
        worth: impl Fn(Asked) -> bool,
        is_dead: impl Fn(Asked) -> bool,
    ) -> Option<(Block, Option<ConnId>)> {
        let (piece, _) = self
            .open
            .iter()
            .filter(|(piece, open)| theirs.get(**piece) && open.exclusive.is_none())
            .filter_map(|(&piece, open)| {
                let since = open.single_request_since(conn, &worth, &is_dead);
                since.map(|since| (piece, since))
            })
            .min_by_key(|&(_, since)| since)?;
        Some(self.open.get_mut(&piece)?.duplicate_all(now, conn, is_dead))
    }

    /// Whether all of an open piece is here, so that it is being stored.
    pub(crate) fn is_arrived(&self, piece: u32) -> bool {
        self.open.get(&piece).is_some_and(OpenPiece::is_whole)
    }

    /// Opens a piece again that is stored, to be fetched once more from `conn` alone.
    pub(crate) fn reopen(&mut self, now: Time, piece: u32, conn: ConnId) -> Block {
        let length = self.geometry.length_of(piece);
        let mut open = OpenPiece::new(piece, length);
        open.exclusive = Some(conn);
        let claimed = open.claim(now, conn, u32::MAX);
        self.open.insert(piece, open);
        claimed.unwrap_or(Block { piece, offset: 0, length })
    }

    /// A block arrived from `conn`. `None`: nothing of it is of use.
    pub(crate) fn on_block(&mut self, conn: ConnId, block: Block) -> Option<AcceptedBlock> {
        let open = self.open.get_mut(&block.piece)?;
        let is_all = block.length == self.geometry.length_of(block.piece);
        if is_all && open.arrived_bytes() == 0 && self.suspects.contains(&block.piece) {
            // All of it comes from one peer, if not from the one that was asked last.
            open.exclusive = open.exclusive.map(|_| conn);
        }
        if open.exclusive.is_some_and(|only| only != conn) || !open.is_in_units(block) {
            return None;
        }
        let (accepted, duplicate_requesters) = open.on_block(conn, block)?;
        if open.has_free() {
            self.partial.insert(block.piece);
        } else {
            self.partial.remove(&block.piece);
        }
        Some(AcceptedBlock { accepted, duplicate_requesters, is_whole: open.is_whole() })
    }

    /// Whether every byte of a block is here or stored, so that no peer need send it.
    pub(crate) fn has_block(&self, block: Block) -> bool {
        let reopened = self.open.contains_key(&block.piece);
        (self.have.get(block.piece) && !reopened)
            || self.open.get(&block.piece).is_some_and(|open| open.has_block(block))
    }

    /// A request to `conn` will not be answered, or not in time. A piece that has to come from one
    /// peer alone is given up with it: its index is returned, and its blocks are lost.
    pub(crate) fn release(
        &mut self,
        conn: ConnId,
        block: Block,
        rng: &mut fastrand::Rng,
    ) -> Option<u32> {
        let open = self.open.get_mut(&block.piece)?;
        if open.exclusive == Some(conn) && !open.is_whole() {
            self.close(block.piece, rng);
            return Some(block.piece);
        }
        open.release(conn, block);
        if open.has_free() {
            self.partial.insert(block.piece);
        }
        None
    }

    /// A peer that was asked for a block delivers again: the block is requested of it as before, if
    /// it is of no other. Whether it is.
    pub(crate) fn claim_again(&mut self, now: Time, conn: ConnId, block: Block) -> bool {
        let Some(open) = self.open.get_mut(&block.piece) else { return false };
        let is_claimed =
            open.exclusive.is_none_or(|only| only == conn) && open.claim_again(now, conn, block);
        if !open.has_free() {
            self.partial.remove(&block.piece);
        }
        is_claimed
    }

    /// Whether a piece has to come from one peer alone.
    pub(crate) fn is_exclusive(&self, piece: u32) -> bool {
        self.open.get(&piece).is_some_and(|open| open.exclusive.is_some())
    }

    /// Whether some piece has to come from one peer alone.
    pub(crate) fn has_exclusive(&self) -> bool {
        !self.suspects.is_empty()
    }

    /// Gives up a piece that has to come from another peer alone, all of which is better requested
    /// of `conn`: `worth` says so of that peer, the time of its first request, and whether nothing
    /// of the piece is here. Returned with that peer.
    pub(crate) fn take_over(
        &mut self,
        conn: ConnId,
        theirs: &Bitfield,
        worth: impl Fn(ConnId, Time, bool) -> bool,
        rng: &mut fastrand::Rng,
    ) -> Option<(u32, ConnId)> {
        let (piece, holder) = self.suspects.iter().find_map(|&piece| {
            let open =
                self.open.get(&piece).filter(|open| theirs.get(piece) && !open.is_whole())?;
            let holder = open.exclusive.filter(|&holder| holder != conn)?;
            let since = open.requested_since()?;
            worth(holder, since, open.arrived_bytes() == 0).then_some((piece, holder))
        })?;
        self.close(piece, rng);
        Some((piece, holder))
    }

    /// Gives up pieces that only one peer may be asked for, and of which nothing is requested, if
    /// `useless` says that the peer will not be asked.
    pub(crate) fn reclaim(
        &mut self,
        useless: impl Fn(ConnId) -> bool,
        rng: &mut fastrand::Rng,
    ) -> Vec<u32> {
        let idle = self.open.iter().filter(|(_, open)| open.is_idle() && !open.is_whole());
        let lost: Vec<u32> = idle
            .filter(|(_, open)| open.exclusive.is_some_and(&useless))
            .map(|(&piece, _)| piece)
            .collect();
        lost.iter().for_each(|&piece| self.close(piece, rng));
        lost
    }

    /// `conn` is gone: pieces that have to come from it alone are given up, even when nothing was
    /// in flight.
    pub(crate) fn on_peer_gone(&mut self, conn: ConnId, rng: &mut fastrand::Rng) -> Vec<u32> {
        let lost: Vec<u32> = self
            .open
            .iter()
            .filter(|(_, open)| open.exclusive == Some(conn) && !open.is_whole())
            .map(|(&piece, _)| piece)
            .collect();
        lost.iter().for_each(|&piece| self.close(piece, rng));
        lost
    }

    /// The source of each unit of a whole open piece.
    pub(crate) fn sources(&self, piece: u32) -> Vec<ConnId> {
        self.open.get(&piece).map(OpenPiece::sources).unwrap_or_default()
    }

    /// How many bytes of a whole open piece each of its senders sent.
    pub(crate) fn bytes_by_source(&self, piece: u32) -> Vec<(ConnId, u64)> {
        let length = u64::from(self.geometry.length_of(piece));
        let unit = u64::from(BLOCK_LENGTH);
        let mut bytes_by_source = BTreeMap::new();
        for (source, at) in self.sources(piece).into_iter().zip(0..) {
            *bytes_by_source.entry(source).or_insert(0) += unit.min(length - at * unit);
        }
        bytes_by_source.into_iter().collect()
    }

    /// Whether a piece was corrupt before.
    pub(crate) fn is_suspect(&self, piece: u32) -> bool {
        self.suspects.contains(&piece)
    }

    /// An open piece is verified and stored.
    pub(crate) fn on_stored(&mut self, piece: u32) {
        self.open.remove(&piece);
        self.partial.remove(&piece);
        self.suspects.remove(&piece);
        self.availability.unlist(piece);
        self.have.set(piece);
    }

    /// An open piece is of no use: it starts over, from one peer alone if it was corrupt.
    pub(crate) fn start_over(&mut self, piece: u32, corrupt: bool, rng: &mut fastrand::Rng) {
        if corrupt {
            self.suspects.insert(piece);
        }
        self.close(piece, rng);
    }

    fn close(&mut self, piece: u32, rng: &mut fastrand::Rng) {
        if self.open.remove(&piece).is_some() {
            self.partial.remove(&piece);
            // A stored piece was only being fetched once more.
            if !self.have.get(piece) {
                self.availability.list(piece, rng);
                self.lowest = self.lowest.min(piece);
                self.reopened_count += 1;
            }
        }
    }

    /// An open piece with free units that `theirs` holds: one that `conn` works on, else any.
    fn partial_piece(&self, conn: ConnId, theirs: &Bitfield) -> Option<u32> {
        let mut other = None;
        for &piece in self.partial.iter().filter(|&&piece| theirs.get(piece)) {
            let open = &self.open[&piece];
            match open.exclusive {
                Some(only) if only != conn => continue,
                _ if open.involves(conn) => return Some(piece),
                _ => other = other.or(Some(piece)),
            }
        }
        other
    }

    /// A piece to open. One that was corrupt comes first: until it is right, the source of the
    /// corrupt block is not known and is asked for more.
    pub(crate) fn next_to_open(&mut self, theirs: &Bitfield) -> Option<u32> {
        if let Some(&piece) =
            self.suspects.iter().find(|&&piece| self.is_free(piece) && theirs.get(piece))
        {
            return Some(piece);
        }
        match self.order {
            PickOrder::RarestFirst => {
                self.availability.rarest_first().iter().copied().find(|&piece| theirs.get(piece))
            }
            PickOrder::InOrder => self.lowest_missing(theirs),
        }
    }

    /// How many pieces from the first one on are here or requested.
    pub(crate) fn requested_prefix(&mut self) -> u32 {
        while self.lowest < self.have.len() && !self.availability.is_listed(self.lowest) {
            self.lowest += 1;
        }
        self.lowest
    }

    /// The first piece to open that `theirs` holds.
    pub(crate) fn lowest_missing(&mut self, theirs: &Bitfield) -> Option<u32> {
        (self.requested_prefix()..self.have.len())
            .find(|&piece| self.availability.is_listed(piece) && theirs.get(piece))
    }

    /// The free pieces in `theirs` that are as rare as any, as far as one looks.
    pub(crate) fn rarest(&self, theirs: &Bitfield) -> impl Iterator<Item = u32> {
        let listed =
            || self.availability.rarest_first().iter().copied().filter(|&piece| theirs.get(piece));
        let rarity = listed().next().map(|piece| self.availability.count(piece));
        listed()
            .take_while(move |&piece| Some(self.availability.count(piece)) == rarity)
            .take(MAX_EQUALLY_RARE)
    }

    fn open_piece(&mut self, piece: u32, conn: ConnId) {
        self.availability.unlist(piece);
        let mut open = OpenPiece::new(piece, self.geometry.length_of(piece));
        open.exclusive = self.suspects.contains(&piece).then_some(conn);
        self.open.insert(piece, open);
        self.partial.insert(piece);
    }

    /// Room for another open piece, and what had to go for it; `None`: there is none.
    fn make_room(&mut self, rng: &mut fastrand::Rng) -> Option<Option<u32>> {
        if self.is_crowded() { self.evict(rng).map(Some) } else { Some(None) }
    }

    /// Makes room: gives up the idle piece of which least is here.
    fn evict(&mut self, rng: &mut fastrand::Rng) -> Option<u32> {
        let piece = self
            .partial
            .iter()
            .copied()
            .filter(|piece| self.open[piece].is_idle())
            .min_by_key(|piece| self.open[piece].arrived_bytes())?;
        self.close(piece, rng);
        Some(piece)
    }
}

#[cfg(test)]
mod tests;
