//! The tracker as it is reached over HTTP: `/announce` and `/scrape` (BEP 3, BEP 48) in front of a
//! registry. It decides nothing; the listener is another's.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    extract::{ConnectInfo, RawQuery, State},
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};
use sow_engine::Time;
use sow_tracker::{Announcer, Limits, Mode, Registry, SwarmReport};
use sow_wire::tracker_http::{
    Announce, encode_announce, encode_failure, encode_scrape, parse_scrape,
};

use crate::clock::Clock;

/// Both ends of the connection that a request came by. Whoever accepts it puts a
/// `ConnectInfo<Ends>` into the request's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// The caller's address.
    pub remote: SocketAddr,
    /// Our own, which the caller reached us by.
    pub local: SocketAddr,
}

/// A tracker that may be asked from any number of connections at once.
#[derive(Debug, Clone)]
pub struct TrackerService {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    clock: Clock,
    /// An announce holds it for some ten microseconds.
    books: Mutex<(Registry, fastrand::Rng)>,
}

impl TrackerService {
    /// A tracker that nobody announced to yet.
    pub fn new(mode: Mode, limits: Limits) -> Self {
        let books = Mutex::new((Registry::new(mode, limits), fastrand::Rng::new()));
        Self { shared: Arc::new(Shared { clock: Clock::new(), books }) }
    }

    /// What answers `GET /announce` and `GET /scrape`. Requests must carry a
    /// `ConnectInfo<`[`Ends`]`>`.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/announce", get(announce))
            .route("/scrape", get(scrape))
            .with_state(self.clone())
    }

    /// What is known of every swarm, by ascending info-hash.
    pub fn swarms(&self) -> Vec<SwarmReport> {
        self.with_books(|now, registry, _| registry.swarms(now).collect())
    }

    fn with_books<T>(
        &self,
        with: impl FnOnce(Duration, &mut Registry, &mut fastrand::Rng) -> T,
    ) -> T {
        let mut books = self.shared.books.lock().unwrap_or_else(PoisonError::into_inner);
        let (registry, rng) = &mut *books;
        with(self.shared.clock.now().since(Time::default()), registry, rng)
    }
}

async fn announce(
    State(tracker): State<TrackerService>,
    ConnectInfo(ends): ConnectInfo<Ends>,
    RawQuery(query): RawQuery,
) -> Response {
    let announce = match Announce::parse(&query.unwrap_or_default()) {
        Ok(announce) => announce,
        Err(error) => return bencoded(encode_failure(&error.to_string())),
    };
    let caller = Announcer { address: ends.remote.ip(), reached: ends.local.ip() };
    let answer = tracker
        .with_books(|now, registry, rng| registry.announce(now, caller, &announce.request, rng));
    bencoded(match answer {
        Ok(answer) => encode_announce(&answer, announce.compact, announce.no_peer_id),
        Err(unknown) => encode_failure(&unknown.to_string()),
    })
}

async fn scrape(State(tracker): State<TrackerService>, RawQuery(query): RawQuery) -> Response {
    bencoded(match parse_scrape(&query.unwrap_or_default()) {
        Ok(hashes) => {
            encode_scrape(&tracker.with_books(|now, registry, _| registry.scrape(now, &hashes)))
        }
        Err(error) => encode_failure(&error.to_string()),
    })
}

/// Refusals are bencoded too, and come with status 200: programs look no further at any other. The
/// connection ends, as there is nothing to say on it for the next half minute, and a crowd waits
/// for its turn.
fn bencoded(body: Vec<u8>) -> Response {
    let head = [
        (header::CONTENT_TYPE, "text/plain"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONNECTION, "close"),
    ];
    (head, body).into_response()
}
