//! An announce over UDP (BEP 15): the socket of an exchange. The packets and their retransmissions
//! are decided by [`sow_wire::tracker_udp::Exchange`].

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use reqwest::Url;
use sow_engine::{AnnounceError, Time};
use sow_wire::{
    compact::is_dialable,
    tracker::{AnnounceRequest, AnnounceResponse},
    tracker_udp::{Exchange, Family, Output},
};
use tokio::{
    net::{UdpSocket, lookup_host},
    time::timeout,
};

use super::{SERVICE_PORT, TrackerClient, remember, unreachable};
use crate::http::destination::is_service_port;

/// The maximum size of a datagram, in bytes: 900 IPv6 peers, which is more than any tracker sends.
const MAX_DATAGRAM_SIZE: usize = 16 * 1024;

/// The time limit for the look-up of the tracker's name.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

impl TrackerClient {
    pub(super) async fn announce_udp(
        &self,
        tracker: &Url,
        name: &str,
        request: AnnounceRequest,
    ) -> Result<(AnnounceResponse, SocketAddr), AnnounceError> {
        let (socket, addr) = self.connect(tracker, self.is_typed(name)).await?;
        let mut exchange = self.with_memory(|memory| {
            let kept = memory.connections.get(&addr).copied();
            Exchange::new(request, url_data(tracker), Family::of(addr.ip()), kept, &mut memory.rng)
        });
        let answer = self.exchange(&socket, &mut exchange).await?;
        if let Some(connection) = exchange.connection() {
            self.with_memory(|memory| remember(&mut memory.connections, addr, connection));
        }
        Ok((answer, addr))
    }

    async fn exchange(
        &self,
        socket: &UdpSocket,
        exchange: &mut Exchange,
    ) -> Result<AnnounceResponse, AnnounceError> {
        let mut datagram = vec![0; MAX_DATAGRAM_SIZE];
        loop {
            let now = self.clock.now().since(Time::default());
            match self.with_memory(|memory| exchange.poll(now, &mut memory.rng)) {
                Output::Send(bytes) => {
                    socket.send(&bytes).await.map_err(unreachable)?;
                }
                Output::Wait(until) => {
                    let Ok(received) =
                        timeout(until.saturating_sub(now), socket.recv(&mut datagram)).await
                    else {
                        continue;
                    };
                    let length = received.map_err(unreachable)?;
                    let now = self.clock.now().since(Time::default());
                    let end = self.with_memory(|memory| {
                        exchange.handle_datagram(now, &datagram[..length], &mut memory.rng)
                    });
                    if let Some(end) = end {
                        return end.map_err(|reason| AnnounceError::Refused(reason.0));
                    }
                }
                Output::GiveUp => return Err(AnnounceError::Timeout),
            }
        }
    }

    /// A socket that is connected to the first of the tracker's addresses that has a route.
    /// Unless the user typed the tracker, its port must not be one of another service, and its
    /// address must be one of a machine.
    async fn connect(
        &self,
        tracker: &Url,
        is_typed: bool,
    ) -> Result<(UdpSocket, SocketAddr), AnnounceError> {
        let host = tracker.host_str().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = tracker.port().ok_or(AnnounceError::IncompleteUrl("port"))?;
        if !is_typed && is_service_port(port) {
            return Err(AnnounceError::Forbidden(SERVICE_PORT));
        }
        let found = timeout(LOOKUP_TIMEOUT, lookup_host((host, port)))
            .await
            .map_err(|_| unreachable("its name was not resolved in time"))?;
        let mut problem = "its name has no address".to_owned();
        for addr in found.map_err(unreachable)?.filter(|addr| is_dialable(*addr)) {
            match open(self.bind, addr).await {
                Ok(socket) => return Ok((socket, addr)),
                Err(error) => problem = error.to_string(),
            }
        }
        Err(unreachable(problem))
    }
}

async fn open(bind: Option<IpAddr>, tracker: SocketAddr) -> io::Result<UdpSocket> {
    let any =
        if tracker.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((bind.unwrap_or(any), 0)).await?;
    socket.connect(tracker).await?;
    Ok(socket)
}

/// The path and the query of a URL (BEP 41); empty if it has none.
fn url_data(tracker: &Url) -> Vec<u8> {
    let mut data = tracker.path().trim_end_matches('/').as_bytes().to_vec();
    if let Some(query) = tracker.query() {
        if data.is_empty() {
            data.push(b'/');
        }
        data.push(b'?');
        data.extend_from_slice(query.as_bytes());
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_and_the_query_are_sent_if_there_are_any() {
        for (url, data) in [
            ("udp://t:80", ""),
            ("udp://t:80/", ""),
            ("udp://t:80/announce", "/announce"),
            ("udp://t:80/a/b?key=1&c", "/a/b?key=1&c"),
            ("udp://t:80?key=1", "/?key=1"),
        ] {
            assert_eq!(url_data(&url.parse().unwrap()), data.as_bytes(), "{url}");
        }
    }
}
