//! What is noted down of each lab: one file, and a lock that is held while a lab is built or taken
//! down.
//!
//! The notes say what a lab was meant to be. Whether it is there is asked of the system.

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
    DelayMethod, LabName, NetworkError, Topology, address::lab_of, processes::names_in,
    realm::Realm,
};
use crate::lock;

/// Longer than taking down a large lab needs.
const LOCK_PATIENCE: Duration = Duration::from_secs(20);

/// What is noted down of a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// What was asked for.
    pub(super) topology: Topology,
    /// Where its namespaces are.
    pub(super) realm: Realm,
    /// How frames are delayed; `None` until it is built.
    pub(super) delay: Option<DelayMethod>,
    /// The relay and when it was started, in clock ticks since boot.
    pub(super) relay: Option<(u32, u64)>,
}

impl State {
    /// The notes on a lab; `None` when there are none, or none that can be read.
    pub(super) fn read(name: &LabName) -> Result<Option<Self>, NetworkError> {
        let path = folder()?.join(format!("{name}.json"));
        match fs::read(&path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(NetworkError::io(path.display())(error)),
        }
    }

    /// Replaces the notes.
    pub(super) fn write(&self) -> Result<(), NetworkError> {
        let name = &self.topology.name;
        let folder = folder()?;
        let path = folder.join(format!("{name}.json"));
        let next = folder.join(format!("{name}.json.new"));
        let bytes = serde_json::to_vec_pretty(self).map_err(io::Error::other);
        let written =
            bytes.and_then(|bytes| fs::write(&next, bytes)).and_then(|()| fs::rename(&next, &path));
        written.map_err(NetworkError::io(path.display()))
    }

    /// Removes the notes.
    pub(super) fn remove(name: &LabName) -> Result<(), NetworkError> {
        let folder = folder()?;
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

/// Held while a lab is built or taken down. The file goes with it.
///
/// A process that was forked and has not become its program yet holds it, too: with the lock,
/// nothing of an earlier command is about to appear.
#[derive(Debug)]
pub(super) struct Lock {
    _lock: lock::Lock,
}

impl Lock {
    /// Takes the lock of a lab; waits for a while when another has it.
    pub(super) fn take(name: &LabName) -> Result<Self, NetworkError> {
        let path = folder()?.join(format!("{name}.lock"));
        let deadline = Instant::now() + LOCK_PATIENCE;
        loop {
            if let Some(lock) =
                lock::Lock::try_take(&path).map_err(NetworkError::io(path.display()))?
            {
                return Ok(Self { _lock: lock });
            }
            if Instant::now() >= deadline {
                return Err(NetworkError::Busy(name.to_string()));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether a lab is being built or taken down just now.
    pub(super) fn is_held(name: &LabName) -> bool {
        folder().is_ok_and(|folder| lock::Lock::is_held(&folder.join(format!("{name}.lock"))))
    }
}

/// The names of all labs of this user of which there is anything.
///
/// # Errors
/// When the folder of the notes cannot be had.
pub fn names() -> Result<Vec<LabName>, NetworkError> {
    let noted = names_in(&folder()?);
    let noted = noted.iter().filter_map(|file| file.strip_suffix(".json")?.parse().ok());
    let mut names: Vec<LabName> = noted.collect();
    if geteuid().is_root() {
        names.extend(names_in(&Realm::Machine.namespaces()).iter().filter_map(|name| lab_of(name)));
    }
    names.sort();
    names.dedup();
    Ok(names)
}

/// Where the notes are: /run/sow-lab for root, $XDG_RUNTIME_DIR/sow-lab for others, or a folder of
/// one's own in /tmp.
///
/// # Errors
/// When it cannot be made, or is somebody else's.
pub(crate) fn folder() -> Result<PathBuf, NetworkError> {
    let me = geteuid();
    let runtime =
        std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    let path = match runtime {
        _ if me.is_root() => PathBuf::from("/run/sow-lab"),
        Some(runtime) if owner(&runtime) == Some(me.as_raw()) => runtime.join("sow-lab"),
        _ => PathBuf::from(format!("/tmp/sow-lab-{}", me.as_raw())),
    };
    match fs::DirBuilder::new().mode(0o700).create(&path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(NetworkError::io(path.display())(error));
        }
        _ => {}
    }
    // In /tmp, somebody else may have been there first.
    if owner(&path) != Some(me.as_raw()) {
        let taken = io::Error::new(io::ErrorKind::PermissionDenied, "it belongs to somebody else");
        return Err(NetworkError::io(path.display())(taken));
    }
    Ok(path)
}

fn owner(path: &Path) -> Option<u32> {
    fs::symlink_metadata(path).ok().filter(fs::Metadata::is_dir).map(|metadata| metadata.uid())
}
