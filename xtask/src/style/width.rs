//! Line width: 100 columns, and 160 for rows of tables. A column is a character.

use super::source::{Finding, SourceFile};

/// The longest line, in characters.
const MAX_WIDTH: usize = 100;

/// The longest row of a table, in characters.
const MAX_ROW_WIDTH: usize = 160;

pub(super) fn check(file: &SourceFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in (1..).zip(file.text.lines()) {
        let width = line.chars().count();
        let limit = if is_table_row(line) { MAX_ROW_WIDTH } else { MAX_WIDTH };
        if width > limit && !is_one_link(line) {
            findings.push(Finding::new(file, number, format!("{width} columns, {limit} allowed")));
        }
    }
    findings
}

/// A row of a Markdown table, also in a Rust comment.
fn is_table_row(line: &str) -> bool {
    let text = line.trim_start().trim_start_matches(['/', '!']).trim();
    text.starts_with('|') && text.ends_with('|') && text.len() > 1
}

/// A line that consists of one word, such as an address, cannot be broken.
fn is_one_link(line: &str) -> bool {
    line.contains("://") && line.split_whitespace().count() == 1
}

#[cfg(test)]
mod tests {
    use super::{super::source::tests::file, *};

    fn lines_found(text: &str) -> Vec<usize> {
        check(&file("a.md", text)).iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_line_of_100_characters_passes_and_101_do_not() {
        let text = format!("{}\n{}\n", "é".repeat(100), "x".repeat(101));
        assert_eq!(lines_found(&text), [2]);
    }

    #[test]
    fn rows_of_tables_have_160_columns() {
        let row = |width: usize| format!("| {} |", "x".repeat(width - 4));
        let text = format!("{}\n//! {}\n{}\n", row(160), row(150), row(161));
        assert_eq!(lines_found(&text), [3]);
    }

    #[test]
    fn an_address_is_not_broken() {
        assert_eq!(lines_found(&format!("https://{}", "x".repeat(120))), []);
        assert_eq!(lines_found(&format!("see https://{}", "x".repeat(120))), [1]);
    }
}
