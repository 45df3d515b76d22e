//! Which pieces a peer has: as it said, before the metadata is known; checked against the content,
//! afterwards. No decisions.

use std::collections::BTreeSet;

use bytes::Bytes;
use sow_content::{Bitfield, geometry::MAX_PIECES};

use crate::disconnect::Misbehavior;

/// Pieces that a peer may announce before their number is known.
const MAX_UNCHECKED_HAVES: usize = 1 << 16;

/// What a peer has.
#[derive(Debug)]
pub(crate) enum PeerPieces {
    /// Before the metadata is known: as it was said.
    Unchecked(UncheckedPieces),
    /// Checked against the content.
    Known {
        have: Bitfield,
        /// A bitfield, have-all or have-none was received.
        is_stated: bool,
    },
}

/// What a peer said that it has before that could be checked.
#[derive(Debug, Default)]
pub(crate) struct UncheckedPieces {
    bitfield: Option<Bytes>,
    all: bool,
    is_stated: bool,
    haves: BTreeSet<u32>,
}

/// A statement about all pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PieceStatement {
    Bitfield(Bytes),
    HaveAll,
    HaveNone,
}

impl PeerPieces {
    /// Of a peer that has said nothing. `pieces`: the number of pieces, if it is known.
    pub(crate) fn new(pieces: Option<u32>) -> Self {
        match pieces {
            Some(pieces) => Self::Known { have: Bitfield::new(pieces), is_stated: false },
            None => Self::Unchecked(UncheckedPieces::default()),
        }
    }

    /// What the peer has; `None` before the metadata is known.
    pub(crate) fn have(&self) -> Option<&Bitfield> {
        match self {
            Self::Known { have, .. } => Some(have),
            Self::Unchecked(_) => None,
        }
    }

    /// The peer announced a piece. True when that is checked and new.
    pub(crate) fn on_have(&mut self, piece: u32) -> Result<bool, Misbehavior> {
        match self {
            Self::Unchecked(unchecked) => {
                let is_full = unchecked.haves.len() >= MAX_UNCHECKED_HAVES;
                if is_full || piece >= MAX_PIECES {
                    return Err(Misbehavior::PieceIndexOutOfRange);
                }
                unchecked.haves.insert(piece);
                Ok(false)
            }
            Self::Known { have, .. } if piece >= have.len() => {
                Err(Misbehavior::PieceIndexOutOfRange)
            }
            Self::Known { have, .. } => Ok(have.set(piece)),
        }
    }

    /// The peer stated what it has. The pieces that are checked and new; `None` when there is
    /// nothing to check, or it has none.
    pub(crate) fn on_statement(
        &mut self,
        statement: PieceStatement,
    ) -> Result<Option<Vec<u32>>, Misbehavior> {
        let is_stated = match self {
            Self::Unchecked(unchecked) => &mut unchecked.is_stated,
            Self::Known { is_stated, .. } => is_stated,
        };
        // aria2 announces many new pieces by another bitfield.
        let is_bitfield = matches!(statement, PieceStatement::Bitfield(_));
        if std::mem::replace(is_stated, true) && !is_bitfield {
            return Err(Misbehavior::LateBitfield);
        }
        match self {
            Self::Unchecked(unchecked) => {
                unchecked.all = statement == PieceStatement::HaveAll;
                unchecked.bitfield = match statement {
                    PieceStatement::Bitfield(bytes) => Some(bytes),
                    PieceStatement::HaveAll | PieceStatement::HaveNone => None,
                };
                Ok(None)
            }
            Self::Known { have, .. } => {
                let stated = match statement {
                    PieceStatement::Bitfield(bytes) => Bitfield::from_bytes(&bytes, have.len())
                        .map_err(|_| Misbehavior::BitfieldMismatch)?,
                    PieceStatement::HaveAll => Bitfield::full(have.len()),
                    PieceStatement::HaveNone => return Ok(None),
                };
                Ok(Some(self.insert(stated.iter())))
            }
        }
    }

    /// Adds pieces, each within the content; those that are new. None before the metadata is known.
    pub(crate) fn insert(&mut self, pieces: impl Iterator<Item = u32>) -> Vec<u32> {
        match self {
            Self::Known { have, .. } => pieces.filter(|&piece| have.set(piece)).collect(),
            Self::Unchecked(_) => Vec::new(),
        }
    }

    /// The peer counts as having nothing.
    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.have().map(Bitfield::len));
    }

    /// The number of pieces is known now: checks what was said before. The pieces that the peer
    /// has; `None` when it was known before.
    ///
    /// # Errors
    /// When the bitfield or an index does not fit; the peer counts as having nothing.
    pub(crate) fn on_content_known(
        &mut self,
        pieces: u32,
    ) -> Result<Option<Vec<u32>>, Misbehavior> {
        let Self::Unchecked(unchecked) = self else { return Ok(None) };
        let (checked, is_stated) = (unchecked.check(pieces), unchecked.is_stated);
        *self = Self::new(Some(pieces));
        *self = Self::Known { have: checked?, is_stated };
        Ok(self.have().map(|have| have.iter().collect()))
    }
}

impl UncheckedPieces {
    fn check(&self, pieces: u32) -> Result<Bitfield, Misbehavior> {
        let mut have = match &self.bitfield {
            Some(bytes) => {
                Bitfield::from_bytes(bytes, pieces).map_err(|_| Misbehavior::BitfieldMismatch)?
            }
            None if self.all => Bitfield::full(pieces),
            None => Bitfield::new(pieces),
        };
        for &piece in &self.haves {
            if piece >= pieces {
                return Err(Misbehavior::PieceIndexOutOfRange);
            }
            have.set(piece);
        }
        Ok(have)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bitfield(bytes: &'static [u8]) -> PieceStatement {
        PieceStatement::Bitfield(Bytes::from_static(bytes))
    }

    #[test]
    fn only_new_pieces_are_reported() {
        let mut pieces = PeerPieces::new(Some(10));
        assert_eq!(pieces.on_have(3), Ok(true));
        assert_eq!(pieces.on_have(3), Ok(false));
        assert_eq!(pieces.on_statement(bitfield(&[0b0101_0000, 0])), Ok(Some(vec![1])));
        assert_eq!(pieces.on_have(10), Err(Misbehavior::PieceIndexOutOfRange));
    }

    #[test]
    fn what_was_said_before_the_metadata_is_checked_afterwards() {
        let mut pieces = PeerPieces::new(None);
        assert_eq!(pieces.on_have(9), Ok(false));
        assert_eq!(pieces.on_statement(bitfield(&[0b1000_0000, 0])), Ok(None));
        assert_eq!(pieces.on_content_known(10), Ok(Some(vec![0, 9])));
        assert_eq!(pieces.on_statement(PieceStatement::HaveAll), Err(Misbehavior::LateBitfield));
        let mut pieces = PeerPieces::new(None);
        assert_eq!(pieces.on_have(9), Ok(false));
        assert_eq!(pieces.on_content_known(9), Err(Misbehavior::PieceIndexOutOfRange));
        assert_eq!(pieces.have().map(Bitfield::count), Some(0));
    }

    #[test]
    fn only_a_bitfield_may_be_repeated() {
        let mut pieces = PeerPieces::new(Some(8));
        assert_eq!(pieces.on_statement(PieceStatement::HaveNone), Ok(None));
        assert_eq!(pieces.on_statement(bitfield(&[1])), Ok(Some(vec![7])));
        assert_eq!(pieces.on_statement(PieceStatement::HaveNone), Err(Misbehavior::LateBitfield));
        assert_eq!(pieces.on_statement(bitfield(&[1, 1])), Err(Misbehavior::BitfieldMismatch));
    }
}
