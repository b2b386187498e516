//! What is to run when a body is gone.
//!
//! A block keeps the clean-ups of its body in a list, each with a number, in the order in which they were asked for. A guard takes its
//! number when it is made.
//!
//! | phase | begins | a guard that is dropped |
//! | --- | --- | --- |
//! | `Alive` | with the first clean-up | is cleaned up at once, in a task of its own |
//! | `Dropping` | when whoever has RUNNING drops the body | joins the list |
//! | `Gone` | when the body is gone | has outlived its body (it was forgotten, and found again): as `Alive` |
//!
//! When the body is gone a task takes the list, and runs what is in it one after another, the one with the highest number first. A
//! generator is alive, for the reports and for who waits until it has ended, until that task and those of the guards are done; a
//! runtime that goes away drops them, and that counts as done.
//!
//! The time for all of it is a context with a deadline, so it follows tokio's clock, also in a runtime without a timer.

use super::block::Head;
use crate::context::{Context, NodeRef, discard, quietly};
use std::future::{Future, poll_fn};
use std::mem;
use std::ops::{Deref, DerefMut};
use std::panic::{self, AssertUnwindSafe};
use std::pin::{Pin, pin};
use std::task::Poll;

type CleanUp = Pin<Box<dyn Future<Output = ()> + Send>>;

#[derive(Default)]
pub(super) struct CleanUps {
    /// The last number that was given away.
    last: u64,
    list: Vec<(u64, CleanUp)>,
    phase: Phase,
    /// Tasks that run some of it.
    running: usize,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Alive,
    Dropping,
    Gone,
}

/// The node of a generator, by the word of who has made its [`Yielder`](super::Yielder).
fn head(node: &NodeRef) -> &Head {
    // SAFETY: as said.
    unsafe { Head::of(node) }
}

impl Head {
    fn with_clean_ups<R>(&self, act: impl FnOnce(&mut CleanUps) -> R) -> R {
        act(self.clean_ups.lock().get_or_insert_default())
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
    let left = head(node).with_clean_ups(|clean_ups| {
        if clean_ups.phase == Phase::Gone {
            clean_ups.running += 1;
            return Some(clean_up);
        }
        clean_ups.last += 1;
        clean_ups.list.push((clean_ups.last, clean_up));
        None
    });
    if let Some(clean_up) = left {
        spawn(node, vec![clean_up]);
    }
}

/// A value with what is to become of it.
pub(super) struct Guard<'a, V, C, F>
where
    C: FnOnce(V) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    node: &'a NodeRef,
    number: u64,
    /// There until it is dropped.
    guarded: Option<(V, C)>,
}

impl<'a, V, C, F> Guard<'a, V, C, F>
where
    C: FnOnce(V) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    pub(super) fn new(node: &'a NodeRef, value: V, close: C) -> Self {
        let number = head(node).with_clean_ups(|clean_ups| {
            clean_ups.last += 1;
            clean_ups.last
        });
        Self { node, number, guarded: Some((value, close)) }
    }
}

impl<V, C, F> Drop for Guard<'_, V, C, F>
where
    C: FnOnce(V) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    fn drop(&mut self) {
        let Some((value, close)) = self.guarded.take() else { return };
        let clean_up: CleanUp = Box::pin(close(value));
        let left = head(self.node).with_clean_ups(|clean_ups| {
            if clean_ups.phase == Phase::Dropping {
                clean_ups.list.push((self.number, clean_up));
                return None;
            }
            clean_ups.running += 1;
            Some(clean_up)
        });
        if let Some(clean_up) = left {
            spawn(self.node, vec![clean_up]);
        }
    }
}

impl<V, C, F> Deref for Guard<'_, V, C, F>
where
    C: FnOnce(V) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    type Target = V;

    fn deref(&self) -> &V {
        let (value, _) = self.guarded.as_ref().expect("it is there until the guard is dropped");
        value
    }
}

impl<V, C, F> DerefMut for Guard<'_, V, C, F>
where
    C: FnOnce(V) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    fn deref_mut(&mut self) -> &mut V {
        let (value, _) = self.guarded.as_mut().expect("it is there until the guard is dropped");
        value
    }
}

/// The body is gone, and its context done: has its clean-ups run. Returns whether the generator has ended with that, as there is
/// nothing to run.
pub(super) fn run(node: &NodeRef) -> bool {
    let list = {
        let mut clean_ups = head(node).clean_ups.lock();
        let Some(clean_ups) = clean_ups.as_mut() else { return true };
        clean_ups.phase = Phase::Gone;
        let mut list = mem::take(&mut clean_ups.list);
        if list.is_empty() {
            return clean_ups.running == 0;
        }
        clean_ups.running += 1;
        list.sort_by_key(|&(number, _)| number);
        list
    };
    spawn(node, list.into_iter().map(|(_, clean_up)| clean_up).collect());
    false
}

/// Runs them in a task, the last one first. The task was counted.
fn spawn(node: &NodeRef, clean_ups: Vec<CleanUp>) {
    let counted = Counted(node.clone());
    // A runtime that is shutting down drops it here and now.
    drop(head(node).runtime.spawn(async move {
        let mut clean_ups = clean_ups;
        let mut limit = pin!(limit(&counted.0));
        while let Some(mut clean_up) = clean_ups.pop() {
            let is_done = poll_fn(|cx| {
                // So that its time counts from now on.
                let is_up = limit.as_mut().poll(cx).is_ready();
                match panic::catch_unwind(AssertUnwindSafe(|| clean_up.as_mut().poll(cx))) {
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
            // As its poll may panic, so may its drop.
            quietly(|| drop(clean_up));
            if !is_done {
                report(head(&counted.0), clean_ups.len());
                break;
            }
        }
        while let Some(clean_up) = clean_ups.pop() {
            quietly(|| drop(clean_up));
        }
    }));
}

/// The time that a generator's clean-ups have, from its end on.
async fn limit(node: &NodeRef) {
    Context::background().on(node.clone()).done().await;
    let head = head(node);
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
