//! The files of a torrent: their paths, their lengths and their offsets in the content. Nothing is
//! read from or written to a disk here.

use super::{
    MAX_FILES, MetainfoError,
    distinct::{Conflict, conflicts},
    error::field,
    warning::Warnings,
};
use crate::{
    bencode::{BencodeError, Encoder, Reader},
    path::{MAX_PATH, SafePath, usable_path},
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
pub(super) fn read(
    reader: &mut Reader<'_>,
    warnings: &mut Warnings,
) -> Result<Vec<FileEntry>, MetainfoError> {
    let mut files = Vec::new();
    let outcome = reader.list(|index, reader| {
        if index == MAX_FILES {
            return Err(MetainfoError::TooManyFiles);
        }
        let entry = read_entry(index, reader, warnings);
        files.push(field(format_args!("info.files[{index}]"), entry)?);
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

/// Rejects an empty list, duplicate paths, and a file where another path needs a folder: for new
/// content.
pub(super) fn check(files: &[FileEntry]) -> Result<(), MetainfoError> {
    if files.is_empty() {
        return Err(MetainfoError::NoFiles);
    }
    match conflicts(files).first_key_value() {
        None => Ok(()),
        Some((&index, conflict)) => {
            let path = files[index].path.to_string();
            Err(match conflict {
                Conflict::Duplicate => MetainfoError::Duplicate { index, path },
                Conflict::Folder => MetainfoError::FileIsFolder { index, path },
            })
        }
    }
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

fn read_entry(
    index: usize,
    reader: &mut Reader<'_>,
    warnings: &mut Warnings,
) -> Result<FileEntry, MetainfoError> {
    let (mut path, mut utf8_path, mut length, mut attributes) = (None, None, None, &b""[..]);
    reader.dict(|key, reader| {
        let name = || format!("info.files[{index}].{}", key.escape_ascii());
        match key {
            b"length" => length = Some(field(name(), reader.int())?),
            b"path" => path = Some(field(name(), reader.attempt(read_path))?),
            b"path.utf-8" => match field(name(), reader.attempt(read_path))? {
                Ok(read) => utf8_path = Some(read),
                Err(_) => warnings.ignored(name()),
            },
            b"attr" => match field(name(), reader.attempt(Reader::bytes))? {
                Ok(read) => attributes = read,
                Err(_) => warnings.ignored(name()),
            },
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
    let components = match (utf8_path, path) {
        (Some(read), _) => read,
        (None, Some(read)) => field(name("path"), read)?,
        // A padding file is not created, so it needs no path.
        (None, None) if attributes.contains(&b'p') => vec![&b"pad"[..]],
        (None, None) => return Err(MetainfoError::Missing { field: name("path") }),
    };
    let length = u64::try_from(length)
        .map_err(|_| MetainfoError::Negative { field: name("length"), value: length })?;
    let padding = attributes.contains(&b'p');
    let (path, is_replaced) = usable_path(&components);
    if is_replaced && !padding {
        let original = String::from_utf8_lossy(&components.join(&b'/')).into_owned();
        warnings.path_replaced(&original, &path, "no file can have that path");
    }
    Ok(FileEntry { path, length, padding })
}

/// The components of a path. Of more than [`MAX_PATH`], which no path can have, only the last one
/// is kept beside the first ones.
fn read_path<'a>(reader: &mut Reader<'a>) -> Result<Vec<&'a [u8]>, BencodeError> {
    let mut components = Vec::new();
    reader.list(|index, reader| {
        let component = reader.bytes()?;
        if index >= MAX_PATH {
            components.pop();
        }
        components.push(component);
        Ok::<_, BencodeError>(())
    })?;
    Ok(components)
}
