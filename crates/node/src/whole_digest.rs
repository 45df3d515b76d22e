//! The MD5 of the whole content (document 1), taken from the beginning as far as it is there while the rest still comes.
//! Reads from the store on a thread that may wait; no decisions.

use std::{ops::Range, sync::Arc};

use sow_content::{Bitfield, hash::Md5};
use sow_store::{Store, StoreError};
use tokio::task::spawn_blocking;

use crate::inbox::{Inbox, Letter};

/// How much is read at a time, in bytes.
const READ: u64 = 256 * 1024;

/// So much is worth a turn of its own, in bytes.
const WORTH: u64 = 2 << 20;

/// A turn ends after so much, in bytes, so that what was wrong is noticed soon.
const TURN: u64 = 16 << 20;

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
    /// The sum is wanted as soon as it is whole.
    pub(crate) fn want(&mut self) {
        self.wanted = true;
    }

    /// Something that is stored was changed: begins anew.
    pub(crate) fn reset(&mut self) {
        *self =
            Self { number: self.number + 1, running: self.running, wanted: self.wanted, ..Self::default() };
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
        let mut piece = (self.end / u64::from(geometry.piece_length())) as u32;
        let mut there = self.end;
        while there < self.end + TURN && have.get(piece) {
            there = geometry.range_of(piece).end;
            piece += 1;
        }
        let enough = if self.wanted { there > self.end } else { there >= self.end + WORTH };
        if !enough {
            return;
        }
        self.running = true;
        let (range, number, md5) = (self.end..there, self.number, std::mem::take(&mut self.md5));
        let (store, inbox) = (Arc::clone(store), inbox.clone());
        spawn_blocking(move || {
            let end = range.end;
            let result = update(md5, &store, range);
            // A swarm that is gone has no use for the sum.
            let _ = inbox.blocking_send(Letter::Digested(Box::new(Digested { number, end, result })));
        });
    }
}

fn update(mut md5: Md5, store: &Store, range: Range<u64>) -> Result<Md5, StoreError> {
    let mut buffer = vec![0; READ.min(range.end - range.start) as usize];
    let mut at = range.start;
    while at < range.end {
        let end = (at + READ).min(range.end);
        let now = &mut buffer[..(end - at) as usize];
        store.read(at..end, now)?;
        md5.update(now);
        at = end;
    }
    Ok(md5)
}
