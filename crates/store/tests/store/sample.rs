//! Content for tests, made from a seed, with its metainfo, and functions that read files back.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use sow_content::{
    Geometry, Info, InfoHash, SafePath,
    hash::sha1,
    metainfo::{FileEntry, Files, Metainfo},
};

/// Content in memory and its metainfo.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) info: Info,
    pub(crate) info_hash: InfoHash,
    pub(crate) bytes: Bytes,
}

/// A file of a folder: its path, its length, and whether it is padding.
pub(crate) type FileSpec<'a> = (&'a str, u64, bool);

impl Sample {
    /// One file called `content`.
    pub(crate) fn file(length: u64, piece_length: u64, seed: u64) -> Self {
        Self::new(Files::Single, random(length, seed), piece_length)
    }

    /// A folder called `content`.
    pub(crate) fn folder(files: &[FileSpec<'_>], piece_length: u64, seed: u64) -> Self {
        let entry = |&(path, length, padding): &FileSpec<'_>| FileEntry {
            path: SafePath::parse(path).unwrap(),
            length,
            padding,
        };
        let mut bytes = random(files.iter().map(|file| file.1).sum(), seed);
        let mut at = 0;
        for &(_, length, padding) in files {
            if padding {
                bytes[at..at + length as usize].fill(0);
            }
            at += length as usize;
        }
        Self::new(Files::Multi(files.iter().map(entry).collect()), bytes, piece_length)
    }

    pub(crate) fn new(files: Files, bytes: Vec<u8>, piece_length: u64) -> Self {
        let geometry = Geometry::new(bytes.len() as u64, piece_length).unwrap();
        let hashes = (0..geometry.pieces()).map(|piece| {
            let range = geometry.range_of(piece);
            sha1(&bytes[range.start as usize..range.end as usize])
        });
        let info = Info::from_parts("content", geometry, files, hashes.collect(), false).unwrap();
        let info_hash = Metainfo::new(info.clone()).info_hash;
        Self { info, info_hash, bytes: bytes.into() }
    }

    /// The bytes of a piece in blocks of `block_length` bytes.
    pub(crate) fn blocks(&self, piece: u32, block_length: usize) -> Vec<Bytes> {
        let piece = self.piece(piece);
        (0..piece.len())
            .step_by(block_length)
            .map(|at| piece.slice(at..(at + block_length).min(piece.len())))
            .collect()
    }

    pub(crate) fn piece(&self, piece: u32) -> Bytes {
        let range = self.info.geometry.range_of(piece);
        self.bytes.slice(range.start as usize..range.end as usize)
    }

    /// The files that the finished content has: relative path (empty for a single file) and bytes.
    pub(crate) fn tree(&self) -> BTreeMap<PathBuf, Bytes> {
        let spans = self.info.file_spans().filter(|span| !span.padding);
        spans
            .map(|span| {
                let path = span.path.map(|path| path.as_path().to_owned()).unwrap_or_default();
                (path, self.bytes.slice(span.offset as usize..(span.offset + span.length) as usize))
            })
            .collect()
    }

    /// Writes the finished content to `path`.
    pub(crate) fn write_to(&self, path: &Path) {
        for (name, bytes) in self.tree() {
            let path = if name.as_os_str().is_empty() { path.to_owned() } else { path.join(name) };
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }
}

/// All files below `path`, or `path` itself if it is a file.
pub(crate) fn read_tree(path: &Path) -> BTreeMap<PathBuf, Bytes> {
    fn walk(root: &Path, path: &Path, tree: &mut BTreeMap<PathBuf, Bytes>) {
        if path.is_dir() {
            for entry in fs::read_dir(path).unwrap() {
                walk(root, &entry.unwrap().path(), tree);
            }
        } else {
            tree.insert(
                path.strip_prefix(root).unwrap().to_owned(),
                fs::read(path).unwrap().into(),
            );
        }
    }
    let mut tree = BTreeMap::new();
    walk(path, path, &mut tree);
    tree
}

/// The names in a folder, sorted.
pub(crate) fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Copies a file, or a folder with all its contents.
pub(crate) fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        fs::copy(from, to).unwrap();
    }
}

/// Random bytes.
pub(crate) fn random(length: u64, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; length as usize];
    fastrand::Rng::with_seed(seed).fill(&mut bytes);
    bytes
}
