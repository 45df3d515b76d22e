//! The sending half of a connection: a task that sends messages many at a time and blocks one after
//! the other.
//!
//! Messages overtake blocks that have not begun: news must not wait behind payload. A choke does
//! not, nor what is said after it: it is about the blocks before it.
//!
//! Memory of one connection: [`MAX_QUEUED`] bytes at most for messages that the peer does not take;
//! whoever lets it come to that is closed. Blocks wait as numbers.

use std::{
    collections::VecDeque,
    io,
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
use sow_store::{Store, StoreError};
use sow_wire::{bittorrent, chunk::Spelling};
use tokio::{sync::mpsc, time::Instant};

use crate::{
    inbox::{Inbox, Letter},
    sendfile::Sender,
    tongue::{body_of, encode, encode_head},
};

/// What may wait for a peer in messages, in bytes: the largest bitfield and much more.
pub(crate) const MAX_QUEUED: usize = 4 << 20;

/// What a waiting message costs besides its body, in bytes.
const MESSAGE_COST: usize = 64;

/// How much the kernel may hold unsent (TCP_NOTSENT_LOWAT), in bytes: what a connection sends in
/// [`UNSENT_TIME`], within these bounds. What is in there cannot be overtaken any more; with less,
/// the writer wakes up more often.
const UNSENT: std::ops::RangeInclusive<u32> = 16 * 1024..=512 * 1024;

/// See [`UNSENT`].
const UNSENT_TIME: Duration = Duration::from_millis(5);

/// What [`UNSENT`] is before the rate is known, in bytes.
const UNSENT_AT_FIRST: u32 = 32 * 1024;

/// How long a rate is measured for.
const WINDOW: Duration = Duration::from_millis(50);

/// Something to send.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Message(Message),
    Block(Block, Arc<Store>),
}

/// How something is said.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Speech {
    pub(crate) dialect: Dialect,
    pub(crate) spelling: Spelling,
}

/// The way to a connection's writer. Once it is dropped, the writer sends the messages that wait,
/// and ends.
#[derive(Debug)]
pub(crate) struct Outbox {
    queue: mpsc::UnboundedSender<Outgoing>,
    queued: Arc<AtomicUsize>,
}

/// A connection's sending half.
#[derive(Debug)]
pub(crate) struct Writer {
    conn: ConnId,
    speech: Speech,
    sender: Sender,
    inbox: Inbox,
    queue: mpsc::UnboundedReceiver<Outgoing>,
    queued: Arc<AtomicUsize>,
    /// Messages, as they travel.
    messages: BytesMut,
    /// Blocks, and what must not overtake them.
    waiting: VecDeque<Outgoing>,
    /// What the kernel may hold unsent, in bytes.
    unsent: u32,
    /// Payload sent since the time beside it, in bytes.
    measured: (u64, Instant),
}

enum Failure {
    Io(io::Error),
    Store(StoreError),
}

impl Outbox {
    /// A writer for `sender`, and the way to it.
    pub(crate) fn new(
        conn: ConnId,
        speech: Speech,
        sender: Sender,
        inbox: Inbox,
    ) -> (Self, Writer) {
        let (to, queue) = mpsc::unbounded_channel();
        let queued = Arc::new(AtomicUsize::new(0));
        let outbox = Self { queue: to, queued: Arc::clone(&queued) };
        let (messages, waiting) = (BytesMut::new(), VecDeque::new());
        let measured = (0, Instant::now());
        (
            outbox,
            Writer {
                conn,
                speech,
                sender,
                inbox,
                queue,
                queued,
                messages,
                waiting,
                unsent: 0,
                measured,
            },
        )
    }

    /// Puts something in the queue. False: the peer takes too little, or is gone; no more use for
    /// it.
    pub(crate) fn push(&self, outgoing: Outgoing) -> bool {
        let cost = cost_of(&outgoing);
        let queued = self.queued.fetch_add(cost, Ordering::Relaxed) + cost;
        queued <= MAX_QUEUED && self.queue.send(outgoing).is_ok()
    }
}

impl Writer {
    /// Sends until there is nothing more to come, or the connection breaks.
    pub(crate) async fn run(mut self) {
        match self.send_all().await {
            Ok(()) => self.sender.finish(),
            Err(failure) => {
                self.sender.abort();
                match failure {
                    // A swarm that is gone has no use for the news.
                    Failure::Store(error) => {
                        _ = self.inbox.send(Letter::Unreadable(self.conn, Arc::new(error))).await;
                    }
                    Failure::Io(error) => tracing::debug!(conn = %self.conn, %error, "cannot send"),
                }
            }
        }
    }

    async fn send_all(&mut self) -> Result<(), Failure> {
        self.allow_unsent(UNSENT_AT_FIRST);
        let mut batch = Vec::new();
        loop {
            let open = self.collect(&mut batch).await;
            batch.drain(..).for_each(|outgoing| self.sort(outgoing));
            if !open {
                // Blocks that have not begun are not worth waiting for.
                self.flush(false).await?;
                return Ok(());
            }
            match self.waiting.pop_front() {
                Some(Outgoing::Block(block, store)) => self.send_block(block, &store).await?,
                Some(Outgoing::Message(message)) => {
                    encode(&message, self.speech.spelling, &mut self.messages);
                    self.release_messages();
                }
                None => self.flush(false).await?,
            }
        }
    }

    /// Takes what has come in; waits for it when there is nothing else to do. False: nothing more
    /// will come.
    async fn collect(&mut self, batch: &mut Vec<Outgoing>) -> bool {
        const MANY: usize = 256;
        if self.waiting.is_empty() && self.messages.is_empty() {
            return self.queue.recv_many(batch, MANY).await > 0;
        }
        loop {
            match self.queue.try_recv() {
                Ok(outgoing) if batch.len() < MANY => batch.push(outgoing),
                Ok(outgoing) => {
                    batch.push(outgoing);
                    return true;
                }
                Err(mpsc::error::TryRecvError::Empty) => return true,
                Err(mpsc::error::TryRecvError::Disconnected) => return !batch.is_empty(),
            }
        }
    }

    fn sort(&mut self, outgoing: Outgoing) {
        self.queued.fetch_sub(cost_of(&outgoing), Ordering::Relaxed);
        match outgoing {
            Outgoing::Block(block, store) => {
                if self.sender.is_cold() {
                    // Most likely the rest of the piece is asked for too.
                    let start = store.geometry().range_of_block(block).start;
                    store.prefetch(start..store.geometry().range_of(block.piece).end);
                }
                self.waiting.push_back(Outgoing::Block(block, store));
            }
            Outgoing::Message(message) => {
                let held_up =
                    self.waiting.iter().any(|waiting| matches!(waiting, Outgoing::Message(_)));
                let choke = message == Message::BitTorrent(bittorrent::Message::Choke)
                    && !self.waiting.is_empty();
                if held_up || choke {
                    self.waiting.push_back(Outgoing::Message(message));
                } else {
                    encode(&message, self.speech.spelling, &mut self.messages);
                }
            }
        }
    }

    /// After a choke, what was said behind it may go too, up to the next block.
    fn release_messages(&mut self) {
        while let Some(Outgoing::Message(message)) = self.waiting.front() {
            encode(message, self.speech.spelling, &mut self.messages);
            self.waiting.pop_front();
        }
    }

    async fn flush(&mut self, more: bool) -> Result<(), Failure> {
        if !self.messages.is_empty() {
            let messages = self.messages.split();
            self.sender.send(&messages, more).await?;
        }
        Ok(())
    }

    async fn send_block(&mut self, block: Block, store: &Store) -> Result<(), Failure> {
        let segments =
            store.segments(store.geometry().range_of_block(block)).map_err(Failure::Store)?;
        if self.sender.is_limited() {
            self.flush(false).await?;
        }
        encode_head(self.speech.dialect, block, store.geometry(), &mut self.messages);
        let head = self.messages.split();
        self.sender.send_block(&head, segments).await?;
        self.adapt(block.length);
        // A swarm that is gone has no use for the news.
        let _ = self.inbox.send(Letter::BlockSent(self.conn, block)).await;
        Ok(())
    }

    /// Chooses how much may wait in the kernel, by the rate of late.
    fn adapt(&mut self, sent: u32) {
        self.measured.0 += u64::from(sent);
        let (bytes, since) = self.measured;
        let time = since.elapsed();
        if time >= WINDOW {
            let rate = bytes as f64 / time.as_secs_f64();
            let wanted = (rate * UNSENT_TIME.as_secs_f64()).min(f64::from(*UNSENT.end())) as u32;
            self.allow_unsent(wanted.next_power_of_two().clamp(*UNSENT.start(), *UNSENT.end()));
            self.measured = (0, Instant::now());
        }
    }

    fn allow_unsent(&mut self, bytes: u32) {
        if self.unsent != bytes {
            self.unsent = bytes;
            // Without it the queue is longer, and that is all.
            let _ = SockRef::from(self.sender.stream()).set_tcp_notsent_lowat(bytes);
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn cost_of(outgoing: &Outgoing) -> usize {
    MESSAGE_COST
        + match outgoing {
            Outgoing::Message(message) => body_of(message),
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
    use crate::{inbox::inbox, throttle::Throttle};

    const PATIENCE: Duration = Duration::from_secs(20);
    const SPEECH: Speech = Speech { dialect: Dialect::BitTorrent, spelling: Spelling::Documented };

    struct Pair {
        outbox: Outbox,
        writer: Writer,
        letters: mpsc::Receiver<Letter>,
        peer: TcpStream,
        /// Closes the connection when it goes.
        _other_half: OwnedReadHalf,
    }

    async fn pair(up: Option<u64>, stall: Duration) -> Pair {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (other_half, half) = listener.accept().await.unwrap().0.into_split();
        let (inbox, letters) = inbox();
        let sender = Sender::new(half, Arc::new(Throttle::new(up)), stall);
        let (outbox, writer) = Outbox::new(ConnId(1), SPEECH, sender, inbox);
        Pair { outbox, writer, letters, peer, _other_half: other_half }
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

    /// What arrives until the end, blocks by their number; their bytes are checked.
    async fn arrivals(mut peer: TcpStream) -> Vec<Result<Message, u32>> {
        let (mut bytes, mut arrived) = (BytesMut::new(), Vec::new());
        let reading = async { while peer.read_buf(&mut bytes).await.unwrap() > 0 {} };
        timeout(PATIENCE, reading).await.unwrap();
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
        let Pair { outbox, writer, mut letters, peer, .. } = pair(None, PATIENCE).await;
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
            let letter = timeout(PATIENCE, letters.recv()).await.unwrap();
            assert!(
                matches!(letter, Some(Letter::BlockSent(_, sent)) if sent == block(number)),
                "{letter:?}"
            );
        }
        drop(outbox);
        let (choke, unchoke) = (Ok(Message::Choke), Ok(Message::Unchoke));
        let want =
            [Ok(Message::HaveNone), Ok(Message::Have(7)), Err(1), Err(2), choke, unchoke, Err(3)];
        assert_eq!(arrivals(peer).await, want);
        timeout(PATIENCE, writing).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn messages_that_wait_are_sent_before_the_end_and_blocks_are_not() {
        let Pair { outbox, writer, peer, .. } = pair(None, PATIENCE).await;
        outbox.push(Outgoing::Block(block(1), store()));
        outbox.push(Outgoing::Message(Message::Have(7).into()));
        drop(outbox);
        let writing = tokio::spawn(writer.run());
        let arrived = arrivals(peer).await;
        assert_eq!(arrived[0], Ok(Message::Have(7)));
        assert!(arrived.len() <= 2);
        timeout(PATIENCE, writing).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_peer_that_takes_nothing_fills_its_own_queue_alone() {
        let Pair { outbox, writer, peer, .. } = pair(None, PATIENCE).await;
        let message = Message::Extended { id: 1, payload: vec![0; 16384].into() };
        let pushed = (0..1000)
            .take_while(|_| outbox.push(Outgoing::Message(message.clone().into())))
            .count();
        assert_eq!(pushed, MAX_QUEUED / (16384 + MESSAGE_COST));
        drop((writer, peer));
    }

    #[tokio::test]
    async fn a_store_that_fails_ends_the_connection() {
        let Pair { outbox, writer, mut letters, peer, .. } = pair(None, PATIENCE).await;
        let beyond = Block { piece: 9, offset: 0, length: 1 };
        outbox.push(Outgoing::Block(beyond, store()));
        let writing = tokio::spawn(writer.run());
        let letter = timeout(PATIENCE, letters.recv()).await.unwrap();
        assert!(matches!(letter, Some(Letter::Unreadable(ConnId(1), _))), "{letter:?}");
        assert_eq!(arrivals(peer).await, []);
        timeout(PATIENCE, writing).await.unwrap().unwrap();
    }
}
