//! The values of a context: a chain by type, apart from the tree that cancels.

use std::any::{Any, TypeId, type_name};
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

/// A chain of values, the newest first. Cloning shares it.
#[derive(Clone, Default)]
pub(super) struct Values(Option<Arc<Value>>);

struct Value {
    held: Box<dyn Any + Send + Sync>,
    type_name: &'static str,
    older: Values,
}

impl Values {
    pub(super) const fn new() -> Self {
        Self(None)
    }

    /// This chain with one more value, which hides an older one of the same type.
    pub(super) fn with<T: Any + Send + Sync>(&self, value: T) -> Self {
        Self(Some(Arc::new(Value {
            held: Box::new(value),
            type_name: type_name::<T>(),
            older: self.clone(),
        })))
    }

    pub(super) fn get<T: Any>(&self) -> Option<&T> {
        std::iter::successors(self.0.as_deref(), |value| value.older.0.as_deref())
            .find(|value| (*value.held).type_id() == TypeId::of::<T>())
            .and_then(|value| value.held.downcast_ref())
    }

    /// `, values: ` and the types of what `get` can find, the nearest first; nothing if there is none.
    pub(super) fn fmt_types(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut seen = HashSet::new();
        for value in std::iter::successors(self.0.as_deref(), |value| value.older.0.as_deref()) {
            if seen.insert((*value.held).type_id()) {
                f.write_str(if seen.len() == 1 { ", values: " } else { ", " })?;
                f.write_str(value.type_name)?;
            }
        }
        Ok(())
    }
}

impl Drop for Values {
    /// Drops what only this chain holds one by one, not by recursion (C7).
    #[inline]
    fn drop(&mut self) {
        if let Some(newest) = self.0.take() {
            drop_chain(newest);
        }
    }
}

fn drop_chain(newest: Arc<Value>) {
    let mut next = Some(newest);
    while let Some(mut value) = next.and_then(Arc::into_inner) {
        next = value.older.0.take();
    }
}
