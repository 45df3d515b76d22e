//! A script for programs that run a command when a download is complete. It prints the event
//! `complete`, as `sow` does, on the output that it shares with the program.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use super::{ProgramContext, ProgramError, context::write_file};

const SCRIPT: &str = "#!/bin/sh\necho '{\"event\":\"complete\"}'\n";

/// The path of the script. An existing script is left alone, because another program may be running
/// it.
///
/// # Errors
/// When the script cannot be written.
pub(super) fn completion_hook(context: &ProgramContext<'_>) -> Result<PathBuf, ProgramError> {
    let path = context.work.join("on-complete");
    if !path.exists() {
        write_file(&path, SCRIPT)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
            .map_err(|source| ProgramError::File { path: path.clone(), source })?;
    }
    Ok(path)
}
