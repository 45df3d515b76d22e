//! Opening files below a folder without leaving it: no symbolic link on the way is followed, also
//! not the last one. It knows nothing of layouts.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{Mode, OFlags, ResolveFlags, openat, openat2},
    io::Errno,
};

/// Opens a relative path below an open folder. A link anywhere in the path is `ELOOP` or `ENOTDIR`.
pub(crate) fn open_beneath(
    folder: impl AsFd,
    path: &Path,
    flags: OFlags,
    mode: Mode,
) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    match openat2(&folder, path, flags, mode, resolve) {
        // Kernels before Linux 5.6, and sandboxes that forbid what they do not know.
        Err(Errno::NOSYS | Errno::PERM) => open_each(folder, path, flags, mode),
        opened => opened,
    }
}

/// The open folder of a relative path below an open folder.
pub(crate) fn open_parent(folder: impl AsFd, path: &Path) -> Result<OwnedFd, Errno> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    open_beneath(folder, parent.unwrap_or(Path::new(".")), flags, Mode::empty())
}

/// Opens one component after the other.
fn open_each(folder: impl AsFd, path: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    let below = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut parent = openat(folder, ".", below, Mode::empty())?;
    let mut components = path.components().peekable();
    while let Some(component) = components.next() {
        if components.peek().is_none() {
            return openat(&parent, component.as_os_str(), flags, mode);
        }
        parent = openat(&parent, component.as_os_str(), below, Mode::empty())?;
    }
    Err(Errno::NOENT)
}

#[cfg(test)]
mod tests {
    use std::{fs, fs::File, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn no_link_in_a_path_is_followed() {
        let place = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("a"), "").unwrap();
        fs::create_dir(place.path().join("real")).unwrap();
        fs::write(place.path().join("real/a"), "").unwrap();
        symlink(outside.path(), place.path().join("linked")).unwrap();
        symlink("a", place.path().join("real/link")).unwrap();
        let folder = File::open(place.path()).unwrap();
        for open in [open_beneath, open_each] {
            let opens = |path: &str| {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW;
                open(&folder, Path::new(path), flags, Mode::empty()).is_ok()
            };
            assert!(opens("real/a"));
            for path in ["linked/a", "real/link", "real/none", "linked", "real/a/b"] {
                assert!(!opens(path), "{path}");
            }
        }
    }
}
