//! The one allocation of a generator: what is in it, who refers to it, and the waker that it is itself.

use super::Plan;
use super::branches::Branches;
use super::clean_up::CleanUps;
use super::keeper::Keeper;
use super::ring::Ring;
use super::state::{CALLED, DRIVER, ENDED, NOTIFIED, ORPHANED, RUNNING, State, YIELDER};
use crate::context::Lock;
use crate::context::{Hooks, Member, Node, NodeRef, Payload, Within, discard, is_within, quietly};
use crate::generator::end::End;
use crate::generator::rounds::Rounds;
use crate::loom::UnsafeCell;
use crate::loom::atomic::{AtomicU32, Ordering};
use std::alloc::{self, Layout};
use std::future::Future;
use std::marker::PhantomData;
use std::mem::{self, ManuallyDrop, MaybeUninit};
use std::ops::Deref;
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::task::{self, Poll, RawWaker, RawWakerVTable, Waker};
use std::time::Duration;
use tokio::runtime::Handle;

/// What a generator has, whatever its body and its items are.
#[repr(C)]
pub(super) struct Head {
    /// First, so that a pointer to the node is one to the whole block.
    pub(super) member: Member,
    pub(super) state: State,
    /// The block has a ring.
    pub(super) is_buffered: bool,
    /// The body runs on a thread of its own, which has RUNNING for as long as it lives.
    pub(super) runs: Runs,
    /// Nothing of it need be `Send`: body and clean-ups stay on the thread that has made it, and the driver does.
    pub(super) is_local: bool,
    /// Where the body belongs.
    pub(super) runtime: Handle,
    /// How long clean-ups may take, from the body's end.
    pub(super) grace: Duration,
    /// Who spawns a driver when there is need of one; none if there has been one from the start.
    pub(super) keeper: Option<Arc<Keeper>>,
    /// Written before DRIVER is set, read after, dropped with the block.
    driver: UnsafeCell<Option<Waker>>,
    /// The consumer's, while it waits. Taken by whoever has something to tell it; replaced by the consumer.
    consumer: Lock<Option<Waker>>,
    /// Written before ENDED is set, read after.
    end: UnsafeCell<Option<End>>,
    /// Sections that the end waits for: begun, and not over.
    pub(super) shields: AtomicU32,
    /// Of the body's loops.
    pub(super) rounds: Rounds,
    /// What is to run when the body is gone.
    pub(super) clean_ups: Lock<Option<Box<CleanUps>>>,
    /// What whoever has RUNNING has to itself.
    pub(super) turn: UnsafeCell<Turn>,
    /// Stands for the body, of which only its functions know the type: whoever reaches for that reaches into this, where loom sees it.
    pub(super) body: UnsafeCell<()>,
}

/// What runs a body.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Runs {
    /// Whoever takes RUNNING.
    Polled,
    /// A thread, which has RUNNING for life, and waits only while the ring is full.
    Ahead,
    /// Such a thread that waits until it is asked, too. Its ring has one place.
    Asked,
}

/// What goes with RUNNING.
#[allow(clippy::struct_excessive_bools, reason = "none of them says anything of another")]
pub(super) struct Turn {
    /// How many items were accepted, in all; it wraps. With a ring, how much of the budget they were worth: one for which another was
    /// dropped counts for several.
    pub(super) accepted: u32,
    /// What the slot is for just now; without a ring.
    pub(super) slot: Slot,
    /// An item was put into the ring since RUNNING was taken.
    pub(super) has_put: bool,
    /// More than one yield waits, or one with a waker that is not the body's: they are in `branches`.
    pub(super) branched: bool,
    /// Something has cloned the body's waker during a poll: it may wait for it.
    pub(super) waker_taken: bool,
    /// How many shields are polled just now, each within the one before.
    pub(super) within_shields: u32,
    /// The consumer polls the body, to get an item.
    pub(super) is_helped: bool,
}

impl Turn {
    /// Whether there is an item that the consumer, if it waits, is to be told of. In a ring, that it is told of once.
    pub(super) fn announce(&mut self, is_buffered: bool) -> bool {
        if is_buffered { mem::replace(&mut self.has_put, false) } else { self.slot == Slot::Full }
    }

    /// A request comes, unless there is an item for it already. Returns what the slot was before.
    #[inline]
    pub(super) fn ask(&mut self) -> Slot {
        let before = self.slot;
        if before != Slot::Full {
            self.slot = Slot::Wanted;
        }
        before
    }

    /// Nothing is asked for any more: a yield beside the section that the end waits for is not to go on with a request that it finds.
    fn withdraw(&mut self) {
        if self.slot == Slot::Wanted {
            self.slot = Slot::Idle;
        }
    }
}

/// The slot without a buffer. A request stands until its item is there, also when nobody waits for it any more (G3).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    /// Its last item was taken, and no other is asked for.
    Idle,
    /// An item is asked for.
    Wanted,
    /// There is an item.
    Full,
}

/// A block without its body: what both ends see of it.
#[repr(C)]
pub(super) struct Shared<T> {
    pub(super) head: Head,
    /// Without a ring, the item that was accepted and not yet taken, if `Slot::Full`. Goes with RUNNING; after the end it is the
    /// consumer's.
    slot: UnsafeCell<MaybeUninit<T>>,
    /// In its place, with a buffer.
    pub(super) ring: Option<Box<Ring<T>>>,
    pub(super) branches: Lock<Option<Box<Branches>>>,
}

/// What is allocated. Nobody refers to it as a whole: a reference is to what is shared, and the body, behind that, is reached for by
/// its address.
#[repr(C)]
pub(super) struct Block<T, F> {
    shared: Shared<T>,
    /// Written once, polled by whoever has RUNNING, and dropped in its place before the end is published.
    body: MaybeUninit<F>,
}

/// What there is to know of a block whose body is of some type: all else is compiled once for all bodies.
pub(super) struct Form<T> {
    hooks: &'static Hooks,
    layout: Layout,
    _items: PhantomData<fn(T)>,
}

// SAFETY: what is not atomic or behind a lock goes with a bit of the state word, which one thread has at a time; what is in there
// is `Send`, or stays on one thread: the body, by the word of who allocates; the clean-ups, by the word of who makes them.
unsafe impl Send for Head {}
// SAFETY: as above.
unsafe impl Sync for Head {}
// SAFETY: as above, and the items are `Send`.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

/// A counted reference to a block with items of type `T`.
pub(super) struct SharedRef<T>(NodeRef, Items<T>);

/// Sends and shares items, as a lock around them would.
pub(super) type Items<T> = PhantomData<std::sync::Mutex<T>>;

impl<T: 'static, F> Block<T, F>
where
    F: Future<Output = ()>,
{
    const LAYOUT: Layout = Layout::new::<Self>();

    pub(super) const FORM: &'static Form<T> = &Form {
        hooks: &Hooks {
            stop,
            poll: Self::poll,
            drop_body: Self::drop_body,
            is_shielded,
            rouse: Shared::<T>::rouse,
            clear: Shared::<T>::clear,
            free: Self::free,
        },
        layout: Self::LAYOUT,
        _items: PhantomData,
    };

    /// Where the body of a block is.
    ///
    /// # Safety
    ///
    /// `this` is a block of this type, alive, by a pointer that is good for all of it.
    #[allow(clippy::ptr_as_ptr, reason = "a `cast` would be compiled for each body")]
    unsafe fn body(this: NonNull<Member>) -> *mut F {
        // SAFETY: by the caller's word it is there, within the block.
        unsafe { this.as_ptr().byte_add(mem::offset_of!(Self, body)) as *mut F }
    }

    /// # Safety
    ///
    /// As `body`; the caller has RUNNING, and the body is there.
    unsafe fn poll(this: NonNull<Member>, cx: &mut task::Context<'_>) -> Poll<()> {
        // SAFETY: by the caller's word.
        let body = unsafe { Self::body(this) };
        // SAFETY: by the caller's word it is there, and nobody else borrows it.
        let body = unsafe { &mut *body };
        // SAFETY: it stays where it is until it is dropped there.
        unsafe { Pin::new_unchecked(body) }.poll(cx)
    }

    /// # Safety
    ///
    /// As `poll`; the body is not used any more.
    unsafe fn drop_body(this: NonNull<Member>) {
        // SAFETY: by the caller's word.
        let body = unsafe { Self::body(this) };
        // SAFETY: it is there, by the caller's word.
        unsafe { ptr::drop_in_place(body) };
    }

    /// # Safety
    ///
    /// `this` is a block of this type whose body is gone, or was never there, and to which nobody refers.
    unsafe fn free(this: NonNull<Member>) {
        // SAFETY: by the caller's word; it was allocated with this layout.
        unsafe { free::<T>(this, Self::LAYOUT) };
    }
}

/// # Safety
///
/// `this` is a block, alive.
unsafe fn stop(this: NonNull<Member>) {
    // SAFETY: by the caller's word. Not counted here, so it is not dropped.
    let node = ManuallyDrop::new(unsafe { NodeRef::from_raw(this.cast()) });
    notify(&node);
}

/// # Safety
///
/// As `stop`; this thread polls the body.
unsafe fn is_shielded(this: NonNull<Member>) -> bool {
    // SAFETY: by the caller's word.
    let head = unsafe { this.cast::<Head>().as_ref() };
    // SAFETY: this thread polls the body, so it has RUNNING.
    unsafe { head.with_turn(|turn| turn.within_shields) > 0 }
}

/// # Safety
///
/// `this` is a block with items of type `T`, allocated with this layout, whose body is gone, or was never there, and to which nobody refers.
unsafe fn free<T>(this: NonNull<Member>, layout: Layout) {
    debug_assert!(
        // SAFETY: by the caller's word.
        unsafe { this.cast::<Head>().as_ref() }.state.peek() & ENDED != 0,
        "its body was dropped where it belongs"
    );
    // SAFETY: by the caller's word.
    unsafe { ptr::drop_in_place(this.cast::<Shared<T>>().as_ptr()) };
    // SAFETY: allocated by `allocate`, with this layout.
    unsafe { alloc::dealloc(this.as_ptr().cast(), layout) };
}

impl<T> Shared<T> {
    /// # Safety
    ///
    /// As [`stop`], with items of type `T`; the caller has RUNNING.
    unsafe fn rouse(this: NonNull<Member>) {
        // SAFETY: by the caller's word.
        let shared = unsafe { this.cast::<Self>().as_ref() };
        // SAFETY: RUNNING.
        unsafe { shared.head.with_turn(Turn::withdraw) };
        shared.rouse_branches();
    }

    /// # Safety
    ///
    /// As [`stop`], with items of type `T`; there is an end, and, for `items`, the consumer is gone for good.
    unsafe fn clear(this: NonNull<Member>, items: bool) {
        // SAFETY: by the caller's word.
        let shared = unsafe { this.cast::<Self>().as_ref() };
        // Those wakers were anybody's.
        quietly(|| shared.clear_branches());
        if items {
            // SAFETY: by the caller's word.
            unsafe { shared.drop_left() };
        }
    }
}

/// Makes a block below `parent`, which has its place in the tree, and waits for its body to be [put](put) into it. The caller has RUNNING.
///
/// # Safety
///
/// If the plan is not local, the body is `Send`. If it is, nothing of it need be: it has no keeper, and its driver, its consumer, and a
/// [`LocalYielder`](super::LocalYielder) stay on this thread.
pub(super) unsafe fn allocate<T: 'static>(
    parent: Option<&NodeRef>,
    plan: Plan<T>,
    form: &Form<T>,
) -> SharedRef<T> {
    let &Form { hooks, layout, .. } = form;
    let Plan { runtime, name, made, ring, grace, runs, is_local, keeper } = plan;
    // A body with a buffer starts at once (G3).
    let due = if ring.is_some() { NOTIFIED } else { 0 };
    let called = if keeper.is_none() || runs != Runs::Polled { CALLED } else { 0 };
    let yielder = if is_local { YIELDER } else { 0 };
    // SAFETY: of a block, which is not empty.
    let room = unsafe { alloc::alloc(layout) };
    let Some(room) = NonNull::new(room) else { alloc::handle_alloc_error(layout) };
    let block = room.cast::<Shared<T>>();
    let shared = Shared {
        head: Head {
            member: Member::unlisted(parent, hooks, name, made),
            state: State::new(RUNNING | due | called | yielder),
            is_buffered: ring.is_some(),
            runs,
            is_local,
            runtime,
            keeper,
            driver: UnsafeCell::new(None),
            consumer: Lock::new(None),
            end: UnsafeCell::new(None),
            shields: AtomicU32::new(0),
            rounds: Rounds::default(),
            clean_ups: Lock::new(None),
            grace,
            turn: UnsafeCell::new(Turn {
                accepted: 0,
                slot: Slot::Idle,
                has_put: false,
                branched: false,
                waker_taken: false,
                within_shields: 0,
                is_helped: false,
            }),
            body: UnsafeCell::new(()),
        },
        slot: UnsafeCell::new(MaybeUninit::uninit()),
        ring,
        branches: Lock::new(None),
    };
    // SAFETY: just allocated, for a block, at whose head this is.
    unsafe { block.write(shared) };
    // SAFETY: unlisted, made with this parent, at the head of a block of the type that its hooks are for, and nobody has seen it.
    let node = unsafe { Member::list(block.cast(), parent) };
    SharedRef(node, PhantomData)
}

/// Puts the body into a block.
///
/// # Safety
///
/// The block was allocated for one of this type. The caller has RUNNING, which was not given back since.
pub(super) unsafe fn put<T: 'static, F>(block: &SharedRef<T>, body: F)
where
    F: Future<Output = ()>,
{
    block.head.reach_for_body();
    // SAFETY: by the caller's word.
    let place = unsafe { Block::<T, F>::body(Head::this(&block.0)) };
    // SAFETY: nobody else reaches for it without RUNNING, and there is none so far.
    unsafe { place.write(body) };
}

impl<T> Shared<T> {
    /// Takes an item that the generator has left at its end.
    ///
    /// # Safety
    ///
    /// There is an end, and the caller is the consumer, or has been left its items.
    pub(super) unsafe fn take_left(&self) -> Option<T> {
        match &self.ring {
            // SAFETY: by the caller's word.
            Some(ring) => unsafe { ring.pop() },
            // SAFETY: by the caller's word.
            None => unsafe { self.take() },
        }
    }

    /// Drops the items that are left, all of them: the last reference to the block may go on any thread. The first panic of theirs
    /// goes on.
    ///
    /// # Safety
    ///
    /// As [`take_left`](Self::take_left).
    pub(super) unsafe fn drop_left(&self) {
        let mut panicked: Option<Payload> = None;
        loop {
            // SAFETY: by the caller's word.
            let next = || unsafe { self.take_left() }.map(drop);
            match panic::catch_unwind(AssertUnwindSafe(next)) {
                Ok(Some(())) => {}
                Ok(None) => break,
                Err(payload) if panicked.is_some() => discard(payload),
                Err(payload) => panicked = Some(payload),
            }
        }
        if let Some(payload) = panicked {
            panic::resume_unwind(payload);
        }
    }

    /// Takes the item out of the slot.
    ///
    /// # Safety
    ///
    /// There is no ring. The caller has RUNNING, or may [`take_left`](Self::take_left).
    #[inline]
    pub(super) unsafe fn take(&self) -> Option<T> {
        // SAFETY: by the caller's word.
        let is_full = unsafe { self.head.with_turn(|turn| turn.slot == Slot::Full) };
        // SAFETY: there is an item.
        is_full.then(|| unsafe { self.take_full() })
    }

    /// Takes the item that is in the slot.
    ///
    /// # Safety
    ///
    /// As [`take`](Self::take), and the slot is full.
    #[inline]
    pub(super) unsafe fn take_full(&self) -> T {
        // SAFETY: by the caller's word.
        unsafe { self.head.with_turn(|turn| turn.slot = Slot::Idle) };
        // SAFETY: there is an item, and from now on it is not there any more.
        self.slot.with(|slot| unsafe { slot.cast::<T>().read() })
    }

    /// Puts an item into the slot.
    ///
    /// # Safety
    ///
    /// The caller has RUNNING, and the slot is not full; there is no ring.
    #[inline]
    pub(super) unsafe fn put(&self, item: T) {
        // SAFETY: by the caller's word.
        self.slot.with_mut(|slot| unsafe { slot.cast::<T>().write(item) });
        // SAFETY: by the caller's word.
        unsafe { self.head.with_turn(|turn| turn.slot = Slot::Full) };
    }
}

impl<T> Clone for SharedRef<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), PhantomData)
    }
}

impl<T> Shared<T> {
    /// The block that a node is the head of.
    ///
    /// # Safety
    ///
    /// It is the node of a generator with items of type `T`.
    #[inline]
    pub(super) unsafe fn of(node: &NodeRef) -> &Self {
        // SAFETY: a reference keeps the block alive; the type by the caller's word.
        unsafe { node.as_ptr().cast().as_ref() }
    }
}

impl<T> Deref for SharedRef<T> {
    type Target = Shared<T>;

    #[inline]
    fn deref(&self) -> &Shared<T> {
        // SAFETY: it has items of this type.
        unsafe { Shared::of(&self.0) }
    }
}

impl<T> SharedRef<T> {
    pub(super) fn into_node(self) -> NodeRef {
        self.0
    }

    pub(super) fn node(&self) -> &NodeRef {
        &self.0
    }
}

impl Head {
    /// Has loom see that the body is reached for.
    fn reach_for_body(&self) {
        self.body.with_mut(|_| ());
    }

    /// What a generator's node is the head of.
    ///
    /// # Safety
    ///
    /// It is the node of a generator.
    #[inline]
    pub(super) unsafe fn of(node: &NodeRef) -> &Self {
        debug_assert!(!node.is_task(), "a task has no such head");
        // SAFETY: a reference keeps the block alive; its kind by the caller's word.
        unsafe { node.as_ptr().cast().as_ref() }
    }

    /// The pointer that this was reached by, good for the whole block.
    #[inline]
    pub(super) fn this(node: &NodeRef) -> NonNull<Member> {
        node.as_ptr().cast()
    }

    /// Keeps the driver's waker.
    ///
    /// # Safety
    ///
    /// Called once, by the driver.
    pub(super) unsafe fn set_driver(&self, waker: &Waker) {
        let waker = waker.clone();
        // SAFETY: nobody looks before DRIVER is set.
        self.driver.with_mut(|driver| unsafe { *driver = Some(waker) });
        self.state.set(DRIVER);
    }

    /// Wakes the consumer, if its waker is still there.
    pub(super) fn wake_consumer(&self) {
        let waker = self.consumer.lock().take();
        // A waker that panics was reported by the panic hook, and must not cost an item or another its wake.
        if let Some(waker) = waker {
            quietly(|| waker.wake());
        }
    }

    /// Keeps the consumer's waker. Called by the consumer, which then sets WAITING.
    pub(super) fn set_consumer(&self, waker: &Waker) {
        // A waker's clone and drop are the executor's code: outside the lock.
        let waker = waker.clone();
        let replaced = self.consumer.lock().replace(waker);
        drop(replaced);
    }

    /// Forgets the consumer's waker.
    pub(super) fn clear_consumer(&self) {
        let replaced = self.consumer.lock().take();
        drop(replaced);
    }

    /// Whether the body is in a section that the end waits for.
    pub(super) fn is_shielded(&self) -> bool {
        // Acquire: pairs with the Release of a section that has ended, so that what it did comes before the end.
        self.shields.load(Ordering::Acquire) > 0
    }

    /// The end, if there is one.
    #[inline]
    pub(super) fn end(&self) -> Option<&End> {
        if self.state.load() & ENDED == 0 {
            return None;
        }
        // SAFETY: written before ENDED was set, and not after.
        self.end.with(|end| unsafe { (*end).as_ref() })
    }

    /// # Safety
    ///
    /// The caller has RUNNING, and there is no end yet.
    pub(super) unsafe fn set_end(&self, end: End) {
        // SAFETY: by the caller's word; nobody looks before ENDED is set.
        self.end.with_mut(|place| unsafe { *place = Some(end) });
    }

    /// # Safety
    ///
    /// The caller has RUNNING, or there is an end and the caller is the consumer or has been left its items; `act` runs nobody
    /// else's code.
    #[inline]
    pub(super) unsafe fn with_turn<R>(&self, act: impl FnOnce(&mut Turn) -> R) -> R {
        // SAFETY: by the caller's word.
        self.turn.with_mut(|turn| act(unsafe { &mut *turn }))
    }
}

/// Has the driver look, unless it will anyhow: because it was woken, or because whoever has RUNNING will see to it.
pub(super) fn notify(node: &NodeRef) {
    // SAFETY: the node of a generator.
    let head = unsafe { Head::of(node) };
    let before = head.state.set(NOTIFIED);
    // A thread of its own has RUNNING while it waits, too.
    let looks = if head.runs == Runs::Polled { NOTIFIED | RUNNING | ENDED } else { ENDED };
    if before & looks == 0 {
        // SAFETY: this was the state.
        unsafe { wake_driver(node, head, before) };
    }
}

/// Wakes the driver. One that has not been polled yet, which has no waker, looks when it is; where there is none, the keeper is
/// called.
///
/// # Safety
///
/// `state` was the state of this block.
pub(super) unsafe fn wake_driver(node: &NodeRef, head: &Head, state: usize) {
    if state & DRIVER != 0 {
        // SAFETY: written before DRIVER was set, and not after; and DRIVER was, by the caller's word.
        let driver = head.driver.with(|driver| unsafe { (*driver).as_ref() });
        // A waker of the runtime's own. It is not known to panic.
        driver.into_iter().for_each(Waker::wake_by_ref);
        return;
    }
    let Some(keeper) = &head.keeper else { return };
    if state & (CALLED | ORPHANED | ENDED) == 0 && head.state.set(CALLED) & CALLED == 0 {
        keeper.call(node.clone(), &head.runtime);
    }
}

/// Polls the body once. A panic of its is returned.
///
/// # Safety
///
/// The caller has RUNNING, and the body is there.
#[inline]
pub(super) unsafe fn poll_body(node: &NodeRef) -> Result<Poll<()>, Payload> {
    let this = Head::this(node);
    // SAFETY: the block is alive as long as the node is borrowed; not counted, so it is not dropped.
    let waker = ManuallyDrop::new(unsafe { Waker::from_raw(raw_waker(node.as_ptr())) });
    let mut cx = task::Context::from_waker(&waker);
    // SAFETY: as above, and it is dropped at the end of this function.
    let _within = unsafe { Within::enter(this) };
    // SAFETY: alive.
    let poll = unsafe { this.as_ref() }.hooks.poll;
    // SAFETY: the node of a generator.
    let body = unsafe { &Head::of(node).body };
    // SAFETY: by the caller's word.
    panic::catch_unwind(AssertUnwindSafe(|| body.with_mut(|_| unsafe { poll(this, &mut cx) })))
}

/// Whether a waker is the body's own: the block itself.
#[inline]
pub(super) fn is_own(this: NonNull<Member>, waker: &Waker) -> bool {
    ptr::eq(waker.data(), this.as_ptr().cast_const().cast()) && ptr::eq(waker.vtable(), &raw const VTABLE)
}

/// The waker of a body: a reference to its block.
static VTABLE: RawWakerVTable = RawWakerVTable::new(clone_waker, wake, wake_by_ref, drop_waker);

fn raw_waker(node: NonNull<Node>) -> RawWaker {
    RawWaker::new(node.as_ptr().cast_const().cast(), &VTABLE)
}

/// The reference that a waker is.
///
/// # Safety
///
/// `data` is of a waker with `VTABLE`.
unsafe fn node(data: *const ()) -> NodeRef {
    // SAFETY: a waker is made of the pointer of a node, which is not null.
    let node = unsafe { NonNull::new_unchecked(data.cast_mut().cast::<Node>()) };
    // SAFETY: the waker is counted, or its maker sees to it that the block is alive.
    unsafe { NodeRef::from_raw(node) }
}

/// # Safety
///
/// As [`node`].
unsafe fn clone_waker(data: *const ()) -> RawWaker {
    // SAFETY: the contract of a waker's functions. Not counted here, so it is not dropped.
    let this = ManuallyDrop::new(unsafe { node(data) });
    if is_within(Head::this(&this)) {
        // SAFETY: the node of a generator: a waker with `VTABLE` is made of no other.
        let head = unsafe { Head::of(&this) };
        // SAFETY: this thread polls its body, so it has RUNNING.
        unsafe { head.with_turn(|turn| turn.waker_taken = true) };
    }
    raw_waker(NodeRef::clone(&this).into_raw())
}

/// # Safety
///
/// As [`node`]; the waker is not used any more.
unsafe fn wake(data: *const ()) {
    // SAFETY: the contract of a waker's functions. The waker's reference is given up at the end.
    let this = unsafe { node(data) };
    notify(&this);
}

/// # Safety
///
/// As [`node`].
unsafe fn wake_by_ref(data: *const ()) {
    // SAFETY: the contract of a waker's functions. Not counted here, so it is not dropped.
    let this = ManuallyDrop::new(unsafe { node(data) });
    notify(&this);
}

/// # Safety
///
/// As [`node`]; the waker is not used any more.
unsafe fn drop_waker(data: *const ()) {
    // SAFETY: the contract of a waker's functions. The waker's reference is given up.
    drop(unsafe { node(data) });
}
