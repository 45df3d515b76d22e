//! `sow get`: one node, and a download for each WHAT.

mod download;
mod fetched;
mod opening;
mod view;

use std::sync::Arc;

use sow_content::ticket::Address;
use sow_engine::cs::Framing;
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
    stop::{Cut, Stop},
    what::What,
};

/// What the downloads of one run have in common.
pub(super) struct Run {
    node: Node,
    plan: GetPlan,
    stop: Stop,
    /// When to give up.
    deadline: Option<Instant>,
}

/// Fetches everything that was asked for, all at once.
///
/// # Errors
/// When nothing can be begun. What becomes of each download is reported as it ends; the worst is how the run ends.
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
    let deadline = plan.timeout.map(|timeout| Instant::now() + timeout);
    let wanted = std::mem::take(&mut plan.what);
    let is_one = wanted.len() == 1;
    let run = Arc::new(Run { node, plan, stop, deadline });
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
        What::Raw(address) => stream(Framing::Raw, address, &run, &report).await,
        What::Framed(address) => stream(Framing::Framed, address, &run, &report).await,
        what => download::run(&text, what, &run, &report).await,
    };
    match ended {
        Ok(()) => Exit::Done,
        Err(failure) => {
            report.failure(&failure);
            failure.exit()
        }
    }
}

/// Fetches what a client/server dialect serves.
async fn stream(framing: Framing, address: Address, run: &Run, report: &Report) -> Result<(), Failure> {
    let place = match &run.plan.destination {
        // The plan has no folder for what has no name.
        Destination::Path(path) | Destination::Folder(path) => {
            StreamPlace::File { path: path.clone(), overwrite: run.plan.overwrite }
        }
        Destination::Stdout => StreamPlace::Stdout,
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
