//! Content to share, and what lies in a folder. Nothing here runs a program.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Bytes that look random, the same for the same seed.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut bytes = vec![0; length];
    random.fill(&mut bytes);
    bytes
}

/// A file of such bytes; its length is the seed.
pub fn noise_file(folder: &Path, name: &str, length: usize) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, noise(length, length as u64)).expect("the test's folder can be written");
    path
}

/// A path as an argument of a command.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("the test's paths are UTF-8")
}

/// Every file below a path with its bytes. A single file has the empty name; a path that does not
/// exist has no files.
pub fn tree(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut unvisited = vec![root.to_owned()];
    while let Some(path) = unvisited.pop() {
        if let Ok(entries) = fs::read_dir(&path) {
            unvisited.extend(entries.map(|entry| entry.expect("an entry").path()));
        } else if let Ok(bytes) = fs::read(&path) {
            files.insert(path.strip_prefix(root).expect("it is below").to_owned(), bytes);
        }
    }
    files
}

/// The names of the entries of a folder, sorted.
pub fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .expect("a folder of the test")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
