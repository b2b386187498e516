//! What a context costs in memory, by an allocator that counts.
#![allow(
    unsafe_code,
    reason = "a global allocator is unsafe to implement; this one hands on to the system's"
)]

use crate::row::{Goal, Peer, Row, Unit};
use ctx_runtime::Context;
use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{self, Waker};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const FAR: Duration = Duration::from_hours(1);

/// Off while time is measured: a counter that two threads share would be what they wait for.
static COUNTING: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
/// The bytes that were allocated and not freed, as malloc has rounded them up. It may wrap.
static LIVE: AtomicU64 = AtomicU64::new(0);

struct Counted;

#[global_allocator]
static ALLOCATOR: Counted = Counted;

fn usable(memory: *mut u8) -> u64 {
    // SAFETY: null, or what malloc has returned.
    unsafe { libc::malloc_usable_size(memory.cast()) as u64 }
}

fn count_up(memory: *mut u8) {
    if COUNTING.load(Ordering::Relaxed) {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        LIVE.fetch_add(usable(memory), Ordering::Relaxed);
    }
}

fn count_down(memory: *mut u8) {
    if COUNTING.load(Ordering::Relaxed) {
        LIVE.fetch_sub(usable(memory), Ordering::Relaxed);
    }
}

// SAFETY: all of it is the system's allocator.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: by the caller's word.
        let memory = unsafe { System.alloc(layout) };
        count_up(memory);
        memory
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: by the caller's word.
        let memory = unsafe { System.alloc_zeroed(layout) };
        count_up(memory);
        memory
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count_down(memory);
        // SAFETY: by the caller's word.
        let memory = unsafe { System.realloc(memory, layout, size) };
        count_up(memory);
        memory
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count_down(memory);
        // SAFETY: by the caller's word.
        unsafe { System.dealloc(memory, layout) };
    }
}

fn counted<R>(of: &AtomicU64, work: impl FnOnce() -> R) -> f64 {
    let before = of.load(Ordering::Relaxed);
    COUNTING.store(true, Ordering::Relaxed);
    let result = work();
    COUNTING.store(false, Ordering::Relaxed);
    let found = of.load(Ordering::Relaxed).wrapping_sub(before);
    drop(black_box(result));
    found as f64
}

/// How many allocations `once` makes, `times` times.
fn allocations<R>(times: u64, mut once: impl FnMut() -> R) -> f64 {
    counted(&ALLOCATIONS, || (0..times).for_each(|_| drop(black_box(once()))))
}

/// The bytes that `times` of what `make` makes take, all alive at once; without the place they are kept in here.
fn bytes<R>(times: u64, mut make: impl FnMut() -> R) -> f64 {
    let mut kept = Vec::with_capacity(usize::try_from(times).expect("fits in memory"));
    counted(&LIVE, || (0..times).for_each(|_| kept.push(make())))
}

pub(crate) fn rows() -> Vec<Row> {
    vec![child(), read(), timeout(), size()]
}

fn child() -> Row {
    Row::new("allocations: a child context with its canceller")
        .unit(Unit::Allocations)
        .batch(1000)
        .by(Peer::Ctx, |times| {
            let (parent, _keep) = Context::background().with_cancel();
            allocations(times, || parent.with_cancel())
        })
        .by(Peer::TokioUtil, |times| {
            let parent = CancellationToken::new();
            allocations(times, || parent.child_token())
        })
        .by_go("child_allocations")
        .goal(Goal::AtMost(2.0))
}

fn read() -> Row {
    Row::new("allocations: to wait, clone and read")
        .unit(Unit::Allocations)
        .batch(1000)
        .by(Peer::Ctx, |times| {
            let (live, _keep) = Context::background().with_cancel();
            let (done, canceller) = Context::background().with_cancel();
            canceller.cancel_with("a reason");
            let cx = &mut task::Context::from_waker(Waker::noop());
            allocations(times, || {
                assert!(pin!(live.done()).poll(cx).is_pending());
                assert!(pin!(done.done()).poll(cx).is_ready());
                assert!(!live.clone().is_done() && live.err().is_none());
                assert!(done.clone().is_done() && done.err().is_some());
                done.cause()
            })
        })
        .by(Peer::TokioUtil, |times| {
            let live = CancellationToken::new();
            let done = CancellationToken::new();
            done.cancel();
            let cx = &mut task::Context::from_waker(Waker::noop());
            allocations(times, || {
                assert!(pin!(live.cancelled()).poll(cx).is_pending());
                assert!(pin!(done.cancelled()).poll(cx).is_ready());
                assert!(!live.clone().is_cancelled());
                assert!(done.clone().is_cancelled());
            })
        })
        .by_go("read_allocations")
        .goal(Goal::AtMost(0.0))
}

fn timeout() -> Row {
    Row::new("allocations: `with_timeout(…).with_cancel()`")
        .unit(Unit::Allocations)
        .batch(1000)
        .by(Peer::Ctx, |times| {
            let (parent, _keep) = Context::background().with_cancel();
            allocations(times, || parent.with_timeout(FAR).with_cancel())
        })
        .by_go("timeout_allocations")
}

fn size() -> Row {
    Row::new("bytes of a child context with its canceller, of 100,000")
        .unit(Unit::Bytes)
        .batch(100_000)
        .by(Peer::Ctx, |times| {
            let (parent, _keep) = Context::background().with_cancel();
            bytes(times, || parent.with_cancel())
        })
        .by(Peer::TokioUtil, |times| {
            let parent = CancellationToken::new();
            bytes(times, || parent.child_token())
        })
        .by_go("child_bytes")
        .goal(Goal::AtMost(160.0))
}
