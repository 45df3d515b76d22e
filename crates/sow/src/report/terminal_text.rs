//! Text that is laid out for the width of a terminal: lines of toned spans, bars, and texts that
//! flow over lines. Everything here is a function of its arguments.

use console::{Style, measure_text_width};
use sow_content::untrusted::printable;

/// How a part of a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As all text.
    Plain,
    /// The part of a bar that is done, and what is complete.
    Done,
    /// What is of little interest.
    Faint,
    /// What has failed or makes no progress.
    Bad,
}

/// One line of a view. Its parts are escaped when they are added.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Line(Vec<(Tone, String)>);

impl Line {
    /// A line of one part.
    pub(crate) fn of(tone: Tone, text: &str) -> Self {
        Self::default().and(tone, text)
    }

    /// The line with another part.
    #[must_use]
    pub(crate) fn and(mut self, tone: Tone, text: &str) -> Self {
        if !text.is_empty() {
            self.0.push((tone, printable(text).into_owned()));
        }
        self
    }

    /// The line with another one after it.
    #[must_use]
    pub(crate) fn followed_by(mut self, mut other: Self) -> Self {
        self.0.append(&mut other.0);
        self
    }

    /// The line with spaces at its end, so that it has a width at least.
    #[must_use]
    pub(crate) fn padded(self, width: usize) -> Self {
        let missing = width.saturating_sub(self.width());
        self.and(Tone::Plain, &" ".repeat(missing))
    }

    /// The number of columns that it takes.
    pub(crate) fn width(&self) -> usize {
        self.0.iter().map(|(_, text)| width_of(text)).sum()
    }

    /// The number of rows that it takes on a terminal with a number of columns.
    pub(crate) fn rows(&self, columns: usize) -> usize {
        self.width().div_ceil(columns.max(1)).max(1)
    }

    /// The text, without tones.
    #[cfg(test)]
    pub(crate) fn plain(&self) -> String {
        self.0.iter().map(|(_, text)| text.as_str()).collect()
    }

    /// The text for standard error, in colors unless these are switched off.
    pub(crate) fn styled(&self) -> String {
        let style = |tone| {
            let style = Style::new().for_stderr();
            match tone {
                Tone::Plain => None,
                Tone::Done => Some(style.cyan()),
                Tone::Faint => Some(style.dim()),
                Tone::Bad => Some(style.red()),
            }
        };
        self.0
            .iter()
            .map(|(tone, text)| match style(*tone) {
                Some(style) => style.apply_to(text).to_string(),
                None => text.clone(),
            })
            .collect()
    }
}

/// The number of columns that a text takes.
pub(crate) fn width_of(text: &str) -> usize {
    measure_text_width(text)
}

/// A bar of `width` columns, of which a part is done.
pub(crate) fn bar(done: u64, total: u64, width: usize) -> Line {
    let full = match total {
        0 => width,
        _ => (u128::from(done.min(total)) * width as u128 / u128::from(total)) as usize,
    };
    Line::of(Tone::Done, &"━".repeat(full)).and(Tone::Faint, &"─".repeat(width - full))
}

/// A text in at most `width` columns: the middle of a longer one is omitted, as names that are
/// alike differ at their start or their end.
pub(crate) fn shortened(text: &str, width: usize) -> String {
    let text = printable(text);
    if width_of(&text) <= width {
        return text.into_owned();
    }
    let room = width.saturating_sub(1);
    let tail_width = room / 2;
    let head = prefix(text.chars(), room - tail_width);
    let tail: Vec<char> = prefix(text.chars().rev(), tail_width).chars().rev().collect();
    let ellipsis = if width == 0 { "" } else { "…" };
    format!("{head}{ellipsis}{}", tail.into_iter().collect::<String>())
}

/// The first characters that fit in `width` columns.
fn prefix(chars: impl Iterator<Item = char>, width: usize) -> String {
    let (mut text, mut used) = (String::new(), 0);
    for c in chars {
        used += width_of(c.encode_utf8(&mut [0; 4]));
        if used > width {
            break;
        }
        text.push(c);
    }
    text
}

/// Parts one after another, `gap` apart, on as many lines of `width` columns as they need. A part
/// is not divided, but shortened when it is longer than a line.
pub(crate) fn flow(parts: &[(Tone, String)], gap: &str, width: usize) -> Vec<Line> {
    let (mut lines, mut line) = (Vec::new(), Line::default());
    // A line may end with the visible part of a gap.
    let width = width.saturating_sub(width_of(gap.trim_end()));
    for (tone, text) in parts {
        let text = shortened(text, width);
        if line.width() > 0 && line.width() + width_of(gap) + width_of(&text) > width {
            lines.push(std::mem::take(&mut line).and(Tone::Plain, gap.trim_end()));
        } else if line.width() > 0 {
            line = line.and(Tone::Plain, gap);
        }
        line = line.and(*tone, &text);
    }
    if line.width() > 0 {
        lines.push(line);
    }
    lines
}

/// The words of a text on at most `max_lines` lines of `width` columns. What does not fit on the
/// last one is omitted.
pub(crate) fn wrapped(text: &str, width: usize, max_lines: usize) -> Vec<String> {
    let (mut lines, mut line) = (Vec::new(), String::new());
    let text = printable(text);
    let mut words = text.split_whitespace();
    while let Some(mut word) = words.next() {
        if width_of(&line) + 1 + width_of(word) > width
            && !line.is_empty()
            && lines.len() + 1 < max_lines
        {
            lines.push(std::mem::take(&mut line));
        }
        // A word that is longer than a line goes over several.
        while line.is_empty() && width_of(word) > width && lines.len() + 1 < max_lines {
            let part = prefix(word.chars(), width);
            if part.is_empty() {
                break;
            }
            word = &word[part.len()..];
            lines.push(part);
        }
        let room = width.saturating_sub(if line.is_empty() { 0 } else { width_of(&line) + 1 });
        let separator = if line.is_empty() { "" } else { " " };
        if width_of(word) > room {
            // The rest is cut where the line ends.
            let rest: Vec<&str> = std::iter::once(word).chain(words.by_ref()).collect();
            line = prefix(
                format!("{line}{separator}{}", rest.join(" ")).chars(),
                width.saturating_sub(1),
            );
            line.push('…');
            break;
        }
        line = format!("{line}{separator}{word}");
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_keep_both_ends() {
        assert_eq!(shortened("short.iso", 9), "short.iso");
        assert_eq!(shortened("a-very-long-name.iso", 9), "a-ve….iso");
        assert_eq!(width_of(&shortened("ééééééééééé", 5)), 5);
        assert_eq!(shortened("漢字漢字漢字", 7), "漢…字");
        assert_eq!((shortened("abc", 1), shortened("abc", 0)), ("…".into(), String::new()));
    }

    #[test]
    fn parts_flow_over_lines_and_are_not_divided() {
        let parts = ["12 of 40 complete", "25 downloading", "2 not connected"];
        let parts: Vec<(Tone, String)> = parts.map(|it| (Tone::Plain, it.to_owned())).into();
        let flowed =
            |width| -> Vec<String> { flow(&parts, ", ", width).iter().map(Line::plain).collect() };
        assert_eq!(flowed(80), ["12 of 40 complete, 25 downloading, 2 not connected"]);
        assert_eq!(flowed(40), ["12 of 40 complete, 25 downloading,", "2 not connected"]);
        assert_eq!(flowed(13), ["12 of …plete,", "25 dow…ading,", "2 not …ected"]);
    }

    #[test]
    fn a_text_wraps_at_words_and_ends_with_an_ellipsis_when_it_is_cut() {
        let text = "failed at 41.0 %: cannot write /srv/big.iso: No space left on device";
        assert_eq!(
            wrapped(text, 30, 3),
            ["failed at 41.0 %: cannot write", "/srv/big.iso: No space left on", "device"]
        );
        assert_eq!(wrapped(text, 30, 1), ["failed at 41.0 %: cannot writ…"]);
        assert_eq!(wrapped("a\u{1b}[2J", 80, 1), ["a\\u{1b}[2J"]);
        assert!(wrapped("", 80, 1).is_empty());
        // A path that is longer than a line loses nothing while there are rows.
        let path = "/srv/".to_owned() + &"x".repeat(60);
        let rows = wrapped(&format!("cannot write {path}: full"), 40, 5);
        assert_eq!(rows.concat().replace(' ', ""), format!("cannotwrite{path}:full"));
        assert!(rows.iter().all(|row| width_of(row) <= 40), "{rows:?}");
        assert!(wrapped(&path, 40, 1)[0].ends_with('…'));
        assert!(wrapped("long", 0, 3).len() <= 3);
    }

    #[test]
    fn lines_count_the_rows_that_they_take() {
        let line = Line::of(Tone::Plain, "sow get ").and(Tone::Done, &"x".repeat(50));
        assert_eq!((line.width(), line.rows(80), line.rows(40), line.rows(0)), (58, 1, 2, 58));
        assert_eq!(Line::default().rows(40), 1);
        assert_eq!(bar(1, 4, 8).plain(), "━━──────");
        assert_eq!((bar(0, 0, 4).plain(), bar(9, 4, 2).plain()), ("━━━━".into(), "━━".into()));
    }
}
