//! Trackers over HTTP: query strings and responses are rejected, or encoded such that they decode
//! to the same, with bounded memory.

use sow_wire::{
    compact::is_dialable,
    tracker::{MAX_RESPONSE_PEERS, MAX_SCRAPE, MAX_TRACKER_TEXT},
    tracker_http::{
        Announce, MAX_RESPONSE, ResponseError, decode_announce, decode_scrape, encode_announce,
        encode_scrape, parse_scrape, scrape_request, scrape_url,
    },
};

use crate::memory;

/// Memory for 1,000 peers, twice that while the list grows, and for finding duplicate keys.
const MAX_RESPONSE_MEMORY: usize = 512 << 10;

/// Memory for the parameters of a query of 8 KiB.
const MAX_QUERY_MEMORY: usize = 32 << 10;

/// Decodes arbitrary bytes as a query string, as the URL of a tracker, and as both kinds of
/// responses.
pub fn tracker_http(data: &[u8]) {
    if let Ok(text) = str::from_utf8(data) {
        query(text);
        url(text);
    }
    announce_response(data);
    scrape_response(data);
}

fn query(text: &str) {
    if let Ok(announce) = memory::within(MAX_QUERY_MEMORY, || Announce::parse(text)) {
        assert_eq!(Announce::parse(&announce.query()), Ok(announce));
    }
    if let Ok(hashes) = memory::within(MAX_QUERY_MEMORY, || parse_scrape(text)) {
        assert!(hashes.len() <= MAX_SCRAPE);
        let request = scrape_request("http://t/scrape", &hashes);
        assert_eq!(parse_scrape(request.strip_prefix("http://t/scrape?").unwrap()), Ok(hashes));
    }
}

fn url(text: &str) {
    if let Some(scrape) = scrape_url(text) {
        assert_eq!(scrape.len() + "announce".len(), text.len() + "scrape".len());
        assert_eq!(scrape.matches('/').count(), text.matches('/').count());
    }
}

fn announce_response(data: &[u8]) {
    match memory::within(MAX_RESPONSE_MEMORY, || decode_announce(data)) {
        Ok(mut response) => {
            assert!(data.len() <= MAX_RESPONSE && response.peers.len() <= MAX_RESPONSE_PEERS);
            assert!(response.named_peers.len() <= MAX_RESPONSE_PEERS);
            // A tracker of ours names no hosts.
            response.named_peers.clear();
            assert!(response.peers.iter().all(|peer| is_dialable(peer.addr)));
            let seconds = response.interval.as_secs();
            assert!((1..=86_400).contains(&seconds));
            check_text(response.warning.as_deref().unwrap_or_default());
            assert_eq!(decode_announce(&encode_announce(&response, false, false)), Ok(response));
        }
        Err(ResponseError::Failure(reason)) => check_text(&reason),
        Err(_) => {}
    }
}

/// Texts of a tracker are bounded and printable.
fn check_text(text: &str) {
    assert!(text.chars().count() <= MAX_TRACKER_TEXT && !text.chars().any(char::is_control));
}

fn scrape_response(data: &[u8]) {
    if let Ok(mut swarms) = memory::within(MAX_RESPONSE_MEMORY, || decode_scrape(data)) {
        assert!(swarms.len() <= MAX_SCRAPE);
        let encoded = encode_scrape(&swarms);
        swarms.sort_by_key(|swarm| swarm.info_hash);
        assert_eq!(decode_scrape(&encoded), Ok(swarms));
    }
}
