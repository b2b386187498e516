//! G7: what runs when a body is gone, `Yielder::defer` and `Yielder::guard`.

#![allow(dead_code, reason = "of the shared modules each file takes what it needs")]

mod by_hand;
mod patience;
mod witness;

use by_hand::{Wakes, poll_next, poll_once};
use ctx_runtime::{Context, End, Generator, Yielder};
use futures_util::FutureExt;
use patience::{receive, settle, until, wait_until, within};
use std::cell::RefCell;
use std::future::{Future, pending, poll_fn};
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::task::Poll;
use std::thread;
use std::time::Duration;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};
use witness::{Tally, on_drop};

const SECOND: Duration = Duration::from_secs(1);

fn current_thread() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn multi_thread() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn alive_tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

/// What happened, in order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<&'static str>>>);

impl Log {
    fn say(&self, what: &'static str) {
        self.0.lock().unwrap().push(what);
    }

    fn said(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().clone()
    }

    /// Says it when it is dropped.
    fn on_drop(&self, what: &'static str) -> impl Send + Sync + use<> {
        let log = self.clone();
        on_drop(move || log.say(what))
    }

    /// A clean-up that says when it begins, and when it is done, with a turn for everybody else between.
    fn clean_up(&self, begins: &'static str, ends: &'static str) -> impl Future<Output = ()> + Send + use<> {
        let log = self.clone();
        async move {
            log.say(begins);
            for _ in 0..3 {
                yield_now().await;
            }
            log.say(ends);
        }
    }
}

/// The last one first, one after another, when the body is gone; a guard's where it was made.
#[tokio::test(start_paused = true)]
async fn clean_ups_and_guards_run_in_reverse_order_when_the_body_is_gone() {
    for buffer in [0, 1] {
        let log = Log::default();
        let log_of_body = log.clone();
        let mut generator =
            Generator::builder().buffer(buffer).spawn(&Context::background(), |_, co| async move {
                let log = log_of_body;
                let _last = log.on_drop("body");
                // Dropped in the reverse order of these, but for the second, which goes before its time.
                co.defer(log.clean_up("1", "1 done"));
                let _second = co.guard(log.clone(), |log| log.clean_up("2", "2 done"));
                co.defer(log.clean_up("3", "3 done"));
                let _fourth = co.guard(log.clone(), |log| log.clean_up("4", "4 done"));
                co.defer(log.clean_up("5", "5 done"));
                co.yield_(()).await;
                pending::<()>().await;
            });
        assert_eq!(within("the item", generator.next()).await, Some(()));
        assert!(log.said().is_empty());
        within("the end", generator.stop()).await;
        let in_order = ["body", "5", "5 done", "4", "4 done", "3", "3 done", "2", "2 done", "1", "1 done"];
        assert_eq!(log.said(), in_order, "buffer {buffer}");
    }
}

/// A guard that is dropped before the body's end is cleaned up at once, while the body goes on.
#[tokio::test(start_paused = true)]
async fn a_guard_s_clean_up_runs_when_it_is_dropped() {
    let log = Log::default();
    let log_of_body = log.clone();
    let mut generator = Generator::builder().spawn(&Context::background(), |_, co| async move {
        let log = log_of_body;
        co.defer(log.clean_up("deferred", "deferred done"));
        {
            let mut guarded = co.guard(String::from("a"), |text| {
                assert_eq!(text, "ab");
                log.clean_up("guarded", "guarded done")
            });
            guarded.push('b');
            assert_eq!(guarded.len(), 2);
            co.yield_(1).await;
        }
        log.say("on");
        co.yield_(2).await;
    });
    assert_eq!(within("the first item", generator.next()).await, Some(1));
    settle().await;
    assert!(log.said().is_empty());
    assert_eq!(within("the second item", generator.next()).await, Some(2));
    assert_eq!(log.said(), ["on"]);
    settle().await;
    assert_eq!(log.said(), ["on", "guarded", "guarded done"]);
    within("the end", generator.stop()).await;
    assert_eq!(log.said(), ["on", "guarded", "guarded done", "deferred", "deferred done"]);
}

/// Whatever ends the generator but its runtime; in its runtime, and when the body is gone.
#[test]
fn clean_ups_run_whatever_has_ended_the_generator() {
    type Way = (&'static str, fn(&Runtime, Generator<u32>));
    let ways: [Way; 6] = [
        ("the drop of the handle", |_, generator| drop(generator)),
        ("its drop inside the runtime", |runtime, generator| runtime.block_on(async { drop(generator) })),
        ("before it was asked", |_, generator| drop(generator)),
        ("its own end", |runtime, mut generator| {
            runtime.block_on(async { while generator.next().await.is_some() {} });
        }),
        ("a panic", |runtime, mut generator| {
            let next = async { while generator.next().await.is_some() {} };
            let panic = runtime.block_on(AssertUnwindSafe(next).catch_unwind());
            assert!(panic.unwrap_err().downcast_ref::<String>().unwrap().contains("as the test wants it"));
        }),
        ("a cancel", |runtime, generator| {
            generator.cancel();
            runtime.block_on(until("the end", || generator.end().is_some()));
        }),
    ];
    for (way, end) in ways {
        for make in [current_thread, multi_thread] {
            for buffer in [0, 1] {
                let runtime = make();
                let log = Log::default();
                let (says, send) = (log.clone(), mpsc::channel());
                let (send, ran) = send;
                let generator = {
                    let _inside = runtime.enter();
                    Generator::builder().buffer(buffer).spawn(&Context::background(), |_, co| {
                        co.defer(async move {
                            says.say("cleaned up");
                            send.send(Handle::current().id()).unwrap();
                        });
                        async move {
                            for n in 0..=100 {
                                co.yield_(n).await;
                            }
                            assert_ne!(way, "a panic", "as the test wants it");
                        }
                    })
                };
                end(&runtime, generator);
                let home = runtime.block_on(async {
                    let mut home = None;
                    until("the clean-up", || {
                        home = ran.try_recv().ok();
                        home.is_some()
                    })
                    .await;
                    home
                });
                assert_eq!(home, Some(runtime.handle().id()), "{way}");
                assert_eq!(log.said(), ["cleaned up"], "{way}");
            }
        }
    }
}

/// What was deferred before the body could be made, and was not, or not for a context that is done, runs too.
#[tokio::test(start_paused = true)]
async fn clean_ups_of_a_body_that_is_never_made_run() {
    let log = Log::default();
    let says = log.clone();
    let made = catch_unwind(AssertUnwindSafe(|| {
        Generator::builder().spawn(&Context::background(), |_, co: Yielder<u8>| {
            co.defer(says.clean_up("1", "1 done"));
            let _guard = co.guard(says.clone(), |log| log.clean_up("guard", "guard done"));
            assert!(!says.said().is_empty(), "as the test wants it");
            pending::<()>()
        })
    }));
    assert!(made.is_err());
    until("both", || log.said().len() == 4).await;

    let (ctx, canceller) = Context::background().with_cancel();
    canceller.cancel();
    let says = log.clone();
    let never = Generator::builder().spawn(&ctx, |_, co: Yielder<u8>| {
        co.defer(says.clean_up("2", "2 done"));
        pending::<()>()
    });
    assert!(never.end().is_some());
    within("the clean-up", never.stop()).await;
    assert_eq!(log.said()[4..], ["2", "2 done"]);
}

/// The end of the runtime drops them, whether they have begun or not, and whoever waits is told.
#[test]
fn clean_ups_end_with_their_runtime() {
    for make in [current_thread, multi_thread] {
        for is_stopped in [false, true] {
            let runtime = make();
            let (ctx, canceller) = Context::background().with_cancel();
            let (begun, passed, dropped) = (Tally::new(), Tally::new(), Tally::new());
            let (starts, finishes) = (begun.clone(), passed.clone());
            let guards = [(); 3].map(|()| dropped.on_drop());
            let mut generator = runtime.block_on(async {
                let mut generator = Generator::builder().spawn(&ctx, |_, co| async move {
                    for guard in guards {
                        let (starts, finishes) = (starts.clone(), finishes.clone());
                        co.defer(async move {
                            let _guard = guard;
                            starts.tick();
                            pending::<()>().await;
                            finishes.tick();
                        });
                    }
                    co.yield_(1).await;
                });
                assert_eq!(generator.next().await, Some(1));
                generator
            });
            if is_stopped {
                canceller.cancel();
                runtime.block_on(until("the first clean-up", || begun.count() == 1));
            }
            assert_eq!(dropped.count(), 0);
            drop(runtime);
            assert_eq!((begun.count(), passed.count(), dropped.count()), (usize::from(is_stopped), 0, 3));
            let (_, waker) = Wakes::new();
            assert_eq!(poll_once(pin!(canceller.cancel_and_wait()), &waker), Poll::Ready(()));
            assert_eq!(poll_next(&mut generator, &waker), Poll::Ready(None));
        }
    }
}

/// `None` may come before; `stop` and `cancel_and_wait` wait, for deferred ones and for guards' alike.
#[tokio::test(start_paused = true)]
async fn who_waits_for_the_end_waits_for_the_clean_ups() {
    for with_guard in [false, true] {
        let (ctx, canceller) = Context::background().with_cancel();
        let (event, log, end) = (Arc::new(Notify::new()), Log::default(), Arc::new(Notify::new()));
        let (awaited, says, may_end) = (Arc::clone(&event), log.clone(), Arc::clone(&end));
        let mut generator = Generator::builder().spawn(&ctx, |_, co| async move {
            let clean_up = async move {
                awaited.notified().await;
                says.say("cleaned up");
            };
            if with_guard {
                // Gone before the body is.
                drop(co.guard((), |()| clean_up));
            } else {
                co.defer(clean_up);
            }
            co.yield_(1).await;
            may_end.notified().await;
        });
        assert_eq!(within("the item", generator.next()).await, Some(1));
        // Waits, and is woken by the body's end.
        let (heard, waker) = Wakes::new();
        assert!(poll_next(&mut generator, &waker).is_pending());
        end.notify_one();
        until("the consumer to be woken", || heard.count() > 0).await;
        assert_eq!(poll_next(&mut generator, &waker), Poll::Ready(None));
        assert!(matches!(generator.end(), Some(End::Finished)));
        let mut waits = pin!(canceller.cancel_and_wait());
        let mut stop = pin!(generator.stop());
        for _ in 0..3 {
            settle().await;
            assert!(poll_once(waits.as_mut(), &Wakes::new().1).is_pending());
            assert!(poll_once(stop.as_mut(), &Wakes::new().1).is_pending());
        }
        assert!(log.said().is_empty());
        event.notify_one();
        within("the clean-ups", waits).await;
        assert_eq!(log.said(), ["cleaned up"]);
        assert!(matches!(within("the end", stop).await, End::Finished));
    }
}

/// The grace is for all of them together, and exact; what is done in time runs, what is not is dropped where it is.
#[tokio::test(start_paused = true)]
async fn the_grace_is_for_all_clean_ups_together() {
    let (log, dropped) = (Log::default(), Tally::new());
    let (says, guards) = (log.clone(), [(); 4].map(|()| dropped.on_drop()));
    let mut generator =
        Generator::builder().grace(10 * SECOND).spawn(&Context::background(), |_, co| async move {
            for (guard, name) in guards.into_iter().zip(["4", "3", "2", "1"]) {
                let says = says.clone();
                co.defer(async move {
                    let _guard = guard;
                    sleep(4 * SECOND).await;
                    says.say(name);
                });
            }
            co.yield_(1).await;
            pending::<()>().await;
        });
    assert_eq!(within("the item", generator.next()).await, Some(1));
    // That the body rests for long takes nothing from it.
    sleep(100 * SECOND).await;
    let begun = Instant::now();
    within("the end", generator.stop()).await;
    assert_eq!(log.said(), ["1", "2"]);
    assert_eq!(dropped.count(), 4);
    let taken = begun.elapsed();
    assert!((10 * SECOND..10 * SECOND + Duration::from_millis(2)).contains(&taken), "{taken:?}");
}

/// Without any grace each of them is polled once.
#[tokio::test(start_paused = true)]
async fn without_grace_what_is_done_at_once_is_done() {
    let log = Log::default();
    let log_of_body = log.clone();
    let mut generator =
        Generator::builder().grace(Duration::ZERO).spawn(&Context::background(), |_, co| async move {
            let log = log_of_body;
            let at_once = |what: &'static str| {
                let log = log.clone();
                async move { log.say(what) }
            };
            co.defer(at_once("5"));
            co.defer(log.clean_up("4", "4 done"));
            co.defer(at_once("3"));
            co.defer(at_once("2"));
            co.defer(at_once("1"));
            co.yield_(1).await;
        });
    assert_eq!(within("the item", generator.next()).await, Some(1));
    within("the end", generator.stop()).await;
    assert_eq!(log.said(), ["1", "2", "3", "4"]);
}

/// The time counts from the body's end, not from its context's: also for a guard's clean-up that has begun long before, and also
/// where a section held up the end.
#[tokio::test(start_paused = true)]
async fn the_grace_begins_when_the_body_is_gone() {
    let (ctx, canceller) = Context::background().with_cancel();
    let log = Log::default();
    let log_of_body = log.clone();
    let mut generator = Generator::builder().grace(2 * SECOND).spawn(&ctx, |_, co| async move {
        let log = log_of_body;
        let slow = |what: &'static str, time: Duration| {
            let log = log.clone();
            async move {
                sleep(time).await;
                log.say(what);
            }
        };
        drop(co.guard((), |()| slow("in time", 61 * SECOND)));
        drop(co.guard((), |()| slow("too late", 63 * SECOND)));
        co.yield_(1).await;
        co.shield(sleep(60 * SECOND)).await;
    });
    assert_eq!(within("the item", generator.next()).await, Some(1));
    let begun = Instant::now();
    assert!(poll_next(&mut generator, &Wakes::new().1).is_pending());
    canceller.cancel_and_wait().await;
    assert_eq!(log.said(), ["in time"]);
    let taken = begun.elapsed();
    assert!((62 * SECOND..62 * SECOND + Duration::from_millis(2)).contains(&taken), "{taken:?}");
}

/// Also where the runtime has no timer.
#[test]
fn the_grace_ends_in_a_runtime_without_a_timer() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let dropped = Tally::new();
    let guard = dropped.on_drop();
    runtime.block_on(async {
        let grace = Duration::from_millis(1);
        let mut generator =
            Generator::builder().grace(grace).spawn(&Context::background(), |_, co| async move {
                co.defer(async move {
                    let _guard = guard;
                    pending::<()>().await;
                });
                co.yield_(1).await;
            });
        assert_eq!(generator.next().await, Some(1));
        generator.stop().await;
    });
    assert_eq!(dropped.count(), 1);
}

/// One that panics, when it is polled or dropped, keeps the next from nothing.
#[tokio::test(start_paused = true)]
async fn a_clean_up_that_panics_does_not_keep_the_next_from_running() {
    let log = Log::default();
    let log_of_body = log.clone();
    let mut generator = Generator::builder().spawn(&Context::background(), |_, co| async move {
        let log = log_of_body;
        let hostile = || on_drop(|| panic!("a destructor, as the test wants it"));
        co.defer(log.clean_up("4", "4 done"));
        let in_drop = hostile();
        co.defer(poll_fn(move |_| {
            let _ = &in_drop;
            Poll::Ready(())
        }));
        co.defer(log.clean_up("3", "3 done"));
        co.defer(async {
            yield_now().await;
            panic!("a clean-up, as the test wants it");
        });
        co.defer(log.clean_up("2", "2 done"));
        co.defer(async { witness::spite() });
        co.defer(log.clean_up("1", "1 done"));
        co.yield_(1).await;
    });
    assert_eq!(within("the item", generator.next()).await, Some(1));
    assert!(matches!(within("the end", generator.stop()).await, End::Cancelled(_)));
    assert_eq!(log.said(), ["1", "1 done", "2", "2 done", "3", "3 done", "4", "4 done"]);
}

/// Those that are dropped undone, as their time is up or their runtime goes, may all panic at that.
#[test]
fn clean_ups_that_panic_when_they_are_dropped_undone_are_dropped_all() {
    for has_begun in [false, true] {
        for with_grace in [false, true] {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .start_paused(true)
                .build()
                .unwrap();
            let dropped = Tally::new();
            let ticks = dropped.clone();
            let mut generator = {
                let _inside = runtime.enter();
                Generator::builder().grace(SECOND).spawn(&Context::background(), |_, co| async move {
                    for _ in 0..3 {
                        let ticks = ticks.clone();
                        let hostile = on_drop(move || {
                            ticks.tick();
                            panic!("a destructor, as the test wants it");
                        });
                        co.defer(async move {
                            let _hostile = hostile;
                            pending::<()>().await;
                        });
                    }
                    co.yield_(1).await;
                })
            };
            assert_eq!(runtime.block_on(within("the item", generator.next())), Some(1));
            let mut stop = None;
            if has_begun {
                let stopping = stop.insert(Box::pin(generator.stop()));
                runtime.block_on(async {
                    assert!(poll_once(stopping.as_mut(), &Wakes::new().1).is_pending());
                    settle().await;
                    assert!(poll_once(stopping.as_mut(), &Wakes::new().1).is_pending());
                });
            } else if with_grace {
                drop(generator);
            }
            if with_grace {
                runtime.block_on(async { sleep(2 * SECOND).await });
                assert_eq!(dropped.count(), 3);
            }
            drop(runtime);
            assert_eq!(dropped.count(), 3);
            if let Some(mut stop) = stop {
                assert!(poll_once(stop.as_mut(), &Wakes::new().1).is_ready());
            }
        }
    }
}

/// What a guard may be given to do that it cannot.
fn hostile(what: &'static str) -> impl FnOnce(()) -> std::future::Ready<()> {
    move |()| std::panic::panic_any(what)
}

/// Guards whose closures panic when the body is dropped: the first is the generator's panic (G6), the others cost nobody anything.
#[tokio::test(start_paused = true)]
async fn guards_that_panic_when_the_body_is_dropped_keep_no_other_from_being_cleaned_up() {
    for ends_by_itself in [false, true] {
        let log = Log::default();
        let log_of_body = log.clone();
        let mut generator = Generator::builder().spawn(&Context::background(), |_, co| async move {
            let log = log_of_body;
            let _first = co.guard(log.clone(), |log| log.clean_up("1", "1 done"));
            let _hostile = co.guard((), hostile("second"));
            let _third = co.guard(log.clone(), |log| log.clean_up("3", "3 done"));
            let _hostile_too = co.guard((), hostile("first"));
            co.yield_(1).await;
            if !ends_by_itself {
                pending::<()>().await;
            }
        });
        assert_eq!(within("the item", generator.next()).await, Some(1));
        if ends_by_itself {
            let next = AssertUnwindSafe(generator.next()).catch_unwind().await;
            assert_eq!(next.unwrap_err().downcast_ref(), Some(&"first"));
        }
        let End::Panicked(panic) = within("the end", generator.stop()).await else { panic!("another end") };
        if !ends_by_itself {
            assert_eq!(panic.take_payload().unwrap().downcast_ref(), Some(&"first"));
        }
        let mut said = log.said();
        said.sort_unstable();
        assert_eq!(said, ["1", "1 done", "3", "3 done"]);
    }
}

/// What waits for itself is told so, as a body that does is.
#[tokio::test(start_paused = true)]
async fn a_clean_up_that_would_wait_for_itself_panics() {
    let (ctx, canceller) = Context::background().with_cancel();
    let log = Log::default();
    let (says, own) = (log.clone(), canceller.clone());
    let mut generator = Generator::builder().spawn(&ctx, |_, co| async move {
        co.defer(async move {
            let waits = AssertUnwindSafe(own.cancel_and_wait()).catch_unwind().await;
            let message = waits.unwrap_err().downcast::<String>().unwrap();
            assert!(message.contains("`cancel_and_wait` was called from within"), "{message}");
            // Another's end it may wait for, and so may a body that it polls.
            let mut other = Generator::builder().spawn(&Context::background(), |_, co| async move {
                let (_, elsewhere) = Context::background().with_cancel();
                elsewhere.cancel_and_wait().await;
                co.yield_(1).await;
            });
            assert_eq!(other.next().await, Some(1));
            other.stop().await;
            says.say("done");
        });
        co.yield_(1).await;
    });
    assert_eq!(within("the item", generator.next()).await, Some(1));
    let begun = Instant::now();
    within("the end", canceller.cancel_and_wait()).await;
    assert_eq!(log.said(), ["done"]);
    assert!(begun.elapsed() < SECOND);
}

/// What the destructors of a body defer joins the others.
#[tokio::test(start_paused = true)]
async fn a_destructor_may_defer() {
    for has_another in [false, true] {
        let log = Log::default();
        let says = log.clone();
        let mut generator = Generator::builder().spawn(&Context::background(), |_, co| async move {
            let co = Arc::new(co);
            if has_another {
                co.defer(says.clean_up("1", "1 done"));
            }
            let (in_drop, to_say) = (Arc::clone(&co), says.clone());
            let _last = says.on_drop("body");
            let _defers = on_drop(move || {
                in_drop.defer(to_say.clean_up("2", "2 done"));
                to_say.say("destructor");
            });
            co.yield_(1).await;
        });
        assert_eq!(within("the item", generator.next()).await, Some(1));
        within("the end", generator.stop()).await;
        let rest: &[_] = if has_another { &["1", "1 done"] } else { &[] };
        assert_eq!(log.said(), [&["destructor", "body", "2", "2 done"], rest].concat());
    }
}

/// A yielder and a guard that have outlived their body still do their part, at once, from any thread.
#[test]
fn what_outlives_its_body_is_cleaned_up_at_once() {
    thread_local! {
        static KEPT: RefCell<Option<Box<dyn Send>>> = const { RefCell::new(None) };
    }

    for make in [current_thread, multi_thread] {
        let runtime = make();
        let log = Log::default();
        let says = log.clone();
        let (hand_out, out) = mpsc::channel::<(Box<dyn Send>, &'static Yielder<u8>)>();
        let mut generator = {
            let _inside = runtime.enter();
            Generator::builder().spawn(&Context::background(), |_, co| async move {
                let co: &'static Yielder<u8> = Box::leak(Box::new(co));
                let guard = co.guard(says, |log| log.clean_up("guarded", "guarded done"));
                hand_out.send((Box::new(Boxed(guard)), co)).unwrap();
                co.yield_(1).await;
            })
        };
        assert_eq!(runtime.block_on(within("the item", generator.next())), Some(1));
        runtime.block_on(within("the end", generator.stop()));
        let (guard, co) = receive("the guard", &out);
        assert!(log.said().is_empty());
        // Where the thread's locals are destroyed.
        thread::spawn(move || KEPT.set(Some(guard))).join().unwrap();
        runtime.block_on(until("the guard's", || log.said() == ["guarded", "guarded done"]));
        co.defer(log.clean_up("deferred", "deferred done"));
        runtime.block_on(until("the other", || log.said().len() == 4));
        runtime.block_on(until("no task to be left", || alive_tasks() == 0));
        // And when there is no runtime any more it is dropped.
        drop(runtime);
        let dropped = Tally::new();
        let guard = dropped.on_drop();
        co.defer(async move { drop(guard) });
        assert_eq!(dropped.count(), 1);
    }
}

/// Also where there was nothing to clean up before: what a yielder that has outlived its body is given runs, and is let go.
#[tokio::test(start_paused = true)]
async fn the_first_to_be_deferred_may_come_when_the_body_is_gone() {
    let (hand_out, out) = mpsc::channel::<Arc<Yielder<u8>>>();
    let mut generator =
        Generator::builder().grace(SECOND).spawn(&Context::background(), |_, co| async move {
            let co = Arc::new(co);
            hand_out.send(Arc::clone(&co)).unwrap();
            co.yield_(1).await;
        });
    assert_eq!(within("the item", generator.next()).await, Some(1));
    within("the end", generator.stop()).await;
    let (co, log, dropped) = (receive("the yielder", &out), Log::default(), Tally::new());
    let (own, guard) = (Arc::clone(&co), dropped.on_drop());
    co.defer(log.clean_up("1", "1 done"));
    co.defer(async move {
        let _kept = (own, guard);
        pending::<()>().await;
    });
    drop(co.guard((), |()| log.clean_up("2", "2 done")));
    settle().await;
    assert_eq!(log.said().len(), 4);
    assert_eq!(dropped.count(), 0);
    sleep(2 * SECOND).await;
    assert_eq!(dropped.count(), 1);
    assert_eq!(Arc::strong_count(&co), 1);
}

/// So that a guard of any type may be kept.
struct Boxed<G>(G);

/// A guard that is forgotten is not cleaned up, and holds up nobody.
#[tokio::test(start_paused = true)]
async fn a_guard_that_is_forgotten_holds_up_nobody() {
    let log = Log::default();
    let says = log.clone();
    let mut generator = Generator::builder().spawn(&Context::background(), |_, co| async move {
        mem::forget(co.guard(says.clone(), |log| log.clean_up("forgotten", "done")));
        co.defer(says.clean_up("deferred", "deferred done"));
        co.yield_(1).await;
    });
    assert_eq!(within("the item", generator.next()).await, Some(1));
    within("the end", generator.stop()).await;
    assert_eq!(log.said(), ["deferred", "deferred done"]);
}

/// A clean-up may use what it likes of its own generator: its context, its handle.
#[tokio::test(start_paused = true)]
async fn a_clean_up_may_hold_what_it_cleans_up() {
    let log = Log::default();
    let says = log.clone();
    let handle = Arc::new(Mutex::new(None::<Generator<u8>>));
    let own = Arc::clone(&handle);
    let mut generator = Generator::builder().spawn(&Context::background(), |ctx, co| {
        co.defer(async move {
            assert!(ctx.is_done());
            // A checkpoint comes back here: there is no body that could be dropped.
            assert!(ctx.checkpoint().await.is_err());
            drop(own.lock().unwrap().take());
            says.say("done");
        });
        async move { co.yield_(1).await }
    });
    assert_eq!(within("the item", generator.next()).await, Some(1));
    generator.cancel();
    *handle.lock().unwrap() = Some(generator);
    until("the clean-up", || log.said() == ["done"]).await;
    until("no task to be left", || alive_tasks() == 0).await;
}

/// The clean-ups of many generators, against a shutdown that may come at any moment: each runs or is dropped, and all are told.
#[test]
fn clean_ups_race_with_the_shutdown() {
    for round in 0..100_u32 {
        let runtime = multi_thread();
        let (ctx, canceller) = Context::background().with_cancel();
        let (dropped, count) = (Tally::new(), 8);
        let generators: Vec<Generator<u8>> = (0..count)
            .map(|n| {
                let (_inside, in_body, in_clean_up) = (runtime.enter(), dropped.on_drop(), dropped.on_drop());
                let in_guard = dropped.on_drop();
                let mut generator = Generator::builder().buffer(n % 2).spawn(&ctx, |_, co| {
                    co.defer(async move {
                        yield_now().await;
                        drop(in_clean_up);
                    });
                    async move {
                        let _in_body = in_body;
                        let _guard = co.guard(in_guard, async |in_guard| {
                            yield_now().await;
                            drop(in_guard);
                        });
                        co.yield_(1).await;
                        co.yield_(2).await;
                    }
                });
                assert_eq!(runtime.block_on(generator.next()), Some(1));
                generator
            })
            .collect();
        let waits = canceller.cancel_and_wait();
        for _ in 0..round % 20 {
            thread::yield_now();
        }
        drop(runtime);
        futures_executor::block_on(waits);
        wait_until("all to be dropped", || dropped.count() == 3 * count);
        assert!(generators.iter().all(|generator| generator.end().is_some()));
    }
}

/// Set in the child process that is to overrun its grace.
const CHILD: &str = "CTX_TESTS_OVERRUN";

/// The child's part; without the variable there is nothing to do.
#[test]
fn overrun_of_a_child() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let builder = Generator::builder().name("slow to go").grace(3 * SECOND);
        let mut generator = builder.spawn(&Context::background(), |_, co| async move {
            co.defer(async {});
            co.defer(async {});
            co.defer(pending());
            co.yield_(1).await;
        });
        assert_eq!(generator.next().await, Some(1));
        generator.stop().await;
        let mut in_time =
            Generator::builder().name("in time").spawn(&Context::background(), |_, co| async move {
                co.defer(sleep(9 * SECOND));
                co.yield_(1).await;
            });
        assert_eq!(in_time.next().await, Some(1));
        in_time.stop().await;
    });
}

/// What is given up is said on standard error, with the generator's name, its grace, and how many never starts.
#[test]
fn an_overrun_is_reported() {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "overrun_of_a_child", "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let lines: Vec<_> = errors.lines().filter(|line| line.contains("clean-up")).collect();
    assert_eq!(lines.len(), 1, "{errors}");
    for part in ["`slow to go`", "3s", "and 2 more had not begun"] {
        assert!(lines[0].contains(part), "{errors}");
    }
}
