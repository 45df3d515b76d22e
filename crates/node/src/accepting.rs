//! The accept loop: takes every call, finds out what the caller speaks, hands it on. It never ends
//! by itself, whatever callers do; who says nothing in time, or what nobody here speaks, is hung up
//! on.

use std::{
    collections::VecDeque,
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{Arc, PoisonError},
    time::Duration,
};

use sow_engine::{Direction, PeerHandshake};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
    time::{sleep, timeout},
};

use crate::{
    handshaking::{HandshakeError, answer},
    http,
    inbox::{Connected, Letter},
    json_tracker_service,
    listener::canonical,
    node::Shared,
    sniff::{Protocol, sniff},
    tracker_service::Ends,
};

/// Callers that have not said what they want. Beyond it the one that has waited longest has to go:
/// an honest caller needs only a moment, but a flash crowd comes all at once.
const UNDECIDED: usize = 1024;

/// HTTP connections that are answered at the same time.
const HTTP: usize = 256;

/// HTTP connections that wait for their turn; beyond it they are hung up on.
const HTTP_WAITING: usize = 1024;

/// The pause after a failure to accept, such as the want of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// A caller who speaks HTTP, and what was read of that.
type HttpCaller = (TcpStream, Vec<u8>, SocketAddr);

/// Takes calls for as long as it is let.
pub(crate) async fn accept_all(listener: TcpListener, node: Arc<Shared>) {
    let (mut undecided, mut order) = (JoinSet::new(), VecDeque::new());
    let (mut http, mut waiting) = (JoinSet::new(), VecDeque::new());
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, addr)) => {
                    let addr = canonical(addr);
                    make_room(&undecided, &mut order, UNDECIDED);
                    let deciding = decide(stream, addr, Arc::clone(&node));
                    order.push_back((undecided.spawn(deciding), addr));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot take a call");
                    sleep(PAUSE).await;
                }
            },
            Some(decided) = undecided.join_next() => {
                if let Ok(Some(caller)) = decided && waiting.len() < HTTP_WAITING {
                    waiting.push_back(caller);
                }
            }
            Some(_) = http.join_next() => {}
        }
        while http.len() < HTTP
            && let Some(caller) = waiting.pop_front()
        {
            serve(caller, &node, &mut http);
        }
    }
}

/// Hangs up on the longest undecided caller when there is no place for another one. `order`: oldest
/// first.
fn make_room<T: 'static>(
    undecided: &JoinSet<T>,
    order: &mut VecDeque<(AbortHandle, SocketAddr)>,
    places: usize,
) {
    while order.front().is_some_and(|(caller, _)| caller.is_finished()) {
        order.pop_front();
    }
    if undecided.len() >= places
        && let Some((oldest, addr)) = order.pop_front()
    {
        turned_away(addr, "too many callers have not said what they want");
        oldest.abort();
    }
}

/// Finds out what a caller wants. A peer goes to its swarm; who speaks HTTP is given back.
async fn decide(mut stream: TcpStream, addr: SocketAddr, node: Arc<Shared>) -> Option<HttpCaller> {
    if node.speaks_json_torrent_alone() {
        admit(stream, addr, Vec::new(), |local| PeerHandshake::JsonTorrent { local }, &node).await;
        return None;
    }
    let deciding = async {
        match sniff(&mut stream).await {
            Ok((Protocol::Http, first)) => Some((stream, first, addr)),
            Ok((Protocol::BitTorrent, first)) => {
                if let Err(error) = welcome(stream, addr, &first, &node).await {
                    turned_away(addr, error);
                }
                None
            }
            Ok((Protocol::JsonTorrent, first)) => {
                let introduction = |local| PeerHandshake::JsonTorrent { local };
                admit(stream, addr, first, introduction, &node).await;
                None
            }
            // Who speaks nothing that is known is told so by the one dialect that has words for
            // that.
            Ok((Protocol::Chunk | Protocol::Unknown, first)) => {
                admit(stream, addr, first, |local| PeerHandshake::Chunk { local }, &node).await;
                None
            }
            Ok((Protocol::JsonTracker, first)) => {
                let service =
                    node.json_tracker.read().unwrap_or_else(PoisonError::into_inner).clone();
                if let Some(service) = service {
                    // One request, one reply: it is over before it counts as decided.
                    json_tracker_service::serve(stream, first, addr, service).await;
                } else {
                    turned_away(
                        addr,
                        "it asks for a tracker of document 2, and there is none here",
                    );
                }
                None
            }
            Err(error) => {
                turned_away(addr, format_args!("it ended before it said what it wants: {error}"));
                None
            }
        }
    };
    timeout(node.options.deadlines.handshake, deciding).await.unwrap_or_else(|_| {
        turned_away(addr, "it did not say what it wants in time");
        None
    })
}

/// Says that somebody was hung up on who never became a peer.
fn turned_away(addr: SocketAddr, reason: impl fmt::Display) {
    tracing::info!(%addr, %reason, "a caller was turned away");
}

/// Answers a peer and hands it to its swarm.
async fn welcome(
    mut stream: TcpStream,
    addr: SocketAddr,
    first: &[u8],
    node: &Shared,
) -> Result<(), HandshakeError> {
    let permit =
        Arc::clone(&node.connections).try_acquire_owned().map_err(|_| HandshakeError::Full)?;
    let route = |info_hash| node.route(info_hash).map(|route| (route.handshake, route.inbox));
    let (handshake, inbox) = answer(&mut stream, first, route).await?;
    let (direction, introduction) = (Direction::Accepted, PeerHandshake::BitTorrent(handshake));
    let connected = Connected { stream, addr, direction, introduction, first: Vec::new(), permit };
    // A swarm that has just ended takes nobody in.
    let _ = inbox.send(Letter::Connected(Box::new(connected))).await;
    Ok(())
}

/// Hands a caller to the swarm that is called in its dialect, if there is one and there is room.
async fn admit(
    stream: TcpStream,
    addr: SocketAddr,
    first: Vec<u8>,
    introduction: impl FnOnce(IpAddr) -> PeerHandshake,
    node: &Shared,
) {
    let Ok(local) = stream.local_addr() else { return };
    let introduction = introduction(canonical(local).ip());
    let dialect = introduction.dialect();
    let Some(inbox) = node.inbox_for(dialect) else {
        return turned_away(
            addr,
            format_args!(
                "it speaks nothing that is spoken here (its first bytes: {})",
                shown(&first)
            ),
        );
    };
    let Ok(permit) = Arc::clone(&node.connections).try_acquire_owned() else {
        return turned_away(addr, HandshakeError::Full);
    };
    let connected =
        Connected { stream, addr, direction: Direction::Accepted, introduction, first, permit };
    // A swarm that has just ended takes nobody in.
    let _ = inbox.send(Letter::Connected(Box::new(connected))).await;
}

/// The first bytes of a stranger, for people.
fn shown(first: &[u8]) -> impl fmt::Display {
    first[..first.len().min(20)].escape_ascii()
}

fn serve((stream, first, remote): HttpCaller, node: &Shared, http: &mut JoinSet<()>) {
    // A connection that has no address of ours is no connection any more.
    let Ok(local) = stream.local_addr().map(canonical) else { return };
    let router = node.router.read().unwrap_or_else(PoisonError::into_inner).clone();
    let Some(router) = router else {
        return turned_away(remote, "it speaks HTTP, and nothing is served by that here");
    };
    http.spawn(http::serve(
        stream,
        first,
        Ends { remote, local },
        router,
        node.options.deadlines.handshake,
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_longest_undecided_has_to_go() {
        let (mut undecided, mut order) = (JoinSet::new(), VecDeque::new());
        for number in 0..5 {
            make_room(&undecided, &mut order, 3);
            let caller = undecided.spawn(async move {
                // The first one has decided before there are too many.
                if number > 0 {
                    std::future::pending::<()>().await;
                }
                number
            });
            order.push_back((caller, ([127, 0, 0, 1], 40_000 + number).into()));
            if number == 0 {
                assert_eq!(
                    timeout(PAUSE * 100, undecided.join_next()).await.unwrap().unwrap().unwrap(),
                    0
                );
            }
        }
        let ended = timeout(PAUSE * 100, undecided.join_next()).await.unwrap().unwrap();
        assert!(ended.unwrap_err().is_cancelled());
        assert_eq!((undecided.len(), order.len()), (3, 3));
        assert!(order.iter().all(|(caller, _)| !caller.is_finished()));
    }
}
