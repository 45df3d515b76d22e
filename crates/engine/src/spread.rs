//! What the origin of a flash crowd offers to whom, so that every piece leaves it once before any
//! leaves it twice.
//!
//! After super-seeding (BEP 16): the origin looks like a peer that has nothing and reveals pieces
//! one at a time. Unlike there, it never waits for proof that a piece was passed on: each peer
//! always holds a few offers that it has not asked for yet, and once every piece was offered, the
//! least spread ones are offered again. No messages here.

use std::time::Duration;

use sow_content::Bitfield;

use crate::availability::Availability;

/// Offers that a peer always holds and has not asked for, at least.
const FEWEST_OFFERS: u64 = 3;

/// Offers cover this much time at the rate at which a peer takes them that asks as soon as it is
/// offered something.
pub(crate) const PROMPT: Duration = Duration::from_millis(250);

/// The same for one that may look for something to ask for once a second only (Transmission does).
/// Longer than its pause, so that it takes more each time.
pub(crate) const POLLING: Duration = Duration::from_secs(3);

/// How often each piece was spread: peers that have it, and peers that were offered it and do not
/// have it yet.
#[derive(Debug)]
pub(crate) struct Spread {
    copies: Availability,
}

/// The offers that one peer holds.
#[derive(Debug, Clone)]
pub(crate) struct Offers {
    offered: Bitfield,
    /// Offered, and not asked for nor had by the peer.
    unused: Bitfield,
}

impl Offers {
    pub(crate) fn new(pieces: u32) -> Self {
        Self { offered: Bitfield::new(pieces), unused: Bitfield::new(pieces) }
    }

    /// The peer asked for a piece, or has it: true when that used an offer up.
    pub(crate) fn used(&mut self, piece: u32) -> bool {
        self.unused.unset(piece)
    }
}

impl Spread {
    pub(crate) fn new(pieces: u32, rng: &mut fastrand::Rng) -> Self {
        Self { copies: Availability::new(pieces, |_| true, rng) }
    }

    /// The next piece to offer to a peer that has `theirs` and takes `ahead` bytes in the time that
    /// offers should cover; `None` when it holds enough offers, or there is nothing that it lacks
    /// and was not offered.
    pub(crate) fn offer(
        &mut self,
        theirs: &Bitfield,
        offers: &mut Offers,
        ahead: u64,
        piece_length: u32,
        rng: &mut fastrand::Rng,
    ) -> Option<u32> {
        if u64::from(offers.unused.count()) >= FEWEST_OFFERS + ahead / u64::from(piece_length) {
            return None;
        }
        let mut order = self.copies.rarest_first().iter().copied();
        let piece = order.find(|&piece| !theirs.get(piece) && !offers.offered.get(piece))?;
        offers.offered.set(piece);
        offers.unused.set(piece);
        self.copies.add(piece, rng);
        Some(piece)
    }

    /// A peer has a piece; an offer of it was counted already.
    pub(crate) fn gained(&mut self, piece: u32, offers: &Offers, rng: &mut fastrand::Rng) {
        if !offers.offered.get(piece) {
            self.copies.add(piece, rng);
        }
    }

    /// A peer is gone, and what it has or was offered with it.
    pub(crate) fn lost(&mut self, theirs: &Bitfield, offers: &Offers, rng: &mut fastrand::Rng) {
        for piece in 0..theirs.len() {
            if theirs.get(piece) || offers.offered.get(piece) {
                self.copies.remove(piece, rng);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_is_offered_once_before_any_twice() {
        let mut rng = fastrand::Rng::with_seed(5);
        let mut spread = Spread::new(60, &mut rng);
        let theirs = vec![Bitfield::new(60); 4];
        let mut offers = vec![Offers::new(60); 4];
        let mut order = Vec::new();
        while order.len() < 180 {
            for peer in 0..4 {
                if let Some(piece) =
                    spread.offer(&theirs[peer], &mut offers[peer], 0, 32768, &mut rng)
                {
                    order.push(piece);
                    // It is asked for at once, but nobody ever says that it arrived.
                    assert!(offers[peer].used(piece));
                }
            }
        }
        for (round, pieces) in order.chunks(60).enumerate() {
            let distinct: std::collections::BTreeSet<_> = pieces.iter().collect();
            assert_eq!(distinct.len(), 60, "round {round}");
        }
    }

    #[test]
    fn a_peer_that_does_not_ask_holds_few_offers_and_its_pieces_come_free_when_it_leaves() {
        let mut rng = fastrand::Rng::with_seed(5);
        let mut spread = Spread::new(10, &mut rng);
        let theirs = Bitfield::new(10);
        let mut lazy = Offers::new(10);
        let held =
            std::iter::from_fn(|| spread.offer(&theirs, &mut lazy, 0, 32768, &mut rng)).count();
        assert_eq!(held as u64, FEWEST_OFFERS);
        spread.lost(&theirs, &lazy, &mut rng);
        let mut keen = Offers::new(10);
        let mut other = Offers::new(10);
        let mut got = std::collections::BTreeSet::new();
        for _ in 0..5 {
            for offers in [&mut keen, &mut other] {
                let piece = spread.offer(&theirs, offers, 0, 32768, &mut rng).unwrap();
                offers.used(piece);
                got.insert(piece);
            }
        }
        assert_eq!(
            got.len(),
            10,
            "what only the one who left was offered counts as spread no more"
        );
    }

    #[test]
    fn a_fast_peer_holds_more() {
        let mut rng = fastrand::Rng::with_seed(5);
        let mut spread = Spread::new(1000, &mut rng);
        let theirs = Bitfield::new(1000);
        let mut offers = Offers::new(1000);
        let held =
            std::iter::from_fn(|| spread.offer(&theirs, &mut offers, 25 << 20, 1 << 20, &mut rng))
                .count();
        assert_eq!(held, 28);
    }
}
