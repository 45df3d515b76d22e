//! The server's side: which clients are served at once, which wait, which are refused. No bytes.

use std::collections::VecDeque;

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
#[derive(Debug)]
pub struct AdmissionQueue {
    limits: AdmissionLimits,
    served: usize,
    waiting: VecDeque<ConnId>,
}

impl AdmissionQueue {
    /// A queue without clients.
    pub fn new(limits: AdmissionLimits) -> Self {
        let limits = AdmissionLimits { served: limits.served.max(1), ..limits };
        Self { limits, served: 0, waiting: VecDeque::new() }
    }

    /// A client connects.
    pub fn arrived(&mut self, client: ConnId) -> Admission {
        if self.served < self.limits.served {
            self.served += 1;
            Admission::Serve
        } else if self.waiting.len() < self.limits.waiting {
            self.waiting.push_back(client);
            Admission::Wait
        } else {
            Admission::Refuse
        }
    }

    /// A client that was served is gone. The client that is served next.
    pub fn left(&mut self) -> Option<ConnId> {
        let next = self.waiting.pop_front();
        if next.is_none() {
            self.served = self.served.saturating_sub(1);
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_served_wait_in_order_or_are_refused() {
        let mut queue = AdmissionQueue::new(AdmissionLimits { served: 2, waiting: 2 });
        let admitted: Vec<_> = (0..5).map(|client| queue.arrived(ConnId(client))).collect();
        use Admission::{Refuse, Serve, Wait};
        assert_eq!(admitted, [Serve, Serve, Wait, Wait, Refuse]);
        assert_eq!(queue.left(), Some(ConnId(2)));
        assert_eq!(queue.arrived(ConnId(5)), Wait);
        assert_eq!([queue.left(), queue.left()], [Some(ConnId(3)), Some(ConnId(5))]);
        assert_eq!([queue.left(), queue.left()], [None, None]);
        assert_eq!(queue.arrived(ConnId(6)), Serve);
        assert_eq!(
            AdmissionQueue::new(AdmissionLimits { served: 0, waiting: 0 }).arrived(ConnId(0)),
            Serve
        );
    }
}
