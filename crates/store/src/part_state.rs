//! The state of files that may be incomplete, judged by their lengths alone. No content is read.

use std::ops::Range;

use sow_content::{Bitfield, Geometry};

use crate::{
    error::StoreError,
    file_set::{FileSet, FileStatus},
};

/// Which files have the right length, and which pieces can be there.
#[derive(Debug)]
pub(crate) struct PartState {
    /// Entries that are missing or too short.
    pub(crate) short: Vec<usize>,
    /// Entries that are too long.
    pub(crate) long: Vec<usize>,
    /// Pieces whose bytes are all inside existing files.
    pub(crate) possible: Bitfield,
    /// Bytes that the files still need to occupy their full lengths on the disk.
    pub(crate) unallocated: u64,
}

impl PartState {
    pub(crate) fn examine(files: &FileSet, geometry: &Geometry) -> Result<Self, StoreError> {
        let possible = Bitfield::full(geometry.pieces());
        let mut state = Self { short: Vec::new(), long: Vec::new(), possible, unallocated: 0 };
        for (at, entry) in files.layout().on_disk() {
            let (length, allocated) = match files.examine(at)? {
                FileStatus::File { length, allocated } => (Some(length), allocated),
                FileStatus::Missing => (None, 0),
            };
            if length > Some(entry.length) {
                state.long.push(at);
            } else if length < Some(entry.length) {
                state.short.push(at);
                let missing = entry.offset + length.unwrap_or(0)..entry.end();
                unset_pieces(&mut state.possible, missing, geometry);
            }
            state.unallocated =
                state.unallocated.saturating_add(entry.length.saturating_sub(allocated));
        }
        Ok(state)
    }
}

/// Removes the pieces that overlap a range of the content.
fn unset_pieces(pieces: &mut Bitfield, range: Range<u64>, geometry: &Geometry) {
    let piece_length = u64::from(geometry.piece_length());
    // An empty range overlaps no piece, even in the middle of one.
    if !range.is_empty() {
        for piece in range.start / piece_length..range.end.div_ceil(piece_length) {
            pieces.unset(piece as u32);
        }
    }
}
