//! The set of pieces that a peer has: one bit per piece, the first piece in the highest bit of the
//! first byte (BEP 3).
//!
//! Invariant: the spare bits at the end are zero. Untrusted bytes are checked for it. No messages
//! here.

use std::fmt;

/// A set of piece indexes below a fixed length.
#[derive(Clone, PartialEq, Eq)]
pub struct Bitfield {
    bytes: Box<[u8]>,
    length: u32,
    ones: u32,
}

/// Why bytes are not a bitfield for the given number of pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BitfieldError {
    /// The number of bytes does not match the number of pieces.
    #[error("the bitfield has {got} bytes instead of {want}")]
    Length {
        /// Number of bytes received.
        got: usize,
        /// Number of bytes for that number of pieces.
        want: usize,
    },
    /// A bit after the last piece is set.
    #[error("the bitfield has bits set after the last piece")]
    SpareBits,
}

impl Bitfield {
    /// An empty set over `length` pieces.
    pub fn new(length: u32) -> Self {
        Self { bytes: vec![0; bytes_for(length)].into(), length, ones: 0 }
    }

    /// The set of all `length` pieces.
    pub fn full(length: u32) -> Self {
        let mut bytes = vec![0xff; bytes_for(length)];
        if let (Some(last), 1..) = (bytes.last_mut(), length % 8) {
            *last <<= 8 - length % 8;
        }
        Self { bytes: bytes.into(), length, ones: length }
    }

    /// Parses the payload of a BEP 3 `bitfield` message.
    ///
    /// # Errors
    /// When the length is wrong or a spare bit is set.
    pub fn from_bytes(bytes: &[u8], length: u32) -> Result<Self, BitfieldError> {
        let want = bytes_for(length);
        if bytes.len() != want {
            return Err(BitfieldError::Length { got: bytes.len(), want });
        }
        if !length.is_multiple_of(8) && bytes[want - 1] << (length % 8) != 0 {
            return Err(BitfieldError::SpareBits);
        }
        let ones = bytes.iter().map(|byte| byte.count_ones()).sum();
        Ok(Self { bytes: bytes.into(), length, ones })
    }

    /// The payload of a `bitfield` message: first piece in the highest bit, spare bits zero.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The number of pieces in the content, whether they are in the set or not.
    pub fn len(&self) -> u32 {
        self.length
    }

    /// Whether no piece is in the set.
    pub fn is_empty(&self) -> bool {
        self.ones == 0
    }

    /// Whether every piece is in the set. For content without pieces the set is full.
    pub fn is_full(&self) -> bool {
        self.ones == self.length
    }

    /// How many pieces are in the set.
    pub fn count(&self) -> u32 {
        self.ones
    }

    /// Whether `piece` is in the set; false for a piece beyond the length.
    pub fn get(&self, piece: u32) -> bool {
        piece < self.length && self.bytes[(piece / 8) as usize] & mask(piece) != 0
    }

    /// Adds a piece. Returns true when it was not in the set before. A piece beyond the length is
    /// ignored.
    pub fn set(&mut self, piece: u32) -> bool {
        let new = piece < self.length && !self.get(piece);
        if new {
            self.bytes[(piece / 8) as usize] |= mask(piece);
            self.ones += 1;
        }
        new
    }

    /// Removes a piece. Returns true when it was in the set.
    pub fn unset(&mut self, piece: u32) -> bool {
        let had = self.get(piece);
        if had {
            self.bytes[(piece / 8) as usize] &= !mask(piece);
            self.ones -= 1;
        }
        had
    }

    /// The pieces in the set, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.bytes.iter().enumerate().filter(|(_, byte)| **byte != 0).flat_map(|(at, byte)| {
            (0..8u32)
                .filter(move |bit| byte & (0x80 >> bit) != 0)
                .map(move |bit| at as u32 * 8 + bit)
        })
    }

    /// Whether `self` holds a piece that `other` lacks.
    pub fn has_beyond(&self, other: &Self) -> bool {
        self.bytes.iter().zip(&other.bytes).any(|(mine, theirs)| mine & !theirs != 0)
    }
}

impl fmt::Debug for Bitfield {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bitfield({}/{})", self.ones, self.length)
    }
}

fn bytes_for(length: u32) -> usize {
    length.div_ceil(8) as usize
}

fn mask(piece: u32) -> u8 {
    0x80 >> (piece % 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_piece_is_the_highest_bit() {
        let mut b = Bitfield::new(10);
        assert!(b.set(0) && b.set(9));
        assert!(!b.set(9) && !b.set(10));
        assert_eq!(b.as_bytes(), [0x80, 0x40]);
        assert_eq!(b.iter().collect::<Vec<_>>(), [0, 9]);
        assert!(b.unset(0) && !b.unset(0));
        assert_eq!(b.count(), 1);
    }

    #[test]
    fn a_full_bitfield_sets_no_spare_bits() {
        for length in [0, 1, 7, 8, 9, 16, 305] {
            let b = Bitfield::full(length);
            assert!(b.is_full());
            assert_eq!(b.iter().count() as u32, length);
            assert_eq!(Bitfield::from_bytes(b.as_bytes(), length).unwrap(), b);
        }
    }

    #[test]
    fn wrong_lengths_and_spare_bits_are_rejected() {
        assert_eq!(
            Bitfield::from_bytes(&[0xff], 9),
            Err(BitfieldError::Length { got: 1, want: 2 })
        );
        assert_eq!(Bitfield::from_bytes(&[0xff, 0xc0], 9), Err(BitfieldError::SpareBits));
        assert!(Bitfield::from_bytes(&[0xff, 0x80], 9).unwrap().is_full());
    }

    #[test]
    fn has_beyond_finds_pieces_that_the_other_set_lacks() {
        let mut mine = Bitfield::new(20);
        mine.set(13);
        let mut theirs = Bitfield::new(20);
        assert!(mine.has_beyond(&theirs));
        theirs.set(13);
        assert!(!mine.has_beyond(&theirs));
    }
}
