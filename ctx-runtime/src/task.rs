//! The task that belongs to a context.
//!
//! It is tokio's task with the future in it, and one allocation that it shares with its handle: its node in the tree, and a slot, in
//! which the handle waits for the result. The task waits for the end of its node as anybody does, so a cancel wakes it like any other
//! waiter, and it drops its future itself.

#[cfg(all(test, loom))]
mod models;

use crate::context::{Context, Lock, NodeRef, TaskRef, Wait, discard, quietly};
use crate::generator::{End, Panic};
use pin_project_lite::pin_project;
use std::fmt;
use std::future::Future;
use std::mem;
use std::panic::{self, AssertUnwindSafe, Location, RefUnwindSafe, UnwindSafe};
use std::pin::Pin;
use std::task::{self, Poll, Waker, ready};
use tokio::runtime::Handle;
use tokio::task::coop;

impl Context {
    /// Starts a task that belongs to this context: it ends with it, wherever it waits.
    ///
    /// `future` runs at once, as one that is handed to `tokio::spawn` does. When this context is done it is dropped where it waits, by its
    /// own task inside its runtime, and not on the thread that cancels. The context is looked at before every poll: after a cancel
    /// has returned no poll begins, though one may be in progress. On a context that is done it is dropped here, and never polled.
    ///
    /// Until the future is gone the task is [listed](Context::live) by the line that spawned it, and
    /// [`cancel_and_wait`](crate::Canceller::cancel_and_wait) waits for it. So what the body of a generator spawns on its own `ctx` cannot
    /// outlive the generator by more than the runtime takes to look at it.
    ///
    /// To drop the [`Task`] does not end the task. It goes on until it is ready or this context is done; below a context that is never
    /// done, that is for as long as it likes.
    ///
    /// # Panics
    ///
    /// If called outside a tokio runtime, at the caller's line. A panic of `future` ends its task only: it is in the result.
    ///
    /// # Examples
    ///
    /// ```
    /// use ctx_runtime::{Context, End};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let (ctx, canceller) = Context::background().with_cancel();
    /// let sum = ctx.spawn(async { 3 + 4 });
    /// assert_eq!(sum.await.unwrap(), 7);
    ///
    /// let silent = ctx.spawn(std::future::pending::<()>());
    /// println!("{}", ctx.live()); // 1 alive, and the line above
    /// canceller.cancel();
    /// assert!(matches!(silent.await, Err(End::Cancelled(_))));
    /// # }
    /// ```
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let Ok(runtime) = Handle::try_current() else {
            panic!(
                "a task of a context needs a tokio runtime to run in: call `spawn` from within one, \
                 or enter one first with `let _inside = handle.enter();`"
            );
        };
        let (task, running) = prepare(self.node(), future, Location::caller());
        if running.shared.node().is_done() {
            // Never to run: nothing of it is left when this returns, as this is inside a runtime.
            drop(running);
        } else {
            // A runtime that is shutting down drops it here and now, and that is an end too.
            drop(runtime.spawn(running));
        }
        task
    }
}

/// A task that is listed, and what is to run it.
fn prepare<F>(
    parent: Option<&NodeRef>,
    future: F,
    made: &'static Location<'static>,
) -> (Task<F::Output>, Running<F>)
where
    F: Future,
    F::Output: Send + 'static,
{
    let shared: Shared<_> = TaskRef::new(parent, made, Lock::new(Slot::Waiting(None)));
    let wait = Wait::new(Some(shared.node().clone()));
    (Task { shared: Some(shared.clone()) }, Running { shared, wait, future: Some(future) })
}

/// A task that belongs to a context; made by [`Context::spawn`].
///
/// A future of the output of the task's own future; or of the [`End`] that it came to:
///
/// - [`End::Cancelled`]: the context was done before it was ready. The [`Cause`](crate::Cause) says why.
/// - [`End::Panicked`]: it panicked, or its destructor did.
/// - [`End::Aborted`]: its runtime went away.
///
/// ([`End::Finished`] is not among them: there is an output instead.) When it is ready, the task's future was dropped, and the task
/// is in no report any more. It may be polled on any thread, inside any runtime or none.
///
/// Dropping it does not end the task: that goes on until its context is done. Its output is dropped then, or with this handle if it
/// is there already; a panic of that destructor goes no further than the panic hook.
///
/// # Cancel safety
///
/// A reference to it (`&mut task`) may be polled in a `select!`: the output stays until it is taken.
///
/// # Panics
///
/// If polled again after it was ready.
///
/// # Examples
///
/// ```
/// use ctx_runtime::{Context, End};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let broken = Context::background().spawn(async { panic!("out of paper") });
/// let Err(End::Panicked(panic)) = broken.await else { unreachable!() };
/// assert_eq!(panic.message(), "out of paper");
/// # }
/// ```
pub struct Task<T> {
    /// `None` when it was ready.
    shared: Option<Shared<T>>,
}

impl<T> Unpin for Task<T> {}
impl<T> UnwindSafe for Task<T> {}
impl<T> RefUnwindSafe for Task<T> {}

impl<T> Future for Task<T> {
    type Output = Result<T, End>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let shared = self.shared.as_ref().expect("a `Task` was polled after it was ready");
        let budget = ready!(coop::poll_proceed(cx));
        let result = ready!(poll_slot(shared, cx.waker()));
        budget.made_progress();
        self.shared = None;
        Poll::Ready(result)
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        let Some(shared) = &self.shared else { return };
        let left = mem::replace(&mut *shared.lock(), Slot::Closed);
        // The destructors of an output and of a waker are other people's code: outside the lock (C5).
        quietly(|| drop(left));
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Task");
        if let Some(shared) = &self.shared {
            debug.field("spawned", &format_args!("{}", shared.node().made()));
        }
        debug.field("alive", &self.shared.as_ref().is_some_and(|shared| shared.member().is_alive()));
        debug.finish()
    }
}

type Shared<T> = TaskRef<Lock<Slot<T>>>;

/// What the task and its handle have to say to each other. A result that is in it is that of a member that has ended.
enum Slot<T> {
    /// There is no result yet; whoever has polled the handle is to be woken.
    Waiting(Option<Waker>),
    /// The future is gone.
    Ended(Result<T, End>),
    /// The handle has the result, or is gone.
    Closed,
}

impl<T> Slot<T> {
    /// Takes the result, if it is there.
    fn take(&mut self) -> Option<Result<T, End>> {
        match mem::replace(self, Self::Closed) {
            Self::Ended(result) => Some(result),
            other => {
                *self = other;
                None
            }
        }
    }

    /// Whether this one is going to be woken.
    fn will_wake(&self, waker: &Waker) -> bool {
        matches!(self, Self::Waiting(Some(listed)) if listed.will_wake(waker))
    }

    /// Has this one woken. Returns the one that it replaces.
    fn listen(&mut self, waker: Waker) -> Option<Waker> {
        match self {
            Self::Waiting(listed) => listed.replace(waker),
            Self::Ended(_) | Self::Closed => Some(waker),
        }
    }
}

/// Waits for the result and takes it.
fn poll_slot<T>(shared: &Shared<T>, waker: &Waker) -> Poll<Result<T, End>> {
    {
        let mut slot = shared.lock();
        if let Some(result) = slot.take() {
            return Poll::Ready(result);
        }
        if slot.will_wake(waker) {
            return Poll::Pending;
        }
    }
    // A waker's clone and drop are the executor's code: outside the lock (C5).
    let waker = waker.clone();
    let (result, unused) = {
        let mut slot = shared.lock();
        // Again, under the lock: an end after the look above has not seen the waker.
        let result = slot.take();
        (result, slot.listen(waker))
    };
    // One that panics was reported by the panic hook, and must not cost the result.
    quietly(|| drop(unused));
    result.map_or(Poll::Pending, Poll::Ready)
}

pin_project! {
    /// What tokio's task polls.
    struct Running<F: Future> {
        shared: Shared<F::Output>,
        #[pin]
        wait: Wait,
        // Gone when it has ended.
        #[pin]
        future: Option<F>,
    }

    impl<F: Future> PinnedDrop for Running<F> {
        /// Under a context that was done from the start, or when the runtime goes away.
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if this.future.is_some() {
                let end = stopped(this.shared.node());
                finish(this.shared, this.future, Err(end));
            }
        }
    }
}

impl<F: Future> Future for Running<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let node = this.shared.node();
        let result = if node.is_done() {
            Err(stopped(node))
        } else {
            let future = this.future.as_mut().as_pin_mut().expect("tokio polls no task that is over");
            let poll = || panic::catch_unwind(AssertUnwindSafe(|| future.poll(cx)));
            match this.shared.within(poll) {
                Ok(Poll::Ready(output)) => Ok(output),
                Ok(Poll::Pending) => {
                    ready!(this.wait.poll(cx));
                    Err(stopped(node))
                }
                Err(payload) => Err(End::Panicked(Panic::new(payload))),
            }
        };
        finish(this.shared, this.future, result);
        Poll::Ready(())
    }
}

/// How a task ends whose future is not to be polled any more.
fn stopped(node: &NodeRef) -> End {
    if node.has_end() { node.cause().map_or(End::Aborted, End::Cancelled) } else { End::Aborted }
}

/// Drops the future in its place, and publishes the end.
fn finish<F: Future>(
    shared: &Shared<F::Output>,
    mut future: Pin<&mut Option<F>>,
    result: Result<F::Output, End>,
) {
    let drop_future = || panic::catch_unwind(AssertUnwindSafe(|| future.set(None)));
    let result = match (shared.within(drop_future), result) {
        (Ok(()), result) => result,
        // Its own panic came first.
        (Err(payload), Err(End::Panicked(panic))) => {
            discard(payload);
            Err(End::Panicked(panic))
        }
        (Err(payload), result) => {
            shared.within(|| quietly(|| drop(result)));
            Err(End::Panicked(Panic::new(payload)))
        }
    };
    publish(shared, result);
}

/// Hands the result to the handle, or drops it if that is gone; and tells whoever waits for the end.
fn publish<T>(shared: &Shared<T>, result: Result<T, End>) {
    let member = shared.member();
    let told = {
        let mut slot = shared.lock();
        match mem::replace(&mut *slot, Slot::Closed) {
            Slot::Waiting(waker) => {
                *slot = Slot::Ended(result);
                // Under the lock: who finds the result finds it ended, and who finds it ended finds the result.
                member.mark_ended();
                Ok(waker)
            }
            Slot::Ended(_) | Slot::Closed => Err(result),
        }
    };
    match told {
        // A waker that panics was reported by the panic hook, and must not keep the others from waking.
        Ok(waker) => quietly(|| waker.into_iter().for_each(Waker::wake)),
        Err(unwanted) => {
            shared.within(|| quietly(|| drop(unwanted)));
            member.mark_ended();
        }
    }
    member.tell_ended();
}
