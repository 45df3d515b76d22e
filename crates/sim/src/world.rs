//! The world: hosts, connections, a tracker, an agenda of what happens when. It carries out what
//! engines ask for.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    net::SocketAddr,
    time::Duration,
};

use bytes::Bytes;
use sow_content::{Bitfield, Geometry, InfoHash};
use sow_engine::{
    AnnounceEvent, AnnounceReply, Config, ConnId, Content, Dialect, Direction, Engine, Event,
    Input, Integrity, JSON_TRACKER, Message, Output, PeerHandshake, PeerSource, StoreMode, Time,
};
use sow_wire::{
    bittorrent::{BlockRequest, Handshake, Message as Word},
    chunk, json_torrent,
};

use crate::{
    faults::{Fault, Faults},
    host::{Host, HostId, Item},
    link::{Quantum, Rates},
};

/// What a world begins with.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// What everybody speaks.
    pub dialect: Dialect,
    /// Bytes to distribute.
    pub total: u64,
    /// Bytes of a piece.
    pub piece_length: u32,
    /// The origin's link.
    pub origin: Rates,
    /// The receivers' links.
    pub receivers: Vec<Rates>,
    /// Receivers know the metadata; else they fetch it from peers.
    pub metadata_known: bool,
    /// Where all randomness comes from.
    pub seed: u64,
    /// What goes wrong.
    pub faults: Faults,
    /// Last word on each engine's settings; the origin's as well.
    pub adjust: fn(HostId, &mut Config),
}

/// A simulated world.
#[derive(Debug)]
pub struct World {
    now: Time,
    agenda: BinaryHeap<Reverse<(Time, u64)>>,
    happenings: BTreeMap<u64, Happening>,
    serial: u64,
    pub(crate) hosts: Vec<Host>,
    conns: BTreeMap<ConnId, Conn>,
    registered: BTreeSet<SocketAddr>,
    pub(crate) geometry: Geometry,
    scenario: Scenario,
    rng: fastrand::Rng,
}

#[derive(Debug, Clone, Copy)]
struct Conn {
    ends: [HostId; 2],
}

#[derive(Debug)]
enum Happening {
    Tick(HostId),
    /// A quantum is off a host's uplink.
    Gone(HostId, Quantum<Item>),
    /// A quantum is at the receiver's downlink.
    Near(HostId, HostId, ConnId, u64, Option<Item>),
    /// A quantum is through.
    Here(HostId, HostId, ConnId, u64, Option<Item>),
    /// A dial has been answered, or not.
    Dialed(HostId, SocketAddr, u32),
    /// The other side closed.
    Closed(HostId, ConnId),
    Stored(HostId, u32, u32, StoreMode),
    Summed(HostId, u32),
    Announced(HostId, u32, AnnounceReply),
    Settled(HostId, u32),
    Fault(Fault),
}

const INFO_HASH_OF: &[u8] = b"the info dictionary of the simulated swarm";

impl World {
    /// A world at time zero; every host alive.
    pub fn new(scenario: Scenario) -> Self {
        let geometry = match Geometry::new(scenario.total, u64::from(scenario.piece_length)) {
            Ok(geometry) => geometry,
            Err(error) => panic!("the scenario is impossible: {error}"),
        };
        let pieces = geometry.pieces();
        let origin = Host::new(0, scenario.origin, Bitfield::full(pieces), true);
        let receivers = scenario.receivers.iter().zip(1..);
        let receivers =
            receivers.map(|(&rates, at)| Host::new(at, rates, Bitfield::new(pieces), false));
        let mut world = Self {
            now: Time(0),
            agenda: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            serial: 0,
            hosts: std::iter::once(origin).chain(receivers).collect(),
            conns: BTreeMap::new(),
            registered: BTreeSet::new(),
            geometry,
            rng: fastrand::Rng::with_seed(scenario.seed),
            scenario,
        };
        for (at, fault) in world.scenario.faults.schedule().to_vec() {
            world.later(at, Happening::Fault(fault));
        }
        (0..world.hosts.len()).for_each(|host| world.birth(host));
        world
    }

    /// The time.
    pub fn now(&self) -> Time {
        self.now
    }

    /// Runs until every living receiver has everything, or `limit`. True when they have.
    pub fn run(&mut self, limit: Duration) -> bool {
        let end = Time(0) + limit;
        while !self.is_done() {
            let Some(&Reverse((at, serial))) = self.agenda.peek() else { return false };
            if at > end {
                return false;
            }
            self.agenda.pop();
            self.now = at;
            if let Some(happening) = self.happenings.remove(&serial) {
                self.happen(happening);
            }
        }
        true
    }

    /// When the last receiver had everything, in seconds; `None` when one has not.
    pub fn last(&self) -> Option<f64> {
        let times = self.hosts.iter().filter(|host| !host.origin).map(|host| host.complete);
        let last = times.collect::<Option<Vec<Time>>>()?.into_iter().max()?;
        Some(last.0 as f64 / 1e6)
    }

    /// Payload that the origin sent, in units of the content.
    pub fn origin_sent(&self) -> f64 {
        self.hosts[0].served as f64 / self.geometry.total() as f64
    }

    /// Bytes that a host put on its uplink, messages and all.
    pub fn sent(&self, host: HostId) -> u64 {
        self.hosts[host].link.sent
    }

    /// Pieces that a host has.
    pub fn pieces(&self, host: HostId) -> u32 {
        self.hosts[host].have.count()
    }

    /// Bytes that all hosts received in vain.
    pub fn wasted(&self) -> u64 {
        self.hosts
            .iter()
            .filter_map(|host| host.engine.as_ref())
            .map(|engine| engine.status(self.now).wasted)
            .sum()
    }

    fn is_done(&self) -> bool {
        self.hosts
            .iter()
            .all(|host| host.complete.is_some() || (host.origin || host.engine.is_none()))
            && !self.happenings.values().any(|happening| matches!(happening, Happening::Fault(_)))
    }

    fn later(&mut self, at: Time, happening: Happening) {
        self.serial += 1;
        self.agenda.push(Reverse((at, self.serial)));
        self.happenings.insert(self.serial, happening);
    }

    fn after(&mut self, delay: Duration, happening: Happening) {
        self.later(self.now + delay, happening);
    }

    /// A host starts, or starts again with what is in its store.
    fn birth(&mut self, id: HostId) {
        let trackers = self.trackers();
        let host = &mut self.hosts[id];
        host.lives += 1;
        let seed = self.rng.u64(..);
        let mut config = Config::new(host.peer_id(), host.addr.port(), seed);
        config.spread = host.origin;
        config.chunk.server = host.origin;
        config.trackers = trackers;
        (self.scenario.adjust)(id, &mut config);
        let known = host.origin
            || match self.scenario.dialect {
                Dialect::BitTorrent => self.scenario.metadata_known,
                Dialect::JsonTorrent => true,
                Dialect::Chunk => false,
            };
        let content = known.then(|| self.content(id));
        let info_hash = InfoHash(sow_content::hash::sha1(INFO_HASH_OF));
        self.hosts[id].engine = Some(Engine::new(config, info_hash, content, self.now));
        if id != 0 {
            let (dialect, addrs) = (self.scenario.dialect, vec![self.hosts[0].addr]);
            let named = Input::PeersFound { source: PeerSource::Named, dialect, addrs };
            self.input(id, named);
        }
        self.carry_out(id);
    }

    fn trackers(&self) -> Vec<Vec<String>> {
        match self.scenario.dialect {
            Dialect::BitTorrent => vec![vec!["sim".to_owned()]],
            Dialect::JsonTorrent => vec![vec![format!("{JSON_TRACKER}sim")]],
            Dialect::Chunk => Vec::new(),
        }
    }

    fn content(&self, id: HostId) -> Content {
        let have = self.hosts[id].have.clone();
        let proof = if self.scenario.dialect == Dialect::Chunk {
            Integrity::FileDigest
        } else {
            Integrity::PieceHashes
        };
        let metadata = Bytes::from_static(INFO_HASH_OF);
        Content { geometry: self.geometry, have, metadata, private: false, proof, md5: None }
    }

    fn delay(&self, a: HostId, b: HostId) -> Duration {
        Duration::from_micros(self.hosts[a].link.rates.delay + self.hosts[b].link.rates.delay)
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Tick(host) => {
                if self.hosts[host].tick == Some(self.now) {
                    self.hosts[host].tick = None;
                    self.input(host, Input::Tick);
                }
            }
            Happening::Gone(from, quantum) => self.gone(from, quantum),
            Happening::Near(from, to, conn, bytes, item) => {
                let through = self.hosts[to].link.receive(self.now, bytes);
                self.later(through, Happening::Here(from, to, conn, bytes, item));
            }
            Happening::Here(from, to, conn, bytes, item) => {
                if self.conns.contains_key(&conn) {
                    self.hosts[from].link.arrived(conn, bytes);
                    self.transmit(from);
                    item.into_iter().for_each(|item| self.deliver(from, to, conn, item));
                }
            }
            Happening::Dialed(from, addr, life) => self.dialed(from, addr, life),
            Happening::Closed(host, conn) => self.input(host, Input::Closed { conn }),
            Happening::Stored(host, life, piece, storing) => {
                if self.is_in_life(host, life) {
                    let verdict = self.hosts[host].store(piece, self.geometry, storing);
                    self.input(host, Input::Stored { piece, verdict });
                    // Taking the sum keeps up, but cannot pass what is missing.
                    let bytes = self.hosts[host].here_from_the_beginning(self.geometry);
                    self.input(host, Input::DigestProgress { bytes });
                }
            }
            Happening::Announced(host, life, reply) => {
                if self.is_in_life(host, life) {
                    let url = self.trackers().concat().concat();
                    self.input(host, Input::Announced { url, reply: Ok(reply) });
                }
            }
            Happening::Summed(host, life) => {
                if self.is_in_life(host, life) {
                    let md5 = self.hosts[host].sum();
                    self.input(host, Input::FileDigest { md5 });
                }
            }
            Happening::Settled(host, life) => {
                if self.is_in_life(host, life) {
                    let content = self.content(host);
                    self.input(host, Input::ContentReady(Box::new(content)));
                }
            }
            Happening::Fault(fault) => self.fault(fault),
        }
    }

    fn is_in_life(&self, host: HostId, life: u32) -> bool {
        self.hosts[host].engine.is_some() && self.hosts[host].lives == life
    }

    fn input(&mut self, id: HostId, input: Input) {
        if let Some(engine) = &mut self.hosts[id].engine {
            engine.handle(self.now, input);
            self.carry_out(id);
        }
    }

    fn deliver(&mut self, from: HostId, to: HostId, conn: ConnId, item: Item) {
        match item {
            Item::Message(message) => self.input(to, Input::Message { conn, message }),
            Item::Block { block, tainted } => {
                let request =
                    BlockRequest { piece: block.piece, offset: block.offset, length: block.length };
                let Some(engine) = &mut self.hosts[to].engine else { return };
                if let Some(kept) = engine.block_arrived(self.now, conn, request) {
                    let tainted = tainted && kept.offset == block.offset;
                    self.hosts[from].lies += u32::from(tainted);
                    self.hosts[to].keep(kept, tainted);
                }
                self.carry_out(to);
            }
        }
    }

    fn gone(&mut self, from: HostId, quantum: Quantum<Item>) {
        self.hosts[from].link.gone();
        let Quantum { conn, bytes, item, .. } = quantum;
        if let Some(open) = self.conns.get(&conn) {
            let to = if open.ends[0] == from { open.ends[1] } else { open.ends[0] };
            if let Some(Item::Block { block, .. }) = &item {
                let block = *block;
                self.hosts[from].served += u64::from(block.length);
                self.input(from, Input::BlockSent { conn, block });
            }
            let delay = self.delay(from, to);
            self.after(delay, Happening::Near(from, to, conn, bytes, item));
        }
        self.transmit(from);
    }

    fn transmit(&mut self, id: HostId) {
        if let Some(quantum) = self.hosts[id].link.transmit(self.now) {
            self.later(quantum.gone, Happening::Gone(id, quantum));
        }
    }

    /// Does what an engine wants, and puts its next tick on the agenda.
    fn carry_out(&mut self, id: HostId) {
        while let Some(output) = self.hosts[id].engine.as_mut().and_then(Engine::poll) {
            self.output(id, output);
        }
        let Some(wake) = self.hosts[id].engine.as_ref().and_then(Engine::next_wake) else { return };
        let wake = wake.max(self.now);
        if self.hosts[id].tick.is_none_or(|tick| wake < tick) {
            self.hosts[id].tick = Some(wake);
            self.later(wake, Happening::Tick(id));
        }
        self.transmit(id);
    }

    fn output(&mut self, id: HostId, output: Output) {
        let life = self.hosts[id].lives;
        match output {
            Output::Dial { addr, .. } => {
                // TCP's handshake and BitTorrent's: two round trips of 10 ms and whatever the links
                // take.
                let rates = self.hosts[id].link.rates;
                self.after(
                    Duration::from_micros(4 * rates.delay + 1000),
                    Happening::Dialed(id, addr, life),
                );
            }
            Output::Send { conn, message } => {
                let bytes = message_length(&message);
                self.hosts[id].link.push(self.now, conn, bytes, Item::Message(message));
            }
            Output::SendBlock { conn, block } => {
                let wrong = self.hosts[id].wrong.contains(&block.piece);
                let tainted = (self.hosts[id].liar || wrong) && block.offset == 0;
                assert!(
                    self.hosts[id].have.get(block.piece),
                    "serves piece {} unverified",
                    block.piece
                );
                let bytes = u64::from(block.length) + 13;
                self.hosts[id].link.push(self.now, conn, bytes, Item::Block { block, tainted });
            }
            Output::Disconnect { conn, .. } => self.close(id, conn),
            Output::Store { piece, mode, .. } => {
                self.after(Duration::from_micros(500), Happening::Stored(id, life, piece, mode));
            }
            Output::DigestFile => self.after(Duration::from_millis(1), Happening::Summed(id, life)),
            Output::DiscardBlocks { piece } => self.hosts[id].forget(piece),
            Output::Announce { announce, .. } => {
                let addr = self.hosts[id].addr;
                let known = self
                    .registered
                    .iter()
                    .copied()
                    .filter(|&other| other != addr)
                    .collect::<Vec<_>>();
                let peers = known.into_iter().take(announce.numwant as usize).collect();
                if announce.event == AnnounceEvent::Stopped {
                    self.registered.remove(&addr);
                } else {
                    self.registered.insert(addr);
                }
                let interval = Duration::from_secs(30);
                let reply = AnnounceReply { interval, peers, complete: None, incomplete: None };
                let delay = self.delay(id, 0) * 2;
                self.after(delay, Happening::Announced(id, life, reply));
            }
            Output::Event(event) => self.event(id, event),
        }
    }

    fn event(&mut self, id: HostId, event: Event) {
        match event {
            Event::Metadata(bytes) => {
                assert_eq!(bytes, INFO_HASH_OF);
                let life = self.hosts[id].lives;
                self.after(Duration::from_micros(100), Happening::Settled(id, life));
            }
            Event::GeometryLearned { geometry, .. } => {
                assert_eq!(geometry.total(), self.geometry.total());
                let life = self.hosts[id].lives;
                self.after(Duration::from_micros(100), Happening::Settled(id, life));
            }
            Event::Complete => self.hosts[id].complete = Some(self.now),
            Event::Banned { addr, .. } => _ = self.hosts[id].banned.insert(addr),
            _ => {}
        }
    }

    fn dialed(&mut self, from: HostId, addr: SocketAddr, life: u32) {
        if !self.is_in_life(from, life) {
            return;
        }
        let to = self.hosts.iter().position(|host| host.addr == addr && host.engine.is_some());
        let Some(to) = to else {
            return self.input(from, Input::DialFailed { addr });
        };
        if to == from {
            return self.input(from, Input::DialedOurselves { addr });
        }
        self.serial += 1;
        let conn = ConnId(self.serial);
        self.conns.insert(conn, Conn { ends: [from, to] });
        let port = 40_000 + (conn.0 % 20_000) as u16;
        let calling = SocketAddr::new(self.hosts[from].addr.ip(), port);
        for (host, other, addr, direction) in
            [(to, from, calling, Direction::Accepted), (from, to, addr, Direction::Dialed)]
        {
            let info_hash = InfoHash(sow_content::hash::sha1(INFO_HASH_OF));
            let peer_id = self.hosts[other].peer_id();
            let introduction = match self.scenario.dialect {
                Dialect::BitTorrent => PeerHandshake::BitTorrent(Handshake {
                    info_hash,
                    peer_id,
                    fast: true,
                    extended: true,
                }),
                Dialect::Chunk => PeerHandshake::Chunk { local: self.hosts[host].addr.ip() },
                Dialect::JsonTorrent => {
                    PeerHandshake::JsonTorrent { local: self.hosts[host].addr.ip() }
                }
            };
            self.input(host, Input::Connected { conn, addr, direction, introduction });
        }
    }

    fn close(&mut self, by: HostId, conn: ConnId) {
        let Some(closed) = self.conns.remove(&conn) else { return };
        for host in closed.ends {
            self.hosts[host].link.close(conn);
            if host != by {
                let delay = self.delay(by, host);
                self.after(delay, Happening::Closed(host, conn));
            }
        }
    }

    fn fault(&mut self, fault: Fault) {
        match fault {
            Fault::Kill(host) => {
                let open: Vec<ConnId> = self
                    .conns
                    .iter()
                    .filter(|(_, open)| open.ends.contains(&host))
                    .map(|(&conn, _)| conn)
                    .collect();
                self.hosts[host].die();
                open.into_iter().for_each(|conn| self.close(host, conn));
            }
            Fault::Restart(host) => {
                if self.hosts[host].engine.is_none() {
                    self.birth(host);
                }
            }
            Fault::Lie(host) => self.hosts[host].liar = true,
            Fault::Cut(nth) => {
                let count = self.conns.len().max(1);
                if let Some((&conn, open)) = self.conns.iter().nth(nth % count) {
                    let [a, b] = open.ends;
                    self.close(a, conn);
                    self.after(Duration::ZERO, Happening::Closed(a, conn));
                    debug_assert_ne!(a, b);
                }
            }
        }
    }
}

fn message_length(message: &Message) -> u64 {
    match message {
        Message::BitTorrent(Word::Bitfield(bytes)) => 5 + bytes.len() as u64,
        Message::BitTorrent(Word::Extended { payload, .. }) => 6 + payload.len() as u64,
        Message::BitTorrent(Word::Have(_) | Word::Suggest(_) | Word::AllowedFast(_)) => 9,
        Message::BitTorrent(Word::Request(_) | Word::Cancel(_) | Word::Reject(_)) => 17,
        Message::BitTorrent(_) => 5,
        Message::JsonTorrent(json_torrent::Message::Bitfield(bytes)) => 13 + bytes.len() as u64,
        Message::JsonTorrent(_) => 17,
        Message::Chunk(chunk::Message::List(ids)) => 10 + 5 * ids.len() as u64,
        Message::Chunk(chunk::Message::ServerHello { peers, .. }) => 30 + 20 * peers.len() as u64,
        Message::Chunk(_) => 20,
    }
}
