//! `sow lab new`: a scenario file to start from.

use std::{
    fs::File,
    io::{self, Write as _},
    path::Path,
};

use sow_lab::scenario::built_in_text;

use crate::{
    args::lab::new::NewArgs,
    exit::{Exit, Failure},
    file_errors,
    report::Report,
};

/// Writes the scenario of a built-in experiment, and prints its path.
///
/// # Errors
/// [`Exit::Differs`] if the file exists, [`Exit::Disk`] if it cannot be written.
pub(crate) fn run(args: &NewArgs, report: &Report) -> Result<Exit, Failure> {
    let text = built_in_text(&args.from)?;
    let path = args.path();
    if path.as_os_str() == "-" {
        report.out_own_text(text);
        return Ok(Exit::Done);
    }
    create(&path, text)?;
    if report.is_json() {
        report.out_json(&serde_json::json!({ "path": path, "from": args.from }).to_string());
    } else {
        report.out(path.display());
    }
    Ok(Exit::Done)
}

/// Writes a new file.
fn create(path: &Path, text: &str) -> Result<(), Failure> {
    let mut file = File::create_new(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Failure::new(Exit::Differs, format!("{} exists and is not overwritten", path.display()))
                .tip("choose another name, or remove it")
        }
        _ => file_errors::cannot_write(path, &error),
    })?;
    file.write_all(text.as_bytes()).map_err(|error| file_errors::cannot_write(path, &error))
}
