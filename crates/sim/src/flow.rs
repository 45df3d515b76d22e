//! One direction of one connection: what waits, and TCP's window. Times and rates are the link's.

use std::collections::VecDeque;

use crate::host_link::{Load, PACKET_PAYLOAD_BYTES};

/// The window of a new connection (RFC 6928), in bytes.
const INITIAL_WINDOW: u64 = 10 * PACKET_PAYLOAD_BYTES;

/// The least and the greatest window: the latter is Linux's default limit of a send buffer.
const MIN_WINDOW: u64 = 2 * PACKET_PAYLOAD_BYTES;
const MAX_WINDOW: u64 = 4 << 20;

/// What CUBIC leaves of a window after a loss (RFC 9438), in percent.
const KEPT_PERCENT: u64 = 70;

/// See the header of this file.
#[derive(Debug)]
pub(crate) struct Flow<T> {
    /// Messages overtake content that is not begun.
    messages: VecDeque<(u64, T)>,
    contents: VecDeque<(u64, T)>,
    /// Bytes of the first content that were sent already.
    sent_of_first: u64,
    in_flight: u64,
    window: u64,
    /// Above it the window grows by a packet in each round trip.
    threshold: u64,
    /// Acknowledged bytes until a lost packet may shrink the window again.
    recovering: u64,
    pub(crate) has_turn: bool,
}

/// What a flow sends at once.
#[derive(Debug)]
pub(crate) struct Taken<T> {
    /// Bytes of messages and of contents.
    pub(crate) messages: u64,
    pub(crate) contents: u64,
    /// The items that are whole.
    pub(crate) items: Vec<T>,
}

impl<T: Load> Flow<T> {
    pub(crate) fn new() -> Self {
        Self {
            messages: VecDeque::new(),
            contents: VecDeque::new(),
            sent_of_first: 0,
            in_flight: 0,
            window: INITIAL_WINDOW,
            threshold: MAX_WINDOW,
            recovering: 0,
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

    pub(crate) fn is_ready(&self) -> bool {
        let content = !self.contents.is_empty() && self.in_flight < self.window;
        content || (!self.messages.is_empty() && self.sent_of_first == 0)
    }

    /// Takes at most `limit` bytes, messages before content.
    pub(crate) fn take(&mut self, limit: u64) -> Taken<T> {
        let mut taken = Taken { messages: 0, contents: 0, items: Vec::new() };
        while taken.messages + taken.contents < limit {
            if self.sent_of_first == 0
                && let Some((length, message)) = self.messages.pop_front()
            {
                taken.messages += length;
                taken.items.push(message);
                continue;
            }
            let Some(&(length, _)) = self.contents.front() else { break };
            if self.in_flight >= self.window {
                break;
            }
            let room = limit - taken.messages - taken.contents;
            let part = (length - self.sent_of_first).min(room);
            taken.contents += part;
            self.in_flight += part;
            self.sent_of_first += part;
            if self.sent_of_first == length {
                self.sent_of_first = 0;
                taken.items.extend(self.contents.pop_front().map(|(_, item)| item));
            }
        }
        taken
    }

    /// The peer acknowledges bytes. The window grows while it is what limits the flow: it doubles
    /// in each round trip at the start, and grows by a packet later. It shrinks once for the losses
    /// of a window.
    pub(crate) fn on_acknowledged(&mut self, bytes: u64, was_lost: bool) {
        let was_limited = self.in_flight * 2 >= self.window;
        self.in_flight = self.in_flight.saturating_sub(bytes);
        self.recovering = self.recovering.saturating_sub(bytes);
        if was_lost && self.recovering == 0 {
            self.window = (self.window * KEPT_PERCENT / 100).max(MIN_WINDOW);
            self.threshold = self.window;
            self.recovering = self.window;
        } else if was_limited {
            let growth = match self.window < self.threshold {
                true => bytes,
                false => bytes * PACKET_PAYLOAD_BYTES / self.window,
            };
            self.window = (self.window + growth).min(MAX_WINDOW);
        }
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

    #[test]
    fn the_window_doubles_in_each_round_trip_and_shrinks_after_a_loss() {
        let mut flow = Flow::new();
        flow.push(100 << 20, Content(100 << 20));
        let mut sizes = Vec::new();
        for round in 0..6 {
            let sent = flow.take(u64::MAX >> 1).contents.min(flow.window);
            flow.in_flight = flow.window;
            sizes.push(flow.window / PACKET_PAYLOAD_BYTES);
            let _ = sent;
            flow.on_acknowledged(flow.window, round == 4);
        }
        assert_eq!(sizes, [10, 20, 40, 80, 160, 112]);
    }
}
