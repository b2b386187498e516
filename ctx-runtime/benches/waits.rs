//! What an item costs that the body has to wait for, and one that comes through several bodies.

use crate::consumers::{Consumer, Place, taking};
use crate::items::root;
use crate::producers;
use crate::row::{Goal, Peer, Row, Table};
use crate::sources::{Channel, Numbers, Socket, Stage, Waiting};
use tokio_util::sync::CancellationToken;

pub(crate) fn table() -> Table {
    Table {
        title: "Items that the body waits for",
        peers: vec![Peer::Ctx, Peer::Ahead, Peer::ByHand, Peer::Go, Peer::AsyncStream],
        ratios: vec![Peer::Ahead, Peer::ByHand, Peer::Go, Peer::AsyncStream],
        rows: rows(),
    }
}

fn rows() -> Vec<Row> {
    let (block_on, task) = (Consumer::One(Place::BlockOn), Consumer::One(Place::Task));
    let current_thread = Consumer::One(Place::CurrentThread);
    vec![
        waiting::<Channel>("from a channel, consumer in `block_on`", block_on),
        waiting::<Channel>("from a channel, consumer in a task", task)
            .by_go("items_channel")
            .in_chart("an item that the body gets from a channel"),
        waiting::<Channel>("from a channel, on a current-thread runtime", current_thread)
            .by_go("items_channel_one_core"),
        waiting::<Channel>("from a channel, 8 at once in `FuturesUnordered`", Consumer::Unordered),
        waiting::<Socket>("from a socket, consumer in `block_on`", block_on),
        waiting::<Socket>("from a socket, consumer in a task", task).by_go("items_socket"),
        waiting::<Socket>("from a socket, on a current-thread runtime", current_thread)
            .by_go("items_socket_one_core"),
        waiting::<Socket>("from a socket, 8 at once in `FuturesUnordered`", Consumer::Unordered),
        pipeline("through four stages, consumer in `block_on`", Place::BlockOn, "pipeline"),
        pipeline("through four stages, consumer in a task", Place::Task, "pipeline")
            .in_chart("an item through four stages"),
        pipeline(
            "through four stages, on a current-thread runtime",
            Place::CurrentThread,
            "pipeline_one_core",
        ),
    ]
}

fn waiting<W: Waiting>(what: &'static str, consumer: Consumer) -> Row {
    let (parent, keep) = root();
    let (ahead, keep_ahead) = root();
    let (token, streams) = (CancellationToken::new(), CancellationToken::new());
    Row::new(what)
        .by(Peer::Ctx, move |times| {
            let _keep = &keep;
            let parent = parent.clone();
            consumer.takes(times, W::start, move |source: W| producers::ctx(&parent, 0, source))
        })
        .by(Peer::Ahead, move |times| {
            let _keep = &keep_ahead;
            let parent = ahead.clone();
            consumer.takes(times, W::start, move |source: W| producers::ctx(&parent, 1, source))
        })
        .by(Peer::ByHand, move |times| {
            let token = token.clone();
            consumer.takes(times, W::start, move |source: W| producers::by_hand(&token, 0, source))
        })
        .by(Peer::AsyncStream, move |times| {
            let token = streams.clone();
            consumer.takes(times, W::start, move |source: W| producers::async_stream(&token, source))
        })
        .goal(Goal::AtMostTimes(1.05, Peer::ByHand))
}

fn pipeline(what: &'static str, place: Place, in_go: &'static str) -> Row {
    Row::new(what)
        .by(Peer::Ctx, move |times| {
            place.run(async move {
                let (parent, _keep) = root();
                let stage = |items| producers::ctx(&parent, 0, Stage(items));
                let first = producers::ctx(&parent, 0, Numbers::default());
                taking(stage(stage(stage(first))), times).await
            })
        })
        .by(Peer::ByHand, move |times| {
            place.run(async move {
                let token = CancellationToken::new();
                let stage = |items| producers::by_hand(&token, 0, Stage(items));
                let first = producers::by_hand(&token, 0, Numbers::default());
                taking(stage(stage(stage(first))), times).await
            })
        })
        .by_go(in_go)
        .by(Peer::AsyncStream, move |times| {
            place.run(async move {
                let token = CancellationToken::new();
                let first = producers::async_stream(&token, Numbers::default());
                let second = producers::async_stream(&token, Stage(first));
                let third = producers::async_stream(&token, Stage(second));
                taking(producers::async_stream(&token, Stage(third)), times).await
            })
        })
        .goal(Goal::AtMostTimes(1.05, Peer::ByHand))
}
