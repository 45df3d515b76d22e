//! The monitor of an origin: follows its swarm until the expected receivers are complete or the run
//! is to stop. Used by `send` and `chunk server`.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    net::IpAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use sow_content::Geometry;
use sow_engine::{Dialect, PeerSource, Status};
use sow_node::{Swarm, SwarmEvent, TrackerService};
use sow_store::StoreErrorKind;
use tokio::{
    sync::{mpsc::UnboundedReceiver, watch},
    time::sleep,
};

use super::{
    extra_dialects::ExtraServers,
    file_watch::{ContentLost, SharedFiles},
    fleet_report::{FleetReport, copies},
    pushed_hosts::PushedHosts,
    share_group::{GroupMember, write_files},
    shares_display::SharesDisplay,
};
use crate::{
    args::fleet::FleetPlan,
    completion_hook::{CompletionHooks, HookContent},
    exit::{Exit, Failure, chain},
    fleet::NeverConnected,
    protocol_warnings::ProtocolWarnings,
    push::{FleetEvent, PushFleet},
    quantity::Span,
    report::{Event as Json, Report, log_swarm_event},
    stop_signal::StopSignal,
    web::{Board, Totals},
};

/// The interval between two progress events.
const PROGRESS_EVENT_INTERVAL: Duration = Duration::from_secs(1);

/// How long an origin whose content is lost tells receivers so before it ends, those too that
/// connect again because their connection broke in the middle of a block.
const WITHDRAWAL_TIME: Duration = Duration::from_secs(3);

/// How many receivers that were never connected are connected to in one status interval.
const MAX_DIALED: usize = 16;

/// The content that is shared.
#[derive(Clone)]
pub(crate) enum MonitoredContent {
    /// Files on disk, which must not change.
    Files(SharedFiles),
    /// Random bytes in memory.
    Random,
    /// Files on disk that the owner of the monitor watches.
    Watched(WatchedContent),
}

/// Content whose owner says when it is lost.
#[derive(Debug, Clone)]
pub(crate) struct WatchedContent {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    /// What happened to it.
    pub(crate) lost: watch::Receiver<Option<ContentLost>>,
}

impl MonitoredContent {
    fn name(&self) -> &str {
        match self {
            Self::Files(files) => files.plan.name(),
            Self::Random => "random bytes",
            Self::Watched(content) => &content.name,
        }
    }

    fn path(&self) -> Cow<'_, str> {
        match self {
            Self::Files(files) => files.plan.path().to_string_lossy(),
            Self::Random => Cow::Borrowed(""),
            Self::Watched(content) => content.path.to_string_lossy(),
        }
    }

    /// Clients of HTTP get no more of the content, for this reason. The owner of watched content
    /// has seen to that.
    fn withdraw(&self, reason: &str) {
        if let Self::Files(files) = self {
            files.condition.withdraw(reason);
        }
    }

    /// Returns when the content is no longer what was hashed.
    async fn lost(self, report: &Report) -> ContentLost {
        match self {
            Self::Files(files) => files.lost(report).await,
            Self::Random => std::future::pending().await,
            Self::Watched(mut content) => {
                let lost = content.lost.wait_for(Option::is_some).await;
                let lost = lost.ok().and_then(|lost| lost.clone());
                match lost {
                    Some(lost) => lost,
                    None => std::future::pending().await,
                }
            }
        }
    }
}

/// The monitor of an origin.
pub(crate) struct OriginMonitor {
    report: Report,
    content: MonitoredContent,
    geometry: Geometry,
    fleet: FleetReport,
    /// The shares of the run, which end together.
    member: GroupMember,
    /// The origin's own tracker, to which receivers say that they are complete, even when they
    /// disconnect in that moment.
    tracker: Option<TrackerService>,
    /// What earlier runs of the same swarm have sent.
    sent_before: u64,
    /// When to end a swarm without peers, and when it last had one.
    idle: Option<(Duration, Instant)>,
    last_event: Option<Instant>,
    warnings: ProtocolWarnings,
    /// Servers of the same files beside the swarm. They end when the content is lost.
    servers: Option<ExtraServers>,
    /// The live page.
    board: Option<Arc<Board>>,
    lost: Option<ContentLost>,
    /// The connections to the hosts of `sow push`.
    push: Option<PushFleet>,
    /// The addresses of the hosts that are expected, which a slow name service still looks up.
    lookup: Option<NameLookup>,
}

/// Addresses of hosts, each with the index of its host, when they are known.
pub(super) type NameLookup = watch::Receiver<Option<Vec<(usize, IpAddr)>>>;

impl OriginMonitor {
    pub(crate) fn new(
        report: &Report,
        content: MonitoredContent,
        geometry: Geometry,
        plan: FleetPlan,
        tracker: Option<TrackerService>,
    ) -> Self {
        Self {
            report: report.clone(),
            member: GroupMember::alone(),
            fleet: FleetReport::new(report, plan, geometry, content.name()),
            content,
            geometry,
            tracker,
            sent_before: 0,
            idle: None,
            last_event: None,
            warnings: ProtocolWarnings::default(),
            servers: None,
            board: None,
            lost: None,
            push: None,
            lookup: None,
        }
    }

    /// The same for the origin of `sow push`.
    #[must_use]
    pub(super) fn pushing(mut self, (push, hosts): (PushFleet, PushedHosts)) -> Self {
        self.push = Some(push);
        self.fleet.set_pushed(hosts);
        self
    }

    /// The same, with a command that runs when a receiver is complete.
    #[must_use]
    pub(crate) fn with_hooks(mut self, hooks: CompletionHooks, content: HookContent) -> Self {
        self.fleet.set_hooks(hooks, content);
        self
    }

    /// The same for one of several shares, which are shown together and end together.
    #[must_use]
    pub(super) fn among(mut self, member: GroupMember, display: Arc<SharesDisplay>) -> Self {
        self.member = member;
        self.fleet.set_display(display);
        self
    }

    /// Follows the swarm while it has peers, and this time longer. Called again, it continues with
    /// the receivers of before.
    ///
    /// # Errors
    /// When the content is no longer what was hashed.
    pub(crate) async fn follow_while_used(
        &mut self,
        idle_time: Duration,
        swarm: &Swarm,
        events: UnboundedReceiver<SwarmEvent>,
        stop: &StopSignal,
    ) -> Result<Exit, Failure> {
        self.idle = Some((idle_time, Instant::now()));
        let ended = self.follow(swarm, events, stop).await;
        let status = swarm.current_status().await;
        self.update(&status);
        self.publish(&status);
        self.sent_before += status.uploaded;
        ended
    }

    /// The same for one of the shares of a service, which are shown together.
    #[must_use]
    pub(crate) fn shown_among(mut self, display: Arc<SharesDisplay>) -> Self {
        self.fleet.set_display(display);
        self
    }

    /// The same for an origin with servers beside its swarm.
    #[must_use]
    pub(super) fn beside(mut self, servers: ExtraServers) -> Self {
        self.servers = Some(servers);
        self
    }

    /// The same for an origin with a live page.
    #[must_use]
    pub(crate) fn shown_on(mut self, board: Arc<Board>) -> Self {
        self.board = Some(board);
        self
    }

    /// The same for an origin whose expected hosts are being looked up.
    #[must_use]
    pub(super) fn awaiting(mut self, lookup: NameLookup) -> Self {
        self.lookup = Some(lookup);
        self
    }

    /// The same, with the command that other machines run, which stays in view.
    #[must_use]
    pub(crate) fn with_command(mut self, command: String) -> Self {
        self.fleet.set_command(command);
        self
    }

    /// Runs until the expected receivers are complete, or the run is to stop.
    ///
    /// # Errors
    /// When the run is to stop before the expected receivers are complete, or the content is no
    /// longer what was hashed; or when a file of results cannot be written.
    pub(crate) async fn run(
        mut self,
        swarm: &Swarm,
        events: UnboundedReceiver<SwarmEvent>,
        stop: &StopSignal,
    ) -> Result<Exit, Failure> {
        let ended = self.follow_to_end(swarm, events, stop).await;
        match (ended, write_files(&[&self.fleet])) {
            (ended, Ok(())) => ended,
            (Ok(_), Err(failure)) => Err(failure),
            (Err(failure), Err(unwritten)) => {
                self.report.failure(&unwritten);
                Err(failure)
            }
        }
    }

    /// The same for one of several shares, without the files that the run leaves.
    ///
    /// # Errors
    /// As [`OriginMonitor::run`].
    pub(super) async fn follow_to_end(
        &mut self,
        swarm: &Swarm,
        events: UnboundedReceiver<SwarmEvent>,
        stop: &StopSignal,
    ) -> Result<Exit, Failure> {
        let ended = self.follow(swarm, events, stop).await;
        // The page keeps the last state when the port is gone.
        self.publish(&swarm.current_status().await);
        if let Some(push) = self.push.take() {
            push.end().await;
        }
        ended
    }

    /// The receivers.
    pub(super) fn fleet(&self) -> &FleetReport {
        &self.fleet
    }

    async fn follow(
        &mut self,
        swarm: &Swarm,
        mut events: UnboundedReceiver<SwarmEvent>,
        stop: &StopSignal,
    ) -> Result<Exit, Failure> {
        let mut status = swarm.watch_status();
        let report = self.report.clone();
        let lost = self.content.clone().lost(&report);
        let timeout = wait_for(self.fleet.timeout());
        tokio::pin!(lost, timeout);
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
                (index, event) = next_push_event(&mut self.push) => {
                    self.fleet.on_push_event(index, event);
                }
                found = found_names(&mut self.lookup) => {
                    self.lookup = None;
                    self.fleet.add_addresses(found);
                }
                lost = &mut lost, if self.lost.is_none() => self.on_lost(lost),
                () = linger(withdrawn_at) => {
                    self.member.leave();
                    return Err(self.end_lost());
                }
                () = self.member.group_done() => {}
                () = stop.requested() => {
                    self.emit_progress(&swarm.current_status().await);
                    return self.end_stopped("stopped", Exit::Interrupted);
                }
                () = &mut timeout => {
                    self.emit_progress(&swarm.current_status().await);
                    let time = Span(self.fleet.timeout().unwrap_or_default());
                    return self.end_stopped(&format!("timeout after {time}"), Exit::Done);
                }
            }
            if let Some(lost) = self.lost.as_ref().filter(|_| withdrawn_at.is_none()) {
                swarm.withdraw(lost.reason.clone());
                withdrawn_at = Some(Instant::now());
            }
            if self.member.is_group_done(self.fleet.is_done()) {
                self.report_done();
                return Ok(Exit::Done);
            }
            if self.idle.is_some_and(|(time, since)| since.elapsed() >= time) {
                return Ok(Exit::Done);
            }
            if self.fleet.is_push_over() {
                return self.end_stopped("ended", Exit::Done);
            }
        }
    }

    /// Counts the receivers that told the tracker that they are complete. One that was never
    /// connected is connected to, so that it can show what it has.
    fn count_announced(&mut self, swarm: &Swarm) {
        let tracker = self.tracker.as_ref();
        let announced = tracker.map(|tracker| tracker.take_completions(swarm.info_hash()));
        let mut unknown = Vec::new();
        for (addr, id) in announced.unwrap_or_default() {
            if let Err(NeverConnected) = self.fleet.on_announced(addr, id) {
                unknown.push(addr);
            }
        }
        if !unknown.is_empty() {
            unknown.truncate(MAX_DIALED);
            swarm.add_peers(PeerSource::Tracker, Dialect::BitTorrent, unknown);
        }
    }

    fn handle_event(&mut self, event: SwarmEvent) {
        match event {
            SwarmEvent::Engine(event) => {
                log_swarm_event(&event);
                self.warnings
                    .on_event(&event)
                    .into_iter()
                    .for_each(|warning| self.report.warn(warning));
                self.fleet.on_event(&event);
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
        if let (Some((_, since)), false) = (&mut self.idle, status.peers.is_empty()) {
            *since = Instant::now();
        }
        self.fleet.update(status);
        if self.board.as_ref().is_some_and(|board| board.is_due()) {
            self.publish(status);
        }
        if self.last_event.is_none_or(|last| last.elapsed() >= PROGRESS_EVENT_INTERVAL) {
            self.last_event = Some(Instant::now());
            self.emit_progress(status);
        }
    }

    /// Shows the state on the live page.
    fn publish(&self, status: &Status) {
        if let Some(board) = &self.board {
            let Status { uploaded, rate_up, ref peers, .. } = *status;
            let sent = self.sent_before + uploaded;
            let rows = self.fleet.rows_for_page(status);
            board.publish(Totals { sent, rate_up, peers: peers.len() }, &rows);
        }
    }

    /// Emits the progress event.
    fn emit_progress(&self, status: &Status) {
        self.report.event(&Json::Progress {
            bytes: self.sent_before + status.uploaded,
            total: Some(self.geometry.total()),
            rate_down: status.rate_down,
            rate_up: status.rate_up,
            peers: status.peers.len(),
            sent: None,
        });
    }

    /// The content is lost: the servers beside the swarm end at once, and receivers are told.
    fn on_lost(&mut self, lost: ContentLost) {
        if self.lost.is_none() {
            self.report.warn(format_args!("{}; telling the receivers", lost.message));
            self.servers = None;
            self.content.withdraw(&lost.reason);
            self.lost = Some(lost);
        }
    }

    /// The end of a run whose content is lost.
    fn end_lost(&self) -> Failure {
        let lost = self.lost.as_ref().map_or("the content was changed", |lost| &lost.message);
        let tip = "wait until no program writes to it, then run the same command again to share \
                   what is there";
        let message = format!("{lost}, so it is no longer shared");
        let failure = match self.fleet.missing_receivers() {
            Some((missing, lines)) => {
                with_lines(Failure::new(Exit::Incomplete, format!("{message}; {missing}")), &lines)
            }
            None => Failure::new(Exit::Failed, message),
        };
        failure.tip(tip)
    }

    fn report_done(&self) {
        let count = self.fleet.complete_count();
        self.report.event(&Json::Complete {
            path: &self.content.path(),
            bytes: self.geometry.total(),
            seconds: (self.fleet.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
            resumed_bytes: 0,
            from: BTreeMap::new(),
        });
        self.report.note(self.fleet.labelled(&format!("{}: done", copies(count))));
    }

    /// The end of a run for a cause: `exit` if no receivers are expected.
    fn end_stopped(&self, cause: &str, exit: Exit) -> Result<Exit, Failure> {
        let Some((missing, lines)) = self.fleet.missing_receivers() else {
            let line = format!("{cause}; {}", copies(self.fleet.complete_count()));
            self.report.note(self.fleet.labelled(&line));
            return Ok(exit);
        };
        if self.fleet.is_done() {
            // It has waited for the other shares.
            self.report_done();
            return Ok(Exit::Done);
        }
        let message = self.fleet.labelled(&format!("{cause} when {missing}"));
        let failure = Failure::new(Exit::Incomplete, message);
        let tip = match self.push {
            Some(_) => "with --retry FILE, the next run is for those alone",
            None => "run the same command again: receivers continue from what they have",
        };
        Err(with_lines(failure, &lines).tip(tip))
    }
}

fn with_lines(failure: Failure, lines: &[String]) -> Failure {
    lines.iter().fold(failure, Failure::line)
}

/// The next event of a host that is pushed to, if there are any.
async fn next_push_event(push: &mut Option<PushFleet>) -> (usize, FleetEvent) {
    let next = match push {
        Some(push) => push.events.recv().await,
        None => None,
    };
    match next {
        Some(event) => event,
        None => std::future::pending().await,
    }
}

/// Returns when names were looked up.
async fn found_names(lookup: &mut Option<NameLookup>) -> Vec<(usize, IpAddr)> {
    match lookup {
        Some(lookup) => match lookup.wait_for(Option::is_some).await {
            Ok(found) => found.clone().unwrap_or_default(),
            Err(_) => Vec::new(),
        },
        None => std::future::pending().await,
    }
}

/// Returns after a time, if there is one.
async fn wait_for(time: Option<Duration>) {
    match time {
        Some(time) => sleep(time).await,
        None => std::future::pending().await,
    }
}

/// Returns when receivers had the time to learn that the content is lost.
async fn linger(withdrawn_at: Option<Instant>) {
    match withdrawn_at {
        Some(since) => sleep(WITHDRAWAL_TIME.saturating_sub(since.elapsed())).await,
        None => std::future::pending().await,
    }
}
