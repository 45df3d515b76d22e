//! MD5 here beside the crates it was chosen over, on memory that is in the cache and on memory that
//! is not.

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use md5::Digest;

/// As much as is handed over at a time.
const PART: usize = 128 * 1024;
const HOT: usize = 256 * 1024;
const COLD: usize = 1 << 30;

fn sums(criterion: &mut Criterion) {
    for (name, length) in [("in cache", HOT), ("not in cache", COLD)] {
        let bytes: Vec<u8> = (0..length).map(|at| (at >> 3) as u8).collect();
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes(length as u64));
        group.sample_size(10).measurement_time(Duration::from_secs(if length == COLD {
            16
        } else {
            2
        }));
        group.bench_function("sow-md5", |bencher| {
            bencher.iter(|| {
                let mut sum = sow_md5::Md5::new();
                bytes.chunks(PART).for_each(|part| sum.update(part));
                sum.finish()
            });
        });
        group.bench_function("fast-md5", |bencher| {
            bencher.iter(|| {
                let mut sum = fast_md5::Md5::new();
                bytes.chunks(PART).for_each(|part| sum.update(part));
                sum.finalize()
            });
        });
        group.bench_function("md-5", |bencher| {
            bencher.iter(|| {
                let mut sum = md5::Md5::new();
                bytes.chunks(PART).for_each(|part| sum.update(part));
                sum.finalize()
            });
        });
        group.finish();
    }
}

criterion_group!(benches, sums);
criterion_main!(benches);
