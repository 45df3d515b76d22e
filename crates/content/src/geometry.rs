//! How content is cut: pieces, and blocks inside pieces.
//!
//! Indices that come from outside are checked here, once; what has passed is a [`Block`] or a piece
//! index below [`Geometry::pieces`]. Nothing here knows files or hashes.

use std::ops::Range;

/// The block length that every BitTorrent program accepts in a request, in bytes (BEP 3).
pub const BLOCK_LENGTH: u32 = 16 * 1024;

/// The longest piece that is accepted, in bytes. It bounds the memory that one piece buffer can
/// take.
pub const MAX_PIECE_LENGTH: u32 = 64 * 1024 * 1024;

/// The largest number of pieces that is accepted: a bitfield of 512 KiB, 80 MiB of piece hashes.
pub const MAX_PIECES: u32 = 1 << 22;

/// Why a geometry cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GeometryError {
    /// The piece length is zero or over [`MAX_PIECE_LENGTH`].
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

/// A byte range inside one piece that is known to be in range: never empty, never past the end of
/// its piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Block {
    /// Piece index.
    pub piece: u32,
    /// Offset in the piece, in bytes.
    pub offset: u32,
    /// Length in bytes, at least 1.
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
    /// When the piece length is zero or too long, or there would be too many pieces.
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

    /// Bytes in all.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Bytes in every piece but the last.
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

    /// Where a piece lies in the content, in bytes; empty when there is no such piece.
    pub fn range_of(&self, piece: u32) -> Range<u64> {
        let start = (u64::from(piece) * u64::from(self.piece_length)).min(self.total);
        start..(start + u64::from(self.piece_length)).min(self.total)
    }

    /// Where a block lies in the content, in bytes.
    pub fn range_of_block(&self, block: Block) -> Range<u64> {
        let start = u64::from(block.piece) * u64::from(self.piece_length) + u64::from(block.offset);
        start..start + u64::from(block.length)
    }

    /// Checks a byte range that came from outside: it must be non-empty and lie inside an existing
    /// piece.
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

    /// The `index`-th block of [`BLOCK_LENGTH`] bytes in a piece; the last one of the piece may be
    /// shorter.
    pub fn nth_block(&self, piece: u32, index: u32) -> Option<Block> {
        let offset = index.checked_mul(BLOCK_LENGTH)?;
        let length = self.length_of(piece).checked_sub(offset)?.min(BLOCK_LENGTH);
        self.block(piece, offset, length)
    }
}

/// The piece length for new content of `total` bytes: a power of two from 32 KiB to 4 MiB that
/// gives a flash crowd at least 1,000 pieces to trade where the size allows it (`M >= 50 log2 N`,
/// Mundinger, Weber and Weiss, with room to spare).
pub fn piece_length_for(total: u64) -> u32 {
    const SMALLEST: u32 = 32 * 1024;
    const LARGEST: u32 = 4 * 1024 * 1024;
    const PIECES: u64 = 1000;
    let mut length = SMALLEST;
    while length < LARGEST && total / u64::from(length * 2) >= PIECES {
        length *= 2;
    }
    // Content beyond 4 TiB needs longer pieces to stay within the bound on their number.
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
    fn blocks_from_outside_are_checked() {
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
    fn impossible_geometries_are_refused() {
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
