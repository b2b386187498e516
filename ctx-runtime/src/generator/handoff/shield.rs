//! Sections that the end of a generator waits for.
//!
//! A block counts the sections that were begun and are not over. While there is one, a generator that was stopped is not ended but
//! polled on: by its driver only, as nothing is accepted any more that a consumer could ask for. The count is atomic, and not a
//! part of the turn, as safe code may drop a section that was begun anywhere.
//!
//! A yield that waits in a section when the end comes has nothing to wait for any more, and may be where a poll of the body does not reach it
//! (`FuturesUnordered` polls whom its own wakers have woken). So the driver wakes all such yields before it polls on.
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
use std::mem;
use std::pin::Pin;
use std::task::{self, Poll};

pin_project! {
    pub(super) struct Shield<'a, F> {
        // Dropped before it is no longer counted: the end waits for its destructors, too.
        #[pin]
        section: F,
        counted: Counted<'a>,
    }
}

/// Counts a section, from when it is begun until it is over.
struct Counted<'a> {
    node: &'a NodeRef,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    New,
    Begun,
    /// Not to be polled any more.
    Over,
}

impl<'a, F> Shield<'a, F> {
    /// Of a generator, whose node it is.
    pub(super) fn new(node: &'a NodeRef, section: F) -> Self {
        Self { section, counted: Counted { node, stage: Stage::New } }
    }
}

impl Counted<'_> {
    fn head(&self) -> &Head {
        // SAFETY: the node of a generator, by `Shield::new`.
        unsafe { Head::of(self.node) }
    }

    /// Called by whoever has RUNNING.
    fn begin(&mut self) {
        if self.stage == Stage::New {
            self.stage = Stage::Begun;
            // Relaxed: who asks has RUNNING after us, or asks for what is over.
            self.head().shields.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn end(&mut self) {
        if mem::replace(&mut self.stage, Stage::Over) != Stage::Begun {
            return;
        }
        let head = self.head();
        // Release: pairs with the Acquire of who ends the generator next.
        let is_last = head.shields.fetch_sub(1, Ordering::Release) == 1;
        // Where this is within a poll of the body, that one looks when it is over.
        if !is_last || is_within(Head::this(self.node)) {
            return;
        }
        // A read-modify-write of the state word, as the notification of an end is one: either that one comes second, and who answers it
        // sees that this section is over, or this does, and sees the end. By the count alone each could miss the other.
        head.state.set(0);
        if self.node.has_end() {
            notify(self.node);
        }
    }
}

impl Drop for Counted<'_> {
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
        let node = this.counted.node;
        assert!(
            is_within(Head::this(node)),
            "a generator can shield only what runs within its own body: not in a task or thread that the body has spawned"
        );
        // From here on: this thread polls the body of this very block, so it has RUNNING.
        // SAFETY: the node of a generator, by `new`.
        let head = unsafe { Head::of(node) };
        // SAFETY: RUNNING.
        let is_within_another = unsafe { head.with_turn(|turn| turn.within_shields) } > 0;
        match this.counted.stage {
            // The body is dropped as soon as its poll is over.
            Stage::New if node.has_end() && !is_within_another => return Poll::Pending,
            // Its end was kept from the body, below.
            Stage::Over => return Poll::Pending,
            Stage::New | Stage::Begun => this.counted.begin(),
        }
        let polled = {
            // SAFETY: RUNNING.
            let _polling = unsafe { Polling::enter(head) };
            this.section.poll(cx)
        };
        if polled.is_ready() {
            this.counted.end();
            if node.has_end() && !is_within_another {
                // The end has waited for this, and for nothing after it.
                return Poll::Pending;
            }
        }
        polled
    }
}
