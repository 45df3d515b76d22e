//! The monitor of an origin: shows the receivers and their progress, until the expected number is
//! complete or the run is to stop. Used by `send` and `chunk server`.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use sow_content::Geometry;
use sow_engine::{Dialect, Event, PeerSource, Status};
use sow_node::{Swarm, SwarmEvent, TrackerService};
use sow_store::StoreErrorKind;
use tokio::{sync::mpsc::UnboundedReceiver, time::sleep};

use super::{
    extra_dialects::ExtraServers,
    file_watch::{ContentLost, SharedFiles},
};
use crate::{
    exit::{Exit, Failure, chain},
    protocol_warnings::ProtocolWarnings,
    quantity::{Rate, Size},
    receivers::{NeverConnected, Receiver, Receivers},
    report::{Event as Json, Meter, ReceiverState, Report, log_swarm_event, percent},
    stop_signal::StopSignal,
};

/// The interval between two progress events.
const PROGRESS_EVENT_INTERVAL: Duration = Duration::from_secs(1);

/// How long an origin whose content is lost tells receivers so before it ends, those too that
/// connect again because their connection broke in the middle of a block.
const WITHDRAWAL_TIME: Duration = Duration::from_secs(3);

/// The number of receivers with a bar of their own on a terminal.
const MAX_ROWS: usize = 10;

/// How many receivers that were never connected are connected to in one status interval.
const MAX_DIALED: usize = 16;

/// The content that is shared.
#[derive(Clone)]
pub(crate) enum MonitoredContent {
    /// Files on disk, which must not change.
    Files(SharedFiles),
    /// Random bytes in memory.
    Random,
}

impl MonitoredContent {
    fn name(&self) -> &str {
        match self {
            Self::Files(files) => files.plan.name(),
            Self::Random => "random bytes",
        }
    }

    fn path(&self) -> Cow<'_, str> {
        match self {
            Self::Files(files) => files.plan.path().to_string_lossy(),
            Self::Random => Cow::Borrowed(""),
        }
    }

    /// Returns when the content is no longer what was hashed.
    async fn lost(self, report: &Report) -> ContentLost {
        match self {
            Self::Files(files) => files.lost(report).await,
            Self::Random => std::future::pending().await,
        }
    }
}

/// The monitor of an origin.
pub(crate) struct OriginMonitor<'a> {
    report: &'a Report,
    content: MonitoredContent,
    geometry: Geometry,
    expect: Option<usize>,
    receivers: Receivers,
    /// The origin's own tracker, to which receivers say that they are complete, even when they
    /// disconnect in that moment.
    tracker: Option<TrackerService>,
    meter: Meter,
    rows: BTreeMap<SocketAddr, Meter>,
    last_event: Option<Instant>,
    started: Instant,
    warnings: ProtocolWarnings,
    /// Servers of the same files beside the swarm. They end when the content is lost.
    servers: Option<ExtraServers>,
    lost: Option<ContentLost>,
}

impl<'a> OriginMonitor<'a> {
    pub(crate) fn new(
        report: &'a Report,
        content: MonitoredContent,
        geometry: Geometry,
        expect: Option<usize>,
        tracker: Option<TrackerService>,
    ) -> Self {
        Self {
            report,
            meter: report.meter(content.name()),
            content,
            geometry,
            expect,
            receivers: Receivers::new(geometry),
            tracker,
            rows: BTreeMap::new(),
            last_event: None,
            started: Instant::now(),
            warnings: ProtocolWarnings::default(),
            servers: None,
            lost: None,
        }
    }

    /// The same for an origin with servers beside its swarm.
    #[must_use]
    pub(super) fn beside(mut self, servers: ExtraServers) -> Self {
        self.servers = Some(servers);
        self
    }

    /// Runs until the expected number of receivers is complete, or the run is to stop.
    ///
    /// # Errors
    /// When the run is to stop before the expected number of receivers is complete, or the content
    /// is no longer what was hashed.
    pub(crate) async fn run(
        mut self,
        swarm: &Swarm,
        mut events: UnboundedReceiver<SwarmEvent>,
        stop: &StopSignal,
    ) -> Result<Exit, Failure> {
        let mut status = swarm.watch_status();
        let lost = self.content.clone().lost(self.report);
        tokio::pin!(lost);
        let mut withdrawn_at = None;
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => self.handle_event(event),
                    None => {
                        let message = "sharing ended without a reason (see -v)";
                        return Err(Failure::new(Exit::Failed, message));
                    }
                },
                Ok(()) = status.changed() => {
                    let status = status.borrow_and_update().clone();
                    self.count_announced(swarm);
                    self.update(&status);
                }
                lost = &mut lost, if self.lost.is_none() => self.on_lost(lost),
                () = linger(withdrawn_at) => return Err(self.end_lost()),
                () = stop.requested() => {
                    self.emit_progress(&swarm.current_status().await);
                    return self.end_stopped();
                }
            }
            if let Some(lost) = self.lost.as_ref().filter(|_| withdrawn_at.is_none()) {
                swarm.withdraw(lost.reason.clone());
                withdrawn_at = Some(Instant::now());
            }
            if self.expect.is_some_and(|expected| self.complete_count() >= expected) {
                self.report_done();
                return Ok(Exit::Done);
            }
        }
    }

    /// Counts the receivers that told the tracker that they are complete. One that was never
    /// connected is connected to, so that it can show what it has.
    fn count_announced(&mut self, swarm: &Swarm) {
        let announced = self.tracker.as_ref().map(TrackerService::take_completions);
        let mut unknown = Vec::new();
        for (addr, id) in announced.unwrap_or_default() {
            match self.receivers.on_announced(id, addr) {
                Ok(changed) => {
                    changed.iter().for_each(|receiver| self.report_receiver(receiver));
                }
                Err(NeverConnected) => unknown.push(addr),
            }
        }
        if !unknown.is_empty() {
            unknown.truncate(MAX_DIALED);
            swarm.add_peers(PeerSource::Tracker, Dialect::BitTorrent, unknown);
        }
    }

    fn complete_count(&self) -> usize {
        self.receivers.complete_count()
    }

    fn handle_event(&mut self, event: SwarmEvent) {
        match event {
            SwarmEvent::Engine(event) => {
                log_swarm_event(&event);
                self.warnings
                    .on_event(&event)
                    .into_iter()
                    .for_each(|warning| self.report.warn(warning));
                match event {
                    Event::PeerConnected { addr, peer_id, .. } => {
                        self.receivers.on_connected(peer_id, addr)
                    }
                    Event::PeerComplete { addr, peer_id } => {
                        let changed = self.receivers.on_complete(peer_id, addr);
                        changed.iter().for_each(|receiver| self.report_receiver(receiver));
                    }
                    _ => {}
                }
            }
            SwarmEvent::StoreFailed(error) => match error.kind() {
                StoreErrorKind::Changed | StoreErrorKind::Missing => {
                    self.on_lost(ContentLost::unreadable(&error));
                }
                _ => self.report.warn(chain(&*error)),
            },
        }
    }

    fn update(&mut self, status: &Status) {
        for receiver in self.receivers.update(&status.peers) {
            self.report_receiver(&receiver);
        }
        let (all, complete) = (self.receivers.all(), self.complete_count());
        let total = self.geometry.total();
        let known = all.len().max(self.expect.unwrap_or(0)).max(1) as u64;
        let bytes = all.iter().map(|receiver| receiver.bytes).sum::<u64>();
        self.meter.set(bytes, total.max(1) * known, || {
            status_text(&all, complete, self.expect, status.rate_up)
        });
        if self.report.has_bars() {
            let rows = all
                .iter()
                .filter(|one| one.is_connected && one.state == ReceiverState::Connected)
                .take(MAX_ROWS);
            let mut shown = BTreeMap::new();
            for receiver in rows {
                let row = self.rows.remove(&receiver.addr);
                let row = row.unwrap_or_else(|| self.report.row(format!("  {}", receiver.addr)));
                row.set(receiver.bytes, total, || {
                    format!("{}  {}", Size(receiver.bytes), Rate(receiver.rate))
                });
                shown.insert(receiver.addr, row);
            }
            self.rows = shown;
        }
        if self.last_event.is_none_or(|last| last.elapsed() >= PROGRESS_EVENT_INTERVAL) {
            self.last_event = Some(Instant::now());
            self.emit_progress(status);
        }
    }

    /// Emits the progress event.
    fn emit_progress(&self, status: &Status) {
        self.report.event(&Json::Progress {
            bytes: status.uploaded,
            total: Some(self.geometry.total()),
            rate_down: status.rate_down,
            rate_up: status.rate_up,
            peers: status.peers.len(),
            sent: None,
        });
    }

    /// Reports the new state of a receiver.
    fn report_receiver(&self, receiver: &Receiver) {
        let Receiver { addr, bytes, state, .. } = *receiver;
        let peer = addr.to_string();
        self.report.event(&Json::Receiver { peer: &peer, bytes, state });
        match state {
            ReceiverState::Connected => self.report.note(format_args!("{peer} connected")),
            ReceiverState::Complete => self.report.note(format_args!("{peer} has a verified copy")),
            ReceiverState::Gone => {
                let done = percent(bytes, self.geometry.total());
                self.report.note(format_args!("{peer} disconnected at {done}"));
            }
        }
    }

    /// The content is lost: the servers beside the swarm end at once, and receivers are told.
    fn on_lost(&mut self, lost: ContentLost) {
        if self.lost.is_none() {
            self.report.warn(format_args!("{}; telling the receivers", lost.message));
            self.servers = None;
            self.lost = Some(lost);
        }
    }

    /// The end of a run whose content is lost.
    fn end_lost(&self) -> Failure {
        let lost = self.lost.as_ref().map_or("the content was changed", |lost| &lost.message);
        let tip = "wait until no program writes to it, then run the same command again to share \
                   what is there";
        let message = format!("{lost}, so it is no longer shared");
        match self.missing_receivers() {
            Some(missing) => Failure::new(Exit::Incomplete, format!("{message}; {missing}")),
            None => Failure::new(Exit::Failed, message),
        }
        .tip(tip)
    }

    fn report_done(&self) {
        let count = self.complete_count();
        self.report.event(&Json::Complete {
            path: &self.content.path(),
            bytes: self.geometry.total(),
            seconds: (self.started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
            resumed_bytes: 0,
            from: BTreeMap::new(),
        });
        self.report.note(format_args!("{}: done", copies(count)));
    }

    fn end_stopped(&self) -> Result<Exit, Failure> {
        let Some(missing) = self.missing_receivers() else {
            self.report.note(format_args!("stopped; {}", copies(self.complete_count())));
            return Ok(Exit::Interrupted);
        };
        Err(Failure::new(Exit::Incomplete, format!("stopped when {missing}"))
            .tip("run the same command again: receivers continue from what they have"))
    }

    /// The expected receivers that are not complete; `None` when none are expected.
    fn missing_receivers(&self) -> Option<String> {
        let (expected, complete) = (self.expect?, self.complete_count());
        let mut missing: Vec<String> = self
            .receivers
            .all()
            .iter()
            .filter(|receiver| receiver.state != ReceiverState::Complete)
            .map(|receiver| {
                let suffix = if receiver.is_connected { "" } else { ", disconnected" };
                format!(
                    "{} ({}{suffix})",
                    receiver.addr,
                    percent(receiver.bytes, self.geometry.total())
                )
            })
            .collect();
        let unseen = expected.saturating_sub(complete + missing.len());
        if unseen > 0 {
            missing.push(format!("{unseen} not connected"));
        }
        let missing = missing.join(", ");
        Some(format!("{complete} of {expected} receivers were complete; not complete: {missing}"))
    }
}

/// Returns when receivers had the time to learn that the content is lost.
async fn linger(withdrawn_at: Option<Instant>) {
    match withdrawn_at {
        Some(since) => sleep(WITHDRAWAL_TIME.saturating_sub(since.elapsed())).await,
        None => std::future::pending().await,
    }
}

fn status_text(all: &[&Receiver], complete: usize, expect: Option<usize>, rate_up: u64) -> String {
    let downloading =
        all.iter().filter(|one| one.is_connected && one.state == ReceiverState::Connected).count();
    if all.is_empty() {
        return "waiting for receivers".to_owned();
    }
    let of = expect.map_or_else(String::new, |expected| format!(" of {expected}"));
    format!("{complete}{of} complete, {downloading} downloading  up {}", Rate(rate_up))
}

fn copies(count: usize) -> String {
    match count {
        1 => "1 receiver holds a verified copy".to_owned(),
        count => format!("{count} receivers hold verified copies"),
    }
}
