//! Announces to trackers over HTTP, HTTPS, UDP and `json-torrent`. When to announce, and what to do
//! with the answer, is the engine's decision.

mod http;
mod json;
mod udp;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{Mutex, PoisonError},
};

use reqwest::Url;
use sow_content::InfoHash;
use sow_engine::{Announce, AnnounceError, AnnounceReply};
use sow_wire::{
    bittorrent::PeerId,
    tracker::{AnnounceRequest, AnnounceResponse},
    tracker_udp::Connection,
};

use crate::clock::Clock;

/// The maximum number of trackers whose state is kept. A torrent may name any number.
const MAX_REMEMBERED_TRACKERS: usize = 64;

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
}

impl TrackerClient {
    /// A client that connects from `bind`, or from the address that the system chooses.
    pub fn new(bind: Option<IpAddr>) -> Self {
        Self { bind, clock: Clock::new(), memory: Mutex::default() }
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
        let response = match parsed.scheme() {
            "http" | "https" => self.announce_http(&parsed, url, request).await?,
            "json-torrent" => return json::announce(&parsed, self.bind, identity, announce).await,
            "udp" => self.announce_udp(&parsed, request).await?,
            other => return Err(AnnounceError::UnsupportedScheme(other.to_owned())),
        };
        if let Some(warning) = &response.warning {
            tracing::warn!(tracker = parsed.host_str(), "{warning}");
        }
        Ok(reply(response))
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

fn reply(response: AnnounceResponse) -> AnnounceReply {
    AnnounceReply {
        interval: response.interval,
        peers: response.peers.into_iter().map(|peer| peer.addr).collect(),
        complete: response.complete,
        incomplete: response.incomplete,
    }
}
