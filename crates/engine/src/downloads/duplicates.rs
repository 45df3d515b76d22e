//! Whether a block that another peer was asked for is worth a second request. Plain data in, plain
//! data out.

use std::{collections::BTreeMap, time::Duration};

use super::PeerDownload;
use crate::{
    io::{ConnId, Time},
    open_piece::Asked,
};

/// A block that is expected this much later than from the peer that could be asked now, and later
/// than four times that peer's latency, need not wait for the end game.
const LATE_MARGIN: Duration = Duration::from_secs(1);

/// How long a block takes from a peer that has never delivered one, in the end game.
const UNKNOWN_LATENCY: Duration = Duration::from_secs(10);

/// What is known of a peer that holds requests.
#[derive(Debug, Clone, Copy)]
pub(super) struct Holder {
    /// How long a block usually takes; `None` while it has never delivered one.
    latency: Option<Duration>,
    /// What it was asked for did not come in time.
    is_snubbed: bool,
}

/// The peer that would be asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker {
    /// How long a block usually takes; zero while that is unknown.
    pub(super) latency: Duration,
    /// It has delivered a block.
    pub(super) is_proven: bool,
    /// No block arrives from any peer.
    pub(super) is_starving: bool,
    /// It was never asked for one, and may be now although it may be no better than the holder.
    pub(super) is_to_be_tried: bool,
    /// It owes nothing, and everything that is missing was requested.
    pub(super) is_idle_in_end_game: bool,
}

/// What is known of a peer that may hold requests.
pub(super) fn holders(
    peers: &BTreeMap<ConnId, PeerDownload>,
) -> impl Fn(ConnId) -> Option<Holder> + Copy + use<'_> {
    |conn| {
        peers.get(&conn).map(|peer| {
            let latency = peer.pipeline.latency();
            let latency = (!latency.is_zero()).then_some(latency);
            Holder { latency, is_snubbed: peer.is_snubbed() }
        })
    }
}

/// Whether any request may be worth another one outside of the end game. It is cheaper than a look
/// at each block, and true whenever [`is_worth`] is for one of them.
pub(super) fn is_any_late(peers: &BTreeMap<ConnId, PeerDownload>, now: Time) -> bool {
    peers.values().any(|peer| {
        let latency = peer.pipeline.latency();
        peer.oldest_request().is_some_and(|requested_at| {
            peer.is_snubbed()
                || now.since(requested_at) > LATE_MARGIN
                // One that has never delivered has no claim to a time of its own.
                || latency.is_zero()
                || latency > LATE_MARGIN
        })
    })
}

/// Whether a request of a peer keeps no third peer from being asked: the peer is snubbed, has never
/// delivered although there was the time, or delivers much later than the asker while no other
/// block arrives.
pub(super) fn is_dead(
    asker: Asker,
    holders: impl Fn(ConnId) -> Option<Holder>,
    now: Time,
) -> impl Fn(Asked) -> bool {
    move |asked| {
        holders(asked.conn).is_none_or(|holder| {
            let age = holder.age(asked, now);
            let is_mute = holder.latency.is_none() && age > LATE_MARGIN;
            let is_late = asker.is_starving && asker.is_much_sooner(&holder, age);
            holder.is_snubbed || is_mute || is_late
        })
    }
}

/// Whether a piece that has to come from one peer alone, all of it, is better requested of the
/// asker, given its holder, the time of the request, and whether none of it is here: the holder is
/// snubbed, has never delivered, or is very late. From one that is merely slow nothing is taken
/// that is here in part, because that part would be lost.
pub(super) fn is_worth_all(
    asker: Asker,
    holders: impl Fn(ConnId) -> Option<Holder>,
    now: Time,
) -> impl Fn(ConnId, Time, bool) -> bool {
    move |other, requested_at, is_empty| {
        let Some(holder) = holders(other) else { return true };
        let age = now.since(requested_at);
        let is_unproven = holder.latency.is_none() && age > LATE_MARGIN;
        let nothing_is_lost = is_empty || holder.latency.is_none();
        let is_sooner = asker.is_idle_in_end_game && asker.is_sooner(&holder, age);
        let is_late = asker.is_overdue(&holder, age)
            || (nothing_is_lost && (is_sooner || asker.is_much_sooner(&holder, age)));
        asker.is_proven && (holder.is_snubbed || is_unproven || is_late)
    }
}

/// Whether a block is worth another request beside that of a peer: in the end game when it arrives
/// sooner, at any time when the peer is snubbed or very late.
pub(super) fn is_worth(
    asker: Asker,
    holders: impl Fn(ConnId) -> Option<Holder>,
    now: Time,
) -> impl Fn(Asked) -> bool {
    move |asked| {
        let Some(holder) = holders(asked.conn) else { return true };
        let age = holder.age(asked, now);
        holder.is_snubbed
            || asker.is_much_sooner(&holder, age)
            || (asker.is_idle_in_end_game && asker.is_sooner(&holder, age))
    }
}

impl Holder {
    /// How long ago it was asked. One that has never delivered has no claim to a time of its own:
    /// a block that waits is tried from one such peer after the other.
    fn age(&self, asked: Asked, now: Time) -> Duration {
        now.since(if self.latency.is_some() { asked.at } else { asked.since })
    }
}

impl Asker {
    /// Whether it delivers a block sooner than the holder, which was asked `age` ago, by more than
    /// the margin. One that was never tried may be no better, but is worth one block.
    fn is_much_sooner(&self, holder: &Holder, age: Duration) -> bool {
        let left = holder.latency.map_or(Duration::ZERO, |usual| usual.saturating_sub(age));
        let is_late = left > self.margin() || self.is_overdue(holder, age);
        (is_late && !self.latency.is_zero()) || (self.is_to_be_tried && age > LATE_MARGIN)
    }

    /// Whether the holder, which was asked `age` ago, takes longer than usual by more than the
    /// margin.
    fn is_overdue(&self, holder: &Holder, age: Duration) -> bool {
        age > self.margin() + holder.latency.unwrap_or_default()
    }

    fn margin(&self) -> Duration {
        LATE_MARGIN + 4 * self.latency
    }

    /// Whether it delivers a block sooner than the holder, which was asked `age` ago. Nothing is
    /// known of a block that is late, but that waiting as long as it takes here is enough.
    fn is_sooner(&self, holder: &Holder, age: Duration) -> bool {
        let usual = holder.latency.unwrap_or(UNKNOWN_LATENCY);
        usual.saturating_sub(age) > self.latency || age > usual.max(self.latency) + self.latency
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn asker(latency: u64) -> Asker {
        Asker {
            latency: ms(latency),
            is_proven: true,
            is_starving: true,
            is_to_be_tried: false,
            is_idle_in_end_game: false,
        }
    }

    /// The only holder, asked at a time for what has been requested since time zero.
    fn asked(at: u64) -> Asked {
        Asked { conn: ConnId(1), at: Time(at * 1000), since: Time(0) }
    }

    fn holder(latency: Option<u64>, is_snubbed: bool) -> impl Fn(ConnId) -> Option<Holder> {
        move |conn| (conn == ConnId(1)).then(|| Holder { latency: latency.map(ms), is_snubbed })
    }

    /// Whether a request is worth it beside one of `at` ms ago to a holder of 100 ms.
    fn is_worth_after(latency: u64, at: u64, is_idle_in_end_game: bool, is_snubbed: bool) -> bool {
        let asker = Asker { is_idle_in_end_game, ..asker(latency) };
        is_worth(asker, holder(Some(100), is_snubbed), Time(at * 1000))(asked(0))
    }

    #[test]
    fn in_the_end_game_a_second_request_is_worth_it_when_the_first_is_slow_or_late() {
        let sooner = |own: u64, at: u64| is_worth_after(own, at, true, false);
        assert!(sooner(50, 0), "50 ms are less than 100 ms");
        assert!(!sooner(50, 60), "40 ms are left");
        assert!(!sooner(50, 149), "it may come at any moment");
        assert!(sooner(50, 151), "it is late");
        assert!(!sooner(150, 299));
    }

    #[test]
    fn before_the_end_game_only_what_is_very_late_or_snubbed_is_requested_twice() {
        assert!(!is_worth_after(5, 0, false, false));
        assert!(!is_worth_after(5, 1_100, false, false));
        assert!(is_worth_after(5, 1_200, false, false));
        assert!(is_worth_after(5, 0, false, true));
    }

    #[test]
    fn two_copies_that_come_late_keep_no_faster_peer_and_no_untried_one_from_being_asked() {
        let is_dead_for = |asker: Asker, latency: Option<u64>, at: u64| {
            is_dead(asker, holder(latency, false), Time(at * 1000))(asked(0))
        };
        assert!(is_dead_for(asker(50), Some(5000), 0), "it takes 5 s longer");
        assert!(!is_dead_for(asker(50), Some(1000), 0));
        assert!(!is_dead_for(asker(5000), Some(5000), 2000));
        let served = Asker { is_starving: false, ..asker(50) };
        assert!(!is_dead_for(served, Some(5000), 0), "a busy crowd is slow, and delivers");
        let untried = Asker { is_proven: false, is_to_be_tried: true, ..asker(5000) };
        assert!(!is_dead_for(untried, Some(5000), 900));
        assert!(is_dead_for(untried, Some(5000), 1100));
    }

    #[test]
    fn a_copy_of_a_peer_that_delivers_is_as_old_as_its_own_request() {
        let is_dead_after = |latency: Option<u64>, at: u64| {
            is_dead(asker(50), holder(latency, false), Time(2000 * 1000))(asked(at))
        };
        assert!(is_dead_after(Some(50), 0));
        assert!(!is_dead_after(Some(50), 1900), "it was asked 100 ms ago");
        assert!(is_dead_after(None, 1900), "it has never delivered, and the block has waited");
    }

    #[test]
    fn a_whole_piece_is_taken_from_one_that_has_not_delivered_by_one_that_has() {
        let is_taken_of = |is_empty, asker: Asker, latency: Option<u64>, is_snubbed, at: u64| {
            let holders = holder(latency, is_snubbed);
            is_worth_all(asker, holders, Time(at * 1000))(ConnId(1), Time(0), is_empty)
        };
        let is_taken =
            |asker, latency, is_snubbed, at| is_taken_of(false, asker, latency, is_snubbed, at);
        let ours = asker(50);
        assert!(is_taken_of(true, ours, Some(50), false, 1400), "nothing would be lost");
        assert!(!is_taken_of(true, ours, Some(50), false, 1200), "it is not late");
        assert!(is_taken_of(true, ours, Some(5000), false, 0));
        assert!(is_taken(ours, Some(50), false, 1400), "it may never come");
        assert!(is_taken(ours, Some(50), true, 0), "it is snubbed");
        assert!(!is_taken(ours, Some(5000), false, 4000), "it delivers");
        assert!(is_taken(ours, None, false, 1100));
        assert!(!is_taken(ours, None, false, 900));
        let idle = Asker { is_idle_in_end_game: true, ..ours };
        assert!(is_taken(idle, None, false, 0));
        assert!(is_taken_of(true, idle, Some(500), false, 600), "it is late, and nothing is here");
        assert!(!is_taken_of(false, idle, Some(500), false, 600), "what is here would be lost");
        assert!(!is_taken(Asker { is_proven: false, ..ours }, None, true, 5000));
    }
}
