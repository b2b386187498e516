//! Sections that the end of a generator waits for.
//!
//! A block counts the sections that were begun and are not over. While there is one, a generator that was stopped is not ended but
//! polled on: by its driver only, as nothing is accepted any more that a consumer could ask for. The count is atomic, and not a
//! part of the turn, as safe code may drop a section that was begun anywhere.
//!
//! | the section | is polled by whoever has RUNNING | is dropped anywhere |
//! | --- | --- | --- |
//! | not begun | begins, unless the generator was stopped: then it rests, and the body is dropped after the poll | nothing |
//! | begun | goes on; when it is over it is no longer counted, and if the generator was stopped, it rests for good | is no longer counted; a generator that was stopped is looked at anew |

use super::block::{Head, notify};
use crate::context::{NodeRef, is_within};
use crate::loom::atomic::Ordering;
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::task::{self, Poll};

pin_project! {
    pub(super) struct Shield<'a, F> {
        begun: Begun<'a>,
        #[pin]
        section: F,
    }
}

/// Counts a section, from when it is begun.
struct Begun<'a> {
    node: &'a NodeRef,
    is_counted: bool,
}

impl<'a, F> Shield<'a, F> {
    /// Of a generator, whose node it is.
    pub(super) fn new(node: &'a NodeRef, section: F) -> Self {
        Self { begun: Begun { node, is_counted: false }, section }
    }
}

impl Begun<'_> {
    fn head(&self) -> &Head {
        // SAFETY: the node of a generator, by `Shield::new`.
        unsafe { Head::of(self.node) }
    }

    fn begin(&mut self) {
        if !self.is_counted {
            self.is_counted = true;
            self.head().shields.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn end(&mut self) {
        if self.is_counted {
            self.is_counted = false;
            // Release: pairs with the Acquire of who ends the generator next.
            let is_last = self.head().shields.fetch_sub(1, Ordering::Release) == 1;
            if is_last && self.node.has_end() {
                // Where this is within a poll, that one looks when it is over.
                notify(self.node);
            }
        }
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

/// While it exists, a section is polled.
struct Polling<'a>(&'a Head);

impl<'a> Polling<'a> {
    /// # Safety
    ///
    /// The caller has RUNNING for as long as this exists.
    unsafe fn enter(head: &'a Head) -> Self {
        // SAFETY: by the caller's word.
        unsafe { head.with_turn(|turn| turn.within_shields += 1) };
        Self(head)
    }
}

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        // SAFETY: by the word that was given to `enter`.
        unsafe { self.0.with_turn(|turn| turn.within_shields -= 1) };
    }
}

impl<F: Future> Future for Shield<'_, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let node = this.begun.node;
        assert!(
            is_within(Head::this(node)),
            "a generator can shield only what runs within its own body: not in a task or thread that the body has spawned"
        );
        // From here on: this thread polls the body of this very block, so it has RUNNING.
        // SAFETY: the node of a generator, by `new`.
        let head = unsafe { Head::of(node) };
        // SAFETY: RUNNING.
        let is_within_another = unsafe { head.with_turn(|turn| turn.within_shields) } > 0;
        let may_begin = is_within_another || !node.has_end();
        if !this.begun.is_counted && !may_begin {
            // The body is dropped as soon as its poll is over.
            return Poll::Pending;
        }
        this.begun.begin();
        let polled = {
            // SAFETY: RUNNING.
            let _polling = unsafe { Polling::enter(head) };
            this.section.poll(cx)
        };
        if polled.is_ready() {
            this.begun.end();
            if node.has_end() && !is_within_another {
                // The end has waited for this, and for nothing after it.
                return Poll::Pending;
            }
        }
        polled
    }
}
