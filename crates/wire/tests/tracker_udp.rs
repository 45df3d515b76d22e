//! BEP 15 packets: they round trip, and untrusted datagrams are rejected or consistent.

use std::{net::SocketAddr, time::Duration};

use proptest::prelude::*;
use sow_content::InfoHash;
use sow_wire::{
    bittorrent::PeerId,
    compact,
    tracker::{
        AnnounceEvent, AnnounceRequest, AnnounceResponse, MAX_SCRAPE, SwarmCount, TrackedPeer,
    },
    tracker_udp::{Family, Request, Response},
};

prop_compose! {
    fn any_announce()(
        ids: [[u8; 20]; 2], port: u16, up: u64, down: u64, left in 0..i64::MAX as u64,
        known: bool, event in 0..4usize, numwant in proptest::option::of(0..=i32::MAX as u32),
        key: u32,
    ) -> AnnounceRequest {
        use AnnounceEvent::{Completed, Periodic, Started, Stopped};
        AnnounceRequest {
            info_hash: InfoHash(ids[0]),
            peer_id: PeerId(ids[1]),
            port,
            uploaded: up,
            downloaded: down,
            left: if known { left } else { u64::MAX },
            event: [Periodic, Started, Completed, Stopped][event],
            numwant,
            key,
        }
    }
}

proptest! {
    #[test]
    fn every_request_round_trips(
        announce in any_announce(), connection: u64, transaction: u32,
        url_data in prop::collection::vec(any::<u8>(), 0..1024),
        hashes in prop::collection::vec(any::<[u8; 20]>(), 0..=MAX_SCRAPE),
    ) {
        let info_hashes = hashes.into_iter().map(InfoHash).collect();
        for request in [
            Request::Connect { transaction },
            Request::Announce { connection, transaction, announce, url_data },
            Request::Scrape { connection, transaction, info_hashes },
        ] {
            prop_assert_eq!(Request::decode(&request.encode()), Ok(request));
        }
    }

    #[test]
    fn every_response_round_trips(
        numbers: [u32; 5], connection: u64, interval in 1..86_400u64, message in "[ -~]{0,256}",
        v4 in prop::collection::vec((any::<[u8; 4]>(), any::<u16>()), 0..50),
        v6 in prop::collection::vec((any::<[u8; 16]>(), any::<u16>()), 0..50),
    ) {
        let [transaction, complete, downloaded, incomplete, _] = numbers;
        let v4: Vec<SocketAddr> = v4.into_iter().map(SocketAddr::from).collect();
        let v6: Vec<SocketAddr> = v6.into_iter().map(SocketAddr::from).collect();
        for (family, addrs) in [(Family::V4, v4), (Family::V6, v6)] {
            let is_kept = |addr: &SocketAddr| {
                compact::is_dialable(*addr) && Family::of(addr.ip()) == family
            };
            let peer = |addr| TrackedPeer { addr, peer_id: None };
            let peers = addrs.into_iter().filter(is_kept).map(peer);
            let response = AnnounceResponse {
                interval: Duration::from_secs(interval),
                complete: Some(complete),
                incomplete: Some(incomplete),
                peers: peers.collect(),
                min_interval: None,
                named_peers: Vec::new(),
                warning: None,
                tracker_id: None,
            };
            let swarms = vec![SwarmCount { complete, downloaded, incomplete }];
            for packet in [
                Response::Connect { transaction, connection },
                Response::Announce { transaction, response },
                Response::Scrape { transaction, swarms },
                Response::Error { transaction, message: message.clone() },
            ] {
                prop_assert_eq!(packet.transaction(), transaction);
                prop_assert_eq!(Response::decode(&packet.encode(family), family), Ok(packet));
            }
        }
    }

    #[test]
    fn any_datagram_is_rejected_or_consistent(
        bytes in prop::collection::vec(any::<u8>(), 0..300), action in 0..5u8,
    ) {
        for at in [3, 11] {
            let mut bytes = bytes.clone();
            if at < bytes.len() {
                bytes[at - 3..at].fill(0);
                bytes[at] = action;
            }
            if let Ok(request) = Request::decode(&bytes) {
                prop_assert_eq!(Request::decode(&request.encode()), Ok(request));
            }
            for family in [Family::V4, Family::V6] {
                if let Ok(Response::Announce { response, .. }) = Response::decode(&bytes, family) {
                    prop_assert!(response.peers.iter().all(|peer| peer.addr.port() != 0));
                }
            }
        }
    }
}
