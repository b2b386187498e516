//! The state word: who has a generator to itself, and what it has been told meanwhile.
//!
//! What each bit and each step is for is in the [module above](super); here they are carried out.

use crate::loom::atomic::{self, AtomicUsize, Ordering};

/// Somebody has the body, the slot and all else that is not shared.
pub(super) const RUNNING: usize = 1;
/// The body was woken, or something else wants the driver, since a poll was begun.
pub(super) const NOTIFIED: usize = 1 << 1;
/// The consumer has asked for an item and not got it (without a buffer).
pub(super) const ASKED: usize = 1 << 2;
/// The consumer's waker is in its cell.
pub(super) const WAITING: usize = 1 << 3;
/// A yield waits for room in the ring; or, of a thread without a buffer, for its item to be taken.
pub(super) const BLOCKED: usize = 1 << 4;
/// The driver's waker is in its cell, for good.
pub(super) const DRIVER: usize = 1 << 5;
/// There is a driver, or the keeper was called for one.
pub(super) const CALLED: usize = 1 << 6;
/// The driver is gone, or the runtime is.
pub(super) const ORPHANED: usize = 1 << 7;
/// The consumer is gone.
pub(super) const CLOSED: usize = 1 << 8;
/// The body is gone, and the end is in its cell.
pub(super) const ENDED: usize = 1 << 9;
/// The yielder of a local generator is there, and may be given something to run.
pub(super) const YIELDER: usize = 1 << 10;
/// A task of clean-ups waits for the driver of a local generator to spawn it.
pub(super) const DUE: usize = 1 << 11;

/// Between what one does and a look at what another does, on both sides: one of the two sees the other.
pub(super) fn fence() {
    atomic::fence(Ordering::SeqCst);
}

pub(super) struct State(AtomicUsize);

/// What became of an attempt to get RUNNING.
pub(super) enum Entered {
    /// It was had; the state before.
    Yes(usize),
    /// Somebody else has it.
    Busy,
    /// There is nothing to run any more.
    Ended,
}

impl State {
    pub(super) fn new(state: usize) -> Self {
        Self(AtomicUsize::new(state))
    }

    #[inline]
    pub(super) fn load(&self) -> usize {
        // Acquire: pairs with the Release of who set the bits that are looked for.
        self.0.load(Ordering::Acquire)
    }

    /// For whoever has RUNNING, and looks for a bit that nobody takes away meanwhile, or only to save a step.
    #[inline]
    pub(super) fn peek(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Takes RUNNING if it is free and `only_if` holds of the state, and sets and clears bits in the same step.
    #[inline]
    pub(super) fn enter(&self, set: usize, clear: usize) -> Entered {
        let mut now = self.0.load(Ordering::Relaxed);
        loop {
            if now & (RUNNING | ENDED) != 0 {
                if now & ENDED == 0 {
                    return Entered::Busy;
                }
                // Acquire: pairs with the Release in `end`, so that what was written before is there.
                self.0.load(Ordering::Acquire);
                return Entered::Ended;
            }
            let next = (now | RUNNING | set) & !clear;
            // Acquire: pairs with the Release in `leave`, of whoever had RUNNING before, and in `set`, of who has set a bit.
            match self.0.compare_exchange_weak(now, next, Ordering::Acquire, Ordering::Relaxed) {
                Ok(before) => return Entered::Yes(before),
                Err(changed) => now = changed,
            }
        }
    }

    /// Gives RUNNING back, and returns the state before.
    #[inline]
    pub(super) fn leave(&self) -> usize {
        // Release: pairs with the Acquire in `enter`. Acquire: who set a bit meanwhile has left its part to us. A subtraction, as
        // that is one instruction where a bit that is to be cleared is a loop.
        let before = self.0.fetch_sub(RUNNING, Ordering::AcqRel);
        debug_assert!(before & RUNNING != 0, "the caller has it");
        before
    }

    /// Gives RUNNING back, clears these bits too, and returns the state before.
    pub(super) fn leave_clearing(&self, clear: usize) -> usize {
        // As in `leave`.
        self.0.fetch_and(!(RUNNING | clear), Ordering::AcqRel)
    }

    /// Gives RUNNING back and sets a bit of which the caller knows that it is clear.
    #[inline]
    pub(super) fn leave_setting(&self, set: usize) -> usize {
        let before = self.0.fetch_add(set.wrapping_sub(RUNNING), Ordering::AcqRel);
        debug_assert!(before & (RUNNING | set) == RUNNING, "the bit is clear");
        before
    }

    /// Sets bits, and returns the state before.
    #[inline]
    pub(super) fn set(&self, bits: usize) -> usize {
        // Release: who answers sees what was done before. Acquire: who comes second sees what the first has done (the ring).
        self.0.fetch_or(bits, Ordering::AcqRel)
    }

    /// Clears bits, and returns the state before.
    #[inline]
    pub(super) fn clear(&self, bits: usize) -> usize {
        self.0.fetch_and(!bits, Ordering::AcqRel)
    }

    /// Gives RUNNING back for good: the body is gone and the end is written. Returns the state before.
    pub(super) fn end(&self) -> usize {
        let end = |now: usize| Some((now | ENDED) & !(RUNNING | NOTIFIED | ASKED | WAITING | BLOCKED));
        // Release: pairs with the Acquire of who looks for ENDED.
        match self.0.fetch_update(Ordering::AcqRel, Ordering::Relaxed, end) {
            Ok(before) | Err(before) => before,
        }
    }
}
