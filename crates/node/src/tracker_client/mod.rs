//! Announces to trackers over HTTP, HTTPS, UDP and `json-torrent`. When to announce, and what to do
//! with the answer, is the engine's decision.

mod http;
mod json;
mod udp;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use reqwest::Url;
use sow_content::InfoHash;
use sow_engine::{Announce, AnnounceError, AnnounceReply};
use sow_wire::{
    bittorrent::PeerId,
    tracker::{AnnounceRequest, AnnounceResponse},
    tracker_udp::Connection,
};
use tokio::{
    net::lookup_host,
    task::JoinSet,
    time::{Instant, timeout_at},
};

use crate::clock::Clock;

/// The maximum number of trackers whose state is kept. A torrent may name any number.
const MAX_REMEMBERED_TRACKERS: usize = 64;

/// The maximum number of peers in an answer whose names are looked up.
const MAX_NAMED_PEERS: usize = 16;

/// The time limit for the look-up of the names of peers.
const PEER_LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a tracker is not asked.
const SERVICE_PORT: &str = "a port that belongs to another service";

/// What every announce of a swarm says about this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnnounceIdentity {
    /// The swarm's info-hash.
    pub info_hash: InfoHash,
    /// Our peer id in it.
    pub peer_id: PeerId,
    /// The port that we listen on; 0 if peers cannot connect to us.
    pub port: u16,
    /// Identifies this node if its address changes (BEP 7): random, and the same for the life of
    /// the process.
    pub key: u32,
}

/// Announces, and keeps for each tracker what the next announce must repeat.
#[derive(Debug)]
pub struct TrackerClient {
    /// Trackers list the address that they see, so it must be the one that we listen on.
    bind: Option<IpAddr>,
    clock: Clock,
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    rng: fastrand::Rng,
    /// The connection ids of UDP trackers. They are valid for a minute.
    connections: BTreeMap<SocketAddr, Connection>,
    /// The `tracker id` of HTTP trackers, by URL.
    tracker_ids: BTreeMap<String, Vec<u8>>,
    /// The last warning of each tracker, by URL.
    warnings: BTreeMap<String, String>,
    /// The trackers that the user typed, which may be anywhere.
    typed: BTreeSet<String>,
}

impl TrackerClient {
    /// A client that connects from `bind`, or from the address that the system chooses.
    pub fn new(bind: Option<IpAddr>) -> Self {
        Self { bind, clock: Clock::new(), memory: Mutex::default() }
    }

    /// Takes note of the URL of a tracker that the user typed. One that a torrent or a link names
    /// is restricted: see [`Purpose`](crate::Purpose).
    pub fn trust(&self, url: &str) {
        self.with_memory(|memory| {
            if memory.typed.len() < MAX_REMEMBERED_TRACKERS {
                memory.typed.insert(url.to_owned());
            }
        });
    }

    fn is_typed(&self, url: &str) -> bool {
        self.with_memory(|memory| memory.typed.contains(url))
    }

    /// Announces to one tracker and waits for its answer: at most 10 s over HTTP, and 16 s for each
    /// half of an exchange over UDP.
    ///
    /// # Errors
    /// When the tracker refused, or was not reached.
    pub async fn announce(
        &self,
        url: &str,
        identity: &AnnounceIdentity,
        announce: &Announce,
    ) -> Result<AnnounceReply, AnnounceError> {
        let parsed: Url = url.parse().map_err(|_| AnnounceError::InvalidUrl)?;
        let request = request(identity, announce);
        let (response, from) = match parsed.scheme() {
            "http" | "https" => self.announce_http(&parsed, url, request).await?,
            "json-torrent" => {
                if !self.is_typed(url) && parsed.port().is_some_and(|port| port < 1024) {
                    return Err(AnnounceError::Forbidden(SERVICE_PORT));
                }
                return json::announce(&parsed, self.bind, identity, announce).await;
            }
            "udp" => self.announce_udp(&parsed, url, request).await?,
            other => return Err(AnnounceError::UnsupportedScheme(excerpt(other))),
        };
        let named = resolve_peers(&response.named_peers).await;
        let mut reply = reply(response, named, from);
        reply.warning = reply.warning.filter(|warning| self.is_new_warning(url, warning));
        Ok(reply)
    }

    /// Whether a tracker did not give the same warning last time.
    fn is_new_warning(&self, url: &str, warning: &str) -> bool {
        self.with_memory(|memory| {
            let is_new = memory.warnings.get(url).is_none_or(|last| last != warning);
            if is_new {
                remember(&mut memory.warnings, url.to_owned(), warning.to_owned());
            }
            is_new
        })
    }

    fn with_memory<T>(&self, with: impl FnOnce(&mut Memory) -> T) -> T {
        with(&mut self.memory.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The error of a system call or a library on the way to a tracker.
fn unreachable(error: impl ToString) -> AnnounceError {
    AnnounceError::Unreachable(error.to_string())
}

/// Adds an entry. If there are too many, another one is removed.
fn remember<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: V) {
    if map.len() >= MAX_REMEMBERED_TRACKERS && !map.contains_key(&key) {
        map.pop_first();
    }
    map.insert(key, value);
}

fn request(identity: &AnnounceIdentity, announce: &Announce) -> AnnounceRequest {
    AnnounceRequest {
        info_hash: identity.info_hash,
        peer_id: identity.peer_id,
        port: identity.port,
        uploaded: announce.uploaded,
        downloaded: announce.downloaded,
        left: announce.left,
        event: announce.event,
        numwant: Some(announce.numwant),
        key: identity.key,
    }
}

/// The addresses of peers that a tracker lists by name: the first one of each family, of those
/// that are found in time.
async fn resolve_peers(peers: &[(String, u16)]) -> Vec<SocketAddr> {
    let mut lookups = JoinSet::new();
    for (name, port) in peers.iter().take(MAX_NAMED_PEERS).cloned() {
        lookups.spawn(async move {
            let found: Vec<SocketAddr> = lookup_host((name, port)).await.ok()?.collect();
            let of_family = |is_ipv4| found.iter().find(|addr| addr.is_ipv4() == is_ipv4).copied();
            Some([of_family(true), of_family(false)])
        });
    }
    let mut addrs = Vec::new();
    let until = Instant::now() + PEER_LOOKUP_TIMEOUT;
    while let Ok(Some(found)) = timeout_at(until, lookups.join_next()).await {
        addrs.extend(found.ok().flatten().into_iter().flatten().flatten());
    }
    addrs.sort_unstable();
    addrs
}

/// The beginning of a text from a torrent, in a line of its own.
fn excerpt(text: &str) -> String {
    text.chars().take(20).collect()
}

fn reply(response: AnnounceResponse, named: Vec<SocketAddr>, from: SocketAddr) -> AnnounceReply {
    let peers = response.peers.into_iter().map(|peer| peer.addr).chain(named);
    AnnounceReply {
        from: Some(from),
        interval: response.interval,
        min_interval: response.min_interval,
        peers: peers.collect(),
        complete: response.complete,
        incomplete: response.incomplete,
        warning: response.warning,
    }
}
