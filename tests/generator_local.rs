//! The kind `local`: G1 to G12 for generators that stay on their thread, and of which nothing need be `Send`. In a `LocalSet`, in a
//! `LocalRuntime`, in their tasks and beside them.

#![allow(dead_code, reason = "of the shared modules each file takes what it needs")]
#![allow(clippy::similar_names, reason = "a count and what counts it up: `begun` and `begins`")]

mod by_hand;
mod patience;
mod witness;

use by_hand::{Wakes, poll_once, waker_that_drops};
use ctx_runtime::{Context, ContextError, End, Generator, LocalGenerator, LocalYielder, Yielder};
use futures_util::FutureExt;
use futures_util::stream::{FusedStream, Stream};
use patience::{receive, settle, until, within};
use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Once, mpsc};
use std::task::{self, Poll, Waker};
use std::thread;
use std::time::Duration;
use tokio::runtime::{Builder, Handle, LocalOptions, LocalRuntime, Runtime};
use tokio::sync::oneshot;
use tokio::task::{LocalSet, spawn_local, yield_now};
use witness::{OnDrop, Tally, on_drop};

fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn multi_thread() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

fn local_runtime() -> LocalRuntime {
    Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).unwrap()
}

/// Runs `test` wherever a local generator may be started.
fn in_each<F: Future<Output = ()> + 'static>(test: impl Fn() -> F) {
    for runtime in [current_thread(), multi_thread()] {
        LocalSet::new().block_on(&runtime, test());
        LocalSet::new().block_on(&runtime, async { spawn_local(test()).await.unwrap() });
        runtime.block_on(async { LocalSet::new().run_until(test()).await });
    }
    local_runtime().block_on(test());
    local_runtime().block_on(async { spawn_local(test()).await.unwrap() });
}

fn poll_next<T>(generator: &mut LocalGenerator<T>, waker: &Waker) -> Poll<Option<T>> {
    Pin::new(generator).poll_next(&mut task::Context::from_waker(waker))
}

/// Asserts that it is on the thread that it was made on, and is counted when it is dropped.
fn stays_here(dropped: &Tally) -> (Rc<()>, OnDrop<impl FnMut() + use<>>) {
    let (home, dropped) = (thread::current().id(), dropped.clone());
    let guard = on_drop(move || {
        assert_eq!(thread::current().id(), home, "dropped on the thread that it belongs to");
        dropped.tick();
    });
    (Rc::new(()), guard)
}

/// Counts up for ever, in things that are not `Send`.
fn count(ctx: &Context, buffer: usize, dropped: &Tally) -> LocalGenerator<Rc<Cell<u32>>> {
    let guard = stays_here(dropped);
    Generator::builder().name("count").buffer(buffer).spawn_local(ctx, |_, co| async move {
        let _guard = guard;
        for n in 0.. {
            co.yield_(Rc::new(Cell::new(n))).await;
        }
    })
}

/// One that has yielded 0 and waits for ever, having been asked twice.
async fn parked(ctx: &Context, dropped: &Tally) -> LocalGenerator<u8> {
    let guard = stays_here(dropped);
    let reached = Tally::new();
    let at_place = reached.clone();
    let mut generator = Generator::builder().spawn_local(ctx, |_, co| async move {
        let _guard = guard;
        co.yield_(0).await;
        at_place.tick();
        pending::<()>().await;
    });
    assert_eq!(within("the first item", generator.next()).await, Some(0));
    assert!(poll_next(&mut generator, Waker::noop()).is_pending());
    until("the body to wait", || reached.count() == 1).await;
    settle().await;
    generator
}

async fn number(generator: &mut LocalGenerator<Rc<Cell<u32>>>) -> Option<u32> {
    within("an item", generator.next()).await.map(|item| item.get())
}

// What it is: checked by the compiler.

/// Two impls that both apply to what is `Send` (or `Sync`), so that the compiler cannot choose.
trait NotSend<A> {}
impl<T: ?Sized> NotSend<()> for T {}
impl<T: ?Sized + Send> NotSend<u8> for T {}

trait NotSync<A> {}
impl<T: ?Sized> NotSync<()> for T {}
impl<T: ?Sized + Sync> NotSync<u8> for T {}

/// Also where the items are `Send`: the body is not.
#[tokio::test]
async fn neither_the_handle_nor_what_borrows_it_leaves_its_thread() {
    fn stays<A, B, T: NotSend<A> + NotSync<B>>(_: &T) {}
    fn stays_unshared<A, T: NotSend<A>>(_: &T) {}
    fn stream<T: Stream + FusedStream + Unpin>(_: &T) {}

    let set = LocalSet::new();
    set.run_until(async {
        let mut generator = Generator::builder()
            .spawn_local(&Context::background(), |_, co| async move { co.yield_(1_u8).await });
        stays(&generator);
        stream(&generator);
        stays_unshared(&generator.next());
        stays_unshared(&generator.next_many(&mut Vec::new(), 1));
        stays_unshared(&generator.stop());
    })
    .await;
}

/// A guard, too, though its value may go anywhere: what it makes of that may not. Fails, as it does not compile, where one of them is `Send`.
#[tokio::test]
async fn neither_a_yielder_nor_its_guards_leave_their_thread() {
    fn stays<A, B, T: NotSend<A> + NotSync<B>>(_: &T) {}
    fn lends<T>(_: &Yielder<T>) {}

    LocalSet::new()
        .run_until(async {
            let mut generator =
                Generator::builder().spawn_local(&Context::background(), |_, co| async move {
                    stays(&co);
                    let guard = co.guard(1_u8, async |_| drop(Rc::new(())));
                    stays(&guard);
                    lends(&co);
                    co.yield_(*guard).await;
                });
            assert_eq!(generator.next().await, Some(1));
        })
        .await;
}

#[test]
fn nothing_need_be_send() {
    in_each(|| async {
        for buffer in [0, 1, 4] {
            let seen = Rc::new(RefCell::new(Vec::new()));
            let log = Rc::clone(&seen);
            let mut generator =
                Generator::builder().buffer(buffer).spawn_local(&Context::background(), |_, co| async move {
                    for n in 0..10 {
                        let item = Rc::new(RefCell::new(n));
                        let kept = Rc::clone(&item);
                        co.yield_(item).await;
                        yield_now().await;
                        log.borrow_mut().push(*kept.borrow());
                    }
                });
            let mut taken = Vec::new();
            while let Some(item) = within("an item", generator.next()).await {
                taken.push(*item.borrow());
                *item.borrow_mut() += 100;
            }
            assert_eq!(taken, (0..10).collect::<Vec<_>>());
            if buffer == 0 {
                assert_eq!(*seen.borrow(), (100..110).collect::<Vec<_>>());
            }
            assert!(matches!(generator.end(), Some(End::Finished)));
            assert_eq!(Rc::strong_count(&seen), 1, "what the body held is gone");
        }
    });
}

#[test]
fn a_handle_tells_what_any_other_does() {
    in_each(|| async {
        let (ctx, _keep) = Context::background().with_cancel();
        let mut generator = count(&ctx, 0, &Tally::new());
        assert_eq!(generator.name(), "count");
        assert!(format!("{generator:?}").contains("count"));
        assert_eq!(ctx.live().len(), 1);
        let mut items = Vec::new();
        assert_eq!(within("the first", generator.next_many(&mut items, 3)).await, 1);
        let own = generator.context().clone();
        generator.cancel();
        assert!(own.is_done());
        assert_eq!(within("the end", generator.next_many(&mut items, 3)).await, 0);
        assert!(generator.is_terminated());
        assert!(ctx.live().is_empty());
    });
}

// G1.

/// G1, at a yield and at something else; not on the canceller's thread.
#[test]
fn a_cancel_from_another_thread_ends_the_body_on_its_own() {
    in_each(|| async {
        let dropped = Tally::new();
        let (ctx, canceller) = Context::background().with_cancel();
        let mut at_yield = count(&ctx, 0, &dropped);
        assert_eq!(number(&mut at_yield).await, Some(0));
        let mut buffered = count(&ctx, 2, &dropped);
        assert_eq!(number(&mut buffered).await, Some(0));
        let at_something = parked(&ctx, &dropped).await;
        thread::spawn(move || canceller.cancel()).join().unwrap();
        assert_eq!(dropped.count(), 0, "the canceller's thread ran no destructor");
        until("their own tasks to end them", || dropped.count() == 3).await;
        assert_eq!(number(&mut at_yield).await, None);
        let ends = [at_yield.end(), buffered.end(), at_something.end()];
        assert!(ends.iter().all(|end| matches!(end, Some(End::Cancelled(_)))), "{ends:?}");
        drop((at_yield, buffered, at_something));
        assert_eq!(dropped.count(), 3, "once");
    });
}

/// G1: the consumer when it next asks, before the body's task has had its turn.
#[test]
fn a_consumer_that_asks_after_a_cancel_gets_the_end() {
    in_each(|| async {
        let dropped = Tally::new();
        let (ctx, canceller) = Context::background().with_cancel();
        let mut generator = parked(&ctx, &dropped).await;
        canceller.cancel();
        assert_eq!(generator.next().now_or_never(), Some(None));
        assert_eq!(dropped.count(), 1);
    });
}

/// G1, by its timer: nobody asks.
#[test]
fn a_deadline_ends_the_body() {
    for kind in 0..2 {
        let test = async {
            tokio::time::pause();
            let dropped = Tally::new();
            let ctx = Context::background().with_timeout(Duration::from_secs(5));
            let generator = parked(&ctx, &dropped).await;
            let mut rests = count(&ctx, 0, &dropped);
            assert_eq!(number(&mut rests).await, Some(0));
            tokio::time::sleep(Duration::from_secs(6)).await;
            until("both bodies to be gone", || dropped.count() == 2).await;
            for end in [generator.end(), rests.end()] {
                let Some(End::Cancelled(cause)) = end else { panic!("the deadline, not {end:?}") };
                assert_eq!(cause.kind(), ContextError::DeadlineExceeded);
            }
        };
        if kind == 0 {
            LocalSet::new().block_on(&current_thread(), test);
        } else {
            local_runtime().block_on(test);
        }
    }
}

/// G1: nothing is accepted after the cancel, and the body goes no further.
#[test]
fn a_yield_after_a_cancel_is_not_accepted() {
    in_each(|| async {
        for buffer in [0, 1, 4] {
            let (passed, dropped) = (Tally::new(), Tally::new());
            let (ctx, canceller) = Context::background().with_cancel();
            let (past, guard) = (passed.clone(), stays_here(&dropped));
            let mut generator = Generator::builder().buffer(buffer).spawn_local(&ctx, |_, co| async move {
                canceller.cancel();
                co.yield_(guard).await;
                past.tick();
            });
            assert!(within("the end", generator.next()).await.is_none());
            assert_eq!((passed.count(), dropped.count()), (0, 1));
        }
    });
}

// G2, G3, G4.

/// G2.
#[test]
fn what_was_accepted_arrives_after_a_cancel() {
    in_each(|| async {
        for buffer in [1, 3] {
            let dropped = Tally::new();
            let (ctx, canceller) = Context::background().with_cancel();
            let mut generator = count(&ctx, buffer, &dropped);
            settle().await;
            canceller.cancel();
            until("the body to be gone", || dropped.count() == 1).await;
            for n in 0..u32::try_from(buffer).unwrap() {
                assert_eq!(number(&mut generator).await, Some(n));
            }
            for _ in 0..3 {
                assert_eq!(number(&mut generator).await, None);
            }
        }
    });
}

/// G3 and G4.
#[test]
fn the_body_is_past_a_yield_only_when_the_next_item_is_asked_for() {
    in_each(|| async {
        let (begun, passed) = (Tally::new(), Tally::new());
        let (begins, passes) = (begun.clone(), passed.clone());
        let mut generator = Generator::builder().spawn_local(&Context::background(), |_, co| async move {
            for n in 0.. {
                begins.tick();
                co.yield_(Rc::new(n)).await;
                passes.tick();
            }
        });
        settle().await;
        assert_eq!(begun.count(), 0, "nothing runs before it is asked");
        for n in 0..4 {
            // A request that is dropped stands, and loses nothing.
            let early = poll_next(&mut generator, Waker::noop());
            settle().await;
            assert_eq!((begun.count(), passed.count()), (n + 1, n));
            let item = match early {
                Poll::Ready(item) => item,
                Poll::Pending => within("the item", generator.next()).await,
            };
            assert_eq!(item, Some(Rc::new(n)));
            settle().await;
            assert_eq!((begun.count(), passed.count()), (n + 1, n), "it was taken, and nobody asks");
        }
    });
}

/// G3.
#[test]
fn a_buffered_body_starts_at_once_and_is_at_most_its_buffer_ahead() {
    in_each(|| async {
        for buffer in [1, 2, 7] {
            let passed = Tally::new();
            let passes = passed.clone();
            let mut generator =
                Generator::builder().buffer(buffer).spawn_local(&Context::background(), |_, co| async move {
                    loop {
                        co.yield_(Rc::new(())).await;
                        passes.tick();
                    }
                });
            settle().await;
            assert_eq!(passed.count(), buffer);
            for taken in 1..5 {
                assert!(within("an item", generator.next()).await.is_some());
                settle().await;
                assert_eq!(passed.count(), buffer + taken);
            }
        }
    });
}

// G5.

/// G5, inside the set: at a yield, at something else, before it was asked.
#[test]
fn destructors_have_run_when_the_drop_returns() {
    in_each(|| async {
        let dropped = Tally::new();
        let mut generator = count(&Context::background(), 0, &dropped);
        assert_eq!(number(&mut generator).await, Some(0));
        drop(generator);
        assert_eq!(dropped.count(), 1);
        drop(parked(&Context::background(), &dropped).await);
        assert_eq!(dropped.count(), 2);
        drop(count(&Context::background(), 0, &dropped));
        assert_eq!(dropped.count(), 3);
        drop(count(&Context::background(), 3, &dropped));
        assert_eq!(dropped.count(), 4);
        settle().await;
        assert_eq!(dropped.count(), 4, "once");
    });
}

/// G5, outside the set, outside any runtime and inside another one: the destructors find their own.
#[test]
fn a_handle_may_be_dropped_outside_its_set() {
    let (runtime, other) = (current_thread(), current_thread());
    for place in 0..3 {
        let set = LocalSet::new();
        let dropped = Tally::new();
        let home = runtime.handle().id();
        let inside = dropped.clone();
        let guard = on_drop(move || {
            assert_eq!(Handle::current().id(), home);
            drop(tokio::time::sleep(Duration::from_secs(1)));
            inside.tick();
        });
        let mut generator = set.block_on(&runtime, async {
            Generator::builder().spawn_local(&Context::background(), |_, co| async move {
                let _guard = (guard, Rc::new(()));
                co.yield_(1).await;
                pending::<()>().await;
            })
        });
        assert_eq!(set.block_on(&runtime, within("the item", generator.next())), Some(1));
        match place {
            0 => drop(generator),
            1 => other.block_on(async { drop(generator) }),
            _ => {
                let _inside = other.enter();
                drop(generator);
            }
        }
        assert_eq!(dropped.count(), 1);
    }
}

/// G5 and G11: who owns the handle is dropped with the set, and the body's own task before it, or after.
#[test]
fn a_handle_may_be_dropped_in_a_destructor_of_its_set() {
    for is_first in [false, true] {
        let runtime = current_thread();
        let set = LocalSet::new();
        let dropped = Tally::new();
        set.block_on(&runtime, async {
            let (send, handle) = oneshot::channel();
            let own = async {
                let mut generator: LocalGenerator<u8> = handle.await.unwrap();
                assert_eq!(generator.next().await, Some(0));
                pending::<()>().await;
            };
            if is_first {
                spawn_local(own);
                assert!(send.send(parked_soon(&dropped)).is_ok());
            } else {
                assert!(send.send(parked_soon(&dropped)).is_ok());
                spawn_local(own);
            }
            settle().await;
        });
        assert_eq!(dropped.count(), 0);
        drop(set);
        assert_eq!(dropped.count(), 1);
    }
}

fn parked_soon(dropped: &Tally) -> LocalGenerator<u8> {
    let guard = stays_here(dropped);
    Generator::builder().spawn_local(&Context::background(), |_, co| async move {
        let _guard = guard;
        co.yield_(0).await;
        pending::<()>().await;
    })
}

/// The items that nobody took, too, and the first panic of theirs does not save the others.
#[test]
fn items_that_were_not_taken_are_dropped_on_their_thread_though_one_panics() {
    let runtime = current_thread();
    let (go, gone) = mpsc::channel::<Waker>();
    // The last reference to all of it.
    let keeper = thread::spawn(move || {
        let waker = gone.recv().unwrap();
        assert!(gone.recv().is_err(), "the handle is gone");
        drop(waker);
    });
    let dropped = Tally::new();
    LocalSet::new().block_on(&runtime, async {
        let items: Vec<_> = (0..4).map(|n| (n, stays_here(&dropped))).collect();
        let out = go.clone();
        let generator =
            Generator::builder().buffer(4).spawn_local(&Context::background(), |_, co| async move {
                let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
                out.send(waker).unwrap();
                for (n, item) in items {
                    co.yield_((
                        item,
                        on_drop(move || assert!(n != 1, "a destructor that panics, as the test wants it")),
                    ))
                    .await;
                }
            });
        until("the body to end", || generator.end().is_some()).await;
        assert!(catch_unwind(AssertUnwindSafe(|| drop(generator))).is_err(), "the panic is the drop's");
        assert_eq!(dropped.count(), 4);
    });
    drop(go);
    keeper.join().unwrap();
    assert_eq!(dropped.count(), 4);
}

// G6.

#[test]
fn a_panic_comes_after_the_items_before_it_once() {
    in_each(|| async {
        for buffer in [0, 1, 3] {
            let mut generator =
                Generator::builder().buffer(buffer).spawn_local(&Context::background(), |_, co| async move {
                    co.yield_(Rc::new(1)).await;
                    co.yield_(Rc::new(2)).await;
                    panic!("out of paper");
                });
            settle().await;
            assert_eq!(within("an item", generator.next()).await, Some(Rc::new(1)));
            assert_eq!(within("an item", generator.next()).await, Some(Rc::new(2)));
            let raised = AssertUnwindSafe(generator.next()).catch_unwind();
            let payload = within("the panic", raised).await.expect_err("it is raised");
            assert_eq!(payload.downcast_ref::<&str>(), Some(&"out of paper"));
            assert_eq!(within("the end", generator.next()).await, None);
            assert!(matches!(generator.end(), Some(End::Panicked(_))));
        }
    });
}

/// What happened, in order; not `Send`.
#[derive(Clone, Default)]
struct Log(Rc<RefCell<Vec<&'static str>>>);

impl Log {
    fn say(&self, what: &'static str) {
        self.0.borrow_mut().push(what);
    }

    fn said(&self) -> Vec<&'static str> {
        self.0.borrow().clone()
    }

    /// A clean-up that says so when it is done. In its set, in its runtime, on its thread; after a turn for everybody else.
    fn clean_up(&self, what: &'static str) -> impl Future<Output = ()> + use<> {
        let (log, thread, home) = (self.clone(), thread::current().id(), Handle::current().id());
        async move {
            // This panics outside the set.
            spawn_local(yield_now()).await.unwrap();
            assert_eq!((thread::current().id(), Handle::current().id()), (thread, home));
            log.say(what);
        }
    }
}

// G7.

/// Fails where the first comes first; where a guard's goes when that is dropped with the body; and in no set.
#[test]
fn clean_ups_run_in_reverse_order_and_stop_waits_for_them() {
    in_each(|| async {
        for buffer in [0, 1] {
            let log = Log::default();
            let log_of_body = log.clone();
            let mut generator =
                Generator::builder().buffer(buffer).spawn_local(&Context::background(), |_, co| async move {
                    let log = log_of_body;
                    let said = log.clone();
                    let _last = on_drop(move || said.say("body"));
                    co.defer(log.clean_up("first"));
                    let conn = co.guard(Rc::new("conn"), |_| log.clean_up("closed"));
                    co.defer(log.clean_up("last"));
                    co.yield_(Rc::clone(&conn)).await;
                    pending::<()>().await;
                });
            assert_eq!(within("the item", generator.next()).await, Some(Rc::new("conn")));
            assert!(log.said().is_empty());
            assert!(matches!(within("the stop", generator.stop()).await, End::Cancelled(_)));
            assert_eq!(log.said(), ["body", "last", "closed", "first"]);
            assert_eq!(Rc::strong_count(&log.0), 1);
        }
    });
}

/// Whatever ends the generator. Fails where the body's own task is done with the body, and does not stay for what that leaves.
#[test]
fn clean_ups_run_whatever_has_ended_the_generator() {
    in_each(|| async {
        for way in ["drop", "return", "panic", "cancel", "cancelled before", "no body"] {
            let log = Log::default();
            let log_of_body = log.clone();
            let (ctx, canceller) = Context::background().with_cancel();
            if way == "cancelled before" {
                canceller.cancel();
            }
            let made = catch_unwind(AssertUnwindSafe(|| {
                Generator::builder().spawn_local(&ctx, |_, co| {
                    co.defer(log_of_body.clean_up("cleaned up"));
                    assert_ne!(way, "no body", "as the test wants it");
                    async move {
                        co.yield_(Rc::new(1)).await;
                        assert_ne!(way, "panic", "as the test wants it");
                    }
                })
            }));
            // In its own task, so that it does not find the end itself.
            let consumer = made.ok().map(|mut generator| {
                spawn_local(async move {
                    let is_there = generator.next().await.is_some();
                    if is_there && ["return", "panic"].contains(&way) {
                        let _ = AssertUnwindSafe(generator.next()).catch_unwind().await;
                    } else if is_there && way == "cancel" {
                        canceller.cancel();
                        until("its own task to end it", || generator.end().is_some()).await;
                    }
                })
            });
            if let Some(consumer) = consumer {
                within("the consumer", consumer).await.unwrap();
            }
            until(way, || log.said() == ["cleaned up"]).await;
            until("nothing to be alive", || ctx.live().is_empty()).await;
        }
    });
}

/// While the body goes on. Fails where it waits for the body's end.
#[test]
fn a_guard_s_clean_up_runs_when_it_is_dropped() {
    in_each(|| async {
        let log = Log::default();
        let log_of_body = log.clone();
        let mut generator = Generator::builder().spawn_local(&Context::background(), |_, co| async move {
            let log = log_of_body;
            let guard = co.guard(Rc::new(1), |_| log.clean_up("closed"));
            co.yield_(Rc::clone(&guard)).await;
            drop(guard);
            co.yield_(Rc::new(2)).await;
            pending::<()>().await;
        });
        assert_eq!(within("the first", generator.next()).await, Some(Rc::new(1)));
        settle().await;
        assert!(log.said().is_empty());
        assert_eq!(within("the second", generator.next()).await, Some(Rc::new(2)));
        until("the clean-up", || log.said() == ["closed"]).await;
        assert!(generator.end().is_none());
    });
}

/// Where there is no set, and where there is another one. Fails where they are spawned where the drop stands, or in the runtime.
#[test]
fn clean_ups_run_in_their_set_wherever_the_handle_is_dropped() {
    for runtime in [current_thread(), multi_thread()] {
        for place in ["nowhere", "in the runtime", "in another runtime", "in another set"] {
            for is_asked in [false, true] {
                let (set, log) = (LocalSet::new(), Log::default());
                let (ctx, _keep) = Context::background().with_cancel();
                let mut generator = set.block_on(&runtime, async {
                    let (deferred, closed) = (log.clean_up("deferred"), log.clean_up("closed"));
                    Generator::builder().spawn_local(&ctx, |_, co| {
                        co.defer(deferred);
                        async move {
                            let guard = co.guard(Rc::new(()), |_| closed);
                            co.yield_(Rc::clone(&guard)).await;
                        }
                    })
                });
                if is_asked {
                    set.block_on(&runtime, within("the item", generator.next()));
                }
                match place {
                    "nowhere" => drop(generator),
                    "in the runtime" => runtime.block_on(async { drop(generator) }),
                    "in another runtime" => current_thread().block_on(async { drop(generator) }),
                    _ => LocalSet::new().block_on(&runtime, async {
                        drop(generator);
                        settle().await;
                    }),
                }
                runtime.block_on(settle());
                assert!(log.said().is_empty(), "{place}");
                assert_eq!(ctx.live().len(), 1);
                set.block_on(&runtime, until("the clean-ups", || ctx.live().is_empty()));
                let expected: &[_] = if is_asked { &["closed", "deferred"] } else { &["deferred"] };
                assert_eq!(log.said(), expected, "{place}");
                // And no task is left.
                runtime.block_on(within("the set", set));
            }
        }
    }
}

/// From the body's end on, exact, for all of them; what is not done is dropped. Fails without the limit, and where each has its own.
#[test]
fn the_grace_is_for_all_clean_ups_together() {
    const SECOND: Duration = Duration::from_secs(1);
    let test = async || {
        tokio::time::pause();
        let (log, dropped) = (Log::default(), Tally::new());
        let guards = [(); 4].map(|()| stays_here(&dropped));
        let log_of_body = log.clone();
        let mut generator =
            Generator::builder().grace(10 * SECOND).spawn_local(&Context::background(), |_, co| async move {
                for (guard, name) in guards.into_iter().zip(["4", "3", "2", "1"]) {
                    let log = log_of_body.clone();
                    co.defer(async move {
                        let _guard = guard;
                        tokio::time::sleep(4 * SECOND).await;
                        log.say(name);
                    });
                }
                co.yield_(1).await;
                pending::<()>().await;
            });
        assert_eq!(within("the item", generator.next()).await, Some(1));
        tokio::time::sleep(100 * SECOND).await;
        let begun = tokio::time::Instant::now();
        within("the stop", generator.stop()).await;
        assert_eq!(log.said(), ["1", "2"]);
        assert_eq!(dropped.count(), 4);
        let taken = begun.elapsed();
        assert!((10 * SECOND..10 * SECOND + Duration::from_millis(2)).contains(&taken), "{taken:?}");
    };
    LocalSet::new().block_on(&current_thread(), test());
    local_runtime().block_on(test());
}

/// When polled, when dropped. Fails where the first one's panic is the task's.
#[test]
fn a_clean_up_that_panics_does_not_keep_the_next_from_running() {
    in_each(|| async {
        let log = Log::default();
        let log_of_body = log.clone();
        let mut generator = Generator::builder().spawn_local(&Context::background(), |_, co| async move {
            let log = log_of_body;
            co.defer(log.clean_up("2"));
            let hostile = (Rc::new(()), on_drop(|| panic!("a destructor, as the test wants it")));
            co.defer(poll_fn(move |_| {
                let _ = &hostile;
                Poll::Ready(())
            }));
            co.defer(log.clean_up("1"));
            co.defer(async {
                yield_now().await;
                panic!("a clean-up, as the test wants it");
            });
            co.yield_(1).await;
        });
        assert_eq!(within("the item", generator.next()).await, Some(1));
        within("the stop", generator.stop()).await;
        assert_eq!(log.said(), ["1", "2"]);
    });
}

/// `cancel_and_wait` on another thread comes back when they are done, and not before. Fails where they are not counted.
#[test]
fn another_thread_waits_for_the_clean_ups() {
    in_each(|| async {
        let log = Log::default();
        let (ctx, canceller) = Context::background().with_cancel();
        let (event, deferred) = (Rc::new(tokio::sync::Notify::new()), log.clean_up("cleaned up"));
        let (awaited, begun, waited) = (Rc::clone(&event), Tally::new(), Tally::new());
        let begins = begun.clone();
        let mut generator = Generator::builder().spawn_local(&ctx, |_, co| async move {
            co.defer(async move {
                begins.tick();
                awaited.notified().await;
                deferred.await;
            });
            co.yield_(1).await;
        });
        assert_eq!(within("the item", generator.next()).await, Some(1));
        let has_waited = waited.clone();
        let thread = thread::spawn(move || {
            current_thread().block_on(canceller.cancel_and_wait());
            has_waited.tick();
        });
        until("the clean-up to begin", || begun.count() == 1).await;
        assert!(generator.end().is_some());
        settle().await;
        assert_eq!(waited.count(), 0);
        assert_eq!(ctx.live().len(), 1);
        event.notify_one();
        until("the other thread", || waited.count() == 1).await;
        assert_eq!(log.said(), ["cleaned up"]);
        thread.join().unwrap();
    });
}

/// Fails where a thread does not know that it polls a clean-up (it waits until the grace is over then).
#[test]
fn a_clean_up_that_would_wait_for_itself_panics() {
    in_each(|| async {
        let (ctx, canceller) = Context::background().with_cancel();
        let (log, own) = (Log::default(), canceller.clone());
        let says = log.clone();
        let mut generator = Generator::builder().spawn_local(&ctx, |_, co| async move {
            co.defer(async move {
                let waits = AssertUnwindSafe(own.cancel_and_wait()).catch_unwind().await;
                let message = waits.unwrap_err().downcast::<String>().unwrap();
                assert!(message.contains("`cancel_and_wait` was called from within"), "{message}");
                says.say("done");
            });
            co.yield_(1).await;
        });
        assert_eq!(within("the item", generator.next()).await, Some(1));
        within("the end", canceller.cancel_and_wait()).await;
        assert_eq!(log.said(), ["done"]);
    });
}

/// What of a body is kept and shared in its thread may defer to the end, and after it: from a destructor, from a clean-up, and from
/// outside. Fails where the body's own task goes at the generator's end; and where it stays after that of the yielder.
#[test]
fn a_yielder_that_has_outlived_its_body_has_its_clean_ups_run() {
    for runtime in [current_thread(), multi_thread()] {
        let (set, log) = (LocalSet::new(), Log::default());
        let kept = Rc::new(RefCell::new(None::<Rc<LocalYielder<u8>>>));
        set.block_on(&runtime, async {
            let (log_of_body, keep) = (log.clone(), Rc::clone(&kept));
            let mut generator =
                Generator::builder().spawn_local(&Context::background(), |_, co| async move {
                    let (co, log) = (Rc::new(co), log_of_body);
                    *keep.borrow_mut() = Some(Rc::clone(&co));
                    let (in_drop, in_clean_up) = (Rc::clone(&co), Rc::clone(&co));
                    let last = log.clean_up("by a clean-up");
                    let next = log.clean_up("by a destructor");
                    let mut deferred = Some(async move {
                        next.await;
                        in_clean_up.defer(last);
                    });
                    let _defers =
                        on_drop(move || deferred.take().into_iter().for_each(|next| in_drop.defer(next)));
                    co.yield_(1).await;
                });
            assert_eq!(within("the item", generator.next()).await, Some(1));
            within("the stop", generator.stop()).await;
            until("both", || log.said().len() == 2).await;
        });
        assert_eq!(log.said(), ["by a destructor", "by a clean-up"]);
        let co = kept.take().unwrap();
        set.block_on(&runtime, settle());
        {
            let _inside = runtime.enter();
            co.defer(log.clean_up("late"));
            drop(co.guard(Rc::new(()), |_| log.clean_up("late guard")));
        }
        set.block_on(&runtime, until("what came late", || log.said().len() == 4));
        let mut set = Box::pin(set);
        let _inside = runtime.enter();
        let (_, waker) = Wakes::new();
        assert!(poll_once(set.as_mut(), &waker).is_pending(), "its task stays as long as the yielder");
        drop(co);
        runtime.block_on(within("no task to be left", set));
    }
}

/// The same on another thread, of what may go there: it runs on its own. Fails where the runtime has it.
#[test]
fn what_another_thread_defers_runs_on_the_generator_s() {
    in_each(|| async {
        let home = thread::current().id();
        let (done, out) = (Tally::new(), Rc::new(Cell::new(None::<&'static Yielder<u8>>)));
        let hand_out = Rc::clone(&out);
        let mut generator = Generator::builder().spawn_local(&Context::background(), |_, co| async move {
            let co: &'static LocalYielder<u8> = Box::leak(Box::new(co));
            hand_out.set(Some(co));
            co.yield_(1).await;
        });
        assert_eq!(within("the item", generator.next()).await, Some(1));
        let co = out.take().unwrap();
        let defer = || {
            let done = done.clone();
            let deferring = move || {
                let counts = done.clone();
                co.defer(async move {
                    assert_eq!(thread::current().id(), home);
                    yield_now().await;
                    counts.tick();
                });
                let guard = co.guard(done, async move |done: Tally| {
                    assert_eq!(thread::current().id(), home);
                    done.tick();
                });
                drop(guard);
            };
            thread::spawn(deferring).join().unwrap();
        };
        defer();
        until("the guard's", || done.count() == 1).await;
        within("the stop", generator.stop()).await;
        assert_eq!(done.count(), 2);
        // The body is gone.
        defer();
        until("both", || done.count() == 4).await;
    });
}

/// Begun, due or not yet due; where it is dropped there is no runtime. On their thread and inside their runtime, and who waits is told.
/// Fails where the body's own task leaves behind what it has not spawned; where the runtime has them; and where none is entered.
#[test]
fn clean_ups_end_with_their_set() {
    for stage in ["not due", "due", "begun", "in a guard"] {
        for is_set in [true, false] {
            let (runtime, local) = (current_thread(), local_runtime());
            let set = LocalSet::new();
            let home = if is_set { runtime.handle().id() } else { local.handle().id() };
            let (ctx, canceller) = Context::background().with_cancel();
            let (begun, passed) = (Tally::new(), Tally::new());
            let (dropped, inside) = (Tally::new(), Tally::new());
            let make = async {
                let (begun, passed) = (begun.clone(), passed.clone());
                let (dropped, inside) = (dropped.clone(), inside.clone());
                let clean_up = move || {
                    let (begun, passed) = (begun.clone(), passed.clone());
                    let stays = stays_here(&dropped);
                    let inside = inside.clone();
                    let is_inside = on_drop(move || {
                        assert_eq!(Handle::current().id(), home);
                        inside.tick();
                    });
                    async move {
                        let _guards = (stays, is_inside);
                        begun.tick();
                        pending::<()>().await;
                        passed.tick();
                    }
                };
                let in_guard = stage == "in a guard";
                let mut generator = Generator::builder().spawn_local(&ctx, |_, co| async move {
                    co.defer(clean_up());
                    co.defer(clean_up());
                    let guard = co.guard((), |()| clean_up());
                    if in_guard {
                        drop(guard);
                        co.yield_(1).await;
                        pending::<()>().await;
                    }
                    co.yield_(1).await;
                });
                assert_eq!(within("the item", generator.next()).await, Some(1));
                generator
            };
            let run = |future: Pin<&mut dyn Future<Output = ()>>| {
                if is_set { set.block_on(&runtime, future) } else { local.block_on(future) }
            };
            let generator = if is_set { set.block_on(&runtime, make) } else { local.block_on(make) };
            let generator = match stage {
                "not due" => Some(generator),
                "due" => {
                    drop(generator);
                    None
                }
                "begun" => {
                    drop(generator);
                    run(Box::pin(until("the last one", || begun.count() == 1)).as_mut());
                    None
                }
                _ => {
                    run(Box::pin(until("the guard's", || begun.count() == 1)).as_mut());
                    Some(generator)
                }
            };
            assert_eq!(dropped.count(), 0);
            drop(set);
            drop(local);
            let has_begun = usize::from(["begun", "in a guard"].contains(&stage));
            assert_eq!((begun.count(), passed.count()), (has_begun, 0), "{stage}");
            assert_eq!((dropped.count(), inside.count()), (3, 3), "{stage}");
            let waits = canceller.cancel_and_wait().now_or_never();
            assert_eq!(waits, Some(()), "{stage}");
            drop(generator);
        }
    }
}

/// Who defers when the set is gone has it dropped, here and now. Fails where it waits for who is gone.
#[test]
fn what_is_deferred_after_the_set_is_dropped_at_once() {
    let runtime = current_thread();
    let set = LocalSet::new();
    let (dropped, kept) = (Tally::new(), Rc::new(RefCell::new(None::<LocalYielder<u8>>)));
    let keep = Rc::clone(&kept);
    let generator = set.block_on(&runtime, async {
        Generator::builder().spawn_local(&Context::background(), |_, co| async move {
            *keep.borrow_mut() = Some(co);
            pending::<()>().await;
        })
    });
    let mut generator = Some(generator);
    set.block_on(&runtime, async {
        assert!(poll_next(generator.as_mut().unwrap(), Waker::noop()).is_pending());
        until("the yielder", || kept.borrow().is_some()).await;
    });
    drop(set);
    let co = kept.take().unwrap();
    let guard = stays_here(&dropped);
    co.defer(async move { drop(guard) });
    assert_eq!(dropped.count(), 1);
    drop(co.guard(stays_here(&dropped), async |guard| drop(guard)));
    assert_eq!(dropped.count(), 2);
    let below = generator.take().unwrap().stop().now_or_never();
    assert!(matches!(below, Some(End::Aborted)), "{below:?}");
}

thread_local! {
    /// What the waker below runs.
    static SET: RefCell<Option<Rc<(LocalSet, Runtime)>>> = const { RefCell::new(None) };
}

/// A waker that is let go of at the end runs the set. Fails where the body's own task goes then, before it is left the clean-ups.
#[test]
fn the_set_may_be_run_while_the_generator_ends() {
    let home = Rc::new((LocalSet::new(), current_thread()));
    SET.set(Some(Rc::clone(&home)));
    let (set, runtime) = &*home;
    let (log, runs) = (Log::default(), Tally::new());
    let ran = runs.clone();
    let waker = waker_that_drops(move || {
        let home = SET.with_borrow(Clone::clone);
        if let (Some(home), Err(_)) = (home, Handle::try_current()) {
            home.0.block_on(&home.1, settle());
            ran.tick();
        }
    });
    let (hand_out, out) = mpsc::channel::<Waker>();
    let mut generator = set.block_on(runtime, async {
        let deferred = log.clean_up("cleaned up");
        Generator::builder().spawn_local(&Context::background(), |_, co| async move {
            co.defer(deferred);
            let mut item = Box::pin(co.yield_(1));
            poll_fn(|cx| {
                hand_out.send(cx.waker().clone()).unwrap();
                Poll::Ready(poll_once(item.as_mut(), &waker).is_pending())
            })
            .await;
            // So that the waker stays, too.
            mem::forget(item);
            pending::<()>().await;
        })
    });
    assert_eq!(set.block_on(runtime, within("the item", generator.next())), Some(1));
    assert_eq!(runs.count(), 0);
    // So that the body's task has its turn then.
    receive("the body's waker", &out).wake();
    drop(generator);
    assert!(runs.count() > 0);
    set.block_on(runtime, until("the clean-up", || log.said() == ["cleaned up"]));
    SET.take();
}

/// A set that is forgotten: they are dropped nowhere, begun or not, and do not run. (It leaks: that is the test.) Fails where the
/// runtime has them, or the thread that lets go of the handle.
#[test]
fn clean_ups_of_a_forgotten_set_are_dropped_nowhere() {
    for has_begun in [false, true] {
        let (begun, dropped) = (Tally::new(), Tally::new());
        let (starts, drops) = (begun.clone(), dropped.clone());
        let (send, sent) = mpsc::channel();
        let thread = thread::spawn(move || {
            let runtime = current_thread();
            let set = LocalSet::new();
            let mut generator = set.block_on(&runtime, async {
                let guards = [(); 3].map(|()| stays_here(&drops));
                let starts = starts.clone();
                Generator::builder().spawn_local(&Context::background(), |ctx, co| async move {
                    for guard in guards {
                        let starts = starts.clone();
                        co.defer(async move {
                            starts.tick();
                            let _guard = guard;
                            pending::<()>().await;
                        });
                    }
                    let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
                    send.send((waker, ctx)).unwrap();
                    co.yield_(1).await;
                })
            });
            assert_eq!(set.block_on(&runtime, within("the item", generator.next())), Some(1));
            if has_begun {
                drop(generator);
                set.block_on(&runtime, until("the last one", || starts.count() == 1));
                mem::forget(set);
            } else {
                mem::forget(set);
                drop(generator);
            }
            runtime.block_on(settle());
        });
        let handed_out = receive("what the body hands out", &sent);
        thread.join().unwrap();
        drop(handed_out);
        assert_eq!((begun.count(), dropped.count()), (usize::from(has_begun), 0));
    }
}

/// `stop()`, of a body that rests and of one that never ran.
#[test]
fn stop_returns_the_end_when_the_body_is_gone() {
    in_each(|| async {
        let dropped = Tally::new();
        let generator = parked(&Context::background(), &dropped).await;
        let stopping = generator.stop();
        assert_eq!(dropped.count(), 1);
        assert!(matches!(within("the stop", stopping).await, End::Cancelled(_)));
        let never_ran = count(&Context::background(), 1, &dropped);
        assert!(matches!(within("the stop", never_ran.stop()).await, End::Cancelled(_)));
        assert_eq!(dropped.count(), 2);
    });
}

/// `cancel_and_wait` on another thread, while this one runs the set.
#[test]
fn another_thread_may_cancel_and_wait() {
    in_each(|| async {
        let dropped = Tally::new();
        let (ctx, canceller) = Context::background().with_cancel();
        let generator = parked(&ctx, &dropped).await;
        let waited = Tally::new();
        let (has_waited, seen) = (waited.clone(), dropped.clone());
        let thread = thread::spawn(move || {
            current_thread().block_on(canceller.cancel_and_wait());
            assert_eq!(seen.count(), 1);
            has_waited.tick();
        });
        until("the other thread", || waited.count() == 1).await;
        thread.join().unwrap();
        drop(generator);
    });
}

// G8.

/// G8: another task of the set, and tasks within tasks; the body may start some of its own.
#[test]
fn a_consumer_may_be_any_task_of_the_set() {
    in_each(|| async {
        let (home, dropped) = (thread::current().id(), Tally::new());
        let guard = stays_here(&dropped);
        let mut generator = Generator::builder().spawn_local(&Context::background(), |_, co| async move {
            let _guard = guard;
            for n in 0.. {
                assert_eq!(thread::current().id(), home);
                // This panics outside the set.
                let task = spawn_local(async move { Rc::new(n) });
                co.yield_(Rc::new(n)).await;
                assert_eq!(task.await.unwrap(), Rc::new(n));
            }
        });
        assert_eq!(within("an item", generator.next()).await, Some(Rc::new(0)));
        let task = spawn_local(async move {
            assert_eq!(within("an item", generator.next()).await, Some(Rc::new(1)));
            let task = spawn_local(async move {
                for n in 2..20 {
                    assert_eq!(within("an item", generator.next()).await, Some(Rc::new(n)));
                }
                generator
            });
            task.await.unwrap()
        });
        let mut generator = within("the tasks", task).await.unwrap();
        assert_eq!(within("an item", generator.next()).await, Some(Rc::new(20)));
        drop(generator);
        assert_eq!(dropped.count(), 1);
    });
}

/// G8: a consumer outside the set waits for the set to run the body, and does not run it itself.
#[test]
fn a_body_is_polled_in_its_set_only() {
    let runtime = current_thread();
    let set = LocalSet::new();
    let is_run = Rc::new(Cell::new(false));
    let inside = Rc::clone(&is_run);
    let mut generator = set.block_on(&runtime, async {
        spawn_local(async {
            Generator::builder().spawn_local(&Context::background(), |_, co| async move {
                for n in 0.. {
                    assert!(inside.get());
                    // This panics outside any set.
                    spawn_local(async {}).await.unwrap();
                    co.yield_(n).await;
                }
            })
        })
        .await
        .unwrap()
    });
    for n in 0..10 {
        let (heard, waker) = Wakes::new();
        // In no runtime, in the runtime but not the set, and in a task of another set.
        assert!(poll_next(&mut generator, &waker).is_pending());
        runtime.block_on(async { assert!(poll_next(&mut generator, &waker).is_pending()) });
        let asking = waker.clone();
        generator = LocalSet::new().block_on(&runtime, async {
            let asks = async move {
                assert!(poll_next(&mut generator, &asking).is_pending());
                generator
            };
            spawn_local(asks).await.unwrap()
        });
        assert_eq!(heard.count(), 0);
        is_run.set(true);
        set.block_on(&runtime, until("the consumer to be woken", || heard.count() > 0));
        is_run.set(false);
        assert_eq!(poll_next(&mut generator, &waker), Poll::Ready(Some(n)));
    }
}

/// G8: the task that has made it may be inside another runtime when it asks.
#[test]
fn a_body_is_polled_in_its_runtime_only() {
    let other = multi_thread();
    let elsewhere = other.handle().clone();
    in_each(move || {
        let elsewhere = elsewhere.clone();
        async move {
            let home = Handle::current().id();
            let mut generator =
                Generator::builder().spawn_local(&Context::background(), |_, co| async move {
                    for n in 0.. {
                        assert_eq!(Handle::current().id(), home);
                        co.yield_(n).await;
                    }
                });
            let early = {
                let _inside = elsewhere.enter();
                poll_next(&mut generator, Waker::noop())
            };
            assert!(early.is_pending());
            for n in 0..3 {
                assert_eq!(within("an item", generator.next()).await, Some(n));
            }
        }
    });
}

/// The body moves on by itself, in its own task, while its consumer is elsewhere.
#[test]
fn a_body_moves_on_while_nobody_asks() {
    in_each(|| async {
        let (send, mut events) = tokio::sync::mpsc::unbounded_channel::<()>();
        let received = Tally::new();
        let receives = received.clone();
        let mut generator = Generator::builder().spawn_local(&Context::background(), |_, co| async move {
            let _here = Rc::new(());
            tokio::join!(co.yield_(1), async {
                while events.recv().await.is_some() {
                    receives.tick();
                }
            });
        });
        assert_eq!(within("the item", generator.next()).await, Some(1));
        for n in 1..5 {
            // From another thread: the wake crosses over, the body does not.
            let event = send.clone();
            thread::spawn(move || event.send(()).unwrap()).join().unwrap();
            until("the body to go on", || received.count() == n).await;
        }
    });
}

/// Soundness: what a body hands out of itself may go anywhere, and there it only wakes, cancels, or lets go.
#[test]
fn wakers_contexts_and_yielders_on_another_thread_take_nothing_of_the_body_along() {
    in_each(|| async {
        for is_before in [true, false] {
            let dropped = Tally::new();
            let guard = stays_here(&dropped);
            let (send, sent) = mpsc::channel::<(Waker, Context, &'static Yielder<u8>)>();
            let (go, gone) = mpsc::channel::<()>();
            let thread = thread::spawn(move || {
                let (waker, ctx, co) = sent.recv().unwrap();
                waker.wake_by_ref();
                let polled = catch_unwind(AssertUnwindSafe(|| {
                    poll_once(Box::pin(co.yield_(9)).as_mut(), &waker).is_ready()
                }));
                if is_before {
                    assert!(polled.is_err(), "it yields only within its body's own poll");
                    // The last of them goes here, or on the other thread.
                    let _ = gone.recv();
                } else {
                    let _ = gone.recv();
                    assert!(ctx.is_done());
                    waker.wake_by_ref();
                    assert!(
                        poll_once(Box::pin(co.yield_(9)).as_mut(), &waker).is_ready(),
                        "its body is gone"
                    );
                }
                drop((waker.clone(), waker, ctx));
            });
            let started = Tally::new();
            let starts = started.clone();
            let mut generator =
                Generator::builder().buffer(1).spawn_local(&Context::background(), |ctx, co| async move {
                    let _guard = guard;
                    let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
                    starts.tick();
                    let co: &'static LocalYielder<u8> = Box::leak(Box::new(co));
                    send.send((waker, ctx, co)).unwrap();
                    pending::<()>().await;
                });
            until("the body to have handed them out", || started.count() == 1).await;
            assert!(poll_next(&mut generator, Waker::noop()).is_pending());
            if is_before {
                drop(go);
                thread.join().unwrap();
                assert_eq!(dropped.count(), 0);
                drop(generator);
            } else {
                drop(generator);
                assert_eq!(dropped.count(), 1);
                drop(go);
                thread.join().unwrap();
            }
            assert_eq!(dropped.count(), 1);
        }
    });
}

/// The same after the set, its runtime and its thread are gone.
#[test]
fn a_waker_and_a_context_outlive_the_thread() {
    let dropped = Tally::new();
    let on_thread = dropped.clone();
    let (waker, ctx) = thread::spawn(move || {
        let runtime = current_thread();
        let (send, sent) = mpsc::channel();
        LocalSet::new().block_on(&runtime, async {
            let guard = stays_here(&on_thread);
            let mut generator =
                Generator::builder().spawn_local::<u8, _, _>(&Context::background(), |ctx, _| async move {
                    let _guard = guard;
                    let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
                    send.send((waker, ctx)).unwrap();
                    pending::<()>().await;
                });
            assert!(poll_next(&mut generator, Waker::noop()).is_pending());
            settle().await;
            // It lives in a task of its own until the set goes.
            spawn_local(async move { generator.next().await });
        });
        receive("what the body hands out", &sent)
    })
    .join()
    .unwrap();
    assert_eq!(dropped.count(), 1);
    assert!(ctx.is_done());
    waker.wake_by_ref();
    waker.wake();
}

// G9, G10.

/// G9: run, and dropped, on a small stack.
#[test]
fn a_chain_of_generators_does_not_overflow_the_stack() {
    const DEPTH: usize = 20_000;
    let chain = |dropped: &Tally| {
        let guard = stays_here(dropped);
        let mut at = Generator::builder().spawn_local(&Context::background(), |_, co| async move {
            let _guard = guard;
            for n in 0..3 {
                co.yield_(n).await;
            }
        });
        for _ in 0..DEPTH {
            let guard = stays_here(dropped);
            at = Generator::builder().spawn_local(&Context::background(), |_, co| async move {
                let _guard = guard;
                while let Some(n) = at.next().await {
                    co.yield_(n).await;
                }
            });
        }
        at
    };
    let test = move || {
        LocalSet::new().block_on(&current_thread(), async {
            let dropped = Tally::new();
            let mut all = chain(&dropped);
            for n in 0..3 {
                assert_eq!(all.next().await, Some(n));
            }
            assert_eq!(all.next().await, None);
            until("every body to be gone", || dropped.count() == DEPTH + 1).await;
            let dropped = Tally::new();
            let mut all = chain(&dropped);
            assert_eq!(all.next().await, Some(0));
            drop(all);
            until("every body to be gone", || dropped.count() == DEPTH + 1).await;
        });
    };
    thread::Builder::new().stack_size(1024 * 1024).spawn(test).unwrap().join().unwrap();
}

/// G10: a consumer, and a body that is never waited for, give way to another task of the set.
#[test]
fn loops_give_way() {
    const ROUNDS: u32 = 1_000_000;
    in_each(|| async {
        for buffer in [0, 1, 64] {
            let (ctx, canceller) = Context::background().with_cancel();
            let mut generator = count(&ctx, buffer, &Tally::new());
            let task = spawn_local(async move { canceller.cancel() });
            let mut expected = 0;
            while let Some(n) = generator.next().await {
                assert_eq!(n.get(), expected);
                assert!(expected < ROUNDS, "buffer {buffer}: never gave way");
                expected += 1;
            }
            task.await.unwrap();
        }
    });
}

// G11, G12.

/// G11: the set goes, the runtime stays. Whoever waits is woken with the end, outside the set.
#[test]
fn a_set_that_is_dropped_ends_its_generators() {
    for runtime in [current_thread(), multi_thread()] {
        let set = LocalSet::new();
        let dropped = Tally::new();
        let (ctx, _keep) = Context::background().with_cancel();
        let (mut rests, mut waits, mut never_ran, mut buffered) = set.block_on(&runtime, async {
            let mut rests = count(&ctx, 0, &dropped);
            assert_eq!(number(&mut rests).await, Some(0));
            let waits = parked(&ctx, &dropped).await;
            let buffered = count(&ctx, 2, &dropped);
            settle().await;
            (rests, waits, count(&ctx, 0, &dropped), buffered)
        });
        let (heard, waker) = Wakes::new();
        assert!(poll_next(&mut waits, &waker).is_pending());
        assert_eq!(dropped.count(), 0);
        drop(set);
        assert_eq!(dropped.count(), 4);
        assert!(heard.count() > 0);
        assert_eq!(poll_next(&mut waits, &waker), Poll::Ready(None));
        assert_eq!(poll_next(&mut rests, &waker), Poll::Ready(None));
        assert_eq!(poll_next(&mut never_ran, &waker), Poll::Ready(None));
        // G2.
        for n in 0..2 {
            let Poll::Ready(Some(item)) = poll_next(&mut buffered, &waker) else { panic!("it was accepted") };
            assert_eq!(item.get(), n);
        }
        assert_eq!(poll_next(&mut buffered, &waker), Poll::Ready(None));
        for end in [rests.end(), waits.end(), never_ran.end(), buffered.end()] {
            assert!(matches!(end, Some(End::Aborted)), "{end:?}");
        }
        assert!(ctx.live().is_empty());
        drop((rests, waits, never_ran, buffered));
        assert_eq!(dropped.count(), 4, "once");
    }
}

/// G11: a `LocalRuntime` that goes away.
#[test]
fn a_local_runtime_that_is_dropped_ends_its_generators() {
    let runtime = local_runtime();
    let dropped = Tally::new();
    let mut waits = runtime.block_on(parked(&Context::background(), &dropped));
    let mut never_ran = runtime.block_on(async { count(&Context::background(), 0, &dropped) });
    let (heard, waker) = Wakes::new();
    assert!(poll_next(&mut waits, &waker).is_pending());
    drop(runtime);
    assert_eq!(dropped.count(), 2);
    assert!(heard.count() > 0);
    assert_eq!(poll_next(&mut waits, &waker), Poll::Ready(None));
    assert_eq!(poll_next(&mut never_ran, &waker), Poll::Ready(None));
    assert!(matches!(waits.end(), Some(End::Aborted)));
}

/// A generator that is put somewhere when it has started.
type Started = Rc<RefCell<Option<LocalGenerator<Rc<Cell<u32>>>>>>;

/// G11: one that starts in a set that is being dropped.
#[test]
fn a_generator_that_is_started_while_its_set_is_dropped_ends_at_once() {
    let runtime = current_thread();
    for buffer in [0, 1] {
        let set = LocalSet::new();
        let dropped = Tally::new();
        let started: Started = Rc::default();
        let guard = on_drop({
            let (started, dropped) = (Rc::clone(&started), dropped.clone());
            move || *started.borrow_mut() = Some(count(&Context::background(), buffer, &dropped))
        });
        set.block_on(&runtime, async {
            spawn_local(async move {
                let _guard = guard;
                pending::<()>().await;
            });
            settle().await;
        });
        // The set that is dropped is entered; the runtime is not.
        let inside = runtime.enter();
        drop(set);
        drop(inside);
        let mut generator = started.take().expect("it was started");
        assert_eq!(dropped.count(), 1);
        assert_eq!(poll_next(&mut generator, Waker::noop()), Poll::Ready(None));
        assert!(matches!(generator.end(), Some(End::Aborted)), "{:?}", generator.end());
    }
}

/// A set that is forgotten: what is in its bodies is on no other thread dropped, nor with the handle's memory. (It leaks: that is
/// the test.)
#[test]
fn what_is_in_a_forgotten_set_is_dropped_nowhere() {
    let dropped = Tally::new();
    let (send, sent) = mpsc::channel();
    let (on_thread, taken) = (dropped.clone(), dropped.on_drop());
    let thread = thread::spawn(move || {
        let runtime = current_thread();
        let set = LocalSet::new();
        let handle = set.block_on(&runtime, async {
            let (guard, other) = (stays_here(&on_thread), stays_here(&on_thread));
            let mut forgotten =
                Generator::builder().spawn_local::<u8, _, _>(&Context::background(), |ctx, _| async move {
                    let _guard = guard;
                    let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
                    send.send((waker, ctx)).unwrap();
                    pending::<()>().await;
                });
            assert!(poll_next(&mut forgotten, Waker::noop()).is_pending());
            settle().await;
            spawn_local(async move { forgotten.next().await });
            settle().await;
            Generator::builder().spawn_local::<u8, _, _>(&Context::background(), |_, _| async move {
                let _guards = (other, taken);
                pending::<()>().await;
            })
        });
        mem::forget(set);
        // A handle that is left has its body dropped all the same: here.
        assert_eq!(on_thread.count(), 0);
        drop(handle);
        assert_eq!(on_thread.count(), 2);
    });
    let (waker, ctx) = receive("what the body hands out", &sent);
    thread.join().unwrap();
    waker.wake_by_ref();
    assert!(!ctx.is_done());
    drop((waker, ctx));
    assert_eq!(dropped.count(), 2, "its thread is gone, and nobody else may");
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
    let message = payload
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .expect("a message in words");
    (file, line, message)
}

/// G12: in no runtime, in a runtime, and in a task of one that anybody may run.
#[test]
fn a_call_outside_a_set_panics_at_the_callers_line_says_what_to_do_and_leaves_nothing() {
    let attempt = |parts: &[&str]| {
        let (ctx, _keep) = Context::background().with_cancel();
        let (called, dropped) = (Tally::new(), Tally::new());
        let (calls, guard) = (called.clone(), dropped.on_drop());
        let mut line = 0;
        let (file, panicked, message) = panic_of(|| {
            line = line!() + 1;
            drop(Generator::builder().name("feed").spawn_local::<u8, _, _>(&ctx, move |_, _| {
                calls.tick();
                async move { drop(guard) }
            }));
        });
        assert_eq!((file.as_str(), panicked), (file!(), line));
        for part in parts {
            assert!(message.contains(part), "`{part}` is missing: {message}");
        }
        assert_eq!((called.count(), dropped.count()), (0, 1));
        assert!(ctx.live().is_empty());
    };
    attempt(&["feed", "runtime", "enter()"]);
    let words = ["feed", "LocalSet", "LocalRuntime", "run_until", "spawn_local"];
    current_thread().block_on(async { attempt(&words) });
    let runtime = multi_thread();
    runtime.block_on(runtime.spawn(async move { attempt(&words) })).unwrap();
    // And inside one it works.
    LocalSet::new().block_on(&runtime, async {
        assert_eq!(number(&mut count(&Context::background(), 0, &Tally::new())).await, Some(0));
    });
}

/// A body that cannot be made leaves nothing behind, and its task finds that it has nothing to do.
#[test]
fn a_body_that_cannot_be_made_leaves_nothing() {
    in_each(|| async {
        let (ctx, _keep) = Context::background().with_cancel();
        let made = catch_unwind(AssertUnwindSafe(|| {
            drop(Generator::builder().buffer(1).spawn_local::<u8, _, _>(&ctx, |own, _| {
                assert!(own.is_done(), "a body that cannot be made, as the test wants it");
                pending()
            }));
        }));
        assert!(made.is_err());
        assert!(ctx.live().is_empty());
        settle().await;
    });
}

/// The body's own task may come before the body is there: then it looks once more.
#[test]
fn the_set_may_be_run_while_the_body_is_made() {
    let runtime = current_thread();
    for buffer in [0, 1] {
        let set = LocalSet::new();
        let entered = set.enter();
        let inside = runtime.enter();
        let started = Tally::new();
        let starts = started.clone();
        let (ctx, canceller) = Context::background().with_cancel();
        let _generator = Generator::builder().buffer(buffer).spawn_local::<u8, _, _>(&ctx, |_, _| {
            set.block_on(&runtime, settle());
            if buffer == 0 {
                canceller.cancel();
            }
            let guard = starts.on_drop();
            async move {
                starts.tick();
                let _guard = guard;
                pending::<()>().await;
            }
        });
        drop((inside, entered));
        // With a buffer it starts; without, it was stopped, and is dropped.
        set.block_on(&runtime, until("its task to see to it", || started.count() == 1));
    }
}

/// Nothing of a body is seen by another thread, whatever comes at the same time.
#[test]
fn a_cancel_at_any_moment_drops_the_body_on_its_thread() {
    let runtime = current_thread();
    for _ in 0..200 {
        let (ctx, canceller) = Context::background().with_cancel();
        let dropped = Tally::new();
        let cancelling = thread::spawn(move || canceller.cancel());
        LocalSet::new().block_on(&runtime, async {
            let mut generator = count(&ctx, 0, &dropped);
            let mut expected = 0;
            while let Some(n) = number(&mut generator).await {
                assert_eq!(n, expected);
                expected += 1;
                yield_now().await;
            }
            assert!(matches!(generator.end(), Some(End::Cancelled(_))));
        });
        cancelling.join().unwrap();
        assert_eq!(dropped.count(), 1);
    }
}
