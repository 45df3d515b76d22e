//! An announce to a `json-torrent` tracker. That protocol knows joining and leaving and nothing
//! else. Its `completed` event is leaving, so a peer that has everything and still serves does not
//! announce that.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use reqwest::Url;
use sow_engine::{Announce, AnnounceError, AnnounceEvent, AnnounceReply};
use sow_wire::json_torrent::tracker::{Event, Reply, Request};
use tokio::net::{UdpSocket, lookup_host};

use super::{AnnounceIdentity, unreachable};
use crate::json_tracker::announce_json;

/// The interval between announces, which the protocol does not name. The tracker drops a peer that
/// has not announced for half an hour.
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(30);

/// The port of a tracker if its URL names none.
const DEFAULT_PORT: u16 = 6666;

/// Announces to one tracker and waits for its answer.
///
/// # Errors
/// When the tracker refused, or was not reached.
pub(super) async fn announce(
    url: &Url,
    bind: Option<IpAddr>,
    identity: &AnnounceIdentity,
    announce: &Announce,
) -> Result<AnnounceReply, AnnounceError> {
    let host = url
        .host_str()
        .ok_or(AnnounceError::IncompleteUrl("host"))?
        .trim_matches(['[', ']'])
        .to_owned();
    let port = url.port().unwrap_or(DEFAULT_PORT);
    let event = match announce.event {
        AnnounceEvent::Stopped => Event::Completed,
        AnnounceEvent::Started | AnnounceEvent::Periodic | AnnounceEvent::Completed => {
            Event::Started
        }
    };
    let ours = match bind {
        Some(bind) => bind.to_canonical(),
        None => local_address_towards(&host, port)
            .await
            .ok_or_else(|| unreachable("no route to the tracker"))?,
    };
    // Some trackers identify peers by this id.
    let peer_id = SocketAddr::new(ours, identity.port).to_string();
    let request = Request { ip: Some(ours), port: identity.port, peer_id, event };
    // Where the name leads now: only a tracker on the loopback interface may name peers there.
    let from = lookup_host((host.as_str(), port)).await.ok().and_then(|mut found| found.next());
    match announce_json(&host, port, bind, &request).await? {
        Reply::Joined(peers) => Ok(AnnounceReply {
            from,
            interval: ANNOUNCE_INTERVAL,
            min_interval: None,
            peers,
            complete: None,
            incomplete: None,
            warning: None,
        }),
        Reply::Left => Ok(AnnounceReply {
            from,
            interval: ANNOUNCE_INTERVAL,
            min_interval: None,
            peers: Vec::new(),
            complete: None,
            incomplete: None,
            warning: None,
        }),
        Reply::Error(reason) => Err(AnnounceError::Refused(reason)),
    }
}

/// The address that connections to a host come from. Nothing is sent.
async fn local_address_towards(host: &str, port: u16) -> Option<IpAddr> {
    let addr = lookup_host((host, port)).await.ok()?.next()?;
    let any: SocketAddr = if addr.is_ipv4() { ([0; 4], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).await.ok()?;
    socket.connect(addr).await.ok()?;
    socket.local_addr().ok().map(|local| local.ip())
}
