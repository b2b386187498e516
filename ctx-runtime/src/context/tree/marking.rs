//! The cancel: marking, settling, firing; and what becomes of those whom no cancel can reach any more.

use super::refs::{CANCELLER, NodeRef, try_ref};
use super::waiting::{Slot, take_waiter};
use super::{Extra, Kind, Listeners, Node, Payload, discard};
use crate::context::cause::Cause;
use crate::context::deadline;
use crate::context::end::Word;
use crate::loom::atomic::Ordering;
use std::collections::{HashMap, HashSet};
use std::panic::{self, AssertUnwindSafe};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use tokio::time::Instant;

impl NodeRef {
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

    /// Marks everything from here down, and returns who is to be told.
    pub(in crate::context) fn mark(&self, cause: Cause) -> Marking {
        Marking::of(self, cause)
    }

    /// Tells all who wait at or below this node and are done, from the top down, whoever has marked them. Keeps the first
    /// panic among them.
    pub(in crate::context) fn tell_all(&self, first: &mut Option<Payload>) {
        let mut below = Self::descend(vec![self.clone()]);
        if below.iter().any(|node| node.other_parent().is_some()) {
            put_in_order(&mut below);
        }
        for node in below {
            if node.end.is_set() {
                node.tell(first);
            }
        }
    }

    /// Wakes all who wait at or below this node, though it has not ended: what they relied on is gone. Callbacks stay.
    pub(in crate::context) fn rouse(&self) {
        for node in Self::descend(vec![self.clone()]) {
            // Those that register again come after: the list is taken as it stands now.
            for waiter in node.take_waiters(|slot| matches!(slot, Slot::Waker(_))) {
                // A waker that panics was reported by the panic hook.
                super::quietly(|| waiter.tell());
            }
        }
    }

    /// Lets go of the callbacks that nobody can set off any more (invariant 8).
    pub(super) fn settle_inert(&self) {
        let mut inert = vec![self.clone()];
        let mut callbacks = Vec::new();
        while let Some(node) = inert.pop() {
            if node.end.is_set() || node.is_inert() || !node.has_no_ender() {
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

/// The node that an element of a list of children stands for: itself, or the target of a relay (invariant 7).
///
/// # Safety
///
/// The lock of the list is held; so both are alive for as long as it is.
pub(super) unsafe fn resolve(child: NonNull<Node>) -> NonNull<Node> {
    // SAFETY: in a list whose lock is held.
    match unsafe { child.as_ref() }.extra.as_deref() {
        Some(Extra::Relay(target)) => *target,
        _ => child,
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
        let fires_top = !self.end.is_set() && self.has_to_tell(&listeners);
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
pub(in crate::context) struct Marking {
    /// The nodes with children, in the order in which they were marked.
    order: Vec<NodeRef>,
    /// The merged nodes among them.
    seen: HashSet<NonNull<Node>>,
    /// A merged node was marked: the order in which nodes were found need not be that of `put_in_order`.
    has_merged: bool,
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
        let Self { order, seen, has_merged, fires, now, .. } = self;
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
            *has_merged |= this.other_parent().is_some();
            if !this.end.is_set() {
                this.end.set(Self::own_end(this, &node, now).unwrap_or_else(|| end.clone()));
                if this.has_to_tell(&below) {
                    // SAFETY: as above.
                    fires.extend(unsafe { try_ref(child) });
                }
            }
            if below.children.is_empty() {
                this.settled.store(true, Ordering::Release);
            } else {
                // Only a merged node is reached in two ways; once is enough.
                if this.other_parent().is_none() || seen.insert(child) {
                    // SAFETY: as above. A node with children has references, theirs.
                    order.extend(unsafe { try_ref(child) });
                }
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
    pub(in crate::context) fn fire(mut self, top: &NodeRef) -> Option<Payload> {
        let mut first = None;
        if self.has_merged {
            put_in_order(&mut self.fires);
        }
        for node in self.fires_top.then_some(top).into_iter().chain(&self.fires) {
            node.tell(&mut first);
            if let (true, Some(deadline)) = (node.owns_deadline, &node.deadline) {
                deadline.disarm();
                if deadline.was_read() {
                    node.tell_all(&mut first);
                }
            }
        }
        first
    }
}

/// Puts each node behind all that it is below, also where merges make a longer way down to it than the one on which it was found
/// (C6): by the length of the longest. Nodes of one length stay as they are.
fn put_in_order(nodes: &mut [NodeRef]) {
    let mut lengths: HashMap<*const Node, usize> = HashMap::new();
    for node in nodes.iter() {
        // Not by recursion (C7): a node stays on the path until its parents are known.
        let mut path: Vec<&Node> = vec![node];
        while let Some(&at) = path.last() {
            let known = path.len();
            let mut longest = 0;
            for parent in [at.parent(), at.other_parent()].into_iter().flatten() {
                match lengths.get(&ptr::from_ref(parent)) {
                    Some(&length) => longest = longest.max(length),
                    None => path.push(parent),
                }
            }
            if path.len() == known {
                lengths.insert(ptr::from_ref(at), longest + 1);
                path.pop();
            }
        }
    }
    nodes.sort_by_key(|node| lengths.get(&ptr::from_ref::<Node>(node)).copied());
}

impl NodeRef {
    /// Has the member of this node end, if it is one's; wakes and calls those who wait at it, and keeps the first panic.
    fn tell(&self, first: &mut Option<Payload>) {
        self.stop();
        while let Some(waiter) = take_waiter(&**self) {
            if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(|| waiter.tell())) {
                match first {
                    None => *first = Some(payload),
                    Some(_) => discard(payload),
                }
            }
        }
    }
}

impl Node {
    /// Whether somebody is to know of this node's end.
    fn has_to_tell(&self, listeners: &Listeners) -> bool {
        !listeners.waiters.is_empty() || self.owns_deadline || self.kind == Kind::Generator
    }

    /// Whether nothing but its parents could end this node, and none of them can.
    pub(super) fn has_no_ender(&self) -> bool {
        // Acquire: pairs with the Release in `CancellerRef::drop`.
        self.counts.load(Ordering::Acquire) < CANCELLER
            && !self.owns_deadline
            && self.kind != Kind::Generator
            && matches!(self.extra.as_deref(), None | Some(Extra::Merged(_) | Extra::Relay(_)))
            && [self.parent(), self.other_parent()].into_iter().flatten().all(Self::is_inert)
    }

    /// Under the lock, so that a parent that becomes inert and a child that loses its own ender cannot both miss the other.
    pub(super) fn is_inert(&self) -> bool {
        let _listeners = self.lock();
        self.inert.load(Ordering::Relaxed)
    }
}
