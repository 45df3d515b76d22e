//! A script for programs that run one when a download is complete: it says `complete` as `sow`
//! does, on the output that it shares with the program.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use super::{ProgramError, Stage, torrent::write};

const SCRIPT: &str = "#!/bin/sh\necho '{\"event\":\"complete\"}'\n";

/// The path of the script, which is made if it is not there. One that is there may just be run by
/// somebody, so it is left alone.
///
/// # Errors
/// When it cannot be written.
pub(super) fn hook(stage: &Stage<'_>) -> Result<PathBuf, ProgramError> {
    let path = stage.work.join("on-complete");
    if !path.exists() {
        write(&path, SCRIPT)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
            .map_err(|source| ProgramError::File { path: path.clone(), source })?;
    }
    Ok(path)
}
