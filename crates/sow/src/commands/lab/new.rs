//! `sow lab new`: a scenario's file to start from.

use std::{
    fs::File,
    io::{self, Write as _},
    path::Path,
};

use sow_lab::scenario::built_in_text;

use crate::{
    args::lab::new::NewArgs,
    disk,
    exit::{Exit, Failure},
    report::Report,
};

/// Writes the file of a built-in experiment, and says how to run it.
///
/// # Errors
/// [`Exit::Differs`] if something is there already, [`Exit::Disk`] if it cannot be written.
pub(crate) fn run(args: &NewArgs, report: &Report) -> Result<Exit, Failure> {
    let text = built_in_text(&args.from)?;
    let path = args.path();
    if path.as_os_str() == "-" {
        report.out(text.trim_end());
        return Ok(Exit::Done);
    }
    create(&path, text)?;
    if report.is_json() {
        report.out(serde_json::json!({ "path": path, "from": args.from }));
    } else {
        report.out(path.display());
    }
    Ok(Exit::Done)
}

/// Writes a file that was not there.
fn create(path: &Path, text: &str) -> Result<(), Failure> {
    let mut file = File::create_new(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Failure::new(Exit::Differs, format!("{} exists and is left as it is", path.display()))
                .tip("choose another name, or take it away")
        }
        _ => disk::unwritable(path, &error),
    })?;
    file.write_all(text.as_bytes()).map_err(|error| disk::unwritable(path, &error))
}
