//! Trackers over UDP: packets of both sides are refused, or encoded such that they decode to the
//! same; an exchange ends whatever is sent into it; memory bounded.

use std::time::Duration;

use sow_content::InfoHash;
use sow_wire::{
    bittorrent::PeerId,
    compact::is_dialable,
    tracker::{AnnounceEvent, AnnounceRequest, MAX_PEERS, MAX_SCRAPE},
    tracker_udp::{Exchange, Family, Request, Response, Step},
};

use crate::memory;

/// A thousand peers, and twice that while the list grows.
const MEMORY: usize = 256 << 10;

/// How many datagrams an exchange may send: five to connect and five to announce.
const MAX_SENT: usize = 10;

/// Takes arbitrary bytes for a packet of either side, and for what comes in during an exchange.
pub fn tracker_udp(data: &[u8]) {
    if let Ok(request) = memory::within(MEMORY, || Request::decode(data)) {
        assert_eq!(Request::decode(&request.encode()), Ok(request));
    }
    for family in [Family::V4, Family::V6] {
        if let Ok(response) = memory::within(MEMORY, || Response::decode(data, family)) {
            answer(response, family);
        }
        exchange(data, family);
    }
}

fn answer(mut response: Response, family: Family) {
    match &mut response {
        Response::Announce { response, .. } => {
            assert!(response.peers.len() <= MAX_PEERS);
            assert!(response.peers.iter().all(|peer| is_dialable(peer.addr)));
            // An IPv4 address may come as an IPv6 one, and does not leave so.
            response.peers.retain(|peer| Family::of(peer.addr.ip()) == family);
        }
        Response::Scrape { swarms, .. } => assert!(swarms.len() <= MAX_SCRAPE),
        Response::Connect { .. } | Response::Error { .. } => {}
    }
    assert_eq!(Response::decode(&response.encode(family), family), Ok(response));
}

/// Datagrams of a length byte and that many bytes, which come while the exchange waits. Each has
/// the right transaction if its first byte says so: nothing could guess it.
fn exchange(mut data: &[u8], family: Family) {
    let announce = AnnounceRequest {
        info_hash: InfoHash([1; 20]),
        peer_id: PeerId([2; 20]),
        port: 3,
        uploaded: 4,
        downloaded: 5,
        left: 6,
        event: AnnounceEvent::Started,
        numwant: None,
        key: 7,
    };
    let mut rng = fastrand::Rng::with_seed(8);
    let mut exchange = Exchange::new(announce, Vec::new(), family, None, &mut rng);
    let (mut now, mut transaction, mut sent) = (Duration::ZERO, [0; 4], 0);
    loop {
        match exchange.step(now, &mut rng) {
            Step::Send(bytes) => {
                assert!(Request::decode(&bytes).is_ok());
                transaction = bytes[12..16].try_into().unwrap();
                sent += 1;
                assert!(sent <= MAX_SENT, "an exchange without an end");
            }
            Step::Wait(until) => {
                assert!(until > now && until <= now + Duration::from_secs(8));
                let Some((datagram, rest)) = next(data, transaction) else {
                    now = until;
                    continue;
                };
                (data, now) = (rest, now + Duration::from_millis(1));
                if let Some(end) = exchange.receive(now, &datagram, &mut rng) {
                    let peers = end.map(|response| response.peers).unwrap_or_default();
                    assert!(peers.iter().all(|peer| is_dialable(peer.addr)));
                    return;
                }
            }
            Step::GiveUp => return,
        }
    }
}

fn next(data: &[u8], transaction: [u8; 4]) -> Option<(Vec<u8>, &[u8])> {
    let (&length, rest) = data.split_first()?;
    let (datagram, rest) = rest.split_at(rest.len().min(length.into()));
    let mut datagram = datagram.to_vec();
    if let [right, action, _, _, ..] = datagram[..]
        && right & 1 == 1
    {
        datagram[..4].copy_from_slice(&[0, 0, 0, action % 5]);
        let end = datagram.len().min(8);
        datagram[4..end].copy_from_slice(&transaction[..end - 4]);
    }
    Some((datagram, rest))
}
