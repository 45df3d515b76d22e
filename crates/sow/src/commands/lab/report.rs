//! `sow lab report`: tables, plots and a page of an experiment's records.

use std::path::Path;

use sow_lab::report::{ReportError, write};

use crate::{
    exit::{Exit, Failure},
    report::Report,
};

/// Makes the report of the records in `dir`, beside them if `out` says nothing else, and names the
/// page on standard output.
///
/// # Errors
/// [`Exit::Disk`] if a file cannot be written, else [`Exit::Failed`] if there is no report.
pub(crate) fn run(dir: &Path, out: Option<&Path>, report: &Report) -> Result<Exit, Failure> {
    let written = write(dir, out.unwrap_or(dir)).map_err(|error| failure_of(&error))?;
    for warning in &written.warnings {
        report.note(warning);
    }
    report.note(format_args!("{} runs, {} files", written.runs, written.files.len()));
    if report.is_json() {
        report.out(
            serde_json::json!({ "runs": written.runs, "files": written.files, "warnings": written.warnings }),
        );
    } else if let Some(page) = written.files.first() {
        report.out(page.display());
    }
    Ok(Exit::Done)
}

/// Why there is no report, as the command ends with it.
pub(super) fn failure_of(error: &ReportError) -> Failure {
    let exit = if matches!(error, ReportError::Write { .. }) { Exit::Disk } else { Exit::Failed };
    Failure::new(exit, error)
}
