//! The generators and tasks in the tree: which are alive, where each is found, and whose body this thread polls.

use super::inline::{InlineMember, innermost_inline};
use super::marking::resolve;
use super::refs::{NodeRef, try_ref};
use super::waiting::{Queue, Waiter, take_waiter};
use super::{Kind, Node, Own};
use crate::context::list::List;
use crate::context::lock::Lock;
#[cfg(not(all(test, loom)))]
use crate::loom::Mutex;
use crate::loom::atomic::{AtomicBool, Ordering};
use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashSet;
use std::panic::Location;
use std::ptr::{self, NonNull};
use std::task::{self, Poll};

/// The head of a generator's or a task's allocation: its node, and what the tree and a report want of it.
///
/// The first field of what it is the head of, which is `repr(C)` too: so a pointer to the node is one to the whole.
#[repr(C)]
pub(crate) struct Member {
    node: Node,
    pub(crate) hooks: &'static Hooks,
    pub(crate) name: Cow<'static, str>,
    /// The body is gone, clean-up included.
    ended: AtomicBool,
    /// Those who wait for that.
    waiters: Lock<List<Waiter>>,
}

/// What a member's allocation can be asked, whatever its body and its items are. The tree
/// asks `stop` and `free`; the rest is the engine's, of generators.
///
/// Each is given the pointer that the node was listed with, of an allocation that these hooks are for and that is alive; all
/// but `free` while somebody who is counted has them called. `poll` and `drop_body` want the body to be there and the caller to have it
/// to itself; what else is asked for stands where they are written.
pub(crate) struct Hooks {
    /// Its node is done, and all below is marked: it is to end. Called when nothing is locked, as a waiter is woken; perhaps more
    /// than once.
    pub(crate) stop: unsafe fn(NonNull<Member>),
    /// Polls the body.
    pub(crate) poll: unsafe fn(NonNull<Member>, &mut task::Context<'_>) -> Poll<()>,
    /// Drops the body in its place.
    pub(crate) drop_body: unsafe fn(NonNull<Member>),
    /// Whether what is polled just now is in a section that the end waits for. Asked by the thread that polls the body.
    pub(crate) is_shielded: unsafe fn(NonNull<Member>) -> bool,
    /// Makes ready for the poll of a body that has ended and is in such a section: nothing is asked for any more, and what waits
    /// for that, where the poll alone would not reach it, is woken. Wants what `poll` does.
    pub(crate) rouse: unsafe fn(NonNull<Member>),
    /// Drops what is left when the body is gone; the items, too, if nobody takes them any more.
    pub(crate) clear: unsafe fn(NonNull<Member>, bool),
    /// The last reference is gone: drops what is left and frees the allocation.
    pub(crate) free: unsafe fn(NonNull<Member>),
}

impl Hooks {
    /// Those of a task: it polls and drops its future itself, and waits for its node's end as others do.
    pub(super) const fn of_task(free: unsafe fn(NonNull<Member>)) -> Self {
        Self {
            stop: |_| (),
            poll: |_, _| Poll::Pending,
            drop_body: |_| (),
            clear: |_, _| (),
            is_shielded: |_| false,
            rouse: |_| (),
            free,
        }
    }
}

impl Member {
    /// A generator's that nobody has seen yet. It is put at the head of its allocation, then [`list`](Self::list)ed.
    #[inline]
    pub(crate) fn unlisted(
        parent: Option<&NodeRef>,
        hooks: &'static Hooks,
        name: Cow<'static, str>,
        made: &'static Location<'static>,
    ) -> Self {
        Self::of(Kind::Generator, parent, hooks, name, made)
    }

    /// A task's, likewise.
    #[inline]
    pub(super) fn of_task(
        parent: Option<&NodeRef>,
        hooks: &'static Hooks,
        made: &'static Location<'static>,
    ) -> Self {
        Self::of(Kind::Task, parent, hooks, Cow::Borrowed("task"), made)
    }

    #[inline]
    fn of(
        kind: Kind,
        parent: Option<&NodeRef>,
        hooks: &'static Hooks,
        name: Cow<'static, str>,
        made: &'static Location<'static>,
    ) -> Self {
        Self {
            node: Node::unlisted(kind, parent, Own::Nothing, made),
            hooks,
            name,
            ended: AtomicBool::new(false),
            waiters: Lock::new(List::new()),
        }
    }

    /// Gives it its place in the tree, from where it may be cancelled and listed from now on. Sees to it that a deadline ends it.
    ///
    /// # Safety
    ///
    /// It was made by [`unlisted`](Self::unlisted) or [`of_task`](Self::of_task) with this parent, is the head of an allocation that its hooks are for and that
    /// the pointer is good for, and nobody has seen it.
    #[inline]
    pub(crate) unsafe fn list(this: NonNull<Self>, parent: Option<&NodeRef>) -> NodeRef {
        // SAFETY: by the caller's word; the node is the first field, so the pointer is one to it.
        let node = unsafe { NodeRef::list(this.cast(), parent) };
        node.register();
        match &node.deadline {
            Some(deadline) if !node.is_done() => deadline.arm(),
            _ => {}
        }
        node
    }

    pub(crate) fn set_ended(&self) {
        self.mark_ended();
        self.tell_ended();
    }

    /// From now on it is not alive. Whoever waits for that is yet to be [told](Self::tell_ended).
    pub(crate) fn mark_ended(&self) {
        // Release: pairs with the Acquire in `is_alive`, so that who misses it in a report sees what it did.
        self.ended.store(true, Ordering::Release);
    }

    pub(crate) fn tell_ended(&self) {
        while let Some(waiter) = take_waiter(self) {
            // A waker that panics was reported by the panic hook, and must not keep the others from waking.
            super::quietly(|| waiter.tell());
        }
    }

    /// Whether an end was published. The clock is not asked.
    #[inline]
    pub(crate) fn has_end(&self) -> bool {
        self.node.end.is_set()
    }

    pub(crate) fn is_alive(&self) -> bool {
        !self.ended.load(Ordering::Acquire)
    }
}

/// What the node is the head of, if it is a generator's or a task's.
///
/// # Safety
///
/// The node is alive for as long as the result is used, and the pointer is the one that it was listed with.
pub(super) unsafe fn member<'a>(node: NonNull<Node>) -> Option<&'a Member> {
    // SAFETY: by the caller's word.
    let is_member = unsafe { node.as_ref() }.kind.is_member();
    // SAFETY: the node of such a kind is made by `Member::of` only, and is the first field; the rest by the caller's word.
    is_member.then(|| unsafe { node.cast().as_ref() })
}

/// Frees a node's allocation, and drops what is in it.
///
/// # Safety
///
/// Nobody can find the node any more, and nobody refers to it. The pointer is the one that it was listed with.
pub(super) unsafe fn deallocate(node: NonNull<Node>) {
    // SAFETY: alive until it is freed below; of the member nothing is kept but the hook.
    match unsafe { member(node) }.map(|member| member.hooks.free) {
        // SAFETY: by the caller's word; the hook is for this allocation.
        Some(free) => unsafe { free(node.cast()) },
        // SAFETY: made by `Box::leak` in `NodeRef::new` or `NodeRef::merged`.
        None => drop(unsafe { Box::from_raw(node.as_ptr()) }),
    }
}

/// The end of a generator or a task.
// SAFETY: behind a lock of its own.
unsafe impl Queue for Member {
    fn is_over(&self) -> bool {
        !self.is_alive()
    }

    fn locked<R>(&self, act: impl FnOnce(&mut List<Waiter>) -> R) -> R {
        act(&mut self.waiters.lock())
    }
}

/// The members' roots, for the report of the whole process. Sharded, so that starts do not meet.
#[cfg(not(all(test, loom)))]
static ROOTS: [Mutex<List<Node>>; 16] = [const { Mutex::new(List::new()) }; 16];

/// The bodies and tasks that a thread polls, each within the one before.
#[derive(Clone, Copy)]
struct Polled {
    innermost: Option<NonNull<Member>>,
    /// How many of them are bodies.
    depth: usize,
}

/// What a thread polls.
pub(super) struct ThisThread {
    /// With a task.
    polled: Cell<Polled>,
    /// The innermost inline generator, or null. Here, as it is looked at together with the other.
    pub(super) inline: Cell<*const InlineMember>,
}

impl ThisThread {
    const fn new() -> Self {
        Self { polled: Cell::new(Polled { innermost: None, depth: 0 }), inline: Cell::new(ptr::null()) }
    }

    /// The innermost generator with a task, or the task.
    #[inline]
    pub(super) fn innermost(&self) -> Option<NonNull<Member>> {
        self.polled.get().innermost
    }
}

#[cfg(not(all(test, loom)))]
thread_local! {
    pub(super) static THIS_THREAD: ThisThread = const { ThisThread::new() };
}

#[cfg(all(test, loom))]
loom::thread_local! {
    pub(super) static THIS_THREAD: ThisThread = ThisThread::new();
}

/// The node of a generator of which this thread polls a clean-up, and whose body it polled when it began to, if anybody's.
type CleanedUp = (NonNull<Node>, Option<NonNull<Member>>);

thread_local! {
    /// The innermost.
    static CLEANED_UP: Cell<Option<CleanedUp>> = const { Cell::new(None) };
}

/// How far a walk down a list of children has come.
struct Place {
    element: NonNull<Node>,
    /// What the element stands for, so that it stays in the list: a child leaves when its last reference is gone (invariant 3),
    /// and takes its relay out then (invariant 7).
    _keep: NodeRef,
}

/// While it exists, this thread polls the body of a generator, or a task. It holds what it polled before.
pub(crate) struct Within(Polled);

impl Within {
    /// # Safety
    ///
    /// The generator's allocation outlives what is returned, which is dropped and not forgotten, the last one first.
    #[inline]
    pub(crate) unsafe fn enter(member: NonNull<Member>) -> Self {
        let before = THIS_THREAD.with(|thread| thread.polled.get());
        THIS_THREAD
            .with(|thread| thread.polled.set(Polled { innermost: Some(member), depth: before.depth + 1 }));
        Self(before)
    }

    /// Has `act` poll a task, or drop its future. That is at the bottom of a stack, or where one blocks: not a level of the depth.
    pub(super) fn task<R>(member: &Member, act: impl FnOnce() -> R) -> R {
        let before = THIS_THREAD.with(|thread| thread.polled.get());
        THIS_THREAD
            .with(|thread| thread.polled.set(Polled { innermost: Some(NonNull::from(member)), ..before }));
        // The member is borrowed until `act` has returned or unwound, and then this is dropped.
        let _within = Self(before);
        act()
    }

    /// How many bodies this thread polls, each within the one before.
    #[inline]
    pub(crate) fn depth() -> usize {
        THIS_THREAD.with(|thread| thread.polled.get()).depth
    }
}

impl Drop for Within {
    #[inline]
    fn drop(&mut self) {
        THIS_THREAD.with(|thread| thread.polled.set(self.0));
    }
}

#[cfg(not(all(test, loom)))]
thread_local! {
    /// The generator whose body has this thread for itself.
    static OWNER: Cell<Option<NonNull<Member>>> = const { Cell::new(None) };
}

#[cfg(all(test, loom))]
loom::thread_local! {
    static OWNER: Cell<Option<NonNull<Member>>> = Cell::new(None);
}

/// While it exists, this thread is that of a generator's body, which is not polled but runs.
pub(crate) struct OnThread(());

impl OnThread {
    /// # Safety
    ///
    /// As [`Within::enter`].
    pub(crate) unsafe fn enter(member: NonNull<Member>) -> Self {
        OWNER.with(|owner| owner.set(Some(member)));
        Self(())
    }
}

impl Drop for OnThread {
    fn drop(&mut self) {
        OWNER.with(|owner| owner.set(None));
    }
}

/// The generator whose body blocks this thread just now. What runs on it in a task, of a runtime that the body drives, does
/// not: the body may go on before that task does.
fn blocked() -> Option<NonNull<Member>> {
    OWNER.with(Cell::get).filter(|_| tokio::task::try_id().is_none())
}

/// Polls a clean-up of the generator whose node it is, within `poll`.
pub(crate) fn cleaning_up<R>(generator: &NodeRef, poll: impl FnOnce() -> R) -> R {
    /// Puts back what was there, also when the poll unwinds.
    struct Leave(Option<CleanedUp>);

    impl Drop for Leave {
        fn drop(&mut self) {
            CLEANED_UP.set(self.0);
        }
    }

    let _leave = Leave(CLEANED_UP.replace(Some((generator.0, current()))));
    poll()
}

/// The generator whose body this thread polls, of either kind, or the task. It is alive for as long as that poll takes.
fn current() -> Option<NonNull<Member>> {
    THIS_THREAD.with(|thread| innermost_inline(thread).or(thread.innermost()))
}

/// Whether this thread polls the body of this very generator.
#[inline]
pub(crate) fn is_within(member: NonNull<Member>) -> bool {
    THIS_THREAD.with(|thread| thread.polled.get()).innermost == Some(member)
}

/// Whether this thread polls the body, or a clean-up, of a generator at or below `top`, or a task there, or is blocked by such a body.
pub(super) fn is_within_below(top: &Node) -> bool {
    let body = current();
    // A body that is polled within the clean-up is the innermost.
    let clean_up = CLEANED_UP.get().filter(|&(_, around)| around == body).map(|(node, _)| node);
    let polled = clean_up.or(body.map(NonNull::cast));
    let blocked = blocked().map(NonNull::cast);
    // SAFETY: the node is the first field. Alive while it is polled, or runs, which is for longer than this takes.
    let is_below = |node: NonNull<Node>| unsafe { node.as_ref() }.is_below(top);
    polled.is_some_and(is_below) || blocked.is_some_and(is_below)
}

/// Whether this thread polls a task that has been stopped, or the body of a generator that has been, and not a section of it that the end waits for.
pub(crate) fn is_within_stopped() -> bool {
    current().is_some_and(|current| {
        // SAFETY: alive while it is polled, which is for longer than this takes.
        let member = unsafe { current.as_ref() };
        // SAFETY: as above, and this thread polls its body; the hook is for this allocation.
        member.node.is_done() && !unsafe { (member.hooks.is_shielded)(current) }
    })
}

#[cfg(not(all(test, loom)))]
pub(super) fn shard(node: NonNull<Node>) -> &'static Mutex<List<Node>> {
    // The lowest bits are the same for all allocations of this size.
    &ROOTS[(node.as_ptr().addr() >> 7) % ROOTS.len()]
}

impl Node {
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
    pub(crate) fn member(&self) -> Option<&Member> {
        // SAFETY: a reference keeps it alive, and has the pointer.
        unsafe { member(self.0) }
    }

    /// The pointer, good for all of the allocation that the node is in.
    pub(crate) fn as_ptr(&self) -> NonNull<Node> {
        self.0
    }

    /// Whether an end was published. The clock is not asked.
    #[inline]
    pub(crate) fn has_end(&self) -> bool {
        self.end.is_set()
    }

    /// Has the member, if it is one's node, see that it is done.
    pub(super) fn stop(&self) {
        if let Some(member) = self.member() {
            // SAFETY: alive, by this reference; the hook is for this allocation.
            unsafe { (member.hooks.stop)(self.0.cast()) };
        }
    }

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
            if order[at].lock().children.is_empty() {
                at += 1;
                continue;
            }
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
        // SAFETY: `place`, if there is one, was set here, and keeps its element in the list of this node.
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

    /// Whether this is a generator or task that has ended, with nothing below it.
    pub(super) fn has_ended_alone(&self) -> bool {
        self.member().is_some_and(|member| !member.is_alive()) && self.lock().children.is_empty()
    }

    /// The generators and tasks alive below `tops` and at them.
    pub(crate) fn members(tops: Vec<NodeRef>) -> Vec<NodeRef> {
        let mut members = Self::descend(tops);
        members.retain(|node| node.member().is_some_and(Member::is_alive));
        members
    }

    /// The generators among them.
    pub(crate) fn generators(tops: Vec<NodeRef>) -> Vec<NodeRef> {
        let mut generators = Self::members(tops);
        generators.retain(|node| node.kind == Kind::Generator);
        generators
    }

    /// The roots that a generator or a task was started below.
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
