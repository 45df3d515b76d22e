//! The errors of the stores. Each names the path and the operation in one line. Exit codes and
//! advice are chosen elsewhere, from [`StoreError::kind`].

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

/// Why an operation of a store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system reported an error.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// The operation that failed.
        operation: Operation,
        /// The path of the operation.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The content does not fit on the disk. This is checked before the download.
    #[error("no space for {}: {needed} more bytes are needed, {free} are free", path.display())]
    NoSpace {
        /// The target.
        path: PathBuf,
        /// Bytes that still have to be allocated.
        needed: u64,
        /// Bytes that are free on the file system.
        free: u64,
    },
    /// Another process receives into the same target.
    #[error("another process is receiving {}", path.display())]
    Locked {
        /// The target.
        path: PathBuf,
    },
    /// The target exists.
    #[error("{} already exists", path.display())]
    TargetExists {
        /// The target.
        path: PathBuf,
    },
    /// The folder of the target does not exist.
    #[error("the folder {} does not exist", path.display())]
    NoFolder {
        /// The folder.
        path: PathBuf,
    },
    /// The path has another type than expected.
    #[error("{} is {found}, not {expected}", path.display())]
    WrongKind {
        /// The path.
        path: PathBuf,
        /// The expected type: "a file", "a folder".
        expected: &'static str,
        /// The actual type.
        found: &'static str,
    },
    /// The target is a pipe, a device or a socket, or a link to one. A download would replace it.
    #[error("{} is {found}, not a file", path.display())]
    SpecialTarget {
        /// The target.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// The target is a link to nothing.
    #[error("{} is a link to {}, which does not exist", path.display(), to.display())]
    DanglingLink {
        /// The target.
        path: PathBuf,
        /// What the link points to.
        to: PathBuf,
    },
    /// A file next to the target may be under the control of another user.
    #[error("{} {reason}, and cannot be moved aside", path.display())]
    Unsafe {
        /// The file.
        path: PathBuf,
        /// Why it is not used.
        reason: &'static str,
    },
    /// The file would be longer than this process may write (RLIMIT_FSIZE).
    #[error("{} has {length} bytes, and the file size limit is {limit}", path.display())]
    FileSizeLimit {
        /// The file.
        path: PathBuf,
        /// Its length, in bytes.
        length: u64,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The content on the disk does not match its hashes, although every write and sync succeeded.
    #[error("{} was read back, and {pieces} pieces do not match their hash", path.display())]
    Corrupt {
        /// The content.
        path: PathBuf,
        /// How many pieces are wrong.
        pieces: u32,
    },
    /// The name cannot be a target or cannot be shared.
    #[error("{}: {reason}", path.display())]
    BadName {
        /// The path.
        path: PathBuf,
        /// What is wrong with the name.
        reason: String,
    },
    /// A folder to share contains no file.
    #[error("the folder {} has no files in it", path.display())]
    EmptyFolder {
        /// The folder.
        path: PathBuf,
    },
    /// A symbolic link points out of the shared folder.
    #[error("the link {} leaves the folder: it points to {}", path.display(), to.display())]
    LinkLeaves {
        /// The link.
        path: PathBuf,
        /// The path that it points to.
        to: PathBuf,
    },
    /// A symbolic link points to a folder that contains the link.
    #[error("the link {} points to {}, a folder around it", path.display(), to.display())]
    LinkLoop {
        /// The link.
        path: PathBuf,
        /// The path that it points to.
        to: PathBuf,
    },
    /// More files than a torrent may have.
    #[error("{} has more than {limit} files", path.display())]
    TooManyFiles {
        /// The folder.
        path: PathBuf,
        /// The limit.
        limit: usize,
    },
    /// A file has changed, or does not match the metainfo.
    #[error("{} changed: {expected} bytes were expected", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// The expected length, in bytes.
        expected: u64,
    },
    /// A padding file has a byte that is not zero (BEP 47 requires zeros).
    #[error("piece {piece} has padding that is not zero")]
    Padding {
        /// The piece.
        piece: u32,
    },
    /// An earlier sync failed, so a later success does not prove that the content is on the disk.
    #[error("the disk failed to keep the bytes written to {}", path.display())]
    Unreliable {
        /// The content.
        path: PathBuf,
    },
    /// The content cannot be finished because pieces are missing.
    #[error("{} is not complete: {missing} pieces are missing", path.display())]
    Incomplete {
        /// The target.
        path: PathBuf,
        /// The number of missing pieces.
        missing: u32,
    },
    /// A piece, a range or a length that does not fit the content. A mistake of the caller.
    #[error("bytes {start} to {end} are outside content of {total} bytes")]
    OutOfRange {
        /// The first byte.
        start: u64,
        /// The byte after the last one.
        end: u64,
        /// The length of the content.
        total: u64,
    },
    /// The store is for reading only. A mistake of the caller.
    #[error("{} is open read-only", path.display())]
    NotWritable {
        /// The content.
        path: PathBuf,
    },
    /// The piece length does not suit the content.
    #[error(transparent)]
    Geometry(#[from] sow_content::geometry::GeometryError),
    /// The caller cancelled the operation.
    #[error("cancelled")]
    Cancelled,
}

/// The kind of a [`StoreError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// The disk or a quota is full.
    DiskFull,
    /// Permission was denied.
    Permission,
    /// The file system is mounted read-only.
    ReadOnly,
    /// A path does not exist.
    Missing,
    /// The target exists.
    Exists,
    /// Another process is receiving the target.
    Locked,
    /// The path cannot be used: a wrong type of file, a bad name, an empty folder, a link out of
    /// the folder.
    Unsuitable,
    /// A file has changed or has wrong content.
    Changed,
    /// The disk returned other bytes than were written.
    Corrupt,
    /// The disk or the file system failed in another way.
    Failing,
    /// The caller cancelled the operation.
    Cancelled,
    /// The caller made a mistake.
    Misuse,
}

/// The operation on a path that failed.
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
    /// Setting its length.
    Resize,
    /// Waiting for it to be on the disk.
    Sync,
    /// Renaming it.
    Rename,
    /// Removing it.
    Remove,
    /// Locking it.
    Lock,
    /// Reading its metadata.
    Examine,
}

impl StoreError {
    /// The kind of the error.
    pub fn kind(&self) -> StoreErrorKind {
        use StoreErrorKind as Kind;
        match self {
            // The file system, not the name, limits the length.
            Self::Io { operation: Operation::Write | Operation::Resize, source, .. }
                if source.kind() == io::ErrorKind::FileTooLarge =>
            {
                Kind::Failing
            }
            Self::Io { source, .. } => kind_of(source),
            Self::Unsafe { .. } => Kind::Permission,
            Self::FileSizeLimit { .. } => Kind::Failing,
            Self::Corrupt { .. } => Kind::Corrupt,
            Self::NoSpace { .. } => Kind::DiskFull,
            Self::Locked { .. } => Kind::Locked,
            Self::TargetExists { .. } => Kind::Exists,
            Self::NoFolder { .. } => Kind::Missing,
            Self::WrongKind { .. }
            | Self::SpecialTarget { .. }
            | Self::DanglingLink { .. }
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
            Self::Examine => "examine",
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
    fn errors_of_the_system_have_distinct_kinds() {
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
    fn a_message_contains_the_operation_and_the_path() {
        let error = StoreError::io(Operation::Write, Path::new("/a/b"), Errno::NOSPC);
        assert!(error.to_string().starts_with("cannot write to /a/b: No space left"), "{error}");
    }
}
