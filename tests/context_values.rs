//! Values: by type, the nearest wins, beside the tree that cancels and never a part of it.

#![allow(dead_code, reason = "of the shared modules each file takes what it needs")]

mod by_hand;
mod patience;
mod witness;

use by_hand::{Wakes, poll_once};
use ctx_runtime::{Canceller, Context, Generator};
use patience::within;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use witness::Tally;

#[derive(Debug, PartialEq)]
struct Tenant(u32);

#[derive(Debug, PartialEq)]
struct Trace(String);

#[test]
fn a_value_is_found_by_its_type_and_nothing_else_is() {
    let ctx = Context::background().with_value(Tenant(7)).with_value(Trace("a".into()));
    assert_eq!(ctx.value::<Tenant>(), Some(&Tenant(7)));
    assert_eq!(ctx.value::<Trace>(), Some(&Trace("a".into())));
    assert_eq!(ctx.value::<u32>(), None);
    assert_eq!(Context::background().value::<Tenant>(), None);
}

/// The bad input: without a size, large, aligned, not to be moved, a closure, a context and its own canceller.
#[test]
fn a_value_may_be_of_any_type_that_threads_may_share() {
    #[derive(Debug, PartialEq)]
    struct Nothing;
    #[derive(Debug, PartialEq)]
    #[repr(align(256))]
    struct Aligned(u8);
    #[derive(Debug, PartialEq)]
    struct Of<T>(T);
    type Double = fn(u8) -> u8;
    type Shared = Box<dyn Fn(u8) -> u8 + Send + Sync>;

    let (inner, canceller) = Context::background().with_cancel();
    let offset = 3_u8;
    let ctx = inner
        .with_value(())
        .with_value(Nothing)
        .with_value([7_u8; 10_000])
        .with_value(Aligned(1))
        .with_value(std::marker::PhantomPinned)
        .with_value(Of(1_u8))
        .with_value(Of("text"))
        .with_value("text")
        .with_value(String::from("owned"))
        .with_value(None::<std::convert::Infallible>)
        .with_value((|n| n * 2) as Double)
        .with_value(Box::new(move |n| n + offset) as Shared)
        .with_value(inner.with_value(Tenant(7)))
        .with_value(canceller);
    assert_eq!((ctx.value(), ctx.value()), (Some(&()), Some(&Nothing)));
    assert!(ctx.value::<[u8; 10_000]>().unwrap().iter().all(|byte| *byte == 7));
    let aligned = ctx.value::<Aligned>().unwrap();
    assert_eq!((aligned.0, std::ptr::from_ref(aligned).addr() % 256), (1, 0));
    assert!(ctx.value::<std::marker::PhantomPinned>().is_some());
    assert_eq!((ctx.value(), ctx.value()), (Some(&Of(1_u8)), Some(&Of("text"))));
    assert_eq!(ctx.value::<Of<u16>>(), None);
    assert_eq!((ctx.value(), ctx.value()), (Some(&"text"), Some(&String::from("owned"))));
    assert!(ctx.value::<Option<std::convert::Infallible>>().unwrap().is_none());
    assert_eq!((ctx.value::<Double>().unwrap()(4), ctx.value::<Shared>().unwrap()(4)), (8, 7));
    assert_eq!(ctx.value::<Context>().unwrap().value(), Some(&Tenant(7)));
    assert_eq!(ctx.value::<Tenant>(), None);
    ctx.value::<Canceller>().unwrap().cancel();
    assert!(ctx.is_done());
}

#[test]
fn the_nearest_value_wins_and_the_older_one_is_untouched() {
    let outer = Context::background().with_value(Tenant(1));
    let inner = outer.with_value(Trace("b".into())).with_value(Tenant(2));
    assert_eq!(inner.value(), Some(&Tenant(2)));
    assert_eq!(outer.value(), Some(&Tenant(1)));
    assert_eq!(inner.value(), Some(&Trace("b".into())));
}

#[test]
fn siblings_do_not_see_the_values_of_each_other() {
    let top = Context::background().with_value(Tenant(1));
    let (left, right) = (top.with_value(Trace("left".into())), top.with_value(Trace("right".into())));
    assert_eq!(left.value(), Some(&Trace("left".into())));
    assert_eq!(right.value(), Some(&Trace("right".into())));
    assert_eq!(top.value::<Trace>(), None);
    assert_eq!(right.value(), Some(&Tenant(1)));
}

/// A context with a value is the same in the tree: one cancel, one deadline, one cause, no node in between.
#[test]
fn a_value_makes_nothing_that_could_be_cancelled() {
    let (top, canceller) = Context::background().with_cancel();
    let with_value = top.with_value(Tenant(1));
    let (child, _keep) = with_value.with_cancel();
    let (heard, waker) = Wakes::new();
    let mut wait = pin!(with_value.done());
    assert!(poll_once(wait.as_mut(), &waker).is_pending());
    drop(with_value);
    assert!(!child.is_done(), "the value's context may go without any effect");
    canceller.cancel();
    assert_eq!(heard.count(), 1);
    assert!(child.is_done());
    assert_eq!(child.cause().unwrap().origin(), top.cause().unwrap().origin());
    assert_eq!(child.value(), Some(&Tenant(1)), "a done context keeps its values");
}

#[test]
fn every_kind_of_child_inherits_the_values() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let top = Context::background().with_value(Tenant(3));
    let hour = std::time::Duration::from_secs(3_333);
    let (cancellable, _keep) = top.with_cancel();
    for ctx in [
        top.clone(),
        cancellable,
        top.with_timeout(hour),
        top.with_timeout_cause(hour, "late"),
        top.with_deadline(tokio::time::Instant::now() + hour),
        top.with_timeout(std::time::Duration::ZERO),
    ] {
        assert_eq!(ctx.value(), Some(&Tenant(3)));
    }
}

#[tokio::test]
async fn a_body_sees_the_values_of_the_context_that_it_was_started_under() {
    let ctx = Context::background().with_value(Tenant(9));
    let mut tenants = Generator::builder().spawn(&ctx, |ctx, co| async move {
        co.yield_(ctx.value::<Tenant>().map(|tenant| tenant.0)).await;
    });
    assert_eq!(tenants.context().value(), Some(&Tenant(9)));
    drop(ctx);
    assert_eq!(within("the tenant", tenants.next()).await, Some(Some(9)));
}

#[test]
fn a_value_lives_as_long_as_the_last_context_that_sees_it_and_is_dropped_once() {
    let dropped = Tally::new();
    let ctx = Context::background().with_value(dropped.on_drop());
    let deeper = ctx.with_value(Tenant(1));
    let clone = deeper.clone();
    drop((ctx, deeper));
    assert_eq!(dropped.count(), 0);
    drop(clone);
    assert_eq!(dropped.count(), 1);
}

#[test]
fn a_value_may_be_shared_state() {
    let ctx = Context::background().with_value(Arc::new(AtomicU32::new(0)));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| ctx.value::<Arc<AtomicU32>>().unwrap().fetch_add(1, Ordering::Relaxed));
        }
    });
    assert_eq!(ctx.value::<Arc<AtomicU32>>().unwrap().load(Ordering::Relaxed), 4);
}
