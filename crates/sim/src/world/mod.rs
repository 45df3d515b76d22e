//! The world: hosts, connections, a tracker and the queue of future events. It executes the outputs
//! of the engines and turns their completions into inputs. It judges nothing.

mod connecting;
mod population;
mod tracking;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    net::SocketAddr,
    time::Duration,
};

use bytes::Bytes;
use sow_content::{Bitfield, Block, Geometry, InfoHash};
use sow_engine::{
    AnnounceReply, Config, ConnId, Content, Dialect, Engine, Event, Input, Integrity, JSON_TRACKER,
    Misbehavior, Output, PeerSource, StoreMode, Time,
};
use sow_wire::bittorrent::BlockRequest;

use self::tracking::Tracker;
use crate::{
    faults::{Fault, Faults},
    host::{Host, HostId, Item},
    host_link::{LinkConfig, Quantum, Traffic},
    hostile::HostileKind,
    message_length::{BLOCK_HEADER_BYTES, message_length},
};

/// The SHA-1 of these bytes is the info-hash of the swarm.
const INFO_DICTIONARY: &[u8] = b"the info dictionary of the simulated swarm";

/// The info-hash of the swarm.
fn info_hash() -> InfoHash {
    InfoHash(sow_content::hash::sha1(INFO_DICTIONARY))
}

/// How long a dial takes in addition to the delays of the links.
const DIAL_TIME: Duration = Duration::from_millis(1);

/// How long a host needs to verify and store a piece.
const STORE_TIME: Duration = Duration::from_micros(500);

/// How long a host needs to finish the digest of the whole file.
const DIGEST_TIME: Duration = Duration::from_millis(1);

/// How long a host needs to prepare its store when the content becomes known.
const PREPARE_STORE_TIME: Duration = Duration::from_micros(100);

/// The start of a simulated world.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// The protocol of all hosts.
    pub dialect: Dialect,
    /// The length of the content, in bytes.
    pub total: u64,
    /// The length of a piece, in bytes.
    pub piece_length: u32,
    /// The link of the origin.
    pub origin: LinkConfig,
    /// The links of the receivers.
    pub receivers: Vec<LinkConfig>,
    /// Receivers have the metadata at the start; else they fetch it from peers.
    pub metadata_known: bool,
    /// The seed of all randomness.
    pub seed: u64,
    /// The faults.
    pub faults: Faults,
    /// Hosts that misbehave, and their links. They are there from the start.
    pub hostile: Vec<(HostileKind, LinkConfig)>,
    /// Messages a second in the floods of misbehaving hosts, on each connection.
    pub flood_rate: u32,
    /// Changes the configuration of each engine, the origin's included, before it starts.
    pub adjust: fn(HostId, &mut Config),
}

/// A simulated world.
#[derive(Debug)]
pub struct World {
    now: Time,
    /// Times and serial numbers of the events.
    queue: BinaryHeap<Reverse<(Time, u64)>>,
    events: BTreeMap<u64, SimEvent>,
    last_serial: u64,
    /// Faults in the queue of events.
    pending_faults: usize,
    /// Something happened that may have been the last that was awaited.
    may_be_done: bool,
    pub(crate) hosts: Vec<Host>,
    /// The host at each address that was ever in use.
    host_at: BTreeMap<SocketAddr, HostId>,
    /// Places of hosts that left for good.
    vacant: Vec<HostId>,
    /// The number of the next host's address.
    next_address: u32,
    connections: BTreeMap<ConnId, Connection>,
    tracker: Tracker,
    /// Engines that disconnected an honest host as misbehaving.
    pub(crate) wrong_blames: Vec<(HostId, HostId, Misbehavior)>,
    geometry: Geometry,
    scenario: Scenario,
    rng: fastrand::Rng,
}

#[derive(Debug, Clone, Copy)]
struct Connection {
    ends: [HostId; 2],
}

/// Something that happens at a future time. A `start` is the number of the host's start that the
/// event belongs to; a later start ignores it.
#[derive(Debug)]
enum SimEvent {
    Tick(HostId),
    HostileTick {
        host: HostId,
        start: u32,
    },
    /// A quantum left the uplink of a host.
    Sent {
        from: HostId,
        start: u32,
        quantum: Quantum<Item>,
    },
    /// A quantum reached the downlink of its receiver.
    AtDownlink(Delivery),
    /// A quantum left the downlink of its receiver.
    Delivered(Delivery),
    /// A dial succeeds or fails.
    Dialed {
        from: HostId,
        addr: SocketAddr,
        start: u32,
    },
    /// A dial to an address at which nothing answers.
    DialTimedOut {
        from: HostId,
        addr: SocketAddr,
        start: u32,
    },
    /// The other end closed the connection.
    Closed(HostId, ConnId),
    Stored {
        host: HostId,
        start: u32,
        piece: u32,
        mode: StoreMode,
    },
    FileDigested {
        host: HostId,
        start: u32,
    },
    Announced {
        host: HostId,
        start: u32,
        reply: AnnounceReply,
    },
    StorePrepared {
        host: HostId,
        start: u32,
    },
    Fault(Fault),
}

/// A quantum on its way from one host to another.
#[derive(Debug)]
struct Delivery {
    from: HostId,
    to: HostId,
    conn: ConnId,
    bytes: u64,
    items: Vec<Item>,
}

impl World {
    /// A world at time zero with every host running.
    ///
    /// # Panics
    /// When the scenario has no valid geometry.
    pub fn new(scenario: Scenario) -> Self {
        let geometry = match Geometry::new(scenario.total, u64::from(scenario.piece_length)) {
            Ok(geometry) => geometry,
            Err(error) => panic!("the scenario is impossible: {error}"),
        };
        let pieces = geometry.pieces();
        let origin = Host::new(0, scenario.origin, Bitfield::full(pieces), true);
        let (receivers, hostile) = (scenario.receivers.clone(), scenario.hostile.clone());
        let mut world = Self {
            now: Time(0),
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            last_serial: 0,
            pending_faults: 0,
            may_be_done: true,
            host_at: BTreeMap::from([(origin.addr, 0)]),
            vacant: Vec::new(),
            next_address: 1,
            hosts: vec![origin],
            connections: BTreeMap::new(),
            tracker: Tracker::new(info_hash(), scenario.seed),
            wrong_blames: Vec::new(),
            geometry,
            rng: fastrand::Rng::with_seed(scenario.seed),
            scenario,
        };
        for (at, fault) in world.scenario.faults.schedule().to_vec() {
            world.pending_faults += 1;
            world.schedule_at(at, SimEvent::Fault(fault));
        }
        for link in receivers {
            world.new_host(link);
        }
        (0..world.hosts.len()).for_each(|host| world.start_host(host));
        for (kind, link) in hostile {
            world.add_hostile(kind, link);
        }
        world
    }

    /// The current time.
    pub fn now(&self) -> Time {
        self.now
    }

    /// Runs until every running receiver has all pieces and no fault is left, or until `limit`.
    /// Returns whether all that happened before the limit.
    pub fn run(&mut self, limit: Duration) -> bool {
        let end = Time(0) + limit;
        self.may_be_done = true;
        while !(std::mem::take(&mut self.may_be_done) && self.is_done()) {
            let Some(&Reverse((at, serial))) = self.queue.peek() else { return false };
            if at > end {
                return false;
            }
            self.handle_next(at, serial);
        }
        true
    }

    /// Runs until `end`; receivers need not be complete.
    pub fn run_until(&mut self, end: Time) {
        while let Some(&Reverse((at, serial))) = self.queue.peek()
            && at <= end
        {
            self.handle_next(at, serial);
        }
        self.now = self.now.max(end);
    }

    fn handle_next(&mut self, at: Time, serial: u64) {
        self.queue.pop();
        self.now = at;
        if let Some(event) = self.events.remove(&serial) {
            self.handle_event(event);
        }
    }

    /// When the last receiver completed, in seconds; `None` when one has not.
    pub fn last_completion_seconds(&self) -> Option<f64> {
        let times = self.hosts.iter().filter(|host| !host.is_origin).map(|host| host.completed_at);
        let last = times.collect::<Option<Vec<Time>>>()?.into_iter().max()?;
        Some(last.0 as f64 / 1e6)
    }

    /// How many copies of the content the origin uploaded.
    pub fn copies_sent_by_origin(&self) -> f64 {
        self.hosts[0].uploaded as f64 / self.geometry.total() as f64
    }

    /// When each receiver that has completed did, in seconds, in ascending order.
    pub fn completion_seconds(&self) -> Vec<f64> {
        let receivers = self.hosts.iter().filter(|host| !host.is_origin);
        let mut times: Vec<Time> = receivers.filter_map(|host| host.completed_at).collect();
        times.sort_unstable();
        times.into_iter().map(|time| time.0 as f64 / 1e6).collect()
    }

    /// What crossed the uplinks of all hosts.
    pub fn traffic(&self) -> Traffic {
        self.hosts.iter().map(|host| host.link.traffic()).fold(Traffic::default(), Traffic::plus)
    }

    /// What the origin sent.
    pub fn origin_traffic(&self) -> Traffic {
        self.hosts[0].link.traffic()
    }

    /// The bytes that all hosts received and could not use.
    pub fn wasted_bytes(&self) -> u64 {
        self.hosts
            .iter()
            .filter_map(|host| host.engine.as_ref())
            .map(|engine| engine.status(self.now).wasted)
            .sum()
    }

    fn is_done(&self) -> bool {
        self.hosts
            .iter()
            .all(|host| host.completed_at.is_some() || (host.is_origin || host.engine.is_none()))
            && self.pending_faults == 0
    }

    fn schedule_at(&mut self, at: Time, event: SimEvent) {
        self.last_serial += 1;
        self.queue.push(Reverse((at, self.last_serial)));
        self.events.insert(self.last_serial, event);
    }

    fn schedule_after(&mut self, delay: Duration, event: SimEvent) {
        self.schedule_at(self.now + delay, event);
    }

    /// Starts a host with the pieces that are in its store.
    fn start_host(&mut self, id: HostId) {
        let trackers = self.trackers();
        let host = &mut self.hosts[id];
        host.starts += 1;
        let seed = self.rng.u64(..);
        let mut config = Config::new(host.peer_id(), host.addr.port(), seed);
        config.spread = host.is_origin;
        config.chunk.server = host.is_origin;
        config.trackers = trackers;
        (self.scenario.adjust)(id, &mut config);
        let known = host.is_origin
            || match self.scenario.dialect {
                Dialect::BitTorrent => self.scenario.metadata_known,
                Dialect::JsonTorrent => true,
                Dialect::Chunk => false,
            };
        let content = known.then(|| self.content(id));
        self.hosts[id].engine = Some(Engine::new(config, info_hash(), content, self.now));
        if id != 0 {
            let (dialect, addrs) = (self.scenario.dialect, vec![self.hosts[0].addr]);
            let named = Input::PeersFound { source: PeerSource::Named, dialect, addrs };
            self.input(id, named);
        }
        self.drain_outputs(id);
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
        let integrity = if self.scenario.dialect == Dialect::Chunk {
            Integrity::FileDigest
        } else {
            Integrity::PieceHashes
        };
        let metadata = Bytes::from_static(INFO_DICTIONARY);
        Content { geometry: self.geometry, have, metadata, private: false, integrity, md5: None }
    }

    fn delay(&self, a: HostId, b: HostId) -> Duration {
        self.hosts[a].link.config().delay + self.hosts[b].link.config().delay
    }

    fn handle_event(&mut self, event: SimEvent) {
        match event {
            SimEvent::Tick(host) => {
                if self.hosts[host].next_tick == Some(self.now) {
                    self.hosts[host].next_tick = None;
                    self.hosts[host].note_size();
                    self.input(host, Input::Tick);
                }
            }
            SimEvent::HostileTick { host, start } if self.is_current(host, start) => {
                self.on_hostile_tick(host);
            }
            SimEvent::Sent { from, start, quantum } if self.hosts[from].starts == start => {
                self.on_quantum_sent(from, quantum);
            }
            SimEvent::AtDownlink(delivery) => {
                let link = &mut self.hosts[delivery.to].link;
                let delivered_at = link.receive(self.now, delivery.bytes);
                self.schedule_at(delivered_at, SimEvent::Delivered(delivery));
            }
            SimEvent::Delivered(delivery) => self.on_delivered(delivery),
            SimEvent::Dialed { from, addr, start } if self.is_current(from, start) => {
                self.on_dialed(from, addr);
            }
            SimEvent::DialTimedOut { from, addr, start } if self.is_current(from, start) => {
                self.input(from, Input::DialFailed { addr });
            }
            SimEvent::Closed(host, conn) => self.on_closed(host, conn),
            SimEvent::Stored { host, start, piece, mode } if self.is_current(host, start) => {
                let outcome = self.hosts[host].store(piece, self.geometry, mode);
                self.input(host, Input::Stored { piece, outcome });
                // The digest of the file follows at once, up to the first missing piece.
                let bytes = self.hosts[host].contiguous_bytes(self.geometry);
                self.input(host, Input::DigestProgress { bytes });
            }
            SimEvent::Announced { host, start, reply } if self.is_current(host, start) => {
                let url = self.trackers().concat().concat();
                self.input(host, Input::Announced { url, reply: Ok(reply) });
            }
            SimEvent::FileDigested { host, start } if self.is_current(host, start) => {
                let md5 = self.hosts[host].file_digest();
                self.input(host, Input::FileDigest { md5 });
            }
            SimEvent::StorePrepared { host, start } if self.is_current(host, start) => {
                let content = self.content(host);
                self.input(host, Input::ContentReady(Box::new(content)));
            }
            SimEvent::HostileTick { .. }
            | SimEvent::Sent { .. }
            | SimEvent::Dialed { .. }
            | SimEvent::DialTimedOut { .. }
            | SimEvent::Stored { .. }
            | SimEvent::Announced { .. }
            | SimEvent::FileDigested { .. }
            | SimEvent::StorePrepared { .. } => {}
            SimEvent::Fault(fault) => {
                self.pending_faults -= 1;
                self.may_be_done = true;
                self.inject_fault(fault);
            }
        }
    }

    /// Whether the host runs, and has not been started again since the event was scheduled.
    fn is_current(&self, host: HostId, start: u32) -> bool {
        self.hosts[host].is_running() && self.hosts[host].starts == start
    }

    fn input(&mut self, id: HostId, input: Input) {
        if let Some(engine) = &mut self.hosts[id].engine {
            engine.handle(self.now, input);
            self.drain_outputs(id);
        }
    }

    fn on_delivered(&mut self, delivery: Delivery) {
        let Delivery { from, to, conn, bytes, items } = delivery;
        if self.connections.contains_key(&conn) {
            self.hosts[to].link.acknowledge(self.now, bytes);
            self.hosts[from].link.on_acknowledged(self.now, conn, bytes);
            self.send_quantum(from);
            items.into_iter().for_each(|item| self.deliver_item(from, to, conn, item));
        }
    }

    fn deliver_item(&mut self, from: HostId, to: HostId, conn: ConnId, item: Item) {
        match item {
            Item::Message(message) if self.hosts[to].hostile.is_some() => {
                self.hostile_act(to, |peer| peer.on_message(conn, &message));
            }
            Item::Message(message) => self.input(to, Input::Message { conn, message }),
            Item::Block { block, corrupt } => {
                let request =
                    BlockRequest { piece: block.piece, offset: block.offset, length: block.length };
                let Some(engine) = &mut self.hosts[to].engine else { return };
                if let Some(kept) = engine.block_arrived(self.now, conn, request) {
                    let corrupt = corrupt && kept.offset == block.offset;
                    self.hosts[from].accepted_corrupt_blocks += u32::from(corrupt);
                    self.hosts[to].buffer_block(kept, corrupt);
                }
                self.drain_outputs(to);
            }
        }
    }

    fn on_quantum_sent(&mut self, from: HostId, quantum: Quantum<Item>) {
        self.hosts[from].link.on_quantum_sent();
        let Quantum { conn, bytes, items, .. } = quantum;
        if let Some(open) = self.connections.get(&conn) {
            let to = if open.ends[0] == from { open.ends[1] } else { open.ends[0] };
            let blocks: Vec<Block> = items.iter().filter_map(Item::block).collect();
            for block in blocks {
                self.hosts[from].uploaded += u64::from(block.length);
                self.input(from, Input::BlockSent { conn, block });
            }
            let delivery = Delivery { from, to, conn, bytes, items };
            self.schedule_after(self.delay(from, to), SimEvent::AtDownlink(delivery));
        }
        self.send_quantum(from);
    }

    fn send_quantum(&mut self, id: HostId) {
        if let Some(quantum) = self.hosts[id].link.send_quantum(self.now) {
            let start = self.hosts[id].starts;
            self.schedule_at(quantum.sent_at, SimEvent::Sent { from: id, start, quantum });
        }
    }

    /// Executes the outputs of an engine and schedules its next tick.
    fn drain_outputs(&mut self, id: HostId) {
        while let Some(output) = self.hosts[id].engine.as_mut().and_then(Engine::poll) {
            self.execute_output(id, output);
        }
        let Some(wake) = self.hosts[id].engine.as_ref().and_then(Engine::next_wake) else { return };
        let wake = wake.max(self.now);
        if self.hosts[id].next_tick.is_none_or(|tick| wake < tick) {
            self.hosts[id].next_tick = Some(wake);
            self.schedule_at(wake, SimEvent::Tick(id));
        }
        self.send_quantum(id);
    }

    fn execute_output(&mut self, id: HostId, output: Output) {
        let start = self.hosts[id].starts;
        match output {
            Output::Dial { addr, .. } => {
                // Two round trips on this host's half of the way, for the handshakes of TCP and of
                // the protocol.
                let delay = self.hosts[id].link.config().delay * 4 + DIAL_TIME;
                self.schedule_after(delay, SimEvent::Dialed { from: id, addr, start });
            }
            Output::Send { conn, message } => {
                let bytes = message_length(&message);
                self.hosts[id].link.push(conn, bytes, Item::Message(message));
            }
            Output::SendBlock { conn, block } => {
                let host = &mut self.hosts[id];
                let is_corrupt =
                    host.corrupts_uploads || host.corrupt_pieces.contains(&block.piece);
                let corrupt = is_corrupt && block.offset == 0;
                assert!(host.have.get(block.piece), "piece {} is not verified", block.piece);
                let bytes = u64::from(block.length) + BLOCK_HEADER_BYTES;
                host.link.push(conn, bytes, Item::Block { block, corrupt });
            }
            Output::Disconnect { conn, reason } => {
                self.note_blame(id, conn, &reason);
                self.close_connection(id, conn);
            }
            Output::Store { piece, mode, .. } => {
                let stored = SimEvent::Stored { host: id, start, piece, mode };
                self.schedule_after(STORE_TIME, stored);
            }
            Output::DigestFile => {
                self.schedule_after(DIGEST_TIME, SimEvent::FileDigested { host: id, start });
            }
            Output::DiscardBlocks { piece } => self.hosts[id].discard_blocks(piece),
            Output::Announce { announce, .. } => {
                let reply = self.track(id, &announce);
                let delay = self.delay(id, 0) * 2;
                self.schedule_after(delay, SimEvent::Announced { host: id, start, reply });
            }
            Output::Event(event) => self.on_engine_event(id, event),
        }
    }

    fn on_engine_event(&mut self, id: HostId, event: Event) {
        let prepared = SimEvent::StorePrepared { host: id, start: self.hosts[id].starts };
        match event {
            Event::Metadata(bytes) => {
                assert_eq!(bytes, INFO_DICTIONARY);
                self.schedule_after(PREPARE_STORE_TIME, prepared);
            }
            Event::GeometryLearned { geometry, .. } => {
                assert_eq!(geometry.total(), self.geometry.total());
                self.schedule_after(PREPARE_STORE_TIME, prepared);
            }
            Event::Complete => {
                self.hosts[id].completed_at = Some(self.now);
                self.may_be_done = true;
            }
            Event::Banned { addr, .. } => _ = self.hosts[id].banned.insert(addr),
            _ => {}
        }
    }
}
