//! The context: who wants the work to go on, until when, and with which values.
//!
//! [`Context`] and [`Canceller`] are handles; [`tree`] is what they hold on to, [`deadline`] ends it by the clock,
//! [`values`] hang beside it, and [`cause`] says why it is done.

mod cause;
mod deadline;
mod end;
mod list;
mod lock;
#[cfg(all(test, loom))]
mod models;
#[cfg(any(feature = "signal", feature = "tokio-util"))]
mod source;
mod tree;
mod values;

use self::cause::Reason;
pub use self::cause::{Abandoned, Cause, ContextError, Finished};
use self::deadline::Deadline;
pub(crate) use self::lock::Lock;
use self::tree::{CancellerRef, Kind, Own, Registered, Registration};
pub(crate) use self::tree::{
    Ended, Hooks, InlineMember, Member, Node, NodeRef, OnThread, Payload, TaskRef, Wait, Within, cleaning_up,
    discard, is_within, is_within_stopped, quietly,
};
use self::values::Values;
use crate::loom::Mutex;
use std::any::Any;
use std::error::Error;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{self, Poll, Wake, Waker, ready};
use std::thread;
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
        let (node, canceller) = CancellerRef::new(self.node.as_ref(), Location::caller());
        (self.on(node), Canceller { node: canceller })
    }

    /// Makes a child that is done at `deadline`, or at its parent's if that is earlier.
    ///
    /// There is no handle to keep: what the deadline holds is released with the last context that it applies to. A
    /// deadline that has passed gives a context that is done. A timer runs only while somebody waits (C4).
    ///
    /// # Panics
    ///
    /// If called outside a tokio runtime; or in one without a timer, unless the parent's deadline is the earlier.
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
        self.until(
            Kind::Deadline,
            deadline,
            Instant::now(),
            Cause::plain(Reason::DeadlineExceeded, Location::caller()),
        )
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
        self.until(
            Kind::Deadline,
            deadline,
            Instant::now(),
            Cause::custom(ContextError::DeadlineExceeded, cause.into(), origin),
        )
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
        let now = Instant::now();
        let at = deadline::after(now, timeout);
        self.until(Kind::Timeout, at, now, Cause::plain(Reason::DeadlineExceeded, Location::caller()))
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
        let cause = Cause::custom(ContextError::DeadlineExceeded, cause.into(), Location::caller());
        let now = Instant::now();
        self.until(Kind::Timeout, deadline::after(now, timeout), now, cause)
    }

    #[track_caller]
    fn until(&self, kind: Kind, at: Instant, now: Instant, cause: Cause) -> Self {
        let Ok(home) = Handle::try_current() else {
            panic!(
                "a deadline needs a tokio runtime to keep its time: set it from within one, \
                 or enter one first with `let _inside = handle.enter();`"
            );
        };
        let made = Location::caller();
        if at <= now {
            // What is above comes first (C3), also if it is done by the clock and nobody has looked.
            let _ = self.is_done();
        }
        let own = match self.deadline() {
            Some(parent) if parent <= at => Own::Nothing,
            _ => Own::Deadline(Deadline::new(at, cause, home)),
        };
        let child = self.on(NodeRef::new(kind, self.node.as_ref(), own, made));
        if at <= now {
            // One that has passed is published here and now (C4).
            let _ = child.is_done();
        }
        child
    }

    /// A root that is done in a while, set from within `home`, which may be a runtime without a timer.
    #[track_caller]
    pub(crate) fn for_at_most(limit: Duration, home: Handle) -> Self {
        let cause = Cause::plain(Reason::DeadlineExceeded, Location::caller());
        let own =
            Own::Deadline(Deadline::without_a_look(deadline::after(Instant::now(), limit), cause, home));
        let root = Self::background();
        root.on(NodeRef::new(Kind::Timeout, None, own, Location::caller()))
    }

    /// The values of this context, on another node.
    pub(crate) fn on(&self, node: NodeRef) -> Self {
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

    /// Returns a context with these values and nothing else: no end, no deadline.
    ///
    /// Go's `WithoutCancel`: for what must be done after a request is over, such as writing its log. It is the root of a tree
    /// of its own: [`live`](Context::live) lists what is below it and no more.
    ///
    /// # Examples
    ///
    /// ```
    /// use ctx_runtime::Context;
    ///
    /// let (ctx, canceller) = Context::background().with_value("tenant 7").with_cancel();
    /// let log = ctx.without_cancel();
    /// canceller.cancel();
    /// assert!(!log.is_done());
    /// assert_eq!(log.value(), Some(&"tenant 7"));
    /// ```
    #[must_use = "this context goes on as before; the returned one has no end"]
    #[track_caller]
    pub fn without_cancel(&self) -> Self {
        self.on(NodeRef::new(Kind::WithoutCancel, None, Own::Nothing, Location::caller()))
    }

    /// Makes a child of both: done when either is, with that one's kind and cause.
    ///
    /// The earlier of the two deadlines applies; the values are those of `self`. Where both are done already, kind and cause
    /// are those of `self`.
    ///
    /// # Examples
    ///
    /// ```
    /// use ctx_runtime::Context;
    ///
    /// let (request, _keep) = Context::background().with_cancel();
    /// let (server, shutdown) = Context::background().with_cancel();
    /// let ctx = request.merge(&server);
    /// shutdown.cancel_with("restart");
    /// assert!(ctx.cause().unwrap().to_string().ends_with(": restart"));
    /// assert!(!request.is_done());
    /// ```
    #[must_use = "the two go on as before; the returned context is done when either is"]
    #[track_caller]
    pub fn merge(&self, other: &Self) -> Self {
        let made = Location::caller();
        self.on(match (&self.node, &other.node) {
            (Some(first), Some(second)) => NodeRef::merged(first, second, made),
            (one, another) => {
                NodeRef::new(Kind::Merge, one.as_ref().or(another.as_ref()), Own::Nothing, made)
            }
        })
    }

    /// Has `f` called once when this context is done.
    ///
    /// On a context that is done, `f` has run when this returns. Else it is run by the `cancel` that marked this context as done,
    /// on its thread and before it returns (one that comes second to it may return earlier); for a deadline, on the thread that drives the runtime's timers, so it must not block.
    /// Callbacks run in the order of their registration, a context's before its descendants' (C6).
    ///
    /// Dropping the [`AfterFunc`] leaves `f` registered, also when no handle of this context is left but something above
    /// can still end it. When nothing can end it any more, `f` is dropped.
    ///
    /// # Panics
    ///
    /// With the panic of `f`, if it is run here. Else the panic goes on out of the `cancel` that ran it, when all others
    /// have run; on a timer it is reported by the panic hook only.
    ///
    /// # Examples
    ///
    /// ```
    /// use ctx_runtime::Context;
    /// use std::sync::mpsc;
    ///
    /// let (ctx, canceller) = Context::background().with_cancel();
    /// let (sender, receiver) = mpsc::channel();
    /// ctx.after_func(move || sender.send("done").unwrap());
    /// canceller.cancel();
    /// assert_eq!(receiver.recv(), Ok("done"));
    /// ```
    pub fn after_func(&self, f: impl FnOnce() + Send + 'static) -> AfterFunc {
        let run: Box<dyn FnOnce() + Send> = Box::new(f);
        let registered = match &self.node {
            Some(node) => Registration::register(node, run),
            None => Registered::Never(run),
        };
        AfterFunc(match registered {
            Registered::Done(run) => {
                run();
                Callback::Gone
            }
            Registered::Never(run) => Callback::Never(Mutex::new(Some(run))),
            Registered::Waiting(registration) => Callback::Waiting(registration),
        })
    }

    /// Gives way to the runtime when the task's budget is used up, and tells whether to go on.
    ///
    /// For loops that never wait. In the body of a generator that has been stopped it does not come back: the body is
    /// dropped there. Likewise in a task of [`spawn`](Context::spawn) whose context is done.
    ///
    /// # Cancel safety
    ///
    /// Dropping it loses nothing.
    ///
    /// # Errors
    ///
    /// The cause of this context, if it is done.
    ///
    /// # Examples
    ///
    /// ```
    /// use ctx_runtime::{Cause, Context};
    ///
    /// async fn sum(ctx: &Context, numbers: &[u64]) -> Result<u64, Cause> {
    ///     let mut sum = 0;
    ///     for n in numbers {
    ///         ctx.checkpoint().await?;
    ///         sum += n;
    ///     }
    ///     Ok(sum)
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// assert_eq!(sum(&Context::background(), &[1, 2, 3]).await.unwrap(), 6);
    /// # }
    /// ```
    pub async fn checkpoint(&self) -> Result<(), Cause> {
        tokio::task::consume_budget().await;
        // Where a body or a task has been stopped, its poll comes back and it is dropped: here.
        if is_within_stopped() {
            std::future::pending::<()>().await;
        }
        self.cause().map_or(Ok(()), Err)
    }

    /// Blocks this thread until this context is done; of [`background`](Context::background), for ever.
    ///
    /// For threads of one's own: in async code it would keep the runtime's thread from everything else, and
    /// [`done`](Context::done) is the way. A deadline ends it by this thread's own clock, also when no runtime is left.
    ///
    /// # Examples
    ///
    /// ```
    /// use ctx_runtime::Context;
    /// use std::thread;
    ///
    /// let (ctx, canceller) = Context::background().with_cancel();
    /// let worker = thread::spawn(move || ctx.blocking_done());
    /// canceller.cancel();
    /// worker.join().unwrap();
    /// ```
    pub fn blocking_done(&self) {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut done = pin!(self.done());
        while done.as_mut().poll(&mut task::Context::from_waker(&waker)).is_pending() {
            match self.remaining() {
                Some(left) => thread::park_timeout(left),
                None => thread::park(),
            }
        }
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
    #[inline]
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
        Some(self.deadline()?.saturating_duration_since(deadline::now()))
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

    pub(crate) fn node(&self) -> Option<&NodeRef> {
        self.node.as_ref()
    }

    /// Cancels a generator's own context, as only the generator may.
    pub(crate) fn end_node(node: &NodeRef, end: Ending) {
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

impl fmt::Display for Context {
    /// One line: the state with its cause or the time that is left, and how the context was made.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.cause(), self.remaining()) {
            (Some(cause), _) => write!(f, "{cause}")?,
            (None, Some(left)) => write!(f, "live, {left:?} left")?,
            (None, None) => write!(f, "live")?,
        }
        write!(f, "; made by ")?;
        tree::fmt_chain(self.node.as_ref(), f)?;
        self.values.fmt_types(f)
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Context({self})")
    }
}

/// A callback that waits for a context's end; made by [`Context::after_func`].
///
/// Dropping it leaves the callback where it is.
///
/// # Examples
///
/// ```
/// use ctx_runtime::Context;
///
/// let (ctx, canceller) = Context::background().with_cancel();
/// let callback = ctx.after_func(|| panic!("not to be run"));
/// assert!(callback.stop());
/// canceller.cancel();
/// ```
pub struct AfterFunc(Callback);

enum Callback {
    Waiting(Arc<Registration>),
    /// Nothing can set it off.
    Never(Mutex<Option<Box<dyn FnOnce() + Send>>>),
    /// It was run when it was registered.
    Gone,
}

impl UnwindSafe for AfterFunc {}
impl RefUnwindSafe for AfterFunc {}

impl AfterFunc {
    /// Takes the callback back. Returns true if and only if this call kept it from running.
    ///
    /// False says that it has run, is running or is about to, or was stopped before; this does not wait for it.
    ///
    /// # Examples
    ///
    /// See [`AfterFunc`].
    pub fn stop(&self) -> bool {
        let stopped = match &self.0 {
            Callback::Waiting(registration) => registration.stop(),
            Callback::Never(run) => run.lock().take(),
            Callback::Gone => None,
        };
        stopped.is_some()
    }
}

impl fmt::Debug for AfterFunc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AfterFunc").finish_non_exhaustive()
    }
}

/// Wakes a thread that blocks.
struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
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
    /// deadline had passed, it ends as `DeadlineExceeded`. The wakers and callbacks of those whom this call has marked run before
    /// it returns, on this thread; those of another call, which it may have overtaken, run on that one's.
    ///
    /// # Panics
    ///
    /// With the first panic among the wakers and callbacks that it ran, after all have run.
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

    /// Cancels, then waits until every generator and task below has ended, its destructors included.
    ///
    /// The cancel happens when this is called; what is returned only waits.
    ///
    /// # Cancel safety
    ///
    /// Dropping it ends the wait, not the cancel.
    ///
    /// # Panics
    ///
    /// If awaited from within one of those that it waits for, which would wait for itself.
    ///
    /// # Examples
    ///
    /// ```
    /// use ctx_runtime::{Context, Generator};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let (ctx, canceller) = Context::background().with_cancel();
    /// let silent = Generator::builder().spawn::<u8, _, _>(&ctx, |_, _| std::future::pending());
    /// canceller.cancel_and_wait().await;
    /// assert!(silent.end().is_some());
    /// # }
    /// ```
    #[track_caller]
    pub fn cancel_and_wait(&self) -> impl Future<Output = ()> + use<> {
        self.cancel();
        let ended = Ended::new(self.node.node().clone(), "`cancel_and_wait`");
        async move {
            let mut ended = pin!(ended);
            poll_fn(|cx| ended.as_mut().poll(cx)).await;
        }
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
