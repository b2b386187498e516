//! What is alive: the generators and tasks that have not ended, by the line that started them.
//!
//! The context tree is the registry, so asking costs a walk down it, and running costs nothing. A generator is alive until
//! its body is gone, a task until its future is.
//!
//! # Examples
//!
//! ```
//! use ctx_runtime::{Context, Generator};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let (ctx, _keep) = Context::background().with_cancel();
//! let clock = Generator::builder().name("clock").spawn::<u8, _, _>(&ctx, |_, _| std::future::pending());
//! let sum = ctx.spawn(async { 3 + 4 });
//! println!("{}", ctx.live()); // 2 alive, then a line for each
//! assert_eq!(ctx.live().len(), 2);
//! drop(clock);
//! sum.await.unwrap();
//! assert!(ctx.live().is_empty());
//! # }
//! ```

use crate::context::{Context, NodeRef};
use std::fmt;
use std::panic::Location;

/// Lists the generators and tasks alive in this process.
///
/// # Examples
///
/// ```
/// for entry in ctx_runtime::leak::live().iter() {
///     println!("{} from {}", entry.name(), entry.started());
/// }
/// ```
#[must_use]
pub fn live() -> Report {
    Report::below(NodeRef::roots())
}

impl Context {
    /// Lists the generators and tasks alive below this context; of [`background`](Context::background), in this process.
    ///
    /// It polls nothing and stops nothing; what starts or ends meanwhile may be in it or not.
    ///
    /// # Examples
    ///
    /// See [`leak`](crate::leak).
    #[must_use]
    pub fn live(&self) -> Report {
        match self.node() {
            Some(node) => Report::below(vec![node.clone()]),
            None => live(),
        }
    }
}

/// The generators and tasks that were alive when it was taken.
///
/// `Display` is a line with their number, and one for each.
///
/// # Examples
///
/// See [`leak`](crate::leak).
#[derive(Clone, Debug)]
pub struct Report {
    entries: Vec<Entry>,
}

impl Report {
    fn below(tops: Vec<NodeRef>) -> Self {
        let mut entries: Vec<_> = NodeRef::members(tops)
            .iter()
            .filter_map(|node| {
                let kind = if node.is_task() { Kind::Task } else { Kind::Generator };
                Some(Entry { kind, name: node.member()?.name.to_string(), started: node.made() })
            })
            .collect();
        entries.sort_by(|a, b| {
            let line = |entry: &Entry| (entry.started.file(), entry.started.line(), entry.started.column());
            line(a).cmp(&line(b)).then_with(|| a.name.cmp(&b.name))
        });
        Self { entries }
    }

    /// Returns how many were alive.
    ///
    /// # Examples
    ///
    /// See [`leak`](crate::leak).
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Tells whether none was alive.
    ///
    /// # Examples
    ///
    /// See [`leak`](crate::leak).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns them, ordered by the line that started each.
    ///
    /// # Examples
    ///
    /// See [`live`].
    pub fn iter(&self) -> std::slice::Iter<'_, Entry> {
        self.entries.iter()
    }
}

impl<'a> IntoIterator for &'a Report {
    type Item = &'a Entry;
    type IntoIter = std::slice::Iter<'a, Entry>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} alive", self.len())?;
        for entry in &self.entries {
            let started = match entry.kind {
                Kind::Generator => "started",
                Kind::Task => "spawned",
            };
            write!(f, "\n  {} {started} at {}", entry.name, entry.started)?;
        }
        Ok(())
    }
}

/// What an [`Entry`] stands for.
///
/// # Examples
///
/// ```
/// use ctx_runtime::leak::{self, Kind};
///
/// let tasks = leak::live().iter().filter(|entry| entry.kind() == Kind::Task).count();
/// println!("{tasks} tasks");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A [`Generator`](crate::Generator).
    Generator,
    /// A task of [`Context::spawn`].
    Task,
}

/// A generator or a task in a [`Report`].
///
/// # Examples
///
/// See [`live`].
#[derive(Clone, Debug)]
pub struct Entry {
    kind: Kind,
    name: String,
    started: &'static Location<'static>,
}

impl Entry {
    /// Tells a generator from a task.
    ///
    /// # Examples
    ///
    /// See [`Kind`].
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the generator's name; of a task, `task`.
    ///
    /// # Examples
    ///
    /// See [`live`].
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the line that started it.
    ///
    /// # Examples
    ///
    /// See [`live`].
    #[must_use]
    pub fn started(&self) -> &'static Location<'static> {
        self.started
    }
}
