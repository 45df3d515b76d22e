//! The head and the end of a report: the experiment and its machine, remarks, and the commands.

use super::{labels::receivers_label, mode_order};
use crate::record::Records;

/// The texts about an experiment that are neither tables nor plots.
pub(crate) struct ExperimentInfo<'a> {
    records: &'a Records,
}

impl<'a> ExperimentInfo<'a> {
    pub(crate) fn new(records: &'a Records) -> Self {
        Self { records }
    }

    pub(crate) fn title(&self) -> String {
        format!("{}: results", self.records.header.experiment)
    }

    /// Names and values.
    pub(crate) fn list(&self) -> Vec<(&'static str, String)> {
        let header = &self.records.header;
        let mut info = vec![
            ("date", header.date.clone()),
            ("program", header.program.clone()),
            ("kernel", header.kernel.clone()),
            ("congestion control", header.congestion_control.clone()),
            ("seed", header.seed.to_string()),
            ("command", self.command()),
            ("runs", self.records.runs.len().to_string()),
        ];
        if let Some(cpus) = header.cpus {
            info.insert(3, ("CPUs", cpus.to_string()));
        }
        let mut programs: Vec<&str> =
            self.records.runs.iter().filter_map(|run| run.program.as_deref()).collect();
        programs.sort_unstable();
        programs.dedup();
        if !programs.is_empty() {
            info.push(("other programs", programs.join(", ")));
        }
        info
    }

    /// Remarks, a sentence each.
    pub(crate) fn remarks(&self) -> Vec<String> {
        let records = self.records;
        let mut remarks = records.header.notes.clone();
        // Earlier versions repeated a note that two modes have in common.
        remarks.dedup();
        remarks.extend(records.warnings.iter().cloned());
        let missing =
            records.still_missing().map(|missing| format!("{} is not installed.", missing.program));
        remarks.extend(missing);
        let count = records.standing_failures().count();
        if count > 0 {
            let runs = if count == 1 { "run" } else { "runs" };
            remarks
                .push(format!("{count} {runs} could not be made; see the table \"Not measured\"."));
        }
        let noted = records.runs.iter().filter_map(|run| {
            Some(format!(
                "Run {} ({}): {}",
                run.run,
                mode_order::shown(&run.mode, &self.records.labels),
                run.note.as_ref()?
            ))
        });
        remarks.extend(noted);
        if records.runs.is_empty() {
            remarks.push("There is no run in these records.".into());
        }
        remarks
    }

    /// The command line that made the records, as it is typed in a shell.
    pub(crate) fn command(&self) -> String {
        self.records.header.command.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
    }

    /// The commands of the first repetition of every kind of run, with a title.
    pub(crate) fn run_commands(&self) -> Vec<(String, &'a [String])> {
        let runs =
            self.records.runs.iter().filter(|run| run.repetition == 0 && !run.commands.is_empty());
        runs.map(|run| {
            let title = format!(
                "{}, {}, {}",
                mode_order::shown(&run.mode, &self.records.labels),
                run.file.name,
                receivers_label(run.users)
            );
            (title, run.commands.as_slice())
        })
        .collect()
    }
}

/// A word as a shell needs it.
fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:=+,@%".contains(letter);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_quoted_for_a_shell() {
        assert_eq!(["a-b/c.toml", "", "it's"].map(quoted), ["a-b/c.toml", "''", r"'it'\''s'"]);
    }
}
