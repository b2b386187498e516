//! Loom's models of a task and its handle: each the shortest story of one race.
//!
//! What tokio's task would poll, a thread of the model's does. Preemptions are bounded, as in the models of the context.

use super::{Running, Task, prepare};
use crate::context::{Canceller, Context};
use crate::generator::End;
use loom::future::block_on;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use std::future::{Future, pending, poll_fn, ready};
use std::panic::Location;
use std::pin::pin;
use std::sync::Arc;
use std::task::{self, Poll, Waker};

const PREEMPTIONS: usize = 3;

fn model(story: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.check(story);
}

fn start<F>(future: F) -> (Context, Canceller, Task<F::Output>, Running<F>)
where
    F: Future,
    F::Output: Send + 'static,
{
    let (ctx, canceller) = Context::background().with_cancel();
    let (task, running) = prepare(ctx.node(), future, Location::caller());
    (ctx, canceller, task, running)
}

/// Counts its drops.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Pending once, and woken at once.
fn one_turn() -> impl Future<Output = ()> + Send {
    let mut is_over = false;
    poll_fn(move |cx| {
        if std::mem::replace(&mut is_over, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
}

#[test]
fn a_task_ends_while_its_handle_is_polled() {
    model(|| {
        let (ctx, _keep, task, running) = start(async {
            one_turn().await;
            7
        });
        let runner = thread::spawn(move || block_on(running));
        assert_eq!(block_on(task).unwrap(), 7);
        assert!(ctx.live().is_empty());
        runner.join().unwrap();
    });
}

#[test]
fn a_task_is_cancelled_while_it_begins_to_wait() {
    model(|| {
        let dropped = Arc::new(AtomicUsize::new(0));
        let guard = Counted(Arc::clone(&dropped));
        let (ctx, canceller, task, running) = start(async move {
            let _guard = guard;
            pending::<()>().await;
        });
        let runner = thread::spawn(move || block_on(running));
        block_on(canceller.cancel_and_wait());
        assert_eq!(dropped.load(Ordering::Relaxed), 1);
        assert!(ctx.live().is_empty());
        // Who finds it ended finds its result.
        let ended = pin!(task).poll(&mut task::Context::from_waker(Waker::noop()));
        assert!(matches!(ended, Poll::Ready(Err(End::Cancelled(_)))));
        runner.join().unwrap();
    });
}

#[test]
fn a_task_is_not_polled_after_a_cancel_has_returned() {
    model(|| {
        let is_over = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&is_over);
        let (_ctx, canceller, task, running) = start(poll_fn(move |cx| {
            cx.waker().wake_by_ref();
            // The poll may have begun before, but then it ends by itself.
            if seen.fetch_add(1, Ordering::Relaxed) == 2 { Poll::Ready(()) } else { Poll::Pending }
        }));
        let runner = thread::spawn(move || block_on(running));
        canceller.cancel();
        let before = is_over.load(Ordering::Relaxed);
        let _ = block_on(task);
        assert!(is_over.load(Ordering::Relaxed) <= before + 1);
        runner.join().unwrap();
    });
}

#[test]
fn a_handle_is_dropped_while_its_task_ends() {
    model(|| {
        let dropped = Arc::new(AtomicUsize::new(0));
        let (_ctx, canceller, mut task, running) = start(ready(Counted(Arc::clone(&dropped))));
        let runner = thread::spawn(move || block_on(running));
        let polled = pin!(&mut task).poll(&mut task::Context::from_waker(Waker::noop()));
        drop(task);
        drop(polled);
        block_on(canceller.cancel_and_wait());
        runner.join().unwrap();
        assert_eq!(dropped.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn a_runtime_goes_away_while_its_task_is_cancelled() {
    model(|| {
        let (_ctx, canceller, task, running) = start(pending::<()>());
        let shutdown = thread::spawn(move || drop(running));
        canceller.cancel();
        assert!(matches!(block_on(task), Err(End::Aborted | End::Cancelled(_))));
        shutdown.join().unwrap();
    });
}
