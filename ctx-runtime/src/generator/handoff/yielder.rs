//! The body's end: hands items on, when there is room for them.

use super::block::{Head, Shared, SharedRef, Slot, is_own, wake_driver};
use super::branches::{Ticket, Turn, foreign};
use super::clean_up::{self, CleanUp};
use super::ring::Ring;
use super::shield;
use super::state::{BLOCKED, ENDED, WAITING, YIELDER};
use crate::context::{is_within, quietly};
use futures_core::Stream;
use std::fmt;
use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::pin::{Pin, pin};
use std::task::{self, Poll, Waker, ready};
use tokio::task::coop;

/// How many items one unit of a task's budget is good for.
const ITEMS_PER_UNIT: u32 = 32;

/// What a body yields through.
///
/// A yield waits until its item can be handed over, and ends there when the generator is stopped. Yields that wait at the
/// same time are served in the order of their first poll.
///
/// The body of a [`LocalGenerator`](crate::LocalGenerator) has a [`LocalYielder`], which derefs to this.
///
/// # Examples
///
/// ```
/// use ctx_runtime::{Context, Generator, Yielder};
///
/// async fn countdown(from: u32, co: &Yielder<u32>) {
///     for n in (1..=from).rev() {
///         co.yield_(n).await;
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let mut numbers = Generator::builder()
///     .spawn(&Context::background(), |_, co| async move { countdown(3, &co).await });
/// assert_eq!(numbers.next().await, Some(3));
/// # }
/// ```
pub struct Yielder<T> {
    block: SharedRef<T>,
}

impl<T> Yielder<T> {
    pub(super) fn new(block: SharedRef<T>) -> Self {
        Self { block }
    }

    /// Hands `item` to the consumer.
    ///
    /// Without a buffer, waits until an item is asked for, hands it over, and waits for the next request; with one, waits for
    /// room, or has an [overflow policy](crate::Overflow) make it. Once the generator is stopped it accepts nothing and does not
    /// return: the body is dropped there. A yielder that has outlived its body returns at once, and drops the item.
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the item, if it was not accepted before; an accepted one reaches the consumer.
    ///
    /// # Panics
    ///
    /// If polled anywhere but within the poll of its own generator's body, such as in a task that the body has spawned.
    ///
    /// # Examples
    ///
    /// See [`Yielder`].
    #[inline]
    pub fn yield_(&self, item: T) -> impl Future<Output = ()> + use<'_, T> {
        Yield { block: &self.block, state: State::New(item) }
    }

    /// Hands on every item of `stream`, in order, until that ends.
    ///
    /// A panic of the stream's is the body's own. When the generator is stopped, the stream is dropped with the body.
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the stream, and an item that was not accepted.
    ///
    /// # Panics
    ///
    /// As [`yield_`](Self::yield_).
    ///
    /// # Examples
    ///
    /// ```
    /// use ctx_runtime::{Context, Generator};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let ctx = Context::background();
    /// let digits = Generator::builder().spawn(&ctx, |_, co| async move {
    ///     for n in 0..3 {
    ///         co.yield_(n).await;
    ///     }
    /// });
    /// let mut twice = Generator::builder().spawn(&ctx, |_, co| async move {
    ///     co.yield_all(digits).await;
    ///     co.yield_(7).await;
    /// });
    /// let mut items = Vec::new();
    /// while twice.next_many(&mut items, 10).await > 0 {}
    /// assert_eq!(items, [0, 1, 2, 7]);
    /// # }
    /// ```
    pub async fn yield_all(&self, stream: impl Stream<Item = T>) {
        let mut stream = pin!(stream);
        while let Some(item) = poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
            self.yield_(item).await;
        }
    }

    /// Ends a round of a loop that may have come by no yield: looks at the end, and gives way when the task's budget is used up.
    ///
    /// What `#[generator]` puts into such loops. When the generator is stopped it does not return: the body is dropped there, unless it is
    /// in a [`shield`](Self::shield). A load, a decrement and a branch; each thirty-second asks for the budget besides.
    ///
    /// # Cancel safety
    ///
    /// Dropping it loses nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use ctx_runtime::{Context, Generator};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let mut squares = Generator::builder().spawn(&Context::background(), |_, co| async move {
    ///     for n in 1_u64.. {
    ///         co.checkpoint().await;
    ///         if n.isqrt().pow(2) == n {
    ///             co.yield_(n).await;
    ///         }
    ///     }
    /// });
    /// assert_eq!(squares.next().await, Some(1));
    /// assert_eq!(squares.next().await, Some(4));
    /// # }
    /// ```
    #[inline]
    pub fn checkpoint(&self) -> impl Future<Output = ()> + use<'_, T> {
        poll_fn(|cx| self.block.head.rounds.poll(self.block.node().has_end(), cx))
    }

    /// Runs `section` as one that the end waits for: a cancel, a deadline, or a dropped handle do not interrupt it. The body is dropped
    /// when it is over.
    ///
    /// Within it a yield that comes after the end drops its item and returns, and a [`checkpoint`](crate::Context::checkpoint) comes
    /// back. A section that has not begun when the generator is stopped does not begin. What ends it nevertheless is the end of the
    /// runtime.
    ///
    /// A section that has begun has to be polled on or dropped. One that the body keeps and looks at no more (as `&mut section` in a
    /// `select!` that another arm has won), or forgets, holds up the end for as long: what is outside of it does not go on. Nor does
    /// one that waits for what another branch of the body is to do: that is outside of it, so shield both, as one section.
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the section where it is, as that of any future; the generator is then no longer shielded.
    ///
    /// # Panics
    ///
    /// If polled anywhere but within the poll of its own generator's body.
    ///
    /// # Examples
    ///
    /// ```
    /// use ctx_runtime::{Context, End, Generator};
    /// use tokio::sync::oneshot;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let (commit, committed) = oneshot::channel::<()>();
    /// let mut rows = Generator::builder().spawn(&Context::background(), |_, co| async move {
    ///     co.yield_(1).await;
    ///     // Not to be left half done.
    ///     co.shield(async {
    ///         tokio::task::yield_now().await;
    ///         commit.send(()).unwrap();
    ///     })
    ///     .await;
    ///     co.yield_(2).await;
    /// });
    /// assert_eq!(rows.next().await, Some(1));
    /// tokio::select! {
    ///     biased;
    ///     _ = rows.next() => unreachable!("the section takes longer"),
    ///     () = async {} => {}
    /// }
    /// assert!(matches!(rows.stop().await, End::Cancelled(_)));
    /// assert_eq!(committed.await, Ok(()));
    /// # }
    /// ```
    pub fn shield<F: Future>(&self, section: F) -> impl Future<Output = F::Output> + use<'_, T, F> {
        shield::Shield::new(self.block.node(), section)
    }

    /// Has `clean_up` run when the body is gone, whatever has ended it but the end of the runtime.
    ///
    /// Those of one body run one after another, the last one first, each in the generator's runtime, and for as long as the
    /// builder's [`grace`](crate::Builder::grace) in all; one that panics does not keep the next from running. The consumer may get
    /// its `None` before they are done. [`stop`](crate::Generator::stop) and
    /// [`cancel_and_wait`](crate::Canceller::cancel_and_wait) wait for them.
    ///
    /// # Examples
    ///
    /// ```
    /// use ctx_runtime::{Context, Generator};
    /// use tokio::sync::mpsc;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let (said, mut heard) = mpsc::channel(2);
    /// let mut numbers = Generator::builder().spawn(&Context::background(), |_, co| async move {
    ///     co.defer(async move { said.send("bye").await.unwrap() });
    ///     co.yield_(1).await;
    ///     std::future::pending::<()>().await;
    /// });
    /// assert_eq!(numbers.next().await, Some(1));
    /// numbers.stop().await;
    /// assert_eq!(heard.try_recv(), Ok("bye"));
    /// # }
    /// ```
    pub fn defer(&self, clean_up: impl Future<Output = ()> + Send + 'static) {
        clean_up::defer(self.block.node(), CleanUp::new(clean_up));
    }

    /// Guards `value`: when the guard is dropped, at the end of its scope or with the body, `close` is handed the value, and runs as
    /// what is given to [`defer`](Self::defer) does; before the body's end at once.
    ///
    /// # Examples
    ///
    /// ```
    /// use ctx_runtime::{Context, Generator};
    /// use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let (connection, peer) = duplex(64);
    /// let mut numbers = Generator::builder().spawn(&Context::background(), |_, co| async move {
    ///     let mut connection = co.guard(connection, async |mut connection: DuplexStream| {
    ///         let _ = connection.shutdown().await;
    ///     });
    ///     loop {
    ///         connection.write_all(b"tick").await.unwrap();
    ///         co.yield_(()).await;
    ///     }
    /// });
    /// assert_eq!(numbers.next().await, Some(()));
    /// # drop(peer);
    /// numbers.stop().await;
    /// # }
    /// ```
    #[must_use = "the value is cleaned up when its guard is dropped: here, at once"]
    pub fn guard<V, C, F>(&self, value: V, close: C) -> impl DerefMut<Target = V> + use<'_, T, V, C, F>
    where
        C: FnOnce(V) -> F,
        F: Future<Output = ()> + Send + 'static,
    {
        // SAFETY: `F` is `Send`.
        unsafe { clean_up::Guard::new(self.block.node(), value, close, ()) }
    }
}

impl<T> fmt::Debug for Yielder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let buffer = self.block.ring.as_ref().map_or(0, |ring| ring.capacity());
        f.debug_struct("Yielder").field("buffer", &buffer).finish_non_exhaustive()
    }
}

/// What the body of a [`LocalGenerator`](crate::LocalGenerator) yields through: a [`Yielder`], which it derefs to, that stays on its
/// thread. So what it is given to clean up need not be `Send` either.
///
/// That runs in the `LocalSet`, or the `LocalRuntime`, that the generator runs in, also where the handle is dropped outside of it; what
/// is not done when that goes is dropped with it, on its thread.
///
/// The generator's task stays for as long as this does, as it may be given something to run. One that is forgotten keeps it until the
/// set goes.
///
/// # Examples
///
/// ```
/// use ctx_runtime::{Context, Generator, LocalYielder};
/// use std::cell::RefCell;
/// use std::rc::Rc;
/// use tokio::task::LocalSet;
///
/// async fn letters(log: Rc<RefCell<String>>, co: LocalYielder<char>) {
///     co.defer(async move { log.borrow_mut().push_str("bye") });
///     for letter in 'a'..='z' {
///         co.yield_(letter).await;
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let set = LocalSet::new();
/// let log = Rc::new(RefCell::new(String::new()));
/// set.run_until(async {
///     let mut letters =
///         Generator::builder().spawn_local(&Context::background(), |_, co| letters(Rc::clone(&log), co));
///     assert_eq!(letters.next().await, Some('a'));
///     letters.stop().await;
/// })
/// .await;
/// assert_eq!(*log.borrow(), "bye");
/// # }
/// ```
pub struct LocalYielder<T> {
    yielder: Yielder<T>,
    /// A guard takes it along, so that it stays here, too.
    here: PhantomData<*const ()>,
}

impl<T> LocalYielder<T> {
    /// # Safety
    ///
    /// The generator is a local one, this is its thread, and there is no other of these.
    pub(super) unsafe fn new(yielder: Yielder<T>) -> Self {
        Self { yielder, here: PhantomData }
    }

    /// As [`Yielder::yield_`].
    ///
    /// # Examples
    ///
    /// See [`LocalYielder`].
    // This one and the next three are here, and not left to `Deref`, as a method that a user's trait has for all types would come before that.
    #[inline]
    pub fn yield_(&self, item: T) -> impl Future<Output = ()> + use<'_, T> {
        self.yielder.yield_(item)
    }

    /// As [`Yielder::yield_all`].
    ///
    /// # Examples
    ///
    /// See [`Yielder::yield_all`].
    pub async fn yield_all(&self, stream: impl Stream<Item = T>) {
        self.yielder.yield_all(stream).await;
    }

    /// As [`Yielder::checkpoint`].
    ///
    /// # Examples
    ///
    /// See [`Yielder::checkpoint`].
    #[inline]
    pub fn checkpoint(&self) -> impl Future<Output = ()> + use<'_, T> {
        self.yielder.checkpoint()
    }

    /// As [`Yielder::shield`].
    ///
    /// # Examples
    ///
    /// See [`Yielder::shield`].
    pub fn shield<F: Future>(&self, section: F) -> impl Future<Output = F::Output> + use<'_, T, F> {
        self.yielder.shield(section)
    }

    /// As [`Yielder::defer`]; what it is given need not be `Send`.
    ///
    /// # Examples
    ///
    /// See [`LocalYielder`].
    pub fn defer(&self, clean_up: impl Future<Output = ()> + 'static) {
        // SAFETY: by the word that was given to `new`; neither this nor a reference to it leaves the thread.
        clean_up::defer(self.block.node(), unsafe { CleanUp::here(clean_up) });
    }

    /// As [`Yielder::guard`]; what `close` returns need not be `Send`.
    ///
    /// # Examples
    ///
    /// ```
    /// use ctx_runtime::{Context, Generator};
    /// use std::cell::Cell;
    /// use std::rc::Rc;
    /// use tokio::task::LocalSet;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let set = LocalSet::new();
    /// let open = Rc::new(Cell::new(true));
    /// set.run_until(async {
    ///     let mut one = Generator::builder().spawn_local(&Context::background(), |_, co| {
    ///         let open = Rc::clone(&open);
    ///         async move {
    ///             let open = co.guard(open, async |open: Rc<Cell<bool>>| open.set(false));
    ///             co.yield_(open.get()).await;
    ///         }
    ///     });
    ///     assert_eq!(one.next().await, Some(true));
    ///     one.stop().await;
    /// })
    /// .await;
    /// assert!(!open.get());
    /// # }
    /// ```
    #[must_use = "the value is cleaned up when its guard is dropped: here, at once"]
    pub fn guard<V, C, F>(&self, value: V, close: C) -> impl DerefMut<Target = V> + use<'_, T, V, C, F>
    where
        C: FnOnce(V) -> F,
        F: Future<Output = ()> + 'static,
    {
        // SAFETY: as above; a pointer is not `Send`.
        unsafe { clean_up::Guard::new(self.block.node(), value, close, self.here) }
    }
}

impl<T> Deref for LocalYielder<T> {
    type Target = Yielder<T>;

    #[inline]
    fn deref(&self) -> &Yielder<T> {
        &self.yielder
    }
}

impl<T> Drop for LocalYielder<T> {
    /// Nothing more comes for the driver to spawn.
    fn drop(&mut self) {
        let node = self.block.node();
        // SAFETY: the node of a generator.
        let head = unsafe { Head::of(node) };
        let before = head.state.clear(YIELDER);
        if before & ENDED != 0 {
            // SAFETY: this was the state.
            unsafe { wake_driver(node, head, before) };
        }
    }
}

impl<T> fmt::Debug for LocalYielder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LocalYielder").field(&self.yielder).finish()
    }
}

struct Yield<'a, T> {
    block: &'a SharedRef<T>,
    state: State<T>,
}

enum State<T> {
    New(T),
    /// It waits for its turn, or for room.
    Offered(Ticket, T),
    /// Accepted as the item of this number, without a buffer.
    Accepted(u32),
    Over,
}

// An item is never pinned.
impl<T> Unpin for Yield<'_, T> {}

impl<T> Future for Yield<'_, T> {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        let block: &Shared<T> = self.block;
        if !is_within(Head::this(self.block.node())) {
            return elsewhere(&block.head);
        }
        // From here on: this thread polls the body of this very block, so it has RUNNING.
        if let State::Accepted(number) = self.state {
            // SAFETY: RUNNING.
            if unsafe { self.block.is_answered(number) } {
                self.state = State::Over;
                return Poll::Ready(());
            }
            if self.block.node().has_end() {
                return self.after_the_end(cx);
            }
            self.register(cx, number);
            return Poll::Pending;
        }
        if self.block.node().has_end() {
            return self.after_the_end(cx);
        }
        self.offer(cx)
    }
}

/// A yield that is polled outside its body's own poll.
#[cold]
#[inline(never)]
fn elsewhere(head: &Head) -> Poll<()> {
    assert!(
        head.state.load() & ENDED != 0,
        "a generator can yield only from within its own body: not from a task or thread that the body has spawned"
    );
    Poll::Ready(())
}

impl<T> Shared<T> {
    /// Whether an item can be accepted now.
    ///
    /// # Safety
    ///
    /// The caller has RUNNING.
    #[inline]
    unsafe fn has_room(&self) -> bool {
        match &self.ring {
            // SAFETY: whoever has RUNNING is alone at the body's end.
            Some(ring) => unsafe { ring.accepts() },
            // SAFETY: RUNNING.
            None => unsafe { self.is_asked() },
        }
    }

    /// Whether an item can be accepted now; if not, the consumer is to wake the first in the queue when one can.
    ///
    /// # Safety
    ///
    /// The caller has RUNNING.
    unsafe fn has_room_or_says(&self) -> bool {
        // SAFETY: by the caller's word.
        if unsafe { self.has_room() } {
            return true;
        }
        if self.ring.is_none() {
            // A request polls the body.
            return false;
        }
        // Said before the last look: the consumer looks for it after it has made room.
        self.head.state.set(BLOCKED);
        // SAFETY: by the caller's word.
        unsafe { self.has_room() }
    }

    /// Whether an item is asked for, and was not put into the slot yet.
    ///
    /// # Safety
    ///
    /// The caller has RUNNING.
    #[inline]
    unsafe fn is_asked(&self) -> bool {
        // SAFETY: RUNNING.
        unsafe { self.head.with_turn(|turn| turn.slot == Slot::Wanted) }
    }

    /// Says that an item was put into the ring. It uses up what is left of `step` items, a power of two.
    ///
    /// # Safety
    ///
    /// The caller has RUNNING.
    #[inline]
    unsafe fn has_put(&self, step: u32) {
        // SAFETY: by the caller's word.
        unsafe {
            self.head.with_turn(|turn| {
                turn.accepted = turn.accepted.wrapping_add(step) & !(step - 1);
                turn.has_put = true;
            });
        }
        // One that has begun to wait meanwhile is told when the poll is over.
        if self.head.state.peek() & WAITING != 0 && self.head.state.clear(WAITING) & WAITING != 0 {
            self.head.wake_consumer();
        }
    }
}

impl<T> Shared<T> {
    /// Whether the item of this number was taken, and the next one is asked for.
    ///
    /// # Safety
    ///
    /// The caller has RUNNING.
    #[inline]
    unsafe fn is_answered(&self, number: u32) -> bool {
        // SAFETY: by the caller's word.
        if unsafe { self.is_asked() } {
            return true;
        }
        // A later one was accepted, so it was asked for.
        // SAFETY: by the caller's word.
        unsafe { self.head.with_turn(|turn| turn.accepted) != number }
    }
}

impl<T> Yield<'_, T> {
    /// Nothing is accepted any more, and the body is dropped as soon as its poll is over; but one in a shield goes on, without the
    /// item.
    #[cold]
    #[inline(never)]
    fn after_the_end(&mut self, cx: &mut task::Context<'_>) -> Poll<()> {
        let block: &Shared<T> = self.block;
        // SAFETY: RUNNING, by `poll`.
        if unsafe { block.head.with_turn(|turn| turn.within_shields) } == 0 {
            return Poll::Pending;
        }
        // A section that yields in a tight loop gives way all the same (G10).
        ready!(coop::poll_proceed(cx)).made_progress();
        let left = mem::replace(&mut self.state, State::Over);
        if let State::Offered(ticket, _) = left {
            block.leave_queue(self.block.node(), ticket);
        }
        Poll::Ready(())
    }

    /// Offers the item that was not accepted so far.
    #[inline]
    fn offer(&mut self, cx: &mut task::Context<'_>) -> Poll<()> {
        let block: &Shared<T> = self.block;
        match mem::replace(&mut self.state, State::Over) {
            State::New(item) if block.head.is_buffered => self.offer_ring(cx, item),
            State::New(item) => {
                // SAFETY: RUNNING, by `poll`.
                let branched = unsafe { block.head.with_turn(|turn| turn.branched) };
                // SAFETY: as above.
                if branched || !unsafe { block.is_asked() } {
                    return self.queue_up(cx, item);
                }
                // SAFETY: RUNNING, by `poll`; nobody else's code has run since the look.
                unsafe { self.fill_slot(cx, item) }
            }
            State::Offered(ticket, item) => self.wait_for_turn(cx, ticket, item),
            State::Accepted(_) | State::Over => Poll::Ready(()),
        }
    }

    /// Offers the item where there is a ring.
    ///
    /// Out of line for the sake of those without a buffer: with this in it, a yield saves all registers at each of its polls.
    #[inline(never)]
    fn offer_ring(&mut self, cx: &mut task::Context<'_>, item: T) -> Poll<()> {
        let block: &Shared<T> = self.block;
        // SAFETY: RUNNING, by `poll`.
        let branched = unsafe { block.head.with_turn(|turn| turn.branched) };
        let ring = match block.ring.as_deref() {
            // SAFETY: as above; whoever has RUNNING is alone at the body's end.
            Some(Ring::Unlocked(ring)) if !branched && unsafe { ring.has_room() } => ring,
            _ => return self.offer_to_policy(cx, item),
        };
        if self.gives_way(cx).is_pending() {
            // It keeps its place: the next poll may come to another yield first.
            return self.queue_up(cx, item);
        }
        // SAFETY: as above; who does not give way has run nobody else's code since the look for room.
        unsafe { ring.push(item) };
        // SAFETY: RUNNING, by `poll`.
        unsafe { block.has_put(1) };
        Poll::Ready(())
    }

    /// Offers the item where a policy may have to say what becomes of it. Without one, waits for room.
    #[inline(never)]
    fn offer_to_policy(&mut self, cx: &mut task::Context<'_>, item: T) -> Poll<()> {
        let block: &Shared<T> = self.block;
        // SAFETY: RUNNING, by `poll`.
        let branched = unsafe { block.head.with_turn(|turn| turn.branched) };
        // SAFETY: as above.
        let waits = branched || !unsafe { block.has_room() };
        if !waits && self.leaves_it_at_that(cx) {
            self.state = State::Offered(self.join(cx), item);
            return Poll::Pending;
        }
        if waits || self.gives_way(cx).is_pending() {
            return self.queue_up(cx, item);
        }
        // SAFETY: as above; who does not give way has run nobody else's code since the look for room.
        let (polled, dropped) = unsafe { self.hand_over(cx, item) };
        // Anybody's code, so at the very end.
        drop(dropped);
        polled
    }

    /// Whether the consumer polls this body, and has what it came for: a policy would drop more under its eyes, and a body that
    /// waits for nothing would not let it go. Then the yield goes on at its next poll, which it asks for itself.
    ///
    /// Once in a poll of the body: who polls the yield again before that is over, as a `block_on` does, is not kept waiting.
    fn leaves_it_at_that(&self, cx: &task::Context<'_>) -> bool {
        let block: &Shared<T> = self.block;
        let is_full = || block.ring.as_deref().is_some_and(Ring::is_full);
        // SAFETY: RUNNING, by `poll`.
        let enough = unsafe {
            block.head.with_turn(|turn| {
                let enough = turn.is_helped && is_full();
                turn.is_helped &= !enough;
                enough
            })
        };
        if enough {
            // A waker that panics was reported by the panic hook, and must not cost the yield its place.
            quietly(|| cx.waker().wake_by_ref());
        }
        enough
    }

    /// Pending when the task's budget is used up. A consumer on another core may take the items of a buffer as fast as they come,
    /// so a body may never find it full (G10).
    #[inline]
    fn gives_way(&self, cx: &mut task::Context<'_>) -> Poll<()> {
        let block: &Shared<T> = self.block;
        // SAFETY: RUNNING, by `poll`.
        let accepted = unsafe { block.head.with_turn(|turn| turn.accepted) };
        if block.head.is_buffered && accepted % ITEMS_PER_UNIT == 0 {
            ready!(coop::poll_proceed(cx)).made_progress();
        }
        Poll::Ready(())
    }

    /// Waits behind the others, or for room.
    #[cold]
    #[inline(never)]
    fn queue_up(&mut self, cx: &mut task::Context<'_>, item: T) -> Poll<()> {
        let ticket = self.join(cx);
        self.wait_for_turn(cx, ticket, item)
    }

    /// Joins the queue.
    #[cold]
    fn join(&self, cx: &task::Context<'_>) -> Ticket {
        let block: &Shared<T> = self.block;
        let ticket = block.join_queue(foreign(Head::this(self.block.node()), cx.waker()));
        // SAFETY: RUNNING, by `poll`.
        unsafe { block.head.with_turn(|turn| turn.branched = true) };
        ticket
    }

    /// Accepts the item. Returns what an overflow policy drops for want of room.
    ///
    /// # Safety
    ///
    /// The caller has RUNNING, and there is room. Since that was seen nobody else's code has run, as the clone or the drop of a
    /// waker: it may have polled another yield of this body, which has taken the room.
    #[inline]
    unsafe fn hand_over(&mut self, cx: &task::Context<'_>, item: T) -> (Poll<()>, Option<T>) {
        let block: &Shared<T> = self.block;
        let Some(ring) = &block.ring else {
            // SAFETY: by the caller's word; without a ring there is room where an item is asked for.
            return (unsafe { self.fill_slot(cx, item) }, None);
        };
        // SAFETY: by the caller's word; whoever has RUNNING is alone at the body's end.
        let dropped = unsafe { ring.push(item) };
        // One that was yielded in vain takes a unit of the budget: a body that is so far ahead is to let its consumer have a turn.
        let step = if dropped.is_some() { ITEMS_PER_UNIT } else { 1 };
        // SAFETY: RUNNING, by the caller's word.
        unsafe { block.has_put(step) };
        (Poll::Ready(()), dropped)
    }

    /// Accepts the item where there is no ring.
    ///
    /// # Safety
    ///
    /// As [`hand_over`](Self::hand_over).
    #[inline]
    unsafe fn fill_slot(&mut self, cx: &task::Context<'_>, item: T) -> Poll<()> {
        let block: &Shared<T> = self.block;
        // SAFETY: by the caller's word.
        unsafe { block.put(item) };
        // SAFETY: as above.
        let number = unsafe {
            block.head.with_turn(|turn| {
                turn.accepted = turn.accepted.wrapping_add(1);
                turn.accepted
            })
        };
        self.state = State::Accepted(number);
        self.register(cx, number);
        Poll::Pending
    }

    /// Sees to it that a request reaches this yield, also where a poll of the body alone does not.
    #[inline]
    fn register(&self, cx: &task::Context<'_>, number: u32) {
        if !is_own(Head::this(self.block.node()), cx.waker()) {
            self.register_foreign(cx.waker(), number);
        }
    }

    #[cold]
    #[inline(never)]
    fn register_foreign(&self, waker: &Waker, number: u32) {
        let block: &Shared<T> = self.block;
        block.rest(number, waker.clone());
        // SAFETY: RUNNING, by `poll`.
        unsafe { block.head.with_turn(|turn| turn.branched = true) };
    }

    /// Waits in the queue; hands the item over if it is the first and there is room.
    #[cold]
    #[inline(never)]
    fn wait_for_turn(&mut self, cx: &mut task::Context<'_>, ticket: Ticket, item: T) -> Poll<()> {
        let block: &Shared<T> = self.block;
        let this = Head::this(self.block.node());
        // A waker's clone and drop are anybody's code: the one comes before the look for room, the other after the item was
        // handed over, at the end of this function. So is the drop of what a policy drops.
        let mut waker = foreign(this, cx.waker());
        // SAFETY: RUNNING, by `poll`.
        let has_room = unsafe { block.has_room_or_says() }
            // Those behind are told when it is their turn. Were they to give way, too, each would be woken for each turn.
            && block.is_first(ticket)
            && !self.leaves_it_at_that(cx)
            && self.gives_way(cx).is_ready();
        let (is_last, _left) = match block.take_turn(ticket, has_room, &mut waker) {
            Turn::Wait => {
                self.state = State::Offered(ticket, item);
                return Poll::Pending;
            }
            Turn::Come { is_last, left } => (is_last, left),
        };
        if is_last {
            // SAFETY: as above.
            unsafe { block.head.with_turn(|turn| turn.branched = false) };
        }
        // SAFETY: as above; there is room, and neither `gives_way`, where it is ready, nor `take_turn` runs anybody else's code.
        let (polled, _dropped) = unsafe { self.hand_over(cx, item) };
        // Those behind may have been polled before, when it was not their turn.
        // SAFETY: as above.
        if !is_last && unsafe { block.has_room_or_says() } {
            block.wake_next(self.block.node());
        }
        polled
    }
}

impl<T> Drop for Yield<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if let State::Offered(ticket, _) = self.state {
            self.block.leave_queue(self.block.node(), ticket);
        }
    }
}
