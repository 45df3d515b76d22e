//! One receiver as people and scripts see it: a plain record, from which the view, the results
//! file and the closing lines are made.

use std::{borrow::Cow, net::SocketAddr, time::Duration};

use crate::report::{ReceiverState, percent};

/// One receiver: a copy of the content on one machine, or an expected host that never came. Times
/// are since the start of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Receiver {
    /// What identifies it: the id of its copy in hexadecimal digits, or else its address.
    pub(crate) id: String,
    /// The name that it goes by: as it says, printable and bounded; or else its address.
    pub(crate) name: String,
    /// The address on which it listens, or else from which it connected last.
    pub(crate) addr: Option<SocketAddr>,
    /// What it is doing.
    pub(crate) state: ReceiverState,
    /// It is connected.
    pub(crate) is_connected: bool,
    /// The bytes of the pieces that it says it has verified.
    pub(crate) bytes: u64,
    /// The size of the content in bytes.
    pub(crate) total: u64,
    /// The rate at which it gets verified bytes, from all peers, in bytes per second.
    pub(crate) rate: u64,
    /// When it was connected first.
    pub(crate) first_seen: Option<Duration>,
    /// When it was connected last.
    pub(crate) last_seen: Option<Duration>,
    /// When the bytes that it has verified last grew.
    pub(crate) last_progress: Option<Duration>,
    /// When it became complete.
    pub(crate) finished: Option<Duration>,
    /// Why it failed last, as it says: printable and bounded.
    pub(crate) last_error: Option<String>,
}

impl Receiver {
    /// An expected host that has not come.
    pub(crate) fn missing(name: &str, total: u64) -> Self {
        Self {
            id: String::new(),
            name: name.to_owned(),
            addr: None,
            state: ReceiverState::Missing,
            is_connected: false,
            bytes: 0,
            total,
            rate: 0,
            first_seen: None,
            last_seen: None,
            last_progress: None,
            finished: None,
            last_error: None,
        }
    }

    /// It holds a verified copy.
    pub(crate) fn is_complete(&self) -> bool {
        self.state == ReceiverState::Complete
    }

    /// It is connected and downloads, so that it counts in means and totals.
    pub(crate) fn is_active(&self) -> bool {
        self.is_connected && self.state == ReceiverState::Connected
    }

    /// How long it took to become complete, or was seen, in seconds.
    pub(crate) fn seconds(&self) -> Option<f64> {
        let end = self.finished.or(self.last_seen)?;
        Some(end.saturating_sub(self.first_seen?).as_secs_f64())
    }

    /// Its mean rate in bytes per second over the time in which it was seen.
    pub(crate) fn mean_rate(&self) -> Option<u64> {
        let seconds = self.seconds().filter(|seconds| *seconds >= 0.001)?;
        Some((self.bytes as f64 / seconds) as u64)
    }

    /// The address as text, for events and files; empty if it has none.
    pub(crate) fn peer(&self) -> String {
        self.addr.map(|addr| addr.to_string()).unwrap_or_default()
    }

    /// The name or the address of its host, as a list of hosts has it.
    pub(crate) fn host_name(&self) -> Cow<'_, str> {
        match self.addr.filter(|addr| self.name == addr.to_string()) {
            Some(addr) => Cow::Owned(addr.ip().to_string()),
            None => Cow::Borrowed(&self.name),
        }
    }

    /// Why it is not complete; for people.
    pub(crate) fn shortfall(&self) -> String {
        let done = percent(self.bytes, self.total);
        match (self.state, &self.last_error) {
            (ReceiverState::Missing, _) => "not connected".to_owned(),
            (ReceiverState::Failed, Some(error)) => format!("failed at {done}: {error}"),
            (ReceiverState::Failed, None) => format!("failed at {done}"),
            (ReceiverState::Gone, Some(error)) => {
                format!("{done}, disconnected; failed before: {error}")
            }
            (ReceiverState::Gone, None) => format!("{done}, disconnected"),
            (ReceiverState::Connected | ReceiverState::Complete, _) => done,
        }
    }
}
