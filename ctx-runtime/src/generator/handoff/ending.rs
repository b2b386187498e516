//! How a generator ends: its body is dropped in its place, inside its runtime and not too deep on the stack; then the end is
//! published.

use super::block::{Head, Runs, poll_body, wake_driver};
use super::clean_up;
use super::state::{CLOSED, DRIVER, ENDED, Entered, NOTIFIED, ORPHANED, RUNNING, WAITING};
use crate::context::{Context, Ending, NodeRef, Payload, discard, quietly};
use crate::generator::end::{End, Panic};
use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::task::Poll;
use tokio::runtime::Handle;

/// How many bodies may be dropped within one another on one stack.
const NESTED_DROPS: usize = 32;

/// Where the thread stands that is to drop a body.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Inside the generator's own runtime.
    Inside,
    /// Inside another one, or none: it is to be entered.
    Outside,
    /// The thread's locals are gone, and no runtime can be entered: as good as it gets where there is no driver to leave it to.
    Nowhere,
}

impl Place {
    /// Where the current thread stands.
    pub(super) fn of(runtime: &Handle) -> Self {
        match Handle::try_current() {
            Ok(current) if current.id() == runtime.id() => Self::Inside,
            Err(error) if error.is_thread_local_destroyed() => Self::Nowhere,
            _ => Self::Outside,
        }
    }
}

/// What a poll of the body has come to.
pub(super) enum Polled {
    /// It rests. The caller still has RUNNING.
    Rests,
    /// It has ended, and RUNNING is given back.
    Ended,
}

/// Polls the body inside its runtime; if that was its last poll, or the generator was stopped meanwhile, ends it.
///
/// # Safety
///
/// The caller has RUNNING, the body is there, and this is inside the generator's runtime.
#[inline]
pub(super) unsafe fn run(node: &NodeRef) -> Polled {
    // SAFETY: by the caller's word.
    match unsafe { poll_body(node) } {
        Ok(Poll::Pending) if !node.has_end() => Polled::Rests,
        Ok(Poll::Pending) if is_shielded(node) => Polled::Rests,
        polled => {
            // SAFETY: as above.
            unsafe { ran_out(node, polled) };
            Polled::Ended
        }
    }
}

/// Whether a body that is not stopped yet, or is in a shield, goes on.
#[cold]
fn is_shielded(node: &NodeRef) -> bool {
    // SAFETY: the node of a generator.
    unsafe { Head::of(node) }.is_shielded()
}

/// # Safety
///
/// As [`run`].
#[cold]
#[inline(never)]
unsafe fn ran_out(node: &NodeRef, polled: Result<Poll<()>, Payload>) {
    let end = match polled {
        // Who stopped the generator during the poll has left the body to us.
        Ok(Poll::Pending) => stopped(node),
        Ok(Poll::Ready(())) => End::Finished,
        Err(payload) => End::Panicked(Panic::new(payload)),
    };
    // SAFETY: as above.
    unsafe { finish(node, end, Place::Inside) };
}

/// How a generator ends whose body is not to be polled any more.
pub(super) fn stopped(node: &NodeRef) -> End {
    if node.has_end() { node.cause().map_or(End::Aborted, End::Cancelled) } else { End::Aborted }
}

/// Ends a generator that was stopped, or lost its runtime. False if that cannot be done here and is to be left to the driver;
/// then the caller still has RUNNING, else it is given back.
///
/// # Safety
///
/// The caller has RUNNING, and the body is there.
#[cold]
#[inline(never)]
#[must_use]
pub(super) unsafe fn reap(node: &NodeRef, head: &Head, place: Place) -> bool {
    if place == Place::Nowhere && head.state.peek() & ORPHANED == 0 {
        return false;
    }
    // SAFETY: by the caller's word.
    unsafe { finish(node, stopped(node), place) };
    true
}

/// Ends a generator that was stopped or is orphaned, unless somebody runs it: then that one does.
pub(super) fn try_reap(node: &NodeRef, head: &Head) {
    if let Entered::Yes(_) = head.state.enter(0, 0) {
        // SAFETY: RUNNING was just taken, and until there is an end the body is there.
        if !unsafe { reap(node, head, Place::of(&head.runtime)) } {
            leave_to_driver(node, head);
        }
    }
}

/// A generator has lost its runtime. Whoever has RUNNING sees that when it gives it back.
pub(super) fn orphan(node: &NodeRef, head: &Head) {
    let before = head.state.set(ORPHANED);
    if head.runs != Runs::Polled {
        // Its thread sees it at its next yield; where it waits in one, now.
        // SAFETY: this was the state.
        unsafe { wake_driver(node, head, before) };
    } else if before & (ENDED | RUNNING) == 0 {
        try_reap(node, head);
    }
}

/// Gives RUNNING back, and has the driver do what there is to do.
pub(super) fn leave_to_driver(node: &NodeRef, head: &Head) {
    head.state.set(NOTIFIED);
    // Meanwhile the driver may have gone for good.
    let before = head.state.leave();
    see_to_rest(node, head, before);
}

/// Sees to what was left to whoever had RUNNING. Called with the state that it was given back in.
#[cold]
#[inline(never)]
pub(super) fn see_to_rest(node: &NodeRef, head: &Head, before: usize) {
    if before & ORPHANED != 0 {
        // There is no driver any more to do it.
        try_reap(node, head);
    } else if before & NOTIFIED != 0 {
        // SAFETY: this was the state.
        unsafe { wake_driver(node, head, before) };
    }
}

/// Drops the body, and publishes the end; not deeper on the stack than it bears.
///
/// # Safety
///
/// The caller has RUNNING, which is given back, and the body is there, inside or outside its runtime.
unsafe fn finish(node: &NodeRef, end: End, place: Place) {
    let mut ended = Some(Ended { node: node.clone(), end });
    let outermost = DROPS.try_with(|drops| {
        let depth = drops.depth.get();
        if depth < NESTED_DROPS {
            drops.depth.set(depth + 1);
        } else {
            drops.put_off.borrow_mut().extend(ended.take());
        }
        depth == 0
    });
    let Some(ended) = ended else { return };
    // SAFETY: by the caller's word.
    quietly(|| unsafe { ended.carry_out(place) });
    // Without the thread's locals nothing was counted, and nothing put off.
    let Ok(outermost) = outermost else { return };
    let _ = DROPS.try_with(|drops| {
        let next = || if outermost { drops.put_off.borrow_mut().pop() } else { None };
        while let Some(ended) = next() {
            let head = ended.head();
            let place = Place::of(&head.runtime);
            // SAFETY: it was put off with RUNNING taken and its body there.
            quietly(|| unsafe { ended.carry_out(place) });
        }
        drops.depth.set(drops.depth.get() - 1);
    });
}

/// A generator on its way out: RUNNING is taken.
struct Ended {
    node: NodeRef,
    end: End,
}

impl Ended {
    fn head(&self) -> &Head {
        // SAFETY: the node of a generator.
        unsafe { Head::of(&self.node) }
    }

    /// # Safety
    ///
    /// RUNNING is taken for this, and the body is there.
    unsafe fn carry_out(self, place: Place) {
        let head = self.head();
        let dropped = panic::catch_unwind(AssertUnwindSafe(|| {
            let _inside = entered(&head.runtime, place);
            head.begin_clean_up();
            // SAFETY: by the caller's word; it is not used any more.
            head.body.with_mut(|_| unsafe { (head.member.hooks.drop_body)(Head::this(&self.node)) });
        }));
        let Self { node, end } = self;
        let end = match dropped {
            Ok(()) => end,
            // The body's own panic came first.
            Err(payload) if matches!(end, End::Panicked(_)) => {
                discard(payload);
                end
            }
            Err(payload) => End::Panicked(Panic::new(payload)),
        };
        // SAFETY: RUNNING is taken, and the body is gone.
        unsafe { publish(&node, end) };
    }
}

/// Inside the runtime, for as long as what is returned exists.
#[cfg(not(all(test, loom)))]
pub(super) fn entered(runtime: &Handle, place: Place) -> Option<tokio::runtime::EnterGuard<'_>> {
    (place == Place::Outside).then(|| runtime.enter())
}

/// Loom's threads share a thread, whose entered runtimes must be left in turn; so they enter none.
#[cfg(all(test, loom))]
pub(super) fn entered(_: &Handle, _: Place) {}

/// Publishes the end of a generator whose body is gone, or was never made.
///
/// # Safety
///
/// The caller has RUNNING, which is given back for good.
pub(super) unsafe fn publish(node: &NodeRef, end: End) {
    // SAFETY: the node of a generator.
    let head = unsafe { Head::of(node) };
    if !node.has_end() {
        let ending = match &end {
            End::Finished => Ending::Finished,
            End::Panicked(panic) => Ending::Failed(Box::new(panic.clone())),
            End::Cancelled(_) | End::Aborted => Ending::Abandoned,
        };
        // A waker that panics was reported by the panic hook, and must not keep the consumer from its end.
        quietly(|| Context::end_node(node, ending));
    }
    // SAFETY: RUNNING, and no end so far.
    unsafe { head.set_end(end) };
    let before = head.state.end();
    // SAFETY: there is an end. A consumer that is gone has left its items to us.
    quietly(|| unsafe { (head.member.hooks.clear)(Head::this(node), before & CLOSED != 0) });
    if clean_up::run(node) {
        head.member.set_ended();
    }
    if let Some(keeper) = &head.keeper {
        keeper.leave();
    }
    if before & WAITING != 0 {
        head.wake_consumer();
    }
    // So that its task is done, too.
    if before & (DRIVER | ORPHANED) == DRIVER {
        // SAFETY: this was the state.
        unsafe { wake_driver(node, head, before) };
    }
}

struct Drops {
    depth: Cell<usize>,
    put_off: RefCell<Vec<Ended>>,
}

thread_local! {
    static DROPS: Drops = const { Drops { depth: Cell::new(0), put_off: RefCell::new(Vec::new()) } };
}
