//! Those who wait for a node's end: futures and callbacks.

use super::Node;
use super::members::is_within_below;
use super::refs::NodeRef;
use crate::context::list::{Link, Linked, List};
use crate::loom::atomic::Ordering;
use std::cell::UnsafeCell;
use std::marker::PhantomPinned;
use std::mem;
use std::pin::Pin;
use std::ptr::NonNull;
use std::sync::Arc;
use std::task::{self, Poll, Waker};

/// One that waits for what happens to a node: in a future, so that waiting needs no allocation, or in a [`Registration`].
pub(super) struct Waiter {
    link: Link<Waiter>,
    /// Looked at under the queue's lock only.
    slot: UnsafeCell<Slot>,
    /// What is not `Unpin` is not claimed by a `&mut` for itself: while a future is polled, and so borrowed mutably, its waiter is
    /// reached through the list, also by other threads.
    _pinned: PhantomPinned,
}

/// Where waiters are listed until what they wait for has happened.
///
/// # Safety
///
/// There is one list, always the same, and [`locked`](Self::locked) gives it to one caller at a time.
pub(super) unsafe trait Queue {
    /// Whether it has happened: whoever makes it so takes all waiters out after that.
    fn is_over(&self) -> bool;

    fn locked<R>(&self, act: impl FnOnce(&mut List<Waiter>) -> R) -> R;
}

/// A node's end.
// SAFETY: behind the node's lock.
unsafe impl Queue for Node {
    fn is_over(&self) -> bool {
        self.end.is_set()
    }

    fn locked<R>(&self, act: impl FnOnce(&mut List<Waiter>) -> R) -> R {
        act(&mut self.lock().waiters)
    }
}

impl Waiter {
    pub(super) fn new() -> Self {
        Self { link: Link::new(), slot: UnsafeCell::new(Slot::Idle), _pinned: PhantomPinned }
    }

    /// Pending, and `waker` in the queue, unless it is over.
    ///
    /// # Safety
    ///
    /// The waiter is pinned and always used with this queue, or was taken out of the last one by [`leave`](Self::leave). It
    /// leaves before it dies, and the queue outlives that.
    pub(super) unsafe fn wait(&self, queue: &impl Queue, waker: &Waker) -> Poll<()> {
        // SAFETY: called under the queue's lock only, which is the slot's; `will_wake` compares, and calls nobody.
        let same =
            |slot: *mut Slot| matches!(unsafe { &*slot }, Slot::Waker(listed) if listed.will_wake(waker));
        if queue.locked(|_| same(self.slot.get())) {
            return Poll::Pending;
        }
        // A waker's clone and drop are the executor's code: outside the lock (C5).
        let new = Slot::Waker(waker.clone());
        let replaced = queue.locked(|waiters| {
            // Again, under the lock: what happened after the caller's look does not see us, so we must see it.
            if queue.is_over() {
                return Err(new);
            }
            // SAFETY: under the queue's lock, and the only borrow of the slot.
            let replaced = mem::replace(unsafe { &mut *self.slot.get() }, new);
            if matches!(replaced, Slot::Idle) {
                // SAFETY: in no list; pinned and to leave before it dies, by the caller's word.
                unsafe { waiters.push_back(NonNull::from(self)) };
            }
            Ok(replaced)
        });
        if replaced.is_ok() { Poll::Pending } else { Poll::Ready(()) }
    }

    /// Takes itself out of the queue, if it is in there. Returns what it was to tell.
    ///
    /// # Safety
    ///
    /// If it is listed, then in this queue.
    pub(super) unsafe fn leave(&self, queue: &impl Queue) -> Slot {
        queue.locked(|waiters| {
            // SAFETY: under the queue's lock, and the only borrow of the slot.
            let slot = mem::replace(unsafe { &mut *self.slot.get() }, Slot::Idle);
            if !matches!(slot, Slot::Idle) {
                // SAFETY: listed, so in this queue, by the caller's word.
                unsafe { waiters.remove(NonNull::from(self)) };
            }
            slot
        })
    }
}

/// Takes one waiter out, with what is to be woken or called.
pub(super) fn take_waiter(queue: &impl Queue) -> Option<Slot> {
    queue.locked(|waiters| {
        let waiter = waiters.pop_front()?;
        // SAFETY: it was in this list, and lives at least until the lock is free: whoever drops it takes the lock first (`leave`), and
        // a registration is held by its slot.
        let waiter = unsafe { waiter.as_ref() };
        // SAFETY: only the lock's holder looks at a slot, and this is the only borrow of it.
        Some(mem::replace(unsafe { &mut *waiter.slot.get() }, Slot::Idle))
    })
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

// SAFETY: the waiter is touched under the node's lock; what it holds is `Send`, and so is the reference to the node.
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
            // SAFETY: under the node's lock, and the only borrow of the slot.
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
        // SAFETY: `register` has listed it in its node's queue only.
        match unsafe { self.waiter.leave(&*self.node) } {
            Slot::Callback { run, .. } => Some(run),
            Slot::Idle | Slot::Waker(_) => None,
        }
    }
}

// SAFETY: a field, which nothing else names.
unsafe impl Linked for Waiter {
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

// SAFETY: the waiter is touched under the node's lock, and what it holds is `Send`; so is the rest.
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
        this.registered = true;
        // SAFETY: pinned, always in this node's queue, and `drop` takes it out, before the node is let go.
        if unsafe { this.waiter.wait(&**node, cx.waker()) }.is_ready() {
            return Poll::Ready(());
        }
        if let Some(deadline) = &node.deadline {
            // From here on somebody is to be woken, here: so the deadline needs its timer on this runtime.
            deadline.arm();
        }
        if node.end.is_set() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if let (Some(node), true) = (&self.node, self.registered) {
            // SAFETY: it was listed in its node's queue only.
            drop(unsafe { self.waiter.leave(&**node) });
        }
    }
}

impl Node {
    /// Takes out the waiters that are wakers, or those that are callbacks.
    pub(super) fn take_waiters(&self, wanted: fn(&Slot) -> bool) -> Vec<Slot> {
        self.locked(|waiters| {
            let mut taken = Vec::new();
            let all: Vec<_> = waiters.iter().collect();
            for waiter in all {
                // SAFETY: in the list whose lock is held.
                let this = unsafe { waiter.as_ref() };
                // SAFETY: only the lock's holder looks at a slot.
                if wanted(unsafe { &*this.slot.get() }) {
                    // SAFETY: in this list.
                    unsafe { waiters.remove(waiter) };
                    // SAFETY: as above, and the only borrow of the slot.
                    taken.push(mem::replace(unsafe { &mut *this.slot.get() }, Slot::Idle));
                }
            }
            taken
        })
    }
}

/// Waits until every generator and task at or below a node has ended, its clean-up included.
pub(crate) struct Ended {
    top: NodeRef,
    /// Who waits, for a message.
    what: &'static str,
    /// What was found alive and is still to be waited for: the last one first, in whose queue the waiter may be.
    pending: Vec<NodeRef>,
    waiter: Waiter,
}

// SAFETY: the waiter is touched under the queue's lock, and what it holds is `Send`; so is the rest.
unsafe impl Send for Ended {}

// SAFETY: a shared `Ended` gives nothing away.
unsafe impl Sync for Ended {}

impl Ended {
    /// `what` is it that waits, as a message names it.
    pub(crate) fn new(top: NodeRef, what: &'static str) -> Self {
        Self { top, what, pending: Vec::new(), waiter: Waiter::new() }
    }

    /// # Panics
    ///
    /// If called from within one of those that it waits for.
    #[inline]
    pub(crate) fn assert_outside(&self) {
        assert!(
            !is_within_below(&self.top),
            "{} was called from within a generator or a task that it waits for, and would wait for itself: \
             call `cancel` there, or wait in a task that is not below it",
            self.what,
        );
    }

    /// # Panics
    ///
    /// As [`assert_outside`](Self::assert_outside).
    pub(crate) fn poll(self: Pin<&mut Self>, cx: &task::Context<'_>) -> Poll<()> {
        self.assert_outside();
        // SAFETY: nothing is moved out: the waiter stays where it is.
        let this = unsafe { self.get_unchecked_mut() };
        loop {
            while let Some(member) = this.pending.last().and_then(|node| node.member()) {
                // SAFETY: pinned, in this member's queue until it has left below, or when it is dropped.
                if !member.is_over() && unsafe { this.waiter.wait(member, cx.waker()) }.is_pending() {
                    return Poll::Pending;
                }
                // SAFETY: it was in no other queue since it left the last one.
                drop(unsafe { this.waiter.leave(member) });
                this.pending.pop();
            }
            if this.top.has_ended_alone() {
                return Poll::Ready(());
            }
            this.pending = NodeRef::members(vec![this.top.clone()]);
            if this.pending.is_empty() {
                return Poll::Ready(());
            }
        }
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        if let Some(member) = self.pending.last().and_then(|node| node.member()) {
            // SAFETY: it is in the queue of the last one, or in none.
            drop(unsafe { self.waiter.leave(member) });
        }
    }
}
