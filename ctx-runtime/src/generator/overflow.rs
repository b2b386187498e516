//! What becomes of an item for which a buffer has no room.

/// What becomes of an item for which a buffer has no room, where a yield is not to wait for any.
///
/// With either, a yield goes on at once, however far the consumer is behind; so a body that waits for nothing else gives way by
/// tokio's cooperative budget only. What is dropped is counted ([`Generator::dropped`](crate::Generator::dropped)), and the rest
/// arrives once and in order. An item that the consumer has taken is not dropped any more.
///
/// The dropped item's destructor runs in the yield, on the body's thread, with no lock held. If it panics, the panic comes out of the
/// yield like any other of the body's: the item is counted, and where it was the oldest, the new one is in the buffer.
///
/// # Examples
///
/// A meter whose consumer, which comes by now and then, wants the latest reading:
///
/// ```
/// use ctx_runtime::{Generator, generator};
/// use std::time::Duration;
/// use tokio::time::{interval, sleep};
///
/// #[generator(buffer = 1, overflow = drop_oldest)]
/// async fn seconds() -> u32 {
///     let mut clock = interval(Duration::from_secs(1));
///     for second in 0.. {
///         clock.tick().await;
///         yield_!(second);
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let mut seconds: Generator<u32> = seconds();
/// sleep(Duration::from_millis(9_500)).await;
/// assert_eq!(seconds.next().await, Some(9));
/// assert_eq!(seconds.dropped(), 9);
/// # }
/// ```
///
/// The first to come are served, and the rest go:
///
/// ```
/// use ctx_runtime::{Context, Generator, Overflow};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let mut tickets = Generator::builder().buffer(2).overflow(Overflow::DropNewest).spawn(
///     &Context::background(),
///     |_, co| async move {
///         for visitor in ["Ada", "Ben", "Cleo", "Dan"] {
///             co.yield_(visitor).await;
///         }
///     },
/// );
/// tokio::task::yield_now().await;
/// assert_eq!(tickets.next().await, Some("Ada"));
/// assert_eq!(tickets.next().await, Some("Ben"));
/// assert_eq!(tickets.next().await, None);
/// assert_eq!(tickets.dropped(), 2);
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Overflow {
    /// The oldest item in the buffer is dropped, and the one that is yielded takes its place: the consumer gets the latest.
    DropOldest,
    /// The item that is yielded is dropped: the consumer gets what was there first.
    DropNewest,
}
