//! One receiver in the view of a fleet: its name, a bar, its share and its rate, or what hinders
//! it, in the columns that there are.

use std::time::Duration;

use super::super::{FleetCounts, Receiver, counts::time_left};
use crate::{
    quantity::{Rate, Span},
    report::{
        ReceiverState, percent,
        terminal_text::{Line, Tone, bar, shortened, width_of},
    },
};

/// The columns that a receiver needs at least.
const MIN_WIDTH: usize = 38;

/// The columns that a receiver takes at most.
const MAX_WIDTH: usize = 80;

/// The columns between two receivers.
const GAP: usize = 2;

/// The columns of a share, a rate and a time; the limit of a text after a name.
const SHARE: usize = 7;
const RATE: usize = 10;
const LEFT: usize = 13;
const TEXT: usize = 23;

/// The width of a cell from which the time left is shown too.
const WIDTH_WITH_TIME: usize = 60;

/// The limits of a name, and of a bar from above and from below, in columns.
const MAX_NAME: usize = 32;
const MAX_BAR: usize = 20;
const MIN_BAR: usize = 3;

/// Receivers side by side.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cells<'a> {
    /// The time since the start of the run.
    pub(super) now: Duration,
    /// The fleet that they belong to.
    pub(super) counts: &'a FleetCounts,
}

impl Cells<'_> {
    /// How many receivers fit beside one another.
    pub(super) fn max_per_row(self, columns: usize) -> usize {
        ((columns + GAP) / (MIN_WIDTH + GAP)).max(1)
    }

    /// The lines with all `shown` receivers, on at most `rows` rows if they fit at all; one below
    /// the other, and then in the next column.
    pub(super) fn lines(self, shown: &[&Receiver], columns: usize, rows: usize) -> Vec<Line> {
        if shown.is_empty() {
            return Vec::new();
        }
        let max = self.max_per_row(columns);
        let per_row = shown.len().div_ceil(rows.max(1)).clamp(1, max);
        let height = shown.len().div_ceil(per_row);
        let width = (columns + GAP) / per_row - GAP.min(columns);
        let width = width.clamp(1, MAX_WIDTH);
        let names = shown.iter().map(|one| width_of(&one.name)).max().unwrap_or(0);
        let widest = MAX_NAME.min(width.saturating_sub(TEXT + 1).max(width / 2)).max(1);
        let name_width = names.min(widest);
        (0..height)
            .map(|row| {
                let cells = shown.iter().skip(row).step_by(height).take(per_row);
                cells.enumerate().fold(Line::default(), |line, (column, receiver)| {
                    let line = line.padded(column * (width + GAP));
                    line.followed_by(self.cell(receiver, name_width, width))
                })
            })
            .collect()
    }

    /// One receiver in `width` columns.
    fn cell(self, receiver: &Receiver, name_width: usize, width: usize) -> Line {
        let name = Line::of(Tone::Plain, &shortened(&receiver.name, name_width));
        let name = name.padded(name_width).and(Tone::Plain, " ");
        let room = width.saturating_sub(name_width + 1);
        if receiver.is_active() && !self.counts.is_stalled(receiver, self.now) {
            return name.followed_by(self.progress(receiver, width, room));
        }
        let (tone, text) = self.state(receiver);
        let text = if width_of(&text) > room { short_state(receiver) } else { text };
        name.and(tone, &shortened(&text, room))
    }

    /// The bar of a receiver that downloads, and figures beside it, in `room` columns.
    fn progress(self, receiver: &Receiver, width: usize, room: usize) -> Line {
        let share = format!("{:>SHARE$}", percent(receiver.bytes, receiver.total));
        let rate = format!("{:>RATE$}", Rate(receiver.rate).to_string());
        let mut figures = match room {
            ..SHARE => String::new(),
            _ if room < SHARE + RATE + 1 => share,
            _ => format!("{share} {rate}"),
        };
        if width >= WIDTH_WITH_TIME {
            let left = time_left(receiver);
            let left = left.map_or_else(String::new, |left| format!("{} left", Span(left)));
            figures = format!("{figures} {left:>LEFT$}");
        }
        let room = room.saturating_sub(width_of(&figures) + 1).min(MAX_BAR);
        let room = if room < MIN_BAR { 0 } else { room };
        let bar = bar(receiver.bytes, receiver.total, room);
        let gap = if bar.width() == 0 { "" } else { " " };
        bar.and(Tone::Plain, gap).and(Tone::Plain, &figures)
    }

    /// What a receiver does that makes no progress.
    fn state(self, receiver: &Receiver) -> (Tone, String) {
        let since = receiver.last_progress.unwrap_or_default();
        let whole = |time: Duration| Span(Duration::from_secs(time.as_secs()));
        match receiver.state {
            ReceiverState::Complete => {
                let seconds = Duration::from_secs_f64(receiver.seconds().unwrap_or_default());
                let seconds = if seconds.as_secs() < 10 { Span(seconds) } else { whole(seconds) };
                (Tone::Done, format!("complete in {seconds}"))
            }
            ReceiverState::Connected => {
                let share = percent(receiver.bytes, receiver.total);
                let stalled = whole(self.now.saturating_sub(since));
                (Tone::Bad, format!("stalled {stalled} at {share}"))
            }
            ReceiverState::Missing => (Tone::Faint, receiver.shortfall()),
            ReceiverState::Gone | ReceiverState::Failed => (Tone::Bad, receiver.shortfall()),
        }
    }
}

/// What a receiver does that makes no progress, in a few words.
fn short_state(receiver: &Receiver) -> String {
    let share = percent(receiver.bytes, receiver.total);
    match receiver.state {
        ReceiverState::Complete => "complete".to_owned(),
        ReceiverState::Connected => format!("stalled at {share}"),
        ReceiverState::Missing => "not connected".to_owned(),
        ReceiverState::Gone => format!("left at {share}"),
        ReceiverState::Failed => format!("failed at {share}"),
    }
}
