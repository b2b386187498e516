//! G8, and what no promise says by name: safe code may be as hostile as it likes. Handles move between threads in the middle
//! of a wait, wakers panic, cancel and drop the handle that they wake, yielders leave their body.

#![allow(dead_code, reason = "of the shared modules each file takes what it needs")]

mod by_hand;
mod patience;
mod witness;

use by_hand::{Wakes, poll_next, poll_once, waker_fn, waker_that_drops};
use ctx_runtime::{Context, End, Generator, Yielder};
use futures_util::FutureExt;
use futures_util::future::FusedFuture;
use patience::{receive, settle, until, wait_until, within};
use std::cell::RefCell;
use std::future::{Future, pending, poll_fn};
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::task::{Poll, Waker};
use std::thread;
use tokio::runtime::{Handle, Runtime};
use witness::{OnDrop, Tally, on_drop, spite};

fn multi_thread() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn start_count(buffer: usize) -> Generator<u64> {
    Generator::builder().buffer(buffer).spawn(&Context::background(), |_, co| async move {
        for n in 0.. {
            if n % 7 == 0 {
                tokio::task::yield_now().await;
            }
            co.yield_(n).await;
        }
    })
}

/// The next item, on this thread, inside no runtime.
fn blocking_next<T: Send + 'static>(generator: &mut Generator<T>) -> Option<T> {
    loop {
        let (heard, waker) = Wakes::new();
        match poll_next(generator, &waker) {
            Poll::Ready(item) => return item,
            Poll::Pending => wait_until("the consumer to be woken", || heard.count() > 0),
        }
    }
}

/// G8: polled from any thread, inside any runtime or none, and moved from one to the next while an item is on its way.
#[test]
fn a_handle_moves_between_threads_and_runtimes_in_the_middle_of_a_wait() {
    let (home, other) = (multi_thread(), multi_thread());
    for buffer in [0, 1, 3] {
        let mut numbers = {
            let _inside = home.enter();
            start_count(buffer)
        };
        let mut expected = 0;
        for round in 0..200 {
            // Leave a request standing, with a waker that goes nowhere.
            if round % 2 == 0
                && let Poll::Ready(item) = poll_next(&mut numbers, Waker::noop())
            {
                assert_eq!(item, Some(expected));
                expected += 1;
            }
            let item;
            (numbers, item) = match round % 4 {
                0 => thread::spawn(move || {
                    let item = blocking_next(&mut numbers);
                    (numbers, item)
                })
                .join()
                .unwrap(),
                1 => other
                    .block_on(other.spawn(async move {
                        let item = within("an item", numbers.next()).await;
                        (numbers, item)
                    }))
                    .unwrap(),
                2 => home.block_on(async {
                    let item = within("an item", numbers.next()).await;
                    (numbers, item)
                }),
                _ => {
                    let item = blocking_next(&mut numbers);
                    (numbers, item)
                }
            };
            assert_eq!(item, Some(expected));
            expected += 1;
        }
    }
}

/// Two tasks that poll one handle by turns: each turn the waker of the other is stale.
#[test]
fn two_tasks_take_turns_at_one_handle() {
    for runtime in
        [multi_thread(), tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()]
    {
        let numbers = {
            let _inside = runtime.enter();
            Arc::new(Mutex::new(start_count(0)))
        };
        let taken = Arc::new(Mutex::new(Vec::new()));
        let tasks = [(); 2].map(|()| {
            let (numbers, taken) = (Arc::clone(&numbers), Arc::clone(&taken));
            runtime.spawn(async move {
                for _ in 0..500 {
                    // Poll once, let the other one have its turn, and poll again without waiting for the waker.
                    poll_fn(|cx| {
                        if let Poll::Ready(item) = poll_next(&mut numbers.lock().unwrap(), cx.waker()) {
                            taken.lock().unwrap().push(item.unwrap());
                        }
                        Poll::Ready(())
                    })
                    .await;
                    tokio::task::yield_now().await;
                }
            })
        });
        for task in tasks {
            runtime.block_on(within("a task", task)).unwrap();
        }
        let taken = taken.lock().unwrap();
        assert!(!taken.is_empty());
        assert!(taken.iter().copied().eq(0..taken.len() as u64), "once and in order");
    }
}

/// The consumer's waker panics when it is woken: nothing else is harmed, no item is lost.
#[test]
fn a_consumers_waker_that_panics_loses_no_item() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (send, mut receive) = tokio::sync::mpsc::unbounded_channel();
    let mut generator = {
        let _inside = runtime.enter();
        Generator::builder().spawn(&Context::background(), |_, co| async move {
            while let Some(n) = receive.recv().await {
                co.yield_(n).await;
            }
        })
    };
    for n in 0..10 {
        let woken = Tally::new();
        let waker = waker_fn({
            let woken = woken.clone();
            move || {
                woken.tick();
                panic!("a waker that panics, as the test wants it");
            }
        });
        assert!(poll_next(&mut generator, &waker).is_pending());
        send.send(n).unwrap();
        let _ = catch_unwind(AssertUnwindSafe(|| runtime.block_on(settle())));
        runtime.block_on(settle());
        assert!(woken.count() >= 1);
        assert_eq!(runtime.block_on(within("the item", generator.next())), Some(n));
    }
    drop(send);
    assert_eq!(runtime.block_on(within("the end", generator.next())), None);
    assert!(matches!(generator.end(), Some(End::Finished)), "{:?}", generator.end());
}

/// A waker of the body's own that panics when its yield is to go on. What was accepted arrives all the same (G2).
#[tokio::test]
async fn a_bodys_waker_that_panics_loses_no_item() {
    for buffer in [0, 1, 2] {
        let mut generator =
            Generator::builder().buffer(buffer).spawn(&Context::background(), |_, co| async move {
                let panics = waker_fn(|| panic!("a waker that panics, as the test wants it"));
                let mut yields: Vec<_> = (0..4).map(|n| Some(Box::pin(co.yield_(n)))).collect();
                // Whoever wakes one of these gets a panic; the body itself is woken by its own means and polls them all.
                poll_fn(|cx| {
                    for slot in &mut yields {
                        if slot.as_mut().is_some_and(|it| poll_once(it.as_mut(), &panics).is_ready()) {
                            *slot = None;
                        }
                    }
                    cx.waker().wake_by_ref();
                    if yields.iter().any(Option::is_some) { Poll::Pending } else { Poll::Ready(()) }
                })
                .await;
            });
        let mut items = Vec::new();
        for _ in 0..50 {
            match within("an item", AssertUnwindSafe(generator.next()).catch_unwind()).await {
                Ok(Some(item)) => items.push(item),
                Ok(None) => break,
                Err(_) => {}
            }
        }
        assert_eq!(items, [0, 1, 2, 3], "buffer {buffer}");
    }
}

/// A waker that cancels what it is woken for.
/// The panic of a waker is dropped, and what it carries panics in turn: neither an item, nor the end, nor another's wake is lost.
#[tokio::test]
async fn a_waker_whose_panic_panics_in_turn_costs_nobody_anything() {
    let (ctx, canceller) = Context::background().with_cancel();
    let mut generator = Generator::builder().spawn(&ctx, |_, co| async move {
        for n in 0..3 {
            tokio::task::yield_now().await;
            co.yield_(n).await;
        }
        std::future::pending::<()>().await;
    });
    let hostile = || waker_fn(|| spite());
    for expected in 0..3 {
        let mut item = poll_next(&mut generator, &hostile());
        while item.is_pending() {
            settle().await;
            item = poll_next(&mut generator, &hostile());
        }
        assert_eq!(item, Poll::Ready(Some(expected)));
    }
    assert!(poll_next(&mut generator, &hostile()).is_pending());
    let ((heard, waker), (also_heard, also)) = (Wakes::new(), Wakes::new());
    let mut waits = [(); 3].map(|()| Box::pin(canceller.cancel_and_wait()));
    for (wait, waker) in waits.iter_mut().zip([&waker, &hostile(), &also]) {
        assert!(poll_once(wait.as_mut(), waker).is_pending());
    }
    settle().await;
    assert_eq!((heard.count(), also_heard.count()), (1, 1));
    assert_eq!(poll_next(&mut generator, &hostile()), Poll::Ready(None));
}

#[tokio::test]
async fn a_waker_may_cancel_the_generator_that_wakes_it() {
    let (send, mut receive) = tokio::sync::mpsc::unbounded_channel();
    let (ctx, canceller) = Context::background().with_cancel();
    let mut generator = Generator::builder().spawn(&ctx, |_, co| async move {
        while let Some(n) = receive.recv().await {
            co.yield_(n).await;
        }
    });
    let waker = waker_fn(move || canceller.cancel());
    assert!(poll_next(&mut generator, &waker).is_pending());
    send.send(1).unwrap();
    settle().await;
    assert!(ctx.is_done());
    // It was accepted before its consumer was woken.
    assert_eq!(within("the item", generator.next()).await, Some(1));
    assert_eq!(within("the end", generator.next()).await, None);
}

/// A waker that drops the last handle: from within the body's own poll, from a cancel, and from the timer.
#[tokio::test(start_paused = true)]
async fn a_waker_may_drop_the_handle_that_it_wakes() {
    for way in 0..3 {
        let dropped = Tally::new();
        let (send, receive) = tokio::sync::oneshot::channel();
        let (ctx, canceller) =
            Context::background().with_timeout(std::time::Duration::from_secs(50)).with_cancel();
        let guard = dropped.on_drop();
        let generator = Generator::builder().spawn(&ctx, |_, co| async move {
            let _guard = guard;
            let _: Result<u8, _> = receive.await;
            co.yield_(1_u8).await;
        });
        let slot = Arc::new(Mutex::new(Some(generator)));
        let waker = waker_fn({
            let slot = Arc::clone(&slot);
            move || {
                let handle = slot.lock().unwrap().take();
                drop(handle);
            }
        });
        assert!(poll_next(slot.lock().unwrap().as_mut().unwrap(), &waker).is_pending());
        settle().await;
        match way {
            0 => send.send(1).unwrap(),
            1 => canceller.cancel(),
            _ => tokio::time::sleep(std::time::Duration::from_secs(61)).await,
        }
        until("the handle to be dropped", || slot.lock().unwrap().is_none()).await;
        until("the destructor", || dropped.count() == 1).await;
        until("its task to be gone", || Handle::current().metrics().num_alive_tasks() == 0).await;
        assert_eq!(dropped.count(), 1);
    }
}

/// A waker whose own destructor drops the handle, when another poll replaces it.
#[tokio::test]
async fn a_waker_may_drop_another_handle_when_it_is_replaced() {
    let dropped = Tally::new();
    let guard = dropped.on_drop();
    let mut other = Generator::builder().spawn(&Context::background(), |_, co| async move {
        let _guard = guard;
        co.yield_(1).await;
    });
    assert_eq!(within("the item", other.next()).await, Some(1));
    settle().await;
    let mut silent = Generator::builder().spawn::<u8, _, _>(&Context::background(), |_, _| pending());
    let held = Mutex::new(other);
    let hostile = waker_fn(move || {
        let _ = &held;
    });
    assert!(poll_next(&mut silent, &hostile).is_pending());
    drop(hostile);
    assert_eq!(dropped.count(), 0, "the generator keeps the waker");
    assert!(poll_next(&mut silent, Waker::noop()).is_pending());
    assert_eq!(dropped.count(), 1);
}

/// A waker whose own destructor panics, when another poll replaces it: the panic is that poll's, and nothing else is harmed.
#[tokio::test]
async fn a_waker_whose_destructor_panics_loses_neither_item_nor_body() {
    for buffer in [0, 1] {
        let (send, receive) = tokio::sync::oneshot::channel();
        let dropped = Tally::new();
        let guard = dropped.on_drop();
        let mut generator =
            Generator::builder().buffer(buffer).spawn(&Context::background(), |_, co| async move {
                let _guard = guard;
                co.yield_(receive.await.unwrap()).await;
                pending::<()>().await;
            });
        settle().await;
        let panics = Mutex::new(on_drop(|| panic!("a destructor that panics, as the test wants it")));
        let hostile = waker_fn(move || {
            let _ = &panics;
        });
        assert!(poll_next(&mut generator, &hostile).is_pending());
        drop(hostile);
        let _ = catch_unwind(AssertUnwindSafe(|| poll_next(&mut generator, Waker::noop())));
        send.send(1).unwrap();
        assert_eq!(within("the item", generator.next()).await, Some(1), "buffer {buffer}");
        settle().await;
        drop(generator);
        assert_eq!(dropped.count(), 1, "buffer {buffer}");
    }
}

/// A body that asks itself: nothing can come of it, and its context still ends it.
#[tokio::test]
async fn a_body_that_asks_itself_is_ended_by_its_context() {
    let (ctx, canceller) = Context::background().with_cancel();
    let slot: Arc<Mutex<Option<Generator<u8>>>> = Arc::default();
    let (dropped, asked) = (Tally::new(), Tally::new());
    let generator = Generator::builder().buffer(1).spawn(&ctx, {
        let (own, guard, asked) = (Arc::clone(&slot), dropped.on_drop(), asked.clone());
        |_, _| async move {
            let _guard = guard;
            let mut own = own.lock().unwrap().take().unwrap();
            asked.tick();
            own.next().await;
        }
    });
    *slot.lock().unwrap() = Some(generator);
    until("the body to ask", || asked.count() == 1).await;
    settle().await;
    assert_eq!(dropped.count(), 0);
    canceller.cancel();
    until("the body to be gone", || dropped.count() == 1).await;
    until("its task to be gone", || Handle::current().metrics().num_alive_tasks() == 0).await;
}

/// A body that stops itself, through the handle, and waits for its own end: it is dropped there.
#[tokio::test]
async fn a_body_that_waits_for_its_own_stop_is_dropped_there() {
    let slot: Arc<Mutex<Option<Generator<u8>>>> = Arc::default();
    let dropped = Tally::new();
    let generator = Generator::builder().buffer(1).spawn(&Context::background(), {
        let (own, guard) = (Arc::clone(&slot), dropped.on_drop());
        |_, _| async move {
            let _guard = guard;
            let own = own.lock().unwrap().take().unwrap();
            own.stop().await;
        }
    });
    *slot.lock().unwrap() = Some(generator);
    until("the body to be gone", || dropped.count() == 1).await;
    until("its task to be gone", || Handle::current().metrics().num_alive_tasks() == 0).await;
}

/// A yield that is polled outside its body's own poll panics, wherever that is, and its generator goes on.
#[test]
fn a_yield_outside_its_body_panics_there_and_the_generator_goes_on() {
    let runtime = multi_thread();
    let (send, results) = mpsc::channel();
    let mut generator = {
        let _inside = runtime.enter();
        Generator::builder().spawn(&Context::background(), |_, co| async move {
            let co = Arc::new(co);
            let outside = |co: &Yielder<u8>| {
                catch_unwind(AssertUnwindSafe(|| {
                    let _ = poll_once(pin!(co.yield_(99)), Waker::noop());
                }))
                .is_err()
            };
            let (in_thread, in_task) = (Arc::clone(&co), Arc::clone(&co));
            let thread = thread::spawn(move || outside(&in_thread)).join().unwrap();
            let task = tokio::spawn(async move { outside(&in_task) }).await.unwrap();
            send.send((thread, task)).unwrap();
            co.yield_(1).await;
        })
    };
    assert_eq!(runtime.block_on(within("the item", generator.next())), Some(1));
    assert_eq!(receive("what the yields did", &results), (true, true));
    assert_eq!(runtime.block_on(within("the end", generator.next())), None);
    assert!(matches!(generator.end(), Some(End::Finished)));
}

/// A boxed yield that was begun in its body and goes on elsewhere.
#[test]
fn a_yield_that_was_begun_in_its_body_cannot_go_on_elsewhere() {
    // Single-threaded: nobody can ask for the second item between the two polls.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (send, result) = mpsc::channel();
    let mut generator = {
        let _inside = runtime.enter();
        Generator::builder().spawn(&Context::background(), |_, co| async move {
            // One yield is accepted, and rests; a second one waits behind it.
            let co: &'static Yielder<u8> = Box::leak(Box::new(co));
            let (mut first, mut second) = (Box::pin(co.yield_(1)), Box::pin(co.yield_(2)));
            poll_fn(|cx| {
                assert!(first.as_mut().poll(cx).is_pending());
                assert!(second.as_mut().poll(cx).is_pending());
                Poll::Ready(())
            })
            .await;
            let elsewhere = thread::spawn(move || {
                catch_unwind(AssertUnwindSafe(|| poll_once(second.as_mut(), Waker::noop()))).is_err()
            });
            send.send(elsewhere.join().unwrap()).unwrap();
            first.await;
            co.yield_(3).await;
        })
    };
    let mut items = Vec::new();
    while let Some(item) = runtime.block_on(within("an item", generator.next())) {
        items.push(item);
    }
    assert!(receive("what the yield did", &result), "it panics there");
    assert_eq!(items, [1, 3], "the one that was taken elsewhere is dropped, and not accepted");
}

/// The drop of a waker is anybody's code, and comes when the yield that it was kept for has its turn: here it polls another one.
#[tokio::test]
async fn two_yields_do_not_take_the_same_place() {
    for buffer in [1, 0] {
        let mut generator = Generator::builder().buffer(buffer).spawn(&Context::background(), |_, co| {
            let co = Arc::new(co);
            let offer = move |n: u8| -> Pin<Box<dyn FusedFuture<Output = ()> + Send>> {
                let co = Arc::clone(&co);
                Box::pin(async move { co.yield_(n).await }.fuse())
            };
            let mut filler = offer(0);
            let mut ahead = Some(offer(9));
            let mut first = offer(1);
            let second = Arc::new(Mutex::new(offer(2)));
            let mut polls = 0;
            poll_fn(move |cx| {
                polls += 1;
                if polls == 1 {
                    // One fills the place, two wait for it.
                    let _ = poll_once(filler.as_mut(), cx.waker());
                    let ahead = ahead.as_mut().unwrap();
                    assert!(poll_once(ahead.as_mut(), cx.waker()).is_pending());
                    assert!(poll_once(first.as_mut(), cx.waker()).is_pending());
                    return Poll::Pending;
                }
                if polls == 2 {
                    // The place is free, and the one that waits at the head of the queue is dropped.
                    drop(ahead.take());
                    let second = Arc::clone(&second);
                    let is_first_drop = AtomicBool::new(true);
                    let hostile = waker_that_drops(move || {
                        if is_first_drop.swap(false, Ordering::SeqCst) {
                            let _ = poll_once(second.lock().unwrap().as_mut(), Waker::noop());
                        }
                    });
                    let _ = poll_once(first.as_mut(), &hostile);
                }
                let _ = poll_once(first.as_mut(), cx.waker());
                let _ = poll_once(second.lock().unwrap().as_mut(), cx.waker());
                Poll::<()>::Pending
            })
        });
        let mut items = Vec::new();
        while items.len() < 3 {
            items.extend(within("an item", generator.next()).await);
        }
        assert_eq!(items, [0, 1, 2], "buffer {buffer}");
    }
}

/// A yield of one generator in the body of another.
#[tokio::test]
async fn a_yield_in_the_body_of_another_generator_panics_there() {
    let mut outer = Generator::builder().spawn(&Context::background(), |ctx, co| async move {
        let co = Arc::new(co);
        let foreign = Arc::clone(&co);
        let mut inner = Generator::builder().spawn(&ctx, |_, own: Yielder<bool>| async move {
            let panicked = AssertUnwindSafe(foreign.yield_(0_u8)).catch_unwind().await.is_err();
            own.yield_(panicked).await;
        });
        assert_eq!(inner.next().await, Some(true));
        assert_eq!(inner.next().await, None);
        co.yield_(1).await;
    });
    assert_eq!(within("the item", outer.next()).await, Some(1));
    assert_eq!(within("the end", outer.next()).await, None);
    assert!(matches!(outer.end(), Some(End::Finished)), "{:?}", outer.end());
}

/// A yielder that has outlived its body returns at once, and drops the item.
#[tokio::test]
async fn a_yielder_that_outlives_its_body_returns_at_once() {
    let kept: Arc<Mutex<Option<Yielder<_>>>> = Arc::default();
    let dropped = Tally::new();
    let mut generator = Generator::builder().spawn(&Context::background(), {
        let kept = Arc::clone(&kept);
        |_, co| async move {
            *kept.lock().unwrap() = Some(co);
        }
    });
    assert!(within("the end", generator.next()).await.is_none());
    let co = kept.lock().unwrap().take().unwrap();
    within("a yield that nobody takes", co.yield_(dropped.on_drop())).await;
    assert_eq!(dropped.count(), 1);
    assert!(within("the end", generator.next()).await.is_none());
    drop(generator);
    within("a yield whose consumer is gone too", co.yield_(dropped.on_drop())).await;
    assert_eq!(dropped.count(), 2);
}

/// A destructor of the body that yields: nothing is accepted, nothing hangs, nothing is unsound.
#[tokio::test]
async fn a_yield_in_a_destructor_is_not_accepted() {
    let outcome = Arc::new(Mutex::new(None));
    let mut generator = Generator::builder().spawn(&Context::background(), {
        let outcome = Arc::clone(&outcome);
        |_, co| async move {
            let co = Arc::new(co);
            let in_destructor = Arc::clone(&co);
            let _guard = on_drop(move || {
                let polled = catch_unwind(AssertUnwindSafe(|| {
                    poll_once(pin!(in_destructor.yield_(99)), Waker::noop()).is_ready()
                }));
                *outcome.lock().unwrap() = Some(polled.is_ok());
            });
            co.yield_(1).await;
            pending::<()>().await;
        }
    });
    assert_eq!(within("the item", generator.next()).await, Some(1));
    generator.cancel();
    assert_eq!(within("the end", generator.next()).await, None);
    assert!(outcome.lock().unwrap().is_some());
}

/// The future of the body may be moved apart and polled by hand, with wakers of its own.
#[tokio::test]
async fn a_body_may_poll_its_yields_with_any_waker() {
    let mut generator = Generator::builder().spawn(&Context::background(), |_, co| async move {
        for n in 0..5 {
            let mut it = Box::pin(co.yield_(n));
            // Once with a waker that goes nowhere; then in earnest.
            if poll_once(it.as_mut(), Waker::noop()).is_pending() {
                it.await;
            }
        }
    });
    for n in 0..5 {
        assert_eq!(within("an item", generator.next()).await, Some(n));
    }
    assert_eq!(within("the end", generator.next()).await, None);
}

/// Everything at once, from all sides, for a while: nothing hangs, nothing is dropped twice, nothing is left.
#[test]
fn a_storm_of_starts_asks_cancels_and_drops_leaves_nothing() {
    let runtime = multi_thread();
    let (started, dropped) = (Tally::new(), Tally::new());
    let (ctx, _keep) = Context::background().with_cancel();
    thread::scope(|scope| {
        for seed in 0..3_usize {
            let (runtime, ctx, started, dropped) = (&runtime, &ctx, &started, &dropped);
            scope.spawn(move || {
                let _inside = runtime.enter();
                for round in 0..300 {
                    let way = (round * 7 + seed * 3) % 11;
                    let (child, canceller) = ctx.with_cancel();
                    started.tick();
                    let guard = dropped.on_drop();
                    let mut generator =
                        Generator::builder().buffer(way % 3).spawn(&child, move |ctx, co| async move {
                            let _guard = guard;
                            let mut inner = start_count(way % 2);
                            while let Some(n) = inner.next().await {
                                co.yield_(n).await;
                                if way == 5 {
                                    ctx.run(pending::<()>()).await.unwrap_err();
                                }
                            }
                        });
                    for n in 0..way as u64 % 4 {
                        if way == 5 && n > 0 {
                            break;
                        }
                        assert_eq!(blocking_next(&mut generator), Some(n));
                    }
                    let _ = poll_next(&mut generator, Waker::noop());
                    match way {
                        0..3 => drop(generator),
                        3..6 => {
                            canceller.cancel();
                            drop(generator);
                        }
                        6..8 => {
                            drop(runtime.spawn(async move { drop(generator) }));
                        }
                        8 => {
                            generator.cancel();
                            while blocking_next(&mut generator).is_some() {}
                        }
                        _ => drop(runtime.spawn(generator.stop())),
                    }
                }
            });
        }
    });
    wait_until("every body to be dropped", || dropped.count() == started.count());
    wait_until("every task to be gone", || runtime.metrics().num_alive_tasks() == 0);
    wait_until("the report to be empty", || ctx.live().is_empty());
    assert_eq!(dropped.count(), started.count());
}

/// A handle that is forgotten: its context ends it all the same, and its memory is all that is lost.
#[tokio::test]
async fn a_generator_whose_handle_is_forgotten_is_ended_by_its_context() {
    for buffer in [0, 1] {
        let (ctx, canceller) = Context::background().with_cancel();
        let dropped = Tally::new();
        let guard = dropped.on_drop();
        let mut generator = Generator::builder().buffer(buffer).spawn(&ctx, |_, co| async move {
            let _guard = guard;
            for n in 0.. {
                co.yield_(n).await;
            }
        });
        assert_eq!(within("the item", generator.next()).await, Some(0));
        mem::forget(generator);
        settle().await;
        assert_eq!(dropped.count(), 0);
        canceller.cancel();
        until("the body to be gone", || dropped.count() == 1).await;
        until("its task to be gone", || Handle::current().metrics().num_alive_tasks() == 0).await;
        assert!(ctx.live().is_empty());
    }
}

/// A `next()` that is forgotten in the middle of its wait is one that was dropped.
#[tokio::test]
async fn a_next_that_is_forgotten_leaves_its_request_standing() {
    for buffer in [0, 1] {
        let (send, mut receive) = tokio::sync::mpsc::unbounded_channel();
        let mut generator =
            Generator::builder().buffer(buffer).spawn(&Context::background(), |_, co| async move {
                while let Some(n) = receive.recv().await {
                    co.yield_(n).await;
                }
            });
        for n in 0..10 {
            let mut forgotten = Box::pin(generator.next());
            assert!(poll_once(forgotten.as_mut(), Waker::noop()).is_pending());
            mem::forget(forgotten);
            send.send(n).unwrap();
            settle().await;
            assert_eq!(within("the item", generator.next()).await, Some(n), "buffer {buffer}");
        }
    }
}

/// A yield that is forgotten after its item was accepted: that item arrives, and those of the next yields.
#[tokio::test]
async fn an_accepted_item_arrives_though_its_yield_is_forgotten() {
    let mut generator = Generator::builder().spawn(&Context::background(), |_, co| async move {
        for n in 0..10 {
            let mut it = Box::pin(co.yield_(n));
            if n % 2 == 0 {
                // The body was polled for a request, so this one is accepted.
                assert!(poll_fn(|cx| Poll::Ready(it.as_mut().poll(cx))).await.is_pending());
                mem::forget(it);
            } else {
                it.await;
            }
        }
    });
    let mut items = Vec::new();
    while let Some(item) = within("an item", generator.next()).await {
        items.push(item);
    }
    assert!(items.iter().copied().eq(0..10), "{items:?}");
}

/// A yield that is forgotten while it waits keeps its place: nothing comes after it, and the generator ends as any other.
#[tokio::test]
async fn a_yield_that_is_forgotten_while_it_waits_holds_up_no_end() {
    for way in 0..3 {
        for waker in [None, Some(Wakes::new().1)] {
            let (ctx, canceller) = Context::background().with_cancel();
            let dropped = Tally::new();
            let guard = dropped.on_drop();
            let mut generator = Generator::builder().spawn(&ctx, |_, co| async move {
                let _guard = guard;
                let (mut first, mut second) = (Box::pin(co.yield_(1)), Box::pin(co.yield_(2)));
                poll_fn(|cx| {
                    let waker = waker.as_ref().unwrap_or(cx.waker());
                    assert!(poll_once(first.as_mut(), waker).is_pending());
                    assert!(poll_once(second.as_mut(), waker).is_pending());
                    Poll::Ready(())
                })
                .await;
                mem::forget((first, second));
                co.yield_(3).await;
            });
            assert_eq!(within("the item", generator.next()).await, Some(1));
            assert!(poll_next(&mut generator, Waker::noop()).is_pending());
            settle().await;
            assert!(poll_next(&mut generator, Waker::noop()).is_pending());
            match way {
                0 => drop(generator),
                1 => canceller.cancel(),
                _ => drop(within("the end", generator.stop()).await),
            }
            until("the body to be gone", || dropped.count() == 1).await;
            until("its task to be gone", || Handle::current().metrics().num_alive_tasks() == 0).await;
        }
    }
}

/// The body's waker, kept for ever and woken where nobody expects it: from the body's own destructors, from those of its items, after
/// the end, after the handle, after the runtime, and from a thread-local that goes away.
#[test]
fn a_bodys_waker_that_is_kept_for_ever_may_be_woken_at_any_time() {
    type Wakes = OnDrop<Box<dyn FnMut()>>;
    thread_local! {
        static KEPT: RefCell<Vec<Wakes>> = const { RefCell::new(Vec::new()) };
    }
    for buffer in [0, 2] {
        let runtime = multi_thread();
        let kept: &'static Mutex<Vec<Waker>> = Box::leak(Box::default());
        let wake = || {
            let all = kept.lock().unwrap().clone();
            all.iter().for_each(Waker::wake_by_ref);
        };
        let dropped = Tally::new();
        let mut generator = {
            let (_inside, guard) = (runtime.enter(), dropped.on_drop());
            Generator::builder().buffer(buffer).spawn(&Context::background(), move |_, co| async move {
                let _guard = guard;
                let _wakes = on_drop(wake);
                poll_fn(|cx| {
                    kept.lock().unwrap().push(cx.waker().clone());
                    Poll::Ready(())
                })
                .await;
                loop {
                    co.yield_(on_drop(wake)).await;
                }
            })
        };
        drop(runtime.block_on(within("an item", generator.next())).expect("an item"));
        // An item, or several, that nobody takes.
        let _ = poll_next(&mut generator, Waker::noop()).map(mem::forget);
        thread::spawn(move || KEPT.with_borrow_mut(|all| all.push(on_drop(Box::new(wake))))).join().unwrap();
        generator.cancel();
        wake();
        wait_until("the body to be gone", || dropped.count() == 1);
        wake();
        drop(generator);
        wake();
        wait_until("its task to be gone", || runtime.metrics().num_alive_tasks() == 0);
        drop(runtime);
        thread::spawn(wake).join().unwrap();
        thread::spawn(move || KEPT.with_borrow_mut(|all| all.push(on_drop(Box::new(wake))))).join().unwrap();
        assert_eq!(dropped.count(), 1);
    }
}

/// A runtime that is gone right after the call: the body is dropped once, without having run, whoever comes first.
#[test]
fn a_driver_that_is_dropped_before_its_first_poll_takes_the_body_along() {
    for way in 0..4 {
        for buffer in [0, 1] {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let (dropped, polled) = (Tally::new(), Tally::new());
            let (guard, ran) = (dropped.on_drop(), polled.clone());
            let mut generator = {
                let _inside = runtime.enter();
                Generator::builder().buffer(buffer).spawn::<u8, _, _>(
                    &Context::background(),
                    |_, _| async move {
                        let _guard = guard;
                        ran.tick();
                    },
                )
            };
            let ctx = generator.context().clone();
            let (heard, waker) = Wakes::new();
            match way {
                0 => {}
                1 => assert!(poll_next(&mut generator, &waker).is_pending()),
                2 => generator.cancel(),
                _ => {
                    assert!(poll_next(&mut generator, &waker).is_pending());
                    drop(generator);
                    assert_eq!(dropped.count(), 1, "it rests, so the drop has it");
                    drop(runtime);
                    continue;
                }
            }
            drop(runtime);
            assert_eq!(dropped.count(), 1, "way {way}, buffer {buffer}");
            assert_eq!(heard.count(), usize::from(way == 1));
            assert_eq!(poll_next(&mut generator, Waker::noop()), Poll::Ready(None));
            assert!(generator.end().is_some() && ctx.is_done());
            drop(generator);
            assert_eq!((dropped.count(), polled.count()), (1, 0));
        }
    }
}

/// The drop of a handle, the cancel, and the driver that drops the body on another thread, all at the same time: once is enough.
#[test]
fn a_handle_is_dropped_while_its_driver_drops_the_body() {
    let runtime = multi_thread();
    let (ctx, _keep) = Context::background().with_cancel();
    let (bodies, items) = (Tally::new(), Tally::new());
    let mut made = Vec::new();
    for round in 0..600_usize {
        let (child, canceller) = ctx.with_cancel();
        let own = Tally::new();
        let guards = (own.on_drop(), bodies.on_drop(), items.clone());
        let mut generator = {
            let _inside = runtime.enter();
            Generator::builder().buffer(round % 3).spawn(&child, move |_, co| async move {
                // Dropped from the last to the first, with time between them.
                let (_first, _second, items) = guards;
                let _slow = on_drop(|| (0..round % 50).for_each(|_| thread::yield_now()));
                loop {
                    co.yield_(items.on_drop()).await;
                }
            })
        };
        if round % 2 == 0 {
            drop(blocking_next(&mut generator).expect("an item"));
        }
        let start = Arc::new(Barrier::new(2));
        let other = thread::spawn({
            let start = Arc::clone(&start);
            move || {
                start.wait();
                canceller.cancel();
            }
        });
        start.wait();
        (0..round % 7).for_each(|_| thread::yield_now());
        drop(generator);
        other.join().unwrap();
        made.push(own);
    }
    wait_until("every body to be dropped", || bodies.count() == 600);
    wait_until("every task to be gone", || runtime.metrics().num_alive_tasks() == 0);
    assert!(made.iter().all(|own| own.count() == 1), "each once");
    assert!(ctx.live().is_empty());
}

/// A cancel runs no destructor, so one may hold a lock that a destructor takes.
#[test]
fn a_canceller_may_hold_a_lock_that_a_destructor_takes() {
    let (send, done) = mpsc::channel();
    let thread = thread::spawn(move || {
        for runtime in
            [multi_thread(), tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()]
        {
            for way in 0..4 {
                let lock = Arc::new(Mutex::new(0));
                let (ctx, canceller) = Context::background().with_cancel();
                let start = |waits: bool| {
                    let _inside = runtime.enter();
                    let taken = Arc::clone(&lock);
                    Generator::builder().buffer(way % 2).spawn(&ctx, move |_, co| async move {
                        let _takes = on_drop(move || *taken.lock().unwrap() += 1);
                        co.yield_(0).await;
                        if waits {
                            pending::<()>().await;
                        }
                        loop {
                            co.yield_(1).await;
                        }
                    })
                };
                let mut generators = [start(true), start(false)];
                for generator in &mut generators {
                    assert_eq!(runtime.block_on(within("the item", generator.next())), Some(0));
                    let _ = runtime.block_on(async { poll_next(generator, Waker::noop()) });
                }
                let held = lock.lock().unwrap();
                if way < 2 {
                    canceller.cancel();
                } else {
                    generators.iter().for_each(Generator::cancel);
                }
                assert_eq!(*held, 0);
                drop(held);
                for mut generator in generators {
                    while runtime.block_on(within("what is left", generator.next())).is_some() {}
                }
                assert_eq!(*lock.lock().unwrap(), 2);
            }
        }
        send.send(()).unwrap();
    });
    receive("the cancels to return", &done);
    thread.join().unwrap();
}
