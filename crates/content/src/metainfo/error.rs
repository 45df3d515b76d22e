//! What can be wrong with a torrent. Each text names the field, and the file where there are many.

use std::fmt::Display;

use super::{MAX_FILES, MAX_METAINFO};
use crate::{bencode::BencodeError, geometry::GeometryError, path::PathError};

/// Why bytes are no torrent that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetainfoError {
    /// Over [`MAX_METAINFO`] bytes.
    #[error("{length} bytes; a torrent of at most {MAX_METAINFO} bytes is accepted")]
    TooLong {
        /// How many bytes there are.
        length: usize,
    },
    /// The bytes as a whole are not what a torrent is made of.
    #[error("not a torrent: {0}")]
    Bencode(#[from] BencodeError),
    /// A field cannot be read.
    #[error("`{field}`: {source}")]
    Field {
        /// Which field, as `info.files[3].length`.
        field: String,
        /// What is wrong with it, and at which byte.
        source: BencodeError,
    },
    /// A field that must be there is not.
    #[error("`{field}` is missing")]
    Missing {
        /// Which.
        field: String,
    },
    /// It describes its content in the way of BitTorrent v2 alone.
    #[error("a torrent of BitTorrent v2 alone; only version 1, and hybrids of both, can be used")]
    V2Only,
    /// A single file's `length` and `files` at the same time.
    #[error("both `info.length` and `info.files`: it cannot be a file and a folder")]
    FileAndFolder,
    /// A length below zero.
    #[error("`{field}` is {value}, which is below zero")]
    Negative {
        /// Which length.
        field: String,
        /// What it says.
        value: i64,
    },
    /// All files together are longer than any disk.
    #[error("the lengths of the files add up to more than 2^63 bytes at `info.files[{index}]`")]
    TotalTooBig {
        /// The file at which the sum is too big.
        index: usize,
    },
    /// A piece length of zero or beyond the bound, or too many pieces.
    #[error("`info.piece length`: {0}")]
    Geometry(#[from] GeometryError),
    /// `pieces` is no row of 20-byte hashes.
    #[error("`info.pieces` has {length} bytes, which is no multiple of 20")]
    RaggedHashes {
        /// Its length in bytes.
        length: usize,
    },
    /// More or fewer hashes than pieces.
    #[error("`info.pieces` holds {got} hashes, but the content has {want} pieces")]
    HashCount {
        /// Hashes that are there.
        got: usize,
        /// Hashes that the length asks for.
        want: u32,
    },
    /// A name or a path that is not accepted.
    #[error("`{field}` is not usable as a file name: {source}")]
    Path {
        /// Which, as `info.files[3].path`.
        field: String,
        /// What is wrong with it.
        source: PathError,
    },
    /// A folder without files.
    #[error("`info.files` is empty")]
    NoFiles,
    /// Over [`MAX_FILES`] files.
    #[error("`info.files` lists over {MAX_FILES} files")]
    TooManyFiles,
    /// The same path twice.
    #[error("`info.files[{index}].path`: {path} is there twice")]
    Duplicate {
        /// The later of the two files.
        index: usize,
        /// The path, printable.
        path: String,
    },
    /// A path that is a file and a folder.
    #[error("`info.files[{index}].path`: {path} needs a folder where another entry has a file")]
    FileIsFolder {
        /// The file inside the folder.
        index: usize,
        /// Its path, printable.
        path: String,
    },
    /// A symbolic link (BEP 47).
    #[error("`info.files[{index}]` is a symbolic link, which is not supported")]
    Symlink {
        /// Which file.
        index: usize,
    },
    /// New content whose files do not add up to its geometry.
    #[error("the files hold {files} bytes, but the content has {total}")]
    TotalMismatch {
        /// The sum over the files.
        files: u64,
        /// What the geometry says.
        total: u64,
    },
}

/// Names the field that a value was read for, where nothing more exact is known.
pub(super) fn field<T, E: Into<MetainfoError>>(
    name: impl Display,
    outcome: Result<T, E>,
) -> Result<T, MetainfoError> {
    outcome.map_err(|error| match error.into() {
        MetainfoError::Bencode(source) => MetainfoError::Field { field: name.to_string(), source },
        error => error,
    })
}
