//! HTTP on one accepted connection. What is answered is the router's decision.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Extension, Router, extract::ConnectInfo, middleware};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use socket2::SockRef;
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

use super::{
    protection::{RequestCount, RequestPace, protect},
    stream::HttpStream,
};
use crate::{places::Activity, throttle::Throttle};

/// The time limit for one connection: enough for a large `.torrent` on a slow line.
pub(crate) const CONNECTION_TIMEOUT: Duration = Duration::from_secs(600);

/// How long a client may take nothing of an answer.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// How often that is checked.
const WRITE_CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// The size of the kernel's send buffer, in bytes (the kernel doubles it): clients that take
/// nothing must not cost the megabytes to which it would grow by itself.
pub(crate) const SEND_BUFFER: usize = 128 * 1024;

/// The maximum size of a request's head, in bytes: an announce has a few hundred.
pub(crate) const MAX_HEAD_SIZE: usize = 16 * 1024;

/// The two addresses of the connection that a request came by. The server that accepts the
/// connection puts a `ConnectInfo<ConnectionAddrs>` into the request's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionAddrs {
    /// The client's address.
    pub remote: SocketAddr,
    /// Our own address, which the client connected to.
    pub local: SocketAddr,
}

/// Answers the requests of one connection until it ends: `socket` is its stream and what was read
/// of it already. `head_timeout` is the time limit for the head of each request, and for the pause
/// before it; `pace` that of all requests to the node.
pub(crate) async fn serve_connection(
    (stream, first): (TcpStream, Vec<u8>),
    addrs: ConnectionAddrs,
    router: Router,
    (head_timeout, pace): (Duration, Arc<Throttle>),
    activity: Arc<Activity>,
) {
    // Answers are small and written whole.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER);
    let router = router
        .layer(middleware::from_fn(protect))
        .layer(Extension(ConnectInfo(addrs)))
        .layer(Extension(RequestPace::new(pace, addrs.remote.ip())))
        .layer(Extension(RequestCount::default()));
    let stream = HttpStream::new(first, stream, Arc::clone(&activity));
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_buf_size(MAX_HEAD_SIZE)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let ended = tokio::select! {
        ended = timeout(CONNECTION_TIMEOUT, serving) => ended,
        () = write_timeout(&activity) => {
            return tracing::debug!(addr = %addrs.remote, "an HTTP client takes no answer");
        }
    };
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::debug!(addr = %addrs.remote, %error, "an HTTP connection failed")
        }
        Err(_) => tracing::debug!(addr = %addrs.remote, "an HTTP connection lasted too long"),
    }
}

/// Returns when an answer has waited too long for the client.
async fn write_timeout(activity: &Activity) {
    while activity.blocked_for().is_none_or(|time| time < WRITE_TIMEOUT) {
        sleep(WRITE_CHECK_INTERVAL).await;
    }
}
