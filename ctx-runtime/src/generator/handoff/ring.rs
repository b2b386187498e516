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

pub(in crate::generator) enum Ring<T> {
    /// With a count of what was dropped if a yield drops its item for want of room; else it waits.
    Unlocked(Unlocked<T>, Option<AtomicU64>),
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
            None => Self::Unlocked(Unlocked::new(items)?, None),
            Some(Overflow::DropNewest) => Self::Unlocked(Unlocked::new(items)?, Some(AtomicU64::new(0))),
            Some(Overflow::DropOldest) => Self::Locked(Locked::new(items)?),
        };
        Ok(Box::new(ring))
    }

    pub(super) fn capacity(&self) -> usize {
        match self {
            Self::Unlocked(ring, _) => ring.capacity(),
            Self::Locked(ring) => ring.capacity(),
        }
    }

    /// How many items the policy has dropped.
    pub(super) fn dropped(&self) -> u64 {
        match self {
            Self::Unlocked(_, None) => 0,
            // Relaxed: what was dropped before an item that was taken is seen by the Acquire with which that was.
            Self::Unlocked(_, Some(dropped)) => dropped.load(Ordering::Relaxed),
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
            Self::Unlocked(ring, dropped) => dropped.is_some() || unsafe { ring.has_room() },
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
            Self::Unlocked(ring, dropped) => {
                if let Some(dropped) = dropped {
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
            Self::Unlocked(ring, _) => unsafe { ring.pop() },
            Self::Locked(ring) => ring.pop(),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Unlocked(ring, _) => ring.len(),
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
