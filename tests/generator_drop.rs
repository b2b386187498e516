//! G5: dropping the handle. Where the body rests, its destructors have run when the drop returns, inside the generator's
//! runtime; where it runs, the drop does not wait. From anywhere (G8).

#![allow(dead_code, reason = "of the shared modules each file takes what it needs")]

mod by_hand;
mod patience;
mod witness;

use by_hand::{Wakes, poll_next, poll_once, waker_fn};
use ctx_runtime::{Context, Generator};
use patience::{receive, settle, until, wait_until, within};
use std::cell::RefCell;
use std::future::pending;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;
use tokio::runtime::{Handle, Runtime};
use witness::{OnDrop, Tally, on_drop};

/// A single-threaded runtime, and one with a single worker beside the thread that blocks on it.
fn runtimes() -> [Runtime; 2] {
    [
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(),
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap(),
    ]
}

/// Returns when every body of this runtime rests: its only worker has done something else in between, so it polls none.
fn let_rest(runtime: &Runtime) {
    for _ in 0..5 {
        runtime.block_on(runtime.spawn(settle())).unwrap();
    }
}

/// A destructor that uses its runtime, and is counted only if it is there: it makes a timer and starts a task.
fn needs_runtime(runtime: &Handle, dropped: &Tally) -> OnDrop<impl FnMut() + Send + use<>> {
    let (home, dropped) = (runtime.id(), dropped.clone());
    on_drop(move || {
        let here = Handle::try_current().expect("a destructor runs inside a runtime");
        assert_eq!(here.id(), home, "and that is the generator's own");
        drop(tokio::time::sleep(Duration::from_secs(1)));
        drop(tokio::spawn(async {}));
        dropped.tick();
    })
}

/// A generator whose body has such a destructor, and rests: at a yield whose item was taken.
fn resting(runtime: &Runtime, dropped: &Tally) -> Generator<u8> {
    let mut generator = {
        let _inside = runtime.enter();
        let guard = needs_runtime(runtime.handle(), dropped);
        Generator::builder().spawn(&Context::background(), |_, co| async move {
            let _guard = guard;
            co.yield_(1).await;
            pending::<()>().await;
        })
    };
    assert_eq!(runtime.block_on(within("the item", generator.next())), Some(1));
    let_rest(runtime);
    generator
}

/// G5.
#[test]
fn destructors_have_run_when_the_drop_of_a_resting_body_returns() {
    for runtime in runtimes() {
        for _ in 0..300 {
            let dropped = Tally::new();
            let generator = resting(&runtime, &dropped);
            drop(generator);
            assert_eq!(dropped.count(), 1);
        }
    }
}

/// G5. Fails for a drop that wakes the generator's task before it has the body for itself: somebody who waits for the
/// generator's context is woken too, gives that task all the time it needs, and the body is gone on another thread.
#[test]
fn a_resting_body_is_not_snatched_from_the_drop_of_its_handle() {
    let [_, runtime] = runtimes();
    let (dropped, returned) = (Tally::new(), Tally::new());
    let this_thread = thread::current().id();
    let guard = on_drop({
        let (dropped, returned) = (dropped.clone(), returned.clone());
        move || {
            dropped.tick();
            if thread::current().id() != this_thread {
                wait_until("the drop to return", || returned.count() == 1);
            }
            dropped.tick();
        }
    });
    let mut generator = {
        let _inside = runtime.enter();
        Generator::builder().spawn(&Context::background(), |_, co| async move {
            let _guard = guard;
            co.yield_(1).await;
        })
    };
    assert_eq!(runtime.block_on(within("the item", generator.next())), Some(1));
    let_rest(&runtime);
    let mut wait = Box::pin(generator.context().done());
    let waker = waker_fn({
        let dropped = dropped.clone();
        move || {
            for _ in 0..100_000 {
                if dropped.count() > 0 {
                    break;
                }
                thread::yield_now();
            }
        }
    });
    assert!(poll_once(wait.as_mut(), &waker).is_pending());
    drop(generator);
    let at_return = dropped.count();
    returned.tick();
    assert_eq!(at_return, 2, "its destructor has run when the drop returns");
}

/// G5, for a body that waits at something of its own.
#[test]
fn destructors_have_run_when_the_drop_of_a_parked_body_returns() {
    for runtime in runtimes() {
        for _ in 0..300 {
            let dropped = Tally::new();
            let mut generator = resting(&runtime, &dropped);
            assert!(poll_next(&mut generator, &Wakes::new().1).is_pending());
            let_rest(&runtime);
            let ctx = generator.context().clone();
            drop(generator);
            assert_eq!(dropped.count(), 1);
            assert!(ctx.is_done() && ctx.live().is_empty());
        }
    }
}

/// G5 and G8: from a thread outside any runtime.
#[test]
fn a_handle_may_be_dropped_outside_any_runtime() {
    for runtime in runtimes() {
        let dropped = Tally::new();
        let generator = resting(&runtime, &dropped);
        let seen = dropped.clone();
        let count = thread::spawn(move || {
            drop(generator);
            seen.count()
        });
        assert_eq!(count.join().unwrap(), 1);
    }
}

/// G5 and G8: from a task of another runtime, whose own context is restored afterwards.
#[test]
fn a_handle_may_be_dropped_inside_another_runtime() {
    let [one, other] = runtimes();
    for (home, elsewhere) in [(&one, &other), (&other, &one)] {
        let dropped = Tally::new();
        let generator = resting(home, &dropped);
        let seen = dropped.clone();
        elsewhere.block_on(async {
            drop(generator);
            assert_eq!(seen.count(), 1);
            assert_eq!(Handle::current().id(), elsewhere.handle().id());
        });
    }
}

/// G5 and G8: a thread-local's destructor. Depending on what else the thread has used, tokio's own thread-locals are there or
/// gone by then, and so are those of the library; the destructors run in any case, once, inside the runtime.
#[test]
fn a_handle_may_be_dropped_by_the_destructor_of_a_thread_local() {
    thread_local! {
        static KEPT: RefCell<Vec<Generator<u8>>> = const { RefCell::new(Vec::new()) };
    }
    /// What the thread touches before and after it keeps the handle: later touched is earlier destroyed.
    #[derive(Clone, Copy)]
    enum Touch {
        Nothing,
        Tokio,
        DropOfAnother,
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    for before in [Touch::Nothing, Touch::Tokio, Touch::DropOfAnother] {
        for after in [Touch::Nothing, Touch::Tokio, Touch::DropOfAnother] {
            let dropped = Tally::new();
            let generator = resting(&runtime, &dropped);
            let ctx = generator.context().clone();
            let others_dropped = Tally::new();
            let mut others = [before, after].map(|_| Some(resting(&runtime, &others_dropped)));
            thread::spawn(move || {
                let mut touch = |what, place: usize| match what {
                    Touch::Nothing => {}
                    Touch::Tokio => assert!(Handle::try_current().is_err()),
                    Touch::DropOfAnother => drop(others[place].take()),
                };
                touch(before, 0);
                KEPT.with_borrow_mut(|kept| kept.push(generator));
                touch(after, 1);
            })
            .join()
            .unwrap();
            wait_until("the destructor inside the runtime", || dropped.count() == 1);
            wait_until("the generator to be off the list", || ctx.live().is_empty());
            wait_until("the others", || others_dropped.count() == 2);
        }
    }
    wait_until("all tasks to be gone", || runtime.metrics().num_alive_tasks() == 0);
}

/// G5: a body that owns the handle of another one, and so on.
#[test]
fn bodies_that_own_bodies_are_all_gone_when_the_outermost_drop_returns() {
    fn nest(depth: usize, handle: &Handle, dropped: &Tally) -> Generator<usize> {
        let inner = (depth > 0).then(|| nest(depth - 1, handle, dropped));
        let guard = needs_runtime(handle, dropped);
        Generator::builder().spawn(&Context::background(), move |_, co| async move {
            let _guard = guard;
            let _inner = inner;
            co.yield_(depth).await;
        })
    }
    for runtime in runtimes() {
        for depth in [1, 2, 40, 1_000] {
            let dropped = Tally::new();
            let mut generator = {
                let _inside = runtime.enter();
                nest(depth, runtime.handle(), &dropped)
            };
            assert_eq!(runtime.block_on(within("the item", generator.next())), Some(depth));
            let_rest(&runtime);
            drop(generator);
            assert_eq!(dropped.count(), depth + 1, "depth {depth}");
        }
    }
}

/// G5, across runtimes: each body is dropped inside its own.
#[test]
fn a_body_that_owns_a_body_of_another_runtime_is_dropped_with_it() {
    let [one, other] = runtimes();
    let dropped = Tally::new();
    let inner = resting(&other, &dropped);
    let guard = needs_runtime(one.handle(), &dropped);
    let generator = one.block_on(async {
        let mut generator = Generator::builder().spawn(&Context::background(), move |_, co| async move {
            let _guard = guard;
            let _inner = inner;
            co.yield_(1_u8).await;
        });
        assert_eq!(within("the item", generator.next()).await, Some(1));
        settle().await;
        generator
    });
    drop(generator);
    assert_eq!(dropped.count(), 2);
}

/// G5: the drop does not wait for a body that runs. The body is let go only when the drop has returned.
#[test]
fn a_drop_does_not_wait_for_a_body_that_runs_on_another_thread() {
    let [_, runtime] = runtimes();
    let dropped = Tally::new();
    let (running, is_running) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let guard = needs_runtime(runtime.handle(), &dropped);
    let passed = Tally::new();
    let generator = {
        let _inside = runtime.enter();
        let passed = passed.clone();
        Generator::builder().buffer(1).spawn(&Context::background(), move |_, co| async move {
            let _guard = guard;
            running.send(()).unwrap();
            receive("the drop to have returned", &released);
            co.yield_(1).await;
            passed.tick();
        })
    };
    receive("the body to run", &is_running);
    drop(generator);
    assert_eq!(dropped.count(), 0);
    release.send(()).unwrap();
    wait_until("the body to be dropped when its poll is over", || dropped.count() == 1);
    assert_eq!(passed.count(), 0, "a yield that starts after the drop is not accepted");
    wait_until("its task to be gone", || runtime.metrics().num_alive_tasks() == 0);
}

/// G5: nor for one that is being dropped on another thread.
#[test]
fn a_drop_does_not_wait_for_destructors_that_run_on_another_thread() {
    let [_, runtime] = runtimes();
    let (dropping, is_dropping) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let dropped = Tally::new();
    let (ctx, canceller) = Context::background().with_cancel();
    let guard = on_drop({
        let dropped = dropped.clone();
        let released = Mutex::new(released);
        move || {
            dropping.send(()).unwrap();
            receive("the drop to have returned", &released.lock().unwrap());
            dropped.tick();
        }
    });
    let mut generator = {
        let _inside = runtime.enter();
        Generator::builder().spawn(&ctx, move |_, co| async move {
            let _guard = guard;
            co.yield_(1_u8).await;
        })
    };
    assert_eq!(runtime.block_on(within("the item", generator.next())), Some(1));
    canceller.cancel();
    receive("the destructor to run", &is_dropping);
    drop(generator);
    assert_eq!(dropped.count(), 0);
    assert_eq!(ctx.live().len(), 1, "alive until its destructors are over");
    release.send(()).unwrap();
    wait_until("the destructor to be over", || dropped.count() == 1);
    wait_until("the generator to be off the list", || ctx.live().is_empty());
}

/// G5: the items that nobody took go with the handle.
#[test]
fn items_that_were_not_taken_are_dropped_with_the_handle() {
    let [runtime, _] = runtimes();
    let dropped = Tally::new();
    let items = dropped.clone();
    let generator = runtime.block_on(async {
        let generator = Generator::builder().buffer(4).spawn(&Context::background(), |_, co| async move {
            loop {
                co.yield_(items.on_drop()).await;
            }
        });
        settle().await;
        generator
    });
    drop(generator);
    assert_eq!(dropped.count(), 5, "four that were accepted, and the one in the body's hand");
}

/// Accepted in a poll that is not over when the handle is dropped: whoever ends the generator is left with the item.
#[test]
fn an_item_that_was_accepted_just_before_the_drop_of_the_handle_is_dropped_too() {
    for buffer in [0, 1] {
        let [_, runtime] = runtimes();
        let dropped = Tally::new();
        let item = dropped.on_drop();
        let (send, asked) = tokio::sync::oneshot::channel();
        let (accepted, is_accepted) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let mut generator = {
            let _inside = runtime.enter();
            Generator::builder().buffer(buffer).spawn(&Context::background(), move |_, co| async move {
                let _: Result<(), _> = asked.await;
                tokio::join!(co.yield_(item), async move {
                    accepted.send(()).unwrap();
                    receive("the drop to have returned", &released);
                });
            })
        };
        let ctx = generator.context().clone();
        assert!(poll_next(&mut generator, &Wakes::new().1).is_pending());
        send.send(()).unwrap();
        receive("the item to be accepted", &is_accepted);
        drop(generator);
        assert_eq!(dropped.count(), 0, "buffer {buffer}: the body runs");
        release.send(()).unwrap();
        wait_until("the item to be dropped", || dropped.count() == 1);
        // Which keeps the memory of the generator, and not its items.
        drop(ctx);
    }
}

/// An item whose destructor drops the next handle, and so on.
#[test]
fn items_may_be_handles_of_generators() {
    for runtime in runtimes() {
        let dropped = Tally::new();
        let make = {
            let (handle, dropped) = (runtime.handle().clone(), dropped.clone());
            move || {
                let guard = needs_runtime(&handle, &dropped);
                Generator::builder().buffer(1).spawn(&Context::background(), move |_, co| async move {
                    let _guard = guard;
                    co.yield_(1_u8).await;
                    pending::<()>().await;
                })
            }
        };
        let mut outer = {
            let _inside = runtime.enter();
            Generator::builder().buffer(3).spawn(&Context::background(), move |_, co| async move {
                for _ in 0..3 {
                    co.yield_(make()).await;
                }
            })
        };
        runtime.block_on(async {
            let mut inner = within("a generator", outer.next()).await.unwrap();
            assert_eq!(within("its item", inner.next()).await, Some(1));
            until("the body to end", || outer.end().is_some()).await;
            settle().await;
        });
        drop(outer);
        wait_until("all three", || dropped.count() == 3);
    }
}

/// The last thing that keeps the canceller is the body that the cancel is to end.
#[test]
fn a_body_may_own_the_canceller_of_its_own_context() {
    for runtime in runtimes() {
        let dropped = Tally::new();
        let (ctx, canceller) = Context::background().with_cancel();
        let guard = needs_runtime(runtime.handle(), &dropped);
        let mut generator = {
            let _inside = runtime.enter();
            Generator::builder().spawn(&ctx, move |_, co| async move {
                let _guards = (guard, canceller);
                co.yield_(1_u8).await;
                pending::<()>().await;
            })
        };
        assert_eq!(runtime.block_on(within("the item", generator.next())), Some(1));
        assert!(!ctx.is_done());
        drop(generator);
        wait_until("the destructor", || dropped.count() == 1);
        wait_until("the canceller to be gone", || ctx.is_done());
    }
}

/// A body that owns its own handle, which nobody else has: its context still ends it.
#[test]
fn a_body_that_owns_its_own_handle_is_ended_by_its_context() {
    for runtime in runtimes() {
        let dropped = Tally::new();
        let (ctx, canceller) = Context::background().with_cancel();
        let slot = Arc::new(Mutex::new(None));
        let (guard, own) = (needs_runtime(runtime.handle(), &dropped), Arc::clone(&slot));
        runtime.block_on(async {
            let generator = Generator::builder().buffer(1).spawn(&ctx, move |_, co| async move {
                let _guard = guard;
                let _own: Generator<u8> = loop {
                    if let Some(handle) = own.lock().unwrap().take() {
                        break handle;
                    }
                    tokio::task::yield_now().await;
                };
                co.yield_(1).await;
                pending::<()>().await;
            });
            *slot.lock().unwrap() = Some(generator);
            until("the body to have its handle", || slot.lock().unwrap().is_none()).await;
            settle().await;
            assert_eq!(dropped.count(), 0);
            canceller.cancel();
            until("the body to be gone", || dropped.count() == 1).await;
            until("its task to be gone", || Handle::current().metrics().num_alive_tasks() == 0).await;
        });
    }
}

/// A body that drops its own handle while it runs: it ends there, when its poll is over.
#[test]
fn a_body_may_drop_its_own_handle() {
    for runtime in runtimes() {
        let (dropped, passed) = (Tally::new(), Tally::new());
        let slot: Arc<Mutex<Option<Generator<u8>>>> = Arc::default();
        let guard = needs_runtime(runtime.handle(), &dropped);
        runtime.block_on(async {
            let (own, passed) = (Arc::clone(&slot), passed.clone());
            let go = Arc::new(tokio::sync::Notify::new());
            let gone = Arc::clone(&go);
            let generator =
                Generator::builder().buffer(1).spawn(&Context::background(), move |_, co| async move {
                    let _guard = guard;
                    gone.notified().await;
                    drop(own.lock().unwrap().take());
                    co.yield_(1).await;
                    passed.tick();
                });
            *slot.lock().unwrap() = Some(generator);
            go.notify_one();
            until("the body to be gone", || dropped.count() == 1).await;
            until("its task to be gone", || Handle::current().metrics().num_alive_tasks() == 0).await;
        });
        assert_eq!(passed.count(), 0);
    }
}

/// Destructors that cancel the context, ask other handles, and start and drop further generators.
#[test]
fn a_destructor_may_use_contexts_and_other_generators() {
    for runtime in runtimes() {
        let dropped = Tally::new();
        let (ctx, canceller) = Context::background().with_cancel();
        let (below, below_canceller) = ctx.with_cancel();
        let generator = runtime.block_on(async {
            let mut other = Generator::builder().spawn(&ctx, |_, co| async move {
                co.yield_(7).await;
                pending::<()>().await;
            });
            assert_eq!(within("the other's item", other.next()).await, Some(7));
            let guard = on_drop({
                let (ctx, dropped) = (ctx.clone(), dropped.clone());
                let mut other = Some(other);
                move || {
                    let mut other = other.take().unwrap();
                    assert!(poll_next(&mut other, &Wakes::new().1).is_pending());
                    let started =
                        Generator::builder().buffer(1).spawn(&ctx, |_, co| async move { co.yield_(1).await });
                    canceller.cancel();
                    below_canceller.cancel();
                    drop(started);
                    drop(other);
                    assert!(!ctx.live().to_string().is_empty());
                    dropped.tick();
                }
            });
            let mut generator = Generator::builder().spawn(&below, move |_, co| async move {
                let _guard = guard;
                co.yield_(1_u8).await;
            });
            assert_eq!(within("the item", generator.next()).await, Some(1));
            settle().await;
            generator
        });
        drop(generator);
        wait_until("the destructor", || dropped.count() == 1);
        assert!(ctx.is_done() && below.is_done());
        runtime.block_on(until("the rest to end", || ctx.live().is_empty()));
        runtime.block_on(until("no task to be left", || Handle::current().metrics().num_alive_tasks() == 0));
    }
}

/// The drop of a `stop()` that was not awaited drops the handle that it has taken.
#[test]
fn a_stop_that_is_not_awaited_stops_all_the_same() {
    let [runtime, _] = runtimes();
    let dropped = Tally::new();
    let generator = resting(&runtime, &dropped);
    drop(generator.stop());
    assert_eq!(dropped.count(), 1);
}
