//! The connections of a host: dials, handshakes, bytes on the link, closed connections.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use sow_content::Block;
use sow_engine::{
    AnnounceReply, ConnId, Dialect, Direction, DisconnectReason, Input, PeerHandshake, Time,
};
use sow_wire::bittorrent::{BlockRequest, Handshake, PeerId};

use super::{Host, trackers};
use crate::{
    event::{Delivery, Destination, Event, Greeting, Parcel, Sent},
    host_link::Quantum,
    hostile::{HostileKind, HostilePeer},
    item::{HostId, Item},
    shared::Shared,
};

/// How long a dial takes in addition to the delays of the path.
const DIAL_TIME: Duration = Duration::from_millis(1);

/// How long a dial takes to fail when nothing answers.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// When the first packet of a connection is sent again after it was lost; then twice as long.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) other: HostId,
    theirs: ConnId,
    /// The number of the segment that is read next.
    next_segment: u32,
    /// Segments that arrived before an earlier one, which was lost, by their numbers.
    early: BTreeMap<u32, Vec<Item>>,
}

impl Host {
    pub(super) fn send(&mut self, at: Time, to: Destination, parcel: Parcel) {
        self.outbox.push(Sent { from: self.id, to, at, parcel });
    }

    fn send_to(&mut self, to: HostId, parcel: Parcel, shared: &Shared) {
        let at = self.now + shared.delay(self.id, to);
        self.send(at, Destination::Host(to), parcel);
    }

    fn new_conn(&mut self) -> ConnId {
        self.last_conn += 1;
        ConnId(self.last_conn)
    }

    pub(super) fn dial(&mut self, addr: SocketAddr, shared: &Shared) {
        let (conn, start) = (self.new_conn(), self.starts);
        self.dials.insert(conn, addr);
        self.schedule_after(DIAL_TIMEOUT, Event::DialTimedOut { start, addr });
        let own = shared.delays[self.id];
        let Some(&to) = shared.addresses.get(&addr) else {
            if !Shared::is_black_hole(addr) {
                let refused =
                    Event::Arrived { from: self.id, parcel: Parcel::Refused { addr, start } };
                self.schedule_after(own * 4 + DIAL_TIME, refused);
            }
            return;
        };
        if to == self.id {
            self.dials.remove(&conn);
            return self.input(Input::DialedOurselves { addr }, shared);
        }
        let Some(retries) = self.lost_first_packets(to, shared) else { return };
        let peer_id = self.peer_id_on(conn);
        let ephemeral = SocketAddr::new(self.addr.ip(), 40_000 + (conn.0 % 20_000) as u16);
        let dialer = Box::new(Greeting { addr, ephemeral, peer_id, start });
        let knock = Parcel::Knock { conn, dialer };
        // A round trip for TCP, and the way of the first handshake.
        let at = self.now + retries + shared.delay(self.id, to) * 3 + DIAL_TIME;
        self.send(at, Destination::Host(to), knock);
    }

    /// How long it takes until a first packet of a connection gets through; `None`: too long.
    fn lost_first_packets(&mut self, to: HostId, shared: &Shared) -> Option<Duration> {
        let conditions = &shared.conditions;
        if conditions.blocks(self.id, to, shared.salt) {
            return None;
        }
        let (mut waited, mut pause) = (Duration::ZERO, FIRST_RETRY);
        while conditions.lost_dials_per_mille > 0
            && self.rng.u16(..1000) < conditions.lost_dials_per_mille
        {
            waited += pause;
            pause *= 2;
            if waited >= DIAL_TIMEOUT {
                return None;
            }
        }
        Some(waited)
    }

    pub(super) fn on_dial_failed(&mut self, addr: SocketAddr, shared: &Shared) {
        let dial = self.dials.iter().find(|(_, dialed)| **dialed == addr);
        if let Some((&conn, _)) = dial {
            self.dials.remove(&conn);
            self.input(Input::DialFailed { addr }, shared);
        }
    }

    /// What another host sent has arrived.
    pub(super) fn on_parcel(&mut self, from: HostId, parcel: Parcel, shared: &Shared) {
        match parcel {
            Parcel::Segment(delivery) => self.on_segment(delivery, shared),
            Parcel::Acknowledged { conn, contents, sent_at } => {
                self.link.on_acknowledged(self.now, conn, u64::from(contents), sent_at);
                self.send_quanta(shared);
            }
            Parcel::Lost(Delivery { conn, segment, sent_at }) => {
                if let Some(due) = self.link.on_lost(self.now, conn, segment, sent_at) {
                    let start = self.starts;
                    self.schedule_at(due, Event::Resend { start, conn });
                }
                self.send_quanta(shared);
            }
            Parcel::Knock { conn, dialer } => self.on_knock(from, conn, &dialer, shared),
            Parcel::Welcome { conn, theirs, listener } => {
                let Greeting { addr, peer_id, start, .. } = *listener;
                if start != self.starts || self.dials.remove(&conn).is_none() {
                    return self.send_to(from, Parcel::Closed { conn: theirs }, shared);
                }
                let end = (addr, Direction::Dialed);
                self.connected(conn, (from, theirs), end, peer_id, shared);
            }
            Parcel::Refused { addr, start } if start == self.starts => {
                self.on_dial_failed(addr, shared);
            }
            Parcel::Closed { conn } => {
                if self.connections.remove(&conn).is_some() {
                    self.link.close(conn);
                    self.on_closed(conn, shared);
                }
            }
            Parcel::Announced { reply, start } if start == self.starts => {
                self.on_announced(*reply, shared);
            }
            Parcel::Refused { .. } | Parcel::Announced { .. } | Parcel::Announce { .. } => {}
        }
    }

    fn on_announced(&mut self, reply: AnnounceReply, shared: &Shared) {
        if self.hostile.is_some() {
            let own = self.addr.ip();
            self.targets = reply.peers.into_iter().filter(|peer| peer.ip() != own).collect();
        } else {
            let url = trackers(shared.dialect).concat().concat();
            self.input(Input::Announced { url, reply: Ok(reply) }, shared);
        }
    }

    /// Someone opens a connection to an address of this host.
    fn on_knock(&mut self, from: HostId, theirs: ConnId, dialer: &Greeting, shared: &Shared) {
        let Greeting { addr, ephemeral, peer_id, start } = *dialer;
        let kind = self.hostile.as_ref().map(HostilePeer::kind);
        if matches!(kind, Some(HostileKind::HalfOpen | HostileKind::TrackerFlood)) {
            return;
        }
        if !self.is_running() || addr != self.addr {
            return self.send_to(from, Parcel::Refused { addr, start }, shared);
        }
        let conn = self.new_conn();
        let ours = Greeting { addr, ephemeral, peer_id: self.peer_id_on(conn), start };
        let listener = Box::new(ours);
        self.send_to(from, Parcel::Welcome { conn: theirs, theirs: conn, listener }, shared);
        self.connected(conn, (from, theirs), (ephemeral, Direction::Accepted), peer_id, shared);
    }

    fn connected(
        &mut self,
        conn: ConnId,
        (other, theirs): (HostId, ConnId),
        (addr, direction): (SocketAddr, Direction),
        peer_id: PeerId,
        shared: &Shared,
    ) {
        self.connections
            .insert(conn, Wire { other, theirs, next_segment: 0, early: BTreeMap::new() });
        if self.hostile.is_some() {
            let (now, is_dialed) = (self.now, direction == Direction::Dialed);
            return self.hostile_act(|peer| peer.on_connected(now, conn, addr, is_dialed), shared);
        }
        let local = self.addr.ip();
        let handshake = match shared.dialect {
            Dialect::BitTorrent => PeerHandshake::BitTorrent(Handshake {
                info_hash: shared.info_hash,
                peer_id,
                fast: true,
                extended: true,
            }),
            Dialect::Chunk => PeerHandshake::Chunk { local },
            Dialect::JsonTorrent => PeerHandshake::JsonTorrent { local },
        };
        self.input(Input::Connected { conn, addr, direction, handshake }, shared);
    }

    /// A connection is over, because the other end closed it or it broke.
    pub(super) fn on_closed(&mut self, conn: ConnId, shared: &Shared) {
        if self.hostile.is_some() {
            self.hostile_act(|peer| peer.on_closed(conn), shared);
        } else {
            self.input(Input::Closed { conn }, shared);
        }
    }

    /// Closes a connection; the other end learns it after the delay between the two.
    pub(crate) fn close_connection(&mut self, conn: ConnId, shared: &Shared) {
        let Some(Wire { other, theirs, .. }) = self.connections.remove(&conn) else { return };
        self.link.close(conn);
        self.send_to(other, Parcel::Closed { conn: theirs }, shared);
    }

    /// A connection breaks in the network: both ends learn it.
    pub(crate) fn break_connection(&mut self, conn: ConnId, shared: &Shared) {
        self.close_connection(conn, shared);
        self.on_closed(conn, shared);
    }

    /// Notes that an engine takes the peer for a misbehaving one.
    pub(super) fn note_blame(&mut self, conn: ConnId, reason: &DisconnectReason) {
        if let (Some(misbehavior), Some(wire)) = (reason.misbehavior(), self.connections.get(&conn))
        {
            self.blames.push((wire.other, misbehavior.clone()));
        }
    }

    /// A segment reaches the queue of the downlink. What has no room there is lost, and its sender
    /// learns it as soon as others could tell.
    fn on_segment(&mut self, delivery: Delivery, shared: &Shared) {
        let Some(wire) = self.connections.get(&delivery.conn) else { return };
        let bytes = delivery.segment.bytes();
        if let Some(at) = self.link.receive(self.now, bytes, shared.conditions.queue) {
            return self.schedule_at(at, Event::Delivered(delivery));
        }
        let (other, conn) = (wire.other, wire.theirs);
        self.send_to(other, Parcel::Lost(Delivery { conn, ..delivery }), shared);
    }

    pub(super) fn on_delivered(&mut self, delivery: Delivery, shared: &Shared) {
        let Delivery { conn, segment, sent_at } = delivery;
        let Some(wire) = self.connections.get(&conn) else { return };
        let (other, theirs) = (wire.other, wire.theirs);
        let waits = self.link.acknowledge(self.now, segment.bytes(), shared.conditions.queue);
        if segment.contents > 0 {
            let sent_at = (segment.losses == 0).then_some(sent_at);
            let contents = segment.contents;
            let at = self.now + waits + shared.delay(self.id, other);
            let acknowledged = Parcel::Acknowledged { conn: theirs, contents, sent_at };
            self.send(at, Destination::Host(other), acknowledged);
        }
        let Some(wire) = self.connections.get_mut(&conn) else { return };
        if segment.number != wire.next_segment {
            wire.early.insert(segment.number, segment.items);
            return;
        }
        wire.next_segment += 1;
        segment.items.into_iter().for_each(|item| self.deliver_item(other, conn, item, shared));
        while let Some(wire) = self.connections.get_mut(&conn)
            && let Some(items) = wire.early.remove(&wire.next_segment)
        {
            wire.next_segment += 1;
            items.into_iter().for_each(|item| self.deliver_item(other, conn, item, shared));
        }
    }

    fn deliver_item(&mut self, from: HostId, conn: ConnId, item: Item, shared: &Shared) {
        match item {
            Item::Message(message) if self.hostile.is_some() => {
                self.hostile_act(|peer| peer.on_message(conn, &message), shared);
            }
            Item::Message(message) => self.input(Input::Message { conn, message }, shared),
            Item::Block { block, corrupt } => {
                let Block { piece, offset, length } = block;
                let Some(engine) = &mut self.engine else { return };
                let request = BlockRequest { piece, offset, length };
                if let Some(kept) = engine.block_arrived(self.now, conn, request) {
                    let corrupt = corrupt && kept.offset == offset;
                    if corrupt {
                        *self.accepted_corrupt_blocks.entry(from).or_default() += 1;
                    }
                    self.buffer_block(kept, corrupt);
                }
                self.drain_outputs(shared);
            }
        }
    }

    /// Sends while the uplink is free and something waits.
    pub(super) fn send_quanta(&mut self, shared: &Shared) {
        while let Some(quantum) = self.link.send_quantum(self.now) {
            let Quantum { conn, segment, sent_at } = quantum;
            let Some(wire) = self.connections.get(&conn) else { continue };
            let (other, conn_there) = (wire.other, wire.theirs);
            if segment.losses == 0 {
                for block in segment.items.iter().filter_map(Item::block) {
                    self.on_uplink.push_back((sent_at, conn, block));
                }
            }
            let delivery = Delivery { conn: conn_there, segment, sent_at: self.now };
            let at = sent_at + shared.delay(self.id, other);
            self.send(at, Destination::Host(other), Parcel::Segment(delivery));
        }
        let waits = self.link.has_turns().then(|| self.link.uplink_free_at());
        let leaves = self.on_uplink.front().map(|(sent_at, ..)| *sent_at);
        let due = waits.into_iter().chain(leaves).min().map(|due| due.max(self.now));
        if let Some(due) = due
            && self.uplink_wake.is_none_or(|wake| due < wake)
        {
            self.uplink_wake = Some(due);
            let start = self.starts;
            self.schedule_at(due, Event::UplinkFree { start });
        }
    }

    pub(super) fn on_uplink_free(&mut self, shared: &Shared) {
        if self.uplink_wake == Some(self.now) {
            self.uplink_wake = None;
        }
        while let Some(&(sent_at, conn, block)) = self.on_uplink.front()
            && sent_at <= self.now
        {
            self.on_uplink.pop_front();
            if !self.connections.contains_key(&conn) {
                continue;
            }
            self.uploaded += u64::from(block.length);
            self.input(Input::BlockSent { conn, block }, shared);
        }
        self.send_quanta(shared);
    }
}
