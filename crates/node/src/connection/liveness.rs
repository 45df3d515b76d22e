//! How a dead path is noticed that no packet reports: the kernel probes a connection on which
//! nothing arrives, and the address at this end must still be one of this machine.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    time::Duration,
};

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// How long a connection may be idle before the kernel probes it.
const PROBE_DELAY: Duration = Duration::from_secs(4);

/// The interval between two probes that are not answered.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// How many unanswered probes end a connection. A peer whose program is slow, or stopped, answers
/// them all: its kernel does.
const MAX_UNANSWERED_PROBES: u32 = 4;

/// How long the kernel repeats what a peer does not acknowledge. The intervals double, so after a
/// longer loss a new connection is sooner than the next repetition.
const ACKNOWLEDGEMENT_TIMEOUT: Duration = Duration::from_secs(8);

/// Lets the kernel end the connection when the path to the peer is dead for about 8 s.
pub(crate) fn probe_when_idle(stream: &TcpStream) {
    let keepalive = TcpKeepalive::new()
        .with_time(PROBE_DELAY)
        .with_interval(PROBE_INTERVAL)
        .with_retries(MAX_UNANSWERED_PROBES);
    // Without it a dead path is noticed later, and no more.
    let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
}

/// Lets the kernel end the connection when what we send is not acknowledged for that long. Only for
/// peers to which we send little, as an origin: a peer that takes no payload for a while, because
/// of a limit or a slow disk, acknowledges none.
pub(crate) fn expect_acknowledgements(stream: &TcpStream) {
    // Without it a dead path is noticed later, and no more.
    let _ = SockRef::from(stream).set_tcp_user_timeout(Some(ACKNOWLEDGEMENT_TIMEOUT));
}

/// The addresses of `locals` that this machine no longer has. A connection from such an address is
/// dead, and the kernel would retry on it for minutes.
pub(crate) fn lost_addresses(locals: impl IntoIterator<Item = SocketAddr>) -> BTreeSet<IpAddr> {
    let (mut lost, mut seen) = (BTreeSet::new(), BTreeSet::new());
    for mut addr in locals {
        addr.set_port(0);
        if seen.insert(addr)
            && UdpSocket::bind(addr)
                .is_err_and(|error| error.kind() == io::ErrorKind::AddrNotAvailable)
        {
            lost.insert(addr.ip());
        }
    }
    lost
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_this_machine_does_not_have_is_lost() {
        let foreign: SocketAddr = ([192, 0, 2, 1], 7).into();
        let local: SocketAddr = ([127, 0, 0, 1], 7).into();
        assert_eq!(lost_addresses([foreign, local, foreign]), [foreign.ip()].into());
    }
}
