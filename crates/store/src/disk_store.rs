//! Content in files: written to the part, journaled, synced, and committed to the target when it is
//! complete.
//!
//! Safety depends on the order: a piece is written, then journaled; the pieces that a
//! `Record::Synced` covers are synced before the record is written; the part is renamed after all
//! of it was synced. How a store is opened and what counts after an interruption is in `receive`.
//!
//! The journal gets a stamp of the files when nothing is being written: after a sync, and when the
//! store is dropped. When the disk fails, the stamp says so instead.

use std::{
    collections::BTreeSet,
    ops::Range,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use sow_content::{Bitfield, Geometry, Info, geometry::MAX_PIECES};

use crate::{
    content_stamp::ContentStamp,
    create::check_size_limit,
    error::{Operation, StoreError, StoreErrorKind},
    file_set::{Access, FileSet},
    journal::{self, Journal, Record, Stamp, inode_tag},
    layout::Layout,
    piece_hashing::HashControl,
    segment::Segment,
    staging::{Staging, check_free_space},
    verify::verify_pieces,
};

/// With more files than this, their state is recorded only when the store is dropped: reading it
/// takes some microseconds for each.
const MAX_STAMPED_FILES: usize = 4096;

/// Content in files, for reading or for receiving. Used through [`Store`](crate::Store).
#[derive(Debug)]
pub struct DiskStore {
    files: FileSet,
    geometry: Geometry,
    /// `None`: the store is read-only.
    receiving: Option<Box<Receiving>>,
}

/// The state of content that is being received.
#[derive(Debug)]
struct Receiving {
    /// `None` when the content has no name.
    destination: Option<Destination>,
    journaled: Mutex<JournaledPieces>,
    /// Entries that were written to since they were last synced.
    dirty: Mutex<BTreeSet<usize>>,
    /// A write failed for lack of space, so the next run hashes what is there.
    is_unproven: AtomicBool,
    /// Locked during a whole sync or commit.
    phase: Mutex<Phase>,
}

/// The target of the content.
#[derive(Debug)]
pub(crate) struct Destination {
    pub(crate) staging: Staging,
    /// An existing target may be replaced.
    pub(crate) overwrite: bool,
    /// An earlier run was interrupted during the commit and may have left a backup.
    pub(crate) was_committing: bool,
    /// Hashes to compare the content with before it becomes the target.
    pub(crate) read_back: Option<Box<Info>>,
}

/// The pieces that count.
#[derive(Debug)]
pub(crate) struct JournaledPieces {
    pub(crate) pieces: Bitfield,
    /// `None` without a destination and after the commit.
    pub(crate) journal: Option<Journal>,
    /// The number of pieces that no [`Record::Synced`] covers.
    pub(crate) unsynced: u32,
}

#[derive(Debug)]
enum Phase {
    Receiving,
    /// A write or a sync failed. A later sync may succeed although bytes are lost, so none is
    /// trusted.
    Unreliable,
    Committed,
}

impl DiskStore {
    /// Opens complete content for reading. The lengths of the files are verified, their bytes are
    /// not.
    ///
    /// # Errors
    /// When a file is missing, has another length, or cannot be opened.
    pub fn serve(info: &Info, path: &Path) -> Result<Self, StoreError> {
        let files = FileSet::open(Layout::of(info), path)?;
        files.check_lengths()?;
        Ok(Self { files, geometry: info.geometry, receiving: None })
    }

    /// Opens one file without a metainfo, for reading it sequentially. Its piece length is
    /// arbitrary.
    ///
    /// # Errors
    /// When the path is not a file or cannot be opened.
    pub fn serve_file(path: &Path) -> Result<Self, StoreError> {
        let metadata = path.metadata().map_err(|e| StoreError::io(Operation::Open, path, e))?;
        let piece_length =
            metadata.len().div_ceil(MAX_PIECES.into()).next_power_of_two().max(1 << 20);
        let geometry = Geometry::new(metadata.len(), piece_length)?;
        let files = FileSet::open(Layout::single(metadata.len()), path)?;
        files.check_lengths()?;
        Ok(Self { files, geometry, receiving: None })
    }

    /// Receives into an unnamed file in `folder`, which disappears with the process. It serves
    /// content that is passed on to a pipe. The files of a torrent are consecutive in it, and it
    /// has no journal.
    ///
    /// # Errors
    /// When the file cannot be created or the disk has too little space.
    pub fn receive_unnamed(info: &Info, folder: &Path) -> Result<Self, StoreError> {
        let failed = |operation| move |error| StoreError::io(operation, folder, error);
        let layout = Layout::single(info.geometry.total());
        check_size_limit(&layout, folder)?;
        let file = tempfile::tempfile_in(folder).map_err(failed(Operation::Create))?;
        check_free_space(&file, info.geometry.total(), folder)?;
        file.set_len(info.geometry.total()).map_err(failed(Operation::Resize))?;
        let files = FileSet::with_root(layout, file, folder, Access::ReadWrite);
        let pieces = Bitfield::new(info.geometry.pieces());
        let journaled = JournaledPieces { pieces, journal: None, unsynced: 0 };
        Ok(Self::receiving(files, info.geometry, None, journaled, BTreeSet::new()))
    }

    /// Content to be received. `dirty` are the entries with bytes that may not be on the disk yet.
    pub(crate) fn receiving(
        files: FileSet,
        geometry: Geometry,
        destination: Option<Destination>,
        journaled: JournaledPieces,
        dirty: BTreeSet<usize>,
    ) -> Self {
        let receiving = Receiving {
            destination,
            journaled: Mutex::new(journaled),
            dirty: Mutex::new(dirty),
            is_unproven: AtomicBool::new(false),
            phase: Mutex::new(Phase::Receiving),
        };
        Self { files, geometry, receiving: Some(Box::new(receiving)) }
    }

    pub(crate) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    pub(crate) fn write_piece(&self, piece: u32, blocks: &[Bytes]) -> Result<(), StoreError> {
        let receiving = self.writable()?;
        let touched = self
            .files
            .write(piece, self.geometry.range_of(piece).start, blocks)
            .inspect_err(|error| self.on_write_failed(receiving, error))?;
        let entries = self.files.layout().entries();
        lock(&receiving.dirty).extend(touched.filter(|&entry| !entries[entry].padding));
        Ok(())
    }

    pub(crate) fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        self.files.read(offset, buffer)
    }

    pub(crate) fn segments(&self, range: Range<u64>) -> Result<Vec<Segment>, StoreError> {
        self.files.segments(range)
    }

    pub(crate) fn prefetch(&self, range: Range<u64>) {
        self.files.prefetch(range);
    }

    pub(crate) fn journal(&self, piece: u32) -> Result<(), StoreError> {
        let receiving = self.writable()?;
        let mut journaled = lock(&receiving.journaled);
        if let Some(journal) = &mut journaled.journal {
            if let Err(error) = journal.append(Record::Verified(piece)) {
                drop(journaled);
                self.on_write_failed(receiving, &error);
                return Err(error);
            }
            journaled.unsynced += 1;
        }
        journaled.pieces.set(piece);
        Ok(())
    }

    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        let Some(receiving) = &self.receiving else { return Ok(()) };
        let mut phase = lock(&receiving.phase);
        match *phase {
            Phase::Receiving => {
                self.sync_data(receiving, &mut phase)?;
                if self.files.layout().entries().len() <= MAX_STAMPED_FILES {
                    self.write_stamp(receiving)?;
                }
                Ok(())
            }
            Phase::Unreliable => Err(self.unreliable()),
            Phase::Committed => Ok(()),
        }
    }

    pub(crate) fn finish(&self) -> Result<Option<PathBuf>, StoreError> {
        let Some(receiving) = &self.receiving else { return Ok(Some(self.files.path())) };
        let mut phase = lock(&receiving.phase);
        match *phase {
            Phase::Receiving => {}
            Phase::Unreliable => return Err(self.unreliable()),
            Phase::Committed => return Ok(receiving.target_path()),
        }
        let missing = {
            let journaled = lock(&receiving.journaled);
            journaled.pieces.len() - journaled.pieces.count()
        };
        if missing > 0 {
            let path = receiving.target_path().unwrap_or_else(|| self.files.path());
            return Err(StoreError::Incomplete { path, missing });
        }
        let Some(destination) = &receiving.destination else {
            *phase = Phase::Committed;
            return Ok(None);
        };
        // Other programs may have changed the part during a long download.
        self.files.check_lengths()?;
        self.sync_data(receiving, &mut phase)?;
        self.files.sync_names().inspect_err(|_| self.on_disk_failed(receiving, &mut phase))?;
        if let Some(info) = &destination.read_back {
            self.read_back(receiving, info)?;
        }
        self.commit(receiving, destination, &mut phase)?;
        Ok(receiving.target_path())
    }

    /// Syncs what was written, then records that in the journal.
    fn sync_data(&self, receiving: &Receiving, phase: &mut Phase) -> Result<(), StoreError> {
        // The order matters. The number of records is read first, and each record was appended
        // after the write of its piece had marked the files as dirty. So the dirty files that are
        // taken next include every file of the covered records.
        let (covered, unsynced) = {
            let journaled = lock(&receiving.journaled);
            (journaled.journal.as_ref().map_or(0, Journal::records), journaled.unsynced)
        };
        if unsynced == 0 {
            return Ok(());
        }
        let dirty = std::mem::take(&mut *lock(&receiving.dirty));
        if let Err(error) = self.files.sync(&dirty) {
            self.on_disk_failed(receiving, phase);
            return Err(error);
        }
        let (journal, path) = {
            let mut journaled = lock(&receiving.journaled);
            journaled.unsynced -= unsynced;
            let Some(journal) = &mut journaled.journal else { return Ok(()) };
            journal.append(Record::Synced(covered))?;
            (journal.file(), journal.path().to_owned())
        };
        journal::sync(&journal, &path).inspect_err(|_| self.on_disk_failed(receiving, phase))
    }

    /// Records in the journal that the files are as this store has left them, unless they are being
    /// written to.
    fn write_stamp(&self, receiving: &Receiving) -> Result<(), StoreError> {
        let Some(stamp) = ContentStamp::settled(&self.files)? else { return Ok(()) };
        let journaled = lock(&receiving.journaled);
        let Some(journal) = &journaled.journal else { return Ok(()) };
        if journaled.pieces.is_empty() || receiving.is_unproven.load(Ordering::Relaxed) {
            return Ok(());
        }
        journal.write_stamp(Stamp::Files(stamp.digest))
    }

    /// A write failed. Without space, what was written before is still there, and the next run
    /// hashes it. After any other failure nothing that was written is trusted.
    fn on_write_failed(&self, receiving: &Receiving, error: &StoreError) {
        match (error, error.kind()) {
            (StoreError::Io { .. }, StoreErrorKind::DiskFull | StoreErrorKind::Unsuitable) => {
                receiving.is_unproven.store(true, Ordering::Relaxed);
            }
            (StoreError::Io { .. }, _) => {
                let mut phase = lock(&receiving.phase);
                if matches!(*phase, Phase::Receiving) {
                    self.on_disk_failed(receiving, &mut phase);
                }
            }
            _ => {}
        }
    }

    /// The disk has failed, so the journal must not be believed any more, not even by the next
    /// process. The page cache is dropped: after a failed sync it holds bytes as clean that are not
    /// on the disk.
    fn on_disk_failed(&self, receiving: &Receiving, phase: &mut Phase) {
        *phase = Phase::Unreliable;
        if let Some(journal) = &lock(&receiving.journaled).journal {
            journal.mark_failed();
        }
        self.files.drop_page_cache();
    }

    /// Reads everything from the disk and compares it with its hashes. Pieces that do not match do
    /// not count any more.
    fn read_back(&self, receiving: &Receiving, info: &Info) -> Result<(), StoreError> {
        self.files.drop_page_cache();
        let all = Bitfield::full(self.geometry.pieces());
        let control =
            HashControl { threads: 0, progress: &|_| {}, cancel: &AtomicBool::new(false) };
        let right = verify_pieces(&self.files, info, &all, control)?;
        let wrong: Vec<u32> = all.iter().filter(|piece| !right.get(*piece)).collect();
        if wrong.is_empty() {
            return Ok(());
        }
        let mut journaled = lock(&receiving.journaled);
        for &piece in &wrong {
            journaled.pieces.unset(piece);
        }
        if let Some(journal) = &mut journaled.journal {
            let lost: Vec<_> = wrong.iter().copied().map(Record::Lost).collect();
            journal.append_all(&lost)?;
            journal.sync()?;
        }
        Err(StoreError::Corrupt { path: self.files.path(), pieces: wrong.len() as u32 })
    }

    /// Renames the part to the target and removes the old target and the journal.
    fn commit(
        &self,
        receiving: &Receiving,
        destination: &Destination,
        phase: &mut Phase,
    ) -> Result<(), StoreError> {
        let path = self.files.path();
        let staging = &destination.staging;
        let metadata = self.files.root().metadata();
        let root = metadata.map_err(|e| StoreError::io(Operation::Examine, &path, e))?;
        if staging.part()?.is_none_or(|(_, inode)| inode != root.ino()) {
            // Another program has removed or replaced the part.
            return Err(StoreError::Changed { path, expected: self.geometry.total() });
        }
        let mut journaled = lock(&receiving.journaled);
        if let Some(journal) = &mut journaled.journal {
            journal.append(Record::Committing(inode_tag(root.ino())))?;
            journal.sync()?;
        }
        let is_folder = self.files.layout().is_folder();
        let old_target = staging.commit(self.files.root(), is_folder, destination.overwrite)?;
        self.files.set_path(&staging.target_path());
        *phase = Phase::Committed;
        // What remains is cleaning up. The journal is removed last, since the next run needs it to
        // recognize the other leftovers.
        staging.remove_old_target(old_target)?;
        if destination.was_committing {
            staging.remove_backup()?;
        }
        staging.remove_journal()?;
        journaled.journal = None;
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn fail_as_the_disk_would(&self) {
        let Some(receiving) = &self.receiving else { return };
        self.on_disk_failed(receiving, &mut lock(&receiving.phase));
    }

    fn writable(&self) -> Result<&Receiving, StoreError> {
        self.receiving.as_deref().ok_or_else(|| StoreError::NotWritable { path: self.files.path() })
    }

    fn unreliable(&self) -> StoreError {
        StoreError::Unreliable { path: self.files.path() }
    }
}

impl Drop for DiskStore {
    fn drop(&mut self) {
        // No thread writes any more. Without the stamp the next run hashes the pieces, so an error
        // does no harm.
        if let Some(receiving) = &self.receiving
            && matches!(*lock(&receiving.phase), Phase::Receiving)
        {
            let _ = self.write_stamp(receiving);
        }
    }
}

impl Receiving {
    fn target_path(&self) -> Option<PathBuf> {
        self.destination.as_ref().map(|destination| destination.staging.target_path())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic leaves nothing half changed behind these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
