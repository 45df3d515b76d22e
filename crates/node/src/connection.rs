//! A connection in a swarm's hands: its two tasks, the way to its writer, its place among the
//! node's connections.

use std::{sync::Arc, time::Duration};

use socket2::SockRef;
use sow_engine::{ConnId, Dialect};
use sow_wire::bittorrent::message::MAX_CONTROL_LENGTH;
use tokio::{
    net::TcpStream,
    sync::OwnedSemaphorePermit,
    task::{AbortHandle, JoinSet},
    time::sleep,
};

use crate::{
    inbox::Inbox,
    intake::Intake,
    node::Shared,
    reader::Reader,
    sendfile::Sender,
    slabs::LARGEST_SLAB,
    writer::{MAX_QUEUED, Outbox, Outgoing, Speech, Writer},
};

/// The most memory that one connection takes, in bytes: what arrives, and what it does not take of
/// what we say. Blocks that a swarm keeps are counted there (`Config::open_bytes`), and letters
/// that wait are bounded in number.
pub const CONNECTION_MEMORY: usize = 2 * MAX_CONTROL_LENGTH as usize + LARGEST_SLAB + MAX_QUEUED;

/// How long a connection that we leave in good order has to take what waits for it.
pub(crate) const FAREWELL: Duration = Duration::from_secs(1);

/// An open connection. Dropped without more ado it ends at once, and what waits in it is lost.
#[derive(Debug)]
pub(crate) struct Connection {
    outbox: Option<Outbox>,
    reader: AbortHandle,
    writer: AbortHandle,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    /// Starts the two tasks of a connection. They end with it, and with `tasks`.
    pub(crate) fn open(
        conn: ConnId,
        stream: TcpStream,
        permit: OwnedSemaphorePermit,
        (speech, intake): (Speech, Intake),
        node: &Shared,
        inbox: &Inbox,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        // Without these two a connection is slower, and that is all.
        let _ = stream.set_nodelay(true);
        let _ = SockRef::from(&stream).set_keepalive(true);
        let (deadlines, acknowledges) =
            (node.options.deadlines, speech.dialect != Dialect::BitTorrent);
        let (half, write_half) = stream.into_split();
        let (inbox, down) = (inbox.clone(), Arc::clone(&node.down));
        let sender = Sender::new(write_half, Arc::clone(&node.up), deadlines.stall);
        let (outbox, writer): (Outbox, Writer) = Outbox::new(conn, speech, sender, inbox.clone());
        let reader =
            Reader { conn, half, intake, inbox, down, acknowledges, deadline: deadlines.message };
        Self {
            outbox: Some(outbox),
            reader: tasks.spawn(reader.run()),
            writer: tasks.spawn(writer.run()),
            _permit: permit,
        }
    }

    /// Queues something for the peer. False: the connection is of no more use.
    pub(crate) fn push(&self, outgoing: Outgoing) -> bool {
        self.outbox.as_ref().is_some_and(|outbox| outbox.push(outgoing))
    }

    /// Ends in good order: what waits is sent, then the end is said, then the peer's end is waited
    /// for. The tasks are to be given [`FAREWELL`] for that.
    pub(crate) fn leave(mut self) {
        self.outbox = None;
    }

    /// The same, with an end to it after [`FAREWELL`].
    pub(crate) fn leave_soon(mut self, tasks: &mut JoinSet<()>) {
        self.outbox = None;
        let (reader, writer) = (self.reader.clone(), self.writer.clone());
        tasks.spawn(async move {
            sleep(FAREWELL).await;
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
