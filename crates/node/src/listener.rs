//! The listening socket: both address families on one port. What is done with its connections is
//! not here.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use crate::{error::NodeError, port_owner::port_owner};

/// How many connections the kernel completes before they are accepted. A flash crowd connects all
/// at once.
const BACKLOG: i32 = 1024;

/// Listens on `port` of one address, or of every address of both families.
pub(crate) fn listen(bind: Option<IpAddr>, port: u16) -> Result<TcpListener, NodeError> {
    let result = match bind {
        Some(addr) => open(SocketAddr::new(addr, port)),
        None => open((Ipv6Addr::UNSPECIFIED, port).into()).or_else(|error| match error.kind() {
            io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => Err(error),
            // A machine without IPv6.
            _ => open((Ipv4Addr::UNSPECIFIED, port).into()),
        }),
    };
    result.map_err(|source| match (source.kind(), bind) {
        (io::ErrorKind::AddrInUse, _) => NodeError::PortTaken { port, owner: port_owner(port) },
        (io::ErrorKind::PermissionDenied, _) => NodeError::PortForbidden { port },
        (io::ErrorKind::AddrNotAvailable, Some(addr)) => NodeError::NotOurAddress { addr },
        _ => NodeError::Listen { port, source },
    })
}

/// The address as other machines name it: IPv4 as IPv4, although it comes from an IPv6 socket.
pub(crate) fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

fn open(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // Connections that are closing must not keep a restarted origin from its port.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_names_its_owner() {
        let first = listen(None, 0).unwrap();
        let port = first.local_addr().unwrap().port();
        let Err(NodeError::PortTaken { port: named, owner: Some(owner) }) = listen(None, port)
        else {
            panic!("two listeners on one port, or an unseen owner")
        };
        assert_eq!((named, owner.pid), (port, std::process::id()));
        let taken = listen(Some(Ipv4Addr::LOCALHOST.into()), port);
        assert!(matches!(taken, Err(NodeError::PortTaken { .. })));
    }

    #[tokio::test]
    async fn a_foreign_address_is_named() {
        let foreign: IpAddr = "192.0.2.1".parse().unwrap();
        let refused = listen(Some(foreign), 0);
        assert!(matches!(refused, Err(NodeError::NotOurAddress { addr }) if addr == foreign));
    }

    #[tokio::test]
    async fn both_families_arrive_on_one_port() {
        let listener = listen(None, 0).unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut hosts = vec![IpAddr::from(Ipv4Addr::LOCALHOST)];
        if listener.local_addr().unwrap().is_ipv6() {
            hosts.push(Ipv6Addr::LOCALHOST.into());
        }
        for host in hosts {
            let peer = tokio::net::TcpStream::connect((host, port)).await.unwrap();
            let (_, addr) = listener.accept().await.unwrap();
            assert_eq!(canonical(addr), peer.local_addr().unwrap());
        }
    }
}
