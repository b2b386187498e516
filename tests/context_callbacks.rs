//! C5 and C6: what `after_func` runs, when, in which order, on which thread, and what it may do there; and C8 for what it holds.

#![allow(dead_code, reason = "of the shared modules each file takes what it needs")]

mod by_hand;
mod held;
mod patience;
mod witness;

use by_hand::{poll_once, waker_fn};
use ctx_runtime::{AfterFunc, Canceller, Context};
use held::{gives_back, held};
use patience::{receive, settle, wait_until};
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::task::Waker;
use std::thread;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::time::advance;
use witness::{Tally, on_drop, spite};

const MS: Duration = Duration::from_millis(1);

fn root() -> (Context, Canceller) {
    Context::background().with_cancel()
}

fn paused_runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

/// Writes down who was called, in order.
#[derive(Clone, Default)]
struct Calls(Arc<Mutex<Vec<String>>>);

impl Calls {
    fn log(&self, name: impl Into<String>) -> impl FnOnce() + Send + 'static {
        let (calls, name) = (self.clone(), name.into());
        move || calls.0.lock().unwrap().push(name)
    }

    fn made(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// Runs `test` on a thread of its own, so that a deadlock fails it.
fn without_deadlock<T: Send + 'static>(what: &str, test: impl FnOnce() -> T + Send + 'static) -> T {
    let (finished, is_finished) = mpsc::channel();
    let thread = thread::spawn(move || drop(finished.send(test())));
    if let Ok(value) = is_finished.recv_timeout(patience::PATIENCE) {
        return value;
    }
    match thread.is_finished().then(|| thread.join()) {
        Some(Err(panic)) => resume_unwind(panic),
        _ => panic!("waited in vain: {what}"),
    }
}

// When, how often, and where.

/// C6 and the table: once, on the thread that cancels, before its `cancel` returns.
#[test]
fn a_callback_runs_once_on_the_thread_that_cancels_before_cancel_returns() {
    let (ctx, canceller) = root();
    let ran_on = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&ran_on);
    let callback = ctx.after_func(move || log.lock().unwrap().push(thread::current().id()));
    assert!(ran_on.lock().unwrap().is_empty());
    thread::scope(|scope| {
        let canceller = &canceller;
        let cancels = scope.spawn(|| {
            canceller.cancel();
            thread::current().id()
        });
        let by = cancels.join().unwrap();
        assert_eq!(*ran_on.lock().unwrap(), [by]);
    });
    canceller.cancel();
    drop(canceller);
    assert_eq!(ran_on.lock().unwrap().len(), 1);
    assert!(!callback.stop());
}

#[test]
fn on_a_context_that_is_done_a_callback_has_run_when_after_func_returns() {
    let (ctx, canceller) = root();
    canceller.cancel();
    let called = Tally::new();
    for ctx in [&ctx, &ctx.with_value(1_u8), &ctx.with_cancel().0] {
        let ticks = called.clone();
        let before = called.count();
        let callback = ctx.after_func(move || ticks.tick());
        assert_eq!(called.count(), before + 1);
        assert!(!callback.stop());
    }
}

/// C4: the callback itself asks for the timer; nobody else waits.
#[tokio::test(start_paused = true)]
async fn a_callback_runs_when_the_deadline_passes_though_nobody_looks() {
    let ctx = Context::background().with_timeout(10 * MS);
    let (own, inherited) = (Tally::new(), Tally::new());
    let (ticks, inherited_ticks) = (own.clone(), inherited.clone());
    let callback = ctx.after_func(move || ticks.tick());
    drop(ctx.with_cancel().0.with_value(1_u8).after_func(move || inherited_ticks.tick()));
    // `with_cancel().1` is gone, so that child was abandoned at once.
    assert_eq!(inherited.count(), 1);
    let (child, _keep) = ctx.with_cancel();
    let inherited_ticks = inherited.clone();
    drop(child.after_func(move || inherited_ticks.tick()));

    advance(9 * MS).await;
    settle().await;
    assert_eq!((own.count(), inherited.count()), (0, 1));
    advance(MS).await;
    settle().await;
    assert_eq!((own.count(), inherited.count()), (1, 2));
    assert!(!callback.stop());
}

/// C2 and C4: on a context whose time is up, though nobody has looked, `f` has run when `after_func` returns.
#[tokio::test(start_paused = true)]
async fn a_callback_on_a_context_that_ran_out_of_time_unseen_runs_at_once() {
    let ctx = Context::background().with_timeout(10 * MS);
    let (child, _keep) = ctx.with_cancel();
    advance(10 * MS).await;
    let called = Tally::new();
    let ticks = called.clone();
    assert!(!child.after_func(move || ticks.tick()).stop());
    assert_eq!(called.count(), 1);
}

// `stop` and the drop of the handle.

#[test]
fn stop_is_true_if_and_only_if_it_kept_the_callback_from_running() {
    let (ctx, canceller) = root();
    let calls = Calls::default();
    let (stopped, ran) = (ctx.after_func(calls.log("stopped")), ctx.after_func(calls.log("ran")));
    assert!(stopped.stop());
    assert!(!stopped.stop(), "it was stopped before");
    canceller.cancel();
    assert!(!stopped.stop());
    assert!(!ran.stop());
    assert_eq!(calls.made(), ["ran"]);
}

#[test]
fn stop_works_where_nothing_can_ever_end_the_context() {
    let dropped = Tally::new();
    for ctx in [Context::background(), Context::todo().with_value(1_u8), root().0.without_cancel()] {
        let guard = dropped.on_drop();
        let callback = ctx.after_func(move || drop(guard));
        let before = dropped.count();
        assert!(callback.stop());
        assert_eq!(dropped.count(), before + 1, "what it held is dropped");
        assert!(!callback.stop());
    }
}

/// C5.
#[test]
fn what_a_stopped_callback_held_is_dropped_by_stop_with_no_lock_held() {
    without_deadlock("a callback whose destructor uses the tree", || {
        let (ctx, canceller) = root();
        let (at, stop) = (ctx.clone(), canceller.clone());
        let dropped = Tally::new();
        let ticks = dropped.clone();
        let guard = on_drop(move || {
            drop(at.with_cancel());
            drop(at.after_func(|| ()));
            stop.cancel();
            ticks.tick();
        });
        let callback = ctx.after_func(move || drop(guard));
        assert!(callback.stop());
        assert_eq!(dropped.count(), 1);
        assert!(ctx.is_done());
    });
}

/// The two of a race: exactly one of `stop` and the callback wins.
#[test]
fn of_a_stop_and_a_cancel_that_race_exactly_one_wins() {
    for _ in 0..500 {
        let (ctx, canceller) = root();
        let called = Tally::new();
        let ticks = called.clone();
        let callback = ctx.after_func(move || ticks.tick());
        let start = Barrier::new(3);
        let stops: Vec<bool> = thread::scope(|scope| {
            let stops: Vec<_> = [(), ()]
                .map(|()| {
                    scope.spawn(|| {
                        start.wait();
                        callback.stop()
                    })
                })
                .into();
            start.wait();
            canceller.cancel();
            stops.into_iter().map(|stop| stop.join().unwrap()).collect()
        });
        let stopped = stops.iter().filter(|stopped| **stopped).count();
        assert_eq!(stopped + called.count(), 1);
    }
}

#[test]
fn a_callback_may_stop_itself_and_others() {
    without_deadlock("a callback that stops callbacks", || {
        let (ctx, canceller) = root();
        let (child, _keep) = ctx.with_cancel();
        let handles: Arc<Mutex<Vec<AfterFunc>>> = Arc::default();
        let calls = Calls::default();
        let (stops, log) = (Arc::clone(&handles), Arc::clone(&calls.0));
        let stopper = ctx.after_func(move || {
            let stopped: Vec<_> = stops.lock().unwrap().iter().map(AfterFunc::stop).collect();
            log.lock().unwrap().push(format!("{stopped:?}"));
        });
        handles.lock().unwrap().extend([
            stopper,
            ctx.after_func(calls.log("a later one of the same context")),
            child.after_func(calls.log("one of a child")),
        ]);
        drop(ctx.after_func(calls.log("the last")));
        canceller.cancel();
        assert_eq!(calls.made(), ["[false, true, true]", "the last"]);
    });
}

#[test]
fn dropping_the_handle_leaves_the_callback_registered() {
    let (ctx, canceller) = root();
    let calls = Calls::default();
    drop(ctx.after_func(calls.log("dropped")));
    canceller.cancel();
    assert_eq!(calls.made(), ["dropped"]);
}

#[test]
fn a_callback_stays_where_no_handle_is_left_but_something_above_can_end_it() {
    let (top, top_canceller) = root();
    let calls = Calls::default();
    {
        let (middle, middle_canceller) = top.with_cancel();
        let (leaf, leaf_canceller) = middle.with_cancel();
        middle_canceller.disarm();
        leaf_canceller.disarm();
        drop(leaf.after_func(calls.log("leaf")));
        drop(middle.after_func(calls.log("middle")));
        drop(middle.without_cancel().after_func(calls.log("without cancel")));
    }
    drop(top);
    assert!(calls.made().is_empty());
    top_canceller.cancel();
    assert_eq!(calls.made(), ["middle", "leaf"]);
}

#[tokio::test(start_paused = true)]
async fn a_callback_stays_where_no_handle_is_left_but_a_deadline_can_end_it() {
    let calls = Calls::default();
    drop(Context::background().with_timeout(10 * MS).after_func(calls.log("own")));
    {
        let (child, canceller) = Context::background().with_timeout(20 * MS).with_cancel();
        canceller.disarm();
        drop(child.after_func(calls.log("inherited")));
    }
    tokio::time::sleep(15 * MS).await;
    assert_eq!(calls.made(), ["own"]);
    tokio::time::sleep(15 * MS).await;
    assert_eq!(calls.made(), ["own", "inherited"]);
}

#[test]
fn a_callback_stays_where_either_side_of_a_merge_can_end_it() {
    for which in [0, 1] {
        let (one, other) = (root(), root());
        let calls = Calls::default();
        drop(one.0.merge(&other.0).after_func(calls.log("merged")));
        let (goes, stays) = if which == 0 { (one, other) } else { (other, one) };
        goes.1.disarm();
        drop(goes);
        drop(stays.0);
        assert!(calls.made().is_empty());
        stays.1.cancel();
        assert_eq!(calls.made(), ["merged"]);
    }
}

/// The table: where nothing can end it any more, it is dropped; C8 follows.
#[test]
fn a_callback_is_released_when_nothing_can_end_its_context_any_more() {
    let dropped = Tally::new();
    let hold = || {
        let guard = dropped.on_drop();
        move || drop(guard)
    };
    // By the last canceller of its own context.
    let (ctx, canceller) = root();
    drop(ctx.after_func(hold()));
    let clone = canceller.clone();
    canceller.disarm();
    drop(canceller);
    assert_eq!(dropped.count(), 0, "a clone could still cancel");
    drop(clone);
    assert_eq!(dropped.count(), 1);
    assert!(!ctx.is_done());

    // By the last canceller above, after those below have gone; in a diamond; and what is made there later.
    let (top, top_canceller) = root();
    let (child, child_canceller) = top.with_cancel();
    let (other, other_canceller) = root();
    let merged = child.merge(&other);
    drop(merged.after_func(hold()));
    drop(child.after_func(hold()));
    for canceller in [child_canceller, other_canceller, top_canceller] {
        assert_eq!(dropped.count(), 1);
        canceller.disarm();
        drop(canceller);
    }
    assert_eq!(dropped.count(), 3);
    for ctx in [&top, &child, &merged, &other] {
        assert!(!ctx.is_done());
        drop(ctx.after_func(hold()));
    }
    assert_eq!(dropped.count(), 7);
}

/// C5: the callback that is released may use the tree in its destructor.
#[test]
fn a_released_callback_is_dropped_with_no_lock_held() {
    without_deadlock("a released callback whose destructor uses the tree", || {
        let (ctx, canceller) = root();
        let at = ctx.clone();
        let guard = on_drop(move || {
            drop(at.with_cancel());
            drop(at.after_func(|| ()));
            assert!(poll_once(pin!(at.done()), Waker::noop()).is_pending());
        });
        drop(ctx.after_func(move || drop(guard)));
        canceller.disarm();
        drop(canceller);
    });
}

// C6: order.

/// C6.
#[test]
fn callbacks_of_a_context_run_in_the_order_of_their_registration() {
    let (ctx, canceller) = root();
    let calls = Calls::default();
    let handles: Vec<_> = (0..100).map(|n| ctx.after_func(calls.log(format!("{n}")))).collect();
    // Those of clones, and of contexts that only add values, are the same context's.
    drop(ctx.with_value(1_u8).after_func(calls.log("100")));
    assert!(handles[17].stop());
    drop(handles);
    canceller.cancel();
    let expected: Vec<_> = (0..=100).filter(|n| *n != 17).map(|n| n.to_string()).collect();
    assert_eq!(calls.made(), expected);
}

/// C6. Registered from the bottom up, run from the top down.
#[test]
fn callbacks_run_a_context_before_its_descendants() {
    let (top, canceller) = root();
    let mut contexts = vec![(String::from("0"), top, None)];
    for at in 0..40 {
        for child in 0..3 {
            let (name, parent, _) = &contexts[at];
            let (name, (ctx, keep)) = (format!("{name}{child}"), parent.with_cancel());
            contexts.push((name, ctx, Some(keep)));
        }
    }
    let calls = Calls::default();
    for (name, ctx, _) in contexts.iter().rev() {
        drop(ctx.after_func(calls.log(name.clone())));
    }
    canceller.cancel();
    let made = calls.made();
    assert_eq!(made.len(), contexts.len());
    for (at, name) in made.iter().enumerate() {
        assert!(made[at..].iter().all(|later| later == name || !name.starts_with(later)), "{made:?}");
    }
}

/// C6 on a timer: from the top down too.
#[tokio::test(start_paused = true)]
async fn on_a_timer_callbacks_run_in_the_same_order() {
    let top = Context::background().with_timeout(10 * MS);
    let (middle, _one) = top.with_cancel();
    let (leaf, _two) = middle.with_cancel();
    let calls = Calls::default();
    for (name, ctx) in
        [("leaf", &leaf), ("middle", &middle), ("top", &top), ("leaf again", &leaf), ("top again", &top)]
    {
        drop(ctx.after_func(calls.log(name)));
    }
    tokio::time::sleep(11 * MS).await;
    assert_eq!(calls.made(), ["top", "top again", "middle", "leaf", "leaf again"]);
}

/// C1: a callback sees every descendant done.
#[test]
fn whoever_a_cancel_calls_sees_every_descendant_done() {
    let (top, canceller) = root();
    let below: Vec<_> = (0..10).map(|_| top.with_cancel()).collect();
    let leaves: Vec<_> = below.iter().map(|(ctx, _)| ctx.with_cancel()).collect();
    let all = below.iter().chain(&leaves).map(|(ctx, _)| ctx.clone()).chain([top]);
    let all: Arc<Vec<Context>> = Arc::new(all.collect());
    let seen = Tally::new();
    for ctx in all.iter() {
        let (all, seen) = (Arc::clone(&all), seen.clone());
        drop(ctx.after_func(move || {
            if all.iter().all(Context::is_done) {
                seen.tick();
            }
        }));
    }
    canceller.cancel();
    assert_eq!(seen.count(), 21);
}

// C6: panics.

/// C5 and C6.
#[test]
fn after_all_have_run_the_first_panic_goes_on_out_of_cancel() {
    let (top, canceller) = root();
    let (child, _keep) = top.with_cancel();
    let calls = Calls::default();
    drop(child.after_func(|| panic!("of the child, as the test wants it")));
    drop(child.after_func(calls.log("child")));
    drop(top.after_func(calls.log("top")));
    drop(top.after_func(|| resume_unwind(Box::new(String::from("the first")))));
    drop(top.after_func(|| panic!("the second, as the test wants it")));
    drop(top.after_func(calls.log("top again")));
    let woken = Tally::new();
    let ticks = woken.clone();
    let mut wait = pin!(child.done());
    assert!(poll_once(wait.as_mut(), &waker_fn(move || ticks.tick())).is_pending());

    let panic = catch_unwind(AssertUnwindSafe(|| canceller.cancel())).unwrap_err();

    assert_eq!(panic.downcast_ref::<String>().unwrap(), "the first");
    assert_eq!(calls.made(), ["top", "top again", "child"]);
    assert_eq!(woken.count(), 1);
    canceller.cancel();
    assert!(top.is_done() && child.is_done());
}

/// C6: the drop of the last canceller is a cancel like another.
#[test]
fn a_panic_goes_on_out_of_the_drop_of_the_last_canceller() {
    let (ctx, canceller) = root();
    let calls = Calls::default();
    drop(ctx.after_func(|| panic!("as the test wants it")));
    drop(ctx.after_func(calls.log("the other")));
    assert!(catch_unwind(AssertUnwindSafe(|| drop(canceller))).is_err());
    assert_eq!(calls.made(), ["the other"]);
    assert!(ctx.is_done());
}

/// C6: a second panic would abort the process.
#[test]
fn while_the_thread_is_panicking_no_panic_goes_on_out_of_cancel() {
    let (ctx, canceller) = root();
    let calls = Calls::default();
    drop(ctx.after_func(|| panic!("of the callback, as the test wants it")));
    drop(ctx.after_func(calls.log("the other")));
    let panic = catch_unwind(AssertUnwindSafe(|| {
        let _goes_while_panicking = canceller;
        resume_unwind(Box::new("the thread's own"));
    }))
    .unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"the thread's own"));
    assert_eq!(calls.made(), ["the other"]);
    assert!(ctx.is_done());
}

#[test]
fn the_panic_of_a_callback_that_runs_at_once_goes_on_out_of_after_func() {
    let (ctx, canceller) = root();
    canceller.cancel();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        drop(ctx.after_func(|| resume_unwind(Box::new(7_u8))));
    }));
    assert_eq!(panicked.unwrap_err().downcast_ref::<u8>(), Some(&7));
}

/// C6: on a timer it is reported and the timer goes on.
#[tokio::test(start_paused = true)]
async fn a_callback_that_panics_on_a_timer_stops_neither_the_others_nor_the_timer() {
    let (ctx, later) =
        (Context::background().with_timeout(10 * MS), Context::background().with_timeout(20 * MS));
    let same_time = Context::background().with_timeout(10 * MS);
    let (child, _keep) = ctx.with_cancel();
    let calls = Calls::default();
    drop(ctx.after_func(|| panic!("on a timer, as the test wants it")));
    for (name, ctx) in [("ctx", &ctx), ("child", &child), ("same time", &same_time), ("later", &later)] {
        drop(ctx.after_func(calls.log(name)));
    }
    tokio::time::sleep(12 * MS).await;
    let mut made = calls.made();
    made.sort();
    assert_eq!(made, ["child", "ctx", "same time"]);
    tokio::time::sleep(12 * MS).await;
    assert_eq!(calls.made().len(), 4);
}

/// C5 and C6: the panics after the first are dropped, and what they carry may panic in turn.
#[tokio::test(start_paused = true)]
async fn a_panic_whose_payload_panics_keeps_no_other_from_running() {
    for by_timer in [false, true] {
        let (top, canceller) = root();
        let top = if by_timer { top.with_timeout(10 * MS) } else { top };
        let (child, _keep) = top.with_cancel();
        let (calls, woken) = (Calls::default(), Tally::new());
        let mut waits = Vec::new();
        for (name, ctx) in [("top", &top), ("child", &child)] {
            drop(ctx.after_func(|| spite()));
            drop(ctx.after_func(|| spite()));
            drop(ctx.after_func(calls.log(name)));
            for _ in 0..3 {
                let ticks = woken.clone();
                let waker = waker_fn(move || {
                    ticks.tick();
                    spite();
                });
                waits.push(Box::pin(ctx.done()));
                assert!(poll_once(waits.last_mut().unwrap().as_mut(), &waker).is_pending());
            }
        }
        if by_timer {
            advance(10 * MS).await;
            settle().await;
        } else {
            let first = catch_unwind(AssertUnwindSafe(|| canceller.cancel())).unwrap_err();
            mem::forget(first);
        }
        assert_eq!(calls.made(), ["top", "child"], "by timer: {by_timer}");
        assert_eq!(woken.count(), 6);
        assert!(top.is_done() && child.is_done());
    }
}

// C5: what a callback may do.

/// C5. Cancels, children, more callbacks, waits: all on the tree that dies.
#[test]
fn a_callback_may_do_anything_to_the_tree_that_dies() {
    let made = without_deadlock("a cancel whose callbacks use the tree", || {
        let (top, canceller) = root();
        let (child, child_canceller) = top.with_cancel();
        let calls = Calls::default();
        for ctx in [&top, &child] {
            let (top, child, canceller, child_canceller, calls) =
                (top.clone(), child.clone(), canceller.clone(), child_canceller.clone(), calls.clone());
            drop(ctx.after_func(move || {
                canceller.cancel_with("again");
                child_canceller.cancel();
                child_canceller.disarm();
                let (late, _keep) = child.with_cancel();
                assert!(late.is_done() && top.merge(&child).is_done() && !top.without_cancel().is_done());
                assert!(poll_once(pin!(top.done()), Waker::noop()).is_ready());
                drop(late.after_func(calls.log("late")));
                drop(top.after_func(calls.log("more")));
                assert!(top.live().is_empty() && !format!("{top:?} {child}").is_empty());
                calls.log("called")();
            }));
        }
        canceller.cancel();
        calls.made()
    });
    assert_eq!(made, ["late", "more", "called", "late", "more", "called"]);
}

/// C5.
#[test]
fn a_callback_may_drop_the_last_handles_of_the_tree() {
    without_deadlock("a cancel whose callback drops the tree", || {
        let (top, canceller) = root();
        let below: Vec<_> = (0..50).map(|_| top.with_cancel()).collect();
        let calls = Calls::default();
        for (n, (ctx, _)) in below.iter().enumerate() {
            drop(ctx.after_func(calls.log(format!("{n}"))));
        }
        let everything = Arc::new(Mutex::new(Some((top.clone(), below))));
        let takes = Arc::clone(&everything);
        drop(top.after_func(move || drop(takes.lock().unwrap().take())));
        drop(top);
        // The canceller itself goes too, while it cancels.
        drop(canceller);
        assert!(everything.lock().unwrap().is_none());
        assert_eq!(calls.made().len(), 50);
    });
}

/// C5. A lock that the canceller's thread does not hold, another thread may: the tree is free meanwhile.
#[test]
fn while_a_callback_waits_for_a_lock_every_other_thread_may_use_the_tree() {
    without_deadlock("the users of a tree whose callback waits", || {
        let (top, canceller) = root();
        let (child, child_canceller) = top.with_cancel();
        let gate = Arc::new(Mutex::new(()));
        let held = gate.lock().unwrap();
        let (entered, is_inside) = mpsc::channel();
        let waits = Arc::clone(&gate);
        drop(top.after_func(move || {
            entered.send(()).unwrap();
            drop(waits.lock().unwrap());
        }));
        let calls = Calls::default();
        let handle = child.after_func(calls.log("child"));
        thread::scope(|scope| {
            let cancels = scope.spawn(|| canceller.cancel());
            receive("the callback to be called", &is_inside);
            assert!(top.is_done() && child.is_done() && child.cause().is_some());
            assert!(top.with_cancel().0.is_done());
            drop(top.after_func(calls.log("at once")));
            assert!(poll_once(pin!(child.done()), Waker::noop()).is_ready());
            canceller.cancel();
            child_canceller.cancel();
            drop(child.merge(&top));
            assert!(handle.stop(), "not called yet, and so it is not going to be");
            drop(held);
            cancels.join().unwrap();
        });
        assert_eq!(calls.made(), ["at once"]);
    });
}

/// C5. A callback that ends another tree, whose callback ends the next: as deep as the stack bears, and in order.
#[test]
fn callbacks_may_cancel_other_trees_whose_callbacks_do_the_same() {
    let made = without_deadlock("a row of trees", || {
        let calls = Calls::default();
        let (first, canceller) = root();
        let mut at = first;
        for n in 0..100 {
            let (next, next_canceller) = root();
            let log = calls.log(format!("{n}"));
            drop(at.after_func(move || {
                log();
                next_canceller.cancel();
            }));
            at = next;
        }
        canceller.cancel();
        assert!(at.is_done());
        calls.made()
    });
    assert_eq!(made, (0..100).map(|n| n.to_string()).collect::<Vec<_>>());
}

/// C5. Registered, stopped and cancelled from several threads at once; each runs once or was stopped.
#[test]
fn callbacks_that_are_registered_while_a_cancel_runs_run_once() {
    for _ in 0..100 {
        let (top, canceller) = root();
        let (ctx, _keep) = top.with_cancel();
        let called = Tally::new();
        let start = Barrier::new(3);
        let (registered, stopped) = thread::scope(|scope| {
            let makers: Vec<_> = [(), ()]
                .map(|()| {
                    scope.spawn(|| {
                        start.wait();
                        let (mut registered, mut stopped) = (0, 0);
                        while !ctx.is_done() || registered < 10 {
                            let ticks = called.clone();
                            let handle = ctx.after_func(move || ticks.tick());
                            registered += 1;
                            if registered % 3 == 0 && handle.stop() {
                                stopped += 1;
                            }
                        }
                        (registered, stopped)
                    })
                })
                .into();
            start.wait();
            thread::yield_now();
            canceller.cancel();
            let made: Vec<(usize, usize)> = makers.into_iter().map(|maker| maker.join().unwrap()).collect();
            (made[0].0 + made[1].0, made[0].1 + made[1].1)
        });
        wait_until("every callback", || called.count() + stopped == registered);
    }
}

// C8.

/// C8.
#[test]
fn a_parent_of_a_million_short_lived_callbacks_ends_as_it_began() {
    let (parent, _keep) = root();
    gives_back(500_000, || assert!(parent.after_func(|| ()).stop()));
    gives_back(500_000, || {
        let (child, canceller) = parent.with_cancel();
        drop(child.after_func(|| ()));
        canceller.cancel();
    });
}

/// C8: the cycle of a callback and its context ends however it ends.
#[test]
fn callbacks_are_returned_however_their_context_ends() {
    let runtime = paused_runtime();
    let _inside = runtime.enter();
    let (parent, _keep) = root();
    gives_back(10_000, || {
        let text = String::from("something that it holds");
        let (child, canceller) = parent.with_cancel();
        let held = text.clone();
        drop(child.after_func(move || drop(held)));
        let held = text.clone();
        drop(child.with_timeout(3_333 * MS).after_func(move || drop(held)));
        drop(child);
        drop(canceller);
        // Disarmed.
        let (child, canceller) = root();
        let held = text.clone();
        let handle = child.after_func(move || drop(held));
        let below = child.with_cancel();
        below.1.disarm();
        let held = text.clone();
        drop(below.0.after_func(move || drop(held)));
        drop(below);
        drop(child);
        canceller.disarm();
        drop(canceller);
        drop(handle);
        // Where nothing ever ends.
        let held = text.clone();
        drop(parent.without_cancel().after_func(move || drop(held)));
        drop(Context::background().after_func(move || drop(text)));
    });
}

/// C8: the timer's wheel too.
#[test]
fn callbacks_that_a_timer_has_called_are_returned() {
    let runtime = paused_runtime();
    runtime.block_on(async {
        let (parent, _keep) = root();
        let round = || async {
            let called = Tally::new();
            let ticks = called.clone();
            drop(parent.with_timeout(MS).after_func(move || ticks.tick()));
            tokio::time::sleep(2 * MS).await;
            assert_eq!(called.count(), 1);
        };
        for _ in 0..100 {
            round().await;
        }
        let before = held();
        for _ in 0..2_000 {
            round().await;
        }
        assert_eq!(held(), before);
    });
}
