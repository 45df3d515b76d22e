//! A loss of power: the journal was written by another start of the system, and what was not synced
//! may be gone.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use sow_content::{Geometry, hash::sha1, metainfo::Files};

use super::*;

const PIECE: u64 = 1000;
const BEFORE: u8 = 1;
const AFTER: u8 = 2;

struct World {
    info: Info,
    bytes: Bytes,
    folder: tempfile::TempDir,
}

impl World {
    fn new(pieces: u64) -> Self {
        let mut bytes = vec![0; (pieces * PIECE) as usize];
        fastrand::Rng::with_seed(7).fill(&mut bytes);
        let hashes = bytes.chunks(PIECE as usize).map(sha1).collect();
        let geometry = Geometry::new(pieces * PIECE, PIECE).unwrap();
        let info = Info::from_parts("content", geometry, Files::Single, hashes, false).unwrap();
        Self { info, bytes: bytes.into(), folder: tempfile::tempdir().unwrap() }
    }

    fn target(&self) -> PathBuf {
        self.folder.path().join("content")
    }

    /// Opens it in a start of the system, and says how many bytes that had to be hashed.
    fn open(&self, boot: u8) -> (DiskStore, Vec<u32>, u64) {
        let hashed = AtomicU64::new(0);
        let progress = |bytes| {
            hashed.fetch_max(bytes, Ordering::Relaxed);
        };
        let options = ReceiveOptions { progress: &progress, threads: 1, ..Default::default() };
        let hash = InfoHash([3; 20]);
        let (store, have) =
            receive_since(BootId::of(boot), &self.info, hash, &self.target(), &options).unwrap();
        (store, have.iter().collect(), hashed.into_inner())
    }

    fn put(&self, store: &DiskStore, piece: u32) {
        let start = piece as usize * PIECE as usize;
        store.write_piece(piece, &[self.bytes.slice(start..start + PIECE as usize)]).unwrap();
        store.journal(piece).unwrap();
    }

    /// The disk did not get to keep this piece.
    fn lose(&self, piece: u32) {
        let part = OpenOptions::new().write(true).open(self.part()).unwrap();
        part.write_all_at(&[0; PIECE as usize / 2], u64::from(piece) * PIECE + 100).unwrap();
    }

    fn part(&self) -> PathBuf {
        self.folder.path().join("content.sow-part")
    }
}

#[test]
fn what_was_synced_counts_and_the_rest_is_looked_at() {
    let world = World::new(10);
    let (store, ..) = world.open(BEFORE);
    [5, 1, 8].into_iter().for_each(|piece| world.put(&store, piece));
    store.sync().unwrap();
    [2, 9, 0].into_iter().for_each(|piece| world.put(&store, piece));
    drop(store);
    world.lose(9);

    let (store, have, hashed) = world.open(AFTER);
    assert_eq!(have, [0, 1, 2, 5, 8]);
    assert_eq!(hashed, 3 * PIECE, "only what no mark covers");
    drop(store);
    let (store, have, hashed) = world.open(AFTER);
    assert_eq!((have, hashed), (vec![0, 1, 2, 5, 8], 0), "looked at once");
    [3, 4].into_iter().for_each(|piece| world.put(&store, piece));
    drop(store);
    let (store, have, hashed) = world.open(BEFORE);
    assert_eq!((have, hashed), (vec![0, 1, 2, 3, 4, 5, 8], 2 * PIECE));
    [6, 7, 9].into_iter().for_each(|piece| world.put(&store, piece));
    store.finish().unwrap();
    assert!(fs::read(world.target()).unwrap() == world.bytes);
}

#[test]
fn what_an_earlier_run_did_not_sync_is_synced_before_it_is_put_in_place() {
    let world = World::new(4);
    let (store, ..) = world.open(BEFORE);
    (0..4).for_each(|piece| world.put(&store, piece));
    drop(store);
    let (store, have, _) = world.open(BEFORE);
    assert_eq!(have.len(), 4);
    store.sync().unwrap();
    drop(store);
    // The mark of the second run covers the records of the first.
    let (_store, have, hashed) = world.open(AFTER);
    assert_eq!((have.len(), hashed), (4, 0));
}

#[test]
fn interrupted_while_looking_it_looks_again() {
    let world = World::new(6);
    let (store, ..) = world.open(BEFORE);
    (0..6).for_each(|piece| world.put(&store, piece));
    drop(store);
    world.lose(4);
    let cancel = AtomicBool::new(true);
    let options = ReceiveOptions { cancel: &cancel, threads: 1, ..Default::default() };
    let opened =
        receive_since(BootId::of(AFTER), &world.info, InfoHash([3; 20]), &world.target(), &options);
    assert!(matches!(opened, Err(StoreError::Cancelled)));
    let (_store, have, hashed) = world.open(AFTER);
    assert_eq!((have, hashed), (vec![0, 1, 2, 3, 5], 6 * PIECE));
}

#[test]
fn a_part_that_came_back_short_loses_what_was_cut_off() {
    let world = World::new(10);
    let (store, ..) = world.open(BEFORE);
    (0..10).for_each(|piece| world.put(&store, piece));
    drop(store);
    OpenOptions::new().write(true).open(world.part()).unwrap().set_len(3 * PIECE + 1).unwrap();
    let (_store, have, hashed) = world.open(AFTER);
    assert_eq!((have, hashed), (vec![0, 1, 2], 3 * PIECE));
}
