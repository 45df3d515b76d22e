//! Throughput of this crate's MD5 compared with `fast-md5` and `md-5`, on data in the cache and on
//! data in main memory.

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use md5::Digest;

/// The bytes of one call of `update`.
const UPDATE_LENGTH: usize = 128 * 1024;
const CACHED_LENGTH: usize = 256 * 1024;
const UNCACHED_LENGTH: usize = 1 << 30;

fn sums(criterion: &mut Criterion) {
    for (name, length) in [("in cache", CACHED_LENGTH), ("not in cache", UNCACHED_LENGTH)] {
        let bytes: Vec<u8> = (0..length).map(|at| (at >> 3) as u8).collect();
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes(length as u64));
        let seconds = if length == UNCACHED_LENGTH { 16 } else { 2 };
        group.sample_size(10).measurement_time(Duration::from_secs(seconds));
        group.bench_function("sow-md5", |bencher| {
            bencher.iter(|| {
                let mut sum = sow_md5::Md5::new();
                bytes.chunks(UPDATE_LENGTH).for_each(|part| sum.update(part));
                sum.finish()
            });
        });
        group.bench_function("fast-md5", |bencher| {
            bencher.iter(|| {
                let mut sum = fast_md5::Md5::new();
                bytes.chunks(UPDATE_LENGTH).for_each(|part| sum.update(part));
                sum.finalize()
            });
        });
        group.bench_function("md-5", |bencher| {
            bencher.iter(|| {
                let mut sum = md5::Md5::new();
                bytes.chunks(UPDATE_LENGTH).for_each(|part| sum.update(part));
                sum.finalize()
            });
        });
        group.finish();
    }
}

criterion_group!(benches, sums);
criterion_main!(benches);
