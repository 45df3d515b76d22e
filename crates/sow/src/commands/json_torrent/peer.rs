//! `sow json-torrent peer`: fetches and serves as `sow get` does, by document 2's torrent, tracker
//! and peers.

use sow_node::{Node, NodeOptions};

use crate::{
    args::{get::GetPlan, json_torrent::JsonPeerPlan},
    commands::get::{self, Run},
    exit::{Exit, Failure},
    report::Report,
    resolve,
    stop::Stop,
    torrent_file::{self, Torrent},
};

/// Fetches what a torrent names, or serves it when it is there.
///
/// # Errors
/// When the torrent cannot be used, or the port is not to be had. What becomes of the download is
/// reported as it ends.
pub(super) async fn run(plan: JsonPeerPlan, report: &Report) -> Result<Exit, Failure> {
    let stop = Stop::listen(report)?;
    let path = plan.torrent.clone();
    let torrent = match crate::blocking(move || torrent_file::read_any(&path)).await? {
        Torrent::Json(torrent) => torrent,
        Torrent::BitTorrent(_) => {
            let path = plan.torrent.display();
            return Err(Failure::usage(format!(
                "{path} is a torrent of BitTorrent, not of document 2"
            ))
            .tip(format!("sow get {path}")));
        }
    };
    let source = resolve::of_json(&torrent)?;
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
        what: Vec::new(),
        destination: plan.destination,
        overwrite: plan.overwrite,
        seed_for: plan.seed_for,
        seed_whole_for: Some(plan.seed_whole_for),
        timeout: plan.timeout,
        up_limit: plan.up_limit,
        down_limit: plan.down_limit,
        port: node.port(),
        bind: plan.bind,
        tit_for_tat: false,
        only_origin: false,
        spelling: Default::default(),
    };
    Ok(get::fetch(source, Run::new(node, plan, stop), report).await)
}
