//! The query string of an announce (BEP 3, BEP 23). Query strings in general are `query`.

use sow_content::InfoHash;

use super::query::{QueryError, append_query, parameters, push_parameter, twenty_bytes};
use crate::{
    bittorrent::PeerId,
    tracker::{AnnounceEvent, AnnounceRequest, left_from_wire, left_to_wire},
};

/// An announce over HTTP. The `ip` parameter is neither sent nor read: a tracker that trusts it
/// lets a client direct a whole swarm at any host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announce {
    /// The fields that do not depend on HTTP.
    pub request: AnnounceRequest,
    /// Whether the peers of the response should be in compact form (BEP 23); the default.
    pub compact: bool,
    /// Whether a response in list form should omit the peer ids.
    pub no_peer_id: bool,
    /// The tracker id of an earlier response.
    pub tracker_id: Option<Vec<u8>>,
}

impl Announce {
    /// An announce that asks for a compact response.
    pub fn new(request: AnnounceRequest, tracker_id: Option<Vec<u8>>) -> Self {
        Self { request, compact: true, no_peer_id: false, tracker_id }
    }

    /// Parses a query string. The first of two parameters of the same name counts; unknown
    /// parameters are ignored.
    ///
    /// # Errors
    /// When the query is too long, `info_hash`, `peer_id` or `port` is missing, or a parameter is
    /// malformed.
    pub fn parse(query: &str) -> Result<Self, QueryError> {
        let mut fields = Fields::default();
        for parameter in parameters(query)? {
            let (name, value) = parameter?;
            fields.set(&name, &value)?;
        }
        let request = AnnounceRequest {
            info_hash: fields.info_hash.ok_or(QueryError::Missing("info_hash"))?,
            peer_id: fields.peer_id.ok_or(QueryError::Missing("peer_id"))?,
            port: fields.port.ok_or(QueryError::Missing("port"))?,
            uploaded: fields.uploaded.unwrap_or(0),
            downloaded: fields.downloaded.unwrap_or(0),
            left: fields.left.map_or(u64::MAX, left_from_wire),
            event: fields.event.unwrap_or(AnnounceEvent::Periodic),
            numwant: fields.numwant.flatten(),
            key: fields.key.unwrap_or(0),
        };
        Ok(Self {
            request,
            compact: fields.compact.unwrap_or(true),
            no_peer_id: fields.no_peer_id.unwrap_or(false),
            tracker_id: fields.tracker_id,
        })
    }

    /// The query string.
    pub fn query(&self) -> String {
        let request = &self.request;
        let mut query = String::with_capacity(256);
        push_parameter(&mut query, "info_hash", &request.info_hash.0);
        push_parameter(&mut query, "peer_id", &request.peer_id.0);
        let mut number =
            |name: &str, value: u64| push_parameter(&mut query, name, value.to_string().as_bytes());
        number("port", request.port.into());
        number("uploaded", request.uploaded);
        number("downloaded", request.downloaded);
        number("left", left_to_wire(request.left));
        number("compact", self.compact.into());
        if self.no_peer_id {
            number("no_peer_id", 1);
        }
        if let Some(numwant) = request.numwant {
            number("numwant", numwant.into());
        }
        push_parameter(&mut query, "key", format!("{:08X}", request.key).as_bytes());
        match request.event {
            AnnounceEvent::Periodic => {}
            AnnounceEvent::Started => push_parameter(&mut query, "event", b"started"),
            AnnounceEvent::Completed => push_parameter(&mut query, "event", b"completed"),
            AnnounceEvent::Stopped => push_parameter(&mut query, "event", b"stopped"),
        }
        if let Some(id) = &self.tracker_id {
            push_parameter(&mut query, "trackerid", id);
        }
        query
    }

    /// The URL of the request: the tracker's URL with the announce appended to its query.
    pub fn url(&self, tracker: &str) -> String {
        append_query(tracker, &self.query())
    }
}

/// The tracker id to send with the next announces; `None` when it is longer than 256 bytes.
pub(super) fn tracker_id(bytes: &[u8]) -> Option<Vec<u8>> {
    const MAX_TRACKER_ID: usize = 256;
    (bytes.len() <= MAX_TRACKER_ID).then(|| bytes.to_vec())
}

/// The parameters that were parsed so far.
#[derive(Default)]
struct Fields {
    info_hash: Option<InfoHash>,
    peer_id: Option<PeerId>,
    port: Option<u16>,
    uploaded: Option<u64>,
    downloaded: Option<u64>,
    left: Option<u64>,
    event: Option<AnnounceEvent>,
    numwant: Option<Option<u32>>,
    key: Option<u32>,
    compact: Option<bool>,
    no_peer_id: Option<bool>,
    tracker_id: Option<Vec<u8>>,
}

impl Fields {
    fn set(&mut self, name: &[u8], value: &[u8]) -> Result<(), QueryError> {
        match name {
            b"info_hash" => {
                set_once(&mut self.info_hash, || twenty_bytes(value, "info_hash").map(InfoHash))
            }
            b"peer_id" => {
                set_once(&mut self.peer_id, || twenty_bytes(value, "peer_id").map(PeerId))
            }
            b"port" => set_once(&mut self.port, || {
                u16::try_from(number(value, "port")?).map_err(|_| QueryError::Malformed("port"))
            }),
            b"uploaded" => set_once(&mut self.uploaded, || number(value, "uploaded")),
            b"downloaded" => set_once(&mut self.downloaded, || number(value, "downloaded")),
            // Some programs write -1 while the size is unknown.
            b"left" => {
                set_once(&mut self.left, || Ok(optional_number(value, "left")?.unwrap_or(u64::MAX)))
            }
            b"numwant" => set_once(&mut self.numwant, || {
                let numwant = optional_number(value, "numwant")?;
                Ok(numwant.map(|numwant| u32::try_from(numwant).unwrap_or(u32::MAX)))
            }),
            b"event" => set_once(&mut self.event, || Ok(event(value))),
            b"key" => set_once(&mut self.key, || Ok(key(value))),
            b"compact" => set_once(&mut self.compact, || Ok(value != b"0")),
            b"no_peer_id" => set_once(&mut self.no_peer_id, || Ok(value != b"0")),
            b"trackerid" => {
                self.tracker_id = self.tracker_id.take().or_else(|| tracker_id(value));
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Parses and sets a field, unless an earlier parameter has set it.
fn set_once<T>(
    field: &mut Option<T>,
    read: impl FnOnce() -> Result<T, QueryError>,
) -> Result<(), QueryError> {
    if field.is_none() {
        *field = Some(read()?);
    }
    Ok(())
}

fn number(value: &[u8], name: &'static str) -> Result<u64, QueryError> {
    let text =
        str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    text.and_then(|text| text.parse().ok()).ok_or(QueryError::Malformed(name))
}

/// A number; `None` for a negative one.
fn optional_number(value: &[u8], name: &'static str) -> Result<Option<u64>, QueryError> {
    match value.strip_prefix(b"-") {
        Some(digits) => number(digits, name).map(|_| None),
        None => number(value, name).map(Some),
    }
}

/// An unknown event (`paused` of BEP 21, `empty`) counts as periodic.
fn event(value: &[u8]) -> AnnounceEvent {
    match value {
        b"started" => AnnounceEvent::Started,
        b"completed" => AnnounceEvent::Completed,
        b"stopped" => AnnounceEvent::Stopped,
        _ => AnnounceEvent::Periodic,
    }
}

/// Eight hexadecimal digits, as most programs send it and as the 32-bit field of BEP 15 holds it;
/// 0 for any other text.
fn key(value: &[u8]) -> u32 {
    let text =
        str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()));
    text.and_then(|text| u32::from_str_radix(text, 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "%124Vx%9A%BC%DE%F1%23Eg%89%AB%CD%EF%124Vx%9A";

    fn parse(rest: &str) -> Result<Announce, QueryError> {
        Announce::parse(&format!("info_hash={HASH}&peer_id=-SW0100-abcdefghijkl&{rest}"))
    }

    #[test]
    fn every_known_parameter_is_parsed() {
        let rest = "port=6881&uploaded=1&downloaded=2&left=3&event=started&numwant=9&key=00ff\
                    &compact=0&no_peer_id=1";
        let announce = parse(rest).unwrap();
        let want = AnnounceRequest {
            info_hash: "123456789abcdef123456789abcdef123456789a".parse().unwrap(),
            peer_id: PeerId(*b"-SW0100-abcdefghijkl"),
            port: 6881,
            uploaded: 1,
            downloaded: 2,
            left: 3,
            event: AnnounceEvent::Started,
            numwant: Some(9),
            key: 255,
        };
        assert_eq!(
            announce,
            Announce { request: want, compact: false, no_peer_id: true, tracker_id: None }
        );
    }

    #[test]
    fn missing_and_negative_parameters_have_defaults() {
        let announce = parse("port=1&ip=10.0.0.9&event=paused").unwrap();
        assert!(announce.compact && !announce.no_peer_id);
        let AnnounceRequest { left, event, numwant, key, .. } = announce.request;
        assert_eq!((left, event, numwant, key), (u64::MAX, AnnounceEvent::Periodic, None, 0));
        let request = parse("port=1&numwant=-1&left=-1&key=no%20number").unwrap().request;
        assert_eq!((request.left, request.numwant, request.key), (u64::MAX, None, 0));
    }

    #[test]
    fn the_first_of_two_equal_parameters_counts() {
        assert_eq!(parse("port=1&port=2&port=x").unwrap().request.port, 1);
    }

    #[test]
    fn errors_name_the_parameter() {
        use QueryError::{Malformed, Missing};
        for (query, error) in [
            ("", Missing("info_hash")),
            ("info_hash=abc", Malformed("info_hash")),
            ("info_hash=aaaaaaaaaaaaaaaaaaaaa", Malformed("info_hash")),
            ("info_hash=aaaaaaaaaaaaaaaaaaaa", Missing("peer_id")),
            ("info_hash=aaaaaaaaaaaaaaaaaaaa&peer_id=bbbbbbbbbbbbbbbbbbbb", Missing("port")),
        ] {
            assert_eq!(Announce::parse(query), Err(error), "{query}");
        }
        for (rest, name) in [
            ("port=65536", "port"),
            ("port=", "port"),
            ("port=+1", "port"),
            ("port=1&left=18446744073709551616", "left"),
            ("port=1&uploaded=-1", "uploaded"),
            ("port=1&numwant=--1", "numwant"),
        ] {
            assert_eq!(parse(rest), Err(Malformed(name)), "{rest}");
        }
    }

    #[test]
    fn the_url_keeps_the_query_of_the_tracker() {
        let mut announce = parse("port=1&event=completed").unwrap();
        announce.tracker_id = Some(b"a b".to_vec());
        assert_eq!(
            announce.url("http://t/announce?passkey=x"),
            format!(
                "http://t/announce?passkey=x&info_hash={HASH}&peer_id=-SW0100-abcdefghijkl&port=1\
                 &uploaded=0&downloaded=0&left=9223372036854775807&compact=1&key=00000000\
                 &event=completed&trackerid=a%20b"
            )
        );
    }
}
