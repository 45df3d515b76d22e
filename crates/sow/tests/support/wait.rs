//! Waiting for a condition, with a bound. No test sleeps instead of waiting for a condition.

use std::{
    thread,
    time::{Duration, Instant},
};

/// The bound of every wait in these tests. It is far longer than anything here takes on a busy
/// machine: a test that reaches it has failed.
pub const TEST_TIMEOUT: Duration = Duration::from_secs(120);

/// The interval at which a condition is polled.
pub const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Waits until `is_met` returns true; fails the test after [`TEST_TIMEOUT`].
#[track_caller]
pub fn wait_until(condition: &str, mut is_met: impl FnMut() -> bool) {
    let deadline = Instant::now() + TEST_TIMEOUT;
    while !is_met() {
        assert!(Instant::now() < deadline, "{condition}: not within {TEST_TIMEOUT:?}");
        thread::sleep(POLL_INTERVAL);
    }
}
