//! The engine: state, dispatch of inputs, the queue of outputs, housekeeping. What is decided lives
//! in the files beside it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use sow_content::{Bitfield, Geometry, InfoHash};
use sow_wire::{
    bittorrent::{Message as Word, PeerId},
    dialect::Message,
};

use crate::{
    announce::{self, Trackers},
    chunk::Trial,
    config::{Config, Content, Integrity},
    culprits::Culprits,
    disconnect::{DisconnectReason, Misbehavior},
    io::{
        Announce, AnnounceError, AnnounceEvent, ConnId, Dialect, Event, Input, Output,
        StoreOutcome, Time,
    },
    metadata::MetadataFetch,
    peer::Peer,
    peer_book::PeerBook,
    picker::Picker,
    rate::Rate,
    share::Share,
    spread::Spread,
};

/// How often the engine looks for stalled requests, silence, turns.
const HOUSEKEEPING: Duration = Duration::from_millis(250);

/// Identities that are remembered beyond their connections, to ban liars who left.
const IDENTITIES: usize = 4096;

/// One swarm's decisions. Inputs go in with [`Engine::handle`] and [`Engine::block_arrived`], and
/// after each of them what is to be done comes out of [`Engine::poll`], until that says `None`.
#[derive(Debug)]
pub struct Engine {
    pub(crate) config: Config,
    pub(crate) rng: fastrand::Rng,
    pub(crate) peers: BTreeMap<ConnId, Peer>,
    /// Dials under way.
    pub(crate) dialing: usize,
    pub(crate) book: PeerBook,
    /// Peers that we opened a second connection to, or tried to.
    pub(crate) widened: BTreeSet<SocketAddr>,
    pub(crate) identities: BTreeMap<ConnId, (SocketAddr, PeerId)>,
    /// Our own address, as others see it, where a dialect needs it.
    pub(crate) own_host: Option<IpAddr>,
    /// Who fetches what from a seed, as it was last.
    pub(crate) share: Option<Share>,
    pub(crate) phase: Phase,
    /// Counts whatever may give a peer that had nothing to pick something to pick.
    pub(crate) generation: u64,
    pub(crate) choke_round: u64,
    pub(crate) down: Rate,
    pub(crate) up: Rate,
    /// Payload bytes that came twice, or too late, or corrupt.
    pub(crate) wasted: u64,
    pub(crate) tracker_incomplete: Option<u32>,
    pub(crate) out: VecDeque<Output>,
    trackers: Trackers,
    /// A tracker has answered.
    was_tracked: bool,
    next_housekeeping: Time,
    next_choke_round: Time,
    stopped: bool,
}

/// What the engine knows of the content.
#[derive(Debug)]
pub(crate) enum Phase {
    /// The info dictionary has to come from peers (BEP 9).
    Fetching(MetadataFetch),
    /// It is here, and whoever runs us makes a store for it.
    Settling,
    /// All is known.
    Ready(Box<Ready>),
}

/// The part of the state that needs the metadata.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) geometry: Geometry,
    pub(crate) metadata: Bytes,
    pub(crate) private: bool,
    pub(crate) picker: Picker,
    pub(crate) spread: Option<Spread>,
    /// How often each piece was begun to be sent.
    pub(crate) given: Box<[u16]>,
    pub(crate) culprits: Culprits,
    pub(crate) complete_since: Option<Time>,
    /// When peers that had nothing for us are looked at again.
    pub(crate) look_again: Time,
    /// A piece could not be stored, or the whole cannot be proved: nothing more is asked for.
    pub(crate) halted: bool,
    /// How it is told that what is here is right.
    pub(crate) proof: Integrity,
    /// With [`Integrity::FileDigest`], unless we are the authority.
    pub(crate) trial: Option<Trial>,
    /// The MD5 of the content, once it is complete and somebody wanted to know.
    pub(crate) sum: Option<[u8; 16]>,
    /// It is being taken.
    pub(crate) summing: bool,
    /// How far the sum of what comes was taken, in bytes from the beginning.
    pub(crate) summed: u64,
}

impl Engine {
    /// An engine for one swarm. Without `content` the metadata is fetched from peers first.
    pub fn new(config: Config, info_hash: InfoHash, content: Option<Content>, now: Time) -> Self {
        let mut rng = fastrand::Rng::with_seed(config.seed);
        let trackers = Trackers::new(&config.trackers, now, &mut rng);
        let mut engine = Self {
            config,
            rng,
            peers: BTreeMap::new(),
            dialing: 0,
            book: PeerBook::default(),
            widened: BTreeSet::new(),
            identities: BTreeMap::new(),
            own_host: None,
            share: None,
            phase: Phase::Fetching(MetadataFetch::new(info_hash)),
            generation: 0,
            choke_round: 0,
            down: Rate::default(),
            up: Rate::default(),
            wasted: 0,
            tracker_incomplete: None,
            trackers,
            was_tracked: false,
            out: VecDeque::new(),
            next_housekeeping: now,
            next_choke_round: now,
            stopped: false,
        };
        if let Some(content) = content {
            engine.phase = engine.ready(content, now);
        }
        engine.announce(now);
        engine
    }

    /// Something happened.
    pub fn handle(&mut self, now: Time, input: Input) {
        if self.stopped {
            return;
        }
        match input {
            Input::Connected { conn, addr, direction, introduction } => {
                self.connected(now, conn, addr, direction, introduction);
            }
            Input::DialFailed { addr } => self.dial_failed(now, addr),
            Input::DialedOurselves { addr } => self.dialed_ourselves(now, addr),
            Input::Closed { conn } => self.lost(now, conn, None),
            Input::ReadFailed { conn, reason } => self.broken(now, conn, reason),
            Input::Message { conn, message } => self.understand(now, conn, message),
            Input::BlockSent { conn, block } => self.block_sent(now, conn, block),
            Input::Stored { piece, verdict } => self.stored(now, piece, verdict),
            Input::PeersFound { source, dialect, addrs } => {
                addrs.into_iter().for_each(|addr| self.book.add(now, addr, source, dialect));
                self.dial(now);
            }
            Input::DigestProgress { bytes } => self.summed_up(now, bytes),
            Input::FileDigest { md5 } => self.whole_digest(now, md5),
            Input::Announced { url, reply } => self.announced(now, url, reply),
            Input::ContentReady(content) => self.content_ready(now, *content),
            Input::Tick => self.tick(now),
            Input::Stop => self.stop(now),
        }
    }

    /// What is to be done next, oldest first. `None`: nothing until the next input.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When [`Input::Tick`] is due, if nothing else happens before.
    pub fn next_wake(&self) -> Option<Time> {
        if self.stopped {
            return None;
        }
        let housekeeping = (!self.peers.is_empty()).then_some(self.next_housekeeping);
        let dial = if self.may_dial() { self.book.next_due() } else { None };
        [housekeeping, dial, self.trackers.next_due()].into_iter().flatten().min()
    }

    /// The pieces that are verified and stored; `None` before the metadata is known.
    pub fn have(&self) -> Option<&Bitfield> {
        match &self.phase {
            Phase::Ready(ready) => Some(ready.picker.have()),
            Phase::Fetching(_) | Phase::Settling => None,
        }
    }

    pub(crate) fn push(&mut self, output: Output) {
        self.out.push_back(output);
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.out.push_back(Output::Event(event));
    }

    /// Says something to a peer, in its dialect, if that has words for it.
    pub(crate) fn send(&mut self, now: Time, conn: ConnId, word: Word) {
        let output = self.peers.get_mut(&conn).and_then(|peer| peer.say(now, word));
        self.out.extend(output);
    }

    /// Says something that only the peer's dialect knows.
    pub(crate) fn send_as(&mut self, now: Time, conn: ConnId, message: Message) {
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.sent = now;
            self.out.push_back(Output::Send { conn, message });
        }
    }

    /// Takes in what a peer says, in its dialect.
    fn understand(&mut self, now: Time, conn: ConnId, message: Message) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        peer.heard = now;
        let result = match (peer.dialect(), message) {
            (Dialect::BitTorrent, Message::BitTorrent(word)) => self.message(now, conn, word),
            (Dialect::JsonTorrent, Message::JsonTorrent(message)) => {
                self.json_message(now, conn, message)
            }
            (Dialect::Chunk, Message::Chunk(message)) => self.chunk_message(now, conn, message),
            (_, other) => Err(DisconnectReason::Misbehaved(Misbehavior::UnexpectedMessage(
                format!("one of {}", other.dialect()).into(),
            ))),
        };
        if let Err(reason) = result {
            self.drop_peer(now, conn, reason);
        }
    }

    /// Nothing more of what a peer sends can be understood.
    fn broken(&mut self, now: Time, conn: ConnId, reason: DisconnectReason) {
        if matches!(reason, DisconnectReason::Misbehaved(Misbehavior::MalformedMessage(_))) {
            self.answer_unreadable(now, conn);
        }
        self.drop_peer(now, conn, reason);
    }

    /// Drops a peer, for a reason of ours.
    pub(crate) fn drop_peer(&mut self, now: Time, conn: ConnId, reason: DisconnectReason) {
        if self.peers.contains_key(&conn) {
            self.push(Output::Disconnect { conn, reason: reason.clone() });
            self.lost(now, conn, Some(reason));
        }
    }

    /// Notes who a connection belongs to, for as long as there is room.
    pub(crate) fn remember(&mut self, conn: ConnId, addr: SocketAddr, peer_id: PeerId) {
        self.identities.insert(conn, (addr, peer_id));
        if self.identities.len() > IDENTITIES {
            let gone = self.identities.keys().find(|conn| !self.peers.contains_key(conn)).copied();
            gone.map(|conn| self.identities.remove(&conn));
        }
    }

    pub(crate) fn is_complete(&self) -> bool {
        matches!(&self.phase, Phase::Ready(ready) if ready.picker.have().is_full() && ready.is_verified_whole())
    }

    /// Announces to every tracker that is due.
    pub(crate) fn announce(&mut self, now: Time) {
        for (url, event) in self.trackers.due(now) {
            let announce = self.numbers(event);
            self.push(Output::Announce { url, announce });
        }
    }

    fn announced(
        &mut self,
        now: Time,
        url: String,
        reply: Result<crate::io::AnnounceReply, AnnounceError>,
    ) {
        // Whoever has peers, or needs none, asks as seldom as the tracker wants.
        let alone = self.peers.is_empty() && !self.is_complete();
        let at_most = if alone { self.config.announce_at_least } else { Duration::MAX };
        match reply {
            Ok(reply) => {
                self.trackers.answered(now, &url, Some(reply.interval), at_most);
                self.tracker_incomplete = reply.incomplete.or(self.tracker_incomplete);
                let peers = reply.peers.len();
                let source = crate::io::PeerSource::Tracker;
                let dialect = announce::dialect_of(&url);
                // In document 2's protocol who comes calls those who are there. Who has everything
                // need not call later ones.
                let is_news = !std::mem::replace(&mut self.was_tracked, true);
                if dialect == Dialect::BitTorrent || is_news || !self.is_complete() {
                    reply
                        .peers
                        .into_iter()
                        .for_each(|addr| self.book.add(now, addr, source, dialect));
                }
                self.event(Event::TrackerAnswered { url, peers });
                self.dial(now);
            }
            Err(error) => {
                self.trackers.answered(now, &url, None, at_most);
                self.event(Event::TrackerFailed { url, error });
            }
        }
        self.announce(now);
    }

    /// Nobody is left and something is missing: the trackers are asked before they want to be.
    pub(crate) fn seek_peers(&mut self, now: Time) {
        if self.peers.is_empty() && !self.is_complete() {
            self.trackers.hurry(now + self.config.announce_at_least);
        }
    }

    fn numbers(&self, event: AnnounceEvent) -> Announce {
        let left = match &self.phase {
            Phase::Ready(ready) => ready.missing_bytes(),
            Phase::Fetching(_) | Phase::Settling => u64::MAX,
        };
        let numwant = if event == AnnounceEvent::Stopped { 0 } else { 50 };
        Announce { event, uploaded: self.up.total(), downloaded: self.down.total(), left, numwant }
    }

    fn ready(&mut self, content: Content, now: Time) -> Phase {
        let Content { geometry, have, metadata, private, proof, md5 } = content;
        // A server has the file by definition; whoever fetches it without hashes has to prove that
        // it is right.
        let trial = (proof == Integrity::FileDigest && !self.config.chunk.server)
            .then(|| Trial::new(&have));
        let complete = have.is_full() && trial.is_none();
        let spread = self.config.spread && complete;
        let spread = spread.then(|| Spread::new(geometry.pieces(), &mut self.rng));
        let Config { order, open_bytes, .. } = self.config;
        let picker = Picker::new(geometry, have, order, open_bytes, &mut self.rng);
        Phase::Ready(Box::new(Ready {
            geometry,
            metadata,
            private,
            picker,
            spread,
            given: vec![0; geometry.pieces() as usize].into(),
            culprits: Culprits::default(),
            complete_since: complete.then_some(now),
            look_again: now,
            halted: false,
            proof,
            trial,
            sum: md5,
            summing: false,
            summed: 0,
        }))
    }

    /// The metadata was taken: what peers said before can be checked now, and they hear what we
    /// have.
    fn content_ready(&mut self, now: Time, content: Content) {
        if matches!(self.phase, Phase::Ready(_)) {
            return;
        }
        self.phase = self.ready(content, now);
        let conns: Vec<ConnId> = self.peers.keys().copied().collect();
        for &conn in &conns {
            self.settle(now, conn);
        }
        if self.is_complete() {
            self.event(Event::Complete);
        }
        self.prove(now);
        self.announce(now);
    }

    pub(crate) fn stored(&mut self, now: Time, piece: u32, verdict: StoreOutcome) {
        match verdict {
            StoreOutcome::Verified { digests } => self.piece_verified(now, piece, &digests),
            StoreOutcome::WrittenUnverified { differed } => self.piece_kept(now, piece, differed),
            StoreOutcome::Corrupt { digests } => self.piece_corrupt(now, piece, &digests),
            StoreOutcome::IncompleteBuffer => {
                if let Phase::Ready(ready) = &mut self.phase {
                    ready.picker.start_over(piece, false, &mut self.rng);
                    self.generation += 1;
                    self.refill(now);
                }
            }
            StoreOutcome::Failed => {
                if let Phase::Ready(ready) = &mut self.phase {
                    ready.halted = true;
                    ready.picker.start_over(piece, false, &mut self.rng);
                }
            }
        }
    }

    /// Everything is verified.
    pub(crate) fn completed(&mut self, now: Time) {
        self.trackers.completed(now);
        self.announce(now);
        self.event(Event::Complete);
    }

    fn tick(&mut self, now: Time) {
        if now >= self.next_housekeeping {
            self.next_housekeeping = now + HOUSEKEEPING;
            self.housekeep_peers(now);
            self.housekeep_downloads(now);
            if now >= self.next_choke_round {
                self.next_choke_round = now + crate::choker::ROUND;
                self.choke_round += 1;
                self.rechoke_strangers(now, crate::choker::is_lucky_round(self.choke_round));
            }
            self.rechoke_cooperative(now);
            self.chunk_turns(now);
            self.serve(now);
        }
        self.announce(now);
        self.dial(now);
    }

    fn stop(&mut self, now: Time) {
        for url in self.trackers.stop() {
            let announce = self.numbers(AnnounceEvent::Stopped);
            self.push(Output::Announce { url, announce });
        }
        let conns: Vec<ConnId> = self.peers.keys().copied().collect();
        conns
            .into_iter()
            .for_each(|conn| self.drop_peer(now, conn, DisconnectReason::ShuttingDown));
        self.stopped = true;
    }
}

impl Ready {
    /// Bytes that are not verified.
    pub(crate) fn missing_bytes(&self) -> u64 {
        let have = self.picker.have();
        let pieces = self.geometry.pieces();
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
}
