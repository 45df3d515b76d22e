//! The download side of a swarm: which pieces are here, which blocks are requested of which peer,
//! and what becomes of them. Nothing is served here, and no message is read.
//!
//! Before the metadata is known the content has no pieces, so that nothing can be requested.

mod corruption;
mod duplicates;
mod peer_download;
mod relayed;
mod rendezvous;
mod requests;
mod stalls;
mod storing;
mod stripes;
mod unsolicited;
mod verification;
mod whole_file_verification;
mod whole_pieces;
mod work_assignment;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use sow_content::{Bitfield, Block, Geometry};
use sow_wire::bittorrent::BlockRequest;

use self::{
    corruption::Corruption, peer_download::PeerDownload, rendezvous::Rendezvous, stripes::Relayed,
    unsolicited::UnsolicitedBlocks, verification::FileDigest,
    whole_file_verification::WholeFileVerification,
};
pub(crate) use self::{
    requests::BlockArrival,
    storing::PieceStored,
    whole_file_verification::{MismatchOutcome, VerificationStep},
};
use crate::{
    config::{Config, Integrity, PickOrder},
    connections::Connection,
    disconnect::Misbehavior,
    io::{ConnId, Output, Time},
    picker::Picker,
    rate::Rate,
    session::Decision,
};

/// A peer that had nothing to request, or refused, is tried again after this long.
const RETRY_EXHAUSTED_INTERVAL: Duration = Duration::from_secs(1);

/// The downloads of one swarm.
#[derive(Debug)]
pub(crate) struct Downloads {
    max_block: u32,
    order: PickOrder,
    open_bytes: u64,
    /// We are the authority on a file without piece hashes.
    is_authority: bool,
    geometry: Geometry,
    integrity: Integrity,
    picker: Picker,
    corruption: Corruption,
    /// With [`Integrity::FileDigest`], unless we are the authority.
    verification: Option<WholeFileVerification>,
    file_digest: FileDigest,
    /// What is fetched from parents.
    relayed: Relayed,
    /// Which machine fetches which piece from a seed, as it was last.
    rendezvous: Option<Rendezvous>,
    peers: BTreeMap<ConnId, PeerDownload>,
    /// Peers that may still answer a request that was late.
    stale_requesters: BTreeSet<ConnId>,
    /// How long a block usually takes; `None` while no peer delivers.
    usual_latency: Option<Duration>,
    /// Counts what may give a peer that had nothing to request something to request.
    generation: u64,
    complete_since: Option<Time>,
    retry_exhausted_at: Time,
    /// A piece could not be stored, or the whole cannot be verified: nothing more is requested.
    is_halted: bool,
    rate: Rate,
    unsolicited: UnsolicitedBlocks,
    /// When a block that was requested, or is of use, arrived last from any peer.
    last_arrival: Time,
    /// Payload bytes that were received twice, too late or corrupt.
    wasted: u64,
}

impl Downloads {
    pub(crate) fn new(config: &Config, rng: &mut fastrand::Rng) -> Self {
        let Config { order, open_bytes, .. } = *config;
        let geometry = Geometry::new(0, 1).expect("content without pieces has a geometry");
        Self {
            max_block: config.max_block,
            order,
            open_bytes,
            is_authority: config.chunk.server,
            geometry,
            integrity: Integrity::PieceHashes,
            picker: Picker::new(geometry, Bitfield::new(0), order, open_bytes, rng),
            corruption: Corruption::default(),
            verification: None,
            file_digest: FileDigest::default(),
            relayed: Relayed::default(),
            rendezvous: None,
            peers: BTreeMap::new(),
            stale_requesters: BTreeSet::new(),
            usual_latency: None,
            generation: 0,
            complete_since: None,
            retry_exhausted_at: Time(0),
            is_halted: false,
            rate: Rate::default(),
            unsolicited: UnsolicitedBlocks::default(),
            last_arrival: Time(0),
            wasted: 0,
        }
    }

    /// The content is known. `have`: the pieces that are here already; `md5`: the digest of the
    /// file, where it is known.
    pub(crate) fn begin(
        &mut self,
        now: Time,
        geometry: Geometry,
        have: Bitfield,
        integrity: Integrity,
        md5: Option<[u8; 16]>,
        rng: &mut fastrand::Rng,
    ) {
        // A server has the file by definition; a client that fetches it without piece hashes has to
        // verify it as a whole.
        self.verification = (integrity == Integrity::FileDigest && !self.is_authority)
            .then(|| WholeFileVerification::new(&have));
        let is_complete = have.is_full() && self.verification.is_none();
        self.complete_since = is_complete.then_some(now);
        self.picker = Picker::new(geometry, have, self.order, self.open_bytes, rng);
        self.geometry = geometry;
        self.integrity = integrity;
        self.file_digest = FileDigest::new(md5);
        self.retry_exhausted_at = now;
    }

    pub(crate) fn geometry(&self) -> Geometry {
        self.geometry
    }

    pub(crate) fn integrity(&self) -> Integrity {
        self.integrity
    }

    /// The pieces that are stored.
    pub(crate) fn have(&self) -> &Bitfield {
        self.picker.have()
    }

    /// How many pieces are requested or here in parts.
    pub(crate) fn open_pieces(&self) -> usize {
        self.picker.open_pieces()
    }

    /// How many requests are not answered yet.
    pub(crate) fn outstanding_requests(&self) -> usize {
        self.peers.values().map(PeerDownload::outstanding_count).sum()
    }

    /// Since when the oldest request waits that is neither answered nor given up.
    pub(crate) fn waits_since(&self) -> Option<Time> {
        let requests = self.peers.values().flat_map(PeerDownload::outstanding);
        requests.filter(|request| !request.is_stale).map(|request| request.requested_at).min()
    }

    /// How many connected peers have a piece.
    pub(crate) fn availability(&self, piece: u32) -> u16 {
        self.picker.count(piece)
    }

    /// Whether every piece is stored, and known to be right.
    pub(crate) fn is_complete(&self) -> bool {
        self.have().is_full() && self.is_verified()
    }

    /// How long everything has been here; `None` while something is missing.
    pub(crate) fn complete_for(&self, now: Time) -> Option<Duration> {
        self.complete_since.map(|since| now.since(since))
    }

    /// Whether whatever is here is known to be right.
    pub(crate) fn is_verified(&self) -> bool {
        self.verification.as_ref().is_none_or(WholeFileVerification::is_verified)
    }

    /// Bytes that are not stored.
    pub(crate) fn missing_bytes(&self) -> u64 {
        let (have, pieces) = (self.picker.have(), self.geometry.pieces());
        let missing = u64::from(pieces - have.count()) * u64::from(self.geometry.piece_length());
        // The last piece may be shorter than the others.
        let short = match pieces.checked_sub(1) {
            Some(last) if !have.get(last) => {
                self.geometry.piece_length() - self.geometry.length_of(last)
            }
            _ => 0,
        };
        missing - u64::from(short)
    }

    /// Bytes that were received and are not stored.
    pub(crate) fn pending_bytes(&self) -> u64 {
        self.picker.arrived_bytes()
    }

    /// Payload bytes that were received twice, too late or corrupt.
    pub(crate) fn wasted_bytes(&self) -> u64 {
        self.wasted
    }

    /// How fast payload arrives, over all connections.
    pub(crate) fn rate(&self) -> &Rate {
        &self.rate
    }

    /// How fast payload arrives on one connection.
    pub(crate) fn peer_rate(&self, conn: ConnId) -> Option<&Rate> {
        self.peers.get(&conn).map(|peer| &peer.rate)
    }

    pub(crate) fn is_interested(&self, conn: ConnId) -> bool {
        self.peers.get(&conn).is_some_and(|peer| peer.is_interested)
    }

    /// A byte range that a peer named, checked against the content.
    pub(crate) fn block(&self, request: BlockRequest) -> Option<Block> {
        self.geometry.block(request.piece, request.offset, request.length)
    }

    /// A connection is open.
    pub(crate) fn add_peer(&mut self, connection: &Connection) {
        self.peers.insert(connection.conn(), PeerDownload::new(connection));
    }

    /// A connection is over: its requests are free for other peers. How much payload it brought.
    pub(crate) fn on_peer_gone(
        &mut self,
        conn: ConnId,
        rng: &mut fastrand::Rng,
        out: &mut VecDeque<Output>,
    ) -> u64 {
        let Some(mut peer) = self.peers.remove(&conn) else { return 0 };
        self.stale_requesters.remove(&conn);
        let requests = peer.void_requests();
        self.release(conn, requests.iter().map(|request| request.block), rng, out);
        discard(self.picker.on_peer_gone(conn, rng), out);
        peer.rate.total()
    }

    /// A peer that had these pieces is gone.
    pub(crate) fn remove_availability(&mut self, have: &Bitfield, rng: &mut fastrand::Rng) {
        have.iter().for_each(|piece| self.picker.remove(piece, rng));
    }

    /// A peer has pieces that it did not have before: counts them, and says that we are interested
    /// when it has one that we lack.
    pub(crate) fn on_have(
        &mut self,
        now: Time,
        connection: &mut Connection,
        pieces: &[u32],
        rng: &mut fastrand::Rng,
        out: &mut VecDeque<Output>,
    ) {
        let Some(peer) = self.peers.get_mut(&connection.conn()) else { return };
        for &piece in pieces {
            self.picker.add(piece, rng);
            peer.on_has(now, piece);
            peer.wanted += u32::from(!self.picker.have().get(piece));
        }
        peer.exhausted_at = None;
        if peer.wanted > 0 && !peer.is_interested {
            peer.is_interested = true;
            connection.send(now, Decision::Interested, out);
        }
    }

    /// A piece of ours is stored: the peer may have nothing left that we lack.
    pub(crate) fn on_piece_here(
        &mut self,
        now: Time,
        connection: &mut Connection,
        out: &mut VecDeque<Output>,
    ) {
        let Some(peer) = self.peers.get_mut(&connection.conn()) else { return };
        let is_parent = self.relayed.is_parent(connection.conn()) && !self.picker.have().is_full();
        if peer.wanted == 0 && peer.is_interested && !is_parent {
            peer.is_interested = false;
            connection.send(now, Decision::NotInterested, out);
        }
    }

    /// The peer has a piece that we have now.
    pub(crate) fn on_piece_no_longer_wanted(&mut self, conn: ConnId) {
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.wanted = peer.wanted.saturating_sub(1);
        }
    }

    /// The peer accepts requests. Whether that is new.
    pub(crate) fn on_unchoke(&mut self, conn: ConnId) -> bool {
        let Some(peer) = self.peers.get_mut(&conn).filter(|peer| peer.is_choked) else {
            return false;
        };
        peer.is_choked = false;
        peer.exhausted_at = None;
        peer.on_unchoke();
        true
    }

    /// The peer accepts no requests any more. True when requests became free for other peers.
    pub(crate) fn on_choke(
        &mut self,
        now: Time,
        connection: &mut Connection,
        rng: &mut fastrand::Rng,
        out: &mut VecDeque<Output>,
    ) -> bool {
        let conn = connection.conn();
        let Some(peer) = self.peers.get_mut(&conn) else { return false };
        if std::mem::replace(&mut peer.is_choked, true) {
            return false;
        }
        peer.on_choke(now);
        // With BEP 6 each request is rejected on its own; without it all are void, but a block may
        // be on its way (BEP 3).
        if connection.session().is_fast() {
            return false;
        }
        connection.session_mut().take_awaited_piece();
        let void = peer.void_requests();
        self.release(conn, void.iter().map(|request| request.block), rng, out);
        true
    }

    /// The peer refuses a request. True when its block became free for other peers.
    ///
    /// # Errors
    /// When there is no such block.
    pub(crate) fn on_reject(
        &mut self,
        now: Time,
        conn: ConnId,
        request: BlockRequest,
        rng: &mut fastrand::Rng,
        out: &mut VecDeque<Output>,
    ) -> Result<bool, Misbehavior> {
        let block = self.block(request).ok_or(Misbehavior::RequestOutOfRange)?;
        Ok(self.on_block_refused(now, conn, block, rng, out))
    }

    /// The same for a block that is known to exist.
    pub(crate) fn on_block_refused(
        &mut self,
        now: Time,
        conn: ConnId,
        block: Block,
        rng: &mut fastrand::Rng,
        out: &mut VecDeque<Output>,
    ) -> bool {
        let Some(peer) = self.peers.get_mut(&conn) else { return false };
        if peer.take_request(block).is_none() {
            return false;
        }
        if !peer.is_choked {
            peer.on_refused(now);
        }
        // The peer is asked for nothing until something changes.
        peer.exhausted_at = Some(self.generation + 1);
        self.release(conn, [block].into_iter(), rng, out);
        true
    }

    /// The peer allows a piece to be requested while it chokes. Whether that is new.
    pub(crate) fn on_allowed_fast(&mut self, conn: ConnId, piece: u32) -> bool {
        let Some(peer) = self.peers.get_mut(&conn) else { return false };
        let is_new = peer.allow_fast(piece);
        if is_new {
            peer.exhausted_at = None;
        }
        is_new
    }

    /// Time has passed: pieces that only a useless peer may be asked for become free, exhausted
    /// peers are tried again, and stalled requests become free for other peers.
    pub(crate) fn on_tick(
        &mut self,
        now: Time,
        rng: &mut fastrand::Rng,
        out: &mut VecDeque<Output>,
    ) {
        let peers = &self.peers;
        let is_useless = |conn| {
            peers.get(&conn).is_none_or(|peer| peer.is_choked || peer.exhausted_at.is_some())
        };
        let lost = self.picker.reclaim(is_useless, rng);
        self.generation += u64::from(!lost.is_empty());
        let is_due = now >= self.retry_exhausted_at;
        if is_due {
            self.retry_exhausted_at = now + RETRY_EXHAUSTED_INTERVAL;
        }
        // One that has nothing else to do may be worth asking for what others deliver late.
        for peer in self.peers.values_mut().filter(|peer| is_due || peer.is_idle()) {
            peer.exhausted_at = None;
        }
        discard(lost, out);
    }

    /// Whether the peer owes blocks and has sent none for long; the timeout is `base` and what a
    /// whole piece takes.
    pub(crate) fn is_overdue(&self, now: Time, conn: ConnId, base: Duration) -> bool {
        self.peers.get(&conn).is_some_and(|peer| {
            !peer.owes_nothing() && now.since(peer.last_block) > peer.timeout(base)
        })
    }

    /// `base`, and what the whole piece takes that the peer owes.
    pub(crate) fn response_timeout(&self, conn: ConnId, base: Duration) -> Duration {
        self.peers.get(&conn).map_or(base, |peer| peer.timeout(base))
    }

    /// Requests will not be answered: their blocks are free for other peers. The buffers of pieces
    /// that have to come from one peer alone are discarded.
    fn release(
        &mut self,
        conn: ConnId,
        blocks: impl Iterator<Item = Block>,
        rng: &mut fastrand::Rng,
        out: &mut VecDeque<Output>,
    ) {
        let mut is_any = false;
        let mut lost = Vec::new();
        for block in blocks {
            is_any = true;
            lost.extend(self.picker.release(conn, block, rng));
        }
        self.generation += u64::from(is_any);
        discard(lost, out);
    }
}

fn discard(pieces: Vec<u32>, out: &mut VecDeque<Output>) {
    out.extend(pieces.into_iter().map(|piece| Output::DiscardBlocks { piece }));
}

#[cfg(test)]
mod tests;
