//! What a terminal shows of several shares: all of them together on the first lines, and below a
//! line for each, those first that need a look. A function of its arguments.

use std::{cmp::Reverse, time::Duration};

use crate::{
    quantity::{Rate, Span},
    report::{
        percent,
        terminal_text::{Line, Tone, bar, flow, shortened, width_of},
    },
};

/// The rows of a terminal that are left for the lines above the view.
const ROWS_ABOVE: usize = 2;

/// The limits of a name and of a bar, in columns.
const MAX_NAME: usize = 32;
const MAX_BAR: usize = 20;

/// One of several shares at a moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ShareSummary {
    /// The name of the content.
    pub(crate) name: String,
    /// The bytes that its receivers have verified, and all that they are to have.
    pub(crate) progress: (u64, u64),
    /// The number of complete receivers.
    pub(crate) complete: usize,
    /// The number of receivers that are expected.
    pub(crate) expected: Option<usize>,
    /// Receivers that download.
    pub(crate) active: usize,
    /// Receivers that failed or disconnected before they were complete.
    pub(crate) lost: usize,
    /// The rate at which the origin sends it, in bytes per second.
    pub(crate) rate_up: u64,
}

/// The parts of the line about all shares together.
pub(crate) fn totals(shares: &[ShareSummary], elapsed: Duration) -> Vec<String> {
    let sum = |number: fn(&ShareSummary) -> usize| shares.iter().map(number).sum::<usize>();
    let expected = shares.iter().try_fold(0, |all, share| Some(all + share.expected?));
    let of = expected.map_or_else(String::new, |expected| format!(" of {expected}"));
    let copies = sum(|share| share.complete);
    let noun = if copies == 1 && expected.is_none() { "copy" } else { "copies" };
    let mut parts = vec![
        format!("{} shares", shares.len()),
        format!("{copies}{of} {noun} complete"),
        format!("{} downloading", sum(|share| share.active)),
    ];
    let lost = sum(|share| share.lost);
    if lost > 0 {
        parts.push(format!("{lost} not complete"));
    }
    let rate: u64 = shares.iter().map(|share| share.rate_up).sum();
    parts.push(format!("up {}", Rate(rate)));
    parts.push(format!("elapsed {}", Span(Duration::from_secs(elapsed.as_secs()))));
    parts
}

/// The lines for a terminal of this size.
pub(crate) fn lines(
    shares: &[ShareSummary],
    elapsed: Duration,
    (columns, rows): (usize, usize),
) -> Vec<Line> {
    let columns = columns.max(1);
    let parts: Vec<_> =
        totals(shares, elapsed).into_iter().map(|part| (Tone::Plain, part)).collect();
    let mut lines = flow(&parts, ", ", columns);
    let room = rows.saturating_sub(lines.len() + ROWS_ABOVE);
    let mut ranked: Vec<&ShareSummary> = shares.iter().collect();
    // Whole per cents, so that they do not change places all the time.
    ranked.sort_by_key(|share| (group(share), Reverse(share.lost > 0), hundredths(share)));
    let fits = ranked.len() <= room;
    let shown = if fits { ranked.len() } else { room.saturating_sub(1) };
    let names = ranked[..shown].iter().map(|share| width_of(&share.name)).max().unwrap_or(0);
    let name_width = names.min(MAX_NAME).min(columns / 2).max(1);
    lines.extend(ranked[..shown].iter().map(|share| line(share, name_width, columns)));
    let hidden = ranked.len() - shown;
    if hidden > 0 && room > 0 {
        lines.push(Line::of(Tone::Faint, &shortened(&format!("and {hidden} more"), columns)));
    }
    lines
}

/// Those that are downloaded, then those that wait for receivers, then complete ones.
fn group(share: &ShareSummary) -> u8 {
    let is_met = share.expected.is_some_and(|expected| share.complete >= expected);
    match share.active {
        0 if is_met => 2,
        0 => 1,
        _ => 0,
    }
}

fn hundredths(share: &ShareSummary) -> u64 {
    let (done, all) = share.progress;
    (u128::from(done) * 100).checked_div(u128::from(all)).unwrap_or(0) as u64
}

/// One share: its name, a bar, its part and its receivers.
fn line(share: &ShareSummary, name_width: usize, columns: usize) -> Line {
    let (done, all) = share.progress;
    let of = share.expected.map_or_else(String::new, |expected| format!(" of {expected}"));
    let mut state = format!("{:>7}  {}{of} complete", percent(done, all), share.complete);
    for (count, what) in [(share.active, "downloading"), (share.lost, "not complete")] {
        if count > 0 {
            state.push_str(&format!(", {count} {what}"));
        }
    }
    let name = Line::of(Tone::Plain, &shortened(&share.name, name_width));
    let name = name.padded(name_width).and(Tone::Plain, " ");
    let room = columns.saturating_sub(name_width + 1);
    let bar_width = room.saturating_sub(width_of(&state) + 1).min(MAX_BAR);
    let tone = match (group(share), share.lost) {
        (2, 0) => Tone::Done,
        (_, 0) => Tone::Plain,
        _ => Tone::Bad,
    };
    match bar_width {
        0..4 => name.and(tone, &shortened(&state, room)),
        width => name.followed_by(bar(done, all, width)).and(Tone::Plain, " ").and(tone, &state),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(name: &str, percent: u64, complete: usize, active: usize) -> ShareSummary {
        ShareSummary {
            name: name.to_owned(),
            progress: (percent, 100),
            complete,
            expected: Some(3),
            active,
            lost: 0,
            rate_up: 1_000_000,
        }
    }

    fn shown(shares: &[ShareSummary], columns: usize, rows: usize) -> Vec<String> {
        let lines = lines(shares, Duration::from_secs(75), (columns, rows));
        lines.iter().map(Line::plain).collect()
    }

    #[test]
    fn what_is_downloaded_comes_first_and_all_of_it_is_summed_up() {
        let mut lame = share("b.iso", 40, 1, 1);
        lame.lost = 1;
        let shares = [share("done.iso", 100, 3, 0), share("idle", 0, 0, 0), lame];
        let lines = shown(&shares, 120, 24);
        let totals = "3 shares, 4 of 9 copies complete, 1 downloading, 1 not complete";
        assert_eq!(lines[0], format!("{totals}, up 3.0 MB/s, elapsed 1m15s"));
        assert_eq!(
            lines[1..],
            [
                "b.iso    ━━━━━━━━────────────  40.0 %  1 of 3 complete, 1 downloading, \
                 1 not complete",
                "idle     ────────────────────   0.0 %  0 of 3 complete",
                "done.iso ━━━━━━━━━━━━━━━━━━━━ 100.0 %  3 of 3 complete",
            ]
        );
    }

    #[test]
    fn as_many_as_fit_are_shown_and_no_line_is_too_long() {
        let shares: Vec<_> =
            (0..200).map(|at| share(&format!("image-{at:03}-amd64.iso"), 7, 0, 1)).collect();
        for (columns, rows) in [(80, 24), (40, 24), (20, 5), (200, 50), (1, 1)] {
            let lines = shown(&shares, columns, rows);
            assert!(columns < 20 || lines.len() <= rows, "{columns}×{rows}: {lines:?}");
            assert!(lines.iter().all(|line| width_of(line) <= columns.max(12)), "{lines:?}");
        }
        let lines = shown(&shares, 80, 24);
        assert_eq!(lines.last().unwrap(), "and 181 more");
    }
}
