//! The store of a simulated host. It keeps no bytes, but knows which pieces are corrupt.

use std::{collections::BTreeMap, time::Duration};

use sow_content::{BLOCK_LENGTH, Block, Geometry};
use sow_engine::{StoreMode, StoreOutcome, Time};

use super::Host;

/// How long a host needs to verify and store a piece on a disk without a limit.
const STORE_TIME: Duration = Duration::from_micros(500);

/// A block that was received and belongs to a piece that is not stored yet.
#[derive(Debug)]
pub(super) struct BufferedBlock {
    length: u32,
    corrupt: bool,
}

/// The blocks of pieces that are not whole, by piece and offset.
pub(super) type PieceBuffers = BTreeMap<u32, BTreeMap<u32, BufferedBlock>>;

impl Host {
    /// When a piece that is given to the disk now is stored. The disk takes one after the other.
    pub(super) fn stored_at(&mut self, length: u32, disk_rate: Option<u64>) -> Time {
        let start = self.disk_free_at.max(self.now);
        let micros = disk_rate.map_or(0, |rate| u64::from(length) * 1_000_000 / rate.max(1));
        self.disk_free_at = Time(start.0 + micros);
        self.disk_free_at + STORE_TIME
    }

    /// Adds a block to the buffer of its piece.
    pub(crate) fn buffer_block(&mut self, block: Block, corrupt: bool) {
        let buffer = self.piece_buffers.entry(block.piece).or_default();
        let before = buffer.insert(block.offset, BufferedBlock { length: block.length, corrupt });
        assert!(before.is_none(), "a block of piece {} was accepted twice", block.piece);
    }

    /// Drops the buffered blocks of a piece.
    pub(crate) fn discard_blocks(&mut self, piece: u32) {
        self.piece_buffers.remove(&piece);
    }

    /// A stand-in for the MD5 of the file: zeros when all stored pieces are right, else a value
    /// that depends on the corrupt pieces.
    pub(crate) fn file_digest(&self) -> [u8; 16] {
        let mut digest = [0; 16];
        for piece in &self.corrupt_pieces {
            digest[(piece % 16) as usize] ^= 1 + (piece / 16 % 255) as u8;
        }
        digest
    }

    /// Verifies and stores a piece as a real store does.
    pub(crate) fn store(
        &mut self,
        piece: u32,
        geometry: Geometry,
        mode: StoreMode,
    ) -> StoreOutcome {
        let buffer = self.piece_buffers.remove(&piece).unwrap_or_default();
        let mut end = 0;
        let mut block_digests = vec![[0; 20]; geometry.blocks_in(piece) as usize];
        let mut is_intact = true;
        for (offset, block) in buffer {
            assert_eq!(offset, end, "piece {piece} has a gap or overlapping blocks");
            end = offset + block.length;
            is_intact &= !block.corrupt;
            // The flipped bit is in the first 16 KiB of what was sent, so only that digest differs.
            block_digests[(offset / BLOCK_LENGTH) as usize] = [u8::from(block.corrupt); 20];
        }
        assert_eq!(end, geometry.length_of(piece), "piece {piece} is not whole");
        match mode {
            StoreMode::Verify { .. } if !is_intact => {
                return StoreOutcome::Corrupt { digests: block_digests };
            }
            StoreMode::WriteIfDifferent => {
                let differed = if is_intact {
                    self.corrupt_pieces.remove(&piece)
                } else {
                    self.corrupt_pieces.insert(piece)
                };
                return StoreOutcome::WrittenUnverified { differed };
            }
            StoreMode::Verify { .. } | StoreMode::WriteUnverified => {}
        }
        self.have.set(piece);
        self.stored_pieces.push(piece);
        if !is_intact {
            self.corrupt_pieces.insert(piece);
        }
        match mode {
            StoreMode::Verify { digests } => {
                StoreOutcome::Verified { digests: if digests { block_digests } else { Vec::new() } }
            }
            StoreMode::WriteUnverified | StoreMode::WriteIfDifferent => {
                StoreOutcome::WrittenUnverified { differed: false }
            }
        }
    }
}
