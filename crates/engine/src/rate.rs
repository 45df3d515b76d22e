//! The rate of a flow of bytes: a sliding window over the last two seconds. Pure arithmetic.

use std::time::Duration;

use crate::io::Time;

/// The slots of the window.
const WINDOW_SLOTS: usize = 8;
/// The length of a slot in microseconds.
const SLOT_MICROS: u64 = 250_000;

/// Bytes per second over the last two seconds, and the total of all bytes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rate {
    slots: [u64; WINDOW_SLOTS],
    /// The number of the newest slot since time zero.
    newest: u64,
    first: Option<Time>,
    total: u64,
}

impl Rate {
    /// Counts bytes that moved at `now`.
    pub(crate) fn add(&mut self, now: Time, bytes: u64) {
        self.advance(now);
        self.first.get_or_insert(now);
        self.slots[(self.newest % WINDOW_SLOTS as u64) as usize] += bytes;
        self.total += bytes;
    }

    /// Bytes per second; a young flow is measured over its own life, but at least one slot.
    pub(crate) fn per_second(&self, now: Time) -> u64 {
        let Some(first) = self.first else { return 0 };
        let oldest = (now.0 / SLOT_MICROS).saturating_sub(WINDOW_SLOTS as u64 - 1);
        let bytes: u64 = (oldest.max(self.newest.saturating_sub(WINDOW_SLOTS as u64 - 1))
            ..=self.newest)
            .map(|slot| self.slots[(slot % WINDOW_SLOTS as u64) as usize])
            .sum();
        let window = now.since(first).clamp(
            Duration::from_micros(SLOT_MICROS),
            Duration::from_micros(SLOT_MICROS * WINDOW_SLOTS as u64),
        );
        (bytes as f64 / window.as_secs_f64()) as u64
    }

    /// All bytes ever.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    fn advance(&mut self, now: Time) {
        let slot = now.0 / SLOT_MICROS;
        let steps = slot.saturating_sub(self.newest).min(WINDOW_SLOTS as u64);
        for step in 1..=steps {
            self.slots[((slot - steps + step) % WINDOW_SLOTS as u64) as usize] = 0;
        }
        self.newest = self.newest.max(slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_flow_is_measured() {
        let mut rate = Rate::default();
        for ms in 0..5000u64 {
            rate.add(Time(ms * 1000), 1000);
        }
        let measured = rate.per_second(Time(5_000_000));
        assert!((850_000..=1_050_000).contains(&measured), "{measured}");
        assert_eq!(rate.total(), 5_000_000);
    }

    #[test]
    fn the_rate_of_a_flow_that_has_stopped_fades() {
        let mut rate = Rate::default();
        rate.add(Time(0), 1_000_000);
        assert_eq!(rate.per_second(Time(10_000_000)), 0);
        rate.add(Time(20_000_000), 500);
        assert!(rate.per_second(Time(20_000_000)) <= 2000);
    }
}
