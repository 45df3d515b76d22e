//! Errors of files and folders as people are told them: what could not be done, to which path, and
//! what helps.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use sow_store::{StoreError, StoreErrorKind};

use crate::exit::{Exit, Failure, chain};

/// The bytes of a file: no more than one over `limit`, by which it is known to be too long.
///
/// # Errors
/// When it cannot be opened or read.
pub(crate) fn read_bounded(path: &Path, limit: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let reading =
        File::open(path).and_then(|file| file.take(limit as u64 + 1).read_to_end(&mut bytes));
    match reading {
        Ok(_) => Ok(bytes),
        Err(error) => Err(unreadable(path, &error)),
    }
}

/// A path that cannot be opened or read.
pub(crate) fn unreadable(path: &Path, error: &io::Error) -> Failure {
    failure("cannot read", path, error)
}

/// A path that cannot be made or written.
pub(crate) fn unwritable(path: &Path, error: &io::Error) -> Failure {
    failure("cannot write", path, error)
}

fn failure(what: &str, path: &Path, error: &io::Error) -> Failure {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => StoreErrorKind::Missing,
        io::ErrorKind::PermissionDenied => StoreErrorKind::Permission,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreErrorKind::DiskFull,
        io::ErrorKind::ReadOnlyFilesystem => StoreErrorKind::ReadOnly,
        _ => StoreErrorKind::Failing,
    };
    of_kind(kind, format!("{what} {}: {error}", path.display()))
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        failing(&error)
    }
}

/// A store that cannot do what it is asked.
pub(crate) fn failing(error: &StoreError) -> Failure {
    let tip = match error {
        StoreError::Locked { .. } => Some("wait for it, or choose another name with -o"),
        StoreError::LinkLeaves { .. } => {
            Some("share the folder that it leads to, or remove the link")
        }
        StoreError::EmptyFolder { .. } => Some("put a file into it, or name another"),
        StoreError::Changed { .. } => Some("wait until nobody writes to it, then run this again"),
        _ => None,
    };
    match tip {
        Some(tip) => Failure::new(exit_of(error.kind()), chain(error)).tip(tip),
        None => of_kind(error.kind(), chain(error)),
    }
}

fn of_kind(kind: StoreErrorKind, message: String) -> Failure {
    let failure = Failure::new(exit_of(kind), message);
    match kind {
        StoreErrorKind::Missing => failure.tip("check the spelling, and the folder you are in"),
        StoreErrorKind::Permission => {
            failure.tip("check its permissions (ls -l), or run as its owner")
        }
        StoreErrorKind::DiskFull => failure.tip(
            "make room and run the same line again: it goes on from there; or choose another place",
        ),
        StoreErrorKind::ReadOnly => failure.tip("choose a place that can be written to"),
        _ => failure,
    }
}

/// The exit code for a sort of trouble with the disk.
pub(crate) fn exit_of(kind: StoreErrorKind) -> Exit {
    match kind {
        StoreErrorKind::DiskFull
        | StoreErrorKind::Permission
        | StoreErrorKind::ReadOnly
        | StoreErrorKind::Failing => Exit::Disk,
        StoreErrorKind::Exists => Exit::Differs,
        StoreErrorKind::Cancelled => Exit::Interrupted,
        StoreErrorKind::Missing
        | StoreErrorKind::Locked
        | StoreErrorKind::Unsuitable
        | StoreErrorKind::Changed
        | StoreErrorKind::Misuse => Exit::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_from_what_is_forbidden() {
        let missing = unreadable(Path::new("/x"), &io::ErrorKind::NotFound.into());
        assert_eq!(missing.exit(), Exit::Failed);
        let forbidden = unreadable(Path::new("/x"), &io::ErrorKind::PermissionDenied.into());
        assert_eq!(forbidden.exit(), Exit::Disk);
        let full = unwritable(Path::new("/x"), &io::ErrorKind::StorageFull.into());
        assert_eq!(full.exit(), Exit::Disk);
        assert!(full.to_string().contains("make room"), "{full}");
    }

    #[test]
    fn a_store_that_is_in_use_says_what_to_do() {
        let failure = Failure::from(StoreError::Locked { path: "a.iso".into() });
        assert_eq!(
            failure.to_string(),
            "error: another process is receiving a.iso\n  tip: wait for it, or choose another name with -o"
        );
    }
}
