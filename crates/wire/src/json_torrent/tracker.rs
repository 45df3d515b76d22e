//! The tracker protocol of `json-torrent`: one JSON request and one JSON reply per connection. It
//! is described in `docs/protocols/json-torrent.md`. The frames around them are [`crate::framing`].

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use serde::Serialize;
use sow_content::json::{JsonError, Object, Value};

use crate::{compact::is_dialable, tracker::printable_text};

/// The longest accepted request, in bytes.
pub const MAX_REQUEST: usize = 4096;

/// The longest accepted reply, in bytes.
pub const MAX_REPLY: usize = 1 << 20;

/// The largest number of peers in a reply; later ones are ignored. A reply with as many peers is
/// shorter than [`MAX_REPLY`].
pub const MAX_REPLY_PEERS: usize = 4096;

/// The longest accepted peer id, in bytes: twice the length of an IPv6 address and port.
const MAX_PEER_ID: usize = 128;

/// The longest text that is parsed as an address, in bytes.
const MAX_ADDRESS: usize = 64;

/// The message of the original tracker to a peer that joins.
const STARTED_MESSAGE: &str = "started ACK";

/// The message of the original tracker to a peer that leaves.
const DISCONNECTED_MESSAGE: &str = "disconnect ACK";

/// Why a peer sends a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The peer joins, and asks for the other peers.
    Started,
    /// The peer leaves. The original programs never send it.
    Stopped,
    /// The peer leaves. The original programs send it even when their file is incomplete.
    Completed,
}

/// A peer's request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The peer's own idea of its address. Trackers use the source address instead.
    pub ip: Option<IpAddr>,
    /// The port that the peer listens on, never 0.
    pub port: u16,
    /// The peer id: `IP:PORT` in the original programs, at most 128 bytes.
    pub peer_id: String,
    /// Why the peer sends the request.
    pub event: Event,
}

/// The tracker's reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The peer has joined. These are the peers that joined earlier, at most [`MAX_REPLY_PEERS`].
    Joined(Vec<SocketAddr>),
    /// The peer has left.
    Left,
    /// An error: the tracker's message, printable, at most 256 characters.
    Error(String),
}

/// Why a request or a reply is rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrackerError {
    /// The body exceeds the limit.
    #[error("the body has {length} bytes; the limit is {limit}")]
    TooLong {
        /// The length in bytes.
        length: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The body is not JSON, or a field is missing, duplicate, of the wrong type, or out of range.
    #[error(transparent)]
    Json(#[from] JsonError),
}

impl Event {
    fn name(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Stopped => "stopped",
            Self::Completed => "completed",
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Request {
    /// The request of a peer that knows its address, with a peer id as in the original programs.
    pub fn new(addr: SocketAddr, event: Event) -> Self {
        Self { ip: Some(addr.ip()), port: addr.port(), peer_id: peer_id(addr), event }
    }

    /// Decodes the body of a request.
    ///
    /// # Errors
    /// When the request is not valid; the error names the field. The protocol's description allows
    /// port 65536, which does not exist, so it is rejected.
    pub fn decode(body: &[u8]) -> Result<Self, TrackerError> {
        let object = parse(body, MAX_REQUEST)?;
        let ip = match object.get("ip") {
            Some(_) => Some(object.read("ip", "an IPv4 or IPv6 address", address)?),
            None => None,
        };
        let port = object.number("port", 1..=u64::from(u16::MAX))? as u16;
        let peer_id = object.text("peer_id", MAX_PEER_ID)?;
        let event = object.read("event", "started, stopped or completed", event)?;
        Ok(Self { ip, port, peer_id, event })
    }

    /// The body of the request.
    pub fn encode(&self) -> Vec<u8> {
        json(&RequestBody {
            ip: self.ip.map(|ip| ip.to_string()),
            port: self.port,
            peer_id: &self.peer_id,
            event: self.event.name(),
        })
    }
}

impl Reply {
    /// Decodes the body of a reply. Malformed entries and peers that are not dialable are omitted.
    ///
    /// # Errors
    /// When the reply is not valid; the error names the field.
    pub fn decode(body: &[u8]) -> Result<Self, TrackerError> {
        let object = parse(body, MAX_REPLY)?;
        let error_code = object.number("error_code", 0..=u64::from(u32::MAX))?;
        let message = match object.get("message") {
            Some(_) => object.text("message", MAX_REPLY)?,
            None => String::new(),
        };
        if error_code != 0 {
            return Ok(Self::Error(printable_text(message.as_bytes())));
        }
        if object.get("peers").is_none() {
            let is_join = message == STARTED_MESSAGE;
            return Ok(if is_join { Self::Joined(Vec::new()) } else { Self::Left });
        }
        let mut peers = Vec::new();
        object.each::<JsonError>("peers", |_, value| {
            peers.extend(peer(value).filter(|_| peers.len() < MAX_REPLY_PEERS));
            Ok(())
        })?;
        Ok(Self::Joined(peers))
    }

    /// The body of the reply, with the first [`MAX_REPLY_PEERS`] peers.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Joined(peers) => {
                let peers: Vec<_> =
                    peers.iter().take(MAX_REPLY_PEERS).map(|addr| PeerBody::new(*addr)).collect();
                let (count, peers) = (Some(peers.len()), Some(peers));
                json(&ReplyBody { error_code: 0, message: STARTED_MESSAGE, count, peers })
            }
            Self::Left => json(&ReplyBody {
                error_code: 0,
                message: DISCONNECTED_MESSAGE,
                count: None,
                peers: None,
            }),
            Self::Error(reason) => json(&ReplyBody {
                error_code: 1,
                message: &printable_text(reason.as_bytes()),
                count: None,
                peers: None,
            }),
        }
    }
}

#[derive(Serialize)]
struct RequestBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<String>,
    port: u16,
    peer_id: &'a str,
    event: &'a str,
}

#[derive(Serialize)]
struct ReplyBody<'a> {
    error_code: u8,
    message: &'a str,
    #[serde(rename = "num-of-peer", skip_serializing_if = "Option::is_none")]
    count: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peers: Option<Vec<PeerBody>>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct PeerBody {
    peer_id: String,
    peer_port: u16,
    peer_ip: String,
}

impl PeerBody {
    fn new(addr: SocketAddr) -> Self {
        Self {
            peer_id: peer_id(addr),
            peer_port: addr.port(),
            peer_ip: addr.ip().to_canonical().to_string(),
        }
    }
}

fn parse(body: &[u8], limit: usize) -> Result<Object<'_>, TrackerError> {
    match body.len() {
        length if length > limit => Err(TrackerError::TooLong { length, limit }),
        _ => Ok(Object::parse(body)?),
    }
}

fn json(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).expect("numbers and texts serialize")
}

/// The peer id that the original programs use.
fn peer_id(addr: SocketAddr) -> String {
    format!("{}:{}", addr.ip().to_canonical(), addr.port())
}

fn event(value: Value<'_>) -> Option<Event> {
    match value.text(16)?.as_str() {
        "started" => Some(Event::Started),
        // Both spellings occur in the protocol's description.
        "stopped" | "stoped" => Some(Event::Stopped),
        "completed" => Some(Event::Completed),
        _ => None,
    }
}

/// An IPv4 address in dotted decimal form, or an IPv6 address.
fn address(value: Value<'_>) -> Option<IpAddr> {
    value.text(MAX_ADDRESS)?.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

fn peer(value: Value<'_>) -> Option<SocketAddr> {
    let object = value.object()?;
    let port = u16::try_from(object.get("peer-port")?.number()?).ok()?;
    Some(SocketAddr::new(address(object.get("peer-ip")?)?, port)).filter(|addr| is_dialable(*addr))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_keys_of_the_protocol() {
        let request = Request::new("10.0.0.3:5555".parse().unwrap(), Event::Started);
        let body = r#"{"ip":"10.0.0.3","port":5555,"peer_id":"10.0.0.3:5555","event":"started"}"#;
        assert_eq!(String::from_utf8(request.encode()).unwrap(), body);
        assert_eq!(Request::decode(body.as_bytes()), Ok(request));
        let python =
            br#"{"port": 5555, "peer_id": "10.0.0.3:5555", "event": "completed", "more": [1]}"#;
        let request = Request::decode(python).unwrap();
        assert_eq!((request.ip, request.port, request.event), (None, 5555, Event::Completed));
    }

    #[test]
    fn replies_have_the_keys_of_the_protocol() {
        let peers = vec!["10.0.0.1:5555".parse().unwrap(), "[fd00::2]:6".parse().unwrap()];
        for (reply, body) in [
            (
                Reply::Joined(peers),
                concat!(
                    r#"{"error_code":0,"message":"started ACK","num-of-peer":2,"peers":["#,
                    r#"{"peer-id":"10.0.0.1:5555","peer-port":5555,"peer-ip":"10.0.0.1"},"#,
                    r#"{"peer-id":"fd00::2:6","peer-port":6,"peer-ip":"fd00::2"}]}"#,
                ),
            ),
            (
                Reply::Joined(vec![]),
                r#"{"error_code":0,"message":"started ACK","num-of-peer":0,"peers":[]}"#,
            ),
            (Reply::Left, r#"{"error_code":0,"message":"disconnect ACK"}"#),
            (Reply::Error("no".into()), r#"{"error_code":1,"message":"no"}"#),
        ] {
            assert_eq!(String::from_utf8(reply.encode()).unwrap(), body);
            assert_eq!(Reply::decode(body.as_bytes()), Ok(reply));
        }
    }

    #[test]
    fn errors_in_a_request_name_the_field() {
        let good =
            r#"{"ip": "10.0.0.3", "port": 5555, "peer_id": "10.0.0.3:5555", "event": "started"}"#;
        for (from, to, expected) in [
            ("5555,", "65536,", "`port` is 65536; expected a whole number from 1 to 65535"),
            ("5555,", "0,", "`port` is 0"),
            ("5555,", "-1,", "`port` is -1"),
            ("5555,", "\"5555\",", "`port` is \"5555\""),
            ("5555,", "5555, \"port\": 5556,", "`port` appears twice"),
            ("\"port\": 5555, ", "", "`port` is missing"),
            (
                "\"10.0.0.3\"",
                "\"10.0.0.256\"",
                "`ip` is \"10.0.0.256\"; expected an IPv4 or IPv6 address",
            ),
            ("\"10.0.0.3\"", "\"010.0.0.3\"", "`ip` is \"010.0.0.3\""),
            ("\"10.0.0.3\"", "10", "`ip` is 10"),
            (
                "\"started\"",
                "\"joined\"",
                "`event` is \"joined\"; expected started, stopped or completed",
            ),
            ("\"started\"", "null", "`event` is null; expected"),
            (", \"event\": \"started\"", "", "`event` is missing"),
            ("\"10.0.0.3:5555\"", "[]", "`peer_id` is []"),
        ] {
            let changed = good.replacen(from, to, 1);
            let error = Request::decode(changed.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{to}: {error}");
        }
        let long = good.replace("10.0.0.3:5555", &"x".repeat(MAX_PEER_ID + 1));
        assert!(Request::decode(long.as_bytes()).unwrap_err().to_string().contains("peer_id"));
        let long = format!("{good}{}", " ".repeat(MAX_REQUEST));
        assert!(matches!(Request::decode(long.as_bytes()), Err(TrackerError::TooLong { .. })));
    }

    #[test]
    fn malformed_peers_are_omitted() {
        let entries = [
            r#"{"peer-id": "x", "peer-port": 5555, "peer-ip": "10.0.0.1"}"#,
            r#"{"peer-port": 0, "peer-ip": "10.0.0.2"}"#,
            r#"{"peer-port": 65536, "peer-ip": "10.0.0.2"}"#,
            r#"{"peer-port": "5555", "peer-ip": "10.0.0.2"}"#,
            r#"{"peer-port": 5555, "peer-ip": "0.0.0.0"}"#,
            r#"{"peer-port": 5555, "peer-ip": "10.0.0.2", "peer-ip": "10.0.0.3"}"#,
            r#"{"peer-port": 5555}"#,
            r#""10.0.0.2:5555""#,
            "[]",
            "null",
            r#"{"peer-port": 5556, "peer-ip": "::ffff:10.0.0.1"}"#,
        ];
        let body =
            format!(r#"{{"error_code": 0, "num-of-peer": -7, "peers": [{}]}}"#, entries.join(","));
        let peers = ["10.0.0.1:5555", "10.0.0.1:5556"].map(|addr| addr.parse().unwrap());
        assert_eq!(Reply::decode(body.as_bytes()), Ok(Reply::Joined(peers.to_vec())));
    }

    #[test]
    fn errors_in_a_reply_name_the_field() {
        for (body, expected) in [
            ("[]", "not a JSON object"),
            ("{}", "`error_code` is missing"),
            (r#"{"error_code": "0"}"#, "`error_code` is \"0\""),
            (r#"{"error_code": -1}"#, "`error_code` is -1"),
            (r#"{"error_code": 0, "message": 7}"#, "`message` is 7"),
            (r#"{"error_code": 0, "peers": {}}"#, "`peers` is {}; expected an array"),
            (r#"{"error_code": 0, "peers": [], "peers": []}"#, "`peers` appears twice"),
        ] {
            let error = Reply::decode(body.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{body}: {error}");
        }
        let error = Reply::decode(br#"{"error_code": 7, "message": "\u001b[2J"}"#);
        assert_eq!(error, Ok(Reply::Error("\u{fffd}[2J".into())));
    }

    #[test]
    fn a_reply_with_the_maximum_number_of_peers_fits() {
        let peers: Vec<SocketAddr> = (1..=MAX_REPLY_PEERS as u16 + 1)
            .map(|port| {
                SocketAddr::from((
                    [0xfd01, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff],
                    60_000 + port % 5_000,
                ))
            })
            .collect();
        let body = Reply::Joined(peers.clone()).encode();
        assert!(body.len() <= MAX_REPLY, "{}", body.len());
        assert_eq!(Reply::decode(&body), Ok(Reply::Joined(peers[..MAX_REPLY_PEERS].to_vec())));
        // Peers beyond the maximum are ignored.
        let entry = r#"{"peer-port": 5555, "peer-ip": "10.0.0.1"}"#;
        let body = format!(
            r#"{{"error_code": 0, "peers": [{}]}}"#,
            vec![entry; MAX_REPLY_PEERS + 5].join(",")
        );
        let reply = Reply::decode(body.as_bytes());
        let Ok(Reply::Joined(peers)) = reply else { panic!("{reply:?}") };
        assert_eq!(peers.len(), MAX_REPLY_PEERS);
    }
}
