//! What counts after a power failure: the journal was written in an earlier boot, and bytes that
//! were not synced may be lost.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use sow_content::{Geometry, hash::sha1, metainfo::Files};

use super::*;

const PIECE_BYTES: u64 = 1000;
const FIRST_BOOT: u8 = 1;
const SECOND_BOOT: u8 = 2;

/// Content and a folder to receive it in.
struct Download {
    info: Info,
    bytes: Bytes,
    folder: tempfile::TempDir,
}

impl Download {
    fn new(pieces: u64) -> Self {
        let mut bytes = vec![0; (pieces * PIECE_BYTES) as usize];
        fastrand::Rng::with_seed(7).fill(&mut bytes);
        let hashes = bytes.chunks(PIECE_BYTES as usize).map(sha1).collect();
        let geometry = Geometry::new(pieces * PIECE_BYTES, PIECE_BYTES).unwrap();
        let info = Info::from_parts("content", geometry, Files::Single, hashes, false).unwrap();
        Self { info, bytes: bytes.into(), folder: tempfile::tempdir().unwrap() }
    }

    fn target(&self) -> PathBuf {
        self.folder.path().join("content")
    }

    /// Opens the download in a boot. Returns the store, its pieces, and how many bytes were hashed.
    fn open(&self, boot: u8) -> (DiskStore, Vec<u32>, u64) {
        let hashed = AtomicU64::new(0);
        let progress = |bytes| {
            hashed.fetch_max(bytes, Ordering::Relaxed);
        };
        let options = ReceiveOptions { progress: &progress, threads: 1, ..Default::default() };
        let hash = InfoHash([3; 20]);
        let (store, have) =
            receive_in_boot(BootId::of(boot), &self.info, hash, &self.target(), &options).unwrap();
        (store, have.iter().collect(), hashed.into_inner())
    }

    fn write_and_journal(&self, store: &DiskStore, piece: u32) {
        let start = piece as usize * PIECE_BYTES as usize;
        store.write_piece(piece, &[self.bytes.slice(start..start + PIECE_BYTES as usize)]).unwrap();
        store.journal(piece).unwrap();
    }

    /// Damages a piece on the disk.
    fn damage(&self, piece: u32) {
        let part = OpenOptions::new().write(true).open(self.part()).unwrap();
        part.write_all_at(&[0; PIECE_BYTES as usize / 2], u64::from(piece) * PIECE_BYTES + 100)
            .unwrap();
    }

    fn journal(&self) -> PathBuf {
        self.folder.path().join("content.sow-part.journal")
    }

    fn part(&self) -> PathBuf {
        self.folder.path().join("content.sow-part")
    }
}

#[test]
fn synced_pieces_count_and_the_others_are_hashed() {
    let download = Download::new(10);
    let (store, ..) = download.open(FIRST_BOOT);
    [5, 1, 8].into_iter().for_each(|piece| download.write_and_journal(&store, piece));
    store.sync().unwrap();
    [2, 9, 0].into_iter().for_each(|piece| download.write_and_journal(&store, piece));
    // What a power failure loses leaves the times as they are.
    download.damage(9);
    drop(store);

    let (store, have, hashed) = download.open(SECOND_BOOT);
    assert_eq!(have, [0, 1, 2, 5, 8]);
    assert_eq!(hashed, 3 * PIECE_BYTES, "only the pieces that were not synced");
    drop(store);
    let (store, have, hashed) = download.open(SECOND_BOOT);
    assert_eq!((have, hashed), (vec![0, 1, 2, 5, 8], 0), "hashed only once");
    [3, 4].into_iter().for_each(|piece| download.write_and_journal(&store, piece));
    drop(store);
    let (store, have, hashed) = download.open(FIRST_BOOT);
    assert_eq!((have, hashed), (vec![0, 1, 2, 3, 4, 5, 8], 2 * PIECE_BYTES));
    [6, 7, 9].into_iter().for_each(|piece| download.write_and_journal(&store, piece));
    store.finish().unwrap();
    assert!(fs::read(download.target()).unwrap() == download.bytes);
}

#[test]
fn files_that_changed_since_the_journal_was_closed_are_hashed() {
    for boot in [FIRST_BOOT, SECOND_BOOT] {
        let download = Download::new(10);
        let (store, ..) = download.open(FIRST_BOOT);
        [5, 1, 8].into_iter().for_each(|piece| download.write_and_journal(&store, piece));
        store.sync().unwrap();
        drop(store);
        let (store, have, hashed) = download.open(FIRST_BOOT);
        assert_eq!((have, hashed), (vec![1, 5, 8], 0), "nothing has changed");
        drop(store);
        download.damage(1);
        let (store, have, hashed) = download.open(boot);
        assert_eq!((have, hashed), (vec![5, 8], 3 * PIECE_BYTES), "a byte has changed");
        drop(store);
        let bytes = fs::read(download.part()).unwrap();
        fs::remove_file(download.part()).unwrap();
        fs::write(download.part(), &bytes).unwrap();
        let (store, have, hashed) = download.open(boot);
        assert_eq!((have, hashed), (vec![5, 8], 2 * PIECE_BYTES), "the file was replaced");
        drop(store);
        let (_store, have, hashed) = download.open(boot);
        assert_eq!((have, hashed), (vec![5, 8], 0), "hashed only once");
    }
}

#[test]
fn after_a_kill_during_a_write_every_piece_is_hashed_and_after_a_sync_none() {
    let download = Download::new(10);
    let (store, ..) = download.open(FIRST_BOOT);
    [5, 1].into_iter().for_each(|piece| download.write_and_journal(&store, piece));
    store.sync().unwrap();
    let journal = fs::read(download.journal()).unwrap();
    drop(store);
    // The journal as a kill at that moment would leave it.
    fs::write(download.journal(), journal).unwrap();
    let (store, have, hashed) = download.open(FIRST_BOOT);
    assert_eq!((have, hashed), (vec![1, 5], 0), "nothing was written after the sync");
    download.write_and_journal(&store, 7);
    let journal = fs::read(download.journal()).unwrap();
    drop(store);
    fs::write(download.journal(), journal).unwrap();
    let (_store, have, hashed) = download.open(FIRST_BOOT);
    assert_eq!((have, hashed), (vec![1, 5, 7], 3 * PIECE_BYTES));
}

#[test]
fn after_the_disk_failed_nothing_counts_that_is_not_hashed_and_written_again() {
    let download = Download::new(6);
    let (store, ..) = download.open(FIRST_BOOT);
    (0..5).for_each(|piece| download.write_and_journal(&store, piece));
    store.sync().unwrap();
    store.fail_as_the_disk_would();
    assert!(matches!(store.sync(), Err(StoreError::Unreliable { .. })));
    assert!(matches!(store.finish(), Err(StoreError::Unreliable { .. })));
    drop(store);
    download.damage(3);
    let before = fs::metadata(download.part()).unwrap().modified().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(20));
    let (store, have, hashed) = download.open(FIRST_BOOT);
    assert_eq!((have, hashed), (vec![0, 1, 2, 4], 5 * PIECE_BYTES));
    assert!(fs::metadata(download.part()).unwrap().modified().unwrap() > before, "written again");
    drop(store);
    let (store, have, hashed) = download.open(FIRST_BOOT);
    assert_eq!((have, hashed), (vec![0, 1, 2, 4], 0), "the disk is well again");
    [3, 5].into_iter().for_each(|piece| download.write_and_journal(&store, piece));
    store.finish().unwrap();
    assert!(fs::read(download.target()).unwrap() == download.bytes);
}

#[test]
fn pieces_that_an_earlier_run_did_not_sync_are_synced_by_the_next_run() {
    let download = Download::new(4);
    let (store, ..) = download.open(FIRST_BOOT);
    (0..4).for_each(|piece| download.write_and_journal(&store, piece));
    drop(store);
    let (store, have, _) = download.open(FIRST_BOOT);
    assert_eq!(have.len(), 4);
    store.sync().unwrap();
    drop(store);
    // The sync record of the second run covers the records of the first one.
    let (_store, have, hashed) = download.open(SECOND_BOOT);
    assert_eq!((have.len(), hashed), (4, 0));
}

#[test]
fn hashing_that_was_cancelled_is_repeated() {
    let download = Download::new(6);
    let (store, ..) = download.open(FIRST_BOOT);
    (0..6).for_each(|piece| download.write_and_journal(&store, piece));
    drop(store);
    download.damage(4);
    let cancel = AtomicBool::new(true);
    let options = ReceiveOptions { cancel: &cancel, threads: 1, ..Default::default() };
    let opened = receive_in_boot(
        BootId::of(SECOND_BOOT),
        &download.info,
        InfoHash([3; 20]),
        &download.target(),
        &options,
    );
    assert!(matches!(opened, Err(StoreError::Cancelled)));
    let (_store, have, hashed) = download.open(SECOND_BOOT);
    assert_eq!((have, hashed), (vec![0, 1, 2, 3, 5], 6 * PIECE_BYTES));
}

#[test]
fn a_truncated_part_loses_the_pieces_after_its_end() {
    let download = Download::new(10);
    let (store, ..) = download.open(FIRST_BOOT);
    (0..10).for_each(|piece| download.write_and_journal(&store, piece));
    drop(store);
    OpenOptions::new()
        .write(true)
        .open(download.part())
        .unwrap()
        .set_len(3 * PIECE_BYTES + 1)
        .unwrap();
    let (_store, have, hashed) = download.open(SECOND_BOOT);
    assert_eq!((have, hashed), (vec![0, 1, 2], 3 * PIECE_BYTES));
}
