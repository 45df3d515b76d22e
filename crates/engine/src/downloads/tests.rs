//! The downloads of two peers, without an engine.

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
/// A connection from the address of A.
const SAME_NETWORK: ConnId = ConnId(256 + 1);

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
        let connection = self.connections.insert(NOW, conn, addr, direction, handshake, Some(4));
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
    // A new connection of the same network begins where the last one ended.
    fixture.connect(SAME_NETWORK);
    assert_eq!(fixture.deliver(SAME_NETWORK, block), Err(Misbehavior::UnsolicitedData));
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

#[test]
fn chokes_give_a_peer_no_more_time() {
    let mut fixture = Fixture::new();
    assert!(!fixture.request(A).is_empty());
    let peer = fixture.downloads.peers.get_mut(&A).unwrap();
    let timeout = peer.stall_timeout(None);
    for _ in 0..5 {
        peer.on_choke(NOW);
        peer.on_unchoke();
    }
    assert!(peer.is_snubbed());
    assert_eq!(peer.stall_timeout(None), timeout);
    peer.on_late(NOW);
    assert_eq!(peer.stall_timeout(None), 2 * timeout);
}
