//! The files of the content by their paths, as requests name them. Paths are looked up and never
//! opened, so no request leaves the content.

use std::{ops::Range, sync::Arc};

use axum::http::HeaderValue;
use sow_content::{Info, InfoHash, percent};

/// First parts of paths that name something else than content.
const RESERVED: [&str; 7] = ["-", ".sow", "announce", "healthz", "metrics", "scrape", "status"];

/// The content as a tree.
#[derive(Debug, Clone)]
pub(super) struct FileTree {
    info: Arc<Info>,
    info_hash: InfoHash,
    /// The files of a folder in the order of their paths, without padding; `None` for one file.
    files: Option<Vec<FileAt>>,
    /// Other content on this server has its name.
    is_name_taken: bool,
}

#[derive(Debug, Clone)]
struct FileAt {
    path: Box<str>,
    range: Range<u64>,
}

/// What a path names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A file, its bytes in the content, and their tag.
    File { name: String, range: Range<u64>, etag: HeaderValue },
    /// A folder, by what the paths of its files begin with: nothing, or a path and a slash.
    Folder { prefix: String },
}

/// An entry of a folder.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Child<'a> {
    Folder(&'a str),
    File(&'a str, u64),
}

impl FileTree {
    pub(super) fn new(info: Arc<Info>, info_hash: InfoHash) -> Self {
        let mut files = Vec::new();
        let mut is_folder = false;
        for span in info.file_spans() {
            is_folder |= span.path.is_some();
            if let (Some(path), false) = (span.path, span.padding) {
                let range = span.offset..span.offset + span.length;
                files.push(FileAt { path: path.as_str().into(), range });
            }
        }
        files.sort_by(|one, other| one.path.cmp(&other.path));
        Self { info, info_hash, files: is_folder.then_some(files), is_name_taken: false }
    }

    /// The same, when other content on this server has its name.
    pub(super) fn with_taken_name(mut self) -> Self {
        self.is_name_taken = true;
        self
    }

    /// The name of the content.
    pub(super) fn name(&self) -> &str {
        &self.info.name
    }

    /// Where the content is on a server.
    pub(super) fn url_path(&self) -> String {
        let name = self.name();
        let mut path = String::from("/");
        if self.is_name_taken || RESERVED.contains(&name) || name.ends_with(".torrent") {
            path.push_str(&self.info_hash.to_string());
        } else {
            path.extend(percent::encode(name.as_bytes(), percent::COMPONENT));
        }
        if self.is_folder() {
            path.push('/');
        }
        path
    }

    pub(super) fn is_folder(&self) -> bool {
        self.files.is_some()
    }

    /// The number of its files.
    pub(super) fn file_count(&self) -> usize {
        self.files.as_ref().map_or(1, Vec::len)
    }

    /// What a path below the name of the content names; `None`: the content itself.
    pub(super) fn find(&self, path: Option<&str>) -> Option<Found> {
        let Some(files) = &self.files else {
            let range = 0..self.info.geometry.total();
            let etag = self.etag(None);
            return path.is_none().then(|| Found::File {
                name: self.name().to_owned(),
                range,
                etag,
            });
        };
        let path = path.unwrap_or_default();
        if path.is_empty() {
            return Some(Found::Folder { prefix: String::new() });
        }
        if let Ok(at) = files.binary_search_by(|file| (*file.path).cmp(path)) {
            let name = path.rsplit('/').next().unwrap_or(path).to_owned();
            let range = files[at].range.clone();
            return Some(Found::File { name, range, etag: self.etag(Some(at)) });
        }
        let prefix = format!("{}/", path.strip_suffix('/').unwrap_or(path));
        let first = files.partition_point(|file| *file.path < *prefix);
        let is_folder = files.get(first).is_some_and(|file| file.path.starts_with(&prefix));
        is_folder.then_some(Found::Folder { prefix })
    }

    /// The entries of a folder: those from `skip` on, in the order of their names.
    pub(super) fn children(&self, prefix: &str, skip: usize) -> impl Iterator<Item = Child<'_>> {
        let files = self.files.as_deref().unwrap_or_default();
        let prefix = prefix.to_owned();
        let mut at = files.partition_point(|file| *file.path < *prefix);
        let children = std::iter::from_fn(move || {
            let file = files.get(at).filter(|file| file.path.starts_with(&prefix))?;
            let rest = &file.path[prefix.len()..];
            let Some((folder, _)) = rest.split_once('/') else {
                at += 1;
                return Some(Child::File(rest, file.range.end - file.range.start));
            };
            // Behind all files of the folder: `0` follows `/`.
            let end = format!("{prefix}{folder}0");
            at += files[at..].partition_point(|file| *file.path < *end);
            Some(Child::Folder(folder))
        });
        children.skip(skip)
    }

    /// The info-hash names the bytes of all files.
    fn etag(&self, file: Option<usize>) -> HeaderValue {
        let text = match file {
            None => format!("\"{}\"", self.info_hash),
            Some(at) => format!("\"{}-{at}\"", self.info_hash),
        };
        HeaderValue::try_from(text).expect("ASCII")
    }
}

#[cfg(test)]
mod tests {
    use sow_content::{
        Geometry,
        metainfo::{FileEntry, Files},
        path::SafePath,
    };

    use super::*;

    fn tree(files: &[(&str, u64)]) -> FileTree {
        let entries = files.iter().map(|(path, length)| FileEntry {
            path: SafePath::parse(path).unwrap(),
            length: *length,
            padding: path.starts_with(".pad"),
        });
        let total = files.iter().map(|(_, length)| length).sum();
        let geometry = Geometry::new(total, 16).unwrap();
        let hashes = vec![[0; 20]; geometry.pieces() as usize];
        let files = Files::Multi(entries.collect());
        let info = Info::from_parts("photos", geometry, files, hashes, false).unwrap();
        FileTree::new(Arc::new(info), InfoHash([0; 20]))
    }

    #[test]
    fn files_and_folders_are_found_and_nothing_else() {
        let tree = tree(&[("b/c/d", 10), (".pad/1", 6), ("b/c.txt", 4), ("b/c0", 1), ("a", 7)]);
        let range = |path| match tree.find(Some(path)) {
            Some(Found::File { range, .. }) => Some(range),
            _ => None,
        };
        assert_eq!(range("b/c/d"), Some(0..10));
        assert_eq!(range("b/c.txt"), Some(16..20));
        assert_eq!(range("a"), Some(21..28));
        let folder = |prefix: &str| Some(Found::Folder { prefix: prefix.to_owned() });
        assert_eq!(tree.find(None), folder(""));
        assert_eq!(tree.find(Some("")), folder(""));
        assert_eq!(tree.find(Some("b")), folder("b/"));
        assert_eq!(tree.find(Some("b/c/")), folder("b/c/"));
        for path in [".pad/1", ".pad", "c", "../a", "b//c", "/a", "a/", "b/c/d/e", "b/./c"] {
            assert_eq!(tree.find(Some(path)), None, "{path}");
        }
    }

    #[test]
    fn a_folder_lists_its_own_entries_once() {
        let tree = tree(&[("b/c/d", 1), ("b/c/e", 2), ("b/c.txt", 4), ("b/c0", 5), ("a", 7)]);
        let names = |prefix: &str, skip| tree.children(prefix, skip).collect::<Vec<_>>();
        assert_eq!(names("", 0), [Child::File("a", 7), Child::Folder("b")]);
        let expected = [Child::File("c.txt", 4), Child::Folder("c"), Child::File("c0", 5)];
        assert_eq!(names("b/", 0), expected);
        assert_eq!(names("b/", 2), [Child::File("c0", 5)]);
        assert_eq!(names("b/c/", 0), [Child::File("d", 1), Child::File("e", 2)]);
    }
}
