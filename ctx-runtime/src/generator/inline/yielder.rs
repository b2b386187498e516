//! The body's end: hands items on while one is asked for.

use super::block::{Shared, SharedRef, Turn};
use super::branches::{self, Place};
use futures_core::Stream;
use pin_project_lite::pin_project;
use std::fmt;
use std::future::{Future, poll_fn};
use std::marker::PhantomPinned;
use std::pin::{Pin, pin};
use std::task::{self, Poll, Waker};

/// What the body of an inline generator yields through.
pub struct InlineYielder<T> {
    block: SharedRef<T>,
}

impl<T> InlineYielder<T> {
    pub(super) fn new(block: SharedRef<T>) -> Self {
        Self { block }
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
        self.by_ref().yield_(item)
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
        self.by_ref().yield_all(stream).await;
    }

    /// A borrow, as a reference is one, but with a step less to the block. It is what a body has.
    #[inline]
    #[must_use = "it is what yields"]
    pub fn by_ref(&self) -> InlineYielderRef<'_, T> {
        InlineYielderRef { block: &self.block }
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
        self.by_ref().checkpoint()
    }
}

impl<T> fmt::Debug for InlineYielder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InlineYielder").finish_non_exhaustive()
    }
}

/// A borrowed [`InlineYielder`].
pub struct InlineYielderRef<'a, T> {
    block: &'a Shared<T>,
}

impl<T> Clone for InlineYielderRef<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for InlineYielderRef<'_, T> {}

impl<'a, T> InlineYielderRef<'a, T> {
    /// As [`InlineYielder::yield_`].
    #[inline]
    pub fn yield_(self, item: T) -> impl Future<Output = ()> + use<'a, T> {
        Yield { block: self.block, item: Some(item), pinned: PhantomPinned }
    }

    /// As [`InlineYielder::checkpoint`].
    #[inline]
    pub fn checkpoint(self) -> impl Future<Output = ()> + use<'a, T> {
        let block = self.block;
        poll_fn(move |cx| block.rounds.poll(block.has_end(), cx))
    }

    /// As [`InlineYielder::yield_all`].
    pub async fn yield_all(self, stream: impl Stream<Item = T>) {
        let mut stream = pin!(stream);
        while let Some(item) = poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
            self.yield_(item).await;
        }
    }
}

impl<T> fmt::Debug for InlineYielderRef<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InlineYielderRef").finish_non_exhaustive()
    }
}

pin_project! {
    struct Yield<'a, T> {
        block: &'a Shared<T>,
        // Until it is accepted.
        item: Option<T>,
        // It is known by its address.
        #[pin]
        pinned: PhantomPinned,
    }

    impl<T> PinnedDrop for Yield<'_, T> {
        fn drop(this: Pin<&mut Self>) {
            if this.item.is_some() {
                // It may be in the queue.
                this.block.leave_queue(this.place());
            }
        }
    }
}

impl<T> Future for Yield<'_, T> {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        let block = self.block;
        if self.item.is_none() {
            return match block.turn_of_innermost() {
                // Its item was taken, and another one is asked for.
                Some(turn) if !turn.is_by(self.place()) => Poll::Ready(()),
                _ => self.poll_later(cx),
            };
        }
        // Before the looks, so that an item that is accepted at once is not written down first.
        let item = self.as_mut().project().item.take();
        match (block.turn_of_innermost(), item) {
            (Some(turn), Some(item)) if !block.has_end() && turn.is_free_for(cx.waker()) => {
                turn.accept(item, self.place());
                Poll::Pending
            }
            (_, item) => self.offer_later(item, cx),
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
    /// Tells it from the others. It is pinned, so it stays there.
    #[inline]
    fn place(&self) -> Place {
        Place::of(self)
    }

    /// As [`poll_later`](Self::poll_later), with the item put back.
    #[cold]
    #[inline(never)]
    fn offer_later(mut self: Pin<&mut Self>, item: Option<T>, cx: &task::Context<'_>) -> Poll<()> {
        *self.as_mut().project().item = item;
        self.poll_later(cx)
    }

    /// What happens seldom: others wait, or it is polled with a waker of its own, within another body, once more in the poll that has
    /// accepted it, after the end, or elsewhere.
    #[cold]
    #[inline(never)]
    fn poll_later(self: Pin<&mut Self>, cx: &task::Context<'_>) -> Poll<()> {
        let (block, place) = (self.block, self.place());
        let Some(turn) = block.turn() else { return elsewhere(block.is_over()) };
        let is_accepted = self.item.is_none();
        if is_accepted && !turn.is_by(place) {
            return Poll::Ready(());
        }
        if is_accepted {
            rest(block, turn, cx.waker());
        } else if !block.has_end() {
            // Else the body is dropped as soon as its poll is over.
            self.offer(turn, cx.waker());
        }
        Poll::Pending
    }

    /// Hands the item over, if there is room and it is its turn; else waits for that.
    fn offer(self: Pin<&mut Self>, turn: &Turn<T>, waker: &Waker) {
        let (block, place) = (self.block, self.place());
        if let Some(own) = turn.waker() {
            // Compared, which runs nobody's code.
            let is_own = own.will_wake(waker);
            self.hand_over(turn);
            if !is_own {
                rest(block, turn, waker);
            }
            return;
        }
        turn.set_branched();
        block.join_queue(place);
        // A waker's clone and drop are anybody's code, and may poll another yield of this body: the one comes before the look
        // for room, the other after the item was handed over, at the end of this function.
        let mut clone = Some(waker.clone());
        let _left = match block.take_turn(place, turn.has_room(), &mut clone) {
            branches::Turn::Wait => return,
            branches::Turn::Come(left) => left,
        };
        self.hand_over(turn);
        rest(block, turn, waker);
    }

    fn hand_over(self: Pin<&mut Self>, turn: &Turn<T>) {
        let place = self.place();
        if let Some(item) = self.project().item.take() {
            turn.accept(item, place);
        }
    }
}

/// Sees to it that the next request reaches this yield, where a poll of the body alone might not.
fn rest<T>(block: &Shared<T>, turn: &Turn<T>, waker: &Waker) {
    turn.set_branched();
    block.rest(waker);
}
