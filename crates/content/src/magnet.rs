//! Magnet links (BEP 9): an info-hash, and hints on where to find the swarm. Nothing is resolved or
//! contacted here.

use std::{fmt, str::FromStr};

use crate::{InfoHash, percent, ticket::Address, untrusted::excerpt};

/// The longest accepted link, in bytes.
pub const MAX_MAGNET: usize = 64 * 1024;

/// The content of a magnet link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Magnet {
    /// The swarm (`xt=urn:btih:`).
    pub info_hash: InfoHash,
    /// The display name (`dn`), not validated as a file name.
    pub name: Option<String>,
    /// Tracker URLs (`tr`); each is a tier of its own.
    pub trackers: Vec<String>,
    /// Peers (`x.pe`), each `HOST:PORT`; IPv6 addresses are in brackets.
    pub peers: Vec<String>,
    /// The content's length in bytes (`xl`).
    pub length: Option<u64>,
}

/// Why a magnet link is rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MagnetError {
    /// The text does not begin with `magnet:?`.
    #[error("not a magnet link: it does not begin with `magnet:?`")]
    NotMagnet,
    /// The link has more than [`MAX_MAGNET`] bytes.
    #[error("the magnet link has {0} bytes; the limit is {MAX_MAGNET}")]
    TooLong(usize),
    /// There is no `xt=urn:btih:`.
    #[error("the magnet link has no `xt=urn:btih:HASH`")]
    NoHash,
    /// The link has a BitTorrent v2 hash and no v1 hash.
    #[error(
        "the magnet link has only a BitTorrent v2 hash (`urn:btmh:`); a v1 hash (`urn:btih:`) is \
         needed"
    )]
    V2Only,
    /// The hash is neither hexadecimal nor base 32.
    #[error(
        "`{0}` in the magnet link is not a hash: 40 hexadecimal digits, or 32 base-32 characters"
    )]
    Hash(String),
    /// The link has two different info-hashes.
    #[error("the magnet link has two different hashes")]
    TwoHashes,
    /// A `%` without two hexadecimal digits after it, or bytes that are not UTF-8.
    #[error("`{0}` in the magnet link has an invalid encoding")]
    Encoding(String),
    /// A peer that is not `HOST:PORT`.
    #[error("`{0}` in the magnet link is not HOST:PORT")]
    Peer(String),
    /// A length that is not a number.
    #[error("`{0}` in the magnet link is not a length")]
    Length(String),
}

impl Magnet {
    /// A link with an info-hash and no hints.
    pub fn new(info_hash: InfoHash) -> Self {
        Self { info_hash, name: None, trackers: Vec::new(), peers: Vec::new(), length: None }
    }
}

impl FromStr for Magnet {
    type Err = MagnetError;

    fn from_str(text: &str) -> Result<Self, MagnetError> {
        if text.len() > MAX_MAGNET {
            return Err(MagnetError::TooLong(text.len()));
        }
        let is_magnet = text.get(..8).is_some_and(|head| head.eq_ignore_ascii_case("magnet:?"));
        let query = if is_magnet { &text[8..] } else { return Err(MagnetError::NotMagnet) };
        let (mut hash, mut v2) = (None, false);
        let mut magnet = Self::new(InfoHash([0; 20]));
        for parameter in query.split('&') {
            let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            // Repeated keys may be numbered: `tr.1`, `tr.2`.
            let key = key.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('.');
            match key {
                "xt" => match topic(&decoded(value, value)?)? {
                    Topic::V1(other) if hash.is_some_and(|hash| hash != other) => {
                        return Err(MagnetError::TwoHashes);
                    }
                    Topic::V1(other) => hash = Some(other),
                    Topic::V2 => v2 = true,
                    Topic::Other => {}
                },
                "dn" => magnet.name = Some(decoded(&value.replace('+', " "), value)?),
                "tr" if !value.is_empty() => magnet.trackers.push(decoded(value, value)?),
                "x.pe" => magnet.peers.push(peer(&decoded(value, value)?)?),
                "xl" => {
                    magnet.length =
                        Some(value.parse().map_err(|_| MagnetError::Length(excerpt(value)))?)
                }
                _ => {}
            }
        }
        match hash {
            Some(info_hash) => Ok(Self { info_hash, ..magnet }),
            None if v2 => Err(MagnetError::V2Only),
            None => Err(MagnetError::NoHash),
        }
    }
}

impl fmt::Display for Magnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut link = format!("magnet:?xt=urn:btih:{}", self.info_hash);
        if let Some(name) = &self.name {
            link.push_str("&dn=");
            link.extend(percent::encode(name.as_bytes(), percent::COMPONENT));
        }
        if let Some(length) = self.length {
            link.push_str(&format!("&xl={length}"));
        }
        for tracker in &self.trackers {
            link.push_str("&tr=");
            link.extend(percent::encode(tracker.as_bytes(), percent::COMPONENT));
        }
        for peer in &self.peers {
            // libtorrent does not decode `x.pe`.
            link.push_str("&x.pe=");
            link.extend(percent::encode(peer.as_bytes(), percent::HOST_AND_PORT));
        }
        f.write_str(&link)
    }
}

/// The exact topic (`xt`): which kind of hash it holds.
enum Topic {
    V1(InfoHash),
    V2,
    Other,
}

fn topic(urn: &str) -> Result<Topic, MagnetError> {
    let strip = |prefix: &str| {
        let head = urn.get(..prefix.len())?;
        head.eq_ignore_ascii_case(prefix).then(|| &urn[prefix.len()..])
    };
    match (strip("urn:btih:"), strip("urn:btmh:")) {
        (Some(hash), _) => {
            hash.parse().map(Topic::V1).map_err(|_| MagnetError::Hash(excerpt(hash)))
        }
        (None, Some(_)) => Ok(Topic::V2),
        (None, None) => Ok(Topic::Other),
    }
}

/// `HOST:PORT` in the form of [`Address`]; the port is required.
fn peer(text: &str) -> Result<String, MagnetError> {
    let error = || MagnetError::Peer(excerpt(text));
    let address: Address = text.parse().map_err(|_| error())?;
    let has_port = text.ends_with(&format!(":{}", address.port)) && text != address.host;
    if has_port { Ok(address.to_string()) } else { Err(error()) }
}

fn decoded(value: &str, original: &str) -> Result<String, MagnetError> {
    let bytes = percent::decode(value.as_bytes());
    bytes
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| MagnetError::Encoding(excerpt(original)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "c12fe1c06bba254a9dc9f519b335aa7c1367a88a";

    #[test]
    fn every_known_parameter_is_parsed_and_written() {
        let text = format!(
            "magnet:?xt=urn:btih:{HASH}&dn=a+b%20c&xl=77&tr=http%3A%2F%2Fh%2Fannounce\
             &tr.2=udp%3A%2F%2Fx%3A1&x.pe=h:1&x.pe=[::1]:2&ws=ignored"
        );
        let magnet: Magnet = text.parse().unwrap();
        assert_eq!(magnet.info_hash.to_string(), HASH);
        assert_eq!(magnet.name.as_deref(), Some("a b c"));
        assert_eq!(magnet.length, Some(77));
        assert_eq!(magnet.trackers, ["http://h/announce", "udp://x:1"]);
        assert_eq!(magnet.peers, ["h:1", "[::1]:2"]);
        assert_eq!(magnet.to_string().parse(), Ok(magnet));
    }

    #[test]
    fn the_hash_is_parsed_in_every_spelling() {
        let hash: InfoHash = HASH.parse().unwrap();
        for text in [
            format!("magnet:?xt=urn:btih:{}", hash.to_base32().to_uppercase()),
            format!("MAGNET:?dn=x&xt.1=urn%3Abtih%3A{}", HASH.to_uppercase()),
            format!("magnet:?xt=urn:btmh:1220{HASH}&xt=urn:btih:{HASH}"),
        ] {
            assert_eq!(text.parse::<Magnet>().unwrap().info_hash, hash, "{text}");
        }
    }

    #[test]
    fn errors_name_the_part_that_is_wrong() {
        let with = |more: &str| format!("magnet:?xt=urn:btih:{HASH}&{more}").parse::<Magnet>();
        assert_eq!(with("x.pe=h"), Err(MagnetError::Peer("h".into())));
        assert_eq!(with("x.pe=::1"), Err(MagnetError::Peer("::1".into())));
        assert_eq!(with("xl=-1"), Err(MagnetError::Length("-1".into())));
        assert_eq!(with("dn=%f"), Err(MagnetError::Encoding("%f".into())));
        assert_eq!(with("dn=%ff"), Err(MagnetError::Encoding("%ff".into())));
        assert_eq!(with(&format!("xt=urn:btih:{}", "0".repeat(40))), Err(MagnetError::TwoHashes));
        let parse = |text: &str| text.parse::<Magnet>();
        assert_eq!(parse("http://x"), Err(MagnetError::NotMagnet));
        assert_eq!(parse("magnet:?dn=x"), Err(MagnetError::NoHash));
        assert_eq!(parse("magnet:?xt=urn:btih:xyz"), Err(MagnetError::Hash("xyz".into())));
        assert_eq!(parse("magnet:?xt=urn:btmh:1220aa"), Err(MagnetError::V2Only));
        assert_eq!(parse(&"magnet:?".repeat(10_000)), Err(MagnetError::TooLong(80_000)));
    }
}
