//! What the rest of the crate takes from `std::sync`, or from loom when its models are run.
//!
//! Nothing of ours panics, and nothing of anybody else's runs, while a lock is held; but for the lock around the future of a
//! [`Trigger`](crate::context), which is there to keep its polls to one at a time, and which nobody waits for. So a poisoned lock
//! can only mean that an allocation failed, or that this future has panicked and is not polled again; the data is whole, and the
//! lock is taken as if nothing had been.

#[cfg(all(test, loom))]
use loom::sync as imp;
#[cfg(not(all(test, loom)))]
use std::sync as imp;

#[cfg(all(test, loom))]
pub(crate) use imp::MutexGuard;
pub(crate) use imp::atomic;

/// A lock that knows no poison.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(imp::Mutex<T>);

impl<T> Mutex<T> {
    #[cfg(not(all(test, loom)))]
    pub(crate) const fn new(value: T) -> Self {
        Self(imp::Mutex::new(value))
    }

    #[cfg(all(test, loom))]
    pub(crate) fn new(value: T) -> Self {
        Self(imp::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> imp::MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The lock, unless it is held: by another thread, or further up on this one's stack.
    pub(crate) fn try_lock(&self) -> Option<imp::MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(std::sync::TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(std::sync::TryLockError::WouldBlock) => None,
        }
    }
}
