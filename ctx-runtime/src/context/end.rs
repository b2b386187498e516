//! Kind and cause of an end in one word.
//!
//! A pointer: to the `Location` of an end that needs no more than its line, with the reason in the three lowest bits; or,
//! where these are zero, to a [`Custom`], counted as by `Arc`. So publishing an end is one store (C2), asking for it one load
//! (C9), and most ends need no allocation.
#![allow(unsafe_code, reason = "a tagged pointer; `Word` and `EndCell` are safe to use")]

use super::cause::{Custom, Reason};
use crate::loom::atomic::{AtomicPtr, Ordering};
use std::mem::ManuallyDrop;
use std::panic::Location;
use std::ptr::{self, NonNull};
use std::sync::Arc;

/// Where a `Location` is aligned to eight, its three lowest bits are free for the reason. Elsewhere the reason is put into an
/// allocation.
const REASON_FITS: bool = align_of::<Location<'static>>() >= 8;
const REASON: usize = 0b111;
// The bits of an untagged pointer are zero where they are looked at.
const _: () = assert!(!REASON_FITS || align_of::<Custom>() >= 8);

/// An end, owned. Cloning counts up at the most.
pub(super) struct Word(NonNull<()>);

// SAFETY: stands for a `&'static Location` or an `Arc<Custom>`, and both are `Send` and `Sync`.
unsafe impl Send for Word {}
// SAFETY: as above.
unsafe impl Sync for Word {}

/// What a word says.
pub(super) enum Said<'a> {
    Plain(Reason, &'static Location<'static>),
    Custom(&'a Custom),
}

impl Word {
    #[inline]
    pub(super) fn plain(reason: Reason, origin: &'static Location<'static>) -> Self {
        if REASON_FITS {
            Self(NonNull::from(origin).cast().map_addr(|address| address | (reason as usize)))
        } else {
            Self::custom(Custom::plain(reason, origin))
        }
    }

    pub(super) fn custom(custom: Custom) -> Self {
        // SAFETY: an `Arc`'s pointer is not null.
        Self(unsafe { NonNull::new_unchecked(Arc::into_raw(Arc::new(custom)).cast::<()>().cast_mut()) })
    }

    /// The tag; zero for a pointer that is counted.
    #[inline]
    fn tag(&self) -> usize {
        if REASON_FITS { self.0.addr().get() & REASON } else { 0 }
    }

    pub(super) fn said(&self) -> Said<'_> {
        if let Some(reason) = Reason::from_tag(self.tag()) {
            let origin = self.0.as_ptr().map_addr(|address| address & !REASON);
            // SAFETY: tagged, so made of a `&'static Location` by `plain`, whose address this is again.
            Said::Plain(reason, unsafe { &*origin.cast_const().cast::<Location<'static>>() })
        } else {
            // SAFETY: untagged, so made by `custom`, and this word, which is borrowed, is counted.
            Said::Custom(unsafe { self.0.cast::<Custom>().as_ref() })
        }
    }

    #[cold]
    fn count_up(&self) {
        // SAFETY: untagged, so made by `Arc::into_raw`, and this word is counted.
        unsafe { Arc::increment_strong_count(self.0.cast::<Custom>().as_ptr()) };
    }

    #[cold]
    fn count_down(&self) {
        // SAFETY: untagged, so made by `Arc::into_raw`; this word's own count is given up.
        unsafe { Arc::decrement_strong_count(self.0.cast::<Custom>().as_ptr()) };
    }
}

impl Clone for Word {
    #[inline]
    fn clone(&self) -> Self {
        if self.tag() == 0 {
            self.count_up();
        }
        Self(self.0)
    }
}

impl Drop for Word {
    #[inline]
    fn drop(&mut self) {
        if self.tag() == 0 {
            self.count_down();
        }
    }
}

/// An end that is published at most once.
pub(super) struct EndCell(AtomicPtr<()>);

impl EndCell {
    pub(super) fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    #[inline]
    pub(super) fn is_set(&self) -> bool {
        // Acquire: pairs with the Release in `set`; what was done before the cancel is seen by who sees the end.
        !self.0.load(Ordering::Acquire).is_null()
    }

    /// Publishes the end. The caller sees to it that this happens once: under a lock, or before others can see the cell.
    #[inline]
    pub(super) fn set(&self, end: Word) {
        let end = ManuallyDrop::new(end);
        debug_assert!(!self.is_set(), "an end is published once");
        // Release: pairs with the Acquire in `is_set` and `get`.
        self.0.store(end.0.as_ptr(), Ordering::Release);
    }

    /// Whether the end has an error of the user's, whose destructor is the user's.
    #[inline]
    pub(super) fn is_custom(&self) -> bool {
        let word = NonNull::new(self.0.load(Ordering::Relaxed)).map(|word| ManuallyDrop::new(Word(word)));
        word.is_some_and(|word| word.tag() == 0)
    }

    #[inline]
    pub(super) fn get(&self) -> Option<Word> {
        let word = NonNull::new(self.0.load(Ordering::Acquire))?;
        // The cell's own, which stays counted.
        let word = ManuallyDrop::new(Word(word));
        Some(Word::clone(&word))
    }
}

impl Drop for EndCell {
    #[inline]
    fn drop(&mut self) {
        drop(NonNull::new(self.0.load(Ordering::Relaxed)).map(Word));
    }
}
