//! Hashing content piece by piece on all cores, with the CPU's SHA instructions and bounded memory.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    thread,
};

use sow_content::{Bitfield, Geometry, hash::Sha1};

use crate::{error::StoreError, files::FileSet, scan::ContentPlan};

/// What one thread reads at once, in bytes: it stays in the core's own cache until it is hashed.
const BUFFER: usize = 128 * 1024;

/// What one thread takes on at once, in bytes (one piece at least): long enough for the kernel's
/// readahead.
const BATCH: u32 = 8 * 1024 * 1024;

/// How much work may be done at once, whom it is told to, and what calls it off.
#[derive(Clone, Copy)]
pub(crate) struct Work<'a> {
    /// Threads; 0 for one a core.
    pub(crate) threads: usize,
    /// Told how many bytes are done in all; from several threads, so that a smaller number may
    /// follow a greater one.
    pub(crate) progress: &'a (dyn Fn(u64) + Sync),
    /// Set by others to stop soon.
    pub(crate) cancel: &'a AtomicBool,
}

/// The SHA-1 of each piece of what [`scan`](crate::scan::scan) found.
///
/// `threads` is how many work at once, 0 for one a core; each has a buffer of 128 KiB. `progress`
/// is told how many bytes are done in all, from any of the threads. Setting `cancel` stops it
/// within milliseconds.
///
/// # Errors
/// When a file cannot be read, is not what it was when it was scanned, or `cancel` was set.
pub fn hash_content(
    plan: &ContentPlan,
    piece_length: u32,
    threads: usize,
    progress: &(dyn Fn(u64) + Sync),
    cancel: &AtomicBool,
) -> Result<Vec<[u8; 20]>, StoreError> {
    let geometry = Geometry::new(plan.total(), piece_length.into())?;
    let files = FileSet::open(plan.layout().clone(), plan.path())?;
    let hashes = Mutex::new(vec![[0; 20]; geometry.pieces() as usize]);
    let keep = |piece: u32, hash| {
        hashes.lock().unwrap_or_else(PoisonError::into_inner)[piece as usize] = hash;
    };
    let all = Bitfield::full(geometry.pieces());
    hash_pieces(&files, &geometry, &all, Work { threads, progress, cancel }, &keep)?;
    plan.check_unchanged()?;
    Ok(hashes.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Hashes the pieces that are `wanted` and gives each hash to `each`, in no order, from several
/// threads.
pub(crate) fn hash_pieces(
    files: &FileSet,
    geometry: &Geometry,
    wanted: &Bitfield,
    work: Work<'_>,
    each: &(dyn Fn(u32, [u8; 20]) + Sync),
) -> Result<(), StoreError> {
    let cores = || thread::available_parallelism().map_or(1, usize::from);
    let threads = if work.threads == 0 { cores() } else { work.threads };
    let crew = Crew {
        files,
        geometry,
        wanted,
        work,
        each,
        next: AtomicU32::new(0),
        done: AtomicU64::new(0),
    };
    let first_error = Mutex::new(None);
    thread::scope(|scope| {
        // The caller's thread is one of the crew.
        for _ in 1..threads.min(geometry.pieces() as usize) {
            scope.spawn(|| crew.run(&first_error));
        }
        crew.run(&first_error);
    });
    first_error.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

/// What the threads share.
struct Crew<'a> {
    files: &'a FileSet,
    geometry: &'a Geometry,
    wanted: &'a Bitfield,
    work: Work<'a>,
    each: &'a (dyn Fn(u32, [u8; 20]) + Sync),
    /// The first piece that nobody has taken.
    next: AtomicU32,
    /// Bytes hashed.
    done: AtomicU64,
}

impl Crew<'_> {
    /// Takes batch after batch until there are none left or somebody fails.
    fn run(&self, first_error: &Mutex<Option<StoreError>>) {
        let mut buffer = vec![0; BUFFER];
        let batch = (BATCH / self.geometry.piece_length()).max(1);
        let pieces = self.geometry.pieces();
        loop {
            let start = self.next.fetch_add(batch, Ordering::Relaxed);
            if start >= pieces {
                // Not to be added to any more, however many threads there are.
                self.next.store(pieces, Ordering::Relaxed);
                return;
            }
            if let Err(error) = self.hash_batch(start..(start + batch).min(pieces), &mut buffer) {
                first_error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                self.next.store(pieces, Ordering::Relaxed);
                return;
            }
        }
    }

    fn hash_batch(&self, batch: std::ops::Range<u32>, buffer: &mut [u8]) -> Result<(), StoreError> {
        if batch.clone().all(|piece| self.wanted.get(piece)) {
            self.files.prefetch(
                self.geometry.range_of(batch.start).start
                    ..self.geometry.range_of(batch.end - 1).end,
            );
        }
        for piece in batch.filter(|piece| self.wanted.get(*piece)) {
            let hash = self.hash_piece(piece, buffer)?;
            (self.each)(piece, hash);
        }
        Ok(())
    }

    fn hash_piece(&self, piece: u32, buffer: &mut [u8]) -> Result<[u8; 20], StoreError> {
        let range = self.geometry.range_of(piece);
        let mut hash = Sha1::new();
        let mut at = range.start;
        while at < range.end {
            if self.work.cancel.load(Ordering::Relaxed) {
                return Err(StoreError::Cancelled);
            }
            let part = (range.end - at).min(buffer.len() as u64);
            let part = &mut buffer[..part as usize];
            self.files.read(at, part)?;
            hash.update(part);
            at += part.len() as u64;
            let done =
                part.len() as u64 + self.done.fetch_add(part.len() as u64, Ordering::Relaxed);
            (self.work.progress)(done);
        }
        Ok(hash.finish())
    }
}

impl std::fmt::Debug for Work<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Work").field("threads", &self.threads).finish_non_exhaustive()
    }
}
