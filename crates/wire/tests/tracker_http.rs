//! Tracker requests and responses over HTTP: they round trip, and untrusted input is rejected or
//! bounded.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use proptest::prelude::*;
use sow_content::InfoHash;
use sow_wire::{
    bittorrent::PeerId,
    compact,
    tracker::{
        AnnounceEvent, AnnounceRequest, AnnounceResponse, MAX_RESPONSE_PEERS, SwarmCount,
        TrackedPeer,
    },
    tracker_http::{
        Announce, ScrapedSwarm, decode_announce, decode_scrape, encode_announce, encode_scrape,
        parse_scrape, scrape_request,
    },
};

prop_compose! {
    fn any_announce()(
        ids: [[u8; 20]; 2], port: u16, up: u64, down: u64, left in 0..i64::MAX as u64,
        flags: [bool; 3], event in 0..4usize, numwant: Option<u32>, key: u32,
        tracker_id in proptest::option::of(prop::collection::vec(any::<u8>(), 0..256)),
    ) -> Announce {
        use AnnounceEvent::{Completed, Periodic, Started, Stopped};
        let request = AnnounceRequest {
            info_hash: InfoHash(ids[0]),
            peer_id: PeerId(ids[1]),
            port,
            uploaded: up,
            downloaded: down,
            left: if flags[0] { left } else { u64::MAX },
            event: [Periodic, Started, Completed, Stopped][event],
            numwant,
            key,
        };
        Announce { request, compact: flags[1], no_peer_id: flags[2], tracker_id }
    }
}

prop_compose! {
    fn any_peer()(
        v4: Option<[u8; 4]>, v6: [u8; 16], port in 1..=u16::MAX, id: [u8; 20],
    ) -> TrackedPeer {
        let ip = v4.map_or(IpAddr::from(v6), IpAddr::from);
        let addr = SocketAddr::new(ip.to_canonical(), port);
        TrackedPeer { addr, peer_id: Some(PeerId(id)) }
    }
}

prop_compose! {
    fn any_response()(
        interval in 1..=86_400u64, min_interval in proptest::option::of(1..=86_400u64),
        counts: [Option<u32>; 2], peers in prop::collection::vec(any_peer(), 0..60),
        warning in proptest::option::of("[ -~]{0,256}"),
        tracker_id in proptest::option::of(prop::collection::vec(any::<u8>(), 0..=256)),
    ) -> AnnounceResponse {
        AnnounceResponse {
            interval: Duration::from_secs(interval),
            min_interval: min_interval.map(Duration::from_secs),
            complete: counts[0],
            incomplete: counts[1],
            peers: peers.into_iter().filter(|peer| compact::is_dialable(peer.addr)).collect(),
            named_peers: Vec::new(),
            warning,
            tracker_id,
        }
    }
}

proptest! {
    #[test]
    fn every_announce_round_trips(announce in any_announce()) {
        prop_assert_eq!(Announce::parse(&announce.query()), Ok(announce.clone()));
        let url = announce.url("http://t:1/announce?passkey=abc");
        let query = url.strip_prefix("http://t:1/announce?").unwrap();
        prop_assert_eq!(Announce::parse(query), Ok(announce));
    }

    #[test]
    fn every_announce_response_round_trips(response in any_response()) {
        let list = encode_announce(&response, false, false);
        prop_assert_eq!(decode_announce(&list), Ok(response.clone()));
        let compact = decode_announce(&encode_announce(&response, true, false)).unwrap();
        let addrs = response.peers.iter().map(|peer| peer.addr);
        let (v4, v6): (Vec<_>, Vec<_>) = addrs.partition(SocketAddr::is_ipv4);
        let peer = |addr| TrackedPeer { addr, peer_id: None };
        let peers = v4.into_iter().chain(v6).map(peer).collect();
        prop_assert_eq!(compact, AnnounceResponse { peers, ..response });
    }

    #[test]
    fn every_scrape_round_trips(
        swarms in prop::collection::btree_map(any::<[u8; 20]>(), any::<[u32; 3]>(), 0..=74),
    ) {
        let swarms: Vec<_> = swarms
            .into_iter()
            .map(|(hash, [complete, downloaded, incomplete])| ScrapedSwarm {
                info_hash: InfoHash(hash),
                count: SwarmCount { complete, downloaded, incomplete },
            })
            .collect();
        prop_assert_eq!(decode_scrape(&encode_scrape(&swarms)), Ok(swarms.clone()));
        let hashes: Vec<_> = swarms.iter().map(|swarm| swarm.info_hash).collect();
        let url = scrape_request("http://t/scrape", &hashes);
        prop_assert_eq!(parse_scrape(url.split_once('?').unwrap().1), Ok(hashes));
    }

    #[test]
    fn any_query_is_rejected_or_consistent(
        query in "[ -~]{0,80}",
        parts in prop::collection::vec("[a-z_]{1,9}=[%+0-9a-fA-F-]{0,20}", 0..9),
    ) {
        for query in [query, parts.join("&")] {
            if let Ok(announce) = Announce::parse(&query) {
                prop_assert_eq!(Announce::parse(&announce.query()), Ok(announce));
            }
            let _ = parse_scrape(&query);
        }
    }

    #[test]
    fn a_damaged_response_is_rejected_or_bounded(
        noise in prop::collection::vec(any::<u8>(), 0..200), response in any_response(),
        list: bool, at: prop::sample::Index, byte: u8, end: prop::sample::Index,
    ) {
        let _ = decode_announce(&noise);
        let whole = encode_announce(&response, !list, false);
        let end = end.index(whole.len());
        prop_assert!(decode_announce(&whole[..end]).is_err(), "a truncated response");
        let mut body = whole;
        *at.get_mut(&mut body) = byte;
        if let Ok(response) = decode_announce(&body) {
            prop_assert!(response.peers.len() <= MAX_RESPONSE_PEERS);
            prop_assert!(response.peers.iter().all(|peer| compact::is_dialable(peer.addr)));
            prop_assert!(response.interval >= Duration::from_secs(1));
        }
    }
}
