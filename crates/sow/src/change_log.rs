//! Lines about changes that others cause: a line for each of a few, and one for all of many, so
//! that they do not fill a log.

use std::time::{Duration, Instant};

/// The number of changes that are reported one by one in an interval.
const MAX_LINES: usize = 20;

/// The interval to which that applies, and the minimum interval between two summaries.
const INTERVAL: Duration = Duration::from_secs(10);

/// What was reported lately, and what was not reported yet.
#[derive(Debug, Default)]
pub(crate) struct ChangeLog {
    unreported: usize,
    last_summary: Option<Instant>,
    interval_start: Option<Instant>,
    /// Changes that were reported one by one in this interval.
    reported: usize,
}

impl ChangeLog {
    /// The lines to print now: the changes, or `summary` of the state if there are many.
    pub(crate) fn lines(
        &mut self,
        now: Instant,
        changes: Vec<String>,
        summary: impl FnOnce() -> String,
    ) -> Vec<String> {
        if self.interval_start.is_none_or(|start| now - start >= INTERVAL) {
            (self.interval_start, self.reported) = (Some(now), 0);
        }
        if self.unreported == 0 && self.reported + changes.len() <= MAX_LINES {
            self.reported += changes.len();
            return changes;
        }
        self.unreported += changes.len();
        if self.last_summary.is_some_and(|last| now - last < INTERVAL) {
            return Vec::new();
        }
        // While changes are many, no line is about a single one.
        (self.interval_start, self.reported) = (Some(now), MAX_LINES);
        self.last_summary = Some(now);
        let count = std::mem::take(&mut self.unreported);
        vec![format!("changes: {count}; now {}", summary())]
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
        assert_eq!(lines(2, 60_000), ["changes: 60000; now all"]);
        for second in 3..12 {
            assert_eq!(lines(second, 1000), [""; 0]);
        }
        assert_eq!(lines(12, 0), ["changes: 9000; now all"]);
        assert_eq!(lines(13, 1), [""; 0]);
        assert_eq!(lines(22, 0), ["changes: 1; now all"]);
        assert_eq!(lines(32, 1), ["change 0"]);
    }

    #[test]
    fn a_steady_stream_of_few_changes_is_a_summary_too() {
        let (mut log, start) = (ChangeLog::default(), Instant::now());
        let printed: usize = (0..100)
            .map(|second| {
                let changes = vec!["change".to_owned(); 8];
                log.lines(start + Duration::from_secs(second), changes, String::new).len()
            })
            .sum();
        assert!(printed < 40, "{printed} lines in 100 seconds");
    }
}
