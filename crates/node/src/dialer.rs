//! Dials a peer for a swarm: the connection, and the handshakes in dialects that have them. Which
//! peer is dialed, and when again, is the engine's decision.

use std::{io, net::SocketAddr};

use sow_content::InfoHash;
use sow_engine::{Dialect, Direction, PeerHandshake};
use tokio::{net::TcpStream, time::timeout};

use crate::{
    context::NodeContext,
    handshake::{HandshakeError, initiate},
    listener::canonical,
    outbound::connect,
    swarm::events::{DriverEvent, EventSender, NewConnection},
};

/// Why a dial failed.
#[derive(Debug, thiserror::Error)]
enum DialError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    #[error("this node is not in the swarm {0} any more")]
    UnknownSwarm(InfoHash),
    #[error("the address is this node's own")]
    Ourselves,
    #[error("the connection and the handshake took too long")]
    Timeout,
    #[error("the connection limit is reached")]
    ConnectionLimit,
}

/// Dials a peer and sends the result as an event.
pub(crate) async fn dial(
    node: &NodeContext,
    addr: SocketAddr,
    dialect: Dialect,
    info_hash: InfoHash,
    events: EventSender,
) {
    let event = match open(node, addr, dialect, info_hash).await {
        Ok(connection) => DriverEvent::Connected(Box::new(connection)),
        Err(DialError::Ourselves) => DriverEvent::DialedOurselves(addr),
        Err(error) => {
            tracing::debug!(%addr, %error, "a dial failed");
            DriverEvent::DialFailed(addr)
        }
    };
    // A swarm that has ended needs no result.
    let _ = events.send(event).await;
}

async fn open(
    node: &NodeContext,
    addr: SocketAddr,
    dialect: Dialect,
    info_hash: InfoHash,
) -> Result<NewConnection, DialError> {
    // The semaphore is never closed.
    let _half_open = node.half_open.acquire().await;
    let permit = node.connection_permit().ok_or(DialError::ConnectionLimit)?;
    let opening = connect_and_greet(node, addr, dialect, info_hash);
    let (stream, introduction) = timeout(node.options.timeouts.handshake, opening)
        .await
        .map_err(|_| DialError::Timeout)??;
    Ok(NewConnection {
        stream,
        addr,
        direction: Direction::Dialed,
        introduction,
        first: Vec::new(),
        permit,
    })
}

async fn connect_and_greet(
    node: &NodeContext,
    addr: SocketAddr,
    dialect: Dialect,
    info_hash: InfoHash,
) -> Result<(TcpStream, PeerHandshake), DialError> {
    let mut stream = connect(addr, node.options.bind).await?;
    let local = canonical(stream.local_addr()?).ip();
    let introduction = match dialect {
        Dialect::BitTorrent => {
            let route = node.route(info_hash).ok_or(DialError::UnknownSwarm(info_hash))?;
            PeerHandshake::BitTorrent(initiate(&mut stream, &route.handshake).await?)
        }
        // These dialects have no peer ids. But a node that dials itself does so from the address
        // that it dials.
        _ if local == addr.ip() && addr.port() == node.port => return Err(DialError::Ourselves),
        Dialect::Chunk => PeerHandshake::Chunk { local },
        Dialect::JsonTorrent => PeerHandshake::JsonTorrent { local },
    };
    Ok((stream, introduction))
}
