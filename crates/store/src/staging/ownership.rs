//! Whether a file next to a target is one that an earlier run of this user created. In a folder
//! that others can write to, such as `/tmp`, another user can put a file, a link or a second name
//! of a precious file there. None of these is filled, followed or overwritten: it is moved aside,
//! and a new one is created. A part and a journal are this user's alone until the target appears.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
};

use rustix::{
    fs::{
        AtFlags, FileType, Mode, OFlags, RenameFlags, Stat, fchmod, fstat, mkdirat, openat,
        renameat_with, statat, unlinkat,
    },
    io::Errno,
    process::{geteuid, getpid},
};

use super::Staging;
use crate::error::{Operation, StoreError};

/// Where files that are not of this user are moved to.
const ASIDE_SUFFIX: &str = ".sow-aside";
const MAX_FILES_ASIDE: u32 = 100;

/// The permission of a group and of all others to write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// The permissions of a part and a journal. In a folder with these, those of the files in it are of
/// no use to others.
pub(super) const OWN_FILE: Mode = Mode::from_raw_mode(0o600);
pub(super) const OWN_FOLDER: Mode = Mode::from_raw_mode(0o700);

impl Staging {
    /// Why a file or folder next to the target is not used; `None` for one that this user created.
    pub(super) fn distrust(&self, stat: &Stat) -> Result<Option<&'static str>, StoreError> {
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if is_file && stat.st_nlink > 1 {
            return Ok(Some("has other names (hard links)"));
        }
        let writable = stat.st_mode & WRITABLE_BY_OTHERS;
        if stat.st_uid == geteuid().as_raw() && writable == 0 {
            return Ok(None);
        }
        // Some file systems have no owners and modes of their own. What a new file gets is right
        // for an old one, too.
        let new = self.stat_of_new(false, OWN_FILE)?;
        Ok(if stat.st_uid != new.st_uid {
            Some("belongs to another user")
        } else if writable & !new.st_mode != 0 {
            Some("can be written to by other users")
        } else {
            None
        })
    }

    /// Makes way for a new file: removes an empty file or one of several names of a file, and moves
    /// anything else to a name of its own. Its content is not touched.
    pub(super) fn set_aside(
        &self,
        name: &OsStr,
        stat: &Stat,
        reason: &'static str,
    ) -> Result<(), StoreError> {
        let failed = |error| match error {
            Errno::PERM | Errno::ACCESS => {
                StoreError::Unsafe { path: self.folder_path.join(name), reason }
            }
            error => StoreError::io(Operation::Rename, &self.folder_path.join(name), error),
        };
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if is_file && (stat.st_nlink > 1 || stat.st_size == 0) {
            return match unlinkat(&self.folder, name, AtFlags::empty()) {
                Err(Errno::NOENT) => Ok(()),
                done => done.map_err(failed),
            };
        }
        for number in 1..=MAX_FILES_ASIDE {
            let aside = self.with_suffix(&format!("{ASIDE_SUFFIX}{number}"));
            match renameat_with(&self.folder, name, &self.folder, &aside, RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => {}
                Err(Errno::NOENT) => return Ok(()),
                done => return done.map_err(failed),
            }
        }
        Err(StoreError::Unsafe { path: self.folder_path.join(name), reason })
    }

    /// Gives a part the permissions that any other new file or folder would have here. The
    /// permissions before, to be given back when the part does not become the target.
    pub(super) fn open_to_others(&self, part: &File, folder: bool) -> Result<Mode, StoreError> {
        let failed = |error| StoreError::io(Operation::Rename, &self.part_path(), error);
        let before = Mode::from_raw_mode(fstat(part).map_err(failed)?.st_mode);
        let usual = Mode::from_raw_mode(if folder { 0o777 } else { 0o666 });
        let usual = match self.stat_of_new(folder, usual) {
            Ok(stat) => Mode::from_raw_mode(stat.st_mode),
            // A full or damaged file system takes no new file, and yet it may rename the part.
            Err(_) => usual & !umask(),
        };
        // A folder keeps the bit by which new files in it get its group: a file has none to show.
        let new = usual | (before & Mode::SGID);
        if new != before {
            fchmod(part, new).map_err(failed)?;
        }
        Ok(before)
    }

    /// What the system makes of a new file or folder here: its owner, and its permissions under the
    /// umask and the access control list of the folder. A file without a name shows it, so that
    /// nothing is left behind when the process is killed.
    fn stat_of_new(&self, folder: bool, mode: Mode) -> Result<Stat, StoreError> {
        let failed = |error| StoreError::io(Operation::Create, &self.folder_path, error);
        let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
        match openat(&self.folder, ".", flags, mode) {
            Ok(file) => fstat(file).map_err(failed),
            // The file system, or an old kernel, has no files without a name.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => {
                self.stat_of_named(folder, mode)
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// The same by a file or folder with a name.
    fn stat_of_named(&self, folder: bool, mode: Mode) -> Result<Stat, StoreError> {
        let name: OsString = self.with_suffix(&format!(".sow-new{}", getpid().as_raw_nonzero()));
        let path = self.folder_path.join(&name);
        let failed = |error: Errno| StoreError::io(Operation::Create, &path, error);
        if folder {
            mkdirat(&self.folder, &name, mode).map_err(failed)?;
        } else {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            openat(&self.folder, &name, flags, mode).map_err(failed)?;
        }
        let stat = statat(&self.folder, &name, AtFlags::SYMLINK_NOFOLLOW);
        let flags = if folder { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        unlinkat(&self.folder, &name, flags).map_err(failed)?;
        stat.map_err(failed)
    }
}

/// The permissions that new files do not get. Without `/proc` they cannot be read: then new files
/// are for this user alone.
fn umask() -> Mode {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    let mask = mask.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok());
    Mode::from_raw_mode(mask.unwrap_or(0o077))
}
