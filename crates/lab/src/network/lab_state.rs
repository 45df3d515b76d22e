//! The state file of each lab, and a lock that is held while a lab is built or taken down.
//!
//! The file records what a lab was built as. Whether the lab still exists is a question to the
//! system, which `status` asks.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rustix::process::geteuid;
use serde::{Deserialize, Serialize};

use super::{
    DelayMethod, LabName, NetworkError, Topology, address::lab_of, namespace_host::NamespaceHost,
    processes::names_in,
};
use crate::file_lock::FileLock;

/// The time to wait for another command's lock: longer than the teardown of a large lab.
const LOCK_TIMEOUT: Duration = Duration::from_secs(20);
/// The interval between two attempts to take the lock.
const LOCK_RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// The recorded state of a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LabState {
    /// The requested network.
    pub(super) topology: Topology,
    /// Where its namespaces are.
    pub(super) namespace_host: NamespaceHost,
    /// How frames are delayed; `None` until the lab is built.
    pub(super) delay: Option<DelayMethod>,
    /// The process id of the relay and its start time in clock ticks since boot.
    pub(super) relay: Option<(u32, u64)>,
}

impl LabState {
    /// Reads the state of a lab; `None` when there is no file, or none that can be parsed.
    pub(super) fn read(name: &LabName) -> Result<Option<Self>, NetworkError> {
        let path = state_folder()?.join(format!("{name}.json"));
        match fs::read(&path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(NetworkError::io(path.display())(error)),
        }
    }

    /// Replaces the state file.
    pub(super) fn write(&self) -> Result<(), NetworkError> {
        let name = &self.topology.name;
        let folder = state_folder()?;
        let path = folder.join(format!("{name}.json"));
        let next = folder.join(format!("{name}.json.new"));
        let bytes = serde_json::to_vec_pretty(self).map_err(io::Error::other);
        let written =
            bytes.and_then(|bytes| fs::write(&next, bytes)).and_then(|()| fs::rename(&next, &path));
        written.map_err(NetworkError::io(path.display()))
    }

    /// Removes the state file.
    pub(super) fn remove(name: &LabName) -> Result<(), NetworkError> {
        let folder = state_folder()?;
        for suffix in ["json", "json.new"] {
            let path = folder.join(format!("{name}.{suffix}"));
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(NetworkError::io(path.display())(error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The lock of a lab, held while the lab is built or taken down. Its file is removed with it.
///
/// A forked process that has not yet executed its program inherits the lock. So, once the lock is
/// taken, no process of an earlier command can still appear.
#[derive(Debug)]
pub(super) struct LabLock {
    _lock: FileLock,
}

impl LabLock {
    /// Takes the lock of a lab; waits up to [`LOCK_TIMEOUT`] while another command holds it.
    pub(super) fn take(name: &LabName) -> Result<Self, NetworkError> {
        let path = state_folder()?.join(format!("{name}.lock"));
        let deadline = Instant::now() + LOCK_TIMEOUT;
        loop {
            if let Some(lock) =
                FileLock::try_take(&path).map_err(NetworkError::io(path.display()))?
            {
                return Ok(Self { _lock: lock });
            }
            if Instant::now() >= deadline {
                return Err(NetworkError::Busy(name.to_string()));
            }
            thread::sleep(LOCK_RETRY_INTERVAL);
        }
    }

    /// Whether a lab is being built or taken down now.
    pub(super) fn is_held(name: &LabName) -> bool {
        state_folder().is_ok_and(|folder| FileLock::is_held(&folder.join(format!("{name}.lock"))))
    }
}

/// The names of all labs of this user, complete or not.
///
/// # Errors
/// When the folder of the state files cannot be used.
pub fn names() -> Result<Vec<LabName>, NetworkError> {
    let files = names_in(&state_folder()?);
    let recorded = files.iter().filter_map(|file| file.strip_suffix(".json")?.parse().ok());
    let mut names: Vec<LabName> = recorded.collect();
    if geteuid().is_root() {
        let namespaces = names_in(&NamespaceHost::Machine.namespace_folder());
        names.extend(namespaces.iter().filter_map(|name| lab_of(name)));
    }
    names.sort();
    names.dedup();
    Ok(names)
}

/// The folder of the state files: /run/sow-lab for root, $XDG_RUNTIME_DIR/sow-lab for other users,
/// or a folder of the user in /tmp.
///
/// # Errors
/// When it cannot be made, or belongs to another user.
pub(crate) fn state_folder() -> Result<PathBuf, NetworkError> {
    let user = geteuid();
    let runtime =
        std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    let path = match runtime {
        _ if user.is_root() => PathBuf::from("/run/sow-lab"),
        Some(runtime) if folder_owner(&runtime) == Some(user.as_raw()) => runtime.join("sow-lab"),
        _ => PathBuf::from(format!("/tmp/sow-lab-{}", user.as_raw())),
    };
    match fs::DirBuilder::new().mode(0o700).create(&path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(NetworkError::io(path.display())(error));
        }
        _ => {}
    }
    // In /tmp, another user may have made the folder first.
    if folder_owner(&path) != Some(user.as_raw()) {
        let taken = io::Error::new(io::ErrorKind::PermissionDenied, "it belongs to another user");
        return Err(NetworkError::io(path.display())(taken));
    }
    Ok(path)
}

fn folder_owner(path: &Path) -> Option<u32> {
    fs::symlink_metadata(path).ok().filter(fs::Metadata::is_dir).map(|metadata| metadata.uid())
}
