//! HTTP on a connection that was taken for that. What is answered is the router's affair.

use std::time::Duration;

use axum::{Extension, Router, extract::ConnectInfo};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{net::TcpStream, time::timeout};

use crate::{sniff::Rewound, tracker_service::Ends};

/// The longest that one connection may last: time for a large `.torrent` on a slow line.
const LIFETIME: Duration = Duration::from_secs(600);

/// The longest head of a request, in bytes: an announce is a few hundred.
const MAX_HEAD: usize = 16 * 1024;

/// Answers the requests of one connection until it ends. `first`: what was read of it
/// already; `patience`: how long each request's head may take, and the silence before it.
pub(crate) async fn serve(
    stream: TcpStream,
    first: Vec<u8>,
    ends: Ends,
    router: Router,
    patience: Duration,
) {
    // Answers are small and written whole.
    let _ = stream.set_nodelay(true);
    let service = TowerToHyperService::new(router.layer(Extension(ConnectInfo(ends))));
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(Rewound::new(first, stream)), service);
    match timeout(LIFETIME, serving).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(addr = %ends.remote, %error, "an HTTP connection failed"),
        Err(_) => tracing::debug!(addr = %ends.remote, "an HTTP connection lasted too long"),
    }
}
