//! The download side of a swarm: which pieces are here, which blocks are requested of which peer,
//! and what becomes of them. Nothing is served here, and no message is read.
//!
//! Before the metadata is known the content has no pieces, so that nothing can be requested.

mod corruption;
mod duplicates;
mod peer_download;
mod rendezvous;
mod requests;
mod stalls;
mod storing;
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
    corruption::Corruption, peer_download::PeerDownload, rendezvous::Rendezvous,
    verification::FileDigest, whole_file_verification::WholeFileVerification,
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
            rendezvous: None,
            peers: BTreeMap::new(),
            stale_requesters: BTreeSet::new(),
            usual_latency: None,
            generation: 0,
            complete_since: None,
            retry_exhausted_at: Time(0),
            is_halted: false,
            rate: Rate::default(),
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
        if peer.wanted == 0 && peer.is_interested {
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
            peer.outstanding_count() > 0 && now.since(peer.last_block) > peer.timeout(base)
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
mod tests {
    use sow_wire::bittorrent::{Handshake, PeerId};

    use super::*;
    use crate::{
        connections::Connections,
        io::{Direction, PeerHandshake, StoreMode},
    };

    const NOW: Time = Time(0);
    const PIECE: u32 = 32 * 1024;
    const A: ConnId = ConnId(1);
    const B: ConnId = ConnId(2);

    /// The downloads of four pieces from two peers that have everything and have unchoked us.
    struct Fixture {
        downloads: Downloads,
        connections: Connections,
        rng: fastrand::Rng,
        out: VecDeque<Output>,
    }

    impl Fixture {
        fn new() -> Self {
            let config = Config::new(PeerId([0; 20]), 1, 1);
            let mut rng = fastrand::Rng::with_seed(1);
            let mut downloads = Downloads::new(&config, &mut rng);
            let geometry = Geometry::new(4 * u64::from(PIECE), u64::from(PIECE)).unwrap();
            let have = Bitfield::new(4);
            downloads.begin(NOW, geometry, have, Integrity::PieceHashes, None, &mut rng);
            let connections = Connections::new(&config);
            let mut this = Self { downloads, connections, rng, out: VecDeque::new() };
            [A, B].into_iter().for_each(|conn| this.connect(conn));
            this
        }

        fn connect(&mut self, conn: ConnId) {
            let peer_id = PeerId([conn.0 as u8; 20]);
            let info_hash = sow_content::InfoHash([0; 20]);
            let handshake = Handshake { info_hash, peer_id, fast: false, extended: false };
            let handshake = PeerHandshake::BitTorrent(handshake);
            let addr = std::net::SocketAddr::from(([10, 0, 0, conn.0 as u8], 1));
            let direction = Direction::Accepted;
            let connection =
                self.connections.insert(NOW, conn, addr, direction, handshake, Some(4));
            self.downloads.add_peer(connection);
            let pieces = connection.session_mut().pieces_mut().insert(0..4);
            self.downloads.on_have(NOW, connection, &pieces, &mut self.rng, &mut self.out);
            assert!(self.downloads.on_unchoke(conn));
        }

        /// Requests what can be requested of a peer.
        fn request(&mut self, conn: ConnId) -> Vec<Block> {
            let connection = self.connections.get_mut(conn).unwrap();
            self.out.clear();
            self.downloads.request_blocks(NOW, connection, &mut self.rng, &mut self.out);
            self.downloads.peers[&conn].outstanding().map(|request| request.block).collect()
        }

        fn deliver(&mut self, conn: ConnId, block: Block) -> Result<BlockArrival, Misbehavior> {
            let Block { piece, offset, length } = block;
            let connection = self.connections.get_mut(conn).unwrap();
            self.downloads.on_block(NOW, connection, BlockRequest { piece, offset, length })
        }

        fn choke(&mut self, conn: ConnId) -> bool {
            let connection = self.connections.get_mut(conn).unwrap();
            self.downloads.on_choke(NOW, connection, &mut self.rng, &mut self.out)
        }
    }

    #[test]
    fn a_choke_frees_the_requests_of_a_peer_for_others() {
        let mut fixture = Fixture::new();
        let first = fixture.request(A);
        assert_eq!(fixture.out.len(), first.len(), "each request is sent");
        assert!(fixture.choke(A));
        assert!(!fixture.choke(A), "it is choked already");
        assert!(fixture.request(B).contains(&first[0]));
        // A block that was on its way when the peer choked is taken.
        assert!(matches!(fixture.deliver(A, first[0]), Ok(BlockArrival::Accepted { .. })));
    }

    #[test]
    fn blocks_without_a_request_are_a_misbehavior_beyond_an_allowance() {
        let mut fixture = Fixture::new();
        let block = Block { piece: 0, offset: 0, length: 16384 };
        let arrivals: Vec<_> = (0..17).map(|_| fixture.deliver(A, block)).collect();
        assert!(arrivals[..16].iter().all(|arrival| *arrival == Ok(BlockArrival::Useless)));
        assert_eq!(arrivals[16], Err(Misbehavior::UnsolicitedData));
        assert_eq!(fixture.downloads.wasted_bytes(), 17 * 16384);
    }

    #[test]
    fn a_block_of_no_use_does_not_count_as_an_arrival() {
        let mut fixture = Fixture::new();
        let [first, second, ..] = fixture.request(A)[..] else { panic!("too few") };
        for (conn, block, counts) in [(A, first, true), (B, first, false), (B, second, true)] {
            fixture.downloads.last_arrival = Time(1);
            fixture.deliver(conn, block).unwrap();
            assert_eq!(fixture.downloads.last_arrival == NOW, counts, "{block:?} of {conn}");
        }
    }

    /// Delivers the first piece that is requested of a peer.
    fn deliver_piece(fixture: &mut Fixture, conn: ConnId) -> (u32, Option<StoreMode>) {
        let blocks = fixture.request(conn);
        let piece = blocks[0].piece;
        let mut mode = None;
        for block in blocks.into_iter().filter(|block| block.piece == piece) {
            let Ok(BlockArrival::Accepted { store, .. }) = fixture.deliver(conn, block) else {
                panic!("{block:?} is of no use");
            };
            mode = store;
        }
        (piece, mode)
    }

    #[test]
    fn a_corrupt_piece_names_the_peer_that_sent_all_of_it() {
        let mut fixture = Fixture::new();
        let (piece, mode) = deliver_piece(&mut fixture, A);
        assert_eq!(mode, Some(StoreMode::Verify { digests: false }));
        let corrupter = fixture.downloads.on_corrupt(piece, &[[1; 20]; 2], &mut fixture.rng);
        assert_eq!(corrupter, Some(A));
        assert!(fixture.downloads.picker.is_suspect(piece));
    }

    #[test]
    fn an_incomplete_buffer_makes_no_suspect_and_its_piece_is_free_again() {
        let mut fixture = Fixture::new();
        let (piece, _) = deliver_piece(&mut fixture, A);
        fixture.downloads.on_incomplete_buffer(piece, &mut fixture.rng);
        assert!(!fixture.downloads.picker.is_suspect(piece));
        assert!(fixture.downloads.picker.is_free(piece));
        assert_eq!(fixture.downloads.wasted_bytes(), u64::from(PIECE));
    }

    #[test]
    fn a_piece_for_one_peer_alone_is_taken_from_one_that_does_not_deliver() {
        let mut fixture = Fixture::new();
        let (piece, _) = deliver_piece(&mut fixture, A);
        fixture.downloads.picker.start_over(piece, true, &mut fixture.rng);
        let theirs: Vec<Block> = fixture.request(B);
        assert_eq!(theirs[0].piece, piece, "what was corrupt comes first");
        for _ in 0..3 {
            fixture.request(A).into_iter().for_each(|block| _ = fixture.deliver(A, block));
        }
        assert!(!fixture.request(A).iter().any(|block| block.piece == piece), "nor does A");
        let latency = Duration::from_millis(10);
        let peer = fixture.downloads.peers.get_mut(&A).unwrap();
        peer.pipeline.arrived(NOW, latency, 16384, 1, false);
        peer.exhausted_at = None;
        let ours = fixture.request(A);
        assert!(fixture.out.contains(&Output::DiscardBlocks { piece }));
        let blocks = ours.iter().filter(|block| block.piece == piece);
        assert_eq!(blocks.map(|block| block.length).sum::<u32>(), PIECE, "{ours:?}");
        assert_eq!(fixture.deliver(B, theirs[0]), Ok(BlockArrival::Useless));
    }

    #[test]
    fn a_peer_that_is_gone_leaves_its_requests_to_others() {
        let mut fixture = Fixture::new();
        let first = fixture.request(A);
        fixture.downloads.on_peer_gone(A, &mut fixture.rng, &mut fixture.out);
        assert!(fixture.request(B).contains(&first[0]));
    }
}
