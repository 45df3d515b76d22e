//! Super-seeding: which pieces the origin of a flash crowd offers to which peer, so that every
//! piece leaves it once before any leaves it twice. No messages.
//!
//! After BEP 16, the origin looks like a peer that has nothing and reveals pieces one at a time.
//! Unlike there, it never waits for proof that a piece was passed on: each peer always holds a few
//! offers that it has not requested yet, and once every piece was offered, the pieces with the
//! fewest copies are offered again. What was offered to a peer that stands still counts as a copy
//! no more, so that others are offered it as if it never had been.

use std::time::Duration;

use sow_content::Bitfield;

use crate::{availability::Availability, io::Time};

/// Offers that a peer always holds and has not requested, at least.
const MIN_UNUSED_OFFERS: u64 = 3;

/// The time that offers last at a peer's rate, if it requests a piece as soon as it is offered.
pub(super) const PROMPT_OFFER_TIME: Duration = Duration::from_millis(250);

/// The same for a peer that may look for something to request only once a second, as Transmission
/// does. It is longer than a second, so that the peer takes more each time.
pub(super) const POLLED_OFFER_TIME: Duration = Duration::from_secs(3);

/// A peer that sent no HAVE and no request and took no block for this long stands still.
const STANDSTILL_TIME: Duration = Duration::from_secs(10);

/// The copies of each piece: peers that have it, and peers that were offered it and do not have it
/// yet.
#[derive(Debug)]
pub(crate) struct SuperSeeding {
    copies: Availability,
}

/// The offers that one peer holds.
#[derive(Debug, Clone)]
pub(crate) struct Offers {
    offered: Bitfield,
    /// Offered, not requested, and not had by the peer.
    unused: Bitfield,
    /// Offered, not had by the peer, and not counted as copies any more.
    returned: Bitfield,
    /// The counts by which progress is seen: bytes sent, unused offers, pieces of the peer.
    progress: (u64, u32, u32),
    progress_at: Time,
}

impl Offers {
    pub(crate) fn new(now: Time, pieces: u32) -> Self {
        let none = Bitfield::new(pieces);
        Self {
            offered: none.clone(),
            unused: none.clone(),
            returned: none,
            progress: (0, 0, 0),
            progress_at: now,
        }
    }

    /// Whether the peer has not made progress for long. `sent`: bytes that it was sent.
    fn stands_still(&mut self, now: Time, theirs: &Bitfield, sent: u64) -> bool {
        let progress = (sent, self.unused.count(), theirs.count());
        if std::mem::replace(&mut self.progress, progress) != progress {
            self.progress_at = now;
        }
        now.since(self.progress_at) >= STANDSTILL_TIME
    }

    /// The peer requested a piece, or has it. True when that used an offer up.
    pub(crate) fn on_used(&mut self, piece: u32) -> bool {
        self.unused.unset(piece)
    }
}

impl SuperSeeding {
    pub(crate) fn new(pieces: u32, rng: &mut fastrand::Rng) -> Self {
        Self { copies: Availability::new(pieces, |_| true, rng) }
    }

    /// Takes back what was offered to a peer that stands still; it may request it even so. `sent`:
    /// bytes that the peer was sent.
    pub(crate) fn return_offers(
        &mut self,
        now: Time,
        theirs: &Bitfield,
        offers: &mut Offers,
        sent: u64,
        rng: &mut fastrand::Rng,
    ) {
        if offers.stands_still(now, theirs, sent) {
            self.take_back(theirs, offers, rng);
        }
    }

    /// What a peer was offered and does not have counts as a copy no more.
    pub(crate) fn take_back(
        &mut self,
        theirs: &Bitfield,
        offers: &mut Offers,
        rng: &mut fastrand::Rng,
    ) {
        let is_held = |piece: &u32| !theirs.get(*piece) && !offers.returned.get(*piece);
        let held: Vec<u32> = offers.offered.iter().filter(is_held).collect();
        for piece in held {
            offers.returned.set(piece);
            self.copies.remove(piece, rng);
        }
    }

    /// The next piece to offer to a peer that has `theirs` and takes `ahead` bytes in the time that
    /// offers should cover; `None` when it holds enough offers, or there is nothing that it lacks
    /// and was not offered. `may_offer`: which pieces it may be offered.
    pub(crate) fn offer(
        &mut self,
        theirs: &Bitfield,
        offers: &mut Offers,
        may_offer: impl Fn(u32) -> bool,
        ahead: u64,
        piece_length: u32,
        rng: &mut fastrand::Rng,
    ) -> Option<u32> {
        if u64::from(offers.unused.count()) >= MIN_UNUSED_OFFERS + ahead / u64::from(piece_length) {
            return None;
        }
        let mut order = self.copies.rarest_first().iter().copied();
        let is_new = |&piece: &u32| !theirs.get(piece) && !offers.offered.get(piece);
        let piece = order.find(|piece| is_new(piece) && may_offer(*piece))?;
        offers.offered.set(piece);
        offers.unused.set(piece);
        self.copies.add(piece, rng);
        Some(piece)
    }

    /// A peer has a piece; an offer of it was counted already.
    pub(crate) fn on_have(&mut self, piece: u32, offers: &mut Offers, rng: &mut fastrand::Rng) {
        if offers.returned.unset(piece) || !offers.offered.get(piece) {
            self.copies.add(piece, rng);
        }
    }

    /// A peer is gone, and with it what it has or was offered.
    pub(crate) fn on_peer_gone(
        &mut self,
        theirs: &Bitfield,
        offers: &Offers,
        rng: &mut fastrand::Rng,
    ) {
        for piece in 0..theirs.len() {
            let is_offered = offers.offered.get(piece) && !offers.returned.get(piece);
            if theirs.get(piece) || is_offered {
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
        let mut seeding = SuperSeeding::new(60, &mut rng);
        let theirs = vec![Bitfield::new(60); 4];
        let mut offers = vec![Offers::new(Time(0), 60); 4];
        let mut order = Vec::new();
        while order.len() < 180 {
            for peer in 0..4 {
                if let Some(piece) =
                    seeding.offer(&theirs[peer], &mut offers[peer], |_| true, 0, 32768, &mut rng)
                {
                    order.push(piece);
                    // It is requested at once, but its arrival is never announced.
                    assert!(offers[peer].on_used(piece));
                }
            }
        }
        for (round, pieces) in order.chunks(60).enumerate() {
            let distinct: std::collections::BTreeSet<_> = pieces.iter().collect();
            assert_eq!(distinct.len(), 60, "round {round}");
        }
    }

    #[test]
    fn a_peer_without_requests_holds_few_offers_which_are_free_when_it_leaves() {
        let mut rng = fastrand::Rng::with_seed(5);
        let mut seeding = SuperSeeding::new(10, &mut rng);
        let theirs = Bitfield::new(10);
        let mut lazy = Offers::new(Time(0), 10);
        let held =
            std::iter::from_fn(|| seeding.offer(&theirs, &mut lazy, |_| true, 0, 32768, &mut rng))
                .count();
        assert_eq!(held as u64, MIN_UNUSED_OFFERS);
        seeding.on_peer_gone(&theirs, &lazy, &mut rng);
        let mut keen = Offers::new(Time(0), 10);
        let mut other = Offers::new(Time(0), 10);
        let mut got = std::collections::BTreeSet::new();
        for _ in 0..5 {
            for offers in [&mut keen, &mut other] {
                let piece = seeding.offer(&theirs, offers, |_| true, 0, 32768, &mut rng).unwrap();
                offers.on_used(piece);
                got.insert(piece);
            }
        }
        assert_eq!(
            got.len(),
            10,
            "what only the peer that left was offered counts as a copy no more"
        );
    }

    #[test]
    fn what_a_peer_that_stands_still_was_offered_is_offered_first_to_others() {
        let mut rng = fastrand::Rng::with_seed(5);
        let mut seeding = SuperSeeding::new(10, &mut rng);
        let mut theirs = Bitfield::new(10);
        let mut idle = Offers::new(Time(0), 10);
        let held: Vec<u32> =
            std::iter::from_fn(|| seeding.offer(&theirs, &mut idle, |_| true, 0, 32768, &mut rng))
                .collect();
        let mut busy = Offers::new(Time(0), 10);
        for _ in 0..7 {
            let piece = seeding.offer(&theirs, &mut busy, |_| true, 0, 32768, &mut rng).unwrap();
            assert!(!held.contains(&piece));
            busy.on_used(piece);
        }
        let still = Time(0) + STANDSTILL_TIME;
        seeding.return_offers(still, &theirs, &mut idle, 0, &mut rng);
        assert!(held.iter().all(|&piece| seeding.copies.count(piece) == 1), "it was just offered");
        let still = still + STANDSTILL_TIME;
        seeding.return_offers(still, &theirs, &mut idle, 0, &mut rng);
        seeding.return_offers(still, &theirs, &mut idle, 0, &mut rng);
        assert!(held.iter().all(|&piece| seeding.copies.count(piece) == 0));
        // It has one of them after all, and leaves.
        theirs.set(held[0]);
        seeding.on_have(held[0], &mut idle, &mut rng);
        assert_eq!(seeding.copies.count(held[0]), 1);
        seeding.on_peer_gone(&theirs, &idle, &mut rng);
        assert!(held.iter().all(|&piece| seeding.copies.count(piece) == 0));
    }

    #[test]
    fn a_fast_peer_holds_more_offers() {
        let mut rng = fastrand::Rng::with_seed(5);
        let mut seeding = SuperSeeding::new(1000, &mut rng);
        let theirs = Bitfield::new(1000);
        let mut offers = Offers::new(Time(0), 1000);
        let held = std::iter::from_fn(|| {
            seeding.offer(&theirs, &mut offers, |_| true, 25 << 20, 1 << 20, &mut rng)
        })
        .count();
        assert_eq!(held, 28);
    }
}
