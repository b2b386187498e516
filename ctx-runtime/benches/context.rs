//! What a context costs in time.

use crate::measure::{time, time_two_threads};
use crate::row::{Goal, Peer, Row};
use ctx_runtime::{Canceller, Context};
use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::task::{self, Waker};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// Far enough not to pass while it is measured.
const FAR: Duration = Duration::from_hours(1);

const CHILDREN: usize = 100_000;

pub(crate) fn rows() -> Vec<Row> {
    vec![
        child(),
        child_from_two_threads(),
        is_done(),
        is_done_under_a_deadline(),
        cancel_many(),
        timeout(),
        timeout_dropped(),
        timeout_with_a_waiter(),
        waiter(),
        merge(),
        after_func(),
        value(),
    ]
}

fn root() -> (Context, Canceller) {
    Context::background().with_cancel()
}

fn poll(future: impl Future) -> bool {
    let mut future = pin!(future);
    future.as_mut().poll(&mut task::Context::from_waker(Waker::noop())).is_ready()
}

fn child() -> Row {
    let (parent, keep) = root();
    let token = CancellationToken::new();
    Row::new("a child context, made and cancelled")
        .by(Peer::Ctx, move |times| {
            let _keep = &keep;
            time(times, || {
                let (ctx, canceller) = parent.with_cancel();
                canceller.cancel();
                ctx
            })
        })
        .by(Peer::TokioUtil, move |times| {
            time(times, || {
                let child = token.child_token();
                child.cancel();
                child
            })
        })
        .by_go("child")
        .by(Peer::Bare, |times| time(times, || Box::new(black_box([0_u64; 16]))))
        .note("an allocation of 128 bytes")
        .goal(Goal::AtMostTimes(0.6, Peer::TokioUtil))
}

fn child_from_two_threads() -> Row {
    let (parent, keep) = root();
    let token = CancellationToken::new();
    let list = Mutex::new(0_u64);
    Row::new("the same from two threads under one parent, each")
        .by(Peer::Ctx, move |times| {
            let _keep = &keep;
            time_two_threads(times, || {
                let (ctx, canceller) = parent.with_cancel();
                canceller.cancel();
                ctx
            })
        })
        .by(Peer::TokioUtil, move |times| {
            time_two_threads(times, || {
                let child = token.child_token();
                child.cancel();
                child
            })
        })
        .by_go("child_two_threads")
        .by(Peer::Bare, move |times| {
            let touch = || *list.lock().expect("nobody panics") += 1;
            time_two_threads(times, || {
                touch();
                touch();
            })
        })
        .note("a shared `Mutex`, locked twice")
        .goal(Goal::AtMostTimes(0.5, Peer::TokioUtil))
        .goal(Goal::AtMostTimes(0.3, Peer::TokioUtil))
}

fn is_done() -> Row {
    let (ctx, keep) = root();
    let token = CancellationToken::new();
    let word = AtomicPtr::<u8>::new(ptr::null_mut());
    Row::new("`is_done()`")
        .by(Peer::Ctx, move |times| {
            let _keep = &keep;
            time(times, || black_box(&ctx).is_done())
        })
        .by(Peer::TokioUtil, move |times| time(times, || black_box(&token).is_cancelled()))
        .by_go("is_done")
        .by(Peer::Bare, move |times| time(times, || black_box(&word).load(Ordering::Acquire)))
        .note("an atomic load")
        .goal(Goal::AtMost(1.0))
}

fn is_done_under_a_deadline() -> Row {
    Row::new("`is_done()` under a deadline")
        .by(Peer::Ctx, |times| {
            let (ctx, _keep) = Context::background().with_timeout(FAR).with_cancel();
            time(times, || black_box(&ctx).is_done())
        })
        .by_go("is_done_deadline")
        .by(Peer::Bare, |times| time(times, Instant::now))
        .note("a look at the clock")
}

fn cancel_many() -> Row {
    Row::new("cancel of a parent of 100,000 child contexts")
        .batch(1)
        .by(Peer::Ctx, |times| {
            let (parent, canceller) = root();
            let _children: Vec<_> = (0..CHILDREN).map(|_| parent.with_cancel()).collect();
            time(times, || canceller.cancel())
        })
        .by(Peer::TokioUtil, |times| {
            let parent = CancellationToken::new();
            let _children: Vec<_> = (0..CHILDREN).map(|_| parent.child_token()).collect();
            time(times, || parent.cancel())
        })
        .by_go("cancel_many")
        .goal(Goal::AtMostTimes(1.0, Peer::TokioUtil))
}

fn timeout() -> Row {
    let (parent, keep) = root();
    Row::new("`with_timeout(…).with_cancel()`, then cancel")
        .by(Peer::Ctx, move |times| {
            let _keep = &keep;
            time(times, || {
                let (ctx, canceller) = parent.with_timeout(FAR).with_cancel();
                canceller.cancel();
                ctx
            })
        })
        .by_go("timeout")
        .goal(Goal::AtMostTimes(0.25, Peer::Go))
}

fn timeout_dropped() -> Row {
    let (parent, keep) = root();
    Row::new("`with_timeout(…)`, then drop")
        .by(Peer::Ctx, move |times| {
            let _keep = &keep;
            time(times, || parent.with_timeout(FAR))
        })
        .by_go("timeout")
        .note("cancel")
        .by(Peer::Bare, |times| time(times, Instant::now))
        .note("a look at the clock")
        .goal(Goal::AtMostTimes(0.25, Peer::Go))
}

fn timeout_with_a_waiter() -> Row {
    let (parent, keep) = root();
    let token = CancellationToken::new();
    Row::new("`with_timeout(…).with_cancel()`, wait, then cancel (the timer is armed)")
        .by(Peer::Ctx, move |times| {
            let _keep = &keep;
            time(times, || {
                let (ctx, canceller) = parent.with_timeout(FAR).with_cancel();
                let mut done = pin!(ctx.done());
                assert!(!poll(done.as_mut()));
                canceller.cancel();
                assert!(poll(done));
            })
        })
        .by(Peer::TokioUtil, move |times| {
            time(times, || {
                let child = token.child_token();
                let mut done = pin!(tokio::time::timeout(FAR, child.cancelled()));
                assert!(!poll(done.as_mut()));
                child.cancel();
                assert!(poll(done));
            })
        })
        .note("tokio's `timeout` around `cancelled()`")
        .by_go("timeout_wait")
        .by(Peer::Bare, |times| time(times, || assert!(!poll(sleep(FAR)))))
        .note("tokio's `sleep`, polled once")
        .goal(Goal::AtMostTimes(1.0, Peer::Go))
}

fn waiter() -> Row {
    let (ctx, keep) = root();
    let token = CancellationToken::new();
    Row::new("`done()` polled once, then dropped")
        .by(Peer::Ctx, move |times| {
            let _keep = &keep;
            time(times, || poll(ctx.done()))
        })
        .by(Peer::TokioUtil, move |times| time(times, || poll(token.cancelled())))
        .by_go("wait")
        .note("a `select` with a `default`")
}

fn merge() -> Row {
    let (one, keep_one) = root();
    let (other, keep_other) = root();
    Row::new("`merge`, then drop")
        .by(Peer::Ctx, move |times| {
            let _keep = (&keep_one, &keep_other);
            time(times, || one.merge(&other))
        })
        .by_go("merge")
        .note("`WithCancelCause` and `AfterFunc`, then stop and cancel")
}

fn after_func() -> Row {
    let (ctx, keep) = root();
    Row::new("`after_func`, then stop")
        .by(Peer::Ctx, move |times| {
            let _keep = &keep;
            time(times, || {
                let captured = black_box(1_u64);
                let callback = ctx.after_func(move || {
                    black_box(captured);
                });
                assert!(callback.stop());
            })
        })
        .by_go("after_func")
}

fn value() -> Row {
    struct Value<const N: usize>(u64);
    let ctx = root().0.with_value(Value::<0>(1)).with_value(Value::<1>(2)).with_value(Value::<2>(3));
    let ctx = ctx.with_value(Value::<3>(4));
    Row::new("`value` past three others")
        .by(Peer::Ctx, move |times| {
            time(times, || black_box(&ctx).value::<Value<0>>().map_or(0, |value| value.0))
        })
        .by_go("value")
}
