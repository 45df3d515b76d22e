//! Recovery after the disk has failed. The page cache may hold bytes that the disk lost, and hold
//! them as clean: reading finds them right, and a sync succeeds without writing them. So what is
//! right is written again, and only the sync after that counts. Whether this is needed is decided
//! in `receive`.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use sow_content::{Bitfield, Info, hash::sha1};

use crate::{
    error::{StoreError, StoreErrorKind},
    file_set::FileSet,
    piece_hashing::HashControl,
};

/// The pieces of `wanted` that match their hash, each written again from the bytes that were
/// hashed. They are on the disk after the next sync. One piece is in memory at a time.
///
/// # Errors
/// When a file cannot be written to, or when the work was cancelled. A piece that cannot be read
/// does not count.
pub(crate) fn rewrite_pieces(
    files: &FileSet,
    info: &Info,
    wanted: &Bitfield,
    control: HashControl<'_>,
) -> Result<Bitfield, StoreError> {
    files.drop_page_cache();
    let mut have = Bitfield::new(info.geometry.pieces());
    let mut done = 0;
    for piece in wanted.iter() {
        if control.cancel.load(Ordering::Relaxed) {
            return Err(StoreError::Cancelled);
        }
        let range = info.geometry.range_of(piece);
        let mut bytes = vec![0; (range.end - range.start) as usize];
        match files.read(range.start, &mut bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == StoreErrorKind::Failing => continue,
            Err(error) => return Err(error),
        }
        done += range.end - range.start;
        (control.progress)(done);
        if info.piece_hashes.get(piece as usize) == Some(&sha1(&bytes)) {
            files.write(piece, range.start, &[Bytes::from(bytes)])?;
            have.set(piece);
        }
    }
    Ok(have)
}
