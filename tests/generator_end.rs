//! G1: a generator ends when its context is done or its handle is dropped, wherever its body waits.
//!
//! Every test that parks a body at something else than a yield fails for an engine that looks at the end only when the
//! body yields.

#![allow(dead_code, reason = "of the shared modules each file takes what it needs")]

mod by_hand;
mod patience;
mod witness;

use by_hand::{Wakes, poll_next};
use ctx_runtime::{Context, ContextError, End, Generator};
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use patience::{receive, settle, until, within};
use std::future::{pending, poll_fn};
use std::sync::{Arc, Mutex, mpsc};
use std::task::Poll;
use std::thread::{self, ThreadId};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use witness::{Tally, on_drop};

/// A future that never ends, by the name of what it waits for, and what must be kept for that.
type Parking = (&'static str, BoxFuture<'static, ()>);

/// Everything that a body may wait at, but for a yield.
async fn parking_places() -> Vec<Parking> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (silent, _) = listener.accept().await.unwrap();
    let (sender, mut receiver) = tokio::sync::mpsc::channel::<u8>(1);
    let (oneshot_sender, oneshot) = tokio::sync::oneshot::channel::<()>();
    let locked = Arc::new(tokio::sync::Mutex::new(()));
    let guard = Arc::clone(&locked).lock_owned().await;
    let notify = Arc::new(tokio::sync::Notify::new());
    vec![
        ("pending()", Box::pin(pending())),
        (
            "a socket that never answers",
            Box::pin(async move {
                let _silent = silent;
                let _ = socket.read_u8().await;
            }),
        ),
        (
            "a listener that nobody connects to",
            Box::pin(async move {
                let _ = listener.accept().await;
            }),
        ),
        (
            "a channel that nobody sends to",
            Box::pin(async move {
                let _sender = sender;
                let _ = receiver.recv().await;
            }),
        ),
        (
            "a oneshot",
            Box::pin(async move {
                let _sender = oneshot_sender;
                let _ = oneshot.await;
            }),
        ),
        (
            "a lock that is taken",
            Box::pin(async move {
                let _guard = guard;
                drop(locked.lock().await);
            }),
        ),
        ("a notification", Box::pin(async move { notify.notified().await })),
        ("a very long sleep", Box::pin(tokio::time::sleep(Duration::from_secs(30_000_001)))),
        ("a context that is never done", Box::pin(async { Context::background().done().await })),
        (
            "the join of two that wait",
            Box::pin(async {
                tokio::join!(pending::<()>(), async { pending::<()>().await });
            }),
        ),
        (
            "a set of futures",
            Box::pin(async {
                let mut set: FuturesUnordered<_> = (0..10).map(|_| pending::<()>()).collect();
                set.next().await;
            }),
        ),
        (
            "a future that wakes itself",
            Box::pin(poll_fn(|cx| {
                cx.waker().wake_by_ref();
                Poll::Pending
            })),
        ),
        (
            "another generator",
            Box::pin(async {
                let mut silent =
                    Generator::builder().spawn::<u8, _, _>(&Context::background(), |_, _| pending());
                silent.next().await;
            }),
        ),
    ]
}

/// A generator whose body yields 0, then waits at `place`; it has been asked twice, so it is there.
async fn parked_at(place: BoxFuture<'static, ()>, ctx: &Context, dropped: &Tally) -> Generator<u8> {
    let (reached, guard) = (Tally::new(), dropped.on_drop());
    let at_place = reached.clone();
    let mut generator = Generator::builder().spawn(ctx, |_, co| async move {
        let _guard = guard;
        co.yield_(0).await;
        at_place.tick();
        place.await;
    });
    assert_eq!(within("the first item", generator.next()).await, Some(0));
    assert!(poll_next(&mut generator, &Wakes::new().1).is_pending());
    until("the body to be where it waits", || reached.count() == 1).await;
    settle().await;
    assert_eq!(dropped.count(), 0);
    generator
}

/// A generator whose body rests at a yield, whose item was taken.
async fn parked_at_a_yield(ctx: &Context, dropped: &Tally) -> Generator<u8> {
    let guard = dropped.on_drop();
    let mut generator = Generator::builder().spawn(ctx, |_, co| async move {
        let _guard = guard;
        loop {
            co.yield_(0).await;
        }
    });
    assert_eq!(within("the first item", generator.next()).await, Some(0));
    settle().await;
    generator
}

fn was_cancelled(generator: &Generator<u8>) -> ContextError {
    match generator.end() {
        Some(End::Cancelled(cause)) => cause.kind(),
        end => panic!("cancelled, but the end is {end:?}"),
    }
}

async fn no_task_is_left() {
    until("every task to be gone", || Handle::current().metrics().num_alive_tasks() == 0).await;
}

/// G1.
#[tokio::test]
async fn a_cancel_ends_a_body_that_waits_at_anything() {
    for (name, place) in parking_places().await {
        let dropped = Tally::new();
        let (ctx, canceller) = Context::background().with_cancel();
        let mut generator = parked_at(place, &ctx, &dropped).await;
        canceller.cancel();
        assert_eq!(dropped.count(), 0, "{name}: the canceller's thread ran a destructor");
        assert_eq!(within(name, generator.next()).await, None);
        assert_eq!(dropped.count(), 1, "{name}");
        assert_eq!(was_cancelled(&generator), ContextError::Cancelled);
        no_task_is_left().await;
    }
}

/// G1: the generator's own task sees to it; nobody asks.
#[tokio::test]
async fn a_cancel_ends_a_body_that_nobody_asks_any_more() {
    for (name, place) in parking_places().await {
        let dropped = Tally::new();
        let (ctx, canceller) = Context::background().with_cancel();
        let generator = parked_at(place, &ctx, &dropped).await;
        canceller.cancel();
        until(name, || dropped.count() == 1).await;
        until(name, || generator.end().is_some()).await;
        no_task_is_left().await;
        drop(generator);
        assert_eq!(dropped.count(), 1, "{name}: once");
    }
}

/// G1.
#[tokio::test]
async fn the_handle_ends_a_body_that_waits_at_anything() {
    for (name, place) in parking_places().await {
        let dropped = Tally::new();
        let mut generator = parked_at(place, &Context::background(), &dropped).await;
        generator.cancel();
        assert_eq!(dropped.count(), 0, "{name}");
        assert_eq!(within(name, generator.next()).await, None);
        assert_eq!(dropped.count(), 1, "{name}");
        no_task_is_left().await;
    }
}

/// G1. The clock is paused once the sockets are connected, so the deadline comes at once.
#[tokio::test]
async fn a_deadline_ends_a_body_that_waits_at_anything() {
    for (name, place) in parking_places().await {
        if name == "a future that wakes itself" {
            // It keeps the runtime busy, so that a paused clock would stand still.
            continue;
        }
        let dropped = Tally::new();
        let ctx = Context::background().with_timeout(Duration::from_secs(30));
        let mut generator = parked_at(place, &ctx, &dropped).await;
        tokio::time::pause();
        assert_eq!(within(name, generator.next()).await, None);
        assert_eq!(dropped.count(), 1, "{name}");
        assert_eq!(was_cancelled(&generator), ContextError::DeadlineExceeded);
        no_task_is_left().await;
        tokio::time::resume();
    }
}

/// G1: published by its timer. Nobody asks, nobody reads.
#[tokio::test]
async fn a_deadline_ends_a_body_that_nobody_asks_any_more() {
    for (name, place) in parking_places().await {
        if name == "a future that wakes itself" {
            continue;
        }
        let dropped = Tally::new();
        let ctx = Context::background().with_timeout(Duration::from_secs(30));
        let generator = parked_at(place, &ctx, &dropped).await;
        tokio::time::pause();
        tokio::time::sleep(Duration::from_secs(31)).await;
        until(name, || dropped.count() == 1).await;
        no_task_is_left().await;
        drop(generator);
        tokio::time::resume();
    }
}

/// G1 and G5.
#[tokio::test]
async fn a_dropped_handle_ends_a_body_that_waits_at_anything() {
    for (name, place) in parking_places().await {
        let dropped = Tally::new();
        let generator = parked_at(place, &Context::background(), &dropped).await;
        drop(generator);
        assert_eq!(dropped.count(), 1, "{name}");
        no_task_is_left().await;
        assert_eq!(dropped.count(), 1, "{name}: once");
    }
}

/// G1, at a yield: each of the ends.
#[tokio::test(start_paused = true)]
async fn a_body_that_rests_at_a_yield_ends_by_each_of_the_ends() {
    let dropped = Tally::new();
    let (ctx, canceller) = Context::background().with_cancel();
    let mut generator = parked_at_a_yield(&ctx, &dropped).await;
    canceller.cancel();
    assert_eq!(dropped.count(), 0);
    assert_eq!(within("after a cancel", generator.next()).await, None);
    assert_eq!(dropped.count(), 1);

    let (ctx, canceller) = Context::background().with_cancel();
    let generator = parked_at_a_yield(&ctx, &dropped).await;
    drop(canceller);
    until("the abandoned context to end it", || dropped.count() == 2).await;
    drop(generator);

    let ctx = Context::background().with_timeout(Duration::from_secs(1));
    let generator = parked_at_a_yield(&ctx, &dropped).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    until("the deadline", || dropped.count() == 3).await;
    assert_eq!(was_cancelled(&generator), ContextError::DeadlineExceeded);

    drop(parked_at_a_yield(&Context::background(), &dropped).await);
    assert_eq!(dropped.count(), 4);
    drop(generator);
    no_task_is_left().await;
    assert_eq!(dropped.count(), 4);
}

/// G1: a yield that starts after a cancel has returned.
#[tokio::test]
async fn a_yield_after_a_cancel_is_not_accepted_and_the_body_goes_no_further() {
    for buffer in [0, 1, 4] {
        let (dropped, items, passed) = (Tally::new(), Tally::new(), Tally::new());
        let (ctx, canceller) = Context::background().with_cancel();
        let mut generator = Generator::builder().buffer(buffer).spawn(&ctx, {
            let (dropped, items, passed) = (dropped.on_drop(), items.clone(), passed.clone());
            |_, co| async move {
                let _dropped = dropped;
                canceller.cancel();
                co.yield_(items.on_drop()).await;
                passed.tick();
            }
        });
        assert!(within("the end", generator.next()).await.is_none());
        assert_eq!((passed.count(), dropped.count(), items.count()), (0, 1, 1), "buffer {buffer}");
    }
}

/// G1, with a cancel from another thread in the middle of a poll.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_yield_after_a_cancel_from_another_thread_is_not_accepted() {
    let (ctx, canceller) = Context::background().with_cancel();
    let (running, is_running) = mpsc::channel();
    let (release, released) = mpsc::channel();
    let passed = Tally::new();
    let mut generator = Generator::builder().buffer(8).spawn(&ctx, {
        let passed = passed.clone();
        move |_, co| async move {
            co.yield_(1).await;
            running.send(()).unwrap();
            receive("the cancel to have returned", &released);
            co.yield_(2).await;
            passed.tick();
        }
    });
    receive("the body to run", &is_running);
    canceller.cancel();
    release.send(()).unwrap();
    assert_eq!(within("what was accepted", generator.next()).await, Some(1));
    assert_eq!(within("the end", generator.next()).await, None);
    assert_eq!(passed.count(), 0);
}

/// G1: not polled again. The body wakes itself all the time, so that every turn of the runtime would poll it.
#[tokio::test]
async fn a_body_is_not_polled_after_a_cancel() {
    let (ctx, canceller) = Context::background().with_cancel();
    let polls = Tally::new();
    let mut generator = Generator::builder().spawn::<u8, _, _>(&ctx, {
        let polls = polls.clone();
        |_, _| {
            poll_fn(move |cx| {
                polls.tick();
                cx.waker().wake_by_ref();
                Poll::Pending
            })
        }
    });
    assert!(poll_next(&mut generator, &Wakes::new().1).is_pending());
    until("a few polls", || polls.count() > 5).await;
    canceller.cancel();
    let polled = polls.count();
    settle().await;
    assert_eq!(within("the end", generator.next()).await, None);
    assert_eq!(polls.count(), polled);
}

/// G1: no body's destructors on the canceller's thread. The runtime's only thread waits for the canceller's, so nothing but
/// the canceller could have run them meanwhile.
#[tokio::test]
async fn a_cancel_runs_no_destructor_of_a_body_that_rests() {
    let dropped = Tally::new();
    let (ctx, canceller) = Context::background().with_cancel();
    let generators =
        [parked_at_a_yield(&ctx, &dropped).await, parked_at(Box::pin(pending()), &ctx, &dropped).await];
    thread::spawn(move || canceller.cancel()).join().unwrap();
    assert_eq!(dropped.count(), 0);
    until("their own tasks", || dropped.count() == 2).await;
    drop(generators);
}

/// G1.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn destructors_run_on_another_thread_than_the_cancellers() {
    for _ in 0..100 {
        let (ctx, canceller) = Context::background().with_cancel();
        let threads: Arc<Mutex<Vec<ThreadId>>> = Arc::default();
        let guard = on_drop({
            let threads = Arc::clone(&threads);
            move || threads.lock().unwrap().push(thread::current().id())
        });
        let mut generator = Generator::builder().spawn(&ctx, |_, co| async move {
            let _guard = guard;
            co.yield_(0_u8).await;
            pending::<()>().await;
        });
        assert_eq!(within("the item", generator.next()).await, Some(0));
        let canceller = thread::spawn(move || canceller.cancel());
        let cancelled_on = canceller.thread().id();
        canceller.join().unwrap();
        until("the destructor", || !threads.lock().unwrap().is_empty()).await;
        let threads = threads.lock().unwrap();
        assert_eq!(threads.len(), 1);
        assert_ne!(threads[0], cancelled_on);
    }
}

/// G1: exactly once, whoever comes first.
#[test]
fn destructors_run_once_when_every_kind_of_end_comes_at_the_same_time() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for round in 0..300 {
        let dropped = Tally::new();
        let (ctx, canceller) = Context::background().with_cancel();
        let notify = Arc::new(tokio::sync::Notify::new());
        let mut generator = {
            let _inside = runtime.enter();
            let (guard, notify) = (dropped.on_drop(), Arc::clone(&notify));
            Generator::builder().buffer(round % 2).spawn(&ctx, |_, co| async move {
                let _guard = guard;
                notify.notified().await;
                co.yield_(1).await;
            })
        };
        assert!(poll_next(&mut generator, &Wakes::new().1).is_pending());
        let start = std::sync::Barrier::new(3);
        thread::scope(|scope| {
            scope.spawn(|| {
                start.wait();
                canceller.cancel();
            });
            scope.spawn(|| {
                start.wait();
                notify.notify_one();
            });
            start.wait();
            drop(generator);
        });
        patience::wait_until("the body to be gone", || dropped.count() > 0);
        patience::wait_until("the task to be gone", || runtime.metrics().num_alive_tasks() == 0);
        assert_eq!(dropped.count(), 1);
    }
}

/// What the body starts with its own context ends with it, whatever ended it.
#[tokio::test]
async fn what_a_body_starts_with_its_context_ends_with_it() {
    let ends: [fn(Generator<u8>) -> BoxFuture<'static, ()>; 3] = [
        |generator| Box::pin(async move { drop(generator) }),
        |mut generator| {
            Box::pin(async move {
                generator.cancel();
                assert_eq!(generator.next().await, None);
            })
        },
        |mut generator| {
            Box::pin(async move {
                // Its body returns when it is asked again.
                assert_eq!(generator.next().await, None);
            })
        },
    ];
    for end in ends {
        let mut generator = Generator::builder().spawn(&Context::background(), |ctx, co| async move {
            tokio::spawn(async move { ctx.run(pending::<()>()).await.unwrap_err() });
            co.yield_(0).await;
        });
        assert_eq!(within("the item", generator.next()).await, Some(0));
        within("the end", end(generator)).await;
        no_task_is_left().await;
    }
}

/// A tree of generators, each below the last one's own context, ends from the top.
#[tokio::test]
async fn generators_that_own_generators_all_end_with_the_outermost() {
    fn nested(ctx: &Context, depth: u32, dropped: Tally) -> Generator<u32> {
        Generator::builder().spawn(ctx, move |ctx, co| async move {
            let _guard = dropped.on_drop();
            if depth > 0 {
                let mut inner = nested(&ctx, depth - 1, dropped);
                while let Some(n) = inner.next().await {
                    co.yield_(n + 1).await;
                }
            } else {
                co.yield_(0).await;
                pending::<()>().await;
            }
        })
    }
    let dropped = Tally::new();
    let (ctx, canceller) = Context::background().with_cancel();
    let mut outermost = nested(&ctx, 20, dropped.clone());
    assert_eq!(within("an item through all of them", outermost.next()).await, Some(20));
    assert_eq!(ctx.live().len(), 21);
    canceller.cancel();
    assert_eq!(within("the end", outermost.next()).await, None);
    until("all of them to end", || dropped.count() == 21).await;
    no_task_is_left().await;
    assert!(ctx.live().is_empty());
}
