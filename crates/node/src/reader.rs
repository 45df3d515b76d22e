//! The receiving half of a connection: a task that reads as much as there is at a time and hands it
//! over in batches.
//!
//! Memory of one connection: [`LARGEST_SLAB`] bytes at most for what arrives (a control message
//! alone may take [`MAX_CONTROL_LENGTH`](sow_wire::bittorrent::message::MAX_CONTROL_LENGTH)
//! instead; where pieces come whole, one of them), the smallest slab while it is slow, and nothing
//! after a few seconds of silence.

use std::{io, sync::Arc, time::Duration};

use bytes::BufMut;
use socket2::SockRef;
use sow_engine::ConnId;
use tokio::{
    io::AsyncReadExt,
    net::{TcpStream, tcp::OwnedReadHalf},
    task::yield_now,
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};

use crate::{
    connection::FAREWELL,
    inbox::{Ending, Inbox, Letter},
    intake::Intake,
    slabs::LARGEST_SLAB,
    throttle::Throttle,
};

/// After this much silence a connection gives its memory back.
const SILENCE: Duration = Duration::from_secs(2);

/// So much is read before others get a turn on the thread: what was read is to be acted on while it
/// is in the cache.
const TURN: usize = 2 * LARGEST_SLAB;

/// So much is read at a time of what nobody wants, in bytes.
const PASSED_OVER: usize = 16 * 1024;

/// A connection's receiving half.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) conn: ConnId,
    pub(crate) half: OwnedReadHalf,
    pub(crate) intake: Intake,
    pub(crate) inbox: Inbox,
    pub(crate) down: Arc<Throttle>,
    /// What comes is acknowledged at once: small programs send in small parts, and wait for that
    /// before the last one.
    pub(crate) acknowledges: bool,
    /// For one message, from its first byte to its last.
    pub(crate) deadline: Duration,
}

impl Reader {
    /// Reads until the connection ends; the last letter says why.
    pub(crate) async fn run(mut self) {
        let ending = match self.receive().await {
            Ok(()) => Ending::Closed,
            Err(ending) => ending,
        };
        let may_be_answered = ending.fault().is_some();
        // When nobody listens any more, nobody needs to know.
        let _ = self.inbox.send(Letter::Closed(self.conn, ending)).await;
        if may_be_answered {
            let _ = timeout(FAREWELL, self.pass_over()).await;
        }
    }

    /// Reads on and makes nothing of it: a connection that is closed while bytes wait in it is
    /// reset, and what it was told last is lost.
    async fn pass_over(&mut self) -> io::Result<()> {
        let mut nothing = vec![0; PASSED_OVER];
        loop {
            let granted = self.down.take(nothing.len()).await;
            let read = self.half.read(&mut nothing[..granted]).await?;
            self.down.give_back(granted - read);
            if read == 0 {
                return Ok(());
            }
        }
    }

    async fn receive(&mut self) -> Result<(), Ending> {
        let mut silence = interval_at(Instant::now() + SILENCE, SILENCE);
        silence.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = false;
        let mut midway_since = None;
        // What came before this task began.
        self.hand_over().await?;
        loop {
            tokio::select! {
                biased;
                ready = self.half.readable() => {
                    ready?;
                    heard = true;
                    let (open, completed) = self.drain().await?;
                    if !open {
                        return Ok(());
                    }
                    if completed || !self.intake.is_midway() {
                        midway_since = None;
                    }
                }
                _ = silence.tick() => {
                    if !std::mem::take(&mut heard) {
                        self.intake.rest();
                    }
                    let since = *midway_since.get_or_insert_with(Instant::now);
                    if !self.intake.is_midway() {
                        midway_since = None;
                    } else if since.elapsed() > self.deadline + self.intake.allowance() {
                        return Err(Ending::Trickle);
                    }
                }
            }
        }
    }

    /// Reads what there is. Whether the connection is still open, and whether anything was
    /// completed.
    async fn drain(&mut self) -> Result<(bool, bool), Ending> {
        let (mut completed, mut turn) = (false, 0);
        loop {
            let buffer = self.intake.buffer();
            let room = buffer.capacity() - buffer.len();
            let granted = self.down.take(room).await;
            let read = self.half.read_buf(&mut buffer.limit(granted)).await?;
            self.down.give_back(granted - read);
            if read == 0 {
                return Ok((false, completed));
            }
            if self.acknowledges {
                // Without it the connection is slower, and that is all.
                let _ =
                    SockRef::from(AsRef::<TcpStream>::as_ref(&self.half)).set_tcp_quickack(true);
            }
            completed |= self.hand_over().await?;
            // A short read has emptied the socket; the runtime knows that too.
            if read < granted {
                return Ok((true, completed));
            }
            turn += read;
            if turn >= TURN {
                turn = 0;
                yield_now().await;
            }
        }
    }

    /// Takes apart what was read and puts it in the inbox. Whether anything was completed.
    async fn hand_over(&mut self) -> Result<bool, Ending> {
        let mut completed = false;
        loop {
            let mut batch = Vec::new();
            let parsed = self.intake.parse(&mut batch);
            if !batch.is_empty() {
                completed = true;
                let letter = Letter::Received(self.conn, batch);
                self.inbox.send(letter).await.map_err(|_| Ending::NobodyListens)?;
            }
            if !parsed? {
                return Ok(completed);
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
        inbox::inbox,
        intake::Received,
        slabs::Slabs,
        tongue::{Bounds, Ear},
    };

    const PATIENCE: Duration = Duration::from_secs(20);

    async fn reader(down: Option<u64>, deadline: Duration) -> (TcpStream, mpsc::Receiver<Letter>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (half, write) = listener.accept().await.unwrap().0.into_split();
        let (inbox, letters) = inbox();
        let ear =
            Ear::new(Dialect::BitTorrent, Direction::Accepted, &Bounds::new(128 * 1024, None));
        let intake = Intake::new(ear, &[], Arc::new(Slabs::default()));
        let down = Arc::new(Throttle::new(down));
        let reader =
            Reader { conn: ConnId(1), half, intake, inbox, down, acknowledges: false, deadline };
        tokio::spawn(async move {
            reader.run().await;
            drop(write);
        });
        (peer, letters)
    }

    async fn next(letters: &mut mpsc::Receiver<Letter>) -> Letter {
        timeout(PATIENCE, letters.recv()).await.expect("a letter in time").expect("a letter")
    }

    #[tokio::test]
    async fn blocks_and_messages_are_handed_over_in_order() {
        let (mut peer, mut letters) = reader(None, PATIENCE).await;
        let request = BlockRequest { piece: 4, offset: 0, length: 100_000 };
        let sending = tokio::spawn(async move {
            for _ in 0..50 {
                peer.write_all(&block_head(request)).await.unwrap();
                peer.write_all(&[9; 100_000]).await.unwrap();
                peer.write_all(&[0, 0, 0, 1, 1]).await.unwrap();
            }
        });
        let mut all = Vec::new();
        let ending = loop {
            match next(&mut letters).await {
                Letter::Received(ConnId(1), batch) => all.extend(batch),
                Letter::Closed(_, ending) => break ending,
                other => panic!("{other:?}"),
            }
        };
        sending.await.unwrap();
        assert!(matches!(ending, Ending::Closed));
        assert_eq!(all.len(), 100);
        for pair in all.chunks(2) {
            let Received::Block(got, payload) = &pair[0] else { panic!("{:?}", pair[0]) };
            assert_eq!((*got, payload.concat()), (request, vec![9; 100_000]));
            assert_eq!(pair[1], Received::Message(Message::Unchoke.into()));
        }
    }

    #[tokio::test]
    async fn garbage_ends_the_connection() {
        let (mut peer, mut letters) = reader(None, PATIENCE).await;
        peer.write_all(&[0xff; 64]).await.unwrap();
        assert!(matches!(next(&mut letters).await, Letter::Closed(_, Ending::Wire(_))));
    }

    #[tokio::test]
    async fn a_message_that_never_ends_ends_the_connection() {
        let (mut peer, mut letters) = reader(None, Duration::from_secs(1)).await;
        // What is whole is passed on; bytes that trickle in do not put the deadline off.
        peer.write_all(&[0, 0, 0, 0, 0]).await.unwrap();
        assert!(matches!(next(&mut letters).await, Letter::Received(..)));
        tokio::spawn(async move {
            let request = BlockRequest { piece: 0, offset: 0, length: 16384 };
            for byte in &block_head(request)[1..] {
                tokio::time::sleep(Duration::from_millis(600)).await;
                if peer.write_all(&[*byte]).await.is_err() {
                    return;
                }
            }
            tokio::time::sleep(PATIENCE).await;
        });
        assert!(matches!(next(&mut letters).await, Letter::Closed(_, Ending::Trickle)));
    }

    #[tokio::test]
    async fn the_limit_is_kept() {
        let (mut peer, mut letters) = reader(Some(4_000_000), PATIENCE).await;
        let start = Instant::now();
        tokio::spawn(async move {
            let request = BlockRequest { piece: 0, offset: 0, length: 100_000 };
            for _ in 0..20 {
                peer.write_all(&block_head(request)).await.unwrap();
                peer.write_all(&[9; 100_000]).await.unwrap();
            }
        });
        while !matches!(next(&mut letters).await, Letter::Closed(..)) {}
        let seconds = start.elapsed().as_secs_f64();
        assert!((0.44..5.0).contains(&seconds), "2 MB at 4 MB/s took {seconds} s");
    }
}
