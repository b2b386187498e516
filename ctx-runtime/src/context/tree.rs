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
//! 7. A merged node is in the list of its first parent itself; in that of its second, a *relay* stands for it. It owns the
//!    relay, and takes it out of that list before it dies. Whoever finds a relay in a list goes on to its target.
//! 8. A callback that waits holds its own node, so that it outlives the last handle (a cycle that ends when it is called
//!    or stopped). A node that nothing can end any more is *inert*: no canceller, no deadline of its own, and inert parents
//!    or none. There no callback waits, so that the cycle does not outlive its purpose. `inert` is set under the node's lock,
//!    and the parent's is read under the parent's.
//!
//! # A cancel, step by step
//!
//! 1. *Mark.* A node whose deadline has passed ends by that, and not by this cancel, whoever looked or did not look
//!    before (C2). Breadth first, with the nodes that have children in a queue on the heap, so that neither a deep nor a
//!    wide tree needs stack (C7). Every reference taken is kept until the locks are free.
//! 2. *Settle* what was marked.
//! 3. *Fire* the waiters, a node before its descendants. A panic in one is kept until all have run (C6).
//!
//! A reader that finds a deadline passed marks and settles, and leaves the firing to the deadline's timer.
#![allow(
    unsafe_code,
    reason = "intrusive lists and shared ownership by count; the rest of the context is safe code"
)]

use super::cause::{Cause, Reason};
use super::deadline::{self, Deadline};
use super::end::{EndCell, Word};
use super::list::{Link, Linked, List};
use super::lock::{Guard, Lock};
use crate::loom::Mutex;
use crate::loom::atomic::{AtomicBool, AtomicU64, Ordering};
use std::any::Any;
use std::borrow::Cow;
use std::cell::{Cell, UnsafeCell};
use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomPinned;
use std::mem;
use std::ops::Deref;
use std::panic::{self, AssertUnwindSafe, Location};
use std::pin::Pin;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::task::{self, Poll, Waker};
use tokio::time::Instant;

/// What a panic carries.
pub(crate) type Payload = Box<dyn Any + Send>;

/// A place in the tree.
pub(crate) struct Node {
    /// In the lower half, the references: contexts, cancellers, waits, children, markings. In the upper half, the
    /// cancellers among them, so that one that goes is counted down in one step.
    counts: AtomicU64,
    end: EndCell,
    /// Set once, when everything below is known to be done (invariant 4).
    settled: AtomicBool,
    /// A `disarm` was called: the last canceller may go without a cancel.
    disarmed: AtomicBool,
    /// A generator was started at or below this node, so its root is in `ROOTS`.
    registered: AtomicBool,
    /// Nothing can end this node any more (invariant 8).
    inert: AtomicBool,
    listeners: Lock<Listeners>,
    /// The place in the parent's list, guarded by the parent's lock; without a parent, the place in `ROOTS`.
    siblings: Link<Node>,
    /// `Some` if and only if the node is in that parent's list; owns a reference to it.
    parent: Option<NonNull<Node>>,
    /// The earliest deadline that applies, shared with the node that it was set for.
    deadline: Option<Arc<Deadline>>,
    /// The deadline was set for this very node, and not for one above.
    owns_deadline: bool,
    /// What made this context, and on which line.
    kind: Kind,
    made: &'static Location<'static>,
    extra: Option<Box<Extra>>,
}

/// What a node has besides its place.
pub(crate) enum Own {
    Nothing,
    /// A deadline that is earlier than the parent's.
    Deadline(Arc<Deadline>),
    Extra(Box<Extra>),
}

/// What made a node: the method that a chain of contexts shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Cancel,
    Deadline,
    WithoutCancel,
    Merge,
    Generator,
    #[cfg(feature = "signal")]
    Signal,
    #[cfg(feature = "tokio-util")]
    Token,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cancel => "with_cancel",
            Self::Deadline => "with_deadline",
            Self::WithoutCancel => "without_cancel",
            Self::Merge => "merge",
            Self::Generator => "generator",
            #[cfg(feature = "signal")]
            Self::Signal => "with_shutdown_signal",
            #[cfg(feature = "tokio-util")]
            Self::Token => "with_cancellation_token",
        }
    }
}

/// What only some nodes have.
pub(crate) enum Extra {
    Member(Member),
    /// The relay in the list of the second parent; owned.
    Merged(NonNull<Node>),
    /// The merged node that this one stands for.
    Relay(NonNull<Node>),
    /// What may end the node from outside the tree.
    #[cfg(any(feature = "signal", feature = "tokio-util"))]
    Source(Arc<super::source::Trigger>),
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
    /// Those who wait for that.
    waiting: Mutex<Vec<Waker>>,
}

impl Member {
    pub(crate) fn new(name: Cow<'static, str>) -> Self {
        Self { name, ended: AtomicBool::new(false), waiting: Mutex::new(Vec::new()) }
    }

    pub(crate) fn set_ended(&self) {
        // Release: pairs with the Acquire in `is_alive`, so that who misses it in a report sees what it did.
        self.ended.store(true, Ordering::Release);
        let waiting = mem::take(&mut *self.waiting.lock());
        for waker in waiting {
            // A waker that panics was reported by the panic hook, and must not keep the others from waking.
            let _ = panic::catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
    }

    pub(crate) fn is_alive(&self) -> bool {
        !self.ended.load(Ordering::Acquire)
    }

    fn poll_ended(&self, cx: &task::Context<'_>) -> Poll<()> {
        if self.is_alive() {
            let waker = cx.waker().clone();
            self.waiting.lock().push(waker);
        }
        // Again: an end that came after the look above did not know of this waker.
        if self.is_alive() { Poll::Pending } else { Poll::Ready(()) }
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
    fn lock(&self) -> Guard<'_, Listeners> {
        self.listeners.lock()
    }

    /// Whether this node has ended; where a deadline applies, by the clock too.
    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        self.end.is_set() || self.deadline.as_ref().is_some_and(|deadline| deadline.publish_if_passed())
    }

    /// Why this node has ended, if it has.
    pub(crate) fn cause(&self) -> Option<Cause> {
        if self.is_done() { self.end.get().map(Cause::from_word) } else { None }
    }

    pub(crate) fn deadline(&self) -> Option<&Arc<Deadline>> {
        self.deadline.as_ref()
    }

    pub(crate) fn made(&self) -> &'static Location<'static> {
        self.made
    }

    pub(crate) fn member(&self) -> Option<&Member> {
        match self.extra.as_deref() {
            Some(Extra::Member(member)) => Some(member),
            _ => None,
        }
    }

    pub(crate) fn parent(&self) -> Option<&Self> {
        // SAFETY: a node owns a reference to its parent.
        self.parent.map(|parent| unsafe { parent.as_ref() })
    }

    /// The second parent of a merged node.
    fn other_parent(&self) -> Option<&Self> {
        match self.extra.as_deref() {
            // SAFETY: a merged node owns its relay.
            Some(Extra::Merged(relay)) => unsafe { relay.as_ref() }.parent(),
            _ => None,
        }
    }

    /// Whether this node is `ancestor` or below it.
    fn is_below(&self, ancestor: &Self) -> bool {
        let mut seen = HashSet::new();
        let mut queue = vec![self];
        while let Some(node) = queue.pop() {
            if ptr::eq(node, ancestor) {
                return true;
            }
            // Only a merged node is reached in two ways.
            if node.other_parent().is_none() || seen.insert(ptr::from_ref(node)) {
                queue.extend(node.parent());
                queue.extend(node.other_parent());
            }
        }
        false
    }

    /// Gives up that the node is cancelled when its last canceller goes.
    pub(crate) fn disarm(&self) {
        // Release: pairs with the Acquire in `CancellerRef::drop`.
        self.disarmed.store(true, Ordering::Release);
    }

    /// Takes one waiter out, with what is to be woken or called.
    fn take_waiter(&self) -> Option<Slot> {
        let mut listeners = self.lock();
        let waiter = listeners.waiters.pop_front()?;
        // SAFETY: it was in this list, and lives at least until the lock is free.
        let waiter = unsafe { waiter.as_ref() };
        // SAFETY: only the lock's holder looks at a slot.
        Some(mem::replace(unsafe { &mut *waiter.slot.get() }, Slot::Idle))
    }

    /// Takes out the waiters that are wakers, or those that are callbacks.
    fn take_waiters(&self, wanted: fn(&Slot) -> bool) -> Vec<Slot> {
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

    /// Whether nothing but its parents could end this node, and none of them can.
    fn has_no_ender(&self) -> bool {
        // Acquire: pairs with the Release in `CancellerRef::drop`.
        self.counts.load(Ordering::Acquire) < CANCELLER
            && !self.owns_deadline
            && matches!(self.extra.as_deref(), None | Some(Extra::Merged(_) | Extra::Relay(_)))
            && [self.parent(), self.other_parent()].into_iter().flatten().all(Self::is_inert)
    }

    /// Under the lock, so that a parent that becomes inert and a child that loses its own ender cannot both miss the other.
    fn is_inert(&self) -> bool {
        let _listeners = self.lock();
        self.inert.load(Ordering::Relaxed)
    }
}

/// The node that an element of a list of children stands for: itself, or the target of a relay (invariant 7).
///
/// # Safety
///
/// The lock of the list is held; so both are alive for as long as it is.
unsafe fn resolve(child: NonNull<Node>) -> NonNull<Node> {
    // SAFETY: in a list whose lock is held.
    match unsafe { child.as_ref() }.extra.as_deref() {
        Some(Extra::Relay(target)) => *target,
        _ => child,
    }
}

thread_local! {
    /// The generator whose body this thread polls.
    static WITHIN: Cell<Option<NonNull<Node>>> = const { Cell::new(None) };
}

/// Runs `poll` as the body of the generator that `node` is of.
pub(crate) fn within<R>(node: &NodeRef, poll: impl FnOnce() -> R) -> R {
    struct Restore(Option<NonNull<Node>>);

    impl Drop for Restore {
        fn drop(&mut self) {
            WITHIN.set(self.0);
        }
    }

    let _restore = Restore(WITHIN.replace(Some(node.0)));
    poll()
}

/// The node of the generator whose body this thread polls.
fn with_current<R>(look: impl FnOnce(Option<&Node>) -> R) -> R {
    // SAFETY: `within` holds a reference for as long as the cell is set.
    look(WITHIN.get().map(|node| unsafe { node.as_ref() }))
}

/// Whether this thread polls the body of the generator that `node` is of.
pub(crate) fn is_within(node: &NodeRef) -> bool {
    WITHIN.get() == Some(node.0)
}

/// Whether this thread polls the body of a generator that has been stopped.
pub(crate) fn is_within_stopped() -> bool {
    with_current(|node| node.is_some_and(Node::is_done))
}

/// One reference.
const REF: u64 = 1;
/// One canceller, on top of its reference.
const CANCELLER: u64 = 1 << 32;
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
/// # Safety
///
/// The caller was counted by that much, and does not use the node any more.
#[inline]
unsafe fn count_down(node: NonNull<Node>, less: u64) {
    // SAFETY: what is counted down here has kept it alive.
    let this = unsafe { node.as_ref() };
    // Release: pairs with the Acquire in `free_upwards`, so that whoever frees has seen all uses.
    if this.counts.fetch_sub(less, Ordering::Release) == less {
        // SAFETY: the count is zero, and `try_ref` revives no node.
        unsafe { free_upwards(node) };
    }
}

/// Frees a node, and each ancestor to which it owned the last reference: not by recursion (C7).
///
/// # Safety
///
/// The node's count has just come to zero.
unsafe fn free_upwards(node: NonNull<Node>) {
    let mut node = node;
    let mut others = Vec::new();
    loop {
        // SAFETY: alive until it is freed below.
        let this = unsafe { node.as_ref() };
        // A load and not a fence, which the thread sanitizer does not understand.
        this.counts.load(Ordering::Acquire);
        // SAFETY: its count is zero, and this is the only one to have brought it there.
        let (mut parent, other) = unsafe { free(node) };
        others.extend(other);
        node = loop {
            let Some(above) = parent.take().or_else(|| others.pop()) else { return };
            // SAFETY: the freed child owned a reference.
            let this = unsafe { above.as_ref() };
            if this.counts.fetch_sub(REF, Ordering::Release) == REF {
                break above;
            }
        };
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

/// Takes the node out of every list and frees it. Returns the references to its parents, which it owned.
///
/// # Safety
///
/// The node's count of references has come to zero, and it is freed once.
unsafe fn free(node: NonNull<Node>) -> (Option<NonNull<Node>>, Option<NonNull<Node>>) {
    // SAFETY: alive until it is freed below.
    let this = unsafe { node.as_ref() };
    let parent = this.parent;
    // SAFETY: in the list of the parent that it names, if it names one.
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
    // SAFETY: made by `Box::leak`; nobody can find it any more.
    drop(unsafe { Box::from_raw(node.as_ptr()) });
    (parent, other)
}

/// Takes a node out of its parent's list.
///
/// # Safety
///
/// With a parent, it is in that parent's list.
unsafe fn leave(node: NonNull<Node>) {
    // SAFETY: alive, as it is in a list or owned by the caller.
    let this = unsafe { node.as_ref() };
    if let Some(parent) = this.parent() {
        let mut listeners = parent.lock();
        // SAFETY: by the caller's word.
        unsafe { listeners.children.remove(node) };
    }
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
    let counts = &unsafe { node.as_ref() }.counts;
    // Relaxed: the list's lock orders what was written before the node joined it.
    let mut now = counts.load(Ordering::Relaxed);
    while now != 0 {
        match counts.compare_exchange_weak(now, now + REF, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return Some(NodeRef(node)),
            Err(changed) => now = changed,
        }
    }
    None
}

impl NodeRef {
    /// A node below `parent`, or a root.
    #[inline]
    pub(crate) fn new(
        kind: Kind,
        parent: Option<&NodeRef>,
        own: Own,
        made: &'static Location<'static>,
    ) -> Self {
        let node = Self::boxed(kind, parent, own, made);
        let Some(parent) = parent else { return Self::leak(node) };
        // A deadline that has passed unseen is inherited, and found by whoever looks at the child.
        match parent.end.get() {
            Some(end) => Self::born_done(node, end),
            None => Self::leak_below(parent, node),
        }
    }

    /// A node that is done when either parent is; if both are, for the first one's cause.
    pub(crate) fn merged(parent: &NodeRef, other: &NodeRef, made: &'static Location<'static>) -> Self {
        let earlier = |node: &NodeRef| node.deadline.as_ref().map(|deadline| deadline.at());
        let first = match (earlier(parent), earlier(other)) {
            (Some(first), Some(second)) => first <= second,
            (_, second) => second.is_none(),
        };
        let mut node = Self::boxed(Kind::Merge, Some(parent), Own::Nothing, made);
        node.deadline.clone_from(if first { &parent.deadline } else { &other.deadline });
        if let Some(cause) = parent.cause().or_else(|| other.cause()) {
            return Self::born_done(node, cause.into_word());
        }
        let mut relay = Self::boxed(Kind::Merge, Some(other), Own::Nothing, made);
        let node = NonNull::from(Box::leak(node));
        relay.extra = Some(Box::new(Extra::Relay(node)));
        relay.parent = Some(other.clone().into_raw());
        let relay = NonNull::from(Box::leak(relay));
        // SAFETY: not yet shared: in no list, and no other reference exists.
        let this = unsafe { &mut *node.as_ptr() };
        this.extra = Some(Box::new(Extra::Merged(relay)));
        this.inert = AtomicBool::new(parent.is_inert() && other.is_inert());
        this.parent = Some(parent.clone().into_raw());
        for (parent, child) in [(parent, node), (other, relay)] {
            let end = {
                let mut listeners = parent.lock();
                // Also in the list of one that has ended: `free` counts on it.
                // SAFETY: alive, in no list yet, and `free` takes it out before it dies.
                unsafe { listeners.children.push_back(child) };
                parent.end.get()
            };
            if let Some(end) = end {
                // A cancel of this parent may have passed by before the node was in its list.
                // SAFETY: owned by the reference that is returned below.
                let this = unsafe { node.as_ref() };
                let listeners = this.lock();
                if this.end.is_set() {
                    drop(listeners);
                    drop(end);
                } else {
                    this.end.set(end);
                }
            }
        }
        Self(node)
    }

    #[inline]
    fn boxed(kind: Kind, parent: Option<&NodeRef>, own: Own, made: &'static Location<'static>) -> Box<Node> {
        let (deadline, extra) = match own {
            Own::Nothing => (None, None),
            Own::Deadline(deadline) => (Some(deadline), None),
            Own::Extra(extra) => (None, Some(extra)),
        };
        let owns_deadline = deadline.is_some();
        let deadline = deadline.or_else(|| parent.and_then(|parent| parent.deadline.clone()));
        // What is made to be cancelled starts with one canceller.
        let counts = if kind == Kind::Cancel { 2 * REF + CANCELLER } else { REF };
        // In two steps, so that the node is written where it stays, and not first on the stack.
        let mut room = Box::<Node>::new_uninit();
        room.write(Node {
            counts: AtomicU64::new(counts),
            end: EndCell::new(),
            settled: AtomicBool::new(false),
            disarmed: AtomicBool::new(false),
            registered: AtomicBool::new(false),
            inert: AtomicBool::new(false),
            listeners: Lock::new(Listeners { children: List::new(), waiters: List::new() }),
            siblings: Link::new(),
            parent: None,
            deadline,
            owns_deadline,
            kind,
            made,
            extra,
        });
        // SAFETY: just written.
        unsafe { room.assume_init() }
    }

    fn leak(node: Box<Node>) -> Self {
        node.inert.store(node.has_no_ender(), Ordering::Relaxed);
        let node = Self(NonNull::from(Box::leak(node)));
        node.own_up();
        node
    }

    /// Lets what ends this node on its own know of it.
    fn own_up(&self) {
        if let (true, Some(deadline)) = (self.owns_deadline, &self.deadline) {
            deadline.owner.set(self);
        }
        #[cfg(any(feature = "signal", feature = "tokio-util"))]
        if let Some(Extra::Source(trigger)) = self.extra.as_deref() {
            trigger.owner.set(self);
        }
    }

    #[inline]
    fn leak_below(parent: &NodeRef, mut node: Box<Node>) -> Self {
        let mut listeners = parent.lock();
        if let Some(end) = parent.end.get() {
            drop(listeners);
            return Self::born_done(node, end);
        }
        node.parent = Some(parent.clone().into_raw());
        let inert = parent.inert.load(Ordering::Relaxed)
            && node.counts.load(Ordering::Relaxed) < CANCELLER
            && !node.owns_deadline
            && node.extra.is_none();
        node.inert.store(inert, Ordering::Relaxed);
        let node = Self(NonNull::from(Box::leak(node)));
        node.own_up();
        // SAFETY: alive, in no list yet, and `free` takes it out before it dies.
        unsafe { listeners.children.push_back(node.0) };
        drop(listeners);
        node
    }

    fn born_done(node: Box<Node>, end: Word) -> Self {
        node.end.set(end);
        node.settled.store(true, Ordering::Relaxed);
        Self(NonNull::from(Box::leak(node)))
    }

    fn into_raw(self) -> NonNull<Node> {
        mem::ManuallyDrop::new(self).0
    }

    /// Cancels this node and all below. The cause counts only if the node is live and its deadline has not passed.
    #[inline]
    pub(crate) fn cancel(&self, cause: Cause) {
        let expired = match &self.deadline {
            // C2: whoever looked or did not look in between, the deadline came first.
            Some(deadline) if !self.end.is_set() && deadline.has_passed() => deadline.expire(),
            _ => None,
        };
        match self.mark_alone(cause.into_word()) {
            // The usual case: nobody below, nobody to tell.
            Marked::Settled { fires_top: false } if expired.is_none() => {}
            marked => self.cancel_on(&marked, expired),
        }
    }

    /// What is left to do of a cancel when the node itself is marked.
    #[cold]
    fn cancel_on(&self, marked: &Marked, expired: Option<Payload>) {
        let marking = match *marked {
            Marked::Settled { fires_top } => Marking { fires_top, ..Marking::default() },
            Marked::HasChildren { fires_top } => Marking { fires_top, ..Marking::default() }.descend(self),
        };
        match expired.or(marking.fire(self)) {
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

    /// Everything at and below `tops`, from the top down, once.
    fn descend(tops: Vec<NodeRef>) -> Vec<NodeRef> {
        let mut seen = HashSet::new();
        let mut order = tops;
        let mut at = 0;
        while at < order.len() {
            let node = NodeRef::clone(&order[at]);
            for child in node.lock().children.iter() {
                // SAFETY: in the list whose lock is held.
                let child = unsafe { resolve(child) };
                // SAFETY: as above.
                let Some(child) = (unsafe { try_ref(child) }) else { continue };
                // Only a merged node is reached in two ways.
                if child.other_parent().is_none() || seen.insert(child.0) {
                    order.push(child);
                }
            }
            at += 1;
        }
        order
    }

    /// The members alive below `tops` and at them.
    pub(crate) fn members(tops: Vec<NodeRef>) -> Vec<NodeRef> {
        let mut members = Self::descend(tops);
        members.retain(|node| node.member().is_some_and(Member::is_alive));
        members
    }

    /// Ready when every generator at or below this node has ended.
    ///
    /// `pending` is what the last call has left to wait for; empty at first.
    ///
    /// # Panics
    ///
    /// If called from within the body of one of them.
    pub(crate) fn poll_ended(&self, pending: &mut Vec<NodeRef>, cx: &task::Context<'_>) -> Poll<()> {
        assert!(
            !with_current(|current| current.is_some_and(|current| current.is_below(self))),
            "`cancel_and_wait` was called from within a generator below the context that it cancels, \
             and would wait for itself: call `cancel` there, or wait in a task that is not below it"
        );
        loop {
            while let Some(node) = pending.last() {
                if node.member().is_some_and(|member| member.poll_ended(cx).is_pending()) {
                    return Poll::Pending;
                }
                pending.pop();
            }
            *pending = Self::members(vec![self.clone()]);
            if pending.is_empty() {
                return Poll::Ready(());
            }
        }
    }

    /// The roots that a generator was started below.
    pub(crate) fn roots() -> Vec<NodeRef> {
        #[cfg(all(test, loom))]
        return Vec::new();
        #[cfg(not(all(test, loom)))]
        {
            let in_shard = |shard: &Mutex<List<Node>>| -> Vec<_> {
                // SAFETY: in the list whose lock is held.
                shard.lock().iter().filter_map(|root| unsafe { try_ref(root) }).collect()
            };
            ROOTS.iter().flat_map(in_shard).collect()
        }
    }

    /// Marks everything from here down, and returns who is to be told.
    pub(super) fn mark(&self, cause: Cause) -> Marking {
        Marking::of(self, cause)
    }

    /// Wakes all who wait at or below this node, though it has not ended: what they relied on is gone. Callbacks stay.
    pub(super) fn rouse(&self) {
        for node in Self::descend(vec![self.clone()]) {
            // Those that register again come after: the list is taken as it stands now.
            for waiter in node.take_waiters(|slot| matches!(slot, Slot::Waker(_))) {
                // A waker that panics was reported by the panic hook.
                let _ = panic::catch_unwind(AssertUnwindSafe(|| waiter.tell()));
            }
        }
    }

    /// Lets go of the callbacks that nobody can set off any more (invariant 8).
    fn settle_inert(&self) {
        let mut inert = vec![self.clone()];
        let mut callbacks = Vec::new();
        while let Some(node) = inert.pop() {
            if node.end.is_set() || !node.has_no_ender() {
                continue;
            }
            let children: Vec<_> = {
                let listeners = node.lock();
                node.inert.store(true, Ordering::Relaxed);
                // SAFETY: in the list whose lock is held.
                let resolved = listeners.children.iter().map(|child| unsafe { resolve(child) });
                // SAFETY: as above.
                resolved.filter_map(|child| unsafe { try_ref(child) }).collect()
            };
            callbacks.extend(node.take_waiters(|slot| matches!(slot, Slot::Callback { .. })));
            inert.extend(children);
        }
        drop(callbacks);
    }
}

/// What marking a node alone has found.
enum Marked {
    /// All below is done.
    Settled { fires_top: bool },
    /// There may be something below that is not.
    HasChildren { fires_top: bool },
}

impl Node {
    /// Gives this node its end, if it has none yet.
    #[inline]
    fn mark_alone(&self, end: Word) -> Marked {
        if self.settled.load(Ordering::Acquire) {
            return Marked::Settled { fires_top: false };
        }
        let listeners = self.lock();
        let fires_top = !self.end.is_set() && (!listeners.waiters.is_empty() || self.owns_deadline);
        let is_leaf = listeners.children.is_empty();
        let unused = if self.end.is_set() {
            Some(end)
        } else {
            self.end.set(end);
            None
        };
        drop(listeners);
        drop(unused);
        if is_leaf {
            // Release: as in `Marking::descend`.
            self.settled.store(true, Ordering::Release);
            Marked::Settled { fires_top }
        } else {
            Marked::HasChildren { fires_top }
        }
    }
}

/// What a marking has found: who is to be told, and every reference that it took, so that nothing is freed and no
/// cause dropped while a lock is held (invariant 5).
#[derive(Default)]
pub(super) struct Marking {
    /// The nodes with children, in the order in which they were marked.
    order: Vec<NodeRef>,
    /// The time of this marking, if anybody has asked.
    now: Option<Instant>,
    /// The top was marked here, and has waiters.
    fires_top: bool,
    /// The nodes below it that were marked here and have waiters, a node before its descendants.
    fires: Vec<NodeRef>,
}

impl Marking {
    fn of(top: &NodeRef, cause: Cause) -> Self {
        match top.mark_alone(cause.into_word()) {
            Marked::Settled { fires_top } => Self { fires_top, ..Self::default() },
            Marked::HasChildren { fires_top } => Self { fires_top, ..Self::default() }.descend(top),
        }
    }

    /// Marks what is below a done node.
    fn descend(mut self, top: &NodeRef) -> Self {
        self.order.push(top.clone());
        let mut at = 0;
        while at < self.order.len() {
            self.visit(at);
            at += 1;
        }
        // Only now: a node is settled when all below it is marked, and the order goes from the top down.
        for node in &self.order {
            // Release: pairs with the Acquire in `mark_alone` and `visit`, so that who reads it finds all below done.
            node.settled.store(true, Ordering::Release);
        }
        self
    }

    /// Gives the children of a done node its end, and queues those that have children in turn.
    fn visit(&mut self, at: usize) {
        let Self { order, fires, now, .. } = self;
        let node = NodeRef::clone(&order[at]);
        let Some(end) = node.end.get() else { return };
        let listeners = node.lock();
        for child in listeners.children.iter() {
            // SAFETY: in the list whose lock is held (invariants 3 and 7).
            let child = unsafe { resolve(child) };
            // SAFETY: as above.
            let this = unsafe { child.as_ref() };
            if this.settled.load(Ordering::Acquire) {
                continue;
            }
            let below = this.lock();
            if !this.end.is_set() {
                this.end.set(Self::own_end(this, &node, now).unwrap_or_else(|| end.clone()));
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

    /// The end of a child whose deadline has passed before its parent came to be marked, though nobody has looked (C2).
    fn own_end(child: &Node, parent: &Node, now: &mut Option<Instant>) -> Option<Word> {
        let deadline = child.deadline.as_ref()?;
        if parent.deadline.as_ref().is_some_and(|above| Arc::ptr_eq(above, deadline)) {
            return None;
        }
        let now = *now.get_or_insert_with(deadline::now);
        (deadline.at() <= now).then(|| deadline.cause().clone().into_word())
    }

    /// Wakes who waits, from the top down. Returns the first panic among them.
    pub(super) fn fire(self, top: &NodeRef) -> Option<Payload> {
        let mut first = None;
        for node in self.fires_top.then_some(top).into_iter().chain(&self.fires) {
            if let (true, Some(deadline)) = (node.owns_deadline, &node.deadline) {
                deadline.disarm();
            }
            while let Some(waiter) = node.take_waiter() {
                let told = panic::catch_unwind(AssertUnwindSafe(|| waiter.tell()));
                first = first.or(told.err());
            }
        }
        first
    }

    /// The nodes that are to be fired later, the top among them.
    pub(super) fn into_fires(mut self, top: &NodeRef) -> Vec<NodeRef> {
        if self.fires_top {
            self.fires.insert(0, top.clone());
        }
        self.fires
    }

    pub(super) fn from_fires(fires: Vec<NodeRef>) -> Self {
        Self { fires, ..Self::default() }
    }
}

/// The way back from a deadline to the node that it was set for, which does not keep that node alive.
pub(super) struct Owner(Lock<Option<NonNull<Node>>>);

// SAFETY: a pointer to a node, which is `Send` and `Sync`, followed under the lock only.
unsafe impl Send for Owner {}
// SAFETY: as above.
unsafe impl Sync for Owner {}

impl Owner {
    pub(super) fn new() -> Self {
        Self(Lock::new(None))
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
pub(crate) struct CancellerRef(mem::ManuallyDrop<NodeRef>);

impl CancellerRef {
    /// The one that a node of the kind `Cancel` was made with, and counts already. Called once for each such node.
    pub(crate) fn first(node: &NodeRef) -> Self {
        Self(mem::ManuallyDrop::new(NodeRef(node.0)))
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
            // SAFETY: this canceller and its reference are given up.
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

/// One that waits for a node's end: in a future, so that waiting needs no allocation, or in a [`Registration`].
struct Waiter {
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

enum Slot {
    /// In no list.
    Idle,
    /// In the node's list.
    Waker(Waker),
    /// In the node's list, which so holds the registration, and through it the node (invariant 8).
    Callback { run: Box<dyn FnOnce() + Send>, _keep: Arc<Registration> },
}

impl Slot {
    /// Wakes or calls whoever was taken out of a list.
    fn tell(self) {
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

/// How many links of a chain are written out.
const CHAIN: usize = 16;

/// Writes how a node was made, from the root down; of a long chain its lower end.
pub(super) fn fmt_chain(node: Option<&Node>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let up = || std::iter::successors(node, |node| node.parent());
    let mut shown: Vec<_> = up().take(CHAIN).collect();
    shown.reverse();
    // Without a cancel there is no going back to where the values came from.
    let starts_anew = up().last().is_some_and(|root| root.kind == Kind::WithoutCancel);
    if !starts_anew {
        f.write_str("background")?;
    }
    match up().skip(CHAIN).count() {
        0 => {}
        more => write!(f, " > ({more} more)")?,
    }
    for (at, node) in shown.iter().enumerate() {
        let arrow = if at == 0 && starts_anew { "" } else { " > " };
        write!(f, "{arrow}{} at {}:{}", node.kind.name(), node.made.file(), node.made.line())?;
        if let Some(member) = node.member() {
            write!(f, " ({})", member.name)?;
        }
    }
    Ok(())
}
