//! G10: a consumer in a tight loop, and a body in a tight loop, give way to other tasks of a single-threaded runtime. Each loop here
//! ends only by what another task does; one that does not give way counts up to a number that it must not reach.

#![allow(dead_code, reason = "of the shared modules each file takes what it needs")]

mod by_hand;
mod patience;
mod witness;

use ctx_runtime::{Context, Generator};
use futures_util::FutureExt;
use patience::{settle, until, within};
use std::sync::{Arc, Mutex};
use tokio::sync::oneshot;
use tokio::task::coop::unconstrained;
use witness::Tally;

/// As many rounds as a loop may take until another task has had its turn: far more than a budget is good for.
const ROUNDS: u64 = 1_000_000;

/// Counts up, and never waits.
fn count(ctx: &Context, buffer: usize) -> Generator<u64> {
    Generator::builder().buffer(buffer).spawn(ctx, |_, co| async move {
        for n in 0.. {
            co.yield_(n).await;
        }
    })
}

/// G10.
#[tokio::test]
async fn a_consumer_of_a_ready_body_gives_way_to_a_task_that_sets_a_flag() {
    for buffer in [0, 1, 2, 64, 4096] {
        let mut numbers = count(&Context::background(), buffer);
        let flag = Tally::new();
        let set = flag.clone();
        let task = tokio::spawn(async move { set.tick() });
        let mut expected = 0;
        while flag.count() == 0 {
            assert!(expected < ROUNDS, "buffer {buffer}: never gave way");
            assert_eq!(numbers.next().await, Some(expected));
            expected += 1;
        }
        task.await.unwrap();
    }
}

/// G10, in a task, and ended by a cancel.
#[tokio::test]
async fn a_consumer_of_a_ready_body_gives_way_to_a_task_that_cancels() {
    for buffer in [0, 1, 2, 64, 4096] {
        let (ctx, canceller) = Context::background().with_cancel();
        let mut numbers = count(&ctx, buffer);
        let consumer = tokio::spawn(async move {
            let mut taken = 0;
            while numbers.next().await.is_some() {
                taken += 1;
                assert!(taken < ROUNDS, "buffer {buffer}: never gave way");
            }
        });
        tokio::spawn(async move { canceller.cancel() }).await.unwrap();
        within("the consumer", consumer).await.unwrap();
    }
}

/// G10: a request for many is no way round it.
#[tokio::test]
async fn a_consumer_that_takes_many_at_once_gives_way() {
    for buffer in [0, 1, 64] {
        for limit in [1, 3, 1000] {
            let (ctx, canceller) = Context::background().with_cancel();
            let mut numbers = count(&ctx, buffer);
            let task = tokio::spawn(async move { canceller.cancel() });
            let mut items = Vec::new();
            while numbers.next_many(&mut items, limit).await > 0 {
                assert!((items.len() as u64) < ROUNDS, "buffer {buffer}: never gave way");
            }
            assert!(items.iter().copied().eq(0..items.len() as u64), "once and in order");
            task.await.unwrap();
        }
    }
}

/// G10: nor is a generator that has ended, of which one asks for the end again and again.
#[tokio::test]
async fn a_consumer_that_asks_on_after_the_end_gives_way() {
    for buffer in [0, 1] {
        let mut ended =
            Generator::builder().buffer(buffer).spawn::<u8, _, _>(&Context::background(), |_, _| async {});
        until("the body to end", || ended.next().now_or_never() == Some(None)).await;
        let flag = Tally::new();
        let set = flag.clone();
        let task = tokio::spawn(async move { set.tick() });
        let mut asked = 0;
        while flag.count() == 0 {
            assert!(asked < ROUNDS, "never gave way");
            assert_eq!(ended.next().await, None);
            asked += 1;
        }
        task.await.unwrap();
    }
}

/// G10: a chain of generators gives way like one.
#[tokio::test]
async fn a_consumer_of_a_pipeline_gives_way() {
    for buffer in [0, 2] {
        let (ctx, canceller) = Context::background().with_cancel();
        let mut stage = count(&ctx, buffer);
        for _ in 0..3 {
            stage = Generator::builder().buffer(buffer).spawn(&ctx, |_, co| async move {
                while let Some(n) = stage.next().await {
                    co.yield_(n).await;
                }
            });
        }
        let task = tokio::spawn(async move { canceller.cancel() });
        let mut taken = 0;
        while stage.next().await.is_some() {
            taken += 1;
            assert!(taken < ROUNDS, "never gave way");
        }
        task.await.unwrap();
    }
}

/// G10: a body whose items are taken as fast as it makes them never finds its buffer full. Here it takes them itself, and without
/// a budget, so that no other but its yields' own can stop it.
#[tokio::test]
async fn a_buffered_body_in_a_tight_loop_gives_way() {
    for buffer in [1, 2, 64] {
        let (send, own) = oneshot::channel::<Generator<u64>>();
        let (flag, gave_way) = (Tally::new(), Tally::new());
        let body = {
            let (flag, gave_way) = (flag.clone(), gave_way.clone());
            Generator::builder().buffer(buffer).spawn(&Context::background(), |_, co| async move {
                let mut own: Generator<u64> = own.await.unwrap();
                let mut n = 0;
                while flag.count() == 0 {
                    assert!(n < ROUNDS, "never gave way");
                    co.yield_(n).await;
                    assert_eq!(unconstrained(own.next()).now_or_never(), Some(Some(n)));
                    n += 1;
                }
                gave_way.tick();
            })
        };
        send.send(body).unwrap();
        settle_one(&flag).await;
        until("the body to see the flag", || gave_way.count() == 1).await;
    }
}

/// Sets `flag` in a task of its own, behind whatever is to run already.
async fn settle_one(flag: &Tally) {
    let flag = flag.clone();
    tokio::spawn(async move { flag.tick() }).await.unwrap();
}

/// G10: what a body gives way to may be the cancel that ends it.
#[tokio::test]
async fn a_buffered_body_in_a_tight_loop_is_ended_by_a_cancel() {
    let (ctx, canceller) = Context::background().with_cancel();
    let kept: Arc<Mutex<Option<Generator<u64>>>> = Arc::default();
    let dropped = Tally::new();
    let body = {
        let (kept, guard) = (Arc::clone(&kept), dropped.on_drop());
        Generator::builder().buffer(8).spawn(&ctx, |_, co| async move {
            let _guard = guard;
            for n in 0.. {
                assert!(n < ROUNDS, "never gave way");
                co.yield_(n).await;
                if let Some(own) = kept.lock().unwrap().as_mut() {
                    let _ = unconstrained(own.next()).now_or_never();
                }
            }
        })
    };
    *kept.lock().unwrap() = Some(body);
    tokio::spawn(async move { canceller.cancel() }).await.unwrap();
    until("the body to be gone", || dropped.count() == 1).await;
    settle().await;
    let own = kept.lock().unwrap().take();
    assert!(matches!(own.as_ref().and_then(Generator::end), Some(ctx_runtime::End::Cancelled(_))));
}
