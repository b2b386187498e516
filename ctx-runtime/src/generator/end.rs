//! How a generator or a task ended.

use crate::context::{Cause, Payload};
use crate::loom::Mutex;
use std::any::Any;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// How a generator or a task ended.
///
/// # Examples
///
/// ```
/// use ctx_runtime::{Context, End, Generator};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let mut one = Generator::builder().spawn(&Context::background(), |_, co| async move { co.yield_(1).await });
/// assert_eq!(one.next().await, Some(1));
/// assert_eq!(one.next().await, None);
/// assert!(matches!(one.end(), Some(End::Finished)));
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum End {
    /// The body ran to its end. Of a [`Task`](crate::Task) there is its output instead.
    Finished,
    /// Its context was done, or a generator's handle stopped it.
    Cancelled(Cause),
    /// The body or the future panicked, or a destructor did when it was dropped.
    Panicked(Panic),
    /// The runtime went away.
    Aborted,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finished => f.write_str("finished"),
            Self::Cancelled(cause) => write!(f, "cancelled: {cause}"),
            Self::Panicked(panic) => write!(f, "panicked: {panic}"),
            Self::Aborted => f.write_str("aborted: the runtime went away"),
        }
    }
}

impl Error for End {}

/// A panic that ended a generator or a task: its message, and its payload until somebody takes it.
///
/// Clones share the payload.
///
/// # Examples
///
/// ```
/// use ctx_runtime::{Context, End, Generator};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let mut broken = Generator::builder().buffer(1).spawn::<u8, _, _>(&Context::background(), |_, _| async {
///     panic!("out of paper")
/// });
/// # tokio::task::yield_now().await;
/// let End::Panicked(panic) = broken.stop().await else { unreachable!() };
/// assert_eq!(panic.message(), "out of paper");
/// assert!(panic.take_payload().is_some());
/// # }
/// ```
#[derive(Clone)]
pub struct Panic(Arc<Inner>);

struct Inner {
    message: String,
    payload: Mutex<Option<Payload>>,
}

impl Panic {
    pub(crate) fn new(payload: Payload) -> Self {
        let message = if let Some(text) = payload.downcast_ref::<&str>() {
            (*text).to_owned()
        } else if let Some(text) = payload.downcast_ref::<String>() {
            text.clone()
        } else {
            "a panic whose payload is not a text".to_owned()
        };
        Self(Arc::new(Inner { message, payload: Mutex::new(Some(payload)) }))
    }

    /// Returns what the panic said, if it said it in words.
    ///
    /// # Examples
    ///
    /// See [`Panic`].
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Takes the payload, for [`resume_unwind`](std::panic::resume_unwind). `None` if `next` has raised it, or somebody
    /// took it before.
    ///
    /// # Examples
    ///
    /// See [`Panic`].
    #[must_use]
    pub fn take_payload(&self) -> Option<Box<dyn Any + Send>> {
        self.0.payload.lock().take()
    }
}

impl Panic {
    pub(super) fn has_payload(&self) -> bool {
        self.0.payload.lock().is_some()
    }
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Panic").field(&self.0.message).finish()
    }
}

impl Error for Panic {}
