//! How each peer makes a generator of a source, as a person would write it with that peer.

use crate::consumers::Inline;
use crate::sources::Source;
use ctx_runtime::{Context, Generator, Overflow, generator};
use futures_util::Stream;
use futures_util::stream;
use std::hint::black_box;
use std::thread;
use tokio::select;
use tokio::sync::{broadcast, mpsc};
use tokio::task::{JoinHandle, coop};
use tokio_util::sync::CancellationToken;

pub(crate) fn ctx(parent: &Context, buffer: usize, mut source: impl Source) -> Generator<u64> {
    Generator::builder().buffer(buffer).spawn(parent, |_, co| async move {
        while let Some(item) = source.item().await {
            co.yield_(item).await;
        }
    })
}

/// On a thread of its own.
pub(crate) fn ctx_blocking(parent: &Context, buffer: usize) -> Generator<u64> {
    Generator::builder().buffer(buffer).spawn_blocking(parent, |_, co| {
        let _ = (1..).try_for_each(|item| co.yield_(item));
    })
}

/// Stops with its consumer only.
pub(crate) fn sync_channel(buffer: usize) -> std::sync::mpsc::Receiver<u64> {
    let (sender, receiver) = std::sync::mpsc::sync_channel(buffer);
    thread::spawn(move || {
        let _ = (1..).try_for_each(|item| sender.send(item));
    });
    receiver
}

#[generator(cancellable, inline)]
pub(crate) async fn ctx_inline<S: Source>(parent: &Context, mut source: S) -> u64 {
    while let Some(item) = source.item().await {
        yield_!(item);
    }
}

/// Yields one number of so many, and has a checkpoint in each round.
#[generator(cancellable)]
pub(crate) async fn ctx_filter(parent: &Context, rounds: u64) -> u64 {
    for number in 0_u64.. {
        if black_box(number) % rounds == 0 {
            yield_!(number);
        }
    }
}

/// The same without.
#[generator(cancellable)]
pub(crate) async fn ctx_filter_unchecked(parent: &Context, rounds: u64) -> u64 {
    #[no_checkpoint]
    for number in 0_u64.. {
        if black_box(number) % rounds == 0 {
            yield_!(number);
        }
    }
}

pub(crate) fn lossy(
    parent: &Context,
    buffer: usize,
    policy: Overflow,
    mut source: impl Source,
) -> Generator<u64> {
    Generator::builder().buffer(buffer).overflow(policy).spawn(parent, |_, co| async move {
        while let Some(item) = source.item().await {
            co.yield_(item).await;
        }
    })
}

/// A `send` waits for nothing, so it is the budget that gives way.
pub(crate) fn broadcast(
    token: &CancellationToken,
    buffer: usize,
    mut source: impl Source,
) -> broadcast::Receiver<u64> {
    let (sender, receiver) = broadcast::channel(buffer);
    let token = token.clone();
    tokio::spawn(async move {
        while let Some(item) = source.item().await {
            if token.is_cancelled() || sender.send(item).is_err() {
                break;
            }
            coop::consume_budget().await;
        }
    });
    receiver
}

pub(crate) fn by_hand(token: &CancellationToken, buffer: usize, source: impl Source) -> mpsc::Receiver<u64> {
    by_hand_joined(token, buffer, source).0
}

/// With the handle that tells when the task has ended.
pub(crate) fn by_hand_joined(
    token: &CancellationToken,
    buffer: usize,
    mut source: impl Source,
) -> (mpsc::Receiver<u64>, JoinHandle<()>) {
    let (sender, receiver) = mpsc::channel(buffer.max(1));
    let token = token.clone();
    let task = tokio::spawn(async move {
        while let Some(item) = source.item().await {
            select! {
                () = token.cancelled() => break,
                sent = sender.send(item) => if sent.is_err() { break },
            }
        }
    });
    (receiver, task)
}

pub(crate) fn kanal(
    token: &CancellationToken,
    buffer: usize,
    mut source: impl Source,
) -> kanal::AsyncReceiver<u64> {
    let (sender, receiver) = kanal::bounded_async(buffer.max(1));
    let token = token.clone();
    tokio::spawn(async move {
        while let Some(item) = source.item().await {
            select! {
                () = token.cancelled() => break,
                sent = sender.send(item) => if sent.is_err() { break },
            }
        }
    });
    receiver
}

/// Stops with its consumer only.
pub(crate) fn kanal_alone(buffer: usize, mut source: impl Source) -> kanal::AsyncReceiver<u64> {
    let (sender, receiver) = kanal::bounded_async(buffer.max(1));
    tokio::spawn(async move {
        while let Some(item) = source.item().await {
            if sender.send(item).await.is_err() {
                break;
            }
        }
    });
    receiver
}

pub(crate) fn flume(
    token: &CancellationToken,
    buffer: usize,
    mut source: impl Source,
) -> flume::Receiver<u64> {
    let (sender, receiver) = flume::bounded(buffer.max(1));
    let token = token.clone();
    tokio::spawn(async move {
        while let Some(item) = source.item().await {
            select! {
                () = token.cancelled() => break,
                sent = sender.send_async(item) => if sent.is_err() { break },
            }
        }
    });
    receiver
}

pub(crate) fn async_channel(
    token: &CancellationToken,
    buffer: usize,
    mut source: impl Source,
) -> async_channel::Receiver<u64> {
    let (sender, receiver) = async_channel::bounded(buffer.max(1));
    let token = token.clone();
    tokio::spawn(async move {
        while let Some(item) = source.item().await {
            select! {
                () = token.cancelled() => break,
                sent = sender.send(item) => if sent.is_err() { break },
            }
        }
    });
    receiver
}

pub(crate) fn async_stream<S: Source>(
    token: &CancellationToken,
    mut source: S,
) -> Inline<impl Stream<Item = u64> + Send + 'static + use<S>> {
    let token = token.clone();
    Inline::new(async_stream::stream! {
        while let Some(item) = source.item().await {
            if token.is_cancelled() {
                break;
            }
            yield item;
        }
    })
}

/// Without a look at a token.
pub(crate) fn asynk_strim(mut source: impl Source) -> Inline<impl Stream<Item = u64> + Send + 'static> {
    Inline::new(asynk_strim::stream_fn(|mut yielder| async move {
        while let Some(item) = source.item().await {
            yielder.yield_item(item).await;
        }
    }))
}

/// Without a look at a token.
pub(crate) fn unfold(source: impl Source) -> Inline<impl Stream<Item = u64> + Send + 'static> {
    Inline::new(stream::unfold(source, |mut source| async move {
        let item = source.item().await?;
        Some((item, source))
    }))
}
