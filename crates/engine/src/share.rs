//! Which pieces are whose to fetch from the one who has them all, when everybody fetches at once and nobody says what he is
//! fetching: plain data in, plain data out.
//!
//! Every machine gives every piece to the one of all machines whose name, mixed with the piece's number, is the largest
//! (rendezvous hashing; Thaler and Ravishankar 1998). Those who know of the same machines agree without a word, so a piece
//! leaves the origin once; those who do not agree lose nothing but that.

use std::net::{IpAddr, SocketAddr};

use sow_content::Bitfield;

use crate::{engine::Engine, io::ConnId, peer::Peer};

/// Who shares the work: ourselves, and the others that lack something.
#[derive(Debug, Clone, Default)]
pub(crate) struct Share {
    me: u64,
    others: Vec<u64>,
}

impl Share {
    pub(crate) fn new(me: SocketAddr, others: impl Iterator<Item = SocketAddr>) -> Self {
        let me = name_of(me);
        let mut others: Vec<u64> = others.map(name_of).filter(|other| *other != me).collect();
        others.sort_unstable();
        others.dedup();
        Self { me, others }
    }

    /// Whether nobody else lacks anything, as far as we know.
    pub(crate) fn is_alone(&self) -> bool {
        self.others.is_empty()
    }

    /// How soon a piece is ours to fetch; the least first. What is ours comes in a fixed order. After that what would be ours
    /// if its owner were not there, from the end of its owner's order: that is where he comes last.
    pub(crate) fn turn(&self, piece: u32) -> (usize, u64) {
        let mine = weight(self.me, piece);
        let before = self.others.iter().map(|other| weight(*other, piece)).filter(|weight| *weight > mine);
        let (rank, owner) = before.fold((0, 0), |(rank, most), weight| (rank + 1, most.max(weight)));
        (rank, if rank == 0 { !mine } else { owner })
    }
}

impl Engine {
    /// Who shares the work of fetching what `conn` has; `None` when it has not everything, so that rarity decides alone.
    pub(crate) fn share_at(&self, conn: ConnId) -> Option<Share> {
        let peer = self.peers.get(&conn)?;
        if !peer.have().is_some_and(Bitfield::is_full) {
            return None;
        }
        let me = SocketAddr::new(self.own_host?, self.config.listen_port);
        let dialect = peer.dialect();
        let others = self.peers.values().filter(move |peer| peer.dialect() == dialect && !peer.is_complete());
        Some(Share::new(me, others.filter_map(Peer::listen_addr)))
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
        let all: Vec<SocketAddr> = (0..5).map(|n| SocketAddr::from(([10, 0, 0, 2 + n], 51000))).collect();
        let shares: Vec<Share> = all.iter().map(|&me| Share::new(me, all.iter().copied())).collect();
        let mut counts = [0; 5];
        for piece in 0..10_000 {
            let owners: Vec<usize> = (0..5).filter(|&at| is_mine(&shares[at], piece)).collect();
            assert_eq!(owners.len(), 1, "piece {piece}");
            counts[owners[0]] += 1;
        }
        assert!(counts.iter().all(|count| (1800..2200).contains(count)), "{counts:?}");
    }

    #[test]
    fn whoever_helps_out_begins_where_the_owner_ends() {
        let all: Vec<SocketAddr> = (0..2).map(|n| SocketAddr::from(([10, 0, 0, 2 + n], 51000))).collect();
        let [owner, helper] = [0, 1].map(|at| Share::new(all[at], all.iter().copied()));
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
        let alone = Share::new(me, [me].into_iter());
        assert!((0..100).all(|piece| alone.turn(piece).0 == 0));
    }
}
