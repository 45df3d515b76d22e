//! The file that a test shares, and room for copies of it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

/// 2²⁰ bytes.
pub(crate) const MIB: usize = 1 << 20;

/// A file in a temporary folder, and room beside it. No path here has a space.
pub(crate) struct Shared {
    folder: TempDir,
    /// The file.
    pub(crate) path: PathBuf,
    bytes: Vec<u8>,
}

impl Shared {
    /// A file called `A` of bytes that look random, the same for the same size.
    pub(crate) fn file(size: usize) -> Self {
        let mut bytes = vec![0; size];
        fastrand::Rng::with_seed(size as u64).fill(&mut bytes);
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

    /// A folder for a copy, or for what a program needs; made when it is not there.
    pub(crate) fn room(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::create_dir_all(&path).expect("a temporary folder can be made");
        path
    }

    /// A path in a room of this name, where nothing is yet.
    pub(crate) fn out(&self, room: &str) -> PathBuf {
        self.room(room).join("A")
    }

    /// A folder that has the file already, so that a peer there is a seed; the path of the copy.
    pub(crate) fn copy(&self, room: &str) -> PathBuf {
        let path = self.out(room);
        fs::hard_link(&self.path, &path).expect("a file can have two names");
        path
    }

    /// Its MD5, by coreutils.
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
