//! `sow tracker`: a tracker of its own, for any torrent.

use std::{collections::BTreeMap, time::Duration};

use sow_content::InfoHash;
use sow_node::{Node, NodeOptions, TrackerService};
use sow_tracker::{Limits, Mode, SwarmReport};
use tokio::time::interval;

use crate::{
    args::tracker::TrackerArgs,
    exit::{Exit, Failure},
    reach,
    report::{Event, Report},
    stop::Stop,
};

/// How often to look for something new to say.
const LOOK: Duration = Duration::from_secs(1);

/// Runs until it is stopped.
///
/// # Errors
/// When the port is not to be had.
pub(crate) async fn run(args: TrackerArgs, report: &Report) -> Result<Exit, Failure> {
    let stop = Stop::listen(report)?;
    let node =
        Node::bind(NodeOptions { bind: args.bind, port: args.port, ..NodeOptions::default() })?;
    let tracker = TrackerService::new(Mode::Open, Limits::default());
    node.serve_http(tracker.router());
    let announce = format!("http://{}/announce", reach::address_of(args.bind, node.port()));
    report.event(&Event::Ready { ticket: None, magnet: None, torrent: None, port: node.port() });
    if !report.is_json() {
        report.out(&announce);
    }
    report.note("tracker for any torrent; Ctrl-C ends it");
    let mut looks = interval(LOOK);
    let mut told = BTreeMap::new();
    loop {
        let is_last = tokio::select! {
            _ = looks.tick() => false,
            () = stop.asked() => true,
        };
        news(&mut told, tracker.swarms()).iter().for_each(|line| report.note(line));
        if is_last {
            return Ok(Exit::Interrupted);
        }
    }
}

/// A line for each swarm that is not as it was told of last.
fn news(told: &mut BTreeMap<InfoHash, SwarmReport>, swarms: Vec<SwarmReport>) -> Vec<String> {
    let mut lines = Vec::new();
    told.retain(|hash, _| {
        let stays = swarms.iter().any(|swarm| swarm.info_hash == *hash);
        if !stays {
            lines.push(format!("{hash}: nobody any more"));
        }
        stays
    });
    for swarm in swarms {
        let counts = |swarm: &SwarmReport| (swarm.seeds, swarm.leechers, swarm.completed);
        if told.get(&swarm.info_hash).is_none_or(|before| counts(before) != counts(&swarm)) {
            lines.push(format!(
                "{}: {} with everything, {} fetching, {} completed so far",
                swarm.info_hash, swarm.seeds, swarm.leechers, swarm.completed
            ));
            told.insert(swarm.info_hash, swarm);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn swarm(seeds: usize, leechers: usize) -> SwarmReport {
        SwarmReport { info_hash: InfoHash([0; 20]), seeds, leechers, completed: 0, joined: 9 }
    }

    #[test]
    fn only_what_changed_is_told() {
        let mut told = BTreeMap::new();
        assert_eq!(news(&mut told, vec![swarm(1, 0)]).len(), 1);
        assert_eq!(news(&mut told, vec![swarm(1, 0)]).len(), 0);
        let lines = news(&mut told, vec![swarm(1, 2)]);
        assert!(
            lines[0].ends_with("1 with everything, 2 fetching, 0 completed so far"),
            "{lines:?}"
        );
        assert!(news(&mut told, vec![])[0].ends_with("nobody any more"));
        assert!(told.is_empty());
    }
}
