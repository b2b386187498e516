//! The table's `merge`: done when either is, the earlier deadline, the values of the one, and the first one's cause where both
//! are done already. With it C1 to C5 where a context has two parents, C7 for ladders of them and C8 for their memory.

#![allow(dead_code, reason = "of the shared modules each file takes what it needs")]

mod by_hand;
mod held;
mod patience;
mod witness;

use by_hand::{Wakes, poll_once, waker_fn};
use ctx_runtime::{Abandoned, Canceller, Context, ContextError, Generator};
use held::{gives_back, held, largest_block};
use patience::{receive, settle, within};
use std::pin::pin;
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::task::Waker;
use std::thread;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::time::{Instant, advance};
use witness::Tally;

const MS: Duration = Duration::from_millis(1);

fn root() -> (Context, Canceller) {
    Context::background().with_cancel()
}

fn ends_with(ctx: &Context, text: &str) -> bool {
    ctx.cause().is_some_and(|cause| cause.to_string().ends_with(&format!(": {text}")))
}

fn paused_runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

fn on_a_small_stack(test: impl FnOnce() + Send + 'static) {
    let thread = thread::Builder::new().stack_size(256 * 1024).spawn(test).unwrap();
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

// Done when either is.

#[test]
fn a_merged_context_is_done_when_either_is_with_that_ones_kind_cause_and_origin() {
    for which in [0, 1] {
        let (one, other) = (root(), root());
        let merged = one.0.merge(&other.0);
        assert!(!merged.is_done() && merged.cause().is_none());
        let (ended, lives) = if which == 0 { (&one, &other) } else { (&other, &one) };

        ended.1.cancel_with("this one");
        let line = line!() - 1;

        assert_eq!(merged.err(), Some(ContextError::Cancelled));
        assert!(ends_with(&merged, "this one"));
        assert_eq!(merged.cause().unwrap().origin().line(), line);
        assert!(!lives.0.is_done(), "C3: a child never affects its parents");

        lives.1.cancel_with("too late");
        assert!(ends_with(&merged, "this one"), "C2: the first wins");
    }
}

#[test]
fn a_merged_context_wakes_and_calls_whoever_waits_for_it_once() {
    for which in [0, 1] {
        let (one, other) = (root(), root());
        let merged = one.0.merge(&other.0);
        let (heard, waker) = Wakes::new();
        let called = Tally::new();
        let mut wait = pin!(merged.done());
        assert!(poll_once(wait.as_mut(), &waker).is_pending());
        let ticks = called.clone();
        let callback = merged.after_func(move || ticks.tick());

        if which == 0 { &one.1 } else { &other.1 }.cancel();
        assert_eq!((heard.count(), called.count()), (1, 1));
        if which == 0 { &other.1 } else { &one.1 }.cancel();

        assert_eq!((heard.count(), called.count()), (1, 1));
        assert!(!callback.stop());
        assert!(poll_once(wait.as_mut(), &waker).is_ready());
    }
}

/// C3.
#[test]
fn a_merge_of_a_done_context_is_born_done_and_the_first_one_s_cause_counts_where_both_are() {
    let ((one, one_stop), (other, other_stop)) = (root(), root());
    other_stop.cancel_with("other");
    for merged in [one.merge(&other), other.merge(&one), other.merge(&Context::background())] {
        assert!(ends_with(&merged, "other"));
        let called = Tally::new();
        let ticks = called.clone();
        drop(merged.after_func(move || ticks.tick()));
        assert_eq!(called.count(), 1, "on a context that is done it has run");
        assert!(merged.with_cancel().0.is_done());
    }
    one_stop.cancel_with("one");
    assert!(ends_with(&one.merge(&other), "one"));
    assert!(ends_with(&other.merge(&one), "other"));
}

#[test]
fn a_merge_with_the_background_follows_the_one_that_can_end() {
    let (one, stop) = root();
    let both = [one.merge(&Context::background()), Context::background().merge(&one)];
    assert!(both.iter().all(|merged| !merged.is_done()));
    let neither = Context::background().merge(&Context::background());
    stop.cancel_with("one");
    assert!(both.iter().all(|merged| ends_with(merged, "one")));
    assert!(!neither.is_done());
    assert!(poll_once(pin!(neither.done()), Waker::noop()).is_pending());
}

#[test]
fn a_context_may_be_merged_with_itself_its_parent_and_its_child() {
    for order in [false, true] {
        let (parent, parent_stop) = root();
        let (child, child_stop) = parent.with_cancel();
        let merge = |one: &Context, other: &Context| if order { one.merge(other) } else { other.merge(one) };
        let (itself, with_parent) = (child.merge(&child), merge(&child, &parent));
        let again = merge(&with_parent, &child);
        let other_child = merge(&parent.with_value(1_u8), &with_parent);
        let (heard, waker) = Wakes::new();
        let mut waits: Vec<_> =
            [&itself, &with_parent, &again, &other_child].map(|ctx| Box::pin(ctx.done())).into();
        for wait in &mut waits {
            assert!(poll_once(wait.as_mut(), &waker).is_pending());
        }
        child_stop.cancel_with("child");
        for merged in [&itself, &with_parent, &again, &other_child] {
            assert!(ends_with(merged, "child"));
        }
        assert_eq!(heard.count(), 4);
        assert!(!parent.is_done());
        parent_stop.cancel();
        assert_eq!(heard.count(), 4);
        drop((parent, child));
    }
}

#[test]
fn the_drop_of_either_last_canceller_abandons_the_merged_context() {
    for which in [0, 1] {
        let (one, other) = (root(), root());
        let merged = one.0.merge(&other.0);
        let (ended, _lives) = if which == 0 { (one, other) } else { (other, one) };
        drop(ended.1);
        assert!(merged.cause().unwrap().downcast_ref::<Abandoned>().is_some());
    }
}

#[test]
fn a_merged_context_outlives_the_handles_that_it_was_made_from() {
    let ((one, one_stop), (other, other_stop)) = (root(), root());
    let merged = one.merge(&other);
    one_stop.disarm();
    drop((one, one_stop, other));
    assert!(!merged.is_done());
    other_stop.cancel_with("other");
    assert!(ends_with(&merged, "other"));
}

// Values and deadlines.

#[test]
fn a_merged_context_has_the_values_of_the_first_alone() {
    #[derive(Debug, PartialEq)]
    struct OfTheOther(u8);
    let one = root().0.with_value("one").with_value(7_u32);
    let other = root().0.with_value("other").with_value(OfTheOther(1));
    let merged = one.merge(&other);
    assert_eq!((merged.value(), merged.value()), (Some(&"one"), Some(&7_u32)));
    assert_eq!(merged.value::<OfTheOther>(), None);
    assert_eq!(Context::background().merge(&other).value::<&str>(), None);
    assert_eq!(other.merge(&Context::background()).value(), Some(&"other"));
}

/// C4 and C11.
#[tokio::test(start_paused = true)]
async fn the_earlier_deadline_applies_whichever_side_it_is_on_and_whoever_waits() {
    for earlier_first in [false, true] {
        let begun = Instant::now();
        let early = Context::background().with_timeout_cause(10 * MS, "early");
        let late = Context::background().with_timeout_cause(20 * MS, "late");
        let merged = if earlier_first { early.merge(&late) } else { late.merge(&early) };
        assert_eq!(merged.deadline(), Some(begun + 10 * MS));
        assert_eq!(merged.with_timeout(50 * MS).deadline(), Some(begun + 10 * MS));
        within("a merged deadline", merged.done()).await;
        let took = begun.elapsed();
        assert!(took >= 10 * MS && took <= 11 * MS, "took {took:?}");
        assert!(ends_with(&merged, "early") && early.is_done() && !late.is_done());
        assert_eq!(merged.err(), Some(ContextError::DeadlineExceeded));
    }
}

#[tokio::test(start_paused = true)]
async fn one_deadline_alone_applies_to_the_merged_context() {
    let (plain, _keep) = root();
    let timed = Context::background().with_timeout(10 * MS);
    for merged in [
        plain.merge(&timed),
        timed.merge(&plain),
        timed.merge(&Context::background()),
        Context::background().merge(&timed),
    ] {
        assert_eq!(merged.deadline(), timed.deadline());
        let ticks = Tally::new();
        let called = ticks.clone();
        drop(merged.after_func(move || called.tick()));
        let waiter = tokio::spawn(merged.done());
        assert_eq!(merged.err(), None);
        settle().await;
        assert_eq!(ticks.count(), 0);
        drop(waiter);
    }
    let merged = plain.merge(&timed);
    advance(10 * MS).await;
    assert_eq!(merged.err(), Some(ContextError::DeadlineExceeded), "nobody waits, and it is on time");
    assert!(!plain.is_done());
}

/// C2 with two parents: the deadline came first, though nobody has looked, and though another parent is cancelled.
#[tokio::test(start_paused = true)]
async fn a_cancel_of_one_parent_finds_the_deadline_of_the_other_exceeded() {
    for timed_first in [false, true] {
        for somebody_looks in [false, true] {
            let (plain, stop) = root();
            let timed = Context::background().with_timeout_cause(10 * MS, "time");
            let merged = if timed_first { timed.merge(&plain) } else { plain.merge(&timed) };
            let (below, _keep) = merged.with_cancel();
            advance(11 * MS).await;
            if somebody_looks {
                assert!(merged.is_done());
            }
            stop.cancel_with("too late");
            assert!(ends_with(&plain, "too late"));
            assert!(
                ends_with(&merged, "time") && ends_with(&below, "time"),
                "{timed_first} {somebody_looks}"
            );
        }
    }
}

// The tree below: C1, C2, C5, C6.

/// C1.
#[test]
fn a_cancel_of_either_parent_marks_everything_below_before_it_wakes_anybody() {
    for which in [0, 1] {
        let (one, other) = (root(), root());
        let merged = one.0.merge(&other.0);
        let (child, _keep) = merged.with_cancel();
        let again = child.merge(&one.0).with_value(1_u8).with_cancel();
        let ended = if which == 0 { one.0.clone() } else { other.0.clone() };
        let all = Arc::new(vec![merged, child, again.0.clone(), ended]);
        let (woken, blind) = (Tally::new(), Tally::new());
        let mut waits: Vec<_> = all.iter().map(|ctx| Box::pin(ctx.done())).collect();
        for wait in &mut waits {
            let (all, woken, blind) = (Arc::clone(&all), woken.clone(), blind.clone());
            let waker = waker_fn(move || {
                woken.tick();
                if !all.iter().all(Context::is_done) {
                    blind.tick();
                }
            });
            assert!(poll_once(wait.as_mut(), &waker).is_pending());
        }
        if which == 0 { &one.1 } else { &other.1 }.cancel();
        assert_eq!((woken.count(), blind.count()), (4, 0));
    }
}

/// C6 where both ways down from the top are as long as each other.
#[test]
fn in_a_diamond_callbacks_run_from_the_top_down_and_once() {
    let (top, stop) = root();
    let ((left, _left), (right, _right)) = (top.with_cancel(), top.with_cancel());
    let bottom = left.merge(&right);
    let below = bottom.with_cancel();
    let calls = Arc::new(Mutex::new(Vec::new()));
    for (name, ctx) in
        [("below", &below.0), ("bottom", &bottom), ("right", &right), ("left", &left), ("top", &top)]
    {
        let calls = Arc::clone(&calls);
        drop(ctx.after_func(move || calls.lock().unwrap().push(name)));
    }
    stop.cancel();
    assert_eq!(*calls.lock().unwrap(), ["top", "left", "right", "bottom", "below"]);
}

/// C2 and C5: both parents end at once, on two threads, while a third one makes merges of them.
#[test]
fn of_two_parents_that_end_at_once_one_gives_its_cause_and_nothing_slips_through() {
    for _ in 0..300 {
        let ((one, one_stop), (other, other_stop)) = (root(), root());
        let merged = one.merge(&other);
        let (child, _keep) = merged.with_cancel();
        let called = Tally::new();
        let ticks = called.clone();
        drop(child.after_func(move || ticks.tick()));
        let start = Barrier::new(3);
        let late = thread::scope(|scope| {
            scope.spawn(|| {
                start.wait();
                one_stop.cancel_with("one");
                assert!(merged.is_done() && child.is_done());
            });
            scope.spawn(|| {
                start.wait();
                other_stop.cancel_with("other");
                assert!(merged.is_done() && child.is_done());
            });
            start.wait();
            let mut late = Vec::new();
            while !(one.is_done() && other.is_done()) {
                late.push(other.merge(&one));
            }
            late
        });
        assert_eq!(called.count(), 1);
        assert_eq!(merged.cause().unwrap().to_string(), child.cause().unwrap().to_string());
        assert!(late.iter().all(Context::is_done));
    }
}

/// C5.
#[test]
fn a_waker_may_merge_the_context_that_dies_and_drop_what_was_merged() {
    let ((one, stop), (other, _keep)) = (root(), root());
    let held = Arc::new(Mutex::new(Some(one.merge(&other))));
    let merged = held.lock().unwrap().clone().unwrap();
    let mut wait = Box::pin(merged.done());
    drop(merged);
    let takes = Arc::clone(&held);
    let (at, beside) = (one.clone(), other.clone());
    let waker = waker_fn(move || {
        drop(takes.lock().unwrap().take());
        assert!(at.merge(&beside).is_done() && beside.merge(&at).is_done());
    });
    assert!(poll_once(wait.as_mut(), &waker).is_pending());
    stop.cancel();
    assert!(held.lock().unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_generator_below_a_merged_context_ends_with_either_and_is_listed_below_both_once() {
    for which in [0, 1] {
        let (one, other) = (root(), root());
        let merged = one.0.merge(&other.0);
        let endless = |ctx: &Context| {
            Generator::builder().buffer(1).spawn::<u8, _, _>(ctx, |_, _| std::future::pending())
        };
        let (silent, twice) = (endless(&merged), endless(&merged.merge(&one.0)));
        settle().await;
        assert_eq!([&one.0, &other.0, &merged].map(|ctx| ctx.live().len()), [2, 2, 2]);
        within("the end of all below", if which == 0 { &one.1 } else { &other.1 }.cancel_and_wait()).await;
        assert!(silent.end().is_some() && twice.end().is_some());
        assert!(one.0.live().is_empty() && other.0.live().is_empty());
    }
}

// C7 and C8.

const DEPTH: usize = 100_000;

/// C7. Each link has two parents: the one above it, and one that they share.
#[test]
fn a_deep_chain_of_merges_is_cancelled_printed_and_dropped() {
    on_a_small_stack(|| {
        let ((top, stop), (side, _keep)) = (root(), root());
        let mut at = top.merge(&side);
        let contexts: Vec<_> = (0..DEPTH)
            .map(|n| {
                at = if n % 2 == 0 { at.merge(&side) } else { side.merge(&at) };
                at.clone()
            })
            .collect();
        assert!(!format!("{at:?}").is_empty());
        assert!(top.live().is_empty());
        stop.cancel();
        assert!(contexts.iter().all(Context::is_done));
        assert!(!side.is_done());
    });
}

/// A ladder below `top`: each rung merges the two above it, so the ways down double with every second rung.
fn ladder(top: &Context, rungs: usize) -> Vec<Context> {
    let mut ladder = vec![top.merge(top), top.merge(top)];
    for at in 0..rungs {
        ladder.push(ladder[at + 1].merge(&ladder[at]));
    }
    ladder
}

/// C7. Every rung is queued once, whatever the number of ways to it; of the short ladder the list of them shows it.
#[test]
fn a_cancel_goes_down_a_ladder_of_merges_once() {
    for rungs in [25, 1_000] {
        let (top, stop) = root();
        let ladder = ladder(&top, rungs);
        let called = Tally::new();
        for ctx in &ladder {
            let ticks = called.clone();
            drop(ctx.after_func(move || ticks.tick()));
        }
        let largest = largest_block(|| stop.cancel());
        assert!(largest < 100 * rungs, "{rungs} rungs took {largest} bytes at once");
        assert_eq!(called.count(), rungs + 2);
        assert!(ladder.iter().all(Context::is_done));
    }
}

/// C7 and C8. All else that walks down: whoever went every way would never come back.
#[test]
fn a_ladder_of_merges_is_listed_timed_out_and_released_rung_by_rung() {
    const RUNGS: usize = 200;
    let (finished, is_finished) = mpsc::channel();
    thread::spawn(move || {
        let dropped = Tally::new();
        let hold = || {
            let guard = dropped.on_drop();
            move || drop(guard)
        };
        let (top, stop) = root();
        let rungs = ladder(&top, RUNGS);
        assert!(top.live().is_empty() && !format!("{:?}", rungs[RUNGS]).is_empty());
        for ctx in &rungs {
            drop(ctx.after_func(hold()));
        }
        stop.disarm();
        drop(stop);
        assert_eq!(dropped.count(), RUNGS + 2, "nothing can end them any more");
        drop((rungs, top));

        let runtime = paused_runtime();
        runtime.block_on(async {
            let rungs = ladder(&Context::background().with_timeout(MS), RUNGS);
            let (heard, waker) = Wakes::new();
            let mut wait = pin!(rungs[RUNGS].done());
            assert!(poll_once(wait.as_mut(), &waker).is_pending());
            advance(MS).await;
            settle().await;
            assert_eq!(heard.count(), 1);
            let (top, stop) = root();
            let rungs = ladder(&top, RUNGS);
            let silent = Generator::builder()
                .buffer(1)
                .spawn::<u8, _, _>(&rungs[RUNGS], |_, _| std::future::pending());
            assert_eq!(top.live().len(), 1);
            within("the end of all below", stop.cancel_and_wait()).await;
            assert!(silent.end().is_some());
        });
        finished.send(()).unwrap();
    });
    receive("the walks down the ladder", &is_finished);
}

/// C7. Dropped uncancelled, from the bottom: one handle holds it all.
#[test]
fn a_deep_ladder_of_merges_that_hangs_on_its_last_rungs_is_dropped_with_them() {
    on_a_small_stack(|| {
        let ((mut left, _one), (mut right, _other)) = (root(), root());
        for _ in 0..DEPTH {
            (left, right) = (left.merge(&right), right.merge(&left));
        }
        assert!(!left.is_done());
        drop(right);
        drop(left);
    });
}

/// C8.
#[test]
fn two_parents_of_a_million_short_lived_merges_end_as_they_began() {
    let ((one, _one), (other, _other)) = (root(), root());
    gives_back(1_000_000, || {
        let merged = one.merge(&other);
        assert!(!merged.is_done());
    });
}

/// C8.
#[test]
fn merges_that_were_waited_for_cancelled_and_nested_are_returned() {
    let runtime = paused_runtime();
    let _inside = runtime.enter();
    let ((one, _one), (other, _other)) = (root(), root());
    let timed = one.with_timeout(Duration::from_secs(3_333));
    gives_back(100_000, || {
        let ((mine, stop), merged) = (other.with_cancel(), one.merge(&other));
        let nested = merged.merge(&mine).merge(&timed);
        drop(merged);
        let mut wait = pin!(nested.done());
        assert!(poll_once(wait.as_mut(), Waker::noop()).is_pending());
        drop(nested.after_func(|| ()));
        stop.cancel_with("mine");
        assert!(poll_once(wait, Waker::noop()).is_ready());
        assert!(mine.merge(&one).is_done());
    });
}

/// C8. A parent that ended long ago, while the other lives on, keeps nothing of what was merged.
#[test]
fn a_parent_that_lives_on_keeps_nothing_of_merges_whose_other_parent_has_ended() {
    let (server, _keep) = root();
    let before = held();
    for _ in 0..10_000 {
        let (request, stop) = root();
        let merged = request.merge(&server);
        stop.cancel();
        assert!(merged.is_done());
    }
    assert_eq!(held(), before);
}

/// C6 where the two ways down from the top are not as long as each other.
#[test]
fn a_merged_context_is_told_after_both_that_it_was_merged_from() {
    for swapped in [false, true] {
        let (top, stop) = root();
        let (middle, _middle) = top.with_cancel();
        let (low, _low) = middle.with_cancel();
        let merged = if swapped { low.merge(&top) } else { top.merge(&low) };
        let calls = Arc::new(Mutex::new(Vec::new()));
        for (name, ctx) in [("merged", &merged), ("low", &low), ("middle", &middle), ("top", &top)] {
            let calls = Arc::clone(&calls);
            drop(ctx.after_func(move || calls.lock().unwrap().push(name)));
        }
        stop.cancel();
        assert_eq!(*calls.lock().unwrap(), ["top", "middle", "low", "merged"]);
    }
}
