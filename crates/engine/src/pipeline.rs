//! The request window of one connection: how many bytes of requests are kept in flight. Pure
//! arithmetic over round trips.
//!
//! Delay steers the window. It grows while blocks come back about as fast as they ever did, and
//! shrinks when they queue up, so that it settles near twice the bandwidth-delay product wherever
//! the bottleneck is: enough that the sender never idles, and so little that a request never waits
//! behind seconds of others.

use std::time::Duration;

use crate::io::Time;

/// The smallest window, in bytes: two blocks, so that one is requested while the other one arrives.
pub(crate) const MIN_WINDOW: u32 = 32 * 1024;

/// The window holds at least what arrives in this time, so that fast connections use few and long
/// requests.
const MIN_WINDOW_TIME: Duration = Duration::from_millis(20);

/// The largest window of one connection, in bytes.
pub(crate) const MAX_WINDOW: u32 = 16 * 1024 * 1024;

/// Delay that requests may add on top of twice the shortest round trip.
const QUEUEING_ALLOWANCE: Duration = Duration::from_millis(10);

/// The shortest round trip is measured anew after this long: routes change, and a first sample can
/// be short by chance.
const BASE_LATENCY_LIFETIME: Duration = Duration::from_secs(10);

/// The request window of one connection.
#[derive(Debug, Clone)]
pub(crate) struct Pipeline {
    window: u32,
    base: Option<Duration>,
    recent_base: Option<Duration>,
    base_since: Time,
    /// The latest round trip, smoothed.
    smooth: Duration,
    growing_fast: bool,
}

impl Pipeline {
    /// The window of a connection on which nothing was measured.
    pub(crate) fn new(now: Time) -> Self {
        Self {
            window: 2 * MIN_WINDOW,
            base: None,
            recent_base: None,
            base_since: now,
            smooth: Duration::ZERO,
            growing_fast: true,
        }
    }

    /// Bytes that may be in flight.
    pub(crate) fn window(&self) -> u32 {
        self.window
    }

    /// How long a block takes to arrive, smoothed; zero while that is unknown.
    pub(crate) fn latency(&self) -> Duration {
        self.smooth
    }

    /// The length of the next request in bytes: big ones only while several of them fit into the
    /// window.
    pub(crate) fn request_length(&self, longest: u32) -> u32 {
        let unit = sow_content::BLOCK_LENGTH;
        (self.window / 4 / unit * unit).clamp(unit, longest.max(unit))
    }

    /// A block of `bytes` arrived `latency` after its request, on a connection that delivers `rate`
    /// bytes a second. `full`: the window was used up, so that it may have been what kept the rate
    /// down.
    pub(crate) fn arrived(
        &mut self,
        now: Time,
        latency: Duration,
        bytes: u32,
        rate: u64,
        full: bool,
    ) {
        self.measure(now, latency);
        let least = (rate as f64 * MIN_WINDOW_TIME.as_secs_f64())
            .clamp(f64::from(MIN_WINDOW), f64::from(MAX_WINDOW)) as u32;
        let base = self.base.unwrap_or(latency);
        if latency <= base * 2 + QUEUEING_ALLOWANCE {
            if full {
                let step = if self.growing_fast { bytes } else { bytes / 8 };
                self.window = (self.window + step).min(MAX_WINDOW);
            }
        } else {
            self.growing_fast = false;
            self.window -= (bytes / 4).min(self.window);
        }
        self.window = self.window.max(least);
    }

    fn measure(&mut self, now: Time, latency: Duration) {
        if now.since(self.base_since) > BASE_LATENCY_LIFETIME {
            self.base = self.recent_base.take();
            self.base_since = now;
        }
        let shortest =
            |known: Option<Duration>| Some(known.map_or(latency, |known| known.min(latency)));
        self.base = shortest(self.base);
        self.recent_base = shortest(self.recent_base);
        self.smooth = if self.smooth.is_zero() { latency } else { (self.smooth * 7 + latency) / 8 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sender that serves requests in order over a link of `rate` bytes a second and `rtt`; the
    /// average window at the end and the share of time in which the link was busy.
    fn settle(rate: u64, rtt: Duration) -> (u32, f64) {
        let mut pipeline = Pipeline::new(Time(0));
        let mut in_flight: std::collections::VecDeque<(Time, Time, u32)> = Default::default();
        let (mut now, mut link_free, mut busy, mut outstanding) = (Time(0), Time(0), 0u64, 0u32);
        let end = Time(20_000_000);
        while now < end {
            let length = pipeline.request_length(128 << 10);
            if outstanding + length <= pipeline.window() {
                let start = link_free.max(now + rtt / 2);
                let took = Duration::from_secs_f64(f64::from(length) / rate as f64);
                busy += took.as_micros() as u64;
                link_free = start + took;
                in_flight.push_back((now, link_free + rtt / 2, length));
                outstanding += length;
                continue;
            }
            let (asked, arrives, length) = in_flight.pop_front().unwrap();
            now = now.max(arrives);
            pipeline.arrived(now, now.since(asked), length, rate, true);
            outstanding -= length;
        }
        (pipeline.window(), busy as f64 / now.0 as f64)
    }

    #[test]
    fn links_are_filled_and_queues_stay_short() {
        for (rate, rtt_ms) in [
            (1_250_000, 1),
            (1_250_000, 20),
            (12_500_000, 50),
            (125_000_000, 1),
            (125_000_000, 100),
        ] {
            let rtt = Duration::from_millis(rtt_ms);
            let (window, busy) = settle(rate, rtt);
            let product = (rate as f64 * rtt.as_secs_f64()) as u32;
            assert!(busy > 0.9, "{rate} B/s, {rtt_ms} ms: busy {busy}, window {window}");
            // Twice the product, or what comes in 20 ms; the allowance; a request's own time on the
            // link.
            let most = 2 * product + (rate / 50) as u32 + 4 * MIN_WINDOW;
            assert!(
                window <= most.max(4 * MIN_WINDOW),
                "{rate} B/s, {rtt_ms} ms: window {window}, product {product}"
            );
        }
    }

    #[test]
    fn an_idle_window_does_not_grow() {
        let mut pipeline = Pipeline::new(Time(0));
        for i in 0..1000 {
            pipeline.arrived(Time(i * 1000), Duration::from_millis(5), 16384, 0, false);
        }
        assert_eq!(pipeline.window(), 2 * MIN_WINDOW);
    }
}
