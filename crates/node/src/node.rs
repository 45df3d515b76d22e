//! A node: one port, and the swarms behind it. What they share is in `context`; the work of a swarm
//! is in `swarm`.

use std::sync::Arc;

use axum::Router;
use sow_content::InfoHash;
use sow_wire::bittorrent::Handshake;
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};

use crate::{
    accept_loop::accept_all,
    context::{NodeContext, Route, RouteTaken},
    error::NodeError,
    json_tracker::JsonTrackerService,
    listener::listen,
    options::NodeOptions,
    swarm::{
        Driver,
        events::event_queue,
        handle::{Swarm, SwarmEvent, SwarmOptions},
    },
    throttle::RateLimit,
};

/// One port and everything behind it. A node that is dropped accepts no more connections; swarms
/// that it has joined continue.
#[derive(Debug)]
pub struct Node {
    context: Arc<NodeContext>,
    accepting: JoinHandle<()>,
}

impl Node {
    /// Listens. Must be called in a tokio runtime with time and IO.
    ///
    /// # Errors
    /// When the port or the address is not available.
    pub fn bind(options: NodeOptions) -> Result<Self, NodeError> {
        let requested = options.port;
        let listener = listen(options.bind, requested)?;
        Self::start(listener, options)
    }

    /// The same on a socket that listens already, such as one of a service manager. The address and
    /// the port of `options` are not used to listen.
    ///
    /// # Errors
    /// When the socket cannot be used.
    pub fn on_listener(
        listener: std::net::TcpListener,
        options: NodeOptions,
    ) -> Result<Self, NodeError> {
        let failed = |source| NodeError::Listen { port: options.port, source };
        listener.set_nonblocking(true).map_err(failed)?;
        let listener = TcpListener::from_std(listener).map_err(failed)?;
        Self::start(listener, options)
    }

    fn start(listener: TcpListener, options: NodeOptions) -> Result<Self, NodeError> {
        let local = listener
            .local_addr()
            .map_err(|source| NodeError::Listen { port: options.port, source })?;
        let context = Arc::new(NodeContext::new(options, local.port()));
        let accepting = tokio::spawn(accept_all(listener, Arc::clone(&context)));
        Ok(Self { context, accepting })
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.context.port
    }

    /// Takes note of the URL of a tracker that the user typed: it may be anywhere, while one that a
    /// torrent or a link names must not be a service of this machine or its network.
    pub fn trust_tracker(&self, url: &str) {
        self.context.trackers.trust(url);
    }

    /// The upload limit of this node, for a server beside it that shares the limit.
    pub fn up_limit(&self) -> RateLimit {
        RateLimit(Arc::clone(&self.context.upload_limit))
    }

    /// The download limit of this node, for a client beside it that shares the limit.
    pub fn down_limit(&self) -> RateLimit {
        RateLimit(Arc::clone(&self.context.download_limit))
    }

    /// From now on answers HTTP on the same port. Handlers find the two addresses of the connection
    /// in [`ConnectInfo`](axum::extract::ConnectInfo)`<`[`ConnectionAddrs`]`>`, IPv4 as IPv4.
    ///
    /// [`ConnectionAddrs`]: crate::ConnectionAddrs
    pub fn serve_http(&self, router: Router) {
        self.context.set_router(router);
    }

    /// From now on answers the requests of `json-torrent` tracker clients on the same port.
    pub fn serve_json_tracker(&self, service: JsonTrackerService) {
        self.context.set_json_tracker(service);
    }

    /// The info-hashes of swarms that peers ask for and that are only offered ([`Node::offer`]).
    /// The peers wait, within the time limit of the handshake, until the swarm is joined or no
    /// longer offered. A swarm is asked for once, and again after it has ended.
    pub fn demands(&self) -> mpsc::UnboundedReceiver<InfoHash> {
        self.context.take_demands()
    }

    /// Offers a swarm that is joined when a peer asks for it: until then it has no task, and its
    /// files need not be open.
    pub fn offer(&self, info_hash: InfoHash) {
        self.context.set_offered(info_hash, true);
    }

    /// Offers a swarm no more. If it is joined, it continues.
    pub fn retract(&self, info_hash: InfoHash) {
        self.context.set_offered(info_hash, false);
    }

    /// Takes part in a swarm. Its events are reported through the receiver. That channel is not
    /// bounded: read it, or drop the receiver.
    ///
    /// # Errors
    /// When the node takes part in the swarm already.
    pub fn join(
        &self,
        mut options: SwarmOptions,
    ) -> Result<(Swarm, mpsc::UnboundedReceiver<SwarmEvent>), NodeError> {
        let info_hash = options.info_hash;
        options.config.listen_port = self.context.port;
        let peer_id = options.config.peer_id;
        let (event_sender, events) = event_queue();
        let handshake = Handshake { info_hash, peer_id, fast: true, extended: true };
        let route = Route { handshake, events: event_sender.clone() };
        self.context
            .add_routes(options.accepts, route)
            .map_err(|RouteTaken| NodeError::AlreadyJoined(info_hash))?;
        let context = Arc::clone(&self.context);
        Ok(Swarm::new(info_hash, |handle| {
            tokio::spawn(Driver::new(context, options, (event_sender, events), handle).run())
        }))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
