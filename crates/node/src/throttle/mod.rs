//! A rate limit that many connections share, in grains.
//!
//! Takers that must wait stand in a [`FairQueue`]. One task serves it: it waits until the next part
//! of the limit's time line begins and grants that part to the taker that is next then. So a taker
//! that has gone costs nothing, one network or one kind of service cannot crowd out another, and
//! the long-term rate does not depend on the precision of timers.
//!
//! What is counted is the caller's decision: uploads count payload only, downloads count every byte
//! of a peer connection (the headers of blocks are less than 0.1 % of them).

mod fair_queue;

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, timeout_at},
};

use self::fair_queue::FairQueue;
pub(crate) use self::fair_queue::{Flow, Service};

/// The minimum size of a grain, in bytes.
const MIN_GRAIN: u64 = 16 * 1024;

/// The time that one grain takes at the limit's rate, unless it has the minimum size.
const GRAIN_TIME: Duration = Duration::from_millis(20);

/// How much unused time is made up for: timers are late by a millisecond or two.
const SLACK: Duration = Duration::from_millis(20);

/// Takers whose order does not matter.
const ANY_FLOW: Flow =
    Flow { service: Service::Swarm, network: IpAddr::V4(Ipv4Addr::UNSPECIFIED), rank: 0 };

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
    limit: Option<Arc<Limit>>,
}

#[derive(Debug)]
struct Limit {
    rate: u64,
    grain: u64,
    state: Mutex<State>,
    /// Bytes were given back, so that the next part may begin earlier.
    earlier: Notify,
}

#[derive(Debug)]
struct State {
    /// Where the next part of the time line begins.
    next: Instant,
    queue: FairQueue<Taker>,
    /// A task serves the queue.
    is_served: bool,
}

/// A taker that waits.
#[derive(Debug)]
struct Taker {
    bytes: u64,
    grant: oneshot::Sender<Grant>,
}

/// Bytes that may pass. They are given back when it is dropped, unless they are used.
#[derive(Debug)]
struct Grant {
    limit: Arc<Limit>,
    bytes: u64,
}

impl Throttle {
    pub(crate) fn new(rate: Option<u64>) -> Self {
        let limit = rate.map(|rate| {
            let rate = rate.max(1);
            let grain = (u128::from(rate) * GRAIN_TIME.as_millis() / 1000) as u64;
            let state = State { next: Instant::now(), queue: FairQueue::new(), is_served: false };
            Arc::new(Limit {
                rate,
                grain: grain.max(MIN_GRAIN),
                state: Mutex::new(state),
                earlier: Notify::new(),
            })
        });
        Self { limit }
    }

    /// Whether there is a limit at all.
    pub(crate) fn limits(&self) -> bool {
        self.limit.is_some()
    }

    /// [`Throttle::take_for`] for takers whose order does not matter.
    pub(crate) async fn take(&self, want: usize) -> usize {
        self.take_for(ANY_FLOW, want).await
    }

    /// Waits until some of `want` bytes may pass, and returns how many: all of them without a
    /// limit, otherwise at least one (if any are wanted) and at most a grain. If the future is
    /// dropped while it waits, it takes nothing.
    pub(crate) async fn take_for(&self, flow: Flow, want: usize) -> usize {
        let Some(limit) = &self.limit else { return want };
        let bytes = (want as u64).min(limit.grain);
        let Some(waiting) = limit.enter(flow, bytes) else { return bytes as usize };
        // The task that serves the queue ends only with the runtime.
        waiting.await.map_or(bytes, Grant::use_all) as usize
    }

    /// Gives back bytes that were taken and not used.
    pub(crate) fn give_back(&self, bytes: usize) {
        if let Some(limit) = &self.limit {
            limit.give_back(bytes as u64);
        }
    }
}

impl Limit {
    /// Takes bytes if they may pass now and no taker waits. Otherwise the caller waits for them.
    fn enter(self: &Arc<Self>, flow: Flow, bytes: u64) -> Option<oneshot::Receiver<Grant>> {
        let now = Instant::now();
        let mut state = self.lock();
        if state.queue.is_empty() && state.next <= now {
            self.reserve(&mut state, bytes, now);
            return None;
        }
        let (grant, waiting) = oneshot::channel();
        state.queue.push(flow, Taker { bytes, grant });
        if !std::mem::replace(&mut state.is_served, true) {
            tokio::spawn(serve_queue(Arc::clone(self)));
        }
        Some(waiting)
    }

    /// Grants what may pass now. Returns when the next part begins; `None` if no taker waits.
    fn grant_due(self: &Arc<Self>) -> Option<Instant> {
        loop {
            let mut state = self.lock();
            let now = Instant::now();
            if state.queue.is_empty() {
                state.is_served = false;
                return None;
            }
            if state.next > now {
                return Some(state.next);
            }
            let bytes = |taker: &Taker| if taker.grant.is_closed() { 0 } else { taker.bytes };
            let Some(Taker { bytes, grant }) = state.queue.pop(bytes) else { continue };
            if grant.is_closed() {
                continue;
            }
            self.reserve(&mut state, bytes, now);
            drop(state);
            // A taker that has gone in this moment drops the grant, which gives the bytes back.
            let _ = grant.send(Grant { limit: Arc::clone(self), bytes });
        }
    }

    fn reserve(&self, state: &mut State, bytes: u64, now: Instant) {
        let earliest = now.checked_sub(SLACK).unwrap_or(now);
        state.next = state.next.max(earliest) + self.time_for(bytes);
    }

    fn give_back(&self, bytes: u64) {
        let mut state = self.lock();
        state.next = state.next.checked_sub(self.time_for(bytes)).unwrap_or(state.next);
        if !state.queue.is_empty() {
            self.earlier.notify_one();
        }
    }

    fn time_for(&self, bytes: u64) -> Duration {
        Duration::from_nanos((u128::from(bytes) * 1_000_000_000 / u128::from(self.rate)) as u64)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves the queue until it is empty.
async fn serve_queue(limit: Arc<Limit>) {
    while let Some(next) = limit.grant_due() {
        let _ = timeout_at(next, limit.earlier.notified()).await;
    }
}

impl Grant {
    fn use_all(mut self) -> u64 {
        std::mem::take(&mut self.bytes)
    }
}

impl Drop for Grant {
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
    async fn takers_that_have_gone_cost_nothing() {
        let throttle = Arc::new(Throttle::new(Some(16 * 1024)));
        throttle.take(16 * 1024).await;
        let crowd: Vec<_> = (0..300)
            .map(|_| {
                let throttle = Arc::clone(&throttle);
                tokio::spawn(async move { throttle.take(16 * 1024).await })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(10)).await;
        crowd.iter().for_each(|one| one.abort());
        let next = timeout(Duration::from_millis(1100), throttle.take(16 * 1024)).await;
        assert_eq!(next, Ok(16 * 1024));
    }

    #[tokio::test(start_paused = true)]
    async fn a_swarm_has_its_share_beside_any_number_of_clients_of_raw() {
        let throttle = Arc::new(Throttle::new(Some(1_000_000)));
        let network = [127, 0, 0, 1].into();
        for _ in 0..300 {
            let (throttle, flow) =
                (Arc::clone(&throttle), Flow { service: Service::ClientServer, network, rank: 0 });
            tokio::spawn(async move {
                loop {
                    throttle.take_for(flow, 1 << 20).await;
                }
            });
        }
        let (start, mut got) = (Instant::now(), 0);
        let flow = Flow { service: Service::Swarm, network, rank: 0 };
        while start.elapsed() < Duration::from_secs(10) {
            got += throttle.take_for(flow, 16 * 1024).await;
        }
        assert!((6_000_000..7_500_000).contains(&got), "{got} of 10,000,000 bytes");
    }

    #[tokio::test(start_paused = true)]
    async fn no_limit_never_waits() {
        let throttle = Throttle::new(None);
        assert!(!throttle.limits());
        assert_eq!(timeout(Duration::ZERO, throttle.take(usize::MAX)).await, Ok(usize::MAX));
    }
}
