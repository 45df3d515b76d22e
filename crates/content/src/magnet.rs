//! Magnet links (BEP 9): an info-hash, and hints on where to find the swarm. Nothing is resolved or
//! contacted here.

use std::{borrow::Cow, fmt, str::FromStr};

use crate::{InfoHash, metainfo::MAX_TRACKER_URL, percent, ticket::Address, untrusted::excerpt};

/// The longest accepted link, in bytes.
pub const MAX_MAGNET: usize = 64 * 1024;

/// The number of trackers, and of peers, that are kept; later ones are ignored.
pub const MAX_HINTS: usize = 256;

/// The number of ignored parts that are kept.
pub const MAX_IGNORED: usize = 8;

/// The longest display name that is kept, in characters.
const MAX_DISPLAY_NAME: usize = 255;

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
    /// Why parts of the link were ignored; at most [`MAX_IGNORED`].
    pub ignored: Vec<MagnetError>,
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
    /// A tracker's URL of more than [`MAX_TRACKER_URL`] bytes.
    #[error("the tracker {0} in the magnet link has more than {MAX_TRACKER_URL} bytes")]
    TrackerTooLong(String),
    /// A length that is not a number.
    #[error("`{0}` in the magnet link is not a length")]
    Length(String),
}

impl Magnet {
    /// A link with an info-hash and no hints.
    pub fn new(info_hash: InfoHash) -> Self {
        Self {
            info_hash,
            name: None,
            trackers: Vec::new(),
            peers: Vec::new(),
            length: None,
            ignored: Vec::new(),
        }
    }
}

impl FromStr for Magnet {
    type Err = MagnetError;

    /// Parses a link. The hash must be right. A name that is badly encoded is read as far as
    /// possible; other parts that are wrong are listed in [`Magnet::ignored`]. White space and
    /// HTML's `&amp;`, which pasting leaves in a link, do not count.
    fn from_str(text: &str) -> Result<Self, MagnetError> {
        let text = text.trim();
        if text.len() > MAX_MAGNET {
            return Err(MagnetError::TooLong(text.len()));
        }
        let is_magnet = text.get(..8).is_some_and(|head| head.eq_ignore_ascii_case("magnet:?"));
        let query = if is_magnet { &text[8..] } else { return Err(MagnetError::NotMagnet) };
        let (mut hash, mut v2, mut bad_hash) = (None, false, None);
        let mut magnet = Self::new(InfoHash([0; 20]));
        for parameter in query.split('&') {
            let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let key = key.trim();
            let key = key.strip_prefix("amp;").unwrap_or(key);
            // Repeated keys may be numbered: `tr.1`, `tr.2`.
            let key = key.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('.');
            // A line break may be anywhere in a pasted link, and is not a part of it.
            let value: Cow<'_, str> = match value.contains(char::is_whitespace) && key != "dn" {
                true => Cow::Owned(value.split_whitespace().collect()),
                false => Cow::Borrowed(value),
            };
            match key {
                "xt" => match decoded(&value).and_then(|urn| topic(&urn)) {
                    Ok(Topic::V1(other)) if hash.is_some_and(|hash| hash != other) => {
                        return Err(MagnetError::TwoHashes);
                    }
                    Ok(Topic::V1(other)) => hash = Some(other),
                    Ok(Topic::V2) => v2 = true,
                    Ok(Topic::Other) => {}
                    Err(error) => bad_hash = bad_hash.or(Some(error)),
                },
                "dn" => magnet.name = Some(display_name(&value)),
                _ => magnet.read_hint_or_note(key, &value),
            }
        }
        match (hash, bad_hash) {
            (Some(info_hash), _) => Ok(Self { info_hash, ..magnet }),
            (None, Some(error)) => Err(error),
            (None, None) if v2 => Err(MagnetError::V2Only),
            (None, None) => Err(MagnetError::NoHash),
        }
    }
}

impl Magnet {
    /// Reads a parameter that the link does not depend on; notes why it is ignored.
    fn read_hint_or_note(&mut self, key: &str, value: &str) {
        if let Err(error) = self.read_hint(key, value)
            && self.ignored.len() < MAX_IGNORED
        {
            self.ignored.push(error);
        }
    }

    fn read_hint(&mut self, key: &str, value: &str) -> Result<(), MagnetError> {
        match key {
            "tr" if !value.is_empty() && self.trackers.len() < MAX_HINTS => {
                let url = decoded(value)?;
                if url.len() > MAX_TRACKER_URL {
                    return Err(MagnetError::TrackerTooLong(excerpt(&url)));
                }
                self.trackers.push(url);
            }
            "x.pe" if self.peers.len() < MAX_HINTS => self.peers.push(peer(&decoded(value)?)?),
            "xl" => {
                let length = value.parse().map_err(|_| MagnetError::Length(excerpt(value)))?;
                self.length = Some(length);
            }
            _ => {}
        }
        Ok(())
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

fn decoded(value: &str) -> Result<String, MagnetError> {
    let bytes = percent::decode(value.as_bytes());
    bytes
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| MagnetError::Encoding(excerpt(value)))
}

/// The display name: bad escapes stay as they are, and bytes that are not UTF-8 are replaced.
fn display_name(value: &str) -> String {
    let value = value.split_whitespace().collect::<Vec<_>>().join(" ").replace('+', " ");
    let name = percent::decode_leniently(value.as_bytes());
    String::from_utf8_lossy(&name).chars().take(MAX_DISPLAY_NAME).collect()
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
    fn one_bad_part_does_not_spoil_a_link() {
        let parse = |more: &str| format!("magnet:?xt=urn:btih:{HASH}&{more}").parse::<Magnet>();
        let magnet =
            parse("tr=udp%3A%2F%http://x%3A80&tr=http%3A%2F%2Fh%2F&x.pe=?&x.pe=h:1").unwrap();
        assert_eq!((magnet.trackers.len(), magnet.peers.len(), magnet.ignored.len()), (1, 1, 2));
        let named = |name: &str| parse(&format!("dn={name}")).unwrap().name.unwrap();
        assert_eq!(named("100%ZZ%"), "100%ZZ%");
        assert_eq!(named("caf%E9"), "caf\u{fffd}");
        assert_eq!(named("%f%41"), "%fA");
        assert_eq!(named(&"x".repeat(10_000)).len(), MAX_DISPLAY_NAME);
        let bad_topic = format!("magnet:?xt=urn:btih:short&xt=urn:btih:{HASH}");
        assert_eq!(bad_topic.parse::<Magnet>().unwrap().info_hash.to_string(), HASH);
        let many = parse(&"tr=http://t/&x.pe=h&".repeat(1000)).unwrap();
        assert_eq!((many.trackers.len(), many.ignored.len()), (MAX_HINTS, MAX_IGNORED));
    }

    #[test]
    fn what_pasting_adds_to_a_link_is_ignored() {
        let text = format!(
            " \tmagnet:?xt=urn:btih:{}\n  {}&amp;dn=a\n b+c&amp;tr=http%3A%2F%2Fh%2\r\nFx\n",
            &HASH[..9],
            &HASH[9..]
        );
        let magnet: Magnet = text.parse().unwrap();
        assert_eq!(magnet.info_hash.to_string(), HASH);
        assert_eq!(
            (magnet.name.as_deref(), &magnet.trackers[..]),
            (Some("a b c"), &["http://h/x".to_owned()][..])
        );
        assert!(magnet.ignored.is_empty());
    }

    #[test]
    fn errors_name_the_part_that_is_wrong() {
        let with = |more: &str| format!("magnet:?xt=urn:btih:{HASH}&{more}").parse::<Magnet>();
        let ignored = |more: &str| with(more).unwrap().ignored;
        assert_eq!(ignored("x.pe=h"), [MagnetError::Peer("h".into())]);
        assert_eq!(ignored("x.pe=::1"), [MagnetError::Peer("::1".into())]);
        assert_eq!(ignored("xl=-1"), [MagnetError::Length("-1".into())]);
        assert_eq!(ignored("tr=%f"), [MagnetError::Encoding("%f".into())]);
        assert_eq!(ignored("tr=a%ff"), [MagnetError::Encoding("a%ff".into())]);
        assert!(matches!(
            ignored(&format!("tr={}", "x".repeat(3000)))[..],
            [MagnetError::TrackerTooLong(_)]
        ));
        assert_eq!(with(&format!("xt=urn:btih:{}", "0".repeat(40))), Err(MagnetError::TwoHashes));
        let parse = |text: &str| text.parse::<Magnet>();
        assert_eq!(parse("http://x"), Err(MagnetError::NotMagnet));
        assert_eq!(parse("magnet:?dn=x"), Err(MagnetError::NoHash));
        assert_eq!(parse("magnet:?xt=urn:btih:xyz"), Err(MagnetError::Hash("xyz".into())));
        assert_eq!(parse("magnet:?xt=urn:btmh:1220aa"), Err(MagnetError::V2Only));
        assert_eq!(parse(&"magnet:?".repeat(10_000)), Err(MagnetError::TooLong(80_000)));
    }
}
