//! What is to run when a body is gone.
//!
//! A block keeps the clean-ups of its body in a list, each with a number, in the order in which they were asked for. A guard takes its
//! number when it is made.
//!
//! | phase | begins | a guard that is dropped |
//! | --- | --- | --- |
//! | `Alive` | with the first clean-up, if the body is not gone | is cleaned up at once, in a task of its own |
//! | `Dropping` | when whoever has RUNNING drops the body | joins the list |
//! | `Gone` | when the body is gone | has outlived its body (it was forgotten, and found again): as `Alive` |
//!
//! When the body is gone a task takes the list, and runs what is in it one after another, the one with the highest number first. A
//! generator is alive, for the reports and for who waits until it has ended, until that task and those of the guards are done; a
//! runtime that goes away drops them, and that counts as done.
//!
//! The tasks of a [local](super#a-local-generator) generator are left to its driver, which spawns them in the set. Where that is gone,
//! they are dropped: by the driver what is still left to it, and by who comes later what it has.
//!
//! The time for all of it, from the body's end on, is a context with a deadline, so it follows tokio's clock, also in a runtime without a
//! timer. Who runs before that, for a guard, waits for the body's end by a context, too. (The end of the generator's own comes first,
//! where a section holds up that of the body.)

use super::block::{Head, wake_driver};
use super::ending::{Place, entered};
use super::state::{DUE, ORPHANED};
use crate::context::{Canceller, Context, NodeRef, cleaning_up, discard, quietly};
use std::future::{Future, pending, poll_fn};
use std::mem;
use std::ops::{Deref, DerefMut};
use std::panic::{self, AssertUnwindSafe};
use std::pin::{Pin, pin};
use std::task::{self, Poll};
use std::thread;

/// What is to run when the body is gone, or a guard is.
pub(super) struct CleanUp(Pin<Box<dyn Future<Output = ()>>>);

// SAFETY: by the word of who has made it, the future is `Send`, or it is of a local generator and was made on its thread. There it stays:
// it is moved on by who has RUNNING, by the driver, and by the task that this spawns with `spawn_local`, and all of these do, too.
unsafe impl Send for CleanUp {}

impl CleanUp {
    pub(super) fn new(future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(Box::pin(future))
    }

    /// # Safety
    ///
    /// The future is `Send`; or this is the thread of the local generator that is given it.
    pub(super) unsafe fn here(future: impl Future<Output = ()> + 'static) -> Self {
        Self(Box::pin(future))
    }

    /// The whole of it: a closure that reached for its field would take that along, without the word above.
    fn poll(&mut self, cx: &mut task::Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

/// What runs some of it.
pub(super) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

#[derive(Default)]
pub(super) struct CleanUps {
    /// The last number that was given away.
    last: u64,
    list: Vec<(u64, CleanUp)>,
    phase: Phase,
    /// Tasks that run some of it.
    running: usize,
    /// Those of a local generator that wait for its driver.
    due: Vec<Task>,
    /// Ends with the body; for the tasks that run before that.
    body: Option<(Context, Canceller)>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Alive,
    Dropping,
    Gone,
}

impl CleanUps {
    /// Counts a task in that is to run before the others, or after them. Returns the context that ends with the body, if that is not
    /// gone.
    fn count_in(&mut self) -> Option<Context> {
        self.running += 1;
        (self.phase != Phase::Gone).then(|| {
            let (body, _) = self.body.get_or_insert_with(|| Context::background().with_cancel());
            body.clone()
        })
    }
}

/// The node of a generator, by the word of who has made its [`Yielder`](super::Yielder).
fn head(node: &NodeRef) -> &Head {
    // SAFETY: as said.
    unsafe { Head::of(node) }
}

impl Head {
    fn with_clean_ups<R>(&self, act: impl FnOnce(&mut CleanUps) -> R) -> R {
        let mut clean_ups = self.clean_ups.lock();
        act(clean_ups.get_or_insert_with(|| {
            // Who ends a generator without any looks in here after `ENDED`, and not again: so who comes after that one sees it.
            let phase = if self.end().is_some() { Phase::Gone } else { Phase::Alive };
            Box::new(CleanUps { phase, ..CleanUps::default() })
        }))
    }

    /// The body is about to be dropped.
    pub(super) fn begin_clean_up(&self) {
        if let Some(clean_ups) = &mut *self.clean_ups.lock() {
            clean_ups.phase = Phase::Dropping;
        }
    }
}

/// Has `clean_up` run when the body is gone.
pub(super) fn defer(node: &NodeRef, clean_up: CleanUp) {
    let late = head(node).with_clean_ups(|clean_ups| {
        if clean_ups.phase == Phase::Gone {
            return Some((clean_up, clean_ups.count_in()));
        }
        clean_ups.last += 1;
        clean_ups.list.push((clean_ups.last, clean_up));
        None
    });
    if let Some((clean_up, body)) = late {
        spawn(node, vec![clean_up], body);
    }
}

/// A value with what is to become of it.
pub(super) struct Guard<'a, V, C, F, P>
where
    C: FnOnce(V) -> F,
    F: Future<Output = ()> + 'static,
{
    node: &'a NodeRef,
    number: u64,
    /// There until it is dropped.
    guarded: Option<(V, C)>,
    /// Keeps it on its thread, or not.
    _place: P,
}

impl<'a, V, C, F, P> Guard<'a, V, C, F, P>
where
    C: FnOnce(V) -> F,
    F: Future<Output = ()> + 'static,
{
    /// # Safety
    ///
    /// `F` is `Send`; or the generator is a local one, this is its thread, and `P` is not `Send`.
    pub(super) unsafe fn new(node: &'a NodeRef, value: V, close: C, place: P) -> Self {
        let number = head(node).with_clean_ups(|clean_ups| {
            clean_ups.last += 1;
            clean_ups.last
        });
        Self { node, number, guarded: Some((value, close)), _place: place }
    }
}

impl<V, C, F, P> Drop for Guard<'_, V, C, F, P>
where
    C: FnOnce(V) -> F,
    F: Future<Output = ()> + 'static,
{
    fn drop(&mut self) {
        let Some((value, close)) = self.guarded.take() else { return };
        // SAFETY: by the word that was given to `new`; where that speaks of a thread, the guard has stayed there.
        let begin = || begin(self.node, self.number, unsafe { CleanUp::here(close(value)) });
        if thread::panicking() {
            // Of several closures that panic where a body is dropped, the first is heard. A second one would end the process.
            quietly(begin);
        } else {
            begin();
        }
    }
}

/// Has what a guard is cleaned up with run: now, or where it belongs among the others.
fn begin(node: &NodeRef, number: u64, clean_up: CleanUp) {
    let now = head(node).with_clean_ups(|clean_ups| {
        if clean_ups.phase == Phase::Dropping {
            clean_ups.list.push((number, clean_up));
            return None;
        }
        Some((clean_up, clean_ups.count_in()))
    });
    if let Some((clean_up, body)) = now {
        spawn(node, vec![clean_up], body);
    }
}

impl<V, C, F, P> Deref for Guard<'_, V, C, F, P>
where
    C: FnOnce(V) -> F,
    F: Future<Output = ()> + 'static,
{
    type Target = V;

    fn deref(&self) -> &V {
        let (value, _) = self.guarded.as_ref().expect("it is there until the guard is dropped");
        value
    }
}

impl<V, C, F, P> DerefMut for Guard<'_, V, C, F, P>
where
    C: FnOnce(V) -> F,
    F: Future<Output = ()> + 'static,
{
    fn deref_mut(&mut self) -> &mut V {
        let (value, _) = self.guarded.as_mut().expect("it is there until the guard is dropped");
        value
    }
}

/// The body is gone: has its clean-ups run. Returns whether the generator has ended with that, as there is nothing to run.
pub(super) fn run(node: &NodeRef) -> bool {
    let (list, body, has_ended) = {
        let mut clean_ups = head(node).clean_ups.lock();
        let Some(clean_ups) = clean_ups.as_mut() else { return true };
        clean_ups.phase = Phase::Gone;
        let mut list = mem::take(&mut clean_ups.list);
        list.sort_by_key(|&(number, _)| number);
        clean_ups.running += usize::from(!list.is_empty());
        (list, clean_ups.body.take(), clean_ups.running == 0)
    };
    // The time of those that run begins.
    quietly(|| drop(body));
    if !list.is_empty() {
        spawn(node, list.into_iter().map(|(_, clean_up)| clean_up).collect(), None);
    }
    has_ended
}

/// What a task is to run, the last one first. It stays in here while it runs, and nothing that is dropped keeps another from that,
/// or the task from being counted out.
struct Due {
    list: Vec<CleanUp>,
    // Last, so that a generator has ended when all is dropped.
    generator: Counted,
}

impl Due {
    fn drop_next(&mut self) {
        let next = self.list.pop();
        // As its poll may panic, so may its drop.
        quietly(|| drop(next));
    }
}

impl Drop for Due {
    fn drop(&mut self) {
        if self.list.is_empty() {
            return;
        }
        // As a body's destructors. A set that goes does so where it is dropped.
        let node = self.generator.0.clone();
        let runtime = &head(&node).runtime;
        let _inside = entered(runtime, Place::of(runtime));
        while !self.list.is_empty() {
            self.drop_next();
        }
    }
}

/// Runs them in a task, the last one first. The task was counted. `body` ends with the body; without it, that is gone.
fn spawn(node: &NodeRef, list: Vec<CleanUp>, body: Option<Context>) {
    let mut due = Due { list, generator: Counted(node.clone()) };
    let task = async move {
        let node = due.generator.0.clone();
        let mut limit = pin!(limit(&node, body));
        let mut is_up = false;
        while let Some(clean_up) = due.list.last_mut() {
            let is_done = poll_fn(|cx| {
                // First, so that its time counts from now on; and not once more when it is up.
                is_up = is_up || limit.as_mut().poll(cx).is_ready();
                let poll = || cleaning_up(&node, || clean_up.poll(cx));
                match panic::catch_unwind(AssertUnwindSafe(poll)) {
                    Ok(Poll::Ready(())) => Poll::Ready(true),
                    Ok(Poll::Pending) if is_up => Poll::Ready(false),
                    Ok(Poll::Pending) => Poll::Pending,
                    // It was reported by the panic hook, and must not keep the next from running.
                    Err(payload) => {
                        discard(payload);
                        Poll::Ready(true)
                    }
                }
            })
            .await;
            if !is_done {
                // Standard error may be closed.
                quietly(|| report(head(&node), due.list.len() - 1));
                break;
            }
            due.drop_next();
        }
    };
    if head(node).is_local {
        leave_to_driver(node, Box::pin(task));
    } else {
        spawn_task(head(node), task);
    }
}

/// A runtime that is shutting down drops it here and now.
#[cfg(not(all(test, loom)))]
fn spawn_task(head: &Head, task: impl Future<Output = ()> + Send + 'static) {
    drop(head.runtime.spawn(task));
}

/// A thread of the model's runs it, if there is one.
#[cfg(all(test, loom))]
fn spawn_task(head: &Head, task: impl Future<Output = ()> + Send + 'static) {
    if let Some(keeper) = &head.keeper {
        keeper.spawned().push(Box::pin(task));
    }
}

/// Has the driver of a local generator spawn it, in the set. If that is gone, drops it here and now.
fn leave_to_driver(node: &NodeRef, task: Task) {
    let head = head(node);
    let refused = head.with_clean_ups(|clean_ups| {
        // Under the lock: the driver says that it is gone before it looks in here for the last time.
        if head.state.load() & ORPHANED != 0 {
            return Some(task);
        }
        clean_ups.due.push(task);
        None
    });
    if let Some(task) = refused {
        return drop(task);
    }
    // Either this is seen by the driver after its first poll, or its waker is there.
    let before = head.state.set(DUE);
    // SAFETY: this was the state.
    unsafe { wake_driver(node, head, before) };
}

fn take_due(node: &NodeRef) -> Vec<Task> {
    let mut clean_ups = head(node).clean_ups.lock();
    clean_ups.as_mut().map(|clean_ups| mem::take(&mut clean_ups.due)).unwrap_or_default()
}

/// Spawns what was left to the driver of a local generator, which this is.
pub(super) fn spawn_due(node: &NodeRef) {
    // First, so that what comes after the look says so anew.
    head(node).state.clear(DUE);
    take_due(node).into_iter().for_each(spawn_here);
}

/// Drops what was left to the driver of a local generator, which is gone.
pub(super) fn drop_due(node: &NodeRef) {
    drop(take_due(node));
}

/// Whether what was deferred is still to be left to the driver, though the generator has an end.
pub(super) fn is_about_to_run(node: &NodeRef) -> bool {
    head(node).clean_ups.lock().as_ref().is_some_and(|clean_ups| !clean_ups.list.is_empty())
}

/// A set that is being dropped drops it here and now.
#[cfg(not(all(test, loom)))]
fn spawn_here(task: Task) {
    drop(tokio::task::spawn_local(task));
}

#[cfg(all(test, loom))]
fn spawn_here(task: Task) {
    super::models::spawn_here(task);
}

/// The time that a generator's clean-ups have, from the body's end on.
async fn limit(node: &NodeRef, body: Option<Context>) {
    if let Some(body) = body {
        body.done().await;
    }
    let head = head(node);
    if cfg!(all(test, loom)) {
        // Loom knows no time.
        return pending().await;
    }
    Context::for_at_most(head.grace, head.runtime.clone()).done().await;
}

/// Says that the time was up, as a panic hook does.
fn report(head: &Head, not_begun: usize) {
    let name = &head.member.name;
    let grace = head.grace;
    eprintln!(
        "a clean-up of the generator `{name}` was given up: it was not done {grace:?} after the body's end, \
         and {not_begun} more had not begun. Give it more time with `grace`, or let it wait for less."
    );
}

/// A task that was counted.
struct Counted(NodeRef);

impl Drop for Counted {
    fn drop(&mut self) {
        let head = head(&self.0);
        let is_last = head.with_clean_ups(|clean_ups| {
            clean_ups.running -= 1;
            clean_ups.running == 0 && clean_ups.phase == Phase::Gone
        });
        if is_last {
            head.member.set_ended();
        }
    }
}
