//! The interface to content of known pieces: a closed choice between disk and memory. It checks the
//! arguments of each call; the work is in the two stores.

use std::{ops::Range, path::PathBuf};

use bytes::Bytes;
use sow_content::Geometry;

use crate::{
    disk_store::DiskStore, error::StoreError, memory_store::MemoryStore, segment::Segment,
};

/// Content at rest. All calls block, and any number of threads may make them at once.
#[derive(Debug)]
pub enum Store {
    /// In files.
    Disk(DiskStore),
    /// In memory.
    Memory(MemoryStore),
}

impl Store {
    /// The length of the content and of its pieces.
    pub fn geometry(&self) -> &Geometry {
        match self {
            Self::Disk(store) => store.geometry(),
            Self::Memory(store) => store.geometry(),
        }
    }

    /// Writes a whole piece, given as consecutive blocks of any lengths.
    ///
    /// The caller has verified the piece. It counts only after [`Store::journal`].
    ///
    /// # Errors
    /// When the blocks do not have the length of the piece, or the disk fails. The piece must not
    /// be journaled then.
    pub fn write_piece(&self, piece: u32, blocks: &[Bytes]) -> Result<(), StoreError> {
        let range = self.geometry().range_of(piece);
        let length = blocks.iter().map(|block| block.len() as u64).sum();
        if range.is_empty() || length != range.end - range.start {
            let start = u64::from(piece) * u64::from(self.geometry().piece_length());
            let total = self.geometry().total();
            return Err(StoreError::OutOfRange { start, end: start.saturating_add(length), total });
        }
        match self {
            Self::Disk(store) => store.write_piece(piece, blocks),
            Self::Memory(store) => {
                store.write_piece(piece, blocks);
                Ok(())
            }
        }
    }

    /// Reads bytes `range` of the content into `buffer`, which must have the same length. Bytes
    /// that were never written are zeros.
    ///
    /// # Errors
    /// When the range is not inside the content or differs in length from the buffer, or the disk
    /// fails.
    pub fn read(&self, range: Range<u64>, buffer: &mut [u8]) -> Result<(), StoreError> {
        self.check_range(&range)?;
        if range.end - range.start != buffer.len() as u64 {
            return Err(
                self.out_of_range(range.start, range.start.saturating_add(buffer.len() as u64))
            );
        }
        match self {
            Self::Disk(store) => store.read(range.start, buffer),
            Self::Memory(store) => {
                store.read(range, buffer);
                Ok(())
            }
        }
    }

    /// The locations of bytes `range` of the content, for sending them without a copy. The segments
    /// are consecutive and cover the range. Each segment in a file keeps the file open.
    ///
    /// # Errors
    /// When the range is not inside the content, or a file cannot be opened.
    pub fn segments(&self, range: Range<u64>) -> Result<Vec<Segment>, StoreError> {
        self.check_range(&range)?;
        match self {
            Self::Disk(store) => store.segments(range),
            Self::Memory(store) => Ok(store.segments(range)),
        }
    }

    /// Advises the kernel to read a range that is needed soon. Never an error.
    pub fn prefetch(&self, range: Range<u64>) {
        if let Self::Disk(store) = self {
            store.prefetch(range);
        }
    }

    /// Records that a piece is verified and written. It counts from now on, even after a `kill -9`.
    /// This is one small write that does not wait for the disk.
    ///
    /// # Errors
    /// When there is no such piece, or the disk fails.
    pub fn journal(&self, piece: u32) -> Result<(), StoreError> {
        if self.geometry().length_of(piece) == 0 {
            let start = u64::from(piece) * u64::from(self.geometry().piece_length());
            return Err(self.out_of_range(start, start));
        }
        match self {
            Self::Disk(store) => store.journal(piece),
            Self::Memory(store) => {
                store.journal(piece);
                Ok(())
            }
        }
    }

    /// Waits until everything that was journaled before this call is on the disk, so that it counts
    /// after a power failure too. Call it every few seconds.
    ///
    /// # Errors
    /// When the disk fails. This store cannot finish the content then.
    pub fn sync(&self) -> Result<(), StoreError> {
        match self {
            Self::Disk(store) => store.sync(),
            Self::Memory(_) => Ok(()),
        }
    }

    /// Makes the content appear at the target in one step, after every piece was journaled. Returns
    /// the path of the target; `None` when the content has no name (in memory, or unnamed on a
    /// disk). An old target is replaced if the options allow it. The store can be read afterwards,
    /// and another call does nothing.
    ///
    /// # Errors
    /// When a piece is missing, the target exists now and must not be replaced, or the disk fails.
    /// The target is unchanged then.
    pub fn finish(&self) -> Result<Option<PathBuf>, StoreError> {
        match self {
            Self::Disk(store) => store.finish(),
            Self::Memory(store) => store.finish().map(|()| None),
        }
    }

    fn check_range(&self, range: &Range<u64>) -> Result<(), StoreError> {
        if range.start <= range.end && range.end <= self.geometry().total() {
            return Ok(());
        }
        Err(self.out_of_range(range.start, range.end))
    }

    fn out_of_range(&self, start: u64, end: u64) -> StoreError {
        StoreError::OutOfRange { start, end, total: self.geometry().total() }
    }
}

impl From<DiskStore> for Store {
    fn from(store: DiskStore) -> Self {
        Self::Disk(store)
    }
}

impl From<MemoryStore> for Store {
    fn from(store: MemoryStore) -> Self {
        Self::Memory(store)
    }
}
