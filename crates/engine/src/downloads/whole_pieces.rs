//! Requests for whole pieces, one at a time on each connection, in the dialects that have no
//! smaller ones: which piece to request of a peer.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use sow_content::Block;

use super::{
    Downloads,
    duplicates::{holders, is_dead, is_worth},
};
use crate::{
    config::Integrity,
    connections::{Connection, Connections},
    io::{ConnId, Output, Time},
    session::Decision,
};

/// What other machines are about to fetch is left to them for this long at least.
const MIN_HELP_DELAY: Duration = Duration::from_millis(500);

/// The rank of a piece that is left to its owner.
const LEFT_TO_OWNER: usize = usize::MAX;

/// What to request of a peer.
enum Choice {
    Piece(u32),
    /// It has nothing that was not requested of any peer.
    Nothing,
    /// Nothing, for now.
    Later,
}

impl Downloads {
    /// Requests a piece of a peer, if the peer may be asked and there is one. Whether it did.
    pub(crate) fn request_piece(
        &mut self,
        now: Time,
        connections: &mut Connections,
        conn: ConnId,
        rng: &mut fastrand::Rng,
        out: &mut VecDeque<Output>,
    ) -> bool {
        let in_end_game = self.picker.in_end_game();
        let (Some(connection), Some(peer)) = (connections.get(conn), self.peers.get(&conn)) else {
            return false;
        };
        let is_exhausted =
            !in_end_game && peer.exhausted_at.is_some_and(|at| at >= self.generation);
        let may_request = !peer.is_choked && connection.session().may_request();
        if self.is_halted || is_exhausted || !may_request || self.is_resting(now, conn) {
            return false;
        }
        let chosen = match self.choose_piece(now, connections, conn) {
            Choice::Piece(piece) => Some(piece),
            Choice::Nothing => None,
            Choice::Later => return false,
        };
        let pick = chosen.and_then(|piece| self.open_for(now, conn, piece, rng, out));
        let block = pick
            .or_else(|| self.duplicate_piece(now, connections, conn, in_end_game))
            .or_else(|| self.take_over_suspect(now, connections, conn, rng, out));
        let Some(block) = block else { return false };
        if let (Some(peer), Some(connection)) =
            (self.peers.get_mut(&conn), connections.get_mut(conn))
        {
            peer.on_requested(now, block, false);
            connection.send(now, Decision::Request(block), out);
        }
        true
    }

    /// Opens a piece, all of which is to be requested.
    fn open_for(
        &mut self,
        now: Time,
        conn: ConnId,
        piece: u32,
        rng: &mut fastrand::Rng,
        out: &mut VecDeque<Output>,
    ) -> Option<Block> {
        let pick = self.picker.request_piece(now, conn, piece, u32::MAX, rng)?;
        if let Some(piece) = pick.evicted {
            out.push_back(Output::DiscardBlocks { piece });
            self.generation += 1;
        }
        Some(pick.block)
    }

    /// A piece that was corrupt, and was requested of another peer, which does not deliver.
    fn take_over_suspect(
        &mut self,
        now: Time,
        connections: &Connections,
        conn: ConnId,
        rng: &mut fastrand::Rng,
        out: &mut VecDeque<Output>,
    ) -> Option<Block> {
        let have = connections.get(conn)?.have()?;
        let is_snubbed = self.peers.get(&conn)?.is_snubbed();
        if is_snubbed || !self.take_over_piece(now, conn, have, rng, out) {
            return None;
        }
        let piece = self.picker.next_to_open(have)?;
        self.open_for(now, conn, piece, rng, out)
    }

    /// A piece that was requested of another peer, which is slower or does not deliver.
    fn duplicate_piece(
        &mut self,
        now: Time,
        connections: &Connections,
        conn: ConnId,
        in_end_game: bool,
    ) -> Option<Block> {
        let have = connections.get(conn)?.have()?;
        let peer = self.peers.get(&conn)?;
        let (holders, asker) = (holders(&self.peers), self.asker(now, peer, in_end_game));
        let duplicate = (!peer.is_snubbed())
            .then(|| {
                let worth = is_worth(asker, holders, now);
                // A whole piece takes long, and a third copy of it is a whole piece.
                let is_dead = |asked| asker.is_starving && is_dead(asker, holders, now)(asked);
                self.picker.duplicate_piece(now, conn, have, worth, is_dead)
            })
            .flatten();
        if duplicate.is_none()
            && !self.picker.in_end_game()
            && let Some(peer) = self.peers.get_mut(&conn)
        {
            peer.exhausted_at = Some(self.generation);
        }
        let (block, displaced) = duplicate?;
        if let Some(displaced) = displaced {
            self.on_displaced(now, displaced, block);
        }
        Some(block)
    }

    /// Which piece to request: one that was requested and not delivered; in order, if that costs
    /// no other machine anything; one that is ours to fetch; one that another machine is to fetch
    /// and will fetch late; else the rarest.
    fn choose_piece(&mut self, now: Time, connections: &Connections, conn: ConnId) -> Choice {
        let is_assigned = self.refresh_assignment(connections, conn);
        let Some(have) = connections.get(conn).and_then(Connection::have) else {
            return Choice::Later;
        };
        if let Some(piece) = self.picker.released_piece(conn, have) {
            return Choice::Piece(piece);
        }
        let is_shared =
            is_assigned && self.rendezvous.as_ref().is_some_and(|shares| !shares.is_alone());
        if !is_shared || self.picker.is_in_order() {
            // The MD5 of the file is taken from the beginning while the rest arrives. With no piece
            // here yet, other machines may still be about to connect.
            let in_order =
                self.integrity == Integrity::FileDigest && self.have().count() > 0 && is_assigned;
            if in_order && self.is_ahead_of_digest() {
                return Choice::Later;
            }
            let piece = match in_order {
                true => self.picker.lowest_missing(have),
                false => self.picker.next_to_open(have),
            };
            return piece.map_or(Choice::Nothing, Choice::Piece);
        }
        let Some(rarest) = self.picker.rarest(have).next() else { return Choice::Nothing };
        let picker = &self.picker;
        let rarity = picker.count(rarest);
        let is_wanted = |piece| have.get(piece) && picker.count(piece) == rarity;
        let own = self.rendezvous.as_mut().and_then(|shares| {
            shares.next_own(picker.reopened_count(), |piece| picker.is_free(piece), is_wanted)
        });
        if let Some(piece) = own {
            if let Some(peer) = self.peers.get_mut(&conn) {
                peer.helping_since = None;
            }
            return Choice::Piece(piece);
        }
        let left = self.left_to_owners(connections);
        self.choose_help(now, connections, conn, &left)
    }

    /// Which piece to request of a seed when none of ours is left. What its owner is about to
    /// fetch, and what other machines would help with before us, is left to them for a while: only
    /// what they do not fetch in time is worth another request.
    fn choose_help(
        &mut self,
        now: Time,
        connections: &Connections,
        conn: ConnId,
        left: &BTreeSet<u32>,
    ) -> Choice {
        let (Some(have), Some(peer), Some(shares)) = (
            connections.get(conn).and_then(Connection::have),
            self.peers.get_mut(&conn),
            &self.rendezvous,
        ) else {
            return Choice::Later;
        };
        let rank = |piece: &u32| {
            let (rank, order) = shares.help_rank(*piece);
            (if left.contains(piece) { LEFT_TO_OWNER } else { rank }, order)
        };
        let Some(piece) = self.picker.rarest(have).min_by_key(rank) else {
            return Choice::Nothing;
        };
        if rank(&piece).0 > 1 {
            let since = *peer.helping_since.get_or_insert(now);
            if now.since(since) < MIN_HELP_DELAY.max(2 * peer.pipeline.latency()) {
                return Choice::Later;
            }
        }
        Choice::Piece(piece)
    }
}
