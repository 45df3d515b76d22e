//! The tracker of document 2 as it is reached over TCP: one framed request a connection, in front
//! of a registry that decides; and the calls by which it learns who of its peers is dead.

use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sow_engine::Time;
use sow_tracker::{Announcer, JsonLimits, JsonRegistry};
use sow_wire::{
    framing::frame,
    json_torrent::tracker::{MAX_REQUEST, Reply, Request},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::{AbortHandle, JoinHandle, JoinSet},
    time::{sleep, timeout},
};

use crate::{
    clock::Clock,
    error::NodeError,
    json_frames::{FrameError, read_frame},
    listener::{canonical, listen},
    outgoing,
    sniff::Rewound,
};

/// For a request, from its first byte to its last.
const REQUEST_TIME: Duration = Duration::from_secs(10);

/// For a reply to be taken: the longest has half a megabyte.
const REPLY_TIME: Duration = Duration::from_secs(30);

/// How long, and for how many bytes, a caller who says more than one request is listened to. A
/// connection that is closed while bytes wait in it is reset, and the reply with it.
const FAREWELL: Duration = Duration::from_secs(2);
const FAREWELL_BYTES: u64 = 64 * 1024;

/// Connections to a port of its own. Beyond it the one that has lasted longest has to go.
const CONNECTIONS: usize = 1024;

/// The pause after a failure to accept, such as the want of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// How often to look for peers that are to be called.
const LOOK: Duration = Duration::from_secs(1);

/// For a peer to take a call.
const CALL: Duration = Duration::from_secs(5);

/// Calls at the same time.
const CALLS: usize = 32;

/// A tracker of one swarm that may be asked from any number of connections at once. Clones are the
/// same tracker.
#[derive(Debug, Clone)]
pub struct JsonTrackerService {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    clock: Clock,
    books: Mutex<(JsonRegistry, fastrand::Rng)>,
}

/// A tracker on a port of its own. Dropped, it takes no more calls, and makes none.
#[derive(Debug)]
pub struct JsonTracker {
    service: JsonTrackerService,
    port: u16,
    tasks: [JoinHandle<()>; 2],
}

impl JsonTrackerService {
    /// A tracker that nobody has joined yet.
    pub fn new(limits: JsonLimits) -> Self {
        let books = Mutex::new((JsonRegistry::new(limits), fastrand::Rng::new()));
        Self { shared: Arc::new(Shared { clock: Clock::new(), books }) }
    }

    /// Those who are there, by ascending address.
    pub fn peers(&self) -> Vec<SocketAddr> {
        self.with_books(|now, registry, _| registry.peers(now))
    }

    /// Calls peers that were not heard of for long, for ever, from `bind` or whatever address the
    /// system chooses.
    pub async fn probe(self, bind: Option<IpAddr>) {
        let turns = Arc::new(Semaphore::new(CALLS));
        loop {
            for addr in self.with_books(|now, registry, _| registry.due_probes(now)) {
                // The semaphore is never closed.
                let turn = Arc::clone(&turns).acquire_owned().await;
                let service = self.clone();
                tokio::spawn(async move {
                    let _turn = turn;
                    if let Some(alive) = is_alive(addr, bind).await {
                        service.probed(addr, alive);
                    }
                });
            }
            sleep(LOOK).await;
        }
    }

    fn probed(&self, addr: SocketAddr, alive: bool) {
        if self.with_books(|now, registry, _| registry.on_probed(addr, alive, now)) {
            tracing::info!(%addr, "a peer is out of reach and listed no more");
        }
    }

    fn answer(&self, body: &[u8], caller: Announcer) -> Reply {
        let request = match Request::decode(body) {
            Ok(request) => request,
            Err(error) => return Reply::Refused(error.to_string()),
        };
        let reply =
            self.with_books(|now, registry, rng| registry.answer(now, caller, &request, rng));
        let addr = SocketAddr::new(caller.address, request.port);
        match &reply {
            Reply::Joined(peers) => tracing::info!(%addr, told = peers.len(), "a peer joins"),
            Reply::Left => tracing::info!(%addr, "a peer leaves"),
            Reply::Refused(_) => {}
        }
        reply
    }

    fn with_books<T>(
        &self,
        with: impl FnOnce(Duration, &mut JsonRegistry, &mut fastrand::Rng) -> T,
    ) -> T {
        let mut books = self.shared.books.lock().unwrap_or_else(PoisonError::into_inner);
        let (registry, rng) = &mut *books;
        with(self.shared.clock.now().since(Time::default()), registry, rng)
    }
}

impl JsonTracker {
    /// Listens, on one address or on all of them. To be called in a tokio runtime with time and IO.
    ///
    /// # Errors
    /// When the port or the address is not to be had.
    pub fn bind(
        bind: Option<IpAddr>,
        port: u16,
        service: JsonTrackerService,
    ) -> Result<Self, NodeError> {
        let listener = listen(bind, port)?;
        let local = listener.local_addr().map_err(|source| NodeError::Listen { port, source })?;
        let from = bind.filter(|bind| !bind.is_unspecified());
        let tasks = [
            tokio::spawn(accept_all(listener, service.clone())),
            tokio::spawn(service.clone().probe(from)),
        ];
        Ok(Self { service, port: local.port(), tasks })
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The tracker behind it.
    pub fn service(&self) -> &JsonTrackerService {
        &self.service
    }
}

impl Drop for JsonTracker {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Answers the one request of a connection. `first`: what was read of it already.
pub(crate) async fn serve(
    stream: TcpStream,
    first: Vec<u8>,
    remote: SocketAddr,
    service: JsonTrackerService,
) {
    let remote = canonical(remote);
    match exchange(stream, first, remote, &service).await {
        Ok(Reply::Refused(reason)) => {
            tracing::info!(addr = %remote, reason, "a request is refused")
        }
        Ok(Reply::Joined(_) | Reply::Left) => {}
        Err(error) => {
            tracing::info!(addr = %remote, %error, "a caller of the tracker got no reply")
        }
    }
}

async fn exchange(
    stream: TcpStream,
    first: Vec<u8>,
    remote: SocketAddr,
    service: &JsonTrackerService,
) -> Result<Reply, FrameError> {
    let caller = Announcer { address: remote.ip(), reached: canonical(stream.local_addr()?).ip() };
    let mut stream = Rewound::new(first, stream);
    let reply = match within(REQUEST_TIME, read_frame(&mut stream, MAX_REQUEST)).await? {
        Ok(body) => service.answer(&body, caller),
        Err(error @ FrameError::TooLong { .. }) => Reply::Refused(error.to_string()),
        Err(error) => return Err(error),
    };
    let sending = async {
        stream.write_all(&frame(&reply.encode())).await?;
        stream.shutdown().await
    };
    within(REPLY_TIME, sending).await??;
    let _ = timeout(
        FAREWELL,
        tokio::io::copy(&mut stream.take(FAREWELL_BYTES), &mut tokio::io::sink()),
    )
    .await;
    Ok(reply)
}

async fn within<T>(time: Duration, work: impl Future<Output = T>) -> io::Result<T> {
    timeout(time, work).await.map_err(|_| io::ErrorKind::TimedOut.into())
}

/// Takes calls for as long as it is let.
async fn accept_all(listener: TcpListener, service: JsonTrackerService) {
    let mut serving = JoinSet::new();
    let mut order: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, remote)) => {
                    order.retain(|connection| !connection.is_finished());
                    if order.len() >= CONNECTIONS && let Some(oldest) = order.pop_front() {
                        oldest.abort();
                    }
                    order.push_back(serving.spawn(serve(stream, Vec::new(), remote, service.clone())));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot take a call");
                    sleep(PAUSE).await;
                }
            },
            Some(_) = serving.join_next() => {}
        }
    }
}

/// Whether a peer takes a call. `None`: that cannot be told, for the trouble is on this side.
///
/// The connection is reset at once: the original programs take an orderly end for silence and read
/// on, one thread of theirs each time, for ever.
async fn is_alive(addr: SocketAddr, bind: Option<IpAddr>) -> Option<bool> {
    let called = timeout(CALL, call(addr, bind)).await;
    match called {
        Ok(Ok(_)) => Some(true),
        Ok(Err(error)) => match error.kind() {
            io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::TimedOut => Some(false),
            _ => {
                tracing::debug!(%addr, %error, "a peer cannot be called");
                None
            }
        },
        Err(_) => Some(false),
    }
}

async fn call(addr: SocketAddr, bind: Option<IpAddr>) -> io::Result<TcpStream> {
    // A peer of the other family is called from wherever there is a way.
    let socket = outgoing::socket(addr, bind.filter(|from| from.is_ipv4() == addr.is_ipv4()))?;
    socket.set_zero_linger()?;
    socket.connect(addr).await
}

#[cfg(test)]
mod tests {
    use sow_wire::json_torrent::tracker::{Event, MAX_REPLY};

    use super::*;

    #[tokio::test]
    async fn what_was_read_already_belongs_to_the_request() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let request =
            frame(&Request::new("10.0.0.1:5555".parse().unwrap(), Event::Started).encode());
        for at in [0, 3, 9, request.len()] {
            let mut caller = TcpStream::connect(addr).await.unwrap();
            let (stream, remote) = listener.accept().await.unwrap();
            let service = JsonTrackerService::new(JsonLimits::default());
            tokio::spawn(serve(stream, request[..at].to_vec(), remote, service.clone()));
            caller.write_all(&request[at..]).await.unwrap();
            let body = timeout(CALL, read_frame(&mut caller, MAX_REPLY)).await.unwrap().unwrap();
            assert_eq!(Reply::decode(&body), Ok(Reply::Joined(Vec::new())));
            assert_eq!(service.peers(), ["127.0.0.1:5555".parse().unwrap()]);
        }
    }
}
