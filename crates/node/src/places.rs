//! The places of a server whose clients come in any number: bounded in all, and shared between
//! networks when they are scarce. A newcomer always gets a place. If none is free, it gets the
//! place of the network that has the most, of the connection there that has been of no use for the
//! longest time.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use sow_engine::network_of;
use tokio::{
    sync::Notify,
    task::{AbortHandle, JoinSet},
    time::Instant,
};

/// The connections that are served at the moment, each by a task.
#[derive(Debug)]
pub(crate) struct Places {
    limit: usize,
    tasks: JoinSet<()>,
    taken: Vec<Place>,
}

#[derive(Debug)]
struct Place {
    network: IpAddr,
    activity: Arc<Activity>,
    task: AbortHandle,
}

/// When a connection was last of use: the server tells.
#[derive(Debug)]
pub(crate) struct Activity {
    start: Instant,
    /// Milliseconds after `start`.
    last: AtomicU64,
    is_blocked: AtomicBool,
    /// Bytes of answers that the client has taken.
    taken: AtomicU64,
    /// The client takes next to nothing of a long answer.
    is_slow: AtomicBool,
    /// Long answers in progress.
    bulk: AtomicUsize,
    /// The end of the last one, in milliseconds after `start`.
    bulk_ended: AtomicU64,
    /// The connection makes room for another one.
    end: Notify,
}

/// A long answer, until it is dropped.
#[derive(Debug)]
pub(crate) struct Bulk(Arc<Activity>);

impl Drop for Bulk {
    fn drop(&mut self) {
        let Self(activity) = self;
        activity.bulk_ended.store(activity.now(), Ordering::Relaxed);
        activity.bulk.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Places {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, tasks: JoinSet::new(), taken: Vec::new() }
    }

    /// Serves a connection. Another one may lose its place.
    pub(crate) fn serve<S>(&mut self, remote: SocketAddr, serve: impl FnOnce(Arc<Activity>) -> S)
    where
        S: Future<Output = ()> + Send + 'static,
    {
        self.taken.retain(|place| !place.task.is_finished());
        if self.taken.len() >= self.limit {
            self.make_room();
        }
        let activity = Arc::new(Activity::new());
        let task = self.tasks.spawn(serve(Arc::clone(&activity)));
        self.taken.push(Place { network: network_of(remote.ip()), activity, task });
    }

    /// Returns when a connection has ended; `None` if there is none. It may be dropped.
    pub(crate) async fn ended(&mut self) -> Option<()> {
        self.tasks.join_next().await.map(|_| ())
    }

    fn make_room(&mut self) {
        let mut per_network: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for place in &self.taken {
            *per_network.entry(place.network).or_default() += 1;
        }
        let rank = |place: &Place| {
            let count = per_network.get(&place.network).copied().unwrap_or(0);
            (count, place.activity.unused())
        };
        let candidates = self.taken.iter().enumerate();
        if let Some((position, _)) = candidates.max_by_key(|(_, place)| rank(place)) {
            let place = self.taken.swap_remove(position);
            tracing::debug!(network = %place.network, "a connection made room for a new one");
            place.task.abort();
        }
    }
}

impl Activity {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            last: AtomicU64::new(0),
            is_blocked: AtomicBool::new(false),
            taken: AtomicU64::new(0),
            is_slow: AtomicBool::new(false),
            bulk: AtomicUsize::new(0),
            bulk_ended: AtomicU64::new(0),
            end: Notify::new(),
        }
    }

    /// A long answer begins, whose length is no reason to end the connection.
    pub(crate) fn bulk(self: &Arc<Self>) -> Bulk {
        self.bulk.fetch_add(1, Ordering::Relaxed);
        Bulk(Arc::clone(self))
    }

    /// Whether a long answer is in progress.
    pub(crate) fn is_bulk(&self) -> bool {
        self.bulk.load(Ordering::Relaxed) > 0
    }

    /// How long there has been no long answer.
    pub(crate) fn since_bulk(&self) -> Duration {
        if self.is_bulk() {
            return Duration::ZERO;
        }
        let ended = Duration::from_millis(self.bulk_ended.load(Ordering::Relaxed));
        self.start.elapsed().saturating_sub(ended)
    }

    /// The client has taken some of an answer, or asked for one.
    pub(crate) fn used(&self) {
        self.last.store(self.now(), Ordering::Relaxed);
        self.is_blocked.store(false, Ordering::Relaxed);
    }

    /// The client has taken this many bytes of an answer.
    pub(crate) fn took(&self, bytes: usize) {
        self.taken.fetch_add(bytes as u64, Ordering::Relaxed);
        self.used();
    }

    /// How many bytes of answers the client has taken.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Whether the client takes next to nothing, as the server measures.
    pub(crate) fn is_slow(&self) -> bool {
        self.is_slow.load(Ordering::Relaxed)
    }

    /// See [`Activity::is_slow`].
    pub(crate) fn set_slow(&self, is_slow: bool) {
        self.is_slow.store(is_slow, Ordering::Relaxed);
    }

    /// Ends the connection, so that its place is free.
    pub(crate) fn make_room(&self) {
        self.end.notify_one();
    }

    /// Returns when the connection has to make room.
    pub(crate) async fn must_end(&self) {
        self.end.notified().await;
    }

    /// The client takes no more of an answer.
    pub(crate) fn blocked(&self) {
        self.is_blocked.store(true, Ordering::Relaxed);
    }

    /// How long an answer has been waiting for the client.
    pub(crate) fn blocked_for(&self) -> Option<Duration> {
        self.is_blocked.load(Ordering::Relaxed).then(|| self.unused())
    }

    /// Milliseconds after `start`.
    fn now(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    fn unused(&self) -> Duration {
        let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
        self.start.elapsed().saturating_sub(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        SocketAddr::new(text.parse().unwrap(), 40_000)
    }

    /// Takes a place for ever.
    fn take(places: &mut Places, from: &str) -> Arc<Activity> {
        let mut activity = None;
        places.serve(addr(from), |given| {
            activity = Some(given);
            std::future::pending()
        });
        activity.unwrap()
    }

    fn networks(places: &Places) -> Vec<String> {
        let mut all: Vec<_> = places.taken.iter().map(|place| place.network.to_string()).collect();
        all.sort();
        all
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_idle_connection_of_the_largest_network_makes_room() {
        let mut places = Places::new(3);
        let first = take(&mut places, "10.0.0.1");
        tokio::time::advance(Duration::from_secs(1)).await;
        take(&mut places, "10.0.0.2");
        tokio::time::advance(Duration::from_secs(1)).await;
        take(&mut places, "10.0.0.2");
        take(&mut places, "10.0.0.3");
        assert_eq!(networks(&places), ["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
        first.used();
        tokio::time::advance(Duration::from_secs(1)).await;
        let second = take(&mut places, "10.0.0.4");
        assert_eq!(networks(&places).len(), 3);
        assert!(second.unused() < Duration::from_millis(1));
        for _ in 0..50 {
            take(&mut places, "10.0.0.4");
        }
        assert_eq!(places.taken.len(), 3);
        let ended = places.ended().await;
        assert_eq!(ended, Some(()), "a connection that made room has ended");
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_of_one_network_never_takes_the_last_place_of_another() {
        let mut places = Places::new(8);
        take(&mut places, "2001:db8::1");
        for host in 0..100u16 {
            tokio::time::advance(Duration::from_millis(10)).await;
            take(&mut places, &format!("2001:db8:0:1::{host:x}"));
        }
        let others = networks(&places);
        assert_eq!(others.iter().filter(|network| *network == "2001:db8::").count(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_blocked_answer_is_known() {
        let activity = Activity::new();
        activity.blocked();
        tokio::time::advance(Duration::from_secs(7)).await;
        assert_eq!(activity.blocked_for(), Some(Duration::from_secs(7)));
        activity.used();
        assert_eq!(activity.blocked_for(), None);
    }
}
