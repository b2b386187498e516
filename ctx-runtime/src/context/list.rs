//! A doubly linked list through its own elements: no allocation to join, constant time to leave.
//!
//! The list owns nothing. An element is in at most one list at a time. Whoever holds the lock that guards a list may touch
//! the links of its elements; nobody else may.
#![allow(unsafe_code, reason = "an intrusive list; the only other place is the tree that uses it")]

use std::cell::Cell;
use std::ptr::NonNull;

/// Names the link through which `Self` is listed.
///
/// # Safety
///
/// It is always the same one, it is a field of the element, and nothing but its list touches it.
pub(super) unsafe trait Linked: Sized {
    fn link(&self) -> &Link<Self>;
}

/// The neighbours of an element in its list, if it is in one.
pub(super) struct Link<T> {
    prev: Cell<Option<NonNull<T>>>,
    next: Cell<Option<NonNull<T>>>,
}

impl<T> Link<T> {
    pub(super) const fn new() -> Self {
        Self { prev: Cell::new(None), next: Cell::new(None) }
    }
}

/// The two ends of a list.
pub(super) struct List<T> {
    head: Option<NonNull<T>>,
    tail: Option<NonNull<T>>,
}

// SAFETY: pointers to elements, of which nothing is touched but the link, and that only by whoever has the list to itself. What comes
// out is `T`s, to be used where the list is.
unsafe impl<T: Send> Send for List<T> {}

impl<T: Linked> List<T> {
    pub(super) const fn new() -> Self {
        Self { head: None, tail: None }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.head.is_none()
    }

    /// # Safety
    ///
    /// `element` is alive and in no list, and leaves this one before it dies. From now on its link is guarded by what
    /// guards this list, and no `&mut` claims the element for itself (one that is shared, or pinned and not `Unpin`, has none
    /// such).
    pub(super) unsafe fn push_back(&mut self, element: NonNull<T>) {
        // SAFETY: alive, by the caller's word.
        let link = unsafe { element.as_ref() }.link();
        link.prev.set(self.tail);
        link.next.set(None);
        match self.tail {
            // SAFETY: in this list, so alive.
            Some(tail) => unsafe { tail.as_ref() }.link().next.set(Some(element)),
            None => self.head = Some(element),
        }
        self.tail = Some(element);
    }

    /// # Safety
    ///
    /// `element` is in this very list.
    pub(super) unsafe fn remove(&mut self, element: NonNull<T>) {
        // SAFETY: in this list, so alive.
        let link = unsafe { element.as_ref() }.link();
        let (prev, next) = (link.prev.take(), link.next.take());
        match prev {
            // SAFETY: a neighbour in this list, so alive.
            Some(prev) => unsafe { prev.as_ref() }.link().next.set(next),
            None => self.head = next,
        }
        match next {
            // SAFETY: a neighbour in this list, so alive.
            Some(next) => unsafe { next.as_ref() }.link().prev.set(prev),
            None => self.tail = prev,
        }
    }

    pub(super) fn pop_front(&mut self) -> Option<NonNull<T>> {
        let head = self.head?;
        // SAFETY: the head is in this list.
        unsafe { self.remove(head) };
        Some(head)
    }

    /// The elements from front to back.
    pub(super) fn iter(&self) -> impl Iterator<Item = NonNull<T>> + '_ {
        // SAFETY: no element to be in this list.
        unsafe { self.iter_after(None) }
    }

    /// The elements behind this one, or all.
    ///
    /// # Safety
    ///
    /// `place` is in this very list.
    pub(super) unsafe fn iter_after(
        &self,
        place: Option<NonNull<T>>,
    ) -> impl Iterator<Item = NonNull<T>> + '_ {
        // SAFETY: in this list, by the caller's word or as a neighbour of one that is, so alive; the borrow keeps the list from
        // changing.
        let next = |element: &NonNull<T>| unsafe { element.as_ref() }.link().next.get();
        std::iter::successors(place.as_ref().map_or(self.head, next), next)
    }
}
