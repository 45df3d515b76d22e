//! A progress display: a bar on a terminal, a line every few seconds elsewhere, or nothing.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use super::{
    Panel, Report,
    terminal_text::{Line, Tone, bar, flow, shortened},
};

/// The interval between two lines where no bar can be drawn.
const LINE_INTERVAL: Duration = Duration::from_secs(3);

/// The limit of a label in front of a bar, in columns.
const MAX_LABEL: usize = 28;

/// The limits of a bar with text beside it, from above and from below, in columns.
const MAX_BAR: usize = 20;
const MIN_BAR: usize = 8;

/// A progress display. Its bar disappears when it is dropped.
pub(crate) struct Meter(Kind);

/// The last line.
struct LastLine {
    at: Instant,
    text: String,
}

enum Kind {
    Bar(Panel, String),
    Lines { report: Report, label: String, last: Mutex<LastLine> },
    Nothing,
}

impl Meter {
    pub(super) fn bar(panel: Panel, label: String) -> Self {
        Self(Kind::Bar(panel, label))
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
            Kind::Bar(panel, label) => {
                panel.show(&bar_lines(label, position, &text(), Panel::size().0));
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

/// A bar with its label and a text whose parts are two spaces apart. Parts that do not fit beside
/// the bar are on lines below it, so that nothing is cut.
fn bar_lines(label: &str, permille: u64, text: &str, columns: usize) -> Vec<Line> {
    let label = shortened(label, MAX_LABEL.min(columns / 2));
    let label = Line::of(Tone::Plain, &label).and(Tone::Plain, " ");
    let text_width = Line::of(Tone::Plain, text).width();
    let beside = columns.saturating_sub(label.width() + text_width + 1);
    if beside >= MIN_BAR {
        let bar = bar(permille, 1000, beside.min(MAX_BAR));
        return vec![label.followed_by(bar).and(Tone::Plain, " ").and(Tone::Plain, text)];
    }
    let mut parts = text.split("  ").map(|part| (Tone::Plain, part.trim().to_owned()));
    let share = parts.next().map_or_else(String::new, |(_, share)| share);
    let room = columns.saturating_sub(label.width());
    let is_short = Line::of(Tone::Plain, &share).width() + 1 + MIN_BAR <= room;
    let (first, rest) = if is_short { (share, None) } else { (String::new(), Some(share)) };
    let room = room.saturating_sub(Line::of(Tone::Plain, &first).width() + 1);
    let bar = bar(permille, 1000, room.min(MAX_BAR));
    let mut lines = vec![label.followed_by(bar).and(Tone::Plain, " ").and(Tone::Plain, &first)];
    let rest: Vec<_> = rest.map(|rest| (Tone::Plain, rest)).into_iter().chain(parts).collect();
    lines.extend(flow(&rest, "  ", columns));
    lines
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
    fn what_does_not_fit_beside_a_bar_is_below_it() {
        let text = "43.2 %  4.0 MiB of 10.0 MiB  down 12.3 MB/s  up 0 B/s  5 peers  6 s left";
        let lines = |columns| -> Vec<String> {
            bar_lines("image.iso", 432, text, columns).iter().map(Line::plain).collect()
        };
        assert_eq!(lines(120), [format!("image.iso ━━━━━━━━──────────── {text}")]);
        assert_eq!(
            lines(80),
            [
                "image.iso ━━━━━━━━──────────── 43.2 %",
                "4.0 MiB of 10.0 MiB  down 12.3 MB/s  up 0 B/s  5 peers  6 s left",
            ]
        );
        assert_eq!(
            lines(40),
            [
                "image.iso ━━━━━━━━──────────── 43.2 %",
                "4.0 MiB of 10.0 MiB  down 12.3 MB/s",
                "up 0 B/s  5 peers  6 s left",
            ]
        );
        let waiting = bar_lines("a", 0, "waiting for 10.0.0.1:52000 since 12 s", 40);
        let waiting: Vec<String> = waiting.iter().map(Line::plain).collect();
        assert_eq!(waiting[1], "waiting for 10.0.0.1:52000 since 12 s");
    }
}
