//! The order in which waiting takers are served: start-time fair queueing (Goyal, Vin, Cheng 1996)
//! between services, and in each between networks; first come, first served in a network. In a
//! service takers of a lower rank are served before all of higher ones. A queue that was idle gains
//! nothing by it. No clock and no tokens.

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
};

/// What bytes are sent for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    /// The peers of swarms.
    Swarm,
    /// The clients of `raw` and `framed`. They get half as much as swarms while both wait, because
    /// what a swarm gets is passed on by its peers.
    ClientServer,
}

/// Who takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flow {
    pub(crate) service: Service,
    /// The network of the other side.
    pub(crate) network: IpAddr,
    /// Takers of a lower rank are served before all of higher ones, of other networks too.
    pub(crate) rank: u32,
}

/// See the header of this file.
#[derive(Debug)]
pub(super) struct FairQueue<T> {
    services: [ServiceQueue<T>; 2],
    /// The virtual time: the start tag of what was served last.
    now: u64,
    waiting: usize,
}

#[derive(Debug)]
struct ServiceQueue<T> {
    tag: u64,
    waiting: usize,
    /// Few: logarithms, or zero.
    ranks: BTreeMap<u32, RankQueue<T>>,
}

#[derive(Debug)]
struct RankQueue<T> {
    now: u64,
    waiting: usize,
    /// Networks that wait, or that were served more than others and would otherwise gain by coming
    /// again.
    networks: BTreeMap<IpAddr, NetworkQueue<T>>,
}

#[derive(Debug)]
struct NetworkQueue<T> {
    tag: u64,
    takers: VecDeque<T>,
}

impl Service {
    /// The virtual time that a byte takes.
    fn cost(self) -> u64 {
        match self {
            Self::Swarm => 1,
            Self::ClientServer => 2,
        }
    }
}

impl<T> FairQueue<T> {
    pub(super) fn new() -> Self {
        let queue = || ServiceQueue { tag: 0, waiting: 0, ranks: BTreeMap::new() };
        Self { services: [queue(), queue()], now: 0, waiting: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    pub(super) fn push(&mut self, flow: Flow, taker: T) {
        let service = &mut self.services[flow.service as usize];
        if service.waiting == 0 {
            service.tag = service.tag.max(self.now);
        }
        service.waiting += 1;
        service.ranks.entry(flow.rank).or_default().push(flow.network, taker);
        self.waiting += 1;
    }

    /// Removes the taker that is next. `bytes` says how many it takes.
    pub(super) fn pop(&mut self, bytes: impl Fn(&T) -> u64) -> Option<T> {
        let [swarm, clients] = &self.services;
        let service = match (swarm.waiting, clients.waiting) {
            (0, 0) => return None,
            (_, 0) => Service::Swarm,
            (0, _) => Service::ClientServer,
            _ if swarm.tag <= clients.tag => Service::Swarm,
            _ => Service::ClientServer,
        };
        let queue = &mut self.services[service as usize];
        let rank = queue.ranks.values_mut().find(|rank| rank.waiting > 0)?;
        let (taker, taken) = rank.pop(bytes)?;
        queue.waiting -= 1;
        self.now = queue.tag;
        queue.tag += taken * service.cost();
        self.waiting -= 1;
        Some(taker)
    }
}

impl<T> Default for RankQueue<T> {
    fn default() -> Self {
        Self { now: 0, waiting: 0, networks: BTreeMap::new() }
    }
}

impl<T> RankQueue<T> {
    fn push(&mut self, network: IpAddr, taker: T) {
        let now = self.now;
        let queue = self
            .networks
            .entry(network)
            .or_insert_with(|| NetworkQueue { tag: now, takers: VecDeque::new() });
        if queue.takers.is_empty() {
            queue.tag = queue.tag.max(now);
        }
        queue.takers.push_back(taker);
        self.waiting += 1;
    }

    fn pop(&mut self, bytes: impl Fn(&T) -> u64) -> Option<(T, u64)> {
        let waiting = self.networks.values_mut().filter(|queue| !queue.takers.is_empty());
        let queue = waiting.min_by_key(|queue| queue.tag)?;
        let taker = queue.takers.pop_front()?;
        let taken = bytes(&taker);
        self.now = queue.tag;
        queue.tag += taken;
        self.waiting -= 1;
        let now = self.now;
        self.networks.retain(|_, queue| !queue.takers.is_empty() || queue.tag > now);
        Some((taker, taken))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(service: Service, host: u8) -> Flow {
        Flow { service, network: [10, 0, 0, host].into(), rank: 0 }
    }

    /// How many of `turns` each flow gets if each always waits with as many takers as are said.
    fn turns(flows: &[(Flow, usize)], turns: usize) -> Vec<usize> {
        let mut queue = FairQueue::new();
        for (index, (flow, takers)) in flows.iter().enumerate() {
            (0..*takers).for_each(|_| queue.push(*flow, index));
        }
        let mut got = vec![0; flows.len()];
        for _ in 0..turns {
            let index = queue.pop(|_| 1000).unwrap();
            got[index] += 1;
            queue.push(flows[index].0, index);
        }
        got
    }

    #[test]
    fn a_crowd_of_one_network_gets_the_share_of_one() {
        let swarm = |host| flow(Service::Swarm, host);
        assert_eq!(turns(&[(swarm(1), 300), (swarm(2), 1), (swarm(3), 2)], 300), [100; 3]);
    }

    #[test]
    fn swarms_get_twice_as_much_as_clients_of_raw_and_framed() {
        let flows = [(flow(Service::ClientServer, 1), 300), (flow(Service::Swarm, 1), 1)];
        assert_eq!(turns(&flows, 300), [100, 200]);
        assert_eq!(turns(&flows[..1], 300), [300], "nothing is kept free");
    }

    #[test]
    fn the_lowest_rank_is_next_and_its_networks_take_turns() {
        let mut queue = FairQueue::new();
        let takers = [(1, 5, "a"), (2, 5, "b"), (1, 0, "c"), (1, 0, "d"), (2, 0, "e"), (3, 1, "f")];
        for (host, rank, taker) in takers {
            queue.push(Flow { rank, ..flow(Service::Swarm, host) }, taker);
        }
        let order: Vec<_> = std::iter::from_fn(|| queue.pop(|_| 1)).collect();
        assert_eq!(order, ["c", "e", "d", "f", "a", "b"]);
        assert!(queue.is_empty());
    }

    #[test]
    fn idle_time_is_not_made_up_for() {
        let mut queue = FairQueue::new();
        let (busy, late) = (flow(Service::Swarm, 1), flow(Service::Swarm, 2));
        for _ in 0..100 {
            queue.push(busy, 1);
            assert_eq!(queue.pop(|_| 1000), Some(1));
        }
        (0..10).for_each(|_| queue.push(busy, 1));
        (0..10).for_each(|_| queue.push(late, 2));
        let first: Vec<_> = (0..6).map(|_| queue.pop(|_| 1000).unwrap()).collect();
        assert_eq!(first.iter().filter(|one| **one == 2).count(), 3, "{first:?}");
    }

    #[test]
    fn a_taker_that_always_comes_again_at_once_has_no_advantage() {
        let mut queue = FairQueue::new();
        let (one, many) = (flow(Service::Swarm, 1), flow(Service::Swarm, 2));
        (0..50).for_each(|_| queue.push(many, 2));
        let mut got = [0; 3];
        for _ in 0..60 {
            if got[1] < 30 && !queue.services[0].ranks[&0].networks.contains_key(&one.network)
                || queue.services[0].ranks[&0]
                    .networks
                    .get(&one.network)
                    .is_some_and(|q| q.takers.is_empty())
            {
                queue.push(one, 1);
            }
            let next = queue.pop(|_| 1000).unwrap();
            got[next] += 1;
            if next == 2 {
                queue.push(many, 2);
            }
        }
        assert_eq!(got, [0, 30, 30]);
    }

    #[test]
    fn networks_that_have_gone_are_forgotten() {
        let mut queue = FairQueue::new();
        for host in 0..200 {
            queue.push(flow(Service::Swarm, host), 0);
            queue.pop(|_| 1000);
            queue.push(flow(Service::Swarm, 255), 0);
            queue.pop(|_| 1000);
        }
        assert!(queue.is_empty());
        assert!(
            queue.services[0].ranks[&0].networks.len() <= 3,
            "{}",
            queue.services[0].ranks[&0].networks.len()
        );
    }
}
