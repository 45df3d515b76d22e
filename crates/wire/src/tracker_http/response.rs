//! The bencoded answer to an announce, both forms of its peers: compact (BEP 23, BEP 7) and a list
//! of dictionaries (BEP 3).

use std::net::{IpAddr, SocketAddr};

use sow_content::bencode::{BencodeError, DictEncoder, Encoder, Limits, Reader};

use super::request::tracker_id;
use crate::{
    bittorrent::PeerId,
    compact,
    tracker::{AnnounceResponse, MAX_PEERS, TrackedPeer, interval, text},
};

/// The longest answer that is read, in bytes.
pub const MAX_RESPONSE: usize = 1024 * 1024;

/// What an answer may hold: as many values as its bytes can, as a list of peers has four for each.
pub(super) const LIMITS: Limits = Limits { depth: 8, items: MAX_RESPONSE, any_order: true };

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// It is longer than [`MAX_RESPONSE`].
    #[error("the tracker's answer is longer than {MAX_RESPONSE} bytes")]
    TooLong,
    /// It is not bencoded, or not as BEP 3 has it.
    #[error("the tracker's answer cannot be read: {0}")]
    Bencode(#[from] BencodeError),
    /// The tracker refuses (`failure reason`); its words, made fit to be shown.
    #[error("{0}")]
    Refused(String),
}

/// The body that tells of a failure.
pub fn encode_failure(reason: &str) -> Vec<u8> {
    let mut out = Encoder::new();
    out.dict(|dict| dict.bytes(b"failure reason", reason.as_bytes()));
    out.finish()
}

/// The body of an answer: peers in compact form, or as dictionaries, with their names unless
/// `no_peer_id`.
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
            let peers = response.peers.iter().take(MAX_PEERS);
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

/// Reads the body of an answer. Peers beyond [`MAX_PEERS`], those that nobody can dial and those
/// named by a host name are left out.
///
/// # Errors
/// When the body is too long, cannot be read, or says that the tracker refuses.
pub fn decode_announce(body: &[u8]) -> Result<AnnounceResponse, ResponseError> {
    let mut response = AnnounceResponse {
        interval: interval(0),
        min_interval: None,
        complete: None,
        incomplete: None,
        peers: Vec::new(),
        warning: None,
        tracker_id: None,
    };
    let mut refused = None;
    let mut reader = bounded(body)?;
    reader.dict(|key, value| {
        match key {
            b"failure reason" => refused = Some(text(value.bytes()?)),
            b"warning message" => response.warning = Some(text(value.bytes()?)),
            b"interval" => response.interval = interval(value.int()?),
            b"min interval" => {
                response.min_interval = Some(value.int()?).filter(|n| *n > 0).map(interval)
            }
            b"complete" => response.complete = count(value.int()?),
            b"incomplete" => response.incomplete = count(value.int()?),
            b"tracker id" => response.tracker_id = tracker_id(value.bytes()?),
            b"peers" if value.peek()? == b'l' => read_list(value, &mut response.peers)?,
            b"peers" => keep(&mut response.peers, compact::read_v4(value.bytes()?)),
            b"peers6" => keep(&mut response.peers, compact::read_v6(value.bytes()?)),
            _ => {}
        }
        Ok::<_, BencodeError>(())
    })?;
    refused.map_or(Ok(response), |reason| Err(ResponseError::Refused(reason)))
}

/// A reader over an answer that is not too long. What follows its dictionary (a line break, with
/// some trackers) is passed over.
pub(super) fn bounded(body: &[u8]) -> Result<Reader<'_>, ResponseError> {
    if body.len() > MAX_RESPONSE {
        return Err(ResponseError::TooLong);
    }
    Ok(Reader::new(body, LIMITS))
}

/// A number of peers; `None` for a negative one.
pub(super) fn count(number: i64) -> Option<u32> {
    (number >= 0).then(|| u32::try_from(number).unwrap_or(u32::MAX))
}

fn put_number(dict: &mut DictEncoder<'_>, key: &[u8], number: Option<u64>) {
    if let Some(number) = number {
        dict.int(key, i64::try_from(number).unwrap_or(i64::MAX));
    }
}

/// `peers` stands there even when it is empty; `peers6` when it is not.
fn put_compact(dict: &mut DictEncoder<'_>, peers: &[TrackedPeer]) {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for peer in peers.iter().take(MAX_PEERS) {
        compact::put(peer.addr, &mut v4, &mut v6);
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

fn read_list(value: &mut Reader<'_>, peers: &mut Vec<TrackedPeer>) -> Result<(), BencodeError> {
    value.list(|_, value| {
        let (mut ip, mut port, mut peer_id) = (None::<IpAddr>, None, None);
        value.dict(|key, value| {
            match key {
                b"ip" => ip = str::from_utf8(value.bytes()?).ok().and_then(|ip| ip.parse().ok()),
                b"port" => port = u16::try_from(value.int()?).ok(),
                b"peer id" => peer_id = value.bytes()?.try_into().ok().map(PeerId),
                _ => {}
            }
            Ok::<_, BencodeError>(())
        })?;
        if let (Some(ip), Some(port)) = (ip, port) {
            let addr = SocketAddr::new(ip.to_canonical(), port);
            if compact::is_dialable(addr) && peers.len() < MAX_PEERS {
                peers.push(TrackedPeer { addr, peer_id });
            }
        }
        Ok(())
    })
}

fn keep(peers: &mut Vec<TrackedPeer>, addrs: impl Iterator<Item = SocketAddr>) {
    let room = MAX_PEERS - peers.len();
    peers.extend(addrs.take(room).map(|addr| TrackedPeer { addr, peer_id: None }));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn peer(text: &str, id: Option<u8>) -> TrackedPeer {
        TrackedPeer { addr: text.parse().unwrap(), peer_id: id.map(|id| PeerId([id; 20])) }
    }

    fn answer() -> AnnounceResponse {
        AnnounceResponse {
            interval: Duration::from_secs(30),
            min_interval: Some(Duration::from_secs(10)),
            complete: Some(1),
            incomplete: Some(2),
            peers: vec![peer("1.2.3.4:258", Some(b'x')), peer("[2001:db8::1]:9", Some(b'y'))],
            warning: Some("careful".into()),
            tracker_id: Some(b"id".to_vec()),
        }
    }

    #[test]
    fn the_compact_form_has_no_names() {
        let body = encode_announce(&answer(), true, false);
        let head = b"d8:completei1e10:incompletei2e8:intervali30e12:min intervali10e5:peers6:\x01\x02\x03\x04\x01\x02";
        assert_eq!(body[..head.len()], head[..]);
        assert_eq!(body[head.len()..head.len() + 14], *b"6:peers618:\x20\x01\x0d");
        let want = AnnounceResponse {
            peers: vec![peer("1.2.3.4:258", None), peer("[2001:db8::1]:9", None)],
            ..answer()
        };
        assert_eq!(decode_announce(&body), Ok(want));
    }

    #[test]
    fn the_list_form_has_names_unless_they_are_not_wanted() {
        assert_eq!(decode_announce(&encode_announce(&answer(), false, false)), Ok(answer()));
        let nameless = decode_announce(&encode_announce(&answer(), false, true)).unwrap();
        assert_eq!(nameless.peers, [peer("1.2.3.4:258", None), peer("[2001:db8::1]:9", None)]);
    }

    #[test]
    fn an_empty_swarm_has_an_empty_list() {
        let empty = AnnounceResponse { peers: vec![], ..answer() };
        assert!(encode_announce(&empty, true, false).windows(9).any(|part| part == b"5:peers0:"));
        assert!(encode_announce(&empty, false, false).windows(9).any(|part| part == b"5:peersle"));
    }

    #[test]
    fn a_refusal_is_an_error_whatever_else_is_said() {
        let body = encode_failure("not registered");
        assert_eq!(body, b"d14:failure reason14:not registerede");
        assert_eq!(decode_announce(&body), Err(ResponseError::Refused("not registered".into())));
        let both = b"d14:failure reason1:x8:intervali30ee";
        assert_eq!(decode_announce(both), Err(ResponseError::Refused("x".into())));
    }

    #[test]
    fn odd_answers_are_survived() {
        // Keys out of order, no interval, negative numbers, half an address, a line break behind.
        let body =
            b"d5:peers8:\x01\x02\x03\x04\x00\x09\x01\x028:completei-1e12:min intervali-5ee\n";
        let response = decode_announce(body).unwrap();
        assert_eq!(response.interval, Duration::from_secs(1800));
        assert_eq!((response.complete, response.min_interval), (None, None));
        assert_eq!(response.peers, [peer("1.2.3.4:9", None)]);
        // Host names, port 0, ports that do not exist, no port, a peer id that is too short.
        let body =
            b"d5:peersld2:ip11:example.org4:porti1eed2:ip7:1.2.3.44:porti0eed2:ip7:1.2.3.44:porti65536ee\
                     d2:ip7:1.2.3.4ed2:ip7:1.2.3.47:peer id3:abc4:porti5eeee";
        assert_eq!(decode_announce(body).unwrap().peers, [peer("1.2.3.4:5", None)]);
        for bad in
            [&b""[..], b"<html>", b"le", b"d5:peersi1ee", b"d8:interval1:xe", b"d5:peersli1eee"]
        {
            assert!(matches!(decode_announce(bad), Err(ResponseError::Bencode(_))));
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
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
        peers.iter().for_each(|peer| compact::put(peer.addr, &mut v4, &mut Vec::new()));
        let mut compact = Encoder::new();
        compact.dict(|dict| dict.bytes(b"peers", &v4));
        for body in [compact.finish(), list.finish()] {
            assert_eq!(decode_announce(&body).unwrap().peers.len(), MAX_PEERS);
        }
        for (length, kept) in [(256, true), (257, false)] {
            let mut long = Encoder::new();
            long.dict(|dict| dict.bytes(b"tracker id", &vec![7; length]));
            assert_eq!(decode_announce(&long.finish()).unwrap().tracker_id.is_some(), kept);
        }
    }
}
