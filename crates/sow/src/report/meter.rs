//! A progress display: a bar on a terminal, a line every few seconds elsewhere, or nothing.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use sow_content::untrusted::printable;

use super::Report;

/// The interval between two lines where no bar can be drawn.
const LINE_INTERVAL: Duration = Duration::from_secs(3);

/// A progress display. Its bar disappears when it is dropped.
pub(crate) struct Meter(Kind);

/// The last line.
struct LastLine {
    at: Instant,
    text: String,
}

enum Kind {
    Bar(ProgressBar),
    Lines { report: Report, label: String, last: Mutex<LastLine> },
    Nothing,
}

impl Meter {
    pub(super) fn bar(bars: &MultiProgress, label: String) -> Self {
        let style = ProgressStyle::with_template("{prefix} {bar:20.cyan/dim} {wide_msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("━━─");
        let bar =
            ProgressBar::new(1000).with_style(style).with_prefix(shortened(&printable(&label), 28));
        Self(Kind::Bar(bars.add(bar)))
    }

    pub(super) fn lines(report: Report, label: String) -> Self {
        let last = Mutex::new(LastLine { at: Instant::now(), text: String::new() });
        Self(Kind::Lines { report, label, last })
    }

    pub(super) fn nothing() -> Self {
        Self(Kind::Nothing)
    }

    /// Shows the progress. `text` is only called if it is shown.
    pub(crate) fn set(&self, done: u64, total: u64, text: impl FnOnce() -> String) {
        let position = if total == 0 { 1000 } else { permille(done, total) };
        self.show(position, || format!("{}  {}", percent(done, total), text()));
    }

    /// Shows the progress of content whose size is unknown.
    pub(crate) fn set_without_total(&self, text: impl FnOnce() -> String) {
        self.show(0, text);
    }

    fn show(&self, position: u64, text: impl FnOnce() -> String) {
        match &self.0 {
            Kind::Bar(bar) => {
                bar.set_position(position);
                bar.set_message(printable(&text()).into_owned());
            }
            Kind::Lines { report, label, last } => {
                // Several threads hash files and report progress; a thread does not wait for the
                // lock of another.
                let Ok(mut last) = last.try_lock() else { return };
                if last.at.elapsed() >= LINE_INTERVAL {
                    let text = format!("{label}: {}", text());
                    // Repeated lines are omitted.
                    if text != last.text {
                        report.note(&text);
                    }
                    *last = LastLine { at: Instant::now(), text };
                }
            }
            Kind::Nothing => {}
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Kind::Bar(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// A share in per cent with one decimal, rounded down, so that 100.0 % means everything. The share
/// of an empty total is 100.0 %.
pub(crate) fn percent(done: u64, total: u64) -> String {
    let permille = if total == 0 { 1000 } else { permille(done, total) };
    format!("{}.{} %", permille / 10, permille % 10)
}

fn permille(done: u64, total: u64) -> u64 {
    (u128::from(done.min(total)) * 1000 / u128::from(total)) as u64
}

/// At most `width` characters; the middle of a long name is omitted.
fn shortened(name: &str, width: usize) -> String {
    let count = name.chars().count();
    if count <= width {
        return name.to_owned();
    }
    let head = width / 2;
    let tail = width - head - 1;
    name.chars().take(head).chain(['…']).chain(name.chars().skip(count - tail)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_rounded_down() {
        assert_eq!(percent(0, 3), "0.0 %");
        assert_eq!(percent(1, 3), "33.3 %");
        assert_eq!(percent(u64::MAX - 1, u64::MAX), "99.9 %");
        assert_eq!(percent(u64::MAX, u64::MAX), "100.0 %");
        assert_eq!(percent(0, 0), "100.0 %");
    }

    #[test]
    fn long_names_keep_both_ends() {
        assert_eq!(shortened("short.iso", 9), "short.iso");
        assert_eq!(shortened("a-very-long-name.iso", 9), "a-ve….iso");
        assert_eq!(shortened("ééééééééééé", 5).chars().count(), 5);
    }
}
