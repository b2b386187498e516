//! What an item costs that the body has ready.

use crate::consumers::{Place, taking, taking_blocked};
use crate::producers;
use crate::row::{Goal, Peer, Row, Table};
use crate::sources::Numbers;
use ctx_runtime::{Canceller, Context, Overflow};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Far enough not to pass while it is measured.
const FAR: Duration = Duration::from_hours(1);

pub(crate) fn tables() -> Vec<Table> {
    vec![handed_over(), in_consumer(), buffered(), lossy(), on_threads(), cancellable(), rounds()]
}

pub(crate) fn root() -> (Context, Canceller) {
    Context::background().with_cancel()
}

fn handed_over() -> Table {
    Table {
        title: "Items that the body has ready, `buffer = 0`",
        peers: vec![
            Peer::Ctx,
            Peer::ByHand,
            Peer::Go,
            Peer::Kanal,
            Peer::KanalAlone,
            Peer::AsyncStream,
            Peer::AsynkStrim,
            Peer::Unfold,
        ],
        ratios: vec![Peer::ByHand, Peer::Go, Peer::AsyncStream],
        rows: vec![
            unbuffered("an item, consumer in a task", Place::Task, "items_0")
                .in_chart("an item that the body has ready"),
            unbuffered("an item, on a current-thread runtime", Place::CurrentThread, "items_0_one_core"),
            unbuffered("an item, consumer in `block_on`", Place::BlockOn, "items_0"),
        ],
    }
}

fn in_consumer() -> Table {
    Table {
        title: "Items of a body that runs in its consumer: `inline`",
        peers: vec![Peer::Ctx, Peer::AsyncStream, Peer::AsynkStrim, Peer::Unfold],
        ratios: vec![Peer::AsyncStream, Peer::AsynkStrim, Peer::Unfold],
        rows: vec![
            inline("an item, `inline`, consumer in a task", Place::Task, root),
            inline("an item, `inline`, consumer in `block_on`", Place::BlockOn, root),
            inline("an item, `inline`, below a `with_timeout(1 h)`", Place::Task, under_deadline),
        ],
    }
}

fn inline(what: &'static str, place: Place, parent: fn() -> (Context, Canceller)) -> Row {
    in_consumers(Row::new(what), place)
        .by(Peer::Ctx, move |times| {
            place.run(async move {
                let (parent, _keep) = parent();
                taking(producers::ctx_inline(&parent, Numbers::default()), times).await
            })
        })
        .goal(Goal::AtMostTimes(1.0, Peer::AsynkStrim))
        .goal(Goal::AtMostTimes(2.0, Peer::Unfold))
}

fn unbuffered(what: &'static str, place: Place, in_go: &'static str) -> Row {
    in_consumers(spawned(what, place, 0, in_go), place)
        .goal(Goal::TimesFaster(15.0, Peer::Go))
        .and_goal(Goal::TimesFaster(12.0, Peer::ByHand))
        .and_goal(Goal::AtMostTimes(1.5, Peer::AsyncStream))
        .goal(Goal::AtMostTimes(1.0, Peer::AsyncStream))
}

/// By those who have none.
fn in_consumers(row: Row, place: Place) -> Row {
    row.by(Peer::AsyncStream, move |times| {
        place.run(async move {
            let token = CancellationToken::new();
            taking(producers::async_stream(&token, Numbers::default()), times).await
        })
    })
    .by(Peer::AsynkStrim, move |times| {
        place.run(async move { taking(producers::asynk_strim(Numbers::default()), times).await })
    })
    .by(Peer::Unfold, move |times| {
        place.run(async move { taking(producers::unfold(Numbers::default()), times).await })
    })
}

fn buffered() -> Table {
    Table {
        title: "Items that the body has ready, with a buffer",
        peers: vec![
            Peer::Ctx,
            Peer::ByHand,
            Peer::Go,
            Peer::Kanal,
            Peer::KanalAlone,
            Peer::Flume,
            Peer::AsyncChannel,
        ],
        ratios: vec![Peer::ByHand, Peer::Go, Peer::KanalAlone],
        rows: vec![
            with_buffer("an item, `buffer = 1`", Place::Task, 1, "items_1"),
            with_buffer("an item, `buffer = 64`", Place::Task, 64, "items_64")
                .in_chart("the same with a buffer of 64"),
            with_buffer(
                "an item, `buffer = 64`, on a current-thread runtime",
                Place::CurrentThread,
                64,
                "items_64_one_core",
            ),
            with_buffer("an item, `buffer = 1024`", Place::Task, 1024, "items_1024"),
        ],
    }
}

fn with_buffer(what: &'static str, place: Place, buffer: usize, in_go: &'static str) -> Row {
    spawned(what, place, buffer, in_go)
        .by(Peer::Flume, move |times| {
            place.run(async move {
                let token = CancellationToken::new();
                taking(producers::flume(&token, buffer, Numbers::default()), times).await
            })
        })
        .by(Peer::AsyncChannel, move |times| {
            place.run(async move {
                let token = CancellationToken::new();
                taking(producers::async_channel(&token, buffer, Numbers::default()), times).await
            })
        })
        .goal(Goal::AtMostTimesFastest(1.0))
        .goal(Goal::AtMostTimesFastest(0.5))
}

/// What a checkpoint costs: in each round, where only one of many yields.
fn rounds() -> Table {
    Table {
        title: "A round of a loop, where only one in a thousand yields",
        peers: vec![Peer::Ctx, Peer::Unchecked],
        ratios: vec![Peer::Unchecked],
        rows: vec![
            round("a round, consumer in a task", Place::Task),
            round("a round, on a current-thread runtime", Place::CurrentThread),
        ],
    }
}

fn round(what: &'static str, place: Place) -> Row {
    const ROUNDS: u64 = 1000;
    Row::new(what)
        .by(Peer::Ctx, move |times| {
            place.run(async move {
                let (parent, _keep) = root();
                taking(producers::ctx_filter(&parent, ROUNDS), times.div_ceil(ROUNDS)).await
            })
        })
        .by(Peer::Unchecked, move |times| {
            place.run(async move {
                let (parent, _keep) = root();
                taking(producers::ctx_filter_unchecked(&parent, ROUNDS), times.div_ceil(ROUNDS)).await
            })
        })
}

fn on_threads() -> Table {
    Table {
        title: "Items of a body with a thread of its own: `blocking`",
        peers: vec![Peer::Ctx, Peer::SyncChannel, Peer::Go],
        ratios: vec![Peer::SyncChannel],
        rows: vec![
            on_thread("an item, `blocking`, consumer in `block_on`", 0).by_go("items_pull"),
            on_thread("an item, `blocking`, `buffer = 64`, consumer in `block_on`", 64),
        ],
    }
}

fn on_thread(what: &'static str, buffer: usize) -> Row {
    Row::new(what)
        .by(Peer::Ctx, move |times| {
            Place::BlockOn.run(async move {
                let (parent, _keep) = root();
                taking(producers::ctx_blocking(&parent, buffer), times).await
            })
        })
        .by(Peer::SyncChannel, move |times| taking_blocked(&producers::sync_channel(buffer), times))
}

fn lossy() -> Table {
    Table {
        title: "Items of a body that does not wait for room, each that is taken, `buffer = 64`",
        peers: vec![Peer::Ctx, Peer::Broadcast, Peer::Waiting],
        ratios: vec![Peer::Broadcast, Peer::Waiting],
        rows: vec![
            dropping("with `drop_oldest`", Place::Task, Overflow::DropOldest),
            dropping(
                "with `drop_oldest`, on a current-thread runtime",
                Place::CurrentThread,
                Overflow::DropOldest,
            ),
            dropping("with `drop_newest`", Place::Task, Overflow::DropNewest),
        ],
    }
}

/// The consumer takes as fast as it can, and what is dropped meanwhile is not counted.
fn dropping(what: &'static str, place: Place, policy: Overflow) -> Row {
    const BUFFER: usize = 64;
    Row::new(what)
        .by(Peer::Ctx, move |times| {
            place.run(async move {
                let (parent, _keep) = root();
                taking(producers::lossy(&parent, BUFFER, policy, Numbers::default()), times).await
            })
        })
        .by(Peer::Broadcast, move |times| {
            place.run(async move {
                let token = CancellationToken::new();
                taking(producers::broadcast(&token, BUFFER, Numbers::default()), times).await
            })
        })
        .by(Peer::Waiting, move |times| {
            place.run(async move {
                let (parent, _keep) = root();
                taking(producers::ctx(&parent, BUFFER, Numbers::default()), times).await
            })
        })
        .goal(Goal::AtMostTimes(1.0, Peer::Broadcast))
}

/// By those who have a task for the body.
fn spawned(what: &'static str, place: Place, buffer: usize, in_go: &'static str) -> Row {
    Row::new(what)
        .by(Peer::Ctx, move |times| {
            place.run(async move {
                let (parent, _keep) = root();
                taking(producers::ctx(&parent, buffer, Numbers::default()), times).await
            })
        })
        .by(Peer::ByHand, move |times| {
            place.run(async move {
                let token = CancellationToken::new();
                taking(producers::by_hand(&token, buffer, Numbers::default()), times).await
            })
        })
        .by_go(in_go)
        .by(Peer::Kanal, move |times| {
            place.run(async move {
                let token = CancellationToken::new();
                taking(producers::kanal(&token, buffer, Numbers::default()), times).await
            })
        })
        .by(Peer::KanalAlone, move |times| {
            place.run(async move { taking(producers::kanal_alone(buffer, Numbers::default()), times).await })
        })
}

fn cancellable() -> Table {
    Table {
        title: "What it costs to be cancellable",
        peers: vec![Peer::Ctx, Peer::Background],
        ratios: vec![Peer::Background],
        rows: vec![
            below("an item below a `with_cancel()`, consumer in a task", Place::Task, 0, root),
            below("an item below a `with_cancel()`, consumer in `block_on`", Place::BlockOn, 0, root),
            below("an item below a `with_cancel()`, `buffer = 64`", Place::Task, 64, root),
            below("an item below a `with_timeout(1 h)`, consumer in a task", Place::Task, 0, under_deadline),
            below(
                "an item below a `with_timeout(1 h)`, consumer in `block_on`",
                Place::BlockOn,
                0,
                under_deadline,
            ),
            below("an item below a `with_timeout(1 h)`, `buffer = 64`", Place::Task, 64, under_deadline),
        ],
    }
}

fn under_deadline() -> (Context, Canceller) {
    Context::background().with_timeout(FAR).with_cancel()
}

fn below(what: &'static str, place: Place, buffer: usize, parent: fn() -> (Context, Canceller)) -> Row {
    Row::new(what)
        .by(Peer::Ctx, move |times| {
            place.run(async move {
                let (parent, _keep) = parent();
                taking(producers::ctx(&parent, buffer, Numbers::default()), times).await
            })
        })
        .by(Peer::Background, move |times| {
            place.run(async move {
                taking(producers::ctx(&Context::background(), buffer, Numbers::default()), times).await
            })
        })
        .goal(Goal::AtMostTimes(1.05, Peer::Background))
}
