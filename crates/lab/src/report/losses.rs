//! Where the time beyond the bound went, by what the origin's interface counted: it is the origin's link that makes the bound of a flash
//! crowd of equals, so every second beyond it is one in which that link carried nothing, carried something else, or had nothing left to do.

use super::summary::{Group, Spread, Summary};
use crate::{
    bound::{SEGMENT_ON_WIRE, SEGMENT_PAYLOAD},
    record::{Model, Run, SeriesPoint},
};

/// What the origin sent before it is under way: less than a piece, more than a greeting. Bytes on the wire.
const UNDER_WAY: f64 = 32_768.0;
/// When no more than this is left of all that it sent, it counts as done; what follows are farewells. Bytes on the wire.
const FAREWELL: f64 = 32_768.0;
/// Bounds that differ by less are the same.
const SAME: f64 = 0.001;

/// Seconds beyond the bound, by cause. Together they are all that was beyond it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Losses {
    /// Until the origin's link carried the file.
    pub(crate) start: f64,
    /// It carried parts of the file once more.
    pub(crate) again: f64,
    /// It carried something else: messages, acknowledgements, heads of short packets, what was lost.
    pub(crate) other: f64,
    /// It carried nothing, though it was not done.
    pub(crate) idle: f64,
    /// It was done, and the last receiver was not.
    pub(crate) tail: f64,
}

/// The causes, in the order of [`Losses::list`].
pub(crate) const CAUSES: [&str; 5] = ["start", "sent again", "sent besides", "idle", "tail"];

impl Losses {
    /// The median of each cause over the complete runs of a group. `None` when its bound is not that of one origin's link, or a
    /// run was not counted.
    pub(crate) fn of(group: &Group<'_>, summary: &Summary<'_>) -> Option<Self> {
        let runs: Option<Vec<[f64; 5]>> =
            group.complete_runs().map(|run| Some(Self::of_run(run, group, summary)?.list())).collect();
        let runs = runs?;
        let median = |cause: usize| Spread::of(runs.iter().map(|run| run[cause])).map(|spread| spread.median);
        Some(Self {
            start: median(0)?,
            again: median(1)?,
            other: median(2)?,
            idle: median(3)?,
            tail: median(4)?,
        })
    }

    /// As [`CAUSES`] names them.
    pub(crate) fn list(self) -> [f64; 5] {
        [self.start, self.again, self.other, self.idle, self.tail]
    }

    fn of_run(run: &Run, group: &Group<'_>, summary: &Summary<'_>) -> Option<Self> {
        let [origin] = run.origins.as_slice() else { return None };
        let host = summary.records.header.topology.hosts.iter().find(|host| host.name == origin.host)?;
        let rate = host.up_bits_per_second? as f64 / 8.0;
        let copies = match group.model {
            Model::ClientServer => run.staying().count() as f64,
            Model::PeerToPeer => 1.0,
        };
        let on_wire = |payload: f64| payload * SEGMENT_ON_WIRE / SEGMENT_PAYLOAD;
        let due = copies * run.file.bytes as f64;
        let bound = group.bounds?.of(group.model);
        if (on_wire(due) / rate / bound - 1.0).abs() > SAME {
            return None;
        }
        let points = summary.records.series.get(&run.run)?.get(&origin.host)?;
        let all = points.last()?.up_bytes as f64;
        let sent = origin.payload_up_bytes? as f64;
        let started = run.staying().map(|receiver| receiver.started_seconds).reduce(f64::min)?;
        let finished = run.staying().filter_map(|receiver| receiver.finished_seconds).reduce(f64::max)?;
        let start = time_of(points, UNDER_WAY)? - UNDER_WAY / rate - started;
        let done = time_of(points, all - FAREWELL)? - started;
        let carried = (all - FAREWELL) / rate;
        Some(Self {
            start,
            again: on_wire(sent - due) / rate,
            other: carried - on_wire(sent) / rate,
            idle: done - start - carried,
            tail: finished - started - done,
        })
    }
}

/// When so much had been sent, between two samples in proportion.
fn time_of(points: &[SeriesPoint], bytes: f64) -> Option<f64> {
    let after = points.iter().position(|point| point.up_bytes as f64 >= bytes)?;
    let point = points[after];
    let Some(before) = after.checked_sub(1).map(|before| points[before]) else { return Some(point.t) };
    let part = (bytes - before.up_bytes as f64) / (point.up_bytes - before.up_bytes).max(1) as f64;
    Some(before.t + (point.t - before.t) * part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_between_two_samples() {
        let points = [(0.0, 0), (1.0, 100), (2.0, 100), (3.0, 300)].map(|(t, up_bytes)| SeriesPoint {
            t,
            up_bytes,
            down_bytes: 0,
        });
        assert_eq!(time_of(&points, 50.0), Some(0.5));
        assert_eq!(time_of(&points, 100.0), Some(1.0));
        assert_eq!(time_of(&points, 200.0), Some(2.5));
        assert_eq!(time_of(&points, 301.0), None);
        assert_eq!(time_of(&[], 0.0), None);
    }
}
