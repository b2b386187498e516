//! The context: who wants the work to go on, until when, and with which values.
//!
//! [`Context`] and [`Canceller`] are handles; [`tree`] is what they hold on to, [`deadline`] ends it by the clock,
//! [`values`] hang beside it, and [`cause`] says why it is done.

mod cause;
mod deadline;
mod list;
mod tree;
mod values;

use self::cause::Reason;
pub use self::cause::{Abandoned, Cause, ContextError, Finished};
use self::deadline::Deadline;
use self::tree::{CancellerRef, Member};
pub(crate) use self::tree::{NodeRef, Payload, Wait};
use self::values::Values;
use std::any::Any;
use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::pin::Pin;
use std::task::{self, Poll, ready};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::Instant;

/// A handle on a piece of work: whether it is still wanted, until when, and with which values.
///
/// Go's `context.Context`. Contexts form a tree: what is made from one is below it, and is done when it is. A child
/// never affects its parent or its siblings.
///
/// - When [`Canceller::cancel`] returns, every context below is done (C1). The first cancel wins: kind and cause are
///   published in one step and never change (C2).
/// - A context made from one that is done is born done, with its kind and cause (C3).
/// - A deadline ends a context on tokio's clock, also a paused one. A child cannot extend its parent's (C4).
/// - [`is_done`](Context::is_done) is one atomic load, and a look at the clock where a deadline applies (C9).
///
/// Two words, cheap to clone; a clone is the same context. Dropping a context cancels nothing: that is the
/// [`Canceller`]'s.
///
/// # Examples
///
/// ```
/// use ctx_runtime::Context;
///
/// let (ctx, canceller) = Context::background().with_cancel();
/// let (child, _keep) = ctx.with_cancel();
/// canceller.cancel();
/// assert!(child.is_done());
/// ```
#[derive(Clone)]
pub struct Context {
    /// `None` in `background` and what only adds values to it: never done.
    node: Option<NodeRef>,
    values: Values,
}

impl UnwindSafe for Context {}
impl RefUnwindSafe for Context {}

impl Context {
    /// Returns the context that everything starts from: never done, no deadline, no values.
    ///
    /// Allocates nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use ctx_runtime::Context;
    ///
    /// static ROOT: Context = Context::background();
    /// assert!(!ROOT.is_done());
    /// ```
    #[must_use]
    pub const fn background() -> Self {
        Self { node: None, values: Values::new() }
    }

    /// Returns the same as [`background`](Context::background), and says that the right context is still to be passed in.
    ///
    /// # Examples
    ///
    /// ```
    /// use ctx_runtime::Context;
    ///
    /// assert!(!Context::todo().is_done());
    /// ```
    #[must_use]
    pub const fn todo() -> Self {
        Self::background()
    }

    /// Makes a child, and the one who may cancel it.
    ///
    /// When the last clone of the [`Canceller`] is dropped, the child is cancelled with the cause [`Abandoned`]: Go's
    /// `defer cancel()`, not to be forgotten. So `let (ctx, _) = …` is done at once, and its cause names this line.
    ///
    /// # Examples
    ///
    /// ```
    /// use ctx_runtime::Context;
    ///
    /// let (ctx, canceller) = Context::background().with_cancel();
    /// assert!(!ctx.is_done());
    /// canceller.cancel();
    /// assert!(ctx.is_done());
    /// ```
    #[must_use = "without its canceller the context is done at once"]
    #[track_caller]
    pub fn with_cancel(&self) -> (Self, Canceller) {
        let node = NodeRef::new(self.node.as_ref(), None, None, Location::caller());
        let canceller = Canceller { node: CancellerRef::new(&node) };
        (Self { node: Some(node), values: self.values.clone() }, canceller)
    }

    /// Makes a child that is done at `deadline`, or at its parent's if that is earlier.
    ///
    /// There is no handle to keep: what the deadline holds is released with the last context that it applies to. A
    /// deadline that has passed gives a context that is done. A timer runs only while somebody waits (C4).
    ///
    /// # Panics
    ///
    /// If called outside a tokio runtime, or in one without a timer.
    ///
    /// # Examples
    ///
    /// ```
    /// use ctx_runtime::{Context, ContextError};
    /// use tokio::time::{Duration, Instant};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// let ctx = Context::background().with_deadline(Instant::now() + Duration::from_secs(3));
    /// ctx.done().await;
    /// assert_eq!(ctx.err(), Some(ContextError::DeadlineExceeded));
    /// # }
    /// ```
    #[must_use = "the deadline applies to the returned context, not to this one"]
    #[track_caller]
    pub fn with_deadline(&self, deadline: Instant) -> Self {
        self.at(deadline, Cause::plain(Reason::DeadlineExceeded, Location::caller()))
    }

    /// Makes a child that is done at `deadline` with this cause, or when its parent is, with its parent's.
    ///
    /// As [`with_deadline`](Context::with_deadline).
    ///
    /// # Panics
    ///
    /// If called outside a tokio runtime, or in one without a timer.
    ///
    /// # Examples
    ///
    /// ```
    /// use ctx_runtime::Context;
    /// use tokio::time::Instant;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let ctx = Context::background().with_deadline_cause(Instant::now(), "the bus has left");
    /// assert!(ctx.cause().unwrap().to_string().ends_with("the bus has left"));
    /// # }
    /// ```
    #[must_use = "the deadline applies to the returned context, not to this one"]
    #[track_caller]
    pub fn with_deadline_cause(
        &self,
        deadline: Instant,
        cause: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        let origin = Location::caller();
        self.at(deadline, Cause::custom(ContextError::DeadlineExceeded, cause.into(), origin))
    }

    /// Makes a child that is done when `timeout` has gone by, or at its parent's deadline if that is earlier.
    ///
    /// As [`with_deadline`](Context::with_deadline) from now. A timeout that the clock cannot express, such as
    /// `Duration::MAX`, ends some thirty years from now.
    ///
    /// # Panics
    ///
    /// If called outside a tokio runtime, or in one without a timer.
    ///
    /// # Examples
    ///
    /// ```
    /// use ctx_runtime::Context;
    /// use std::time::Duration;
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// let ctx = Context::background().with_timeout(Duration::from_secs(3));
    /// assert!(ctx.run(std::future::pending::<()>()).await.is_err());
    /// # }
    /// ```
    #[must_use = "the timeout applies to the returned context, not to this one"]
    #[track_caller]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        self.with_deadline(deadline::after(timeout))
    }

    /// Makes a child that is done with this cause when `timeout` has gone by, or when its parent is, with its parent's.
    ///
    /// As [`with_timeout`](Context::with_timeout).
    ///
    /// # Panics
    ///
    /// If called outside a tokio runtime, or in one without a timer.
    ///
    /// # Examples
    ///
    /// ```
    /// use ctx_runtime::Context;
    /// use std::time::Duration;
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// let ctx = Context::background().with_timeout_cause(Duration::from_secs(3), "upstream is slow");
    /// let cause = ctx.run(std::future::pending::<()>()).await.unwrap_err();
    /// assert!(cause.to_string().ends_with(": upstream is slow"));
    /// # }
    /// ```
    #[must_use = "the timeout applies to the returned context, not to this one"]
    #[track_caller]
    pub fn with_timeout_cause(
        &self,
        timeout: Duration,
        cause: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        self.with_deadline_cause(deadline::after(timeout), cause)
    }

    #[track_caller]
    fn at(&self, at: Instant, cause: Cause) -> Self {
        let Ok(home) = Handle::try_current() else {
            panic!(
                "a deadline needs a tokio runtime to keep its time: set it from within one, \
                 or enter one first with `let _inside = handle.enter();`"
            );
        };
        let made = Location::caller();
        let own = match self.deadline() {
            Some(parent) if parent <= at => None,
            _ => Some(Deadline::new(at, cause, home)),
        };
        let node = NodeRef::new(self.node.as_ref(), own, None, made);
        // One that has passed is published here and now (C4).
        node.is_done();
        Self { node: Some(node), values: self.values.clone() }
    }

    /// Returns this context with one more value, which hides an older one of the same type.
    ///
    /// Creates nothing that could be cancelled: the two are done at once, when they are.
    ///
    /// # Examples
    ///
    /// ```
    /// use ctx_runtime::Context;
    ///
    /// #[derive(Debug, PartialEq)]
    /// struct Tenant(u32);
    ///
    /// let ctx = Context::background().with_value(Tenant(7));
    /// assert_eq!(ctx.value(), Some(&Tenant(7)));
    /// ```
    #[must_use = "the value is in the returned context, not in this one"]
    pub fn with_value<T: Any + Send + Sync>(&self, value: T) -> Self {
        Self { node: self.node.clone(), values: self.values.with(value) }
    }

    /// Returns the nearest value of type `T`: set last, here or above.
    ///
    /// # Examples
    ///
    /// ```
    /// use ctx_runtime::Context;
    ///
    /// let ctx = Context::background().with_value("de");
    /// assert_eq!(ctx.value::<&str>(), Some(&"de"));
    /// assert_eq!(ctx.value::<u8>(), None);
    /// ```
    #[must_use]
    pub fn value<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.values.get()
    }

    /// Tells whether this context is done.
    ///
    /// One atomic load, and a look at the clock where a deadline applies (C9). True exactly when
    /// [`err`](Context::err) is some, and once true, for ever.
    ///
    /// # Examples
    ///
    /// ```
    /// use ctx_runtime::Context;
    ///
    /// assert!(!Context::background().is_done());
    /// ```
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.node.as_ref().is_some_and(|node| node.is_done())
    }

    /// Returns how this context ended: cancelled, or out of time. `None` while it goes on.
    ///
    /// # Examples
    ///
    /// ```
    /// use ctx_runtime::{Context, ContextError};
    ///
    /// let (ctx, canceller) = Context::background().with_cancel();
    /// assert_eq!(ctx.err(), None);
    /// canceller.cancel();
    /// assert_eq!(ctx.err(), Some(ContextError::Cancelled));
    /// ```
    #[must_use]
    pub fn err(&self) -> Option<ContextError> {
        self.cause().map(|cause| cause.kind())
    }

    /// Returns why this context ended. `None` while it goes on.
    ///
    /// # Examples
    ///
    /// ```
    /// use ctx_runtime::Context;
    ///
    /// let (ctx, canceller) = Context::background().with_cancel();
    /// canceller.cancel_with("client went away");
    /// println!("{}", ctx.cause().unwrap()); // context cancelled at src/main.rs:4: client went away
    /// ```
    #[must_use]
    pub fn cause(&self) -> Option<Cause> {
        self.node.as_ref().and_then(|node| node.cause())
    }

    /// Returns when time runs out: the earliest deadline of this context and those above it.
    ///
    /// # Examples
    ///
    /// ```
    /// use ctx_runtime::Context;
    ///
    /// assert_eq!(Context::background().deadline(), None);
    /// ```
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        Some(self.node.as_ref()?.deadline()?.at())
    }

    /// Returns the time that is left until the [`deadline`](Context::deadline); zero when it has passed.
    ///
    /// # Examples
    ///
    /// ```
    /// use ctx_runtime::Context;
    /// use std::time::Duration;
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// let ctx = Context::background().with_timeout(Duration::from_secs(3));
    /// assert_eq!(ctx.remaining(), Some(Duration::from_secs(3)));
    /// # }
    /// ```
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        Some(self.deadline()?.saturating_duration_since(Instant::now()))
    }

    /// Returns a future that is ready when this context is done; of [`background`](Context::background), never.
    ///
    /// It borrows nothing, so it fits where a `'static` future is asked for, such as axum's
    /// `with_graceful_shutdown`. Waiting allocates nothing.
    ///
    /// # Cancel safety
    ///
    /// Dropping it loses nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use ctx_runtime::Context;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let (ctx, canceller) = Context::background().with_cancel();
    /// let waiter = tokio::spawn(ctx.done());
    /// canceller.cancel();
    /// waiter.await.unwrap();
    /// # }
    /// ```
    pub fn done(&self) -> Done {
        Done { wait: Wait::new(self.node.clone()) }
    }

    /// Runs `future` until it is ready or this context is done, within the current task.
    ///
    /// The context is looked at before every poll: on a tie it wins, and if it is done from the start, `future` is never
    /// polled. A `future` that completes in a poll that was begun gives `Ok` (C10). When the context wins, `future` has
    /// been dropped when this returns.
    ///
    /// # Cancel safety
    ///
    /// That of `future`, which is dropped with it.
    ///
    /// # Errors
    ///
    /// The cause of this context, if it was done first.
    ///
    /// # Examples
    ///
    /// ```
    /// use ctx_runtime::Context;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let (ctx, canceller) = Context::background().with_cancel();
    /// assert_eq!(ctx.run(async { 7 }).await.unwrap(), 7);
    /// canceller.cancel();
    /// assert!(ctx.run(async { 7 }).await.is_err());
    /// # }
    /// ```
    pub fn run<F: Future>(&self, future: F) -> impl Future<Output = Result<F::Output, Cause>> + use<'_, F> {
        Run { ctx: self, wait: Wait::new(self.node.clone()), future: Some(future) }
    }

    /// The context of a generator below this one. It is listed from now on as alive.
    pub(crate) fn with_member(&self, name: Cow<'static, str>, made: &'static Location<'static>) -> Self {
        let member = Box::new(Member::new(name));
        let node = NodeRef::new(self.node.as_ref(), None, Some(member), made);
        node.register();
        Self { node: Some(node), values: self.values.clone() }
    }

    pub(crate) fn node(&self) -> Option<&NodeRef> {
        self.node.as_ref()
    }

    /// Cancels this very context, as only who made it may.
    pub(crate) fn end(&self, end: Ending) {
        let Some(node) = &self.node else { return };
        node.cancel(match end {
            Ending::Cancelled(origin) => Cause::plain(Reason::Cancelled, origin),
            Ending::Abandoned => Cause::plain(Reason::Abandoned, node.made()),
            Ending::Finished => Cause::plain(Reason::Finished, node.made()),
            Ending::Failed(error) => Cause::custom(ContextError::Cancelled, error, node.made()),
        });
    }
}

/// How a generator ends its own context.
pub(crate) enum Ending {
    Cancelled(&'static Location<'static>),
    Abandoned,
    Finished,
    Failed(Box<dyn Error + Send + Sync>),
}

impl Default for Context {
    /// The same as [`Context::background`].
    fn default() -> Self {
        Self::background()
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Context");
        match self.cause() {
            Some(cause) => debug.field("done", &format_args!("{cause}")),
            None => debug.field("done", &false),
        };
        if let Some(remaining) = self.remaining() {
            debug.field("remaining", &remaining);
        }
        debug.field("values", &self.values.len()).finish_non_exhaustive()
    }
}

/// One who may cancel a context.
///
/// Clones may cancel the same context. When the last clone is dropped, the context is cancelled with the cause
/// [`Abandoned`], unless [`disarm`](Canceller::disarm) was called on any of them.
///
/// # Examples
///
/// ```
/// use ctx_runtime::Context;
///
/// let (ctx, canceller) = Context::background().with_cancel();
/// {
///     let _until_the_end_of_the_scope = canceller;
///     assert!(!ctx.is_done());
/// }
/// assert!(ctx.is_done());
/// ```
#[must_use = "dropping the last canceller cancels the context"]
#[derive(Clone)]
pub struct Canceller {
    node: CancellerRef,
}

impl UnwindSafe for Canceller {}
impl RefUnwindSafe for Canceller {}

impl Canceller {
    /// Cancels the context and all below it.
    ///
    /// When this returns, all of them are done (C1). A context that is done already stays as it was (C2); if its
    /// deadline had passed, it ends as `DeadlineExceeded`. Wakers run before this returns, on this thread.
    ///
    /// # Panics
    ///
    /// With the first panic among the wakers that it ran, after all have run.
    ///
    /// # Examples
    ///
    /// ```
    /// use ctx_runtime::Context;
    ///
    /// let (ctx, canceller) = Context::background().with_cancel();
    /// canceller.cancel();
    /// canceller.cancel(); // nothing more to do
    /// assert!(ctx.is_done());
    /// ```
    #[track_caller]
    pub fn cancel(&self) {
        self.node.node().cancel(Cause::plain(Reason::Cancelled, Location::caller()));
    }

    /// Cancels as [`cancel`](Canceller::cancel) does, and says why.
    ///
    /// `cause` may be any error, or a text. If it is a [`Cause`] itself, it keeps its first origin.
    ///
    /// # Panics
    ///
    /// As [`cancel`](Canceller::cancel).
    ///
    /// # Examples
    ///
    /// ```
    /// use ctx_runtime::Context;
    ///
    /// let (ctx, canceller) = Context::background().with_cancel();
    /// canceller.cancel_with("client went away");
    /// assert!(ctx.cause().unwrap().to_string().ends_with(": client went away"));
    /// ```
    #[track_caller]
    pub fn cancel_with(&self, cause: impl Into<Box<dyn Error + Send + Sync>>) {
        let origin = Location::caller();
        self.node.node().cancel(Cause::custom(ContextError::Cancelled, cause.into(), origin));
    }

    /// Gives up, for this canceller and all its clones, that the context is cancelled when the last of them is dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use ctx_runtime::Context;
    ///
    /// let (ctx, canceller) = Context::background().with_cancel();
    /// canceller.disarm();
    /// drop(canceller);
    /// assert!(!ctx.is_done());
    /// ```
    pub fn disarm(&self) {
        self.node.node().disarm();
    }
}

impl fmt::Debug for Canceller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Canceller").field("done", &self.node.node().is_done()).finish()
    }
}

pin_project_lite::pin_project! {
    /// The future of [`Context::done`]: ready when the context is done.
    ///
    /// # Examples
    ///
    /// ```
    /// use ctx_runtime::{Context, Done};
    ///
    /// let until: Done = Context::background().done();
    /// ```
    #[must_use = "futures do nothing unless polled"]
    pub struct Done {
        #[pin]
        wait: Wait,
    }
}

impl UnwindSafe for Done {}
impl RefUnwindSafe for Done {}

impl Future for Done {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        self.project().wait.poll(cx)
    }
}

impl fmt::Debug for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Done").finish_non_exhaustive()
    }
}

pin_project_lite::pin_project! {
    /// The future of [`Context::run`].
    struct Run<'a, F> {
        ctx: &'a Context,
        #[pin]
        wait: Wait,
        // Gone when the context has won.
        #[pin]
        future: Option<F>,
    }
}

impl<F: Future> Future for Run<'_, F> {
    type Output = Result<F::Output, Cause>;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let mut cause = this.ctx.cause();
        if cause.is_none() {
            let future = this.future.as_mut().as_pin_mut().expect("`Run` was polled after it was ready");
            if let Poll::Ready(output) = future.poll(cx) {
                return Poll::Ready(Ok(output));
            }
            ready!(this.wait.poll(cx));
            cause = this.ctx.cause();
        }
        let cause = cause.expect("a context that is done has a cause");
        this.future.set(None);
        Poll::Ready(Err(cause))
    }
}
