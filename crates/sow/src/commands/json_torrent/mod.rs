//! `sow json-torrent create|tracker|peer`.

mod peer;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
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
    args::json_torrent::{JsonCreateArgs, JsonTorrentCommand, JsonTrackerArgs},
    client_config::ClientConfig,
    exit::{Exit, Failure},
    hashing::Progress,
    quantity::Size,
    reach,
    report::{Event, Report},
    stop::Stop,
    torrent_file::{self, Torrent},
};

/// How often the tracker looks for something new to say.
const LOOK: Duration = Duration::from_secs(1);

/// Runs one of the commands.
///
/// # Errors
/// As each of them says it.
pub(crate) async fn run(command: JsonTorrentCommand, report: &Report) -> Result<Exit, Failure> {
    match command {
        JsonTorrentCommand::Create(args) => {
            let stop = Stop::listen(report)?;
            let report = report.clone();
            crate::blocking(move || create(args, &report, &stop)).await
        }
        JsonTorrentCommand::Tracker(args) => track(&args, report).await,
        JsonTorrentCommand::Peer(args) => {
            let config = ClientConfig::load(args.config.as_deref())?;
            config.warnings.iter().for_each(|warning| report.warn(warning));
            peer::run(args.plan(&config)?, report).await
        }
    }
}

fn create(args: JsonCreateArgs, report: &Report, stop: &Stop) -> Result<Exit, Failure> {
    let to_stdout = args.out.as_deref() == Some(Path::new("-"));
    if to_stdout && report.is_json() {
        return Err(Failure::usage("--json and -o - both want standard output")
            .tip("write to a file, or leave --json away"));
    }
    if args.comment.len() > MAX_COMMENT {
        return Err(Failure::usage(format!("a comment has at most {}", Size(MAX_COMMENT as u64))));
    }
    let torrent = describe(&args, report, stop)?;
    let bytes = torrent.encode(args.hashes.into());
    if bytes.len() > MAX_JSON_TORRENT {
        return Err(Failure::usage(format!(
            "a torrent of {}, which nobody would read; {} is the most",
            Size(bytes.len() as u64),
            Size(MAX_JSON_TORRENT as u64)
        ))
        .tip("choose longer pieces with --piece-length"));
    }
    if to_stdout {
        let mut stdout = std::io::stdout().lock();
        return match stdout.write_all(&bytes).and_then(|()| stdout.flush()) {
            Ok(()) => Ok(Exit::Done),
            Err(error) => {
                Err(Failure::new(Exit::Failed, format!("cannot write to standard output: {error}")))
            }
        };
    }
    let out = args.out.unwrap_or_else(|| PathBuf::from(format!("{}.torrent", torrent.file_name)));
    torrent_file::put(&out, &bytes, args.overwrite || names_the_same(&out, &torrent))?;
    tell(&out, &torrent, report);
    Ok(Exit::Done)
}

/// Hashes the file on all cores.
fn describe(args: &JsonCreateArgs, report: &Report, stop: &Stop) -> Result<JsonTorrent, Failure> {
    if args.file.is_dir() {
        return Err(Failure::new(
            Exit::Failed,
            format!("{} is a folder, and a JSON torrent names one file", args.file.display()),
        )
        .tip(format!("pack it into one file, or use sow send {}", args.file.display())));
    }
    let plan = scan(&args.file)?;
    let geometry = Geometry::new(plan.total(), args.piece_length.0).map_err(|error| {
        Failure::usage(format!("{}: {error}", args.file.display()))
            .tip("choose longer pieces with --piece-length")
    })?;
    let meter = Progress::start(report, format!("hashing {}", plan.name()), plan.total());
    let piece_hashes =
        hash_content(&plan, geometry.piece_length(), 0, &|done| meter.set(done), stop.flag())?;
    Ok(JsonTorrent {
        announce: args.announce.clone(),
        port: args.port,
        comment: args.comment.clone(),
        file_name: plan.name().to_owned(),
        geometry,
        piece_hashes,
    })
}

/// Whether a torrent is there already that names the same file.
fn names_the_same(path: &Path, torrent: &JsonTorrent) -> bool {
    matches!(torrent_file::read_any(path), Ok(Torrent::Json(there))
        if there.identity() == torrent.identity() && there.file_name == torrent.file_name)
}

fn tell(out: &Path, torrent: &JsonTorrent, report: &Report) {
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

/// Runs until it is stopped.
async fn track(args: &JsonTrackerArgs, report: &Report) -> Result<Exit, Failure> {
    let stop = Stop::listen(report)?;
    let service = JsonTrackerService::new(JsonLimits::default());
    let tracker = JsonTracker::bind(args.bind, args.port, service)?;
    report.event(&Event::Ready { ticket: None, magnet: None, torrent: None, port: tracker.port() });
    if !report.is_json() {
        report.out(reach::address_of(args.bind, tracker.port()));
    }
    report.note("tracker for one JSON torrent; Ctrl-C ends it");
    let mut looks = interval(LOOK);
    let mut told = BTreeSet::new();
    loop {
        let is_last = tokio::select! {
            _ = looks.tick() => false,
            () = stop.asked() => true,
        };
        let peers: BTreeSet<_> = tracker.service().peers().into_iter().collect();
        news(&told, &peers).iter().for_each(|line| report.note(line));
        told = peers;
        if is_last {
            return Ok(Exit::Interrupted);
        }
    }
}

/// A line for each peer that came or went.
fn news(before: &BTreeSet<SocketAddr>, now: &BTreeSet<SocketAddr>) -> Vec<String> {
    let came = now.difference(before).map(|peer| format!("{peer} is there"));
    let went = before.difference(now).map(|peer| format!("{peer} is gone"));
    let count = if now.len() == 1 { "1 peer".to_owned() } else { format!("{} peers", now.len()) };
    came.chain(went).map(|line| format!("{line}; {count}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changed_is_told() {
        let peers = |ports: &[u16]| {
            ports
                .iter()
                .map(|port| SocketAddr::from(([10, 0, 0, 1], *port)))
                .collect::<BTreeSet<_>>()
        };
        assert!(news(&peers(&[1, 2]), &peers(&[1, 2])).is_empty());
        assert_eq!(
            news(&peers(&[1, 2]), &peers(&[2, 3])),
            ["10.0.0.1:3 is there; 2 peers", "10.0.0.1:1 is gone; 2 peers"]
        );
        assert_eq!(news(&peers(&[1, 2]), &peers(&[2])), ["10.0.0.1:1 is gone; 1 peer"]);
    }
}
