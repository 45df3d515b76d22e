//! `sow lab report`: tables, plots and a page from the records of an experiment.

use std::path::Path;

use sow_lab::report::{ReportError, write};

use crate::{
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
    report.note(format_args!("{} runs, {} files", written.runs, written.files.len()));
    if report.is_json() {
        let json = serde_json::json!({
            "runs": written.runs,
            "files": written.files,
            "warnings": written.warnings,
        });
        report.out_json(&json.to_string());
    } else if let Some(page) = written.files.first() {
        report.out(page.display());
    }
    Ok(Exit::Done)
}

/// The failure of a report.
pub(super) fn failure_of(error: &ReportError) -> Failure {
    let exit = if matches!(error, ReportError::Write { .. }) { Exit::Disk } else { Exit::Failed };
    Failure::new(exit, error)
}
