//! HTTP on one accepted connection. What is answered is the router's decision.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Extension, Router, extract::ConnectInfo, middleware};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::TcpStream,
    time::{Instant, sleep},
};

use super::{
    protection::{RequestCount, RequestPace, protect},
    stream::HttpStream,
};
use crate::{places::Activity, throttle::Throttle};

/// The time limit for one connection: enough for a large `.torrent` on a slow line. A download of
/// the content may take longer, while the client takes it.
pub(crate) const CONNECTION_TIMEOUT: Duration = Duration::from_secs(600);

/// How long a client may take nothing of an answer.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// How often that is checked.
const WRITE_CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// The size of the kernel's send buffer, in bytes (the kernel doubles it): clients that take
/// nothing must not cost the megabytes to which it would grow by itself. Downloads of the content,
/// whose number is bounded, let it grow.
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
    let router = router
        .layer(middleware::from_fn(protect))
        .layer(Extension(ConnectInfo(addrs)))
        .layer(Extension(RequestPace::new(pace, addrs.remote.ip())))
        .layer(Extension(RequestCount::default()))
        .layer(Extension(Arc::clone(&activity)));
    let stream = HttpStream::new(first, stream, Arc::clone(&activity));
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_buf_size(MAX_HEAD_SIZE)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let ended = tokio::select! {
        ended = serving => ended,
        reason = time_limit(&activity) => {
            return tracing::debug!(addr = %addrs.remote, reason, "an HTTP connection was closed");
        }
    };
    if let Err(error) = ended {
        tracing::debug!(addr = %addrs.remote, %error, "an HTTP connection failed");
    }
}

/// Returns the reason when an answer has waited too long for the client, or the connection is too
/// old.
async fn time_limit(activity: &Activity) -> &'static str {
    let start = Instant::now();
    loop {
        sleep(WRITE_CHECK_INTERVAL).await;
        if activity.blocked_for().is_some_and(|time| time >= WRITE_TIMEOUT) {
            return "the client takes no answer";
        }
        if start.elapsed() >= CONNECTION_TIMEOUT && !activity.is_bulk() {
            return "it lasted too long";
        }
    }
}
