//! The one allocation of an inline generator, and the two ways into it: the handle's and a yield's.
#![allow(
    unsafe_code,
    reason = "a body that is pinned and dropped in an allocation that others keep; the rest of the inline generator is safe code"
)]

use super::branches::{Branches, Place};
use super::yielder::InlineYielder;
use crate::context::{Context, Hooks, InlineMember, Lock, Member, NodeRef, Payload, Wait, quietly};
use crate::generator::rounds::Rounds;
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
use std::task::{self, Poll, Waker, ready};
use tokio::task::coop;

/// How many polls of the body one unit of a task's budget is good for.
const POLLS_PER_UNIT: u32 = 32;

/// A block without its body: what a yield sees of it.
#[repr(C)]
pub(super) struct Shared<T> {
    /// First, so that a pointer to the node is one to the whole block.
    head: InlineMember,
    /// The body is gone.
    over: AtomicBool,
    turn: Turn<T>,
    pub(super) branches: Lock<Branches>,
    pub(super) rounds: Rounds,
}

/// What belongs to whoever polls the body, and to the handle when nobody does.
pub(super) struct Turn<T> {
    /// Set for each poll of the body, and good for that. One of:
    ///
    /// - the address of the waker that the body is polled with: there is room for whoever is polled with the same one
    /// - null: there is room for the first in the queue
    /// - the [`Place`] of a yield: there is none, as the item of that one is in the slot
    room: Cell<*const ()>,
    /// Empty between two polls of the body.
    slot: UnsafeCell<MaybeUninit<T>>,
    /// How often the body may be polled before there is something to [see to](Held::see_to). Without a body, not at all.
    left: Cell<u32>,
    /// More than one yield waits, or one with a waker that may not be the consumer's: they are in `branches`.
    branched: Cell<bool>,
}

/// What came of a request.
pub(super) enum Asked<T> {
    Item(T),
    /// The body waits.
    Nothing,
    /// The body was not polled: the budget of the task is used up, and wakes the consumer.
    NotYet,
    /// The context is done.
    Ended,
    /// That was the body's last poll, or its panic.
    RanOut(Option<T>, Result<(), Payload>),
}

// At the start of a cache line: elsewhere an item takes up to 2 ns more, as the allocator will have it.
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
                    room: Cell::new(ptr::null()),
                    slot: UnsafeCell::new(MaybeUninit::uninit()),
                    left: Cell::new(0),
                    branched: Cell::new(false),
                },
                branches: Lock::new(Branches::default()),
                rounds: Rounds::default(),
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

    /// Drops the body in its place, if it is there. A panic of its destructors is returned.
    pub(super) fn drop_body(&mut self) -> Result<(), Payload> {
        if !self.is_there {
            return Ok(());
        }
        self.is_there = false;
        let block = self.block();
        block.shared.turn.left.set(0);
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
    /// Polls the body once.
    #[inline]
    pub(super) fn ask(&mut self, cx: &mut task::Context<'_>) -> Asked<T> {
        let mut room = ptr::from_ref(cx.waker()).cast();
        let (left, is_due) = self.block().shared.turn.left.get().overflowing_sub(1);
        self.block().shared.turn.left.set(left);
        if is_due {
            room = match self.see_to(cx) {
                Poll::Ready(Some(room)) => room,
                Poll::Ready(None) => return Asked::Ended,
                Poll::Pending => return Asked::NotYet,
            };
        }
        let block = self.block();
        if block.shared.has_end() {
            return Asked::Ended;
        }
        let turn = &block.shared.turn;
        turn.room.set(room);
        // SAFETY: it is there, as polls were left or it was looked for, and the handle, which is borrowed mutably, is the only one to reach for it.
        let body = unsafe { &mut *block.body.get().cast::<F>() };
        // SAFETY: it stays where it is until it is dropped there.
        let body = unsafe { Pin::new_unchecked(body) };
        let poll = || panic::catch_unwind(AssertUnwindSafe(|| body.poll(cx)));
        // SAFETY: as above: to poll it takes the handle.
        let end = match unsafe { block.shared.head.polling(poll) } {
            Ok(Poll::Pending) => {
                // SAFETY: nothing was taken since the room was set.
                let item = unsafe { turn.take() };
                return item.map_or(Asked::Nothing, Asked::Item);
            }
            Ok(Poll::Ready(())) => Ok(()),
            Err(payload) => Err(payload),
        };
        // SAFETY: as above.
        Asked::RanOut(unsafe { turn.take() }, end)
    }

    /// Sees to what is due before the next poll of the body: the task's budget, which may have to be waited for, and those who wait
    /// in `branches`. Says what the [`room`](Turn::room) is to be; nothing, if there is no body.
    #[cold]
    #[inline(never)]
    fn see_to(&mut self, cx: &mut task::Context<'_>) -> Poll<Option<*const ()>> {
        let shared = &self.block().shared;
        let turn = &shared.turn;
        turn.left.set(0);
        if !self.is_there {
            return Poll::Ready(None);
        }
        ready!(coop::poll_proceed(cx)).made_progress();
        if turn.branched.get() {
            turn.branched.set(shared.wake_branches(cx.waker()));
        }
        if turn.branched.get() {
            return Poll::Ready(Some(ptr::null()));
        }
        turn.left.set(POLLS_PER_UNIT - 1);
        Poll::Ready(Some(ptr::from_ref(cx.waker()).cast()))
    }
}

impl<T> Turn<T> {
    /// Takes the item, if there is one.
    ///
    /// # Safety
    ///
    /// Nothing was taken since the room was last set for a poll of the body.
    #[inline]
    unsafe fn take(&self) -> Option<T> {
        if self.has_room() {
            return None;
        }
        // SAFETY: this thread alone reaches for it.
        let slot = unsafe { &*self.slot.get() };
        // SAFETY: a yield has filled it, and by the caller's word it was not emptied.
        Some(unsafe { slot.assume_init_read() })
    }

    /// Says that there are yields in `branches`.
    pub(super) fn set_branched(&self) {
        self.branched.set(true);
        self.left.set(0);
    }

    /// Whether the item of this yield was accepted, and is still to be taken.
    #[inline]
    pub(super) fn is_by(&self, place: Place) -> bool {
        self.room.get() == place.as_ptr()
    }

    /// Whether there is no item.
    #[inline]
    pub(super) fn has_room(&self) -> bool {
        self.room.get().addr() & 1 == 0
    }

    /// Whether there is room for whoever is polled with this waker.
    #[inline]
    pub(super) fn is_free_for(&self, waker: &Waker) -> bool {
        ptr::eq(self.room.get(), ptr::from_ref(waker).cast())
    }

    /// What the body is polled with, if there is room for whoever comes: then nobody waits in the queue.
    pub(super) fn waker(&self) -> Option<&Waker> {
        let own = if self.has_room() { self.room.get().cast::<Waker>() } else { ptr::null() };
        // SAFETY: a turn is reached within a poll of the body, for which it was set; that has its waker borrowed.
        unsafe { own.as_ref() }
    }

    /// Accepts an item: there is none.
    #[inline]
    pub(super) fn accept(&self, item: T, by: Place) {
        self.room.set(by.as_ptr());
        // SAFETY: this thread alone reaches for it. Of what was there, if anything, nothing comes.
        unsafe { self.slot.get().write(MaybeUninit::new(item)) };
    }
}

impl<T> Shared<T> {
    /// Within a poll of the body, and of no other one within that: what belongs to whoever polls it.
    #[inline]
    pub(super) fn turn_of_innermost(&self) -> Option<&Turn<T>> {
        self.head.is_innermost().then_some(&self.turn)
    }

    /// Within a poll of the body: what belongs to whoever polls it.
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
