//! The origin's live view: receivers with their progress, until enough have everything or it is
//! stopped.

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
    offenders::Offenders,
    quantity::{Rate, Size},
    receivers::{Receiver, Receivers},
    report::{Event as Json, Meter, ReceiverState, Report, log_swarm_event, percent},
    stop::Stop,
};

/// How often scripts are told of progress.
const JSON_EVERY: Duration = Duration::from_secs(1);

/// How often the files are looked at, at most.
const FILES_EVERY: Duration = Duration::from_secs(5);

/// How many receivers have a line of their own on a terminal.
const ROWS: usize = 10;

/// What is shared.
pub(crate) enum Watched {
    /// What lies on the disk, and should stay as it is.
    Files(Arc<ContentPlan>),
    /// Bytes that were made up.
    Random,
}

impl Watched {
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

/// What is watched.
pub(crate) struct Watch<'a> {
    report: &'a Report,
    watched: Watched,
    geometry: Geometry,
    expect: Option<usize>,
    receivers: Receivers,
    /// Our own tracker. It hears also of receivers that there was no connection left for.
    tracker: Option<TrackerService>,
    meter: Meter,
    rows: BTreeMap<SocketAddr, Meter>,
    last_json: Option<Instant>,
    started: Instant,
    offenders: Offenders,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(
        report: &'a Report,
        watched: Watched,
        geometry: Geometry,
        expect: Option<u32>,
        tracker: Option<TrackerService>,
    ) -> Self {
        Self {
            report,
            meter: report.meter(watched.name()),
            watched,
            geometry,
            expect: expect.map(|count| count as usize),
            receivers: Receivers::new(geometry),
            tracker,
            rows: BTreeMap::new(),
            last_json: None,
            started: Instant::now(),
            offenders: Offenders::default(),
        }
    }

    /// Watches until it is over.
    ///
    /// # Errors
    /// When it is stopped before as many receivers are complete as were expected.
    pub(crate) async fn run(
        mut self,
        swarm: &Swarm,
        mut events: UnboundedReceiver<SwarmEvent>,
        stop: &Stop,
    ) -> Result<Exit, Failure> {
        let mut status = swarm.watch_status();
        let plan = match &self.watched {
            Watched::Files(plan) => Some(Arc::clone(plan)),
            Watched::Random => None,
        };
        let files = async {
            match plan {
                Some(plan) => first_change(plan).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(files);
        let mut unchanged = true;
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => self.note(event),
                    None => return Err(Failure::new(Exit::Failed, "sharing ended without a reason (see -v)")),
                },
                Ok(()) = status.changed() => {
                    let status = status.borrow_and_update().clone();
                    self.observe(&status);
                }
                complaint = &mut files, if unchanged => {
                    unchanged = false;
                    self.complain(&complaint);
                }
                () = stop.asked() => {
                    self.progress(&swarm.current_status().await);
                    return self.stopped();
                }
            }
            if self.expect.is_some_and(|expected| self.complete() >= expected) {
                self.done();
                return Ok(Exit::Done);
            }
        }
    }

    /// How many receivers hold whole copies, as they say themselves: to us, or to our tracker.
    fn complete(&self) -> usize {
        let swarms = self.tracker.as_ref().map(TrackerService::swarms).unwrap_or_default();
        let told = swarms.iter().map(|swarm| swarm.completed as usize).sum();
        self.receivers.complete().max(told)
    }

    fn note(&mut self, event: SwarmEvent) {
        match event {
            SwarmEvent::Engine(event) => {
                log_swarm_event(&event);
                self.offenders
                    .warning(&event)
                    .into_iter()
                    .for_each(|warning| self.report.warn(warning));
                match event {
                    Event::PeerConnected { addr, peer_id, .. } => {
                        self.receivers.arrived(peer_id, addr)
                    }
                    Event::PeerComplete { addr, peer_id } => {
                        let news = self.receivers.completed(peer_id, addr);
                        news.iter().for_each(|receiver| self.tell(receiver));
                    }
                    _ => {}
                }
            }
            SwarmEvent::StoreFailed(error) => self.report.warn(chain(&*error)),
        }
    }

    fn observe(&mut self, status: &Status) {
        for receiver in self.receivers.observe(&status.peers) {
            self.tell(&receiver);
        }
        let (all, complete) = (self.receivers.all(), self.complete());
        let total = self.geometry.total();
        let known = all.len().max(self.expect.unwrap_or(0)).max(1) as u64;
        let bytes = all.iter().map(|receiver| receiver.bytes).sum::<u64>();
        self.meter.set(bytes, total.max(1) * known, || {
            in_words(&all, complete, self.expect, status.rate_up)
        });
        if self.report.is_drawn() {
            let rows = all
                .iter()
                .filter(|one| one.is_here && one.state == ReceiverState::Connected)
                .take(ROWS);
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
        if self.last_json.is_none_or(|last| last.elapsed() >= JSON_EVERY) {
            self.last_json = Some(Instant::now());
            self.progress(status);
        }
    }

    /// Says to scripts what was sent so far.
    fn progress(&self, status: &Status) {
        self.report.event(&Json::Progress {
            bytes: status.uploaded,
            total: Some(self.geometry.total()),
            rate_down: status.rate_down,
            rate_up: status.rate_up,
            peers: status.peers.len(),
            sent: None,
        });
    }

    /// Something has changed with a receiver.
    fn tell(&self, receiver: &Receiver) {
        let Receiver { addr, bytes, state, .. } = *receiver;
        let peer = addr.to_string();
        self.report.event(&Json::Receiver { peer: &peer, bytes, state });
        match state {
            ReceiverState::Connected => self.report.note(format_args!("{peer} is here")),
            ReceiverState::Complete => self.report.note(format_args!("{peer} has a verified copy")),
            ReceiverState::Gone => {
                let done = percent(bytes, self.geometry.total());
                self.report.note(format_args!("{peer} has left at {done}"));
            }
        }
    }

    fn complain(&self, complaint: &str) {
        let tip = "receivers refuse what does not verify; stop this and run it again to share what is there now";
        self.report.warn(format_args!("{complaint}\n  tip: {tip}"));
        self.report.event(&Json::Error { code: Exit::Unverified.code(), message: complaint });
    }

    fn done(&self) {
        let count = self.complete();
        self.report.event(&Json::Complete {
            path: &self.watched.path(),
            bytes: self.geometry.total(),
            seconds: (self.started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
            resumed_bytes: 0,
            from: BTreeMap::new(),
        });
        self.report.note(format_args!("{}: done", copies(count)));
    }

    fn stopped(&self) -> Result<Exit, Failure> {
        let complete = self.complete();
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
                let left = if receiver.is_here { "" } else { ", gone" };
                format!(
                    "{} ({}{left})",
                    receiver.addr,
                    percent(receiver.bytes, self.geometry.total())
                )
            })
            .collect();
        let never = expected.saturating_sub(complete + missing.len());
        if never > 0 {
            missing.push(format!("{never} not connected"));
        }
        Err(Failure::new(
            Exit::Incomplete,
            format!(
                "stopped when {complete} of {expected} receivers were complete; not complete: {}",
                missing.join(", ")
            ),
        )
        .tip("run the same line again: receivers go on from what they have"))
    }
}

/// Returns when a file is not what it was, with what is to be said about that.
async fn first_change(plan: Arc<ContentPlan>) -> String {
    let mut pause = FILES_EVERY;
    loop {
        sleep(pause).await;
        let began = Instant::now();
        let plan = Arc::clone(&plan);
        match spawn_blocking(move || plan.check_unchanged()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return chain(&error),
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
        // A million files take a while to look at.
        pause = FILES_EVERY.max(began.elapsed() * 50);
    }
}

fn in_words(all: &[&Receiver], complete: usize, expect: Option<usize>, rate_up: u64) -> String {
    let fetching =
        all.iter().filter(|one| one.is_here && one.state == ReceiverState::Connected).count();
    if all.is_empty() {
        return "waiting for receivers".to_owned();
    }
    let of = expect.map_or_else(String::new, |expected| format!(" of {expected}"));
    format!("{complete}{of} complete, {fetching} fetching  up {}", Rate(rate_up))
}

fn copies(count: usize) -> String {
    match count {
        1 => "1 receiver holds a verified copy".to_owned(),
        count => format!("{count} receivers hold verified copies"),
    }
}
