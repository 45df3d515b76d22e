//! The one interface to bytes at rest: a closed choice between disk and memory. Calls block; any
//! number of threads may make them at once.

use std::{ops::Range, path::PathBuf};

use bytes::Bytes;
use sow_content::Geometry;

use crate::{disk::DiskStore, error::StoreError, memory::MemoryStore, segment::Segment};

/// Content at rest.
#[derive(Debug)]
pub enum Store {
    /// In files.
    Disk(DiskStore),
    /// In memory.
    Memory(MemoryStore),
}

impl Store {
    /// Size and pieces of the content.
    pub fn geometry(&self) -> &Geometry {
        match self {
            Self::Disk(store) => store.geometry(),
            Self::Memory(store) => store.geometry(),
        }
    }

    /// Writes a whole piece, given as byte runs of any lengths that follow each other.
    ///
    /// The piece must have been verified. It counts as there only after [`Store::journal`].
    ///
    /// # Errors
    /// When the blocks are not as long as the piece, or the disk fails; then nothing may be
    /// journaled.
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

    /// Reads bytes `range` of the content into `buffer`, which must be as long. What was never
    /// written reads as zeros.
    ///
    /// # Errors
    /// When the range is not inside the content or does not fit the buffer, or the disk fails.
    pub fn read(&self, range: Range<u64>, buffer: &mut [u8]) -> Result<(), StoreError> {
        self.check(&range)?;
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

    /// Where bytes `range` of the content lie, for sending them without a copy. The segments follow
    /// each other and are as long as the range. An open file is kept by each segment in a file.
    ///
    /// # Errors
    /// When the range is not inside the content, or a file cannot be opened.
    pub fn segments(&self, range: Range<u64>) -> Result<Vec<Segment>, StoreError> {
        self.check(&range)?;
        match self {
            Self::Disk(store) => store.segments(range),
            Self::Memory(store) => Ok(store.segments(range)),
        }
    }

    /// Has the kernel begin to read a range that will be asked for soon. Only advice; never an
    /// error.
    pub fn prefetch(&self, range: Range<u64>) {
        if let Self::Disk(store) = self {
            store.prefetch(range);
        }
    }

    /// Notes that a piece is verified and written: it counts from now on, also after a `kill -9`.
    /// One small write, no wait for the disk.
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

    /// Waits until all that was journaled before this call is on the disk, so that it counts after
    /// a power failure too. To be called every few seconds from a thread that may wait.
    ///
    /// # Errors
    /// When the disk fails. Then nothing more is promised: the content cannot be finished by this
    /// store.
    pub fn sync(&self) -> Result<(), StoreError> {
        match self {
            Self::Disk(store) => store.sync(),
            Self::Memory(_) => Ok(()),
        }
    }

    /// Puts the content in place in one step, when every piece was journaled, and says where it is:
    /// `None` when it has no name (in memory, or unnamed on a disk). What was there before is
    /// replaced if that was asked for. The store serves on afterwards. To call it again does
    /// nothing.
    ///
    /// # Errors
    /// When a piece is missing, the target has appeared meanwhile, or the disk fails. The target is
    /// untouched then.
    pub fn finish(&self) -> Result<Option<PathBuf>, StoreError> {
        match self {
            Self::Disk(store) => store.finish(),
            Self::Memory(store) => store.finish().map(|()| None),
        }
    }

    fn check(&self, range: &Range<u64>) -> Result<(), StoreError> {
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
