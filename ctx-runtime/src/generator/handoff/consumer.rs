//! The consumer's end: takes items, and runs the body itself where it may.

use super::block::{Head, Items, Runs, Shared, SharedRef, Slot, notify, wake_driver};
use super::ending::{Place, Polled, leave_to_driver, reap, run, see_to_rest};
use super::ring::Ring;
use super::state::{ASKED, BLOCKED, CLOSED, ENDED, Entered, NOTIFIED, ORPHANED, RUNNING, WAITING, fence};
use crate::context::{Context, Ending, NodeRef, Within, quietly};
use crate::generator::end::End;
use std::marker::PhantomData;
use std::mem;
use std::panic::{self, AssertUnwindSafe, Location};
use std::task::{self, Poll, ready};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::coop;

/// How many bodies may be polled within one another on one stack.
const NESTED_POLLS: usize = 24;

/// How many items one unit of a task's budget is good for: to ask for each would cost a third of an item that is ready.
const ITEMS_PER_UNIT: u8 = 16;

pub(in crate::generator) struct Consumer<T> {
    /// The generator's own; its node is the block's.
    context: Context,
    /// How many items may be taken before the budget is asked again.
    paid: u8,
    asker: Asker,
    home: Home,
    _items: Items<T>,
}

/// Where a body may be polled by its consumer.
enum Home {
    Runtime,
    /// In the `LocalSet` of the task that has started it: there is no way to ask for that but by the task itself.
    Task(Option<tokio::task::Id>),
}

/// Who was last found to ask from within the generator's runtime.
struct Asker {
    task: Option<tokio::task::Id>,
    /// Where the waker points to: a task may hold up its thread with a `block_on` of another runtime.
    waker: *const (),
}

impl Asker {
    #[inline]
    fn is(&self, task: tokio::task::Id, waker: *const ()) -> bool {
        self.task == Some(task) && self.waker == waker
    }
}

// SAFETY: the pointer is compared and not followed; the items are sent, or shared, as by a lock around them.
unsafe impl<T: Send> Send for Consumer<T> {}
// SAFETY: as above; what a shared consumer does goes through the state word.
unsafe impl<T: Send> Sync for Consumer<T> {}

impl<T> Consumer<T> {
    pub(super) fn new(parent: &Context, block: SharedRef<T>) -> Self {
        Self {
            context: parent.on(block.into_node()),
            paid: 0,
            asker: Asker { task: None, waker: std::ptr::null() },
            home: Home::Runtime,
            _items: PhantomData,
        }
    }

    /// The body is local to the `LocalSet` that `task` is in.
    pub(super) fn stay_with(&mut self, task: Option<tokio::task::Id>) {
        self.home = Home::Task(task);
    }

    pub(in crate::generator) fn context(&self) -> &Context {
        &self.context
    }

    #[inline]
    pub(in crate::generator) fn node(&self) -> &NodeRef {
        // SAFETY: the generator's own context, by `new`, and that has a node.
        unsafe { self.context.node().unwrap_unchecked() }
    }

    #[inline]
    fn shared(&self) -> &Shared<T> {
        // SAFETY: the node of a generator with these items, by `new`.
        unsafe { Shared::of(self.node()) }
    }

    #[inline]
    fn head(&self) -> &Head {
        &self.shared().head
    }

    pub(in crate::generator) fn name(&self) -> &str {
        &self.head().member.name
    }

    pub(super) fn has_keeper(&self) -> bool {
        self.head().keeper.is_some()
    }

    pub(in crate::generator) fn runtime(&self) -> &Handle {
        &self.head().runtime
    }

    pub(in crate::generator) fn end(&self) -> Option<&End> {
        self.head().end()
    }

    /// How many items an overflow policy has dropped.
    pub(in crate::generator) fn dropped(&self) -> u64 {
        self.shared().ring.as_ref().map_or(0, |ring| ring.dropped())
    }

    /// Stops the generator: nothing more is accepted. What was stays to be taken.
    pub(in crate::generator) fn cancel(&self, origin: &'static Location<'static>) {
        Context::end_node(self.node(), Ending::Cancelled(origin));
    }

    /// Stops the generator, and drops its body if that rests.
    pub(in crate::generator) fn stop(&self, origin: &'static Location<'static>) {
        self.end_with(Ending::Cancelled(origin));
    }

    fn end_with(&self, ending: Ending) {
        let (node, head) = (self.node(), self.head());
        // First the body, if it rests: who is woken by the end of the context must not get it before us.
        let mut entered = head.state.enter(0, WAITING);
        // A waker that panics was reported by the panic hook, and must not keep the body from its end.
        quietly(|| Context::end_node(node, ending));
        if matches!(entered, Entered::Busy) {
            // Whoever had it may have left before the end was published.
            entered = head.state.enter(0, WAITING);
        }
        if let Entered::Yes(before) = entered {
            // SAFETY: RUNNING was just taken, and until there is an end the body is there.
            if !self.is_over(before) || !unsafe { reap(node, head, Place::of(&head.runtime)) } {
                leave_to_driver(node, head);
            }
        }
    }

    /// Whether `poll_next` has nothing more to give: neither an item nor a panic.
    pub(in crate::generator) fn is_exhausted(&self) -> bool {
        let panicked = match self.end() {
            None => return false,
            Some(End::Panicked(panic)) => panic.has_payload(),
            Some(_) => false,
        };
        let shared = self.shared();
        let is_empty = match &shared.ring {
            Some(ring) => ring.is_empty(),
            // SAFETY: there is an end, so the turn is the consumer's; what changes it borrows the consumer mutably. Several may look.
            None => shared.head.turn.with(|turn| unsafe { (*turn).slot != Slot::Full }),
        };
        !panicked && is_empty
    }

    #[inline]
    pub(in crate::generator) fn poll_next(&mut self, cx: &mut task::Context<'_>) -> Poll<Option<T>> {
        if self.paid == 0 {
            ready!(self.pay(cx));
        }
        if self.head().is_buffered { self.poll_ring(cx) } else { self.poll_slot(cx) }
    }

    /// Takes a unit of the task's budget; pending when that is used up.
    #[cold]
    #[inline(never)]
    fn pay(&mut self, cx: &mut task::Context<'_>) -> Poll<()> {
        ready!(coop::poll_proceed(cx)).made_progress();
        self.paid = ITEMS_PER_UNIT;
        Poll::Ready(())
    }

    /// Waits for an item and takes what else is ready, up to `limit` in all. Returns how many: none at the end.
    pub(in crate::generator) fn poll_many(
        &mut self,
        cx: &mut task::Context<'_>,
        items: &mut Vec<T>,
        limit: usize,
    ) -> Poll<usize> {
        if limit == 0 {
            return Poll::Ready(0);
        }
        let Some(first) = ready!(self.poll_next(cx)) else { return Poll::Ready(0) };
        items.push(first);
        // SAFETY: borrowed mutably here.
        let pop = |ring| unsafe { self.pop(ring) };
        let ready = std::iter::from_fn(|| self.shared().ring.as_deref().and_then(pop));
        let before = items.len();
        items.extend(ready.take(limit - 1));
        Poll::Ready(1 + items.len() - before)
    }

    /// Without a buffer: an item is made when it is asked for.
    #[inline]
    fn poll_slot(&mut self, cx: &task::Context<'_>) -> Poll<Option<T>> {
        // First, so that there is little to keep while the task is asked for.
        let is_asker = self.is_asker(cx);
        loop {
            match self.head().state.enter(0, WAITING | ASKED) {
                // SAFETY: RUNNING was just taken, there is no end, and this was the state.
                Entered::Yes(before) => return unsafe { self.ask(cx, before, is_asker) },
                // SAFETY: there is an end.
                Entered::Ended => return unsafe { self.left_or_end() },
                // Whoever runs it is to have the body polled once more for this request.
                Entered::Busy => ready!(self.knock(cx, ASKED | WAITING | NOTIFIED)),
            }
        }
    }

    /// Takes the item if there is one, else has the body make it. Gives RUNNING back.
    ///
    /// # Safety
    ///
    /// The caller has RUNNING; `before` was the state, and `is_asker` as said by that. There is no end.
    #[inline]
    unsafe fn ask(&mut self, cx: &task::Context<'_>, before: usize, is_asker: bool) -> Poll<Option<T>> {
        let head = self.head();
        // SAFETY: RUNNING.
        let (slot, branched) = unsafe { head.with_turn(|turn| (turn.ask(), turn.branched)) };
        // What most items are: the one before was taken, nothing has happened since, and the same task asks once more.
        if is_asker
            && slot == Slot::Idle
            && before & (NOTIFIED | ORPHANED) == 0
            && !branched
            && !self.node().has_end()
        {
            // SAFETY: RUNNING, no end, and inside the runtime.
            return match unsafe { run(self.node()) } {
                // SAFETY: RUNNING.
                Polled::Rests => unsafe { self.take_or_pend(cx) },
                Polled::Ended => self.end_or_pend(cx),
            };
        }
        // SAFETY: as above, by the caller's word.
        unsafe { self.ask_with_care(cx, before, slot) }
    }

    /// # Safety
    ///
    /// As [`ask`](Self::ask); the slot was `slot`, and has the request.
    #[cold]
    #[inline(never)]
    unsafe fn ask_with_care(&mut self, cx: &task::Context<'_>, before: usize, slot: Slot) -> Poll<Option<T>> {
        if slot == Slot::Full {
            // SAFETY: RUNNING.
            return unsafe { self.take_or_pend(cx) };
        }
        let is_over = self.is_over(before);
        // To a request that stood already the body has done what it could.
        let is_news = slot == Slot::Idle || before & NOTIFIED != 0;
        // SAFETY: RUNNING, and no end.
        match unsafe { self.run(cx, is_over, is_news, NOTIFIED) } {
            Ran::Not => Poll::Pending,
            // SAFETY: there is an end.
            Ran::ToItsEnd => unsafe { self.left_or_end() },
            // SAFETY: RUNNING.
            Ran::ToRest => unsafe { self.take_or_pend(cx) },
        }
    }

    /// Takes the item, or waits for it. Gives RUNNING back.
    ///
    /// # Safety
    ///
    /// The caller has RUNNING.
    #[inline]
    unsafe fn take_or_pend(&mut self, cx: &task::Context<'_>) -> Poll<Option<T>> {
        // SAFETY: RUNNING.
        let Some(item) = (unsafe { self.shared().take() }) else { return self.pend(cx) };
        self.leave();
        self.paid -= 1;
        Poll::Ready(Some(item))
    }

    /// With a buffer: what is in the ring; when that is empty, the body may be resting and is to fill it.
    #[inline]
    fn poll_ring(&mut self, cx: &task::Context<'_>) -> Poll<Option<T>> {
        loop {
            let Some(ring) = self.shared().ring.as_deref() else {
                unreachable!("a generator with a buffer has a ring")
            };
            // SAFETY: borrowed mutably here.
            if let Some(item) = unsafe { self.pop(ring) } {
                self.paid -= 1;
                return Poll::Ready(Some(item));
            }
            match self.head().state.enter(0, WAITING) {
                // SAFETY: RUNNING was just taken, there is no end, and this was the state.
                Entered::Yes(before) => ready!(unsafe { self.fill(cx, before) }),
                // SAFETY: there is an end.
                Entered::Ended => return unsafe { self.left_or_end() },
                Entered::Busy if self.head().runs == Runs::Asked => ready!(self.knock(cx, ASKED | WAITING)),
                Entered::Busy => ready!(self.knock(cx, WAITING)),
            }
        }
    }

    /// Whether the body is to be ended by whoever has RUNNING; `before` was the state.
    fn is_over(&self, before: usize) -> bool {
        before & ORPHANED != 0 || (self.node().has_end() && !self.head().is_shielded())
    }

    /// Has the body fill the ring, if it waits for room or was woken. Ready if it is worth another look. Gives RUNNING back.
    ///
    /// # Safety
    ///
    /// As [`ask`](Self::ask).
    unsafe fn fill(&mut self, cx: &task::Context<'_>, before: usize) -> Poll<()> {
        let has_item = |this: &Self| this.shared().ring.as_deref().is_some_and(|ring| !ring.is_empty());
        if has_item(self) {
            self.leave();
            return Poll::Ready(());
        }
        let is_over = self.is_over(before);
        let is_news = before & (NOTIFIED | BLOCKED) != 0;
        // SAFETY: RUNNING, and no end.
        match unsafe { self.run(cx, is_over, is_news, NOTIFIED | BLOCKED) } {
            Ran::Not => Poll::Pending,
            Ran::ToItsEnd => Poll::Ready(()),
            Ran::ToRest if has_item(self) => {
                self.leave();
                Poll::Ready(())
            }
            Ran::ToRest => self.pend(cx),
        }
    }

    /// Polls the body, which is the answer to what is `answered`; one that is over is ended instead. If it is not for us to do, or
    /// there is nothing to do (`is_news`), gives RUNNING back and waits.
    ///
    /// # Safety
    ///
    /// The caller has RUNNING, and there is no end.
    #[inline]
    unsafe fn run(&mut self, cx: &task::Context<'_>, is_over: bool, is_news: bool, answered: usize) -> Ran {
        if is_over {
            // SAFETY: RUNNING, and until there is an end the body is there.
            return if unsafe { reap(self.node(), self.head(), Place::of(self.runtime())) } {
                self.ended(cx)
            } else {
                self.hand_over(cx)
            };
        }
        // One that was stopped, and is in a section that the end waits for, makes no item. Its driver was told of the end, and
        // goes on with it.
        if !is_news || self.node().has_end() {
            let _: Poll<()> = self.pend(cx);
            return Ran::Not;
        }
        // SAFETY: RUNNING.
        if unsafe { self.head().with_turn(|turn| turn.branched) } {
            let branched = self.shared().wake_branches();
            // SAFETY: RUNNING.
            unsafe { self.head().with_turn(|turn| turn.branched = branched) };
            if self.is_over(0) {
                // Those wakers were anybody's code.
                // SAFETY: by the caller's word.
                return unsafe { self.run(cx, true, is_news, answered) };
            }
        }
        let help = self.may_help(cx);
        if help == Help::Not {
            return self.hand_over(cx);
        }
        if self.head().state.peek() & answered != 0 {
            self.head().state.clear(answered);
        }
        // SAFETY: RUNNING.
        unsafe { self.head().with_turn(|turn| turn.is_helped = true) };
        // SAFETY: RUNNING, no end, and inside the runtime.
        let polled = unsafe { run(self.node()) };
        if let Polled::Rests = polled {
            // SAFETY: RUNNING.
            unsafe { self.head().with_turn(|turn| turn.is_helped = false) };
        }
        match polled {
            // SAFETY: RUNNING.
            Polled::Rests if help == Help::Blocking => unsafe { self.keep_wakes() },
            Polled::Rests => {}
            Polled::Ended => return self.ended(cx),
        }
        if self.node().has_end() {
            // In a section that the end waits for. That the driver is to see to it may be among what was just `answered`.
            self.head().state.set(NOTIFIED);
        }
        Ran::ToRest
    }

    /// What becomes of a body that was polled by a `block_on` of a current-thread runtime: wakes that were put off until that goes
    /// on ("deferred", by `yield_now` or for want of budget) are lost if it returns. So the driver is to look once more, if
    /// anything has taken the body's waker.
    ///
    /// # Safety
    ///
    /// The caller has RUNNING.
    #[cold]
    #[inline(never)]
    unsafe fn keep_wakes(&self) {
        // SAFETY: by the caller's word.
        if unsafe { self.head().with_turn(|turn| mem::replace(&mut turn.waker_taken, false)) } {
            self.head().state.set(NOTIFIED);
        }
    }

    /// The generator has ended, or is about to where drops are nested deep: then that wakes the consumer.
    #[cold]
    #[inline(never)]
    fn ended(&self, cx: &task::Context<'_>) -> Ran {
        if self.end().is_none() {
            self.head().set_consumer(cx.waker());
            if self.head().state.set(WAITING) & ENDED == 0 {
                return Ran::Not;
            }
        }
        Ran::ToItsEnd
    }

    /// What is left where the generator has ended; if it is only about to, waits for that.
    #[cold]
    #[inline(never)]
    fn end_or_pend(&mut self, cx: &task::Context<'_>) -> Poll<Option<T>> {
        match self.ended(cx) {
            Ran::Not => Poll::Pending,
            // SAFETY: there is an end.
            Ran::ToRest | Ran::ToItsEnd => unsafe { self.left_or_end() },
        }
    }

    /// Whether the task that asks has asked before, and may poll the body.
    #[inline]
    fn is_asker(&self, cx: &task::Context<'_>) -> bool {
        Within::depth() < NESTED_POLLS
            && tokio::task::try_id().is_some_and(|task| self.asker.is(task, cx.waker().data()))
    }

    /// Whether the body may be polled here: inside its runtime, and not too deep on the stack (G8, G9).
    fn may_help(&mut self, cx: &task::Context<'_>) -> Help {
        if Within::depth() >= NESTED_POLLS {
            return Help::Not;
        }
        // Without a task (`block_on`), or in another one than last time, the runtime is asked.
        let task = match (tokio::task::try_id(), &self.home) {
            (Some(task), _) => task,
            (None, Home::Runtime) => return self.may_help_blocking(),
            (None, Home::Task(_)) => return Help::Not,
        };
        let waker = cx.waker().data();
        if !self.asker.is(task, waker) {
            let is_inside = match self.home {
                Home::Runtime => self.is_inside(),
                // Of the set it is, but it may be within another runtime just now.
                Home::Task(home) => home == Some(task) && self.is_inside(),
            };
            if !is_inside {
                return Help::Not;
            }
            self.asker = Asker { task: Some(task), waker };
        }
        Help::InTask
    }

    #[cold]
    #[inline(never)]
    fn may_help_blocking(&self) -> Help {
        if !self.is_inside() {
            Help::Not
        } else if self.runtime().runtime_flavor() == RuntimeFlavor::CurrentThread {
            Help::Blocking
        } else {
            Help::InTask
        }
    }

    #[cold]
    #[inline(never)]
    fn is_inside(&self) -> bool {
        // Loom's threads are in no runtime, and may all help.
        cfg!(all(test, loom))
            || Handle::try_current().is_ok_and(|current| current.id() == self.runtime().id())
    }

    /// Takes an item out of the ring, and lets a yield know that waits for room.
    ///
    /// Whether one does is looked at each time, by a load. That may miss one that begins to wait at this very moment; for sure it
    /// is known by a read-modify-write, which at each item would cost as much as the rest. So such a yield, while there is still half a
    /// ring to take, may have to wait for the next item to be taken.
    ///
    /// # Safety
    ///
    /// The caller borrows the consumer mutably.
    #[inline]
    unsafe fn pop(&self, ring: &Ring<T>) -> Option<T> {
        let ring = match ring {
            Ring::Unlocked(ring) => ring,
            Ring::Locked(ring) => return ring.pop(),
        };
        // SAFETY: there is one consumer, and the caller has it to itself.
        let item = unsafe { ring.pop() }?;
        // SAFETY: as above.
        if self.head().state.peek() & BLOCKED != 0 || unsafe { ring.is_at_mark() } {
            self.unblock();
        }
        Some(item)
    }

    fn unblock(&self) {
        let runs = self.head().runs;
        // A thread that is asked has its answer taken, and waits for another request.
        let over = if runs == Runs::Asked { BLOCKED | ASKED } else { BLOCKED };
        if self.head().state.clear(over) & BLOCKED == 0 {
            return;
        }
        match runs {
            Runs::Polled => self.shared().wake_next(self.node()),
            Runs::Ahead => notify(self.node()),
            Runs::Asked => {}
        }
    }

    /// Leaves the waker with whoever has RUNNING, and says what is wanted. Ready if that one has gone meanwhile, or there is an end
    /// or an item: then it is worth another try.
    #[cold]
    #[inline(never)]
    fn knock(&self, cx: &task::Context<'_>, wanted: usize) -> Poll<()> {
        let head = self.head();
        head.set_consumer(cx.waker());
        let before = head.state.set(wanted);
        if before & ENDED != 0 {
            return Poll::Ready(());
        }
        if before & RUNNING == 0 {
            if wanted & !before & NOTIFIED != 0 {
                // Nobody was there to see it.
                // SAFETY: this was the state.
                unsafe { wake_driver(self.node(), head, before) };
            }
            return Poll::Ready(());
        }
        if wanted & ASKED != 0 && head.runs == Runs::Asked {
            notify(self.node());
        }
        if head.runs != Runs::Polled {
            // There is no end of a poll at which we are told of what is put into the ring just now: either its thread sees that we
            // wait, or we see the item.
            fence();
        }
        // What was put into the ring before, nobody tells of any more.
        let has_item = self.shared().ring.as_deref().is_some_and(|ring| !ring.is_empty());
        if has_item { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Gives RUNNING back and waits.
    #[cold]
    #[inline(never)]
    fn pend<R>(&self, cx: &task::Context<'_>) -> Poll<R> {
        let head = self.head();
        // A waker whose clone or destructor panics must not keep RUNNING.
        let kept = panic::catch_unwind(AssertUnwindSafe(|| head.set_consumer(cx.waker())));
        self.left(head.state.leave_setting(WAITING));
        match kept {
            Ok(()) => Poll::Pending,
            Err(payload) => panic::resume_unwind(payload),
        }
    }

    /// Gives RUNNING back, has the driver do what there is to do, and waits.
    #[cold]
    #[inline(never)]
    fn hand_over(&self, cx: &task::Context<'_>) -> Ran {
        self.head().state.set(NOTIFIED);
        let _: Poll<()> = self.pend(cx);
        Ran::Not
    }

    #[inline]
    fn leave(&self) {
        self.left(self.head().state.leave());
    }

    /// Sees to what was left to us while we had RUNNING.
    #[inline]
    fn left(&self, before: usize) {
        if before & (NOTIFIED | ORPHANED) != 0 {
            see_to_rest(self.node(), self.head(), before);
        }
    }

    /// What is left, then the end.
    ///
    /// # Safety
    ///
    /// There is an end.
    #[cold]
    #[inline(never)]
    unsafe fn left_or_end(&mut self) -> Poll<Option<T>> {
        self.paid -= 1;
        // SAFETY: by the caller's word, and this is the consumer.
        if let Some(item) = unsafe { self.shared().take_left() } {
            return Poll::Ready(Some(item));
        }
        if let Some(End::Panicked(panic)) = self.end() {
            if let Some(payload) = panic.take_payload() {
                panic::resume_unwind(payload);
            }
        }
        Poll::Ready(None)
    }

    /// Ready when the body is gone.
    pub(in crate::generator) fn poll_end(&mut self, cx: &task::Context<'_>) -> Poll<End> {
        loop {
            if let Some(end) = self.end() {
                return Poll::Ready(end.clone());
            }
            match self.head().state.enter(0, WAITING) {
                Entered::Ended => {}
                Entered::Busy => {
                    let head = self.head();
                    head.set_consumer(cx.waker());
                    if head.state.set(WAITING) & (ENDED | RUNNING) == RUNNING {
                        return Poll::Pending;
                    }
                }
                Entered::Yes(before) => {
                    let is_over = self.is_over(before);
                    // SAFETY: RUNNING was just taken, and there is no end.
                    if let Ran::Not = unsafe { self.run(cx, is_over, false, 0) } {
                        return Poll::Pending;
                    }
                }
            }
        }
    }
}

/// Who polls a body that it is not the driver of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Help {
    Not,
    /// One whose deferred wakes are kept: a task, or any thread that waits for a runtime with threads of its own.
    InTask,
    /// The thread that drives the current-thread runtime.
    Blocking,
}

/// What became of the body.
enum Ran {
    /// It was not for us to run, or there was nothing to run it for. RUNNING is given back, and the waker registered.
    Not,
    /// RUNNING is still ours.
    ToRest,
    /// RUNNING is given back for good.
    ToItsEnd,
}

impl<T> Drop for Consumer<T> {
    /// Never waits. Of a body that rests, the destructors have run when this returns (G5).
    fn drop(&mut self) {
        self.end_with(Ending::Abandoned);
        let head = self.head();
        quietly(|| head.clear_consumer());
        if head.state.set(CLOSED) & ENDED != 0 {
            // SAFETY: there is an end, and this is the consumer.
            unsafe { self.shared().drop_left() };
        }
    }
}
