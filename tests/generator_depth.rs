//! G9: no recursion. Chains of 100,000 generators, each of which consumes the next, on a stack of 2 MiB.

#![allow(dead_code, reason = "of the shared modules each file takes what it needs")]

mod patience;
mod witness;

use ctx_runtime::{Context, Generator};
use futures_util::future::BoxFuture;
use patience::{wait_until, within};
use std::thread;
use tokio::runtime::{Builder, Runtime};
use witness::Tally;

const DEPTH: usize = 100_000;

const STACK: usize = 2 * 1024 * 1024;

fn on_a_small_stack(test: impl FnOnce() + Send + 'static) {
    let thread = thread::Builder::new().stack_size(STACK).spawn(test).unwrap();
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn runtimes() -> [Runtime; 2] {
    [
        Builder::new_current_thread().enable_all().build().unwrap(),
        Builder::new_multi_thread().worker_threads(2).thread_stack_size(STACK).enable_all().build().unwrap(),
    ]
}

/// A source and, one within the other, `DEPTH` generators that hand on what it gives; each body owns the handle of the next.
fn chain(ctx: &Context, buffer: usize, items: u64, dropped: &Tally) -> Generator<u64> {
    let guard = dropped.on_drop();
    let mut at = Generator::builder().buffer(buffer).spawn(ctx, move |_, co| async move {
        let _guard = guard;
        for n in 0..items {
            co.yield_(n).await;
        }
    });
    for _ in 0..DEPTH {
        let guard = dropped.on_drop();
        at = Generator::builder().buffer(buffer).spawn(ctx, move |_, co| async move {
            let _guard = guard;
            while let Some(n) = at.next().await {
                co.yield_(n).await;
            }
        });
    }
    at
}

fn all_are_gone(runtime: &Runtime, ctx: &Context, dropped: &Tally) {
    // A single-threaded runtime turns only while it is blocked on.
    let turn = || runtime.block_on(tokio::task::yield_now());
    wait_until("every body to be gone", || {
        turn();
        dropped.count() == DEPTH + 1
    });
    wait_until("every task to be gone", || {
        turn();
        runtime.metrics().num_alive_tasks() == 0
    });
    assert!(ctx.live().is_empty());
}

#[test]
fn items_pass_through_a_deep_chain_and_it_is_dropped_by_its_outermost_handle() {
    on_a_small_stack(|| {
        for runtime in runtimes() {
            let (dropped, (ctx, _keep)) = (Tally::new(), Context::background().with_cancel());
            let mut outermost = {
                let _inside = runtime.enter();
                chain(&ctx, 0, u64::MAX, &dropped)
            };
            for n in 0..3 {
                assert_eq!(runtime.block_on(within("an item", outermost.next())), Some(n));
            }
            drop(outermost);
            all_are_gone(&runtime, &ctx, &dropped);
        }
    });
}

#[test]
fn a_deep_chain_is_ended_by_a_cancel_of_its_context() {
    on_a_small_stack(|| {
        for runtime in runtimes() {
            let (dropped, (ctx, canceller)) = (Tally::new(), Context::background().with_cancel());
            let mut outermost = {
                let _inside = runtime.enter();
                chain(&ctx, 0, u64::MAX, &dropped)
            };
            for n in 0..3 {
                assert_eq!(runtime.block_on(within("an item", outermost.next())), Some(n));
            }
            canceller.cancel();
            assert_eq!(runtime.block_on(within("the end", outermost.next())), None);
            all_are_gone(&runtime, &ctx, &dropped);
        }
    });
}

#[test]
fn a_deep_chain_ends_when_its_innermost_does() {
    on_a_small_stack(|| {
        for runtime in runtimes() {
            let (dropped, (ctx, _keep)) = (Tally::new(), Context::background().with_cancel());
            let mut outermost = {
                let _inside = runtime.enter();
                chain(&ctx, 0, 2, &dropped)
            };
            for expected in [Some(0), Some(1), None, None] {
                assert_eq!(runtime.block_on(within("an item", outermost.next())), expected);
            }
            all_are_gone(&runtime, &ctx, &dropped);
        }
    });
}

/// A chain that was asked, and waits for something at its far end.
#[test]
fn a_deep_chain_that_waits_at_its_far_end_is_dropped() {
    on_a_small_stack(|| {
        for runtime in runtimes() {
            let (dropped, (ctx, _keep)) = (Tally::new(), Context::background().with_cancel());
            let mut outermost = {
                let _inside = runtime.enter();
                chain(&ctx, 0, 0, &dropped)
            };
            // Asked once, and never again.
            runtime.block_on(async {
                let next = outermost.next();
                tokio::select! {
                    biased;
                    _ = next => {}
                    () = tokio::task::yield_now() => {}
                }
            });
            drop(outermost);
            all_are_gone(&runtime, &ctx, &dropped);
        }
    });
}

/// Three items only: to fill all these buffers, each item would have to go through half of the chain.
#[test]
fn a_deep_chain_with_buffers_runs_and_ends() {
    on_a_small_stack(|| {
        for runtime in runtimes() {
            let (dropped, (ctx, canceller)) = (Tally::new(), Context::background().with_cancel());
            let start = |items| {
                let _inside = runtime.enter();
                chain(&ctx, 1, items, &dropped)
            };
            let mut outermost = start(3);
            for expected in [Some(0), Some(1), Some(2), None] {
                assert_eq!(runtime.block_on(within("an item", outermost.next())), expected);
            }
            all_are_gone(&runtime, &ctx, &dropped);
            // And cancelled while its bodies start.
            let mut outermost = start(3);
            canceller.cancel();
            runtime.block_on(within("the end", async { while outermost.next().await.is_some() {} }));
            drop(outermost);
            wait_until("every body to be gone", || {
                runtime.block_on(tokio::task::yield_now());
                dropped.count() == 2 * (DEPTH + 1)
            });
        }
    });
}

/// Each body starts the next one when it is asked, under its own context: as deep in the tree as in one another.
fn nested(ctx: &Context, depth: usize, dropped: Tally) -> Generator<usize> {
    Generator::builder().spawn(ctx, move |ctx, co| {
        let body: BoxFuture<'static, ()> = Box::pin(async move {
            let _guard = dropped.on_drop();
            if depth == 0 {
                for n in 0.. {
                    co.yield_(n).await;
                }
            }
            let mut inner = nested(&ctx, depth - 1, dropped.clone());
            while let Some(n) = inner.next().await {
                co.yield_(n).await;
            }
        });
        body
    })
}

#[test]
fn generators_that_start_one_another_run_deep_and_end_by_a_cancel_or_a_drop() {
    on_a_small_stack(|| {
        for runtime in runtimes() {
            for cancels in [false, true] {
                let (dropped, (ctx, canceller)) = (Tally::new(), Context::background().with_cancel());
                let mut outermost = {
                    let _inside = runtime.enter();
                    nested(&ctx, DEPTH, dropped.clone())
                };
                for n in 0..2 {
                    assert_eq!(runtime.block_on(within("an item", outermost.next())), Some(n));
                }
                if cancels {
                    canceller.cancel();
                    assert_eq!(runtime.block_on(within("the end", outermost.next())), None);
                }
                drop(outermost);
                all_are_gone(&runtime, &ctx, &dropped);
            }
        }
    });
}
