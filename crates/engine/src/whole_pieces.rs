//! Asking for whole pieces, one at a time on each connection, in the dialects that know nothing smaller; and the second
//! connection to the same peer, without which a round trip would pass between any two pieces.

use std::{collections::BTreeSet, time::Duration};

use sow_content::Block;
use sow_wire::bittorrent::{BlockRequest, Message};

use crate::{
    config::Proof,
    downloading::{brings_sooner, latencies},
    engine::{Engine, Phase},
    io::{ConnId, Direction, DropReason, Output, Time},
    peer::{Asked, Outstanding, Peer, Theirs},
    share::Share,
};

/// Whole pieces that wait for one peer; the documents allow one.
const REQUESTS: usize = 64;

/// Connections to one peer.
const LANES: usize = 2;

/// What is others' to fetch is left to them for this long at least.
const HELP: Duration = Duration::from_millis(500);

/// The turn of what is left to its owner.
const NOT_OURS: usize = usize::MAX;

/// With more peers than this each gets one connection only: they keep each other busy.
const FEW: usize = 16;

impl Engine {
    /// Asks a peer for a piece, if it may be asked and there is one. Whether it was asked.
    pub(crate) fn ask_whole(&mut self, now: Time, conn: ConnId) -> bool {
        let Phase::Ready(ready) = &mut self.phase else { return false };
        let ends = ready.picker.in_end_game();
        let Some(peer) = self.peers.get(&conn) else { return false };
        let dry = !ends && peer.dry.is_some_and(|dry| dry >= self.generation);
        if ready.halted || dry || peer.peer_choking || !peer.may_be_asked() {
            return false;
        }
        let share = self.share_at(conn);
        let Phase::Ready(ready) = &mut self.phase else { return false };
        // The sum of the whole is taken from the beginning while the rest comes, as long as order is nobody's loss. That
        // nobody else is there may be that nobody has called yet; with something in hand it is likely.
        let in_order = ready.proof == Proof::Whole
            && ready.picker.have().count() > 0
            && share.as_deref().is_some_and(Share::is_alone);
        if in_order && ready.is_ahead_of_sum() {
            return false;
        }
        let turn = |piece| share.as_ref().map_or((0, 0), |share| share.turn(piece));
        let Some(peer) = self.peers.get(&conn) else { return false };
        let Theirs::Known { have, .. } = &peer.theirs else { return false };
        let helps =
            !in_order && ready.picker.fresh_by_turn(have, turn).is_some_and(|piece| turn(piece).0 > 0);
        let left = match &share {
            Some(share) if helps => self.left_to_owners(share),
            _ => BTreeSet::new(),
        };
        let turn = |piece| {
            let (rank, order) = turn(piece);
            (if left.contains(&piece) { NOT_OURS } else { rank }, order)
        };
        let Phase::Ready(ready) = &mut self.phase else { return false };
        let Some(peer) = self.peers.get_mut(&conn) else { return false };
        let Theirs::Known { have, .. } = &peer.theirs else { return false };
        let waits = helps && ready.picker.fresh_by_turn(have, turn).is_some_and(|piece| turn(piece).0 > 1);
        if !waits {
            peer.helps_since = None;
        } else {
            // Somebody else has asked for them, most likely. Only what he does not get in time is worth asking for again.
            let since = *peer.helps_since.get_or_insert(now);
            if now.since(since) < HELP.max(2 * peer.pipeline.latency()) {
                return false;
            }
        }
        let latencies = if ends { latencies(&self.peers) } else { Default::default() };
        let Some(peer) = self.peers.get_mut(&conn) else { return false };
        let Theirs::Known { have, .. } = &peer.theirs else { return false };
        let block = match ready.picker.next_whole(now, conn, have, turn, in_order, &mut self.rng) {
            Some(pick) => {
                if let Some(piece) = pick.evicted {
                    self.out.push_back(Output::Forget { piece });
                    self.generation += 1;
                }
                pick.block
            }
            None => {
                let worth = brings_sooner(peer.pipeline.latency(), &latencies, now);
                match ready.picker.steal_whole(conn, have, worth) {
                    Some(block) => block,
                    None => {
                        if !ready.picker.in_end_game() {
                            peer.dry = Some(self.generation);
                        }
                        return false;
                    }
                }
            }
        };
        self.request_whole(now, conn, block);
        true
    }

    /// Asks a peer for a piece that was chosen.
    pub(crate) fn request_whole(&mut self, now: Time, conn: ConnId, block: Block) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        peer.outstanding.push_back(Outstanding { block, at: now });
        peer.outstanding_bytes += block.length;
        let Block { piece, offset, length } = block;
        let request = peer.say(now, Message::Request(BlockRequest { piece, offset, length }));
        self.out.extend(request);
    }

    /// Queues a piece that a peer asked for and that is here.
    ///
    /// # Errors
    /// When it has asked for too many.
    pub(crate) fn queue_whole(
        &mut self,
        now: Time,
        conn: ConnId,
        piece: u32,
        length: u32,
    ) -> Result<(), DropReason> {
        let Some(peer) = self.peers.get_mut(&conn) else { return Ok(()) };
        if peer.asked.len() >= REQUESTS {
            return Err(DropReason::Flood);
        }
        peer.asked.push_back(Asked { block: Block { piece, offset: 0, length }, at: now });
        self.serve(now);
        Ok(())
    }

    /// Opens the second connection to a peer that turned out to be worth it.
    pub(crate) fn widen(&mut self, conn: ConnId) {
        let Some(peer) = self.peers.get(&conn) else { return };
        let (addr, dialect) = (peer.addr, peer.dialect());
        let needed = !self.is_complete() && peer.direction == Direction::Dialed;
        let dialed = |peer: &&Peer| peer.direction == Direction::Dialed;
        let same = self.peers.values().filter(dialed).filter(|peer| peer.addr == addr).count();
        let all = self.peers.values().filter(dialed).count();
        if needed && same < LANES && all < FEW && self.may_dial() && !self.widened.contains(&addr) {
            self.widened.insert(addr);
            self.dialing += 1;
            self.push(Output::Dial { addr, dialect });
        }
    }

    /// Whether another connection to the same address is open, so that the address is in use.
    pub(crate) fn is_dialed(&self, addr: std::net::SocketAddr) -> bool {
        self.peers.values().any(|peer| peer.addr == addr && peer.direction == Direction::Dialed)
    }
}
