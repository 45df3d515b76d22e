//! Measures how much memory a call takes at its peak, by an allocator that counts. The only unsafe
//! code of the project is here, and no part of the product links it.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

/// The system's allocator, counting bytes a thread.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    /// Bytes that the thread allocated and did not free.
    static NOW: Cell<isize> = const { Cell::new(0) };
    /// The most that [`NOW`] was since it was last reset.
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// Calls `work`, and gives its result and the most bytes that it had allocated at a time.
pub(crate) fn peak<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = NOW.get();
    PEAK.set(before);
    let result = work();
    (result, (PEAK.get() - before).max(0) as usize)
}

/// Calls `work`, and panics when it took more than `limit` bytes at a time.
#[track_caller]
pub(crate) fn within<T>(limit: usize, work: impl FnOnce() -> T) -> T {
    let (result, peak) = peak(work);
    assert!(peak <= limit, "{peak} bytes were allocated at a time; {limit} is the bound");
    result
}

fn count(change: isize) {
    // A thread that is ending has no counters any more, and nothing to count.
    let _ = NOW.try_with(|now| {
        now.set(now.get() + change);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(now.get())));
    });
}

// SAFETY: every call goes to the system's allocator as it came; counting neither allocates nor
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
        // Both live for a moment, when it has to be moved.
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
    fn the_peak_is_seen_and_what_was_there_before_is_not() {
        let before = vec![0u8; 10_000];
        let (kept, bytes) = peak(|| {
            drop(vec![0u8; 5_000]);
            vec![0u8; 3_000]
        });
        assert_eq!((bytes, before.len(), kept.len()), (5_000, 10_000, 3_000));
    }

    #[test]
    #[should_panic(expected = "is the bound")]
    fn too_much_is_noticed() {
        within(99, || vec![0u8; 100]);
    }
}
