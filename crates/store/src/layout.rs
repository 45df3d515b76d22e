//! Where each byte of the content lies: which file, at which offset. Arithmetic alone; nothing here
//! opens a file.

use std::{collections::BTreeSet, ops::Range, path::Path};

use sow_content::{
    metainfo::{FileEntry, Files, Info},
    path::SafePath,
};

/// The files of some content in the order in which their bytes follow each other.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    entries: Vec<Entry>,
    total: u64,
    folder: bool,
}

/// A file and its place in the content.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    path: Option<SafePath>,
    /// Where its first byte lies in the content.
    pub(crate) offset: u64,
    /// In bytes.
    pub(crate) length: u64,
    /// Not on the disk.
    pub(crate) padding: bool,
}

/// A part of a file that is part of a range of the content. Never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// Which entry of the layout.
    pub(crate) entry: usize,
    /// Where it begins in that file.
    pub(crate) offset: u64,
    /// In bytes, at least 1.
    pub(crate) length: u64,
    /// The entry is not on the disk: zeros.
    pub(crate) padding: bool,
}

impl Entry {
    /// Relative to the folder; empty when the content is a single file.
    pub(crate) fn path(&self) -> &Path {
        self.path.as_ref().map_or(Path::new(""), SafePath::as_path)
    }

    /// The byte after its last one in the content.
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

    /// A folder with these files. `None` when their lengths add up to more than a `u64` holds.
    pub(crate) fn folder(files: impl IntoIterator<Item = FileEntry>) -> Option<Self> {
        let mut total = 0u64;
        let mut entries = Vec::new();
        for FileEntry { path, length, padding } in files {
            entries.push(Entry { path: Some(path), offset: total, length, padding });
            total = total.checked_add(length)?;
        }
        Some(Self { entries, total, folder: true })
    }

    /// Bytes in all, padding included.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// Whether it is a folder rather than one file.
    pub(crate) fn is_folder(&self) -> bool {
        self.folder
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The files that are on the disk, with their index.
    pub(crate) fn on_disk(&self) -> impl Iterator<Item = (usize, &Entry)> {
        self.entries.iter().enumerate().filter(|(_, entry)| !entry.padding)
    }

    /// The parts of files that make up a range of the content, in order; files without bytes do not
    /// appear.
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

    /// Every folder below the root that holds a file on the disk, parents before children, each
    /// once.
    pub(crate) fn folders(&self) -> Vec<&Path> {
        let mut seen = BTreeSet::new();
        for (_, entry) in self.on_disk() {
            // Files of one folder mostly follow each other: stop at the first ancestor that is
            // known.
            for folder in
                entry.path().ancestors().skip(1).take_while(|folder| *folder != Path::new(""))
            {
                if !seen.insert(folder) {
                    break;
                }
            }
        }
        // `Path` orders by component, so a parent comes before what is in it.
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
    fn a_range_over_several_files_skips_the_empty_ones() {
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
    fn lengths_that_overflow_are_refused() {
        let huge = |name| FileEntry { length: u64::MAX, ..file(name) };
        assert!(Layout::folder([huge("a"), huge("b")]).is_none());
        assert!(Layout::folder([huge("a")]).is_some());
    }

    #[test]
    fn folders_come_parents_first_and_once() {
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
        /// Spans of any range follow each other without a gap and are what a byte by byte search
        /// finds.
        #[test]
        fn spans_are_what_a_search_finds(
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
            let bytes = lengths.iter().enumerate().flat_map(|(entry, &(length, _))| (0..length).map(move |at| (entry, at)));
            let want: Vec<_> = bytes.skip(range.start as usize).take((range.end - range.start) as usize).collect();
            prop_assert_eq!(found, want);
        }
    }
}
