//! The address under which others most likely reach this machine: what goes into a ticket. No
//! packet is sent.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
};

use sow_content::ticket::Address;

/// Addresses that belong to nobody (RFC 5737, RFC 3849): the way to them is the default route.
const ANYWHERE: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
];

/// Where others reach a port that listens on `bind`, or on every address.
pub(crate) fn address_of(bind: Option<IpAddr>, port: u16) -> Address {
    let host = bind.filter(|bind| !bind.is_unspecified()).unwrap_or_else(address);
    Address { host: host.to_string(), port }
}

/// The address of the default route's interface; else one that is not loopback; else `127.0.0.1`.
fn address() -> IpAddr {
    let routed =
        || fs::read_to_string("/proc/net/route").map(|table| networks(&table)).unwrap_or_default();
    let sixes =
        || fs::read_to_string("/proc/net/if_inet6").map(|table| sixes(&table)).unwrap_or_default();
    ANYWHERE
        .into_iter()
        .filter_map(source_towards)
        .find(usable)
        .or_else(|| routed().into_iter().map(IpAddr::V4).filter_map(source_towards).find(usable))
        .or_else(|| sixes().into_iter().map(IpAddr::V6).find(usable))
        .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// The address that this machine would send from. Connecting a datagram socket only looks the route
/// up.
fn source_towards(to: IpAddr) -> Option<IpAddr> {
    let any: IpAddr =
        if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).ok()?;
    socket.connect(SocketAddr::new(to, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

fn usable(address: &IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(four) => four.is_link_local(),
        IpAddr::V6(six) => six.is_unicast_link_local(),
    };
    !address.is_loopback() && !address.is_unspecified() && !link_local
}

/// An address in each network of `/proc/net/route`: destination and mask are hexadecimal, lowest
/// byte first.
fn networks(table: &str) -> Vec<Ipv4Addr> {
    let hex = |text: &str| u32::from_str_radix(text, 16).ok().map(u32::swap_bytes);
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (network, mask) = (hex(fields.get(1)?)?, hex(fields.get(7)?)?);
            (mask != 0)
                .then(|| Ipv4Addr::from(if mask == u32::MAX { network } else { network | 1 }))
        })
        .collect()
}

/// The addresses of `/proc/net/if_inet6`: 32 hexadecimal digits open each line.
fn sixes(table: &str) -> Vec<Ipv6Addr> {
    table
        .lines()
        .filter_map(|line| u128::from_str_radix(line.split_whitespace().next()?, 16).ok())
        .map(Ipv6Addr::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_always_an_address() {
        assert!(!address().is_unspecified());
    }

    #[test]
    fn the_kernel_s_tables_are_read() {
        let routes = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
            eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            h1-eth0\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
            half a line\n";
        assert_eq!(networks(routes), [Ipv4Addr::new(10, 0, 0, 1)]);
        let table = "00000000000000000000000000000001 01 80 10 80       lo\n\
            fd000000000000000000000000000002 04 40 00 80     eth0\n";
        assert_eq!(sixes(table), [Ipv6Addr::LOCALHOST, "fd00::2".parse::<Ipv6Addr>().unwrap()]);
    }

    #[test]
    fn loopback_and_link_local_are_not_for_others() {
        for no in ["127.0.0.1", "::1", "169.254.3.4", "fe80::1", "0.0.0.0"] {
            assert!(!usable(&no.parse().unwrap()), "{no}");
        }
        for yes in ["10.0.0.1", "192.0.2.2", "fd00::2", "2001:db8::5"] {
            assert!(usable(&yes.parse().unwrap()), "{yes}");
        }
    }
}
