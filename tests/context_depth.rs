//! C7: no recursion. Chains 100,000 deep, on a stack of 256 KiB; any recursion over them overflows it.

#![allow(dead_code, reason = "of the shared modules each file takes what it needs")]

mod by_hand;

use by_hand::{Wakes, poll_once};
use ctx_runtime::{Abandoned, Canceller, Context, ContextError};
use std::pin::pin;
use std::thread;
use std::time::Duration;
use tokio::time::{Instant, advance};

const DEPTH: usize = 100_000;

fn on_a_small_stack(test: impl FnOnce() + Send + 'static) {
    let thread = thread::Builder::new().stack_size(256 * 1024).spawn(test).unwrap();
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn chain() -> (Vec<Context>, Vec<Canceller>) {
    let mut at = Context::background();
    (0..DEPTH)
        .map(|_| {
            let (child, canceller) = at.with_cancel();
            at = child.clone();
            (child, canceller)
        })
        .unzip()
}

#[test]
fn a_deep_chain_is_cancelled_from_its_top() {
    on_a_small_stack(|| {
        let (contexts, cancellers) = chain();
        let (heard, waker) = Wakes::new();
        let mut wait = pin!(contexts[DEPTH - 1].done());
        assert!(poll_once(wait.as_mut(), &waker).is_pending());
        cancellers[0].cancel();
        assert_eq!(heard.count(), 1);
        assert!(contexts.iter().all(Context::is_done));
    });
}

#[test]
fn a_deep_chain_is_cancelled_from_its_bottom() {
    on_a_small_stack(|| {
        let (contexts, cancellers) = chain();
        for (ctx, canceller) in contexts.iter().zip(&cancellers).rev() {
            assert!(!ctx.is_done());
            canceller.cancel();
        }
        assert!(contexts.iter().all(Context::is_done));
    });
}

#[test]
fn a_deep_chain_is_dropped_top_first() {
    on_a_small_stack(|| {
        let (contexts, cancellers) = chain();
        cancellers.iter().for_each(Canceller::disarm);
        drop(cancellers);
        assert!(!contexts[DEPTH - 1].is_done());
        contexts.into_iter().for_each(drop);
    });
}

#[test]
fn a_deep_chain_is_dropped_bottom_first() {
    on_a_small_stack(|| {
        let (contexts, cancellers) = chain();
        cancellers.iter().for_each(Canceller::disarm);
        drop(cancellers);
        contexts.into_iter().rev().for_each(drop);
    });
}

/// Only the lowest handle is left; its drop frees the whole chain.
#[test]
fn a_deep_chain_that_hangs_on_its_last_link_is_dropped_with_it() {
    on_a_small_stack(|| {
        let mut at = Context::background();
        for _ in 0..DEPTH {
            let (child, canceller) = at.with_cancel();
            canceller.disarm();
            at = child;
        }
        assert!(!at.is_done());
        drop(at);
    });
}

#[test]
fn the_cancellers_of_a_deep_chain_are_dropped_from_either_end() {
    for top_first in [true, false] {
        on_a_small_stack(move || {
            let (contexts, mut cancellers) = chain();
            if !top_first {
                cancellers.reverse();
            }
            drop(cancellers.swap_remove(0));
            let done = contexts.iter().filter(|ctx| ctx.is_done()).count();
            assert_eq!(done, if top_first { DEPTH } else { 1 });
            cancellers.into_iter().for_each(drop);
            assert!(contexts.iter().all(|ctx| ctx.cause().unwrap().downcast_ref::<Abandoned>().is_some()));
        });
    }
}

#[test]
fn a_deep_chain_is_printed() {
    on_a_small_stack(|| {
        let (contexts, cancellers) = chain();
        for ctx in [&contexts[0], &contexts[DEPTH - 1]] {
            assert!(!format!("{ctx:?}").is_empty());
            assert!(ctx.live().is_empty());
            assert!(!ctx.live().to_string().is_empty());
        }
        assert!(!format!("{:?}", cancellers[DEPTH - 1]).is_empty());
        cancellers[0].cancel_with("the end");
        assert!(contexts[DEPTH - 1].cause().unwrap().to_string().ends_with(": the end"));
    });
}

/// The cause of a cancel that hands on a cause that hands on a cause.
#[test]
fn a_cause_that_was_handed_on_often_is_printed_and_dropped() {
    on_a_small_stack(|| {
        let (first, canceller) = Context::background().with_cancel();
        canceller.cancel_with("the first");
        let mut cause = first.cause().unwrap();
        for _ in 0..DEPTH {
            let (ctx, canceller) = Context::background().with_cancel();
            canceller.cancel_with(cause);
            cause = ctx.cause().unwrap();
        }
        assert_eq!(cause.to_string(), first.cause().unwrap().to_string());
    });
}

#[test]
fn a_deep_chain_of_values_is_searched_and_dropped_from_either_end() {
    on_a_small_stack(|| {
        for top_first in [true, false] {
            let mut at = Context::background().with_value("the first");
            let mut contexts: Vec<_> = (0..DEPTH)
                .map(|n| {
                    at = at.with_value(n);
                    at.clone()
                })
                .collect();
            assert_eq!(at.value::<usize>(), Some(&(DEPTH - 1)));
            assert_eq!(at.value::<&str>(), Some(&"the first"));
            assert!(!format!("{at:?}").is_empty());
            if !top_first {
                contexts.reverse();
            }
            contexts.into_iter().for_each(drop);
            assert_eq!(at.value::<&str>(), Some(&"the first"));
            drop(at);
        }
    });
}

/// Each link has a deadline of its own, earlier than the one above it.
#[test]
fn a_deep_chain_of_deadlines_ends_and_is_dropped() {
    on_a_small_stack(|| {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let begun = Instant::now();
            let mut at = Context::background();
            let contexts: Vec<_> = (0..DEPTH as u64)
                .map(|n| {
                    at = at.with_deadline(begun + Duration::from_millis(1_000_000 - n));
                    at.clone()
                })
                .collect();
            let mut wait = Box::pin(at.done());
            assert!(poll_once(wait.as_mut(), &Wakes::new().1).is_pending());
            advance(Duration::from_secs(1_000)).await;
            assert_eq!(contexts[0].err(), Some(ContextError::DeadlineExceeded));
            assert!(contexts.iter().all(Context::is_done));
        });
    });
}
