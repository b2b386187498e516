//! The handle: what it tells, how it stops, and what it is (G2's end, G8, the table of section 3).

#![allow(dead_code, reason = "of the shared modules each file takes what it needs")]

mod by_hand;
mod patience;
mod witness;

use by_hand::Wakes;
use ctx_runtime::leak::{self, Entry, Report};
use ctx_runtime::{
    Abandoned, Builder, Canceller, Cause, Context, ContextError, Done, End, Finished, Generator, Panic,
    Yielder,
};
use futures_util::stream::{FusedStream, StreamExt};
use patience::{settle, until, within};
use std::cell::Cell;
use std::error::Error;
use std::fmt::{Debug, Display};
use std::future::pending;
use std::panic::UnwindSafe;
use std::rc::Rc;
use std::time::Duration;
use witness::Tally;

fn count(ctx: &Context) -> Generator<u32> {
    Generator::builder().name("count").spawn(ctx, |_, co| async move {
        for n in 0.. {
            co.yield_(n).await;
        }
    })
}

fn three(buffer: usize) -> Generator<u32> {
    Generator::builder().buffer(buffer).spawn(&Context::background(), |_, co| async move {
        for n in 0..3 {
            co.yield_(n).await;
        }
    })
}

// What it is: checked by the compiler.

#[test]
fn the_public_types_are_what_the_contract_says() {
    fn handle<T: Send + Sync + Unpin + 'static>() {}
    fn debug<T: Debug>() {}
    fn error<T: Error + Display + Clone + Send + Sync + 'static>() {}
    fn cloneable<T: Clone>() {}
    fn unwind_safe<T: UnwindSafe>() {}
    fn stream<T: StreamExt + FusedStream>() {}
    fn sends<T: Send + 'static>() {}

    handle::<Generator<String>>();
    handle::<Generator<Cell<u8>>>();
    stream::<Generator<Cell<u8>>>();
    debug::<Generator<String>>();
    handle::<Context>();
    unwind_safe::<Context>();
    cloneable::<Context>();
    debug::<Context>();
    handle::<Canceller>();
    cloneable::<Canceller>();
    debug::<Canceller>();
    handle::<Cause>();
    error::<Cause>();
    error::<ContextError>();
    error::<Abandoned>();
    error::<Finished>();
    error::<Panic>();
    cloneable::<End>();
    debug::<End>();
    handle::<End>();
    debug::<Builder>();
    debug::<Yielder<String>>();
    debug::<Report>();
    debug::<Entry>();

    sends::<Done>();
    sends::<Yielder<Cell<u8>>>();
}

#[test]
fn a_context_is_two_words() {
    assert_eq!(size_of::<Context>(), 2 * size_of::<usize>());
}

/// Bounds on the item stand on the impls: a type may hold a handle whatever its item is.
#[test]
fn a_handle_type_can_be_named_for_any_item() {
    struct Holder<T>(Option<Generator<T>>);
    assert!(Holder::<Rc<u8>>(None).0.is_none());
}

/// Not `Clone`: were it, the two impls would both apply and this would not compile.
#[test]
fn a_handle_cannot_be_cloned() {
    trait NotClone<Marker> {
        fn checked() {}
    }
    struct Any;
    struct Cloneable;
    impl<T: ?Sized> NotClone<Any> for T {}
    impl<T: Clone> NotClone<Cloneable> for T {}
    <Generator<u8> as NotClone<_>>::checked();
}

#[test]
fn the_futures_of_a_handle_can_be_sent() {
    fn sends<T: Send>(future: T) -> T {
        future
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let mut numbers = count(&Context::background());
    drop(sends(numbers.next()));
    drop(sends(numbers.stop()));
}

// The end.

/// G2.
#[tokio::test]
async fn next_after_the_end_stays_none_and_the_stream_knows() {
    for buffer in [0, 2, 5] {
        let mut numbers = three(buffer);
        for n in 0..3 {
            assert!(!numbers.is_terminated());
            assert_eq!(within("an item", numbers.next()).await, Some(n));
        }
        for _ in 0..5 {
            assert_eq!(within("the end", numbers.next()).await, None);
            assert!(numbers.is_terminated());
        }
        assert!(matches!(numbers.end(), Some(End::Finished)));
    }
}

/// A stream that has items, or a panic, to give is not terminated, though its body is gone.
#[tokio::test]
async fn a_stream_is_terminated_only_when_nothing_is_left_to_take() {
    let mut numbers = three(5);
    until("the body to end", || numbers.end().is_some()).await;
    assert!(!numbers.is_terminated());
    for n in 0..3 {
        assert!(!numbers.is_terminated());
        assert_eq!(within("an item", numbers.next()).await, Some(n));
    }

    let broken = Generator::builder()
        .buffer(1)
        .spawn::<u8, _, _>(&Context::background(), |_, _| async { panic!("broken") });
    until("the body to end", || broken.end().is_some()).await;
    assert!(!broken.is_terminated(), "the panic is still to be raised");
}

#[tokio::test]
async fn the_end_is_known_as_soon_as_the_body_is_gone() {
    let numbers = three(5);
    assert!(numbers.end().is_none());
    until("the body to end", || numbers.end().is_some()).await;
    assert!(matches!(numbers.end(), Some(End::Finished)));

    let mut numbers = count(&Context::background());
    assert_eq!(within("an item", numbers.next()).await, Some(0));
    assert!(numbers.end().is_none());
    numbers.cancel();
    settle().await;
    assert!(matches!(numbers.end(), Some(End::Cancelled(_))));
}

/// The own context is done after each kind of end, and says why.
#[tokio::test(start_paused = true)]
async fn the_generators_context_is_done_after_each_end_and_its_cause_says_why() {
    // Finished.
    let mut numbers = three(0);
    while within("an item", numbers.next()).await.is_some() {}
    let cause = numbers.context().cause().unwrap();
    assert!(cause.downcast_ref::<Finished>().is_some(), "{cause}");
    assert_eq!(numbers.context().err(), Some(ContextError::Cancelled));

    // Dropped.
    let mut numbers = count(&Context::background());
    assert_eq!(within("an item", numbers.next()).await, Some(0));
    let ctx = numbers.context().clone();
    drop(numbers);
    let cause = ctx.cause().unwrap();
    assert!(cause.downcast_ref::<Abandoned>().is_some(), "{cause}");

    // Cancelled by its handle.
    let mut numbers = count(&Context::background());
    numbers.cancel();
    let line = line!() - 1;
    assert!(numbers.context().is_done(), "at once");
    assert_eq!(within("the end", numbers.next()).await, None);
    let Some(End::Cancelled(cause)) = numbers.end() else { panic!("cancelled") };
    assert_eq!((cause.origin().file(), cause.origin().line()), (file!(), line));
    assert_eq!(numbers.context().cause().unwrap().origin().line(), line);

    // Cancelled from above.
    let (parent, canceller) = Context::background().with_cancel();
    let mut numbers = count(&parent);
    canceller.cancel_with("client went away");
    let line = line!() - 1;
    assert_eq!(within("the end", numbers.next()).await, None);
    let Some(End::Cancelled(cause)) = numbers.end() else { panic!("cancelled") };
    assert_eq!(cause.to_string(), format!("context cancelled at {}:{line}: client went away", file!()));
    assert_eq!(numbers.context().cause().unwrap().to_string(), cause.to_string());

    // Out of time.
    let mut numbers =
        count(&Context::background().with_timeout_cause(Duration::from_secs(1), "the bus has left"));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(within("the end", numbers.next()).await, None);
    let Some(End::Cancelled(cause)) = numbers.end() else { panic!("cancelled") };
    assert_eq!(cause.kind(), ContextError::DeadlineExceeded);
    assert!(cause.to_string().ends_with(": the bus has left"));
    assert_eq!(numbers.context().err(), Some(ContextError::DeadlineExceeded));

    // Panicked.
    let broken = Generator::builder()
        .buffer(1)
        .spawn::<u8, _, _>(&Context::background(), |_, _| async { panic!("broken") });
    until("the body to panic", || broken.end().is_some()).await;
    assert!(broken.context().is_done());
}

/// The first end stands.
#[tokio::test]
async fn a_cancel_after_the_end_changes_nothing() {
    let (ctx, canceller) = Context::background().with_cancel();
    let mut numbers = Generator::builder().buffer(1).spawn(&ctx, |_, co| async move { co.yield_(7).await });
    until("the body to end", || numbers.end().is_some()).await;
    numbers.cancel();
    canceller.cancel();
    assert_eq!(within("what was accepted", numbers.next()).await, Some(7));
    assert_eq!(within("the end", numbers.next()).await, None);
    assert!(matches!(numbers.end(), Some(End::Finished)));
    assert!(numbers.context().cause().unwrap().downcast_ref::<Finished>().is_some());
    assert!(matches!(within("the stop", numbers.stop()).await, End::Finished));
}

/// An end affects nobody above or beside (C3).
#[tokio::test]
async fn the_end_of_a_generator_leaves_its_parent_and_its_siblings_alone() {
    let (ctx, _keep) = Context::background().with_cancel();
    let (cancelled, dropped) = (count(&ctx), count(&ctx));
    let mut left = count(&ctx);
    assert_eq!(ctx.live().len(), 3);
    cancelled.cancel();
    drop(dropped);
    assert!(!ctx.is_done());
    assert_eq!(within("an item", left.next()).await, Some(0));
    settle().await;
    assert_eq!(ctx.live().len(), 1);
}

// `stop`.

#[tokio::test]
async fn stop_waits_until_the_body_is_gone_and_says_how_it_ended() {
    let dropped = Tally::new();
    let guard = dropped.on_drop();
    let mut numbers = Generator::builder().spawn(&Context::background(), |_, co| async move {
        let _guard = guard;
        co.yield_(1).await;
        pending::<()>().await;
    });
    assert_eq!(within("an item", numbers.next()).await, Some(1));
    let ctx = numbers.context().clone();
    let End::Cancelled(cause) = within("the stop", numbers.stop()).await else { panic!("cancelled") };
    assert_eq!(cause.kind(), ContextError::Cancelled);
    assert_eq!(dropped.count(), 1);
    assert!(ctx.is_done() && ctx.live().is_empty());
}

#[tokio::test]
async fn stop_drops_what_was_not_taken() {
    let dropped = Tally::new();
    let items = dropped.clone();
    let generator = Generator::builder().buffer(3).spawn(&Context::background(), |_, co| async move {
        for _ in 0..2 {
            co.yield_(items.on_drop()).await;
        }
    });
    until("the body to end", || generator.end().is_some()).await;
    assert_eq!(dropped.count(), 0);
    assert!(matches!(within("the stop", generator.stop()).await, End::Finished));
    assert_eq!(dropped.count(), 2);
}

#[tokio::test]
async fn stop_of_a_generator_that_was_never_asked_ends_it() {
    assert!(matches!(within("the stop", three(0).stop()).await, End::Cancelled(_)));
}

/// `stop` waits for a body that runs on another thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stop_waits_for_a_poll_in_progress() {
    let (running, is_running) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let over = Tally::new();
    let generator = Generator::builder().buffer(1).spawn(&Context::background(), {
        let over = over.clone();
        |_, co| async move {
            running.send(()).unwrap();
            patience::receive("to be let go", &released);
            over.tick();
            co.yield_(1).await;
        }
    });
    patience::receive("the body to run", &is_running);
    let mut stop = Box::pin(generator.stop());
    assert!(by_hand::poll_once(stop.as_mut(), &Wakes::new().1).is_pending());
    release.send(()).unwrap();
    assert!(matches!(within("the stop", stop).await, End::Cancelled(_)));
    assert_eq!(over.count(), 1);
}

// What it tells.

#[tokio::test]
async fn a_generator_has_its_name_and_the_report_its_line() {
    let (ctx, _keep) = Context::background().with_cancel();
    assert!(ctx.live().is_empty());
    let numbers = Generator::builder().name(format!("feed {}", 7)).spawn::<u8, _, _>(&ctx, |_, _| pending());
    let line = line!() - 1;
    assert_eq!(numbers.name(), "feed 7");

    let report = ctx.live();
    assert_eq!(report.len(), 1);
    let entry = report.iter().next().unwrap();
    assert_eq!(entry.name(), "feed 7");
    assert_eq!((entry.started().file(), entry.started().line()), (file!(), line));
    let shown = report.to_string();
    assert!(shown.contains("feed 7") && shown.contains(&format!("{}:{line}", file!())), "{shown}");

    drop(numbers);
    assert!(ctx.live().is_empty());
    assert_eq!(report.len(), 1, "a report is what was");
}

/// Each context sees what is below it; the process sees all.
#[tokio::test]
async fn a_report_is_of_what_is_below_the_context() {
    let (ctx, _keep) = Context::background().with_cancel();
    let (left, _keep_left) = ctx.with_cancel();
    let right = ctx.with_value("right");
    let names = |report: &Report| -> Vec<String> {
        let mut names: Vec<_> = report.iter().map(|entry| entry.name().to_owned()).collect();
        names.sort();
        names
    };
    let start = |ctx: &Context, name: &'static str| {
        Generator::builder().name(name).spawn::<u8, _, _>(ctx, |_, _| pending())
    };
    let generators = [
        start(&left, "a report: left"),
        start(&right, "a report: right"),
        start(&Context::background(), "a report: a root"),
    ];
    assert_eq!(names(&left.live()), ["a report: left"]);
    assert_eq!(names(&ctx.live()), ["a report: left", "a report: right"]);
    assert_eq!(names(&generators[2].context().live()), ["a report: a root"]);
    let all = names(&leak::live());
    for name in ["a report: left", "a report: right", "a report: a root"] {
        assert!(all.iter().any(|it| it == name), "{name} is missing of {all:?}");
    }
    drop(generators);
    assert!(!names(&Context::background().live()).iter().any(|name| name.starts_with("a report: ")));
}

/// Ended generators are off the list, also while their handle is kept and their items are not taken.
#[tokio::test]
async fn a_generator_whose_body_is_gone_is_not_alive() {
    let (ctx, canceller) = Context::background().with_cancel();
    let finished = Generator::builder().buffer(3).spawn(&ctx, |_, co| async move { co.yield_(1).await });
    let second = count(&ctx);
    until("the first to finish", || finished.end().is_some()).await;
    assert_eq!(ctx.live().len(), 1);
    canceller.cancel();
    until("the second to end", || ctx.live().is_empty()).await;
    assert!(second.end().is_some());
    drop(finished);
}

#[tokio::test]
async fn everything_is_printed() {
    let mut numbers = count(&Context::background());
    assert!(format!("{numbers:?}").contains("count"));
    numbers.cancel();
    assert_eq!(within("the end", numbers.next()).await, None);
    let shown = format!("{numbers:?}");
    assert!(shown.contains("Cancelled"), "{shown}");
    let end = numbers.end().unwrap().to_string();
    assert!(end.contains(file!()), "{end}");
    assert_eq!(End::Finished.to_string(), "finished");
    assert!(!End::Aborted.to_string().is_empty());
}

// As a stream.

#[tokio::test]
async fn a_generator_is_a_stream() {
    assert_eq!(within("the items", three(0).collect::<Vec<_>>()).await, [0, 1, 2]);
    let twice = count(&Context::background()).map(|n| n * 2).skip(1).take(3);
    assert_eq!(within("the items", twice.collect::<Vec<_>>()).await, [2, 4, 6]);
    let merged = futures_util::stream::select(three(0), three(2));
    assert_eq!(within("the items", merged.count()).await, 6);
    let mut numbers = three(0);
    futures_util::select! {
        item = StreamExt::select_next_some(&mut numbers) => assert_eq!(item, 0),
        complete => panic!("not at its end"),
    }
}

// Bad input of the issue.

#[tokio::test(start_paused = true)]
async fn timeouts_of_zero_and_without_end_work() {
    let mut never = count(&Context::background().with_timeout(Duration::ZERO));
    assert_eq!(within("the end", never.next()).await, None);
    let Some(End::Cancelled(cause)) = never.end() else { panic!("cancelled") };
    assert_eq!(cause.kind(), ContextError::DeadlineExceeded);

    let mut always = count(&Context::background().with_timeout(Duration::MAX));
    tokio::time::advance(Duration::from_secs(100_000)).await;
    for n in 0..10 {
        assert_eq!(within("an item", always.next()).await, Some(n));
    }
}
