//! C4 and C11 where `context_deadline.rs` leaves off: timers that are not armed, runtimes that end, stand still, have no timer
//! or are not there at all.

#![allow(dead_code, reason = "of the shared modules each file takes what it needs")]

mod by_hand;
mod held;
mod patience;
mod witness;

use by_hand::{Wakes, poll_once, waker_fn};
use ctx_runtime::{Context, ContextError, Generator};
use held::held;
use patience::{receive, settle, wait_until, within};
use std::cell::RefCell;
use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, panic_any};
use std::pin::{Pin, pin};
use std::sync::{Arc, Barrier, Mutex, Once, mpsc};
use std::task::{Poll, Waker};
use std::thread::{self, ThreadId};
use std::time::Duration;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::time::{Instant, advance, sleep};
use witness::{Tally, spite};

const MS: Duration = Duration::from_millis(1);

fn paused_runtime() -> Runtime {
    Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

/// A runtime on the clock of the machine: for what is to go on while another one is gone.
fn real_runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn untimed_runtime() -> Runtime {
    Builder::new_current_thread().build().unwrap()
}

/// Moves the clock on; the timers have no turn yet.
async fn jump(span: Duration) {
    let mut moved = pin!(advance(span));
    poll_fn(|cx| {
        let _ = moved.as_mut().poll(cx);
        Poll::Ready(())
    })
    .await;
}

/// How many times the driver of the runtime has parked to wait for a timer while `future` waits.
fn parks(runtime: &Runtime, future: impl Future<Output = ()>) -> u64 {
    let before = runtime.metrics().worker_park_count(0);
    runtime.block_on(future);
    runtime.metrics().worker_park_count(0) - before
}

// C4: what arms a timer.

/// C4: read, inherited, cloned, and never waited for: there is nothing in the wheel. The driver of a paused runtime parks
/// once for every timer that it is to wake for; with ours it parks once more.
#[test]
fn a_deadline_arms_a_timer_if_and_only_if_somebody_waits() {
    let hour = Duration::from_hours(1);
    let without = parks(&paused_runtime(), async move { sleep(hour).await });

    let idle = parks(&paused_runtime(), async move {
        let timed = Context::background().with_timeout(10 * MS);
        let (child, _keep) = timed.with_cancel();
        let merged = child.merge(&Context::background().with_timeout(20 * MS));
        let earlier = merged.with_timeout(5 * MS);
        let unpolled = merged.done();
        assert!(
            [&timed, &child, &merged, &earlier].iter().all(|ctx| !ctx.is_done() && ctx.cause().is_none())
        );
        assert!(format!("{timed:?}").contains("left"));
        sleep(hour).await;
        drop(unpolled);
        assert!([&timed, &child, &merged, &earlier].iter().all(|ctx| ctx.is_done()));
    });
    assert_eq!(idle, without, "something was armed, and nobody waits");

    for callback in [false, true] {
        let waited = parks(&paused_runtime(), async move {
            let timed = Context::background().with_timeout(10 * MS);
            let (child, _keep) = timed.with_cancel();
            let mut done = pin!(child.done());
            if callback {
                drop(child.after_func(|| ()));
            } else {
                assert!(poll_once(done.as_mut(), Waker::noop()).is_pending());
            }
            sleep(hour).await;
        });
        assert_eq!(waited, without + 1, "callback: {callback}; it takes one timer, and it takes no more");
    }
}

/// C4: a thousand contexts and as many who wait, one timer.
#[test]
fn contexts_that_inherit_a_deadline_share_its_timer() {
    let hour = Duration::from_hours(1);
    let without = parks(&paused_runtime(), async move { sleep(hour).await });
    let shared = parks(&paused_runtime(), async move {
        let timed = Context::background().with_timeout(10 * MS);
        let below: Vec<_> = (1..1000).map(|n| timed.with_timeout(10 * MS + n * MS).with_cancel()).collect();
        let mut waits: Vec<_> = below.iter().map(|(ctx, _)| Box::pin(ctx.done())).collect();
        for wait in &mut waits {
            assert!(poll_once(wait.as_mut(), Waker::noop()).is_pending());
        }
        sleep(hour).await;
        assert!(below.iter().all(|(ctx, _)| ctx.err() == Some(ContextError::DeadlineExceeded)));
    });
    assert_eq!(shared, without + 1);
}

/// C4: the first who waits pays for the timer; to all others waiting costs nothing.
#[test]
fn who_waits_for_a_deadline_that_has_its_timer_allocates_nothing() {
    let runtime = paused_runtime();
    let _inside = runtime.enter();
    let timed = Context::background().with_timeout(Duration::from_hours(1));
    let below: Vec<_> = (0..1000).map(|_| timed.with_cancel()).collect();
    let mut waits: Vec<_> = below.iter().map(|(ctx, _)| Box::pin(ctx.done())).collect();
    let mut first = pin!(timed.done());
    assert!(poll_once(first.as_mut(), Waker::noop()).is_pending());
    let before = held();
    for wait in &mut waits {
        assert!(poll_once(wait.as_mut(), Waker::noop()).is_pending());
    }
    assert!(below.iter().all(|(ctx, _)| !ctx.is_done()));
    assert_eq!(held(), before);
}

/// C4: nor does a deadline in the past, a done context, or one whose last context has gone.
#[test]
fn a_deadline_that_is_over_has_no_timer() {
    let hour = Duration::from_hours(1);
    let without = parks(&paused_runtime(), async move { sleep(hour).await });
    let over = parks(&paused_runtime(), async move {
        let past = Context::background().with_deadline(Instant::now());
        assert!(poll_once(pin!(past.done()), Waker::noop()).is_ready());
        drop(past.after_func(|| ()));

        let (parent, stop) = Context::background().with_cancel();
        let cancelled = parent.with_timeout(10 * MS);
        let mut wait = pin!(cancelled.done());
        assert!(poll_once(wait.as_mut(), Waker::noop()).is_pending());
        stop.cancel();

        let gone = Context::background().with_timeout(20 * MS);
        {
            let mut wait = pin!(gone.done());
            assert!(poll_once(wait.as_mut(), Waker::noop()).is_pending());
        }
        drop(gone);
        sleep(hour).await;
    });
    assert_eq!(over, without);
}

/// C4: no task for it, neither for one deadline nor for a thousand.
#[tokio::test(start_paused = true)]
async fn deadlines_take_no_task() {
    let metrics = tokio::runtime::Handle::current().metrics();
    let before = metrics.num_alive_tasks();
    let contexts: Vec<_> = (1..1000).map(|n| Context::background().with_timeout(n * MS)).collect();
    let mut waits: Vec<_> = contexts.iter().map(|ctx| Box::pin(ctx.done())).collect();
    for wait in &mut waits {
        assert!(poll_once(wait.as_mut(), Waker::noop()).is_pending());
    }
    settle().await;
    assert_eq!(metrics.num_alive_tasks(), before);
    advance(2_000 * MS).await;
    settle().await;
    assert!(contexts.iter().all(Context::is_done));
    assert_eq!(metrics.num_alive_tasks(), before);
}

// C4: who publishes a deadline, and who tells of it.

/// C4: it marks the subtree and leaves those who wait to the timer.
#[tokio::test(start_paused = true)]
async fn a_reader_that_finds_a_deadline_passed_wakes_and_calls_nobody() {
    let timed = Context::background().with_timeout(10 * MS);
    let (child, _keep) = timed.with_cancel();
    let ((heard, waker), called) = (Wakes::new(), Tally::new());
    let mut waits = [&timed, &child].map(|ctx| Box::pin(ctx.done()));
    for (wait, ctx) in waits.iter_mut().zip([&timed, &child]) {
        assert!(poll_once(wait.as_mut(), &waker).is_pending());
        let ticks = called.clone();
        drop(ctx.after_func(move || ticks.tick()));
    }
    jump(11 * MS).await;
    assert!(child.is_done() && timed.is_done() && timed.cause().is_some());
    assert_eq!((heard.count(), called.count()), (0, 0), "the timers had no turn yet");
    settle().await;
    assert_eq!((heard.count(), called.count()), (2, 2));
}

/// C4: the reader finds both passed, and what it marks has the inner one's timer only.
#[tokio::test(start_paused = true)]
async fn who_waits_below_two_deadlines_is_told_though_the_outer_one_is_read_first() {
    for reads in [false, true] {
        let outer = Context::background().with_timeout(20 * MS);
        let inner = outer.with_timeout_cause(10 * MS, "inner");
        let (leaf, _keep) = inner.with_cancel();
        let ((heard, waker), called) = (Wakes::new(), Tally::new());
        let mut wait = pin!(leaf.done());
        assert!(poll_once(wait.as_mut(), &waker).is_pending());
        let ticks = called.clone();
        drop(leaf.after_func(move || ticks.tick()));
        jump(25 * MS).await;
        if reads {
            assert!(outer.is_done());
        }
        settle().await;
        assert_eq!((heard.count(), called.count()), (1, 1), "the outer one was read first: {reads}");
        assert!(poll_once(wait, &waker).is_ready());
        assert!(leaf.cause().unwrap().to_string().ends_with(": inner"));
    }
}

/// C1 and C4: a cancel ends the owner of a deadline, and so takes its timer away; a reader, by whose clock the deadline has
/// passed, then marks what is below before the cancel gets there, and tells nobody. Fails if that cancel tells only those whom
/// it has marked itself.
#[test]
fn everybody_is_told_though_a_reader_overtakes_the_cancel_that_takes_their_timer_away() {
    let (home, hour) = (paused_runtime(), Duration::from_hours(1));
    let mut overtaken = 0;
    for round in 0.. {
        assert!(round < 2_000, "no reader has overtaken a cancel");
        let (top, canceller) = Context::background().with_cancel();
        let _inside = home.enter();
        // The first that the cancel marks; what is below it, only when it has marked all the others.
        let timed = top.with_timeout(hour);
        let (below, _keep) = timed.with_cancel();
        let others: Vec<_> = (0..20_000).map(|_| top.with_cancel()).collect();
        let ((heard, waker), called) = (Wakes::new(), Tally::new());
        let mut wait = pin!(below.done());
        assert!(poll_once(wait.as_mut(), &waker).is_pending());
        let ticks = called.clone();
        drop(below.after_func(move || ticks.tick()));
        // On this runtime's clock alone: the thread that cancels is in none.
        home.block_on(jump(hour));

        let start = Barrier::new(2);
        thread::scope(|scope| {
            scope.spawn(|| {
                start.wait();
                canceller.cancel();
            });
            start.wait();
            while !top.is_done() {}
            assert!(below.is_done());
            let (last, _) = others.last().unwrap();
            if !last.is_done() && below.err() == Some(ContextError::Cancelled) {
                overtaken += 1;
            }
        });
        home.block_on(settle());
        assert_eq!((heard.count(), called.count()), (1, 1), "{:?}", below.cause());
        if overtaken == 10 {
            break;
        }
    }
}

// C11: to the millisecond.

/// C11. Neither early nor late, for who waits and for who reads, at the end of any span.
#[tokio::test(start_paused = true)]
async fn a_deadline_on_a_paused_clock_is_exact() {
    for millis in [1_u64, 2, 7, 63, 64, 100, 4_096, 262_145] {
        let (before, timeout) = (Duration::from_millis(millis - 1), Duration::from_millis(millis));
        let ctx = Context::background().with_timeout(timeout);
        let (heard, waker) = Wakes::new();
        let called = Tally::new();
        let ticks = called.clone();
        let mut wait = Box::pin(ctx.done());
        assert!(poll_once(wait.as_mut(), &waker).is_pending());
        drop(ctx.after_func(move || ticks.tick()));
        advance(before).await;
        settle().await;
        assert_eq!((heard.count(), called.count(), ctx.err()), (0, 0, None), "{timeout:?}: early");
        assert_eq!(ctx.remaining(), Some(MS));
        advance(MS).await;
        settle().await;
        assert_eq!((heard.count(), called.count()), (1, 1), "{timeout:?}: late");
        assert_eq!(ctx.err(), Some(ContextError::DeadlineExceeded));
    }
}

/// C11: a reader is exact below the millisecond too.
#[tokio::test(start_paused = true)]
async fn a_reader_is_exact_to_the_nanosecond() {
    let nanosecond = Duration::from_nanos(1);
    let ctx = Context::background().with_timeout(Duration::from_nanos(1_500_001));
    advance(Duration::from_micros(1_500)).await;
    assert!(!ctx.is_done());
    assert_eq!(ctx.remaining(), Some(nanosecond));
    advance(nanosecond).await;
    assert!(ctx.is_done());
    assert_eq!(ctx.remaining(), Some(Duration::ZERO));
}

/// C11: time stands still, and so does what it would end.
#[tokio::test(start_paused = true)]
async fn a_generator_and_a_run_end_on_the_paused_clock() {
    let begun = Instant::now();
    let ctx = Context::background().with_timeout(30 * MS);
    let mut silent = Generator::builder().spawn::<u8, _, _>(&ctx, |_, _| pending());
    assert_eq!(within("the end", silent.next()).await, None);
    assert!(begun.elapsed() >= 30 * MS && begun.elapsed() <= 31 * MS);
    let begun = Instant::now();
    let cause =
        Context::background().with_timeout(30 * MS).run(sleep(Duration::from_hours(1))).await.unwrap_err();
    assert_eq!(cause.kind(), ContextError::DeadlineExceeded);
    assert!(begun.elapsed() >= 30 * MS && begun.elapsed() <= 31 * MS);
}

// C11: other runtimes, and none.

/// C11: outside any runtime, while the one that set the deadline is not driven.
#[test]
fn a_waiter_outside_a_runtime_is_woken_though_the_home_stands_still() {
    let home = real_runtime();
    let ctx = home.block_on(async { Context::background().with_timeout(5 * MS) });
    let (heard, waker) = Wakes::new();
    let mut wait = pin!(ctx.done());
    assert!(poll_once(wait.as_mut(), &waker).is_pending());
    wait_until("the wake", || heard.count() == 1);
    assert!(poll_once(wait.as_mut(), &waker).is_ready());
    assert_eq!(ctx.err(), Some(ContextError::DeadlineExceeded));
    drop(home);
}

/// C11: and one whose runtime goes while it waits.
#[test]
fn a_waiter_outside_a_runtime_is_woken_though_the_home_ends() {
    let home = real_runtime();
    let ctx = home.block_on(async { Context::background().with_timeout(5 * MS) });
    let (child, _keep) = ctx.with_cancel();
    let (heard, waker) = Wakes::new();
    let mut wait = pin!(child.done());
    assert!(poll_once(wait.as_mut(), &waker).is_pending());
    drop(home);
    // The end of the runtime may wake it too; then it looks for another timer.
    wait_until("the end", || heard.count() > 0 && poll_once(wait.as_mut(), &waker).is_ready());
    assert_eq!(child.err(), Some(ContextError::DeadlineExceeded));
}

/// C11: callbacks cannot look for another timer.
#[test]
fn a_callback_is_called_though_the_runtime_that_kept_its_timer_ends() {
    for inside in [false, true] {
        let home = real_runtime();
        let ctx = home.block_on(async { Context::background().with_timeout(5 * MS) });
        let (send, receiver) = mpsc::channel();
        let entered = inside.then(|| home.enter());
        drop(ctx.after_func(move || send.send(()).unwrap()));
        drop(entered);
        drop((home, ctx));
        receive("the callback", &receiver);
    }
}

/// C11: a callback that was registered outside a runtime, and a runtime that is never driven again.
#[test]
fn a_callback_is_called_though_the_home_stands_still() {
    let home = real_runtime();
    let ctx = home.block_on(async { Context::background().with_timeout(5 * MS) });
    let (send, receiver) = mpsc::channel();
    drop(ctx.after_func(move || send.send(()).unwrap()));
    receive("the callback", &receiver);
    drop((home, ctx));
}

/// C11: whoever waits first has the timer; the one that set the deadline need not be driven for it.
#[test]
fn the_timer_runs_where_somebody_waits() {
    let (home, elsewhere) = (paused_runtime(), paused_runtime());
    let ctx = home.block_on(async { Context::background().with_timeout(10 * MS) });
    let hour = Duration::from_hours(1);
    let without = parks(&paused_runtime(), async move { sleep(hour).await });
    let there = parks(&elsewhere, async {
        let mut wait = pin!(ctx.done());
        assert!(poll_once(wait.as_mut(), Waker::noop()).is_pending());
        sleep(hour).await;
        assert!(ctx.is_done());
    });
    assert_eq!(there, without + 1);
    assert_eq!(parks(&home, async move { sleep(hour).await }), without);
}

/// C11: two runtimes on threads of their own, and waiters that move from the one to the other between their polls.
#[test]
fn a_wait_may_move_between_runtimes() {
    let (one, two) = (real_runtime(), real_runtime());
    let ctx = one.block_on(async { Context::background().with_timeout(5 * MS) });
    let mut wait: Pin<Box<_>> = Box::pin(ctx.done());
    for runtime in [&one, &two, &one] {
        let _inside = runtime.enter();
        let _ = poll_once(wait.as_mut(), Waker::noop());
    }
    let _ = poll_once(wait.as_mut(), Waker::noop());
    drop(one);
    two.block_on(within("the wait, in the end", wait));
    assert_eq!(ctx.err(), Some(ContextError::DeadlineExceeded));
}

/// C11: in a runtime without a timer, the deadline's own runtime keeps the time while it is driven.
#[test]
fn a_waiter_in_a_runtime_without_a_timer_is_woken_by_the_home() {
    let (home, untimed) = (real_runtime(), untimed_runtime());
    let ctx = home.block_on(async { Context::background().with_timeout(5 * MS) });
    let waiter = untimed.spawn(ctx.done());
    untimed.block_on(settle());
    thread::scope(|scope| {
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        scope.spawn(|| home.block_on(async { drop(stopped.await) }));
        untimed.block_on(waiter).unwrap();
        stop.send(()).unwrap();
    });
    assert_eq!(ctx.err(), Some(ContextError::DeadlineExceeded));
}

/// C11: no timer where somebody waits, and a home that keeps no time either, for it stands still or is gone.
#[test]
fn who_waits_in_a_runtime_without_a_timer_is_told_though_no_home_keeps_the_time() {
    for gone in [false, true] {
        let (home, untimed) = (real_runtime(), untimed_runtime());
        let ctx = home.block_on(async { Context::background().with_timeout(5 * MS) });
        let home = (!gone).then_some(home);
        let _inside = untimed.enter();
        let (send, receiver) = mpsc::channel();
        drop(ctx.after_func(move || send.send(()).unwrap()));
        let (heard, waker) = Wakes::new();
        let mut wait = pin!(ctx.done());
        let at_once = poll_once(wait.as_mut(), &waker).is_ready();
        wait_until("the wake", || at_once || heard.count() > 0);
        assert!(poll_once(wait, &waker).is_ready());
        receive("the callback", &receiver);
        assert_eq!(ctx.err(), Some(ContextError::DeadlineExceeded));
        drop(home);
    }
}

/// C11: within a runtime that has gone, and whose handle is all that is left of it, a deadline is set, waited for and kept.
#[test]
fn a_deadline_within_a_runtime_that_is_gone_is_kept_all_the_same() {
    let home = real_runtime();
    let handle = home.handle().clone();
    drop(home);
    let _inside = handle.enter();
    for _ in 0..2 {
        let ctx = Context::background().with_timeout(5 * MS);
        let (send, receiver) = mpsc::channel();
        drop(ctx.after_func(move || send.send(()).unwrap()));
        let (heard, waker) = Wakes::new();
        let mut wait = pin!(ctx.done());
        let at_once = poll_once(wait.as_mut(), &waker).is_ready();
        wait_until("the wake", || at_once || heard.count() > 0);
        assert!(poll_once(wait, &waker).is_ready());
        receive("the callback", &receiver);
    }
}

/// C11: the sentry's deadlines end in their order, whatever the order of those who came to it.
#[test]
fn callbacks_outside_a_runtime_are_called_in_the_order_of_their_deadlines() {
    let home = real_runtime();
    // A machine that stalls while they are registered proves nothing: once more.
    for _ in 0..100 {
        let inside = home.enter();
        let contexts = [15_u32, 5, 10].map(|millis| Context::background().with_timeout(millis * MS));
        drop(inside);
        let order = Arc::new(Mutex::new(Vec::new()));
        for (ctx, millis) in contexts.iter().zip([15, 5, 10]) {
            let order = Arc::clone(&order);
            drop(ctx.after_func(move || order.lock().unwrap().push(millis)));
        }
        let in_time = order.lock().unwrap().is_empty();
        wait_until("the callbacks", || order.lock().unwrap().len() == 3);
        if in_time {
            assert_eq!(*order.lock().unwrap(), [5, 10, 15]);
            return;
        }
    }
    panic!("this machine is too slow to tell");
}

/// C5 where the clock ends a context, in the driver of a runtime or without one: what is called and woken cancels, makes children,
/// sets deadlines, and drops the last of what it was called for.
#[test]
fn what_a_deadline_calls_and_wakes_may_do_anything_to_the_tree() {
    for inside in [true, false] {
        let home = if inside { paused_runtime() } else { real_runtime() };
        let entered = home.enter();
        let (top, canceller) = Context::background().with_cancel();
        // Outside, the clock is not ours: long enough for what comes before it on a busy machine.
        let timed = top.with_timeout(if inside { 5 * MS } else { 500 * MS });
        let (child, child_canceller) = timed.with_cancel();
        let (send, receiver) = mpsc::channel();
        let everything: Arc<Mutex<Option<Box<dyn std::any::Any + Send>>>> = Arc::default();
        let mut wait = Box::pin(child.done());
        let _entered = if inside {
            Some(entered)
        } else {
            drop(entered);
            None
        };
        let (takes, at, also) = (Arc::clone(&everything), timed.clone(), send.clone());
        let hostile = move || {
            assert!(at.is_done() && at.with_cancel().0.is_done());
            assert!(poll_once(pin!(at.done()), Waker::noop()).is_ready());
            if Handle::try_current().is_ok() {
                let next = top.with_timeout(Duration::from_hours(1));
                assert!(poll_once(pin!(next.done()), Waker::noop()).is_pending());
                assert!(next.with_timeout(Duration::ZERO).is_done());
            }
            child_canceller.cancel();
            canceller.cancel();
            assert!(top.is_done());
            drop(takes.lock().unwrap().take());
            also.send("woken").unwrap();
        };
        drop(timed.after_func(move || send.send("called").unwrap()));
        assert!(poll_once(wait.as_mut(), &waker_fn(hostile)).is_pending());
        *everything.lock().unwrap() = Some(Box::new((timed, child, wait)));
        if inside {
            home.block_on(async {
                advance(5 * MS).await;
                settle().await;
            });
        }
        assert_eq!(receive("the callback", &receiver), "called");
        assert_eq!(receive("the waker", &receiver), "woken");
        assert!(everything.lock().unwrap().is_none());
    }
}

/// C6 where no runtime keeps the time.
#[test]
fn a_callback_that_panics_outside_a_runtime_stops_no_other_deadline() {
    let home = real_runtime();
    let inside = home.enter();
    let (one, two) =
        (Context::background().with_timeout(5 * MS), Context::background().with_timeout(10 * MS));
    drop(inside);
    let (send, receiver) = mpsc::channel();
    drop(one.after_func(|| panic_any("as the test wants it")));
    drop(two.after_func(move || send.send(()).unwrap()));
    receive("the second deadline", &receiver);
}

/// C6: and so does one whose payload panics when it is dropped; also in a waker, of one who is to look for another timer.
#[test]
fn a_payload_that_panics_where_no_runtime_keeps_the_time_stops_nobody() {
    let home = real_runtime();
    let inside = home.enter();
    let (one, two) =
        (Context::background().with_timeout(5 * MS), Context::background().with_timeout(10 * MS));
    let far = Context::background().with_timeout(Duration::from_hours(1));
    let woken = Tally::new();
    let mut waits = [(), ()].map(|()| Box::pin(far.done()));
    for wait in &mut waits {
        let ticks = woken.clone();
        let waker = waker_fn(move || {
            ticks.tick();
            spite();
        });
        assert!(poll_once(wait.as_mut(), &waker).is_pending());
    }
    drop(inside);
    let (send, receiver) = mpsc::channel();
    let also = send.clone();
    drop(one.after_func(|| spite()));
    drop(one.after_func(|| spite()));
    drop(one.after_func(move || also.send(1).unwrap()));
    drop(two.after_func(move || send.send(2).unwrap()));
    assert_eq!(receive("the others of the first deadline", &receiver), 1);
    assert_eq!(receive("the second deadline", &receiver), 2);
    drop(home);
    assert_eq!(woken.count(), 2, "both who relied on the runtime are to look for another timer");
}

// A deadline that cannot be set.

/// The place and the message of the panics of threads that asked to have them kept.
type Panics = Vec<(ThreadId, String, u32, String)>;
static PANICS: Mutex<Panics> = Mutex::new(Vec::new());

/// The line and the message of the panic in `f`.
fn panic_of(f: impl FnOnce()) -> (String, u32, String) {
    static KEPT: Once = Once::new();
    KEPT.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
            let place = info.location().unwrap();
            let message = info.payload_as_str().unwrap_or_default().to_owned();
            let entry = (thread::current().id(), place.file().to_owned(), place.line(), message);
            PANICS.lock().unwrap().push(entry);
            report(info);
        }));
    });
    assert!(catch_unwind(AssertUnwindSafe(f)).is_err());
    let mine = thread::current().id();
    let panics = PANICS.lock().unwrap();
    let (_, file, line, message) = panics.iter().rev().find(|panic| panic.0 == mine).unwrap();
    (file.clone(), *line, message.clone())
}

/// Bad input of the context: each of the four, at the caller's line.
#[test]
fn a_deadline_outside_a_runtime_panics_at_the_callers_line_and_says_what_to_do() {
    let ctx = Context::background();
    let now = Instant::now();
    let calls: [(u32, Box<dyn Fn() + '_>); 4] = [
        (line!(), Box::new(|| drop(ctx.with_deadline(now)))),
        (line!(), Box::new(|| drop(ctx.with_deadline_cause(now, "cause")))),
        (line!(), Box::new(|| drop(ctx.with_timeout(MS)))),
        (line!(), Box::new(|| drop(ctx.with_timeout_cause(MS, "cause")))),
    ];
    for (expected, call) in calls {
        let (file, line, message) = panic_of(call);
        assert_eq!((file.as_str(), line), (file!(), expected), "{message}");
        assert!(message.contains("a deadline needs a tokio runtime"), "{message}");
        assert!(message.contains("handle.enter()"), "it says what to do: {message}");
    }
}

#[test]
fn a_deadline_in_a_runtime_without_a_timer_panics_at_the_callers_line_and_says_what_to_do() {
    let untimed = untimed_runtime();
    let timed = real_runtime();
    for _ in 0..2 {
        // Also after a runtime with a timer was seen on this thread.
        drop(timed.block_on(async { Context::background().with_timeout(MS) }));
        let _inside = untimed.enter();
        let expected = line!() + 1;
        let (file, line, message) = panic_of(|| drop(Context::background().with_timeout(MS)));
        assert_eq!((file.as_str(), line), (file!(), expected), "{message}");
        assert!(message.contains("timers are disabled") && message.contains("enable_time"), "{message}");
    }
}

/// It left nothing behind: the context goes on.
#[test]
fn a_context_whose_deadline_could_not_be_set_goes_on_as_before() {
    let (ctx, canceller) = Context::background().with_cancel();
    let _ = panic_of(|| drop(ctx.with_timeout(MS)));
    assert!(!ctx.is_done());
    assert!(!ctx.with_cancel().0.with_value(1_u8).without_cancel().is_done());
    canceller.cancel();
    assert!(ctx.is_done());
}

/// What was set within a runtime may be read, waited for and dropped outside, a thread-local's destructor included.
#[test]
fn a_deadline_may_be_read_and_dropped_anywhere() {
    struct AtTheEnd(Context, mpsc::Sender<bool>);
    impl Drop for AtTheEnd {
        fn drop(&mut self) {
            let (child, _keep) = self.0.with_cancel();
            self.1.send(self.0.is_done() || child.deadline().is_none()).unwrap();
        }
    }
    thread_local! {
        static LAST: RefCell<Option<AtTheEnd>> = const { RefCell::new(None) };
    }
    let home = real_runtime();
    let ctx = home.block_on(async { Context::background().with_timeout(Duration::from_hours(1)) });
    let (send, receiver) = mpsc::channel();
    let last = AtTheEnd(ctx.clone(), send);
    thread::spawn(move || {
        assert!(poll_once(pin!(last.0.done()), Waker::noop()).is_pending());
        LAST.set(Some(last));
    })
    .join()
    .unwrap();
    assert!(!receive("a reader in the destructor of a thread-local", &receiver));
    assert!(!ctx.is_done());
}
