//! The stripes of a download: which parents they are expected of, and how far each one is. No
//! requests.

use sow_content::Bitfield;

use crate::{
    io::{ConnId, Time},
    relay::Parents,
};

/// The stripes of a download.
#[derive(Debug, Default)]
pub(super) struct Relayed {
    pub(super) parents: Parents,
    /// The lowest piece of each stripe that may be missing.
    pub(super) heads: Vec<u32>,
}

impl Relayed {
    /// Something of a piece arrived.
    pub(super) fn on_arrived(&mut self, now: Time, conn: ConnId, piece: u32) {
        self.parents.on_arrived(now, conn, piece);
    }

    /// Of what a peer has, what any peer may be asked for; `None`: all of it. `is_suspect`: whether
    /// a piece was corrupt, so that it is not left to its parent.
    pub(super) fn open_pieces_of(
        &self,
        have: &Bitfield,
        is_suspect: impl Fn(u32) -> bool,
    ) -> Option<Bitfield> {
        self.parents.is_active().then(|| {
            let mut open = Bitfield::new(have.len());
            let is_open = |piece: &u32| !self.parents.is_expected(*piece) || is_suspect(*piece);
            have.iter().filter(is_open).for_each(|piece| _ = open.set(piece));
            open
        })
    }

    /// Whether all pieces are expected of parents.
    pub(super) fn is_all_expected(&self) -> bool {
        self.parents.is_all_expected()
    }

    /// Whether a peer is a parent.
    pub(super) fn is_parent(&self, conn: ConnId) -> bool {
        self.parents.is_parent(conn)
    }

    /// The parent of each stripe.
    pub(super) fn served(&self) -> Vec<Option<ConnId>> {
        (0..self.parents.stripe_count()).map(|stripe| self.parents.parent(stripe)).collect()
    }
}
