//! `sow json-torrent peer`: a download as by `sow get`, with the torrent, the tracker and the peers
//! of `json-torrent`.

use sow_node::{Node, NodeOptions};

use crate::{
    args::{get::GetPlan, json_torrent::JsonPeerPlan},
    commands::get::{DownloadContext, download_from},
    exit::{Exit, Failure},
    report::Report,
    runtime::blocking,
    stop_signal::StopSignal,
    swarm_source::SwarmSource,
    torrent_file::{self, Torrent},
};

/// Downloads the file of a torrent, or serves it if it exists.
///
/// # Errors
/// When the torrent cannot be used, or the port is unavailable. The end of the download is reported
/// when it ends.
pub(super) async fn run(plan: JsonPeerPlan, report: &Report) -> Result<Exit, Failure> {
    let stop = StopSignal::listen(report)?;
    let path = plan.torrent.clone();
    let torrent = match blocking(move || torrent_file::read_any(&path)).await? {
        Torrent::Json(torrent) => torrent,
        Torrent::BitTorrent(_) => {
            let path = plan.torrent.display();
            return Err(Failure::usage(format!(
                "{path} is a torrent of BitTorrent, not a JSON torrent"
            ))
            .tip(format!("sow get {path}")));
        }
    };
    let source = SwarmSource::from_json_torrent(&torrent)?;
    let defaults = NodeOptions::default();
    let node = Node::bind(NodeOptions {
        bind: plan.bind,
        port: plan.port,
        up_limit: plan.up_limit,
        down_limit: plan.down_limit,
        max_connections: plan.max_connections.unwrap_or(defaults.max_connections),
        ..defaults
    })?;
    report.note(format_args!("listening on port {}", node.port()));
    let plan = GetPlan {
        sources: Vec::new(),
        destination: plan.destination,
        overwrite: plan.overwrite,
        verify: false,
        seeding: plan.seeding,
        name: None,
        seed_whole_for: Some(plan.seed_whole_for),
        is_pushed: false,
        timeout: plan.timeout,
        up_limit: plan.up_limit,
        down_limit: plan.down_limit,
        port: node.port(),
        bind: plan.bind,
        tit_for_tat: false,
        only_origin: false,
        spelling: Default::default(),
    };
    Ok(download_from(source, DownloadContext::new(node, plan, stop), report).await)
}
