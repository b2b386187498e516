//! A generator without the macro: what it is given before it starts.

use super::handoff::{self, BlockingYielder, LocalYielder, Plan, Ring, Yielder};
use super::overflow::Overflow;
use super::{Generator, LocalGenerator};
use crate::context::Context;
use std::borrow::Cow;
use std::future::Future;
use std::panic::Location;
use std::time::Duration;
use tokio::runtime::Handle;

/// How long clean-ups may take where nothing is said.
const GRACE: Duration = Duration::from_secs(10);

/// The settings of a generator that is not yet started; made by [`Generator::builder`].
///
/// # Examples
///
/// ```
/// use ctx_runtime::{Context, Generator};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let mut squares = Generator::builder().name("squares").buffer(4).spawn(&Context::background(), |_, co| async move {
///     for n in 0_u64.. {
///         co.yield_(n * n).await;
///     }
/// });
/// assert_eq!(squares.next().await, Some(0));
/// assert_eq!(squares.next().await, Some(1));
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `spawn` is called"]
pub struct Builder {
    name: Cow<'static, str>,
    buffer: usize,
    overflow: Option<Overflow>,
    grace: Duration,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self { name: Cow::Borrowed("generator"), buffer: 0, overflow: None, grace: GRACE }
    }

    /// Sets the name that reports show; `generator` if not called.
    ///
    /// # Examples
    ///
    /// See [`Builder`].
    pub fn name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets how many items the body may be ahead of its consumer; 0 if not called.
    ///
    /// With 0 nothing runs ahead: the body runs when an item is asked for, and never past a yield until its item was taken and
    /// the next one is asked for. With `items` above 0 it starts at once (G3).
    ///
    /// # Examples
    ///
    /// See [`Builder`].
    pub fn buffer(mut self, items: usize) -> Self {
        self.buffer = items;
        self
    }

    /// Has a yield that finds the buffer full drop an item, and go on; if not called, it waits for room.
    ///
    /// It needs a [`buffer`](Builder::buffer).
    ///
    /// # Examples
    ///
    /// See [`Overflow`].
    pub fn overflow(mut self, policy: Overflow) -> Self {
        self.overflow = Some(policy);
        self
    }

    /// Sets how long the body's clean-ups may take in all, from its end on; 10 seconds if not called.
    ///
    /// Those that are not done then are dropped where they wait, and a line on standard error says so. With the time of tokio's
    /// clock, also where that is paused. See [`Yielder::defer`].
    ///
    /// # Examples
    ///
    /// ```
    /// use ctx_runtime::{Context, Generator};
    /// use std::time::Duration;
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// let grace = Duration::from_secs(2);
    /// let mut one = Generator::builder().grace(grace).spawn(&Context::background(), |_, co| async move {
    ///     co.defer(std::future::pending());
    ///     co.yield_(1).await;
    /// });
    /// assert_eq!(one.next().await, Some(1));
    /// let asked = tokio::time::Instant::now();
    /// one.stop().await;
    /// assert!(asked.elapsed() >= grace);
    /// # }
    /// ```
    pub fn grace(mut self, limit: Duration) -> Self {
        self.grace = limit;
        self
    }

    /// Starts the generator under `ctx`.
    ///
    /// `body` is called at once, with the generator's own context (a child of `ctx`) and a [`Yielder`]; the future that it
    /// returns runs in a task of its own. It is dropped, wherever it waits, when `ctx` is done or the [`Generator`] is
    /// dropped (G1).
    ///
    /// # Panics
    ///
    /// If called outside a tokio runtime, if there is no memory for the buffer, or if there is an
    /// [overflow policy](Builder::overflow) and no buffer; in each case at the caller's line.
    ///
    /// # Examples
    ///
    /// See [`Builder`].
    #[track_caller]
    pub fn spawn<T, F, Fut>(self, ctx: &Context, body: F) -> Generator<T>
    where
        T: Send + 'static,
        F: FnOnce(Context, Yielder<T>) -> Fut,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Generator { consumer: handoff::start(ctx, self.plan(Location::caller()), body) }
    }

    /// Starts a generator whose items and body need not be `Send`, in the current task's `LocalSet`, or in the current `LocalRuntime`.
    ///
    /// As [`spawn`](Self::spawn) besides. The body is polled, and dropped, on this thread only, and so is what is given to
    /// [`LocalYielder::defer`].
    ///
    /// # Panics
    ///
    /// If called outside a `LocalSet` and a `LocalRuntime`; then `body` is not called. Else as [`spawn`](Self::spawn).
    ///
    /// # Examples
    ///
    /// ```
    /// use ctx_runtime::{Context, Generator};
    /// use std::rc::Rc;
    /// use tokio::task::LocalSet;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let set = LocalSet::new();
    /// let items = set.run_until(async {
    ///     let text = Rc::new("shared");
    ///     let mut texts = Generator::builder().spawn_local(&Context::background(), |_, co| async move {
    ///         co.yield_(Rc::clone(&text)).await;
    ///     });
    ///     (texts.next().await, texts.next().await)
    /// });
    /// assert_eq!(items.await, (Some(Rc::new("shared")), None));
    /// # }
    /// ```
    #[track_caller]
    pub fn spawn_local<T, F, Fut>(self, ctx: &Context, body: F) -> LocalGenerator<T>
    where
        T: 'static,
        F: FnOnce(Context, LocalYielder<T>) -> Fut,
        Fut: Future<Output = ()> + 'static,
    {
        LocalGenerator::new(handoff::start_local(ctx, self.plan(Location::caller()), body))
    }

    /// Starts a generator whose body blocks, on a thread of its own: a walker, a parser, a driver without async.
    ///
    /// The thread waits in [`BlockingYielder::yield_`]. It is inside the current runtime, so that the body can start tasks there; it is
    /// none of the runtime's blocking threads, so a thousand that rest are in nobody's way. (So tokio does not know of it: a paused clock
    /// does not wait for its next item.)
    ///
    /// When the generator is stopped, or the runtime is gone, the next yield says so, and the body is to return: nothing can interrupt it
    /// before. The handle's drop does not wait for that; [`stop`](Generator::stop) and
    /// [`cancel_and_wait`](crate::Canceller::cancel_and_wait) do.
    ///
    /// # Panics
    ///
    /// If there is no thread to be had; else as [`spawn`](Self::spawn).
    ///
    /// # Examples
    ///
    /// See [`BlockingYielder`].
    #[track_caller]
    pub fn spawn_blocking<T, F>(self, ctx: &Context, body: F) -> Generator<T>
    where
        T: Send + 'static,
        F: FnOnce(Context, &BlockingYielder<T>) + Send + 'static,
    {
        let is_ahead = self.buffer > 0;
        let mut plan = self.plan(Location::caller());
        if !is_ahead {
            // One place, for the item that was asked for.
            plan.ring = Ring::new(1, None).ok();
        }
        let name = plan.name.clone();
        match handoff::start_thread(ctx, plan, is_ahead, body) {
            Ok(consumer) => Generator { consumer },
            Err(error) => panic!("no thread for the blocking generator `{name}`: {error}"),
        }
    }

    /// What the engine is to know.
    #[track_caller]
    fn plan<T>(self, made: &'static Location<'static>) -> Plan<T> {
        let Self { name, buffer, overflow, grace } = self;
        assert!(
            buffer > 0 || overflow.is_none(),
            "the generator `{name}` has an overflow policy, and no buffer that could overflow: \
             give it one of 1 or more with `.buffer(items)`, or remove `.overflow(..)`"
        );
        let Ok(runtime) = Handle::try_current() else {
            panic!(
                "the generator `{name}` needs a tokio runtime to run in: call it from within one, \
                 or enter one first with `let _inside = handle.enter();`"
            );
        };
        let ring = match (buffer > 0).then(|| Ring::new(buffer, overflow)).transpose() {
            Ok(ring) => ring,
            Err(error) => {
                panic!("no memory for the buffer of {buffer} items of the generator `{name}`: {error}")
            }
        };
        Plan::new(runtime, name, made, ring, grace)
    }
}
