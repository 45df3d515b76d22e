//! The clock on the wall may be set at any time, so no time limit, rate, expiry or identity depends
//! on it: only the files named here read it.

use super::source::{Finding, SourceFile};

/// What reads the clock on the wall.
const WALL_CLOCKS: &[&str] = &["SystemTime::now", "OffsetDateTime::now", "Utc::now", "Local::now"];

/// Where it may be read, and why.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("crates/sow/src/content_hashing.rs", "a torrent has the date of its creation"),
    (
        "crates/node/src/http/content/condition.rs",
        "times of files: after a jump a download waits for the next check",
    ),
    ("crates/sow/src/web/wall_clock.rs", "answers say when they were made; nothing depends on it"),
    (
        "crates/sow/src/commands/serve/scanner.rs",
        "times of files: after a jump a file may be hashed too early, and then again",
    ),
    ("crates/store/src/content_stamp.rs", "times of files: after a jump a later write differs too"),
];

/// Whether a file of a crate reads the clock on the wall.
pub(super) fn check(file: &SourceFile) -> Vec<Finding> {
    let is_product = file.path.starts_with("crates/") && file.path.contains("/src/");
    if !is_product || EXCEPTIONS.iter().any(|(path, _)| *path == file.path) {
        return Vec::new();
    }
    let reads = |line: &str| WALL_CLOCKS.iter().any(|clock| line.contains(clock));
    let lines = file.text.lines().enumerate().filter(|(_, line)| reads(line));
    lines
        .map(|(at, _)| Finding::new(file, at + 1, "the clock on the wall may jump: use `Instant`"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{super::source::tests::file, *};

    #[test]
    fn the_wall_clock_is_found_in_crates_alone() {
        let text = "let a = Instant::now();\nlet b = SystemTime::now();\n";
        let findings = check(&file("crates/a/src/b.rs", text));
        assert_eq!(findings.iter().map(|finding| finding.line).collect::<Vec<_>>(), [2]);
        assert!(check(&file("crates/a/tests/b.rs", text)).is_empty());
        assert!(check(&file("crates/sow/src/content_hashing.rs", text)).is_empty());
    }
}
