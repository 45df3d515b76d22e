//! One connection of a client of `raw` or `framed`: receives into a large buffer and writes it to
//! the target, on a blocking thread. What received bytes mean is the engine's decision.

use std::{io, net::TcpStream, sync::Arc, time::Duration};

use rustix::{
    io::Errno,
    net::{RecvFlags, recv},
};
use sow_engine::client_server::{Client, ClientAction, ClientServerDialect};
use sow_store::{SequentialTarget, StoreError};
use sow_wire::framing;
use tokio::{runtime::Handle, task::spawn_blocking, time::Instant};

use super::handle::FetchHandle;
use crate::{clock::Clock, throttle::RateLimit};

/// The size of the receive buffer, in bytes. It stays in a processor's cache between the socket and
/// the file.
const RECEIVE_BUFFER: usize = 256 * 1024;

/// How long to wait for a full buffer before checking for a stall or a cancellation.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// The state of one connection. `client` and `target` outlive it.
pub(super) struct Receiver {
    pub(super) stream: TcpStream,
    pub(super) dialect: ClientServerDialect,
    pub(super) client: Client,
    pub(super) target: SequentialTarget,
    pub(super) down: RateLimit,
    pub(super) handle: Arc<FetchHandle>,
    pub(super) clock: Clock,
}

/// Why receiving ended without an action of the engine.
pub(super) enum ReceiveError {
    Store(StoreError),
    Cancelled,
}

/// The result of one attempt to receive.
enum ReceiveResult {
    /// This many bytes, perhaps fewer than fit into the buffer.
    Bytes(usize),
    /// The server has shut down its sending half.
    EndOfStream,
    /// Too little came within the stall timeout.
    Stalled,
    /// The connection failed.
    Failed(io::Error),
}

impl Receiver {
    /// Receives on a blocking thread until the engine wants something else. The stream is closed
    /// afterwards.
    pub(super) async fn run_blocking(mut self) -> (Self, Result<ClientAction, ReceiveError>) {
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

    fn run(&mut self, runtime: &Handle) -> Result<ClientAction, ReceiveError> {
        self.client.reached(self.clock.now());
        self.handle.set_received(0);
        let (attempts, total) = (self.client.begun(), self.client.length());
        self.handle.update(|status| {
            (status.attempts, status.total, status.is_connected) = (attempts, total, true);
        });
        let ready = self
            .stream
            .set_nonblocking(false)
            .and_then(|()| self.stream.set_read_timeout(Some(CHECK_INTERVAL)));
        if let Err(error) = ready {
            return Ok(self.on_failed(&error));
        }
        let mut action = match self.dialect {
            ClientServerDialect::Raw => ClientAction::Receive,
            ClientServerDialect::Framed => self.receive_head()?,
        };
        if matches!(action, ClientAction::Receive | ClientAction::Done) {
            // This fails before anything is created if there is no room for the file.
            self.target.begin(self.client.length())?;
            let total = self.client.length();
            self.handle.update(|status| status.total = total);
        }
        let mut buffer = vec![0; RECEIVE_BUFFER];
        while action == ClientAction::Receive {
            action = self.receive_and_write(&mut buffer, runtime)?;
        }
        Ok(action)
    }

    /// Receives the head of the frame, which holds the length of the file.
    fn receive_head(&mut self) -> Result<ClientAction, ReceiveError> {
        let (mut head, mut filled) = ([0; framing::HEAD_LENGTH], 0);
        while filled < head.len() {
            match self.receive(&mut head[filled..])? {
                ReceiveResult::Bytes(count) => filled += count,
                result => return Ok(self.on_no_bytes(result)),
            }
            if self.clock.now() >= self.client.deadline() {
                return Ok(self.on_no_bytes(ReceiveResult::Stalled));
            }
        }
        Ok(self.client.announced(self.clock.now(), framing::length_of(head)))
    }

    /// Receives a buffer, or what comes of it within the check interval, and writes it.
    fn receive_and_write(
        &mut self,
        buffer: &mut [u8],
        runtime: &Handle,
    ) -> Result<ClientAction, ReceiveError> {
        let wanted = usize::try_from(self.client.wanted()).unwrap_or(usize::MAX).min(buffer.len());
        let granted = self.grant(wanted, runtime)?;
        let result = self.receive(&mut buffer[..granted])?;
        let ReceiveResult::Bytes(count) = result else {
            self.down.0.give_back(granted);
            return Ok(self.on_no_bytes(result));
        };
        self.down.0.give_back(granted - count);
        let now = self.clock.now();
        let action = self.client.arrived(now, count as u64);
        if !matches!(action, ClientAction::Receive | ClientAction::Done) {
            return Ok(action);
        }
        self.target.write(&buffer[..count])?;
        self.handle.set_received(self.client.received());
        if action == ClientAction::Receive && now >= self.client.deadline() {
            return Ok(self.on_no_bytes(ReceiveResult::Stalled));
        }
        Ok(action)
    }

    /// How many bytes the download limit allows now, at most `wanted`.
    fn grant(&mut self, wanted: usize, runtime: &Handle) -> Result<usize, ReceiveError> {
        if !self.down.0.limits() {
            return Ok(wanted);
        }
        let began = Instant::now();
        let granted = runtime.block_on(async {
            tokio::select! {
                granted = self.down.0.take(wanted) => Ok(granted),
                () = self.handle.cancelled() => Err(ReceiveError::Cancelled),
            }
        });
        self.client.waited(began.elapsed());
        granted
    }

    /// Receives until the buffer is full, or until the check interval has passed since the first
    /// bytes came, or until the engine's deadline.
    fn receive(&self, buffer: &mut [u8]) -> Result<ReceiveResult, ReceiveError> {
        loop {
            let received = recv(&self.stream, &mut *buffer, RecvFlags::WAITALL);
            if self.handle.is_cancelled() {
                return Err(ReceiveError::Cancelled);
            }
            match received {
                Ok((_, 0)) => return Ok(ReceiveResult::EndOfStream),
                Ok((_, count)) => return Ok(ReceiveResult::Bytes(count)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if self.clock.now() >= self.client.deadline() => {
                    return Ok(ReceiveResult::Stalled);
                }
                Err(Errno::AGAIN) => {}
                Err(error) => return Ok(ReceiveResult::Failed(error.into())),
            }
        }
    }

    /// Tells the engine why no bytes came.
    fn on_no_bytes(&mut self, result: ReceiveResult) -> ClientAction {
        let now = self.clock.now();
        match result {
            ReceiveResult::Failed(error) => self.on_failed(&error),
            ReceiveResult::Stalled => {
                self.handle.set_error("the server sends nothing any more, or hardly anything");
                self.client.silent(now)
            }
            ReceiveResult::EndOfStream | ReceiveResult::Bytes(_) => {
                let action = self.client.ended(now);
                if action != ClientAction::Done {
                    self.handle.set_error("the server ended the stream too early");
                }
                action
            }
        }
    }

    fn on_failed(&mut self, error: &io::Error) -> ClientAction {
        self.handle.set_error(error);
        self.client.broke_off(self.clock.now())
    }
}

impl From<StoreError> for ReceiveError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
