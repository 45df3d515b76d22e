//! The limits of a registry and the intervals that it asks of peers. Arithmetic only; it holds no
//! peers.

use std::{
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

/// How many peers a response contains when the announce has no `numwant`.
pub(crate) const DEFAULT_NUMWANT: u32 = 50;

/// The most peers that a response contains.
pub(crate) const MAX_NUMWANT: u32 = 200;

/// The interval of a small swarm.
const MIN_ANNOUNCE_INTERVAL: Duration = Duration::from_secs(30);

/// The limit of the interval, however large the swarm and the registry are.
const MAX_ANNOUNCE_INTERVAL: Duration = Duration::from_secs(30 * 60);

/// The least lifetime of a peer that has not announced at the requested interval yet. libtorrent
/// announces every five minutes, whatever interval a tracker asks for, and must not expire in
/// between.
const UNPROVEN_LIFETIME: Duration = Duration::from_secs(11 * 60);

/// The most that a registry holds. A peer takes about 220 bytes, a swarm about 800 bytes in
/// addition to its peers (measured).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Swarms, in a registry that accepts any swarm.
    pub swarms: usize,
    /// Peers in all swarms together.
    pub peers: usize,
    /// Peers in one swarm.
    pub peers_per_swarm: usize,
    /// Peers, in all swarms together, that announce from one source: an IPv4 address, or an IPv6
    /// network of the size that one site gets. Many receivers may share one address behind a NAT.
    pub peers_per_source: usize,
}

impl Default for Limits {
    /// 65,536 swarms, 262,144 peers, and 65,536 of them in one swarm. That is at most 110 MiB for a
    /// registry that accepts any swarm and 14 MiB for one with a single swarm. No fewer than 128
    /// sources can fill it.
    fn default() -> Self {
        Self {
            swarms: 1 << 16,
            peers: 1 << 18,
            peers_per_swarm: 1 << 16,
            peers_per_source: 1 << 11,
        }
    }
}

/// When a peer should announce again. 30 s suit a flash crowd. The interval grows with the swarm
/// and with the registry, so that a swarm causes at most 100 announces per second and the registry
/// at most 1,000.
pub(crate) fn interval(in_swarm: usize, in_registry: usize) -> Duration {
    let by_swarm = Duration::from_millis(10).saturating_mul(saturate(in_swarm));
    let by_registry = Duration::from_millis(1).saturating_mul(saturate(in_registry));
    Duration::from_secs(
        by_swarm.max(by_registry).clamp(MIN_ANNOUNCE_INTERVAL, MAX_ANNOUNCE_INTERVAL).as_secs(),
    )
}

/// How long a peer must wait before it announces again, even when it needs more peers. aria2 uses
/// this value as its interval.
pub(crate) fn min_interval(interval: Duration) -> Duration {
    Duration::from_secs(interval.as_secs() / 2)
}

/// How long a peer stays listed after an announce: two and a half intervals if it is known to keep
/// the interval, else at least 11 minutes.
pub(crate) fn lifetime(interval: Duration, keeps_interval: bool) -> Duration {
    let lifetime = interval * 5 / 2;
    if keeps_interval { lifetime } else { lifetime.max(UNPROVEN_LIFETIME) }
}

/// Whether a peer whose last announce was `gap` ago keeps the interval.
pub(crate) fn is_within_interval(gap: Duration, interval: Duration) -> bool {
    gap <= interval * 3 / 2
}

/// The source that an address counts for: an IPv4 address itself; the first 48 bits of an IPv6
/// address, which is the largest network that a site gets on request; the first 64 bits of an
/// address inside a site.
pub(crate) fn source_of(ip: IpAddr) -> IpAddr {
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
    fn the_interval_grows_with_the_swarm_and_the_registry() {
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
    fn a_peer_that_keeps_the_interval_expires_sooner() {
        let interval = Duration::from_secs(30);
        assert!(
            is_within_interval(Duration::from_secs(40), interval)
                && !is_within_interval(Duration::from_secs(60), interval)
        );
        assert_eq!(lifetime(interval, true), Duration::from_secs(75));
        assert_eq!(lifetime(interval, false), Duration::from_secs(660));
        assert_eq!(lifetime(MAX_ANNOUNCE_INTERVAL, false), Duration::from_secs(4500));
    }

    #[test]
    fn a_source_is_the_network_of_one_site() {
        let same =
            |a: &str, b: &str| source_of(a.parse().unwrap()) == source_of(b.parse().unwrap());
        assert!(same("10.0.0.1", "::ffff:10.0.0.1") && !same("10.0.0.1", "10.0.0.2"));
        assert!(
            same("2001:db8:1::1", "2001:db8:1:ffff::9") && !same("2001:db8:1::1", "2001:db8:2::1")
        );
        assert!(same("fd00::1:2:3", "fd00::9") && !same("fd00:0:0:1::1", "fd00:0:0:2::1"));
    }
}
