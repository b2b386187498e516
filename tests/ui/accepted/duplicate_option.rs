//! The same option on two functions.

use ctx_runtime::generator;

#[generator(buffer = 1)]
pub async fn count() -> u64 {
    #[generator(buffer = 1)]
    async fn inner() -> u64 {
        yield_!(0);
    }
    yield_!(inner().next().await.unwrap());
}
