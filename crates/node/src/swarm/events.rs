//! What the driver of a swarm handles: the events that connections, workers, dials and announces
//! send to it, and the queue that carries them. The queue is bounded, so a producer that is faster
//! than the engine waits. Nothing is handled here.

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
    connection::{block_reader::Received, codec::DecodeError},
    swarm::file_digest::DigestStep,
};

/// The capacity of the queue, in events. Each event holds at most one slab.
pub(crate) const QUEUE_CAPACITY: usize = 64;

/// The sending end of a swarm's event queue.
pub(crate) type EventSender = mpsc::Sender<DriverEvent>;

/// The queue of a new swarm.
pub(crate) fn event_queue() -> (EventSender, mpsc::Receiver<DriverEvent>) {
    mpsc::channel(QUEUE_CAPACITY)
}

/// One thing that happened, for the driver of a swarm. (The public `SwarmEvent` goes the other way:
/// it is what a swarm reports to its owner.)
#[derive(Debug)]
pub(crate) enum DriverEvent {
    /// A connection is open, and both handshakes are complete in dialects that have them.
    Connected(Box<NewConnection>),
    /// A dial failed.
    DialFailed(SocketAddr),
    /// A dial reached this node itself.
    DialedOurselves(SocketAddr),
    /// A peer sent these, in this order.
    Received(ConnId, Vec<Received>),
    /// Nothing more is read from a connection.
    ReadEnded(ConnId, CloseReason),
    /// The kernel has taken a whole block.
    BlockSent(ConnId, Block),
    /// A requested block could not be read from the store.
    BlockReadFailed(ConnId, Arc<StoreError>),
    /// A piece was verified, and written if it is right.
    PieceStored { piece: u32, verdict: StoreOutcome, error: Option<StoreError> },
    /// The digest of the content covers more of it, or could not be continued.
    DigestAdvanced(Box<DigestStep>),
    /// The store has synced its files.
    StoreSynced(Result<(), StoreError>),
    /// An announce has ended.
    Announced { url: String, reply: Result<AnnounceReply, AnnounceError> },
}

/// A connection that is ready for messages.
#[derive(Debug)]
pub(crate) struct NewConnection {
    pub(crate) stream: TcpStream,
    pub(crate) addr: SocketAddr,
    pub(crate) direction: Direction,
    /// The peer's handshake, or what stands for one.
    pub(crate) introduction: PeerHandshake,
    /// Bytes that were read already and belong to the peer's first message.
    pub(crate) first: Vec<u8>,
    /// Its share of the node's connection limit.
    pub(crate) permit: OwnedSemaphorePermit,
}

/// Why nothing more is read from a connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CloseReason {
    #[error("the peer closed the connection")]
    ClosedByPeer,
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Malformed(#[from] DecodeError),
    #[error("a message took too long to arrive")]
    MessageTimeout,
    #[error("the swarm has ended")]
    SwarmEnded,
}

impl CloseReason {
    /// What the peer did wrong; `None` when the connection merely ended.
    pub(crate) fn fault(&self) -> Option<DisconnectReason> {
        match self {
            Self::Malformed(error) => Some(DisconnectReason::Misbehaved(
                Misbehavior::MalformedMessage(error.to_string().into()),
            )),
            Self::MessageTimeout => Some(DisconnectReason::MessageTimeout),
            Self::ClosedByPeer | Self::Io(_) | Self::SwarmEnded => None,
        }
    }
}
