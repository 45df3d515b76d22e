//! The comparison of files on the disk with a metainfo. It reads and changes nothing.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError, atomic::AtomicBool},
};

use sow_content::{Bitfield, Info};

use crate::{
    error::StoreError,
    file_set::FileSet,
    layout::Layout,
    part_state::PartState,
    piece_hashing::{HashControl, hash_pieces},
};

/// The result of [`verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The pieces whose bytes all exist and match their hash.
    pub have: Bitfield,
    /// The files that are missing or have another length, in the order of the content.
    pub mismatched: Vec<PathBuf>,
}

impl Verified {
    /// Whether every file has its length and every piece matches. Additional files are ignored.
    pub fn is_identical(&self) -> bool {
        self.have.is_full() && self.mismatched.is_empty()
    }
}

/// Compares the files at `path` with `info`.
///
/// `threads` is the number of hashing threads, 0 for one per core. `progress` is called from any of
/// them with the total number of bytes hashed. A piece with a byte in a missing or short file is
/// not hashed and does not count.
///
/// # Errors
/// When nothing is at `path`; when it is a file and a folder is expected, or the reverse; when a
/// file cannot be read; when `cancel` was set.
pub fn verify(
    info: &Info,
    path: &Path,
    threads: usize,
    progress: &(dyn Fn(u64) + Sync),
    cancel: &AtomicBool,
) -> Result<Verified, StoreError> {
    let files = FileSet::open(Layout::of(info), path)?;
    let state = PartState::examine(&files, &info.geometry)?;
    let control = HashControl { threads, progress, cancel };
    let have = verify_pieces(&files, info, &state.possible, control)?;
    let mut mismatched: Vec<usize> = state.short.iter().chain(&state.long).copied().collect();
    mismatched.sort_unstable();
    let mismatched = mismatched.into_iter().map(|entry| files.path_of(entry)).collect();
    Ok(Verified { have, mismatched })
}

/// Drops what the page cache holds of the files at `path`, as far as it is on the disk, so that
/// [`verify`] reads them from the disk. Errors are ignored.
pub fn drop_page_cache(info: &Info, path: &Path) {
    if let Ok(files) = FileSet::open(Layout::of(info), path) {
        files.drop_page_cache();
    }
}

/// The pieces of `wanted` that match their hash on the disk.
pub(crate) fn verify_pieces(
    files: &FileSet,
    info: &Info,
    wanted: &Bitfield,
    control: HashControl<'_>,
) -> Result<Bitfield, StoreError> {
    let have = Mutex::new(Bitfield::new(info.geometry.pieces()));
    let compare = |piece: u32, hash| {
        if info.piece_hashes.get(piece as usize) == Some(&hash) {
            have.lock().unwrap_or_else(PoisonError::into_inner).set(piece);
        }
    };
    hash_pieces(files, &info.geometry, wanted, control, &compare)?;
    Ok(have.into_inner().unwrap_or_else(PoisonError::into_inner))
}
