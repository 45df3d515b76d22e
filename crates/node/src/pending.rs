//! The places of accepted connections that have not shown yet what they want. There is always room
//! for one more: when the places are full, the oldest connections of the networks that hold the
//! most of them are dropped, because an honest peer needs only a moment. What is done with the
//! connections is not here.

use std::{
    cmp::Reverse,
    collections::{HashMap, VecDeque},
    future::Future,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sow_engine::network_of;
use tokio::{
    task::{AbortHandle, JoinSet},
    time::Instant,
};

/// While more than half of the places are taken, a connection keeps its place for this long: one
/// round trip on the longest links, several on others.
pub(crate) const CROWDED_TIMEOUT: Duration = Duration::from_secs(2);

/// When the places are full, one part in this many is emptied at once, so that the choice costs
/// little for each connection of a flood.
const EMPTIED_SHARE: usize = 16;

/// Says that a pending connection has named a swarm of this node: it is dropped after those that
/// have not.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress(Arc<AtomicBool>);

impl Progress {
    pub(crate) fn on_swarm_named(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The pending connections, each a task that returns `T`.
#[derive(Debug)]
pub(crate) struct Pending<T> {
    places: usize,
    tasks: JoinSet<T>,
    /// Oldest first. Some may have ended.
    connections: VecDeque<PendingConnection>,
}

#[derive(Debug)]
struct PendingConnection {
    addr: SocketAddr,
    accepted_at: Instant,
    progress: Progress,
    task: AbortHandle,
}

impl<T: Send + 'static> Pending<T> {
    pub(crate) fn new(places: usize) -> Self {
        Self { places: places.max(1), tasks: JoinSet::new(), connections: VecDeque::new() }
    }

    /// Adds a connection. Returns the addresses of those that were dropped for it.
    pub(crate) fn add<F>(
        &mut self,
        addr: SocketAddr,
        task: impl FnOnce(Progress) -> F,
    ) -> Vec<SocketAddr>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let dropped = self.make_room();
        let progress = Progress::default();
        let task = self.tasks.spawn(task(progress.clone()));
        let accepted_at = Instant::now();
        self.connections.push_back(PendingConnection { addr, accepted_at, progress, task });
        dropped
    }

    /// What the next connection that is done has come to; `None` if it was dropped. Pends while
    /// there is none: it is not to be called when [`Self::is_empty`].
    pub(crate) async fn next_done(&mut self) -> Option<T> {
        self.tasks.join_next().await.and_then(Result::ok)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Drops connections as if the places were full, for instance because descriptors ran out.
    pub(crate) fn drop_some(&mut self) -> Vec<SocketAddr> {
        self.connections.retain(|connection| !connection.task.is_finished());
        self.drop_worst((self.places / EMPTIED_SHARE).max(1))
    }

    fn make_room(&mut self) -> Vec<SocketAddr> {
        while self.pop_oldest_if(|oldest| oldest.task.is_finished()).is_some() {}
        let mut dropped = Vec::new();
        if self.connections.len() > self.places / 2 {
            let is_late =
                |oldest: &PendingConnection| oldest.accepted_at.elapsed() > CROWDED_TIMEOUT;
            while let Some(late) = self.pop_oldest_if(is_late) {
                late.task.abort();
                dropped.push(late.addr);
            }
        }
        if self.connections.len() >= self.places {
            self.connections.retain(|connection| !connection.task.is_finished());
        }
        if self.connections.len() >= self.places {
            dropped.extend(self.drop_worst((self.places / EMPTIED_SHARE).max(1)));
        }
        dropped
    }

    fn pop_oldest_if(
        &mut self,
        is_meant: impl FnOnce(&PendingConnection) -> bool,
    ) -> Option<PendingConnection> {
        let is_meant = self.connections.front().is_some_and(is_meant);
        if is_meant { self.connections.pop_front() } else { None }
    }

    /// Drops `count` connections: first those that have not named a swarm, then those of the
    /// networks that hold the most places, then the oldest.
    fn drop_worst(&mut self, count: usize) -> Vec<SocketAddr> {
        let mut per_network: HashMap<IpAddr, usize> = HashMap::new();
        for connection in &self.connections {
            *per_network.entry(network_of(connection.addr.ip())).or_default() += 1;
        }
        let mut ranks: Vec<_> = self
            .connections
            .iter()
            .enumerate()
            .map(|(age, connection)| {
                let has_named_swarm = connection.progress.0.load(Ordering::Relaxed);
                let crowd = per_network[&network_of(connection.addr.ip())];
                (has_named_swarm, Reverse(crowd), age)
            })
            .collect();
        ranks.sort_unstable();
        ranks.truncate(count);
        let mut worst: Vec<usize> = ranks.into_iter().map(|(.., age)| age).collect();
        worst.sort_unstable_by_key(|&age| Reverse(age));
        let remove = |age| self.connections.remove(age);
        let dropped = worst.into_iter().filter_map(remove);
        dropped
            .map(|connection| {
                connection.task.abort();
                connection.addr
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    fn addr(network: u8, port: u16) -> SocketAddr {
        ([10, 0, 0, network], port).into()
    }

    fn silent(pending_connections: &mut Pending<u16>, from: SocketAddr) -> Vec<SocketAddr> {
        pending_connections.add(from, |_| pending())
    }

    #[tokio::test]
    async fn the_oldest_of_the_most_crowded_network_is_dropped() {
        let mut places = Pending::new(4);
        assert!(silent(&mut places, addr(1, 1)).is_empty());
        for port in 1..4 {
            assert!(silent(&mut places, addr(2, port)).is_empty());
        }
        assert_eq!(silent(&mut places, addr(3, 1)), [addr(2, 1)]);
        assert_eq!(silent(&mut places, addr(4, 1)), [addr(2, 2)]);
        // All networks hold the same: the oldest is dropped.
        assert_eq!(silent(&mut places, addr(5, 1)), [addr(1, 1)]);
        assert_eq!(places.next_done().await, None, "a dropped one comes to nothing");
    }

    #[tokio::test]
    async fn one_that_named_a_swarm_is_dropped_last() {
        let mut places: Pending<u16> = Pending::new(2);
        places.add(addr(1, 1), |progress| {
            progress.on_swarm_named();
            pending()
        });
        silent(&mut places, addr(2, 1));
        assert_eq!(silent(&mut places, addr(3, 1)), [addr(2, 1)]);
        assert_eq!(silent(&mut places, addr(4, 1)), [addr(3, 1)]);
    }

    #[tokio::test]
    async fn one_that_is_done_leaves_its_place() {
        let mut places = Pending::new(2);
        for port in 0..10 {
            assert!(places.add(addr(1, port), |_| async move { port }).is_empty());
            assert_eq!(places.next_done().await, Some(port));
        }
        assert!(places.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn in_a_crowd_a_connection_has_less_time() {
        let mut places = Pending::new(8);
        for port in 0..4 {
            silent(&mut places, addr(1, port));
        }
        tokio::time::advance(CROWDED_TIMEOUT * 2).await;
        assert!(silent(&mut places, addr(2, 1)).is_empty(), "half of the places are free");
        assert_eq!(silent(&mut places, addr(2, 2)).len(), 4);
    }
}
