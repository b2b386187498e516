//! What the expansions of the attributes refer to beyond the public names. Not for anybody else.

use crate::context::Context;
pub use crate::generator::{InlineYielder, inline};
use std::future::{Future, poll_fn};
use std::panic::{self, AssertUnwindSafe};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

/// Takes an item type apart that is a `Result`, also where a path to it leaves the error type unsaid.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a `Result`",
    note = "a generator whose item type is a path that ends in `Result` yields errors with `?`: that takes `core::result::Result`"
)]
pub trait ResultItem {
    type Ok;
    type Error;

    fn from_error(error: Self::Error) -> Self;
}

impl<T, E> ResultItem for Result<T, E> {
    type Ok = T;
    type Error = E;

    fn from_error(error: E) -> Self {
        Err(error)
    }
}

/// How long a test waits for its generators and tasks to end, on the test's own clock.
const GRACE: Duration = Duration::from_secs(1);

/// Runs the body of a `#[ctx_runtime::test]` under a root context of its own, then cancels that and waits.
///
/// # Panics
///
/// With the body's panic; else if a generator or a task below the context has not ended within the grace.
pub async fn run_test<F: Future>(name: &str, body: impl FnOnce(Context) -> F) -> F::Output {
    let (ctx, canceller) = Context::background().with_cancel();
    let root = ctx.clone();
    let mut running = pin!(body(ctx));
    let output = poll_fn(|cx| match panic::catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(cx))) {
        Ok(polled) => polled.map(Ok),
        Err(payload) => Poll::Ready(Err(payload)),
    })
    .await;
    let ended = tokio::time::timeout(GRACE, canceller.cancel_and_wait()).await;
    let output = output.unwrap_or_else(|payload| panic::resume_unwind(payload));
    assert!(ended.is_ok(), "`{name}` leaks: {GRACE:?} after its context was cancelled, {}", root.live());
    output
}
