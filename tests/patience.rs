//! Waiting for a state without sleeping: on a condition, and never for longer than a generous limit.

use std::future::Future;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// How long a state that must come may take on a busy machine before the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(50);

/// Lets every other task of a single-threaded runtime run until none of them can go on.
pub(crate) async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

/// Gives way to other tasks until `condition` holds.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        tokio::task::yield_now().await;
    }
}

/// The output of `future`, which must come. With a paused clock a hang fails at once.
pub(crate) async fn within<F: Future>(what: &str, future: F) -> F::Output {
    let Ok(output) = tokio::time::timeout(PATIENCE, future).await else { panic!("waited in vain: {what}") };
    output
}

/// Gives way to other threads until `condition` holds.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::yield_now();
    }
}

/// What `receiver` is sent, which must come.
pub(crate) fn receive<T>(what: &str, receiver: &Receiver<T>) -> T {
    match receiver.recv_timeout(PATIENCE) {
        Ok(value) => value,
        Err(error) => panic!("waited in vain: {what}: {error}"),
    }
}
