//! The `json-torrent` tracker over TCP: one framed request on each connection, in front of a
//! registry; and the probes that find peers which are gone. Which peers are listed, and which are
//! probed, is the registry's decision.

use std::{
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
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::frames::{FrameError, read_frame};
use crate::{
    clock::Clock,
    error::NodeError,
    listener::{canonical, listen},
    outbound, place_limits,
    places::Places,
    sniff::Rewound,
};

/// The time limit for a request, from its first byte to its last.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The time limit for a client to take a reply. The longest one has half a megabyte.
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);

/// The time limit for a client to close the connection after the reply. A connection that is closed
/// with unread bytes in it is reset, and the client may lose the reply.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);

/// How many bytes behind the request are discarded before the connection is closed.
const MAX_DISCARDED_BYTES: u64 = 64 * 1024;

/// The pause after a failed accept, for instance when file descriptors run out.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// How often the registry is asked for peers to probe.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// The time limit for a peer to accept a probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// The maximum number of simultaneous probes.
const MAX_PROBES: usize = 32;

/// A tracker of one swarm that any number of connections use at the same time. Clones are the same
/// tracker.
#[derive(Debug, Clone)]
pub struct JsonTrackerService {
    state: Arc<TrackerState>,
}

#[derive(Debug)]
struct TrackerState {
    clock: Clock,
    registry: Mutex<(JsonRegistry, fastrand::Rng)>,
}

/// A tracker on a port of its own. A tracker that is dropped accepts no more connections and sends
/// no more probes.
#[derive(Debug)]
pub struct JsonTracker {
    service: JsonTrackerService,
    port: u16,
    tasks: [JoinHandle<()>; 2],
}

impl JsonTrackerService {
    /// A tracker with an empty registry.
    pub fn new(limits: JsonLimits) -> Self {
        let registry = Mutex::new((JsonRegistry::new(limits), fastrand::Rng::new()));
        Self { state: Arc::new(TrackerState { clock: Clock::new(), registry }) }
    }

    /// The listed peers, by ascending address.
    pub fn peers(&self) -> Vec<SocketAddr> {
        self.with_registry(|now, registry, _| registry.peers(now))
    }

    /// Probes peers that have not announced for long. Never returns. Probes come from `bind`, or
    /// from the address that the system chooses.
    pub async fn probe(self, bind: Option<IpAddr>) {
        let permits = Arc::new(Semaphore::new(MAX_PROBES));
        loop {
            for addr in self.with_registry(|now, registry, _| registry.due_probes(now)) {
                // The semaphore is never closed.
                let permit = Arc::clone(&permits).acquire_owned().await;
                let service = self.clone();
                tokio::spawn(async move {
                    let _permit = permit;
                    if let Some(is_alive) = probe(addr, bind).await {
                        service.on_probed(addr, is_alive);
                    }
                });
            }
            sleep(PROBE_INTERVAL).await;
        }
    }

    fn on_probed(&self, addr: SocketAddr, is_alive: bool) {
        if self.with_registry(|now, registry, _| registry.on_probed(addr, is_alive, now)) {
            tracing::info!(%addr, "a peer is out of reach and was removed from the list");
        }
    }

    fn answer(&self, body: &[u8], announcer: Announcer) -> Reply {
        let request = match Request::decode(body) {
            Ok(request) => request,
            Err(error) => return Reply::Error(error.to_string()),
        };
        let reply =
            self.with_registry(|now, registry, rng| registry.answer(now, announcer, &request, rng));
        let addr = SocketAddr::new(announcer.address, request.port);
        match &reply {
            Reply::Joined(peers) => tracing::info!(%addr, peers = peers.len(), "a peer joins"),
            Reply::Left => tracing::info!(%addr, "a peer leaves"),
            Reply::Error(_) => {}
        }
        reply
    }

    fn with_registry<T>(
        &self,
        with: impl FnOnce(Duration, &mut JsonRegistry, &mut fastrand::Rng) -> T,
    ) -> T {
        let mut registry = self.state.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let (registry, rng) = &mut *registry;
        with(self.state.clock.now().since(Time::default()), registry, rng)
    }
}

impl JsonTracker {
    /// Listens, on one address or on all of them. Must be called in a tokio runtime with time and
    /// IO.
    ///
    /// # Errors
    /// When the port or the address is not available.
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

    /// The service behind the port.
    pub fn service(&self) -> &JsonTrackerService {
        &self.service
    }
}

impl Drop for JsonTracker {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Answers the one request of a connection. `first` is what was read of it already.
pub(crate) async fn serve_connection(
    stream: TcpStream,
    first: Vec<u8>,
    remote: SocketAddr,
    service: JsonTrackerService,
) {
    let remote = canonical(remote);
    match exchange(stream, first, remote, &service).await {
        Ok(Reply::Error(reason)) => {
            tracing::info!(addr = %remote, reason, "a tracker request was refused")
        }
        Ok(Reply::Joined(_) | Reply::Left) => {}
        Err(error) => {
            tracing::info!(addr = %remote, %error, "a tracker request got no reply")
        }
    }
}

async fn exchange(
    stream: TcpStream,
    first: Vec<u8>,
    remote: SocketAddr,
    service: &JsonTrackerService,
) -> Result<Reply, FrameError> {
    let reached = canonical(stream.local_addr()?).ip();
    let announcer = Announcer { address: remote.ip(), reached };
    let mut stream = Rewound::new(first, stream);
    let reply = match within(REQUEST_TIMEOUT, read_frame(&mut stream, MAX_REQUEST)).await? {
        Ok(body) => service.answer(&body, announcer),
        Err(error @ FrameError::TooLong { .. }) => Reply::Error(error.to_string()),
        Err(error) => return Err(error),
    };
    let sending = async {
        stream.write_all(&frame(&reply.encode())).await?;
        stream.shutdown().await
    };
    within(REPLY_TIMEOUT, sending).await??;
    let mut rest = stream.take(MAX_DISCARDED_BYTES);
    let mut sink = tokio::io::sink();
    let discarding = tokio::io::copy(&mut rest, &mut sink);
    let _ = timeout(DISCARD_TIMEOUT, discarding).await;
    Ok(reply)
}

async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> io::Result<T> {
    timeout(limit, work).await.map_err(|_| io::ErrorKind::TimedOut.into())
}

/// Accepts connections until the task is aborted.
async fn accept_all(listener: TcpListener, service: JsonTrackerService) {
    let mut places = Places::new(place_limits::json_tracker());
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, remote)) => {
                    places.serve(canonical(remote), |_| {
                        serve_connection(stream, Vec::new(), remote, service.clone())
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(ACCEPT_RETRY_DELAY).await;
                }
            },
            Some(()) = places.ended() => {}
        }
    }
}

/// Whether a peer accepts a connection. `None`: unknown, because the error is on this side.
///
/// The connection is reset at once. The original programs do not notice the orderly end of a
/// connection: a thread of theirs reads on for ever.
async fn probe(addr: SocketAddr, bind: Option<IpAddr>) -> Option<bool> {
    match timeout(PROBE_TIMEOUT, connect_to_reset(addr, bind)).await {
        Ok(Ok(_)) => Some(true),
        Ok(Err(error)) => match error.kind() {
            io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::TimedOut => Some(false),
            _ => {
                tracing::debug!(%addr, %error, "a peer cannot be probed");
                None
            }
        },
        Err(_) => Some(false),
    }
}

/// Connects to a peer. The connection is reset when it is dropped.
async fn connect_to_reset(addr: SocketAddr, bind: Option<IpAddr>) -> io::Result<TcpStream> {
    // A peer of the other address family is probed from the address that the system chooses.
    let socket = outbound::socket(addr, bind.filter(|from| from.is_ipv4() == addr.is_ipv4()))?;
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
            let mut client = TcpStream::connect(addr).await.unwrap();
            let (stream, remote) = listener.accept().await.unwrap();
            let service = JsonTrackerService::new(JsonLimits::default());
            let first = request[..at].to_vec();
            tokio::spawn(serve_connection(stream, first, remote, service.clone()));
            client.write_all(&request[at..]).await.unwrap();
            let body =
                timeout(PROBE_TIMEOUT, read_frame(&mut client, MAX_REPLY)).await.unwrap().unwrap();
            assert_eq!(Reply::decode(&body), Ok(Reply::Joined(Vec::new())));
            assert_eq!(service.peers(), ["127.0.0.1:5555".parse().unwrap()]);
        }
    }
}
