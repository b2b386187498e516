//! C8, as far as it is built: memory is returned. An allocator counts, by thread, what is allocated and not yet freed; each test runs
//! on one thread, so the counts are exact and tests do not disturb each other.

#![allow(unsafe_code, reason = "an allocator that counts takes `unsafe` to say")]

use ctx_runtime::{Context, Generator};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::pin::pin;
use std::task::{self, Waker};
use std::time::Duration;
use tokio::runtime::Runtime;

struct Counting;

thread_local! {
    /// Bytes and blocks that this thread has allocated and nobody on this thread has freed.
    static HELD: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

fn count(bytes: isize, blocks: isize) {
    let _ = HELD.try_with(|held| held.set((held.get().0 + bytes, held.get().1 + blocks)));
}

// SAFETY: every call goes to the system's allocator as it came; counting allocates nothing and does not unwind.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed(), 1);
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

const CHILDREN: u32 = 1_000_000;

/// Asserts that `round` gives back what it takes, over `rounds` of them; the first few may warm caches up.
fn gives_back(rounds: u32, mut round: impl FnMut()) {
    for _ in 0..100 {
        round();
    }
    let before = HELD.get();
    for _ in 0..rounds {
        round();
    }
    let after = HELD.get();
    assert_eq!(
        (after.0 - before.0, after.1 - before.1),
        (0, 0),
        "bytes and blocks held after {rounds} rounds"
    );
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

#[test]
fn a_counted_leak_is_seen() {
    let before = HELD.get();
    let leaked = Box::new(7_u64);
    assert_eq!(HELD.get(), (before.0 + 8, before.1 + 1));
    drop(leaked);
    assert_eq!(HELD.get(), before);
}

/// C8. Fails if a child stays in its parent's list, or leaves anything behind there.
#[test]
fn a_parent_of_a_million_short_lived_children_ends_as_it_began() {
    let (parent, _keep) = Context::background().with_cancel();
    gives_back(CHILDREN, || {
        let (child, canceller) = parent.with_cancel();
        canceller.cancel();
        assert!(child.is_done());
    });
    assert!(!parent.is_done());
}

#[test]
fn children_that_are_abandoned_or_disarmed_are_returned_too() {
    let (parent, _keep) = Context::background().with_cancel();
    gives_back(CHILDREN / 10, || drop(parent.with_cancel()));
    gives_back(CHILDREN / 10, || {
        let (child, canceller) = parent.with_cancel();
        canceller.disarm();
        drop(canceller);
        drop(child);
    });
}

#[test]
fn values_and_causes_are_returned() {
    let (parent, _keep) = Context::background().with_cancel();
    gives_back(CHILDREN / 10, || {
        let (child, canceller) = parent.with_value("text".to_owned()).with_cancel();
        canceller.cancel_with("one that is kept");
        canceller.cancel_with("one that is not");
        assert!(child.cause().is_some());
    });
}

/// A wait that was polled and dropped leaves nothing at the context that it waited for.
#[test]
fn waits_on_a_long_lived_context_are_returned() {
    let (parent, _keep) = Context::background().with_cancel();
    gives_back(CHILDREN, || {
        let wait = pin!(parent.done());
        assert!(wait.poll(&mut task::Context::from_waker(Waker::noop())).is_pending());
    });
}

#[test]
fn deadlines_that_nobody_waits_for_are_returned() {
    let runtime = runtime();
    let _inside = runtime.enter();
    let (parent, _keep) = Context::background().with_cancel();
    gives_back(CHILDREN / 10, || {
        let ctx = parent.with_timeout(Duration::from_secs(3_333));
        assert!(!ctx.with_timeout(Duration::from_secs(7_000)).is_done());
        assert!(parent.with_timeout(Duration::ZERO).is_done());
    });
}

/// A timer that was armed is taken off the wheel with the last context that it was for.
#[test]
fn deadlines_that_somebody_waited_for_are_returned() {
    let runtime = runtime();
    let _inside = runtime.enter();
    let (parent, _keep) = Context::background().with_cancel();
    gives_back(CHILDREN / 10, || {
        let (ctx, canceller) = parent.with_timeout(Duration::from_secs(3_333)).with_cancel();
        let mut wait = pin!(ctx.done());
        let waker = Waker::noop();
        assert!(wait.as_mut().poll(&mut task::Context::from_waker(waker)).is_pending());
        canceller.cancel();
        assert!(wait.poll(&mut task::Context::from_waker(waker)).is_ready());
    });
    drop(parent);
}

/// Waits for an inherited deadline that come and go leave nothing at the long-lived context that it was set for.
#[test]
fn waits_for_a_long_lived_deadline_are_returned() {
    let runtime = runtime();
    let _inside = runtime.enter();
    let parent = Context::background().with_timeout(Duration::from_secs(3_333));
    gives_back(CHILDREN / 10, || {
        let (child, _keep) = parent.with_cancel();
        let wait = pin!(child.done());
        assert!(wait.poll(&mut task::Context::from_waker(Waker::noop())).is_pending());
    });
}

/// A generator, however it ends, leaves nothing at its context and nothing in its runtime.
#[test]
fn generators_under_a_long_lived_context_are_returned() {
    let runtime = runtime();
    let (parent, _keep) = Context::background().with_cancel();
    let count = |ctx: &Context, buffer| {
        Generator::builder().buffer(buffer).name("count").spawn(ctx, |_, co| async move {
            for n in 0..3_u64 {
                co.yield_(n).await;
            }
        })
    };
    for buffer in [0, 1, 8] {
        gives_back(2_000, || {
            runtime.block_on(async {
                // Finished.
                let mut numbers = count(&parent, buffer);
                while numbers.next().await.is_some() {}
                // Dropped: never asked, and after the first item.
                drop(count(&parent, buffer));
                let mut numbers = count(&parent, buffer);
                assert_eq!(numbers.next().await, Some(0));
                drop(numbers);
                // Cancelled from above, and by its handle.
                let (ctx, canceller) = parent.with_cancel();
                let mut numbers = count(&ctx, buffer);
                assert_eq!(numbers.next().await, Some(0));
                canceller.cancel();
                while numbers.next().await.is_some() {}
                drop(count(&parent, buffer).stop().await);
                // Out of time.
                let mut numbers = count(&parent.with_timeout(Duration::from_millis(1)), buffer);
                tokio::time::sleep(Duration::from_millis(2)).await;
                while numbers.next().await.is_some() {}
                tokio::task::yield_now().await;
                tokio::task::yield_now().await;
            });
        });
    }
    assert!(parent.live().is_empty());
}

/// A task, however it ends and whatever becomes of its handle, leaves nothing either.
#[test]
fn tasks_under_a_long_lived_context_are_returned() {
    let runtime = runtime();
    let (parent, _keep) = Context::background().with_cancel();
    gives_back(2_000, || {
        runtime.block_on(async {
            let output = || async { vec![7_u8; 100] };
            // Taken; left to the task; left to the handle.
            assert_eq!(parent.spawn(output()).await.unwrap().len(), 100);
            drop(parent.spawn(output()));
            let left = parent.spawn(output());
            tokio::task::yield_now().await;
            drop(left);
            // Cancelled before its first poll, and where it waits; never begun.
            let (ctx, canceller) = parent.with_cancel();
            let waiting = ctx.spawn(std::future::pending::<()>());
            drop(ctx.spawn(std::future::pending::<()>()));
            tokio::task::yield_now().await;
            drop(ctx.spawn(std::future::pending::<()>()));
            canceller.cancel_and_wait().await;
            drop(waiting.await);
            drop(ctx.spawn(output()).await);
            // Out of time.
            let late = parent.with_timeout(Duration::from_millis(1)).spawn(std::future::pending::<()>());
            drop(late.await);
            tokio::task::yield_now().await;
        });
    });
    assert!(parent.live().is_empty());
}

/// Besides tokio's there is one, for the node and the result.
#[test]
fn a_task_is_one_allocation_of_ours() {
    let runtime = runtime();
    let (ctx, canceller) = Context::background().with_cancel();
    runtime.block_on(async {
        // What the runtime has once for all.
        drop(ctx.spawn(async {}).await);
        tokio::task::yield_now().await;
        let blocks = || HELD.get().1;
        let before = blocks();
        let theirs = tokio::spawn(std::future::pending::<u64>());
        let between = blocks();
        let ours = ctx.spawn(std::future::pending::<u64>());
        assert_eq!(blocks() - between, between - before + 1);
        tokio::task::yield_now().await;
        assert_eq!(blocks() - before, 2 * (between - before) + 1);
        theirs.abort();
        canceller.cancel_and_wait().await;
        drop((theirs.await, ours.await));
        tokio::task::yield_now().await;
        assert_eq!(blocks(), before);
    });
}
