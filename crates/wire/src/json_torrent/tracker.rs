//! What peers and the tracker of document 2 say to each other (section 2.2): one JSON request and
//! one JSON reply a connection. The frames around them are another file's.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use serde::Serialize;
use sow_content::json::{JsonError, Object, Value};

use crate::{compact::is_dialable, tracker::text};

/// The longest request that is read, in bytes.
pub const MAX_REQUEST: usize = 4096;

/// The longest reply that is read, in bytes.
pub const MAX_REPLY: usize = 1 << 20;

/// How many peers a reply names at most; what follows is passed over. The longest reply that is
/// written has room for them.
pub const MAX_PEERS: usize = 4096;

/// The longest name of a peer, in bytes: twice what an IPv6 address and a port take.
const MAX_PEER_ID: usize = 128;

/// The longest spelling of an address that is looked at, in bytes.
const MAX_ADDRESS: usize = 64;

/// What the original tracker says to who joins.
const STARTED: &str = "started ACK";

/// What the original tracker says to who leaves.
const DISCONNECTED: &str = "disconnect ACK";

/// Why a peer calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// It joins, and wants to know who is there.
    Started,
    /// It leaves. The original programs never say so.
    Stopped,
    /// It leaves: that is how the original programs say it, whether they have everything or not.
    Completed,
}

/// A peer's request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its address as it believes to know it. Trackers use the one that they see.
    pub ip: Option<IpAddr>,
    /// Where it listens, never 0.
    pub port: u16,
    /// Its name, `IP:PORT` in the original: up to 128 bytes of anything.
    pub peer_id: String,
    /// Why it calls.
    pub event: Event,
}

/// The tracker's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// To who joins: the peers that were there before, at most [`MAX_PEERS`].
    Joined(Vec<SocketAddr>),
    /// To who leaves.
    Left,
    /// An error: what the tracker says of it, up to 256 characters, none of them a control
    /// character.
    Refused(String),
}

/// Why bytes are no request or no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrackerError {
    /// Longer than is accepted.
    #[error("{length} bytes; at most {limit} are accepted")]
    TooLong {
        /// How many bytes there are.
        length: usize,
        /// How many there may be.
        limit: usize,
    },
    /// It is no JSON, or a field is missing, there twice, of another type, or out of range.
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
    /// The request of a peer that knows its address, named as the originals name themselves.
    pub fn new(addr: SocketAddr, event: Event) -> Self {
        Self { ip: Some(addr.ip()), port: addr.port(), peer_id: peer_id(addr), event }
    }

    /// Reads the body of a request.
    ///
    /// # Errors
    /// When it is none: the error names the field. The document allows port 65536, which no machine
    /// has.
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
    /// Reads the body of a reply. Peers that nobody can call are left out, as is what is no peer at
    /// all.
    ///
    /// # Errors
    /// When it is none: the error names the field.
    pub fn decode(body: &[u8]) -> Result<Self, TrackerError> {
        let object = parse(body, MAX_REPLY)?;
        let error_code = object.number("error_code", 0..=u64::from(u32::MAX))?;
        let message = match object.get("message") {
            Some(_) => object.text("message", MAX_REPLY)?,
            None => String::new(),
        };
        if error_code != 0 {
            return Ok(Self::Refused(text(message.as_bytes())));
        }
        if object.get("peers").is_none() {
            return Ok(if message == STARTED { Self::Joined(Vec::new()) } else { Self::Left });
        }
        let mut peers = Vec::new();
        object.each::<JsonError>("peers", |_, value| {
            peers.extend(peer(value).filter(|_| peers.len() < MAX_PEERS));
            Ok(())
        })?;
        Ok(Self::Joined(peers))
    }

    /// The body of the reply. Of the peers, the first [`MAX_PEERS`] are named.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Joined(peers) => {
                let peers: Vec<_> =
                    peers.iter().take(MAX_PEERS).map(|addr| PeerBody::new(*addr)).collect();
                let (count, peers) = (Some(peers.len()), Some(peers));
                json(&ReplyBody { error_code: 0, message: STARTED, count, peers })
            }
            Self::Left => {
                json(&ReplyBody { error_code: 0, message: DISCONNECTED, count: None, peers: None })
            }
            Self::Refused(reason) => json(&ReplyBody {
                error_code: 1,
                message: &text(reason.as_bytes()),
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
    serde_json::to_vec(body).expect("numbers and texts become JSON")
}

/// How the originals name a peer.
fn peer_id(addr: SocketAddr) -> String {
    format!("{}:{}", addr.ip().to_canonical(), addr.port())
}

fn event(value: Value<'_>) -> Option<Event> {
    match value.text(16)?.as_str() {
        "started" => Some(Event::Started),
        // The document spells it in both ways.
        "stopped" | "stoped" => Some(Event::Stopped),
        "completed" => Some(Event::Completed),
        _ => None,
    }
}

/// An IPv4 address of four decimal numbers, or an IPv6 address.
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
    fn requests_have_the_documents_keys() {
        let request = Request::new("10.0.0.3:5555".parse().unwrap(), Event::Started);
        let due = r#"{"ip":"10.0.0.3","port":5555,"peer_id":"10.0.0.3:5555","event":"started"}"#;
        assert_eq!(String::from_utf8(request.encode()).unwrap(), due);
        assert_eq!(Request::decode(due.as_bytes()), Ok(request));
        let python =
            br#"{"port": 5555, "peer_id": "10.0.0.3:5555", "event": "completed", "more": [1]}"#;
        let request = Request::decode(python).unwrap();
        assert_eq!((request.ip, request.port, request.event), (None, 5555, Event::Completed));
    }

    #[test]
    fn replies_have_the_documents_keys() {
        let peers = vec!["10.0.0.1:5555".parse().unwrap(), "[fd00::2]:6".parse().unwrap()];
        for (reply, due) in [
            (
                Reply::Joined(peers),
                r#"{"error_code":0,"message":"started ACK","num-of-peer":2,"peers":[{"peer-id":"10.0.0.1:5555","peer-port":5555,"peer-ip":"10.0.0.1"},{"peer-id":"fd00::2:6","peer-port":6,"peer-ip":"fd00::2"}]}"#,
            ),
            (
                Reply::Joined(vec![]),
                r#"{"error_code":0,"message":"started ACK","num-of-peer":0,"peers":[]}"#,
            ),
            (Reply::Left, r#"{"error_code":0,"message":"disconnect ACK"}"#),
            (Reply::Refused("no".into()), r#"{"error_code":1,"message":"no"}"#),
        ] {
            assert_eq!(String::from_utf8(reply.encode()).unwrap(), due);
            assert_eq!(Reply::decode(due.as_bytes()), Ok(reply));
        }
    }

    #[test]
    fn what_is_wrong_with_a_request_is_named() {
        let good =
            r#"{"ip": "10.0.0.3", "port": 5555, "peer_id": "10.0.0.3:5555", "event": "started"}"#;
        for (from, to, due) in [
            ("5555,", "65536,", "`port` is 65536, where a whole number from 1 to 65535 belongs"),
            ("5555,", "0,", "`port` is 0"),
            ("5555,", "-1,", "`port` is -1"),
            ("5555,", "\"5555\",", "`port` is \"5555\""),
            ("5555,", "5555, \"port\": 5556,", "`port` is there twice"),
            ("\"port\": 5555, ", "", "`port` is missing"),
            (
                "\"10.0.0.3\"",
                "\"10.0.0.256\"",
                "`ip` is \"10.0.0.256\", where an IPv4 or IPv6 address",
            ),
            ("\"10.0.0.3\"", "\"010.0.0.3\"", "`ip` is \"010.0.0.3\""),
            ("\"10.0.0.3\"", "10", "`ip` is 10"),
            (
                "\"started\"",
                "\"joined\"",
                "`event` is \"joined\", where started, stopped or completed belongs",
            ),
            ("\"started\"", "null", "`event` is null, where"),
            (", \"event\": \"started\"", "", "`event` is missing"),
            ("\"10.0.0.3:5555\"", "[]", "`peer_id` is []"),
        ] {
            let changed = good.replacen(from, to, 1);
            let error = Request::decode(changed.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(due), "{to}: {error}");
        }
        let long = good.replace("10.0.0.3:5555", &"x".repeat(MAX_PEER_ID + 1));
        assert!(Request::decode(long.as_bytes()).unwrap_err().to_string().contains("peer_id"));
        let long = format!("{good}{}", " ".repeat(MAX_REQUEST));
        assert!(matches!(Request::decode(long.as_bytes()), Err(TrackerError::TooLong { .. })));
    }

    #[test]
    fn malformed_peers_are_left_out() {
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
        let due = ["10.0.0.1:5555", "10.0.0.1:5556"].map(|addr| addr.parse().unwrap());
        assert_eq!(Reply::decode(body.as_bytes()), Ok(Reply::Joined(due.to_vec())));
    }

    #[test]
    fn what_is_wrong_with_a_reply_is_named() {
        for (body, due) in [
            ("[]", "not a JSON object"),
            ("{}", "`error_code` is missing"),
            (r#"{"error_code": "0"}"#, "`error_code` is \"0\""),
            (r#"{"error_code": -1}"#, "`error_code` is -1"),
            (r#"{"error_code": 0, "message": 7}"#, "`message` is 7"),
            (r#"{"error_code": 0, "peers": {}}"#, "`peers` is {}, where an array belongs"),
            (r#"{"error_code": 0, "peers": [], "peers": []}"#, "`peers` is there twice"),
        ] {
            let error = Reply::decode(body.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(due), "{body}: {error}");
        }
        let refused = Reply::decode(br#"{"error_code": 7, "message": "\u001b[2J"}"#);
        assert_eq!(refused, Ok(Reply::Refused("\u{fffd}[2J".into())));
    }

    #[test]
    fn the_largest_reply_has_room() {
        let peers: Vec<SocketAddr> = (1..=MAX_PEERS as u16 + 1)
            .map(|port| {
                SocketAddr::from((
                    [0xfd01, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff],
                    60_000 + port % 5_000,
                ))
            })
            .collect();
        let body = Reply::Joined(peers.clone()).encode();
        assert!(body.len() <= MAX_REPLY, "{}", body.len());
        assert_eq!(Reply::decode(&body), Ok(Reply::Joined(peers[..MAX_PEERS].to_vec())));
        // One that names more than it may.
        let entry = r#"{"peer-port": 5555, "peer-ip": "10.0.0.1"}"#;
        let body =
            format!(r#"{{"error_code": 0, "peers": [{}]}}"#, vec![entry; MAX_PEERS + 5].join(","));
        let Ok(Reply::Joined(peers)) = Reply::decode(body.as_bytes()) else { panic!("it joins") };
        assert_eq!(peers.len(), MAX_PEERS);
    }
}
