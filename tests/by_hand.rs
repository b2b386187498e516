//! Polling by hand: what an executor does, one step at a time, with wakers that count or do as they are told.

use ctx_runtime::Generator;
use futures_util::Stream;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{self, Poll, RawWaker, RawWakerVTable, Wake, Waker};

/// Counts how often it was woken.
#[derive(Default)]
pub(crate) struct Wakes(AtomicUsize);

impl Wakes {
    pub(crate) fn new() -> (Arc<Self>, Waker) {
        let heard = Arc::new(Self::default());
        (Arc::clone(&heard), Waker::from(heard))
    }

    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

struct Act<F>(F);

impl<F: Fn() + Send + Sync + 'static> Wake for Act<F> {
    fn wake(self: Arc<Self>) {
        (self.0)();
    }
}

/// A waker that runs `act` when it is woken, and drops it with its last clone.
pub(crate) fn waker_fn(act: impl Fn() + Send + Sync + 'static) -> Waker {
    Waker::from(Arc::new(Act(act)))
}

/// A waker that runs `act` when it is cloned: not woken, not dropped.
pub(crate) fn waker_that_clones(act: impl Fn() + Send + Sync + 'static) -> Waker {
    raw::waker(act, || ())
}

/// A waker that runs `act` whenever one of its clones is dropped, and when it is itself.
pub(crate) fn waker_that_drops(act: impl Fn() + Send + Sync + 'static) -> Waker {
    raw::waker(|| (), act)
}

#[allow(unsafe_code, reason = "only a raw waker can have its own way of being cloned and dropped")]
mod raw {
    use super::{Arc, RawWaker, RawWakerVTable, Waker};

    struct Acts<C, D> {
        cloned: C,
        dropped: D,
    }

    impl<C: Fn() + Send + Sync + 'static, D: Fn() + Send + Sync + 'static> Acts<C, D> {
        const CALLS: RawWakerVTable = RawWakerVTable::new(Self::clone, Self::drop, |_| (), Self::drop);

        unsafe fn clone(acts: *const ()) -> RawWaker {
            let acts = acts.cast::<Self>();
            // SAFETY: made by `Arc::into_raw`, and counted for the waker that is cloned.
            unsafe { ((*acts).cloned)() };
            // SAFETY: as above.
            unsafe { Arc::increment_strong_count(acts) };
            RawWaker::new(acts.cast(), &Self::CALLS)
        }

        /// Also of a waker that is woken by value.
        unsafe fn drop(acts: *const ()) {
            // SAFETY: made by `Arc::into_raw`; this waker's count is taken over.
            let acts = unsafe { Arc::from_raw(acts.cast::<Self>()) };
            (acts.dropped)();
        }
    }

    pub(super) fn waker<C, D>(cloned: C, dropped: D) -> Waker
    where
        C: Fn() + Send + Sync + 'static,
        D: Fn() + Send + Sync + 'static,
    {
        let acts = Arc::into_raw(Arc::new(Acts { cloned, dropped }));
        // SAFETY: the table's functions keep count of an `Arc` of what is `Send` and `Sync`.
        unsafe { Waker::from_raw(RawWaker::new(acts.cast(), &Acts::<C, D>::CALLS)) }
    }
}

pub(crate) fn poll_once<F: Future + ?Sized>(future: Pin<&mut F>, waker: &Waker) -> Poll<F::Output> {
    future.poll(&mut task::Context::from_waker(waker))
}

pub(crate) fn poll_next<T: Send + 'static>(generator: &mut Generator<T>, waker: &Waker) -> Poll<Option<T>> {
    Pin::new(generator).poll_next(&mut task::Context::from_waker(waker))
}
