//! What the runs amount to: repetitions of the same run brought together, medians and ranges, and
//! the bounds beside them. Numbers only; how they are written or drawn is for `tables` and
//! `figures`.

use std::collections::BTreeMap;

use super::modes::{self, Place};
use crate::{
    bound::Bounds,
    record::{File, Model, Records, Run, Topology},
};

/// All repetitions of one mode with one file and one number of users.
#[derive(Debug, Clone)]
pub(crate) struct Group<'a> {
    pub(crate) mode: &'a str,
    pub(crate) model: Model,
    pub(crate) file: &'a File,
    pub(crate) users: u32,
    /// Every repetition.
    pub(crate) runs: Vec<&'a Run>,
    /// How many of them ended with a verified copy at every user. Only these count below.
    pub(crate) complete: usize,
    /// Seconds until the last receiver had verified, from the first one's start.
    pub(crate) last: Option<Spread>,
    /// Seconds that a receiver took from its own start, the mean of all.
    pub(crate) mean: Option<Spread>,
    /// The file's bytes ÷ `mean`, in bytes per second.
    pub(crate) speed: Option<Spread>,
    /// Payload that origins sent, in files.
    pub(crate) origin_files: Option<Spread>,
    /// What all hosts put on the wire for each byte that a receiver wanted.
    pub(crate) wire: Option<Spread>,
    pub(crate) bounds: Option<Bounds>,
    /// `last` ÷ the bound of the mode's own model.
    pub(crate) distance: Option<Spread>,
    /// `last` ÷ the peer-to-peer bound, whatever the mode.
    pub(crate) distance_p2p: Option<Spread>,
}

/// A median and a range over repetitions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
    pub(crate) count: usize,
}

/// Everything that tables and figures are made of.
#[derive(Debug)]
pub(crate) struct Summary<'a> {
    pub(crate) records: &'a Records,
    /// By file (in the order of their first runs), mode, users.
    pub(crate) groups: Vec<Group<'a>>,
    /// In the order of the experiment.
    pub(crate) modes: Vec<&'a str>,
    /// Files in the order of their first runs.
    pub(crate) files: Vec<&'a File>,
}

impl<'a> Summary<'a> {
    pub(crate) fn new(records: &'a Records) -> Self {
        let mut modes: Vec<&str> = Vec::new();
        let mut files: Vec<&File> = Vec::new();
        let mut gathered: BTreeMap<(usize, usize, u32), Vec<&Run>> = BTreeMap::new();
        for run in &records.runs {
            place(&mut modes, run.mode.as_str());
        }
        modes::sort(&mut modes, &records.header.modes);
        for run in &records.runs {
            let mode = place(&mut modes, run.mode.as_str());
            let file = place(&mut files, &run.file);
            gathered.entry((file, mode, run.users)).or_default().push(run);
        }
        let groups =
            gathered.into_values().map(|runs| Group::new(runs, &records.header.topology)).collect();
        Self { records, groups, modes, files }
    }

    /// The groups of one file.
    pub(crate) fn of_file(&self, file: &File) -> impl Iterator<Item = &Group<'a>> {
        self.groups.iter().filter(move |group| group.file == file)
    }

    /// The numbers of users that some mode had with this file, ascending.
    pub(crate) fn users(&self, file: &File) -> Vec<u32> {
        let mut users: Vec<u32> = self.of_file(file).map(|group| group.users).collect();
        users.sort_unstable();
        users.dedup();
        users
    }

    /// What tells a mode from others in plots. `mode` is one of [`Summary::modes`].
    pub(crate) fn place(&self, mode: &str) -> Place {
        let place = self.modes.iter().position(|&other| other == mode).unwrap_or_default();
        modes::places(&self.modes)[place]
    }
}

fn place<T: PartialEq + Copy>(seen: &mut Vec<T>, value: T) -> usize {
    seen.iter().position(|&other| other == value).unwrap_or_else(|| {
        seen.push(value);
        seen.len() - 1
    })
}

impl<'a> Group<'a> {
    /// `runs` has at least one element, and all are alike.
    fn new(runs: Vec<&'a Run>, topology: &Topology) -> Self {
        let first = runs[0];
        let complete: Vec<&Run> = runs.iter().copied().filter(|run| is_complete(run)).collect();
        let bounds = Bounds::of_run(first, topology);
        let own = bounds.map(|bounds| bounds.of(first.model));
        let over = |of: &dyn Fn(&Run) -> Option<f64>| {
            Spread::of(complete.iter().filter_map(|run| of(run)))
        };
        let ratio = |bound: Option<f64>| {
            let bound = bound.filter(|&bound| bound > 0.0)?;
            over(&|run| run.last_seconds().map(|last| last / bound))
        };
        Self {
            mode: &first.mode,
            model: first.model,
            file: &first.file,
            users: first.users,
            complete: complete.len(),
            last: over(&Run::last_seconds),
            mean: over(&mean_seconds),
            speed: over(&|run| {
                mean_seconds(run)
                    .filter(|&mean| mean > 0.0)
                    .map(|mean| run.file.bytes as f64 / mean)
            }),
            origin_files: over(&origin_files),
            wire: over(&wire_per_byte),
            bounds,
            distance: ratio(own),
            distance_p2p: ratio(bounds.map(|bounds| bounds.peer_to_peer)),
            runs,
        }
    }

    /// The complete run whose last receiver stands in the middle: the one to show when only one can
    /// be shown.
    pub(crate) fn typical(&self) -> Option<&'a Run> {
        let mut runs: Vec<(f64, &Run)> =
            self.complete_runs().filter_map(|run| Some((run.last_seconds()?, run))).collect();
        runs.sort_by(|one, other| one.0.total_cmp(&other.0));
        runs.get(runs.len().saturating_sub(1) / 2).map(|&(_, run)| run)
    }

    /// The repetitions that count.
    pub(crate) fn complete_runs(&self) -> impl Iterator<Item = &'a Run> {
        self.runs.iter().copied().filter(|run| is_complete(run))
    }
}

impl Spread {
    /// `None` of nothing.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (&least, &most) = (values.first()?, values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Self { median, least, most, count: values.len() })
    }
}

fn is_complete(run: &Run) -> bool {
    let mut staying = run.staying().peekable();
    run.receivers.len() >= run.users as usize
        && staying.peek().is_some()
        && staying.all(|receiver| receiver.seconds().is_some())
}

fn mean_seconds(run: &Run) -> Option<f64> {
    let taken: Vec<f64> = run.staying().filter_map(|receiver| receiver.seconds()).collect();
    (!taken.is_empty()).then(|| taken.iter().sum::<f64>() / taken.len() as f64)
}

fn origin_files(run: &Run) -> Option<f64> {
    let sent: Option<Vec<u64>> = run.origins.iter().map(|origin| origin.payload_up_bytes).collect();
    Some(sent?.into_iter().map(|bytes| bytes as f64).sum::<f64>() / run.file.bytes as f64)
}

fn wire_per_byte(run: &Run) -> Option<f64> {
    let origins = run.origins.iter().map(|origin| origin.wire_up_bytes);
    let sent: Option<Vec<u64>> =
        origins.chain(run.receivers.iter().map(|receiver| receiver.wire_up_bytes)).collect();
    let wanted = run.staying().count() as f64 * run.file.bytes as f64;
    Some(sent?.into_iter().map(|bytes| bytes as f64).sum::<f64>() / wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ranges() {
        assert_eq!(Spread::of([]), None);
        let spread = |median, least, most, count| Some(Spread { median, least, most, count });
        assert_eq!(Spread::of([3.0]), spread(3.0, 3.0, 3.0, 1));
        assert_eq!(Spread::of([4.0, 1.0]), spread(2.5, 1.0, 4.0, 2));
        assert_eq!(Spread::of([9.0, 1.0, 2.0]), spread(2.0, 1.0, 9.0, 3));
    }
}
