//! What counts after an interruption between any two steps, with any tear in the journal, or with
//! files gone.

use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use crate::sample::{Sample, copy, names_in, read_tree};
use sow_content::Bitfield;
use sow_store::{DiskStore, ReceiveOptions, Store, StoreErrorKind};

/// Bytes before the first record, and of a record. The layout of a journal is a contract with
/// earlier runs.
const HEADER: u64 = 64;
const RECORD: u64 = 8;

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

fn put(store: &Store, sample: &Sample, piece: u32) {
    store.write_piece(piece, &sample.blocks(piece, 1000)).unwrap();
    store.journal(piece).unwrap();
}

fn list(set: &Bitfield) -> Vec<u32> {
    set.iter().collect()
}

/// Everything that counts must have the right bytes.
fn check_bytes(store: &Store, have: &Bitfield, sample: &Sample) {
    for piece in have.iter() {
        let range = sample.info.geometry.range_of(piece);
        let mut bytes = vec![0; (range.end - range.start) as usize];
        store.read(range, &mut bytes).unwrap();
        assert!(bytes == sample.piece(piece), "piece {piece} counts but is not there");
    }
}

/// Fetches what is missing and puts the content in place.
fn complete(store: &Store, have: &Bitfield, sample: &Sample) {
    let missing = (0..have.len()).filter(|piece| !have.get(*piece));
    missing.for_each(|piece| put(store, sample, piece));
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

/// What a `kill -9` at this moment leaves, in a folder of its own: the journal is copied first, so
/// that the copy is never younger than the bytes it speaks of.
fn snapshot(target: &Path) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let there = folder.path().join("content");
    copy(&journal(target), &journal(&there));
    copy(&part(target), &part(&there));
    (folder, there)
}

#[test]
fn between_any_two_steps() {
    for sample in samples() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("content");
        let (store, have) = open(&sample, &target);
        assert!(have.is_empty());
        let mut journaled = Bitfield::new(have.len());
        let check = |journaled: &Bitfield| {
            let (_folder, there) = snapshot(&target);
            let (copy, have) = open(&sample, &there);
            assert_eq!(list(&have), list(journaled));
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
fn a_journal_torn_at_every_byte() {
    for sample in samples() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("content");
        let (store, _) = open(&sample, &target);
        let order = [7, 3, 11, 0];
        order.into_iter().for_each(|piece| put(&store, &sample, piece));
        drop(store);
        let whole = fs::metadata(journal(&target)).unwrap().len();
        assert_eq!(whole, HEADER + order.len() as u64 * RECORD);
        for length in 0..=whole {
            let (_folder, there) = snapshot(&target);
            OpenOptions::new().write(true).open(journal(&there)).unwrap().set_len(length).unwrap();
            let (store, have) = open(&sample, &there);
            check_bytes(&store, &have, &sample);
            let mut want = match length.checked_sub(HEADER) {
                Some(records) => order[..(records / RECORD) as usize].to_vec(),
                // Without a header nothing is known, so that all of the part is looked at.
                None => order.to_vec(),
            };
            want.sort_unstable();
            assert_eq!(list(&have), want, "cut at {length}");
            complete(&store, &have, &sample);
        }
    }
}

#[test]
fn a_journal_with_a_damaged_record_counts_up_to_it() {
    let [sample, _] = samples();
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("content");
    let (store, _) = open(&sample, &target);
    (0..5).for_each(|piece| put(&store, &sample, piece));
    drop(store);
    let mut bytes = fs::read(journal(&target)).unwrap();
    bytes[(HEADER + 3 * RECORD) as usize] ^= 1;
    fs::write(journal(&target), bytes).unwrap();
    let (store, have) = open(&sample, &target);
    assert_eq!(list(&have), [0, 1, 2]);
    complete(&store, &have, &sample);
}

#[test]
fn a_part_without_its_journal_is_looked_at() {
    for sample in samples() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("content");
        let (store, _) = open(&sample, &target);
        [1, 2, 9].into_iter().for_each(|piece| put(&store, &sample, piece));
        drop(store);
        fs::remove_file(journal(&target)).unwrap();
        let (store, have) = open(&sample, &target);
        assert_eq!(list(&have), [1, 2, 9]);
        drop(store);
        let (store, have) = open(&sample, &target);
        assert_eq!(list(&have), [1, 2, 9], "and remembered");
        complete(&store, &have, &sample);
    }
}

#[test]
fn a_missing_or_short_file_takes_its_pieces_with_it() {
    let [single, folder_sample] = samples();
    // Content, file that suffers, its new length, and which pieces it touches (4,000 bytes each).
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
        (0..have.len()).for_each(|piece| put(&store, sample, piece));
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
            assert_eq!(list(&have), want, "{file} of {length:?}, time {time}");
            check_bytes(&store, &have, sample);
            if time == 1 {
                complete(&store, &have, sample);
            }
        }
    }
}

#[test]
fn a_file_that_grew_loses_only_what_is_too_much() {
    let [sample, _] = samples();
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("content");
    let (store, have) = open(&sample, &target);
    (0..have.len()).for_each(|piece| put(&store, &sample, piece));
    drop(store);
    OpenOptions::new().write(true).open(part(&target)).unwrap().set_len(60_000).unwrap();
    let (store, have) = open(&sample, &target);
    assert!(have.is_full());
    complete(&store, &have, &sample);
}

#[test]
fn what_was_left_of_other_content_is_not_used() {
    let [file, folder_sample] = samples();
    let other = Sample::file(70_000, 4_000, 99);
    for (first, second) in
        [(&file, &other), (&other, &file), (&file, &folder_sample), (&folder_sample, &file)]
    {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("content");
        let (store, have) = open(first, &target);
        (0..have.len()).for_each(|piece| put(&store, first, piece));
        store.sync().unwrap();
        drop(store);
        let (store, have) = open(second, &target);
        assert!(have.is_empty());
        complete(&store, &have, second);
    }
}

#[test]
fn something_else_with_the_name_of_the_part_is_left_alone() {
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
fn a_part_that_is_tampered_with_is_not_put_in_place() {
    for sample in samples() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("content");
        let (store, have) = open(&sample, &target);
        (0..have.len()).for_each(|piece| put(&store, &sample, piece));
        fs::rename(part(&target), folder.path().join("elsewhere")).unwrap();
        assert_eq!(store.finish().unwrap_err().kind(), StoreErrorKind::Changed);
        copy(&folder.path().join("elsewhere"), &part(&target));
        assert_eq!(
            store.finish().unwrap_err().kind(),
            StoreErrorKind::Changed,
            "a copy is not what was written"
        );
        assert!(!target.exists());
    }
}

/// Copies are taken at random moments while threads write: each copy is what a `kill -9` at that
/// moment would leave.
#[test]
fn at_any_moment_while_threads_write() {
    let sample = Sample::folder(&[("a", 3_000_000, false), ("b", 1_000_000, false)], 16_384, 5);
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("content");
    let (store, have) = open(&sample, &target);
    let pieces = have.len();
    let mut seen = Vec::new();
    let midway = AtomicBool::new(false);
    let deadline = Instant::now() + Duration::from_secs(60);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..3)
            .map(|thread| {
                let (store, sample, midway) = (&store, &sample, &midway);
                scope.spawn(move || {
                    for piece in (thread..pieces).step_by(3) {
                        // However slow the copying is, one copy is taken before the last pieces are
                        // written.
                        while piece + 3 >= pieces
                            && !midway.load(Ordering::Relaxed)
                            && Instant::now() < deadline
                        {
                            std::thread::sleep(Duration::from_millis(1));
                        }
                        put(store, sample, piece);
                        std::thread::sleep(Duration::from_micros(300));
                        if piece % 32 == 0 {
                            store.sync().unwrap();
                        }
                    }
                })
            })
            .collect();
        while !writers.iter().all(|writer| writer.is_finished()) {
            assert!(Instant::now() < deadline, "the writers hang");
            let (_folder, there) = snapshot(&target);
            let (copy, have) = open(&sample, &there);
            check_bytes(&copy, &have, &sample);
            seen.push(have.count());
            midway.fetch_or((1..pieces).contains(&have.count()), Ordering::Relaxed);
        }
    });
    assert!(seen.is_sorted(), "what counts only grows: {seen:?}");
    assert!(
        seen.iter().any(|count| (1..pieces).contains(count)),
        "some copy was taken midway: {seen:?}"
    );
    complete(&store, &Bitfield::full(pieces), &sample);
}

/// A mark covers the pieces that were journaled before its sync began, not those that came while it
/// went on: their bytes may be in the page cache alone.
#[test]
fn a_mark_does_not_cover_what_is_journaled_while_it_syncs() {
    let sample = Sample::file(400_000, 1_000, 6);
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("content");
    let (store, have) = open(&sample, &target);
    let deadline = Instant::now() + Duration::from_secs(60);
    let is_late_mark = |index: u64, record: &[u8]| {
        let word = u32::from_le_bytes(record[..4].try_into().unwrap());
        let is_mark = word >> 30 == 2;
        let covered = u64::from(word & ((1 << 30) - 1));
        assert!(!is_mark || covered <= index, "record {index} covers {covered}");
        is_mark && covered < index
    };
    loop {
        assert!(Instant::now() < deadline, "no piece was ever journaled during a sync");
        std::thread::scope(|scope| {
            let writer =
                scope.spawn(|| (0..have.len()).for_each(|piece| put(&store, &sample, piece)));
            while !writer.is_finished() {
                store.sync().unwrap();
            }
        });
        let bytes = fs::read(journal(&target)).unwrap();
        let records = bytes[HEADER as usize..].chunks_exact(RECORD as usize);
        if (0..).zip(records).any(|(index, record)| is_late_mark(index, record)) {
            break;
        }
    }
}
