//! The upload side of a swarm: which peers may request, which block is sent next, what the origin
//! reveals. Nothing is requested here, and no message is read.

mod children;
mod idle_slots;
mod peer_upload;
mod sending;
mod super_seeding;

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
};

use sow_content::{Bitfield, Block};
use sow_wire::bittorrent::PeerId;

use self::{
    peer_upload::PeerUpload,
    super_seeding::{Offers, POLLED_OFFER_TIME, PROMPT_OFFER_TIME, SuperSeeding},
};
use crate::{
    choker::{self, Candidate},
    config::{Choking, Config},
    connections::{Connection, Connections},
    disconnect::Misbehavior,
    io::{ConnId, Output, Time},
    rate::Rate,
    session::{Decision, bittorrent::MAX_QUEUED_REQUESTS},
};

/// Whole pieces that are queued for one peer; the protocols allow one.
const MAX_QUEUED_PIECES: usize = 64;

/// Pieces that a peer may request before it is unchoked (BEP 6).
const ALLOWED_FAST_PIECES: u32 = 10;

/// What becomes of requests for a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PieceState {
    /// It can be sent.
    Here,
    /// It is to come: peers that know that may request it already.
    Awaited,
    /// It will not be sent.
    Withheld,
}

/// The uploads of one swarm.
#[derive(Debug)]
pub(crate) struct Uploads {
    peer_id: PeerId,
    seed: u64,
    choking: Choking,
    slots: usize,
    choke_round: u64,
    next_choke_round: Time,
    pieces: u32,
    piece_length: u32,
    super_seeding: Option<SuperSeeding>,
    /// The number of stripes that are relayed here.
    stripes: usize,
    /// Blocks that were sent to children since one was sent to another peer.
    child_blocks: u32,
    /// How often each piece was begun to be sent.
    times_sent: Box<[u16]>,
    peers: BTreeMap<ConnId, PeerUpload>,
    rate: Rate,
}

impl Uploads {
    pub(crate) fn new(now: Time, config: &Config) -> Self {
        Self {
            peer_id: config.peer_id,
            seed: config.seed,
            choking: config.choking,
            slots: config.upload_slots,
            choke_round: 0,
            next_choke_round: now,
            pieces: 0,
            piece_length: 0,
            super_seeding: None,
            stripes: 1,
            child_blocks: 0,
            times_sent: Box::default(),
            peers: BTreeMap::new(),
            rate: Rate::default(),
        }
    }

    /// The content is known.
    pub(crate) fn begin(
        &mut self,
        pieces: u32,
        piece_length: u32,
        is_super_seeding: bool,
        rng: &mut fastrand::Rng,
    ) {
        self.pieces = pieces;
        self.piece_length = piece_length;
        self.super_seeding = is_super_seeding.then(|| SuperSeeding::new(pieces, rng));
        self.times_sent = vec![0; pieces as usize].into();
    }

    pub(crate) fn is_super_seeding(&self) -> bool {
        self.super_seeding.is_some()
    }

    /// How fast payload is sent, over all connections.
    pub(crate) fn rate(&self) -> &Rate {
        &self.rate
    }

    /// How fast payload is sent on one connection.
    pub(crate) fn peer_rate(&self, conn: ConnId) -> Option<&Rate> {
        self.peers.get(&conn).map(|peer| &peer.rate)
    }

    pub(crate) fn is_choked(&self, conn: ConnId) -> bool {
        self.peers.get(&conn).is_none_or(|peer| peer.is_choked)
    }

    pub(crate) fn is_peer_interested(&self, conn: ConnId) -> bool {
        self.peers.get(&conn).is_some_and(|peer| peer.is_interested)
    }

    /// A connection is open.
    pub(crate) fn add_peer(&mut self, connection: &Connection) {
        self.peers.insert(connection.conn(), PeerUpload::new(connection));
    }

    /// The peer's first offers may be made, with super-seeding.
    pub(crate) fn begin_offers(&mut self, now: Time, conn: ConnId) {
        if let (Some(peer), true) = (self.peers.get_mut(&conn), self.super_seeding.is_some()) {
            peer.offers.get_or_insert_with(|| Offers::new(now, self.pieces));
        }
    }

    /// A connection is over. `have`: what its peer had.
    pub(crate) fn on_peer_gone(
        &mut self,
        conn: ConnId,
        have: Option<&Bitfield>,
        rng: &mut fastrand::Rng,
    ) {
        let offers = self.peers.remove(&conn).and_then(|peer| peer.offers);
        if let (Some(seeding), Some(offers), Some(have)) = (&mut self.super_seeding, &offers, have)
        {
            seeding.on_peer_gone(have, offers, rng);
        }
    }

    /// A peer has pieces that it did not have before.
    pub(crate) fn on_have(&mut self, conn: ConnId, pieces: &[u32], rng: &mut fastrand::Rng) {
        let offers = self.peers.get_mut(&conn).and_then(|peer| peer.offers.as_mut());
        if let (Some(seeding), Some(offers)) = (&mut self.super_seeding, offers) {
            for &piece in pieces {
                seeding.on_have(piece, offers, rng);
                offers.on_used(piece);
            }
        }
    }

    /// The peer is interested, or no longer. Whether that is new, and the slots are to be given
    /// anew at once.
    pub(crate) fn on_interest(&mut self, now: Time, conn: ConnId, is_interested: bool) -> bool {
        let peer = self.peers.get_mut(&conn);
        peer.is_some_and(|peer| peer.on_interest(now, is_interested))
    }

    /// Both sides know that the peer is choked again, without a message (json-torrent).
    pub(crate) fn on_exchange_over(&mut self, conn: ConnId) {
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.end_exchange();
        }
    }

    /// Gives the slots to peers that co-operate, if that is how uploads are shared.
    pub(crate) fn rechoke_cooperative(
        &mut self,
        now: Time,
        connections: &mut Connections,
        out: &mut VecDeque<Output>,
    ) {
        if self.choking == Choking::Cooperative {
            let candidates = self.candidates(now, |_, _| 0);
            let chosen = choker::cooperative(&candidates, self.slots, now);
            self.choke_all_but(now, &chosen, connections, out);
        }
    }

    /// Gives the slots to the peers with the highest rates, if that is how uploads are shared.
    /// `rate`: bytes a second of a peer, given its upload. `draw`: another peer is unchoked
    /// optimistically.
    pub(crate) fn rechoke_tit_for_tat(
        &mut self,
        now: Time,
        draw: bool,
        rate: impl Fn(ConnId, &Rate) -> u64,
        connections: &mut Connections,
        rng: &mut fastrand::Rng,
        out: &mut VecDeque<Output>,
    ) {
        if self.choking == Choking::TitForTat {
            let candidates = self.candidates(now, rate);
            let chosen = choker::tit_for_tat(&candidates, draw, rng);
            self.choke_all_but(now, &chosen, connections, out);
        }
    }

    /// Whether a round of tit-for-tat begins. `Some(true)`: with another optimistic unchoke.
    pub(crate) fn next_choke_round(&mut self, now: Time) -> Option<bool> {
        (now >= self.next_choke_round).then(|| {
            self.next_choke_round = now + choker::ROUND_INTERVAL;
            self.choke_round += 1;
            choker::is_optimistic_round(self.choke_round)
        })
    }

    fn candidates(&self, now: Time, rate: impl Fn(ConnId, &Rate) -> u64) -> Vec<Candidate> {
        let candidate = |(&conn, peer): (&ConnId, &PeerUpload)| Candidate {
            conn,
            interested: peer.is_interested,
            unchoked: !peer.is_choked,
            idle: peer.is_idle(now),
            since: peer.choke_since,
            rate: rate(conn, &peer.rate),
        };
        self.peers.iter().map(candidate).collect()
    }

    fn choke_all_but(
        &mut self,
        now: Time,
        chosen: &[ConnId],
        connections: &mut Connections,
        out: &mut VecDeque<Output>,
    ) {
        for (conn, peer) in &mut self.peers {
            let unchokes = chosen.contains(conn);
            let must_wait = peer.unchokes_only_interested && !peer.is_interested;
            if (unchokes && must_wait) || peer.is_choked != unchokes {
                continue;
            }
            peer.set_choked(now, !unchokes);
            let Some(connection) = connections.get_mut(*conn) else { continue };
            if unchokes {
                connection.send(now, Decision::Unchoke, out);
                continue;
            }
            connection.send(now, Decision::Choke, out);
            // A choke voids what was requested; with BEP 6 each request is rejected.
            let void = peer.take_requests();
            if connection.session().is_fast() {
                for block in void {
                    connection.send(now, Decision::Reject(block), out);
                }
            }
        }
    }

    /// Queues a block that the peer requested, or keeps the request for a piece that is to come.
    /// Whether it was queued.
    ///
    /// # Errors
    /// When the peer may not request it.
    pub(crate) fn on_request(
        &mut self,
        now: Time,
        connection: &mut Connection,
        block: Block,
        piece: PieceState,
        out: &mut VecDeque<Output>,
    ) -> Result<bool, Misbehavior> {
        let is_allowed_fast = self.is_allowed_fast(connection.addr().ip(), block.piece);
        let Some(peer) = self.peers.get_mut(&connection.conn()) else { return Ok(false) };
        let is_fast = connection.session().is_fast();
        let is_refused = peer.is_choked && !(is_fast && is_allowed_fast);
        let session = connection.session().bittorrent();
        let relays = session.is_some_and(|session| session.extension().relays());
        let is_kept = piece == PieceState::Awaited && is_fast && relays && !peer.is_choked;
        let have = piece == PieceState::Here;
        if !is_refused && !have && !is_fast {
            return Err(Misbehavior::RequestOutOfRange);
        }
        if is_refused || !(have || is_kept) {
            // The request may have crossed the choke.
            if is_fast {
                connection.send(now, Decision::Reject(block), out);
            }
            return Ok(false);
        }
        if peer.requests() >= MAX_QUEUED_REQUESTS {
            return Err(Misbehavior::TooManyRequests);
        }
        match is_kept {
            true => peer.keep_request(block, self.stripes),
            false => peer.push_request(now, block),
        }
        Ok(have)
    }

    /// Queues a whole piece that the peer requested and that is here.
    ///
    /// # Errors
    /// When too many are queued.
    pub(crate) fn on_piece_request(
        &mut self,
        now: Time,
        conn: ConnId,
        block: Block,
    ) -> Result<(), Misbehavior> {
        let Some(peer) = self.peers.get_mut(&conn) else { return Ok(()) };
        if peer.queue.len() >= MAX_QUEUED_PIECES {
            return Err(Misbehavior::TooManyRequests);
        }
        peer.push_request(now, block);
        Ok(())
    }

    /// The peer takes a request back.
    pub(crate) fn on_cancel(
        &mut self,
        now: Time,
        connection: &mut Connection,
        block: Block,
        out: &mut VecDeque<Output>,
    ) {
        let Some(peer) = self.peers.get_mut(&connection.conn()) else { return };
        // BEP 6: every request is answered, by its block or by a reject.
        if peer.cancel(block) && connection.session().is_fast() {
            connection.send(now, Decision::Reject(block), out);
        }
    }

    /// A block has left. False when its connection is over.
    pub(crate) fn on_block_sent(&mut self, now: Time, conn: ConnId, block: Block) -> bool {
        let Some(peer) = self.peers.get_mut(&conn) else { return false };
        peer.on_sent(now, block);
        self.rate.add(now, u64::from(block.length));
        true
    }

    /// The peer requested a piece: true when that used an offer up.
    pub(crate) fn on_offer_used(&mut self, conn: ConnId, piece: u32) -> bool {
        let offers = self.peers.get_mut(&conn).and_then(|peer| peer.offers.as_mut());
        offers.is_some_and(|offers| offers.on_used(piece))
    }

    /// With super-seeding: reveals pieces to a peer, of those that it may be offered, while it
    /// should hold more offers.
    pub(crate) fn offer(
        &mut self,
        now: Time,
        connection: &mut Connection,
        may_offer: impl Fn(u32) -> bool,
        rng: &mut fastrand::Rng,
        out: &mut VecDeque<Output>,
    ) {
        let Some(seeding) = &mut self.super_seeding else { return };
        let Some(peer) = self.peers.get_mut(&connection.conn()) else { return };
        let is_prompt = connection.is_same_client(self.peer_id);
        let time = if is_prompt { PROMPT_OFFER_TIME } else { POLLED_OFFER_TIME };
        let ahead = (peer.rate.per_second(now) as f64 * time.as_secs_f64()) as u64;
        let sent = peer.rate.total();
        let (Some(have), Some(offers)) = (connection.have(), &mut peer.offers) else { return };
        seeding.return_offers(now, have, offers, sent, rng);
        let mut revealed = Vec::new();
        while let Some(piece) =
            seeding.offer(have, offers, &may_offer, ahead, self.piece_length, rng)
        {
            revealed.push(piece);
        }
        for piece in revealed {
            connection.send(now, Decision::Have(piece), out);
        }
    }

    /// With tit-for-tat, a new peer may request a few pieces before it has earned a slot (BEP 6).
    pub(crate) fn allow_fast(
        &self,
        now: Time,
        connection: &mut Connection,
        have: &Bitfield,
        out: &mut VecDeque<Output>,
    ) {
        if self.choking != Choking::TitForTat {
            return;
        }
        let host = connection.addr().ip();
        for piece in have.iter().filter(|&piece| self.is_allowed_fast(host, piece)) {
            connection.send(now, Decision::AllowFast(piece), out);
        }
    }

    /// Whether a peer on a host may request a piece while it is choked. The set depends on our seed
    /// and the host, so that another connection does not give another set.
    fn is_allowed_fast(&self, host: IpAddr, piece: u32) -> bool {
        if self.choking != Choking::TitForTat {
            return false;
        }
        let mut seed = [0; 8];
        match host {
            IpAddr::V4(ip) => seed[..4].copy_from_slice(&ip.octets()),
            IpAddr::V6(ip) => seed.copy_from_slice(&ip.octets()[..8]),
        }
        let mut rng = fastrand::Rng::with_seed(u64::from_be_bytes(seed) ^ self.seed);
        (0..ALLOWED_FAST_PIECES.min(self.pieces)).any(|_| rng.u32(..self.pieces) == piece)
    }
}

#[cfg(test)]
mod tests {
    use sow_content::InfoHash;
    use sow_wire::{
        bittorrent::{Handshake, Message},
        dialect,
    };

    use super::{sending::MIN_SENDING_BYTES, *};
    use crate::io::{Direction, PeerHandshake};

    const NOW: Time = Time(0);
    const UNIT: u32 = 16 * 1024;

    /// The uploads of four pieces to peers that connect one after the other.
    struct Fixture {
        uploads: Uploads,
        connections: Connections,
        out: VecDeque<Output>,
    }

    impl Fixture {
        fn new(slots: usize, peers: u64) -> Self {
            let mut config = Config::new(PeerId([0; 20]), 1, 1);
            config.upload_slots = slots;
            let mut uploads = Uploads::new(NOW, &config);
            uploads.begin(4, 2 * UNIT, false, &mut fastrand::Rng::with_seed(1));
            let mut connections = Connections::new(&config);
            for conn in (1..=peers).map(ConnId) {
                let (info_hash, peer_id) = (InfoHash([0; 20]), PeerId([conn.0 as u8; 20]));
                let handshake = Handshake { info_hash, peer_id, fast: true, extended: false };
                let handshake = PeerHandshake::BitTorrent(handshake);
                let addr = ([10, 0, 0, conn.0 as u8], 1).into();
                let direction = Direction::Accepted;
                let connection = connections.insert(NOW, conn, addr, direction, handshake, Some(4));
                uploads.add_peer(connection);
            }
            let mut this = Self { uploads, connections, out: VecDeque::new() };
            this.rechoke(NOW);
            this
        }

        fn rechoke(&mut self, now: Time) -> Vec<(ConnId, Message)> {
            self.uploads.rechoke_cooperative(now, &mut self.connections, &mut self.out);
            self.messages()
        }

        fn request(&mut self, conn: u64, block: Block, have: bool) -> Result<bool, Misbehavior> {
            let connection = self.connections.get_mut(ConnId(conn)).unwrap();
            self.uploads.on_request(NOW, connection, block, state(have), &mut self.out)
        }

        fn messages(&mut self) -> Vec<(ConnId, Message)> {
            let message = |output| match output {
                Output::Send { conn, message: dialect::Message::BitTorrent(message) } => {
                    (conn, message)
                }
                other => panic!("{other:?}"),
            };
            self.out.drain(..).map(message).collect()
        }
    }

    fn state(is_here: bool) -> PieceState {
        if is_here { PieceState::Here } else { PieceState::Withheld }
    }

    fn block(piece: u32) -> Block {
        Block { piece, offset: 0, length: UNIT }
    }

    #[test]
    fn a_choke_rejects_what_was_requested() {
        let mut fixture = Fixture::new(1, 2);
        assert!(!fixture.uploads.is_choked(ConnId(1)) && fixture.uploads.is_choked(ConnId(2)));
        assert!(fixture.uploads.on_interest(NOW, ConnId(1), true));
        assert!(fixture.uploads.on_interest(NOW, ConnId(2), true));
        assert!(!fixture.uploads.on_interest(NOW, ConnId(2), true), "that is known");
        assert_eq!(fixture.request(1, block(0), true), Ok(true));
        let Block { piece, offset, length } = block(0);
        let request = sow_wire::bittorrent::BlockRequest { piece, offset, length };
        assert_eq!(
            fixture.rechoke(Time(10_000_000)),
            [
                (ConnId(1), Message::Choke),
                (ConnId(1), Message::Reject(request)),
                (ConnId(2), Message::Unchoke)
            ]
        );
    }

    #[test]
    fn a_request_is_rejected_while_it_is_choked_or_the_piece_is_missing() {
        let mut fixture = Fixture::new(1, 2);
        assert_eq!(fixture.request(2, block(0), true), Ok(false));
        assert_eq!(fixture.request(1, block(0), false), Ok(false));
        let rejected = fixture.messages();
        assert!(rejected.iter().all(|(_, message)| matches!(message, Message::Reject(_))));
        assert_eq!(rejected.len(), 2);
    }

    #[test]
    fn the_piece_with_the_fewest_copies_is_sent_first_and_few_at_once() {
        let mut fixture = Fixture::new(2, 2);
        for piece in [1, 2, 3] {
            assert_eq!(fixture.request(1, block(piece), true), Ok(true));
            assert_eq!(fixture.request(2, block(piece), true), Ok(true));
        }
        let copies = |piece| if piece == 2 { 0 } else { 9 };
        let (connections, out) = (&mut fixture.connections, &mut fixture.out);
        fixture.uploads.send_blocks(NOW, copies, connections, out);
        let sent: Vec<Output> = out.drain(..).collect();
        assert_eq!(sent.len() as u64 * u64::from(UNIT), MIN_SENDING_BYTES);
        assert_eq!(sent[0], Output::SendBlock { conn: ConnId(1), block: block(2) });
        assert!(fixture.uploads.on_block_sent(NOW, ConnId(1), block(2)));
        assert_eq!(fixture.uploads.rate().total(), u64::from(UNIT));
    }

    #[test]
    fn a_peer_that_was_sent_as_much_as_there_is_waits_for_others() {
        let mut fixture = Fixture::new(2, 2);
        for at in 0..8 {
            assert_eq!(fixture.request(1, block(1), true), Ok(true));
            assert_eq!(fixture.request(2, block(0), true), Ok(true));
            let (connections, out) = (&mut fixture.connections, &mut fixture.out);
            fixture.uploads.send_blocks(NOW, |piece| 9 * u16::from(piece == 0), connections, out);
            let first = out.front().cloned();
            // The first one always requests what has fewer copies.
            let expected = Output::SendBlock { conn: ConnId(1), block: block(1) };
            assert_eq!(first, Some(expected), "request {at}");
            out.clear();
            fixture.uploads.peers.values_mut().for_each(|peer| {
                peer.queue.clear();
                peer.sending.clear();
            });
            assert!(fixture.uploads.on_block_sent(NOW, ConnId(1), block(1)));
        }
        assert_eq!(fixture.request(1, block(1), true), Ok(true));
        assert_eq!(fixture.request(2, block(0), true), Ok(true));
        let (connections, out) = (&mut fixture.connections, &mut fixture.out);
        fixture.uploads.send_blocks(NOW, |piece| 9 * u16::from(piece == 0), connections, out);
        let sated = Output::SendBlock { conn: ConnId(2), block: block(0) };
        assert_eq!(out.front(), Some(&sated));
    }
    #[test]
    fn a_peer_that_requests_without_end_gets_a_block_now_and_then() {
        let mut fixture = Fixture::new(2, 1);
        let mut sent_at = |now: Time| {
            let (connections, out) = (&mut fixture.connections, &mut fixture.out);
            let connection = connections.get_mut(ConnId(1)).unwrap();
            _ = fixture.uploads.on_request(now, connection, block(0), PieceState::Here, out);
            fixture.uploads.send_blocks(now, |_| 1, connections, out);
            let sent = out.drain(..).any(|output| matches!(output, Output::SendBlock { .. }));
            if sent {
                assert!(fixture.uploads.on_block_sent(now, ConnId(1), block(0)));
            }
            sent
        };
        let at_once = (0..1000).filter(|_| sent_at(NOW)).count() as u64;
        assert_eq!(at_once * u64::from(UNIT), 1024 * 1024);
        let times = (0..100).map(|n| NOW + std::time::Duration::from_millis(n * 50));
        assert_eq!(times.filter(|now| sent_at(*now)).count(), 19);
    }
}
