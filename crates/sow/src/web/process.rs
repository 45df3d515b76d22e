//! What Linux says about this process, for the metrics that every Prometheus client exports.

use std::{fs, time::Duration};

use rustix::{param::clock_ticks_per_second, param::page_size};

/// The state of this process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ProcessStats {
    /// Processor time.
    pub(super) cpu: Duration,
    /// Memory that is in use, in bytes.
    pub(super) resident: u64,
    /// Open files and sockets.
    pub(super) open_files: u64,
}

impl ProcessStats {
    /// The present state; `None` without `/proc`.
    pub(super) fn now() -> Option<Self> {
        let (ticks, pages) = parse(&fs::read_to_string("/proc/self/stat").ok()?)?;
        // The folder is open itself.
        let open_files = fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as u64;
        let cpu = Duration::from_secs_f64(ticks as f64 / clock_ticks_per_second() as f64);
        Some(Self { cpu, resident: pages * page_size() as u64, open_files })
    }
}

/// The processor time in ticks, and the memory in pages (proc(5)). The name in parentheses may
/// contain anything.
fn parse(stat: &str) -> Option<(u64, u64)> {
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some((number(11)? + number(12)?, number(21)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_is_skipped() {
        let rest = (3..=52).map(|number| number.to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(parse(&format!("1 (a) b) {rest}")), Some((14 + 15, 24)));
        let now = ProcessStats::now().unwrap();
        assert!(now.resident > 100_000 && now.open_files >= 3, "{now:?}");
    }
}
