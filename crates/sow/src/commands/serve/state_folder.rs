//! The state folder: one file for each path that was hashed, and a lock. It is a memory and nothing
//! more: whatever is missing or damaged in it is hashed again.

use std::{
    env,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::{ffi::OsStrExt, fs::OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};
use sow_content::hash::sha1;

use super::record::{MAX_RECORD, Record};
use crate::{exit::Failure, file_errors, file_reading::read_at_most, report::Report};

/// The ending of records.
const ENDING: &str = "hashed";

/// The state folder, locked.
#[derive(Debug)]
pub(super) struct StateFolder {
    path: PathBuf,
    /// It is locked as long as this is open.
    _lock: File,
}

/// What is remembered of a path.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Remembered {
    /// Its record.
    Record(Record),
    /// Nothing.
    Nothing,
    /// There is a record that cannot be used.
    Damaged,
}

impl StateFolder {
    /// The folder at `named`, or the default one, which is created. `None` without a default, or
    /// when the default one is in use.
    ///
    /// # Errors
    /// When the folder that was named cannot be used.
    pub(super) fn open(named: Option<&Path>, report: &Report) -> Result<Option<Self>, Failure> {
        if let Some(path) = named {
            return Self::open_at(path).map(Some);
        }
        let Some(path) = default_path() else {
            report.warn("there is no home folder: what is hashed is not remembered; name --state");
            return Ok(None);
        };
        match Self::open_at(&path) {
            Ok(folder) => Ok(Some(folder)),
            Err(failure) => {
                let message = failure.message();
                report.warn(format_args!("{message}; what is hashed is not remembered"));
                Ok(None)
            }
        }
    }

    fn open_at(path: &Path) -> Result<Self, Failure> {
        let failed = |error: &io::Error| file_errors::cannot_write(path, error);
        fs::create_dir_all(path).map_err(|error| failed(&error))?;
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        let lock = options.open(path.join("lock")).map_err(|error| failed(&error))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            let message = format!("{} is in use by another `sow serve`", path.display());
            return Err(Failure::usage(message).tip("each needs a --state of its own"));
        }
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// What is remembered of a path. Blocks.
    pub(super) fn recall(&self, path: &Path) -> Remembered {
        let file = self.file_of(path);
        if !file.exists() {
            return Remembered::Nothing;
        }
        let bytes = read_at_most(&file, MAX_RECORD).ok();
        let record = bytes.and_then(|bytes| Record::decode(&bytes));
        match record.filter(|record| record.path == path) {
            Some(record) => Remembered::Record(record),
            None => Remembered::Damaged,
        }
    }

    /// Remembers what was hashed. The record is replaced by one rename. Blocks.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn remember(&self, record: &Record) -> Result<(), Failure> {
        let target = self.file_of(&record.path);
        let failed = |error: &io::Error| file_errors::cannot_write(&target, error);
        let mut file = tempfile::Builder::new()
            .prefix(".sow-")
            .tempfile_in(&self.path)
            .map_err(|error| failed(&error))?;
        file.write_all(&record.encode()).map_err(|error| failed(&error))?;
        file.persist(&target).map(drop).map_err(|error| failed(&error.error))
    }

    /// Forgets a path.
    pub(super) fn forget(&self, path: &Path) {
        // What stays costs space and nothing else.
        let _ = fs::remove_file(self.file_of(path));
    }

    /// Removes the records of paths at which nothing is any more, and what an interrupted write
    /// left. Blocks.
    pub(super) fn clean(&self) {
        let Ok(entries) = fs::read_dir(&self.path) else { return };
        for entry in entries.filter_map(Result::ok) {
            let path = entry.path();
            let is_leftover = entry.file_name().as_bytes().starts_with(b".sow-");
            let is_gone = || {
                let bytes = read_at_most(&path, MAX_RECORD).ok();
                let record = bytes.and_then(|bytes| Record::decode(&bytes));
                record.is_some_and(|record| record.path.symlink_metadata().is_err())
            };
            if is_leftover || (path.extension().is_some_and(|it| it == ENDING) && is_gone()) {
                let _ = fs::remove_file(&path);
            }
        }
    }

    fn file_of(&self, path: &Path) -> PathBuf {
        let digest = sha1(path.as_os_str().as_bytes());
        let name: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        self.path.join(format!("{name}.{ENDING}"))
    }
}

/// Where the state of services is (systemd.exec(5)), or else of users (XDG Base Directory).
fn default_path() -> Option<PathBuf> {
    let folder = |name: &str| {
        let path = env::var_os(name).map(PathBuf::from);
        path.filter(|path| path.is_absolute())
    };
    folder("STATE_DIRECTORY")
        .or_else(|| Some(folder("XDG_STATE_HOME")?.join("sow")))
        .or_else(|| Some(folder("HOME")?.join(".local/state/sow")))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn record(path: &Path) -> Record {
        let info = Bytes::from_static(b"d6:lengthi5ee");
        Record { path: path.to_owned(), stamps: vec![7; 56], info }
    }

    #[test]
    fn what_is_remembered_is_recalled_and_damage_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open_at(&folder.path().join("a/b")).unwrap();
        let path = Path::new("/srv/big.iso");
        assert_eq!(state.recall(path), Remembered::Nothing);
        state.remember(&record(path)).unwrap();
        assert_eq!(state.recall(path), Remembered::Record(record(path)));
        // The record of another path in its place.
        fs::write(state.file_of(path), record(Path::new("/other")).encode()).unwrap();
        assert_eq!(state.recall(path), Remembered::Damaged);
        fs::write(state.file_of(path), "").unwrap();
        assert_eq!(state.recall(path), Remembered::Damaged);
        state.forget(path);
        assert_eq!(state.recall(path), Remembered::Nothing);
    }

    #[test]
    fn one_process_uses_it_and_what_is_gone_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open_at(folder.path()).unwrap();
        let second = StateFolder::open_at(folder.path()).unwrap_err();
        assert!(second.message().contains("in use"), "{second}");
        let (kept, gone) = (folder.path().join("kept"), folder.path().join("gone"));
        fs::write(&kept, "").unwrap();
        for path in [&kept, &gone] {
            state.remember(&record(path)).unwrap();
        }
        fs::write(folder.path().join(".sow-half"), "x").unwrap();
        state.clean();
        assert_eq!(state.recall(&gone), Remembered::Nothing);
        assert_eq!(state.recall(&kept), Remembered::Record(record(&kept)));
        assert!(!folder.path().join(".sow-half").exists());
    }
}
