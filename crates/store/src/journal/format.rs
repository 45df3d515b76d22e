//! The bytes of a resume journal: a header of 64 bytes, a stamp of 32 bytes, then records of 8
//! bytes. This module encodes and decodes them and replays a journal; it touches no file.
//!
//! ```text
//! header: magic 8 | info-hash 20 | total 8 | piece length 4 | boot id 16 | check 8
//! stamp:  kind 4 | digest 20 | check 8
//! record: kind 2 bits, value 30 bits | check 4
//! ```
//!
//! Numbers are little-endian. A check is the beginning of a SHA-1 over the bytes before it. The
//! check of a record covers the info-hash and the index of the record too, so a record is valid
//! only where it was written; the check of the stamp covers the info-hash.

use sow_content::{Bitfield, Geometry, InfoHash, hash::sha1};

/// The length of the header, and the offset of the stamp.
pub(crate) const HEADER_BYTES: usize = 64;

/// The length of the stamp.
pub(crate) const STAMP_BYTES: usize = 32;

/// The offset of the first record.
pub(crate) const RECORDS_OFFSET: usize = HEADER_BYTES + STAMP_BYTES;

/// The length of a record.
pub(crate) const RECORD_BYTES: usize = 8;

/// A journal has fewer records than this, since the value of a record has 30 bits.
pub(crate) const MAX_RECORDS: u32 = 1 << 30;

const MAGIC: &[u8; 8] = b"sowjrnl2";
/// The bits of a record's first word that hold its value.
const VALUE_MASK: u32 = MAX_RECORDS - 1;

/// The content that a journal belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) info_hash: InfoHash,
    pub(crate) geometry: Geometry,
}

/// The boot of the system that wrote the journal. If it is the current one, everything that was
/// written still exists, at least in the page cache, even if the process was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BootId([u8; 16]);

/// What proves that the files are as the journal's process left them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stamp {
    /// Nothing: only hashing shows what the files hold.
    Unknown,
    /// The digest of the state of all files (lengths, times, inode numbers). While the files are in
    /// this state, no program has written to them, so the records are true.
    Files([u8; 20]),
    /// A write or a sync failed. The page cache may hold bytes that the disk lost, so not even
    /// hashing shows what is on the disk.
    Failed,
}

/// One change of the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Record {
    /// The piece is verified and written.
    Verified(u32),
    /// The piece is not there any more.
    Lost(u32),
    /// The pieces of this many first records are on the disk.
    Synced(u32),
    /// All pieces are there, and the part with this [`inode_tag`] is about to be renamed to the
    /// target.
    Committing(u32),
}

/// The meaning of a journal's records.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Replay {
    /// Pieces that were on the disk at the last [`Record::Synced`].
    pub(crate) synced: Bitfield,
    /// Pieces that were written after it. Disjoint from `synced`.
    pub(crate) unsynced: Bitfield,
    /// The value of the last record if that is [`Record::Committing`].
    pub(crate) committing: Option<u32>,
    /// The number of intact records. The file must be truncated after them.
    pub(crate) records: u32,
}

impl BootId {
    /// An unknown boot id. It equals no other.
    pub(crate) const UNKNOWN: Self = Self([0; 16]);

    /// The id of the running system.
    pub(crate) fn current() -> Self {
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .ok()
            .and_then(|text| u128::from_str_radix(&text.trim().replace('-', ""), 16).ok())
            .map_or(Self::UNKNOWN, |id| Self(id.to_be_bytes()))
    }

    #[cfg(test)]
    pub(crate) fn of(byte: u8) -> Self {
        Self([byte; 16])
    }

    /// Whether both are known and equal.
    pub(crate) fn is_same(self, other: Self) -> bool {
        self == other && self != Self::UNKNOWN
    }
}

/// The number by which a journal recognizes a file or folder: the low 30 bits of its inode number.
pub(crate) fn inode_tag(inode: u64) -> u32 {
    (inode & u64::from(VALUE_MASK)) as u32
}

/// Encodes the header of a journal.
pub(crate) fn encode_header(identity: &Identity, boot: BootId) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(MAGIC);
    header[8..28].copy_from_slice(&identity.info_hash.0);
    header[28..36].copy_from_slice(&identity.geometry.total().to_le_bytes());
    header[36..40].copy_from_slice(&identity.geometry.piece_length().to_le_bytes());
    header[40..56].copy_from_slice(&boot.0);
    let check = sha1(&header[..56]);
    header[56..].copy_from_slice(&check[..8]);
    header
}

/// Decodes a header. `None` when it is truncated, damaged, or of another version.
pub(crate) fn decode_header(bytes: &[u8]) -> Option<(Identity, BootId)> {
    let header: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
    if &header[..8] != MAGIC || header[56..] != sha1(&header[..56])[..8] {
        return None;
    }
    let total = u64::from_le_bytes(header[28..36].try_into().ok()?);
    let piece_length = u32::from_le_bytes(header[36..40].try_into().ok()?);
    let identity = Identity {
        info_hash: InfoHash(header[8..28].try_into().ok()?),
        geometry: Geometry::new(total, piece_length.into()).ok()?,
    };
    Some((identity, BootId(header[40..56].try_into().ok()?)))
}

impl Stamp {
    /// Encodes the stamp of a journal.
    pub(crate) fn encode(self, info_hash: &InfoHash) -> [u8; STAMP_BYTES] {
        let (kind, digest) = match self {
            Self::Unknown => (0u32, [0; 20]),
            Self::Files(digest) => (1, digest),
            Self::Failed => (2, [0; 20]),
        };
        let mut stamp = [0; STAMP_BYTES];
        stamp[..4].copy_from_slice(&kind.to_le_bytes());
        stamp[4..24].copy_from_slice(&digest);
        let check = stamp_check(&stamp, info_hash);
        stamp[24..].copy_from_slice(&check);
        stamp
    }

    /// Decodes a stamp. A damaged or truncated one proves nothing.
    pub(crate) fn decode(bytes: &[u8], info_hash: &InfoHash) -> Self {
        let Some(stamp) = bytes.first_chunk::<STAMP_BYTES>() else { return Self::Unknown };
        let mut digest = [0; 20];
        digest.copy_from_slice(&stamp[4..24]);
        if stamp[24..] != stamp_check(stamp, info_hash) {
            return Self::Unknown;
        }
        match stamp[0] {
            1 => Self::Files(digest),
            2 => Self::Failed,
            _ => Self::Unknown,
        }
    }
}

impl Record {
    /// Encodes the record as number `index` of a journal.
    pub(crate) fn encode(self, index: u32, info_hash: &InfoHash) -> [u8; RECORD_BYTES] {
        let (kind, value) = match self {
            Self::Verified(piece) => (0, piece),
            Self::Lost(piece) => (1, piece),
            Self::Synced(records) => (2, records),
            Self::Committing(inode) => (3, inode),
        };
        let word = (kind << 30 | value & VALUE_MASK).to_le_bytes();
        let mut record = [0; RECORD_BYTES];
        record[..4].copy_from_slice(&word);
        record[4..].copy_from_slice(&check(word, index, info_hash));
        record
    }

    /// Decodes record number `index`. `None` when it is damaged or was written at another index.
    pub(crate) fn decode(
        bytes: &[u8; RECORD_BYTES],
        index: u32,
        info_hash: &InfoHash,
    ) -> Option<Self> {
        let [a, b, c, d, found @ ..] = *bytes;
        let word = [a, b, c, d];
        if found != check(word, index, info_hash) {
            return None;
        }
        let word = u32::from_le_bytes(word);
        let value = word & VALUE_MASK;
        Some(match word >> 30 {
            0 => Self::Verified(value),
            1 => Self::Lost(value),
            2 => Self::Synced(value),
            _ => Self::Committing(value),
        })
    }
}

/// Replays the bytes after the header, up to the first record that is damaged or impossible.
pub(crate) fn replay(bytes: &[u8], identity: &Identity) -> Replay {
    let pieces = identity.geometry.pieces();
    let mut synced = Bitfield::new(pieces);
    let mut unsynced = Bitfield::new(pieces);
    let mut committing = None;
    // The records since the last `Synced`, in order, with their indices. The next `Synced` applies
    // those that it covers.
    let mut pending: Vec<(u32, Record)> = Vec::new();
    let mut records = 0;
    for bytes in bytes.as_chunks::<RECORD_BYTES>().0.iter().take(MAX_RECORDS as usize) {
        let Some(record) = Record::decode(bytes, records, &identity.info_hash) else { break };
        let mut renamed = None;
        match record {
            Record::Verified(piece) | Record::Lost(piece) if piece < pieces => {
                pending.push((records, record))
            }
            Record::Synced(covered) if covered <= records => {
                let covered = pending.partition_point(|(index, _)| *index < covered);
                pending.drain(..covered).for_each(|(_, record)| apply(&mut synced, record));
            }
            Record::Committing(inode) => renamed = Some(inode),
            _ => break,
        }
        committing = renamed;
        records += 1;
    }
    for (_, record) in pending {
        // A piece that was lost later is in neither set.
        if let Record::Lost(piece) = record {
            synced.unset(piece);
        }
        apply(&mut unsynced, record);
    }
    synced.iter().for_each(|piece| {
        unsynced.unset(piece);
    });
    Replay { synced, unsynced, committing, records }
}

fn apply(set: &mut Bitfield, record: Record) {
    match record {
        Record::Verified(piece) => set.set(piece),
        Record::Lost(piece) => set.unset(piece),
        Record::Synced(_) | Record::Committing(_) => false,
    };
}

fn stamp_check(stamp: &[u8; STAMP_BYTES], info_hash: &InfoHash) -> [u8; 8] {
    let mut bytes = [0; 44];
    bytes[..20].copy_from_slice(&info_hash.0);
    bytes[20..].copy_from_slice(&stamp[..24]);
    let [a, b, c, d, e, f, g, h, ..] = sha1(&bytes);
    [a, b, c, d, e, f, g, h]
}

fn check(word: [u8; 4], index: u32, info_hash: &InfoHash) -> [u8; 4] {
    let mut bytes = [0; 28];
    bytes[..20].copy_from_slice(&info_hash.0);
    bytes[20..24].copy_from_slice(&index.to_le_bytes());
    bytes[24..].copy_from_slice(&word);
    let [a, b, c, d, ..] = sha1(&bytes);
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOOT: BootId = BootId([7; 16]);

    fn identity(pieces: u32) -> Identity {
        let geometry = Geometry::new(u64::from(pieces) * 1000, 1000).unwrap();
        Identity { info_hash: InfoHash([9; 20]), geometry }
    }

    fn encode(records: &[Record]) -> Vec<u8> {
        let hash = identity(0).info_hash;
        records
            .iter()
            .enumerate()
            .flat_map(|(index, record)| record.encode(index as u32, &hash))
            .collect()
    }

    fn set(of: u32, pieces: &[u32]) -> Bitfield {
        let mut set = Bitfield::new(of);
        pieces.iter().for_each(|piece| assert!(set.set(*piece)));
        set
    }

    #[test]
    fn a_sync_record_covers_the_records_that_it_names_and_no_more() {
        use Record::*;
        let records = [Verified(1), Verified(2), Verified(3), Synced(2), Verified(4)];
        let replay = replay(&encode(&records), &identity(10));
        assert_eq!(replay.synced, set(10, &[1, 2]));
        assert_eq!(replay.unsynced, set(10, &[3, 4]));
        assert_eq!((replay.records, replay.committing), (5, None));
    }

    #[test]
    fn a_lost_piece_is_in_neither_set_until_it_is_written_again() {
        use Record::*;
        let mut records = vec![Verified(1), Verified(2), Synced(2), Lost(1)];
        assert_eq!(replay(&encode(&records), &identity(5)).synced, set(5, &[2]));
        records.push(Verified(1));
        let again = replay(&encode(&records), &identity(5));
        assert_eq!((again.synced, again.unsynced), (set(5, &[2]), set(5, &[1])));
        records.push(Synced(5));
        assert_eq!(replay(&encode(&records), &identity(5)).synced, set(5, &[1, 2]));
    }

    #[test]
    fn a_commit_record_counts_only_as_the_last_record() {
        use Record::*;
        let committing = |records: &[Record]| replay(&encode(records), &identity(1)).committing;
        assert_eq!(committing(&[Verified(0), Committing(77)]), Some(77));
        assert_eq!(committing(&[Committing(77), Lost(0)]), None);
        // What is impossible is cut off, and is no record.
        assert_eq!(committing(&[Committing(77), Lost(5)]), Some(77));
    }

    #[test]
    fn an_impossible_record_ends_the_journal() {
        use Record::*;
        for impossible in [Verified(5), Lost(5), Synced(2)] {
            let replay = replay(&encode(&[Verified(0), impossible, Verified(1)]), &identity(5));
            assert_eq!((replay.records, replay.unsynced), (1, set(5, &[0])), "{impossible:?}");
        }
        assert_eq!(replay(&[0; 64], &identity(5)).records, 0, "zeros are no records");
    }

    #[test]
    fn a_record_is_valid_only_at_its_index_and_for_its_content() {
        let bytes = encode(&[Record::Verified(0), Record::Verified(1), Record::Verified(2)]);
        assert_eq!(replay(&bytes[RECORD_BYTES..], &identity(5)).records, 0);
        let other = Identity { info_hash: InfoHash([8; 20]), ..identity(5) };
        assert_eq!(replay(&bytes, &other).records, 0);
    }

    #[test]
    fn a_header_with_any_flipped_bit_is_rejected() {
        let header = encode_header(&identity(5), BOOT);
        assert_eq!(decode_header(&header), Some((identity(5), BOOT)));
        for bit in 0..HEADER_BYTES * 8 {
            let mut damaged = header;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode_header(&damaged), None, "bit {bit}");
        }
        assert_eq!(decode_header(&header[..HEADER_BYTES - 1]), None);
    }

    #[test]
    fn a_damaged_stamp_proves_nothing() {
        let hash = identity(5).info_hash;
        for stamp in [Stamp::Unknown, Stamp::Files([5; 20]), Stamp::Failed] {
            let bytes = stamp.encode(&hash);
            assert_eq!(Stamp::decode(&bytes, &hash), stamp);
            assert_eq!(Stamp::decode(&bytes, &InfoHash([8; 20])), Stamp::Unknown);
            for bit in 0..STAMP_BYTES * 8 {
                let mut damaged = bytes;
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(Stamp::decode(&damaged, &hash), Stamp::Unknown, "bit {bit}");
            }
            assert_eq!(Stamp::decode(&bytes[..STAMP_BYTES - 1], &hash), Stamp::Unknown);
        }
        assert_eq!(Stamp::decode(&[0; STAMP_BYTES], &hash), Stamp::Unknown);
    }

    #[test]
    fn an_unknown_boot_id_equals_no_other() {
        assert!(BOOT.is_same(BOOT));
        assert!(!BootId::UNKNOWN.is_same(BootId::UNKNOWN));
        assert!(BootId::current().is_same(BootId::current()), "this system has a boot id");
    }

    fn any_record() -> impl Strategy<Value = Record> {
        prop_oneof![
            4 => (0u32..20).prop_map(Record::Verified),
            1 => (0u32..20).prop_map(Record::Lost),
            1 => (0u32..30).prop_map(Record::Synced),
        ]
    }

    proptest! {
        /// A journal truncated at any byte means what its whole records mean.
        #[test]
        fn a_truncated_journal_means_what_its_whole_records_mean(
            records in prop::collection::vec(any_record(), 0..20),
        ) {
            let bytes = encode(&records);
            for length in 0..=bytes.len() {
                let whole = encode(&records[..length / RECORD_BYTES]);
                let truncated = replay(&bytes[..length], &identity(20));
                prop_assert_eq!(truncated, replay(&whole, &identity(20)));
            }
        }

        /// Only the records before a changed byte count.
        #[test]
        fn a_damaged_journal_means_what_the_records_before_the_damage_mean(
            records in prop::collection::vec(any_record(), 1..20),
            at in any::<prop::sample::Index>(),
            flip in 1u8..,
        ) {
            let mut bytes = encode(&records);
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            let replayed = replay(&bytes, &identity(20));
            prop_assert!(replayed.records as usize <= at / RECORD_BYTES);
            let intact = encode(&records[..at / RECORD_BYTES]);
            prop_assert_eq!(replayed, replay(&intact, &identity(20)));
        }

        /// Arbitrary bytes and records are replayed without a panic, and the two sets are disjoint.
        #[test]
        fn any_bytes_are_replayed(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            records in prop::collection::vec(any_record(), 0..30),
        ) {
            replay(&bytes, &identity(20));
            decode_header(&bytes);
            let replay = replay(&encode(&records), &identity(20));
            prop_assert!(replay.synced.iter().all(|piece| !replay.unsynced.get(piece)));
        }
    }
}
