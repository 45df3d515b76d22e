//! Distinct paths for the files of a torrent that names a path twice, or uses it for a file and for
//! a folder: the later file, or the file, gets another name, as in libtorrent.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

use super::{FileEntry, warning::Warnings};
use crate::path::{SafePath, numbered};

/// A conflict of the path of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Conflict {
    /// An earlier file has the path.
    Duplicate,
    /// Another file needs a folder with the path.
    Folder,
}

/// The files whose path is taken, by index. The paths of padding files do not matter: these files
/// are never created, and many programs give all padding files of one length the same path.
pub(super) fn conflicts(files: &[FileEntry]) -> BTreeMap<usize, Conflict> {
    let order = sorted(files);
    let mut conflicts = BTreeMap::new();
    for pair in order.windows(2) {
        let (outer, inner) = (files[pair[0]].path.as_str(), files[pair[1]].path.as_str());
        match inner.strip_prefix(outer) {
            Some("") => {
                conflicts.insert(pair[1], Conflict::Duplicate);
            }
            // All that have the path of the folder stand before its content.
            Some(rest) if rest.starts_with('/') => {
                let same = order[..].partition_point(|&index| {
                    by_components(files[index].path.as_str(), outer) == Ordering::Less
                });
                order[same..]
                    .iter()
                    .take_while(|&&index| files[index].path.as_str() == outer)
                    .for_each(|&index| {
                        conflicts.insert(index, Conflict::Folder);
                    });
            }
            _ => {}
        }
    }
    conflicts
}

/// Gives every file whose path is taken another name, beside it.
pub(super) fn make_distinct(files: &mut [FileEntry], warnings: &mut Warnings) {
    let conflicts = conflicts(files);
    if conflicts.is_empty() {
        return;
    }
    let order = sorted(files);
    let mut new: BTreeMap<usize, SafePath> = BTreeMap::new();
    let mut used = BTreeSet::new();
    // How often a path was numbered, so that a path that stands there a million times is not tried
    // from the first number each time.
    let mut numbers: BTreeMap<&SafePath, usize> = BTreeMap::new();
    for &index in conflicts.keys() {
        let path = &files[index].path;
        let number = numbers.entry(path).or_insert(0);
        let free = loop {
            *number += 1;
            let candidate = numbered(path, *number);
            if !is_taken(files, &order, candidate.as_str()) && !used.contains(&candidate) {
                break candidate;
            }
        };
        used.insert(free.clone());
        new.insert(index, free);
    }
    for (index, path) in new {
        let reason = match conflicts[&index] {
            Conflict::Duplicate => "an earlier file has that path",
            Conflict::Folder => "a folder has that path",
        };
        warnings.path_replaced(files[index].path.as_str(), &path, reason);
        files[index].path = path;
    }
}

/// Whether a file or a folder has a path.
fn is_taken(files: &[FileEntry], order: &[usize], path: &str) -> bool {
    let at = order.partition_point(|&index| {
        by_components(files[index].path.as_str(), path) == Ordering::Less
    });
    let next = order.get(at).and_then(|&index| files[index].path.as_str().strip_prefix(path));
    next.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The indexes of all files that are created, by path.
fn sorted(files: &[FileEntry]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..files.len()).filter(|&index| !files[index].padding).collect();
    order.sort_unstable_by(|&a, &b| {
        by_components(files[a].path.as_str(), files[b].path.as_str()).then(a.cmp(&b))
    });
    order
}

/// Compares paths such that the content of a folder directly follows the folder's own name: `/`
/// sorts before every other byte. Names have no NUL, so 0 is free for it.
fn by_components(a: &str, b: &str) -> Ordering {
    let slash_first = |byte| if byte == b'/' { 0 } else { byte };
    a.bytes().map(slash_first).cmp(b.bytes().map(slash_first))
}
