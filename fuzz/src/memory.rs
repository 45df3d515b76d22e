//! Measures the peak memory of a call with a counting allocator. The allocator needs unsafe code;
//! no part of the product links it.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

/// The system's allocator with a byte count per thread.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    /// Bytes that the thread has allocated and not freed.
    static ALLOCATED: Cell<isize> = const { Cell::new(0) };
    /// The maximum of [`ALLOCATED`] since its last reset.
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// Calls `work`, and returns its result and the peak of the bytes that it has allocated.
pub(crate) fn peak<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = ALLOCATED.get();
    PEAK.set(before);
    let result = work();
    (result, (PEAK.get() - before).max(0) as usize)
}

/// Calls `work`, and panics when its peak exceeds `limit` bytes.
#[track_caller]
pub(crate) fn within<T>(limit: usize, work: impl FnOnce() -> T) -> T {
    let (result, peak) = peak(work);
    assert!(peak <= limit, "the peak is {peak} bytes; the limit is {limit}");
    result
}

fn count(change: isize) {
    // A thread that ends has already dropped its counters.
    let _ = ALLOCATED.try_with(|allocated| {
        allocated.set(allocated.get() + change);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(allocated.get())));
    });
}

// SAFETY: every call goes to the system's allocator unchanged; counting neither allocates nor
// unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both exist at the same time while the bytes are moved.
        count(size as isize);
        let moved = unsafe { System.realloc(pointer, layout, size) };
        count(-(layout.size() as isize));
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_excludes_earlier_allocations() {
        let before = vec![0u8; 10_000];
        let (kept, bytes) = peak(|| {
            drop(vec![0u8; 5_000]);
            vec![0u8; 3_000]
        });
        assert_eq!((bytes, before.len(), kept.len()), (5_000, 10_000, 3_000));
    }

    #[test]
    #[should_panic(expected = "the limit is 99")]
    fn a_peak_above_the_limit_panics() {
        within(99, || vec![0u8; 100]);
    }
}
