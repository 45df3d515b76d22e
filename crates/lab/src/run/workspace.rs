//! Workspaces of experiments on this machine. A workspace is the name of a lab and a folder for
//! files, both held by a lock that ends with this process. So the next experiment recognizes what a
//! killed one left behind, and removes it.

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
    file_lock::FileLock,
    network::{self, LabName},
};

/// The beginning of the names of labs that experiments build and take down by themselves.
pub const LAB_PREFIX: &str = "experiment-";
/// A file system in memory, so that disks do not limit what is measured.
const MEMORY_FOLDER: &str = "/dev/shm";
/// The limit of experiments at the same time, above what any machine can run.
const MAX_WORKSPACES: u32 = 64;

/// The name of a lab and a folder, held until this is dropped.
#[derive(Debug)]
pub(super) struct Workspace {
    lab_name: LabName,
    folder: PathBuf,
    _lock: FileLock,
}

impl Workspace {
    /// Removes what killed experiments left, and takes a free workspace in a file system with room
    /// for `bytes`.
    ///
    /// # Errors
    /// When there is no room, or the rest of a killed experiment cannot be removed.
    pub(super) fn take(bytes: u64) -> io::Result<Self> {
        // The names of labs belong to the machine, so all experiments of a user share one folder of
        // locks, wherever their files are.
        let locks = network::state_folder().map_err(io::Error::other)?;
        // All workspaces first: what is left in them takes room.
        for number in (1..=MAX_WORKSPACES).filter(|&number| has_traces(&locks, number)) {
            if let Some(_lock) = FileLock::try_take(&lock_path(&locks, number))? {
                clear(number)?;
            }
        }
        let base = base_with_room(bytes)?;
        for number in 1..=MAX_WORKSPACES {
            let Some(lock) = FileLock::try_take(&lock_path(&locks, number))? else { continue };
            clear(number)?;
            let folder = base.join(number.to_string());
            fs::create_dir(&folder)?;
            return Ok(Self { lab_name: lab_name(number)?, folder, _lock: lock });
        }
        Err(io::Error::other(format!("{MAX_WORKSPACES} experiments are running already")))
    }

    /// The name of its lab.
    pub(super) fn lab_name(&self) -> &LabName {
        &self.lab_name
    }

    /// Its folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        // An error cannot be returned here. The next experiment removes the rest.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The lock of a workspace. No file of a lab has such a name, because those begin with a letter.
fn lock_path(locks: &Path, number: u32) -> PathBuf {
    locks.join(format!("{number}.slot"))
}

fn lab_name(number: u32) -> io::Result<LabName> {
    format!("{LAB_PREFIX}{number}").parse().map_err(io::Error::other)
}

/// Whether a workspace has a lock or a folder, held or not.
fn has_traces(locks: &Path, number: u32) -> bool {
    lock_path(locks, number).exists()
        || bases().iter().any(|base| base.join(number.to_string()).exists())
}

/// Removes the lab and the folders of a workspace. The caller holds its lock.
fn clear(number: u32) -> io::Result<()> {
    network::down(&lab_name(number)?).map_err(io::Error::other)?;
    for base in bases().iter().filter(|base| is_own(base)) {
        match fs::remove_dir_all(base.join(number.to_string())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let path = base.join(number.to_string());
                return Err(io::Error::new(error.kind(), format!("{}: {error}", path.display())));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The folders that may contain workspaces, the preferred one first.
fn bases() -> [PathBuf; 2] {
    let name = format!("sow-lab-run-{}", geteuid().as_raw());
    [PathBuf::from(MEMORY_FOLDER), std::env::temp_dir()].map(|parent| parent.join(&name))
}

/// A folder of this user with room for `bytes`.
fn base_with_room(bytes: u64) -> io::Result<PathBuf> {
    let mut cause = io::Error::other("there is no folder for the files");
    for base in bases() {
        match create_own_folder(&base).and_then(|()| free_bytes(&base)) {
            Ok(room) if room >= bytes => return Ok(base),
            Ok(room) => {
                let message =
                    format!("{} has room for {room} bytes, and {bytes} are needed", base.display());
                cause = io::Error::new(io::ErrorKind::StorageFull, message);
            }
            Err(error) => {
                cause = io::Error::new(error.kind(), format!("{}: {error}", base.display()))
            }
        }
    }
    Err(cause)
}

/// Makes a folder that only this user can write to. Another user may have made it first, which is
/// an error.
fn create_own_folder(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    if is_own(path) {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::PermissionDenied, "it belongs to another user"))
}

fn is_own(path: &Path) -> bool {
    fs::symlink_metadata(path)
        .is_ok_and(|there| there.is_dir() && there.uid() == geteuid().as_raw())
}

fn free_bytes(path: &Path) -> io::Result<u64> {
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
    fn a_workspace_has_one_holder() {
        let first = Workspace::take(0).unwrap();
        let second = Workspace::take(0).unwrap();
        assert_ne!(first.lab_name(), second.lab_name());
        assert_ne!(first.folder(), second.folder());
        fs::write(first.folder().join("file"), "x").unwrap();
        let folder = second.folder().to_owned();
        drop(second);
        assert!(!folder.exists());
        drop(Workspace::take(0).unwrap());
        assert!(first.folder().join("file").exists());
    }

    #[test]
    fn what_killed_experiments_left_is_removed_from_every_workspace() {
        // After a kill, the files exist and the lock is not held.
        let lock = lock_path(&network::state_folder().unwrap(), MAX_WORKSPACES);
        fs::write(&lock, "").unwrap();
        for base in bases() {
            create_own_folder(&base).unwrap();
            let left = base.join(MAX_WORKSPACES.to_string());
            fs::create_dir_all(&left).unwrap();
            fs::write(left.join("left"), "x").unwrap();
        }
        // It is removed even when there is no room for the new workspace.
        assert_eq!(Workspace::take(u64::MAX).unwrap_err().kind(), io::ErrorKind::StorageFull);
        // Another test process may be removing it at the same moment.
        let deadline = Instant::now() + Duration::from_secs(20);
        while has_traces(&network::state_folder().unwrap(), MAX_WORKSPACES) {
            assert!(Instant::now() < deadline, "it still exists");
            thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn a_workspace_without_enough_room_is_refused() {
        let error = Workspace::take(u64::MAX).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(error.to_string().contains("has room for"), "{error}");
    }
}
