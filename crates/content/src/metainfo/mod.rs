//! BitTorrent v1 metainfo (BEP 3): the `.torrent` file. The info dictionary inside it is `info`,
//! its list of files is `files`.
//!
//! A hybrid torrent is treated as v1. Nothing here reads a file or uses the network.

mod distinct;
mod error;
mod files;
mod info;
mod limits;
mod trackers;
mod warning;

use bytes::Bytes;

pub use error::MetainfoError;
pub use files::{FileEntry, FileSpan, Files};
pub use info::Info;
pub use limits::{MAX_FILES, MAX_METAINFO, MAX_TEXT_CHARS, MAX_TRACKER_URL, MAX_TRACKERS};
pub(crate) use warning::Warnings;
pub use warning::{MAX_WARNINGS, MetainfoWarning};

use crate::{
    InfoHash,
    bencode::{Encoder, Limits, Reader},
    hash::sha1,
};
use error::{check_length, field};
use trackers::{read_announce, read_announce_list};

/// A `.torrent`: the description of the content, and the trackers of its swarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metainfo {
    /// The content.
    pub info: Info,
    /// The exact bytes of the info dictionary, which the info-hash covers. They may differ from
    /// [`Info::encode`].
    pub info_bytes: Bytes,
    /// The swarm.
    pub info_hash: InfoHash,
    /// Tiers of tracker URLs (BEP 12). A lone `announce` is one tier of one URL. No tier is empty.
    pub trackers: Vec<Vec<String>>,
    /// The comment of the author.
    pub comment: Option<String>,
    /// The program that created the torrent.
    pub created_by: Option<String>,
    /// The creation time in seconds since 1970.
    pub creation_date: Option<i64>,
    /// What was ignored or replaced when it was decoded; at most [`MAX_WARNINGS`].
    pub warnings: Vec<MetainfoWarning>,
}

impl Metainfo {
    /// Metainfo for new content, without trackers.
    pub fn new(info: Info) -> Self {
        let info_bytes = Bytes::from(info.encode());
        Self::from_info(info, info_bytes)
    }

    /// Metainfo for an info dictionary that was received from peers (BEP 9), without trackers.
    ///
    /// # Errors
    /// When the dictionary is not valid.
    pub fn from_info_bytes(info_bytes: Bytes) -> Result<Self, MetainfoError> {
        let mut warnings = Warnings::default();
        let info = Info::decode_with(&info_bytes, &mut warnings)?;
        Ok(Self { warnings: warnings.finish(), ..Self::from_info(info, info_bytes) })
    }

    /// Decodes a `.torrent`. It keeps the first [`MAX_TRACKERS`] tracker URLs that are UTF-8 and
    /// have at most [`MAX_TRACKER_URL`] bytes. What does not matter for the content and has an
    /// unexpected type is ignored, and names that no file can have are replaced: see
    /// [`Metainfo::warnings`].
    ///
    /// # Errors
    /// When the torrent is not valid; the error names the field and the byte position.
    pub fn decode(bytes: &[u8]) -> Result<Self, MetainfoError> {
        check_length(bytes)?;
        let mut reader = Reader::new(bytes, Limits::LARGE);
        let (mut info, mut announce, mut tiers) = (None, Vec::new(), Vec::new());
        let (mut comment, mut created_by, mut creation_date) = (None, None, None);
        let mut warnings = Warnings::default();
        reader.dict(|key, reader| {
            match key {
                b"info" => {
                    let start = reader.position();
                    let read = Info::read(reader, &mut warnings)?;
                    info =
                        Some((read, Bytes::copy_from_slice(reader.span(start, reader.position()))));
                }
                b"announce" => announce = read_announce(reader, &mut warnings)?,
                b"announce-list" => tiers = read_announce_list(reader, &mut warnings)?,
                b"comment" => comment = read_text("comment", reader, &mut warnings)?,
                b"created by" => created_by = read_text("created by", reader, &mut warnings)?,
                b"creation date" => match field("creation date", reader.attempt(Reader::int))? {
                    Ok(date) => creation_date = Some(date),
                    Err(_) => warnings.ignored("creation date"),
                },
                _ => {}
            }
            Ok::<_, MetainfoError>(())
        })?;
        if let count @ 1.. = reader.rest().len() {
            warnings.add(|| MetainfoWarning::TrailingBytes { count });
        }
        let (info, info_bytes) =
            info.ok_or_else(|| MetainfoError::Missing { field: "info".into() })?;
        let trackers = if tiers.is_empty() { announce } else { tiers };
        let warnings = warnings.finish();
        let bare = Self::from_info(info, info_bytes);
        Ok(Self { trackers, comment, created_by, creation_date, warnings, ..bare })
    }

    /// The bytes of the `.torrent`.
    pub fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::new();
        encoder.dict(|dict| {
            if let Some(first) = self.trackers.iter().flatten().next() {
                dict.bytes(b"announce", first.as_bytes());
            }
            if self.trackers.iter().flatten().nth(1).is_some() {
                dict.entry(b"announce-list", |encoder| {
                    encoder.list(|encoder| {
                        for tier in &self.trackers {
                            encoder.list(|encoder| {
                                tier.iter().for_each(|url| encoder.bytes(url.as_bytes()))
                            });
                        }
                    });
                });
            }
            if let Some(comment) = &self.comment {
                dict.bytes(b"comment", comment.as_bytes());
            }
            if let Some(created_by) = &self.created_by {
                dict.bytes(b"created by", created_by.as_bytes());
            }
            if let Some(date) = self.creation_date {
                dict.int(b"creation date", date);
            }
            dict.entry(b"info", |encoder| encoder.raw(&self.info_bytes));
        });
        encoder.finish()
    }

    fn from_info(info: Info, info_bytes: Bytes) -> Self {
        let info_hash = InfoHash(sha1(&info_bytes));
        Self {
            info,
            info_bytes,
            info_hash,
            trackers: Vec::new(),
            comment: None,
            created_by: None,
            creation_date: None,
            warnings: Vec::new(),
        }
    }
}

/// An optional text.
fn read_text(
    name: &str,
    reader: &mut Reader<'_>,
    warnings: &mut Warnings,
) -> Result<Option<String>, MetainfoError> {
    match field(name, reader.attempt(Reader::bytes))? {
        Ok(bytes) => {
            // A character has at most four bytes.
            let head = &bytes[..bytes.len().min(4 * MAX_TEXT_CHARS)];
            Ok(Some(String::from_utf8_lossy(head).chars().take(MAX_TEXT_CHARS).collect()))
        }
        Err(_) => {
            warnings.ignored(name);
            Ok(None)
        }
    }
}
