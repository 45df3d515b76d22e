//! `sow send`: hashes content, shares it, and shows the receivers.

mod extra_dialects;
mod file_watch;
mod fleet_report;
mod monitor;
mod origin;
mod pushed_hosts;
mod share_group;
mod shares_display;

use std::path::Path;

use sow_content::Metainfo;
use sow_store::ContentPlan;
use tokio::sync::watch;

pub(crate) use self::{
    file_watch::{ContentLost, SharedFiles},
    monitor::{MonitoredContent, OriginMonitor, WatchedContent},
    shares_display::SharesView,
};
use self::{
    monitor::NameLookup,
    origin::Origin,
    pushed_hosts::PushedHosts,
    share_group::{ShareGroup, write_files},
};
use crate::{
    args::{fleet::FleetPlan, send::SendArgs},
    content_hashing::{HashOptions, metainfo_of},
    exit::{Exit, Failure},
    name_lookup::look_up_names,
    push::{
        HostPlan, InstallPolicy, OriginAddresses, Program, ProgramSources, PushFleet, PushHost,
        SshCommand,
    },
    report::Report,
    runtime::blocking,
    stop_signal::StopSignal,
};

/// Shares paths until the expected number of receivers of each is complete, or the run is to stop.
///
/// # Errors
/// When the port is unavailable, a path cannot be shared, or too few receivers are complete in the
/// end.
pub(crate) async fn run(args: SendArgs, report: &Report) -> Result<Exit, Failure> {
    args.check_paths()?;
    let fleet = args.fleet.plan()?;
    match args.paths.len() {
        1 => share(args, fleet, None, report).await,
        _ => share_several(args, fleet, report).await,
    }
}

/// What `sow push` does beside sharing.
pub(crate) struct PushSetup {
    /// The hosts of the fleet's plan, in its order.
    pub(crate) hosts: Vec<PushHost>,
    pub(crate) ssh: SshCommand,
    pub(crate) program: Program,
    pub(crate) policy: InstallPolicy,
    /// More options of `sow get`.
    pub(crate) options: Vec<String>,
    /// How many hosts at a time.
    pub(crate) jobs: usize,
}

/// Shares a path, and runs `sow get` on hosts, until all are complete or have failed, or the run is
/// to stop.
///
/// # Errors
/// When the port is unavailable, the path cannot be shared, or a host is not complete in the end.
pub(crate) async fn push(
    args: SendArgs,
    fleet: FleetPlan,
    setup: PushSetup,
    report: &Report,
) -> Result<Exit, Failure> {
    share(args, fleet, Some(setup), report).await
}

/// Shares one path.
async fn share(
    args: SendArgs,
    fleet: FleetPlan,
    setup: Option<PushSetup>,
    report: &Report,
) -> Result<Exit, Failure> {
    let stop = StopSignal::listen(report)?;
    let origin = Origin::bind(&args)?;
    // What is pushed to says its name, which may be one that only ssh knows.
    let unknown = if setup.is_some() { Vec::new() } else { fleet.expectation.host_names() };
    let lookup = start_lookup(unknown);
    let (plan, metainfo) = hash_path(&args.paths[0], &fleet, report, &stop).await?;
    let shared = origin.share(plan, metainfo, fleet, setup.is_some(), report)?;
    let (monitor, swarm, events) = origin.start(shared, setup, report);
    let ended = monitor.awaiting(lookup).run(&swarm, events, &stop).await;
    swarm.stop().await;
    let exit = ended.as_ref().map_or_else(Failure::exit, |exit| *exit);
    let exit = origin.hooks.finish(&stop, exit, report).await;
    ended.map(|_| exit)
}

/// Shares several paths behind one port.
async fn share_several(args: SendArgs, fleet: FleetPlan, report: &Report) -> Result<Exit, Failure> {
    let stop = StopSignal::listen(report)?;
    let origin = Origin::bind(&args)?;
    let lookup = start_lookup(fleet.expectation.host_names());
    let mut hashed = Vec::new();
    for path in &args.paths {
        let (plan, metainfo) = hash_path(path, &fleet, report, &stop).await?;
        let is_same = |(_, other): &&(ContentPlan, Metainfo)| other.info_hash == metainfo.info_hash;
        match hashed.iter().find(is_same) {
            Some((first, _)) => {
                let first = first.path().display();
                report.warn(format_args!("{} is the same as {first}", path.display()));
            }
            None => hashed.push((plan, metainfo)),
        }
    }
    let (view, group) = (SharesView::new(report), ShareGroup::new(hashed.len()));
    let mut running = Vec::new();
    for (index, (plan, metainfo)) in hashed.into_iter().enumerate() {
        let report = report.for_part(&plan.path().to_string_lossy());
        let shared = origin.share(plan, metainfo, fleet.clone(), false, &report)?;
        let (monitor, swarm, events) = origin.start(shared, None, &report);
        let monitor = monitor.among(group.member(index), view.add()).awaiting(lookup.clone());
        let stop = stop.clone();
        running.push(tokio::spawn(async move {
            let mut monitor = monitor;
            let ended = monitor.follow_to_end(&swarm, events, &stop).await;
            if let Err(failure) = &ended {
                report.failure(failure);
            }
            swarm.stop().await;
            (monitor, ended.unwrap_or_else(|failure| failure.exit()))
        }));
    }
    let (mut monitors, mut worst) = (Vec::new(), Exit::Done);
    for share in running {
        match share.await {
            Ok((monitor, exit)) => {
                monitors.push(monitor);
                worst = worst.worst(exit);
            }
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }
    let fleets: Vec<_> = monitors.iter().map(OriginMonitor::fleet).collect();
    let written = write_files(&fleets);
    let exit = origin.hooks.finish(&stop, worst, report).await;
    written.map(|()| exit)
}

/// Looks up the names of hosts.
fn start_lookup(names: Vec<(usize, String)>) -> NameLookup {
    let (sender, lookup) = watch::channel(None);
    tokio::spawn(async move {
        let found = look_up_names(names).await;
        // The run may have ended.
        let _ = sender.send(Some(found));
    });
    lookup
}

async fn hash_path(
    path: &Path,
    fleet: &FleetPlan,
    report: &Report,
    stop: &StopSignal,
) -> Result<(ContentPlan, Metainfo), Failure> {
    let (path, report, stop) = (path.to_owned(), report.clone(), stop.clone());
    let hashed = blocking(move || metainfo_of(&path, HashOptions::default(), &report, &stop)).await;
    match (hashed, fleet.expectation.is_some()) {
        (Err(failure), true) if failure.exit() == Exit::Interrupted => Err(Failure::new(
            Exit::Incomplete,
            "stopped while hashing: no receiver has any of the content",
        )),
        (hashed, _) => hashed,
    }
}

impl PushSetup {
    /// Begins to connect to the hosts.
    fn start(self, origin: OriginAddresses, total: u64) -> (PushFleet, PushedHosts) {
        let Self { hosts, ssh, program, policy, options, jobs } = self;
        let known = PushedHosts::new(&hosts, total);
        let sources = ProgramSources::default();
        let plan = HostPlan { ssh, program, sources, policy, origin, options };
        (PushFleet::start(hosts, plan, jobs), known)
    }
}
