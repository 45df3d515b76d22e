//! Getting pieces: who has what, what is asked of whom, what comes, what stalls. Nothing here
//! serves anybody.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use sow_content::{Bitfield, Block};
use sow_wire::bittorrent::{BlockRequest, Message};

use crate::{
    config::Integrity,
    disconnect::{DisconnectReason, Misbehavior},
    engine::{Engine, Phase},
    io::{ConnId, Dialect, Event, Output, StoreMode, Time},
    peer::{Outstanding, Peer, Theirs},
};

/// Pieces that a choked peer may be told to ask for anyway, at most (BEP 6 suggests ten).
const ALLOWED_FAST: usize = 64;

/// A request stalls after this long, and four times its connection's usual latency.
const STALL: Duration = Duration::from_secs(2);

/// However slow a connection is, it does not get more than this.
const LAST_STALL: Duration = Duration::from_secs(15);

/// A peer that had nothing to be asked for, or refused, is looked at again after this long.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A connection that never delivered gets this long.
const FIRST_STALL: Duration = Duration::from_secs(10);

/// A piece that this many peers have is no news.
const COMMON: u16 = 4;

impl Engine {
    /// A bitfield, have-all (`None`, true) or have-none (`None`, false).
    pub(crate) fn has_pieces(
        &mut self,
        now: Time,
        conn: ConnId,
        bitfield: Option<Bytes>,
        all: bool,
    ) -> Result<(), DisconnectReason> {
        let Some(peer) = self.peers.get_mut(&conn) else { return Ok(()) };
        let new = match &mut peer.theirs {
            Theirs::Early(early) => return early.say(bitfield, all),
            Theirs::Known { have, said } => {
                // aria2 says many new pieces by another bitfield.
                if std::mem::replace(said, true) && bitfield.is_none() {
                    return Err(DisconnectReason::Misbehaved(Misbehavior::LateBitfield));
                }
                let pieces = have.len();
                let theirs = match bitfield {
                    Some(bytes) => Bitfield::from_bytes(&bytes, pieces)
                        .map_err(|_| DisconnectReason::Misbehaved(Misbehavior::BitfieldMismatch))?,
                    None if all => Bitfield::full(pieces),
                    None => return Ok(()),
                };
                theirs.iter().filter(|&piece| !have.get(piece)).collect::<Vec<u32>>()
            }
        };
        self.gained(now, conn, &new);
        self.fill(now, conn);
        Ok(())
    }

    pub(crate) fn has_piece(
        &mut self,
        now: Time,
        conn: ConnId,
        piece: u32,
    ) -> Result<(), DisconnectReason> {
        let Some(peer) = self.peers.get_mut(&conn) else { return Ok(()) };
        match &mut peer.theirs {
            Theirs::Early(early) => early.have(piece),
            Theirs::Known { have, .. } if piece >= have.len() => {
                Err(DisconnectReason::Misbehaved(Misbehavior::PieceIndexOutOfRange))
            }
            Theirs::Known { have, .. } => {
                if !have.get(piece) {
                    self.gained(now, conn, &[piece]);
                    self.offer(now, conn);
                    self.fill(now, conn);
                }
                Ok(())
            }
        }
    }

    /// A peer has pieces that it had not before: counts, interest, completeness.
    pub(crate) fn gained(&mut self, now: Time, conn: ConnId, pieces: &[u32]) {
        let Phase::Ready(ready) = &mut self.phase else { return };
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        let Theirs::Known { have, .. } = &mut peer.theirs else { return };
        for &piece in pieces {
            have.set(piece);
            ready.picker.add(piece, &mut self.rng);
            peer.wanted += u32::from(!ready.picker.have().get(piece));
            if let (Some(spread), Some(offers)) = (&mut ready.spread, &mut peer.offers) {
                spread.gained(piece, offers, &mut self.rng);
                offers.used(piece);
            }
        }
        peer.dry = None;
        let (complete, interest) = (have.is_full(), peer.wanted > 0 && !peer.am_interested);
        let (addr, peer_id) = (peer.listen_addr().unwrap_or(peer.addr), peer.handshake.peer_id);
        if interest {
            peer.am_interested = true;
            self.send(now, conn, Message::Interested);
        }
        if complete && !pieces.is_empty() {
            self.event(Event::PeerComplete { addr, peer_id });
        }
    }

    pub(crate) fn unchoked(&mut self, now: Time, conn: ConnId) -> Result<(), DisconnectReason> {
        if let Some(peer) = self.peers.get_mut(&conn)
            && peer.peer_choking
        {
            peer.peer_choking = false;
            peer.dry = None;
            self.fill(now, conn);
        }
        Ok(())
    }

    pub(crate) fn choked(&mut self, now: Time, conn: ConnId) -> Result<(), DisconnectReason> {
        let Some(peer) = self.peers.get_mut(&conn) else { return Ok(()) };
        let news = !std::mem::replace(&mut peer.peer_choking, true);
        if news && !peer.handshake.fast {
            peer.take_awaited();
            // What was asked for is void, but a block may be under way (BEP 3); with BEP 6 each
            // request is rejected.
            let void: Vec<Outstanding> = peer.outstanding.drain(..).collect();
            peer.outstanding_bytes = 0;
            peer.strays += void.len() as u32;
            self.release(conn, &void);
            self.refill(now);
        }
        Ok(())
    }

    pub(crate) fn rejected(
        &mut self,
        now: Time,
        conn: ConnId,
        request: BlockRequest,
    ) -> Result<(), DisconnectReason> {
        let Some(block) = self.known_block(request) else {
            return Err(DisconnectReason::Misbehaved(Misbehavior::RequestOutOfRange));
        };
        let Some(peer) = self.peers.get_mut(&conn) else { return Ok(()) };
        if let Some(taken) = peer.take_outstanding(block) {
            // It is not asked for the same thing again until it says something new.
            peer.dry = Some(self.generation + 1);
            self.release(conn, &[taken]);
            self.refill(now);
        }
        Ok(())
    }

    pub(crate) fn allowed_fast(
        &mut self,
        now: Time,
        conn: ConnId,
        piece: u32,
    ) -> Result<(), DisconnectReason> {
        if let Some(peer) = self.peers.get_mut(&conn)
            && peer.allowed_fast.len() < ALLOWED_FAST
            && peer.allowed_fast.insert(piece)
        {
            peer.dry = None;
            self.fill(now, conn);
        }
        Ok(())
    }

    /// The payload of a block came, whole. `Some`: the part of it to keep for its piece's assembly
    /// (all of it, or a run within it); `None`: nothing of it is of use.
    pub fn block_arrived(
        &mut self,
        now: Time,
        conn: ConnId,
        request: BlockRequest,
    ) -> Option<Block> {
        let block = self.known_block(request);
        let whole = match &self.phase {
            Phase::Ready(ready) => ready.geometry.length_of(request.piece),
            Phase::Fetching(_) | Phase::Settling => 0,
        };
        let peer = self.peers.get_mut(&conn)?;
        peer.heard = now;
        peer.down.add(now, u64::from(request.length));
        self.down.add(now, u64::from(request.length));
        let full = peer.outstanding_bytes + peer.pipeline.request_length(u32::MAX)
            >= peer.pipeline.window();
        let awaited = peer.take_awaited();
        let asked = block.and_then(|block| peer.take_outstanding(block));
        if awaited.is_some()
            && !block.is_some_and(|block| awaited == Some(block.piece) && whole == block.length)
        {
            // Another piece than the one that was asked for, or not all of it.
            return self.unrequested(now, conn, request);
        }
        if let Some(asked) = asked {
            peer.last_block = now;
            let rate = peer.down.per_second(now);
            peer.pipeline.arrived(now, now.since(asked.at), request.length, rate, full);
        } else if peer.strays > 0 {
            peer.strays -= 1;
        } else {
            return self.unrequested(now, conn, request);
        }
        let kept = self.keep(now, conn, block?);
        self.wasted += u64::from(request.length.saturating_sub(kept.map_or(0, |kept| kept.length)));
        self.fill(now, conn);
        kept
    }

    /// A block that nobody asked for ends the connection.
    fn unrequested(&mut self, now: Time, conn: ConnId, request: BlockRequest) -> Option<Block> {
        self.wasted += u64::from(request.length);
        self.drop_peer(now, conn, DisconnectReason::Misbehaved(Misbehavior::UnsolicitedData));
        None
    }

    /// Marks a block as here, calls rivals off, hands the piece on when it is whole.
    fn keep(&mut self, now: Time, conn: ConnId, block: Block) -> Option<Block> {
        let Phase::Ready(ready) = &mut self.phase else { return None };
        let arrival = ready.picker.arrived(conn, block)?;
        let length = ready.geometry.length_of(block.piece);
        let storing = match ready.proof {
            Integrity::PieceHashes => {
                StoreMode::Verify { digests: ready.picker.is_suspect(block.piece) }
            }
            Integrity::FileDigest if ready.picker.have().get(block.piece) => {
                StoreMode::WriteIfDifferent
            }
            Integrity::FileDigest => StoreMode::WriteUnverified,
        };
        for rival in arrival.rivals {
            self.call_off(now, rival, block.piece);
        }
        if arrival.whole {
            if storing == StoreMode::WriteUnverified {
                self.note_origin(conn, block.piece);
            }
            self.push(Output::Store { piece: block.piece, mode: storing, length });
        }
        Some(arrival.kept)
    }

    /// Cancels what `rival` was asked for and is here by now.
    fn call_off(&mut self, now: Time, rival: ConnId, piece: u32) {
        let Phase::Ready(ready) = &self.phase else { return };
        let Some(peer) = self.peers.get_mut(&rival) else { return };
        let void: Vec<Block> = peer
            .outstanding
            .iter()
            .map(|waiting| waiting.block)
            .filter(|block| block.piece == piece && ready.picker.is_here(*block))
            .collect();
        for block in void {
            peer.take_outstanding(block);
            peer.strays += 1;
            let Block { piece, offset, length } = block;
            let cancel = peer.say(now, Message::Cancel(BlockRequest { piece, offset, length }));
            self.out.extend(cancel);
        }
        peer.dry = None;
        self.fill(now, rival);
    }

    /// Asks a peer for as much as its window holds.
    pub(crate) fn fill(&mut self, now: Time, conn: ConnId) {
        match self.peers.get(&conn).map(Peer::dialect) {
            Some(Dialect::BitTorrent) => {}
            Some(Dialect::JsonTorrent) => {
                self.ask_whole(now, conn);
                return;
            }
            Some(Dialect::Chunk) => return self.chunk_turn(now, conn),
            None => return,
        }
        let Phase::Ready(ready) = &mut self.phase else { return };
        if ready.halted {
            return;
        }
        let latencies =
            if ready.picker.in_end_game() { latencies(&self.peers) } else { BTreeMap::new() };
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        let Theirs::Known { have, .. } = &peer.theirs else { return };
        let fast;
        let theirs = if !peer.peer_choking {
            have
        } else if peer.allowed_fast.is_empty() {
            return;
        } else {
            fast = allowed(have, &peer.allowed_fast);
            &fast
        };
        let longest = peer.longest_block(self.config.max_block);
        let queue = peer.request_queue();
        let ends = ready.picker.in_end_game();
        while peer.outstanding.len() < queue
            && (ends || peer.dry.is_none_or(|dry| dry < self.generation))
        {
            let length = peer.pipeline.request_length(longest);
            if peer.outstanding_bytes > 0
                && peer.outstanding_bytes + length > peer.pipeline.window()
            {
                break;
            }
            let pick = ready.picker.next(now, conn, theirs, length, &mut self.rng);
            let block = match pick {
                Some(pick) => {
                    if let Some(piece) = pick.evicted {
                        self.out.push_back(Output::DiscardBlocks { piece });
                        self.generation += 1;
                    }
                    pick.block
                }
                None => {
                    // Only an idle connection may fetch what another one was asked for.
                    let worth = brings_sooner(peer.pipeline.latency(), &latencies, now);
                    let steal = peer
                        .outstanding
                        .is_empty()
                        .then(|| ready.picker.steal(conn, theirs, worth));
                    match steal.flatten() {
                        Some(block) => block,
                        None => {
                            if !ready.picker.in_end_game() {
                                peer.dry = Some(self.generation);
                            }
                            break;
                        }
                    }
                }
            };
            peer.outstanding.push_back(Outstanding { block, at: now });
            peer.outstanding_bytes += block.length;
            let Block { piece, offset, length } = block;
            peer.sent = now;
            let request = Message::Request(BlockRequest { piece, offset, length });
            self.out.push_back(Output::Send { conn, message: request.into() });
        }
    }

    /// Looks for work for every peer.
    pub(crate) fn refill(&mut self, now: Time) {
        let Phase::Ready(ready) = &self.phase else { return };
        if ready.complete_since.is_none() {
            let conns: Vec<ConnId> = self.peers.keys().copied().collect();
            conns.into_iter().for_each(|conn| self.fill(now, conn));
        }
    }

    /// Requests will not be answered: others may be asked.
    fn release(&mut self, conn: ConnId, requests: &[Outstanding]) {
        let Phase::Ready(ready) = &mut self.phase else { return };
        if requests.is_empty() {
            return;
        }
        let mut lost = Vec::new();
        for request in requests {
            lost.extend(ready.picker.release(conn, request.block, &mut self.rng));
        }
        self.generation += 1;
        lost.into_iter().for_each(|piece| self.push(Output::DiscardBlocks { piece }));
    }

    /// A peer is gone: what it was asked for is free again.
    pub(crate) fn release_downloads(&mut self, peer: &Peer) {
        let requests: Vec<Outstanding> = peer.outstanding.iter().copied().collect();
        self.release(peer.conn, &requests);
        let Phase::Ready(ready) = &mut self.phase else { return };
        let lost = ready.picker.forsake(peer.conn, &mut self.rng);
        lost.into_iter().for_each(|piece| self.push(Output::DiscardBlocks { piece }));
    }

    /// Frees what has stalled for others, looks again for what there was none of, and in the end
    /// game lets idle peers help.
    pub(crate) fn housekeep_downloads(&mut self, now: Time) {
        self.fetch_metadata(now);
        let Phase::Ready(ready) = &mut self.phase else { return };
        if ready.complete_since.is_some() {
            return;
        }
        let peers = &self.peers;
        let useless =
            |conn| peers.get(&conn).is_none_or(|peer| peer.peer_choking || peer.dry.is_some());
        let lost = ready.picker.reclaim(useless, &mut self.rng);
        self.generation += u64::from(!lost.is_empty());
        if now >= ready.look_again {
            ready.look_again = now + LOOK_AGAIN;
            self.peers.values_mut().for_each(|peer| peer.dry = None);
        }
        lost.into_iter().for_each(|piece| self.push(Output::DiscardBlocks { piece }));
        self.release_stalled(now);
        self.refill(now);
    }

    /// Takes back requests that are not answered, where somebody else has the piece.
    fn release_stalled(&mut self, now: Time) {
        let Phase::Ready(ready) = &self.phase else { return };
        let mut stalled = Vec::new();
        for (&conn, peer) in &self.peers {
            let patience = match peer.pipeline.latency() {
                Duration::ZERO => FIRST_STALL,
                latency => (STALL + 4 * latency).min(LAST_STALL),
            };
            let patience = peer.patience(patience);
            if now.since(peer.last_block) < patience {
                continue;
            }
            let late = peer.outstanding.iter().filter(|request| now.since(request.at) >= patience);
            // What is fetched for the second time is to come from this one.
            let late = late.filter(|request| {
                let piece = request.block.piece;
                ready.picker.count(piece) > 1 && !ready.picker.have().get(piece)
            });
            stalled.extend(late.map(|&request| (conn, request)));
        }
        for (conn, request) in stalled {
            self.release(conn, &[request]);
            let Some(peer) = self.peers.get_mut(&conn) else { continue };
            peer.take_outstanding(request.block);
            peer.strays += 1;
            // It is not asked for the same thing again at once.
            peer.dry = Some(self.generation);
            let Block { piece, offset, length } = request.block;
            self.send(now, conn, Message::Cancel(BlockRequest { piece, offset, length }));
        }
    }

    pub(crate) fn piece_verified(&mut self, now: Time, piece: u32, digests: &[[u8; 20]]) {
        let Phase::Ready(ready) = &mut self.phase else { return };
        let crowded = ready.picker.is_crowded();
        let from = ready.picker.shares(piece);
        ready.picker.stored(piece);
        let guilty = ready.culprits.verified(piece, digests);
        let complete = ready.picker.have().is_full();
        if complete {
            ready.complete_since = Some(now);
        }
        self.event(Event::PieceVerified { piece, from });
        guilty.into_iter().for_each(|conn| self.ban(now, conn, piece));
        self.tell_have(now, piece, complete);
        if complete {
            self.completed(now);
        }
        if crowded {
            // Its room may be what others wait for.
            self.generation += 1;
            self.refill(now);
        }
    }

    /// Tells everybody that we have a piece: at once where that is news, else when there is time.
    /// It is no news to those who have it, nor when several others have it; a packet for each HAVE
    /// would cost a crowd several percent.
    pub(crate) fn tell_have(&mut self, now: Time, piece: u32, complete: bool) {
        let Phase::Ready(ready) = &self.phase else { return };
        let rare = ready.picker.count(piece) < COMMON;
        let conns: Vec<ConnId> = self.peers.keys().copied().collect();
        for conn in conns {
            let Some(peer) = self.peers.get_mut(&conn) else { continue };
            let has = peer.have().is_some_and(|have| have.get(piece));
            if has {
                peer.wanted = peer.wanted.saturating_sub(1);
            }
            match peer.dialect() {
                Dialect::BitTorrent if rare && !has => self.send(now, conn, Message::Have(piece)),
                Dialect::BitTorrent => peer.late_haves.push(piece),
                Dialect::JsonTorrent if !has => {
                    peer.late_haves.push(piece);
                    self.tell_json_news(now, conn);
                }
                Dialect::JsonTorrent | Dialect::Chunk => {}
            }
            if complete {
                self.say_late_haves(now, conn);
            }
            let Some(peer) = self.peers.get_mut(&conn) else { continue };
            if peer.wanted == 0 && peer.am_interested {
                peer.am_interested = false;
                self.send(now, conn, Message::NotInterested);
            }
        }
    }

    /// Tells a peer of the pieces that it has itself.
    pub(crate) fn say_late_haves(&mut self, now: Time, conn: ConnId) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        if peer.dialect() != Dialect::BitTorrent {
            return;
        }
        for piece in std::mem::take(&mut peer.late_haves) {
            self.send(now, conn, Message::Have(piece));
        }
    }

    pub(crate) fn piece_corrupt(&mut self, now: Time, piece: u32, digests: &[[u8; 20]]) {
        let Phase::Ready(ready) = &mut self.phase else { return };
        let sources = ready.picker.sources(piece);
        let guilty = ready.culprits.corrupt(piece, &sources, digests);
        ready.picker.start_over(piece, true, &mut self.rng);
        self.wasted += u64::from(ready.geometry.length_of(piece));
        self.generation += 1;
        self.event(Event::PieceCorrupt { piece });
        if let Some(conn) = guilty {
            self.ban(now, conn, piece);
        }
        self.refill(now);
    }

    /// A byte range from outside, checked.
    pub(crate) fn known_block(&self, request: BlockRequest) -> Option<Block> {
        let Phase::Ready(ready) = &self.phase else { return None };
        ready.geometry.block(request.piece, request.offset, request.length)
    }
}

/// How long blocks usually take on each connection that has delivered.
pub(crate) fn latencies(peers: &BTreeMap<ConnId, Peer>) -> BTreeMap<ConnId, Duration> {
    let usual = peers.iter().map(|(&conn, peer)| (conn, peer.pipeline.latency()));
    usual.filter(|(_, latency)| !latency.is_zero()).collect()
}

/// Whether a connection of that latency brings something sooner than the one that was asked for it.
pub(crate) fn brings_sooner(
    own: Duration,
    latencies: &BTreeMap<ConnId, Duration>,
    now: Time,
) -> impl Fn(ConnId, Time) -> bool + use<'_> {
    move |other, since| {
        let usual = latencies.get(&other).copied().unwrap_or(FIRST_STALL);
        let age = now.since(since);
        usual.saturating_sub(age) > own || age > 2 * usual.max(own)
    }
}

/// The pieces of `have` that may be asked for while choked.
fn allowed(have: &Bitfield, fast: &std::collections::BTreeSet<u32>) -> Bitfield {
    let mut allowed = Bitfield::new(have.len());
    fast.iter().filter(|&&piece| have.get(piece)).for_each(|&piece| _ = allowed.set(piece));
    allowed
}
