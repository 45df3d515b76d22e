//! One connection: its two tasks (`reader`, `writer`), the queue to its writer, and its share of
//! the node's connection limit. Bytes are received and cut into blocks in `block_reader`, and leave
//! in `writer` and `sendfile`. What the messages mean is the engine's.

pub(crate) mod block_reader;
pub(crate) mod codec;
pub(crate) mod liveness;
pub(crate) mod pace;
pub(crate) mod sendfile;
pub(crate) mod slab_pool;
pub(crate) mod writer;

mod read_budget;
mod reader;

use std::{net::SocketAddr, sync::Arc};

use sow_engine::{ConnId, Dialect};
use sow_wire::bittorrent::message::MAX_CONTROL_LENGTH;
use tokio::{
    net::TcpStream,
    sync::OwnedSemaphorePermit,
    task::{AbortHandle, JoinSet},
    time::sleep,
};

use self::{
    block_reader::BlockReader,
    codec::CodecLimits,
    liveness::probe_when_idle,
    read_budget::ReadBudget,
    reader::Reader,
    sendfile::PayloadSender,
    slab_pool::LARGEST_SLAB,
    writer::{CodecOptions, MAX_QUEUED_BYTES, Outbox, Outgoing},
};
use crate::{
    context::NodeContext, listener::canonical, options::CLOSE_TIMEOUT, swarm::events::EventSender,
};

/// The maximum memory of one connection, in bytes: what arrives, and the messages that the peer
/// does not take. Blocks that a swarm keeps are counted there (`Config::open_bytes`), and the
/// number of waiting events is bounded.
pub const CONNECTION_MEMORY: usize =
    2 * MAX_CONTROL_LENGTH as usize + LARGEST_SLAB + MAX_QUEUED_BYTES;

/// An open connection. Dropping it ends it at once, and what waits in it is lost.
#[derive(Debug)]
pub(crate) struct Connection {
    outbox: Option<Outbox>,
    reader: AbortHandle,
    writer: AbortHandle,
    /// The address at this end; `None` when the connection was over before it was asked for.
    local: Option<SocketAddr>,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    /// Starts the two tasks of a connection in `tasks`.
    pub(crate) fn open(
        conn: ConnId,
        stream: TcpStream,
        permit: OwnedSemaphorePermit,
        (codec, blocks, limits): (CodecOptions, BlockReader, CodecLimits),
        node: &NodeContext,
        events: &EventSender,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        // If this option cannot be set, the connection is slower, and no more.
        let _ = stream.set_nodelay(true);
        probe_when_idle(&stream);
        let local = stream.local_addr().ok().map(canonical);
        let timeouts = node.options.timeouts;
        let quick_ack = codec.dialect != Dialect::BitTorrent;
        let (half, write_half) = stream.into_split();
        let sender = PayloadSender::new(write_half, Arc::clone(&node.upload_limit), timeouts.stall);
        let (outbox, writer) = Outbox::new(conn, codec, sender, events.clone());
        let reader = Reader {
            conn,
            half,
            blocks,
            budget: ReadBudget::new(codec.dialect, limits, writer.earned(), node.clock),
            events: events.clone(),
            download_limit: Arc::clone(&node.download_limit),
            quick_ack,
            message_timeout: timeouts.message,
        };
        Self {
            outbox: Some(outbox),
            reader: tasks.spawn(reader.run()),
            writer: tasks.spawn(writer.run()),
            local,
            _permit: permit,
        }
    }

    /// The address at this end.
    pub(crate) fn local(&self) -> Option<SocketAddr> {
        self.local
    }

    /// Queues a message or a block for the peer. False: the queue is full or closed, and the
    /// connection is of no more use.
    pub(crate) fn push(&self, outgoing: Outgoing) -> bool {
        self.outbox.as_ref().is_some_and(|outbox| outbox.push(outgoing))
    }

    /// Closes the connection in good order: the tasks send the messages that wait, shut down the
    /// sending half, and wait for the peer to do the same. The owner of the tasks aborts them after
    /// [`CLOSE_TIMEOUT`].
    pub(crate) fn close(mut self) {
        self.outbox = None;
    }

    /// Like [`Self::close`], and aborts the tasks itself after [`CLOSE_TIMEOUT`].
    pub(crate) fn close_within_timeout(mut self, tasks: &mut JoinSet<()>) {
        self.outbox = None;
        let (reader, writer) = (self.reader.clone(), self.writer.clone());
        tasks.spawn(async move {
            sleep(CLOSE_TIMEOUT).await;
            reader.abort();
            writer.abort();
        });
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.outbox.is_some() {
            self.reader.abort();
            self.writer.abort();
        }
    }
}
