//! Which machine fetches which piece from a seed, when several fetch at once and none says what it
//! is fetching: plain data in, plain data out.
//!
//! Every piece belongs to the machine whose identity, mixed with the index of the piece, is the
//! largest (rendezvous hashing; Thaler and Ravishankar 1998), unless that machine has its part
//! already (bounded loads; Mirrokni, Thorup, Zadimoghaddam 2018). Machines that know of the same
//! machines agree without a message, so a piece leaves the seed once. Machines that do not agree
//! fetch some pieces twice, and lose nothing else.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

/// Pieces times machines that are assigned at most; beyond that the assignment takes longer than it
/// saves.
const MAX_ASSIGNMENTS: usize = 1 << 24;

/// A machine may own one part in this many above its part.
const SLACK_FRACTION: u32 = 4;

/// The pieces that an owner fetches next and that are left to it.
const PIECES_LEFT_TO_OWNER: usize = 3;

/// A machine, by an identity that all machines know it by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Machine(u64);

/// The assignment of the pieces to ourselves and to the other machines that lack something.
#[derive(Debug, Clone)]
pub(crate) struct Rendezvous {
    me: Machine,
    others: BTreeSet<Machine>,
    pieces: u32,
    /// The owner of each piece.
    owners: Vec<Machine>,
    /// What each machine owns, in the order in which it fetches. Empty when there is no other
    /// machine.
    queues: BTreeMap<Machine, Queue>,
    /// How often pieces had come back to the picker when our own queue was looked at last.
    seen_returns: u64,
}

/// What a machine owns.
#[derive(Debug, Clone, Default)]
struct Queue {
    /// Its pieces, those first that it fetches first.
    pieces: Vec<u32>,
    /// Nothing before this place is left to be fetched.
    from: usize,
}

impl Rendezvous {
    /// Assigns the pieces to the machines. `None` if there are too many.
    pub(crate) fn new(me: Machine, others: BTreeSet<Machine>, pieces: u32) -> Option<Self> {
        let machines = others.len() + 1;
        if machines > 1 && (pieces as usize).saturating_mul(machines) > MAX_ASSIGNMENTS {
            return None;
        }
        let mut share = Self {
            me,
            others,
            pieces,
            owners: Vec::new(),
            queues: BTreeMap::new(),
            seen_returns: 0,
        };
        if machines > 1 {
            share.owners = owners(share.others.iter().copied().chain([me]), pieces);
            for (piece, owner) in (0..).zip(&share.owners) {
                share.queues.entry(*owner).or_default().pieces.push(piece);
            }
            for (owner, queue) in &mut share.queues {
                queue.pieces.sort_by_cached_key(|&piece| !weight(*owner, piece));
            }
        }
        Some(share)
    }

    /// Whether it is the assignment of this number of pieces to these machines.
    pub(crate) fn is_of(&self, me: Machine, others: &BTreeSet<Machine>, pieces: u32) -> bool {
        (self.me, self.pieces) == (me, pieces) && self.others == *others
    }

    /// Whether no other machine is known to lack anything.
    pub(crate) fn is_alone(&self) -> bool {
        self.others.is_empty()
    }

    /// The next piece of ours that is free and `wanted`. `returns` counts how often pieces that
    /// were not free became so again.
    pub(crate) fn next_own(
        &mut self,
        returns: u64,
        free: impl Fn(u32) -> bool,
        wanted: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        let queue = self.queues.get_mut(&self.me)?;
        if returns != self.seen_returns {
            self.seen_returns = returns;
            queue.from = 0;
        }
        queue.skip(|piece| !free(piece));
        queue.rest().iter().copied().find(|&piece| free(piece) && wanted(piece))
    }

    /// The pieces that their owners will fetch next, or are fetching. `lacks` tells whether a
    /// machine lacks a piece, as far as we know.
    pub(crate) fn next_of_others(&mut self, lacks: impl Fn(Machine, u32) -> bool) -> BTreeSet<u32> {
        let mut next = BTreeSet::new();
        for (&owner, queue) in self.queues.iter_mut().filter(|(owner, _)| **owner != self.me) {
            queue.skip(|piece| !lacks(owner, piece));
            next.extend(
                queue
                    .rest()
                    .iter()
                    .copied()
                    .filter(|&piece| lacks(owner, piece))
                    .take(PIECES_LEFT_TO_OWNER),
            );
        }
        next
    }

    /// How soon a piece of another machine is ours to help with, the least first: 1 if it would be
    /// ours without its owner, and so on. What its owner fetches last comes first.
    pub(crate) fn help_rank(&self, piece: u32) -> (usize, u64) {
        let Some(&owner) = self.owners.get(piece as usize) else { return (1, 0) };
        let mine = weight(self.me, piece);
        let others = self.others.iter().filter(|other| **other != owner);
        let before = others.filter(|other| weight(**other, piece) > mine).count();
        (1 + before, weight(owner, piece))
    }
}

impl Queue {
    fn skip(&mut self, over: impl Fn(u32) -> bool) {
        self.from += self.rest().iter().take_while(|&&piece| over(piece)).count();
    }

    fn rest(&self) -> &[u32] {
        &self.pieces[self.from..]
    }
}

/// The owner of each piece. No machine owns more than a quarter above its part, so that a machine
/// that joins or leaves moves few pieces.
fn owners(machines: impl Iterator<Item = Machine>, pieces: u32) -> Vec<Machine> {
    let mut taken: BTreeMap<Machine, u32> = machines.map(|machine| (machine, 0)).collect();
    let part = pieces.div_ceil(taken.len() as u32);
    let most = part + part.div_ceil(SLACK_FRACTION);
    let owner = |piece| {
        let open = taken.iter_mut().filter(|(_, taken)| **taken < most);
        let (machine, taken) = open.max_by_key(|(machine, _)| weight(**machine, piece))?;
        *taken += 1;
        Some(*machine)
    };
    (0..pieces).map_while(owner).collect()
}

impl Machine {
    /// The machine that listens at an address.
    pub(crate) fn at(addr: SocketAddr) -> Self {
        let host = match addr.ip().to_canonical() {
            IpAddr::V4(ip) => u128::from(ip.to_bits()),
            IpAddr::V6(ip) => ip.to_bits(),
        };
        Self(mix((host as u64) ^ mix((host >> 64) as u64) ^ mix(u64::from(addr.port()))))
    }
}

fn weight(machine: Machine, piece: u32) -> u64 {
    mix(machine.0 ^ mix(u64::from(piece)))
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood 2014).
fn mix(value: u64) -> u64 {
    let mut mixed = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machines(count: u8) -> Vec<Machine> {
        (0..count).map(|n| Machine::at(SocketAddr::from(([10, 0, 0, 2 + n], 51000)))).collect()
    }

    fn share(all: &[Machine], at: usize, pieces: u32) -> Rendezvous {
        let others = all.iter().copied().filter(|machine| *machine != all[at]).collect();
        Rendezvous::new(all[at], others, pieces).unwrap()
    }

    /// What a machine fetches without help, in its order.
    fn fetched(share: &mut Rendezvous) -> Vec<u32> {
        let mut fetched: Vec<u32> = Vec::new();
        while let Some(piece) = share.next_own(0, |piece| !fetched.contains(&piece), |_| true) {
            fetched.push(piece);
        }
        fetched
    }

    #[test]
    fn every_piece_has_one_owner_and_no_machine_much_more_than_its_part() {
        for (count, pieces) in [(2, 3), (5, 77), (20, 77), (5, 10_000)] {
            let all = machines(count);
            let mut owned = vec![0; pieces as usize];
            for at in 0..all.len() {
                let mine = fetched(&mut share(&all, at, pieces));
                let part = pieces.div_ceil(count.into());
                assert!(
                    mine.len() as u32 <= part + part.div_ceil(4),
                    "{} of {pieces} among {count}",
                    mine.len()
                );
                mine.into_iter().for_each(|piece| owned[piece as usize] += 1);
            }
            assert!(owned.iter().all(|owners| *owners == 1), "{count} machines: {owned:?}");
        }
    }

    #[test]
    fn another_machine_takes_little_from_each_and_moves_little_else() {
        let all = machines(20);
        let (before, after) = (share(&all[..19], 0, 1000), share(&all, 0, 1000));
        let moved =
            before.owners.iter().zip(&after.owners).filter(|(before, after)| before != after);
        let (to_new, between): (Vec<_>, Vec<_>) = moved.partition(|(_, after)| **after == all[19]);
        assert!((30..=63).contains(&to_new.len()), "{} to the new one", to_new.len());
        assert!(between.len() <= 30, "{} between the others", between.len());
    }

    #[test]
    fn a_machine_that_helps_begins_where_the_owner_ends() {
        let all = machines(2);
        let (mut owner, helper) = (share(&all, 0, 100), share(&all, 1, 100));
        let mut theirs = fetched(&mut owner);
        let mut helped = theirs.clone();
        helped.sort_by_key(|&piece| helper.help_rank(piece));
        theirs.reverse();
        assert_eq!(helped, theirs);
    }

    #[test]
    fn what_an_owner_fetches_next_is_left_to_it() {
        let all = machines(2);
        let (mut owner, mut helper) = (share(&all, 0, 100), share(&all, 1, 100));
        let theirs = fetched(&mut owner);
        let got = [theirs[0], theirs[2]];
        let left = helper.next_of_others(|_, piece| !got.contains(&piece));
        assert_eq!(left, [theirs[1], theirs[3], theirs[4]].into());
    }

    #[test]
    fn a_piece_that_is_free_again_is_ours_again() {
        let all = machines(2);
        let mut share = share(&all, 0, 100);
        let first = share.next_own(0, |_| true, |_| true).unwrap();
        let second = share.next_own(0, |piece| piece != first, |_| true).unwrap();
        assert_ne!(first, second);
        assert_eq!(share.next_own(0, |_| true, |_| true), Some(second), "the first one is passed");
        assert_eq!(share.next_own(1, |_| true, |_| true), Some(first));
        assert_ne!(share.next_own(1, |_| true, |piece| piece != first), Some(first));
    }

    #[test]
    fn a_single_machine_has_no_order_and_too_many_pieces_are_not_assigned() {
        let all = machines(5);
        let mut alone = Rendezvous::new(all[0], BTreeSet::new(), 4 << 20).unwrap();
        assert!(alone.is_alone());
        assert_eq!(alone.next_own(0, |_| true, |_| true), None);
        assert!(Rendezvous::new(all[0], all[1..].iter().copied().collect(), 4 << 20).is_none());
    }
}
