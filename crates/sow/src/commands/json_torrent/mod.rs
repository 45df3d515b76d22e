//! `sow json-torrent create|tracker|peer`: JSON torrents, their tracker and their peers.

mod peer;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use sow_content::{
    Geometry, JsonTorrent,
    json_torrent::{MAX_COMMENT, MAX_JSON_TORRENT},
    ticket::Address,
};
use sow_node::{JsonTracker, JsonTrackerService};
use sow_store::{hash_content, scan};
use sow_tracker::JsonLimits;
use tokio::time::interval;

use crate::{
    advertised_address::advertised_address,
    args::{
        destination::stdout_conflict,
        json_torrent::{JsonCreateArgs, JsonTorrentCommand, JsonTrackerArgs},
    },
    change_log::ChangeLog,
    config::{self, ClientConfig},
    exit::{Exit, Failure},
    quantity::Size,
    report::{Event, Report},
    runtime::blocking,
    stdout,
    stop_signal::StopSignal,
    torrent_file::{self, Torrent},
};

/// The interval at which the tracker reports changes.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Runs one of the commands.
///
/// # Errors
/// When the command fails.
pub(crate) async fn run(command: JsonTorrentCommand, report: &Report) -> Result<Exit, Failure> {
    match command {
        JsonTorrentCommand::Create(args) => {
            let stop = StopSignal::listen(report)?;
            let report = report.clone();
            blocking(move || create(args, &report, &stop)).await
        }
        JsonTorrentCommand::Tracker(args) => run_tracker(&args, report).await,
        JsonTorrentCommand::Peer(args) => {
            let config: ClientConfig = config::load(args.config(), report)?;
            peer::run(args.plan(&config)?, report).await
        }
    }
}

fn create(args: JsonCreateArgs, report: &Report, stop: &StopSignal) -> Result<Exit, Failure> {
    let to_stdout = args.output.out.as_deref() == Some(Path::new("-"));
    if to_stdout && report.is_json() {
        return Err(stdout_conflict());
    }
    if args.output.comment.as_ref().is_some_and(|comment| comment.len() > MAX_COMMENT) {
        return Err(Failure::usage(format!("a comment has at most {}", Size(MAX_COMMENT as u64))));
    }
    let torrent = hash_file(&args, report, stop)?;
    let bytes = torrent.encode(args.hashes.into());
    if bytes.len() > MAX_JSON_TORRENT {
        return Err(Failure::usage(format!(
            "the torrent has {}, but peers accept at most {}",
            Size(bytes.len() as u64),
            Size(MAX_JSON_TORRENT as u64)
        ))
        .tip("choose longer pieces with --piece-length"));
    }
    if to_stdout {
        return stdout::write(&bytes).map(|()| Exit::Done);
    }
    let out =
        args.output.out.unwrap_or_else(|| PathBuf::from(format!("{}.torrent", torrent.file_name)));
    let may_replace = args.output.overwrite || names_same_file(&out, &torrent);
    torrent_file::write_bytes(&out, &bytes, may_replace)?;
    report_created(&out, &torrent, report);
    Ok(Exit::Done)
}

/// Hashes the file on all cores.
fn hash_file(
    args: &JsonCreateArgs,
    report: &Report,
    stop: &StopSignal,
) -> Result<JsonTorrent, Failure> {
    if args.file.is_dir() {
        return Err(Failure::new(
            Exit::Failed,
            format!("{} is a folder, but a JSON torrent describes one file", args.file.display()),
        )
        .tip(format!("pack it into one file, or use sow send {}", args.file.display())));
    }
    let plan = scan(&args.file)?;
    let geometry = Geometry::new(plan.total(), args.piece_length.0).map_err(|error| {
        Failure::usage(format!("{}: {error}", args.file.display()))
            .tip("choose longer pieces with --piece-length")
    })?;
    let progress = report.read_progress(format!("hashing {}", plan.name()), plan.total());
    let piece_hashes =
        hash_content(&plan, geometry.piece_length(), 0, &|done| progress.set(done), stop.flag())?;
    Ok(JsonTorrent {
        announce: args.announce.clone(),
        port: args.port,
        comment: args.output.comment.clone().unwrap_or_default(),
        file_name: plan.name().to_owned(),
        geometry,
        piece_hashes,
        warnings: Vec::new(),
    })
}

/// Whether the torrent at a path describes the same file.
fn names_same_file(path: &Path, torrent: &JsonTorrent) -> bool {
    matches!(torrent_file::read_any(path), Ok(Torrent::Json(existing))
        if existing.identity() == torrent.identity() && existing.file_name == torrent.file_name)
}

fn report_created(out: &Path, torrent: &JsonTorrent, report: &Report) {
    let geometry = &torrent.geometry;
    let pieces = if geometry.pieces() == 1 { "piece" } else { "pieces" };
    let tracker = Address { host: torrent.announce.clone(), port: torrent.port };
    report.note(format_args!(
        "{}: {} in {} {pieces}, tracker {tracker}",
        out.display(),
        Size(geometry.total()),
        geometry.pieces()
    ));
    report.event(&Event::Complete {
        path: &out.to_string_lossy(),
        bytes: geometry.total(),
        seconds: report.seconds(),
        resumed_bytes: 0,
        from: BTreeMap::new(),
    });
}

/// Runs the tracker until the run is to stop.
async fn run_tracker(args: &JsonTrackerArgs, report: &Report) -> Result<Exit, Failure> {
    let stop = StopSignal::listen(report)?;
    let service = JsonTrackerService::new(JsonLimits::default());
    let tracker = JsonTracker::bind(args.bind(), args.port(), service)?;
    report.event(&Event::Ready { ticket: None, magnet: None, torrent: None, port: tracker.port() });
    if !report.is_json() {
        report.out(advertised_address(args.bind(), tracker.port()));
    }
    report.note("tracker for one JSON torrent; Ctrl-C ends it");
    let mut ticks = interval(REPORT_INTERVAL);
    let (mut reported, mut log) = (BTreeSet::new(), ChangeLog::default());
    loop {
        let is_last = tokio::select! {
            _ = ticks.tick() => false,
            () = stop.requested() => true,
        };
        let peers: BTreeSet<_> = tracker.service().peers().into_iter().collect();
        let summary = || format!("{} peers", peers.len());
        let lines = log.lines(Instant::now(), changes(&reported, &peers), summary);
        lines.iter().for_each(|line| report.note(line));
        reported = peers;
        if is_last {
            return Ok(Exit::Interrupted);
        }
    }
}

/// A line for each peer that joined or left.
fn changes(before: &BTreeSet<SocketAddr>, now: &BTreeSet<SocketAddr>) -> Vec<String> {
    let joined = now.difference(before).map(|peer| format!("{peer} joined"));
    let left = before.difference(now).map(|peer| format!("{peer} left"));
    let count = if now.len() == 1 { "1 peer".to_owned() } else { format!("{} peers", now.len()) };
    joined.chain(left).map(|line| format!("{line}; {count}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_are_reported() {
        let peers = |ports: &[u16]| {
            ports
                .iter()
                .map(|port| SocketAddr::from(([10, 0, 0, 1], *port)))
                .collect::<BTreeSet<_>>()
        };
        assert!(changes(&peers(&[1, 2]), &peers(&[1, 2])).is_empty());
        assert_eq!(
            changes(&peers(&[1, 2]), &peers(&[2, 3])),
            ["10.0.0.1:3 joined; 2 peers", "10.0.0.1:1 left; 2 peers"]
        );
        assert_eq!(changes(&peers(&[1, 2]), &peers(&[2])), ["10.0.0.1:1 left; 1 peer"]);
    }
}
