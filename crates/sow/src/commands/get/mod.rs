//! `sow get`: one node, and a download for each WHAT. The commands `chunk client` and `json-torrent
//! peer` use it too, with a source of their own.

mod bytes_by_peer;
mod context;
mod download;
mod lost_origin;
mod origin_contact;
mod original_pieces;
mod preparation;
mod progress_view;
mod serving;

use std::sync::Arc;

use sow_content::ticket::Address;
use sow_engine::client_server::ClientServerDialect;
use sow_node::{Node, NodeOptions, program_file};
use tokio::task::JoinSet;

pub(crate) use self::context::DownloadContext;
use self::context::interruption;
use super::client_server::client::{Transfer, receive};
use crate::{
    args::{
        client_server::StreamTarget, destination::Destination, get::GetArgs, source::SourceArg,
    },
    completion_hook::{CompletionHooks, HookContent, absolute},
    exit::{Exit, Failure},
    name_lookup::look_up_any,
    report::Report,
    stop_signal::StopSignal,
    swarm_source::SwarmSource,
};

/// Runs all downloads at the same time.
///
/// # Errors
/// When no download can be started. The end of each download is reported when it ends; the worst
/// exit code is the result.
pub(crate) async fn run(args: GetArgs, report: &Report) -> Result<Exit, Failure> {
    let hooks = CompletionHooks::new(args.hook.on_complete.clone());
    let mut plan = args.plan(report.is_json())?;
    let stop = match plan.is_pushed {
        true => StopSignal::listen_with_stdin(report)?,
        false => StopSignal::listen(report)?,
    };
    let options = NodeOptions {
        bind: plan.bind,
        port: plan.port,
        up_limit: plan.up_limit,
        down_limit: plan.down_limit,
        ..NodeOptions::default()
    };
    let node = Node::bind(options)?;
    if plan.is_pushed {
        node.serve_http(program_file::program_file());
    }
    let sources = std::mem::take(&mut plan.sources);
    let is_single = sources.len() == 1;
    let context = Arc::new(DownloadContext::new(node, plan, stop).with_hooks(hooks.clone()));
    let mut downloads = JoinSet::new();
    for (text, source) in sources {
        let report = if is_single { report.clone() } else { report.for_part(&text) };
        downloads.spawn(download_and_report(text, source, Arc::clone(&context), report));
    }
    let mut worst = Exit::Done;
    while let Some(ended) = downloads.join_next().await {
        match ended {
            Ok(exit) => worst = worst.worst(exit),
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }
    Ok(hooks.finish(&context.stop, worst, report).await)
}

/// Downloads from a source that is already resolved, and reports how that ends.
pub(crate) async fn download_from(
    source: SwarmSource,
    context: DownloadContext,
    report: &Report,
) -> Exit {
    let context = Arc::new(context);
    let ended = match context.interruptible(look_up_any(&source.peers)).await {
        Ok(Ok(addrs)) => download::download_swarm(source, addrs, &context, report).await,
        Ok(Err(failure)) => Err(failure),
        Err(cause) => Err(interruption(cause, format!("{} is not resolved yet", source.label))),
    };
    exit_of(ended, report)
}

async fn download_and_report(
    text: String,
    source: SourceArg,
    context: Arc<DownloadContext>,
    report: Report,
) -> Exit {
    let ended = match source {
        SourceArg::Raw(address) => {
            download_stream(ClientServerDialect::Raw, address, &context, &report).await
        }
        SourceArg::Framed(address) => {
            download_stream(ClientServerDialect::Framed, address, &context, &report).await
        }
        source => download::download_source(&text, source, &context, &report).await,
    };
    exit_of(ended, &report)
}

/// Downloads the file of a client/server dialect.
async fn download_stream(
    dialect: ClientServerDialect,
    address: Address,
    context: &DownloadContext,
    report: &Report,
) -> Result<(), Failure> {
    let plan = &context.plan;
    let transfer = Transfer {
        dialect,
        address,
        target: StreamTarget::new(plan.destination.clone(), plan.overwrite),
        size: None,
        max_size: None,
        bind: plan.bind,
        down: context.node.down_limit(),
        origin_timeout: Some(plan.origin_timeout()),
    };
    receive(transfer, &context.stop, context.deadline, report).await?;
    if let Destination::Path(path) = &plan.destination {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        let bytes = path.metadata().map_or(0, |file| file.len());
        let content =
            HookContent { name: name.into(), path: absolute(path), info_hash: None, bytes };
        context.hooks.run(&content, None, report);
    }
    Ok(())
}

/// Reports how a download ended.
fn exit_of(ended: Result<(), Failure>, report: &Report) -> Exit {
    match ended {
        Ok(()) => Exit::Done,
        Err(failure) => {
            report.failure(&failure);
            failure.exit()
        }
    }
}
