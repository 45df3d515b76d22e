//! Where an experiment takes place on this machine: the name of a lab and a folder for its files,
//! both held by a lock that dies with us. So the next experiment knows what a killed one left
//! behind, and removes it.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{StatVfs, statvfs},
    process::geteuid,
};

use crate::{
    lock::Lock,
    network::{self, LabName},
};

/// What the names of labs begin with that experiments build for themselves, and take down without
/// being asked.
pub const LAB_PREFIX: &str = "experiment-";
/// In memory, so that disks are not what is measured.
const IN_MEMORY: &str = "/dev/shm";
/// More experiments at once than any machine bears.
const SLOTS: u32 = 64;

/// A lab's name and a folder, ours alone until this is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    name: LabName,
    folder: PathBuf,
    _lock: Lock,
}

impl Slot {
    /// Removes what killed experiments left, and takes a free slot where there is room for so many
    /// bytes.
    ///
    /// # Errors
    /// When there is no room, or what is left cannot be removed.
    pub(super) fn take(bytes: u64) -> io::Result<Self> {
        // One place for all experiments of this user, wherever their files are: names of labs are
        // the machine's.
        let locks = network::notes().map_err(io::Error::other)?;
        // First of all slots: what is left there takes room.
        for number in (1..=SLOTS).filter(|&number| is_left(&locks, number)) {
            if let Some(_lock) = Lock::try_take(&lock_path(&locks, number))? {
                clear(number)?;
            }
        }
        let base = base(bytes)?;
        for number in 1..=SLOTS {
            let Some(lock) = Lock::try_take(&lock_path(&locks, number))? else { continue };
            clear(number)?;
            let folder = base.join(number.to_string());
            fs::create_dir(&folder)?;
            return Ok(Self { name: lab_name(number)?, folder, _lock: lock });
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
}

impl Drop for Slot {
    fn drop(&mut self) {
        // There is nobody to tell; what is left now goes with the next experiment.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// No lab's own file has such a name: those begin with a letter.
fn lock_path(locks: &Path, number: u32) -> PathBuf {
    locks.join(format!("{number}.slot"))
}

fn lab_name(number: u32) -> io::Result<LabName> {
    format!("{LAB_PREFIX}{number}").parse().map_err(io::Error::other)
}

/// Whether there is anything of a slot, held or not.
fn is_left(locks: &Path, number: u32) -> bool {
    lock_path(locks, number).exists()
        || bases().iter().any(|base| base.join(number.to_string()).exists())
}

/// Takes away the lab and the folders of a slot. To be called by who has its lock.
fn clear(number: u32) -> io::Result<()> {
    network::down(&lab_name(number)?).map_err(io::Error::other)?;
    for base in bases().iter().filter(|base| is_own(base)) {
        match fs::remove_dir_all(base.join(number.to_string())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let what = base.join(number.to_string());
                return Err(io::Error::new(error.kind(), format!("{}: {error}", what.display())));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Where folders can be, best first.
fn bases() -> [PathBuf; 2] {
    let name = format!("sow-lab-run-{}", geteuid().as_raw());
    [PathBuf::from(IN_MEMORY), std::env::temp_dir()].map(|place| place.join(&name))
}

/// A folder of this user's with room for so many bytes.
fn base(bytes: u64) -> io::Result<PathBuf> {
    let mut why = io::Error::other("nowhere to put the files");
    for base in bases() {
        match own_folder(&base).and_then(|()| room(&base)) {
            Ok(room) if room >= bytes => return Ok(base),
            Ok(room) => {
                let said =
                    format!("{} has room for {room} bytes, and {bytes} are needed", base.display());
                why = io::Error::new(io::ErrorKind::StorageFull, said);
            }
            Err(error) => {
                why = io::Error::new(error.kind(), format!("{}: {error}", base.display()))
            }
        }
    }
    Err(why)
}

/// Makes a folder that nobody else can put things into; somebody else may have been there first.
fn own_folder(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    if is_own(path) {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::PermissionDenied, "it belongs to somebody else"))
}

fn is_own(path: &Path) -> bool {
    fs::symlink_metadata(path)
        .is_ok_and(|there| there.is_dir() && there.uid() == geteuid().as_raw())
}

fn room(path: &Path) -> io::Result<u64> {
    let StatVfs { f_bavail, f_frsize, .. } = statvfs(path)?;
    Ok(f_bavail.saturating_mul(f_frsize))
}

#[cfg(test)]
mod tests {
    use std::{
        thread,
        time::{Duration, Instant},
    };

    use super::*;

    #[test]
    fn a_slot_is_ours_alone() {
        let first = Slot::take(0).unwrap();
        let second = Slot::take(0).unwrap();
        assert_ne!(first.name(), second.name());
        assert_ne!(first.folder(), second.folder());
        fs::write(first.folder().join("file"), "x").unwrap();
        let folder = second.folder().to_owned();
        drop(second);
        assert!(!folder.exists());
        drop(Slot::take(0).unwrap());
        assert!(first.folder().join("file").exists());
    }

    #[test]
    fn what_killed_experiments_left_goes_whatever_number_it_has() {
        // As a kill leaves it: everything is there, and nobody holds the lock.
        let lock = lock_path(&network::notes().unwrap(), SLOTS);
        fs::write(&lock, "").unwrap();
        for base in bases() {
            own_folder(&base).unwrap();
            let left = base.join(SLOTS.to_string());
            fs::create_dir_all(&left).unwrap();
            fs::write(left.join("left"), "x").unwrap();
        }
        // Even by one for which there is no room.
        assert_eq!(Slot::take(u64::MAX).unwrap_err().kind(), io::ErrorKind::StorageFull);
        // Another process may have found it at the same moment, and not be done.
        let patience = Instant::now() + Duration::from_secs(20);
        while is_left(&network::notes().unwrap(), SLOTS) {
            assert!(Instant::now() < patience, "it is still there");
            thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn more_than_there_is_room_for_is_refused() {
        let error = Slot::take(u64::MAX).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(error.to_string().contains("has room for"), "{error}");
    }
}
