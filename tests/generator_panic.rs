//! G6: a panic in the body, or in a destructor at its end, reaches the consumer: after the items before it, once, with its
//! payload. Never a bare end.

#![allow(dead_code, reason = "of the shared modules each file takes what it needs")]

mod by_hand;
mod patience;
mod witness;

use by_hand::{Wakes, poll_next};
use ctx_runtime::{Context, End, Generator, Panic};
use futures_util::FutureExt;
use patience::{settle, until, within};
use std::any::Any;
use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any, resume_unwind};
use std::sync::Arc;
use tokio::runtime::Handle;
use witness::{Tally, on_drop};

/// What `next()` raises.
async fn raised<T: Send + 'static>(generator: &mut Generator<T>) -> Box<dyn Any + Send> {
    let next = AssertUnwindSafe(generator.next()).catch_unwind();
    match within("the panic", next).await {
        Ok(Some(_)) => panic!("an item where a panic was expected"),
        Ok(None) => panic!("a bare end where a panic was expected"),
        Err(payload) => payload,
    }
}

async fn panic_of<T: Send + 'static>(generator: Generator<T>) -> Panic {
    match within("the stop", generator.stop()).await {
        End::Panicked(panic) => panic,
        end => panic!("panicked, but the end is {end:?}"),
    }
}

/// G6, for every buffer: items first, the panic once, then `None` for ever.
#[tokio::test]
async fn the_items_come_first_then_the_panic_once_then_none() {
    for buffer in [0, 1, 2, 10] {
        let dropped = Tally::new();
        let guard = dropped.on_drop();
        let mut generator =
            Generator::builder().buffer(buffer).spawn(&Context::background(), |_, co| async move {
                let _guard = guard;
                co.yield_(1).await;
                co.yield_(2).await;
                panic!("out of paper");
            });
        settle().await;
        assert_eq!(within("an item", generator.next()).await, Some(1), "buffer {buffer}");
        settle().await;
        assert_eq!(within("an item", generator.next()).await, Some(2));
        let payload = raised(&mut generator).await;
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"out of paper"));
        assert_eq!(dropped.count(), 1);
        for _ in 0..3 {
            assert_eq!(within("the end", generator.next()).await, None);
        }
        let Some(End::Panicked(panic)) = generator.end() else { panic!("the end says so") };
        assert_eq!(panic.message(), "out of paper");
        assert!(panic.take_payload().is_none(), "`next` has raised it");
        assert!(generator.context().is_done());
    }
}

/// G6.
#[tokio::test]
async fn a_payload_of_any_type_is_kept() {
    struct Payload(Arc<str>);
    let kept: Arc<str> = "kept".into();
    let mut generator = Generator::builder().spawn::<u8, _, _>(&Context::background(), {
        let kept = Arc::clone(&kept);
        |_, _| async move { panic_any(Payload(kept)) }
    });
    let payload = raised(&mut generator).await;
    assert!(Arc::ptr_eq(&payload.downcast::<Payload>().ok().unwrap().0, &kept));

    let mut generator = Generator::builder().spawn::<u8, _, _>(&Context::background(), |_, _| async {
        let number = std::hint::black_box(7);
        panic!("number {number}");
    });
    assert_eq!(raised(&mut generator).await.downcast_ref::<String>().map(String::as_str), Some("number 7"));
}

/// G6: a destructor, at each kind of end.
#[tokio::test(start_paused = true)]
async fn a_panic_in_a_destructor_is_raised_after_the_items_too() {
    #[derive(Clone, Copy, Debug)]
    enum Way {
        Return,
        Cancel,
        Handle,
        Deadline,
    }
    for ended in [Way::Return, Way::Cancel, Way::Handle, Way::Deadline] {
        let dropped = Tally::new();
        let (before, after) = (dropped.on_drop(), dropped.on_drop());
        let (ctx, canceller) =
            Context::background().with_timeout(std::time::Duration::from_secs(5)).with_cancel();
        let mut generator = Generator::builder().buffer(3).spawn(&ctx, move |_, co| async move {
            let _before = before;
            let _guard = on_drop(|| panic!("a destructor that panics, as the test wants it"));
            let _after = after;
            co.yield_(1).await;
            co.yield_(2).await;
            if !matches!(ended, Way::Return) {
                pending::<()>().await;
            }
        });
        settle().await;
        match ended {
            Way::Return => {}
            Way::Cancel => canceller.cancel(),
            Way::Handle => generator.cancel(),
            Way::Deadline => tokio::time::sleep(std::time::Duration::from_secs(6)).await,
        }
        assert_eq!(within("an item", generator.next()).await, Some(1), "{ended:?}");
        assert_eq!(within("an item", generator.next()).await, Some(2));
        let payload = raised(&mut generator).await;
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"a destructor that panics, as the test wants it"));
        assert_eq!(dropped.count(), 2, "the destructors beside it have run, once");
        assert_eq!(within("the end", generator.next()).await, None);
        assert!(matches!(generator.end(), Some(End::Panicked(_))));
    }
}

/// G6: a consumer that waits is woken by the panic.
#[tokio::test]
async fn a_waiting_consumer_is_woken_by_a_panic() {
    let (send, receive) = tokio::sync::oneshot::channel::<()>();
    let mut generator = Generator::builder().spawn::<u8, _, _>(&Context::background(), |_, _| async move {
        receive.await.unwrap();
        panic!("late");
    });
    let (heard, waker) = Wakes::new();
    assert!(poll_next(&mut generator, &waker).is_pending());
    settle().await;
    send.send(()).unwrap();
    settle().await;
    assert!(heard.count() >= 1);
    let panic = catch_unwind(AssertUnwindSafe(|| poll_next(&mut generator, &waker))).unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"late"));
}

/// `stop()` returns it, with the payload, and raises nothing.
#[tokio::test]
async fn stop_returns_a_panic_with_its_payload() {
    let generator = Generator::builder().buffer(1).spawn(&Context::background(), |_, co| async move {
        co.yield_(1).await;
        panic!("out of paper");
    });
    until("the body to panic", || generator.end().is_some()).await;
    let panic = panic_of(generator).await;
    assert_eq!(panic.message(), "out of paper");
    let payload = panic.take_payload().unwrap();
    assert_eq!(payload.downcast_ref::<&str>(), Some(&"out of paper"));
    assert!(panic.take_payload().is_none());
    assert!(catch_unwind(AssertUnwindSafe(|| resume_unwind(payload))).is_err());
}

#[tokio::test]
async fn stop_returns_the_panic_of_a_destructor_that_it_has_run() {
    let mut generator = Generator::builder().spawn(&Context::background(), |_, co| async move {
        let _guard = on_drop(|| panic!("a destructor that panics, as the test wants it"));
        co.yield_(1).await;
    });
    assert_eq!(within("the item", generator.next()).await, Some(1));
    let panic = panic_of(generator).await;
    assert_eq!(panic.message(), "a destructor that panics, as the test wants it");
    assert!(panic.take_payload().is_some());
}

/// G6: the end that a panic makes is not covered up by the cancel that comes with it.
#[tokio::test]
async fn a_body_that_cancels_and_panics_has_panicked() {
    let (ctx, canceller) = Context::background().with_cancel();
    let mut generator = Generator::builder().spawn::<u8, _, _>(&ctx, |_, _| async move {
        canceller.cancel();
        panic!("and out");
    });
    assert_eq!(raised(&mut generator).await.downcast_ref::<&str>(), Some(&"and out"));
}

/// Nobody is there to be told; nothing else may suffer from it.
#[tokio::test]
async fn a_dropped_handle_whose_body_panics_harms_nobody() {
    let dropped = Tally::new();
    let others = dropped.on_drop();
    let mut generator = Generator::builder().spawn(&Context::background(), |_, co| async move {
        let _others = others;
        let _guard = on_drop(|| panic!("a destructor that panics, as the test wants it"));
        co.yield_(1).await;
    });
    assert_eq!(within("the item", generator.next()).await, Some(1));
    settle().await;
    let ctx = generator.context().clone();
    // Whether the drop raises it or not is not promised.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(generator)));
    assert_eq!(dropped.count(), 1);
    assert!(ctx.is_done() && ctx.live().is_empty());
    until("its task to be gone", || Handle::current().metrics().num_alive_tasks() == 0).await;

    let mut next =
        Generator::builder().spawn(&Context::background(), |_, co| async move { co.yield_(2).await });
    assert_eq!(within("the next generator's item", next.next()).await, Some(2), "the thread is as it was");
    assert_eq!(within("its end", next.next()).await, None);
}

/// A drop during the unwinding of a consumer must not abort the process.
#[tokio::test]
async fn a_handle_may_be_dropped_by_a_panic() {
    let dropped = Tally::new();
    let guard = dropped.on_drop();
    let mut generator = Generator::builder().spawn(&Context::background(), |_, co| async move {
        let _guard = guard;
        co.yield_(1).await;
    });
    assert_eq!(within("the item", generator.next()).await, Some(1));
    settle().await;
    let unwound = catch_unwind(AssertUnwindSafe(move || {
        let _generator = generator;
        panic!("the consumer's own");
    }));
    assert!(unwound.is_err());
    assert_eq!(dropped.count(), 1);
}

/// The closure that makes the body is called at once, so its panic is the caller's, and nothing is left of the generator.
#[tokio::test]
async fn a_panic_in_what_makes_the_body_is_the_callers() {
    let (ctx, _keep) = Context::background().with_cancel();
    for buffer in [0, 2] {
        let started = catch_unwind(AssertUnwindSafe(|| {
            Generator::builder()
                .buffer(buffer)
                .spawn::<u8, _, std::future::Ready<()>>(&ctx, |_, _| panic!("no body"))
        }));
        assert_eq!(started.unwrap_err().downcast_ref::<&str>(), Some(&"no body"));
        assert!(ctx.live().is_empty());
        until("no task to be left", || Handle::current().metrics().num_alive_tasks() == 0).await;
    }
}

/// One generator's panic, handed through the body of the one that consumes it.
#[tokio::test]
async fn a_panic_goes_through_a_pipeline() {
    let mut outer = Generator::builder().spawn(&Context::background(), |ctx, co| async move {
        let mut inner = Generator::builder().spawn(&ctx, |_, co| async move {
            co.yield_(1).await;
            panic!("deep down");
        });
        while let Some(n) = inner.next().await {
            co.yield_(n).await;
        }
    });
    assert_eq!(within("the item", outer.next()).await, Some(1));
    assert_eq!(raised(&mut outer).await.downcast_ref::<&str>(), Some(&"deep down"));
    assert_eq!(within("the end", outer.next()).await, None);
}

/// A body that catches its own panics goes on.
#[tokio::test]
async fn a_panic_that_the_body_catches_is_its_own_affair() {
    let mut generator = Generator::builder().spawn(&Context::background(), |_, co| async move {
        let caught = AssertUnwindSafe(async {
            co.yield_(1).await;
            panic!("caught");
        });
        assert!(caught.catch_unwind().await.is_err());
        co.yield_(2).await;
    });
    assert_eq!(within("an item", generator.next()).await, Some(1));
    assert_eq!(within("an item", generator.next()).await, Some(2));
    assert_eq!(within("the end", generator.next()).await, None);
    assert!(matches!(generator.end(), Some(End::Finished)));
}
