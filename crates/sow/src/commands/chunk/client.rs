//! `sow chunk client`: a download as by `sow get`, from `chunk` servers and other clients.

use std::ops::RangeInclusive;

use sow_node::{Node, NodeError, NodeOptions};

use crate::{
    args::{chunk::ChunkClientPlan, get::GetPlan},
    commands::get::{DownloadContext, download_from},
    exit::{Exit, Failure},
    report::Report,
    stop_signal::StopSignal,
    swarm_source::SwarmSource,
};

/// Downloads the file of the servers that a plan names.
///
/// # Errors
/// When no port is available to listen on. The end of the download is reported when it ends.
pub(super) async fn run(plan: ChunkClientPlan, report: &Report) -> Result<Exit, Failure> {
    let stop = StopSignal::listen(report)?;
    let node = bind_first_free(&plan.ports, |port| NodeOptions {
        bind: plan.bind,
        port,
        up_limit: plan.up_limit,
        down_limit: plan.down_limit,
        ..NodeOptions::default()
    })?;
    report.note(format_args!("listening on port {}", node.port()));
    let source = SwarmSource::from_chunk_servers(plan.servers);
    let plan = GetPlan {
        sources: Vec::new(),
        destination: plan.destination,
        overwrite: plan.overwrite,
        verify: false,
        seeding: plan.seeding,
        name: None,
        seed_whole_for: None,
        is_pushed: false,
        timeout: plan.timeout,
        up_limit: plan.up_limit,
        down_limit: plan.down_limit,
        port: node.port(),
        bind: plan.bind,
        tit_for_tat: false,
        only_origin: false,
        spelling: plan.spelling,
    };
    Ok(download_from(source, DownloadContext::new(node, plan, stop), report).await)
}

/// A node on the first free port, as the original client chooses its port.
fn bind_first_free(
    ports: &RangeInclusive<u16>,
    options: impl Fn(u16) -> NodeOptions,
) -> Result<Node, NodeError> {
    let mut first_error = None;
    for port in ports.clone() {
        match Node::bind(options(port)) {
            Err(error @ NodeError::PortTaken { .. }) => first_error = first_error.or(Some(error)),
            bound => return bound,
        }
    }
    match first_error {
        Some(error) => Err(error),
        None => Node::bind(options(0)),
    }
}
