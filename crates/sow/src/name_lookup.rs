//! Looking up the addresses of hosts.

use std::{net::SocketAddr, time::Duration};

use sow_content::ticket::Address;
use tokio::{net::lookup_host, time::timeout};

use crate::exit::{Exit, Failure};

/// How long looking up a name may take.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

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
        Ok(Ok(found)) => Ok(found.collect()),
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
