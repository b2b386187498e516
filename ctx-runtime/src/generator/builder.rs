//! A generator without the macro: what it is given before it starts.

use super::Generator;
use super::handoff::{self, Plan, Ring, Yielder};
use super::overflow::Overflow;
use crate::context::Context;
use std::borrow::Cow;
use std::future::Future;
use std::panic::Location;
use tokio::runtime::Handle;

/// The settings of a generator that is not yet started; made by [`Generator::builder`].
///
/// # Examples
///
/// ```
/// use ctx_runtime::{Context, Generator};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let mut squares = Generator::builder().name("squares").buffer(4).spawn(&Context::background(), |_, co| async move {
///     for n in 0_u64.. {
///         co.yield_(n * n).await;
///     }
/// });
/// assert_eq!(squares.next().await, Some(0));
/// assert_eq!(squares.next().await, Some(1));
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `spawn` is called"]
pub struct Builder {
    name: Cow<'static, str>,
    buffer: usize,
    overflow: Option<Overflow>,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self { name: Cow::Borrowed("generator"), buffer: 0, overflow: None }
    }

    /// Sets the name that reports show; `generator` if not called.
    ///
    /// # Examples
    ///
    /// See [`Builder`].
    pub fn name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets how many items the body may be ahead of its consumer; 0 if not called.
    ///
    /// With 0 nothing runs ahead: the body runs when an item is asked for, and never past a yield until its item was taken and
    /// the next one is asked for. With `items` above 0 it starts at once (G3).
    ///
    /// # Examples
    ///
    /// See [`Builder`].
    pub fn buffer(mut self, items: usize) -> Self {
        self.buffer = items;
        self
    }

    /// Has a yield that finds the buffer full drop an item, and go on; if not called, it waits for room.
    ///
    /// It needs a [`buffer`](Builder::buffer).
    ///
    /// # Examples
    ///
    /// See [`Overflow`].
    pub fn overflow(mut self, policy: Overflow) -> Self {
        self.overflow = Some(policy);
        self
    }

    /// Starts the generator under `ctx`.
    ///
    /// `body` is called at once, with the generator's own context (a child of `ctx`) and a [`Yielder`]; the future that it
    /// returns runs in a task of its own. It is dropped, wherever it waits, when `ctx` is done or the [`Generator`] is
    /// dropped (G1).
    ///
    /// # Panics
    ///
    /// If called outside a tokio runtime, if there is no memory for the buffer, or if there is an
    /// [overflow policy](Builder::overflow) and no buffer; in each case at the caller's line.
    ///
    /// # Examples
    ///
    /// See [`Builder`].
    #[track_caller]
    pub fn spawn<T, F, Fut>(self, ctx: &Context, body: F) -> Generator<T>
    where
        T: Send + 'static,
        F: FnOnce(Context, Yielder<T>) -> Fut,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let Self { name, buffer, overflow } = self;
        assert!(
            buffer > 0 || overflow.is_none(),
            "the generator `{name}` has an overflow policy, and no buffer that could overflow: \
             give it one of 1 or more with `.buffer(items)`, or remove `.overflow(..)`"
        );
        let Ok(runtime) = Handle::try_current() else {
            panic!(
                "the generator `{name}` needs a tokio runtime to run in: call it from within one, \
                 or enter one first with `let _inside = handle.enter();`"
            );
        };
        let ring = match (buffer > 0).then(|| Ring::new(buffer, overflow)).transpose() {
            Ok(ring) => ring,
            Err(error) => {
                panic!("no memory for the buffer of {buffer} items of the generator `{name}`: {error}")
            }
        };
        let plan = Plan::new(runtime, name, Location::caller(), ring);
        Generator { consumer: handoff::start(ctx, plan, body) }
    }
}
