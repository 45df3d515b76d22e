//! The throughput of hashing and writing without a disk: on a tmpfs whose memory was used before.

use std::{
    fs,
    hint::black_box,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
    time::Duration,
};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sow_content::{Geometry, Info, InfoHash, metainfo::Files};
use sow_store::{DiskStore, MemoryStore, ReceiveOptions, Store, hash_content, scan};

const CONTENT_BYTES: u64 = 256 << 20;

fn tmpfs() -> PathBuf {
    let shm = Path::new("/dev/shm");
    assert!(shm.is_dir(), "the benchmark needs a tmpfs at /dev/shm");
    shm.to_owned()
}

/// Content of `CONTENT_BYTES` bytes with arbitrary hashes.
fn info(piece_length: u64) -> Info {
    let geometry = Geometry::new(CONTENT_BYTES, piece_length).expect("a valid geometry");
    let hashes = vec![[0; 20]; geometry.pieces() as usize];
    Info::from_parts("content", geometry, Files::Single, hashes, false).expect("valid content")
}

fn hashing(criterion: &mut Criterion) {
    let folder = tempfile::tempdir_in(tmpfs()).expect("a folder on the tmpfs");
    let mut bytes = vec![0; CONTENT_BYTES as usize];
    fastrand::Rng::with_seed(1).fill(&mut bytes);
    fs::write(folder.path().join("content"), bytes).expect("space on the tmpfs");
    let plan = scan(&folder.path().join("content")).expect("content to hash");
    let mut group = criterion.benchmark_group("hash_content");
    group.throughput(Throughput::Bytes(CONTENT_BYTES));
    for (name, threads) in [("one core", 1), ("all cores", 0)] {
        group.bench_function(name, |bencher| {
            bencher
                .iter(|| hash_content(&plan, 256 << 10, threads, &|_| {}, &AtomicBool::new(false)));
        });
    }
    group.finish();
}

/// Pieces in blocks as they arrive from a fast peer, repeatedly over the same content.
fn writing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("write_piece");
    for (piece_length, block) in
        [(256 << 10, 16 << 10), (256 << 10, 128 << 10), (2 << 20, 128 << 10)]
    {
        let folder = tempfile::tempdir_in(tmpfs()).expect("a folder on the tmpfs");
        let info = info(piece_length);
        let options = ReceiveOptions::default();
        let target = folder.path().join("content");
        let (disk, _) =
            DiskStore::receive(&info, InfoHash([1; 20]), &target, &options).expect("a store");
        let blocks: Vec<_> =
            (0..piece_length / block).map(|_| Bytes::from(vec![7; block as usize])).collect();
        for (kind, store) in
            [("disk", Store::from(disk)), ("memory", MemoryStore::new(info.geometry).into())]
        {
            let pieces = info.geometry.pieces();
            (0..pieces)
                .for_each(|piece| store.write_piece(piece, &blocks).expect("space on the tmpfs"));
            let mut next = 0;
            group.throughput(Throughput::Bytes(piece_length));
            let id = format!("{} KiB in blocks of {} KiB", piece_length >> 10, block >> 10);
            group.bench_function(BenchmarkId::new(kind, id), |bencher| {
                bencher.iter(|| {
                    next = (next + 1) % pieces;
                    store.write_piece(next, &blocks)
                });
            });
        }
    }
    group.finish();
}

fn small_calls(criterion: &mut Criterion) {
    let folder = tempfile::tempdir_in(tmpfs()).expect("a folder on the tmpfs");
    let info = info(256 << 10);
    let target = folder.path().join("content");
    let receive = DiskStore::receive(&info, InfoHash([1; 20]), &target, &ReceiveOptions::default());
    let store = Store::from(receive.expect("a store").0);
    let mut group = criterion.benchmark_group("calls");
    group.bench_function("journal", |bencher| bencher.iter(|| store.journal(black_box(5))));
    group.bench_function("segments of a block", |bencher| {
        bencher.iter(|| store.segments(black_box(1 << 20..(1 << 20) + (128 << 10))));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3));
    targets = hashing, writing, small_calls
}
criterion_main!(benches);
