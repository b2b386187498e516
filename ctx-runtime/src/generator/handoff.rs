//! The engine: who runs a body, and how its items change hands.
//!
//! A generator is one allocation, its *block*: its node in the context tree, a state word, a slot (or a ring) for items, the body
//! itself. Three refer to it: the *consumer*, which asks for items; the *driver*, a task that polls the body when something that it
//! awaits has woken it; and whatever the body has handed out of itself (its context, its yielder, its waker). A consumer that asks for
//! an item and finds none polls the body itself, on its own thread, and takes the item out of the slot: so an item that is ready
//! costs two read-modify-writes and one indirect call, and no scheduling. A body that waits is moved on by its driver, also while
//! the consumer is busy elsewhere.
//!
//! The driver is spawned when there is need of one. With a buffer, and of a local generator, that is at the start. Else it is when
//! something wakes the body, or its consumer may not poll it: until then the [keeper] of the runtime stands in for it, so that a generator which
//! only ever had its items ready costs no task at all.
//!
//! # The state word
//!
//! | bit | set by | cleared by | means |
//! | --- | --- | --- | --- |
//! | `RUNNING` | whoever finds it clear | the same one | has the block to itself: may poll or drop the body, and reach into slot, turn and the body's end of the ring |
//! | `NOTIFIED` | the body's waker, a cancel, a consumer that cannot run the body | whoever polls the body next, before it does | a poll is due |
//! | `ASKED` | a consumer without a buffer that finds RUNNING taken | who polls the body next, or has the item for it; of a [thread], the consumer that takes the item | a request is to be written into the slot |
//! | `WAITING` | the consumer, its waker being in its cell | the consumer when it is back, whoever has RUNNING and an item | the consumer wants to be woken |
//! | `BLOCKED` | a yield that finds the ring full; of a [thread] without a buffer, one that has an item | the consumer, when it has taken an item or is about to poll the body | a yield waits for room |
//! | `DRIVER` | the driver's first poll | never | the driver's waker is in its cell |
//! | `CALLED` | the start, if it spawns a driver; who wants a driver and finds neither this nor `DRIVER` | a server of the keeper that finds the generator stopped | there is a driver, or the keeper was called for one |
//! | `ORPHANED` | the driver's drop, the keeper's watch | never | there is no driver any more: at the end, or when the runtime is gone (G11) |
//! | `CLOSED` | the consumer's drop | never | nobody takes items any more |
//! | `ENDED` | whoever has RUNNING, in the step that gives it back for good | never | the body is gone, the end is in its cell |
//! | `YIELDER` | the start of a [local](#a-local-generator) generator | the drop of its yielder | the driver stays, as it may be given more to spawn |
//! | `DUE` | who leaves a task of clean-ups to the driver of a local generator | that one, before it takes them | such a task is in the clean-ups' list |
//!
//! That a generator was stopped is not in this word: it is the end of its node, which the marking of a cancel sets (C1), and which is
//! one load for whoever wants to know. So a yield pays nothing for being cancellable, and nobody here reads a clock. After marking, the
//! cancel calls `stop`, which is a notification like any other.
//!
//! # Who does what
//!
//! | | without RUNNING | finds RUNNING taken | has RUNNING |
//! | --- | --- | --- | --- |
//! | consumer asks | takes an item out of the ring | *knocks*: waker in its cell, then `ASKED`, `WAITING` and `NOTIFIED` | takes the item; else writes its request into the slot; ends a body that was stopped; else, inside the runtime and not too deep on the stack, polls the body; else leaves that to the driver (`NOTIFIED`) |
//! | consumer's drop | cancels the node | no more: who runs sees the end of the node after its poll, or is notified of it | drops the body, and has done so when it returns (G5) |
//! | driver is polled | waits, unless `NOTIFIED` | waits: who runs wakes it again if anything is left | ends a body that was stopped; else polls it, then tells a consumer that waits |
//! | driver's drop, the keeper's watch | sets `ORPHANED` | no more: who runs sees `ORPHANED` when it leaves | drops the body |
//! | waker, `stop` | sets `NOTIFIED`, and wakes the driver, or calls for one, if that was clear | sets `NOTIFIED`: who runs wakes the driver when it leaves | – |
//!
//! Nobody waits for RUNNING: who finds it taken leaves a bit, and who gives it back looks at the bits in the same step. Therefore
//! nothing is lost: either the bit comes first and the leaver sees it, or RUNNING goes first and the other finds it free and tries
//! again. `NOTIFIED` with RUNNING free means that the driver was woken, or called for, and has not looked yet. (A driver that has no
//! waker yet was not polled yet, and looks when it is.)
//!
//! # The cells
//!
//! - *Body, slot, turn, the body's end of the ring*: RUNNING's. After `ENDED` the slot is the consumer's, and what is left in it or in
//!   the ring is dropped by the consumer, or by who ends the generator if the consumer is `CLOSED`.
//! - *The consumer's end of the ring*: the consumer's, at any time. With `drop_oldest` a yield takes from that end, too; there the
//!   [ring](ring) has a lock.
//! - *The driver's waker*: written once, before `DRIVER`; read after it by anybody; dropped with the block. It keeps the memory of
//!   a finished task until then, and nothing else.
//! - *The consumer's waker*: behind a lock of one byte, as it may be replaced by a consumer that knocks while whoever has RUNNING takes
//!   it. It is touched only where somebody waits or is woken, which costs a scheduling anyhow.
//! - *The end*: written before `ENDED`; read after it by anybody.
//! - *Branches*, the yields of one body that wait at the same time: behind a lock, as a yield may be dropped anywhere.
//!
//! # A yield
//!
//! A yield proves that it is polled by whoever has RUNNING by a thread-local that says whose body this thread polls, saved and restored on
//! nesting and on unwinding. A waker proves nothing: safe code can poll a yield on another thread with a clone of one.
//!
//! Without a buffer the slot is idle, wanted or full. A request makes it wanted, and stands until its item is there, also when the
//! `next()` that has made it is dropped; an item is accepted while the slot is wanted, which fills it, and its yield goes on when it
//! is wanted again (G3). So nothing is remembered of the item but its number. With a buffer an item is accepted while the ring
//! has room, and its yield goes on at once. A yield that finds no room, or others before it, joins a queue. A waker that is not the body's
//! own (a `FuturesUnordered` has one for each of its futures) is kept, and woken before the poll that answers a request; it would
//! not be reached by that poll otherwise.
//!
//! # A local generator
//!
//! Of a `local` one nothing need be `Send`, though its block is shared as any other is: a waker, a context, a reference to a [`Yielder`] may
//! go anywhere. Those who touch what is not `Send` keep to one thread, that on which it was made:
//!
//! - *The consumer*: its handle is not `Send`, and neither is any future of that.
//! - *The driver*: `spawn_local` has it, so it is polled and dropped on the thread of its set. There is one from the start, and no keeper.
//! - *The yielder* and its guards, which are not `Send`. (Lent as a [`Yielder`], it may be seen elsewhere, and takes what is `Send`.)
//! - *The tasks of its clean-ups*, which the driver spawns with `spawn_local` in turn.
//!
//! Nobody else polls or drops a body or a clean-up. Nor does who lets go of the block: its driver refers to it, and when that is dropped the
//! generator ends (or when who has RUNNING, further down on the same stack, gives it back), and of the clean-ups none is left. With a set that
//! is forgotten the driver is, too; then the block stays for ever, and all that is in it.
//!
//! A clean-up may become due where the set cannot be reached: its handle may be dropped in no set, or in another. So it is left to the
//! driver (`DUE`), which stays for that when the generator has ended, as long as there is a yielder (`YIELDER`).
//!
//! # Overflow
//!
//! With an overflow policy a yield never waits for room. It joins the queue only where it gives way: when the budget is used up, and
//! when the consumer polls the body itself and the ring is full, as then the consumer has what it came for. (A body that waits
//! for nothing else would drop item after item before the eyes of who asks for one; and without a budget it would not come
//! back at all.) Neither is a wait for room: the yield has woken itself, and accepts its item at the driver's next poll, whatever
//! the consumer does. What is dropped is dropped by the yield at its very end, as it is anybody's code: with no lock held, after those
//! behind it in the queue were told. So if that panics, the yield is over, its item counted, and only the body hears of it.
//!
//! # Where a body may be polled
//!
//! The body belongs in its runtime: what it makes there (timers, sockets, tasks) must find it. The driver is a task of that runtime. The
//! consumer asks for the id of the current task, which costs 2 ns, and remembers of the last one that it saw whether it was inside the
//! runtime, together with the waker, which differs where a task holds up its thread with a `block_on`; without a task it asks for
//! the current runtime each time, some 10 ns. What a task does between `Handle::enter` of another runtime and the drop of that guard, or
//! with its own waker inside another runtime's `block_on`, is not seen: to ask for the runtime at each item would cost half an item.
//!
//! A `block_on` of a current-thread runtime has a trap of its own. Wakes that tokio defers until its loop goes on (of `yield_now`, and of who
//! has used up its budget) are dropped when the future that it blocks on is ready; of a body that this future has polled the
//! wake would be lost. There the driver is notified once more, if the body's waker was cloned during the poll.
//!
//! Bodies may consume generators whose bodies consume generators. Past [`NESTED_POLLS`](consumer) polls within one another, the
//! driver is left to do it, on a stack of its own (G9). Likewise for drops: past [`NESTED_DROPS`](ending), they are put off until the
//! outermost has returned (G5).
//!
//! # The budget
//!
//! The consumer asks for tokio's cooperative budget at each sixteenth item, a body with a buffer at each thirty-second (G10): at each, it
//! would cost a third of an item. A body that an overflow policy lets run on asks at each item that is dropped, so that there are some
//! hundred of those between two turns of a consumer on the same thread, and not some thousands. A body without a buffer gives way to its caller at each yield. What a body that is polled by its
//! consumer takes from the budget is its consumer's.
//!
//! # What an item costs
//!
//! On the machine of the benchmarks an item that is ready takes some 14 ns without a buffer, and some 240 instructions: 105 in the
//! consumer's poll, 60 in the two polls of a yield, 40 in the body, 10 for the id of the task. The two read-modify-writes hide
//! behind these: with plain stores in their place it is less than 2 ns faster. What was learned on the way:
//!
//! - What happens rarely is kept out of line (`#[cold]` alone does not do that): it shortens the prologues, of a yield's poll by six
//!   registers. Together with a path of its own for the usual case (the last item was taken, nothing has happened since, the same task
//!   asks again) that is 2 ns.
//! - Whether there is an item, and whether one is asked for, is one byte beside the slot, which goes with RUNNING, and not a bit of
//!   the state word (1 ns).
//! - A thread-local of two words is read and written whole; a closure over it is not always inlined.
//! - The id of the task is asked for before the body is taken, when there are few registers to save.
//!
//! With a buffer of 64 an item takes some 9 ns, and no read-modify-write; with `drop_oldest`, one at each end.
//!
//! A generator that is started, asked five times and stopped costs some 300 ns; with a driver spawned at its start it was 460 on a
//! current-thread runtime, and twice that in a task of the other one, where an idle worker was woken to take the driver over.
//!
//! Chains longer than the bound on nested polls pay a scheduling at each level below it, some 120 ns: an item that a driver has made
//! goes up through the drivers above. Within the bound a level costs some 30 ns.
#![allow(
    unsafe_code,
    reason = "one allocation that is shared without a lock; the rest of the generator is safe code"
)]

mod block;
mod branches;
mod clean_up;
mod consumer;
mod driver;
mod ending;
mod keeper;
#[cfg(all(test, loom))]
mod models;
mod ring;
mod shield;
mod state;
mod thread;
mod yielder;

use self::block::{Block, Runs, SharedRef, allocate, put};
pub(super) use self::consumer::Consumer;
use self::driver::{Driver, LocalDriver};
use self::ending::{Place, publish, reap, see_to_rest};
use self::keeper::Keeper;
pub(super) use self::ring::Ring;
use self::state::{NOTIFIED, ORPHANED};
pub(super) use self::thread::start_thread;
pub use self::thread::{BlockingYielder, Stopped};
pub use self::yielder::{LocalYielder, Yielder};
use super::end::End;
use crate::context::{Context, NodeRef, discard};
use std::borrow::Cow;
use std::future::Future;
use std::mem;
use std::panic::{self, AssertUnwindSafe, Location};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// What a generator is started with, besides its body.
pub(super) struct Plan<T> {
    pub(super) runtime: Handle,
    pub(super) name: Cow<'static, str>,
    pub(super) made: &'static Location<'static>,
    /// With a buffer.
    pub(super) ring: Option<Box<Ring<T>>>,
    /// How long clean-ups may take, from the body's end.
    pub(super) grace: Duration,
    runs: Runs,
    is_local: bool,
    /// Where no driver is spawned before there is need of one; the generator is counted in.
    keeper: Option<Arc<Keeper>>,
}

impl<T> Plan<T> {
    pub(super) fn new(
        runtime: Handle,
        name: Cow<'static, str>,
        made: &'static Location<'static>,
        ring: Option<Box<Ring<T>>>,
        grace: Duration,
    ) -> Self {
        Self { runtime, name, made, ring, grace, runs: Runs::Polled, is_local: false, keeper: None }
    }

    /// With a keeper, unless there is need of a driver from the start: with a buffer, the body starts at once.
    fn kept(mut self) -> Self {
        if self.ring.is_none() {
            self.keeper = Some(Keeper::of(&self.runtime));
        }
        self
    }
}

/// Starts the future that `body` returns, in the plan's runtime, under a context of its own below `parent`.
// Of what a start takes, no more is in here, and in `prepare`, than what depends on the type of the body: it is compiled for each.
pub(super) fn start<T, F>(
    parent: &Context,
    plan: Plan<T>,
    body: impl FnOnce(Context, Yielder<T>) -> F,
) -> Consumer<T>
where
    T: Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    drive(prepare(parent, plan.kept(), body))
}

/// Spawns the driver, if there is one.
fn drive<T>((consumer, driver): (Consumer<T>, Option<Driver>)) -> Consumer<T> {
    if let Some(driver) = driver {
        // A runtime that is shutting down drops the driver here and now, and that is an end too.
        drop(consumer.runtime().spawn(driver));
    }
    consumer
}

/// Starts the future that `body` returns, in the `LocalSet` of the current task, or what else it is that takes `spawn_local`.
///
/// The consumer stays on this thread.
///
/// # Panics
///
/// If there is none; then `body` was not called, and nothing is left of the generator.
#[track_caller]
pub(super) fn start_local<T, F>(
    parent: &Context,
    plan: Plan<T>,
    body: impl FnOnce(Context, LocalYielder<T>) -> F,
) -> Consumer<T>
where
    T: 'static,
    F: Future<Output = ()> + 'static,
{
    let plan = Plan { is_local: true, ..plan };
    // SAFETY: without a keeper. The driver is spawned below, to stay on this thread, and so does the consumer; a `LocalYielder` is not
    // `Send`.
    let block = unsafe { allocate(parent.node(), plan, Block::<T, F>::FORM) };
    let unmade = Unmade(block.node());
    drive_here(&block);
    // SAFETY: of a local generator, the only one, on the thread that has made it.
    let yielder = unsafe { LocalYielder::new(Yielder::new(block.clone())) };
    let body = body(parent.on(block.node().clone()), yielder);
    mem::forget(unmade);
    // SAFETY: RUNNING, since it was allocated, for a body of this type.
    unsafe { put(&block, body) };
    let (mut consumer, _) = let_go(parent, block);
    consumer.stay_with(tokio::task::try_id());
    consumer
}

/// Spawns the driver of a local generator, where this is called.
///
/// # Panics
///
/// As [`start_local`].
#[track_caller]
fn drive_here<T>(block: &SharedRef<T>) {
    // First of all: whether there is something that takes it, only this can tell.
    let driver = LocalDriver::of(block.node().clone());
    let spawned = panic::catch_unwind(AssertUnwindSafe(|| drop(tokio::task::spawn_local(driver))));
    if let Err(payload) = spawned {
        discard(payload);
        panic!(
            "the local generator `{}` needs a `LocalSet` or a `LocalRuntime` to run in: call it from a task that \
             `spawn_local` has started, within `LocalSet::run_until`, or in the `block_on` of a `LocalRuntime`",
            block.head.member.name
        );
    }
}

/// A generator that is ready to go, and its driver, unless it has a keeper or is never to run.
fn prepare<T, F>(
    parent: &Context,
    plan: Plan<T>,
    body: impl FnOnce(Context, Yielder<T>) -> F,
) -> (Consumer<T>, Option<Driver>)
where
    T: Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    // SAFETY: all of it is `Send`.
    let block = unsafe { allocate(parent.node(), plan, Block::<T, F>::FORM) };
    let unmade = Unmade(block.node());
    let body = body(parent.on(block.node().clone()), Yielder::new(block.clone()));
    mem::forget(unmade);
    // SAFETY: RUNNING, since it was allocated, for a body of this type.
    unsafe { put(&block, body) };
    with_driver(let_go(parent, block))
}

/// Lets the body go. Returns whether it is never to run, and gone already.
fn let_go<T>(parent: &Context, block: SharedRef<T>) -> (Consumer<T>, bool) {
    let (node, head) = (block.node(), &block.head);
    let is_over = node.has_end() || head.keeper.as_deref().is_some_and(Keeper::is_gone);
    if is_over {
        // Nothing of it is left when this returns, as this is inside a runtime.
        // SAFETY: RUNNING, since it was allocated, and the body is there.
        let _ = unsafe { reap(node, head, Place::Inside) };
    } else {
        let before = head.state.leave();
        if before & (NOTIFIED | ORPHANED) != 0 {
            // Stopped while its body was made, or without a runtime; if it has a driver by now, that may have looked in vain.
            see_to_rest(node, head, before);
        }
    }
    (Consumer::new(parent, block), is_over)
}

/// With its driver, unless it has a keeper, or is over.
fn with_driver<T>((consumer, is_over): (Consumer<T>, bool)) -> (Consumer<T>, Option<Driver>) {
    let driver = (!consumer.has_keeper() && !is_over).then(|| Driver::of(consumer.node().clone()));
    (consumer, driver)
}

/// Ends a generator whose body could not be made.
struct Unmade<'a>(&'a NodeRef);

impl Drop for Unmade<'_> {
    fn drop(&mut self) {
        // SAFETY: RUNNING, since it was allocated; there is no body.
        unsafe { publish(self.0, End::Aborted) };
    }
}
