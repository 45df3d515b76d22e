//! Misbehaving peers: scripts that talk to the engines at the level of messages and need none
//! themselves. What must hold in spite of them is in the checkers.

mod bittorrent;
mod chunk;
mod json_torrent;
mod kind;

use std::{
    collections::{BTreeMap, VecDeque},
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use sow_content::Geometry;
use sow_engine::{ConnId, Dialect, Message, Time};
use sow_wire::bittorrent::{BlockRequest, ExtensionHandshake};

pub use self::kind::HostileKind;

/// How often a misbehaving peer acts on its own.
pub(crate) const HOSTILE_TICK: Duration = Duration::from_millis(250);

/// The limit of dials in one tick.
const MAX_DIALS_PER_TICK: usize = 4;

/// How long a slow peer takes for a block.
const SLOW_BLOCK_TIME: Duration = Duration::from_secs(5);

/// How often a peer that only pretends to be useful sends a keep-alive.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);

/// The bytes of a piece of metadata that a misbehaving peer sends.
const WRONG_METADATA: u8 = 0x55;

/// What a misbehaving peer does next.
#[derive(Debug)]
pub(crate) enum Action {
    Dial(SocketAddr),
    Send(ConnId, Message),
    Block { conn: ConnId, request: BlockRequest, corrupt: bool },
    Close(ConnId),
}

/// One misbehaving peer.
#[derive(Debug)]
pub(crate) struct HostilePeer {
    kind: HostileKind,
    dialect: Dialect,
    geometry: Geometry,
    metadata: Bytes,
    /// Messages of a flood in one tick, on each connection.
    flood: u32,
    rng: fastrand::Rng,
    lines: BTreeMap<ConnId, Line>,
    actions: Vec<Action>,
}

/// One connection of a misbehaving peer.
#[derive(Debug)]
struct Line {
    addr: SocketAddr,
    is_dialed: bool,
    /// What the other side can do, as it says.
    theirs: ExtensionHandshake,
    /// Requests that a slow peer will answer.
    queue: VecDeque<BlockRequest>,
    next_block: Time,
    next_keep_alive: Time,
    /// Blocks that were sent, and after how many the peer breaks off.
    served: u32,
    breaks_after: u32,
    /// Alternates with each message of a flapping peer.
    flap: bool,
}

impl HostilePeer {
    pub(crate) fn new(
        kind: HostileKind,
        dialect: Dialect,
        geometry: Geometry,
        metadata: Bytes,
        flood: u32,
        seed: u64,
    ) -> Self {
        let rng = fastrand::Rng::with_seed(seed);
        let (lines, actions) = (BTreeMap::new(), Vec::new());
        Self { kind, dialect, geometry, metadata, flood, rng, lines, actions }
    }

    pub(crate) fn kind(&self) -> HostileKind {
        self.kind
    }

    /// What it does, in order, since the last call.
    pub(crate) fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// A connection is open.
    pub(crate) fn on_connected(
        &mut self,
        now: Time,
        conn: ConnId,
        addr: SocketAddr,
        is_dialed: bool,
    ) {
        let line = Line {
            addr,
            is_dialed,
            theirs: ExtensionHandshake::default(),
            queue: VecDeque::new(),
            next_block: now + SLOW_BLOCK_TIME,
            next_keep_alive: now + KEEP_ALIVE_INTERVAL,
            served: 0,
            breaks_after: self.rng.u32(..8),
            flap: false,
        };
        self.lines.insert(conn, line);
        if self.kind == HostileKind::Idle {
            return;
        }
        match self.dialect {
            Dialect::BitTorrent => self.greet_bittorrent(conn),
            Dialect::Chunk if is_dialed => self.greet_chunk_server(conn),
            Dialect::Chunk => {}
            Dialect::JsonTorrent => self.greet_json_torrent(conn),
        }
    }

    pub(crate) fn on_closed(&mut self, conn: ConnId) {
        self.lines.remove(&conn);
    }

    /// A message arrived.
    pub(crate) fn on_message(&mut self, conn: ConnId, message: &Message) {
        if self.kind == HostileKind::Idle || !self.lines.contains_key(&conn) {
            return;
        }
        match message {
            Message::BitTorrent(message) => self.on_bittorrent(conn, message),
            Message::Chunk(message) => self.on_chunk(conn, message),
            Message::JsonTorrent(message) => self.on_json_torrent(conn, message),
        }
    }

    /// Time has passed. `targets`: the peers that a tracker names.
    pub(crate) fn on_tick(&mut self, now: Time, targets: &[SocketAddr]) {
        self.dial_some(targets);
        let conns: Vec<ConnId> = self.lines.keys().copied().collect();
        for conn in conns {
            let Some(line) = self.lines.get_mut(&conn) else { continue };
            if self.kind == HostileKind::Slow && line.next_block <= now {
                line.next_block = now + SLOW_BLOCK_TIME;
                if let Some(request) = line.queue.pop_front() {
                    self.actions.push(Action::Block { conn, request, corrupt: false });
                }
            }
            if line.next_keep_alive <= now && self.kind != HostileKind::Idle {
                line.next_keep_alive = now + KEEP_ALIVE_INTERVAL;
                self.keep_alive(conn);
            }
            match self.dialect {
                Dialect::BitTorrent => self.flood_bittorrent(conn),
                Dialect::Chunk => self.flood_chunk(conn),
                Dialect::JsonTorrent => self.flood_json_torrent(conn),
            }
        }
    }

    fn dial_some(&mut self, targets: &[SocketAddr]) {
        let wanted = self.kind.connections_per_target();
        for _ in 0..MAX_DIALS_PER_TICK.min(targets.len()) {
            let target = targets[self.rng.usize(..targets.len())];
            let to_it = self.lines.values().filter(|line| line.is_dialed && line.addr == target);
            if to_it.count() < wanted {
                self.actions.push(Action::Dial(target));
            }
        }
    }

    /// The other side requests a block, or a whole piece.
    fn on_requested(&mut self, conn: ConnId, request: BlockRequest) {
        let Some(line) = self.lines.get_mut(&conn) else { return };
        line.served += 1;
        let breaks_off = line.served > line.breaks_after;
        match self.kind {
            HostileKind::Corrupt => {
                self.actions.push(Action::Block { conn, request, corrupt: true });
            }
            HostileKind::Slow => line.queue.push_back(request),
            HostileKind::Reset if breaks_off => self.actions.push(Action::Close(conn)),
            HostileKind::Vanish if breaks_off => {}
            HostileKind::Reset | HostileKind::Vanish => {
                self.actions.push(Action::Block { conn, request, corrupt: false });
            }
            HostileKind::Reject => self.refuse(conn, request),
            _ => {}
        }
    }

    fn refuse(&mut self, conn: ConnId, request: BlockRequest) {
        match self.dialect {
            Dialect::BitTorrent => self.reject_bittorrent(conn, request),
            Dialect::Chunk => self.refuse_chunk(conn),
            // It has no refusals; a choke is as near as it gets.
            Dialect::JsonTorrent => self.flap_choke(conn),
        }
    }

    fn keep_alive(&mut self, conn: ConnId) {
        match self.dialect {
            Dialect::BitTorrent => self.send(conn, sow_wire::bittorrent::Message::KeepAlive),
            Dialect::Chunk => {}
            Dialect::JsonTorrent => {
                let message = sow_wire::json_torrent::Message::KeepAlive;
                self.actions.push(Action::Send(conn, Message::JsonTorrent(message)));
            }
        }
    }

    fn send(&mut self, conn: ConnId, message: sow_wire::bittorrent::Message) {
        self.actions.push(Action::Send(conn, message.into()));
    }

    /// A random piece of the content; 0 when there is none.
    fn any_piece(&mut self) -> u32 {
        self.rng.u32(..self.geometry.pieces().max(1))
    }

    /// Alternates, for each connection.
    fn flip(&mut self, conn: ConnId) -> bool {
        self.lines.get_mut(&conn).is_some_and(|line| {
            line.flap = !line.flap;
            line.flap
        })
    }

    /// An address at which no peer listens, in the network for benchmarks (RFC 2544).
    fn bogus_address(&mut self) -> SocketAddr {
        let host = Ipv4Addr::new(198, 18, self.rng.u8(..), self.rng.u8(1..));
        SocketAddr::from((host, self.rng.u16(1..)))
    }
}
