//! The inline generators in the tree, and whose body this thread polls.
//!
//! An inline generator has no task: it moves when its consumer polls it, and is gone when its consumer asks again or drops it. So
//! it is a [`Member`] that no report lists and that `cancel_and_wait` does not wait for, as whoever waits may be the consumer.
//!
//! Who polls a body is known from a chain of *frames* on the stack, one for each poll of an inline body that is under way on this
//! thread. A body may poll other bodies, and these may poll what is borrowed from the first; so all of the chain counts, and not its
//! innermost frame alone.

use super::members::Member;
use super::refs::NodeRef;
use std::cell::Cell;
use std::ptr::NonNull;

/// One poll of an inline body, on the stack of the thread that polls it.
struct Frame {
    member: NonNull<Member>,
    outer: Option<NonNull<Frame>>,
    /// The generator with a task whose body this is a part of, if it is.
    within: Option<NonNull<Member>>,
}

thread_local! {
    static INNERMOST: Cell<Option<NonNull<Frame>>> = const { Cell::new(None) };
}

/// Takes a frame out of the chain, also when the poll unwinds.
struct Leave(Option<NonNull<Frame>>);

impl Drop for Leave {
    #[inline]
    fn drop(&mut self) {
        INNERMOST.set(self.0);
    }
}

/// Runs `poll`, which polls the body of this inline generator; for as long, [`is_polled_inline`] says so.
#[inline]
pub(crate) fn polling_inline<R>(node: &NodeRef, poll: impl FnOnce() -> R) -> R {
    let outer = INNERMOST.get();
    let frame = Frame { member: node.as_ptr().cast(), outer, within: super::members::innermost() };
    let _leave = Leave(outer);
    INNERMOST.set(Some(NonNull::from(&frame)));
    poll()
}

/// Whether this thread polls the body of this very inline generator, itself or within another one's.
#[inline]
pub(crate) fn is_polled_inline(node: &NodeRef) -> bool {
    let member = node.as_ptr().cast();
    let Some(frame) = INNERMOST.get() else { return false };
    // SAFETY: a frame is in the chain for as long as the call of `polling_inline` that has it on its stack.
    let frame = unsafe { frame.as_ref() };
    frame.member == member || is_polled_around(frame, member)
}

#[cold]
#[inline(never)]
fn is_polled_around(innermost: &Frame, member: NonNull<Member>) -> bool {
    // SAFETY: as above; the frames around one outlive it.
    let mut around = std::iter::successors(innermost.outer, |frame| unsafe { frame.as_ref() }.outer);
    // SAFETY: as above.
    around.any(|frame| unsafe { frame.as_ref() }.member == member)
}

/// The inline generator whose body this thread polls, if no other body is polled within it: `within` is the innermost of those
/// with a task.
pub(super) fn innermost_inline(within: Option<NonNull<Member>>) -> Option<NonNull<Member>> {
    // SAFETY: as above.
    let frame = unsafe { INNERMOST.get()?.as_ref() };
    (frame.within == within).then_some(frame.member)
}

impl Member {
    /// Gives an inline generator its place in the tree, from where it may be cancelled from now on. Sees to it that a deadline ends
    /// it.
    ///
    /// # Safety
    ///
    /// As [`list`](Self::list).
    pub(crate) unsafe fn list_inline(this: NonNull<Self>, parent: Option<&NodeRef>) -> NodeRef {
        // SAFETY: alive, by the caller's word.
        unsafe { this.as_ref() }.set_ended();
        // SAFETY: by the caller's word.
        let node = unsafe { NodeRef::list(this.cast(), parent) };
        match &node.deadline {
            Some(deadline) if !node.is_done() => deadline.arm(),
            _ => {}
        }
        node
    }
}
