//! The resume journal of a store: damaged and impossible ones are replayed up to the fault, and
//! what they say is what an independent reading of their intact records says.

use std::collections::BTreeSet;

use sow_content::{Geometry, InfoHash};
use sow_store::testing::{
    JournalRecord, decode_journal_header, encode_journal_header, encode_journal_record,
    is_exact_journal_stamp, replay_journal,
};

use crate::memory;

const HASH: InfoHash = InfoHash([7; 20]);

/// Memory for the bitfields and for as many records as the input has.
const MAX_MEMORY: usize = 256 << 10;

/// Reads the input as a journal, and as a list of records that are encoded, damaged and replayed.
///
/// The first byte is the number of pieces, the second one how many bytes are damaged: each of these
/// is two bytes for a position and one to change it with. Then comes a byte for the kind and one
/// for the value of each record; a kind of 252 or more is a record of another place in the journal.
pub fn journal(data: &[u8]) {
    check_bytes(data);
    let [pieces, damages, data @ ..] = data else { return };
    let (damages, records) = data.split_at(data.len().min(usize::from(damages % 4) * 3));
    let geometry = Geometry::new(u64::from(*pieces) * 1000, 1000).expect("it is small");
    let records: Vec<JournalRecord> =
        records.as_chunks::<2>().0.iter().map(|[kind, value]| (*kind, (*value).into())).collect();
    let mut bytes = Vec::new();
    for (index, &(kind, value)) in (0..).zip(&records) {
        let index = if kind & 0xfc == 0xfc { index + 1 } else { index };
        bytes.extend(encode_journal_record((kind & 3, value), index, HASH));
    }
    let mut first_damaged = records.iter().position(|(kind, _)| kind & 0xfc == 0xfc);
    for damage in damages.as_chunks::<3>().0 {
        let at = usize::from(u16::from_le_bytes([damage[0], damage[1]]));
        if let Some(byte) = bytes.get_mut(at).filter(|_| damage[2] != 0) {
            *byte ^= damage[2];
            first_damaged = Some(first_damaged.map_or(at / 8, |first| first.min(at / 8)));
        }
    }
    let replay = memory::within(MAX_MEMORY, || replay_journal(&bytes, HASH, geometry));
    // Two changes of one byte may cancel each other; then the journal is more intact than noted.
    let is_certain = damages.len() <= 3;
    let intact = match is_certain {
        true => first_damaged.unwrap_or(records.len()),
        false => replay.records as usize,
    };
    let intact = &records[..intact];
    let expected = Reading::of(intact, (*pieces).into());
    assert_eq!(replay.records as usize, expected.records);
    assert_eq!(replay.synced.iter().collect::<BTreeSet<u32>>(), expected.synced);
    assert_eq!(replay.unsynced.iter().collect::<BTreeSet<u32>>(), expected.unsynced);
    assert_eq!(replay.committing, expected.committing);
    check_header(geometry);
}

/// Any bytes as a header, a stamp and records.
fn check_bytes(data: &[u8]) {
    if let Some((info_hash, geometry)) = decode_journal_header(data) {
        let encoded = encode_journal_header(info_hash, geometry);
        assert_eq!(decode_journal_header(&encoded), Some((info_hash, geometry)));
    }
    let geometry = Geometry::new(100_000, 1000).expect("it is small");
    let replay = memory::within(MAX_MEMORY, || replay_journal(data, HASH, geometry));
    assert!(replay.records as usize <= data.len() / 8);
    assert!(replay.synced.iter().all(|piece| !replay.unsynced.get(piece)));
    let prefix = &data[..replay.records as usize * 8];
    assert_eq!(replay_journal(prefix, HASH, geometry), replay, "what follows changes nothing");
    is_exact_journal_stamp(data, HASH);
}

fn check_header(geometry: Geometry) {
    let header = encode_journal_header(HASH, geometry);
    assert_eq!(decode_journal_header(&header), Some((HASH, geometry)));
    let mut damaged = header;
    damaged[geometry.pieces() as usize % header.len()] ^= 1;
    assert_eq!(decode_journal_header(&damaged), None);
}

/// What records say, read without regard to time or memory.
#[derive(Debug, Default)]
struct Reading {
    synced: BTreeSet<u32>,
    unsynced: BTreeSet<u32>,
    committing: Option<u32>,
    records: usize,
}

impl Reading {
    fn of(records: &[JournalRecord], pieces: u32) -> Self {
        let is_possible = |index: usize, (kind, value): JournalRecord| match kind & 3 {
            0 | 1 => value < pieces,
            2 => value as usize <= index,
            _ => true,
        };
        let count = (0..records.len()).find(|&at| !is_possible(at, records[at]));
        let records = &records[..count.unwrap_or(records.len())];
        // Which record of a piece is the last one that each sync covers.
        let covered = records.iter().filter(|(kind, _)| kind & 3 == 2);
        let covered = covered.map(|(_, value)| *value as usize).max().unwrap_or(0);
        let mut reading = Self { records: records.len(), ..Self::default() };
        for (at, &(kind, piece)) in records.iter().enumerate() {
            match (kind & 3, at < covered) {
                (0, true) => _ = reading.synced.insert(piece),
                (0, false) => _ = reading.unsynced.insert(piece),
                (1, true) => _ = reading.synced.remove(&piece),
                (1, false) => {
                    reading.synced.remove(&piece);
                    reading.unsynced.remove(&piece);
                }
                _ => {}
            }
        }
        let synced = &reading.synced;
        reading.unsynced.retain(|piece| !synced.contains(piece));
        let last = records.last().filter(|(kind, _)| kind & 3 == 3);
        reading.committing = last.map(|(_, value)| *value);
        reading
    }
}
