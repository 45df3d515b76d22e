//! Links: an uplink that is shared fairly by the connections of its host, a downlink that is a
//! queue. No engines.
//!
//! Bytes travel in quanta. A connection has a window of bytes under way, as TCP has, so that a slow
//! receiver holds up its own connection and no other.

use std::collections::{BTreeMap, VecDeque};

use sow_engine::{ConnId, Time};

/// Bytes that are sent at a time.
const QUANTUM: u64 = 4 * 1024;

/// Bytes of one connection that may be under way in one direction.
const WINDOW: u64 = 128 * 1024;

/// What one host's link can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// Bytes a second that it can send.
    pub up: u64,
    /// Bytes a second that it can receive.
    pub down: u64,
    /// Microseconds from its end of the link to the middle of the network.
    pub delay: u64,
}

/// What a packet of its own costs: the heads of Ethernet, IP and TCP, in bytes.
const PACKET: u64 = 66;

/// One host's end of the network, for items of type `T`.
#[derive(Debug)]
pub(crate) struct Link<T> {
    pub(crate) rates: Rates,
    queues: BTreeMap<ConnId, Queue<T>>,
    /// Whose turn it is: the connection after this one.
    last: ConnId,
    busy: bool,
    down_free: Time,
    /// Bytes that left.
    pub(crate) sent: u64,
}

#[derive(Debug)]
struct Queue<T> {
    items: VecDeque<(u64, T)>,
    /// Bytes of the first item that left already.
    left: u64,
    under_way: u64,
    said: Option<Time>,
}

/// A quantum that leaves.
#[derive(Debug)]
pub(crate) struct Quantum<T> {
    pub(crate) conn: ConnId,
    pub(crate) bytes: u64,
    /// The item that it ends.
    pub(crate) item: Option<T>,
    /// When its last bit is on the link.
    pub(crate) gone: Time,
}

impl<T> Link<T> {
    pub(crate) fn new(rates: Rates) -> Self {
        Self {
            rates,
            queues: BTreeMap::new(),
            last: ConnId(0),
            busy: false,
            down_free: Time(0),
            sent: 0,
        }
    }

    /// Queues an item of `bytes` on a connection. What is said at one moment shares a packet.
    pub(crate) fn push(&mut self, now: Time, conn: ConnId, bytes: u64, item: T) {
        let queue = self.queues.entry(conn).or_insert_with(|| Queue {
            items: VecDeque::new(),
            left: 0,
            under_way: 0,
            said: None,
        });
        let packet = if queue.said == Some(now) { 0 } else { PACKET };
        queue.said = Some(now);
        queue.items.push_back((bytes + packet, item));
    }

    /// Puts the next quantum on the link, if it is free: connections in turn.
    pub(crate) fn transmit(&mut self, now: Time) -> Option<Quantum<T>> {
        if self.busy {
            return None;
        }
        let ready = |queue: &Queue<T>| !queue.items.is_empty() && queue.under_way < WINDOW;
        let after = self.queues.range(ConnId(self.last.0 + 1)..).find(|(_, queue)| ready(queue));
        let conn = *after.or_else(|| self.queues.iter().find(|(_, queue)| ready(queue)))?.0;
        let queue = self.queues.get_mut(&conn)?;
        let (length, _) = queue.items.front()?;
        let bytes = (length - queue.left).min(QUANTUM);
        queue.left += bytes;
        queue.under_way += bytes;
        let whole = queue.left == *length;
        let item = if whole {
            queue.left = 0;
            queue.items.pop_front().map(|(_, item)| item)
        } else {
            None
        };
        self.last = conn;
        self.busy = true;
        self.sent += bytes;
        Some(Quantum {
            conn,
            bytes,
            item,
            gone: Time(now.0 + bytes * 1_000_000 / self.rates.up.max(1)),
        })
    }

    /// The quantum on the link is gone.
    pub(crate) fn gone(&mut self) {
        self.busy = false;
    }

    /// Bytes reach the queue before the downlink: when they are through.
    pub(crate) fn receive(&mut self, now: Time, bytes: u64) -> Time {
        let start = self.down_free.max(now);
        self.down_free = Time(start.0 + bytes * 1_000_000 / self.rates.down.max(1));
        self.down_free
    }

    /// Bytes of ours arrived at the other end.
    pub(crate) fn arrived(&mut self, conn: ConnId, bytes: u64) {
        if let Some(queue) = self.queues.get_mut(&conn) {
            queue.under_way -= bytes.min(queue.under_way);
        }
    }

    /// A connection is over.
    pub(crate) fn close(&mut self, conn: ConnId) {
        self.queues.remove(&conn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_share_the_uplink_in_turn() {
        let mut link = Link::new(Rates { up: 1_000_000, down: 1_000_000, delay: 0 });
        link.push(Time(0), ConnId(1), 8192 - PACKET, 'a');
        link.push(Time(0), ConnId(2), 4096 - PACKET, 'b');
        let mut order = Vec::new();
        let mut now = Time(0);
        while let Some(quantum) = link.transmit(now) {
            now = quantum.gone;
            link.gone();
            order.push((quantum.conn.0, quantum.item));
        }
        assert_eq!(order, [(1, None), (2, Some('b')), (1, Some('a'))]);
        assert_eq!(now, Time(4096 * 3));
    }

    #[test]
    fn a_full_window_holds_up_its_own_connection_only() {
        let mut link = Link::new(Rates { up: 1_000_000, down: 1_000_000, delay: 0 });
        link.push(Time(0), ConnId(1), 10 * WINDOW, 'a');
        let mut quanta = 0;
        while link.transmit(Time(0)).is_some() {
            link.gone();
            quanta += 1;
        }
        assert_eq!(quanta, WINDOW / QUANTUM);
        link.push(Time(0), ConnId(2), 1, 'b');
        assert_eq!(link.transmit(Time(0)).unwrap().conn, ConnId(2));
        link.gone();
        link.arrived(ConnId(1), QUANTUM);
        assert_eq!(link.transmit(Time(0)).unwrap().conn, ConnId(1));
    }
}
