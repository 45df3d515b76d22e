//! The MD5 of the whole content (the `chunk` dialect), computed from the beginning as far as the
//! content is stored, while the rest still arrives. Pieces that have just arrived are taken from
//! memory, others are read from the store. It runs on a blocking thread, one step at a time. What
//! the digest proves is the engine's decision.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use bytes::Bytes;
use sow_content::{Bitfield, Geometry, hash::Md5};
use sow_store::{Store, StoreError};
use tokio::task::spawn_blocking;

/// How much is read from the store at a time, in bytes.
const READ_SIZE: u64 = 256 * 1024;

/// A step begins only with this many bytes to digest, unless the digest is wanted.
const MIN_STEP: u64 = 2 << 20;

/// A step ends after this many bytes, so that a step whose content was corrected meanwhile ends
/// soon.
const MAX_STEP: u64 = 16 << 20;

/// A piece stays in memory for the digest if it begins less than this after the digest's end, in
/// bytes.
const KEEP_AHEAD: u64 = 48 << 20;

/// The digest so far.
#[derive(Debug, Default)]
pub(crate) struct FileDigest {
    /// The state at `end`. A running step holds it.
    md5: Md5,
    /// The digest of the whole content, once it is computed.
    whole: Option<[u8; 16]>,
    /// How many bytes it covers.
    end: u64,
    /// Incremented by each reset. The result of a step that began in an earlier generation is
    /// ignored.
    generation: u64,
    is_running: bool,
    /// The bytes of pieces after `end` that are still in memory.
    kept: BTreeMap<u32, Vec<Bytes>>,
    /// The engine waits for the digest of the whole content.
    is_wanted: bool,
    has_failed: bool,
}

/// The result of one step.
#[derive(Debug)]
pub(crate) struct DigestStep {
    generation: u64,
    end: u64,
    result: Result<Md5, StoreError>,
}

impl FileDigest {
    /// Keeps the bytes of a piece that is being written, if the digest will need them soon.
    pub(crate) fn keep_piece(&mut self, piece: u32, bytes: &[Bytes], geometry: &Geometry) {
        let start = geometry.range_of(piece).start;
        if (self.end..self.end + KEEP_AHEAD).contains(&start) {
            self.kept.insert(piece, bytes.to_vec());
        }
    }

    /// Asks for the digest of the whole content.
    pub(crate) fn request_whole(&mut self) {
        self.is_wanted = true;
    }

    /// Starts again from the beginning, because stored content has changed.
    pub(crate) fn reset(&mut self) {
        *self = Self {
            generation: self.generation + 1,
            is_running: self.is_running,
            is_wanted: self.is_wanted,
            ..Self::default()
        };
    }

    /// Takes the result of a step. Returns its error, if it has one.
    pub(crate) fn finish_step(&mut self, step: DigestStep) -> Option<StoreError> {
        self.is_running = false;
        if step.generation != self.generation {
            return None;
        }
        match step.result {
            Ok(md5) => {
                self.md5 = md5;
                self.end = step.end;
                None
            }
            Err(error) => {
                self.has_failed = true;
                Some(error)
            }
        }
    }

    /// How many bytes it covers.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// The digest of the whole content, once, if it was requested and is computed.
    pub(crate) fn take_whole(&mut self, store: &Store) -> Option<[u8; 16]> {
        if !self.is_wanted || self.is_running || self.end != store.geometry().total() {
            return None;
        }
        self.is_wanted = false;
        let md5 = &mut self.md5;
        Some(*self.whole.get_or_insert_with(|| std::mem::take(md5).finish()))
    }

    /// Starts a step if none runs and enough content is there. `report` is called with its result
    /// on a blocking thread, and may block.
    pub(crate) fn advance(
        &mut self,
        have: &Bitfield,
        store: &Arc<Store>,
        report: impl FnOnce(DigestStep) + Send + 'static,
    ) {
        if self.is_running || self.has_failed {
            return;
        }
        let geometry = store.geometry();
        let first = (self.end / u64::from(geometry.piece_length())) as u32;
        let (mut piece, mut end) = (first, self.end);
        while end < self.end + MAX_STEP && have.get(piece) {
            end = geometry.range_of(piece).end;
            piece += 1;
        }
        let enough = if self.is_wanted { end > self.end } else { end >= self.end + MIN_STEP };
        if !enough {
            return;
        }
        self.is_running = true;
        let later = self.kept.split_off(&piece);
        let kept = std::mem::replace(&mut self.kept, later);
        let (pieces, generation, md5) =
            (first..piece, self.generation, std::mem::take(&mut self.md5));
        let store = Arc::clone(store);
        spawn_blocking(move || {
            let result = digest_pieces(md5, &store, pieces, kept);
            // The receiver of the report may open the same target at once.
            drop(store);
            report(DigestStep { generation, end, result });
        });
    }
}

fn digest_pieces(
    mut md5: Md5,
    store: &Store,
    pieces: Range<u32>,
    mut kept: BTreeMap<u32, Vec<Bytes>>,
) -> Result<Md5, StoreError> {
    let mut buffer = Vec::new();
    for piece in pieces {
        // Each piece is released as soon as the digest covers it.
        match kept.remove(&piece) {
            Some(bytes) => bytes.iter().for_each(|bytes| md5.update(bytes)),
            None => digest_range(&mut md5, store, store.geometry().range_of(piece), &mut buffer)?,
        }
    }
    Ok(md5)
}

fn digest_range(
    md5: &mut Md5,
    store: &Store,
    range: Range<u64>,
    buffer: &mut Vec<u8>,
) -> Result<(), StoreError> {
    let mut at = range.start;
    while at < range.end {
        let end = (at + READ_SIZE).min(range.end);
        buffer.resize((end - at) as usize, 0);
        store.read(at..end, buffer)?;
        md5.update(buffer);
        at = end;
    }
    Ok(())
}
