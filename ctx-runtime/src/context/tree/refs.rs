//! Who keeps a node alive, and how it goes when nobody does.

use super::members::deallocate;
#[cfg(not(all(test, loom)))]
use super::members::shard;
use super::{Extra, Kind, Node, Own, Payload, discard};
use crate::context::cause::{Cause, Reason};
use crate::context::lock::Lock;
use crate::loom::atomic::Ordering;
use std::mem;
use std::ops::Deref;
use std::panic::{self, AssertUnwindSafe, Location};
use std::ptr::NonNull;
use std::thread;

/// One reference.
pub(super) const REF: u64 = 1;

/// One canceller, on top of its reference.
pub(super) const CANCELLER: u64 = 1 << 32;

/// More than this many cannot be had by honest means; only `mem::forget` in a loop gets there.
const MOST: u64 = 1 << 31;

impl Node {
    /// Counts `more` on behalf of somebody who is counted already.
    fn count_up(&self, more: u64) {
        // Relaxed: whoever counts up keeps the node alive.
        let counts = self.counts.fetch_add(more, Ordering::Relaxed);
        if counts % CANCELLER >= MOST {
            // As `Arc` does: an overflow would free what is in use.
            std::process::abort();
        }
    }
}

/// Counts `less` down on the node, and frees it, and in turn its ancestors, if that was the last.
///
/// A pointer and not a reference, here and in what frees: an argument that is a reference must stay good until the function returns,
/// and from the count on another thread may free the node.
///
/// # Safety
///
/// The caller was counted by that much, and does not use the node any more.
#[inline]
unsafe fn count_down(node: NonNull<Node>, less: u64) {
    // SAFETY: what is counted down here has kept it alive. Not used after that.
    let this = unsafe { node.as_ref() };
    // Release: pairs with the Acquire in `free_upwards`, so that whoever frees has seen all uses.
    if this.counts.fetch_sub(less, Ordering::Release) == less {
        // SAFETY: the count is zero, and `try_ref` revives no node.
        unsafe { free_upwards(node) };
    }
}

/// Frees a node, and each ancestor to which it owned the last reference: not by recursion (C7).
///
/// A cause's destructor that panics keeps nothing from being freed; the first panic goes on when all is done.
///
/// # Safety
///
/// The node's count has just come to zero.
unsafe fn free_upwards(node: NonNull<Node>) {
    let mut node = node;
    let mut others = Vec::new();
    let mut first = None;
    loop {
        // SAFETY: alive until it is freed below.
        let this = unsafe { node.as_ref() };
        // Acquire: pairs with the Release of each that counted down before, as nothing but read-modify-writes came between. A load
        // and not a fence, which the thread sanitizer does not understand.
        this.counts.load(Ordering::Acquire);
        // SAFETY: its count is zero, and this is the only one to have brought it there.
        let Freed { mut parent, other, panic } = unsafe { free(node) };
        others.extend(other);
        match (&first, panic) {
            (None, panic) => first = panic,
            (Some(_), panic) => panic.into_iter().for_each(discard),
        }
        node = loop {
            let Some(above) = parent.take().or_else(|| others.pop()) else {
                return match first {
                    Some(payload) if !thread::panicking() => panic::resume_unwind(payload),
                    first => first.into_iter().for_each(discard),
                };
            };
            // SAFETY: the freed child owned a reference, which is given up here. Not used after that.
            let this = unsafe { above.as_ref() };
            // Release: as in `count_down`.
            if this.counts.fetch_sub(REF, Ordering::Release) == REF {
                break above;
            }
        };
    }
}

/// A counted reference to a node: the pointer that it was listed with, good for the whole of the allocation that it is in.
pub(crate) struct NodeRef(pub(super) NonNull<Node>);

// SAFETY: a node is `Send` and `Sync`, and its count is atomic.
unsafe impl Send for NodeRef {}

// SAFETY: as above.
unsafe impl Sync for NodeRef {}

impl Deref for NodeRef {
    type Target = Node;

    #[inline]
    fn deref(&self) -> &Node {
        // SAFETY: a reference keeps the node alive.
        unsafe { self.0.as_ref() }
    }
}

impl Clone for NodeRef {
    fn clone(&self) -> Self {
        self.count_up(REF);
        Self(self.0)
    }
}

impl Drop for NodeRef {
    fn drop(&mut self) {
        // SAFETY: this reference is given up.
        unsafe { count_down(self.0, REF) };
    }
}

/// What is left of a node: the references to its parents, which it owned, and the panic of a destructor.
struct Freed {
    parent: Option<NonNull<Node>>,
    other: Option<NonNull<Node>>,
    panic: Option<Payload>,
}

/// Takes the node out of every list and frees it.
///
/// # Safety
///
/// The node's count of references has come to zero, and it is freed once.
unsafe fn free(node: NonNull<Node>) -> Freed {
    // SAFETY: alive until it is freed below, and not used after that.
    let this = unsafe { node.as_ref() };
    let parent = this.parent;
    // SAFETY: in the list of the parent that it names, if it names one. It owns the reference to that parent until the caller of this
    // function gives it up.
    unsafe { leave(node) };
    // Acquire: pairs with the Release in `register`.
    if parent.is_none() && this.registered.load(Ordering::Acquire) {
        #[cfg(not(all(test, loom)))]
        // SAFETY: registered and without a parent, it is in its shard.
        unsafe {
            shard(node).lock().remove(node);
        }
    }
    let mut other = None;
    if let Some(Extra::Merged(relay)) = this.extra.as_deref() {
        // SAFETY: owned by this node, and in the list of the parent that it names. From now on nobody resolves to this node.
        unsafe { leave(*relay) };
        // SAFETY: made by `Box::leak`; nobody can find it any more, and nobody refers to it but this node.
        let relay = unsafe { Box::from_raw(relay.as_ptr()) };
        other = relay.parent;
    }
    if let (true, Some(deadline)) = (this.owns_deadline, &this.deadline) {
        deadline.owner.clear();
        deadline.disarm();
    }
    #[cfg(any(feature = "signal", feature = "tokio-util"))]
    if let Some(Extra::Source(trigger)) = this.extra.as_deref() {
        trigger.owner.clear();
    }
    let runs_destructors =
        this.end.is_custom() || this.deadline.is_some() || this.extra.is_some() || this.kind.is_member();
    // SAFETY: nobody can find it any more, and its count is zero.
    let deallocate = || unsafe { deallocate(node) };
    let panic = if runs_destructors {
        panic::catch_unwind(AssertUnwindSafe(deallocate)).err()
    } else {
        deallocate();
        None
    };
    Freed { parent, other, panic }
}

/// Takes a node out of its parent's list.
///
/// # Safety
///
/// It is alive, and with a parent, it is in that parent's list.
unsafe fn leave(node: NonNull<Node>) {
    // SAFETY: by the caller's word.
    let this = unsafe { node.as_ref() };
    if let Some(parent) = this.parent() {
        let mut listeners = parent.lock();
        // SAFETY: by the caller's word.
        unsafe { listeners.children.remove(node) };
    }
}

/// A reference to a node found in a list, or by its [`Owner`], unless it is dying.
///
/// There is no look for an overflow: none of these can be forgotten, so each takes up memory.
///
/// # Safety
///
/// The node is alive: the caller holds the lock of the list that it is in (invariant 3), or of the owner's cell. The pointer is
/// the one that it was listed with.
pub(super) unsafe fn try_ref(node: NonNull<Node>) -> Option<NodeRef> {
    // SAFETY: alive, by the caller's word.
    let counts = &unsafe { node.as_ref() }.counts;
    // Relaxed: that lock orders what was written before the node was put there.
    let mut now = counts.load(Ordering::Relaxed);
    while now != 0 {
        match counts.compare_exchange_weak(now, now + REF, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return Some(NodeRef(node)),
            Err(changed) => now = changed,
        }
    }
    // Acquire: pairs with the Release of each that counted down. Who waits for generators to end, and passes over one that is dying,
    // sees what that one did.
    counts.load(Ordering::Acquire);
    None
}

/// The way back from a deadline, or a trigger, to the node that it was set for, which does not keep that node alive.
pub(in crate::context) struct Owner(Lock<Option<NonNull<Node>>>);

// SAFETY: a pointer to a node, which is `Send` and `Sync`, followed under the lock only.
unsafe impl Send for Owner {}

// SAFETY: as above.
unsafe impl Sync for Owner {}

impl Owner {
    pub(in crate::context) fn new() -> Self {
        Self(Lock::new(None))
    }

    pub(super) fn set(&self, node: &NodeRef) {
        *self.0.lock() = Some(node.0);
    }

    fn clear(&self) {
        *self.0.lock() = None;
    }

    pub(in crate::context) fn upgrade(&self) -> Option<NodeRef> {
        let owner = self.0.lock();
        // SAFETY: `free` clears the cell, under this lock, before it frees the node. It was set to a reference's pointer.
        (*owner).and_then(|node| unsafe { try_ref(node) })
    }
}

/// One of those that may cancel a node. When the last of them goes, the node is cancelled, unless disarmed.
pub(crate) struct CancellerRef(mem::ManuallyDrop<NodeRef>);

impl CancellerRef {
    /// A node below `parent`, or a root, and the one that may cancel it.
    #[inline]
    pub(crate) fn new(parent: Option<&NodeRef>, made: &'static Location<'static>) -> (NodeRef, Self) {
        let node = NodeRef::new(Kind::Cancel, parent, Own::Nothing, made);
        // A node of this kind is made with a canceller, which it counts already.
        let canceller = Self(mem::ManuallyDrop::new(NodeRef(node.0)));
        (node, canceller)
    }

    pub(crate) fn node(&self) -> &NodeRef {
        &self.0
    }
}

impl Clone for CancellerRef {
    fn clone(&self) -> Self {
        self.0.count_up(REF + CANCELLER);
        Self(mem::ManuallyDrop::new(NodeRef(self.0.0)))
    }
}

impl Drop for CancellerRef {
    fn drop(&mut self) {
        let node = self.0.0;
        if self.0.end.is_set() {
            // SAFETY: this canceller and its reference are given up, once, as it is being dropped.
            unsafe { count_down(node, REF + CANCELLER) };
            return;
        }
        // The reference alone is left, also if the cancel panics.
        let this = NodeRef(node);
        // AcqRel: the last one to go has seen the `disarm` of every other.
        if this.counts.fetch_sub(CANCELLER, Ordering::AcqRel) >= 2 * CANCELLER {
            return;
        }
        // Acquire: pairs with the Release in `disarm`.
        if this.disarmed.load(Ordering::Acquire) {
            this.settle_inert();
        } else {
            this.cancel(Cause::plain(Reason::Abandoned, this.made));
        }
    }
}

impl NodeRef {
    /// A reference that the caller was counted for; if it is not to be given up, it is wrapped in `ManuallyDrop`.
    ///
    /// # Safety
    ///
    /// `node` comes from [`into_raw`](Self::into_raw) or [`as_ptr`](Self::as_ptr), and is counted for as long as what is returned
    /// exists; for it alone, if it is dropped.
    pub(crate) unsafe fn from_raw(node: NonNull<Node>) -> Self {
        Self(node)
    }

    pub(crate) fn into_raw(self) -> NonNull<Node> {
        mem::ManuallyDrop::new(self).0
    }
}
