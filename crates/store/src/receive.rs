//! Opening content to be received: from nothing, or from what an earlier run left. Decides which
//! pieces count.
//!
//! A piece counts when its bytes are really there. After a `kill -9` everything that was written is
//! there (in the page cache), so every record counts. After a loss of power only what was synced is
//! there for sure; the rest is read and hashed. Files that are missing or short take their pieces
//! with them. Every step leaves a journal that is true if the next step never comes.

use std::{
    collections::BTreeSet,
    fs::File,
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};

use rustix::fs::{FileType, Mode, OFlags, openat};
use sow_content::{Bitfield, Info, InfoHash};

use crate::{
    disk::{DiskStore, Home, Ledger, low_bits},
    error::{Operation, StoreError},
    files::{Access, FileSet},
    hashing::Work,
    journal::{self, BootId, Contents, Identity, Journal, Record},
    layout::Layout,
    place::{Lock, Place, create_folder, describe},
    verify::{Survey, recheck},
};

/// How to receive.
#[derive(Clone, Copy)]
pub struct ReceiveOptions<'a> {
    /// Replace what is at the target when the content is complete. Else it is an error that
    /// something is there.
    pub overwrite: bool,
    /// How many threads may hash what has to be looked at again after a loss of power; 0 for one a
    /// core.
    pub threads: usize,
    /// Told how many bytes of that are hashed, from any thread.
    pub progress: &'a (dyn Fn(u64) + Sync),
    /// Calls that off.
    pub cancel: &'a AtomicBool,
}

impl Default for ReceiveOptions<'_> {
    fn default() -> Self {
        static NEVER: AtomicBool = AtomicBool::new(false);
        Self { overwrite: false, threads: 0, progress: &|_| {}, cancel: &NEVER }
    }
}

impl std::fmt::Debug for ReceiveOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReceiveOptions").field("overwrite", &self.overwrite).finish_non_exhaustive()
    }
}

impl DiskStore {
    /// Opens content to be received into `target`, and says which pieces are there from an earlier
    /// run.
    ///
    /// The bytes gather in `target` with `.sow-part` appended, beside it; a journal is kept in
    /// `.sow-part.journal`. Both belong to this store until it is dropped. Files are created at
    /// their full lengths, without taking up room yet.
    ///
    /// # Errors
    /// When the target exists and may not be replaced, or is of another kind; when another process
    /// is receiving it; when its folder does not exist or cannot be written; when there is not
    /// enough room. Nothing is left behind then that was not there before.
    pub fn receive(
        info: &Info,
        info_hash: InfoHash,
        target: &Path,
        options: &ReceiveOptions<'_>,
    ) -> Result<(Self, Bitfield), StoreError> {
        receive_since(BootId::current(), info, info_hash, target, options)
    }
}

/// Removes what an earlier run left beside a target that is complete: for when the target turned
/// out to be identical to what was asked for. A partial copy that could still be gone on with is
/// left alone.
///
/// # Errors
/// When another process is receiving the target, or something cannot be removed.
pub fn clear_leftovers(info: &Info, info_hash: InfoHash, target: &Path) -> Result<(), StoreError> {
    let place = Place::new(target)?;
    let identity = Identity { info_hash, geometry: info.geometry };
    let Some(lock) = place.lock_existing()? else { return Ok(()) };
    let Contents::Ours { replay, .. } = journal::read(&lock, &place.journal_path(), &identity)?
    else {
        return Ok(());
    };
    match (place.part()?, replay.placing) {
        (None, _) => {}
        // What has the part's name is the old target: the run ended between changing names and
        // removing it.
        (Some((_, inode)), Some(placing))
            if low_bits(inode) != placing && place.has_target()? =>
        {
            place.remove_part()?
        }
        (Some(_), _) => return Ok(()),
    }
    if replay.placing.is_some() && place.has_target()? {
        place.remove_aside()?;
    }
    place.remove_journal()
}

fn receive_since(
    boot: BootId,
    info: &Info,
    info_hash: InfoHash,
    target: &Path,
    options: &ReceiveOptions<'_>,
) -> Result<(DiskStore, Bitfield), StoreError> {
    let place = Place::new(target)?;
    let layout = Layout::of(info);
    place.check_target(layout.is_folder(), options.overwrite)?;
    let lock = Arc::new(place.lock()?);
    // Whoever had the lock until now may have put the target in place.
    let checked = place.check_target(layout.is_folder(), options.overwrite);
    let new_journal = lock.metadata().is_ok_and(|metadata| metadata.len() == 0);
    let new_part = place.part().is_ok_and(|part| part.is_none());
    let opening =
        Opening { info, identity: Identity { info_hash, geometry: info.geometry }, boot, options };
    match checked.and_then(|()| opening.open(&place, layout, &lock)) {
        Ok(Opened { files, journal, have, unsynced, was_placing }) => {
            let home = Home { place, overwrite: options.overwrite, was_placing };
            let ledger =
                Ledger { noted: have.clone(), journal: Some(journal), unmarked: unsynced.count() };
            let dirty = entries_with(&files, &unsynced, info);
            Ok((DiskStore::receiving(files, info.geometry, Some(home), ledger, dirty), have))
        }
        Err(error) => {
            // Nothing is left of what was made here. The first error is the one that matters.
            if new_journal && new_part {
                let _ = place.remove_part();
            }
            if new_journal {
                let _ = place.remove_journal();
            }
            Err(error)
        }
    }
}

/// What is being opened.
struct Opening<'a> {
    info: &'a Info,
    identity: Identity,
    boot: BootId,
    options: &'a ReceiveOptions<'a>,
}

/// What came of it.
struct Opened {
    files: FileSet,
    journal: Journal,
    /// Pieces that count.
    have: Bitfield,
    /// Those of them that may be in the page cache alone.
    unsynced: Bitfield,
    was_placing: bool,
}

/// What an earlier run left.
struct Left {
    /// Pieces whose bytes are there for sure.
    sure: Bitfield,
    /// Pieces whose bytes have to be looked at.
    doubtful: Bitfield,
    /// Pieces that no mark covers.
    unsynced: Bitfield,
    /// The number of intact records; `None` when there is no journal to go on with.
    records: Option<u32>,
    /// The journal was written since the system started.
    same_boot: bool,
    was_placing: bool,
}

impl Opening<'_> {
    fn open(&self, place: &Place, layout: Layout, lock: &Arc<Lock>) -> Result<Opened, StoreError> {
        let folder = layout.is_folder();
        let mut left = self.look(place, lock, folder)?;
        let path = place.journal_path();
        let journal = match left.records {
            Some(records) => Some(Journal::go_on(lock.clone(), &path, self.identity, records)?),
            None if left.doubtful.is_empty() => {
                Some(Journal::begin(lock.clone(), &path, self.identity, self.boot, &[])?)
            }
            None => None,
        };
        let files =
            FileSet::over(layout, place.open_part(folder)?, &place.part_path(), Access::ReadWrite);
        let survey = Survey::of(&files, &self.info.geometry)?;
        let before = union(&left.sure, &left.doubtful);
        intersect(&mut left.sure, &survey.possible);
        intersect(&mut left.doubtful, &survey.possible);
        self.check_room(place, &left, &survey)?;

        let work = Work {
            threads: self.options.threads,
            progress: self.options.progress,
            cancel: self.options.cancel,
        };
        let found = recheck(&files, self.info, &left.doubtful, work)?;
        let have = union(&left.sure, &found);
        let journal = match journal {
            Some(journal) => self.vouch(journal, &left, &before, &have)?,
            None => self.begin_with(&files, lock.clone(), &path, &have)?,
        };
        // Only now: a file that grows to its length must not make pieces count that are not in it.
        create_files(&files, &survey)?;
        let mut unsynced = left.unsynced;
        intersect(&mut unsynced, &have);
        Ok(Opened { files, journal, have, unsynced, was_placing: left.was_placing })
    }

    /// Finds out what an earlier run left, and removes what cannot be used.
    fn look(&self, place: &Place, lock: &File, folder: bool) -> Result<Left, StoreError> {
        let pieces = self.info.geometry.pieces();
        let mut left = Left {
            sure: Bitfield::new(pieces),
            doubtful: Bitfield::new(pieces),
            unsynced: Bitfield::new(pieces),
            records: None,
            same_boot: true,
            was_placing: false,
        };
        match journal::read(lock, &place.journal_path(), &self.identity)? {
            // A part without a journal: what is in it is looked at.
            Contents::Nothing if place.part()?.is_some() => left.doubtful = Bitfield::full(pieces),
            Contents::Nothing => {}
            // The part first: without it the journal of other content is harmless.
            Contents::Other => {
                place.remove_part()?;
                lock.set_len(0)
                    .map_err(|e| StoreError::io(Operation::Resize, &place.journal_path(), e))?;
            }
            Contents::Ours { boot, replay } => {
                left.records = Some(replay.records);
                left.same_boot = boot.is(self.boot);
                left.was_placing = replay.placing.is_some();
                (left.sure, left.doubtful) = (replay.synced, replay.later);
                if left.same_boot {
                    left.sure = union(&left.sure, &left.doubtful);
                    left.unsynced = std::mem::replace(&mut left.doubtful, Bitfield::new(pieces));
                }
                if let Some(placing) = replay.placing {
                    self.settle_placing(place, placing, &mut left)?;
                }
            }
        }
        match place.part()? {
            Some((kind, _))
                if (kind == FileType::Directory) != folder
                    || (!folder && kind != FileType::RegularFile) =>
            {
                let expected = if folder { "a folder" } else { "a file" };
                Err(StoreError::WrongKind {
                    path: place.part_path(),
                    expected,
                    found: describe(kind),
                })
            }
            _ => Ok(left),
        }
    }

    /// An earlier run was about to put the content in place. If it did so by changing names with
    /// the old target, then what has the part's name now is that.
    fn settle_placing(
        &self,
        place: &Place,
        placing: u32,
        left: &mut Left,
    ) -> Result<(), StoreError> {
        let is_part = place.part()?.is_some_and(|(_, inode)| low_bits(inode) == placing);
        if !place.has_target()? {
            if !is_part {
                // Not what the journal speaks of, perhaps copied: look at it.
                left.doubtful = union(&left.sure, &left.doubtful);
                left.sure = Bitfield::new(left.doubtful.len());
            }
            return Ok(());
        }
        place.remove_aside()?;
        if is_part { Ok(()) } else { place.remove_part() }
    }

    fn check_room(&self, place: &Place, left: &Left, survey: &Survey) -> Result<(), StoreError> {
        let geometry = &self.info.geometry;
        let there = left.sure.iter().chain(left.doubtful.iter());
        let there: u64 = there.map(|piece| u64::from(geometry.length_of(piece))).sum();
        // The smaller of two estimates: a file system that compresses shows less than what is
        // there.
        let needed = survey.unallocated.min(geometry.total() - there);
        place.check_room(needed)
    }

    /// Brings a journal up to date with what was found, so that it stands for the running system.
    fn vouch(
        &self,
        mut journal: Journal,
        left: &Left,
        before: &Bitfield,
        have: &Bitfield,
    ) -> Result<Journal, StoreError> {
        let lost: Vec<_> =
            before.iter().filter(|piece| !have.get(*piece)).map(Record::Lost).collect();
        if !lost.is_empty() {
            journal.append_all(&lost)?;
            journal.sync()?;
        }
        if !left.same_boot {
            // All that counts was read from the disk since the system started.
            journal.append(Record::Synced(journal.records()))?;
            journal.sync()?;
            journal.write_header(self.boot)?;
        }
        Ok(journal)
    }

    /// Begins a journal for a part that had none.
    fn begin_with(
        &self,
        files: &FileSet,
        lock: Arc<Lock>,
        path: &Path,
        have: &Bitfield,
    ) -> Result<Journal, StoreError> {
        files.sync(&entries_with(files, have, self.info))?;
        let mut records: Vec<_> = have.iter().map(Record::Verified).collect();
        records.push(Record::Synced(have.count()));
        Journal::begin(lock, path, self.identity, self.boot, &records)
    }
}

/// Creates what is missing and gives every file its length.
fn create_files(files: &FileSet, survey: &Survey) -> Result<(), StoreError> {
    let set_length = |file: &File, entry: usize| {
        let length = files.layout().entries()[entry].length;
        file.set_len(length)
            .map_err(|e| StoreError::io(Operation::Resize, &files.path_of(entry), e))
    };
    let wrong = survey.short.iter().chain(&survey.long);
    if !files.layout().is_folder() {
        return wrong.copied().try_for_each(|entry| set_length(files.root(), entry));
    }
    if !survey.short.is_empty() {
        for folder in files.layout().folders() {
            create_folder(files.root(), folder)
                .map_err(|e| StoreError::io(Operation::Create, &files.path().join(folder), e))?;
        }
    }
    let flags =
        OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    for &entry in wrong {
        let path = files.layout().entries()[entry].path();
        let file = openat(files.root(), path, flags, Mode::from_raw_mode(0o666))
            .map_err(|e| StoreError::io(Operation::Create, &files.path_of(entry), e))?;
        set_length(&file.into(), entry)?;
    }
    Ok(())
}

/// The entries on the disk that hold a part of one of these pieces.
fn entries_with(files: &FileSet, pieces: &Bitfield, info: &Info) -> BTreeSet<usize> {
    let mut entries = BTreeSet::new();
    for piece in pieces.iter() {
        let spans = files.layout().spans(info.geometry.range_of(piece));
        entries.extend(spans.filter(|span| !span.padding).map(|span| span.entry));
    }
    entries
}

fn union(a: &Bitfield, b: &Bitfield) -> Bitfield {
    let mut set = a.clone();
    b.iter().for_each(|piece| {
        set.set(piece);
    });
    set
}

fn intersect(set: &mut Bitfield, with: &Bitfield) {
    let gone: Vec<_> = set.iter().filter(|piece| !with.get(*piece)).collect();
    gone.into_iter().for_each(|piece| {
        set.unset(piece);
    });
}

#[cfg(test)]
mod tests;
