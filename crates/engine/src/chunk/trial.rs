//! Who sent which chunk, and in which order chunks are fetched again when the sum of the whole is
//! wrong: plain data in, plain data out. No messages.
//!
//! A chunk that came from a server is right; one that came from a peer, or from an earlier run, is
//! suspect. Suspects are tried in random order; once one was wrong, the rest of what its sender
//! sent comes first, and then the sum is tried again.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
};

use sow_content::Bitfield;

use crate::io::ConnId;

/// From a server.
const RIGHT: u16 = 0;

/// Nobody knows from whom.
const UNKNOWN: u16 = 1;

/// The first number of a peer.
const FIRST_PEER: u16 = 2;

/// What is to be proved, and how far that is.
#[derive(Debug)]
pub(crate) struct Trial {
    pub(super) stage: Stage,
    /// The sum of what is here, as last taken.
    pub(super) sum: Option<[u8; 16]>,
    /// The sum that a server named.
    pub(super) servers_sum: Option<[u8; 16]>,
    /// Who sent each chunk.
    from: Vec<u16>,
    peers: Vec<SocketAddr>,
    queue: VecDeque<u32>,
    under_way: BTreeMap<u32, ConnId>,
    /// Whose chunks are tried first: one of them was wrong.
    liar: Option<u16>,
    /// Everything was suspected already.
    desperate: bool,
}

/// How far a proof is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Something is missing.
    Gathering,
    /// The sum is being taken.
    Summing,
    /// The sum is known; `asked`: a server was asked whether it is right.
    Checking { asked: bool },
    /// It is not: chunks are fetched again.
    Correcting,
    /// It is.
    Proved,
}

impl Trial {
    /// `have`: what an earlier run left.
    pub(crate) fn new(have: &Bitfield) -> Self {
        Self {
            stage: Stage::Gathering,
            sum: None,
            servers_sum: None,
            from: vec![UNKNOWN; have.len() as usize],
            peers: Vec::new(),
            queue: VecDeque::new(),
            under_way: BTreeMap::new(),
            liar: None,
            desperate: false,
        }
    }

    pub(crate) fn is_verified_whole(&self) -> bool {
        self.stage == Stage::Proved
    }

    /// A chunk came: from a server (`None`) or a peer.
    pub(crate) fn came(&mut self, piece: u32, peer: Option<SocketAddr>) {
        let Some(from) = self.from.get_mut(piece as usize) else { return };
        *from = match peer {
            None => RIGHT,
            Some(addr) => {
                let at = self.peers.iter().position(|known| *known == addr).unwrap_or_else(|| {
                    self.peers.push(addr);
                    self.peers.len() - 1
                });
                // More peers than numbers: nobody knows any more.
                u16::try_from(at).ok().and_then(|at| at.checked_add(FIRST_PEER)).unwrap_or(UNKNOWN)
            }
        };
    }

    /// The sum is wrong: what is to be fetched again is put in order. False when everything came
    /// from servers, twice.
    pub(crate) fn begin(&mut self, rng: &mut fastrand::Rng) -> bool {
        if self.from.iter().all(|&from| from == RIGHT) {
            if std::mem::replace(&mut self.desperate, true) {
                return false;
            }
            // The file may have changed at the server while it was fetched.
            self.from.fill(UNKNOWN);
        }
        let mut suspects: Vec<u32> = (0..)
            .zip(&self.from)
            .filter(|(_, from)| **from != RIGHT)
            .map(|(piece, _)| piece)
            .collect();
        rng.shuffle(&mut suspects);
        self.queue = suspects.into();
        self.liar = None;
        self.stage = Stage::Correcting;
        true
    }

    /// The next chunk to fetch again on a connection to a server.
    pub(crate) fn next(&mut self, conn: ConnId) -> Option<u32> {
        if self.liar.is_some_and(|liar| !self.suspects(liar)) {
            return None;
        }
        let piece = self.queue.pop_front()?;
        self.under_way.insert(piece, conn);
        Some(piece)
    }

    /// A chunk was fetched again. Whoever had sent it wrong is returned.
    pub(crate) fn corrected(&mut self, piece: u32, differed: bool) -> Option<SocketAddr> {
        self.under_way.remove(&piece);
        let from = std::mem::replace(self.from.get_mut(piece as usize)?, RIGHT);
        if !differed || from < FIRST_PEER {
            return None;
        }
        self.liar = Some(from);
        let (first, later): (VecDeque<u32>, VecDeque<u32>) =
            self.queue.iter().partition(|&&piece| self.from[piece as usize] == from);
        self.queue = first.into_iter().chain(later).collect();
        self.peers.get(usize::from(from - FIRST_PEER)).copied()
    }

    /// Whether it is time to take the sum again.
    pub(crate) fn is_settled(&self) -> bool {
        let tried = self.queue.is_empty() || self.liar.is_some_and(|liar| !self.suspects(liar));
        tried && self.under_way.is_empty()
    }

    /// A connection is gone: what it was to bring is tried elsewhere.
    pub(crate) fn lost(&mut self, conn: ConnId) {
        let back: Vec<u32> =
            self.under_way.iter().filter(|(_, by)| **by == conn).map(|(&piece, _)| piece).collect();
        for piece in back {
            self.under_way.remove(&piece);
            if self.liar.is_some_and(|liar| self.from[piece as usize] == liar) {
                self.queue.push_front(piece);
            } else {
                self.queue.push_back(piece);
            }
        }
    }

    /// Whether anything of what somebody sent is still to be tried.
    fn suspects(&self, from: u16) -> bool {
        self.queue.front().is_some_and(|&piece| self.from[piece as usize] == from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: ConnId = ConnId(1);

    fn peer(n: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, n], 51000))
    }

    /// Ten chunks: 0–3 from a server, 4–6 from one peer, 7–9 from another.
    fn trial() -> Trial {
        let mut trial = Trial::new(&Bitfield::new(10));
        (0..4).for_each(|piece| trial.came(piece, None));
        (4..7).for_each(|piece| trial.came(piece, Some(peer(1))));
        (7..10).for_each(|piece| trial.came(piece, Some(peer(2))));
        trial
    }

    #[test]
    fn a_liar_s_chunks_come_first_once_one_was_wrong() {
        for seed in 0..50 {
            let mut trial = trial();
            assert!(trial.begin(&mut fastrand::Rng::with_seed(seed)));
            let (mut tried, mut found) = (Vec::new(), None);
            while let Some(piece) = trial.next(SERVER) {
                assert!(!trial.is_settled());
                let liar = trial.corrected(piece, piece >= 7);
                assert_eq!(liar.is_some(), piece >= 7);
                found = found.or(liar.map(|_| tried.len()));
                tried.push(piece);
            }
            assert!(trial.is_settled());
            let after: Vec<u32> = tried.split_off(found.expect("a liar"));
            assert_eq!(
                after.len(),
                3,
                "nothing else is tried before the sum is taken again: {after:?}"
            );
            assert!(
                after.iter().all(|&piece| piece >= 7)
                    && tried.iter().all(|&piece| (4..7).contains(&piece))
            );
        }
    }

    #[test]
    fn what_a_lost_connection_was_to_bring_is_tried_again() {
        let mut trial = trial();
        trial.begin(&mut fastrand::Rng::with_seed(1));
        let first = trial.next(SERVER).unwrap();
        trial.lost(SERVER);
        let rest: Vec<u32> = std::iter::from_fn(|| trial.next(ConnId(2))).collect();
        assert_eq!((rest.len(), rest.last()), (6, Some(&first)));
        // It does not come before what the liar sent.
        let mut trial = self::trial();
        trial.begin(&mut fastrand::Rng::with_seed(1));
        let all: Vec<u32> = std::iter::from_fn(|| trial.next(SERVER)).collect();
        let (liars, others): (Vec<u32>, Vec<u32>) = all.into_iter().partition(|piece| *piece >= 7);
        trial.corrected(liars[0], true);
        trial.lost(SERVER);
        assert!(!trial.is_settled(), "the liar's others are to be tried");
        let next: Vec<u32> = std::iter::from_fn(|| trial.next(ConnId(2))).collect();
        assert!(
            next.len() == 2 && next.iter().all(|piece| liars.contains(piece)),
            "{next:?}, not {others:?}"
        );
    }

    #[test]
    fn everything_is_suspected_once_and_then_it_is_hopeless() {
        let mut trial = Trial::new(&Bitfield::new(3));
        let mut rng = fastrand::Rng::with_seed(1);
        (0..3).for_each(|piece| trial.came(piece, None));
        assert!(trial.begin(&mut rng));
        while let Some(piece) = trial.next(SERVER) {
            assert_eq!(trial.corrected(piece, true), None, "nobody is to blame");
        }
        assert!(trial.is_settled());
        assert!(!trial.begin(&mut rng));
    }
}
