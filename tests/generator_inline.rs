//! `inline`: the promises that a generator without a task keeps, and what it may borrow.

#![allow(dead_code, reason = "of the shared modules each file takes what it needs")]

mod by_hand;
mod patience;
mod witness;

use by_hand::{Wakes, poll_once, waker_fn};
use ctx_runtime::private::{InlineYielder, inline};
use ctx_runtime::{Context, ContextError, Generator, Inline, generator};
use futures_util::stream::{FusedStream, FuturesUnordered, Stream, StreamExt};
use patience::{receive, settle, within};
use std::cell::Cell;
use std::error::Error;
use std::future::{Future, pending, ready};
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{self, Poll, Waker};
use std::thread;
use std::time::Duration;
use tokio::sync::oneshot;
use witness::{Tally, on_drop};

async fn all<T, F: Future<Output = ()>>(mut items: Inline<T, F>) -> Vec<T> {
    let mut taken = Vec::new();
    while let Some(item) = items.next().await {
        taken.push(item);
    }
    taken
}

fn poll_next<T, F: Future<Output = ()>>(items: &mut Inline<T, F>, waker: &Waker) -> Poll<Option<T>> {
    Pin::new(items).poll_next(&mut task::Context::from_waker(waker))
}

/// Polls once, with a waker that nobody hears.
fn ask<T, F: Future<Output = ()>>(items: &mut Inline<T, F>) -> Poll<Option<T>> {
    poll_next(items, Waker::noop())
}

/// The text of a panic.
fn message(panic: &(dyn std::any::Any + Send)) -> &str {
    panic.downcast_ref::<&str>().expect("the panic has a text")
}

// G1: it ends wherever it waits.

#[generator(cancellable, inline)]
async fn silent_after(ctx: &Context, items: u8, gone: &Tally) -> u8 {
    let _gone = gone.on_drop();
    for n in 0..items {
        yield_!(n);
    }
    pending::<()>().await;
}

/// G1. The canceller's thread runs no destructor.
#[test]
fn a_cancel_ends_a_body_that_rests_at_a_yield_when_the_consumer_next_asks() {
    let (ctx, stop) = Context::background().with_cancel();
    let gone = Tally::new();
    let mut items = silent_after(&ctx, 2, &gone);
    assert_eq!(ask(&mut items), Poll::Ready(Some(0)));
    stop.cancel();
    assert_eq!(gone.count(), 0);
    assert_eq!(ask(&mut items), Poll::Ready(None));
    assert_eq!(gone.count(), 1);
    assert_eq!(ask(&mut items), Poll::Ready(None));
    assert!(items.is_terminated());
    drop(items);
    assert_eq!(gone.count(), 1);
}

/// G1: a waiting consumer is woken by a cancel, through the waker that it polled with last.
#[test]
fn a_cancel_wakes_a_consumer_that_waits_and_ends_the_body_there() {
    let (ctx, stop) = Context::background().with_cancel();
    let gone = Tally::new();
    let mut items = silent_after(&ctx, 0, &gone);
    let ((early, first), (wakes, second)) = (Wakes::new(), Wakes::new());
    assert!(poll_next(&mut items, &first).is_pending());
    assert!(poll_next(&mut items, &second).is_pending());
    assert!(poll_next(&mut items, &second).is_pending());
    stop.cancel();
    assert_eq!((early.count(), wakes.count(), gone.count()), (0, 1, 0));
    assert_eq!(poll_next(&mut items, &second), Poll::Ready(None));
    assert_eq!(gone.count(), 1);
}

/// G1, on a paused clock: a deadline wakes it, too.
#[tokio::test(start_paused = true)]
async fn a_deadline_wakes_a_consumer_that_waits() {
    let gone = Tally::new();
    let ctx = Context::background().with_timeout(Duration::from_secs(3));
    let mut items = silent_after(&ctx, 1, &gone);
    assert_eq!(items.next().await, Some(0));
    assert_eq!(within("the deadline", items.next()).await, None);
    assert_eq!((ctx.err(), gone.count()), (Some(ContextError::DeadlineExceeded), 1));
}

/// G1: a deadline ends one that never waits, though nobody reads the clock: its timer runs from the start.
#[tokio::test(start_paused = true)]
async fn a_deadline_ends_a_body_that_never_waits() {
    let ctx = Context::background().with_timeout(Duration::from_secs(3));
    let gone = Tally::new();
    let mut items = silent_after(&ctx, 9, &gone);
    assert_eq!(items.next().await, Some(0));
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!((items.next().await, gone.count()), (None, 1));
}

/// C11: a consumer that moves to another runtime is woken by that one's timer.
#[test]
fn a_deadline_wakes_a_consumer_whose_first_runtime_is_gone() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().start_paused(true).build().unwrap()
    };
    let (first, second) = (runtime(), runtime());
    let gone = Tally::new();
    let mut items = {
        let _inside = first.enter();
        let ctx = Context::background().with_timeout(Duration::from_secs(3));
        silent_after(&ctx, 0, &gone)
    };
    first.block_on(async {
        assert!(ask(&mut items).is_pending());
    });
    drop(first);
    assert_eq!(second.block_on(within("the deadline", items.next())), None);
}

/// G1.
#[test]
fn a_yield_after_a_cancel_is_not_accepted_and_the_body_is_not_polled_again() {
    let (ctx, stop) = Context::background().with_cancel();
    let polls = Tally::new();
    let mut items = inline(&ctx, "", |_, co: InlineYielder<u8>| {
        let polls = polls.clone();
        async move {
            let mut rest = pin!(async {
                co.yield_(1).await;
                stop.cancel();
                co.yield_(2).await;
            });
            std::future::poll_fn(|cx| {
                polls.tick();
                rest.as_mut().poll(cx)
            })
            .await;
        }
    });
    assert_eq!(ask(&mut items), Poll::Ready(Some(1)));
    assert_eq!(ask(&mut items), Poll::Ready(None));
    assert_eq!(ask(&mut items), Poll::Ready(None));
    assert_eq!(polls.count(), 2);
}

/// G1, G3.
#[test]
fn what_is_stopped_before_it_was_asked_never_ran() {
    let (ctx, stop) = Context::background().with_cancel();
    let begun = Tally::new();
    let body = |_, _: InlineYielder<u8>| {
        let (begun, argument) = (begun.clone(), begun.on_drop());
        async move {
            begun.tick();
            drop(argument);
        }
    };
    drop(inline(&ctx, "", body));
    assert_eq!(begun.count(), 1, "the argument's drop");
    let mut stopped = inline(&ctx, "", body);
    stop.cancel();
    assert_eq!(ask(&mut stopped), Poll::Ready(None));
    let mut born_done = inline(&ctx, "", body);
    assert_eq!(ask(&mut born_done), Poll::Ready(None));
    assert_eq!(begun.count(), 3);
}

/// In a body that has ended a checkpoint does not come back, also with a live generator around it.
#[tokio::test]
async fn a_checkpoint_in_a_body_that_was_stopped_does_not_come_back() {
    let back = Tally::new();
    let counted = back.clone();
    let mut outer = Generator::builder().spawn(&Context::background(), |_, co| async move {
        let (ctx, stop) = Context::background().with_cancel();
        let mut items = inline(&ctx, "", |ctx: Context, co: InlineYielder<u8>| async move {
            stop.cancel();
            let _ = ctx.checkpoint().await;
            counted.tick();
            co.yield_(1).await;
        });
        co.yield_(items.next().await).await;
    });
    assert_eq!(outer.next().await, Some(None));
    assert_eq!(back.count(), 0);
}

/// A checkpoint of a live body within a stopped one's poll is not taken for that one's.
#[tokio::test]
async fn a_checkpoint_within_another_body_looks_at_its_own() {
    let (ctx, stop) = Context::background().with_cancel();
    let back = Tally::new();
    let counted = back.clone();
    let mut outer = inline(&ctx, "", |_, co: InlineYielder<u8>| async move {
        let mut live = Generator::builder().spawn(&Context::background(), |ctx, co| async move {
            co.yield_(ctx.checkpoint().await.is_ok()).await;
        });
        stop.cancel();
        assert_eq!(live.next().await, Some(true));
        counted.tick();
        co.yield_(1).await;
    });
    assert_eq!(within("the end", outer.next()).await, None);
    assert_eq!(back.count(), 1);
}

// The context of its own.

/// Done as soon as the generator has ended, for whatever reason; the caller's is not.
#[test]
fn its_context_is_done_when_it_has_ended_for_whatever_reason() {
    #[generator(cancellable, inline)]
    async fn contexts(ctx: &Context, end: &str) -> Context {
        yield_!(ctx.clone());
        assert_ne!(end, "panic", "as the test wants it");
        if end == "wait" {
            pending::<()>().await;
        }
    }

    let (parent, stop) = Context::background().with_value("inherited").with_cancel();
    let first = |items: &mut Inline<Context, _>| match ask(items) {
        Poll::Ready(Some(ctx)) => ctx,
        other => panic!("no context came: {other:?}"),
    };

    let mut items = contexts(&parent, "finish");
    let ctx = first(&mut items);
    assert_eq!((ctx.value(), ctx.is_done()), (Some(&"inherited"), false));
    assert!(matches!(ask(&mut items), Poll::Ready(None)));
    assert!(ctx.cause().unwrap().downcast_ref::<ctx_runtime::Finished>().is_some());

    let mut items = contexts(&parent, "wait");
    let ctx = first(&mut items);
    drop(items);
    assert!(ctx.cause().unwrap().downcast_ref::<ctx_runtime::Abandoned>().is_some());

    let mut items = contexts(&parent, "panic");
    let ctx = first(&mut items);
    assert!(catch_unwind(AssertUnwindSafe(|| ask(&mut items))).is_err());
    let cause = ctx.cause().unwrap();
    assert!(cause.downcast_ref::<ctx_runtime::Panic>().unwrap().message().contains("as the test wants it"));

    assert!(!parent.is_done());
    let mut items = contexts(&parent, "wait");
    let ctx = first(&mut items);
    stop.cancel();
    assert!(ctx.is_done());
}

/// A body that could not be made leaves a context that is done.
#[test]
fn a_body_that_cannot_be_made_ends_its_context() {
    let kept = Mutex::new(None);
    let made = catch_unwind(AssertUnwindSafe(|| {
        inline(&Context::background(), "", |ctx, _: InlineYielder<u8>| -> std::future::Ready<()> {
            *kept.lock().unwrap() = Some(ctx);
            panic!("as the test wants it")
        })
    }));
    assert!(made.is_err());
    assert!(kept.lock().unwrap().take().unwrap().is_done());
}

/// No report lists it, and nobody waits for it: who waits may be its consumer.
#[tokio::test]
async fn nobody_waits_for_a_body_that_only_its_consumer_moves() {
    let (ctx, stop) = Context::background().with_cancel();
    let gone = Tally::new();
    let mut items = silent_after(&ctx, 1, &gone);
    assert_eq!(items.next().await, Some(0));
    assert!(ctx.live().is_empty());
    within("cancel_and_wait", stop.cancel_and_wait()).await;
    assert_eq!((gone.count(), items.next().await, gone.count()), (0, None, 1));
}

/// It does not hide what it has started.
#[tokio::test]
async fn what_its_body_starts_is_listed_below_it_and_ends_with_it() {
    let (ctx, _keep) = Context::background().with_cancel();
    let mut items = inline(&ctx, "outer", |ctx: Context, co| async move {
        let inner = Generator::builder().name("inner").spawn::<u8, _, _>(&ctx, |_, _| pending());
        co.yield_(inner).await;
    });
    let inner = items.next().await.unwrap();
    assert_eq!(ctx.live().iter().map(|entry| entry.name().to_owned()).collect::<Vec<_>>(), ["inner"]);
    drop(items);
    assert!(inner.context().is_done());
}

// G2, G3, G4.

/// G2.
#[test]
fn what_was_accepted_arrives_after_a_cancel_and_then_none_for_ever() {
    let (ctx, stop) = Context::background().with_cancel();
    let mut items = inline(&ctx, "", |_, co: InlineYielder<u8>| async move {
        tokio::join!(co.yield_(1), async { stop.cancel() });
    });
    assert_eq!(ask(&mut items), Poll::Ready(Some(1)));
    assert!(!items.is_terminated());
    assert_eq!(ask(&mut items), Poll::Ready(None));
    assert_eq!(ask(&mut items), Poll::Ready(None));
}

/// G2: also if the body ends in the poll that has accepted it.
#[test]
fn an_item_whose_yield_was_dropped_at_the_end_arrives() {
    let mut items = inline(&Context::background(), "", |_, co: InlineYielder<u8>| async move {
        tokio::select! { biased; () = co.yield_(1) => {}, () = ready(()) => {} }
    });
    assert_eq!(ask(&mut items), Poll::Ready(Some(1)));
    assert_eq!(ask(&mut items), Poll::Ready(None));
}

/// G3.
#[test]
fn the_body_is_past_a_yield_only_when_its_item_was_taken_and_the_next_is_asked_for() {
    let (begun, passed) = (Tally::new(), Tally::new());
    let mut items = inline(&Context::background(), "", |_, co: InlineYielder<usize>| {
        let (begun, passed) = (begun.clone(), passed.clone());
        async move {
            for n in 0.. {
                begun.tick();
                co.yield_(n).await;
                passed.tick();
            }
        }
    });
    assert_eq!(begun.count(), 0, "nothing runs before it is asked");
    for n in 0..200 {
        assert_eq!(ask(&mut items), Poll::Ready(Some(n)));
        assert_eq!((begun.count(), passed.count()), (n + 1, n));
    }
}

/// G3: a yield that is polled twice in one poll of the body has not been answered by that.
#[test]
fn a_yield_that_is_polled_again_in_the_poll_that_accepted_it_waits() {
    let mut items = inline(&Context::background(), "", |_, co: InlineYielder<u8>| async move {
        let mut one = pin!(co.yield_(1));
        let polled = std::future::poll_fn(|cx| {
            Poll::Ready([one.as_mut().poll(cx).is_ready(), one.as_mut().poll(cx).is_ready()])
        });
        assert_eq!(polled.await, [false, false]);
        one.await;
        co.yield_(2).await;
    });
    assert_eq!(ask(&mut items), Poll::Ready(Some(1)));
    assert_eq!(ask(&mut items), Poll::Ready(Some(2)));
    assert_eq!(ask(&mut items), Poll::Ready(None));
}

/// G4.
#[tokio::test]
async fn dropping_a_pending_next_loses_no_item() {
    let (send, receive) = oneshot::channel();
    let mut items = inline(&Context::background(), "", |_, co| async move {
        co.yield_(receive.await.unwrap()).await;
        co.yield_(2).await;
    });
    assert!(poll_once(pin!(items.next()), Waker::noop()).is_pending());
    send.send(1).unwrap();
    assert_eq!(items.next().await, Some(1));
    assert_eq!(items.next().await, Some(2));
}

// G6.

/// G6, once, with its payload.
#[test]
fn a_panic_is_raised_once_after_the_items_before_it_and_then_comes_none() {
    let gone = Tally::new();
    let mut items = inline(&Context::background(), "", |_, co: InlineYielder<u8>| {
        let witness = gone.on_drop();
        async move {
            let _witness = witness;
            tokio::join!(co.yield_(1), async { resume_unwind(Box::new("out of paper")) });
        }
    });
    assert_eq!(ask(&mut items), Poll::Ready(Some(1)));
    assert_eq!(gone.count(), 1);
    assert!(!items.is_terminated());
    let raised = catch_unwind(AssertUnwindSafe(|| ask(&mut items))).unwrap_err();
    assert_eq!(message(&*raised), "out of paper");
    assert!(items.is_terminated());
    assert_eq!(ask(&mut items), Poll::Ready(None));
}

/// G6: a body that has panicked is not polled again, nor looked for.
#[test]
fn a_panic_without_an_item_is_raised_at_once() {
    let polls = Tally::new();
    let mut items = inline(&Context::background(), "", |_, _: InlineYielder<u8>| {
        let polls = polls.clone();
        std::future::poll_fn(move |_| -> Poll<()> {
            polls.tick();
            resume_unwind(Box::new("out of paper"))
        })
    });
    let raised = catch_unwind(AssertUnwindSafe(|| ask(&mut items))).unwrap_err();
    assert_eq!(message(&*raised), "out of paper");
    assert_eq!(ask(&mut items), Poll::Ready(None));
    assert_eq!(polls.count(), 1);
}

/// G6: of the destructors at its end, whatever the end; the body's own panic comes first.
#[test]
fn a_panic_of_a_destructor_is_raised_as_one_of_the_body() {
    let bad = || on_drop(|| resume_unwind(Box::new("of the destructor")));
    let (ctx, stop) = Context::background().with_cancel();
    let mut finishes = inline(&ctx, "", |_, co: InlineYielder<u8>| {
        let bad = bad();
        // Not a variable of the body: it goes with the body, after its last poll.
        let mut rest = Box::pin(async move {
            tokio::select! { biased; () = co.yield_(1) => {}, () = ready(()) => {} }
        });
        std::future::poll_fn(move |cx| {
            let _ = &bad;
            rest.as_mut().poll(cx)
        })
    });
    assert_eq!(ask(&mut finishes), Poll::Ready(Some(1)));
    let raised = catch_unwind(AssertUnwindSafe(|| ask(&mut finishes))).unwrap_err();
    assert_eq!((message(&*raised), ask(&mut finishes)), ("of the destructor", Poll::Ready(None)));

    let mut stopped = inline(&ctx, "", |_, co: InlineYielder<u8>| {
        let bad = bad();
        async move {
            let _bad = bad;
            co.yield_(1).await;
        }
    });
    assert_eq!(ask(&mut stopped), Poll::Ready(Some(1)));
    stop.cancel();
    let raised = catch_unwind(AssertUnwindSafe(|| ask(&mut stopped))).unwrap_err();
    assert_eq!((message(&*raised), ask(&mut stopped)), ("of the destructor", Poll::Ready(None)));
}

/// As of any value.
#[test]
fn a_panic_of_a_destructor_goes_on_out_of_the_drop_of_the_handle() {
    let after = Tally::new();
    let witness = after.on_drop();
    let items = inline(&Context::background(), "", |_, _: InlineYielder<u8>| async move {
        let _later = witness;
        let _bad = on_drop(|| resume_unwind(Box::new("of the destructor")));
        pending::<()>().await;
    });
    let mut items = items;
    assert!(ask(&mut items).is_pending());
    assert!(catch_unwind(AssertUnwindSafe(|| drop(items))).is_err());
    assert_eq!(after.count(), 1);
}

// Branches.

/// In the order of their first poll.
#[test]
fn yields_of_several_branches_all_arrive_in_order() {
    let mut items = inline(&Context::background(), "", |_, co: InlineYielder<u8>| async move {
        tokio::join!(
            async {
                co.yield_(1).await;
                co.yield_(4).await;
            },
            async {
                co.yield_(2).await;
                co.yield_(5).await;
            },
            co.yield_(3),
        );
        co.yield_(6).await;
    });
    let taken: Vec<_> = (0..6).map(|_| ask(&mut items)).collect();
    assert_eq!(taken, [1, 2, 3, 4, 5, 6].map(|n| Poll::Ready(Some(n))));
    assert_eq!(ask(&mut items), Poll::Ready(None));
}

/// With wakers that are not the consumer's.
#[test]
fn yields_in_a_set_of_futures_all_arrive_in_order() {
    let mut items = inline(&Context::background(), "", |_, co: InlineYielder<(u8, u8)>| async move {
        let co = &co;
        let mut set: FuturesUnordered<_> = (0..5)
            .map(|branch| async move {
                for step in 0..4 {
                    co.yield_((step, branch)).await;
                }
            })
            .collect();
        while set.next().await.is_some() {}
    });
    let mut taken = Vec::new();
    while let Poll::Ready(Some(item)) = ask(&mut items) {
        taken.push(item);
    }
    let mut sorted = taken.clone();
    sorted.sort_unstable();
    assert_eq!((taken.len(), &taken), (20, &sorted));
    assert!(items.is_terminated());
}

/// A yield that waits and is dropped takes its item along; the one that waits behind it is told.
#[test]
fn a_waiting_yield_that_is_dropped_lets_the_next_one_come() {
    type Waits<'a> = Cell<Option<Pin<Box<dyn Future<Output = ()> + 'a>>>>;

    let dropped = Tally::new();
    let mut items = inline(&Context::background(), "", |_, co: InlineYielder<(u8, _)>| {
        let item = |n| (n, dropped.on_drop());
        async move {
            let second: Waits<'_> = Cell::new(Some(Box::pin(co.yield_(item(2)))));
            let mut waits: FuturesUnordered<Pin<Box<dyn Future<Output = ()> + '_>>> = FuturesUnordered::new();
            waits.push(Box::pin(std::future::poll_fn(|cx| {
                let Some(mut waiting) = second.take() else { return Poll::Ready(()) };
                let polled = waiting.as_mut().poll(cx);
                second.set(Some(waiting));
                polled
            })));
            waits.push(Box::pin(co.yield_(item(3))));
            tokio::join!(
                biased;
                async {
                    co.yield_(item(1)).await;
                    // It is the first in the queue by now.
                    drop(second.take());
                },
                async { while waits.next().await.is_some() {} },
            );
            co.yield_(item(4)).await;
        }
    });
    let mut taken = Vec::new();
    while let Poll::Ready(Some((n, witness))) = ask(&mut items) {
        drop(witness);
        taken.push(n);
    }
    assert_eq!((taken, dropped.count()), (vec![1, 3, 4], 4));
}

// Within one another.

/// A yield of the outer one may be polled by the inner one: it is the outer one's poll all the same.
#[tokio::test]
async fn a_body_may_yield_from_within_a_body_that_it_polls() {
    #[generator(inline)]
    async fn after(first: impl Future<Output = ()>, n: u8) -> u8 {
        first.await;
        yield_!(n);
    }

    #[generator(inline)]
    async fn outer() -> u8 {
        let mut inner = after(async { yield_!(1) }, 2);
        while let Some(n) = inner.next().await {
            yield_!(n);
        }
        yield_!(3);
    }

    #[generator]
    async fn with_task() -> u8 {
        let mut inner = after(async { yield_!(1) }, 2);
        while let Some(n) = inner.next().await {
            yield_!(n);
        }
        let mut chained = outer();
        while let Some(n) = chained.next().await {
            yield_!(n + 2);
        }
    }

    assert_eq!(all(outer()).await, [1, 2, 3]);
    let taken: Vec<_> = with_task().collect().await;
    assert_eq!(taken, [1, 2, 3, 4, 5]);
}

/// And generators with a task in one without.
#[tokio::test]
async fn inline_and_spawned_ones_consume_one_another() {
    fn chained(depth: u8) -> Pin<Box<dyn Stream<Item = u8> + Send>> {
        if depth == 0 {
            return Box::pin(Generator::builder().spawn(&Context::background(), |_, co| async move {
                for n in 0..40 {
                    co.yield_(n).await;
                    tokio::task::yield_now().await;
                }
            }));
        }
        let mut below = chained(depth - 1);
        if depth.is_multiple_of(2) {
            return Box::pin(Generator::builder().spawn(&Context::background(), |_, co| async move {
                while let Some(n) = below.next().await {
                    co.yield_(n + 1).await;
                }
            }));
        }
        Box::pin(inline(&Context::background(), "", |_, co| async move {
            while let Some(n) = below.next().await {
                co.yield_(n + 1).await;
            }
        }))
    }

    let taken: Vec<_> = chained(100).collect().await;
    assert!(taken.into_iter().eq(100..140));
}

/// Of a spawned body the wakes that a `block_on` puts off are not lost (G8), also where an inline one within it waits for them.
#[test]
fn no_wake_is_lost_with_an_inline_body_in_a_spawned_one() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut outer = {
        let _inside = runtime.enter();
        Generator::builder().spawn(&Context::background(), |_, co| async move {
            let mut items = inline(&Context::background(), "", |_, co: InlineYielder<u8>| async move {
                tokio::task::yield_now().await;
                co.yield_(1).await;
            });
            while let Some(n) = items.next().await {
                co.yield_(n).await;
            }
        })
    };
    // Its last poll is the one in which the body gives way.
    let first = runtime.block_on(async { poll_once(pin!(outer.next()), Waker::noop()) });
    assert!(first.is_pending());
    runtime.block_on(async {
        let (heard, waker) = Wakes::new();
        if poll_once(pin!(outer.next()), &waker).is_pending() {
            settle().await;
            assert_eq!(heard.count(), 1);
            assert_eq!(poll_once(pin!(outer.next()), &waker), Poll::Ready(Some(1)));
        }
    });
}

// G8: anywhere, and no runtime needed.

#[test]
fn it_needs_no_runtime_and_moves_between_threads() {
    let (ctx, stop) = Context::background().with_cancel();
    let gone = Tally::new();
    thread::scope(|scope| {
        let mut items = silent_after(&ctx, 2, &gone);
        assert_eq!(futures_executor::block_on(items.next()), Some(0));
        let waiting = scope.spawn(move || {
            let first = futures_executor::block_on(items.next());
            (first, futures_executor::block_on(items.next()))
        });
        stop.cancel();
        let (first, end) = waiting.join().unwrap();
        assert!(matches!(first, Some(1) | None));
        assert_eq!(end, None);
    });
    assert_eq!(gone.count(), 1);
}

#[test]
fn nothing_need_be_send_and_all_is_that_may() {
    fn sent<T: Send + Sync + Unpin>(value: T) -> T {
        value
    }

    #[generator(inline)]
    async fn local(text: Rc<str>) -> Rc<str> {
        yield_!(Rc::clone(&text));
        yield_!(text);
    }

    #[generator(cancellable, inline)]
    async fn sendable<T: Send>(ctx: &Context, values: Vec<T>) -> T {
        for value in values {
            yield_!(value);
        }
    }

    assert_eq!(futures_executor::block_on(all(local("a".into()))).len(), 2);
    let items = sent(sendable(&Context::background(), vec![Cell::new(1)]));
    assert_eq!(futures_executor::block_on(all(items)), [Cell::new(1)]);
}

// G10.

/// G10: a consumer in a tight loop gives way, in a single thread.
#[tokio::test]
async fn a_consumer_of_items_that_are_ready_gives_way_to_other_tasks() {
    let turn = Arc::new(AtomicBool::new(false));
    let other = tokio::spawn({
        let turn = Arc::clone(&turn);
        async move { turn.store(true, Ordering::SeqCst) }
    });
    let mut items = inline(&Context::background(), "", |_, co| async move {
        for n in 0_u64.. {
            co.yield_(n).await;
        }
    });
    while !turn.load(Ordering::SeqCst) {
        assert!(items.next().await.unwrap() < 1_000_000, "no other task had its turn");
    }
    other.await.unwrap();
}

// Soundness.

/// A yield proves where it is polled.
#[test]
fn a_yield_outside_its_body_panics_and_one_that_outlives_it_returns() {
    let kept = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&kept);
    let mut items = inline(&Context::background(), "", |_, co: InlineYielder<u8>| {
        let co = Arc::new(co);
        *keep.lock().unwrap() = Some(Arc::clone(&co));
        async move { co.yield_(1).await }
    });
    let co = kept.lock().unwrap().take().unwrap();
    let outside = || catch_unwind(AssertUnwindSafe(|| poll_once(pin!(co.yield_(7)), Waker::noop())));
    assert!(outside().is_err());
    assert_eq!(ask(&mut items), Poll::Ready(Some(1)));
    assert!(outside().is_err());
    thread::scope(|scope| assert!(scope.spawn(|| outside().is_err()).join().unwrap()));
    let mut other = inline(&Context::background(), "", |_, _: InlineYielder<u8>| async {
        assert!(outside().is_err(), "within a body that is not its own");
    });
    assert_eq!(ask(&mut other), Poll::Ready(None));
    drop(other);
    assert_eq!(ask(&mut items), Poll::Ready(None));
    assert!(outside().unwrap().is_ready());
    thread::scope(|scope| assert!(scope.spawn(|| outside().unwrap().is_ready()).join().unwrap()));
    drop(items);
    assert!(outside().unwrap().is_ready());
}

/// What is forgotten is leaked, and nothing that it borrows is looked at again.
#[test]
fn what_is_forgotten_harms_nobody() {
    let (ctx, stop) = Context::background().with_cancel();
    let (heard, waker) = Wakes::new();
    {
        let text = "borrowed".to_owned();
        let text = &text;
        let mut items = inline(&ctx, "", |_, co| async move {
            for word in text.split(' ') {
                let mut forgotten = Box::pin(co.yield_(word));
                assert!(poll_once(forgotten.as_mut(), Waker::noop()).is_pending());
                mem::forget(forgotten);
            }
            pending::<()>().await;
        });
        assert_eq!(poll_next(&mut items, &waker), Poll::Ready(Some("borrowed")));
        assert!(poll_next(&mut items, &waker).is_pending());
        mem::forget(items);
    }
    stop.cancel();
    assert_eq!(heard.count(), 1);
    drop((ctx, stop));
}

/// Whoever keeps what a body handed out of itself.
#[test]
fn a_context_and_a_waker_that_are_kept_for_ever_keep_no_body() {
    let gone = Tally::new();
    let (ctx, _stop) = Context::background().with_cancel();
    let kept = Arc::new(Mutex::new(Vec::new()));
    let mut items = inline(&ctx, "", |ctx: Context, co: InlineYielder<u8>| {
        let (witness, kept) = (gone.on_drop(), Arc::clone(&kept));
        async move {
            let _witness = witness;
            let waker = std::future::poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
            kept.lock().unwrap().push((ctx, waker));
            co.yield_(1).await;
            pending::<()>().await;
        }
    });
    let (_, waker) = Wakes::new();
    assert_eq!(poll_next(&mut items, &waker), Poll::Ready(Some(1)));
    assert!(poll_next(&mut items, &waker).is_pending());
    drop(items);
    assert_eq!(gone.count(), 1);
    for (ctx, waker) in kept.lock().unwrap().drain(..) {
        waker.wake();
        assert!(ctx.is_done());
    }
}

/// A cancel comes from another thread at any moment: every consumer is told.
#[test]
fn a_cancel_at_any_moment_reaches_a_consumer_that_waits() {
    for _ in 0..300 {
        let (ctx, stop) = Context::background().with_cancel();
        let (started, begin) = mpsc::channel();
        let consumer = thread::spawn(move || {
            let mut items = inline(&ctx, "", |_, _: InlineYielder<u8>| pending());
            started.send(()).unwrap();
            futures_executor::block_on(items.next())
        });
        receive("the consumer", &begin);
        stop.cancel();
        assert_eq!(consumer.join().unwrap(), None);
    }
}

/// A waker may do anything, also end the generator's context once more.
#[test]
fn the_waker_that_a_cancel_wakes_may_use_the_context() {
    let (ctx, stop) = Context::background().with_cancel();
    let seen = Tally::new();
    let waker = waker_fn({
        let (ctx, seen) = (ctx.clone(), seen.clone());
        move || {
            assert!(ctx.is_done());
            seen.tick();
        }
    });
    let mut items = inline(&ctx, "", |_, _: InlineYielder<u8>| pending());
    assert!(poll_next(&mut items, &waker).is_pending());
    stop.cancel();
    assert_eq!(seen.count(), 1);
}

// The attribute.

#[tokio::test]
async fn results_end_as_they_do_with_a_task() {
    #[generator(inline)]
    async fn numbers(texts: &[&str]) -> Result<u64, Box<dyn Error>> {
        for text in texts {
            match *text {
                "end" => return,
                "skip" => yield_!(Err("skipped".into())),
                _ => yield_!(Ok(text.parse()?)),
            }
        }
    }

    let shown = |items: Vec<Result<u64, Box<dyn Error>>>| -> Vec<_> {
        items.into_iter().map(|item| item.map_err(|error| error.to_string())).collect()
    };
    assert_eq!(
        shown(all(numbers(&["1", "skip", "3", "end", "4"])).await),
        [Ok(1), Err("skipped".to_owned()), Ok(3)]
    );
    assert_eq!(
        shown(all(numbers(&["1", "x", "3"])).await),
        [Ok(1), Err("invalid digit found in string".to_owned())]
    );
}

mod borrows {
    use super::*;
    use std::fmt::Display;

    #[generator(inline)]
    async fn letters(word: &str) -> char {
        for letter in word.chars() {
            yield_!(letter);
        }
    }

    #[generator(inline)]
    async fn words(text: &str) -> &str {
        for word in text.split(' ') {
            yield_!(word);
        }
    }

    #[generator(cancellable, inline)]
    async fn words_below(ctx: &Context, text: &str) -> &str {
        for word in text.split(' ') {
            yield_!(word);
        }
    }

    #[generator(cancellable, inline)]
    async fn shown<T: Display>(
        ctx: &Context,
        values: &[T],
        other: Box<dyn Display + '_>,
        keep: impl Fn(&T) -> bool,
        sink: &mut Vec<usize>,
    ) -> String {
        for value in values {
            if keep(value) {
                sink.push(1);
                yield_!(value.to_string());
            }
        }
        yield_!(other.to_string());
    }

    struct Table<'t, T> {
        name: &'t str,
        rows: Vec<T>,
    }

    impl<'t, T: Clone> Table<'t, T> {
        #[generator(cancellable, inline)]
        async fn rows(&self, ctx: &Context, limit: usize) -> &T {
            for row in self.rows.iter().take(limit) {
                yield_!(row);
            }
        }

        #[generator(cancellable, inline)]
        async fn drained<'m>(&'m mut self, ctx: &Context, times: &mut usize) -> (&'t str, T) {
            while let Some(row) = self.rows.pop() {
                *times += 1;
                yield_!((self.name, row));
            }
        }

        #[generator(inline)]
        async fn popped(&mut self) -> T {
            while let Some(row) = self.rows.pop() {
                yield_!(row);
            }
        }

        #[generator(cancellable, inline)]
        async fn made(ctx: Context, row: T, times: usize) -> T {
            for _ in 0..times {
                yield_!(row.clone());
            }
        }
    }

    /// In generic functions and methods, with lifetimes that are left out; the context is a temporary.
    #[tokio::test]
    async fn arguments_self_and_items_are_borrowed_but_not_the_context() {
        let text = "one two".to_owned();
        assert_eq!(all(letters(&text)).await.len(), 7);
        assert_eq!(all(words(&text)).await, ["one", "two"]);
        let below = words_below(&Context::background(), &text);
        assert_eq!(all(below).await, ["one", "two"]);
        let mut sink = Vec::new();
        let values = [1, 2, 3];
        let items = {
            let ctx = Context::background();
            shown(&ctx, &values, Box::new(&text), |n| *n > 1, &mut sink)
        };
        assert_eq!(all(items).await, ["2", "3", "one two"]);
        assert_eq!(sink, [1, 1]);

        let mut table = Table { name: &text, rows: vec![1, 2, 3] };
        let rows = table.rows(&Context::background(), 2);
        assert_eq!(all(rows).await, [&1, &2]);
        let mut times = 0;
        let drained = table.drained(&Context::background(), &mut times);
        assert_eq!(all(drained).await.len(), 3);
        assert_eq!(all(table.popped()).await, []);
        assert_eq!(times, 3);
        let made = Table::made(Context::background(), &times, 2);
        assert_eq!(all(made).await, [&3, &3]);
    }
}
