//! What becomes of a piece that was handed over to be stored.

use sow_content::Block;

use super::Downloads;
use crate::io::{ConnId, Time};

/// What follows from a piece that is stored.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct PieceStored {
    /// It was not here before.
    pub(crate) is_new: bool,
    /// How many bytes of it each peer sent.
    pub(crate) from: Vec<(ConnId, u64)>,
    /// Every piece is stored and right.
    pub(crate) is_complete: bool,
    /// It gave up its place among the open pieces, for which other peers may have waited.
    pub(crate) made_room: bool,
    /// The peers that had sent corrupt parts of it earlier.
    pub(crate) corrupters: Vec<ConnId>,
}

impl Downloads {
    /// A piece was verified and stored.
    pub(crate) fn on_verified(
        &mut self,
        now: Time,
        piece: u32,
        digests: &[[u8; 20]],
    ) -> PieceStored {
        let mut stored = self.on_stored(piece);
        stored.corrupters = self.corruption.on_verified(piece, digests);
        stored.is_complete = self.have().is_full();
        if stored.is_complete {
            self.complete_since = Some(now);
        }
        stored
    }

    /// An open piece was stored.
    pub(super) fn on_stored(&mut self, piece: u32) -> PieceStored {
        let stored = PieceStored {
            is_new: !self.have().get(piece),
            from: self.picker.bytes_by_source(piece),
            made_room: self.picker.is_crowded(),
            ..PieceStored::default()
        };
        self.picker.on_stored(piece);
        stored
    }

    /// A piece is corrupt: it is fetched again, from one peer alone. The peer that sent all of it,
    /// if one did.
    pub(crate) fn on_corrupt(
        &mut self,
        piece: u32,
        digests: &[[u8; 20]],
        rng: &mut fastrand::Rng,
    ) -> Option<ConnId> {
        let sources = self.picker.sources(piece);
        let corrupter = self.corruption.on_corrupt(piece, &sources, digests);
        self.start_over(piece, true, rng);
        corrupter
    }

    /// The buffer of a piece did not hold what was accepted for it: it is fetched again, and no
    /// peer is suspected.
    pub(crate) fn on_incomplete_buffer(&mut self, piece: u32, rng: &mut fastrand::Rng) {
        self.start_over(piece, false, rng);
    }

    fn start_over(&mut self, piece: u32, is_corrupt: bool, rng: &mut fastrand::Rng) {
        self.picker.start_over(piece, is_corrupt, rng);
        self.wasted += u64::from(self.geometry.length_of(piece));
        self.generation += 1;
    }

    /// A piece could not be stored: nothing more is requested.
    pub(crate) fn on_store_failed(&mut self, piece: u32, rng: &mut fastrand::Rng) {
        self.is_halted = true;
        self.picker.start_over(piece, false, rng);
    }

    /// Something may be requested that could not be before.
    pub(crate) fn on_room(&mut self) {
        self.generation += 1;
    }

    /// Few peers have a piece, so that a HAVE for it is news to them.
    pub(crate) fn is_rare(&self, piece: u32) -> bool {
        /// A piece that this many peers have is no news.
        const COMMON_AVAILABILITY: u16 = 4;
        self.availability(piece) < COMMON_AVAILABILITY
    }

    /// Missing pieces that no connected peer has.
    pub(crate) fn unavailable_pieces(&self) -> u32 {
        let is_unavailable =
            |piece: &u32| !self.have().get(*piece) && self.availability(*piece) == 0;
        (0..self.geometry.pieces()).filter(is_unavailable).count() as u32
    }

    /// A whole piece as a block; `None` when there is no such piece.
    pub(crate) fn whole_piece(&self, piece: u32) -> Option<Block> {
        let length = self.geometry.length_of(piece);
        (length > 0).then_some(Block { piece, offset: 0, length })
    }
}
