//! The ring of a generator with a buffer, and what becomes of an item for which it has no room.
//!
//! | overflow | a yield that finds it full | the ring |
//! | --- | --- | --- |
//! | – | waits | [`Unlocked`] |
//! | `DropNewest` | drops its item, and goes on | the same: only the body's end decides |
//! | `DropOldest` | takes the oldest item out, puts its own in, and goes on | [`Locked`], as both ends take from its head |
//!
//! What a policy drops is counted before anything newer can be taken, and handed to the yield, which drops it when all else is done: the
//! destructor is anybody's code.

mod locked;
mod unlocked;

use self::locked::Locked;
use self::unlocked::Unlocked;
use crate::generator::overflow::Overflow;
use crate::loom::atomic::{AtomicU64, Ordering};
use std::collections::TryReserveError;

#[allow(clippy::large_enum_variant, reason = "boxed as a whole, and the larger one is the rule")]
pub(in crate::generator) enum Ring<T> {
    Unlocked(Unlocked<T>),
    Locked(Locked<T>),
}

impl<T> Ring<T> {
    /// A ring for `items`, at least one.
    ///
    /// # Errors
    ///
    /// If there is no memory for it.
    pub(in crate::generator) fn new(
        items: usize,
        overflow: Option<Overflow>,
    ) -> Result<Box<Self>, TryReserveError> {
        let items = items.max(1);
        let ring = match overflow {
            None => Self::Unlocked(Unlocked::new(items, None)?),
            Some(Overflow::DropNewest) => Self::Unlocked(Unlocked::new(items, Some(AtomicU64::new(0)))?),
            Some(Overflow::DropOldest) => Self::Locked(Locked::new(items)?),
        };
        Ok(Box::new(ring))
    }

    pub(super) fn capacity(&self) -> usize {
        match self {
            Self::Unlocked(ring) => ring.capacity(),
            Self::Locked(ring) => ring.capacity(),
        }
    }

    /// How many items the policy has dropped.
    pub(super) fn dropped(&self) -> u64 {
        match self {
            // Relaxed: what was dropped before an item that was taken is seen by the Acquire with which that was.
            Self::Unlocked(ring) => {
                ring.dropped.as_ref().map_or(0, |dropped| dropped.load(Ordering::Relaxed))
            }
            Self::Locked(ring) => ring.dropped(),
        }
    }

    /// Whether an item can be accepted: if it need not wait for room.
    ///
    /// # Safety
    ///
    /// The caller is the only one at the body's end.
    pub(super) unsafe fn accepts(&self) -> bool {
        match self {
            // SAFETY: by the caller's word.
            Self::Unlocked(ring) => ring.dropped.is_some() || unsafe { ring.has_room() },
            Self::Locked(_) => true,
        }
    }

    /// Accepts an item. Returns what is dropped for want of room, which is counted.
    ///
    /// # Safety
    ///
    /// The caller is the only one at the body's end, `accepts` has said yes, and nothing was pushed since.
    pub(super) unsafe fn push(&self, item: T) -> Option<T> {
        match self {
            Self::Unlocked(ring) => {
                if let Some(dropped) = &ring.dropped {
                    // SAFETY: by the caller's word.
                    if !unsafe { ring.has_room() } {
                        count(dropped);
                        return Some(item);
                    }
                }
                // SAFETY: by the caller's word there is room, if none was looked for.
                unsafe { ring.push(item) };
                None
            }
            Self::Locked(ring) => ring.push(item),
        }
    }

    /// Takes the oldest item out. `None` if there is none.
    ///
    /// # Safety
    ///
    /// The caller is the only one at the consumer's end.
    pub(super) unsafe fn pop(&self) -> Option<T> {
        match self {
            // SAFETY: by the caller's word.
            Self::Unlocked(ring) => unsafe { ring.pop() },
            Self::Locked(ring) => ring.pop(),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Unlocked(ring) => ring.len(),
            Self::Locked(ring) => ring.len(),
        }
    }

    /// Whether there is nothing to take.
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is no room, for whoever is at the body's end.
    pub(super) fn is_full(&self) -> bool {
        self.len() >= self.capacity()
    }
}

/// Counts an item that was dropped. Only whoever is at the body's end does.
fn count(dropped: &AtomicU64) {
    // Relaxed: what makes the next item visible makes this so.
    dropped.store(dropped.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

/// It is as large as the larger one alone: which it is, is said where that has a value to spare.
#[cfg(all(test, not(loom), target_pointer_width = "64"))]
#[test]
fn a_ring_is_no_larger_for_being_one_of_two() {
    assert_eq!(size_of::<Ring<u8>>(), size_of::<Unlocked<u8>>());
    assert_eq!(size_of::<Ring<u8>>(), 384);
}
