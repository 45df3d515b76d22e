//! What a terminal shows of a fleet: the whole of it on the first lines, and below as many
//! receivers as fit, those first that need a look: failed, then slowest. A function of its
//! arguments, so that it is tested without a terminal.

mod cells;
pub(crate) mod shares;
#[cfg(test)]
mod tests;

use std::{cmp::Reverse, collections::BTreeMap, time::Duration};

use self::cells::Cells;
use super::{FleetCounts, Receiver};
use crate::{
    quantity::{Rate, Span},
    report::{
        ReceiverState, percent,
        terminal_text::{Line, Tone, bar, flow, shortened, width_of, wrapped},
    },
};

/// The rows of a terminal that are left for the lines above the view.
const ROWS_ABOVE: usize = 2;

/// The rows that the reason of one failure takes at most.
const MAX_FAILURE_ROWS: usize = 3;

/// The limit of a bar, in columns.
const MAX_BAR: usize = 40;

/// A fleet at a moment.
#[derive(Debug)]
pub(crate) struct FleetView<'a> {
    /// The name of the content.
    pub(crate) name: &'a str,
    /// The command that other machines run.
    pub(crate) command: Option<&'a str>,
    /// The receivers, and the expected hosts that have not come.
    pub(crate) receivers: &'a [Receiver],
    /// How many of them are what.
    pub(crate) counts: &'a FleetCounts,
    /// What the hosts do that are pushed to.
    pub(crate) pushed: Option<&'a str>,
    /// The number of receivers that are expected, and how many of these are complete.
    pub(crate) expected: Option<usize>,
    /// The number of complete receivers, of those that are expected.
    pub(crate) complete: usize,
    /// The time since the start of the run.
    pub(crate) now: Duration,
    /// The rate at which the origin sends, in bytes per second.
    pub(crate) rate_up: u64,
}

impl FleetView<'_> {
    /// The lines for a terminal of this size.
    pub(crate) fn lines(&self, columns: usize, rows: usize) -> Vec<Line> {
        let columns = columns.max(1);
        let mut lines = self.head(columns);
        let taken: usize = lines.iter().map(|line| line.rows(columns)).sum();
        let room = rows.saturating_sub(taken + ROWS_ABOVE);
        let ranked = self.ranked();
        let failed = ranked.iter().take_while(|one| one.state == ReceiverState::Failed).count();
        let (failed, others) = ranked.split_at(failed);
        // Failures must not hide the other receivers.
        let failed_room = if others.is_empty() { room } else { room.div_ceil(2) };
        let (failure_lines, shown) = failure_lines(failed, columns, failed_room);
        let room = room.saturating_sub(failure_lines.len());
        lines.extend(failure_lines);
        lines.extend(self.others(others, &failed[shown..], columns, room));
        lines
    }

    /// The lines about the whole fleet.
    fn head(&self, columns: usize) -> Vec<Line> {
        let (counts, expected) = (self.counts, self.expected);
        let (done, all) = counts.progress(expected);
        let share = percent(done, all);
        let name = shortened(self.name, columns.saturating_sub(20).max(8));
        let used = width_of(&name) + share.chars().count() + 2;
        let bar = bar(done, all, columns.saturating_sub(used).min(MAX_BAR));
        let first = Line::of(Tone::Plain, &name).and(Tone::Plain, " ").followed_by(bar);
        let mut lines = vec![first.and(Tone::Plain, " ").and(Tone::Plain, &share)];
        let parts = match self.pushed {
            Some(pushed) => pushed.split(", ").map(|it| (Tone::Plain, it.to_owned())).collect(),
            None => counts.parts(self.complete, expected),
        };
        lines.extend(flow(&parts, ", ", columns));
        lines.extend(flow(&self.times(), "  ", columns));
        // It is not divided but wrapped by the terminal, so that it can be copied.
        lines.extend(self.command.map(|command| Line::of(Tone::Plain, command)));
        lines
    }

    /// Times and rates.
    fn times(&self) -> Vec<(Tone, String)> {
        let seconds = |time: Duration| Span(Duration::from_secs(time.as_secs()));
        let mut parts = vec![format!("elapsed {}", seconds(self.now))];
        parts.extend(self.counts.time_left.map(|left| format!("{} left", seconds(left))));
        if self.counts.downloading + self.counts.stalled > 0 {
            parts.push(format!("fleet {}", Rate(self.counts.rate)));
        }
        parts.push(format!("up {}", Rate(self.rate_up)));
        parts.into_iter().map(|part| (Tone::Plain, part)).collect()
    }

    /// The receivers, those first that need a look. Whole per cents order them, so that they do not
    /// change places all the time.
    fn ranked(&self) -> Vec<&Receiver> {
        let mut ranked: Vec<(usize, &Receiver)> = self.receivers.iter().enumerate().collect();
        ranked.sort_by_key(|(index, one)| {
            let group = match one.state {
                ReceiverState::Failed => 0,
                ReceiverState::Gone => 1,
                ReceiverState::Connected if self.counts.is_stalled(one, self.now) => 2,
                ReceiverState::Connected => 3,
                ReceiverState::Missing => 4,
                ReceiverState::Complete => 5,
            };
            // The last complete ones are news.
            let finished = Reverse(one.finished.filter(|_| one.is_complete()));
            (group, whole_percent(one), finished, *index)
        });
        ranked.into_iter().map(|(_, one)| one).collect()
    }

    /// Receivers in as many columns as they need, and a line for those that do not fit.
    fn others(
        &self,
        others: &[&Receiver],
        failed: &[&Receiver],
        columns: usize,
        room: usize,
    ) -> Vec<Line> {
        let cells = Cells { now: self.now, counts: self.counts };
        let fits = failed.is_empty() && others.len() <= room * cells.max_per_row(columns);
        if fits {
            return cells.lines(others, columns, room);
        }
        // The line for the rest may need a second row on a narrow terminal.
        let summary_rows = if columns < 60 { 2 } else { 1 };
        let grid_rows = room.saturating_sub(summary_rows);
        let shown = others.len().min(grid_rows * cells.max_per_row(columns));
        let mut lines = cells.lines(&others[..shown], columns, grid_rows);
        let hidden: Vec<&Receiver> = failed.iter().chain(&others[shown..]).copied().collect();
        if !hidden.is_empty() {
            let mut rest = flow(&summary(&hidden), ", ", columns);
            rest.truncate(summary_rows.min(room.max(1)));
            lines.extend(rest);
        }
        lines
    }
}

/// The failures that fit, each with its reason on a few rows; and how many these are.
fn failure_lines(failed: &[&Receiver], columns: usize, room: usize) -> (Vec<Line>, usize) {
    let mut lines = Vec::new();
    for (shown, receiver) in failed.iter().enumerate() {
        let text = format!("{} {}", receiver.name, receiver.shortfall());
        let rows = wrapped(&text, columns.saturating_sub(2), MAX_FAILURE_ROWS);
        if lines.len() + rows.len() > room {
            return (lines, shown);
        }
        let indents = std::iter::once("").chain(std::iter::repeat("  "));
        let toned = indents
            .zip(rows)
            .map(|(indent, row)| Line::of(Tone::Plain, indent).and(Tone::Bad, &row));
        lines.extend(toned);
    }
    (lines, failed.len())
}

/// The parts of the line about receivers that do not fit: `and 30 more: 28 at 41–52 %`.
fn summary(hidden: &[&Receiver]) -> Vec<(Tone, String)> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut shares: Option<(usize, u64, u64)> = None;
    for one in hidden {
        let group = match one.state {
            ReceiverState::Connected => {
                let at = whole_percent(one);
                let (count, low, high) = shares.unwrap_or((0, at, at));
                shares = Some((count + 1, low.min(at), high.max(at)));
                continue;
            }
            ReceiverState::Failed => "failed",
            ReceiverState::Gone => "disconnected",
            ReceiverState::Missing => "not connected",
            ReceiverState::Complete => "complete",
        };
        *counts.entry(group).or_default() += 1;
    }
    let shares = shares.map(|(count, low, high)| match low == high {
        true => format!("{count} at {low} %"),
        false => format!("{count} at {low}–{high} %"),
    });
    let of = |group| counts.get(group).map(|count| format!("{count} {group}"));
    let groups = ["failed", "disconnected", "not connected", "complete"].map(of);
    let [failed, disconnected, missing, complete] = groups;
    let parts = [failed, disconnected, shares, missing, complete];
    let mut parts: Vec<(Tone, String)> =
        parts.into_iter().flatten().map(|part| (Tone::Faint, part)).collect();
    if let Some((_, first)) = parts.first_mut() {
        *first = format!("and {} more: {first}", hidden.len());
    }
    parts
}

/// The share that a receiver has verified, in whole per cents, rounded down.
fn whole_percent(receiver: &Receiver) -> u64 {
    match receiver.total {
        0 => 100,
        total => (u128::from(receiver.bytes) * 100 / u128::from(total)) as u64,
    }
}
