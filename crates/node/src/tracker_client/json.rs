//! An announce as document 2's tracker takes it. It knows joining and leaving and nothing else, and
//! what it calls `completed` is leaving: whoever has everything and serves on says nothing of it.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use reqwest::Url;
use sow_engine::{Announce, AnnounceError, AnnounceEvent, AnnounceReply};
use sow_wire::json_torrent::tracker::{Event, Reply, Request};
use tokio::net::{UdpSocket, lookup_host};

use super::{AnnounceIdentity, unreachable};
use crate::json_tracker_client::announce_json;

/// The tracker names no interval; it lists nobody whom it has not heard of for half an hour.
const INTERVAL: Duration = Duration::from_secs(30);

/// The port of a tracker whose URL names none.
const DEFAULT_PORT: u16 = 6666;

/// Announces to one tracker and waits for its answer.
///
/// # Errors
/// The failure reason of the tracker, or why it was not reached.
pub(super) async fn announce(
    url: &Url,
    bind: Option<IpAddr>,
    announcer: &AnnounceIdentity,
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
        None => {
            seen_from(&host, port).await.ok_or_else(|| unreachable("no route to the tracker"))?
        }
    };
    // Some trackers take the name for the key to what they know.
    let peer_id = SocketAddr::new(ours, announcer.port).to_string();
    let request = Request { ip: Some(ours), port: announcer.port, peer_id, event };
    match announce_json(&host, port, bind, &request).await? {
        Reply::Joined(peers) => {
            Ok(AnnounceReply { interval: INTERVAL, peers, complete: None, incomplete: None })
        }
        Reply::Left => Ok(AnnounceReply {
            interval: INTERVAL,
            peers: Vec::new(),
            complete: None,
            incomplete: None,
        }),
        Reply::Error(reason) => Err(AnnounceError::Refused(reason)),
    }
}

/// The address that calls to a host come from. Nothing is sent.
async fn seen_from(host: &str, port: u16) -> Option<IpAddr> {
    let addr = lookup_host((host, port)).await.ok()?.next()?;
    let any: SocketAddr = if addr.is_ipv4() { ([0; 4], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).await.ok()?;
    socket.connect(addr).await.ok()?;
    socket.local_addr().ok().map(|local| local.ip())
}
