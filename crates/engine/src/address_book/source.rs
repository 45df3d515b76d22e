//! Who named an address, and which addresses it may name. No state.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use sow_wire::compact::is_dialable;

use crate::io::PeerSource;

/// Ports below this belong to services of the system: no peer listens there unless the user says
/// so (libtorrent's `no_connect_privileged_ports`).
const FIRST_UNPRIVILEGED_PORT: u16 = 1024;

/// What counts as one machine: an IPv4 address, or the /64 of an IPv6 address, all of which belong
/// to one link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Host {
    V4([u8; 4]),
    V6([u8; 8]),
}

impl Host {
    pub(crate) fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::V4(ip.octets()),
            IpAddr::V6(ip) => {
                let octets = ip.octets();
                Self::V6(std::array::from_fn(|at| octets[at]))
            }
        }
    }
}

/// What identifies a source, so that its addresses are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SourceKey {
    Named,
    Link,
    /// The trackers at one host name, by their number in the announcer.
    Tracker(u16),
    Peer(Host),
    Incoming(Host),
}

/// A source of addresses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source {
    pub(super) kind: PeerSource,
    pub(super) key: SourceKey,
    /// Where it is, if that is known.
    at: Option<SocketAddr>,
}

impl Source {
    /// A source that the caller of the engine names.
    pub(crate) fn of_input(kind: PeerSource) -> Self {
        let unknown = Host::of(Ipv6Addr::UNSPECIFIED.into());
        let key = match kind {
            PeerSource::Named => SourceKey::Named,
            PeerSource::Link => SourceKey::Link,
            PeerSource::Tracker => SourceKey::Tracker(u16::MAX),
            PeerSource::Pex => SourceKey::Peer(unknown),
            PeerSource::Incoming => SourceKey::Incoming(unknown),
        };
        Self { kind, key, at: None }
    }

    /// A tracker. `at` is the address that answered.
    pub(crate) fn tracker(number: u16, at: Option<SocketAddr>) -> Self {
        Self { kind: PeerSource::Tracker, key: SourceKey::Tracker(number), at }
    }

    /// A peer: it exchanges peers, or it is a server that names its clients.
    pub(crate) fn peer(kind: PeerSource, at: SocketAddr) -> Self {
        Self { kind, key: SourceKey::Peer(Host::of(at.ip())), at: Some(at) }
    }

    /// A peer that connected to us, and says where it is reached.
    pub(crate) fn incoming(at: SocketAddr) -> Self {
        Self {
            kind: PeerSource::Incoming,
            key: SourceKey::Incoming(Host::of(at.ip())),
            at: Some(at),
        }
    }

    /// Whether it may name an address: one that a peer can have, not on a port of the system, and
    /// on the loopback interface or the local link only if the source is there, too. A tracker may
    /// name the port that it has itself, and the user anything that can be dialed.
    pub(super) fn may_name(&self, addr: SocketAddr) -> bool {
        if !is_dialable(addr) || self.kind == PeerSource::Named {
            return is_dialable(addr);
        }
        let is_own = self.at == Some(addr);
        (is_own || addr.port() >= FIRST_UNPRIVILEGED_PORT) && reaches(self.at, addr.ip())
    }
}

/// Whether what is at `at` can know an address `ip` that has a meaning on one machine or link
/// alone.
pub(crate) fn reaches(at: Option<SocketAddr>, ip: IpAddr) -> bool {
    let Some(at) = at.map(|at| at.ip()) else { return true };
    let (at, ip) = (Scope::of(at), Scope::of(ip));
    ip == Scope::Wide || at == Scope::Loopback || at == ip
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    Loopback,
    Link,
    Wide,
}

impl Scope {
    fn of(ip: IpAddr) -> Self {
        let ip = ip.to_canonical();
        let is_link_local = match ip {
            IpAddr::V4(ip) => ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
        };
        match (ip.is_loopback(), is_link_local) {
            (true, _) => Self::Loopback,
            (_, true) => Self::Link,
            _ => Self::Wide,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn only_the_user_names_ports_of_the_system() {
        let (web, peer) = (addr("10.0.0.1:80"), addr("10.0.0.1:52000"));
        assert!(Source::of_input(PeerSource::Named).may_name(web));
        let tracker = |at: &str| Source::tracker(0, Some(addr(at)));
        for source in [
            Source::of_input(PeerSource::Link),
            tracker("10.0.0.9:80"),
            tracker("10.0.0.1:8080"),
            Source::peer(PeerSource::Pex, peer),
            Source::incoming(peer),
        ] {
            assert!(!source.may_name(web) && source.may_name(peer), "{source:?}");
        }
        assert!(tracker("10.0.0.1:80").may_name(web), "the tracker is an origin that serves there");
    }

    #[test]
    fn loopback_and_link_local_addresses_come_from_there() {
        for (from, ip, may) in [
            ("127.0.0.1:9000", "127.0.0.77:9000", true),
            ("127.0.0.1:9000", "169.254.1.1:9000", true),
            ("10.0.0.1:9000", "127.0.0.1:9000", false),
            ("10.0.0.1:9000", "[::1]:9000", false),
            ("10.0.0.1:9000", "[::ffff:127.0.0.1]:9000", false),
            ("10.0.0.1:9000", "169.254.169.254:9000", false),
            ("[fe80::1]:9000", "[fe80::2]:9000", true),
            ("[2001:db8::1]:9000", "[fe80::2]:9000", false),
            ("8.8.8.8:9000", "192.168.1.1:9000", true),
        ] {
            let source = Source::peer(PeerSource::Pex, addr(from));
            assert_eq!(source.may_name(addr(ip)), may, "{ip} from {from}");
        }
        for nowhere in ["0.0.0.0:9000", "255.255.255.255:9000", "224.0.0.1:9000", "10.0.0.1:0"] {
            assert!(!Source::of_input(PeerSource::Named).may_name(addr(nowhere)), "{nowhere}");
        }
    }

    #[test]
    fn a_host_is_an_ipv4_address_or_an_ipv6_link() {
        let host = |text: &str| Host::of(text.parse().unwrap());
        assert_ne!(host("10.0.0.1"), host("10.0.0.2"));
        assert_eq!(host("::ffff:10.0.0.1"), host("10.0.0.1"));
        assert_eq!(host("2001:db8::1"), host("2001:db8::ffff:1"));
        assert_ne!(host("2001:db8:0:1::1"), host("2001:db8::1"));
    }
}
