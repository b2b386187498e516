//! G1, G5, G11 for generators that have no task yet: what their runtime's keeper does for them.

#![allow(dead_code, reason = "of the shared modules each file takes what it needs")]

mod by_hand;
mod patience;
mod witness;

use by_hand::{Wakes, poll_next};
use ctx_runtime::{Context, End, Generator, Yielder};
use patience::{receive, settle, until, wait_until, within};
use std::future::pending;
use std::sync::{Arc, Barrier, mpsc};
use std::task::Poll;
use std::thread;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::Notify;
use witness::{Tally, on_drop};

fn current_thread() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn multi_thread() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn alive_tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

/// Counts up for ever, and ticks off its end.
fn counting(ctx: &Context, dropped: &Tally) -> Generator<u32> {
    let guard = dropped.on_drop();
    Generator::builder().spawn(ctx, |_, co| async move {
        let _guard = guard;
        for n in 0.. {
            co.yield_(n).await;
        }
    })
}

/// As many as one likes cost one task, which goes with the last of them.
#[tokio::test]
async fn bodies_that_wait_for_nothing_of_their_own_have_no_task() {
    let (ctx, _keep) = Context::background().with_cancel();
    let dropped = Tally::new();
    let mut resting: Vec<_> = (0..1000).map(|_| counting(&ctx, &dropped)).collect();
    for round in 0..3 {
        for generator in &mut resting {
            assert_eq!(generator.next().await, Some(round));
        }
        settle().await;
        assert_eq!(alive_tasks(), 1);
    }
    drop(resting);
    assert_eq!(dropped.count(), 1000);
    until("the keeper's task to be gone", || alive_tasks() == 0).await;
    // And another one comes after it.
    assert_eq!(counting(&ctx, &dropped).next().await, Some(0));
    until("the next one's to be gone", || alive_tasks() == 0).await;
}

/// A body that was woken has a task from then on, and moves on in it though nobody asks.
#[tokio::test]
async fn a_body_that_is_woken_gets_a_task_of_its_own() {
    let (event, passed) = (Arc::new(Notify::new()), Tally::new());
    let (awaited, ticks) = (Arc::clone(&event), passed.clone());
    let mut generator = Generator::builder().spawn(&Context::background(), |_, co| async move {
        co.yield_(0).await;
        for n in 1.. {
            awaited.notified().await;
            ticks.tick();
            co.yield_(n).await;
        }
    });
    assert_eq!(generator.next().await, Some(0));
    for n in 1..10_u32 {
        // The request stands, and nobody polls the handle while the body goes on.
        assert!(poll_next(&mut generator, &Wakes::new().1).is_pending());
        event.notify_one();
        until("the body to go on", || passed.count() == n as usize).await;
        assert_eq!(alive_tasks(), 2);
        assert_eq!(generator.next().await, Some(n));
    }
    drop(generator);
    until("both tasks to be gone", || alive_tasks() == 0).await;
}

/// G1: they end with their context, in their own runtime, not on the canceller's thread, however many there are.
#[test]
fn a_cancel_ends_those_that_nobody_asks() {
    for make in [current_thread, multi_thread] {
        let runtime = make();
        let (ctx, canceller) = Context::background().with_cancel();
        let (dropped, inside) = (Tally::new(), Tally::new());
        let generators: Vec<_> = runtime.block_on(async {
            let mut generators = Vec::new();
            for _ in 0..200 {
                let (dropped, inside, home) = (dropped.clone(), inside.clone(), Handle::current().id());
                let guard = on_drop(move || {
                    dropped.tick();
                    if Handle::try_current().is_ok_and(|here| here.id() == home) {
                        inside.tick();
                    }
                });
                let mut generator = Generator::builder().spawn(&ctx, |_, co| async move {
                    let _guard = guard;
                    co.yield_(1).await;
                });
                assert_eq!(generator.next().await, Some(1));
                generators.push(generator);
            }
            generators
        });
        // From a thread that is in no runtime.
        thread::scope(|scope| {
            scope.spawn(|| canceller.cancel());
        });
        runtime.block_on(within("all to end", canceller.cancel_and_wait()));
        assert_eq!((dropped.count(), inside.count()), (200, 200));
        assert!(generators.iter().all(|generator| matches!(generator.end(), Some(End::Cancelled(_)))));
        runtime.block_on(until("every task to be gone", || alive_tasks() == 0));
    }
}

/// A destructor that holds up its thread keeps no other body from its end, while the runtime has another thread.
#[test]
fn a_destructor_that_waits_holds_up_no_other() {
    let runtime = multi_thread();
    let (ctx, canceller) = Context::background().with_cancel();
    // Each waits for the other: they can only go together.
    let together = Arc::new(Barrier::new(2));
    let (send, gone) = mpsc::channel();
    let generators: Vec<_> = (0..2)
        .map(|_| {
            let (together, send) = (Arc::clone(&together), send.clone());
            let guard = on_drop(move || {
                together.wait();
                send.send(()).unwrap();
            });
            runtime.block_on(async {
                let mut generator = Generator::builder().spawn(&ctx, |_, co: Yielder<u8>| async move {
                    let _guard = guard;
                    co.yield_(1).await;
                });
                assert_eq!(generator.next().await, Some(1));
                generator
            })
        })
        .collect();
    canceller.cancel();
    for _ in 0..2 {
        receive("both destructors to end", &gone);
    }
    drop(generators);
}

/// G11: the shutdown finds them wherever they are in the tree.
#[test]
fn a_shutdown_ends_those_that_rest_anywhere_in_the_tree() {
    for make in [current_thread, multi_thread] {
        let (runtime, other) = (make(), make());
        let dropped = Tally::new();
        let (root, _keep) = Context::background().with_cancel();
        let (child, _keep_child) = root.with_cancel();
        let (beside, _keep_beside) = Context::background().with_cancel();
        let places = [
            Context::background(),
            root.clone(),
            child.with_value(1_u8),
            child.without_cancel(),
            child.merge(&beside),
        ];
        let start = |runtime: &Runtime, dropped: &Tally| {
            runtime.block_on(async {
                let mut all = Vec::new();
                for place in &places {
                    let mut outer = counting(place, dropped);
                    assert_eq!(outer.next().await, Some(0));
                    // Below a generator's own context, too; and one that was never asked.
                    all.push(counting(outer.context(), dropped));
                    all.push(outer);
                }
                all
            })
        };
        let ended = start(&runtime, &dropped);
        let others = Tally::new();
        let live = start(&other, &others);
        drop(runtime);
        assert_eq!(dropped.count(), 10);
        assert!(
            ended.iter().all(|generator| matches!(generator.end(), Some(End::Aborted | End::Cancelled(_))))
        );
        // Those of another runtime have nothing to do with it.
        assert_eq!(others.count(), 0);
        assert!(live.iter().all(|generator| generator.end().is_none()));
    }
}

/// G11: one that starts while its runtime goes away ends too: before it is found, or by being found.
#[test]
fn a_start_that_races_with_the_shutdown_ends() {
    for _ in 0..100 {
        let runtime = multi_thread();
        let (ctx, _keep) = Context::background().with_cancel();
        let dropped = Tally::new();
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (handle, ctx, dropped) = (runtime.handle().clone(), ctx.clone(), dropped.clone());
                thread::spawn(move || {
                    let _inside = handle.enter();
                    (0..50).map(|_| counting(&ctx, &dropped)).collect::<Vec<_>>()
                })
            })
            .collect();
        drop(runtime);
        let generators: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(dropped.count(), 100);
        assert!(generators.iter().all(|generator| matches!(generator.end(), Some(End::Aborted))));
    }
}

/// G11, where the queue is full when the runtime goes away: what was called for is not lost.
#[test]
fn a_shutdown_ends_what_was_cancelled_and_not_seen_to() {
    let runtime = current_thread();
    let (ctx, canceller) = Context::background().with_cancel();
    let dropped = Tally::new();
    let generators: Vec<_> = runtime.block_on(async {
        let mut generators = Vec::new();
        for _ in 0..100 {
            let mut generator = counting(&ctx, &dropped);
            assert_eq!(generator.next().await, Some(0));
            generators.push(generator);
        }
        generators
    });
    // Nobody runs the runtime, so nobody serves.
    canceller.cancel();
    assert_eq!(dropped.count(), 0);
    drop(runtime);
    assert_eq!(dropped.count(), 100);
    assert!(generators.iter().all(|generator| matches!(generator.end(), Some(End::Cancelled(_)))));
}

/// A consumer that may not run the body has it run by a task that was not there before.
#[test]
fn the_first_item_may_be_asked_for_from_anywhere() {
    for make in [current_thread, multi_thread] {
        let (runtime, elsewhere) = (make(), make());
        let mut generator = runtime.block_on(async { counting(&Context::background(), &Tally::new()) });
        let driving = thread::spawn({
            let handle = runtime.handle().clone();
            let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
            move || {
                thread::spawn(move || {
                    for n in 0..3 {
                        assert_eq!(elsewhere.block_on(within("an item", generator.next())), Some(n));
                    }
                    drop(stop);
                });
                // A current-thread runtime runs its tasks only while somebody blocks on it.
                let _ = handle.block_on(stopped);
            }
        });
        runtime.block_on(async { until("the items to be taken", || driving.is_finished()).await });
        driving.join().unwrap();
    }
}

/// A waker that is kept for ever does not keep the keeper's task.
#[tokio::test]
async fn a_waker_that_is_kept_keeps_no_task() {
    let (send, mut wakers) = tokio::sync::mpsc::unbounded_channel();
    let mut generator = Generator::builder().spawn(&Context::background(), |_, co| async move {
        let waker = std::future::poll_fn(|cx| std::task::Poll::Ready(cx.waker().clone())).await;
        send.send(waker).unwrap();
        co.yield_(1).await;
        pending::<()>().await;
    });
    assert_eq!(generator.next().await, Some(1));
    let waker = wakers.recv().await.unwrap();
    drop(generator);
    until("every task to be gone", || alive_tasks() == 0).await;
    waker.wake();
    settle().await;
    assert_eq!(alive_tasks(), 0);
}

/// Runtimes come and go by the thousand; none leaves its keeper behind (nor finds another's).
#[test]
fn each_runtime_has_its_own() {
    let dropped = Tally::new();
    for n in 0..200 {
        let runtime = current_thread();
        let mut generator = runtime.block_on(async {
            let mut generator = counting(&Context::background(), &dropped);
            assert_eq!(generator.next().await, Some(0));
            generator
        });
        drop(runtime);
        assert_eq!(dropped.count(), n + 1);
        assert!(matches!(generator.end(), Some(End::Aborted)));
        wait_until("the end", || poll_next(&mut generator, &Wakes::new().1).is_ready());
    }
}

/// G11, whatever is let go of on the way: here the queue has the last reference to one whose cause's destructor panics.
#[test]
fn a_destructor_that_panics_at_the_shutdown_keeps_no_other_from_its_end() {
    #[derive(Debug)]
    struct Hostile;

    impl std::fmt::Display for Hostile {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("hostile")
        }
    }

    impl std::error::Error for Hostile {}

    impl Drop for Hostile {
        fn drop(&mut self) {
            panic!("as the test wants it");
        }
    }

    let runtime = current_thread();
    let dropped = Tally::new();
    let (ctx, canceller) = Context::background().with_cancel();
    let mut generators: Vec<_> = {
        let _inside = runtime.enter();
        let roots = [&ctx, &ctx, &Context::background(), &Context::background()];
        roots.into_iter().map(|ctx| counting(ctx, &dropped)).collect()
    };
    for generator in &mut generators {
        assert_eq!(runtime.block_on(generator.next()), Some(0));
    }
    // Nobody sees to the queue meanwhile.
    canceller.cancel_with(Hostile);
    let left = generators.split_off(2);
    for mut generator in generators {
        assert_eq!(poll_next(&mut generator, &Wakes::new().1), Poll::Ready(None));
    }
    drop((ctx, canceller));
    drop(runtime);
    assert_eq!(dropped.count(), 4);
    assert!(left.iter().all(|generator| matches!(generator.end(), Some(End::Aborted))));
}
