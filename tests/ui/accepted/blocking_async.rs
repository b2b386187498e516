//! What is async within it.

use ctx_runtime::generator;

#[generator(blocking)]
pub fn count() -> u64 {
    async fn number() -> u64 {
        tokio::task::yield_now().await;
        1
    }
    let (first, second) = (async { number().await }, async || number().await);
    yield_!(tokio::runtime::Handle::current().block_on(first));
    yield_!(tokio::runtime::Handle::current().block_on(second()));
}
