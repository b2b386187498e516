//! The tree that a cancel runs down.
//!
//! A node stands for everything that can be cancelled on its own: what `with_cancel` and `with_deadline` make, a
//! generator, a task. A child holds its parent; the parent lists its children without holding them. Values are a chain of
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

mod inline;
mod marking;
mod members;
mod refs;
mod tasks;
mod waiting;

pub(crate) use self::inline::InlineMember;
use self::members::member;
pub(crate) use self::members::{Hooks, Member, OnThread, Within, cleaning_up, is_within, is_within_stopped};
pub(super) use self::refs::Owner;
use self::refs::{CANCELLER, REF};
pub(crate) use self::refs::{CancellerRef, NodeRef};
pub(crate) use self::tasks::TaskRef;
use self::waiting::Waiter;
pub(crate) use self::waiting::{Ended, Registered, Registration, Wait};
use super::cause::Cause;
use super::deadline::Deadline;
use super::end::{EndCell, Word};
use super::list::{Link, Linked, List};
use super::lock::{Guard, Lock};
use crate::loom::atomic::{AtomicBool, AtomicU64, Ordering};
use std::any::Any;
use std::fmt;
use std::panic::{self, AssertUnwindSafe, Location};
use std::ptr::NonNull;
use std::sync::Arc;

/// What a panic carries.
pub(crate) type Payload = Box<dyn Any + Send>;

/// Runs what may panic, and goes on: the panic hook has reported it. Its payload's own drop may panic in turn.
pub(crate) fn quietly(run: impl FnOnce()) {
    if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(run)) {
        discard(payload);
    }
}

/// Drops what nobody wants to see; what panics at that, for good.
pub(crate) fn discard(payload: Payload) {
    if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(payload);
    }
}

/// A place in the tree: an allocation of its own, or, of a generator or a task, the head of its ([`Member`]).
pub(crate) struct Node {
    /// In the lower half, the references: contexts, cancellers, waits, children, markings. In the upper half, the
    /// cancellers among them, so that one that goes is counted down in one step.
    counts: AtomicU64,
    end: EndCell,
    /// Set once, when everything below is known to be done (invariant 4).
    settled: AtomicBool,
    /// A `disarm` was called: the last canceller may go without a cancel.
    disarmed: AtomicBool,
    /// A generator or a task was started at or below this node, so its root is in `ROOTS`.
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
    #[cfg(any(feature = "signal", feature = "tokio-util"))]
    Extra(Box<Extra>),
}

/// What made a node: the method that a chain of contexts shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Cancel,
    Deadline,
    Timeout,
    WithoutCancel,
    Merge,
    Generator,
    Task,
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
            Self::Timeout => "with_timeout",
            Self::WithoutCancel => "without_cancel",
            Self::Merge => "merge",
            Self::Generator => "generator",
            Self::Task => "spawn",
            #[cfg(feature = "signal")]
            Self::Signal => "with_shutdown_signal",
            #[cfg(feature = "tokio-util")]
            Self::Token => "with_cancellation_token",
        }
    }

    /// Whether the node is the head of a [`Member`].
    fn is_member(self) -> bool {
        matches!(self, Self::Generator | Self::Task)
    }
}

/// What only some nodes have.
pub(crate) enum Extra {
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

// SAFETY: a field, which nothing else names.
unsafe impl Linked for Node {
    fn link(&self) -> &Link<Self> {
        &self.siblings
    }
}

// SAFETY: links are touched under the lock that guards their list (invariants 3 and 6), all else is atomic, behind the
// node's own lock, or not written after the node was made. The pointers are to nodes that this one owns a reference to, or that
// own it, and what else is in it, or waits at it, is `Send`, and `Sync` where it is shared.
unsafe impl Send for Node {}
// SAFETY: as above.
unsafe impl Sync for Node {}

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

    pub(crate) fn is_task(&self) -> bool {
        self.kind == Kind::Task
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

    /// Gives up that the node is cancelled when its last canceller goes.
    pub(crate) fn disarm(&self) {
        // Release: pairs with the Acquire in `CancellerRef::drop`.
        self.disarmed.store(true, Ordering::Release);
    }
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
        debug_assert!(!kind.is_member(), "a member's node is the head of its block");
        // In two steps, so that the node is written where it stays, and not first on the stack.
        let mut room = Box::<Node>::new_uninit();
        room.write(Node::unlisted(kind, parent, own, made));
        // SAFETY: just written.
        let node = Box::leak(unsafe { room.assume_init() });
        // SAFETY: unlisted, made with this parent, leaked as `deallocate` undoes it, and nobody else knows it.
        unsafe { Self::list(NonNull::from(node), parent) }
    }

    /// Gives a node its place below its parent, if it has one that is live; below one that is done it is born done (C3).
    ///
    /// # Safety
    ///
    /// The node is made by [`Node::unlisted`] with this parent, in memory that is [`free`](refs)'s from now on, and nobody else
    /// has seen it. The pointer is good for the whole of that memory, and every reference to the node is made of it.
    #[inline]
    unsafe fn list(node: NonNull<Node>, parent: Option<&NodeRef>) -> Self {
        // SAFETY: nobody else has it. Not used any more when others may see the node: once `own_up` or a list knows it.
        let this = unsafe { &mut *node.as_ptr() };
        let Some(parent) = parent else {
            this.inert = AtomicBool::new(this.has_no_ender());
            let node = Self(node);
            node.own_up();
            return node;
        };
        // A deadline that has passed unseen is inherited, and found by whoever looks at the child.
        if let Some(end) = parent.end.get() {
            return Self::born_done(node, end);
        }
        let mut listeners = parent.lock();
        if let Some(end) = parent.end.get() {
            drop(listeners);
            return Self::born_done(node, end);
        }
        this.parent = Some(parent.clone().into_raw());
        let inert = parent.inert.load(Ordering::Relaxed)
            && this.counts.load(Ordering::Relaxed) < CANCELLER
            && !this.owns_deadline
            && this.kind != Kind::Generator
            && this.extra.is_none();
        this.inert = AtomicBool::new(inert);
        let child = Self(node);
        child.own_up();
        // SAFETY: alive, in no list yet, and `free` takes it out before it dies.
        unsafe { listeners.children.push_back(node) };
        drop(listeners);
        child
    }

    fn born_done(node: NonNull<Node>, end: Word) -> Self {
        let node = Self(node);
        node.end.set(end);
        node.settled.store(true, Ordering::Relaxed);
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

    /// A node that is done when either parent is; if both are, for the first one's cause.
    pub(crate) fn merged(parent: &NodeRef, other: &NodeRef, made: &'static Location<'static>) -> Self {
        let earlier = |node: &NodeRef| node.deadline.as_ref().map(|deadline| deadline.at());
        let first = match (earlier(parent), earlier(other)) {
            (Some(first), Some(second)) => first <= second,
            (_, second) => second.is_none(),
        };
        let new = |parent| Box::new(Node::unlisted(Kind::Merge, Some(parent), Own::Nothing, made));
        let mut node = new(parent);
        node.deadline.clone_from(if first { &parent.deadline } else { &other.deadline });
        if let Some(cause) = parent.cause().or_else(|| other.cause()) {
            return Self::born_done(NonNull::from(Box::leak(node)), cause.into_word());
        }
        let mut relay = new(other);
        let node = NonNull::from(Box::leak(node));
        relay.extra = Some(Box::new(Extra::Relay(node)));
        relay.parent = Some(other.clone().into_raw());
        let relay = NonNull::from(Box::leak(relay));
        // SAFETY: not yet shared: in no list, and no other reference exists. Not used any more when it is in a list.
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
        let node = Self(node);
        // Again: a parent that has become inert since the look above may not have found it in its list.
        node.settle_inert();
        node
    }
}

impl Node {
    /// A node that nobody has seen yet: without a place in the tree, and with the reference that its maker gets.
    #[inline]
    fn unlisted(kind: Kind, parent: Option<&NodeRef>, own: Own, made: &'static Location<'static>) -> Self {
        let (deadline, extra) = match own {
            Own::Nothing => (None, None),
            Own::Deadline(deadline) => (Some(deadline), None),
            #[cfg(any(feature = "signal", feature = "tokio-util"))]
            Own::Extra(extra) => (None, Some(extra)),
        };
        let owns_deadline = deadline.is_some();
        let deadline = deadline.or_else(|| parent.and_then(|parent| parent.deadline.clone()));
        // What is made to be cancelled starts with one canceller.
        let counts = if kind == Kind::Cancel { 2 * REF + CANCELLER } else { REF };
        Self {
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
        }
    }
}

/// How many links of a chain are written out.
const CHAIN: usize = 16;

/// Writes how a node was made, from the root down; of a long chain its lower end.
pub(super) fn fmt_chain(node: Option<&NodeRef>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    // SAFETY: each is kept alive by the one below, and the first by the reference, which is borrowed throughout.
    let get = |node: NonNull<Node>| unsafe { node.as_ref() };
    let up = || std::iter::successors(node.map(|node| node.0), |node| get(*node).parent);
    let mut shown: Vec<_> = up().take(CHAIN).collect();
    shown.reverse();
    // Without a cancel there is no going back to where the values came from.
    let starts_anew = up().last().is_some_and(|root| get(root).kind == Kind::WithoutCancel);
    if !starts_anew {
        f.write_str("background")?;
    }
    match up().skip(CHAIN).count() {
        0 => {}
        more => write!(f, " > ({more} more)")?,
    }
    for (at, node) in shown.into_iter().enumerate() {
        let arrow = if at == 0 && starts_anew { "" } else { " > " };
        let this = get(node);
        write!(f, "{arrow}{} at {}:{}", this.kind.name(), this.made.file(), this.made.line())?;
        // SAFETY: as above; a node names its parent by the pointer that this was listed with.
        if let Some(member) = unsafe { member(node) } {
            write!(f, " ({})", member.name)?;
        }
    }
    Ok(())
}
