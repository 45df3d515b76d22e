//! What the swarms and connections of a node share: settings, clock, memory, limits, workers, and
//! the table that says which swarm an incoming connection is for. No tasks and no sockets.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::Router;
use sow_content::InfoHash;
use sow_engine::{ConnId, Dialect};
use sow_wire::bittorrent::Handshake;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};

use crate::{
    clock::Clock,
    connection::slab_pool::SlabPool,
    http::protection::MAX_REQUESTS_PER_SECOND,
    json_tracker::JsonTrackerService,
    options::NodeOptions,
    place_limits::PlaceLimits,
    swarm::{events::EventSender, handle::AcceptedDialects, piece_writer::HashPool},
    throttle::Throttle,
    tracker_client::TrackerClient,
};

/// The maximum number of simultaneous dials, over all swarms.
pub(crate) const MAX_HALF_OPEN: usize = 64;

/// Connections beyond the limit of peers: those that a swarm is deciding about. It replaces its
/// least useful one for a new one.
const MAX_BEING_ADMITTED: usize = 64;

/// See the header of this file.
#[derive(Debug)]
pub(crate) struct NodeContext {
    pub(crate) options: NodeOptions,
    pub(crate) places: PlaceLimits,
    pub(crate) port: u16,
    pub(crate) clock: Clock,
    pub(crate) slabs: Arc<SlabPool>,
    pub(crate) upload_limit: Arc<Throttle>,
    pub(crate) download_limit: Arc<Throttle>,
    /// The pace of HTTP requests.
    pub(crate) http_pace: Arc<Throttle>,
    pub(crate) hash_pool: HashPool,
    pub(crate) trackers: TrackerClient,
    /// The `key` of announces (BEP 7): a tracker knows this node by it if its address changes.
    pub(crate) key: u32,
    /// One permit for each dial that is in progress.
    pub(crate) half_open: Semaphore,
    /// What answers HTTP requests.
    router: RwLock<Option<Router>>,
    /// What answers the requests of `json-torrent` tracker clients.
    json_tracker: RwLock<Option<JsonTrackerService>>,
    /// One permit for each connection.
    connections: Arc<Semaphore>,
    routes: Mutex<Routes>,
    /// Notified when a swarm was joined, or is offered no more.
    routes_changed: Notify,
    conns: AtomicU64,
}

/// The swarms that incoming connections can be for.
#[derive(Debug, Default)]
struct Routes {
    by_info_hash: BTreeMap<InfoHash, Route>,
    /// The swarm for `chunk`, which names none.
    chunk: Option<EventSender>,
    /// The swarm for `json-torrent`, which names none.
    json_torrent: Option<EventSender>,
    /// Swarms that the owner of the node joins when a peer asks for them.
    offered: BTreeSet<InfoHash>,
    /// Those of them that the owner was asked to join.
    demanded: BTreeSet<InfoHash>,
    /// Where it is asked.
    demands: Option<mpsc::UnboundedSender<InfoHash>>,
}

/// How to reach a swarm of this node.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    /// Our handshake for it.
    pub(crate) handshake: Handshake,
    pub(crate) events: EventSender,
}

/// A swarm with this info-hash, or another one for the same dialect, is here already.
#[derive(Debug)]
pub(crate) struct RouteTaken;

impl NodeContext {
    pub(crate) fn new(options: NodeOptions, port: u16) -> Self {
        let places = PlaceLimits::of_this_process(options.max_connections);
        Self {
            places,
            port,
            clock: Clock::new(),
            slabs: Arc::default(),
            upload_limit: Arc::new(Throttle::new(options.up_limit)),
            download_limit: Arc::new(Throttle::new(options.down_limit)),
            http_pace: Arc::new(Throttle::new(Some(MAX_REQUESTS_PER_SECOND))),
            hash_pool: HashPool::new(),
            trackers: TrackerClient::new(options.bind.filter(|bind| !bind.is_unspecified())),
            key: fastrand::u32(..),
            half_open: Semaphore::new(MAX_HALF_OPEN),
            router: RwLock::new(None),
            json_tracker: RwLock::new(None),
            connections: Arc::new(Semaphore::new(places.peers + MAX_BEING_ADMITTED)),
            routes: Mutex::default(),
            routes_changed: Notify::new(),
            conns: AtomicU64::new(0),
            options,
        }
    }

    /// An id for a new connection, never used before.
    pub(crate) fn next_conn(&self) -> ConnId {
        ConnId(self.conns.fetch_add(1, Ordering::Relaxed))
    }

    /// A share of the connection limit; `None` if the limit is reached.
    pub(crate) fn connection_permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.connections).try_acquire_owned().ok()
    }

    pub(crate) fn router(&self) -> Option<Router> {
        self.router.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_router(&self, router: Router) {
        *self.router.write().unwrap_or_else(PoisonError::into_inner) = Some(router);
    }

    pub(crate) fn json_tracker(&self) -> Option<JsonTrackerService> {
        self.json_tracker.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_json_tracker(&self, service: JsonTrackerService) {
        *self.json_tracker.write().unwrap_or_else(PoisonError::into_inner) = Some(service);
    }

    /// Adds a swarm to the table, for the dialects that it accepts.
    pub(crate) fn add_routes(
        &self,
        accepts: AcceptedDialects,
        route: Route,
    ) -> Result<(), RouteTaken> {
        let AcceptedDialects { bittorrent, chunk, json_torrent } = accepts;
        let info_hash = route.handshake.info_hash;
        let mut routes = self.routes();
        let is_taken = (chunk && routes.chunk.is_some())
            || (json_torrent && routes.json_torrent.is_some())
            || routes.by_info_hash.contains_key(&info_hash);
        if is_taken {
            return Err(RouteTaken);
        }
        if chunk {
            routes.chunk = Some(route.events.clone());
        }
        if json_torrent {
            routes.json_torrent = Some(route.events.clone());
        }
        if bittorrent {
            routes.by_info_hash.insert(info_hash, route);
        }
        routes.demanded.remove(&info_hash);
        drop(routes);
        self.routes_changed.notify_waiters();
        Ok(())
    }

    /// From now on the owner is asked here to join swarms that are offered.
    pub(crate) fn take_demands(&self) -> mpsc::UnboundedReceiver<InfoHash> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.routes().demands = Some(sender);
        receiver
    }

    /// Offers a swarm, or offers it no more. Peers that wait for it are then rejected.
    pub(crate) fn set_offered(&self, info_hash: InfoHash, is_offered: bool) {
        let mut routes = self.routes();
        if is_offered {
            routes.offered.insert(info_hash);
        } else {
            routes.offered.remove(&info_hash);
            routes.demanded.remove(&info_hash);
            drop(routes);
            self.routes_changed.notify_waiters();
        }
    }

    /// Removes a swarm from the table. A new swarm with the same info-hash stays.
    pub(crate) fn remove_routes(&self, info_hash: InfoHash, events: &EventSender) {
        let mut routes = self.routes();
        let by_info_hash = &mut routes.by_info_hash;
        if by_info_hash.get(&info_hash).is_some_and(|route| route.events.same_channel(events)) {
            by_info_hash.remove(&info_hash);
        }
        let is_it = |route: &mut EventSender| route.same_channel(events);
        routes.chunk.take_if(is_it);
        routes.json_torrent.take_if(is_it);
    }

    /// The swarm with this info-hash.
    pub(crate) fn route(&self, info_hash: InfoHash) -> Option<Route> {
        self.routes().by_info_hash.get(&info_hash).cloned()
    }

    /// The same, and the swarm is joined first if it is only offered. `on_known` is called as soon
    /// as it is known that there is such a swarm. The caller limits the time.
    pub(crate) async fn route_on_demand(
        &self,
        info_hash: InfoHash,
        on_known: impl Fn(),
    ) -> Option<Route> {
        loop {
            let mut changed = std::pin::pin!(self.routes_changed.notified());
            // From here on no change is missed.
            changed.as_mut().enable();
            if let Some(route) = self.route(info_hash) {
                on_known();
                return Some(route);
            }
            if !self.demand(info_hash) {
                return None;
            }
            on_known();
            changed.await;
        }
    }

    /// Asks the owner to join a swarm, once. Returns whether it is offered.
    fn demand(&self, info_hash: InfoHash) -> bool {
        let mut routes = self.routes();
        if !routes.offered.contains(&info_hash) {
            return false;
        }
        if routes.demanded.insert(info_hash) {
            let sent = routes.demands.as_ref().map(|demands| demands.send(info_hash));
            return matches!(sent, Some(Ok(())));
        }
        true
    }

    /// The swarm for a dialect that names none.
    pub(crate) fn route_for(&self, dialect: Dialect) -> Option<EventSender> {
        let routes = self.routes();
        match dialect {
            Dialect::BitTorrent => None,
            Dialect::Chunk => routes.chunk.clone(),
            Dialect::JsonTorrent => routes.json_torrent.clone(),
        }
    }

    /// Whether this node accepts nothing but `json-torrent`, in which the accepting side speaks
    /// first.
    pub(crate) fn accepts_only_json_torrent(&self) -> bool {
        let serves_requests = self.router().is_some() || self.json_tracker().is_some();
        let routes = self.routes();
        routes.json_torrent.is_some()
            && !(serves_requests || routes.chunk.is_some())
            && routes.by_info_hash.is_empty()
    }

    fn routes(&self) -> MutexGuard<'_, Routes> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
