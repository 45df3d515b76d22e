//! Explains the time beyond the bound by the counters of the origin's interface. The origin's link
//! sets the bound of a flash crowd with equal links. So in every second beyond it, that link
//! carried nothing, carried something else, or was done.

use super::summary::{Group, Spread, Summary};
use crate::{
    bound::{Bounds, SEGMENT_ON_WIRE, SEGMENT_PAYLOAD},
    record::{Model, Records, Run, SeriesPoint, Topology},
};

/// The bytes on the wire after which the origin counts as started: less than a piece, more than the
/// handshakes.
const START_BYTES: f64 = 32_768.0;
/// The origin counts as done when at most this number of its bytes on the wire is left; the rest
/// are messages at the end of connections.
const END_BYTES: f64 = 32_768.0;
/// Two bounds are the same if their ratio differs from 1 by at most this.
const BOUND_TOLERANCE: f64 = 0.001;

/// Seconds beyond the bound by cause. Their sum is the whole time beyond the bound.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Losses {
    /// Until the origin's link carried the file.
    pub(crate) start: f64,
    /// It carried parts of the file again.
    pub(crate) again: f64,
    /// It carried something else: messages, acknowledgements, headers of short packets, lost
    /// packets.
    pub(crate) other: f64,
    /// It carried nothing before it was done.
    pub(crate) idle: f64,
    /// It was done, but the last receiver was not.
    pub(crate) tail: f64,
}

/// The causes, in the order of [`Losses::list`].
pub(crate) const CAUSES: [&str; 5] = ["start", "sent again", "sent besides", "idle", "tail"];

impl Losses {
    /// The median of each cause over the complete runs of a group. `None` when its bound is not set
    /// by one origin's link, or counters are missing.
    pub(crate) fn of(group: &Group<'_>, summary: &Summary<'_>) -> Option<Self> {
        let runs: Option<Vec<[f64; 5]>> = group
            .complete_runs()
            .map(|run| Some(Self::of_counted(run, summary.records)?.list()))
            .collect();
        let runs = runs?;
        let median = |cause: usize| {
            Spread::of(runs.iter().map(|run| run[cause])).map(|spread| spread.median)
        };
        Some(Self {
            start: median(0)?,
            again: median(1)?,
            other: median(2)?,
            idle: median(3)?,
            tail: median(4)?,
        })
    }

    /// The causes in the order of [`CAUSES`].
    pub(crate) fn list(self) -> [f64; 5] {
        [self.start, self.again, self.other, self.idle, self.tail]
    }

    fn of_counted(run: &Run, records: &Records) -> Option<Self> {
        let [origin] = run.origins.as_slice() else { return None };
        Self::of_run(
            run,
            &records.header.topology,
            records.series.get(&run.run)?.get(&origin.host)?,
        )
    }

    /// Of a run with one origin, whose samples are `points`.
    fn of_run(run: &Run, topology: &Topology, points: &[SeriesPoint]) -> Option<Self> {
        let [origin] = run.origins.as_slice() else { return None };
        let host = topology.hosts.iter().find(|host| host.name == origin.host)?;
        let rate = host.up_bits_per_second? as f64 / 8.0;
        let copies = match run.model {
            Model::ClientServer => run.staying().count() as f64,
            Model::PeerToPeer | Model::Multicast => 1.0,
        };
        let on_wire = |payload: f64| payload * SEGMENT_ON_WIRE / SEGMENT_PAYLOAD;
        let due = copies * run.file.bytes as f64;
        let bound = Bounds::of_run(run, topology)?.of(run.model);
        if (on_wire(due) / rate / bound - 1.0).abs() > BOUND_TOLERANCE {
            return None;
        }
        let all = points.last()?.up_bytes as f64;
        let sent = origin.payload_up_bytes? as f64;
        let began = run.began()?;
        let last = run.last_seconds()?;
        // The time at which the link must have started to carry at its rate to be at this point. It
        // carried only handshakes before.
        let started = points.iter().find(|point| point.up_bytes as f64 > START_BYTES)?;
        let start = started.t - started.up_bytes as f64 / rate - began;
        let done = time_of(points, all - END_BYTES)? + END_BYTES / rate - began;
        let carried = all / rate;
        Some(Self {
            start,
            again: on_wire(sent - due) / rate,
            other: carried - on_wire(sent) / rate,
            idle: done - start - carried,
            tail: last - done,
        })
    }
}

/// The time at which this number of bytes had been sent, interpolated between two samples.
fn time_of(points: &[SeriesPoint], bytes: f64) -> Option<f64> {
    let after = points.iter().position(|point| point.up_bytes as f64 >= bytes)?;
    let point = points[after];
    let Some(before) = after.checked_sub(1).map(|before| points[before]) else {
        return Some(point.t);
    };
    let part = (bytes - before.up_bytes as f64) / (point.up_bytes - before.up_bytes).max(1) as f64;
    Some(before.t + (point.t - before.t) * part)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::record::{File, Host, Origin, Receiver};

    /// Ten seconds of a link of 1,514,000 bytes/s.
    const FILE: u64 = 14_480_000;

    fn topology() -> Topology {
        let host = |number| Host {
            name: format!("h{number}"),
            up_bits_per_second: Some(12_112_000),
            down_bits_per_second: Some(12_112_000),
        };
        Topology { hosts: (1..=2).map(host).collect(), ..Topology::default() }
    }

    fn run(finished: f64, sent: u64) -> Run {
        Run {
            run: 0,
            mode: "swarm".to_owned(),
            model: Model::PeerToPeer,
            program: None,
            simulated: false,
            repetition: 0,
            users: 1,
            file: File { name: "f".to_owned(), bytes: FILE },
            seed: 0,
            origins: vec![Origin {
                host: "h1".to_owned(),
                payload_up_bytes: Some(sent),
                wire_up_bytes: None,
                wire_down_bytes: None,
            }],
            receivers: vec![Receiver {
                host: "h2".to_owned(),
                started_seconds: 0.0,
                finished_seconds: Some(finished),
                verified: true,
                left_seconds: None,
                from_bytes: BTreeMap::new(),
                wire_up_bytes: None,
                wire_down_bytes: None,
                cpu_seconds: None,
                error: None,
            }],
            commands: Vec::new(),
            note: None,
        }
    }

    /// Samples every 0.1 s until `end` of a link that is busy in these spans of time.
    fn samples(busy: &[(f64, f64)], end: f64) -> Vec<SeriesPoint> {
        let carried =
            |t: f64| busy.iter().map(|&(from, to)| (t.min(to) - from).max(0.0)).sum::<f64>();
        let times = (0..=(end * 10.0).round() as u32).map(|tick| f64::from(tick) / 10.0);
        times
            .map(|t| SeriesPoint {
                t,
                up_bytes: (carried(t) * 1_514_000.0).round() as u64,
                down_bytes: 0,
            })
            .collect()
    }

    #[track_caller]
    fn assert_losses(run: &Run, points: &[SeriesPoint], due: [f64; 5]) {
        let losses = Losses::of_run(run, &topology(), points).unwrap();
        let near = losses.list().iter().zip(due).all(|(is, due)| (is - due).abs() < 0.001);
        assert!(near, "{losses:?}");
        let beyond = run.last_seconds().unwrap() - 10.0;
        assert!((losses.list().iter().sum::<f64>() - beyond).abs() < 1e-9, "{losses:?}");
    }

    #[test]
    fn every_second_has_its_cause() {
        assert_losses(&run(10.0, FILE), &samples(&[(0.0, 10.0)], 10.0), [0.0; 5]);
        // The transfer begins between two samples.
        assert_losses(
            &run(10.3, FILE),
            &samples(&[(0.25, 10.3)], 10.3),
            [0.25, 0.0, 0.05, 0.0, 0.0],
        );
        let again = FILE + FILE / 10;
        assert_losses(&run(11.0, again), &samples(&[(0.0, 11.0)], 11.0), [0.0, 1.0, 0.0, 0.0, 0.0]);
        assert_losses(&run(10.5, FILE), &samples(&[(0.0, 10.5)], 10.5), [0.0, 0.0, 0.5, 0.0, 0.0]);
        let pause = samples(&[(0.0, 4.0), (4.7, 10.7)], 10.7);
        assert_losses(&run(10.7, FILE), &pause, [0.0, 0.0, 0.0, 0.7, 0.0]);
        assert_losses(&run(10.4, FILE), &samples(&[(0.0, 10.0)], 10.4), [0.0, 0.0, 0.0, 0.0, 0.4]);
        let all = samples(&[(0.35, 5.0), (5.5, 12.1)], 12.4);
        assert_losses(&run(12.4, again), &all, [0.35, 1.0, 0.25, 0.5, 0.3]);
    }

    #[test]
    fn losses_are_known_only_if_one_origin_sets_the_bound() {
        let points = samples(&[(0.0, 10.0)], 10.0);
        let mut slow = topology();
        slow.hosts[1].down_bits_per_second = Some(1_000_000);
        assert_eq!(Losses::of_run(&run(99.0, FILE), &slow, &points), None);
        let mut uncounted = run(10.0, FILE);
        uncounted.origins[0].payload_up_bytes = None;
        assert_eq!(Losses::of_run(&uncounted, &topology(), &points), None);
        assert_eq!(Losses::of_run(&run(10.0, FILE), &topology(), &[]), None);
    }

    #[test]
    fn a_time_between_two_samples() {
        let points = [(0.0, 0), (1.0, 100), (2.0, 100), (3.0, 300)]
            .map(|(t, up_bytes)| SeriesPoint { t, up_bytes, down_bytes: 0 });
        assert_eq!(time_of(&points, 50.0), Some(0.5));
        assert_eq!(time_of(&points, 100.0), Some(1.0));
        assert_eq!(time_of(&points, 200.0), Some(2.5));
        assert_eq!(time_of(&points, 301.0), None);
        assert_eq!(time_of(&[], 0.0), None);
    }
}
