//! The one allocation of an inline generator, and the two ways into it: the handle's and a yield's.
#![allow(
    unsafe_code,
    reason = "a body that is pinned and dropped in an allocation that others keep; the rest of the inline generator is safe code"
)]

use super::branches::Branches;
use super::yielder::InlineYielder;
use crate::context::{Context, Hooks, InlineMember, Lock, Member, NodeRef, Payload, Wait, quietly};
use crate::loom::atomic::{AtomicBool, Ordering};
use std::borrow::Cow;
use std::cell::{Cell, UnsafeCell};
use std::future::Future;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Deref;
use std::panic::{self, AssertUnwindSafe, Location};
use std::pin::Pin;
use std::ptr::{self, NonNull};
use std::task::{self, Poll, Waker};

/// A block without its body: what a yield sees of it.
#[repr(C)]
pub(super) struct Shared<T> {
    /// First, so that a pointer to the node is one to the whole block.
    head: InlineMember,
    /// The body is gone.
    over: AtomicBool,
    turn: Turn<T>,
    pub(super) branches: Lock<Branches>,
}

/// What belongs to whoever polls the body, and to the handle when nobody does.
pub(super) struct Turn<T> {
    /// Filled by a yield; emptied when that poll of the body is over.
    slot: Cell<Option<T>>,
    /// More than one yield waits, or one with a waker that is not the consumer's: they are in `branches`.
    pub(super) branched: Cell<bool>,
    /// How many items may be taken before the budget is asked again; without a body, none. Each item has the number that this had.
    left: Cell<u32>,
    /// What the body is polled with: good for that poll.
    waker: Cell<*const Waker>,
}

// At the start of a cache line: elsewhere an item takes 8.6 or 10.8 ns, as the allocator will have it.
#[repr(C, align(64))]
struct Block<T, F> {
    shared: Shared<T>,
    /// Where the consumer waits for the end of the context. The handle's.
    wait: UnsafeCell<Option<Wait>>,
    /// Written once, and dropped in its place. The handle's.
    body: UnsafeCell<MaybeUninit<F>>,
}

// SAFETY: `turn` is reached through `SharedRef::turn`, on the thread that polls the body, or through a handle that is borrowed mutably,
// which that poll does; the rest is atomic or behind a lock. So items are sent, and nothing of them is shared.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

/// A counted reference to a block with items of type `T`.
pub(super) struct SharedRef<T>(NodeRef, Items<T>);

/// Sends and shares items, as a lock around them would.
type Items<T> = PhantomData<std::sync::Mutex<T>>;

/// The handle's reference to a block, and the only one to its body.
pub(super) struct Held<T, F> {
    node: NodeRef,
    /// The body is there.
    is_there: bool,
    /// Something above may end the context.
    is_below: bool,
    _block: PhantomData<(T, F)>,
}

// SAFETY: a shared handle gives nothing away of item and body.
unsafe impl<T, F> Sync for Held<T, F> {}

impl<T, F> Block<T, F> {
    const HOOKS: &'static Hooks = &Hooks {
        stop: Self::nothing,
        poll: |_, _| Poll::Pending,
        drop_body: Self::nothing,
        is_shielded: |_| false,
        rouse: Self::nothing,
        clear: |_, _| (),
        free: Self::free,
    };

    /// The consumer waits by itself, and looks after its body.
    unsafe fn nothing(_: NonNull<Member>) {}

    /// # Safety
    ///
    /// `this` is a block of this type to which nobody refers.
    unsafe fn free(this: NonNull<Member>) {
        // A body is gone by then, or was never there, and so is the item: what they borrow may be gone, too.
        // SAFETY: made by `Box::leak` in `Held::new`.
        drop(unsafe { Box::from_raw(this.cast::<Self>().as_ptr()) });
    }
}

impl<T, F> Held<T, F> {
    /// A block below `parent` that waits for its body.
    pub(super) fn new(parent: &Context, name: &'static str, made: &'static Location<'static>) -> Self {
        let parent = parent.node();
        // In two steps, so that it is written where it stays, and not first on the stack.
        let mut room = Box::<Block<T, F>>::new_uninit();
        room.write(Block {
            shared: Shared {
                head: InlineMember::unlisted(Member::unlisted(
                    parent,
                    Block::<T, F>::HOOKS,
                    Cow::Borrowed(name),
                    made,
                )),
                over: AtomicBool::new(false),
                turn: Turn {
                    slot: Cell::new(None),
                    branched: Cell::new(false),
                    left: Cell::new(0),
                    waker: Cell::new(ptr::null()),
                },
                branches: Lock::new(Branches::default()),
            },
            wait: UnsafeCell::new(None),
            body: UnsafeCell::new(MaybeUninit::uninit()),
        });
        // SAFETY: just written.
        let block = NonNull::from(Box::leak(unsafe { room.assume_init() }));
        // SAFETY: unlisted, made with this parent, at the head of a block of the type that its hooks are for, and nobody has seen it.
        let node = unsafe { InlineMember::list(block.cast(), parent) };
        Self { node, is_there: false, is_below: parent.is_some(), _block: PhantomData }
    }

    /// Puts the body in; of a second one, nothing comes.
    pub(super) fn fill(&mut self, body: F) {
        if self.is_there {
            return;
        }
        // SAFETY: the handle is borrowed mutably, and the only one to reach for the body, which is not there.
        unsafe { (*self.block().body.get()).write(body) };
        self.is_there = true;
    }

    #[inline]
    fn block(&self) -> &Block<T, F> {
        // SAFETY: a block of this type, by `new`; a reference keeps it alive.
        unsafe { self.node.as_ptr().cast().as_ref() }
    }

    pub(super) fn yielder(&self) -> InlineYielder<T> {
        InlineYielder::new(SharedRef(self.node.clone(), PhantomData))
    }

    #[inline]
    pub(super) fn node(&self) -> &NodeRef {
        &self.node
    }

    pub(super) fn name(&self) -> &str {
        &self.block().shared.head.member.name
    }

    #[inline]
    pub(super) fn is_there(&self) -> bool {
        self.is_there
    }

    /// How many items may be taken before the budget is asked again. None, if the body is not there.
    #[inline]
    pub(super) fn left(&self) -> u32 {
        self.block().shared.turn.left.get()
    }

    /// Says how many; none, if the body is not there.
    pub(super) fn set_left(&mut self, items: u32) {
        self.block().shared.turn.left.set(if self.is_there { items } else { 0 });
    }

    /// Takes the item that the last poll of the body has made.
    #[inline]
    pub(super) fn take_item(&mut self) -> Option<T> {
        let turn = &self.block().shared.turn;
        let item = turn.slot.take()?;
        turn.left.set(turn.left.get().wrapping_sub(1));
        Some(item)
    }

    /// Drops the body in its place, if it is there. A panic of its destructors is returned.
    pub(super) fn drop_body(&mut self) -> Result<(), Payload> {
        if !self.is_there {
            return Ok(());
        }
        self.is_there = false;
        self.set_left(0);
        let block = self.block();
        let dropped = panic::catch_unwind(AssertUnwindSafe(|| {
            // SAFETY: it was there, and is not used any more; the handle is borrowed mutably.
            unsafe { ptr::drop_in_place(block.body.get().cast::<F>()) };
        }));
        // Release: pairs with the Acquire in `is_over`; who returns because of it has the body's end behind it.
        block.shared.over.store(true, Ordering::Release);
        // In its place, as it may be listed; with the consumer's waker, whose drop is the executor's code.
        // SAFETY: the handle is borrowed mutably, and the only one to reach for it.
        quietly(|| unsafe { *block.wait.get() = None });
        block.shared.clear_branches();
        dropped
    }

    /// Ready when the context is done; until then it wakes the consumer at that.
    pub(super) fn poll_done(&mut self, cx: &task::Context<'_>) -> Poll<()> {
        if !self.is_below {
            // The generator alone ends it.
            return Poll::Pending;
        }
        // SAFETY: the handle is borrowed mutably, and the only one to reach for it.
        let wait = unsafe { &mut *self.block().wait.get() };
        let wait = wait.get_or_insert_with(|| Wait::new(Some(self.node.clone())));
        // SAFETY: it stays in the block until it is dropped there.
        unsafe { Pin::new_unchecked(wait) }.poll(cx)
    }
}

impl<T, F: Future<Output = ()>> Held<T, F> {
    /// Polls the body once, if there is any [`left`](Held::left). A panic of its is returned.
    #[inline]
    pub(super) fn poll(&mut self, cx: &mut task::Context<'_>) -> Result<Poll<()>, Payload> {
        let block = self.block();
        let turn = &block.shared.turn;
        if turn.left.get() == 0 {
            return Ok(Poll::Pending);
        }
        if turn.branched.get() {
            turn.branched.set(block.shared.wake_branches(cx.waker()));
        }
        turn.waker.set(ptr::from_ref(cx.waker()));
        // SAFETY: it is there, and the handle, which is borrowed mutably, is the only one to reach for it.
        let body = unsafe { &mut *block.body.get().cast::<F>() };
        // SAFETY: it stays where it is until it is dropped there.
        let body = unsafe { Pin::new_unchecked(body) };
        let poll = || panic::catch_unwind(AssertUnwindSafe(|| body.poll(cx)));
        // SAFETY: as above: to poll it takes the handle.
        unsafe { block.shared.head.polling(poll) }
    }
}

impl<T> Turn<T> {
    /// Whether an item was accepted that is still to be taken.
    #[inline]
    pub(super) fn has_item(&self) -> bool {
        // SAFETY: nobody writes meanwhile: this thread alone reaches for it.
        unsafe { (*self.slot.as_ptr()).is_some() }
    }

    /// Whether an item can be accepted, and nobody has to be asked who comes first.
    #[inline]
    pub(super) fn is_free(&self) -> bool {
        !self.branched.get() && !self.has_item()
    }

    /// Accepts an item: there was none.
    #[inline]
    pub(super) fn accept(&self, item: T) {
        self.slot.set(Some(item));
    }

    /// What tells the item that may be accepted now from those before it, at least from the last thirty of them.
    #[inline]
    pub(super) fn number(&self) -> u32 {
        self.left.get()
    }

    /// Whether this is the waker that the body is polled with.
    #[inline]
    pub(super) fn is_own(&self, waker: &Waker) -> bool {
        ptr::eq(self.waker.get(), waker) || self.is_same(waker)
    }

    #[cold]
    #[inline(never)]
    fn is_same(&self, waker: &Waker) -> bool {
        // SAFETY: a turn is reached within a poll of the body, which this was set for.
        let own = unsafe { &*self.waker.get() };
        own.will_wake(waker)
    }
}

impl<T> Shared<T> {
    /// Within a poll of the body: what belongs to whoever polls it.
    #[inline]
    pub(super) fn turn(&self) -> Option<&Turn<T>> {
        self.head.is_polled().then_some(&self.turn)
    }

    /// Whether the context has ended.
    #[inline]
    pub(super) fn has_end(&self) -> bool {
        self.head.member.has_end()
    }

    pub(super) fn is_over(&self) -> bool {
        // Acquire: pairs with the Release in `drop_body`.
        self.over.load(Ordering::Acquire)
    }
}

impl<T> Deref for SharedRef<T> {
    type Target = Shared<T>;

    #[inline]
    fn deref(&self) -> &Shared<T> {
        // SAFETY: the node of a block with items of this type, by `Held::yielder`; a reference keeps it alive.
        unsafe { self.0.as_ptr().cast().as_ref() }
    }
}
