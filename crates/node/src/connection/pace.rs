//! How fast a peer takes what is sent to it: one that keeps its socket full takes too little. The
//! time that the sender itself waits, for a rate limit or a disk, does not count.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

/// After a peer has taken so many bytes, the time in which it took nothing is forgotten. One that
/// takes less in several seconds, and makes the sender wait, is slow.
pub(crate) const MEASURED_BYTES: u64 = 64 * 1024;

/// Not waiting.
const NEVER: u64 = u64::MAX;

/// See the header of this file. One task sends, and any may ask.
#[derive(Debug)]
pub(crate) struct Pace {
    start: Instant,
    /// When the sender began to wait for the peer, in milliseconds after `start`.
    waiting_since: AtomicU64,
    /// How long it has waited before, in milliseconds.
    waited: AtomicU64,
    /// What was sent since that was forgotten, in bytes.
    sent: AtomicU64,
    displaced: Notify,
}

/// Counts the time until it is dropped.
pub(crate) struct Wait<'a>(&'a Pace);

impl Pace {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            waiting_since: AtomicU64::new(NEVER),
            waited: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            displaced: Notify::new(),
        }
    }

    /// How long the peer took nothing while it took the last 64 KiB.
    pub(crate) fn stalled(&self) -> Duration {
        let now = match self.waiting_since.load(Ordering::Relaxed) {
            NEVER => 0,
            since => self.now().saturating_sub(since),
        };
        Duration::from_millis(self.waited.load(Ordering::Relaxed) + now)
    }

    /// The peer makes room for another one.
    pub(crate) fn displace(&self) {
        self.displaced.notify_one();
    }

    /// Returns when the peer is to make room.
    pub(crate) async fn displaced(&self) {
        self.displaced.notified().await;
    }

    /// The sender waits for the peer until this is dropped.
    pub(crate) fn wait(&self) -> Wait<'_> {
        self.waiting_since.store(self.now(), Ordering::Relaxed);
        Wait(self)
    }

    pub(super) fn sent(&self, bytes: u64) {
        if self.sent.fetch_add(bytes, Ordering::Relaxed) + bytes >= MEASURED_BYTES {
            self.sent.store(0, Ordering::Relaxed);
            self.waited.store(0, Ordering::Relaxed);
        }
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let Self(pace) = self;
        let since = pace.waiting_since.swap(NEVER, Ordering::Relaxed);
        pace.waited.fetch_add(pace.now().saturating_sub(since), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_a_few_bytes_now_and_then_is_stalled() {
        let pace = Pace::new();
        for _ in 0..5 {
            let waiting = pace.wait();
            tokio::time::advance(Duration::from_secs(1)).await;
            drop(waiting);
            pace.sent(1000);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(pace.stalled(), Duration::from_secs(5));
        let _waiting = pace.wait();
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(pace.stalled(), Duration::from_secs(8));
        drop(_waiting);
        pace.sent(70_000);
        assert_eq!(pace.stalled(), Duration::ZERO);
    }
}
