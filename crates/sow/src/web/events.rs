//! `/-/events`: what the page shows, as server-sent events (HTML standard): first everything, then
//! what changes. The number of these connections is bounded; so is their time, after which the
//! browser opens another one.

use std::{convert::Infallible, net::IpAddr, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{ConnectInfo, Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{Stream, stream};
use sow_node::{ConnectionAddrs, NetworkPlace};
use tokio::{
    sync::broadcast::{self, error::RecvError},
    time::{Instant, sleep_until, timeout},
};

use super::{
    board::Board,
    state::{ShareParameter, Web, refuse_foreign_page},
};

/// How long one connection lasts. The node ends all HTTP connections after 600 s.
const LIFETIME: Duration = Duration::from_secs(540);

/// How often a line is sent when nothing changes, so that a page that has gone is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A comment, which browsers ignore.
const COMMENT: Bytes = Bytes::from_static(b":\n\n");

/// One page that watches.
struct Watcher {
    board: Arc<Board>,
    first: Option<Bytes>,
    updates: broadcast::Receiver<Bytes>,
    end: Instant,
    _place: NetworkPlace,
}

/// Answers `/-/events`.
pub(super) async fn answer(
    State(web): State<Web>,
    Query(query): ShareParameter,
    ConnectInfo(addrs): ConnectInfo<ConnectionAddrs>,
    headers: HeaderMap,
) -> Response {
    web.0.requests.events.inc();
    if let Some(refusal) = refuse_foreign_page(&headers) {
        return refusal;
    }
    let Some(board) = web.board(&query) else { return StatusCode::NOT_FOUND.into_response() };
    let Some(watcher) = Watcher::new(&web, board, addrs.remote.ip()) else {
        let head = [(header::RETRY_AFTER, "30")];
        let reason = "as many pages as this machine allows are open\n";
        return (StatusCode::SERVICE_UNAVAILABLE, head, reason).into_response();
    };
    let head = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    (head, Body::from_stream(watcher.into_stream())).into_response()
}

impl Watcher {
    fn new(web: &Web, board: Arc<Board>, client: IpAddr) -> Option<Self> {
        let place = web.0.watchers.take(client)?;
        let (first, updates) = board.watch();
        let end = Instant::now() + LIFETIME;
        Some(Self { board, first: Some(first), updates, end, _place: place })
    }

    fn into_stream(self) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static {
        stream::unfold(self, async |mut watcher| {
            let next = watcher.next().await?;
            Some((Ok(next), watcher))
        })
    }

    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let update = tokio::select! {
            update = timeout(KEEP_ALIVE, self.updates.recv()) => update,
            () = sleep_until(self.end) => return None,
        };
        match update {
            Ok(Ok(update)) => Some(update),
            Ok(Err(RecvError::Lagged(_))) => {
                let (all, updates) = self.board.watch();
                self.updates = updates;
                Some(all)
            }
            Ok(Err(RecvError::Closed)) => None,
            Err(_) => Some(COMMENT),
        }
    }
}
