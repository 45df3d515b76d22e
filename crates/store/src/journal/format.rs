//! The bytes of a resume journal: a header of 64 bytes, then records of 8. Encoding, decoding and
//! what a journal means after an interruption; no file is touched here.
//!
//! ```text
//! header: magic 8 | info-hash 20 | total 8 | piece length 4 | boot id 16 | check 8
//! record: kind 2 bits, value 30 bits | check 4
//! ```
//!
//! Numbers are little-endian. A check is the beginning of a SHA-1 over what it protects; a record's
//! covers the info-hash and the record's place too, so that a record counts only where it was
//! written.

use sow_content::{Bitfield, Geometry, InfoHash, hash::sha1};

/// Bytes of the header.
pub(crate) const HEADER: usize = 64;

/// Bytes of a record.
pub(crate) const RECORD: usize = 8;

/// The number of records that a journal can hold: a record's value has 30 bits.
pub(crate) const MOST_RECORDS: u32 = 1 << 30;

const MAGIC: &[u8; 8] = b"sowjrnl1";
const VALUE: u32 = MOST_RECORDS - 1;

/// Which content a journal is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) info_hash: InfoHash,
    pub(crate) geometry: Geometry,
}

/// Which start of the system wrote the journal: with the same one, what was written is there still
/// (if only in the page cache), whatever became of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BootId([u8; 16]);

/// One step in the life of the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Record {
    /// The piece is verified and written.
    Verified(u32),
    /// The piece does not count any more.
    Lost(u32),
    /// What the first so many records speak of is on the disk.
    Synced(u32),
    /// All pieces are there; what has this inode number (its low 30 bits) is about to become the
    /// target.
    Placing(u32),
}

/// What a journal says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Replay {
    /// Pieces that were on the disk at the last mark.
    pub(crate) synced: Bitfield,
    /// Pieces written after it. Disjoint from `synced`.
    pub(crate) later: Bitfield,
    /// The last record says that the content was about to be put in place: the value of
    /// [`Record::Placing`].
    pub(crate) placing: Option<u32>,
    /// How many records are intact; what follows them is to be cut off.
    pub(crate) records: u32,
}

impl BootId {
    /// A boot id that is not known; never the same as another.
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

    /// Whether both are known and the same.
    pub(crate) fn is(self, other: Self) -> bool {
        self == other && self != Self::UNKNOWN
    }
}

/// The header of a journal.
pub(crate) fn encode_header(identity: &Identity, boot: BootId) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(MAGIC);
    header[8..28].copy_from_slice(&identity.info_hash.0);
    header[28..36].copy_from_slice(&identity.geometry.total().to_le_bytes());
    header[36..40].copy_from_slice(&identity.geometry.piece_length().to_le_bytes());
    header[40..56].copy_from_slice(&boot.0);
    let check = sha1(&header[..56]);
    header[56..].copy_from_slice(&check[..8]);
    header
}

/// Reads a header; `None` when it is cut off, damaged, or of another version.
pub(crate) fn decode_header(bytes: &[u8]) -> Option<(Identity, BootId)> {
    let header: &[u8; HEADER] = bytes.first_chunk()?;
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

impl Record {
    /// The record as the `index`-th of a journal.
    pub(crate) fn encode(self, index: u32, info_hash: &InfoHash) -> [u8; RECORD] {
        let (kind, value) = match self {
            Self::Verified(piece) => (0, piece),
            Self::Lost(piece) => (1, piece),
            Self::Synced(records) => (2, records),
            Self::Placing(inode) => (3, inode),
        };
        let word = (kind << 30 | value & VALUE).to_le_bytes();
        let mut record = [0; RECORD];
        record[..4].copy_from_slice(&word);
        record[4..].copy_from_slice(&check(word, index, info_hash));
        record
    }

    /// Reads the `index`-th record; `None` when it is damaged or was not written as that.
    pub(crate) fn decode(bytes: &[u8; RECORD], index: u32, info_hash: &InfoHash) -> Option<Self> {
        let [a, b, c, d, sum @ ..] = *bytes;
        let word = [a, b, c, d];
        if sum != check(word, index, info_hash) {
            return None;
        }
        let word = u32::from_le_bytes(word);
        let value = word & VALUE;
        Some(match word >> 30 {
            0 => Self::Verified(value),
            1 => Self::Lost(value),
            2 => Self::Synced(value),
            _ => Self::Placing(value),
        })
    }
}

/// Plays back the bytes after the header, up to the first record that is not intact or says what
/// cannot be.
pub(crate) fn replay(bytes: &[u8], identity: &Identity) -> Replay {
    let pieces = identity.geometry.pieces();
    let mut synced = Bitfield::new(pieces);
    let mut later = Bitfield::new(pieces);
    let mut placing = None;
    // What happened since the last mark, in order, so that a mark can take over the part that it
    // covers.
    let mut open: Vec<(u32, Record)> = Vec::new();
    let mut records = 0;
    for bytes in bytes.as_chunks::<RECORD>().0.iter().take(MOST_RECORDS as usize) {
        let Some(record) = Record::decode(bytes, records, &identity.info_hash) else { break };
        placing = None;
        match record {
            Record::Verified(piece) | Record::Lost(piece) if piece < pieces => {
                open.push((records, record))
            }
            Record::Synced(covered) if covered <= records => {
                let covered = open.partition_point(|(index, _)| *index < covered);
                open.drain(..covered).for_each(|(_, record)| apply(&mut synced, record));
            }
            Record::Placing(inode) => placing = Some(inode),
            _ => break,
        }
        records += 1;
    }
    for (_, record) in open {
        // A piece that was lost after the mark counts nowhere, not even as on the disk.
        if let Record::Lost(piece) = record {
            synced.unset(piece);
        }
        apply(&mut later, record);
    }
    synced.iter().for_each(|piece| {
        later.unset(piece);
    });
    Replay { synced, later, placing, records }
}

fn apply(set: &mut Bitfield, record: Record) {
    match record {
        Record::Verified(piece) => set.set(piece),
        Record::Lost(piece) => set.unset(piece),
        Record::Synced(_) | Record::Placing(_) => false,
    };
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
    fn a_mark_covers_what_it_says_and_no_more() {
        use Record::*;
        let records = [Verified(1), Verified(2), Verified(3), Synced(2), Verified(4)];
        let replay = replay(&encode(&records), &identity(10));
        assert_eq!(replay.synced, set(10, &[1, 2]));
        assert_eq!(replay.later, set(10, &[3, 4]));
        assert_eq!((replay.records, replay.placing), (5, None));
    }

    #[test]
    fn a_lost_piece_counts_nowhere_until_it_is_written_again() {
        use Record::*;
        let mut records = vec![Verified(1), Verified(2), Synced(2), Lost(1)];
        assert_eq!(replay(&encode(&records), &identity(5)).synced, set(5, &[2]));
        records.push(Verified(1));
        let again = replay(&encode(&records), &identity(5));
        assert_eq!((again.synced, again.later), (set(5, &[2]), set(5, &[1])));
        records.push(Synced(5));
        assert_eq!(replay(&encode(&records), &identity(5)).synced, set(5, &[1, 2]));
    }

    #[test]
    fn placing_counts_only_as_the_last_word() {
        use Record::*;
        assert_eq!(replay(&encode(&[Verified(0), Placing(77)]), &identity(1)).placing, Some(77));
        assert_eq!(replay(&encode(&[Placing(77), Lost(0)]), &identity(1)).placing, None);
    }

    #[test]
    fn records_that_cannot_be_end_the_journal() {
        use Record::*;
        for nonsense in [Verified(5), Lost(5), Synced(2)] {
            let replay = replay(&encode(&[Verified(0), nonsense, Verified(1)]), &identity(5));
            assert_eq!((replay.records, replay.later), (1, set(5, &[0])), "{nonsense:?}");
        }
        assert_eq!(replay(&[0; 64], &identity(5)).records, 0, "a hole in the file is no record");
    }

    #[test]
    fn records_count_only_in_their_place_and_for_their_content() {
        let bytes = encode(&[Record::Verified(0), Record::Verified(1), Record::Verified(2)]);
        assert_eq!(replay(&bytes[RECORD..], &identity(5)).records, 0);
        let other = Identity { info_hash: InfoHash([8; 20]), ..identity(5) };
        assert_eq!(replay(&bytes, &other).records, 0);
    }

    #[test]
    fn a_header_with_any_bit_wrong_is_refused() {
        let header = encode_header(&identity(5), BOOT);
        assert_eq!(decode_header(&header), Some((identity(5), BOOT)));
        for bit in 0..HEADER * 8 {
            let mut damaged = header;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode_header(&damaged), None, "bit {bit}");
        }
        assert_eq!(decode_header(&header[..HEADER - 1]), None);
    }

    #[test]
    fn an_unknown_boot_is_never_the_same() {
        assert!(BOOT.is(BOOT));
        assert!(!BootId::UNKNOWN.is(BootId::UNKNOWN));
        assert!(BootId::current().is(BootId::current()), "this system has a boot id");
    }

    fn any_record() -> impl Strategy<Value = Record> {
        prop_oneof![
            4 => (0u32..20).prop_map(Record::Verified),
            1 => (0u32..20).prop_map(Record::Lost),
            1 => (0u32..30).prop_map(Record::Synced),
        ]
    }

    proptest! {
        /// Torn at every byte: what is left is exactly what the whole records before the tear say.
        #[test]
        fn torn_at_every_byte(records in prop::collection::vec(any_record(), 0..20)) {
            let bytes = encode(&records);
            for torn in 0..=bytes.len() {
                let whole = torn / RECORD;
                prop_assert_eq!(replay(&bytes[..torn], &identity(20)), replay(&encode(&records[..whole]), &identity(20)));
            }
        }

        /// A byte changed anywhere: only records before it count.
        #[test]
        fn damaged_anywhere(
            records in prop::collection::vec(any_record(), 1..20),
            at in any::<prop::sample::Index>(),
            flip in 1u8..,
        ) {
            let mut bytes = encode(&records);
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            let replayed = replay(&bytes, &identity(20));
            prop_assert!(replayed.records as usize <= at / RECORD);
            prop_assert_eq!(replayed, replay(&encode(&records[..at / RECORD]), &identity(20)));
        }

        /// Anything at all is read without harm, and both sets stay apart.
        #[test]
        fn anything(bytes in prop::collection::vec(any::<u8>(), 0..200), records in prop::collection::vec(any_record(), 0..30)) {
            replay(&bytes, &identity(20));
            decode_header(&bytes);
            let replay = replay(&encode(&records), &identity(20));
            prop_assert!(replay.synced.iter().all(|piece| !replay.later.get(piece)));
        }
    }
}
