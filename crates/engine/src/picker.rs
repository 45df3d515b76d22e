//! Which block to ask a peer for next: plain data in, plain data out. No messages, no sessions.
//!
//! The order reads as a sentence: finish what this peer has begun; then what others have begun;
//! then open again what came corrupt, so that the liar is found soon; then the rarest piece that
//! the peer has, ties at random; and when nothing is left that nobody was asked for, ask a second
//! peer for what has been asked for longest.

use std::collections::{BTreeMap, BTreeSet};

use sow_content::{BLOCK_LENGTH, Bitfield, Block, Geometry};

use crate::{
    availability::Availability,
    config::PickOrder,
    io::{ConnId, Time},
    open_piece::OpenPiece,
};

/// Equally rare pieces that are looked at for one to help with.
const LOOK: usize = 256;

/// What is missing, what is on its way, and who has how much of it.
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
    /// Pieces that came corrupt before: asked of one peer at a time.
    suspect: BTreeSet<u32>,
    /// The lowest piece that may be missing, for [`PickOrder::InOrder`].
    lowest: u32,
    /// How often a piece that was begun became free again.
    returns: u64,
}

/// What [`Picker::next`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pick {
    /// What to ask for.
    pub(crate) block: Block,
    /// An idle piece that had to make room; its blocks are lost.
    pub(crate) evicted: Option<u32>,
}

/// What became of a block that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// The part that was not here before.
    pub(crate) kept: Block,
    /// Others who were asked for some of it.
    pub(crate) rivals: Vec<ConnId>,
    /// The piece is whole now.
    pub(crate) whole: bool,
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
            suspect: BTreeSet::new(),
            lowest: 0,
            returns: 0,
        }
    }

    /// What is verified and stored.
    pub(crate) fn have(&self) -> &Bitfield {
        &self.have
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

    /// Whether everything is asked for, here or stored.
    pub(crate) fn in_end_game(&self) -> bool {
        self.availability.rarest_first().is_empty()
            && self.partial.is_empty()
            && !self.open.is_empty()
    }

    /// Bytes that are here but not yet stored, in whole units.
    pub(crate) fn arrived_bytes(&self) -> u64 {
        self.open.values().map(OpenPiece::arrived_bytes).sum()
    }

    /// The next block to ask `conn` for, at most `longest` bytes (one unit at least), among the
    /// pieces in `theirs`.
    pub(crate) fn next(
        &mut self,
        now: Time,
        conn: ConnId,
        theirs: &Bitfield,
        longest: u32,
        rng: &mut fastrand::Rng,
    ) -> Option<Pick> {
        let mut evicted = None;
        let piece = match self.begun(conn, theirs) {
            Some(piece) => piece,
            None => {
                let piece = self.fresh(theirs)?;
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

    /// In the end game: the unit that another peer was asked for longest ago, to be asked of `conn`
    /// as well. `worth` says of a peer and the time when it was asked whether that is worth a
    /// second copy.
    pub(crate) fn steal(
        &mut self,
        conn: ConnId,
        theirs: &Bitfield,
        worth: impl Fn(ConnId, Time) -> bool,
    ) -> Option<Block> {
        if !self.in_end_game() {
            return None;
        }
        let (piece, unit, _) = self
            .open
            .iter()
            .filter(|(piece, open)| theirs.get(**piece) && open.exclusive.is_none())
            .filter_map(|(&piece, open)| {
                open.oldest_single(conn, &worth).map(|(unit, since)| (piece, unit, since))
            })
            .min_by_key(|&(_, _, since)| since)?;
        Some(self.open.get_mut(&piece)?.double(unit, conn))
    }

    /// A piece that was asked for as a whole and let go, for `conn` to be asked for.
    pub(crate) fn released_whole(&self, conn: ConnId, theirs: &Bitfield) -> Option<u32> {
        self.partial.iter().copied().find(|piece| {
            let open = &self.open[piece];
            theirs.get(*piece)
                && open.is_untouched()
                && open.exclusive.is_none_or(|only| only == conn)
        })
    }

    /// Asks `conn` for a piece as a whole: one that is free, or was [let go](Self::released_whole).
    pub(crate) fn open_whole(
        &mut self,
        now: Time,
        conn: ConnId,
        piece: u32,
        rng: &mut fastrand::Rng,
    ) -> Option<Pick> {
        let mut evicted = None;
        if self.is_free(piece) {
            evicted = self.make_room(rng)?;
            self.open_piece(piece, conn);
        }
        let block = self.open.get_mut(&piece)?.claim(now, conn, u32::MAX)?;
        self.partial.remove(&piece);
        Some(Pick { block, evicted })
    }

    /// Whether a piece is neither here nor begun.
    pub(crate) fn is_free(&self, piece: u32) -> bool {
        self.availability.is_listed(piece)
    }

    /// How often a piece that was begun became free again.
    pub(crate) fn returns(&self) -> u64 {
        self.returns
    }

    /// Whether pieces are to come from the first one on.
    pub(crate) fn is_in_order(&self) -> bool {
        self.order == PickOrder::InOrder
    }

    /// In the end game: the piece that one other peer was asked for as a whole longest ago, to be
    /// asked of `conn` as well. `worth` as for [`Picker::steal`].
    pub(crate) fn steal_whole(
        &mut self,
        conn: ConnId,
        theirs: &Bitfield,
        worth: impl Fn(ConnId, Time) -> bool,
    ) -> Option<Block> {
        if !self.in_end_game() {
            return None;
        }
        let (piece, _) = self
            .open
            .iter()
            .filter(|(piece, open)| theirs.get(**piece) && open.exclusive.is_none())
            .filter_map(|(&piece, open)| open.asked_whole(conn, &worth).map(|since| (piece, since)))
            .min_by_key(|&(_, since)| since)?;
        Some(self.open.get_mut(&piece)?.double_whole(conn))
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

    /// A block came from `conn`. `None`: nothing of it is of use.
    pub(crate) fn arrived(&mut self, conn: ConnId, block: Block) -> Option<Arrival> {
        let open = self.open.get_mut(&block.piece)?;
        if open.exclusive.is_some_and(|only| only != conn) || !open.is_in_units(block) {
            return None;
        }
        let (kept, rivals) = open.arrive(conn, block)?;
        if open.has_free() {
            self.partial.insert(block.piece);
        } else {
            self.partial.remove(&block.piece);
        }
        Some(Arrival { kept, rivals, whole: open.is_whole() })
    }

    /// Whether every byte of a block is here or stored, so that nobody need send it.
    pub(crate) fn is_here(&self, block: Block) -> bool {
        let reopened = self.open.contains_key(&block.piece);
        (self.have.get(block.piece) && !reopened)
            || self.open.get(&block.piece).is_some_and(|open| open.is_here(block))
    }

    /// A request to `conn` will not be answered, or not in time. A piece that has to come from one
    /// peer alone is given up with it: its number is returned, and its blocks are lost.
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

    /// Gives up pieces that only one peer may be asked for, and is not: when `useless` says that it
    /// will not be.
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

    /// `conn` is gone: pieces that had to come from it alone are given up, even when nothing was in
    /// flight.
    pub(crate) fn forsake(&mut self, conn: ConnId, rng: &mut fastrand::Rng) -> Vec<u32> {
        let lost: Vec<u32> = self
            .open
            .iter()
            .filter(|(_, open)| open.exclusive == Some(conn) && !open.is_whole())
            .map(|(&piece, _)| piece)
            .collect();
        lost.iter().for_each(|&piece| self.close(piece, rng));
        lost
    }

    /// Who sent each unit of a whole open piece.
    pub(crate) fn sources(&self, piece: u32) -> Vec<ConnId> {
        self.open.get(&piece).map(OpenPiece::sources).unwrap_or_default()
    }

    /// How many bytes of a whole open piece each of its senders sent.
    pub(crate) fn shares(&self, piece: u32) -> Vec<(ConnId, u64)> {
        let length = u64::from(self.geometry.length_of(piece));
        let unit = u64::from(BLOCK_LENGTH);
        let mut shares = BTreeMap::new();
        for (source, at) in self.sources(piece).into_iter().zip(0..) {
            *shares.entry(source).or_insert(0) += unit.min(length - at * unit);
        }
        shares.into_iter().collect()
    }

    /// Whether a piece came corrupt before.
    pub(crate) fn is_suspect(&self, piece: u32) -> bool {
        self.suspect.contains(&piece)
    }

    /// An open piece is verified and stored.
    pub(crate) fn stored(&mut self, piece: u32) {
        self.open.remove(&piece);
        self.partial.remove(&piece);
        self.suspect.remove(&piece);
        self.availability.unlist(piece);
        self.have.set(piece);
    }

    /// An open piece is of no use: it starts over, and from one peer alone when it was corrupt.
    pub(crate) fn start_over(&mut self, piece: u32, corrupt: bool, rng: &mut fastrand::Rng) {
        if corrupt {
            self.suspect.insert(piece);
        }
        self.close(piece, rng);
    }

    fn close(&mut self, piece: u32, rng: &mut fastrand::Rng) {
        if self.open.remove(&piece).is_some() {
            self.partial.remove(&piece);
            // What is stored already was only to be fetched once more.
            if !self.have.get(piece) {
                self.availability.list(piece, rng);
                self.lowest = self.lowest.min(piece);
                self.returns += 1;
            }
        }
    }

    /// An open piece with free units that `theirs` holds: one that `conn` works on, else any.
    fn begun(&self, conn: ConnId, theirs: &Bitfield) -> Option<u32> {
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

    /// A piece to open. One that came corrupt comes first: until it is right, whoever sent the
    /// wrong block goes on being asked.
    pub(crate) fn fresh(&mut self, theirs: &Bitfield) -> Option<u32> {
        if let Some(&piece) =
            self.suspect.iter().find(|&&piece| self.is_free(piece) && theirs.get(piece))
        {
            return Some(piece);
        }
        match self.order {
            PickOrder::RarestFirst => {
                self.availability.rarest_first().iter().copied().find(|&piece| theirs.get(piece))
            }
            PickOrder::InOrder => self.lowest(theirs),
        }
    }

    /// How many pieces from the first one on are here or asked for.
    pub(crate) fn prefix(&mut self) -> u32 {
        while self.lowest < self.have.len() && !self.availability.is_listed(self.lowest) {
            self.lowest += 1;
        }
        self.lowest
    }

    /// The first piece to open that `theirs` holds.
    pub(crate) fn lowest(&mut self, theirs: &Bitfield) -> Option<u32> {
        (self.prefix()..self.have.len())
            .find(|&piece| self.availability.is_listed(piece) && theirs.get(piece))
    }

    /// The free pieces in `theirs` that are as rare as any, as far as one looks.
    pub(crate) fn rarest(&self, theirs: &Bitfield) -> impl Iterator<Item = u32> {
        let listed =
            || self.availability.rarest_first().iter().copied().filter(|&piece| theirs.get(piece));
        let rarity = listed().next().map(|piece| self.availability.count(piece));
        listed().take_while(move |&piece| Some(self.availability.count(piece)) == rarity).take(LOOK)
    }

    fn open_piece(&mut self, piece: u32, conn: ConnId) {
        self.availability.unlist(piece);
        let mut open = OpenPiece::new(piece, self.geometry.length_of(piece));
        open.exclusive = self.suspect.contains(&piece).then_some(conn);
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
mod tests {
    use super::*;

    const A: ConnId = ConnId(1);
    const B: ConnId = ConnId(2);
    const C: ConnId = ConnId(3);

    fn picker(pieces: u32, units: u32) -> (Picker, fastrand::Rng) {
        let geometry =
            Geometry::new(u64::from(pieces * units) * 16384, u64::from(units) * 16384).unwrap();
        let mut rng = fastrand::Rng::with_seed(1);
        let have = Bitfield::new(pieces);
        (Picker::new(geometry, have, PickOrder::RarestFirst, 1 << 30, &mut rng), rng)
    }

    fn set(pieces: u32, members: &[u32]) -> Bitfield {
        let mut set = Bitfield::new(pieces);
        members.iter().for_each(|&piece| assert!(set.set(piece)));
        set
    }

    #[test]
    fn the_rarest_piece_is_opened_first_and_finished_by_whom_began_it() {
        let (mut picker, mut rng) = picker(5, 2);
        let all = Bitfield::full(5);
        for piece in [0, 1, 2, 3, 4, 0, 1, 3, 4] {
            picker.add(piece, &mut rng);
        }
        let first = picker.next(Time(0), A, &all, 16384, &mut rng).unwrap().block;
        assert_eq!((first.piece, first.offset), (2, 0));
        let second = picker.next(Time(0), A, &all, 16384, &mut rng).unwrap().block;
        assert_eq!((second.piece, second.offset), (2, 16384));
        assert_ne!(picker.next(Time(0), A, &all, 16384, &mut rng).unwrap().block.piece, 2);
    }

    #[test]
    fn others_join_in_before_they_open_more() {
        let (mut picker, mut rng) = picker(4, 4);
        let all = Bitfield::full(4);
        let first = picker.next(Time(0), A, &all, 16384, &mut rng).unwrap().block;
        let joined = picker.next(Time(0), B, &all, 1 << 20, &mut rng).unwrap().block;
        assert_eq!((joined.piece, joined.offset, joined.length), (first.piece, 16384, 3 * 16384));
    }

    #[test]
    fn only_what_a_peer_has_is_asked_of_it() {
        let (mut picker, mut rng) = picker(4, 1);
        assert_eq!(picker.next(Time(0), A, &set(4, &[3]), 16384, &mut rng).unwrap().block.piece, 3);
        assert_eq!(picker.next(Time(0), A, &set(4, &[3]), 16384, &mut rng), None);
    }

    #[test]
    fn the_end_game_doubles_the_oldest_once() {
        let (mut picker, mut rng) = picker(2, 1);
        let all = Bitfield::full(2);
        let a = picker.next(Time(1), A, &all, 16384, &mut rng).unwrap().block;
        let any = |_, _| true;
        assert_eq!(picker.steal(B, &all, any), None, "a piece is still free");
        let b = picker.next(Time(2), B, &all, 16384, &mut rng).unwrap().block;
        assert_eq!(picker.steal(B, &all, |_, _| false), None, "not worth it");
        assert_eq!(picker.steal(B, &all, any), Some(a));
        assert_eq!(picker.steal(C, &all, any), Some(b), "at most two copies of one block");
        assert_eq!(picker.steal(C, &all, any), None);
        let arrival = picker.arrived(B, a).unwrap();
        assert_eq!((arrival.rivals, arrival.whole), (vec![A], true));
        assert_eq!(picker.arrived(A, a), None);
        picker.stored(a.piece);
        assert!(picker.have().get(a.piece) && picker.is_here(a));
    }

    #[test]
    fn a_released_block_is_picked_again() {
        let (mut picker, mut rng) = picker(1, 1);
        let all = Bitfield::full(1);
        let block = picker.next(Time(0), A, &all, 16384, &mut rng).unwrap().block;
        assert_eq!(picker.next(Time(0), B, &all, 16384, &mut rng), None);
        assert_eq!(picker.release(A, block, &mut rng), None);
        assert_eq!(picker.next(Time(0), B, &all, 16384, &mut rng).unwrap().block, block);
    }

    #[test]
    fn a_corrupt_piece_comes_from_one_peer_the_next_time() {
        let (mut picker, mut rng) = picker(1, 2);
        let all = Bitfield::full(1);
        let a = picker.next(Time(0), A, &all, 16384, &mut rng).unwrap().block;
        let b = picker.next(Time(0), B, &all, 16384, &mut rng).unwrap().block;
        picker.arrived(A, a);
        assert!(picker.arrived(B, b).unwrap().whole);
        assert_eq!(picker.sources(0), [A, B]);
        assert_eq!(picker.shares(0), [(A, 16384), (B, 16384)]);
        picker.start_over(0, true, &mut rng);
        assert!(picker.is_suspect(0));
        let again = picker.next(Time(0), B, &all, 16384, &mut rng).unwrap().block;
        assert_eq!(picker.next(Time(0), A, &all, 16384, &mut rng), None);
        assert_eq!(picker.arrived(A, a), None, "a late block of somebody else is not mixed in");
        assert_eq!(picker.release(B, again, &mut rng), Some(0));
        assert!(picker.next(Time(0), A, &all, 16384, &mut rng).is_some());
    }

    #[test]
    fn a_corrupt_piece_is_fetched_again_before_any_other() {
        for seed in 0..50 {
            let (mut picker, _) = picker(100, 1);
            let mut rng = fastrand::Rng::with_seed(seed);
            let all = Bitfield::full(100);
            let first = picker.next(Time(0), A, &all, 16384, &mut rng).unwrap().block;
            assert!(picker.arrived(A, first).unwrap().whole);
            picker.start_over(first.piece, true, &mut rng);
            // Everything else is rarer now.
            picker.add(first.piece, &mut rng);
            let but_it: Vec<u32> = (0..100).filter(|&piece| piece != first.piece).collect();
            let other = picker.next(Time(0), B, &set(100, &but_it), 16384, &mut rng).unwrap().block;
            assert_ne!(other.piece, first.piece, "C has it, B has not");
            assert_eq!(picker.next(Time(0), C, &all, 16384, &mut rng).unwrap().block, first);
            assert_ne!(
                picker.next(Time(0), A, &all, 16384, &mut rng).unwrap().block,
                first,
                "C was asked for it"
            );
        }
    }

    #[test]
    fn a_suspect_piece_does_not_wait_for_a_peer_that_is_of_no_use() {
        let (mut picker, mut rng) = picker(1, 2);
        let all = Bitfield::full(1);
        for conn in [A, B] {
            let block = picker.next(Time(0), conn, &all, 16384, &mut rng).unwrap().block;
            picker.arrived(conn, block);
        }
        picker.start_over(0, true, &mut rng);
        let first = picker.next(Time(0), A, &all, 16384, &mut rng).unwrap().block;
        assert!(picker.reclaim(|_| true, &mut rng).is_empty(), "it is being asked for");
        picker.arrived(A, first);
        assert_eq!(picker.next(Time(0), B, &all, 16384, &mut rng), None);
        assert!(picker.reclaim(|conn| conn == B, &mut rng).is_empty());
        assert_eq!(picker.reclaim(|conn| conn == A, &mut rng), [0]);
        assert!(picker.next(Time(0), B, &all, 16384, &mut rng).is_some());
    }

    #[test]
    fn open_pieces_are_bounded_and_an_idle_one_makes_room() {
        let geometry = Geometry::new(10 * 32768, 32768).unwrap();
        let mut rng = fastrand::Rng::with_seed(3);
        let mut picker =
            Picker::new(geometry, Bitfield::new(10), PickOrder::RarestFirst, 3 * 32768, &mut rng);
        let mine = |pieces: &[u32]| set(10, pieces);
        for piece in 0..3 {
            assert!(picker.next(Time(0), A, &mine(&[piece]), 16384, &mut rng).is_some());
        }
        assert_eq!(picker.next(Time(0), B, &mine(&[5]), 16384, &mut rng), None);
        let block = Block { piece: 1, offset: 0, length: 16384 };
        picker.release(A, block, &mut rng);
        let pick = picker.next(Time(0), B, &mine(&[5]), 16384, &mut rng).unwrap();
        assert_eq!((pick.block.piece, pick.evicted), (5, Some(1)));
    }

    #[test]
    fn in_order_goes_upwards() {
        let geometry = Geometry::new(6 * 16384, 16384).unwrap();
        let mut rng = fastrand::Rng::with_seed(3);
        let mut picker = Picker::new(geometry, set(6, &[1]), PickOrder::InOrder, 1 << 20, &mut rng);
        let all = Bitfield::full(6);
        let picked: Vec<u32> =
            std::iter::from_fn(|| picker.next(Time(0), A, &all, 16384, &mut rng))
                .map(|pick| pick.block.piece)
                .collect();
        assert_eq!(picked, [0, 2, 3, 4, 5]);
    }
}
