//! What protects a node from web pages and from greedy clients, on every answer: headers for
//! browsers, no request bodies, a bounded number of requests on one connection and in a time.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Extension,
    extract::Request,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use sow_engine::network_of;

use crate::throttle::{Flow, Service, Throttle};

/// After this many requests a connection is closed, so that one client cannot be served without
/// end.
pub(crate) const MAX_REQUESTS: usize = 1000;

/// What browsers may do with our answers: no other site may frame or embed them (Fetch standard).
const HEADERS: [(header::HeaderName, &str); 4] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// What an answer may do that says nothing else about it: it runs no scripts.
const DEFAULT_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'",
);

/// The requests of all clients of a node that are answered in a second: several percent of a core.
/// What comes faster waits in its sockets.
pub(crate) const MAX_REQUESTS_PER_SECOND: u64 = 2000;

/// The pace of the requests on one connection: networks get equal shares of the node's. Those with
/// few requests before them on their connection come first, so that pipelined ones wait and others
/// do not.
#[derive(Debug, Clone)]
pub(super) struct RequestPace {
    throttle: Arc<Throttle>,
    flow: Flow,
}

impl RequestPace {
    pub(super) fn new(throttle: Arc<Throttle>, client: IpAddr) -> Self {
        let flow = Flow { service: Service::Swarm, network: network_of(client), rank: 0 };
        Self { throttle, flow }
    }

    /// Waits for the turn of so many requests, after `earlier` ones on the same connection.
    async fn wait(&self, mut requests: usize, earlier: usize) {
        let flow = Flow { rank: earlier.checked_ilog2().map_or(0, |log| log + 1), ..self.flow };
        while requests > 0 {
            requests -= self.throttle.take_for(flow, requests).await.min(requests);
        }
    }
}

/// In the extensions of an answer that took far longer than others: it counts as so many more
/// requests.
#[derive(Debug, Clone, Copy)]
pub(super) struct AnswerCost(pub(super) usize);

/// The number of requests on one connection.
#[derive(Debug, Clone, Default)]
pub(super) struct RequestCount(Arc<AtomicUsize>);

/// Answers a request through the handlers behind it, unless it has a body: no handler reads one.
pub(super) async fn protect(
    Extension(RequestCount(count)): Extension<RequestCount>,
    Extension(pace): Extension<RequestPace>,
    request: Request,
    next: Next,
) -> Response {
    let earlier = count.fetch_add(1, Ordering::Relaxed);
    let is_last = earlier + 1 >= MAX_REQUESTS;
    let has_body = has_body(request.headers());
    pace.wait(1, earlier).await;
    let mut response = if has_body {
        (StatusCode::PAYLOAD_TOO_LARGE, "requests have no body here\n").into_response()
    } else {
        next.run(request).await
    };
    if let Some(AnswerCost(requests)) = response.extensions_mut().remove() {
        pace.wait(requests, earlier).await;
    }
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(DEFAULT_POLICY);
    if has_body || is_last {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn has_body(headers: &HeaderMap) -> bool {
    let length = headers.get(header::CONTENT_LENGTH);
    headers.contains_key(header::TRANSFER_ENCODING) || length.is_some_and(|length| length != "0")
}
