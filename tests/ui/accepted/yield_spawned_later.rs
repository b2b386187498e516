//! An async block that yields and is awaited, and another of the same name that is spawned.

use ctx_runtime::generator;

#[generator]
pub async fn count() -> u64 {
    let later = async { yield_!(0) };
    later.await;
    let later = async { 1 };
    let n = tokio::spawn(later).await.unwrap_or_default();
    yield_!(n);
    {
        let later = async { yield_!(2) };
        later.await;
    }
}
