//! Peer addresses in compact form: 6 bytes for IPv4 (BEP 23), 18 for IPv6 (BEP 7). Tracker
//! responses and peer exchange (BEP 11) share it. The messages around the addresses are not known
//! here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The length of an IPv4 address and port, in bytes.
pub const V4_LENGTH: usize = 6;

/// The length of an IPv6 address and port, in bytes.
pub const V6_LENGTH: usize = 18;

/// Appends an address in compact form to the list of its family. An IPv4-mapped IPv6 address counts
/// as IPv4.
pub fn append(addr: SocketAddr, v4: &mut Vec<u8>, v6: &mut Vec<u8>) {
    let list = match addr.ip().to_canonical() {
        IpAddr::V4(ip) => {
            v4.extend_from_slice(&ip.octets());
            v4
        }
        IpAddr::V6(ip) => {
            v6.extend_from_slice(&ip.octets());
            v6
        }
    };
    list.extend_from_slice(&addr.port().to_be_bytes());
}

/// Reads a list of IPv4 addresses. Addresses that are not dialable and an incomplete address at the
/// end are omitted.
pub fn read_v4(bytes: &[u8]) -> impl Iterator<Item = SocketAddr> + '_ {
    let (entries, _) = bytes.as_chunks::<V4_LENGTH>();
    entries
        .iter()
        .map(|&[a, b, c, d, high, low]| {
            SocketAddr::from((Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low])))
        })
        .filter(|addr| is_dialable(*addr))
}

/// As [`read_v4`], for IPv6 addresses.
pub fn read_v6(bytes: &[u8]) -> impl Iterator<Item = SocketAddr> + '_ {
    let (entries, _) = bytes.as_chunks::<V6_LENGTH>();
    entries
        .iter()
        .map(|entry| {
            let ip: [u8; 16] = std::array::from_fn(|at| entry[at]);
            let ip = IpAddr::from(Ipv6Addr::from(ip)).to_canonical();
            SocketAddr::new(ip, u16::from_be_bytes([entry[16], entry[17]]))
        })
        .filter(|addr| is_dialable(*addr))
}

/// Whether a peer may be dialed at an address. Not dialable are port 0, multicast, broadcast, and
/// the unspecified address, which Linux connects to the local machine.
pub fn is_dialable(addr: SocketAddr) -> bool {
    let ip = addr.ip().to_canonical();
    addr.port() != 0
        && !ip.is_unspecified()
        && !ip.is_multicast()
        && ip != IpAddr::V4(Ipv4Addr::BROADCAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn both_families_round_trip() {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for text in ["10.0.0.1:52000", "[2001:db8::1]:80", "[::ffff:10.0.0.2]:1"] {
            append(addr(text), &mut v4, &mut v6);
        }
        assert_eq!(v4, [10, 0, 0, 1, 0xcb, 0x20, 10, 0, 0, 2, 0, 1]);
        assert_eq!(read_v4(&v4).collect::<Vec<_>>(), [addr("10.0.0.1:52000"), addr("10.0.0.2:1")]);
        assert_eq!(read_v6(&v6).collect::<Vec<_>>(), [addr("[2001:db8::1]:80")]);
    }

    #[test]
    fn an_incomplete_address_is_omitted() {
        assert_eq!(read_v4(&[10, 0, 0, 1, 0, 9, 10, 0, 0]).count(), 1);
        assert_eq!(read_v6(&[1; 35]).count(), 1);
    }

    #[test]
    fn addresses_that_are_not_dialable_are_omitted() {
        for text in
            ["1.2.3.4:0", "0.0.0.0:1", "255.255.255.255:1", "224.0.0.1:1", "[::]:1", "[ff02::1]:1"]
        {
            let (mut v4, mut v6) = (Vec::new(), Vec::new());
            append(addr(text), &mut v4, &mut v6);
            assert_eq!(read_v4(&v4).chain(read_v6(&v6)).count(), 0, "{text}");
        }
        let mapped: Vec<u8> =
            "[::ffff:0.0.0.0]:1".parse::<std::net::SocketAddrV6>().unwrap().ip().octets().into();
        assert_eq!(read_v6(&[&mapped[..], &[0, 1]].concat()).count(), 0);
    }
}
