//! The JSON that document 1's messages carry: lists of peers and of chunk ids, found in a stream
//! and read within bounds, and written as Python's `json.dumps` writes them.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use bytes::BytesMut;
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};

use crate::compact::is_dialable;

/// The most peers that are kept of a list; the others are left out.
pub const MAX_PEERS: usize = 4096;

/// Finds where a JSON array ends, going on from where it stopped: every byte is looked at once.
#[derive(Debug, Clone)]
pub(super) struct Scan {
    /// How many bytes were looked at.
    at: usize,
    depth: u8,
    /// How deep arrays may be nested, the outermost included.
    max_depth: u8,
    in_string: bool,
    /// The next byte is an escaped one.
    escaped: bool,
}

/// What is before the stream cannot be the array that it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken;

impl Scan {
    pub(super) fn new(max_depth: u8) -> Self {
        Self { at: 0, depth: 0, max_depth, in_string: false, escaped: false }
    }

    /// The length of the array that `stream` begins with; `None` while its end is not there.
    /// `stream` is what the last call saw and what came since.
    pub(super) fn end(&mut self, stream: &[u8]) -> Result<Option<usize>, Broken> {
        for &byte in &stream[self.at..] {
            self.at += 1;
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'[' if self.depth < self.max_depth => self.depth += 1,
                // An object may stand where an entry is expected; it is none, but it ends where it
                // ends.
                b'{' if (1..self.max_depth).contains(&self.depth) => self.depth += 1,
                b'[' | b'{' => return Err(Broken),
                _ if self.depth == 0 => return Err(Broken),
                b']' | b'}' => self.depth -= 1,
                b'"' => self.in_string = true,
                _ => {}
            }
            if self.depth == 0 {
                return Ok(Some(self.at));
            }
        }
        Ok(None)
    }
}

/// Reads a list of chunk ids.
pub(super) fn ids(text: &[u8]) -> Result<Vec<u32>, Broken> {
    serde_json::from_slice(text).map_err(|_| Broken)
}

/// Reads a list of `[ip, port]` pairs. What is none, or what nobody can dial, is left out, and so
/// is what comes after the first [`MAX_PEERS`].
pub(super) fn peers(text: &[u8]) -> Result<Vec<SocketAddr>, Broken> {
    let Peers(peers) = serde_json::from_slice(text).map_err(|_| Broken)?;
    Ok(peers)
}

/// Appends a list of chunk ids.
pub(super) fn put_ids(ids: &[u32], out: &mut BytesMut) {
    list(ids, out, |id, out| put(out, format_args!("{id}")));
}

/// Appends a list of peers.
pub(super) fn put_peers(peers: &[SocketAddr], out: &mut BytesMut) {
    list(peers, out, |peer, out| put(out, format_args!("{}", Pair(*peer))));
}

/// How many bytes an id takes in a list.
pub(super) fn id_length(id: u32) -> usize {
    decimal_length(id.into())
}

/// How many bytes a peer takes in a list.
pub(super) fn peer_length(peer: SocketAddr) -> usize {
    Pair(peer).to_string().len()
}

/// How many bytes a number takes.
pub(super) fn decimal_length(number: u64) -> usize {
    number.checked_ilog10().unwrap_or(0) as usize + 1
}

/// Appends what is formatted.
pub(super) fn put(out: &mut BytesMut, arguments: fmt::Arguments<'_>) {
    // Growing, which is all that writing to it does, cannot fail.
    let _ = fmt::Write::write_fmt(out, arguments);
}

fn list<T>(items: &[T], out: &mut BytesMut, item: impl Fn(&T, &mut BytesMut)) {
    out.extend_from_slice(b"[");
    for (at, each) in items.iter().enumerate() {
        if at > 0 {
            out.extend_from_slice(b", ");
        }
        item(each, out);
    }
    out.extend_from_slice(b"]");
}

/// A peer as its list has it. Addresses have no characters that JSON would escape.
struct Pair(SocketAddr);

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[\"{}\", {}]", self.0.ip().to_canonical(), self.0.port())
    }
}

/// A list of peers that never holds more than it may.
struct Peers(Vec<SocketAddr>);

impl<'de> Deserialize<'de> for Peers {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Peers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of peers")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Peers, A::Error> {
                let mut peers = Vec::new();
                while let Some(entry) = list.next_element()? {
                    if let Entry::Peer(peer) = entry
                        && peers.len() < MAX_PEERS
                    {
                        peers.push(peer);
                    }
                }
                Ok(Peers(peers))
            }
        }
        from.deserialize_seq(List)
    }
}

/// Anything that can stand in a list, or in an entry of it; never more than fits here, however long
/// it is. It is read like everything else where it is ignored too, so that what is no JSON is
/// noticed wherever it stands.
enum Entry {
    Ip(IpAddr),
    Port(u16),
    Peer(SocketAddr),
    Other,
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(AnyEntry)
    }
}

struct AnyEntry;

impl<'de> Visitor<'de> for AnyEntry {
    type Value = Entry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Entry, E> {
        Ok(Entry::Other)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Entry, E> {
        Ok(Entry::Other)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Entry, E> {
        Ok(number.try_into().map_or(Entry::Other, Entry::Port))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Entry, E> {
        Ok(Entry::Other)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Entry, E> {
        Ok(text.parse().map_or(Entry::Other, Entry::Ip))
    }

    fn visit_unit<E: Error>(self) -> Result<Entry, E> {
        Ok(Entry::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Entry, A::Error> {
        let pair = (list.next_element()?, list.next_element()?);
        let mut more = false;
        while list.next_element::<Entry>()?.is_some() {
            more = true;
        }
        if let (Some(Entry::Ip(ip)), Some(Entry::Port(port)), false) = (pair.0, pair.1, more) {
            let peer = SocketAddr::new(ip.to_canonical(), port);
            if is_dialable(peer) {
                return Ok(Entry::Peer(peer));
            }
        }
        Ok(Entry::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entry, A::Error> {
        while map.next_entry::<Entry, Entry>()?.is_some() {}
        Ok(Entry::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(text: &str, max_depth: u8) -> Result<Option<usize>, Broken> {
        let whole = Scan::new(max_depth).end(text.as_bytes());
        let mut scan = Scan::new(max_depth);
        let bytewise = (0..=text.len())
            .map(|length| scan.end(&text.as_bytes()[..length]))
            .find(|end| *end != Ok(None));
        assert_eq!(bytewise.unwrap_or(Ok(None)), whole);
        whole
    }

    #[test]
    fn the_end_is_at_the_matching_bracket() {
        assert_eq!(end("[]PHEL", 1), Ok(Some(2)));
        assert_eq!(end("[1, 2]]", 1), Ok(Some(6)));
        assert_eq!(end(r#"[["]\"]", 1], []]["#, 2), Ok(Some(17)));
        assert_eq!(end(r#"["a\\"]"#, 2), Ok(Some(7)));
        assert_eq!(end(r#"[["10.0.0.2", 51000"#, 2), Ok(None));
        assert_eq!(end("", 2), Ok(None));
    }

    #[test]
    fn what_is_no_array_or_too_deep_is_broken_at_once() {
        for text in ["5", " []", "{}", "]", "\"[]\"", "[[[", "[[{", "[{["] {
            assert_eq!(end(text, 2), Err(Broken), "{text}");
        }
        assert_eq!(end("[[", 1), Err(Broken));
        assert_eq!(end("[{", 1), Err(Broken));
    }

    #[test]
    fn ids_are_whole_numbers() {
        assert_eq!(ids(b"[]"), Ok(vec![]));
        assert_eq!(ids(b"[0, 5,7 ,\n4294967295]"), Ok(vec![0, 5, 7, u32::MAX]));
        for text in [
            "[-1]",
            "[4294967296]",
            "[1.0]",
            "[1e3]",
            "[\"1\"]",
            "[null]",
            "[true]",
            "[1 2]",
            "[1,]",
            "[1}",
        ] {
            assert_eq!(ids(text.as_bytes()), Err(Broken), "{text}");
        }
    }

    #[test]
    fn peers_are_pairs_and_all_else_is_left_out() {
        let text = r#"[["10.0.0.2", 51000], ["10.0.0.3", 51001, 1], ["10.0.0.3"], [], [51000, "10.0.0.3"], "10.0.0.3",
            ["10.0.0.3", "51001"], ["10.0.0.3", 0], ["10.0.0.3", 65536], ["10.0.0.3", -1], ["10.0.0.3", 5.0],
            ["host", 1], ["0.0.0.0", 1], ["255.255.255.255", 1], ["224.0.0.1", 1], ["fe80::1%eth0", 1],
            {"ip": "10.0.0.3", "port": 1}, {}, null, true, 7, -7, 1.5, 99999999999999999999,
            ["\u0031\u0030.0.0.4", 1], ["2001:db8::1", 65535], ["::ffff:10.0.0.5", 2]]"#;
        let want = ["10.0.0.2:51000", "10.0.0.4:1", "[2001:db8::1]:65535", "10.0.0.5:2"];
        assert_eq!(peers(text.as_bytes()), Ok(want.map(|peer| peer.parse().unwrap()).into()));
        for text in ["[[}", "[1e999]", "[nul]", "[\"\\x\"]", "[\"\u{1}\"]", "[1,]", "[[1] [2]]"] {
            assert_eq!(peers(text.as_bytes()), Err(Broken), "{text}");
        }
        for text in [
            &b"[\"\xff\"]"[..],
            b"[{\"a\":\"\xff\"}]",
            b"[[1,2,\"\\ud800\"]]",
            b"[{\"a\":1e999}]",
            b"[{1:2}]",
        ] {
            assert_eq!(peers(text), Err(Broken), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn a_flood_of_peers_is_cut() {
        let text = format!("[{}]", [r#"["10.0.0.2",1]"#; MAX_PEERS + 1].join(","));
        assert_eq!(peers(text.as_bytes()).map(|peers| peers.len()), Ok(MAX_PEERS));
    }

    #[test]
    fn lengths_are_those_of_what_is_written() {
        for number in [0, 9, 10, 99, 100, u64::MAX] {
            assert_eq!(decimal_length(number), number.to_string().len());
        }
        let peer: SocketAddr = "[2001:db8::1]:80".parse().unwrap();
        let mut out = BytesMut::new();
        put_peers(&[peer, peer], &mut out);
        assert_eq!(&out[..], br#"[["2001:db8::1", 80], ["2001:db8::1", 80]]"#);
        assert_eq!(out.len(), 2 * peer_length(peer) + 4);
    }
}
