//! C4, the clock's part of C2, and C11 as far as it is built: deadlines on tokio's clock. The clock is paused throughout.

#![allow(dead_code, reason = "of the shared modules each file takes what it needs")]

mod by_hand;
mod patience;
mod witness;

use by_hand::{Wakes, poll_once, waker_fn};
use ctx_runtime::{Context, ContextError};
use patience::{settle, within};
use std::error::Error;
use std::fmt;
use std::future::{pending, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use tokio::runtime::{self, Runtime};
use tokio::time::{Instant, advance};
use witness::Tally;

const MS: Duration = Duration::from_millis(1);

fn paused_runtime() -> Runtime {
    runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

/// C11.
#[tokio::test(start_paused = true)]
async fn a_deadline_is_neither_early_nor_late_by_a_millisecond() {
    for millis in [1, 2, 3, 63, 64, 65, 999, 4095, 4097, 86_400_001] {
        let begun = Instant::now();
        let timeout = Duration::from_millis(millis);
        let ctx = Context::background().with_timeout(timeout);
        assert_eq!(ctx.deadline(), Some(begun + timeout));
        within_virtual(ctx.done()).await;
        let took = begun.elapsed();
        assert!(took >= timeout && took <= timeout + MS, "{timeout:?} took {took:?}");
        assert_eq!(ctx.err(), Some(ContextError::DeadlineExceeded));
    }
}

/// As `within`, where the clock jumps and a day is soon over.
async fn within_virtual<F: Future>(future: F) -> F::Output {
    let limit = Duration::from_secs(2_000_000);
    tokio::time::timeout(limit, future).await.expect("what the deadline is to end has ended")
}

/// C4. No timer, no other task is needed for it: nothing is awaited here.
#[tokio::test(start_paused = true)]
async fn a_deadline_in_the_past_is_done_at_once() {
    advance(Duration::from_secs(5)).await;
    let parent = Context::background();
    for ctx in [
        parent.with_deadline(Instant::now()),
        parent.with_deadline(Instant::now() - Duration::from_secs(3)),
        parent.with_timeout(Duration::ZERO),
        parent.with_timeout_cause(Duration::ZERO, "late"),
        parent.with_timeout(Duration::ZERO).with_cancel().0,
        parent.with_timeout(Duration::ZERO).with_timeout(Duration::from_secs(9)),
    ] {
        assert_eq!(ctx.err(), Some(ContextError::DeadlineExceeded));
        assert_eq!(ctx.remaining(), Some(Duration::ZERO));
        assert!(poll_once(pin!(ctx.done()), &Wakes::new().1).is_ready());
        assert!(ctx.run(async {}).await.is_err());
    }
}

/// C4.
#[tokio::test(start_paused = true)]
async fn a_child_cannot_extend_the_deadline_of_its_parent() {
    let begun = Instant::now();
    let parent = Context::background().with_timeout(10 * MS);
    let child = parent.with_timeout(20 * MS);
    let composed = parent.with_value("value").with_deadline(begun + 30 * MS).with_cancel();
    for ctx in [&parent, &child, &composed.0] {
        assert_eq!(ctx.deadline(), Some(begun + 10 * MS));
        assert_eq!(ctx.remaining(), Some(10 * MS));
    }
    within("the child of a context whose time is up", child.done()).await;
    assert!(begun.elapsed() <= 11 * MS);
    assert!(parent.is_done() && composed.0.is_done());
    assert_eq!(child.cause().unwrap().origin(), parent.cause().unwrap().origin());
}

/// C3 and C4.
#[tokio::test(start_paused = true)]
async fn an_earlier_deadline_ends_the_child_alone() {
    let parent = Context::background().with_timeout(20 * MS);
    let (child, sibling) = (parent.with_timeout(10 * MS), parent.with_timeout(15 * MS));
    within("the child", child.done()).await;
    assert!(child.is_done());
    assert!(!parent.is_done() && !sibling.is_done());
    within("the sibling", sibling.done()).await;
    assert!(!parent.is_done());
}

/// C4.
#[tokio::test(start_paused = true)]
async fn a_deadline_that_nobody_waits_for_is_reported_on_time() {
    let ctx = Context::background().with_timeout(10 * MS);
    let (child, _keep) = ctx.with_value(1_u8).with_cancel();
    advance(9 * MS).await;
    assert_eq!((ctx.err(), child.err()), (None, None));
    assert_eq!(ctx.remaining(), Some(MS));
    advance(MS).await;
    assert_eq!(child.err(), Some(ContextError::DeadlineExceeded));
    assert_eq!(ctx.err(), Some(ContextError::DeadlineExceeded));
    assert!(ctx.with_cancel().0.is_done(), "born done");
}

/// C2: the deadline came first, whether or not anybody looked.
#[tokio::test(start_paused = true)]
async fn a_cancel_after_the_deadline_finds_it_exceeded() {
    for somebody_looks in [false, true] {
        let (ctx, canceller) = Context::background().with_timeout(10 * MS).with_cancel();
        advance(11 * MS).await;
        if somebody_looks {
            assert!(ctx.is_done());
        }
        canceller.cancel_with("too late");
        assert_eq!(ctx.err(), Some(ContextError::DeadlineExceeded), "somebody looked: {somebody_looks}");
    }
}

/// C2, one level up: the cancel of a context whose child has run out of time before.
#[tokio::test(start_paused = true)]
async fn a_cancel_from_above_finds_the_deadline_of_a_child_exceeded() {
    for somebody_looks in [false, true] {
        let (parent, canceller) = Context::background().with_cancel();
        let child = parent.with_timeout(10 * MS);
        let (grandchild, _keep) = child.with_cancel();
        advance(11 * MS).await;
        if somebody_looks {
            assert!(child.is_done());
        }
        canceller.cancel();
        assert_eq!(parent.err(), Some(ContextError::Cancelled));
        let below = (child.err(), grandchild.err());
        let exceeded = Some(ContextError::DeadlineExceeded);
        assert_eq!(below, (exceeded, exceeded), "somebody looked: {somebody_looks}");
    }
}

/// C2.
#[tokio::test(start_paused = true)]
async fn a_cancel_before_the_deadline_stays_a_cancel() {
    let (ctx, canceller) = Context::background().with_timeout(10 * MS).with_cancel();
    let parent = Context::background().with_timeout(10 * MS);
    canceller.cancel();
    drop(parent);
    advance(20 * MS).await;
    assert_eq!(ctx.err(), Some(ContextError::Cancelled));
}

/// C3.
#[tokio::test(start_paused = true)]
async fn a_child_of_a_context_out_of_time_is_born_out_of_time() {
    let parent = Context::background().with_timeout_cause(5 * MS, "the bus has left");
    advance(6 * MS).await;
    let (child, _keep) = parent.with_cancel();
    assert_eq!(child.err(), Some(ContextError::DeadlineExceeded));
    assert!(child.cause().unwrap().to_string().ends_with(": the bus has left"));
}

#[derive(Debug, PartialEq)]
struct Upstream(&'static str);

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Error for Upstream {}

#[tokio::test(start_paused = true)]
async fn the_cause_of_a_deadline_names_where_it_was_set() {
    let plain = Context::background().with_timeout(MS);
    let plain_line = line!() - 1;
    let custom = Context::background().with_timeout_cause(MS, Upstream("slow"));
    let custom_line = line!() - 1;
    let at = Context::background().with_deadline_cause(Instant::now() + MS, Upstream("slower"));
    let at_line = line!() - 1;
    advance(2 * MS).await;
    for (ctx, line) in [(&plain, plain_line), (&custom, custom_line), (&at, at_line)] {
        let cause = ctx.cause().unwrap();
        assert_eq!((cause.origin().file(), cause.origin().line()), (file!(), line));
        assert_eq!(cause.kind(), ContextError::DeadlineExceeded);
    }
    assert_eq!(custom.cause().unwrap().downcast_ref(), Some(&Upstream("slow")));
    assert_eq!(at.cause().unwrap().downcast_ref(), Some(&Upstream("slower")));
    assert_eq!(plain.cause().unwrap().downcast_ref(), Some(&ContextError::DeadlineExceeded));
}

/// Bad input of the issue.
#[tokio::test(start_paused = true)]
async fn a_timeout_beyond_the_clock_works_and_is_far_away() {
    let ctx = Context::background().with_timeout(Duration::MAX);
    assert!(!ctx.is_done());
    assert!(ctx.remaining().unwrap() > Duration::from_secs(30_000_001));
    assert_eq!(ctx.run(async { 3 }).await.unwrap(), 3);
    let mut wait = pin!(ctx.done());
    assert!(poll_once(wait.as_mut(), &Wakes::new().1).is_pending());
    let (child, canceller) = ctx.with_cancel();
    canceller.cancel();
    assert_eq!(child.err(), Some(ContextError::Cancelled));
    assert!(ctx.with_timeout_cause(Duration::MAX, "never").with_timeout(MS).deadline() < ctx.deadline());
}

/// C4: a reader publishes, and those who wait are woken all the same.
#[tokio::test(start_paused = true)]
async fn who_waits_is_woken_also_when_a_reader_was_first() {
    let ctx = Context::background().with_timeout(10 * MS);
    let (child, _keep) = ctx.with_cancel();
    let ((at_top, top_waker), (below, below_waker)) = (Wakes::new(), Wakes::new());
    let (mut top_wait, mut below_wait) = (pin!(ctx.done()), pin!(child.done()));
    assert!(poll_once(top_wait.as_mut(), &top_waker).is_pending());
    assert!(poll_once(below_wait.as_mut(), &below_waker).is_pending());

    // The reader is first: `advance` moves the clock at its first poll, before the timer has had its turn.
    let mut moved = pin!(advance(11 * MS));
    poll_fn(|cx| {
        let _ = moved.as_mut().poll(cx);
        Poll::Ready(())
    })
    .await;
    assert!(child.is_done());

    settle().await;
    within("the timer", pending_until(|| at_top.count() == 1 && below.count() == 1)).await;
    assert!(poll_once(top_wait.as_mut(), &top_waker).is_ready());
}

/// Sleeps, so that the clock jumps, until `condition` holds.
async fn pending_until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::time::sleep(MS).await;
    }
}

/// C4 and C11.
#[tokio::test(start_paused = true)]
async fn all_who_wait_for_one_deadline_are_woken_by_it() {
    let begun = Instant::now();
    let ctx = Context::background().with_timeout(50 * MS);
    let waits: Vec<_> = (0..1000)
        .map(|n| {
            let ctx = if n % 2 == 0 { ctx.clone() } else { ctx.with_timeout(Duration::from_secs(n)) };
            tokio::spawn(async move {
                ctx.run(pending::<()>()).await.unwrap_err();
            })
        })
        .collect();
    for wait in waits {
        within("one of them", wait).await.unwrap();
    }
    assert!(begun.elapsed() <= 51 * MS);
}

#[tokio::test(start_paused = true)]
async fn deadlines_end_in_their_own_order_whatever_the_order_of_their_making() {
    let ended = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let tasks: Vec<_> = [70_u64, 10, 300, 20, 5, 150]
        .map(|millis| {
            let (ctx, ended) =
                (Context::background().with_timeout(Duration::from_millis(millis)), ended.clone());
            tokio::spawn(async move {
                ctx.done().await;
                ended.lock().unwrap().push(millis);
            })
        })
        .into();
    for task in tasks {
        within("one of them", task).await.unwrap();
    }
    assert_eq!(*ended.lock().unwrap(), [5, 10, 20, 70, 150, 300]);
}

/// C6: on a timer, a panic is reported and the timer goes on.
#[tokio::test(start_paused = true)]
async fn a_waker_that_panics_on_the_timer_keeps_no_other_from_being_woken() {
    let ctx = Context::background().with_timeout(10 * MS);
    let (child, _keep) = ctx.with_cancel();
    let other = Context::background().with_timeout(10 * MS);
    let later = Context::background().with_timeout(12 * MS);
    let woken = Tally::new();
    let mut waits: Vec<_> = [&ctx, &child, &ctx, &other, &later].map(|ctx| Box::pin(ctx.done())).into();
    for (n, wait) in waits.iter_mut().enumerate() {
        let woken = woken.clone();
        let waker = waker_fn(move || {
            woken.tick();
            assert!(n != 0, "a waker that panics, as the test wants it");
        });
        assert!(poll_once(wait.as_mut(), &waker).is_pending());
    }
    within("the timers", pending_until(|| woken.count() == 5)).await;
}

/// A wait that has gone, with the last of its context, leaves nothing that could be woken.
#[tokio::test(start_paused = true)]
async fn a_wait_that_was_dropped_is_not_woken_by_the_timer() {
    let ctx = Context::background().with_timeout(10 * MS);
    let (heard, waker) = Wakes::new();
    {
        let mut wait = pin!(ctx.done());
        assert!(poll_once(wait.as_mut(), &waker).is_pending());
    }
    drop(ctx);
    tokio::time::sleep(20 * MS).await;
    assert_eq!(heard.count(), 0);
    assert_eq!(std::sync::Arc::strong_count(&heard), 2, "nobody keeps a clone of the waker");
}

/// Waits in a runtime of its own for a deadline that is ten milliseconds away. Its clock stands still while there is anybody to
/// wake; where nobody is woken, it goes on to the end of the patience.
fn ends_on_time_elsewhere(wait: impl Future<Output = ()>) {
    paused_runtime().block_on(async {
        let begun = Instant::now();
        within("a deadline of another runtime", wait).await;
        assert!(begun.elapsed() <= 11 * MS, "nobody was woken for {:?}", begun.elapsed());
    });
}

/// C11. The runtime that set the deadline is not driven while another one waits.
#[test]
fn a_waiter_does_not_hang_on_a_runtime_that_stands_still() {
    let home = paused_runtime();
    let ctx = home.block_on(async { Context::background().with_timeout(10 * MS) });
    ends_on_time_elsewhere(ctx.done());
    assert_eq!(ctx.err(), Some(ContextError::DeadlineExceeded));
}

/// C11.
#[test]
fn a_waiter_does_not_hang_on_a_runtime_that_is_gone() {
    let home = paused_runtime();
    let ctx = home.block_on(async { Context::background().with_timeout(10 * MS) });
    drop(home);
    ends_on_time_elsewhere(ctx.done());
    assert_eq!(ctx.err(), Some(ContextError::DeadlineExceeded));
}

/// C11. The timer was armed on the runtime that goes away: who relied on it is told.
#[test]
fn a_waiter_survives_the_end_of_the_runtime_that_kept_its_timer() {
    let home = paused_runtime();
    let ctx = home.block_on(async { Context::background().with_timeout(10 * MS) });
    let (heard, waker) = Wakes::new();
    let mut wait = pin!(ctx.done());
    {
        let _inside = home.enter();
        assert!(poll_once(wait.as_mut(), &waker).is_pending());
    }
    drop(home);
    assert!(heard.count() > 0, "who relied on the runtime is woken when it ends");
    ends_on_time_elsewhere(wait);
}

/// C11. Waiters on two runtimes; each is woken by its own.
#[test]
fn waiters_on_two_runtimes_are_both_woken() {
    let (one, two) = (paused_runtime(), paused_runtime());
    let ctx = one.block_on(async { Context::background().with_timeout(10 * MS) });
    let (at_one, at_two) = (one.spawn(ctx.done()), two.spawn(ctx.done()));
    one.block_on(settle());
    two.block_on(within("the second runtime's waiter", at_two)).unwrap();
    one.block_on(within("the first runtime's waiter", at_one)).unwrap();
}

#[tokio::test(start_paused = true)]
async fn remaining_counts_down_to_zero_and_stays_there() {
    let ctx = Context::background().with_timeout(10 * MS);
    for left in (0..10).rev() {
        advance(MS).await;
        assert_eq!(ctx.remaining(), Some(left * MS));
    }
    advance(MS).await;
    assert_eq!(ctx.remaining(), Some(Duration::ZERO));
}

/// C2 and C3: of a context that is out of time, whoever looked or did not look before.
#[tokio::test(start_paused = true)]
async fn a_deadline_in_the_past_below_a_context_out_of_time_is_born_with_its_parent_s_cause() {
    for somebody_looks in [true, false] {
        let parent = Context::background().with_timeout_cause(10 * MS, "parent");
        advance(20 * MS).await;
        if somebody_looks {
            assert!(parent.is_done());
        }
        let child = parent.with_deadline_cause(Instant::now() - 15 * MS, "child");
        let cause = child.cause().unwrap().to_string();
        assert!(cause.ends_with(": parent"), "somebody looked: {somebody_looks}: {cause}");
    }
}
