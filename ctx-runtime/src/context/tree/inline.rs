//! The inline generators in the tree, and whose body this thread polls.
//!
//! An inline generator has no task: it moves when its consumer polls it, and is gone when its consumer asks again or drops it. So
//! it is a [`Member`] that no report lists and that `cancel_and_wait` does not wait for, as whoever waits may be the consumer.
//!
//! Whose body a thread polls is known from a chain of heads: the thread has the innermost, and each has the one around it. A body may
//! poll other bodies, and these may poll what is borrowed from the first; so all of the chain counts, and not its innermost alone. The
//! links are written only where they change: of a body that is polled again and again from the same place, they do not.

use super::members::{Member, THIS_THREAD, ThisThread};
use super::refs::NodeRef;
use std::cell::Cell;
use std::ptr::{self, NonNull};

/// The head of an inline generator's allocation.
///
/// The first field of what it is the head of, which is `repr(C)` too.
#[repr(C)]
pub(crate) struct InlineMember {
    pub(crate) member: Member,
    /// While its body is polled: the one around it, or null. Touched by the thread that polls it.
    outer: Cell<*const InlineMember>,
    /// Likewise: the innermost generator with a task that is polled around it.
    within: Cell<*const Member>,
}

// SAFETY: the links are touched by whoever polls the body, which one thread does at a time; `Member` is `Send` and `Sync`.
unsafe impl Send for InlineMember {}
// SAFETY: as above.
unsafe impl Sync for InlineMember {}

/// Takes the innermost out of the chain, also when its poll unwinds.
struct Leave<'a>(&'a InlineMember);

impl Drop for Leave<'_> {
    #[inline]
    fn drop(&mut self) {
        // Read anew: so it does not depend on what was found in the thread's local, and one poll not on the one before.
        THIS_THREAD.with(|thread| thread.inline.set(self.0.outer.get()));
    }
}

/// The inline generator whose body this thread polls, if no body with a task is polled within it.
pub(super) fn innermost_inline(thread: &ThisThread) -> Option<NonNull<Member>> {
    // SAFETY: what is in the chain is being polled, and is borrowed for as long.
    let innermost = unsafe { thread.inline.get().as_ref() }?;
    (innermost.within.get() == address(thread.innermost())).then(|| NonNull::from(&innermost.member))
}

#[inline]
fn address(member: Option<NonNull<Member>>) -> *const Member {
    member.map_or(ptr::null(), |member| member.as_ptr().cast_const())
}

impl InlineMember {
    /// One that nobody has seen yet. It is put at the head of its allocation, then [`list`](Self::list)ed.
    pub(crate) fn unlisted(member: Member) -> Self {
        Self { member, outer: Cell::new(ptr::null()), within: Cell::new(ptr::null()) }
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

    /// Whether this thread polls the body, and no other inline one within that.
    #[inline]
    pub(crate) fn is_innermost(&self) -> bool {
        // Pointers that may be null, as two of them compare in one instruction and two `Option`s do not.
        THIS_THREAD.with(|thread| ptr::eq(thread.inline.get(), self))
    }

    /// Whether this thread polls the body, itself or within another one's.
    pub(crate) fn is_polled(&self) -> bool {
        let mut at = THIS_THREAD.with(|thread| thread.inline.get());
        // SAFETY: what is in the chain is being polled, and is borrowed for as long.
        while let Some(around) = unsafe { at.as_ref() } {
            if ptr::eq(around, self) {
                return true;
            }
            at = around.outer.get();
        }
        false
    }

    /// Runs `poll`, which polls the body; for as long, [`is_polled`](Self::is_polled) says so.
    ///
    /// # Safety
    ///
    /// The body is not being polled, and by nobody else until this returns.
    #[inline]
    pub(crate) unsafe fn polling<R>(&self, poll: impl FnOnce() -> R) -> R {
        let (outer, within) = THIS_THREAD.with(|thread| (thread.inline.get(), address(thread.innermost())));
        if self.outer.get() != outer {
            self.outer.set(outer);
        }
        if self.within.get() != within {
            self.within.set(within);
        }
        let _leave = Leave(self);
        THIS_THREAD.with(|thread| thread.inline.set(self));
        poll()
    }
}
