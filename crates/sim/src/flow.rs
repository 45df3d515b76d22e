//! One direction of one connection: what waits, and TCP's window. Times and rates are the link's.
//!
//! Content is sent in segments of a few packets. The window grows as in slow start until a loss,
//! or until the round trip grows (HyStart, as Linux's CUBIC has it), and by a packet in each round
//! trip after that. A segment that is lost is sent again: at once where others were sent after it,
//! whose acknowledgements tell of the loss; else after a timeout.

use std::{collections::VecDeque, time::Duration};

use sow_engine::Time;

use crate::host_link::{Load, PACKET_PAYLOAD_BYTES};

/// The window of a new connection (RFC 6928), in bytes.
const INITIAL_WINDOW: u64 = 10 * PACKET_PAYLOAD_BYTES;

/// The least window after a loss that others tell of, and the greatest window: the latter is
/// Linux's default limit of a send buffer.
const MIN_WINDOW: u64 = 2 * PACKET_PAYLOAD_BYTES;
const MAX_WINDOW: u64 = 4 << 20;

/// What CUBIC leaves of a window after a loss (RFC 9438), in percent.
const KEPT_PERCENT: u64 = 70;

/// Acknowledgements of this much sent later tell of a loss (RFC 5681, section 3.2).
const FAST_RETRANSMIT_BYTES: u64 = 3 * PACKET_PAYLOAD_BYTES;

/// The least timeout, and how long the last packet's acknowledgement may be delayed (Linux).
const MIN_TIMEOUT: Duration = Duration::from_millis(200);

/// The timeout of a connection without a measured round trip (RFC 6298, section 2.1).
const FIRST_TIMEOUT: Duration = Duration::from_secs(1);

/// The doublings of the timeout, so that it stays below a minute.
const MAX_DOUBLINGS: u32 = 7;

/// Slow start ends when a round trip is longer than the shortest one by an eighth of it, but by
/// no less and no more than this (HyStart in Linux).
const HYSTART_MARGIN: (Duration, Duration) = (Duration::from_millis(4), Duration::from_millis(16));

/// The least window at which slow start ends for that reason.
const HYSTART_WINDOW: u64 = 16 * PACKET_PAYLOAD_BYTES;

/// The items for which an empty queue keeps memory.
const KEPT_CAPACITY: usize = 8;

/// See the header of this file.
#[derive(Debug)]
pub(crate) struct Flow<T> {
    /// Messages overtake content that is not begun.
    messages: VecDeque<(u64, T)>,
    contents: VecDeque<(u64, T)>,
    /// Bytes of the first content that were sent already.
    sent_of_first: u64,
    /// Segments that were lost, and when each is sent again.
    lost: VecDeque<(Time, Segment<T>)>,
    next_number: u32,
    in_flight: u64,
    window: u64,
    /// Above it the window grows by a packet in each round trip.
    threshold: u64,
    /// Acknowledged bytes until a lost packet may shrink the window again.
    recovering: u64,
    round_trip: RoundTrip,
    /// When something was sent last.
    sent_at: Time,
    pub(crate) has_turn: bool,
}

/// What a flow sends at once.
#[derive(Debug)]
pub(crate) struct Segment<T> {
    /// Its place among the segments of its flow.
    pub(crate) number: u32,
    /// How often it was lost.
    pub(crate) losses: u8,
    /// Bytes of messages and of contents; the latter count for the window.
    pub(crate) messages: u32,
    pub(crate) contents: u32,
    /// The items that are whole with it.
    pub(crate) items: Vec<T>,
}

impl<T> Segment<T> {
    /// Its length without headers.
    pub(crate) fn bytes(&self) -> u64 {
        u64::from(self.messages) + u64::from(self.contents)
    }
}

/// The measured round trips of a flow (RFC 6298).
#[derive(Debug, Default)]
struct RoundTrip {
    shortest: Option<Duration>,
    smooth: Duration,
    variation: Duration,
}

impl RoundTrip {
    fn measure(&mut self, sample: Duration) {
        match self.shortest {
            None => (self.smooth, self.variation) = (sample, sample / 2),
            Some(_) => {
                let difference = self.smooth.abs_diff(sample);
                self.variation = (self.variation * 3 + difference) / 4;
                self.smooth = (self.smooth * 7 + sample) / 8;
            }
        }
        self.shortest = Some(self.shortest.unwrap_or(sample).min(sample));
    }

    /// How long after it was sent a segment is taken for lost. A probe goes out earlier than the
    /// timeout when there was no loss before (RFC 8985, section 7).
    fn timeout(&self, losses: u8, is_only: bool) -> Duration {
        if self.shortest.is_none() {
            return FIRST_TIMEOUT * (1 << u32::from(losses.saturating_sub(1)).min(MAX_DOUBLINGS));
        }
        if losses <= 1 {
            return self.smooth * 2 + if is_only { MIN_TIMEOUT } else { Duration::ZERO };
        }
        let timeout = self.smooth + (self.variation * 4).max(MIN_TIMEOUT);
        timeout * (1 << u32::from(losses - 2).min(MAX_DOUBLINGS))
    }

    /// Whether a round trip shows that a queue grows.
    fn shows_queue(&self, sample: Duration) -> bool {
        let (least, most) = HYSTART_MARGIN;
        self.shortest.is_some_and(|it| sample > it + (it / 8).clamp(least, most))
    }
}

impl<T: Load> Flow<T> {
    pub(crate) fn new() -> Self {
        Self {
            messages: VecDeque::new(),
            contents: VecDeque::new(),
            sent_of_first: 0,
            lost: VecDeque::new(),
            next_number: 0,
            in_flight: 0,
            window: INITIAL_WINDOW,
            threshold: MAX_WINDOW,
            recovering: 0,
            round_trip: RoundTrip::default(),
            sent_at: Time(0),
            has_turn: false,
        }
    }

    pub(crate) fn push(&mut self, bytes: u64, item: T) {
        let is_content = item.content_bytes() > 0;
        let queue = if is_content { &mut self.contents } else { &mut self.messages };
        queue.push_back((bytes, item));
    }

    pub(crate) fn queued(&self) -> usize {
        self.messages.len() + self.contents.len()
    }

    pub(crate) fn is_ready(&self, now: Time) -> bool {
        let content = !self.contents.is_empty() && self.in_flight < self.window;
        let again = self.lost.front().is_some_and(|(due, _)| *due <= now);
        content || again || (!self.messages.is_empty() && self.sent_of_first == 0)
    }

    /// Takes at most `limit` bytes: what was lost before messages, messages before content.
    pub(crate) fn take(&mut self, now: Time, limit: u64) -> Option<Segment<T>> {
        let segment = match self.lost.front() {
            Some((due, _)) if *due <= now => self.lost.pop_front().map(|(_, segment)| segment),
            _ => self.next_segment(now, limit),
        }?;
        self.in_flight += u64::from(segment.contents);
        self.sent_at = now;
        Some(segment)
    }

    fn next_segment(&mut self, now: Time, limit: u64) -> Option<Segment<T>> {
        if self.in_flight == 0 && now.since(self.sent_at) > self.round_trip.timeout(2, false) {
            // The path may have changed (RFC 5681, section 4.1).
            self.window = self.window.min(INITIAL_WINDOW);
        }
        let (mut messages, mut contents, mut items) = (0, 0, Vec::new());
        while messages + contents < limit {
            if self.sent_of_first == 0
                && let Some((length, message)) = self.messages.pop_front()
            {
                messages += length;
                items.push(message);
                continue;
            }
            let Some(&(length, _)) = self.contents.front() else { break };
            if self.in_flight + contents >= self.window {
                break;
            }
            let room = limit - messages - contents;
            let part = (length - self.sent_of_first).min(room);
            contents += part;
            self.sent_of_first += part;
            if self.sent_of_first == length {
                self.sent_of_first = 0;
                items.extend(self.contents.pop_front().map(|(_, item)| item));
            }
        }
        if messages + contents == 0 {
            return None;
        }
        shrink_empty(&mut self.messages);
        shrink_empty(&mut self.contents);
        let number = self.next_number;
        self.next_number += 1;
        let (messages, contents) = (messages as u32, contents as u32);
        Some(Segment { number, losses: 0, messages, contents, items })
    }

    /// The peer acknowledges contents that were sent at a time; `None` when they were sent twice,
    /// so that the round trip is unknown. The window grows while it is what limits the flow.
    pub(crate) fn on_acknowledged(&mut self, now: Time, bytes: u64, sent_at: Option<Time>) {
        let was_limited = self.in_flight * 2 >= self.window;
        self.in_flight = self.in_flight.saturating_sub(bytes);
        self.recovering = self.recovering.saturating_sub(bytes);
        if let Some(sent_at) = sent_at {
            let sample = now.since(sent_at);
            let is_slow_start = self.window < self.threshold && self.window >= HYSTART_WINDOW;
            if is_slow_start && self.round_trip.shows_queue(sample) {
                self.threshold = self.window;
            }
            self.round_trip.measure(sample);
        }
        if was_limited && self.recovering == 0 {
            let growth = match self.window < self.threshold {
                true => bytes,
                false => bytes * PACKET_PAYLOAD_BYTES / self.window,
            };
            self.window = (self.window + growth).min(MAX_WINDOW);
        }
    }

    /// A segment was lost: the window shrinks once for the losses of a window. When it is sent
    /// again, if not at once.
    pub(crate) fn on_lost(
        &mut self,
        now: Time,
        mut segment: Segment<T>,
        sent_at: Time,
    ) -> Option<Time> {
        let bytes = u64::from(segment.contents);
        self.in_flight = self.in_flight.saturating_sub(bytes);
        self.recovering = self.recovering.saturating_sub(bytes);
        segment.losses = segment.losses.saturating_add(1);
        let is_told = self.in_flight >= FAST_RETRANSMIT_BYTES;
        let timeout = self.round_trip.timeout(segment.losses, self.in_flight == 0);
        let due = if is_told { now } else { now.max(sent_at + timeout) };
        if !is_told && segment.losses > 1 {
            self.threshold = (self.window * KEPT_PERCENT / 100).max(MIN_WINDOW);
            self.window = PACKET_PAYLOAD_BYTES;
        } else if self.recovering == 0 {
            self.window = (self.window * KEPT_PERCENT / 100).max(MIN_WINDOW);
            self.threshold = self.window;
            self.recovering = self.window;
        }
        let place =
            self.lost.partition_point(|(other, it)| (*other, it.number) < (due, segment.number));
        self.lost.insert(place, (due, segment));
        (due > now).then_some(due)
    }
}

/// Frees the memory of an empty queue that was long: most connections of a crowd are idle.
fn shrink_empty<T>(queue: &mut VecDeque<T>) {
    if queue.is_empty() && queue.capacity() > KEPT_CAPACITY {
        *queue = VecDeque::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Content(u64);

    impl Load for Content {
        fn content_bytes(&self) -> u64 {
            self.0
        }
    }

    fn flow(packets: u64) -> Flow<Content> {
        let mut flow = Flow::new();
        flow.push(packets * PACKET_PAYLOAD_BYTES, Content(packets * PACKET_PAYLOAD_BYTES));
        flow
    }

    fn at_ms(ms: u64) -> Time {
        Time(ms * 1000)
    }

    #[test]
    fn the_window_doubles_in_each_round_trip_until_the_round_trip_grows() {
        let mut flow = flow(10_000);
        let mut sizes = Vec::new();
        for round in 0..6 {
            let now = at_ms(10 * round);
            let sent = u64::from(flow.take(now, flow.window).unwrap().contents);
            assert_eq!(sent, flow.window);
            sizes.push(flow.window / PACKET_PAYLOAD_BYTES);
            let round_trip = if round < 3 { 10 } else { 15 };
            flow.on_acknowledged(now + Duration::from_millis(round_trip), flow.window, Some(now));
        }
        assert_eq!(sizes, [10, 20, 40, 80, 81, 82]);
    }

    #[test]
    fn a_loss_that_others_tell_of_is_mended_at_once_and_shrinks_the_window_once() {
        let mut flow = flow(100);
        let mut sent = Vec::new();
        while let Some(segment) = flow.take(at_ms(0), PACKET_PAYLOAD_BYTES) {
            sent.push(segment);
        }
        assert_eq!(sent.len(), 10);
        flow.on_acknowledged(at_ms(20), PACKET_PAYLOAD_BYTES, Some(at_ms(0)));
        assert_eq!(flow.on_lost(at_ms(20), sent.remove(1), at_ms(0)), None);
        assert_eq!(flow.on_lost(at_ms(20), sent.remove(1), at_ms(0)), None);
        assert_eq!(flow.window, 11 * PACKET_PAYLOAD_BYTES * 7 / 10);
        let numbers = [flow.take(at_ms(20), 1 << 20), flow.take(at_ms(20), 1 << 20)]
            .map(|segment| segment.map(|it| (it.number, it.losses)));
        assert_eq!(numbers, [Some((1, 1)), Some((2, 1))]);
    }

    #[test]
    fn the_last_packet_is_sent_again_after_a_timeout_that_doubles() {
        let mut flow = flow(2);
        let first = flow.take(at_ms(0), PACKET_PAYLOAD_BYTES).unwrap();
        flow.on_acknowledged(at_ms(20), u64::from(first.contents), Some(at_ms(0)));
        let mut last = flow.take(at_ms(20), PACKET_PAYLOAD_BYTES).unwrap();
        let mut sent_at = at_ms(20);
        let mut waits = Vec::new();
        for _ in 0..4 {
            let due = flow.on_lost(sent_at, last, sent_at).unwrap();
            assert!(!flow.is_ready(Time(due.0 - 1)) && flow.is_ready(due));
            waits.push(due.since(sent_at).as_millis());
            (sent_at, last) = (due, flow.take(due, PACKET_PAYLOAD_BYTES).unwrap());
        }
        assert_eq!(waits, [240, 220, 440, 880]);
        assert_eq!(flow.window, PACKET_PAYLOAD_BYTES);
    }
}
