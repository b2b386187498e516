//! What is allocated and not yet freed, by thread, and in what pieces: an allocator that counts. A test that runs on one thread
//! counts exactly, and disturbs no other.

#![allow(unsafe_code, reason = "an allocator that counts takes `unsafe` to say")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    /// Bytes and blocks that this thread has allocated and nobody on this thread has freed.
    static HELD: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
    /// The largest block that this thread has asked for since it last looked.
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

fn count(bytes: isize, blocks: isize) {
    let _ = HELD.try_with(|held| held.set((held.get().0 + bytes, held.get().1 + blocks)));
}

// SAFETY: every call goes to the system's allocator as it came; counting allocates nothing and does not unwind.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed(), 1);
        let _ = LARGEST.try_with(|largest| largest.set(largest.get().max(layout.size())));
        // SAFETY: the caller's promise about `layout`, handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed(), -1);
        // SAFETY: the caller's promise about `block` and `layout`, handed on; `alloc` got it from `System`.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The bytes and the blocks that this thread holds.
pub(crate) fn held() -> (isize, isize) {
    HELD.get()
}

/// The largest block that this thread allocates in `act`.
pub(crate) fn largest_block(act: impl FnOnce()) -> usize {
    LARGEST.set(0);
    act();
    LARGEST.take()
}

/// Asserts that `round` gives back what it takes, over `rounds` of them; the first few may warm caches up.
pub(crate) fn gives_back(rounds: u32, mut round: impl FnMut()) {
    for _ in 0..100 {
        round();
    }
    let before = held();
    for _ in 0..rounds {
        round();
    }
    let after = held();
    assert_eq!(
        (after.0 - before.0, after.1 - before.1),
        (0, 0),
        "bytes and blocks held after {rounds} rounds"
    );
}
