//! The results of an experiment: repetitions of the same run combined into medians and ranges, with
//! their bounds. Numbers only; how they are shown is decided in `tables` and `figures`.

use std::collections::BTreeMap;

use super::mode_order::{self, ModeStyle};
use crate::{
    bound::Bounds,
    record::{File, Model, Records, Run},
};

/// All repetitions of one mode with one file and one number of users.
#[derive(Debug, Clone)]
pub(crate) struct Group<'a> {
    /// The mode as readers see it.
    pub(crate) name: String,
    /// The mode as it is recorded.
    pub(crate) mode: &'a str,
    pub(crate) model: Model,
    pub(crate) file: &'a File,
    pub(crate) users: u32,
    /// Whether its runs were simulated.
    pub(crate) simulated: bool,
    /// Every repetition.
    pub(crate) runs: Vec<&'a Run>,
    /// The number of runs with a verified copy at every receiver. Only these count below.
    pub(crate) complete: usize,
    /// Seconds from the first receiver's start until the last one had verified its copy.
    pub(crate) last: Option<Spread>,
    /// The mean of all receivers' seconds, each from its own start.
    pub(crate) mean: Option<Spread>,
    /// The file's bytes ÷ `mean`, in bytes per second.
    pub(crate) speed: Option<Spread>,
    /// The payload that origins sent, in units of the file.
    pub(crate) origin_files: Option<Spread>,
    /// The bytes that all hosts sent on the wire for each byte of each copy.
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
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) count: usize,
}

/// The data of all tables and figures.
#[derive(Debug)]
pub(crate) struct Summary<'a> {
    pub(crate) records: &'a Records,
    /// Ascending by file (in the order of their first runs), mode, users.
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
            index_of(&mut modes, run.mode.as_str());
        }
        mode_order::sort(&mut modes, &records.header.modes);
        for run in &records.runs {
            let mode = index_of(&mut modes, run.mode.as_str());
            let file = index_of(&mut files, &run.file);
            gathered.entry((file, mode, run.users)).or_default().push(run);
        }
        let groups = gathered.into_values().map(|runs| Group::new(runs, records)).collect();
        Self { records, groups, modes, files }
    }

    /// The groups of one file.
    pub(crate) fn of_file(&self, file: &File) -> impl Iterator<Item = &Group<'a>> {
        self.groups.iter().filter(move |group| group.file == file)
    }

    /// The numbers of users with this file in any mode, ascending.
    pub(crate) fn users(&self, file: &File) -> Vec<u32> {
        let mut users: Vec<u32> = self.of_file(file).map(|group| group.users).collect();
        users.sort_unstable();
        users.dedup();
        users
    }

    /// The style of a mode, which is one of [`Summary::modes`].
    pub(crate) fn mode_style(&self, mode: &str) -> ModeStyle {
        let index = self.modes.iter().position(|&other| other == mode).unwrap_or_default();
        mode_order::styles(&self.modes)[index]
    }
}

/// The index of a value, which is added if it is new.
fn index_of<T: PartialEq + Copy>(seen: &mut Vec<T>, value: T) -> usize {
    seen.iter().position(|&other| other == value).unwrap_or_else(|| {
        seen.push(value);
        seen.len() - 1
    })
}

impl<'a> Group<'a> {
    /// `runs` has at least one element, and all have the same mode, file and users.
    fn new(runs: Vec<&'a Run>, records: &Records) -> Self {
        let first = runs[0];
        let complete: Vec<&Run> = runs.iter().copied().filter(|run| is_complete(run)).collect();
        let bounds = Bounds::of_run(first, &records.header.topology);
        let own = bounds.map(|bounds| bounds.of(first.model));
        let over = |of: &dyn Fn(&Run) -> Option<f64>| {
            Spread::of(complete.iter().filter_map(|run| of(run)))
        };
        let ratio = |bound: Option<f64>| {
            let bound = bound.filter(|&bound| bound > 0.0)?;
            over(&|run| run.last_seconds().map(|last| last / bound))
        };
        Self {
            name: mode_order::shown(&first.mode, &records.labels),
            mode: &first.mode,
            model: first.model,
            file: &first.file,
            users: first.users,
            simulated: first.simulated || records.header.topology.is_simulated(),
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

    /// The complete run with the median completion, for tables and figures of a single run.
    pub(crate) fn typical(&self) -> Option<&'a Run> {
        let mut runs: Vec<(f64, &Run)> =
            self.complete_runs().filter_map(|run| Some((run.last_seconds()?, run))).collect();
        runs.sort_by(|one, other| one.0.total_cmp(&other.0));
        runs.get(runs.len().saturating_sub(1) / 2).map(|&(_, run)| run)
    }

    /// The complete repetitions.
    pub(crate) fn complete_runs(&self) -> impl Iterator<Item = &'a Run> {
        self.runs.iter().copied().filter(|run| is_complete(run))
    }
}

impl Spread {
    /// `None` without values.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (&min, &max) = (values.first()?, values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Self { median, min, max, count: values.len() })
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
        let spread = |median, min, max, count| Some(Spread { median, min, max, count });
        assert_eq!(Spread::of([3.0]), spread(3.0, 3.0, 3.0, 1));
        assert_eq!(Spread::of([4.0, 1.0]), spread(2.5, 1.0, 4.0, 2));
        assert_eq!(Spread::of([9.0, 1.0, 2.0]), spread(2.0, 1.0, 9.0, 3));
    }
}
