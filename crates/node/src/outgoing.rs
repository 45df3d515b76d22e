//! Calling somebody from the address that we are bound to. Deadlines are the caller's.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use tokio::net::{TcpSocket, TcpStream};

/// A socket for a call to `to`, bound to `from` unless that is any address.
///
/// # Errors
/// When there is no such address here.
pub(crate) fn socket(to: SocketAddr, from: Option<IpAddr>) -> io::Result<TcpSocket> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(from) = from.map(|from| from.to_canonical()).filter(|from| !from.is_unspecified()) {
        socket.bind(SocketAddr::new(from, 0))?;
    }
    Ok(socket)
}

/// Calls `to`, from `from` unless that is any address.
///
/// # Errors
/// When there is no such address here, or nobody answers there.
pub(crate) async fn connect(to: SocketAddr, from: Option<IpAddr>) -> io::Result<TcpStream> {
    socket(to, from)?.connect(to).await
}
