//! `sow serve`: shares many files and folders behind one port until it is stopped.

mod catalog;
mod record;
mod scanner;
mod service;
mod service_manager;
mod share;
mod state_folder;
mod worker;

use std::sync::Arc;

use sow_node::{Node, NodeOptions, TrackerService};
use sow_tracker::{Limits, Mode};

use self::{
    service::Service,
    service_manager::{ServiceManager, inherited_listener},
    share::Surroundings,
    state_folder::StateFolder,
    worker::Worker,
};
use super::send::SharesView;
use crate::{
    advertised_address::advertised_address,
    args::serve::{FixedPlan, ServeArgs},
    completion_hook::CompletionHooks,
    exit::{Exit, Failure},
    report::Report,
    stop_signal::StopSignal,
    web::Web,
};

/// Shares what is named until the run is to stop, which is its good end.
///
/// # Errors
/// When the configuration cannot be used, or the port or the state folder is unavailable.
pub(crate) async fn run(args: ServeArgs, report: &Report) -> Result<Exit, Failure> {
    let plan = args.plan()?;
    let (stop, reloads) = StopSignal::listen_for_reloads(report)?;
    let manager = ServiceManager::of_environment();
    let node = Arc::new(listen(&plan.fixed, report)?);
    let state = StateFolder::open(plan.fixed.state.as_deref(), report)?;
    let web = Web::new();
    let tracker = TrackerService::new(Mode::Only([].into()), Limits::default());
    node.serve_http(web.router(plan.fixed.host_names()).merge(tracker.router()));
    let host = advertised_address(plan.fixed.bind, node.port());
    let worker = Worker::start(state, report, &stop);
    let view = SharesView::new(report);
    let hooks = CompletionHooks::new(plan.on_complete.clone());
    let report = report.clone();
    let around = Surroundings { node, web, tracker, host, view, hooks, report, stop };
    Service::new(args, plan, around, worker, manager).run(reloads).await
}

/// The node, on the socket of the service manager if it passes one on.
fn listen(plan: &FixedPlan, report: &Report) -> Result<Node, Failure> {
    let options = NodeOptions {
        bind: plan.bind,
        port: plan.port,
        up_limit: plan.up_limit,
        ..NodeOptions::default()
    };
    let Some(listener) = inherited_listener()? else { return Ok(Node::bind(options)?) };
    let node = Node::on_listener(listener, options)?;
    report.note(format_args!("on the socket of the service manager: port {}", node.port()));
    Ok(node)
}
