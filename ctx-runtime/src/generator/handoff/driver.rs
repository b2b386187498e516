//! The task of a generator: it polls the body when something that the body awaits has woken it. That of a local one spawns its
//! clean-ups, too.

use super::block::{Head, Turn};
use super::clean_up;
use super::ending::{Place, Polled, leave_to_driver, orphan, reap, run};
use super::state::{ASKED, DUE, ENDED, Entered, NOTIFIED, WAITING, YIELDER};
use crate::context::NodeRef;
use std::future::Future;
use std::pin::Pin;
use std::task::{self, Poll};

pub(super) struct Driver {
    /// The node of a generator.
    node: NodeRef,
    /// The waker is in its cell.
    known: bool,
}

impl Driver {
    /// Of a generator.
    pub(super) fn of(node: NodeRef) -> Self {
        Self { node, known: false }
    }

    fn head(&self) -> &Head {
        // SAFETY: the node of a generator, by `of`.
        unsafe { Head::of(&self.node) }
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        if !self.known {
            // SAFETY: this is the driver, at its first poll.
            unsafe { self.head().set_driver(cx.waker()) };
            self.known = true;
        }
        let head = self.head();
        let now = head.state.load();
        if now & ENDED != 0 {
            return Poll::Ready(());
        }
        if now & NOTIFIED == 0 {
            // Woken for what somebody else has seen to.
            return Poll::Pending;
        }
        match head.state.enter(0, NOTIFIED | ASKED) {
            Entered::Ended => return Poll::Ready(()),
            // Whoever has it wakes this task again, if there is anything left to do then.
            Entered::Busy => return Poll::Pending,
            Entered::Yes(before) if before & ASKED != 0 => {
                // SAFETY: RUNNING was just taken.
                let _ = unsafe { head.with_turn(Turn::ask) };
            }
            Entered::Yes(_) => {}
        }
        if self.node.has_end() {
            if head.is_shielded() {
                // SAFETY: RUNNING was just taken; the hook is for this allocation.
                unsafe { (head.member.hooks.rouse)(Head::this(&self.node)) };
            }
            // After that, as it has run anybody's code.
            if !head.is_shielded() {
                // SAFETY: RUNNING was just taken, and until there is an end the body is there.
                if !unsafe { reap(&self.node, head, Place::Inside) } {
                    leave_to_driver(&self.node, head);
                }
                return Poll::Ready(());
            }
        }
        // SAFETY: as above; a task of the generator's runtime.
        if let Polled::Ended = unsafe { run(&self.node) } {
            return Poll::Ready(());
        }
        // SAFETY: RUNNING.
        let has_item = unsafe { head.with_turn(|turn| turn.announce(head.is_buffered)) };
        let clear = match has_item {
            false => 0,
            true if head.is_buffered => WAITING,
            // The request has its answer.
            true => ASKED | WAITING,
        };
        let before = head.state.leave_clearing(clear);
        if before & clear & WAITING != 0 {
            head.wake_consumer();
        }
        if before & NOTIFIED != 0 {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl Drop for Driver {
    /// At the end, or when the runtime goes away; then the body goes with it (G11).
    fn drop(&mut self) {
        orphan(&self.node, self.head());
        if self.head().is_local {
            clean_up::drop_due(&self.node);
        }
    }
}

/// The driver of a local generator. What is to be cleaned up is left to it, as it is polled in the set, where it can be spawned;
/// so it stays until nothing can come any more.
pub(super) struct LocalDriver(Driver);

impl LocalDriver {
    /// Of a local generator, whose thread it is to stay on.
    pub(super) fn of(node: NodeRef) -> Self {
        Self(Driver::of(node))
    }
}

impl Future for LocalDriver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        let polled = Pin::new(&mut self.0).poll(cx);
        // After that, as it may have ended the generator.
        let state = self.0.head().state.load();
        if state & DUE != 0 {
            clean_up::spawn_due(&self.0.node);
        }
        // Who drops the yielder after that look finds the end, and wakes this.
        if polled.is_ready() && (state & YIELDER != 0 || clean_up::is_about_to_run(&self.0.node)) {
            return Poll::Pending;
        }
        polled
    }
}
