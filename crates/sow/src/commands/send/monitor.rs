//! The monitor of an origin: shows the receivers and their progress, until the expected number is
//! complete or the run is to stop. Used by `send` and `chunk server`.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use sow_content::Geometry;
use sow_engine::{Event, Status};
use sow_node::{Swarm, SwarmEvent, TrackerService};
use sow_store::ContentPlan;
use tokio::{sync::mpsc::UnboundedReceiver, task::spawn_blocking, time::sleep};

use crate::{
    exit::{Exit, Failure, chain},
    protocol_warnings::ProtocolWarnings,
    quantity::{Rate, Size},
    receivers::{Receiver, Receivers},
    report::{Event as Json, Meter, ReceiverState, Report, log_swarm_event, percent},
    stop_signal::StopSignal,
};

/// The interval between two progress events.
const PROGRESS_EVENT_INTERVAL: Duration = Duration::from_secs(1);

/// The minimum interval between two checks whether the files have changed.
const FILE_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// The minimum ratio of the interval between two checks to the duration of a check.
const FILE_CHECK_COST: u32 = 50;

/// The number of receivers with a bar of their own on a terminal.
const MAX_ROWS: usize = 10;

/// The content that is shared.
pub(crate) enum MonitoredContent {
    /// Files on disk, which must not change.
    Files(Arc<ContentPlan>),
    /// Random bytes in memory.
    Random,
}

impl MonitoredContent {
    fn name(&self) -> &str {
        match self {
            Self::Files(plan) => plan.name(),
            Self::Random => "random bytes",
        }
    }

    fn path(&self) -> Cow<'_, str> {
        match self {
            Self::Files(plan) => plan.path().to_string_lossy(),
            Self::Random => Cow::Borrowed(""),
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
    /// The origin's own tracker. It also counts receivers for which there was no free connection.
    tracker: Option<TrackerService>,
    meter: Meter,
    rows: BTreeMap<SocketAddr, Meter>,
    last_event: Option<Instant>,
    started: Instant,
    warnings: ProtocolWarnings,
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
        }
    }

    /// Runs until the expected number of receivers is complete, or the run is to stop.
    ///
    /// # Errors
    /// When the run is to stop before the expected number of receivers is complete.
    pub(crate) async fn run(
        mut self,
        swarm: &Swarm,
        mut events: UnboundedReceiver<SwarmEvent>,
        stop: &StopSignal,
    ) -> Result<Exit, Failure> {
        let mut status = swarm.watch_status();
        let plan = match &self.content {
            MonitoredContent::Files(plan) => Some(Arc::clone(plan)),
            MonitoredContent::Random => None,
        };
        let file_change = async {
            match plan {
                Some(plan) => wait_for_file_change(plan).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(file_change);
        let mut are_files_unchanged = true;
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
                    self.update(&status);
                }
                error = &mut file_change, if are_files_unchanged => {
                    are_files_unchanged = false;
                    self.report_file_change(&error);
                }
                () = stop.requested() => {
                    self.emit_progress(&swarm.current_status().await);
                    return self.end_stopped();
                }
            }
            if self.expect.is_some_and(|expected| self.complete_count() >= expected) {
                self.report_done();
                return Ok(Exit::Done);
            }
        }
    }

    /// The number of complete receivers, as they announce it to this origin or to its tracker.
    fn complete_count(&self) -> usize {
        let swarms = self.tracker.as_ref().map(TrackerService::swarms).unwrap_or_default();
        let announced = swarms.iter().map(|swarm| swarm.completed as usize).sum();
        self.receivers.complete_count().max(announced)
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
            SwarmEvent::StoreFailed(error) => self.report.warn(chain(&*error)),
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

    fn report_file_change(&self, error: &str) {
        let tip =
            "receivers reject changed data; stop this and run it again to share the new files";
        self.report.warn(format_args!("{error}\n  tip: {tip}"));
        self.report.event(&Json::Error { code: Exit::Unverified.code(), message: error });
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
        let complete = self.complete_count();
        let Some(expected) = self.expect else {
            self.report.note(format_args!("stopped; {}", copies(complete)));
            return Ok(Exit::Interrupted);
        };
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
        Err(Failure::new(
            Exit::Incomplete,
            format!(
                "stopped when {complete} of {expected} receivers were complete; not complete: {}",
                missing.join(", ")
            ),
        )
        .tip("run the same command again: receivers continue from what they have"))
    }
}

/// Returns the message when a file has changed.
async fn wait_for_file_change(plan: Arc<ContentPlan>) -> String {
    let mut interval = FILE_CHECK_INTERVAL;
    loop {
        sleep(interval).await;
        let began = Instant::now();
        let plan = Arc::clone(&plan);
        match spawn_blocking(move || plan.check_unchanged()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return chain(&error),
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
        // Checking a million files takes long.
        interval = FILE_CHECK_INTERVAL.max(began.elapsed() * FILE_CHECK_COST);
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
