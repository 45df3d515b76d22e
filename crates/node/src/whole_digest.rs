//! The MD5 of the whole content (document 1), taken from the beginning as far as it is there while
//! the rest still comes: from memory what has just come in order, from the store what came out of
//! order. On a thread that may wait; no decisions.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use bytes::Bytes;
use sow_content::{Bitfield, Geometry, hash::Md5};
use sow_store::{Store, StoreError};
use tokio::task::spawn_blocking;

use crate::inbox::{Inbox, Letter};

/// How much is read at a time, in bytes.
const READ: u64 = 256 * 1024;

/// So much is worth a turn of its own, in bytes.
const WORTH: u64 = 2 << 20;

/// A turn ends after so much, in bytes, so that what was wrong is noticed soon.
const TURN: u64 = 16 << 20;

/// Pieces are kept in memory for their sum when they begin less than this after its end, in bytes.
const KEPT_AHEAD: u64 = 48 << 20;

/// The sum so far.
#[derive(Debug, Default)]
pub(crate) struct WholeDigest {
    /// Away while a turn has it.
    md5: Md5,
    /// The sum of everything.
    sum: Option<[u8; 16]>,
    /// Bytes that are in it.
    end: u64,
    /// Turns of another number began before something was corrected, and count no more.
    number: u64,
    running: bool,
    /// Pieces after the end that are in memory still.
    kept: BTreeMap<u32, Vec<Bytes>>,
    /// The engine waits for the sum of everything.
    wanted: bool,
    failed: bool,
}

/// What came of a turn.
#[derive(Debug)]
pub(crate) struct Digested {
    number: u64,
    end: u64,
    result: Result<Md5, StoreError>,
}

impl WholeDigest {
    /// A piece is being written: its bytes need not be read again if their turn comes soon.
    pub(crate) fn keep(&mut self, piece: u32, bytes: &[Bytes], geometry: &Geometry) {
        let start = geometry.range_of(piece).start;
        if (self.end..self.end + KEPT_AHEAD).contains(&start) {
            self.kept.insert(piece, bytes.to_vec());
        }
    }

    /// The sum is wanted as soon as it is whole.
    pub(crate) fn want(&mut self) {
        self.wanted = true;
    }

    /// Something that is stored was changed: begins anew.
    pub(crate) fn reset(&mut self) {
        *self = Self {
            number: self.number + 1,
            running: self.running,
            wanted: self.wanted,
            ..Self::default()
        };
    }

    /// Takes note of a finished turn. An error is given back once.
    pub(crate) fn finished(&mut self, digested: Digested) -> Option<StoreError> {
        self.running = false;
        if digested.number != self.number {
            return None;
        }
        match digested.result {
            Ok(md5) => {
                self.md5 = md5;
                self.end = digested.end;
                None
            }
            Err(error) => {
                self.failed = true;
                Some(error)
            }
        }
    }

    /// How far it is, in bytes.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// The sum, when it was wanted and is whole.
    pub(crate) fn take(&mut self, store: &Store) -> Option<[u8; 16]> {
        if !self.wanted || self.running || self.end != store.geometry().total() {
            return None;
        }
        self.wanted = false;
        let md5 = &mut self.md5;
        Some(*self.sum.get_or_insert_with(|| std::mem::take(md5).finish()))
    }

    /// Sums up what has come, when it is worth it; a letter says what came of it.
    pub(crate) fn advance(&mut self, have: &Bitfield, store: &Arc<Store>, inbox: &Inbox) {
        if self.running || self.failed {
            return;
        }
        let geometry = store.geometry();
        let first = (self.end / u64::from(geometry.piece_length())) as u32;
        let (mut piece, mut there) = (first, self.end);
        while there < self.end + TURN && have.get(piece) {
            there = geometry.range_of(piece).end;
            piece += 1;
        }
        let enough = if self.wanted { there > self.end } else { there >= self.end + WORTH };
        if !enough {
            return;
        }
        self.running = true;
        let later = self.kept.split_off(&piece);
        let kept = std::mem::replace(&mut self.kept, later);
        let (pieces, number, md5) = (first..piece, self.number, std::mem::take(&mut self.md5));
        let (store, inbox) = (Arc::clone(store), inbox.clone());
        spawn_blocking(move || {
            let result = update(md5, &store, pieces, kept);
            drop(store);
            // A swarm that is gone has no use for the sum.
            let _ = inbox.blocking_send(Letter::Digested(Box::new(Digested {
                number,
                end: there,
                result,
            })));
        });
    }
}

fn update(
    mut md5: Md5,
    store: &Store,
    pieces: Range<u32>,
    mut kept: BTreeMap<u32, Vec<Bytes>>,
) -> Result<Md5, StoreError> {
    let mut buffer = Vec::new();
    for piece in pieces {
        // What was summed up is let go at once.
        match kept.remove(&piece) {
            Some(bytes) => bytes.iter().for_each(|bytes| md5.update(bytes)),
            None => read(&mut md5, store, store.geometry().range_of(piece), &mut buffer)?,
        }
    }
    Ok(md5)
}

fn read(
    md5: &mut Md5,
    store: &Store,
    range: Range<u64>,
    buffer: &mut Vec<u8>,
) -> Result<(), StoreError> {
    let mut at = range.start;
    while at < range.end {
        let end = (at + READ).min(range.end);
        buffer.resize((end - at) as usize, 0);
        store.read(at..end, buffer)?;
        md5.update(buffer);
        at = end;
    }
    Ok(())
}
