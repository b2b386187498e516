//! G1, G5, G11 for sections that the end waits for: `Yielder::shield`.

#![allow(dead_code, reason = "of the shared modules each file takes what it needs")]

mod by_hand;
mod patience;
mod witness;

use by_hand::{Wakes, poll_next, poll_once};
use ctx_runtime::{Canceller, Context, ContextError, End, Generator, Yielder};
use futures_util::future::BoxFuture;
use futures_util::stream::{self, FuturesUnordered, StreamExt};
use patience::{receive, settle, until, wait_until, within};
use std::future::{Future, pending};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex, mpsc};
use std::task::Poll;
use std::thread;
use std::time::Duration;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::Notify;
use tokio::task::yield_now;
use witness::{Tally, on_drop};

fn current_thread() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

fn multi_thread() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// What became of a body that yields once, then is in a section until `event`.
#[derive(Clone, Default)]
struct Seen {
    event: Arc<Notify>,
    begun: Tally,
    over: Tally,
    after: Tally,
    dropped: Tally,
}

impl Seen {
    /// Begun, over, gone on after that, dropped: how often each.
    fn counts(&self) -> [usize; 4] {
        [self.begun.count(), self.over.count(), self.after.count(), self.dropped.count()]
    }
}

/// Yields 1, and is in its section until that is told to go on; its consumer waits for the next item in vain.
async fn in_a_section(ctx: &Context, buffer: usize) -> (Generator<u32>, Seen) {
    let seen = Seen::default();
    let Seen { event, begun, over, after, dropped } = seen.clone();
    let mut generator = Generator::builder().buffer(buffer).spawn(ctx, |_, co| async move {
        let _guard = dropped.on_drop();
        co.yield_(1).await;
        co.shield(async {
            begun.tick();
            event.notified().await;
            over.tick();
        })
        .await;
        after.tick();
        co.yield_(2).await;
    });
    assert_eq!(within("the first item", generator.next()).await, Some(1));
    assert!(poll_next(&mut generator, &Wakes::new().1).is_pending());
    until("the section to begin", || seen.begun.count() == 1).await;
    (generator, seen)
}

type Stop = fn(&Canceller, Generator<u32>) -> BoxFuture<'static, Option<Generator<u32>>>;

/// G1, G5: each way to end a generator waits for it, and nothing after it is run.
#[tokio::test(start_paused = true)]
async fn a_section_that_has_begun_runs_to_its_end() {
    let ways: [(&str, Stop); 5] = [
        ("a cancel of its context", |canceller, generator| {
            canceller.cancel();
            Box::pin(async { Some(generator) })
        }),
        ("a cancel of its handle", |_, generator| {
            generator.cancel();
            Box::pin(async { Some(generator) })
        }),
        ("a deadline", |_, generator| {
            Box::pin(async {
                tokio::time::sleep(Duration::from_secs(11)).await;
                Some(generator)
            })
        }),
        ("the drop of its handle", |_, generator| {
            drop(generator);
            Box::pin(async { None })
        }),
        ("a `stop` that nobody waits for", |_, generator| {
            drop(generator.stop());
            Box::pin(async { None })
        }),
    ];
    for (way, stop) in ways {
        for buffer in [0, 1] {
            let (ctx, canceller) = Context::background().with_timeout(Duration::from_secs(10)).with_cancel();
            let (generator, seen) = in_a_section(&ctx, buffer).await;
            let own = generator.context().clone();
            let generator = stop(&canceller, generator).await;
            assert!(own.is_done(), "{way}");
            settle().await;
            assert_eq!(seen.counts(), [1, 0, 0, 0], "{way}, buffer {buffer}");
            assert!(generator.as_ref().is_none_or(|generator| generator.end().is_none()), "{way}");
            seen.event.notify_one();
            until("the body to be gone", || seen.dropped.count() == 1).await;
            assert_eq!(seen.counts(), [1, 1, 0, 1], "{way}, buffer {buffer}");
            if let Some(mut generator) = generator {
                assert!(matches!(generator.end(), Some(End::Cancelled(_))), "{way}");
                assert_eq!(within("the end", generator.next()).await, None);
            }
        }
    }
}

/// A section that has not begun when the generator is stopped does not: neither where the body comes to it in the poll in which it
/// is stopped, nor beside another that goes on.
#[tokio::test(start_paused = true)]
async fn a_section_does_not_begin_after_the_end() {
    let (ctx, canceller) = Context::background().with_cancel();
    let (event, seen) = (Arc::new(Notify::new()), Tally::new());
    let (awaited, begun) = (Arc::clone(&event), seen.clone());
    let mut generator = Generator::builder().spawn(&ctx, |_, co: Yielder<u8>| async move {
        tokio::join!(co.shield(awaited.notified()), async {
            canceller.cancel();
            co.shield(async { begun.tick() }).await;
            begun.tick();
        });
    });
    let mut next = pin!(generator.next());
    assert!(poll_once(next.as_mut(), &Wakes::new().1).is_pending());
    settle().await;
    event.notify_one();
    assert_eq!(within("the end", next).await, None);
    assert_eq!(seen.count(), 0);
}

/// G7's second half for sections: who waits until a generator has ended waits for them.
#[tokio::test(start_paused = true)]
async fn who_waits_for_the_end_waits_for_the_section() {
    let (ctx, canceller) = Context::background().with_cancel();
    let (generator, seen) = in_a_section(&ctx, 0).await;
    let mut waits = pin!(canceller.cancel_and_wait());
    let mut stop = pin!(generator.stop());
    for _ in 0..3 {
        assert!(poll_once(waits.as_mut(), &Wakes::new().1).is_pending());
        assert!(poll_once(stop.as_mut(), &Wakes::new().1).is_pending());
        settle().await;
    }
    assert_eq!(seen.counts(), [1, 0, 0, 0]);
    seen.event.notify_one();
    within("the end", waits).await;
    assert_eq!(seen.counts(), [1, 1, 0, 1]);
    assert!(matches!(within("the end", stop).await, End::Cancelled(_)));
}

/// G5: the drop does not wait; the destructors run inside the runtime, when the section is over.
#[test]
fn a_drop_during_a_section_does_not_wait_and_leaves_the_body_to_its_runtime() {
    for make in [current_thread, multi_thread] {
        let runtime = make();
        let home = runtime.handle().id();
        let (send, gone) = mpsc::channel();
        let (event, begun) = (Arc::new(Notify::new()), Tally::new());
        let (awaited, ticks) = (Arc::clone(&event), begun.clone());
        let mut generator = runtime.block_on(async {
            Generator::builder().spawn(&Context::background(), |_, co: Yielder<u8>| async move {
                let _guard = on_drop(move || send.send(Handle::current().id()).unwrap());
                co.shield(async {
                    ticks.tick();
                    awaited.notified().await;
                })
                .await;
            })
        });
        runtime.block_on(async {
            assert!(poll_next(&mut generator, &Wakes::new().1).is_pending());
            until("the section to begin", || begun.count() == 1).await;
        });
        // From a thread that is in no runtime.
        drop(generator);
        assert!(gone.try_recv().is_err());
        event.notify_one();
        let at = runtime.block_on(async {
            let mut at = None;
            until("the body to be gone", || {
                at = gone.try_recv().ok();
                at.is_some()
            })
            .await;
            at
        });
        assert_eq!(at, Some(home));
    }
}

/// G2 within a section: what was accepted arrives, what comes after the end is dropped, and the section goes on.
#[tokio::test(start_paused = true)]
async fn a_yield_in_a_section_returns_after_the_end_and_drops_its_item() {
    for buffer in [0, 1, 2] {
        let (ctx, canceller) = Context::background().with_cancel();
        let (dropped, passed) = (Tally::new(), Tally::new());
        let (items, ticks) = (dropped.clone(), passed.clone());
        let mut generator = Generator::builder().buffer(buffer).spawn(&ctx, |_, co| async move {
            co.shield(async {
                for n in 0..10 {
                    co.yield_((n, items.on_drop())).await;
                    ticks.tick();
                    yield_now().await;
                }
            })
            .await;
            unreachable!("nothing runs after the section");
        });
        let first = within("the first item", generator.next()).await;
        assert!(matches!(&first, Some((0, _))));
        settle().await;
        // One yield rests, or waits for room.
        assert!(passed.count() < 4);
        canceller.cancel();
        until("the section to go on", || passed.count() == 10).await;
        let mut accepted = Vec::from_iter(first.map(|(n, _item)| n));
        while let Some((n, _item)) = within("what is left", generator.next()).await {
            accepted.push(n);
        }
        assert_eq!(accepted, (0..=buffer).collect::<Vec<_>>(), "buffer {buffer}");
        assert!(matches!(generator.end(), Some(End::Cancelled(_))));
        assert_eq!(dropped.count(), 10);
    }
}

/// An item that was accepted in a section and not yet taken may be taken while that goes on.
#[tokio::test(start_paused = true)]
async fn what_a_section_yielded_before_the_end_is_there_before_it_is_over() {
    let (ctx, canceller) = Context::background().with_cancel();
    let event = Arc::new(Notify::new());
    let awaited = Arc::clone(&event);
    let mut generator = Generator::builder().spawn(&ctx, |_, co| async move {
        co.shield(async {
            yield_now().await;
            co.yield_(1).await;
            co.yield_(2).await;
            awaited.notified().await;
        })
        .await;
    });
    assert!(poll_next(&mut generator, &Wakes::new().1).is_pending());
    settle().await;
    canceller.cancel();
    settle().await;
    assert_eq!(poll_next(&mut generator, &Wakes::new().1), Poll::Ready(Some(1)));
    let (heard, waker) = Wakes::new();
    assert_eq!(poll_next(&mut generator, &waker), Poll::Pending);
    settle().await;
    assert_eq!(heard.count(), 0);
    event.notify_one();
    until("the consumer to be woken", || heard.count() > 0).await;
    assert_eq!(poll_next(&mut generator, &waker), Poll::Ready(None));
}

/// Yields in a set of futures are polled when they are woken, and not when the body is: so the end has to wake them.
#[tokio::test(start_paused = true)]
async fn yields_in_a_set_of_futures_in_a_section_return_after_the_end() {
    for buffer in [0, 1] {
        let (ctx, canceller) = Context::background().with_cancel();
        let over = Tally::new();
        let ticks = over.clone();
        let mut generator = Generator::builder().buffer(buffer).spawn(&ctx, |_, co| async move {
            co.shield(async {
                let mut set: FuturesUnordered<_> = (0..4).map(|n| co.yield_(n)).collect();
                while set.next().await.is_some() {}
                ticks.tick();
            })
            .await;
        });
        assert_eq!(within("the first item", generator.next()).await, Some(0));
        settle().await;
        let mut waits = pin!(canceller.cancel_and_wait());
        within("the section to be over", waits.as_mut()).await;
        assert_eq!(over.count(), 1, "buffer {buffer}");
    }
}

/// The same where it is the section that is in the set.
#[tokio::test(start_paused = true)]
async fn a_yield_of_a_section_in_a_set_of_futures_returns_after_the_end() {
    for buffer in [0, 1] {
        let (ctx, canceller) = Context::background().with_cancel();
        let over = Tally::new();
        let ticks = over.clone();
        let mut generator = Generator::builder().buffer(buffer).spawn(&ctx, |_, co| async move {
            let section = |n: u32| {
                let (co, ticks) = (&co, &ticks);
                co.shield(async move {
                    co.yield_(n).await;
                    ticks.tick();
                })
            };
            let mut set: FuturesUnordered<_> = (0..4).map(section).collect();
            while set.next().await.is_some() {}
        });
        assert_eq!(within("the first item", generator.next()).await, Some(0));
        settle().await;
        let over_before = over.count();
        assert!(over_before < 4);
        within("the sections to be over", canceller.cancel_and_wait()).await;
        assert_eq!(over.count(), 4, "buffer {buffer}");
    }
}

/// A request that is there when the end comes is not answered to a yield outside of every section.
#[tokio::test(start_paused = true)]
async fn a_yield_beside_a_section_does_not_return_after_the_end() {
    let (ctx, canceller) = Context::background().with_cancel();
    let (event, passed) = (Arc::new(Notify::new()), Tally::new());
    let (awaited, ticks) = (Arc::clone(&event), passed.clone());
    let mut generator = Generator::builder().spawn(&ctx, |_, co| async move {
        tokio::join!(co.shield(awaited.notified()), async {
            co.yield_(1).await;
            ticks.tick();
        });
    });
    assert_eq!(within("the first item", generator.next()).await, Some(1));
    canceller.cancel();
    // Asks for the second item, and has the driver look, as the section is not over.
    let (heard, waker) = Wakes::new();
    for _ in 0..3 {
        assert!(poll_next(&mut generator, &waker).is_pending());
        settle().await;
    }
    assert_eq!(passed.count(), 0);
    event.notify_one();
    until("the consumer to be woken", || heard.count() > 0).await;
    assert_eq!(poll_next(&mut generator, &waker), Poll::Ready(None));
    assert_eq!(passed.count(), 0);
}

/// The checkpoint of a section comes back, and says that the generator was stopped.
#[tokio::test(start_paused = true)]
async fn a_checkpoint_in_a_section_comes_back_after_the_end() {
    let (ctx, canceller) = Context::background().with_cancel();
    let (event, seen) = (Arc::new(Notify::new()), Arc::new(Mutex::new(Vec::new())));
    let (awaited, says) = (Arc::clone(&event), Arc::clone(&seen));
    let mut generator = Generator::builder().spawn(&ctx, |ctx, co: Yielder<u8>| async move {
        co.shield(async {
            let before = ctx.checkpoint().await;
            awaited.notified().await;
            let after = ctx.checkpoint().await;
            says.lock().unwrap().extend([before.is_ok(), after.is_ok()]);
        })
        .await;
        unreachable!("nothing runs after the section");
    });
    assert!(poll_next(&mut generator, &Wakes::new().1).is_pending());
    canceller.cancel();
    event.notify_one();
    assert_eq!(within("the end", generator.next()).await, None);
    assert_eq!(*seen.lock().unwrap(), [true, false]);
}

/// A checkpoint beside a section, and one in another generator's body that is polled within one, do not.
#[tokio::test(start_paused = true)]
async fn a_checkpoint_outside_a_section_does_not_come_back_after_the_end() {
    let (ctx, canceller) = Context::background().with_cancel();
    let (event, passed) = (Arc::new(Notify::new()), Tally::new());
    let (awaited, ticks) = (Arc::clone(&event), passed.clone());
    let mut generator = Generator::builder().spawn(&ctx, |ctx, co: Yielder<u8>| async move {
        let (inner_stop, inner_passed) = (canceller.clone(), ticks.clone());
        let mut inner = Generator::builder().spawn(&ctx, |ctx, _: Yielder<u8>| async move {
            inner_stop.cancel();
            let _ = ctx.checkpoint().await;
            inner_passed.tick();
        });
        tokio::join!(
            co.shield(async {
                assert_eq!(inner.next().await, None);
                awaited.notified().await;
            }),
            async {
                let _ = ctx.checkpoint().await;
                ticks.tick();
            }
        );
    });
    assert!(poll_next(&mut generator, &Wakes::new().1).is_pending());
    settle().await;
    event.notify_one();
    assert_eq!(within("the end", generator.next()).await, None);
    assert_eq!(passed.count(), 0);
}

/// G10: yields that return at once give way all the same.
#[tokio::test(start_paused = true)]
async fn a_section_that_yields_in_a_tight_loop_after_the_end_gives_way() {
    for buffer in [0, 1] {
        let (ctx, canceller) = Context::background().with_cancel();
        let (is_over, turns) = (Arc::new(Mutex::new(false)), Tally::new());
        let (told, ticks) = (Arc::clone(&is_over), turns.clone());
        let mut generator = Generator::builder().buffer(buffer).spawn(&ctx, |_, co| async move {
            co.shield(async {
                for n in 0..1_000_000 {
                    co.yield_(n).await;
                    ticks.tick();
                    if *told.lock().unwrap() {
                        return;
                    }
                }
                panic!("a million turns without another task's");
            })
            .await;
        });
        assert_eq!(within("the first item", generator.next()).await, Some(0));
        canceller.cancel();
        until("the section to go round", || turns.count() > 1000).await;
        *is_over.lock().unwrap() = true;
        let end = within("the end", generator.stop()).await;
        assert!(matches!(end, End::Cancelled(_)), "{end:?}");
    }
}

/// A section within a section is a part of it: it begins after the end, and comes back.
#[tokio::test(start_paused = true)]
async fn a_section_within_a_section_is_a_part_of_it() {
    let (ctx, canceller) = Context::background().with_cancel();
    let passed = Tally::new();
    let ticks = passed.clone();
    let mut generator = Generator::builder().spawn(&ctx, |_, co: Yielder<u8>| async move {
        co.shield(async {
            canceller.cancel();
            for _ in 0..3 {
                let two = co.shield(async {
                    yield_now().await;
                    co.yield_(1).await;
                    2
                });
                assert_eq!(two.await, 2);
                ticks.tick();
            }
        })
        .await;
        ticks.tick();
    });
    assert_eq!(within("the end", generator.next()).await, None);
    assert_eq!(passed.count(), 3);
}

/// A section that has told its body nothing, as the generator was stopped, is not polled again, wherever it is.
#[tokio::test(start_paused = true)]
async fn a_section_that_is_over_is_not_polled_again() {
    let (ctx, canceller) = Context::background().with_cancel();
    let mut generator = Generator::builder().spawn(&ctx, |_, co: Yielder<u8>| async move {
        let first = &Mutex::new(Box::pin(co.shield(async { canceller.cancel() })));
        let poll_first = || std::future::poll_fn(|cx| first.lock().unwrap().as_mut().poll(cx));
        let second = co.shield(async {
            yield_now().await;
            let again = tokio::time::timeout(Duration::from_secs(1), poll_first()).await;
            assert!(again.is_err(), "it rests for good");
        });
        tokio::join!(second, poll_first());
    });
    assert_eq!(within("the end", generator.next()).await, None);
    assert!(matches!(generator.end(), Some(End::Cancelled(_))), "{:?}", generator.end());
}

/// The end waits for all of several; what comes after the first does not run meanwhile.
#[tokio::test(start_paused = true)]
async fn the_end_waits_for_the_last_of_several_sections() {
    let (ctx, canceller) = Context::background().with_cancel();
    let (events, over) = ([(); 3].map(|()| Arc::new(Notify::new())), Tally::new());
    let (awaited, ticks, dropped) = (events.clone(), over.clone(), Tally::new());
    let guard = dropped.on_drop();
    let mut generator = Generator::builder().spawn(&ctx, |_, co: Yielder<u8>| async move {
        let _guard = guard;
        let branch = |n: usize| {
            let (co, awaited, ticks) = (&co, &awaited, &ticks);
            async move {
                co.shield(async {
                    awaited[n].notified().await;
                    ticks.tick();
                })
                .await;
                panic!("nothing runs after a section");
            }
        };
        tokio::join!(branch(0), branch(1), branch(2));
    });
    let (heard, waker) = Wakes::new();
    assert!(poll_next(&mut generator, &waker).is_pending());
    canceller.cancel();
    for (n, event) in events.iter().enumerate().rev() {
        settle().await;
        assert_eq!((over.count(), dropped.count(), heard.count()), (2 - n, 0, 0));
        event.notify_one();
    }
    until("the consumer to be woken", || heard.count() > 0).await;
    assert_eq!((over.count(), dropped.count()), (3, 1));
    assert_eq!(poll_next(&mut generator, &waker), Poll::Ready(None));
}

/// One that loses in a `select!` is dropped, and holds up no end: neither one that comes after that nor one that came before.
#[tokio::test(start_paused = true)]
async fn a_section_that_is_dropped_holds_up_no_end() {
    for stopped_before in [false, true] {
        let (ctx, canceller) = Context::background().with_cancel();
        let (event, seen) = (Arc::new(Notify::new()), Tally::new());
        let (awaited, passed, dropped) = (Arc::clone(&event), seen.clone(), Tally::new());
        let guard = dropped.on_drop();
        let mut generator = Generator::builder().spawn(&ctx, |_, co: Yielder<u8>| async move {
            let _guard = guard;
            tokio::select! {
                () = co.shield(pending()) => unreachable!(),
                () = awaited.notified() => passed.tick(),
            }
            co.yield_(1).await;
            pending::<()>().await;
        });
        assert!(poll_next(&mut generator, &Wakes::new().1).is_pending());
        if stopped_before {
            canceller.cancel();
            settle().await;
            assert_eq!(dropped.count(), 0);
        }
        event.notify_one();
        until("the section to be dropped", || seen.count() == 1).await;
        if !stopped_before {
            assert_eq!(within("the item", generator.next()).await, Some(1));
            canceller.cancel();
        }
        until("the body to be gone", || dropped.count() == 1).await;
        assert_eq!(within("the end", generator.next()).await, None);
    }
}

/// A section may wander: where it is dropped, the generator is looked at anew; and not before its destructors have run.
#[test]
fn a_section_that_is_dropped_elsewhere_lets_the_generator_end() {
    let runtime = multi_thread();
    let (ctx, canceller) = Context::background().with_cancel();
    let (hand_out, out) = mpsc::channel::<BoxFuture<'static, ()>>();
    let (dropped, gone_after_section) = (Tally::new(), Tally::new());
    let (section_gone, ticks) = (Tally::new(), gone_after_section.clone());
    let (looks, guard) = (section_gone.clone(), dropped.on_drop());
    let mut generator = runtime.block_on(async {
        Generator::builder().spawn(&ctx, |_, co: Yielder<u8>| async move {
            let _guard = guard;
            let _looks = on_drop(move || (0..looks.count()).for_each(|_| ticks.tick()));
            let slow = on_drop(move || {
                // Long enough for another thread to end the generator, if it may.
                for _ in 0..1000 {
                    thread::yield_now();
                }
                section_gone.tick();
            });
            let mut section: BoxFuture<'static, ()> = Box::pin(async move {
                co.shield(async move {
                    let _slow = slow;
                    pending::<()>().await;
                })
                .await;
            });
            std::future::poll_fn(|cx| Poll::Ready(section.as_mut().poll(cx).is_pending())).await;
            hand_out.send(section).unwrap();
            pending::<()>().await;
        })
    });
    runtime.block_on(async {
        assert!(poll_next(&mut generator, &Wakes::new().1).is_pending());
    });
    let section = receive("the section", &out);
    canceller.cancel();
    assert!(generator.end().is_none());
    thread::spawn(move || drop(section)).join().unwrap();
    wait_until("the body to be gone", || dropped.count() == 1);
    assert_eq!(gone_after_section.count(), 1);
    assert_eq!(runtime.block_on(within("the end", generator.next())), None);
}

/// The same against a cancel that comes at the same time: one of the two ends the generator.
#[test]
fn a_section_that_is_dropped_elsewhere_while_a_cancel_comes_lets_the_generator_end() {
    let runtime = multi_thread();
    for _ in 0..300 {
        let (ctx, canceller) = Context::background().with_cancel();
        let slot = Arc::new(Mutex::new(None::<BoxFuture<'static, ()>>));
        let out = Arc::clone(&slot);
        let mut generator = runtime.block_on(async {
            Generator::builder().spawn(&ctx, |_, co: Yielder<u8>| async move {
                let mut section: BoxFuture<'static, ()> = Box::pin(async move { co.shield(pending()).await });
                std::future::poll_fn(|cx| Poll::Ready(section.as_mut().poll(cx).is_pending())).await;
                *out.lock().unwrap() = Some(section);
                pending::<()>().await;
            })
        });
        runtime.block_on(async { assert!(poll_next(&mut generator, &Wakes::new().1).is_pending()) });
        let section = slot.lock().unwrap().take();
        thread::scope(|scope| {
            scope.spawn(move || drop(section));
            canceller.cancel();
        });
        wait_until("the body to be gone", || generator.end().is_some());
    }
}

/// G6: a panic in a section is the body's.
#[tokio::test(start_paused = true)]
async fn a_panic_in_a_section_is_the_body_s() {
    for is_stopped in [false, true] {
        let (ctx, canceller) = Context::background().with_cancel();
        let event = Arc::new(Notify::new());
        let awaited = Arc::clone(&event);
        let mut generator = Generator::builder().spawn(&ctx, |_, co| async move {
            co.yield_(1).await;
            co.shield(async {
                awaited.notified().await;
                panic!("in the section");
            })
            .await;
        });
        assert_eq!(within("the item", generator.next()).await, Some(1));
        assert!(poll_next(&mut generator, &Wakes::new().1).is_pending());
        if is_stopped {
            canceller.cancel();
        }
        event.notify_one();
        until("the body to be gone", || generator.end().is_some()).await;
        let panic =
            catch_unwind(AssertUnwindSafe(|| poll_next(&mut generator, &Wakes::new().1))).unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"in the section"));
        assert_eq!(within("the end", generator.next()).await, None);
    }
}

/// A panic that the body catches ends the section all the same.
#[tokio::test(start_paused = true)]
async fn a_section_whose_panic_is_caught_is_over() {
    use futures_util::FutureExt;

    let (ctx, canceller) = Context::background().with_cancel();
    let mut generator = Generator::builder().spawn(&ctx, |_, co| async move {
        let section = co.shield(async { panic!("as the test wants it") });
        let caught: Result<(), _> = AssertUnwindSafe(section).catch_unwind().await;
        caught.unwrap_err();
        co.yield_(1).await;
        pending::<()>().await;
    });
    assert_eq!(within("the item", generator.next()).await, Some(1));
    within("the end", canceller.cancel_and_wait()).await;
    assert!(matches!(generator.end(), Some(End::Cancelled(_))));
}

/// G11: what ends a section nevertheless is the end of its runtime.
#[test]
fn a_shutdown_ends_a_section() {
    for make in [current_thread, multi_thread] {
        for is_stopped in [false, true] {
            for buffer in [0, 1] {
                let runtime = make();
                let (ctx, canceller) = Context::background().with_cancel();
                let (mut generator, seen) = runtime.block_on(in_a_section(&ctx, buffer));
                if is_stopped {
                    canceller.cancel();
                }
                drop(runtime);
                assert_eq!(seen.counts(), [1, 0, 0, 1]);
                assert_eq!(generator.end().map(|end| matches!(end, End::Cancelled(_))), Some(is_stopped));
                assert_eq!(poll_next(&mut generator, &Wakes::new().1), Poll::Ready(None));
            }
        }
    }
}

/// A handle may be dropped in its own body's section.
#[tokio::test(start_paused = true)]
async fn a_section_may_drop_its_own_handle() {
    let own = Arc::new(Mutex::new(None::<Generator<u8>>));
    let (mine, passed, dropped) = (Arc::clone(&own), Tally::new(), Tally::new());
    let (ticks, guard, event) = (passed.clone(), dropped.on_drop(), Arc::new(Notify::new()));
    let awaited = Arc::clone(&event);
    let mut generator =
        Generator::builder().spawn(&Context::background(), |ctx, co: Yielder<u8>| async move {
            let _guard = guard;
            co.shield(async {
                awaited.notified().await;
                drop(mine.lock().unwrap().take());
                assert!(ctx.is_done());
                yield_now().await;
                ticks.tick();
            })
            .await;
            ticks.tick();
        });
    assert!(poll_next(&mut generator, &Wakes::new().1).is_pending());
    *own.lock().unwrap() = Some(generator);
    event.notify_one();
    until("the body to be gone", || dropped.count() == 1).await;
    assert_eq!(passed.count(), 1);
}

/// A consumer that waits in another runtime, or on a thread, is woken when the section is over.
#[test]
fn a_consumer_that_waits_anywhere_is_woken_when_the_section_is_over() {
    for buffer in [0, 1] {
        let runtime = multi_thread();
        let (ctx, canceller) = Context::background().with_cancel();
        let (mut generator, seen) = runtime.block_on(in_a_section(&ctx, buffer));
        canceller.cancel();
        let (send, ended) = mpsc::channel();
        let consumer = thread::spawn(move || {
            send.send(None).unwrap();
            let next = futures_executor::block_on(generator.next());
            send.send(Some(next)).unwrap();
        });
        receive("the consumer", &ended);
        seen.event.notify_one();
        assert_eq!(receive("the end", &ended), Some(None));
        consumer.join().unwrap();
        assert_eq!(seen.counts(), [1, 1, 0, 1]);
    }
}

/// The trap of a `block_on`: a section that gives way in the last poll of one is not forgotten.
#[test]
fn a_section_that_gives_way_in_the_last_poll_of_a_block_on_goes_on() {
    let runtime = current_thread();
    let (ctx, canceller) = Context::background().with_cancel();
    let dropped = Tally::new();
    let guard = dropped.on_drop();
    let mut generator = runtime.block_on(async {
        Generator::builder().spawn(&ctx, |_, co: Yielder<u8>| async move {
            let _guard = guard;
            co.shield(yield_now()).await;
            pending::<()>().await;
        })
    });
    runtime.block_on(std::future::poll_fn(|cx| {
        assert!(pin!(generator.next()).poll(cx).is_pending());
        canceller.cancel();
        Poll::Ready(())
    }));
    runtime.block_on(within("the end", canceller.cancel_and_wait()));
    assert_eq!(dropped.count(), 1);
}

/// A section that is polled outside its body's own poll panics there.
#[tokio::test(start_paused = true)]
async fn a_section_outside_its_body_panics() {
    let ran = Tally::new();
    let ticks = ran.clone();
    let mut generator = Generator::builder().spawn(&Context::background(), |_, co: Yielder<u8>| async move {
        let co = Arc::new(co);
        let within_task = Arc::clone(&co);
        let task = tokio::spawn(async move { within_task.shield(async { ticks.tick() }).await });
        assert!(task.await.unwrap_err().is_panic());
        co.yield_(1).await;
    });
    assert_eq!(within("the item", generator.next()).await, Some(1));
    assert_eq!(ran.count(), 0);
    assert!(matches!(within("the end", generator.stop()).await, End::Cancelled(_)));
}

/// What a section gives is handed on while the generator lives, also what may not be moved, or is borrowed.
#[tokio::test(start_paused = true)]
async fn a_section_gives_what_it_comes_to() {
    let mut generator = Generator::builder().spawn(&Context::background(), |_, co| async move {
        let mut text = String::from("a");
        let length = co.shield(async {
            yield_now().await;
            text.push('b');
            co.yield_(0).await;
            text.len()
        });
        let length = length.await;
        co.yield_(length).await;
        co.shield(co.yield_all(stream::iter([3, 4]))).await;
    });
    let mut items = Vec::new();
    while let Some(item) = within("an item", generator.next()).await {
        items.push(item);
    }
    assert_eq!(items, [0, 2, 3, 4]);
    assert!(matches!(generator.end(), Some(End::Finished)));
}

/// A deadline that a reader publishes, before its timer, ends it after the section like another.
#[tokio::test(start_paused = true)]
async fn a_deadline_that_a_reader_publishes_waits_for_the_section() {
    let ctx = Context::background().with_timeout(Duration::from_secs(1));
    let (mut generator, seen) = in_a_section(&ctx, 0).await;
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(ctx.err(), Some(ContextError::DeadlineExceeded));
    settle().await;
    assert_eq!(seen.counts(), [1, 0, 0, 0]);
    seen.event.notify_one();
    assert_eq!(within("the end", generator.next()).await, None);
    assert_eq!(seen.counts(), [1, 1, 0, 1]);
}

/// Everything at once, on two threads: whatever comes when, the section is whole, and the body gone.
#[test]
fn whatever_comes_when_a_section_is_whole() {
    let runtime = multi_thread();
    for round in 0..400_u32 {
        let (ctx, canceller) = Context::background().with_cancel();
        let (begun, over, dropped) = (Tally::new(), Tally::new(), Tally::new());
        let (begins, ends, guard) = (begun.clone(), over.clone(), dropped.on_drop());
        let mut generator: Generator<u32> = {
            let _inside = runtime.enter();
            Generator::builder().buffer((round % 2) as usize).spawn(&ctx, |_, co| async move {
                let _guard = guard;
                for n in 0.. {
                    co.yield_(n).await;
                    co.shield(async {
                        begins.tick();
                        yield_now().await;
                        co.yield_(n).await;
                        ends.tick();
                    })
                    .await;
                }
            })
        };
        let consumer = runtime.spawn(async move {
            for _ in 0..round % 7 {
                generator.next().await;
            }
            if round % 3 == 0 { drop(generator) } else { while generator.next().await.is_some() {} }
        });
        for _ in 0..round % 50 {
            thread::yield_now();
        }
        runtime.block_on(async {
            within("the end", canceller.cancel_and_wait()).await;
            within("the consumer", consumer).await.unwrap();
        });
        assert_eq!(dropped.count(), 1);
        assert_eq!(begun.count(), over.count());
    }
}
