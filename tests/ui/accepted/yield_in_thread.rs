//! What a thread found out.

use ctx_runtime::generator;

#[generator]
pub async fn count() -> u64 {
    let found = tokio::task::spawn_blocking(|| 7);
    yield_!(found.await.unwrap());
}
