//! How many connections of each kind a node holds: what the settings say, as far as the process's
//! limit of open files allows. ARCHITECTURE.md has a table of them.

use rustix::process::{Resource, getrlimit};

/// Connections that have not shown yet what they want.
const MAX_PENDING: usize = 1024;

/// Descriptors for everything but connections: the runtime, files, trackers.
const OTHER_DESCRIPTORS: usize = 64;

/// The limits of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PlaceLimits {
    /// Connections of peers, over all swarms.
    pub(crate) peers: usize,
    /// Connections that have not shown yet what they want.
    pub(crate) pending: usize,
}

impl PlaceLimits {
    /// The limits under the limit of open files that this process has now.
    pub(crate) fn of_this_process(max_peers: usize) -> Self {
        let open_files = getrlimit(Resource::Nofile).current;
        let open_files = open_files.and_then(|limit| usize::try_from(limit).ok());
        Self::new(max_peers, open_files.unwrap_or(usize::MAX))
    }

    /// A third of the descriptors is for peers, a quarter for pending connections; the rest is for
    /// HTTP, client/server and files.
    fn new(max_peers: usize, open_files: usize) -> Self {
        let available = open_files.saturating_sub(OTHER_DESCRIPTORS);
        Self {
            peers: max_peers.min((available / 3).max(1)),
            pending: MAX_PENDING.min((available / 4).max(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use sow_engine::{Config, MESSAGE_BURST, MESSAGES_PER_SECOND};
    use sow_wire::bittorrent::PeerId;

    use super::*;
    use crate::{
        connection::{CONNECTION_MEMORY, block_reader::MAX_BATCH, slab_pool::LARGEST_SLAB},
        context::MAX_HALF_OPEN,
        options::NodeOptions,
        pending::CROWDED_TIMEOUT,
        swarm::events::QUEUE_CAPACITY,
    };

    /// The rows of the table in ARCHITECTURE.md: what, the limit, the memory.
    fn documented() -> BTreeMap<String, (u64, String)> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../ARCHITECTURE.md");
        let text = std::fs::read_to_string(path).unwrap();
        let (_, rest) = text.split_once("\n## Limits").expect("the section");
        let section = rest.split("\n#").next().unwrap();
        let rows = section.lines().filter_map(|line| {
            let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
            let (what, limit, memory) = (cells.next()?, cells.next()?, cells.next()?);
            let limit = limit.replace(',', "").parse().ok()?;
            Some((what.to_owned(), (limit, memory.to_owned())))
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
            assert_eq!(row.0, limit, "{what}");
        }
        let memory = |what: &str| documented[what].1.replace(',', "");
        let kib = |bytes: usize| format!("{} KiB", bytes / 1024);
        assert_eq!(memory("peers of a swarm"), kib(CONNECTION_MEMORY));
        assert_eq!(memory("peers of a node, in all swarms"), kib(CONNECTION_MEMORY));
        assert_eq!(memory("events that wait for a swarm"), kib(LARGEST_SLAB));
    }

    #[test]
    fn places_fit_into_the_limit_of_open_files() {
        let limits = |open_files| {
            let PlaceLimits { peers, pending } = PlaceLimits::new(400, open_files);
            (peers, pending)
        };
        assert_eq!(limits(usize::MAX), (400, 1024));
        assert_eq!(limits(1024), (320, 240));
        assert_eq!(limits(256), (64, 48));
        assert_eq!(limits(0), (1, 1));
    }
}
