//! Loom's models of the tree: each the shortest story of one race.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p ctx-runtime --lib --release models`. Preemptions are bounded to
//! [`PREEMPTIONS`] for each execution, which loom's authors have found to be enough for almost all real mistakes.

use super::cause::{Cause, Reason};
use super::deadline::Deadline;
use super::tree::{Kind, NodeRef, Own};
use super::{Canceller, Context, ContextError};
use loom::future::block_on;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const PREEMPTIONS: usize = 5;

fn model(story: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.check(story);
}

fn root() -> (Context, Canceller) {
    Context::background().with_cancel()
}

#[test]
fn a_child_made_while_its_parent_is_cancelled_is_done() {
    model(|| {
        let (parent, canceller) = root();
        let cancel = thread::spawn(move || canceller.cancel());
        let (child, _keep) = parent.with_cancel();
        cancel.join().unwrap();
        assert!(child.is_done());
    });
}

#[test]
fn two_overlapping_cancels_both_return_with_everything_marked() {
    model(|| {
        let (top, canceller) = root();
        let (middle, middle_canceller) = top.with_cancel();
        let (leaf, _keep) = middle.with_cancel();
        let seen = leaf.clone();
        let below = thread::spawn(move || {
            middle_canceller.cancel();
            assert!(seen.is_done());
        });
        canceller.cancel();
        assert!(middle.is_done() && leaf.is_done());
        below.join().unwrap();
    });
}

#[test]
fn the_same_context_cancelled_twice_has_one_cause() {
    model(|| {
        let (ctx, canceller) = root();
        let (child, _keep) = ctx.with_cancel();
        let (other, seen) = (canceller.clone(), child.clone());
        let second = thread::spawn(move || {
            other.cancel_with("second");
            seen.cause().unwrap().to_string()
        });
        canceller.cancel_with("first");
        let first = child.cause().unwrap().to_string();
        assert_eq!(first, second.join().unwrap());
        assert_eq!(first, ctx.cause().unwrap().to_string());
    });
}

#[test]
fn a_handle_is_dropped_while_its_parent_is_cancelled() {
    model(|| {
        let (parent, canceller) = root();
        let (child, keep) = parent.with_cancel();
        let (grandchild, keep_too) = child.with_cancel();
        drop((child, keep_too, keep));
        let cancel = thread::spawn(move || canceller.cancel());
        drop(grandchild);
        drop(parent);
        cancel.join().unwrap();
    });
}

#[test]
fn stop_is_true_exactly_when_the_callback_does_not_run() {
    model(|| {
        let (ctx, canceller) = root();
        let runs = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&runs);
        let callback = ctx.after_func(move || {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        let cancel = thread::spawn(move || canceller.cancel());
        let stopped = callback.stop();
        cancel.join().unwrap();
        assert_eq!(runs.load(Ordering::SeqCst), usize::from(!stopped));
    });
}

#[test]
fn a_callback_registered_while_a_cancel_runs_is_run_once() {
    model(|| {
        let (ctx, canceller) = root();
        let runs = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&runs);
        let cancel = thread::spawn(move || canceller.cancel());
        ctx.after_func(move || {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        cancel.join().unwrap();
        assert_eq!(runs.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_callback_is_let_go_when_parent_and_child_are_disarmed_at_once() {
    model(|| {
        let (parent, parent_canceller) = root();
        let (child, child_canceller) = parent.with_cancel();
        parent_canceller.disarm();
        child_canceller.disarm();
        let held = Arc::new(());
        let holds = Arc::clone(&held);
        child.after_func(move || drop(holds));
        let other = thread::spawn(move || drop(parent_canceller));
        drop(child_canceller);
        other.join().unwrap();
        assert_eq!(Arc::strong_count(&held), 1);
    });
}

#[test]
fn a_merged_context_is_made_and_dropped_while_both_parents_are_cancelled() {
    model(|| {
        let ((one, one_canceller), (other, other_canceller)) = (root(), root());
        let merged = one.merge(&other);
        let first = thread::spawn(move || one_canceller.cancel());
        let second = thread::spawn(move || other_canceller.cancel());
        let _ = merged.is_done();
        drop(merged);
        first.join().unwrap();
        second.join().unwrap();
    });
}

#[test]
fn a_context_merged_while_a_parent_is_cancelled_is_done() {
    model(|| {
        let ((one, _keep), (other, canceller)) = (root(), root());
        let cancel = thread::spawn(move || canceller.cancel());
        let merged = one.merge(&other);
        let (child, _keep_child) = merged.with_cancel();
        cancel.join().unwrap();
        assert!(merged.is_done() && child.is_done());
    });
}

#[test]
fn a_callback_of_a_merged_context_runs_once_though_both_parents_are_cancelled() {
    model(|| {
        let ((one, one_canceller), (other, other_canceller)) = (root(), root());
        let merged = one.merge(&other);
        let runs = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&runs);
        let cancel = thread::spawn(move || one_canceller.cancel());
        merged.after_func(move || {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        drop(merged);
        other_canceller.cancel();
        cancel.join().unwrap();
        assert_eq!(runs.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_merged_context_reached_in_two_ways_is_marked_when_either_cancel_returns() {
    model(|| {
        let (top, canceller) = root();
        let (side, side_canceller) = top.with_cancel();
        let merged = top.merge(&side);
        let (leaf, _keep) = merged.with_cancel();
        let seen = leaf.clone();
        let cancel = thread::spawn(move || {
            side_canceller.cancel();
            assert!(seen.is_done());
        });
        canceller.cancel();
        assert!(merged.is_done() && leaf.is_done());
        cancel.join().unwrap();
    });
}

#[test]
fn a_waiter_that_registers_while_a_cancel_runs_is_woken() {
    model(|| {
        let (parent, canceller) = root();
        let (child, _keep) = parent.with_cancel();
        let cancel = thread::spawn(move || canceller.cancel());
        block_on(child.done());
        assert!(child.is_done());
        cancel.join().unwrap();
    });
}

#[test]
fn a_wait_is_dropped_while_a_cancel_wakes_it() {
    model(|| {
        let (ctx, canceller) = root();
        let mut done = Box::pin(ctx.done());
        let noop = std::task::Waker::noop();
        assert!(done.as_mut().poll(&mut std::task::Context::from_waker(noop)).is_pending());
        let cancel = thread::spawn(move || canceller.cancel());
        drop(done);
        cancel.join().unwrap();
    });
}

#[test]
fn the_last_two_cancellers_are_dropped_at_once() {
    model(|| {
        let (ctx, canceller) = root();
        let other = canceller.clone();
        let second = thread::spawn(move || drop(other));
        drop(canceller);
        second.join().unwrap();
        assert!(ctx.is_done());
    });
}

#[test]
fn a_reader_publishes_a_passed_deadline_while_a_cancel_runs() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let handle = runtime.handle().clone();
    model(move || {
        let _inside = handle.enter();
        let (parent, canceller) = root();
        let made = Location::caller();
        let passed = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
        let deadline = Deadline::new(passed, Cause::plain(Reason::DeadlineExceeded, made), handle.clone());
        let own = Own::Deadline(deadline);
        let child = parent.on(NodeRef::new(Kind::Deadline, parent.node.as_ref(), own, made));
        let (grandchild, _keep) = child.with_cancel();
        let reader = {
            let child = child.clone();
            thread::spawn(move || assert_eq!(child.err(), Some(ContextError::DeadlineExceeded)))
        };
        canceller.cancel();
        reader.join().unwrap();
        assert_eq!(parent.err(), Some(ContextError::Cancelled));
        assert_eq!(grandchild.err(), Some(ContextError::DeadlineExceeded));
    });
}
