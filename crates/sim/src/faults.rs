//! Faults of a simulated world and their schedule. What must hold in spite of them is in the
//! checkers.

use std::time::Duration;

use sow_engine::Time;

use crate::{host_link::LinkConfig, item::HostId};

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The host stops at once and loses everything that is not in its store.
    Kill(HostId),
    /// A killed host starts again with the pieces in its store.
    Restart(HostId),
    /// From now on the host flips a bit in the first block of each piece that it uploads.
    CorruptUploads(HostId),
    /// The host stops without a word to anyone, as after a loss of power: its connections stay
    /// open at the other ends.
    Crash(HostId),
    /// The link of the host changes.
    ChangeLink(HostId, LinkConfig),
    /// The hosts with a number below `below`, the tracker among them, and all others lose each
    /// other for a time. What was sent arrives when TCP sends it again afterwards.
    Partition {
        /// The number of hosts on the origin's side.
        below: HostId,
        /// How long it lasts.
        lasts: Duration,
    },
    /// A connection breaks: the one with this number, modulo the number of open connections.
    BreakConnection(usize),
}

/// A schedule of faults, in order of time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults {
    schedule: Vec<(Time, Fault)>,
}

impl Faults {
    /// Adds a fault that happens `time` after the start.
    #[must_use]
    pub fn at(mut self, time: Duration, fault: Fault) -> Self {
        self.schedule.push((Time(0) + time, fault));
        self.schedule.sort_by_key(|&(time, _)| time);
        self
    }

    /// A random mix of faults in a world of `receivers`. Kills and broken connections happen within
    /// `span`; each killed host starts again at most `span` later.
    pub fn random(rng: &mut fastrand::Rng, receivers: usize, span: Duration) -> Self {
        let mut faults = Self::default();
        let micros = span.as_micros() as u64;
        for _ in 0..rng.usize(..4) {
            let host = rng.usize(..=receivers);
            let killed = Duration::from_micros(rng.u64(..micros));
            let downtime = Duration::from_micros(rng.u64(1000..=micros));
            faults =
                faults.at(killed, Fault::Kill(host)).at(killed + downtime, Fault::Restart(host));
        }
        for _ in 0..rng.usize(..4) {
            let broken = Duration::from_micros(rng.u64(..micros));
            faults = faults.at(broken, Fault::BreakConnection(rng.usize(..1000)));
        }
        faults
    }

    /// Whether nothing is scheduled.
    pub fn is_empty(&self) -> bool {
        self.schedule.is_empty()
    }

    pub(crate) fn schedule(&self) -> &[(Time, Fault)] {
        &self.schedule
    }
}
