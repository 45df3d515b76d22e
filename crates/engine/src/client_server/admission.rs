//! The server's side: which clients are served at once, which wait, which are refused, and which
//! slow ones make room. No bytes.

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
};

use crate::io::ConnId;

/// How many clients a server takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdmissionLimits {
    /// Clients that are served at the same time; at least one is.
    pub served: usize,
    /// Clients that wait beyond those, in the order in which they connected; any more are refused.
    pub waiting: usize,
}

impl Default for AdmissionLimits {
    fn default() -> Self {
        Self { served: 256, waiting: 1024 }
    }
}

/// What a server does with a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It is served now.
    Serve,
    /// It is served when another client leaves.
    Wait,
    /// It is refused.
    Refuse,
}

/// The clients of a server that are served and that wait.
///
/// One network gets at most three quarters of the places of either kind, so that clients of others
/// find some, however many come from one.
#[derive(Debug)]
pub struct AdmissionQueue {
    limits: AdmissionLimits,
    /// The network of each client that is served.
    served: BTreeMap<ConnId, IpAddr>,
    waiting: VecDeque<(ConnId, IpAddr)>,
}

impl AdmissionQueue {
    /// A queue without clients.
    pub fn new(limits: AdmissionLimits) -> Self {
        let limits = AdmissionLimits { served: limits.served.max(1), ..limits };
        Self { limits, served: BTreeMap::new(), waiting: VecDeque::new() }
    }

    /// A client connects. `network` is its address, or as much of it as one site has.
    pub fn arrived(&mut self, client: ConnId, network: IpAddr) -> Admission {
        let waiting = self.waiting.iter().filter(|(_, other)| *other == network).count();
        if self.may_serve(network) {
            self.served.insert(client, network);
            Admission::Serve
        } else if self.waiting.len() < self.limits.waiting
            && waiting < share_of(self.limits.waiting)
        {
            self.waiting.push_back((client, network));
            Admission::Wait
        } else {
            Admission::Refuse
        }
    }

    /// A client is gone that was served. The clients that are served next: the first that waits of
    /// the networks with the fewest clients.
    pub fn left(&mut self, client: ConnId) -> Vec<ConnId> {
        self.served.remove(&client);
        let mut next = Vec::new();
        while let Some(position) = self.next_position() {
            let Some((client, network)) = self.waiting.remove(position) else { break };
            self.served.insert(client, network);
            next.push(client);
        }
        next
    }

    /// Which of these clients, that take what they are sent too slowly, make room: as many as wait,
    /// of the networks with the most clients first.
    pub fn displaced(&self, slow: impl IntoIterator<Item = ConnId>) -> Vec<ConnId> {
        let ranked = slow.into_iter().filter_map(|client| {
            let network = self.served.get(&client)?;
            Some((usize::MAX - self.served_of(*network), client))
        });
        let mut ranked: Vec<_> = ranked.collect();
        ranked.sort_unstable();
        ranked.truncate(self.waiting.len());
        ranked.into_iter().map(|(_, client)| client).collect()
    }

    fn next_position(&self) -> Option<usize> {
        let waiting = self.waiting.iter().enumerate();
        let may = waiting.filter(|(_, (_, network))| self.may_serve(*network));
        let counted = may.map(|(position, (_, network))| (self.served_of(*network), position));
        counted.min().map(|(_, position)| position)
    }

    fn may_serve(&self, network: IpAddr) -> bool {
        self.served.len() < self.limits.served
            && self.served_of(network) < share_of(self.limits.served)
    }

    fn served_of(&self, network: IpAddr) -> usize {
        self.served.values().filter(|other| **other == network).count()
    }
}

/// How many of so many places one network gets.
fn share_of(places: usize) -> usize {
    places - places / 4
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(host: u8) -> IpAddr {
        [10, 0, 0, host].into()
    }

    fn queue(served: usize, waiting: usize) -> AdmissionQueue {
        AdmissionQueue::new(AdmissionLimits { served, waiting })
    }

    #[test]
    fn clients_are_served_wait_in_order_or_are_refused() {
        let mut queue = queue(2, 2);
        let admitted: Vec<_> =
            (0..5).map(|client| queue.arrived(ConnId(client), network(1))).collect();
        use Admission::{Refuse, Serve, Wait};
        assert_eq!(admitted, [Serve, Serve, Wait, Wait, Refuse]);
        assert_eq!(queue.left(ConnId(0)), [ConnId(2)]);
        assert_eq!(queue.arrived(ConnId(5), network(1)), Wait);
        assert_eq!(queue.left(ConnId(1)), [ConnId(3)]);
        assert_eq!(queue.left(ConnId(2)), [ConnId(5)]);
        assert_eq!(queue.left(ConnId(3)), []);
        assert_eq!(queue.left(ConnId(5)), []);
        assert_eq!(queue.arrived(ConnId(6), network(1)), Serve);
        assert_eq!(self::queue(0, 0).arrived(ConnId(0), network(1)), Serve);
    }

    #[test]
    fn one_network_leaves_places_to_others() {
        let mut queue = queue(8, 8);
        let admitted: Vec<_> =
            (0..20).map(|client| queue.arrived(ConnId(client), network(1))).collect();
        let count = |wanted| admitted.iter().filter(|one| **one == wanted).count();
        assert_eq!([count(Admission::Serve), count(Admission::Wait)], [6, 6]);
        assert_eq!(queue.arrived(ConnId(20), network(2)), Admission::Serve);
        assert_eq!(queue.arrived(ConnId(21), network(3)), Admission::Serve);
        assert_eq!(queue.arrived(ConnId(22), network(2)), Admission::Wait);
        // The network with the fewest clients is next.
        assert_eq!(queue.left(ConnId(0)), [ConnId(22)]);
        assert_eq!(queue.left(ConnId(20)), [ConnId(6)]);
    }

    #[test]
    fn slow_clients_make_room_only_for_clients_that_wait() {
        let mut queue = queue(8, 8);
        (0..6).for_each(|client| _ = queue.arrived(ConnId(client), network(1)));
        (6..8).for_each(|client| _ = queue.arrived(ConnId(client), network(2)));
        let slow = [7, 3, 5].map(ConnId);
        assert_eq!(queue.displaced(slow), []);
        queue.arrived(ConnId(8), network(3));
        assert_eq!(queue.displaced(slow), [ConnId(3)]);
        queue.arrived(ConnId(9), network(3));
        queue.arrived(ConnId(10), network(3));
        queue.arrived(ConnId(11), network(3));
        assert_eq!(queue.displaced(slow), [3, 5, 7].map(ConnId));
    }
}
