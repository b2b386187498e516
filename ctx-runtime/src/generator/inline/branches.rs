//! The yields of one inline generator that wait at the same time: in the arms of a `select!` or a `join!`, or in a set of futures.
//!
//! Behind a lock, as a yield may be dropped where it was not polled; but only a yield that is polled within its body's poll
//! puts anything in. So `Turn::branched` tells for sure when there is nothing.

use super::block::Shared;
use crate::context::quietly;
use std::collections::VecDeque;
use std::mem;
use std::task::Waker;

/// Tells the waiting yields of one generator apart.
pub(super) type Ticket = u32;

#[derive(Default)]
pub(super) struct Branches {
    last: Ticket,
    /// The yields that wait for their turn, in the order of their first poll.
    offers: VecDeque<Offer>,
    /// The waker of the yield whose item was accepted last, if that was not the consumer's.
    resting: Option<Waker>,
}

struct Offer {
    ticket: Ticket,
    /// What it was last polled with; `None` when it was taken to be woken.
    waker: Option<Waker>,
}

/// What a yield in the queue is told.
pub(super) enum Turn {
    Wait,
    /// It is its turn; it may be the last one in here. What is left of its waker is dropped when its item was handed over.
    Come {
        is_last: bool,
        left: Option<Waker>,
    },
}

impl<T> Shared<T> {
    /// Has a yield wait behind those that wait already.
    #[cold]
    #[inline(never)]
    pub(super) fn join_queue(&self) -> Ticket {
        let mut branches = self.branches.lock();
        branches.last = branches.last.wrapping_add(1);
        let ticket = branches.last;
        branches.offers.push_back(Offer { ticket, waker: None });
        ticket
    }

    /// Whether it is this yield's turn. If so it waits no more, else it is woken with `waker` when it is, and what it was to be
    /// woken with before is left there.
    ///
    /// Runs nobody else's code, so that what the caller knows of the room still holds.
    #[cold]
    #[inline(never)]
    pub(super) fn take_turn(&self, ticket: Ticket, has_room: bool, waker: &mut Option<Waker>) -> Turn {
        let mut branches = self.branches.lock();
        if has_room && branches.offers.front().is_some_and(|first| first.ticket == ticket) {
            let left = branches.offers.pop_front().and_then(|first| first.waker);
            let is_last = branches.offers.is_empty() && branches.resting.is_none();
            return Turn::Come { is_last, left };
        }
        if let Some(offer) = branches.offers.iter_mut().find(|offer| offer.ticket == ticket) {
            mem::swap(&mut offer.waker, waker);
        }
        Turn::Wait
    }

    /// Has the yield whose item was accepted be woken with `waker` when the next one is asked for.
    #[cold]
    #[inline(never)]
    pub(super) fn rest(&self, waker: &Waker) {
        let waker = waker.clone();
        let replaced = self.branches.lock().resting.replace(waker);
        drop(replaced);
    }

    /// Takes a yield out that is dropped. Its successor, if it was the first, is woken.
    #[cold]
    #[inline(never)]
    pub(super) fn leave_queue(&self, ticket: Ticket) {
        let (left, next) = {
            let mut branches = self.branches.lock();
            let Some(place) = branches.offers.iter().position(|offer| offer.ticket == ticket) else { return };
            let left = branches.offers.remove(place);
            let next = branches.offers.front_mut().filter(|_| place == 0);
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
