//! A clean-up that spawns, and a task that a clean-up waits for.

use ctx_runtime::generator;

#[generator]
pub async fn count() -> u64 {
    let task = tokio::spawn(tokio::task::yield_now());
    defer!(async move {
        let _ = task.await;
        tokio::spawn(async { println!("bye") });
    });
    yield_!(0);
}
