//! Content in files: written in place beside the target, journaled, synced, and put in place when
//! it is whole.
//!
//! The order that everything rests on: a piece is written, then journaled; what a mark in the
//! journal covers was synced before the mark was written; the content is renamed after all of it
//! was synced. How a store is opened, and what counts after an interruption, is in `receive`.

use std::{
    collections::BTreeSet,
    ops::Range,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use sow_content::{Bitfield, Geometry, Info, geometry::MAX_PIECES};

use crate::{
    error::{Operation, StoreError},
    files::{Access, FileSet},
    journal::{self, Journal, Record},
    layout::Layout,
    place::{Place, check_room},
    segment::Segment,
};

/// Content in files, for reading or being received. Used through [`Store`](crate::Store).
#[derive(Debug)]
pub struct DiskStore {
    files: FileSet,
    geometry: Geometry,
    /// `None`: for reading only.
    receiving: Option<Box<Receiving>>,
}

/// What is known of content that is being received.
#[derive(Debug)]
struct Receiving {
    /// Where it belongs; `None` when it has no name.
    home: Option<Home>,
    ledger: Mutex<Ledger>,
    /// Entries that were written to since they were last synced.
    dirty: Mutex<BTreeSet<usize>>,
    /// Held by whoever syncs or finishes, for as long as that takes.
    phase: Mutex<Phase>,
}

/// Where the content is to end up.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) place: Place,
    /// What is at the target may be replaced.
    pub(crate) overwrite: bool,
    /// An earlier run got as far as putting it in place.
    pub(crate) was_placing: bool,
}

/// Which pieces count.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) noted: Bitfield,
    /// `None` without a home, and when the content is in place.
    pub(crate) journal: Option<Journal>,
    /// Pieces noted since the last mark.
    pub(crate) unmarked: u32,
}

#[derive(Debug)]
enum Phase {
    Receiving,
    /// The disk did not keep something; a later sync would not tell, so none is believed.
    Unreliable,
    Done,
}

impl DiskStore {
    /// Opens content that is there already, whole, for reading. Its bytes are not verified, its
    /// lengths are.
    ///
    /// # Errors
    /// When a file is missing, has another length, or cannot be opened.
    pub fn serve(info: &Info, path: &Path) -> Result<Self, StoreError> {
        let files = FileSet::open(Layout::of(info), path)?;
        files.check_lengths()?;
        Ok(Self { files, geometry: info.geometry, receiving: None })
    }

    /// Opens one file of which nothing is known, for reading it as a stream. Its pieces mean
    /// nothing.
    ///
    /// # Errors
    /// When it is no file or cannot be opened.
    pub fn serve_file(path: &Path) -> Result<Self, StoreError> {
        let metadata = path.metadata().map_err(|e| StoreError::io(Operation::Open, path, e))?;
        let piece_length =
            metadata.len().div_ceil(MAX_PIECES.into()).next_power_of_two().max(1 << 20);
        let geometry = Geometry::new(metadata.len(), piece_length)?;
        let files = FileSet::open(Layout::single(metadata.len()), path)?;
        files.check_lengths()?;
        Ok(Self { files, geometry, receiving: None })
    }

    /// Receives into a file in `folder` that has no name, and is gone with the process: for content
    /// that is passed on as a stream. The files of a folder follow each other in it. There is no
    /// journal.
    ///
    /// # Errors
    /// When the file cannot be created or there is not enough room for it.
    pub fn receive_unnamed(info: &Info, folder: &Path) -> Result<Self, StoreError> {
        let failed = |operation| move |error| StoreError::io(operation, folder, error);
        let file = tempfile::tempfile_in(folder).map_err(failed(Operation::Create))?;
        check_room(&file, info.geometry.total(), folder)?;
        file.set_len(info.geometry.total()).map_err(failed(Operation::Resize))?;
        let files =
            FileSet::over(Layout::single(info.geometry.total()), file, folder, Access::ReadWrite);
        let noted = Bitfield::new(info.geometry.pieces());
        let ledger = Ledger { noted, journal: None, unmarked: 0 };
        Ok(Self::receiving(files, info.geometry, None, ledger, BTreeSet::new()))
    }

    /// Content to be received. `dirty` are entries with bytes that no mark in the journal covers.
    pub(crate) fn receiving(
        files: FileSet,
        geometry: Geometry,
        home: Option<Home>,
        ledger: Ledger,
        dirty: BTreeSet<usize>,
    ) -> Self {
        let phase = Mutex::new(Phase::Receiving);
        let receiving =
            Receiving { home, ledger: Mutex::new(ledger), dirty: Mutex::new(dirty), phase };
        Self { files, geometry, receiving: Some(Box::new(receiving)) }
    }

    pub(crate) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    pub(crate) fn write_piece(&self, piece: u32, blocks: &[Bytes]) -> Result<(), StoreError> {
        let receiving = self.writable()?;
        let touched = self.files.write(piece, self.geometry.range_of(piece).start, blocks)?;
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
        let mut ledger = lock(&self.writable()?.ledger);
        if let Some(journal) = &mut ledger.journal {
            journal.append(Record::Verified(piece))?;
            ledger.unmarked += 1;
        }
        ledger.noted.set(piece);
        Ok(())
    }

    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        let Some(receiving) = &self.receiving else { return Ok(()) };
        let mut phase = lock(&receiving.phase);
        match *phase {
            Phase::Receiving => self.sync_data(receiving, &mut phase),
            Phase::Unreliable => Err(self.unreliable()),
            Phase::Done => Ok(()),
        }
    }

    pub(crate) fn finish(&self) -> Result<Option<PathBuf>, StoreError> {
        let Some(receiving) = &self.receiving else { return Ok(Some(self.files.path())) };
        let mut phase = lock(&receiving.phase);
        match *phase {
            Phase::Receiving => {}
            Phase::Unreliable => return Err(self.unreliable()),
            Phase::Done => return Ok(receiving.home.as_ref().map(|home| home.place.target_path())),
        }
        let missing = {
            let ledger = lock(&receiving.ledger);
            ledger.noted.len() - ledger.noted.count()
        };
        if missing > 0 {
            let path = receiving
                .home
                .as_ref()
                .map_or_else(|| self.files.path(), |home| home.place.target_path());
            return Err(StoreError::Incomplete { path, missing });
        }
        let Some(home) = &receiving.home else {
            *phase = Phase::Done;
            return Ok(None);
        };
        // Somebody may have tampered with what lay around for hours.
        self.files.check_lengths()?;
        self.sync_data(receiving, &mut phase)?;
        self.files.sync_names()?;
        self.put_in_place(receiving, home, &mut phase)?;
        Ok(Some(home.place.target_path()))
    }

    /// Syncs what was written, then says so in the journal.
    fn sync_data(&self, receiving: &Receiving, phase: &mut Phase) -> Result<(), StoreError> {
        // The order matters: a record is older than the number taken here, its piece's write is
        // older than the record, and a write has made its files dirty when it is over. So what is
        // taken next has all that the mark will cover.
        let (covered, unmarked) = {
            let ledger = lock(&receiving.ledger);
            (ledger.journal.as_ref().map_or(0, Journal::records), ledger.unmarked)
        };
        if unmarked == 0 {
            return Ok(());
        }
        let dirty = std::mem::take(&mut *lock(&receiving.dirty));
        if let Err(error) = self.files.sync(&dirty) {
            *phase = Phase::Unreliable;
            return Err(error);
        }
        let (journal, path) = {
            let mut ledger = lock(&receiving.ledger);
            ledger.unmarked -= unmarked;
            let Some(journal) = &mut ledger.journal else { return Ok(()) };
            journal.append(Record::Synced(covered))?;
            (journal.file(), journal.path().to_owned())
        };
        journal::sync(&journal, &path)
    }

    fn put_in_place(
        &self,
        receiving: &Receiving,
        home: &Home,
        phase: &mut Phase,
    ) -> Result<(), StoreError> {
        let path = self.files.path();
        let root = self
            .files
            .root()
            .metadata()
            .map_err(|e| StoreError::io(Operation::Examine, &path, e))?;
        if home.place.part()?.is_none_or(|(_, inode)| inode != root.ino()) {
            // Somebody has put something else under the part's name, or taken it away.
            return Err(StoreError::Changed { path, expected: self.geometry.total() });
        }
        let mut ledger = lock(&receiving.ledger);
        if let Some(journal) = &mut ledger.journal {
            journal.append(Record::Placing(low_bits(root.ino())))?;
            journal.sync()?;
        }
        let old = home.place.put(self.files.layout().is_folder(), home.overwrite)?;
        self.files.moved_to(&home.place.target_path());
        *phase = Phase::Done;
        // The target is in place. What is left to do is to tidy up; the journal goes last, as long
        // as it is there the next run knows what the rest is.
        home.place.remove_replaced(old)?;
        if home.was_placing {
            home.place.remove_aside()?;
        }
        home.place.remove_journal()?;
        ledger.journal = None;
        Ok(())
    }

    fn writable(&self) -> Result<&Receiving, StoreError> {
        self.receiving.as_deref().ok_or_else(|| StoreError::NotWritable { path: self.files.path() })
    }

    fn unreliable(&self) -> StoreError {
        StoreError::Unreliable { path: self.files.path() }
    }
}

/// What a journal remembers of a file or folder, to know it again: the low 30 bits of its inode
/// number.
pub(crate) fn low_bits(inode: u64) -> u32 {
    (inode & u64::from(journal::format::MOST_RECORDS - 1)) as u32
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing behind these locks is left half changed by a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
