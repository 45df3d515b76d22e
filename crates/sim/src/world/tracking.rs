//! The tracker of a world: the product's own registry, asked at the simulated time.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use sow_content::InfoHash;
use sow_engine::{Announce, AnnounceReply, Time};
use sow_tracker::{Announcer, Limits, Mode, Registry};
use sow_wire::{bittorrent::PeerId, tracker::AnnounceRequest};

/// The interval of an answer without one.
const RETRY_INTERVAL: Duration = Duration::from_secs(30);

/// The registry of the simulated tracker.
#[derive(Debug)]
pub(crate) struct Tracker {
    registry: Registry,
    info_hash: InfoHash,
    rng: fastrand::Rng,
}

impl Tracker {
    pub(crate) fn new(info_hash: InfoHash, seed: u64) -> Self {
        let mode = Mode::Only([info_hash].into());
        let rng = fastrand::Rng::with_seed(seed);
        Self { registry: Registry::new(mode, Limits::default()), info_hash, rng }
    }

    /// Answers the announce of a host.
    pub(crate) fn announce(
        &mut self,
        now: Time,
        addr: SocketAddr,
        peer_id: PeerId,
        announce: &Announce,
    ) -> AnnounceReply {
        let request = AnnounceRequest {
            info_hash: self.info_hash,
            peer_id,
            port: addr.port(),
            uploaded: announce.uploaded,
            downloaded: announce.downloaded,
            left: announce.left,
            event: announce.event,
            numwant: Some(announce.numwant),
            key: 0,
        };
        let announcer =
            Announcer { address: addr.ip(), reached: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)) };
        let now = Duration::from_micros(now.0);
        let answer = self.registry.announce(now, announcer, &request, &mut self.rng).ok();
        let reply = answer.map(|answer| AnnounceReply {
            from: None,
            interval: answer.interval,
            min_interval: answer.min_interval,
            peers: answer.peers.iter().map(|peer| peer.addr).collect(),
            complete: answer.complete,
            incomplete: answer.incomplete,
            warning: None,
        });
        reply.unwrap_or(AnnounceReply {
            from: None,
            interval: RETRY_INTERVAL,
            min_interval: None,
            peers: Vec::new(),
            complete: None,
            incomplete: None,
            warning: None,
        })
    }
}
