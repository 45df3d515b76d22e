//! The link of a host: an uplink that its connections share in turn, and a downlink that is a
//! queue. It does not know engines.
//!
//! Bytes travel in quanta of a few packets. All rates are rates on the wire: headers are charged
//! for each packet, and acknowledgements take their part of the receiver's uplink and of the
//! sender's downlink, and wait where the uplink has a queue. A connection has a window of bytes in
//! flight, as TCP has, so that a slow receiver delays its own connection and no other. What finds
//! the queue of a downlink full is lost, and its sender sends it again.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use sow_engine::{ConnId, Time};

use crate::flow::{Flow, Segment};

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

/// The fewest packets that a queue holds, as in the lab: the initial windows of two connections.
const MIN_QUEUE_PACKETS: u64 = 20;

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
    /// What was lost and sent again, with headers.
    pub resent: u64,
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
            resent: self.resent + other.resent,
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

/// A segment of one connection on the uplink.
#[derive(Debug)]
pub(crate) struct Quantum<T> {
    pub(crate) conn: ConnId,
    pub(crate) segment: Segment<T>,
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
    pub(crate) fn push(&mut self, now: Time, conn: ConnId, bytes: u64, item: T) {
        self.flows.entry(conn).or_insert_with(Flow::new).push(bytes, item);
        self.give_turn(now, conn);
    }

    /// How many items wait on a connection.
    pub(crate) fn queued(&self, conn: ConnId) -> usize {
        self.flows.get(&conn).map_or(0, Flow::queued)
    }

    /// Lets a connection send if it may.
    pub(crate) fn give_turn(&mut self, now: Time, conn: ConnId) {
        if let Some(flow) = self.flows.get_mut(&conn)
            && !flow.has_turn
            && flow.is_ready(now)
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
            let Some(segment) = flow.take(now, limit) else { continue };
            self.give_turn(now, conn);
            let wire = wire_bytes(segment.bytes());
            self.traffic.wire += wire;
            if segment.losses > 0 {
                self.traffic.resent += wire;
            } else {
                let contents = segment.items.iter().map(Load::content_bytes);
                self.traffic.content += contents.sum::<u64>();
                // Headers are due to messages where they travel alone.
                let messages = u64::from(segment.messages);
                self.traffic.control += if segment.contents == 0 { wire } else { messages };
            }
            self.occupy_uplink(now, wire);
            return Some(Quantum { conn, segment, sent_at: self.uplink_free_at() });
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

    /// Puts a segment of `bytes` into the queue of the downlink and returns when it is delivered;
    /// `None` when the queue, which has room for `queue`, is full.
    pub(crate) fn receive(&mut self, now: Time, bytes: u64, queue: Duration) -> Option<Time> {
        let waits = self.downlink_free_at.saturating_sub(now.0 * 1000);
        if waits > limit_nanos(queue, self.config.download_rate) {
            return None;
        }
        self.occupy_downlink(now, wire_bytes(bytes));
        Some(Time(self.downlink_free_at.div_ceil(1000)))
    }

    /// Acknowledges a segment of `bytes` that was received. Returns how long the acknowledgement
    /// waits: until those connections had their turn that wait for the uplink already, as far as
    /// its queue has room for them.
    pub(crate) fn acknowledge(&mut self, now: Time, bytes: u64, queue: Duration) -> Duration {
        let wire = ack_bytes(bytes);
        self.traffic.wire += wire;
        self.traffic.acks += wire;
        let rate = self.config.upload_rate;
        let turns = self.turns.len() as u64 * wire_bytes(self.quantum_bytes());
        let waits = self.uplink_free_at.saturating_sub(now.0 * 1000) + nanos(turns, rate);
        self.occupy_uplink(now, wire);
        Duration::from_micros(waits.min(limit_nanos(queue, rate)) / 1000)
    }

    /// The peer acknowledges a segment with so many bytes of contents, as
    /// [`Flow::on_acknowledged`].
    pub(crate) fn on_acknowledged(
        &mut self,
        now: Time,
        conn: ConnId,
        contents: u64,
        sent_at: Option<Time>,
    ) {
        self.occupy_downlink(now, ack_bytes(contents));
        if let Some(flow) = self.flows.get_mut(&conn) {
            flow.on_acknowledged(now, contents, sent_at);
            self.give_turn(now, conn);
        }
    }

    /// A segment was lost on its way. When its connection is to be [given a turn](Self::give_turn)
    /// for it, if not at once.
    pub(crate) fn on_lost(
        &mut self,
        now: Time,
        conn: ConnId,
        segment: Segment<T>,
        sent_at: Time,
    ) -> Option<Time> {
        let due = self.flows.get_mut(&conn)?.on_lost(now, segment, sent_at);
        self.give_turn(now, conn);
        due
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
    start + nanos(wire, rate)
}

/// How long a link of a rate takes for some bytes, in nanoseconds.
fn nanos(bytes: u64, rate: u64) -> u64 {
    bytes * 1_000_000_000 / rate.max(1)
}

/// How long a full queue of a link is, in nanoseconds.
fn limit_nanos(queue: Duration, rate: u64) -> u64 {
    let least = MIN_QUEUE_PACKETS * (PACKET_PAYLOAD_BYTES + PACKET_HEADER_BYTES);
    (queue.as_nanos() as u64).max(nanos(least, rate))
}

/// The bytes on the wire of a segment.
fn wire_bytes(bytes: u64) -> u64 {
    bytes + PACKET_HEADER_BYTES * bytes.div_ceil(PACKET_PAYLOAD_BYTES)
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
            let items = &quantum.segment.items;
            order.push((quantum.conn.0, items.iter().map(|item| item.0).collect()));
        }
        (order, now)
    }

    #[test]
    fn connections_share_the_uplink_in_turn_and_messages_overtake_content() {
        let mut link = HostLink::new(CONFIG);
        link.push(Time(0), ConnId(1), 4 * 1448, Named('a', true));
        link.push(Time(0), ConnId(2), 2 * 1448, Named('b', true));
        link.push(Time(0), ConnId(2), 10, Named('m', false));
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
        link.push(Time(0), ConnId(1), 1000 * 1448, Named('a', true));
        let (order, now) = send_all(&mut link);
        assert_eq!(order.len(), 5, "ten packets");
        link.push(now, ConnId(2), 1, Named('b', true));
        let quantum = link.send_quantum(now).unwrap();
        assert_eq!(quantum.conn, ConnId(2));
        link.on_acknowledged(now, ConnId(1), 2 * 1448, None);
        assert_eq!(link.send_quantum(quantum.sent_at).unwrap().conn, ConnId(1));
    }

    #[test]
    fn acknowledgements_take_two_percent_of_the_link_in_the_other_direction() {
        let mut link: HostLink<Named> = HostLink::new(CONFIG);
        assert_eq!(link.acknowledge(Time(0), 100 * 1448, Duration::ZERO), Duration::ZERO);
        link.push(Time(0), ConnId(1), 1448, Named('a', true));
        assert!(link.send_quantum(Time(2179)).is_none());
        assert_eq!(link.send_quantum(Time(2180)).unwrap().sent_at, Time(1000 + 2180));
        assert_eq!(link.traffic().acks, 3300);
    }

    #[test]
    fn what_finds_the_queue_of_a_downlink_full_is_lost() {
        let mut link: HostLink<Named> = HostLink::new(CONFIG);
        let queue = Duration::from_millis(30);
        let mut receive = |now| link.receive(now, 10 * 1448, queue).map(|at| at.0);
        let first: Vec<_> = (0..5).map(|_| receive(Time(0))).collect();
        assert_eq!(first, [Some(10_000), Some(20_000), Some(30_000), Some(40_000), None]);
        assert_eq!(receive(Time(10_000)), Some(50_000));
    }

    #[test]
    fn an_acknowledgement_waits_behind_the_connections_that_have_a_turn() {
        let mut link = HostLink::new(CONFIG);
        let wait = |link: &mut HostLink<Named>, queue| {
            link.acknowledge(Time(0), 1, Duration::from_millis(queue)).as_millis()
        };
        assert_eq!(wait(&mut link, 100), 0);
        (1..=15).for_each(|conn| link.push(Time(0), ConnId(conn), 1448, Named('a', true)));
        assert_eq!(wait(&mut link, 100), 30);
        assert_eq!(wait(&mut link, 25), 25);
    }
}
