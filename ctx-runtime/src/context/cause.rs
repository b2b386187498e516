//! Why a context is done, and which line of whose source made it so.

use super::end::{Said, Word};
use std::any::{Any, TypeId};
use std::error::Error;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;

/// How a context came to its end: cancelled, or out of time.
///
/// The distinction that Go draws between `context.Canceled` and `context.DeadlineExceeded`. Why it was
/// cancelled is the [`Cause`].
///
/// # Examples
///
/// ```
/// use ctx_runtime::{Context, ContextError};
///
/// let (ctx, canceller) = Context::background().with_cancel();
/// assert_eq!(ctx.err(), None);
/// canceller.cancel();
/// assert_eq!(ctx.err(), Some(ContextError::Cancelled));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ContextError {
    /// Somebody cancelled it.
    Cancelled,
    /// Its deadline, or that of a context above it, has passed.
    DeadlineExceeded,
}

impl fmt::Display for ContextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cancelled => "context cancelled",
            Self::DeadlineExceeded => "context deadline exceeded",
        })
    }
}

impl Error for ContextError {}

/// The cause of a context whose last [`Canceller`](crate::Canceller) was dropped, and of a generator's own
/// whose handle was.
///
/// # Examples
///
/// ```
/// use ctx_runtime::{Abandoned, Context};
///
/// let (ctx, canceller) = Context::background().with_cancel();
/// drop(canceller);
/// assert!(ctx.cause().unwrap().downcast_ref::<Abandoned>().is_some());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Abandoned;

impl fmt::Display for Abandoned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("abandoned by all who could have cancelled it")
    }
}

impl Error for Abandoned {}

/// The cause of a generator's own context once its body has run to its end.
///
/// # Examples
///
/// ```
/// use ctx_runtime::{Context, Finished, Generator};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let mut empty: Generator<u8> = Generator::builder().spawn(&Context::background(), |_, _| async {});
/// assert_eq!(empty.next().await, None);
/// assert!(empty.context().cause().unwrap().downcast_ref::<Finished>().is_some());
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finished;

impl fmt::Display for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the generator has finished")
    }
}

impl Error for Finished {}

/// Why a context is done: an error, and the line that it comes from.
///
/// Cheap to clone. An [`Error`] itself, so `ctx.run(future).await?` works. A `Cause` that is handed on to
/// [`Canceller::cancel_with`](crate::Canceller::cancel_with) stays the cause that it was, with its first origin.
///
/// # Examples
///
/// ```
/// use ctx_runtime::Context;
///
/// let (ctx, canceller) = Context::background().with_cancel();
/// canceller.cancel_with("client went away");
/// let cause = ctx.cause().unwrap();
/// assert!(cause.to_string().starts_with("context cancelled at "));
/// assert!(cause.to_string().ends_with(": client went away"));
/// assert_eq!(cause.origin().file(), file!());
/// ```
#[derive(Clone)]
pub struct Cause(Word);

/// The ends that the library itself brings about. Their numbers are the tags of a [`Word`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Cancelled = 1,
    DeadlineExceeded = 2,
    Abandoned = 3,
    Finished = 4,
}

/// An end with an error of the user's.
#[repr(align(8))]
pub(super) struct Custom {
    kind: ContextError,
    origin: &'static Location<'static>,
    error: Arc<dyn Error + Send + Sync>,
}

impl Reason {
    pub(super) fn from_tag(tag: usize) -> Option<Self> {
        [Self::Cancelled, Self::DeadlineExceeded, Self::Abandoned, Self::Finished]
            .into_iter()
            .find(|reason| *reason as usize == tag)
    }

    fn kind(self) -> ContextError {
        match self {
            Self::DeadlineExceeded => ContextError::DeadlineExceeded,
            Self::Cancelled | Self::Abandoned | Self::Finished => ContextError::Cancelled,
        }
    }

    fn error(self) -> Arc<dyn Error + Send + Sync> {
        match self {
            Self::Cancelled => Arc::new(ContextError::Cancelled),
            Self::DeadlineExceeded => Arc::new(ContextError::DeadlineExceeded),
            Self::Abandoned => Arc::new(Abandoned),
            Self::Finished => Arc::new(Finished),
        }
    }
}

impl Cause {
    #[inline]
    pub(super) fn plain(reason: Reason, origin: &'static Location<'static>) -> Self {
        Self(Word::plain(reason, origin))
    }

    /// The cause that `error` makes for an end of this kind. If it is a `Cause` already, its origin stands.
    pub(super) fn custom(
        kind: ContextError,
        error: Box<dyn Error + Send + Sync>,
        origin: &'static Location<'static>,
    ) -> Self {
        match error.downcast::<Cause>() {
            Ok(cause) => cause.into_kind(kind),
            Err(error) => Self(Word::custom(Custom { kind, origin, error: error.into() })),
        }
    }

    /// The same error and origin, as the cause of an end of this kind.
    fn into_kind(self, kind: ContextError) -> Self {
        if self.kind() == kind {
            return self;
        }
        let origin = self.origin();
        let error = match self.0.said() {
            Said::Plain(reason, _) => reason.error(),
            Said::Custom(custom) => Arc::clone(&custom.error),
        };
        Self(Word::custom(Custom { kind, origin, error }))
    }

    #[inline]
    pub(super) fn from_word(word: Word) -> Self {
        Self(word)
    }

    #[inline]
    pub(super) fn into_word(self) -> Word {
        self.0
    }

    /// Tells a timeout from a cancel: what [`Context::err`](crate::Context::err) says where this is the cause.
    ///
    /// # Examples
    ///
    /// ```
    /// use ctx_runtime::{Context, ContextError};
    ///
    /// let (ctx, canceller) = Context::background().with_cancel();
    /// canceller.cancel();
    /// assert_eq!(ctx.cause().unwrap().kind(), ContextError::Cancelled);
    /// ```
    #[must_use]
    pub fn kind(&self) -> ContextError {
        match self.0.said() {
            Said::Plain(reason, _) => reason.kind(),
            Said::Custom(custom) => custom.kind,
        }
    }

    /// Returns the line that cancelled; for a deadline and for [`Abandoned`], the line that made the context.
    ///
    /// # Examples
    ///
    /// ```
    /// use ctx_runtime::Context;
    ///
    /// let (ctx, canceller) = Context::background().with_cancel();
    /// canceller.cancel(); let line = line!();
    /// assert_eq!(ctx.cause().unwrap().origin().line(), line);
    /// ```
    #[must_use]
    pub fn origin(&self) -> &'static Location<'static> {
        match self.0.said() {
            Said::Plain(_, origin) => origin,
            Said::Custom(custom) => custom.origin,
        }
    }

    /// Returns the error itself if it is an `E`: what was given to `cancel_with`, or else [`Abandoned`],
    /// [`Finished`] or [`ContextError`].
    ///
    /// # Examples
    ///
    /// ```
    /// use ctx_runtime::Context;
    /// use std::io;
    ///
    /// let (ctx, canceller) = Context::background().with_cancel();
    /// canceller.cancel_with(io::Error::from(io::ErrorKind::BrokenPipe));
    /// let cause = ctx.cause().unwrap();
    /// assert_eq!(cause.downcast_ref::<io::Error>().unwrap().kind(), io::ErrorKind::BrokenPipe);
    /// ```
    #[must_use]
    pub fn downcast_ref<E: Error + 'static>(&self) -> Option<&E> {
        match self.0.said() {
            Said::Plain(reason, _) => {
                let error: &dyn Any = match reason {
                    Reason::Cancelled => &ContextError::Cancelled,
                    Reason::DeadlineExceeded => &ContextError::DeadlineExceeded,
                    Reason::Abandoned => &Abandoned,
                    Reason::Finished => &Finished,
                };
                error.downcast_ref()
            }
            // `Cause` itself never stands here: `custom` unwraps it.
            Said::Custom(custom) if TypeId::of::<E>() != TypeId::of::<Self>() => custom.error.downcast_ref(),
            Said::Custom(_) => None,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = self.origin();
        let (file, line) = (origin.file(), origin.line());
        match self.kind() {
            ContextError::Cancelled => write!(f, "context cancelled at {file}:{line}")?,
            ContextError::DeadlineExceeded => write!(f, "context deadline exceeded, set at {file}:{line}")?,
        }
        match self.0.said() {
            Said::Plain(Reason::Abandoned, _) => write!(f, ": {Abandoned}"),
            Said::Plain(Reason::Finished, _) => write!(f, ": {Finished}"),
            Said::Plain(Reason::Cancelled | Reason::DeadlineExceeded, _) => Ok(()),
            Said::Custom(custom) => write!(f, ": {}", custom.error),
        }
    }
}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Cause");
        debug.field("kind", &self.kind()).field("origin", &format_args!("{}", self.origin()));
        match self.0.said() {
            Said::Plain(reason, _) => debug.field("error", &reason),
            Said::Custom(custom) => debug.field("error", &custom.error),
        };
        debug.finish()
    }
}

impl Error for Cause {
    /// The source of the error that was given: the error itself is part of this one's message.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self.0.said() {
            Said::Plain(..) => None,
            Said::Custom(custom) => custom.error.source(),
        }
    }
}

impl Custom {
    /// An end without an error of the user's, for where a word has no room for its reason.
    pub(super) fn plain(reason: Reason, origin: &'static Location<'static>) -> Self {
        Self { kind: reason.kind(), origin, error: reason.error() }
    }
}
