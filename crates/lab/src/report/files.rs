//! The folder that a report is written into.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::error::ReportError;

/// A folder, and the files that were written into it.
pub(super) struct Folder<'a> {
    path: &'a Path,
    pub(super) written: Vec<PathBuf>,
}

impl<'a> Folder<'a> {
    /// Makes the folder if it does not exist.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn create(path: &'a Path) -> Result<Self, ReportError> {
        fs::create_dir_all(path)
            .map_err(|source| ReportError::Write { path: path.to_owned(), source })?;
        Ok(Self { path, written: Vec::new() })
    }

    /// Writes a file, and replaces one of this name.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), ReportError> {
        let path = self.path.join(name);
        fs::write(&path, bytes)
            .map_err(|source| ReportError::Write { path: path.clone(), source })?;
        self.written.push(path);
        Ok(())
    }
}
