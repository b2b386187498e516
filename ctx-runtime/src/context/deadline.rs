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
//! its own. For who waits outside any runtime it is made on the one that the deadline was set in; as that one may stand still,
//! or be gone, a thread that serves all such deadlines of the process looks after it too ([`Sentry`]).
//!
//! The wheel calls an alarm early only when its runtime shuts down. Then all who wait are woken, and look for another
//! timer; callbacks, which cannot look, are left to the sentry (C11).
//!
//! Why no task: it would be one more to count among the runtime's alive, would have to be woken whenever an earlier deadline
//! comes, and `Sleep` has all it takes. What runs in an alarm runs on the thread that drives the runtime's timers.
//!
//! # Who holds what
//!
//! - Node → `Arc<Deadline>` → alarms; an alarm refers back by `Weak`, and the deadline to its owner by a pointer that the owner
//!   takes back before it dies ([`Owner`]).
//! - The timer tells everybody below the owner who still waits, whoever has marked them: so a reader has nothing to hand on.
//!   A cancel that ends the owner takes the timer away; it tells those whom it has marked, and, where a reader has been there
//!   (`read`), everybody.
//! - Firing, and the drop of a `Sleep`, come after the lock.

use super::cause::Cause;
use super::tree::{Owner, Payload, discard, quietly};
use crate::loom::Mutex;
use crate::loom::atomic::{AtomicBool, Ordering};
use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::ptr;
use std::sync::{Arc, Condvar, PoisonError, Weak};
use std::task::{self, Wake, Waker};
use std::time::Duration;
use tokio::runtime::{self, Handle};
use tokio::task::coop::{Unconstrained, unconstrained};
use tokio::time::{Instant, Sleep};

/// How far ahead a deadline that overflows the clock is set: as tokio's own `sleep` does.
const FAR: Duration = Duration::from_secs(86_400 * 365 * 30);

/// The instant `timeout` after `now`; one that the clock cannot say is some thirty years away.
pub(super) fn after(now: Instant, timeout: Duration) -> Instant {
    now.checked_add(timeout).unwrap_or_else(|| now + FAR)
}

thread_local! {
    /// The runtime that was last found to have a timer.
    static TIMED: Cell<Option<runtime::Id>> = const { Cell::new(None) };
}

/// The runtimes that were found to have no timer, or to be gone, the last ones.
static UNTIMED: std::sync::Mutex<VecDeque<runtime::Id>> = std::sync::Mutex::new(VecDeque::new());
const UNTIMED_REMEMBERED: usize = 64;

/// A point in time that ends a node and all below it.
pub(crate) struct Deadline {
    at: Instant,
    cause: Cause,
    /// The runtime in which the deadline was set.
    home: Handle,
    /// The node that this deadline was set for.
    pub(super) owner: Owner,
    /// Something is in `state`, or about to be: so a deadline that nobody waits for is let go without a lock.
    armed: AtomicBool,
    /// A reader has found it passed, and may have marked nodes whose waiters it has told nothing.
    read: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    alarms: Vec<Entry>,
    /// The runtimes that let their alarm down because they were shutting down.
    lost: Vec<runtime::Id>,
    /// The sentry looks after this deadline too.
    guarded: bool,
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
        let runtime = home.id();
        if TIMED.get() != Some(runtime) {
            // Makes no entry in the wheel; only asks whether there is one.
            drop(tokio::time::sleep_until(at));
            TIMED.set(Some(runtime));
        }
        Self::without_a_look(at, cause, home)
    }

    /// In a runtime that may have no timer: then the sentry looks after it.
    pub(super) fn without_a_look(at: Instant, cause: Cause, home: Handle) -> Arc<Self> {
        Arc::new(Self {
            at,
            cause,
            home,
            owner: Owner::new(),
            armed: AtomicBool::new(false),
            read: AtomicBool::new(false),
            state: Mutex::new(State::default()),
        })
    }

    pub(super) fn at(&self) -> Instant {
        self.at
    }

    pub(super) fn cause(&self) -> &Cause {
        &self.cause
    }

    pub(super) fn has_passed(&self) -> bool {
        now() >= self.at
    }

    /// Takes the alarms off the wheels: all who waited have been told, or nobody is left to be.
    pub(super) fn disarm(&self) {
        // Acquire: pairs with the Release in `arm`. Who arms only now finds the owner done; what it armed goes with the owner.
        if !self.armed.load(Ordering::Acquire) {
            return;
        }
        let (alarms, guarded) = {
            let mut state = self.state.lock();
            (mem::take(&mut state.alarms), mem::take(&mut state.guarded))
        };
        drop(alarms);
        if guarded {
            Sentry::relieve(self);
        }
    }

    /// What a reader does: marks, and leaves those who wait to the timer. Returns whether the deadline has passed.
    pub(super) fn publish_if_passed(&self) -> bool {
        if !self.has_passed() {
            return false;
        }
        let Some(owner) = self.owner.upgrade() else { return true };
        // Release, and before the marking: a cancel that finds a node marked by us has seen it, and tells all (`was_read`).
        self.read.store(true, Ordering::Release);
        drop(owner.mark(self.cause.clone()));
        true
    }

    /// Whether a reader may have marked nodes below the owner. A cancel that takes the timer away asks, after its own marking:
    /// it has told those whom it has marked itself, and the timer would have told the others.
    pub(super) fn was_read(&self) -> bool {
        // Acquire: pairs with the Release in `publish_if_passed`.
        self.read.load(Ordering::Acquire)
    }

    /// What the timer does, and a cancel that comes after the deadline: marks and wakes. Returns the first panic.
    pub(super) fn expire(&self) -> Option<Payload> {
        let owner = self.owner.upgrade()?;
        let marking = owner.mark(self.cause.clone());
        let alarms = mem::take(&mut self.state.lock().alarms);
        drop(alarms);
        let mut first = marking.fire(&owner);
        // And those whom a reader has marked.
        owner.tell_all(&mut first);
        first
    }

    /// Sees to it that a timer wakes who waits from where this is called; if one does already, looks and no more.
    ///
    /// If the deadline has passed, does that timer's work at once.
    pub(super) fn arm(self: &Arc<Self>) {
        // Release: pairs with the Acquire in `disarm`.
        self.armed.store(true, Ordering::Release);
        let (here, may_enter) = match Handle::try_current() {
            Ok(handle) => (Some(handle), true),
            // Where a thread's locals are being destroyed no runtime can be entered: the sentry alone can help.
            Err(error) => (None, !error.is_thread_local_destroyed()),
        };
        let (handle, sentry_wanted) = {
            let mut state = self.state.lock();
            let alive = |handle: &&Handle| !state.lost.contains(&handle.id());
            let here = here.as_ref().filter(alive);
            let handle = here.or(Some(&self.home).filter(|home| may_enter && alive(home))).cloned();
            let handle =
                handle.filter(|handle| state.alarms.iter().all(|entry| entry.runtime != handle.id()));
            let guard = here.is_none() && !mem::replace(&mut state.guarded, true);
            if let Some(handle) = &handle {
                state.alarms.push(Entry { runtime: handle.id(), sleep: None });
            }
            // Under the lock, so that whoever takes `guarded` back finds the post to be relieved.
            (handle, guard && Sentry::post(self))
        };
        if sentry_wanted {
            Sentry::start();
        }
        let Some(handle) = handle else { return };
        let alarm = Arc::new(Alarm { deadline: Arc::downgrade(self), runtime: handle.id() });
        let Some((sleep, over)) = self.sleep_on(&handle, here.is_some(), &Waker::from(alarm)) else {
            // No timer there, or not any more: the next one to ask is the deadline's own runtime, then the sentry.
            let mut state = self.state.lock();
            state.lost.push(handle.id());
            state.alarms.retain(|entry| entry.runtime != handle.id());
            drop(state);
            return self.arm();
        };
        if over {
            // The wheel wakes no alarm for what is over already. A panic was reported by the panic hook (C6).
            self.expire().into_iter().for_each(discard);
            return;
        }
        let mut state = self.state.lock();
        // Unless it was called, disarmed or lost in the meantime.
        let sleep = match state.alarms.iter_mut().find(|entry| entry.runtime == handle.id()) {
            Some(entry) => entry.sleep.replace(sleep),
            None => Some(sleep),
        };
        drop(state);
        drop(sleep);
    }

    /// An entry in the wheel of that runtime (`inside` which this is called, or not), and whether the deadline has passed.
    /// `None` if that runtime has no timer, or is gone.
    fn sleep_on(
        &self,
        handle: &Handle,
        inside: bool,
        waker: &Waker,
    ) -> Option<(Pin<Box<Unconstrained<Sleep>>>, bool)> {
        let id = handle.id();
        let entry = || {
            let _inside = (!inside || TIMED.get() != Some(id)).then(|| handle.enter());
            // Not under the task's budget: it would wake an alarm before its time.
            let mut sleep = Box::pin(unconstrained(tokio::time::sleep_until(self.at)));
            let polled = sleep.as_mut().poll(&mut task::Context::from_waker(waker));
            (sleep, polled.is_ready())
        };
        if TIMED.get() == Some(id) {
            return panic::catch_unwind(AssertUnwindSafe(entry)).map_err(discard).ok();
        }
        // There is no way to ask a runtime for its timer but to try, which the panic hook reports: so once for each runtime.
        if lock(&UNTIMED).contains(&id) {
            return None;
        }
        let made = panic::catch_unwind(AssertUnwindSafe(entry)).map_err(discard).ok();
        if made.is_none() {
            let mut untimed = lock(&UNTIMED);
            if untimed.len() == UNTIMED_REMEMBERED {
                untimed.pop_front();
            }
            untimed.push_back(id);
        }
        made
    }

    /// A runtime shuts down with our entry in its wheel. Who waits is woken, to look for another timer.
    fn lose(self: &Arc<Self>, runtime: runtime::Id) {
        let (owner, entry, sentry_wanted) = {
            let mut state = self.state.lock();
            state.lost.push(runtime);
            let entry = state.alarms.iter().position(|entry| entry.runtime == runtime);
            let entry = entry.map(|at| state.alarms.swap_remove(at));
            let owner = self.owner.upgrade();
            let guard = owner.is_some() && !mem::replace(&mut state.guarded, true);
            (owner, entry, guard && Sentry::post(self))
        };
        drop(entry);
        if sentry_wanted {
            Sentry::start();
        }
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
            deadline.expire().into_iter().for_each(discard);
        } else {
            deadline.lose(self.runtime);
        }
    }
}

/// The thread that looks after the deadlines that no runtime can be trusted with. It lives while there are any.
struct Sentry;

/// What the sentry looks after.
struct Posts {
    /// By their time and, to tell them apart, their address.
    deadlines: BTreeMap<(Instant, usize), Weak<Deadline>>,
    /// There is a thread, or about to be. If none can be had, the runtimes' own timers have to do, and the next post tries
    /// again.
    has_thread: bool,
}

/// Taken with or without a deadline's `state`, and never before it.
static POSTS: std::sync::Mutex<Posts> =
    std::sync::Mutex::new(Posts { deadlines: BTreeMap::new(), has_thread: false });

/// There is an earlier deadline than before, or none any more.
static POSTED: Condvar = Condvar::new();

impl Sentry {
    /// Has the sentry look after this deadline. Returns whether the caller is to [`start`](Self::start) its thread.
    #[must_use]
    fn post(deadline: &Arc<Deadline>) -> bool {
        let mut posts = lock(&POSTS);
        let key = (deadline.at, Arc::as_ptr(deadline).addr());
        posts.deadlines.insert(key, Arc::downgrade(deadline));
        POSTED.notify_one();
        !mem::replace(&mut posts.has_thread, true)
    }

    fn start() {
        let thread = std::thread::Builder::new().name("ctx-deadlines".to_owned());
        if thread.spawn(Self::run).is_err() {
            lock(&POSTS).has_thread = false;
        }
    }

    /// The deadline is over, or nobody is left whom it concerns.
    fn relieve(deadline: &Deadline) {
        let mut posts = lock(&POSTS);
        let key = (deadline.at, ptr::from_ref(deadline).addr());
        let weak = posts.deadlines.remove(&key);
        if posts.deadlines.is_empty() {
            POSTED.notify_one();
        }
        drop(posts);
        drop(weak);
    }

    fn run() {
        let mut posts = lock(&POSTS);
        while let Some((&key, deadline)) = posts.deadlines.first_key_value() {
            let left = key.0.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                posts = POSTED.wait_timeout(posts, left).unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            let deadline = deadline.upgrade();
            posts.deadlines.remove(&key);
            drop(posts);
            // A panic was reported by the panic hook when it happened; the others go on (C6).
            quietly(|| {
                if let Some(deadline) = deadline {
                    deadline.expire().into_iter().for_each(discard);
                }
            });
            posts = lock(&POSTS);
        }
        posts.has_thread = false;
    }
}

fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tokio's time, also where the thread's locals are gone: there `Instant::now` panics under `test-util`.
pub(super) fn now() -> Instant {
    // Who is in a task has its locals, and this is the cheaper look.
    if tokio::task::try_id().is_some() {
        return Instant::now();
    }
    match Handle::try_current() {
        Err(error) if error.is_thread_local_destroyed() => std::time::Instant::now().into(),
        _ => Instant::now(),
    }
}
