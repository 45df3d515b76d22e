//! What counts after an interruption between any two steps, with a truncated journal, or with
//! missing files.

use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
    sync::{Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};

use crate::sample::{Sample, copy, names_in, read_tree};
use sow_content::Bitfield;
use sow_store::{DiskStore, ReceiveOptions, Store, StoreErrorKind};

/// The lengths of the header with its stamp, and of a record. The format of the journal is a
/// contract with earlier versions.
const HEADER_BYTES: u64 = 96;
const RECORD_BYTES: u64 = 8;

/// The bound of every wait in these tests.
const WAIT_TIMEOUT: Duration = Duration::from_secs(60);

fn samples() -> [Sample; 2] {
    let files = [
        ("a", 20_000, false),
        ("empty", 0, false),
        ("b/c", 30_000, false),
        (".pad", 700, true),
        ("d", 9_000, false),
    ];
    [Sample::file(50_000, 4_000, 1), Sample::folder(&files, 4_000, 2)]
}

fn open(sample: &Sample, target: &Path) -> (Store, Bitfield) {
    let (store, have) =
        DiskStore::receive(&sample.info, sample.info_hash, target, &ReceiveOptions::default())
            .unwrap();
    (store.into(), have)
}

fn write_and_journal(store: &Store, sample: &Sample, piece: u32) {
    store.write_piece(piece, &sample.blocks(piece, 1000)).unwrap();
    store.journal(piece).unwrap();
}

fn pieces_of(set: &Bitfield) -> Vec<u32> {
    set.iter().collect()
}

/// Checks that every piece that counts has the right bytes.
fn check_bytes(store: &Store, have: &Bitfield, sample: &Sample) {
    for piece in have.iter() {
        let range = sample.info.geometry.range_of(piece);
        let mut bytes = vec![0; (range.end - range.start) as usize];
        store.read(range, &mut bytes).unwrap();
        assert!(bytes == sample.piece(piece), "piece {piece} counts but has wrong bytes");
    }
}

/// Writes the missing pieces and finishes the content.
fn complete(store: &Store, have: &Bitfield, sample: &Sample) {
    let missing = (0..have.len()).filter(|piece| !have.get(*piece));
    missing.for_each(|piece| write_and_journal(store, sample, piece));
    let path = store.finish().unwrap().unwrap();
    assert!(read_tree(&path) == sample.tree());
    assert_eq!(names_in(path.parent().unwrap()), ["content"]);
}

fn part(target: &Path) -> PathBuf {
    target.with_file_name("content.sow-part")
}

fn journal(target: &Path) -> PathBuf {
    target.with_file_name("content.sow-part.journal")
}

/// A copy of what a `kill -9` at this moment leaves. The journal is copied first, so that no record
/// in the copy is newer than the bytes of its piece.
fn snapshot(target: &Path) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let copied = folder.path().join("content");
    copy(&journal(target), &journal(&copied));
    copy(&part(target), &part(&copied));
    (folder, copied)
}

#[test]
fn an_interruption_between_any_two_steps_loses_no_journaled_piece() {
    for sample in samples() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("content");
        let (store, have) = open(&sample, &target);
        assert!(have.is_empty());
        let mut journaled = Bitfield::new(have.len());
        let check = |journaled: &Bitfield| {
            let (_folder, copied) = snapshot(&target);
            let (copy, have) = open(&sample, &copied);
            assert_eq!(pieces_of(&have), pieces_of(journaled));
            check_bytes(&copy, &have, &sample);
            complete(&copy, &have, &sample);
        };
        check(&journaled);
        let mut order: Vec<u32> = (0..have.len()).collect();
        fastrand::Rng::with_seed(3).shuffle(&mut order);
        for piece in order {
            store.write_piece(piece, &sample.blocks(piece, 700)).unwrap();
            check(&journaled);
            store.journal(piece).unwrap();
            journaled.set(piece);
            check(&journaled);
            if piece % 4 == 0 {
                store.sync().unwrap();
                check(&journaled);
            }
        }
        drop(store);
        let (store, have) = open(&sample, &target);
        assert!(have.is_full());
        complete(&store, &have, &sample);
    }
}

#[test]
fn a_journal_truncated_at_any_byte_keeps_its_whole_records() {
    for sample in samples() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("content");
        let (store, _) = open(&sample, &target);
        let order = [7, 3, 11, 0];
        order.into_iter().for_each(|piece| write_and_journal(&store, &sample, piece));
        drop(store);
        let whole = fs::metadata(journal(&target)).unwrap().len();
        assert_eq!(whole, HEADER_BYTES + order.len() as u64 * RECORD_BYTES);
        for length in 0..=whole {
            let (_folder, copied) = snapshot(&target);
            OpenOptions::new().write(true).open(journal(&copied)).unwrap().set_len(length).unwrap();
            let (store, have) = open(&sample, &copied);
            check_bytes(&store, &have, &sample);
            let mut want = match length.checked_sub(HEADER_BYTES) {
                Some(records) => order[..(records / RECORD_BYTES) as usize].to_vec(),
                // Without a header nothing is known, so the whole part is hashed.
                None => order.to_vec(),
            };
            want.sort_unstable();
            assert_eq!(pieces_of(&have), want, "truncated to {length}");
            complete(&store, &have, &sample);
        }
    }
}

#[test]
fn a_journal_counts_up_to_its_first_damaged_record() {
    let [sample, _] = samples();
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("content");
    let (store, _) = open(&sample, &target);
    (0..5).for_each(|piece| write_and_journal(&store, &sample, piece));
    drop(store);
    let mut bytes = fs::read(journal(&target)).unwrap();
    bytes[(HEADER_BYTES + 3 * RECORD_BYTES) as usize] ^= 1;
    fs::write(journal(&target), bytes).unwrap();
    let (store, have) = open(&sample, &target);
    assert_eq!(pieces_of(&have), [0, 1, 2]);
    complete(&store, &have, &sample);
}

#[test]
fn a_part_without_a_journal_is_hashed() {
    for sample in samples() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("content");
        let (store, _) = open(&sample, &target);
        [1, 2, 9].into_iter().for_each(|piece| write_and_journal(&store, &sample, piece));
        drop(store);
        fs::remove_file(journal(&target)).unwrap();
        let (store, have) = open(&sample, &target);
        assert_eq!(pieces_of(&have), [1, 2, 9]);
        drop(store);
        let (store, have) = open(&sample, &target);
        assert_eq!(pieces_of(&have), [1, 2, 9], "the new journal has the pieces");
        complete(&store, &have, &sample);
    }
}

#[test]
fn a_missing_or_short_file_loses_its_pieces() {
    let [single, folder_sample] = samples();
    // The content, the damaged file, its new length, and the lost pieces (4,000 bytes each).
    let cases = [
        (&single, "", Some(30_000), 7..13),
        (&single, "", Some(0), 0..13),
        (&single, "", None, 0..13),
        (&folder_sample, "b/c", None, 5..13),
        (&folder_sample, "b/c", Some(29_999), 12..13),
        (&folder_sample, "a", Some(12_000), 3..5),
        (&folder_sample, "d", Some(0), 12..15),
        (&folder_sample, "empty", None, 0..0),
    ];
    for (sample, file, length, lost) in cases {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("content");
        let (store, have) = open(sample, &target);
        (0..have.len()).for_each(|piece| write_and_journal(&store, sample, piece));
        store.sync().unwrap();
        drop(store);
        let path = if file.is_empty() { part(&target) } else { part(&target).join(file) };
        match length {
            Some(length) => {
                OpenOptions::new().write(true).open(&path).unwrap().set_len(length).unwrap()
            }
            None => fs::remove_file(&path).unwrap(),
        }
        for time in 0..2 {
            let (store, have) = open(sample, &target);
            let want: Vec<u32> = (0..have.len()).filter(|piece| !lost.contains(piece)).collect();
            assert_eq!(pieces_of(&have), want, "{file} of {length:?}, time {time}");
            check_bytes(&store, &have, sample);
            if time == 1 {
                complete(&store, &have, sample);
            }
        }
    }
}

#[test]
fn a_file_that_is_too_long_loses_no_piece() {
    let [sample, _] = samples();
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("content");
    let (store, have) = open(&sample, &target);
    (0..have.len()).for_each(|piece| write_and_journal(&store, &sample, piece));
    drop(store);
    OpenOptions::new().write(true).open(part(&target)).unwrap().set_len(60_000).unwrap();
    let (store, have) = open(&sample, &target);
    assert!(have.is_full());
    complete(&store, &have, &sample);
}

#[test]
fn leftovers_of_other_content_are_not_used() {
    let [file, folder_sample] = samples();
    let other = Sample::file(70_000, 4_000, 99);
    for (first, second) in
        [(&file, &other), (&other, &file), (&file, &folder_sample), (&folder_sample, &file)]
    {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("content");
        let (store, have) = open(first, &target);
        (0..have.len()).for_each(|piece| write_and_journal(&store, first, piece));
        store.sync().unwrap();
        drop(store);
        let (store, have) = open(second, &target);
        assert!(have.is_empty());
        complete(&store, &have, second);
    }
}

#[test]
fn something_else_with_the_name_of_the_part_is_not_changed() {
    let [sample, folder_sample] = samples();
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("content");
    fs::create_dir(part(&target)).unwrap();
    fs::write(part(&target).join("mine"), "mine").unwrap();
    let options = ReceiveOptions::default();
    let error = DiskStore::receive(&sample.info, sample.info_hash, &target, &options).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unsuitable, "{error}");
    assert_eq!(names_in(folder.path()), ["content.sow-part"]);
    assert_eq!(names_in(&part(&target)), ["mine"]);
    fs::remove_dir_all(part(&target)).unwrap();
    std::os::unix::fs::symlink("/etc", part(&target)).unwrap();
    for sample in [sample, folder_sample] {
        let error =
            DiskStore::receive(&sample.info, sample.info_hash, &target, &options).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unsuitable, "{error}");
        assert_eq!(names_in(folder.path()), ["content.sow-part"]);
    }
}

#[test]
fn a_part_that_was_replaced_is_not_committed() {
    for sample in samples() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("content");
        let (store, have) = open(&sample, &target);
        (0..have.len()).for_each(|piece| write_and_journal(&store, &sample, piece));
        fs::rename(part(&target), folder.path().join("elsewhere")).unwrap();
        assert_eq!(store.finish().unwrap_err().kind(), StoreErrorKind::Changed);
        copy(&folder.path().join("elsewhere"), &part(&target));
        assert_eq!(
            store.finish().unwrap_err().kind(),
            StoreErrorKind::Changed,
            "a copy of the part is another file"
        );
        assert!(!target.exists());
    }
}

/// How many snapshots were taken, for threads that wait for the next one.
#[derive(Default)]
struct SnapshotCounter {
    taken: Mutex<u32>,
    changed: Condvar,
}

impl SnapshotCounter {
    fn count(&self) {
        *self.taken.lock().unwrap() += 1;
        self.changed.notify_all();
    }

    /// Waits until another snapshot is taken.
    fn wait_for_next(&self) {
        let taken = self.taken.lock().unwrap();
        let before = *taken;
        let wait = self.changed.wait_timeout_while(taken, WAIT_TIMEOUT, |taken| *taken == before);
        assert!(!wait.unwrap().1.timed_out(), "no snapshot was taken");
    }
}

/// Snapshots are taken while threads write. Each is what a `kill -9` at that moment leaves.
#[test]
fn a_kill_at_any_moment_while_threads_write_loses_no_journaled_piece() {
    let sample = Sample::folder(&[("a", 3_000_000, false), ("b", 1_000_000, false)], 16_384, 5);
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("content");
    let (store, have) = open(&sample, &target);
    let pieces = have.len();
    let mut counts = Vec::new();
    let snapshots = SnapshotCounter::default();
    thread::scope(|scope| {
        let writers: Vec<_> = (0..3)
            .map(|thread| {
                let (store, sample, snapshots) = (&store, &sample, &snapshots);
                scope.spawn(move || {
                    for (written, piece) in (thread..pieces).step_by(3).enumerate() {
                        write_and_journal(store, sample, piece);
                        if piece % 32 == 0 {
                            store.sync().unwrap();
                        }
                        // However slow a snapshot is, several are taken before the last piece.
                        if written % 16 == 15 {
                            snapshots.wait_for_next();
                        }
                    }
                })
            })
            .collect();
        while !writers.iter().all(|writer| writer.is_finished()) {
            let (_folder, copied) = snapshot(&target);
            let (copy, have) = open(&sample, &copied);
            check_bytes(&copy, &have, &sample);
            counts.push(have.count());
            snapshots.count();
        }
    });
    assert!(counts.is_sorted(), "the number of pieces never falls: {counts:?}");
    assert!(
        counts.iter().any(|count| (1..pieces).contains(count)),
        "some snapshot was taken midway: {counts:?}"
    );
    complete(&store, &Bitfield::full(pieces), &sample);
}

/// A sync record covers the pieces that were journaled before the sync began. The bytes of later
/// pieces may only be in the page cache.
#[test]
fn a_sync_record_does_not_cover_pieces_that_were_journaled_during_the_sync() {
    let sample = Sample::file(400_000, 1_000, 6);
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("content");
    let (store, have) = open(&sample, &target);
    let deadline = Instant::now() + WAIT_TIMEOUT;
    let leaves_a_record_uncovered = |index: u64, record: &[u8]| {
        let word = u32::from_le_bytes(record[..4].try_into().unwrap());
        let is_synced = word >> 30 == 2;
        let covered = u64::from(word & ((1 << 30) - 1));
        assert!(!is_synced || covered <= index, "record {index} covers {covered}");
        is_synced && covered < index
    };
    loop {
        assert!(Instant::now() < deadline, "no piece was ever journaled during a sync");
        thread::scope(|scope| {
            let writer = scope.spawn(|| {
                (0..have.len()).for_each(|piece| write_and_journal(&store, &sample, piece))
            });
            while !writer.is_finished() {
                store.sync().unwrap();
            }
        });
        let bytes = fs::read(journal(&target)).unwrap();
        let records = bytes[HEADER_BYTES as usize..].chunks_exact(RECORD_BYTES as usize);
        if (0..).zip(records).any(|(index, record)| leaves_a_record_uncovered(index, record)) {
            break;
        }
    }
}
