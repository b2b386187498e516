//! The ring as it mostly is: one end for the body, one for the consumer, no lock between them.
//!
//! Each end counts the items that went through it, publishes that count, and remembers what it last saw of the other's: so as
//! long as there is room, or something to take, an item costs neither a read-modify-write nor a cache line of the other core's.
//! The counts wrap, as their difference is all that is looked at.
//!
//! Who finds the ring full, or empty, says so with a read-modify-write on the state word and looks once more; who has made room, or
//! put something in, looks for that with a read-modify-write, too, after. One of the two comes second and sees what the other did.

use crate::loom::UnsafeCell;
use crate::loom::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::collections::TryReserveError;
use std::mem::MaybeUninit;

pub(in crate::generator) struct Unlocked<T> {
    places: Vec<UnsafeCell<MaybeUninit<T>>>,
    /// The body's end: items that were put in.
    put: End,
    /// The consumer's end: items that were taken out.
    taken: End,
    /// How many items were not put in for want of room, by yields that do not wait for it. `None`: they wait.
    pub(super) dropped: Option<AtomicU64>,
}

/// On cache lines of its own.
#[repr(align(128))]
struct End {
    /// How many items went through this end.
    count: AtomicUsize,
    own: UnsafeCell<Own>,
}

/// What only this end looks at.
struct Own {
    /// The place of the next item.
    place: usize,
    /// The count of the other end when it was last looked at.
    other: usize,
}

// SAFETY: each end is used by one thread at a time (`push` and `pop` say so), and a place by the end whose turn it is. So items are
// sent, and not shared; what anybody may look at is atomic.
unsafe impl<T: Send> Send for Unlocked<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Unlocked<T> {}

impl End {
    fn new() -> Self {
        Self { count: AtomicUsize::new(0), own: UnsafeCell::new(Own { place: 0, other: 0 }) }
    }
}

impl<T> Unlocked<T> {
    /// A ring for `items`, at least one.
    ///
    /// # Errors
    ///
    /// If there is no memory for it.
    pub(super) fn new(items: usize, dropped: Option<AtomicU64>) -> Result<Self, TryReserveError> {
        let mut places = Vec::new();
        places.try_reserve_exact(items)?;
        #[cfg(not(all(test, loom)))]
        // SAFETY: reserved (of nothings, there are as many as one likes); a cell around what need not be initialised.
        unsafe {
            places.set_len(items);
        }
        #[cfg(all(test, loom))]
        places.extend((0..items).map(|_| UnsafeCell::new(MaybeUninit::uninit())));
        Ok(Self { places, put: End::new(), taken: End::new(), dropped })
    }

    pub(super) fn capacity(&self) -> usize {
        self.places.len()
    }

    /// Whether an item can be put in.
    ///
    /// # Safety
    ///
    /// The caller is the only one at the body's end.
    #[inline]
    pub(in crate::generator::handoff) unsafe fn has_room(&self) -> bool {
        // Relaxed: only this end writes it.
        let count = self.put.count.load(Ordering::Relaxed);
        self.put.own.with_mut(|own| {
            // SAFETY: the caller has this end to itself.
            let own = unsafe { &mut *own };
            if count.wrapping_sub(own.other) < self.places.len() {
                return true;
            }
            // Acquire: pairs with the Release in `pop`, so that a place is empty before it is filled again.
            own.other = self.taken.count.load(Ordering::Acquire);
            count.wrapping_sub(own.other) < self.places.len()
        })
    }

    /// Puts an item in.
    ///
    /// # Safety
    ///
    /// The caller is the only one at the body's end, and there is room: `has_room` has said so, and nothing was pushed since.
    #[inline]
    pub(in crate::generator::handoff) unsafe fn push(&self, item: T) {
        let count = self.put.count.load(Ordering::Relaxed);
        let place = self.put.own.with_mut(|own| {
            // SAFETY: the caller has this end to itself.
            let own = unsafe { &mut *own };
            let place = own.place;
            own.place = if place + 1 == self.places.len() { 0 } else { place + 1 };
            place
        });
        // SAFETY: there is room, so the place is empty, and the consumer's end does not look at it before the count says so.
        self.places[place].with_mut(|place| unsafe { (*place).write(item) });
        // Release: pairs with the Acquire in `pop`, so that the item is there.
        self.put.count.store(count.wrapping_add(1), Ordering::Release);
    }

    /// Takes the oldest item out. `None` if there is none.
    ///
    /// # Safety
    ///
    /// The caller is the only one at the consumer's end.
    #[inline]
    pub(in crate::generator::handoff) unsafe fn pop(&self) -> Option<T> {
        let count = self.taken.count.load(Ordering::Relaxed);
        let place = self.taken.own.with_mut(|own| {
            // SAFETY: the caller has this end to itself.
            let own = unsafe { &mut *own };
            if own.other == count {
                // Acquire: pairs with the Release in `push`.
                own.other = self.put.count.load(Ordering::Acquire);
                if own.other == count {
                    return None;
                }
            }
            let place = own.place;
            own.place = if place + 1 == self.places.len() { 0 } else { place + 1 };
            Some(place)
        })?;
        // SAFETY: the count of the other end says that it was filled, and it is emptied once: it is not filled again before our
        // own count says so.
        let item = self.places[place].with(|place| unsafe { place.cast::<T>().read() });
        // Release: pairs with the Acquire in `has_room`.
        self.taken.count.store(count.wrapping_add(1), Ordering::Release);
        Some(item)
    }

    /// Whether, by what this end knows, there is nothing left, or half of it all: then it is time to look closely whether a yield
    /// waits for room. While one does, nothing comes in; so this end, counting down, passes one of the two.
    ///
    /// # Safety
    ///
    /// The caller is the only one at the consumer's end.
    #[inline]
    pub(in crate::generator::handoff) unsafe fn is_at_mark(&self) -> bool {
        let count = self.taken.count.load(Ordering::Relaxed);
        // SAFETY: the caller has this end to itself.
        let known = self.taken.own.with(|own| unsafe { (*own).other }).wrapping_sub(count);
        known == 0 || known == self.capacity() / 2
    }

    /// How many items there are, for whoever is at one of the ends.
    pub(super) fn len(&self) -> usize {
        self.put.count.load(Ordering::Acquire).wrapping_sub(self.taken.count.load(Ordering::Acquire))
    }
}

impl<T> Drop for Unlocked<T> {
    fn drop(&mut self) {
        // SAFETY: nobody else has it.
        while unsafe { self.pop() }.is_some() {}
    }
}
