//! Whether a request is worth sending to a second peer in the end game. Plain data in, plain data
//! out.

use std::{collections::BTreeMap, time::Duration};

use super::{PeerDownload, peer_download::FIRST_STALL_TIMEOUT};
use crate::io::{ConnId, Time};

/// How long a block usually takes, on each connection that has delivered one.
pub(super) type Latencies = BTreeMap<ConnId, Duration>;

pub(super) fn latencies(peers: &BTreeMap<ConnId, PeerDownload>) -> Latencies {
    let usual = peers.iter().map(|(&conn, peer)| (conn, peer.pipeline.latency()));
    usual.filter(|(_, latency)| !latency.is_zero()).collect()
}

/// Whether a connection whose latency is `own` delivers a block sooner than the one that it was
/// requested on.
pub(super) fn delivers_sooner(
    own: Duration,
    latencies: &Latencies,
    now: Time,
) -> impl Fn(ConnId, Time) -> bool + use<'_> {
    move |other, requested_at| {
        let usual = latencies.get(&other).copied().unwrap_or(FIRST_STALL_TIMEOUT);
        let age = now.since(requested_at);
        usual.saturating_sub(age) > own || age > 2 * usual.max(own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_request_is_worth_it_when_the_first_is_slow_or_late() {
        let ms = Duration::from_millis;
        let latencies = Latencies::from([(ConnId(1), ms(100))]);
        let sooner = |own: u64, at: u64| {
            delivers_sooner(ms(own), &latencies, Time(at * 1000))(ConnId(1), Time(0))
        };
        assert!(sooner(50, 0), "50 ms are less than 100 ms");
        assert!(!sooner(50, 60), "40 ms are left");
        assert!(sooner(50, 201), "it is late");
        assert!(!sooner(150, 201));
    }
}
