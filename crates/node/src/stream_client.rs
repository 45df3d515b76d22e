//! The client of `raw` and `framed`: calls, receives into large buffers on a thread that may wait,
//! and calls again where the engine says so. What the bytes, their end and their absence mean is
//! the engine's affair.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use rustix::{
    io::Errno,
    net::{RecvFlags, recv},
};
use sow_engine::client_server::{Client, ClientAction, ClientConfig, ClientServerDialect, GiveUp};
use sow_store::{Placement, SequentialTarget, StoreError};
use sow_wire::framing;
use tokio::{
    runtime::Handle,
    sync::Notify,
    task::spawn_blocking,
    time::{Instant, sleep_until, timeout},
};

use crate::{clock::Clock, outgoing, throttle::RateLimit};

/// What is received at a time, in bytes: it stays in a processor's cache between the socket and the
/// file.
const BUFFER: usize = 256 * 1024;

/// How long to wait for a full buffer before looking whether it is over.
const GLANCE: Duration = Duration::from_millis(100);

/// How long one address may take to answer a call.
const CALL: Duration = Duration::from_secs(5);

/// Whom to call, and how.
#[derive(Debug, Clone)]
pub struct FetchOptions {
    /// The server's addresses, tried in this order.
    pub addrs: Vec<SocketAddr>,
    /// The address to call from; `None` leaves it to the system.
    pub bind: Option<IpAddr>,
    /// What comes in per second.
    pub down: RateLimit,
    /// What is known of the file, and how patient to be.
    pub settings: ClientConfig,
}

/// A file that has come.
#[derive(Debug)]
pub struct FetchedFile {
    /// Where it is; the content itself when it is in memory.
    pub store: SequentialTarget,
    /// What became of it.
    pub placed: Placement,
    /// Its length in bytes.
    pub bytes: u64,
    /// Who sent it.
    pub from: SocketAddr,
    /// From the answer to the last call until the last byte.
    pub took: Duration,
}

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The engine has given up.
    #[error("{}", Reasons(reason, last))]
    GaveUp {
        /// Why.
        reason: GiveUp,
        /// What went wrong last on the way, if anything did.
        last: Option<String>,
    },
    /// The disk, or whoever the stream is passed on to.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The caller called it off.
    #[error("cancelled")]
    Cancelled,
}

/// How far it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FetchStatus {
    /// Bytes of the file that came over the present connection.
    pub received: u64,
    /// The length of the file in bytes, when it is known.
    pub total: Option<u64>,
    /// How often the transfer was begun.
    pub begun: u32,
    /// The server is connected.
    pub connected: bool,
    /// How often the server was lost in the middle of the file.
    pub broken: u32,
    /// What went wrong last on the way.
    pub trouble: Option<String>,
    /// Why it was lost the last time.
    pub broken_by: Option<String>,
}

/// Looks on while a stream is fetched, and can call it off.
#[derive(Debug, Default)]
pub struct FetchHandle {
    received: AtomicU64,
    rest: Mutex<Rest>,
    is_cancelled: AtomicBool,
    cancel: Notify,
}

#[derive(Debug, Default)]
struct Rest {
    total: Option<u64>,
    begun: u32,
    connected: bool,
    broken: u32,
    trouble: Option<String>,
    broken_by: Option<String>,
}

impl FetchHandle {
    /// How far it is.
    pub fn status(&self) -> FetchStatus {
        let rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        FetchStatus {
            received: self.received.load(Ordering::Relaxed),
            total: rest.total,
            begun: rest.begun,
            connected: rest.connected,
            broken: rest.broken,
            trouble: rest.trouble.clone(),
            broken_by: rest.broken_by.clone(),
        }
    }

    /// Calls it off. [`fetch_file`] returns soon, having tidied up.
    pub fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Relaxed);
        self.cancel.notify_waiters();
    }

    fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::Relaxed)
    }

    /// Returns when it is called off.
    async fn cancelled(&self) {
        let notified = self.cancel.notified();
        tokio::pin!(notified);
        // In line before looking, so that nothing is missed in between.
        notified.as_mut().enable();
        if !self.is_cancelled() {
            notified.await;
        }
    }

    fn note(&self, change: impl FnOnce(&mut Rest)) {
        change(&mut self.rest.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Fetches a file into `store`, over as many connections as it takes. Dropped, it is called off,
/// and tidies up a moment later.
///
/// # Errors
/// When there is no file in the end; nothing is left of it then.
pub async fn fetch_file(
    options: FetchOptions,
    mut store: SequentialTarget,
    watch: Arc<FetchHandle>,
) -> Result<FetchedFile, FetchError> {
    let _guard = CancelOnDrop(&watch);
    let clock = Clock::new();
    let mut client = Client::new(clock.now(), options.settings);
    loop {
        if watch.is_cancelled() {
            return Err(FetchError::Cancelled);
        }
        let called = tokio::select! {
            called = call(&options) => called,
            () = watch.cancelled() => continue,
        };
        let next = match called {
            Err(error) => {
                watch.note(|rest| rest.trouble = Some(error.to_string()));
                client.not_reached(clock.now())
            }
            Ok((stream, from)) => {
                let began = Instant::now();
                let receiver = Receiver {
                    stream,
                    framing: options.settings.framing,
                    client,
                    store,
                    down: options.down.clone(),
                    watch: Arc::clone(&watch),
                    clock,
                };
                let (receiver, ended) = receiver.run_where_it_may_wait().await;
                (client, store) = (receiver.client, receiver.store);
                let next = ended?;
                watch.note(|rest| {
                    rest.connected = false;
                    if matches!(next, ClientAction::Call(_)) {
                        rest.broken += 1;
                        rest.broken_by = rest.trouble.clone();
                    }
                });
                if next == ClientAction::Done {
                    let (bytes, took) = (client.received(), began.elapsed());
                    let (store, placed) = finish(store).await?;
                    return Ok(FetchedFile { store, placed, bytes, from, took });
                }
                next
            }
        };
        match next {
            ClientAction::Call(time) if store.can_restart() => tokio::select! {
                () = sleep_until(clock.instant(time)) => {}
                () = watch.cancelled() => {}
            },
            ClientAction::GiveUp(reason) => return Err(gave_up(reason, &watch)),
            ClientAction::Call(_) | ClientAction::Receive | ClientAction::Done => {
                return Err(gave_up(GiveUp::BrokenOff { begun: client.begun() }, &watch));
            }
        }
    }
}

/// Calls the addresses in turn; the error is the last one's.
async fn call(options: &FetchOptions) -> io::Result<(TcpStream, SocketAddr)> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "it has no address");
    for &addr in &options.addrs {
        match timeout(CALL, outgoing::connect(addr, options.bind)).await {
            Ok(Ok(stream)) => return Ok((stream.into_std()?, addr)),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, "no answer"),
        }
    }
    Err(last)
}

/// Puts the file in place where that may take as long as the disk takes.
async fn finish(mut store: SequentialTarget) -> Result<(SequentialTarget, Placement), FetchError> {
    let finishing = spawn_blocking(move || store.finish().map(|placed| (store, placed)));
    match finishing.await {
        Ok(finished) => Ok(finished?),
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

fn gave_up(reason: GiveUp, watch: &FetchHandle) -> FetchError {
    FetchError::GaveUp { reason, last: watch.status().trouble }
}

/// One connection, on a thread of its own.
struct Receiver {
    stream: TcpStream,
    framing: ClientServerDialect,
    client: Client,
    store: SequentialTarget,
    down: RateLimit,
    watch: Arc<FetchHandle>,
    clock: Clock,
}

/// What came of waiting for bytes.
enum Came {
    /// So many bytes, perhaps fewer than would fit.
    Some(usize),
    /// The stream ended in good order.
    End,
    /// Nothing came in time.
    Silence,
    /// The connection is lost.
    Lost(io::Error),
}

impl Receiver {
    async fn run_where_it_may_wait(mut self) -> (Self, Result<ClientAction, FetchError>) {
        let runtime = Handle::current();
        let running = spawn_blocking(move || {
            let ended = self.run(&runtime);
            (self, ended)
        });
        match running.await {
            Ok(ended) => ended,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }

    /// Receives until the engine says something else. The stream is closed afterwards.
    fn run(&mut self, runtime: &Handle) -> Result<ClientAction, FetchError> {
        self.client.reached(self.clock.now());
        self.watch.received.store(0, Ordering::Relaxed);
        let (begun, total) = (self.client.begun(), self.client.length());
        self.watch.note(|rest| (rest.begun, rest.total, rest.connected) = (begun, total, true));
        let ready = self
            .stream
            .set_nonblocking(false)
            .and_then(|()| self.stream.set_read_timeout(Some(GLANCE)));
        if let Err(error) = ready {
            return Ok(self.lost(&error));
        }
        let mut next = match self.framing {
            ClientServerDialect::Raw => ClientAction::Receive,
            ClientServerDialect::Framed => self.head()?,
        };
        if matches!(next, ClientAction::Receive | ClientAction::Done) {
            // Where there is no room for so much, nothing is begun.
            self.store.begin(self.client.length())?;
            let total = self.client.length();
            self.watch.note(|rest| rest.total = total);
        }
        let mut buffer = vec![0; BUFFER];
        while next == ClientAction::Receive {
            next = self.step(&mut buffer, runtime)?;
        }
        Ok(next)
    }

    /// Receives the head of a frame.
    fn head(&mut self) -> Result<ClientAction, FetchError> {
        let (mut head, mut there) = ([0; framing::HEAD_LENGTH], 0);
        while there < head.len() {
            match self.receive(&mut head[there..])? {
                Came::Some(count) => there += count,
                came => return Ok(self.nothing(came)),
            }
            if self.clock.now() >= self.client.deadline() {
                return Ok(self.nothing(Came::Silence));
            }
        }
        Ok(self.client.announced(self.clock.now(), framing::length_of(head)))
    }

    /// Receives a buffer, or what comes of it in a moment.
    fn step(&mut self, buffer: &mut [u8], runtime: &Handle) -> Result<ClientAction, FetchError> {
        let most = usize::try_from(self.client.wanted()).unwrap_or(usize::MAX).min(buffer.len());
        let granted = self.grant(most, runtime)?;
        let came = self.receive(&mut buffer[..granted])?;
        let Came::Some(count) = came else {
            self.down.0.give_back(granted);
            return Ok(self.nothing(came));
        };
        self.down.0.give_back(granted - count);
        let now = self.clock.now();
        let next = self.client.arrived(now, count as u64);
        if !matches!(next, ClientAction::Receive | ClientAction::Done) {
            return Ok(next);
        }
        self.store.write(&buffer[..count])?;
        self.watch.received.store(self.client.received(), Ordering::Relaxed);
        if next == ClientAction::Receive && now >= self.client.deadline() {
            return Ok(self.nothing(Came::Silence));
        }
        Ok(next)
    }

    /// How many bytes may come in now, at most `most`.
    fn grant(&mut self, most: usize, runtime: &Handle) -> Result<usize, FetchError> {
        if !self.down.0.limits() {
            return Ok(most);
        }
        let began = Instant::now();
        let granted = runtime.block_on(async {
            tokio::select! {
                granted = self.down.0.take(most) => Ok(granted),
                () = self.watch.cancelled() => Err(FetchError::Cancelled),
            }
        });
        self.client.waited(began.elapsed());
        granted
    }

    /// Waits until the buffer is full; a glance after the first bytes at most, and no longer than
    /// the engine would.
    fn receive(&self, buffer: &mut [u8]) -> Result<Came, FetchError> {
        loop {
            let received = recv(&self.stream, &mut *buffer, RecvFlags::WAITALL);
            if self.watch.is_cancelled() {
                return Err(FetchError::Cancelled);
            }
            match received {
                Ok((_, 0)) => return Ok(Came::End),
                Ok((_, count)) => return Ok(Came::Some(count)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if self.clock.now() >= self.client.deadline() => {
                    return Ok(Came::Silence);
                }
                Err(Errno::AGAIN) => {}
                Err(error) => return Ok(Came::Lost(error.into())),
            }
        }
    }

    /// What it means that no bytes have come.
    fn nothing(&mut self, came: Came) -> ClientAction {
        let now = self.clock.now();
        match came {
            Came::Lost(error) => self.lost(&error),
            Came::Silence => {
                self.watch.note(|rest| {
                    rest.trouble = Some("it sends nothing any more, or hardly anything".to_owned())
                });
                self.client.silent(now)
            }
            Came::End | Came::Some(_) => {
                let next = self.client.ended(now);
                if next != ClientAction::Done {
                    self.watch.note(|rest| {
                        rest.trouble = Some("it ended the stream too early".to_owned())
                    });
                }
                next
            }
        }
    }

    fn lost(&mut self, error: &io::Error) -> ClientAction {
        self.watch.note(|rest| rest.trouble = Some(error.to_string()));
        self.client.broke_off(self.clock.now())
    }
}

/// Calls a fetch off that nobody waits for any more.
struct CancelOnDrop<'a>(&'a FetchHandle);

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// A reason to give up, and what went wrong last.
struct Reasons<'a>(&'a GiveUp, &'a Option<String>);

impl std::fmt::Display for Reasons<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            GiveUp::OutOfReach => f.write_str("the server is out of reach")?,
            GiveUp::BrokenOff { begun: 1 } => f.write_str("the transfer broke off")?,
            GiveUp::BrokenOff { begun } => write!(f, "the transfer broke off {begun} times")?,
            GiveUp::WrongSize { expected, came } => {
                return write!(f, "the file has {came} bytes, and not {expected}");
            }
            GiveUp::TooLong { limit, announced: Some(length) } => {
                return write!(f, "the file has {length} bytes; at most {limit} are taken");
            }
            GiveUp::TooLong { limit, announced: None } => {
                return write!(f, "the file has more than {limit} bytes");
            }
        }
        match self.1 {
            Some(last) => write!(f, ": {last}"),
            None => Ok(()),
        }
    }
}
