//! Those who wait for a node's end: futures and callbacks.

use super::Node;
use super::refs::NodeRef;
use crate::context::list::{Link, Linked};
use crate::loom::atomic::Ordering;
use std::cell::UnsafeCell;
use std::marker::PhantomPinned;
use std::mem;
use std::pin::Pin;
use std::ptr::NonNull;
use std::sync::Arc;
use std::task::{self, Poll, Waker};

/// One that waits for a node's end: in a future, so that waiting needs no allocation, or in a [`Registration`].
pub(super) struct Waiter {
    link: Link<Waiter>,
    /// Looked at under the node's lock only.
    slot: UnsafeCell<Slot>,
    _pinned: PhantomPinned,
}

impl Waiter {
    fn new() -> Self {
        Self { link: Link::new(), slot: UnsafeCell::new(Slot::Idle), _pinned: PhantomPinned }
    }
}

pub(super) enum Slot {
    /// In no list.
    Idle,
    /// In the node's list.
    Waker(Waker),
    /// In the node's list, which so holds the registration, and through it the node (invariant 8).
    Callback { run: Box<dyn FnOnce() + Send>, _keep: Arc<Registration> },
}

impl Slot {
    /// Wakes or calls whoever was taken out of a list.
    pub(super) fn tell(self) {
        match self {
            Self::Idle => {}
            Self::Waker(waker) => waker.wake(),
            Self::Callback { run, .. } => run(),
        }
    }
}

/// A callback that waits for a node's end.
pub(crate) struct Registration {
    node: NodeRef,
    waiter: Waiter,
}

// SAFETY: the waiter is touched under the node's lock; what it holds is `Send`.
unsafe impl Send for Registration {}

// SAFETY: as above.
unsafe impl Sync for Registration {}

/// What becomes of a callback.
pub(crate) enum Registered {
    /// The node is done: it is the caller's to run.
    Done(Box<dyn FnOnce() + Send>),
    /// Nothing can ever end the node.
    Never(Box<dyn FnOnce() + Send>),
    Waiting(Arc<Registration>),
}

impl Registration {
    pub(crate) fn register(node: &NodeRef, run: Box<dyn FnOnce() + Send>) -> Registered {
        if node.is_done() {
            return Registered::Done(run);
        }
        let registration = Arc::new(Self { node: node.clone(), waiter: Waiter::new() });
        {
            let mut listeners = node.lock();
            // Again, under the lock: a cancel after the look above does not see us, so we must see it.
            if node.end.is_set() {
                drop(listeners);
                return Registered::Done(run);
            }
            if node.inert.load(Ordering::Relaxed) {
                drop(listeners);
                return Registered::Never(run);
            }
            // SAFETY: under the node's lock.
            let slot = unsafe { &mut *registration.waiter.slot.get() };
            *slot = Slot::Callback { run, _keep: Arc::clone(&registration) };
            // SAFETY: in no list; on the heap, and the slot keeps it alive until it is taken out.
            unsafe { listeners.waiters.push_back(NonNull::from(&registration.waiter)) };
        }
        // From here on somebody is to be told, so the deadline needs its timer.
        if let Some(deadline) = &node.deadline {
            deadline.arm();
        }
        Registered::Waiting(registration)
    }

    /// Takes the callback back. `None` if it was called, is about to be, or was taken back before.
    pub(crate) fn stop(&self) -> Option<Box<dyn FnOnce() + Send>> {
        let slot = {
            let mut listeners = self.node.lock();
            // SAFETY: under the node's lock.
            let slot = mem::replace(unsafe { &mut *self.waiter.slot.get() }, Slot::Idle);
            if matches!(slot, Slot::Callback { .. }) {
                // SAFETY: listed, so in this node's list.
                unsafe { listeners.waiters.remove(NonNull::from(&self.waiter)) };
            }
            slot
        };
        match slot {
            Slot::Callback { run, .. } => Some(run),
            Slot::Idle | Slot::Waker(_) => None,
        }
    }
}

impl Linked for Waiter {
    fn link(&self) -> &Link<Self> {
        &self.link
    }
}

/// Waits for a node to end. Without a node, for ever.
pub(crate) struct Wait {
    node: Option<NodeRef>,
    /// The waiter may be in the node's list. Only this future's own code looks.
    registered: bool,
    waiter: Waiter,
}

// SAFETY: the waiter is touched under the node's lock; the rest is `Send`.
unsafe impl Send for Wait {}

// SAFETY: a shared `Wait` gives nothing away.
unsafe impl Sync for Wait {}

impl Wait {
    pub(crate) fn new(node: Option<NodeRef>) -> Self {
        Self { node, registered: false, waiter: Waiter::new() }
    }

    pub(crate) fn poll(self: Pin<&mut Self>, cx: &task::Context<'_>) -> Poll<()> {
        // SAFETY: nothing is moved out: the waiter stays where it is.
        let this = unsafe { self.get_unchecked_mut() };
        let Some(node) = &this.node else { return Poll::Pending };
        if node.is_done() {
            return Poll::Ready(());
        }
        if this.registered && Self::still_listed(node, &this.waiter, cx.waker()) {
            return Poll::Pending;
        }
        // A waker's clone and drop are the executor's code: outside the lock (C5).
        let waker = cx.waker().clone();
        let replaced = {
            let mut listeners = node.lock();
            // Again, under the lock: a cancel after the look above does not see us, so we must see it.
            if node.end.is_set() {
                return Poll::Ready(());
            }
            // SAFETY: under the node's lock.
            let slot = unsafe { &mut *this.waiter.slot.get() };
            let replaced = mem::replace(slot, Slot::Waker(waker));
            if matches!(replaced, Slot::Idle) {
                // SAFETY: in no list; pinned, and `drop` takes it out before it dies.
                unsafe { listeners.waiters.push_back(NonNull::from(&this.waiter)) };
            }
            this.registered = true;
            replaced
        };
        drop(replaced);
        // From here on somebody is to be woken, so the deadline needs its timer.
        if let Some(deadline) = &node.deadline {
            deadline.arm();
        }
        if node.end.is_set() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Whether the waiter is in the list with this waker.
    fn still_listed(node: &Node, waiter: &Waiter, waker: &Waker) -> bool {
        let _listeners = node.lock();
        // SAFETY: under the node's lock.
        matches!(unsafe { &*waiter.slot.get() }, Slot::Waker(listed) if listed.will_wake(waker))
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let (Some(node), true) = (&self.node, self.registered) else { return };
        let mut listeners = node.lock();
        // SAFETY: under the node's lock.
        let slot = mem::replace(unsafe { &mut *self.waiter.slot.get() }, Slot::Idle);
        if matches!(slot, Slot::Waker(_)) {
            // SAFETY: listed, so in this node's list.
            unsafe { listeners.waiters.remove(NonNull::from(&self.waiter)) };
        }
        drop(listeners);
        drop(slot);
    }
}

impl Node {
    /// Takes one waiter out, with what is to be woken or called.
    pub(super) fn take_waiter(&self) -> Option<Slot> {
        let mut listeners = self.lock();
        let waiter = listeners.waiters.pop_front()?;
        // SAFETY: it was in this list, and lives at least until the lock is free.
        let waiter = unsafe { waiter.as_ref() };
        // SAFETY: only the lock's holder looks at a slot.
        Some(mem::replace(unsafe { &mut *waiter.slot.get() }, Slot::Idle))
    }

    /// Takes out the waiters that are wakers, or those that are callbacks.
    pub(super) fn take_waiters(&self, wanted: fn(&Slot) -> bool) -> Vec<Slot> {
        let mut listeners = self.lock();
        let mut taken = Vec::new();
        let all: Vec<_> = listeners.waiters.iter().collect();
        for waiter in all {
            // SAFETY: in the list whose lock is held.
            let this = unsafe { waiter.as_ref() };
            // SAFETY: only the lock's holder looks at a slot.
            let slot = unsafe { &mut *this.slot.get() };
            if wanted(slot) {
                // SAFETY: in this list.
                unsafe { listeners.waiters.remove(waiter) };
                taken.push(mem::replace(slot, Slot::Idle));
            }
        }
        taken
    }
}
