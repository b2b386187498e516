//! `#[ctx_runtime::test]`: a context for each test, and a failure for each generator or task that stays.

use ctx_runtime::leak::Entry;
use ctx_runtime::{Context, Generator, generator};
use std::io;
use std::time::Duration;
use tokio::runtime::{Builder, Handle, RuntimeFlavor};
use tokio::time::Instant;

#[generator(cancellable)]
async fn count(ctx: &Context) -> u64 {
    for n in 0.. {
        yield_!(n);
    }
}

fn silent(ctx: &Context, name: &'static str) -> Generator<u8> {
    Generator::builder().name(name).buffer(1).spawn(ctx, |_, _| std::future::pending())
}

#[ctx_runtime::test]
async fn the_context_is_live_while_the_test_runs(ctx: Context) {
    let mut numbers = count(&ctx);
    assert_eq!(numbers.next().await, Some(0));
    assert!(!ctx.is_done());
}

/// Its handle stays alive for ever; the end of the test ends it all the same.
#[ctx_runtime::test]
async fn what_the_test_forgets_is_ended(ctx: Context) {
    std::mem::forget(silent(&ctx, "forgotten"));
}

#[ctx_runtime::test]
async fn the_context_may_be_taken_by_reference(ctx: &Context) {
    assert_eq!(ctx.live().len(), 0);
}

#[ctx_runtime::test]
async fn a_test_may_return_a_result(ctx: Context) -> io::Result<()> {
    let numbers = count(&ctx);
    Err(io::Error::other(numbers.name())).or(Ok(()))
}

#[ctx_runtime::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_options_are_tokios(_ctx: Context) {
    assert_eq!(Handle::current().runtime_flavor(), RuntimeFlavor::MultiThread);
    assert_eq!(Handle::current().metrics().num_workers(), 2);
}

#[ctx_runtime::test(start_paused = true)]
async fn a_paused_clock_is_paused(_ctx: Context) {
    let start = Instant::now();
    tokio::time::advance(Duration::from_hours(1)).await;
    assert_eq!(start.elapsed(), Duration::from_hours(1));
}

#[ctx_runtime::test(crate = ctx_runtime)]
async fn the_crate_may_be_named(ctx: Context) {
    assert!(!ctx.is_done());
}

/// Each sees what it has started and no more, however many run at the same time.
mod side_by_side {
    use super::{Context, Entry, silent};

    #[ctx_runtime::test]
    async fn one(ctx: Context) {
        let _one = silent(&ctx, "one");
        assert_eq!(ctx.live().iter().map(Entry::name).collect::<Vec<_>>(), ["one"]);
    }

    #[ctx_runtime::test]
    async fn another(ctx: Context) {
        let _another = silent(&ctx, "another");
        assert_eq!(ctx.live().iter().map(Entry::name).collect::<Vec<_>>(), ["another"]);
    }
}

/// Starts a generator on a runtime that nobody drives: it is stopped with `ctx`, and stays.
fn leak(ctx: &Context, name: &'static str) {
    let stalled = Builder::new_current_thread().build().unwrap();
    let inside = stalled.enter();
    std::mem::forget(silent(ctx, name));
    drop(inside);
    std::mem::forget(stalled);
}

#[ctx_runtime::test(start_paused = true)]
#[should_panic(expected = "1 alive\n  the one that stays started at tests/test_attribute.rs")]
async fn what_stays_fails_the_test_and_is_named(ctx: Context) {
    leak(&ctx, "the one that stays");
}

#[ctx_runtime::test(start_paused = true)]
#[should_panic(expected = "2 alive")]
async fn all_that_stay_are_named(ctx: Context) {
    leak(&ctx, "one");
    leak(&ctx, "another");
}

/// A task that stays, too, and is told from a generator.
#[ctx_runtime::test(start_paused = true)]
#[should_panic(expected = "1 alive\n  task spawned at tests/test_attribute.rs")]
async fn a_task_that_stays_fails_the_test_and_is_named(ctx: Context) {
    let stalled = Builder::new_current_thread().build().unwrap();
    let inside = stalled.enter();
    drop(ctx.spawn(std::future::pending::<()>()));
    drop(inside);
    std::mem::forget(stalled);
}

#[ctx_runtime::test]
async fn a_task_that_goes_on_is_ended(ctx: Context) {
    drop(ctx.spawn(std::future::pending::<()>()));
    assert_eq!(ctx.live().len(), 1);
}

#[ctx_runtime::test(start_paused = true)]
#[should_panic(expected = "its own words")]
async fn a_panic_of_the_test_comes_before_what_stays(ctx: Context) {
    leak(&ctx, "stays too");
    panic!("its own words");
}
