//! The kind `blocking`: G1 to G8 and G10 to G12 for generators whose body has a thread of its own. (G9 is not for them: a chain of
//! a hundred thousand would be as many threads.)
//!
//! That such a body does nothing more cannot be seen from outside its thread: `lull` gives it the time that it would need. What
//! depends on the moment is proved by the models of the engine besides.

#![allow(dead_code, reason = "of the shared modules each file takes what it needs")]
#![allow(clippy::similar_names, reason = "a count and what counts it up: `begun` and `begins`")]

mod by_hand;
mod patience;
mod witness;

use by_hand::{Wakes, poll_next, poll_once, waker_fn};
use ctx_runtime::{BlockingYielder, Context, ContextError, End, Generator, Stopped};
use futures_util::FutureExt;
use patience::{receive, settle, until, wait_until, within};
use std::cell::RefCell;
use std::error::Error;
use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::pin::pin;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once, mpsc};
use std::task::{Poll, Waker};
use std::thread::{self, Thread, ThreadId};
use std::time::Duration;
use tokio::runtime::{Handle, Runtime};
use witness::{Tally, on_drop};

const BUFFERS: [usize; 4] = [0, 1, 2, 64];

fn current_thread() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn multi_thread() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// The ways in which a runtime goes away.
const SHUTDOWNS: [fn(Runtime); 3] = [drop::<Runtime>, Runtime::shutdown_background, |runtime| {
    runtime.shutdown_timeout(Duration::from_secs(50));
}];

/// Time for a thread to do what it must not do.
fn lull() {
    for _ in 0..200 {
        thread::yield_now();
    }
}

/// Counts up until it is stopped.
fn count(ctx: &Context, buffer: usize, dropped: &Tally) -> Generator<usize> {
    let guard = dropped.on_drop();
    Generator::builder().name("count").buffer(buffer).spawn_blocking(ctx, move |_, co| {
        let _guard = guard;
        let _ = (0..).try_for_each(|n| co.yield_(n));
    })
}

/// The same, and how far it is: `begun` counts yields that were begun, `passed` those that it has got past.
struct Steps {
    numbers: Generator<usize>,
    begun: Tally,
    passed: Tally,
}

fn steps(ctx: &Context, buffer: usize) -> Steps {
    let (begun, passed) = (Tally::new(), Tally::new());
    let (begins, passes) = (begun.clone(), passed.clone());
    let numbers = Generator::builder().buffer(buffer).spawn_blocking(ctx, move |_, co| {
        let _ = (0..).try_for_each(|n| {
            begins.tick();
            co.yield_(n)?;
            passes.tick();
            Ok::<_, Stopped>(())
        });
    });
    Steps { numbers, begun, passed }
}

/// Asks by hand, once; then waits for the item, outside any runtime.
fn take<T: Send + 'static>(generator: &mut Generator<T>) -> Option<T> {
    loop {
        let (heard, waker) = Wakes::new();
        match poll_next(generator, &waker) {
            Poll::Ready(item) => return item,
            Poll::Pending => wait_until("the consumer to be woken", || heard.count() > 0),
        }
    }
}

fn kind_of(end: Option<&End>) -> ContextError {
    match end {
        Some(End::Cancelled(cause)) => cause.kind(),
        end => panic!("cancelled, but the end is {end:?}"),
    }
}

// What it is: checked by the compiler.

/// Two impls that both apply to what is `Send` (or `Sync`), so that the compiler cannot choose.
trait NotSend<A> {}
impl<T: ?Sized> NotSend<()> for T {}
impl<T: ?Sized + Send> NotSend<u8> for T {}

trait NotSync<A> {}
impl<T: ?Sized> NotSync<()> for T {}
impl<T: ?Sized + Sync> NotSync<u8> for T {}

#[tokio::test]
async fn a_yielder_stays_on_its_thread_and_its_error_goes_anywhere() {
    fn stays<A, B, T: NotSend<A> + NotSync<B>>(_: &T) {}
    fn goes<T: Error + Copy + Send + Sync + 'static>(_: &T) {}

    let generator =
        Generator::builder().spawn_blocking(&Context::background(), |_, co: &BlockingYielder<u8>| {
            stays(co);
            goes(&Stopped);
            assert!(format!("{co:?}").contains("BlockingYielder"));
            assert_eq!(Stopped.to_string(), "the generator was stopped");
            let _ = co.yield_(1);
        });
    let mut generator: Generator<u8> = generator;
    assert_eq!(within("the item", generator.next()).await, Some(1));
    assert_eq!(within("the end", generator.next()).await, None);
    assert!(matches!(generator.end(), Some(End::Finished)));
}

#[tokio::test]
async fn the_thread_has_the_generator_s_name() {
    for (name, its) in [("walker", "walker"), ("a\0b", "ab")] {
        let mut generator =
            Generator::builder().name(name).spawn_blocking(&Context::background(), |_, co| {
                let _ = co.yield_(thread::current().name().map(str::to_owned));
            });
        assert_eq!(generator.name(), name);
        assert_eq!(within("the name", generator.next()).await, Some(Some(its.to_owned())));
    }
}

// G1.

/// G1: a thread that waits in a yield is woken, by the end of its context and by its handle; its yield says so, now and for ever. What
/// it holds is dropped there.
#[test]
fn every_kind_of_end_wakes_a_thread_that_waits_in_a_yield() {
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Way {
        Cancel,
        Abandon,
        Handle,
        Drop,
    }
    let runtime = multi_thread();
    let _inside = runtime.enter();
    for way in [Way::Cancel, Way::Abandon, Way::Handle, Way::Drop] {
        for buffer in BUFFERS {
            let (ctx, canceller) = Context::background().with_cancel();
            let passed = Tally::new();
            let passes = passed.clone();
            let (send, results) = mpsc::channel();
            let guard = on_drop({
                let send = send.clone();
                move || send.send((Err(Stopped), thread::current().id())).unwrap()
            });
            let mut generator = Generator::builder().buffer(buffer).spawn_blocking(&ctx, move |own, co| {
                let _guard = guard;
                while co.yield_(0).is_ok() {
                    passes.tick();
                }
                assert!(own.is_done());
                for _ in 0..2 {
                    send.send((co.yield_(0), thread::current().id())).unwrap();
                }
            });
            assert_eq!(take(&mut generator), Some(0));
            wait_until("the buffer to be full", || passed.count() >= buffer);
            let kept = match way {
                Way::Cancel => {
                    canceller.cancel();
                    Some(generator)
                }
                Way::Abandon => {
                    drop(canceller);
                    Some(generator)
                }
                Way::Handle => {
                    generator.cancel();
                    Some(generator)
                }
                Way::Drop => {
                    drop(generator);
                    None
                }
            };
            let mut threads: Vec<ThreadId> = Vec::new();
            for _ in 0..3 {
                let (result, thread) = receive("what the yields say, and the destructor", &results);
                assert_eq!(result, Err(Stopped), "{way:?}, buffer {buffer}");
                threads.push(thread);
            }
            assert!(threads.iter().all(|thread| *thread != thread::current().id() && *thread == threads[0]));
            if let Some(mut generator) = kept {
                while take(&mut generator).is_some() {}
                assert_eq!(kind_of(generator.end()), ContextError::Cancelled);
            }
            wait_until("it to be gone", || ctx.live().is_empty());
        }
    }
}

/// G1, by its timer, on a paused clock: nobody asks.
#[tokio::test(start_paused = true)]
async fn a_deadline_wakes_a_thread_that_waits_in_a_yield() {
    for buffer in BUFFERS {
        let dropped = Tally::new();
        let ctx = Context::background().with_timeout(Duration::from_secs(5));
        let mut generator = count(&ctx, buffer, &dropped);
        let never_asked = count(&ctx, 0, &dropped);
        // Without giving way to the clock, which does not wait for the thread.
        assert_eq!(take(&mut generator), Some(0));
        tokio::time::sleep(Duration::from_secs(6)).await;
        wait_until("both to end", || generator.end().is_some() && never_asked.end().is_some());
        assert_eq!(dropped.count(), 2);
        assert_eq!(kind_of(generator.end()), ContextError::DeadlineExceeded);
        assert_eq!(kind_of(never_asked.end()), ContextError::DeadlineExceeded);
    }
}

/// G1: a yield that starts after a cancel has returned.
#[tokio::test]
async fn a_yield_after_a_cancel_is_not_accepted() {
    for buffer in BUFFERS {
        let (items, refused) = (Tally::new(), Tally::new());
        let (item, refuses) = (items.on_drop(), refused.clone());
        let (ctx, canceller) = Context::background().with_cancel();
        let mut generator = Generator::builder().buffer(buffer).spawn_blocking(&ctx, move |_, co| {
            canceller.cancel();
            if co.yield_(item) == Err(Stopped) {
                refuses.tick();
            }
        });
        assert!(within("the end", generator.next()).await.is_none());
        assert_eq!((items.count(), refused.count()), (1, 1), "buffer {buffer}");
    }
}

/// G1, G5: nothing can interrupt a body that does not yield; neither a cancel nor a drop waits for it, and the reports know of it.
#[test]
fn a_body_that_never_yields_again_holds_nobody_up() {
    let runtime = current_thread();
    let _inside = runtime.enter();
    for is_dropped in [false, true] {
        let (ctx, canceller) = Context::background().with_cancel();
        let (begin, begun) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let dropped = Tally::new();
        let guard = dropped.on_drop();
        let mut generator =
            Generator::builder().name("stubborn").spawn_blocking::<u8, _>(&ctx, move |_, _| {
                let _guard = guard;
                begin.send(()).unwrap();
                let _ = released.recv();
            });
        assert!(poll_next(&mut generator, Waker::noop()).is_pending());
        receive("the body to run", &begun);
        canceller.cancel();
        generator.cancel();
        assert!(generator.end().is_none());
        let (heard, waker) = Wakes::new();
        assert!(poll_next(&mut generator, &waker).is_pending());
        let kept = if is_dropped {
            drop(generator);
            None
        } else {
            Some(generator)
        };
        assert_eq!(dropped.count(), 0);
        assert_eq!(ctx.live().iter().map(|entry| entry.name().to_owned()).collect::<Vec<_>>(), ["stubborn"]);
        drop(release);
        wait_until("it to be gone", || ctx.live().is_empty());
        assert_eq!(dropped.count(), 1);
        if let Some(mut generator) = kept {
            wait_until("the consumer to be woken", || heard.count() > 0);
            assert_eq!(poll_next(&mut generator, &waker), Poll::Ready(None));
        }
    }
}

/// `stop()` and `cancel_and_wait()` wait until the body has returned.
#[test]
fn who_stops_it_and_waits_waits_for_the_body_to_return() {
    let runtime = current_thread();
    let _inside = runtime.enter();
    for by_handle in [true, false] {
        let (ctx, canceller) = Context::background().with_cancel();
        let (told, is_told) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let dropped = Tally::new();
        let guard = dropped.on_drop();
        let mut generator = Generator::builder().spawn_blocking(&ctx, move |_, co| {
            let _guard = guard;
            while co.yield_(0).is_ok() {}
            told.send(()).unwrap();
            let _ = released.recv();
        });
        assert_eq!(take(&mut generator), Some(0));
        let (heard, waker) = Wakes::new();
        if by_handle {
            let mut stop = Box::pin(generator.stop());
            assert!(poll_once(stop.as_mut(), &waker).is_pending());
            receive("the yield to say so", &is_told);
            lull();
            assert!(poll_once(stop.as_mut(), &waker).is_pending());
            drop(release);
            wait_until("it to be woken", || heard.count() > 0);
            let end = runtime.block_on(within("the stop", stop));
            assert!(matches!(end, End::Cancelled(_)));
        } else {
            let mut wait = Box::pin(canceller.cancel_and_wait());
            assert!(poll_once(wait.as_mut(), &waker).is_pending());
            receive("the yield to say so", &is_told);
            lull();
            assert!(poll_once(wait.as_mut(), &waker).is_pending());
            drop(release);
            wait_until("it to be woken", || heard.count() > 0);
            runtime.block_on(within("the wait", wait));
        }
        assert_eq!(dropped.count(), 1);
        assert!(ctx.live().is_empty());
    }
}

/// A body that would wait for itself panics, instead of doing so for ever.
#[tokio::test]
async fn a_body_that_would_wait_for_its_own_end_panics() {
    let (ctx, canceller) = Context::background().with_cancel();
    let mut generator = Generator::builder().spawn_blocking::<u8, _>(&ctx, move |_, _| {
        Handle::current().block_on(canceller.cancel_and_wait());
    });
    let raised = AssertUnwindSafe(generator.next()).catch_unwind();
    assert!(within("the panic", raised).await.is_err());

    let (send, own) = mpsc::channel::<Generator<u8>>();
    let generator =
        Generator::builder().buffer(1).spawn_blocking::<u8, _>(&Context::background(), move |_, _| {
            let own = own.recv().unwrap();
            Handle::current().block_on(own.stop());
        });
    let ctx = generator.context().clone();
    send.send(generator).unwrap();
    until("it to be gone", || ctx.live().is_empty()).await;
}

/// A task of a runtime that the body drives may: the body goes on, and returns.
#[tokio::test]
async fn a_task_that_runs_on_the_body_s_thread_may_wait_for_its_end() {
    let (ctx, canceller) = Context::background().with_cancel();
    let mut generator = Generator::builder().spawn_blocking::<u8, _>(&ctx, move |own, _| {
        current_thread().block_on(async {
            tokio::spawn(async move { canceller.cancel_and_wait().await });
            own.done().await;
            settle().await;
        });
    });
    assert_eq!(within("the end", generator.next()).await, None);
    assert!(matches!(generator.end(), Some(End::Cancelled(_))), "{:?}", generator.end());
}

/// The body's own context is done as soon as it is stopped, and what it has started there ends with it.
#[tokio::test]
async fn the_body_s_context_ends_with_it_and_may_be_waited_for() {
    let (child_sent, child) = mpsc::channel();
    let passed = Tally::new();
    let passes = passed.clone();
    let mut generator = Generator::builder().spawn_blocking(&Context::background(), move |ctx, co| {
        let child = Generator::builder().spawn::<u8, _, _>(&ctx, |_, _| pending());
        child_sent.send(child).unwrap();
        co.yield_(1).unwrap();
        passes.tick();
        ctx.blocking_done();
        assert_eq!(co.yield_(2), Err(Stopped));
    });
    assert_eq!(within("the item", generator.next()).await, Some(1));
    let mut child = receive("its child", &child);
    assert!(poll_next(&mut generator, Waker::noop()).is_pending());
    wait_until("the body to go on", || passed.count() == 1);
    assert!(child.end().is_none());
    generator.cancel();
    assert_eq!(within("the end", generator.next()).await, None);
    assert_eq!(within("the child's end", child.next()).await, None);
}

// G2.

/// G2.
#[test]
fn what_was_accepted_arrives_after_a_cancel_then_none_for_ever() {
    let runtime = multi_thread();
    let _inside = runtime.enter();
    for buffer in [1, 3, 10] {
        let (ctx, canceller) = Context::background().with_cancel();
        let mut it = steps(&ctx, buffer);
        wait_until("the buffer to be full", || it.passed.count() == buffer);
        canceller.cancel();
        wait_until("the end", || it.numbers.end().is_some());
        for n in 0..buffer {
            assert_eq!(take(&mut it.numbers), Some(n));
        }
        for _ in 0..3 {
            assert_eq!(take(&mut it.numbers), None);
        }
    }
    // Without a buffer: the item for a request that nobody waits for any more.
    let (ctx, canceller) = Context::background().with_cancel();
    let mut it = steps(&ctx, 0);
    let (heard, waker) = Wakes::new();
    let early = poll_next(&mut it.numbers, &waker);
    wait_until("the item", || early.is_ready() || heard.count() > 0);
    canceller.cancel();
    wait_until("the end", || it.numbers.end().is_some());
    assert_eq!(
        if early.is_ready() { early } else { poll_next(&mut it.numbers, &waker) },
        Poll::Ready(Some(0))
    );
    assert_eq!(take(&mut it.numbers), None);
    assert_eq!((it.begun.count(), it.passed.count()), (1, 0));
}

/// G2, wherever the cancel comes.
#[test]
fn a_cancel_at_any_moment_leaves_no_gap() {
    let runtime = multi_thread();
    let _inside = runtime.enter();
    for buffer in BUFFERS {
        for round in 0..100 {
            let (ctx, canceller) = Context::background().with_cancel();
            let accepted = Tally::new();
            let accepts = accepted.clone();
            let mut generator = Generator::builder().buffer(buffer).spawn_blocking(&ctx, move |_, co| {
                // With a buffer, a yield that is past has had its item accepted, and only that one.
                let _ = (0..).try_for_each(|n| co.yield_(n).map(|()| accepts.tick()));
            });
            let cancelling = thread::spawn(move || {
                (0..round).for_each(|_| thread::yield_now());
                canceller.cancel();
            });
            let mut expected = 0;
            while let Some(n) = take(&mut generator) {
                assert_eq!(n, expected);
                expected += 1;
            }
            if buffer > 0 {
                assert_eq!(expected, accepted.count());
            }
            cancelling.join().unwrap();
        }
    }
}

// G3, G4.

/// G3: the closure is not called.
#[test]
fn nothing_runs_before_the_first_item_is_asked_for() {
    let runtime = multi_thread();
    let _inside = runtime.enter();
    let mut it = steps(&Context::background(), 0);
    lull();
    drop(it.numbers.next());
    lull();
    assert_eq!(it.begun.count(), 0);
    assert_eq!(take(&mut it.numbers), Some(0));
    assert_eq!(it.begun.count(), 1);
}

/// G3.
#[test]
fn a_body_is_past_a_yield_only_when_its_item_was_taken_and_the_next_is_asked_for() {
    let runtime = multi_thread();
    let _inside = runtime.enter();
    let mut it = steps(&Context::background(), 0);
    for n in 0..20 {
        let (heard, waker) = Wakes::new();
        // It is made on another thread, but may come while this one asks.
        let early = poll_next(&mut it.numbers, &waker);
        wait_until("the item", || early.is_ready() || heard.count() > 0);
        lull();
        assert_eq!((it.begun.count(), it.passed.count()), (n + 1, n), "item {n} is there");
        let item = if early.is_ready() { early } else { poll_next(&mut it.numbers, &waker) };
        assert_eq!(item, Poll::Ready(Some(n)));
        lull();
        assert_eq!((it.begun.count(), it.passed.count()), (n + 1, n), "item {n} was taken");
    }
}

/// G3: a consumer that asks again and again while its item is made asks for no more than that.
#[test]
fn a_poll_that_comes_while_its_item_is_accepted_asks_for_no_second_one() {
    let runtime = multi_thread();
    let _inside = runtime.enter();
    let mut it = steps(&Context::background(), 0);
    for n in 0..5_000 {
        let item = loop {
            if let Poll::Ready(item) = poll_next(&mut it.numbers, Waker::noop()) {
                break item;
            }
            std::hint::spin_loop();
        };
        assert_eq!(item, Some(n));
        thread::yield_now();
        assert!(it.passed.count() <= n, "the body is past the yield of the item that was taken last");
    }
}

/// G3 and G4: the request of a `next()` that is dropped stands, also one that comes right after an item.
#[test]
fn a_dropped_next_leaves_its_request_standing() {
    let runtime = multi_thread();
    let _inside = runtime.enter();
    let mut it = steps(&Context::background(), 0);
    for n in 0..2_000 {
        assert_eq!(take(&mut it.numbers), Some(2 * n));
        // It may come while this asks.
        let early = poll_once(pin!(it.numbers.next()), Waker::noop());
        // Nobody asks once more.
        wait_until("the body to go on", || it.begun.count() == 2 * n + 2);
        let item = match early {
            Poll::Ready(item) => item,
            Poll::Pending => take(&mut it.numbers),
        };
        assert_eq!(item, Some(2 * n + 1));
    }
}

/// G4, with a consumer that is elsewhere half of the time.
#[tokio::test]
async fn a_consumer_that_selects_loses_no_item() {
    for buffer in BUFFERS {
        let mut generator =
            Generator::builder().buffer(buffer).spawn_blocking(&Context::background(), |_, co| {
                let _ = (0..2_000).try_for_each(|n| co.yield_(n));
            });
        let mut expected = 0;
        loop {
            tokio::select! {
                item = generator.next() => match item {
                    Some(n) => {
                        assert_eq!(n, expected);
                        expected += 1;
                    }
                    None => break,
                },
                () = tokio::task::yield_now() => {}
            }
        }
        assert_eq!(expected, 2_000);
    }
}

/// G3: never ran, whatever ended it; what it was given is dropped all the same.
#[tokio::test]
async fn a_generator_that_ends_before_it_was_asked_never_ran() {
    let (ran, dropped) = (Tally::new(), Tally::new());
    let start = |ctx: &Context, buffer| {
        let (runs, guard) = (ran.clone(), dropped.on_drop());
        Generator::builder().buffer(buffer).spawn_blocking(ctx, move |_, co| {
            let _guard = guard;
            runs.tick();
            let _ = co.yield_(1);
        })
    };
    drop(start(&Context::background(), 0));
    assert!(matches!(within("the stop", start(&Context::background(), 0).stop()).await, End::Cancelled(_)));
    let (ctx, canceller) = Context::background().with_cancel();
    let mut cancelled = start(&ctx, 0);
    canceller.cancel();
    assert_eq!(within("the end", cancelled.next()).await, None);
    // Under a context that is done, a buffer changes nothing.
    for buffer in [0, 3] {
        let mut born_done = start(&ctx, buffer);
        assert_eq!(within("the end", born_done.next()).await, None);
        assert!(matches!(born_done.end(), Some(End::Cancelled(_))));
    }
    wait_until("all to be dropped", || dropped.count() == 5);
    assert_eq!(ran.count(), 0);
}

/// G3, with a buffer: at once, and at most N ahead; room that is made is filled, though nobody asks.
#[test]
fn a_buffered_body_starts_at_once_and_is_at_most_its_buffer_ahead() {
    let runtime = multi_thread();
    let _inside = runtime.enter();
    for buffer in [1, 2, 7, 64] {
        let mut it = steps(&Context::background(), buffer);
        wait_until("the buffer to be full", || it.passed.count() == buffer && it.begun.count() == buffer + 1);
        for taken in 1..=3 * buffer {
            assert_eq!(poll_next(&mut it.numbers, Waker::noop()), Poll::Ready(Some(taken - 1)));
            if taken % buffer == 0 {
                // All that were ahead were taken.
                wait_until("the buffer to be full again", || it.begun.count() == buffer + taken + 1);
            }
            lull();
            assert!(it.passed.count() <= buffer + taken, "buffer {buffer}, {taken} taken");
        }
    }
}

/// An item that is put in just when the consumer begins to wait: nothing else of the body's comes to make up for its wake.
#[test]
fn a_consumer_that_begins_to_wait_misses_no_item() {
    let runtime = multi_thread();
    let _inside = runtime.enter();
    for buffer in [1, 2, 64] {
        let (ack, acked) = mpsc::channel();
        let mut generator =
            Generator::builder().buffer(buffer).spawn_blocking(&Context::background(), move |_, co| {
                for n in 0..20_000 {
                    co.yield_(n).unwrap();
                    acked.recv().unwrap();
                }
            });
        for n in 0..20_000 {
            assert_eq!(take(&mut generator), Some(n), "buffer {buffer}");
            ack.send(()).unwrap();
        }
        assert_eq!(take(&mut generator), None);
    }
}

/// Spurious unparks, by others and by the body itself, which may park for its own ends, too.
#[test]
fn unparking_the_thread_does_no_harm() {
    let runtime = multi_thread();
    let _inside = runtime.enter();
    for buffer in [0, 2] {
        let (send, thread) = mpsc::channel::<Thread>();
        let (passed, opened) = (Tally::new(), Arc::new(AtomicBool::new(false)));
        let (passes, open) = (passed.clone(), Arc::clone(&opened));
        let mut generator =
            Generator::builder().buffer(buffer).spawn_blocking(&Context::background(), move |_, co| {
                send.send(thread::current()).unwrap();
                for n in 0..100_usize {
                    thread::current().unpark();
                    if co.yield_(n).is_err() {
                        return;
                    }
                    passes.tick();
                }
                while !open.load(Ordering::SeqCst) {
                    thread::park();
                }
                let _ = co.yield_(100);
            });
        assert_eq!(take(&mut generator), Some(0));
        let thread = receive("the thread", &thread);
        for _ in 0..1_000 {
            thread.unpark();
            thread::yield_now();
            assert!(passed.count() <= buffer + 1);
        }
        for n in 1..100 {
            assert_eq!(take(&mut generator), Some(n));
        }
        // While the body is parked at its own, it is unparked by who asks; that it must bear, as all do who park.
        for _ in 0..10 {
            assert!(poll_next(&mut generator, Waker::noop()).is_pending());
        }
        opened.store(true, Ordering::SeqCst);
        thread.unpark();
        assert_eq!(take(&mut generator), Some(100));
    }
}

// G5, G6.

/// G5: inside the runtime, on its own thread, once; called or not.
#[test]
fn destructors_run_inside_the_runtime_on_the_body_s_thread() {
    for make in [current_thread, multi_thread] {
        for is_called in [true, false] {
            let runtime = make();
            let home = runtime.handle().id();
            let (send, seen) = mpsc::channel();
            let guard = on_drop(move || {
                drop(tokio::time::sleep(Duration::from_secs(1)));
                send.send((Handle::current().id(), thread::current().id())).unwrap();
            });
            let mut generator = {
                let _inside = runtime.enter();
                Generator::builder().spawn_blocking(&Context::background(), move |_, co| {
                    let _guard = guard;
                    while co.yield_(1).is_ok() {}
                })
            };
            if is_called {
                assert_eq!(take(&mut generator), Some(1));
            }
            drop(generator);
            let (runtime_id, thread_id) = receive("the destructor", &seen);
            assert_eq!(runtime_id, home);
            assert_ne!(thread_id, thread::current().id());
            assert!(seen.recv().is_err(), "once");
        }
    }
}

/// G5: what was accepted and not taken goes, too, though one of the items panics.
#[test]
fn items_that_were_not_taken_are_dropped() {
    let runtime = multi_thread();
    let _inside = runtime.enter();
    for is_over in [false, true] {
        let dropped = Tally::new();
        let counting = dropped.clone();
        let passed = Tally::new();
        let passes = passed.clone();
        let generator =
            Generator::builder().buffer(4).spawn_blocking(&Context::background(), move |own, co| {
                for n in 0..4 {
                    let counting = counting.clone();
                    let item = on_drop(move || {
                        counting.tick();
                        assert!(n != 1, "a destructor that panics, as the test wants it");
                    });
                    co.yield_(item).unwrap();
                    passes.tick();
                }
                if !is_over {
                    own.blocking_done();
                }
            });
        wait_until("the buffer to be full", || passed.count() == 4);
        wait_until("the end", || !is_over || generator.end().is_some());
        let ctx = generator.context().clone();
        let raised = catch_unwind(AssertUnwindSafe(|| drop(generator))).is_err();
        // Of a body that runs, its thread may do it.
        assert!(raised || !is_over);
        wait_until("it to be gone", || ctx.live().is_empty());
        wait_until("the items to be gone", || dropped.count() == 4);
    }
}

/// G5: the drop does not wait.
#[test]
fn a_handle_is_dropped_while_its_body_runs() {
    let runtime = multi_thread();
    let _inside = runtime.enter();
    for buffer in [0, 3] {
        let (begin, begun) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let (dropped, refused) = (Tally::new(), Tally::new());
        let (guard, refuses) = (dropped.on_drop(), refused.clone());
        let mut generator =
            Generator::builder().buffer(buffer).spawn_blocking(&Context::background(), move |_, co| {
                let _guard = guard;
                begin.send(()).unwrap();
                let _ = released.recv();
                if co.yield_(1) == Err(Stopped) {
                    refuses.tick();
                }
            });
        assert!(poll_next(&mut generator, Waker::noop()).is_pending());
        receive("the body to run", &begun);
        drop(generator);
        assert_eq!(dropped.count(), 0);
        drop(release);
        wait_until("the body to end", || dropped.count() == 1);
        assert_eq!(refused.count(), 1);
    }
}

/// G5, G8: a handle in a thread-local.
#[test]
fn a_handle_may_be_dropped_by_the_destructor_of_a_thread_local() {
    thread_local! {
        static KEPT: RefCell<Option<Generator<usize>>> = const { RefCell::new(None) };
    }
    let runtime = multi_thread();
    let dropped = Tally::new();
    let mut generator = {
        let _inside = runtime.enter();
        count(&Context::background(), 0, &dropped)
    };
    assert_eq!(take(&mut generator), Some(0));
    thread::spawn(move || KEPT.set(Some(generator))).join().unwrap();
    wait_until("the body to be gone", || dropped.count() == 1);
}

/// G6, for every buffer: items first, the panic once, with its payload, then `None` for ever.
#[tokio::test]
async fn the_items_come_first_then_the_panic_once_then_none() {
    for buffer in BUFFERS {
        let dropped = Tally::new();
        let guard = dropped.on_drop();
        let mut generator =
            Generator::builder().buffer(buffer).spawn_blocking(&Context::background(), move |_, co| {
                let _guard = guard;
                co.yield_(1).unwrap();
                co.yield_(2).unwrap();
                panic_any(String::from("out of paper"));
            });
        assert_eq!(within("an item", generator.next()).await, Some(1));
        assert_eq!(within("an item", generator.next()).await, Some(2));
        let raised = AssertUnwindSafe(generator.next()).catch_unwind();
        let payload = within("the panic", raised).await.expect_err("it is raised");
        assert_eq!(payload.downcast_ref::<String>().map(String::as_str), Some("out of paper"));
        assert_eq!(dropped.count(), 1);
        for _ in 0..3 {
            assert_eq!(within("the end", generator.next()).await, None);
        }
        let Some(End::Panicked(panic)) = generator.end() else { panic!("the end says so") };
        assert_eq!(panic.message(), "out of paper");
        assert!(generator.context().is_done());
    }
}

/// G6: of a body that never ran, too.
#[tokio::test]
async fn a_panic_in_a_destructor_is_raised() {
    for is_called in [true, false] {
        let (ctx, canceller) = Context::background().with_cancel();
        let guard = on_drop(|| panic!("a destructor that panics, as the test wants it"));
        let mut generator = Generator::builder().spawn_blocking(&ctx, move |_, co| {
            let _guard = guard;
            let _ = co.yield_(1);
        });
        if is_called {
            assert_eq!(within("the item", generator.next()).await, Some(1));
        }
        canceller.cancel();
        let raised = AssertUnwindSafe(generator.next()).catch_unwind();
        assert!(within("the panic", raised).await.is_err());
        assert_eq!(within("the end", generator.next()).await, None);
    }
}

/// A waker that panics is the consumer's affair, and not the body's.
#[test]
fn a_waker_that_panics_harms_no_body() {
    let runtime = multi_thread();
    let _inside = runtime.enter();
    let mut generator = count(&Context::background(), 0, &Tally::new());
    let heard = Tally::new();
    let hears = heard.clone();
    let waker = waker_fn(move || {
        hears.tick();
        panic!("a waker that panics, as the test wants it");
    });
    for n in 0..10 {
        let before = heard.count();
        let item = match poll_next(&mut generator, &waker) {
            Poll::Ready(item) => item,
            Poll::Pending => {
                wait_until("the item", || heard.count() > before);
                take(&mut generator)
            }
        };
        assert_eq!(item, Some(n));
    }
}

// G8.

/// G8: from wherever it is asked, the body is inside its own runtime, and may use it: tasks, timers, and `block_on`.
#[test]
fn a_consumer_may_be_anywhere_and_the_body_is_inside_its_runtime() {
    let (home, other) = (multi_thread(), current_thread());
    let id = home.handle().id();
    let mut generator = {
        let _inside = home.enter();
        Generator::builder().spawn_blocking(&Context::background(), move |_, co| {
            let _ = (0..).try_for_each(|n| {
                let here = Handle::current();
                assert_eq!(here.id(), id);
                let task = tokio::spawn(async move {
                    tokio::time::sleep(Duration::ZERO).await;
                    n
                });
                let mut inner = Generator::builder().spawn(&Context::background(), |_, co| async move {
                    assert_eq!(Handle::current().id(), here.id());
                    co.yield_(n).await;
                });
                let item = Handle::current().block_on(task).unwrap();
                assert_eq!(inner.blocking_next(), Some(item));
                co.yield_(item)
            });
        })
    };
    for n in 0..10 {
        let n = 6 * n;
        assert_eq!(home.block_on(within("an item", generator.next())), Some(n));
        assert_eq!(other.block_on(within("an item", generator.next())), Some(n + 1));
        assert_eq!(futures_executor::block_on(generator.next()), Some(n + 2));
        assert_eq!(generator.blocking_next(), Some(n + 3));
        let asking = thread::spawn(move || (take(&mut generator), generator));
        let (item, mut moved) = asking.join().unwrap();
        assert_eq!(item, Some(n + 4));
        let task = home.spawn(async move { (within("an item", moved.next()).await, moved) });
        let (item, back) = home.block_on(task).unwrap();
        assert_eq!(item, Some(n + 5));
        generator = back;
    }
}

/// A walker that calls back, and knows of no generator: the error goes through it.
#[tokio::test]
async fn a_callback_ends_its_walker_by_an_error() {
    fn walk(
        depth: u32,
        found: &mut impl FnMut(u32) -> Result<(), Box<dyn Error>>,
    ) -> Result<(), Box<dyn Error>> {
        if depth > 0 {
            walk(depth - 1, found)?;
            found(depth)?;
            walk(depth - 1, found)?;
        }
        Ok(())
    }
    for buffer in [0, 2] {
        let (send, result) = mpsc::channel();
        let start = || {
            let send = send.clone();
            Generator::builder().buffer(buffer).spawn_blocking(&Context::background(), move |_, co| {
                let walked = walk(3, &mut |depth| {
                    co.yield_(depth)?;
                    Ok(())
                });
                send.send(walked.err().is_some_and(|error| error.is::<Stopped>())).unwrap();
            })
        };
        let mut all = Vec::new();
        let mut walker = start();
        while let Some(depth) = within("an item", walker.next()).await {
            all.push(depth);
        }
        assert_eq!(all, [1, 2, 1, 3, 1, 2, 1]);
        assert!(!receive("its result", &result));
        let mut walker = start();
        assert_eq!(within("an item", walker.next()).await, Some(1));
        drop(walker);
        assert!(receive("its result", &result));
    }
}

#[tokio::test]
async fn many_items_at_once() {
    for buffer in BUFFERS {
        let full = Tally::new();
        let fills = full.clone();
        let mut generator =
            Generator::builder().buffer(buffer).spawn_blocking(&Context::background(), move |_, co| {
                for n in 0..200 {
                    co.yield_(n).unwrap();
                    fills.tick();
                }
            });
        wait_until("the buffer to be full", || full.count() == buffer);
        let mut items = Vec::new();
        // The thread may put in more meanwhile.
        let taken = within("items", generator.next_many(&mut items, 40)).await;
        assert!((buffer.clamp(1, 40)..=40).contains(&taken), "buffer {buffer}: {taken}");
        assert_eq!(taken, items.len());
        assert_eq!(within("no items", generator.next_many(&mut items, 0)).await, 0);
        while within("items", generator.next_many(&mut items, 7)).await > 0 {}
        assert_eq!(items, (0..200).collect::<Vec<_>>());
    }
}

// G10.

/// G10: its items are all there.
#[tokio::test]
async fn a_consumer_of_items_that_are_ready_gives_way() {
    const ITEMS: usize = 20_000;
    let passed = Tally::new();
    let passes = passed.clone();
    let mut generator =
        Generator::builder().buffer(ITEMS).spawn_blocking(&Context::background(), move |_, co| {
            let _ = (0..).try_for_each(|n| co.yield_(n).map(|()| passes.tick()));
        });
    wait_until("the buffer to be full", || passed.count() == ITEMS);
    let flag = Tally::new();
    let set = flag.clone();
    let task = tokio::spawn(async move { set.tick() });
    let mut taken = 0;
    while flag.count() == 0 {
        assert!(taken < ITEMS, "never gave way");
        assert_eq!(generator.next().await, Some(taken));
        taken += 1;
    }
    task.await.unwrap();
}

/// As many as there are in a directory tree: none is in the way of another, of the runtime's blocking threads, or of a paused clock.
#[test]
fn two_thousand_at_once_are_in_nobody_s_way() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .max_blocking_threads(1)
        .build()
        .unwrap();
    runtime.block_on(async {
        let (ctx, canceller) = Context::background().with_cancel();
        let dropped = Tally::new();
        let mut all: Vec<_> = (0..2_000).map(|_| count(&ctx, 0, &dropped)).collect();
        for n in 0..2 {
            for generator in &mut all {
                assert_eq!(generator.next().await, Some(n));
            }
        }
        assert_eq!(tokio::task::spawn_blocking(|| 7).await.unwrap(), 7);
        let begun = tokio::time::Instant::now();
        tokio::time::sleep(Duration::from_hours(1)).await;
        assert!(begun.elapsed() >= Duration::from_hours(1));
        canceller.cancel_and_wait().await;
        assert_eq!(dropped.count(), 2_000);
        assert!(ctx.live().is_empty());
        drop(all);
        until("no task to be left", || Handle::current().metrics().num_alive_tasks() == 0).await;
    });
}

// G11, G12.

/// G11: a body that rests returns at once, and its consumer, which waits on another thread or is to come, gets the end.
#[test]
fn a_shutdown_wakes_the_thread_and_ends_its_consumer() {
    for make in [current_thread, multi_thread] {
        for (shut_down, is_background) in SHUTDOWNS.into_iter().zip([false, true, false]) {
            for buffer in [0, 2] {
                let runtime = make();
                let (dropped, never_ran) = (Tally::new(), Tally::new());
                let (mut rests, mut never_asked) = {
                    let _inside = runtime.enter();
                    (
                        count(&Context::background(), buffer, &dropped),
                        count(&Context::background(), 0, &never_ran),
                    )
                };
                assert_eq!(take(&mut rests), Some(0));
                let ctx = rests.context().clone();
                shut_down(runtime);
                // G2: what was accepted arrives.
                let mut expected = 1;
                while let Some(n) = take(&mut rests) {
                    assert_eq!(n, expected);
                    expected += 1;
                }
                // One that goes on in the background may let some more through.
                assert!(is_background || expected <= buffer + 2);
                assert_eq!(take(&mut rests), None);
                // Nor is it said which of the two is told first.
                wait_until("the other to be told", || never_asked.end().is_some());
                assert_eq!(take(&mut never_asked), None);
                assert_eq!((dropped.count(), never_ran.count()), (1, 1));
                for end in [rests.end(), never_asked.end()] {
                    assert!(matches!(end, Some(End::Aborted)), "{end:?}");
                }
                assert!(ctx.is_done());
                wait_until("it to be gone", || ctx.live().is_empty());
            }
        }
    }
}

/// G11: the shutdown does not wait for a body that runs; the end comes when it returns.
#[test]
fn a_consumer_that_waits_is_woken_when_the_body_returns() {
    for make in [current_thread, multi_thread] {
        let runtime = make();
        let (begin, begun) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let refused = Tally::new();
        let refuses = refused.clone();
        let mut generator = {
            let _inside = runtime.enter();
            Generator::builder().spawn_blocking(&Context::background(), move |_, co| {
                begin.send(()).unwrap();
                let _ = released.recv();
                if co.yield_(1) == Err(Stopped) {
                    refuses.tick();
                }
            })
        };
        let (heard, waker) = Wakes::new();
        assert!(poll_next(&mut generator, &waker).is_pending());
        receive("the body to run", &begun);
        drop(runtime);
        lull();
        assert_eq!(heard.count(), 0);
        assert!(poll_next(&mut generator, &waker).is_pending());
        drop(release);
        wait_until("the consumer to be woken", || heard.count() > 0);
        assert_eq!(poll_next(&mut generator, &waker), Poll::Ready(None));
        assert_eq!(refused.count(), 1);
        assert!(matches!(generator.end(), Some(End::Aborted)));
    }
}

/// G11: in a runtime that is gone already, and in one that goes just then.
#[test]
fn a_generator_that_is_started_in_a_runtime_that_is_gone_ends_at_once() {
    for make in [current_thread, multi_thread] {
        for buffer in [0, 2] {
            let runtime = make();
            let handle = runtime.handle().clone();
            drop(runtime);
            let (called, dropped) = (Tally::new(), Tally::new());
            let (calls, guard) = (called.clone(), dropped.on_drop());
            let mut generator = {
                let _inside = handle.enter();
                Generator::builder().buffer(buffer).spawn_blocking(&Context::background(), move |_, co| {
                    let _guard = guard;
                    calls.tick();
                    let _ = co.yield_(1);
                })
            };
            assert_eq!(take(&mut generator), None);
            assert_eq!((called.count(), dropped.count()), (0, 1));
            assert!(matches!(generator.end(), Some(End::Aborted)));
        }
    }
    for _ in 0..50 {
        let runtime = multi_thread();
        let handle = runtime.handle().clone();
        let starting = thread::spawn(move || {
            let _inside = handle.enter();
            (0..5).map(|_| count(&Context::background(), 0, &Tally::new())).collect::<Vec<_>>()
        });
        drop(runtime);
        for mut generator in starting.join().unwrap() {
            while take(&mut generator).is_some() {}
            assert!(matches!(generator.end(), Some(End::Aborted)));
        }
    }
}

thread_local! {
    /// Where the last panic of this thread came from.
    static LAST_PANIC: RefCell<Option<(String, u32)>> = const { RefCell::new(None) };
}

/// The file and line of the panic in `act`, and its message. The hook is set once for the process and hands every panic on.
fn panic_of(act: impl FnOnce()) -> (String, u32, String) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let place = info.location().map(|at| (at.file().to_owned(), at.line()));
            let _ = LAST_PANIC.try_with(|last| *last.borrow_mut() = place);
            previous(info);
        }));
    });
    let payload = catch_unwind(AssertUnwindSafe(act)).expect_err("it panics");
    let (file, line) = LAST_PANIC.take().expect("the hook was called");
    (file, line, *payload.downcast::<String>().expect("a message in words"))
}

/// G12.
#[test]
fn a_call_outside_a_runtime_panics_at_the_callers_line_and_leaves_nothing() {
    let (ctx, _keep) = Context::background().with_cancel();
    let (called, dropped) = (Tally::new(), Tally::new());
    let (calls, guard) = (called.clone(), dropped.on_drop());
    let mut line = 0;
    let (file, panicked, message) = panic_of(|| {
        line = line!() + 1;
        drop(Generator::builder().name("feed").spawn_blocking::<u8, _>(&ctx, move |_, _| {
            let _guard = &guard;
            calls.tick();
        }));
    });
    assert_eq!((file.as_str(), panicked), (file!(), line));
    for part in ["feed", "runtime", "enter()"] {
        assert!(message.contains(part), "`{part}` is missing: {message}");
    }
    assert_eq!((called.count(), dropped.count()), (0, 1));
    assert!(ctx.live().is_empty());
}

/// Where there is no thread to be had: in a process of its own, whose threads are to have more stack than there is.
#[test]
fn without_a_thread_the_call_panics_at_the_callers_line_and_leaves_nothing() {
    const NAME: &str = "without_a_thread_the_call_panics_at_the_callers_line_and_leaves_nothing";
    const STACK: &str = "RUST_MIN_STACK";
    if std::env::var_os(STACK).is_none_or(|stack| stack != usize::MAX.wrapping_shr(2).to_string().as_str()) {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", NAME, "--test-threads=1", "--nocapture"])
            .env(STACK, usize::MAX.wrapping_shr(2).to_string())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{output:?}");
        return;
    }
    let runtime = current_thread();
    let _inside = runtime.enter();
    let (ctx, _keep) = Context::background().with_cancel();
    let dropped = Tally::new();
    let guard = dropped.on_drop();
    let mut line = 0;
    let (file, panicked, message) = panic_of(|| {
        line = line!() + 1;
        drop(Generator::builder().name("feed").spawn_blocking::<u8, _>(&ctx, move |_, _| drop(guard)));
    });
    assert_eq!((file.as_str(), panicked), (file!(), line));
    assert!(message.contains("feed") && message.contains("no thread"), "{message}");
    assert_eq!(dropped.count(), 1);
    assert!(ctx.live().is_empty());
    runtime.block_on(until("no task to be left", || Handle::current().metrics().num_alive_tasks() == 0));
}
