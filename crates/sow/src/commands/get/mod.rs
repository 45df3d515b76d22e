//! `sow get`: one node, and a download for each WHAT.

mod download;
mod fetched;
mod opening;

use std::sync::Arc;

use sow_node::{Node, NodeOptions};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::{
    args::get::{GetArgs, GetPlan},
    exit::{Exit, Failure},
    report::Report,
    stop::Stop,
};

/// What the downloads of one run have in common.
pub(super) struct Run {
    node: Node,
    plan: GetPlan,
    report: Report,
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
    let run = Arc::new(Run { node, plan, report: report.clone(), stop, deadline });
    let mut downloads = JoinSet::new();
    for what in wanted {
        downloads.spawn(download::run(what, Arc::clone(&run)));
    }
    let mut worst = Exit::Done;
    while let Some(ended) = downloads.join_next().await {
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => {
                report.failure(&failure);
                worst = worst.worst(failure.exit());
            }
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }
    Ok(worst)
}

impl Run {
    /// Does something that Ctrl-C and `--timeout` end; `unfinished` says what it was about.
    async fn bounded<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
        unfinished: impl Fn() -> String,
    ) -> Result<T, Failure> {
        let too_late = async {
            match self.deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            done = work => done,
            () = self.stop.asked() => Err(Failure::new(Exit::Interrupted, format!("interrupted: {}", unfinished()))
                .tip("run the same line again to go on")),
            () = too_late => Err(Failure::new(Exit::Unfinished, format!("out of time: {}", unfinished()))
                .tip("run the same line again to go on, with a longer --timeout")),
        }
    }
}
