//! Trackers over UDP: packets of both directions are rejected, or encoded such that they decode to
//! the same; an exchange ends whatever datagrams it receives; memory is bounded.

use std::time::Duration;

use sow_content::InfoHash;
use sow_wire::{
    bittorrent::PeerId,
    compact::is_dialable,
    tracker::{AnnounceEvent, AnnounceRequest, MAX_RESPONSE_PEERS, MAX_SCRAPE},
    tracker_udp::{Exchange, Family, Output, Request, Response},
};

use crate::memory;

/// Memory for 1,000 peers, twice that while the list grows.
const MAX_MEMORY: usize = 256 << 10;

/// The largest number of datagrams of an exchange: five to connect and five to announce.
const MAX_SENT: usize = 10;

/// Decodes arbitrary bytes as a packet of either direction, and feeds them to an exchange.
pub fn tracker_udp(data: &[u8]) {
    if let Ok(request) = memory::within(MAX_MEMORY, || Request::decode(data)) {
        assert_eq!(Request::decode(&request.encode()), Ok(request));
    }
    for family in [Family::V4, Family::V6] {
        if let Ok(response) = memory::within(MAX_MEMORY, || Response::decode(data, family)) {
            check_response(response, family);
        }
        check_exchange(data, family);
    }
}

fn check_response(mut response: Response, family: Family) {
    match &mut response {
        Response::Announce { response, .. } => {
            assert!(response.peers.len() <= MAX_RESPONSE_PEERS);
            assert!(response.peers.iter().all(|peer| is_dialable(peer.addr)));
            // An IPv4-mapped IPv6 address is encoded as IPv4.
            response.peers.retain(|peer| Family::of(peer.addr.ip()) == family);
        }
        Response::Scrape { swarms, .. } => assert!(swarms.len() <= MAX_SCRAPE),
        Response::Connect { .. } | Response::Error { .. } => {}
    }
    assert_eq!(Response::decode(&response.encode(family), family), Ok(response));
}

/// Splits the input into datagrams of a length byte and that many bytes, which arrive while the
/// exchange waits. The first byte of a datagram says whether it gets the right transaction id,
/// which a fuzzer cannot guess.
fn check_exchange(mut data: &[u8], family: Family) {
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
        match exchange.poll(now, &mut rng) {
            Output::Send(bytes) => {
                assert!(Request::decode(&bytes).is_ok());
                transaction = bytes[12..16].try_into().unwrap();
                sent += 1;
                assert!(sent <= MAX_SENT, "an endless exchange");
            }
            Output::Wait(until) => {
                assert!(until > now && until <= now + Duration::from_secs(8));
                let Some((datagram, rest)) = next_datagram(data, transaction) else {
                    now = until;
                    continue;
                };
                (data, now) = (rest, now + Duration::from_millis(1));
                if let Some(result) = exchange.handle_datagram(now, &datagram, &mut rng) {
                    let peers = result.map(|response| response.peers).unwrap_or_default();
                    assert!(peers.iter().all(|peer| is_dialable(peer.addr)));
                    return;
                }
            }
            Output::GiveUp => return,
        }
    }
}

fn next_datagram(data: &[u8], transaction: [u8; 4]) -> Option<(Vec<u8>, &[u8])> {
    let (&length, rest) = data.split_first()?;
    let (datagram, rest) = rest.split_at(rest.len().min(length.into()));
    let mut datagram = datagram.to_vec();
    if let [marker, action, _, _, ..] = datagram[..]
        && marker & 1 == 1
    {
        datagram[..4].copy_from_slice(&[0, 0, 0, action % 5]);
        let end = datagram.len().min(8);
        datagram[4..end].copy_from_slice(&transaction[..end - 4]);
    }
    Some((datagram, rest))
}
