//! Carries what hosts sent to the hosts that it is for, and to the tracker; partitions, and all
//! other faults.

use std::{mem, time::Duration};

use sow_engine::Time;

use super::World;
use crate::{
    event::{Destination, Event, Greeting, Parcel, Sent},
    faults::Fault,
    item::HostId,
};

/// How long after a partition healed TCP sends again what was lost.
const RETRANSMISSION: Duration = Duration::from_millis(500);

impl World {
    /// Carries everything that hosts sent, and notes which peers they blamed.
    pub(super) fn carry(&mut self) {
        let mut announces = Vec::new();
        for from in 0..self.hosts.len() {
            if !self.hosts[from].blames.is_empty() {
                self.note_blames(from);
            }
            let mut outbox = mem::take(&mut self.hosts[from].outbox);
            for sent in outbox.drain(..) {
                match sent.to {
                    Destination::Host(to) => self.deliver(from, to, sent.at, sent.parcel),
                    Destination::Tracker => announces.push(sent),
                }
            }
            self.hosts[from].outbox = outbox;
        }
        announces.sort_by_key(|sent| (sent.at, sent.from));
        announces.into_iter().for_each(|sent| self.track(sent));
    }

    /// Only blame of honest hosts is wrong.
    fn note_blames(&mut self, from: HostId) {
        for (other, misbehavior) in mem::take(&mut self.hosts[from].blames) {
            if self.hosts[other].hostile.is_none() {
                self.wrong_blames.push((from, other, misbehavior));
            }
        }
    }

    fn deliver(&mut self, from: HostId, to: HostId, at: Time, parcel: Parcel) {
        let at = match self.partition {
            Some((below, heals)) if (from < below) != (to < below) => {
                let resumed = heals + RETRANSMISSION;
                if at < resumed && matches!(parcel, Parcel::Knock { .. }) {
                    return;
                }
                at.max(resumed)
            }
            _ => at,
        };
        self.hosts[to].schedule_at(at, Event::Arrived { from, parcel });
    }

    /// The tracker answers an announce.
    fn track(&mut self, sent: Sent) {
        let Parcel::Announce { greeting, announce } = sent.parcel else { return };
        let Greeting { addr, peer_id, start, .. } = *greeting;
        let reply = Box::new(self.tracker.announce(sent.at, addr, peer_id, &announce));
        let at = sent.at + self.shared.delay(sent.from, 0);
        self.deliver(0, sent.from, at, Parcel::Announced { reply, start });
    }

    pub(super) fn inject_fault(&mut self, fault: Fault) {
        let now = self.now;
        match fault {
            Fault::Kill(host) => {
                self.hosts[host].now = now;
                self.hosts[host].kill(&self.shared);
            }
            Fault::Crash(host) => self.hosts[host].crash(),
            Fault::Restart(host) => {
                if !self.hosts[host].is_running() {
                    self.start_host(host);
                }
            }
            Fault::CorruptUploads(host) => self.hosts[host].corrupts_uploads = true,
            Fault::ChangeLink(host, link) => {
                self.hosts[host].link.set_config(link);
                self.shared.delays[host] = link.delay;
            }
            Fault::Partition { below, lasts } => self.partition = Some((below, now + lasts)),
            Fault::BreakConnection(number) => {
                let ends = self
                    .hosts
                    .iter()
                    .flat_map(|host| host.connections.keys().map(|conn| (host.id, *conn)));
                let ends: Vec<_> = ends.collect();
                if let Some(&(host, conn)) = ends.get(number % ends.len().max(1)) {
                    self.hosts[host].now = now;
                    self.hosts[host].break_connection(conn, &self.shared);
                }
            }
        }
        self.carry();
    }
}
