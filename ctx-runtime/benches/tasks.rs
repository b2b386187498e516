//! What a task costs that belongs to a context: to spawn, to finish and to be awaited.

use crate::consumers::Place;
use crate::items::root;
use crate::measure::since;
use crate::row::{Peer, Row, Table};
use std::hint::black_box;
use std::time::Instant;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) fn table() -> Table {
    Table {
        title: "Tasks",
        peers: vec![Peer::Ctx, Peer::JoinSet, Peer::TaskTracker, Peer::Bare],
        ratios: vec![Peer::JoinSet, Peer::TaskTracker],
        rows: vec![
            one("a task, spawned, finished and awaited", Place::Task),
            one("the same on a current-thread runtime", Place::CurrentThread),
        ],
    }
}

/// What a task does.
async fn work(n: u64) -> u64 {
    black_box(n)
}

fn one(what: &'static str, place: Place) -> Row {
    Row::new(what)
        .by(Peer::Ctx, move |times| {
            place.run(async move {
                let (parent, _keep) = root();
                let start = Instant::now();
                for n in 0..times {
                    black_box(parent.spawn(work(n)).await.expect("nobody cancels it"));
                }
                since(start)
            })
        })
        .by(Peer::JoinSet, move |times| {
            place.run(async move {
                let mut set = JoinSet::new();
                let start = Instant::now();
                for n in 0..times {
                    set.spawn(work(n));
                    black_box(set.join_next().await.expect("there is one").expect("it does not panic"));
                }
                since(start)
            })
        })
        .by(Peer::TaskTracker, move |times| {
            place.run(async move {
                let (tracker, token) = (TaskTracker::new(), CancellationToken::new());
                let start = Instant::now();
                for n in 0..times {
                    let task = tracker.spawn(token.clone().run_until_cancelled_owned(work(n)));
                    black_box(task.await.expect("it does not panic").expect("nobody cancels it"));
                }
                since(start)
            })
        })
        .by(Peer::Bare, move |times| {
            place.run(async move {
                let start = Instant::now();
                for n in 0..times {
                    black_box(tokio::spawn(work(n)).await.expect("it does not panic"));
                }
                since(start)
            })
        })
        .note("`tokio::spawn`")
}
