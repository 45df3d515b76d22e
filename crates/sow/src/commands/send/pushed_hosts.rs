//! What is known of the hosts of `sow push` from their connections: how far each is, and why it
//! failed. Plain data; the connections are in [`crate::push`].

use std::{fmt, time::Duration};

use crate::{
    fleet::Receiver,
    push::{FleetEvent, HostEvent, HostFailure, PushHost},
    report::ReceiverState,
};

/// The hosts in the order of the expectation.
#[derive(Debug)]
pub(super) struct PushedHosts {
    hosts: Vec<PushedHost>,
    /// The length of the content in bytes, the most that a host can have of it.
    total: u64,
}

/// One host. Times are since the start of the run.
#[derive(Debug)]
struct PushedHost {
    name: String,
    phase: Phase,
    bytes: u64,
    started: Option<Duration>,
    finished: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    /// Its connection is being made, or waits for its turn.
    Connecting,
    /// `sow` is being put there.
    Installing,
    /// `sow get` is running, or about to.
    Receiving,
    /// It has a verified copy.
    Complete,
    /// It ended without one.
    Failed(String),
}

/// How many hosts are in which phase.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct PhaseCounts {
    pub(super) connecting: usize,
    pub(super) installing: usize,
    pub(super) receiving: usize,
    pub(super) complete: usize,
    pub(super) failed: usize,
}

impl fmt::Display for PhaseCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connecting, installing, receiving, complete, failed } = *self;
        write!(
            f,
            "{complete} of {} complete",
            connecting + installing + receiving + complete + failed
        )?;
        let others = [
            (failed, "failed"),
            (receiving, "downloading"),
            (installing, "installing"),
            (connecting, "connecting"),
        ];
        others
            .iter()
            .filter(|(count, _)| *count > 0)
            .try_for_each(|(count, what)| write!(f, ", {count} {what}"))
    }
}

/// A change that is worth a line, and an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HostChange {
    pub(super) line: String,
    /// The failure for scripts: the name of the host, its bytes and the reason.
    pub(super) failure: Option<(String, u64, String)>,
}

impl PushedHosts {
    pub(super) fn new(hosts: &[PushHost], total: u64) -> Self {
        let hosts = hosts.iter().map(|host| PushedHost {
            name: host.name.clone(),
            phase: Phase::Connecting,
            bytes: 0,
            started: None,
            finished: None,
        });
        Self { hosts: hosts.collect(), total }
    }

    /// Takes note of what happens to the host with this index.
    pub(super) fn on_event(
        &mut self,
        now: Duration,
        index: usize,
        event: FleetEvent,
    ) -> Option<HostChange> {
        let host = self.hosts.get_mut(index)?;
        let line = match event {
            FleetEvent::Host(HostEvent::Reached) => {
                host.phase = Phase::Receiving;
                host.started.get_or_insert(now);
                return None;
            }
            FleetEvent::Host(HostEvent::Installing) => {
                host.phase = Phase::Installing;
                format!("{} has no sow of this version; putting it there", host.name)
            }
            FleetEvent::Host(HostEvent::Started) => {
                host.phase = Phase::Receiving;
                return None;
            }
            FleetEvent::Host(HostEvent::Progress(bytes)) => {
                host.bytes = bytes.min(self.total);
                return None;
            }
            FleetEvent::Host(HostEvent::Complete) => {
                host.phase = Phase::Complete;
                host.finished = Some(now);
                format!("{} has a verified copy", host.name)
            }
            FleetEvent::Ended(Ok(())) if host.phase == Phase::Complete => return None,
            FleetEvent::Ended(Ok(())) => return host.fail(now, "sow ended there without a copy"),
            FleetEvent::Ended(Err(_)) if host.phase == Phase::Complete => return None,
            FleetEvent::Ended(Err(failure)) => return host.on_failure(now, &failure),
        };
        Some(HostChange { line, failure: None })
    }

    /// Whether no host can become complete any more that is not.
    pub(super) fn is_over(&self) -> bool {
        self.hosts.iter().all(|host| matches!(host.phase, Phase::Complete | Phase::Failed(_)))
    }

    pub(super) fn counts(&self) -> PhaseCounts {
        let mut counts = PhaseCounts::default();
        for host in &self.hosts {
            *match host.phase {
                Phase::Connecting => &mut counts.connecting,
                Phase::Installing => &mut counts.installing,
                Phase::Receiving => &mut counts.receiving,
                Phase::Complete => &mut counts.complete,
                Phase::Failed(_) => &mut counts.failed,
            } += 1;
        }
        counts
    }

    /// Adds what the connections tell to the row of a host that the swarm may know, too.
    pub(super) fn complete_row(&self, index: usize, row: &mut Receiver) {
        let Some(host) = self.hosts.get(index) else { return };
        row.first_seen = row.first_seen.or(host.started);
        row.bytes = row.bytes.max(host.bytes);
        match &host.phase {
            Phase::Complete => {
                row.state = ReceiverState::Complete;
                row.bytes = row.total;
                row.finished = row.finished.or(host.finished);
                row.last_error = None;
            }
            Phase::Failed(reason) if !row.is_complete() => {
                row.state = ReceiverState::Failed;
                row.last_error = Some(reason.clone());
                row.last_seen = row.last_seen.or(host.finished);
            }
            _ => {}
        }
    }
}

impl PushedHost {
    /// A host that was stopped has not failed.
    fn on_failure(&mut self, now: Duration, failure: &HostFailure) -> Option<HostChange> {
        match *failure == HostFailure::Stopped {
            true => None,
            false => self.fail(now, failure.reason()),
        }
    }

    fn fail(&mut self, now: Duration, reason: &str) -> Option<HostChange> {
        self.phase = Phase::Failed(reason.to_owned());
        self.finished = Some(now);
        Some(HostChange {
            line: format!("{} failed: {reason}", self.name),
            failure: Some((self.name.clone(), self.bytes, reason.to_owned())),
        })
    }
}
