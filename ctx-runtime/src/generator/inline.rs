//! The generator without a task: its body runs in the poll of its consumer.
//!
//! One allocation, the *block*, holds the generator's node in the context tree, a slot for one item and the body. Three refer to it:
//! the handle ([`Inline`]), which is borrowed mutably for each poll; and what the body has of it, its context and its yielder, both of
//! which may outlive it. Nothing here is shared but the tree's node: a body is polled by whoever polls the handle, with that one's
//! waker, and is dropped where the handle is polled or dropped. So an item costs no read-modify-write.
//!
//! # States
//!
//! | state | the body | left by |
//! | --- | --- | --- |
//! | alive | rests, or is being polled | its end, its panic, a poll that finds the context done, the handle's drop |
//! | broken | is gone, and a panic is to be raised | the next poll, which raises it |
//! | over | is gone | nothing: `None` for ever |
//!
//! The context is looked at before each poll of the body, by one load, and once more when it waits without an item, after
//! the consumer's waker was registered with it: a cancel in between is seen by one of the two. An item leaves the slot in the poll that
//! has put it there, so none is left behind by an end. A panic is kept until that item was taken.
//!
//! # Who may do what
//!
//! - *Whoever has the handle mutably*: polls and drops the body, takes the item.
//! - *A yield within a poll of its own body*: puts an item into the slot. That it is within one, a chain on the thread's stack
//!   says (`InlineMember::is_polled`): a waker proves nothing. Elsewhere a yield panics, or returns if the body is gone.
//! - *Anybody*: drops a yield, which leaves the queue of those that wait (behind a lock); keeps the context; forgets whatever it has. A
//!   handle that is forgotten leaks its block, so what the body borrows is not looked at again.
//!
//! # A yield
//!
//! The body is polled only while an item is asked for, and with an empty slot. So a yield is accepted when the slot is empty, and goes on
//! in the first poll that finds the slot not filled by itself (G3). Several yields that wait at the same time queue up in the order of their
//! first poll; one that was polled with a waker that is not the consumer's (a `FuturesUnordered` has one for each of its futures)
//! is woken before the poll that is to reach it.
//!
//! # What an item costs
//!
//! Some 96 instructions in a loop of its own, where asynk-strim has 88, async-stream 122 and `stream::unfold` 42; `benches/README.md` says
//! what they are. What was learned on the way down from 128:
//!
//! - A word that says several things at once is asked once. The *room* (`Turn::room`) is whose the slot is: so one comparison says
//!   that there is room, that nobody waits for it and that the waker is the body's own. *Left* (`Turn::left`) is counted down
//!   for the budget, and set to nothing by whatever else is to be seen to before the next poll.
//! - A load that is atomic is a wall for the optimizer, which keeps what was written before it. So a yield takes the item out of itself
//!   before it looks at the end.
//! - A call in the middle of the way, however cold, keeps its arguments in registers that have to be saved for it: so a cold call takes
//!   `self` and little else, and does all that is to be done.
//! - Of a yield that is polled for the first time the compiler knows its state, if the state is the first that is looked at.
//! - What is looked at together in a thread's locals belongs into one of them, as each has an address that is to be loaded.
//! - A link or a word that is the same as last time is compared and not written: what is written anew for each item is waited for by the next.

mod block;
mod branches;
mod yielder;

use self::block::{Asked, Held};
pub use self::yielder::InlineYielder;
use super::end::Panic;
use crate::context::{Context, Ending, Payload, discard, quietly};
use futures_core::{FusedStream, Stream};
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{self, Location, RefUnwindSafe, UnwindSafe};
use std::pin::Pin;
use std::task::{self, Poll, ready};
use std::thread;

/// A producer of `T`s that runs in its consumer: what a [`generator`](macro@crate::generator) with the option `inline` returns.
///
/// It has no task, so its body may borrow, and need be neither `Send` nor `'static`; the other side of that is that nothing moves while
/// the consumer does not ask, also where the body waits for a socket. It needs no runtime either, beyond what its body uses.
///
/// - It ends when its context is done or this handle is dropped, wherever its body waits. A consumer that waits is woken, and
///   drops the body; else that happens when it next asks (G1).
/// - What a yield accepted arrives, once and in order, also after a cancel; then comes `None`, for ever (G2).
/// - Nothing runs ahead of the consumer (G3).
/// - A panic in the body, or in its destructors at its end, is raised by [`next`](Inline::next), after the items before it,
///   once (G6).
/// - The context that the body sees is a child of the caller's, done as soon as the generator has ended, for whatever reason.
///
/// It is no entry in [`leak::live`](crate::leak::live), and [`cancel_and_wait`](crate::Canceller::cancel_and_wait) does not wait
/// for it: both are about what goes on by itself. It is `Send` if items and body are. A chain of inline generators is as deep on the
/// stack as it is long; between generators with a task there is no such limit.
///
/// # Panics
///
/// The drop of the handle panics if a destructor of the body does, as it would for any value.
///
/// # Examples
///
/// ```
/// use ctx_runtime::{Context, generator};
///
/// /// The words of a text, until the context is done.
/// #[generator(cancellable, inline)]
/// async fn words(ctx: &Context, text: &str) -> String {
///     for word in text.split(' ') {
///         yield_!(word.to_owned());
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let text = "one two".to_owned();
/// let mut words = words(&Context::background(), &text);
/// assert_eq!(words.next().await.as_deref(), Some("one"));
/// assert_eq!(words.next().await.as_deref(), Some("two"));
/// assert_eq!(words.next().await, None);
/// # }
/// ```
#[must_use = "an inline generator does nothing until it is asked for its items with `next`"]
pub struct Inline<T, F> {
    body: Held<T, F>,
    /// What is to be raised, when the body is gone.
    panic: Option<Panic>,
}

// The body is pinned where it is.
impl<T, F> Unpin for Inline<T, F> {}
impl<T: UnwindSafe, F: UnwindSafe> UnwindSafe for Inline<T, F> {}
impl<T, F> RefUnwindSafe for Inline<T, F> {}

/// Makes a generator that runs in its consumer, under a context of its own below `ctx`.
#[track_caller]
pub fn inline<T, F, B>(ctx: &Context, name: &'static str, body: B) -> Inline<T, F>
where
    F: Future<Output = ()>,
    B: FnOnce(Context, InlineYielder<T>) -> F,
{
    let mut generator = Inline { body: Held::new(ctx, name, Location::caller()), panic: None };
    let made = body(ctx.on(generator.body.node().clone()), generator.body.yielder());
    generator.body.fill(made);
    generator
}

impl<T, F: Future<Output = ()>> Inline<T, F> {
    /// Waits for the next item; `None` when the generator has ended.
    ///
    /// # Cancel safety
    ///
    /// Dropping it loses no item (G4): there is none before this returns it. The body rests where it waits.
    ///
    /// # Panics
    ///
    /// With the body's panic, once, when the items before it were taken.
    ///
    /// # Examples
    ///
    /// See [`Inline`].
    #[allow(
        clippy::should_implement_trait,
        reason = "the name that every stream has for it; it waits, so it is no iterator's"
    )]
    #[inline]
    pub fn next(&mut self) -> impl Future<Output = Option<T>> + use<'_, T, F> {
        poll_fn(|cx| self.poll_item(cx))
    }

    #[inline]
    fn poll_item(&mut self, cx: &mut task::Context<'_>) -> Poll<Option<T>> {
        match self.body.ask(cx) {
            Asked::Item(item) => Poll::Ready(Some(item)),
            Asked::Nothing => self.pend(cx),
            Asked::NotYet => Poll::Pending,
            Asked::Ended => self.stopped(),
            Asked::RanOut(item, end) => self.ran_out(item, end),
        }
    }

    /// Has the end of the context wake the consumer, unless it has come meanwhile.
    #[cold]
    #[inline(never)]
    fn pend(&mut self, cx: &task::Context<'_>) -> Poll<Option<T>> {
        ready!(self.body.poll_done(cx));
        self.stopped()
    }
}

impl<T, F> Inline<T, F> {
    /// The context is done; perhaps because the generator has ended before.
    #[cold]
    #[inline(never)]
    fn stopped(&mut self) -> Poll<Option<T>> {
        if self.body.is_there() {
            self.finish(Ok(()));
        }
        self.raise_or_end()
    }

    /// That was the body's last poll; it may have left an item.
    #[cold]
    #[inline(never)]
    fn ran_out(&mut self, item: Option<T>, end: Result<(), Payload>) -> Poll<Option<T>> {
        self.finish(end);
        if item.is_some() { Poll::Ready(item) } else { self.raise_or_end() }
    }

    /// Drops the body, then ends the context.
    fn finish(&mut self, end: Result<(), Payload>) {
        let panic = match (end, self.body.drop_body()) {
            (Ok(()), dropped) => dropped.err(),
            // The body's own panic came first.
            (Err(payload), dropped) => {
                dropped.err().into_iter().for_each(discard);
                Some(payload)
            }
        };
        self.panic = panic.map(Panic::new);
        if !self.body.node().has_end() {
            let ending = match &self.panic {
                Some(panic) => Ending::Failed(Box::new(panic.clone())),
                None => Ending::Finished,
            };
            // A waker that panics was reported by the panic hook, and must not keep the consumer from its end.
            quietly(|| Context::end_node(self.body.node(), ending));
        }
    }

    #[cold]
    #[inline(never)]
    fn raise_or_end(&mut self) -> Poll<Option<T>> {
        match self.panic.take().and_then(|panic| panic.take_payload()) {
            Some(payload) => panic::resume_unwind(payload),
            None => Poll::Ready(None),
        }
    }
}

impl<T, F> Drop for Inline<T, F> {
    fn drop(&mut self) {
        if !self.body.node().has_end() {
            quietly(|| Context::end_node(self.body.node(), Ending::Abandoned));
        }
        match self.body.drop_body() {
            Err(payload) if !thread::panicking() => panic::resume_unwind(payload),
            dropped => dropped.err().into_iter().for_each(discard),
        }
    }
}

impl<T, F: Future<Output = ()>> Stream for Inline<T, F> {
    type Item = T;

    #[inline]
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Option<T>> {
        self.poll_item(cx)
    }
}

impl<T, F: Future<Output = ()>> FusedStream for Inline<T, F> {
    fn is_terminated(&self) -> bool {
        !self.body.is_there() && self.panic.is_none()
    }
}

impl<T, F> fmt::Debug for Inline<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has_ended = !self.body.is_there();
        f.debug_struct("Inline")
            .field("name", &self.body.name())
            .field("ended", &has_ended)
            .finish_non_exhaustive()
    }
}
