//! The generator's handle.
//!
//! [`builder`] starts one, [`handoff`] runs it, [`end`] says how it ended. [`inline`] is the kind without a task.

mod builder;
mod end;
mod handoff;
mod inline;
mod local;
mod overflow;
mod rounds;

pub use self::builder::Builder;
pub use self::end::{End, Panic};
use self::handoff::Consumer;
pub use self::handoff::{BlockingYielder, LocalYielder, Stopped, Yielder};
pub use self::inline::{Inline, InlineYielder, inline};
pub use self::local::LocalGenerator;
pub use self::overflow::Overflow;
use crate::context::{Context, Ended};
use futures_core::{FusedStream, Stream};
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::pin::{Pin, pin};
use std::task::{self, Poll};

/// A running producer of `T`s, and the only one who may take them.
///
/// - It ends when its context is done or this handle is dropped, wherever its body waits: at a yield or at any
///   `.await`. The body is dropped there (G1).
/// - What a yield accepted arrives, once and in order, also after a cancel; then comes `None`, for ever (G2). An [`Overflow`]
///   policy drops some of it, and they are [counted](Generator::dropped).
/// - Without a buffer nothing runs ahead of the consumer (G3).
/// - Dropping the handle of a body that rests runs its destructors before the drop returns, inside the generator's
///   runtime. The drop never blocks: a body that is running ends when its poll is over (G5).
/// - A panic in the body is raised by [`next`](Generator::next), after the items before it, once (G6).
///
/// It may be used from any thread, inside any runtime or none.
///
/// # Examples
///
/// ```
/// use ctx_runtime::{Context, generator};
///
/// #[generator(cancellable)]
/// async fn count(ctx: &Context, start: u64) -> u64 {
///     let mut n = start;
///     loop {
///         yield_!(n);
///         n += 1;
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let mut numbers = count(&Context::background(), 7);
/// assert_eq!(numbers.next().await, Some(7));
/// assert_eq!(numbers.next().await, Some(8));
/// # }
/// ```
#[must_use = "a generator that is dropped is stopped: take its items with `next`"]
pub struct Generator<T> {
    consumer: Consumer<T>,
}

impl<T> Unpin for Generator<T> {}
impl<T> UnwindSafe for Generator<T> {}
impl<T> RefUnwindSafe for Generator<T> {}

impl Generator<()> {
    /// Returns the settings of a generator that is to be started without the macro.
    ///
    /// # Examples
    ///
    /// See [`Builder`].
    pub fn builder() -> Builder {
        Builder::new()
    }
}

impl<T> Generator<T> {
    /// Waits for the next item; `None` when the generator has ended and every item was taken.
    ///
    /// # Cancel safety
    ///
    /// Dropping it loses no item (G4). Its request stands: without a buffer the body may make one item more.
    ///
    /// # Panics
    ///
    /// With the body's panic, once, when the items before it were taken.
    ///
    /// # Examples
    ///
    /// See [`Generator`].
    #[allow(
        clippy::should_implement_trait,
        reason = "the name that every stream has for it; it waits, so it is no iterator's"
    )]
    pub fn next(&mut self) -> impl Future<Output = Option<T>> + use<'_, T> {
        poll_fn(|cx| self.consumer.poll_next(cx))
    }

    /// Waits for an item, takes it and what else is ready, up to `limit` items in all, and appends them to `items`. Returns how
    /// many; 0 at the end, or if `limit` is 0.
    ///
    /// As tokio's `recv_many`. Without a buffer at most one is ready.
    ///
    /// # Cancel safety
    ///
    /// Dropping it loses no item: none was taken.
    ///
    /// # Panics
    ///
    /// As [`next`](Generator::next).
    ///
    /// # Examples
    ///
    /// ```
    /// use ctx_runtime::{Context, Generator};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let mut digits = Generator::builder().buffer(16).spawn(&Context::background(), |_, co| async move {
    ///     for digit in 0..10 {
    ///         co.yield_(digit).await;
    ///     }
    /// });
    /// let mut items = Vec::new();
    /// while digits.next_many(&mut items, 4).await > 0 {}
    /// assert_eq!(items, Vec::from_iter(0..10));
    /// # }
    /// ```
    pub fn next_many(&mut self, items: &mut Vec<T>, limit: usize) -> impl Future<Output = usize> {
        poll_fn(move |cx| self.consumer.poll_many(cx, items, limit))
    }

    /// Blocks this thread until the next item is there; `None` when the generator has ended and every item was taken.
    ///
    /// For threads of one's own and tokio's `spawn_blocking`. The body is polled on this thread, inside the generator's runtime, if that
    /// has nobody else to do it.
    ///
    /// # Panics
    ///
    /// As [`next`](Generator::next); and if called within async code, which it would keep from everything else: there
    /// [`next`](Generator::next) is the way.
    ///
    /// # Examples
    ///
    /// ```
    /// use ctx_runtime::{Context, Generator};
    /// use std::thread;
    ///
    /// # #[tokio::main]
    /// # async fn main() {
    /// let mut one = Generator::builder().spawn(&Context::background(), |_, co| async move { co.yield_(1).await });
    /// let thread = thread::spawn(move || (one.blocking_next(), one.blocking_next()));
    /// assert_eq!(thread.join().unwrap(), (Some(1), None));
    /// # }
    /// ```
    #[track_caller]
    pub fn blocking_next(&mut self) -> Option<T> {
        let runtime = self.consumer.runtime().clone();
        runtime.block_on(self.next())
    }

    /// Stops the generator: nothing more is accepted. What was accepted can still be taken.
    ///
    /// The body is dropped by its own task, or by the consumer when it next asks; not by this call.
    ///
    /// # Examples
    ///
    /// ```
    /// use ctx_runtime::{Context, Generator};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let mut endless = Generator::builder().spawn(&Context::background(), |_, co| async move {
    ///     loop {
    ///         co.yield_("again").await;
    ///     }
    /// });
    /// assert_eq!(endless.next().await, Some("again"));
    /// endless.cancel();
    /// assert_eq!(endless.next().await, None);
    /// # }
    /// ```
    #[track_caller]
    pub fn cancel(&self) {
        self.consumer.cancel(Location::caller());
    }

    /// Stops the generator, waits until its body is gone, with its clean-ups and all that was started below its context, and says
    /// how it ended. Items not taken are dropped.
    ///
    /// A body that rests is dropped by this call. A panic is returned, not raised.
    ///
    /// # Cancel safety
    ///
    /// The generator is stopped when this is called; dropping the future drops its handle.
    ///
    /// # Panics
    ///
    /// If polled from within what it waits for, such as the generator's own body.
    ///
    /// # Examples
    ///
    /// ```
    /// use ctx_runtime::{Context, End, Generator};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let silent = Generator::builder().spawn::<u8, _, _>(&Context::background(), |_, _| std::future::pending());
    /// assert!(matches!(silent.stop().await, End::Cancelled(_)));
    /// # }
    /// ```
    #[track_caller]
    pub fn stop(mut self) -> impl Future<Output = End> + use<T> {
        self.consumer.stop(Location::caller());
        let below = Ended::new(self.consumer.node().clone(), "`stop`");
        async move {
            let mut below = pin!(below);
            let end = poll_fn(|cx| {
                below.assert_outside();
                self.consumer.poll_end(cx)
            })
            .await;
            poll_fn(|cx| below.as_mut().poll(cx)).await;
            end
        }
    }

    /// Returns how the generator ended, as soon as its body is gone.
    ///
    /// # Examples
    ///
    /// See [`End`].
    #[must_use]
    pub fn end(&self) -> Option<&End> {
        self.consumer.end()
    }

    /// Returns how many items its [overflow policy](Overflow) has dropped so far; without one, 0.
    ///
    /// When an item is taken, all that were dropped before it are counted. What is dropped with the handle, or was refused after a
    /// stop, is not. The number is a `u64`: a body that waits for nothing would have a `usize` of 32 bits overflow within a minute.
    ///
    /// # Examples
    ///
    /// See [`Overflow`].
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.consumer.dropped()
    }

    /// Returns the name that reports show.
    ///
    /// # Examples
    ///
    /// ```
    /// use ctx_runtime::{Context, Generator};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let clock = Generator::builder().name("clock").spawn::<u8, _, _>(&Context::background(), |_, _| async {});
    /// assert_eq!(clock.name(), "clock");
    /// # }
    /// ```
    #[must_use]
    pub fn name(&self) -> &str {
        self.consumer.name()
    }

    /// Returns the generator's own context: a child of the one that it was started under, and done as soon as the
    /// generator stops, for whatever reason.
    ///
    /// # Examples
    ///
    /// ```
    /// use ctx_runtime::{Context, Generator};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let silent = Generator::builder().spawn::<u8, _, _>(&Context::background(), |_, _| std::future::pending());
    /// let ctx = silent.context().clone();
    /// assert!(!ctx.is_done());
    /// drop(silent);
    /// assert!(ctx.is_done());
    /// # }
    /// ```
    #[must_use]
    pub fn context(&self) -> &Context {
        self.consumer.context()
    }
}

impl<T> Stream for Generator<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Option<T>> {
        self.consumer.poll_next(cx)
    }
}

impl<T> FusedStream for Generator<T> {
    fn is_terminated(&self) -> bool {
        self.consumer.is_exhausted()
    }
}

impl<T> fmt::Debug for Generator<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Generator");
        debug.field("name", &self.name());
        match self.end() {
            Some(end) => debug.field("end", end),
            None => debug.field("end", &None::<End>),
        };
        debug.finish()
    }
}
