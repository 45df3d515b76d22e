//! The listening socket: both address families on one port, and who has the port when we cannot.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use crate::error::NodeError;

/// Connections that the kernel completes before we accept them. A flash crowd calls at once.
const BACKLOG: i32 = 1024;

/// A process that holds a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortOwner {
    /// Its process id.
    pub pid: u32,
    /// Its name, as the kernel knows it.
    pub name: String,
}

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
        (io::ErrorKind::AddrInUse, _) => NodeError::PortTaken { port, who: holder_of(port) },
        (io::ErrorKind::PermissionDenied, _) => NodeError::PortForbidden { port },
        (io::ErrorKind::AddrNotAvailable, Some(addr)) => NodeError::NotOurAddress { addr },
        _ => NodeError::Listen { port, source },
    })
}

/// The address as everybody else names it: IPv4 is IPv4 although the socket is an IPv6 one.
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

/// The process that listens on a port, where the system lets us see it.
fn holder_of(port: u16) -> Option<PortOwner> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .find_map(|table| table.lines().find_map(|line| listening_inode(line, port)))?;
    let wanted = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?;
    processes.flatten().find_map(|process| {
        let pid = process.file_name().to_str()?.parse().ok()?;
        let mut files = fs::read_dir(process.path().join("fd")).ok()?.flatten();
        files.find(|file| {
            fs::read_link(file.path()).is_ok_and(|link| link.as_os_str() == wanted.as_str())
        })?;
        let name = fs::read_to_string(process.path().join("comm")).ok()?;
        Some(PortOwner { pid, name: name.trim_end().to_owned() })
    })
}

/// The socket's inode in a line of `/proc/net/tcp`, when the socket listens on `port`
/// (proc_pid_net(5)).
fn listening_inode(line: &str, port: u16) -> Option<u64> {
    let mut fields = line.split_ascii_whitespace();
    let local = fields.nth(1)?;
    let state = fields.nth(1)?;
    let inode = fields.nth(5)?;
    let (_, local_port) = local.rsplit_once(':')?;
    let listens = state == "0A" && u16::from_str_radix(local_port, 16) == Ok(port);
    listens.then(|| inode.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_is_read() {
        let line = "   0: 00000000:CB20 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0";
        assert_eq!(listening_inode(line, 52000), Some(4711));
        assert_eq!(listening_inode(line, 52001), None);
        assert_eq!(listening_inode(&line.replace(" 0A ", " 01 "), 52000), None);
        assert_eq!(listening_inode("  sl  local_address rem_address   st", 52000), None);
    }

    #[tokio::test]
    async fn a_taken_port_names_its_holder() {
        let first = listen(None, 0).unwrap();
        let port = first.local_addr().unwrap().port();
        let Err(NodeError::PortTaken { port: named, who: Some(who) }) = listen(None, port) else {
            panic!("two listeners on one port, or an unseen holder")
        };
        assert_eq!((named, who.pid), (port, std::process::id()));
        let taken = listen(Some(Ipv4Addr::LOCALHOST.into()), port);
        assert!(matches!(taken, Err(NodeError::PortTaken { .. })));
    }

    #[tokio::test]
    async fn a_foreign_address_is_named() {
        let addr = "192.0.2.1".parse().unwrap();
        assert!(
            matches!(listen(Some(addr), 0), Err(NodeError::NotOurAddress { addr: named }) if named == addr)
        );
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
            let caller = tokio::net::TcpStream::connect((host, port)).await.unwrap();
            let (_, addr) = listener.accept().await.unwrap();
            assert_eq!(canonical(addr), caller.local_addr().unwrap());
        }
    }
}
