//! `sow lab report` and `sow lab crowds`: tables, plots and a page from records.

use std::path::{Path, PathBuf};

use sow_lab::report::{Grouping, ReportError, Written, write, write_crowds};

use crate::{
    args::lab::crowds::CrowdsArgs,
    exit::{Exit, Failure},
    report::Report,
};

/// Writes the report of the records in `dir` to `out`, or to `dir`, and prints the path of the
/// page.
///
/// # Errors
/// [`Exit::Disk`] if a file cannot be written, [`Exit::Failed`] if there are no usable records.
pub(crate) fn run(dir: &Path, out: Option<&Path>, report: &Report) -> Result<Exit, Failure> {
    let written = write(dir, out.unwrap_or(dir)).map_err(|error| failure_of(&error))?;
    for warning in &written.warnings {
        report.note(warning);
    }
    show(&written, written.files.first(), report);
    Ok(Exit::Done)
}

/// Writes the plot of the distance against the number of receivers, prints its table, and the path
/// of the plot.
///
/// # Errors
/// As [`run`].
pub(crate) fn crowds(args: &CrowdsArgs, report: &Report) -> Result<Exit, Failure> {
    let grouping = if args.together { Grouping::Together } else { Grouping::ByConditions };
    let written = write_crowds(&args.dirs, &args.modes, grouping, &args.out)
        .map_err(|error| failure_of(&error))?;
    for warning in &written.warnings {
        report.warn(warning);
    }
    let is_plot = |file: &&PathBuf| file.extension().is_some_and(|ending| ending == "svg");
    let plot = written.files.iter().find(is_plot);
    written.main.lines().for_each(|line| report.note(line));
    show(&written, plot, report);
    Ok(if plot.is_some() { Exit::Done } else { Exit::Failed })
}

/// Reports the files that were written, of which `main` is the one to look at.
fn show(written: &Written, main: Option<&PathBuf>, report: &Report) {
    if let Some(hint) = &written.font_hint {
        report.warn(hint);
    }
    report.note(format_args!("{} runs, {} files", written.runs, written.files.len()));
    if report.is_json() {
        let json = serde_json::json!({
            "runs": written.runs,
            "files": written.files,
            "warnings": written.warnings,
        });
        report.out_json(&json.to_string());
    } else if let Some(main) = main {
        report.out(main.display());
    }
}

/// The failure of a report.
pub(super) fn failure_of(error: &ReportError) -> Failure {
    let exit = if matches!(error, ReportError::Write { .. }) { Exit::Disk } else { Exit::Failed };
    Failure::new(exit, error)
}
