//! The link of a host: an uplink that its connections share in turn, and a downlink that is a
//! queue. It does not know engines.
//!
//! Bytes travel in quanta of a few packets. All rates are rates on the wire: headers are charged
//! for each packet, and acknowledgements take their part of the receiver's uplink and of the
//! sender's downlink. A connection has a window of bytes in flight, as TCP has, so that a slow
//! receiver delays its own connection and no other.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use sow_engine::{ConnId, Time};

use crate::flow::{Flow, Taken};

/// The payload of a full packet: an MTU of 1,500 bytes without the headers of IPv4 and TCP with
/// timestamps.
pub(crate) const PACKET_PAYLOAD_BYTES: u64 = 1448;

/// The headers of a packet: Ethernet (14 bytes), IPv4 (20), TCP with timestamps (32).
pub(crate) const PACKET_HEADER_BYTES: u64 = 66;

/// How many packets one acknowledgement covers (RFC 9293, section 3.8.6.3).
const PACKETS_PER_ACK: u64 = 2;

/// The fewest packets of one connection that are sent at once: what Linux lets a connection have in
/// the queue of a slow device (TCP small queues).
const MIN_QUANTUM_PACKETS: u64 = 2;

/// How long a quantum takes on a fast link, in microseconds.
const QUANTUM_TIME_US: u64 = 500;

/// The capacity of one host's link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkConfig {
    /// Bytes per second that the host can send, headers included.
    pub upload_rate: u64,
    /// Bytes per second that the host can receive, headers included.
    pub download_rate: u64,
    /// The one-way delay between the host and the middle of the network.
    pub delay: Duration,
}

impl LinkConfig {
    /// What is left of a rate on the wire for payload in full packets, in bytes per second.
    pub fn payload_rate(wire_rate: u64) -> f64 {
        let (payload, headers) = (PACKET_PAYLOAD_BYTES as f64, PACKET_HEADER_BYTES as f64);
        wire_rate as f64 * payload / (payload + headers)
    }
}

/// What crossed the link of a host, in bytes: its uplink, where nothing else is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Everything, headers and acknowledgements included.
    pub wire: u64,
    /// Content, without headers.
    pub content: u64,
    /// Messages, with the headers of packets that carry nothing else.
    pub control: u64,
    /// Acknowledgements.
    pub acks: u64,
    /// What came over the downlink, headers and acknowledgements included.
    pub received: u64,
}

impl Traffic {
    /// The sums.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            wire: self.wire + other.wire,
            content: self.content + other.content,
            control: self.control + other.control,
            acks: self.acks + other.acks,
            received: self.received + other.received,
        }
    }
}

/// What is sent on a connection.
pub(crate) trait Load {
    /// The bytes of content in it; the rest of its length is control.
    fn content_bytes(&self) -> u64;
}

/// One host's end of the network, for items of type `T`.
#[derive(Debug)]
pub(crate) struct HostLink<T> {
    config: LinkConfig,
    flows: BTreeMap<ConnId, Flow<T>>,
    /// The connections that can send, in the order of their turns.
    turns: VecDeque<ConnId>,
    /// When the uplink and the downlink are free, in nanoseconds.
    uplink_free_at: u64,
    downlink_free_at: u64,
    traffic: Traffic,
}

/// Some bytes of one connection on the uplink.
#[derive(Debug)]
pub(crate) struct Quantum<T> {
    pub(crate) conn: ConnId,
    /// Bytes without the headers of packets.
    pub(crate) bytes: u64,
    /// The part of them that counts for the window.
    pub(crate) windowed: u64,
    /// The items whose last byte is in this quantum.
    pub(crate) items: Vec<T>,
    /// When the last bit is on the link.
    pub(crate) sent_at: Time,
}

impl<T: Load> HostLink<T> {
    pub(crate) fn new(config: LinkConfig) -> Self {
        Self {
            config,
            flows: BTreeMap::new(),
            turns: VecDeque::new(),
            uplink_free_at: 0,
            downlink_free_at: 0,
            traffic: Traffic::default(),
        }
    }

    pub(crate) fn set_config(&mut self, config: LinkConfig) {
        self.config = config;
    }

    pub(crate) fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// Everything that is queued or in flight is lost.
    pub(crate) fn reset(&mut self) {
        let traffic = self.traffic;
        *self = Self::new(self.config);
        self.traffic = traffic;
    }

    /// Queues an item of `bytes` on a connection. What waits together shares packets.
    pub(crate) fn push(&mut self, conn: ConnId, bytes: u64, item: T) {
        self.flows.entry(conn).or_insert_with(Flow::new).push(bytes, item);
        self.give_turn(conn);
    }

    /// How many items wait on a connection.
    pub(crate) fn queued(&self, conn: ConnId) -> usize {
        self.flows.get(&conn).map_or(0, Flow::queued)
    }

    fn give_turn(&mut self, conn: ConnId) {
        if let Some(flow) = self.flows.get_mut(&conn)
            && !flow.has_turn
            && flow.is_ready()
        {
            flow.has_turn = true;
            self.turns.push_back(conn);
        }
    }

    /// Whether something waits that may be sent.
    pub(crate) fn has_turns(&self) -> bool {
        !self.turns.is_empty()
    }

    /// When the uplink is free, rounded up.
    pub(crate) fn uplink_free_at(&self) -> Time {
        Time(self.uplink_free_at.div_ceil(1000))
    }

    /// Begins to send the next quantum if the uplink is free. Connections take turns.
    pub(crate) fn send_quantum(&mut self, now: Time) -> Option<Quantum<T>> {
        if self.uplink_free_at() > now {
            return None;
        }
        let limit = self.quantum_bytes();
        while let Some(conn) = self.turns.pop_front() {
            let Some(flow) = self.flows.get_mut(&conn) else { continue };
            flow.has_turn = false;
            let Taken { messages, contents, items } = flow.take(limit);
            let bytes = messages + contents;
            if bytes == 0 {
                continue;
            }
            self.give_turn(conn);
            let wire = bytes + PACKET_HEADER_BYTES * bytes.div_ceil(PACKET_PAYLOAD_BYTES);
            self.traffic.wire += wire;
            self.traffic.content += items.iter().map(Load::content_bytes).sum::<u64>();
            // Headers are due to messages where they travel alone.
            self.traffic.control += if contents == 0 { wire } else { messages };
            self.occupy_uplink(now, wire);
            let sent_at = self.uplink_free_at();
            return Some(Quantum { conn, bytes, windowed: contents, items, sent_at });
        }
        None
    }

    fn quantum_bytes(&self) -> u64 {
        let packet = PACKET_PAYLOAD_BYTES + PACKET_HEADER_BYTES;
        let packets = self.config.upload_rate * QUANTUM_TIME_US / 1_000_000 / packet;
        packets.max(MIN_QUANTUM_PACKETS) * PACKET_PAYLOAD_BYTES
    }

    fn occupy_uplink(&mut self, now: Time, wire: u64) {
        self.uplink_free_at = occupied(self.uplink_free_at, now, wire, self.config.upload_rate);
    }

    fn occupy_downlink(&mut self, now: Time, wire: u64) {
        self.traffic.received += wire;
        self.downlink_free_at =
            occupied(self.downlink_free_at, now, wire, self.config.download_rate);
    }

    /// How long the queue of the downlink is.
    pub(crate) fn downlink_queue(&self, now: Time) -> Duration {
        Duration::from_nanos(self.downlink_free_at.saturating_sub(now.0 * 1000))
    }

    /// Puts a quantum of `bytes` into the queue of the downlink and returns when it is delivered.
    pub(crate) fn receive(&mut self, now: Time, bytes: u64) -> Time {
        let packets = bytes.div_ceil(PACKET_PAYLOAD_BYTES);
        self.occupy_downlink(now, bytes + PACKET_HEADER_BYTES * packets);
        Time(self.downlink_free_at.div_ceil(1000))
    }

    /// Acknowledges a quantum of `bytes` that was received.
    pub(crate) fn acknowledge(&mut self, now: Time, bytes: u64) {
        let wire = ack_bytes(bytes);
        self.traffic.wire += wire;
        self.traffic.acks += wire;
        self.occupy_uplink(now, wire);
    }

    /// The peer acknowledges a quantum: `bytes` of it counted for the window.
    pub(crate) fn on_acknowledged(&mut self, now: Time, conn: ConnId, bytes: u64, was_lost: bool) {
        self.occupy_downlink(now, ack_bytes(bytes));
        if was_lost {
            // It was sent again.
            let wire = bytes + PACKET_HEADER_BYTES * bytes.div_ceil(PACKET_PAYLOAD_BYTES);
            self.traffic.wire += wire;
            self.occupy_uplink(now, wire);
        }
        if let Some(flow) = self.flows.get_mut(&conn) {
            flow.on_acknowledged(bytes, was_lost);
            self.give_turn(conn);
        }
    }

    /// Drops what is queued on a closed connection.
    pub(crate) fn close(&mut self, conn: ConnId) {
        self.flows.remove(&conn);
    }
}

/// When a link is free that was to be free at `free_at`, in nanoseconds, and carries more bytes
/// from now on. Times of events are microseconds, which must not cost a busy link a part of one.
fn occupied(free_at: u64, now: Time, wire: u64, rate: u64) -> u64 {
    let now = now.0 * 1000;
    let start = if free_at + 1000 > now { free_at } else { now };
    start + wire * 1_000_000_000 / rate.max(1)
}

/// The bytes on the wire of the acknowledgements for `bytes` of payload.
fn ack_bytes(bytes: u64) -> u64 {
    PACKET_HEADER_BYTES * bytes.div_ceil(PACKET_PAYLOAD_BYTES) / PACKETS_PER_ACK
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: LinkConfig =
        LinkConfig { upload_rate: 1_514_000, download_rate: 1_514_000, delay: Duration::ZERO };

    /// An item of a test: its name, and whether it is content.
    #[derive(Debug, PartialEq, Eq)]
    struct Named(char, bool);

    impl Load for Named {
        fn content_bytes(&self) -> u64 {
            u64::from(self.1)
        }
    }

    fn send_all(link: &mut HostLink<Named>) -> (Vec<(u64, String)>, Time) {
        let (mut order, mut now) = (Vec::new(), Time(0));
        while let Some(quantum) = link.send_quantum(now) {
            now = quantum.sent_at;
            order.push((quantum.conn.0, quantum.items.iter().map(|item| item.0).collect()));
        }
        (order, now)
    }

    #[test]
    fn connections_share_the_uplink_in_turn_and_messages_overtake_content() {
        let mut link = HostLink::new(CONFIG);
        link.push(ConnId(1), 4 * 1448, Named('a', true));
        link.push(ConnId(2), 2 * 1448, Named('b', true));
        link.push(ConnId(2), 10, Named('m', false));
        let (order, now) = send_all(&mut link);
        let texts: Vec<(u64, &str)> = order.iter().map(|(conn, it)| (*conn, it.as_str())).collect();
        assert_eq!(texts, [(1, ""), (2, "m"), (1, "a"), (2, "b")]);
        // Seven packets of 1 ms, the last one with 10 bytes of payload.
        assert_eq!(now, Time(6051));
        assert_eq!(link.traffic().wire, 6 * 1514 + 76);
    }

    #[test]
    fn a_full_window_delays_only_its_own_connection() {
        let mut link = HostLink::new(CONFIG);
        link.push(ConnId(1), 1000 * 1448, Named('a', true));
        let (order, now) = send_all(&mut link);
        assert_eq!(order.len(), 5, "ten packets");
        link.push(ConnId(2), 1, Named('b', true));
        let quantum = link.send_quantum(now).unwrap();
        assert_eq!(quantum.conn, ConnId(2));
        link.on_acknowledged(now, ConnId(1), 2 * 1448, false);
        assert_eq!(link.send_quantum(quantum.sent_at).unwrap().conn, ConnId(1));
    }

    #[test]
    fn acknowledgements_take_two_percent_of_the_link_in_the_other_direction() {
        let mut link: HostLink<Named> = HostLink::new(CONFIG);
        link.acknowledge(Time(0), 100 * 1448);
        link.push(ConnId(1), 1448, Named('a', true));
        assert!(link.send_quantum(Time(2179)).is_none());
        assert_eq!(link.send_quantum(Time(2180)).unwrap().sent_at, Time(1000 + 2180));
        assert_eq!(link.traffic().acks, 3300);
    }
}
