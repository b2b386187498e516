//! A doubly linked list through its own elements: no allocation to join, constant time to leave.
//!
//! The list owns nothing. An element belongs to at most one list at a time, and whoever holds the lock that
//! guards the list may touch the links of its elements; nobody else may.
#![allow(unsafe_code, reason = "an intrusive list; the only other place is the tree that uses it")]

use std::cell::UnsafeCell;
use std::fmt;
use std::ptr::NonNull;

/// Names the link through which `Self` is listed.
///
/// # Safety
///
/// `link` returns a pointer into the element that it is given, always to the same field, without making a
/// reference to the whole element.
pub(super) unsafe trait Linked: Sized {
    /// # Safety
    ///
    /// `element` points to a live element.
    unsafe fn link(element: NonNull<Self>) -> NonNull<Link<Self>>;
}

/// The neighbours of an element in its list, if it is in one.
pub(super) struct Link<T>(UnsafeCell<Neighbours<T>>);

struct Neighbours<T> {
    prev: Option<NonNull<T>>,
    next: Option<NonNull<T>>,
}

impl<T> Link<T> {
    pub(super) const fn new() -> Self {
        Self(UnsafeCell::new(Neighbours { prev: None, next: None }))
    }
}

impl<T> fmt::Debug for Link<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Link")
    }
}

/// The two ends of a list.
pub(super) struct List<T> {
    head: Option<NonNull<T>>,
    tail: Option<NonNull<T>>,
}

// SAFETY: a list is two pointers to elements that are only touched under the lock that guards the list; the
// elements of this crate (nodes, waiters) are `Send` themselves.
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
    /// `element` is alive and in no list, and leaves this one before it dies.
    pub(super) unsafe fn push_back(&mut self, element: NonNull<T>) {
        // SAFETY: alive, by the caller's word.
        let neighbours = unsafe { Self::neighbours(element) };
        // SAFETY: in no list, so nobody else looks at its link.
        unsafe { neighbours.write(Neighbours { prev: self.tail, next: None }) };
        match self.tail {
            // SAFETY: an element of this list, so alive, and ours to touch.
            Some(tail) => unsafe { (*Self::neighbours(tail).as_ptr()).next = Some(element) },
            None => self.head = Some(element),
        }
        self.tail = Some(element);
    }

    /// # Safety
    ///
    /// `element` is in this very list.
    pub(super) unsafe fn remove(&mut self, element: NonNull<T>) {
        // SAFETY: an element of this list, so alive.
        let neighbours = unsafe { Self::neighbours(element) };
        // SAFETY: ours to touch, as it is in this list.
        let Neighbours { prev, next } = unsafe { neighbours.replace(Neighbours { prev: None, next: None }) };
        match prev {
            // SAFETY: a neighbour in this list.
            Some(prev) => unsafe { (*Self::neighbours(prev).as_ptr()).next = next },
            None => self.head = next,
        }
        match next {
            // SAFETY: a neighbour in this list.
            Some(next) => unsafe { (*Self::neighbours(next).as_ptr()).prev = prev },
            None => self.tail = prev,
        }
    }

    pub(super) fn pop_front(&mut self) -> Option<NonNull<T>> {
        let head = self.head?;
        // SAFETY: the head is in this list.
        unsafe { self.remove(head) };
        Some(head)
    }

    /// The elements from front to back. The list must not change while they are walked.
    pub(super) fn iter(&self) -> impl Iterator<Item = NonNull<T>> + '_ {
        let mut at = self.head;
        std::iter::from_fn(move || {
            let element = at?;
            // SAFETY: an element of this list, so alive; the borrow of the list keeps it from changing.
            at = unsafe { (*Self::neighbours(element).as_ptr()).next };
            Some(element)
        })
    }

    /// # Safety
    ///
    /// `element` is alive.
    unsafe fn neighbours(element: NonNull<T>) -> NonNull<Neighbours<T>> {
        // SAFETY: alive, by the caller's word.
        let link = unsafe { T::link(element) };
        // SAFETY: `link` points into the live element.
        let cell = unsafe { UnsafeCell::raw_get(&raw const (*link.as_ptr()).0) };
        // SAFETY: the address of a field is not null.
        unsafe { NonNull::new_unchecked(cell) }
    }
}

impl<T> fmt::Debug for List<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("List").field("empty", &self.head.is_none()).finish()
    }
}
