//! The ring of which both ends take the oldest item: the consumer, and a yield that finds no room.
//!
//! So neither has the oldest item to itself, and there is a lock, held for a handful of instructions. None of them is anybody else's
//! code: what is taken out is dropped by whoever has taken it, after.

use crate::context::Lock;
use crate::loom::atomic::{AtomicU64, Ordering};
use std::collections::{TryReserveError, VecDeque};

pub(in crate::generator) struct Locked<T> {
    /// Reserved for all that it may hold, so that it does not allocate.
    items: Lock<VecDeque<T>>,
    capacity: usize,
    /// How many were taken out for want of room. Written under the lock.
    dropped: AtomicU64,
}

impl<T> Locked<T> {
    /// A ring for `items`, at least one.
    ///
    /// # Errors
    ///
    /// If there is no memory for it.
    pub(super) fn new(items: usize) -> Result<Self, TryReserveError> {
        let mut places = VecDeque::new();
        places.try_reserve_exact(items)?;
        Ok(Self { items: Lock::new(places), capacity: items, dropped: AtomicU64::new(0) })
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Puts an item in. If there is no room, takes the oldest out for it, and returns that.
    pub(super) fn push(&self, item: T) -> Option<T> {
        let mut items = self.items.lock();
        let oldest = if items.len() < self.capacity { None } else { items.pop_front() };
        items.push_back(item);
        if oldest.is_some() {
            // Under the lock: who takes a later item finds this one counted.
            super::count(&self.dropped);
        }
        oldest
    }

    /// Takes the oldest item out. `None` if there is none.
    pub(in crate::generator::handoff) fn pop(&self) -> Option<T> {
        self.items.lock().pop_front()
    }

    pub(super) fn len(&self) -> usize {
        self.items.lock().len()
    }

    pub(super) fn dropped(&self) -> u64 {
        // Relaxed: what was dropped before an item that was taken is seen by the lock under which that was.
        self.dropped.load(Ordering::Relaxed)
    }
}
