//! The layout of content: the file and the offset of each byte. Arithmetic only; nothing here opens
//! a file.

use std::{collections::BTreeSet, ops::Range, path::Path};

use sow_content::{
    metainfo::{FileEntry, Files, Info},
    path::SafePath,
};

/// The files of some content in the order of their bytes.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    entries: Vec<Entry>,
    total: u64,
    folder: bool,
}

/// A file and its position in the content.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    path: Option<SafePath>,
    /// The offset of its first byte in the content.
    pub(crate) offset: u64,
    /// In bytes.
    pub(crate) length: u64,
    /// A padding file, which is not on the disk.
    pub(crate) padding: bool,
}

/// The overlap of a file with a range of the content. Never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// The index of the file in the layout.
    pub(crate) entry: usize,
    /// The offset of the overlap in the file.
    pub(crate) offset: u64,
    /// In bytes, at least 1.
    pub(crate) length: u64,
    /// The file is padding: zeros that are not on the disk.
    pub(crate) padding: bool,
}

impl Entry {
    /// The path relative to the folder. Empty when the content is a single file.
    pub(crate) fn path(&self) -> &Path {
        self.path.as_ref().map_or(Path::new(""), SafePath::as_path)
    }

    /// The offset after its last byte in the content.
    pub(crate) fn end(&self) -> u64 {
        self.offset + self.length
    }
}

impl Layout {
    /// The layout of content that a metainfo describes.
    pub(crate) fn of(info: &Info) -> Self {
        let entry = |span: sow_content::metainfo::FileSpan<'_>| Entry {
            path: span.path.cloned(),
            offset: span.offset,
            length: span.length,
            padding: span.padding,
        };
        Self {
            entries: info.file_spans().map(entry).collect(),
            total: info.geometry.total(),
            folder: matches!(info.files, Files::Multi(_)),
        }
    }

    /// One file of `length` bytes.
    pub(crate) fn single(length: u64) -> Self {
        let entry = Entry { path: None, offset: 0, length, padding: false };
        Self { entries: vec![entry], total: length, folder: false }
    }

    /// A folder with these files. `None` when the sum of their lengths overflows a `u64`.
    pub(crate) fn folder(files: impl IntoIterator<Item = FileEntry>) -> Option<Self> {
        let mut total = 0u64;
        let mut entries = Vec::new();
        for FileEntry { path, length, padding } in files {
            entries.push(Entry { path: Some(path), offset: total, length, padding });
            total = total.checked_add(length)?;
        }
        Some(Self { entries, total, folder: true })
    }

    /// The length of the content in bytes, padding included.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// Whether the content is a folder, not a single file.
    pub(crate) fn is_folder(&self) -> bool {
        self.folder
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The files that are on the disk, with their indices.
    pub(crate) fn on_disk(&self) -> impl Iterator<Item = (usize, &Entry)> {
        self.entries.iter().enumerate().filter(|(_, entry)| !entry.padding)
    }

    /// The overlaps of the files with a range of the content, in order. Empty files are left out.
    pub(crate) fn spans(&self, range: Range<u64>) -> impl Iterator<Item = Span> + '_ {
        let first = self.entries.partition_point(|entry| entry.end() <= range.start);
        let inside = self.entries[first..].iter().take_while(move |entry| entry.offset < range.end);
        inside.enumerate().filter_map(move |(at, entry)| {
            let start = range.start.max(entry.offset);
            let end = range.end.min(entry.end());
            (start < end).then(|| Span {
                entry: first + at,
                offset: start - entry.offset,
                length: end - start,
                padding: entry.padding,
            })
        })
    }

    /// Every folder below the root that contains a file on the disk. Parents come before children.
    pub(crate) fn folders(&self) -> Vec<&Path> {
        let mut seen = BTreeSet::new();
        for (_, entry) in self.on_disk() {
            // Most files of a folder are consecutive, so the first known ancestor ends the search.
            for folder in
                entry.path().ancestors().skip(1).take_while(|folder| *folder != Path::new(""))
            {
                if !seen.insert(folder) {
                    break;
                }
            }
        }
        // `Path` orders by component, so a parent precedes its children.
        seen.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn folder(lengths: &[(u64, bool)]) -> Layout {
        let file = |(i, &(length, padding)): (usize, _)| FileEntry {
            length,
            padding,
            ..file(&format!("f{i}"))
        };
        Layout::folder(lengths.iter().enumerate().map(file)).unwrap()
    }

    fn file(path: &str) -> FileEntry {
        FileEntry { path: SafePath::parse(path).unwrap(), length: 1, padding: false }
    }

    #[test]
    fn the_spans_of_a_range_leave_out_empty_files() {
        let layout = folder(&[(3, false), (0, false), (2, true), (4, false)]);
        assert_eq!(layout.total(), 9);
        let spans: Vec<_> = layout.spans(2..7).collect();
        assert_eq!(
            spans,
            [
                Span { entry: 0, offset: 2, length: 1, padding: false },
                Span { entry: 2, offset: 0, length: 2, padding: true },
                Span { entry: 3, offset: 0, length: 2, padding: false },
            ]
        );
        assert_eq!(layout.spans(4..4).count(), 0);
        assert_eq!(layout.spans(9..20).count(), 0);
    }

    #[test]
    fn lengths_that_overflow_are_rejected() {
        let huge = |name| FileEntry { length: u64::MAX, ..file(name) };
        assert!(Layout::folder([huge("a"), huge("b")]).is_none());
        assert!(Layout::folder([huge("a")]).is_some());
    }

    #[test]
    fn each_folder_is_listed_once_after_its_parent() {
        let padding = FileEntry { padding: true, ..file(".pad/7") };
        let files = [
            file("b/c/1"),
            file("b/c/2"),
            file("b/3"),
            padding,
            file("a/4"),
            file("5"),
            file("b/c/d/6"),
        ];
        let layout = Layout::folder(files).unwrap();
        assert_eq!(layout.folders(), ["a", "b", "b/c", "b/c/d"].map(Path::new));
    }

    proptest! {
        /// The spans of any range have no gap and equal the result of a search byte by byte.
        #[test]
        fn spans_equal_a_search_byte_by_byte(
            lengths in prop::collection::vec((0u64..20, any::<bool>()), 0..12),
            a in 0u64..260,
            b in 0u64..260,
        ) {
            let layout = folder(&lengths);
            let range = a.min(b).min(layout.total())..a.max(b).min(layout.total());
            let mut found = Vec::new();
            for span in layout.spans(range.clone()) {
                prop_assert!(span.length > 0);
                found.extend((span.offset..span.offset + span.length).map(|at| (span.entry, at)));
            }
            let entries = lengths.iter().enumerate();
            let bytes = entries
                .flat_map(|(entry, &(length, _))| (0..length).map(move |at| (entry, at)));
            let (skip, length) = (range.start as usize, (range.end - range.start) as usize);
            let want: Vec<_> = bytes.skip(skip).take(length).collect();
            prop_assert_eq!(found, want);
        }
    }
}
