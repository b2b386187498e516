//! C1, C2, C3 and C5: what a cancel promises to those who see it, overlap it, come late to it, or run inside it.

#![allow(dead_code, reason = "of the shared modules each file takes what it needs")]

mod by_hand;
mod patience;
mod witness;

use by_hand::{Wakes, poll_once, waker_fn, waker_that_clones};
use ctx_runtime::{Abandoned, Canceller, Cause, Context, ContextError};
use patience::{PATIENCE, receive, settle, wait_until, within};
use std::error::Error;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, OnceLock, mpsc};
use std::task::Waker;
use std::thread;
use witness::{OnDrop, Tally, on_drop};

/// A full tree of this many levels below `top`, three children to a node, with everything that keeps it alive.
fn grow(top: &Context, levels: usize) -> Vec<(Context, Canceller)> {
    let mut grown: Vec<(Context, Canceller)> = Vec::new();
    let mut parents = vec![top.clone()];
    for _ in 0..levels {
        let children: Vec<_> =
            parents.iter().flat_map(|parent| [(); 3].map(|()| parent.with_cancel())).collect();
        parents = children.iter().map(|(ctx, _)| ctx.clone()).collect();
        grown.extend(children);
    }
    grown
}

// C1: the whole subtree, before `cancel` returns, and before anything is woken.

/// C1.
#[test]
fn a_cancel_has_marked_every_descendant_when_it_returns() {
    let (top, canceller) = Context::background().with_cancel();
    let below = grow(&top, 6);
    assert!(below.iter().all(|(ctx, _)| !ctx.is_done()));

    canceller.cancel();

    assert!(top.is_done());
    assert!(below.iter().all(|(ctx, _)| ctx.err() == Some(ContextError::Cancelled)));
}

/// C1. Fails if a node is woken before its descendants, or its siblings, are marked.
#[test]
fn whoever_a_cancel_wakes_sees_every_descendant_done() {
    let (top, canceller) = Context::background().with_cancel();
    let below = grow(&top, 4);
    let all: Arc<Vec<Context>> =
        Arc::new(below.iter().map(|(ctx, _)| ctx.clone()).chain([top.clone()]).collect());
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
    canceller.cancel();

    assert_eq!(woken.count(), all.len(), "everybody who waited is woken, once");
    assert_eq!(blind.count(), 0, "somebody was woken before the marking was complete");
}

/// C1. A waker that stands still inside the first cancel: the second cancel finds the top done, and neither waits for
/// that waker nor returns before its own subtree is marked.
#[test]
fn a_cancel_does_not_wait_for_the_wakers_of_another() {
    let (top, canceller) = Context::background().with_cancel();
    let (middle, middle_canceller) = top.with_cancel();
    let below = grow(&middle, 3);
    let (entered, is_inside) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);

    let mut wait = Box::pin(top.done());
    let waker = waker_fn(move || {
        entered.send(()).unwrap();
        let _ = released.lock().unwrap().recv_timeout(PATIENCE);
    });
    assert!(poll_once(wait.as_mut(), &waker).is_pending());

    thread::scope(|scope| {
        scope.spawn(|| canceller.cancel());
        receive("the waker to be woken", &is_inside);
        let (done, is_done) = mpsc::channel();
        scope.spawn(move || {
            middle_canceller.cancel();
            done.send(()).unwrap();
        });
        receive("a second cancel, while a waker of the first one runs", &is_done);
        assert!(below.iter().all(|(ctx, _)| ctx.is_done()));
        assert!(top.with_cancel().0.is_done(), "a child of a done context is born done meanwhile");
        release.send(()).unwrap();
    });
}

/// C1. Every cancel that returns can answer for its own subtree, whichever of them did the marking.
#[test]
fn overlapping_cancels_each_return_with_their_subtree_marked() {
    for round in 0..200 {
        let (top, top_canceller) = Context::background().with_cancel();
        let below = grow(&top, 4);
        let (middle, middle_canceller) = &below[round % 12];
        let under_middle = grow(middle, 3);
        let start = Barrier::new(2);
        thread::scope(|scope| {
            scope.spawn(|| {
                start.wait();
                top_canceller.cancel();
                assert!(below.iter().chain(&under_middle).all(|(ctx, _)| ctx.is_done()));
            });
            scope.spawn(|| {
                start.wait();
                middle_canceller.cancel();
                assert!(middle.is_done() && under_middle.iter().all(|(ctx, _)| ctx.is_done()));
            });
        });
    }
}

/// C1. Two cancels of one context: the second finds it done, and returns no sooner than its subtree is. Fails if a subtree
/// counts as marked before it is.
#[test]
fn two_cancels_of_one_context_both_return_with_its_subtree_marked() {
    for _ in 0..100 {
        let (top, canceller) = Context::background().with_cancel();
        let below = grow(&top, 6);
        let start = Barrier::new(2);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    start.wait();
                    canceller.cancel();
                    assert!(below.iter().rev().all(|(ctx, _)| ctx.is_done()));
                });
            }
        });
    }
}

/// C1 and C3. A child that is made while the cancel runs is either marked by it or born done.
#[test]
fn no_child_slips_through_a_running_cancel() {
    for _ in 0..200 {
        let (top, canceller) = Context::background().with_cancel();
        let start = Barrier::new(2);
        let children = thread::scope(|scope| {
            let maker = scope.spawn(|| {
                start.wait();
                let mut children = Vec::new();
                loop {
                    let done = top.is_done();
                    children.push(top.with_cancel());
                    if done {
                        return children;
                    }
                }
            });
            start.wait();
            canceller.cancel();
            maker.join().unwrap()
        });
        assert!(children.iter().all(|(ctx, _)| ctx.is_done()));
    }
}

/// C1 and C3. The same for an only child, each made when the one before has gone: the cancel may find no list to walk down.
/// Fails if the parent's end is not looked at again when the child joins.
#[test]
fn no_only_child_slips_through_a_running_cancel() {
    for _ in 0..3_000 {
        let (top, canceller) = Context::background().with_cancel();
        let start = Barrier::new(2);
        let child = thread::scope(|scope| {
            let maker = scope.spawn(|| {
                start.wait();
                loop {
                    let child = top.with_cancel();
                    if top.is_done() {
                        return child;
                    }
                }
            });
            start.wait();
            canceller.cancel();
            maker.join().unwrap()
        });
        assert!(child.0.is_done());
    }
}

// C2: the first cancel wins, kind and cause in one step.

/// C2.
#[test]
fn the_first_cancel_wins_once_and_for_all() {
    let (ctx, canceller) = Context::background().with_cancel();
    canceller.cancel_with("the first");
    canceller.cancel_with("the second");
    canceller.cancel();
    drop(canceller);

    let cause = ctx.cause().unwrap();
    assert!(cause.to_string().ends_with(": the first"), "{cause}");
    assert_eq!(ctx.err(), Some(ContextError::Cancelled));
    assert_eq!(cause.kind(), ContextError::Cancelled);
}

/// C2.
#[test]
fn of_cancels_that_race_one_wins_and_everybody_sees_the_same() {
    for _ in 0..200 {
        let (ctx, canceller) = Context::background().with_cancel();
        let (child, _child_canceller) = ctx.with_cancel();
        let start = Barrier::new(4);
        let seen: Vec<String> = thread::scope(|scope| {
            let cancels: Vec<_> = (0..4)
                .map(|n| {
                    let (ctx, child, canceller, start) = (&ctx, &child, canceller.clone(), &start);
                    scope.spawn(move || {
                        start.wait();
                        canceller.cancel_with(format!("number {n}"));
                        [ctx, child].map(|ctx| ctx.cause().unwrap().to_string())
                    })
                })
                .collect();
            cancels.into_iter().flat_map(|cancel| cancel.join().unwrap()).collect()
        });
        assert!(seen.iter().all(|cause| *cause == seen[0]), "{seen:?}");
    }
}

/// C2. Fails if the two are published one after the other, in either order.
#[test]
fn a_context_is_done_exactly_when_it_has_an_error_and_a_cause() {
    for _ in 0..500 {
        let (top, canceller) = Context::background().with_cancel();
        let (ctx, _keep) = top.with_cancel();
        let start = Barrier::new(2);
        thread::scope(|scope| {
            scope.spawn(|| {
                start.wait();
                canceller.cancel_with("gone");
            });
            start.wait();
            loop {
                let before = ctx.is_done();
                let (err, cause) = (ctx.err(), ctx.cause());
                if before {
                    assert_eq!(err, Some(ContextError::Cancelled));
                }
                if err.is_some() {
                    assert!(cause.unwrap().to_string().ends_with(": gone"));
                    assert!(ctx.is_done());
                    break;
                }
            }
        });
    }
}

/// C2, under Origin in the table: the line of the cancel.
#[test]
fn a_cause_names_the_line_that_cancelled() {
    let (ctx, canceller) = Context::background().with_cancel();
    let (child, _keep) = ctx.with_cancel();
    canceller.cancel();
    let line = line!() - 1;
    for ctx in [&ctx, &child] {
        let cause = ctx.cause().unwrap();
        assert_eq!((cause.origin().file(), cause.origin().line()), (file!(), line));
    }

    let (ctx, canceller) = Context::background().with_cancel();
    canceller.cancel_with("client went away");
    let line = line!() - 1;
    let cause = ctx.cause().unwrap();
    assert_eq!(cause.origin().line(), line);
    assert_eq!(cause.to_string(), format!("context cancelled at {}:{line}: client went away", file!()));
}

#[derive(Debug, PartialEq)]
struct Quota {
    left: u32,
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} left", self.left)
    }
}

impl Error for Quota {}

#[test]
fn a_cause_may_be_any_error_and_is_found_again_by_its_type() {
    let (ctx, canceller) = Context::background().with_cancel();
    canceller.cancel_with(Quota { left: 3 });
    let cause = ctx.cause().unwrap();
    assert_eq!(cause.downcast_ref::<Quota>(), Some(&Quota { left: 3 }));
    assert!(cause.downcast_ref::<std::io::Error>().is_none());

    let (ctx, canceller) = Context::background().with_cancel();
    canceller.cancel_with(Box::<dyn Error + Send + Sync>::from("boxed"));
    assert!(ctx.cause().unwrap().to_string().ends_with(": boxed"));
}

#[test]
fn a_cause_that_is_handed_on_keeps_its_first_origin() {
    let (first, canceller) = Context::background().with_cancel();
    canceller.cancel_with(Quota { left: 0 });
    let line = line!() - 1;

    let (second, canceller) = Context::background().with_cancel();
    canceller.cancel_with(first.cause().unwrap());

    let cause: Cause = second.cause().unwrap();
    assert_eq!(cause.origin().line(), line);
    assert_eq!(cause.downcast_ref::<Quota>(), Some(&Quota { left: 0 }));
    assert_eq!(cause.to_string(), first.cause().unwrap().to_string());
}

// Abandoned: the last canceller.

#[test]
fn the_last_canceller_to_go_cancels_and_names_where_the_context_was_made() {
    let (ctx, canceller) = Context::background().with_cancel();
    let line = line!() - 1;
    let clone = canceller.clone();
    drop(canceller);
    assert!(!ctx.is_done(), "a clone is left");
    drop(clone);

    let cause = ctx.cause().unwrap();
    assert!(cause.downcast_ref::<Abandoned>().is_some());
    assert_eq!((cause.origin().file(), cause.origin().line()), (file!(), line));
    assert_eq!(ctx.err(), Some(ContextError::Cancelled));
}

#[test]
fn a_canceller_that_is_not_kept_cancels_at_once() {
    let (ctx, _) = Context::background().with_cancel();
    assert!(ctx.cause().unwrap().downcast_ref::<Abandoned>().is_some());
}

#[test]
fn disarm_gives_the_cancel_at_the_end_up_for_all_clones() {
    let (ctx, canceller) = Context::background().with_cancel();
    let clone = canceller.clone();
    canceller.disarm();
    drop(clone);
    assert!(!ctx.is_done());
}

#[test]
fn a_cancel_still_works_after_another_clone_was_disarmed() {
    let (ctx, canceller) = Context::background().with_cancel();
    canceller.clone().disarm();
    canceller.cancel();
    assert!(ctx.is_done());
}

/// C2: cancellers that go at the same time are as one.
#[test]
fn cancellers_that_go_at_the_same_time_cancel_once() {
    for _ in 0..200 {
        let (ctx, canceller) = Context::background().with_cancel();
        let start = Barrier::new(3);
        thread::scope(|scope| {
            for _ in 0..3 {
                let (canceller, start) = (canceller.clone(), &start);
                scope.spawn(move || {
                    start.wait();
                    drop(canceller);
                });
            }
            drop(canceller);
        });
        assert!(ctx.cause().unwrap().downcast_ref::<Abandoned>().is_some());
    }
}

// C3: born done; a child affects nobody but its own.

/// C3.
#[test]
fn a_child_of_a_done_context_is_born_done_with_the_same_cause() {
    let (parent, canceller) = Context::background().with_cancel();
    canceller.cancel_with(Quota { left: 7 });
    let origin = parent.cause().unwrap().origin();

    let (child, child_canceller) = parent.with_cancel();
    child_canceller.cancel_with("too late");
    let grandchild = child.with_value(1_u8);
    for ctx in [&child, &grandchild, &grandchild.with_cancel().0] {
        let cause = ctx.cause().unwrap();
        assert_eq!(ctx.err(), Some(ContextError::Cancelled));
        assert_eq!(cause.downcast_ref::<Quota>(), Some(&Quota { left: 7 }));
        assert_eq!(cause.origin(), origin);
    }
}

/// C3.
#[test]
fn a_child_never_affects_its_parent_or_its_siblings() {
    let (parent, _keep) = Context::background().with_cancel();
    let (one, one_canceller) = parent.with_cancel();
    let (two, two_canceller) = parent.with_cancel();
    let (three, _keep_three) = parent.with_cancel();
    one_canceller.cancel();
    drop(two_canceller);
    assert!(one.is_done() && two.is_done());
    assert!(!parent.is_done() && !three.is_done());
    assert_eq!(parent.err(), None);
}

#[test]
fn the_background_is_never_done() {
    const BACKGROUND: Context = Context::background();
    const TODO: Context = Context::todo();
    for ctx in [BACKGROUND, TODO] {
        assert!(!ctx.is_done());
        assert_eq!(ctx.err(), None);
        assert!(ctx.cause().is_none() && ctx.deadline().is_none() && ctx.remaining().is_none());
        assert!(poll_once(pin!(ctx.done()), Waker::noop()).is_pending());
    }
}

// C5: wakers and destructors run with no lock held, and one that panics keeps no other from running.

/// C5. A deadlock fails it, by the time limit.
#[test]
fn a_waker_may_do_anything_to_the_tree_that_wakes_it() {
    let (finished, is_finished) = mpsc::channel();
    thread::spawn(move || {
        let (top, canceller) = Context::background().with_cancel();
        let (child, child_canceller) = top.with_cancel();
        let (woken, inner_woken) = (Tally::new(), Tally::new());
        let mut waits: Vec<_> = [&top, &child].map(|ctx| Box::pin(ctx.done())).into();
        for wait in &mut waits {
            let (top, child, canceller, child_canceller) =
                (top.clone(), child.clone(), canceller.clone(), child_canceller.clone());
            let (woken, inner_woken) = (woken.clone(), inner_woken.clone());
            let waker = waker_fn(move || {
                woken.tick();
                canceller.cancel_with("again");
                child_canceller.cancel();
                let (late, late_canceller) = child.with_cancel();
                late_canceller.cancel();
                assert!(late.is_done() && top.with_value(1_u8).is_done());
                let inner_woken = inner_woken.clone();
                let ready = poll_once(pin!(top.done()), &waker_fn(move || inner_woken.tick()));
                assert!(ready.is_ready());
                assert!(format!("{top:?}{child:?}{canceller:?}").len() > 3);
                assert!(top.live().is_empty());
            });
            assert!(poll_once(wait.as_mut(), &waker).is_pending());
        }
        canceller.cancel();
        finished.send((woken.count(), inner_woken.count())).unwrap();
    });
    assert_eq!(receive("a cancel whose wakers use the tree", &is_finished), (2, 0));
}

/// C5. Fails if the panic leaves the loop that wakes.
#[test]
fn a_waker_that_panics_keeps_no_other_from_being_woken() {
    let (top, canceller) = Context::background().with_cancel();
    let below = grow(&top, 2);
    let woken = Tally::new();
    let mut waits: Vec<_> =
        below.iter().map(|(ctx, _)| ctx).chain([&top]).map(|ctx| Box::pin(ctx.done())).collect();
    let count = waits.len();
    for (n, wait) in waits.iter_mut().enumerate() {
        let woken = woken.clone();
        let waker = waker_fn(move || {
            woken.tick();
            assert!(n % 3 != 0, "a waker that panics, as the test wants it");
        });
        assert!(poll_once(wait.as_mut(), &waker).is_pending());
    }

    let _ = catch_unwind(AssertUnwindSafe(|| canceller.cancel()));

    assert_eq!(woken.count(), count);
    assert!(below.iter().all(|(ctx, _)| ctx.is_done()));
    canceller.cancel();
    assert!(top.with_cancel().0.is_done(), "the tree goes on as before");
}

/// C5. The cause of a cancel that comes second is dropped, and its destructor may use the tree.
#[test]
fn a_cause_that_is_not_kept_is_dropped_with_no_lock_held() {
    struct Touching(OnceLock<(Context, Canceller)>, Tally);
    impl fmt::Debug for Touching {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Touching")
        }
    }
    impl fmt::Display for Touching {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("touching")
        }
    }
    impl Error for Touching {}
    impl Drop for Touching {
        fn drop(&mut self) {
            let (ctx, canceller) = self.0.get().unwrap();
            canceller.cancel();
            drop(ctx.with_cancel());
            self.1.tick();
        }
    }

    let (finished, is_finished) = mpsc::channel();
    thread::spawn(move || {
        let dropped = Tally::new();
        let (top, canceller) = Context::background().with_cancel();
        let (ctx, _keep) = top.with_cancel();
        let cause = |ctx: &Context, canceller: &Canceller| {
            Touching(OnceLock::from((ctx.clone(), canceller.clone())), dropped.clone())
        };
        canceller.cancel_with(Quota { left: 1 });
        canceller.cancel_with(cause(&ctx, &canceller));
        assert_eq!(dropped.count(), 1);

        // One that is kept goes with the last of the nodes that share it; here it keeps another tree alive.
        let (other, other_canceller) = Context::background().with_cancel();
        let (child, child_canceller) = other.with_cancel();
        other_canceller.cancel_with(cause(&ctx, &canceller));
        drop((other, other_canceller));
        assert_eq!(dropped.count(), 1);
        drop((child, child_canceller));
        finished.send(dropped.count()).unwrap();
    });
    assert_eq!(receive("causes whose destructors use the tree", &is_finished), 2);
}

/// C5 and C8. The last handle of a chain goes, and with it every link and its cause: also above the one that panics.
#[test]
fn a_cause_whose_destructor_panics_keeps_no_other_from_being_dropped() {
    struct Telling<F: FnMut() + Send + Sync>(OnDrop<F>);
    impl<F: FnMut() + Send + Sync> fmt::Debug for Telling<F> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Telling")
        }
    }
    impl<F: FnMut() + Send + Sync> fmt::Display for Telling<F> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("telling")
        }
    }
    impl<F: FnMut() + Send + Sync> Error for Telling<F> {}

    let dropped = Tally::new();
    let mut at = Context::background();
    let mut cancellers = Vec::new();
    for _ in 0..10 {
        let (child, canceller) = at.with_cancel();
        at = child;
        cancellers.push(canceller);
    }
    for (n, canceller) in cancellers.into_iter().enumerate().rev() {
        let ticks = dropped.clone();
        canceller.cancel_with(Telling(on_drop(move || {
            ticks.tick();
            assert!(n % 3 != 0, "a destructor that panics, as the test wants it");
        })));
    }
    assert_eq!(dropped.count(), 0);
    let _ = catch_unwind(AssertUnwindSafe(|| drop(at)));
    assert_eq!(dropped.count(), 10);
}

/// C5. The waker that a second poll replaces is dropped with no lock held, and so is the one of a wait that is dropped.
#[test]
fn a_waker_is_dropped_with_no_lock_held() {
    let (finished, is_finished) = mpsc::channel();
    thread::spawn(move || {
        let (ctx, canceller) = Context::background().with_cancel();
        let dropped = Tally::new();
        let hostile = || {
            let (ctx, canceller, dropped) = (ctx.clone(), canceller.clone(), dropped.clone());
            let guard = on_drop(move || {
                assert!(!ctx.is_done());
                drop(ctx.with_cancel());
                assert!(poll_once(pin!(ctx.done()), Waker::noop()).is_pending());
                let _ = format!("{canceller:?}");
                dropped.tick();
            });
            waker_fn(move || {
                let _ = &guard;
            })
        };
        let mut wait = Box::pin(ctx.done());
        assert!(poll_once(wait.as_mut(), &hostile()).is_pending());
        assert!(poll_once(wait.as_mut(), &hostile()).is_pending());
        assert_eq!(dropped.count(), 1, "the second waker has taken the first one's place");
        drop(wait);
        finished.send(dropped.count()).unwrap();
    });
    assert_eq!(receive("wakers whose destructors use the tree", &is_finished), 2);
}

/// C5. A waker is cloned with no lock held: a wait that is polled may find its context cancelled in there.
#[test]
fn a_waker_is_cloned_with_no_lock_held() {
    let (finished, is_finished) = mpsc::channel();
    thread::spawn(move || {
        for cancels in [false, true] {
            let (ctx, canceller) = Context::background().with_cancel();
            let cloned = Tally::new();
            let (at, ticks) = (ctx.clone(), cloned.clone());
            let waker = waker_that_clones(move || {
                drop(at.with_cancel());
                assert!(poll_once(pin!(at.done()), Waker::noop()).is_pending());
                if cancels {
                    canceller.cancel();
                    assert!(at.is_done());
                } else {
                    let _ = format!("{canceller:?}");
                }
                ticks.tick();
            });
            let mut wait = Box::pin(ctx.done());
            assert_eq!(poll_once(wait.as_mut(), &waker).is_ready(), cancels);
            assert_eq!(cloned.count(), 1);
        }
        finished.send(()).unwrap();
    });
    receive("wakers that use the tree when they are cloned", &is_finished);
}

/// C5. What a waker drops may be the last of everything: contexts, cancellers, other waits.
#[test]
fn a_waker_may_drop_the_last_handles_of_the_tree() {
    type Waits = Vec<std::pin::Pin<Box<dyn Future<Output = ()> + Send>>>;
    let (finished, is_finished) = mpsc::channel();
    thread::spawn(move || {
        let (top, canceller) = Context::background().with_cancel();
        let below = grow(&top, 3);
        let others: Waits = below.iter().map(|(ctx, _)| Box::pin(ctx.done()) as _).collect();
        let mut wait = Box::pin(top.done());
        let everything = Arc::new(Mutex::new(Some((others, below, top))));
        {
            let mut everything = everything.lock().unwrap();
            let woken = Tally::new();
            for other in &mut everything.as_mut().unwrap().0 {
                let woken = woken.clone();
                assert!(poll_once(other.as_mut(), &waker_fn(move || woken.tick())).is_pending());
            }
        }
        let takes = Arc::clone(&everything);
        let waker = waker_fn(move || drop(takes.lock().unwrap().take()));
        assert!(poll_once(wait.as_mut(), &waker).is_pending());
        canceller.cancel();
        assert!(everything.lock().unwrap().is_none());
        finished.send(()).unwrap();
    });
    receive("a cancel whose waker drops the tree", &is_finished);
}

/// C5. A value's destructor may use the tree that it hung on.
#[test]
fn a_value_is_dropped_with_no_lock_held() {
    let (finished, is_finished) = mpsc::channel();
    thread::spawn(move || {
        struct Value(Context, Canceller, Tally);
        impl Drop for Value {
            fn drop(&mut self) {
                self.1.cancel();
                assert!(self.0.with_cancel().0.is_done());
                self.2.tick();
            }
        }
        let (top, canceller) = Context::background().with_cancel();
        let dropped = Tally::new();
        let with_value = top.with_value(Value(top.clone(), canceller.clone(), dropped.clone()));
        let (child, _keep) = with_value.with_cancel();
        drop(with_value);
        assert_eq!(dropped.count(), 0);
        drop(child);
        finished.send(dropped.count()).unwrap();
    });
    assert_eq!(receive("a value whose destructor uses the tree", &is_finished), 1);
}

// C9: who reads waits for nobody.

/// C9. While a cancel walks down a long list of children and holds that list, its context is read, and read again. Fails if
/// anything that reads takes the lock: then the walk is over by the time that the first read comes back.
#[test]
fn whoever_reads_a_context_does_not_wait_for_the_cancel_that_marks_below_it() {
    const READS: usize = 1_000;
    let (top, canceller) = Context::background().with_value("value").with_cancel();
    for round in 0.. {
        assert!(round < 2_000, "no read came back while a cancel was marking");
        let (ctx, ctx_canceller) = top.with_cancel();
        let below: Vec<_> = (0..20_000).map(|_| ctx.with_cancel()).collect();
        let (last, _) = below.last().unwrap();
        let start = Barrier::new(2);
        let reads = thread::scope(|scope| {
            scope.spawn(|| {
                start.wait();
                ctx_canceller.cancel();
            });
            start.wait();
            while !ctx.is_done() {}
            let mut reads = 0;
            while reads < READS && !last.is_done() {
                assert_eq!(ctx.err(), Some(ContextError::Cancelled));
                assert!(ctx.is_done() && ctx.cause().is_some());
                assert!(ctx.deadline().is_none() && ctx.remaining().is_none());
                assert_eq!(ctx.value(), Some(&"value"));
                reads += 1;
            }
            reads
        });
        if reads == READS {
            break;
        }
    }
    canceller.disarm();
}

// Waiting.

#[test]
fn a_wait_wakes_whoever_polled_it_last() {
    let (ctx, canceller) = Context::background().with_cancel();
    let ((first, first_waker), (second, second_waker)) = (Wakes::new(), Wakes::new());
    let mut wait = pin!(ctx.done());
    assert!(poll_once(wait.as_mut(), &first_waker).is_pending());
    assert!(poll_once(wait.as_mut(), &second_waker).is_pending());
    canceller.cancel();
    assert_eq!((first.count(), second.count()), (0, 1));
    assert!(poll_once(wait.as_mut(), &first_waker).is_ready());
}

#[test]
fn a_wait_that_was_dropped_is_not_woken() {
    let (ctx, canceller) = Context::background().with_cancel();
    let ((kept, kept_waker), (gone, gone_waker)) = (Wakes::new(), Wakes::new());
    let mut before = Box::pin(ctx.done());
    let mut between = Box::pin(ctx.done());
    let mut after = Box::pin(ctx.done());
    assert!(poll_once(before.as_mut(), &kept_waker).is_pending());
    assert!(poll_once(between.as_mut(), &gone_waker).is_pending());
    assert!(poll_once(after.as_mut(), &kept_waker).is_pending());
    drop(between);
    canceller.cancel();
    assert_eq!((kept.count(), gone.count()), (2, 0));
}

#[test]
fn a_wait_outlives_every_handle_that_it_was_made_from() {
    fn is_static<T: Send + 'static>(wait: T) -> T {
        wait
    }
    let (ctx, canceller) = Context::background().with_cancel();
    let (child, _keep) = ctx.with_cancel();
    let (heard, waker) = Wakes::new();
    let mut wait = pin!(is_static(child.done()));
    drop((ctx, child));
    assert!(poll_once(wait.as_mut(), &waker).is_pending());
    canceller.cancel();
    assert_eq!(heard.count(), 1);
    assert!(poll_once(wait.as_mut(), &waker).is_ready());
}

/// The race between a poll that registers and a cancel that wakes: whoever is second sees the other.
#[test]
fn no_wake_is_lost_between_a_poll_and_a_cancel() {
    for _ in 0..500 {
        let (top, canceller) = Context::background().with_cancel();
        let (ctx, _keep) = top.with_cancel();
        let (heard, waker) = Wakes::new();
        let start = Barrier::new(2);
        thread::scope(|scope| {
            scope.spawn(|| {
                start.wait();
                canceller.cancel();
            });
            let mut wait = pin!(ctx.done());
            start.wait();
            if poll_once(wait.as_mut(), &waker).is_pending() {
                wait_until("the wake", || heard.count() == 1);
                assert!(poll_once(wait.as_mut(), &waker).is_ready());
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_that_wait_anywhere_in_the_tree_all_end_with_it() {
    let (top, canceller) = Context::background().with_cancel();
    let below = grow(&top, 5);
    let waits: Vec<_> = below.iter().map(|(ctx, _)| tokio::spawn(ctx.done())).collect();
    settle().await;
    canceller.cancel();
    for wait in waits {
        within("a waiting task", wait).await.unwrap();
    }
}

// `run`: C10, as far as it is needed for the rest.

/// C10.
#[tokio::test]
async fn run_gives_the_output_of_a_future_that_is_first() {
    let (ctx, _keep) = Context::background().with_cancel();
    assert_eq!(ctx.run(async { 7 }).await.unwrap(), 7);
    assert_eq!(Context::background().run(async { 8 }).await.unwrap(), 8);
}

/// C10.
#[tokio::test]
async fn run_never_polls_a_future_under_a_done_context() {
    let (ctx, canceller) = Context::background().with_cancel();
    canceller.cancel_with(Quota { left: 2 });
    let polled = AtomicBool::new(false);
    let result = ctx.run(async { polled.store(true, Ordering::SeqCst) }).await;
    assert_eq!(result.unwrap_err().downcast_ref::<Quota>(), Some(&Quota { left: 2 }));
    assert!(!polled.load(Ordering::SeqCst));
}

/// C10. The context is done and the future ready when it is polled again: the context wins.
#[tokio::test]
async fn run_gives_a_tie_to_the_context() {
    let (ctx, canceller) = Context::background().with_cancel();
    let (send, receive) = tokio::sync::oneshot::channel::<u8>();
    let mut run = pin!(ctx.run(receive));
    let (heard, waker) = Wakes::new();
    assert!(poll_once(run.as_mut(), &waker).is_pending());
    send.send(1).unwrap();
    canceller.cancel();
    assert!(heard.count() >= 1);
    let std::task::Poll::Ready(Err(cause)) = poll_once(run.as_mut(), &waker) else {
        panic!("the future won the tie")
    };
    assert_eq!(cause.kind(), ContextError::Cancelled);
}

/// C10.
#[tokio::test]
async fn run_keeps_what_a_poll_completes_though_it_cancels() {
    let (ctx, canceller) = Context::background().with_cancel();
    let output = ctx
        .run(async {
            canceller.cancel();
            5
        })
        .await;
    assert_eq!(output.unwrap(), 5);
}

/// `run` drops the future where it waits.
#[tokio::test]
async fn run_drops_a_future_that_waits_when_the_context_is_done() {
    async fn run_to_error(ctx: Context, dropped: Tally) -> Result<(), Box<dyn Error + Send + Sync>> {
        let guard = dropped.on_drop();
        ctx.run(async move {
            let _guard = guard;
            std::future::pending::<()>().await;
        })
        .await?;
        Ok(())
    }
    let dropped = Tally::new();
    let (ctx, canceller) = Context::background().with_cancel();
    let run = tokio::spawn(run_to_error(ctx, dropped.clone()));
    settle().await;
    assert_eq!(dropped.count(), 0);
    canceller.cancel();
    let error = within("a run under a cancelled context", run).await.unwrap().unwrap_err();
    assert!(error.to_string().starts_with("context cancelled at "), "{error}");
    assert_eq!(dropped.count(), 1);
}

/// Two threads look at one context as hard as they can while it comes and goes.
#[test]
fn contexts_come_and_go_under_a_cancel_from_many_threads() {
    let rounds = AtomicUsize::new(0);
    for _ in 0..50 {
        let (top, canceller) = Context::background().with_cancel();
        let start = Barrier::new(3);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    start.wait();
                    while !top.is_done() {
                        let (child, child_canceller) = top.with_cancel();
                        let (grandchild, _keep) = child.with_value(7_u32).with_cancel();
                        let mut wait = Box::pin(grandchild.done());
                        let ready = poll_once(wait.as_mut(), Waker::noop()).is_ready();
                        assert!(!ready || top.is_done());
                        drop(child);
                        child_canceller.cancel();
                        assert!(grandchild.is_done());
                        rounds.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            start.wait();
            thread::yield_now();
            canceller.cancel();
        });
    }
}
