//! A task that the body waits for in a section of its own.

use ctx_runtime::generator;

#[generator]
pub async fn count() -> u64 {
    let task = tokio::spawn(async {
        tokio::task::yield_now().await;
        7
    });
    yield_!(shield!(task).unwrap());
}
