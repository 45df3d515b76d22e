//! The progress of a fetch, and its cancellation, shared between the fetch and its owner. The fetch
//! itself is in `client`.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use tokio::sync::Notify;

/// The progress of a fetch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FetchStatus {
    /// Bytes of the file that were received on the present connection.
    pub received: u64,
    /// The length of the file in bytes, if it is known.
    pub total: Option<u64>,
    /// How many times the transfer was started.
    pub attempts: u32,
    /// The server is connected.
    pub is_connected: bool,
    /// How many times the transfer was interrupted and is started again.
    pub interruptions: u32,
    /// The last error.
    pub last_error: Option<String>,
    /// The error of the last interruption.
    pub last_interruption: Option<String>,
}

/// Shows the progress of a fetch, and cancels it.
#[derive(Debug, Default)]
pub struct FetchHandle {
    /// Counted apart from the rest, because it changes with every buffer.
    received: AtomicU64,
    status: Mutex<FetchStatus>,
    is_cancelled: AtomicBool,
    cancel: Notify,
}

impl FetchHandle {
    /// The progress at this moment.
    pub fn status(&self) -> FetchStatus {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner).clone();
        FetchStatus { received: self.received.load(Ordering::Relaxed), ..status }
    }

    /// Cancels the fetch. [`fetch_file`](crate::fetch_file) then removes what it has written and
    /// returns soon.
    pub fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Relaxed);
        self.cancel.notify_waiters();
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::Relaxed)
    }

    /// Returns when the fetch is cancelled.
    pub(super) async fn cancelled(&self) {
        let notified = self.cancel.notified();
        tokio::pin!(notified);
        // Registered before the check, so that no notification between the two is missed.
        notified.as_mut().enable();
        if !self.is_cancelled() {
            notified.await;
        }
    }

    pub(super) fn set_received(&self, bytes: u64) {
        self.received.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut FetchStatus)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn set_error(&self, error: impl ToString) {
        self.update(|status| status.last_error = Some(error.to_string()));
    }
}
