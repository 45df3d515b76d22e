//! The receiving half of a connection: a task that reads as much as there is at a time and sends it
//! to the driver in batches. How bytes are cut into messages and blocks is in `block_reader`.
//!
//! Memory of one connection: at most [`LARGEST_SLAB`] bytes for what arrives (a single control
//! message may take [`MAX_CONTROL_LENGTH`](sow_wire::bittorrent::message::MAX_CONTROL_LENGTH)
//! instead, and a dialect without blocks holds one piece), the smallest slab while the connection
//! is slow, and nothing after a few idle seconds.

use std::{io, sync::Arc, time::Duration};

use bytes::BufMut;
use socket2::SockRef;
use sow_engine::ConnId;
use tokio::{
    io::AsyncReadExt,
    net::{TcpStream, tcp::OwnedReadHalf},
    task::yield_now,
    time::{Instant, MissedTickBehavior, interval_at, sleep, timeout},
};

use super::{block_reader::BlockReader, read_budget::ReadBudget, slab_pool::LARGEST_SLAB};
use crate::{
    options::CLOSE_TIMEOUT,
    swarm::events::{CloseReason, DriverEvent, EventSender},
    throttle::Throttle,
};

/// A connection on which nothing arrives for this long releases its slab.
const IDLE_TIMEOUT: Duration = Duration::from_secs(2);

/// How many bytes are read before other tasks run on the thread: the driver should handle them
/// while they are in the cache.
const BYTES_PER_TURN: usize = 2 * LARGEST_SLAB;

/// The size of the buffer for bytes that are discarded.
const DISCARD_BUFFER: usize = 16 * 1024;

/// The receiving half of a connection.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) conn: ConnId,
    pub(super) half: OwnedReadHalf,
    pub(super) blocks: BlockReader,
    pub(super) budget: ReadBudget,
    pub(super) events: EventSender,
    pub(super) download_limit: Arc<Throttle>,
    /// Acknowledge received bytes at once. Small programs send in small parts, and wait for the
    /// acknowledgement before the last one.
    pub(super) quick_ack: bool,
    /// The time limit for one message, from its first byte to its last.
    pub(super) message_timeout: Duration,
}

/// What reading all that the socket holds has come to.
struct Drained {
    /// The peer has not closed the connection.
    is_open: bool,
    /// At least one message or block was completed.
    has_completed: bool,
}

impl Reader {
    /// Reads until the connection ends. The last event says why it ended.
    pub(super) async fn run(mut self) {
        let reason = match self.receive().await {
            Ok(()) => CloseReason::ClosedByPeer,
            Err(reason) => reason,
        };
        let may_be_answered = reason.fault().is_some();
        // A swarm that has ended needs no event.
        let _ = self.events.send(DriverEvent::ReadEnded(self.conn, reason)).await;
        if may_be_answered {
            let _ = timeout(CLOSE_TIMEOUT, self.discard_rest()).await;
        }
    }

    /// Reads and discards bytes until the peer closes the connection. A connection that is closed
    /// with unread bytes is reset, and the peer may lose the last message sent to it.
    async fn discard_rest(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; DISCARD_BUFFER];
        loop {
            let granted = self.download_limit.take(buffer.len()).await;
            let read = self.half.read(&mut buffer[..granted]).await?;
            self.download_limit.give_back(granted - read);
            if read == 0 {
                return Ok(());
            }
        }
    }

    async fn receive(&mut self) -> Result<(), CloseReason> {
        let mut idle_check = interval_at(Instant::now() + IDLE_TIMEOUT, IDLE_TIMEOUT);
        idle_check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut has_received = false;
        let mut incomplete_since = None;
        // Bytes that were read before this task began.
        self.deliver().await?;
        loop {
            tokio::select! {
                biased;
                ready = self.half.readable() => {
                    ready?;
                    has_received = true;
                    let Drained { is_open, has_completed } = self.drain_socket().await?;
                    if !is_open {
                        return Ok(());
                    }
                    if has_completed || !self.blocks.is_mid_message() {
                        incomplete_since = None;
                    }
                }
                _ = idle_check.tick() => {
                    if !std::mem::take(&mut has_received) {
                        self.blocks.release_idle_slab();
                    }
                    let since = *incomplete_since.get_or_insert_with(Instant::now);
                    let limit = self.message_timeout + self.blocks.extra_block_time();
                    if !self.blocks.is_mid_message() {
                        incomplete_since = None;
                    } else if since.elapsed() > limit {
                        return Err(CloseReason::MessageTimeout);
                    }
                }
            }
        }
    }

    /// Reads what the socket holds.
    async fn drain_socket(&mut self) -> Result<Drained, CloseReason> {
        let (mut has_completed, mut bytes_this_turn) = (false, 0);
        loop {
            let buffer = self.blocks.buffer();
            let room = buffer.capacity() - buffer.len();
            let granted = self.download_limit.take(room).await;
            let read = self.half.read_buf(&mut buffer.limit(granted)).await?;
            self.download_limit.give_back(granted - read);
            if read == 0 {
                return Ok(Drained { is_open: false, has_completed });
            }
            if self.quick_ack {
                // If the option cannot be set, the connection is slower, and no more.
                let _ =
                    SockRef::from(AsRef::<TcpStream>::as_ref(&self.half)).set_tcp_quickack(true);
            }
            has_completed |= self.deliver().await?;
            // A short read has emptied the socket. The runtime knows that too.
            if read < granted {
                return Ok(Drained { is_open: true, has_completed });
            }
            bytes_this_turn += read;
            if bytes_this_turn >= BYTES_PER_TURN {
                bytes_this_turn = 0;
                yield_now().await;
            }
        }
    }

    /// Decodes what was read and sends it to the driver. Returns whether anything was completed.
    /// A peer that floods is read more slowly: what it sends then waits in the sockets.
    async fn deliver(&mut self) -> Result<bool, CloseReason> {
        let mut has_completed = false;
        loop {
            let mut batch = Vec::new();
            let decoded = self.blocks.decode(&mut batch);
            if !batch.is_empty() {
                has_completed = true;
                let delay = self.budget.charge(&batch);
                let event = DriverEvent::Received(self.conn, batch);
                self.events.send(event).await.map_err(|_| CloseReason::SwarmEnded)?;
                if let Some(delay) = delay {
                    sleep(delay).await;
                }
            }
            if !decoded? {
                return Ok(has_completed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use sow_engine::{Dialect, Direction};
    use sow_wire::bittorrent::{BlockRequest, Message, message::block_head};
    use tokio::{
        io::AsyncWriteExt,
        net::{TcpListener, TcpStream},
        sync::mpsc,
    };

    use super::*;
    use crate::{
        clock::Clock,
        connection::{
            block_reader::Received,
            codec::{CodecLimits, Decoder},
            read_budget::EarnedUnits,
            slab_pool::SlabPool,
        },
        swarm::events::event_queue,
    };

    const TEST_TIMEOUT: Duration = Duration::from_secs(20);

    async fn reader(
        bytes_per_second: Option<u64>,
        message_timeout: Duration,
    ) -> (TcpStream, mpsc::Receiver<DriverEvent>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (half, write) = listener.accept().await.unwrap().0.into_split();
        let (events, receiver) = event_queue();
        let limits = CodecLimits::new(128 * 1024, None);
        let decoder = Decoder::new(Dialect::BitTorrent, Direction::Accepted, &limits);
        let earned = EarnedUnits::default();
        let reader = Reader {
            budget: ReadBudget::new(Dialect::BitTorrent, limits, earned, Clock::new()),
            conn: ConnId(1),
            half,
            blocks: BlockReader::new(decoder, &[], Arc::new(SlabPool::default())),
            events,
            download_limit: Arc::new(Throttle::new(bytes_per_second)),
            quick_ack: false,
            message_timeout,
        };
        tokio::spawn(async move {
            reader.run().await;
            drop(write);
        });
        (peer, receiver)
    }

    async fn next(events: &mut mpsc::Receiver<DriverEvent>) -> DriverEvent {
        timeout(TEST_TIMEOUT, events.recv()).await.expect("an event in time").expect("an event")
    }

    #[tokio::test]
    async fn blocks_and_messages_are_delivered_in_order() {
        let (mut peer, mut events) = reader(None, TEST_TIMEOUT).await;
        let request = BlockRequest { piece: 4, offset: 0, length: 100_000 };
        let sending = tokio::spawn(async move {
            for _ in 0..50 {
                peer.write_all(&block_head(request)).await.unwrap();
                peer.write_all(&[9; 100_000]).await.unwrap();
                peer.write_all(&[0, 0, 0, 1, 1]).await.unwrap();
            }
        });
        let mut all = Vec::new();
        let reason = loop {
            match next(&mut events).await {
                DriverEvent::Received(ConnId(1), batch) => all.extend(batch),
                DriverEvent::ReadEnded(_, reason) => break reason,
                other => panic!("{other:?}"),
            }
        };
        sending.await.unwrap();
        assert!(matches!(reason, CloseReason::ClosedByPeer));
        assert_eq!(all.len(), 100);
        for pair in all.chunks(2) {
            let Received::Block(got, payload) = &pair[0] else { panic!("{:?}", pair[0]) };
            assert_eq!((*got, payload.concat()), (request, vec![9; 100_000]));
            assert_eq!(pair[1], Received::Message(Message::Unchoke.into()));
        }
    }

    #[tokio::test]
    async fn garbage_ends_the_connection() {
        let (mut peer, mut events) = reader(None, TEST_TIMEOUT).await;
        peer.write_all(&[0xff; 64]).await.unwrap();
        let event = next(&mut events).await;
        assert!(matches!(event, DriverEvent::ReadEnded(_, CloseReason::Malformed(_))), "{event:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_never_ends_ends_the_connection() {
        let (mut peer, mut events) = reader(None, Duration::from_secs(1)).await;
        // A complete message is delivered. Bytes that trickle in do not extend the time limit.
        peer.write_all(&[0, 0, 0, 0, 0]).await.unwrap();
        let event = events.recv().await.expect("the keep-alive");
        assert!(matches!(event, DriverEvent::Received(..)), "{event:?}");
        tokio::spawn(async move {
            let request = BlockRequest { piece: 0, offset: 0, length: 16384 };
            for byte in &block_head(request)[1..] {
                sleep(Duration::from_millis(600)).await;
                if peer.write_all(&[*byte]).await.is_err() {
                    return;
                }
            }
            std::future::pending::<()>().await;
        });
        let event = events.recv().await.expect("the end");
        let timed_out = matches!(event, DriverEvent::ReadEnded(_, CloseReason::MessageTimeout));
        assert!(timed_out, "{event:?}");
    }

    #[tokio::test]
    async fn the_download_limit_is_kept() {
        let (mut peer, mut events) = reader(Some(4_000_000), TEST_TIMEOUT).await;
        let start = Instant::now();
        tokio::spawn(async move {
            let request = BlockRequest { piece: 0, offset: 0, length: 100_000 };
            for _ in 0..20 {
                peer.write_all(&block_head(request)).await.unwrap();
                peer.write_all(&[9; 100_000]).await.unwrap();
            }
        });
        while !matches!(next(&mut events).await, DriverEvent::ReadEnded(..)) {}
        // That no more is lost to the limit than necessary is tested in `throttle`.
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(440), "2 MB at 4 MB/s took {took:?}");
    }
}
