//! Outgoing TCP connections from the address that the node is bound to. Time limits are the
//! caller's.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tokio::{
    net::{TcpSocket, TcpStream},
    time::timeout,
};

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

/// How long one attempt of [`connect`] lasts. The kernel sends its first packet again after 1 s,
/// then at intervals that double; a new attempt keeps them short, for links that were down for a
/// while.
const ATTEMPT_TIMES: [Duration; 2] = [Duration::from_secs(3); 2];

/// Connects to `to`, from `from` unless that is the unspecified address. The caller's time limit is
/// longer than several attempts.
///
/// # Errors
/// When this machine has no such address, or the connection fails.
pub(crate) async fn connect(to: SocketAddr, from: Option<IpAddr>) -> io::Result<TcpStream> {
    for time in ATTEMPT_TIMES {
        if let Ok(done) = timeout(time, socket(to, from)?.connect(to)).await {
            return done;
        }
    }
    // A path that is slower than an attempt.
    socket(to, from)?.connect(to).await
}
