//! The JSON lists in `chunk` messages, of peers and of chunk ids: finding their end in a stream,
//! bounded parsing, and encoding as Python's `json.dumps` does it. Heads are not known here.

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

/// The number of peers that are kept of a list; later ones are ignored.
pub const MAX_LISTED_PEERS: usize = 4096;

/// Finds the end of a JSON array in a stream. It continues where it stopped, so every byte is
/// scanned once.
#[derive(Debug, Clone)]
pub(super) struct ArrayScanner {
    /// The number of scanned bytes.
    at: usize,
    depth: u8,
    /// The maximum nesting of arrays, the outermost included.
    max_depth: u8,
    in_string: bool,
    /// The next byte is escaped.
    escaped: bool,
}

/// The bytes are not a list of the expected kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct InvalidList;

impl ArrayScanner {
    pub(super) fn new(max_depth: u8) -> Self {
        Self { at: 0, depth: 0, max_depth, in_string: false, escaped: false }
    }

    /// The length of the array at the start of `stream`; `None` while its end has not arrived.
    /// `stream` must begin with the bytes of the previous call.
    pub(super) fn end(&mut self, stream: &[u8]) -> Result<Option<usize>, InvalidList> {
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
                // An object is not a valid entry, but its end is found like that of an array.
                b'{' if (1..self.max_depth).contains(&self.depth) => self.depth += 1,
                b'[' | b'{' => return Err(InvalidList),
                _ if self.depth == 0 => return Err(InvalidList),
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

/// Parses a list of chunk ids.
pub(super) fn chunk_ids(text: &[u8]) -> Result<Vec<u32>, InvalidList> {
    serde_json::from_slice(text).map_err(|_| InvalidList)
}

/// Parses a list of `[ip, port]` pairs. Other entries, peers that are not dialable, and peers after
/// the first [`MAX_LISTED_PEERS`] are omitted.
pub(super) fn peers(text: &[u8]) -> Result<Vec<SocketAddr>, InvalidList> {
    let Peers(peers) = serde_json::from_slice(text).map_err(|_| InvalidList)?;
    Ok(peers)
}

/// Appends a list of chunk ids.
pub(super) fn put_chunk_ids(ids: &[u32], out: &mut BytesMut) {
    put_list(ids, out, |id, out| put(out, format_args!("{id}")));
}

/// Appends a list of peers.
pub(super) fn put_peers(peers: &[SocketAddr], out: &mut BytesMut) {
    put_list(peers, out, |peer, out| put(out, format_args!("{}", PeerEntry(*peer))));
}

/// The length of a chunk id in a list, in bytes.
pub(super) fn chunk_id_length(id: u32) -> usize {
    decimal_length(id.into())
}

/// The length of a peer in a list, in bytes.
pub(super) fn peer_length(peer: SocketAddr) -> usize {
    PeerEntry(peer).to_string().len()
}

/// The number of decimal digits of a number.
pub(super) fn decimal_length(number: u64) -> usize {
    number.checked_ilog10().unwrap_or(0) as usize + 1
}

/// Appends formatted text.
pub(super) fn put(out: &mut BytesMut, arguments: fmt::Arguments<'_>) {
    // Writing to a `BytesMut` does not fail: it grows.
    let _ = fmt::Write::write_fmt(out, arguments);
}

fn put_list<T>(items: &[T], out: &mut BytesMut, item: impl Fn(&T, &mut BytesMut)) {
    out.extend_from_slice(b"[");
    for (at, each) in items.iter().enumerate() {
        if at > 0 {
            out.extend_from_slice(b", ");
        }
        item(each, out);
    }
    out.extend_from_slice(b"]");
}

/// The JSON text of a peer. An address has no characters that JSON escapes.
struct PeerEntry(SocketAddr);

impl fmt::Display for PeerEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[\"{}\", {}]", self.0.ip().to_canonical(), self.0.port())
    }
}

/// A list of at most [`MAX_LISTED_PEERS`] peers.
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
                        && peers.len() < MAX_LISTED_PEERS
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

/// Any JSON value in a list or in an entry of it, in constant memory. Ignored values are parsed
/// like all others, so that a syntax error is found wherever it is.
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

    fn end(text: &str, max_depth: u8) -> Result<Option<usize>, InvalidList> {
        let whole = ArrayScanner::new(max_depth).end(text.as_bytes());
        let mut scanner = ArrayScanner::new(max_depth);
        let bytewise = (0..=text.len())
            .map(|length| scanner.end(&text.as_bytes()[..length]))
            .find(|end| *end != Ok(None));
        assert_eq!(bytewise.unwrap_or(Ok(None)), whole);
        whole
    }

    #[test]
    fn an_array_ends_at_the_matching_bracket() {
        assert_eq!(end("[]PHEL", 1), Ok(Some(2)));
        assert_eq!(end("[1, 2]]", 1), Ok(Some(6)));
        assert_eq!(end(r#"[["]\"]", 1], []]["#, 2), Ok(Some(17)));
        assert_eq!(end(r#"["a\\"]"#, 2), Ok(Some(7)));
        assert_eq!(end(r#"[["10.0.0.2", 51000"#, 2), Ok(None));
        assert_eq!(end("", 2), Ok(None));
    }

    #[test]
    fn other_values_and_deep_arrays_are_rejected_at_once() {
        for text in ["5", " []", "{}", "]", "\"[]\"", "[[[", "[[{", "[{["] {
            assert_eq!(end(text, 2), Err(InvalidList), "{text}");
        }
        assert_eq!(end("[[", 1), Err(InvalidList));
        assert_eq!(end("[{", 1), Err(InvalidList));
    }

    #[test]
    fn chunk_ids_are_whole_numbers() {
        assert_eq!(chunk_ids(b"[]"), Ok(vec![]));
        assert_eq!(chunk_ids(b"[0, 5,7 ,\n4294967295]"), Ok(vec![0, 5, 7, u32::MAX]));
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
            assert_eq!(chunk_ids(text.as_bytes()), Err(InvalidList), "{text}");
        }
    }

    #[test]
    fn peers_are_pairs_and_other_entries_are_omitted() {
        let text = r#"[["10.0.0.2", 51000], ["10.0.0.3", 51001, 1], ["10.0.0.3"], [],
            [51000, "10.0.0.3"], "10.0.0.3", ["10.0.0.3", "51001"], ["10.0.0.3", 0],
            ["10.0.0.3", 65536], ["10.0.0.3", -1], ["10.0.0.3", 5.0], ["host", 1], ["0.0.0.0", 1],
            ["255.255.255.255", 1], ["224.0.0.1", 1], ["fe80::1%eth0", 1],
            {"ip": "10.0.0.3", "port": 1}, {}, null, true, 7, -7, 1.5, 99999999999999999999,
            ["\u0031\u0030.0.0.4", 1], ["2001:db8::1", 65535], ["::ffff:10.0.0.5", 2]]"#;
        let want = ["10.0.0.2:51000", "10.0.0.4:1", "[2001:db8::1]:65535", "10.0.0.5:2"];
        assert_eq!(peers(text.as_bytes()), Ok(want.map(|peer| peer.parse().unwrap()).into()));
        for text in ["[[}", "[1e999]", "[nul]", "[\"\\x\"]", "[\"\u{1}\"]", "[1,]", "[[1] [2]]"] {
            assert_eq!(peers(text.as_bytes()), Err(InvalidList), "{text}");
        }
        for text in [
            &b"[\"\xff\"]"[..],
            b"[{\"a\":\"\xff\"}]",
            b"[[1,2,\"\\ud800\"]]",
            b"[{\"a\":1e999}]",
            b"[{1:2}]",
        ] {
            assert_eq!(peers(text), Err(InvalidList), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn the_number_of_peers_is_limited() {
        let text = format!("[{}]", [r#"["10.0.0.2",1]"#; MAX_LISTED_PEERS + 1].join(","));
        assert_eq!(peers(text.as_bytes()).map(|peers| peers.len()), Ok(MAX_LISTED_PEERS));
    }

    #[test]
    fn computed_lengths_are_those_of_the_encoded_text() {
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
