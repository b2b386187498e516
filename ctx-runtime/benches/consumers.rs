//! Who takes the items: on which runtime, in a task or not, from one generator or from several at once.

use crate::measure::{since, time};
use ctx_runtime::Generator;
use futures_util::stream::FuturesUnordered;
use futures_util::{Stream, StreamExt};
use std::future::Future;
use std::hint::black_box;
use std::pin::Pin;
use std::sync::{LazyLock, mpsc as mpsc_of_threads};
use std::time::Instant;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};

/// How many are waited for at once.
const AT_ONCE: usize = 8;

static MULTI_THREAD: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_multi_thread().enable_all().build().expect("the system has threads"));

static CURRENT_THREAD: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().enable_all().build().expect("it needs no thread"));

/// As `#[tokio::main]` makes it.
pub(crate) fn multi_thread() -> &'static Runtime {
    &MULTI_THREAD
}

pub(crate) fn current_thread() -> &'static Runtime {
    &CURRENT_THREAD
}

#[derive(Clone, Copy)]
pub(crate) enum Place {
    /// A spawned task on the runtime with several threads.
    Task,
    /// A spawned task on the runtime with one.
    CurrentThread,
    /// No task: the thread that blocks on the runtime with several.
    BlockOn,
}

impl Place {
    pub(crate) fn run<F>(self, work: F) -> F::Output
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let runtime = match self {
            Self::BlockOn => return MULTI_THREAD.block_on(work),
            Self::Task => &*MULTI_THREAD,
            Self::CurrentThread => &*CURRENT_THREAD,
        };
        runtime.block_on(async { tokio::spawn(work).await.expect("the work does not panic") })
    }
}

/// What items are taken from: the consumer's end of a generator.
pub(crate) trait Items: Send + 'static {
    fn take(&mut self) -> impl Future<Output = Option<u64>> + Send;
}

impl Items for Generator<u64> {
    fn take(&mut self) -> impl Future<Output = Option<u64>> + Send {
        self.next()
    }
}

impl<F: Future<Output = ()> + Send + 'static> Items for ctx_runtime::Inline<u64, F> {
    fn take(&mut self) -> impl Future<Output = Option<u64>> + Send {
        self.next()
    }
}

impl Items for mpsc::Receiver<u64> {
    fn take(&mut self) -> impl Future<Output = Option<u64>> + Send {
        self.recv()
    }
}

impl Items for kanal::AsyncReceiver<u64> {
    async fn take(&mut self) -> Option<u64> {
        self.recv().await.ok()
    }
}

impl Items for flume::Receiver<u64> {
    async fn take(&mut self) -> Option<u64> {
        self.recv_async().await.ok()
    }
}

impl Items for async_channel::Receiver<u64> {
    async fn take(&mut self) -> Option<u64> {
        self.recv().await.ok()
    }
}

impl Items for broadcast::Receiver<u64> {
    async fn take(&mut self) -> Option<u64> {
        loop {
            match self.recv().await {
                Ok(item) => return Some(item),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

/// A stream that runs in its consumer.
pub(crate) struct Inline<S>(Pin<Box<S>>);

impl<S> Inline<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self(Box::pin(stream))
    }
}

impl<S: Stream<Item = u64> + Send + 'static> Items for Inline<S> {
    fn take(&mut self) -> impl Future<Output = Option<u64>> + Send {
        self.0.next()
    }
}

/// How long it takes to take so many items. It is under way before the clock is looked at.
pub(crate) async fn taking(mut items: impl Items, times: u64) -> f64 {
    taken(&mut items).await;
    let start = Instant::now();
    for _ in 0..times {
        taken(&mut items).await;
    }
    since(start)
}

/// The same from a thread, by one that blocks.
pub(crate) fn taking_blocked(items: &mpsc_of_threads::Receiver<u64>, times: u64) -> f64 {
    let take = || black_box(items.recv().expect("there is no end of them"));
    take();
    time(times, take)
}

/// The same from several that are waited for at once, each asked again when it has answered.
pub(crate) async fn taking_unordered<I: Items>(all: Vec<I>, times: u64) -> f64 {
    let mut waiting: FuturesUnordered<_> = all.into_iter().map(taken_from).collect();
    for _ in 0..AT_ONCE {
        let items = waiting.next().await.expect("each is put back");
        waiting.push(taken_from(items));
    }
    let start = Instant::now();
    for _ in 0..times {
        let items = waiting.next().await.expect("each is put back");
        waiting.push(taken_from(items));
    }
    since(start)
}

pub(crate) async fn taken(items: &mut impl Items) {
    black_box(items.take().await.expect("there is no end of them"));
}

async fn taken_from<I: Items>(mut items: I) -> I {
    taken(&mut items).await;
    items
}

/// How items are taken that are waited for.
#[derive(Clone, Copy)]
pub(crate) enum Consumer {
    One(Place),
    /// In a task.
    Unordered,
}

impl Consumer {
    /// How long it takes to take so many items, of what `make` makes of a source.
    pub(crate) fn takes<W, I, Start>(
        self,
        times: u64,
        source: fn() -> Start,
        make: impl Fn(W) -> I + Send + Sync + 'static,
    ) -> f64
    where
        W: Send + 'static,
        I: Items,
        Start: Future<Output = W> + Send + 'static,
    {
        match self {
            Self::One(place) => place.run(async move { taking(make(source().await), times).await }),
            Self::Unordered => Place::Task.run(async move {
                let mut all = Vec::with_capacity(AT_ONCE);
                for _ in 0..AT_ONCE {
                    all.push(make(source().await));
                }
                taking_unordered(all, times).await
            }),
        }
    }
}
