//! HTTP on one accepted connection. What is answered is the router's decision.

use std::{collections::VecDeque, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Extension, Router, extract::ConnectInfo, middleware};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{net::TcpStream, time::sleep};

use super::{
    protection::{RequestCount, RequestPace, protect},
    stream::HttpStream,
};
use crate::{connection::pace::MEASURED_BYTES, places::Activity, throttle::Throttle};

/// The time limit for one connection: enough for a large `.torrent` on a slow line. A download of
/// the content may take longer, while the client takes it; the limit begins anew at its end, when
/// the last bytes are still on their way.
pub(crate) const CONNECTION_TIMEOUT: Duration = Duration::from_secs(600);

/// How long a client may take nothing of an answer.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// How often that is checked.
pub(crate) const WRITE_CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// A client that takes less than [`MEASURED_BYTES`] of a download between so many checks, and makes
/// us wait each time, may lose its place to another one.
pub(crate) const SLOW_CHECKS: usize = 3;

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
/// old, or makes room for another one.
async fn time_limit(activity: &Activity) -> &'static str {
    // What the client had taken at the last checks; empty while it is not slow.
    let mut blocked_at = VecDeque::with_capacity(SLOW_CHECKS + 1);
    loop {
        tokio::select! {
            () = sleep(WRITE_CHECK_INTERVAL) => {}
            () = activity.must_end() => return "a slow download made room for another one",
        }
        let blocked = activity.blocked_for();
        if blocked.is_some_and(|time| time >= WRITE_TIMEOUT) {
            return "the client takes no answer";
        }
        if activity.since_bulk() >= CONNECTION_TIMEOUT {
            return "it lasted too long";
        }
        if blocked.is_none() {
            blocked_at.clear();
        }
        blocked_at.push_back(activity.taken());
        let is_measured = blocked.is_some() && blocked_at.len() > SLOW_CHECKS;
        activity.set_slow(is_measured && activity.taken() - blocked_at[0] < MEASURED_BYTES);
        if blocked_at.len() > SLOW_CHECKS {
            blocked_at.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a client is slow that takes this many bytes before each check, blocked or not.
    async fn is_slow(bytes: usize, is_blocked: bool) -> bool {
        let activity = Arc::new(Activity::new());
        let watched = Arc::clone(&activity);
        let watching = tokio::spawn(async move { time_limit(&watched).await });
        for _ in 0..2 * SLOW_CHECKS {
            activity.took(bytes);
            if is_blocked {
                activity.blocked();
            }
            sleep(WRITE_CHECK_INTERVAL).await;
        }
        assert!(!watching.is_finished());
        activity.make_room();
        assert!(watching.await.unwrap().contains("made room"));
        activity.is_slow()
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_a_long_download_is_not_cut_off() {
        let activity = Arc::new(Activity::new());
        let watched = Arc::clone(&activity);
        let watching = tokio::spawn(async move { time_limit(&watched).await });
        let take = async |time: Duration| {
            for _ in 0..time.as_secs() {
                activity.took(100);
                activity.blocked();
                sleep(Duration::from_secs(1)).await;
            }
        };
        let bulk = activity.bulk();
        take(2 * CONNECTION_TIMEOUT).await;
        drop(bulk);
        take(CONNECTION_TIMEOUT / 2).await;
        assert!(!watching.is_finished());
        take(CONNECTION_TIMEOUT).await;
        assert_eq!(watching.await.unwrap(), "it lasted too long");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_is_slow_that_takes_little_and_makes_us_wait() {
        assert!(is_slow(1000, true).await);
        assert!(!is_slow(1000, false).await, "our own limit makes it slow");
        assert!(!is_slow(MEASURED_BYTES as usize, true).await);
    }
}
