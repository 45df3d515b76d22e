//! The memory that received bytes land in: slabs that are filled from a socket, cut into blocks
//! without copying, and filled again once the last block cut from them is gone.
//!
//! Memory that is touched for the first time is dear (the kernel zeroes it, page by page), so slabs
//! are kept and the same few are used over and over. One slab belongs to one connection at a time:
//! blocks of a slow peer must not hold on to memory that a fast one could use.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;

/// The size of the smallest slab in bytes: what a slow or an idle connection holds.
pub(crate) const SMALLEST_SLAB: usize = 32 * 1024;

/// The size of the largest slab in bytes: what a fast connection holds. Each read can fill it.
pub(crate) const LARGEST_SLAB: usize = SMALLEST_SLAB << (CLASSES - 1);

const CLASSES: usize = 4;

/// What is kept of slabs in no connection's hands, free or still holding blocks, in bytes.
const KEPT: usize = 64 << 20;

/// The slabs in no connection's hands.
#[derive(Debug, Default)]
pub(crate) struct Slabs {
    shelves: Mutex<Shelves>,
}

#[derive(Debug, Default)]
struct Shelves {
    /// A shelf for each size. What lies there is an empty remainder of each slab; the rest may
    /// still be in use.
    by_class: [Vec<BytesMut>; CLASSES],
    bytes: usize,
}

/// A buffer in a connection's hands.
#[derive(Debug, Default)]
pub(crate) struct Slab {
    /// Received and not yet cut off, and room to receive more. Capacity 0 when the slab is no slab
    /// at all.
    pub(crate) buf: BytesMut,
    /// `None`: private memory that does not go back.
    class: Option<usize>,
}

impl Slab {
    /// The whole size of the slab in bytes; 0 when its memory is private.
    pub(crate) fn size(&self) -> usize {
        self.class.map_or(0, |class| SMALLEST_SLAB << class)
    }

    /// Room behind what was received, in bytes.
    pub(crate) fn room(&self) -> usize {
        self.buf.capacity() - self.buf.len()
    }

    /// Memory of its own, that is freed and not put back.
    pub(crate) fn private(capacity: usize) -> Self {
        Self { buf: BytesMut::with_capacity(capacity), class: None }
    }
}

impl Slabs {
    /// An empty slab of `size` bytes, rounded up to a size that exists, at most [`LARGEST_SLAB`].
    pub(crate) fn take(&self, size: usize) -> Slab {
        let class =
            (0..CLASSES - 1).find(|class| SMALLEST_SLAB << class >= size).unwrap_or(CLASSES - 1);
        let size = SMALLEST_SLAB << class;
        let mut shelves = self.lock();
        let shelf = &mut shelves.by_class[class];
        // The first that is free: so the same few are used again and again, and the caches stay
        // warm.
        let buf = match shelf.iter_mut().position(|buf| buf.try_reclaim(size)) {
            Some(at) => {
                let buf = shelf.swap_remove(at);
                shelves.bytes -= size;
                buf
            }
            None => BytesMut::with_capacity(size),
        };
        Slab { buf, class: Some(class) }
    }

    /// Takes a slab back; what was cut off from it may still be in use, what was not is thrown
    /// away.
    pub(crate) fn put(&self, mut slab: Slab) {
        let Some(class) = slab.class else { return };
        slab.buf.clear();
        let mut shelves = self.lock();
        if shelves.bytes + slab.size() <= KEPT {
            shelves.bytes += slab.size();
            shelves.by_class[class].push(slab.buf);
        }
    }

    /// Frees every slab in no connection's hands: no more is to be received soon.
    pub(crate) fn clear(&self) {
        *self.lock() = Shelves::default();
    }

    fn lock(&self) -> MutexGuard<'_, Shelves> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
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
        let slabs = Slabs::default();
        let mut first = slabs.take(LARGEST_SLAB);
        let address = first.buf.as_ptr();
        let block = cut(&mut first, LARGEST_SLAB);
        slabs.put(first);

        let mut second = slabs.take(LARGEST_SLAB);
        let other = cut(&mut second, 10);
        assert_ne!(other.as_ptr(), address, "the first slab still holds a block");
        slabs.put(second);

        assert!(block.iter().all(|byte| *byte == 7));
        drop((block, other));
        let third = slabs.take(LARGEST_SLAB);
        assert_eq!(third.buf.as_ptr(), address);
        assert_eq!(third.room(), LARGEST_SLAB);
    }

    #[test]
    fn sizes_are_rounded_up_and_kept_apart() {
        let slabs = Slabs::default();
        for (asked, got) in
            [(0, 32), (32 << 10, 32), (33 << 10, 64), (200 << 10, 256), (9 << 20, 256)]
        {
            let slab = slabs.take(asked);
            assert_eq!((slab.size(), slab.room()), (got << 10, got << 10));
            slabs.put(slab);
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let slabs = Slabs::default();
        let mut blocks = Vec::new();
        for _ in 0..2 * KEPT / LARGEST_SLAB {
            let mut slab = slabs.take(LARGEST_SLAB);
            blocks.push(cut(&mut slab, 1));
            slabs.put(slab);
        }
        assert_eq!(slabs.lock().bytes, KEPT);
        slabs.put(Slab::private(LARGEST_SLAB));
        assert_eq!(slabs.lock().bytes, KEPT);
        slabs.clear();
        assert_eq!(slabs.lock().bytes, 0);
    }
}
