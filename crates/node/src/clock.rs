//! The one place where the runtime's time becomes the engine's [`Time`], and back.

use sow_engine::Time;
use tokio::time::Instant;

/// A clock that starts at zero when it is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { origin: Instant::now() }
    }

    /// Microseconds since the clock was made.
    pub(crate) fn now(&self) -> Time {
        Time(self.origin.elapsed().as_micros() as u64)
    }

    /// The same moment, for the runtime's timers.
    pub(crate) fn instant(&self, time: Time) -> Instant {
        // Stands for "never": the runtime's timers are limited to some years.
        const FAR_FUTURE: u64 = 365 * 24 * 3600 * 1_000_000;
        self.origin + std::time::Duration::from_micros(time.0.min(FAR_FUTURE))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn times_are_converted_both_ways() {
        let clock = Clock::new();
        tokio::time::advance(Duration::from_millis(1500)).await;
        assert_eq!(clock.now(), Time(1_500_000));
        assert_eq!(clock.instant(Time(1_500_000)), Instant::now());
        assert!(clock.instant(Time(u64::MAX)) > Instant::now() + Duration::from_secs(3600));
    }
}
