//! What the downloads of one command share, and how they are interrupted.

use sow_node::Node;
use tokio::time::Instant;

use crate::{
    args::get::GetPlan,
    completion_hook::CompletionHooks,
    exit::{Exit, Failure},
    stop_signal::{Interrupted, StopSignal},
};

/// What all downloads of one command share.
pub(crate) struct DownloadContext {
    pub(super) node: Node,
    pub(super) plan: GetPlan,
    pub(super) stop: StopSignal,
    /// When to give up.
    pub(super) deadline: Option<Instant>,
    /// What runs when a download is complete.
    pub(super) hooks: CompletionHooks,
}

impl DownloadContext {
    /// The context of downloads by `plan` that start now.
    pub(crate) fn new(node: Node, plan: GetPlan, stop: StopSignal) -> Self {
        let deadline = plan.timeout.map(|timeout| Instant::now() + timeout);
        Self { node, plan, stop, deadline, hooks: CompletionHooks::new(None) }
    }

    /// The same, with a command that runs when a download is complete.
    pub(super) fn with_hooks(self, hooks: CompletionHooks) -> Self {
        Self { hooks, ..self }
    }

    /// Runs `work` until it ends, the run is to stop, or the time of `--timeout` is over.
    pub(super) async fn interruptible<T>(
        &self,
        work: impl Future<Output = T>,
    ) -> Result<T, Interrupted> {
        self.stop.interruptible(self.deadline, work).await
    }
}

/// The failure of an interrupted download; `state` says how far it is.
pub(super) fn interruption(cause: Interrupted, state: String) -> Failure {
    match cause {
        Interrupted::BySignal => Failure::new(Exit::Interrupted, format!("interrupted: {state}"))
            .tip("run the same command again to continue"),
        Interrupted::ByTimeout => Failure::new(Exit::Unfinished, format!("timeout: {state}"))
            .tip("run the same command again to continue, with a longer --timeout"),
    }
}
