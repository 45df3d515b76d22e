//! The memory that received bytes land in. A slab is filled from a socket, cut into blocks without
//! copying, and filled again once the last block cut from it is gone.
//!
//! The first use of a page of memory is expensive, because the kernel zeroes it. So the pool keeps
//! slabs, and the same few are used over and over. One slab belongs to one connection at a time:
//! blocks of a slow peer must not hold memory that a fast one could use.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;

/// The size of the smallest slab in bytes: what a slow or idle connection holds.
pub(crate) const SMALLEST_SLAB: usize = 32 * 1024;

/// The size of the largest slab in bytes: what a fast connection holds. One read can fill it.
pub(crate) const LARGEST_SLAB: usize = SMALLEST_SLAB << (SIZE_CLASSES - 1);

/// How many sizes there are, each twice the one before.
const SIZE_CLASSES: usize = 4;

/// The maximum size of the slabs in the pool, in bytes. It counts free ones and those that still
/// hold blocks.
const MAX_POOLED_BYTES: usize = 64 << 20;

/// The slabs that no connection holds.
#[derive(Debug, Default)]
pub(crate) struct SlabPool {
    pooled: Mutex<PooledSlabs>,
}

#[derive(Debug, Default)]
struct PooledSlabs {
    /// One list for each size. An entry is the empty remainder of a slab; the rest of the slab may
    /// still be in use.
    by_class: [Vec<BytesMut>; SIZE_CLASSES],
    bytes: usize,
}

/// A buffer that a connection holds.
#[derive(Debug, Default)]
pub(crate) struct Slab {
    /// The bytes that were received and not cut off yet, and room for more.
    pub(crate) buf: BytesMut,
    /// `None`: private memory, which does not go back to the pool.
    class: Option<usize>,
}

impl Slab {
    /// The whole size of the slab in bytes; 0 for private memory.
    pub(crate) fn size(&self) -> usize {
        self.class.map_or(0, |class| SMALLEST_SLAB << class)
    }

    /// The room behind the received bytes, in bytes.
    pub(crate) fn room(&self) -> usize {
        self.buf.capacity() - self.buf.len()
    }

    /// Private memory, which is freed instead of put back.
    pub(crate) fn private(capacity: usize) -> Self {
        Self { buf: BytesMut::with_capacity(capacity), class: None }
    }
}

impl SlabPool {
    /// An empty slab of `size` bytes, rounded up to an existing size, at most [`LARGEST_SLAB`].
    pub(crate) fn take(&self, size: usize) -> Slab {
        let class = (0..SIZE_CLASSES - 1)
            .find(|class| SMALLEST_SLAB << class >= size)
            .unwrap_or(SIZE_CLASSES - 1);
        let size = SMALLEST_SLAB << class;
        let mut pooled = self.lock();
        let slabs = &mut pooled.by_class[class];
        // The first free slab: so the same few are used again and again, and stay in the caches.
        let buf = match slabs.iter_mut().position(|buf| buf.try_reclaim(size)) {
            Some(at) => {
                let buf = slabs.swap_remove(at);
                pooled.bytes -= size;
                buf
            }
            None => BytesMut::with_capacity(size),
        };
        Slab { buf, class: Some(class) }
    }

    /// Takes a slab back. Blocks that were cut from it may still be in use; bytes that were not cut
    /// off are discarded.
    pub(crate) fn put(&self, mut slab: Slab) {
        let Some(class) = slab.class else { return };
        slab.buf.clear();
        let mut pooled = self.lock();
        if pooled.bytes + slab.size() <= MAX_POOLED_BYTES {
            pooled.bytes += slab.size();
            pooled.by_class[class].push(slab.buf);
        }
    }

    /// Frees every slab in the pool. To be called when little more will be received.
    pub(crate) fn clear(&self) {
        *self.lock() = PooledSlabs::default();
    }

    fn lock(&self) -> MutexGuard<'_, PooledSlabs> {
        self.pooled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(slab: &mut Slab, length: usize) -> bytes::Bytes {
        slab.buf.resize(length, 7);
        slab.buf.split().freeze()
    }

    #[test]
    fn a_slab_is_used_again_when_its_last_block_is_gone() {
        let pool = SlabPool::default();
        let mut first = pool.take(LARGEST_SLAB);
        let address = first.buf.as_ptr();
        let block = cut(&mut first, LARGEST_SLAB);
        pool.put(first);

        let mut second = pool.take(LARGEST_SLAB);
        let other = cut(&mut second, 10);
        assert_ne!(other.as_ptr(), address, "the first slab still holds a block");
        pool.put(second);

        assert!(block.iter().all(|byte| *byte == 7));
        drop((block, other));
        let third = pool.take(LARGEST_SLAB);
        assert_eq!(third.buf.as_ptr(), address);
        assert_eq!(third.room(), LARGEST_SLAB);
    }

    #[test]
    fn sizes_are_rounded_up_and_kept_apart() {
        let pool = SlabPool::default();
        for (asked, got) in
            [(0, 32), (32 << 10, 32), (33 << 10, 64), (200 << 10, 256), (9 << 20, 256)]
        {
            let slab = pool.take(asked);
            assert_eq!((slab.size(), slab.room()), (got << 10, got << 10));
            pool.put(slab);
        }
    }

    #[test]
    fn the_size_of_the_pool_is_bounded() {
        let pool = SlabPool::default();
        let mut blocks = Vec::new();
        for _ in 0..2 * MAX_POOLED_BYTES / LARGEST_SLAB {
            let mut slab = pool.take(LARGEST_SLAB);
            blocks.push(cut(&mut slab, 1));
            pool.put(slab);
        }
        assert_eq!(pool.lock().bytes, MAX_POOLED_BYTES);
        pool.put(Slab::private(LARGEST_SLAB));
        assert_eq!(pool.lock().bytes, MAX_POOLED_BYTES);
        pool.clear();
        assert_eq!(pool.lock().bytes, 0);
    }
}
