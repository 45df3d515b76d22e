//! The conformance tests that every kind of store passes: the same calls have the same results.

use std::{ops::Range, os::unix::fs::FileExt, path::Path};

use crate::sample::{FileSpec, Sample, names_in, read_tree};
use bytes::Bytes;
use proptest::prelude::*;
use sow_store::{DiskStore, MemoryStore, ReceiveOptions, Segment, Store, StoreErrorKind, verify};

const BLOCK_BYTES: usize = 16 * 1024;

/// A store of every kind that can receive a sample. The folder is for the stores on the disk.
fn stores(sample: &Sample, folder: &Path) -> Vec<(&'static str, Store)> {
    let options = ReceiveOptions::default();
    let named =
        DiskStore::receive(&sample.info, sample.info_hash, &folder.join("content"), &options);
    let (named, have) = named.unwrap();
    assert!(have.is_empty());
    vec![
        ("disk", named.into()),
        ("unnamed", DiskStore::receive_unnamed(&sample.info, folder).unwrap().into()),
        ("memory", MemoryStore::new(sample.info.geometry).into()),
    ]
}

/// The bytes of segments.
fn bytes_of(segments: Vec<Segment>) -> Vec<u8> {
    let mut out = Vec::new();
    for segment in segments {
        assert!(segment.length() > 0);
        match segment {
            Segment::File { file, offset, length } => {
                let at = out.len();
                out.resize(at + length as usize, 0);
                file.read_exact_at(&mut out[at..], offset).unwrap();
            }
            Segment::Bytes(bytes) => out.extend_from_slice(&bytes),
            Segment::Zeros(length) => out.resize(out.len() + length as usize, 0),
        }
    }
    out
}

/// Checks that both ways to read a range return these bytes.
fn check_range(store: &Store, range: Range<u64>, want: &[u8]) {
    store.prefetch(range.clone());
    let mut got = vec![0xee; want.len()];
    store.read(range.clone(), &mut got).unwrap();
    assert!(got == want, "read {range:?}");
    assert!(bytes_of(store.segments(range.clone()).unwrap()) == want, "segments {range:?}");
}

fn check_receive_and_serve(sample: &Sample) {
    let folder = tempfile::tempdir().unwrap();
    for (kind, store) in stores(sample, folder.path()) {
        let geometry = sample.info.geometry;
        assert_eq!(*store.geometry(), geometry, "{kind}");
        let mut want = vec![0; geometry.total() as usize];
        check_range(&store, 0..geometry.total(), &want);

        // Backwards, so that no piece relies on the one before it.
        for piece in (0..geometry.pieces()).rev() {
            let error = store.finish().unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Misuse, "{kind}: {error}");
            store.write_piece(piece, &sample.blocks(piece, BLOCK_BYTES)).unwrap();
            store.journal(piece).unwrap();
            let range = geometry.range_of(piece);
            want[range.start as usize..range.end as usize].copy_from_slice(&sample.piece(piece));
            check_range(&store, range, &sample.piece(piece));
            if piece % 3 == 0 {
                store.sync().unwrap();
            }
        }
        assert!(want == sample.bytes);
        check_range(&store, 0..geometry.total(), &sample.bytes);

        let finished = store.finish().unwrap();
        assert_eq!(store.finish().unwrap(), finished, "{kind}: finishing again changes nothing");
        store.sync().unwrap();
        check_range(&store, 0..geometry.total(), &sample.bytes);
        match kind {
            "disk" => {
                let path = folder.path().join("content");
                assert_eq!(finished.as_deref(), Some(&*path));
                assert!(read_tree(&path) == sample.tree());
            }
            _ => assert_eq!(finished, None),
        }
    }
    assert_eq!(names_in(folder.path()), ["content"], "nothing is left next to the target");

    let path = folder.path().join("content");
    let served = Store::from(DiskStore::serve(&sample.info, &path).unwrap());
    check_range(&served, 0..sample.info.geometry.total(), &sample.bytes);
    let found = verify(&sample.info, &path, 2, &|_| {}, &false.into()).unwrap();
    assert!(found.is_identical(), "{found:?}");
}

#[test]
fn a_file_is_received_and_served() {
    check_receive_and_serve(&Sample::file(1_000_000, 65_536, 1));
}

#[test]
fn a_file_of_one_byte_and_an_empty_file_are_received_and_served() {
    check_receive_and_serve(&Sample::file(1, 32_768, 2));
    check_receive_and_serve(&Sample::file(0, 32_768, 3));
}

#[test]
fn a_folder_with_empty_files_padding_and_long_names_is_received_and_served() {
    let files: &[FileSpec<'_>] = &[
        ("first", 0, false),
        ("a/b/c/deep", 100_000, false),
        ("a/b/one", 1, false),
        (".pad/31071", 31_071, true),
        ("name with spaces", 65_536, false),
        ("Grüße/日本語", 3, false),
        ("a/empty", 0, false),
        (".pad/9", 9, true),
        ("last", 40_000, false),
        ("z/nothing", 0, false),
    ];
    check_receive_and_serve(&Sample::folder(files, 32_768, 4));
}

#[test]
fn a_folder_of_empty_files_is_received_and_served() {
    check_receive_and_serve(&Sample::folder(&[("a", 0, false), ("b/c", 0, false)], 16_384, 5));
}

#[test]
fn a_piece_with_more_blocks_than_a_system_call_accepts_is_written() {
    // A piece has 4,096 blocks; a system call accepts 1,024.
    let sample = Sample::file(4096 * 7 + 5, 4096 * 7, 6);
    let folder = tempfile::tempdir().unwrap();
    for (_, store) in stores(&sample, folder.path()) {
        store.write_piece(0, &sample.blocks(0, 7)).unwrap();
        check_range(&store, sample.info.geometry.range_of(0), &sample.piece(0));
    }
}

#[test]
fn calls_outside_the_content_are_errors() {
    let sample = Sample::file(100_000, 32_768, 7);
    let folder = tempfile::tempdir().unwrap();
    for (kind, store) in stores(&sample, folder.path()) {
        let piece = sample.blocks(0, BLOCK_BYTES);
        let mut buffer = [0; 8];
        let errors = [
            store.write_piece(4, &[]),
            store.write_piece(4, &piece),
            store.write_piece(u32::MAX, &piece),
            store.write_piece(0, &piece[1..]),
            store.write_piece(3, &piece),
            store.write_piece(0, &[]),
            store.journal(4),
            store.read(99_999..100_007, &mut buffer),
            store.read(0..4, &mut buffer),
            store.read(u64::MAX - 8..u64::MAX, &mut buffer),
            #[expect(clippy::reversed_empty_ranges, reason = "the test passes a reversed range")]
            store.read(8..0, &mut buffer),
            store.segments(99_999..100_001).map(drop),
        ];
        for (at, result) in errors.into_iter().enumerate() {
            let error = result.unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Misuse, "{kind}, number {at}: {error}");
        }
        check_range(&store, 0..100_000, &[0; 100_000]);
    }
}

#[test]
fn padding_that_is_not_zero_is_an_error_on_a_disk() {
    let sample = Sample::folder(&[("a", 10, false), ("p", 10, true), ("b", 10, false)], 30, 8);
    let folder = tempfile::tempdir().unwrap();
    let stores = stores(&sample, folder.path());
    let mut bad = sample.piece(0).to_vec();
    bad[19] = 1;
    let error = stores[0].1.write_piece(0, &[Bytes::from(bad)]).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Changed, "{error}");
}

#[test]
fn several_threads_can_write_at_once() {
    let sample =
        Sample::folder(&[("a", 700_000, false), ("b", 3, false), ("c", 900_000, false)], 16_384, 9);
    let folder = tempfile::tempdir().unwrap();
    let pieces = sample.info.geometry.pieces();
    for (kind, store) in stores(&sample, folder.path()) {
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (store, sample) = (&store, &sample);
                scope.spawn(move || {
                    for piece in (thread..pieces).step_by(4) {
                        store.write_piece(piece, &sample.blocks(piece, 5000)).unwrap();
                        store.journal(piece).unwrap();
                        check_range(
                            store,
                            sample.info.geometry.range_of(piece),
                            &sample.piece(piece),
                        );
                        if piece % 16 == thread {
                            store.sync().unwrap();
                        }
                    }
                });
            }
        });
        store.finish().unwrap_or_else(|error| panic!("{kind}: {error}"));
    }
    assert!(read_tree(&folder.path().join("content")) == sample.tree());
}

/// Files with random lengths, some of them padding.
fn any_files() -> impl Strategy<Value = Vec<(u64, bool)>> {
    prop::collection::vec((prop_oneof![0u64..4, 0u64..3000], prop::bool::weighted(0.2)), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// For any layout, piece length, order of pieces and length of blocks, reads and segments
    /// return what was written so far, and the finished files are the content.
    #[test]
    fn any_layout_is_received_in_any_order(
        files in any_files(),
        piece_length in 1u64..5000,
        seed in any::<u64>(),
        ranges in prop::collection::vec((0u64..40_000, 0u64..40_000), 1..20),
        single in prop::bool::weighted(0.2),
    ) {
        let names: Vec<_> = (0..files.len()).map(|at| format!("d{}/f{at}", at % 3)).collect();
        let spec = |(name, &(length, padding)): (_, _)| (String::as_str(name), length, padding);
        let specs: Vec<FileSpec<'_>> = names.iter().zip(&files).map(spec).collect();
        let sample = if single {
            Sample::file(files.iter().map(|file| file.0).sum(), piece_length, seed)
        } else {
            Sample::folder(&specs, piece_length, seed)
        };
        let folder = tempfile::tempdir().unwrap();
        let total = sample.info.geometry.total();
        for (_, store) in stores(&sample, folder.path()) {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut order: Vec<u32> = (0..sample.info.geometry.pieces()).collect();
            rng.shuffle(&mut order);
            let mut want = vec![0; total as usize];
            for (at, piece) in order.into_iter().enumerate() {
                store.write_piece(piece, &sample.blocks(piece, rng.usize(1..6000))).unwrap();
                store.journal(piece).unwrap();
                let range = sample.info.geometry.range_of(piece);
                let written = &mut want[range.start as usize..range.end as usize];
                written.copy_from_slice(&sample.piece(piece));
                let (a, b) = ranges[at % ranges.len()];
                let (a, b) = (a.min(b).min(total), a.max(b).min(total));
                check_range(&store, a..b, &want[a as usize..b as usize]);
            }
            store.finish().unwrap();
            check_range(&store, 0..total, &sample.bytes);
        }
        prop_assert!(read_tree(&folder.path().join("content")) == sample.tree());
    }
}
