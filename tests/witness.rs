//! Values that tell what became of them.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts what is reported to it: drops of its guards, or whatever else a test ticks off.
#[derive(Clone, Default)]
pub(crate) struct Tally(Arc<AtomicUsize>);

impl Tally {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    pub(crate) fn tick(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    /// A guard whose drop is counted.
    pub(crate) fn on_drop(&self) -> OnDrop<impl FnMut() + Send + Sync + use<>> {
        let tally = self.clone();
        on_drop(move || tally.tick())
    }
}

/// Panics, with a payload that panics when it is dropped in turn. Who catches it is to forget it.
pub(crate) fn spite() -> ! {
    resume_unwind(Box::new(on_drop(|| panic!("the payload of a panic, as the test wants it"))))
}

/// Runs a closure when it is dropped.
pub(crate) struct OnDrop<F: FnMut()>(F);

pub(crate) fn on_drop<F: FnMut()>(act: F) -> OnDrop<F> {
    OnDrop(act)
}

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
