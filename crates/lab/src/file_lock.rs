//! A lock that ends with its holder: an open file with an exclusive `flock`. What the lock protects
//! is decided by its users.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

/// A lock that is held until this is dropped. The file is removed with it; a file that a killed
/// process left behind is not locked.
#[derive(Debug)]
pub(crate) struct FileLock {
    path: PathBuf,
    _file: File,
}

impl FileLock {
    /// Takes the lock of a file, which is made if it does not exist; `None` when another process
    /// holds it.
    ///
    /// # Errors
    /// When the file cannot be made or locked.
    pub(crate) fn try_take(path: &Path) -> io::Result<Option<Self>> {
        loop {
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(path)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            // The previous holder may have removed this file after it was opened here. Then another
            // file may have its name, and only the lock of that one counts.
            if is_at(&file, path) {
                return Ok(Some(Self { path: path.to_owned(), _file: file }));
            }
        }
    }

    /// Whether a process holds the lock of this file now.
    pub(crate) fn is_held(path: &Path) -> bool {
        let file = OpenOptions::new().write(true).open(path);
        file.is_ok_and(|file| {
            flock(&file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK)
        })
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Whether an open file is still the one that has this path.
fn is_at(file: &File, path: &Path) -> bool {
    let id = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    let (held, named) = (file.metadata().map(id).ok(), fs::metadata(path).map(id).ok());
    held.is_some() && held == named
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_holds_the_lock_and_a_file_left_by_a_kill_is_free() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        fs::write(&path, "left").unwrap();
        let held = FileLock::try_take(&path).unwrap().expect("the lock is free");
        assert!(FileLock::try_take(&path).unwrap().is_none());
        assert!(FileLock::is_held(&path));
        drop(held);
        assert!(!path.exists() && !FileLock::is_held(&path) && !path.exists());
        fs::write(&path, "left").unwrap();
        assert!(!FileLock::is_held(&path));
        assert!(FileLock::try_take(&path).unwrap().is_some());
        assert!(FileLock::try_take(&dir.path().join("no/such")).is_err());
    }
}
