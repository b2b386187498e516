//! What the rest of the crate takes from `std`, or from loom when its models are run.
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
pub(crate) use loom::thread;
#[cfg(not(all(test, loom)))]
pub(crate) use std::thread;

#[cfg(all(test, loom))]
pub(crate) use imp::MutexGuard;
pub(crate) use imp::atomic;

#[cfg(all(test, loom))]
pub(crate) use loom::cell::UnsafeCell;

/// `std`'s cell with the interface of loom's, which sees who reaches into it, and when.
#[cfg(not(all(test, loom)))]
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(all(test, loom)))]
impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    #[inline]
    pub(crate) fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
        read(self.0.get())
    }

    #[inline]
    pub(crate) fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
        write(self.0.get())
    }
}

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
}
