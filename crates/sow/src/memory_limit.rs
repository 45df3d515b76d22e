//! The limit for content that is kept in memory.

use std::fs;

/// The memory that is assumed to be available if the system does not tell, in bytes.
const ASSUMED_AVAILABLE: u64 = 1 << 30;

/// Half of the memory that is available now, in bytes.
pub(crate) fn half_of_available() -> u64 {
    let table = fs::read_to_string("/proc/meminfo").ok();
    table.and_then(|table| available(&table)).unwrap_or(ASSUMED_AVAILABLE) / 2
}

/// `MemAvailable` of proc_meminfo(5), in bytes.
fn available(table: &str) -> Option<u64> {
    let line = table.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_is_parsed() {
        let table = "MemTotal:       24000000 kB\nMemFree: 1 kB\nMemAvailable:   23000000 kB\n";
        assert_eq!(available(table), Some(23_000_000 * 1024));
        assert_eq!(available("MemTotal: 5 kB\n"), None);
        assert!(half_of_available() > 0);
    }
}
