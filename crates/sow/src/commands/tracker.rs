//! `sow tracker`: a tracker for any torrent, without a peer.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use sow_content::InfoHash;
use sow_node::{Node, NodeOptions, TrackerService};
use sow_tracker::{Limits, Mode, SwarmReport};
use tokio::time::interval;

use crate::{
    advertised_address::advertised_address,
    args::tracker::TrackerArgs,
    change_log::ChangeLog,
    exit::{Exit, Failure},
    report::{Event, Report},
    stop_signal::StopSignal,
};

/// The interval at which the tracker reports changes.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Runs until the run is to stop.
///
/// # Errors
/// When the port is unavailable.
pub(crate) async fn run(args: TrackerArgs, report: &Report) -> Result<Exit, Failure> {
    let stop = StopSignal::listen(report)?;
    let node =
        Node::bind(NodeOptions { bind: args.bind(), port: args.port(), ..NodeOptions::default() })?;
    let tracker = TrackerService::new(Mode::Open, Limits::default());
    node.serve_http(tracker.router());
    let address = advertised_address(args.bind(), node.port());
    report.event(&Event::Ready { ticket: None, magnet: None, torrent: None, port: node.port() });
    if !report.is_json() {
        report.out(format_args!("http://{address}/announce"));
    }
    report.note("tracker for any torrent; Ctrl-C ends it");
    let mut ticks = interval(REPORT_INTERVAL);
    let (mut reported, mut log) = (BTreeMap::new(), ChangeLog::default());
    loop {
        let is_last = tokio::select! {
            _ = ticks.tick() => false,
            () = stop.requested() => true,
        };
        let changes = changes(&mut reported, tracker.swarms());
        let summary = || totals(&reported);
        log.lines(Instant::now(), changes, summary).iter().for_each(|line| report.note(line));
        if is_last {
            return Ok(Exit::Interrupted);
        }
    }
}

/// A line for each swarm that differs from its last report.
fn changes(
    reported: &mut BTreeMap<InfoHash, SwarmReport>,
    swarms: Vec<SwarmReport>,
) -> Vec<String> {
    let mut lines = Vec::new();
    let existing: BTreeSet<_> = swarms.iter().map(|swarm| swarm.info_hash).collect();
    reported.retain(|hash, _| {
        let exists = existing.contains(hash);
        if !exists {
            lines.push(format!("{hash}: no peers"));
        }
        exists
    });
    for swarm in swarms {
        let counts = |swarm: &SwarmReport| (swarm.seeds, swarm.leechers, swarm.completed);
        if reported.get(&swarm.info_hash).is_none_or(|before| counts(before) != counts(&swarm)) {
            lines.push(format!(
                "{}: seeds {}, leechers {}, completed {}",
                swarm.info_hash, swarm.seeds, swarm.leechers, swarm.completed
            ));
            reported.insert(swarm.info_hash, swarm);
        }
    }
    lines
}

/// All swarms in one line.
fn totals(swarms: &BTreeMap<InfoHash, SwarmReport>) -> String {
    let sum = |count: fn(&SwarmReport) -> usize| swarms.values().map(count).sum::<usize>();
    let (seeds, leechers) = (sum(|swarm| swarm.seeds), sum(|swarm| swarm.leechers));
    format!("{} torrents, seeds {seeds}, leechers {leechers}", swarms.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn swarm(seeds: usize, leechers: usize) -> SwarmReport {
        SwarmReport { info_hash: InfoHash([0; 20]), seeds, leechers, completed: 0, joined: 9 }
    }

    #[test]
    fn only_changes_are_reported() {
        let mut reported = BTreeMap::new();
        assert_eq!(changes(&mut reported, vec![swarm(1, 0)]).len(), 1);
        assert_eq!(changes(&mut reported, vec![swarm(1, 0)]).len(), 0);
        let lines = changes(&mut reported, vec![swarm(1, 2)]);
        assert!(lines[0].ends_with("seeds 1, leechers 2, completed 0"), "{lines:?}");
        assert!(changes(&mut reported, vec![])[0].ends_with("no peers"));
        assert!(reported.is_empty());
    }
}
