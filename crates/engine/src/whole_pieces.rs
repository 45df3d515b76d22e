//! Asking for whole pieces, one at a time on each connection, in the dialects that know nothing
//! smaller; and the second connection to the same peer, without which a round trip would pass
//! between any two pieces.

use std::time::Duration;

use sow_content::Block;
use sow_wire::bittorrent::{BlockRequest, Message};

use crate::{
    config::Integrity,
    disconnect::{DisconnectReason, Misbehavior},
    downloading::{brings_sooner, latencies},
    engine::{Engine, Phase},
    io::{ConnId, Direction, Output, Time},
    peer::{Asked, Outstanding, Peer, Theirs},
    share::Share,
};

/// Whole pieces that wait for one peer; the documents allow one.
const REQUESTS: usize = 64;

/// Connections to one peer.
const LANES: usize = 2;

/// What others are about to fetch is left to them for this long at least.
const HELP: Duration = Duration::from_millis(500);

/// The turn of what is left to its owner.
const NOT_OURS: usize = usize::MAX;

/// With more peers than this each gets one connection only: they keep each other busy.
const FEW: usize = 16;

/// What to ask a peer for.
enum Choice {
    Piece(u32),
    /// It has nothing that nobody was asked for.
    Nothing,
    /// Nothing, for now.
    Later,
}

impl Engine {
    /// Asks a peer for a piece, if it may be asked and there is one. Whether it was asked.
    pub(crate) fn ask_whole(&mut self, now: Time, conn: ConnId) -> bool {
        let Phase::Ready(ready) = &self.phase else { return false };
        let ends = ready.picker.in_end_game();
        let Some(peer) = self.peers.get(&conn) else { return false };
        let dry = !ends && peer.dry.is_some_and(|dry| dry >= self.generation);
        if ready.halted || dry || peer.peer_choking || !peer.may_be_asked() {
            return false;
        }
        let mut share = self.take_share(conn);
        let asked = self.ask_sharing(now, conn, share.as_mut());
        self.share = share.or(self.share.take());
        asked
    }

    /// The same for a peer that may be asked; with a share in what it has if it has everything.
    fn ask_sharing(&mut self, now: Time, conn: ConnId, share: Option<&mut Share>) -> bool {
        let piece = match self.choose_whole(now, conn, share) {
            Choice::Piece(piece) => Some(piece),
            Choice::Nothing => None,
            Choice::Later => return false,
        };
        let Phase::Ready(ready) = &mut self.phase else { return false };
        let ends = ready.picker.in_end_game();
        let pick = piece.and_then(|piece| ready.picker.open_whole(now, conn, piece, &mut self.rng));
        let block = match pick {
            Some(pick) => {
                if let Some(piece) = pick.evicted {
                    self.out.push_back(Output::DiscardBlocks { piece });
                    self.generation += 1;
                }
                pick.block
            }
            None => {
                let latencies = if ends { latencies(&self.peers) } else { Default::default() };
                let Some(peer) = self.peers.get_mut(&conn) else { return false };
                let Theirs::Known { have, .. } = &peer.theirs else { return false };
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

    /// Which piece to ask a peer for: what somebody was asked for in vain; in order, if order is
    /// nobody's loss; what is ours to fetch; what somebody else's is to fetch and will come late;
    /// else by rarity.
    fn choose_whole(&mut self, now: Time, conn: ConnId, share: Option<&mut Share>) -> Choice {
        let shared = share.as_ref().is_some_and(|share| !share.is_alone());
        let Phase::Ready(ready) = &mut self.phase else { return Choice::Later };
        let Some(peer) = self.peers.get(&conn) else { return Choice::Later };
        let Theirs::Known { have, .. } = &peer.theirs else { return Choice::Later };
        if let Some(piece) = ready.picker.released_whole(conn, have) {
            return Choice::Piece(piece);
        }
        if !shared || ready.picker.is_in_order() {
            // The sum of the whole is taken from the beginning while the rest comes. That nobody
            // else is there may be that nobody has called yet; with something in hand it is likely.
            let in_order = ready.proof == Integrity::FileDigest
                && ready.picker.have().count() > 0
                && share.is_some();
            if in_order && ready.is_ahead_of_sum() {
                return Choice::Later;
            }
            let piece = if in_order { ready.picker.lowest(have) } else { ready.picker.fresh(have) };
            return piece.map_or(Choice::Nothing, Choice::Piece);
        }
        let Some(share) = share else { return Choice::Nothing };
        let Some(rarest) = ready.picker.rarest(have).next() else { return Choice::Nothing };
        let rarity = ready.picker.count(rarest);
        let picker = &ready.picker;
        let wanted = |piece| have.get(piece) && picker.count(piece) == rarity;
        if let Some(piece) = share.next_own(picker.returns(), |piece| picker.is_free(piece), wanted)
        {
            if let Some(peer) = self.peers.get_mut(&conn) {
                peer.helps_since = None;
            }
            return Choice::Piece(piece);
        }
        self.choose_help(now, conn, share)
    }

    /// What to ask a seed for when nothing of ours is left. What its owner is about to fetch, and
    /// what others would help with before us, is left to them for a while: only what they do not
    /// get in time is worth asking for again.
    fn choose_help(&mut self, now: Time, conn: ConnId, share: &mut Share) -> Choice {
        let left = self.left_to_owners(share);
        let Phase::Ready(ready) = &self.phase else { return Choice::Later };
        let Some(peer) = self.peers.get_mut(&conn) else { return Choice::Later };
        let Theirs::Known { have, .. } = &peer.theirs else { return Choice::Later };
        let turn = |piece: &u32| {
            let (rank, order) = share.help_turn(*piece);
            (if left.contains(piece) { NOT_OURS } else { rank }, order)
        };
        let Some(piece) = ready.picker.rarest(have).min_by_key(turn) else {
            return Choice::Nothing;
        };
        if turn(&piece).0 > 1 {
            let since = *peer.helps_since.get_or_insert(now);
            if now.since(since) < HELP.max(2 * peer.pipeline.latency()) {
                return Choice::Later;
            }
        }
        Choice::Piece(piece)
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
    ) -> Result<(), DisconnectReason> {
        let Some(peer) = self.peers.get_mut(&conn) else { return Ok(()) };
        if peer.asked.len() >= REQUESTS {
            return Err(DisconnectReason::Misbehaved(Misbehavior::TooManyRequests));
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
