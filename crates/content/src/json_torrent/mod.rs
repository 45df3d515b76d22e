//! Metainfo of the `json-torrent` protocol: a JSON file, `NAME.torrent`, that describes one file
//! and names the tracker of its swarm. The format is in `docs/protocols/json-torrent.md`.
//!
//! Nothing here reads a file or uses the network.

mod digest;

use serde::Serialize;

use crate::{
    Geometry, InfoHash,
    geometry::{GeometryError, MAX_WHOLE_PIECE},
    hash::Sha1,
    json::{JsonError, Object, Value},
    metainfo::{MetainfoWarning, Warnings},
    path::usable_name,
    ticket::Address,
};

pub use digest::{HashForm, read_digest, write_digest};

/// The largest accepted metainfo file, in bytes.
pub const MAX_JSON_TORRENT: usize = 64 * 1024 * 1024;

/// The longest accepted comment, in bytes.
pub const MAX_COMMENT: usize = 64 * 1024;

/// The piece length of the original programs, in bytes.
pub const DEFAULT_PIECE_LENGTH: u32 = 3000;

/// The port of the original tracker.
pub const DEFAULT_TRACKER_PORT: u16 = 6666;

/// The longest accepted file name, in bytes. One above [`crate::path::MAX_NAME`] is shortened.
const MAX_FILE_NAME: usize = 64 * 1024;

/// The longest host name, in bytes.
const MAX_HOST: usize = 256;

/// The description of a file, and the address of its tracker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonTorrent {
    /// The tracker's host: a host name, an IPv4 address, or an IPv6 address without brackets.
    pub announce: String,
    /// The tracker's port, never 0.
    pub port: u16,
    /// The comment of the author, or empty; at most [`MAX_COMMENT`] bytes.
    pub comment: String,
    /// The name of the file: one path component, as [`usable_name`] chooses it.
    pub file_name: String,
    /// The length of the file and of its pieces.
    pub geometry: Geometry,
    /// The SHA-1 of each piece.
    pub piece_hashes: Vec<[u8; 20]>,
    /// What was replaced when it was decoded.
    pub warnings: Vec<MetainfoWarning>,
}

/// Why `json-torrent` metainfo is rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonTorrentError {
    /// More than [`MAX_JSON_TORRENT`] bytes.
    #[error("the JSON torrent has {length} bytes; the limit is {MAX_JSON_TORRENT}")]
    TooLong {
        /// The number of bytes.
        length: usize,
    },
    /// The bytes are not JSON, or a field is missing, duplicate, of the wrong type, or out of
    /// range.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// An impossible piece length, or too many pieces.
    #[error("`info.piece_length`: {0}")]
    Geometry(#[from] GeometryError),
    /// A hash has neither of the two forms.
    #[error(
        "`info.piece_hash[{index}]` is {found}; expected a SHA-1 as 40 hexadecimal digits, or as a \
         Python bytes literal of 20 bytes"
    )]
    Hash {
        /// The index of the hash.
        index: usize,
        /// The start of its value.
        found: String,
    },
    /// The number of hashes is not the number of pieces.
    #[error(
        "`info.piece_hash` has {got} hashes{}, but the file has {want} pieces",
        or_more(*.got, *.want)
    )]
    HashCount {
        /// The number of hashes; counting stops at one too many.
        got: usize,
        /// The number of pieces.
        want: u32,
    },
}

/// Whether metainfo is JSON rather than bencoded: it begins with `{`.
pub fn is_json(document: &[u8]) -> bool {
    document.trim_ascii_start().first() == Some(&b'{')
}

/// Whether a text is a valid tracker host: a host name, or an IP address without brackets.
pub fn is_host(text: &str) -> bool {
    text.parse::<Address>().is_ok_and(|address| address.host == text)
}

impl JsonTorrent {
    /// Decodes a metainfo file. Unknown fields are ignored; `comment` is optional.
    ///
    /// # Errors
    /// When the metainfo is not valid; the error names the field.
    pub fn decode(bytes: &[u8]) -> Result<Self, JsonTorrentError> {
        if bytes.len() > MAX_JSON_TORRENT {
            return Err(JsonTorrentError::TooLong { length: bytes.len() });
        }
        let document = Object::parse(bytes)?;
        let announce = document.read("announce", "a host name or an IP address", read_host)?;
        let port = document.number("port", 1..=u64::from(u16::MAX))? as u16;
        let comment = match document.get("comment") {
            Some(_) => document.text("comment", MAX_COMMENT)?,
            None => String::new(),
        };
        let info = document.object("info")?;
        let piece_length = info.number("piece_length", 1..=u64::from(MAX_WHOLE_PIECE))?;
        let geometry =
            Geometry::new(info.number("file_length", 0..=i64::MAX as u64)?, piece_length)?;
        let original = info.text("file_name", MAX_FILE_NAME)?;
        let file_name = usable_name(original.as_bytes()).into_owned();
        let mut warnings = Warnings::default();
        if file_name != original {
            warnings.name_replaced(original.as_bytes(), &file_name);
        }
        let piece_hashes = read_hashes(&info, geometry.pieces())?;
        Ok(Self {
            announce,
            port,
            comment,
            file_name,
            geometry,
            piece_hashes,
            warnings: warnings.finish(),
        })
    }

    /// The metainfo file, in ASCII only, as Python's `json` writes it: it is read alike in every
    /// locale.
    pub fn encode(&self, form: HashForm) -> Vec<u8> {
        let document = Document {
            announce: &self.announce,
            port: self.port,
            comment: &self.comment,
            info: Info {
                piece_length: self.geometry.piece_length(),
                piece_hash: Hashes { hashes: &self.piece_hashes, form },
                file_name: &self.file_name,
                file_length: self.geometry.total(),
            },
        };
        let mut text =
            ascii(&serde_json::to_string_pretty(&document).expect("numbers and texts serialize"));
        text.push('\n');
        text.into_bytes()
    }

    /// The info-hash that this program uses for the swarm; the protocol itself has none. It is the
    /// SHA-1 of a fixed text, the lengths and the piece hashes. The tracker, the comment and the
    /// file name do not change it.
    pub fn identity(&self) -> InfoHash {
        let mut hash = Sha1::new();
        hash.update(b"sow json-torrent");
        hash.update(&self.geometry.total().to_be_bytes());
        hash.update(&self.geometry.piece_length().to_be_bytes());
        self.piece_hashes.iter().for_each(|piece| hash.update(piece));
        InfoHash(hash.finish())
    }
}

#[derive(Serialize)]
struct Document<'a> {
    announce: &'a str,
    port: u16,
    comment: &'a str,
    info: Info<'a>,
}

#[derive(Serialize)]
struct Info<'a> {
    piece_length: u32,
    piece_hash: Hashes<'a>,
    file_name: &'a str,
    file_length: u64,
}

struct Hashes<'a> {
    hashes: &'a [[u8; 20]],
    form: HashForm,
}

impl Serialize for Hashes<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.hashes.iter().map(|hash| write_digest(hash, self.form)))
    }
}

/// JSON text with every character beyond ASCII escaped. Such characters occur in strings only.
fn ascii(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() {
            text.push(c);
        } else {
            c.encode_utf16(&mut [0; 2])
                .iter()
                .for_each(|unit| text.push_str(&format!("\\u{unit:04x}")));
        }
    }
    text
}

/// A host; an IPv6 address may be in brackets.
fn read_host(value: Value<'_>) -> Option<String> {
    let text = value.text(MAX_HOST)?;
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(&text);
    is_host(bare).then(|| bare.to_owned())
}

fn read_hashes(info: &Object<'_>, pieces: u32) -> Result<Vec<[u8; 20]>, JsonTorrentError> {
    let want = pieces as usize;
    // Not reserved in advance: the number of pieces is untrusted until the hashes are there.
    let mut hashes = Vec::new();
    info.each("piece_hash", |index, value| {
        if index >= want {
            return Err(JsonTorrentError::HashCount { got: want + 1, want: pieces });
        }
        let hash = value.text(digest::MAX_DIGEST_TEXT).and_then(|text| read_digest(&text));
        hashes
            .push(hash.ok_or_else(|| JsonTorrentError::Hash { index, found: value.to_string() })?);
        Ok(())
    })?;
    match hashes.len() {
        got if got == want => Ok(hashes),
        got => Err(JsonTorrentError::HashCount { got, want: pieces }),
    }
}

/// Counting stops at one hash too many, so a larger count is a lower bound.
fn or_more(got: usize, want: u32) -> &'static str {
    if got > want as usize { " or more" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"announce": "10.0.0.1", "port": 6666, "comment": "", "info": {
        "piece_length": 3000, "piece_hash": ["b'\\x8f>\\xd0aaaaaaaaaaaaaaaaa'",
        "0000000000000000000000000000000000000000"], "file_name": "A", "file_length": 3001}}"#;

    fn error(from: &str, to: &str) -> String {
        let changed = GOOD.replacen(from, to, 1);
        assert_ne!(changed, GOOD, "{from}");
        JsonTorrent::decode(changed.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn metainfo_of_the_original_program_is_decoded() {
        let torrent = JsonTorrent::decode(GOOD.as_bytes()).unwrap();
        assert_eq!(
            (torrent.announce.as_str(), torrent.port, torrent.comment.as_str()),
            ("10.0.0.1", 6666, "")
        );
        assert_eq!(
            (torrent.file_name.as_str(), torrent.geometry),
            ("A", Geometry::new(3001, 3000).unwrap())
        );
        assert_eq!(torrent.piece_hashes, [*b"\x8f>\xd0aaaaaaaaaaaaaaaaa", [0; 20]]);
    }

    #[test]
    fn encoded_metainfo_has_the_layout_of_the_original_program() {
        let torrent = JsonTorrent {
            announce: "tracker.example".into(),
            port: 6666,
            comment: "naïve 😀".into(),
            file_name: "A".into(),
            geometry: Geometry::new(1, 3000).unwrap(),
            piece_hashes: vec![*b"\x8f>\xd0aaaaaaaaaaaaaaaaa"],
            warnings: Vec::new(),
        };
        let text = String::from_utf8(torrent.encode(HashForm::Python)).unwrap();
        let expected = r#"{
  "announce": "tracker.example",
  "port": 6666,
  "comment": "na\u00efve \ud83d\ude00",
  "info": {
    "piece_length": 3000,
    "piece_hash": [
      "b'\\x8f>\\xd0aaaaaaaaaaaaaaaaa'"
    ],
    "file_name": "A",
    "file_length": 1
  }
}
"#;
        assert_eq!(text, expected);
        assert_eq!(JsonTorrent::decode(text.as_bytes()), Ok(torrent));
    }

    #[test]
    fn errors_name_the_field() {
        for (from, to, expected) in [
            ("\"announce\": \"10.0.0.1\", ", "", "`announce` is missing"),
            ("\"10.0.0.1\"", "7", "`announce` is 7; expected a host name"),
            ("\"10.0.0.1\"", "\"\"", "`announce` is \"\"; expected a host name or an IP address"),
            ("\"10.0.0.1\"", "\"http://10.0.0.1/\"", "`announce` is \"http://10.0.0.1/\""),
            ("\"10.0.0.1\"", "\"10.0.0.1:80\"", "`announce` is"),
            ("\"10.0.0.1\"", "\"a\\u001b[2J\"", "`announce` is \"a\\u001b[2J\""),
            ("6666", "0", "`port` is 0; expected a whole number from 1 to 65535"),
            ("6666", "65536", "`port` is 65536"),
            ("6666", "\"6666\"", "`port` is \"6666\""),
            ("6666", "6666, \"port\": 6667", "`port` appears twice"),
            ("\"comment\": \"\"", "\"comment\": {}", "`comment` is {}"),
            ("\"info\": {", "\"info\": [], \"other\": {", "`info` is []; expected an object"),
            ("3000", "0", "`info.piece_length` is 0"),
            ("3000", "-1", "`info.piece_length` is -1"),
            ("3000", "67108865", "`info.piece_length` is 67108865"),
            ("3000", "9223372036854775808", "`info.piece_length` is 9223372036854775808"),
            ("3001", "-5", "`info.file_length` is -5"),
            ("3001", "1e9", "`info.file_length` is 1e9"),
            (
                "3001",
                "9223372036854775807",
                "`info.piece_length`: 9223372036854775807 bytes in pieces of 3000",
            ),
            ("3001", "3000", "`info.piece_hash` has 2 hashes or more, but the file has 1 pieces"),
            ("3001", "6001", "`info.piece_hash` has 2 hashes, but the file has 3 pieces"),
            ("\"A\"", "[\"A\"]", "`info.file_name` is [\"A\"]"),
            (
                "piece_hash\": [",
                "piece_hash\": \"\", \"x\": [",
                "`info.piece_hash` is \"\"; expected an array",
            ),
            ("piece_hash\": [", "piece_hash\": [5, ", "`info.piece_hash[0]` is 5"),
            ("\"0000000000", "\"000000000", "`info.piece_hash[1]` is \"000000000"),
            ("\\\\x8f", "\\\\y8f", "`info.piece_hash[0]` is"),
        ] {
            let error = error(from, to);
            assert!(error.starts_with(expected), "{from} -> {to}: {error}");
        }
    }

    #[test]
    fn a_file_name_that_no_file_can_have_is_replaced() {
        for (name, due) in [("../A", ".._A"), ("\\u0000", "_"), ("..", "_"), ("", "_")] {
            let text = GOOD.replacen("\"A\"", &format!("\"{name}\""), 1);
            let torrent = JsonTorrent::decode(text.as_bytes()).unwrap();
            assert_eq!((torrent.file_name.as_str(), torrent.warnings.len()), (due, 1));
        }
    }

    #[test]
    fn an_empty_file_has_no_hashes() {
        let text = r#"{"announce": "[::1]", "port": 1, "info":
            {"piece_length": 512, "piece_hash": [], "file_name": "a", "file_length": 0}}"#;
        let torrent = JsonTorrent::decode(text.as_bytes()).unwrap();
        assert_eq!((torrent.announce.as_str(), torrent.piece_hashes.len()), ("::1", 0));
    }

    #[test]
    fn the_identity_depends_on_the_content_only() {
        let torrent = JsonTorrent::decode(GOOD.as_bytes()).unwrap();
        let named =
            JsonTorrent { file_name: "b".into(), port: 1, comment: "c".into(), ..torrent.clone() };
        assert_eq!(named.identity(), torrent.identity());
        let longer =
            JsonTorrent { geometry: Geometry::new(3002, 3000).unwrap(), ..torrent.clone() };
        assert_ne!(longer.identity(), torrent.identity());
        let mut other = torrent.clone();
        other.piece_hashes[1][19] ^= 1;
        assert_ne!(other.identity(), torrent.identity());
        // Journals on disk hold it, so it must never change. In Python:
        // `sha1(b"sow json-torrent" + struct.pack("!QI", 3001, 3000) + hashes)`.
        assert_eq!(torrent.identity().to_string(), "c730dad09692fda0a2baf5b6e10d915b8abac150");
    }

    #[test]
    fn json_is_distinguished_from_bencode() {
        assert!(is_json(GOOD.as_bytes()) && is_json(b" \r\n\t{"));
        assert!(!is_json(b"d8:announce") && !is_json(b"") && !is_json(b"[]"));
    }

    #[test]
    fn a_file_above_the_size_limit_is_rejected() {
        let length = MAX_JSON_TORRENT + 1;
        assert_eq!(
            JsonTorrent::decode(&vec![b' '; length]),
            Err(JsonTorrentError::TooLong { length })
        );
    }
}
