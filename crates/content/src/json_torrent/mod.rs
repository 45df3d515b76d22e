//! Document 2's metainfo (section 1): a JSON file, `NAME.torrent`, that names one file and the
//! tracker of its one swarm.
//!
//! Nothing here reads files or talks to anybody.

mod digest;

use serde::Serialize;

use crate::{
    Geometry, InfoHash,
    geometry::{GeometryError, MAX_PIECE_LENGTH},
    hash::Sha1,
    json::{JsonError, Object, Value},
    path::{MAX_NAME, PathError, clean_name},
    ticket::Address,
};

pub use digest::{HashForm, read_digest, write_digest};

/// The longest document that is read, in bytes.
pub const MAX_JSON_TORRENT: usize = 64 * 1024 * 1024;

/// The longest comment that is read, in bytes.
pub const MAX_COMMENT: usize = 64 * 1024;

/// The piece length of the original programs, in bytes.
pub const DEFAULT_PIECE_LENGTH: u32 = 3000;

/// The port of the original tracker.
pub const DEFAULT_TRACKER_PORT: u16 = 6666;

/// The longest host name, in bytes.
const MAX_HOST: usize = 256;

/// What is shared, and where its tracker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonTorrent {
    /// The tracker's host: a name, an IPv4 address, or an IPv6 address without brackets.
    pub announce: String,
    /// The tracker's port, never 0.
    pub port: u16,
    /// What the maker has to say; empty when that is nothing. At most [`MAX_COMMENT`] bytes.
    pub comment: String,
    /// The file's name: one clean path component, as [`clean_name`] says.
    pub file_name: String,
    /// Size and pieces.
    pub geometry: Geometry,
    /// The SHA-1 of each piece, as many as the geometry has pieces.
    pub piece_hashes: Vec<[u8; 20]>,
}

/// Why bytes are no metainfo of document 2 that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonTorrentError {
    /// Over [`MAX_JSON_TORRENT`] bytes.
    #[error("{length} bytes; a JSON torrent of at most {MAX_JSON_TORRENT} bytes is accepted")]
    TooLong {
        /// How many bytes there are.
        length: usize,
    },
    /// It is no JSON, or a field is missing, there twice, of another type, or out of range.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// A piece length that cannot be, or too many pieces.
    #[error("`info.piece_length`: {0}")]
    Geometry(#[from] GeometryError),
    /// A file name that is not accepted.
    #[error("`info.file_name` is not usable as a file name: {0}")]
    FileName(#[source] PathError),
    /// A hash in neither of the two forms.
    #[error(
        "`info.piece_hash[{index}]` is {found}, where a SHA-1 belongs: 40 hexadecimal digits, or 20 bytes as Python prints them"
    )]
    Hash {
        /// Which hash.
        index: usize,
        /// What is there instead, or the beginning of it.
        found: String,
    },
    /// More or fewer hashes than pieces.
    #[error("`info.piece_hash` holds {got} hashes{}, but the file has {want} pieces", more(*.got, *.want))]
    HashCount {
        /// Hashes that are there; counted no further than one too many.
        got: usize,
        /// Hashes that the length asks for.
        want: u32,
    },
}

/// Whether a document is JSON rather than bencoded: it begins with `{`.
pub fn is_json(document: &[u8]) -> bool {
    document.trim_ascii_start().first() == Some(&b'{')
}

/// Whether a text can be the host of a tracker: a name, or an IP address without brackets.
pub fn is_host(text: &str) -> bool {
    text.parse::<Address>().is_ok_and(|address| address.host == text)
}

impl JsonTorrent {
    /// Reads a metainfo file. Fields that are not known are passed over; `comment` may be missing.
    ///
    /// # Errors
    /// When it is none, or one that cannot be used: the error names the field.
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
        let piece_length = info.number("piece_length", 1..=u64::from(MAX_PIECE_LENGTH))?;
        let geometry =
            Geometry::new(info.number("file_length", 0..=i64::MAX as u64)?, piece_length)?;
        let file_name = info.text("file_name", MAX_NAME)?;
        clean_name(file_name.as_bytes()).map_err(JsonTorrentError::FileName)?;
        let piece_hashes = read_hashes(&info, geometry.pieces())?;
        Ok(Self { announce, port, comment, file_name, geometry, piece_hashes })
    }

    /// The bytes of the file: ASCII alone, as Python's `json` writes it and any locale reads it.
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
            ascii(&serde_json::to_string_pretty(&document).expect("numbers and texts become JSON"));
        text.push('\n');
        text.into_bytes()
    }

    /// The name of the swarm inside this program; the protocol itself has none. The SHA-1 of a
    /// fixed text, the lengths and the hashes: what the tracker, the comment and the file are
    /// called is not in it.
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

/// JSON text with everything beyond ASCII escaped, which stands in strings alone.
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

/// A host, which may stand in brackets when it is an IPv6 address.
fn read_host(value: Value<'_>) -> Option<String> {
    let text = value.text(MAX_HOST)?;
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(&text);
    is_host(bare).then(|| bare.to_owned())
}

fn read_hashes(info: &Object<'_>, pieces: u32) -> Result<Vec<[u8; 20]>, JsonTorrentError> {
    let want = pieces as usize;
    // No more is set aside than a document can hold.
    let mut hashes = Vec::new();
    info.each("piece_hash", |index, value| {
        if index >= want {
            return Err(JsonTorrentError::HashCount { got: want + 1, want: pieces });
        }
        let hash = value.text(digest::MAX_SPELLING).and_then(|text| read_digest(&text));
        hashes
            .push(hash.ok_or_else(|| JsonTorrentError::Hash { index, found: value.to_string() })?);
        Ok(())
    })?;
    match hashes.len() {
        got if got == want => Ok(hashes),
        got => Err(JsonTorrentError::HashCount { got, want: pieces }),
    }
}

/// Hashes are counted no further than one too many.
fn more(got: usize, want: u32) -> &'static str {
    if got > want as usize { " or more" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"announce": "10.0.0.1", "port": 6666, "comment": "", "info": {"piece_length": 3000,
        "piece_hash": ["b'\\x8f>\\xd0aaaaaaaaaaaaaaaaa'", "0000000000000000000000000000000000000000"],
        "file_name": "A", "file_length": 3001}}"#;

    fn error(from: &str, to: &str) -> String {
        let changed = GOOD.replacen(from, to, 1);
        assert_ne!(changed, GOOD, "{from}");
        JsonTorrent::decode(changed.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_file_as_the_original_writes_it_is_read() {
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
    fn what_is_written_has_the_originals_shape() {
        let torrent = JsonTorrent {
            announce: "tracker.example".into(),
            port: 6666,
            comment: "naïve 😀".into(),
            file_name: "A".into(),
            geometry: Geometry::new(1, 3000).unwrap(),
            piece_hashes: vec![*b"\x8f>\xd0aaaaaaaaaaaaaaaaa"],
        };
        let text = String::from_utf8(torrent.encode(HashForm::Python)).unwrap();
        let due = r#"{
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
        assert_eq!(text, due);
        assert_eq!(JsonTorrent::decode(text.as_bytes()), Ok(torrent));
    }

    #[test]
    fn each_field_is_named_when_it_is_wrong() {
        for (from, to, due) in [
            ("\"announce\": \"10.0.0.1\", ", "", "`announce` is missing"),
            ("\"10.0.0.1\"", "7", "`announce` is 7, where a host name"),
            (
                "\"10.0.0.1\"",
                "\"\"",
                "`announce` is \"\", where a host name or an IP address belongs",
            ),
            ("\"10.0.0.1\"", "\"http://10.0.0.1/\"", "`announce` is \"http://10.0.0.1/\""),
            ("\"10.0.0.1\"", "\"10.0.0.1:80\"", "`announce` is"),
            ("\"10.0.0.1\"", "\"a\\u001b[2J\"", "`announce` is \"a\\u001b[2J\""),
            ("6666", "0", "`port` is 0, where a whole number from 1 to 65535"),
            ("6666", "65536", "`port` is 65536"),
            ("6666", "\"6666\"", "`port` is \"6666\""),
            ("6666", "6666, \"port\": 6667", "`port` is there twice"),
            ("\"comment\": \"\"", "\"comment\": {}", "`comment` is {}"),
            ("\"info\": {", "\"info\": [], \"other\": {", "`info` is [], where an object belongs"),
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
            ("3001", "3000", "`info.piece_hash` holds 2 hashes or more, but the file has 1 pieces"),
            ("3001", "6001", "`info.piece_hash` holds 2 hashes, but the file has 3 pieces"),
            (
                "\"A\"",
                "\"../A\"",
                "`info.file_name` is not usable as a file name: a name must not contain `/`",
            ),
            ("\"A\"", "\"\\u0000\"", "`info.file_name` is not usable"),
            ("\"A\"", "\"..\"", "`info.file_name` is not usable"),
            ("\"A\"", "[\"A\"]", "`info.file_name` is [\"A\"]"),
            (
                "piece_hash\": [",
                "piece_hash\": \"\", \"x\": [",
                "`info.piece_hash` is \"\", where an array belongs",
            ),
            ("piece_hash\": [", "piece_hash\": [5, ", "`info.piece_hash[0]` is 5"),
            ("\"0000000000", "\"000000000", "`info.piece_hash[1]` is \"000000000"),
            ("\\\\x8f", "\\\\y8f", "`info.piece_hash[0]` is"),
        ] {
            let error = error(from, to);
            assert!(error.starts_with(due), "{from} -> {to}: {error}");
        }
    }

    #[test]
    fn an_empty_file_has_no_hashes() {
        let text = r#"{"announce": "[::1]", "port": 1, "info": {"piece_length": 512, "piece_hash": [], "file_name": "a", "file_length": 0}}"#;
        let torrent = JsonTorrent::decode(text.as_bytes()).unwrap();
        assert_eq!((torrent.announce.as_str(), torrent.piece_hashes.len()), ("::1", 0));
    }

    #[test]
    fn the_identity_is_of_the_content_alone() {
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
        // As journals have it: it must never change. `sha1(b"sow json-torrent" + struct.pack("!QI",
        // 3001, 3000) + hashes)`.
        assert_eq!(torrent.identity().to_string(), "c730dad09692fda0a2baf5b6e10d915b8abac150");
    }

    #[test]
    fn json_is_told_from_bencode() {
        assert!(is_json(GOOD.as_bytes()) && is_json(b" \r\n\t{"));
        assert!(!is_json(b"d8:announce") && !is_json(b"") && !is_json(b"[]"));
    }

    #[test]
    fn a_document_that_is_too_long_is_not_read() {
        let length = MAX_JSON_TORRENT + 1;
        assert_eq!(
            JsonTorrent::decode(&vec![b' '; length]),
            Err(JsonTorrentError::TooLong { length })
        );
    }
}
