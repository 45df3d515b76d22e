//! Meeting peers: dials, handshakes, what is said first, goodbyes, silence. Payload and its
//! requests are not here.

use std::{net::SocketAddr, time::Duration};

use sow_content::{BLOCK_LENGTH, Bitfield};
use sow_wire::bittorrent::{Handshake, Message, PeerId};

use crate::{
    chunk::ChunkTalk,
    disconnect::{DisconnectReason, Misbehavior},
    engine::{Engine, Phase},
    io::{ConnId, Dialect, Direction, Event, Input, Output, PeerHandshake, PeerSource, Time},
    json_torrent::JsonTalk,
    peer::{Peer, Theirs},
    spread::Offers,
    talk::Talk,
};

/// Dials under way at the same time.
const DIALS_AT_ONCE: usize = 10;

/// We say something at least this often (BEP 3: two minutes; a little earlier).
const KEEP_ALIVE: Duration = Duration::from_secs(100);

/// A peer that says nothing for this long is gone.
const SILENCE: Duration = Duration::from_secs(150);

/// Where there are no handshakes, the first message has to come within this time.
const INTRODUCTION: Duration = Duration::from_secs(10);

/// A peer that owes us blocks may be silent for this long.
const SILENCE_IN_DEBT: Duration = Duration::from_secs(30);

/// Peers that have nothing to do with each other part after this long: time for the last messages
/// to arrive.
const PARTING: Duration = Duration::from_secs(1);

/// How long an address rests after a connection to it was through.
const REST: Duration = Duration::from_millis(500);

impl Engine {
    /// Whether there is room for connections that we open.
    pub(crate) fn may_dial(&self) -> bool {
        let dialed = self.peers.values().filter(|peer| peer.direction == Direction::Dialed).count();
        self.dialing < DIALS_AT_ONCE
            && dialed + self.dialing < self.config.max_dialed
            && self.peers.len() + self.dialing < self.config.max_peers
    }

    /// Opens connections while there is room and somebody to call.
    pub(crate) fn dial(&mut self, now: Time) {
        loop {
            let next = if self.may_dial() {
                self.book.next(now, &mut self.rng)
            } else if self.dialing < DIALS_AT_ONCE && self.peers.len() < self.config.max_peers {
                // There is always a place for those whom the user named.
                self.book.next_named(now)
            } else {
                return;
            };
            let Some((addr, dialect)) = next else { return };
            self.dialing += 1;
            self.push(Output::Dial { addr, dialect });
        }
    }

    pub(crate) fn dial_failed(&mut self, now: Time, addr: SocketAddr) {
        self.dialing = self.dialing.saturating_sub(1);
        // A second connection is not needed as much as the first one.
        if !self.is_dialed(addr) {
            self.book.failed(now, addr);
        }
        self.dial(now);
    }

    pub(crate) fn dialed_ourselves(&mut self, now: Time, addr: SocketAddr) {
        self.dialing = self.dialing.saturating_sub(1);
        self.book.ours(addr);
        self.dial(now);
    }

    pub(crate) fn connected(
        &mut self,
        now: Time,
        conn: ConnId,
        addr: SocketAddr,
        direction: Direction,
        introduction: PeerHandshake,
    ) {
        let handshake = Self::handshake_of(introduction, addr);
        if let PeerHandshake::Chunk { local } | PeerHandshake::JsonTorrent { local } = introduction
        {
            self.own_host.get_or_insert(local);
        }
        let dialect = introduction.dialect();
        if direction == Direction::Dialed {
            self.dialing = self.dialing.saturating_sub(1);
        }
        if let Err(reason) = self.admit(now, addr, direction, handshake, dialect) {
            self.push(Output::Disconnect { conn, reason: reason.clone() });
            if direction == Direction::Dialed {
                let through = self.peers.values().any(|peer| peer.listen_addr() == Some(addr));
                match reason {
                    DisconnectReason::Ourselves => self.book.forget(addr),
                    // It counts as busy for as long as the other connection lasts.
                    DisconnectReason::DuplicateConnection if through => {}
                    _ => self.book.released(now, addr, SILENCE_IN_DEBT),
                }
            }
            self.dial(now);
            return;
        }
        let pieces = match &self.phase {
            Phase::Ready(ready) => Some(ready.geometry.pieces()),
            Phase::Fetching(_) | Phase::Settling => None,
        };
        let talk = Self::talk_of(introduction, direction, now);
        let peer = Peer::new(now, conn, addr, direction, handshake, talk, pieces);
        self.peers.insert(conn, peer);
        self.remember(conn, addr, handshake.peer_id);
        if !(dialect == Dialect::Chunk && direction == Direction::Accepted) {
            // Who calls in `chunk` is announced once it has said who it is.
            self.event(Event::PeerConnected { conn, addr, peer_id: handshake.peer_id });
        }
        self.greet(now, conn);
        self.dial(now);
    }

    /// Whether a connection is wanted; a worse one with the same peer makes room for it.
    fn admit(
        &mut self,
        now: Time,
        addr: SocketAddr,
        direction: Direction,
        handshake: Handshake,
        dialect: Dialect,
    ) -> Result<(), DisconnectReason> {
        let theirs = handshake.peer_id;
        if theirs == self.config.peer_id {
            return Err(DisconnectReason::Ourselves);
        }
        if self.book.is_banned(addr, theirs) {
            return Err(DisconnectReason::Banned);
        }
        if dialect == Dialect::BitTorrent {
            self.admit_once(now, addr, direction, theirs)?;
        }
        if self.peers.len() >= self.config.max_peers {
            // Those who have everything can do without us.
            let done = self.peers.values().find(|peer| peer.is_complete()).map(|peer| peer.conn);
            match done {
                Some(done) if self.is_complete() => {
                    self.drop_peer(now, done, DisconnectReason::NothingToTrade)
                }
                _ => return Err(DisconnectReason::TooManyConnections),
            }
        }
        Ok(())
    }

    /// Of two connections between the same two one is kept. Other dialects have no names by which
    /// that could be told.
    fn admit_once(
        &mut self,
        now: Time,
        addr: SocketAddr,
        direction: Direction,
        theirs: PeerId,
    ) -> Result<(), DisconnectReason> {
        // A name alone proves nothing: whoever calls under another's name must not take its place,
        // nor keep us from it.
        let here = |peer: &&Peer| direction == Direction::Accepted || peer.addr.ip() == addr.ip();
        let same = self.peers.values().filter(|peer| peer.handshake.peer_id == theirs).find(here);
        if same.is_some_and(|peer| peer.addr.ip() != addr.ip()) {
            return Err(DisconnectReason::DuplicateConnection);
        }
        if let Some((other, other_direction)) = same.map(|peer| (peer.conn, peer.direction)) {
            // When both call at the same time, both keep the call of the lower name.
            let kept =
                if self.config.peer_id < theirs { Direction::Dialed } else { Direction::Accepted };
            if other_direction == kept || direction != kept {
                return Err(DisconnectReason::DuplicateConnection);
            }
            self.drop_peer(now, other, DisconnectReason::DuplicateConnection);
        }
        Ok(())
    }

    /// The peer's handshake. Where the dialect has none, one without extensions is made up, under a
    /// name made of its address.
    fn handshake_of(introduction: PeerHandshake, addr: SocketAddr) -> Handshake {
        let name = match introduction {
            PeerHandshake::BitTorrent(handshake) => return handshake,
            PeerHandshake::Chunk { .. } => b"chunk",
            PeerHandshake::JsonTorrent { .. } => b"json ",
        };
        made_up(name, addr)
    }

    fn talk_of(introduction: PeerHandshake, direction: Direction, now: Time) -> Talk {
        match introduction {
            PeerHandshake::BitTorrent(_) => Talk::BitTorrent,
            PeerHandshake::Chunk { .. } => Talk::Chunk(ChunkTalk::new(direction, now)),
            PeerHandshake::JsonTorrent { .. } => Talk::JsonTorrent(JsonTalk::default()),
        }
    }

    /// The first things we say: what we have, and the extension handshake.
    fn greet(&mut self, now: Time, conn: ConnId) {
        let Some(peer) = self.peers.get(&conn) else { return };
        match (peer.dialect(), peer.direction) {
            (Dialect::BitTorrent, _) => {}
            (Dialect::JsonTorrent, _) => return self.greet_json(now, conn),
            (Dialect::Chunk, Direction::Dialed) => return self.greet_chunk(now, conn),
            (Dialect::Chunk, Direction::Accepted) => return,
        }
        let (handshake, kin) = (peer.handshake, peer.is_kin(self.config.peer_id));
        let have = match &self.phase {
            Phase::Ready(ready) if ready.spread.is_none() => Some(ready.picker.have()),
            Phase::Ready(_) | Phase::Fetching(_) | Phase::Settling => None,
        };
        let first = match (have, handshake.fast) {
            (Some(have), true) if have.is_full() => Some(Message::HaveAll),
            (Some(have), _) if !have.is_empty() => {
                Some(Message::Bitfield(have.as_bytes().to_vec().into()))
            }
            (_, true) => Some(Message::HaveNone),
            (_, false) => None,
        };
        if let Some(first) = first {
            self.send(now, conn, first);
        }
        if handshake.extended {
            let message = self.extension_handshake(kin);
            self.send(now, conn, message);
        }
        self.begin_offers(now, conn);
        if handshake.fast {
            self.allow_fast(now, conn);
        }
        self.rechoke_cooperative(now);
    }

    /// Says that we have the metadata now: others may have nobody else to ask.
    fn introduce_again(&mut self, now: Time, conn: ConnId) {
        let Some(peer) = self.peers.get(&conn) else { return };
        if peer.handshake.extended {
            let message = self.extension_handshake(peer.is_kin(self.config.peer_id));
            self.send(now, conn, message);
        }
    }

    /// Gives a new peer its first offers, when we spread.
    fn begin_offers(&mut self, now: Time, conn: ConnId) {
        let Phase::Ready(ready) = &self.phase else { return };
        if ready.spread.is_some() {
            let pieces = ready.geometry.pieces();
            if let Some(peer) = self.peers.get_mut(&conn) {
                peer.offers = Some(Offers::new(pieces));
            }
            self.offer(now, conn);
        }
    }

    /// The metadata is known now: checks what a peer said before, and tells it what we have.
    pub(crate) fn settle(&mut self, now: Time, conn: ConnId) {
        let Phase::Ready(ready) = &self.phase else { return };
        let dialect = self.peers.get(&conn).map(Peer::dialect);
        let pieces = ready.geometry.pieces();
        let mine: Vec<u32> =
            if ready.spread.is_none() { ready.picker.have().iter().collect() } else { Vec::new() };
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        if let Theirs::Early(early) = &peer.theirs {
            let settled = early.settle(pieces);
            peer.theirs = Theirs::Known { have: Bitfield::new(pieces), said: false };
            match settled {
                Ok((have, said)) => {
                    let fresh: Vec<u32> = have.iter().collect();
                    if let Theirs::Known { said: known, .. } = &mut peer.theirs {
                        *known = said;
                    }
                    self.gained(now, conn, &fresh);
                }
                Err(reason) => return self.drop_peer(now, conn, reason),
            }
        }
        if dialect == Some(Dialect::Chunk) {
            if let Err(reason) = self.settle_chunk(now, conn) {
                self.drop_peer(now, conn, reason);
            }
            return;
        }
        for piece in mine {
            self.send(now, conn, Message::Have(piece));
        }
        self.introduce_again(now, conn);
        self.begin_offers(now, conn);
        self.fill(now, conn);
    }

    /// A peer is gone: `reason` when we dropped it.
    pub(crate) fn lost(&mut self, now: Time, conn: ConnId, reason: Option<DisconnectReason>) {
        let Some(peer) = self.peers.remove(&conn) else { return };
        self.release_downloads(&peer);
        let was_checking = matches!(&peer.talk, Talk::Chunk(talk) if talk.is_checking());
        self.lost_in_trial(now, conn, was_checking);
        match &mut self.phase {
            Phase::Fetching(fetch) => {
                fetch.lost(conn);
                self.fetch_metadata(now);
            }
            Phase::Settling => {}
            Phase::Ready(ready) => {
                if let Theirs::Known { have, .. } = &peer.theirs {
                    have.iter().for_each(|piece| ready.picker.remove(piece, &mut self.rng));
                    if let (Some(spread), Some(offers)) = (&mut ready.spread, &peer.offers) {
                        spread.lost(have, offers, &mut self.rng);
                    }
                }
            }
        }
        let misbehavior = reason.as_ref().and_then(DisconnectReason::misbehavior).cloned();
        let is_persistent = misbehavior.as_ref().is_some_and(Misbehavior::is_persistent);
        let given_up = misbehavior.filter(|misbehavior| {
            peer.direction == Direction::Dialed
                && self.book.broke_protocol(peer.addr, misbehavior.is_persistent())
        });
        if let Some(addr) = peer.listen_addr().filter(|addr| !self.is_dialed(*addr)) {
            self.widened.remove(&addr);
            match &reason {
                Some(DisconnectReason::NothingToTrade | DisconnectReason::Ourselves) => {
                    self.book.forget(addr)
                }
                // It will not be another one, or speak otherwise, at once. (For those whom we call,
                // the book knows better.)
                Some(DisconnectReason::Misbehaved(Misbehavior::DifferentFile)) => {
                    self.book.released(now, addr, SILENCE_IN_DEBT)
                }
                Some(_) if is_persistent && peer.direction == Direction::Accepted => {
                    self.book.released(now, addr, SILENCE_IN_DEBT);
                }
                _ => self.book.released(now, addr, REST),
            }
        }
        let peer_id = peer.handshake.peer_id;
        let (addr, listen_addr, downloaded) = (peer.addr, peer.listen_addr(), peer.down.total());
        let stops = reason == Some(DisconnectReason::ShuttingDown);
        self.event(Event::PeerDisconnected {
            conn,
            addr,
            listen_addr,
            peer_id,
            downloaded,
            reason,
        });
        if let Some(misbehavior) = given_up {
            self.event(Event::PeerGivenUp { addr, misbehavior });
        }
        if !stops {
            self.rechoke_cooperative(now);
            self.refill(now);
            self.chunk_turns(now);
            self.serve(now);
            self.seek_peers(now);
            self.dial(now);
        }
    }

    /// Keep-alives, silence, farewells, peer exchange, what was left to be said when there is time.
    pub(crate) fn housekeep_peers(&mut self, now: Time) {
        let done = match &self.phase {
            Phase::Ready(ready) => {
                ready.complete_since.is_some_and(|since| now.since(since) >= PARTING)
            }
            Phase::Fetching(_) | Phase::Settling => false,
        };
        let conns: Vec<ConnId> = self.peers.keys().copied().collect();
        for conn in conns {
            let Some(peer) = self.peers.get(&conn) else { continue };
            let (silence, said) = (now.since(peer.heard), peer.sent);
            let patience = peer.patience(SILENCE_IN_DEBT);
            let in_debt = !peer.outstanding.is_empty() && now.since(peer.last_block) > patience;
            let mute = !peer.is_introduced() && now.since(peer.connected) > INTRODUCTION;
            if mute || silence > SILENCE.max(patience) || (in_debt && silence > patience) {
                self.drop_peer(now, conn, DisconnectReason::PeerTimeout);
            } else if done && self.has_no_more_use(conn) && now.since(peer.connected) >= PARTING {
                self.drop_peer(now, conn, DisconnectReason::NothingToTrade);
            } else if let Err(reason) = self.housekeep_json(now, conn) {
                self.drop_peer(now, conn, reason);
            } else {
                if now.since(said) > KEEP_ALIVE {
                    self.send(now, conn, Message::KeepAlive);
                }
                self.exchange_peers(now, conn);
                self.say_late_haves(now, conn);
                self.offer(now, conn);
            }
        }
    }

    /// Whether a connection is of no use any more once we have everything.
    fn has_no_more_use(&self, conn: ConnId) -> bool {
        let Some(peer) = self.peers.get(&conn) else { return true };
        match peer.dialect() {
            Dialect::BitTorrent | Dialect::JsonTorrent => peer.is_complete(),
            Dialect::Chunk => self.is_chunk_over(conn),
        }
    }

    /// Everything but payload that a peer can say.
    pub(crate) fn message(
        &mut self,
        now: Time,
        conn: ConnId,
        message: Message,
    ) -> Result<(), DisconnectReason> {
        let Some(peer) = self.peers.get_mut(&conn) else { return Ok(()) };
        let fast = peer.handshake.fast;
        match message {
            Message::KeepAlive | Message::Port(_) => Ok(()),
            Message::Choke => self.choked(now, conn),
            Message::Unchoke => self.unchoked(now, conn),
            Message::Interested => self.interested(now, conn, true),
            Message::NotInterested => self.interested(now, conn, false),
            Message::Have(piece) => self.has_piece(now, conn, piece),
            Message::Bitfield(bytes) => self.has_pieces(now, conn, Some(bytes), false),
            Message::Request(request) => self.requested(now, conn, request),
            Message::Cancel(request) => self.cancelled(now, conn, request),
            Message::Suggest(_)
            | Message::HaveAll
            | Message::HaveNone
            | Message::Reject(_)
            | Message::AllowedFast(_)
                if !fast =>
            {
                Err(DisconnectReason::Misbehaved(Misbehavior::ExtensionNotNegotiated))
            }
            Message::HaveAll => self.has_pieces(now, conn, None, true),
            Message::HaveNone => self.has_pieces(now, conn, None, false),
            Message::Suggest(_) => Ok(()),
            Message::Reject(request) => self.rejected(now, conn, request),
            Message::AllowedFast(piece) => self.allowed_fast(now, conn, piece),
            Message::Extended { id, payload } => self.extended(now, conn, id, payload),
        }
    }

    /// Bans whoever a connection belongs or belonged to.
    pub(crate) fn ban(&mut self, now: Time, conn: ConnId, piece: u32) {
        let here = self.peers.get(&conn).map(|peer| (peer.addr, peer.handshake.peer_id));
        let Some((addr, peer_id)) = here.or_else(|| self.identities.get(&conn).copied()) else {
            return;
        };
        let listen = self.peers.get(&conn).and_then(Peer::listen_addr).unwrap_or(addr);
        // Who had two connections, or whose pieces turn out to be wrong one after the other, is
        // told of once.
        if self.book.ban(listen, peer_id) {
            self.event(Event::Banned { addr, piece });
        }
        self.drop_peer(now, conn, DisconnectReason::Banned);
    }

    /// Bans an address, and drops whoever is connected by it.
    pub(crate) fn ban_address(&mut self, now: Time, addr: SocketAddr, piece: u32) {
        let conns: Vec<ConnId> = self
            .peers
            .values()
            .filter(|peer| peer.listen_addr() == Some(addr))
            .map(|peer| peer.conn)
            .collect();
        if !self.book.ban_alone(addr) {
            return;
        }
        self.event(Event::Banned { addr, piece });
        conns.into_iter().for_each(|conn| self.drop_peer(now, conn, DisconnectReason::Banned));
    }

    /// Takes note of an address that a peer told us or calls itself.
    pub(crate) fn heard_of(&mut self, now: Time, addrs: Vec<SocketAddr>) {
        self.handle(
            now,
            Input::PeersFound { source: PeerSource::Pex, dialect: Dialect::BitTorrent, addrs },
        );
    }

    /// The longest block that we answer a request for.
    pub(crate) fn longest_answer(&self) -> u32 {
        self.config.max_block.max(BLOCK_LENGTH)
    }
}

/// A handshake without extensions, under a name made of an address.
pub(crate) fn made_up(dialect: &[u8; 5], addr: SocketAddr) -> Handshake {
    let mut peer_id = [0; 20];
    peer_id[..5].copy_from_slice(dialect);
    let host = sow_content::hash::sha1(addr.to_string().as_bytes());
    peer_id[5..].copy_from_slice(&host[5..]);
    let info_hash = sow_content::InfoHash([0; 20]);
    Handshake { info_hash, peer_id: PeerId(peer_id), fast: false, extended: false }
}
