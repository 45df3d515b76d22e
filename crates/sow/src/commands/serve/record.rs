//! The bytes of a record: what was hashed of one path. A record that is damaged in any way is told
//! from a right one by the SHA-1 before it.
//!
//! `sow1`, the SHA-1 of the rest, then a bencoded dictionary: `info` (the info dictionary), `path`,
//! `stamps` ([`FileStamps::to_bytes`](sow_store::FileStamps::to_bytes)).

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use sow_content::{
    Metainfo,
    bencode::{Encoder, Limits, Reader, raw_dict_value},
    hash::sha1,
    metainfo::MAX_METAINFO,
};
use sow_store::ContentPlan;

/// The first bytes: the format and its version.
const MAGIC: &[u8; 4] = b"sow1";

/// The length of the digest behind them.
const DIGEST_LENGTH: usize = 20;

/// The limit of a record, in bytes: one of the longest metainfo and of the files of its folder.
pub(super) const MAX_RECORD: usize = 3 * MAX_METAINFO;

/// What was hashed of one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// The path.
    pub(super) path: PathBuf,
    /// The state of its files when they were hashed.
    pub(super) stamps: Vec<u8>,
    /// The info dictionary.
    pub(super) info: Bytes,
}

impl Record {
    /// The record of content that was hashed.
    pub(super) fn new(plan: &ContentPlan, metainfo: &Metainfo) -> Self {
        Self {
            path: plan.path().to_owned(),
            stamps: plan.stamps().to_bytes(),
            info: metainfo.info_bytes.clone(),
        }
    }

    /// The bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::new();
        encoder.dict(|dict| {
            dict.entry(b"info", |encoder| encoder.raw(&self.info));
            dict.bytes(b"path", self.path.as_os_str().as_bytes());
            dict.bytes(b"stamps", &self.stamps);
        });
        let body = encoder.finish();
        [&MAGIC[..], &sha1(&body), &body].concat()
    }

    /// The record, or `None` if the bytes are damaged or of another version.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let (digest, body) = rest.split_at_checked(DIGEST_LENGTH)?;
        if sha1(body) != digest {
            return None;
        }
        // A folder of a million files is walked without building a tree.
        let raw = |key: &[u8]| raw_dict_value(body, key, Limits::LARGE).ok().flatten();
        let text = |key: &[u8]| Reader::new(raw(key)?, Limits::SMALL).bytes().ok();
        Some(Self {
            path: Path::new(OsStr::from_bytes(text(b"path")?)).to_owned(),
            stamps: text(b"stamps")?.to_vec(),
            info: Bytes::copy_from_slice(raw(b"info")?),
        })
    }

    /// The metainfo, if the files are as they were when they were hashed.
    pub(super) fn metainfo_of(&self, plan: &ContentPlan) -> Option<Metainfo> {
        if self.path != plan.path() || self.stamps != plan.stamps().to_bytes() {
            return None;
        }
        let metainfo = Metainfo::from_info_bytes(self.info.clone()).ok()?;
        let info = &metainfo.info;
        let is_same = info.name == plan.name()
            && info.files == *plan.files()
            && info.geometry.total() == plan.total();
        is_same.then_some(metainfo)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            path: PathBuf::from("/srv/a b"),
            stamps: vec![0, 1, 255],
            info: Bytes::from_static(b"d6:lengthi5ee"),
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        assert_eq!(Record::decode(&record().encode()), Some(record()));
    }

    #[test]
    fn any_damage_is_noticed() {
        let bytes = record().encode();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(Record::decode(&damaged), None, "byte {at}");
            assert_eq!(Record::decode(&bytes[..at]), None, "cut at {at}");
        }
        assert_eq!(Record::decode(&[&bytes[..], b"x"].concat()), None);
        let foreign = b"i5e";
        assert_eq!(Record::decode(&[&MAGIC[..], &sha1(foreign), foreign].concat()), None);
    }
}
