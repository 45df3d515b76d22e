//! The address at which other machines most likely reach this one, for tickets and magnet links. No
//! packet is sent.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
};

use sow_content::ticket::Address;

/// Addresses for documentation (RFC 5737, RFC 3849): packets to them take the default route.
const DEFAULT_ROUTE_PROBES: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
];

/// The address of a port that listens on `bind`, or on every address.
pub(crate) fn advertised_address(bind: Option<IpAddr>, port: u16) -> Address {
    let host = bind.filter(|bind| !bind.is_unspecified()).unwrap_or_else(local_address);
    Address { host: host.to_string(), port }
}

/// The address of the default route's interface; else one that is not loopback; else `127.0.0.1`.
fn local_address() -> IpAddr {
    let read_table = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let routed = || hosts_of_routes(&read_table("/proc/net/route"));
    let assigned = || addresses_of_interfaces(&read_table("/proc/net/if_inet6"));
    DEFAULT_ROUTE_PROBES
        .into_iter()
        .filter_map(source_address_towards)
        .find(is_usable)
        .or_else(|| {
            let sources = routed().into_iter().map(IpAddr::V4).filter_map(source_address_towards);
            sources.into_iter().find(is_usable)
        })
        .or_else(|| assigned().into_iter().map(IpAddr::V6).find(is_usable))
        .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// The source address of packets to `destination`. Connecting a UDP socket only looks up the route.
fn source_address_towards(destination: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = match destination {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).ok()?;
    socket.connect(SocketAddr::new(destination, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

fn is_usable(address: &IpAddr) -> bool {
    let is_link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !address.is_loopback() && !address.is_unspecified() && !is_link_local
}

/// A host address in each network of `/proc/net/route`. Destination and mask are hexadecimal, with
/// the lowest byte first.
fn hosts_of_routes(table: &str) -> Vec<Ipv4Addr> {
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

/// The addresses in `/proc/net/if_inet6`: each line begins with 32 hexadecimal digits.
fn addresses_of_interfaces(table: &str) -> Vec<Ipv6Addr> {
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
    fn this_machine_always_has_an_address() {
        assert!(!local_address().is_unspecified());
    }

    #[test]
    fn the_kernels_tables_are_parsed() {
        let routes = "\
            Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
            eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            h1-eth0\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
            half a line\n";
        assert_eq!(hosts_of_routes(routes), [Ipv4Addr::new(10, 0, 0, 1)]);
        let table = "00000000000000000000000000000001 01 80 10 80       lo\n\
            fd000000000000000000000000000002 04 40 00 80     eth0\n";
        assert_eq!(
            addresses_of_interfaces(table),
            [Ipv6Addr::LOCALHOST, "fd00::2".parse::<Ipv6Addr>().unwrap()]
        );
    }

    #[test]
    fn loopback_and_link_local_addresses_are_not_advertised() {
        for no in ["127.0.0.1", "::1", "169.254.3.4", "fe80::1", "0.0.0.0"] {
            assert!(!is_usable(&no.parse().unwrap()), "{no}");
        }
        for yes in ["10.0.0.1", "192.0.2.2", "fd00::2", "2001:db8::5"] {
            assert!(is_usable(&yes.parse().unwrap()), "{yes}");
        }
    }
}
