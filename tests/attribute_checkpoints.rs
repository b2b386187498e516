//! G13: a loop that could go round without a yield looks at the end in each round, and gives way.

#![allow(dead_code, reason = "of the shared modules each file takes what it needs")]

mod by_hand;
mod patience;
mod witness;

use ctx_runtime::{Context, ContextError, End, Generator, generator};
use patience::{receive, wait_until, within};
use std::future::ready;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::Waker;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::task::{JoinHandle, LocalSet, yield_now};
use tokio::{join, select};
use witness::{OnDrop, Tally};

fn current_thread() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn multi_thread() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// True for none, as far as anybody will see.
fn is_rare(n: u64) -> bool {
    n == u64::MAX
}

fn guard(dropped: &Tally) -> OnDrop<impl FnMut() + Send + use<>> {
    dropped.on_drop()
}

/// The one that is promised.
#[generator(cancellable)]
async fn filter(ctx: &Context, _guard: impl Send + 'static) -> u64 {
    let mut n = 0;
    loop {
        if is_rare(n) {
            yield_!(n);
        }
        n += 1;
    }
}

#[generator(cancellable, buffer = 4)]
async fn filter_ahead(ctx: &Context, _guard: impl Send + 'static) -> u64 {
    for n in 0.. {
        if is_rare(n) {
            yield_!(n);
        }
    }
}

#[generator(cancellable, local)]
async fn filter_local(ctx: &Context, _guard: impl Sized + 'static) -> Rc<u64> {
    let mut n = 0;
    while n < u64::MAX {
        if is_rare(n) {
            yield_!(Rc::new(n));
        }
        n += 1;
    }
}

#[generator(cancellable, inline)]
async fn filter_inline(ctx: &Context, _guard: impl Sized) -> u64 {
    let mut n = 0;
    loop {
        if is_rare(n) {
            yield_!(n);
        }
        n += 1;
    }
}

#[generator(cancellable, blocking)]
fn filter_blocking(ctx: &Context, _guard: impl Send + 'static, begun: mpsc::Sender<()>) -> u64 {
    begun.send(()).unwrap();
    let mut n = 0;
    loop {
        if is_rare(n) {
            yield_!(n);
        }
        n += 1;
    }
}

/// Cancels when it has had a few turns: not before those with whom it shares its thread have given way.
fn cancel_soon(canceller: ctx_runtime::Canceller) -> JoinHandle<()> {
    tokio::spawn(async move {
        for _ in 0..3 {
            yield_now().await;
        }
        canceller.cancel();
    })
}

/// Asserts that a generator without an item ends when its context does, by a task of the same thread.
async fn ends<T: Send + 'static>(make: impl FnOnce(&Context) -> Generator<T>) {
    let (ctx, canceller) = Context::background().with_cancel();
    let cancels = cancel_soon(canceller);
    assert!(make(&ctx).next().await.is_none());
    cancels.await.unwrap();
}

// A filter is ended from the very thread that it keeps busy.

/// Fails for a loop without a checkpoint, and one that looks at the end and does not give way (both hang).
#[test]
fn a_body_that_filters_is_cancelled_by_a_timer_of_its_own_thread() {
    current_thread().block_on(async {
        let dropped = Tally::new();
        let ctx = Context::background().with_timeout(Duration::from_millis(1));
        let mut numbers = filter(&ctx, guard(&dropped));
        assert_eq!(numbers.next().await, None);
        assert!(matches!(numbers.end(), Some(End::Cancelled(cause)) if cause.kind() == ContextError::DeadlineExceeded));
        assert_eq!(dropped.count(), 1);
    });
}

/// The same, by a task, for a body that its consumer polls, one that its own task does, a local one, and one without a task.
#[test]
fn a_body_that_filters_is_cancelled_by_a_task_of_its_own_thread() {
    current_thread().block_on(async {
        let dropped = Tally::new();

        ends(|ctx| filter(ctx, guard(&dropped))).await;
        ends(|ctx| filter_ahead(ctx, guard(&dropped))).await;

        let (ctx, canceller) = Context::background().with_cancel();
        let cancels = cancel_soon(canceller);
        let mut numbers = filter_inline(&ctx, guard(&dropped));
        assert_eq!(numbers.next().await, None);
        drop(numbers);
        cancels.await.unwrap();

        let (ctx, canceller) = Context::background().with_cancel();
        let cancels = cancel_soon(canceller);
        let of_local = guard(&dropped);
        LocalSet::new()
            .run_until(async move { assert_eq!(filter_local(&ctx, of_local).next().await, None) })
            .await;
        cancels.await.unwrap();
        assert_eq!(dropped.count(), 4);
    });
}

/// A handle that is dropped, and a `stop`, while the body runs on another thread.
#[test]
fn a_body_that_filters_is_ended_with_its_handle() {
    let runtime = multi_thread();
    let dropped = Tally::new();
    let entered = runtime.enter();
    drop(filter_ahead(&Context::background(), guard(&dropped)));
    wait_until("the body to be gone", || dropped.count() == 1);
    let stopped = filter_ahead(&Context::background(), guard(&dropped)).stop();
    drop(entered);
    assert!(matches!(runtime.block_on(within("the end", stopped)), End::Cancelled(_)));
    assert_eq!(dropped.count(), 2);
}

/// Fails for a checkpoint that does not leave the body.
#[test]
fn a_blocking_body_that_filters_is_stopped() {
    let runtime = multi_thread();
    let dropped = Tally::new();
    for is_cancelled in [true, false] {
        let (ctx, canceller) = Context::background().with_cancel();
        let (begins, begun) = mpsc::channel();
        let entered = runtime.enter();
        let mut numbers = filter_blocking(&ctx, guard(&dropped), begins);
        drop(entered);
        assert!(by_hand::poll_next(&mut numbers, Waker::noop()).is_pending());
        receive("the body to begin", &begun);
        if is_cancelled {
            canceller.cancel();
            assert_eq!(numbers.blocking_next(), None);
        } else {
            drop(numbers);
        }
        wait_until("the body to be gone", || dropped.count() == 1 + usize::from(!is_cancelled));
    }
}

/// Counts its rounds, and ends itself in one of them.
#[generator(cancellable)]
async fn ends_itself(ctx: &Context, canceller: ctx_runtime::Canceller, rounds: Tally) -> usize {
    loop {
        rounds.tick();
        if rounds.count() == 10 {
            canceller.cancel();
        }
        if is_rare(rounds.count() as u64) {
            yield_!(rounds.count());
        }
    }
}

/// Fails for a checkpoint that looks only when it gives way.
#[tokio::test]
async fn no_round_begins_after_the_end() {
    let (ctx, canceller) = Context::background().with_cancel();
    let rounds = Tally::new();
    assert_eq!(ends_itself(&ctx, canceller, rounds.clone()).next().await, None);
    assert_eq!(rounds.count(), 10);
}

// Every loop that could.

/// Each would go round for ever. `next` is ready at once, each time.
mod endless {
    use super::*;

    #[allow(clippy::unused_async, reason = "it is ready at once: that is the point")]
    async fn next() -> Option<u64> {
        Some(0)
    }

    #[generator(cancellable)]
    pub(super) async fn await_alone(ctx: &Context) -> u64 {
        while let Some(n) = next().await {
            if is_rare(n + 1) {
                yield_!(n);
            }
        }
    }

    #[generator(cancellable)]
    pub(super) async fn goes_on_before_its_yield(ctx: &Context) -> u64 {
        loop {
            let Some(n) = next().await else { return };
            if !is_rare(n) {
                continue;
            }
            yield_!(n);
        }
    }

    #[generator(cancellable)]
    pub(super) async fn goes_on_from_within(ctx: &Context) -> u64 {
        'rows: loop {
            for n in 0..3 {
                if n == 1 {
                    continue 'rows;
                }
                if is_rare(n) {
                    yield_!(n);
                }
            }
        }
    }

    #[generator(cancellable)]
    pub(super) async fn over_nothing(ctx: &Context, rows: Vec<u64>) -> u64 {
        loop {
            for row in &rows {
                yield_!(*row);
            }
        }
    }

    #[generator(cancellable)]
    pub(super) async fn hands_on_nothing(ctx: &Context) -> u64 {
        loop {
            yield_all!(futures_util::stream::empty());
        }
    }

    #[generator(cancellable)]
    pub(super) async fn selects(ctx: &Context) -> u64 {
        loop {
            select! {
                n = next() => if n.is_none() { return },
                () = std::future::pending() => yield_!(1),
            }
        }
    }

    #[generator(cancellable)]
    pub(super) async fn loops_in_an_arm(ctx: &Context) -> u64 {
        select! {
            _ = next() => {
                let mut n = 0;
                loop {
                    if is_rare(n) {
                        yield_!(n);
                    }
                    n += 1;
                }
            },
        }
    }

    #[generator(cancellable)]
    pub(super) async fn loops_in_a_branch(ctx: &Context) -> u64 {
        let filters = async {
            let mut n = 0;
            loop {
                if is_rare(n) {
                    yield_!(n);
                }
                n += 1;
            }
        };
        let waits = ready(());
        join!(filters, waits);
    }

    #[generator(cancellable)]
    pub(super) async fn loops_in_what_is_joined(ctx: &Context) -> u64 {
        join!(
            async {
                for n in 0.. {
                    if is_rare(n) {
                        yield_!(n);
                    }
                }
            },
            ready(())
        );
    }

    #[generator(cancellable)]
    pub(super) async fn of_results(ctx: &Context) -> Result<u64, std::num::ParseIntError> {
        loop {
            let n: u64 = "0".parse()?;
            if is_rare(n) {
                yield_!(Ok(n));
            }
        }
    }

    /// In a section nothing ends it, but it gives way: or the flag would never be set.
    #[generator]
    pub(super) async fn in_a_section(go: Arc<AtomicBool>) -> u64 {
        shield!(async {
            while !go.load(Ordering::SeqCst) {
                if is_rare(0) {
                    yield_!(0);
                }
            }
        });
    }
}

/// Fails for each of them that has no checkpoint (it hangs).
#[test]
fn every_loop_that_could_go_round_without_a_yield_looks_at_the_end() {
    current_thread().block_on(async {
        ends(endless::await_alone).await;
        ends(endless::goes_on_before_its_yield).await;
        ends(endless::goes_on_from_within).await;
        ends(|ctx| endless::over_nothing(ctx, Vec::new())).await;
        ends(endless::hands_on_nothing).await;
        ends(endless::selects).await;
        ends(endless::loops_in_an_arm).await;
        ends(endless::loops_in_a_branch).await;
        ends(endless::loops_in_what_is_joined).await;
        ends(endless::of_results).await;
    });
}

/// Fails for a checkpoint that comes back from a section only when that is over, and for one that does not give way there (it hangs).
#[test]
fn a_loop_in_a_section_gives_way_and_goes_on_after_the_end() {
    current_thread().block_on(async {
        let go = Arc::new(AtomicBool::new(false));
        let mut numbers = endless::in_a_section(Arc::clone(&go));
        let sets = tokio::spawn({
            let go = Arc::clone(&go);
            async move {
                for _ in 0..3 {
                    yield_now().await;
                }
                go.store(true, Ordering::SeqCst);
            }
        });
        assert!(by_hand::poll_next(&mut numbers, Waker::noop()).is_pending());
        let end = numbers.stop().await;
        assert!(matches!(end, End::Cancelled(_)), "{end:?}");
        sets.await.unwrap();
    });
}

// And no other.

/// A loop that says so keeps its thread to itself: what else is to run does not, until it yields.
#[generator]
async fn unchecked(rounds: u64, turns: Tally) -> usize {
    let mut n = 0;
    #[no_checkpoint]
    loop {
        if n == rounds {
            yield_!(turns.count());
        }
        n += 1;
    }
}

#[generator]
async fn checked(rounds: u64, turns: Tally) -> usize {
    let mut n = 0;
    loop {
        if n == rounds {
            yield_!(turns.count());
        }
        n += 1;
    }
}

/// Fails for a mark that is not heeded, and for a loop without it that does not give way.
#[test]
fn a_loop_that_is_marked_gets_no_checkpoint() {
    const ROUNDS: u64 = 100_000;
    current_thread().block_on(async {
        let turns = Tally::new();
        let other = tokio::spawn({
            let turns = turns.clone();
            async move {
                loop {
                    turns.tick();
                    yield_now().await;
                }
            }
        });
        yield_now().await;
        let before = turns.count();
        assert_eq!(unchecked(ROUNDS, turns.clone()).next().await, Some(before));
        let before = turns.count();
        assert!(checked(ROUNDS, turns.clone()).next().await.unwrap() > before + 10);
        other.abort();
    });
}

/// What is not `Send` may be held in a loop that does not wait, in a task that is: it would not compile with a checkpoint.
#[generator]
async fn counts_without_waiting(words: Vec<&'static str>) -> usize {
    let longest = Mutex::new(0);
    for word in &words {
        let mut longest = longest.lock().unwrap();
        let shared = Rc::new(word.len());
        *longest = usize::max(*longest, *shared);
    }
    let longest = *longest.lock().unwrap();
    yield_!(longest);
}

/// A task's loop is its own.
#[generator(cancellable)]
async fn spawns(ctx: &Context) -> u64 {
    let task = tokio::spawn(async {
        let mut sum = 0;
        for n in 0..5 {
            sum += ready(n).await;
        }
        sum
    });
    yield_!(task.await.unwrap());
}

#[tokio::test]
async fn loops_that_need_none_get_none() {
    assert_eq!(counts_without_waiting(vec!["one", "three"]).next().await, Some(5));
    assert_eq!(spawns(&Context::background()).next().await, Some(10));
}

// By hand.

/// Fails for a yielder's checkpoint that waits once its body is gone.
#[tokio::test]
async fn a_checkpoint_of_a_yielder_that_has_outlived_its_body_returns() {
    let (hand_out, out) = mpsc::channel();
    let mut numbers = Generator::builder().spawn(&Context::background(), |_, co| async move {
        co.yield_(1).await;
        hand_out.send(co).unwrap();
    });
    assert_eq!(numbers.next().await, Some(1));
    assert_eq!(numbers.next().await, None);
    let co = receive("the yielder", &out);
    for _ in 0..100 {
        within("the checkpoint", co.checkpoint()).await;
    }
}

/// Fails for one that is counted once for all its branches, and hangs one of them; and for one that is not `Send`.
#[tokio::test]
async fn checkpoints_of_several_branches_each_come_back() {
    let mut sums = Generator::builder().spawn(&Context::background(), |_, co| async move {
        let count = async || {
            for _ in 0..10_000 {
                co.checkpoint().await;
            }
            1
        };
        let (one, other) = join!(count(), count());
        co.yield_(one + other).await;
    });
    assert_eq!(within("the sum", sums.next()).await, Some(2));
}
