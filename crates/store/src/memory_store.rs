//! Content in memory, for programs that keep no file. It behaves like the disk store without a
//! journal.

use std::{
    ops::Range,
    sync::{PoisonError, RwLock, RwLockReadGuard},
};

use bytes::{Bytes, BytesMut};
use sow_content::{Bitfield, Geometry};

use crate::{error::StoreError, segment::Segment};

/// Pieces in memory. Only pieces that were written occupy memory.
#[derive(Debug)]
pub struct MemoryStore {
    geometry: Geometry,
    state: RwLock<State>,
}

#[derive(Debug)]
struct State {
    /// Empty where a piece was not written.
    pieces: Vec<Bytes>,
    journaled: Bitfield,
}

impl MemoryStore {
    /// An empty store.
    pub fn new(geometry: Geometry) -> Self {
        let pieces = vec![Bytes::new(); geometry.pieces() as usize];
        let journaled = Bitfield::new(geometry.pieces());
        Self { geometry, state: RwLock::new(State { pieces, journaled }) }
    }

    pub(crate) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Stores a copy, since the blocks may be slices of large buffers that are reused.
    pub(crate) fn write_piece(&self, piece: u32, blocks: &[Bytes]) {
        let mut bytes = BytesMut::with_capacity(self.geometry.length_of(piece) as usize);
        blocks.iter().for_each(|block| bytes.extend_from_slice(block));
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.pieces[piece as usize] = bytes.freeze();
    }

    pub(crate) fn segments(&self, range: Range<u64>) -> Vec<Segment> {
        let state = self.read_state();
        let segment = |(piece, part): (u32, Range<usize>)| {
            let bytes = &state.pieces[piece as usize];
            match bytes.is_empty() {
                true => Segment::Zeros(part.len() as u64),
                false => Segment::Bytes(bytes.slice(part)),
            }
        };
        self.overlaps(range).map(segment).collect()
    }

    pub(crate) fn read(&self, range: Range<u64>, mut buffer: &mut [u8]) {
        let state = self.read_state();
        for (piece, part) in self.overlaps(range) {
            let (now, later) = buffer.split_at_mut(part.len());
            match state.pieces[piece as usize].get(part) {
                Some(bytes) => now.copy_from_slice(bytes),
                None => now.fill(0),
            }
            buffer = later;
        }
    }

    pub(crate) fn journal(&self, piece: u32) {
        self.state.write().unwrap_or_else(PoisonError::into_inner).journaled.set(piece);
    }

    /// An error when a piece was not journaled.
    pub(crate) fn finish(&self) -> Result<(), StoreError> {
        let journaled = &self.read_state().journaled;
        match journaled.len() - journaled.count() {
            0 => Ok(()),
            missing => {
                Err(StoreError::Incomplete { path: "the content in memory".into(), missing })
            }
        }
    }

    /// The pieces that overlap a range, each with its overlap.
    fn overlaps(&self, range: Range<u64>) -> impl Iterator<Item = (u32, Range<usize>)> + use<> {
        let length = u64::from(self.geometry.piece_length());
        (range.start / length..range.end.div_ceil(length)).filter_map(move |piece| {
            let start = range.start.max(piece * length) - piece * length;
            let end = range.end.min((piece + 1) * length) - piece * length;
            (start < end).then_some((piece as u32, start as usize..end as usize))
        })
    }

    fn read_state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}
