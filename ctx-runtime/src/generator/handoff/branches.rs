//! The yields of one generator that wait at the same time: in the arms of a `select!` or a `join!`, or in a set of futures.
//!
//! Most bodies have one yield at a time, polled with the body's own waker; there is then nothing in here. What is in here is
//! behind a lock, as a yield may be dropped where it was not polled; but only a yield that is polled, by whoever has RUNNING, puts
//! anything in. So `Turn::branched` tells for sure when there is nothing.

use super::block::{Shared, is_own, notify};
use crate::context::{Member, NodeRef, quietly};
use std::collections::VecDeque;
use std::mem;
use std::ptr::NonNull;
use std::task::Waker;

/// Tells the waiting yields of one generator apart.
pub(super) type Ticket = u32;

#[derive(Default)]
pub(super) struct Branches {
    last: Ticket,
    /// The yields that wait for their turn, in the order of their first poll.
    offers: VecDeque<Offer>,
    /// The waker of the yield whose item was accepted last, and that item's number, if it is not the body's own.
    resting: Option<(u32, Waker)>,
}

struct Offer {
    ticket: Ticket,
    /// `None`: the body's own, or it was taken to be woken.
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

/// A waker to keep, unless it is the body's own.
#[inline]
pub(super) fn foreign(this: NonNull<Member>, waker: &Waker) -> Option<Waker> {
    // A waker's clone is the executor's code: outside the lock.
    (!is_own(this, waker)).then(|| waker.clone())
}

impl<T> Shared<T> {
    /// Has a yield wait behind those that wait already.
    #[cold]
    #[inline(never)]
    pub(super) fn join_queue(&self, waker: Option<Waker>) -> Ticket {
        let mut branches = self.branches.lock();
        let branches = branches.get_or_insert_default();
        branches.last = branches.last.wrapping_add(1);
        let ticket = branches.last;
        branches.offers.push_back(Offer { ticket, waker });
        ticket
    }

    /// Whether this yield is the first in the queue.
    #[cold]
    #[inline(never)]
    pub(super) fn is_first(&self, ticket: Ticket) -> bool {
        let guard = self.branches.lock();
        let first = guard.as_ref().and_then(|branches| branches.offers.front());
        first.is_some_and(|first| first.ticket == ticket)
    }

    /// Whether it is this yield's turn. If so it waits no more, else it is woken with `waker` when it is, and what it was to be
    /// woken with before is left there.
    ///
    /// Runs nobody else's code, so that what the caller knows of the room still holds.
    #[cold]
    #[inline(never)]
    pub(super) fn take_turn(&self, ticket: Ticket, has_room: bool, waker: &mut Option<Waker>) -> Turn {
        let mut guard = self.branches.lock();
        let Some(branches) = guard.as_mut() else { return Turn::Wait };
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

    /// Has the yield whose item, of this number, was accepted be woken with `waker` when the next one is asked for.
    #[cold]
    #[inline(never)]
    pub(super) fn rest(&self, number: u32, waker: Waker) {
        let replaced = {
            let mut branches = self.branches.lock();
            branches.get_or_insert_default().resting.replace((number, waker))
        };
        drop(replaced);
    }

    /// Takes a yield out that is dropped. Its successor, if it was the first, is woken.
    #[cold]
    #[inline(never)]
    pub(super) fn leave_queue(&self, node: &NodeRef, ticket: Ticket) {
        let (left, next) = {
            let mut guard = self.branches.lock();
            let Some(branches) = guard.as_mut() else { return };
            let Some(place) = branches.offers.iter().position(|offer| offer.ticket == ticket) else { return };
            (branches.offers.remove(place), (place == 0).then(|| branches.next()).flatten())
        };
        drop(left);
        if let Some(next) = next {
            next.wake(node);
        }
    }

    /// Wakes the yield whose turn it is, if one waits.
    #[cold]
    #[inline(never)]
    pub(super) fn wake_next(&self, node: &NodeRef) {
        let next = self.branches.lock().as_mut().and_then(|branches| branches.next());
        if let Some(next) = next {
            next.wake(node);
        }
    }

    /// Before a poll that answers a request: wakes the yield that rests and the one whose turn it is, where that poll alone would
    /// not reach them. Returns whether any yield waits.
    #[cold]
    #[inline(never)]
    pub(super) fn wake_branches(&self) -> bool {
        let (resting, next, any) = {
            let mut guard = self.branches.lock();
            let Some(branches) = guard.as_mut() else { return false };
            let resting = branches.resting.take();
            let next = branches.offers.front_mut().and_then(|offer| offer.waker.take());
            (resting, next, !branches.offers.is_empty())
        };
        let mut wake = |waker: Waker| quietly(|| waker.wake());
        resting.map(|(_, waker)| waker).into_iter().chain(next).for_each(&mut wake);
        any
    }

    /// Wakes all that wait, as none of them waits any longer: those in a section that the end waits for return, the others rest for
    /// good.
    pub(super) fn rouse_branches(&self) {
        let wakers: Vec<_> = {
            let mut guard = self.branches.lock();
            let Some(branches) = guard.as_mut() else { return };
            let resting = branches.resting.take().map(|(_, waker)| waker);
            let offers = branches.offers.iter_mut().filter_map(|offer| offer.waker.take());
            resting.into_iter().chain(offers).collect()
        };
        for waker in wakers {
            // A waker that panics was reported by the panic hook, and must not keep the others from waking.
            quietly(|| waker.wake());
        }
    }

    /// Lets go of the wakers, when the body is gone.
    #[cold]
    #[inline(never)]
    pub(super) fn clear_branches(&self) {
        let branches = self.branches.lock().take();
        drop(branches);
    }
}

/// How the yield whose turn it is, is reached.
enum Next {
    Foreign(Waker),
    /// By a poll of the body.
    Own,
}

impl Branches {
    fn next(&mut self) -> Option<Next> {
        self.offers.front_mut().map(|offer| offer.waker.take().map_or(Next::Own, Next::Foreign))
    }
}

impl Next {
    fn wake(self, node: &NodeRef) {
        match self {
            // A waker that panics was reported by the panic hook, and must not cost another its turn.
            Self::Foreign(waker) => quietly(|| waker.wake()),
            Self::Own => notify(node),
        }
    }
}
