//! Who is in the world: hosts that join and leave, and misbehaving hosts.

use sow_content::Bitfield;
use sow_engine::{Input, Time};

use super::World;
use crate::{
    faults::Fault,
    host::Host,
    host_link::LinkConfig,
    hostile::{HOSTILE_TICK, HostileKind, HostilePeer},
    item::HostId,
    shared::Shared,
};

impl World {
    /// A receiver joins with an empty store, at an address that was never in use.
    pub fn add_receiver(&mut self, link: LinkConfig) -> HostId {
        let id = self.new_host(link, Bitfield::new(self.shared.geometry.pieces()));
        self.start_host(id);
        id
    }

    /// A misbehaving host joins, at an address that was never in use.
    pub fn add_hostile(&mut self, kind: HostileKind, link: LinkConfig) -> HostId {
        let id = self.new_host(link, Bitfield::new(self.shared.geometry.pieces()));
        let ticks_per_second = (1000 / HOSTILE_TICK.as_millis()) as u32;
        let flood = self.flood_rate.div_ceil(ticks_per_second);
        let (dialect, geometry) = (self.shared.dialect, self.shared.geometry);
        let (metadata, seed) = (Shared::metadata(), self.rng.u64(..));
        let peer = HostilePeer::new(kind, dialect, geometry, metadata, flood, seed);
        self.hosts[id].start_hostile(peer);
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
        self.shared.addresses.remove(&self.hosts[id].addr);
        self.vacant.push(id);
    }

    /// A host stops as a program that is asked to, and leaves the swarm before it ends.
    pub fn stop(&mut self, id: HostId) {
        self.hosts[id].now = self.now;
        self.hosts[id].input(Input::Stop, &self.shared);
        self.remove(id);
    }

    /// When a receiver joined and when it completed.
    pub fn times_of(&self, id: HostId) -> (Time, Option<Time>) {
        (self.hosts[id].joined_at, self.hosts[id].completed_at)
    }

    /// A host that is not started, in a place that is free or in a new one.
    pub(super) fn new_host(&mut self, link: LinkConfig, have: Bitfield) -> HostId {
        let id = self.vacant.pop().unwrap_or(self.hosts.len());
        let mut host = Host::new(id, self.next_address, link, have, self.rng.u64(..));
        self.next_address += 1;
        (host.joined_at, host.now) = (self.now, self.now);
        self.shared.addresses.insert(host.addr, id);
        match self.hosts.get_mut(id) {
            Some(before) => {
                host.succeed(before);
                *before = host;
                self.shared.delays[id] = link.delay;
            }
            None => {
                self.hosts.push(host);
                self.shared.delays.push(link.delay);
            }
        }
        id
    }

    /// Starts a host with the pieces that are in its store.
    pub(super) fn start_host(&mut self, id: HostId) {
        let (seed, origin) = (self.rng.u64(..), self.hosts[0].addr);
        let host = &mut self.hosts[id];
        host.now = self.now;
        host.start(seed, &self.shared, origin);
        self.carry();
    }
}
