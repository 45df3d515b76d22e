//! The server of `raw` and `framed`: it speaks first, sends the whole file from byte 0 to everyone
//! who calls, and closes. Who is served when is the engine's affair.
//!
//! A client of `raw` takes the end of the stream for the end of the file. So a connection that ends
//! earlier, even because this process was killed, is reset: that is the only way to tell the
//! client.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    ops::ControlFlow,
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
};
use sow_store::Store;
use sow_wire::framing;
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep, timeout},
};

use crate::{
    error::NodeError,
    listener::{canonical, listen},
    sendfile::Sender,
    throttle::RateLimit,
};

/// What is handed to the kernel at a time, in bytes.
const STRIDE: u64 = 1 << 20;

/// How far ahead the disk is told what is needed next, in bytes.
const AHEAD: u64 = 8 << 20;

/// What a client may say, although nobody listens, before it is hung up on, in bytes.
const CHATTER: usize = 64 * 1024;

/// The pause after a failure to accept, such as the want of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// What a server is told when it is made.
#[derive(Debug, Clone)]
pub struct FileServerOptions {
    /// What is said before the bytes of the file.
    pub framing: ClientServerDialect,
    /// The address to listen on; `None` is every address, IPv4 and IPv6.
    pub bind: Option<IpAddr>,
    /// The port to listen on; 0 lets the system choose.
    pub port: u16,
    /// What leaves per second, over all connections.
    pub up: RateLimit,
    /// How many clients there may be.
    pub places: AdmissionLimits,
    /// How long a client may take nothing, and how long it may take to close the connection in the
    /// end.
    pub stall: Duration,
}

/// Something that happened to a server. `addr` is the client's; each connection has one of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileServerEvent {
    /// A client has called.
    Accepted {
        /// Whose call it is.
        addr: SocketAddr,
        /// It is served now, waits for its turn, or was hung up on.
        admission: Admission,
    },
    /// The first byte is about to leave.
    Begins {
        /// For whom.
        addr: SocketAddr,
    },
    /// Everything was sent.
    Finished {
        /// To whom.
        addr: SocketAddr,
        /// Since its transfer began.
        took: Duration,
        /// The client has closed the connection too, as one does that has received the end. Nothing
        /// else tells that it has.
        closed: bool,
    },
    /// The transfer has broken off.
    Failed {
        /// The client that it was for.
        addr: SocketAddr,
        /// Bytes of the file that were sent, not necessarily received.
        sent: u64,
        /// Why.
        reason: String,
    },
}

/// A port that is listened on already: callers wait until there is something to serve.
#[derive(Debug)]
pub struct FileServerListener {
    listener: TcpListener,
    port: u16,
    options: FileServerOptions,
}

/// A server on a port of its own. Dropped, it takes no more calls and breaks off what it is
/// sending.
#[derive(Debug)]
pub struct FileServer {
    port: u16,
    sent: Arc<AtomicU64>,
    serving: JoinHandle<()>,
}

/// What the connections of a server have in common.
#[derive(Debug)]
struct Shared {
    options: FileServerOptions,
    store: Arc<Store>,
    sent: Arc<AtomicU64>,
    events: UnboundedSender<FileServerEvent>,
}

impl FileServerListener {
    /// Listens. To be called in a tokio runtime with time and IO.
    ///
    /// # Errors
    /// When the port or the address is not to be had.
    pub fn bind(options: FileServerOptions) -> Result<Self, NodeError> {
        let listener = listen(options.bind, options.port)?;
        let local = listener.local_addr();
        let port = local.map_err(|source| NodeError::Listen { port: options.port, source })?.port();
        // Connections inherit this: should one be dropped, or this process be killed, then the
        // kernel resets it instead of ending it in good order.
        let _ = SockRef::from(&listener).set_linger(Some(Duration::ZERO));
        Ok(Self { listener, port, options })
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Serves the content of a store, which must be whole, from now on. What happens is reported
    /// through the receiver, without bound: read it or drop it.
    pub fn serve(self, store: Arc<Store>) -> (FileServer, UnboundedReceiver<FileServerEvent>) {
        let (events, told) = unbounded_channel();
        let sent = Arc::new(AtomicU64::new(0));
        let shared = Shared { options: self.options, store, sent: Arc::clone(&sent), events };
        let serving = tokio::spawn(serve_all(self.listener, Arc::new(shared)));
        (FileServer { port: self.port, sent, serving }, told)
    }
}

impl FileServer {
    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Bytes of the file that were sent, to all clients together.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Drop for FileServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Takes calls for as long as it is let.
async fn serve_all(listener: TcpListener, shared: Arc<Shared>) {
    let mut reception = AdmissionQueue::new(shared.options.places);
    let mut waiting = BTreeMap::new();
    let mut serving = JoinSet::new();
    let mut calls = 0;
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, addr)) => {
                    let (caller, addr) = (ConnId(calls), canonical(addr));
                    calls += 1;
                    let admission = reception.arrived(caller);
                    shared.tell(FileServerEvent::Accepted { addr, admission });
                    match admission {
                        Admission::Serve => _ = serving.spawn(serve(stream, addr, Arc::clone(&shared))),
                        Admission::Wait => _ = waiting.insert(caller, (stream, addr)),
                        Admission::Refuse => drop(stream),
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot take a call");
                    sleep(PAUSE).await;
                }
            },
            Some(_) = serving.join_next() => {
                if let Some((stream, addr)) = reception.left().and_then(|next| waiting.remove(&next)) {
                    serving.spawn(serve(stream, addr, Arc::clone(&shared)));
                }
            }
        }
    }
}

/// Serves one client.
async fn serve(stream: TcpStream, addr: SocketAddr, shared: Arc<Shared>) {
    shared.tell(FileServerEvent::Begins { addr });
    let began = Instant::now();
    let mut sent = 0;
    let event = match send_everything(stream, &shared, &mut sent).await {
        Ok(rest) => {
            let closed = timeout(shared.options.stall, peer_s_end(rest)).await;
            let took = began.elapsed();
            match closed {
                Ok(Ok(ControlFlow::Break(()))) => {
                    FileServerEvent::Finished { addr, took, closed: true }
                }
                Ok(Ok(ControlFlow::Continue(()))) | Err(_) => {
                    FileServerEvent::Finished { addr, took, closed: false }
                }
                Ok(Err(error)) => FileServerEvent::Failed { addr, sent, reason: error.to_string() },
            }
        }
        Err(reason) => FileServerEvent::Failed { addr, sent, reason },
    };
    shared.tell(event);
}

/// Sends the head, the file and the end of the stream. Counts in `sent` what was handed to the
/// kernel.
async fn send_everything(
    stream: TcpStream,
    shared: &Shared,
    sent: &mut u64,
) -> Result<(OwnedReadHalf, Unfinished), String> {
    let Shared { options, store, .. } = shared;
    let total = store.geometry().total();
    let (receiving, half) = stream.into_split();
    let sender = Sender::new(half, Arc::clone(&options.up.0), options.stall);
    let mut connection = Unfinished { sender, is_finished: false };
    let head = match options.framing {
        ClientServerDialect::Raw => Vec::new(),
        ClientServerDialect::Framed => framing::head(total).to_vec(),
    };
    let mut head = head.as_slice();
    while *sent < total {
        let end = total.min(*sent + STRIDE);
        let segments = store.segments(*sent..end).map_err(|error| error.to_string())?;
        if connection.sender.is_cold() && end < total {
            store.prefetch(end..total.min(end + AHEAD));
        }
        connection.sender.send_block(head, segments).await.map_err(|error| error.to_string())?;
        head = &[];
        shared.sent.fetch_add(end - *sent, Ordering::Relaxed);
        *sent = end;
    }
    connection.sender.send(head, false).await.map_err(|error| error.to_string())?;
    connection.finish();
    Ok((receiving, connection))
}

/// Waits until the client closes the connection as well: to close it with something unread in it
/// would reset it, and the client would lose what is still on the way. `Continue`: it talks
/// instead.
async fn peer_s_end(
    (mut receiving, _connection): (OwnedReadHalf, Unfinished),
) -> io::Result<ControlFlow<()>> {
    let (mut buffer, mut heard) = ([0; 4096], 0);
    while heard < CHATTER {
        match receiving.read(&mut buffer).await? {
            0 => return Ok(ControlFlow::Break(())),
            count => heard += count,
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// A connection that is reset when it is dropped before everything was sent.
struct Unfinished {
    sender: Sender,
    is_finished: bool,
}

impl Unfinished {
    /// Everything was sent: what is still on the way gets the time that it needs.
    fn finish(&mut self) {
        let _ = SockRef::from(self.sender.stream()).set_linger(None);
        self.sender.finish();
        self.is_finished = true;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.is_finished {
            // The sending half would end the stream in good order when it goes. To connect to
            // nobody resets the connection at once (tcp(7)); one that is gone already needs no
            // reset.
            let _ = rustix::net::connect_unspec(self.sender.stream());
        }
    }
}

impl Shared {
    /// Tells whoever listens; nobody has to.
    fn tell(&self, event: FileServerEvent) {
        let _ = self.events.send(event);
    }
}
