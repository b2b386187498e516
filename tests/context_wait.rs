//! The waits: `cancel_and_wait`, `blocking_done`, `done` wherever a `'static` future is asked for, `checkpoint`, and C10 for
//! `run`.

#![allow(dead_code, reason = "of the shared modules each file takes what it needs")]

mod by_hand;
mod patience;
mod witness;

use by_hand::{Wakes, poll_next, poll_once, waker_fn};
use ctx_runtime::{Canceller, Cause, Context, ContextError, End, Generator};
use futures_util::future::{FutureExt as _, join_all, select};
use futures_util::stream::FuturesUnordered;
use patience::{receive, settle, until, within};
use std::future::{pending, poll_fn, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;
use tokio::time::{Instant, advance};
use witness::{Tally, on_drop};

const MS: Duration = Duration::from_millis(1);

fn root() -> (Context, Canceller) {
    Context::background().with_cancel()
}

/// A generator that has begun and waits for ever.
fn silent(ctx: &Context, dropped: &Tally) -> Generator<u8> {
    let guard = dropped.on_drop();
    Generator::builder().buffer(1).spawn(ctx, |_, _| async move {
        let _guard = guard;
        pending::<()>().await;
    })
}

// `cancel_and_wait`.

#[tokio::test]
async fn cancel_and_wait_comes_back_when_every_generator_below_has_ended() {
    let (top, canceller) = root();
    let (child, _keep) = top.with_cancel();
    let dropped = Tally::new();
    let generators =
        [&top, &child, &child.with_value(1_u8), &top.merge(&child)].map(|ctx| silent(ctx, &dropped));
    let never_asked = Generator::builder().spawn::<u8, _, _>(&child, |_, _| pending());
    let beside = silent(&Context::background(), &Tally::new());
    settle().await;
    assert_eq!(top.live().len(), 5);

    within("the end of all below", canceller.cancel_and_wait()).await;

    assert_eq!(dropped.count(), 4, "their destructors have run");
    assert!(generators.iter().all(|generator| matches!(generator.end(), Some(End::Cancelled(_)))));
    assert!(never_asked.end().is_some());
    assert!(beside.end().is_none(), "what is not below goes on");
    assert!(top.live().is_empty());
}

#[tokio::test]
async fn cancel_and_wait_cancels_when_it_is_called_and_only_waits_when_it_is_polled() {
    let (ctx, canceller) = root();
    let dropped = Tally::new();
    let generator = silent(&ctx, &dropped);
    settle().await;
    let line = line!() + 1;
    let wait = canceller.cancel_and_wait();
    assert!(ctx.is_done() && generator.end().is_none());
    assert_eq!(ctx.cause().unwrap().origin().line(), line);
    drop(wait);
    settle().await;
    assert!(generator.end().is_some(), "dropping the wait takes nothing back");
}

#[tokio::test]
async fn cancel_and_wait_with_nothing_below_or_again_is_ready_at_once() {
    let (ctx, canceller) = root();
    assert!(poll_once(pin!(canceller.cancel_and_wait()), Waker::noop()).is_ready());
    assert!(poll_once(pin!(canceller.cancel_and_wait()), Waker::noop()).is_ready());
    assert!(ctx.is_done());
}

#[tokio::test]
async fn cancel_and_wait_outlives_every_handle() {
    let (ctx, canceller) = root();
    let dropped = Tally::new();
    let generator = silent(&ctx, &dropped);
    settle().await;
    let wait = canceller.cancel_and_wait();
    drop((ctx, canceller));
    within("the end of all below", wait).await;
    assert_eq!(dropped.count(), 1);
    drop(generator);
}

/// Two who wait, a body that takes its time to end, and a waiter on another thread.
#[test]
fn cancel_and_wait_waits_for_destructors_from_any_thread() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    let (ctx, canceller) = root();
    let (entered, is_inside) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let body = on_drop(move || {
        entered.send(()).unwrap();
        let _ = released.recv_timeout(patience::PATIENCE);
    });
    let (begun, has_begun) = mpsc::channel();
    let _inside = runtime.enter();
    let generator = Generator::builder().buffer(1).spawn::<u8, _, _>(&ctx, |_, _| async move {
        let _body = body;
        begun.send(()).unwrap();
        pending::<()>().await;
    });
    receive("the body to begin", &has_begun);
    let mut by_hand = Box::pin(canceller.cancel_and_wait());
    let in_a_task = runtime.spawn(canceller.cancel_and_wait());
    receive("the body's destructor to begin", &is_inside);
    let (heard, waker) = Wakes::new();
    assert!(poll_once(by_hand.as_mut(), &waker).is_pending(), "a destructor still runs");
    assert!(!in_a_task.is_finished());
    release.send(()).unwrap();
    patience::wait_until("the wake", || heard.count() > 0);
    assert!(poll_once(by_hand.as_mut(), &waker).is_ready());
    runtime.block_on(within("the other who waits", in_a_task)).unwrap();
    assert!(generator.end().is_some());
}

/// It would wait for itself: of the very context, of one above, and of one that is above through a merge only.
#[tokio::test]
async fn cancel_and_wait_panics_when_it_is_awaited_within_a_generator_that_it_waits_for() {
    let ((other, _other), values) = (root(), 1_u8);
    let places: [fn(&Context, &Context) -> Context; 4] = [
        |ctx, _| ctx.clone(),
        |ctx, _| ctx.with_timeout(Duration::from_secs(3_333)).with_value("below"),
        |ctx, other| other.merge(ctx),
        |ctx, other| other.merge(&ctx.merge(other)).merge(other),
    ];
    for place in places {
        let (ctx, canceller) = root();
        let below = place(&ctx.with_value(values), &other);
        let generator = Generator::builder().buffer(1).spawn::<u8, _, _>(&below, |_, _| async move {
            canceller.cancel_and_wait().await;
        });
        until("the body to end", || generator.end().is_some()).await;
        let End::Panicked(panic) = within("its end", generator.stop()).await else {
            panic!("it was to panic")
        };
        let message = panic.to_string();
        assert!(message.contains("would wait for itself"), "{message}");
        assert!(message.contains("call `cancel` there"), "it says what to do: {message}");
        assert!(ctx.is_done() && ctx.live().is_empty());
    }
}

#[tokio::test]
async fn cancel_and_wait_within_a_generator_waits_for_others_that_it_is_not_below() {
    let ((mine, _keep), (others, canceller)) = (root(), root());
    let dropped = Tally::new();
    let other = silent(&others, &dropped);
    settle().await;
    let mut generator = Generator::builder().spawn(&mine, |_, co| async move {
        canceller.cancel_and_wait().await;
        co.yield_(7).await;
    });
    assert_eq!(within("an item after the wait", generator.next()).await, Some(7));
    assert!(other.end().is_some());
    assert_eq!(dropped.count(), 1);
}

#[tokio::test]
async fn a_task_that_a_body_has_spawned_may_cancel_and_wait_for_that_body() {
    let (ctx, canceller) = root();
    let (send, waited) = tokio::sync::oneshot::channel();
    let generator = Generator::builder().buffer(1).spawn::<u8, _, _>(&ctx, |_, _| async move {
        tokio::spawn(async move {
            canceller.cancel_and_wait().await;
            send.send(()).unwrap();
        });
        pending::<()>().await;
    });
    within("the task's wait", waited).await.unwrap();
    assert!(generator.end().is_some());
}

// `blocking_done`.

#[test]
fn blocking_done_waits_for_a_cancel() {
    let (ctx, canceller) = root();
    let (started, has_started) = mpsc::channel();
    let (done, is_done) = mpsc::channel();
    let below = ctx.with_value(1_u8);
    let waiter = thread::spawn(move || {
        started.send(()).unwrap();
        below.blocking_done();
        done.send(below.is_done()).unwrap();
    });
    receive("the thread to start", &has_started);
    for _ in 0..100 {
        // A stray unpark does not end it.
        waiter.thread().unpark();
        thread::yield_now();
    }
    assert!(is_done.try_recv().is_err());
    canceller.cancel();
    assert!(receive("the end of the wait", &is_done));
    waiter.join().unwrap();
}

#[test]
fn blocking_done_on_a_done_context_comes_back_at_once() {
    let (ctx, canceller) = root();
    canceller.cancel();
    ctx.blocking_done();
}

/// C11: it waits with the time that is left, on this thread's own clock.
#[test]
fn blocking_done_comes_back_when_the_deadline_passes_though_the_runtime_stands_still() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let ctx = runtime.block_on(async { Context::background().with_timeout(20 * MS) });
    let (child, _keep) = ctx.with_cancel();
    let begun = std::time::Instant::now();
    child.blocking_done();
    assert!(begun.elapsed() >= 19 * MS);
    assert_eq!(ctx.err(), Some(ContextError::DeadlineExceeded));
    drop(runtime);
}

/// C11: from a thread inside a runtime that is driven by another.
#[test]
fn blocking_done_works_inside_a_runtime_s_blocking_pool() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
    let err = runtime.block_on(async {
        let ctx = Context::background().with_timeout(5 * MS);
        tokio::task::spawn_blocking(move || {
            ctx.blocking_done();
            ctx.err()
        })
        .await
        .unwrap()
    });
    assert_eq!(err, Some(ContextError::DeadlineExceeded));
}

#[test]
fn many_threads_may_block_on_one_context() {
    let (ctx, canceller) = root();
    thread::scope(|scope| {
        let waiters: Vec<_> = (0..16).map(|_| scope.spawn(|| ctx.blocking_done())).collect();
        canceller.cancel();
        for waiter in waiters {
            waiter.join().unwrap();
        }
    });
}

// `done`, where a `'static` future is asked for.

fn graceful_shutdown<F: Future<Output = ()> + Send + Sync + 'static>(signal: F) -> F {
    signal
}

#[tokio::test]
async fn done_fits_wherever_a_static_future_is_asked_for() {
    let (ctx, canceller) = root();
    let task = tokio::spawn(graceful_shutdown(ctx.with_value(1_u8).done()));
    let boxed: futures_util::future::BoxFuture<'static, ()> = ctx.done().boxed();
    let mut unordered: FuturesUnordered<_> = (0..10).map(|_| ctx.done()).collect();
    drop(ctx);
    settle().await;
    assert!(!task.is_finished());
    canceller.cancel();
    within("a task", task).await.unwrap();
    within("a boxed future", boxed).await;
    for _ in 0..10 {
        within("one of a set", futures_util::StreamExt::next(&mut unordered)).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn done_in_a_select_loses_nothing_when_the_other_branch_wins() {
    let (ctx, canceller) = root();
    let mut rounds = 0;
    let mut stop = pin!(ctx.done());
    let mut ticks = tokio::time::interval(MS);
    loop {
        tokio::select! {
            biased;
            () = &mut stop => break,
            _ = ticks.tick() => {
                // A fresh one loses nothing either.
                tokio::select! {
                    () = ctx.done() => break,
                    () = ready(()) => {}
                }
                rounds += 1;
                if rounds == 5 {
                    canceller.cancel();
                }
            }
        }
    }
    assert_eq!(rounds, 5);
    select(pin!(ctx.done()), pin!(pending::<()>())).await;
    join_all((0..3).map(|_| ctx.done())).await;
}

/// Once it was ready, it stays so; and one that was never polled costs its context nothing.
#[test]
fn done_may_be_polled_again_and_need_not_be_polled_at_all() {
    let (ctx, canceller) = root();
    let (mut wait, unpolled) = (pin!(ctx.done()), ctx.done());
    canceller.cancel();
    drop(unpolled);
    for _ in 0..3 {
        assert!(poll_once(wait.as_mut(), Waker::noop()).is_ready());
    }
}

// C10.

/// C10: before every poll, not only the first.
#[tokio::test]
async fn run_looks_at_the_context_before_every_poll() {
    let (ctx, canceller) = root();
    let polls = AtomicUsize::new(0);
    let mut run = pin!(ctx.run(poll_fn(|_| {
        polls.fetch_add(1, Ordering::SeqCst);
        Poll::<u8>::Pending
    })));
    for expected in 1..=3 {
        assert!(poll_once(run.as_mut(), Waker::noop()).is_pending());
        assert_eq!(polls.load(Ordering::SeqCst), expected);
    }
    canceller.cancel_with("enough");
    let Poll::Ready(Err(cause)) = poll_once(run.as_mut(), Waker::noop()) else { panic!("it was to end") };
    assert!(cause.to_string().ends_with(": enough"));
    assert_eq!(polls.load(Ordering::SeqCst), 3);
}

/// C10: a tie by the clock, which nobody but `run` has looked at.
#[tokio::test(start_paused = true)]
async fn run_gives_a_tie_with_a_deadline_to_the_context() {
    let ctx = Context::background().with_timeout(10 * MS);
    let begun = Instant::now();
    let mut run = pin!(ctx.run(async {
        tokio::time::sleep_until(begun + 10 * MS).await;
        7
    }));
    assert!(poll_once(run.as_mut(), Waker::noop()).is_pending());
    advance(10 * MS).await;
    let Poll::Ready(Err(cause)) = poll_once(run.as_mut(), Waker::noop()) else {
        panic!("the context was to win")
    };
    assert_eq!(cause.kind(), ContextError::DeadlineExceeded);
    assert_eq!(begun.elapsed(), 10 * MS);
}

/// C10: a poll that was begun gives `Ok`, also when the deadline passes while it runs.
#[tokio::test(start_paused = true)]
async fn run_keeps_what_a_poll_completes_while_the_context_ends() {
    let ctx = Context::background().with_timeout(10 * MS);
    let output = ctx
        .run(poll_fn(|cx| {
            let mut moved = pin!(advance(11 * MS));
            let _ = moved.as_mut().poll(cx);
            assert!(ctx.is_done());
            Poll::Ready(3)
        }))
        .await;
    assert_eq!(output.unwrap(), 3);
}

/// C10: ended by its own poll, which stays pending.
#[tokio::test]
async fn run_ends_in_the_poll_in_which_the_future_itself_cancels() {
    let (ctx, canceller) = root();
    let dropped = Tally::new();
    let guard = dropped.on_drop();
    let result: Result<(), Cause> = within(
        "the end of the run",
        ctx.run(async move {
            let _guard = guard;
            canceller.cancel_with("by itself");
            pending::<()>().await;
        }),
    )
    .await;
    assert!(result.unwrap_err().to_string().ends_with(": by itself"));
    assert_eq!(dropped.count(), 1);
}

#[tokio::test]
async fn run_has_dropped_the_future_when_it_returns_the_cause_and_its_destructor_may_use_the_tree() {
    let (ctx, canceller) = root();
    let dropped = Tally::new();
    let (at, ticks) = (ctx.clone(), dropped.clone());
    let guard = on_drop(move || {
        assert!(at.is_done() && at.with_cancel().0.is_done());
        ticks.tick();
    });
    let mut run = pin!(ctx.run(async move {
        let _guard = guard;
        pending::<()>().await;
    }));
    assert!(poll_once(run.as_mut(), Waker::noop()).is_pending());
    canceller.cancel();
    assert!(poll_once(run.as_mut(), Waker::noop()).is_ready());
    assert_eq!(dropped.count(), 1, "though `run` itself is still there");
}

#[tokio::test]
async fn a_run_that_is_dropped_leaves_no_waker_behind() {
    let (ctx, canceller) = root();
    let (heard, waker) = Wakes::new();
    {
        let mut run = pin!(ctx.run(pending::<()>()));
        assert!(poll_once(run.as_mut(), &waker).is_pending());
    }
    drop(waker);
    assert_eq!(Arc::strong_count(&heard), 1);
    canceller.cancel();
    assert_eq!(heard.count(), 0);
}

#[tokio::test]
async fn a_panic_of_the_future_goes_on_out_of_run() {
    let (ctx, _keep) = root();
    let mut run = pin!(ctx.run(async { std::panic::resume_unwind(Box::new(7_u8)) }));
    let panic = catch_unwind(AssertUnwindSafe(|| poll_once(run.as_mut(), Waker::noop()).map_ok(|()| ())));
    assert_eq!(panic.unwrap_err().downcast_ref::<u8>(), Some(&7));
}

/// `run` within `run`: the inner one's context is above, or below.
#[tokio::test]
async fn runs_may_be_nested() {
    let (outer, canceller) = root();
    let (inner, _keep) = outer.with_cancel();
    let mut nested = pin!(outer.run(inner.run(pending::<()>())));
    let (heard, waker) = Wakes::new();
    assert!(poll_once(nested.as_mut(), &waker).is_pending());
    canceller.cancel();
    assert!(heard.count() >= 1);
    assert!(matches!(poll_once(nested.as_mut(), &waker), Poll::Ready(Err(_))));
}

// `checkpoint`.

#[tokio::test(start_paused = true)]
async fn a_checkpoint_tells_whether_to_go_on() {
    let (ctx, canceller) = root();
    assert!(ctx.checkpoint().await.is_ok());
    assert!(Context::background().checkpoint().await.is_ok());
    canceller.cancel_with("stop here");
    assert!(ctx.checkpoint().await.unwrap_err().to_string().ends_with(": stop here"));
    let timed = Context::background().with_timeout(10 * MS);
    assert!(timed.checkpoint().await.is_ok());
    advance(10 * MS).await;
    assert_eq!(timed.checkpoint().await.unwrap_err().kind(), ContextError::DeadlineExceeded);
}

/// A loop of nothing but checkpoints, on one thread: the other task ends it.
#[tokio::test]
async fn a_checkpoint_gives_way_to_other_tasks() {
    let (ctx, canceller) = root();
    let other = tokio::spawn(async move { canceller.cancel() });
    let mut rounds = 0_u32;
    while ctx.checkpoint().await.is_ok() {
        rounds += 1;
        assert!(rounds < 10_000, "the other task never ran");
    }
    assert!(rounds > 0);
    within("the other task", other).await.unwrap();
}

/// In a body that has ended it does not come back, whichever context it is asked of: the body is dropped there.
#[tokio::test]
async fn a_checkpoint_in_a_body_that_has_ended_does_not_come_back() {
    for asked in ["its own", "the one above", "another"] {
        let (ctx, canceller) = root();
        let (above, another) = (ctx.clone(), root().0);
        let (came_back, dropped) = (Tally::new(), Tally::new());
        let (ticks, guard) = (came_back.clone(), dropped.on_drop());
        let mut generator = Generator::builder().spawn::<u8, _, _>(&ctx, |own, _| async move {
            let _guard = guard;
            canceller.cancel();
            let asked = match asked {
                "its own" => own,
                "the one above" => above,
                _ => another,
            };
            let _ = asked.checkpoint().await;
            ticks.tick();
        });
        assert_eq!(within("the end", generator.next()).await, None, "{asked}");
        assert_eq!((came_back.count(), dropped.count()), (0, 1), "{asked}");
        assert!(matches!(generator.end(), Some(End::Cancelled(_))));
    }
}

/// The same code, called from a body that has not ended under a context that is done: it comes back with the cause.
#[tokio::test]
async fn a_checkpoint_of_a_done_context_comes_back_in_a_body_that_goes_on() {
    let (done, canceller) = root();
    canceller.cancel_with("the other one");
    let mut generator = Generator::builder().spawn(&Context::background(), |_, co| async move {
        let text = done.checkpoint().await.unwrap_err().to_string();
        co.yield_(text).await;
    });
    assert!(within("an item", generator.next()).await.unwrap().ends_with(": the other one"));
}

/// And after the body, in its consumer's task, a checkpoint is a plain one again.
#[tokio::test]
async fn a_checkpoint_after_an_ended_body_on_the_same_thread_comes_back() {
    let (ctx, canceller) = root();
    let mut generator = silent(&ctx, &Tally::new());
    settle().await;
    canceller.cancel();
    assert!(poll_next(&mut generator, Waker::noop()).is_ready());
    assert!(within("a checkpoint", ctx.checkpoint()).await.is_err());
    assert!(within("a checkpoint", Context::background().checkpoint()).await.is_ok());
}

// Wakers that are the same, or change, or act.

/// C5: what a wake of `done` runs may poll and drop the very futures that wait.
#[test]
fn a_waker_may_drop_another_future_that_waits_for_the_same_context() {
    type Held = Mutex<Option<std::pin::Pin<Box<ctx_runtime::Done>>>>;
    let (ctx, canceller) = root();
    let other: Arc<OnceLock<Held>> = Arc::default();
    let (heard, waker) = Wakes::new();
    let mut first = Box::pin(ctx.done());
    let takes = Arc::clone(&other);
    let drops = waker_fn(move || drop(takes.get().unwrap().lock().unwrap().take()));
    assert!(poll_once(first.as_mut(), &drops).is_pending());
    let mut second = Box::pin(ctx.done());
    assert!(poll_once(second.as_mut(), &waker).is_pending());
    assert!(other.set(Mutex::new(Some(second))).is_ok());
    let mut third = Box::pin(ctx.done());
    assert!(poll_once(third.as_mut(), &waker).is_pending());
    canceller.cancel();
    assert_eq!(heard.count(), 1, "the third; the second was gone by then");
}
