//! Hashing content piece by piece on all cores, with bounded memory. It computes hashes and
//! compares none.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    thread,
};

use sow_content::{Bitfield, Geometry, hash::Sha1};

use crate::{error::StoreError, file_set::FileSet, scan::ContentPlan};

/// The length of a read. The bytes stay in the cache of the core until they are hashed.
const READ_BUFFER_BYTES: usize = 128 * 1024;

/// The length of a batch, the work of one thread between two accesses to the shared counter. It is
/// at least one piece, and long enough for the readahead of the kernel.
const BATCH_BYTES: u32 = 8 * 1024 * 1024;

/// The parallelism, progress and cancellation of hashing.
#[derive(Clone, Copy)]
pub(crate) struct HashControl<'a> {
    /// The number of threads; 0 for one per core.
    pub(crate) threads: usize,
    /// Called with the total number of bytes hashed, from several threads, so that a smaller number
    /// may follow a greater one.
    pub(crate) progress: &'a (dyn Fn(u64) + Sync),
    /// Set from outside to stop within milliseconds.
    pub(crate) cancel: &'a AtomicBool,
}

/// The SHA-1 of each piece of the files that [`scan`](crate::scan()) found.
///
/// `threads` is the number of threads, 0 for one per core; each has a buffer of 128 KiB. `progress`
/// is called from any of them with the total number of bytes hashed. Setting `cancel` stops the
/// work within milliseconds.
///
/// # Errors
/// When a file cannot be read or has changed since it was scanned, or when `cancel` was set.
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
    let set_hash = |piece: u32, hash| {
        hashes.lock().unwrap_or_else(PoisonError::into_inner)[piece as usize] = hash;
    };
    let all = Bitfield::full(geometry.pieces());
    let control = HashControl { threads, progress, cancel };
    hash_pieces(&files, &geometry, &all, control, &set_hash)?;
    plan.check_unchanged()?;
    Ok(hashes.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Hashes the `wanted` pieces and calls `on_hash` with each, in any order, from several threads.
pub(crate) fn hash_pieces(
    files: &FileSet,
    geometry: &Geometry,
    wanted: &Bitfield,
    control: HashControl<'_>,
    on_hash: &(dyn Fn(u32, [u8; 20]) + Sync),
) -> Result<(), StoreError> {
    let cores = || thread::available_parallelism().map_or(1, usize::from);
    let threads = if control.threads == 0 { cores() } else { control.threads };
    let pool = HashPool {
        files,
        geometry,
        wanted,
        control,
        on_hash,
        next_piece: AtomicU32::new(0),
        bytes_hashed: AtomicU64::new(0),
    };
    let first_error = Mutex::new(None);
    thread::scope(|scope| {
        // The calling thread is one of the pool.
        for _ in 1..threads.min(geometry.pieces() as usize) {
            scope.spawn(|| pool.run(&first_error));
        }
        pool.run(&first_error);
    });
    first_error.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

/// The state that the hashing threads share.
struct HashPool<'a> {
    files: &'a FileSet,
    geometry: &'a Geometry,
    wanted: &'a Bitfield,
    control: HashControl<'a>,
    on_hash: &'a (dyn Fn(u32, [u8; 20]) + Sync),
    /// The first piece that is in no thread's batch.
    next_piece: AtomicU32,
    bytes_hashed: AtomicU64,
}

impl HashPool<'_> {
    /// Hashes batch after batch until none is left or a thread fails.
    fn run(&self, first_error: &Mutex<Option<StoreError>>) {
        let mut buffer = vec![0; READ_BUFFER_BYTES];
        let batch = (BATCH_BYTES / self.geometry.piece_length()).max(1);
        let pieces = self.geometry.pieces();
        loop {
            let start = self.next_piece.fetch_add(batch, Ordering::Relaxed);
            if start >= pieces {
                // Resets the counter, so that no number of threads makes it overflow.
                self.next_piece.store(pieces, Ordering::Relaxed);
                return;
            }
            if let Err(error) = self.hash_batch(start..(start + batch).min(pieces), &mut buffer) {
                first_error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                self.next_piece.store(pieces, Ordering::Relaxed);
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
            (self.on_hash)(piece, hash);
        }
        Ok(())
    }

    fn hash_piece(&self, piece: u32, buffer: &mut [u8]) -> Result<[u8; 20], StoreError> {
        let range = self.geometry.range_of(piece);
        let mut hash = Sha1::new();
        let mut at = range.start;
        while at < range.end {
            if self.control.cancel.load(Ordering::Relaxed) {
                return Err(StoreError::Cancelled);
            }
            let part = (range.end - at).min(buffer.len() as u64);
            let part = &mut buffer[..part as usize];
            self.files.read(at, part)?;
            hash.update(part);
            at += part.len() as u64;
            let length = part.len() as u64;
            let before = self.bytes_hashed.fetch_add(length, Ordering::Relaxed);
            (self.control.progress)(before + length);
        }
        Ok(hash.finish())
    }
}

impl std::fmt::Debug for HashControl<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HashControl").field("threads", &self.threads).finish_non_exhaustive()
    }
}
