//! The tree that a cancel runs down.
//!
//! A node stands for everything that can be cancelled on its own: what `with_cancel` and `with_deadline` make, and a
//! generator. A child holds its parent; the parent lists its children without holding them. Values are a chain of
//! their own and make no node.
//!
//! # Invariants
//!
//! 1. `end` is null while the node is live. It is written once, under the node's own lock, and says kind and cause in
//!    one word (C2). It is read without a lock (C9).
//! 2. A child joins its parent's list under the parent's lock, and only while the parent is live; else it is born done
//!    with the parent's end (C3). So once a node's end is set, no child joins it any more.
//! 3. A child leaves its parent's list when its last reference is gone, under the parent's lock, before its memory
//!    is. So a node found in a list is alive as long as that list's lock is held, and may be referred to beyond that if
//!    its count of references was not zero (`try_ref`).
//! 4. `settled` is set when a whole subtree is known to be done. Whoever finds a node done but not settled walks down
//!    it and marks what is left, with the end of the node above, before it goes on: it helps the marking that it has
//!    overtaken, and can answer for the subtree like the one that began (C1).
//! 5. Locks are taken from the top down, a parent's and then one child's; marking takes no other way. While a lock is
//!    held nothing runs but this module: no waker is cloned, woken or dropped, no cause dropped (C5).
//! 6. A waiter joins a node's list under its lock, and only while the node is live. After marking, whoever fires takes
//!    the waiters out one by one under the lock and wakes each outside it.
//!
//! # A cancel, step by step
//!
//! 1. *Mark.* Breadth first, with the nodes that have children in a queue on the heap, so that neither a deep nor a
//!    wide tree needs stack (C7). Every reference taken is kept until the locks are free.
//! 2. *Settle* what was marked.
//! 3. *Fire* the waiters, a node before its descendants. A panic in one is kept until all have run (C6).
//!
//! A reader that finds a deadline passed marks and settles, and leaves the firing to the deadline's timer.
#![allow(
    unsafe_code,
    reason = "intrusive lists and shared ownership by count; the rest of the context is safe code"
)]

use super::cause::{Cause, Custom, Reason, Repr};
use super::deadline::Deadline;
use super::list::{Link, Linked, List};
use crate::loom::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering, fence};
use crate::loom::{Mutex, MutexGuard};
use std::any::Any;
use std::borrow::Cow;
use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomPinned;
use std::mem;
use std::ops::Deref;
use std::panic::{self, AssertUnwindSafe, Location};
use std::pin::Pin;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::task::{self, Poll, Waker};

/// What a panic carries.
pub(crate) type Payload = Box<dyn Any + Send>;

/// A place in the tree.
pub(crate) struct Node {
    /// Contexts, cancellers, waits, children and markings that refer to this node.
    refs: AtomicUsize,
    end: EndCell,
    /// Set once, when everything below is known to be done (invariant 4).
    settled: AtomicBool,
    /// A `disarm` was called: the last canceller may go without a cancel.
    disarmed: AtomicBool,
    /// A generator was started at or below this node, so its root is in `ROOTS`.
    registered: AtomicBool,
    cancellers: AtomicUsize,
    listeners: Mutex<Listeners>,
    /// The place in the parent's list, guarded by the parent's lock; without a parent, the place in `ROOTS`.
    siblings: Link<Node>,
    /// `Some` if and only if the node is in that parent's list; owns a reference to it.
    parent: Option<NonNull<Node>>,
    /// The earliest deadline that applies, shared with the node that it was set for.
    deadline: Option<Arc<Deadline>>,
    /// The deadline was set for this very node, and not for one above.
    owns_deadline: bool,
    /// The line that made this context.
    made: &'static Location<'static>,
    member: Option<Box<Member>>,
}

/// Who is to be told when the node ends.
struct Listeners {
    children: List<Node>,
    waiters: List<Waiter>,
}

/// What a report says of a generator: kept in its node, for as long as anybody refers to it.
pub(crate) struct Member {
    pub(crate) name: Cow<'static, str>,
    /// The body is gone, clean-up included.
    ended: AtomicBool,
}

impl Member {
    pub(crate) fn new(name: Cow<'static, str>) -> Self {
        Self { name, ended: AtomicBool::new(false) }
    }

    pub(crate) fn set_ended(&self) {
        // Release: pairs with the Acquire in `is_alive`, so that who misses it in a report sees what it did.
        self.ended.store(true, Ordering::Release);
    }

    pub(crate) fn is_alive(&self) -> bool {
        !self.ended.load(Ordering::Acquire)
    }
}

impl Linked for Node {
    fn link(&self) -> &Link<Self> {
        &self.siblings
    }
}

// SAFETY: links are touched under the lock that guards their list (invariants 3 and 6), all else is atomic, behind the
// node's own lock, or not written after the node was made.
unsafe impl Send for Node {}
// SAFETY: as above.
unsafe impl Sync for Node {}

/// The generators' roots, for the report of the whole process. Sharded, so that starts do not meet.
#[cfg(not(all(test, loom)))]
static ROOTS: [Mutex<List<Node>>; 16] = [const { Mutex::new(List::new()) }; 16];

impl Node {
    fn lock(&self) -> MutexGuard<'_, Listeners> {
        self.listeners.lock()
    }

    /// Whether this node has ended; where a deadline applies, by the clock too.
    pub(crate) fn is_done(&self) -> bool {
        self.end.is_set() || self.deadline.as_ref().is_some_and(|deadline| deadline.publish_if_passed())
    }

    /// Why this node has ended, if it has.
    pub(crate) fn cause(&self) -> Option<Cause> {
        if self.is_done() { self.end.get() } else { None }
    }

    pub(crate) fn deadline(&self) -> Option<&Arc<Deadline>> {
        self.deadline.as_ref()
    }

    pub(crate) fn made(&self) -> &'static Location<'static> {
        self.made
    }

    pub(crate) fn member(&self) -> Option<&Member> {
        self.member.as_deref()
    }

    /// Gives up that the node is cancelled when its last canceller goes.
    pub(crate) fn disarm(&self) {
        // Release: pairs with the Acquire in `CancellerRef::drop`.
        self.disarmed.store(true, Ordering::Release);
    }

    /// Takes one waiter out, with what is to be woken.
    fn take_waiter(&self) -> Option<Waker> {
        let mut listeners = self.lock();
        loop {
            let waiter = listeners.waiters.pop_front()?;
            // SAFETY: it was in this list, and lives at least until the lock is free.
            let waiter = unsafe { waiter.as_ref() };
            // SAFETY: only the lock's holder looks at a slot.
            let slot = unsafe { &mut *waiter.slot.get() };
            if let Slot::Listed(waker) = mem::replace(slot, Slot::Idle) {
                return Some(waker);
            }
        }
    }
}

/// A counted reference to a node.
pub(crate) struct NodeRef(NonNull<Node>);

// SAFETY: a node is `Send` and `Sync`, and its count is atomic.
unsafe impl Send for NodeRef {}
// SAFETY: as above.
unsafe impl Sync for NodeRef {}

impl Deref for NodeRef {
    type Target = Node;

    fn deref(&self) -> &Node {
        // SAFETY: a reference keeps the node alive.
        unsafe { self.0.as_ref() }
    }
}

impl Clone for NodeRef {
    fn clone(&self) -> Self {
        // Relaxed: a new reference is made from one that keeps the node alive.
        self.refs.fetch_add(1, Ordering::Relaxed);
        Self(self.0)
    }
}

impl Drop for NodeRef {
    fn drop(&mut self) {
        let mut last = self.0;
        // Not by recursion: the last reference to a leaf may be the last one to each of its ancestors (C7).
        loop {
            // SAFETY: this reference, or the one that the freed child owned, is being given up only here.
            let node = unsafe { last.as_ref() };
            // Release: pairs with the fence below, so that whoever frees has seen all uses.
            if node.refs.fetch_sub(1, Ordering::Release) != 1 {
                return;
            }
            fence(Ordering::Acquire);
            // SAFETY: the count is zero, and `try_ref` revives no node.
            match unsafe { free(last) } {
                Some(parent) => last = parent,
                None => return,
            }
        }
    }
}

/// Takes the node out of every list and frees it. Returns the parent, with the reference to it that the node owned.
///
/// # Safety
///
/// The node's count of references has come to zero, and it is freed once.
unsafe fn free(node: NonNull<Node>) -> Option<NonNull<Node>> {
    // SAFETY: alive until it is freed below.
    let this = unsafe { node.as_ref() };
    let parent = this.parent;
    match parent {
        Some(parent) => {
            // SAFETY: the node owns a reference to its parent.
            let mut listeners = unsafe { parent.as_ref() }.lock();
            // SAFETY: with a parent, it is in that parent's list.
            unsafe { listeners.children.remove(node) };
        }
        // Acquire: pairs with the Release in `register`.
        None if this.registered.load(Ordering::Acquire) => {
            #[cfg(not(all(test, loom)))]
            // SAFETY: registered and without a parent, it is in its shard.
            unsafe {
                shard(node).lock().remove(node);
            }
        }
        None => {}
    }
    if let (true, Some(deadline)) = (this.owns_deadline, &this.deadline) {
        deadline.owner.clear();
        deadline.disarm();
    }
    // SAFETY: made by `Box::leak` in `NodeRef::new`; nobody can find it any more.
    drop(unsafe { Box::from_raw(node.as_ptr()) });
    parent
}

#[cfg(not(all(test, loom)))]
fn shard(node: NonNull<Node>) -> &'static Mutex<List<Node>> {
    // The lowest bits are the same for all allocations of this size.
    &ROOTS[(node.as_ptr().addr() >> 7) % ROOTS.len()]
}

/// A reference to a node found in a list, unless it is dying.
///
/// # Safety
///
/// The node is alive: the caller holds the lock of the list that it is in (invariant 3).
unsafe fn try_ref(node: NonNull<Node>) -> Option<NodeRef> {
    // SAFETY: alive, by the caller's word.
    let refs = &unsafe { node.as_ref() }.refs;
    // Relaxed: the list's lock orders what was written before the node joined it.
    let mut count = refs.load(Ordering::Relaxed);
    while count != 0 {
        match refs.compare_exchange_weak(count, count + 1, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return Some(NodeRef(node)),
            Err(now) => count = now,
        }
    }
    None
}

impl NodeRef {
    /// A node below `parent`, or a root. A `deadline` of its own must be earlier than the parent's.
    pub(crate) fn new(
        parent: Option<&NodeRef>,
        deadline: Option<Arc<Deadline>>,
        member: Option<Box<Member>>,
        made: &'static Location<'static>,
    ) -> Self {
        let mut node = Box::new(Node {
            refs: AtomicUsize::new(1),
            end: EndCell::new(),
            settled: AtomicBool::new(false),
            disarmed: AtomicBool::new(false),
            registered: AtomicBool::new(false),
            cancellers: AtomicUsize::new(0),
            listeners: Mutex::new(Listeners { children: List::new(), waiters: List::new() }),
            siblings: Link::new(),
            parent: None,
            owns_deadline: deadline.is_some(),
            deadline: deadline.or_else(|| parent.and_then(|parent| parent.deadline.clone())),
            made,
            member,
        });
        let Some(parent) = parent else { return Self::leak(node) };
        // A passed deadline above counts as an end, whoever looked or did not look before (C2).
        if let Some(cause) = parent.cause() {
            return Self::born_done(node, cause);
        }
        node.parent = Some(parent.clone().into_raw());
        let mut listeners = parent.lock();
        if let Some(cause) = parent.end.get() {
            drop(listeners);
            node.parent = None;
            // SAFETY: the reference made above, which the node no longer owns.
            drop(unsafe { Self::from_raw(parent.0) });
            return Self::born_done(node, cause);
        }
        let node = Self::leak(node);
        // SAFETY: alive, in no list yet, and `free` takes it out before it dies.
        unsafe { listeners.children.push_back(node.0) };
        drop(listeners);
        node
    }

    fn leak(node: Box<Node>) -> Self {
        let node = Self(NonNull::from(Box::leak(node)));
        if let (true, Some(deadline)) = (node.owns_deadline, &node.deadline) {
            deadline.owner.set(&node);
        }
        node
    }

    fn born_done(node: Box<Node>, cause: Cause) -> Self {
        node.end.set(cause);
        node.settled.store(true, Ordering::Relaxed);
        Self(NonNull::from(Box::leak(node)))
    }

    fn into_raw(self) -> NonNull<Node> {
        mem::ManuallyDrop::new(self).0
    }

    /// # Safety
    ///
    /// The pointer comes with a reference to the node, which the result takes over.
    unsafe fn from_raw(node: NonNull<Node>) -> Self {
        Self(node)
    }

    /// Cancels this node and all below. The cause counts only if the node is live and its deadline has not passed.
    pub(crate) fn cancel(&self, cause: Cause) {
        let panic = match &self.deadline {
            // C2: whoever looked or did not look in between, the deadline came first.
            Some(deadline) if !self.end.is_set() && deadline.has_passed() => deadline.expire(),
            _ => None,
        };
        let marking = Marking::of(self, cause);
        let panic = panic.or(marking.fire(self));
        match panic {
            Some(payload) if !std::thread::panicking() => panic::resume_unwind(payload),
            _ => {}
        }
    }

    /// Puts the root above this node on the list that the report of the process reads.
    pub(crate) fn register(&self) {
        let mut node: &Node = self;
        // Acquire: pairs with the Release below; a registered node's root is in the list.
        while !node.registered.load(Ordering::Acquire) {
            if let Some(parent) = node.parent {
                // SAFETY: a node owns a reference to its parent.
                node = unsafe { parent.as_ref() };
                continue;
            }
            #[cfg(not(all(test, loom)))]
            {
                let root = NonNull::from(node);
                let mut roots = shard(root).lock();
                if !node.registered.load(Ordering::Relaxed) {
                    // SAFETY: alive, without a parent, so in no list; `free` takes it out.
                    unsafe { roots.push_back(root) };
                    node.registered.store(true, Ordering::Release);
                }
            }
            break;
        }
        // So that the next start from here has not far to go.
        let mut node: &Node = self;
        while let Some(parent) = node.parent {
            if node.registered.swap(true, Ordering::Release) {
                break;
            }
            // SAFETY: a node owns a reference to its parent.
            node = unsafe { parent.as_ref() };
        }
    }

    /// The members alive below `tops` and at them.
    pub(crate) fn members(tops: Vec<NodeRef>) -> Vec<NodeRef> {
        let mut members = Vec::new();
        let mut queue = tops;
        while let Some(node) = queue.pop() {
            for child in node.lock().children.iter() {
                // SAFETY: in the list whose lock is held.
                queue.extend(unsafe { try_ref(child) });
            }
            if node.member().is_some_and(Member::is_alive) {
                members.push(node);
            }
        }
        members
    }

    /// The roots that a generator was started below.
    pub(crate) fn roots() -> Vec<NodeRef> {
        let mut roots = Vec::new();
        #[cfg(not(all(test, loom)))]
        for shard in &ROOTS {
            for root in shard.lock().iter() {
                // SAFETY: in the list whose lock is held.
                roots.extend(unsafe { try_ref(root) });
            }
        }
        roots
    }

    /// Marks everything from here down, and returns who is to be told.
    pub(super) fn mark(&self, cause: Cause) -> Marking {
        Marking::of(self, cause)
    }

    /// Wakes all who wait at or below this node, though it has not ended: what they relied on is gone.
    pub(super) fn rouse(&self) {
        let mut queue = vec![self.clone()];
        let mut at = 0;
        while at < queue.len() {
            let node = queue[at].clone();
            for child in node.lock().children.iter() {
                // SAFETY: in the list whose lock is held.
                queue.extend(unsafe { try_ref(child) });
            }
            at += 1;
        }
        for node in queue {
            // Those that register again come after: the list is taken as it stands now.
            let mut wakers = Vec::new();
            while let Some(waker) = node.take_waiter() {
                wakers.push(waker);
            }
            for waker in wakers {
                let _ = panic::catch_unwind(AssertUnwindSafe(|| waker.wake()));
            }
        }
    }
}

/// What a marking has found: who is to be told, and every reference that it took, so that nothing is freed and no
/// cause dropped while a lock is held (invariant 5).
#[derive(Default)]
pub(super) struct Marking {
    /// The nodes with children, in the order in which they were marked.
    order: Vec<NodeRef>,
    /// The nodes with waiters below the top, a node before its descendants.
    fires: Vec<NodeRef>,
}

impl Marking {
    fn of(top: &NodeRef, cause: Cause) -> Self {
        let mut marking = Self::default();
        // Acquire: pairs with the Release below: settled says that all below is done, for whoever reads it.
        if top.settled.load(Ordering::Acquire) {
            return marking;
        }
        let mut unused = None;
        let has_children = {
            let listeners = top.lock();
            if top.end.is_set() {
                unused = Some(cause);
            } else {
                top.end.set(cause);
            }
            !listeners.children.is_empty()
        };
        drop(unused);
        if has_children {
            marking.order.push(top.clone());
            let mut at = 0;
            while at < marking.order.len() {
                marking.visit(at);
                at += 1;
            }
            // Only now: a node is settled when all below it is marked, and the order goes from the top down.
            for node in &marking.order {
                node.settled.store(true, Ordering::Release);
            }
        } else {
            top.settled.store(true, Ordering::Release);
        }
        marking
    }

    /// Gives the children of a done node its end, and queues those that have children in turn.
    fn visit(&mut self, at: usize) {
        let Self { order, fires } = self;
        let node = NodeRef::clone(&order[at]);
        let Some(end) = node.end.get() else { return };
        let listeners = node.lock();
        for child in listeners.children.iter() {
            // SAFETY: in the list whose lock is held (invariant 3).
            let this = unsafe { child.as_ref() };
            if this.settled.load(Ordering::Acquire) {
                continue;
            }
            let below = this.lock();
            if !this.end.is_set() {
                this.end.set(end.clone());
                if !below.waiters.is_empty() || this.owns_deadline {
                    // SAFETY: as above.
                    fires.extend(unsafe { try_ref(child) });
                }
            }
            if below.children.is_empty() {
                this.settled.store(true, Ordering::Release);
            } else {
                // SAFETY: as above. A node with children has references, theirs.
                order.extend(unsafe { try_ref(child) });
            }
        }
    }

    /// Wakes who waits, from the top down. Returns the first panic among them.
    pub(super) fn fire(self, top: &NodeRef) -> Option<Payload> {
        let mut first = None;
        for node in std::iter::once(top).chain(&self.fires) {
            if let (true, Some(deadline)) = (node.owns_deadline, &node.deadline) {
                deadline.disarm();
            }
            while let Some(waker) = node.take_waiter() {
                let woken = panic::catch_unwind(AssertUnwindSafe(|| waker.wake()));
                first = first.or(woken.err());
            }
        }
        first
    }

    /// The nodes that are to be fired later, the top among them.
    pub(super) fn into_fires(mut self, top: &NodeRef) -> Vec<NodeRef> {
        self.fires.insert(0, top.clone());
        self.fires
    }

    pub(super) fn from_fires(fires: Vec<NodeRef>) -> Self {
        Self { order: Vec::new(), fires }
    }
}

/// The way back from a deadline to the node that it was set for, which does not keep that node alive.
pub(super) struct Owner(Mutex<Option<NonNull<Node>>>);

// SAFETY: a pointer to a node, which is `Send` and `Sync`, followed under the lock only.
unsafe impl Send for Owner {}
// SAFETY: as above.
unsafe impl Sync for Owner {}

impl Owner {
    pub(super) fn new() -> Self {
        Self(Mutex::new(None))
    }

    fn set(&self, node: &NodeRef) {
        *self.0.lock() = Some(node.0);
    }

    fn clear(&self) {
        *self.0.lock() = None;
    }

    pub(super) fn upgrade(&self) -> Option<NodeRef> {
        let owner = self.0.lock();
        // SAFETY: `free` clears the cell, under this lock, before it frees the node.
        (*owner).and_then(|node| unsafe { try_ref(node) })
    }
}

/// One of those that may cancel a node. When the last of them goes, the node is cancelled, unless disarmed.
pub(crate) struct CancellerRef(NodeRef);

impl CancellerRef {
    pub(crate) fn new(node: &NodeRef) -> Self {
        // Relaxed: as for a reference; the first is made before the node is shared.
        node.cancellers.fetch_add(1, Ordering::Relaxed);
        Self(node.clone())
    }

    pub(crate) fn node(&self) -> &NodeRef {
        &self.0
    }
}

impl Clone for CancellerRef {
    fn clone(&self) -> Self {
        Self::new(&self.0)
    }
}

impl Drop for CancellerRef {
    fn drop(&mut self) {
        // AcqRel: the last one to go has seen the `disarm` of every other.
        if self.0.cancellers.fetch_sub(1, Ordering::AcqRel) == 1 && !self.0.disarmed.load(Ordering::Acquire) {
            self.0.cancel(Cause::plain(Reason::Abandoned, self.0.made));
        }
    }
}

/// Kind and cause of an end in one word, written once.
struct EndCell(AtomicPtr<()>);

/// Where a `Location` is aligned to eight, its three lowest bits have room for the reason. Elsewhere the reason is put
/// into an allocation of its own.
const REASON_FITS: bool = align_of::<Location<'static>>() >= 8;
const REASON_MASK: usize = 0b111;
const _: () = assert!(align_of::<Custom>() >= 4);

impl EndCell {
    fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    fn is_set(&self) -> bool {
        // Acquire: pairs with the Release in `set`; what was done before the cancel is seen by who sees the end.
        !self.0.load(Ordering::Acquire).is_null()
    }

    /// Publishes the end. At most once: under the node's lock, or before the node is shared.
    fn set(&self, cause: Cause) {
        let word = match cause.into_repr() {
            Repr::Plain(reason, origin) if REASON_FITS => {
                let tag = match reason {
                    Reason::Cancelled => 1,
                    Reason::DeadlineExceeded => 2,
                    Reason::Abandoned => 3,
                    Reason::Finished => 4,
                };
                ptr::from_ref(origin).cast::<()>().cast_mut().map_addr(|address| address | tag)
            }
            Repr::Plain(reason, origin) => Arc::into_raw(Custom::boxed(reason, origin)).cast_mut().cast(),
            Repr::Custom(custom) => Arc::into_raw(custom).cast_mut().cast(),
        };
        // Release: pairs with the Acquire in `is_set` and `get`.
        self.0.store(word, Ordering::Release);
    }

    fn get(&self) -> Option<Cause> {
        let word = self.0.load(Ordering::Acquire);
        if word.is_null() {
            return None;
        }
        let reason = match if REASON_FITS { word.addr() & REASON_MASK } else { 0 } {
            1 => Reason::Cancelled,
            2 => Reason::DeadlineExceeded,
            3 => Reason::Abandoned,
            4 => Reason::Finished,
            _ => {
                let custom: *const Custom = word.cast();
                // SAFETY: untagged, so `set` made it with `Arc::into_raw`; the cell owns that reference.
                unsafe { Arc::increment_strong_count(custom) };
                // SAFETY: the reference that was just added.
                return Some(Cause::from_repr(Repr::Custom(unsafe { Arc::from_raw(custom) })));
            }
        };
        let origin: *const Location<'static> = word.map_addr(|address| address & !REASON_MASK).cast();
        // SAFETY: tagged, so `set` made it from a `&'static Location`.
        Some(Cause::plain(reason, unsafe { &*origin }))
    }
}

impl Drop for EndCell {
    fn drop(&mut self) {
        let word = self.0.load(Ordering::Relaxed);
        if !word.is_null() && (!REASON_FITS || word.addr() & REASON_MASK == 0) {
            // SAFETY: made by `Arc::into_raw`; this is the reference that the cell owns.
            drop(unsafe { Arc::from_raw(word.cast::<Custom>()) });
        }
    }
}

/// One that waits for a node's end. Pinned in the future that waits, so that waiting needs no allocation.
struct Waiter {
    link: Link<Waiter>,
    /// Looked at under the node's lock only.
    slot: UnsafeCell<Slot>,
    _pinned: PhantomPinned,
}

enum Slot {
    /// In no list.
    Idle,
    /// In the node's list.
    Listed(Waker),
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
        let waiter = Waiter { link: Link::new(), slot: UnsafeCell::new(Slot::Idle), _pinned: PhantomPinned };
        Self { node, registered: false, waiter }
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
            let replaced = mem::replace(slot, Slot::Listed(waker));
            if matches!(replaced, Slot::Idle) {
                // SAFETY: in no list; pinned, and `drop` takes it out before it dies.
                unsafe { listeners.waiters.push_back(NonNull::from(&this.waiter)) };
            }
            this.registered = true;
            replaced
        };
        drop(replaced);
        // From here on somebody is to be woken, so the deadline needs its timer.
        match &node.deadline {
            Some(deadline) => deadline.arm(),
            None => Poll::Pending,
        }
    }

    /// Whether the waiter is in the list with this waker.
    fn still_listed(node: &Node, waiter: &Waiter, waker: &Waker) -> bool {
        let _listeners = node.lock();
        // SAFETY: under the node's lock.
        matches!(unsafe { &*waiter.slot.get() }, Slot::Listed(listed) if listed.will_wake(waker))
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let (Some(node), true) = (&self.node, self.registered) else { return };
        let mut listeners = node.lock();
        // SAFETY: under the node's lock.
        let slot = mem::replace(unsafe { &mut *self.waiter.slot.get() }, Slot::Idle);
        if matches!(slot, Slot::Listed(_)) {
            // SAFETY: listed, so in this node's list.
            unsafe { listeners.waiters.remove(NonNull::from(&self.waiter)) };
        }
        drop(listeners);
        drop(slot);
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("end", &self.end.get()).field("made", &self.made).finish_non_exhaustive()
    }
}
