//! What goes wrong in a world, and when. No judgement: that is for the checkers.

use std::time::Duration;

use sow_engine::Time;

use crate::host::HostId;

/// One thing that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A host dies in the middle of whatever it does.
    Kill(HostId),
    /// A dead host starts again with what its store holds.
    Restart(HostId),
    /// From now on a host sends bytes that are wrong.
    Lie(HostId),
    /// A connection breaks: the one with this number, modulo how many there are.
    Cut(usize),
}

/// Faults in order of time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults {
    schedule: Vec<(Time, Fault)>,
}

impl Faults {
    /// Adds a fault.
    #[must_use]
    pub fn at(mut self, time: Duration, fault: Fault) -> Self {
        self.schedule.push((Time(0) + time, fault));
        self.schedule.sort_by_key(|&(time, _)| time);
        self
    }

    /// A random mix within `span` for a world of `receivers`: every host that dies starts again.
    pub fn random(rng: &mut fastrand::Rng, receivers: usize, span: Duration) -> Self {
        let mut faults = Self::default();
        let micros = span.as_micros() as u64;
        for _ in 0..rng.usize(..4) {
            let host = rng.usize(..=receivers);
            let death = Duration::from_micros(rng.u64(..micros));
            let rest = Duration::from_micros(rng.u64(1000..=micros));
            faults = faults.at(death, Fault::Kill(host)).at(death + rest, Fault::Restart(host));
        }
        for _ in 0..rng.usize(..4) {
            faults =
                faults.at(Duration::from_micros(rng.u64(..micros)), Fault::Cut(rng.usize(..1000)));
        }
        faults
    }

    pub(crate) fn schedule(&self) -> &[(Time, Fault)] {
        &self.schedule
    }
}
