//! What reaches the task that owns an engine: from its connections, its workers and its dials. One
//! bounded queue, so that whoever produces faster than the engine decides has to wait.

use std::{net::SocketAddr, sync::Arc};

use sow_content::Block;
use sow_engine::{
    AnnounceError, AnnounceReply, ConnId, Direction, DisconnectReason, Misbehavior, PeerHandshake,
    StoreOutcome,
};
use sow_store::StoreError;
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, mpsc},
};

use crate::{
    intake::{IntakeError, Received},
    whole_digest::Digested,
};

/// How many letters may wait. Each holds at most one slab.
const CAPACITY: usize = 64;

/// Where letters to a swarm's task are put.
pub(crate) type Inbox = mpsc::Sender<Letter>;

/// The queue of a new swarm.
pub(crate) fn inbox() -> (Inbox, mpsc::Receiver<Letter>) {
    mpsc::channel(CAPACITY)
}

/// One thing that happened.
#[derive(Debug)]
pub(crate) enum Letter {
    /// A connection is open, and both handshakes are through where there are any.
    Connected(Box<Connected>),
    /// A dial came to nothing.
    DialFailed(SocketAddr),
    /// A dial reached this node.
    DialedOurselves(SocketAddr),
    /// A peer sent these, in this order.
    Received(ConnId, Vec<Received>),
    /// Nothing more comes from a peer.
    Closed(ConnId, Ending),
    /// A block is with the kernel, whole.
    BlockSent(ConnId, Block),
    /// What a peer asked for could not be read.
    Unreadable(ConnId, Arc<StoreError>),
    /// A piece was checked, and written if it is right.
    Stored { piece: u32, verdict: StoreOutcome, error: Option<StoreError> },
    /// More of the content was summed up.
    Digested(Box<Digested>),
    /// The store has waited for the disk.
    Synced(Result<(), StoreError>),
    /// A tracker answered, or did not.
    Announced { url: String, reply: Result<AnnounceReply, AnnounceError> },
}

/// A connection that is ready for messages.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) stream: TcpStream,
    pub(crate) addr: SocketAddr,
    pub(crate) direction: Direction,
    /// How it began.
    pub(crate) introduction: PeerHandshake,
    /// What was read of it already, and is to be understood by the swarm.
    pub(crate) first: Vec<u8>,
    /// Its place among the node's connections.
    pub(crate) permit: OwnedSemaphorePermit,
}

/// Why nothing more comes from a peer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ending {
    #[error("it closed the connection")]
    Closed,
    #[error("{0}")]
    Failed(#[from] std::io::Error),
    #[error("{0}")]
    Wire(#[from] IntakeError),
    #[error("a message took too long to arrive")]
    Trickle,
    #[error("the swarm has ended")]
    NobodyListens,
}

impl Ending {
    /// What the peer did wrong; `None` when it has left.
    pub(crate) fn fault(&self) -> Option<DisconnectReason> {
        match self {
            Self::Wire(error) => Some(DisconnectReason::Misbehaved(Misbehavior::MalformedMessage(
                error.to_string().into(),
            ))),
            Self::Trickle => Some(DisconnectReason::MessageTimeout),
            Self::Closed | Self::Failed(_) | Self::NobodyListens => None,
        }
    }
}
