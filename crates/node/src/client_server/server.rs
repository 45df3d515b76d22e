//! The server of `raw` and `framed`: it speaks first, sends the whole file from byte 0 to each
//! client, and closes the connection. Which client is served when is the engine's decision.
//!
//! A client of `raw` takes the end of the stream for the end of the file. So a connection that ends
//! earlier, even because this process was killed, is reset. Nothing else tells the client.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use socket2::SockRef;
use sow_engine::{
    ConnId,
    client_server::{Admission, AdmissionLimits, AdmissionQueue, ClientServerDialect},
    network_of,
};
use sow_store::{Segment, Store, StoreError};
use sow_wire::framing;
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::{self, AbortHandle, JoinHandle, JoinSet},
    time::{Instant, interval, sleep, timeout},
};

use crate::{
    connection::{
        pace::Pace,
        sendfile::{PayloadSender, SentBlock},
    },
    error::NodeError,
    listener::{canonical, listen},
    place_limits,
    throttle::RateLimit,
};

/// How much of the file is handed to the kernel at a time, in bytes.
const SEND_SIZE: u64 = 1 << 20;

/// How much of the file is prefetched from a disk, in bytes.
const PREFETCH_SIZE: u64 = 8 << 20;

/// How much a client may send before it is disconnected, in bytes. The server ignores what clients
/// send.
const MAX_IGNORED_BYTES: usize = 64 * 1024;

/// The pause after a failed accept, for instance when file descriptors run out.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// A client that takes nothing for this part of the time limit, while it takes 64 KiB, makes room
/// for one that waits.
const SLOW_PART: u32 = 12;

/// How often slow clients are looked for.
const SLOW_CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// What the kernel may hold unsent of a connection while there is a rate limit, in bytes: a client
/// that takes nothing wastes as much.
const LIMITED_UNSENT: u32 = 16 * 1024;

/// The settings of a server.
#[derive(Debug, Clone)]
pub struct FileServerOptions {
    /// What precedes the bytes of the file.
    pub dialect: ClientServerDialect,
    /// The address to listen on; `None` is every address, IPv4 and IPv6.
    pub bind: Option<IpAddr>,
    /// The port to listen on; 0 lets the system choose.
    pub port: u16,
    /// The upload limit, over all connections.
    pub up: RateLimit,
    /// How many clients are served and may wait.
    pub admission: AdmissionLimits,
    /// The time limit for a client that takes nothing, and for a client that has everything to
    /// close the connection.
    pub stall: Duration,
}

/// What happened to a server. `addr` is the client's; no two connections have the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileServerEvent {
    /// A client has connected.
    Accepted {
        /// The client.
        addr: SocketAddr,
        /// Whether it is served now, waits, or was disconnected.
        admission: Admission,
    },
    /// A transfer is about to start.
    Started {
        /// The client.
        addr: SocketAddr,
    },
    /// Everything was sent.
    Finished {
        /// The client.
        addr: SocketAddr,
        /// The time since the transfer started.
        duration: Duration,
        /// The client has closed the connection too, as a client does that has received the end.
        /// Nothing else tells that it has.
        is_closed: bool,
    },
    /// The transfer broke off.
    Failed {
        /// The client.
        addr: SocketAddr,
        /// Bytes of the file that were sent, not necessarily received.
        sent: u64,
        /// Why.
        reason: String,
    },
}

/// A port that listens already. Clients wait until there is a file to serve.
#[derive(Debug)]
pub struct FileServerListener {
    listener: TcpListener,
    port: u16,
    options: FileServerOptions,
}

/// A server on a port of its own. A server that is dropped accepts no more connections and breaks
/// off its transfers.
#[derive(Debug)]
pub struct FileServer {
    port: u16,
    sent: Arc<AtomicU64>,
    serving: JoinHandle<()>,
}

/// What the connections of a server share.
#[derive(Debug)]
struct ServerContext {
    options: FileServerOptions,
    store: Arc<Store>,
    sent: Arc<AtomicU64>,
    events: UnboundedSender<FileServerEvent>,
}

/// Why a transfer broke off.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the file was changed while it was served")]
    FileChanged,
    #[error("it took too little, and other clients wait")]
    Slow,
}

impl FileServerListener {
    /// Listens. Must be called in a tokio runtime with time and IO.
    ///
    /// # Errors
    /// When the port or the address is not available.
    pub fn bind(options: FileServerOptions) -> Result<Self, NodeError> {
        let listener = listen(options.bind, options.port)?;
        let local = listener.local_addr();
        let port = local.map_err(|source| NodeError::Listen { port: options.port, source })?.port();
        // Connections inherit this option. If one is dropped, or this process is killed, the kernel
        // resets the connection instead of ending it in good order.
        let _ = SockRef::from(&listener).set_linger(Some(Duration::ZERO));
        Ok(Self { listener, port, options })
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on serves the content of a store, which must be complete. Events are reported
    /// through the receiver. That channel is not bounded: read it, or drop the receiver.
    pub fn serve(self, store: Arc<Store>) -> (FileServer, UnboundedReceiver<FileServerEvent>) {
        let (events, receiver) = unbounded_channel();
        let sent = Arc::new(AtomicU64::new(0));
        let context =
            ServerContext { options: self.options, store, sent: Arc::clone(&sent), events };
        let serving = tokio::spawn(accept_all(self.listener, Arc::new(context)));
        (FileServer { port: self.port, sent, serving }, receiver)
    }
}

impl FileServer {
    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Bytes of the file that were sent, over all clients.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Drop for FileServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Accepts connections until the task is aborted.
async fn accept_all(listener: TcpListener, context: Arc<ServerContext>) {
    let mut clients = Clients {
        queue: AdmissionQueue::new(place_limits::admission(context.options.admission)),
        context,
        waiting: BTreeMap::new(),
        served: BTreeMap::new(),
        serving: JoinSet::new(),
        accepted_count: 0,
    };
    let mut slow_checks = interval(SLOW_CHECK_INTERVAL);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, addr)) => clients.admit(stream, canonical(addr)),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(ACCEPT_RETRY_DELAY).await;
                }
            },
            Some(ended) = clients.serving.join_next_with_id() => {
                clients.on_ended(ended.map_or_else(|error| error.id(), |(id, ())| id));
            }
            _ = slow_checks.tick() => clients.displace_slow(),
        }
    }
}

/// The clients of a server.
struct Clients {
    context: Arc<ServerContext>,
    queue: AdmissionQueue,
    waiting: BTreeMap<ConnId, (TcpStream, SocketAddr)>,
    served: BTreeMap<ConnId, Served>,
    serving: JoinSet<()>,
    accepted_count: u64,
}

/// A client that is served.
struct Served {
    task: AbortHandle,
    pace: Arc<Pace>,
}

impl Clients {
    fn admit(&mut self, stream: TcpStream, addr: SocketAddr) {
        let conn = ConnId(self.accepted_count);
        self.accepted_count += 1;
        let admission = self.queue.arrived(conn, network_of(addr.ip()));
        self.context.report(FileServerEvent::Accepted { addr, admission });
        match admission {
            Admission::Serve => self.serve(conn, stream, addr),
            Admission::Wait => _ = self.waiting.insert(conn, (stream, addr)),
            Admission::Refuse => drop(stream),
        }
    }

    fn serve(&mut self, conn: ConnId, stream: TcpStream, addr: SocketAddr) {
        let pace = Arc::new(Pace::new());
        let serving = serve(stream, addr, Arc::clone(&pace), Arc::clone(&self.context));
        let task = self.serving.spawn(serving);
        self.served.insert(conn, Served { task, pace });
    }

    fn on_ended(&mut self, task: task::Id) {
        let ended = self.served.iter().find(|(_, served)| served.task.id() == task);
        let Some(conn) = ended.map(|(conn, _)| *conn) else { return };
        self.served.remove(&conn);
        for next in self.queue.left(conn) {
            if let Some((stream, addr)) = self.waiting.remove(&next) {
                self.serve(next, stream, addr);
            }
        }
    }

    fn displace_slow(&mut self) {
        let limit = self.context.options.stall / SLOW_PART;
        let slow = self.served.iter().filter(|(_, served)| served.pace.stalled() >= limit);
        for conn in self.queue.displaced(slow.map(|(conn, _)| *conn)) {
            if let Some(served) = self.served.get(&conn) {
                served.pace.displace();
            }
        }
    }
}

/// Serves one client.
async fn serve(stream: TcpStream, addr: SocketAddr, pace: Arc<Pace>, context: Arc<ServerContext>) {
    context.report(FileServerEvent::Started { addr });
    let began = Instant::now();
    let mut sent = 0;
    let sending = send_file(stream, Arc::clone(&pace), &context, &mut sent);
    let result = tokio::select! {
        result = sending => result,
        () = pace.displaced() => Err(ServeError::Slow),
    };
    let result = match result {
        Ok(connection) => {
            let _waiting = pace.wait();
            let closing = tokio::select! {
                closing = timeout(context.options.stall, wait_for_close(connection)) => closing,
                () = pace.displaced() => Ok(Ok(false)),
            };
            let duration = began.elapsed();
            // A client that is still connected at the timeout has not closed the connection.
            closing.unwrap_or(Ok(false)).map_err(ServeError::Io).map(|closed| (duration, closed))
        }
        Err(error) => Err(error),
    };
    context.report(match result {
        Ok((duration, is_closed)) => FileServerEvent::Finished { addr, duration, is_closed },
        Err(error) => FileServerEvent::Failed { addr, sent, reason: error.to_string() },
    });
}

/// Sends the head, the file and the end of the stream. Counts in `sent` what was handed to the
/// kernel.
async fn send_file(
    stream: TcpStream,
    pace: Arc<Pace>,
    context: &ServerContext,
    sent: &mut u64,
) -> Result<(OwnedReadHalf, ResetOnDrop), ServeError> {
    let ServerContext { options, store, .. } = context;
    let total = store.geometry().total();
    let (receiving, half) = stream.into_split();
    let sender =
        PayloadSender::new(half, Arc::clone(&options.up.0), options.stall).for_client(pace);
    if sender.is_limited() {
        // If the option cannot be set, the kernel's queue is longer, and no more.
        let _ = SockRef::from(sender.stream()).set_tcp_notsent_lowat(LIMITED_UNSENT);
    }
    let mut connection = ResetOnDrop { sender, is_finished: false };
    let head = match options.dialect {
        ClientServerDialect::Raw => Vec::new(),
        ClientServerDialect::Framed => framing::head(total).to_vec(),
    };
    let (mut head, mut watched) = (head.as_slice(), None);
    while *sent < total {
        let end = total.min(*sent + SEND_SIZE);
        let segments = store.segments(*sent..end)?;
        watched = watched.or_else(|| WatchedFile::of(&segments));
        if connection.sender.is_cold() && end < total {
            store.prefetch(end..total.min(end + PREFETCH_SIZE));
        }
        if let SentBlock::CutShort { .. } = connection.sender.send_block(head, segments).await? {
            return Err(ServeError::FileChanged);
        }
        // Without hashes nothing else tells the client of a mixture of old and new bytes.
        if watched.as_ref().is_some_and(WatchedFile::has_changed) {
            return Err(ServeError::FileChanged);
        }
        head = &[];
        context.sent.fetch_add(end - *sent, Ordering::Relaxed);
        *sent = end;
    }
    connection.sender.send(head, false).await?;
    connection.finish();
    Ok((receiving, connection))
}

/// A file as it was when its transfer began.
struct WatchedFile {
    file: Arc<File>,
    began_as: (i64, i64, i64),
}

impl WatchedFile {
    fn of(segments: &[Segment]) -> Option<Self> {
        segments.iter().find_map(|segment| match segment {
            Segment::File { file, .. } => {
                Some(Self { file: Arc::clone(file), began_as: content_stamp(file)? })
            }
            Segment::Bytes(_) | Segment::Zeros(_) => None,
        })
    }

    /// Whether something was written to the file since then.
    fn has_changed(&self) -> bool {
        content_stamp(&self.file) != Some(self.began_as)
    }
}

/// The length of a file and the time of its last modification.
fn content_stamp(file: &File) -> Option<(i64, i64, i64)> {
    let stat = rustix::fs::fstat(file).ok()?;
    Some((stat.st_size, stat.st_mtime as i64, stat.st_mtime_nsec as i64))
}

/// Waits until the client closes the connection. To close it with unread bytes in it would reset
/// it, and the client would lose what is on the way. False: the client sends too much instead.
async fn wait_for_close(
    (mut receiving, _connection): (OwnedReadHalf, ResetOnDrop),
) -> io::Result<bool> {
    let (mut buffer, mut ignored) = ([0; 4096], 0);
    while ignored < MAX_IGNORED_BYTES {
        match receiving.read(&mut buffer).await? {
            0 => return Ok(true),
            count => ignored += count,
        }
    }
    Ok(false)
}

/// A connection that is reset if it is dropped before everything was sent.
struct ResetOnDrop {
    sender: PayloadSender,
    is_finished: bool,
}

impl ResetOnDrop {
    /// Ends the stream in good order. What is on the way gets the time that it needs.
    fn finish(&mut self) {
        let _ = SockRef::from(self.sender.stream()).set_linger(None);
        self.sender.finish();
        self.is_finished = true;
    }
}

impl Drop for ResetOnDrop {
    fn drop(&mut self) {
        if !self.is_finished {
            // Dropping the sending half would end the stream in good order. A connect to no address
            // resets the connection at once (tcp(7)). If it is gone already, no reset is needed.
            let _ = rustix::net::connect_unspec(self.sender.stream());
        }
    }
}

impl ServerContext {
    fn report(&self, event: FileServerEvent) {
        // The owner may have dropped its receiver.
        let _ = self.events.send(event);
    }
}
