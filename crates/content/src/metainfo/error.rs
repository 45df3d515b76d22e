//! Metainfo errors. Each message names the field, and the index of the file where there are many.

use std::fmt::Display;

use super::limits::{MAX_FILES, MAX_METAINFO};
use crate::{bencode::BencodeError, geometry::GeometryError, path::PathError};

/// Why a torrent is rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetainfoError {
    /// More than [`MAX_METAINFO`] bytes.
    #[error("the torrent has {length} bytes; the limit is {MAX_METAINFO}")]
    TooLong {
        /// The number of bytes.
        length: usize,
    },
    /// The bytes as a whole are not bencoded, or not a dictionary.
    #[error("not a torrent: {0}")]
    Bencode(#[from] BencodeError),
    /// A field is not valid.
    #[error("`{field}`: {source}")]
    Field {
        /// The field, such as `info.files[3].length`.
        field: String,
        /// The error, with the byte position.
        source: BencodeError,
    },
    /// A required field is missing.
    #[error("`{field}` is missing")]
    Missing {
        /// The field, such as `info.name`.
        field: String,
    },
    /// The torrent has BitTorrent v2 metadata only.
    #[error("this is a BitTorrent v2 torrent; only v1 and hybrid torrents are supported")]
    V2Only,
    /// A negative length.
    #[error("`{field}` is {value}, which is negative")]
    Negative {
        /// The field, such as `info.length`.
        field: String,
        /// Its value.
        value: i64,
    },
    /// The sum of the file lengths exceeds 63 bits.
    #[error("the lengths of the files add up to more than 2^63 bytes at `info.files[{index}]`")]
    TotalTooBig {
        /// The index of the file at which the sum overflows.
        index: usize,
    },
    /// The piece length is zero or too large, or there are too many pieces.
    #[error("`info.piece length`: {0}")]
    Geometry(#[from] GeometryError),
    /// `pieces` is not a sequence of 20-byte hashes.
    #[error("`info.pieces` has {length} bytes, which is not a multiple of 20")]
    PiecesLength {
        /// Its length in bytes.
        length: usize,
    },
    /// The number of hashes is not the number of pieces.
    #[error("`info.pieces` has {got} hashes, but the content has {want} pieces")]
    HashCount {
        /// The number of hashes.
        got: usize,
        /// The number of pieces.
        want: u32,
    },
    /// A name or a path is rejected.
    #[error("`{field}` cannot be used as a file name: {source}")]
    Path {
        /// The field, such as `info.files[3].path`.
        field: String,
        /// Why it is rejected.
        source: PathError,
    },
    /// A folder without files.
    #[error("`info.files` is empty")]
    NoFiles,
    /// More than [`MAX_FILES`] files.
    #[error("`info.files` has more than {MAX_FILES} files")]
    TooManyFiles,
    /// Two files have the same path.
    #[error("`info.files[{index}].path`: {path} appears twice")]
    Duplicate {
        /// The index of the later file.
        index: usize,
        /// The path, printable.
        path: String,
    },
    /// A path is a file and a folder.
    #[error("`info.files[{index}].path`: {path} is a file and a folder")]
    FileIsFolder {
        /// The index of the file.
        index: usize,
        /// Its path, printable.
        path: String,
    },
    /// A symbolic link (BEP 47).
    #[error("`info.files[{index}]` is a symbolic link, which is not supported")]
    Symlink {
        /// The index of the file.
        index: usize,
    },
    /// The file lengths of new content do not add up to its geometry.
    #[error("the files have {files} bytes, but the content has {total}")]
    TotalMismatch {
        /// The sum of the file lengths.
        files: u64,
        /// The total of the geometry.
        total: u64,
    },
}

/// Adds the name of the field to an error that does not name one yet.
pub(super) fn field<T, E: Into<MetainfoError>>(
    name: impl Display,
    outcome: Result<T, E>,
) -> Result<T, MetainfoError> {
    outcome.map_err(|error| match error.into() {
        MetainfoError::Bencode(source) => MetainfoError::Field { field: name.to_string(), source },
        error => error,
    })
}

pub(super) fn check_length(bytes: &[u8]) -> Result<(), MetainfoError> {
    match bytes.len() {
        length if length > MAX_METAINFO => Err(MetainfoError::TooLong { length }),
        _ => Ok(()),
    }
}
