//! A task's place in the tree: its member, and beside it what the task shares with its handle.

use super::members::{Hooks, Member, Within};
use super::refs::NodeRef;
use std::marker::PhantomData;
use std::ops::Deref;
use std::panic::Location;
use std::ptr::NonNull;
use std::sync::Arc;

#[repr(C)]
struct Block<V> {
    /// First, so that a pointer to the node is one to the whole block.
    member: Member,
    value: V,
}

/// A counted reference to a task's member, and to what is beside it: to that, what an `Arc` is.
pub(crate) struct TaskRef<V>(NodeRef, PhantomData<Arc<V>>);

impl<V: Send + Sync + 'static> TaskRef<V> {
    const HOOKS: &'static Hooks = &Hooks::of_task(Self::free);

    /// A task below `parent`, or a root. It can be found in the tree from now on.
    pub(crate) fn new(parent: Option<&NodeRef>, made: &'static Location<'static>, value: V) -> Self {
        let block = Box::new(Block { member: Member::of_task(parent, Self::HOOKS, made), value });
        let block = NonNull::from(Box::leak(block));
        // SAFETY: unlisted, made with this parent, at the head of a block of the type that its hooks are for, and nobody has seen it.
        let node = unsafe { Member::list(block.cast(), parent) };
        Self(node, PhantomData)
    }

    /// # Safety
    ///
    /// `this` is a block of this type, to which nobody refers.
    unsafe fn free(this: NonNull<Member>) {
        // SAFETY: made by `Box::leak` in `new`.
        drop(unsafe { Box::from_raw(this.cast::<Block<V>>().as_ptr()) });
    }
}

impl<V> TaskRef<V> {
    fn block(&self) -> &Block<V> {
        // SAFETY: made by `new`, with a value of this type; the reference keeps it alive.
        unsafe { self.0.as_ptr().cast::<Block<V>>().as_ref() }
    }

    pub(crate) fn node(&self) -> &NodeRef {
        &self.0
    }

    pub(crate) fn member(&self) -> &Member {
        &self.block().member
    }

    /// Has `act` poll the task's future, or drop it: meanwhile this thread is known to be within it.
    pub(crate) fn within<R>(&self, act: impl FnOnce() -> R) -> R {
        Within::task(self.member(), act)
    }
}

impl<V> Clone for TaskRef<V> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), PhantomData)
    }
}

impl<V> Deref for TaskRef<V> {
    type Target = V;

    fn deref(&self) -> &V {
        &self.block().value
    }
}
