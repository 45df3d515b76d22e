//! Stripes that are fetched from parents: what is requested of a parent, before it has it, and
//! whether it comes. Who the parents are is in `relay`.

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use sow_content::{BLOCK_LENGTH, Block};
use sow_wire::bittorrent::Parent;

use super::{Downloads, requests::request_output};
use crate::{
    connections::{Connection, Connections},
    io::{ConnId, Output, Time},
    picker::Pick,
    relay::{Orphaned, ParentState, StripeProgress},
    session::Decision,
};

/// Bytes of a stripe that a parent is always asked for, whether it has them yet or not: two pieces,
/// at least so many. More of what it has is limited by the request window.
const MIN_AHEAD: u32 = 4 * BLOCK_LENGTH;

/// The same, at most.
const MAX_AHEAD: u32 = 1024 * 1024;

/// Pieces of a stripe that could be requested and are looked at for one that its parent has.
const MAX_CONSIDERED: usize = 64;

/// A parent that has the piece which is this many pieces of the stripe further is ahead of us.
const AHEAD_PIECES: u32 = 8;

impl Downloads {
    /// Who the parents are from now on, as the origin says. `connected`: the connection to the peer
    /// at an address. The addresses of parents that are not connected.
    pub(crate) fn assign_parents(
        &mut self,
        now: Time,
        planner: ConnId,
        parents: &[Parent],
        connections: &mut Connections,
        rng: &mut fastrand::Rng,
        out: &mut VecDeque<Output>,
    ) -> Vec<SocketAddr> {
        let before = self.relayed.served();
        let connected = |addr| connections.relay_at(addr);
        let awaited = self.relayed.parents.assign(now, planner, parents, connected);
        self.relayed.heads = (0..self.relayed.parents.stripe_count() as u32).collect();
        self.leave_parents(now, &before, false, connections, rng, out);
        awaited
    }

    /// A peer is connected that keeps requests. Whether it is a parent that was awaited.
    pub(crate) fn on_relay_connected(
        &mut self,
        now: Time,
        conn: ConnId,
        listen_addr: SocketAddr,
    ) -> bool {
        self.relayed.parents.on_connected(now, conn, listen_addr)
    }

    /// A peer is a parent: says that we are interested.
    pub(crate) fn on_parent(
        &mut self,
        now: Time,
        connection: &mut Connection,
        out: &mut VecDeque<Output>,
    ) {
        let Some(peer) = self.peers.get_mut(&connection.conn()) else { return };
        peer.exhausted_at = None;
        if !self.picker.have().is_full() && !std::mem::replace(&mut peer.is_interested, true) {
            connection.send(now, Decision::Interested, out);
        }
    }

    /// Whether some stripe is expected of a parent.
    pub(crate) fn is_relayed(&self) -> bool {
        self.relayed.parents.is_active() && !self.have().is_full()
    }

    /// Whether a peer is a parent.
    pub(crate) fn is_parent(&self, conn: ConnId) -> bool {
        self.relayed.is_parent(conn)
    }

    /// The peers that are parents.
    pub(crate) fn parents(&self) -> impl Iterator<Item = ConnId> {
        self.relayed.served().into_iter().flatten()
    }

    /// The peer that says who the parents are.
    pub(crate) fn planner(&self) -> Option<ConnId> {
        self.relayed.parents.planner()
    }

    /// One of two connections to a peer is given up.
    pub(crate) fn on_duplicate_gone(&mut self, now: Time, conn: ConnId, listen_addr: SocketAddr) {
        self.relayed.parents.on_duplicate_gone(now, conn, listen_addr);
    }

    /// A connection is over: the stripes whose parent it was.
    pub(crate) fn on_parent_gone(&mut self, conn: ConnId) -> Vec<Orphaned> {
        let orphaned = self.relayed.parents.on_gone(conn);
        self.generation += u64::from(!orphaned.is_empty());
        orphaned
    }

    /// The stripes whose parents have failed. From here on, any peer is asked for them.
    pub(crate) fn give_up_parents(
        &mut self,
        now: Time,
        connections: &mut Connections,
        rng: &mut fastrand::Rng,
        out: &mut VecDeque<Output>,
    ) -> Vec<Orphaned> {
        if !self.is_relayed() {
            return Vec::new();
        }
        let before = self.relayed.served();
        let progress: Vec<StripeProgress> = before
            .iter()
            .enumerate()
            .map(|(stripe, &parent)| {
                let (prefix, is_done) = self.stripe_prefix(stripe);
                let parent = parent.and_then(|conn| {
                    self.parent_state(now, stripe, prefix, connections.get(conn)?)
                });
                StripeProgress { prefix, is_done, parent }
            })
            .collect();
        let failed = self.relayed.parents.take_failed(now, &progress);
        if !failed.is_empty() {
            self.leave_parents(now, &before, true, connections, rng, out);
        }
        failed
    }

    fn parent_state(
        &self,
        now: Time,
        stripe: usize,
        prefix: u32,
        connection: &Connection,
    ) -> Option<ParentState> {
        let peer = self.peers.get(&connection.conn())?;
        let stripes = self.relayed.parents.stripe_count() as u32;
        let is_of = |block: Block| block.piece as usize % stripes as usize == stripe;
        let owed = peer.outstanding().filter(|request| !request.is_ahead && is_of(request.block));
        let owed_since = owed.map(|request| request.requested_at).min();
        let further = stripe as u32 + (prefix + AHEAD_PIECES) * stripes;
        let has_further =
            connection.have().is_some_and(|have| further < have.len() && have.get(further));
        Some(ParentState {
            is_snubbed: peer.is_snubbed(),
            owed_for: owed_since.map_or(Duration::ZERO, |since| now.since(since)),
            latency: peer.pipeline.latency(),
            is_ahead: has_further || self.planner() == Some(connection.conn()),
        })
    }

    /// How many pieces of a stripe are stored, from the first one on, and whether these are all.
    fn stripe_prefix(&mut self, stripe: usize) -> (u32, bool) {
        let stripes = self.relayed.heads.len();
        let have = self.picker.have();
        let head = &mut self.relayed.heads[stripe];
        while *head < have.len() && have.get(*head) {
            *head += stripes as u32;
        }
        (*head / stripes as u32, *head >= have.len())
    }

    /// Takes back what former parents were asked for: what they do not have yet, and with `is_all`
    /// everything.
    fn leave_parents(
        &mut self,
        now: Time,
        before: &[Option<ConnId>],
        is_all: bool,
        connections: &mut Connections,
        rng: &mut fastrand::Rng,
        out: &mut VecDeque<Output>,
    ) {
        self.generation += 1;
        for (stripe, &parent) in before.iter().enumerate() {
            let Some(conn) = parent.filter(|_| self.relayed.parents.parent(stripe) != parent)
            else {
                continue;
            };
            let Some(peer) = self.peers.get_mut(&conn) else { continue };
            let is_of = |block: Block| block.piece as usize % before.len() == stripe;
            let left = peer.outstanding().filter(|request| request.is_ahead || is_all);
            let left: Vec<Block> =
                left.map(|request| request.block).filter(|&block| is_of(block)).collect();
            for &block in &left {
                peer.take_request(block);
                peer.late_allowance += 1;
                if let Some(connection) = connections.get_mut(conn) {
                    connection.send(now, Decision::Cancel(block), out);
                }
            }
            self.release(conn, left.into_iter(), rng, out);
        }
    }

    /// Requests of a parent as much of its stripes, in their order, as its window holds, and a
    /// little of what it does not have yet. Whether there was something.
    pub(super) fn request_stripes(
        &mut self,
        now: Time,
        connection: &Connection,
        (max_block, request_queue): (u32, usize),
        rng: &mut fastrand::Rng,
        out: &mut VecDeque<Output>,
    ) -> bool {
        let conn = connection.conn();
        let mut is_any = false;
        let has_all = self.planner() == Some(conn);
        let has = |piece| has_all || connection.have().is_some_and(|have| have.get(piece));
        while let Some(peer) = self.peers.get(&conn)
            && peer.outstanding_count() < request_queue
        {
            let window = Window { length: peer.pipeline.request_length(max_block), has: &has };
            let Some(piece) = self.next_of_stripes(conn, window) else { break };
            let longest = if has(piece) { window.length } else { max_block };
            let pick = self.picker.request_piece(now, conn, piece, longest, rng);
            let Some(Pick { block, evicted }) = pick else { break };
            if let Some(piece) = evicted {
                out.push_back(Output::DiscardBlocks { piece });
                self.generation += 1;
            }
            let Some(peer) = self.peers.get_mut(&conn) else { break };
            peer.on_requested(now, block, !has(piece));
            out.push_back(request_output(conn, block));
            is_any = true;
        }
        is_any
    }

    /// The lowest piece of the stripes of a parent that it can be asked for.
    fn next_of_stripes(&mut self, conn: ConnId, window: Window<'_>) -> Option<u32> {
        let stripes: Vec<usize> = self.relayed.parents.stripes_of(conn).collect();
        stripes.iter().for_each(|&stripe| _ = self.stripe_prefix(stripe));
        let peer = self.peers.get(&conn)?;
        let is_room = peer.fits(window.length);
        let step = self.relayed.heads.len();
        let piece_length = self.geometry.piece_length();
        let least = piece_length.saturating_mul(2).clamp(MIN_AHEAD, MAX_AHEAD);
        let first_of = |stripe: usize| {
            let is_of = |block: Block| block.piece as usize % step == stripe;
            let outstanding = peer.outstanding().filter(|request| is_of(request.block));
            let bytes: u32 = outstanding.map(|request| request.block.length).sum();
            let pieces = (self.relayed.heads[stripe]..self.geometry.pieces()).step_by(step);
            let mut free = pieces.filter(|&piece| self.picker.may_request(conn, piece));
            match bytes < least {
                true => free.next(),
                false if is_room => free.take(MAX_CONSIDERED).find(|&piece| (window.has)(piece)),
                false => None,
            }
        };
        stripes.into_iter().filter_map(first_of).min()
    }
}

/// What limits the requests to a parent.
#[derive(Clone, Copy)]
struct Window<'a> {
    /// The length of a request for what it has.
    length: u32,
    /// Whether it has a piece.
    has: &'a dyn Fn(u32) -> bool,
}
