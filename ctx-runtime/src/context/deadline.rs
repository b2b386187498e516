//! When a context runs out of time, and the timers that see to it.
//!
//! A [`Deadline`] belongs to the node that it was set for, its *owner*; the nodes below that inherit it share it. Two ways
//! lead to its end:
//!
//! - A *reader* that finds it passed publishes it: it marks the owner's subtree and leaves those who wait to the timer.
//! - The *timer* publishes it, if no reader has, and wakes all who wait (C4).
//!
//! The timer is an entry in the timer wheel of a tokio runtime, without a task: a `Sleep` that is polled once, with a waker
//! of ours (an [`Alarm`]), and kept until the deadline is over. It is made when somebody first waits, on the runtime of
//! whoever waits, and again on every other runtime that somebody waits on: so no waiter depends on a runtime that is not
//! its own. Who waits outside any runtime relies on the one that the deadline was set in. The wheel calls an alarm early
//! only when its runtime shuts down; then all who wait are woken, and look for another timer (C11).
//!
//! # Who holds what
//!
//! - Node → `Arc<Deadline>` → alarms; an alarm refers back by `Weak`, and so does the deadline to its owner.
//! - Marking for this deadline is done under that lock, so that the timer and a reader see one another's work. Nothing
//!   that locks `state` holds a node's lock; the order is `state`, then nodes.
//! - Firing, and the drop of a `Sleep`, come after the lock.

use super::cause::Cause;
use super::tree::{Marking, NodeRef, Owner, Payload};
use crate::loom::Mutex;
use std::future::Future;
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{self, Poll, Wake, Waker};
use std::time::Duration;
use tokio::runtime::{self, Handle};
use tokio::task::coop::{Unconstrained, unconstrained};
use tokio::time::{Instant, Sleep};

/// How far ahead a deadline that overflows the clock is set: as tokio's own `sleep` does.
const FAR: Duration = Duration::from_secs(86_400 * 365 * 30);

/// The instant `timeout` from now; one that the clock cannot say is some thirty years away.
pub(super) fn after(timeout: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(timeout).unwrap_or_else(|| now + FAR)
}

/// A point in time that ends a node and all below it.
pub(crate) struct Deadline {
    at: Instant,
    cause: Cause,
    /// The runtime in which the deadline was set.
    home: Handle,
    /// The node that this deadline was set for.
    pub(super) owner: Owner,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    alarms: Vec<Entry>,
    /// The runtimes that let their alarm down because they were shutting down.
    lost: Vec<runtime::Id>,
    /// Who waits below nodes that a reader has marked; for the timer to wake.
    unfired: Vec<NodeRef>,
}

struct Entry {
    runtime: runtime::Id,
    /// Held, not looked at: a `Sleep` stays in its wheel for as long as it exists. `None` while it is being made.
    sleep: Option<Pin<Box<Unconstrained<Sleep>>>>,
}

impl Deadline {
    /// # Panics
    ///
    /// If the current runtime has no timer, in tokio's words, at the caller's line.
    #[track_caller]
    pub(super) fn new(at: Instant, cause: Cause, home: Handle) -> Arc<Self> {
        // Makes no entry in the wheel; only asks whether there is one.
        drop(tokio::time::sleep_until(at));
        Arc::new(Self { at, cause, home, owner: Owner::new(), state: Mutex::new(State::default()) })
    }

    pub(super) fn at(&self) -> Instant {
        self.at
    }

    pub(super) fn has_passed(&self) -> bool {
        now() >= self.at
    }

    /// Takes the alarms off the wheels: all who waited have been told, or nobody is left to be.
    pub(super) fn disarm(&self) {
        let alarms = mem::take(&mut self.state.lock().alarms);
        drop(alarms);
    }

    /// What a reader does: marks, and leaves those who wait to the timer. Returns whether the deadline has passed.
    pub(super) fn publish_if_passed(&self) -> bool {
        if !self.has_passed() {
            return false;
        }
        let mut state = self.state.lock();
        let Some(owner) = self.owner.upgrade() else { return true };
        let mut fires = owner.mark(self.cause.clone()).into_fires(&owner);
        // Without an alarm nobody waits; who is about to looks at the clock after it has registered.
        if !state.alarms.is_empty() {
            state.unfired.append(&mut fires);
        }
        drop(state);
        drop(fires);
        true
    }

    /// What the timer does, and a cancel that comes after the deadline: marks and wakes. Returns the first panic.
    pub(super) fn expire(&self) -> Option<Payload> {
        let (owner, marking, unfired, alarms) = {
            let mut state = self.state.lock();
            let owner = self.owner.upgrade()?;
            let marking = owner.mark(self.cause.clone());
            (owner, marking, mem::take(&mut state.unfired), mem::take(&mut state.alarms))
        };
        drop(alarms);
        let panic = marking.fire(&owner);
        panic.or(Marking::from_fires(unfired).fire(&owner))
    }

    /// Sees to it that a timer wakes who waits from where this is called. Ready if the deadline has passed.
    pub(super) fn arm(self: &Arc<Self>) -> Poll<()> {
        if self.publish_if_passed() {
            return Poll::Ready(());
        }
        let here = Handle::try_current().ok();
        let handle = {
            let mut state = self.state.lock();
            // Who waits outside a runtime, or in one that is going away, relies on the deadline's own.
            let candidates = here.iter().chain([&self.home]);
            let Some(handle) = candidates.into_iter().find(|handle| !state.lost.contains(&handle.id()))
            else {
                return Poll::Pending;
            };
            let runtime = handle.id();
            if state.alarms.iter().any(|entry| entry.runtime == runtime) {
                return Poll::Pending;
            }
            state.alarms.push(Entry { runtime, sleep: None });
            handle.clone()
        };
        let alarm = Arc::new(Alarm { deadline: Arc::downgrade(self), runtime: handle.id() });
        let sleep = self.sleep_on(&handle, &Waker::from(alarm));
        let mut state = self.state.lock();
        // Unless it was called, disarmed or lost in the meantime.
        let sleep = match state.alarms.iter_mut().find(|entry| entry.runtime == handle.id()) {
            Some(entry) => mem::replace(&mut entry.sleep, sleep),
            None => sleep,
        };
        drop(state);
        drop(sleep);
        if self.publish_if_passed() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// An entry in the wheel of that runtime, or in the deadline's own if that one has no timer.
    fn sleep_on(&self, handle: &Handle, waker: &Waker) -> Option<Pin<Box<Unconstrained<Sleep>>>> {
        let make = |handle: &Handle| {
            let _inside = handle.enter();
            // Not under the task's budget: it would wake an alarm before its time.
            let mut sleep = Box::pin(unconstrained(tokio::time::sleep_until(self.at)));
            let _ = sleep.as_mut().poll(&mut task::Context::from_waker(waker));
            sleep
        };
        if handle.id() == self.home.id() {
            return Some(make(handle));
        }
        // There is no way to ask a runtime for a timer but to try.
        panic::catch_unwind(AssertUnwindSafe(|| make(handle))).ok().or_else(|| Some(make(&self.home)))
    }

    /// A runtime shuts down with our entry in its wheel. Who waits is woken, to look for another timer.
    fn lose(&self, runtime: runtime::Id) {
        let (owner, entry) = {
            let mut state = self.state.lock();
            state.lost.push(runtime);
            let entry = state.alarms.iter().position(|entry| entry.runtime == runtime);
            let entry = entry.map(|at| state.alarms.swap_remove(at));
            (self.owner.upgrade(), entry)
        };
        drop(entry);
        if let Some(owner) = owner {
            owner.rouse();
        }
    }
}

/// What the wheel of one runtime wakes.
struct Alarm {
    deadline: Weak<Deadline>,
    runtime: runtime::Id,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let Some(deadline) = self.deadline.upgrade() else { return };
        if deadline.has_passed() {
            // A panic was reported by the panic hook when it happened; the wheel goes on (C6).
            drop(deadline.expire());
        } else {
            deadline.lose(self.runtime);
        }
    }
}

/// Tokio's time, also where the thread's locals are gone: there `Instant::now` panics under `test-util`.
fn now() -> Instant {
    match Handle::try_current() {
        Err(error) if error.is_thread_local_destroyed() => std::time::Instant::now().into(),
        _ => Instant::now(),
    }
}
