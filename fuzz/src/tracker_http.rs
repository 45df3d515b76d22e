//! Trackers over HTTP, both sides: query strings and answers are refused, or encoded such that they
//! decode to the same; memory bounded.

use sow_wire::{
    compact::is_dialable,
    tracker::{MAX_PEERS, MAX_SCRAPE, MAX_TEXT},
    tracker_http::{
        Announce, MAX_RESPONSE, ResponseError, decode_announce, decode_scrape, encode_announce,
        encode_scrape, parse_scrape, scrape_request, scrape_url,
    },
};

use crate::memory;

/// A thousand peers, twice that while the list grows, and what finding a key that comes twice
/// takes.
const MEMORY: usize = 512 << 10;

/// A query of 8 KiB, taken apart.
const QUERY_MEMORY: usize = 32 << 10;

/// Takes arbitrary bytes for a query string, for the URL of a tracker, and for both kinds of
/// answers.
pub fn tracker_http(data: &[u8]) {
    if let Ok(text) = str::from_utf8(data) {
        query(text);
        url(text);
    }
    answer(data);
    scrape(data);
}

fn query(text: &str) {
    if let Ok(announce) = memory::within(QUERY_MEMORY, || Announce::parse(text)) {
        assert_eq!(Announce::parse(&announce.query()), Ok(announce));
    }
    if let Ok(hashes) = memory::within(QUERY_MEMORY, || parse_scrape(text)) {
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

fn answer(data: &[u8]) {
    match memory::within(MEMORY, || decode_announce(data)) {
        Ok(response) => {
            assert!(data.len() <= MAX_RESPONSE && response.peers.len() <= MAX_PEERS);
            assert!(response.peers.iter().all(|peer| is_dialable(peer.addr)));
            let seconds = response.interval.as_secs();
            assert!((1..=86_400).contains(&seconds));
            let shown = response.warning.as_deref().unwrap_or_default();
            assert!(shown.chars().count() <= MAX_TEXT && !shown.chars().any(char::is_control));
            assert_eq!(decode_announce(&encode_announce(&response, false, false)), Ok(response));
        }
        Err(ResponseError::Refused(reason)) => {
            assert!(reason.chars().count() <= MAX_TEXT && !reason.chars().any(char::is_control));
        }
        Err(_) => {}
    }
}

fn scrape(data: &[u8]) {
    if let Ok(mut swarms) = memory::within(MEMORY, || decode_scrape(data)) {
        assert!(swarms.len() <= MAX_SCRAPE);
        let encoded = encode_scrape(&swarms);
        swarms.sort_by_key(|swarm| swarm.info_hash);
        assert_eq!(decode_scrape(&encoded), Ok(swarms));
    }
}
