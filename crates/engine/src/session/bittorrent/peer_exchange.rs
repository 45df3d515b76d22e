//! Peer exchange on one connection (BEP 11): when it is due, and what changed since the last time.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use sow_wire::bittorrent::PexMessage;

use crate::io::Time;

/// The interval between two messages to one peer (BEP 11); the first one is sent at once.
const PEX_INTERVAL: Duration = Duration::from_secs(60);

/// Messages of a peer that are closer together are ignored: half the interval, since messages can
/// be delayed.
const MIN_RECEIVE_INTERVAL: Duration = Duration::from_secs(30);

/// Addresses in one message (BEP 11).
const MAX_PEX_ADDRESSES: usize = 50;

/// What was exchanged.
#[derive(Debug)]
pub(super) struct PeerExchange {
    /// The peers that the peer knows from us.
    sent: BTreeSet<SocketAddr>,
    due_at: Time,
    received_at: Option<Time>,
}

impl PeerExchange {
    pub(super) fn new(now: Time) -> Self {
        Self { sent: BTreeSet::new(), due_at: now, received_at: None }
    }

    pub(super) fn is_due(&self, now: Time) -> bool {
        now >= self.due_at
    }

    /// The peer sent its extension handshake, so a first message can be sent.
    pub(super) fn on_handshake(&mut self, now: Time) {
        if self.sent.is_empty() {
            self.due_at = now;
        }
    }

    /// The peer named peers. Whether they are taken note of.
    pub(super) fn on_message(&mut self, now: Time) -> bool {
        let is_taken = self.received_at.is_none_or(|last| now.since(last) >= MIN_RECEIVE_INTERVAL);
        if is_taken {
            self.received_at = Some(now);
        }
        is_taken
    }

    /// The difference between `current` and what the peer knows; `None` when there is none.
    pub(super) fn update(
        &mut self,
        now: Time,
        current: &BTreeSet<SocketAddr>,
    ) -> Option<PexMessage> {
        self.due_at = now + PEX_INTERVAL;
        let added: Vec<SocketAddr> =
            current.difference(&self.sent).copied().take(MAX_PEX_ADDRESSES).collect();
        let dropped: Vec<SocketAddr> =
            self.sent.difference(current).copied().take(MAX_PEX_ADDRESSES).collect();
        if added.is_empty() && dropped.is_empty() {
            return None;
        }
        self.sent.extend(added.iter().copied());
        dropped.iter().for_each(|addr| _ = self.sent.remove(addr));
        Some(PexMessage { added, dropped })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changed_is_sent() {
        let addr = |n: u8| SocketAddr::from(([10, 0, 0, n], 1));
        let mut pex = PeerExchange::new(Time(0));
        let first = pex.update(Time(0), &[addr(1), addr(2)].into()).unwrap();
        assert_eq!((first.added, first.dropped), (vec![addr(1), addr(2)], vec![]));
        assert_eq!(pex.update(Time(0), &[addr(1), addr(2)].into()), None);
        let next = pex.update(Time(0), &[addr(2), addr(3)].into()).unwrap();
        assert_eq!((next.added, next.dropped), (vec![addr(3)], vec![addr(1)]));
        assert_eq!(pex.due_at, Time(60_000_000));
    }

    #[test]
    fn messages_that_come_too_often_are_ignored() {
        let mut pex = PeerExchange::new(Time(0));
        assert!(pex.on_message(Time(0)));
        assert!(!pex.on_message(Time(29_000_000)));
        assert!(pex.on_message(Time(30_000_000)));
    }
}
