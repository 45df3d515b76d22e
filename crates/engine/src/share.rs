//! Which pieces are whose to fetch from the one who has them all, when everybody fetches at once and nobody says what he is
//! fetching: plain data in, plain data out.
//!
//! Every machine gives every piece to the one of all machines whose name, mixed with the piece's number, is the largest
//! (rendezvous hashing; Thaler and Ravishankar 1998). Those who know of the same machines agree without a word, so a piece
//! leaves the origin once; those who do not agree lose nothing but that.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use crate::{
    engine::Engine,
    io::{ConnId, Dialect},
    peer::Peer,
};

/// Up to so many pieces times machines, shares are made even. Beyond, chance makes them so.
const EVEN: usize = 1 << 20;

/// What an owner fetches next is left to him: so many pieces.
const NEXT: usize = 3;

/// Who shares the work: ourselves, and the others that lack something.
#[derive(Debug, Clone, Default)]
pub(crate) struct Share {
    me: u64,
    others: BTreeSet<u64>,
    pieces: u32,
    /// The owner of each piece, where shares are even.
    owners: Vec<u64>,
}

impl Share {
    pub(crate) fn new(me: SocketAddr, others: impl Iterator<Item = SocketAddr>, pieces: u32) -> Self {
        let me = name_of(me);
        let others = others.map(name_of).filter(|other| *other != me).collect();
        Self { me, others, pieces, owners: Vec::new() }
    }

    /// Makes the shares even, if that is not too much work.
    pub(crate) fn level(mut self) -> Self {
        if !self.is_alone() && self.pieces as usize * (self.others.len() + 1) <= EVEN {
            self.owners = even(self.all(), self.pieces);
        }
        self
    }

    /// Whether nobody else lacks anything, as far as we know.
    pub(crate) fn is_alone(&self) -> bool {
        self.others.is_empty()
    }

    /// How soon a piece is ours to fetch; the least first. What is ours comes in a fixed order. After that what would be ours
    /// if its owner were not there, from the end of its owner's order: that is where he comes last.
    pub(crate) fn turn(&self, piece: u32) -> (usize, u64) {
        let mine = weight(self.me, piece);
        let owner = self.owner(piece);
        if owner == self.me {
            return (0, !mine);
        }
        let others = self.others.iter().filter(|other| **other != owner);
        let before = others.filter(|other| weight(**other, piece) > mine).count();
        (1 + before, weight(owner, piece))
    }

    /// The pieces that their owners will fetch next, or are fetching. `lacks` tells whether the owner of a name lacks a piece, as far
    /// as we know; what is here does not matter.
    pub(crate) fn next_of_others(&self, lacks: impl Fn(u64, u32) -> bool) -> BTreeSet<u32> {
        let mut next: BTreeMap<u64, BTreeSet<(u64, u32)>> = BTreeMap::new();
        for (piece, owner) in (0..).zip(&self.owners) {
            if *owner == self.me || !lacks(*owner, piece) {
                continue;
            }
            let first = next.entry(*owner).or_default();
            first.insert((!weight(*owner, piece), piece));
            if first.len() > NEXT {
                first.pop_last();
            }
        }
        next.into_values().flatten().map(|(_, piece)| piece).collect()
    }

    fn owner(&self, piece: u32) -> u64 {
        let heaviest = || self.all().max_by_key(|name| weight(*name, piece));
        self.owners.get(piece as usize).copied().or_else(heaviest).unwrap_or(self.me)
    }

    fn all(&self) -> impl Iterator<Item = u64> + Clone {
        self.others.iter().copied().chain([self.me])
    }
}

/// Owners of pieces, none with more than its part: whoever has that is passed over (bounded loads; Mirrokni, Thorup,
/// Zadimoghaddam 2018).
fn even(machines: impl Iterator<Item = u64>, pieces: u32) -> Vec<u64> {
    let mut room: BTreeMap<u64, u32> = machines.map(|name| (name, 0)).collect();
    let part = pieces.div_ceil(room.len() as u32);
    let owner = |piece| {
        let open = room.iter_mut().filter(|(_, taken)| **taken < part);
        let (name, taken) = open.max_by_key(|(name, _)| weight(**name, piece))?;
        *taken += 1;
        Some(*name)
    };
    (0..pieces).map_while(owner).collect()
}

impl Engine {
    /// Who shares the work of fetching what `conn` has; `None` when it has not everything, so that rarity decides alone.
    pub(crate) fn share_at(&mut self, conn: ConnId) -> Option<Arc<Share>> {
        let peer = self.peers.get(&conn)?;
        let have = peer.have().filter(|have| have.is_full())?;
        let dialect = peer.dialect();
        let me = called(dialect, SocketAddr::new(self.own_host?, self.config.listen_port));
        let others = self.peers.values().filter(move |peer| peer.dialect() == dialect && !peer.is_complete());
        let share = Share::new(me, others.filter_map(called_of), have.len());
        let is_same = |known: &Share| {
            (known.me, known.pieces) == (share.me, share.pieces) && known.others == share.others
        };
        if !self.share.as_deref().is_some_and(is_same) {
            self.share = Some(Arc::new(share.level()));
        }
        self.share.clone()
    }

    /// What is not ours to fetch because its owner is about to.
    pub(crate) fn left_to_owners(&self, share: &Share) -> BTreeSet<u32> {
        let known = |peer: &Peer| Some((name_of(called_of(peer)?), peer.conn));
        let conns: BTreeMap<u64, ConnId> = self.peers.values().filter_map(known).collect();
        let have = |owner: u64| self.peers.get(conns.get(&owner)?)?.have();
        share.next_of_others(|owner, piece| !have(owner).is_some_and(|have| have.get(piece)))
    }
}

/// What everybody calls a peer by.
fn called_of(peer: &Peer) -> Option<SocketAddr> {
    match peer.dialect() {
        Dialect::JsonTorrent => Some(called(Dialect::JsonTorrent, peer.addr)),
        Dialect::BitTorrent | Dialect::Chunk => peer.listen_addr(),
    }
}

/// Who is called in document 2's protocol is not told the caller's port: there machines go by their hosts alone.
fn called(dialect: Dialect, addr: SocketAddr) -> SocketAddr {
    match dialect {
        Dialect::JsonTorrent => SocketAddr::new(addr.ip(), 0),
        Dialect::BitTorrent | Dialect::Chunk => addr,
    }
}

fn name_of(addr: SocketAddr) -> u64 {
    let host = match addr.ip().to_canonical() {
        IpAddr::V4(ip) => u128::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits(),
    };
    mix((host as u64) ^ mix((host >> 64) as u64) ^ mix(u64::from(addr.port())))
}

fn weight(name: u64, piece: u32) -> u64 {
    mix(name ^ mix(u64::from(piece)))
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

    #[test]
    fn every_piece_has_one_owner_and_the_shares_are_even() {
        let is_mine = |share: &Share, piece| share.turn(piece).0 == 0;
        const PIECES: u32 = 10_000;
        let all: Vec<SocketAddr> = (0..5).map(|n| SocketAddr::from(([10, 0, 0, 2 + n], 51000))).collect();
        let shares: Vec<Share> = all.iter().map(|&me| Share::new(me, all.iter().copied(), PIECES)).collect();
        let mut counts = [0; 5];
        for piece in 0..PIECES {
            let owners: Vec<usize> = (0..5).filter(|&at| is_mine(&shares[at], piece)).collect();
            assert_eq!(owners.len(), 1, "piece {piece}");
            counts[owners[0]] += 1;
        }
        assert!(counts.iter().all(|count| (1800..2200).contains(count)), "{counts:?}");
    }

    #[test]
    fn few_pieces_are_shared_evenly_too() {
        let all: Vec<SocketAddr> = (0..20).map(|n| SocketAddr::from(([10, 0, 0, 2 + n], 51000))).collect();
        let mut owned = vec![0; 77];
        for &me in &all {
            let share = Share::new(me, all.iter().copied(), 77).level();
            let mine: Vec<u32> = (0..77).filter(|&piece| share.turn(piece).0 == 0).collect();
            assert!(mine.len() <= 4, "{} of 77 pieces among 20", mine.len());
            mine.into_iter().for_each(|piece| owned[piece as usize] += 1);
        }
        assert_eq!(owned, [1; 77], "every piece has one owner");
    }

    #[test]
    fn what_an_owner_fetches_next_is_left_to_him() {
        let all: Vec<SocketAddr> = (0..2).map(|n| SocketAddr::from(([10, 0, 0, 2 + n], 51000))).collect();
        let [owner, helper] = [0, 1].map(|at| Share::new(all[at], all.iter().copied(), 100).level());
        let mut theirs: Vec<u32> = (0..100).filter(|&piece| owner.turn(piece).0 == 0).collect();
        theirs.sort_by_key(|&piece| owner.turn(piece));
        let got = theirs[0];
        let left = helper.next_of_others(|_, piece| piece != got);
        assert_eq!(left, theirs[1..=NEXT].iter().copied().collect());
    }

    #[test]
    fn whoever_helps_out_begins_where_the_owner_ends() {
        let all: Vec<SocketAddr> = (0..2).map(|n| SocketAddr::from(([10, 0, 0, 2 + n], 51000))).collect();
        let [owner, helper] = [0, 1].map(|at| Share::new(all[at], all.iter().copied(), 100));
        let mut theirs: Vec<u32> = (0..100).filter(|&piece| owner.turn(piece).0 == 0).collect();
        theirs.sort_by_key(|&piece| owner.turn(piece));
        let mut helped = theirs.clone();
        helped.sort_by_key(|&piece| helper.turn(piece));
        theirs.reverse();
        assert_eq!(helped, theirs);
    }

    #[test]
    fn who_is_alone_owns_everything() {
        let me = SocketAddr::from(([10, 0, 0, 2], 51000));
        let alone = Share::new(me, [me].into_iter(), 100);
        assert!((0..100).all(|piece| alone.turn(piece).0 == 0));
    }
}
