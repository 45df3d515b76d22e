//! Failures of files and stores as the user sees them: the operation, the path, and a tip.

use std::{io, path::Path};

use sow_store::{StoreError, StoreErrorKind};

use crate::exit::{Exit, Failure, chain};

/// The failure to open or read a path.
pub(crate) fn cannot_read(path: &Path, error: &io::Error) -> Failure {
    io_failure("cannot read", path, error)
}

/// The failure to create or write a path.
pub(crate) fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    io_failure("cannot write", path, error)
}

fn io_failure(operation: &str, path: &Path, error: &io::Error) -> Failure {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => StoreErrorKind::Missing,
        io::ErrorKind::PermissionDenied => StoreErrorKind::Permission,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreErrorKind::DiskFull,
        io::ErrorKind::ReadOnlyFilesystem => StoreErrorKind::ReadOnly,
        _ => StoreErrorKind::Failing,
    };
    of_kind(kind, format!("{operation} {}: {error}", path.display()))
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        store_failure(&error)
    }
}

/// The failure of an operation of a store.
pub(crate) fn store_failure(error: &StoreError) -> Failure {
    let tip = match error {
        StoreError::SpecialTarget { path, .. } => {
            let tip = format!("to write into it: sow get … -o - > {}", path.display());
            return Failure::new(exit_of(error.kind()), chain(error)).tip(tip);
        }
        StoreError::DanglingLink { .. } => Some("remove the link, or choose another name with -o"),
        StoreError::Unsafe { .. } => {
            Some("remove it, or choose a folder that only you can write to, with -o")
        }
        StoreError::FileSizeLimit { .. } => Some("raise the limit (ulimit -f unlimited)"),
        StoreError::Corrupt { .. } => {
            Some("run the same command again to fetch them anew, and check the disk")
        }
        StoreError::Locked { .. } => Some("wait until it ends, or choose another name with -o"),
        StoreError::LinkLeaves { .. } => {
            Some("share the folder that the link points to, or remove the link")
        }
        StoreError::EmptyFolder { .. } => Some("put a file into it, or name another"),
        StoreError::Changed { .. } => {
            Some("wait until no program writes to it, then run the same command again")
        }
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
        StoreErrorKind::Missing => failure.tip("check the spelling and the current folder"),
        StoreErrorKind::Permission => {
            failure.tip("check its permissions (ls -l), or run as its owner")
        }
        StoreErrorKind::DiskFull => failure
            .tip("make room and run the same command again to continue; or choose another disk"),
        StoreErrorKind::ReadOnly => failure.tip("choose a folder that can be written to"),
        _ => failure,
    }
}

/// The exit code for a kind of store error.
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
        StoreErrorKind::Corrupt => Exit::Unverified,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_and_a_forbidden_file_have_different_exit_codes() {
        let missing = cannot_read(Path::new("/x"), &io::ErrorKind::NotFound.into());
        assert_eq!(missing.exit(), Exit::Failed);
        let forbidden = cannot_read(Path::new("/x"), &io::ErrorKind::PermissionDenied.into());
        assert_eq!(forbidden.exit(), Exit::Disk);
        let full = cannot_write(Path::new("/x"), &io::ErrorKind::StorageFull.into());
        assert_eq!(full.exit(), Exit::Disk);
        assert!(full.to_string().contains("make room"), "{full}");
    }

    #[test]
    fn a_locked_store_has_a_tip() {
        let failure = Failure::from(StoreError::Locked { path: "a.iso".into() });
        assert_eq!(
            failure.to_string(),
            "error: another process is receiving a.iso\n  \
             tip: wait until it ends, or choose another name with -o"
        );
    }
}
