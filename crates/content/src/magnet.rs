//! Magnet links (BEP 9): a swarm's name, and hints where to find it.

use std::{fmt, str::FromStr};

use crate::{InfoHash, path::excerpt, percent, ticket::Address};

/// The longest link that is read, in bytes.
pub const MAX_MAGNET: usize = 64 * 1024;

/// What a magnet link says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Magnet {
    /// The swarm (`xt=urn:btih:`).
    pub info_hash: InfoHash,
    /// What the content is called (`dn`): only for people, not checked as a file name.
    pub name: Option<String>,
    /// Tracker URLs (`tr`), each a tier of its own.
    pub trackers: Vec<String>,
    /// Peers (`x.pe`), each `HOST:PORT`, IPv6 addresses in brackets.
    pub peers: Vec<String>,
    /// The content's length in bytes (`xl`).
    pub length: Option<u64>,
}

/// Why a text is no magnet link that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MagnetError {
    /// It does not begin with `magnet:?`.
    #[error("not a magnet link: it does not begin with `magnet:?`")]
    NotMagnet,
    /// Over [`MAX_MAGNET`] bytes.
    #[error("a magnet link of {0} bytes; at most {MAX_MAGNET} are accepted")]
    TooLong(usize),
    /// There is no `xt=urn:btih:`.
    #[error("the magnet link has no `xt=urn:btih:HASH`")]
    NoHash,
    /// It names the swarm in the way of BitTorrent v2 alone.
    #[error(
        "the magnet link has only a BitTorrent v2 hash (`urn:btmh:`); one with `urn:btih:` is needed"
    )]
    V2Only,
    /// The hash is none.
    #[error(
        "`{0}` in the magnet link is not a hash: 40 hexadecimal digits, or 32 base-32 characters"
    )]
    Hash(String),
    /// Two hashes that differ.
    #[error("the magnet link names two swarms")]
    TwoHashes,
    /// A `%` that is not followed by two hexadecimal digits, or bytes that are not UTF-8.
    #[error("`{0}` in the magnet link is badly encoded")]
    Encoding(String),
    /// A peer that is not `HOST:PORT`.
    #[error("`{0}` in the magnet link is not HOST:PORT")]
    Peer(String),
    /// A length that is no number.
    #[error("`{0}` in the magnet link is not a length")]
    Length(String),
}

impl Magnet {
    /// A link with nothing but the swarm's name.
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
            // Several of a kind may be numbered: `tr.1`, `tr.2`.
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
            percent::encode_into(&mut link, name.as_bytes(), b"");
        }
        if let Some(length) = self.length {
            link.push_str(&format!("&xl={length}"));
        }
        for tracker in &self.trackers {
            link.push_str("&tr=");
            percent::encode_into(&mut link, tracker.as_bytes(), b"");
        }
        for peer in &self.peers {
            // libtorrent does not decode this one.
            link.push_str("&x.pe=");
            percent::encode_into(&mut link, peer.as_bytes(), b":[]");
        }
        f.write_str(&link)
    }
}

/// What an `xt` names.
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

/// `HOST:PORT` as [`Address`] writes it; the port must be there.
fn peer(text: &str) -> Result<String, MagnetError> {
    let bad = || MagnetError::Peer(excerpt(text));
    let address: Address = text.parse().map_err(|_| bad())?;
    let port_named = text.ends_with(&format!(":{}", address.port)) && text != address.host;
    if port_named { Ok(address.to_string()) } else { Err(bad()) }
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
    fn all_that_it_can_say() {
        let text = format!(
            "magnet:?xt=urn:btih:{HASH}&dn=a+b%20c&xl=77&tr=http%3A%2F%2Fh%2Fannounce&tr.2=udp%3A%2F%2Fx%3A1&x.pe=h:1\
             &x.pe=[::1]:2&ws=ignored"
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
    fn spellings_of_the_hash() {
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
    fn what_is_wrong_is_named() {
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
