//! How content is divided into pieces, and pieces into blocks.
//!
//! Untrusted indexes are checked here, once: a checked byte range is a [`Block`], a checked piece
//! index is below [`Geometry::pieces`]. Files and hashes are not known here.

use std::ops::Range;

/// The block length that every BitTorrent program accepts in a `request`, in bytes (BEP 3).
pub const BLOCK_LENGTH: u32 = 16 * 1024;

/// The largest accepted piece length, in bytes. It bounds the memory of one piece buffer; two
/// pieces may be in memory at once.
pub const MAX_PIECE_LENGTH: u32 = 256 * 1024 * 1024;

/// The largest piece length in the dialects whose peers send whole pieces, in bytes. Every
/// connection may hold one in memory.
pub const MAX_WHOLE_PIECE: u32 = 64 * 1024 * 1024;

/// The largest accepted number of pieces. A bitfield then has 512 KiB, the piece hashes 80 MiB.
pub const MAX_PIECES: u32 = 1 << 22;

/// Why a geometry is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GeometryError {
    /// The piece length is zero or above [`MAX_PIECE_LENGTH`].
    #[error("piece length {0} is not between 1 and {MAX_PIECE_LENGTH} bytes")]
    PieceLength(u64),
    /// The content would have more than [`MAX_PIECES`] pieces.
    #[error("{0} bytes in pieces of {1} are more than {MAX_PIECES} pieces")]
    TooManyPieces(u64, u32),
}

/// The size of the content and the length of its pieces. The last piece may be shorter; empty
/// content has no pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Geometry {
    total: u64,
    piece_length: u32,
}

/// A checked byte range inside one piece: not empty, and not past the end of the piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Block {
    /// The piece index.
    pub piece: u32,
    /// The offset in the piece, in bytes.
    pub offset: u32,
    /// The length in bytes, at least 1.
    pub length: u32,
}

impl Block {
    /// The end of the block in its piece, in bytes.
    pub fn end(self) -> u32 {
        self.offset + self.length
    }
}

impl Geometry {
    /// Content of `total` bytes in pieces of `piece_length` bytes.
    ///
    /// # Errors
    /// When the piece length is zero or too large, or there are too many pieces.
    pub fn new(total: u64, piece_length: u64) -> Result<Self, GeometryError> {
        let length =
            u32::try_from(piece_length).map_err(|_| GeometryError::PieceLength(piece_length))?;
        if length == 0 || length > MAX_PIECE_LENGTH {
            return Err(GeometryError::PieceLength(piece_length));
        }
        if total.div_ceil(piece_length) > u64::from(MAX_PIECES) {
            return Err(GeometryError::TooManyPieces(total, length));
        }
        Ok(Self { total, piece_length: length })
    }

    /// The length of the content in bytes.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The length of every piece but the last, in bytes.
    pub fn piece_length(&self) -> u32 {
        self.piece_length
    }

    /// The number of pieces.
    pub fn pieces(&self) -> u32 {
        self.total.div_ceil(u64::from(self.piece_length)) as u32
    }

    /// The length of one piece in bytes; 0 when there is no such piece.
    pub fn length_of(&self, piece: u32) -> u32 {
        let range = self.range_of(piece);
        (range.end - range.start) as u32
    }

    /// The byte range of a piece in the content; empty when there is no such piece.
    pub fn range_of(&self, piece: u32) -> Range<u64> {
        let start = (u64::from(piece) * u64::from(self.piece_length)).min(self.total);
        start..(start + u64::from(self.piece_length)).min(self.total)
    }

    /// The byte range of a block in the content.
    pub fn range_of_block(&self, block: Block) -> Range<u64> {
        let start = u64::from(block.piece) * u64::from(self.piece_length) + u64::from(block.offset);
        start..start + u64::from(block.length)
    }

    /// Checks an untrusted byte range: it must not be empty and must lie inside an existing piece.
    pub fn block(&self, piece: u32, offset: u32, length: u32) -> Option<Block> {
        let end = offset.checked_add(length)?;
        (length > 0 && piece < self.pieces() && end <= self.length_of(piece)).then_some(Block {
            piece,
            offset,
            length,
        })
    }

    /// The number of [`BLOCK_LENGTH`] blocks in a piece.
    pub fn blocks_in(&self, piece: u32) -> u32 {
        self.length_of(piece).div_ceil(BLOCK_LENGTH)
    }

    /// The `index`-th block of [`BLOCK_LENGTH`] bytes in a piece; the last block may be shorter.
    pub fn nth_block(&self, piece: u32, index: u32) -> Option<Block> {
        let offset = index.checked_mul(BLOCK_LENGTH)?;
        let length = self.length_of(piece).checked_sub(offset)?.min(BLOCK_LENGTH);
        self.block(piece, offset, length)
    }
}

/// The piece length for new content of `total` bytes: a power of two from 32 KiB to 4 MiB.
///
/// It gives a flash crowd at least 1,000 pieces to trade where the size allows that. Mundinger,
/// Weber and Weiss need `M >= 50 log2 N` pieces for `N` peers; 1,000 is more than that.
pub fn piece_length_for(total: u64) -> u32 {
    const MIN_LENGTH: u32 = 32 * 1024;
    const MAX_LENGTH: u32 = 4 * 1024 * 1024;
    const MIN_PIECES: u64 = 1000;
    let mut length = MIN_LENGTH;
    while length < MAX_LENGTH && total / u64::from(length * 2) >= MIN_PIECES {
        length *= 2;
    }
    // Content above 4 TiB needs longer pieces to stay within the limit on the number of pieces.
    while length < MAX_PIECE_LENGTH && total.div_ceil(u64::from(length)) > u64::from(MAX_PIECES / 2)
    {
        length *= 2;
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_piece_and_the_last_block_are_short() {
        let g = Geometry::new(100_001, 32 * 1024).unwrap();
        assert_eq!(g.pieces(), 4);
        assert_eq!(g.length_of(3), 100_001 - 3 * 32 * 1024);
        assert_eq!(g.length_of(4), 0);
        assert_eq!(g.nth_block(3, 0), Some(Block { piece: 3, offset: 0, length: 1697 }));
        assert_eq!(g.nth_block(3, 1), None);
        assert_eq!(g.range_of(3), 98304..100_001);
    }

    #[test]
    fn empty_content_has_no_pieces() {
        let g = Geometry::new(0, 16384).unwrap();
        assert_eq!(g.pieces(), 0);
        assert_eq!(g.block(0, 0, 1), None);
    }

    #[test]
    fn blocks_outside_their_piece_are_rejected() {
        let g = Geometry::new(50_000, 32 * 1024).unwrap();
        assert!(g.block(0, 0, 32 * 1024).is_some());
        assert!(g.block(0, 1, 32 * 1024).is_none());
        assert!(g.block(0, u32::MAX, 2).is_none());
        assert!(g.block(0, 0, 0).is_none());
        assert!(g.block(2, 0, 1).is_none());
        assert!(g.block(1, 0, 50_000 - 32 * 1024).is_some());
        assert!(g.block(1, 0, 50_000 - 32 * 1024 + 1).is_none());
    }

    #[test]
    fn impossible_geometries_are_rejected() {
        assert!(Geometry::new(1, 0).is_err());
        assert!(Geometry::new(1, u64::from(MAX_PIECE_LENGTH) + 1).is_err());
        assert!(Geometry::new(u64::MAX, 1).is_err());
        assert!(Geometry::new(u64::MAX, u64::from(MAX_PIECE_LENGTH)).is_err());
    }

    #[test]
    fn the_chosen_piece_length_gives_enough_pieces() {
        assert_eq!(piece_length_for(0), 32 * 1024);
        assert_eq!(piece_length_for(10_000_000), 32 * 1024);
        assert_eq!(piece_length_for(2 << 30), 2 << 20);
        assert_eq!(piece_length_for(40 << 30), 4 << 20);
        for shift in 25..40 {
            let total = 1u64 << shift;
            let pieces = total / u64::from(piece_length_for(total));
            assert!(pieces >= 1000, "{total} bytes: {pieces} pieces");
        }
        assert!(Geometry::new(1 << 45, u64::from(piece_length_for(1 << 45))).is_ok());
    }
}
