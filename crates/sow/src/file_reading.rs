//! Reading a small file with a limit on its size.

use std::{fs::File, io::Read, path::Path};

use crate::{exit::Failure, file_errors};

/// The contents of a file, at most one byte more than `limit`: a longer result means that the file
/// is too long.
///
/// # Errors
/// When it cannot be opened or read.
pub(crate) fn read_at_most(path: &Path, limit: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| file_errors::cannot_read(path, &error))?;
    Ok(bytes)
}
