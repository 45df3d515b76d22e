//! How many connections of each kind a process holds: what the settings say, as far as its limit of
//! open files allows. ARCHITECTURE.md has a table of them.

use rustix::process::{Resource, getrlimit};
use sow_engine::client_server::AdmissionLimits;

/// Connections that have not shown yet what they want.
const MAX_PENDING: usize = 1024;

/// HTTP connections. Above it a newcomer replaces another one.
pub(crate) const MAX_HTTP: usize = 512;

/// Connections of a `json-torrent` tracker with a port of its own. Above it a newcomer replaces the
/// oldest one of the network that has the most.
pub(crate) const MAX_JSON_TRACKER: usize = 1024;

/// Descriptors for everything but connections: the runtime, files, trackers.
const OTHER_DESCRIPTORS: usize = 64;

/// The limits of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PlaceLimits {
    /// Connections of peers, over all swarms.
    pub(crate) peers: usize,
    /// Connections that have not shown yet what they want.
    pub(crate) pending: usize,
    /// HTTP connections.
    pub(crate) http: usize,
}

impl PlaceLimits {
    /// The limits under the limit of open files that this process has now.
    pub(crate) fn of_this_process(max_peers: usize) -> Self {
        Self::new(max_peers, available_descriptors())
    }

    /// A third of the descriptors is for peers, an eighth each for pending connections and for
    /// HTTP. The store keeps up to a quarter of them; the rest is for client/server.
    fn new(max_peers: usize, available: usize) -> Self {
        let at_most = |limit: usize, part: usize| limit.min((available / part).max(1));
        Self {
            peers: at_most(max_peers, 3),
            pending: at_most(MAX_PENDING, 8),
            http: at_most(MAX_HTTP, 8),
        }
    }
}

/// How many clients of `raw` or `framed` a server takes under the limit of open files: an eighth of
/// the descriptors for those that are served, a sixteenth for those that wait.
pub(crate) fn admission(limits: AdmissionLimits) -> AdmissionLimits {
    admission_within(limits, available_descriptors())
}

fn admission_within(limits: AdmissionLimits, available: usize) -> AdmissionLimits {
    AdmissionLimits {
        served: limits.served.min((available / 8).max(1)),
        waiting: limits.waiting.min((available / 16).max(1)),
    }
}

/// The connections of a `json-torrent` tracker with a port of its own: half of the descriptors.
pub(crate) fn json_tracker() -> usize {
    MAX_JSON_TRACKER.min((available_descriptors() / 2).max(1))
}

fn available_descriptors() -> usize {
    let open_files = getrlimit(Resource::Nofile).current;
    let open_files = open_files.and_then(|limit| usize::try_from(limit).ok());
    open_files.unwrap_or(usize::MAX).saturating_sub(OTHER_DESCRIPTORS)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use sow_engine::{Config, MESSAGE_BURST, MESSAGES_PER_SECOND};
    use sow_wire::bittorrent::PeerId;

    use super::*;
    use crate::{
        connection::{
            CONNECTION_MEMORY, block_reader::MAX_BATCH, pace::MEASURED_BYTES,
            slab_pool::LARGEST_SLAB,
        },
        context::MAX_HALF_OPEN,
        http::{
            connection::{
                CONNECTION_TIMEOUT, MAX_HEAD_SIZE, SLOW_CHECKS, WRITE_CHECK_INTERVAL, WRITE_TIMEOUT,
            },
            content::{MAX_DOWNLOADS, MAX_DOWNLOADS_PER_NETWORK},
            protection::{MAX_REQUESTS, MAX_REQUESTS_PER_SECOND},
            stream::SEND_BUFFER,
        },
        options::NodeOptions,
        pending::CROWDED_TIMEOUT,
        swarm::events::QUEUE_CAPACITY,
    };

    /// The rows of the table in ARCHITECTURE.md: what, the limit, the memory.
    fn documented() -> BTreeMap<String, (String, String)> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../ARCHITECTURE.md");
        let text = std::fs::read_to_string(path).unwrap();
        let (_, rest) = text.split_once("\n## Limits").expect("the section");
        let section = rest.split("\n#").next().unwrap();
        let rows = section.lines().filter_map(|line| {
            let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
            let (what, limit, memory) = (cells.next()?, cells.next()?, cells.next()?);
            Some((what.to_owned(), (limit.replace(',', ""), memory.replace(',', ""))))
        });
        rows.collect()
    }

    #[test]
    fn the_documented_limits_are_those_of_the_code() {
        let config = Config::new(PeerId([0; 20]), 1, 1);
        let options = NodeOptions::default();
        let seconds = |time: Duration| time.as_secs();
        let limits: [(&str, u64); 12] = [
            ("peers of a swarm", config.max_peers as u64),
            ("peers of a node, in all swarms", options.max_connections as u64),
            (
                "places of a swarm kept for dialing, while something is missing",
                config.places_kept_for_dialing() as u64,
            ),
            (
                "pending connections: accepted, and it is not known what they want",
                MAX_PENDING as u64,
            ),
            ("dials at a time, of a node", MAX_HALF_OPEN as u64),
            ("events that wait for a swarm", QUEUE_CAPACITY as u64),
            ("messages of one peer that are handled at a time", MAX_BATCH as u64),
            ("requests of one peer that wait", sow_engine::MAX_QUEUED_REQUESTS as u64),
            ("message units of a connection: at once", MESSAGE_BURST.into()),
            ("message units of a connection: per second", MESSAGES_PER_SECOND.into()),
            (
                "seconds for a handshake, or for the head of the first HTTP request",
                seconds(options.timeouts.handshake),
            ),
            ("seconds for it while half of the pending places are taken", seconds(CROWDED_TIMEOUT)),
        ];
        let documented = documented();
        for (what, limit) in limits {
            let row = documented.get(what).unwrap_or_else(|| panic!("no row for {what:?}"));
            assert_eq!(row.0, limit.to_string(), "{what}");
        }
        let memory = |what: &str| documented[what].1.clone();
        let kib = |bytes: usize| format!("{} KiB", bytes / 1024);
        assert_eq!(memory("peers of a swarm"), kib(CONNECTION_MEMORY));
        assert_eq!(memory("peers of a node, in all swarms"), kib(CONNECTION_MEMORY));
        assert_eq!(memory("events that wait for a swarm"), kib(LARGEST_SLAB));
    }

    #[test]
    fn the_documented_limits_of_http_are_those_of_the_code() {
        let seconds = |time: Duration| format!("{} s", time.as_secs());
        let head_time = seconds(NodeOptions::default().timeouts.handshake);
        let clients = AdmissionLimits::default();
        let documented = documented();
        for (what, expected) in [
            ("HTTP connections", format!("{MAX_HTTP}; a newcomer replaces")),
            ("head of a request", format!("{} KiB {head_time};", MAX_HEAD_SIZE / 1024)),
            (
                "requests on a connection",
                format!("{MAX_REQUESTS} and {}", seconds(CONNECTION_TIMEOUT)),
            ),
            (
                "downloads of a content over HTTP",
                format!("{MAX_DOWNLOADS} {MAX_DOWNLOADS_PER_NETWORK} of one network;"),
            ),
            (
                "a download that takes less than",
                format!(
                    "{} KiB in {} makes room",
                    MEASURED_BYTES / 1024,
                    seconds(WRITE_CHECK_INTERVAL * SLOW_CHECKS as u32)
                ),
            ),
            ("HTTP requests of a node", format!("{MAX_REQUESTS_PER_SECOND} a second;")),
            ("an answer that the client does not take", format!("{};", seconds(WRITE_TIMEOUT))),
            (
                "clients of `raw` and `framed`",
                format!("{} served {} waiting;", clients.served, clients.waiting),
            ),
            ("a `json-torrent` tracker", format!(" {MAX_JSON_TRACKER} connections")),
        ] {
            let row = documented.get(what).unwrap_or_else(|| panic!("no row for {what:?}"));
            assert!(row.0.contains(&expected), "{what}: {} {expected}", row.0);
        }
        // The kernel doubles what it is asked for.
        let kernel = format!("{} KiB in the kernel", 2 * SEND_BUFFER / 1024);
        assert!(documented["HTTP connections"].1.contains(&kernel));
    }

    #[test]
    fn places_fit_into_the_limit_of_open_files() {
        let limits = |available| {
            let PlaceLimits { peers, pending, http } = PlaceLimits::new(400, available);
            (peers, pending, http)
        };
        assert_eq!(limits(usize::MAX), (400, 1024, 512));
        assert_eq!(limits(960), (320, 120, 120));
        assert_eq!(limits(192), (64, 24, 24));
        assert_eq!(limits(0), (1, 1, 1));
        let clients = |available| {
            let limits = admission_within(AdmissionLimits::default(), available);
            (limits.served, limits.waiting)
        };
        assert_eq!(clients(usize::MAX), (256, 1024));
        assert_eq!(clients(960), (120, 60));
        assert_eq!(clients(0), (1, 1));
    }
}
