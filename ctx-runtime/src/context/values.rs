//! The values of a context: a chain by type, apart from the tree that cancels.

use std::any::{Any, TypeId};
use std::sync::Arc;

/// A chain of values, the newest first. Cloning shares it.
#[derive(Clone, Default)]
pub(super) struct Values(Option<Arc<Value>>);

struct Value {
    value: Box<dyn Any + Send + Sync>,
    older: Values,
}

impl Values {
    pub(super) const fn new() -> Self {
        Self(None)
    }

    /// This chain with one more value, which hides an older one of the same type.
    pub(super) fn with<T: Any + Send + Sync>(&self, value: T) -> Self {
        Self(Some(Arc::new(Value { value: Box::new(value), older: self.clone() })))
    }

    pub(super) fn get<T: Any>(&self) -> Option<&T> {
        std::iter::successors(self.0.as_deref(), |value| value.older.0.as_deref())
            .find(|value| (*value.value).type_id() == TypeId::of::<T>())
            .and_then(|value| value.value.downcast_ref())
    }

    pub(super) fn len(&self) -> usize {
        std::iter::successors(self.0.as_deref(), |value| value.older.0.as_deref()).count()
    }
}

impl Drop for Values {
    /// Drops what only this chain holds one by one, not by recursion (C7).
    fn drop(&mut self) {
        let mut next = self.0.take();
        while let Some(mut value) = next.and_then(Arc::into_inner) {
            next = value.older.0.take();
        }
    }
}
