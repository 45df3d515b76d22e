//! Names on the disk: the target, what stands beside it while it is received, and the lock. Knows
//! nothing of pieces.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File, TryLockError},
    io,
    ops::Deref,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, fstatvfs, openat, statat, unlinkat},
    io::Errno,
};
use sow_content::{hash::sha1, path::MAX_NAME};

use crate::error::{Operation, StoreError};

mod put;

const PART: &str = ".sow-part";
const JOURNAL: &str = ".sow-part.journal";
const ASIDE: &str = ".sow-old";

/// A target and the names around it. All of them are reached through the open folder, so that it
/// may be renamed.
#[derive(Debug)]
pub(crate) struct Place {
    folder: File,
    folder_path: PathBuf,
    target: OsString,
    part: OsString,
    journal: OsString,
    aside: OsString,
}

/// The journal's file, locked until this is dropped. The lock is let go of then even if a child
/// process that is just being started has a copy of the handle.
#[derive(Debug)]
pub(crate) struct Lock(pub(crate) File);

impl Deref for Lock {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file would do the same a little later.
        let _ = self.0.unlock();
    }
}

impl Place {
    /// The place of a target. Its folder must exist.
    pub(crate) fn new(target: &Path) -> Result<Self, StoreError> {
        let Some(name) = target.file_name() else {
            return Err(StoreError::BadName {
                path: target.to_owned(),
                reason: "not the name of a file".into(),
            });
        };
        if name.len() > MAX_NAME {
            let reason =
                format!("the name has {} bytes, at most {MAX_NAME} are possible", name.len());
            return Err(StoreError::BadName { path: target.to_owned(), reason });
        }
        let parent = target
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = openat(CWD, parent, flags, Mode::empty()).map_err(|error| match error {
            Errno::NOENT => StoreError::NoFolder { path: parent.to_owned() },
            Errno::NOTDIR => StoreError::WrongKind {
                path: parent.to_owned(),
                expected: "a folder",
                found: "something else",
            },
            error => StoreError::io(Operation::Open, parent, error),
        })?;
        let stem = stem_of(name);
        let beside = |suffix: &str| {
            let mut name = stem.clone();
            name.push(suffix);
            name
        };
        Ok(Self {
            folder: folder.into(),
            folder_path: parent.to_owned(),
            target: name.to_owned(),
            part: beside(PART),
            journal: beside(JOURNAL),
            aside: beside(ASIDE),
        })
    }

    pub(crate) fn target_path(&self) -> PathBuf {
        self.folder_path.join(&self.target)
    }

    pub(crate) fn part_path(&self) -> PathBuf {
        self.folder_path.join(&self.part)
    }

    pub(crate) fn journal_path(&self) -> PathBuf {
        self.folder_path.join(&self.journal)
    }

    /// Refuses a target that cannot be replaced by a file (or a folder), or may not be.
    pub(crate) fn check_target(&self, folder: bool, overwrite: bool) -> Result<(), StoreError> {
        let path = self.target_path();
        match self.kind_of(&self.target)? {
            None => Ok(()),
            // A device or a pipe is not replaced either: `-o /dev/null` must not do what it says.
            Some(kind) if !replaceable(kind, folder) => {
                let expected = if folder { "a folder" } else { "a file" };
                Err(StoreError::WrongKind { path, expected, found: describe(kind) })
            }
            Some(_) if !overwrite => Err(StoreError::TargetExists { path }),
            Some(_) => Ok(()),
        }
    }

    /// An error when the file system has not so many bytes left for us.
    pub(crate) fn check_room(&self, needed: u64) -> Result<(), StoreError> {
        check_room(&self.folder, needed, &self.target_path())
    }

    /// Whether there is anything at the target.
    pub(crate) fn has_target(&self) -> Result<bool, StoreError> {
        Ok(self.stat(&self.target)?.is_some())
    }

    /// Opens the journal's file, creating a missing one, and locks it for as long as it is open.
    pub(crate) fn lock(&self) -> Result<Lock, StoreError> {
        loop {
            if let Some(file) = self.try_lock(OFlags::CREATE)? {
                return Ok(file);
            }
        }
    }

    /// Like [`Place::lock`], but does not create a missing file.
    pub(crate) fn lock_existing(&self) -> Result<Option<Lock>, StoreError> {
        self.try_lock(OFlags::empty())
    }

    /// `None` when there is no file, or the one that was locked has lost its name.
    fn try_lock(&self, create: OFlags) -> Result<Option<Lock>, StoreError> {
        let path = self.journal_path();
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | create;
        let file: File =
            match openat(&self.folder, &self.journal, flags, Mode::from_raw_mode(0o666)) {
                Ok(file) => file.into(),
                Err(Errno::NOENT) if create.is_empty() => return Ok(None),
                Err(error) => return Err(StoreError::io(Operation::Create, &path, error)),
            };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Locked { path: self.target_path() });
            }
            // A file system without locks (some network file systems): better unprotected than
            // unusable.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => {
                return Err(StoreError::io(Operation::Lock, &path, error));
            }
        }
        // Whoever held the lock may have finished in between, and with that removed the file that
        // we have open.
        let ours = file.metadata().map_err(|e| StoreError::io(Operation::Examine, &path, e))?.ino();
        let lock = Lock(file);
        Ok(self.stat(&self.journal)?.is_some_and(|stat| stat.st_ino == ours).then_some(lock))
    }

    /// What has the name of the part, with its inode number.
    pub(crate) fn part(&self) -> Result<Option<(FileType, u64)>, StoreError> {
        let stat = self.stat(&self.part)?;
        Ok(stat.map(|stat| (FileType::from_raw_mode(stat.st_mode), stat.st_ino)))
    }

    /// Opens the part, creating it where it is missing: a file, or a folder.
    pub(crate) fn open_part(&self, folder: bool) -> Result<File, StoreError> {
        let path = self.part_path();
        let common = OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = if folder {
            create_folder(&self.folder, Path::new(&self.part)).and_then(|()| {
                openat(&self.folder, &self.part, common | OFlags::DIRECTORY, Mode::empty())
            })
        } else {
            let flags = common | OFlags::RDWR | OFlags::CREATE | OFlags::NONBLOCK;
            openat(&self.folder, &self.part, flags, Mode::from_raw_mode(0o666))
        };
        opened.map(File::from).map_err(|error| StoreError::io(Operation::Create, &path, error))
    }

    /// Removes the part, whatever it is.
    pub(crate) fn remove_part(&self) -> Result<(), StoreError> {
        self.remove(&self.part)
    }

    /// Removes an old target that was put aside by an earlier run which did not get to removing it.
    pub(crate) fn remove_aside(&self) -> Result<(), StoreError> {
        self.remove(&self.aside)
    }

    /// Removes the journal. Its lock lasts until the file is closed.
    pub(crate) fn remove_journal(&self) -> Result<(), StoreError> {
        self.remove(&self.journal)
    }

    /// Waits until the names in the target's folder are on the disk.
    pub(crate) fn sync_folder(&self) -> Result<(), StoreError> {
        self.folder.sync_all().map_err(|e| StoreError::io(Operation::Sync, &self.folder_path, e))
    }

    fn remove(&self, name: &OsStr) -> Result<(), StoreError> {
        let path = self.folder_path.join(name);
        let removed = match self.kind_of(name)? {
            None => Ok(()),
            Some(FileType::Directory) => fs::remove_dir_all(&path),
            Some(_) => unlinkat(&self.folder, name, AtFlags::empty()).map_err(io::Error::from),
        };
        removed.map_err(|error| StoreError::io(Operation::Remove, &path, error))
    }

    fn kind_of(&self, name: &OsStr) -> Result<Option<FileType>, StoreError> {
        Ok(self.stat(name)?.map(|stat| FileType::from_raw_mode(stat.st_mode)))
    }

    fn stat(&self, name: &OsStr) -> Result<Option<Stat>, StoreError> {
        match statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => {
                Err(StoreError::io(Operation::Examine, &self.folder_path.join(name), error))
            }
        }
    }
}

/// An error when the file system that an open file or folder is on has not so many bytes left for
/// what is to be at `path`.
pub(crate) fn check_room(on: &File, needed: u64, path: &Path) -> Result<(), StoreError> {
    let stat = fstatvfs(on).map_err(|e| StoreError::io(Operation::Examine, path, e))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    // Some file systems do not know, and say nothing but zeros.
    if stat.f_blocks > 0 && free < needed {
        return Err(StoreError::NoRoom { path: path.to_owned(), needed, free });
    }
    Ok(())
}

/// Creates a folder below an open one; one that is there already is as good, anything else is an
/// error.
pub(crate) fn create_folder(below: &File, path: &Path) -> Result<(), Errno> {
    match rustix::fs::mkdirat(below, path, Mode::from_raw_mode(0o777)) {
        Err(Errno::EXIST) => match statat(below, path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => Ok(()),
            Ok(_) => Err(Errno::NOTDIR),
            Err(error) => Err(error),
        },
        done => done,
    }
}

/// What a thing is, for a message.
pub(crate) fn describe(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "a file",
        FileType::Directory => "a folder",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::Unknown => "something unknown",
    }
}

/// The name that suffixes are put to: the target's own, or for a very long one its beginning and a
/// few digits that keep it apart from others, so that everything beside it has a name that is short
/// enough.
fn stem_of(name: &OsStr) -> OsString {
    const DIGITS: usize = 8;
    let longest = MAX_NAME - JOURNAL.len();
    if name.len() <= longest {
        return name.to_owned();
    }
    let mut end = longest - DIGITS - 1;
    // Not in the middle of a character, for people who look at it.
    while end > 0 && name.as_bytes()[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    let mut stem = OsStr::from_bytes(&name.as_bytes()[..end]).to_owned();
    let [a, b, c, d, ..] = sha1(name.as_bytes());
    stem.push(format!("~{a:02x}{b:02x}{c:02x}{d:02x}"));
    stem
}

/// Whether a file (or a folder) may take the name of such a thing.
fn replaceable(kind: FileType, folder: bool) -> bool {
    match kind {
        FileType::Directory => folder,
        FileType::RegularFile | FileType::Symlink => !folder,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(folder: &tempfile::TempDir, name: &str) -> Place {
        Place::new(&folder.path().join(name)).unwrap()
    }

    #[test]
    fn names_beside_a_very_long_one_fit_and_differ() {
        let folder = tempfile::tempdir().unwrap();
        let a = place(&folder, &"ü".repeat(127));
        let b = place(&folder, &format!("{}x", "ü".repeat(126)));
        for place in [&a, &b] {
            assert!(place.journal.len() <= MAX_NAME);
            assert!(place.part.to_str().is_some_and(|part| part.ends_with(PART)));
            place.open_part(false).unwrap();
            place.lock().unwrap();
        }
        assert_ne!(a.part, b.part);
        assert_eq!(place(&folder, "short").part, "short.sow-part");
        let error = Place::new(&folder.path().join("x".repeat(256))).unwrap_err();
        assert!(matches!(error, StoreError::BadName { .. }), "{error}");
    }

    #[test]
    fn the_lock_outlives_neither_its_file_nor_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let place = place(&folder, "x");
        assert!(place.lock_existing().unwrap().is_none());
        let first = place.lock().unwrap();
        assert!(matches!(place.lock(), Err(StoreError::Locked { .. })));
        place.remove_journal().unwrap();
        // The first one's file has no name any more: a new one is created, locked by us.
        let second = place.lock().unwrap();
        drop(first);
        assert!(matches!(place.lock(), Err(StoreError::Locked { .. })));
        drop(second);
        assert!(place.lock_existing().unwrap().is_some());
    }
}
