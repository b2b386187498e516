//! The generators in the tree: which are alive, where each is found, and whose body this thread polls.

use super::marking::resolve;
use super::refs::{NodeRef, try_ref};
use super::{Extra, Node};
#[cfg(not(all(test, loom)))]
use crate::context::list::List;
use crate::loom::Mutex;
use crate::loom::atomic::{AtomicBool, Ordering};
use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashSet;
use std::mem;
use std::ptr::{self, NonNull};
use std::task::{self, Poll, Waker};

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
            super::quietly(|| waker.wake());
        }
    }

    pub(crate) fn is_alive(&self) -> bool {
        !self.ended.load(Ordering::Acquire)
    }

    fn poll_ended(&self, cx: &task::Context<'_>) -> Poll<()> {
        if self.is_alive() {
            let waker = cx.waker().clone();
            let mut waiting = self.waiting.lock();
            let surplus = if waiting.iter().any(|other| other.will_wake(&waker)) {
                Some(waker)
            } else {
                waiting.push(waker);
                None
            };
            drop(waiting);
            drop(surplus);
        }
        // Again: an end that came after the look above did not know of this waker.
        if self.is_alive() { Poll::Pending } else { Poll::Ready(()) }
    }
}

/// The generators' roots, for the report of the whole process. Sharded, so that starts do not meet.
#[cfg(not(all(test, loom)))]
static ROOTS: [Mutex<List<Node>>; 16] = [const { Mutex::new(List::new()) }; 16];

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

#[cfg(not(all(test, loom)))]
pub(super) fn shard(node: NonNull<Node>) -> &'static Mutex<List<Node>> {
    // The lowest bits are the same for all allocations of this size.
    &ROOTS[(node.as_ptr().addr() >> 7) % ROOTS.len()]
}

impl Node {
    pub(crate) fn member(&self) -> Option<&Member> {
        match self.extra.as_deref() {
            Some(Extra::Member(member)) => Some(member),
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
}

impl NodeRef {
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
    pub(super) fn descend(tops: Vec<NodeRef>) -> Vec<NodeRef> {
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
}
