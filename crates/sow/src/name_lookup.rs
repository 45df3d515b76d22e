//! Looking up the addresses of hosts.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use sow_content::ticket::Address;
use tokio::{net::lookup_host, task::JoinSet, time::timeout};

use crate::{
    exit::{Exit, Failure},
    report::Report,
};

/// How long looking up a name may take.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

/// The addresses of a name that are used.
const MAX_ADDRESSES: usize = 16;

/// Looks up the addresses of a host.
///
/// # Errors
/// When there is no such host.
pub(crate) async fn look_up(address: &Address) -> Result<Vec<SocketAddr>, Failure> {
    let unknown = |reason: String| {
        Failure::new(Exit::Unreachable, format!("cannot find the host {}: {reason}", address.host))
            .tip("check the name, or use its IP address")
    };
    let found = timeout(LOOKUP_TIMEOUT, lookup_host((address.host.as_str(), address.port))).await;
    match found {
        Ok(Ok(found)) => Ok(found.take(MAX_ADDRESSES).collect()),
        Ok(Err(error)) => Err(unknown(error.to_string())),
        Err(_) => Err(unknown("no answer from the name service".to_owned())),
    }
}

/// Looks up the addresses of several hosts.
///
/// # Errors
/// When none of the hosts is found.
pub(crate) async fn look_up_any(hosts: &[Address]) -> Result<Vec<SocketAddr>, Failure> {
    let (mut addrs, mut first_failure) = (Vec::new(), None);
    for host in hosts {
        match look_up(host).await {
            Ok(found) => addrs.extend(found),
            Err(failure) => first_failure = first_failure.or(Some(failure)),
        }
    }
    match first_failure {
        Some(failure) if addrs.is_empty() => Err(failure),
        _ => Ok(addrs),
    }
}

/// Looks up the addresses of the peers that a WHAT names. `is_optional`: there are other ways to
/// find peers, so that a name that is not found costs a warning.
///
/// # Errors
/// When none is found, and nothing else can find peers.
pub(crate) async fn look_up_peers(
    peers: &[Address],
    is_optional: bool,
    report: &Report,
) -> Result<Vec<SocketAddr>, Failure> {
    // A single peer is the origin.
    if let [origin] = peers {
        return look_up(origin).await;
    }
    let (mut addrs, mut failures) = (Vec::new(), Vec::new());
    for peer in peers {
        match look_up(peer).await {
            Ok(found) => addrs.extend(found),
            Err(failure) => failures.push(failure),
        }
    }
    if addrs.is_empty() && !is_optional && !failures.is_empty() {
        return Err(failures.swap_remove(0));
    }
    failures.iter().for_each(|failure| report.warn(failure.message()));
    Ok(addrs)
}

/// Looks up further peers at the same time, and keeps those that are found.
pub(crate) async fn look_up_few(peers: &[Address]) -> Vec<SocketAddr> {
    let mut lookups: JoinSet<_> =
        peers.iter().cloned().map(|peer| async move { look_up(&peer).await }).collect();
    let mut addrs = Vec::new();
    while let Some(found) = lookups.join_next().await {
        addrs.extend(found.ok().and_then(Result::ok).unwrap_or_default());
    }
    addrs.sort_unstable();
    addrs
}

/// How long looking up many names may take.
const MANY_LOOKUPS_TIMEOUT: Duration = Duration::from_secs(5);

/// Names that are looked up at the same time.
const MAX_CONCURRENT_LOOKUPS: usize = 32;

/// Looks up many names, within a few seconds: the addresses of those that are found in that time,
/// each with the index of its name.
pub(crate) async fn look_up_names(names: Vec<(usize, String)>) -> Vec<(usize, IpAddr)> {
    let mut found = Vec::new();
    let lookups = async {
        let (mut lookups, mut names) = (JoinSet::new(), names.into_iter());
        loop {
            while lookups.len() < MAX_CONCURRENT_LOOKUPS
                && let Some((index, name)) = names.next()
            {
                lookups.spawn(async move { (index, lookup_host((name, 0)).await) });
            }
            let Some(looked_up) = lookups.join_next().await else { return };
            if let Ok((index, Ok(addrs))) = looked_up {
                found.extend(addrs.take(MAX_ADDRESSES).map(|addr| (index, addr.ip())));
            }
        }
    };
    // Names that are not found in time are known by the names of the receivers alone.
    let _ = timeout(MANY_LOOKUPS_TIMEOUT, lookups).await;
    found
}
