//! What ends a context from outside the tree: a signal of the process, another library's token.
//!
//! A [`Trigger`] holds a future and polls it itself whenever it is woken, on the thread that wakes it; what the future
//! returns is the cause with which the node is cancelled. So there is no task in between. The node holds its trigger, and
//! the trigger's waker refers to it by `Weak`: when the node goes, the future goes, and with it its place with whatever
//! would have woken it.

use super::Context;
use super::cause::Cause;
#[cfg(feature = "tokio-util")]
use super::cause::Reason;
use super::tree::{Extra, Kind, NodeRef, Own, Owner, quietly};
use crate::loom::Mutex;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{self, Wake, Waker};
use tokio::task::coop::unconstrained;

type Source = Pin<Box<dyn Future<Output = Cause> + Send>>;

/// Cancels a node when a future is ready.
pub(crate) struct Trigger {
    pub(super) owner: Owner,
    /// `None` when it has been ready.
    source: Mutex<Option<Source>>,
    /// How often it was woken since a poll began; 0 if none is going on. Who counts it up from 0 polls, and until no more
    /// were counted meanwhile.
    wakes: AtomicUsize,
}

impl Trigger {
    /// Polls the source, unless somebody does already, here or on another thread: then that one polls once more.
    fn poll(self: &Arc<Self>) {
        // AcqRel, here and below: a poll sees what came before each wake that it answers.
        if self.wakes.fetch_add(1, Ordering::AcqRel) > 0 {
            return;
        }
        let waker = Waker::from(Arc::new(Pull(Arc::downgrade(self))));
        let mut answered = 1;
        loop {
            let mut guard = self.source.lock();
            let Some(source) = guard.as_mut() else { return };
            if let task::Poll::Ready(cause) = source.as_mut().poll(&mut task::Context::from_waker(&waker)) {
                // Nobody polls it any more: `wakes` stays above 0.
                let over = guard.take();
                drop(guard);
                drop(over);
                if let Some(node) = self.owner.upgrade() {
                    node.cancel(cause);
                }
                return;
            }
            drop(guard);
            match self.wakes.compare_exchange(answered, 0, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return,
                Err(now) => answered = now,
            }
        }
    }
}

/// The waker of a trigger.
struct Pull(Weak<Trigger>);

impl Wake for Pull {
    fn wake(self: Arc<Self>) {
        if let Some(trigger) = self.0.upgrade() {
            // A callback of the context that panics was reported by the panic hook, and must not unwind into whoever wakes:
            // a token that is being cancelled has others to wake.
            quietly(|| trigger.poll());
        }
    }
}

impl Context {
    /// A child that `source` cancels when it is ready.
    fn with_source(
        &self,
        kind: Kind,
        made: &'static Location<'static>,
        source: impl Future<Output = Cause> + Send + 'static,
    ) -> Self {
        let trigger = Arc::new(Trigger {
            owner: Owner::new(),
            // Not under a task's budget: it is polled where there may be none left.
            source: Mutex::new(Some(Box::pin(unconstrained(source)))),
            wakes: AtomicUsize::new(0),
        });
        let own = Own::Extra(Box::new(Extra::Source(Arc::clone(&trigger))));
        let node = NodeRef::new(kind, self.node.as_ref(), own, made);
        trigger.poll();
        self.on(node)
    }

    /// Makes a child that is cancelled when the process is asked to shut down: by Ctrl-C, or on Unix by SIGTERM too.
    ///
    /// Its cause says which signal it was. From the first call on these signals do not end the process any more; that is
    /// left to whoever waits for this context, as with tokio's `signal`. It costs no task.
    ///
    /// # Panics
    ///
    /// If called outside a tokio runtime with IO enabled, or if the system does not let the process listen.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use ctx_runtime::Context;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let ctx = Context::background().with_shutdown_signal();
    /// ctx.done().await;
    /// println!("{}", ctx.cause().unwrap()); // context cancelled at src/main.rs:5: received SIGTERM
    /// # }
    /// ```
    #[cfg(feature = "signal")]
    #[cfg_attr(docsrs, doc(cfg(feature = "signal")))]
    #[must_use = "the signals end the returned context, not this one"]
    #[track_caller]
    pub fn with_shutdown_signal(&self) -> Self {
        let made = Location::caller();
        let received = match signals() {
            Ok(received) => received,
            Err(error) => {
                panic!("this process cannot listen for the signals that ask it to shut down: {error}")
            }
        };
        self.with_source(Kind::Signal, made, async move {
            let text = format!("received {}", received.await);
            Cause::custom(super::ContextError::Cancelled, text.into(), made)
        })
    }

    /// Makes a child that is cancelled when `token` is.
    ///
    /// For code whose callers speak tokio-util. It costs no task, and what it holds is released with the last context.
    ///
    /// # Examples
    ///
    /// ```
    /// use ctx_runtime::Context;
    /// use tokio_util::sync::CancellationToken;
    ///
    /// let token = CancellationToken::new();
    /// let ctx = Context::background().with_cancellation_token(&token);
    /// token.cancel();
    /// assert!(ctx.is_done());
    /// ```
    #[cfg(feature = "tokio-util")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tokio-util")))]
    #[must_use = "the token ends the returned context, not this one"]
    #[track_caller]
    pub fn with_cancellation_token(&self, token: &tokio_util::sync::CancellationToken) -> Self {
        let made = Location::caller();
        let cancelled = token.clone().cancelled_owned();
        self.with_source(Kind::Token, made, async move {
            cancelled.await;
            Cause::plain(Reason::Cancelled, made)
        })
    }

    /// Returns a token that is cancelled when this context is done, by the `cancel` that marks it so, before that returns.
    ///
    /// For calling code that speaks tokio-util. Cancelling the token does not end this context. What ties it to this context is
    /// held until the context is done, so under one that lives long, make one token and hand out its children.
    ///
    /// # Examples
    ///
    /// ```
    /// use ctx_runtime::Context;
    ///
    /// let (ctx, canceller) = Context::background().with_cancel();
    /// let token = ctx.cancellation_token();
    /// canceller.cancel();
    /// assert!(token.is_cancelled());
    /// ```
    #[cfg(feature = "tokio-util")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tokio-util")))]
    #[must_use]
    pub fn cancellation_token(&self) -> tokio_util::sync::CancellationToken {
        let token = tokio_util::sync::CancellationToken::new();
        let tied = token.clone();
        self.after_func(move || tied.cancel());
        token
    }
}

/// The name of the first signal that asks for a shutdown.
#[cfg(all(feature = "signal", unix))]
fn signals() -> std::io::Result<impl Future<Output = &'static str>> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(std::future::poll_fn(move |cx| {
        if interrupt.poll_recv(cx).is_ready() {
            return task::Poll::Ready("SIGINT");
        }
        terminate.poll_recv(cx).map(|_| "SIGTERM")
    }))
}

/// The name of the first signal that asks for a shutdown.
#[cfg(all(feature = "signal", windows))]
fn signals() -> std::io::Result<impl Future<Output = &'static str>> {
    let mut interrupt = tokio::signal::windows::ctrl_c()?;
    let mut shutdown = tokio::signal::windows::ctrl_shutdown()?;
    Ok(std::future::poll_fn(move |cx| {
        if interrupt.poll_recv(cx).is_ready() {
            return task::Poll::Ready("Ctrl-C");
        }
        shutdown.poll_recv(cx).map(|_| "shutdown")
    }))
}
