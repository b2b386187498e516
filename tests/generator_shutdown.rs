//! G11 and G12: a runtime that goes away, and one that was never there.

#![allow(dead_code, reason = "of the shared modules each file takes what it needs")]

mod by_hand;
mod patience;
mod witness;

use by_hand::{Wakes, poll_next};
use ctx_runtime::{Context, End, Generator};
use futures_util::FutureExt;
use patience::{receive, settle, wait_until, within};
use std::cell::RefCell;
use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Once, mpsc};
use std::task::Poll;
use std::thread;
use std::time::Duration;
use tokio::runtime::Runtime;
use witness::Tally;

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

/// Asserts on the next poll: outside any runtime, nothing but that poll could make progress.
fn ready<T: Send + 'static>(generator: &mut Generator<T>) -> Option<T> {
    let (heard, waker) = Wakes::new();
    match poll_next(generator, &waker) {
        Poll::Ready(item) => item,
        Poll::Pending => {
            // Where the shutdown goes on in the background, it must at least wake.
            wait_until("the consumer to be woken", || heard.count() > 0);
            match poll_next(generator, &waker) {
                Poll::Ready(item) => item,
                Poll::Pending => panic!("woken for nothing"),
            }
        }
    }
}

/// G11: a body that rests at a yield, and one that waits for something of its own.
#[test]
fn a_shutdown_drops_the_body_and_ends_its_consumer() {
    for make in [current_thread, multi_thread] {
        for shut_down in SHUTDOWNS {
            for parked in [false, true] {
                let runtime = make();
                let dropped = Tally::new();
                let mut generator = runtime.block_on(async {
                    let guard = dropped.on_drop();
                    let mut generator =
                        Generator::builder().spawn(&Context::background(), |_, co| async move {
                            let _guard = guard;
                            co.yield_(1).await;
                            pending::<()>().await;
                        });
                    assert_eq!(within("the item", generator.next()).await, Some(1));
                    if parked {
                        assert!(poll_next(&mut generator, &Wakes::new().1).is_pending());
                    }
                    settle().await;
                    generator
                });
                let ctx = generator.context().clone();
                shut_down(runtime);
                for _ in 0..3 {
                    assert_eq!(ready(&mut generator), None);
                }
                assert_eq!(dropped.count(), 1);
                assert!(matches!(generator.end(), Some(End::Aborted)), "{:?}", generator.end());
                assert!(ctx.is_done());
                assert!(ctx.live().is_empty());
            }
        }
    }
}

/// G11: a consumer that waits on another thread, outside any runtime, or in another runtime.
#[test]
fn a_consumer_that_waits_elsewhere_is_woken_by_the_shutdown() {
    for make in [current_thread, multi_thread] {
        for in_runtime in [false, true] {
            let runtime = make();
            let mut generator = {
                let _inside = runtime.enter();
                Generator::builder().spawn::<u8, _, _>(&Context::background(), |_, _| pending())
            };
            let (send, ended) = mpsc::channel();
            let (waits, is_waiting) = mpsc::channel();
            thread::spawn(move || {
                let mut first = true;
                let wait = std::future::poll_fn(|cx| {
                    let polled = poll_next(&mut generator, cx.waker());
                    if std::mem::take(&mut first) {
                        waits.send(()).unwrap();
                    }
                    polled
                });
                let item = if in_runtime { current_thread().block_on(wait) } else { block_on(wait) };
                send.send((item, matches!(generator.end(), Some(End::Aborted)))).unwrap();
            });
            receive("the consumer to wait", &is_waiting);
            drop(runtime);
            assert_eq!(receive("the consumer to be woken", &ended), (None, true));
        }
    }
}

/// Blocks this thread on `future`, outside any runtime.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = Box::pin(future);
    let (heard, waker) = Wakes::new();
    loop {
        let before = heard.count();
        if let Poll::Ready(output) = by_hand::poll_once(future.as_mut(), &waker) {
            return output;
        }
        wait_until("the future to be woken", || heard.count() > before);
    }
}

/// G11 and G2: what was accepted arrives after the shutdown.
#[test]
fn what_was_accepted_arrives_after_the_shutdown() {
    for make in [current_thread, multi_thread] {
        let runtime = make();
        let passed = Tally::new();
        let mut generator = {
            let _inside = runtime.enter();
            let passed = passed.clone();
            Generator::builder().buffer(3).spawn(&Context::background(), |_, co| async move {
                for n in 0.. {
                    co.yield_(n).await;
                    passed.tick();
                }
            })
        };
        runtime.block_on(patience::until("the buffer to be full", || passed.count() == 3));
        drop(runtime);
        for n in 0..3 {
            assert_eq!(ready(&mut generator), Some(n));
        }
        assert_eq!(ready(&mut generator), None);
        assert!(matches!(generator.end(), Some(End::Aborted)));
    }
}

/// G11: the handle is first polled when the runtime is gone; the body was never polled.
#[test]
fn a_handle_that_is_first_polled_after_the_shutdown_ends() {
    for make in [current_thread, multi_thread] {
        for buffer in [0, 2] {
            let runtime = make();
            let dropped = Tally::new();
            let guard = dropped.on_drop();
            let mut generator = {
                let _inside = runtime.enter();
                Generator::builder().buffer(buffer).spawn(&Context::background(), |_, co| async move {
                    let _guard = guard;
                    pending::<()>().await;
                    co.yield_(1).await;
                })
            };
            drop(runtime);
            assert_eq!(ready(&mut generator), None);
            assert_eq!(dropped.count(), 1);
            assert!(matches!(generator.end(), Some(End::Aborted)));
        }
    }
}

/// G11: `stop()` and `cancel()` and the drop of the handle after the shutdown.
#[test]
fn a_handle_is_stopped_cancelled_and_dropped_after_the_shutdown() {
    for make in [current_thread, multi_thread] {
        let start = |runtime: &Runtime| {
            let _inside = runtime.enter();
            Generator::builder().spawn::<u8, _, _>(&Context::background(), |_, _| pending())
        };
        let runtime = make();
        let (stopped, cancelled, dropped) = (start(&runtime), start(&runtime), start(&runtime));
        drop(runtime);
        assert!(matches!(block_on(stopped.stop()), End::Aborted));
        cancelled.cancel();
        assert!(matches!(cancelled.end(), Some(End::Aborted)));
        drop(dropped);
    }
}

/// G11: a shutdown after the end changes nothing.
#[test]
fn an_end_before_the_shutdown_stays_what_it_was() {
    let runtime = current_thread();
    let (mut finished, cancelled) = runtime.block_on(async {
        let mut finished = Generator::builder()
            .buffer(1)
            .spawn(&Context::background(), |_, co| async move { co.yield_(1).await });
        let cancelled = Generator::builder().spawn::<u8, _, _>(&Context::background(), |_, _| pending());
        cancelled.cancel();
        patience::until("both to end", || finished.end().is_some() && cancelled.end().is_some()).await;
        assert!(poll_next(&mut finished, &Wakes::new().1).is_ready());
        (finished, cancelled)
    });
    drop(runtime);
    assert_eq!(ready(&mut finished), None);
    assert!(matches!(finished.end(), Some(End::Finished)));
    assert!(matches!(cancelled.end(), Some(End::Cancelled(_))));
}

/// G11: the shutdown drops a body that owns the handle of another one, and a body that consumes another one.
#[test]
fn a_shutdown_drops_generators_that_own_generators() {
    for make in [current_thread, multi_thread] {
        let runtime = make();
        let dropped = Tally::new();
        let mut outermost = runtime.block_on(async {
            let mut generator = Generator::builder().spawn(&Context::background(), {
                let guard = dropped.on_drop();
                |_, co| async move {
                    let _guard = guard;
                    co.yield_(0).await;
                    pending::<()>().await;
                }
            });
            for _ in 0..50 {
                let guard = dropped.on_drop();
                let mut inner = generator;
                generator = Generator::builder().spawn(&Context::background(), |_, co| async move {
                    let _guard = guard;
                    while let Some(n) = inner.next().await {
                        co.yield_(n + 1).await;
                    }
                });
            }
            assert_eq!(within("an item through all of them", generator.next()).await, Some(50));
            generator
        });
        drop(runtime);
        assert_eq!(ready(&mut outermost), None);
        assert_eq!(dropped.count(), 51);
    }
}

/// G11: a destructor that looks for its runtime at the shutdown, and a panic there.
#[test]
fn a_panic_in_a_destructor_at_the_shutdown_is_raised_by_next() {
    let runtime = current_thread();
    let mut generator = runtime.block_on(async {
        let mut generator = Generator::builder().spawn(&Context::background(), |_, co| async move {
            let _guard = witness::on_drop(|| panic!("a destructor that panics, as the test wants it"));
            co.yield_(1).await;
        });
        assert_eq!(within("the item", generator.next()).await, Some(1));
        generator
    });
    drop(runtime);
    assert!(catch_unwind(AssertUnwindSafe(|| ready(&mut generator))).is_err());
    assert_eq!(ready(&mut generator), None);
}

/// G11: starting one in a runtime that is shutting down, from the destructor of a task.
#[test]
fn a_generator_that_is_started_during_the_shutdown_ends_at_once() {
    for make in [current_thread, multi_thread] {
        let runtime = make();
        let (send, started) = mpsc::channel();
        let guard = witness::on_drop(move || {
            let _ =
                send.send(Generator::builder().buffer(1).spawn(&Context::background(), |_, co| async move {
                    co.yield_(1).await;
                    pending::<()>().await;
                }));
        });
        runtime.block_on(async {
            tokio::spawn(async move {
                let _guard = guard;
                pending::<()>().await;
            });
            settle().await;
        });
        drop(runtime);
        let mut generator = receive("the generator", &started);
        assert_eq!(ready(&mut generator), None);
        assert!(matches!(generator.end(), Some(End::Aborted)), "{:?}", generator.end());
    }
}

// G12.

thread_local! {
    /// Where the last panic of this thread came from, if the thread asked for it.
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
    let message = payload
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .expect("a message in words");
    (file, line, message)
}

/// G12.
#[test]
fn a_generator_outside_a_runtime_panics_at_the_callers_line_and_says_what_to_do() {
    let mut line = 0;
    let (file, panicked, message) = panic_of(|| {
        line = line!() + 1;
        drop(Generator::builder().name("feed").spawn::<u8, _, _>(&Context::background(), |_, _| pending()));
    });
    assert_eq!((file.as_str(), panicked), (file!(), line));
    for part in ["feed", "runtime", "enter()"] {
        assert!(message.contains(part), "`{part}` is missing: {message}");
    }
}

/// G12: what it was given is dropped, nothing is left, and a runtime helps.
#[test]
fn a_call_outside_a_runtime_leaves_nothing_behind() {
    let dropped = Tally::new();
    let (ctx, _keep) = Context::background().with_cancel();
    let called = Tally::new();
    let guard = dropped.on_drop();
    let inside = called.clone();
    panic_of(|| {
        drop(Generator::builder().buffer(2).spawn::<u8, _, _>(&ctx, move |_, _| {
            inside.tick();
            async move { drop(guard) }
        }));
    });
    assert_eq!((dropped.count(), called.count()), (1, 0));
    assert!(ctx.live().is_empty());

    let runtime = current_thread();
    let mut generator = {
        let _inside = runtime.enter();
        Generator::builder().spawn(&ctx, |_, co| async move { co.yield_(1).await })
    };
    assert_eq!(runtime.block_on(within("the item", generator.next())), Some(1));
}

/// G12, for a deadline: it needs a clock to go by.
#[test]
fn a_deadline_outside_a_runtime_panics_at_the_callers_line() {
    let mut line = 0;
    let (file, panicked, message) = panic_of(|| {
        line = line!() + 1;
        drop(Context::background().with_timeout(Duration::from_secs(1)));
    });
    assert_eq!((file.as_str(), panicked), (file!(), line));
    assert!(message.contains("runtime"), "{message}");
}

/// Bad input of the issue: more than there is memory for. At the call, with a message, not an abort.
#[tokio::test]
async fn a_buffer_larger_than_memory_fails_at_the_call() {
    let (ctx, _keep) = Context::background().with_cancel();
    for buffer in [usize::MAX, usize::MAX / 2, usize::MAX / 16, usize::MAX / 64] {
        let mut line = 0;
        let (file, panicked, message) = panic_of(|| {
            line = line!() + 1;
            drop(Generator::builder().name("feed").buffer(buffer).spawn::<u64, _, _>(&ctx, |_, _| pending()));
        });
        assert_eq!((file.as_str(), panicked), (file!(), line));
        for part in ["feed", "memory", &buffer.to_string()] {
            assert!(message.contains(part), "`{part}` is missing: {message}");
        }
        assert!(ctx.live().is_empty());
    }
    settle().await;
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
}

/// Items without a size take no memory, so any number of them fits.
#[tokio::test]
async fn a_buffer_of_nothings_may_be_as_large_as_it_likes() {
    let started = AssertUnwindSafe(async {
        let mut units =
            Generator::builder().buffer(usize::MAX).spawn(&Context::background(), |_, co| async move {
                for _ in 0..10 {
                    co.yield_(()).await;
                }
            });
        let mut count = 0;
        while within("a unit", units.next()).await.is_some() {
            count += 1;
        }
        count
    })
    .catch_unwind()
    .await;
    assert_eq!(started.unwrap(), 10);
}
