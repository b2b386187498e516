//! G8: who may run a body. A consumer that asks runs it on its own thread, but inside the body's own runtime only, whatever executor,
//! runtime or thread it asks from; else its driver does. Each test has the body look, at every poll, where it is.

#![allow(dead_code, reason = "of the shared modules each file takes what it needs")]

mod by_hand;
mod patience;
mod witness;

use by_hand::{Wakes, poll_next, poll_once};
use ctx_runtime::{Context, End, Generator, Yielder};
use futures_util::stream::{FuturesUnordered, Stream, StreamExt, unfold};
use patience::{receive, settle, until, wait_until, within};
use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::{LocalSet, block_in_place, yield_now};
use witness::{Tally, on_drop};

const BUFFERS: [usize; 4] = [0, 1, 2, 64];

fn multi_thread() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn current_thread() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

thread_local! {
    /// A consumer of this file is asking on this thread, within `ask`.
    static ASKING: Cell<bool> = const { Cell::new(false) };
}

/// Where a body was polled.
#[derive(Clone, Default)]
struct Polls {
    /// By a consumer that uses `ask`.
    by_consumer: Tally,
    by_driver: Tally,
    /// Inside another runtime than its own, or none.
    astray: Tally,
}

impl Polls {
    /// `body`, which belongs in the runtime of `home`, under observation.
    fn of<F: Future<Output = ()> + Send>(
        &self,
        home: &Handle,
        body: F,
    ) -> impl Future<Output = ()> + Send + use<F> {
        let (polls, home, mut body) = (self.clone(), home.id(), Box::pin(body));
        poll_fn(move |cx| {
            if ASKING.get() {
                polls.by_consumer.tick();
            } else {
                polls.by_driver.tick();
            }
            if !Handle::try_current().is_ok_and(|here| here.id() == home) {
                polls.astray.tick();
            }
            body.as_mut().poll(cx)
        })
    }

    fn assert_at_home(&self) {
        assert!(self.by_consumer.count() + self.by_driver.count() > 0, "it was polled");
        assert_eq!(self.astray.count(), 0, "polls outside its runtime");
    }
}

/// Counts up for ever. Each third item takes a look at the runtime: a task, a timer, and a turn of the scheduler.
fn count(home: &Runtime, buffer: usize, polls: &Polls) -> Generator<u64> {
    let _inside = home.enter();
    let (polls, home) = (polls.clone(), home.handle().clone());
    Generator::builder().buffer(buffer).spawn(&Context::background(), move |_, co| {
        polls.of(&home, async move {
            for n in 0.. {
                if n % 3 == 1 {
                    tokio::spawn(async {}).await.unwrap();
                    tokio::time::sleep(Duration::ZERO).await;
                }
                if n % 3 == 2 {
                    yield_now().await;
                }
                co.yield_(n).await;
            }
        })
    })
}

/// The next item; polls of the body that happen within its poll are the consumer's.
async fn ask<T: Send + 'static>(generator: &mut Generator<T>) -> Option<T> {
    poll_fn(|cx| {
        let before = ASKING.replace(true);
        let polled = poll_next(generator, cx.waker());
        ASKING.set(before);
        polled
    })
    .await
}

/// Both kinds of `block_on` give a future the same waker and no task: only the runtime tells them apart.
#[test]
fn a_body_finds_its_own_runtime_though_one_thread_blocks_on_two() {
    for buffer in BUFFERS {
        let (home, other) = (multi_thread(), multi_thread());
        let polls = Polls::default();
        let mut numbers = count(&home, buffer, &polls);
        for n in 0..60 {
            let runtime = if n % 2 == 0 { &home } else { &other };
            assert_eq!(runtime.block_on(within("an item", ask(&mut numbers))), Some(n));
        }
        polls.assert_at_home();
    }
}

/// The same with single-threaded runtimes, where the body's own stands still while the other one turns.
#[test]
fn a_body_waits_for_its_own_single_threaded_runtime() {
    for buffer in BUFFERS {
        let (home, other) = (current_thread(), current_thread());
        let polls = Polls::default();
        let mut numbers = count(&home, buffer, &polls);
        for n in 0..30 {
            let early = other.block_on(async {
                let early = poll_next(&mut numbers, Waker::noop());
                settle().await;
                early
            });
            let item = match early {
                Poll::Ready(item) => item,
                // Settles within the same `block_on`, whose end must not come between the body and a wake.
                Poll::Pending => home.block_on(async {
                    let item = within("an item", ask(&mut numbers)).await;
                    settle().await;
                    item
                }),
            };
            assert_eq!(item, Some(n), "buffer {buffer}");
            if n % 5 == 0 {
                home.block_on(settle());
            }
        }
        polls.assert_at_home();
    }
}

/// A task of the body's own runtime that has asked before, and now blocks its thread on another runtime.
#[test]
fn a_task_that_blocks_on_another_runtime_does_not_take_the_body_along() {
    for buffer in BUFFERS {
        let (home, other) = (multi_thread(), multi_thread());
        let polls = Polls::default();
        let mut numbers = count(&home, buffer, &polls);
        let task = home.spawn(async move {
            for n in (0..60).step_by(3) {
                assert_eq!(within("an item in the task", ask(&mut numbers)).await, Some(n));
                let item = block_in_place(|| other.block_on(within("elsewhere", ask(&mut numbers))));
                assert_eq!(item, Some(n + 1));
                // Once more within the same poll of the task.
                let item = block_in_place(|| other.block_on(within("elsewhere", ask(&mut numbers))));
                assert_eq!(item, Some(n + 2));
            }
            other.shutdown_background();
        });
        home.block_on(within("the task", task)).unwrap();
        polls.assert_at_home();
    }
}

/// The other way round: a task of another runtime that asked before, and now blocks on the body's own.
#[test]
fn a_task_of_another_runtime_that_blocks_on_the_bodys_own_gets_its_items() {
    for buffer in BUFFERS {
        let (home, other) = (Arc::new(multi_thread()), multi_thread());
        let polls = Polls::default();
        let mut numbers = count(&home, buffer, &polls);
        let blocked_on = Arc::clone(&home);
        let task = other.spawn(async move {
            for n in (0..40).step_by(2) {
                assert_eq!(within("an item in the task", ask(&mut numbers)).await, Some(n));
                let item = block_in_place(|| blocked_on.block_on(within("at home", ask(&mut numbers))));
                assert_eq!(item, Some(n + 1));
            }
            block_in_place(|| drop(blocked_on));
        });
        other.block_on(within("the task", task)).unwrap();
        polls.assert_at_home();
    }
}

/// Asks all of `generators` for `rounds` items each, at the same time, through one set of futures.
async fn ask_in_a_set(generators: Vec<Generator<u64>>, rounds: u64) {
    let next = |mut generator: Generator<u64>, n: u64| async move {
        let item = ask(&mut generator).await;
        assert_eq!(item, Some(n), "in order, each by itself");
        (generator, n)
    };
    let mut set: FuturesUnordered<_> = generators.into_iter().map(|generator| next(generator, 0)).collect();
    while let Some((generator, n)) = within("any item", set.next()).await {
        if n + 1 < rounds {
            set.push(next(generator, n + 1));
        }
    }
}

/// The waker that a set of futures gives each of them belongs to no task.
#[test]
fn a_consumer_in_a_set_of_futures_gets_the_items_of_all() {
    for home in [current_thread(), multi_thread()] {
        let polls = Polls::default();
        let start = || (0..40).map(|n| count(&home, BUFFERS[n % BUFFERS.len()], &polls)).collect::<Vec<_>>();
        home.block_on(ask_in_a_set(start(), 20));
        home.block_on(home.spawn(ask_in_a_set(start(), 20))).unwrap();
        assert!(polls.by_consumer.count() > 0, "a consumer at home helps");
        polls.assert_at_home();
    }
    let (home, other) = (multi_thread(), current_thread());
    let polls = Polls::default();
    let generators = (0..40).map(|n| count(&home, BUFFERS[n % BUFFERS.len()], &polls)).collect();
    other.block_on(ask_in_a_set(generators, 20));
    assert_eq!(polls.by_consumer.count(), 0, "one elsewhere does not");
    polls.assert_at_home();
}

/// Within a `LocalSet`, in the future that it runs and in its tasks.
#[test]
fn a_consumer_in_a_local_set_gets_its_items() {
    for home in [current_thread(), multi_thread()] {
        for buffer in BUFFERS {
            let (outside, inside) = (Polls::default(), Polls::default());
            let mut numbers = count(&home, buffer, &outside);
            let mut others = count(&home, buffer, &inside);
            let set = LocalSet::new();
            home.block_on(set.run_until(async move {
                for n in 0..20 {
                    assert_eq!(within("an item", ask(&mut numbers)).await, Some(n));
                }
                let task = tokio::task::spawn_local(async move {
                    for n in 0..20 {
                        assert_eq!(within("an item", ask(&mut others)).await, Some(n));
                    }
                    // And from one to the other.
                    (numbers, others)
                });
                let (mut numbers, mut others) = within("the local task", task).await.unwrap();
                assert_eq!(within("an item", ask(&mut numbers)).await, Some(20));
                assert_eq!(within("an item", ask(&mut others)).await, Some(20));
            }));
            for polls in [outside, inside] {
                assert!(buffer > 0 || polls.by_consumer.count() > 0, "a consumer at home helps");
                polls.assert_at_home();
            }
        }
    }
}

/// A waker proves nothing: a yield that is polled on another thread, with a clone of the body's own waker, while that body
/// runs and waits for it.
#[test]
fn a_yield_on_another_thread_panics_though_it_has_the_bodys_own_waker() {
    for buffer in BUFFERS {
        let runtime = current_thread();
        let (send, results) = mpsc::channel();
        let mut generator = {
            let _inside = runtime.enter();
            Generator::builder().buffer(buffer).spawn(&Context::background(), |_, co| async move {
                let co = Arc::new(co);
                let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
                let boxed = |item: u8| {
                    let co = Arc::clone(&co);
                    Box::pin(async move { co.yield_(item).await })
                };
                // One that is new, and one that waits behind as many as find room.
                let (new, mut begun) = (boxed(98), boxed(99));
                let mut before: Vec<_> = (0..=buffer).map(|_| boxed(1)).collect();
                let mut going = Vec::new();
                poll_fn(|cx| {
                    for mut it in before.drain(..) {
                        if it.as_mut().poll(cx).is_pending() {
                            going.push(it);
                        }
                    }
                    assert!(begun.as_mut().poll(cx).is_pending());
                    Poll::Ready(())
                })
                .await;
                let outcomes = thread::spawn(move || {
                    [new, begun].map(|mut it| {
                        let polled = catch_unwind(AssertUnwindSafe(|| poll_once(it.as_mut(), &waker)));
                        let panic = polled.expect_err("it panics there");
                        panic.downcast_ref::<&str>().map(|message| (*message).to_owned())
                    })
                });
                send.send(outcomes.join().unwrap()).unwrap();
                for it in going {
                    it.await;
                }
                co.yield_(3).await;
            })
        };
        let mut items = Vec::new();
        while let Some(item) = runtime.block_on(within("an item", generator.next())) {
            items.push(item);
        }
        for message in receive("what the yields did", &results) {
            let message = message.expect("a message");
            assert!(message.contains("only from within its own body"), "{message}");
        }
        let expected: Vec<u8> = std::iter::repeat_n(1, buffer + 1).chain([3]).collect();
        assert_eq!(items, expected, "buffer {buffer}: what was polled elsewhere is not accepted");
        assert!(matches!(generator.end(), Some(End::Finished)), "{:?}", generator.end());
    }
}

/// The same while the body rests, and nobody runs it.
#[test]
fn a_yield_of_a_resting_body_panics_on_another_thread() {
    let runtime = current_thread();
    let taken = Arc::new(Mutex::new(None));
    let mut generator = {
        let (_inside, taken) = (runtime.enter(), Arc::clone(&taken));
        Generator::builder().spawn(&Context::background(), |_, co| async move {
            let co = Arc::new(co);
            let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
            let begun = Arc::clone(&co);
            *taken.lock().unwrap() = Some((Box::pin(async move { begun.yield_(99).await }), waker));
            co.yield_(1).await;
            co.yield_(2).await;
        })
    };
    assert_eq!(runtime.block_on(within("the item", generator.next())), Some(1));
    let (mut begun, waker) = taken.lock().unwrap().take().unwrap();
    let panicked = thread::spawn(move || {
        let panicked = catch_unwind(AssertUnwindSafe(|| poll_once(begun.as_mut(), &waker))).is_err();
        waker.wake();
        panicked
    });
    assert!(panicked.join().unwrap());
    assert_eq!(runtime.block_on(within("the item", generator.next())), Some(2));
    assert_eq!(runtime.block_on(within("the end", generator.next())), None);
}

/// A destructor of a thread-local, where tokio's own may be gone: it asks, cancels, and drops the handle.
#[test]
fn a_destructor_of_a_thread_local_may_ask_and_drop_a_handle() {
    struct Asks(Generator<u64>, mpsc::Sender<Poll<Option<u64>>>);
    impl Drop for Asks {
        fn drop(&mut self) {
            let _ = self.1.send(poll_next(&mut self.0, Waker::noop()));
            self.0.cancel();
            let _ = poll_next(&mut self.0, Waker::noop());
        }
    }
    thread_local! {
        static KEPT: RefCell<Vec<Asks>> = const { RefCell::new(Vec::new()) };
    }
    let home = multi_thread();
    for buffer in [0, 2] {
        for touches_tokio_first in [false, true] {
            let (polls, dropped) = (Polls::default(), Tally::new());
            let generator = {
                let _inside = home.enter();
                let (polls, guard, home) = (polls.clone(), dropped.on_drop(), home.handle().clone());
                let own = home.id();
                Generator::builder().buffer(buffer).spawn(&Context::background(), move |_, co| {
                    polls.of(&home, async move {
                        let _guard = guard;
                        let _at_home = on_drop(move || {
                            assert!(Handle::try_current().is_ok_and(|here| here.id() == own));
                        });
                        for n in 0.. {
                            co.yield_(n).await;
                        }
                    })
                })
            };
            let ctx = generator.context().clone();
            let (send, polled) = mpsc::channel();
            thread::spawn(move || {
                if touches_tokio_first {
                    assert!(Handle::try_current().is_err());
                }
                KEPT.with_borrow_mut(|kept| kept.push(Asks(generator, send)));
                assert!(Handle::try_current().is_err());
            })
            .join()
            .unwrap();
            let polled = receive("the poll in the destructor", &polled);
            assert!(matches!(polled, Poll::Pending | Poll::Ready(Some(0))), "{polled:?}");
            wait_until("the body to be gone", || dropped.count() == 1);
            wait_until("the generator to be off the list", || ctx.live().is_empty());
            assert_eq!(polls.astray.count(), 0);
            assert!(ctx.is_done());
        }
    }
    wait_until("all tasks to be gone", || home.metrics().num_alive_tasks() == 0);
}

/// Polls once, and leaves the request standing; an item that comes is counted.
fn glance(numbers: &mut Generator<u64>, expected: &mut u64) {
    if let Poll::Ready(item) = poll_next(numbers, &Wakes::new().1) {
        assert_eq!(item, Some(*expected));
        *expected += 1;
    }
}

/// A consumer that changes tasks, runtimes and threads between two polls of one request.
#[test]
fn a_consumer_may_change_tasks_and_runtimes_between_its_polls() {
    for buffer in BUFFERS {
        let (home, other) = (multi_thread(), current_thread());
        let polls = Polls::default();
        let mut numbers = count(&home, buffer, &polls);
        let mut expected = 0;
        for round in 0..60 {
            (numbers, expected) = match round % 5 {
                0 => home
                    .block_on(home.spawn(async move {
                        glance(&mut numbers, &mut expected);
                        (numbers, expected)
                    }))
                    .unwrap(),
                1 => other
                    .block_on(other.spawn(async move {
                        glance(&mut numbers, &mut expected);
                        (numbers, expected)
                    }))
                    .unwrap(),
                2 => home.block_on(async move {
                    glance(&mut numbers, &mut expected);
                    (numbers, expected)
                }),
                3 => thread::spawn(move || {
                    glance(&mut numbers, &mut expected);
                    (numbers, expected)
                })
                .join()
                .unwrap(),
                _ => {
                    // In earnest, so that the rounds make progress.
                    let runtime = if round % 2 == 0 { &home } else { &other };
                    let item = runtime.block_on(within("an item", ask(&mut numbers)));
                    assert_eq!(item, Some(expected));
                    (numbers, expected + 1)
                }
            };
        }
        polls.assert_at_home();
    }
}

/// Whoever polls a body, it may make timers, sockets and tasks: here some polls are the consumer's, and some the driver's.
#[test]
fn a_body_is_within_its_runtime_whoever_polls_it() {
    for runtime in [current_thread(), multi_thread()] {
        let polls = Polls::default();
        let (send, mut receive) = tokio::sync::mpsc::unbounded_channel::<()>();
        let mut ports = {
            let (_inside, polls, home) = (runtime.enter(), polls.clone(), runtime.handle().clone());
            Generator::builder().spawn(&Context::background(), move |_, co| {
                polls.of(&home, async move {
                    loop {
                        drop(tokio::time::sleep(Duration::from_secs(1)));
                        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                        tokio::spawn(async {}).await.unwrap();
                        co.yield_(listener.local_addr().unwrap().port()).await;
                        drop(tokio::time::sleep(Duration::from_secs(1)));
                        receive.recv().await;
                    }
                })
            })
        };
        runtime.block_on(async {
            for _ in 0..10 {
                assert!(within("a port", ask(&mut ports)).await.is_some());
                // The next request takes it to where it waits; from there its driver takes it on.
                let (heard, waker) = Wakes::new();
                ASKING.set(true);
                assert!(poll_next(&mut ports, &waker).is_pending());
                ASKING.set(false);
                let driven = polls.by_driver.count();
                send.send(()).unwrap();
                until("the driver to poll it", || polls.by_driver.count() > driven).await;
                until("the consumer to be woken", || heard.count() > 0).await;
            }
        });
        assert!(polls.by_consumer.count() > 0 && polls.by_driver.count() > 0);
        polls.assert_at_home();
    }
}

/// What a body gives out of itself keeps its memory, and nothing else: it may be dropped anywhere, when the runtime is gone too.
#[test]
fn a_yielder_and_a_context_may_leave_the_body_and_be_dropped_anywhere() {
    let runtime = multi_thread();
    let kept = Arc::new(Mutex::new(None::<(Context, Yielder<u64>)>));
    let dropped = Tally::new();
    let mut generator = {
        let (_inside, kept, guard) = (runtime.enter(), Arc::clone(&kept), dropped.on_drop());
        Generator::builder().spawn(&Context::background(), |ctx, co| async move {
            let _guard = guard;
            co.yield_(1).await;
            *kept.lock().unwrap() = Some((ctx, co));
            pending::<()>().await;
        })
    };
    assert_eq!(runtime.block_on(within("the item", generator.next())), Some(1));
    // The next request takes the body on, to where it has given both away.
    let _ = poll_next(&mut generator, Waker::noop());
    wait_until("the body to give them away", || kept.lock().unwrap().is_some());
    drop(generator);
    wait_until("the body to be gone", || dropped.count() == 1);
    runtime.shutdown_background();
    let (ctx, co) = kept.lock().unwrap().take().unwrap();
    assert!(ctx.is_done());
    thread::spawn(move || drop((ctx, co))).join().unwrap();
}

/// A body that is polled by a consumer in `block_on` may give way (by `yield_now`, or as its budget is used up). A single-threaded runtime
/// keeps such a wake for later, and forgets it where the `block_on` ends with that very poll.
#[test]
fn a_body_that_gives_way_in_the_last_poll_of_a_block_on_is_not_forgotten() {
    let runtime = current_thread();
    let mut one = {
        let _inside = runtime.enter();
        Generator::builder().spawn(&Context::background(), |_, co| async move {
            yield_now().await;
            co.yield_(1).await;
        })
    };
    runtime.block_on(async { assert!(poll_next(&mut one, Waker::noop()).is_pending()) });
    assert_eq!(runtime.block_on(within("the item", one.next())), Some(1));
}

/// As above; the plainest of programs: a `block_on` for each item.
#[test]
fn a_buffered_body_that_gives_way_gets_on_though_each_item_is_blocked_on_by_itself() {
    let runtime = current_thread();
    let mut numbers = {
        let _inside = runtime.enter();
        Generator::builder().buffer(1).spawn(&Context::background(), |_, co| async move {
            for n in 0.. {
                co.yield_(n).await;
                yield_now().await;
            }
        })
    };
    for n in 0..20 {
        assert_eq!(runtime.block_on(within("an item", numbers.next())), Some(n));
    }
}

/// As above, where nobody says `yield_now`: the budget of a poll is used up by what the body receives.
#[test]
fn a_body_whose_budget_is_used_up_in_the_last_poll_of_a_block_on_is_not_forgotten() {
    let runtime = current_thread();
    let (send, mut receive) = tokio::sync::mpsc::unbounded_channel();
    let mut last = {
        let _inside = runtime.enter();
        Generator::builder().spawn(&Context::background(), |_, co| async move {
            while let Some(n) = receive.recv().await {
                if n == 999 {
                    co.yield_(n).await;
                }
            }
        })
    };
    for n in 0..1000 {
        send.send(n).unwrap();
    }
    runtime.block_on(async {
        tokio::select! {
            biased;
            item = last.next() => panic!("too early: {item:?}"),
            () = async {} => {}
        }
    });
    assert_eq!(runtime.block_on(within("the item", last.next())), Some(999));
}

/// Asks once, then goes into the other arm of a `select!` and stays there while a message after the other is sent. Returns how far the
/// producer of `items` had come when each was; and takes the item that is made of the tenth.
async fn select_and_stay_away(
    mut items: impl Stream<Item = u64> + Unpin,
    send: UnboundedSender<u64>,
    progress: &Tally,
) -> Vec<usize> {
    tokio::select! {
        biased;
        item = items.next() => panic!("too early: {item:?}"),
        () = async {} => {}
    }
    let mut seen = Vec::new();
    for n in 0..10 {
        send.send(n).unwrap();
        settle().await;
        seen.push(progress.count());
    }
    assert_eq!(within("the item", items.next()).await, Some(9));
    seen
}

/// What a task of its own is good for: a body that was asked for an item and waits goes on while its consumer is elsewhere.
#[tokio::test]
async fn a_body_moves_on_while_its_consumer_is_in_another_arm_of_a_select() {
    for buffer in BUFFERS {
        let (send, mut receive) = tokio::sync::mpsc::unbounded_channel();
        let progress = Tally::new();
        let ticks = progress.clone();
        let items = Generator::builder().buffer(buffer).spawn(&Context::background(), |_, co| async move {
            while let Some(n) = receive.recv().await {
                ticks.tick();
                if n % 10 == 9 {
                    co.yield_(n).await;
                }
            }
        });
        let seen = select_and_stay_away(items, send, &progress).await;
        assert!(seen.iter().copied().eq(1..=10), "buffer {buffer}: {seen:?}");
    }
}

/// The same body inline in a stream, for comparison: it stands still while nobody polls it.
#[tokio::test]
async fn an_inline_stream_stands_still_while_its_consumer_is_in_another_arm_of_a_select() {
    let (send, receive) = tokio::sync::mpsc::unbounded_channel();
    let progress = Tally::new();
    let ticks = progress.clone();
    let items = unfold(receive, move |mut receive| {
        let ticks = ticks.clone();
        async move {
            loop {
                let n = receive.recv().await?;
                ticks.tick();
                if n % 10 == 9 {
                    return Some((n, receive));
                }
            }
        }
    });
    let seen = select_and_stay_away(pin!(items), send, &progress).await;
    assert_eq!(seen, [0; 10]);
    assert_eq!(progress.count(), 10);
}
