//! The sending half of a connection: a task that sends messages many at a time and blocks one at a
//! time. The bytes of a block leave through `sendfile`.
//!
//! Messages overtake blocks that have not begun, because news must not wait behind payload. A choke
//! and the messages after it do not, because a choke is about the blocks before it.
//!
//! Memory of one connection: at most [`MAX_QUEUED_BYTES`] for messages that the peer does not take.
//! A peer that exceeds it is disconnected. Blocks wait as numbers.

use std::{
    collections::VecDeque,
    io,
    ops::RangeInclusive,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::BytesMut;
use socket2::SockRef;
use sow_content::Block;
use sow_engine::{ConnId, Dialect, Message};
use sow_store::{Store, StoreError, StoreErrorKind};
use sow_wire::{bittorrent, chunk::Spelling};
use tokio::{sync::mpsc, time::Instant};

use super::{
    codec::{body_size, encode, encode_block_header},
    read_budget::EarnedUnits,
    sendfile::{PayloadSender, SentBlock},
};
use crate::swarm::events::{DriverEvent, EventSender};

/// The maximum size of the messages that wait for a peer, in bytes: the largest bitfield and much
/// more.
pub(crate) const MAX_QUEUED_BYTES: usize = 4 << 20;

/// The memory of a waiting message besides its body, in bytes.
const MESSAGE_OVERHEAD: usize = 64;

/// The maximum number of messages and blocks that are taken from the queue at a time.
const MAX_BATCH: usize = 256;

/// The limits of what the kernel may hold unsent (TCP_NOTSENT_LOWAT), in bytes. Between them it is
/// what the connection sends in [`UNSENT_TIME`]. Messages cannot overtake what the kernel holds,
/// but with less the writer wakes up more often.
const UNSENT_RANGE: RangeInclusive<u32> = 16 * 1024..=512 * 1024;

/// See [`UNSENT_RANGE`].
const UNSENT_TIME: Duration = Duration::from_millis(5);

/// What the kernel may hold unsent before the rate is known, in bytes.
const INITIAL_UNSENT: u32 = 32 * 1024;

/// The time over which the rate is measured.
const RATE_WINDOW: Duration = Duration::from_millis(50);

/// Something to send.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Message(Message),
    Block(Block, Arc<Store>),
}

/// How messages and block headers are encoded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CodecOptions {
    pub(crate) dialect: Dialect,
    pub(crate) spelling: Spelling,
}

/// The queue to a connection's writer. When it is dropped, the writer sends the waiting messages
/// and ends.
#[derive(Debug)]
pub(crate) struct Outbox {
    queue: mpsc::UnboundedSender<Outgoing>,
    queued_bytes: Arc<AtomicUsize>,
}

/// The sending half of a connection.
#[derive(Debug)]
pub(crate) struct Writer {
    conn: ConnId,
    codec: CodecOptions,
    sender: PayloadSender,
    events: EventSender,
    queue: mpsc::UnboundedReceiver<Outgoing>,
    queued_bytes: Arc<AtomicUsize>,
    payload: Payload,
    /// What the blocks that were sent are worth to the reader.
    earned: EarnedUnits,
    /// Encoded messages that are sent next.
    messages: BytesMut,
    /// Blocks, and messages that must not overtake them.
    waiting: VecDeque<Outgoing>,
    /// What the kernel may hold unsent, in bytes.
    unsent_limit: u32,
    /// The payload sent since `measured_since`, in bytes.
    measured_bytes: u64,
    measured_since: Instant,
}

enum SendError {
    Io(io::Error),
    Store(StoreError),
}

/// Whether payload can still be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Payload {
    Served,
    /// A file is no longer what it was. Messages are still sent: one says so to the peer.
    Lost,
}

impl Outbox {
    /// A writer for `sender`, and the queue to it.
    pub(crate) fn new(
        conn: ConnId,
        codec: CodecOptions,
        sender: PayloadSender,
        events: EventSender,
    ) -> (Self, Writer) {
        let (queue_sender, queue) = mpsc::unbounded_channel();
        let queued_bytes = Arc::new(AtomicUsize::new(0));
        let outbox = Self { queue: queue_sender, queued_bytes: Arc::clone(&queued_bytes) };
        let writer = Writer {
            conn,
            codec,
            sender,
            events,
            queue,
            queued_bytes,
            payload: Payload::Served,
            earned: EarnedUnits::default(),
            messages: BytesMut::new(),
            waiting: VecDeque::new(),
            unsent_limit: 0,
            measured_bytes: 0,
            measured_since: Instant::now(),
        };
        (outbox, writer)
    }

    /// Queues a message or a block. False: the peer takes too little or is gone, and the connection
    /// is of no more use.
    pub(crate) fn push(&self, outgoing: Outgoing) -> bool {
        let cost = cost_of(&outgoing);
        let queued = self.queued_bytes.fetch_add(cost, Ordering::Relaxed) + cost;
        queued <= MAX_QUEUED_BYTES && self.queue.send(outgoing).is_ok()
    }
}

impl Writer {
    /// What the blocks that it sends earn for the reader of the connection.
    pub(crate) fn earned(&self) -> EarnedUnits {
        self.earned.clone()
    }

    /// Sends until the outbox is dropped or the connection fails.
    pub(crate) async fn run(mut self) {
        match self.send_all().await {
            Ok(()) => self.sender.finish(),
            Err(error) => {
                self.sender.abort();
                match error {
                    SendError::Store(error) => self.report_read_failure(error).await,
                    SendError::Io(error) => {
                        tracing::debug!(conn = %self.conn, %error, "cannot send to a peer")
                    }
                }
            }
        }
    }

    async fn report_read_failure(&self, error: StoreError) {
        let event = DriverEvent::BlockReadFailed(self.conn, Arc::new(error));
        // A swarm that has ended needs no event.
        let _ = self.events.send(event).await;
    }

    async fn send_all(&mut self) -> Result<(), SendError> {
        self.set_unsent_limit(INITIAL_UNSENT);
        let mut batch = Vec::new();
        loop {
            let is_open = self.collect(&mut batch).await;
            batch.drain(..).for_each(|outgoing| self.schedule(outgoing));
            if !is_open {
                // Blocks that have not begun are not sent any more.
                self.flush().await?;
                return Ok(());
            }
            match self.waiting.pop_front() {
                Some(Outgoing::Block(..)) if self.payload == Payload::Lost => {}
                Some(Outgoing::Block(block, store)) => self.send_block(block, &store).await?,
                Some(Outgoing::Message(message)) => {
                    encode(&message, self.codec.spelling, &mut self.messages);
                    self.release_messages();
                }
                None => self.flush().await?,
            }
        }
    }

    /// Takes what is in the queue, and waits for it if there is nothing else to do. False: the
    /// queue is empty and closed.
    async fn collect(&mut self, batch: &mut Vec<Outgoing>) -> bool {
        if self.waiting.is_empty() && self.messages.is_empty() {
            return self.queue.recv_many(batch, MAX_BATCH).await > 0;
        }
        loop {
            match self.queue.try_recv() {
                Ok(outgoing) if batch.len() < MAX_BATCH => batch.push(outgoing),
                Ok(outgoing) => {
                    batch.push(outgoing);
                    return true;
                }
                Err(mpsc::error::TryRecvError::Empty) => return true,
                Err(mpsc::error::TryRecvError::Disconnected) => return !batch.is_empty(),
            }
        }
    }

    /// Puts a block behind what waits, and a message before it unless a choke waits there too.
    fn schedule(&mut self, outgoing: Outgoing) {
        self.queued_bytes.fetch_sub(cost_of(&outgoing), Ordering::Relaxed);
        match outgoing {
            Outgoing::Block(block, store) => {
                if self.sender.is_cold() {
                    // The peer will most likely request the rest of the piece too.
                    let start = store.geometry().range_of_block(block).start;
                    store.prefetch(start..store.geometry().range_of(block.piece).end);
                }
                self.waiting.push_back(Outgoing::Block(block, store));
            }
            Outgoing::Message(message) => {
                let is_behind_choke =
                    self.waiting.iter().any(|waiting| matches!(waiting, Outgoing::Message(_)));
                let is_choke = message == Message::BitTorrent(bittorrent::Message::Choke)
                    && !self.waiting.is_empty();
                if is_behind_choke || is_choke {
                    self.waiting.push_back(Outgoing::Message(message));
                } else {
                    encode(&message, self.codec.spelling, &mut self.messages);
                }
            }
        }
    }

    /// After a choke, encodes the messages behind it, up to the next block.
    fn release_messages(&mut self) {
        while let Some(Outgoing::Message(message)) = self.waiting.front() {
            encode(message, self.codec.spelling, &mut self.messages);
            self.waiting.pop_front();
        }
    }

    async fn flush(&mut self) -> Result<(), SendError> {
        if !self.messages.is_empty() {
            let messages = self.messages.split();
            self.sender.send(&messages, false).await?;
        }
        Ok(())
    }

    async fn send_block(&mut self, block: Block, store: &Store) -> Result<(), SendError> {
        let segments = match store.segments(store.geometry().range_of_block(block)) {
            Ok(segments) => segments,
            Err(error) if is_content_lost(&error) => return self.on_payload_lost(error).await,
            Err(error) => return Err(SendError::Store(error)),
        };
        if self.sender.is_limited() {
            self.flush().await?;
        }
        encode_block_header(self.codec.dialect, block, store.geometry(), &mut self.messages);
        let head = self.messages.split();
        if let SentBlock::CutShort { missing } = self.sender.send_block(&head, segments).await? {
            self.sender.send_zeros(missing).await?;
            return self.on_payload_lost(cut_short(block, store)).await;
        }
        self.earned.on_block(self.codec.dialect, block.length);
        self.adapt_unsent_limit(block.length);
        // A swarm that has ended needs no event.
        let _ = self.events.send(DriverEvent::BlockSent(self.conn, block)).await;
        Ok(())
    }

    /// The content is not what it was: no more of it is sent, and the swarm decides what follows.
    async fn on_payload_lost(&mut self, error: StoreError) -> Result<(), SendError> {
        self.payload = Payload::Lost;
        self.report_read_failure(error).await;
        Ok(())
    }

    /// Chooses how much the kernel may hold unsent, by the rate of the last window.
    fn adapt_unsent_limit(&mut self, sent: u32) {
        self.measured_bytes += u64::from(sent);
        let time = self.measured_since.elapsed();
        if time >= RATE_WINDOW {
            let (min, max) = (*UNSENT_RANGE.start(), *UNSENT_RANGE.end());
            let rate = self.measured_bytes as f64 / time.as_secs_f64();
            let wanted = (rate * UNSENT_TIME.as_secs_f64()).min(f64::from(max)) as u32;
            self.set_unsent_limit(wanted.next_power_of_two().clamp(min, max));
            self.measured_bytes = 0;
            self.measured_since = Instant::now();
        }
    }

    fn set_unsent_limit(&mut self, bytes: u32) {
        if self.unsent_limit != bytes {
            self.unsent_limit = bytes;
            // If the option cannot be set, the kernel's queue is longer, and no more.
            let _ = SockRef::from(self.sender.stream()).set_tcp_notsent_lowat(bytes);
        }
    }
}

impl From<io::Error> for SendError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Whether an error says that a file is no longer what it was when it was hashed.
pub(crate) fn is_content_lost(error: &StoreError) -> bool {
    matches!(error.kind(), StoreErrorKind::Changed | StoreErrorKind::Missing)
}

/// The error of a file that ends before the end of a block: another attempt names the file.
fn cut_short(block: Block, store: &Store) -> StoreError {
    let range = store.geometry().range_of_block(block);
    let mut bytes = vec![0; block.length as usize];
    let expected = store.geometry().total();
    store
        .read(range, &mut bytes)
        .err()
        .unwrap_or(StoreError::Changed { path: PathBuf::from("the content"), expected })
}

fn cost_of(outgoing: &Outgoing) -> usize {
    MESSAGE_OVERHEAD
        + match outgoing {
            Outgoing::Message(message) => body_size(message),
            Outgoing::Block(..) => 0,
        }
}

#[cfg(test)]
mod tests {
    use sow_content::Geometry;
    use sow_store::MemoryStore;
    use sow_wire::bittorrent::{Decoded, Decoder, Message};
    use tokio::{
        io::AsyncReadExt,
        net::{TcpListener, TcpStream, tcp::OwnedReadHalf},
        time::timeout,
    };

    use super::*;
    use crate::{swarm::events::event_queue, throttle::Throttle};

    const TEST_TIMEOUT: Duration = Duration::from_secs(20);
    const CODEC: CodecOptions =
        CodecOptions { dialect: Dialect::BitTorrent, spelling: Spelling::Documented };

    struct Pair {
        outbox: Outbox,
        writer: Writer,
        receiver: mpsc::Receiver<DriverEvent>,
        peer: TcpStream,
        /// The connection closes when this is dropped.
        _other_half: OwnedReadHalf,
    }

    async fn pair(up: Option<u64>, stall: Duration) -> Pair {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (other_half, half) = listener.accept().await.unwrap().0.into_split();
        let (events, receiver) = event_queue();
        let sender = PayloadSender::new(half, Arc::new(Throttle::new(up)), stall);
        let (outbox, writer) = Outbox::new(ConnId(1), CODEC, sender, events);
        Pair { outbox, writer, receiver, peer, _other_half: other_half }
    }

    fn store() -> Arc<Store> {
        let store = Store::from(MemoryStore::new(Geometry::new(1 << 20, 1 << 20).unwrap()));
        let bytes: Vec<u8> = (0..1u32 << 20).map(|at| (at >> 14) as u8).collect();
        store.write_piece(0, &[bytes.into()]).unwrap();
        Arc::new(store)
    }

    fn block(number: u32) -> Block {
        Block { piece: 0, offset: number << 14, length: 1 << 14 }
    }

    /// What arrives until the end. Blocks are shown by their number, and their bytes are checked.
    async fn arrivals(mut peer: TcpStream) -> Vec<Result<Message, u32>> {
        let (mut bytes, mut arrived) = (BytesMut::new(), Vec::new());
        let reading = async { while peer.read_buf(&mut bytes).await.unwrap() > 0 {} };
        timeout(TEST_TIMEOUT, reading).await.unwrap();
        let mut decoder = Decoder::new(1 << 14);
        while let Some(decoded) = decoder.decode(&mut bytes).unwrap() {
            arrived.push(match decoded {
                Decoded::Message(message) => Ok(message),
                Decoded::Block(head) => {
                    let (payload, number) =
                        (bytes.split_to(head.length as usize), head.offset >> 14);
                    assert!(payload.iter().all(|byte| u32::from(*byte) == number));
                    Err(number)
                }
            });
        }
        assert!(bytes.is_empty());
        arrived
    }

    #[tokio::test]
    async fn messages_overtake_blocks_but_a_choke_stays_behind_them() {
        let Pair { outbox, writer, mut receiver, peer, .. } = pair(None, TEST_TIMEOUT).await;
        let store = store();
        let push = |outgoing| assert!(outbox.push(outgoing));
        let message = |message: bittorrent::Message| push(Outgoing::Message(message.into()));
        message(Message::HaveNone);
        push(Outgoing::Block(block(1), Arc::clone(&store)));
        push(Outgoing::Block(block(2), Arc::clone(&store)));
        message(Message::Have(7));
        message(Message::Choke);
        message(Message::Unchoke);
        push(Outgoing::Block(block(3), Arc::clone(&store)));
        let writing = tokio::spawn(writer.run());
        for number in 1..=3 {
            let event = timeout(TEST_TIMEOUT, receiver.recv()).await.unwrap();
            assert!(
                matches!(event, Some(DriverEvent::BlockSent(_, sent)) if sent == block(number)),
                "{event:?}"
            );
        }
        drop(outbox);
        let (choke, unchoke) = (Ok(Message::Choke), Ok(Message::Unchoke));
        let want =
            [Ok(Message::HaveNone), Ok(Message::Have(7)), Err(1), Err(2), choke, unchoke, Err(3)];
        assert_eq!(arrivals(peer).await, want);
        timeout(TEST_TIMEOUT, writing).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn messages_that_wait_are_sent_before_the_end_and_blocks_are_not() {
        let Pair { outbox, writer, peer, .. } = pair(None, TEST_TIMEOUT).await;
        outbox.push(Outgoing::Block(block(1), store()));
        outbox.push(Outgoing::Message(Message::Have(7).into()));
        drop(outbox);
        let writing = tokio::spawn(writer.run());
        let arrived = arrivals(peer).await;
        assert_eq!(arrived[0], Ok(Message::Have(7)));
        assert!(arrived.len() <= 2);
        timeout(TEST_TIMEOUT, writing).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_peer_that_takes_nothing_fills_its_own_queue_alone() {
        let Pair { outbox, writer, peer, .. } = pair(None, TEST_TIMEOUT).await;
        let message = Message::Extended { id: 1, payload: vec![0; 16384].into() };
        let pushed = (0..1000)
            .take_while(|_| outbox.push(Outgoing::Message(message.clone().into())))
            .count();
        assert_eq!(pushed, MAX_QUEUED_BYTES / (16384 + MESSAGE_OVERHEAD));
        drop((writer, peer));
    }

    #[tokio::test]
    async fn a_store_that_fails_ends_the_connection() {
        let Pair { outbox, writer, mut receiver, peer, .. } = pair(None, TEST_TIMEOUT).await;
        let beyond = Block { piece: 9, offset: 0, length: 1 };
        outbox.push(Outgoing::Block(beyond, store()));
        let writing = tokio::spawn(writer.run());
        let event = timeout(TEST_TIMEOUT, receiver.recv()).await.unwrap();
        assert!(matches!(event, Some(DriverEvent::BlockReadFailed(ConnId(1), _))), "{event:?}");
        assert_eq!(arrivals(peer).await, []);
        timeout(TEST_TIMEOUT, writing).await.unwrap().unwrap();
    }
}
