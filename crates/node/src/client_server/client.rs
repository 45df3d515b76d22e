//! The client of `raw` and `framed`: connects to a server, lets `receiver` receive the file, and
//! connects again if the engine says so. What received bytes, the end of the stream and a stall
//! mean is the engine's decision.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use sow_engine::client_server::{Client, ClientAction, ClientConfig, GiveUp};
use sow_store::{Placement, SequentialTarget, StoreError};
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep_until, timeout},
};

use super::{
    handle::FetchHandle,
    receiver::{ReceiveError, Receiver},
};
use crate::{clock::Clock, outbound, throttle::RateLimit};

/// The time limit for a connection to one address.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Which server to connect to, and how.
#[derive(Debug, Clone)]
pub struct FetchOptions {
    /// The server's addresses. They are tried in this order.
    pub addrs: Vec<SocketAddr>,
    /// The address to connect from; `None` leaves it to the system.
    pub bind: Option<IpAddr>,
    /// The download limit.
    pub down: RateLimit,
    /// What is known of the file, and the timeouts.
    pub config: ClientConfig,
}

/// A file that was fetched.
#[derive(Debug)]
pub struct FetchedFile {
    /// Where it is; the content itself if it is in memory.
    pub target: SequentialTarget,
    /// How it was put in place.
    pub placement: Placement,
    /// Its length in bytes.
    pub bytes: u64,
    /// The server that sent it.
    pub server: SocketAddr,
    /// From the last connection's begin to the last byte.
    pub duration: Duration,
}

/// Why no file was fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The engine has given up.
    #[error("{}", GiveUpText(reason, last_error))]
    GaveUp {
        /// Why.
        reason: GiveUp,
        /// The last error on the way, if there was one.
        last_error: Option<String>,
    },
    /// The target of the file failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The fetch was cancelled.
    #[error("cancelled")]
    Cancelled,
}

/// Fetches a file into `target`, over as many connections as necessary. If the future is dropped,
/// the fetch is cancelled, and what it has written is removed a moment later.
///
/// # Errors
/// When the file could not be fetched. Nothing is left of it then.
pub async fn fetch_file(
    options: FetchOptions,
    mut target: SequentialTarget,
    handle: Arc<FetchHandle>,
) -> Result<FetchedFile, FetchError> {
    let _guard = CancelOnDrop(&handle);
    let clock = Clock::new();
    let mut client = Client::new(clock.now(), options.config);
    loop {
        if handle.is_cancelled() {
            return Err(FetchError::Cancelled);
        }
        let connected = tokio::select! {
            connected = connect(&options) => connected,
            () = handle.cancelled() => continue,
        };
        let action = match connected {
            Err(error) => {
                handle.set_error(error);
                client.not_reached(clock.now())
            }
            Ok((stream, server)) => {
                let began = Instant::now();
                let receiver = Receiver {
                    stream,
                    dialect: options.config.framing,
                    client,
                    target,
                    down: options.down.clone(),
                    handle: Arc::clone(&handle),
                    clock,
                };
                let (receiver, ended) = receiver.run_blocking().await;
                (client, target) = (receiver.client, receiver.target);
                let action = ended?;
                note_end(&handle, action);
                if action == ClientAction::Done {
                    let (bytes, duration) = (client.received(), began.elapsed());
                    let (target, placement) = finish(target).await?;
                    return Ok(FetchedFile { target, placement, bytes, server, duration });
                }
                action
            }
        };
        match action {
            ClientAction::Call(time) if target.can_restart() => tokio::select! {
                () = sleep_until(clock.instant(time)) => {}
                () = handle.cancelled() => {}
            },
            ClientAction::GiveUp(reason) => return Err(gave_up(reason, &handle)),
            ClientAction::Call(_) | ClientAction::Receive | ClientAction::Done => {
                return Err(gave_up(GiveUp::BrokenOff { begun: client.begun() }, &handle));
            }
        }
    }
}

/// Tries the addresses in turn. The error is that of the last one.
async fn connect(options: &FetchOptions) -> io::Result<(TcpStream, SocketAddr)> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the server has no address");
    for &addr in &options.addrs {
        match timeout(CONNECT_TIMEOUT, outbound::connect(addr, options.bind)).await {
            Ok(Ok(stream)) => return Ok((stream.into_std()?, addr)),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, "no answer"),
        }
    }
    Err(last)
}

fn note_end(handle: &FetchHandle, action: ClientAction) {
    handle.update(|status| {
        status.is_connected = false;
        if matches!(action, ClientAction::Call(_)) {
            status.interruptions += 1;
            status.last_interruption = status.last_error.clone();
        }
    });
}

/// Puts the file in place, on a blocking thread.
async fn finish(mut target: SequentialTarget) -> Result<(SequentialTarget, Placement), FetchError> {
    let finishing = spawn_blocking(move || target.finish().map(|placement| (target, placement)));
    match finishing.await {
        Ok(finished) => Ok(finished?),
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

fn gave_up(reason: GiveUp, handle: &FetchHandle) -> FetchError {
    FetchError::GaveUp { reason, last_error: handle.status().last_error }
}

impl From<ReceiveError> for FetchError {
    fn from(error: ReceiveError) -> Self {
        match error {
            ReceiveError::Store(error) => Self::Store(error),
            ReceiveError::Cancelled => Self::Cancelled,
        }
    }
}

/// Cancels a fetch whose future is dropped.
struct CancelOnDrop<'a>(&'a FetchHandle);

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// The reason to give up, and the last error.
struct GiveUpText<'a>(&'a GiveUp, &'a Option<String>);

impl fmt::Display for GiveUpText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            GiveUp::OutOfReach => f.write_str("the server is out of reach")?,
            GiveUp::BrokenOff { begun: 1 } => f.write_str("the transfer broke off")?,
            GiveUp::BrokenOff { begun } => write!(f, "the transfer broke off {begun} times")?,
            GiveUp::WrongSize { expected, came } => {
                return write!(f, "the file has {came} bytes, and not {expected}");
            }
            GiveUp::TooLong { limit, announced: Some(length) } => {
                return write!(f, "the file has {length} bytes; at most {limit} are accepted");
            }
            GiveUp::TooLong { limit, announced: None } => {
                return write!(f, "the file has more than {limit} bytes");
            }
        }
        match self.1 {
            Some(last_error) => write!(f, ": {last_error}"),
            None => Ok(()),
        }
    }
}
