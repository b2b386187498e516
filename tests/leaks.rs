//! The first promise: it cannot leak. Proved with the runtime's own count of alive tasks, and with the report of the library, over
//! ten thousand rounds for each way of losing interest.

#![allow(dead_code, reason = "of the shared modules each file takes what it needs")]

mod patience;
mod witness;

use ctx_runtime::{Context, Generator, generator};
use patience::{until, within};
use std::future::pending;
use std::time::Duration;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::mpsc;
use witness::Tally;

const ROUNDS: usize = 10_000;

fn runtimes() -> [Runtime; 2] {
    [
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(),
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap(),
    ]
}

/// Counts up to five, then waits for something that never comes: the source that goes quiet.
fn count_then_silence(ctx: &Context, buffer: usize, dropped: &Tally) -> Generator<u64> {
    let guard = dropped.on_drop();
    Generator::builder().name("count").buffer(buffer).spawn(ctx, |_, co| async move {
        let _guard = guard;
        for n in 0..5 {
            co.yield_(n).await;
        }
        pending::<()>().await;
    })
}

/// The same, as a user writes it.
#[generator(cancellable)]
async fn quiet_feed(ctx: &Context, dropped: Tally) -> u64 {
    let _guard = dropped.on_drop();
    for n in 0..5 {
        yield_!(n);
    }
    pending::<()>().await;
}

/// Runs `round` ten thousand times on each kind of runtime; then the alive tasks must come back to where they were,
/// nothing may be in the report, and each body must have been dropped once.
fn leaves_nothing<F: Future<Output = ()>>(round: impl Fn(Context, Tally) -> F) {
    for runtime in runtimes() {
        runtime.block_on(async {
            let metrics = Handle::current().metrics();
            let before = metrics.num_alive_tasks();
            let (ctx, _keep) = Context::background().with_cancel();
            let dropped = Tally::new();
            for _ in 0..ROUNDS {
                round(ctx.clone(), dropped.clone()).await;
            }
            until("the alive tasks to come back to where they were", || metrics.num_alive_tasks() == before)
                .await;
            until("the report to be empty", || ctx.live().is_empty()).await;
            assert_eq!(dropped.count(), ROUNDS);
            assert!(!ctx.is_done());
        });
    }
}

/// What shows that the count would see a leak: the same producer as a bare task and a channel, and the same with a `select!`
/// around its `send`, both still there after their consumer has gone.
#[test]
fn tasks_that_leak_are_seen_by_the_count() {
    for runtime in runtimes() {
        runtime.block_on(async {
            let metrics = Handle::current().metrics();
            let before = metrics.num_alive_tasks();
            for round in 1..=20 {
                let (items, mut taken) = mpsc::channel(1);
                tokio::spawn(async move {
                    for n in 0..5 {
                        let closed = items.clone();
                        tokio::select! {
                            sent = items.send(n) => if sent.is_err() { return },
                            () = closed.closed() => return,
                        }
                    }
                    pending::<()>().await;
                });
                for n in 0..5 {
                    assert_eq!(within("an item", taken.recv()).await, Some(n));
                }
                drop(taken);
                patience::settle().await;
                assert_eq!(metrics.num_alive_tasks(), before + round);
            }
        });
    }
}

#[test]
fn start_take_break_leaves_nothing() {
    leaves_nothing(|ctx, dropped| async move {
        let mut numbers = count_then_silence(&ctx, 0, &dropped);
        while let Some(n) = within("an item", numbers.next()).await {
            if n == 2 {
                break;
            }
        }
    });
}

/// With the attribute: dropped at a yield, dropped at the quiet source, and cancelled, by turns.
#[test]
fn a_feed_that_is_written_with_the_attribute_leaves_nothing() {
    let turn = Tally::new();
    leaves_nothing(|ctx, dropped| {
        turn.tick();
        let turn = turn.count() % 3;
        async move {
            let (ctx, canceller) = ctx.with_cancel();
            let mut feed = quiet_feed(&ctx, dropped);
            for n in 0..if turn == 0 { 2 } else { 5 } {
                assert_eq!(within("an item", feed.next()).await, Some(n));
            }
            if turn == 2 {
                canceller.cancel();
                assert_eq!(within("the end", feed.next()).await, None);
            }
        }
    });
}

/// The body waits for its quiet source when the consumer goes.
#[test]
fn start_take_all_break_at_the_quiet_source_leaves_nothing() {
    leaves_nothing(|ctx, dropped| async move {
        let mut numbers = count_then_silence(&ctx, 0, &dropped);
        for n in 0..5 {
            assert_eq!(within("an item", numbers.next()).await, Some(n));
        }
        tokio::select! {
            biased;
            _ = numbers.next() => unreachable!("the source is quiet"),
            () = tokio::task::yield_now() => {}
        }
    });
}

#[test]
fn start_take_break_with_a_buffer_leaves_nothing() {
    leaves_nothing(|ctx, dropped| async move {
        let mut numbers = count_then_silence(&ctx, 3, &dropped);
        assert_eq!(within("an item", numbers.next()).await, Some(0));
        assert_eq!(within("an item", numbers.next()).await, Some(1));
    });
}

#[test]
fn a_handle_that_was_never_asked_leaves_nothing() {
    leaves_nothing(|ctx, dropped| async move {
        drop(count_then_silence(&ctx, 0, &dropped));
    });
}

/// The handle is kept beyond the cancel, and dropped later.
#[test]
fn start_take_cancel_leaves_nothing() {
    leaves_nothing(|ctx, dropped| async move {
        let (ctx, canceller) = ctx.with_cancel();
        let mut numbers = count_then_silence(&ctx, 0, &dropped);
        assert_eq!(within("an item", numbers.next()).await, Some(0));
        canceller.cancel();
        assert_eq!(within("the end", numbers.next()).await, None);
    });
}

/// The context ends them; their handles are kept by somebody who does not look any more.
#[test]
fn generators_that_are_cancelled_while_their_handles_are_kept_leave_no_task() {
    for runtime in runtimes() {
        runtime.block_on(async {
            let metrics = Handle::current().metrics();
            let before = metrics.num_alive_tasks();
            let dropped = Tally::new();
            let (ctx, canceller) = Context::background().with_cancel();
            let mut kept = Vec::new();
            for n in 0..ROUNDS {
                let mut numbers = count_then_silence(&ctx, n % 2, &dropped);
                assert_eq!(within("an item", numbers.next()).await, Some(0));
                kept.push(numbers);
            }
            assert_eq!(ctx.live().len(), ROUNDS);
            canceller.cancel();
            until("every task to be gone", || metrics.num_alive_tasks() == before).await;
            until("the report to be empty", || ctx.live().is_empty()).await;
            assert_eq!(dropped.count(), ROUNDS);
            assert!(kept.iter().all(|numbers| numbers.end().is_some()));
        });
    }
}

/// The same, by a deadline that is in the past for half of them, and passes for the others while they rest. The clock is
/// paused, so this is on the single-threaded runtime alone.
#[test]
fn generators_that_run_out_of_time_leave_no_task() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let metrics = Handle::current().metrics();
        let before = metrics.num_alive_tasks();
        let dropped = Tally::new();
        let while_they_rest = Duration::from_secs(50);
        let (ctx, _keep) = Context::background().with_cancel();
        let mut kept = Vec::new();
        for n in 0..ROUNDS {
            let timeout = if n % 2 == 0 { while_they_rest } else { Duration::ZERO };
            let mut numbers = count_then_silence(&ctx.with_timeout(timeout), n % 3, &dropped);
            let item = within("an item or the end", numbers.next()).await;
            assert_eq!(item, (n % 2 == 0).then_some(0));
            kept.push(numbers);
        }
        tokio::time::sleep(while_they_rest * 2).await;
        until("every task to be gone", || metrics.num_alive_tasks() == before).await;
        until("the report to be empty", || ctx.live().is_empty()).await;
        assert_eq!(dropped.count(), ROUNDS);
        drop(kept);
    });
}

#[test]
fn a_stop_leaves_nothing() {
    leaves_nothing(|ctx, dropped| async move {
        let mut numbers = count_then_silence(&ctx, 1, &dropped);
        assert_eq!(within("an item", numbers.next()).await, Some(0));
        drop(within("the stop", numbers.stop()).await);
    });
}

/// Handles that are forgotten are leaked by their owner's own word; the context ends their tasks all the same.
#[test]
fn a_forgotten_handle_is_still_ended_by_its_context() {
    for runtime in runtimes() {
        runtime.block_on(async {
            let metrics = Handle::current().metrics();
            let before = metrics.num_alive_tasks();
            let dropped = Tally::new();
            let (ctx, canceller) = Context::background().with_cancel();
            for _ in 0..100 {
                let mut numbers = count_then_silence(&ctx, 0, &dropped);
                assert_eq!(within("an item", numbers.next()).await, Some(0));
                std::mem::forget(numbers);
            }
            drop(canceller);
            until("every task to be gone", || metrics.num_alive_tasks() == before).await;
            until("the report to be empty", || ctx.live().is_empty()).await;
            assert_eq!(dropped.count(), 100);
        });
    }
}
