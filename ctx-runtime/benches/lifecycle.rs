//! What a generator costs besides its items: to start and to end, one by one and all at once.

use crate::consumers::{Place, taken};
use crate::items::root;
use crate::measure::since;
use crate::producers;
use crate::row::{Goal, Peer, Row};
use crate::sources::Numbers;
use ctx_runtime::Context;
use std::time::Instant;
use tokio_util::sync::CancellationToken;

const ITEMS: usize = 5;

const MANY: usize = 100_000;

pub(crate) fn rows() -> Vec<Row> {
    vec![
        one("start, 5 items, cancel, ended", Place::Task, "lifecycle")
            .in_chart("a whole life: start, 5 items, cancel, ended"),
        one("the same on a current-thread runtime", Place::CurrentThread, "lifecycle_one_core"),
        one("the same in `block_on`", Place::BlockOn, "lifecycle"),
        below_a_context_of_its_own(),
        many(),
    ]
}

fn one(what: &'static str, place: Place, in_go: &'static str) -> Row {
    Row::new(what)
        .by(Peer::Ctx, move |times| {
            place.run(async move {
                let (parent, _keep) = root();
                let start = Instant::now();
                for _ in 0..times {
                    let mut numbers = producers::ctx(&parent, 0, Numbers::default());
                    for _ in 0..ITEMS {
                        taken(&mut numbers).await;
                    }
                    numbers.stop().await;
                }
                since(start)
            })
        })
        .by(Peer::ByHand, move |times| place.run(by_hand(times)))
        .by_go(in_go)
        .goal(Goal::AtMostTimes(0.33, Peer::Go))
        .goal(Goal::AtMostTimes(0.25, Peer::Go))
}

fn below_a_context_of_its_own() -> Row {
    Row::new("the same in a task, ctx with a context of its own, cancelled and waited for")
        .by(Peer::Ctx, |times| {
            Place::Task.run(async move {
                let (parent, _keep) = root();
                let start = Instant::now();
                for _ in 0..times {
                    let (ctx, canceller) = parent.with_cancel();
                    let mut numbers = producers::ctx(&ctx, 0, Numbers::default());
                    for _ in 0..ITEMS {
                        taken(&mut numbers).await;
                    }
                    canceller.cancel_and_wait().await;
                }
                since(start)
            })
        })
        .by(Peer::ByHand, |times| Place::Task.run(by_hand(times)))
        .by_go("lifecycle")
}

async fn by_hand(times: u64) -> f64 {
    let parent = CancellationToken::new();
    let start = Instant::now();
    for _ in 0..times {
        let token = parent.child_token();
        let (mut numbers, task) = producers::by_hand_joined(&token, 0, Numbers::default());
        for _ in 0..ITEMS {
            taken(&mut numbers).await;
        }
        token.cancel();
        task.await.expect("the task does not panic");
    }
    since(start)
}

fn many() -> Row {
    Row::new("cancel of 100,000 generators, until the last has ended")
        .batch(1)
        .of_many()
        .by(Peer::Ctx, |_| Place::Task.run(cancel_many(MANY)))
        .by(Peer::ByHand, |_| {
            Place::Task.run(async {
                let token = CancellationToken::new();
                let mut all = Vec::with_capacity(MANY);
                let mut tasks = Vec::with_capacity(MANY);
                for _ in 0..MANY {
                    let (mut numbers, task) = producers::by_hand_joined(&token, 0, Numbers::default());
                    taken(&mut numbers).await;
                    all.push(numbers);
                    tasks.push(task);
                }
                let start = Instant::now();
                token.cancel();
                for task in tasks {
                    task.await.expect("the task does not panic");
                }
                since(start)
            })
        })
        .by_go("cancel_generators")
        .goal(Goal::AtMostTimes(0.5, Peer::ByHand))
}

/// How long it takes to cancel so many generators that rest, until the last has ended.
pub(crate) async fn cancel_many(count: usize) -> f64 {
    let (ctx, canceller) = Context::background().with_cancel();
    let mut all = Vec::with_capacity(count);
    for _ in 0..count {
        let mut numbers = producers::ctx(&ctx, 0, Numbers::default());
        taken(&mut numbers).await;
        all.push(numbers);
    }
    let start = Instant::now();
    canceller.cancel_and_wait().await;
    since(start)
}
