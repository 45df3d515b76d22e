//! The service: looks at the paths in turns, and does what follows: prepares content, begins and
//! ends shares, and starts the swarms that peers ask for. One task owns all of it.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use sow_content::{InfoHash, Metainfo};
use sow_store::ContentPlan;
use tokio::{
    task::{JoinHandle, JoinSet, spawn_blocking},
    time::{Instant, sleep_until},
};

use super::{
    catalog::{Action, Catalog, CatalogCounts, Verdict},
    scanner::{Round, Sources},
    service_manager::ServiceManager,
    share::{Share, Surroundings, SwarmEnd},
    worker::{Prepared, Worker},
};
use crate::{
    args::serve::{ServeArgs, ServePlan},
    commands::send::ContentLost,
    exit::{Exit, Failure},
    quantity::Size,
    report::{Event, ShareState},
    stop_signal::Reloads,
};

/// The minimum interval between two looks at the paths.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The minimum ratio of that interval to the duration of a look.
const LOOK_COST: u32 = 50;

/// See the header of this file.
pub(super) struct Service {
    args: ServeArgs,
    plan: ServePlan,
    around: Surroundings,
    worker: Worker,
    manager: ServiceManager,
    catalog: Catalog,
    shares: BTreeMap<InfoHash, Share>,
    /// The runs of swarms.
    swarms: JoinSet<SwarmEnd>,
    /// Checks of shares whose files look different.
    checks: JoinSet<(InfoHash, ContentLost, bool)>,
    /// The look that is in progress.
    looking: Option<JoinHandle<Round>>,
    next_look: Instant,
    /// Paths of the first look, or of one after a reload, that are being recalled; `None` when the
    /// service manager was told that they are shared.
    recalling: Option<usize>,
    /// A look has begun since the last reload.
    is_looked: bool,
    unreadable: BTreeMap<PathBuf, String>,
    /// Shares that needed no hashing, and the bytes that were hashed, until they are reported.
    recalled: usize,
    hashed: u64,
}

impl Service {
    pub(super) fn new(
        args: ServeArgs,
        plan: ServePlan,
        around: Surroundings,
        worker: Worker,
        manager: ServiceManager,
    ) -> Self {
        Self {
            args,
            plan,
            around,
            worker,
            manager,
            catalog: Catalog::default(),
            shares: BTreeMap::new(),
            swarms: JoinSet::new(),
            checks: JoinSet::new(),
            looking: None,
            next_look: Instant::now(),
            recalling: Some(0),
            is_looked: false,
            unreadable: BTreeMap::new(),
            recalled: 0,
            hashed: 0,
        }
    }

    /// Runs until the run is to stop.
    ///
    /// # Errors
    /// None so far: what cannot be shared is a warning.
    pub(super) async fn run(mut self, mut reloads: Reloads) -> Result<Exit, Failure> {
        let mut demands = self.around.node.demands();
        self.worker.clean();
        let stop = self.around.stop.clone();
        loop {
            self.tell_manager();
            tokio::select! {
                () = stop.requested() => break,
                () = sleep_until(self.next_look), if self.looking.is_none() => self.look(),
                round = looked(&mut self.looking) => self.on_round(round),
                Some(prepared) = self.worker.results.recv() => self.on_prepared(prepared),
                Some(hash) = demands.recv() => self.activate(hash),
                Some(ended) = self.swarms.join_next() => self.on_swarm_ended(finished(ended)),
                Some(checked) = self.checks.join_next() => self.on_checked(finished(checked)),
                () = reloads.next() => self.reload(),
            }
        }
        self.manager.stopping();
        while self.swarms.join_next().await.is_some() {}
        let shares = self.shares.len();
        let noun = if shares == 1 { "share" } else { "shares" };
        self.around.report.note(format_args!("stopped; {shares} {noun}"));
        let Surroundings { hooks, stop, report, .. } = &self.around;
        Ok(hooks.finish(stop, Exit::Done, report).await)
    }

    fn look(&mut self) {
        let ServePlan { paths, watch, .. } = &self.plan;
        let sources = Sources { paths: paths.clone(), watch: watch.clone() };
        self.looking = Some(spawn_blocking(move || sources.look()));
        self.is_looked = true;
    }

    fn on_round(&mut self, round: Round) {
        self.looking = None;
        let took = round.began.elapsed();
        // Looking at a million files takes long.
        self.next_look = Instant::now() + LOOK_INTERVAL.max(took * LOOK_COST);
        for (folder, reason) in &round.unreadable {
            if self.unreadable.get(folder) != Some(reason) {
                self.around.report.warn(format_args!("{reason}; it is tried again"));
            }
        }
        self.unreadable = round.unreadable.clone();
        let began = round.began;
        for action in self.catalog.observe(round, self.plan.settle) {
            self.carry_out(action, began);
        }
    }

    fn carry_out(&mut self, action: Action, began: Instant) {
        match action {
            Action::Prepare(plan) => {
                if self.is_looked
                    && let Some(recalling) = &mut self.recalling
                {
                    *recalling += 1;
                }
                self.worker.recall(plan);
            }
            Action::Confirm(hash) => {
                if let Some(share) = self.shares.get_mut(&hash) {
                    share.confirm(&self.around, began);
                }
            }
            Action::Suspect(hash, path, change) => {
                let lost = ContentLost::new(&path, change);
                let check = self.shares.get_mut(&hash).and_then(|it| it.suspect(&self.around));
                if let Some(check) = check {
                    self.checks.spawn(async move { (hash, lost, check.await) });
                }
            }
            Action::Withdraw(hash, path, change) => {
                self.withdraw(hash, ContentLost::new(&path, change));
            }
            Action::Forget(path) => self.worker.forget(path),
            Action::Warn(reason) => self.warn_rejected(&reason),
        }
    }

    fn warn_rejected(&self, reason: &str) {
        self.around.report.warn(format_args!("{reason}; it is not shared"));
    }

    fn on_prepared(&mut self, prepared: Prepared) {
        match prepared {
            Prepared::Unknown(plan) => {
                self.finish_recall();
                self.worker.hash(plan);
            }
            Prepared::Ready { plan, metainfo, hashed } => {
                self.on_ready(*plan, *metainfo, hashed);
                if hashed.is_none() {
                    self.finish_recall();
                }
            }
            Prepared::Changed(path) => _ = self.catalog.on_unprepared(&path, None),
            Prepared::Failed(path, failure) => {
                let reason = failure.message().to_owned();
                if failure.exit() != Exit::Interrupted {
                    self.warn_rejected(&reason);
                }
                if let Some(hash) = self.catalog.on_unprepared(&path, Some(reason)) {
                    self.withdraw(hash, ContentLost::new(&path, "cannot be read any more"));
                }
            }
        }
    }

    fn on_ready(&mut self, plan: ContentPlan, metainfo: Metainfo, hashed: Option<u64>) {
        let hash = metainfo.info_hash;
        match self.catalog.on_prepared(&plan, hash) {
            Verdict::Stale => {}
            Verdict::Unchanged => {
                if let Some(share) = self.shares.get_mut(&hash) {
                    share.renew(&self.around, plan);
                }
            }
            Verdict::SameAs(other) => {
                let (path, other) = (plan.path().display(), other.display());
                let line = format_args!("{path} is the same as {other}, which is shared");
                self.around.report.warn(line);
            }
            Verdict::Share { instead_of } => {
                if let Some(old) = instead_of {
                    self.withdraw(old, ContentLost::new(plan.path(), "was changed"));
                }
                self.recalled += usize::from(hashed.is_none());
                self.hashed += hashed.unwrap_or(0);
                self.share(plan, metainfo, hashed);
            }
        }
    }

    fn share(&mut self, plan: ContentPlan, metainfo: Metainfo, hashed: Option<u64>) {
        let share = Share::begin(&self.around, plan, metainfo);
        let (report, offer) = (&self.around.report, &share.offer);
        let (path, ticket) = (share.path().to_string_lossy(), offer.ticket.to_string());
        if hashed.is_some() {
            report.note(format_args!("sharing {path}: {}", offer.size_text()));
        }
        if !report.is_json() {
            report.out(offer.command());
        }
        report.event(&Event::Share {
            path: &path,
            state: ShareState::Shared,
            info_hash: &offer.info_hash().to_string(),
            ticket: Some(&ticket),
            bytes: offer.metainfo.info.geometry.total(),
            hashed: hashed.unwrap_or(0),
            reason: None,
        });
        self.shares.insert(offer.info_hash(), share);
    }

    fn withdraw(&mut self, hash: InfoHash, lost: ContentLost) {
        self.catalog.on_withdrawn(hash);
        let Some(share) = self.shares.remove(&hash) else { return };
        let report = &self.around.report;
        report.note(format_args!("{}; it is withdrawn", lost.message));
        report.event(&Event::Share {
            path: &share.path().to_string_lossy(),
            state: ShareState::Withdrawn,
            info_hash: &hash.to_string(),
            ticket: None,
            bytes: share.offer.metainfo.info.geometry.total(),
            hashed: 0,
            reason: Some(&lost.reason),
        });
        share.withdraw(&self.around, lost);
    }

    fn activate(&mut self, hash: InfoHash) {
        let run = self.shares.get_mut(&hash).and_then(|share| share.activate(&self.around));
        if let Some(run) = run {
            self.swarms.spawn(run);
        }
    }

    fn on_swarm_ended(&mut self, end: SwarmEnd) {
        let hash = end.info_hash;
        let share = self.shares.get_mut(&hash).filter(|share| share.is_of(&end));
        let Some(share) = share else { return };
        if let Some(failure) = &end.failure {
            tracing::info!(%hash, reason = failure.message(), "a share could not be opened");
            // The next look sees what has changed. Peers that wait are rejected.
            share.retract(&self.around);
            self.next_look = Instant::now();
        }
        let is_failed = end.failure.is_some();
        if share.on_swarm_ended(end) && !is_failed {
            self.activate(hash);
        }
    }

    fn on_checked(&mut self, (hash, lost, is_right): (InfoHash, ContentLost, bool)) {
        if !is_right {
            self.withdraw(hash, lost);
        }
    }

    fn reload(&mut self) {
        let report = &self.around.report;
        self.manager.reloading();
        match self.args.plan() {
            Ok(plan) => {
                if plan.fixed != self.plan.fixed {
                    report.warn(
                        "port, address, limit, host names and state folder are those of the start; \
                         restart to change them",
                    );
                }
                self.around.hooks.set_command(plan.on_complete.clone());
                self.plan = ServePlan { fixed: self.plan.fixed.clone(), ..plan };
                report.note("the configuration was read again");
            }
            Err(failure) => {
                let message = failure.message();
                report.warn(format_args!("{message}; what was read before is kept"));
            }
        }
        self.recalling = Some(0);
        self.is_looked = false;
        // A look that is in progress is of the paths of before.
        self.looking = None;
        self.next_look = Instant::now();
    }

    fn finish_recall(&mut self) {
        if let Some(recalling) = &mut self.recalling {
            *recalling = recalling.saturating_sub(1);
        }
    }

    /// Tells the service manager, and scripts, what is shared.
    fn tell_manager(&mut self) {
        let counts = self.catalog.counts();
        self.manager.status(status_text(counts));
        let is_done = self.recalling == Some(0) && self.is_looked && self.looking.is_none();
        if !is_done {
            return;
        }
        self.recalling = None;
        self.manager.ready();
        let report = &self.around.report;
        let (shared, hashed) = (counts.shared, Size(self.hashed));
        let recalled = self.recalled;
        report.note(format_args!(
            "listening on port {}: {shared} shared, {recalled} of them without hashing",
            self.around.node.port()
        ));
        tracing::info!(shared, recalled, %hashed, "ready");
        report.event(&Event::Ready {
            ticket: None,
            magnet: None,
            torrent: None,
            port: self.around.node.port(),
        });
    }
}

/// What is going on; for people.
fn status_text(counts: CatalogCounts) -> String {
    let CatalogCounts { shared, preparing, settling, rejected } = counts;
    let others =
        [(preparing, "to be hashed"), (settling, "being written"), (rejected, "cannot be shared")];
    let mut text = format!("{shared} shared");
    for (count, what) in others.iter().filter(|(count, _)| *count > 0) {
        text.push_str(&format!(", {count} {what}"));
    }
    text
}

/// The look that is in progress, when it has ended.
async fn looked(looking: &mut Option<JoinHandle<Round>>) -> Round {
    match looking {
        Some(look) => finished(look.await),
        None => std::future::pending().await,
    }
}

fn finished<T>(ended: Result<T, tokio::task::JoinError>) -> T {
    match ended {
        Ok(done) => done,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}
