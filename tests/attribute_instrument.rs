//! `#[tracing::instrument]` below `#[generator]`: the body runs in the span, wherever it is polled. (Above, it is refused.)

use ctx_runtime::{Context, generator};
use std::rc::Rc;
use std::sync::Once;
use tokio::task::{LocalSet, yield_now};
use tracing::{Span, instrument};

/// The span's name.
fn current() -> Option<&'static str> {
    Span::current().metadata().map(tracing::Metadata::name)
}

/// For all threads of this process.
fn subscribe() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(tracing_subscriber::registry()).unwrap());
}

#[generator(cancellable)]
#[tracing::instrument(skip_all, fields(start))]
async fn spawned(ctx: &Context, start: u8) -> (u8, Option<&'static str>) {
    yield_!((start, current()));
    // Its own task goes on from here.
    yield_now().await;
    yield_!((start + 1, current()));
}

#[generator(buffer = 2)]
#[instrument]
async fn ahead() -> Option<&'static str> {
    yield_!(current());
    yield_now().await;
    yield_!(current());
}

#[generator(local)]
#[instrument(skip_all)]
async fn local(start: Rc<u8>) -> (Rc<u8>, Option<&'static str>) {
    yield_!((start, current()));
}

#[generator(inline)]
#[instrument(skip_all)]
async fn inline(words: &[&str]) -> (usize, Option<&'static str>) {
    for word in words {
        yield_!((word.len(), current()));
    }
}

#[generator(blocking)]
#[instrument]
fn blocking() -> Option<&'static str> {
    yield_!(current());
}

/// Fails for a body that is polled outside the span.
#[tokio::test]
async fn the_body_runs_in_the_span() {
    subscribe();
    let mut items = spawned(&Context::background(), 1);
    assert_eq!(items.next().await, Some((1, Some("spawned"))));
    assert_eq!(items.next().await, Some((2, Some("spawned"))));
    let mut items = ahead();
    assert_eq!(items.next().await, Some(Some("ahead")));
    assert_eq!(items.next().await, Some(Some("ahead")));
    let item = LocalSet::new().run_until(async { local(Rc::new(1)).next().await }).await;
    assert_eq!(item, Some((Rc::new(1), Some("local"))));
    assert_eq!(inline(&["one"]).next().await, Some((3, Some("inline"))));
    assert_eq!(blocking().next().await, Some(Some("blocking")));
}

/// Fails for a span that its consumer is left in.
#[tokio::test]
async fn the_consumer_does_not() {
    subscribe();
    let mut items = spawned(&Context::background(), 1);
    assert_eq!(current(), None);
    items.next().await;
    assert_eq!(current(), None);
}
