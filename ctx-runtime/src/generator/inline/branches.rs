//! The yields of one inline generator that wait at the same time: in the arms of a `select!` or a `join!`, or in a set of futures.
//!
//! Behind a lock, as a yield may be dropped where it was not polled; but only a yield that is polled within its body's poll
//! puts anything in. So `Turn::branched` tells for sure when there is nothing.

use super::block::Shared;
use crate::context::quietly;
use std::collections::VecDeque;
use std::task::Waker;
use std::{mem, ptr};

/// Where a yield is, which is pinned: tells those of one generator apart.
///
/// An odd address within it, which no waker has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(*const ());

impl Place {
    #[inline]
    pub(super) fn of<T>(pinned: &T) -> Self {
        Self(ptr::from_ref(pinned).wrapping_byte_add(1).cast())
    }

    #[inline]
    pub(super) fn as_ptr(self) -> *const () {
        self.0
    }
}

#[derive(Default)]
pub(super) struct Branches {
    /// The yields that wait for their turn, in the order of their first poll.
    offers: VecDeque<Offer>,
    /// The waker of the yield whose item was accepted last, if that was not the consumer's.
    resting: Option<Waker>,
}

struct Offer {
    place: Place,
    /// What it was last polled with; `None` when it was taken to be woken.
    waker: Option<Waker>,
}

/// What a yield in the queue is told.
pub(super) enum Turn {
    Wait,
    /// It is its turn. What is left of its waker is dropped when its item was handed over.
    Come(Option<Waker>),
}

impl<T> Shared<T> {
    /// Has a yield wait behind those that wait already, unless it does.
    pub(super) fn join_queue(&self, place: Place) {
        let mut branches = self.branches.lock();
        if !branches.offers.iter().any(|offer| offer.place == place) {
            branches.offers.push_back(Offer { place, waker: None });
        }
    }

    /// Whether it is this yield's turn. If so it waits no more, else it is woken with `waker` when it is, and what it was to be
    /// woken with before is left there.
    ///
    /// Runs nobody else's code, so that what the caller knows of the room still holds.
    pub(super) fn take_turn(&self, place: Place, has_room: bool, waker: &mut Option<Waker>) -> Turn {
        let mut branches = self.branches.lock();
        if has_room && branches.offers.front().is_some_and(|first| first.place == place) {
            return Turn::Come(branches.offers.pop_front().and_then(|first| first.waker));
        }
        if let Some(offer) = branches.offers.iter_mut().find(|offer| offer.place == place) {
            mem::swap(&mut offer.waker, waker);
        }
        Turn::Wait
    }

    /// Has the yield whose item was accepted be woken with `waker` when the next one is asked for.
    pub(super) fn rest(&self, waker: &Waker) {
        let waker = waker.clone();
        let replaced = self.branches.lock().resting.replace(waker);
        drop(replaced);
    }

    /// Takes a yield out that is dropped. Its successor, if it was the first, is woken.
    #[cold]
    #[inline(never)]
    pub(super) fn leave_queue(&self, place: Place) {
        let (left, next) = {
            let mut branches = self.branches.lock();
            let Some(index) = branches.offers.iter().position(|offer| offer.place == place) else { return };
            let left = branches.offers.remove(index);
            let next = branches.offers.front_mut().filter(|_| index == 0);
            (left, next.and_then(|offer| offer.waker.take()))
        };
        drop(left);
        if let Some(next) = next {
            // A waker that panics was reported by the panic hook; this may be in the course of another panic.
            quietly(|| next.wake());
        }
    }

    /// Before a poll of the body, with the waker `own`: wakes the yield that rests and the one whose turn it is, where that poll alone
    /// would not reach them. Returns whether any yield waits.
    #[cold]
    #[inline(never)]
    pub(super) fn wake_branches(&self, own: &Waker) -> bool {
        let (resting, next, any) = {
            let mut branches = self.branches.lock();
            let next = branches.offers.front_mut().and_then(|offer| offer.waker.take());
            (branches.resting.take(), next, !branches.offers.is_empty())
        };
        for waker in resting.into_iter().chain(next) {
            // A waker that panics must not cost another its turn.
            quietly(|| if waker.will_wake(own) { drop(waker) } else { waker.wake() });
        }
        any
    }

    /// Lets go of the wakers, when the body is gone.
    pub(super) fn clear_branches(&self) {
        let branches = mem::take(&mut *self.branches.lock());
        quietly(|| drop(branches));
    }
}
