//! The file that a test shares, and folders for copies of it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::support::noise;

/// 2²⁰ bytes.
pub(crate) const MIB: usize = 1 << 20;

/// A file in a temporary folder, with further folders beside it. No path here has a space.
pub(crate) struct SharedFile {
    folder: TempDir,
    /// The file.
    pub(crate) path: PathBuf,
    bytes: Vec<u8>,
}

impl SharedFile {
    /// A file called `A` of bytes that look random, the same for the same size.
    pub(crate) fn file(size: usize) -> Self {
        let bytes = noise(size, size as u64);
        let folder = TempDir::new().expect("a temporary folder can be made");
        let path = folder.path().join("original").join("A");
        fs::create_dir(folder.path().join("original")).expect("a temporary folder can be made");
        fs::write(&path, &bytes).expect("a temporary file can be written");
        Self { folder, path, bytes }
    }

    /// Its length in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// A part of it.
    pub(crate) fn part(&self, start: usize, length: usize) -> &[u8] {
        &self.bytes[start..start + length]
    }

    /// The folder of this name, for a copy or for the files of a program.
    pub(crate) fn subfolder(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::create_dir_all(&path).expect("a temporary folder can be made");
        path
    }

    /// The path of a copy in the folder of this name. The file need not exist.
    pub(crate) fn out(&self, folder: &str) -> PathBuf {
        self.subfolder(folder).join("A")
    }

    /// Places a copy in the folder of this name, so that a peer there is a seed; returns its path.
    pub(crate) fn copy(&self, folder: &str) -> PathBuf {
        let path = self.out(folder);
        fs::hard_link(&self.path, &path).expect("a file can have two names");
        path
    }

    /// Its MD5, computed by coreutils.
    pub(crate) fn md5(&self) -> String {
        let output = Command::new("md5sum")
            .arg(&self.path)
            .output()
            .expect("md5sum (package coreutils) runs");
        String::from_utf8_lossy(&output.stdout).split(' ').next().unwrap_or_default().to_owned()
    }

    /// Fails the test unless `path` is an exact copy.
    #[track_caller]
    pub(crate) fn assert_copied_to(&self, path: &Path) {
        let copy = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(copy.len(), self.bytes.len(), "the length of {}", path.display());
        let differ = copy.iter().zip(&self.bytes).position(|(copy, original)| copy != original);
        assert_eq!(differ, None, "the first byte of {} that differs", path.display());
    }
}
