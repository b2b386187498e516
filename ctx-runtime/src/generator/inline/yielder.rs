//! The body's end: hands items on while one is asked for.

use super::block::{Shared, SharedRef, Turn};
use super::branches::{self, Ticket};
use crate::generator::rounds::Rounds;
use futures_core::Stream;
use std::fmt;
use std::future::{Future, poll_fn};
use std::mem;
use std::pin::{Pin, pin};
use std::task::{self, Poll};

/// What the body of an inline generator yields through.
pub struct InlineYielder<T> {
    block: SharedRef<T>,
    rounds: Rounds,
}

impl<T> InlineYielder<T> {
    pub(super) fn new(block: SharedRef<T>) -> Self {
        Self { block, rounds: Rounds::default() }
    }

    /// Hands `item` to the consumer, and waits until the next one is asked for.
    ///
    /// Once the generator is stopped it accepts nothing and does not return: the body is dropped there. A yielder that has
    /// outlived its body returns at once, and drops the item.
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the item, if it was not accepted before; an accepted one reaches the consumer.
    ///
    /// # Panics
    ///
    /// If polled anywhere but within a poll of its own generator's body.
    #[inline]
    pub fn yield_(&self, item: T) -> impl Future<Output = ()> + use<'_, T> {
        Yield { block: &self.block, state: State::New(item) }
    }

    /// Hands on every item of `stream`, in order, until that ends.
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the stream, and an item that was not accepted.
    ///
    /// # Panics
    ///
    /// As [`yield_`](Self::yield_).
    pub async fn yield_all(&self, stream: impl Stream<Item = T>) {
        let mut stream = pin!(stream);
        while let Some(item) = poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
            self.yield_(item).await;
        }
    }

    /// Ends a round of a loop that may have come by no yield: looks at the end, and gives way when the task's budget is used up.
    ///
    /// What `#[generator]` puts into such loops. When the generator is stopped it does not return: the body is dropped there. A load, a
    /// decrement and a branch; each thirty-second asks for the budget besides.
    ///
    /// # Cancel safety
    ///
    /// Dropping it loses nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use ctx_runtime::generator;
    ///
    /// #[generator(inline)]
    /// async fn even(numbers: &[u64]) -> u64 {
    ///     for n in numbers {
    ///         // co.checkpoint().await;
    ///         if n % 2 == 0 {
    ///             yield_!(*n);
    ///         }
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// assert_eq!(even(&[1, 3, 4]).next().await, Some(4));
    /// # }
    /// ```
    #[inline]
    pub fn checkpoint(&self) -> impl Future<Output = ()> + use<'_, T> {
        poll_fn(|cx| self.rounds.poll(self.block.has_end(), cx))
    }
}

impl<T> fmt::Debug for InlineYielder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InlineYielder").finish_non_exhaustive()
    }
}

struct Yield<'a, T> {
    block: &'a Shared<T>,
    state: State<T>,
}

enum State<T> {
    New(T),
    /// It waits for its turn.
    Offered(Ticket, T),
    /// Accepted as the item of this number.
    Accepted(u32),
}

// An item is never pinned.
impl<T> Unpin for Yield<'_, T> {}

impl<T> Future for Yield<'_, T> {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        let block = self.block;
        let Some(turn) = block.turn() else { return elsewhere(block.is_over()) };
        if let State::Accepted(number) = self.state {
            // One that was accepted later was asked for.
            if !turn.has_item() || turn.number() != number {
                return Poll::Ready(());
            }
            self.register(turn, cx);
            return Poll::Pending;
        }
        if block.has_end() {
            // The body is dropped as soon as its poll is over.
            return Poll::Pending;
        }
        match self.state {
            State::New(_) if turn.is_free() => self.hand_over(turn, cx),
            _ => self.queue_up(turn, cx),
        }
    }
}

/// A yield that is polled outside its body's own poll.
#[cold]
#[inline(never)]
fn elsewhere(is_over: bool) -> Poll<()> {
    assert!(
        is_over,
        "a generator can yield only from within its own body: not from a task or thread that the body has spawned"
    );
    Poll::Ready(())
}

impl<T> Yield<'_, T> {
    /// Accepts the item: the slot is empty.
    #[inline]
    fn hand_over(&mut self, turn: &Turn<T>, cx: &task::Context<'_>) -> Poll<()> {
        match mem::replace(&mut self.state, State::Accepted(turn.number())) {
            State::New(item) | State::Offered(_, item) => turn.accept(item),
            State::Accepted(_) => {}
        }
        self.register(turn, cx);
        Poll::Pending
    }

    /// Sees to it that the next request reaches this yield, also where a poll of the body alone does not.
    #[inline]
    fn register(&self, turn: &Turn<T>, cx: &task::Context<'_>) {
        if !turn.is_own(cx.waker()) {
            turn.branched.set(true);
            self.block.rest(cx.waker());
        }
    }

    /// Waits in the queue; hands the item over if it is the first and the slot is empty.
    #[cold]
    #[inline(never)]
    fn queue_up(&mut self, turn: &Turn<T>, cx: &task::Context<'_>) -> Poll<()> {
        turn.branched.set(true);
        let ticket = match self.state {
            State::Offered(ticket, _) => ticket,
            State::New(_) | State::Accepted(_) => self.join(turn),
        };
        // A waker's clone and drop are anybody's code, and may poll another yield of this body: the one comes before the look
        // for room, the other after the item was handed over, at the end of this function.
        let mut waker = Some(cx.waker().clone());
        let (is_last, _left) = match self.block.take_turn(ticket, !turn.has_item(), &mut waker) {
            branches::Turn::Wait => return Poll::Pending,
            branches::Turn::Come { is_last, left } => (is_last, left),
        };
        turn.branched.set(!is_last);
        self.hand_over(turn, cx)
    }
}

impl<T> Yield<'_, T> {
    fn join(&mut self, turn: &Turn<T>) -> Ticket {
        let ticket = self.block.join_queue();
        if let State::New(item) = mem::replace(&mut self.state, State::Accepted(turn.number())) {
            self.state = State::Offered(ticket, item);
        }
        ticket
    }
}

impl<T> Drop for Yield<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if let State::Offered(ticket, _) = self.state {
            self.block.leave_queue(ticket);
        }
    }
}
