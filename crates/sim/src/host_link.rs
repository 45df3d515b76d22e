//! The link of a host: an uplink that its connections share fairly, and a downlink that is a queue.
//! It does not know engines.
//!
//! Bytes travel in quanta. A connection has a window of bytes in flight, as TCP has, so that a slow
//! receiver delays its own connection and no other.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use sow_engine::{ConnId, Time};

/// The most bytes that are sent at once.
const QUANTUM_BYTES: u64 = 4 * 1024;

/// The most bytes of one connection that are in flight in one direction.
const WINDOW_BYTES: u64 = 128 * 1024;

/// What each packet costs in addition to its payload: the headers of Ethernet, IP and TCP.
const PACKET_OVERHEAD_BYTES: u64 = 66;

/// The capacity of one host's link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkConfig {
    /// Bytes per second that the host can send.
    pub upload_rate: u64,
    /// Bytes per second that the host can receive.
    pub download_rate: u64,
    /// The one-way delay between the host and the middle of the network.
    pub delay: Duration,
}

/// One host's end of the network, for items of type `T`.
#[derive(Debug)]
pub(crate) struct HostLink<T> {
    config: LinkConfig,
    send_queues: BTreeMap<ConnId, SendQueue<T>>,
    /// The connection that sent last. The turn is with the one after it.
    last_sender: ConnId,
    is_sending: bool,
    downlink_free_at: Time,
}

#[derive(Debug)]
struct SendQueue<T> {
    /// Items with their length in bytes.
    items: VecDeque<(u64, T)>,
    /// Bytes of the first item that were sent already.
    sent_of_first: u64,
    in_flight: u64,
    last_push: Option<Time>,
}

/// Some bytes of one connection on the uplink.
#[derive(Debug)]
pub(crate) struct Quantum<T> {
    pub(crate) conn: ConnId,
    pub(crate) bytes: u64,
    /// The item whose last byte is in this quantum.
    pub(crate) item: Option<T>,
    /// When the last bit is on the link.
    pub(crate) sent_at: Time,
}

impl<T> HostLink<T> {
    pub(crate) fn new(config: LinkConfig) -> Self {
        Self {
            config,
            send_queues: BTreeMap::new(),
            last_sender: ConnId(0),
            is_sending: false,
            downlink_free_at: Time(0),
        }
    }

    pub(crate) fn config(&self) -> LinkConfig {
        self.config
    }

    /// Queues an item of `bytes` on a connection. Items that are queued at the same time share a
    /// packet.
    pub(crate) fn push(&mut self, now: Time, conn: ConnId, bytes: u64, item: T) {
        let queue = self.send_queues.entry(conn).or_insert_with(|| SendQueue {
            items: VecDeque::new(),
            sent_of_first: 0,
            in_flight: 0,
            last_push: None,
        });
        let overhead = if queue.last_push == Some(now) { 0 } else { PACKET_OVERHEAD_BYTES };
        queue.last_push = Some(now);
        queue.items.push_back((bytes + overhead, item));
    }

    /// How many items wait on a connection.
    pub(crate) fn queued(&self, conn: ConnId) -> usize {
        self.send_queues.get(&conn).map_or(0, |queue| queue.items.len())
    }

    /// Begins to send the next quantum if the uplink is free. Connections take turns.
    pub(crate) fn send_quantum(&mut self, now: Time) -> Option<Quantum<T>> {
        if self.is_sending {
            return None;
        }
        let ready =
            |queue: &SendQueue<T>| !queue.items.is_empty() && queue.in_flight < WINDOW_BYTES;
        let mut after_last = self.send_queues.range(ConnId(self.last_sender.0 + 1)..);
        let next = after_last.find(|(_, queue)| ready(queue));
        let conn = *next.or_else(|| self.send_queues.iter().find(|(_, queue)| ready(queue)))?.0;
        let queue = self.send_queues.get_mut(&conn)?;
        let (length, _) = queue.items.front()?;
        let bytes = (length - queue.sent_of_first).min(QUANTUM_BYTES);
        queue.sent_of_first += bytes;
        queue.in_flight += bytes;
        let is_whole = queue.sent_of_first == *length;
        let item = if is_whole {
            queue.sent_of_first = 0;
            queue.items.pop_front().map(|(_, item)| item)
        } else {
            None
        };
        self.last_sender = conn;
        self.is_sending = true;
        let sent_at = Time(now.0 + bytes * 1_000_000 / self.config.upload_rate.max(1));
        Some(Quantum { conn, bytes, item, sent_at })
    }

    /// The quantum on the uplink is sent; the uplink is free again.
    pub(crate) fn on_quantum_sent(&mut self) {
        self.is_sending = false;
    }

    /// Puts bytes into the queue of the downlink and returns when they are delivered.
    pub(crate) fn receive(&mut self, now: Time, bytes: u64) -> Time {
        let start = self.downlink_free_at.max(now);
        self.downlink_free_at =
            Time(start.0 + bytes * 1_000_000 / self.config.download_rate.max(1));
        self.downlink_free_at
    }

    /// Bytes of this host were delivered, so the window of the connection opens.
    pub(crate) fn on_delivered(&mut self, conn: ConnId, bytes: u64) {
        if let Some(queue) = self.send_queues.get_mut(&conn) {
            queue.in_flight -= bytes.min(queue.in_flight);
        }
    }

    /// Drops what is queued on a closed connection.
    pub(crate) fn close(&mut self, conn: ConnId) {
        self.send_queues.remove(&conn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: LinkConfig =
        LinkConfig { upload_rate: 1_000_000, download_rate: 1_000_000, delay: Duration::ZERO };

    #[test]
    fn connections_share_the_uplink_in_turn() {
        let mut link = HostLink::new(CONFIG);
        link.push(Time(0), ConnId(1), 8192 - PACKET_OVERHEAD_BYTES, 'a');
        link.push(Time(0), ConnId(2), 4096 - PACKET_OVERHEAD_BYTES, 'b');
        let mut order = Vec::new();
        let mut now = Time(0);
        while let Some(quantum) = link.send_quantum(now) {
            now = quantum.sent_at;
            link.on_quantum_sent();
            order.push((quantum.conn.0, quantum.item));
        }
        assert_eq!(order, [(1, None), (2, Some('b')), (1, Some('a'))]);
        assert_eq!(now, Time(4096 * 3));
    }

    #[test]
    fn a_full_window_delays_only_its_own_connection() {
        let mut link = HostLink::new(CONFIG);
        link.push(Time(0), ConnId(1), 10 * WINDOW_BYTES, 'a');
        let mut quanta = 0;
        while link.send_quantum(Time(0)).is_some() {
            link.on_quantum_sent();
            quanta += 1;
        }
        assert_eq!(quanta, WINDOW_BYTES / QUANTUM_BYTES);
        link.push(Time(0), ConnId(2), 1, 'b');
        assert_eq!(link.send_quantum(Time(0)).unwrap().conn, ConnId(2));
        link.on_quantum_sent();
        link.on_delivered(ConnId(1), QUANTUM_BYTES);
        assert_eq!(link.send_quantum(Time(0)).unwrap().conn, ConnId(1));
    }
}
