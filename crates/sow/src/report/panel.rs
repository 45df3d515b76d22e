//! Several lines at the bottom of a terminal that are replaced as a whole.

use console::Term;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::terminal_text::Line;

/// The size of a terminal that does not tell its own.
const DEFAULT_SIZE: (usize, usize) = (80, 24);

/// Lines at the bottom of the terminal. They disappear when this is dropped.
pub(crate) struct Panel(ProgressBar);

impl Panel {
    pub(super) fn new(bars: &MultiProgress) -> Self {
        let style = ProgressStyle::with_template("{msg}");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        Self(bars.add(ProgressBar::new(1).with_style(style)))
    }

    /// The columns and rows of the terminal as it is now.
    pub(crate) fn size() -> (usize, usize) {
        let size = Term::stderr().size_checked();
        size.map_or(DEFAULT_SIZE, |(rows, columns)| (columns.into(), rows.into()))
    }

    /// Shows these lines instead of those before.
    pub(crate) fn show(&self, lines: &[Line]) {
        let lines: Vec<String> = lines.iter().map(Line::styled).collect();
        self.0.set_message(lines.join("\n"));
    }
}

impl Drop for Panel {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
