//! The report of an origin about its fleet: every receiver on the screen and as events, the closing
//! lines, and the files of results.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use sow_content::Geometry;
use sow_engine::{Event, Status};

use super::{
    pushed_hosts::{HostChange, PushedHosts},
    shares_display::SharesDisplay,
};
use crate::{
    args::fleet::FleetPlan,
    change_log::ChangeLog,
    completion_hook::{CompletionHooks, HookContent},
    fleet::{FleetCounts, FleetView, NeverConnected, Receiver, Receivers, ShareSummary},
    push::FleetEvent,
    quantity::{Rate, Span},
    report::{Event as Json, Meter, Panel, ReceiverState, Report, percent},
    web::ReceiverRow,
};

/// The receivers of an origin, and how they are reported.
pub(super) struct FleetReport {
    report: Report,
    plan: FleetPlan,
    geometry: Geometry,
    receivers: Receivers,
    changes: ChangeLog,
    /// The name of the content.
    name: String,
    /// The command that other machines run.
    command: Option<String>,
    display: Display,
    /// Bytes a second that the origin sends.
    rate_up: u64,
    started: Instant,
    /// The hosts of `sow push`.
    pushed: Option<PushedHosts>,
    /// What runs when a receiver is complete.
    hooks: Option<(CompletionHooks, HookContent)>,
}

/// How the fleet is shown.
enum Display {
    /// As many receivers as fit on a terminal.
    Panel(Panel),
    /// A line every few seconds, or nothing.
    Meter(Meter),
    /// One of several shares.
    Shares(Arc<SharesDisplay>),
}

impl FleetReport {
    /// No receivers yet. `name` is that of the content.
    pub(super) fn new(report: &Report, plan: FleetPlan, geometry: Geometry, name: &str) -> Self {
        Self {
            report: report.clone(),
            plan,
            geometry,
            receivers: Receivers::new(geometry),
            changes: ChangeLog::default(),
            name: name.to_owned(),
            command: None,
            display: match report.panel() {
                Some(panel) => Display::Panel(panel),
                None => Display::Meter(report.meter(name)),
            },
            rate_up: 0,
            started: Instant::now(),
            pushed: None,
            hooks: None,
        }
    }

    /// It is one of several shares, which are shown together.
    pub(super) fn set_display(&mut self, display: Arc<SharesDisplay>) {
        self.display = Display::Shares(display);
    }

    /// When a receiver of this content is complete, a command runs.
    pub(super) fn set_hooks(&mut self, hooks: CompletionHooks, content: HookContent) {
        self.hooks = Some((hooks, content));
    }

    /// The expected hosts are pushed to.
    pub(super) fn set_pushed(&mut self, hosts: PushedHosts) {
        self.pushed = Some(hosts);
    }

    /// Takes note of what happens to a host that is pushed to.
    pub(super) fn on_push_event(&mut self, index: usize, event: FleetEvent) {
        let now = self.elapsed();
        let change = self.pushed.as_mut().and_then(|pushed| pushed.on_event(now, index, event));
        let Some(HostChange { line, failure }) = change else { return };
        if let Some((name, bytes, reason)) = failure {
            self.report.event(&Json::Receiver {
                id: "",
                name: &name,
                peer: "",
                bytes,
                state: ReceiverState::Failed,
                error: Some(&reason),
            });
        }
        self.note_changes(vec![line]);
    }

    /// Whether hosts are pushed to, and all have ended.
    pub(super) fn is_push_over(&self) -> bool {
        self.pushed.as_ref().is_some_and(PushedHosts::is_over)
    }

    /// A row for each receiver and each host.
    pub(super) fn rows(&self) -> Vec<(Receiver, Option<&str>)> {
        let all = self.receivers.snapshot();
        let mut rows = self.plan.expectation.rows(&all, self.geometry.total());
        if let Some(pushed) = &self.pushed {
            let hosts = self.plan.expectation.hosts();
            let index: BTreeMap<&str, usize> =
                hosts.iter().enumerate().map(|(index, host)| (*host, index)).collect();
            for (row, host) in &mut rows {
                if let Some(index) = host.and_then(|host| index.get(host)) {
                    pushed.complete_row(*index, row);
                }
            }
        }
        rows
    }

    /// The command that other machines run stays in view.
    pub(super) fn set_command(&mut self, command: String) {
        self.command = Some(command);
    }

    /// Names were looked up: the expected hosts with these indices have these addresses.
    pub(super) fn add_addresses(&mut self, found: Vec<(usize, std::net::IpAddr)>) {
        self.plan.expectation.add_addresses(found);
    }

    /// How long the run may wait.
    pub(super) fn timeout(&self) -> Option<Duration> {
        self.plan.timeout
    }

    /// The time since the start of the run.
    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Takes note of an event of the swarm.
    pub(super) fn on_event(&mut self, event: &Event) {
        let now = self.elapsed();
        match event {
            Event::PeerConnected { addr, peer_id, .. } => {
                self.receivers.on_connected(now, *peer_id, *addr);
            }
            Event::PeerComplete { addr, peer_id } => {
                let changed = self.receivers.on_complete(now, *peer_id, *addr);
                self.report_receivers(changed.into_iter().collect());
            }
            Event::ReceiverReported { addr, peer_id, report, .. } => {
                let changed = self.receivers.on_report(now, *peer_id, *addr, report);
                self.report_receivers(changed.into_iter().collect());
            }
            _ => {}
        }
    }

    /// Takes note of a receiver that has told a tracker that it is complete.
    ///
    /// # Errors
    /// When it was never connected.
    pub(super) fn on_announced(
        &mut self,
        addr: std::net::SocketAddr,
        id: sow_wire::bittorrent::PeerId,
    ) -> Result<(), NeverConnected> {
        let changed = self.receivers.on_announced(self.elapsed(), id, addr)?;
        self.report_receivers(changed.into_iter().collect());
        Ok(())
    }

    /// Shows the state of the swarm.
    pub(super) fn update(&mut self, status: &Status) {
        self.rate_up = status.rate_up;
        let changed = self.receivers.update(self.elapsed(), &status.peers);
        self.report_receivers(changed);
        self.show();
    }

    /// Shows every receiver, and what they do together.
    fn show(&self) {
        let rate_up = self.rate_up;
        let (now, complete) = (self.elapsed(), self.complete_count());
        let all: Vec<Receiver> = self.rows().into_iter().map(|(receiver, _)| receiver).collect();
        let pushed = self.pushed.as_ref().map(|hosts| hosts.counts().to_string());
        let counts = FleetCounts::new(&self.geometry, &all, now);
        let expected = self.plan.expectation.count();
        match &self.display {
            Display::Panel(panel) => {
                let view = FleetView {
                    name: &self.name,
                    command: self.command.as_deref(),
                    receivers: &all,
                    counts: &counts,
                    pushed: pushed.as_deref(),
                    expected,
                    complete,
                    now,
                    rate_up,
                };
                let (columns, rows) = Panel::size();
                panel.show(&view.lines(columns, rows));
            }
            Display::Meter(meter) => {
                let (done, all) = counts.progress(expected);
                meter.set(done, all, || match pushed {
                    Some(counts) => format!("{counts}  up {}", Rate(rate_up)),
                    None => status_text(&counts, complete, expected, rate_up),
                });
            }
            Display::Shares(display) => display.show(ShareSummary {
                name: self.name.clone(),
                progress: counts.progress(expected),
                complete,
                expected,
                active: counts.downloading + counts.stalled,
                lost: counts.failed + counts.gone,
                rate_up,
            }),
        }
    }

    /// All receivers, and the expected ones that never came, for the live page.
    pub(super) fn rows_for_page(&self, status: &Status) -> Vec<ReceiverRow> {
        let programs: BTreeMap<_, _> = status
            .peers
            .iter()
            .map(|peer| (peer.listen_addr.unwrap_or(peer.addr), peer.client.as_deref()))
            .collect();
        let rows = self.rows();
        let program = |one: &Receiver| one.addr.and_then(|addr| programs.get(&addr).copied());
        let rows = rows
            .iter()
            .map(|(one, _)| ReceiverRow::new(one, program(one).flatten().unwrap_or_default()));
        rows.collect()
    }

    /// Reports the new states of receivers.
    fn report_receivers(&mut self, changed: Vec<Receiver>) {
        let mut lines = Vec::new();
        for receiver in &changed {
            let peer = receiver.peer();
            self.report.event(&Json::Receiver {
                id: &receiver.id,
                name: &receiver.name,
                peer: &peer,
                bytes: receiver.bytes,
                state: receiver.state,
                error: receiver.last_error.as_deref(),
            });
            if let (ReceiverState::Complete, Some((hooks, content))) = (receiver.state, &self.hooks)
            {
                hooks.run(content, Some(receiver), &self.report);
            }
            // What is pushed to is reported by its connection.
            if self.pushed.is_none() {
                lines.push(change_line(receiver));
            }
        }
        self.note_changes(lines);
    }

    fn note_changes(&mut self, lines: Vec<String>) {
        let (receivers, expectation) = (&self.receivers, &self.plan.expectation);
        let summary = || {
            let complete = expectation.complete(receivers.iter());
            let active = receivers.iter().filter(|one| one.is_active()).count();
            format!("{complete} complete, {active} downloading")
        };
        let lines = self.changes.lines(Instant::now(), lines, summary);
        // A line must not stand above a state that is older than it.
        if !lines.is_empty() {
            self.show();
        }
        lines.into_iter().for_each(|line| self.report.note(self.labelled(&line)));
    }

    /// The number of receivers with a verified copy, of those that are expected.
    pub(super) fn complete_count(&self) -> usize {
        if self.pushed.is_some() {
            let rows = self.rows();
            let complete = rows.iter().filter(|(row, _)| row.is_complete());
            return complete.filter_map(|(_, host)| *host).collect::<BTreeSet<_>>().len();
        }
        self.plan.expectation.complete(self.receivers.iter())
    }

    /// Whether all receivers that are expected are complete.
    pub(super) fn is_done(&self) -> bool {
        if self.pushed.as_ref().is_some_and(|pushed| !pushed.is_over()) {
            return false;
        }
        self.plan.expectation.is_met(self.complete_count())
    }

    /// The failure of a run that ended before the expected receivers were complete: a line for each
    /// that is not, and why. `None` when none are expected.
    pub(super) fn missing_receivers(&self) -> Option<(String, Vec<String>)> {
        let (expected, complete) = (self.plan.expectation.count()?, self.complete_count());
        let rows = self.rows();
        let lines = self.plan.expectation.missing_lines(&rows);
        Some((format!("{complete} of {expected} receivers were complete; not complete:"), lines))
    }

    /// A line about this share: with its name, if there are several.
    pub(super) fn labelled(&self, line: &str) -> String {
        match self.display {
            Display::Shares(_) => format!("{}: {line}", self.name),
            Display::Panel(_) | Display::Meter(_) => line.to_owned(),
        }
    }

    /// The name of the content.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The receivers that are expected, and the files that the command line asks for.
    pub(super) fn plan(&self) -> &FleetPlan {
        &self.plan
    }
}

/// The line that tells of a change.
fn change_line(receiver: &Receiver) -> String {
    let peer = receiver.peer();
    let name = match receiver.name == peer {
        true => peer,
        false => format!("{} ({peer})", receiver.name),
    };
    match receiver.state {
        ReceiverState::Connected => format!("{name} connected"),
        ReceiverState::Complete => format!("{name} has a verified copy"),
        ReceiverState::Gone | ReceiverState::Missing => {
            format!("{name} disconnected at {}", percent(receiver.bytes, receiver.total))
        }
        ReceiverState::Failed => format!("{name} {}", receiver.shortfall()),
    }
}

fn status_text(
    counts: &FleetCounts,
    complete: usize,
    expected: Option<usize>,
    rate_up: u64,
) -> String {
    let parts: Vec<String> =
        counts.parts(complete, expected).into_iter().map(|(_, part)| part).collect();
    let left = counts.time_left.map(|left| format!("  {} left", Span(left)));
    format!("{}  up {}{}", parts.join(", "), Rate(rate_up), left.unwrap_or_default())
}

/// How many receivers hold a verified copy; for people.
pub(super) fn copies(count: usize) -> String {
    match count {
        1 => "1 receiver holds a verified copy".to_owned(),
        count => format!("{count} receivers hold verified copies"),
    }
}
