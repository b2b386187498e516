//! `Context::spawn`: a task ends with its context, is counted and listed, and its result reaches whoever waits for it.

#![allow(dead_code, reason = "of the shared modules each file takes what it needs")]

mod by_hand;
mod patience;
mod witness;

use by_hand::{Wakes, poll_once, waker_fn, waker_that_clones, waker_that_drops};
use ctx_runtime::leak::{self, Entry, Kind};
use ctx_runtime::{Canceller, Cause, Context, ContextError, End, Generator, Task};
use futures_util::FutureExt;
use patience::{receive, settle, until, wait_until, within};
use std::cell::{Cell, RefCell};
use std::fmt::Debug;
use std::future::{Future, pending, poll_fn, ready};
use std::panic::{AssertUnwindSafe, Location, UnwindSafe, catch_unwind, panic_any, resume_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::Poll;
use std::thread;
use std::time::Duration;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::{Notify, oneshot};
use witness::{Tally, on_drop, spite};

fn current_thread() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn multi_thread() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

const RUNTIMES: [fn() -> Runtime; 2] = [current_thread, multi_thread];

/// The ways in which a runtime goes away.
const SHUTDOWNS: [fn(Runtime); 3] = [drop::<Runtime>, Runtime::shutdown_background, |runtime| {
    runtime.shutdown_timeout(Duration::from_secs(50));
}];

fn root() -> (Context, Canceller) {
    Context::background().with_cancel()
}

fn alive_tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

/// A task that waits for ever, and ticks off its end.
fn silent(ctx: &Context, dropped: &Tally) -> Task<()> {
    let guard = dropped.on_drop();
    ctx.spawn(async move {
        let _guard = guard;
        pending::<()>().await;
    })
}

/// The cause of a task that was cancelled.
#[track_caller]
fn cancelled<T: Debug>(result: Result<T, End>) -> Cause {
    match result {
        Err(End::Cancelled(cause)) => cause,
        other => panic!("it was to be cancelled: {other:?}"),
    }
}

/// What a task panicked with.
#[track_caller]
fn panicked<T: Debug>(result: Result<T, End>) -> String {
    match result {
        Err(End::Panicked(panic)) => panic.message().to_owned(),
        other => panic!("it was to panic: {other:?}"),
    }
}

// The result.

#[test]
fn the_output_reaches_whoever_waits_and_wherever() {
    for make in RUNTIMES {
        let (runtime, other) = (make(), make());
        let (ctx, _keep) = root();
        let (mut give, mut tasks) = (Vec::new(), Vec::new());
        let entered = runtime.enter();
        for _ in 0..4 {
            let (sender, output) = oneshot::channel::<u8>();
            give.push(sender);
            tasks.push(ctx.spawn(async move { output.await.unwrap() }));
        }
        drop(entered);
        let [in_a_runtime, on_a_thread, mut by_hand, here] = tasks.try_into().unwrap();
        let (heard, waker) = Wakes::new();
        assert!(poll_once(pin!(&mut by_hand), &waker).is_pending());
        let in_a_runtime = thread::spawn(move || other.block_on(within("the output", in_a_runtime)));
        let on_a_thread = thread::spawn(move || futures_executor::block_on(on_a_thread));
        runtime.block_on(async {
            settle().await;
            for (n, sender) in (1..).zip(give) {
                sender.send(n).unwrap();
            }
            assert_eq!(within("the output", here).await.unwrap(), 4);
            until("all to end", || ctx.live().is_empty()).await;
        });
        wait_until("the wake", || heard.count() == 1);
        assert!(matches!(poll_once(pin!(&mut by_hand), &waker), Poll::Ready(Ok(3))));
        assert_eq!(on_a_thread.join().unwrap().unwrap(), 2);
        assert_eq!(in_a_runtime.join().unwrap().unwrap(), 1);
    }
}

/// It runs though nobody waits for it, and keeps its output until somebody does.
#[tokio::test]
async fn an_output_waits_until_it_is_taken() {
    let dropped = Tally::new();
    let guard = dropped.on_drop();
    let mut task = Context::background().spawn(ready(guard));
    settle().await;
    // A `select!` that looks elsewhere takes nothing.
    tokio::select! {
        biased;
        () = async {} => {}
        _ = &mut task => unreachable!(),
    }
    assert_eq!(dropped.count(), 0);
    let output = task.now_or_never().expect("it has ended").unwrap();
    assert_eq!(dropped.count(), 0);
    drop(output);
    assert_eq!(dropped.count(), 1);
}

#[tokio::test]
async fn a_task_that_is_polled_after_it_was_ready_panics_and_says_so() {
    let mut task = Context::background().spawn(async {});
    (&mut task).await.unwrap();
    let payload = catch_unwind(AssertUnwindSafe(|| poll_once(pin!(&mut task), &Wakes::new().1))).unwrap_err();
    assert_eq!(payload.downcast_ref::<String>().unwrap(), "a `Task` was polled after it was ready");
    assert_eq!(format!("{task:?}"), "Task { alive: false }");
}

#[tokio::test]
async fn a_handle_shows_where_its_task_was_spawned() {
    let (ctx, canceller) = root();
    let line = Location::caller().line() + 1;
    let task = ctx.spawn(pending::<()>());
    let shown = format!("{task:?}");
    assert!(shown.contains(&format!("context_spawn.rs:{line}:")) && shown.contains("alive: true"), "{shown}");
    canceller.cancel_and_wait().await;
    assert!(format!("{task:?}").contains("alive: false"));
}

#[test]
fn a_task_may_go_anywhere() {
    fn anywhere<T: Send + Sync + Unpin + UnwindSafe + 'static>() {}
    anywhere::<Task<Cell<u8>>>();
    anywhere::<Task<Box<dyn Future<Output = ()> + Send>>>();
}

/// A consumer of tasks that are ready gives way to others.
#[tokio::test]
async fn who_takes_one_ready_output_after_another_gives_way() {
    let tasks: Vec<_> = (0..10_000).map(|n| Context::background().spawn(ready(n))).collect();
    settle().await;
    let (turns, has_taken) = (Tally::new(), Arc::new(AtomicBool::new(false)));
    let other = tokio::spawn({
        let (turns, has_taken) = (turns.clone(), Arc::clone(&has_taken));
        async move {
            while !has_taken.load(Ordering::SeqCst) {
                turns.tick();
                tokio::task::yield_now().await;
            }
        }
    });
    let taking = tokio::spawn(async move {
        for (n, task) in tasks.into_iter().enumerate() {
            assert_eq!(task.await.unwrap(), n);
        }
        has_taken.store(true, Ordering::SeqCst);
    });
    taking.await.unwrap();
    other.await.unwrap();
    assert!(turns.count() > 10, "{}", turns.count());
}

// The end.

/// G1 of tasks: a cancel drops the future wherever it waits, once, in its own runtime, and not on the canceller's thread.
#[test]
fn a_cancel_drops_the_future_where_it_waits() {
    for make in RUNTIMES {
        let runtime = make();
        let (ctx, canceller) = root();
        let (dropped, inside) = (Tally::new(), Tally::new());
        let cancelling = Arc::new(Mutex::new(None));
        let guard = || {
            let (dropped, inside, home) = (dropped.clone(), inside.clone(), runtime.handle().id());
            let cancelling = Arc::clone(&cancelling);
            on_drop(move || {
                dropped.tick();
                let elsewhere = *cancelling.lock().unwrap() != Some(thread::current().id());
                if elsewhere && Handle::try_current().is_ok_and(|here| here.id() == home) {
                    inside.tick();
                }
            })
        };
        let (tasks, _never) = runtime.block_on(async {
            let (never, nothing) = oneshot::channel::<()>();
            let guards = [guard(), guard(), guard(), guard()];
            let [at_nothing, at_a_timer, at_a_channel, at_a_task] = guards;
            let inner = silent(&Context::background(), &Tally::new());
            let tasks = [
                ctx.spawn(async move {
                    let _guard = at_nothing;
                    pending::<()>().await;
                }),
                ctx.spawn(async move {
                    let _guard = at_a_timer;
                    tokio::time::sleep(Duration::from_secs(50_000)).await;
                }),
                ctx.spawn(async move {
                    let _guard = at_a_channel;
                    nothing.await.unwrap();
                }),
                ctx.spawn(async move {
                    let _guard = at_a_task;
                    inner.await.unwrap();
                }),
            ];
            settle().await;
            (tasks, never)
        });
        thread::scope(|scope| {
            scope.spawn(|| {
                *cancelling.lock().unwrap() = Some(thread::current().id());
                canceller.cancel_with("enough");
            });
        });
        for task in tasks {
            let cause = cancelled(runtime.block_on(within("the end", task)));
            assert!(cause.to_string().ends_with(": enough"), "{cause}");
        }
        assert_eq!((dropped.count(), inside.count()), (4, 4));
        assert!(ctx.live().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_drops_the_future_on_time() {
    let second = Duration::from_secs(1);
    let (start, dropped) = (tokio::time::Instant::now(), Tally::new());
    let ctx = Context::background().with_timeout(second);
    let task = silent(&ctx, &dropped);
    let cause = cancelled(within("the end", task).await);
    assert_eq!(cause.kind(), ContextError::DeadlineExceeded);
    assert_eq!((start.elapsed(), dropped.count()), (second, 1));
    // Nobody holds the context any more, and nobody the handle.
    drop(silent(&Context::background().with_timeout(second), &dropped));
    tokio::time::sleep(second * 2).await;
    assert_eq!(dropped.count(), 2);
}

/// Nothing of it is left when `spawn` returns.
#[tokio::test(start_paused = true)]
async fn under_a_context_that_is_done_the_future_is_never_polled() {
    let second = Duration::from_secs(1);
    let (cancelled_before, canceller) = root();
    canceller.cancel_with("before");
    let out_of_time = Context::background().with_timeout(second);
    // Nobody has looked.
    tokio::time::advance(second * 2).await;
    for (ctx, kind) in
        [(cancelled_before, ContextError::Cancelled), (out_of_time, ContextError::DeadlineExceeded)]
    {
        let (polled, dropped) = (Tally::new(), Tally::new());
        let guard = dropped.on_drop();
        let ticks = polled.clone();
        let task = ctx.spawn(async move {
            let _guard = guard;
            ticks.tick();
        });
        assert_eq!(dropped.count(), 1);
        assert!(ctx.live().is_empty());
        assert_eq!(cancelled(task.now_or_never().expect("it has ended")).kind(), kind);
        settle().await;
        assert_eq!((polled.count(), dropped.count(), alive_tasks()), (0, 1, 0));
    }
}

/// The context is looked at before every poll, also the first, and one that something has woken before the cancel.
#[test]
fn a_future_is_not_polled_after_a_cancel() {
    let runtime = current_thread();
    runtime.block_on(async {
        for has_begun in [false, true] {
            let (ctx, canceller) = root();
            let (polls, event) = (Tally::new(), Arc::new(Notify::new()));
            let (ticks, awaited) = (polls.clone(), Arc::clone(&event));
            let task = ctx.spawn(async move {
                loop {
                    ticks.tick();
                    awaited.notified().await;
                }
            });
            if has_begun {
                settle().await;
                assert_eq!(polls.count(), 1);
            }
            event.notify_one();
            canceller.cancel();
            event.notify_one();
            cancelled(within("the end", task).await);
            assert_eq!(polls.count(), usize::from(has_begun));
        }
    });
}

/// C10 of tasks: of a poll that was begun the result counts; if that is pending, there is no other.
#[tokio::test]
async fn a_future_that_cancels_its_own_context_ends_with_that_poll() {
    let (ctx, canceller) = root();
    let task = ctx.spawn(async move {
        canceller.cancel();
        7
    });
    assert_eq!(within("the output", task).await.unwrap(), 7);

    let (ctx, canceller) = root();
    let (dropped, goes_on) = (Tally::new(), Tally::new());
    let (guard, ticks) = (dropped.on_drop(), goes_on.clone());
    let task = ctx.spawn(async move {
        let _guard = guard;
        canceller.cancel();
        tokio::task::yield_now().await;
        ticks.tick();
    });
    cancelled(within("the end", task).await);
    assert_eq!((dropped.count(), goes_on.count()), (1, 0));
}

/// In a loop that never waits, too.
#[tokio::test]
async fn a_checkpoint_in_a_task_whose_context_is_done_does_not_come_back() {
    let (ctx, canceller) = root();
    let (other, _keep) = root();
    let came_back = Tally::new();
    let ticks = came_back.clone();
    let task = ctx.spawn(async move {
        canceller.cancel();
        let _ = other.checkpoint().await;
        ticks.tick();
    });
    cancelled(within("the end", task).await);
    assert_eq!(came_back.count(), 0);
}

/// C1: what a cancel wakes sees everything below done, whatever is below.
#[test]
fn a_task_that_a_cancel_ends_sees_all_descendants_done() {
    let runtime = multi_thread();
    for _ in 0..200 {
        let (ctx, canceller) = root();
        let (saw, seen) = mpsc::channel();
        let _inside = runtime.enter();
        let mut kept = Vec::new();
        for _ in 0..20 {
            let below: Vec<_> = (0..20).map(|_| ctx.with_cancel()).collect();
            let descendants: Vec<_> = below.iter().map(|(child, _)| child.with_value(1_u8)).collect();
            let saw = saw.clone();
            let guard = on_drop(move || saw.send(descendants.iter().all(Context::is_done)).unwrap());
            kept.push(below);
            drop(ctx.spawn(async move {
                let _guard = guard;
                pending::<()>().await;
            }));
        }
        canceller.cancel();
        for _ in 0..20 {
            assert!(receive("the destructor", &seen));
        }
    }
}

#[test]
fn cancel_and_wait_waits_for_the_destructors_of_ten_thousand_tasks() {
    const TASKS: usize = 10_000;
    for make in RUNTIMES {
        let runtime = make();
        let (ctx, canceller) = root();
        let (children, dropped): (Vec<_>, _) = ((0..10).map(|_| ctx.with_cancel()).collect(), Tally::new());
        runtime.block_on(async {
            // Some wait, some were never polled, and of half the handle is gone.
            let mut kept = Vec::new();
            for n in 0..TASKS {
                let task = silent(&children[n % 10].0, &dropped);
                if n % 2 == 0 {
                    kept.push(task);
                }
                if n == TASKS / 2 {
                    settle().await;
                }
            }
            assert_eq!((ctx.live().len(), dropped.count()), (TASKS, 0));
            within("all to end", canceller.cancel_and_wait()).await;
            assert_eq!(dropped.count(), TASKS);
            assert!(ctx.live().is_empty());
            for mut task in kept {
                let task = tokio::task::coop::unconstrained(&mut task);
                cancelled(task.now_or_never().expect("it has ended"));
            }
            until("every task to be gone", || alive_tasks() == 0).await;
        });
    }
}

/// It comes back when a destructor has ended, and not before.
#[test]
fn cancel_and_wait_waits_for_a_destructor_that_takes_its_time() {
    let runtime = multi_thread();
    let (ctx, canceller) = root();
    let (begun, is_inside) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let guard = on_drop(move || {
        begun.send(()).unwrap();
        receive("the release", &released);
    });
    let _inside = runtime.enter();
    let mut task = ctx.spawn(async move {
        let _guard = guard;
        pending::<()>().await;
    });
    let mut wait = Box::pin(canceller.cancel_and_wait());
    receive("the destructor to begin", &is_inside);
    let (heard, waker) = Wakes::new();
    assert!(poll_once(wait.as_mut(), &waker).is_pending());
    assert!(poll_once(pin!(&mut task), &waker).is_pending());
    assert_eq!(ctx.live().len(), 1);
    release.send(()).unwrap();
    wait_until("both wakes", || heard.count() == 2);
    assert!(poll_once(wait.as_mut(), &waker).is_ready());
    assert!(poll_once(pin!(&mut task), &waker).is_ready());
    assert!(ctx.live().is_empty());
}

// The handle's drop.

#[tokio::test]
async fn to_drop_the_handle_lets_the_task_go_on_until_its_context_is_done() {
    let (ctx, canceller) = root();
    let (passed, event, dropped) = (Tally::new(), Arc::new(Notify::new()), Tally::new());
    let (ticks, awaited, guard) = (passed.clone(), Arc::clone(&event), dropped.on_drop());
    drop(ctx.spawn(async move {
        let _guard = guard;
        loop {
            ticks.tick();
            awaited.notified().await;
        }
    }));
    for n in 1..10 {
        settle().await;
        assert_eq!((passed.count(), dropped.count(), ctx.live().len()), (n, 0, 1));
        event.notify_one();
    }
    // One that was polled, too.
    let mut polled = silent(&ctx, &dropped);
    let (heard, waker) = Wakes::new();
    assert!(poll_once(pin!(&mut polled), &waker).is_pending());
    drop(polled);
    settle().await;
    assert_eq!((dropped.count(), ctx.live().len()), (0, 2));
    canceller.cancel_and_wait().await;
    assert_eq!((dropped.count(), heard.count(), Arc::strong_count(&heard)), (2, 0, 2));
}

/// An output that nobody takes is dropped by the task, while it still counts as alive; or with the handle.
#[tokio::test]
async fn an_output_that_nobody_takes_is_dropped() {
    let (ctx, _keep) = root();
    let was_alive = Arc::new(AtomicBool::new(false));
    let (seen, below) = (Arc::clone(&was_alive), ctx.clone());
    let output = on_drop(move || seen.store(!below.live().is_empty(), Ordering::SeqCst));
    drop(ctx.spawn(ready(output)));
    until("the task to end", || ctx.live().is_empty()).await;
    assert!(was_alive.load(Ordering::SeqCst));

    let dropped = Tally::new();
    let task = ctx.spawn(ready(dropped.on_drop()));
    until("the task to end", || ctx.live().is_empty()).await;
    assert_eq!(dropped.count(), 0);
    drop(task);
    assert_eq!(dropped.count(), 1);

    // One whose destructor panics harms nobody, either way.
    for is_kept in [false, true] {
        let task = ctx.spawn(ready(on_drop(|| panic!("as the test wants it"))));
        let kept = is_kept.then_some(task);
        until("the task to end", || ctx.live().is_empty()).await;
        drop(kept);
        assert_eq!(alive_tasks(), 0);
    }
}

#[tokio::test]
async fn to_forget_the_handle_keeps_no_future() {
    let (ctx, canceller) = root();
    let dropped = Tally::new();
    std::mem::forget(silent(&ctx, &dropped));
    settle().await;
    canceller.cancel_and_wait().await;
    assert_eq!((dropped.count(), ctx.live().len()), (1, 0));
}

// Panics.

#[tokio::test]
async fn a_panic_is_in_the_result_with_its_payload() {
    let (ctx, _keep) = root();
    let dropped = Tally::new();
    let guard = dropped.on_drop();
    let task = ctx.spawn(async move {
        let _guard = guard;
        tokio::task::yield_now().await;
        panic_any(7_u8)
    });
    let Err(End::Panicked(panic)) = within("the end", task).await else { panic!("it was to panic") };
    assert_eq!(*panic.take_payload().unwrap().downcast::<u8>().unwrap(), 7);
    assert_eq!(dropped.count(), 1);
    assert!(!ctx.is_done(), "a child never affects its parent");
    assert_eq!(panicked(ctx.spawn(async { panic!("number {}", 8) }).await), "number 8");
    // Nobody is left to be told, nobody is harmed.
    drop(ctx.spawn(async { panic!("unheard") }));
    drop(ctx.spawn(async { spite() }));
    until("both to end", || ctx.live().is_empty()).await;
}

/// At the end, at a cancel, on a context that is done, and after a panic of its own; and never twice.
#[tokio::test]
async fn a_panic_of_a_destructor_is_in_the_result() {
    struct Held<F>(F);
    impl<F: Future + Unpin> Future for Held<F> {
        type Output = F::Output;
        fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Self::Output> {
            self.0.poll_unpin(cx)
        }
    }
    /// A future that panics when it is dropped, and not when it is ready.
    fn held<F: Future + Unpin + Send + 'static>(
        future: F,
        dropped: &Tally,
    ) -> impl Future<Output = F::Output> + Send + 'static {
        let ticks = dropped.clone();
        let guard = on_drop(move || {
            ticks.tick();
            panic!("the destructor's")
        });
        let mut held = Held(future);
        poll_fn(move |cx| {
            let _ = &guard;
            held.poll_unpin(cx)
        })
    }
    let (dropped, output) = (Tally::new(), Tally::new());
    let (ctx, canceller) = root();
    let finished = ctx.spawn(held(ready(output.on_drop()), &dropped));
    let Err(End::Panicked(panic)) = within("the end", finished).await else { panic!("its output is lost") };
    assert_eq!((panic.message(), dropped.count(), output.count()), ("the destructor's", 1, 1));
    let own = ctx.spawn(held(Box::pin(async { panic!("its own") }), &dropped));
    assert_eq!(panicked::<()>(within("the end", own).await), "its own");
    assert_eq!(dropped.count(), 2);
    let waiting = ctx.spawn(held(pending::<()>(), &dropped));
    settle().await;
    canceller.cancel_and_wait().await;
    assert_eq!(panicked(within("the end", waiting).await), "the destructor's");
    let late = ctx.spawn(held(pending::<()>(), &dropped));
    assert_eq!(panicked(within("the end", late).await), "the destructor's");
    assert_eq!((dropped.count(), ctx.live().len()), (4, 0));
    until("every task to be gone", || alive_tasks() == 0).await;
}

// The runtime.

/// G11: wherever its future is, and whoever waits, and where.
#[test]
fn a_shutdown_drops_the_future_and_wakes_who_waits() {
    for make in RUNTIMES {
        for shut_down in SHUTDOWNS {
            for has_begun in [false, true] {
                let runtime = make();
                let (ctx, _keep) = root();
                let (dropped, inside) = (Tally::new(), Tally::new());
                let (ticks, home) = (inside.clone(), runtime.handle().id());
                let both = (
                    dropped.on_drop(),
                    on_drop(move || {
                        if Handle::try_current().is_ok_and(|here| here.id() == home) {
                            ticks.tick();
                        }
                    }),
                );
                let entered = runtime.enter();
                let mut task = ctx.spawn(async move {
                    let _both = both;
                    pending::<()>().await;
                });
                let mut elsewhere = silent(&ctx, &dropped);
                drop(entered);
                if has_begun {
                    runtime.block_on(settle());
                }
                let (heard, waker) = Wakes::new();
                assert!(poll_once(pin!(&mut task), &waker).is_pending());
                let (waits, is_waiting) = mpsc::channel();
                let other = thread::spawn(move || {
                    assert!(poll_once(pin!(&mut elsewhere), &Wakes::new().1).is_pending());
                    waits.send(()).unwrap();
                    current_thread().block_on(within("the end", elsewhere))
                });
                receive("the other to wait", &is_waiting);
                shut_down(runtime);
                wait_until("the wake", || heard.count() == 1);
                let ended = poll_once(pin!(&mut task), &waker);
                assert!(matches!(ended, Poll::Ready(Err(End::Aborted))), "{ended:?}");
                assert!(matches!(other.join().unwrap(), Err(End::Aborted)));
                wait_until("the report to be empty", || ctx.live().is_empty());
                assert_eq!((dropped.count(), inside.count()), (2, 1));
                assert!(!ctx.is_done());
            }
        }
    }
}

/// What was cancelled before its runtime went, and not looked at since, was cancelled.
#[test]
fn a_shutdown_after_a_cancel_tells_of_the_cancel() {
    let runtime = current_thread();
    let (ctx, canceller) = root();
    let dropped = Tally::new();
    let entered = runtime.enter();
    let task = silent(&ctx, &dropped);
    drop(entered);
    canceller.cancel();
    assert_eq!(dropped.count(), 0);
    drop(runtime);
    assert_eq!(dropped.count(), 1);
    cancelled(task.now_or_never().expect("it has ended"));
}

#[test]
fn a_task_that_is_spawned_on_a_runtime_that_is_gone_ends() {
    for make in RUNTIMES {
        let runtime = make();
        let handle = runtime.handle().clone();
        drop(runtime);
        let _inside = handle.enter();
        let dropped = Tally::new();
        let (ctx, canceller) = root();
        let task = silent(&ctx, &dropped);
        assert_eq!(dropped.count(), 1);
        assert!(matches!(task.now_or_never(), Some(Err(End::Aborted))));
        assert!(canceller.cancel_and_wait().now_or_never().is_some());
    }
}

/// The watch over generators without a task looks at generators, and at no task: neither of its own runtime nor of another.
#[test]
fn a_shutdown_with_generators_beside_tasks_ends_each_in_its_own_way() {
    for make in RUNTIMES {
        let (runtime, other) = (make(), make());
        let (ctx, canceller) = root();
        let (dropped, others) = (Tally::new(), Tally::new());
        let mut generators = Vec::new();
        for place in [Context::background(), ctx.clone()] {
            runtime.block_on(async {
                let mut generator = Generator::builder().spawn(&place, |_, co| async move {
                    co.yield_(1).await;
                });
                assert_eq!(generator.next().await, Some(1));
                generators.push(generator);
            });
            for (of, dropped) in [(&runtime, &dropped), (&other, &others)] {
                let _inside = of.enter();
                for _ in 0..10 {
                    drop(silent(&place, dropped));
                }
            }
        }
        drop(runtime);
        assert!(generators.iter().all(|generator| matches!(generator.end(), Some(End::Aborted))));
        assert_eq!((dropped.count(), others.count(), ctx.live().len()), (20, 0, 10));
        other.block_on(within("those of the other", canceller.cancel_and_wait()));
        assert_eq!(others.count(), 10);
    }
}

thread_local! {
    static LAST_PANIC: RefCell<Option<(String, u32)>> = const { RefCell::new(None) };
}

/// G12 of tasks; and what it was given is dropped, and nothing is left.
#[test]
fn to_spawn_outside_a_runtime_panics_at_the_callers_line_and_says_what_to_do() {
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let place = info.location().map(|at| (at.file().to_owned(), at.line()));
        let _ = LAST_PANIC.try_with(|last| *last.borrow_mut() = place);
        previous(info);
    }));
    let (ctx, _keep) = root();
    let dropped = Tally::new();
    let guard = dropped.on_drop();
    let line = line!() + 1;
    let caught = catch_unwind(AssertUnwindSafe(|| ctx.spawn(async move { drop(guard) })));
    let payload = caught.expect_err("there is no runtime");
    let message = payload.downcast_ref::<&str>().copied().unwrap_or_default();
    assert!(message.contains("needs a tokio runtime") && message.contains("handle.enter()"), "{message}");
    assert_eq!(LAST_PANIC.take(), Some((file!().to_owned(), line)));
    assert_eq!((dropped.count(), ctx.live().len()), (1, 0));
}

// Destructors and wakers.

/// A destructor may cancel, spawn, wait, drop other handles; where the context is done, what it spawns is gone at once.
#[test]
fn a_destructor_may_do_anything_to_the_tree() {
    for make in RUNTIMES {
        let runtime = make();
        let (ctx, canceller) = root();
        let (above, dropped) = (canceller.clone(), Tally::new());
        let (beside, beside_canceller) = root();
        runtime.block_on(async {
            let other = silent(&ctx, &dropped);
            let (spawning, ticks) = (ctx.clone(), dropped.clone());
            let guard = on_drop(move || {
                above.cancel();
                beside_canceller.cancel();
                drop(silent(&spawning, &ticks));
                drop(spawning.with_cancel());
                assert!(!spawning.live().is_empty());
                drop(Context::background().spawn(async {}));
            });
            let task = ctx.spawn(async move {
                let _all = (guard, other);
                pending::<()>().await;
            });
            settle().await;
            within("all to end", canceller.cancel_and_wait()).await;
            cancelled(within("the end", task).await);
            assert!(beside.is_done());
            assert_eq!((dropped.count(), ctx.live().len()), (2, 0));
            until("every task to be gone", || alive_tasks() == 0).await;
        });
    }
}

/// The handle of a task in the task itself, or of two in each other.
#[tokio::test]
async fn a_task_may_hold_its_own_handle() {
    let (ctx, canceller) = root();
    let dropped = Tally::new();
    let guard = dropped.on_drop();
    let (give, own) = oneshot::channel::<Task<()>>();
    let task = ctx.spawn(async move {
        let _guard = guard;
        let own = own.await.unwrap();
        let _ = own.await;
    });
    assert!(give.send(task).is_ok());
    settle().await;
    assert_eq!(ctx.live().len(), 1);
    canceller.cancel_and_wait().await;
    assert_eq!(dropped.count(), 1);
}

/// A result is kept for the next poll whatever a waker does: when it is woken, cloned, dropped or replaced.
#[tokio::test]
async fn a_waker_that_panics_loses_nothing() {
    let end = |go: &Arc<Notify>| {
        let go = Arc::clone(go);
        async move {
            go.notified().await;
            7
        }
    };
    // Whoever else waits for the end is woken all the same.
    let (ctx, canceller) = root();
    let mut task = silent(&ctx, &Tally::new());
    assert!(poll_once(pin!(&mut task), &waker_fn(|| panic!("a waker's"))).is_pending());
    let mut wait = Box::pin(canceller.cancel_and_wait());
    let (heard, waker) = Wakes::new();
    assert!(poll_once(wait.as_mut(), &waker).is_pending());
    settle().await;
    assert_eq!(heard.count(), 1);
    assert!(poll_once(wait.as_mut(), &waker).is_ready());
    assert!(poll_once(pin!(&mut task), &waker).is_ready());

    let (ctx, go) = (Context::background(), Arc::new(Notify::new()));
    let mut task = ctx.spawn(end(&go));
    let cloned = waker_that_clones(|| panic!("a waker's"));
    assert!(catch_unwind(AssertUnwindSafe(|| poll_once(pin!(&mut task), &cloned))).is_err());
    let is_armed = Arc::new(AtomicBool::new(false));
    let armed = Arc::clone(&is_armed);
    let dropped = waker_that_drops(move || {
        assert!(!armed.swap(false, Ordering::SeqCst), "a waker's");
    });
    assert!(poll_once(pin!(&mut task), &dropped).is_pending());
    // Replaced, by one that is heard.
    is_armed.store(true, Ordering::SeqCst);
    let (heard, waker) = Wakes::new();
    assert!(poll_once(pin!(&mut task), &waker).is_pending());
    settle().await;
    go.notify_one();
    settle().await;
    assert_eq!(heard.count(), 1);
    assert!(matches!(poll_once(pin!(&mut task), &waker), Poll::Ready(Ok(7))));
}

/// The end comes while the waker is cloned, after the first look at the slot: it must not be slept through; and a waker that is not
/// needed any more may panic when it goes.
#[test]
fn an_end_that_comes_between_two_looks_is_seen() {
    let runtime = current_thread();
    let (give, taken) = oneshot::channel::<u8>();
    let entered = runtime.enter();
    let mut task = Context::background().spawn(taken);
    drop(entered);
    let (give, runtime) = (Mutex::new(Some(give)), Mutex::new(runtime));
    let waker = waker_that_clones(move || {
        if let Some(give) = give.lock().unwrap().take() {
            give.send(7).unwrap();
            let _ = catch_unwind(AssertUnwindSafe(|| runtime.lock().unwrap().block_on(settle())));
        }
    });
    assert!(matches!(poll_once(pin!(&mut task), &waker), Poll::Ready(Ok(Ok(7)))));
}

/// Only the last of those who have polled it is woken, and a waker of its own is not cloned anew.
#[tokio::test]
async fn a_wait_wakes_whoever_polled_it_last() {
    let (ctx, canceller) = root();
    let mut task = silent(&ctx, &Tally::new());
    let ((first, waker), (second, other)) = (Wakes::new(), Wakes::new());
    assert!(poll_once(pin!(&mut task), &waker).is_pending());
    assert_eq!(Arc::strong_count(&first), 3);
    assert!(poll_once(pin!(&mut task), &waker).is_pending());
    assert_eq!(Arc::strong_count(&first), 3);
    assert!(poll_once(pin!(&mut task), &other).is_pending());
    assert_eq!(Arc::strong_count(&first), 2);
    canceller.cancel_and_wait().await;
    assert_eq!((first.count(), second.count()), (0, 1));
}

/// C5: the handle's lock is free while its waker is dropped, or replaced: meanwhile the task can end.
#[test]
fn a_task_ends_while_the_waker_of_its_handle_is_dropped() {
    let runtime = multi_thread();
    for is_replaced in [false, true] {
        let (ctx, _keep) = root();
        let (give, taken) = oneshot::channel::<u8>();
        let entered = runtime.enter();
        let mut task = ctx.spawn(taken);
        drop(entered);
        let (give, below) = (Mutex::new(Some(give)), ctx.clone());
        let waker = waker_that_drops(move || {
            let give = give.lock().unwrap().take();
            if let Some(give) = give {
                give.send(7).unwrap();
                wait_until("the task to end", || below.live().is_empty());
            }
        });
        assert!(poll_once(pin!(&mut task), &waker).is_pending());
        if is_replaced {
            let _ = poll_once(pin!(&mut task), &Wakes::new().1);
            assert!(matches!(poll_once(pin!(&mut task), &Wakes::new().1), Poll::Ready(Ok(Ok(7)))));
        }
        drop(task);
        assert!(ctx.live().is_empty());
    }
}

/// C5: it is free while the handle is woken, too: who is woken may poll it there and then.
#[tokio::test]
async fn whoever_is_woken_may_poll_the_handle_at_once() {
    let task = Arc::new(Mutex::new(None::<Task<u8>>));
    let (output, held) = (Tally::new(), Arc::clone(&task));
    let taken = output.clone();
    let waker = waker_fn(move || {
        let mut task = held.lock().unwrap();
        let polled = poll_once(pin!(task.as_mut().unwrap()), &Wakes::new().1);
        assert!(matches!(polled, Poll::Ready(Ok(7))));
        taken.tick();
    });
    *task.lock().unwrap() = Some(Context::background().spawn(ready(7)));
    assert!(poll_once(pin!(task.lock().unwrap().as_mut().unwrap()), &waker).is_pending());
    settle().await;
    assert_eq!(output.count(), 1);
}

// What it is within.

/// What a body spawns on its own context ends with it: for whatever reason the body ends.
#[tokio::test]
async fn what_a_body_spawns_does_not_outlive_it() {
    let ways: [fn(Generator<u8>, Canceller) -> bool; 4] = [
        |generator, _| {
            drop(generator);
            true
        },
        |generator, canceller| {
            canceller.cancel();
            drop(generator);
            true
        },
        |generator, _| {
            generator.cancel();
            std::mem::forget(generator);
            true
        },
        // It runs to its end.
        |mut generator, canceller| {
            std::mem::forget(canceller);
            tokio::spawn(async move { while generator.next().await.is_some() {} });
            false
        },
    ];
    for way in ways {
        let (ctx, canceller) = root();
        let dropped = Tally::new();
        let tally = dropped.clone();
        let mut generator = Generator::builder().spawn(&ctx, |ctx, co| async move {
            drop(silent(&ctx, &tally));
            let (kept, inner) = (silent(&ctx, &tally), ctx.clone());
            drop(ctx.spawn(async move { within("one of its own", silent(&inner, &tally)).await }));
            co.yield_(1).await;
            drop(kept);
        });
        assert_eq!(generator.next().await, Some(1));
        settle().await;
        assert_eq!((ctx.live().len(), dropped.count()), (5, 0));
        way(generator, canceller);
        until("all to be gone", || ctx.live().is_empty()).await;
        assert_eq!(dropped.count(), 3);
    }
}

/// From within a task, of the very context or of one above: it would wait for itself.
#[tokio::test]
async fn cancel_and_wait_panics_when_it_is_awaited_within_a_task_that_it_waits_for() {
    let (other, _keep) = root();
    let places: [fn(&Context, &Context) -> Context; 3] = [
        |ctx, _| ctx.clone(),
        |ctx, _| ctx.with_timeout(Duration::from_secs(3_333)).with_value("below"),
        |ctx, other| other.merge(ctx),
    ];
    for place in places {
        let (ctx, canceller) = root();
        let waiter = canceller.clone();
        let task = place(&ctx, &other).spawn(async move { waiter.cancel_and_wait().await });
        let message = panicked(within("the end", task).await);
        assert!(message.contains("would wait for itself") && message.contains("call `cancel`"), "{message}");
        // A body that its consumer polls within such a task is below it, too.
        let (ctx, canceller) = root();
        let below = place(&ctx, &other);
        let consumer = below.clone().spawn(async move {
            let mut generator = Generator::builder().spawn::<u8, _, _>(&below, |_, _| async move {
                canceller.cancel_and_wait().await;
            });
            let _ = generator.next().await;
        });
        let message = panicked(within("the end", consumer).await);
        assert!(message.contains("would wait for itself"), "{message}");
        assert!(ctx.live().is_empty());
    }
}

/// In its destructor there is no waiting for itself either.
#[test]
fn cancel_and_wait_panics_in_the_destructor_of_a_task_that_it_waits_for() {
    let runtime = multi_thread();
    let (ctx, canceller) = root();
    let guard = on_drop({
        let canceller = canceller.clone();
        move || futures_executor::block_on(canceller.cancel_and_wait())
    });
    let _inside = runtime.enter();
    let task = ctx.spawn(async move {
        let _guard = guard;
        pending::<()>().await;
    });
    canceller.cancel();
    let message = panicked(futures_executor::block_on(task));
    assert!(message.contains("would wait for itself"), "{message}");
}

#[tokio::test]
async fn cancel_and_wait_within_a_task_waits_for_others_that_it_is_not_below() {
    let ((mine, _keep), (others, canceller)) = (root(), root());
    let dropped = Tally::new();
    let other = silent(&others, &dropped);
    let waited = mine.spawn(async move { canceller.cancel_and_wait().await });
    within("the wait", waited).await.unwrap();
    assert_eq!(dropped.count(), 1);
    cancelled(other.await);
    // And after it has left, the thread is within nothing any more.
    let (ctx, canceller) = root();
    mine.spawn(async {}).await.unwrap();
    let panics = mine.spawn(async { panic!("as the test wants it") });
    panicked::<()>(panics.await);
    // Nothing asks for the handle.
    ctx.spawn(pending::<()>());
    within("the wait", canceller.cancel_and_wait()).await;
}

/// A yield belongs into its body: not into a task that the body has spawned, also where that is polled on the same thread and
/// within the body's own poll.
#[test]
fn a_yield_within_a_task_that_the_body_has_spawned_panics() {
    let runtime = multi_thread();
    let message = runtime.block_on(async {
        let mut generator =
            Generator::builder().buffer(1).spawn(&Context::background(), |ctx, co| async move {
                let co = Arc::new(co);
                let (other, inner) = (Arc::clone(&co), current_thread());
                let in_a_task = ctx.spawn(async move { co.yield_(String::new()).await });
                let first = panicked(within("the end", in_a_task).await);
                let on_this_thread = tokio::task::block_in_place(|| {
                    let task = {
                        let _inside = inner.enter();
                        let other = Arc::clone(&other);
                        ctx.spawn(async move { other.yield_(String::new()).await })
                    };
                    let second = inner.block_on(within("the end", task));
                    inner.shutdown_background();
                    second
                });
                let second = panicked(on_this_thread);
                assert_eq!(first, second);
                // And the body itself may go on.
                other.yield_(first).await;
            });
        within("the message", generator.next()).await
    });
    let message = message.expect("the body goes on");
    assert!(message.contains("only from within its own body"), "{message}");
}

// The report.

#[tokio::test]
async fn a_task_is_listed_by_the_line_that_spawned_it_until_its_future_is_gone() {
    let (ctx, _keep) = root();
    let (child, canceller) = ctx.with_cancel();
    let line = Location::caller().line() + 1;
    let (first, go) = (child.spawn(pending::<()>()), Arc::new(Notify::new()));
    let clock = Generator::builder().name("clock").spawn::<u8, _, _>(&ctx, |_, _| pending());
    let awaited = Arc::clone(&go);
    let finishes = ctx.spawn(async move { awaited.notified().await });
    let report = ctx.live();
    let listed: Vec<_> = report.iter().map(|entry| (entry.kind(), entry.name())).collect();
    assert_eq!(listed, [(Kind::Task, "task"), (Kind::Generator, "clock"), (Kind::Task, "task")]);
    let lines: Vec<_> = report.iter().map(|entry| entry.started().line() - line).collect();
    assert_eq!(lines, [0, 1, 3]);
    let text = report.to_string();
    let file = file!();
    assert!(text.starts_with("3 alive\n  task spawned at "), "{text}");
    assert!(text.contains(&format!("task spawned at {file}:{line}:")), "{text}");
    assert!(text.contains(&format!("clock started at {file}:{}:", line + 1)), "{text}");
    let is_here = |entry: &&Entry| entry.started().file() == file && entry.started().line() == line;
    assert_eq!(leak::live().iter().filter(is_here).count(), 1);
    // One that was never polled is alive; one whose handle is ready is not.
    go.notify_one();
    within("the end", finishes).await.unwrap();
    assert_eq!(ctx.live().len(), 2);
    canceller.cancel();
    cancelled(within("the end", first).await);
    assert_eq!(ctx.live().iter().map(Entry::name).collect::<Vec<_>>(), ["clock"]);
    drop(clock);
    // Below the background, each is a root of its own.
    let alone = Context::background().spawn(pending::<()>());
    let line = Location::caller().line() - 1;
    let is_alone = |entry: &&Entry| entry.started().file() == file && entry.started().line() == line;
    assert_eq!(leak::live().iter().filter(is_alone).count(), 1);
    assert_eq!(ctx.live().len(), 0);
    drop(alone);
}

/// From many threads at once, while tasks come and go: who finds one ready finds it gone from the report.
#[test]
fn a_task_that_is_ready_is_in_no_report() {
    let runtime = multi_thread();
    let _inside = runtime.enter();
    for _ in 0..2_000 {
        let (ctx, canceller) = root();
        let mut task = ctx.spawn(async { tokio::task::yield_now().await });
        let waker = Wakes::new().1;
        wait_until("the output", || poll_once(pin!(&mut task), &waker).is_ready());
        assert!(ctx.live().is_empty());
        // And who finds it gone finds it ready.
        let mut task = ctx.spawn(async { tokio::task::yield_now().await });
        wait_until("the end", || ctx.live().is_empty());
        assert!(poll_once(pin!(&mut task), &waker).is_ready());
        drop(canceller);
    }
}

/// A payload may be raised again where the task is waited for.
#[tokio::test]
async fn an_end_is_an_error_that_can_be_handed_on() {
    async fn waits(task: Task<u8>) -> Result<u8, Box<dyn std::error::Error + Send + Sync>> {
        Ok(task.await?)
    }
    let (ctx, canceller) = root();
    let task = ctx.spawn(pending());
    canceller.cancel();
    let error = waits(task).await.unwrap_err();
    assert!(error.to_string().starts_with("cancelled: context cancelled at "), "{error}");
    assert!(matches!(error.downcast_ref::<End>(), Some(End::Cancelled(_))));
    let Err(End::Panicked(panic)) = Context::background().spawn(async { panic_any(9_u8) }).await else {
        panic!("it was to panic")
    };
    let raised = catch_unwind(|| resume_unwind(panic.take_payload().unwrap())).unwrap_err();
    assert_eq!(raised.downcast_ref::<u8>(), Some(&9));
}
