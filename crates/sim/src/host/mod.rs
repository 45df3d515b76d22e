//! One simulated machine: an engine or a misbehaving peer, its link, its store, and its events. It
//! runs alone; what it sends to others are parcels, which the world carries.

mod network;
mod outputs;
mod storing;

use std::{
    collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque},
    mem,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use sow_content::{Bitfield, Block, Geometry};
use sow_engine::{
    Config, ConnId, Content, Dialect, Engine, Input, Integrity, JSON_TRACKER, Misbehavior,
    PeerSource, StateSize, Time,
};
use sow_wire::bittorrent::PeerId;

use self::{network::Wire, storing::PieceBuffers};
use crate::{
    event::{Event, Queued, Sent},
    host_link::{HostLink, LinkConfig},
    hostile::{HOSTILE_TICK, HostilePeer},
    item::{HostId, Item},
    shared::Shared,
};

/// One simulated machine.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) id: HostId,
    pub(crate) addr: SocketAddr,
    pub(crate) now: Time,
    /// `None` while the host is down, and on a misbehaving host.
    pub(crate) engine: Option<Engine>,
    /// What runs on a misbehaving host in place of an engine.
    pub(crate) hostile: Option<HostilePeer>,
    pub(crate) link: HostLink<Item>,
    /// The pieces in the store. They survive a restart.
    pub(crate) have: Bitfield,
    /// How many of them there are without a gap from the beginning.
    contiguous: u32,
    pub(crate) is_origin: bool,
    /// The host flips a bit in the first block of each piece that it uploads.
    pub(crate) corrupts_uploads: bool,
    /// How often the host was started. It tells events of an earlier run from those of this one.
    pub(crate) starts: u32,
    /// When it was started first.
    pub(crate) joined_at: Time,
    pub(crate) completed_at: Option<Time>,
    /// The most that its engine held at once, over all starts, each number by itself.
    pub(crate) peak: StateSize,
    /// The longest time for which its engine waited for a request.
    pub(crate) longest_wait: Duration,
    /// The addresses that the host banned.
    pub(crate) banned: BTreeSet<SocketAddr>,
    /// Hosts that it disconnected as misbehaving since the world looked last.
    pub(crate) blames: Vec<(HostId, Misbehavior)>,
    /// The pieces that are stored with a flipped bit, which a dialect without piece hashes cannot
    /// detect.
    pub(crate) corrupt_pieces: BTreeSet<u32>,
    /// Every piece that was stored, over all starts, in the order of storing.
    pub(crate) stored_pieces: Vec<u32>,
    /// The number of corrupt blocks that this host accepted of others.
    pub(crate) accepted_corrupt_blocks: BTreeMap<HostId, u32>,
    /// Bytes of content that the host uploaded.
    pub(crate) uploaded: u64,
    /// Bytes of verified pieces, by the host that sent them.
    pub(crate) received_from: BTreeMap<HostId, u64>,
    /// What it sends to others, which the world has not carried away yet.
    pub(crate) outbox: Vec<Sent>,
    pub(crate) connections: BTreeMap<ConnId, Wire>,
    /// By piece and offset.
    piece_buffers: PieceBuffers,
    disk_free_at: Time,
    queue: BinaryHeap<Queued>,
    last_serial: u64,
    last_conn: u64,
    /// Dials under way, and the connections that they are to become.
    dials: BTreeMap<ConnId, SocketAddr>,
    /// The earliest tick in the queue.
    next_tick: Option<Time>,
    /// The event in the queue that continues to send.
    uplink_wake: Option<Time>,
    /// Blocks on the uplink, and when they have left it.
    on_uplink: VecDeque<(Time, ConnId, Block)>,
    /// The peers that a tracker named to a misbehaving host.
    targets: Vec<SocketAddr>,
    rng: fastrand::Rng,
}

impl Host {
    pub(crate) fn new(
        id: HostId,
        number: u32,
        config: LinkConfig,
        have: Bitfield,
        seed: u64,
    ) -> Self {
        Self {
            id,
            addr: SocketAddr::new(IpAddr::V4(Ipv4Addr::from(0x0a00_0001 + number)), 52000),
            now: Time(0),
            engine: None,
            hostile: None,
            link: HostLink::new(config),
            contiguous: 0,
            is_origin: have.is_full() && id == 0,
            have,
            corrupts_uploads: false,
            starts: 0,
            joined_at: Time(0),
            completed_at: None,
            peak: StateSize::default(),
            longest_wait: Duration::ZERO,
            banned: BTreeSet::new(),
            blames: Vec::new(),
            corrupt_pieces: BTreeSet::new(),
            stored_pieces: Vec::new(),
            accepted_corrupt_blocks: BTreeMap::new(),
            uploaded: 0,
            received_from: BTreeMap::new(),
            outbox: Vec::new(),
            connections: BTreeMap::new(),
            piece_buffers: BTreeMap::new(),
            disk_free_at: Time(0),
            queue: BinaryHeap::new(),
            last_serial: 0,
            last_conn: 0,
            dials: BTreeMap::new(),
            next_tick: None,
            uplink_wake: None,
            on_uplink: VecDeque::new(),
            targets: Vec::new(),
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    /// The host takes the place of one that left: events of that one are not for it.
    pub(crate) fn succeed(&mut self, before: &mut Self) {
        self.starts = before.starts + 1;
        self.last_conn = before.last_conn;
        self.last_serial = before.last_serial;
        self.queue = mem::take(&mut before.queue);
        self.outbox = mem::take(&mut before.outbox);
    }

    /// Whether an engine or a misbehaving peer runs on it.
    pub(crate) fn is_running(&self) -> bool {
        self.engine.is_some() || self.hostile.is_some()
    }

    /// The peer id, which differs at each start.
    pub(crate) fn peer_id(&self) -> PeerId {
        let text = format!(
            "-SI0001-{:>8}{:04}",
            self.addr.ip().to_string().replace('.', ""),
            self.starts % 10_000
        );
        let mut id = [b'-'; 20];
        for (to, from) in id.iter_mut().zip(text.bytes()) {
            *to = from;
        }
        PeerId(id)
    }

    /// The number of bytes stored without a gap from the beginning of the content.
    fn contiguous_bytes(&mut self, geometry: Geometry) -> u64 {
        while self.contiguous < geometry.pieces() && self.have.get(self.contiguous) {
            self.contiguous += 1;
        }
        match self.contiguous < geometry.pieces() {
            true => geometry.range_of(self.contiguous).start,
            false => geometry.total(),
        }
    }

    /// Starts the engine with the pieces that are in the store.
    pub(crate) fn start(&mut self, seed: u64, shared: &Shared, origin: SocketAddr) {
        self.starts += 1;
        let mut config = Config::new(self.peer_id(), self.addr.port(), seed);
        config.spread = self.is_origin;
        config.chunk.server = self.is_origin;
        config.trackers = trackers(shared.dialect);
        (shared.adjust)(self.id, &mut config);
        let known = self.is_origin
            || match shared.dialect {
                Dialect::BitTorrent => shared.metadata_known,
                Dialect::JsonTorrent => true,
                Dialect::Chunk => false,
            };
        let content = known.then(|| self.content(shared));
        self.engine = Some(Engine::new(config, shared.info_hash, content, self.now));
        if !self.is_origin {
            let (dialect, addrs) = (shared.dialect, vec![origin]);
            let named = Input::PeersFound { source: PeerSource::Named, dialect, addrs };
            self.input(named, shared);
        }
        self.drain_outputs(shared);
    }

    /// Starts a misbehaving peer.
    pub(crate) fn start_hostile(&mut self, peer: HostilePeer) {
        self.starts += 1;
        self.hostile = Some(peer);
        let start = self.starts;
        self.schedule_at(self.now, Event::HostileTick { start });
    }

    fn content(&self, shared: &Shared) -> Content {
        let integrity = match shared.dialect {
            Dialect::Chunk => Integrity::FileDigest,
            Dialect::BitTorrent | Dialect::JsonTorrent => Integrity::PieceHashes,
        };
        Content {
            geometry: shared.geometry,
            have: self.have.clone(),
            metadata: Shared::metadata(),
            private: false,
            integrity,
            md5: None,
        }
    }

    /// Stops the host. What is not in the store is lost.
    pub(crate) fn kill(&mut self, shared: &Shared) {
        let open: Vec<ConnId> = self.connections.keys().copied().collect();
        open.into_iter().for_each(|conn| self.close_connection(conn, shared));
        self.crash();
    }

    /// Stops the host without a word to anyone, as after a loss of power.
    pub(crate) fn crash(&mut self) {
        self.engine = None;
        self.hostile = None;
        self.next_tick = None;
        self.uplink_wake = None;
        self.on_uplink.clear();
        self.connections.clear();
        self.dials.clear();
        self.piece_buffers.clear();
        self.link.reset();
    }

    /// When its next event is due.
    pub(crate) fn next_event(&self) -> Option<Time> {
        self.queue.peek().map(|queued| queued.at)
    }

    pub(crate) fn schedule_at(&mut self, at: Time, event: Event) {
        self.last_serial += 1;
        self.queue.push(Queued { at, serial: self.last_serial, event });
    }

    pub(crate) fn schedule_after(&mut self, delay: Duration, event: Event) {
        self.schedule_at(self.now + delay, event);
    }

    /// Handles all events before `end`.
    pub(crate) fn run(&mut self, end: Time, shared: &Shared) {
        while self.next_event().is_some_and(|at| at < end)
            && let Some(Queued { at, event, .. }) = self.queue.pop()
        {
            self.now = at;
            self.handle(event, shared);
        }
    }

    fn handle(&mut self, event: Event, shared: &Shared) {
        match event {
            Event::Tick if self.next_tick == Some(self.now) => {
                self.next_tick = None;
                self.note_size();
                self.input(Input::Tick, shared);
            }
            Event::HostileTick { start } if self.is_current(start) => self.on_hostile_tick(shared),
            Event::UplinkFree { start } if self.starts == start => self.on_uplink_free(shared),
            Event::Arrived { from, parcel } => self.on_parcel(from, parcel, shared),
            Event::Delivered(delivery) => self.on_delivered(delivery, shared),
            Event::Resend { start, conn } if self.starts == start => {
                self.link.give_turn(self.now, conn);
                self.send_quanta(shared);
            }
            Event::DialTimedOut { start, addr } if self.is_current(start) => {
                self.on_dial_failed(addr, shared);
            }
            Event::Stored { start, piece, mode } if self.is_current(start) => {
                let outcome = self.store(piece, shared.geometry, mode);
                self.input(Input::Stored { piece, outcome }, shared);
                // The digest of the file follows at once, up to the first missing piece.
                let bytes = self.contiguous_bytes(shared.geometry);
                self.input(Input::DigestProgress { bytes }, shared);
            }
            Event::FileDigested { start } if self.is_current(start) => {
                let md5 = self.file_digest();
                self.input(Input::FileDigest { md5 }, shared);
            }
            Event::StorePrepared { start } if self.is_current(start) => {
                let content = self.content(shared);
                self.input(Input::ContentReady(Box::new(content)), shared);
            }
            Event::Tick
            | Event::HostileTick { .. }
            | Event::UplinkFree { .. }
            | Event::Resend { .. }
            | Event::DialTimedOut { .. }
            | Event::Stored { .. }
            | Event::FileDigested { .. }
            | Event::StorePrepared { .. } => {}
        }
    }

    /// Whether the host runs, and has not been started again since the event was scheduled.
    fn is_current(&self, start: u32) -> bool {
        self.is_running() && self.starts == start
    }

    /// Notes how much the engine holds.
    fn note_size(&mut self) {
        let Some(engine) = &self.engine else { return };
        self.peak = self.peak.max_of(engine.state_size());
        let waits = engine.waits_since().map(|since| self.now.since(since));
        self.longest_wait = self.longest_wait.max(waits.unwrap_or_default());
    }

    pub(crate) fn input(&mut self, input: Input, shared: &Shared) {
        if let Some(engine) = &mut self.engine {
            engine.handle(self.now, input);
            self.drain_outputs(shared);
        }
    }

    /// The peer id on a connection. A misbehaving host has another on each.
    fn peer_id_on(&self, conn: ConnId) -> PeerId {
        if self.hostile.is_none() {
            return self.peer_id();
        }
        let mut peer_id = *b"-XX0001-000000000000";
        peer_id[8..12].copy_from_slice(&(self.id as u32).to_be_bytes());
        peer_id[12..].copy_from_slice(&conn.0.to_be_bytes());
        PeerId(peer_id)
    }

    /// The interval between two acts of a misbehaving host on its own.
    fn schedule_hostile_tick(&mut self) {
        let start = self.starts;
        self.schedule_after(HOSTILE_TICK, Event::HostileTick { start });
    }
}

/// The trackers of a swarm.
fn trackers(dialect: Dialect) -> Vec<Vec<String>> {
    match dialect {
        Dialect::BitTorrent => vec![vec!["sim".to_owned()]],
        Dialect::JsonTorrent => vec![vec![format!("{JSON_TRACKER}sim")]],
        Dialect::Chunk => Vec::new(),
    }
}
