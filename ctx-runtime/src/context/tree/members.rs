//! The generators in the tree: which are alive, where each is found, and whose body this thread polls.

use super::marking::resolve;
use super::refs::{NodeRef, try_ref};
use super::waiting::{Queue, Waiter, take_waiter};
use super::{Extra, Node};
use crate::context::list::List;
use crate::context::lock::Lock;
#[cfg(not(all(test, loom)))]
use crate::loom::Mutex;
use crate::loom::atomic::{AtomicBool, Ordering};
use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashSet;
use std::ptr::{self, NonNull};

/// What a report says of a generator: kept in its node, for as long as anybody refers to it.
pub(crate) struct Member {
    pub(crate) name: Cow<'static, str>,
    /// The body is gone, clean-up included.
    ended: AtomicBool,
    /// Those who wait for that.
    waiters: Lock<List<Waiter>>,
}

impl Member {
    pub(crate) fn new(name: Cow<'static, str>) -> Self {
        Self { name, ended: AtomicBool::new(false), waiters: Lock::new(List::new()) }
    }

    pub(crate) fn set_ended(&self) {
        // Release: pairs with the Acquire in `is_alive`, so that who misses it in a report sees what it did.
        self.ended.store(true, Ordering::Release);
        while let Some(waiter) = take_waiter(self) {
            // A waker that panics was reported by the panic hook, and must not keep the others from waking.
            super::quietly(|| waiter.tell());
        }
    }

    pub(crate) fn is_alive(&self) -> bool {
        !self.ended.load(Ordering::Acquire)
    }
}

/// The end of a generator.
impl Queue for Member {
    fn is_over(&self) -> bool {
        !self.is_alive()
    }

    fn locked<R>(&self, act: impl FnOnce(&mut List<Waiter>) -> R) -> R {
        act(&mut self.waiters.lock())
    }
}

/// The generators' roots, for the report of the whole process. Sharded, so that starts do not meet.
#[cfg(not(all(test, loom)))]
static ROOTS: [Mutex<List<Node>>; 16] = [const { Mutex::new(List::new()) }; 16];

thread_local! {
    /// The generator whose body this thread polls.
    static WITHIN: Cell<Option<NonNull<Node>>> = const { Cell::new(None) };
}

/// How far a walk down a list of children has come.
struct Place {
    element: NonNull<Node>,
    /// What the element stands for, so that it stays in the list: a child leaves when its last reference is gone (invariant 3),
    /// and takes its relay out then (invariant 7).
    _keep: NodeRef,
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

/// Whether this thread polls the body of a generator at or below `node`.
pub(super) fn is_within_below(node: &Node) -> bool {
    with_current(|current| current.is_some_and(|current| current.is_below(node)))
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
        let mut at = self.0;
        loop {
            // SAFETY: this node, or an ancestor that it keeps alive.
            let node = unsafe { at.as_ref() };
            // Acquire: pairs with the Release below; a registered node's root is in the list.
            if node.registered.load(Ordering::Acquire) {
                break;
            }
            let Some(parent) = node.parent else {
                #[cfg(not(all(test, loom)))]
                {
                    let mut roots = shard(at).lock();
                    if !node.registered.load(Ordering::Relaxed) {
                        // SAFETY: alive, without a parent, so in no list; `free` takes it out.
                        unsafe { roots.push_back(at) };
                        node.registered.store(true, Ordering::Release);
                    }
                }
                break;
            };
            at = parent;
        }
        // So that the next start from here has not far to go.
        let mut node: &Node = self;
        while let Some(parent) = node.parent() {
            if node.registered.swap(true, Ordering::Release) {
                break;
            }
            node = parent;
        }
    }

    /// Everything at and below `tops`, from the top down, once.
    pub(super) fn descend(tops: Vec<NodeRef>) -> Vec<NodeRef> {
        let mut seen = HashSet::new();
        let mut order = tops;
        let mut at = 0;
        while at < order.len() {
            let node = NodeRef::clone(&order[at]);
            let mut place = None;
            loop {
                let batch = node.children_after(&mut place);
                let is_last = batch.is_empty();
                // Only a merged node is reached in two ways.
                order.extend(
                    batch.into_iter().filter(|child| child.other_parent().is_none() || seen.insert(child.0)),
                );
                if is_last {
                    break;
                }
            }
            at += 1;
        }
        order
    }

    /// Some of the children, from `place` on, which is moved forward; none if there are no more. So no list is held for
    /// longer than a number of entries takes, however long it is.
    fn children_after(&self, place: &mut Option<Place>) -> Vec<NodeRef> {
        const BATCH: usize = 64;

        let mut batch = Vec::new();
        let mut last = None;
        let listeners = self.lock();
        // SAFETY: `place` keeps its element in the list of this node.
        let children = unsafe { listeners.children.iter_after(place.as_ref().map(|place| place.element)) };
        for element in children {
            // SAFETY: in the list whose lock is held.
            let child = unsafe { resolve(element) };
            // SAFETY: as above. One that is dying is passed over.
            let Some(child) = (unsafe { try_ref(child) }) else { continue };
            last = Some(element);
            batch.push(child);
            if batch.len() == BATCH {
                break;
            }
        }
        drop(listeners);
        // Outside the lock, which the last reference takes: the old place goes.
        *place = last.zip(batch.last().cloned()).map(|(element, keep)| Place { element, _keep: keep });
        batch
    }

    /// The members alive below `tops` and at them.
    pub(crate) fn members(tops: Vec<NodeRef>) -> Vec<NodeRef> {
        let mut members = Self::descend(tops);
        members.retain(|node| node.member().is_some_and(Member::is_alive));
        members
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
