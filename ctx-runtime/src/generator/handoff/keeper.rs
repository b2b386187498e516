//! Who stands in for the drivers that were never spawned: one keeper for each runtime that generators without a buffer run on.
//!
//! A body without a buffer that has only ever been polled by its consumer, and never woken, needs no task: nobody but the consumer
//! can move it on. Two things can still befall it, and both are the keeper's.
//!
//! - *It is to be polled, or to be ended, by its own runtime*: something that it awaited has woken it, its consumer may not poll it, or
//!   its context is done. Then it is [called](Keeper::call) for: it joins a queue, which is seen to by tasks of the runtime. Such a
//!   task ends those that were stopped; of the first that lives on it becomes the driver.
//! - *Its runtime goes away.* The keeper has a task there, the [`Watch`]. When that is dropped before its time, it ends every generator
//!   of this keeper that is alive, which it finds where the reports find them: below the roots of the tree. So a generator costs its
//!   keeper a count, and no list.
//!
//! # The queue
//!
//! It is in two parts, an inbox and what was taken out of that, so that a cancel of thousands and who serves them do not meet at each.
//! While it is not empty it has a *dispatcher*, a task that is spawned by whoever puts the first one in. It sees to a generator that is
//! alone in the queue itself. Where there are more it spawns a *server*, which takes one after another out, up to a batch, and steps
//! back to look again later. A destructor that holds up its thread so holds up no other generator, while the runtime has another
//! thread: the dispatcher stands where any of them finds it. The server stands where only the thread that has spawned it does, until
//! that takes up its next task: tokio's LIFO slot is stolen by nobody. That is why it is not the server that calls the next one; and
//! why, where a second generator comes before the first was seen to, a second dispatcher is spawned: it pushes the first out of
//! that slot. (A task that cancels a hundred thousand keeps its thread for some milliseconds.)
//!
//! # The count
//!
//! | step | by | then |
//! | --- | --- | --- |
//! | `ENTRY` added | the start of a generator, unless `GONE` is set: then there is a new keeper | |
//! | `ENTRY` taken off | its end | wakes the watch if that was the last and `KNOWN` is set |
//! | `KNOWN` set | the watch's first poll, its waker being in its cell | looks at the count |
//! | `GONE` set | the watch, if there is no entry, when it is polled; else when it is dropped | nobody enters any more |
//!
//! The watch of a runtime on which no such generator is alive therefore ends, though not before it is polled: one that comes before that
//! finds it still there.
//!
//! A generator that starts while its runtime goes away cannot be missed: it is listed in the tree, and looks at `GONE` after that; the
//! watch sets `GONE`, and looks at the tree after that. Both take the lock of the list that it joins, and who comes second sees
//! what the first has done.

use super::block::Head;
use super::driver::Driver;
use super::ending::{Place, orphan, reap, see_to_rest};
use super::state::{CALLED, ENDED, Entered, ORPHANED, RUNNING};
use crate::context::{Lock, NodeRef, quietly};
use crate::loom::Mutex;
use crate::loom::atomic::{AtomicUsize, Ordering};
use std::collections::VecDeque;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{self, Poll, Waker};
use tokio::runtime::Handle;

/// How many generators a server sees to before it gives way.
const BATCH: usize = 32;

/// Nobody enters any more, and nobody is served.
const GONE: usize = 1;
/// The watch's waker is in its cell.
const KNOWN: usize = 1 << 1;
/// A generator.
const ENTRY: usize = 1 << 2;

pub(super) struct Keeper {
    count: AtomicUsize,
    /// Of the watch. Written before `KNOWN` is set.
    watch: OnceLock<Waker>,
    /// Those that were called for; behind a lock of its own, which a cancel of thousands takes for each.
    inbox: Lock<Inbox>,
    /// What was taken out of the inbox, for the servers.
    queue: Mutex<VecDeque<NodeRef>>,
    /// What takes the place of the runtime in loom's models: a thread of theirs runs what is spawned.
    #[cfg(all(test, loom))]
    spawned: super::models::Spawned,
}

#[derive(Default)]
struct Inbox {
    nodes: VecDeque<NodeRef>,
    dispatchers: u8,
}

impl Keeper {
    fn new() -> Self {
        Self {
            count: AtomicUsize::new(ENTRY),
            watch: OnceLock::new(),
            inbox: Lock::new(Inbox::default()),
            queue: Mutex::new(VecDeque::new()),
            #[cfg(all(test, loom))]
            spawned: super::models::Spawned::default(),
        }
    }

    /// Counts a generator in. False if it is too late for that.
    pub(super) fn enter(&self) -> bool {
        let count = |count| (count & GONE == 0).then(|| count + ENTRY);
        self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count).is_ok()
    }

    /// Counts one out, which has ended.
    pub(super) fn leave(&self) {
        // Release and Acquire: either the watch's look at the count sees this, or this sees its waker.
        let before = self.count.fetch_sub(ENTRY, Ordering::AcqRel);
        if before / ENTRY == 1 && before & KNOWN != 0 {
            self.watch.get().into_iter().for_each(Waker::wake_by_ref);
        }
    }

    /// Whether the runtime has gone away (or, while nobody was counted in, the keeper).
    pub(super) fn is_gone(&self) -> bool {
        // Acquire: as the lock of the tree's list that was taken before, where the order matters.
        self.count.load(Ordering::Acquire) & GONE != 0
    }

    /// Has a generator of this keeper seen to by its own runtime. `CALLED` was just set.
    pub(super) fn call(self: &Arc<Self>, node: NodeRef, runtime: &Handle) {
        let mut inbox = self.inbox.lock();
        if self.is_gone() {
            // It is ended by the watch; or has ended, if that had nobody to watch.
            drop(inbox);
            return;
        }
        inbox.nodes.push_back(node);
        // The second one makes the first go where any thread of the runtime finds it.
        let is_due = inbox.dispatchers == 0 || (inbox.dispatchers == 1 && inbox.nodes.len() == 2);
        inbox.dispatchers += u8::from(is_due);
        drop(inbox);
        if is_due {
            spawn(Server::Dispatching(Arc::clone(self)), runtime);
        }
    }

    /// What the dispatcher finds.
    fn look(&self) -> Found {
        let mut queue = self.queue.lock();
        if queue.len() < 2 {
            let mut inbox = self.inbox.lock();
            queue.append(&mut inbox.nodes);
            if queue.len() < 2 {
                // It goes, and who puts the next one in spawns another.
                inbox.dispatchers -= 1;
                return queue.pop_front().map_or(Found::Nothing, Found::One);
            }
        }
        // SAFETY: only generators are called for.
        let runtime = |node| unsafe { Head::of(node) }.runtime.clone();
        queue.front().map(runtime).map_or(Found::Nothing, Found::Several)
    }

    fn take(&self) -> Option<NodeRef> {
        let mut queue = self.queue.lock();
        if queue.is_empty() {
            mem::swap(&mut *queue, &mut self.inbox.lock().nodes);
        }
        queue.pop_front()
    }

    /// Nobody is served any more. What is in the queue is let go of, as it refers to the keeper.
    fn close(&self) {
        let nodes = mem::take(&mut self.inbox.lock().nodes);
        let taken = mem::take(&mut *self.queue.lock());
        // With the last reference goes what the user's destructors are for, such as a cause. One that panics keeps no other from that.
        for node in nodes.into_iter().chain(taken) {
            quietly(|| drop(node));
        }
    }
}

enum Found {
    Nothing,
    One(NodeRef),
    /// And the runtime of all of them.
    Several(Handle),
}

/// A task that sees to those in the queue.
pub(super) enum Server {
    Dispatching(Arc<Keeper>),
    Serving(Arc<Keeper>),
    /// It has found a generator that lives on.
    Driving(Driver),
}

impl Future for Server {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        let driver = match &mut *self {
            Self::Driving(driver) => return Pin::new(driver).poll(cx),
            Self::Dispatching(keeper) => match keeper.look() {
                Found::Nothing => None,
                Found::One(node) => see_to(node),
                Found::Several(runtime) => {
                    spawn(Self::Serving(Arc::clone(keeper)), &runtime);
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            },
            Self::Serving(keeper) => (0..BATCH).map_while(|_| keeper.take()).find_map(see_to),
        };
        let Some(driver) = driver else { return Poll::Ready(()) };
        *self = Self::Driving(driver);
        self.poll(cx)
    }
}

/// A runtime that is shutting down drops it here and now; the watch sees to the generators.
#[cfg(not(all(test, loom)))]
fn spawn(server: Server, runtime: &Handle) {
    drop(runtime.spawn(server));
}

#[cfg(all(test, loom))]
fn spawn(server: Server, _: &Handle) {
    if let Server::Dispatching(keeper) | Server::Serving(keeper) = &server {
        let keeper = Arc::clone(keeper);
        keeper.spawned.push(Box::pin(server));
    }
}

/// Ends a generator that was stopped. Of one that lives on, returns the driver.
fn see_to(node: NodeRef) -> Option<Driver> {
    if !node.has_end() {
        return Some(Driver::of(node));
    }
    // SAFETY: only generators are called for.
    let head = unsafe { Head::of(&node) };
    loop {
        match head.state.enter(0, 0) {
            Entered::Ended => return None,
            Entered::Yes(_) if head.is_shielded() => {
                // Until the section is over there is a body to be polled.
                see_to_rest(&node, head, head.state.leave() & ORPHANED);
                return Some(Driver::of(node));
            }
            Entered::Yes(_) => {
                // SAFETY: RUNNING was just taken, and until there is an end the body is there.
                let reaped = unsafe { reap(&node, head, Place::Inside) };
                debug_assert!(reaped, "inside its runtime, it can");
                return None;
            }
            Entered::Busy => {
                // Whoever has it may call anew, being notified; or has left before that was possible, and somebody else may.
                let before = head.state.clear(CALLED);
                if before & (RUNNING | ENDED) != 0 || head.state.set(CALLED) & CALLED != 0 {
                    return None;
                }
            }
        }
    }
}

/// The task that notices when the runtime goes away.
struct Watch(Option<Arc<Keeper>>);

impl Future for Watch {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        let Some(keeper) = &self.0 else { return Poll::Ready(()) };
        if keeper.watch.get().is_none() {
            // A task has one waker for life.
            let _ = keeper.watch.set(cx.waker().clone());
            keeper.count.fetch_or(KNOWN, Ordering::AcqRel);
        }
        // Acquire: what the last one did before it left comes first.
        if keeper.count.compare_exchange(KNOWN, KNOWN | GONE, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return Poll::Pending;
        }
        keeper.close();
        self.0 = None;
        Poll::Ready(())
    }
}

impl Drop for Watch {
    /// The runtime goes away, and every body with it (G11).
    fn drop(&mut self) {
        let Some(keeper) = self.0.take() else { return };
        // Release: pairs with the Acquire in `is_gone`.
        keeper.count.fetch_or(GONE, Ordering::AcqRel);
        keeper.close();
        let end = |node: NodeRef| {
            // SAFETY: a generator's with a block of this kind (of the inline ones none is alive for the tree).
            let head = unsafe { Head::of(&node) };
            if head.keeper.as_ref().is_some_and(|its| Arc::ptr_eq(its, &keeper)) {
                orphan(&node, head);
            }
        };
        // As in `close`: it may be the last reference.
        for node in NodeRef::generators(NodeRef::roots()) {
            quietly(|| end(node));
        }
    }
}

/// The keepers, by the runtimes.
#[cfg(not(all(test, loom)))]
mod of_runtimes {
    use super::{Keeper, Watch};
    use crate::loom::Mutex;
    use std::cell::RefCell;
    use std::collections::HashMap;
    use std::sync::{Arc, LazyLock, Weak};
    use tokio::runtime::{Handle, Id};

    /// A runtime that comes to an end may leave its id to another. Its keeper is gone, and is replaced.
    static KEEPERS: LazyLock<Mutex<HashMap<Id, Weak<Keeper>>>> = LazyLock::new(Mutex::default);

    thread_local! {
        /// The one that this thread has asked for last.
        static LAST: RefCell<Option<(Id, Arc<Keeper>)>> = const { RefCell::new(None) };
    }

    impl Keeper {
        /// The keeper of a runtime, with a generator counted in.
        pub(in super::super) fn of(runtime: &Handle) -> Arc<Self> {
            let id = runtime.id();
            let last = LAST.try_with(|last| match &*last.borrow() {
                Some((of, keeper)) if *of == id && keeper.enter() => Some(Arc::clone(keeper)),
                _ => None,
            });
            match last {
                Ok(Some(keeper)) => keeper,
                _ => look_up(runtime, id),
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn look_up(runtime: &Handle, id: Id) -> Arc<Keeper> {
        let mut keepers = KEEPERS.lock();
        let known = keepers.get(&id).and_then(Weak::upgrade).filter(|keeper| keeper.enter());
        let keeper = known.clone().unwrap_or_else(|| {
            let keeper = Arc::new(Keeper::new());
            // Those of runtimes that are gone go when there are twice as many as were left the last time.
            if keepers.len() == keepers.capacity() {
                keepers.retain(|_, keeper| keeper.strong_count() > 0);
            }
            keepers.insert(id, Arc::downgrade(&keeper));
            keeper
        });
        drop(keepers);
        if known.is_none() {
            // A runtime that is shutting down drops it here and now, and the generator finds that its keeper is gone.
            drop(runtime.spawn(Watch(Some(Arc::clone(&keeper)))));
        }
        let replaced = LAST.try_with(|last| last.replace(Some((id, Arc::clone(&keeper)))));
        drop(replaced);
        keeper
    }
}

#[cfg(all(test, loom))]
impl Keeper {
    /// One for each generator, which is counted in.
    pub(super) fn of(_: &Handle) -> Arc<Self> {
        Arc::new(Self::new())
    }

    pub(super) fn spawned(&self) -> &super::models::Spawned {
        &self.spawned
    }

    /// The task that it has in its runtime.
    pub(super) fn watch(self: &Arc<Self>) -> impl Future<Output = ()> + use<> {
        Watch(Some(Arc::clone(self)))
    }
}
