//! The accept loop: accepts every connection, detects its protocol, and hands it to a swarm, to
//! HTTP or to the `json-torrent` tracker. The loop never ends by itself, whatever peers do. A
//! connection that sends nothing within the handshake timeout, or a protocol that this node does
//! not accept, is rejected.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use sow_engine::{Direction, PeerHandshake};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

use crate::{
    context::NodeContext,
    handshake::respond,
    http::connection::{ConnectionAddrs, serve_connection},
    json_tracker,
    listener::canonical,
    pending::{Pending, Progress},
    places::Places,
    sniff::{Protocol, sniff},
    swarm::events::{DriverEvent, NewConnection},
};

/// The pause after a failed accept, for instance when file descriptors run out.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// How many of the first bytes of a rejected connection are logged.
const LOGGED_BYTES: usize = 20;

/// A connection that speaks HTTP: its stream, what was read of it, its remote address.
type HttpConnection = (TcpStream, Vec<u8>, SocketAddr);

/// Accepts connections until the task is aborted.
pub(crate) async fn accept_all(listener: TcpListener, node: Arc<NodeContext>) {
    let mut pending = Pending::new(node.places.pending);
    let mut http = Places::new(node.places.http);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, addr)) => {
                    let (addr, node) = (canonical(addr), Arc::clone(&node));
                    let dropped = pending.add(addr, |progress| {
                        dispatch_in_time(stream, addr, progress, node)
                    });
                    dropped.into_iter().for_each(reject_pending);
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    pending.drop_some().into_iter().for_each(reject_pending);
                    sleep(ACCEPT_RETRY_DELAY).await;
                }
            },
            dispatched = pending.next_done(), if !pending.is_empty() => {
                if let Some(Some(connection)) = dispatched {
                    serve_http(connection, &node, &mut http);
                }
            }
            Some(()) = http.ended() => {}
        }
    }
}

fn reject_pending(addr: SocketAddr) {
    reject(addr, "too many connections have not shown what they want");
}

/// Detects the protocol of a connection and hands it on. An HTTP connection is returned.
async fn dispatch_in_time(
    stream: TcpStream,
    addr: SocketAddr,
    progress: Progress,
    node: Arc<NodeContext>,
) -> Option<HttpConnection> {
    if node.accepts_only_json_torrent() {
        let introduction = |local| PeerHandshake::JsonTorrent { local };
        admit(stream, addr, Vec::new(), introduction, &node).await;
        return None;
    }
    let dispatching = dispatch(stream, addr, &progress, &node);
    timeout(node.options.timeouts.handshake, dispatching).await.unwrap_or_else(|_| {
        reject(addr, "it did not show its protocol in time");
        None
    })
}

async fn dispatch(
    mut stream: TcpStream,
    addr: SocketAddr,
    progress: &Progress,
    node: &NodeContext,
) -> Option<HttpConnection> {
    let (protocol, first) = match sniff(&mut stream).await {
        Ok(sniffed) => sniffed,
        Err(error) => {
            reject(addr, format_args!("it ended before it showed its protocol: {error}"));
            return None;
        }
    };
    match protocol {
        Protocol::Http => return Some((stream, first, addr)),
        Protocol::BitTorrent => admit_bittorrent(stream, addr, &first, progress, node).await,
        Protocol::JsonTorrent => {
            admit(stream, addr, first, |local| PeerHandshake::JsonTorrent { local }, node).await;
        }
        // Only `chunk` has an error message for an unknown protocol.
        Protocol::Chunk | Protocol::Unknown => {
            admit(stream, addr, first, |local| PeerHandshake::Chunk { local }, node).await;
        }
        // One request and one reply: the exchange ends within the handshake timeout.
        Protocol::JsonTracker => match node.json_tracker() {
            Some(service) => json_tracker::serve_connection(stream, first, addr, service).await,
            None => reject(addr, "it asks for a json-torrent tracker, and there is none here"),
        },
    }
    None
}

/// Logs a connection that is closed before it is a peer's.
fn reject(addr: SocketAddr, reason: impl fmt::Display) {
    tracing::info!(%addr, %reason, "a connection was rejected");
}

/// Answers a BitTorrent handshake and hands the connection to the swarm that it names.
async fn admit_bittorrent(
    mut stream: TcpStream,
    addr: SocketAddr,
    first: &[u8],
    progress: &Progress,
    node: &NodeContext,
) {
    let route = async |info_hash| {
        let is_known = || progress.on_swarm_named();
        let route = node.route_on_demand(info_hash, is_known).await?;
        Some((route.handshake, route.events))
    };
    let (handshake, events) = match respond(&mut stream, first, route).await {
        Ok(answered) => answered,
        Err(error) => return reject(addr, error),
    };
    let Some(permit) = node.connection_permit() else {
        return reject(addr, "the connection limit is reached");
    };
    let connection = NewConnection {
        stream,
        addr,
        direction: Direction::Accepted,
        introduction: PeerHandshake::BitTorrent(handshake),
        first: Vec::new(),
        permit,
    };
    // A swarm that has just ended takes no connection.
    let _ = events.send(DriverEvent::Connected(Box::new(connection))).await;
}

/// Hands a connection to the swarm for its dialect, if there is one and the limit allows it.
async fn admit(
    stream: TcpStream,
    addr: SocketAddr,
    first: Vec<u8>,
    introduction: impl FnOnce(IpAddr) -> PeerHandshake,
    node: &NodeContext,
) {
    let Ok(local) = stream.local_addr() else { return };
    let introduction = introduction(canonical(local).ip());
    let Some(events) = node.route_for(introduction.dialect()) else {
        let shown = first[..first.len().min(LOGGED_BYTES)].escape_ascii();
        return reject(
            addr,
            format_args!("this node does not accept its protocol (its first bytes: {shown})"),
        );
    };
    let Some(permit) = node.connection_permit() else {
        return reject(addr, "the connection limit is reached");
    };
    let direction = Direction::Accepted;
    let connection = NewConnection { stream, addr, direction, introduction, first, permit };
    // A swarm that has just ended takes no connection.
    let _ = events.send(DriverEvent::Connected(Box::new(connection))).await;
}

fn serve_http((stream, first, remote): HttpConnection, node: &NodeContext, http: &mut Places) {
    // A connection without a local address is closed already.
    let Ok(local) = stream.local_addr().map(canonical) else { return };
    let Some(router) = node.router() else {
        return reject(remote, "it speaks HTTP, which this node does not serve");
    };
    let addrs = ConnectionAddrs { remote, local };
    let limits = (node.options.timeouts.handshake, Arc::clone(&node.http_pace));
    http.serve(remote, |activity| {
        serve_connection((stream, first), addrs, router, limits, activity)
    });
}
