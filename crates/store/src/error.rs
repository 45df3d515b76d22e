//! What can go wrong with bytes at rest: each error names the path and the operation. No formatting
//! for people beyond one line; the exit code is chosen elsewhere from [`StoreError::kind`].

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

/// Why a store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was tried.
        operation: Operation,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The content does not fit; found before a byte was fetched.
    #[error("no room for {}: {needed} more bytes are needed, {free} are free", path.display())]
    NoRoom {
        /// The target.
        path: PathBuf,
        /// Bytes that still have to be taken.
        needed: u64,
        /// Bytes that the file system has to give.
        free: u64,
    },
    /// Another process receives into the same target.
    #[error("another process is receiving {}", path.display())]
    Locked {
        /// The target.
        path: PathBuf,
    },
    /// The target is there already.
    #[error("{} exists already", path.display())]
    TargetExists {
        /// The target.
        path: PathBuf,
    },
    /// The folder that the target is to be put in is not there.
    #[error("the folder {} does not exist", path.display())]
    NoFolder {
        /// The folder.
        path: PathBuf,
    },
    /// Something else than expected has this name.
    #[error("{} is {found}, not {expected}", path.display())]
    WrongKind {
        /// What is in the way.
        path: PathBuf,
        /// What was expected: "a file", "a folder".
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// A name that cannot be a target or cannot be shared.
    #[error("{}: {reason}", path.display())]
    BadName {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There is nothing to share in a folder.
    #[error("the folder {} has no files in it", path.display())]
    EmptyFolder {
        /// The folder.
        path: PathBuf,
    },
    /// A symbolic link points out of the folder that is shared.
    #[error("the link {} leaves the folder: it points to {}", path.display(), to.display())]
    LinkLeaves {
        /// The link.
        path: PathBuf,
        /// Where it leads.
        to: PathBuf,
    },
    /// A symbolic link points to a folder that it is in itself.
    #[error("the link {} leads back to {}, which it is in", path.display(), to.display())]
    LinkLoop {
        /// The link.
        path: PathBuf,
        /// Where it leads.
        to: PathBuf,
    },
    /// More files than a torrent may have.
    #[error("{} has more than {limit} files", path.display())]
    TooManyFiles {
        /// The folder.
        path: PathBuf,
        /// How many there may be.
        limit: usize,
    },
    /// A file is not what it was, or not what the metainfo says.
    #[error("{} changed: {expected} bytes were expected", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// Its length as it should be, in bytes.
        expected: u64,
    },
    /// A padding file with something in it (BEP 47 says that they are all zeros).
    #[error("piece {piece} has padding that is not zero")]
    Padding {
        /// The piece.
        piece: u32,
    },
    /// An earlier write-back failed, so nothing that the system says about this content can be
    /// relied on.
    #[error("the disk failed to keep what was written to {}", path.display())]
    Unreliable {
        /// The content.
        path: PathBuf,
    },
    /// The content was to be put in place with pieces missing.
    #[error("{} is not complete: {missing} pieces are missing", path.display())]
    Incomplete {
        /// The target.
        path: PathBuf,
        /// How many pieces.
        missing: u32,
    },
    /// A piece, a range or a number of bytes that does not fit the content. A mistake of the
    /// caller.
    #[error("bytes {start} to {end} asked of content that has {total}")]
    OutOfRange {
        /// First byte.
        start: u64,
        /// The byte after the last.
        end: u64,
        /// Bytes of the content.
        total: u64,
    },
    /// The store is for reading only. A mistake of the caller.
    #[error("{} is open for reading only", path.display())]
    NotWritable {
        /// The content.
        path: PathBuf,
    },
    /// The piece length does not suit the content.
    #[error(transparent)]
    Geometry(#[from] sow_content::geometry::GeometryError),
    /// The caller called it off.
    #[error("cancelled")]
    Cancelled,
}

/// What sort of trouble a [`StoreError`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// No room on the disk, or a quota is used up.
    DiskFull,
    /// Not permitted to us.
    Permission,
    /// The file system is mounted for reading only.
    ReadOnly,
    /// A path that is not there.
    Missing,
    /// The target exists.
    Exists,
    /// Somebody else holds the target.
    Locked,
    /// What was named cannot be used as it is: a wrong kind of file, a bad name, an empty folder, a
    /// link that leaves.
    Unsuitable,
    /// What was read is not what it should be.
    Changed,
    /// The disk or the file system fails in some other way.
    Failing,
    /// The caller called it off.
    Cancelled,
    /// The caller asked for what cannot be.
    Misuse,
}

/// What was done to a path when an error came up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Opening it.
    Open,
    /// Creating it.
    Create,
    /// Reading from it.
    Read,
    /// Writing to it.
    Write,
    /// Giving it a length.
    Resize,
    /// Waiting for it to be on the disk.
    Sync,
    /// Renaming it.
    Rename,
    /// Removing it.
    Remove,
    /// Locking it.
    Lock,
    /// Asking what it is.
    Examine,
}

impl StoreError {
    /// What sort of trouble it is.
    pub fn kind(&self) -> StoreErrorKind {
        use StoreErrorKind as Kind;
        match self {
            Self::Io { source, .. } => kind_of(source),
            Self::NoRoom { .. } => Kind::DiskFull,
            Self::Locked { .. } => Kind::Locked,
            Self::TargetExists { .. } => Kind::Exists,
            Self::NoFolder { .. } => Kind::Missing,
            Self::WrongKind { .. }
            | Self::BadName { .. }
            | Self::EmptyFolder { .. }
            | Self::LinkLeaves { .. }
            | Self::LinkLoop { .. }
            | Self::TooManyFiles { .. }
            | Self::Geometry(_) => Kind::Unsuitable,
            Self::Changed { .. } | Self::Padding { .. } => Kind::Changed,
            Self::Unreliable { .. } => Kind::Failing,
            Self::Cancelled => Kind::Cancelled,
            Self::Incomplete { .. } | Self::OutOfRange { .. } | Self::NotWritable { .. } => {
                Kind::Misuse
            }
        }
    }

    pub(crate) fn io(operation: Operation, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io { operation, path: path.to_owned(), source: source.into() }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Create => "create",
            Self::Read => "read",
            Self::Write => "write to",
            Self::Resize => "resize",
            Self::Sync => "sync",
            Self::Rename => "rename",
            Self::Remove => "remove",
            Self::Lock => "lock",
            Self::Examine => "look at",
        })
    }
}

fn kind_of(error: &io::Error) -> StoreErrorKind {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreErrorKind::DiskFull,
        io::ErrorKind::PermissionDenied => StoreErrorKind::Permission,
        io::ErrorKind::ReadOnlyFilesystem => StoreErrorKind::ReadOnly,
        io::ErrorKind::NotFound => StoreErrorKind::Missing,
        io::ErrorKind::InvalidFilename
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::IsADirectory
        | io::ErrorKind::FileTooLarge => StoreErrorKind::Unsuitable,
        io::ErrorKind::AlreadyExists => StoreErrorKind::Exists,
        _ => StoreErrorKind::Failing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn disk_troubles_are_told_apart() {
        let kind = |errno: Errno| StoreError::io(Operation::Write, Path::new("x"), errno).kind();
        assert_eq!(kind(Errno::NOSPC), StoreErrorKind::DiskFull);
        assert_eq!(kind(Errno::DQUOT), StoreErrorKind::DiskFull);
        assert_eq!(kind(Errno::ACCESS), StoreErrorKind::Permission);
        assert_eq!(kind(Errno::PERM), StoreErrorKind::Permission);
        assert_eq!(kind(Errno::ROFS), StoreErrorKind::ReadOnly);
        assert_eq!(kind(Errno::NOENT), StoreErrorKind::Missing);
        assert_eq!(kind(Errno::IO), StoreErrorKind::Failing);
    }

    #[test]
    fn a_message_names_the_operation_and_the_path() {
        let error = StoreError::io(Operation::Write, Path::new("/a/b"), Errno::NOSPC);
        assert!(error.to_string().starts_with("cannot write to /a/b: No space left"), "{error}");
    }
}
