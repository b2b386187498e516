//! A body that blocks, on a thread of its own.
//!
//! The thread is the body's only poll, which lasts for as long as the body does: it has RUNNING from the start to the end. So
//! everybody else does what they do while a body is polled: a consumer knocks, a cancel and a dropped handle leave the rest to who
//! runs. Items go through a ring, at the body's end of which the thread is alone. What is different:
//!
//! - The thread waits within its poll: for room in the ring, or, without a buffer, for a request. The driver's waker is one that
//!   unparks the thread, and a notification reaches it though RUNNING is taken.
//! - Without a buffer the ring has one place, and a consumer that finds it empty sets `ASKED` when it knocks. The thread sets `BLOCKED`
//!   before it puts the item in; the consumer clears both in one step when it has taken that. So an item is asked for while the one is
//!   set and the other is not: a consumer that knocks once more just when its item comes opens no second request, and a request that
//!   comes just after is not lost (G3). The thread starts at once, and waits for the first one before it calls the body.
//! - There is no end of a poll at which a consumer is told that has begun to wait meanwhile. So the thread looks for it after each
//!   item, as the consumer looks for an item after it has said that it waits, both behind a [`fence`].
//! - The end comes when the body returns. It is told to by the result of its next yield: when the generator was stopped, or the
//!   runtime is gone (the keeper's watch sees to that).
//!
//! The thread is inside the runtime's context, so that the body may start tasks there, and block on futures. It is none of the
//! runtime's blocking threads: a thousand that rest are in nobody's way, and a paused clock goes on.

use super::block::{Block, Head, Runs, SharedRef, allocate, put};
use super::ending::{Place, entered, orphan, publish, stopped};
use super::keeper::Keeper;
use super::state::{ASKED, BLOCKED, ORPHANED, WAITING, fence};
use super::{Consumer, Plan, Unmade};
use crate::context::{Context, OnThread};
use crate::generator::end::{End, Panic};
use crate::loom::thread::{self, Thread};
use std::error::Error;
use std::fmt;
use std::future::Pending;
use std::io;
use std::marker::PhantomData;
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::task::{Wake, Waker};

/// What a body that blocks yields through. It stays on the body's thread.
///
/// # Examples
///
/// A walk that hands what it finds to a callback:
///
/// ```
/// use ctx_runtime::{Context, Generator};
///
/// fn each_digit(mut found: impl FnMut(u32) -> Result<(), Box<dyn std::error::Error>>) -> Result<(), Box<dyn std::error::Error>> {
///     (0..10).try_for_each(|digit| found(digit))
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let mut digits = Generator::builder().spawn_blocking(&Context::background(), |_, co| {
///     // Ends the walk when nobody wants its items any more.
///     let _ = each_digit(|digit| Ok(co.yield_(digit)?));
/// });
/// assert_eq!(digits.next().await, Some(0));
/// assert_eq!(digits.next().await, Some(1));
/// # }
/// ```
pub struct BlockingYielder<T> {
    block: SharedRef<T>,
    /// It is used by the thread that has RUNNING, while it has that.
    _here: PhantomData<*const ()>,
}

/// The generator has ended, or is to: the body is to return.
///
/// # Examples
///
/// See [`BlockingYielder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped;

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the generator was stopped")
    }
}

impl Error for Stopped {}

/// Wakes a thread that is parked.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

/// Starts `body` on a thread of its own, under a context of its own below `parent`. The plan has a ring; without a buffer
/// (`is_ahead`), one with one place.
///
/// # Errors
///
/// If there is no thread to be had; then nothing is left of the generator.
pub(in crate::generator) fn start_thread<T, B>(
    parent: &Context,
    plan: Plan<T>,
    is_ahead: bool,
    body: B,
) -> io::Result<Consumer<T>>
where
    T: Send + 'static,
    B: FnOnce(Context, &BlockingYielder<T>) + Send + 'static,
{
    let plan = Plan {
        runs: if is_ahead { Runs::Ahead } else { Runs::Asked },
        keeper: Some(Keeper::of(&plan.runtime)),
        ..plan
    };
    let name = plan.name.clone().into_owned();
    // There is nothing to be polled, nor to be dropped.
    // SAFETY: what takes the place of the body is `Send`.
    let block = unsafe { allocate(parent.node(), plan, Block::<T, Pending<()>>::FORM) };
    // SAFETY: RUNNING, since it was allocated, for this.
    unsafe { put(&block, std::future::pending()) };
    let unmade = Unmade(block.node());
    if block.head.keeper.as_deref().is_some_and(Keeper::is_gone) {
        // The watch may have come too early to find it. The thread sees to the rest.
        orphan(block.node(), &block.head);
    }
    let (context, yielder) = (parent.on(block.node().clone()), block.clone());
    let run = move || run(yielder, context, body);
    thread::Builder::new().name(name.replace('\0', "")).spawn(run)?;
    mem::forget(unmade);
    Ok(Consumer::new(parent, block))
}

/// What the thread does. It has RUNNING, since the block was allocated.
fn run<T, B>(block: SharedRef<T>, context: Context, body: B)
where
    T: Send + 'static,
    B: FnOnce(Context, &BlockingYielder<T>) + Send + 'static,
{
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    // SAFETY: this stands in for the driver, once.
    unsafe { block.head.set_driver(&waker) };
    let node = block.node().clone();
    let runtime = block.head.runtime.clone();
    let yielder = BlockingYielder { block, _here: PhantomData };
    let _inside = entered(&runtime, Place::Outside);
    // SAFETY: `node` keeps it alive, and is dropped after it.
    let _on_thread = unsafe { OnThread::enter(Head::this(&node)) };
    let ran = panic::catch_unwind(AssertUnwindSafe(move || {
        if yielder.wait_for_first_request().is_ok() {
            body(context, &yielder);
        } else {
            // Its destructors run here, too.
            drop(body);
        }
        yielder
    }));
    let end = match ran {
        Ok(yielder) if yielder.is_stopped() => stopped(&node),
        Ok(_) => End::Finished,
        Err(payload) => End::Panicked(Panic::new(payload)),
    };
    // SAFETY: RUNNING, and the body has returned.
    unsafe { publish(&node, end) };
}

impl<T> BlockingYielder<T> {
    /// Hands `item` to the consumer. Blocks this thread: without a buffer, until the item was taken and the next one is asked for;
    /// with one, until there is room (with an [`Overflow`](crate::Overflow) policy not at all).
    ///
    /// # Errors
    ///
    /// If the generator was stopped, or its runtime is gone: the body is to return. An item that was accepted before still reaches the
    /// consumer; one that was not is dropped.
    ///
    /// # Examples
    ///
    /// See [`BlockingYielder`].
    pub fn yield_(&self, item: T) -> Result<(), Stopped> {
        self.wait_for_room()?;
        let head = &self.block.head;
        let Some(ring) = &self.block.ring else { return Err(Stopped) };
        if head.runs == Runs::Asked {
            // Before the item is there: whoever takes it answers this.
            head.state.set(BLOCKED);
        }
        // SAFETY: it is accepted, and this thread has RUNNING, so it is alone at the body's end.
        let dropped = unsafe { ring.push(item) };
        // Or the look below may miss one that waits, and has missed this item.
        fence();
        if head.state.peek() & WAITING != 0 && head.state.clear(WAITING) & WAITING != 0 {
            head.wake_consumer();
        }
        // Anybody's code, so after all else.
        drop(dropped);
        if head.runs == Runs::Asked { self.wait_for_room() } else { Ok(()) }
    }

    /// Looks at the end, in a round of a loop that may have come by no yield. `#[generator(blocking)]` puts it into such loops.
    ///
    /// # Errors
    ///
    /// If the generator was stopped, or its runtime is gone: the body is to return.
    ///
    /// # Examples
    ///
    /// ```
    /// use ctx_runtime::{Context, Generator, Stopped};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let mut squares = Generator::builder().spawn_blocking(&Context::background(), |_, co| {
    ///     let _: Result<(), Stopped> = (1_u64..).try_for_each(|n| {
    ///         co.checkpoint()?;
    ///         if n.isqrt().pow(2) == n { co.yield_(n) } else { Ok(()) }
    ///     });
    /// });
    /// assert_eq!(squares.next().await, Some(1));
    /// assert_eq!(squares.next().await, Some(4));
    /// # }
    /// ```
    pub fn checkpoint(&self) -> Result<(), Stopped> {
        self.unless_stopped()
    }

    /// Whether the body is to return.
    fn is_stopped(&self) -> bool {
        self.block.node().has_end() || self.block.head.state.load() & ORPHANED != 0
    }

    fn wait_for_first_request(&self) -> Result<(), Stopped> {
        if self.block.head.runs == Runs::Asked { self.wait_for_room() } else { self.unless_stopped() }
    }

    fn unless_stopped(&self) -> Result<(), Stopped> {
        if self.is_stopped() { Err(Stopped) } else { Ok(()) }
    }

    /// Waits until an item would be accepted.
    fn wait_for_room(&self) -> Result<(), Stopped> {
        loop {
            self.unless_stopped()?;
            if self.has_room() {
                return Ok(());
            }
            thread::park();
        }
    }

    /// Whether an item would be accepted; if not, who makes that so unparks this thread.
    fn has_room(&self) -> bool {
        let Some(ring) = &self.block.ring else { return false };
        let state = &self.block.head.state;
        if self.block.head.runs == Runs::Asked {
            // Acquire: pairs with the Release of who has taken the last item, and then asked; so its place is empty.
            return state.load() & (ASKED | BLOCKED) == ASKED;
        }
        // SAFETY: this thread has RUNNING, so it is alone at the body's end.
        if unsafe { ring.accepts() } {
            return true;
        }
        // Said before the last look: the consumer looks for it after it has made room.
        state.set(BLOCKED);
        // SAFETY: as above.
        unsafe { ring.accepts() }
    }
}

impl<T> fmt::Debug for BlockingYielder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockingYielder").finish_non_exhaustive()
    }
}
