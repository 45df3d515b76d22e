//! BitTorrent v1 metainfo (BEP 3): the `.torrent` file. The info dictionary inside it is `info`,
//! its list of files is `files`.
//!
//! A hybrid torrent is treated as v1. Nothing here reads a file or uses the network.

mod error;
mod files;
mod info;
mod limits;

use bytes::Bytes;

pub use error::MetainfoError;
pub use files::{FileEntry, FileSpan, Files};
pub use info::Info;
pub use limits::{MAX_FILES, MAX_METAINFO, MAX_TRACKER_URL, MAX_TRACKERS};

use crate::{
    InfoHash,
    bencode::{BencodeError, Encoder, Limits, Reader},
    hash::sha1,
};
use error::{check_length, field};

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
        Ok(Self::from_info(Info::decode(&info_bytes)?, info_bytes))
    }

    /// Decodes a `.torrent`. It keeps the first [`MAX_TRACKERS`] tracker URLs that are UTF-8 and
    /// have at most [`MAX_TRACKER_URL`] bytes.
    ///
    /// # Errors
    /// When the torrent is not valid; the error names the field and the byte position.
    pub fn decode(bytes: &[u8]) -> Result<Self, MetainfoError> {
        check_length(bytes)?;
        let mut reader = Reader::new(bytes, Limits::LARGE);
        let (mut info, mut announce, mut tiers) = (None, None, Vec::new());
        let (mut comment, mut created_by, mut creation_date) = (None, None, None);
        reader.dict(|key, reader| {
            match key {
                b"info" => {
                    let start = reader.position();
                    let read = Info::read(reader)?;
                    info =
                        Some((read, Bytes::copy_from_slice(reader.span(start, reader.position()))));
                }
                b"announce" => announce = Some(field("announce", reader.bytes())?),
                b"announce-list" => tiers = read_tiers(reader)?,
                b"comment" => comment = Some(text(field("comment", reader.bytes())?)),
                b"created by" => created_by = Some(text(field("created by", reader.bytes())?)),
                b"creation date" => creation_date = Some(field("creation date", reader.int())?),
                _ => {}
            }
            Ok::<_, MetainfoError>(())
        })?;
        reader.finish()?;
        let (info, info_bytes) =
            info.ok_or_else(|| MetainfoError::Missing { field: "info".into() })?;
        let trackers = match announce.and_then(url) {
            Some(url) if tiers.is_empty() => vec![vec![url]],
            _ => tiers,
        };
        let bare = Self::from_info(info, info_bytes);
        Ok(Self { trackers, comment, created_by, creation_date, ..bare })
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
        }
    }
}

/// Reads `announce-list`: a list of lists of URLs. Tiers without a kept URL are omitted.
fn read_tiers(reader: &mut Reader<'_>) -> Result<Vec<Vec<String>>, MetainfoError> {
    let mut tiers = Vec::new();
    let mut count = 0;
    let outcome: Result<(), BencodeError> = reader.list(|_, reader| {
        let mut tier = Vec::new();
        reader.list::<BencodeError>(|_, reader| {
            let url = url(reader.bytes()?).filter(|_| count < MAX_TRACKERS);
            count += usize::from(url.is_some());
            tier.extend(url);
            Ok(())
        })?;
        if !tier.is_empty() {
            tiers.push(tier);
        }
        Ok(())
    });
    field("announce-list", outcome)?;
    Ok(tiers)
}

fn url(bytes: &[u8]) -> Option<String> {
    let url = std::str::from_utf8(bytes).ok()?.trim();
    (!url.is_empty() && url.len() <= MAX_TRACKER_URL).then(|| url.to_owned())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
