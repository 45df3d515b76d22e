//! Who is in the world: hosts that join and leave, and misbehaving hosts with what they do.

use sow_content::Bitfield;
use sow_engine::{ConnId, Dialect, Time};
use sow_wire::bittorrent::PeerId;

use super::{INFO_DICTIONARY, SimEvent, World};
use crate::{
    faults::Fault,
    host::{Host, HostId, Item},
    host_link::LinkConfig,
    hostile::{Action, HOSTILE_TICK, HostileKind, HostilePeer},
    message_length::{BLOCK_HEADER_BYTES, message_length},
};

/// The peers that a misbehaving host learns from the tracker.
const HOSTILE_NUM_WANT: u32 = 50;

/// Ports that a misbehaving host announces at most.
const FLOOD_PORTS: u16 = 200;

/// Items that wait on one connection of a misbehaving host.
const MAX_HOSTILE_QUEUE: usize = 4096;

impl World {
    /// A receiver joins with an empty store, at an address that was never in use.
    pub fn add_receiver(&mut self, link: LinkConfig) -> HostId {
        let id = self.new_host(link);
        self.start_host(id);
        id
    }

    /// A misbehaving host joins, at an address that was never in use.
    pub fn add_hostile(&mut self, kind: HostileKind, link: LinkConfig) -> HostId {
        let id = self.new_host(link);
        let host = &mut self.hosts[id];
        host.starts += 1;
        let start = host.starts;
        let metadata = bytes::Bytes::from_static(INFO_DICTIONARY);
        let ticks_per_second = (1000 / HOSTILE_TICK.as_millis()) as u32;
        let flood = self.scenario.flood_rate.div_ceil(ticks_per_second);
        let (dialect, geometry, seed) = (self.scenario.dialect, self.geometry, self.rng.u64(..));
        let peer = HostilePeer::new(kind, dialect, geometry, metadata, flood, seed);
        host.hostile = Some(peer);
        self.schedule_at(self.now, SimEvent::HostileTick { host: id, start });
        id
    }

    /// A host stops at once and loses everything that is not in its store.
    pub fn kill(&mut self, id: HostId) {
        self.inject_fault(Fault::Kill(id));
    }

    /// A killed host starts again with the pieces in its store.
    pub fn restart(&mut self, id: HostId) {
        self.inject_fault(Fault::Restart(id));
    }

    /// A host leaves at once, for good: its place may be taken by one that joins later.
    pub fn remove(&mut self, id: HostId) {
        self.kill(id);
        self.host_at.remove(&self.hosts[id].addr);
        self.vacant.push(id);
    }

    /// A host stops as a program that is asked to, and leaves the swarm before it ends.
    pub fn stop(&mut self, id: HostId) {
        self.input(id, sow_engine::Input::Stop);
        self.remove(id);
    }

    /// When a receiver joined and when it completed.
    pub fn times_of(&self, id: HostId) -> (Time, Option<Time>) {
        (self.hosts[id].joined_at, self.hosts[id].completed_at)
    }

    /// A host that is not started, in a place that is free or in a new one.
    pub(super) fn new_host(&mut self, link: LinkConfig) -> HostId {
        let mut host =
            Host::new(self.next_address, link, Bitfield::new(self.geometry.pieces()), false);
        self.next_address += 1;
        host.joined_at = self.now;
        let id = match self.vacant.pop() {
            Some(id) => {
                // Events of the host that had the place are not for this one.
                host.starts = self.hosts[id].starts + 1;
                self.hosts[id] = host;
                id
            }
            None => {
                self.hosts.push(host);
                self.hosts.len() - 1
            }
        };
        self.host_at.insert(self.hosts[id].addr, id);
        id
    }

    /// The peer id of a host on a connection. A misbehaving one has another on each.
    pub(super) fn peer_id(&self, id: HostId, conn: ConnId) -> PeerId {
        match self.hosts[id].hostile {
            Some(_) => {
                let mut peer_id = *b"-XX0001-000000000000";
                peer_id[12..].copy_from_slice(&conn.0.to_be_bytes());
                PeerId(peer_id)
            }
            None => self.hosts[id].peer_id(),
        }
    }

    pub(super) fn is_half_open(&self, id: HostId) -> bool {
        let kind = self.hosts[id].hostile.as_ref().map(HostilePeer::kind);
        matches!(kind, Some(HostileKind::HalfOpen | HostileKind::TrackerFlood))
    }

    pub(super) fn on_hostile_tick(&mut self, id: HostId) {
        let (now, addr, start) = (self.now, self.hosts[id].addr, self.hosts[id].starts);
        let Some(kind) = self.hosts[id].hostile.as_ref().map(HostilePeer::kind) else { return };
        let peer_id = self.peer_id(id, ConnId(0));
        let tracked = self.tracker.list(now, addr, peer_id, HOSTILE_NUM_WANT);
        if kind == HostileKind::TrackerFlood {
            let mut other = addr;
            other.set_port(1 + self.rng.u16(..FLOOD_PORTS));
            self.tracker.list(now, other, peer_id, 0);
        }
        // The named server is no client of a tracker in `chunk`.
        let targets = match self.scenario.dialect {
            Dialect::Chunk => vec![self.hosts[0].addr],
            _ => tracked.into_iter().filter(|target| target.ip() != addr.ip()).collect(),
        };
        self.hostile_act(id, |peer| peer.on_tick(now, &targets));
        self.schedule_after(HOSTILE_TICK, SimEvent::HostileTick { host: id, start });
    }

    /// Lets a misbehaving host act, and carries out what it does.
    pub(super) fn hostile_act(&mut self, id: HostId, act: impl FnOnce(&mut HostilePeer)) {
        let Some(peer) = &mut self.hosts[id].hostile else { return };
        act(peer);
        for action in peer.take_actions() {
            self.carry_out(id, action);
        }
        self.send_quantum(id);
    }

    fn carry_out(&mut self, id: HostId, action: Action) {
        match action {
            Action::Dial(addr) => {
                let delay = self.hosts[id].link.config().delay * 4;
                let start = self.hosts[id].starts;
                self.schedule_after(delay, SimEvent::Dialed { from: id, addr, start });
            }
            Action::Send(conn, message) => {
                let bytes = message_length(&message);
                self.push(id, conn, bytes, Item::Message(message));
            }
            Action::Block { conn, request, corrupt } => {
                let sow_wire::bittorrent::BlockRequest { piece, offset, length } = request;
                let bytes = u64::from(length) + BLOCK_HEADER_BYTES;
                let block = sow_content::Block { piece, offset, length };
                self.push(id, conn, bytes, Item::Block { block, corrupt });
            }
            Action::Close(conn) => {
                self.close_connection(id, conn);
                self.on_closed(id, conn);
            }
        }
    }

    /// Queues an item of a misbehaving host. What it cannot send in time it does not keep.
    fn push(&mut self, id: HostId, conn: ConnId, bytes: u64, item: Item) {
        let host = &mut self.hosts[id];
        if self.connections.contains_key(&conn) && host.link.queued(conn) < MAX_HOSTILE_QUEUE {
            host.link.push(conn, bytes, item);
        }
    }
}
