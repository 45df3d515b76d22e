//! Pieces that are being put together: the blocks that were kept, where they belong. Nothing is
//! copied.

use std::collections::BTreeMap;

use bytes::Bytes;
use sow_content::Block;
use sow_wire::bittorrent::BlockRequest;

use crate::intake::Payload;

/// The blocks kept for pieces that are not whole.
#[derive(Debug, Default)]
pub(crate) struct Assemblies {
    pieces: BTreeMap<u32, BTreeMap<u32, Payload>>,
}

impl Assemblies {
    /// Keeps the part `kept` of a block that arrived as `request`.
    pub(crate) fn keep(&mut self, request: BlockRequest, payload: Payload, kept: Block) {
        let part = part_of(payload, kept.offset - request.offset, kept.length);
        self.pieces.entry(kept.piece).or_default().insert(kept.offset, part);
    }

    /// Takes a piece out: its bytes, in order.
    pub(crate) fn take(&mut self, piece: u32) -> Vec<Bytes> {
        self.pieces.remove(&piece).unwrap_or_default().into_values().flatten().collect()
    }

    /// Lets every block go.
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

    fn kept(offset: u32, length: u32) -> Block {
        Block { piece: 3, offset, length }
    }

    #[test]
    fn a_piece_comes_out_in_order_however_it_came_in() {
        let mut assemblies = Assemblies::default();
        let second = vec![Bytes::from_static(b"ef"), Bytes::from_static(b"gh")];
        assemblies.keep(request(4, 4), second, kept(4, 4));
        assemblies.keep(request(0, 4), vec![Bytes::from_static(b"abcd")], kept(0, 4));
        assert_eq!(assemblies.take(3).concat(), b"abcdefgh");
        assert!(assemblies.take(3).is_empty());
    }

    #[test]
    fn the_part_that_is_wanted_is_kept() {
        let segments =
            || ["ab", "cde", "f"].map(|text| Bytes::from_static(text.as_bytes())).to_vec();
        for start in 0..6 {
            for length in 1..=6 - start {
                let mut assemblies = Assemblies::default();
                assemblies.keep(request(10, 6), segments(), kept(10 + start, length));
                let want = &b"abcdef"[start as usize..(start + length) as usize];
                assert_eq!(assemblies.take(3).concat(), want);
            }
        }
    }
}
