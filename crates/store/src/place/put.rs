//! The step that puts a part in the place of its target, in one go that nobody can observe half
//! done.

use std::ffi::OsStr;

use rustix::{
    fs::{RenameFlags, renameat_with},
    io::Errno,
};

use super::Place;
use crate::error::{Operation, StoreError};

/// Where the old target went when the new one took its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replaced {
    /// There was none, or it is gone.
    Nothing,
    /// It changed names with the part.
    HasNameOfPart,
    /// It was put aside.
    IsAside,
}

impl Place {
    /// Makes the part the target, in one step that nobody can observe half done. What was the
    /// target before has another name afterwards, or none; see [`Place::remove_replaced`].
    pub(crate) fn put(&self, folder: bool, overwrite: bool) -> Result<Replaced, StoreError> {
        self.check_target(folder, overwrite)?;
        let replaced = if !overwrite {
            self.put_new()?
        } else if folder && self.stat(&self.target)?.is_some() {
            match self.rename(&self.part, &self.target, RenameFlags::EXCHANGE) {
                Ok(()) => Replaced::HasNameOfPart,
                Err(error) if is_unsupported(error) => self.put_aside_and_replace()?,
                Err(error) => {
                    return Err(StoreError::io(Operation::Rename, &self.part_path(), error));
                }
            }
        } else {
            self.rename_checked(&self.part, &self.target)?;
            Replaced::Nothing
        };
        self.sync_folder()?;
        Ok(replaced)
    }

    /// Removes what was the target before.
    pub(crate) fn remove_replaced(&self, replaced: Replaced) -> Result<(), StoreError> {
        match replaced {
            Replaced::Nothing => Ok(()),
            Replaced::HasNameOfPart => self.remove(&self.part),
            Replaced::IsAside => self.remove(&self.aside),
        }
    }

    fn put_new(&self) -> Result<Replaced, StoreError> {
        match self.rename(&self.part, &self.target, RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => return Err(StoreError::TargetExists { path: self.target_path() }),
            // Some network file systems; that there is nothing at the target was checked just now.
            Err(error) if is_unsupported(error) => self.rename_checked(&self.part, &self.target)?,
            done => done.map_err(|e| StoreError::io(Operation::Rename, &self.part_path(), e))?,
        }
        Ok(Replaced::Nothing)
    }

    /// Where two folders cannot be exchanged: the old one goes aside first, and back when the new
    /// one cannot take its name.
    fn put_aside_and_replace(&self) -> Result<Replaced, StoreError> {
        self.rename_checked(&self.target, &self.aside)?;
        if let Err(error) = self.rename_checked(&self.part, &self.target) {
            self.rename_checked(&self.aside, &self.target)?;
            return Err(error);
        }
        Ok(Replaced::IsAside)
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
    fn an_old_folder_goes_aside_where_it_cannot_be_exchanged() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(&folder.path().join("x")).unwrap();
        for (name, file) in [("x", "old"), ("x.sow-part", "new")] {
            fs::create_dir(folder.path().join(name)).unwrap();
            fs::write(folder.path().join(name).join(file), file).unwrap();
        }
        let replaced = place.put_aside_and_replace().unwrap();
        assert_eq!(replaced, Replaced::IsAside);
        place.remove_replaced(replaced).unwrap();
        let names = |path: &Path| -> Vec<_> {
            fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name()).collect()
        };
        assert_eq!(names(folder.path()), ["x"]);
        assert_eq!(names(&folder.path().join("x")), ["new"]);
        // With nothing to put in its place, the old one comes back.
        assert!(place.put_aside_and_replace().is_err());
        assert_eq!(names(folder.path()), ["x"]);
    }
}
