//! G2 with an overflow policy: a yield never waits for room, and what it drops is counted; and what the other promises come to
//! beside that.

#![allow(dead_code, reason = "of the shared modules each file takes what it needs")]

mod by_hand;
mod patience;
mod witness;

use by_hand::{Wakes, poll_next, poll_once};
use ctx_runtime::{Context, End, Generator, Overflow, generator};
use futures_util::FutureExt;
use futures_util::stream::{FusedStream, FuturesUnordered, StreamExt};
use patience::{settle, until, wait_until, within};
use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;
use tokio::task::coop::{self, unconstrained};
use witness::{OnDrop, Tally, on_drop};

const POLICIES: [Overflow; 2] = [Overflow::DropOldest, Overflow::DropNewest];

/// Yields `0..items`, waits for nothing, and ends.
fn count(ctx: &Context, buffer: usize, policy: Overflow, items: u64) -> Generator<u64> {
    Generator::builder().buffer(buffer).overflow(policy).spawn(ctx, move |_, co| async move {
        for n in 0..items {
            co.yield_(n).await;
        }
    })
}

/// Never ends by itself.
fn endless(ctx: &Context, buffer: usize, policy: Overflow) -> Generator<u64> {
    count(ctx, buffer, policy, u64::MAX)
}

/// What a buffer holds of `0..items` that nobody has taken any of.
fn kept(buffer: usize, policy: Overflow, items: u64) -> Vec<u64> {
    let buffer = (buffer as u64).min(items);
    match policy {
        Overflow::DropOldest => (items - buffer..items).collect(),
        _ => (0..buffer).collect(),
    }
}

fn multi_thread() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

// What is dropped, and what is counted.

/// G2. Fails for a policy that drops the wrong end, keeps one too few or too many, or counts otherwise.
#[tokio::test]
async fn a_full_buffer_drops_the_oldest_or_the_newest_and_counts_each() {
    for policy in POLICIES {
        for buffer in [1, 2, 3, 64] {
            for items in [0, 1, 2, 3, 5, 64, 65, 200] {
                let mut numbers = count(&Context::background(), buffer, policy, items);
                until("the body to end", || numbers.end().is_some()).await;
                let kept = kept(buffer, policy, items);
                assert_eq!(numbers.dropped(), items - kept.len() as u64, "{policy:?}, {buffer}, {items}");
                assert_eq!(numbers.by_ref().collect::<Vec<_>>().await, kept, "{policy:?}, {buffer}, {items}");
                assert_eq!(numbers.dropped(), items - kept.len() as u64, "what is taken is not counted");
            }
        }
    }
}

/// G2, with the attribute.
#[tokio::test]
async fn the_attribute_says_it_too() {
    #[generator(buffer = 2, overflow = drop_oldest)]
    async fn latest() -> u8 {
        for n in 0..5 {
            yield_!(n);
        }
    }

    #[generator(overflow = drop_newest, buffer = items)]
    async fn first(items: usize) -> u8 {
        for n in 0..5 {
            yield_!(n + u8::from(items == 0));
        }
    }

    let (mut latest, mut first) = (latest(), first(2));
    settle().await;
    assert_eq!((latest.dropped(), first.dropped()), (3, 3));
    assert_eq!(latest.by_ref().collect::<Vec<_>>().await, [3, 4]);
    assert_eq!(first.by_ref().collect::<Vec<_>>().await, [0, 1]);
}

/// G2. Fails for a ring without the policy, where a body runs that is not `Send`.
#[tokio::test]
async fn a_local_body_drops_and_counts_alike() {
    for policy in POLICIES {
        let (kept, dropped) = LocalSet::new()
            .run_until(async move {
                let mut items = Generator::builder().buffer(3).overflow(policy).spawn_local(
                    &Context::background(),
                    |_, co| async move {
                        for n in 0..10_u64 {
                            co.yield_(Rc::new(n)).await;
                        }
                    },
                );
                until("the end", || items.end().is_some()).await;
                let mut kept = Vec::new();
                while let Some(item) = within("an item", items.next()).await {
                    kept.push(*item);
                }
                (kept, items.dropped())
            })
            .await;
        assert_eq!(kept, self::kept(3, policy, 10));
        assert_eq!(dropped, 7);
    }
}

/// G2. Fails for a thread that waits for room, and one that drops the wrong end or does not count.
#[test]
fn a_blocking_body_drops_and_counts_alike() {
    let runtime = multi_thread();
    for policy in POLICIES {
        let (done, is_done) = std::sync::mpsc::channel();
        let mut items = {
            let _inside = runtime.enter();
            Generator::builder().buffer(3).overflow(policy).spawn_blocking(
                &Context::background(),
                move |_, co| {
                    assert_eq!((0..10).try_for_each(|n: u64| co.yield_(n)), Ok(()));
                    done.send(()).unwrap();
                },
            )
        };
        patience::receive("the last yield", &is_done);
        let kept: Vec<u64> = std::iter::from_fn(|| items.blocking_next()).collect();
        assert_eq!(kept, self::kept(3, policy, 10));
        assert_eq!(items.dropped(), 7);
        assert!(matches!(items.end(), Some(End::Finished)));
    }
}

/// Fails for a thread that goes on as if it were not stopped: no yield of its own ever waits.
#[test]
fn a_blocking_body_in_a_tight_loop_is_told_to_stop() {
    let runtime = multi_thread();
    for policy in POLICIES {
        let dropped = Tally::default();
        let guard = dropped.on_drop();
        let items = {
            let _inside = runtime.enter();
            Generator::builder().buffer(1).overflow(policy).spawn_blocking(
                &Context::background(),
                move |_, co| {
                    let _guard = guard;
                    let _ = (0_u64..).try_for_each(|n| co.yield_(n));
                },
            )
        };
        let end = runtime.block_on(within("the stop", items.stop()));
        assert!(matches!(end, End::Cancelled(_)));
        assert_eq!(dropped.count(), 1);
    }
}

/// G6. Fails for an item that is dropped while the thread has something to do yet, and for one that is not counted.
#[test]
fn a_panic_of_an_item_that_a_blocking_body_drops_comes_out_of_its_yield() {
    let runtime = multi_thread();
    let mut items = {
        let _inside = runtime.enter();
        Generator::builder().buffer(1).overflow(Overflow::DropOldest).spawn_blocking(
            &Context::background(),
            |_, co| {
                co.yield_(Some(on_drop(|| panic!("the oldest")))).unwrap();
                let caught = catch_unwind(AssertUnwindSafe(|| co.yield_(None)));
                assert_eq!(*caught.unwrap_err().downcast::<&str>().unwrap(), "the oldest");
            },
        )
    };
    wait_until("the end", || items.end().is_some());
    assert!(items.blocking_next().unwrap().is_none());
    assert!(items.blocking_next().is_none());
    assert_eq!(items.dropped(), 1);
}

/// Without a policy nothing is dropped, with or without a buffer.
#[tokio::test]
async fn without_a_policy_nothing_is_dropped() {
    for buffer in [0, 1] {
        let mut numbers =
            Generator::builder().buffer(buffer).spawn(&Context::background(), |_, co| async move {
                for n in 0..10 {
                    co.yield_(n).await;
                }
            });
        settle().await;
        assert_eq!(numbers.by_ref().collect::<Vec<_>>().await, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(numbers.dropped(), 0);
    }
}

/// G2: each time that the consumer comes back, it gets what is left, in order, and the rest is counted by then.
#[tokio::test]
async fn a_consumer_that_comes_back_finds_the_gap_counted() {
    for policy in POLICIES {
        for buffer in [1, 2, 7] {
            let (send, mut receive) = mpsc::unbounded_channel::<u64>();
            let mut numbers = Generator::builder().buffer(buffer).overflow(policy).spawn(
                &Context::background(),
                |_, co| async move {
                    while let Some(n) = receive.recv().await {
                        co.yield_(n).await;
                    }
                },
            );
            let (mut yielded, mut taken) = (0, 0);
            for burst in [1, 2, 3, 7, 8, 20, 1, 0, 5] {
                for n in yielded..yielded + burst {
                    send.send(n).unwrap();
                }
                settle().await;
                let kept: Vec<_> = kept(buffer, policy, burst).iter().map(|n| yielded + n).collect();
                yielded += burst;
                for &n in &kept {
                    assert_eq!(poll_next(&mut numbers, Waker::noop()), Poll::Ready(Some(n)));
                    taken += 1;
                    if policy == Overflow::DropOldest {
                        assert_eq!(numbers.dropped() + taken, n + 1, "what came before it");
                    }
                }
                assert!(poll_next(&mut numbers, Waker::noop()).is_pending());
                assert_eq!(numbers.dropped() + taken, yielded, "{policy:?}, buffer {buffer}");
            }
        }
    }
}

/// A consumer that never comes holds nobody up.
#[tokio::test]
async fn a_stalled_consumer_holds_up_no_yield() {
    for policy in POLICIES {
        let passed = Tally::new();
        let numbers = Generator::builder().buffer(1).overflow(policy).spawn(&Context::background(), {
            let passed = passed.clone();
            |_, co| async move {
                for n in 0..20_000 {
                    co.yield_(n).await;
                    passed.tick();
                }
                pending::<()>().await;
            }
        });
        until("the body to be through", || passed.count() == 20_000).await;
        assert_eq!(numbers.dropped(), 19_999);
        assert!(numbers.end().is_none());
    }
}

/// Each item is dropped where it is to be: by the policy at its yield, by the consumer, or with the handle.
#[tokio::test]
async fn every_item_is_dropped_exactly_once() {
    for policy in POLICIES {
        let dropped = Tally::new();
        let mut guards = Generator::builder().buffer(3).overflow(policy).spawn(&Context::background(), {
            let dropped = dropped.clone();
            |_, co| async move {
                for _ in 0..10 {
                    co.yield_(dropped.on_drop()).await;
                }
                pending::<()>().await;
            }
        });
        settle().await;
        assert_eq!((dropped.count(), guards.dropped()), (7, 7));
        let taken = within("an item", guards.next()).await;
        assert_eq!(dropped.count(), 7);
        drop(taken);
        assert_eq!(dropped.count(), 8);
        drop(guards);
        assert_eq!(dropped.count(), 10, "what was left goes with the handle");
    }
}

/// Items of no size, large ones, and ones that are not `Sync`.
#[tokio::test]
async fn items_may_be_of_any_size() {
    for policy in POLICIES {
        let mut nothings = Generator::builder().buffer(1_000).overflow(policy).spawn(
            &Context::background(),
            |_, co| async move {
                for _ in 0..3_000 {
                    co.yield_(()).await;
                }
            },
        );
        until("the body to end", || nothings.end().is_some()).await;
        assert_eq!((nothings.by_ref().count().await, nothings.dropped()), (1_000, 2_000));

        let mut large = Generator::builder().buffer(2).overflow(policy).spawn(
            &Context::background(),
            |_, co| async move {
                for n in 0..5_u8 {
                    Box::pin(co.yield_(std::cell::Cell::new([n; 16_384]))).await;
                }
            },
        );
        until("the body to end", || large.end().is_some()).await;
        for n in kept(2, policy, 5) {
            assert_eq!(large.next().await.unwrap().into_inner(), [u8::try_from(n).unwrap(); 16_384]);
        }
    }
}

#[tokio::test]
async fn many_at_once_are_those_that_were_kept() {
    for policy in POLICIES {
        let mut numbers = count(&Context::background(), 7, policy, 100);
        until("the body to end", || numbers.end().is_some()).await;
        let mut items = Vec::new();
        assert_eq!(numbers.next_many(&mut items, 3).await, 3);
        assert_eq!(numbers.next_many(&mut items, 10).await, 4);
        assert_eq!(numbers.next_many(&mut items, 10).await, 0);
        assert_eq!(items, kept(7, policy, 100));
    }
}

// G1 and G5.

/// G1, G2: nothing is accepted after a cancel, and what was is there to be taken.
#[tokio::test]
async fn what_was_kept_arrives_after_a_cancel_and_nothing_more() {
    for policy in POLICIES {
        let (ctx, canceller) = Context::background().with_cancel();
        let (send, receive) = oneshot::channel::<()>();
        let (offered, went_on) = (Tally::new(), Tally::new());
        let mut numbers = Generator::builder().buffer(2).overflow(policy).spawn(&ctx, {
            let (offered, went_on) = (offered.clone(), went_on.clone());
            |_, co| async move {
                for n in 0..5 {
                    co.yield_(n).await;
                }
                // The cancel comes in the middle of this poll.
                let _ = receive.await;
                canceller.cancel();
                offered.tick();
                co.yield_(5).await;
                went_on.tick();
            }
        });
        settle().await;
        send.send(()).unwrap();
        settle().await;
        assert_eq!((offered.count(), went_on.count()), (1, 0));
        assert!(matches!(numbers.end(), Some(End::Cancelled(_))));
        assert_eq!(numbers.dropped(), 3, "what is refused is not counted");
        assert!(!numbers.is_terminated());
        assert_eq!(numbers.by_ref().collect::<Vec<_>>().await, kept(2, policy, 5));
        assert!(numbers.is_terminated());
        assert_eq!(numbers.next().await, None);
    }
}

/// G1: a body that never waits is ended in the middle of its loop.
#[test]
fn a_body_in_a_tight_loop_is_ended_by_a_cancel_a_drop_and_a_stop_from_another_thread() {
    let runtime = multi_thread();
    for policy in POLICIES {
        for round in 0..100 {
            let inside = runtime.enter();
            let (ctx, canceller) = Context::background().with_cancel();
            let (items, bodies) = (Tally::new(), Tally::new());
            let numbers = Generator::builder().buffer(4).overflow(policy).spawn(&ctx, {
                let (items, body) = (items.clone(), bodies.on_drop());
                |_, co| async move {
                    let _body = body;
                    loop {
                        co.yield_(items.on_drop()).await;
                    }
                }
            });
            drop(inside);
            wait_until("the body to be under way", || numbers.dropped() > 100);
            match round % 3 {
                0 => {
                    canceller.cancel();
                    wait_until("the end", || numbers.end().is_some());
                    let dropped = numbers.dropped();
                    assert!(matches!(numbers.end(), Some(End::Cancelled(_))));
                    assert_eq!(items.count() as u64, dropped + 1, "and the one that was refused");
                    drop(numbers);
                    assert_eq!(items.count() as u64, dropped + 5);
                }
                1 => drop(numbers),
                _ => assert!(matches!(runtime.block_on(numbers.stop()), End::Cancelled(_))),
            }
            wait_until("the body to be gone", || bodies.count() == 1);
        }
    }
}

/// G5.
#[tokio::test]
async fn a_dropped_handle_has_dropped_what_was_kept_when_it_returns() {
    for policy in POLICIES {
        let (items, bodies) = (Tally::new(), Tally::new());
        let guards = Generator::builder().buffer(4).overflow(policy).spawn(&Context::background(), {
            let (items, body) = (items.clone(), bodies.on_drop());
            |_, co| async move {
                let _body = body;
                for _ in 0..6 {
                    co.yield_(items.on_drop()).await;
                }
                pending::<()>().await;
            }
        });
        settle().await;
        assert_eq!((items.count(), bodies.count()), (2, 0));
        drop(guards);
        assert_eq!((items.count(), bodies.count()), (6, 1));
    }
}

/// G3: a policy changes nothing about the start: at once; and under a done context never.
#[tokio::test]
async fn a_body_starts_at_once_unless_its_context_is_done() {
    for policy in POLICIES {
        let mut numbers = endless(&Context::background().with_timeout(Duration::ZERO), 1, policy);
        settle().await;
        assert_eq!((numbers.next().await, numbers.dropped()), (None, 0));
        let numbers = count(&Context::background(), 1, policy, 3);
        settle().await;
        assert_eq!(numbers.dropped(), 2);
    }
}

// G4.

/// G4.
#[tokio::test]
async fn a_consumer_that_waits_is_woken_and_a_dropped_next_loses_nothing() {
    for policy in POLICIES {
        let (send, mut receive) = mpsc::unbounded_channel::<u64>();
        let mut numbers = Generator::builder().buffer(1).overflow(policy).spawn(
            &Context::background(),
            |_, co| async move {
                while let Some(n) = receive.recv().await {
                    co.yield_(n).await;
                }
            },
        );
        for n in 0..20 {
            let (heard, waker) = Wakes::new();
            {
                let mut next = std::pin::pin!(numbers.next());
                assert!(poll_once(next.as_mut(), &waker).is_pending());
            }
            send.send(n).unwrap();
            settle().await;
            assert_eq!(heard.count(), 1, "{policy:?}");
            assert_eq!(poll_next(&mut numbers, Waker::noop()), Poll::Ready(Some(n)));
        }
        assert_eq!(numbers.dropped(), 0);
    }
}

// G6.

/// G6: the items that were kept come first.
#[tokio::test]
async fn a_panic_of_the_body_comes_after_what_was_kept() {
    for policy in POLICIES {
        let mut numbers = Generator::builder().buffer(2).overflow(policy).spawn(
            &Context::background(),
            |_, co| async move {
                for n in 0..5_u64 {
                    co.yield_(n).await;
                }
                panic!("as the test wants it");
            },
        );
        settle().await;
        for n in kept(2, policy, 5) {
            assert_eq!(numbers.next().await, Some(n));
        }
        let raised = AssertUnwindSafe(numbers.next()).catch_unwind().await.unwrap_err();
        assert_eq!(*raised.downcast::<&str>().unwrap(), "as the test wants it");
        assert_eq!((numbers.next().await, numbers.dropped()), (None, 3));
    }
}

/// An item that can be told apart, and that panics when it is dropped, if it is to.
struct Fuse(u64, bool);

impl Drop for Fuse {
    fn drop(&mut self) {
        assert!(!self.1, "the destructor of item {}", self.0);
    }
}

/// G6: the destructor of what is dropped is the body's code.
#[tokio::test]
async fn a_panic_of_a_dropped_item_ends_the_body_at_its_yield() {
    for policy in POLICIES {
        let passed = Tally::new();
        let mut fuses = Generator::builder().buffer(2).overflow(policy).spawn(&Context::background(), {
            let passed = passed.clone();
            move |_, co| async move {
                // The first, or the third, is what the third yield drops.
                let bad = if policy == Overflow::DropOldest { 0 } else { 2 };
                for n in 0..10 {
                    co.yield_(Fuse(n, n == bad)).await;
                    passed.tick();
                }
            }
        });
        settle().await;
        assert_eq!((passed.count(), fuses.dropped()), (2, 1), "{policy:?}");
        for n in kept(2, policy, 3) {
            assert_eq!(fuses.next().await.unwrap().0, n, "the state is whole");
        }
        let raised = AssertUnwindSafe(fuses.next()).catch_unwind().await.err().unwrap();
        assert!(raised.downcast::<String>().unwrap().starts_with("the destructor of item"));
        assert!(fuses.next().await.is_none());
    }
}

/// A body that catches it goes on, and so do the yields that waited behind the one that it came out of.
#[tokio::test]
async fn a_panic_of_a_dropped_item_that_is_caught_harms_no_other() {
    for policy in POLICIES {
        let mut fuses = Generator::builder().buffer(1).overflow(policy).spawn(
            &Context::background(),
            move |_, co| async move {
                // A unit of the budget is good for 32 items.
                let bad = if policy == Overflow::DropOldest { 31 } else { 32 };
                for n in 0..32 {
                    co.yield_(Fuse(n, n == bad)).await;
                }
                let mut yields: Vec<_> = (32..35).map(|n| Box::pin(co.yield_(Fuse(n, n == bad)))).collect();
                // In a poll without a budget, so that all of them queue up.
                poll_fn(|cx| {
                    while let Poll::Ready(spent) = coop::poll_proceed(cx) {
                        spent.made_progress();
                    }
                    assert!(yields.iter_mut().all(|waiting| waiting.as_mut().poll(cx).is_pending()));
                    Poll::Ready(())
                })
                .await;
                tokio::task::yield_now().await;
                // The set polls the last of the queue first, and again when it is woken.
                let set: FuturesUnordered<_> =
                    yields.into_iter().rev().map(|it| AssertUnwindSafe(it).catch_unwind()).collect();
                let polled = set.map(|polled| polled.is_err()).collect::<Vec<_>>().await;
                assert_eq!(polled, [true, false, false], "the first of them, and no other");
            },
        );
        until("the body to end", || fuses.end().is_some()).await;
        assert!(matches!(fuses.end(), Some(End::Finished)), "{policy:?}: {:?}", fuses.end());
        assert_eq!(fuses.dropped(), 34);
        assert_eq!(fuses.next().await.unwrap().0, kept(1, policy, 35)[0]);
        assert!(fuses.next().await.is_none());
    }
}

// What runs where.

/// The destructor of what is dropped holds no lock of ours: it may ask, end and drop what it belongs to.
#[tokio::test]
async fn a_dropped_item_may_do_anything_to_its_generator() {
    type Kept = Arc<Mutex<Option<Generator<Option<OnDrop<Box<dyn FnMut() + Send>>>>>>>;
    for policy in POLICIES {
        for act in 0..4 {
            let kept: Kept = Arc::default();
            let (acted, bodies) = (Tally::new(), Tally::new());
            let generator = Generator::builder().buffer(1).overflow(policy).spawn(&Context::background(), {
                let (kept, acted, body) = (Arc::clone(&kept), acted.clone(), bodies.on_drop());
                |_, co| async move {
                    let _body = body;
                    for n in 0.. {
                        let (kept, acted) = (Arc::clone(&kept), acted.clone());
                        // One of each that is not dropped for want of room.
                        let item: OnDrop<Box<dyn FnMut() + Send>> = on_drop(Box::new(move || {
                            let Ok(mut its) = kept.try_lock() else { return };
                            let Some(own) = its.as_mut() else { return };
                            match act {
                                0 => assert!(own.dropped() > 0 && own.end().is_none()),
                                // Takes what is in the buffer, while a yield is at it.
                                1 => drop(poll_next(own, Waker::noop())),
                                2 => own.cancel(),
                                _ => drop(its.take()),
                            }
                            acted.tick();
                        }));
                        co.yield_(Some(item)).await;
                        if n == 100 {
                            break;
                        }
                    }
                }
            });
            *kept.lock().unwrap() = Some(generator);
            until("the body to be gone", || bodies.count() == 1).await;
            assert!(acted.count() >= 1, "{policy:?}, {act}");
            let left = kept.lock().unwrap().take();
            drop(left);
        }
    }
}

/// In the body's runtime and on its thread, so that it finds what the body finds.
#[test]
fn a_dropped_item_is_dropped_inside_the_runtime() {
    let runtime = multi_thread();
    for policy in POLICIES {
        let inside = runtime.enter();
        let (found, own) = (Tally::new(), runtime.handle().id());
        let numbers = Generator::builder().buffer(1).overflow(policy).spawn(&Context::background(), {
            let found = found.clone();
            move |_, co| async move {
                for _ in 0..3 {
                    let found = found.clone();
                    let item = on_drop(move || {
                        if tokio::runtime::Handle::try_current().is_ok_and(|current| current.id() == own) {
                            found.tick();
                        }
                    });
                    co.yield_(item).await;
                }
                pending::<()>().await;
            }
        });
        drop(inside);
        wait_until("two of them", || numbers.dropped() == 2 && found.count() == 2);
    }
}

// Several yields at a time.

#[tokio::test]
async fn joined_yields_keep_their_order() {
    for policy in POLICIES {
        for buffer in [1, 2, 5, 64] {
            let mut numbers = Generator::builder().buffer(buffer).overflow(policy).spawn(
                &Context::background(),
                |_, co| async move {
                    // Often enough for the budget to be used up in between.
                    for n in 0..10_000 {
                        tokio::join!(
                            co.yield_(n * 3),
                            async {
                                co.yield_(n * 3 + 1).await;
                            },
                            co.yield_(n * 3 + 2)
                        );
                    }
                },
            );
            until("the body to end", || numbers.end().is_some()).await;
            assert_eq!(numbers.dropped(), 30_000 - buffer as u64);
            let left = numbers.by_ref().collect::<Vec<_>>().await;
            assert_eq!(left.len(), buffer);
            // `join!` polls another one first each time; what a yield of one round has before it was yielded before.
            let rounds: Vec<_> = left.iter().map(|n| n / 3).collect();
            assert!(rounds.is_sorted(), "{policy:?}, {left:?}");
            if policy == Overflow::DropOldest {
                assert!(rounds.iter().all(|&round| round >= 10_000 - buffer as u64 / 3 - 1));
            } else {
                assert!(rounds.iter().all(|&round| round <= buffer as u64 / 3));
            }
        }
    }
}

#[tokio::test]
async fn yields_that_give_way_at_the_same_time_are_served_in_the_order_of_their_first_poll() {
    for policy in POLICIES {
        let mut numbers = Generator::builder().buffer(2).overflow(policy).spawn(
            &Context::background(),
            |_, co| async move {
                let mut yields = [0, 1, 2].map(|n| Some(Box::pin(co.yield_(n))));
                poll_fn(|cx| {
                    while let Poll::Ready(spent) = coop::poll_proceed(cx) {
                        spent.made_progress();
                    }
                    for waiting in yields.iter_mut().flatten() {
                        assert!(waiting.as_mut().poll(cx).is_pending());
                    }
                    Poll::Ready(())
                })
                .await;
                tokio::task::yield_now().await;
                poll_fn(|cx| {
                    for place in [2, 1, 0] {
                        let waits =
                            yields[place].as_mut().is_some_and(|it| it.as_mut().poll(cx).is_pending());
                        if !waits {
                            yields[place] = None;
                        }
                    }
                    if yields.iter().any(Option::is_some) { Poll::Pending } else { Poll::Ready(()) }
                })
                .await;
            },
        );
        until("the body to end", || numbers.end().is_some()).await;
        assert_eq!(numbers.by_ref().collect::<Vec<_>>().await, kept(2, policy, 3));
        assert_eq!(numbers.dropped(), 1);
    }
}

/// Foreign wakers: each yield is polled with a waker of the set's own.
#[tokio::test]
async fn yields_in_a_set_of_futures_are_all_delivered_or_counted() {
    for policy in POLICIES {
        let mut numbers = Generator::builder().buffer(7).overflow(policy).spawn(
            &Context::background(),
            |_, co| async move {
                let mut set: FuturesUnordered<_> = (0..10_000_u64).map(|n| co.yield_(n)).collect();
                while set.next().await.is_some() {}
            },
        );
        until("the body to end", || numbers.end().is_some()).await;
        assert_eq!(numbers.dropped(), 9_993);
        assert_eq!(numbers.by_ref().count().await, 7);
    }
}

// G8 and G10.

/// G10: a body in a tight loop never finds its buffer full, and gives way all the same.
#[tokio::test]
async fn a_body_in_a_tight_loop_gives_way() {
    for policy in POLICIES {
        for buffer in [1, 64, 100_000] {
            let (flag, gave_way) = (Tally::new(), Tally::new());
            let numbers =
                Generator::builder().buffer(buffer).overflow(policy).spawn(&Context::background(), {
                    let (flag, gave_way) = (flag.clone(), gave_way.clone());
                    |_, co| async move {
                        let mut n = 0;
                        while flag.count() == 0 {
                            assert!(n < 1_000_000, "never gave way");
                            co.yield_(n).await;
                            n += 1;
                        }
                        gave_way.tick();
                    }
                });
            tokio::spawn({
                let flag = flag.clone();
                async move { flag.tick() }
            });
            until("the body to see the flag", || gave_way.count() == 1).await;
            drop(numbers);
        }
    }
}

/// G10: a consumer that has no budget, and polls the body itself, gets an item. Fails for a body that goes on as long as it is let:
/// that is for ever.
#[tokio::test]
async fn a_consumer_without_a_budget_gets_its_items_from_a_body_in_a_tight_loop() {
    for policy in POLICIES {
        for buffer in [1, 2, 64] {
            let mut numbers = endless(&Context::background(), buffer, policy);
            unconstrained(async {
                for n in 0..10_000 {
                    assert_eq!(numbers.next().await, Some(n), "the consumer keeps up");
                }
            })
            .await;
            assert_eq!(numbers.dropped(), 0);
        }
    }
}

/// A yield does not wait for room, whoever polls it, and whoever polls the body: here it is polled until it is over, by a `block_on`, in
/// a body that its consumer polls.
#[tokio::test]
async fn a_yield_that_is_polled_again_at_once_goes_on() {
    for policy in POLICIES {
        let mut numbers = Generator::builder().buffer(2).overflow(policy).spawn(
            &Context::background(),
            |_, co| async move {
                for n in 0..10 {
                    futures_executor::block_on(co.yield_(n));
                }
            },
        );
        assert_eq!(numbers.by_ref().collect::<Vec<_>>().await, kept(2, policy, 10));
        assert_eq!(numbers.dropped(), 8);
    }
}

/// G10: a consumer in a tight loop beside such a body gives way.
#[tokio::test]
async fn a_consumer_in_a_tight_loop_gives_way() {
    for policy in POLICIES {
        let mut numbers = endless(&Context::background(), 16, policy);
        let flag = Tally::new();
        tokio::spawn({
            let flag = flag.clone();
            async move { flag.tick() }
        });
        let mut taken = 0;
        while flag.count() == 0 {
            assert!(taken < 1_000_000, "never gave way");
            assert!(numbers.next().await.is_some());
            taken += 1;
        }
    }
}

/// G8: from a thread, where no other drives the runtime.
#[test]
fn a_thread_takes_items_of_a_runtime_that_nobody_drives() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for policy in POLICIES {
        let inside = runtime.enter();
        let mut numbers = endless(&Context::background(), 4, policy);
        drop(inside);
        let thread =
            thread::spawn(move || (0..100).map(|_| numbers.blocking_next().unwrap()).collect::<Vec<_>>());
        let taken = thread.join().unwrap();
        assert!(taken.is_sorted_by(|a, b| a < b), "once and in order");
    }
}

// G11, G12.

/// G11.
#[test]
fn a_shutdown_ends_a_body_in_a_tight_loop() {
    for policy in POLICIES {
        let runtime = multi_thread();
        let inside = runtime.enter();
        let mut numbers = endless(&Context::background(), 4, policy);
        drop(inside);
        wait_until("the body to be under way", || numbers.dropped() > 100);
        runtime.shutdown_background();
        wait_until("the end", || numbers.end().is_some());
        assert!(matches!(numbers.end(), Some(End::Aborted)));
        let left = futures_executor::block_on(numbers.by_ref().collect::<Vec<_>>());
        assert_eq!(left.len(), 4, "what was kept, and then the end");
    }
}

/// A policy without a buffer, whatever it was computed from.
#[tokio::test]
async fn a_policy_without_a_buffer_panics_at_the_callers_line_and_says_what_to_do() {
    #[generator(buffer = items, overflow = drop_oldest)]
    async fn numbers(items: usize) -> usize {
        yield_!(items);
    }

    let line = Arc::new(Mutex::new(None));
    let old = std::panic::take_hook();
    std::panic::set_hook(Box::new({
        let line = Arc::clone(&line);
        move |info| *line.lock().unwrap() = info.location().map(|at| (at.file().to_owned(), at.line()))
    }));
    let (by_hand, by_hand_line) = (
        catch_unwind(|| {
            Generator::builder()
                .overflow(Overflow::DropNewest)
                .name("meter")
                .spawn::<u8, _, _>(&Context::background(), |_, _| async {})
        }),
        line.lock().unwrap().take(),
    );
    let (by_attribute, expected) = (catch_unwind(|| numbers(0)), line!());
    let attribute_line = line.lock().unwrap().take();
    std::panic::set_hook(old);
    for (caught, name) in [(by_hand.map(drop), "meter"), (by_attribute.map(drop), "numbers")] {
        let message = *caught.unwrap_err().downcast::<String>().unwrap();
        assert!(message.contains(&format!("`{name}`")), "{message}");
        assert!(message.contains(".buffer(items)") && message.contains("remove"), "{message}");
    }
    assert!(by_hand_line.unwrap().0.ends_with("generator_overflow.rs"));
    let (file, line) = attribute_line.unwrap();
    assert!(file.ends_with("generator_overflow.rs"));
    assert_eq!(line, expected);
}

// By chance.

/// Each item is delivered once, or counted once, and dropped once, whatever the two threads are at. The consumer is a task, which may
/// run the body itself, or a thread, which may not.
#[test]
fn in_a_storm_every_item_is_delivered_or_counted() {
    const ITEMS: u64 = 30_000;
    let runtime = multi_thread();
    for policy in POLICIES {
        for (buffer, many) in [(1, 1), (2, 5), (3, 1), (64, 5)] {
            for is_task in [true, false] {
                let inside = runtime.enter();
                let drops = Tally::new();
                let items =
                    Generator::builder().buffer(buffer).overflow(policy).spawn(&Context::background(), {
                        let drops = drops.clone();
                        |_, co| async move {
                            for n in 0..ITEMS {
                                co.yield_((n, drops.on_drop())).await;
                                if n % 1_000 == 999 {
                                    tokio::task::yield_now().await;
                                }
                            }
                        }
                    });
                drop(inside);
                let consumer = take_all(items, policy, many);
                let (mut taken, dropped) = if is_task {
                    let task = runtime.spawn(consumer);
                    runtime.block_on(within("the consumer", task)).unwrap()
                } else {
                    futures_executor::block_on(consumer)
                };
                assert_eq!(taken.len() as u64 + dropped, ITEMS, "{policy:?}, buffer {buffer}");
                assert_eq!(drops.count() as u64, ITEMS);
                assert!(taken.is_sorted_by(|a, b| a < b), "once and in order");
                if policy == Overflow::DropOldest {
                    assert_eq!(taken.pop(), Some(ITEMS - 1), "the last one is never dropped");
                } else {
                    assert_eq!(taken.first(), Some(&0), "the first one is never dropped");
                }
            }
        }
    }
}

/// What arrives, and how many were dropped.
async fn take_all<G>(mut items: Generator<(u64, G)>, policy: Overflow, many: usize) -> (Vec<u64>, u64) {
    let (mut taken, mut some) = (Vec::new(), Vec::new());
    while items.next_many(&mut some, many).await > 0 {
        if policy == Overflow::DropOldest {
            let (first, _) = some[0];
            let before = items.dropped() + taken.len() as u64;
            assert!(before >= first, "all that were dropped before {first} are counted");
        }
        taken.extend(some.drain(..).map(|(n, _guard)| n));
    }
    (taken, items.dropped())
}

/// The same where the consumer goes away in the middle.
#[test]
fn in_a_storm_that_is_stopped_every_item_is_dropped_once() {
    let runtime = multi_thread();
    for policy in POLICIES {
        for round in 0..200 {
            let (made, drops) = (Tally::new(), Tally::new());
            let inside = runtime.enter();
            let mut items =
                Generator::builder().buffer(1 + round % 3).overflow(policy).spawn(&Context::background(), {
                    let (made, drops) = (made.clone(), drops.clone());
                    |_, co| async move {
                        loop {
                            made.tick();
                            co.yield_(drops.on_drop()).await;
                        }
                    }
                });
            drop(inside);
            for _ in 0..round {
                drop(futures_executor::block_on(items.next()));
            }
            drop(items);
            wait_until("every item to be dropped", || made.count() == drops.count());
        }
    }
}
