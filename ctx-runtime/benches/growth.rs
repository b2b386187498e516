//! What becomes of the costs where there is more of everything: each beside the same of little.

use crate::consumers::{Place, taken, taking};
use crate::items::root;
use crate::lifecycle::cancel_many;
use crate::measure::since;
use crate::producers;
use crate::row::{Goal, Peer, Row, Table};
use crate::sources::{Numbers, Stage};
use ctx_runtime::{Context, Generator};
use std::time::Instant;

const FEW: usize = 10_000;
const MANY: usize = 100_000;

/// How many generators each ask the one before them.
///
/// Past the bound on nested polls, where the drivers take over: a chain that stays below it costs some 30 ns a level.
const SHALLOW: u64 = 100;
const DEEP: u64 = 1000;
const DEEPEST: u64 = 10_000;

pub(crate) fn table() -> Table {
    Table {
        title: "What grows",
        peers: vec![Peer::Ctx, Peer::Small],
        ratios: vec![Peer::Small],
        rows: vec![
            among_many(),
            in_turn(),
            cancelled(),
            nested("an item through a chain of 1000, each level", DEEP),
            nested("an item through a chain of 10,000, each level", DEEPEST),
        ],
    }
}

/// So many at rest after an item.
async fn at_rest(parent: &Context, count: usize) -> Vec<Generator<u64>> {
    let mut all = Vec::with_capacity(count);
    for _ in 0..count {
        let mut numbers = producers::ctx(parent, 0, Numbers::default());
        taken(&mut numbers).await;
        all.push(numbers);
    }
    all
}

async fn alone(times: u64) -> f64 {
    let (parent, _keep) = root();
    taking(producers::ctx(&parent, 0, Numbers::default()), times).await
}

fn among_many() -> Row {
    Row::new("an item of one generator, with 100,000 others alive")
        .batch(100_000)
        .of_many()
        .by(Peer::Ctx, |times| {
            Place::Task.run(async move {
                let (parent, _keep) = root();
                let _others = at_rest(&parent, MANY).await;
                taking(producers::ctx(&parent, 0, Numbers::default()), times).await
            })
        })
        .by(Peer::Small, |times| Place::Task.run(alone(times)))
        .note("alone")
        .goal(Goal::AtMostTimes(1.25, Peer::Small))
}

fn in_turn() -> Row {
    Row::new("an item, in turn of each of 100,000 generators")
        .batch(100_000)
        .of_many()
        .by(Peer::Ctx, |times| {
            Place::Task.run(async move {
                let (parent, _keep) = root();
                let count = usize::try_from(times).expect("fits in memory");
                let mut all = at_rest(&parent, count).await;
                let start = Instant::now();
                for numbers in &mut all {
                    taken(numbers).await;
                }
                since(start)
            })
        })
        .by(Peer::Small, |times| Place::Task.run(alone(times)))
        .note("of one")
        .goal(Goal::AtMostTimes(2.0, Peer::Small))
}

fn cancelled() -> Row {
    Row::new("cancel of 100,000 generators, until the last has ended, each")
        .batch(1)
        .of_many()
        .by(Peer::Ctx, |_| Place::Task.run(cancel_many(MANY)) / MANY as f64)
        .by(Peer::Small, |_| Place::Task.run(cancel_many(FEW)) / FEW as f64)
        .note("of 10,000")
        .goal(Goal::AtMostTimes(1.5, Peer::Small))
}

fn nested(what: &'static str, depth: u64) -> Row {
    Row::new(what)
        .by(Peer::Ctx, move |times| Place::Task.run(through(depth, times)))
        .by(Peer::Small, |times| Place::Task.run(through(SHALLOW, times)))
        .note("of 100")
        .goal(Goal::AtMostTimes(1.5, Peer::Small))
}

/// What so many steps from one level to the next take, of items that come through a chain.
async fn through(depth: u64, times: u64) -> f64 {
    let (parent, _keep) = root();
    let mut chain = producers::ctx(&parent, 0, Numbers::default());
    for _ in 1..depth {
        chain = producers::ctx(&parent, 0, Stage(chain));
    }
    let items = times.div_ceil(depth);
    taking(chain, items).await * times as f64 / (items * depth) as f64
}
