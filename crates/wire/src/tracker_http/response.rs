//! The bencoded response to an announce, with its peers in compact form (BEP 23, BEP 7) or as a
//! list of dictionaries (BEP 3). Scrape responses are `scrape`.

use std::net::{IpAddr, SocketAddr};

use sow_content::bencode::{BencodeError, DictEncoder, Encoder, Limits, Reader};

use super::request::tracker_id;
use crate::{
    bittorrent::PeerId,
    compact,
    tracker::{
        AnnounceResponse, MAX_RESPONSE_NAMES, MAX_RESPONSE_PEERS, TrackedPeer, interval_from_wire,
        printable_text,
    },
};

/// The largest accepted response body, in bytes.
pub const MAX_RESPONSE: usize = 1024 * 1024;

/// Limits for decoding a response. A list of peers has four values for each peer, so the number of
/// values is bounded by the length of the body only.
pub(super) const RESPONSE_LIMITS: Limits =
    Limits { depth: 8, items: MAX_RESPONSE, any_order: true };

/// Why a response has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// The body is longer than [`MAX_RESPONSE`].
    #[error("the tracker's response is longer than {MAX_RESPONSE} bytes")]
    TooLong,
    /// The body is not bencoded, or a field has the wrong type.
    #[error("the tracker's response is not valid: {0}")]
    Bencode(#[from] BencodeError),
    /// The tracker reports an error: its `failure reason`, printable.
    #[error("{0}")]
    Failure(String),
}

/// The body of a response that reports an error.
pub fn encode_failure(reason: &str) -> Vec<u8> {
    let mut out = Encoder::new();
    out.dict(|dict| dict.bytes(b"failure reason", reason.as_bytes()));
    out.finish()
}

/// The body of a response: the peers in compact form, or as dictionaries with their peer ids unless
/// `no_peer_id` is set.
pub fn encode_announce(response: &AnnounceResponse, compact: bool, no_peer_id: bool) -> Vec<u8> {
    let mut out = Encoder::new();
    out.dict(|dict| {
        put_number(dict, b"complete", response.complete.map(u64::from));
        put_number(dict, b"incomplete", response.incomplete.map(u64::from));
        put_number(dict, b"interval", Some(response.interval.as_secs()));
        put_number(dict, b"min interval", response.min_interval.map(|interval| interval.as_secs()));
        if compact {
            put_compact(dict, &response.peers);
        } else {
            let peers = response.peers.iter().take(MAX_RESPONSE_PEERS);
            dict.entry(b"peers", |out| {
                out.list(|out| peers.for_each(|peer| put_peer(out, peer, no_peer_id)))
            });
        }
        if let Some(id) = &response.tracker_id {
            dict.bytes(b"tracker id", id);
        }
        if let Some(warning) = &response.warning {
            dict.bytes(b"warning message", warning.as_bytes());
        }
    });
    out.finish()
}

/// Decodes the body of a response. Peers beyond [`MAX_RESPONSE_PEERS`] and peers that are not
/// dialable are omitted. Fields of another type than usual are ignored, but for numbers that are
/// written as text, as some trackers do.
///
/// # Errors
/// When the body is too long or not a bencoded dictionary, or has a failure reason.
pub fn decode_announce(body: &[u8]) -> Result<AnnounceResponse, ResponseError> {
    let mut response = AnnounceResponse {
        interval: interval_from_wire(0),
        min_interval: None,
        complete: None,
        incomplete: None,
        peers: Vec::new(),
        named_peers: Vec::new(),
        warning: None,
        tracker_id: None,
    };
    let mut failure = None;
    let mut reader = bounded_reader(body)?;
    reader.dict(|key, value| {
        match key {
            b"failure reason" => {
                let reason = text(value)?.map_or_else(|| "no reason".to_owned(), printable_text);
                failure = Some(reason);
            }
            b"warning message" => response.warning = text(value)?.map(printable_text),
            b"interval" => response.interval = interval_from_wire(number(value)?.unwrap_or(0)),
            b"min interval" => {
                response.min_interval = number(value)?.filter(|n| *n > 0).map(interval_from_wire)
            }
            b"complete" => response.complete = number(value)?.and_then(count),
            b"incomplete" => response.incomplete = number(value)?.and_then(count),
            b"tracker id" => response.tracker_id = text(value)?.and_then(tracker_id),
            b"peers" | b"peers6" if value.peek()? == b'l' => read_peer_list(value, &mut response)?,
            b"peers" => {
                let peers = compact::read_v4(text(value)?.unwrap_or_default());
                extend_peers(&mut response.peers, peers);
            }
            b"peers6" => {
                let peers = compact::read_v6(text(value)?.unwrap_or_default());
                extend_peers(&mut response.peers, peers);
            }
            _ => {}
        }
        Ok::<_, BencodeError>(())
    })?;
    failure.map_or(Ok(response), |reason| Err(ResponseError::Failure(reason)))
}

/// A byte string; `None` for a value of another type, which is skipped.
fn text<'a>(value: &mut Reader<'a>) -> Result<Option<&'a [u8]>, BencodeError> {
    if value.peek()?.is_ascii_digit() {
        return value.bytes().map(Some);
    }
    value.skip().map(|_| None)
}

/// A number, also one that is written as text; `None` for any other value, which is skipped.
fn number(value: &mut Reader<'_>) -> Result<Option<i64>, BencodeError> {
    if value.peek()? == b'i' {
        return value.int().map(Some);
    }
    let digits = text(value)?.and_then(|text| str::from_utf8(text).ok());
    Ok(digits.and_then(|digits| digits.trim().parse().ok()))
}

/// A reader over a response body of acceptable length. Callers ignore the bytes after the
/// dictionary: some trackers append a line break.
pub(super) fn bounded_reader(body: &[u8]) -> Result<Reader<'_>, ResponseError> {
    if body.len() > MAX_RESPONSE {
        return Err(ResponseError::TooLong);
    }
    Ok(Reader::new(body, RESPONSE_LIMITS))
}

/// A number of peers; `None` when it is negative.
pub(super) fn count(number: i64) -> Option<u32> {
    (number >= 0).then(|| u32::try_from(number).unwrap_or(u32::MAX))
}

fn put_number(dict: &mut DictEncoder<'_>, key: &[u8], number: Option<u64>) {
    if let Some(number) = number {
        dict.int(key, i64::try_from(number).unwrap_or(i64::MAX));
    }
}

/// Appends `peers`, even when it is empty, and `peers6` when it is not.
fn put_compact(dict: &mut DictEncoder<'_>, peers: &[TrackedPeer]) {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for peer in peers.iter().take(MAX_RESPONSE_PEERS) {
        compact::append(peer.addr, &mut v4, &mut v6);
    }
    dict.bytes(b"peers", &v4);
    if !v6.is_empty() {
        dict.bytes(b"peers6", &v6);
    }
}

fn put_peer(out: &mut Encoder, peer: &TrackedPeer, no_peer_id: bool) {
    out.dict(|dict| {
        dict.bytes(b"ip", peer.addr.ip().to_canonical().to_string().as_bytes());
        if let Some(PeerId(id)) = peer.peer_id.filter(|_| !no_peer_id) {
            dict.bytes(b"peer id", &id);
        }
        dict.int(b"port", peer.addr.port().into());
    });
}

fn read_peer_list(
    value: &mut Reader<'_>,
    response: &mut AnnounceResponse,
) -> Result<(), BencodeError> {
    value.list(|_, value| {
        if value.peek()? != b'd' {
            return value.skip().map(|_| ());
        }
        let (mut host, mut port, mut peer_id) = (None, None, None);
        value.dict(|key, value| {
            match key {
                b"ip" => host = text(value)?.and_then(|host| str::from_utf8(host).ok()),
                b"port" => port = number(value)?.and_then(|port| u16::try_from(port).ok()),
                b"peer id" => {
                    peer_id = text(value)?.and_then(|id| id.try_into().ok()).map(PeerId);
                }
                _ => {}
            }
            Ok::<_, BencodeError>(())
        })?;
        let (Some(host), Some(port)) = (host, port) else { return Ok(()) };
        match host.parse::<IpAddr>() {
            Ok(ip) => {
                let addr = SocketAddr::new(ip.to_canonical(), port);
                let is_kept = response.peers.len() < MAX_RESPONSE_PEERS;
                if is_kept && compact::is_dialable(addr) {
                    response.peers.push(TrackedPeer { addr, peer_id });
                }
            }
            Err(_) => {
                let is_kept = response.named_peers.len() < MAX_RESPONSE_NAMES;
                if is_kept && port != 0 && is_host_name(host) {
                    response.named_peers.push((host.to_owned(), port));
                }
            }
        }
        Ok::<_, BencodeError>(())
    })
}

/// Whether a text can be the name of a host (RFC 1123, and the underscore that is in use).
fn is_host_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    (1..=253).contains(&text.len()) && text.bytes().all(is_plain)
}

fn extend_peers(peers: &mut Vec<TrackedPeer>, addrs: impl Iterator<Item = SocketAddr>) {
    let room = MAX_RESPONSE_PEERS - peers.len();
    peers.extend(addrs.take(room).map(|addr| TrackedPeer { addr, peer_id: None }));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn peer(text: &str, id: Option<u8>) -> TrackedPeer {
        TrackedPeer { addr: text.parse().unwrap(), peer_id: id.map(|id| PeerId([id; 20])) }
    }

    fn response() -> AnnounceResponse {
        AnnounceResponse {
            interval: Duration::from_secs(30),
            min_interval: Some(Duration::from_secs(10)),
            complete: Some(1),
            incomplete: Some(2),
            peers: vec![peer("1.2.3.4:258", Some(b'x')), peer("[2001:db8::1]:9", Some(b'y'))],
            named_peers: Vec::new(),
            warning: Some("careful".into()),
            tracker_id: Some(b"id".to_vec()),
        }
    }

    #[test]
    fn the_compact_form_has_no_peer_ids() {
        let body = encode_announce(&response(), true, false);
        let head = b"d8:completei1e10:incompletei2e8:intervali30e12:min intervali10e\
                     5:peers6:\x01\x02\x03\x04\x01\x02";
        assert_eq!(body[..head.len()], head[..]);
        assert_eq!(body[head.len()..head.len() + 14], *b"6:peers618:\x20\x01\x0d");
        let want = AnnounceResponse {
            peers: vec![peer("1.2.3.4:258", None), peer("[2001:db8::1]:9", None)],
            ..response()
        };
        assert_eq!(decode_announce(&body), Ok(want));
    }

    #[test]
    fn the_list_form_has_peer_ids_unless_no_peer_id_is_set() {
        assert_eq!(decode_announce(&encode_announce(&response(), false, false)), Ok(response()));
        let without_ids = decode_announce(&encode_announce(&response(), false, true)).unwrap();
        assert_eq!(without_ids.peers, [peer("1.2.3.4:258", None), peer("[2001:db8::1]:9", None)]);
    }

    #[test]
    fn an_empty_swarm_is_sent_as_an_empty_list() {
        let empty = AnnounceResponse { peers: vec![], ..response() };
        assert!(encode_announce(&empty, true, false).windows(9).any(|part| part == b"5:peers0:"));
        assert!(encode_announce(&empty, false, false).windows(9).any(|part| part == b"5:peersle"));
    }

    #[test]
    fn a_failure_reason_makes_the_response_an_error() {
        let body = encode_failure("not registered");
        assert_eq!(body, b"d14:failure reason14:not registerede");
        assert_eq!(decode_announce(&body), Err(ResponseError::Failure("not registered".into())));
        let both = b"d14:failure reason1:x8:intervali30ee";
        assert_eq!(decode_announce(both), Err(ResponseError::Failure("x".into())));
    }

    #[test]
    fn unusual_responses_are_decoded_and_invalid_ones_rejected() {
        // Unsorted keys, no interval, negative numbers, an incomplete address, a line break at the
        // end.
        let body =
            b"d5:peers8:\x01\x02\x03\x04\x00\x09\x01\x028:completei-1e12:min intervali-5ee\n";
        let response = decode_announce(body).unwrap();
        assert_eq!(response.interval, Duration::from_secs(1800));
        assert_eq!((response.complete, response.min_interval), (None, None));
        assert_eq!(response.peers, [peer("1.2.3.4:9", None)]);
        // A host name, port 0, port 65536, no port, a peer id that is too short.
        let body = b"d5:peersld2:ip11:example.org4:porti1eed2:ip7:1.2.3.44:porti0ee\
                     d2:ip7:1.2.3.44:porti65536eed2:ip7:1.2.3.4e\
                     d2:ip7:1.2.3.47:peer id3:abc4:porti5eeee";
        assert_eq!(decode_announce(body).unwrap().peers, [peer("1.2.3.4:5", None)]);
        for bad in [&b""[..], b"<html>", b"le", b"d5:peers", b"d8:intervali1e"] {
            assert!(matches!(decode_announce(bad), Err(ResponseError::Bencode(_))));
        }
    }

    #[test]
    fn fields_of_an_odd_type_are_ignored_and_numbers_may_be_text() {
        let body = b"d8:complete1:510:incompleteli1ee8:interval3: 90\
                     12:min interval2:305:peersld2:ip7:1.2.3.44:port1:9ei7e2:abe6:peers6i5e\
                     10:tracker idi1e15:warning messaged1:a1:bee and more";
        let response = decode_announce(body).unwrap();
        assert_eq!(response.interval, Duration::from_secs(90));
        assert_eq!(response.min_interval, Some(Duration::from_secs(30)));
        assert_eq!((response.complete, response.incomplete), (Some(5), None));
        assert_eq!(response.peers, [peer("1.2.3.4:9", None)]);
        assert_eq!((response.warning, response.tracker_id), (None, None));
        for body in [&b"d5:peersi1ee"[..], b"d8:interval1:xe", b"d5:peersli1eee", b"d5:peersdee"] {
            let response = decode_announce(body).unwrap();
            assert!(response.peers.is_empty());
            assert_eq!(response.interval, Duration::from_secs(1800));
        }
        let refused = decode_announce(b"d14:failure reasoni1ee");
        assert_eq!(refused, Err(ResponseError::Failure("no reason".into())));
    }

    #[test]
    fn peers_with_a_host_name_are_kept_apart() {
        let body = b"d5:peersld2:ip12:peer.example4:porti7eed2:ip10:no/no name4:porti7eed2:ip1:a\
                     4:porti0eed2:ip3:::14:porti7eeee";
        let response = decode_announce(body).unwrap();
        assert_eq!(response.named_peers, [("peer.example".to_owned(), 7)]);
        assert_eq!(response.peers, [peer("[::1]:7", None)]);
    }

    #[test]
    fn the_decoded_response_is_bounded() {
        assert_eq!(decode_announce(&vec![b'd'; MAX_RESPONSE + 1]), Err(ResponseError::TooLong));
        let peers = (0..3000u32).map(|at| {
            let ip = IpAddr::from((0x0a00_0000 + at).to_be_bytes());
            TrackedPeer { addr: SocketAddr::new(ip, 1), peer_id: None }
        });
        let peers: Vec<_> = peers.collect();
        let (mut v4, mut list) = (Vec::new(), Encoder::new());
        list.dict(|dict| {
            dict.entry(b"peers", |out| {
                out.list(|out| peers.iter().for_each(|peer| put_peer(out, peer, false)));
            });
        });
        peers.iter().for_each(|peer| compact::append(peer.addr, &mut v4, &mut Vec::new()));
        let mut compact = Encoder::new();
        compact.dict(|dict| dict.bytes(b"peers", &v4));
        for body in [compact.finish(), list.finish()] {
            assert_eq!(decode_announce(&body).unwrap().peers.len(), MAX_RESPONSE_PEERS);
        }
        for (length, kept) in [(256, true), (257, false)] {
            let mut long = Encoder::new();
            long.dict(|dict| dict.bytes(b"tracker id", &vec![7; length]));
            assert_eq!(decode_announce(&long.finish()).unwrap().tracker_id.is_some(), kept);
        }
    }
}
