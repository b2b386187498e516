//! The inline generators in the tree, and whose body this thread polls.
//!
//! An inline generator has no task: it moves when its consumer polls it, and is gone when its consumer asks again or drops it. So
//! it is a [`Member`] that no report lists and that `cancel_and_wait` does not wait for, as whoever waits may be the consumer.
//!
//! Whose body a thread polls is known from a chain of heads: the thread has the innermost, and each has the one around it. A body may
//! poll other bodies, and these may poll what is borrowed from the first; so all of the chain counts, and not its innermost alone. The
//! links are written only where they change: of a body that is polled again and again from the same place, they do not.

use super::members::{Member, innermost};
use super::refs::NodeRef;
use std::cell::Cell;
use std::ptr::NonNull;

/// The head of an inline generator's allocation.
///
/// The first field of what it is the head of, which is `repr(C)` too.
#[repr(C)]
pub(crate) struct InlineMember {
    pub(crate) member: Member,
    /// While its body is polled: the one around it. Touched by the thread that polls it.
    outer: Cell<Option<NonNull<InlineMember>>>,
    /// Likewise: the innermost generator with a task that is polled around it.
    within: Cell<Option<NonNull<Member>>>,
}

// SAFETY: the links are touched by whoever polls the body, which one thread does at a time; `Member` is `Send` and `Sync`.
unsafe impl Send for InlineMember {}
// SAFETY: as above.
unsafe impl Sync for InlineMember {}

thread_local! {
    static INNERMOST: Cell<Option<NonNull<InlineMember>>> = const { Cell::new(None) };
}

/// Takes the innermost out of the chain, also when its poll unwinds.
struct Leave(Option<NonNull<InlineMember>>);

impl Drop for Leave {
    #[inline]
    fn drop(&mut self) {
        INNERMOST.set(self.0);
    }
}

/// Whether this thread polls the body of this very inline generator, itself or within another one's.
#[inline]
pub(crate) fn is_polled_inline(node: &NodeRef) -> bool {
    let this = node.as_ptr().cast();
    let innermost = INNERMOST.get();
    innermost == Some(this) || innermost.is_some_and(|innermost| is_polled_around(innermost, this))
}

#[cold]
#[inline(never)]
fn is_polled_around(innermost: NonNull<InlineMember>, this: NonNull<InlineMember>) -> bool {
    // SAFETY: what is in the chain is being polled, and is borrowed for as long.
    std::iter::successors(Some(innermost), |at| unsafe { at.as_ref() }.outer.get()).any(|at| at == this)
}

/// The inline generator whose body this thread polls, if no other body is polled within it: `with_task` is the innermost of those
/// with a task.
pub(super) fn innermost_inline(with_task: Option<NonNull<Member>>) -> Option<NonNull<Member>> {
    let innermost = INNERMOST.get()?;
    // SAFETY: as above.
    let is_innermost = unsafe { innermost.as_ref() }.within.get() == with_task;
    is_innermost.then_some(innermost.cast())
}

impl InlineMember {
    /// One that nobody has seen yet. It is put at the head of its allocation, then [`list`](Self::list)ed.
    pub(crate) fn unlisted(member: Member) -> Self {
        Self { member, outer: Cell::new(None), within: Cell::new(None) }
    }

    /// Gives it its place in the tree, from where it may be cancelled from now on. Sees to it that a deadline ends it.
    ///
    /// # Safety
    ///
    /// As [`Member::list`].
    pub(crate) unsafe fn list(this: NonNull<Self>, parent: Option<&NodeRef>) -> NodeRef {
        // SAFETY: alive, by the caller's word.
        unsafe { this.as_ref() }.member.set_ended();
        // SAFETY: by the caller's word.
        let node = unsafe { NodeRef::list(this.cast(), parent) };
        match &node.deadline {
            Some(deadline) if !node.is_done() => deadline.arm(),
            _ => {}
        }
        node
    }

    /// Runs `poll`, which polls the body; for as long, [`is_polled_inline`] says so.
    ///
    /// # Safety
    ///
    /// The body is not being polled, and by nobody else until this returns.
    #[inline]
    pub(crate) unsafe fn polling<R>(&self, poll: impl FnOnce() -> R) -> R {
        let (outer, within) = (INNERMOST.get(), innermost());
        if self.outer.get() != outer {
            self.outer.set(outer);
        }
        if self.within.get() != within {
            self.within.set(within);
        }
        let _leave = Leave(outer);
        INNERMOST.set(Some(NonNull::from(self)));
        poll()
    }
}
