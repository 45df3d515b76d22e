//! Outgoing TCP connections from the address that the node is bound to. Time limits are the
//! caller's.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use tokio::net::{TcpSocket, TcpStream};

/// A socket for a connection to `to`, bound to `from` unless that is the unspecified address.
///
/// # Errors
/// When this machine has no such address.
pub(crate) fn socket(to: SocketAddr, from: Option<IpAddr>) -> io::Result<TcpSocket> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(from) = from.map(|from| from.to_canonical()).filter(|from| !from.is_unspecified()) {
        socket.bind(SocketAddr::new(from, 0))?;
    }
    Ok(socket)
}

/// Connects to `to`, from `from` unless that is the unspecified address.
///
/// # Errors
/// When this machine has no such address, or the connection fails.
pub(crate) async fn connect(to: SocketAddr, from: Option<IpAddr>) -> io::Result<TcpStream> {
    socket(to, from)?.connect(to).await
}
