//! `sow chunk client`: fetches as `sow get` does, from servers of document 1 and from each other.

use std::ops::RangeInclusive;

use sow_node::{Node, NodeError, NodeOptions};

use crate::{
    args::{chunk::ChunkClientPlan, get::GetPlan},
    commands::get::{self, Run},
    exit::{Exit, Failure},
    report::Report,
    resolve,
    stop::Stop,
};

/// Fetches the file of the servers that a plan names.
///
/// # Errors
/// When there is no port to listen on. What becomes of the download is reported as it ends.
pub(super) async fn run(plan: ChunkClientPlan, report: &Report) -> Result<Exit, Failure> {
    let stop = Stop::listen(report)?;
    let node = first_free(&plan.ports, |port| NodeOptions {
        bind: plan.bind,
        port,
        up_limit: plan.up_limit,
        down_limit: plan.down_limit,
        ..NodeOptions::default()
    })?;
    report.note(format_args!("listening on port {}", node.port()));
    let source = resolve::of_servers(plan.servers);
    let plan = GetPlan {
        what: Vec::new(),
        destination: plan.destination,
        overwrite: plan.overwrite,
        seed_for: plan.seed_for,
        seed_whole_for: None,
        timeout: plan.timeout,
        up_limit: plan.up_limit,
        down_limit: plan.down_limit,
        port: node.port(),
        bind: plan.bind,
        tit_for_tat: false,
        only_origin: false,
        spelling: plan.spelling,
    };
    Ok(get::fetch(source, Run::new(node, plan, stop), report).await)
}

/// A node on the first port of these that is free (document 1, section 2.4).
fn first_free(
    ports: &RangeInclusive<u16>,
    options: impl Fn(u16) -> NodeOptions,
) -> Result<Node, NodeError> {
    let mut first = None;
    for port in ports.clone() {
        match Node::bind(options(port)) {
            Err(error @ NodeError::PortTaken { .. }) => first = first.or(Some(error)),
            bound => return bound,
        }
    }
    match first {
        Some(error) => Err(error),
        None => Node::bind(options(0)),
    }
}
