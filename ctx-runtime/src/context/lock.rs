//! The lock of a node: one byte, taken with one read-modify-write and given back with a store.
//!
//! A context is made, cancelled and dropped in some thirty nanoseconds, in which a lock is held three times for a handful of
//! instructions. There the second read-modify-write with which std's `Mutex` is given back, to learn of sleepers, showed: 42 ns
//! with it, 34 without, in the benchmark's first row. Without sleepers there is nobody to learn of: who finds the lock taken spins, then
//! lets other threads run, then naps. Held for longer than that takes are only the locks of a node with many children or
//! waiters: by a marking that walks its children (a cancel waits for that anyhow, and no child joins a node that is done), and
//! by what takes all wakers or callbacks out of a list, where a runtime has ended or a context cannot end any more.
#![allow(unsafe_code, reason = "a lock; safe to use")]

#[cfg(all(test, loom))]
pub(crate) use crate::loom::{Mutex as Lock, MutexGuard as Guard};

#[cfg(not(all(test, loom)))]
pub(crate) use spinning::{Guard, Lock};

#[cfg(not(all(test, loom)))]
mod spinning {
    use std::cell::UnsafeCell;
    use std::hint;
    use std::ops::{Deref, DerefMut};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;
    use std::time::Duration;

    pub(crate) struct Lock<T> {
        taken: AtomicBool,
        value: UnsafeCell<T>,
    }

    // SAFETY: whoever has the lock has the value to itself, so sharing the lock is like sending the value from one to the next.
    unsafe impl<T: Send> Sync for Lock<T> {}

    /// Gives the lock back when it is dropped.
    pub(crate) struct Guard<'a, T>(&'a Lock<T>);

    // SAFETY: a shared guard gives shared access to the value, and no more.
    unsafe impl<T: Sync> Sync for Guard<'_, T> {}

    impl<T> Lock<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self { taken: AtomicBool::new(false), value: UnsafeCell::new(value) }
        }

        #[inline]
        pub(crate) fn lock(&self) -> Guard<'_, T> {
            // Acquire: pairs with the Release in `drop`; what the last holder did is seen.
            if self.taken.swap(true, Ordering::Acquire) {
                self.wait();
            }
            Guard(self)
        }

        #[cold]
        fn wait(&self) {
            const SPINS: u32 = 64;
            const TURNS: u32 = SPINS + 64;
            let mut tries = 0_u32;
            loop {
                // Only looks, so that the holder's cache line stays with it.
                while self.taken.load(Ordering::Relaxed) {
                    if tries < SPINS {
                        hint::spin_loop();
                    } else if tries < TURNS {
                        thread::yield_now();
                    } else {
                        thread::sleep(Duration::from_micros(50));
                    }
                    tries = tries.saturating_add(1);
                }
                if !self.taken.swap(true, Ordering::Acquire) {
                    return;
                }
            }
        }
    }

    impl<T> Drop for Guard<'_, T> {
        #[inline]
        fn drop(&mut self) {
            // Release: pairs with the Acquire in `lock`.
            self.0.taken.store(false, Ordering::Release);
        }
    }

    impl<T> Deref for Guard<'_, T> {
        type Target = T;

        #[inline]
        fn deref(&self) -> &T {
            // SAFETY: the guard has the lock, and is borrowed.
            unsafe { &*self.0.value.get() }
        }
    }

    impl<T> DerefMut for Guard<'_, T> {
        #[inline]
        fn deref_mut(&mut self) -> &mut T {
            // SAFETY: the guard has the lock, and is borrowed mutably.
            unsafe { &mut *self.0.value.get() }
        }
    }
}
