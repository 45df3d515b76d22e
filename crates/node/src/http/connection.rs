//! HTTP on one accepted connection. What is answered is the router's decision.

use std::{net::SocketAddr, time::Duration};

use axum::{Extension, Router, extract::ConnectInfo};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{net::TcpStream, time::timeout};

use crate::sniff::Rewound;

/// The time limit for one connection: enough for a large `.torrent` on a slow line.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(600);

/// The maximum size of a request's head, in bytes: an announce has a few hundred.
const MAX_HEAD_SIZE: usize = 16 * 1024;

/// The two addresses of the connection that a request came by. The server that accepts the
/// connection puts a `ConnectInfo<ConnectionAddrs>` into the request's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionAddrs {
    /// The client's address.
    pub remote: SocketAddr,
    /// Our own address, which the client connected to.
    pub local: SocketAddr,
}

/// Answers the requests of one connection until it ends. `first` is what was read of it already;
/// `head_timeout` is the time limit for the head of each request, and for the pause before it.
pub(crate) async fn serve_connection(
    stream: TcpStream,
    first: Vec<u8>,
    addrs: ConnectionAddrs,
    router: Router,
    head_timeout: Duration,
) {
    // Answers are small and written whole.
    let _ = stream.set_nodelay(true);
    let service = TowerToHyperService::new(router.layer(Extension(ConnectInfo(addrs))));
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_buf_size(MAX_HEAD_SIZE)
        .serve_connection(TokioIo::new(Rewound::new(first, stream)), service);
    match timeout(CONNECTION_TIMEOUT, serving).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::debug!(addr = %addrs.remote, %error, "an HTTP connection failed")
        }
        Err(_) => tracing::debug!(addr = %addrs.remote, "an HTTP connection lasted too long"),
    }
}
