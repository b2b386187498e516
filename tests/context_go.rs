//! What a Go programmer knows of `context`, and a user of tokio-util of `CancellationToken`: their behaviours, where no other
//! file proves them already. The table in the README names the source and the test of each.

#![allow(dead_code, reason = "of the shared modules each file takes what it needs")]

mod by_hand;
mod patience;
mod witness;

use by_hand::{Wakes, poll_once, waker_fn};
use ctx_runtime::{Abandoned, Canceller, Cause, Context, ContextError, Done};
use patience::{settle, wait_until, within};
use std::error::Error;
use std::fmt;
use std::pin::pin;
use std::sync::Barrier;
use std::task::Waker;
use std::thread;
use std::time::Duration;
use tokio::time::{Instant, advance, sleep};
use witness::Tally;

const MS: Duration = Duration::from_millis(1);
const FOREVER: Duration = Duration::from_hours(1_000_000);

fn root() -> (Context, Canceller) {
    Context::background().with_cancel()
}

/// A cause that is found again by its type.
#[derive(Debug, PartialEq)]
struct Because(&'static str);

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Error for Because {}

/// What Go's `Err` and `Cause` say; a cause of nobody's is the kind itself, as there.
fn err_and_cause(ctx: &Context) -> Option<(ContextError, Result<&'static str, ContextError>)> {
    let cause = ctx.cause()?;
    assert_eq!(Some(cause.kind()), ctx.err());
    let why = match cause.downcast_ref::<Because>() {
        Some(because) => Ok(because.0),
        None => Err(*cause.downcast_ref::<ContextError>().expect("a cause of nobody's is the kind")),
    };
    Some((cause.kind(), why))
}

const CANCELLED: ContextError = ContextError::Cancelled;
const EXCEEDED: ContextError = ContextError::DeadlineExceeded;

// Go: `TestCause`, its table.

#[test]
fn of_a_cause_above_and_a_cause_below_the_first_counts_for_the_one_below() {
    // Who cancels first, and with what; what parent and child say then.
    type Cancels = fn(&Canceller, &Canceller);
    let plain = (CANCELLED, Err(CANCELLED));
    let (above, below) = ((CANCELLED, Ok("parent")), (CANCELLED, Ok("child")));
    let table: [(Cancels, _, _); 10] = [
        (|parent, _| parent.cancel_with(Because("parent")), Some(above), Some(above)),
        (|_, child| child.cancel_with(Because("child")), None, Some(below)),
        (|_, child| child.cancel(), None, Some(plain)),
        (
            |parent, child| {
                parent.cancel_with(Because("parent"));
                child.cancel_with(Because("child"));
            },
            Some(above),
            Some(above),
        ),
        (
            |parent, child| {
                child.cancel_with(Because("child"));
                parent.cancel_with(Because("parent"));
            },
            Some(above),
            Some(below),
        ),
        (
            |parent, child| {
                parent.cancel_with(Because("parent"));
                child.cancel();
            },
            Some(above),
            Some(above),
        ),
        (
            |parent, child| {
                child.cancel();
                parent.cancel_with(Because("parent"));
            },
            Some(above),
            Some(plain),
        ),
        (
            |parent, child| {
                parent.cancel();
                child.cancel_with(Because("child"));
            },
            Some(plain),
            Some(plain),
        ),
        (
            |parent, child| {
                child.cancel_with(Because("child"));
                parent.cancel();
            },
            Some(plain),
            Some(below),
        ),
        (
            |parent, _| {
                parent.cancel_with(Because("parent"));
                parent.cancel_with(Because("again"));
            },
            Some(above),
            Some(above),
        ),
    ];
    for (row, (cancels, parent_says, child_says)) in table.into_iter().enumerate() {
        let (parent, parent_canceller) = root();
        let (child, child_canceller) = parent.with_value(1_u8).with_cancel();
        cancels(&parent_canceller, &child_canceller);
        assert_eq!((err_and_cause(&parent), err_and_cause(&child)), (parent_says, child_says), "row {row}");
    }
}

/// Go: the cause of a timeout counts only if it was the timeout that ended it.
#[tokio::test(start_paused = true)]
async fn the_cause_of_a_timeout_counts_only_if_it_fired() {
    let too_slow = || Because("too slow");
    assert_eq!(
        err_and_cause(&Context::background().with_timeout(Duration::ZERO)),
        Some((EXCEEDED, Err(EXCEEDED)))
    );
    let fired = Context::background().with_timeout_cause(Duration::ZERO, too_slow());
    assert_eq!(err_and_cause(&fired), Some((EXCEEDED, Ok("too slow"))));

    // Cancelled before: Go's CancelFunc of a timeout is `with_timeout` and `with_cancel` here.
    let (early, stop) = Context::background().with_timeout_cause(FOREVER, too_slow()).with_cancel();
    stop.cancel();
    assert_eq!(err_and_cause(&early), Some((CANCELLED, Err(CANCELLED))));

    // Below a context that is cancelled with a cause: whichever was first.
    for (timeout, says) in
        [(Duration::ZERO, (EXCEEDED, Ok("too slow"))), (FOREVER, (CANCELLED, Ok("finished early")))]
    {
        let (parent, canceller) = root();
        let ctx = parent.with_timeout_cause(timeout, too_slow());
        canceller.cancel_with(Because("finished early"));
        assert_eq!(err_and_cause(&ctx), Some(says));
        advance(FOREVER).await;
        assert_eq!(err_and_cause(&ctx), Some(says), "for ever");
    }

    // An earlier deadline above: its cause, not the later one's.
    let above = Context::background().with_timeout_cause(MS, Because("above"));
    let below = above.with_timeout_cause(FOREVER, too_slow());
    advance(FOREVER + MS).await;
    assert_eq!(err_and_cause(&below), Some((EXCEEDED, Ok("above"))));
}

/// Go: `TestWithoutCancel`, and the rows of `TestCause` about it.
#[tokio::test(start_paused = true)]
async fn without_cancel_keeps_the_values_and_nothing_else() {
    let (parent, canceller) = root();
    let timed = parent.with_value("value").with_timeout_cause(MS, Because("too slow"));
    let without = timed.without_cancel();
    assert_eq!(without.value(), Some(&"value"));
    assert_eq!((without.deadline(), without.remaining()), (None, None));
    let (below, below_canceller) = without.with_cancel();
    let later = below.with_timeout(10 * MS);
    let called = Tally::new();
    let ticks = called.clone();
    drop(without.after_func(move || ticks.tick()));

    advance(2 * MS).await;
    assert!(timed.is_done());
    canceller.cancel_with(Because("finished"));
    drop((parent, canceller, timed));
    assert_eq!(err_and_cause(&without), None);
    assert!(poll_once(pin!(without.done()), Waker::noop()).is_pending());

    // It is a root: what is below it ends by its own.
    advance(9 * MS).await;
    assert_eq!(err_and_cause(&later), Some((EXCEEDED, Err(EXCEEDED))));
    assert!(!below.is_done());
    below_canceller.cancel();
    assert!(below.is_done() && !without.is_done());
    assert_eq!(called.count(), 0);

    // Made from one that is done already.
    assert!(!below.without_cancel().is_done());
    assert!(!Context::background().without_cancel().is_done());
}

/// Go: `Cause` of a context that lives is nil, with and without values, and of the background.
#[test]
fn a_context_that_lives_has_no_cause() {
    let (ctx, _keep) = root();
    for ctx in
        [Context::background(), Context::todo(), ctx.clone(), ctx.with_value(1_u8), ctx.without_cancel()]
    {
        assert_eq!((ctx.err(), err_and_cause(&ctx)), (None, None));
    }
}

/// Go: `errors.Is(err, context.Canceled)` and `DeadlineExceeded` tell the two apart, through the cause.
#[tokio::test(start_paused = true)]
async fn an_error_that_was_returned_tells_a_timeout_from_a_cancel() {
    async fn work(ctx: &Context) -> Result<(), Box<dyn Error + Send + Sync>> {
        ctx.run(sleep(FOREVER)).await?;
        Ok(())
    }
    let kind = |error: &(dyn Error + 'static)| error.downcast_ref::<Cause>().map(Cause::kind);
    let timed_out = work(&Context::background().with_timeout(MS)).await.unwrap_err();
    assert_eq!(kind(&*timed_out), Some(EXCEEDED));
    let (ctx, canceller) = root();
    canceller.cancel_with(Because("of it"));
    let by_hand = work(&ctx).await.unwrap_err();
    assert_eq!(kind(&*by_hand), Some(CANCELLED));
    assert_eq!(EXCEEDED.to_string(), "context deadline exceeded");
    assert_eq!(CANCELLED.to_string(), "context cancelled");
}

// Go: `TestParentFinishesChild`, `TestChildFinishesFirst`, `TestDeadline`.

#[tokio::test(start_paused = true)]
async fn a_parent_that_is_cancelled_ends_children_of_every_kind() {
    let (parent, canceller) = root();
    let (cancel_child, _keep) = parent.with_cancel();
    let value_child = parent.with_value("value");
    let timer_child = value_child.with_timeout(FOREVER);
    let merged_child = parent.merge(&root().0.without_cancel());
    let all = [&parent, &cancel_child, &value_child, &timer_child, &merged_child];
    let mut waits: Vec<_> = all.map(|ctx| Box::pin(ctx.done())).into();
    let (heard, waker) = Wakes::new();
    for wait in &mut waits {
        assert!(poll_once(wait.as_mut(), &waker).is_pending());
    }
    canceller.cancel();
    assert_eq!(heard.count(), all.len());
    assert!(all.iter().all(|ctx| ctx.err() == Some(CANCELLED)));
    assert!(timer_child.deadline().is_some(), "which it keeps");
    assert_eq!(parent.with_value("born done").err(), Some(CANCELLED));
}

/// Go: the deadline that was asked for is shown also where a cancel came first, and a child's is the earlier one.
#[tokio::test(start_paused = true)]
async fn a_deadline_is_shown_whatever_becomes_of_the_context() {
    let at = Instant::now() + 10 * MS;
    let (ctx, canceller) = Context::background().with_deadline(at).with_cancel();
    let layered = ctx.with_value(1_u8).with_deadline(at + MS).with_timeout(FOREVER);
    canceller.cancel();
    for ctx in [&ctx, &layered] {
        assert_eq!((ctx.deadline(), ctx.err()), (Some(at), Some(CANCELLED)));
    }
    advance(20 * MS).await;
    assert_eq!((layered.deadline(), layered.err()), (Some(at), Some(CANCELLED)));
}

/// Go: `TestSimultaneousCancels`: a tree of some hundred contexts, each cancelled by a thread of its own or nearly so.
#[test]
fn cancels_of_every_context_of_a_tree_at_once_all_return() {
    for _ in 0..20 {
        let mut tree = vec![root()];
        for at in 0..25 {
            for _ in 0..4 {
                let child = tree[at].0.with_cancel();
                tree.push(child);
            }
        }
        let woken = Tally::new();
        let mut waits: Vec<_> = tree.iter().map(|(ctx, _)| Box::pin(ctx.done())).collect();
        for wait in &mut waits {
            let ticks = woken.clone();
            assert!(poll_once(wait.as_mut(), &waker_fn(move || ticks.tick())).is_pending());
        }
        let start = Barrier::new(4);
        thread::scope(|scope| {
            for part in 0..4 {
                let (tree, start) = (&tree, &start);
                scope.spawn(move || {
                    start.wait();
                    // From the leaves up, from the top down, and between.
                    let order: Vec<usize> = match part {
                        0 => (0..tree.len()).collect(),
                        1 => (0..tree.len()).rev().collect(),
                        _ => (0..tree.len()).map(|at| (at * 37 + part) % tree.len()).collect(),
                    };
                    for at in order {
                        tree[at].1.cancel();
                        assert!(tree[at].0.is_done());
                    }
                });
            }
        });
        assert!(tree.iter().all(|(ctx, _)| ctx.is_done()));
        assert_eq!(woken.count(), tree.len());
    }
}

/// Go: `TestInterlockedCancels`: the child is cancelled by whoever hears of the parent's end.
#[test]
fn a_child_may_be_cancelled_by_the_one_whom_its_parent_wakes() {
    for _ in 0..200 {
        let ((parent, canceller), finished) = (root(), Tally::new());
        let (child, child_canceller) = parent.with_cancel();
        let waits = parent.clone();
        let ticks = finished.clone();
        thread::scope(|scope| {
            scope.spawn(move || {
                waits.blocking_done();
                child_canceller.cancel_with(Because("too late"));
                ticks.tick();
            });
            canceller.cancel();
            assert!(child.is_done());
        });
        assert_eq!((finished.count(), err_and_cause(&child)), (1, Some((CANCELLED, Err(CANCELLED)))));
    }
}

/// Go: `TestLayersCancel` and `TestLayersTimeout`: thirty layers of values, cancels and timeouts, in every mixture.
#[tokio::test(start_paused = true)]
async fn layers_of_values_cancels_and_timeouts_end_together_and_keep_their_values() {
    for seed in 0..200_u64 {
        for by_timeout in [false, true] {
            let (mut ctx, mut cancellers, mut values) = (Context::background(), Vec::new(), 0_u64);
            let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
            while cancellers.len() < 10 {
                // Xorshift.
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                match random % 3 {
                    0 => {
                        values += 1;
                        ctx = ctx.with_value(values);
                    }
                    1 => {
                        let (child, canceller) = ctx.with_cancel();
                        cancellers.push(canceller);
                        ctx = child;
                    }
                    _ => ctx = ctx.with_timeout(200 * MS),
                }
            }
            let ctx = ctx.with_timeout(200 * MS).with_value("the last");
            assert!(!ctx.is_done(), "seed {seed}");
            if by_timeout {
                let begun = Instant::now();
                within("the layers", ctx.done()).await;
                assert!(begun.elapsed() >= 200 * MS && begun.elapsed() <= 201 * MS, "seed {seed}");
                assert_eq!(ctx.err(), Some(EXCEEDED));
            } else {
                cancellers[usize::try_from(random % 10).unwrap()].cancel();
                assert_eq!(ctx.err(), Some(CANCELLED), "seed {seed}");
            }
            assert_eq!(ctx.value(), (values > 0).then_some(&values), "seed {seed}");
            assert_eq!(ctx.value(), Some(&"the last"));
        }
    }
}

/// Go: `TestCauseRace`: who sees the context done sees its cause, on any thread.
#[test]
fn whoever_sees_a_context_done_sees_its_cause() {
    for _ in 0..300 {
        let (ctx, canceller) = root();
        let (child, _keep) = ctx.with_cancel();
        thread::scope(|scope| {
            for n in 0..3 {
                let canceller = &canceller;
                scope.spawn(move || canceller.cancel_with(Because(["one", "two", "three"][n])));
            }
            wait_until("the end", || child.is_done());
            let first = err_and_cause(&child);
            assert!(matches!(first, Some((CANCELLED, Ok(_)))));
            wait_until("the end above", || ctx.is_done());
            assert_eq!(err_and_cause(&ctx), first);
        });
    }
}

/// Go: `AfterFunc` on a child that finishes first, and the parent's callback that is left.
#[test]
fn a_child_that_is_done_takes_none_of_its_parent_s_callbacks_with_it() {
    let ((parent, canceller), called) = (root(), Tally::new());
    let (child, child_canceller) = parent.with_cancel();
    let (ticks, child_ticks) = (called.clone(), called.clone());
    let handle = parent.after_func(move || ticks.tick());
    drop(child.after_func(move || child_ticks.tick()));
    child_canceller.cancel();
    assert_eq!(called.count(), 1);
    canceller.cancel();
    assert_eq!(called.count(), 2);
    assert!(!handle.stop());
}

/// Go's documentation: "a Context may be used by multiple goroutines simultaneously".
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_context_serves_tasks_and_threads_at_once() {
    let (ctx, canceller) = root();
    let tasks: Vec<_> = (0..50)
        .map(|n| {
            let ctx = ctx.with_value(n);
            tokio::spawn(async move {
                (ctx.run(std::future::pending::<()>()).await.is_err(), ctx.value() == Some(&n))
            })
        })
        .collect();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let ctx = ctx.clone();
            thread::spawn(move || {
                ctx.blocking_done();
                ctx.is_done()
            })
        })
        .collect();
    settle().await;
    canceller.cancel();
    for task in tasks {
        assert_eq!(within("a task", task).await.unwrap(), (true, true));
    }
    for thread in threads {
        assert!(thread.join().unwrap());
    }
}

// Wide trees.

/// The bad input: a million children, cancelled by one, and every one of them told.
#[test]
fn a_tree_a_million_wide_is_cancelled_and_dropped() {
    let (top, canceller) = root();
    let called = Tally::new();
    let below: Vec<_> = (0..1_000_000_u32)
        .map(|n| {
            let (child, child_canceller) = top.with_cancel();
            if n % 1_000 == 0 {
                let ticks = called.clone();
                drop(child.after_func(move || ticks.tick()));
            }
            (child, child_canceller)
        })
        .collect();
    assert!(top.live().is_empty());
    canceller.cancel();
    assert!(below.iter().all(|(ctx, _)| ctx.is_done()));
    assert_eq!(called.count(), 1_000);
    drop(below);
    assert!(top.is_done());
}

/// The same, with a million who wait for one context.
#[test]
fn a_million_waits_for_one_context_are_woken() {
    let (ctx, canceller) = root();
    let (heard, waker) = Wakes::new();
    let mut waits: Vec<_> = (0..1_000_000).map(|_| Box::pin(ctx.done())).collect();
    for wait in &mut waits {
        assert!(poll_once(wait.as_mut(), &waker).is_pending());
    }
    canceller.cancel();
    assert_eq!(heard.count(), 1_000_000);
}

// tokio-util's `CancellationToken`.

/// `cancel_only_all_descendants`.
#[test]
fn a_cancel_wakes_all_descendants_and_nobody_else() {
    // All but the one that is cancelled live until the end of the test.
    let mut kept = Vec::new();
    let mut child = |ctx: &Context| {
        let (child, canceller) = ctx.with_cancel();
        kept.push(canceller);
        child
    };
    let parent = child(&Context::background());
    let (ctx, canceller) = parent.with_cancel();
    let (sibling, left, right) = (child(&parent), child(&ctx), child(&ctx));
    let (leaf, other_leaf) = (child(&left), child(&left));
    let last = child(&leaf);
    let (heard, waker) = Wakes::new();
    let all = [&parent, &ctx, &sibling, &left, &right, &leaf, &other_leaf, &last];
    let mut waits: Vec<_> = all.map(|ctx| Box::pin(ctx.done())).into();
    for wait in &mut waits {
        assert!(poll_once(wait.as_mut(), &waker).is_pending());
    }
    canceller.cancel();
    assert_eq!(heard.count(), 6);
    let done: Vec<_> = all.iter().map(|ctx| ctx.is_done()).collect();
    assert_eq!(done, [false, true, false, true, true, true, true, true]);
    for (wait, done) in waits.iter_mut().zip(done) {
        assert_eq!(poll_once(wait.as_mut(), &waker).is_ready(), done);
    }
    assert_eq!(heard.count(), 6);
}

/// `cancel_grandchild_token_through_parent_if_child_was_dropped`; a child that lives on its `disarm`.
#[test]
fn a_grandchild_is_cancelled_through_a_child_that_nobody_holds() {
    let (top, canceller) = root();
    let grandchild = {
        let (child, child_canceller) = top.with_cancel();
        child_canceller.disarm();
        child.with_value(1_u8).with_cancel()
    };
    let (heard, waker) = Wakes::new();
    let mut wait = pin!(grandchild.0.done());
    assert!(poll_once(wait.as_mut(), &waker).is_pending());
    canceller.cancel();
    assert_eq!(heard.count(), 1);
    assert!(grandchild.0.is_done() && poll_once(wait, &waker).is_ready());
}

/// `cancel_child_token_without_parent`: and the parent's next child is a child like the first.
#[test]
fn a_child_that_was_cancelled_alone_leaves_its_parent_ready_for_the_next() {
    let (parent, canceller) = root();
    let (heard, waker) = Wakes::new();
    let mut parent_wait = pin!(parent.done());
    assert!(poll_once(parent_wait.as_mut(), &waker).is_pending());
    for round in 1..=3 {
        let (child, child_canceller) = parent.with_cancel();
        let mut wait = pin!(child.done());
        assert!(poll_once(wait.as_mut(), &waker).is_pending());
        child_canceller.cancel();
        assert_eq!(heard.count(), round);
        assert!(poll_once(wait, &waker).is_ready() && poll_once(parent_wait.as_mut(), &waker).is_pending());
    }
    let (last, _keep) = parent.with_cancel();
    let mut wait = pin!(last.done());
    assert!(poll_once(wait.as_mut(), &waker).is_pending());
    canceller.cancel();
    assert_eq!(heard.count(), 5);
}

/// `drop_multiple_child_tokens`, `drop_parent_before_child_tokens`, `create_child_token_after_parent_was_cancelled`.
#[test]
fn children_are_dropped_in_any_order_before_and_after_their_parent() {
    for order in 0..12 {
        for cancelled in [false, true] {
            let (parent, canceller) = root();
            if cancelled {
                canceller.cancel();
            }
            canceller.disarm();
            let mut held: Vec<_> = (0..3)
                .map(|_| {
                    let (child, canceller) = parent.with_cancel();
                    canceller.disarm();
                    (child, canceller)
                })
                .collect();
            held.push((parent, canceller));
            for n in 0..4 {
                assert!(held.iter().all(|(ctx, _)| ctx.is_done() == cancelled));
                drop(held.remove((order + n * order) % held.len()));
            }
        }
    }
}

/// `cancel_token_owned_drop_test`, `run_until_cancelled_test`, `drop_guard`: each in a line or two.
#[tokio::test]
async fn what_a_token_s_user_looks_for_is_there() {
    // An owned future that was polled and dropped is not woken.
    let (ctx, canceller) = root();
    let (heard, waker) = Wakes::new();
    let mut owned = Box::pin(ctx.clone().done());
    assert!(poll_once(owned.as_mut(), &waker).is_pending());
    drop(owned);
    // `run_until_cancelled` gives the output, or what cancelled it.
    assert_eq!(ctx.run(async { 42 }).await.ok(), Some(42));
    // `drop_guard` is what a canceller is; its `disarm` gives the token back.
    let guard = canceller.clone();
    guard.disarm();
    drop(guard);
    assert!(!ctx.is_done());
    canceller.cancel();
    assert_eq!(heard.count(), 0);
    assert!(ctx.run(async { 42 }).await.is_err());
    drop(canceller);
    let (guarded, guard) = root();
    drop(guard);
    assert!(guarded.cause().unwrap().downcast_ref::<Abandoned>().is_some());
}

/// `derives_send_sync`.
#[test]
fn contexts_may_go_anywhere() {
    fn may_go_anywhere<
        T: Send + Sync + Unpin + std::panic::UnwindSafe + std::panic::RefUnwindSafe + 'static,
    >() {
    }
    fn may_be_sent<T: Send + Sync + std::panic::UnwindSafe + 'static>() {}
    may_go_anywhere::<Context>();
    may_go_anywhere::<Canceller>();
    may_go_anywhere::<ctx_runtime::AfterFunc>();
    may_be_sent::<Done>();
    may_be_sent::<Cause>();
    assert_eq!(size_of::<Context>(), 2 * size_of::<usize>());
}

/// `cancel_descendant_waker_can_access_ancestor`: what a descendant's waker does to the ancestor cannot lock.
#[test]
fn a_descendant_s_waker_may_use_its_ancestors() {
    let (top, canceller) = root();
    let (middle, middle_canceller) = top.with_cancel();
    let (leaf, _keep) = middle.with_cancel();
    let used = Tally::new();
    let (ticks, ancestor) = (used.clone(), top.clone());
    let waker = waker_fn(move || {
        middle_canceller.cancel();
        assert!(ancestor.is_done() && middle.is_done() && ancestor.with_cancel().0.is_done());
        ticks.tick();
    });
    let mut wait = pin!(leaf.done());
    assert!(poll_once(wait.as_mut(), &waker).is_pending());
    canceller.cancel();
    assert_eq!(used.count(), 1);
}
