//! Where an experiment takes place on this machine: the name of a lab and a folder for its files, both held by a lock that dies with
//! us. So the next experiment knows what a killed one left behind, and removes it.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, StatVfs, flock, statvfs},
    process::geteuid,
};

use crate::network::{self, LabName, NetworkError};

/// In memory, so that disks are not what is measured.
const IN_MEMORY: &str = "/dev/shm";
/// More experiments at once than any machine bears.
const SLOTS: u32 = 64;

/// A lab's name and a folder, ours alone until this is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    name: LabName,
    folder: PathBuf,
    lock: PathBuf,
    _file: File,
}

impl Slot {
    /// Takes a free one where there is room for so many bytes, and removes what an earlier one left there.
    ///
    /// # Errors
    /// When there is no room, or what is left cannot be removed.
    pub(super) fn take(bytes: u64) -> io::Result<Self> {
        let base = base(bytes)?;
        for number in 1..=SLOTS {
            let lock = base.join(format!("{number}.lock"));
            let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&lock)?;
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
                continue;
            }
            // Whoever had it may have removed it just now.
            if fs::metadata(&lock).map(|there| there.ino()).ok() != Some(file.metadata()?.ino()) {
                continue;
            }
            let name = format!("experiment-{number}").parse().map_err(io::Error::other)?;
            let slot = Self { name, folder: base.join(number.to_string()), lock, _file: file };
            slot.clear().map_err(io::Error::other)?;
            fs::create_dir(&slot.folder)?;
            return Ok(slot);
        }
        Err(io::Error::other(format!("{SLOTS} experiments are under way already")))
    }

    /// The name of its lab.
    pub(super) fn name(&self) -> &LabName {
        &self.name
    }

    /// Its folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    fn clear(&self) -> Result<(), NetworkError> {
        network::down(&self.name)?;
        match fs::remove_dir_all(&self.folder) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(NetworkError::Io { what: self.folder.display().to_string(), source })
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // There is nobody to tell; what is left now goes with the next experiment.
        let _ = fs::remove_dir_all(&self.folder);
        let _ = fs::remove_file(&self.lock);
    }
}

/// A folder of this user's with room for so many bytes.
fn base(bytes: u64) -> io::Result<PathBuf> {
    let me = geteuid().as_raw();
    let places = [PathBuf::from(IN_MEMORY), std::env::temp_dir()];
    let mut why = io::Error::other("nowhere to put the files");
    for place in places {
        let base = place.join(format!("sow-lab-run-{me}"));
        match own_folder(&base, me).and_then(|()| room(&base)) {
            Ok(room) if room >= bytes => return Ok(base),
            Ok(room) => {
                let said = format!("{} has room for {room} bytes, and {bytes} are needed", place.display());
                why = io::Error::new(io::ErrorKind::StorageFull, said);
            }
            Err(error) => why = io::Error::new(error.kind(), format!("{}: {error}", base.display())),
        }
    }
    Err(why)
}

/// Makes a folder that nobody else can put things into; somebody else may have been there first.
fn own_folder(path: &Path, me: u32) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let metadata = fs::symlink_metadata(path)?;
    if metadata.is_dir() && metadata.uid() == me {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::PermissionDenied, "it belongs to somebody else"))
}

fn room(path: &Path) -> io::Result<u64> {
    let StatVfs { f_bavail, f_frsize, .. } = statvfs(path)?;
    Ok(f_bavail.saturating_mul(f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_ours_alone_and_what_a_killed_one_left_goes() {
        let first = Slot::take(0).unwrap();
        let second = Slot::take(0).unwrap();
        assert_ne!(first.name(), second.name());
        assert_ne!(first.folder(), second.folder());
        fs::write(first.folder().join("file"), "x").unwrap();
        let (lock, folder) = (second.lock.clone(), second.folder().to_owned());
        drop(second);
        assert!(!lock.exists() && !folder.exists());
        // As a kill leaves it: folder and lock are there, and nobody holds the lock.
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("left"), "x").unwrap();
        fs::write(&lock, "").unwrap();
        let third = Slot::take(0).unwrap();
        assert!(third.folder() != folder || !folder.join("left").exists());
        assert!(first.folder().join("file").exists());
    }

    #[test]
    fn more_than_there_is_room_for_is_refused() {
        let error = Slot::take(u64::MAX).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(error.to_string().contains("has room for"), "{error}");
    }
}
