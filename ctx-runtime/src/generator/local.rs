//! The handle of a generator that stays on its thread.

use super::Generator;
use super::end::End;
use super::handoff::Consumer;
use crate::context::Context;
use futures_core::{FusedStream, Stream};
use std::fmt;
use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{self, Poll};

/// A [`Generator`] whose items and body need not be `Send`: a task of a `LocalSet`, or of a `LocalRuntime`.
///
/// It promises what that does. It stays on the thread on which it was made, and so does all of its body. Its consumer runs the body
/// itself only in the task in which it was made; elsewhere, also in another task of the set, it waits for the body's own task.
///
/// What its body [defers](crate::LocalYielder::defer) runs there, too, and need not be `Send` either.
///
/// If the `LocalSet` is forgotten, what is in the body is never dropped, as there is no thread to drop it on. Nor is what it has deferred: who
/// waits for that waits for ever.
///
/// # Examples
///
/// See [`Builder::spawn_local`](super::Builder::spawn_local).
#[must_use = "a generator that is dropped is stopped: take its items with `next`"]
pub struct LocalGenerator<T> {
    generator: Generator<T>,
    /// Its futures borrow this, or take it along: so they stay here too, also where the items may go.
    _here: PhantomData<*const ()>,
}

impl<T> Unpin for LocalGenerator<T> {}

impl<T> LocalGenerator<T> {
    /// The consumer is of a generator that was started here.
    pub(super) fn new(consumer: Consumer<T>) -> Self {
        Self { generator: Generator { consumer }, _here: PhantomData }
    }

    /// As [`Generator::next`].
    ///
    /// # Panics
    ///
    /// As that.
    ///
    /// # Examples
    ///
    /// See [`Builder::spawn_local`](super::Builder::spawn_local).
    #[allow(
        clippy::should_implement_trait,
        reason = "the name that every stream has for it; it waits, so it is no iterator's"
    )]
    pub fn next(&mut self) -> impl Future<Output = Option<T>> + use<'_, T> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx))
    }

    /// As [`Generator::next_many`].
    ///
    /// # Panics
    ///
    /// As that.
    ///
    /// # Examples
    ///
    /// See [`Generator::next_many`].
    pub fn next_many(&mut self, items: &mut Vec<T>, limit: usize) -> impl Future<Output = usize> {
        poll_fn(move |cx| self.poll_many(cx, items, limit))
    }

    fn poll_many(&mut self, cx: &mut task::Context<'_>, items: &mut Vec<T>, limit: usize) -> Poll<usize> {
        self.generator.consumer.poll_many(cx, items, limit)
    }

    /// As [`Generator::cancel`].
    ///
    /// # Examples
    ///
    /// See [`Generator::cancel`].
    #[track_caller]
    pub fn cancel(&self) {
        self.generator.cancel();
    }

    /// As [`Generator::stop`].
    ///
    /// # Panics
    ///
    /// As that.
    ///
    /// # Examples
    ///
    /// See [`Generator::stop`].
    #[track_caller]
    pub fn stop(self) -> impl Future<Output = End> + use<T> {
        let Self { generator, _here: here } = self;
        let stopped = generator.stop();
        async move {
            #[allow(
                clippy::no_effect_underscore_binding,
                reason = "held over the wait, so that this future stays here, too"
            )]
            let _here = here;
            stopped.await
        }
    }

    /// As [`Generator::end`].
    ///
    /// # Examples
    ///
    /// See [`End`].
    #[must_use]
    pub fn end(&self) -> Option<&End> {
        self.generator.end()
    }

    /// As [`Generator::dropped`].
    ///
    /// # Examples
    ///
    /// See [`Overflow`](crate::Overflow).
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.generator.dropped()
    }

    /// As [`Generator::name`].
    ///
    /// # Examples
    ///
    /// See [`Generator::name`].
    #[must_use]
    pub fn name(&self) -> &str {
        self.generator.name()
    }

    /// As [`Generator::context`].
    ///
    /// # Examples
    ///
    /// See [`Generator::context`].
    #[must_use]
    pub fn context(&self) -> &Context {
        self.generator.context()
    }
}

impl<T> Stream for LocalGenerator<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Option<T>> {
        Pin::new(&mut self.generator).poll_next(cx)
    }
}

impl<T> FusedStream for LocalGenerator<T> {
    fn is_terminated(&self) -> bool {
        self.generator.is_terminated()
    }
}

impl<T> fmt::Debug for LocalGenerator<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.generator.fmt(f)
    }
}
