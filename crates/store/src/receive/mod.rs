//! Opening content to be received, from nothing or from what an earlier run left. This module
//! decides which pieces count; it does not write content.
//!
//! The records of a journal are believed only while the files are in the state of its stamp: then
//! no program has written to them since. After a power failure even then only the synced pieces
//! exist for certain, and the others are hashed. Without that proof, as after a `kill -9` in the
//! middle of writing, every piece of the journal is hashed. After a failed sync nothing is believed
//! that only the page cache may hold; see `rewrite`. A missing or short file loses its pieces. The
//! journal is true after each step, so an interruption between two steps does no harm.

use std::{
    collections::BTreeSet,
    fs::File,
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};

use rustix::fs::FileType;
use sow_content::{Bitfield, Info, InfoHash};

use crate::{
    content_stamp::ContentStamp,
    create::{check_size_limit, create_files},
    disk_store::{Destination, DiskStore, JournaledPieces},
    error::{Operation, StoreError},
    file_set::{Access, FileSet},
    journal::{self, BootId, Identity, Journal, JournalContents, Record, Stamp, inode_tag},
    layout::Layout,
    part_state::PartState,
    piece_hashing::HashControl,
    rewrite::rewrite_pieces,
    staging::{LockedFile, Staging, describe_type},
    verify::verify_pieces,
};

/// The options of [`DiskStore::receive`].
#[derive(Clone, Copy)]
pub struct ReceiveOptions<'a> {
    /// Replace an existing target when the content is complete. Otherwise an existing target is an
    /// error.
    pub overwrite: bool,
    /// Read all content back from the disk and hash it before it becomes the target.
    pub read_back: bool,
    /// The number of threads that hash pieces of an earlier run which may be damaged; 0 for one per
    /// core.
    pub threads: usize,
    /// Called with the total number of bytes hashed, from any thread.
    pub progress: &'a (dyn Fn(u64) + Sync),
    /// Set from outside to cancel the hashing.
    pub cancel: &'a AtomicBool,
}

impl Default for ReceiveOptions<'_> {
    fn default() -> Self {
        static NOT_CANCELLED: AtomicBool = AtomicBool::new(false);
        Self {
            overwrite: false,
            read_back: false,
            threads: 0,
            progress: &|_| {},
            cancel: &NOT_CANCELLED,
        }
    }
}

impl std::fmt::Debug for ReceiveOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReceiveOptions").field("overwrite", &self.overwrite).finish_non_exhaustive()
    }
}

impl DiskStore {
    /// Opens content to be received into `target`, and returns the pieces that exist from an
    /// earlier run.
    ///
    /// The bytes are written next to the target, to its name with `.sow-part` appended, and the
    /// journal to `.sow-part.journal`. Both belong to this store until it is dropped. Files are
    /// created sparse, with their full lengths.
    ///
    /// # Errors
    /// When the target exists and must not be replaced, or has another type; when another process
    /// is receiving it; when its folder does not exist or is not writable; when the disk has too
    /// little space. Nothing new is left on the disk then.
    pub fn receive(
        info: &Info,
        info_hash: InfoHash,
        target: &Path,
        options: &ReceiveOptions<'_>,
    ) -> Result<(Self, Bitfield), StoreError> {
        receive_in_boot(BootId::current(), info, info_hash, target, options)
    }
}

/// Removes what an earlier run left next to a complete target. A part that a download could resume
/// is kept.
///
/// # Errors
/// When another process is receiving the target, or something cannot be removed.
pub fn clear_leftovers(info: &Info, info_hash: InfoHash, target: &Path) -> Result<(), StoreError> {
    let staging = Staging::new(target)?;
    let identity = Identity { info_hash, geometry: info.geometry };
    let Some(lock) = staging.lock_existing()? else { return Ok(()) };
    let contents = journal::read(&lock, &staging.journal_path(), &identity)?;
    let JournalContents::ThisContent { replay, .. } = contents else { return Ok(()) };
    match (staging.part()?, replay.committing) {
        (None, _) => {}
        // The old target has the name of the part: the run ended between exchanging the names and
        // removing the old target.
        (Some((_, inode)), Some(committing))
            if inode_tag(inode) != committing && staging.has_target()? =>
        {
            staging.remove_part()?
        }
        (Some(_), _) => return Ok(()),
    }
    if replay.committing.is_some() && staging.has_target()? {
        staging.remove_backup()?;
    }
    staging.remove_journal()
}

fn receive_in_boot(
    boot: BootId,
    info: &Info,
    info_hash: InfoHash,
    target: &Path,
    options: &ReceiveOptions<'_>,
) -> Result<(DiskStore, Bitfield), StoreError> {
    let staging = Staging::new(target)?;
    let layout = Layout::of(info);
    staging.check_target(layout.is_folder(), options.overwrite)?;
    let lock = Arc::new(staging.lock()?);
    // The previous holder of the lock may have committed the target.
    let checked = staging.check_target(layout.is_folder(), options.overwrite);
    let new_journal = lock.metadata().is_ok_and(|metadata| metadata.len() == 0);
    let new_part = staging.part().is_ok_and(|part| part.is_none());
    let identity = Identity { info_hash, geometry: info.geometry };
    let resume = Resume { info, identity, boot, options };
    match checked.and_then(|()| resume.open(&staging, layout, &lock)) {
        Ok(Resumed { files, journal, have, unsynced, was_committing }) => {
            let overwrite = options.overwrite;
            let read_back =
                (options.read_back && info.has_hashes()).then(|| Box::new(info.clone()));
            let destination = Destination { staging, overwrite, was_committing, read_back };
            let journaled = JournaledPieces {
                pieces: have.clone(),
                journal: Some(journal),
                unsynced: unsynced.count(),
            };
            let dirty = entries_of(&files, &unsynced, info);
            let store =
                DiskStore::receiving(files, info.geometry, Some(destination), journaled, dirty);
            Ok((store, have))
        }
        Err(error) => {
            // Remove what was created here. Only the first error is returned.
            if new_journal && new_part {
                let _ = staging.remove_part();
            }
            if new_journal {
                let _ = staging.remove_journal();
            }
            Err(error)
        }
    }
}

/// The download that is being opened.
struct Resume<'a> {
    info: &'a Info,
    identity: Identity,
    boot: BootId,
    options: &'a ReceiveOptions<'a>,
}

/// The opened download.
struct Resumed {
    files: FileSet,
    journal: Journal,
    /// The pieces that count.
    have: Bitfield,
    /// The pieces of `have` that may not be on the disk yet.
    unsynced: Bitfield,
    was_committing: bool,
}

/// What an earlier run left.
struct Leftovers {
    /// Pieces whose bytes exist for certain.
    trusted: Bitfield,
    /// Pieces that must be hashed.
    unverified: Bitfield,
    /// Pieces that may not be on the disk yet.
    unsynced: Bitfield,
    /// The number of intact records; `None` when no journal can be resumed.
    records: Option<u32>,
    /// The journal was written since the system started.
    same_boot: bool,
    /// What proves the records.
    stamp: Stamp,
    was_committing: bool,
}

impl Resume<'_> {
    fn open(
        &self,
        staging: &Staging,
        layout: Layout,
        lock: &Arc<LockedFile>,
    ) -> Result<Resumed, StoreError> {
        let folder = layout.is_folder();
        check_size_limit(&layout, &staging.target_path())?;
        staging.set_strange_part_aside(folder)?;
        let mut leftovers = self.examine_leftovers(staging, lock, folder)?;
        let path = staging.journal_path();
        let journal = match leftovers.records {
            Some(records) => Some(Journal::resume(lock.clone(), &path, self.identity, records)?),
            None if leftovers.unverified.is_empty() => {
                Some(Journal::begin(lock.clone(), &path, self.identity, self.boot, &[])?)
            }
            None => None,
        };
        let part = staging.open_part(folder)?;
        let files = FileSet::with_root(layout, part, &staging.part_path(), Access::ReadWrite);
        let state = PartState::examine(&files, &self.info.geometry)?;
        let before = union(&leftovers.trusted, &leftovers.unverified);
        let stamp = ContentStamp::of(&files)?;
        let is_proven = leftovers.stamp == Stamp::Files(stamp.digest);
        if !is_proven {
            self.distrust(&mut leftovers);
        }
        intersect(&mut leftovers.trusted, &state.possible);
        intersect(&mut leftovers.unverified, &state.possible);
        self.check_free_space(staging, &leftovers, &state)?;

        let verified = self.verify(&files, &leftovers)?;
        if ContentStamp::of(&files)? != stamp && leftovers.stamp != Stamp::Failed {
            // Another program writes to the files, so the hashes are worth nothing.
            let expected = self.info.geometry.total();
            return Err(StoreError::Changed { path: staging.part_path(), expected });
        }
        let have = union(&leftovers.trusted, &verified);
        if !is_proven && !have.is_empty() {
            files.sync(&entries_of(&files, &have, self.info))?;
        }
        let journal = match journal {
            Some(journal) => self.update_journal(journal, &leftovers, &before, &have)?,
            None => self.begin_journal(lock.clone(), &path, &have)?,
        };
        // Only now, since a file that grows to its full length has bytes that are not content.
        create_files(&files, &state)?;
        if !have.is_empty() {
            let stamp = ContentStamp::of(&files)?;
            let proof =
                if stamp.is_settled() { Stamp::Files(stamp.digest) } else { Stamp::Unknown };
            journal.write_stamp(proof)?;
        }
        let mut unsynced = leftovers.unsynced;
        intersect(&mut unsynced, &have);
        let was_committing = leftovers.was_committing;
        Ok(Resumed { files, journal, have, unsynced, was_committing })
    }

    /// Nothing proves the records: their pieces must be hashed. Pieces without hashes count until
    /// the digest of the whole content is compared, unless the disk has failed.
    fn distrust(&self, leftovers: &mut Leftovers) {
        if self.info.has_hashes() {
            leftovers.unverified = union(&leftovers.trusted, &leftovers.unverified);
        } else if leftovers.stamp != Stamp::Failed {
            return;
        }
        leftovers.trusted = Bitfield::new(self.info.geometry.pieces());
    }

    /// The pieces of `unverified` that are there.
    fn verify(&self, files: &FileSet, leftovers: &Leftovers) -> Result<Bitfield, StoreError> {
        let control = HashControl {
            threads: self.options.threads,
            progress: self.options.progress,
            cancel: self.options.cancel,
        };
        if leftovers.stamp == Stamp::Failed {
            return rewrite_pieces(files, self.info, &leftovers.unverified, control);
        }
        verify_pieces(files, self.info, &leftovers.unverified, control)
    }

    /// Examines what an earlier run left, and removes what cannot be used.
    fn examine_leftovers(
        &self,
        staging: &Staging,
        lock: &File,
        folder: bool,
    ) -> Result<Leftovers, StoreError> {
        let pieces = self.info.geometry.pieces();
        let mut leftovers = Leftovers {
            trusted: Bitfield::new(pieces),
            unverified: Bitfield::new(pieces),
            unsynced: Bitfield::new(pieces),
            records: None,
            same_boot: true,
            stamp: Stamp::Unknown,
            was_committing: false,
        };
        match journal::read(lock, &staging.journal_path(), &self.identity)? {
            // A part without a journal: all of it must be hashed.
            JournalContents::Empty if staging.part()?.is_some() => {
                leftovers.unverified = Bitfield::full(pieces)
            }
            JournalContents::Empty => {}
            // The part is removed first: without it, the journal of other content does no harm.
            JournalContents::OtherContent => {
                staging.remove_part()?;
                lock.set_len(0)
                    .map_err(|e| StoreError::io(Operation::Resize, &staging.journal_path(), e))?;
            }
            JournalContents::ThisContent { boot, stamp, replay } => {
                leftovers.stamp = stamp;
                leftovers.records = Some(replay.records);
                leftovers.same_boot = boot.is_same(self.boot);
                leftovers.was_committing = replay.committing.is_some();
                (leftovers.trusted, leftovers.unverified) = (replay.synced, replay.unsynced);
                if leftovers.same_boot {
                    leftovers.trusted = union(&leftovers.trusted, &leftovers.unverified);
                    leftovers.unsynced =
                        std::mem::replace(&mut leftovers.unverified, Bitfield::new(pieces));
                }
                if let Some(committing) = replay.committing {
                    self.resolve_commit(staging, committing, &mut leftovers)?;
                }
            }
        }
        match staging.part()? {
            Some((kind, _))
                if (kind == FileType::Directory) != folder
                    || (!folder && kind != FileType::RegularFile) =>
            {
                let expected = if folder { "a folder" } else { "a file" };
                Err(StoreError::WrongKind {
                    path: staging.part_path(),
                    expected,
                    found: describe_type(kind),
                })
            }
            _ => Ok(leftovers),
        }
    }

    /// Resolves an interrupted commit. If the part exchanged its name with the old target, the old
    /// target has the name of the part now.
    fn resolve_commit(
        &self,
        staging: &Staging,
        committing: u32,
        leftovers: &mut Leftovers,
    ) -> Result<(), StoreError> {
        let is_part = staging.part()?.is_some_and(|(_, inode)| inode_tag(inode) == committing);
        if !staging.has_target()? {
            if !is_part {
                // Not the part of the journal, perhaps a copy of it, so all of it must be hashed.
                leftovers.unverified = union(&leftovers.trusted, &leftovers.unverified);
                leftovers.trusted = Bitfield::new(leftovers.unverified.len());
            }
            return Ok(());
        }
        staging.remove_backup()?;
        if is_part { Ok(()) } else { staging.remove_part() }
    }

    fn check_free_space(
        &self,
        staging: &Staging,
        leftovers: &Leftovers,
        state: &PartState,
    ) -> Result<(), StoreError> {
        let geometry = &self.info.geometry;
        let existing = leftovers.trusted.iter().chain(leftovers.unverified.iter());
        let existing: u64 = existing.map(|piece| u64::from(geometry.length_of(piece))).sum();
        // The smaller of two estimates: a file system with compression allocates less than the
        // length of the content.
        let needed = state.unallocated.min(geometry.total() - existing);
        staging.check_free_space(needed)
    }

    /// Updates a journal with what was found and makes it valid for the current boot.
    fn update_journal(
        &self,
        mut journal: Journal,
        leftovers: &Leftovers,
        before: &Bitfield,
        have: &Bitfield,
    ) -> Result<Journal, StoreError> {
        let lost: Vec<_> =
            before.iter().filter(|piece| !have.get(*piece)).map(Record::Lost).collect();
        if !lost.is_empty() {
            journal.append_all(&lost)?;
            journal.sync()?;
        }
        if !leftovers.same_boot {
            // Every piece that counts was synced, before or just now.
            journal.append(Record::Synced(journal.records()))?;
            journal.sync()?;
            journal.write_header(self.boot)?;
        }
        Ok(journal)
    }

    /// Begins a journal for a part that had none.
    fn begin_journal(
        &self,
        lock: Arc<LockedFile>,
        path: &Path,
        have: &Bitfield,
    ) -> Result<Journal, StoreError> {
        let mut records: Vec<_> = have.iter().map(Record::Verified).collect();
        records.push(Record::Synced(have.count()));
        Journal::begin(lock, path, self.identity, self.boot, &records)
    }
}

/// The entries on the disk that overlap one of these pieces.
fn entries_of(files: &FileSet, pieces: &Bitfield, info: &Info) -> BTreeSet<usize> {
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
    let removed: Vec<_> = set.iter().filter(|piece| !with.get(*piece)).collect();
    removed.into_iter().for_each(|piece| {
        set.unset(piece);
    });
}

#[cfg(test)]
mod tests;
