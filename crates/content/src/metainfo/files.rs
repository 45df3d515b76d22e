//! The files of a torrent: their paths, their lengths and their offsets in the content. Nothing is
//! read from or written to a disk here.

use std::cmp::Ordering;

use super::{MAX_FILES, MetainfoError, error::field};
use crate::{
    bencode::{BencodeError, Encoder, Reader},
    path::{MAX_PATH, PathError, SafePath},
};

/// One file, or a folder of files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Files {
    /// The content is one file with the name of the torrent.
    Single,
    /// The content is a folder with the name of the torrent. Its files follow each other in the
    /// content.
    Multi(Vec<FileEntry>),
}

/// A file in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// The path relative to the torrent's folder.
    pub path: SafePath,
    /// The length in bytes.
    pub length: u64,
    /// Whether this is a padding file (BEP 47): its bytes are zeros, and it is not created on disk.
    pub padding: bool,
}

/// The byte range of a file in the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileSpan<'a> {
    /// The path relative to the torrent's folder; `None` when the content is a single file.
    pub path: Option<&'a SafePath>,
    /// The offset of its first byte in the content.
    pub offset: u64,
    /// The length in bytes.
    pub length: u64,
    /// Whether this is a padding file (BEP 47).
    pub padding: bool,
}

/// Reads `files`.
pub(super) fn read(reader: &mut Reader<'_>) -> Result<Vec<FileEntry>, MetainfoError> {
    let mut files = Vec::new();
    let outcome = reader.list(|index, reader| {
        if index == MAX_FILES {
            return Err(MetainfoError::TooManyFiles);
        }
        files.push(field(format_args!("info.files[{index}]"), read_entry(index, reader))?);
        Ok(())
    });
    field("info.files", outcome)?;
    Ok(files)
}

/// Writes `files`.
pub(super) fn write(files: &[FileEntry], encoder: &mut Encoder) {
    encoder.list(|encoder| {
        for file in files {
            encoder.dict(|dict| {
                if file.padding {
                    dict.bytes(b"attr", b"p");
                }
                dict.int(b"length", file.length as i64);
                dict.entry(b"path", |encoder| {
                    encoder.list(|encoder| {
                        file.path.components().for_each(|name| encoder.bytes(name.as_bytes()))
                    });
                });
            });
        }
    });
}

/// The sum of the lengths.
pub(super) fn total(files: &[FileEntry]) -> Result<u64, MetainfoError> {
    let mut total = 0i64;
    for (index, file) in files.iter().enumerate() {
        let sum = i64::try_from(file.length).ok().and_then(|length| total.checked_add(length));
        total = sum.ok_or(MetainfoError::TotalTooBig { index })?;
    }
    Ok(total as u64)
}

/// Rejects an empty list, duplicate paths, and a file where another path needs a folder. The paths
/// of padding files do not matter: these files are never created, and many programs give all
/// padding files of one length the same path.
pub(super) fn check(files: &[FileEntry]) -> Result<(), MetainfoError> {
    if files.is_empty() {
        return Err(MetainfoError::NoFiles);
    }
    let mut order: Vec<usize> = (0..files.len()).filter(|&index| !files[index].padding).collect();
    order.sort_unstable_by(|&a, &b| by_components(&files[a].path, &files[b].path).then(a.cmp(&b)));
    for pair in order.windows(2) {
        let (outer, inner) = (files[pair[0]].path.as_str(), files[pair[1]].path.as_str());
        match inner.strip_prefix(outer) {
            Some("") => {
                let path = files[pair[1]].path.to_string();
                return Err(MetainfoError::Duplicate { index: pair[1], path });
            }
            Some(rest) if rest.starts_with('/') => {
                let path = files[pair[1]].path.to_string();
                return Err(MetainfoError::FileIsFolder { index: pair[1], path });
            }
            _ => {}
        }
    }
    Ok(())
}

/// The byte range of each file, in the order of the content.
pub(super) fn spans(files: &Files, total: u64) -> impl Iterator<Item = FileSpan<'_>> {
    let single = matches!(files, Files::Single).then_some(FileSpan {
        path: None,
        offset: 0,
        length: total,
        padding: false,
    });
    let entries = if let Files::Multi(entries) = files { entries.as_slice() } else { &[] };
    single.into_iter().chain(entries.iter().scan(0, |offset, file| {
        let start = *offset;
        *offset += file.length;
        Some(FileSpan {
            path: Some(&file.path),
            offset: start,
            length: file.length,
            padding: file.padding,
        })
    }))
}

fn read_entry(index: usize, reader: &mut Reader<'_>) -> Result<FileEntry, MetainfoError> {
    let (mut path, mut utf8_path, mut length, mut attributes) = (None, None, None, &b""[..]);
    reader.dict(|key, reader| {
        let name = format_args!("info.files[{index}].{}", key.escape_ascii());
        match key {
            b"length" => length = Some(field(name, reader.int())?),
            b"path" => path = Some(field(name, read_path(reader))?),
            b"path.utf-8" => utf8_path = Some(field(name, read_path(reader))?),
            b"attr" => attributes = field(name, reader.bytes())?,
            _ => {}
        }
        Ok::<_, MetainfoError>(())
    })?;
    if attributes.contains(&b'l') {
        return Err(MetainfoError::Symlink { index });
    }
    let name = |part| format!("info.files[{index}].{part}");
    let length = length.ok_or_else(|| MetainfoError::Missing { field: name("length") })?;
    // Old programs write `path` in their local encoding, and `path.utf-8` beside it.
    let path = utf8_path.or(path).ok_or_else(|| MetainfoError::Missing { field: name("path") })?;
    Ok(FileEntry {
        path: path.map_err(|source| MetainfoError::Path { field: name("path"), source })?,
        length: length
            .try_into()
            .map_err(|_| MetainfoError::Negative { field: name("length"), value: length })?,
        padding: attributes.contains(&b'p'),
    })
}

fn read_path(reader: &mut Reader<'_>) -> Result<Result<SafePath, PathError>, BencodeError> {
    let mut components = Vec::new();
    reader.list(|index, reader| {
        let component = reader.bytes()?;
        // More components than this exceed `MAX_PATH` at any length.
        if index < MAX_PATH {
            components.push(component);
        }
        Ok::<_, BencodeError>(())
    })?;
    Ok(SafePath::from_components(components))
}

/// Compares paths such that the content of a folder directly follows the folder's own name: `/`
/// sorts before every other byte. Names have no NUL, so 0 is free for it.
fn by_components(a: &SafePath, b: &SafePath) -> Ordering {
    let slash_first = |byte| if byte == b'/' { 0 } else { byte };
    a.as_str().bytes().map(slash_first).cmp(b.as_str().bytes().map(slash_first))
}
