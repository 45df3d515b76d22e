//! A node: one port, the swarms behind it, and what they share: limits, memory, workers.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::Router;
use sow_content::InfoHash;
use sow_engine::{ConnId, Dialect, Direction, PeerHandshake};
use sow_wire::bittorrent::Handshake;
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinHandle,
    time::timeout,
};

use crate::{
    accepting::accept_all,
    clock::Clock,
    disk::Workers,
    driver::Driver,
    error::NodeError,
    handshaking::{HandshakeError, call},
    inbox::{Connected, Inbox, Letter, inbox},
    json_tracker_service::JsonTrackerService,
    listener::{canonical, listen},
    options::NodeOptions,
    outgoing::connect,
    slabs::Slabs,
    swarm::{AcceptedDialects, Swarm, SwarmEvent, SwarmOptions},
    throttle::{RateLimit, Throttle},
    tracker_client::TrackerClient,
};

/// Dials at the same time, all swarms together.
const HALF_OPEN: usize = 64;

/// One port, and everything behind it. Dropped, it takes no more calls; swarms that it has joined
/// go on.
#[derive(Debug)]
pub struct Node {
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

/// What the swarms and the connections of a node have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: NodeOptions,
    pub(crate) port: u16,
    pub(crate) clock: Clock,
    pub(crate) slabs: Arc<Slabs>,
    pub(crate) up: Arc<Throttle>,
    pub(crate) down: Arc<Throttle>,
    pub(crate) workers: Workers,
    pub(crate) trackers: TrackerClient,
    /// What trackers know us by should our address change.
    pub(crate) key: u32,
    /// Places for connections.
    pub(crate) connections: Arc<Semaphore>,
    /// What answers HTTP.
    pub(crate) router: RwLock<Option<Router>>,
    /// What answers document 2's requests to a tracker.
    pub(crate) json_tracker: RwLock<Option<JsonTrackerService>>,
    half_open: Semaphore,
    swarms: Mutex<Routes>,
    conns: AtomicU64,
}

/// The swarms that can be called.
#[derive(Debug, Default)]
struct Routes {
    by_info_hash: BTreeMap<InfoHash, Route>,
    /// Who is called in the dialects that name no swarm.
    chunk: Option<Inbox>,
    json_torrent: Option<Inbox>,
}

/// How to reach a swarm of ours.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    /// What we say to who asks for it.
    pub(crate) handshake: Handshake,
    pub(crate) inbox: Inbox,
}

impl Node {
    /// Listens. To be called in a tokio runtime with time and IO.
    ///
    /// # Errors
    /// When the port or the address is not to be had.
    pub fn bind(options: NodeOptions) -> Result<Self, NodeError> {
        let asked = options.port;
        let listener = listen(options.bind, asked)?;
        let local =
            listener.local_addr().map_err(|source| NodeError::Listen { port: asked, source })?;
        let shared = Arc::new(Shared {
            port: local.port(),
            clock: Clock::new(),
            slabs: Arc::default(),
            up: Arc::new(Throttle::new(options.up_limit)),
            down: Arc::new(Throttle::new(options.down_limit)),
            workers: Workers::new(),
            trackers: TrackerClient::new(options.bind.filter(|bind| !bind.is_unspecified())),
            key: fastrand::u32(..),
            connections: Arc::new(Semaphore::new(
                options.max_connections.min(Semaphore::MAX_PERMITS),
            )),
            router: RwLock::new(None),
            json_tracker: RwLock::new(None),
            half_open: Semaphore::new(HALF_OPEN),
            swarms: Mutex::default(),
            conns: AtomicU64::new(0),
            options,
        });
        let accepting = tokio::spawn(accept_all(listener, Arc::clone(&shared)));
        Ok(Self { shared, accepting })
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.shared.port
    }

    /// Its limit on what leaves, for a server beside it that is to share it.
    pub fn up_limit(&self) -> RateLimit {
        RateLimit(Arc::clone(&self.shared.up))
    }

    /// Its limit on what comes in, for a client beside it that is to share it.
    pub fn down_limit(&self) -> RateLimit {
        RateLimit(Arc::clone(&self.shared.down))
    }

    /// Answers HTTP on the same port from now on. Handlers find both ends of the
    /// connection in [`ConnectInfo`](axum::extract::ConnectInfo)`<`[`Ends`](crate::Ends)`>`, IPv4
    /// as IPv4.
    pub fn serve_http(&self, router: Router) {
        *self.shared.router.write().unwrap_or_else(PoisonError::into_inner) = Some(router);
    }

    /// Answers what document 2's tracker is asked, on the same port from now on.
    pub fn serve_json_tracker(&self, service: JsonTrackerService) {
        *self.shared.json_tracker.write().unwrap_or_else(PoisonError::into_inner) = Some(service);
    }

    /// Takes part in a swarm. What happens in it is reported through the receiver, without bound:
    /// read it or drop it.
    ///
    /// # Errors
    /// When the node takes part in it already.
    pub fn join(
        &self,
        mut options: SwarmOptions,
    ) -> Result<(Swarm, mpsc::UnboundedReceiver<SwarmEvent>), NodeError> {
        let info_hash = options.info_hash;
        options.config.listen_port = self.shared.port;
        let peer_id = options.config.peer_id;
        let (inbox, letters) = inbox();
        let handshake = Handshake { info_hash, peer_id, fast: true, extended: true };
        let route = Route { handshake, inbox: inbox.clone() };
        {
            let mut routes = self.shared.routes();
            let AcceptedDialects { bittorrent, chunk, json_torrent } = options.answers;
            let taken = (chunk && routes.chunk.is_some())
                || (json_torrent && routes.json_torrent.is_some());
            if taken || routes.by_info_hash.contains_key(&info_hash) {
                return Err(NodeError::AlreadyJoined(info_hash));
            }
            if bittorrent {
                routes.by_info_hash.insert(info_hash, route);
            }
            if chunk {
                routes.chunk = Some(inbox.clone());
            }
            if json_torrent {
                routes.json_torrent = Some(inbox.clone());
            }
        }
        let shared = Arc::clone(&self.shared);
        Ok(Swarm::new(info_hash, |reins| {
            tokio::spawn(Driver::new(shared, options, (inbox, letters), reins).run())
        }))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Shared {
    /// A name for a new connection, never used before.
    pub(crate) fn next_conn(&self) -> ConnId {
        ConnId(self.conns.fetch_add(1, Ordering::Relaxed))
    }

    /// How to reach a swarm, when it is here.
    pub(crate) fn route(&self, info_hash: InfoHash) -> Option<Route> {
        self.routes().by_info_hash.get(&info_hash).cloned()
    }

    /// How to reach the swarm that is called in a dialect which names none.
    pub(crate) fn inbox_for(&self, dialect: Dialect) -> Option<Inbox> {
        let routes = self.routes();
        match dialect {
            Dialect::BitTorrent => None,
            Dialect::Chunk => routes.chunk.clone(),
            Dialect::JsonTorrent => routes.json_torrent.clone(),
        }
    }

    /// Whether nothing is spoken here but document 2's peer protocol, in which who is called speaks
    /// at once.
    pub(crate) fn speaks_json_torrent_alone(&self) -> bool {
        let http = self.router.read().unwrap_or_else(PoisonError::into_inner).is_some();
        let tracker = self.json_tracker.read().unwrap_or_else(PoisonError::into_inner).is_some();
        let routes = self.routes();
        routes.json_torrent.is_some()
            && !(http || tracker || routes.chunk.is_some())
            && routes.by_info_hash.is_empty()
    }

    /// The swarm is here no more.
    pub(crate) fn forget(&self, info_hash: InfoHash, inbox: &Inbox) {
        let mut routes = self.routes();
        if routes.by_info_hash.get(&info_hash).is_some_and(|route| route.inbox.same_channel(inbox))
        {
            routes.by_info_hash.remove(&info_hash);
        }
        let is_it = |route: &mut Inbox| route.same_channel(inbox);
        routes.chunk.take_if(is_it);
        routes.json_torrent.take_if(is_it);
    }

    /// Calls a peer on behalf of a swarm; a letter says what came of it.
    pub(crate) async fn dial(
        &self,
        addr: SocketAddr,
        dialect: Dialect,
        info_hash: InfoHash,
        inbox: Inbox,
    ) {
        let letter = match self.call(addr, dialect, info_hash).await {
            Ok(connected) => Letter::Connected(Box::new(connected)),
            Err(HandshakeError::Ourselves) => Letter::DialedOurselves(addr),
            Err(error) => {
                tracing::debug!(%addr, %error, "a call came to nothing");
                Letter::DialFailed(addr)
            }
        };
        // A swarm that is gone has no use for it.
        let _ = inbox.send(letter).await;
    }

    async fn call(
        &self,
        addr: SocketAddr,
        dialect: Dialect,
        info_hash: InfoHash,
    ) -> Result<Connected, HandshakeError> {
        // Neither semaphore is ever closed.
        let _turn = self.half_open.acquire().await;
        let permit =
            Arc::clone(&self.connections).try_acquire_owned().map_err(|_| HandshakeError::Full)?;
        let calling = async {
            let mut stream = connect(addr, self.options.bind).await?;
            let local = canonical(stream.local_addr()?).ip();
            let introduction = match dialect {
                Dialect::BitTorrent => {
                    let route =
                        self.route(info_hash).ok_or(HandshakeError::UnknownSwarm(info_hash))?;
                    PeerHandshake::BitTorrent(call(&mut stream, &route.handshake).await?)
                }
                // Nobody says who he is; but who calls himself does so from the address that he
                // calls.
                _ if local == addr.ip() && addr.port() == self.port => {
                    return Err(HandshakeError::Ourselves);
                }
                Dialect::Chunk => PeerHandshake::Chunk { local },
                Dialect::JsonTorrent => PeerHandshake::JsonTorrent { local },
            };
            Ok((stream, introduction))
        };
        let called: Result<_, HandshakeError> = timeout(self.options.deadlines.handshake, calling)
            .await
            .map_err(|_| HandshakeError::TooSlow)?;
        let (stream, introduction) = called?;
        Ok(Connected {
            stream,
            addr,
            direction: Direction::Dialed,
            introduction,
            first: Vec::new(),
            permit,
        })
    }

    fn routes(&self) -> MutexGuard<'_, Routes> {
        self.swarms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
