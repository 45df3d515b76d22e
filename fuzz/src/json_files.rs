//! The JSON of `json-torrent`: metainfo, tracker requests and tracker replies. Rejected, or encoded
//! such that it decodes to the same; in agreement with `serde_json`'s own tree; with bounded
//! memory.

use std::net::SocketAddr;

use serde_json::Value;
use sow_content::{
    JsonTorrent,
    json_torrent::{HashForm, is_host, is_json, read_digest, write_digest},
    path::clean_name,
};
use sow_wire::{
    compact::is_dialable,
    json_torrent::tracker::{MAX_REPLY, MAX_REPLY_PEERS, MAX_REQUEST, Reply, Request},
    tracker::MAX_TRACKER_TEXT,
};

use crate::memory;

/// Memory for an error, and for an object with the maximum number of members.
const MAX_MEMORY: usize = 32 << 10;

/// Memory for 4,096 peers, twice that while the list grows.
const MAX_REPLY_MEMORY: usize = 512 << 10;

/// Decodes arbitrary bytes as metainfo, as a request, as a reply, and as a hash.
pub fn json_files(data: &[u8]) {
    torrent(data);
    request(data);
    reply(data);
    if let Ok(text) = str::from_utf8(data) {
        digest(text);
    }
}

fn torrent(data: &[u8]) {
    // Keys and hashes are not longer than their JSON text, and lists grow by doubling.
    let limit = MAX_MEMORY + 4 * data.len();
    let Ok(mut torrent) = memory::within(limit, || JsonTorrent::decode(data)) else { return };
    assert!(is_json(data) && is_host(&torrent.announce) && torrent.port != 0);
    assert_eq!(clean_name(torrent.file_name.as_bytes()), Ok(torrent.file_name.as_str()));
    assert_eq!(torrent.piece_hashes.len(), torrent.geometry.pieces() as usize);
    if let Ok(tree) = serde_json::from_slice::<Value>(data) {
        let info = &tree["info"];
        assert_eq!(tree["port"], torrent.port);
        let is_replaced = !torrent.warnings.is_empty();
        assert_eq!(info["file_name"] != torrent.file_name.as_str(), is_replaced);
        assert_eq!(info["file_length"], torrent.geometry.total());
        assert_eq!(info["piece_length"], torrent.geometry.piece_length());
        let hashes = info["piece_hash"]
            .as_array()
            .unwrap()
            .iter()
            .map(|hash| read_digest(hash.as_str().unwrap()));
        assert!(hashes.eq(torrent.piece_hashes.iter().copied().map(Some)));
    }
    torrent.warnings.clear();
    for form in [HashForm::Python, HashForm::Hex] {
        let bytes = torrent.encode(form);
        assert!(bytes.is_ascii());
        let again = JsonTorrent::decode(&bytes);
        assert_eq!(again.as_ref().map(JsonTorrent::identity), Ok(torrent.identity()));
        assert_eq!(again.as_ref(), Ok(&torrent));
    }
}

fn request(data: &[u8]) {
    let Ok(request) = memory::within(MAX_MEMORY, || Request::decode(data)) else { return };
    assert!(data.len() <= MAX_REQUEST && request.port != 0);
    if let Ok(tree) = serde_json::from_slice::<Value>(data) {
        assert_eq!(
            (&tree["port"], &tree["peer_id"]),
            (&request.port.into(), &request.peer_id.as_str().into())
        );
    }
    assert_eq!(Request::decode(&request.encode()), Ok(request));
}

fn reply(data: &[u8]) {
    let Ok(reply) = memory::within(MAX_REPLY_MEMORY, || Reply::decode(data)) else { return };
    assert!(data.len() <= MAX_REPLY);
    match &reply {
        Reply::Joined(peers) => {
            assert!(peers.len() <= MAX_REPLY_PEERS && peers.iter().copied().all(is_dialable));
            if let Ok(tree) = serde_json::from_slice::<Value>(data) {
                let listed = tree["peers"].as_array().map_or(&[][..], Vec::as_slice);
                let is_listed =
                    |peer: &SocketAddr| listed.iter().any(|entry| is_entry_of(entry, *peer));
                assert!(peers.iter().all(is_listed));
            }
        }
        Reply::Left => {}
        Reply::Error(reason) => {
            assert!(reason.chars().count() <= MAX_TRACKER_TEXT);
            assert!(!reason.chars().any(char::is_control));
        }
    }
    assert_eq!(Reply::decode(&reply.encode()), Ok(reply));
}

fn is_entry_of(entry: &Value, peer: SocketAddr) -> bool {
    let ip = entry["peer-ip"].as_str().and_then(|ip| ip.parse().ok());
    let ip = ip.map(|ip: std::net::IpAddr| ip.to_canonical());
    ip == Some(peer.ip()) && entry["peer-port"] == peer.port()
}

fn digest(text: &str) {
    if let Some(digest) = memory::within(MAX_MEMORY + 4 * text.len(), || read_digest(text)) {
        for form in [HashForm::Python, HashForm::Hex] {
            let again = write_digest(&digest, form);
            assert!(again.is_ascii() && again.len() <= 83);
            assert_eq!(read_digest(&again), Some(digest));
        }
    }
}
