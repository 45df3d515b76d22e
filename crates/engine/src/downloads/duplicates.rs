//! Whether a block that another peer was asked for is worth a second request. Plain data in, plain
//! data out.

use std::{collections::BTreeMap, time::Duration};

use super::PeerDownload;
use crate::io::{ConnId, Time};

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

/// The peers that may hold requests.
pub(super) type Holders = BTreeMap<ConnId, Holder>;

/// The peer that would be asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker {
    /// How long a block usually takes; zero while that is unknown.
    pub(super) latency: Duration,
    /// It owes nothing, and everything that is missing was requested.
    pub(super) is_idle_in_end_game: bool,
}

pub(super) fn holders(peers: &BTreeMap<ConnId, PeerDownload>) -> Holders {
    let holder = |peer: &PeerDownload| {
        let latency = peer.pipeline.latency();
        let latency = (!latency.is_zero()).then_some(latency);
        Holder { latency, is_snubbed: peer.is_snubbed() }
    };
    peers.iter().map(|(&conn, peer)| (conn, holder(peer))).collect()
}

/// Whether a request of a peer, given its time, keeps no third peer from being asked: the peer is
/// snubbed, or has never delivered although it had the time.
pub(super) fn is_dead(holders: &Holders, now: Time) -> impl Fn(ConnId, Time) -> bool + use<'_> {
    move |conn, requested_at| {
        holders.get(&conn).is_none_or(|holder| {
            let is_late = now.since(requested_at) > LATE_MARGIN;
            holder.is_snubbed || (holder.latency.is_none() && is_late)
        })
    }
}

/// Whether a block is worth another request, given the peer that was asked for it, and when: in the
/// end game when it arrives sooner, at any time when the holder is snubbed or very late.
pub(super) fn is_worth(
    asker: Asker,
    holders: &Holders,
    now: Time,
) -> impl Fn(ConnId, Time) -> bool + use<'_> {
    move |other, requested_at| {
        let Some(holder) = holders.get(&other) else { return true };
        let age = now.since(requested_at);
        let margin = LATE_MARGIN + 4 * asker.latency;
        let is_late = match holder.latency {
            Some(usual) => usual.saturating_sub(age) > margin || age > margin + 2 * usual,
            None => age > margin,
        };
        // A peer that has never delivered may be no better than the holder.
        let is_better = !asker.latency.is_zero() && is_late;
        holder.is_snubbed
            || is_better
            || (asker.is_idle_in_end_game && asker.is_sooner(holder, age))
    }
}

impl Asker {
    /// Whether it delivers a block sooner than the holder, which was asked `age` ago.
    fn is_sooner(&self, holder: &Holder, age: Duration) -> bool {
        let usual = holder.latency.unwrap_or(UNKNOWN_LATENCY);
        usual.saturating_sub(age) > self.latency || age > 2 * usual.max(self.latency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Whether a request is worth it beside one of `at` ms ago to a holder of 100 ms.
    fn is_worth_after(latency: u64, at: u64, is_idle_in_end_game: bool, is_snubbed: bool) -> bool {
        let holders = Holders::from([(ConnId(1), Holder { latency: Some(ms(100)), is_snubbed })]);
        let asker = Asker { latency: ms(latency), is_idle_in_end_game };
        is_worth(asker, &holders, Time(at * 1000))(ConnId(1), Time(0))
    }

    #[test]
    fn in_the_end_game_a_second_request_is_worth_it_when_the_first_is_slow_or_late() {
        let sooner = |own: u64, at: u64| is_worth_after(own, at, true, false);
        assert!(sooner(50, 0), "50 ms are less than 100 ms");
        assert!(!sooner(50, 60), "40 ms are left");
        assert!(sooner(50, 201), "it is late");
        assert!(!sooner(150, 201));
    }

    #[test]
    fn before_the_end_game_only_what_is_very_late_or_snubbed_is_requested_twice() {
        assert!(!is_worth_after(5, 0, false, false));
        assert!(!is_worth_after(5, 1_200, false, false));
        assert!(is_worth_after(5, 1_300, false, false));
        assert!(is_worth_after(5, 0, false, true));
    }
}
