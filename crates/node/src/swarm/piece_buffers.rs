//! The blocks received for pieces that are not complete, by piece and offset. Nothing is copied,
//! and nothing is verified except that a piece handed over is complete.

use std::collections::BTreeMap;

use bytes::Bytes;
use sow_content::Block;
use sow_wire::bittorrent::BlockRequest;

use crate::connection::block_reader::Payload;

/// The blocks kept for incomplete pieces.
#[derive(Debug, Default)]
pub(crate) struct PieceBuffers {
    /// The payload of each kept block, by piece and by offset in the piece.
    pieces: BTreeMap<u32, BTreeMap<u32, Payload>>,
}

/// The blocks kept for a piece are not exactly the piece: its engine and its buffer disagree. That
/// is a defect of this program, and says nothing about the peers that sent the blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum IncompleteBuffer {
    #[error("no block covers offset {expected}; the next one begins at {found}")]
    Gap { expected: u64, found: u64 },
    #[error("a block begins at offset {found}, but the one before it ends at {expected}")]
    Overlap { expected: u64, found: u64 },
    #[error("the blocks end at offset {end}, but the piece has {length} bytes")]
    Length { end: u64, length: u64 },
}

impl PieceBuffers {
    /// Keeps the part `kept` of a block that arrived in answer to `request`.
    pub(crate) fn insert(&mut self, request: BlockRequest, payload: Payload, kept: Block) {
        let part = part_of(payload, kept.offset - request.offset, kept.length);
        self.pieces.entry(kept.piece).or_default().insert(kept.offset, part);
    }

    /// Removes a piece and returns its bytes in order. Its blocks must be contiguous and have
    /// `length` bytes together; otherwise they are discarded.
    pub(crate) fn take_complete(
        &mut self,
        piece: u32,
        length: u32,
    ) -> Result<Vec<Bytes>, IncompleteBuffer> {
        let blocks = self.pieces.remove(&piece).unwrap_or_default();
        let mut end = 0;
        for (&offset, payload) in &blocks {
            let found = u64::from(offset);
            if found > end {
                return Err(IncompleteBuffer::Gap { expected: end, found });
            }
            if found < end {
                return Err(IncompleteBuffer::Overlap { expected: end, found });
            }
            end += payload.iter().map(|segment| segment.len() as u64).sum::<u64>();
        }
        let length = u64::from(length);
        if end != length {
            return Err(IncompleteBuffer::Length { end, length });
        }
        Ok(blocks.into_values().flatten().collect())
    }

    /// Discards the blocks of a piece.
    pub(crate) fn discard(&mut self, piece: u32) {
        self.pieces.remove(&piece);
    }

    /// Discards every block.
    pub(crate) fn clear(&mut self) {
        self.pieces.clear();
    }
}

/// `length` bytes of a payload, after the first `skip`.
fn part_of(payload: Payload, mut skip: u32, mut length: u32) -> Payload {
    let mut part = Payload::with_capacity(payload.len());
    for segment in payload {
        let start = (skip as usize).min(segment.len());
        let end = start.saturating_add(length as usize).min(segment.len());
        skip -= start as u32;
        length -= (end - start) as u32;
        if start < end {
            part.push(segment.slice(start..end));
        }
    }
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(offset: u32, length: u32) -> BlockRequest {
        BlockRequest { piece: 3, offset, length }
    }

    fn block(offset: u32, length: u32) -> Block {
        Block { piece: 3, offset, length }
    }

    fn payload(text: &'static str) -> Payload {
        vec![Bytes::from_static(text.as_bytes())]
    }

    fn buffers(blocks: &[(u32, &'static str)]) -> PieceBuffers {
        let mut buffers = PieceBuffers::default();
        for &(offset, text) in blocks {
            let length = text.len() as u32;
            buffers.insert(request(offset, length), payload(text), block(offset, length));
        }
        buffers
    }

    #[test]
    fn a_piece_comes_out_in_order_however_it_came_in() {
        let mut buffers = PieceBuffers::default();
        let second = vec![Bytes::from_static(b"ef"), Bytes::from_static(b"gh")];
        buffers.insert(request(4, 4), second, block(4, 4));
        buffers.insert(request(0, 4), payload("abcd"), block(0, 4));
        assert_eq!(buffers.take_complete(3, 8).unwrap().concat(), b"abcdefgh");
        assert_eq!(
            buffers.take_complete(3, 8),
            Err(IncompleteBuffer::Length { end: 0, length: 8 })
        );
    }

    #[test]
    fn the_part_that_is_wanted_is_kept() {
        let segments =
            || ["ab", "cde", "f"].map(|text| Bytes::from_static(text.as_bytes())).to_vec();
        for start in 0..6 {
            for length in 1..=6 - start {
                let mut buffers = PieceBuffers::default();
                buffers.insert(request(0, start), vec![vec![7; start as usize].into()], {
                    block(0, start)
                });
                buffers.insert(request(0, 6), segments(), block(start, length));
                let bytes = buffers.take_complete(3, start + length).unwrap().concat();
                let want = &b"abcdef"[start as usize..(start + length) as usize];
                assert_eq!(&bytes[start as usize..], want);
            }
        }
    }

    #[test]
    fn a_buffer_that_is_not_exactly_the_piece_is_refused_and_discarded() {
        for (blocks, error) in [
            (&[(0, "ab"), (3, "d")][..], IncompleteBuffer::Gap { expected: 2, found: 3 }),
            (&[(1, "bcd")], IncompleteBuffer::Gap { expected: 0, found: 1 }),
            (&[(0, "abc"), (2, "cd")], IncompleteBuffer::Overlap { expected: 3, found: 2 }),
            (&[(0, "ab")], IncompleteBuffer::Length { end: 2, length: 4 }),
            (&[(0, "ab"), (2, "cde")], IncompleteBuffer::Length { end: 5, length: 4 }),
            (&[], IncompleteBuffer::Length { end: 0, length: 4 }),
        ] {
            let mut buffers = buffers(blocks);
            assert_eq!(buffers.take_complete(3, 4), Err(error));
            assert!(buffers.pieces.is_empty());
        }
    }

    #[test]
    fn discarded_blocks_are_not_handed_over() {
        let mut buffers = buffers(&[(0, "abcd")]);
        buffers.discard(3);
        assert!(buffers.take_complete(3, 4).is_err());
    }
}
