//! An open piece: which of its 16 KiB units are free, requested or here. No choice of pieces or
//! peers.

use sow_content::{BLOCK_LENGTH, Block};

use crate::io::{ConnId, Time};

/// What is known of one unit of [`BLOCK_LENGTH`] bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// It was not requested.
    Free,
    /// It was requested of one peer or, in the end game, of two.
    Requested { first: Asked, second: Option<Asked> },
    /// It is here.
    Arrived { from: ConnId },
}

/// A peer that was asked for a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) conn: ConnId,
    /// When it was asked.
    pub(crate) at: Time,
    /// When the first of all peers was asked that have not delivered the unit since.
    pub(crate) since: Time,
}

impl Asked {
    fn first(conn: ConnId, now: Time) -> Self {
        Self { conn, at: now, since: now }
    }
}

/// A piece of which some units are requested or here.
#[derive(Debug, Clone)]
pub(crate) struct OpenPiece {
    piece: u32,
    length: u32,
    units: Box<[Unit]>,
    free: u32,
    arrived: u32,
    /// Only this peer may be asked, so that a second corruption has one source.
    pub(crate) exclusive: Option<ConnId>,
}

impl OpenPiece {
    pub(crate) fn new(piece: u32, length: u32) -> Self {
        let count = length.div_ceil(BLOCK_LENGTH);
        let units = vec![Unit::Free; count as usize].into();
        Self { piece, length, units, free: count, arrived: 0, exclusive: None }
    }

    pub(crate) fn has_free(&self) -> bool {
        self.free > 0
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.arrived as usize == self.units.len()
    }

    /// Whether none of it is requested.
    pub(crate) fn is_idle(&self) -> bool {
        self.free + self.arrived == self.units.len() as u32
    }

    /// Bytes that are here, counted in whole units.
    pub(crate) fn arrived_bytes(&self) -> u64 {
        u64::from(self.arrived) * u64::from(BLOCK_LENGTH)
    }

    /// Whether some of it is requested of `conn`, or came from it.
    pub(crate) fn involves(&self, conn: ConnId) -> bool {
        self.units.iter().any(|unit| match *unit {
            Unit::Free => false,
            Unit::Requested { first, second } => is_among(conn, first, second),
            Unit::Arrived { from } => from == conn,
        })
    }

    /// The source of each unit; only meaningful for a whole piece.
    pub(crate) fn sources(&self) -> Vec<ConnId> {
        self.units
            .iter()
            .filter_map(|unit| match *unit {
                Unit::Arrived { from } => Some(from),
                Unit::Free | Unit::Requested { .. } => None,
            })
            .collect()
    }

    /// Claims the first run of free units for a request, at most `longest` bytes of it.
    pub(crate) fn claim(&mut self, now: Time, conn: ConnId, longest: u32) -> Option<Block> {
        let start = self.units.iter().position(|unit| *unit == Unit::Free)?;
        let most = (longest / BLOCK_LENGTH).max(1) as usize;
        let run =
            self.units[start..].iter().take(most).take_while(|unit| **unit == Unit::Free).count();
        for unit in &mut self.units[start..start + run] {
            *unit = Unit::Requested { first: Asked::first(conn, now), second: None };
        }
        self.free -= run as u32;
        Some(self.block(start, run))
    }

    /// The unit that was requested first, and when, among those that are not requested of `conn`,
    /// of which at most one live copy is requested, and of which `worth` says that another request
    /// is worth it. `is_dead`, given a peer and the time of the request: its copy is not live.
    pub(crate) fn oldest_single_request(
        &self,
        conn: ConnId,
        worth: impl Fn(Asked) -> bool,
        is_dead: impl Fn(Asked) -> bool,
    ) -> Option<(usize, Time)> {
        self.units
            .iter()
            .enumerate()
            .filter_map(|(at, unit)| match *unit {
                Unit::Requested { first, second }
                    if may_join(conn, first, second, &worth, &is_dead) =>
                {
                    Some((at, first.since))
                }
                _ => None,
            })
            .min_by_key(|&(_, since)| since)
    }

    /// When what is requested of it was requested first.
    pub(crate) fn requested_since(&self) -> Option<Time> {
        let requested = self.units.iter().filter_map(|unit| match *unit {
            Unit::Requested { first, .. } => Some(first.since),
            Unit::Free | Unit::Arrived { .. } => None,
        });
        requested.min()
    }

    /// Requests a unit of another peer too. Of two peers that were asked before, one whose copy
    /// `is_dead` gives up its place, and is returned.
    pub(crate) fn duplicate(
        &mut self,
        now: Time,
        unit: usize,
        conn: ConnId,
        is_dead: impl Fn(Asked) -> bool,
    ) -> (Block, Option<ConnId>) {
        let displaced = join(&mut self.units[unit], conn, now, is_dead);
        (self.block(unit, 1), displaced)
    }

    /// Requests a block again of a peer that was asked for it and may still deliver it, if all of
    /// it is free. Whether it is.
    pub(crate) fn claim_again(&mut self, now: Time, conn: ConnId, block: Block) -> bool {
        let range = self.range(block);
        let is_free = self.units[range.clone()].iter().all(|unit| *unit == Unit::Free);
        if is_free {
            self.free -= range.len() as u32;
            self.units[range]
                .fill(Unit::Requested { first: Asked::first(conn, now), second: None });
        }
        is_free
    }

    /// Whether nothing of it is here or requested.
    pub(crate) fn is_untouched(&self) -> bool {
        self.free as usize == self.units.len()
    }

    /// When all of it was requested of the same other peers, of which at most one has a live copy
    /// of the request, and nothing of it has arrived: the time of the request, if `worth` says
    /// that another one is worth it. `is_dead` as in
    /// [`oldest_single_request`](Self::oldest_single_request).
    pub(crate) fn single_request_since(
        &self,
        conn: ConnId,
        worth: impl Fn(Asked) -> bool,
        is_dead: impl Fn(Asked) -> bool,
    ) -> Option<Time> {
        let unit = *self.units.first()?;
        let Unit::Requested { first, second } = unit else { return None };
        let is_same = self.units.iter().all(|other| *other == unit);
        (is_same && may_join(conn, first, second, worth, is_dead)).then_some(first.since)
    }

    /// Requests all of it of another peer too. As [`duplicate`](Self::duplicate).
    pub(crate) fn duplicate_all(
        &mut self,
        now: Time,
        conn: ConnId,
        is_dead: impl Fn(Asked) -> bool,
    ) -> (Block, Option<ConnId>) {
        let mut displaced = None;
        for unit in &mut self.units {
            displaced = join(unit, conn, now, &is_dead);
        }
        (self.block(0, self.units.len()), displaced)
    }

    /// Takes a request back: units that only `conn` was asked for become free.
    pub(crate) fn release(&mut self, conn: ConnId, block: Block) {
        for at in self.range(block) {
            let unit = &mut self.units[at];
            let Unit::Requested { first, second } = *unit else { continue };
            if second.is_some_and(|second| second.conn == conn) {
                *unit = Unit::Requested { first, second: None };
            } else if first.conn == conn {
                let requested = |first| Unit::Requested { first, second: None };
                *unit = second.map_or(Unit::Free, requested);
                self.free += u32::from(second.is_none());
            }
        }
    }

    /// Marks a block as here. Returns the longest run of it that was not here before, and the other
    /// peers that were asked for the same bytes. What else of the block was not here before becomes
    /// free.
    pub(crate) fn on_block(&mut self, conn: ConnId, block: Block) -> Option<(Block, Vec<ConnId>)> {
        let range = self.range(block);
        let (start, run) = longest_run(&self.units[range.clone()])?;
        let accepted = range.start + start..range.start + start + run;
        let mut duplicate_requesters = Vec::new();
        for at in range {
            match self.units[at] {
                Unit::Arrived { .. } => continue,
                Unit::Free if accepted.contains(&at) => self.free -= 1,
                Unit::Free => continue,
                Unit::Requested { first, second } => {
                    let asked = std::iter::once(first).chain(second).map(|asked| asked.conn);
                    duplicate_requesters.extend(asked.filter(|&other| other != conn));
                }
            }
            if accepted.contains(&at) {
                self.units[at] = Unit::Arrived { from: conn };
                self.arrived += 1;
            } else {
                self.units[at] = Unit::Free;
                self.free += 1;
            }
        }
        duplicate_requesters.sort_unstable();
        duplicate_requesters.dedup();
        Some((self.block(accepted.start, accepted.len()), duplicate_requesters))
    }

    /// Whether a block begins and ends where units do. What is requested always does; what a peer
    /// sends without a request may not.
    pub(crate) fn is_in_units(&self, block: Block) -> bool {
        let ends = block.end().is_multiple_of(BLOCK_LENGTH) || block.end() == self.length;
        block.offset.is_multiple_of(BLOCK_LENGTH) && ends
    }

    /// Whether every byte of `block` is here.
    pub(crate) fn has_block(&self, block: Block) -> bool {
        self.units[self.range(block)].iter().all(|unit| matches!(unit, Unit::Arrived { .. }))
    }

    fn range(&self, block: Block) -> std::ops::Range<usize> {
        (block.offset / BLOCK_LENGTH) as usize..block.end().div_ceil(BLOCK_LENGTH) as usize
    }

    fn block(&self, start: usize, run: usize) -> Block {
        let offset = start as u32 * BLOCK_LENGTH;
        let end = (offset + run as u32 * BLOCK_LENGTH).min(self.length);
        Block { piece: self.piece, offset, length: end - offset }
    }
}

fn is_among(conn: ConnId, first: Asked, second: Option<Asked>) -> bool {
    first.conn == conn || second.is_some_and(|second| second.conn == conn)
}

/// Whether `conn` may be asked too for what one peer or two were asked for: at most one of their
/// copies is live, and another request is worth it beside each.
fn may_join(
    conn: ConnId,
    first: Asked,
    second: Option<Asked>,
    worth: impl Fn(Asked) -> bool,
    is_dead: impl Fn(Asked) -> bool,
) -> bool {
    let has_room = |second| worth(second) && (is_dead(first) || is_dead(second));
    !is_among(conn, first, second) && worth(first) && second.is_none_or(has_room)
}

/// Asks another peer for a requested unit too. Of two peers that were asked before, one whose copy
/// `is_dead` gives up its place, and is returned.
fn join(
    unit: &mut Unit,
    conn: ConnId,
    now: Time,
    is_dead: impl Fn(Asked) -> bool,
) -> Option<ConnId> {
    let Unit::Requested { first, second } = unit else { return None };
    let since = first.since;
    let displaced = match *second {
        Some(live) if !is_dead(live) => Some(std::mem::replace(first, live)),
        dead => dead,
    };
    *second = Some(Asked { conn, at: now, since });
    displaced.map(|displaced| displaced.conn)
}

/// Start and length of the longest run of units that are not here.
fn longest_run(units: &[Unit]) -> Option<(usize, usize)> {
    let mut best = None;
    let mut start = 0;
    for (at, unit) in units.iter().enumerate() {
        if matches!(unit, Unit::Arrived { .. }) {
            start = at + 1;
        } else if best.is_none_or(|(_, run)| at + 1 - start > run) {
            best = Some((start, at + 1 - start));
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ConnId = ConnId(1);
    const B: ConnId = ConnId(2);

    #[test]
    fn units_are_claimed_in_runs() {
        let mut open = OpenPiece::new(3, 100_000);
        let first = open.claim(Time(0), A, 32 * 1024).unwrap();
        assert_eq!(first, Block { piece: 3, offset: 0, length: 32 * 1024 });
        let rest = open.claim(Time(0), B, 1 << 20).unwrap();
        assert_eq!(rest, Block { piece: 3, offset: 32 * 1024, length: 100_000 - 32 * 1024 });
        assert!(!open.has_free() && open.claim(Time(0), A, 1 << 20).is_none());
        open.release(A, first);
        assert!(open.has_free() && !open.is_idle());
    }

    #[test]
    fn a_unit_that_is_requested_twice_names_the_other_peer() {
        let mut open = OpenPiece::new(0, 40_000);
        let whole = open.claim(Time(5), A, 1 << 20).unwrap();
        let (unit, since) = open.oldest_single_request(B, |_| true, |_| false).unwrap();
        assert_eq!((unit, since), (0, Time(5)));
        let (duplicate, displaced) = open.duplicate(Time(5), unit, B, |_| false);
        assert_eq!(displaced, None);
        assert_eq!(open.on_block(B, duplicate), Some((duplicate, vec![A])));
        // The other's block still brings the two units that are missing.
        let accepted = Block { piece: 0, offset: 16384, length: 40_000 - 16384 };
        assert_eq!(open.on_block(A, whole), Some((accepted, vec![])));
        assert!(open.is_whole());
        assert_eq!(open.sources(), [B, A, A]);
        assert_eq!(open.on_block(A, whole), None);
    }

    #[test]
    fn the_longest_run_is_kept_and_the_rest_is_free_again() {
        let mut open = OpenPiece::new(0, 5 * 16384);
        let whole = open.claim(Time(0), A, 1 << 20).unwrap();
        open.on_block(B, Block { piece: 0, offset: 16384, length: 16384 });
        let (accepted, duplicate_requesters) = open.on_block(A, whole).unwrap();
        assert_eq!(
            (accepted.offset, accepted.length, duplicate_requesters.len()),
            (2 * 16384, 3 * 16384, 0)
        );
        assert!(open.has_free() && open.is_idle() && !open.is_whole());
        assert_eq!(
            open.claim(Time(0), B, 1 << 20),
            Some(Block { piece: 0, offset: 0, length: 16384 })
        );
    }

    #[test]
    fn a_unit_that_is_requested_twice_is_free_after_two_releases() {
        let mut open = OpenPiece::new(0, 16384);
        let block = open.claim(Time(0), A, 16384).unwrap();
        open.duplicate(Time(5), 0, B, |_| false);
        open.release(A, block);
        assert!(!open.has_free());
        open.release(B, block);
        assert!(open.has_free());
    }

    #[test]
    fn a_third_peer_is_asked_only_in_place_of_one_that_does_not_deliver() {
        const C: ConnId = ConnId(3);
        let mut open = OpenPiece::new(0, 16384);
        open.claim(Time(0), A, 16384).unwrap();
        open.duplicate(Time(5), 0, B, |_| false);
        assert_eq!(open.oldest_single_request(C, |_| true, |_| false), None);
        for snubbed in [A, B] {
            let mut open = open.clone();
            let is_dead = |asked: Asked| asked.conn == snubbed;
            assert!(open.oldest_single_request(C, |_| true, is_dead).is_some());
            assert_eq!(
                open.oldest_single_request(C, |asked: Asked| asked.conn == snubbed, is_dead),
                None,
                "the other copy is live"
            );
            assert_eq!(open.duplicate(Time(5), 0, C, is_dead).1, Some(snubbed));
            assert!(open.involves(C) && !open.involves(snubbed));
        }
    }

    #[test]
    fn a_block_is_requested_again_only_while_all_of_it_is_free() {
        let mut open = OpenPiece::new(0, 2 * 16384);
        let block = open.claim(Time(0), A, 2 * 16384).unwrap();
        open.release(A, block);
        assert!(open.claim_again(Time(1), A, block) && !open.has_free());
        open.release(A, block);
        open.claim(Time(2), B, 16384).unwrap();
        assert!(!open.claim_again(Time(3), A, block) && open.has_free());
    }
}
