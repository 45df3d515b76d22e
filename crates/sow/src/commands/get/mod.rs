//! `sow get`: one node, and a download for each WHAT.

mod download;
mod fetched;
mod leftovers;
mod opening;
mod view;

use std::{net::SocketAddr, sync::Arc};

use sow_content::ticket::Address;
use sow_engine::client_server::ClientServerDialect;
use sow_node::{Node, NodeOptions};
use tokio::{task::JoinSet, time::Instant};

use super::client_server::client::{self, Wanted};
use crate::{
    args::{
        client_server::StreamPlace,
        get::{Destination, GetArgs, GetPlan},
    },
    exit::{Exit, Failure},
    report::Report,
    resolve::{self, Source},
    stop::{Cut, Stop},
    what::What,
};

/// What the downloads of one run have in common.
pub(crate) struct Run {
    node: Node,
    plan: GetPlan,
    stop: Stop,
    /// When to give up.
    deadline: Option<Instant>,
}

/// Fetches everything that was asked for, all at once.
///
/// # Errors
/// When nothing can be begun. What becomes of each download is reported as it ends; the worst is
/// how the run ends.
pub(crate) async fn run(args: GetArgs, report: &Report) -> Result<Exit, Failure> {
    let mut plan = args.plan(report.is_json())?;
    let stop = Stop::listen(report)?;
    let options = NodeOptions {
        bind: plan.bind,
        port: plan.port,
        up_limit: plan.up_limit,
        down_limit: plan.down_limit,
        ..NodeOptions::default()
    };
    let node = Node::bind(options)?;
    let wanted = std::mem::take(&mut plan.what);
    let is_one = wanted.len() == 1;
    let run = Arc::new(Run::new(node, plan, stop));
    let mut downloads = JoinSet::new();
    for (text, what) in wanted {
        let report = if is_one { report.clone() } else { report.about(&text) };
        downloads.spawn(one(text, what, Arc::clone(&run), report));
    }
    let mut worst = Exit::Done;
    while let Some(ended) = downloads.join_next().await {
        match ended {
            Ok(exit) => worst = worst.worst(exit),
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }
    Ok(worst)
}

/// Runs one download and reports how it ends.
async fn one(text: String, what: What, run: Arc<Run>, report: Report) -> Exit {
    let ended = match what {
        What::Raw(address) => stream(ClientServerDialect::Raw, address, &run, &report).await,
        What::Framed(address) => stream(ClientServerDialect::Framed, address, &run, &report).await,
        what => download::run(&text, what, &run, &report).await,
    };
    end_of(ended, &report)
}

/// Fetches from one source that is known already, for the commands that speak one dialect alone.
pub(crate) async fn fetch(source: Source, run: Run, report: &Report) -> Exit {
    let run = Arc::new(run);
    let addrs = run.bounded(look_up_all(&source.peers)).await;
    let ended = match addrs {
        Ok(Ok(addrs)) => download::fetch(source, addrs, &run, report).await,
        Ok(Err(failure)) => Err(failure),
        Err(cut) => Err(cut_short(cut, format!("nothing is known yet of {}", source.label))),
    };
    end_of(ended, report)
}

/// The addresses of all of these hosts; one that is not found is an error only when none is.
async fn look_up_all(hosts: &[Address]) -> Result<Vec<SocketAddr>, Failure> {
    let (mut addrs, mut first) = (Vec::new(), None);
    for host in hosts {
        match resolve::look_up(host).await {
            Ok(found) => addrs.extend(found),
            Err(failure) => first = first.or(Some(failure)),
        }
    }
    match first {
        Some(failure) if addrs.is_empty() => Err(failure),
        _ => Ok(addrs),
    }
}

/// Reports how a download ended.
fn end_of(ended: Result<(), Failure>, report: &Report) -> Exit {
    match ended {
        Ok(()) => Exit::Done,
        Err(failure) => {
            report.failure(&failure);
            failure.exit()
        }
    }
}

/// Fetches what a client/server dialect serves.
async fn stream(
    framing: ClientServerDialect,
    address: Address,
    run: &Run,
    report: &Report,
) -> Result<(), Failure> {
    let place = match &run.plan.destination {
        // The plan has no folder for what has no name.
        Destination::Path(path) | Destination::Folder(path) => {
            StreamPlace::File { path: path.clone(), overwrite: run.plan.overwrite }
        }
        Destination::Stdout => StreamPlace::Stdout,
        Destination::Memory => StreamPlace::Memory,
    };
    let wanted = Wanted {
        framing,
        address,
        place,
        size: None,
        max_size: None,
        bind: run.plan.bind,
        down: run.node.down_limit(),
    };
    client::fetch(wanted, &run.stop, run.deadline, report).await
}

impl Run {
    /// Downloads by `plan`, beginning now.
    pub(crate) fn new(node: Node, plan: GetPlan, stop: Stop) -> Self {
        let deadline = plan.timeout.map(|timeout| Instant::now() + timeout);
        Self { node, plan, stop, deadline }
    }

    /// Does something that Ctrl-C and `--timeout` cut short.
    async fn bounded<T>(&self, work: impl Future<Output = T>) -> Result<T, Cut> {
        self.stop.bounded(self.deadline, work).await
    }
}

/// What is said about a download that was cut short; `how_far` is what there is of it.
fn cut_short(cut: Cut, how_far: String) -> Failure {
    match cut {
        Cut::Interrupted => Failure::new(Exit::Interrupted, format!("interrupted: {how_far}"))
            .tip("run the same line again to go on"),
        Cut::TooLate => Failure::new(Exit::Unfinished, format!("out of time: {how_far}"))
            .tip("run the same line again to go on, with a longer --timeout"),
    }
}
