//! How much a registry holds and how often it wants to hear of peers: numbers alone.

use std::{
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

/// How many peers an answer names when the caller does not say.
pub(crate) const NUMWANT: u32 = 50;

/// How many peers an answer names at most.
pub(crate) const MAX_NUMWANT: u32 = 200;

/// The interval of a swarm that is small.
const SHORTEST: Duration = Duration::from_secs(30);

/// The interval however large everything is.
const LONGEST: Duration = Duration::from_secs(30 * 60);

/// How long a peer stays listed that has not shown yet that it keeps to the interval: libtorrent
/// announces every five minutes, whatever a tracker asks for, and would vanish in between.
const PATIENCE: Duration = Duration::from_secs(11 * 60);

/// What a registry holds at most. A peer takes about 220 bytes, a swarm about 800 beside its peers
/// (measured).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Swarms, where any is kept.
    pub swarms: usize,
    /// Peers in all swarms together.
    pub peers: usize,
    /// Peers in one swarm.
    pub peers_per_swarm: usize,
    /// Peers, in all swarms together, that announce from one source: an IPv4 address, or an IPv6
    /// network such as one party gets as a whole. Many receivers may stand behind one address.
    pub peers_per_source: usize,
}

impl Default for Limits {
    /// 65,536 swarms, 262,144 peers, and 65,536 of them in one swarm: 110 MiB at most where any
    /// swarm is kept, 14 MiB where it is a single one. It takes 128 sources to fill it.
    fn default() -> Self {
        Self {
            swarms: 1 << 16,
            peers: 1 << 18,
            peers_per_swarm: 1 << 16,
            peers_per_source: 1 << 11,
        }
    }
}

/// When a peer should announce again: 30 s suit a flash crowd; the larger the swarm, or the
/// registry, the longer, so that one swarm makes 100 announces a second at most and the registry
/// 1,000.
pub(crate) fn interval(in_swarm: usize, in_registry: usize) -> Duration {
    let by_swarm = Duration::from_millis(10).saturating_mul(saturate(in_swarm));
    let by_registry = Duration::from_millis(1).saturating_mul(saturate(in_registry));
    Duration::from_secs(by_swarm.max(by_registry).clamp(SHORTEST, LONGEST).as_secs())
}

/// Before which a peer should not announce again, whatever it is short of. aria2 takes it for the
/// interval.
pub(crate) fn min_interval(interval: Duration) -> Duration {
    Duration::from_secs(interval.as_secs() / 2)
}

/// How long a peer stays listed without an announce: two and a half intervals, if it is known to
/// keep to them.
pub(crate) fn lifetime(interval: Duration, prompt: bool) -> Duration {
    let lifetime = interval * 5 / 2;
    if prompt { lifetime } else { lifetime.max(PATIENCE) }
}

/// Whether a peer that was last heard `gap` ago keeps to the interval.
pub(crate) fn is_prompt(gap: Duration, interval: Duration) -> bool {
    gap <= interval * 3 / 2
}

/// What counts as one source: an IPv4 address; of IPv6 the first 48 bits, the most that anybody
/// gets for the asking, or 64 bits inside a site.
pub(crate) fn source(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => {
            let kept = if ip.is_unique_local() || ip.is_unicast_link_local() { 64 } else { 48 };
            IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << (128 - kept))))
        }
        v4 => v4,
    }
}

fn saturate(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_grow_with_the_crowd() {
        for (swarm, registry, seconds) in [
            (0, 0, 30),
            (1000, 1000, 30),
            (6000, 6000, 60),
            (3333, 3333, 33),
            (10, 262_144, 262),
            (usize::MAX, usize::MAX, 1800),
        ] {
            let interval = interval(swarm, registry);
            assert_eq!(interval.as_secs(), seconds, "{swarm} of {registry}");
            assert_eq!(min_interval(interval).as_secs(), seconds / 2);
        }
    }

    #[test]
    fn who_keeps_to_the_interval_goes_sooner() {
        let interval = Duration::from_secs(30);
        assert!(
            is_prompt(Duration::from_secs(40), interval)
                && !is_prompt(Duration::from_secs(60), interval)
        );
        assert_eq!(lifetime(interval, true), Duration::from_secs(75));
        assert_eq!(lifetime(interval, false), Duration::from_secs(660));
        assert_eq!(lifetime(LONGEST, false), Duration::from_secs(4500));
    }

    #[test]
    fn a_source_is_what_one_party_gets() {
        let same = |a: &str, b: &str| source(a.parse().unwrap()) == source(b.parse().unwrap());
        assert!(same("10.0.0.1", "::ffff:10.0.0.1") && !same("10.0.0.1", "10.0.0.2"));
        assert!(
            same("2001:db8:1::1", "2001:db8:1:ffff::9") && !same("2001:db8:1::1", "2001:db8:2::1")
        );
        assert!(same("fd00::1:2:3", "fd00::9") && !same("fd00:0:0:1::1", "fd00:0:0:2::1"));
    }
}
