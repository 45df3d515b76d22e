//! The staging of a target: the part and the journal next to it, their names, and the lock. It
//! knows nothing of pieces.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File, TryLockError},
    io,
    ops::Deref,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{
        AtFlags, CWD, FileType, Mode, OFlags, Stat, fstat, fstatvfs, mkdirat, openat, statat,
        unlinkat,
    },
    io::Errno,
};
use sow_content::{hash::sha1, path::MAX_NAME};

use self::ownership::{OWN_FILE, OWN_FOLDER};
use crate::error::{Operation, StoreError};

mod commit;
mod ownership;

const PART_SUFFIX: &str = ".sow-part";
const JOURNAL_SUFFIX: &str = ".sow-part.journal";
/// How often a journal is opened that is removed or set aside meanwhile.
const MAX_LOCK_ATTEMPTS: u32 = 1000;
/// For an old target on a file system that cannot exchange two folders.
const BACKUP_SUFFIX: &str = ".sow-old";

/// A target and the names next to it. All of them are accessed through the open folder, so the
/// folder may be renamed.
#[derive(Debug)]
pub(crate) struct Staging {
    folder: File,
    folder_path: PathBuf,
    stem: OsString,
    target: OsString,
    part: OsString,
    journal: OsString,
    backup: OsString,
}

/// The file of the journal, locked until this is dropped. The drop releases the lock even if a
/// child process that is just being started has a copy of the descriptor.
#[derive(Debug)]
pub(crate) struct LockedFile(pub(crate) File);

impl Deref for LockedFile {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

impl Drop for LockedFile {
    fn drop(&mut self) {
        // An error is harmless: closing the file releases the lock too.
        let _ = self.0.unlock();
    }
}

impl Staging {
    /// The staging of a target, whose folder must exist.
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
        Ok(Self {
            folder: folder.into(),
            folder_path: parent.to_owned(),
            target: name.to_owned(),
            part: with_suffix(&stem, PART_SUFFIX),
            journal: with_suffix(&stem, JOURNAL_SUFFIX),
            backup: with_suffix(&stem, BACKUP_SUFFIX),
            stem,
        })
    }

    fn with_suffix(&self, suffix: &str) -> OsString {
        with_suffix(&self.stem, suffix)
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

    /// An error when the target exists and must not be replaced, or cannot be replaced by a file
    /// (or a folder).
    pub(crate) fn check_target(&self, folder: bool, overwrite: bool) -> Result<(), StoreError> {
        let path = self.target_path();
        check_target(&path)?;
        match self.kind_of(&self.target)? {
            None => Ok(()),
            Some(kind) if !is_replaceable(kind, folder) => {
                let expected = if folder { "a folder" } else { "a file" };
                Err(StoreError::WrongKind { path, expected, found: describe_type(kind) })
            }
            Some(_) if !overwrite => Err(StoreError::TargetExists { path }),
            Some(_) => Ok(()),
        }
    }

    /// An error when the file system has less free space.
    pub(crate) fn check_free_space(&self, needed: u64) -> Result<(), StoreError> {
        check_free_space(&self.folder, needed, &self.target_path())
    }

    /// Whether anything exists at the target.
    pub(crate) fn has_target(&self) -> Result<bool, StoreError> {
        Ok(self.stat(&self.target)?.is_some())
    }

    /// Opens and locks the file of the journal, and creates it when it is missing. A file that this
    /// user did not create is set aside.
    pub(crate) fn lock(&self) -> Result<LockedFile, StoreError> {
        for _ in 0..MAX_LOCK_ATTEMPTS {
            if let Some(file) = self.try_lock(true)? {
                return Ok(file);
            }
        }
        Err(StoreError::Locked { path: self.target_path() })
    }

    /// Like [`Staging::lock`], but does not create a missing file, and sets none aside.
    pub(crate) fn lock_existing(&self) -> Result<Option<LockedFile>, StoreError> {
        self.try_lock(false)
    }

    /// `None` when there is no file of this user, or it was removed in the meantime.
    fn try_lock(&self, create: bool) -> Result<Option<LockedFile>, StoreError> {
        let path = self.journal_path();
        let Some(file) = self.open_journal(create)? else { return Ok(None) };
        let stat = fstat(&file).map_err(|e| StoreError::io(Operation::Examine, &path, e))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind != FileType::RegularFile {
            let found = describe_type(kind);
            return Err(StoreError::WrongKind { path, expected: "a file", found });
        }
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Locked { path: self.target_path() });
            }
            // Some network file systems have no locks. Staging works there without protection.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => {
                return Err(StoreError::io(Operation::Lock, &path, error));
            }
        }
        let lock = LockedFile(file);
        // The previous holder of the lock may have finished and removed the open file.
        if self.stat(&self.journal)?.is_none_or(|named| named.st_ino != stat.st_ino) {
            return Ok(None);
        }
        match self.distrust(&stat)? {
            Some(reason) if create => {
                self.set_aside(&self.journal, &stat, reason)?;
                Ok(None)
            }
            Some(_) => Ok(None),
            None => Ok(Some(lock)),
        }
    }

    /// `None` when there is no file, or another user's that cannot be opened was set aside.
    fn open_journal(&self, create: bool) -> Result<Option<File>, StoreError> {
        let path = self.journal_path();
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match openat(&self.folder, &self.journal, flags, Mode::empty()) {
            Ok(file) => return Ok(Some(file.into())),
            Err(Errno::NOENT) => {}
            Err(Errno::ACCESS) => {
                if let Some(stat) = self.stat(&self.journal)?
                    && let Some(reason) = self.distrust(&stat)?
                {
                    if create {
                        self.set_aside(&self.journal, &stat, reason)?;
                    }
                    return Ok(None);
                }
                return Err(StoreError::io(Operation::Open, &path, Errno::ACCESS));
            }
            Err(Errno::LOOP) => {
                let found = describe_type(FileType::Symlink);
                return Err(StoreError::WrongKind { path, expected: "a file", found });
            }
            Err(error) => return Err(StoreError::io(Operation::Open, &path, error)),
        }
        if !create {
            return Ok(None);
        }
        let flags = flags | OFlags::CREATE | OFlags::EXCL;
        match openat(&self.folder, &self.journal, flags, OWN_FILE) {
            Ok(file) => Ok(Some(file.into())),
            // Another process was faster.
            Err(Errno::EXIST) => Ok(None),
            Err(error) => Err(StoreError::io(Operation::Create, &path, error)),
        }
    }

    /// The type and the inode number of the part.
    pub(crate) fn part(&self) -> Result<Option<(FileType, u64)>, StoreError> {
        let stat = self.stat(&self.part)?;
        Ok(stat.map(|stat| (FileType::from_raw_mode(stat.st_mode), stat.st_ino)))
    }

    /// Sets a part aside that this user did not create. Something of another type is left alone.
    pub(crate) fn set_strange_part_aside(&self, folder: bool) -> Result<(), StoreError> {
        let expected = if folder { FileType::Directory } else { FileType::RegularFile };
        if let Some(stat) = self.stat(&self.part)?
            && FileType::from_raw_mode(stat.st_mode) == expected
            && let Some(reason) = self.distrust(&stat)?
        {
            self.set_aside(&self.part, &stat, reason)?;
        }
        Ok(())
    }

    /// Opens the part, a file or a folder, and creates it when it is missing.
    pub(crate) fn open_part(&self, folder: bool) -> Result<File, StoreError> {
        let path = self.part_path();
        let failed = |error| StoreError::io(Operation::Create, &path, error);
        let is_new = self.stat(&self.part)?.is_none();
        let common = OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = if folder {
            if is_new {
                mkdirat(&self.folder, &self.part, OWN_FOLDER).map_err(failed)?;
            }
            openat(&self.folder, &self.part, common | OFlags::DIRECTORY, Mode::empty())
        } else {
            let mut flags = common | OFlags::RDWR | OFlags::NONBLOCK;
            let mut mode = Mode::empty();
            if is_new {
                flags |= OFlags::CREATE | OFlags::EXCL;
                mode = OWN_FILE;
            }
            openat(&self.folder, &self.part, flags, mode)
        };
        let file: File = opened.map_err(failed)?.into();
        if !is_new {
            // It may have been exchanged since it was examined.
            let stat = fstat(&file).map_err(failed)?;
            if let Some(reason) = self.distrust(&stat)? {
                return Err(StoreError::Unsafe { path, reason });
            }
        }
        Ok(file)
    }

    /// Removes the part, whatever its type.
    pub(crate) fn remove_part(&self) -> Result<(), StoreError> {
        self.remove(&self.part)
    }

    /// Removes a backup of the target that an interrupted run left.
    pub(crate) fn remove_backup(&self) -> Result<(), StoreError> {
        self.remove(&self.backup)
    }

    /// Removes the journal. The lock is held until the file is closed.
    pub(crate) fn remove_journal(&self) -> Result<(), StoreError> {
        self.remove(&self.journal)
    }

    /// Waits until the names in the folder of the target are on the disk.
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

/// An error when the file system of an open file or folder has less free space. `path` is for the
/// error.
pub(crate) fn check_free_space(on: &File, needed: u64, path: &Path) -> Result<(), StoreError> {
    let stat = fstatvfs(on).map_err(|e| StoreError::io(Operation::Examine, path, e))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    // Some file systems report only zeros.
    if stat.f_blocks > 0 && free < needed {
        return Err(StoreError::NoSpace { path: path.to_owned(), needed, free });
    }
    Ok(())
}

/// An error when something is at the path of a target that no download replaces: a pipe, a device,
/// a link to one of them or to nothing, or a name of an open file such as `/dev/stdout`.
///
/// # Errors
/// Says what it is.
pub fn check_target(path: &Path) -> Result<(), StoreError> {
    let path = path.to_owned();
    let Ok(link) = fs::symlink_metadata(&path) else { return Ok(()) };
    let describe = |metadata: &fs::Metadata| {
        let kind = FileType::from_raw_mode(metadata.mode());
        let is_special = !matches!(kind, FileType::RegularFile | FileType::Directory);
        is_special.then(|| describe_type(kind))
    };
    if !link.is_symlink() {
        let found = describe(&link);
        return found.map_or(Ok(()), |found| Err(StoreError::SpecialTarget { path, found }));
    }
    match fs::metadata(&path) {
        Ok(metadata) => {
            let is_open_file = path.starts_with("/dev") || path.starts_with("/proc");
            match describe(&metadata) {
                Some("a pipe") => {
                    Err(StoreError::SpecialTarget { path, found: "a link to a pipe" })
                }
                Some(_) => Err(StoreError::SpecialTarget { path, found: "a link to a device" }),
                None if is_open_file => {
                    Err(StoreError::SpecialTarget { path, found: "a link of the system" })
                }
                None => Ok(()),
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let to = fs::read_link(&path).unwrap_or_default();
            Err(StoreError::DanglingLink { path, to })
        }
        Err(error) => Err(StoreError::io(Operation::Examine, &path, error)),
    }
}

/// The name of a file type, for messages.
pub(crate) fn describe_type(kind: FileType) -> &'static str {
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

fn with_suffix(stem: &OsStr, suffix: &str) -> OsString {
    let mut name = stem.to_owned();
    name.push(suffix);
    name
}

/// The name that the suffixes are appended to. It is the name of the target; of a very long name it
/// is the beginning and a few digits of its hash, so that the names with suffixes are short enough.
fn stem_of(name: &OsStr) -> OsString {
    const HASH_DIGITS: usize = 8;
    let max_length = MAX_NAME - JOURNAL_SUFFIX.len();
    if name.len() <= max_length {
        return name.to_owned();
    }
    let mut end = max_length - HASH_DIGITS - 1;
    // Not in the middle of a UTF-8 character.
    while end > 0 && name.as_bytes()[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    let mut stem = OsStr::from_bytes(&name.as_bytes()[..end]).to_owned();
    let [a, b, c, d, ..] = sha1(name.as_bytes());
    stem.push(format!("~{a:02x}{b:02x}{c:02x}{d:02x}"));
    stem
}

/// Whether a file (or a folder) may replace something of this type.
fn is_replaceable(kind: FileType, folder: bool) -> bool {
    match kind {
        FileType::Directory => folder,
        FileType::RegularFile | FileType::Symlink => !folder,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn staging(folder: &tempfile::TempDir, name: &str) -> Staging {
        Staging::new(&folder.path().join(name)).unwrap()
    }

    #[test]
    fn the_names_next_to_a_very_long_target_fit_and_differ() {
        let folder = tempfile::tempdir().unwrap();
        let a = staging(&folder, &"ü".repeat(127));
        let b = staging(&folder, &format!("{}x", "ü".repeat(126)));
        for staging in [&a, &b] {
            assert!(staging.journal.len() <= MAX_NAME);
            assert!(staging.part.to_str().is_some_and(|part| part.ends_with(PART_SUFFIX)));
            staging.open_part(false).unwrap();
            staging.lock().unwrap();
        }
        assert_ne!(a.part, b.part);
        assert_eq!(staging(&folder, "short").part, "short.sow-part");
        let error = Staging::new(&folder.path().join("x".repeat(256))).unwrap_err();
        assert!(matches!(error, StoreError::BadName { .. }), "{error}");
    }

    #[test]
    fn the_lock_ends_with_its_file_and_with_the_name_of_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let staging = staging(&folder, "x");
        assert!(staging.lock_existing().unwrap().is_none());
        let first = staging.lock().unwrap();
        assert!(matches!(staging.lock(), Err(StoreError::Locked { .. })));
        staging.remove_journal().unwrap();
        // The first file has no name any more, so a new one is created and locked.
        let second = staging.lock().unwrap();
        drop(first);
        assert!(matches!(staging.lock(), Err(StoreError::Locked { .. })));
        drop(second);
        assert!(staging.lock_existing().unwrap().is_some());
    }
}
