//! The BitTorrent tracker over HTTP: `/announce` and `/scrape` (BEP 3, BEP 48) in front of a
//! registry. Which peers are listed is the registry's decision. The listener is not here.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    extract::{ConnectInfo, RawQuery, State},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
    routing::get,
};
use sow_content::InfoHash;
use sow_engine::Time;
use sow_tracker::{Announcer, Limits, Mode, Registry, SwarmReport};
use sow_wire::{
    bittorrent::PeerId,
    tracker_http::{Announce, encode_announce, encode_failure, encode_scrape, parse_scrape},
};

use super::{connection::ConnectionAddrs, own_names::is_from_page};
use crate::clock::Clock;

/// A tracker that any number of connections use at the same time.
#[derive(Debug, Clone)]
pub struct TrackerService {
    state: Arc<TrackerState>,
}

#[derive(Debug)]
struct TrackerState {
    clock: Clock,
    /// An announce holds the lock for some ten microseconds.
    registry: Mutex<(Registry, fastrand::Rng)>,
}

impl TrackerService {
    /// A tracker with an empty registry.
    pub fn new(mode: Mode, limits: Limits) -> Self {
        let registry = Mutex::new((Registry::new(mode, limits), fastrand::Rng::new()));
        Self { state: Arc::new(TrackerState { clock: Clock::new(), registry }) }
    }

    /// A router that answers `GET /announce` and `GET /scrape`. Requests must carry a
    /// `ConnectInfo<`[`ConnectionAddrs`]`>`.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/announce", get(announce))
            .route("/scrape", get(scrape))
            .with_state(self.clone())
    }

    /// The state of every swarm, by ascending info-hash.
    pub fn swarms(&self) -> Vec<SwarmReport> {
        self.with_registry(|now, registry, _| registry.swarms(now).collect())
    }

    /// From now on keeps this swarm, as [`Registry::keep`].
    pub fn keep(&self, info_hash: InfoHash, own: Option<(SocketAddr, PeerId)>) {
        self.with_registry(|_, registry, _| registry.keep(info_hash, own));
    }

    /// Keeps this swarm no more, as [`Registry::forget`].
    pub fn forget(&self, info_hash: InfoHash) {
        self.with_registry(|_, registry, _| registry.forget(info_hash));
    }

    /// The peers of a swarm that announced since the last call that they completed. Nothing proves
    /// it.
    pub fn take_completions(&self, info_hash: InfoHash) -> Vec<(SocketAddr, PeerId)> {
        self.with_registry(|_, registry, _| registry.take_completions(info_hash))
    }

    fn with_registry<T>(
        &self,
        with: impl FnOnce(Duration, &mut Registry, &mut fastrand::Rng) -> T,
    ) -> T {
        let mut registry = self.state.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let (registry, rng) = &mut *registry;
        with(self.state.clock.now().since(Time::default()), registry, rng)
    }
}

async fn announce(
    State(tracker): State<TrackerService>,
    ConnectInfo(addrs): ConnectInfo<ConnectionAddrs>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    // A page could otherwise list its visitors as peers.
    if is_from_page(&headers) {
        return bencoded(encode_failure("this tracker takes no announces from web pages"));
    }
    let announce = match Announce::parse(&query.unwrap_or_default()) {
        Ok(announce) => announce,
        Err(error) => return bencoded(encode_failure(&error.to_string())),
    };
    let announcer = Announcer { address: addrs.remote.ip(), reached: addrs.local.ip() };
    let answer = tracker.with_registry(|now, registry, rng| {
        registry.announce(now, announcer, &announce.request, rng)
    });
    bencoded(match answer {
        Ok(answer) => encode_announce(&answer, announce.compact, announce.no_peer_id),
        Err(refusal) => encode_failure(&refusal.to_string()),
    })
}

async fn scrape(State(tracker): State<TrackerService>, RawQuery(query): RawQuery) -> Response {
    bencoded(match parse_scrape(&query.unwrap_or_default()) {
        Ok(hashes) => {
            encode_scrape(&tracker.with_registry(|now, registry, _| registry.scrape(now, &hashes)))
        }
        Err(error) => encode_failure(&error.to_string()),
    })
}

/// A response with a bencoded body. Refusals have status 200 too: some clients ignore the body
/// otherwise. The connection is closed, because the client has no request for the next half minute,
/// and other clients wait.
fn bencoded(body: Vec<u8>) -> Response {
    let head = [
        (header::CONTENT_TYPE, "text/plain"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONNECTION, "close"),
    ];
    (head, body).into_response()
}
