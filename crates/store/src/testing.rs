//! The journal's bytes for the fuzz targets: what is encoded and replayed, without files.

use sow_content::{Bitfield, Geometry, InfoHash};

use crate::journal::format::{
    BootId, HEADER_BYTES, Identity, RECORD_BYTES, Record, Stamp, decode_header, encode_header,
    replay,
};

/// A record of a journal: the number of its kind (verified, lost, synced, committing), its value.
pub type JournalRecord = (u8, u32);

/// What a replay finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalReplay {
    /// Pieces that were on the disk at the last sync.
    pub synced: Bitfield,
    /// Pieces that were written after it.
    pub unsynced: Bitfield,
    /// The value of the last record, if it says that the part was about to be renamed.
    pub committing: Option<u32>,
    /// Records that are intact.
    pub records: u32,
}

/// The header of a journal.
pub fn encode_journal_header(info_hash: InfoHash, geometry: Geometry) -> [u8; HEADER_BYTES] {
    encode_header(&Identity { info_hash, geometry }, BootId::UNKNOWN)
}

/// The content that a header names; `None` when it is damaged.
pub fn decode_journal_header(bytes: &[u8]) -> Option<(InfoHash, Geometry)> {
    decode_header(bytes).map(|(identity, _)| (identity.info_hash, identity.geometry))
}

/// Decodes a stamp, and says whether it is intact and encodes to the same bytes.
pub fn is_exact_journal_stamp(bytes: &[u8], info_hash: InfoHash) -> bool {
    let stamp = Stamp::decode(bytes, &info_hash);
    stamp != Stamp::Unknown && bytes.starts_with(&stamp.encode(&info_hash))
}

/// A record at an index.
pub fn encode_journal_record(
    (kind, value): JournalRecord,
    index: u32,
    info_hash: InfoHash,
) -> [u8; RECORD_BYTES] {
    let record = match kind & 3 {
        0 => Record::Verified(value),
        1 => Record::Lost(value),
        2 => Record::Synced(value),
        _ => Record::Committing(value),
    };
    record.encode(index, &info_hash)
}

/// Replays the records of a journal.
pub fn replay_journal(bytes: &[u8], info_hash: InfoHash, geometry: Geometry) -> JournalReplay {
    let replay = replay(bytes, &Identity { info_hash, geometry });
    JournalReplay {
        synced: replay.synced,
        unsynced: replay.unsynced,
        committing: replay.committing,
        records: replay.records,
    }
}
