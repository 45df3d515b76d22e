//! Serving pieces: who wants, who may, what is sent next, what the origin offers. Nothing here asks
//! anybody.

use std::time::Duration;

use sow_content::Block;
use sow_wire::bittorrent::{BlockRequest, Message};

use crate::{
    choker::{self, Candidate},
    config::Choking,
    disconnect::{DisconnectReason, Misbehavior},
    engine::{Engine, Phase},
    io::{ConnId, Output, Time},
    peer::{Asked, Peer, REQUEST_QUEUE},
    spread,
};

/// Bytes of one connection that the world may hold at once: what has left here can no longer be
/// cancelled.
const SENDING: u64 = 512 * 1024;

/// Blocks of one connection that the world may hold at once, however short they are.
const SENDING_BLOCKS: usize = 64;

/// Bytes of all connections that the world may hold at once, at least; more at high rates. Few
/// uploads at a time finish early, and what is finished early can be passed on early.
const SENDING_AT_ONCE: u64 = 64 * 1024;

/// The world may hold what it sends within this time.
const SENDING_TIME: Duration = Duration::from_millis(50);

/// Whole pieces that the world may hold at once.
const WHOLE_AT_ONCE: u64 = 3;

/// A whole piece that was asked for waits behind what was spread less for no longer than this.
const OVERDUE: Duration = Duration::from_millis(500);

/// Requests of one peer that are looked at for the one to serve next.
const LOOK: usize = 8;

/// A block that the world has held for longer does not keep others waiting: its receiver is slow.
const SLOW: Duration = Duration::from_millis(200);

/// Pieces that a stranger may ask for before it is unchoked (BEP 6).
const FAST_PIECES: u32 = 10;

impl Engine {
    pub(crate) fn interested(
        &mut self,
        now: Time,
        conn: ConnId,
        interested: bool,
    ) -> Result<(), DisconnectReason> {
        let Some(peer) = self.peers.get_mut(&conn) else { return Ok(()) };
        if peer.peer_interested != interested {
            peer.peer_interested = interested;
            match self.config.choking {
                Choking::Cooperative => self.rechoke_cooperative(now),
                // A free slot is given away at once; who keeps one is decided in rounds.
                Choking::TitForTat if interested => self.rechoke_strangers(now, false),
                Choking::TitForTat => {}
            }
        }
        Ok(())
    }

    /// Gives every slot to a co-operating peer that wants one.
    pub(crate) fn rechoke_cooperative(&mut self, now: Time) {
        if self.config.choking == Choking::Cooperative {
            let chosen = choker::cooperative(&self.candidates(now), self.config.upload_slots, now);
            self.choke_all_but(now, &chosen);
        }
    }

    /// Tit-for-tat as things stand; `draw`: it is time for another lucky one.
    pub(crate) fn rechoke_strangers(&mut self, now: Time, draw: bool) {
        if self.config.choking == Choking::TitForTat {
            let candidates = self.candidates(now);
            let chosen = choker::tit_for_tat(&candidates, draw, &mut self.rng);
            self.choke_all_but(now, &chosen);
        }
    }

    fn candidates(&self, now: Time) -> Vec<Candidate> {
        let complete = self.is_complete();
        let rate = |peer: &Peer| {
            if complete { peer.up.per_second(now) } else { peer.down.per_second(now) }
        };
        let candidate = |peer: &Peer| Candidate {
            conn: peer.conn,
            interested: peer.peer_interested,
            unchoked: !peer.am_choking,
            since: peer.choke_since,
            rate: if self.config.choking == Choking::TitForTat { rate(peer) } else { 0 },
        };
        self.peers.values().map(candidate).collect()
    }

    fn choke_all_but(&mut self, now: Time, chosen: &[ConnId]) {
        let mut changes = Vec::new();
        for (&conn, peer) in &mut self.peers {
            let unchoke = chosen.contains(&conn);
            if unchoke && peer.waits_to_be_interested() {
                continue;
            }
            if peer.am_choking == unchoke {
                peer.am_choking = !unchoke;
                peer.choke_since = now;
                changes.push((conn, unchoke));
            }
        }
        for (conn, unchoke) in changes {
            self.send(now, conn, if unchoke { Message::Unchoke } else { Message::Choke });
            if !unchoke {
                self.reject_all(now, conn);
            }
        }
    }

    /// After a choke, what was asked for is void; with BEP 6 that is said for each request.
    fn reject_all(&mut self, now: Time, conn: ConnId) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        let void = std::mem::take(&mut peer.asked);
        if peer.handshake.fast {
            for asked in void {
                self.send(now, conn, Message::Reject(request_of(asked.block)));
            }
        }
    }

    pub(crate) fn requested(
        &mut self,
        now: Time,
        conn: ConnId,
        request: BlockRequest,
    ) -> Result<(), DisconnectReason> {
        if self.have().is_none() {
            return Err(DisconnectReason::Misbehaved(Misbehavior::RequestOutOfRange));
        }
        let longest = self.longest_answer();
        let block = self.known_block(request).filter(|block| block.length <= longest);
        let block = block.ok_or(DisconnectReason::Misbehaved(Misbehavior::RequestOutOfRange))?;
        let have = self.have().is_some_and(|have| have.get(block.piece));
        let fast_piece = self.is_allowed_fast(conn, block.piece);
        let Some(peer) = self.peers.get_mut(&conn) else { return Ok(()) };
        let fast = peer.handshake.fast;
        if peer.am_choking && !(fast && fast_piece) {
            // It may have asked before it heard of the choke.
            if fast {
                self.send(now, conn, Message::Reject(request));
            }
            return Ok(());
        }
        if !have {
            if !fast {
                return Err(DisconnectReason::Misbehaved(Misbehavior::RequestOutOfRange));
            }
            self.send(now, conn, Message::Reject(request));
            return Ok(());
        }
        if peer.asked.len() >= REQUEST_QUEUE {
            return Err(DisconnectReason::Misbehaved(Misbehavior::TooManyRequests));
        }
        peer.asked.push_back(Asked { block, at: now });
        let used = peer.offers.as_mut().is_some_and(|offers| offers.used(block.piece));
        if used {
            self.offer(now, conn);
        }
        self.serve(now);
        Ok(())
    }

    pub(crate) fn cancelled(
        &mut self,
        now: Time,
        conn: ConnId,
        request: BlockRequest,
    ) -> Result<(), DisconnectReason> {
        let block = self
            .known_block(request)
            .ok_or(DisconnectReason::Misbehaved(Misbehavior::RequestOutOfRange))?;
        let Some(peer) = self.peers.get_mut(&conn) else { return Ok(()) };
        if let Some(at) = peer.asked.iter().position(|asked| asked.block == block) {
            peer.asked.remove(at);
            if peer.handshake.fast {
                // BEP 6: every request is answered, by its block or by a rejection.
                let rejection = peer.say(now, Message::Reject(request));
                self.out.extend(rejection);
            }
        }
        Ok(())
    }

    pub(crate) fn block_sent(&mut self, now: Time, conn: ConnId, block: Block) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        let bytes = u64::from(block.length);
        if let Some(at) = peer.sending.iter().position(|sending| sending.block == block) {
            peer.sending.remove(at);
        }
        peer.up.add(now, bytes);
        peer.sent = now;
        self.up.add(now, bytes);
        self.offer(now, conn);
        self.serve(now);
    }

    /// Hands blocks that were asked for to the world, what was spread least first.
    pub(crate) fn serve(&mut self, now: Time) {
        let rate = self.up.per_second(now) as f64;
        let room = self
            .whole_at_once()
            .max(SENDING_AT_ONCE)
            .max((rate * SENDING_TIME.as_secs_f64()) as u64);
        let fresh = |asked: &&Asked| now.since(asked.at) < SLOW;
        let mut held: u64 = self
            .peers
            .values()
            .flat_map(|peer| peer.sending.iter().filter(fresh))
            .map(|sending| u64::from(sending.block.length))
            .sum();
        while held < room {
            let Some((conn, block)) = self.next_to_send(now) else { return };
            held += u64::from(block.length);
            self.out.push_back(Output::SendBlock { conn, block });
        }
    }

    /// What the world may hold at once where whole pieces are asked for, in bytes: one of them
    /// alone can wait for its receiver's link while ours is idle.
    fn whole_at_once(&self) -> u64 {
        match &self.phase {
            Phase::Ready(ready) if self.peers.values().any(Peer::asks_whole) => {
                WHOLE_AT_ONCE * u64::from(ready.geometry.piece_length())
            }
            _ => 0,
        }
    }

    /// What is sent next: the rest of a piece that is begun, then the piece that was spread least,
    /// then who waited longest.
    fn next_to_send(&mut self, now: Time) -> Option<(ConnId, Block)> {
        let Phase::Ready(ready) = &mut self.phase else { return None };
        let mut best = None;
        for (&conn, peer) in &self.peers {
            if peer.sending_bytes() >= SENDING || peer.sending.len() >= SENDING_BLOCKS {
                continue;
            }
            for (at, asked) in peer.asked.iter().take(LOOK).enumerate() {
                let piece = asked.block.piece;
                let begun = peer.sending_piece == Some(piece);
                let spread = ready.given[piece as usize].max(ready.picker.count(piece));
                // Whoever asks for one piece at a time has nothing else to do.
                let overdue = peer.asks_whole() && now.since(asked.at) > OVERDUE;
                let rank = (!overdue, !begun, spread, peer.served, at, conn);
                if best.is_none_or(|best| rank < best) {
                    best = Some(rank);
                }
            }
        }
        let (.., at, conn) = best?;
        let peer = self.peers.get_mut(&conn)?;
        let Asked { block, .. } = peer.asked.remove(at)?;
        if peer.sending_piece != Some(block.piece) {
            peer.sending_piece = Some(block.piece);
            peer.served = now;
            let given = &mut ready.given[block.piece as usize];
            *given = given.saturating_add(1);
        }
        peer.sending.push_back(Asked { block, at: now });
        peer.sent = now;
        Some((conn, block))
    }

    /// Reveals pieces to a peer for as long as it should hold more offers.
    pub(crate) fn offer(&mut self, now: Time, conn: ConnId) {
        let Phase::Ready(ready) = &mut self.phase else { return };
        let Some(spreading) = &mut ready.spread else { return };
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        let cover = if peer.is_kin(self.config.peer_id) { spread::PROMPT } else { spread::POLLING };
        let ahead = (peer.up.per_second(now) as f64 * cover.as_secs_f64()) as u64;
        let crate::peer::Theirs::Known { have, .. } = &peer.theirs else { return };
        let Some(offers) = &mut peer.offers else { return };
        let length = ready.geometry.piece_length();
        let mut revealed = Vec::new();
        while let Some(piece) = spreading.offer(have, offers, ahead, length, &mut self.rng) {
            revealed.push(piece);
        }
        for piece in revealed {
            let offer = peer.say(now, Message::Have(piece));
            self.out.extend(offer);
        }
    }

    /// Among strangers a new peer may ask for a few pieces before it has earned anything (BEP 6).
    pub(crate) fn allow_fast(&mut self, now: Time, conn: ConnId) {
        if self.config.choking != Choking::TitForTat {
            return;
        }
        let Phase::Ready(ready) = &self.phase else { return };
        let pieces: Vec<u32> = (0..ready.geometry.pieces())
            .filter(|&piece| ready.picker.have().get(piece) && self.is_allowed_fast(conn, piece))
            .collect();
        for piece in pieces {
            self.send(now, conn, Message::AllowedFast(piece));
        }
    }

    /// Whether a peer may ask for a piece while choked. The set depends on our name and the peer's
    /// host, so that reconnecting does not give another one.
    fn is_allowed_fast(&self, conn: ConnId, piece: u32) -> bool {
        let (Phase::Ready(ready), Some(peer)) = (&self.phase, self.peers.get(&conn)) else {
            return false;
        };
        if self.config.choking != Choking::TitForTat {
            return false;
        }
        let pieces = ready.geometry.pieces();
        let mut seed = [0; 8];
        match peer.addr.ip() {
            std::net::IpAddr::V4(ip) => seed[..4].copy_from_slice(&ip.octets()),
            std::net::IpAddr::V6(ip) => seed.copy_from_slice(&ip.octets()[..8]),
        }
        let mut rng = fastrand::Rng::with_seed(u64::from_be_bytes(seed) ^ self.config.seed);
        (0..FAST_PIECES.min(pieces)).any(|_| rng.u32(..pieces) == piece)
    }
}

fn request_of(block: Block) -> BlockRequest {
    let Block { piece, offset, length } = block;
    BlockRequest { piece, offset, length }
}
