//! Lines about changes that others cause: a line for each of a few, and one for all of many, so
//! that they do not fill a log.

use std::time::{Duration, Instant};

/// The number of changes that are reported one by one at a time.
const MAX_LINES: usize = 8;

/// The minimum interval between two summaries.
const SUMMARY_INTERVAL: Duration = Duration::from_secs(10);

/// Changes that were not reported yet.
#[derive(Debug, Default)]
pub(crate) struct ChangeLog {
    unreported: usize,
    last_summary: Option<Instant>,
}

impl ChangeLog {
    /// The lines to print now: the changes, or `summary` of the state if there are many.
    pub(crate) fn lines(
        &mut self,
        now: Instant,
        changes: Vec<String>,
        summary: impl FnOnce() -> String,
    ) -> Vec<String> {
        if self.unreported == 0 && changes.len() <= MAX_LINES {
            return changes;
        }
        self.unreported += changes.len();
        if self.last_summary.is_some_and(|last| now - last < SUMMARY_INTERVAL) {
            return Vec::new();
        }
        self.last_summary = Some(now);
        let count = std::mem::take(&mut self.unreported);
        vec![format!("{count} changes: now {}", summary())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_changes_are_lines_and_many_are_one() {
        let (mut log, start) = (ChangeLog::default(), Instant::now());
        let mut lines = |second, count| {
            let changes = (0..count).map(|number| format!("change {number}")).collect();
            log.lines(start + Duration::from_secs(second), changes, || "all".to_owned())
        };
        assert_eq!(lines(0, 2), ["change 0", "change 1"]);
        assert_eq!(lines(1, 0), [""; 0]);
        assert_eq!(lines(2, 60_000), ["60000 changes: now all"]);
        for second in 3..12 {
            assert_eq!(lines(second, 1000), [""; 0]);
        }
        assert_eq!(lines(12, 0), ["9000 changes: now all"]);
        assert_eq!(lines(13, 1), ["change 0"]);
    }
}
