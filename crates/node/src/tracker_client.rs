//! Announces to trackers over HTTP, HTTPS and UDP, and to document 2's, and nothing else: when to
//! announce and what to do with the answer is the engine's to decide.

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

/// How many trackers are remembered. A torrent may name any number.
const MAX_REMEMBERED: usize = 64;

/// Who announces, to every tracker the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnnounceIdentity {
    /// The swarm.
    pub info_hash: InfoHash,
    /// Our name in it.
    pub peer_id: PeerId,
    /// Where we listen; 0 when we cannot be called.
    pub port: u16,
    /// What tells us from another one should our address change: random, the same as long as we
    /// run.
    pub key: u32,
}

/// Announces, and remembers for each tracker what it wants to be told again.
#[derive(Debug)]
pub struct TrackerClient {
    /// Trackers take the address that they see: it must be the one that we listen on.
    bind: Option<IpAddr>,
    clock: Clock,
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    rng: fastrand::Rng,
    /// Connection ids of UDP trackers, which are good for a minute.
    connections: BTreeMap<SocketAddr, Connection>,
    /// `tracker id` of HTTP trackers, by URL.
    tracker_ids: BTreeMap<String, Vec<u8>>,
}

impl TrackerClient {
    /// A client that calls from `bind`, or from whatever address the system chooses.
    pub fn new(bind: Option<IpAddr>) -> Self {
        Self { bind, clock: Clock::new(), memory: Mutex::default() }
    }

    /// Announces to one tracker and waits for its answer: 10 s over HTTP, 16 s for each half of an
    /// exchange over UDP.
    ///
    /// # Errors
    /// The failure reason of the tracker, or why it was not reached.
    pub async fn announce(
        &self,
        url: &str,
        announcer: &AnnounceIdentity,
        announce: &Announce,
    ) -> Result<AnnounceReply, AnnounceError> {
        let parsed: Url = url.parse().map_err(|_| AnnounceError::InvalidUrl)?;
        let request = request(announcer, announce);
        let response = match parsed.scheme() {
            "http" | "https" => self.announce_http(&parsed, url, request).await?,
            "json-torrent" => return json::announce(&parsed, self.bind, announcer, announce).await,
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

/// A failure of the system or of a library on the way to a tracker.
fn unreachable(error: impl ToString) -> AnnounceError {
    AnnounceError::Unreachable(error.to_string())
}

/// Adds an entry, in the place of any other when there are too many.
fn remember<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: V) {
    if map.len() >= MAX_REMEMBERED && !map.contains_key(&key) {
        map.pop_first();
    }
    map.insert(key, value);
}

fn request(announcer: &AnnounceIdentity, announce: &Announce) -> AnnounceRequest {
    AnnounceRequest {
        info_hash: announcer.info_hash,
        peer_id: announcer.peer_id,
        port: announcer.port,
        uploaded: announce.uploaded,
        downloaded: announce.downloaded,
        left: announce.left,
        event: announce.event,
        numwant: Some(announce.numwant),
        key: announcer.key,
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
