//! Children: peers that fetch stripes from us, and request pieces before they are here.

use std::collections::BTreeSet;

use sow_content::Bitfield;

use super::Uploads;
use crate::io::{ConnId, Time};

impl Uploads {
    /// The number of stripes that are relayed here.
    pub(crate) fn set_stripes(&mut self, stripes: usize) {
        self.stripes = stripes;
    }

    /// A piece is here: requests for it that were kept can be answered. The peers that sent some.
    pub(crate) fn on_piece_here(&mut self, now: Time, piece: u32) -> BTreeSet<ConnId> {
        let peers = self.peers.iter_mut();
        let waiting =
            peers.filter_map(|(&conn, peer)| peer.on_piece_here(now, piece).then_some(conn));
        waiting.collect()
    }

    /// The peer is told its parents, which may be us: it is offered nothing.
    pub(crate) fn on_member(
        &mut self,
        conn: ConnId,
        stripes: usize,
        have: Option<&Bitfield>,
        rng: &mut fastrand::Rng,
    ) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        peer.set_child(stripes);
        if let (Some(seeding), Some(offers), Some(have)) =
            (&mut self.super_seeding, &mut peer.offers, have)
        {
            seeding.take_back(have, offers, rng);
        }
    }
}
