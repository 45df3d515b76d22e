//! The path of this program's file, for processes that run it again.

use std::{env, path::PathBuf};

use crate::exit::{Exit, Failure};

/// The path of the file of this program.
///
/// # Errors
/// When the system does not tell it.
pub(crate) fn own_program() -> Result<PathBuf, Failure> {
    env::current_exe().map_err(|error| {
        Failure::new(Exit::Failed, format!("cannot find the file of this program: {error}"))
    })
}
