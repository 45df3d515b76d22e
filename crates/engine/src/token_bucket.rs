//! A rate for something expensive: some at once, then one in each interval. Pure arithmetic.

use std::time::Duration;

use crate::io::Time;

/// Allows `capacity` at once, and one more after each `interval`.
#[derive(Debug, Clone)]
pub(crate) struct TokenBucket {
    capacity: u32,
    interval: Duration,
    tokens: u32,
    /// Up to when tokens were added.
    filled_at: Time,
}

impl TokenBucket {
    /// A full bucket.
    pub(crate) fn new(now: Time, capacity: u32, interval: Duration) -> Self {
        Self { capacity, interval, tokens: capacity, filled_at: now }
    }

    /// Takes a token. False: there is none.
    pub(crate) fn take(&mut self, now: Time) -> bool {
        self.refill(now);
        let has_token = self.tokens > 0;
        self.tokens -= u32::from(has_token);
        has_token
    }

    /// Whether nothing was taken lately.
    pub(crate) fn is_full(&mut self, now: Time) -> bool {
        self.refill(now);
        self.tokens == self.capacity
    }

    fn refill(&mut self, now: Time) {
        let intervals = now.since(self.filled_at).as_micros() / self.interval.as_micros().max(1);
        let missing = self.capacity - self.tokens;
        match u32::try_from(intervals) {
            Ok(new) if new < missing => {
                self.tokens += new;
                self.filled_at = self.filled_at + self.interval * new;
            }
            _ => {
                self.tokens = self.capacity;
                self.filled_at = now;
            }
        }
    }

    /// Makes the bucket full.
    pub(crate) fn fill(&mut self) {
        self.tokens = self.capacity;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_are_allowed_at_once_and_then_one_in_each_interval() {
        let mut bucket = TokenBucket::new(Time(0), 3, Duration::from_secs(1));
        let mut taken = |ms: u64| (0..10).filter(|_| bucket.take(Time(ms * 1000))).count();
        assert_eq!(taken(0), 3);
        assert_eq!(taken(999), 0);
        assert_eq!(taken(2500), 2);
        assert_eq!(taken(3000), 1);
        assert_eq!(taken(100_000), 3);
    }

    #[test]
    fn a_bucket_can_be_filled() {
        let mut bucket = TokenBucket::new(Time(0), 1, Duration::from_secs(1));
        assert!(bucket.take(Time(0)) && !bucket.take(Time(0)));
        bucket.fill();
        assert!(bucket.take(Time(0)) && !bucket.take(Time(0)));
    }
}
