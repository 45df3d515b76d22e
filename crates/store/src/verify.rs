//! Is content that lies on the disk the content that a metainfo describes? Reads; writes nothing.

use std::{
    ops::Range,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError, atomic::AtomicBool},
};

use sow_content::{Bitfield, Geometry, Info};

use crate::{
    error::StoreError,
    files::{FileSet, Found},
    hashing::{Work, hash_pieces},
    layout::Layout,
};

/// What [`verify`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The pieces whose bytes are all there and right.
    pub have: Bitfield,
    /// The files that are missing or have another length, in the order of the content.
    pub misfits: Vec<PathBuf>,
}

impl Verified {
    /// Whether every file is there with its length and every piece is right. Files that the
    /// metainfo does not name are not looked for.
    pub fn is_identical(&self) -> bool {
        self.have.is_full() && self.misfits.is_empty()
    }
}

/// Compares what lies at `path` with what `info` describes.
///
/// `threads` is how many work at once, 0 for one a core. `progress` is told how many bytes are
/// hashed in all, from any of the threads. Pieces with bytes that are not there, in a missing or
/// short file, are not hashed and do not count.
///
/// # Errors
/// When nothing is at `path`, or a file where a folder is expected or the other way round; when
/// something cannot be read; when `cancel` was set.
pub fn verify(
    info: &Info,
    path: &Path,
    threads: usize,
    progress: &(dyn Fn(u64) + Sync),
    cancel: &AtomicBool,
) -> Result<Verified, StoreError> {
    let files = FileSet::open(Layout::of(info), path)?;
    let survey = Survey::of(&files, &info.geometry)?;
    let have = recheck(&files, info, &survey.possible, Work { threads, progress, cancel })?;
    let mut misfits: Vec<usize> = survey.short.iter().chain(&survey.long).copied().collect();
    misfits.sort_unstable();
    Ok(Verified { have, misfits: misfits.into_iter().map(|entry| files.path_of(entry)).collect() })
}

/// Those of the `wanted` pieces whose bytes on the disk have the right hash.
pub(crate) fn recheck(
    files: &FileSet,
    info: &Info,
    wanted: &Bitfield,
    work: Work<'_>,
) -> Result<Bitfield, StoreError> {
    let have = Mutex::new(Bitfield::new(info.geometry.pieces()));
    let compare = |piece: u32, hash| {
        if info.piece_hashes.get(piece as usize) == Some(&hash) {
            have.lock().unwrap_or_else(PoisonError::into_inner).set(piece);
        }
    };
    hash_pieces(files, &info.geometry, wanted, work, &compare)?;
    Ok(have.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Which files are there, seen from outside: by their lengths.
#[derive(Debug)]
pub(crate) struct Survey {
    /// Entries that are missing or too short.
    pub(crate) short: Vec<usize>,
    /// Entries that are too long.
    pub(crate) long: Vec<usize>,
    /// Pieces without a byte that is missing.
    pub(crate) possible: Bitfield,
    /// Bytes that the files lack to take up their whole lengths on the disk.
    pub(crate) unallocated: u64,
}

impl Survey {
    pub(crate) fn of(files: &FileSet, geometry: &Geometry) -> Result<Self, StoreError> {
        let possible = Bitfield::full(geometry.pieces());
        let mut survey = Self { short: Vec::new(), long: Vec::new(), possible, unallocated: 0 };
        for (at, entry) in files.layout().on_disk() {
            let (length, allocated) = match files.examine(at)? {
                Found::File { length, allocated } => (Some(length), allocated),
                Found::Nothing => (None, 0),
            };
            if length > Some(entry.length) {
                survey.long.push(at);
            } else if length < Some(entry.length) {
                survey.short.push(at);
                leave_out(
                    &mut survey.possible,
                    entry.offset + length.unwrap_or(0)..entry.end(),
                    geometry,
                );
            }
            survey.unallocated =
                survey.unallocated.saturating_add(entry.length.saturating_sub(allocated));
        }
        Ok(survey)
    }
}

/// Takes the pieces that touch a range of the content out of a set.
fn leave_out(set: &mut Bitfield, range: Range<u64>, geometry: &Geometry) {
    let piece_length = u64::from(geometry.piece_length());
    // A range without bytes touches none, even in the middle of a piece.
    if !range.is_empty() {
        for piece in range.start / piece_length..range.end.div_ceil(piece_length) {
            set.unset(piece as u32);
        }
    }
}
