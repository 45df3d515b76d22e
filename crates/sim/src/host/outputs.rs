//! What a host does: the outputs of its engine, or the acts of a misbehaving peer.

use std::{net::SocketAddr, time::Duration};

use sow_content::Block;
use sow_engine::{Announce, AnnounceEvent, ConnId, Dialect, Engine, Event as Report, Output};
use sow_wire::bittorrent::BlockRequest;

use super::Host;
use crate::{
    event::{Destination, Event, Greeting, Parcel},
    hostile::{Action, HostileKind, HostilePeer},
    item::Item,
    message_length::{BLOCK_HEADER_BYTES, message_length},
    shared::{INFO_DICTIONARY, Shared},
};

/// How long a host needs to finish the digest of the whole file.
const DIGEST_TIME: Duration = Duration::from_millis(1);

/// How long a host needs to prepare its store when the content becomes known.
const PREPARE_STORE_TIME: Duration = Duration::from_micros(100);

/// The peers that a misbehaving host learns from the tracker.
const HOSTILE_NUM_WANT: u32 = 50;

/// Ports that a misbehaving host announces at most.
const FLOOD_PORTS: u16 = 200;

/// Items that wait on one connection of a misbehaving host.
const MAX_HOSTILE_QUEUE: usize = 4096;

impl Host {
    /// Executes the outputs of the engine and schedules its next tick.
    pub(crate) fn drain_outputs(&mut self, shared: &Shared) {
        while let Some(output) = self.engine.as_mut().and_then(Engine::poll) {
            self.execute_output(output, shared);
        }
        let Some(wake) = self.engine.as_ref().and_then(Engine::next_wake) else { return };
        let wake = wake.max(self.now);
        if self.next_tick.is_none_or(|tick| wake < tick) {
            self.next_tick = Some(wake);
            self.schedule_at(wake, Event::Tick);
        }
        self.send_quanta(shared);
    }

    fn execute_output(&mut self, output: Output, shared: &Shared) {
        let start = self.starts;
        match output {
            Output::Dial { addr, .. } => self.dial(addr, shared),
            Output::Send { conn, message } => {
                let bytes = message_length(&message);
                self.push(conn, bytes, Item::Message(message));
            }
            Output::SendBlock { conn, block } => {
                let is_corrupt =
                    self.corrupts_uploads || self.corrupt_pieces.contains(&block.piece);
                let corrupt = is_corrupt && block.offset == 0;
                assert!(self.have.get(block.piece), "piece {} is not verified", block.piece);
                let bytes = u64::from(block.length) + BLOCK_HEADER_BYTES;
                self.push(conn, bytes, Item::Block { block, corrupt });
            }
            Output::Disconnect { conn, reason } => {
                self.note_blame(conn, &reason);
                self.close_connection(conn, shared);
            }
            Output::Store { piece, mode, length } => {
                let at = self.stored_at(length, shared.conditions.disk_rate);
                self.schedule_at(at, Event::Stored { start, piece, mode });
            }
            Output::DigestFile => {
                self.schedule_after(DIGEST_TIME, Event::FileDigested { start });
            }
            Output::DiscardBlocks { piece } => self.discard_blocks(piece),
            Output::Announce { announce, .. } => self.announce(self.addr, announce, shared),
            Output::Event(event) => self.on_report(event, shared),
        }
    }

    fn announce(&mut self, addr: SocketAddr, announce: Announce, shared: &Shared) {
        let (peer_id, start) = (self.peer_id(), self.starts);
        let at = self.now + shared.delay(self.id, 0);
        let greeting = Box::new(Greeting { addr, ephemeral: addr, peer_id, start });
        let announce = Box::new(announce);
        self.send(at, Destination::Tracker, Parcel::Announce { greeting, announce });
    }

    fn on_report(&mut self, report: Report, shared: &Shared) {
        let prepared = Event::StorePrepared { start: self.starts };
        match report {
            Report::Metadata(bytes) => {
                assert_eq!(bytes, INFO_DICTIONARY);
                self.schedule_after(PREPARE_STORE_TIME, prepared);
            }
            Report::GeometryLearned { geometry, .. } => {
                assert_eq!(geometry.total(), shared.geometry.total());
                self.schedule_after(PREPARE_STORE_TIME, prepared);
            }
            Report::PieceVerified { from, .. } => {
                for (conn, bytes) in from {
                    if let Some(wire) = self.connections.get(&conn) {
                        *self.received_from.entry(wire.other).or_default() += bytes;
                    }
                }
            }
            // A host that is complete says so again after a restart.
            Report::Complete => _ = self.completed_at.get_or_insert(self.now),
            Report::Banned { addr, .. } => _ = self.banned.insert(addr),
            _ => {}
        }
    }

    /// Queues an item on an open connection.
    fn push(&mut self, conn: ConnId, bytes: u64, item: Item) {
        if self.connections.contains_key(&conn) {
            self.link.push(self.now, conn, bytes, item);
        }
    }

    pub(super) fn on_hostile_tick(&mut self, shared: &Shared) {
        let (now, addr) = (self.now, self.addr);
        let Some(kind) = self.hostile.as_ref().map(HostilePeer::kind) else { return };
        let event = AnnounceEvent::Periodic;
        let numwant = HOSTILE_NUM_WANT;
        let announce = Announce { event, uploaded: 0, downloaded: 0, left: 1, numwant };
        self.announce(addr, announce, shared);
        if kind == HostileKind::TrackerFlood {
            let mut other = addr;
            other.set_port(1 + self.rng.u16(..FLOOD_PORTS));
            self.announce(other, Announce { numwant: 0, ..announce }, shared);
        }
        // The named server is no client of a tracker in `chunk`.
        let targets = match shared.dialect {
            Dialect::Chunk => {
                shared.addresses.iter().filter(|it| *it.1 == 0).map(|it| *it.0).collect()
            }
            _ => self.targets.clone(),
        };
        self.hostile_act(|peer| peer.on_tick(now, &targets), shared);
        self.schedule_hostile_tick();
    }

    /// Lets a misbehaving host act, and carries out what it does.
    pub(super) fn hostile_act(&mut self, act: impl FnOnce(&mut HostilePeer), shared: &Shared) {
        let Some(peer) = &mut self.hostile else { return };
        act(peer);
        for action in peer.take_actions() {
            self.carry_out(action, shared);
        }
        self.send_quanta(shared);
    }

    fn carry_out(&mut self, action: Action, shared: &Shared) {
        match action {
            Action::Dial(addr) => self.dial(addr, shared),
            Action::Send(conn, message) => {
                let bytes = message_length(&message);
                self.push_limited(conn, bytes, Item::Message(message));
            }
            Action::Block { conn, request, corrupt } => {
                let BlockRequest { piece, offset, length } = request;
                let bytes = u64::from(length) + BLOCK_HEADER_BYTES;
                let block = Block { piece, offset, length };
                self.push_limited(conn, bytes, Item::Block { block, corrupt });
            }
            Action::Close(conn) => self.break_connection(conn, shared),
        }
    }

    /// Queues an item of a misbehaving host. What it cannot send in time it does not keep.
    fn push_limited(&mut self, conn: ConnId, bytes: u64, item: Item) {
        if self.link.queued(conn) < MAX_HOSTILE_QUEUE {
            self.push(conn, bytes, item);
        }
    }
}
