//! The commit of a staged part: it becomes the target in one atomic step. It does not sync the
//! content; that must have happened before.

use std::{ffi::OsStr, fs::File};

use rustix::{
    fs::{RenameFlags, fchmod, renameat_with},
    io::Errno,
};

use super::Staging;
use crate::error::{Operation, StoreError};

/// Where the old target is after a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OldTarget {
    /// There was none, or the rename removed it.
    Gone,
    /// It has the name of the part: the two exchanged their names.
    AtPartName,
    /// It has the backup name.
    AtBackupName,
}

impl Staging {
    /// Makes the part, which is open, the target. The step is atomic, except on file systems that
    /// cannot exchange two folders. The old target may remain under another name; remove it with
    /// [`Staging::remove_old_target`].
    pub(crate) fn commit(
        &self,
        part: &File,
        folder: bool,
        overwrite: bool,
    ) -> Result<OldTarget, StoreError> {
        self.check_target(folder, overwrite)?;
        let own_mode = self.open_to_others(part, folder)?;
        let renamed = self.rename_part(folder, overwrite);
        if renamed.is_err() {
            // If that fails, the next run sets the part aside.
            let _ = fchmod(part, own_mode);
        }
        let old_target = renamed?;
        self.sync_folder()?;
        Ok(old_target)
    }

    fn rename_part(&self, folder: bool, overwrite: bool) -> Result<OldTarget, StoreError> {
        if !overwrite {
            return self.commit_new();
        }
        if folder && self.stat(&self.target)?.is_some() {
            return match self.rename(&self.part, &self.target, RenameFlags::EXCHANGE) {
                Ok(()) => Ok(OldTarget::AtPartName),
                Err(error) if is_unsupported(error) => self.commit_with_backup(),
                Err(error) => Err(StoreError::io(Operation::Rename, &self.part_path(), error)),
            };
        }
        self.rename_checked(&self.part, &self.target)?;
        Ok(OldTarget::Gone)
    }

    /// Removes the old target.
    pub(crate) fn remove_old_target(&self, old_target: OldTarget) -> Result<(), StoreError> {
        match old_target {
            OldTarget::Gone => Ok(()),
            OldTarget::AtPartName => self.remove(&self.part),
            OldTarget::AtBackupName => self.remove(&self.backup),
        }
    }

    fn commit_new(&self) -> Result<OldTarget, StoreError> {
        match self.rename(&self.part, &self.target, RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => return Err(StoreError::TargetExists { path: self.target_path() }),
            // Some network file systems lack this flag. The target did not exist a moment ago.
            Err(error) if is_unsupported(error) => self.rename_checked(&self.part, &self.target)?,
            done => done.map_err(|e| StoreError::io(Operation::Rename, &self.part_path(), e))?,
        }
        Ok(OldTarget::Gone)
    }

    /// For file systems that cannot exchange two folders: renames the old target to the backup name
    /// first, and back if the part cannot be renamed.
    fn commit_with_backup(&self) -> Result<OldTarget, StoreError> {
        self.rename_checked(&self.target, &self.backup)?;
        if let Err(error) = self.rename_checked(&self.part, &self.target) {
            self.rename_checked(&self.backup, &self.target)?;
            return Err(error);
        }
        Ok(OldTarget::AtBackupName)
    }

    fn rename(&self, from: &OsStr, to: &OsStr, flags: RenameFlags) -> Result<(), Errno> {
        renameat_with(&self.folder, from, &self.folder, to, flags)
    }

    fn rename_checked(&self, from: &OsStr, to: &OsStr) -> Result<(), StoreError> {
        self.rename(from, to, RenameFlags::empty())
            .map_err(|error| StoreError::io(Operation::Rename, &self.folder_path.join(from), error))
    }
}

fn is_unsupported(error: Errno) -> bool {
    matches!(error, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn without_an_exchange_the_old_folder_gets_the_backup_name() {
        let folder = tempfile::tempdir().unwrap();
        let staging = Staging::new(&folder.path().join("x")).unwrap();
        for (name, file) in [("x", "old"), ("x.sow-part", "new")] {
            fs::create_dir(folder.path().join(name)).unwrap();
            fs::write(folder.path().join(name).join(file), file).unwrap();
        }
        let old_target = staging.commit_with_backup().unwrap();
        assert_eq!(old_target, OldTarget::AtBackupName);
        staging.remove_old_target(old_target).unwrap();
        let names = |path: &Path| -> Vec<_> {
            fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name()).collect()
        };
        assert_eq!(names(folder.path()), ["x"]);
        assert_eq!(names(&folder.path().join("x")), ["new"]);
        // Without a part, the old folder gets its name back.
        assert!(staging.commit_with_backup().is_err());
        assert_eq!(names(folder.path()), ["x"]);
    }
}
