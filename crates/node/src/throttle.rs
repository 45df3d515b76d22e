//! A rate limit that many connections share: first come, first served, in grains.
//!
//! Each taker reserves the next part of the limit's time line and sleeps until that part begins. So
//! takers are served in the order of their requests, the long-term rate does not depend on the
//! precision of timers, and there is no list of waiting takers.
//!
//! What is counted is the caller's decision: uploads count payload only, downloads count every byte
//! of a peer connection (the headers of blocks are less than 0.1 % of them).

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

/// The minimum size of a grain, in bytes.
const MIN_GRAIN: u64 = 16 * 1024;

/// The time that one grain takes at the limit's rate, unless it has the minimum size.
const GRAIN_TIME: Duration = Duration::from_millis(20);

/// How much unused time is made up for: timers are late by a millisecond or two.
const SLACK: Duration = Duration::from_millis(20);

/// A limit in bytes per second, or none. Clones share the same limit.
#[derive(Debug, Clone)]
pub struct RateLimit(pub(crate) Arc<Throttle>);

impl RateLimit {
    /// A new limit; `None` is no limit, and 0 counts as 1.
    pub fn new(bytes_per_second: Option<u64>) -> Self {
        Self(Arc::new(Throttle::new(bytes_per_second)))
    }
}

/// A rate in bytes per second, or none.
#[derive(Debug)]
pub(crate) struct Throttle {
    limit: Option<Limit>,
}

#[derive(Debug)]
struct Limit {
    rate: u64,
    grain: u64,
    /// Where the next reservation begins.
    next: Mutex<Instant>,
}

impl Throttle {
    pub(crate) fn new(rate: Option<u64>) -> Self {
        let limit = rate.map(|rate| {
            let rate = rate.max(1);
            let grain = (u128::from(rate) * GRAIN_TIME.as_millis() / 1000) as u64;
            Limit { rate, grain: grain.max(MIN_GRAIN), next: Mutex::new(Instant::now()) }
        });
        Self { limit }
    }

    /// Whether there is a limit at all.
    pub(crate) fn limits(&self) -> bool {
        self.limit.is_some()
    }

    /// Waits until some of `want` bytes may pass, and returns how many: all of them without a
    /// limit, otherwise at least one (if any are wanted) and at most a grain. If the future is
    /// dropped while it waits, it takes nothing.
    pub(crate) async fn take(&self, want: usize) -> usize {
        let Some(limit) = &self.limit else { return want };
        let bytes = (want as u64).min(limit.grain);
        let now = Instant::now();
        let start = limit.reserve(bytes, now);
        if start > now {
            let mut reservation = Reservation { limit, bytes };
            sleep_until(start).await;
            reservation.bytes = 0;
        }
        bytes as usize
    }

    /// Gives back bytes that were taken and not used.
    pub(crate) fn give_back(&self, bytes: usize) {
        if let Some(limit) = &self.limit {
            limit.give_back(bytes as u64);
        }
    }
}

impl Limit {
    fn reserve(&self, bytes: u64, now: Instant) -> Instant {
        let mut next = self.lock();
        let earliest = now.checked_sub(SLACK).unwrap_or(now);
        let start = (*next).max(earliest);
        *next = start + self.time_for(bytes);
        start
    }

    fn give_back(&self, bytes: u64) {
        let mut next = self.lock();
        *next = next.checked_sub(self.time_for(bytes)).unwrap_or(*next);
    }

    fn time_for(&self, bytes: u64) -> Duration {
        Duration::from_nanos((u128::from(bytes) * 1_000_000_000 / u128::from(self.rate)) as u64)
    }

    fn lock(&self) -> MutexGuard<'_, Instant> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes that are given back unless they are used.
struct Reservation<'a> {
    limit: &'a Limit,
    bytes: u64,
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.limit.give_back(self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };

    use tokio::time::timeout;

    use super::*;

    /// The bytes that each of `takers` tasks gets in `time` if all want as much as possible.
    async fn flood(throttle: Arc<Throttle>, takers: usize, time: Duration) -> Vec<u64> {
        let mut tasks = Vec::new();
        for _ in 0..takers {
            let (throttle, got) = (Arc::clone(&throttle), Arc::new(AtomicU64::new(0)));
            let counter = Arc::clone(&got);
            let work = async move {
                loop {
                    counter.fetch_add(throttle.take(1 << 20).await as u64, Ordering::Relaxed);
                }
            };
            tasks.push((tokio::spawn(timeout(time, work)), got));
        }
        let mut all = Vec::new();
        for (task, got) in tasks {
            assert!(task.await.unwrap().is_err(), "a task ended before its time");
            all.push(got.load(Ordering::Relaxed));
        }
        all
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_is_kept_within_two_percent_and_shared_evenly() {
        for (rate, takers) in [(125_000, 1), (1_250_000, 3), (125_000_000, 7), (400_000_000, 2)] {
            let throttle = Arc::new(Throttle::new(Some(rate)));
            let got = flood(throttle, takers, Duration::from_secs(10)).await;
            let (sum, want) = (got.iter().sum::<u64>() as f64, rate as f64 * 10.0);
            // 20 ms of slack, one grain, and the minimum grain on the slowest limit.
            assert!((sum / want - 1.0).abs() < 0.02, "{rate}: {sum} of {want}");
            let (min, max) = (*got.iter().min().unwrap() as f64, *got.iter().max().unwrap() as f64);
            assert!(min / max > 0.9, "{rate}: {got:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn idle_time_is_not_saved_up() {
        let throttle = Throttle::new(Some(1_000_000));
        tokio::time::advance(Duration::from_secs(60)).await;
        let start = Instant::now();
        let mut got = 0;
        while start.elapsed() < Duration::from_millis(1) {
            got += throttle.take(1 << 20).await;
        }
        assert!(got <= 60_000, "a burst of {got} bytes after an idle minute");
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_that_are_given_back_or_not_waited_for_are_not_lost() {
        let throttle = Throttle::new(Some(16 * 1024));
        let start = Instant::now();
        for _ in 0..10 {
            let granted = throttle.take(16 * 1024).await;
            throttle.give_back(granted);
        }
        assert!(start.elapsed() < Duration::from_millis(5));
        throttle.take(16 * 1024).await;
        for _ in 0..10 {
            let waited = timeout(Duration::from_millis(1), throttle.take(16 * 1024)).await;
            assert!(waited.is_err());
        }
        let next = timeout(Duration::from_millis(1100), throttle.take(16 * 1024)).await;
        assert_eq!(next, Ok(16 * 1024));
    }

    #[tokio::test(start_paused = true)]
    async fn no_limit_never_waits() {
        let throttle = Throttle::new(None);
        assert!(!throttle.limits());
        assert_eq!(timeout(Duration::ZERO, throttle.take(usize::MAX)).await, Ok(usize::MAX));
    }
}
