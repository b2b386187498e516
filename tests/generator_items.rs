//! G2, G3 and G4: what runs when, what is accepted, and that what was accepted arrives.

#![allow(dead_code, reason = "of the shared modules each file takes what it needs")]

mod by_hand;
mod patience;
mod witness;

use by_hand::{Wakes, poll_next, poll_once};
use ctx_runtime::{Context, Generator, Yielder};
use futures_util::stream::{FuturesUnordered, StreamExt};
use patience::{settle, until, wait_until, within};
use std::cell::Cell;
use std::future::{pending, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::coop;
use witness::Tally;

/// A generator that counts up, and how far its body is: `begun` counts yields that were begun, `passed` those that it has
/// got past.
struct Steps {
    numbers: Generator<usize>,
    begun: Tally,
    passed: Tally,
}

fn steps(ctx: &Context, buffer: usize) -> Steps {
    let (begun, passed) = (Tally::new(), Tally::new());
    let numbers = Generator::builder().buffer(buffer).spawn(ctx, {
        let (begun, passed) = (begun.clone(), passed.clone());
        |_, co| async move {
            for n in 0.. {
                begun.tick();
                co.yield_(n).await;
                passed.tick();
            }
        }
    });
    Steps { numbers, begun, passed }
}

/// Asks by hand until the item is there; settles in between.
async fn ask<T: Send + 'static>(generator: &mut Generator<T>) -> Option<T> {
    for _ in 0..10 {
        if let Poll::Ready(item) = poll_next(generator, &Wakes::new().1) {
            return item;
        }
        settle().await;
    }
    panic!("no item came");
}

// G3, without a buffer.

/// G3.
#[tokio::test]
async fn nothing_runs_before_the_first_item_is_asked_for() {
    let mut it = steps(&Context::background(), 0);
    settle().await;
    assert_eq!(it.begun.count(), 0);
    assert_eq!(ask(&mut it.numbers).await, Some(0));
    assert_eq!(it.begun.count(), 1);
}

/// G3. Fails for an engine that goes on when an item is taken, and for one that goes on when it is asked.
#[tokio::test]
async fn a_body_is_past_a_yield_only_when_its_item_was_taken_and_the_next_is_asked_for() {
    let mut it = steps(&Context::background(), 0);
    for n in 0..5 {
        // Ask, and do not take: the body reaches yield `n` and rests there.
        let early = poll_next(&mut it.numbers, &Wakes::new().1);
        settle().await;
        assert_eq!((it.begun.count(), it.passed.count()), (n + 1, n), "asked for item {n}");
        // Take it: nothing moves.
        let item = match early {
            Poll::Ready(item) => item,
            Poll::Pending => ask(&mut it.numbers).await,
        };
        assert_eq!(item, Some(n));
        settle().await;
        assert_eq!((it.begun.count(), it.passed.count()), (n + 1, n), "item {n} was taken");
    }
}

/// G3: an item that is there and is not taken holds the body back, however often the runtime turns.
#[tokio::test]
async fn an_item_that_was_not_taken_holds_the_body_back() {
    let (send, receive) = oneshot::channel::<()>();
    let passed = Tally::new();
    let mut generator = Generator::builder().spawn(&Context::background(), {
        let passed = passed.clone();
        |_, co| async move {
            receive.await.unwrap();
            co.yield_(1).await;
            passed.tick();
            co.yield_(2).await;
            passed.tick();
        }
    });
    let (heard, waker) = Wakes::new();
    assert!(poll_next(&mut generator, &waker).is_pending());
    send.send(()).unwrap();
    settle().await;
    assert!(heard.count() >= 1);
    assert_eq!(passed.count(), 0);
    assert_eq!(poll_next(&mut generator, &waker), Poll::Ready(Some(1)));
    settle().await;
    assert_eq!(passed.count(), 0);
}

/// G3: a poll that comes just when the body answers the last one finds its item, or leaves it. Fails if it opens a request
/// of its own beside that item: then the body goes on before the item is taken.
#[test]
fn a_poll_that_comes_while_its_item_is_accepted_asks_for_no_second_one() {
    const ITEMS: usize = 100;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    for _ in 0..300 {
        let inside = runtime.enter();
        let (queued, passed) = (Tally::new(), Tally::new());
        let mut generator = Generator::builder().spawn(&Context::background(), {
            let (queued, passed) = (queued.clone(), passed.clone());
            |_, co| async move {
                // All in the queue, in order, before the second one is asked for.
                let mut yields: Vec<_> = (0..=ITEMS).map(|n| Box::pin(co.yield_(n))).collect();
                poll_fn(|cx| {
                    assert!(yields.iter_mut().all(|item| item.as_mut().poll(cx).is_pending()));
                    queued.tick();
                    Poll::Ready(())
                })
                .await;
                for item in yields.iter_mut().take(ITEMS) {
                    // Before it is accepted others come and go behind the last one, and keep the consumer's polls busy.
                    poll_fn(|cx| {
                        for _ in 0..10 {
                            assert!(pin!(co.yield_(usize::MAX)).poll(cx).is_pending());
                        }
                        Poll::Ready(())
                    })
                    .await;
                    item.await;
                    passed.tick();
                }
                pending::<()>().await;
            }
        });
        // From outside the runtime, so that the body runs on the other thread.
        drop(inside);
        let mut taken = usize::from(poll_next(&mut generator, Waker::noop()).is_ready());
        wait_until("the yields", || queued.count() == 1);
        wait_until("the items", || {
            if let Poll::Ready(item) = poll_next(&mut generator, Waker::noop()) {
                assert_eq!(item, Some(taken));
                taken += 1;
                // Nobody asks for the next one: time for a body that goes on all the same.
                for _ in 0..10 {
                    thread::yield_now();
                    assert!(
                        passed.count() < taken,
                        "the body is past the yield of the item that was taken last"
                    );
                }
            }
            taken == ITEMS
        });
    }
}

/// G3: a future `next()` that was not polled has asked for nothing.
#[tokio::test]
async fn a_next_that_is_never_polled_asks_for_nothing() {
    let mut it = steps(&Context::background(), 0);
    drop(it.numbers.next());
    settle().await;
    assert_eq!(it.begun.count(), 0);
}

/// G3 and G4: a dropped `next()` leaves its request standing, so the body goes on and its item is accepted.
#[tokio::test]
async fn a_dropped_next_leaves_its_request_standing() {
    let (send, receive) = oneshot::channel::<()>();
    let mut generator = Generator::builder().spawn(&Context::background(), |_, co| async move {
        receive.await.unwrap();
        co.yield_(1).await;
        co.yield_(2).await;
    });
    {
        let mut next = pin!(generator.next());
        assert!(poll_once(next.as_mut(), Waker::noop()).is_pending());
    }
    send.send(()).unwrap();
    settle().await;
    // It was accepted while nobody was polling, or the cancel would have it refused.
    generator.cancel();
    assert_eq!(within("the item", generator.next()).await, Some(1));
    assert_eq!(within("the end", generator.next()).await, None);
}

/// G3: an item is accepted only while one is asked for. The second of two yields at once is not.
#[tokio::test]
async fn a_yield_that_nobody_asked_for_is_not_accepted() {
    let dropped = Tally::new();
    let (first, second) = (dropped.on_drop(), dropped.on_drop());
    let mut generator = Generator::builder().spawn(&Context::background(), |_, co| async move {
        tokio::join!(co.yield_((1, first)), co.yield_((2, second)));
    });
    let (number, first) = within("the first", generator.next()).await.unwrap();
    assert_eq!(number, 1);
    settle().await;
    generator.cancel();
    assert!(within("the end", generator.next()).await.is_none());
    assert_eq!(dropped.count(), 1, "the second item went with the body");
    drop(first);
}

/// The same where the body is polled without a request, for what it waits for beside its yields.
#[tokio::test]
async fn a_yield_that_is_polled_though_nobody_asked_is_not_accepted() {
    for is_cancelled in [false, true] {
        let (went_on, dropped) = (Tally::new(), Tally::new());
        let (first, second, past) = (dropped.on_drop(), dropped.on_drop(), went_on.clone());
        let (send, receive) = tokio::sync::oneshot::channel();
        let mut generator = Generator::builder().spawn(&Context::background(), |_, co| async move {
            let yields = async {
                co.yield_((1, first)).await;
                past.tick();
            };
            let other = async {
                receive.await.unwrap();
                co.yield_((2, second)).await;
            };
            tokio::join!(yields, other);
        });
        let (number, first) = within("the first", generator.next()).await.unwrap();
        assert_eq!(number, 1);
        send.send(()).unwrap();
        settle().await;
        assert_eq!(went_on.count(), 0, "the first one waits for the next request");
        if is_cancelled {
            generator.cancel();
            assert!(within("the end", generator.next()).await.is_none());
            assert_eq!(dropped.count(), 1, "the second item went with the body");
        } else {
            assert_eq!(within("the second", generator.next()).await.map(|(number, _)| number), Some(2));
            assert!(within("the end", generator.next()).await.is_none());
        }
        drop(first);
        assert_eq!(dropped.count(), 2);
    }
}

/// G3: what else the body awaits goes on while a yield rests.
#[tokio::test]
async fn a_body_moves_on_by_itself_when_what_it_awaits_is_ready() {
    let (send, mut receive) = mpsc::unbounded_channel::<()>();
    let received = Tally::new();
    let mut generator = Generator::builder().spawn(&Context::background(), {
        let received = received.clone();
        |_, co| async move {
            tokio::join!(co.yield_(1), async {
                while receive.recv().await.is_some() {
                    received.tick();
                }
            });
        }
    });
    assert_eq!(within("the item", generator.next()).await, Some(1));
    for n in 1..10 {
        send.send(()).unwrap();
        settle().await;
        assert_eq!(received.count(), n);
    }
}

/// G3: never ran, whatever ended it; what it was given is dropped all the same.
#[tokio::test(start_paused = true)]
async fn a_generator_that_ends_before_it_was_asked_never_ran() {
    let (ran, dropped) = (Tally::new(), Tally::new());
    let start = |ctx: &Context| {
        let (ran, guard) = (ran.clone(), dropped.on_drop());
        Generator::builder().spawn(ctx, |_, co: Yielder<u8>| async move {
            let _guard = guard;
            ran.tick();
            co.yield_(1).await;
        })
    };

    drop(start(&Context::background()));
    assert_eq!(dropped.count(), 1);

    let generator = start(&Context::background());
    settle().await;
    drop(generator);
    assert_eq!(dropped.count(), 2);

    let (ctx, canceller) = Context::background().with_cancel();
    let mut ended = start(&ctx);
    canceller.cancel();
    assert_eq!(within("the end", ended.next()).await, None);

    let mut born_done = start(&ctx);
    assert_eq!(within("the end", born_done.next()).await, None);

    let mut late = start(&Context::background().with_timeout(Duration::from_secs(1)));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(within("the end", late.next()).await, None);

    let stopped = start(&Context::background());
    drop(within("the stop", stopped.stop()).await);

    assert_eq!((ran.count(), dropped.count()), (0, 6));
}

/// G3: under a done context a buffer changes nothing.
#[tokio::test]
async fn a_generator_with_a_buffer_under_a_done_context_never_ran() {
    let (ctx, canceller) = Context::background().with_cancel();
    canceller.cancel();
    let mut it = steps(&ctx, 4);
    settle().await;
    assert_eq!(within("the end", it.numbers.next()).await, None);
    assert_eq!(it.begun.count(), 0);
}

// G3, with a buffer.

/// G3: starts at once; at most N accepted ahead of the consumer, and one in the body's hand.
#[tokio::test]
async fn a_buffered_body_starts_at_once_and_is_at_most_its_buffer_ahead() {
    for buffer in [1, 2, 7, 64] {
        let mut it = steps(&Context::background(), buffer);
        settle().await;
        assert_eq!((it.begun.count(), it.passed.count()), (buffer + 1, buffer), "at rest, buffer {buffer}");
        for taken in 1..20 {
            let Poll::Ready(item) = poll_next(&mut it.numbers, Waker::noop()) else {
                panic!("a buffered item")
            };
            assert_eq!(item, Some(taken - 1));
            settle().await;
            assert_eq!(it.passed.count(), buffer + taken, "buffer {buffer}, {taken} taken");
            assert_eq!(it.begun.count(), buffer + taken + 1);
        }
    }
}

/// G3: a buffered body goes on as room is made, also when the consumer does not come back for more.
#[tokio::test]
async fn a_buffered_body_fills_its_buffer_again_without_being_asked() {
    let mut it = steps(&Context::background(), 3);
    settle().await;
    for n in 0..3 {
        assert_eq!(within("a buffered item", it.numbers.next()).await, Some(n));
    }
    settle().await;
    assert_eq!(it.passed.count(), 6);
}

// G2.

/// G2.
#[tokio::test]
async fn what_was_accepted_arrives_after_a_cancel_and_then_comes_none_for_ever() {
    for buffer in [1, 3, 10] {
        let (ctx, canceller) = Context::background().with_cancel();
        let mut it = steps(&ctx, buffer);
        settle().await;
        let accepted = it.passed.count();
        canceller.cancel();
        settle().await;
        for n in 0..accepted {
            assert_eq!(within("what was accepted", it.numbers.next()).await, Some(n), "buffer {buffer}");
        }
        for _ in 0..5 {
            assert_eq!(within("the end", it.numbers.next()).await, None);
        }
        assert_eq!(it.begun.count(), buffer + 1, "the body ran no further");
    }
}

/// G2.
#[tokio::test(start_paused = true)]
async fn what_was_accepted_arrives_after_a_deadline_and_after_the_end_of_the_body() {
    let mut it = steps(&Context::background().with_timeout(Duration::from_secs(1)), 2);
    settle().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(it.numbers.by_ref().collect::<Vec<_>>().await, [0, 1]);

    let mut three = Generator::builder().buffer(5).spawn(&Context::background(), |_, co| async move {
        for n in 0..3 {
            co.yield_(n).await;
        }
    });
    until("the body to end", || three.end().is_some()).await;
    assert_eq!(three.by_ref().collect::<Vec<_>>().await, [0, 1, 2]);
    assert_eq!(three.next().await, None);
}

/// G2, at speed, from another thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_item_arrives_once_and_in_order() {
    const ITEMS: usize = 20_000;
    for buffer in [0, 1, 2, 64] {
        let mut generator =
            Generator::builder().buffer(buffer).spawn(&Context::background(), |_, co| async move {
                for n in 0..ITEMS {
                    co.yield_(n).await;
                }
            });
        let consumer = tokio::spawn(async move {
            let mut expected = 0;
            while let Some(n) = generator.next().await {
                assert_eq!(n, expected);
                expected += 1;
            }
            expected
        });
        assert_eq!(within("all items", consumer).await.unwrap(), ITEMS);
    }
}

/// G2, with a cancel in the middle: what arrives is a beginning without gaps, and all that was accepted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_at_any_moment_leaves_no_gap() {
    for round in 0..300 {
        let (ctx, canceller) = Context::background().with_cancel();
        let mut it = steps(&ctx, round % 4);
        let cancel = std::thread::spawn(move || {
            for _ in 0..round * 10 {
                std::hint::spin_loop();
            }
            canceller.cancel();
        });
        let mut expected = 0;
        while let Some(n) = within("an item or the end", it.numbers.next()).await {
            assert_eq!(n, expected);
            expected += 1;
        }
        assert!(expected >= it.passed.count(), "the body got past a yield whose item never came");
        assert!(expected <= it.begun.count());
        cancel.join().unwrap();
    }
}

/// G2 and G5: each item is dropped exactly once, by the consumer, with the handle, or with the body.
#[tokio::test]
async fn every_item_is_dropped_exactly_once() {
    for buffer in [0, 1, 5] {
        for take in [0, 1, 4] {
            let (made, dropped) = (Tally::new(), Tally::new());
            let mut generator = Generator::builder().buffer(buffer).spawn(&Context::background(), {
                let (made, dropped) = (made.clone(), dropped.clone());
                |_, co| async move {
                    loop {
                        made.tick();
                        co.yield_(dropped.on_drop()).await;
                    }
                }
            });
            for taken in 1..=take {
                drop(within("an item", generator.next()).await.unwrap());
                assert_eq!(dropped.count(), taken);
            }
            settle().await;
            drop(generator);
            assert_eq!(dropped.count(), made.count(), "buffer {buffer}, {take} taken");
        }
    }
}

// G4.

/// G4.
#[tokio::test]
async fn dropping_a_pending_next_loses_no_item() {
    for buffer in [0, 1, 3] {
        let (send, mut receive) = mpsc::unbounded_channel();
        let mut generator =
            Generator::builder().buffer(buffer).spawn(&Context::background(), |_, co| async move {
                while let Some(n) = receive.recv().await {
                    co.yield_(n).await;
                }
            });
        for n in 0..100 {
            for _ in 0..n % 4 {
                let mut next = pin!(generator.next());
                assert!(poll_once(next.as_mut(), &Wakes::new().1).is_pending());
                tokio::task::yield_now().await;
            }
            send.send(n).unwrap();
            if n % 3 == 0 {
                settle().await;
            }
            if n % 5 == 0 {
                // The item may be there already; this `next` is dropped without having been polled.
                drop(generator.next());
            }
            assert_eq!(within("the item", generator.next()).await, Some(n), "buffer {buffer}");
        }
    }
}

/// G4, with a consumer whose `select!` goes elsewhere all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_selects_loses_no_item() {
    let mut generator = Generator::builder().spawn(&Context::background(), |_, co| async move {
        for n in 0..2_000 {
            if n % 3 == 0 {
                tokio::task::yield_now().await;
            }
            co.yield_(n).await;
        }
    });
    let (mut expected, mut elsewhere) = (0, 0);
    loop {
        tokio::select! {
            item = generator.next() => match item {
                Some(n) => {
                    assert_eq!(n, expected);
                    expected += 1;
                }
                None => break,
            },
            () = tokio::task::yield_now() => elsewhere += 1,
        }
    }
    assert_eq!(expected, 2_000);
    assert!(elsewhere > 0);
}

/// G4: who polls last is woken.
#[tokio::test]
async fn a_consumer_is_woken_through_the_waker_that_it_polled_with_last() {
    let (send, receive) = oneshot::channel::<()>();
    let mut generator = Generator::builder().spawn(&Context::background(), |_, co| async move {
        receive.await.unwrap();
        co.yield_(1).await;
    });
    let ((first, first_waker), (second, second_waker)) = (Wakes::new(), Wakes::new());
    assert!(poll_next(&mut generator, &first_waker).is_pending());
    settle().await;
    assert!(poll_next(&mut generator, &second_waker).is_pending());
    let before = first.count();
    send.send(()).unwrap();
    settle().await;
    assert!(second.count() >= 1);
    assert_eq!(first.count(), before, "the first waker was replaced");
    assert_eq!(poll_next(&mut generator, &first_waker), Poll::Ready(Some(1)));
}

// Yields of several branches.

#[tokio::test]
async fn yields_that_wait_at_the_same_time_are_served_in_the_order_of_their_first_poll() {
    for buffer in [0, 1, 2, 3] {
        let mut generator =
            Generator::builder().buffer(buffer).spawn(&Context::background(), |_, co| async move {
                let mut yields = [1, 2, 3].map(|n| Some(Box::pin(co.yield_(n))));
                // First polled in this order, and then in the order of their names.
                let mut order = [2, 0, 1];
                poll_fn(|cx| {
                    for place in order {
                        let waits =
                            yields[place].as_mut().is_some_and(|it| it.as_mut().poll(cx).is_pending());
                        if !waits {
                            yields[place] = None;
                        }
                    }
                    order = [0, 1, 2];
                    if yields.iter().any(Option::is_some) { Poll::Pending } else { Poll::Ready(()) }
                })
                .await;
            });
        let mut items = Vec::new();
        while let Some(n) = within("an item", generator.next()).await {
            items.push(n);
        }
        assert_eq!(items, [3, 1, 2], "buffer {buffer}");
    }
}

/// Also where the first poll finds the task's budget used up, and the yields are polled in another order after.
#[tokio::test]
async fn yields_that_give_way_at_the_same_time_are_served_in_the_order_of_their_first_poll() {
    for buffer in [1, 2, 3] {
        let mut generator =
            Generator::builder().buffer(buffer).spawn(&Context::background(), |_, co| async move {
                let mut yields = [1, 2, 3].map(|n| Some(Box::pin(co.yield_(n))));
                let mut order = [0, 1, 2];
                poll_fn(|cx| {
                    while let Poll::Ready(spent) = coop::poll_proceed(cx) {
                        spent.made_progress();
                    }
                    for place in order {
                        let waits =
                            yields[place].as_mut().is_some_and(|it| it.as_mut().poll(cx).is_pending());
                        assert!(waits, "there is no budget left");
                    }
                    Poll::Ready(())
                })
                .await;
                order.reverse();
                // Here is the budget of another poll.
                tokio::task::yield_now().await;
                poll_fn(|cx| {
                    for place in order {
                        let waits =
                            yields[place].as_mut().is_some_and(|it| it.as_mut().poll(cx).is_pending());
                        if !waits {
                            yields[place] = None;
                        }
                    }
                    if yields.iter().any(Option::is_some) { Poll::Pending } else { Poll::Ready(()) }
                })
                .await;
            });
        let mut items = Vec::new();
        while let Some(n) = within("an item", generator.next()).await {
            items.push(n);
        }
        assert_eq!(items, [1, 2, 3], "buffer {buffer}");
    }
}

#[tokio::test]
async fn joined_yields_all_arrive_in_order() {
    for buffer in [0, 1, 2, 5] {
        let mut generator =
            Generator::builder().buffer(buffer).spawn(&Context::background(), |_, co| async move {
                for n in 0..10 {
                    tokio::join!(
                        co.yield_(n * 3),
                        async {
                            co.yield_(n * 3 + 1).await;
                        },
                        co.yield_(n * 3 + 2)
                    );
                }
            });
        let mut items = Vec::new();
        while let Some(n) = within("an item", generator.next()).await {
            items.push(n);
        }
        assert_eq!(items, (0..30).collect::<Vec<_>>(), "buffer {buffer}");
    }
}

/// Foreign wakers: each yield is polled with a waker of the set's own.
#[tokio::test]
async fn yields_in_a_set_of_futures_all_arrive() {
    for buffer in [0, 1, 7] {
        let mut generator =
            Generator::builder().buffer(buffer).spawn(&Context::background(), |_, co| async move {
                let mut set: FuturesUnordered<_> = (0..100).map(|n| co.yield_(n)).collect();
                while set.next().await.is_some() {}
            });
        let mut items = Vec::new();
        while let Some(n) = within("an item", generator.next()).await {
            items.push(n);
        }
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>(), "buffer {buffer}");
    }
}

#[tokio::test]
async fn a_select_that_drops_a_waiting_yield_drops_its_item() {
    let dropped = Tally::new();
    let (send, receive) = oneshot::channel::<()>();
    let mut generator = Generator::builder().spawn(&Context::background(), {
        let guard = dropped.on_drop();
        |_, co| async move {
            let waiting = async {
                tokio::select! {
                    biased;
                    () = co.yield_((2, Some(guard))) => unreachable!("nobody asks until it is dropped"),
                    received = receive => received.unwrap(),
                }
            };
            tokio::join!(co.yield_((1, None)), waiting);
            co.yield_((3, None)).await;
        }
    });
    assert_eq!(within("the first", generator.next()).await.unwrap().0, 1);
    settle().await;
    assert_eq!(dropped.count(), 0);
    send.send(()).unwrap();
    settle().await;
    assert_eq!(dropped.count(), 1);
    assert_eq!(within("the third", generator.next()).await.unwrap().0, 3);
    assert!(within("the end", generator.next()).await.is_none());
}

/// A yield that is dropped in the middle of the queue does not stop those behind it.
#[tokio::test]
async fn a_waiting_yield_that_is_dropped_passes_its_turn_on() {
    for dropped in 0..4 {
        let mut generator = Generator::builder().spawn(&Context::background(), move |_, co| async move {
            let mut yields: Vec<_> = (0..4).map(|n| Some(Box::pin(co.yield_(n)))).collect();
            // The request that started the body is answered by the first of them; the rest queue up.
            tokio::join!(co.yield_(100), async {
                poll_fn(|cx| {
                    for waiting in yields.iter_mut().flatten() {
                        assert!(waiting.as_mut().poll(cx).is_pending());
                    }
                    Poll::Ready(())
                })
                .await;
                yields[dropped] = None;
                let mut left: FuturesUnordered<_> = yields.drain(..).flatten().collect();
                while left.next().await.is_some() {}
            });
        });
        let mut items = Vec::new();
        while let Some(n) = within("an item", generator.next()).await {
            items.push(n);
        }
        let expected: Vec<_> = std::iter::once(100).chain((0..4).filter(|n| *n != dropped)).collect();
        assert_eq!(items, expected);
    }
}

/// G2: accepted is accepted, also when its yield is dropped before it was told so.
#[tokio::test]
async fn an_accepted_item_arrives_though_its_yield_is_dropped() {
    let mut generator = Generator::builder().spawn(&Context::background(), |_, co| async move {
        let mut first = Box::pin(co.yield_(1));
        poll_fn(|cx| {
            let _ = first.as_mut().poll(cx);
            Poll::Ready(())
        })
        .await;
        drop(first);
        co.yield_(2).await;
    });
    let mut items = Vec::new();
    while let Some(n) = within("an item", generator.next()).await {
        items.push(n);
    }
    assert_eq!(items, [1, 2]);
}

#[tokio::test]
async fn a_yield_that_is_never_polled_yields_nothing() {
    let dropped = Tally::new();
    let guard = dropped.on_drop();
    let mut generator = Generator::builder().spawn(&Context::background(), |_, co| async move {
        drop(co.yield_((1, Some(guard))));
        co.yield_((2, None)).await;
    });
    assert_eq!(within("the second", generator.next()).await.unwrap().0, 2);
    assert_eq!(dropped.count(), 1);
}

/// The yielder is passed by reference into functions of the body's own.
#[tokio::test]
async fn a_yielder_may_be_lent_to_functions_and_called_recursively() {
    fn walk<'a>(depth: u32, co: &'a Yielder<u32>) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async move {
            if depth > 0 {
                walk(depth - 1, co).await;
                co.yield_(depth).await;
                walk(depth - 1, co).await;
            }
        })
    }
    let generator =
        Generator::builder().spawn(&Context::background(), |_, co| async move { walk(3, &co).await });
    assert_eq!(within("all of them", generator.collect::<Vec<_>>()).await, [1, 2, 1, 3, 1, 2, 1]);
}

/// Items need be `Send`, and nothing else.
#[tokio::test]
async fn items_may_be_of_any_size_and_need_not_be_sync() {
    let mut cells = Generator::builder().spawn(&Context::background(), |_, co| async move {
        co.yield_(Cell::new(7)).await;
    });
    assert_eq!(within("a cell", cells.next()).await.unwrap().get(), 7);

    let mut nothings = Generator::builder().buffer(1_000).spawn(&Context::background(), |_, co| async move {
        for _ in 0..3_000 {
            co.yield_(()).await;
        }
    });
    let mut count = 0;
    while within("a unit", nothings.next()).await.is_some() {
        count += 1;
    }
    assert_eq!(count, 3_000);

    let mut large = Generator::builder().buffer(2).spawn(&Context::background(), |_, co| async move {
        for n in 0..5_u8 {
            Box::pin(co.yield_([n; 16_384])).await;
        }
    });
    for n in 0..5 {
        assert_eq!(within("a large item", large.next()).await, Some([n; 16_384]));
    }
}

/// A body that never yields is asked once and for all; its consumer waits, and is not answered with an end.
#[tokio::test]
async fn a_silent_body_keeps_its_consumer_waiting() {
    let mut silent = Generator::builder().spawn::<u8, _, _>(&Context::background(), |_, _| pending());
    let (heard, waker) = Wakes::new();
    assert!(poll_next(&mut silent, &waker).is_pending());
    settle().await;
    assert!(poll_next(&mut silent, &waker).is_pending());
    assert_eq!(heard.count(), 0);
}
