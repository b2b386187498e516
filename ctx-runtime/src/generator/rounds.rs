//! A body's loops: what a round that comes by no yield looks at.
//!
//! Each round looks at the end, and counts; each thirty-second asks for tokio's cooperative budget, as that costs more than the look
//! (some 4 ns). So a loop that never waits gives way to its runtime after some thousands of rounds: within a millisecond, unless
//! a round itself takes long.

use crate::context::is_within_stopped;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{self, Poll, ready};
use tokio::task::coop;

/// How many rounds one unit of a task's budget is good for.
const ROUNDS_PER_UNIT: u32 = 32;

/// How many rounds are left until the budget is asked.
///
/// Atomic as safe code may ask from anywhere, with a yielder that it has lent. Where two count at the same time, a round is not counted,
/// and no more than that.
#[derive(Default)]
pub(super) struct Rounds(AtomicU32);

impl Rounds {
    /// One more round. Of a body that has ended it is the last: pending, for good, but in a shield.
    #[inline]
    pub(super) fn poll(&self, has_end: bool, cx: &mut task::Context<'_>) -> Poll<()> {
        let left = self.0.load(Ordering::Relaxed);
        if left == 0 || has_end {
            return self.look(has_end, cx);
        }
        self.0.store(left - 1, Ordering::Relaxed);
        Poll::Ready(())
    }

    #[cold]
    #[inline(never)]
    fn look(&self, has_end: bool, cx: &mut task::Context<'_>) -> Poll<()> {
        if has_end && is_within_stopped() {
            // The body is dropped as soon as its poll is over.
            return Poll::Pending;
        }
        ready!(coop::poll_proceed(cx)).made_progress();
        self.0.store(ROUNDS_PER_UNIT, Ordering::Relaxed);
        Poll::Ready(())
    }
}
